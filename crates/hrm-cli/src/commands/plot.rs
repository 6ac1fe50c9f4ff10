//! `hrm plot`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::act::Metrics;
use hrm::draw::{Chart, Look, Panels, Series};
use hrm::train::{Evaluation, MetricsLine, metrics_path, read_metrics};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;
use crate::files::{check_picture, write_file};

/// Points of a curve beyond which the values are also drawn averaged.
const SMOOTHED: usize = 60;

/// Draw the curves of trainings: loss, accuracies, segments.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm plot run --out curves.png
  hrm plot runs/seed-1 runs/seed-2 runs/seed-3 --out curves.png --force

Curves are of the training puzzles. Of a run that evaluates, those of the held-out puzzles stand beside them, \
the exact accuracy with its 95% interval where there are not more than 60.")]
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
    /// Writes over a file that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "plot")]
struct Line<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    out: &'a Path,
    #[serde(serialize_with = "crate::console::lossy_each")]
    runs: &'a [PathBuf],
    /// Reports drawn, by run.
    reports: Vec<usize>,
    /// Evaluations drawn, by run.
    evaluations: Vec<usize>,
}

/// What is drawn of a run.
#[derive(Default)]
struct Curves {
    /// Steps and their reports.
    reports: Vec<(u64, Metrics)>,
    /// Steps and what was found on the held-out puzzles.
    evaluations: Vec<(u64, Evaluation)>,
}

struct Panel {
    title: &'static str,
    /// None of a report for which there is no such value.
    value: fn(&Metrics) -> Option<f64>,
    held_out: Option<fn(&Evaluation) -> f64>,
    /// Whether the interval of the exact accuracy is its.
    with_interval: bool,
    /// The least that its axis covers.
    covers: Option<(f64, f64)>,
}

impl Panel {
    const fn new(title: &'static str, value: fn(&Metrics) -> Option<f64>) -> Self {
        Self {
            title,
            value,
            held_out: None,
            with_interval: false,
            covers: None,
        }
    }

    const fn accuracy(
        title: &'static str,
        value: fn(&Metrics) -> Option<f64>,
        held_out: fn(&Evaluation) -> f64,
    ) -> Self {
        Self {
            held_out: Some(held_out),
            covers: Some((0.0, 1.0)),
            ..Self::new(title, value)
        }
    }

    fn series(&self, name: &str, run: &Curves) -> Vec<Series> {
        let reports = run.reports.iter();
        let points = reports.map(|(step, of)| (*step as f64, (self.value)(of).unwrap_or(f64::NAN)));
        let mut series = curves(name, points.collect());
        if let Some(value) = self.held_out
            && !run.evaluations.is_empty()
        {
            let found = run.evaluations.iter();
            let points = found.clone().map(|(step, of)| (*step as f64, value(of)));
            let mut held_out = curves(&format!("{name}, held out"), points.collect());
            // Of so many that their mean is drawn, bars would hide everything else.
            if let ([series], true) = (held_out.as_mut_slice(), self.with_interval) {
                let bar = |(step, of): &(u64, Evaluation)| {
                    let (low, high) = of.exact_interval;
                    (*step as f64, low, high)
                };
                series.bars = found.map(bar).collect();
            }
            series.append(&mut held_out);
        }
        series
    }
}

const PANELS: [Panel; 5] = [
    Panel::new("loss", |metrics| Some(metrics.loss())),
    Panel {
        with_interval: true,
        ..Panel::accuracy("exact accuracy", Metrics::exact_accuracy, |found| {
            found.exact_accuracy
        })
    },
    Panel::accuracy("cell accuracy", Metrics::cell_accuracy, |found| {
        found.cell_accuracy
    }),
    Panel::new("segments", Metrics::mean_segments),
    Panel::accuracy("q accuracy", Metrics::q_halt_accuracy, |found| {
        found.q_halt_accuracy
    }),
];

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    check_picture(&args.out, "png", args.force)?;
    let mut read_runs = Vec::with_capacity(args.runs.len());
    for run in &args.runs {
        read_runs.push(read(run)?);
    }
    let charts = PANELS.iter().map(|panel| Chart {
        title: panel.title.to_owned(),
        x_label: "step".to_owned(),
        y_covers: panel.covers,
        series: (args.runs.iter().zip(&read_runs))
            .flat_map(|(name, run)| panel.series(&name.display().to_string(), run))
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
        reports: read_runs.iter().map(|run| run.reports.len()).collect(),
        evaluations: (read_runs.iter())
            .map(|run| run.evaluations.len())
            .collect(),
    };
    let runs = match args.runs.len() {
        1 => "1 run".to_owned(),
        several => format!("{several} runs"),
    };
    let text = format!("{}: curves of {runs}", args.out.display());
    console.result(&line, text)?;
    Ok(Outcome::Done)
}

