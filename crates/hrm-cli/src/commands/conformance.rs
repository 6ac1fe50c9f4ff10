//! `hrm conformance`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::conformance::{Suite, SuiteSize};
use hrm::device;
use hrm::prelude::*;
use hrm::train::conformance::{Comparison, Tolerances, Trace};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// Hold a device against the CPU part by part, or against what a reference program has recorded.
///
/// Without --trace: attention, rope, norm, losses, optimizers, a segment, training steps and adaptive inference, computed by
/// the device and by the CPU in f32 from the same inputs. A GPU is held twice, with fused operations and without.
///
/// With --trace: states, logits, gradients, losses, weights. A trace holds start weights, batches and draws, and what the
/// reference program made of them; docs/parity.md gives the layout and shows how to record one.
///
/// Exit code 1 where an error is beyond its tolerance.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm conformance --device cuda:0
  hrm conformance --device cuda:0 --compute bf16 --size published --json
  hrm conformance --device wgpu --only rope --fusion off
  hrm conformance --trace crates/hrm-train/tests/fixtures/*.safetensors")]
pub(crate) struct Args {
    /// Traces: safetensors files.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    trace: Vec<PathBuf>,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Number type that the device computes in.
    #[arg(long, value_enum, default_value_t = Compute::F32, conflicts_with = "trace")]
    compute: Compute,
    /// How large the tensors and models are.
    #[arg(long, value_enum, default_value_t = Size::Small, conflicts_with = "trace")]
    size: Size,
    /// Only the parts with this in their names.
    #[arg(long, value_name = "PATTERN", conflicts_with = "trace")]
    only: Option<String>,
    /// Whether the backend may fuse operations; of a GPU both where it is not given.
    #[arg(long, value_enum)]
    fusion: Option<Fusion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compute {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Width 64, 4x4 Sudoku.
    Small,
    /// The published Sudoku models.
    Published,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Fusion {
    On,
    Off,
    Both,
}

/// Burn reads it once, when the first tensor is made: 0 lets it look for nothing to fuse.
const FUSION_VARIABLE: &str = "BURN_FUSION_MAX_EXPLORATIONS";

#[derive(Serialize)]
#[serde(tag = "type", rename = "conformance")]
struct Line<'a> {
    trace: &'a Path,
    passed: bool,
    tolerances: Tolerances,
    quantities: Vec<Quantity<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "conformance")]
struct PartsLine<'a> {
    device: &'a str,
    product: Option<String>,
    compute: &'static str,
    size: SuiteSize,
    fusion: Option<Fusion>,
    passed: bool,
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
    let off = std::env::var(FUSION_VARIABLE).is_ok_and(|value| value == "0");
    let fusion = match (device::is_flex(&device), args.fusion) {
        // Nothing is fused by the backend there.
        (true, _) => None,
        (false, None) => Some(if off { Fusion::Off } else { Fusion::Both }),
        (false, some) => some,
    };
    if off && matches!(fusion, Some(Fusion::On | Fusion::Both)) {
        bail!("{FUSION_VARIABLE}=0 turns fusion off; expected it unset with --fusion on or both");
    }
    match fusion {
        Some(Fusion::Off) if !off => again_without_fusion(),
        Some(Fusion::Both) => {
            let on = once(args, &device, Some(Fusion::On), console)?;
            let off = again_without_fusion()?;
            Ok(if on == Outcome::Done { off } else { on })
        }
        fusion => once(args, &device, fusion, console),
    }
}

/// The same command in a process of its own.
fn again_without_fusion() -> Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // What was asked for with --fusion is what the variable says now.
    if let Some(at) = arguments.iter().position(|argument| argument == "--fusion") {
        arguments.drain(at..(at + 2).min(arguments.len()));
    }
    arguments.retain(|argument| !argument.to_string_lossy().starts_with("--fusion="));
    let status = Command::new(program)
        .args(arguments)
        .env(FUSION_VARIABLE, "0")
        .status()
        .context("cannot start this program again")?;
    match status.code() {
        Some(0) => Ok(Outcome::Done),
        Some(1) => Ok(Outcome::Negative),
        _ => bail!("without fusion: {status}"),
    }
}

fn once(
    args: &Args,
    device: &Device,
    fusion: Option<Fusion>,
    console: &Console,
) -> Result<Outcome> {
    match args.trace.as_slice() {
        [] => parts(args, device, fusion, console),
        traces => against_traces(traces, device, console),
    }
}

fn parts(
    args: &Args,
    device: &Device,
    fusion: Option<Fusion>,
    console: &Console,
) -> Result<Outcome> {
    let (compute, size) = (
        match args.compute {
            Compute::F32 => ComputeType::F32,
            Compute::Bf16 => ComputeType::Bf16,
        },
        match args.size {
            Size::Small => SuiteSize::Small,
            Size::Published => SuiteSize::Published,
        },
    );
    device::check_compute(device, compute)?;
    let mut suite = Suite::new(size).in_type(compute);
    if let Some(pattern) = &args.only {
        suite = suite.only(pattern);
    }
    let name = device::chosen_name(args.device.as_deref());
    let bar = console.spinner("conformance");
    let compared = suite.run(device, |part| bar.set_message(part.to_owned()));
    bar.finish_and_clear();
    let compared = compared?;
    let passed = compared.iter().all(Comparison::passed);
    let product = device::device_name(device);
    let mut text = name.to_string();
    for part in [
        product.clone(),
        Some(device::compute_name(compute).to_owned()),
        fusion.map(|fusion| match fusion {
            Fusion::Off => "not fused".to_owned(),
            _ => "fused".to_owned(),
        }),
    ]
    .into_iter()
    .flatten()
    {
        text += ", ";
        text += &part;
    }
    text += "\n";
    let text = describe(text, &compared, passed);
    let line = PartsLine {
        device: &name,
        product,
        compute: device::compute_name(compute),
        size,
        fusion,
        passed,
        quantities: compared.iter().map(Quantity::of).collect(),
    };
    console.result(&line, text)?;
    Ok(if passed {
        Outcome::Done
    } else {
        Outcome::Negative
    })
}

fn against_traces(traces: &[PathBuf], device: &Device, console: &Console) -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    for path in traces {
        let (tolerances, compared) =
            compare(path, device).with_context(|| path.display().to_string())?;
        let passed = compared.iter().all(Comparison::passed);
        if !passed {
            outcome = Outcome::Negative;
        }
        let text = describe(format!("{}\n", path.display()), &compared, passed);
        let line = Line {
            trace: path,
            passed,
            tolerances,
            quantities: compared.iter().map(Quantity::of).collect(),
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

impl<'a> Quantity<'a> {
    fn of(compared: &'a Comparison) -> Self {
        Self {
            compared,
            passed: compared.passed(),
        }
    }
}

fn describe(mut text: String, compared: &[Comparison], passed: bool) -> String {
    for row in compared {
        let line = format!(
            "  {:<45} {:>8.1e} of {:>7.1e}  {} {}",
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
