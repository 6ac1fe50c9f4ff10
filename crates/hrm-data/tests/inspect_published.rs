//! Every published data set, looked at.

use hrm_data::Task;
use hrm_data::inspect::{inspect_csv, inspect_folder};
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("HRM_SHARED_DIR").map(PathBuf::from);
    if folder.is_none() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI sets HRM_SHARED_DIR"
        );
        eprintln!("skipped: HRM_SHARED_DIR is not set");
    }
    folder
}

#[test]
fn the_training_sudokus_are_right_and_unique() {
    let Some(dir) = shared() else { return };
    let report = inspect_csv(
        dir.join("data/sudoku/sudoku_extreme_train_1k.csv"),
        None,
        1000,
    )
    .unwrap();
    let split = &report.splits[0];
    assert_eq!((split.examples, split.duplicates), (1000, 0));
    assert!((20.0..22.0).contains(&split.rating.unwrap().mean));
    let sudoku = split.sudoku.as_ref().unwrap();
    assert_eq!((sudoku.right, sudoku.one_solution), (1000, 1000));
    let clues = sudoku.clues.unwrap();
    assert_eq!((clues.min, clues.max), (17, 35));
}

#[test]
fn the_other_lists_are_right_too() {
    let Some(dir) = shared() else { return };
    for name in [
        "magictour_top1465",
        "clue17_public_20k",
        "forum_hardest_11plus_public",
    ] {
        let path = dir.join("data/sudoku").join(name).with_extension("csv");
        let report = inspect_csv(&path, None, 500).unwrap();
        let sudoku = report.splits[0].sudoku.as_ref().unwrap();
        assert_eq!((sudoku.right, sudoku.one_solution), (500, 500), "{name}");
    }
}

#[test]
fn the_published_mazes_are_exact_as_csv_and_as_arrays() {
    let Some(dir) = shared() else { return };
    let csv = inspect_csv(dir.join("data/maze/maze_hard_train.csv"), None, usize::MAX).unwrap();
    let folder = inspect_folder(dir.join("data/maze/maze-30x30-hard-1k"), usize::MAX).unwrap();
    for report in [&csv, &folder] {
        assert_eq!(
            report.task,
            Task::Maze {
                height: 30,
                width: 30
            }
        );
        let maze = report.splits[0].maze.as_ref().unwrap();
        assert_eq!((maze.exact, maze.invalid), (1000, 0));
        let (path, walls) = (maze.path_cells.unwrap(), maze.walls.unwrap());
        assert!(
            path.min >= 110 && (112..=114).contains(&path.median),
            "{path:?}"
        );
        assert!((330.0..340.0).contains(&walls.mean), "{walls:?}");
    }
    assert_eq!(csv.splits[0].maze, folder.splits[0].maze);
}

#[test]
fn an_arc_folder_names_its_splits() {
    let Some(dir) = shared() else { return };
    let report = inspect_folder(Path::new(&dir.join("fixtures/interop/arc-simple")), 100).unwrap();
    assert_eq!(report.task, Task::Arc);
    let counts: Vec<_> = report
        .splits
        .iter()
        .map(|s| (s.name.as_str(), s.examples, s.labelled))
        .collect();
    assert_eq!(counts, [("test", 2, 2), ("train", 8, 8)]);
}
