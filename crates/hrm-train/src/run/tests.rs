//! Runs that meet faults, and runs that evaluate.

use std::fs;

use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, SetArrays, SetInfo};

use super::*;
use crate::config::TrainConfig;
use crate::preset::Preset;
use crate::{EvalConfig, WeightKind, check_data, evaluate};

fn puzzles(seed: u64) -> Arc<PuzzleSet> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, seed).unwrap();
    Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap())
}

fn run_file() -> RunFile {
    let mut config: TrainConfig = Preset::by_name("trm-small-mlp")
        .unwrap()
        .config(&puzzles(1));
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.batch_size = 6;
    config.steps = 12;
    config.seed = 3;
    config.act.exploration = 0.5;
    config.act.max_segments = 3;
    config.log_every = 4;
    config.checkpoint_every = 3;
    config.schedule.warmup_steps = 3;
    config.guard.retries = 2;
    RunFile::new("unknown", config)
}

#[test]
fn a_new_run_begins_without_the_changes_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.initial = Some("another".into());
    file.changes.push(Change {
        step: 1,
        fields: differences(&file.config, &run_file().config),
    });
    drop(start(dir.path(), &file, None));
    let mut expected = run_file();
    expected.initial = file.initial;
    assert_eq!(RunFile::read(dir.path()).unwrap(), expected);
}

fn start(dir: &Path, file: &RunFile, poison: Option<fn(u64) -> bool>) -> Run {
    let mut run = Run::create(dir, file, puzzles(1), &Device::flex()).unwrap();
    run.poison = poison;
    run
}

