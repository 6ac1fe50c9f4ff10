//! A run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and a lock while a process trains in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::Hrm;
use hrm_data::{PuzzleSet, Task};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, write_whole};
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::trainer::{StepReport, Trainer};

/// What `config.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// Preset that the configuration was made from, if any.
    pub preset: Option<String>,
    /// Folder of the training data.
    pub data: PathBuf,
    /// The resolved configuration.
    pub config: TrainConfig,
}

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
    metrics: File,
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

    /// Starts a run in a new or empty folder from a trainer at hand, such as one that starts from imported weights.
    ///
    /// # Errors
    /// If the folder holds a run already or can't be written.
    pub fn start(dir: &Path, file: &RunFile, trainer: Trainer) -> Result<Self, TrainError> {
        let lock = prepare(dir, file)?;
        let metrics = open_metrics(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            trainer,
            metrics,
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
        let _lock = prepare(dir, file)?;
        let path = checkpoints(dir).join(checkpoint_name(0));
        Checkpoint::write_model(&path, model, &file.config, task)?;
        Ok(path)
    }

    /// Goes on with a run from its last whole checkpoint, or from the start where there is none. `steps` changes the
    /// length of the whole run.
    ///
    /// # Errors
    /// If the folder is no run or is in use, the data have changed, or no checkpoint is whole.
    pub fn resume(
        dir: &Path,
        set: Arc<PuzzleSet>,
        steps: Option<u64>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let RunFile { config, .. } = RunFile::read(dir)?;
        let lock = lock(dir)?;
        let mut trainer = match latest_checkpoint(dir)? {
            Some(path) => Trainer::resume(Checkpoint::read(&path)?, set, device)?,
            None => Trainer::new(config, set, device)?,
        };
        if let Some(steps) = steps {
            trainer.set_steps(steps);
        }
        trim_metrics(dir, trainer.state().step)?;
        let metrics = open_metrics(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            trainer,
            metrics,
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
    /// # Errors
    /// If a step or a file fails; the last whole checkpoint stays.
    pub fn train(
        &mut self,
        mut on_step: impl FnMut(&StepReport) -> bool,
    ) -> Result<Outcome, TrainError> {
        let every = self.trainer.config().checkpoint_every;
        let mut saved = None;
        let mut outcome = Outcome::Finished;
        while let Some(report) = self.trainer.next() {
            let report = report?;
            if report.metrics.is_some() {
                self.log(&report)?;
            }
            if report.step.is_multiple_of(every) {
                saved = Some(self.checkpoint()?);
            }
            if !on_step(&report) {
                outcome = Outcome::Interrupted;
                break;
            }
        }
        if saved != Some(self.trainer.state().step) {
            self.checkpoint()?;
        }
        if self.trainer.state().step < self.trainer.config().steps {
            outcome = Outcome::Interrupted;
        }
        Ok(outcome)
    }

    /// Writes a checkpoint of the current step and removes those that are more than the run keeps.
    fn checkpoint(&self) -> Result<u64, TrainError> {
        let step = self.trainer.state().step;
        let folder = checkpoints(&self.dir);
        self.trainer.save(&folder.join(checkpoint_name(step)))?;
        let mut found = list_checkpoints(&self.dir)?;
        let keep = self.trainer.config().keep_checkpoints;
        found.truncate(found.len().saturating_sub(keep));
        for (_, path) in found {
            fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
        }
        Ok(step)
    }

    fn log(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let path = metrics_path(&self.dir);
        let mut line = serde_json::to_string(report).map_err(|error| TrainError::BadFile {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        line.push('\n');
        self.metrics
            .write_all(line.as_bytes())
            .map_err(TrainError::io("write", path))
    }
}

impl RunFile {
    /// Reads the `config.json` of a run.
    ///
    /// # Errors
    /// If the folder is no run, or the file can't be understood (with line and column).
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        let path = config_path(dir);
        if !path.is_file() {
            return Err(TrainError::NoRun {
                path: dir.to_owned(),
                reason: "it has no config.json".to_owned(),
            });
        }
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        serde_json::from_str(&text).map_err(|error| TrainError::BadFile {
            path,
            reason: error.to_string(),
        })
    }
}

/// Makes the folder of a new run with its configuration; gives the lock.
fn prepare(dir: &Path, file: &RunFile) -> Result<File, TrainError> {
    if config_path(dir).exists() {
        return Err(TrainError::RunExists {
            path: dir.to_owned(),
        });
    }
    let checkpoints = checkpoints(dir);
    fs::create_dir_all(&checkpoints).map_err(TrainError::io("create", &checkpoints))?;
    let lock = lock(dir)?;
    let text = serde_json::to_string_pretty(file).map_err(|error| TrainError::BadFile {
        path: config_path(dir),
        reason: error.to_string(),
    })?;
    write_whole(&config_path(dir), (text + "\n").as_bytes())?;
    Ok(lock)
}

/// The last checkpoint of a run folder, none where there is none yet.
///
/// # Errors
/// If the folder can't be read.
pub fn latest_checkpoint(dir: &Path) -> Result<Option<PathBuf>, TrainError> {
    Ok(list_checkpoints(dir)?.pop().map(|(_, path)| path))
}

fn config_path(dir: &Path) -> PathBuf {
    dir.join("config.json")
}

fn metrics_path(dir: &Path) -> PathBuf {
    dir.join("metrics.jsonl")
}

fn checkpoints(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}

fn checkpoint_name(step: u64) -> String {
    format!("step-{step:09}.safetensors")
}

/// Steps and files of the checkpoints, oldest first. Temporary files of a write that was cut off don't count.
fn list_checkpoints(dir: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let folder = checkpoints(dir);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(TrainError::io("read", &folder))? {
        let path = entry.map_err(TrainError::io("read", &folder))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors"))
            .and_then(|step| step.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

fn lock(dir: &Path) -> Result<File, TrainError> {
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(TrainError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::RunInUse {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(TrainError::io("lock", path)(error)),
    }
}

fn open_metrics(dir: &Path) -> Result<File, TrainError> {
    let path = metrics_path(dir);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(TrainError::io("open", path))
}

/// Drops the lines of steps after `step`, and a last line that was cut off: they are written anew.
fn trim_metrics(dir: &Path, step: u64) -> Result<(), TrainError> {
    let path = metrics_path(dir);
    let Ok(file) = File::open(&path) else {
        return Ok(());
    };
    let mut kept = String::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(TrainError::io("read", &path))?;
        match serde_json::from_str::<StepReport>(&line) {
            Ok(report) if report.step <= step => {
                kept.push_str(&line);
                kept.push('\n');
            }
            _ => {}
        }
    }
    write_whole(&path, kept.as_bytes())
}
