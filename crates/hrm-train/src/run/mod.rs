//! A run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and a lock while a process trains in it.

mod file;
mod folder;
mod guard;
mod journal;
mod pack;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::Hrm;
use hrm_data::{PuzzleSet, Task};

use crate::checkpoint::{Checkpoint, Snapshot};
use crate::error::TrainError;
use crate::evaluate::{EvalConfig, Evaluation, evaluate};
use crate::trainer::{StepReport, Trainer, check_data};

pub use file::{Changes, Difference, RunFile, differences};
pub use folder::{best_weights, latest_checkpoint};
pub use guard::{Best, Fault, GuardConfig, Progress, Remedy};
pub use journal::{MetricsLine, read_metrics};

use file::Record;
use folder::{checkpoint_path, list_checkpoints, lock, prepare, prune, sweep};
use journal::Journal;
use writer::Writer;

/// How [`Run::train`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are made.
    Finished,
    /// The caller asked to stop; a checkpoint was written.
    Interrupted,
    /// The evaluations have not improved for as many times as the configuration has patience.
    StoppedEarly,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// A step was made.
    Step(&'a StepReport),
    /// The held-out puzzles were evaluated on.
    Evaluation {
        /// Optimizer steps made.
        step: u64,
        /// What was found.
        found: &'a Evaluation,
        /// Whether no evaluation of the run before was better.
        best: bool,
    },
    /// The run has gone back to a checkpoint.
    Fault {
        /// Step of the checkpoint.
        step: u64,
        /// What was wrong, and what is done about it.
        fault: &'a Fault,
    },
}

/// A training run in a folder.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    trainer: Trainer,
    journal: Journal,
    held_out: Option<Arc<PuzzleSet>>,
    /// Step of the last checkpoint that was written or is being written.
    saved: u64,
    writer: Writer,
    /// Held while the run lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
    /// Stands for a batch that spoils the weights: told by the number of batches drawn.
    #[cfg(test)]
    poison: Option<fn(u64) -> bool>,
}

impl Run {
    /// Starts a run in a new or empty folder.
    ///
    /// # Errors
    /// If the folder holds a run already, can't be written, or the configuration and the data make no run; nothing is
    /// written before that is known.
    pub fn create(
        dir: &Path,
        file: &RunFile,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let trainer = Trainer::new(file.config.clone(), set, device)?;
        Self::start(dir, file, trainer)
    }

    /// Starts a run in a new or empty folder from a trainer at hand, such as one that starts from imported weights. Its
    /// first checkpoint is written at once: whatever befalls the run, there is one to go on from.
    ///
    /// # Errors
    /// If the folder holds a run already or can't be written.
    pub fn start(dir: &Path, file: &RunFile, trainer: Trainer) -> Result<Self, TrainError> {
        let lock = prepare(dir)?;
        let step = trainer.state().step;
        trainer.save(&checkpoint_path(dir, step))?;
        let run = Self::open(dir, trainer, lock)?;
        // What makes the folder a run comes last.
        Record::new(file).write(dir)?;
        Ok(run)
    }

    fn open(dir: &Path, trainer: Trainer, lock: File) -> Result<Self, TrainError> {
        let state = trainer.state();
        let (step, faults) = (state.step, state.progress.faults.len());
        Ok(Self {
            dir: dir.to_owned(),
            trainer,
            journal: Journal::open(dir, step, faults)?,
            held_out: None,
            saved: step,
            writer: Writer::default(),
            _lock: lock,
            #[cfg(test)]
            poison: None,
        })
    }

    /// Makes a run of a model at hand, such as an imported one, that has made no step and seen no data: it evaluates and
    /// solves, and [`Run::resume`] trains it on any data of its sizes. Gives the checkpoint written.
    ///
    /// # Errors
    /// If the folder holds a run already or can't be written, or the configuration is not the model's.
    pub fn import(
        dir: &Path,
        file: &RunFile,
        model: &Hrm,
        task: Task,
    ) -> Result<PathBuf, TrainError> {
        file.config.validate_for(model)?;
        let _lock = prepare(dir)?;
        let path = checkpoint_path(dir, 0);
        Checkpoint::write_model(&path, model, &file.config, task)?;
        Record::new(file).write(dir)?;
        Ok(path)
    }

