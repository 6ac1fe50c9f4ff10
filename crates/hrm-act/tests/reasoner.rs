//! The reasoner against the plain loop: the same answers, each exactly once, whatever the order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, sync_channel};
use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Int, Tensor, TensorData};
use hrm_act::reasoner::{
    Answer, Attempts, Choice, Draw, HaltRule, Manner, MazeSymmetry, MazeVerifier, Puzzle,
    ReasonError, Reasoner, ReasonerConfig, Reply, Request, SudokuSymmetry, SudokuVerifier,
    Symmetry, Verdict, Verifier,
};
use hrm_core::{HaltHead, Hrm, HrmConfig, Levels, PuzzleEmbeddingConfig, Sizes};
use hrm_data::maze::MazeGenerator;
use hrm_data::sudoku::{Generator, SudokuSize};
use proptest::prelude::*;

const SIZES: Sizes = Sizes {
    seq_len: 6,
    vocab_size: 5,
    num_puzzle_ids: 4,
};

/// Factor on the weights of the blocks.
const GENTLE: f32 = 0.6;

/// The published models, small.
fn configs() -> [HrmConfig; 3] {
    [
        HrmConfig::hrm(SIZES),
        HrmConfig::trm(SIZES),
        HrmConfig::trm_mlp(SIZES),
    ]
    .map(small)
}

fn small(config: HrmConfig) -> HrmConfig {
    HrmConfig {
        hidden_size: 16,
        num_heads: 2,
        levels: match config.levels {
            Levels::Separate { .. } => Levels::Separate {
                h_layers: 1,
                l_layers: 1,
            },
            Levels::Shared { .. } => Levels::Shared { layers: 1 },
        },
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 16,
            positions: Some(2),
        }),
        ..config
    }
}

/// A model whose q head and puzzle table say something, as a trained one's do. Its blocks change the states gently: fresh
/// ones are chaotic, and would blow the rounding of another batch size up a thousandfold within a few segments.
fn model(config: &HrmConfig, seed: u64) -> Hrm {
    let model = Hrm::new(config, seed, &Device::flex()).unwrap();
    model.map_weights(|name, _, value| {
        let scale = match name {
            "q_head.weight" => 0.4,
            "puzzle_emb.weights" => 0.3,
            "q_head.bias" => 0.0,
            name if name.contains("level") => return value * GENTLE,
            _ => return value,
        };
        let count = value.dims()[0];
        let values: Vec<f32> = (0..count)
            .map(|i| scale * ((i as f32 + seed as f32) * 1.7).sin())
            .collect();
        Tensor::from_data(TensorData::new(values, [count]), &value.device())
    })
}

fn puzzle(number: usize) -> Puzzle {
    let cells = 0..SIZES.seq_len;
    Puzzle {
        inputs: cells
            .map(|cell| ((number * 7 + cell * cell + number / 3) % 5) as u8)
            .collect(),
        puzzle_id: (number % 4) as u32,
    }
}

fn config(slots: usize, max_segments: u32, halt: HaltRule) -> ReasonerConfig {
    ReasonerConfig {
        slots,
        max_segments,
        halt,
        trace: false,
    }
}

/// Answer, q_halt and q_continue after every segment of the plain loop, one puzzle at a time.
fn plain(model: &Hrm, puzzle: &Puzzle, segments: u32) -> Vec<(Vec<u8>, f32, f32)> {
    let model = model.frozen();
    let device = model.device();
    let inputs: Vec<i32> = puzzle.inputs.iter().map(|&t| i32::from(t)).collect();
    let inputs: Tensor<2, Int> =
        Tensor::from_data(TensorData::new(inputs, [1, puzzle.inputs.len()]), &device);
    let ids: Tensor<1, Int> = Tensor::from_data([puzzle.puzzle_id as i32], &device);
    let x = model.embed(inputs, model.puzzle_rows(ids));
    let mut state = model.initial_state();
    (0..segments)
        .map(|_| {
            state = model.advance(state.clone(), x.clone());
            let output = model.read_out(state.z_h.clone());
            let tokens = output.logits.argmax(2).into_data().iter::<u8>().collect();
            let scalar = |x: Tensor<1>| x.into_data().iter::<f32>().next().unwrap();
            (tokens, scalar(output.q_halt), scalar(output.q_continue))
        })
        .collect()
}