/// Every file of a run, a packed one too, but its lock.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    loop {
        match files_now(dir) {
            Ok(found) => return found,
            // The writer has renamed one in the meantime.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

fn files_now(dir: &Path) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    let folders = [dir.to_owned(), dir.join("checkpoints")];
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() && !path.ends_with(".lock") {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                found.push((name, fs::read(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn names(dir: &Path) -> Vec<String> {
    let names = files(dir).into_iter();
    names
        .map(|(name, _)| name.display().to_string().replace('\\', "/"))
        .collect()
}

fn faults(dir: &Path) -> Vec<(u64, Fault)> {
    let lines = read_metrics(dir).unwrap().into_iter();
    lines
        .filter_map(|line| match line {
            MetricsLine::Fault { step, fault } => Some((step, fault)),
            _ => None,
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("checkpoints")).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn a_spoilt_batch_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.guard.remedy = Remedy::SkipBatch;
    let mut run = start(dir.path(), &file, Some(|batches| batches == 7));
    let mut seen = Vec::new();
    let outcome = run.train_with(|event| {
        if let RunEvent::Fault { step, fault } = event {
            seen.push((step, fault.clone()));
        }
        true
    });
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    // The eighth step spoils the weights; before the ninth is kept as a checkpoint, it is found.
    assert_eq!(seen.len(), 1);
    let (step, fault) = &seen[0];
    assert_eq!((*step, fault.found, fault.rate), (6, 9, 1.0));
    assert!(fault.reason.contains("not finite"), "{}", fault.reason);
    assert_eq!(faults(dir.path()), seen);
    let state = run.trainer().state();
    assert_eq!((state.step, state.progress.faults.len()), (12, 1));
    assert_eq!(run.trainer().sampler().state().batches, 14);
    assert_eq!(run.trainer().snapshot().unwrap().not_finite(), None);
    // The loss of the report at 8 was good, but it says nothing of its own step's update: the eighth batch is skipped, too.
    assert!(weights(run.trainer()) == weights(&by_hand(&file, &[(7, 2)])));
}

/// A training that after so many steps moves past so many batches.
fn by_hand(file: &RunFile, skips: &[(u64, usize)]) -> Trainer {
    let mut trainer = Trainer::new(file.config.clone(), puzzles(1), &Device::flex()).unwrap();
    for &(step, batches) in skips {
        while trainer.state().step < step {
            trainer.step().unwrap();
        }
        for _ in 0..batches {
            trainer.sampler_mut().next_batch();
        }
    }
    trainer.by_ref().for_each(|made| assert!(made.is_ok()));
    trainer
}

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    let weights = trainer.eval_model().weights().into_iter();
    weights
        .map(|at| at.value.try_into_vec_as().unwrap())
        .collect()
}

#[test]
fn a_spike_is_found_before_a_checkpoint_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.checkpoint_every = 5;
    file.config.steps = 20;
    file.config.guard.remedy = Remedy::SkipBatch;
    file.config.guard.window = 1;
    file.config.guard.spike = Some(3.0);
    // The ninth step, after the report at 8. All stays finite.
    let mut run = start(dir.path(), &file, Some(|batches| batches == 8));
    run.spoiling = 1e4;
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    let found = faults(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    let (step, fault) = &found[0];
    // Not at the report at 12, for which the checkpoint of step 10 would have been the last good one.
    assert_eq!((*step, fault.found), (5, 10));
    assert!(fault.reason.contains("far above"), "{}", fault.reason);
    assert_eq!(run.trainer().sampler().state().batches, 23);
    assert!(weights(run.trainer()) == weights(&by_hand(&file, &[(7, 3)])));
}

#[test]
fn a_second_fault_before_the_next_checkpoint_goes_back_one_further() {
    let train = |poison| {
        let dir = tempfile::tempdir().unwrap();
        let mut file = run_file();
        file.config.guard.remedy = Remedy::SkipBatch;
        file.config.checkpoint_every = 4;
        file.config.log_every = 1;
        file.config.guard.spike = None;
        let mut run = start(dir.path(), &file, Some(poison));
        assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
        assert_eq!(run.trainer().state().progress.faults.len(), 2);
        let found = faults(dir.path());
        let steps: Vec<_> = found.iter().map(|(to, at)| (*to, at.found)).collect();
        assert_eq!(
            names(dir.path())[0],
            "checkpoints/step-000000008.safetensors"
        );
        (steps, file, run)
    };
    // Two steps are spoilt, the loss of the next shows it. Each is skipped with the one that showed it.
    let (steps, file, run) = train(|batches| batches == 4 || batches == 8);
    assert_eq!(steps, [(4, 6), (0, 8)]);
    assert!(weights(run.trainer()) == weights(&by_hand(&file, &[(4, 2), (6, 2)])));
    // The step after the skipped ones is spoilt as well: the run does not come past the sixth, and all since the checkpoint
    // are skipped.
    let (steps, file, run) = train(|batches| batches == 4 || batches == 6);
    assert_eq!(steps, [(4, 6), (0, 6)]);
    assert!(weights(run.trainer()) == weights(&by_hand(&file, &[(0, 8)])));
}

#[test]
fn a_run_that_is_interrupted_around_faults_ends_as_the_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let mut file = run_file();
    file.config.guard.remedy = Remedy::SkipBatch;
    file.config.guard.retries = 3;
    file.config.eval_every = Some(2);
    // No multiple of `checkpoint_every`: the last checkpoint is no planned one.
    file.config.steps = 14;
    let poison = |batches| batches == 4 || batches == 10 || batches == 11;
    let mut run = start(&whole, &file, Some(poison));
    run.hold_out(puzzles(2)).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    drop(run);
    assert_eq!(faults(&whole).len(), 3);

    drop(start(&broken, &file, None));
    let mut lives = 0;
    loop {
        let mut run = Run::resume(&broken, puzzles(1), None, &Device::flex()).unwrap();
        run.poison = Some(poison);
        run.hold_out(puzzles(2)).unwrap();
        lives += 1;
        let mut steps = 2 + lives % 2;
        let outcome = run.train(|_| {
            steps -= 1;
            steps > 0
        });
        match outcome.unwrap() {
            Outcome::Finished => break,
            outcome => assert_eq!(outcome, Outcome::Interrupted),
        }
        assert!(lives < 30);
    }
    assert!(lives > 4);
    assert_eq!(names(&broken), names(&whole));
    for (a, b) in files(&broken).iter().zip(&files(&whole)) {
        assert!(a == b, "{}", a.0.display());
    }
}

#[test]
fn an_evaluation_that_is_broken_off_is_made_first_when_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let mut file = run_file();
    file.config.eval_every = Some(2);
    file.config.eval_patience = Some(30);
    let mut run = start(&whole, &file, None);
    run.hold_out(puzzles(2)).unwrap();
    let mut seen = Vec::new();
    let outcome = run.train_with(|event| {
        if let RunEvent::Evaluating {
            step,
            done,
            puzzles,
        } = event
        {
            seen.push((step, done, puzzles));
        }
        true
    });
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    // Two batches each, and after the last step, too.
    assert_eq!(seen[..3], [(2, 6, 12), (2, 12, 12), (4, 6, 12)]);
    assert_eq!((seen.len(), seen[11]), (12, (12, 12, 12)));
    drop(run);

    // Every evaluation is broken off twice; the puzzles of the last batch are waited for.
    drop(start(&broken, &file, None));
    let (mut met, mut told) = (Vec::new(), 0);
    loop {
        let mut run = Run::resume(&broken, puzzles(1), None, &Device::flex()).unwrap();
        run.hold_out(puzzles(2)).unwrap();
        let due = run.trainer().state().progress.evaluation_due;
        assert_eq!(due, !met.is_empty());
        let outcome = run.train_with(|event| match event {
            RunEvent::Evaluating { step, .. } => {
                met.push(step);
                met.iter().filter(|&&at| at == step).count() > 2
            }
            RunEvent::Step(_) => {
                told += 1;
                true
            }
            _ => true,
        });
        let step = run.trainer().state().step;
        match outcome.unwrap() {
            Outcome::Finished => break,
            outcome => assert_eq!(outcome, Outcome::Interrupted),
        }
        assert!(run.trainer().state().progress.evaluation_due);
        assert_eq!(
            latest_checkpoint(&broken).unwrap(),
            Some(checkpoint_path(&broken, step))
        );
        assert!(met.len() < 30);
    }
    // A step whose evaluation is broken off is told nevertheless.
    assert_eq!((met.len(), told), (24, 12));
    assert_eq!(names(&broken), names(&whole));
    for (a, b) in files(&broken).iter().zip(&files(&whole)) {
        assert!(a == b, "{}", a.0.display());
    }

    // Cut off once more, after the line of an evaluation and before the checkpoint that knows of it: it is written once.
    let mut run = start(&dir.path().join("killed"), &file, None);
    run.hold_out(puzzles(2)).unwrap();
    let broken_off = |event: RunEvent<'_>| !matches!(event, RunEvent::Evaluating { step: 4, .. });
    assert_eq!(run.train_with(broken_off).unwrap(), Outcome::Interrupted);
    let line = MetricsLine::Evaluation {
        step: 4,
        evaluation: Evaluation::default(),
        best: true,
    };
    run.journal().unwrap().write(&line).unwrap();
    drop(run);
    let killed = dir.path().join("killed");
    let mut run = Run::resume(&killed, puzzles(1), None, &Device::flex()).unwrap();
    run.hold_out(puzzles(2)).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    assert!(read_metrics(&killed).unwrap() == read_metrics(&whole).unwrap());
}

#[test]
fn the_best_of_a_time_that_the_run_went_back_from_is_kept_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &run_file(), None);
    run.train(|report| report.step < 5).unwrap();
    let steps = || -> Vec<u64> {
        let found = list_checkpoints(dir.path()).unwrap().into_iter();
        found.map(|(step, _)| step).collect()
    };
    assert_eq!(steps(), [0, 3, 5]);
    let best = Best {
        step: 5,
        exact: 12,
        puzzles: 12,
        cell_accuracy: 1.0,
    };
    let line = |step, best| MetricsLine::Evaluation {
        step,
        evaluation: Evaluation {
            puzzles: 12,
            ..Evaluation::default()
        },
        best,
    };
    let progress = run.trainer.progress_mut();
    (progress.best, progress.since_best) = (Some(best), 2);
    for line in [line(4, false), line(5, true), line(5, false)] {
        run.journal().unwrap().write(&line).unwrap();
    }
    assert!(run.go_back("spoilt".to_owned(), &mut |_| true).unwrap());
    let progress = &run.trainer().state().progress;
    assert_eq!((progress.best, progress.since_best), (Some(best), 0));
    // The checkpoint of the interrupt belongs to the time that is no more.
    assert_eq!((run.trainer().state().step, steps()), (3, vec![0, 3]));
    let lines = || read_metrics(dir.path()).unwrap();
    assert_eq!(lines()[0], line(5, true));
    assert!(matches!(lines()[1], MetricsLine::Fault { step: 3, .. }));
    assert_eq!(lines().len(), 2);
    // It stays when the run is interrupted on the way, and when it goes back again.
    run.train(|report| report.step < 4).unwrap();
    drop(run);
    let mut run = Run::resume(dir.path(), puzzles(1), None, &Device::flex()).unwrap();
    run.begin().unwrap();
    assert_eq!((lines().len(), &lines()[0]), (3, &line(5, true)));
    assert!(run.go_back("spoilt".to_owned(), &mut |_| true).unwrap());
    assert_eq!(run.trainer().state().step, 0);
    let steps: Vec<u64> = lines().iter().map(MetricsLine::step).collect();
    assert_eq!(steps, [5, 3, 0]);
    assert_eq!(faults(dir.path()).len(), 2);
}

#[test]
fn another_number_of_puzzles_begins_a_new_best() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.eval_every = Some(2);
    file.config.eval_puzzles = 12;
    file.config.eval_patience = Some(9);
    let mut run = start(dir.path(), &file, None);
    run.hold_out(puzzles(2)).unwrap();
    run.train(|report| report.step < 7).unwrap();
    let before = run.trainer().state().progress.clone();
    assert!(before.best.is_some());
    drop(run);
    let progress = |eval_puzzles: &str| {
        let changes = Changes {
            settings: vec![("eval_puzzles".into(), eval_puzzles.into())],
            allowed: vec!["eval_puzzles".into()],
            ..Changes::default()
        };
        let mut run = Run::resume_with(dir.path(), puzzles(1), &changes, &Device::flex()).unwrap();
        run.trainer.progress_mut().since_best = 9;
        run.hold_out(puzzles(2)).unwrap();
        (run.trainer().state().progress.clone(), run)
    };
    // As many puzzles as there are, as before.
    let (same, _) = progress("1000");
    assert_eq!((same.best, same.since_best), (before.best, 9));
    let (fewer, mut run) = progress("5");
    assert_eq!((fewer.best, fewer.since_best), (None, 0));
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    assert_eq!(run.trainer().state().progress.best.unwrap().puzzles, 5);
}