    /// Goes on with a run from its last checkpoint, exactly where it stood. `steps` changes the length of the whole run.
    ///
    /// # Errors
    /// As [`Run::resume_with`].
    pub fn resume(
        dir: &Path,
        set: Arc<PuzzleSet>,
        steps: Option<u64>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let changes = Changes {
            steps,
            ..Changes::default()
        };
        Self::resume_with(dir, set, &changes, device)
    }

    /// As [`Run::resume`], with another configuration. It is that of `config.json`, which may have been edited, with the
    /// settings of `changes`; where it differs from the checkpoint's, the fields must be named as allowed. What was
    /// changed stays noted in `config.json`.
    ///
    /// # Errors
    /// If the folder is no run or is in use, the data have changed, there is no whole checkpoint, or fields differ that
    /// are not allowed to; nothing is changed then.
    pub fn resume_with(
        dir: &Path,
        set: Arc<PuzzleSet>,
        changes: &Changes,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut record = Record::read(dir)?;
        let lock = lock(dir)?;
        let path = latest_checkpoint(dir)?.ok_or_else(|| TrainError::NoRun {
            path: dir.to_owned(),
            reason: "it has no checkpoint to go on from".to_owned(),
        })?;
        let checkpoint = Checkpoint::read(&path)?;
        let info = checkpoint.info();
        let changed = record.go_on(info.step, &info.config, changes)?;
        let checkpoint = checkpoint.with_config(record.config.clone());
        let trainer = Trainer::resume(checkpoint, set, device)?;
        if changed {
            record.write(dir)?;
        }
        sweep(dir)?;
        Self::open(dir, trainer, lock)
    }

    /// Gives the run the puzzles that it evaluates on every `eval_every` steps: the first `eval_puzzles` of the set.
    ///
    /// # Errors
    /// If they don't fit the model, or are not those that the run has evaluated on so far.
    pub fn hold_out(&mut self, set: Arc<PuzzleSet>) -> Result<(), TrainError> {
        check_data(&self.trainer.config().model.sizes(), &set)?;
        let found = set.fingerprint();
        match &self.trainer.state().progress.held_out {
            Some(expected) if *expected != found => Err(TrainError::DataChanged {
                what: "held-out puzzles",
                expected: expected.clone(),
                found,
            }),
            _ => {
                self.trainer.progress_mut().held_out = Some(found);
                self.held_out = Some(set);
                Ok(())
            }
        }
    }

