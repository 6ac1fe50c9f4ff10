//! `hrm analyze`: how the states move while the model thinks.

#[cfg(feature = "draw")]
mod plot;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::act::analysis::{
    Network, Recording, Trajectory, attention_map, forward_residuals, participation_ratio, record,
    trajectory,
};
use hrm::core::MixerKind;
use hrm::device;
use hrm::prelude::*;
use hrm::train::check_data;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::Cell;
use crate::checkpoint::{Loaded, Weights, load};
use crate::console::Console;
use crate::files::{ANALYSIS, check_folder, write_folder};
use crate::puzzles;
use crate::splits::load_split;

/// Principal components that are told.
const COMPONENTS: usize = 3;

/// Puzzles whose way is told.
const WAYS: usize = 4;

/// Look at the states of a model while it thinks.
///
/// Writes a folder with `analysis.json` and pictures: how far every update moves z_H and z_L (forward residuals), how many
/// dimensions the states use (participation ratio), the way of some puzzles in their principal components, and where a cell
/// looks (attention).
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm analyze run --data sudoku6 --limit 32 --out analysis
  hrm analyze run --data '123. 4..1 3.1. .1..' --cell r4c4 --out analysis")]
pub(crate) struct Args {
    /// Run folder (its last checkpoint) or checkpoint file.
    #[arg(value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Data folder, or a puzzle as `hrm solve` takes it.
    #[arg(long, value_name = "DIR|PUZZLE")]
    data: String,
    /// Which split of the folder.
    #[arg(long, default_value = "test", value_name = "NAME")]
    split: String,
    /// The first N examples of the folder.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    limit: u64,
    /// Segments to think; the training's where it isn't given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    segments: Option<u32>,
    /// Tells where this cell looks in the last update: `r3c5` is row 3, column 5; a number counts cells from 1.
    #[arg(long, value_name = "CELL")]
    cell: Option<Cell>,
    /// The network whose attention is told; both where it isn't given.
    #[arg(long, value_enum, requires = "cell")]
    network: Option<Which>,
    /// Its block, counted from 1; all where it isn't given.
    #[arg(long, value_name = "N", requires = "cell", value_parser = clap::value_parser!(u16).range(1..))]
    block: Option<u16>,
    /// Row of the puzzle table for a puzzle from the command line.
    #[arg(long, default_value_t = 0, value_name = "ID")]
    puzzle_id: u32,
    /// Which weights of the checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Writes over a folder of the same kind that is there.
    #[arg(long)]
    force: bool,
}

/// A network of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    /// The one that updates z_H.
    Slow,
    /// The one that updates z_L; the same one where both are shared.
    Fast,
}

impl Which {
    /// The state that it updates.
    #[cfg(feature = "draw")]
    fn state(self) -> &'static str {
        match self {
            Self::Slow => "z_H",
            Self::Fast => "z_L",
        }
    }
}

/// `analysis.json`.
#[derive(Serialize)]
struct Analysis<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    checkpoint: &'a Path,
    step: u64,
    data: &'a str,
    puzzles: usize,
    segments: u32,
    /// Updates of each state in a segment.
    updates: Of<usize>,
    /// How far each update moves a position's state, on average: `[segments * updates]`.
    residuals: Of<Vec<f64>>,
    /// Dimensions used by the states of all positions and puzzles after each segment, at most the model's width.
    participation_ratio: Of<Vec<f64>>,
    /// The way of the first puzzles in their principal components, state by state from the start.
    trajectories: Vec<Of<Trajectory>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Attention>,
}

/// Something of both states.
#[derive(Serialize)]
struct Of<T> {
    z_h: T,
    z_l: T,
}

/// Where a cell looks.
#[derive(Serialize)]
struct Attention {
    /// Counted from 0.
    cell: usize,
    /// Positions before the cells: the puzzle embedding's.
    puzzle_positions: usize,
    maps: Vec<AttentionMap>,
}

/// The attention of a block in the last update of its network.
#[derive(Serialize)]
struct AttentionMap {
    network: Which,
    /// Counted from 1.
    block: usize,
    /// Share of every position, `[puzzles][heads][positions]`.
    shares: Vec<Vec<Vec<f32>>>,
}

