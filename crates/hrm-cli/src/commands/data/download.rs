//! `hrm data download`: the published data sets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as Arguments;

use crate::Outcome;
use crate::console::Console;

/// Names of the sets, also where they can't be downloaded.
const NAMES: [&str; 5] = [
    "sudoku-extreme",
    "maze-hard",
    "arc-agi-1",
    "arc-agi-2",
    "concept-arc",
];

/// Download a published data set: Sudokus and mazes from the Hugging Face hub, ARC tasks from GitHub.
///
/// A download that broke off is continued by the same command. Needs a program built with `--features hub`.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm data download sudoku-extreme --out raw
  hrm data build sudoku --input raw/train.csv --test raw/test.csv --train-count 1000 --out 1k

HF_ENDPOINT names another hub, HRM_GITHUB_ENDPOINT another place of GitHub's archives.")]
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
pub(crate) struct Args {
    /// Which one.
    #[arg(value_name = "SET", value_parser = NAMES)]
    set: String,
    /// Folder to write; the name of the set where it is not given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Branch, tag or commit; the newest where it is not given.
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// Address of a mirror.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// SHA-256 that the archive of an ARC set must have (the hub announces the checksums of its files).
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Writes over a folder of the same kind that is there.
    #[arg(long)]
    force: bool,
}

/// Downloads into a folder beside `--out`, which stays if something fails; then puts all in place at once.
#[cfg(feature = "hub")]
pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    use std::fs;
    use std::path::Path;

    use anyhow::Context;
    use hrm::data::hub::{DownloadConfig, Placed, Progress, Published};
    use serde::Serialize;

    use crate::files::{beside, check_folder, write_folder};

    /// The file that every downloaded set has.
    const MARK: &str = "download.json";

    #[derive(Serialize)]
    #[serde(tag = "type", rename = "downloaded")]
    struct Downloaded<'a> {
        #[serde(serialize_with = "crate::console::lossy")]
        out: &'a Path,
        #[serde(flatten)]
        placed: &'a Placed,
    }

    let set = Published::by_name(&args.set)
        .with_context(|| format!("expected one of {}, found {}", NAMES.join(", "), args.set))?;
    let out = args.out.clone().unwrap_or_else(|| set.name().into());
    check_folder(&out, args.force, MARK)?;
    console.note(format_args!(
        "{} of {}: licence {}",
        set.name(),
        set.repository(),
        set.licence()
    ));
    let config = DownloadConfig {
        endpoint: args.endpoint.clone(),
        revision: args.revision.clone(),
        sha256: args.sha256.clone(),
    };
    // The same name in the next run, which goes on from what lies there.
    let parts = beside(&out, &format!("{}.download", set.name()));
    let bar = console.bytes();
    let mut progress = |progress: Progress| {
        if bar.message() != progress.file {
            bar.set_message(progress.file.to_owned());
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    };
    let fetched = set.fetch(&config, &parts, &mut progress);
    bar.finish_and_clear();
    let download = fetched?;
    let mut placed = None;
    write_folder(&out, args.force, MARK, |to| {
        placed = Some(download.place(to)?);
        Ok(())
    })?;
    // Some systems remove no file that is open, as that of the lock is.
    drop(download);
    let _ = fs::remove_dir_all(&parts);
    let placed = placed.context("nothing was placed")?;
    let mut text = format!("{}:", out.display());
    if let Some(tasks) = placed.tasks {
        text += &format!(" {tasks} tasks,");
    }
    if let Some(commit) = &placed.commit {
        text += &format!(" commit {commit},");
    }
    text += &format!(" licence {}", placed.licence);
    for file in &placed.files {
        text += &format!(
            "\n  {} {} bytes, SHA-256 {}",
            file.file, file.bytes, file.sha256
        );
    }
    let downloaded = Downloaded {
        out: &out,
        placed: &placed,
    };
    console.result(&downloaded, text)?;
    Ok(Outcome::Done)
}

/// Says what it would take.
#[cfg(not(feature = "hub"))]
pub(crate) fn run(_args: &Args, _console: &Console) -> Result<Outcome> {
    anyhow::bail!("this program was built without downloads; build it with `--features hub`")
}
