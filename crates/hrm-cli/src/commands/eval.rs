//! `hrm eval`.

mod ballot;
mod curve;
#[cfg(feature = "draw")]
mod plot;
mod rating;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use hrm::act::reasoner::Summary;
use hrm::data::IGNORED;
use hrm::device;
use hrm::prelude::*;
use hrm::train::{AnswerWorth, check_data};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::at_least_one;
use crate::checkpoint::{Loaded, Weights};
use crate::console::Console;
use crate::splits::load_split;
use crate::think::{Think, is_verifiable};

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: as the reference evaluates; until the model thinks it is right; accuracy against compute
  hrm eval --checkpoint run --data sudoku6
  hrm eval --checkpoint run --data sudoku6 --halt q-halt --segments 32 --json
  hrm eval --checkpoint run --data sudoku6 --curve --plot curve.png
On an ARC set the answers to all augmentations of a task vote on its tests:
  hrm eval --checkpoint run --data arc --submission submission.json")]
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
    /// At most N examples, of as many original puzzles as can be.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    limit: Option<usize>,
    /// Which weights of the checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Writes over files that are there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ballot: ballot::BallotOptions,
    #[command(flatten)]
    curve: curve::CurveOptions,
    #[command(flatten)]
    think: Think,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "evaluation")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    checkpoint: &'a Path,
    step: u64,
    #[serde(serialize_with = "crate::console::lossy")]
    data: &'a Path,
    split: &'a str,
    seconds: f64,
    puzzles_per_second: f64,
    #[serde(flatten)]
    found: Evaluation,
    /// Where answers can be verified, or may be withheld.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
    /// Where ARC's augmentations vote.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    votes: Option<ballot::Outcome<'a>>,
}

/// How many answers were verified, given and withheld, and what they were worth.
#[derive(Clone, Debug, Serialize)]
struct Verdicts {
    verified: u64,
    unverified: u64,
    abstained: u64,
    /// Share of the puzzles that were given an answer; none where no puzzle was judged.
    coverage: Option<f64>,
    /// Share of the answers given that are right by the label.
    precision: Option<f64>,
    /// Share of the puzzles whose answer is verified.
    verified_coverage: Option<f64>,
    /// Share of the verified answers that are right by the label.
    verified_precision: Option<f64>,
}

impl Verdicts {
    fn of(summary: &Summary) -> Self {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        Self {
            verified: summary.verified,
            unverified: summary.unverified,
            abstained: summary.abstained,
            coverage: (summary.puzzles() > 0).then(|| summary.coverage()),
            precision: summary.precision(),
            verified_coverage: share(summary.verified, summary.puzzles()),
            verified_precision: share(summary.verified_right, summary.verified),
        }
    }
}

/// What became of a puzzle with a label.
#[derive(Clone, Copy, Debug)]
struct Judged {
    /// Place in the set.
    index: usize,
    worth: AnswerWorth,
    /// Segments of all attempts.
    segments: u32,
    verdict: Verdict,
}

