//! `hrm data inspect`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args as Arguments;
use hrm::data::inspect::{
    Compared, Distribution, Report, SplitReport, inspect_csv, inspect_folder,
};
use hrm::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;
use crate::grid::Drawing;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm data inspect sudoku6 --show 2
  hrm data inspect puzzles.csv --json

Exit code 1 means that an answer is wrong, or that splits have puzzles in common.")]
pub(crate) struct Args {
    /// Data folder or CSV file.
    #[arg(value_name = "DIR|FILE.csv")]
    path: PathBuf,
    /// Looks at the first N examples of each split only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Draws the first N puzzles of each split with their answers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    show: usize,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "inspection")]
struct Line<'a> {
    path: &'a std::path::Path,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let spinner = console.spinner("looking");
    let report = match args.path.is_dir() {
        true => inspect_folder(&args.path, limit),
        false => inspect_csv(&args.path, limit),
    };
    spinner.finish_and_clear();
    let report = report?;
    console.object(&Line {
        path: &args.path,
        report: &report,
    })?;
    for split in &report.splits {
        console.text(describe(split)?)?;
        if !console.is_json() {
            show(args, &report.task, split, console)?;
        }
    }
    for shared in &report.shared {
        console.text(format_args!(
            "{} examples of {} are also in {}",
            shared.examples, shared.splits.0, shared.splits.1
        ))?;
    }
    let wrong = |split: &SplitReport| {
        let sudoku = split
            .sudoku
            .as_ref()
            .is_some_and(|found| found.right < split.labelled);
        let maze = split.maze.as_ref().is_some_and(|found| found.invalid > 0);
        sudoku || maze
    };
    if report.splits.iter().any(wrong) || !report.shared.is_empty() {
        return Ok(Outcome::Negative);
    }
    Ok(Outcome::Done)
}

/// Draws the first puzzles of a split.
fn show(args: &Args, task: &Task, split: &SplitReport, console: &Console) -> Result<()> {
    let wanted = args.show.min(split.examined);
    if wanted == 0 {
        return Ok(());
    }
    let set = match (args.path.is_dir(), task) {
        (true, _) => PuzzleSet::load(&args.path, &split.name)?,
        // A CSV with wrong answers is reported, but not drawn.
        (false, Task::Sudoku(size)) => match sudoku::read_csv(&args.path, Some(*size)) {
            Ok(puzzles) => PuzzleSet::from_sudoku(&puzzles, *size, false)?,
            Err(_) => return Ok(()),
        },
        (false, _) => match maze::read_csv(&args.path, None) {
            Ok(puzzles) => PuzzleSet::from_mazes(&puzzles, None)?,
            Err(_) => return Ok(()),
        },
    };
    for index in 0..wanted.min(set.num_examples()) {
        let example = set.example(index);
        let drawing = Drawing::new(*task, set.info().seq_len);
        console.text(format_args!(
            "\n{} example {index}\n{}\n\n{}",
            split.name,
            drawing.question(&example.inputs),
            drawing.answer(&example.inputs, &example.labels, None)
        ))?;
    }
    Ok(())
}

fn describe(split: &SplitReport) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{}: {} groups, {} puzzles, {} examples of {} cells; {} tokens, {} puzzle ids; augmentation {}",
        split.name,
        split.groups,
        split.puzzles,
        split.examples,
        split.seq_len,
        split.vocab_size,
        split.num_puzzle_ids,
        serde_json::to_string(&split.augmentation)?.replace(['"', '{', '}'], ""),
    )?;
    if split.examined < split.examples {
        writeln!(text, "  looked at the first {}", split.examined)?;
    }
    let how = match split.compared {
        Compared::CanonicalForm => "under relabelling and symmetry",
        Compared::Tokens => "cell by cell",
    };
    writeln!(text, "  duplicates {how}: {}", split.duplicates)?;
    let distribution = |text: &mut String, name: &str, of: &Option<Distribution>| match of {
        Some(of) => writeln!(
            text,
            "  {name}: {} to {}, mean {:.1}, median {}",
            of.min, of.max, of.mean, of.median
        ),
        None => Ok(()),
    };
    distribution(&mut text, "rating", &split.rating)?;
    if let Some(found) = &split.sudoku {
        distribution(&mut text, "givens", &found.clues)?;
        distribution(&mut text, "guesses", &found.guesses)?;
        writeln!(
            text,
            "  right answers: {} of {}",
            found.right, split.labelled
        )?;
        writeln!(
            text,
            "  solutions: one {}, several {}, none {}, undecided {}",
            found.one_solution, found.several_solutions, found.no_solution, found.undecided
        )?;
        wrong(&mut text, &found.wrong)?;
    }
    if let Some(found) = &split.maze {
        distribution(&mut text, "cells on the shortest path", &found.path_cells)?;
        distribution(&mut text, "walls", &found.walls)?;
        writeln!(
            text,
            "  answers: published label {}, another shortest path {}, longer path {}, no path {}",
            found.exact, found.optimal, found.valid, found.invalid
        )?;
        wrong(&mut text, &found.wrong)?;
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn wrong(text: &mut String, wrong: &[(usize, String)]) -> std::fmt::Result {
    wrong
        .iter()
        .try_for_each(|(index, why)| writeln!(text, "  example {index}: {why}"))
}