/// Where the rule stops the plain loop.
fn stops(
    head: HaltHead,
    rule: HaltRule,
    verifier: &dyn Verifier,
    puzzle: &Puzzle,
    loop_: &[(Vec<u8>, f32, f32)],
) -> usize {
    let stop = (1..=loop_.len()).find(|&n| {
        let (tokens, q_halt, q_continue) = &loop_[n - 1];
        match rule {
            HaltRule::Fixed => false,
            HaltRule::QHalt => match head {
                HaltHead::QLearning => q_halt > q_continue,
                HaltHead::HaltOnly => *q_halt > 0.0,
            },
            HaltRule::Likely => *q_halt > 0.0,
            HaltRule::Stable { segments } => {
                n > segments as usize
                    && loop_[n - 1 - segments as usize..n]
                        .iter()
                        .all(|(t, ..)| t == tokens)
            }
            HaltRule::Verified => verifier.verify(puzzle, tokens),
        }
    });
    stop.unwrap_or(loop_.len())
}

fn sorted(answers: impl Iterator<Item = Result<Answer, ReasonError>>) -> Vec<Answer> {
    let mut answers: Vec<Answer> = answers.map(Result::unwrap).collect();
    answers.sort_by_key(|answer| answer.index);
    answers
}

fn accepts_some(_: &Puzzle, answer: &[u8]) -> bool {
    answer
        .iter()
        .map(|&t| u32::from(t))
        .sum::<u32>()
        .is_multiple_of(3)
}

#[test]
fn answers_are_those_of_the_plain_loop() {
    let mut halted_early = 0;
    for model_config in configs() {
        let model = model(&model_config, 3);
        for rule in [
            HaltRule::Fixed,
            HaltRule::QHalt,
            HaltRule::Likely,
            HaltRule::Stable { segments: 1 },
            HaltRule::Stable { segments: 3 },
            HaltRule::Verified,
        ] {
            for slots in [1, 4, 7] {
                let reasoner = Reasoner::new(&model, config(slots, 6, rule))
                    .unwrap()
                    .with_verifier(Arc::new(accepts_some));
                let answers = sorted(reasoner.solve((0..17).map(puzzle)));
                assert_eq!(answers.len(), 17);
                for (number, answer) in answers.iter().enumerate() {
                    assert_eq!(answer.index, number);
                    let puzzle = puzzle(number);
                    let plain = plain(&model, &puzzle, 6);
                    let stop = stops(model_config.halt_head, rule, &accepts_some, &puzzle, &plain);
                    assert_eq!(answer.segments, stop as u32, "{rule:?}");
                    halted_early += usize::from(stop < 6);
                    let (tokens, q_halt, q_continue) = &plain[stop - 1];
                    assert_eq!(&answer.tokens, tokens, "{rule:?}");
                    assert!((answer.q_halt - q_halt).abs() < 1e-5);
                    assert!((answer.q_continue - q_continue).abs() < 1e-5);
                    assert_eq!(answer.verified, Some(accepts_some(&puzzle, tokens)));
                    assert_eq!((answer.attempts, answer.votes), (1, 1));
                    assert_eq!(answer.total_segments, answer.segments);
                }
            }
        }
    }
    assert!(
        halted_early > 100,
        "the rules must have something to do: {halted_early}"
    );
}

#[test]
fn a_trace_holds_the_answer_after_every_segment() {
    let model = model(&configs()[0], 3);
    let mut with_trace = config(4, 5, HaltRule::QHalt);
    with_trace.trace = true;
    let reasoner = Reasoner::new(&model, with_trace).unwrap();
    for answer in sorted(reasoner.solve((0..9).map(puzzle))) {
        let plain = plain(&model, &puzzle(answer.index), answer.segments);
        let expected: Vec<Vec<u8>> = plain.into_iter().map(|(tokens, ..)| tokens).collect();
        assert_eq!(answer.trace, expected);
        assert_eq!(answer.trace.last(), Some(&answer.tokens));
    }
}

#[test]
fn a_bad_puzzle_is_an_error_of_its_own() {
    let model = model(&configs()[0], 1);
    let reasoner = Reasoner::new(&model, config(3, 2, HaltRule::Fixed)).unwrap();
    let puzzles = (0..10).map(|number| match number {
        2 => Puzzle {
            inputs: vec![1; 5],
            puzzle_id: 0,
        },
        4 => Puzzle {
            inputs: vec![1, 1, 5, 1, 1, 1],
            puzzle_id: 0,
        },
        6 => Puzzle {
            inputs: vec![1; 6],
            puzzle_id: u32::MAX,
        },
        9 => Puzzle {
            inputs: vec![1; 6],
            puzzle_id: 4,
        },
        _ => puzzle(number),
    });
    let (mut answered, mut refused) = (Vec::new(), Vec::new());
    for answer in reasoner.solve(puzzles) {
        match answer {
            Ok(answer) => answered.push(answer.index),
            Err(error) => refused.push((error.index().unwrap(), error.to_string())),
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 3, 5, 7, 8]);
    let expected = [
        (2, "puzzle 2: expected 6 cells, found 5"),
        (4, "puzzle 4, cell 2: expected a token below 5, found 5"),
        (
            6,
            "puzzle 6: expected a puzzle id below 4, found 4294967295",
        ),
        (9, "puzzle 9: expected a puzzle id below 4, found 4"),
    ];
    assert_eq!(
        refused,
        expected.map(|(index, text)| (index, text.to_owned()))
    );
    let error = reasoner.solve_one(Puzzle {
        inputs: Vec::new(),
        puzzle_id: 0,
    });
    assert!(matches!(error, Err(ReasonError::Length { index: 0, .. })));
}

