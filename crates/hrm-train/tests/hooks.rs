//! What a user has called around the steps.

use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{Preset, Run, RunFile, TrainConfig, Trainer};

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
fn a_resumed_run_has_hooks_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let (config, set) = short_run();
    let file = RunFile {
        preset: None,
        data: "unknown".into(),
        config,
    };
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
