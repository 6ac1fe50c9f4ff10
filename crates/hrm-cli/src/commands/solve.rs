//! `hrm solve`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use hrm::device;
use hrm::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::checkpoint::{Loaded, Weights};
use crate::console::Console;
use crate::grid::Drawing;
#[cfg(feature = "draw")]
use crate::pictures::Pictures;
use crate::puzzles::{self, Asked};
use crate::think::Think;

/// Puzzles that could not be read of which each is told; the others are counted.
const TOLD: usize = 20;

/// Guesses after which it is left open whether a Sudoku has a solution.
const MAX_GUESSES: u64 = 100_000;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm solve --checkpoint run '.4.....12...2...5.....3...4..56.531.'
  hrm solve --checkpoint run --file puzzles.csv --json --halt verified --segments 64
  head -n 3 puzzles.txt | hrm solve --checkpoint run --trace -
  hrm solve --checkpoint run --gif thinking.gif --png thinking.png '123. 4..1 3.1. .1..'

A puzzle is one line of as many characters as it has cells (`.` or 0 blank; mazes of `# SG`), or a grid over several lines; \
CSV files are told by their column `question`. ARC and other tasks are token numbers.

Exit code 1 means that an answer breaks the rules or was withheld, 2 that a puzzle could not be read; the others are solved \
all the same.")]
pub(crate) struct Args {
    /// Run folder (its last checkpoint) or checkpoint file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The puzzle; `-` reads puzzles from standard input.
    #[arg(
        value_name = "PUZZLE",
        required_unless_present = "file",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    puzzle: Option<String>,
    /// The other rows of a grid that was not quoted.
    #[arg(value_name = "ROW", requires = "puzzle", hide = true)]
    rows: Vec<String>,
    /// File with puzzles.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Shows the answer after every segment, with what has changed.
    #[arg(long)]
    trace: bool,
    /// Draws the answer after every segment, with what has changed, as a PNG picture; of several puzzles one PNG each, numbered.
    #[cfg(feature = "draw")]
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Draws the thinking as an animated GIF, a frame for every segment; of several puzzles one GIF each, numbered.
    #[cfg(feature = "draw")]
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Time that a frame of the animation is shown, in milliseconds.
    #[cfg(feature = "draw")]
    #[arg(long, default_value_t = 800, value_name = "MS", requires = "gif", value_parser = clap::value_parser!(u64).range(20..=60_000))]
    frame: u64,
    /// Writes over files that are there.
    #[cfg(feature = "draw")]
    #[arg(long)]
    force: bool,
    /// Row of the puzzle table.
    #[arg(long, default_value_t = 0, value_name = "ID")]
    puzzle_id: u32,
    /// Which weights of the checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    #[command(flatten)]
    think: Think,
}

/// A puzzle with the model's answer.
#[derive(Serialize)]
#[serde(tag = "type", rename = "answer")]
struct Line {
    /// Line of the input, from 1.
    line: u64,
    question: String,
    /// None where it is withheld.
    answer: Option<String>,
    verdict: Verdict,
    segments: u32,
    confidence: f32,
    attempts: u32,
    votes: u32,
    total_segments: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace_q_halt: Vec<f32>,
}

