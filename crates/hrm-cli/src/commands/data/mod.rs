//! `hrm data`: making puzzles, building sets, looking at them.

mod build;
mod download;
mod inspect;
mod maze;
mod sudoku;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::Outcome;
use crate::console::Console;
use crate::files::check_file;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sudokus.
    #[command(
        subcommand,
        after_help = "Example:\n  hrm data sudoku generate --size 4 --count 1000 --clues 8 --out sudoku4.csv"
    )]
    Sudoku(Sudoku),
    /// Mazes.
    #[command(
        subcommand,
        after_help = "Example:\n  hrm data maze generate --size 10 --min-path 18 --count 1000 --out maze10.csv"
    )]
    Maze(Maze),
    /// Build a data folder for training from puzzles.
    #[command(
        subcommand,
        after_help = "Example:\n  hrm data build sudoku --input sudoku4.csv --test-count 100 --out sudoku4"
    )]
    Build(build::Command),
    Download(download::Args),
    /// Look at a data folder or a CSV file: how much, what repeats, whether the answers are right.
    Inspect(inspect::Args),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sudoku {
    /// Make Sudokus with exactly one solution, no two equal under relabelling and symmetry.
    Generate(sudoku::Args),
    Draw(sudoku::DrawArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Maze {
    /// Make mazes with long shortest paths, in the published statistics.
    Generate(maze::Args),
}

pub(crate) fn run(command: &Command, console: &Console) -> Result<Outcome> {
    match command {
        Command::Sudoku(Sudoku::Generate(args)) => sudoku::run(args, console),
        Command::Sudoku(Sudoku::Draw(args)) => sudoku::draw(args, console),
        Command::Maze(Maze::Generate(args)) => maze::run(args, console),
        Command::Build(command) => build::run(command, console),
        Command::Download(args) => download::run(args, console),
        Command::Inspect(args) => inspect::run(args, console),
    }
}

/// Refuses what can't be written before anything is made: with JSON on stdout there is no room for puzzles.
fn check_out(out: &Path, force: bool, console: &Console) -> Result<()> {
    if console.is_json() && out == Path::new("-") {
        bail!("--out - writes puzzles to stdout, and so does --json; expected one of the two");
    }
    check_file(out, force)
}

/// What a generator has made.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename = "generated")]
struct Generated<'a> {
    task: &'a str,
    count: usize,
    seed: u64,
    #[serde(serialize_with = "crate::console::lossy")]
    out: &'a Path,
    seconds: f64,
}