/// What is said of it.
#[derive(Serialize)]
#[serde(tag = "type", rename = "analysis")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    out: &'a Path,
    puzzles: usize,
    segments: u32,
    participation_ratio: Of<f64>,
    first_residual: Of<f64>,
    last_residual: Of<f64>,
    files: Vec<String>,
}

/// Most updates of z_L on a puzzle: what becomes of them is measured in a time that grows with their cube.
const MOST_UPDATES: u64 = 4096;

/// Refuses more segments than can be looked at.
fn check_segments(segments: u32, config: &HrmConfig) -> Result<()> {
    let updates = (config.h_cycles as u64).saturating_mul(config.l_cycles as u64);
    let most = (MOST_UPDATES / updates.max(1)).max(1);
    if u64::from(segments) > most {
        bail!(
            "--segments: expected at most {most}, which are {MOST_UPDATES} updates of this model, found {segments}"
        );
    }
    Ok(())
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    check_folder(&args.out, args.force, ANALYSIS)?;
    let device = device::choose(args.device.as_deref())?;
    let loaded = load(&args.checkpoint, args.weights, &device)?;
    let looked_at = args.cell.map(|cell| position(cell, &loaded)).transpose()?;
    let puzzles = puzzles(args, &loaded)?;
    let segments = args.segments.unwrap_or(loaded.info.config.act.max_segments);
    check_segments(segments, loaded.model.config())?;
    device::check_recording(&loaded.model, puzzles.len(), segments)
        .context("all states are kept: --limit or --segments")?;
    let spinner = console.spinner("thinking");
    let recording = record(&loaded.model, &puzzles, segments)?;
    let attention = looked_at
        .map(|cell| attention(args, &loaded, &recording, cell))
        .transpose()?;
    let config = loaded.model.config();
    let updates = Of {
        z_h: config.h_cycles,
        z_l: config.h_cycles * config.l_cycles,
    };
    // After each segment.
    let ratios = |states: &[_], updates: usize| -> Result<Vec<f64>> {
        let ends = states.iter().skip(updates).step_by(updates.max(1));
        ends.map(|state| Ok(participation_ratio(std::slice::from_ref(state))?))
            .collect()
    };
    let trajectories = (0..puzzles.len().min(WAYS))
        .map(|puzzle| {
            Ok(Of {
                z_h: trajectory(&recording.z_h, puzzle, COMPONENTS)?,
                z_l: trajectory(&recording.z_l, puzzle, COMPONENTS)?,
            })
        })
        .collect::<Result<_>>()?;
    let analysis = Analysis {
        checkpoint: &loaded.path,
        step: loaded.info.step,
        data: &args.data,
        puzzles: puzzles.len(),
        segments,
        residuals: Of {
            z_h: forward_residuals(&recording.z_h)?,
            z_l: forward_residuals(&recording.z_l)?,
        },
        participation_ratio: Of {
            z_h: ratios(&recording.z_h, updates.z_h)?,
            z_l: ratios(&recording.z_l, updates.z_l)?,
        },
        updates,
        trajectories,
        attention,
    };
    let mut files = Vec::new();
    write_folder(&args.out, args.force, ANALYSIS, |dir| {
        let text = serde_json::to_vec(&analysis)?;
        let file = dir.join(ANALYSIS);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        files.push(ANALYSIS.to_owned());
        #[cfg(feature = "draw")]
        if let Some(first) = puzzles.first() {
            let board = plot::Board {
                task: loaded.task,
                tokens: &first.inputs,
            };
            files.extend(plot::draw(dir, &analysis, &board)?);
        }
        Ok(())
    })?;
    spinner.finish_and_clear();
    say(args, &analysis, files, config.hidden_size, console)?;
    if config.mixer == MixerKind::Mlp {
        console.note("the model mixes positions by an MLP: there is no attention to show");
    }
    Ok(Outcome::Done)
}