#[test]
fn a_step_is_told_even_where_its_evaluation_ends_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.eval_every = Some(4);
    let mut run = start(dir.path(), &file, None);
    run.hold_out(puzzles(2)).unwrap();
    let mut heard = Vec::new();
    let outcome = run.train_with(|event| match event {
        RunEvent::Evaluation { .. } => false,
        RunEvent::Step(report) => {
            heard.push((report.step, report.metrics.is_some()));
            true
        }
        _ => true,
    });
    assert_eq!(outcome.unwrap(), Outcome::Interrupted);
    assert_eq!(heard[3..], [(4, true)]);
}

#[test]
fn a_run_that_is_broken_off_anywhere_meets_the_same_faults_and_ends_alike() {
    for remedy in [Remedy::SkipBatch, Remedy::LowerRate] {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        let mut file = run_file();
        file.config.guard.remedy = remedy;
        file.config.eval_every = Some(2);
        // By the number of batches for the one remedy; by the first time for the other, which comes upon it again.
        let poison = |batches| batches == 4 || batches == 10;
        file.config.guard.retries = 2;
        let mut run = start(&whole, &file, Some(poison));
        run.hold_out(puzzles(2)).unwrap();
        let mut copies = Vec::new();
        let outcome = run.train_with(|_| {
            let to = dir.path().join(format!("copy{}", copies.len()));
            copy(&whole, &to);
            copies.push(to);
            true
        });
        match remedy {
            Remedy::SkipBatch => assert_eq!(outcome.unwrap(), Outcome::Finished),
            Remedy::LowerRate => {
                let error = outcome.unwrap_err();
                assert!(matches!(error, TrainError::GaveUp { .. }), "{error}");
            }
        }
        let expected = match remedy {
            Remedy::SkipBatch => 2,
            Remedy::LowerRate => 3,
        };
        assert_eq!(faults(&whole).len(), expected);
        assert!(copies.len() > 9);
        for broken_off in copies.into_iter().step_by(3) {
            let mut run = Run::resume(&broken_off, puzzles(1), None, &Device::flex()).unwrap();
            run.poison = Some(poison);
            run.hold_out(puzzles(2)).unwrap();
            let _ = run.train(|_| true);
            drop(run);
            assert_eq!(names(&broken_off), names(&whole));
            for (a, b) in files(&broken_off).iter().zip(&files(&whole)) {
                assert!(a == b, "{remedy:?}: {} of {broken_off:?}", a.0.display());
            }
        }
    }
}

