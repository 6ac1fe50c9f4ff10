//! `hrm pack` and `hrm unpack`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args as Arguments;
use hrm::prelude::*;
use serde::Serialize;

use super::train::resume_line;
use crate::Outcome;
use crate::console::Console;
use crate::files::{check_free, write_folder};

/// Make a run small enough to be moved: its last checkpoint in parts, without slots, moments and averages in bf16.
///
/// The weights are whole. A training that goes on from it after `hrm unpack` is not bit for bit the unbroken one.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm pack run --out packed --part-mib 16
  hrm unpack packed --out run2 && hrm train --resume run2 --data sudoku")]
pub(crate) struct Args {
    /// Run folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Folder to write the parts to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Most MiB of a part.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    part_mib: u32,
}

/// Make a run again of a packed one.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm unpack packed --out run2
  hrm train --resume run2 --data sudoku

A part that is missing is an error that names it, a damaged one an error.")]
pub(crate) struct UnpackArgs {
    /// Folder that `hrm pack` wrote.
    #[arg(value_name = "DIR")]
    packed: PathBuf,
    /// Run folder to make.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "packed")]
struct Packed<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    run: &'a Path,
    #[serde(serialize_with = "crate::console::lossy_each")]
    parts: Vec<PathBuf>,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "unpacked")]
struct Unpacked<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    run: &'a Path,
    #[serde(serialize_with = "crate::console::lossy")]
    checkpoint: PathBuf,
}

/// The file that every run has, packed or not.
const MARK: &str = "config.json";

pub(crate) fn pack(args: &Args, console: &Console) -> Result<Outcome> {
    check_new(&args.out)?;
    let part_bytes = usize::try_from(args.part_mib).context("--part-mib")? << 20;
    let mut parts = Vec::new();
    write_folder(&args.out, false, MARK, |dir| {
        parts = Run::pack(&args.run, dir, part_bytes)?;
        Ok(())
    })?;
    for part in &mut parts {
        *part = args.out.join(part.file_name().unwrap_or_default());
    }
    let sizes = parts.iter().map(|part| Ok(part.metadata()?.len()));
    let bytes = sizes.sum::<std::io::Result<u64>>()?;
    let text = format!(
        "{}: {} parts, {:.1} MiB",
        args.out.display(),
        parts.len(),
        bytes as f64 / f64::from(1 << 20)
    );
    let line = Packed {
        run: &args.run,
        parts,
        bytes,
    };
    console.result(&line, text)?;
    Ok(Outcome::Done)
}

pub(crate) fn unpack(args: &UnpackArgs, console: &Console) -> Result<Outcome> {
    check_new(&args.out)?;
    let mut checkpoint = PathBuf::new();
    write_folder(&args.out, false, MARK, |dir| {
        let written = Run::unpack(&args.packed, dir)?;
        checkpoint = args.out.join(written.strip_prefix(dir).unwrap_or(&written));
        Ok(())
    })?;
    let text = format!(
        "{}; go on with: {} --data DIR",
        checkpoint.display(),
        resume_line(&args.out)
    );
    let line = Unpacked {
        run: &args.out,
        checkpoint,
    };
    console.result(&line, text)?;
    Ok(Outcome::Done)
}

/// Refuses a folder that is there: what these commands write never takes the place of anything.
fn check_new(out: &Path) -> Result<()> {
    check_free(out, false)
        .map_err(|_| anyhow!("{} is there already; name another --out", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_is_refused_without_advice_that_does_not_help() {
        let dir = tempfile::tempdir().unwrap();
        check_new(dir.path()).unwrap();
        std::fs::write(dir.path().join("x"), "").unwrap();
        let error = check_new(dir.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("is there already; name another --out"),
            "{error}"
        );
    }
}
