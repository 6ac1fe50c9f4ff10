//! ARC data sets on disk: folders of one file per task, Kaggle's pairs of files, ConceptARC's corpus.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::grid::ArcTask;
use super::json::{join_solutions, parse_challenges, parse_solutions, parse_task, parse_tasks};
use crate::DataError;

/// Largest file of one task; the published ones have less than 100 KB.
const MAX_TASK_FILE: u64 = 8 << 20;
/// Largest file of many tasks that is read, in bytes; the published ones have less than 10 MB.
pub const MAX_KAGGLE_FILE: u64 = 256 << 20;

/// Reads every `<task>.json` of a folder (ARC-AGI's `data/training` and `data/evaluation`), sorted by name.
///
/// # Errors
/// With file, task and place in it.
pub fn read_folder(folder: impl AsRef<Path>) -> Result<Vec<ArcTask>, DataError> {
    read_to_depth(folder.as_ref(), 0)
}

/// Files that this crate and its program put beside tasks or examples.
const NO_TASKS: [&str; 4] = [
    "download.json",
    "hrm.json",
    "dataset.json",
    "identifiers.json",
];
/// Folders of ConceptARC's corpus with tasks of ARC's evaluation set, whose answers would get into the training.
const NO_CORPUS: &str = "OriginalARCEvalSet";

/// Reads the tasks of a folder and of so many levels of folders in it.
fn read_to_depth(folder: &Path, depth: usize) -> Result<Vec<ArcTask>, DataError> {
    let mut found = Vec::new();
    find(folder, depth, &mut found)?;
    found.sort_by(|a, b| task_id(a).cmp(&task_id(b)));
    if let Some(pair) = found
        .windows(2)
        .find(|pair| task_id(&pair[0]) == task_id(&pair[1]))
    {
        return Err(DataError::ArcTaskTwice {
            task: task_id(&pair[0]).into_owned(),
            files: pair.to_vec(),
        });
    }
    found.iter().map(read_task).collect()
}