/// A puzzle that could not be read.
#[derive(Serialize)]
#[serde(tag = "type", rename = "error")]
struct Bad<'a> {
    line: u64,
    error: &'a str,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let device = device::choose(args.device.as_deref())?;
    let loaded = args.think.load(&args.checkpoint, args.weights, &device)?;
    loaded.check_puzzle_id(args.puzzle_id)?;
    let seq_len = loaded.model.config().seq_len;
    let (source, asked) = read(args, loaded.task, seq_len)?;
    if asked.is_empty() {
        bail!("{source}: expected at least one puzzle, found none");
    }

    let several = asked.len() > 1;
    let mut problems = Problems::new(source, console);
    let mut is_refused = false;
    let mut good = Vec::new();
    for Asked { line, tokens } in asked {
        match tokens {
            Ok(tokens) => good.push((line, tokens)),
            Err(error) => problems.tell(line, &error)?,
        }
    }
    problems.tell_rest();

    let drawing = Drawing::new(loaded.task, seq_len);
    #[cfg(feature = "draw")]
    let pictures = Pictures::new(
        [args.png.as_deref(), args.gif.as_deref()],
        args.frame,
        args.force,
        loaded.task,
        good.len(),
    )?;
    #[cfg(feature = "draw")]
    let watched = args.trace || pictures.wanted();
    #[cfg(not(feature = "draw"))]
    let watched = args.trace;
    let reasoner = args.think.reasoner(&loaded, HaltRule::QHalt, watched)?;
    let puzzles = good.iter().map(|(_, inputs)| Puzzle {
        inputs: inputs.clone(),
        puzzle_id: args.puzzle_id,
    });
    let bar = console.bar(good.len() as u64, "puzzles");
    // Answers come as they are finished, and are shown in the order of the puzzles.
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    // Pictures are made even if nobody reads.
    #[cfg(feature = "draw")]
    let goes_on = pictures.wanted();
    #[cfg(not(feature = "draw"))]
    let goes_on = false;
    let mut is_read = true;
    for answer in reasoner.solve(puzzles) {
        let (index, answer) = match answer {
            Ok(answer) => (answer.index, Ok(answer)),
            Err(error) => match error.index() {
                Some(index) => (index, Err(error)),
                None => return Err(error.into()),
            },
        };
        waiting.insert(index, answer);
        bar.inc(1);
        while let Some(answer) = waiting.remove(&next) {
            let Some((line, inputs)) = good.get(next) else {
                break;
            };
            match answer {
                Ok(mut answer) => {
                    #[cfg(feature = "draw")]
                    pictures.draw(next, inputs, &answer)?;
                    if !args.trace {
                        answer.trace.clear();
                        answer.trace_q_halt.clear();
                    }
                    let verdict = answer.verdict(args.think.min_confidence);
                    is_refused |= answer.verified == Some(false) || !verdict.is_given();
                    let asked = (*line, inputs.as_slice());
                    if is_read {
                        let shown = bar.suspend(|| {
                            show(asked, several, &answer, verdict, &loaded, &drawing, console)
                        });
                        is_read = still_read(shown, goes_on)?;
                    }
                }
                Err(error) => {
                    let told = problems.tell(*line, &error.to_string());
                    is_read = still_read(told, goes_on)? && is_read;
                }
            }
            next += 1;
        }
    }
    bar.finish_and_clear();
    problems.tell_rest();
    Ok(match is_refused {
        _ if problems.found > 0 => Outcome::BadInput,
        true => Outcome::Negative,
        false => Outcome::Done,
    })
}

/// Whether somebody reads what was written. That nobody does ends the command, unless it `goes_on`.
fn still_read(written: Result<()>, goes_on: bool) -> Result<bool> {
    match written {
        Err(error) if goes_on && crate::is_closed_pipe(&error) => Ok(false),
        written => written.map(|()| true),
    }
}

/// Puzzles that can't be solved for what they are. A file that is no file of puzzles is not told line by line.
struct Problems<'a> {
    source: String,
    console: &'a Console,
    found: usize,
    /// Of these, those that were not told.
    untold: usize,
}

impl<'a> Problems<'a> {
    fn new(source: String, console: &'a Console) -> Self {
        Self {
            source,
            console,
            found: 0,
            untold: 0,
        }
    }

    /// Programs are told all.
    fn tell(&mut self, line: u64, error: &str) -> Result<()> {
        self.found += 1;
        match self.found <= TOLD {
            true => (self.console).problem(format_args!("{}:{line}: {error}", self.source)),
            false => self.untold += 1,
        }
        Ok(self.console.object(&Bad { line, error })?)
    }