#[test]
fn what_no_remedy_helps_against_ends_the_run_with_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let file = run_file();
    let mut run = start(dir.path(), &file, Some(|batches| batches == 7));
    let error = run.train(|_| true).unwrap_err();
    let said = error.to_string();
    assert!(
        matches!(error, TrainError::GaveUp { step: 9, .. }),
        "{said}"
    );
    for word in [
        "gave up after 2",
        "rates lowered to 0.5",
        "rates lowered to 0.25",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let found = faults(dir.path());
    let rates: Vec<f64> = found.iter().map(|(_, fault)| fault.rate).collect();
    assert_eq!(rates, [0.5, 0.25, 0.25]);
    assert_eq!(
        found.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [6, 3, 9]
    );
    assert_eq!(found[2].1.remedy, None);
    drop(run);
    // The last checkpoint is the good one.
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.info().step, 6);
    let trainer = Trainer::resume(checkpoint, puzzles(1), &Device::flex()).unwrap();
    assert_eq!(trainer.snapshot().unwrap().not_finite(), None);
}

#[test]
fn a_rate_that_is_far_too_high_is_lowered_until_the_run_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.optimizer.lr = 1e25;
    file.config.optimizer.weight_decay = 0.0;
    file.config.guard.rate_factor = 1e-14;
    let mut run = start(dir.path(), &file, None);
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    let found = faults(dir.path());
    assert!((1..=2).contains(&found.len()), "{found:?}");
    assert_eq!(run.trainer().snapshot().unwrap().not_finite(), None);
    let last = read_metrics(dir.path()).unwrap().into_iter().rev();
    let rate = last.into_iter().find_map(|line| match line {
        MetricsLine::Step(report) => Some(report.lr),
        _ => None,
    });
    assert!(rate.is_some_and(|rate| rate < 1e13), "{rate:?}");
}

#[test]
fn a_loss_far_above_the_median_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.log_every = 1;
    // Of all losses that rise at all, the first is far above.
    file.config.guard.spike = Some(1e-9);
    file.config.guard.window = 1;
    file.config.guard.retries = 0;
    file.config.steps = 40;
    let error = start(dir.path(), &file, None).train(|_| true).unwrap_err();
    assert!(
        error.to_string().contains("far above its running median"),
        "{error}"
    );
}

#[test]
fn a_run_evaluates_keeps_its_best_weights_and_stops_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.eval_every = Some(2);
    file.config.eval_puzzles = 10;
    file.config.eval_patience = Some(3);
    file.config.steps = 200;
    // Too slow to get better at this: patience must run out.
    file.config.optimizer.lr = 1e-9;
    file.config.puzzle_optimizer.lr = 1e-9;
    let mut run = start(dir.path(), &file, None);
    let error = run.train(|_| true).unwrap_err();
    assert!(matches!(error, TrainError::NoHeldOut), "{error}");
    let held_out = puzzles(2);
    run.hold_out(held_out.clone()).unwrap();
    let mut heard = Vec::new();
    let outcome = run.train_with(|event| {
        if let RunEvent::Evaluation { step, found, best } = event {
            heard.push((step, *found, best));
        }
        true
    });
    assert_eq!(outcome.unwrap(), Outcome::StoppedEarly);
    let lines = read_metrics(dir.path()).unwrap();
    let written: Vec<(u64, Evaluation, bool)> = lines
        .iter()
        .filter_map(|line| match line {
            MetricsLine::Evaluation {
                step,
                evaluation,
                best,
            } => Some((*step, *evaluation, *best)),
            _ => None,
        })
        .collect();
    assert_eq!(written.len(), heard.len());
    let steps: Vec<u64> = written.iter().map(|at| at.0).collect();
    assert_eq!(
        steps,
        (1..=steps.len() as u64).map(|i| 2 * i).collect::<Vec<_>>()
    );
    let progress = run.trainer().state().progress.clone();
    let best = progress.best.unwrap();
    assert_eq!(progress.since_best, 3);
    assert_eq!(run.trainer().state().step, best.step + 6);
    drop(run);

    // The file of the best weights gives that very evaluation.
    let checkpoint = Checkpoint::read(best_weights(dir.path())).unwrap();
    assert_eq!(checkpoint.info().step, best.step);
    let model = checkpoint.model(WeightKind::Ema, &Device::flex()).unwrap();
    let config = EvalConfig {
        batch_size: 6,
        segments: 3,
        limit: Some(10),
    };
    let found = evaluate(&model, &held_out, &config, |_| {}).unwrap();
    let at_best = heard.iter().rev().find(|at| at.2).unwrap();
    assert_eq!((at_best.0, at_best.1), (best.step, found));
    assert_eq!(found.puzzles, 10);
    assert!(found.exact_interval.0 <= found.exact_accuracy);

    // It stays stopped, until someone has more patience.
    let mut again = Run::resume(dir.path(), puzzles(1), None, &Device::flex()).unwrap();
    let error = again.hold_out(puzzles(3)).unwrap_err();
    assert!(matches!(error, TrainError::DataChanged { .. }), "{error}");
    again.hold_out(held_out.clone()).unwrap();
    assert_eq!(again.train(|_| true).unwrap(), Outcome::StoppedEarly);
    assert_eq!(again.trainer().state().step, best.step + 6);
    drop(again);
    let patient = Changes {
        steps: Some(best.step + 8),
        settings: vec![("eval_patience".into(), "null".into())],
        allowed: vec!["eval_patience".into()],
        data: None,
    };
    let mut again = Run::resume_with(dir.path(), puzzles(1), &patient, &Device::flex()).unwrap();
    again.hold_out(held_out).unwrap();
    assert_eq!(again.train(|_| true).unwrap(), Outcome::Finished);
}

