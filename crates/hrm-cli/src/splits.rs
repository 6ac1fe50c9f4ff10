//! Splits of a data folder.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hrm::prelude::*;

/// A split of a data folder. Where there is no such split, those that there are are named; a file in it that is wrong is
/// named by the error itself.
pub(crate) fn load_split(dir: &Path, split: &str) -> Result<PuzzleSet> {
    let names = splits(dir);
    if names.is_empty() {
        return PuzzleSet::load(dir, split)
            .with_context(|| format!("{} holds no data", dir.display()));
    }
    if !dir.join(split).join("dataset.json").exists() {
        bail!(
            "{} has no split {split}; it has {}: choose with --split",
            dir.display(),
            names.join(", ")
        );
    }
    Ok(PuzzleSet::load(dir, split)?)
}

/// Names of the splits of a data folder.
fn splits(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("dataset.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
