//! `hrm data sudoku generate` and `hrm data sudoku draw`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args as Arguments;
use hrm::prelude::*;

use super::Generated;
use crate::Outcome;
use crate::arguments::{Span, at_least_one};
use crate::console::Console;
use crate::files::write_file;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: 2,000 puzzles of 6x6 with 20 of 36 cells given
  hrm data sudoku generate --size 6 --count 2000 --clues 20 --seed 1 --out puzzles.csv
Hard minimal ones of 9x9
  hrm data sudoku generate --count 100 --rating 5..50 --seed 1 --out hard.csv")]
pub(crate) struct Args {
    /// Side of the boards: 4, 6, 9 or 16.
    #[arg(long, default_value_t = 9, value_name = "SIDE")]
    size: usize,
    /// How many puzzles.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = at_least_one())]
    count: usize,
    /// Givens: a number or a range, both ends counted. Without it every puzzle is minimal: no given is superfluous.
    #[arg(long, value_name = "N|A..B")]
    clues: Option<Span>,
    /// No superfluous given, also where --clues is there.
    #[arg(long)]
    minimal: bool,
    /// Guesses that our solver needs, both ends counted: how hard. (Another solver's count differs.)
    #[arg(long, value_name = "N|A..B", alias = "guesses")]
    rating: Option<Span>,
    /// Seed; the same seed makes the same puzzles.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// CSV file to write (`source,question,answer,rating`); `-` for stdout.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let start = Instant::now();
    super::check_out(&args.out, args.force, console)?;
    let mut generator = sudoku::Generator::new(SudokuSize::try_from(args.size)?);
    if let Some(clues) = &args.clues {
        generator = generator
            .with_clues(clues.sizes())
            .with_minimal(args.minimal);
    }
    if let Some(rating) = &args.rating {
        generator = generator.with_guesses(rating.0.clone());
    }
    let spinner = console.spinner(&format!("making {} Sudokus", args.count));
    let puzzles = generator.puzzles(args.count, args.seed);
    spinner.finish_and_clear();
    let puzzles = puzzles?;
    write_file(&args.out, args.force, |out| {
        Ok(sudoku::write_csv_to(out, &args.out, &puzzles)?)
    })?;
    if args.out == Path::new("-") {
        return Ok(Outcome::Done);
    }
    let report = Generated {
        task: "sudoku",
        count: puzzles.len(),
        seed: args.seed,
        out: &args.out,
        seconds: start.elapsed().as_secs_f64(),
    };
    let mean = |of: fn(&sudoku::Puzzle) -> usize| {
        puzzles.iter().map(of).sum::<usize>() as f64 / puzzles.len().max(1) as f64
    };
    console.result(
        &report,
        format_args!(
            "{}: {} Sudokus of {}, {:.1} givens and {:.1} guesses on average, seed {}",
            args.out.display(),
            report.count,
            generator.size,
            mean(|puzzle| puzzle.question.clues()),
            mean(|puzzle| puzzle.rating.unwrap_or_default() as usize),
            args.seed,
        ),
    )?;
    Ok(Outcome::Done)
}

/// Draw puzzles as hard as others, none of them the same under relabelling and symmetry.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: 2,000 puzzles with the ratings of the training file, to test on
  hrm data sudoku draw --input a.csv --input b.csv --like train.csv --count 2000 --out test.csv
  hrm data build sudoku --input train.csv --test test.csv --out sudoku")]
pub(crate) struct DrawArgs {
    /// CSV file to draw from; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    input: Vec<PathBuf>,
    /// CSV file with the ratings wanted (counted as 0, 1, 2-3, 4-7, ...); none of its puzzles is drawn.
    #[arg(long, value_name = "FILE")]
    like: PathBuf,
    /// CSV file of which none is drawn either.
    #[arg(long, value_name = "FILE")]
    without: Vec<PathBuf>,
    /// How many puzzles.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = at_least_one())]
    count: usize,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// CSV file to write (`source,question,answer,rating`); `-` for stdout.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn draw(args: &DrawArgs, console: &Console) -> Result<Outcome> {
    let start = Instant::now();
    super::check_out(&args.out, args.force, console)?;
    let rated = |file: &Path, puzzles: Vec<sudoku::Puzzle>| match puzzles
        .iter()
        .position(|puzzle| puzzle.rating.is_none())
    {
        Some(index) => Err(anyhow!(
            "{}: expected a rating of each puzzle, found none of puzzle {}",
            file.display(),
            index + 1
        )),
        None => Ok(puzzles),
    };
    let like = rated(&args.like, sudoku::read_csv(&args.like, None)?)?;
    if like.is_empty() {
        bail!(
            "{}: expected at least one puzzle, found none",
            args.like.display()
        );
    }
    let size = like.first().map(sudoku::Puzzle::size);
    let (mut candidates, mut without) = (Vec::new(), Vec::new());
    for file in &args.input {
        candidates.extend(rated(file, sudoku::read_csv(file, size)?)?);
    }
    for file in &args.without {
        without.extend(sudoku::read_csv(file, size)?);
    }
    let drawn = sudoku::draw_like(&candidates, &like, &without, args.count, args.seed)?;
    write_file(&args.out, args.force, |out| {
        Ok(sudoku::write_csv_to(out, &args.out, &drawn)?)
    })?;
    if args.out == Path::new("-") {
        return Ok(Outcome::Done);
    }
    let report = Generated {
        task: "sudoku",
        count: drawn.len(),
        seed: args.seed,
        out: &args.out,
        seconds: start.elapsed().as_secs_f64(),
    };
    console.result(
        &report,
        format_args!(
            "{}: {} of {} Sudokus, rated as {}, seed {}",
            args.out.display(),
            report.count,
            candidates.len(),
            args.like.display(),
            args.seed,
        ),
    )?;
    Ok(Outcome::Done)
}
