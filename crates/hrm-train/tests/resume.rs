//! A run that stops and goes on is the unbroken run, bit for bit.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::{ComputeType, Hrm};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet, Task};
use hrm_train::{
    Changes, Checkpoint, Freeze, Outcome, Preset, Rule, Run, RunFile, TrainConfig, TrainError,
    Trainer, WeightKind, differences, latest_checkpoint, read_metrics,
};

fn puzzles(seed: u64) -> Arc<PuzzleSet> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, seed).unwrap();
    Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap())
}

fn config(preset: &str, set: &PuzzleSet) -> TrainConfig {
    let mut config = Preset::by_name(preset).unwrap().config(set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.batch_size = 6;
    config.steps = 12;
    config.seed = 3;
    config.act.exploration = 0.5;
    config.act.max_segments = 3;
    config.log_every = 4;
    config.schedule.warmup_steps = 3;
    config
}

fn run_file(set: &PuzzleSet) -> RunFile {
    RunFile::new("unknown", config("trm-small", set))
}

fn changes(settings: &[(&str, &str)], allowed: &[&str]) -> Changes {
    Changes {
        steps: None,
        settings: settings
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        allowed: allowed.iter().map(|&key| key.to_owned()).collect(),
        data: None,
    }
}

/// Every byte of a run's state: a checkpoint.
fn bytes(trainer: &Trainer, dir: &Path) -> Vec<u8> {
    let path = dir.join("state.safetensors");
    trainer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn stop_and_go_is_unbroken(preset: &str, change: impl Fn(&mut TrainConfig)) {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut config = config(preset, &set);
    change(&mut config);
    let mut unbroken = Trainer::new(config.clone(), set.clone(), &device).unwrap();
    let reports: Vec<_> = unbroken.by_ref().map(Result::unwrap).collect();
    assert!(reports.iter().any(|report| report.metrics.is_some()));
    let end = bytes(&unbroken, dir.path());

    // Within a window of metrics, at its end, before everything and after everything.
    for stop in 0..=config.steps as usize {
        let mut first = Trainer::new(config.clone(), set.clone(), &device).unwrap();
        let mut seen: Vec<_> = first.by_ref().take(stop).map(Result::unwrap).collect();
        let path = dir.path().join("stop.safetensors");
        first.save(&path).unwrap();
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert_eq!(checkpoint.info().step, stop as u64);
        let mut second = Trainer::resume(checkpoint, set.clone(), &device).unwrap();
        seen.extend(second.by_ref().map(Result::unwrap));
        assert_eq!(seen, reports, "reports after a stop at {stop}");
        assert!(
            bytes(&second, dir.path()) == end,
            "state after a stop at {stop}"
        );
    }
}

#[test]
fn hrm_goes_on_bit_for_bit() {
    stop_and_go_is_unbroken("hrm-small", |_| {});
}

#[test]
fn trm_goes_on_bit_for_bit() {
    stop_and_go_is_unbroken("trm-small-mlp", |_| {});
}

#[test]
fn hrm_in_parts_goes_on_bit_for_bit() {
    stop_and_go_is_unbroken("hrm-small", |config| config.accumulate = 3);
}

#[test]
fn trm_in_parts_goes_on_bit_for_bit() {
    stop_and_go_is_unbroken("trm-small", |config| {
        config.accumulate = 2;
        config.gradient_clip = Some(0.5);
    });
}

#[test]
fn bf16_goes_on_bit_for_bit() {
    for preset in ["hrm-small", "trm-small-mlp"] {
        stop_and_go_is_unbroken(preset, |config| {
            config.model.compute = ComputeType::Bf16;
            config.steps = 6;
        });
    }
}

#[test]
fn muon_and_adam_w_go_on_bit_for_bit() {
    let epsilon = 1e-8;
    let momentum = 0.95;
    for rule in [Rule::Muon { momentum, epsilon }, Rule::AdamW { epsilon }] {
        stop_and_go_is_unbroken("hrm-small", |config| {
            config.optimizer.rule = rule;
            config.steps = 6;
        });
    }
}

#[test]
fn a_run_with_frozen_weights_goes_on_bit_for_bit() {
    for freeze in [Freeze::AllButPuzzles, Freeze::HLevel] {
        stop_and_go_is_unbroken("hrm-small", |config| {
            config.freeze = freeze;
            config.steps = 6;
        });
    }
}

#[test]
fn the_same_seed_repeats_and_another_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let set = puzzles(1);
    let mut config = config("trm-small", &set);
    config.steps = 4;
    let run = |config: &TrainConfig| {
        let mut trainer = Trainer::new(config.clone(), set.clone(), &Device::flex()).unwrap();
        trainer.by_ref().for_each(|report| assert!(report.is_ok()));
        bytes(&trainer, dir.path())
    };
    let once = run(&config);
    assert!(once == run(&config));
    config.seed += 1;
    assert!(once != run(&config));
}

#[test]
fn damage_is_found_and_other_data_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut trainer = Trainer::new(config("trm-small", &set), set.clone(), &device).unwrap();
    trainer.step().unwrap();
    let whole = bytes(&trainer, dir.path());
    let path = dir.path().join("damaged.safetensors");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::read(&path)
    };
    let checkpoint = read(&whole).unwrap();
    let error = Trainer::resume(checkpoint, puzzles(2), &device).unwrap_err();
    assert!(matches!(error, TrainError::DataChanged { .. }), "{error}");

    for cut in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(matches!(error, TrainError::BadCheckpoint { .. }), "{error}");
    }
    // A bit at each of 200 places: in the header, in the state, in the tensors.
    for i in 0..200 {
        let mut flipped = whole.clone();
        let at = if i < 100 {
            i * 97 % 20_000
        } else {
            i * (whole.len() / 211)
        };
        flipped[at] ^= 1 << (i % 8);
        assert!(read(&flipped).is_err(), "a flipped bit at {at} went unseen");
    }
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let set = puzzles(1);
    let trainer = Trainer::new(config("trm-small", &set), set, &Device::flex()).unwrap();
    let whole = bytes(&trainer, dir.path());
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(whole[8..8 + length].to_vec()).unwrap();
    let at = header.find("\\\"format\\\":").unwrap() + "\\\"format\\\":".len();
    let mut newer = header.clone();
    newer.replace_range(at..=at, "9");
    assert_ne!(newer, header);
    let path = dir.path().join("newer.safetensors");
    let file = [&whole[..8], newer.as_bytes(), &whole[8 + length..]].concat();
    std::fs::write(&path, file).unwrap();
    let error = Checkpoint::read(&path).unwrap_err();
    assert!(
        matches!(error, TrainError::NewerCheckpoint { found: 9, .. }),
        "{error}"
    );
}

