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
use hrm_act::{Batch, Metrics};
use hrm_core::Hrm;
use hrm_data::{PuzzleSet, Task};

use crate::checkpoint::{Checkpoint, CheckpointInfo, Snapshot, write_whole};
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::evaluate::{EvalConfig, Evaluation, evaluate_while};
use crate::trainer::{StepReport, TrainState, Trainer, check_data};

pub use file::{Change, Changes, Difference, RunFile, differences};
pub use folder::{
    CHECKPOINTS, best_weights, is_checkpoint_file, is_run_file, latest_checkpoint, latest_step,
    metrics_path,
};
pub use guard::{Best, Fault, GuardConfig, Progress, Remedy};
pub use journal::{MetricsLine, read_metrics};

pub(crate) use folder::{UNFINISHED, check_unpacked, list_checkpoints};

use folder::{
    check_over, check_unused, checkpoint_path, config_path, lock, prepare, prepare_over, prune,
    remove_after, sweep, unmake,
};
use journal::Journal;
use writer::Writer;

/// How [`Run::train`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are made.
    Finished,
    /// The caller asked to stop; a checkpoint was written, where no [`RunEvent::Unwritten`] says otherwise. An evaluation that was
    /// broken off is made anew when the run goes on.
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
    /// Some of the held-out puzzles were evaluated on.
    Evaluating {
        /// Optimizer steps made.
        step: u64,
        /// Puzzles done.
        done: usize,
        /// Puzzles in all.
        puzzles: usize,
    },
    /// The held-out puzzles were evaluated on.
    Evaluation {
        /// Optimizer steps made.
        step: u64,
        /// What was found.
        found: &'a Evaluation,
        /// Whether it is better than all of the run before; of equal ones the first is the best.
        best: bool,
    },
    /// The run has gone back to a checkpoint; or, without a remedy, gives up.
    Fault {
        /// Step of the checkpoint.
        step: u64,
        /// What was wrong, and what is done about it.
        fault: &'a Fault,
    },
    /// The caller asked to stop, and the state is not one to keep: the last checkpoint is that of an earlier step, from which
    /// whoever goes on meets the fault again.
    Unwritten {
        /// Optimizer steps made.
        step: u64,
        /// What is wrong.
        reason: &'a str,
    },
}

/// A training run in a folder.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    trainer: Trainer,
    /// None until the first training: a run that is only looked at, or can't go on, leaves its folder as it was.
    journal: Option<Journal>,
    /// What is to be written then.
    record: Option<RunFile>,
    held_out: Option<Arc<PuzzleSet>>,
    /// Puzzles of an evaluation at most, in the evaluations of the run so far.
    eval_puzzles: usize,
    /// Step of the last checkpoint that was written or is being written.
    saved: Option<u64>,
    writer: Writer,
    /// Held while the run lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
    /// Stands for batches that spoil the weights, told by the number of batches drawn before.
    #[cfg(test)]
    poison: Option<fn(u64) -> bool>,
    /// What the weights are multiplied by then.
    #[cfg(test)]
    spoiling: f64,
}

/// A run whose file says another configuration than its checkpoints could not be resumed.
fn check_config(file: &RunFile, trainer: &Trainer) -> Result<(), TrainError> {
    let found = differences(trainer.config(), &file.config);
    match found.is_empty() {
        true => Ok(()),
        false => Err(TrainError::Field {
            field: "config",
            expected: "that of the trainer",
            found: file::list(&found),
        }),
    }
}

/// What the weights of the best evaluation say, where they lie in the folder, can be read, were trained by another configuration
/// and have made more than so many steps.
fn best_after(dir: &Path, step: u64, config: &TrainConfig) -> Option<CheckpointInfo> {
    let checkpoint = Checkpoint::read(best_weights(dir)).ok()?;
    let info = checkpoint.info();
    let is_after = info.progress.best.is_some_and(|best| best.step > step);
    (is_after && info.config != *config).then(|| info.clone())
}

/// Refuses puzzles to evaluate on that don't fit the model, or of which those that are evaluated on have no answer.
///
/// # Errors
/// As [`check_data`]; [`TrainError::NoAnswers`].
pub fn check_held_out(config: &TrainConfig, set: &PuzzleSet) -> Result<(), TrainError> {
    check_data(&config.model, set)?;
    let asked = set.limited(config.eval_puzzles);
    match (0..asked.num_examples()).any(|index| asked.example(index).is_labelled()) {
        true => Ok(()),
        false => Err(TrainError::NoAnswers {
            puzzles: asked.num_examples(),
        }),
    }
}

