//! `hrm conformance`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::conformance::{Progress, Suite, SuiteSize};
use hrm::device;
use hrm::prelude::*;
use hrm::train::conformance::{Comparison, Tolerances, Trace, TraceError};
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
/// Exit code 1 where an error is beyond its tolerance or a device fails at a part; the other parts are held all the same. Where a
/// device computes the matrix products of f32 in TF32, the parts with products have wider tolerances and say so.
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
    /// The published batch, whole against its parts on the same device.
    Batch,
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
    #[serde(serialize_with = "crate::console::lossy")]
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
            // One half says as much where the other can't be had.
            let on = once(args, &device, Some(Fusion::On), console);
            let off = again_without_fusion();
            match (on?, off?) {
                (Outcome::Done, off) => Ok(off),
                (on, _) => Ok(on),
            }
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
            Size::Batch => SuiteSize::Batch,
        },
    );
    device::check_compute(device, compute).context("--compute")?;
    let mut suite = Suite::new(size).in_type(compute);
    if let Some(pattern) = &args.only {
        suite = suite.only(pattern);
    }
    let name = device::chosen_name(args.device.as_deref());
    let product = device::device_name(device);
    let fused = fusion.map(|fusion| match fusion {
        Fusion::Off => "not fused",
        _ => "fused",
    });
    let mut heading = name.clone();
    let more = [
        product.as_deref(),
        Some(device::compute_name(compute)),
        fused,
    ];
    for part in more.into_iter().flatten() {
        heading += ", ";
        heading += part;
    }
    let bar = console.spinner("conformance");
    // Told when the first part begins: a wish for none is an error.
    let (mut heading, mut said) = (Some(heading), Ok(()));
    let compared = suite.run(device, |progress| match progress {
        Progress::Begins(part) => {
            if let Some(heading) = heading.take() {
                said = bar.suspend(|| console.text(heading));
            }
            bar.set_message(part.to_owned());
        }
        Progress::Ended(rows) => {
            let shown = bar.suspend(|| rows.iter().try_for_each(|row| console.text(shown(row))));
            said = std::mem::replace(&mut said, Ok(())).and(shown);
        }
    });
    bar.finish_and_clear();
    let compared = compared?;
    said?;
    let passed = compared.iter().all(Comparison::passed);
    let line = PartsLine {
        device: &name,
        product,
        compute: device::compute_name(compute),
        size,
        fusion,
        passed,
        quantities: compared.iter().map(Quantity::of).collect(),
    };
    console.result(&line, verdict(passed))?;
    Ok(outcome(passed))
}

/// Each trace; one that can't be used is told at the end, when the others have been held.
fn against_traces(traces: &[PathBuf], device: &Device, console: &Console) -> Result<Outcome> {
    let tf32 = device::products_in_tf32(device);
    let (mut all, mut refused) = (true, None);
    for path in traces {
        let (tolerances, compared) = match compare(path, device, tf32) {
            Ok(compared) => compared,
            Err(error) => {
                let error = error.context(path.display().to_string());
                if let Some(earlier) = refused.replace(error) {
                    console.error(&earlier);
                }
                continue;
            }
        };
        let passed = compared.iter().all(Comparison::passed);
        all &= passed;
        console.text(path.display())?;
        for row in &compared {
            console.text(shown(row))?;
        }
        let line = Line {
            trace: path,
            passed,
            tolerances,
            quantities: compared.iter().map(Quantity::of).collect(),
        };
        console.result(&line, verdict(passed))?;
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(outcome(all)),
    }
}

fn compare(path: &Path, device: &Device, tf32: bool) -> Result<(Tolerances, Vec<Comparison>)> {
    let bytes = fs::read(path).context("cannot be read")?;
    let trace = Trace::read(&bytes)?;
    let mixer = trace.train_config()?.model.mixer;
    let gpu = Tolerances::f32_gpu(mixer);
    let tolerances = match (device::is_flex(device), tf32) {
        (true, _) => Tolerances::f32(mixer),
        (false, false) => gpu,
        // As the parts have: an eighth of what bf16 may be off, of states and gradients of several updates.
        (false, true) => Tolerances {
            inference: 5e-2,
            gradient: 5e-2,
            loss: gpu.loss.max(2e-3),
            ..gpu
        },
    };
    let held = device::attempt(|| trace.compare(&tolerances, device));
    let failed = |note| {
        vec![Comparison {
            quantity: "all".to_owned(),
            largest_error: f64::NAN,
            tolerance: tolerances.inference,
            note,
        }]
    };
    let compared = match held {
        Ok(Ok(compared)) => compared,
        Ok(Err(error @ TraceError::Device(_))) => failed(error.to_string()),
        Ok(Err(error)) => return Err(error.into()),
        Err(reason) => failed(format!("the device failed: {reason}")),
    };
    Ok((tolerances, compared))
}

impl<'a> Quantity<'a> {
    fn of(compared: &'a Comparison) -> Self {
        Self {
            compared,
            passed: compared.passed(),
        }
    }
}

fn shown(row: &Comparison) -> String {
    let line = format!(
        "  {:<45} {:>8.1e} of {:>7.1e}  {} {}",
        row.quantity,
        row.largest_error,
        row.tolerance,
        if row.passed() { "ok" } else { "OVER" },
        row.note
    );
    line.trim_end().to_owned()
}

fn verdict(passed: bool) -> &'static str {
    match passed {
        true => "  equal within the tolerances\n",
        false => "  different\n",
    }
}

fn outcome(passed: bool) -> Outcome {
    match passed {
        true => Outcome::Done,
        false => Outcome::Negative,
    }
}