#[test]
fn a_run_goes_on_with_other_settings_only_where_they_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    file.config.checkpoint_every = 3;
    let mut first = Run::create(&run, &file, set.clone(), &device).unwrap();
    let stopped = first.train(|report| report.step < 6).unwrap();
    assert_eq!(stopped, Outcome::Interrupted);
    drop(first);

    let resume = |changes: &Changes| Run::resume_with(&run, set.clone(), changes, &device);
    let before = std::fs::read(run.join("config.json")).unwrap();
    let lower = [("optimizer.lr", "1e-5"), ("gradient_clip", "1.0")];
    let error = resume(&changes(&lower, &["gradient_clip"])).unwrap_err();
    assert!(
        matches!(error, TrainError::ConfigChanged { .. })
            && error
                .to_string()
                .contains("`optimizer.lr` is 0.001, wanted 0.00001")
            && !error.to_string().contains("`gradient_clip`"),
        "{error}"
    );
    for (key, value) in [("batch_size", "3"), ("eval_hold_out", "0.25")] {
        let error = resume(&changes(&[(key, value)], &[key])).unwrap_err();
        assert!(
            matches!(&error, TrainError::FixedField { field, .. } if field == key),
            "{error}"
        );
    }
    let error = resume(&changes(&[], &["optimiser"])).unwrap_err();
    assert!(error.to_string().contains("did you mean"), "{error}");
    // A file edited by hand is a wish as well.
    let edited = String::from_utf8(before.clone())
        .unwrap()
        .replace("\"log_every\": 4", "\"log_every\": 2");
    std::fs::write(run.join("config.json"), edited).unwrap();
    let error = resume(&Changes::default()).unwrap_err();
    assert!(
        error.to_string().contains("`log_every` is 4, wanted 2"),
        "{error}"
    );
    std::fs::write(run.join("config.json"), &before).unwrap();
    let error = Run::resume(&run, set.clone(), Some(5), &device).unwrap_err();
    assert!(
        matches!(error, TrainError::TooFewSteps { made: 6, found: 5 }),
        "{error}"
    );
    assert_eq!(std::fs::read(run.join("config.json")).unwrap(), before);

    // Named, they hold; and no one has to name them again, not even before the next checkpoint.
    let mut resumed = resume(&changes(&lower, &["optimizer", "gradient_clip"])).unwrap();
    assert_eq!(resumed.trainer().config().optimizer.lr, 1e-5);
    resumed.train(|_| false).unwrap();
    drop(resumed);
    std::fs::remove_file(run.join("checkpoints/step-000000007.safetensors")).unwrap();
    let mut resumed = resume(&Changes::default()).unwrap();
    assert_eq!(resumed.trainer().state().step, 6);
    assert_eq!(resumed.trainer().config().gradient_clip, Some(1.0));
    resumed.train(|_| true).unwrap();
    drop(resumed);
    let mut resumed = Run::resume(&run, set.clone(), Some(15), &device).unwrap();
    resumed.train(|_| false).unwrap();
    drop(resumed);
    let mut resumed = Run::resume(&run, set.clone(), None, &device).unwrap();
    assert_eq!(resumed.train(|_| true).unwrap(), Outcome::Finished);
    assert_eq!(resumed.trainer().state().step, 15);
    let changed = differences(&file.config, resumed.trainer().config());
    let keys: Vec<&str> = changed.iter().map(|field| field.key.as_str()).collect();
    assert_eq!(keys, ["gradient_clip", "optimizer.lr", "steps"]);
    assert_eq!(
        RunFile::read(&run).unwrap().config,
        *resumed.trainer().config()
    );
}

