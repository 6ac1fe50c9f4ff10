//! `hrm import`.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use hrm::core::PuzzleIds;
use hrm::core::store::{ConfigHints, ImportOptions, TensorFile, import, inspect};
use hrm::device;
use hrm::prelude::*;
use hrm::train::TrainError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::export::{PRESET_KEY, TASK_KEY, TRAINING_KEY};
use crate::Outcome;
use crate::console::Console;
use crate::files::{check_folder, check_over_run, write_folder};

/// Make a run of a checkpoint of the reference programs, or of an export.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm import step_26041 --config all_config.yaml --out sudoku-extreme
  hrm import model.safetensors --preset trm-sudoku-mlp --out trm
  hrm eval --checkpoint sudoku-extreme --data data
  hrm train --resume sudoku-extreme --data data --steps 1000

The shapes of the tensors tell most of the configuration; the rest comes from the options, --config, the file's own metadata \
and --preset, in this order. Options and --config must say the same as the metadata; --max-segments may differ. An export says \
its task and its recipe, too. Nothing in a pickle is executed.")]
pub(crate) struct Args {
    /// A torch checkpoint (a state dict) or a safetensors file, of any name.
    #[arg(value_name = "CHECKPOINT")]
    file: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// How to import.
#[derive(Debug, Arguments)]
pub(super) struct Settings {
    /// Folder of the run to make.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// The all_config.yaml beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Recipe that the checkpoint was trained by (`hrm presets`); a later training goes on by it. An export says its own.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Attention heads.
    #[arg(long, alias = "num-heads", value_name = "N")]
    heads: Option<usize>,
    /// Outer cycles of a segment.
    #[arg(long, value_name = "N")]
    h_cycles: Option<usize>,
    /// Updates of the fast state in an outer cycle.
    #[arg(long, value_name = "N")]
    l_cycles: Option<usize>,
    /// Most segments on a puzzle.
    #[arg(long, value_name = "N")]
    max_segments: Option<usize>,
    /// Cells of a puzzle.
    #[arg(long, value_name = "N")]
    seq_len: Option<usize>,
    /// Positions of the puzzle embedding in front of the cells.
    #[arg(long, value_name = "N")]
    puzzle_positions: Option<usize>,
    /// The puzzle table: all rows, the first N, N with the mean row as the new ones, or N of zeros.
    #[arg(long, value_name = "keep|cut:N|grow:N|reset:N", default_value = "keep")]
    puzzle_table: TableChange,
    /// Writes over a folder of the same kind that is there.
    #[arg(long)]
    force: bool,
}

/// The file that every run has.
const MARK: &str = "config.json";

impl Settings {
    /// Refuses a folder that is there already, before any work.
    pub(super) fn check_out(&self) -> Result<()> {
        check_folder(&self.out, self.force, MARK)?;
        if self.force {
            check_over_run(&self.out)?;
        }
        Ok(())
    }
}

/// `keep`, `cut:N`, `grow:N` or `reset:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TableChange(PuzzleIds);

impl FromStr for TableChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("expected keep, cut:N, grow:N or reset:N, found `{text}`");
        let Some((what, rows)) = text.split_once(':') else {
            return match text {
                "keep" => Ok(Self(PuzzleIds::Keep)),
                _ => Err(bad()),
            };
        };
        let rows = rows.parse().map_err(|_| bad())?;
        match what {
            "cut" => Ok(Self(PuzzleIds::Cut(rows))),
            "grow" => Ok(Self(PuzzleIds::Grow(rows))),
            "reset" => Ok(Self(PuzzleIds::Reset(rows))),
            _ => Err(bad()),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "imported")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    file: &'a Path,
    #[serde(serialize_with = "crate::console::lossy")]
    run: &'a Path,
    #[serde(serialize_with = "crate::console::lossy")]
    checkpoint: PathBuf,
    // None for a training of an export whose run names no recipe.
    preset: Option<&'a str>,
    parameters: usize,
    max_segments: u32,
    model: &'a HrmConfig,
    warnings: Vec<String>,
    #[serde(skip)]
    origin: Origin,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    import_file(&args.file, None, &args.settings, console)
}

