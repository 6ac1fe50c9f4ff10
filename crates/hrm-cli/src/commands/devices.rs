//! `hrm devices`.

use anyhow::Result;
use clap::Args as Arguments;
use hrm::device;
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// List what can compute: what was built in and what was found.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm devices
  cargo install hrm-cli --no-default-features --features vulkan")]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(tag = "type", rename = "backend")]
struct Line {
    name: &'static str,
    built_in: bool,
    found: Vec<String>,
    default: bool,
}

pub(crate) fn run(_: &Args, console: &Console) -> Result<Outcome> {
    let default = device::Backend::default_built_in();
    for entry in device::list() {
        let line = Line {
            name: entry.backend.name(),
            built_in: entry.built_in,
            found: entry.devices,
            default: default == Some(entry.backend),
        };
        let state = match (line.built_in, line.found.as_slice()) {
            (false, _) => format!("not built in (--features {})", line.name),
            (true, []) => "built in, no device found".to_owned(),
            (true, found) => found.join(", "),
        };
        let mark = if line.default { "  (default)" } else { "" };
        console.result(&line, format_args!("{:<7} {state}{mark}", line.name))?;
    }
    Ok(Outcome::Done)
}