#[test]
fn fields_that_the_state_depends_on_stay_as_they_are() {
    let device = Device::flex();
    let set = puzzles(1);
    let averaged = run_file(&set);
    let mut plain = averaged.clone();
    plain.config.ema = None;
    plain.config.optimizer.rule = Rule::AdamW { epsilon: 1e-8 };
    let check = |file: &RunFile, fields: &[(&str, &str, bool)]| {
        let dir = tempfile::tempdir().unwrap();
        drop(Run::create(dir.path(), file, set.clone(), &device).unwrap());
        for &(key, value, is_fixed) in fields {
            let other = changes(&[(key, value)], &[key]);
            match Run::resume_with(dir.path(), set.clone(), &other, &device) {
                Ok(run) => {
                    assert!(!is_fixed, "{key} is free");
                    assert_ne!(*run.trainer().config(), file.config, "{key}");
                }
                Err(TrainError::FixedField { field, .. }) => {
                    assert!(is_fixed, "{key} is fixed");
                    assert_eq!(field, key);
                }
                Err(error) => panic!("{key}: {error}"),
            }
        }
    };
    check(
        &averaged,
        &[
            ("batch_size", "3", true),
            ("seed", "4", true),
            ("freeze", "levels", true),
            ("eval_hold_out", "0.25", true),
            // Averages may decay otherwise, but not begin or end.
            ("ema", "null", true),
            ("ema", "0.9", false),
            ("optimizer.rule", r#"{"adam_w":{"epsilon":1e-8}}"#, true),
            ("model.hidden_size", "64", true),
            ("model.num_heads", "4", true),
            ("model.expansion", "8", true),
            ("model.levels.shared.layers", "3", true),
            ("model.position", "learned", true),
            ("model.halt_head", "q_learning", true),
            ("model.num_puzzle_ids", "2", true),
            ("model.puzzle_embedding.dim", "64", true),
            ("model.h_cycles", "2", false),
            ("model.l_cycles", "2", false),
            ("model.gradient", "last_update", false),
            ("model.compute", "bf16", false),
            ("act.max_segments", "4", false),
            ("act.exploration", "0.1", false),
            ("act.loss", "softmax", false),
            ("optimizer.lr", "1e-5", false),
            ("optimizer.weight_decay", "0.5", false),
            ("optimizer.beta1", "0.8", false),
            ("optimizer.beta2", "0.9", false),
            ("puzzle_optimizer.lr", "1e-5", false),
            ("puzzle_optimizer.weight_decay", "0.5", false),
            ("schedule.warmup_steps", "5", false),
            ("schedule.min_ratio", "0.5", false),
            ("gradient_clip", "1.0", false),
            ("accumulate", "2", false),
            ("augment", "false", false),
            ("steps", "20", false),
            ("log_every", "2", false),
            ("checkpoint_every", "5", false),
            ("keep_checkpoints", "3", false),
            ("eval_every", "2", false),
            ("eval_puzzles", "5", false),
            ("eval_patience", "3", false),
            ("guard.remedy", "skip_batch", false),
            ("guard.rate_factor", "0.25", false),
            ("guard.window", "9", false),
        ],
    );
    check(
        &plain,
        &[
            ("ema", "0.9", true),
            ("optimizer.rule", "adam_atan2", true),
            ("optimizer.rule.adam_w.epsilon", "1e-6", true),
            ("optimizer.lr", "1e-5", false),
        ],
    );
}

#[test]
fn a_run_goes_on_in_another_compute_type() {
    let device = Device::flex();
    let set = puzzles(1);
    for preset in ["hrm-small", "trm-small-mlp"] {
        for (from, to) in [("f32", "bf16"), ("bf16", "f32")] {
            let dir = tempfile::tempdir().unwrap();
            let mut file = run_file(&set);
            file.config = config(preset, &set);
            file.config.set("model.compute", from).unwrap();
            let mut run = Run::create(dir.path(), &file, set.clone(), &device).unwrap();
            run.train(|report| report.step < 4).unwrap();
            drop(run);
            let other = changes(&[("model.compute", to)], &["model.compute"]);
            let mut run = Run::resume_with(dir.path(), set.clone(), &other, &device).unwrap();
            let dtype = |run: &Run| {
                let carry = run.trainer().state().carry.as_ref().unwrap();
                format!("{:?}", carry.latent.z_h.dtype()).to_lowercase()
            };
            assert_eq!(dtype(&run), to);
            assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
            assert_eq!(dtype(&run), to);
        }
    }
}

#[test]
fn a_number_of_the_configuration_is_the_same_bits_after_a_resume() {
    let device = Device::flex();
    let set = puzzles(1);
    // Some of each kind of trouble: products and quotients that no short decimal is.
    for lr in [
        3e-4 * 0.7,
        1e-4 / 3.0,
        7e-5 * 1.1,
        1e-3 * 0.9 * 0.9,
        2e-4 / 7.0,
        6e-4 * 0.35,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut file = run_file(&set);
        file.config.optimizer.lr = lr;
        drop(Run::create(dir.path(), &file, set.clone(), &device).unwrap());
        let mut resumed = Run::resume(dir.path(), set.clone(), None, &device).unwrap();
        assert_eq!(
            resumed.trainer().config().optimizer.lr.to_bits(),
            lr.to_bits()
        );
        resumed.train(|_| false).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(
            checkpoint.info().config.optimizer.lr.to_bits(),
            lr.to_bits()
        );
    }
    // One in seven of these is read as its neighbour by a parser that does not care.
    for i in 1..300 {
        let lr = 1e-6 * f64::from(i) * 0.7;
        let text = serde_json::to_string(&lr).unwrap();
        let read: f64 = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_bits(), lr.to_bits(), "{text}");
    }
}