/// The files of tasks in a folder and so many levels of folders in it. What is hidden is left out: some systems put a hidden file beside
/// each.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") || NO_TASKS.iter().any(|no| name == *no) {
            continue;
        }
        let is_json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        if is_json && path.is_file() {
            found.push(path);
        } else if depth > 0 && path.is_dir() && name != NO_CORPUS {
            find(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// Reads one file of one task; its name is the file's without `.json`.
///
/// # Errors
/// With file, task and place in it; [`DataError::ArcChallenges`] where it holds Kaggle's challenges.
pub fn read_task(path: impl AsRef<Path>) -> Result<ArcTask, DataError> {
    let path = path.as_ref();
    let json = read_bounded(path, MAX_TASK_FILE)?;
    parse_task(&json, &task_id(path), path).map_err(|error| match parse_challenges(&json, path) {
        Ok(tasks) if !tasks.is_empty() => DataError::ArcChallenges { path: path.into() },
        _ => error,
    })
}

/// The name of the task that a file is of.
fn task_id(path: &Path) -> Cow<'_, str> {
    path.file_stem().unwrap_or_default().to_string_lossy()
}

/// Reads Kaggle's challenges and, where given, their solutions; tasks sorted by name.
///
/// # Errors
/// With file, task and place in it.
pub fn read_kaggle(
    challenges: impl AsRef<Path>,
    solutions: Option<&Path>,
) -> Result<Vec<ArcTask>, DataError> {
    let challenges = challenges.as_ref();
    let mut tasks = parse_challenges(&read_bounded(challenges, MAX_KAGGLE_FILE)?, challenges)?;
    read_solutions(&mut tasks, solutions)?;
    Ok(tasks)
}

/// Puts Kaggle's solutions, where given, to the tests of tasks.
fn read_solutions(tasks: &mut [ArcTask], path: Option<&Path>) -> Result<(), DataError> {
    let Some(path) = path else { return Ok(()) };
    let solutions = parse_solutions(&read_bounded(path, MAX_KAGGLE_FILE)?, path)?;
    join_solutions(tasks, solutions, path)
}

/// Deepest folder below one of tasks that is looked into.
const MAX_DEPTH: usize = 8;

/// Reads every `<task>.json` of a folder and of the folders in it, as ConceptARC's `corpus` has one for each concept. What is hidden is
/// left out, and so are folders named `OriginalARCEvalSet`: those of ConceptARC hold tasks of ARC's evaluation set. Tasks sorted by name.
///
/// # Errors
/// With file, task and place in it; [`DataError::ArcTaskTwice`] where two folders have a task of the same name.
pub fn read_folders(folder: impl AsRef<Path>) -> Result<Vec<ArcTask>, DataError> {
    read_to_depth(folder.as_ref(), MAX_DEPTH)
}

/// The files that [`read_folders`] reads of a folder, sorted by their paths.
///
/// # Errors
/// If a folder can't be read.
pub fn task_files(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    find(folder.as_ref(), MAX_DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

/// Reads tasks in whichever layout a path has: a folder of task files and of such folders, a file of Kaggle's challenges, or one of a task.
/// Solutions of their tests may lie in a file of Kaggle's layout.
///
/// # Errors
/// With file, task and place in it; [`DataError::ArcTaskTwice`] where two folders have a task of the same name.
pub fn read_tasks(
    path: impl AsRef<Path>,
    solutions: Option<&Path>,
) -> Result<Vec<ArcTask>, DataError> {
    let path = path.as_ref();
    let mut tasks = match path.is_dir() {
        true => read_folders(path)?,
        false => {
            // Once, for a pipe gives what it has but once.
            parse_tasks(&read_bounded(path, MAX_KAGGLE_FILE)?, &task_id(path), path)?
        }
    };
    read_solutions(&mut tasks, solutions)?;
    Ok(tasks)
}

/// What lies in a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = DataError::read(folder);
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let failed = DataError::read(path);
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let too_large = |found| DataError::TooLarge {
        path: path.into(),
        limit,
        found,
    };
    if found > limit {
        return Err(too_large(found));
    }
    let mut bytes = Vec::new();
    // A pipe or a growing file says less than it gives.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 {
        read if read > limit => Err(too_large(read)),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::task_json;

    const TASK: &str =
        r#"{"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}"#;

    #[test]
    fn folders_are_read_sorted_whatever_else_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json"] {
            fs::write(folder.path().join(name), TASK).unwrap();
        }
        fs::write(folder.path().join("README.md"), "no task").unwrap();
        fs::write(folder.path().join("._a.json"), "no task").unwrap();
        fs::create_dir(folder.path().join("c.json")).unwrap();
        let tasks = read_folder(folder.path()).unwrap();
        assert_eq!(tasks.iter().map(|t| &*t.id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read_tasks(folder.path(), None).unwrap(), tasks);
        let written = folder.path().join("a.json");
        fs::write(&written, task_json(&tasks[0])).unwrap();
        assert_eq!(read_task(&written).unwrap(), tasks[0]);
        assert_eq!(read_tasks(&written, None).unwrap(), tasks[..1]);
        fs::write(&written, format!("\u{feff}{}", task_json(&tasks[0]))).unwrap();
        assert_eq!(read_task(&written).unwrap(), tasks[0]);
    }

    #[test]
    fn folders_in_a_folder_are_read_beside_its_own_tasks() {
        let corpus = tempfile::tempdir().unwrap();
        for (concept, name) in [("Copy", "Copy1.json"), ("Above", "Above1.json")] {
            fs::create_dir(corpus.path().join(concept)).unwrap();
            fs::write(corpus.path().join(concept).join(name), TASK).unwrap();
        }
        let deep = corpus.path().join("more/Order");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("Order1.json"), TASK).unwrap();
        fs::write(corpus.path().join("a.json"), TASK).unwrap();
        let hidden = corpus.path().join(".git");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("x.json"), "no task").unwrap();
        let tasks = read_folders(corpus.path()).unwrap();
        let ids: Vec<&str> = tasks.iter().map(|task| &*task.id).collect();
        assert_eq!(ids, ["Above1", "Copy1", "Order1", "a"]);
        assert_eq!(read_tasks(corpus.path(), None).unwrap(), tasks);
        fs::write(corpus.path().join("Copy/Above1.json"), TASK).unwrap();
        let error = read_folders(corpus.path()).unwrap_err().to_string();
        assert!(error.starts_with("task Above1 occurs twice: "), "{error}");
        for place in ["Above/Above1.json", "Copy/Above1.json"] {
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn solutions_are_joined_to_the_tasks_of_a_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), TASK).unwrap();
        let solutions = tempfile::NamedTempFile::new().unwrap();
        fs::write(solutions.path(), r#"{"a": [[[4]]]}"#).unwrap();
        let tasks = read_tasks(folder.path(), Some(solutions.path())).unwrap();
        assert_eq!(tasks[0].test[0].output.as_ref().unwrap().cells(), [4]);
        fs::write(solutions.path(), r#"{"b": [[[4]]]}"#).unwrap();
        let error = read_tasks(folder.path(), Some(solutions.path())).unwrap_err();
        assert!(error.to_string().contains("task b"), "{error}");
    }

    #[test]
    fn what_lies_beside_tasks_is_none() {
        let corpus = tempfile::tempdir().unwrap();
        let original = corpus.path().join("Copy/OriginalARCEvalSet");
        fs::create_dir_all(&original).unwrap();
        fs::write(original.join("Copy1.json"), TASK).unwrap();
        fs::write(corpus.path().join("Copy/Copy1.json"), TASK).unwrap();
        for name in NO_TASKS {
            fs::write(corpus.path().join(name), "{}").unwrap();
        }
        let tasks = read_folders(corpus.path()).unwrap();
        assert_eq!(tasks.len(), 1);
        let files = task_files(corpus.path()).unwrap();
        assert_eq!(files, [corpus.path().join("Copy/Copy1.json")]);
    }

    #[test]
    fn a_malformed_task_is_told_as_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), TASK.replace("[[2]]", "[[2.0]]")).unwrap();
        let error = read_tasks(file.path(), None).unwrap_err();
        let expected = read_task(file.path()).unwrap_err();
        assert_eq!(format!("{error:?}"), format!("{expected:?}"));
        fs::write(file.path(), r#"{"a": {"train": [], "test": 5}}"#).unwrap();
        let error = format!("{:?}", read_tasks(file.path(), None).unwrap_err());
        assert!(error.contains("task a:"), "{error}");
    }

    #[test]
    fn challenges_in_a_folder_are_told_for_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let challenges = folder.path().join("c.json");
        fs::write(&challenges, format!(r#"{{"a": {TASK}}}"#)).unwrap();
        let error = read_tasks(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, DataError::ArcChallenges { path } if *path == challenges),
            "{error}"
        );
        assert_eq!(read_tasks(&challenges, None).unwrap().len(), 1);
        // What is neither is told as a task.
        fs::write(&challenges, "{}").unwrap();
        let error = read_tasks(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("task c: missing field `train`"), "{error}");
    }

    #[test]
    fn a_missing_folder_or_file_is_named() {
        let error = read_folder(Path::new("/nowhere/arc")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/arc");
        let error = read_kaggle(Path::new("/nowhere/c.json"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/c.json");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_TASK_FILE + 1).unwrap();
        let error = read_task(file.path()).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { .. }));
    }
}
