//! `hrm plot`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::act::Metrics;
use hrm::draw::{Chart, Look, Panels, Series};
use hrm::train::{MetricsLine, read_metrics};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;
use crate::files::{check_free, write_file};

/// Points of a curve beyond which the values are also drawn averaged.
const SMOOTHED: usize = 60;

/// Draw the curves of trainings: loss, accuracies, segments.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm plot run --out curves.png
  hrm plot runs/seed-1 runs/seed-2 runs/seed-3 --out curves.png --force

Curves are of the training puzzles.")]
pub(crate) struct Args {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// PNG file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Headline of the picture.
    #[arg(long, default_value = "", hide_default_value = true)]
    title: String,
    /// Writes over the file where it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "plot")]
struct Line<'a> {
    out: &'a Path,
    runs: &'a [PathBuf],
    /// Reports drawn, by run.
    reports: Vec<usize>,
}

/// A panel: its title, the value of a report, and the least that its axis covers.
type Panel = (&'static str, fn(&Metrics) -> f64, Option<(f64, f64)>);

/// What is drawn of every report.
const PANELS: [Panel; 5] = [
    ("loss", Metrics::loss, None),
    ("exact accuracy", Metrics::exact_accuracy, Some((0.0, 1.0))),
    ("cell accuracy", Metrics::cell_accuracy, Some((0.0, 1.0))),
    ("segments", Metrics::mean_segments, None),
    ("q accuracy", Metrics::q_halt_accuracy, Some((0.0, 1.0))),
];

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    check_free(&args.out, args.force)?;
    let mut reports = Vec::with_capacity(args.runs.len());
    for run in &args.runs {
        reports.push(read(run)?);
    }
    let charts = PANELS.iter().map(|(title, value, covers)| Chart {
        title: (*title).to_owned(),
        x_label: "step".to_owned(),
        y_covers: *covers,
        series: (args.runs.iter().zip(&reports))
            .flat_map(|(run, reports)| curves(&run.display().to_string(), reports, *value))
            .collect(),
        ..Chart::default()
    });
    let panels = Panels {
        title: args.title.clone(),
        columns: 2,
        charts: charts.collect(),
    };
    let bytes = panels.render()?.png()?;
    write_file(&args.out, args.force, |out| Ok(out.write_all(&bytes)?))?;
    let line = Line {
        out: &args.out,
        runs: &args.runs,
        reports: reports.iter().map(Vec::len).collect(),
    };
    let text = format!("{}: curves of {} runs", args.out.display(), args.runs.len());
    console.result(&line, text)?;
    Ok(Outcome::Done)
}

/// Steps and metrics of a run.
fn read(run: &Path) -> Result<Vec<(u64, Metrics)>> {
    if !run.is_dir() {
        bail!(
            "{}: expected the folder of a run, found none",
            run.display()
        );
    }
    let file = run.join("metrics.jsonl");
    if !file.is_file() {
        bail!(
            "{}: expected a run with a metrics.jsonl, found none",
            run.display()
        );
    }
    let mut reports = Vec::new();
    for line in read_metrics(run)? {
        #[allow(clippy::single_match)]
        match line {
            MetricsLine::Step(report) => reports.extend(report.metrics.map(|of| (report.step, of))),
            _ => {}
        }
    }
    if reports.is_empty() {
        bail!(
            "{}: expected at least one report of a step, found none",
            file.display()
        );
    }
    Ok(reports)
}

/// The curve of a run; of many values, pale, and their moving mean over it.
fn curves(name: &str, reports: &[(u64, Metrics)], value: fn(&Metrics) -> f64) -> Vec<Series> {
    let points: Vec<(f64, f64)> = (reports.iter())
        .map(|(step, metrics)| (*step as f64, value(metrics)))
        .collect();
    if points.len() <= SMOOTHED {
        return vec![Series::new(name, points)];
    }
    let mean = moving_mean(&points, points.len() / 40);
    vec![
        Series::new(name, points).with_look(Look::Faint),
        Series::new(name, mean),
    ]
}

/// Each value's mean with `reach` neighbours on both sides, fewer at the ends. Values that aren't finite don't count.
fn moving_mean(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let mean = |(at, &(x, _)): (usize, &(f64, f64))| {
        // As many on both sides, so that the ends don't lean.
        let reach = reach.min(at).min(points.len() - 1 - at);
        let near = points.iter().skip(at - reach).take(2 * reach + 1);
        let near: Vec<f64> = near
            .map(|point| point.1)
            .filter(|y| y.is_finite())
            .collect();
        (x, near.iter().sum::<f64>() / near.len() as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_a_straight_line_and_skips_what_is_not_finite() {
        let line: Vec<(f64, f64)> = (0..9).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        assert_eq!(moving_mean(&line, 3), line);
        let mut broken = line.clone();
        broken[4].1 = f64::NAN;
        assert_eq!(moving_mean(&broken, 1)[4].1, 8.0);
        assert!(moving_mean(&[], 2).is_empty());
    }
}