#[test]
fn a_run_that_cannot_go_on_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    file.config.eval_every = Some(2);
    let mut run = Run::create(dir.path(), &file, set.clone(), &device).unwrap();
    run.hold_out(puzzles(2)).unwrap();
    run.train(|report| report.step < 5).unwrap();
    drop(run);
    let metrics = dir.path().join("metrics.jsonl");
    let torn = [std::fs::read(&metrics).unwrap(), b"{\"step\": 6".to_vec()].concat();
    std::fs::write(&metrics, &torn).unwrap();
    let before = std::fs::read(dir.path().join("config.json")).unwrap();
    let longer = changes(&[("log_every", "3")], &["log_every"]);
    let resume = || Run::resume_with(dir.path(), set.clone(), &longer, &device).unwrap();
    let mut run = resume();
    let error = run.train(|_| true).unwrap_err();
    assert!(matches!(error, TrainError::NoHeldOut), "{error}");
    let error = run.hold_out(puzzles(3)).unwrap_err();
    assert!(matches!(error, TrainError::DataChanged { .. }), "{error}");
    drop(run);
    assert_eq!(
        std::fs::read(dir.path().join("config.json")).unwrap(),
        before
    );
    assert_eq!(std::fs::read(&metrics).unwrap(), torn);
    let mut run = resume();
    run.hold_out(puzzles(2)).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    assert_eq!(RunFile::read(dir.path()).unwrap().config.log_every, 3);
}

