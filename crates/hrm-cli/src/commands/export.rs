//! `hrm export`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args as Arguments;
use hrm::core::store::export;
use hrm::device;
use serde::Serialize;

use crate::Outcome;
use crate::checkpoint::{Weights, load};
use crate::console::Console;
use crate::files::check_file;

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

#[derive(Serialize)]
#[serde(tag = "type", rename = "exported")]
struct Line<'a> {
    checkpoint: &'a Path,
    step: u64,
    file: &'a Path,
    parameters: usize,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    check_file(&args.out, args.force)?;
    let device = device::choose(None)?;
    let loaded = load(&args.checkpoint, args.weights, &device)?;
    let segments = usize::try_from(loaded.info.config.act.max_segments).unwrap_or(usize::MAX);
    export(&loaded.model, segments, &args.out)?;
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
