//! Every published recipe against the table of its numbers, and configurations that make no run.

use std::sync::Arc;

use burn::tensor::Device;
use hrm_act::LossKind;
use hrm_core::{ComputeType, GradientSpan, HaltHead, Levels, MixerKind, PositionKind, Sizes};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet, SetArrays, SetInfo, Task};
use hrm_train::{Freeze, PRESETS, Preset, Rule, TrainConfig, TrainError, Trainer};

/// What differs between the published recipes: name, batch, rate, M, T, decay, rate and decay of the puzzle table, epochs.
type Row = (&'static str, usize, f64, u32, usize, f64, f64, f64, f64);

const PUBLISHED: [Row; 11] = [
    ("hrm-sudoku-1k", 768, 1e-4, 16, 2, 1.0, 1e-4, 1.0, 20_000.0),
    (
        "hrm-sudoku-1k-1gpu",
        384,
        7e-5,
        16,
        2,
        1.0,
        7e-5,
        1.0,
        20_000.0,
    ),
    ("hrm-maze-1k", 768, 1e-4, 16, 2, 1.0, 1e-4, 1.0, 20_000.0),
    ("hrm-arc-1", 768, 1e-4, 16, 2, 0.1, 1e-2, 0.1, 100_000.0),
    ("hrm-arc-2", 768, 1e-4, 16, 2, 0.1, 1e-2, 0.1, 100_000.0),
    ("hrm-sudoku-full", 2304, 3e-4, 8, 8, 0.1, 3e-4, 0.1, 100.0),
    ("trm-sudoku-mlp", 768, 1e-4, 16, 6, 1.0, 1e-4, 1.0, 50_000.0),
    ("trm-sudoku", 768, 1e-4, 16, 6, 1.0, 1e-4, 1.0, 50_000.0),
    ("trm-maze", 768, 1e-4, 16, 4, 1.0, 1e-4, 1.0, 50_000.0),
    ("trm-arc-1", 768, 1e-4, 16, 4, 0.1, 1e-2, 0.1, 100_000.0),
    ("trm-arc-2", 768, 1e-4, 16, 4, 0.1, 1e-2, 0.1, 100_000.0),
];

const SUDOKU: Sizes = Sizes {
    seq_len: 81,
    vocab_size: 11,
    num_puzzle_ids: 1,
};

/// A set of so many examples, one group each.
fn examples(count: usize) -> PuzzleSet {
    let (inputs, labels) = (vec![1; count * 81], vec![2; count * 81]);
    PuzzleSet::from_examples(SetInfo::sudoku(SudokuSize::Nine), inputs, labels).unwrap()
}

/// The names of all values of a configuration, and of the choices that hold some.
fn keys(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        found.push(at.to_owned());
        return;
    };
    for (name, value) in fields {
        match at {
            "" => keys(name, value, found),
            // What a choice holds is explained with it.
            "model.levels" | "optimizer.rule" => found.push(at.to_owned()),
            at => keys(&format!("{at}.{name}"), value, found),
        }
    }
}

