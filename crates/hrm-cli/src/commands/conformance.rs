//! `hrm conformance`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args as Arguments;
use hrm::device;
use hrm::prelude::*;
use hrm::train::conformance::{Comparison, Tolerances, Trace};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// Compute what a reference program has recorded, and compare: states, logits, gradients, losses, weights.
///
/// A trace holds start weights, batches and draws, and what the reference program made of them; docs/parity.md gives the
/// layout and shows how to record one. Exit code 1 where an error is beyond its tolerance.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm conformance --trace crates/hrm-train/tests/fixtures/*.safetensors
  hrm conformance --trace mine.safetensors --device cuda:0 --json")]
pub(crate) struct Args {
    /// Traces: safetensors files.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    trace: Vec<PathBuf>,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "conformance")]
struct Line<'a> {
    trace: &'a Path,
    passed: bool,
    tolerances: Tolerances,
    quantities: Vec<Quantity<'a>>,
}

#[derive(Serialize)]
struct Quantity<'a> {
    #[serde(flatten)]
    compared: &'a Comparison,
    passed: bool,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let device = device::choose(args.device.as_deref())?;
    let mut outcome = Outcome::Done;
    for path in &args.trace {
        let (tolerances, compared) =
            compare(path, &device).with_context(|| path.display().to_string())?;
        let passed = compared.iter().all(Comparison::passed);
        if !passed {
            outcome = Outcome::Negative;
        }
        let text = describe(path, &compared, passed);
        let quantities = compared.iter().map(|compared| Quantity {
            compared,
            passed: compared.passed(),
        });
        let line = Line {
            trace: path,
            passed,
            tolerances,
            quantities: quantities.collect(),
        };
        console.result(&line, text)?;
    }
    Ok(outcome)
}

fn compare(path: &Path, device: &Device) -> Result<(Tolerances, Vec<Comparison>)> {
    let bytes = fs::read(path).context("cannot be read")?;
    let trace = Trace::read(&bytes)?;
    let mixer = trace.train_config()?.model.mixer;
    let tolerances = match device::is_flex(device) {
        true => Tolerances::f32(mixer),
        false => Tolerances::f32_gpu(mixer),
    };
    Ok((tolerances, trace.compare(&tolerances, device)?))
}

fn describe(path: &Path, compared: &[Comparison], passed: bool) -> String {
    let mut text = format!("{}\n", path.display());
    for row in compared {
        let line = format!(
            "  {:<45} {:>8.1e} of {:>6.0e}  {} {}",
            row.quantity,
            row.largest_error,
            row.tolerance,
            if row.passed() { "ok" } else { "OVER" },
            row.note
        );
        text += line.trim_end();
        text.push('\n');
    }
    text += match passed {
        true => "  equal within the tolerances\n",
        false => "  different\n",
    };
    text
}