    fn tell_rest(&mut self) {
        if self.untold > 0 {
            (self.console).problem(format_args!(
                "{}: {} more puzzles like these (--json tells each)",
                self.source, self.untold
            ));
            self.untold = 0;
        }
    }
}

/// The puzzles asked for, and what to call where they come from.
fn read(args: &Args, task: Task, seq_len: usize) -> Result<(String, Vec<Asked>)> {
    match (&args.file, args.puzzle.as_deref()) {
        (Some(path), _) => {
            let name = path.display().to_string();
            let asked = File::open(path)
                .and_then(|file| puzzles::read(BufReader::new(file), task, seq_len))
                .with_context(|| format!("cannot read {name}"))?;
            Ok((name, asked))
        }
        (None, Some("-")) if args.rows.is_empty() => {
            let asked = puzzles::read(io::stdin().lock(), task, seq_len)
                .context("cannot read standard input")?;
            Ok(("stdin".to_owned(), asked))
        }
        (None, Some(text)) => {
            let tokens = puzzles::parse(&grid(text, &args.rows), task, seq_len);
            let is_option = text.starts_with('-') && text.contains(char::is_alphabetic);
            if tokens.is_err() && is_option {
                bail!(
                    "expected a puzzle, found {text}, which is no option of this command: hrm solve --help names them"
                );
            }
            if tokens.is_err() && args.rows.is_empty() && Path::new(text).is_file() {
                bail!(
                    "expected a puzzle, found the name of a file; to read puzzles from it: --file {text}"
                );
            }
            Ok(("puzzle".to_owned(), vec![Asked { line: 1, tokens }]))
        }
        // clap requires one of them.
        (None, None) => bail!("expected a puzzle, --file or -"),
    }
}

/// The grid of these rows.
fn grid(first: &str, others: &[String]) -> String {
    let mut grid = first.to_owned();
    for row in others {
        grid.push('\n');
        grid += row;
    }
    grid
}

fn show(
    (line, inputs): (u64, &[u8]),
    several: bool,
    answer: &Answer,
    verdict: Verdict,
    loaded: &Loaded,
    drawing: &Drawing,
    console: &Console,
) -> Result<()> {
    let note = (answer.verified == Some(false))
        .then(|| loaded.task.objection(inputs, &answer.tokens, MAX_GUESSES))
        .flatten();
    if console.is_json() {
        return Ok(console.object(&Line {
            line,
            question: drawing.line(inputs),
            answer: verdict.is_given().then(|| drawing.line(&answer.tokens)),
            verdict,
            segments: answer.segments,
            confidence: answer.confidence,
            attempts: answer.attempts,
            votes: answer.votes,
            total_segments: answer.total_segments,
            note,
            trace: answer
                .trace
                .iter()
                .map(|tokens| drawing.line(tokens))
                .collect(),
            trace_q_halt: answer.trace_q_halt.clone(),
        })?);
    }
    let mut before = inputs;
    for (index, tokens) in answer.trace.iter().enumerate() {
        let changed = tokens
            .iter()
            .zip(before)
            .filter(|(token, before)| token != before)
            .count();
        console.text(format_args!(
            "segment {}: {changed} of {} cells changed\n{}\n",
            index + 1,
            tokens.len(),
            drawing.answer(inputs, tokens, Some(before))
        ))?;
        before = tokens;
    }
    if answer.trace.is_empty() && verdict.is_given() {
        console.text(drawing.answer(inputs, &answer.tokens, None))?;
    }
    let mut text = match several {
        true => format!("line {line}: "),
        false => String::new(),
    };
    text += &format!(
        "{verdict} after {} segments, confidence {:.3}",
        answer.segments, answer.confidence
    );
    if answer.attempts > 1 {
        text += &format!(
            ", {} of {} attempts agree, {} segments in all",
            answer.votes, answer.attempts, answer.total_segments
        );
    }
    if let Some(note) = note {
        text += &format!(" ({note})");
    }
    console.text(format_args!("{text}\n"))?;
    Ok(())
}