#[test]
fn every_key_is_explained() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    for preset in PRESETS {
        let config = serde_json::to_value(preset.config(&examples(1))).unwrap();
        keys("", &config, &mut found);
    }
    assert!(found.len() > 30 * PRESETS.len(), "{found:?}");
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_published_recipes_have_their_published_numbers() {
    let thousand = examples(1000);
    for (name, batch, lr, segments, l_cycles, decay, puzzle_lr, puzzle_decay, epochs) in PUBLISHED {
        let preset = Preset::by_name(name).unwrap();
        let config = preset.config(&thousand);
        config.validate().unwrap();
        assert_eq!(config.batch_size, batch, "{name}");
        assert_eq!(config.accumulate, 1, "{name}");
        assert_eq!(config.freeze, Freeze::Nothing, "{name}");
        assert_eq!(config.optimizer.rule, Rule::AdamAtan2, "{name}");
        assert_eq!(config.optimizer.lr, lr, "{name}");
        assert_eq!(config.optimizer.weight_decay, decay, "{name}");
        assert_eq!(
            (config.optimizer.beta1, config.optimizer.beta2),
            (0.9, 0.95),
            "{name}"
        );
        assert_eq!(config.puzzle_optimizer.lr, puzzle_lr, "{name}");
        assert_eq!(config.puzzle_optimizer.weight_decay, puzzle_decay, "{name}");
        assert_eq!(config.schedule.warmup_steps, 2000, "{name}");
        let full = name == "hrm-sudoku-full";
        let min_ratio = if full { 0.1 } else { 1.0 };
        assert_eq!(config.schedule.min_ratio, min_ratio, "{name}");
        assert_eq!(config.gradient_clip, None, "{name}");
        let as_they_are = full || name == "hrm-maze-1k";
        assert_eq!(config.augment, !as_they_are, "{name}");
        assert_eq!(config.act.max_segments, segments, "{name}");
        assert_eq!(config.act.exploration, 0.1, "{name}");
        let loss = if full {
            LossKind::Softmax
        } else {
            LossKind::Stablemax
        };
        assert_eq!(config.act.loss, loss, "{name}");
        let trm = name.starts_with("trm");
        assert_eq!(config.ema, trm.then_some(0.999), "{name}");
        let steps = (epochs * 1000.0 / batch as f64) as u64;
        assert_eq!(config.steps, steps, "{name}");

        let model = &config.model;
        assert_eq!(model.sizes(), SUDOKU, "{name}");
        assert_eq!(model.compute, ComputeType::Bf16, "{name}");
        assert_eq!(
            (model.hidden_size, model.num_heads, model.expansion),
            (512, 8, 4.0),
            "{name}"
        );
        assert_eq!(model.h_cycles, if trm { 3 } else { 2 }, "{name}");
        assert_eq!(model.l_cycles, l_cycles, "{name}");
        let puzzle = model.puzzle_embedding.unwrap();
        assert_eq!(
            (puzzle.dim, model.puzzle_len()),
            (512, if trm { 16 } else { 1 }),
            "{name}"
        );
        let mlp = name == "trm-sudoku-mlp";
        let (mixer, position) = match (mlp, full) {
            (true, _) => (MixerKind::Mlp, PositionKind::None),
            (_, true) => (MixerKind::Attention, PositionKind::Learned),
            _ => (MixerKind::Attention, PositionKind::Rope),
        };
        assert_eq!((model.mixer, model.position), (mixer, position), "{name}");
        let (levels, gradient, head) = if trm {
            let levels = Levels::Shared { layers: 2 };
            (levels, GradientSpan::LastCycle, HaltHead::HaltOnly)
        } else {
            let levels = Levels::Separate {
                h_layers: 4,
                l_layers: 4,
            };
            (levels, GradientSpan::LastUpdate, HaltHead::QLearning)
        };
        assert_eq!(
            (model.levels, model.gradient, model.halt_head),
            (levels, gradient, head),
            "{name}"
        );
    }
    let config = Preset::by_name("hrm-sudoku-1k").unwrap().config(&thousand);
    assert_eq!(config.steps, 26_041);
    assert_eq!(config.model.num_parameters(), 27_275_266);
    assert_eq!(
        PRESETS.len(),
        PUBLISHED.len() + 3,
        "the others are the small ones"
    );
}

#[test]
fn a_preset_of_another_task_is_refused() {
    let sudoku = examples(2);
    let check = |name: &str| Preset::by_name(name).unwrap().check(&sudoku);
    for name in [
        "hrm-sudoku-1k",
        "trm-sudoku-mlp",
        "hrm-sudoku-full",
        "trm-small",
        "hrm-small",
    ] {
        check(name).unwrap();
    }
    for name in ["hrm-maze-1k", "trm-maze", "hrm-arc-1", "trm-arc-2"] {
        let error = check(name).unwrap_err();
        assert!(matches!(error, TrainError::WrongTask { .. }), "{error}");
        assert!(
            error.to_string().contains("vocab_size 11, seq_len 81"),
            "{error}"
        );
    }
    let error = Preset::by_name("trm-sudko").unwrap_err().to_string();
    assert!(error.contains("did you mean `trm-sudoku`"), "{error}");
}

/// Whether a preset takes data that don't say their task.
fn takes(name: &str, vocab_size: usize, seq_len: usize) -> bool {
    let info = SetInfo {
        task: Task::Other,
        vocab_size,
        seq_len,
        ..SetInfo::maze(1, 1)
    };
    let set = PuzzleSet::from_examples(info, vec![1; seq_len], vec![2; seq_len]).unwrap();
    match Preset::by_name(name).unwrap().check(&set) {
        Ok(()) => true,
        Err(error) => {
            let found = format!("an unknown task (vocab_size {vocab_size}, seq_len {seq_len})");
            assert!(error.to_string().contains(&found), "{error}");
            false
        }
    }
}

#[test]
fn data_of_an_unknown_task_must_have_the_sizes_of_the_preset() {
    for name in ["hrm-sudoku-1k", "trm-sudoku", "hrm-sudoku-full"] {
        assert!(takes(name, 11, 81) && takes(name, 6, 16) && takes(name, 18, 256));
        assert!(!takes(name, 11, 80) && !takes(name, 12, 900) && !takes(name, 3, 2));
    }
    for name in ["hrm-maze-1k", "trm-maze"] {
        assert!(takes(name, 6, 900));
        assert!(!takes(name, 6, 100) && !takes(name, 12, 900));
    }
    for name in ["hrm-arc-1", "trm-arc-2"] {
        assert!(takes(name, 12, 900));
        assert!(!takes(name, 12, 100) && !takes(name, 6, 900));
    }
    assert!(takes("trm-small", 7, 10) && takes("hrm-small", 6, 100));
}