impl Run {
    /// Starts a run in a new or empty folder.
    ///
    /// # Errors
    /// If the folder holds a run or checkpoints already, can't be written, or the configuration and the data make no run;
    /// nothing is written before that is known.
    pub fn create(
        dir: impl AsRef<Path>,
        file: &RunFile,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
        let trainer = Trainer::new(file.config.clone(), set, device)?;
        Self::start(dir, file, trainer)
    }

    /// Starts a run in a new or empty folder from a trainer at hand, such as one that starts from imported weights. Its
    /// first checkpoint is written at once: whatever befalls the run, there is one to go on from.
    ///
    /// # Errors
    /// If the folder holds a run or checkpoints already, or can't be written, or the configuration of `file` is not the trainer's.
    pub fn start(
        dir: impl AsRef<Path>,
        file: &RunFile,
        trainer: Trainer,
    ) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
        check_config(file, &trainer)?;
        let record = file.begun().text(dir)?;
        let lock = prepare(dir)?;
        Self::start_in(dir, lock, &record, trainer).inspect_err(|_| unmake(dir))
    }

    /// As [`Run::start`], in a folder that may hold a run or what is left of a start that was cut off: its files are removed
    /// first, the files among them that the program has written for TensorBoard, and others stay. No other process gets at the folder in between.
    ///
    /// # Errors
    /// As [`Run::check_start_over`]; if the configuration of `file` is not the trainer's, another process trains in the folder, or
    /// the disk fails.
    pub fn start_over(
        dir: impl AsRef<Path>,
        file: &RunFile,
        trainer: Trainer,
    ) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
        check_config(file, &trainer)?;
        // What can't be written costs no run.
        let record = file.begun().text(dir)?;
        let lock = prepare_over(dir)?;
        Self::start_in(dir, lock, &record, trainer).inspect_err(|_| unmake(dir))
    }

    /// Whether [`Run::start_over`] may take a folder, for who wants to know before the trainer is made: it is not there or is
    /// empty, holds a run, or what is left of a start that was cut off and nothing else, and no process trains in it.
    ///
    /// # Errors
    /// [`TrainError::NoRun`], [`TrainError::Packed`] or [`TrainError::BadFile`] if it holds something else;
    /// [`TrainError::RunInUse`]; if it can't be read.
    pub fn check_start_over(dir: impl AsRef<Path>) -> Result<(), TrainError> {
        let dir = dir.as_ref();
        check_over(dir)?;
        check_unused(dir)
    }

    /// `record` is the text of its file.
    fn start_in(
        dir: &Path,
        lock: File,
        record: &str,
        trainer: Trainer,
    ) -> Result<Self, TrainError> {
        let step = trainer.state().step;
        trainer.save(checkpoint_path(dir, step))?;
        // What makes the folder a run comes last.
        write_whole(&config_path(dir), record.as_bytes())?;
        Ok(Self::open(dir, trainer, lock))
    }

    fn open(dir: &Path, trainer: Trainer, lock: File) -> Self {
        Self {
            dir: dir.to_owned(),
            journal: None,
            record: None,
            held_out: None,
            eval_puzzles: trainer.config().eval_puzzles,
            saved: Some(trainer.state().step),
            trainer,
            writer: Writer::default(),
            _lock: lock,
            #[cfg(test)]
            poison: None,
            #[cfg(test)]
            spoiling: f64::NAN,
        }
    }

    /// Makes a run of a model at hand, such as an imported one, that has made no step and seen no data: it evaluates and
    /// solves, and [`Run::resume`] trains it on any data of its sizes. Gives the checkpoint written.
    ///
    /// # Errors
    /// If the folder holds a run or checkpoints already, or can't be written, or the configuration is not the model's.
    pub fn import(
        dir: impl AsRef<Path>,
        file: &RunFile,
        model: &Hrm,
        task: Task,
    ) -> Result<PathBuf, TrainError> {
        let dir = dir.as_ref();
        file.config.validate_for(model)?;
        let _lock = prepare(dir)?;
        let path = checkpoint_path(dir, 0);
        Checkpoint::write_model(&path, model, &file.config, task)?;
        file.begun().write(dir)?;
        Ok(path)
    }

    /// Goes on with a run from its last checkpoint, exactly where it stood. `steps` changes the length of the whole run.
    ///
    /// # Errors
    /// As [`Run::resume_with`].
    pub fn resume(
        dir: impl AsRef<Path>,
        set: Arc<PuzzleSet>,
        steps: Option<u64>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
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
    /// Nothing is written before [`Run::train`]: up to there, any error leaves the folder as it was.
    ///
    /// # Errors
    /// If the folder is no run or is in use, the data have changed, the last checkpoint is not whole, or fields differ that
    /// are not allowed to.
    pub fn resume_with(
        dir: impl AsRef<Path>,
        set: Arc<PuzzleSet>,
        changes: &Changes,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
        let mut record = RunFile::read(dir)?;
        let lock = lock(dir)?;
        let checkpoint = Checkpoint::latest(dir)?;
        let info = checkpoint.info();
        let mut eval_puzzles = info.config.eval_puzzles;
        let changed = record.go_on(info.step, &info.config, changes)?;
        let step = info.step;
        let checkpoint = checkpoint.with_config(record.config.clone());
        let mut trainer = Trainer::resume(checkpoint, set, device)?;
        // A run that was killed may have written better weights after its last checkpoint. Unchanged it comes to them again.
        if let Some(best) = best_after(dir, step, &record.config) {
            let progress = trainer.progress_mut();
            progress.best = best.progress.best;
            progress.since_best = 0;
            progress.held_out = best.progress.held_out;
            eval_puzzles = best.config.eval_puzzles;
        }
        let mut run = Self::open(dir, trainer, lock);
        run.record = changed.then_some(record);
        run.eval_puzzles = eval_puzzles;
        Ok(run)
    }

    /// Writes what a run that goes on has otherwise than the one that was left, and clears away what that one left undone.
    fn begin(&mut self) -> Result<(), TrainError> {
        if self.journal.is_some() {
            return Ok(());
        }
        if let Some(record) = &self.record {
            record.write(&self.dir)?;
            self.record = None;
        }
        sweep(&self.dir)?;
        let config = self.trainer.config();
        prune(&self.dir, config.keep_checkpoints, config.checkpoint_every)?;
        let state = self.trainer.state();
        self.journal = Some(Journal::open(&self.dir, state.step, &state.progress)?);
        Ok(())
    }

    fn journal(&mut self) -> Result<&mut Journal, TrainError> {
        self.begin()?;
        Ok(self.journal.as_mut().expect("it was opened"))
    }

    /// Gives the run the puzzles that it evaluates on every `eval_every` steps: `eval_puzzles` of the set at most. Where those
    /// are more or fewer than before, the best so far is none to compare with: the next evaluation is the best.
    ///
    /// # Errors
    /// If they don't fit the model, none has an answer, or they are not those that the run has evaluated on so far.
    pub fn hold_out(&mut self, set: Arc<PuzzleSet>) -> Result<(), TrainError> {
        check_held_out(self.trainer.config(), &set)?;
        let found = set.fingerprint();
        match &self.trainer.state().progress.held_out {
            Some(expected) if *expected != found => Err(TrainError::DataChanged {
                what: "held-out puzzles",
                expected: expected.clone(),
                found,
            }),
            _ => {
                let puzzles = |most: usize| most.min(set.num_examples());
                let most = self.trainer.config().eval_puzzles;
                let before = std::mem::replace(&mut self.eval_puzzles, most);
                let progress = self.trainer.progress_mut();
                progress.held_out = Some(found);
                if puzzles(before) != puzzles(most) {
                    progress.best = None;
                    progress.since_best = 0;
                }
                self.held_out = Some(set);
                Ok(())
            }
        }
    }

    /// Has `hook` called before every step: see [`Trainer::before_step`]. Steps that are made again after a fault are steps
    /// as well.
    pub fn before_step(&mut self, hook: impl FnMut(&TrainState, &mut Batch) + Send + 'static) {
        self.trainer.before_step(hook);
    }

    /// Has `hook` called after every step: see [`Trainer::after_step`].
    pub fn after_step(&mut self, hook: impl FnMut(&TrainState, &StepReport) + Send + 'static) {
        self.trainer.after_step(hook);
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
    /// on the disk when this returns. A fault makes the run go back to one of them: see [`GuardConfig`].
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
        self.begin()?;
        let made = self.make_steps(&mut on_event);
        let written = self.writer.wait();
        if made.is_err() || written.is_err() {
            // It may be a checkpoint that was not written: whoever trains on writes it.
            self.saved = None;
        }
        let outcome = made?;
        written?;
        Ok(outcome)
    }

    fn make_steps(
        &mut self,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<Outcome, TrainError> {
        let mut go_on = self.evaluate_due(on_event)?;
        while go_on && !self.has_lost_patience() {
            let made = match self.trainer.next() {
                None => break,
                Some(made) => made,
            };
            #[cfg(test)]
            if let Some(poison) = self.poison
                && poison(self.trainer.sampler().state().batches - 1)
            {
                self.trainer.spoil(self.spoiling);
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
        if self.saved != Some(step) {
            let snapshot = self.trainer.snapshot()?;
            match self.fault_before_writing(&snapshot)? {
                Some(reason) => {
                    let reason = &reason;
                    on_event(RunEvent::Unwritten { step, reason });
                }
                None => self.write(snapshot, true, false)?,
            }
        }
        let made_all = step >= self.trainer.config().steps;
        Ok(
            if made_all && !self.trainer.state().progress.evaluation_due {
                Outcome::Finished
            } else if self.has_lost_patience() {
                Outcome::StoppedEarly
            } else {
                Outcome::Interrupted
            },
        )
    }

    fn has_lost_patience(&self) -> bool {
        let config = self.trainer.config();
        let since = self.trainer.state().progress.since_best;
        let patience = config.eval_every.and(config.eval_patience);
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
            let (guard, share) = (config.guard.clone(), self.share(metrics));
            let batches = self.trainer.sampler().state().batches;
            let progress = self.trainer.progress_mut();
            if let Some(reason) = progress.watch(&guard, metrics.loss(), share, batches) {
                return self.go_back(reason, on_event);
            }
            self.journal()?.write(&MetricsLine::Step(report.clone()))?;
        }
        if !save && !evaluate {
            return Ok(on_event(RunEvent::Step(report)));
        }
        let snapshot = self.trainer.snapshot()?;
        if let Some(reason) = self.fault_before_writing(&snapshot)? {
            return self.go_back(reason, on_event);
        }
        let go_on = on_event(RunEvent::Step(report));
        Ok(self.keep(snapshot, save, evaluate, on_event)? && go_on)
    }

    /// The evaluation that was broken off when the run was interrupted, where there is one. Says whether to go on.
    fn evaluate_due(
        &mut self,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<bool, TrainError> {
        let evaluates = self.trainer.config().eval_every.is_some();
        let progress = self.trainer.progress_mut();
        progress.evaluation_due &= evaluates;
        if !progress.evaluation_due {
            return Ok(true);
        }
        // The checkpoint that the run goes on from says that it is due.
        let snapshot = self.trainer.snapshot()?;
        self.keep(snapshot, true, true, on_event)
    }

    /// Has a state evaluated where that is due, and written where that is; one whose evaluation is broken off is written with a
    /// note of that. Says whether to go on.
    fn keep(
        &mut self,
        snapshot: Snapshot,
        save: bool,
        evaluate: bool,
        on_event: &mut impl FnMut(RunEvent<'_>) -> bool,
    ) -> Result<bool, TrainError> {
        let step = snapshot.info().step;
        if !evaluate {
            self.write(snapshot, save, false)?;
            return Ok(true);
        }
        let mut go_on = true;
        let evaluated = self.evaluate(|done, puzzles| {
            go_on = on_event(RunEvent::Evaluating {
                step,
                done,
                puzzles,
            });
            go_on
        })?;
        let Some(found) = &evaluated else {
            self.trainer.progress_mut().evaluation_due = true;
            self.write(snapshot, true, false)?;
            return Ok(false);
        };
        let best = self.note(step, found);
        self.journal()?.write(&MetricsLine::Evaluation {
            step,
            evaluation: *found,
            best,
        })?;
        // What stops early is to be resumed where it stopped.
        let save = save || self.has_lost_patience();
        if save || best {
            self.write(snapshot, save, best)?;
        }
        Ok(on_event(RunEvent::Evaluation { step, found, best }) && go_on)
    }

    /// What is wrong with a state that is to be written, if anything is: with its values, or with the loss since the last
    /// report.
    fn fault_before_writing(&self, snapshot: &Snapshot) -> Result<Option<String>, TrainError> {
        if let Some(name) = snapshot.not_finite() {
            return Ok(Some(format!("`{name}` has values that are not finite")));
        }
        let Some(metrics) = self.trainer.since_report()? else {
            return Ok(None);
        };
        let guard = &self.trainer.config().guard;
        let progress = &self.trainer.state().progress;
        Ok(progress.check(guard, metrics.loss(), self.share(&metrics)))
    }

    /// The share of a report's steps that metrics are of.
    fn share(&self, metrics: &Metrics) -> f64 {
        let config = self.trainer.config();
        metrics.slots / (config.batch_size as f64 * config.log_every as f64)
    }

    /// Evaluates on the held-out puzzles, with the averaged weights where there are any; nothing where it is broken off.
    fn evaluate(
        &self,
        go_on: impl FnMut(usize, usize) -> bool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let set = self.held_out.as_ref().ok_or(TrainError::NoHeldOut)?;
        // On the first device, which computes a share of the batch in training.
        let mut eval = EvalConfig::of(self.trainer.config());
        eval.batch_size = (eval.batch_size / self.trainer.num_devices()).max(1);
        evaluate_while(&self.trainer.eval_model(), set, &eval, go_on)
    }

    /// Takes note of an evaluation; says whether it is the best.
    fn note(&mut self, step: u64, found: &Evaluation) -> bool {
        let progress = self.trainer.progress_mut();
        progress.evaluation_due = false;
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
        } else if progress.best.is_some_and(|best| step > best.step) {
            // One from before the best, made again after a fault, tells nothing of what came after it.
            progress.since_best += 1;
        }
        is_best
    }

    /// Goes back to a checkpoint and applies the remedy. Says whether to go on.
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
            rate: before.rate_after(&config.guard),
        };
        if before.faults.len() >= config.guard.retries as usize {
            fault.remedy = None;
            fault.rate = before.rate();
            let reason = fault.reason.clone();
            self.journal()?.write(&MetricsLine::Fault {
                step: found,
                fault: fault.clone(),
            })?;
            on_event(RunEvent::Fault {
                step: found,
                fault: &fault,
            });
            return Err(TrainError::GaveUp {
                step: found,
                reason,
                faults: before.faults,
            });
        }
        let path = self.checkpoint_to_go_back_to(before.back_to)?;
        let now = self.trainer.sampler().state();
        self.trainer
            .restore(Checkpoint::read(&path)?.with_config(config.clone()))?;
        let (step, there) = (self.trainer.state().step, self.trainer.sampler().state());
        let progress = self.trainer.progress_mut();
        // `best.safetensors` holds its weights still; the evaluations since are to be made again.
        if progress.best != before.best {
            progress.best = before.best;
            progress.since_best = 0;
        }
        progress.held_out = before.held_out;
        progress.back_to = Some(step);
        progress.skips = before.skips;
        progress.faults = before.faults;
        if config.guard.remedy == Remedy::SkipBatch {
            progress.skip(found, before.good_batches, &there, now);
        }
        let remembered = progress.clone();
        progress.faults.push(fault.clone());
        remove_after(&self.dir, step)?;
        self.saved = Some(step);
        // Closed before it is written anew: there are systems that replace no open file.
        self.journal = None;
        let mut journal = Journal::open(&self.dir, step, &remembered)?;
        journal.write(&MetricsLine::Fault {
            step,
            fault: fault.clone(),
        })?;
        self.journal = Some(journal);
        let event = RunEvent::Fault {
            step,
            fault: &fault,
        };
        Ok(on_event(event))
    }

    /// The last checkpoint of those that an unbroken run would have written as well, so that one that was interrupted
    /// goes back as far; the one before where the fault before went back to that one (`back_to`). The last of any where there
    /// is none.
    fn checkpoint_to_go_back_to(&self, back_to: Option<u64>) -> Result<PathBuf, TrainError> {
        let every = self.trainer.config().checkpoint_every;
        let found = list_checkpoints(&self.dir)?;
        let planned = found.iter().filter(|(step, _)| step.is_multiple_of(every));
        let mut newest_first = planned.rev();
        let newest = newest_first.next();
        let before = newest_first.next();
        let (_, path) = match newest {
            Some((step, _)) if Some(*step) == back_to => before.or(newest),
            newest => newest.or(found.last()),
        }
        .ok_or_else(|| TrainError::NoRun {
            path: self.dir.clone(),
            reason: "it has no checkpoint to go back to".to_owned(),
        })?;
        Ok(path.clone())
    }

    /// Has a state written, with what the run remembers by now: as a checkpoint, as the best weights, or both. Checkpoints that
    /// are more than the run keeps go.
    fn write(&mut self, snapshot: Snapshot, save: bool, best: bool) -> Result<(), TrainError> {
        let snapshot = snapshot.with_progress(self.trainer.state().progress.clone());
        let step = snapshot.info().step;
        let dir = self.dir.clone();
        let config = self.trainer.config();
        let (keep, every) = (config.keep_checkpoints, config.checkpoint_every);
        let flush = self.journal()?.flusher()?;
        self.writer.submit(move || {
            flush()?;
            if best {
                snapshot.write_weights(&best_weights(&dir))?;
            }
            if save {
                snapshot.write(checkpoint_path(&dir, step))?;
                prune(&dir, keep, every)?;
            }
            Ok(())
        })?;
        if save {
            self.saved = Some(step);
        }
        Ok(())
    }
}
