//! What holds for every ARC task, and readers that see damaged files.

use std::path::Path;

use hrm_data::arc::{
    ArcAugmentation, ArcTask, CELLS, Grid, LeakKind, PAD, Pair, challenges_json, crop, draw,
    find_leaks, parse_challenges, parse_solutions, parse_task, puzzle_hash,
};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn grids() -> impl Strategy<Value = Grid> {
    (1usize..=30, 1usize..=30).prop_flat_map(|(height, width)| {
        proptest::collection::vec(0u8..10, height * width)
            .prop_map(move |cells| Grid::new(height, width, cells).unwrap())
    })
}

fn tasks() -> impl Strategy<Value = ArcTask> {
    let pair = || (grids(), grids());
    let train = proptest::collection::vec(pair(), 1..4);
    (train, pair(), any::<bool>()).prop_map(|(train, (input, output), solved)| ArcTask {
        id: "task".to_owned(),
        train: train
            .into_iter()
            .map(|(input, output)| Pair {
                input,
                output: Some(output),
            })
            .collect(),
        test: vec![Pair {
            input,
            output: solved.then_some(output),
        }],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_grid_is_cropped_from_its_canvas(grid in grids()) {
        let mut tokens = vec![7; CELLS];
        draw(&grid, (0, 0), PAD, &mut tokens);
        prop_assert_eq!(crop(&tokens), Some(grid));
    }

    #[test]
    fn any_prediction_can_be_cropped(tokens in proptest::collection::vec(any::<u8>(), CELLS)) {
        if let Some(grid) = crop(&tokens) {
            let top = &tokens[..grid.width()];
            prop_assert!(top.iter().zip(grid.cells()).all(|(token, colour)| *token == colour + 2));
        }
    }

    #[test]
    fn a_task_is_written_and_read_back(task in tasks()) {
        let json = challenges_json(std::slice::from_ref(&task));
        prop_assert_eq!(parse_challenges(json.as_bytes(), Path::new("c.json")).unwrap(), vec![task]);
    }

    #[test]
    fn an_augmented_task_is_another_puzzle_that_the_leak_check_finds(task in tasks(), seed: u64) {
        let augmentation = ArcAugmentation::sample(&mut ChaCha8Rng::seed_from_u64(seed));
        let other = ArcTask { id: "other".to_owned(), ..augmentation.apply_task(&task) };
        let leaks = find_leaks(&[
            ("a", std::slice::from_ref(&task)),
            ("b", std::slice::from_ref(&other)),
        ]);
        prop_assert_eq!(leaks.len(), 1);
        let same = puzzle_hash(&task) == puzzle_hash(&other);
        prop_assert_eq!(leaks[0].kind == LeakKind::SamePuzzle, same);
        let back = ArcTask { id: "task".to_owned(), ..augmentation.inverse().apply_task(&other) };
        prop_assert_eq!(back, task);
    }

    #[test]
    fn a_damaged_file_is_an_error_or_still_tasks(
        task in tasks(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let mut bytes = challenges_json(std::slice::from_ref(&task)).into_bytes();
        let characters = b"0123456789[]{},:\"-.eE nulltruefalse\\\x00\xff";
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = characters[usize::from(byte) % characters.len()];
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let path = Path::new("c.json");
        if let Ok(read) = parse_challenges(&bytes, path) {
            let grids = read.iter().flat_map(|t| t.pairs()).flat_map(|p| [Some(&p.input), p.output.as_ref()]);
            prop_assert!(grids.flatten().all(|g| g.cells().iter().all(|&c| c < 10)));
        }
        let _ = parse_solutions(&bytes, path);
        let _ = parse_task(&bytes, "t", path);
    }
}
