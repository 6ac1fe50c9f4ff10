//! The program `hrm`: makes data, trains, evaluates and solves.
//!
//! Results go to stdout, talk to stderr. Exit codes: 0 done, 1 ran but the answer is no, 2 bad usage or input.

mod arguments;
mod checkpoint;
mod commands;
mod console;
#[cfg(feature = "dashboard")]
mod dashboard;
mod files;
mod grid;
#[cfg(unix)]
mod hangup;
#[cfg(feature = "draw")]
mod pictures;
mod puzzles;
mod splits;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod think;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "draw")]
use commands::plot;
use commands::{
    analyze, bench, conformance, data, devices, eval, export, import, pack, presets, pull, report,
    solve, train,
};
use console::Console;

/// Train, evaluate and solve puzzles with the Hierarchical Reasoning Model (HRM) and TRM.
#[derive(Debug, Parser)]
#[command(name = "hrm", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLE)]
struct Cli {
    /// Print results as JSON, one tagged object per line.
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Say nothing but results and errors.
    #[arg(long, short, global = true, help_heading = "Output")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make puzzles, build data sets of them, look at them.
    #[command(
        subcommand,
        after_help = "Example: puzzles, a data set of them, a look at it\n  \
            hrm data sudoku generate --size 4 --count 1000 --clues 8 --out sudoku4.csv\n  \
            hrm data build sudoku --input sudoku4.csv --test-count 100 --out sudoku4\n  \
            hrm data inspect sudoku4"
    )]
    Data(data::Command),
    /// Train a model, or go on with a training.
    Train(train::Args),
    /// Measure how many puzzles of a data set a model solves.
    Eval(eval::Args),
    /// Solve puzzles.
    Solve(solve::Args),
    Analyze(analyze::Args),
    /// List the recipes that `train` knows by name.
    Presets(presets::Args),
    Devices(devices::Args),
    Import(import::Args),
    Export(export::Args),
    Pack(pack::Args),
    Unpack(pack::UnpackArgs),
    Pull(pull::Args),
    Report(report::Args),
    Conformance(conformance::Args),
    #[cfg(feature = "draw")]
    Plot(plot::Args),
    Bench(bench::Args),
}

const EXAMPLE: &str = "\
From nothing to a solved puzzle:
  hrm data sudoku generate --size 4 --count 1000 --clues 8 --seed 1 --out puzzles.csv
  hrm data build sudoku --input puzzles.csv --test-count 100 --out sudoku4
  hrm train --preset trm-small --data sudoku4 --out run --steps 1500
  hrm eval --checkpoint run --data sudoku4
  hrm solve --checkpoint run --trace --halt stable:2 '123. 4..1 3.1. .1..'";

/// How a command that ran has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done = 0,
    /// It ran, but the answer is no: unsolved, interrupted, different.
    Negative = 1,
    /// The command line or its input is wrong.
    BadInput = 2,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

fn main() -> ExitCode {
    let Cli {
        json,
        quiet,
        command,
    } = Cli::parse();
    let console = Console::new(json, quiet);
    let result = match command {
        Command::Data(command) => data::run(&command, &console),
        Command::Train(args) => train::run(&args, &console),
        Command::Eval(args) => eval::run(&args, &console),
        Command::Solve(args) => solve::run(&args, &console),
        Command::Analyze(args) => analyze::run(&args, &console),
        Command::Presets(args) => presets::run(&args, &console),
        Command::Devices(args) => devices::run(&args, &console),
        Command::Import(args) => import::run(&args, &console),
        Command::Export(args) => export::run(&args, &console),
        Command::Pack(args) => pack::pack(&args, &console),
        Command::Unpack(args) => pack::unpack(&args, &console),
        Command::Pull(args) => pull::run(&args, &console),
        Command::Report(args) => report::run(&args, &console),
        Command::Conformance(args) => conformance::run(&args, &console),
        #[cfg(feature = "draw")]
        Command::Plot(args) => plot::run(&args, &console),
        Command::Bench(args) => bench::run(&args, &console),
    };
    result
        .unwrap_or_else(|error| {
            if is_closed_pipe(&error) {
                return Outcome::Done;
            }
            console.error(&error);
            Outcome::BadInput
        })
        .into()
}

/// Whoever reads stdout may stop when he has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn walk(command: &clap::Command, name: &str) {
            for command in command.get_subcommands() {
                let name = format!("{name} {}", command.get_name());
                let help = command.get_after_help().map(ToString::to_string);
                assert!(help.is_some_and(|help| help.contains("Example")), "{name}");
                walk(command, &name);
            }
        }
        walk(&Cli::command(), "hrm");
    }
}
