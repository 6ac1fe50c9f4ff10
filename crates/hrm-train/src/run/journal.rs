//! `metrics.jsonl`: a line for each report, evaluation and fault of a run.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::metrics_path;
use super::guard::Fault;
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
        /// Whether no evaluation of the run before was better.
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

/// Reads the `metrics.jsonl` of a run; none where it has reported nothing yet. A last line that was cut off, and lines of
/// a kind that this version doesn't know, are left out.
///
/// # Errors
/// If the file can't be read.
pub fn read_metrics(dir: &Path) -> Result<Vec<MetricsLine>, TrainError> {
    let lines = read(&metrics_path(dir))?.into_iter();
    Ok(lines.map(|(line, _)| line).collect())
}

/// The lines and their text.
fn read(path: &Path) -> Result<Vec<(MetricsLine, String)>, TrainError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(path).map_err(TrainError::io("read", path))?;
    let mut lines = Vec::new();
    for text in BufReader::new(file).lines() {
        let text = text.map_err(TrainError::io("read", path))?;
        if let Ok(line) = serde_json::from_str(&text) {
            lines.push((line, text));
        }
    }
    Ok(lines)
}

/// `metrics.jsonl` of a run that is being trained.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens it to go on after `step` steps and `faults` faults: what was written after them is dropped and will be
    /// written anew.
    pub(crate) fn open(dir: &Path, step: u64, faults: usize) -> Result<Self, TrainError> {
        let path = metrics_path(dir);
        if path.exists() {
            let mut kept = String::new();
            let mut faults_seen = 0;
            for (line, text) in read(&path)? {
                let is_fault = matches!(line, MetricsLine::Fault { .. });
                faults_seen += usize::from(is_fault);
                if line.step() <= step && (!is_fault || faults_seen <= faults) {
                    // The very text: a number that is read and written again may differ in its last digit.
                    kept += &text;
                    kept.push('\n');
                }
            }
            write_whole(&path, kept.as_bytes())?;
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
