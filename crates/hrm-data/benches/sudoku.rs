//! Sudoku on one core: solving the hardest known puzzles, generating, canonical forms, drawing batches.
//!
//! `HRM_SHARED_DIR=... cargo bench -p hrm-data --bench sudoku`; without the folder of published puzzles,
//! generated ones stand in.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use hrm_data::sudoku::{self, Canonical, Generator, Puzzle, Solver, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet, Sampler, SamplerConfig};
use std::path::Path;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// The first `count` puzzles of a published list.
fn published(name: &str, count: usize) -> Vec<Puzzle> {
    let mut puzzles = match std::env::var_os("HRM_SHARED_DIR") {
        Some(dir) => {
            let path = Path::new(&dir).join("data/sudoku").join(name);
            sudoku::read_csv(&path, Some(SudokuSize::Nine)).expect("a published list")
        }
        None => {
            eprintln!("HRM_SHARED_DIR is not set: generated puzzles stand in for {name}");
            Generator::new(SudokuSize::Nine)
                .puzzles(1000, 1)
                .expect("puzzles of any kind")
        }
    };
    puzzles.truncate(count);
    puzzles
}

#[divan::bench(args = [
    "forum_hardest_11plus_public.csv",
    "clue17_public_20k.csv",
    "sudoku_extreme_train_1k.csv",
], sample_count = 3, sample_size = 1)]
fn prove_unique(bencher: Bencher, list: &str) {
    let puzzles = published(list, 10_000);
    bencher
        .counter(ItemsCount::new(puzzles.len()))
        .bench_local(|| {
            for puzzle in &puzzles {
                assert!(
                    Solver::new(2)
                        .solve(black_box(&puzzle.question))
                        .is_unique()
                );
            }
        });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn generate_6x6_with_20_clues(bencher: Bencher) {
    let generator = Generator::new(SudokuSize::Six).with_clues(20..=20);
    bencher
        .counter(ItemsCount::new(10_000usize))
        .bench_local(|| generator.puzzles(10_000, 1).expect("enough puzzles"));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn generate_9x9_minimal(bencher: Bencher) {
    let generator = Generator::new(SudokuSize::Nine);
    bencher
        .counter(ItemsCount::new(500usize))
        .bench_local(|| generator.puzzles(500, 1).expect("enough puzzles"));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn canonical_form_9x9(bencher: Bencher) {
    let puzzles = published("forum_hardest_11plus_public.csv", 10_000);
    bencher
        .counter(ItemsCount::new(puzzles.len()))
        .bench_local(|| {
            for puzzle in &puzzles {
                black_box(Canonical::of(&puzzle.question, &puzzle.answer).expect("a right answer"));
            }
        });
}

#[divan::bench(sample_count = 20, sample_size = 10)]
fn draw_augmented_9x9(bencher: Bencher) {
    let puzzles = published("sudoku_extreme_train_1k.csv", 1_000);
    let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Nine, Augmentation::Sudoku)
        .expect("9x9 puzzles");
    let config = SamplerConfig {
        batch_size: 768,
        seed: 1,
        augment: true,
        exploration: None,
    };
    let mut sampler = Sampler::new(Arc::new(set), config).expect("a set that is not empty");
    bencher
        .counter(ItemsCount::new(768usize))
        .bench_local(|| sampler.next_batch());
}
