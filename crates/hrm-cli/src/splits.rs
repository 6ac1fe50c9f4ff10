//! Splits of a data folder.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hrm::data::inspect::is_split;
use hrm::prelude::*;

/// A split of a data folder. Where there is no such split, those that there are are named; a file in it that is wrong is
/// named by the error itself.
pub(crate) fn load_split(dir: &Path, split: &str) -> Result<PuzzleSet> {
    let names = splits(dir)?;
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
fn splits(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(names);
    };
    for entry in entries.flatten() {
        if is_split(entry.path())? {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