fn say(
    args: &Args,
    analysis: &Analysis<'_>,
    files: Vec<String>,
    width: usize,
    console: &Console,
) -> Result<()> {
    let ends = |values: &[f64]| {
        let at = |value: Option<&f64>| value.copied().unwrap_or_default();
        (at(values.first()), at(values.last()))
    };
    let (h, l) = (ends(&analysis.residuals.z_h), ends(&analysis.residuals.z_l));
    let last = |values: &[f64]| ends(values).1;
    let line = Line {
        out: &args.out,
        puzzles: analysis.puzzles,
        segments: analysis.segments,
        participation_ratio: Of {
            z_h: last(&analysis.participation_ratio.z_h),
            z_l: last(&analysis.participation_ratio.z_l),
        },
        first_residual: Of { z_h: h.0, z_l: l.0 },
        last_residual: Of { z_h: h.1, z_l: l.1 },
        files,
    };
    let text = format!(
        "{} puzzles, {} segments\n\
         participation ratio after the last: z_H {:.1}, z_L {:.1} of {width}\n\
         an update moves z_H by {:.3} at first and {:.3} at last, z_L by {:.3} and {:.3}\n\
         {}: {}",
        line.puzzles,
        line.segments,
        line.participation_ratio.z_h,
        line.participation_ratio.z_l,
        h.0,
        h.1,
        l.0,
        l.1,
        args.out.display(),
        line.files.join(", ")
    );
    Ok(console.result(&line, text)?)
}

/// The puzzles of the folder, or the one of the command line.
fn puzzles(args: &Args, loaded: &Loaded) -> Result<Vec<Puzzle>> {
    let dir = Path::new(&args.data);
    if dir.is_dir() {
        let set = load_split(dir, &args.split)?;
        check_data(loaded.model.config(), &set)?;
        let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let puzzles: Vec<Puzzle> = (0..set.num_examples().min(limit))
            .map(|index| {
                let example = set.example(index);
                Puzzle {
                    inputs: example.inputs.into_owned(),
                    puzzle_id: example.puzzle_id,
                }
            })
            .collect();
        if puzzles.is_empty() {
            bail!(
                "{}: expected at least one example, found none",
                dir.display()
            );
        }
        return Ok(puzzles);
    }
    let seq_len = loaded.model.config().seq_len;
    match puzzles::parse(&args.data, loaded.task, seq_len) {
        Ok(inputs) => {
            loaded.check_puzzle_id(args.puzzle_id)?;
            Ok(vec![Puzzle {
                inputs,
                puzzle_id: args.puzzle_id,
            }])
        }
        Err(why) => bail!("--data: no data folder of that name, and as a puzzle: {why}"),
    }
}

/// Cells in a row of the task's grid; all where it has no rows.
fn row_width(task: Task, seq_len: usize) -> usize {
    match task {
        Task::Sudoku(size) => size.side(),
        Task::Maze { width, .. } => width,
        Task::Arc => arc::MAX_SIDE,
        Task::Other => seq_len,
    }
}

/// The cell's place among the cells, if the model has one and attends.
fn position(cell: Cell, loaded: &Loaded) -> Result<usize> {
    let config = loaded.model.config();
    if config.mixer == MixerKind::Mlp {
        bail!("--cell: expected a model with attention, found one that mixes positions by an MLP");
    }
    let cells = config.seq_len;
    let width = row_width(loaded.task, cells);
    match cell.place(width) {
        Some(place) if place < cells => Ok(place),
        _ => bail!(
            "--cell: expected one of {} rows and {width} columns, found {cell}",
            cells / width.max(1)
        ),
    }
}

/// Where a cell looks in the last update of each network, block by block.
fn attention(
    args: &Args,
    loaded: &Loaded,
    recording: &Recording,
    cell: usize,
) -> Result<Attention> {
    let model = &loaded.model;
    let networks = match args.network {
        Some(network) => vec![network],
        None => vec![Which::Slow, Which::Fast],
    };
    let mut maps = Vec::new();
    for which in networks {
        let (network, level) = match which {
            Which::Slow => (
                Network::Slow,
                model.h_level.as_ref().unwrap_or(&model.l_level),
            ),
            Which::Fast => (Network::Fast, &model.l_level),
        };
        let blocks = level.layers.len();
        let wanted = match args.block.map(usize::from) {
            Some(block) if block > blocks => {
                bail!("--block: expected 1 to {blocks}, found {block}")
            }
            Some(block) => block..=block,
            None => 1..=blocks,
        };
        for block in wanted {
            let shares = attention_map(model, recording, network, block.saturating_sub(1), cell)?;
            maps.push(AttentionMap {
                network: which,
                block,
                shares,
            });
        }
    }
    Ok(Attention {
        cell,
        puzzle_positions: model.config().puzzle_len(),
        maps,
    })
}
