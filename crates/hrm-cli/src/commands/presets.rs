//! `hrm presets`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as Arguments;
use hrm::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// List the recipes that `train` knows by name, or show one for a data set: all keys that `--set` takes.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm presets
  hrm presets trm-small --data sudoku4")]
pub(crate) struct Args {
    /// The recipe to show.
    #[arg(requires = "data")]
    name: Option<String>,
    /// Data folder that it is for: its sizes are part of the configuration.
    #[arg(long, value_name = "DIR", requires = "name")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "preset")]
struct Line<'a> {
    name: &'a str,
    about: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a TrainConfig>,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let (Some(name), Some(data)) = (&args.name, &args.data) else {
        for preset in PRESETS {
            let line = Line {
                name: preset.name,
                about: preset.about,
                parameters: None,
                config: None,
            };
            console.result(&line, format_args!("{:<19} {}", preset.name, preset.about))?;
        }
        return Ok(Outcome::Done);
    };
    let preset = Preset::by_name(name)?;
    let set = PuzzleSet::load(data, "train")?;
    preset.check(&set)?;
    let config = preset.config(&set);
    let line = Line {
        name: preset.name,
        about: preset.about,
        parameters: Some(config.model.num_parameters()),
        config: Some(&config),
    };
    console.result(&line, serde_json::to_string_pretty(&config)?)?;
    Ok(Outcome::Done)
}
