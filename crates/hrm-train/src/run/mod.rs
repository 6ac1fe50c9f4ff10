//! A run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and a lock while a process trains in it.

mod file;
mod folder;
mod journal;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::Hrm;
use hrm_data::{PuzzleSet, Task};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::trainer::{StepReport, Trainer};

pub use file::{Changes, Difference, RunFile, differences};
pub use folder::{best_weights, latest_checkpoint};
pub use journal::{MetricsLine, read_metrics};

use file::Record;
use folder::{checkpoint_path, lock, prepare, prune, sweep};
use journal::Journal;
use writer::Writer;

/// How [`Run::train`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are made.
    Finished,
    /// The caller asked to stop; a checkpoint was written.
    Interrupted,
}

/// A training run in a folder.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    trainer: Trainer,
    journal: Journal,
    /// Step of the last checkpoint that was written or is being written.
    saved: u64,
    writer: Writer,
    /// Held while the run lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
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
        let journal = Journal::open(dir, step)?;
        // What makes the folder a run comes last.
        Record::new(file).write(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            trainer,
            journal,
            saved: step,
            writer: Writer::default(),
            _lock: lock,
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
        let step = trainer.state().step;
        let journal = Journal::open(dir, step)?;
        Ok(Self {
            dir: dir.to_owned(),
            trainer,
            journal,
            saved: step,
            writer: Writer::default(),
            _lock: lock,
        })
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
    /// on the disk when this returns.
    ///
    /// # Errors
    /// If a step or a file fails; the last whole checkpoint stays. An error of a checkpoint's writing comes after the
    /// step during which it ended.
    pub fn train(
        &mut self,
        on_step: impl FnMut(&StepReport) -> bool,
    ) -> Result<Outcome, TrainError> {
        let made = self.make_steps(on_step);
        let written = self.writer.wait();
        let outcome = made?;
        written?;
        Ok(outcome)
    }

    fn make_steps(
        &mut self,
        mut on_step: impl FnMut(&StepReport) -> bool,
    ) -> Result<Outcome, TrainError> {
        let every = self.trainer.config().checkpoint_every;
        let mut go_on = true;
        while go_on {
            let Some(report) = self.trainer.next() else {
                break;
            };
            let report = report?;
            self.writer.poll()?;
            if report.metrics.is_some() {
                self.journal.write(&MetricsLine::Step(report.clone()))?;
            }
            if report.step.is_multiple_of(every) {
                self.checkpoint()?;
            }
            go_on = on_step(&report);
        }
        let step = self.trainer.state().step;
        if self.saved != step {
            self.checkpoint()?;
        }
        Ok(match step < self.trainer.config().steps {
            true => Outcome::Interrupted,
            false => Outcome::Finished,
        })
    }

    /// Copies the state to the host and has it written as a checkpoint; those that are more than the run keeps go.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let snapshot = self.trainer.snapshot()?;
        let step = snapshot.info().step;
        let (dir, keep) = (self.dir.clone(), self.trainer.config().keep_checkpoints);
        let flush = self.journal.flusher()?;
        self.writer.submit(move || {
            flush()?;
            snapshot.write(&checkpoint_path(&dir, step))?;
            prune(&dir, keep)
        })?;
        self.saved = step;
        Ok(())
    }
}