/// One setting that is another from then on.
fn change(key: &str, value: &str) -> Changes {
    Changes {
        settings: vec![(key.into(), value.into())],
        allowed: vec![key.into()],
        ..Changes::default()
    }
}

#[test]
fn patience_is_that_of_a_run_that_evaluates() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.eval_every = Some(2);
    file.config.eval_patience = Some(1);
    file.config.steps = 200;
    file.config.optimizer.lr = 1e-9;
    file.config.puzzle_optimizer.lr = 1e-9;
    let mut run = start(dir.path(), &file, None);
    run.hold_out(puzzles(2)).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::StoppedEarly);
    let stopped = run.trainer().state().step;
    drop(run);
    let unwatched = Changes {
        steps: Some(stopped + 3),
        ..change("eval_every", "null")
    };
    let mut run = Run::resume_with(dir.path(), puzzles(1), &unwatched, &Device::flex()).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    assert_eq!(run.trainer().state().step, stopped + 3);
    assert_eq!(run.trainer().config().eval_patience, Some(1));
}

#[test]
fn the_best_of_a_killed_run_is_kept_where_it_goes_on_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (killed, lost) = (dir.path().join("killed"), dir.path().join("lost"));
    let mut file = run_file();
    file.config.eval_every = Some(2);
    file.config.checkpoint_every = 12;
    // So slow that none is better than the first evaluation.
    file.config.optimizer.lr = 1e-9;
    file.config.puzzle_optimizer.lr = 1e-9;
    let mut run = start(&killed, &file, None);
    run.hold_out(puzzles(2)).unwrap();
    run.train(|report| report.step < 7).unwrap();
    drop(run);
    let resume = |dir: &Path, changes: &Changes| {
        Run::resume_with(dir, puzzles(1), changes, &Device::flex()).unwrap()
    };
    let evaluations = |dir: &Path| -> Vec<(u64, bool)> {
        let lines = read_metrics(dir).unwrap().into_iter();
        lines
            .filter_map(|line| match line {
                MetricsLine::Evaluation { step, best, .. } => Some((step, best)),
                _ => None,
            })
            .collect()
    };
    let best = |run: &Run| {
        let progress = &run.trainer().state().progress;
        (progress.best, progress.since_best)
    };
    let (same, faster) = (Changes::default(), change("optimizer.lr", "0.001"));
    // The checkpoint of step 7 knows of all evaluations: what is changed from then on costs no patience, and gives none.
    let known = best(&resume(&killed, &same));
    let at = known.0.unwrap().step;
    assert!(at < 6 && known.1 > 0, "{known:?}");
    assert_eq!(best(&resume(&killed, &faster)), known);

    // A process that dies writes none: the last is the one of the start.
    fs::remove_file(checkpoint_path(&killed, 7)).unwrap();
    copy(&killed, &lost);
    let moved = Changes {
        data: Some("elsewhere".into()),
        ..Changes::default()
    };
    for comes_to_it_again in [&same, &moved] {
        assert_eq!(best(&resume(&killed, comes_to_it_again)), (None, 0));
    }
    let mut run = resume(&killed, &faster);
    assert_eq!(best(&run), (known.0, 0));
    run.hold_out(puzzles(2)).unwrap();
    run.begin().unwrap();
    assert_eq!(evaluations(&killed), [(at, true)]);
    drop(run);
    // Killed again, before a checkpoint knows of the change.
    let mut run = resume(&killed, &same);
    assert_eq!(best(&run), (known.0, 0));
    run.hold_out(puzzles(2)).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    let (last, _) = best(&run);
    let weights = Checkpoint::read(best_weights(&killed)).unwrap();
    assert_eq!(weights.info().progress.best, last);
    assert!(evaluations(&killed).contains(&(last.unwrap().step, true)));

    // Unchanged, it has all but the steps to the last checkpoint to make anew.
    let mut run = resume(&lost, &same);
    run.begin().unwrap();
    assert!(evaluations(&lost).is_empty());
    drop(run);
    // Weights that are gone are the best of nothing.
    fs::remove_file(best_weights(&lost)).unwrap();
    assert_eq!(best(&resume(&lost, &faster)), (None, 0));
}