/// Imports a file. `config` is a configuration that came with it, for where none is named.
pub(super) fn import_file(
    path: &Path,
    config: Option<&Path>,
    settings: &Settings,
    console: &Console,
) -> Result<Outcome> {
    settings.check_out()?;
    if path.is_dir() {
        match RunFile::read(path) {
            Ok(_) => {
                if let Err(error @ TrainError::Packed { .. }) = Checkpoint::open(path) {
                    return Err(error.into());
                }
                bail!(
                    "{0} is a run already: go on with it by `hrm train --resume {0}`, or write its weights by `hrm export {0}`",
                    path.display()
                )
            }
            Err(_) => bail!(
                "{} is a folder; expected a checkpoint, which is a file",
                path.display()
            ),
        }
    }
    let device = device::choose(None)?;
    let preset = settings
        .preset
        .as_deref()
        .map(Preset::by_name)
        .transpose()?;
    let config_file = settings
        .config
        .as_deref()
        .or(config)
        .map(ConfigFile::read)
        .transpose()?;
    let hints = hints(settings, config_file.as_ref())?;
    let data = hints.data_path.clone().unwrap_or_default();
    let file = TensorFile::open(path)?;
    if is_checkpoint(&file) {
        bail!(
            "{} is a checkpoint of a run, which needs no import: use it as it is (--checkpoint), or write its weights by `hrm export`",
            path.display()
        );
    }
    let options = ImportOptions {
        hints,
        defaults: preset.map(defaults).unwrap_or_default(),
        puzzle_ids: settings.puzzle_table.0,
        ..ImportOptions::default()
    };
    if let Some(preset) = preset {
        let (found, _) = inspect(&file, &options)?;
        preset
            .check_model(&found)
            .with_context(|| format!("{}: --preset {}", path.display(), preset.name))?;
    }
    let spinner = console.spinner("reading the weights");
    let imported = import(&file, &options, &device)?;
    spinner.finish_and_clear();
    let warnings: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    for warning in &warnings {
        console.note(format_args!("warning: {warning}"));
    }
    let model = imported.model;
    let task = task(&file, model.config())?;
    let Recipe {
        preset,
        config: mut train,
        origin,
    } = recipe(&file, preset, model.config(), config_file.as_ref())?;
    train.model = model.config().clone();
    train.act.max_segments = u32::try_from(imported.max_segments).unwrap_or(u32::MAX);
    let mut run_file = RunFile::new(data, train);
    run_file.preset = preset;
    // A file that was downloaded is nowhere any more, and a path need not be UTF-8.
    run_file.initial = (path.file_name()).map(|name| name.to_string_lossy().into_owned().into());
    let mut checkpoint = PathBuf::new();
    let spinner = console.spinner("writing the run");
    write_folder(&settings.out, settings.force, MARK, |dir| {
        let written = Run::import(dir, &run_file, &model, task)?;
        let within = written.strip_prefix(dir).unwrap_or(&written);
        checkpoint = settings.out.join(within);
        Ok(())
    })?;
    spinner.finish_and_clear();
    let line = Line {
        file: path,
        run: &settings.out,
        checkpoint,
        preset: run_file.preset.as_deref(),
        parameters: model.config().num_parameters(),
        max_segments: run_file.config.act.max_segments,
        model: model.config(),
        warnings,
        origin,
    };
    console.result(&line, describe(&line))?;
    Ok(Outcome::Done)
}

/// Sizes for a recipe of which only the rest is looked at.
const ANY_SIZES: Sizes = Sizes {
    seq_len: 1,
    vocab_size: 1,
    num_puzzle_ids: 1,
};

/// Whether the file is a run's checkpoint, whose metadata hold the state of the training.
fn is_checkpoint(file: &TensorFile) -> bool {
    let holds = |key| file.metadata().contains_key(key);
    holds("state") && holds("sha256")
}

/// What an export says as JSON in its metadata under a key.
fn told<T: DeserializeOwned>(file: &TensorFile, key: &str) -> Result<Option<T>> {
    let text = file.metadata().get(key);
    text.map(|text| serde_json::from_str(text))
        .transpose()
        .with_context(|| format!("{}: metadata: {key}", file.label()))
}

/// The task that an export says it was trained on.
fn task(file: &TensorFile, model: &HrmConfig) -> Result<Task> {
    let task = told(file, TASK_KEY)?.unwrap_or(Task::Other);
    let found = (model.vocab_size, model.seq_len);
    if let Some(expected) = task.sizes()
        && expected != found
    {
        bail!(
            "{}: metadata: {TASK_KEY} is {}, expected a model of {} tokens and {} cells, found {} and {}",
            file.label(),
            task.name(),
            expected.0,
            expected.1,
            found.0,
            found.1,
        );
    }
    Ok(task)
}