#[test]
fn options_without_what_they_need_are_refused() {
    let model = model(&configs()[0], 1);
    let refused = |slots, segments, halt| {
        Reasoner::new(&model, config(slots, segments, halt))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(0, 1, HaltRule::Fixed).contains("`slots`"));
    assert!(refused(1, 0, HaltRule::Fixed).contains("`max_segments`"));
    assert!(refused(1, 1, HaltRule::Stable { segments: 0 }).contains("stable"));

    let reasoner = Reasoner::new(&model, config(1, 1, HaltRule::Verified)).unwrap();
    let answers: Vec<_> = reasoner.solve([puzzle(0), puzzle(1)]).collect();
    assert_eq!(answers, [Err(ReasonError::NoVerifier { field: "halt" })]);

    let reasoner = Reasoner::new(&model, config(1, 1, HaltRule::Fixed)).unwrap();
    let with = |attempts| reasoner.clone().with_attempts(attempts);
    let views = with(Attempts {
        views: 2,
        ..Attempts::default()
    });
    let error = views.unwrap().solve_one(puzzle(0)).unwrap_err();
    assert_eq!(error, ReasonError::NoSymmetry { views: 2 });
    for bad in [
        Attempts {
            rollouts: 0,
            ..Attempts::default()
        },
        Attempts {
            views: 0,
            ..Attempts::default()
        },
        Attempts {
            noise: f32::NAN,
            ..Attempts::default()
        },
        Attempts {
            rollouts: u32::MAX,
            views: u32::MAX,
            ..Attempts::default()
        },
    ] {
        assert!(
            matches!(with(bad), Err(ReasonError::Field { .. })),
            "{bad:?}"
        );
    }
    let mut other = configs()[0].clone();
    other.seq_len = 7;
    let error = reasoner.with_model(&Hrm::new(&other, 1, &Device::flex()).unwrap());
    assert_eq!(
        error.unwrap_err().to_string(),
        "checkpoint 2: expected seq_len = 6, as in the first one, found 7"
    );
}

#[test]
fn an_endless_queue_is_taken_as_slots_get_free() {
    let model = model(&configs()[1], 1);
    let reasoner = Reasoner::new(&model, config(4, 3, HaltRule::QHalt)).unwrap();
    let mut taken = 0;
    let puzzles = std::iter::repeat_with(|| {
        taken += 1;
        puzzle(taken)
    });
    assert_eq!(reasoner.solve(puzzles).take(10).count(), 10);
    assert!(taken <= 10 + 4, "{taken} puzzles taken for 10 answers");
}

#[test]
fn equals_are_told_apart_by_their_number_and_not_by_who_was_first() {
    // Equally sure of everything, as a new model is.
    let model =
        model(&configs()[1], 5).map_weights(|name, _, value| match name.starts_with("q_head") {
            true => value.zeros_like(),
            false => value,
        });
    let attempts = |choice| Attempts {
        rollouts: 5,
        noise: 1.0,
        choice,
        ..Attempts::default()
    };
    let answers = |slots, attempts| {
        let config = config(slots, 8, HaltRule::Stable { segments: 1 });
        let reasoner = Reasoner::new(&model, config).unwrap();
        let reasoner = reasoner.with_attempts(attempts).unwrap();
        let answers = sorted(reasoner.solve((0..12).map(puzzle))).into_iter();
        answers.map(|a| (a.tokens, a.segments)).collect::<Vec<_>>()
    };
    // The first roll-out is the plain one.
    let plain = answers(1, Attempts::default());
    let segments: std::collections::BTreeSet<u32> = plain.iter().map(|(_, s)| *s).collect();
    assert!(segments.len() > 1, "all take the same time");
    assert_eq!(answers(16, attempts(Choice::QHalt)), plain);
    assert_eq!(
        answers(16, attempts(Choice::Vote)),
        answers(1, attempts(Choice::Vote))
    );
}

