//! `hrm bench`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::bench::{Bench, BenchError, Compared, Report, Row};
use hrm::device::DeviceError;
use hrm::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;
use crate::files::{check_file, not_stdout, write_file};

/// Time training steps, inference segments, adaptive inference and the drawing of batches.
///
/// A row is MODEL/WHAT/COMPUTE/BATCH, WHAT one of train, segment, adaptive, data. Beside its rate in counted operations stands its
/// share of the largest matrix product rate that the device reaches in the same run. With several devices the rows of each
/// follow one another. Exit code 1 where the device failed at a row; the others are timed all the same.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm bench --only hrm-sudoku-1k/ --markdown
  hrm bench --only trm-small/ --only hrm-small/ --no-matmuls --to now.json
  hrm bench --device cuda:0 --device flex --only /train/
  hrm bench --device cuda:0 --compare before.json --against twin.json
  hrm bench --read ours.json --against twin.json")]
pub(crate) struct Args {
    /// What computes, may be given several times; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Vec<String>,
    /// Only rows with this in their names, may be given several times.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Leave the matrix products out, and with them the shares.
    #[arg(long)]
    no_matmuls: bool,
    /// Number type; the device's best where it is not given.
    #[arg(long, value_enum)]
    compute: Option<Compute>,
    /// Slots; of each model its own number where it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: Option<u32>,
    /// Calls that count.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Calls before the clock starts.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warm_up: u32,
    /// List the names of the rows and time nothing.
    #[arg(long, conflicts_with_all = ["to", "markdown", "compare", "against"])]
    list: bool,
    /// Print Markdown tables.
    #[arg(long)]
    markdown: bool,
    /// Write the report as JSON, as docs/results/README.md defines it, anew after each row; of one device only.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
    /// Time nothing and take what this report holds.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["device", "only", "no_matmuls", "compute", "batch", "repeats", "warm_up", "list", "to"]
    )]
    read: Option<PathBuf>,
    /// An earlier report: print how many times as fast each row is now.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// A report of the PyTorch twin: print the ratios to it.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compute {
    F32,
    Bf16,
    F16,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "bench_row")]
struct RowLine<'a> {
    device: &'a str,
    #[serde(flatten)]
    row: &'a Row,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "bench_ratio")]
struct RatioLine<'a> {
    device: &'a str,
    /// The file compared with.
    #[serde(serialize_with = "crate::console::lossy")]
    with: &'a Path,
    #[serde(flatten)]
    compared: &'a Compared,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "bench_name")]
struct NameLine<'a> {
    device: &'a str,
    name: &'a str,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let devices: Vec<Option<&str>> = match args.device.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    if let Some(path) = &args.to {
        if devices.len() > 1 {
            bail!(
                "--to writes the report of one device; expected one --device, found {}",
                devices.len()
            );
        }
        not_stdout(path)?;
        check_file(path, args.force)?;
    }
    // All that can be wrong is found before anything is timed.
    let others = [&args.compare, &args.against]
        .into_iter()
        .flatten()
        .map(|path| Ok((path.as_path(), read(path)?)))
        .collect::<Result<Vec<_>>>()?;
    if let Some(path) = &args.read {
        let report = read(path)?;
        match args.markdown {
            true => console.text(report.markdown())?,
            false => {
                for row in &report.rows {
                    let device = &report.device;
                    console.result(&RowLine { device, row }, row)?;
                }
            }
        }
        compare(&report, &others, console)?;
        return Ok(Outcome::Done);
    }
    let benches = devices
        .into_iter()
        .map(|name| prepare(name, args))
        .collect::<Result<Vec<_>>>()?;
    let mut outcome = Outcome::Done;
    for (name, bench) in &benches {
        if args.list {
            for row in bench.rows() {
                console.result(
                    &NameLine {
                        device: name,
                        name: &row,
                    },
                    &row,
                )?;
            }
            continue;
        }
        let report = one(name, bench, args, console)?;
        if !report.failed.is_empty() || report.rows.is_empty() {
            outcome = Outcome::Negative;
        }
        compare(&report, &others, console)?;
    }
    Ok(outcome)
}

fn prepare(name: Option<&str>, args: &Args) -> Result<(String, Bench)> {
    let mut bench = Bench::on(name)?;
    bench.only.clone_from(&args.only);
    bench.matmuls = !args.no_matmuls;
    bench.compute = args.compute.map(|compute| match compute {
        Compute::F32 => ComputeType::F32,
        Compute::Bf16 => ComputeType::Bf16,
        Compute::F16 => ComputeType::F16,
    });
    bench.batch = args.batch.map(|batch| batch as usize);
    (bench.repeats, bench.warm_up) = (args.repeats as usize, args.warm_up as usize);
    Ok((hrm::device::chosen_name(name), bench))
}

fn one(name: &str, bench: &Bench, args: &Args, console: &Console) -> Result<Report> {
    let bar = console.spinner(match bench.matmuls {
        true => "matrix products",
        false => "warm-up",
    });
    let (mut rows, mut skipped, mut failed) = (0, 0, 0);
    let mut said = Ok(());
    let report = bench.run_with(|report| {
        let result: Result<()> = bar.suspend(|| {
            // The report is written even if nobody reads.
            let mut told = Ok(());
            for row in &report.rows[rows..] {
                match args.markdown {
                    // The table comes at the end.
                    true => console.note(row),
                    false => {
                        told =
                            told.and_then(|()| console.result(&RowLine { device: name, row }, row));
                    }
                }
            }
            for skipped in &report.skipped[skipped..] {
                console.note(format_args!("left out: {skipped}"));
            }
            for failed in &report.failed[failed..] {
                console.problem(failed);
            }
            if let Some(path) = &args.to {
                // What an earlier row has written survives a failure.
                let text = serde_json::to_string_pretty(report)? + "\n";
                write_file(path, true, |out| Ok(out.write_all(text.as_bytes())?))?;
            }
            Ok(told?)
        });
        if let Some(row) = report.rows.last() {
            bar.set_message(row.name.clone());
        }
        (rows, skipped, failed) = (report.rows.len(), report.skipped.len(), report.failed.len());
        if said.is_ok() {
            said = result;
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        error @ BenchError::Device(DeviceError::Compute { .. }) => {
            anyhow!(error).context("--compute")
        }
        error => error.into(),
    })?;
    said?;
    if args.markdown {
        console.text(report.markdown())?;
    }
    Ok(report)
}

/// How many times as fast the rows of a report are as those of others.
fn compare(report: &Report, others: &[(&Path, Report)], console: &Console) -> Result<()> {
    for (with, other) in others {
        let file = with.display();
        console.note(format_args!("here: {}", report.machine));
        console.note(format_args!("{file}: {}", other.machine));
        for difference in report.machine.differences(&other.machine) {
            console.note(format_args!("warning: not the same machine: {difference}"));
        }
        for compared in &report.against(other) {
            let line = RatioLine {
                device: &report.device,
                with,
                compared,
            };
            let text = format!(
                "{:<34} {:>10.2} ms, {:>10.2} ms in {file}: {:.2} times as fast",
                compared.name, compared.ms, compared.other_ms, compared.speed
            );
            console.result(&line, text)?;
        }
        let (here, there) = report.unmatched(other);
        for name in here {
            console.note(format_args!("{name}: not in {file}"));
        }
        for name in there {
            console.note(format_args!("{name}: only in {file}"));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Report> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of a benchmark", path.display()))
}
