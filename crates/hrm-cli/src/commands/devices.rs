//! `hrm devices`.

use anyhow::Result;
use clap::Args as Arguments;
use hrm::device::{self, Inspected};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// List what can compute: what was built in, what was found, its memory, and the number types that work.
///
/// A number type works if a tiny computation in it gives what the host makes of it. The first one marked is what a published
/// recipe computes in on that device.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm devices
  hrm devices --json
  HRM_DEVICE=cuda:0 hrm eval --checkpoint run --data sudoku4")]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(tag = "type", rename = "backend")]
struct Line {
    name: &'static str,
    built_in: bool,
    found: Vec<Inspected>,
    /// Why nothing was found of what was built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    default: bool,
}

pub(crate) fn run(_: &Args, console: &Console) -> Result<Outcome> {
    // By HRM_DEVICE, where it is there.
    let chosen = device::chosen_name(None);
    let default = chosen.split(':').next();
    for backend in device::Backend::ALL {
        let found: Vec<Inspected> = device::found(backend)
            .iter()
            .map(|(name, device)| device::inspect(name, device))
            .collect();
        let none = backend.is_built_in() && found.is_empty();
        let line = Line {
            name: backend.name(),
            built_in: backend.is_built_in(),
            found,
            reason: none.then(|| device::why_none(backend)),
            default: default == Some(backend.name()),
        };
        console.result(&line, describe(&line))?;
    }
    Ok(Outcome::Done)
}

fn describe(line: &Line) -> String {
    let mark = if line.default { "  (default)" } else { "" };
    let state = match (line.built_in, line.found.as_slice()) {
        (false, _) => format!("not built in (--features {})", line.name),
        (true, []) => format!(
            "built in, no device found ({})",
            line.reason.as_deref().unwrap_or("none")
        ),
        (true, found) => {
            let mut text = "built in".to_owned() + mark;
            for device in found {
                text += "\n";
                text += &describe_device(device);
            }
            return format!("{:<7} {text}", line.name);
        }
    };
    format!("{:<7} {state}{mark}", line.name)
}

fn describe_device(device: &Inspected) -> String {
    let mut parts = vec![format!("  {}", device.name)];
    parts.extend(device.product.clone());
    if let Some(memory) = device.memory {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        parts.push(format!(
            "{:.1} of {:.1} GiB free",
            gib(memory.free),
            gib(memory.total)
        ));
    }
    let types = device.compute.iter().map(|trial| {
        let mut name = device::compute_name(trial.compute).to_owned();
        if trial.tf32 {
            name += " (products in TF32)";
        }
        match (trial.works, trial.compute == device.default_compute) {
            (true, true) => format!("{name} (default)"),
            (true, false) => name,
            (false, _) => format!("no {name}: {}", trial.reason),
        }
    });
    parts.push(types.collect::<Vec<_>>().join(", "));
    parts.join("; ")
}