/// The puzzles to evaluate on.
struct Asked<'a> {
    set: &'a PuzzleSet,
    /// Its examples.
    total: usize,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    args.ballot.check(args.force)?;
    args.curve.check(args.force)?;
    let device = device::choose(args.device.as_deref())?;
    let loaded = args.think.load(&args.checkpoint, args.weights, &device)?;
    let set = load_split(&args.data, &args.split)?;
    for loaded in loaded.all() {
        check_data(loaded.model.config(), &set)
            .with_context(|| loaded.path.display().to_string())?;
        loaded.warn_of_ids((&set, &args.split), &args.data, console);
    }
    check_task(&loaded, &set, &args.data)?;
    let set = set.limited(args.limit.unwrap_or(usize::MAX));
    let asked = Asked {
        total: set.num_examples(),
        set: &set,
    };
    if asked.total == 0 {
        bail!(
            "{}: expected at least one example, found none",
            args.data.display()
        );
    }
    let is_arc = set.info().task == Task::Arc;
    if args.ballot.is_wanted() && !is_arc {
        bail!(
            "--submission and --png: expected a set of ARC tasks; {} holds none",
            args.data.display()
        );
    }
    if args.curve.is_wanted() {
        return curve::run(args, &loaded, &asked, console);
    }
    let bar = console.bar(asked.total as u64, "puzzles");
    let reasoner = args.think.reasoner(&loaded, HaltRule::Fixed, false)?;
    // Examples that were moved on the canvas are no tests that a vote could be cast for.
    let without_votes = |error: anyhow::Error| match args.ballot.is_wanted() {
        true => Err(error),
        false => {
            console.note(format_args!("without votes: {error:#}"));
            Ok(None)
        }
    };
    let mut ballot = match is_arc.then(|| ballot::Ballot::new(&asked)).transpose() {
        Ok(ballot) => ballot,
        Err(error) => without_votes(error)?,
    };
    let start = Instant::now();
    let judged = judge(&reasoner, &asked, args.think.min_confidence, |answer| {
        bar.inc(1);
        if let Some(Err(error)) = ballot.as_mut().map(|ballot| ballot.cast(answer)) {
            ballot = without_votes(error)?;
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let votes = ballot.as_ref().map(|ballot| ballot.count(&args.ballot));
    let (found, summary) = summed(&judged);
    let line = Line {
        checkpoint: &loaded.path,
        step: loaded.info.step,
        data: &args.data,
        split: &args.split,
        seconds,
        puzzles_per_second: asked.total as f64 / seconds.max(1e-9),
        found,
        verdicts: has_verdicts(args, &loaded).then(|| Verdicts::of(&summary)),
        votes,
    };
    // What was asked for is written even if nobody reads.
    let told = console.result(&line, describe(&line, asked.total));
    if let Some(ballot) = &ballot {
        ballot.write(&args.ballot, &args.data, args.force)?;
    }
    told?;
    Ok(Outcome::Done)
}

/// Refuses puzzles of another task than the model's, whose sizes may be the same.
fn check_task(loaded: &Loaded, set: &PuzzleSet, data: &Path) -> Result<()> {
    let (model, found) = (loaded.info.task, set.info().task);
    if model != Task::Other && found != Task::Other && model != found {
        bail!(
            "{}: expected puzzles of the model's task, {}, found {}",
            data.display(),
            serde_json::to_string(&model)?,
            serde_json::to_string(&found)?
        );
    }
    Ok(())
}

/// Whether answers can be verified, or may be withheld.
fn has_verdicts(args: &Args, loaded: &Loaded) -> bool {
    is_verifiable(loaded.task) || args.think.min_confidence > 0.0
}

/// Lets the reasoner answer, and compares with the labels afterwards.
fn judge(
    reasoner: &Reasoner,
    asked: &Asked<'_>,
    min_confidence: f32,
    mut answered: impl FnMut(&Answer) -> Result<()>,
) -> Result<Vec<Judged>> {
    let set = asked.set;
    let puzzles = (0..asked.total).map(|index| {
        let example = set.example(index);
        Puzzle {
            inputs: example.inputs.into_owned(),
            puzzle_id: example.puzzle_id,
        }
    });
    let mut judged = Vec::with_capacity(asked.total);
    for answer in reasoner.solve(puzzles) {
        let answer = answer?;
        answered(&answer)?;
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
        let exact = right == valid;
        judged.push(Judged {
            index: answer.index,
            worth: AnswerWorth {
                exact,
                cell_accuracy: right as f64 / valid as f64,
                q_right: (answer.q_halt >= 0.0) == exact,
            },
            segments: answer.total_segments,
            verdict: answer.verdict(min_confidence),
        });
    }
    Ok(judged)
}

/// The figures of some puzzles together.
fn summed<'a>(judged: impl IntoIterator<Item = &'a Judged>) -> (Evaluation, Summary) {
    let mut summary = Summary::default();
    let answers = judged.into_iter().map(|puzzle| {
        summary.add(puzzle.verdict, puzzle.worth.exact);
        (puzzle.worth, puzzle.segments)
    });
    (Evaluation::of(answers), summary)
}

fn describe(line: &Line<'_>, asked: usize) -> String {
    let found = &line.found;
    if found.puzzles == 0 {
        // Shares of nothing would read as failure.
        let mut text = format!(
            "none of {asked} puzzles has an answer to compare with: nothing could be judged; {:.1} puzzles/s",
            line.puzzles_per_second
        );
        if let Some(votes) = &line.votes {
            text += &format!("\n{votes}");
        }
        return text;
    }
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
        let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
        let precision = |precision: Option<f64>| match precision {
            Some(precision) => format!(", precision {:.2}%", 100.0 * precision),
            None => String::new(),
        };
        text += &format!(
            "\n{} verified: coverage {:.2}%{}; {} unverified, {} abstained: coverage of all given {:.2}%{}",
            verdicts.verified,
            percent(verdicts.verified_coverage),
            precision(verdicts.verified_precision),
            verdicts.unverified,
            verdicts.abstained,
            percent(verdicts.coverage),
            precision(verdicts.precision),
        );
    }
    if let Some(votes) = &line.votes {
        text += &format!("\n{votes}");
    }
    text
}
