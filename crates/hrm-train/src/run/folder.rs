//! Where the files of a run lie, and the lock of its folder.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::file::RunFile;
use crate::error::TrainError;

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const BEST: &str = "best.safetensors";
const LOCK: &str = ".lock";
/// The folder of the checkpoints in that of a run.
pub const CHECKPOINTS: &str = "checkpoints";

/// Files of a run beside its checkpoints. Without the first one the folder is no run.
const FILES: [&str; 3] = [CONFIG, METRICS, BEST];

/// A folder that programs make in that of a run, for files of TensorBoard, which go with the run.
const EVENTS: &str = "tensorboard";

/// What the names of the parts of a packed run begin with.
pub(crate) const PART: &str = "checkpoint-";

/// Ending of a name while the file is written.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The last checkpoint of a run folder, none where there is none yet.
///
/// # Errors
/// If the folder can't be read.
pub fn latest_checkpoint(dir: impl AsRef<Path>) -> Result<Option<PathBuf>, TrainError> {
    let dir = dir.as_ref();
    Ok(list_checkpoints(dir)?.pop().map(|(_, path)| path))
}

/// The steps made up to the last checkpoint of a run; none of one that has no checkpoints.
///
/// # Errors
/// If the folder can't be read.
pub fn latest_step(dir: impl AsRef<Path>) -> Result<Option<u64>, TrainError> {
    let found = list_checkpoints(dir.as_ref())?;
    Ok(found.last().map(|&(step, _)| step))
}

/// The best weights of a run that evaluates, `best.safetensors`; there is no such file before the first evaluation.
pub fn best_weights(dir: impl AsRef<Path>) -> PathBuf {
    let dir = dir.as_ref();
    dir.join(BEST)
}

pub(crate) fn config_path(dir: &Path) -> PathBuf {
    dir.join(CONFIG)
}

/// The reports of a run, `metrics.jsonl`; there is no such file before the first step.
pub fn metrics_path(dir: impl AsRef<Path>) -> PathBuf {
    dir.as_ref().join(METRICS)
}

/// Whether a run writes a file of this name into its folder.
pub fn is_run_file(name: impl AsRef<OsStr>) -> bool {
    is(name.as_ref(), |name| FILES.contains(&name) || name == LOCK)
}

/// Whether a run writes a file of this name into its folder of checkpoints, [`CHECKPOINTS`].
pub fn is_checkpoint_file(name: impl AsRef<OsStr>) -> bool {
    is(name.as_ref(), |name| {
        checkpoint_step(finished(name)).is_some()
    })
}

fn checkpoints(dir: &Path) -> PathBuf {
    dir.join(CHECKPOINTS)
}

/// The file of a step's checkpoint.
pub(crate) fn checkpoint_path(dir: &Path, step: u64) -> PathBuf {
    checkpoints(dir).join(format!("step-{step:09}.safetensors"))
}

/// The step of the checkpoint of a name; none of other names.
fn checkpoint_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
    // A sign is a number to `parse`, and no name that a run gives.
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    step.parse().ok().filter(|_| digits)
}

/// A part of a packed run, counted from 1.
pub(crate) fn part_path(dir: &Path, number: usize, of: usize) -> PathBuf {
    dir.join(format!("{PART}{number:03}-of-{of:03}"))
}

/// The parts of a packed run, each with its number and how many there should be; empty of any other folder.
///
/// # Errors
/// If the folder can't be read.
pub(crate) fn list_parts(dir: &Path) -> Result<Vec<(usize, usize, PathBuf)>, TrainError> {
    let number = |name: &OsStr| {
        let (number, of) = name.to_str()?.strip_prefix(PART)?.split_once("-of-")?;
        Some((number.parse().ok()?, of.parse().ok()?))
    };
    let found = names(dir)?.into_iter();
    let mut found: Vec<_> = found
        .filter_map(|name| number(&name).map(|(number, of)| (number, of, dir.join(&name))))
        .collect();
    found.sort();
    Ok(found)
}

/// Refuses a packed run where a run is wanted: it has the record of one, and parts in place of checkpoints.
pub(crate) fn check_unpacked(dir: &Path) -> Result<(), TrainError> {
    if list_parts(dir)?.is_empty() || !list_checkpoints(dir)?.is_empty() {
        return Ok(());
    }
    Err(TrainError::Packed {
        path: dir.to_owned(),
    })
}

/// A name without the ending that it has while it is written.
fn finished(name: &str) -> &str {
    name.strip_suffix(UNFINISHED).unwrap_or(name)
}

/// Whether a run writes a file of this name into its folder of checkpoints.
fn is_of_checkpoint(name: &str) -> bool {
    checkpoint_step(finished(name)).is_some()
}

/// Makes the folder of a new run and locks it.
///
/// # Errors
/// If it holds a run or checkpoints of one, or can't be written. Nothing is written where that is seen at once.
pub(crate) fn prepare(dir: &Path) -> Result<File, TrainError> {
    check_new(dir)?;
    let lock = make(dir)?;
    // Another process may have made a run of it in the meantime.
    check_new(dir)?;
    Ok(lock)
}

