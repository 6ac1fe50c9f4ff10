//! Runs made small to be moved: the last checkpoint without slots, moments and averages in bf16, in parts of a size at most.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;

use super::Run;
use super::file::RunFile;
use super::folder::{PART, checkpoint_path, list_parts, metrics_path, part_path, prepare};
use crate::checkpoint::{Checkpoint, write_whole};
use crate::error::TrainError;

impl Run {
    /// Writes the last checkpoint of a run as parts of at most `part_bytes` into a new folder, with its configuration and its
    /// metrics. The weights are whole; moments and averages are rounded to bf16; what is in the slots is left out, and so are
    /// the best weights. A run that goes on from it is thus not the unbroken run: that is what checkpoints are for. Gives the parts.
    ///
    /// # Errors
    /// If the folder is no run or has no checkpoint, `out` holds files that are not hidden, or the disk fails.
    pub fn pack(
        dir: impl AsRef<Path>,
        out: impl AsRef<Path>,
        part_bytes: usize,
    ) -> Result<Vec<PathBuf>, TrainError> {
        let (dir, out) = (dir.as_ref(), out.as_ref());
        let file = RunFile::read(dir)?;
        let checkpoint = Checkpoint::open(dir)?;
        let there = out.exists() && !seems_empty(out)?;
        if there {
            return Err(TrainError::RunExists {
                path: out.to_owned(),
            });
        }
        fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
        let bytes = checkpoint.compact().to_bytes()?;
        let chunks = bytes.chunks(part_bytes.max(1));
        let count = chunks.len();
        let mut parts = Vec::with_capacity(count);
        for (index, chunk) in chunks.enumerate() {
            let path = part_path(out, index + 1, count);
            write_whole(&path, chunk)?;
            parts.push(path);
        }
        copy_metrics(dir, out)?;
        file.write(out)?;
        Ok(parts)
    }

    /// Makes a run again of what [`Run::pack`] wrote; gives its checkpoint. The slots start anew when it goes on, and the next
    /// evaluation counts as the best.
    ///
    /// # Errors
    /// If a part is missing or damaged, `out` holds a run, or the disk fails.
    pub fn unpack(packed: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<PathBuf, TrainError> {
        let (packed, out) = (packed.as_ref(), out.as_ref());
        let parts = parts(packed)?;
        let file = RunFile::read(packed)?;
        let mut bytes = Vec::new();
        for path in parts {
            bytes.extend(fs::read(&path).map_err(TrainError::io("read", path))?);
        }
        let checkpoint = Checkpoint::from_bytes(&bytes, packed)?
            .with_state_as(DType::F32)
            .without_best();
        drop(bytes);
        let _lock = prepare(out)?;
        let path = checkpoint_path(out, checkpoint.info().step);
        checkpoint.write(&path)?;
        copy_metrics(packed, out)?;
        file.write(out)?;
        Ok(path)
    }
}

/// Whether a folder holds nothing that isn't hidden.
fn seems_empty(path: &Path) -> Result<bool, TrainError> {
    for entry in fs::read_dir(path).map_err(TrainError::io("read", path))? {
        let name = entry.map_err(TrainError::io("read", path))?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn copy_metrics(from: &Path, to: &Path) -> Result<(), TrainError> {
    let from = metrics_path(from);
    if from.exists() {
        fs::copy(&from, metrics_path(to)).map_err(TrainError::io("copy", from))?;
    }
    Ok(())
}

/// The parts in order, none missing.
fn parts(packed: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let not_packed = |reason: String| TrainError::NotPacked {
        path: packed.to_owned(),
        reason,
    };
    let found = list_parts(packed)?;
    let Some((_, count, _)) = found.first().cloned() else {
        return Err(not_packed(format!("it has no parts ({PART}001-of-...)")));
    };
    if found.iter().any(|(_, of, _)| *of != count) {
        return Err(not_packed("it has parts of two checkpoints".to_owned()));
    }
    let missing = (1..=count).find(|&number| found.iter().all(|(there, ..)| *there != number));
    match missing {
        Some(number) => Err(not_packed(format!("part {number} of {count} is missing"))),
        None => Ok(found.into_iter().map(|(.., path)| path).collect()),
    }
}