#[test]
fn a_rate_that_was_lowered_stays_so_under_another_factor() {
    let dir = tempfile::tempdir().unwrap();
    let file = run_file();
    let mut run = start(dir.path(), &file, None);
    run.train(|report| report.step < 4).unwrap();
    assert!(run.go_back("spoilt".to_owned(), &mut |_| true).unwrap());
    run.train(|report| report.step < 7).unwrap();
    drop(run);
    let milder = change("guard.rate_factor", "0.75");
    let mut run = Run::resume_with(dir.path(), puzzles(1), &milder, &Device::flex()).unwrap();
    let mut rates = Vec::new();
    run.train(|report| {
        rates.push(report.lr);
        report.step < 9
    })
    .unwrap();
    let plan = |step| file.config.optimizer.lr * file.config.schedule.factor(step, 12);
    assert_eq!(rates, [0.5 * plan(8), 0.5 * plan(9)]);
    assert!(run.go_back("spoilt".to_owned(), &mut |_| true).unwrap());
    assert_eq!(run.trainer().state().progress.rate(), 0.375);
    let told: Vec<f64> = faults(dir.path())
        .iter()
        .map(|(_, fault)| fault.rate)
        .collect();
    assert_eq!(told, [0.5, 0.375]);
}

#[test]
fn a_run_on_several_devices_goes_back_on_all() {
    let train = |accumulate: usize, devices: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut file = run_file();
        file.config.guard.remedy = Remedy::SkipBatch;
        file.config.accumulate = accumulate;
        let mut run = start(dir.path(), &file, Some(|batches| batches == 7));
        if devices > 1 {
            crate::parallel::tests::spread(&mut run.trainer, devices).unwrap();
        }
        assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
        assert_eq!(run.trainer().state().progress.faults.len(), 1);
        run.trainer().snapshot().unwrap().tensors
    };
    assert_eq!(train(1, 3), train(3, 1));
}

#[test]
fn a_packed_run_is_moved_in_parts_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = run_file();
    let mut run = start(&at("run"), &file, None);
    run.hold_out(puzzles(2)).unwrap();
    run.train(|report| report.step < 6).unwrap();
    let before = run.trainer().snapshot().unwrap().tensors;
    drop(run);

    let parts = Run::pack(at("run"), at("packed"), 100_000).unwrap();
    let sizes: Vec<u64> = parts
        .iter()
        .map(|part| part.metadata().unwrap().len())
        .collect();
    assert!(
        parts.len() > 2 && sizes.iter().all(|&size| size <= 100_000),
        "{sizes:?}"
    );
    let whole = fs::metadata(latest_checkpoint(at("run")).unwrap().unwrap()).unwrap();
    assert!(sizes.iter().sum::<u64>() < whole.len() * 2 / 3);

    Run::unpack(at("packed"), at("moved")).unwrap();
    let mut moved = Run::resume(at("moved"), puzzles(1), None, &Device::flex()).unwrap();
    moved.hold_out(puzzles(2)).unwrap();
    let state = moved.trainer().state();
    assert!(state.step == 6 && state.carry.is_none());
    let after = moved.trainer().snapshot().unwrap().tensors;
    let kept = |name: &&String| !name.starts_with("carry/") && *name != "window";
    assert!(before.keys().filter(kept).eq(after.keys()));
    for (name, found) in &after {
        let expected = before[name].iter::<f32>();
        // Half a unit in the last of bf16's eight digits.
        let rounding = if name.starts_with("model/") {
            0.0
        } else {
            1.0 / 256.0
        };
        for (found, expected) in found.iter::<f32>().zip(expected) {
            assert!(
                (found - expected).abs() <= rounding * expected.abs(),
                "{name}"
            );
        }
    }
    assert_eq!(moved.train(|_| true).unwrap(), Outcome::Finished);
    let reported: Vec<u64> = read_metrics(at("moved"))
        .unwrap()
        .iter()
        .map(MetricsLine::step)
        .collect();
    assert_eq!(reported, [4, 8, 12]);
    drop(moved);
    // From here on it is a run like any other.
    let again = Run::resume(at("moved"), puzzles(1), Some(15), &Device::flex()).unwrap();
    assert!(again.trainer().state().carry.is_some());
}

#[test]
fn what_is_no_whole_packed_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = run_file();
    drop(start(&at("run"), &file, None));
    let parts = Run::pack(at("run"), at("packed"), 100_000).unwrap();
    let refused = |wanted: &str| {
        let error = Run::unpack(at("packed"), at("moved")).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!at("moved").exists());
    };
    let bytes = fs::read(&parts[1]).unwrap();
    let mut damaged = bytes.clone();
    damaged[500] ^= 1;
    fs::write(&parts[1], &damaged).unwrap();
    refused("checksum");
    fs::remove_file(&parts[1]).unwrap();
    refused(&format!("part 2 of {} is missing", parts.len()));
    fs::write(&parts[1], &bytes).unwrap();
    fs::write(at("packed").join("checkpoint-001-of-002"), &bytes).unwrap();
    refused("two checkpoints");
    fs::remove_file(at("packed").join("checkpoint-001-of-002")).unwrap();
    // A run's own folder, none at all, and one that is there.
    for other in ["run", "nowhere"] {
        let error = Run::unpack(at(other), at("moved")).unwrap_err();
        assert!(matches!(error, TrainError::NotPacked { .. }), "{error}");
    }
    for out in ["run", "packed"] {
        let error = Run::pack(at("run"), at(out), 100_000).unwrap_err();
        assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
        let error = Run::unpack(at("packed"), at(out)).unwrap_err();
        match out {
            "run" => assert!(matches!(error, TrainError::RunExists { .. }), "{error}"),
            _ => assert!(matches!(error, TrainError::Packed { .. }), "{error}"),
        }
    }
    Run::unpack(at("packed"), at("moved")).unwrap();
}