/// How a later training goes on.
struct Recipe {
    preset: Option<String>,
    config: TrainConfig,
    origin: Origin,
}

/// Who told a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The user, or an export.
    Told,
    /// Nobody: it is that of models of the same kind and sizes.
    Guess,
    /// The configuration file; what it doesn't say is of a recipe, told or guessed.
    File,
}

/// The preset that is named; else the training that an export tells of; else a guess. What the configuration file of the reference programs
/// says of the training counts before a preset.
fn recipe(
    file: &TensorFile,
    named: Option<Preset>,
    model: &HrmConfig,
    config_file: Option<&ConfigFile>,
) -> Result<Recipe> {
    if named.is_none() {
        let config = told(file, TRAINING_KEY)
            .context("--preset NAME goes on by another recipe than that of the file")?;
        if let Some(config) = config {
            return Ok(Recipe {
                preset: file.metadata().get(PRESET_KEY).cloned(),
                config,
                origin: Origin::Told,
            });
        }
    }
    let preset = named.unwrap_or_else(|| Preset::of_model(model));
    let mut config = preset.config_for_sizes(model.sizes());
    let by_file = match config_file {
        Some(file) => config.set_official(&file.text, &file.name)?,
        None => false,
    };
    Ok(Recipe {
        preset: Some(preset.name.to_owned()),
        config,
        origin: match (by_file, named) {
            (true, _) => Origin::File,
            (false, Some(_)) => Origin::Told,
            (false, None) => Origin::Guess,
        },
    })
}

/// An `all_config.yaml`.
struct ConfigFile {
    name: String,
    text: String,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { name, text })
    }
}

/// What the options say, completed by the configuration file.
fn hints(settings: &Settings, config_file: Option<&ConfigFile>) -> Result<ConfigHints> {
    let mut hints = ConfigHints {
        seq_len: settings.seq_len,
        num_heads: settings.heads,
        h_cycles: settings.h_cycles,
        l_cycles: settings.l_cycles,
        max_segments: settings.max_segments,
        puzzle_positions: settings.puzzle_positions,
        ..ConfigHints::default()
    };
    if let Some(file) = config_file {
        hints = hints.or(ConfigHints::from_yaml(&file.text, &file.name)?);
    }
    Ok(hints)
}

/// What a recipe says where nobody else does.
fn defaults(preset: Preset) -> ConfigHints {
    let recipe = preset.config_for_sizes(ANY_SIZES);
    let segments = usize::try_from(recipe.act.max_segments).ok();
    ConfigHints {
        seq_len: None,
        compute: None,
        // The name tells which published data the recipe is for.
        data_path: Some(preset.name.to_owned()),
        ..ConfigHints::from_config(&recipe.model, segments)
    }
}

fn describe(line: &Line<'_>) -> String {
    let model = line.model;
    let (h_layers, l_layers) = model.layers();
    let kind = match h_layers {
        0 => format!("TRM, {l_layers} blocks"),
        _ => format!("HRM, {h_layers} + {l_layers} blocks"),
    };
    let recipe = match (line.preset, line.origin) {
        (Some(preset), Origin::Told) => format!("recipe {preset}"),
        (Some(preset), Origin::Guess) => format!("recipe {preset}, by its kind and sizes"),
        (Some(preset), Origin::File) => format!("recipe {preset} with the settings of its file"),
        (None, _) => "a recipe of its own".to_owned(),
    };
    format!(
        "{}: {kind} of width {}, {} parameters, {} cells of {} tokens, {} puzzle ids, {} x {} cycles, at most {} segments; {recipe}",
        line.run.display(),
        model.hidden_size,
        line.parameters,
        model.seq_len,
        model.vocab_size,
        model.num_puzzle_ids,
        model.h_cycles,
        model.l_cycles,
        line.max_segments,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_table_are_words_and_rows() {
        let change = |text: &str| text.parse::<TableChange>().map(|change| change.0);
        assert_eq!(change("keep"), Ok(PuzzleIds::Keep));
        assert_eq!(change("cut:3"), Ok(PuzzleIds::Cut(3)));
        assert_eq!(change("grow:30"), Ok(PuzzleIds::Grow(30)));
        assert_eq!(change("reset:1"), Ok(PuzzleIds::Reset(1)));
        for bad in ["cut", "cut:", "cut:-1", "shrink:3", ""] {
            assert!(change(bad).unwrap_err().contains("expected keep"), "{bad}");
        }
    }
}
