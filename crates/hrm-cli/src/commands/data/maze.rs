//! `hrm data maze generate`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args as Arguments;
use hrm::data::DataError;
use hrm::data::maze::{MazeGenerator, MazeRecipe};
use hrm::prelude::*;

use super::Generated;
use crate::Outcome;
use crate::arguments::{Shape, at_least_one};
use crate::console::Console;
use crate::files::write_file;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: small mazes, and mazes as hard as the published ones
  hrm data maze generate --size 10 --min-path 18 --count 1000 --seed 1 --out small.csv
  hrm data maze generate --size 30 --min-path 110 --count 1000 --seed 1 --out mazes.csv")]
pub(crate) struct Args {
    /// Side of the mazes, or rows x columns.
    #[arg(long, default_value = "30", value_name = "SIDE|HxW")]
    size: Shape,
    /// Fewest cells on the shortest path, start and goal counted.
    #[arg(long, default_value_t = 110, value_name = "N")]
    min_path: usize,
    /// Least and greatest probability of a wall.
    #[arg(long, num_args = 2, default_values_t = [0.3, 0.5], value_names = ["LOW", "HIGH"])]
    walls: Vec<f64>,
    /// How many mazes.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = at_least_one())]
    count: usize,
    /// Seed; the same seed makes the same mazes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// CSV file to write (`source,question,answer,rating`, the rating being the cells on the path); `-` for stdout.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let start = Instant::now();
    super::check_out(&args.out, args.force, console)?;
    let &[low, high] = args.walls.as_slice() else {
        bail!(
            "--walls: expected two probabilities, found {}",
            args.walls.len()
        );
    };
    let recipe = MazeRecipe {
        wall_probability: low..=high,
        ..MazeRecipe::new(args.size.height, args.size.width, args.min_path)
    };
    let generator = MazeGenerator::new(recipe, args.seed).map_err(|error| match &error {
        DataError::Mismatch { what, .. } if what == "min_path_cells" => {
            anyhow!("--min-path: {error}")
        }
        DataError::Mismatch { what, .. } if what == "wall_probability" => {
            anyhow!("--walls: {error}")
        }
        _ => error.into(),
    })?;
    let bar = console.bar(args.count as u64, "mazes");
    let puzzles: Vec<maze::MazePuzzle> =
        generator.take(args.count).inspect(|_| bar.inc(1)).collect();
    bar.finish_and_clear();
    write_file(&args.out, args.force, |out| {
        Ok(maze::write_csv_to(out, &args.out, "generated", &puzzles)?)
    })?;
    if args.out == Path::new("-") {
        return Ok(Outcome::Done);
    }
    let report = Generated {
        task: "maze",
        count: puzzles.len(),
        seed: args.seed,
        out: &args.out,
        seconds: start.elapsed().as_secs_f64(),
    };
    let cells: usize = puzzles.iter().map(maze::MazePuzzle::path_cells).sum();
    console.result(
        &report,
        format_args!(
            "{}: {} mazes of {}x{}, {:.1} cells on the path on average, seed {}",
            args.out.display(),
            report.count,
            args.size.height,
            args.size.width,
            cells as f64 / puzzles.len().max(1) as f64,
            args.seed,
        ),
    )?;
    Ok(Outcome::Done)
}