#[test]
fn a_run_starts_over_and_what_is_not_its_own_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (fresh, run) = (dir.path().join("fresh"), dir.path().join("run"));
    let file = run_file();
    let over = || {
        let trainer = Trainer::new(file.config.clone(), puzzles(1), &Device::flex()).unwrap();
        Run::start_over(&run, &file, trainer)
    };
    drop(start(&fresh, &file, None));
    let mut first = start(&run, &file, None);
    first.train(|report| report.step < 4).unwrap();
    // Half written by the run, and by someone else.
    let theirs = [
        "notes.txt",
        "notes.tmp",
        "checkpoints/step-+7.safetensors",
        "checkpoints/step-last.safetensors",
        "checkpoints/model.bin.tmp",
    ];
    let halves = [
        "config.json.tmp",
        "best.safetensors",
        "checkpoints/step-000000009.safetensors.tmp",
    ];
    for name in theirs.iter().chain(&halves) {
        fs::write(run.join(name), name).unwrap();
    }
    let before = files(&run);
    let error = over().unwrap_err();
    assert!(matches!(error, TrainError::RunInUse { .. }), "{error}");
    let error = Run::check_start_over(&run).unwrap_err();
    assert!(matches!(error, TrainError::RunInUse { .. }), "{error}");
    assert_eq!(files(&run), before);
    drop(first);
    Run::check_start_over(&run).unwrap();

    let mut again = over().unwrap();
    let (kept, own): (Vec<_>, Vec<_>) = files(&run)
        .into_iter()
        .partition(|(name, _)| theirs.iter().any(|known| name == Path::new(known)));
    assert_eq!(kept.len(), theirs.len());
    assert!(own == files(&fresh));
    let error = over().unwrap_err();
    assert!(matches!(error, TrainError::RunInUse { .. }), "{error}");
    assert_eq!(again.train(|_| true).unwrap(), Outcome::Finished);
    for name in theirs {
        assert_eq!(fs::read(run.join(name)).unwrap(), name.as_bytes());
    }
}

#[test]
fn only_a_run_or_what_is_left_of_a_start_is_started_over() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |wanted: &str| {
        let error = Run::check_start_over(dir.path()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    };
    Run::check_start_over(at("nowhere")).unwrap();
    Run::check_start_over(dir.path()).unwrap();
    fs::write(at("metrics.jsonl"), "").unwrap();
    refused("nor what a start begins with");
    fs::create_dir(at("checkpoints")).unwrap();
    fs::write(at("checkpoints/step-000000000.safetensors.tmp"), "half").unwrap();
    fs::create_dir(at("tensorboard")).unwrap();
    Run::check_start_over(dir.path()).unwrap();
    fs::write(at("checkpoints/model.bin"), "weights").unwrap();
    refused("checkpoints/model.bin is no checkpoint");
    fs::write(at("notes.txt"), "mine").unwrap();
    refused("notes.txt is no file of one");
    fs::write(at("config.json"), r#"{"hidden_size": 512}"#).unwrap();
    refused("hidden_size");
    drop(start(&at("run"), &run_file(), None));
    fs::copy(at("run/config.json"), at("config.json")).unwrap();
    Run::check_start_over(dir.path()).unwrap();
}

#[test]
fn a_packed_run_is_not_taken_for_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = run_file();
    drop(start(&at("run"), &file, None));
    Run::pack(at("run"), at("packed"), 100_000).unwrap();
    let before = files(&at("packed"));
    let trainer = || Trainer::new(file.config.clone(), puzzles(1), &Device::flex()).unwrap();
    for error in [
        Run::start_over(at("packed"), &file, trainer()).err(),
        Run::start(at("packed"), &file, trainer()).err(),
        Run::resume(at("packed"), puzzles(1), None, &Device::flex()).err(),
        Checkpoint::open(at("packed")).err(),
    ] {
        let error = error.expect("a packed run is refused");
        assert!(matches!(error, TrainError::Packed { .. }), "{error}");
    }
    assert_eq!(files(&at("packed")), before);
    // A run beside whose checkpoints parts lie is one.
    let part = at("run").join("checkpoint-001-of-001");
    fs::write(&part, "theirs").unwrap();
    drop(Run::start_over(at("run"), &file, trainer()).unwrap());
    assert!(part.exists());
}

#[test]
fn evaluations_from_before_the_best_cost_no_patience() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &run_file(), None);
    let found = |exact| Evaluation {
        exact,
        puzzles: 12,
        ..Evaluation::default()
    };
    assert!(run.note(4, &found(3)));
    assert!(run.note(9, &found(5)));
    // Back to an earlier checkpoint: what is made again lies below the best as it did before.
    for step in [4, 7, 9] {
        assert!(!run.note(step, &found(3)));
        assert_eq!(run.trainer.state().progress.since_best, 0);
    }
    assert!(!run.note(12, &found(3)));
    assert_eq!(run.trainer.state().progress.since_best, 1);
}

