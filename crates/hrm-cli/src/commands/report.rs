//! `hrm report`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::prelude::*;
use hrm::train::{Difference, MetricsLine, differences, latest_step, read_metrics};
use serde::Serialize;

use crate::Outcome;
use crate::console::Console;

/// Put runs beside each other: mean and spread over the seeds.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: three seeds of a recipe, as a table in Markdown
  hrm report seed1 seed2 seed3
  hrm report runs/* --json

Runs of equal preset, data, first weights and configuration but for the seed are one line; what was changed while they ran counts. \
A spread is the standard deviation over the runs (of n - 1) and the range, of those that have ended where some have and others \
have not. Of runs that evaluate, the accuracies on the held-out puzzles are told; those of the training are of \
the last report in `metrics.jsonl` in which a puzzle was finished.

A configuration is told by its preset and by the fields in which it differs from the first of the same preset; the data and the \
weights that it began with are told where they are not those of the first line.")]
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
    /// Made all its steps, or stopped early.
    ended: bool,
    /// From which it went back to a checkpoint.
    faults: usize,
    /// Whether it has ended with a fault that it did not go back from.
    gave_up: bool,
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
    /// Fields in which it differs from the first group of its preset, what was changed while it ran, and its data and first weights
    /// where they are not those of the first group of all.
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
    let mut found = Vec::with_capacity(args.runs.len());
    let mut known = HashSet::new();
    for dir in &args.runs {
        if !known.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())) {
            bail!("{}: expected each run once, found it twice", dir.display());
        }
        let file = RunFile::read(dir)?;
        let result = Made::read(dir, &file)?;
        let has_faults = result.faults > 0 || result.gave_up;
        if result.loss.is_none() && result.last.is_none() && !has_faults {
            bail!(
                "{}: nothing is reported in its metrics.jsonl yet",
                dir.display()
            );
        }
        found.push((file, result));
    }
    let groups = groups(found)?;
    for group in &groups {
        console.object(group)?;
    }
    console.text(markdown(&groups).trim_end())?;
    Ok(Outcome::Done)
}

/// Runs that are equal but for the seed together, in the order of the first of each.
fn groups(runs: Vec<(RunFile, Made)>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for (mut file, result) in runs {
        file.config.seed = 0;
        for change in &mut file.changes {
            // Their length is told of each run.
            change.fields.retain(|field| field.key != "steps");
        }
        file.changes.retain(|change| !change.fields.is_empty());
        match groups.iter_mut().find(|group| group.file == file) {
            Some(group) => group.runs.push(result),
            None => groups.push(Group::new(file, result)),
        }
    }
    let files: Vec<RunFile> = groups.iter().map(|group| group.file.clone()).collect();
    for group in &mut groups {
        group.compare(&files)?;
        group.measure();
    }
    Ok(groups)
}

impl Made {
    fn read(dir: &Path, file: &RunFile) -> Result<Self> {
        let mut result = Self {
            run: dir.to_owned(),
            seed: file.config.seed,
            step: 0,
            steps: file.config.steps,
            ended: false,
            faults: 0,
            gave_up: false,
            loss: None,
            train_exact: None,
            last: None,
            best: None,
        };
        let mut evaluations: Vec<Held> = Vec::new();
        for line in read_metrics(dir)? {
            // In their order: after a fault the run is where it went back to.
            result.gave_up =
                matches!(&line, MetricsLine::Fault { fault, .. } if fault.remedy.is_none());
            if result.gave_up {
                continue;
            }
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
        // One that was interrupted between two reports has come further.
        result.step = result.step.max(latest_step(dir)?.unwrap_or(0));
        let worse = evaluations
            .iter()
            .filter(|held| result.best.is_some_and(|best| held.step > best.step))
            .count() as u64;
        let stopped_early =
            (file.config.eval_patience).is_some_and(|patience| worse >= u64::from(patience));
        result.last = evaluations.pop();
        // The last step is evaluated, too, before a run has ended.
        let evaluated = file.config.eval_every.is_none()
            || (result.last).is_some_and(|held| held.step >= result.steps);
        result.ended = (result.step >= result.steps && evaluated) || stopped_early;
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
    fn compare(&mut self, all: &[RunFile]) -> Result<()> {
        if let Some(first) = all.first() {
            if first.data != self.data {
                self.differs.push(format!("data={}", self.data.display()));
            }
            if first.initial != self.file.initial {
                self.differs.push(match &self.file.initial {
                    Some(path) => format!("weights of {}", path.display()),
                    None => "random weights".to_owned(),
                });
            }
        }
        if let Some(first) = all.iter().find(|file| file.preset == self.preset) {
            let fields = differences(&first.first_config()?, &self.file.first_config()?);
            let fields = fields.iter();
            self.differs
                .extend(fields.map(|field| format!("{}={}", field.key, field.to)));
        }
        for change in &self.file.changes {
            let fields = change.fields.iter();
            self.differs.extend(fields.map(|field| {
                let Difference { key, to, .. } = field;
                format!("{key}={to} after step {}", change.step)
            }));
        }
        Ok(())
    }

    fn measure(&mut self) {
        let some_ended = self.runs.iter().any(|run| run.ended);
        let spread = |value: fn(&Made) -> Option<f64>| {
            let runs = self.runs.iter().filter(|run| run.ended || !some_ended);
            let values: Option<Vec<f64>> = runs.map(value).collect();
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

    /// How many runs, and how many of them are not counted in or have not ended any.
    fn count(&self) -> String {
        let (all, open) = (
            self.runs.len(),
            self.runs.iter().filter(|run| !run.ended).count(),
        );
        match open {
            0 => all.to_string(),
            open if open == all => format!("{all}, not ended"),
            open => format!("{}, without {open} not ended", all - open),
        }
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

/// As a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
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
            escaped(&group.name()),
            group.count(),
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
            escaped(&run.run.display().to_string()),
            run.seed,
            run.step,
            run.steps,
            match run.gave_up {
                true => format!("{}, gave up", run.faults),
                false => run.faults.to_string(),
            }
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> RunFile {
        let puzzles = hrm::data::sudoku::Generator::new(SudokuSize::Four).puzzles(2, 1);
        let set =
            PuzzleSet::from_sudokus(&puzzles.unwrap(), SudokuSize::Four, Augmentation::Sudoku);
        let config = Preset::by_name("trm-small").unwrap().config(&set.unwrap());
        RunFile::new("data", config)
    }

    #[test]
    fn runs_are_together_only_where_they_are_one_experiment() {
        let made = |run: &str, ended, loss| Made {
            run: run.into(),
            seed: 1,
            step: 10,
            steps: 20,
            ended,
            faults: 0,
            gave_up: false,
            loss: Some(loss),
            train_exact: None,
            last: None,
            best: None,
        };
        let changed = |key: &str, from: &str, to: &str| {
            let mut file = file();
            file.config.set(key, to).unwrap();
            file.changes.push(hrm::train::Change {
                step: 5,
                fields: vec![Difference {
                    key: key.to_owned(),
                    from: serde_json::from_str(from).unwrap(),
                    to: serde_json::from_str(to).unwrap(),
                }],
            });
            file
        };
        let rate = file().config.optimizer.lr.to_string();
        let steps = file().config.steps.to_string();
        let mut tuned = file();
        tuned.initial = Some("base".into());
        let mut longer = changed("steps", &steps, "77");
        longer.config.seed = 9;
        let mut planned = file();
        planned.config.steps = 77;
        let found = groups(vec![
            // The one with the change comes first, and is not what the others are told by.
            (changed("optimizer.lr", &rate, "0.5"), made("a", true, 1.0)),
            (file(), made("b", true, 2.0)),
            (file(), made("c", false, 9.0)),
            (tuned, made("d|e", false, 3.0)),
            (longer, made("f", true, 4.0)),
            (planned, made("g", true, 6.0)),
        ])
        .unwrap();
        let told: Vec<(&[String], String, f64)> = found
            .iter()
            .map(|group| (&group.differs[..], group.count(), group.loss.unwrap().mean))
            .collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0].0, ["optimizer.lr=0.5 after step 5"]);
        assert_eq!(told[1], (&[][..], "1, without 1 not ended".to_owned(), 2.0));
        assert_eq!(told[2].0, ["weights of base"]);
        assert_eq!((&*told[2].1, told[2].2), ("1, not ended", 3.0));
        assert_eq!((told[3].0, told[3].2), (&["steps=77".to_owned()][..], 5.0));
        assert!(markdown(&found).contains("| d\\|e |"));
    }

    #[test]
    fn a_run_that_has_gone_back_is_where_it_went_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = file();
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
            MetricsLine::Fault {
                step: 400,
                fault: fault.clone(),
            },
        ];
        let text: String = lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap() + "\n")
            .collect();
        let metrics = folder.path().join("metrics.jsonl");
        std::fs::write(&metrics, &text).unwrap();
        let made = Made::read(folder.path(), &file).unwrap();
        assert_eq!((made.step, made.faults, made.gave_up), (400, 1, false));
        assert_eq!(made.last.map(|held| held.step), Some(250));
        assert_eq!(made.best.map(|held| held.step), Some(500));
        // Where it gave up, it is where it went back to last.
        let last = MetricsLine::Fault {
            step: 425,
            fault: hrm::train::Fault {
                remedy: None,
                ..fault
            },
        };
        let text = text + &serde_json::to_string(&last).unwrap() + "\n";
        std::fs::write(&metrics, text).unwrap();
        let made = Made::read(folder.path(), &file).unwrap();
        assert_eq!((made.step, made.faults, made.gave_up), (400, 1, true));
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
