//! The published Sudokus: unique, equal where they are known to be, ranked alike by two solvers.

use hrm_data::sudoku::{Canonical, Puzzle, Solver, SudokuSize, Symmetry, read_csv, write_csv};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    match std::env::var_os("HRM_SHARED_DIR") {
        Some(dir) => Some(Path::new(&dir).join("data/sudoku")),
        None => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "CI sets HRM_SHARED_DIR"
            );
            eprintln!("skipped: HRM_SHARED_DIR is not set");
            None
        }
    }
}

fn forms(puzzles: &[Puzzle]) -> HashSet<Canonical> {
    let form = |puzzle: &Puzzle| Canonical::of(&puzzle.question, &puzzle.answer).unwrap();
    puzzles.iter().map(form).collect()
}

/// Ranks of values, equal ones sharing their mean.
fn ranks(values: &[u64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&at| values[at]);
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let first = order.iter().position(|at| at == &equal[0]).unwrap();
        for &at in equal {
            ranks[at] = first as f64 + (equal.len() - 1) as f64 / 2.0;
        }
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter()
            .zip(y)
            .map(|(x, y)| (x - mx) * (y - my))
            .sum::<f64>()
    };
    let (aa, bb) = (product(a, mean_a, a, mean_a), product(b, mean_b, b, mean_b));
    product(a, mean_a, b, mean_b) / (aa * bb).sqrt()
}

#[test]
fn training_puzzles_are_unique_and_ranked_as_tdoku_ranks_them() {
    let Some(dir) = shared() else { return };
    let puzzles = read_csv(dir.join("sudoku_extreme_train_1k.csv"), None).unwrap();
    assert_eq!(puzzles.len(), 1000);
    let (mut guesses, mut ratings) = (Vec::new(), Vec::new());
    for puzzle in &puzzles {
        let search = Solver::new(2).solve(&puzzle.question);
        assert!(search.is_unique());
        assert_eq!(search.first.as_ref(), Some(&puzzle.answer));
        guesses.push(Solver::new(1).solve(&puzzle.question).guesses);
        ratings.push(u64::from(puzzle.rating.unwrap()));
    }
    let rho = correlation(&ranks(&guesses), &ranks(&ratings));
    let mean = |x: &[u64]| x.iter().sum::<u64>() as f64 / x.len() as f64;
    let none = guesses.iter().filter(|&&g| g == 0).count();
    println!(
        "guesses {:.1}, tdoku's {:.1}, rank correlation {rho:.3}",
        mean(&guesses),
        mean(&ratings)
    );
    println!("without a guess: {none}");
    assert!(rho > 0.6, "Spearman's rho {rho}");
}

#[test]
fn the_lists_as_they_lie_here_share_no_puzzle() {
    let Some(dir) = shared() else { return };
    let read = |name: &str| read_csv(dir.join(name), Some(SudokuSize::Nine)).unwrap();
    let mut lists = [
        read("sudoku_extreme_train_1k.csv"),
        read("magictour_top1465.csv"),
        read("clue17_public_20k.csv"),
        read("forum_hardest_11plus_public.csv"),
    ];
    let seventeen = |list: &[Puzzle]| list.iter().filter(|p| p.question.clues() == 17).count();
    assert_eq!((seventeen(&lists[0]), seventeen(&lists[1])), (14, 69));
    // All forms take seconds in release builds; the first parts are enough in others.
    if cfg!(debug_assertions) {
        lists.iter_mut().for_each(|list| list.truncate(1000));
    }
    let mut seen = HashSet::new();
    for list in &lists {
        let forms = forms(list);
        assert_eq!(forms.len(), list.len(), "no list holds a puzzle twice");
        assert!(forms.is_disjoint(&seen), "and no two lists the same");
        seen.extend(forms);
    }
}

#[test]
fn a_disguised_puzzle_is_recognised() {
    let Some(dir) = shared() else { return };
    let puzzles = read_csv(dir.join("sudoku_extreme_train_1k.csv"), None).unwrap();
    let known = forms(&puzzles);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for puzzle in &puzzles {
        let symmetry = Symmetry::sample(SudokuSize::Nine, &mut rng);
        let (question, answer) = (
            symmetry.apply(&puzzle.question),
            symmetry.apply(&puzzle.answer),
        );
        assert!(known.contains(&Canonical::of(&question, &answer).unwrap()));
    }
}

#[test]
fn a_published_list_is_written_as_it_was_read() {
    let Some(dir) = shared() else { return };
    let path = dir.join("magictour_top1465.csv");
    let puzzles = read_csv(&path, None).unwrap();
    let out = tempfile::tempdir().unwrap();
    write_csv(out.path().join("out.csv"), &puzzles).unwrap();
    let lines = |path: &Path| -> Vec<String> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    assert!(lines(&out.path().join("out.csv")) == lines(&path));
}
