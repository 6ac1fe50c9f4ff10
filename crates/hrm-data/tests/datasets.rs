//! The small sets in `datasets/` are made again and compared byte for byte. After a wilful change of a generator:
//! `UPDATE_DATASETS=1 cargo test -p hrm-data --test datasets`.

use hrm_data::maze::{MazeGenerator, MazeRecipe, write_csv_to as write_mazes};
use hrm_data::sudoku::{Generator, SudokuSize, write_csv_to as write_sudokus};
use std::path::{Path, PathBuf};

/// The folder, where the repository (as in CI) is at hand and not the published crate alone.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    if !folder.is_dir() {
        let ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!ci, "CI has {}", folder.display());
        eprintln!("skipped: there is no datasets/ beside this crate");
        return None;
    }
    Some(folder)
}

fn compare(name: &str, made: &[u8]) {
    let Some(folder) = folder() else { return };
    let path = folder.join(name);
    if std::env::var_os("UPDATE_DATASETS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == made, "{name} is not what its recipe makes");
}

fn sudokus(name: &str, generator: &Generator, count: usize, seed: u64) {
    let puzzles = generator.puzzles(count, seed).unwrap();
    let mut made = Vec::new();
    write_sudokus(&mut made, Path::new(name), &puzzles).unwrap();
    compare(name, &made);
}

#[test]
fn sudokus_of_side_four() {
    let generator = Generator::new(SudokuSize::Four).with_clues(6..=6);
    sudokus("sudoku-4x4.csv", &generator, 200, 1);
}

#[test]
fn sudokus_of_side_six() {
    let generator = Generator::new(SudokuSize::Six).with_clues(20..=20);
    sudokus("sudoku-6x6.csv", &generator, 1000, 1);
}

#[test]
fn sudokus_of_side_nine() {
    let generator = Generator::new(SudokuSize::Nine).with_clues(32..=32);
    sudokus("sudoku-9x9.csv", &generator, 300, 1);
}

#[test]
fn hard_sudokus_of_side_nine() {
    let generator = Generator::new(SudokuSize::Nine).with_guesses(3..=1000);
    sudokus("sudoku-9x9-hard.csv", &generator, 30, 1);
}

#[test]
fn mazes_of_side_ten() {
    let puzzles: Vec<_> = MazeGenerator::new(MazeRecipe::new(10, 10, 18), 1)
        .unwrap()
        .take(300)
        .collect();
    let mut made = Vec::new();
    write_mazes(
        &mut made,
        Path::new("maze-10x10.csv"),
        "generated",
        &puzzles,
    )
    .unwrap();
    compare("maze-10x10.csv", &made);
}