#[test]
fn an_interrupt_of_a_spoilt_state_says_that_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    // No report, and no checkpoint but the first, before the interrupt.
    file.config.checkpoint_every = 12;
    file.config.log_every = 12;
    let mut run = start(dir.path(), &file, Some(|batches| batches == 4));
    let mut unwritten = Vec::new();
    let outcome = run.train_with(|event| match event {
        RunEvent::Step(report) => report.step < 6,
        RunEvent::Unwritten { step, reason } => {
            unwritten.push((step, reason.to_owned()));
            true
        }
        _ => true,
    });
    assert_eq!(outcome.unwrap(), Outcome::Interrupted);
    assert_eq!(unwritten.len(), 1);
    assert_eq!(unwritten[0].0, 6);
    assert!(unwritten[0].1.contains("not finite"), "{}", unwritten[0].1);
    assert_eq!(list_checkpoints(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_last_checkpoint_that_could_not_be_written_is_written_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = run_file();
    file.config.steps = 3;
    let mut run = start(dir.path(), &file, None);
    // A folder in the place of the file.
    let last = checkpoint_path(dir.path(), 3);
    fs::create_dir_all(last.join("in the way")).unwrap();
    assert!(run.train(|_| true).is_err());
    fs::remove_dir_all(&last).unwrap();
    assert_eq!(run.train(|_| true).unwrap(), Outcome::Finished);
    assert_eq!(Checkpoint::read(&last).unwrap().info().step, 3);
}

#[test]
fn a_run_that_goes_on_from_a_packed_one_can_be_saved_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut run = start(&at("run"), &run_file(), None);
    run.train(|report| report.step < 5).unwrap();
    drop(run);
    Run::pack(at("run"), at("packed"), 100_000).unwrap();
    Run::unpack(at("packed"), at("unpacked")).unwrap();
    let resume = |checkpoint| Trainer::resume(checkpoint, puzzles(1), &Device::flex()).unwrap();
    let trainer = resume(Checkpoint::latest(&at("unpacked")).unwrap());
    trainer.save(at("saved")).unwrap();
    let mut again = resume(Checkpoint::read(at("saved")).unwrap());
    assert_eq!(again.state().step, 5);
    again.step().unwrap();
}

#[test]
fn held_out_puzzles_without_answers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &run_file(), None);
    let set = puzzles(2);
    let inputs: Vec<u8> = (0..set.num_examples())
        .flat_map(|index| set.example(index).inputs.to_vec())
        .collect();
    let labels = vec![hrm_data::IGNORED; inputs.len()];
    let unknown = PuzzleSet::from_examples(set.info().clone(), inputs, labels).unwrap();
    let error = run.hold_out(Arc::new(unknown)).unwrap_err().to_string();
    assert!(
        error.starts_with("none of the 12 held-out puzzles"),
        "{error}"
    );
    run.hold_out(set).unwrap();
}

#[test]
fn losses_of_another_model_are_none_to_compare_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &run_file(), None);
    run.train(|report| report.step < 6).unwrap();
    drop(run);
    let losses = |key: &str, value: &str| {
        let checkpoint = Checkpoint::latest(dir.path()).unwrap();
        let mut config = checkpoint.info().config.clone();
        config.set(key, value).unwrap();
        let changed = checkpoint.with_config(config);
        changed.info().progress.recent_losses.len()
    };
    assert!(losses("optimizer.lr", "0.1") > 0);
    assert_eq!(losses("model.l_cycles", "4"), 0);
    assert_eq!(losses("act.max_segments", "2"), 0);
}

#[test]
fn puzzle_ids_are_nothing_to_a_model_without_a_table() {
    let mut config = run_file().config.model;
    config.num_puzzle_ids = 1;
    let info = SetInfo {
        num_puzzle_ids: 3,
        ..puzzles(1).info().clone()
    };
    let set = PuzzleSet::from_examples(info, vec![2; 16], vec![2; 16]).unwrap();
    let error = check_data(&config, &set).unwrap_err().to_string();
    assert!(error.contains("num_puzzle_ids"), "{error}");
    config.puzzle_embedding = None;
    check_data(&config, &set).unwrap();

    // Such a run can be saved and goes on.
    let info = SetInfo {
        num_puzzle_ids: 9,
        ..puzzles(1).info().clone()
    };
    let arrays = SetArrays {
        inputs: vec![2; 32],
        labels: vec![2; 32],
        puzzle_ids: vec![7, 8],
        puzzle_offsets: vec![0, 1, 2],
        group_offsets: vec![0, 1, 2],
    };
    let set = Arc::new(PuzzleSet::from_arrays(info, arrays).unwrap());
    let mut file = run_file();
    file.config.model = config;
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::create(dir.path(), &file, set.clone(), &Device::flex()).unwrap();
    let mut steps = 6;
    run.train(|_| {
        steps -= 1;
        steps > 0
    })
    .unwrap();
    drop(run);
    let run = Run::resume(dir.path(), set, None, &Device::flex()).unwrap();
    assert_eq!(run.trainer().state().step, 6);
}

#[test]
fn a_run_is_not_started_under_another_configuration_than_its_trainers() {
    let dir = tempfile::tempdir().unwrap();
    let (device, file) = (Device::flex(), run_file());
    drop(start(dir.path(), &file, None));
    let before = files(dir.path());
    let mut other = file.clone();
    other.config.optimizer.lr = 0.5;
    let trainer = || Trainer::new(other.config.clone(), puzzles(1), &device).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    for error in [
        Run::start(&elsewhere, &file, trainer()).unwrap_err(),
        Run::start_over(dir.path(), &file, trainer()).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(
            error.contains("that of the trainer, found `optimizer.lr` is 0.5"),
            "{error}"
        );
    }
    assert!(!elsewhere.exists());
    assert_eq!(files(dir.path()), before);
}
