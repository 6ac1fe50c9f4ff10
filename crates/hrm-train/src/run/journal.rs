//! `metrics.jsonl`: a line for each report, evaluation and fault of a run.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::metrics_path;
use super::guard::{Fault, Progress};
use crate::checkpoint::write_whole;
use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::trainer::StepReport;

/// A line of `metrics.jsonl`. Which it is, its fields tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetricsLine {
    /// What an evaluation on the held-out puzzles found.
    Evaluation {
        /// Optimizer steps made.
        step: u64,
        /// What it found.
        evaluation: Evaluation,
        /// Whether it is better than all of the run before; of equal ones the first is the best.
        best: bool,
    },
    /// A fault that the run has met.
    Fault {
        /// Step of the checkpoint that the run went back to; where it gave up, the step at which it did.
        step: u64,
        /// The fault.
        fault: Fault,
    },
    /// Metrics of the steps since the last such line.
    Step(StepReport),
}

impl MetricsLine {
    /// Optimizer steps that the run had made when it was written.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(report) => report.step,
            Self::Evaluation { step, .. } | Self::Fault { step, .. } => *step,
        }
    }
}

/// Reads the `metrics.jsonl` of a run; none where it has reported nothing yet. A last line that was cut off, and lines that
/// this version doesn't understand, are left out.
///
/// # Errors
/// If the file can't be read.
pub fn read_metrics(dir: impl AsRef<Path>) -> Result<Vec<MetricsLine>, TrainError> {
    let dir = dir.as_ref();
    let bytes = read(&metrics_path(dir))?;
    let lines = bytes.split(|&byte| byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    match path.exists() {
        true => fs::read(path).map_err(TrainError::io("read", path)),
        false => Ok(Vec::new()),
    }
}

/// `metrics.jsonl` of a run that is being trained.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens it to go on after `step` steps with what the run then remembers: what was written after them is dropped and will
    /// be written anew, as will an evaluation after them that is still due. Two things stay though they are of later steps: the
    /// evaluation that `best.safetensors` is of, and the faults that the run remembers. Lines that this version doesn't
    /// understand stay as they are, but for a last one that was cut off.
    pub(crate) fn open(dir: &Path, step: u64, progress: &Progress) -> Result<Self, TrainError> {
        let path = metrics_path(dir);
        if path.exists() {
            let (faults, mut faults_seen) = (progress.faults.len(), 0);
            let best = progress.best.map(|best| best.step);
            // Of the time since the last fault; before it the run may have come as far and farther.
            let is_due = |faults_seen| progress.evaluation_due && faults_seen == faults;
            let mut kept = Vec::new();
            for text in read(&path)?.split_inclusive(|&byte| byte == b'\n') {
                let stays = match serde_json::from_slice(text) {
                    Ok(MetricsLine::Fault { .. }) => {
                        faults_seen += 1;
                        faults_seen <= faults
                    }
                    Ok(MetricsLine::Evaluation { step: at, .. })
                        if at == step && is_due(faults_seen) =>
                    {
                        false
                    }
                    Ok(MetricsLine::Evaluation {
                        step: at,
                        best: true,
                        ..
                    }) => at <= step || Some(at) == best,
                    Ok(line) => line.step() <= step,
                    Err(_) => text.ends_with(b"\n"),
                };
                if stays {
                    // The very text: a number that is read and written again may differ in its last digit.
                    kept.extend_from_slice(text);
                    if !text.ends_with(b"\n") {
                        kept.push(b'\n');
                    }
                }
            }
            write_whole(&path, &kept)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        Ok(Self { path, file })
    }

    pub(crate) fn write(&mut self, line: &MetricsLine) -> Result<(), TrainError> {
        let text = serde_json::to_string(line).map_err(|error| TrainError::BadFile {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        self.file
            .write_all((text + "\n").as_bytes())
            .map_err(TrainError::io("write", &self.path))
    }

    /// Something that brings all lines so far to the disk when it is called.
    pub(crate) fn flusher(
        &self,
    ) -> Result<impl FnOnce() -> Result<(), TrainError> + use<>, TrainError> {
        let path = self.path.clone();
        let file = self
            .file
            .try_clone()
            .map_err(TrainError::io("open", &path))?;
        Ok(move || file.sync_data().map_err(TrainError::io("write", path)))
    }
}
