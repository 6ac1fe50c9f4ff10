//! `hrm solve`.

mod tasks;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use hrm::data::arc::{ArcTask, MAX_KAGGLE_FILE, parse_tasks, read_tasks};
use hrm::device;
use hrm::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::checkpoint::Weights;
use crate::console::Console;
use crate::grid::Drawing;
#[cfg(feature = "draw")]
use crate::pictures::{Names, Pictures};
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
  hrm solve --checkpoint arc-run --data arc --views 50 --file 007bbfb7.json

A puzzle is one line of as many characters as it has cells (`.` or 0 blank; mazes of `# SG`), or a grid over several lines; \
CSV files are told by their column `question`. ARC tasks are JSON: of a task, or Kaggle's challenges. Of other tasks the numbers \
of the tokens are given.

Exit code 1 means that an answer breaks the rules, has no grid or was withheld, 2 that a puzzle could not be read; the others are solved \
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
    /// Row of the puzzle table; 0 where it is not given, but for ARC tasks in JSON, whose rows --data tells.
    #[arg(long, value_name = "ID")]
    puzzle_id: Option<u32>,
    /// The data that the model was trained on, which tell the rows of ARC tasks.
    #[arg(long, value_name = "DIR", conflicts_with = "puzzle_id")]
    data: Option<PathBuf>,
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
    #[cfg(feature = "draw")]
    #[serde(flatten)]
    pictures: Names,
}

/// A puzzle to think about.
struct Good {
    line: u64,
    inputs: Vec<u8>,
}

/// What is asked for.
enum Source {
    Puzzles(Vec<Asked>),
    Tasks(Vec<ArcTask>),
}

