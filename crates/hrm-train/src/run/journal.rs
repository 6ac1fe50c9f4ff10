//! `metrics.jsonl`: a line for each report, evaluation and fault of a run.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::metrics_path;
use crate::checkpoint::write_whole;
use crate::error::TrainError;
use crate::trainer::StepReport;

/// A line of `metrics.jsonl`. Which it is, its fields tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetricsLine {
    /// Metrics of the steps since the last such line.
    Step(StepReport),
}

impl MetricsLine {
    /// Optimizer steps that the run had made when it was written.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(report) => report.step,
        }
    }
}

/// Reads the `metrics.jsonl` of a run; none where it has reported nothing yet. A last line that was cut off, and lines of
/// a kind that this version doesn't know, are left out.
///
/// # Errors
/// If the file can't be read.
pub fn read_metrics(dir: &Path) -> Result<Vec<MetricsLine>, TrainError> {
    let path = metrics_path(dir);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(&path).map_err(TrainError::io("read", &path))?;
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(TrainError::io("read", &path))?;
        lines.extend(serde_json::from_str::<MetricsLine>(&line));
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
    /// Opens it to go on after `step` steps: the lines that were written after them are dropped, they are written anew.
    pub(crate) fn open(dir: &Path, step: u64) -> Result<Self, TrainError> {
        let path = metrics_path(dir);
        if path.exists() {
            let mut kept = String::new();
            for line in read_metrics(dir)? {
                if line.step() <= step {
                    kept += &text(&path, &line)?;
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
        let text = text(&self.path, line)?;
        self.file
            .write_all(text.as_bytes())
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

fn text(path: &Path, line: &MetricsLine) -> Result<String, TrainError> {
    let text = serde_json::to_string(line).map_err(|error| TrainError::BadFile {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(text + "\n")
}