#[test]
fn lines_that_are_not_understood_stay_but_for_a_torn_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut run = Run::create(dir.path(), &run_file(&set), set.clone(), &device).unwrap();
    run.train(|report| report.step < 9).unwrap();
    drop(run);
    let metrics = dir.path().join("metrics.jsonl");
    let strange: &[u8] = b"no UTF-8: \xff\xfe\n{\"step\": 5, \"weather\": \"fine\"}\n";
    let found = std::fs::read(&metrics).unwrap();
    let torn = [strange, &found, b"{\"step\": 9, \"epo\xe2"].concat();
    std::fs::write(&metrics, torn).unwrap();
    let steps = || -> Vec<u64> {
        let lines = read_metrics(dir.path()).unwrap();
        lines.iter().map(hrm_train::MetricsLine::step).collect()
    };
    assert_eq!(steps(), [4, 8]);
    let mut run = Run::resume(dir.path(), set, None, &device).unwrap();
    run.train(|_| true).unwrap();
    assert_eq!(steps(), [4, 8, 12]);
    let after = std::fs::read(&metrics).unwrap();
    assert!(after.starts_with(&[strange, &found].concat()));
    assert_eq!(after.iter().filter(|&&byte| byte == b'\n').count(), 5);
}

#[test]
fn where_the_last_checkpoint_is_damaged_the_error_names_one_that_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    file.config.checkpoint_every = 3;
    file.config.keep_checkpoints = 3;
    let mut run = Run::create(dir.path(), &file, set.clone(), &device).unwrap();
    run.train(|_| true).unwrap();
    drop(run);
    let checkpoints = dir.path().join("checkpoints");
    let path = |step| checkpoints.join(format!("step-{step:09}.safetensors"));
    let damage = |step| {
        let whole = std::fs::read(path(step)).unwrap();
        std::fs::write(path(step), &whole[..whole.len() / 2]).unwrap();
    };
    let resume = || Run::resume(dir.path(), set.clone(), None, &device);
    damage(12);
    damage(9);
    for error in [
        resume().unwrap_err(),
        Checkpoint::open(dir.path()).unwrap_err(),
    ] {
        assert!(matches!(error, TrainError::BadCheckpoint { .. }), "{error}");
        let words = format!("{} is whole", path(6).display());
        for words in [
            "step-000000012",
            &words,
            "after step 6",
            "move the damaged file",
        ] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    // As it says.
    for step in [9, 12] {
        std::fs::rename(path(step), dir.path().join(format!("damaged-{step}"))).unwrap();
    }
    let mut run = resume().unwrap();
    assert_eq!(run.trainer().state().step, 6);
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    drop(run);
    for step in [6, 9, 12] {
        damage(step);
    }
    let error = resume().unwrap_err().to_string();
    assert!(error.contains("no whole checkpoint before it"), "{error}");
}

#[test]
fn a_folder_with_checkpoints_of_another_run_takes_no_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let file = run_file(&set);
    let mut run = Run::create(dir.path(), &file, set.clone(), &device).unwrap();
    run.train(|_| true).unwrap();
    drop(run);
    let last = latest_checkpoint(dir.path()).unwrap().unwrap();
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    let error = Run::create(dir.path(), &file, set.clone(), &device).unwrap_err();
    for words in [
        &last.display().to_string(),
        "no config.json",
        "another folder",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!dir.path().join("config.json").exists());
    std::fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    Run::create(dir.path(), &file, set, &device).unwrap();
}

#[test]
fn checkpoints_of_interrupts_take_no_planned_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    file.config.checkpoint_every = 3;
    file.config.keep_checkpoints = 1;
    file.config.steps = 9;
    drop(Run::create(dir.path(), &file, set.clone(), &device).unwrap());
    let mut held = Vec::new();
    for _ in 0..9 {
        let mut run = Run::resume(dir.path(), set.clone(), None, &device).unwrap();
        run.train(|_| false).unwrap();
        let names = std::fs::read_dir(dir.path().join("checkpoints")).unwrap();
        let mut steps: Vec<u64> = names
            .map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name["step-".len()..][..9].parse().unwrap()
            })
            .collect();
        steps.sort();
        held.push(steps);
    }
    let planned_and_last = [
        vec![0, 1],
        vec![0, 2],
        vec![3],
        vec![3, 4],
        vec![3, 5],
        vec![6],
        vec![6, 7],
        vec![6, 8],
        vec![9],
    ];
    assert_eq!(held, planned_and_last);
}

