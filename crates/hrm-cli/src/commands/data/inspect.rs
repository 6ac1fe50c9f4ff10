//! `hrm data inspect`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use hrm::data::arc::{self, ArcSettings, ArcSource, TestUse};
use hrm::data::inspect::{
    Compared, CsvExamples, Distribution, Report, SplitReport, inspect_folder, inspect_sets,
    is_split,
};
#[cfg(feature = "draw")]
use hrm::draw::{Sheet, Tile};
use hrm::prelude::*;
use serde::Serialize;

use super::build::{UNLIKE_SQUARES, challenges_hint, shape_hint};
use crate::Outcome;
use crate::arguments::{Shape, at_least_one};
use crate::console::Console;
#[cfg(feature = "draw")]
use crate::files::{check_picture, write_file};
use crate::grid::Drawing;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm data inspect sudoku6 --show 2
  hrm data inspect puzzles.csv --json
  hrm data inspect mazes.csv --size 20x30
  hrm data inspect puzzles.csv --png sheet.png --png-count 9
  hrm data inspect arc_challenges.json --solutions arc_solutions.json

Exit code 1 means that an answer is wrong, or that splits have puzzles in common.")]
pub(crate) struct Args {
    /// Data folder, CSV file, or ARC tasks as `hrm data build arc` takes them.
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// Kaggle's solutions of ARC challenges.
    #[arg(long, value_name = "FILE")]
    solutions: Option<PathBuf>,
    /// Side of the grids of a CSV file, or rows x columns; without it mazes must be square.
    #[arg(long, value_name = "SIDE|HxW")]
    size: Option<Shape>,
    /// Looks at the first N examples of each split only.
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    limit: Option<usize>,
    /// Draws the first N puzzles of each split with their answers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    show: usize,
    /// Draws puzzles with their answers as a PNG picture.
    #[cfg(feature = "draw")]
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Puzzles of each split in the picture.
    #[cfg(feature = "draw")]
    #[arg(long, default_value_t = 6, value_name = "N", requires = "png", value_parser = at_least_one())]
    png_count: usize,
    /// Writes over a file that is there.
    #[cfg(feature = "draw")]
    #[arg(long, requires = "png")]
    force: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "inspection")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    path: &'a std::path::Path,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    #[cfg(feature = "draw")]
    if let Some(path) = &args.png {
        check_picture(path, "png", args.force)?;
    }
    let limit = args.limit.unwrap_or(usize::MAX);
    check_kind(args)?;
    let spinner = console.spinner("looking");
    let shape = args.size.map(|size| (size.height, size.width));
    let (held, report) = match arc_splits(args)? {
        Some(sets) => {
            let nothing = || {
                format!(
                    "{}: expected at least one grid, found none",
                    args.path.display()
                )
            };
            let report = inspect_sets(&sets, limit).with_context(nothing)?;
            (Some(sets), report)
        }
        None if args.path.is_dir() => (None, inspect_folder(&args.path, limit)?),
        None => {
            let puzzles = CsvExamples::read(&args.path, shape)
                .map_err(|error| shape_hint(error, shape.is_some()))?;
            let report = puzzles.inspect(limit);
            let names = report.splits.iter().map(|split| split.name.clone());
            (
                Some(names.map(|name| (name, puzzles.set.clone())).collect()),
                report,
            )
        }
    };
    spinner.finish_and_clear();
    let told = tell(args, &report, held.as_deref(), shape.is_some(), console);
    // It is drawn even if nobody reads.
    #[cfg(feature = "draw")]
    if let Some(path) = &args.png {
        picture(args, held.as_deref(), &report, path)?;
    }
    told?;
    let wrong = |split: &SplitReport| {
        let sudoku = split
            .sudoku
            .as_ref()
            .is_some_and(|found| found.right < split.labelled);
        let maze = split
            .maze
            .as_ref()
            .is_some_and(|found| found.valid + found.invalid > 0);
        sudoku || maze
    };
    if report.splits.iter().any(wrong) || !report.shared.is_empty() {
        return Ok(Outcome::Negative);
    }
    Ok(Outcome::Done)
}

/// What was found, with the first puzzles.
fn tell(
    args: &Args,
    report: &Report,
    held: Option<&Splits>,
    has_shape: bool,
    console: &Console,
) -> Result<()> {
    console.object(&Line {
        path: &args.path,
        report,
    })?;
    for split in &report.splits {
        console.text(describe(split)?)?;
        if !console.is_json() {
            show(args, held, &report.task, split, console)?;
        }
    }
    let no_paths = |split: &SplitReport| split.maze.as_ref().is_some_and(|found| found.invalid > 0);
    if args.path.is_file() && !has_shape && report.splits.iter().any(no_paths) {
        console.note(format_args!("{}: {UNLIKE_SQUARES}", args.path.display()));
    }
    for shared in &report.shared {
        console.text(format_args!(
            "{} examples of {} are also in {}",
            shared.examples, shared.splits.0, shared.splits.1
        ))?;
    }
    Ok(())
}

