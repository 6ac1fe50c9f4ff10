//! Where the files of a run lie, and the lock of its folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// The last checkpoint of a run folder, none where there is none yet.
///
/// # Errors
/// If the folder can't be read.
pub fn latest_checkpoint(dir: &Path) -> Result<Option<PathBuf>, TrainError> {
    Ok(list_checkpoints(dir)?.pop().map(|(_, path)| path))
}

/// The best weights of a run that evaluates, `best.safetensors`; there is no such file before the first evaluation.
pub fn best_weights(dir: &Path) -> PathBuf {
    dir.join("best.safetensors")
}

pub(crate) fn config_path(dir: &Path) -> PathBuf {
    dir.join("config.json")
}

pub(crate) fn metrics_path(dir: &Path) -> PathBuf {
    dir.join("metrics.jsonl")
}

fn checkpoints(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}

/// The file of a step's checkpoint.
pub(crate) fn checkpoint_path(dir: &Path, step: u64) -> PathBuf {
    checkpoints(dir).join(format!("step-{step:09}.safetensors"))
}

/// Makes the folder of a new run and locks it.
///
/// # Errors
/// If it holds a run or checkpoints of one, or can't be written. Nothing is written where that is seen at once.
pub(crate) fn prepare(dir: &Path) -> Result<File, TrainError> {
    check_new(dir)?;
    let checkpoints = checkpoints(dir);
    fs::create_dir_all(&checkpoints).map_err(TrainError::io("create", &checkpoints))?;
    let lock = lock(dir)?;
    // Another process may have made a run of it in the meantime.
    check_new(dir)?;
    Ok(lock)
}

fn check_new(dir: &Path) -> Result<(), TrainError> {
    if config_path(dir).exists() {
        return Err(TrainError::RunExists {
            path: dir.to_owned(),
        });
    }
    // Checkpoints of more steps would outlive those of the new run.
    match list_checkpoints(dir)?.pop() {
        None => Ok(()),
        Some((_, path)) => Err(TrainError::NoRun {
            path: dir.to_owned(),
            reason: format!(
                "it has checkpoints (the last is {}) but no config.json; remove them, or name another folder for the new run",
                path.display()
            ),
        }),
    }
}

/// Locks a run folder for as long as the file lives.
///
/// # Errors
/// If another process has it, or the folder can't be written.
pub(crate) fn lock(dir: &Path) -> Result<File, TrainError> {
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

/// Steps and files of the checkpoints, oldest first. Temporary files of a write that was cut off don't count.
pub(crate) fn list_checkpoints(dir: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let mut found = Vec::new();
    for path in files(&checkpoints(dir))? {
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

/// Removes all but the last `keep` of the planned checkpoints, those of a multiple of `every` steps. Of the others, which an
/// unbroken run would not have written, only the last stays, and only until the next planned one: it never takes the place
/// of one that the run may go back to.
pub(crate) fn prune(dir: &Path, keep: usize, every: u64) -> Result<(), TrainError> {
    let (planned, mut others): (Vec<_>, Vec<_>) = list_checkpoints(dir)?
        .into_iter()
        .partition(|(step, _)| step.is_multiple_of(every));
    let newest = planned.last().map(|(step, _)| *step);
    others.pop_if(|(step, _)| newest.is_none_or(|newest| *step > newest));
    let surplus = planned.len().saturating_sub(keep);
    for (_, path) in planned.into_iter().take(surplus).chain(others) {
        remove(&path)?;
    }
    Ok(())
}

/// Removes the checkpoints of more than `step` steps.
pub(crate) fn remove_after(dir: &Path, step: u64) -> Result<(), TrainError> {
    let found = list_checkpoints(dir)?.into_iter();
    found
        .filter(|(found, _)| *found > step)
        .try_for_each(|(_, path)| remove(&path))
}

fn remove(path: &Path) -> Result<(), TrainError> {
    fs::remove_file(path).map_err(TrainError::io("remove", path))
}

/// Removes what writes that were cut off have left.
pub(crate) fn sweep(dir: &Path) -> Result<(), TrainError> {
    for folder in [dir.to_owned(), checkpoints(dir)] {
        for path in files(&folder)? {
            if path.extension().is_some_and(|extension| extension == "tmp") {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    fs::read_dir(folder)
        .map_err(TrainError::io("read", folder))?
        .map(|entry| Ok(entry.map_err(TrainError::io("read", folder))?.path()))
        .collect()
}
