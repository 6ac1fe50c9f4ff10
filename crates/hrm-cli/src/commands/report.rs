//! `hrm report`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::prelude::*;
use hrm::train::{MetricsLine, differences, read_metrics};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// Put runs beside each other: mean and spread over the seeds.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: three seeds of a recipe, as a table in Markdown
  hrm report seed1 seed2 seed3
  hrm report runs/* --json

Runs of equal preset, data and configuration but for the seed are one line. A spread is the standard deviation over the runs \
(of n - 1) and the range. Of runs that evaluate, the accuracies on the held-out puzzles are told; those of the training are of \
the last report in `metrics.jsonl` in which a puzzle was finished.

A configuration is told by its preset and by the fields in which it differs from the first of the same preset; the data are told \
where they are not those of the first line.")]
pub(crate) struct Args {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// What a run has come to.
#[derive(Clone, Debug, Serialize)]
struct Made {
    #[serde(serialize_with = "crate::console::lossy")]
    run: PathBuf,
    seed: u64,
    step: u64,
    steps: u64,
    faults: usize,
    loss: Option<f64>,
    train_exact: Option<f64>,
    /// The last evaluation on held-out puzzles.
    last: Option<Held>,
    best: Option<Held>,
}

/// An evaluation in a run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Held {
    step: u64,
    puzzles: u64,
    exact_accuracy: f64,
    exact_interval: (f64, f64),
    cell_accuracy: f64,
}

/// Runs of one configuration.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "report")]
struct Group {
    preset: Option<String>,
    #[serde(serialize_with = "crate::console::lossy")]
    data: PathBuf,
    /// Fields in which it differs from the first group of its preset, and its data where they are not those of the first
    /// group of all.
    differs: Vec<String>,
    runs: Vec<Made>,
    best_exact_accuracy: Option<Spread>,
    last_exact_accuracy: Option<Spread>,
    last_cell_accuracy: Option<Spread>,
    train_exact_accuracy: Option<Spread>,
    loss: Option<Spread>,
    #[serde(skip)]
    file: RunFile,
}

/// Mean and spread over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    runs: usize,
    mean: f64,
    /// Of n - 1; none for a single run.
    standard_deviation: Option<f64>,
    min: f64,
    max: f64,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known = HashSet::new();
    for dir in &args.runs {
        if !known.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())) {
            bail!("{}: expected each run once, found it twice", dir.display());
        }
        let mut file = RunFile::read(dir)?;
        let result = Made::read(dir, &file)?;
        if result.loss.is_none() && result.last.is_none() {
            bail!(
                "{}: nothing is reported in its metrics.jsonl yet",
                dir.display()
            );
        }
        file.config.seed = 0;
        match groups.iter_mut().find(|group| group.file == file) {
            Some(group) => group.runs.push(result),
            None => groups.push(Group::new(file, result)),
        }
    }
    let files: Vec<RunFile> = groups.iter().map(|group| group.file.clone()).collect();
    for group in &mut groups {
        group.compare(&files);
    }
    for group in &mut groups {
        group.measure();
        console.object(group)?;
    }
    console.text(markdown(&groups).trim_end())?;
    Ok(Outcome::Done)
}

impl Made {
    fn read(dir: &Path, file: &RunFile) -> Result<Self> {
        let mut result = Self {
            run: dir.to_owned(),
            seed: file.config.seed,
            step: 0,
            steps: file.config.steps,
            faults: 0,
            loss: None,
            train_exact: None,
            last: None,
            best: None,
        };
        let mut evaluations: Vec<Held> = Vec::new();
        for line in read_metrics(dir)? {
            // In their order: after a fault the run is where it went back to.
            result.step = line.step();
            match line {
                MetricsLine::Step(report) => {
                    if let Some(metrics) = report.metrics {
                        result.loss = Some(metrics.loss());
                        result.train_exact = metrics.exact_accuracy().or(result.train_exact);
                    }
                }
                MetricsLine::Evaluation {
                    step,
                    evaluation,
                    best,
                } => {
                    let held = Held {
                        step,
                        puzzles: evaluation.puzzles,
                        exact_accuracy: evaluation.exact_accuracy,
                        exact_interval: evaluation.exact_interval,
                        cell_accuracy: evaluation.cell_accuracy,
                    };
                    evaluations.push(held);
                    if best {
                        result.best = Some(held);
                    }
                }
                MetricsLine::Fault { step, .. } => {
                    result.faults += 1;
                    evaluations.retain(|held| held.step <= step);
                }
                _ => {}
            }
        }
        result.last = evaluations.pop();
        Ok(result)
    }
}

impl Group {
    fn new(file: RunFile, result: Made) -> Self {
        Self {
            preset: file.preset.clone(),
            data: file.data.clone(),
            differs: Vec::new(),
            runs: vec![result],
            best_exact_accuracy: None,
            last_exact_accuracy: None,
            last_cell_accuracy: None,
            train_exact_accuracy: None,
            loss: None,
            file,
        }
    }

    /// Notes what it has otherwise than the groups before it. Another recipe differs in more than a line of a table can hold,
    /// and its name tells it.
    fn compare(&mut self, all: &[RunFile]) {
        if all.first().is_some_and(|first| first.data != self.data) {
            self.differs.push(format!("data={}", self.data.display()));
        }
        let of_preset = all.iter().find(|file| file.preset == self.preset);
        let fields = of_preset.map(|first| differences(&first.config, &self.file.config));
        self.differs.extend(
            (fields.into_iter().flatten()).map(|field| format!("{}={}", field.key, field.to)),
        );
    }

    fn measure(&mut self) {
        let spread = |value: fn(&Made) -> Option<f64>| {
            let values: Option<Vec<f64>> = self.runs.iter().map(value).collect();
            values.and_then(|values| Spread::of(&values))
        };
        let best = spread(|run| run.best.map(|held| held.exact_accuracy));
        let last = spread(|run| run.last.map(|held| held.exact_accuracy));
        let cells = spread(|run| run.last.map(|held| held.cell_accuracy));
        let train = spread(|run| run.train_exact);
        let loss = spread(|run| run.loss);
        self.best_exact_accuracy = best;
        self.last_exact_accuracy = last;
        self.last_cell_accuracy = cells;
        self.train_exact_accuracy = train;
        self.loss = loss;
    }

    fn name(&self) -> String {
        let preset = self.preset.as_deref().unwrap_or("own configuration");
        match self.differs.is_empty() {
            true => preset.to_owned(),
            false => format!("{preset}, {}", self.differs.join(", ")),
        }
    }
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            runs: values.len(),
            mean,
            standard_deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
        })
    }

    /// "75.3 ± 2.1 (73.0 to 77.0)", of values times `scale`.
    fn show(&self, scale: f64, decimals: usize) -> String {
        let text = |value: f64| format!("{:.decimals$}", scale * value);
        match self.standard_deviation {
            None => text(self.mean),
            Some(deviation) => format!(
                "{} ± {} ({} to {})",
                text(self.mean),
                text(deviation),
                text(self.min),
                text(self.max)
            ),
        }
    }
}

fn markdown(groups: &[Group]) -> String {
    let mut text = String::from(
        "| configuration | runs | held-out exact %, best | held-out exact %, last | held-out cells % | training exact % | loss |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let cell = |spread: &Option<Spread>, scale, decimals| {
        spread.map_or_else(|| "-".to_owned(), |spread| spread.show(scale, decimals))
    };
    for group in groups {
        // A string takes what is written to it.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            group.name().replace('|', "\\|"),
            group.runs.len(),
            cell(&group.best_exact_accuracy, 100.0, 1),
            cell(&group.last_exact_accuracy, 100.0, 1),
            cell(&group.last_cell_accuracy, 100.0, 1),
            cell(&group.train_exact_accuracy, 100.0, 1),
            cell(&group.loss, 1.0, 4),
        );
    }
    text += "\n| run | seed | steps | held-out exact %, best (95% interval) | at step | faults |\n|---|---|---|---|---|---|\n";
    for run in groups.iter().flat_map(|group| &group.runs) {
        let (best, at) = match run.best {
            None => ("-".to_owned(), "-".to_owned()),
            Some(held) => {
                let (low, high) = held.exact_interval;
                let best = format!(
                    "{:.1} ({:.1} to {:.1})",
                    100.0 * held.exact_accuracy,
                    100.0 * low,
                    100.0 * high
                );
                (best, held.step.to_string())
            }
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {best} | {at} | {} |",
            run.run.display(),
            run.seed,
            run.step,
            run.steps,
            run.faults
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_gone_back_is_where_it_went_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let puzzles = hrm::data::sudoku::Generator::new(SudokuSize::Four).puzzles(2, 1);
        let set =
            PuzzleSet::from_sudokus(&puzzles.unwrap(), SudokuSize::Four, Augmentation::Sudoku);
        let config = Preset::by_name("trm-small").unwrap().config(&set.unwrap());
        let file = RunFile {
            preset: None,
            data: "data".into(),
            config,
        };
        let evaluation = |step, exact, best| MetricsLine::Evaluation {
            step,
            evaluation: Evaluation {
                puzzles: 10,
                exact,
                ..Evaluation::default()
            },
            best,
        };
        let fault = hrm::train::Fault {
            found: 550,
            reason: "spoilt".to_owned(),
            remedy: Some(hrm::train::Remedy::LowerRate),
            rate: 0.5,
        };
        let lines = [
            evaluation(250, 3, true),
            // Kept, since its weights are.
            evaluation(500, 7, true),
            MetricsLine::Fault { step: 400, fault },
        ];
        let text: String = lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap() + "\n")
            .collect();
        std::fs::write(folder.path().join("metrics.jsonl"), text).unwrap();
        let made = Made::read(folder.path(), &file).unwrap();
        assert_eq!((made.step, made.faults), (400, 1));
        assert_eq!(made.last.map(|held| held.step), Some(250));
        assert_eq!(made.best.map(|held| held.step), Some(500));
    }

    #[test]
    fn a_spread_by_hand() {
        let spread = Spread::of(&[0.70, 0.75, 0.80]).unwrap();
        assert!((spread.mean - 0.75).abs() < 1e-12);
        assert!((spread.standard_deviation.unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(spread.show(100.0, 1), "75.0 ± 5.0 (70.0 to 80.0)");
        let one = Spread::of(&[0.5]).unwrap();
        assert_eq!(one.standard_deviation, None);
        assert_eq!(one.show(1.0, 2), "0.50");
        assert_eq!(Spread::of(&[]), None);
    }
}