/// As [`prepare`], where a run may be, or what is left of a start that was cut off: its files are removed, once it is known
/// that no other process has it; whatever else is there stays.
///
/// # Errors
/// As [`check_over`]; if another process has the folder, or the disk fails.
pub(crate) fn prepare_over(dir: &Path) -> Result<File, TrainError> {
    check_over(dir)?;
    let lock = make(dir)?;
    // Another process may have been at it until now.
    check_over(dir)?;
    clear(dir)?;
    Ok(lock)
}

fn make(dir: &Path) -> Result<File, TrainError> {
    let checkpoints = checkpoints(dir);
    fs::create_dir_all(&checkpoints).map_err(TrainError::io("create", &checkpoints))?;
    lock(dir)
}

/// Removes what [`prepare`] has made, where no more has come of it: the folder is as empty as before.
pub(crate) fn unmake(dir: &Path) {
    if fs::remove_dir(checkpoints(dir)).is_ok() {
        let _ = fs::remove_file(dir.join(LOCK));
    }
}

/// Refuses a folder that holds something and no run that can go on: a packed one, or neither the record of one, nor what a
/// start that was cut off has left and nothing else.
pub(crate) fn check_over(dir: &Path) -> Result<(), TrainError> {
    if config_path(dir).exists() {
        check_unpacked(dir)?;
        return RunFile::read(dir).map(|_| ());
    }
    let no_run = |reason: String| {
        Err(TrainError::NoRun {
            path: dir.to_owned(),
            reason: format!("it has no {CONFIG}, {reason}"),
        })
    };
    let found = names(dir)?;
    let of_run =
        |name: &str| FILES.contains(&finished(name)) || [LOCK, CHECKPOINTS, EVENTS].contains(&name);
    if let Some(name) = found.iter().find(|name| !is(name, of_run)) {
        return no_run(format!("and {} is no file of one", name.display()));
    }
    let begun = |name: &str| name == LOCK || name == CHECKPOINTS;
    if !found.is_empty() && !found.iter().any(|name| is(name, begun)) {
        return no_run("nor what a start begins with".to_owned());
    }
    match names(&checkpoints(dir))?
        .iter()
        .find(|name| !is(name, is_of_checkpoint))
    {
        None => Ok(()),
        Some(name) => no_run(format!(
            "and {CHECKPOINTS}/{} is no checkpoint",
            name.display()
        )),
    }
}

/// Removes the files of a run; whatever else is in its folder stays.
fn clear(dir: &Path) -> Result<(), TrainError> {
    // The first of them first: a run without checkpoints would be none to go on with.
    for name in FILES {
        remove_any(&dir.join(name))?;
        remove_any(&dir.join(format!("{name}{UNFINISHED}")))?;
    }
    let checkpoints = checkpoints(dir);
    for name in names(&checkpoints)? {
        if is(&name, is_of_checkpoint) {
            remove_any(&checkpoints.join(name))?;
        }
    }
    // A reader would show their values as the new run's.
    let events = dir.join(EVENTS);
    for name in names(&events)? {
        if is(&name, |name| {
            name.starts_with("events.out.tfevents.") && name.contains(".hrm.")
        }) {
            // Some systems keep a file that TensorBoard has open.
            let _ = remove_any(&events.join(name));
        }
    }
    Ok(())
}

fn check_new(dir: &Path) -> Result<(), TrainError> {
    if config_path(dir).exists() {
        check_unpacked(dir)?;
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

/// Refuses a folder that another process has, without leaving a lock where none was.
pub(crate) fn check_unused(dir: &Path) -> Result<(), TrainError> {
    match dir.join(LOCK).exists() {
        true => lock(dir).map(|_| ()),
        false => Ok(()),
    }
}

/// Locks a run folder for as long as the file lives.
///
/// # Errors
/// If another process has it, or the folder can't be written.
pub(crate) fn lock(dir: &Path) -> Result<File, TrainError> {
    let path = dir.join(LOCK);
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
    let checkpoints = checkpoints(dir);
    let found = names(&checkpoints)?.into_iter();
    let mut found: Vec<_> = found
        .filter_map(|name| Some((checkpoint_step(name.to_str()?)?, checkpoints.join(&name))))
        .collect();
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

/// Removes a file where there is one.
fn remove_any(path: &Path) -> Result<(), TrainError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(TrainError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes what writes of a run that were cut off have left.
pub(crate) fn sweep(dir: &Path) -> Result<(), TrainError> {
    for name in FILES {
        remove_any(&dir.join(format!("{name}{UNFINISHED}")))?;
    }
    let checkpoints = checkpoints(dir);
    for name in names(&checkpoints)? {
        if is(&name, |name| {
            name.ends_with(UNFINISHED) && is_of_checkpoint(name)
        }) {
            remove_any(&checkpoints.join(name))?;
        }
    }
    Ok(())
}

/// Whether a name is text, and such a one.
fn is(name: &OsStr, such: impl Fn(&str) -> bool) -> bool {
    name.to_str().is_some_and(such)
}

/// Names in a folder; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<OsString>, TrainError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    fs::read_dir(folder)
        .map_err(TrainError::io("read", folder))?
        .map(|entry| Ok(entry.map_err(TrainError::io("read", folder))?.file_name()))
        .collect()
}
