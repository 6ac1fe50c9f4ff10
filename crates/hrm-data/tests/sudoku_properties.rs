//! What must hold for every Sudoku: symmetries keep boards solved, inverses undo them, canonical forms do not
//! see them, saved samplers go on as they would have.

use hrm_data::sudoku::{Board, Canonical, Generator, Puzzle, SudokuSize, Symmetry, verify};
use hrm_data::{Augmentation, Exploration, PuzzleSet, Sampler, SamplerConfig};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

fn size() -> impl Strategy<Value = SudokuSize> {
    prop::sample::select(SudokuSize::ALL.to_vec())
}

/// A puzzle of any size; making 16x16 ones minimal takes long, so they are not.
fn puzzle(size: SudokuSize, seed: u64) -> Puzzle {
    let generator = Generator::new(size).with_clues(size.num_cells() * 5 / 8..=size.num_cells());
    generator
        .generate(&mut ChaCha8Rng::seed_from_u64(seed))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_symmetry_keeps_a_puzzle_right_and_its_inverse_restores_it(
        size in size(), seed: u64, draw: u64,
    ) {
        let original = puzzle(size, seed);
        let symmetry = Symmetry::sample(size, &mut ChaCha8Rng::seed_from_u64(draw));
        let (question, answer) = (symmetry.apply(&original.question), symmetry.apply(&original.answer));
        prop_assert!(answer.is_solved());
        prop_assert_eq!(verify(&question, &answer), Ok(()));
        prop_assert_eq!(symmetry.inverse().apply(&question), original.question.clone());
        prop_assert_eq!(symmetry.inverse().apply(&answer), original.answer);
        let mut tokens = vec![0; size.num_cells()];
        symmetry.apply_tokens(&original.question.tokens(), &mut tokens);
        prop_assert_eq!(tokens, question.tokens());
    }

    #[test]
    fn the_canonical_form_does_not_see_symmetries(size in size(), seed: u64, draw: u64) {
        let original = puzzle(size, seed);
        let form = Canonical::of(&original.question, &original.answer).unwrap();
        let symmetry = Symmetry::sample(size, &mut ChaCha8Rng::seed_from_u64(draw));
        let moved = Canonical::of(&symmetry.apply(&original.question), &symmetry.apply(&original.answer));
        prop_assert_eq!(&moved.unwrap(), &form);
        // It is a puzzle of the same class, and its own form.
        prop_assert_eq!(verify(form.question(), form.answer()), Ok(()));
        prop_assert_eq!(form.question().clues(), original.question.clues());
        prop_assert_eq!(&Canonical::of(form.question(), form.answer()).unwrap(), &form);
        // No image is less than the least.
        prop_assert!(form.answer().cells() <= symmetry.apply(&original.answer).cells());
    }

    #[test]
    fn a_changed_given_changes_the_canonical_form(seed: u64, cell in 0usize..81) {
        let original = puzzle(SudokuSize::Nine, seed);
        let mut question = original.question.clone();
        let (row, column) = (cell / 9, cell % 9);
        let digit = match question.get(row, column) {
            0 => original.answer.get(row, column),
            _ => 0,
        };
        question.set(row, column, digit);
        let form = |question: &Board| Canonical::of(question, &original.answer).unwrap();
        prop_assert_ne!(form(&question), form(&original.question));
    }

    #[test]
    fn a_sampler_restored_anywhere_goes_on_with_the_same_batches(
        seed: u64, batch_size in 1usize..20, groups in 1usize..12, batches in 0usize..20,
    ) {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 9).unwrap();
        let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
        let config = SamplerConfig {
            batch_size,
            seed,
            augment: true,
            exploration: Some(Exploration { probability: 0.3, max_segments: 4 }),
        };
        let set = Arc::new(set.take(groups));
        let mut sampler = Sampler::new(set.clone(), config).unwrap();
        for _ in 0..batches {
            sampler.next_batch();
        }
        let saved = serde_json::to_string(&sampler.state()).unwrap();
        let mut restored = Sampler::new(set, config).unwrap();
        restored.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
        for _ in 0..3 {
            let batch = sampler.next_batch();
            for row in 0..batch_size {
                let read = |tokens| Board::from_tokens(SudokuSize::Four, tokens).unwrap();
                prop_assert_eq!(verify(&read(batch.input(row)), &read(batch.label(row))), Ok(()));
            }
            prop_assert_eq!(restored.next_batch(), batch);
        }
        prop_assert_eq!(restored.state(), sampler.state());
        prop_assert_eq!(restored.epoch(), sampler.epoch());
    }
}

#[test]
fn small_boards_fall_into_the_known_number_of_classes() {
    // 2 of side four (288 boards); 49 of side six (28,200,960 boards) as F. Jarvis counted them; the rarest
    // have few boards, so drawing finds nearly all.
    for (size, draws, known, least) in [
        (SudokuSize::Four, 200, 2, 2),
        (SudokuSize::Six, 6000, 49, 40),
    ] {
        let generator = Generator::new(size).with_clues(size.num_cells()..=size.num_cells());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut classes = HashSet::new();
        for _ in 0..draws {
            let answer = generator.generate(&mut rng).unwrap().answer;
            classes.insert(Canonical::of(&answer, &answer).unwrap());
        }
        assert!(
            (least..=known).contains(&classes.len()),
            "{size}: {}",
            classes.len()
        );
    }
}

#[test]
fn symmetries_are_drawn_evenly() {
    // Side four without relabelling has 2 * 8 * 8 = 128 rearrangements; where the first cell goes is even.
    let mut board = Board::blank(SudokuSize::Four);
    board.set(0, 0, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut places = HashMap::new();
    for _ in 0..6400 {
        let moved = Symmetry::sample(SudokuSize::Four, &mut rng).apply(&board);
        let at = moved.cells().iter().position(|&c| c != 0).unwrap();
        *places.entry((at, moved.cells()[at])).or_insert(0) += 1;
    }
    assert_eq!(places.len(), 64);
    assert!(
        places.values().all(|count| (60..=140).contains(count)),
        "{places:?}"
    );
}