#[test]
fn a_run_killed_before_its_first_step_keeps_the_weights_that_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let device = Device::flex();
    let set = puzzles(1);
    let file = run_file(&set);
    let model = Hrm::new(&file.config.model, 99, &device).unwrap();
    let trainer = Trainer::with_model(file.config.clone(), model, set.clone(), &device).unwrap();
    let begun = bytes(&trainer, dir.path());
    drop(Run::start(&run, &file, trainer).unwrap());
    let resumed = Run::resume(&run, set.clone(), None, &device).unwrap();
    assert!(bytes(resumed.trainer(), dir.path()) == begun);
    drop(resumed);
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let error = Run::resume(&run, set, None, &device).unwrap_err();
    assert!(matches!(error, TrainError::NoRun { .. }), "{error}");
}

#[test]
fn an_error_of_the_writer_ends_the_training_and_leaves_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    file.config.checkpoint_every = 3;
    let mut first = Run::create(&run, &file, set.clone(), &device).unwrap();
    // A folder is where the next checkpoint is to be written.
    let blocked = run.join("checkpoints/step-000000006.safetensors");
    std::fs::create_dir_all(blocked.join("x")).unwrap();
    let error = first.train(|_| true).unwrap_err();
    assert!(matches!(error, TrainError::Io { .. }), "{error}");
    drop(first);
    std::fs::remove_dir_all(blocked).unwrap();
    let mut resumed = Run::resume(&run, set.clone(), None, &device).unwrap();
    assert_eq!(resumed.trainer().state().step, 3);
    resumed.train(|_| true).unwrap();
    let mut unbroken = Run::create(dir.path().join("unbroken"), &file, set, &device).unwrap();
    unbroken.train(|_| true).unwrap();
    assert!(bytes(resumed.trainer(), dir.path()) == bytes(unbroken.trainer(), dir.path()));
}

#[test]
fn a_run_of_a_model_at_hand_is_one_of_no_steps() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = run_file(&set);
    let model = Hrm::new(&file.config.model, 9, &device).unwrap();
    let run = dir.path().join("run");
    Run::import(&run, &file, &model, Task::Other).unwrap();
    let error = Run::import(&run, &file, &model, Task::Other).unwrap_err();
    assert!(matches!(error, TrainError::RunExists { .. }), "{error}");

    let values = |model: &Hrm| -> Vec<Vec<f32>> {
        let weights = model.weights().into_iter();
        weights
            .map(|weight| weight.value.try_into_vec_as().unwrap())
            .collect()
    };
    for kind in [WeightKind::Ema, WeightKind::Raw] {
        let checkpoint = Checkpoint::open(&run).unwrap();
        assert_eq!(
            (checkpoint.info().step, checkpoint.info().task),
            (0, Task::Other)
        );
        assert!(values(&checkpoint.model(kind, &device).unwrap()) == values(&model));
    }

    // Training goes on from it as from the model itself, on any data of its sizes.
    let other = puzzles(2);
    let mut from_model =
        Trainer::with_model(file.config.clone(), model, other.clone(), &device).unwrap();
    from_model
        .by_ref()
        .for_each(|report| assert!(report.is_ok()));
    let mut resumed = Run::resume(&run, other.clone(), None, &device).unwrap();
    resumed.train(|_| true).unwrap();
    // All that a model trained from scratch has random is in its weights.
    assert!(values(&resumed.trainer().state().model) == values(&from_model.state().model));
    assert!(values(&resumed.trainer().eval_model()) == values(&from_model.eval_model()));
    // From then on it is a run on those data.
    let error = Run::resume(&run, set, None, &device).unwrap_err();
    assert!(matches!(error, TrainError::RunInUse { .. }), "{error}");
    drop(resumed);
    let error = Run::resume(&run, puzzles(1), None, &device).unwrap_err();
    assert!(matches!(error, TrainError::DataChanged { .. }), "{error}");

    let model = Hrm::new(&file.config.model, 9, &device).unwrap();
    file.config.model.h_cycles += 1;
    let error = Run::import(dir.path().join("x"), &file, &model, Task::Other).unwrap_err();
    assert!(error.to_string().contains("`model`"), "{error}");
    assert!(!dir.path().join("x").exists());
}