/// A puzzle that could not be read.
#[derive(Serialize)]
#[serde(tag = "type", rename = "error")]
struct Bad<'a> {
    /// None of an ARC task.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    error: &'a str,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let device = device::choose(args.device.as_deref())?;
    let loaded = args.think.load(&args.checkpoint, args.weights, &device)?;
    let puzzle_id = args.puzzle_id.unwrap_or_default();
    loaded.check_puzzle_id(puzzle_id)?;
    let seq_len = loaded.model.config().seq_len;
    let (source, asked) = read(args, loaded.task, seq_len)?;
    let asked = match asked {
        Source::Puzzles(asked) => asked,
        Source::Tasks(tasks) => return tasks::run(args, &loaded, &tasks, source, console),
    };
    if let Some(data) = &args.data {
        bail!(
            "--data {}: expected ARC tasks in JSON, whose rows of the puzzle table it tells; other puzzles need none",
            data.display()
        );
    }
    if asked.is_empty() {
        bail!("{source}: expected at least one puzzle, found none");
    }

    let mut problems = Problems::new(source, console);
    let mut is_refused = false;
    let mut good = Vec::new();
    let count = asked.len();
    // Of those that can be read among all.
    #[cfg(feature = "draw")]
    let places: Vec<usize> = (0..count)
        .filter(|&place| asked[place].tokens.is_ok())
        .collect();
    for Asked { line, tokens } in asked {
        match tokens {
            Ok(inputs) => good.push(Good { line, inputs }),
            Err(error) => problems.tell(Some(line), &error)?,
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
        &places,
        count,
    )?;
    #[cfg(feature = "draw")]
    let watched = args.trace || pictures.wanted();
    #[cfg(not(feature = "draw"))]
    let watched = args.trace;
    let reasoner = args.think.reasoner(&loaded, HaltRule::QHalt, watched)?;
    let puzzles = good.iter().map(|good| Puzzle {
        inputs: good.inputs.clone(),
        puzzle_id,
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
            let Some(asked) = good.get(next) else {
                break;
            };
            match answer {
                Ok(mut answer) => {
                    #[cfg(feature = "draw")]
                    pictures.draw(places[next], &asked.inputs, &answer)?;
                    if !args.trace {
                        answer.trace.clear();
                        answer.trace_q_halt.clear();
                    }
                    let verdict = answer.verdict(args.think.min_confidence);
                    is_refused |= answer.verified == Some(false) || !verdict.is_given();
                    if is_read {
                        let line = Line {
                            #[cfg(feature = "draw")]
                            pictures: pictures.names(places[next]),
                            ..line_of(asked, &answer, verdict, loaded.task)
                        };
                        let shown = bar
                            .suspend(|| show(asked, count > 1, &answer, &line, &drawing, console));
                        is_read = still_read(shown, goes_on)?;
                    }
                }
                Err(error) => {
                    let told = problems.tell(Some(asked.line), &error.to_string());
                    is_read = still_read(told, goes_on)? && is_read;
                }
            }
            next += 1;
        }
    }
    bar.finish_and_clear();
    problems.tell_rest();
    Ok(problems.outcome(is_refused))
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
    fn tell(&mut self, line: Option<u64>, error: &str) -> Result<()> {
        self.found += 1;
        let source = &self.source;
        match line {
            _ if self.found > TOLD => self.untold += 1,
            Some(line) => (self.console).problem(format_args!("{source}:{line}: {error}")),
            None => (self.console).problem(format_args!("{source}: {error}")),
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

    /// How the command ends, of whose answers one may be refused.
    fn outcome(&self, is_refused: bool) -> Outcome {
        match is_refused {
            _ if self.found > 0 => Outcome::BadInput,
            true => Outcome::Negative,
            false => Outcome::Done,
        }
    }
}

/// The puzzles asked for, and what to call where they come from.
fn read(args: &Args, task: Task, seq_len: usize) -> Result<(String, Source)> {
    match (&args.file, args.puzzle.as_deref()) {
        (Some(path), _) => {
            let name = path.display().to_string();
            if task == Task::Arc && path.is_dir() {
                return Ok((name, Source::Tasks(read_tasks(path, None)?)));
            }
            let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
            let asked = read_from(BufReader::new(file), path, task, seq_len)?;
            Ok((name, asked))
        }
        (None, Some("-")) if args.rows.is_empty() => {
            let asked = read_from(io::stdin().lock(), Path::new("stdin"), task, seq_len)?;
            Ok(("stdin".to_owned(), asked))
        }
        (None, Some(text)) if task == Task::Arc && text.trim_start().starts_with('{') => {
            let asked = parse_tasks(text.as_bytes(), "puzzle", "puzzle")?;
            Ok(("puzzle".to_owned(), Source::Tasks(asked)))
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
            let asked = vec![Asked { line: 1, tokens }];
            Ok(("puzzle".to_owned(), Source::Puzzles(asked)))
        }
        // clap requires one of them.
        (None, None) => bail!("expected a puzzle, --file or -"),
    }
}

/// The puzzles of a file: of an ARC model JSON, which begins with a brace, or lines.
fn read_from(mut source: impl BufRead, path: &Path, task: Task, seq_len: usize) -> Result<Source> {
    let failed = || format!("cannot read {}", path.display());
    let begin = source.fill_buf().with_context(failed)?;
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
    if task != Task::Arc || begin.trim_ascii_start().first() != Some(&b'{') {
        let asked = puzzles::read(source, task, seq_len).with_context(failed)?;
        return Ok(Source::Puzzles(asked));
    }
    let mut json = Vec::new();
    (source.take(MAX_KAGGLE_FILE + 1).read_to_end(&mut json)).with_context(failed)?;
    if json.len() as u64 > MAX_KAGGLE_FILE {
        bail!(
            "{}: expected at most {MAX_KAGGLE_FILE} bytes of JSON, found more",
            path.display()
        );
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Source::Tasks(parse_tasks(&json, &name, path)?))
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

fn line_of(asked: &Good, answer: &Answer, verdict: Verdict, task: Task) -> Line {
    let line = |tokens: &Vec<u8>| task.line(tokens);
    Line {
        line: asked.line,
        question: line(&asked.inputs),
        answer: verdict.is_given().then(|| line(&answer.tokens)),
        verdict,
        segments: answer.segments,
        confidence: answer.confidence,
        attempts: answer.attempts,
        votes: answer.votes,
        total_segments: answer.total_segments,
        note: (answer.verified == Some(false))
            .then(|| task.objection(&asked.inputs, &answer.tokens, MAX_GUESSES))
            .flatten(),
        trace: answer.trace.iter().map(line).collect(),
        trace_q_halt: answer.trace_q_halt.clone(),
        #[cfg(feature = "draw")]
        pictures: Names::default(),
    }
}

fn show(
    asked: &Good,
    several: bool,
    answer: &Answer,
    line: &Line,
    drawing: &Drawing,
    console: &Console,
) -> Result<()> {
    if console.is_json() {
        return Ok(console.object(line)?);
    }
    show_trace(&asked.inputs, &answer.trace, drawing, console)?;
    if answer.trace.is_empty() && line.verdict.is_given() {
        console.text(drawing.answer(&asked.inputs, &answer.tokens, None))?;
    }
    let mut text = match several {
        true => format!("line {}: ", line.line),
        false => String::new(),
    };
    text += &conclusion(line.verdict, line.segments, line.confidence);
    if answer.attempts > 1 {
        text += &format!(
            ", {} of {} attempts agree, {} segments in all",
            answer.votes, answer.attempts, answer.total_segments
        );
    }
    if let Some(note) = &line.note {
        text += &format!(" ({note})");
    }
    console.text(format_args!("{text}\n"))?;
    Ok(())
}

/// How the thinking has ended.
fn conclusion(verdict: Verdict, segments: u32, confidence: f32) -> String {
    format!("{verdict} after {segments} segments, confidence {confidence:.3}")
}

/// The answer after every segment, with what has changed.
fn show_trace(
    inputs: &[u8],
    trace: &[Vec<u8>],
    drawing: &Drawing,
    console: &Console,
) -> Result<()> {
    let mut before = inputs;
    for (index, tokens) in trace.iter().enumerate() {
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
    Ok(())
}
