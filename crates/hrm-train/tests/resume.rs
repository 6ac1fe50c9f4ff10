//! A run that stops and goes on is the unbroken run, bit for bit.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::Hrm;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{PuzzleSet, Task};
use hrm_train::{Checkpoint, Preset, Run, RunFile, TrainConfig, TrainError, Trainer, WeightKind};

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

/// Every byte of a run's state: a checkpoint.
fn bytes(trainer: &Trainer, dir: &Path) -> Vec<u8> {
    let path = dir.join("state.safetensors");
    trainer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn stop_and_go_is_unbroken(preset: &str) {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let config = config(preset, &set);
    let mut unbroken = Trainer::new(config.clone(), set.clone(), &device).unwrap();
    let reports: Vec<_> = unbroken.by_ref().map(Result::unwrap).collect();
    assert!(reports.iter().any(|report| report.metrics.is_some()));
    let end = bytes(&unbroken, dir.path());

    // Steps 5 and 7 lie within a window of metrics, 8 at its end, 0 before everything.
    for stop in [0, 1, 5, 7, 8, 11] {
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
    stop_and_go_is_unbroken("hrm-small");
}

#[test]
fn trm_goes_on_bit_for_bit() {
    stop_and_go_is_unbroken("trm-small-mlp");
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
fn a_run_of_a_model_at_hand_is_one_of_no_steps() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = puzzles(1);
    let mut file = RunFile {
        preset: None,
        data: "unknown".into(),
        config: config("trm-small", &set),
    };
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
