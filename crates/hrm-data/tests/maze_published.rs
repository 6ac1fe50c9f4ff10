//! The published mazes: every label by breadth-first search, and the generator's statistics beside theirs.
//! Reads `HRM_SHARED_DIR/data/maze`; says so and does nothing where the variable is unset (but fails under CI).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use hrm_data::dihedral::Dihedral;
use hrm_data::maze::{
    Maze, MazeAugmentation, MazeAugmenter, MazeGenerator, MazePuzzle, MazeRecipe, Verdict,
    read_csv, write_csv,
};
use hrm_data::{Augmentation, PuzzleSet};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("HRM_SHARED_DIR").map(PathBuf::from);
    if folder.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs HRM_SHARED_DIR");
        eprintln!("skipped: HRM_SHARED_DIR is not set");
    }
    folder
}

fn published(folder: &Path) -> Vec<MazePuzzle> {
    read_csv(folder.join("data/maze/maze_hard_train.csv"), None).unwrap()
}

#[test]
fn the_label_equals_all_published_ones() {
    let Some(folder) = shared() else { return };
    let puzzles = published(&folder);
    assert_eq!(puzzles.len(), 1000);
    for puzzle in &puzzles {
        assert_eq!(puzzle.maze().verify(puzzle.answer()), Verdict::Exact);
        assert_eq!(puzzle.maze().label().as_deref(), Some(puzzle.answer()));
    }
    let canonical: HashSet<Maze> = puzzles.iter().map(|p| p.maze().canonical()).collect();
    assert_eq!(canonical.len(), 1000);
}

#[test]
fn the_file_is_written_as_it_was_read() {
    let Some(folder) = shared() else { return };
    let puzzles = published(&folder);
    let target = tempfile::NamedTempFile::new().unwrap();
    write_csv(target.path(), "maze-30x30-hard-1k", &puzzles).unwrap();
    let lines = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    assert_eq!(
        lines(target.path()),
        lines(&folder.join("data/maze/maze_hard_train.csv"))
    );
}

#[test]
fn flipping_a_published_label_breaks_the_tie_break() {
    let Some(folder) = shared() else { return };
    let mut augmenter = MazeAugmenter::new(30, 30, MazeAugmentation::FlipLabel);
    let (mut inputs, mut labels) = (vec![0; 900], vec![0; 900]);
    let mut exact = 0;
    for puzzle in published(&folder) {
        let example = (puzzle.maze().cells(), puzzle.answer());
        augmenter.apply(Dihedral::Transpose, example, &mut inputs, &mut labels);
        let verdict = puzzle.maze().transform(Dihedral::Transpose).verify(&labels);
        assert!(verdict.is_optimal());
        exact += usize::from(verdict == Verdict::Exact);
    }
    assert!(exact < 100, "{exact} of 1000 labels are still exact");
}

/// Published: walls 334.5 on average, standard deviation 24; 110-114 cells .59, 115-119 .25, 120-124 .11, 125 and
/// more .04. The bounds are four standard errors of the sample.
#[test]
fn generated_mazes_have_the_published_statistics() {
    let count = if cfg!(debug_assertions) { 60 } else { 400 };
    let puzzles: Vec<MazePuzzle> = MazeGenerator::new(MazeRecipe::hard(), 2024)
        .unwrap()
        .take(count)
        .collect();
    let mean_walls = puzzles.iter().map(|p| p.maze().walls()).sum::<usize>() as f64 / count as f64;
    let error = 24.0 / (count as f64).sqrt();
    assert!(
        (mean_walls - 334.5).abs() < 4.0 * error,
        "{mean_walls} walls"
    );
    let mut bins = [0usize; 4];
    for puzzle in &puzzles {
        assert!(puzzle.path_cells() >= 110);
        bins[((puzzle.path_cells() - 110) / 5).min(3)] += 1;
    }
    for (found, share) in bins.into_iter().zip([0.59, 0.25, 0.11, 0.04]) {
        let found = found as f64 / count as f64;
        let error = (share * (1.0 - share) / count as f64).sqrt();
        assert!((found - share).abs() < 4.0 * error + 0.01, "{bins:?}");
    }
    let grids: HashSet<Vec<bool>> = puzzles
        .iter()
        .map(|p| p.maze().cells().iter().map(|&cell| cell == 1).collect())
        .collect();
    assert_eq!(grids.len(), count);
}

#[test]
fn the_set_of_the_csv_is_the_set_of_the_official_builder() {
    let Some(folder) = shared() else { return };
    let official = PuzzleSet::load(folder.join("data/maze/maze-30x30-hard-1k"), "train").unwrap();
    let own = PuzzleSet::from_mazes(&published(&folder), Augmentation::None).unwrap();
    assert_eq!(official.info(), own.info());
    assert_eq!(official.num_examples(), own.num_examples());
    for index in 0..own.num_examples() {
        assert_eq!(official.example(index), own.example(index), "maze {index}");
    }
}