#[test]
fn rollouts_do_not_depend_on_the_slots() {
    let model = model(&configs()[1], 5);
    let attempts = Attempts {
        rollouts: 5,
        noise: 1.0,
        choice: Choice::QHalt,
        seed: 11,
        ..Attempts::default()
    };
    let answers = |slots, attempts: Attempts| {
        let reasoner = Reasoner::new(&model, config(slots, 4, HaltRule::Fixed)).unwrap();
        sorted(
            reasoner
                .with_attempts(attempts)
                .unwrap()
                .solve((0..8).map(puzzle)),
        )
    };
    let (one, many) = (answers(1, attempts), answers(16, attempts));
    let single = answers(4, Attempts::default());
    let mut better = 0;
    for ((a, b), single) in one.iter().zip(&many).zip(&single) {
        assert_eq!(
            (&a.tokens, a.attempts, a.votes),
            (&b.tokens, b.attempts, b.votes)
        );
        assert!((a.q_halt - b.q_halt).abs() < 1e-5);
        assert_eq!((a.attempts, a.total_segments), (5, 20));
        // The first roll-out is the plain one, so the surest is at least as sure.
        assert!(a.q_halt >= single.q_halt - 1e-5);
        better += usize::from(a.q_halt > single.q_halt + 1e-3);
    }
    assert!(better > 0, "noise must change something");
    let other_seed = answers(
        16,
        Attempts {
            seed: 12,
            ..attempts
        },
    );
    assert!(
        many.iter()
            .zip(&other_seed)
            .any(|(a, b)| a.q_halt != b.q_halt)
    );
}

/// Cells in reverse order.
struct Reversed;

impl Symmetry for Reversed {
    fn forward(&self, puzzle: &Puzzle, _: Draw) -> Puzzle {
        Puzzle {
            inputs: puzzle.inputs.iter().rev().copied().collect(),
            puzzle_id: puzzle.puzzle_id,
        }
    }

    fn inverse(&self, _: &Puzzle, _: Draw, answer: &[u8]) -> Vec<u8> {
        answer.iter().rev().copied().collect()
    }
}

/// Loses a cell on the way back.
struct Losing;

impl Symmetry for Losing {
    fn forward(&self, puzzle: &Puzzle, _: Draw) -> Puzzle {
        puzzle.clone()
    }

    fn inverse(&self, _: &Puzzle, _: Draw, answer: &[u8]) -> Vec<u8> {
        answer[1..].to_vec()
    }
}

/// Loses a cell of every view of one puzzle.
struct LosingOf(Puzzle);

impl Symmetry for LosingOf {
    fn forward(&self, puzzle: &Puzzle, _: Draw) -> Puzzle {
        let mut view = puzzle.clone();
        if *puzzle == self.0 {
            view.inputs.pop();
        }
        view
    }

    fn inverse(&self, _: &Puzzle, _: Draw, answer: &[u8]) -> Vec<u8> {
        answer.to_vec()
    }
}

/// Rejects all, and looks at every cell.
struct Indexing;

impl Verifier for Indexing {
    fn verify(&self, puzzle: &Puzzle, answer: &[u8]) -> bool {
        (0..puzzle.inputs.len()).all(|cell| answer[cell] > 200)
    }
}