/// Reports and evaluations of a run.
fn read(run: &Path) -> Result<Curves> {
    if !run.is_dir() {
        bail!(
            "{}: expected the folder of a run, found none",
            run.display()
        );
    }
    let file = metrics_path(run);
    if !file.is_file() {
        bail!(
            "{}: expected the curves of a run, found none",
            file.display()
        );
    }
    let mut curves = Curves::default();
    for line in read_metrics(run)? {
        match line {
            MetricsLine::Step(report) => {
                let metrics = report.metrics.map(|of| (report.step, of));
                curves.reports.extend(metrics);
            }
            MetricsLine::Evaluation {
                step, evaluation, ..
            } => curves.evaluations.push((step, evaluation)),
            _ => {}
        }
    }
    // A run that has gone back keeps the line of its best evaluation, before earlier steps.
    curves.evaluations.sort_by_key(|&(step, _)| step);
    curves.evaluations.dedup_by_key(|&mut (step, _)| step);
    if curves.reports.is_empty() {
        bail!(
            "{}: expected at least one report of a step, found none",
            file.display()
        );
    }
    Ok(curves)
}

/// The curve of a run; of many values, pale, and their smoothed course over it.
fn curves(name: &str, points: Vec<(f64, f64)>) -> Vec<Series> {
    if points.len() <= SMOOTHED {
        return vec![Series::new(name, points)];
    }
    let smooth = smoothed(&points, points.len() / 40);
    vec![
        Series::new(name, points).with_look(Look::Faint),
        Series::new(name, smooth),
    ]
}

/// Of each value, the straight line through it and `reach` neighbours on both sides, fewer at the ends, where it stands: in the
/// middle that is their mean. Values that aren't finite don't count.
fn smoothed(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let fit = |(at, &(x, _)): (usize, &(f64, f64))| {
        let near = &points[at.saturating_sub(reach)..(at + reach + 1).min(points.len())];
        let near = || near.iter().filter(|(_, y)| y.is_finite());
        let n = near().count() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| near().map(of).sum::<f64>() / n;
        let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
        let spread: f64 = near().map(|p| (p.0 - mean_x).powi(2)).sum();
        let slope = match spread > 0.0 {
            true => near().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread,
            false => 0.0,
        };
        let y = mean_y + slope * (x - mean_x);
        // An accuracy that has come near to 1 is not drawn beyond it.
        let (low, high) = near().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| {
            (low.min(p.1), high.max(p.1))
        });
        (x, y.max(low).min(high))
    };
    points.iter().enumerate().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_follows_a_straight_line_and_skips_what_is_not_finite() {
        let line: Vec<(f64, f64)> = (0..9).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        assert_eq!(smoothed(&line, 3), line);
        let mut broken = line.clone();
        broken[4].1 = f64::NAN;
        assert_eq!(smoothed(&broken, 1)[4].1, 8.0);
        assert!(smoothed(&[], 2).is_empty());
        let gap = smoothed(&[(0.0, f64::NAN); 3], 1);
        assert!(gap.iter().all(|(_, y)| !y.is_finite()));
    }

    #[test]
    fn the_ends_are_as_smooth_as_the_middle() {
        let noisy: Vec<(f64, f64)> = (0..101).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        for (x, y) in smoothed(&noisy, 20) {
            assert!((y - 0.5).abs() < 0.1, "{y} at {x}");
        }
    }

    #[test]
    fn many_evaluations_are_drawn_as_their_course() {
        let run = |evaluations: u64| Curves {
            reports: vec![(1, Metrics::default())],
            evaluations: (0..evaluations)
                .map(|step| (step, Evaluation::default()))
                .collect(),
        };
        let series = |run: &Curves| PANELS[1].series("run", run);
        let few = series(&run(60));
        assert_eq!((few.len(), few[1].bars.len()), (2, 60));
        let many = series(&run(61));
        assert_eq!(many.len(), 3);
        assert!(many.iter().all(|series| series.bars.is_empty()));
    }
}
