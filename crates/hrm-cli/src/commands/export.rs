//! `hrm export`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::core::store::export_to;
use hrm::device;
use hrm::prelude::*;
use hrm::train::TrainError;
use serde::Serialize;

use crate::Outcome;
use crate::checkpoint::{Loaded, Weights, load};
use crate::console::Console;
use crate::files::{check_file, write_file};

/// Write the weights of a run under the official names, as a safetensors file that PyTorch programs and `hrm import` load.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm export run --out model.safetensors
  hrm export run/checkpoints/step-000002000.safetensors --weights raw --out raw.safetensors")]
pub(crate) struct Args {
    /// Run folder (its last checkpoint) or checkpoint file.
    #[arg(value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which weights of the checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Key of the task in the metadata, as JSON.
pub(super) const TASK_KEY: &str = "hrm_task";
/// Key of the name of the preset that the run was made from.
pub(super) const PRESET_KEY: &str = "hrm_preset";
/// Key of the configuration of the training, as JSON.
pub(super) const TRAINING_KEY: &str = "hrm_training";

#[derive(Serialize)]
#[serde(tag = "type", rename = "exported")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    checkpoint: &'a Path,
    step: u64,
    #[serde(serialize_with = "crate::console::lossy")]
    file: &'a Path,
    parameters: usize,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    if args.out == Path::new("-") {
        bail!("--out: expected the name of a file; weights are not written to stdout");
    }
    check_file(&args.out, args.force)?;
    let device = device::choose(None)?;
    let loaded = load(&args.checkpoint, args.weights, &device)?;
    let segments = usize::try_from(loaded.info.config.act.max_segments).unwrap_or(usize::MAX);
    let about = about(&loaded)?;
    let spinner = console.spinner("writing the weights");
    write_file(&args.out, args.force, |out| {
        Ok(export_to(&loaded.model, segments, &about, out)?)
    })?;
    spinner.finish_and_clear();
    let line = Line {
        checkpoint: &loaded.path,
        step: loaded.info.step,
        file: &args.out,
        parameters: loaded.model.config().num_parameters(),
    };
    let text = format!(
        "{}: {} parameters of step {}",
        line.file.display(),
        line.parameters,
        line.step
    );
    console.result(&line, text)?;
    Ok(Outcome::Done)
}

/// What an import can't tell by the weights: the task, and how a training goes on.
fn about(loaded: &Loaded) -> Result<BTreeMap<String, String>> {
    let Loaded { info, path, .. } = loaded;
    let mut about = BTreeMap::from([(
        TRAINING_KEY.to_owned(),
        serde_json::to_string(&info.config)?,
    )]);
    // A guess is left to who reads.
    if info.task != Task::Other {
        about.insert(TASK_KEY.to_owned(), serde_json::to_string(&info.task)?);
    }
    if let Some(preset) = preset(path, info.config.model.sizes())? {
        about.insert(PRESET_KEY.to_owned(), preset);
    }
    Ok(about)
}

/// The preset of the run that a checkpoint lies in: in its folder `checkpoints`, or beside its `config.json`. A checkpoint
/// that lies elsewhere doesn't say it.
fn preset(checkpoint: &Path, sizes: Sizes) -> Result<Option<String>> {
    let path = std::path::absolute(checkpoint)?;
    for dir in path.ancestors().skip(1).take(2) {
        match RunFile::read(dir) {
            Ok(file) => return Ok(file.preset.filter(|_| file.config.model.sizes() == sizes)),
            Err(error @ TrainError::Io { .. }) => return Err(error.into()),
            // No run, or the `config.json` of something else.
            Err(_) => {}
        }
    }
    Ok(None)
}