#[test]
fn an_answer_that_lost_a_cell_is_an_error_and_no_verifier_sees_it() {
    for halt in [HaltRule::Fixed, HaltRule::Verified] {
        let attempts = Attempts {
            views: 2,
            ..Attempts::default()
        };
        let reasoner = Reasoner::new(&model(&configs()[0], 3), config(3, 3, halt))
            .unwrap()
            .with_symmetry(Arc::new(Losing))
            .with_verifier(Arc::new(Indexing))
            .with_attempts(attempts)
            .unwrap();
        let error = reasoner.solve([puzzle(0)]).next().unwrap().unwrap_err();
        assert!(
            matches!(error, ReasonError::View { index: 0, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_view_that_lost_a_cell_is_an_error_of_its_puzzle_and_frees_the_slots() {
    // Puzzle 0 is done with at once: an attempt at puzzle 1 is under way when its first view is drawn.
    let verifier = |asked: &Puzzle, _: &[u8]| *asked == puzzle(0);
    for bad in [0, 1] {
        let attempts = Attempts {
            views: 3,
            ..Attempts::default()
        };
        let reasoner = Reasoner::new(&model(&configs()[0], 3), config(2, 3, HaltRule::Verified))
            .unwrap()
            .with_symmetry(Arc::new(LosingOf(puzzle(bad))))
            .with_verifier(Arc::new(verifier))
            .with_attempts(attempts)
            .unwrap();
        let (mut answered, mut refused) = (Vec::new(), Vec::new());
        for answer in reasoner.solve((0..5).map(puzzle)) {
            match answer {
                Ok(answer) => answered.push((answer.index, answer.attempts)),
                Err(error) => refused.push(error),
            }
        }
        answered.sort_unstable();
        let others = (0..5).filter(|&number| number != bad);
        assert_eq!(answered, others.map(|n| (n, 3)).collect::<Vec<_>>());
        let lost = ReasonError::Length {
            index: bad,
            expected: 6,
            found: 5,
        };
        assert_eq!(refused, [lost]);
        // With a slot lost, no further puzzle would be taken before the one after the bad one is answered.
        let mut taken = 0;
        let queue = (0..9).map(puzzle).inspect(|_| taken += 1);
        assert_eq!(reasoner.solve(queue).take(bad + 2).count(), bad + 2);
        assert_eq!(taken, bad + 3);
    }
}

#[test]
fn a_part_of_a_configuration_leaves_the_rest_as_it_is_by_default() {
    let found: ReasonerConfig = serde_json::from_str(r#"{"slots": 8}"#).unwrap();
    let expected = ReasonerConfig {
        slots: 8,
        ..ReasonerConfig::default()
    };
    assert_eq!(found, expected);
    let found: Attempts = serde_json::from_str(r#"{"views": 3}"#).unwrap();
    assert_eq!(
        (found.views, found.rollouts),
        (3, Attempts::default().rollouts)
    );
    serde_json::from_str::<Attempts>(r#"{"view": 3}"#).unwrap_err();
}

#[test]
fn views_are_mapped_back_and_checkpoints_join_in() {
    let models = [model(&configs()[0], 3), model(&configs()[1], 4)];
    let reasoner = Reasoner::new(&models[0], config(3, 3, HaltRule::Fixed))
        .unwrap()
        .with_model(&models[1])
        .unwrap()
        .with_symmetry(Arc::new(Reversed));
    for choice in [Choice::QHalt, Choice::Vote, Choice::CellVote] {
        let attempts = Attempts {
            views: 2,
            choice,
            ..Attempts::default()
        };
        let reasoner = reasoner.clone().with_attempts(attempts).unwrap();
        for answer in sorted(reasoner.solve((0..10).map(puzzle))) {
            let puzzle = puzzle(answer.index);
            let mut expected = Vec::new();
            for model in &models {
                let (tokens, q_halt, _) = plain(model, &puzzle, 3).remove(2);
                expected.push((tokens, q_halt));
                let view = Reversed.forward(&puzzle, Draw { seed: 0, number: 1 });
                let (mut tokens, q_halt, _) = plain(model, &view, 3).remove(2);
                tokens.reverse();
                expected.push((tokens, q_halt));
            }
            let votes = expected.iter().filter(|(t, _)| *t == answer.tokens).count() as u32;
            assert_eq!(
                (answer.attempts, answer.votes, answer.total_segments),
                (4, votes, 12)
            );
            // The first of equals: a puzzle that reads the same backwards has two equal views.
            let surest = expected
                .iter()
                .rev()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            match choice {
                Choice::QHalt => {
                    assert!((answer.q_halt - surest.1).abs() < 1e-5);
                    assert_eq!(answer.tokens, surest.0);
                }
                Choice::Vote => {
                    let count = |grid: &[u8]| expected.iter().filter(|(t, _)| t == grid).count();
                    let most = expected.iter().map(|(t, _)| count(t)).max().unwrap();
                    assert_eq!(votes as usize, most);
                }
                _ => {
                    for (cell, &token) in answer.tokens.iter().enumerate() {
                        let count =
                            |token| expected.iter().filter(|(t, _)| t[cell] == token).count();
                        assert!((0..5).all(|other| count(other) <= count(token)));
                    }
                }
            }
        }
    }
}

#[test]
fn an_accepted_attempt_ends_the_others() {
    let model = model(&configs()[1], 5);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let verifier = {
        let seen = seen.clone();
        move |puzzle: &Puzzle, answer: &[u8]| {
            seen.lock().unwrap().push((puzzle.clone(), answer.to_vec()));
            true
        }
    };
    let attempts = Attempts {
        rollouts: 6,
        choice: Choice::Verified,
        ..Attempts::default()
    };
    let reasoner = Reasoner::new(&model, config(4, 3, HaltRule::Fixed))
        .unwrap()
        .with_verifier(Arc::new(verifier))
        .with_attempts(attempts)
        .unwrap();
    let answers = sorted(reasoner.solve((0..5).map(puzzle)));
    assert_eq!(answers.len(), 5);
    for answer in &answers {
        assert_eq!((answer.verified, answer.attempts), (Some(true), 1));
        assert!(answer.total_segments <= 4 * 3, "{}", answer.total_segments);
        assert_eq!(answer.verdict(2.0), Verdict::Verified);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|(p, _)| (0..5).any(|n| puzzle(n) == *p)));
}

#[test]
fn verdicts_follow_verifier_and_confidence() {
    let model = model(&configs()[0], 3);
    let reasoner = Reasoner::new(&model, config(1, 1, HaltRule::Fixed)).unwrap();
    let mut answer = reasoner.solve_one(puzzle(0)).unwrap();
    assert_eq!(answer.verified, None);
    answer.confidence = 0.7;
    assert_eq!(answer.verdict(0.5), Verdict::Unverified);
    assert_eq!(answer.verdict(0.8), Verdict::Abstained);
    // Of a model that has diverged, too, nothing is withheld unless that is asked for.
    answer.confidence = f32::NAN;
    assert_eq!(answer.verdict(0.0), Verdict::Unverified);
    assert_eq!(answer.verdict(0.1), Verdict::Abstained);
    answer.verified = Some(false);
    assert_eq!(answer.verdict(0.5), Verdict::Abstained);
    assert_eq!(answer.verdict(0.0), Verdict::Unverified);
    answer.verified = Some(true);
    assert_eq!(answer.verdict(0.8), Verdict::Verified);
}

#[test]
fn sudoku_views_keep_answers_right() {
    for size in [SudokuSize::Four, SudokuSize::Six, SudokuSize::Nine] {
        let symmetry = SudokuSymmetry { size };
        let verifier = SudokuVerifier { size };
        for made in Generator::new(size).puzzles(3, 5).unwrap() {
            let puzzle = Puzzle {
                inputs: made.question.tokens(),
                puzzle_id: 0,
            };
            let solved = made.answer.tokens();
            assert!(verifier.verify(&puzzle, &solved));
            assert!(!verifier.verify(&puzzle, &puzzle.inputs));
            for number in 1..6 {
                let draw = Draw { seed: 9, number };
                let view = symmetry.forward(&puzzle, draw);
                assert_ne!(view, puzzle);
                assert_eq!(symmetry.inverse(&puzzle, draw, &view.inputs), puzzle.inputs);
                // A right answer to the view is a right answer to the puzzle: puzzles have one answer.
                let board = hrm_data::sudoku::Board::from_tokens(size, &view.inputs).unwrap();
                let answer = hrm_data::sudoku::Solver::new(2)
                    .solve(&board)
                    .first
                    .unwrap();
                assert!(verifier.verify(&view, &answer.tokens()));
                assert_eq!(symmetry.inverse(&puzzle, draw, &answer.tokens()), solved);
            }
        }
    }
}

#[test]
fn maze_views_are_all_different_and_keep_answers_optimal() {
    let recipe = hrm_data::maze::MazeRecipe::small();
    for made in MazeGenerator::new(recipe, 4).unwrap().take(4) {
        let (height, width) = (made.maze().height(), made.maze().width());
        let (symmetry, verifier) = (
            MazeSymmetry { height, width },
            MazeVerifier { height, width },
        );
        let puzzle = Puzzle {
            inputs: made.maze().cells().to_vec(),
            puzzle_id: 0,
        };
        assert!(verifier.verify(&puzzle, made.answer()));
        assert!(!verifier.verify(&puzzle, &puzzle.inputs));
        let views: Vec<Puzzle> = (1..8)
            .map(|number| symmetry.forward(&puzzle, Draw { seed: 3, number }))
            .collect();
        for (place, view) in views.iter().enumerate() {
            assert!(*view != puzzle && !views[..place].contains(view));
            let draw = Draw {
                seed: 3,
                number: place as u32 + 1,
            };
            let maze = hrm_data::maze::Maze::from_tokens(view.inputs.clone(), height, width);
            let label = maze.unwrap().label().unwrap();
            assert!(verifier.verify(view, &label));
            assert!(verifier.verify(&puzzle, &symmetry.inverse(&puzzle, draw, &label)));
        }
    }
}

#[test]
fn views_of_an_oblong_maze_keep_its_shape() {
    let recipe = hrm_data::maze::MazeRecipe::new(3, 7, 6);
    let made = MazeGenerator::new(recipe, 4).unwrap().next().unwrap();
    let symmetry = MazeSymmetry {
        height: 3,
        width: 7,
    };
    let puzzle = Puzzle {
        inputs: made.maze().cells().to_vec(),
        puzzle_id: 0,
    };
    let mut views: Vec<Vec<u8>> = (0..4)
        .map(|number| symmetry.forward(&puzzle, Draw { seed: 3, number }).inputs)
        .collect();
    let turned = |keep: &dyn Fn(usize, usize) -> (usize, usize)| -> Vec<u8> {
        let cells = (0..3).flat_map(|row| (0..7).map(move |column| (row, column)));
        cells
            .map(|(row, column)| {
                let (row, column) = keep(row, column);
                puzzle.inputs[row * 7 + column]
            })
            .collect()
    };
    let mut expected = vec![
        puzzle.inputs.clone(),
        turned(&|row, column| (2 - row, column)),
        turned(&|row, column| (row, 6 - column)),
        turned(&|row, column| (2 - row, 6 - column)),
    ];
    views.sort();
    expected.sort();
    assert_eq!(views, expected);
}

#[test]
fn requests_share_the_slots_and_all_are_answered() {
    let model = model(&configs()[0], 3);
    let reasoner = Reasoner::new(&model, config(4, 4, HaltRule::QHalt)).unwrap();
    let (sender, receiver) = sync_channel::<Request>(2);
    let worker = std::thread::spawn({
        let reasoner = reasoner.clone();
        move || reasoner.serve(&receiver)
    });
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                (0..7)
                    .map(|n| {
                        let (reply, answer) = mpsc::channel();
                        let puzzle = match n {
                            3 => Puzzle {
                                inputs: vec![9; 6],
                                puzzle_id: 0,
                            },
                            _ => puzzle(client * 7 + n),
                        };
                        let request = Request::new(puzzle, move |a| drop(reply.send(a)));
                        assert!(sender.send(request).is_ok());
                        answer.recv().unwrap()
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    drop(sender);
    for (client, answers) in clients.into_iter().enumerate() {
        for (n, answer) in answers.join().unwrap().into_iter().enumerate() {
            if n == 3 {
                assert!(matches!(answer, Err(ReasonError::Token { found: 9, .. })));
                continue;
            }
            let answer = answer.unwrap();
            let alone = reasoner.solve_one(puzzle(client * 7 + n)).unwrap();
            assert_eq!(
                (answer.tokens, answer.segments),
                (alone.tokens, alone.segments)
            );
        }
    }
    assert_eq!(worker.join().unwrap(), Ok(()));
}

/// A client that watches, and may go away.
struct Client {
    gone: Arc<AtomicBool>,
    heard: mpsc::Sender<u32>,
}

impl Reply for Client {
    fn answer(self: Box<Self>, answer: Result<Answer, ReasonError>) {
        let _ = self.heard.send(1000 + answer.unwrap().segments);
    }

    fn segment(&mut self, segment: u32, tokens: &[u8]) {
        assert_eq!(tokens.len(), SIZES.seq_len);
        let _ = self.heard.send(segment);
        if segment == 2 {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

#[test]
fn who_goes_away_frees_the_slot() {
    let model = model(&configs()[0], 3);
    let mut slow = config(1, 100_000, HaltRule::Fixed);
    slow.trace = true;
    let reasoner = Reasoner::new(&model, slow).unwrap();
    let (sender, receiver) = mpsc::channel();
    let (heard, hears) = mpsc::channel();
    for _ in 0..3 {
        let client = Client {
            gone: Arc::default(),
            heard: heard.clone(),
        };
        assert!(sender.send(Request::new(puzzle(1), client)).is_ok());
    }
    drop((sender, heard));
    // Ends only because each leaves after two segments of a hundred thousand.
    assert_eq!(reasoner.serve(&receiver), Ok(()));
    assert_eq!(hears.iter().collect::<Vec<_>>(), [1, 2, 1, 2, 1, 2]);
}

#[test]
fn requests_of_different_manners_share_the_slots() {
    let model = model(&configs()[0], 3);
    let reasoner = Reasoner::new(&model, config(4, 6, HaltRule::QHalt)).unwrap();
    let manners = [
        Manner::default(),
        Manner {
            max_segments: Some(2),
            halt: Some(HaltRule::Fixed),
            watched: false,
        },
        Manner {
            max_segments: Some(9),
            halt: Some(HaltRule::Stable { segments: 2 }),
            watched: false,
        },
        Manner {
            max_segments: None,
            halt: Some(HaltRule::Fixed),
            watched: true,
        },
    ];
    let (sender, receiver) = mpsc::channel();
    let mut waiting = Vec::new();
    for number in 0..12 {
        let manner = manners[number % manners.len()];
        let (reply, answer) = mpsc::channel();
        let (heard, hears) = mpsc::channel();
        let client = Watcher { reply, heard };
        let request = Request::new(puzzle(number), client).with_manner(manner);
        assert!(sender.send(request).is_ok());
        waiting.push((number, manner, answer, hears));
    }
    drop(sender);
    assert_eq!(reasoner.serve(&receiver), Ok(()));
    for (number, manner, answer, hears) in waiting {
        let answer = answer.recv().unwrap().unwrap();
        let alone = ReasonerConfig {
            max_segments: manner.max_segments.unwrap_or(6),
            halt: manner.halt.unwrap_or(HaltRule::QHalt),
            ..config(4, 6, HaltRule::QHalt)
        };
        let alone = Reasoner::new(&model, alone).unwrap();
        let alone = alone.solve_one(puzzle(number)).unwrap();
        assert_eq!(
            (answer.tokens, answer.segments),
            (alone.tokens, alone.segments)
        );
        let heard: Vec<u32> = hears.iter().collect();
        match manner.watched {
            true => assert_eq!(heard, (1..=6).collect::<Vec<_>>()),
            false => assert!(heard.is_empty()),
        }
    }
}

#[test]
fn a_manner_that_cannot_be_is_an_error_of_its_request() {
    let model = model(&configs()[0], 3);
    let reasoner = Reasoner::new(&model, config(2, 3, HaltRule::Fixed)).unwrap();
    let (sender, receiver) = mpsc::channel();
    let ask = |manner: Manner| {
        let (reply, answer) = mpsc::channel();
        let request = Request::new(puzzle(1), move |a| drop(reply.send(a))).with_manner(manner);
        assert!(sender.send(request).is_ok());
        answer
    };
    let verified = ask(Manner {
        halt: Some(HaltRule::Verified),
        ..Manner::default()
    });
    let zero = ask(Manner {
        max_segments: Some(0),
        ..Manner::default()
    });
    let plain = ask(Manner::default());
    drop(sender);
    assert_eq!(reasoner.serve(&receiver), Ok(()));
    let refused = verified.recv().unwrap().unwrap_err();
    assert_eq!(refused, ReasonError::NoVerifier { field: "halt" });
    let refused = zero.recv().unwrap().unwrap_err().to_string();
    assert!(
        refused.contains("`max_segments` must be at least 1"),
        "{refused}"
    );
    assert_eq!(plain.recv().unwrap().unwrap().segments, 3);
}

/// A client that hears all.
struct Watcher {
    reply: mpsc::Sender<Result<Answer, ReasonError>>,
    heard: mpsc::Sender<u32>,
}

impl Reply for Watcher {
    fn answer(self: Box<Self>, answer: Result<Answer, ReasonError>) {
        let _ = self.reply.send(answer);
    }

    fn segment(&mut self, segment: u32, tokens: &[u8]) {
        assert_eq!(tokens.len(), SIZES.seq_len);
        let _ = self.heard.send(segment);
    }
}

#[test]
fn a_reasoner_can_live_in_a_thread() {
    fn sendable<T: Send + 'static>() {}
    sendable::<Reasoner>();
    sendable::<Request>();
}

fn rule() -> impl Strategy<Value = HaltRule> {
    prop_oneof![
        Just(HaltRule::Fixed),
        Just(HaltRule::QHalt),
        Just(HaltRule::Likely),
        (1..3u32).prop_map(|segments| HaltRule::Stable { segments }),
        Just(HaltRule::Verified),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::QHalt),
        Just(Choice::Vote),
        Just(Choice::CellVote),
        Just(Choice::Verified),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_puzzle_is_answered_exactly_once(
        slots in 1..9usize, puzzles in 0..14usize, segments in 1..5u32, halt in rule(), choice in choice(),
        rollouts in 1..4u32, views in 1..3u32, bad in 0..14usize, two_models: bool, trace: bool,
    ) {
        let models = [model(&configs()[0], 3), model(&configs()[2], 4)];
        let config = ReasonerConfig { slots, max_segments: segments, halt, trace };
        let attempts = Attempts { rollouts, views, choice, ..Attempts::default() };
        let mut reasoner = Reasoner::new(&models[0], config).unwrap()
            .with_verifier(Arc::new(accepts_some))
            .with_symmetry(Arc::new(Reversed))
            .with_attempts(attempts).unwrap();
        if two_models {
            reasoner = reasoner.with_model(&models[1]).unwrap();
        }
        let all = rollouts * views * if two_models { 2 } else { 1 };
        let mut seen = vec![0; puzzles];
        let queue = (0..puzzles).map(|number| match number == bad {
            true => Puzzle { inputs: vec![0; 3], puzzle_id: 0 },
            false => puzzle(number),
        });
        for answer in reasoner.solve(queue) {
            match answer {
                Ok(answer) => {
                    seen[answer.index] += 1;
                    prop_assert!(answer.index != bad);
                    prop_assert!((1..=segments).contains(&answer.segments));
                    prop_assert!((1..=all).contains(&answer.attempts));
                    prop_assert!(answer.total_segments <= all * segments);
                    prop_assert_eq!(answer.trace.len(), answer.trace_q_halt.len());
                    match answer.trace.last() {
                        Some(last) => {
                            prop_assert!(trace);
                            prop_assert_eq!(answer.trace.len(), answer.segments as usize);
                            prop_assert_eq!(last, &answer.tokens);
                        }
                        // Only a vote per cell can give a grid that the surest attempt did not think of.
                        None => prop_assert!(!trace || (choice == Choice::CellVote && answer.votes < answer.attempts)),
                    }
                    prop_assert_eq!(answer.verified, Some(accepts_some(&puzzle(answer.index), &answer.tokens)));
                    if choice != Choice::Verified {
                        prop_assert_eq!(answer.attempts, all);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.index(), Some(bad));
                    seen[bad] += 1;
                }
            }
        }
        prop_assert!(seen.iter().all(|&times| times == 1), "{:?}", seen);
    }
}
