//! A run that stops and goes on is the unbroken run, bit for bit.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::Hrm;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{PuzzleSet, Task};
use hrm_train::{
    Changes, Checkpoint, Freeze, Outcome, Preset, Rule, Run, RunFile, TrainConfig, TrainError,
    Trainer, WeightKind, differences,
};

fn puzzles(seed: u64) -> Arc<PuzzleSet> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, seed).unwrap();
    Arc::new(PuzzleSet::from_sudoku(&puzzles, SudokuSize::Four, true).unwrap())
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
    RunFile {
        preset: None,
        data: "unknown".into(),
        config: config("trm-small", set),
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

    let changes = |settings: &[(&str, &str)], allowed: &[&str]| Changes {
        steps: None,
        settings: settings
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        allowed: allowed.iter().map(|&key| key.to_owned()).collect(),
    };
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
    let error = resume(&changes(&[("batch_size", "3")], &["batch_size"])).unwrap_err();
    assert!(matches!(error, TrainError::FixedField { .. }), "{error}");
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
    let resumed = resume(&changes(&lower, &["optimizer", "gradient_clip"])).unwrap();
    assert_eq!(resumed.trainer().config().optimizer.lr, 1e-5);
    drop(resumed);
    let mut resumed = resume(&Changes::default()).unwrap();
    assert_eq!(resumed.trainer().state().step, 6);
    assert_eq!(resumed.trainer().config().gradient_clip, Some(1.0));
    resumed.train(|_| true).unwrap();
    drop(resumed);
    let resumed = Run::resume(&run, set.clone(), Some(15), &device).unwrap();
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
    let mut unbroken = Run::create(&dir.path().join("unbroken"), &file, set, &device).unwrap();
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
    let error = Run::import(&dir.path().join("x"), &file, &model, Task::Other).unwrap_err();
    assert!(error.to_string().contains("`model`"), "{error}");
    assert!(!dir.path().join("x").exists());
}