/// Refuses folders that hold no data but are near it, and options that the path has no use for.
fn check_kind(args: &Args) -> Result<()> {
    let path = &args.path;
    if args.size.is_some() && (path.is_dir() || path.extension().is_some_and(|end| end == "json")) {
        bail!("--size: expected a CSV file, found {}", path.display());
    }
    if is_split(path)? {
        let above = match path.parent() {
            Some(parent) if parent != Path::new("") => format!(", {}", parent.display()),
            _ => String::new(),
        };
        bail!(
            "{} is a split of a data set; name the folder above it{above}",
            path.display()
        );
    }
    if RunFile::read(path).is_ok() {
        bail!(
            "{0} is a run folder; expected data. To look at a run: hrm report {0}",
            path.display()
        );
    }
    Ok(())
}

type Splits = [(String, PuzzleSet)];

/// The demonstrations and the tests of ARC tasks that are no data folder yet, as they are; `None` of anything else.
fn arc_splits(args: &Args) -> Result<Option<Vec<(String, PuzzleSet)>>> {
    let path = &args.path;
    let is_arc = match path.is_dir() {
        true => !has_splits(path)?,
        false => path.extension().is_some_and(|end| end == "json"),
    };
    if !is_arc {
        if args.solutions.is_some() {
            bail!(
                "--solutions: expected ARC challenges, found {}",
                path.display()
            );
        }
        return Ok(None);
    }
    let tasks = arc::read_tasks(path, args.solutions.as_deref())
        .map_err(|error| challenges_hint(error, "--solutions"))?;
    if tasks.is_empty() {
        if path.is_dir() {
            return Ok(None);
        }
        bail!("{}: expected ARC tasks, found none", path.display());
    }
    let source = ArcSource {
        tasks: &tasks,
        tests: TestUse::Evaluate,
    };
    let settings = ArcSettings {
        augmentations: 0,
        ..ArcSettings::default()
    };
    let sets = arc::build_sets(&[source], settings)?;
    let splits = [("demonstrations", sets.train), ("tests", sets.test)];
    let splits = splits.into_iter().filter(|(_, set)| set.num_examples() > 0);
    Ok(Some(
        splits.map(|(name, set)| (name.to_owned(), set)).collect(),
    ))
}

/// Whether a folder holds splits of a data set.
fn has_splits(dir: &Path) -> Result<bool> {
    let unreadable = || format!("cannot read {}", dir.display());
    for entry in dir.read_dir().with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        if is_split(entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The examples of a split: of what was read already, or of a data folder.
fn examples(args: &Args, held: Option<&Splits>, split: &SplitReport) -> Result<PuzzleSet> {
    let mut held = held.into_iter().flatten();
    match held.find(|(name, _)| *name == split.name) {
        Some((_, set)) => Ok(set.clone()),
        None => Ok(PuzzleSet::load(&args.path, &split.name)?),
    }
}

/// Draws the first puzzles of all splits, with their answers, into a picture.
#[cfg(feature = "draw")]
fn picture(args: &Args, held: Option<&Splits>, report: &Report, path: &Path) -> Result<()> {
    let mut tiles = Vec::new();
    for split in &report.splits {
        let set = examples(args, held, split)?;
        for index in 0..args.png_count.min(split.examined).min(set.num_examples()) {
            let example = set.example(index);
            let caption = format!("{} {index}", split.name);
            let question = Tile::question(report.task, &example.inputs);
            // The answers of a Sudoku and a maze show the question too.
            let apart = matches!(report.task, Task::Arc | Task::Other);
            if apart {
                // Of an ARC puzzle its task and augmentation.
                let names = set.identifiers().filter(|_| report.task == Task::Arc);
                let name = names.and_then(|names| names.get(example.puzzle_id));
                let name = name.as_deref().unwrap_or("question");
                tiles.push(question.with_caption(format!("{caption}: {name}")));
            }
            let caption = if apart { "answer" } else { caption.as_str() };
            let answer = Tile::answer(report.task, &example.inputs, &example.labels);
            tiles.push(answer.with_caption(caption));
        }
    }
    let columns = match report.task {
        // Questions and answers in pairs.
        Task::Arc | Task::Other => 4,
        Task::Sudoku(_) | Task::Maze { .. } if tiles.len() <= 12 => tiles.len().clamp(1, 3),
        // About as wide as high.
        Task::Sudoku(_) | Task::Maze { .. } => 0,
    };
    let bytes = Sheet::flow("", tiles, columns).render()?.png()?;
    write_file(path, args.force, |out| Ok(out.write_all(&bytes)?))
}

/// Draws the first puzzles of a split.
fn show(
    args: &Args,
    held: Option<&Splits>,
    task: &Task,
    split: &SplitReport,
    console: &Console,
) -> Result<()> {
    let wanted = args.show.min(split.examined);
    if wanted == 0 {
        return Ok(());
    }
    let set = examples(args, held, split)?;
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
    if split.labelled < split.examined {
        let (labelled, examined) = (split.labelled, split.examined);
        writeln!(text, "  {labelled} of {examined} have answers")?;
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