#[test]
fn epochs_become_steps_of_the_batch_and_the_set_at_hand() {
    let preset = Preset::by_name("hrm-sudoku-1k").unwrap();
    assert_eq!(preset.epochs(), Some(20_000.0));
    assert_eq!(Preset::by_name("hrm-small").unwrap().epochs(), None);
    let thousand = examples(1000);
    let mut config = preset.config(&thousand);
    assert_eq!(config.epochs(&thousand), 26_041.0 * 768.0 / 1000.0);
    config.batch_size = 96;
    // The steps of the whole batch make an eighth of the epochs.
    assert_eq!(config.epochs(&thousand), 26_041.0 * 96.0 / 1000.0);
    config.set_epochs(20_000.0, &thousand).unwrap();
    assert_eq!(config.steps, 208_333);
    // Parts of a batch are no batches.
    config.accumulate = 8;
    config.set_epochs(20_000.0, &thousand).unwrap();
    assert_eq!(config.steps, 208_333);
    config.set_epochs(20_000.0, &thousand.take(500)).unwrap();
    assert_eq!(config.steps, 104_166);
    config.set_epochs(1e-9, &thousand).unwrap();
    assert_eq!(config.steps, 1);
    for epochs in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = config.set_epochs(epochs, &thousand).unwrap_err();
        assert!(error.to_string().contains("`epochs`"), "{error}");
    }
    // Two groups of 2 and 3 puzzles with 4 examples each: an epoch draws one puzzle of each.
    let arrays = SetArrays {
        inputs: vec![1; 20 * 81],
        labels: vec![2; 20 * 81],
        puzzle_ids: vec![0; 5],
        puzzle_offsets: vec![0, 4, 8, 12, 16, 20],
        group_offsets: vec![0, 2, 5],
    };
    let copies = PuzzleSet::from_arrays(SetInfo::sudoku(SudokuSize::Nine), arrays).unwrap();
    config.set_epochs(24.0, &copies).unwrap();
    assert_eq!(config.steps, 24 * 2 * 4 / 96);
    assert_eq!(config.epochs(&copies), 24.0);
}

#[test]
fn what_makes_no_run_is_an_error_that_names_the_field() {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(8, 1).unwrap();
    let set = Arc::new(
        PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
    );
    let good = Preset::by_name("trm-small").unwrap().config(&set);
    let refused = |settings: &[(&str, &str)], named: &str| {
        let mut config: TrainConfig = good.clone();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        let error = Trainer::new(config, set.clone(), &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(named), "{settings:?}: {error}");
    };
    for (key, value) in [
        ("optimizer.lr", "0"),
        ("optimizer.lr", "-1e-4"),
        ("optimizer.weight_decay", "-0.1"),
        ("optimizer.beta1", "1"),
        ("optimizer.beta1", "-0.5"),
        ("optimizer.beta2", "1.5"),
        ("puzzle_optimizer.lr", "0"),
        ("puzzle_optimizer.weight_decay", "-1"),
        ("schedule.min_ratio", "-0.1"),
        ("ema", "1"),
        ("ema", "-0.1"),
        ("gradient_clip", "0"),
        ("act.exploration", "1.5"),
        ("act.max_segments", "0"),
        ("act.max_segments", "1048577"),
        ("batch_size", "0"),
        ("batch_size", "100000000"),
        ("model.compute", "f16"),
        ("accumulate", "0"),
        ("accumulate", "5"),
        ("freeze", "h_level"),
        ("steps", "0"),
        ("log_every", "0"),
        ("checkpoint_every", "0"),
        ("keep_checkpoints", "0"),
        ("eval_every", "0"),
        ("eval_puzzles", "0"),
        ("eval_hold_out", "0"),
        ("eval_hold_out", "1"),
        ("eval_patience", "0"),
        ("guard.rate_factor", "0"),
        ("guard.rate_factor", "-0.5"),
        ("guard.rate_factor", "1"),
        ("guard.spike", "0"),
        ("guard.spike", "-1"),
        ("guard.window", "0"),
    ] {
        refused(&[(key, value)], key);
    }
    for (rule, field) in [
        (r#"{"adam_w":{"epsilon":0}}"#, "epsilon"),
        (r#"{"muon":{"momentum":1,"epsilon":1e-8}}"#, "momentum"),
        (r#"{"muon":{"momentum":0.9,"epsilon":-1}}"#, "epsilon"),
    ] {
        refused(&[("optimizer.rule", rule)], field);
    }
    // The data's sizes.
    for (key, value, field) in [
        ("model.vocab_size", "7", "vocab_size"),
        ("model.seq_len", "25", "seq_len"),
    ] {
        refused(&[(key, value)], field);
    }
    let identified = SetInfo {
        num_puzzle_ids: 5,
        ..SetInfo::sudoku(SudokuSize::Four)
    };
    let many = PuzzleSet::from_examples(identified, vec![1; 16], vec![2; 16]).unwrap();
    let error = Trainer::new(good.clone(), Arc::new(many), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("num_puzzle_ids = 5"), "{error}");
}