    /// Spreads the slots over more devices: see [`Trainer::data_parallel`].
    ///
    /// # Errors
    /// As [`Trainer::data_parallel`].
    pub fn data_parallel(&mut self, others: &[Device]) -> Result<(), TrainError> {
        self.trainer.data_parallel(others)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the remaining steps: writes `metrics.jsonl`, and a checkpoint every `checkpoint_every` steps and at the end.
    /// `on_step` hears every step and says whether to go on; when it does not, a checkpoint is written first.
    ///
    /// Checkpoints are copied to the host between two steps and written by a thread beside the steps that follow; all are
    /// on the disk when this returns. A fault makes the run go back to the last one: see [`GuardConfig`].
    ///
    /// # Errors
    /// If a step or a file fails, if there are faults in spite of all remedies, or if the run is to evaluate and has no
    /// puzzles for it ([`Run::hold_out`]); the last whole checkpoint stays. An error of a checkpoint's writing comes after
    /// the step during which it ended.
    pub fn train(
        &mut self,
        mut on_step: impl FnMut(&StepReport) -> bool,
    ) -> Result<Outcome, TrainError> {
        self.train_with(|event| match event {
            RunEvent::Step(report) => on_step(report),
            _ => true,
        })
    }

    /// As [`Run::train`]; `on_event` hears of evaluations and faults as well.
    ///
    /// # Errors
    /// As [`Run::train`].
    pub fn train_with(
        &mut self,
        mut on_event: impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<Outcome, TrainError> {
        if self.trainer.config().eval_every.is_some() && self.held_out.is_none() {
            return Err(TrainError::NoHeldOut);
        }
        let made = self.make_steps(&mut on_event);
        let written = self.writer.wait();
        let outcome = made?;
        written?;
        Ok(outcome)
    }

    fn make_steps(
        &mut self,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<Outcome, TrainError> {
        let mut go_on = true;
        while go_on && !self.has_lost_patience() {
            #[cfg(test)]
            let poisoned = self
                .poison
                .is_some_and(|poison| poison(self.trainer.sampler().state().batches));
            let made = match self.trainer.next() {
                None => break,
                Some(made) => made,
            };
            #[cfg(test)]
            if poisoned {
                self.trainer.spoil();
            }
            self.writer.poll()?;
            go_on = match made {
                Ok(report) => self.after(&report, on_event)?,
                Err(TrainError::Diverged { loss, .. }) => {
                    self.go_back(format!("the loss is {loss}"), on_event)?
                }
                Err(error) => return Err(error),
            };
        }
        let step = self.trainer.state().step;
        if self.saved != step {
            let snapshot = self.trainer.snapshot()?;
            match snapshot.not_finite() {
                // Nothing of this step is kept; whoever goes on meets the fault again.
                Some(_) => {}
                None => self.write(snapshot, true, false)?,
            }
        }
        Ok(if step >= self.trainer.config().steps {
            Outcome::Finished
        } else if self.has_lost_patience() {
            Outcome::StoppedEarly
        } else {
            Outcome::Interrupted
        })
    }

    fn has_lost_patience(&self) -> bool {
        let since = self.trainer.state().progress.since_best;
        let patience = self.trainer.config().eval_patience;
        patience.is_some_and(|patience| since >= patience)
    }

    /// What comes after a step: the report, an evaluation, a checkpoint, each where it is due. Says whether to go on.
    fn after(
        &mut self,
        report: &StepReport,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<bool, TrainError> {
        let step = report.step;
        let config = self.trainer.config();
        let last = step >= config.steps;
        let save = last || step.is_multiple_of(config.checkpoint_every);
        let evaluate = config
            .eval_every
            .is_some_and(|every| last || step.is_multiple_of(every));
        if let Some(metrics) = &report.metrics {
            let guard = config.guard.clone();
            if let Some(reason) = self.trainer.progress_mut().watch(&guard, metrics.loss()) {
                return self.go_back(reason, on_event);
            }
            self.journal.write(&MetricsLine::Step(report.clone()))?;
        }
        if save || evaluate {
            let snapshot = self.trainer.snapshot()?;
            if let Some(name) = snapshot.not_finite() {
                let reason = format!("`{name}` has values that are not finite");
                return self.go_back(reason, on_event);
            }
            let found = match evaluate {
                true => self.evaluate()?,
                false => None,
            };
            let mut is_best = false;
            if let Some(found) = &found {
                is_best = self.note(step, found);
                self.journal.write(&MetricsLine::Evaluation {
                    step,
                    evaluation: *found,
                    best: is_best,
                })?;
            }
            // What stops early is to be resumed where it stopped.
            let save = save || self.has_lost_patience();
            if save || is_best {
                let progress = self.trainer.state().progress.clone();
                self.write(snapshot.with_progress(progress), save, is_best)?;
            }
            if let Some(found) = &found {
                let event = RunEvent::Evaluation {
                    step,
                    found,
                    best: is_best,
                };
                if !on_event(event) {
                    return Ok(false);
                }
            }
        }
        Ok(on_event(RunEvent::Step(report)))
    }

    /// Evaluates on the held-out puzzles, with the averaged weights where there are any.
    fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let Some(set) = &self.held_out else {
            return Ok(None);
        };
        let config = self.trainer.config();
        let eval = EvalConfig {
            batch_size: config.batch_size,
            segments: config.act.max_segments,
            limit: Some(config.eval_puzzles),
        };
        let model = self.trainer.eval_model();
        evaluate(&model, set, &eval, self.trainer.device(), |_| {}).map(Some)
    }

    /// Takes note of an evaluation; says whether it is the best.
    fn note(&mut self, step: u64, found: &Evaluation) -> bool {
        let progress = self.trainer.progress_mut();
        let this = Best {
            step,
            exact: found.exact,
            puzzles: found.puzzles,
            cell_accuracy: found.cell_accuracy as f32,
        };
        // The best of a time that the run has gone back from is met again at its own step.
        let is_best = progress
            .best
            .is_none_or(|best| this.beats(&best) || best == this);
        if is_best {
            progress.best = Some(this);
            progress.since_best = 0;
        } else {
            progress.since_best += 1;
        }
        is_best
    }

    /// Goes back to the last checkpoint and applies the remedy. Says whether to go on.
    fn go_back(
        &mut self,
        reason: String,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<bool, TrainError> {
        self.writer.wait()?;
        let found = self.trainer.state().step;
        let before = self.trainer.state().progress.clone();
        let config = self.trainer.config().clone();
        let mut fault = Fault {
            found,
            reason,
            remedy: Some(config.guard.remedy),
            rate: before.rate(&config.guard) as f32,
        };
        if before.faults.len() >= config.guard.retries as usize {
            fault.remedy = None;
            let reason = fault.reason.clone();
            self.journal
                .write(&MetricsLine::Fault { step: found, fault })?;
            return Err(TrainError::GaveUp {
                step: found,
                reason,
                faults: before.faults,
            });
        }
        let path = self.last_planned_checkpoint()?;
        let batches = self.trainer.sampler().state();
        self.trainer
            .restore(Checkpoint::read(&path)?.with_config(config.clone()))?;
        let step = self.trainer.state().step;
        if config.guard.remedy == Remedy::SkipBatch {
            self.trainer.sampler_mut().restore(&batches)?;
        }
        let faults = before.faults.len();
        let progress = self.trainer.progress_mut();
        progress.faults = before.faults;
        progress.faults.push(fault.clone());
        // `best.safetensors` holds its weights still.
        progress.best = before.best;
        progress.held_out = before.held_out;
        fault.rate = progress.rate(&config.guard) as f32;
        if let Some(last) = progress.faults.last_mut() {
            last.rate = fault.rate;
        }
        self.saved = step;
        self.journal = Journal::open(&self.dir, step, faults)?;
        self.journal.write(&MetricsLine::Fault {
            step,
            fault: fault.clone(),
        })?;
        let event = RunEvent::Fault {
            step,
            fault: &fault,
        };
        Ok(on_event(event))
    }

    /// The last checkpoint of those that an unbroken run would have written as well, so that one that was interrupted
    /// goes back as far; the last of any where that is gone.
    fn last_planned_checkpoint(&self) -> Result<PathBuf, TrainError> {
        let every = self.trainer.config().checkpoint_every;
        let mut found = list_checkpoints(&self.dir)?;
        let last = found.pop().ok_or_else(|| TrainError::NoRun {
            path: self.dir.clone(),
            reason: "it has no checkpoint to go back to".to_owned(),
        })?;
        let mut newest_first = [last.clone()].into_iter().chain(found.into_iter().rev());
        let planned = newest_first.find(|(step, _)| step.is_multiple_of(every));
        Ok(planned.unwrap_or(last).1)
    }

    /// Has a state written: as a checkpoint, as the best weights, or both. Checkpoints that are more than the run keeps go.
    fn write(&mut self, snapshot: Snapshot, save: bool, best: bool) -> Result<(), TrainError> {
        let step = snapshot.info().step;
        let (dir, keep) = (self.dir.clone(), self.trainer.config().keep_checkpoints);
        let flush = self.journal.flusher()?;
        self.writer.submit(move || {
            flush()?;
            if best {
                snapshot.write_weights(&best_weights(&dir))?;
            }
            if save {
                snapshot.write(&checkpoint_path(&dir, step))?;
                prune(&dir, keep)?;
            }
            Ok(())
        })?;
        if save {
            self.saved = step;
        }
        Ok(())
    }
}
