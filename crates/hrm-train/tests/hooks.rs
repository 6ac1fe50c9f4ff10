//! What a user has called around the steps.

use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use hrm_act::Batch;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{Checkpoint, Preset, Run, RunFile, TrainConfig, Trainer};

/// Two steps, each reported.
fn short_run() -> (TrainConfig, Arc<PuzzleSet>) {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
    let set = Arc::new(
        PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
    );
    let mut config = Preset::by_name("trm-small").unwrap().config(&set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.batch_size = 6;
    config.log_every = 1;
    config.steps = 2;
    (config, set)
}

#[test]
fn hooks_are_called_in_their_order_and_may_change_the_batch() {
    let (config, set) = short_run();
    let losses = |blank: bool, calls: &Arc<Mutex<Vec<String>>>| {
        let mut trainer = Trainer::new(config.clone(), set.clone(), &Device::flex()).unwrap();
        let log = |text: String| {
            let calls = calls.clone();
            move || calls.lock().unwrap().push(text.clone())
        };
        let (first, second) = (log("before".into()), log("before, again".into()));
        trainer.before_step(move |state, batch| {
            assert!(state.step < 2);
            assert_eq!(batch.inputs.dims(), [6, 16]);
            if blank {
                batch.inputs = batch.inputs.clone().mul_scalar(0).add_scalar(1);
            }
            first();
        });
        trainer.before_step(move |_, _| second());
        let calls = calls.clone();
        trainer.after_step(move |state, report| {
            assert_eq!(state.step, report.step);
            assert!(report.metrics.is_some());
            calls.lock().unwrap().push(format!("after {}", report.step));
        });
        let reports = trainer.map(|report| report.unwrap().metrics.unwrap().loss());
        reports.collect::<Vec<f64>>()
    };
    let calls = Arc::default();
    let as_drawn = losses(false, &calls);
    let step = |n| {
        [
            "before".to_owned(),
            "before, again".to_owned(),
            format!("after {n}"),
        ]
    };
    assert_eq!(*calls.lock().unwrap(), [step(1), step(2)].concat());
    let blanked = losses(true, &calls);
    assert_ne!(as_drawn[0], blanked[0]);
}

#[test]
fn a_batch_of_other_sizes_is_refused_and_nothing_is_lost() {
    let (config, set) = short_run();
    let device = Device::flex();
    let mut trainer = Trainer::new(config.clone(), set.clone(), &device).unwrap();
    let batch = Batch::from_host(&set.batches(6).next().unwrap().0, &device);
    let report = trainer.step_on(batch.clone()).unwrap();
    assert_eq!(report.step, 1);
    assert!(report.metrics.unwrap().loss() > 0.0);
    let error = trainer.step_on(batch.rows(0..4)).unwrap_err().to_string();
    assert!(
        error.contains("inputs") && error.contains("[6, 16]"),
        "{error}"
    );
    let short = Batch {
        min_segments: batch.min_segments.clone().narrow(0, 0, 1),
        ..batch.clone()
    };
    let error = trainer.step_on(short).unwrap_err().to_string();
    assert!(
        error.contains("min_segments") && error.contains("[6]"),
        "{error}"
    );
    // A hook may not change the sizes either.
    trainer.before_step(|_, batch| *batch = batch.rows(0..3));
    let error = trainer.step().unwrap_err().to_string();
    assert!(error.contains("[3, 16]"), "{error}");
    assert_eq!(trainer.state().step, 1);

    let error = trainer.set_steps(0).unwrap_err().to_string();
    assert!(error.contains("steps"), "{error}");
    assert_eq!(trainer.config().steps, 2);
    trainer.set_steps(3).unwrap();
    assert_eq!(trainer.step_on(batch).unwrap().step, 2);
    let file = tempfile::NamedTempFile::new().unwrap();
    trainer.save(file.path()).unwrap();
    let bytes = trainer.snapshot().unwrap().to_bytes().unwrap();
    assert_eq!(bytes, std::fs::read(file.path()).unwrap());
    let checkpoint = Checkpoint::from_bytes(&bytes, "the store").unwrap();
    assert_eq!(checkpoint.to_bytes().unwrap(), bytes);
    let trainer = Trainer::resume(checkpoint, set, &device).unwrap();
    assert_eq!(trainer.state().step, 2);
}

#[test]
fn a_resumed_run_has_hooks_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let (config, set) = short_run();
    let file = RunFile::new("unknown", config);
    drop(Run::create(dir.path(), &file, set.clone(), &device).unwrap());
    let mut run = Run::resume(dir.path(), set, None, &device).unwrap();
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let (before, after) = (calls.clone(), calls.clone());
    run.before_step(move |state, batch| {
        assert_eq!(batch.batch_size(), 6);
        before
            .lock()
            .unwrap()
            .push(format!("before {}", state.step));
    });
    run.after_step(move |_, report| {
        after.lock().unwrap().push(format!("after {}", report.step));
    });
    run.train(|_| true).unwrap();
    assert_eq!(
        *calls.lock().unwrap(),
        ["before 0", "after 1", "before 1", "after 2"]
    );
}
