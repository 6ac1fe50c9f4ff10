//! `hrm eval`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args as Arguments;
use hrm::act::reasoner::Summary;
use hrm::data::IGNORED;
use hrm::device;
use hrm::prelude::*;
use hrm::train::{check_data, wilson};
use serde::Serialize;

use crate::Outcome;
use crate::checkpoint::{Loaded, Weights, load};
use crate::console::Console;
use crate::think::Think;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: as the reference evaluates, and with a stop as soon as the model thinks it is right
  hrm eval --checkpoint run --data sudoku6
  hrm eval --checkpoint run --data sudoku6 --halt q-halt --segments 32 --json")]
pub(crate) struct Args {
    /// Run folder (its last checkpoint) or checkpoint file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which split.
    #[arg(long, default_value = "test", value_name = "NAME")]
    split: String,
    /// The first N examples only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Which weights of the checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// Withholds answers that are not verified and of which the model is less sure than this, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    min_confidence: f32,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    #[command(flatten)]
    think: Think,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "evaluation")]
struct Line<'a> {
    checkpoint: &'a Path,
    step: u64,
    data: &'a Path,
    split: &'a str,
    seconds: f64,
    puzzles_per_second: f64,
    #[serde(flatten)]
    found: Evaluation,
    /// Where answers were verified, or withheld.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
}

#[derive(Serialize)]
struct Verdicts {
    verified: u64,
    unverified: u64,
    abstained: u64,
    coverage: f64,
    precision: Option<f64>,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let device = device::choose(args.device.as_deref())?;
    let loaded = load(&args.checkpoint, args.weights, &device)?;
    let set =
        PuzzleSet::load(&args.data, &args.split).with_context(|| match splits(&args.data) {
            names if names.is_empty() => format!("{} holds no data", args.data.display()),
            names => format!("--split: {} has {}", args.data.display(), names.join(", ")),
        })?;
    check_data(&loaded.model.config().sizes(), &set)?;
    let total = args.limit.unwrap_or(usize::MAX).min(set.num_examples());
    let bar = console.bar(total as u64, "puzzles");
    let start = Instant::now();
    let (found, verdicts) = match args.think.is_plain() && args.min_confidence <= 0.0 {
        true => {
            let config = EvalConfig {
                batch_size: args.think.batch,
                segments: args.think.max_segments(&loaded),
                limit: args.limit,
            };
            let done = |done: usize| bar.set_position(done as u64);
            let found = evaluate(&loaded.model, &set, &config, &device, done)?;
            (found, None)
        }
        false => {
            let (found, summary) = reason(args, &loaded, &set, total, &|| bar.inc(1))?;
            let verdicts = Verdicts {
                verified: summary.verified,
                unverified: summary.unverified,
                abstained: summary.abstained,
                coverage: summary.coverage(),
                precision: summary.precision(),
            };
            (found, Some(verdicts))
        }
    };
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let line = Line {
        checkpoint: &loaded.path,
        step: loaded.info.step,
        data: &args.data,
        split: &args.split,
        seconds,
        puzzles_per_second: total as f64 / seconds.max(1e-9),
        found,
        verdicts,
    };
    console.result(&line, describe(&line))?;
    Ok(Outcome::Done)
}

/// Lets the reasoner answer, and compares with the labels afterwards.
fn reason(
    args: &Args,
    loaded: &Loaded,
    set: &PuzzleSet,
    total: usize,
    progress: &dyn Fn(),
) -> Result<(Evaluation, Summary)> {
    let reasoner = args.think.reasoner(loaded, HaltRule::Fixed, false)?;
    let puzzles = (0..total).map(|index| {
        let example = set.example(index);
        Puzzle {
            inputs: example.inputs.into_owned(),
            puzzle_id: example.puzzle_id,
        }
    });
    let mut summary = Summary::default();
    let (mut puzzles_seen, mut exact, mut q_right) = (0u64, 0u64, 0u64);
    let (mut cells, mut segments) = (0.0, 0.0);
    for answer in reasoner.solve(puzzles) {
        let answer = answer?;
        progress();
        let labels = set.example(answer.index).labels;
        let valid = labels.iter().filter(|&&label| label != IGNORED).count();
        if valid == 0 {
            continue;
        }
        let right = labels
            .iter()
            .zip(&answer.tokens)
            .filter(|&(&label, &token)| label != IGNORED && label == token)
            .count();
        let is_exact = right == valid;
        puzzles_seen += 1;
        exact += u64::from(is_exact);
        q_right += u64::from((answer.q_halt >= 0.0) == is_exact);
        cells += right as f64 / valid as f64;
        segments += f64::from(answer.total_segments);
        summary.add(answer.verdict(args.min_confidence), is_exact);
    }
    let share = |sum: f64| {
        if puzzles_seen > 0 {
            sum / puzzles_seen as f64
        } else {
            0.0
        }
    };
    let found = Evaluation {
        puzzles: puzzles_seen,
        exact,
        exact_accuracy: share(exact as f64),
        exact_interval: wilson(exact as f64, puzzles_seen as f64),
        cell_accuracy: share(cells),
        q_halt_accuracy: share(q_right as f64),
        mean_segments: share(segments),
    };
    Ok((found, summary))
}

fn describe(line: &Line<'_>) -> String {
    let found = &line.found;
    let (low, high) = found.exact_interval;
    let mut text = format!(
        "{} of {} puzzles solved: {:.2}% exact (95% interval {:.2} to {:.2}), {:.2}% of cells, q right {:.2}%, \
         {:.2} segments on average, {:.1} puzzles/s",
        found.exact,
        found.puzzles,
        100.0 * found.exact_accuracy,
        100.0 * low,
        100.0 * high,
        100.0 * found.cell_accuracy,
        100.0 * found.q_halt_accuracy,
        found.mean_segments,
        line.puzzles_per_second,
    );
    if let Some(verdicts) = &line.verdicts {
        text += &format!(
            "\n{} verified, {} unverified, {} abstained: coverage {:.2}%",
            verdicts.verified,
            verdicts.unverified,
            verdicts.abstained,
            100.0 * verdicts.coverage,
        );
        if let Some(precision) = verdicts.precision {
            text += &format!(", precision {:.2}%", 100.0 * precision);
        }
    }
    text
}

/// Names of the splits of a data folder.
fn splits(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("dataset.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
