//! ARC: the answers to all augmentations of a task vote on its tests.

use std::path::{Path, PathBuf};

use anyhow::Result;
#[cfg(feature = "draw")]
use anyhow::bail;
use clap::Args as Arguments;
use hrm::data::arc::{ArcTask, PassAtK, Votes};
use hrm::prelude::*;
use serde::Serialize;

use super::Asked;
#[cfg(feature = "draw")]
use crate::files::check_picture;
use crate::files::{check_file, not_stdout, write_file};

/// Answers allowed, for pass@K.
const ALLOWED: [usize; 6] = [1, 2, 5, 10, 100, 1000];

/// What is wished of an ARC set.
#[derive(Debug, Arguments)]
#[command(next_help_heading = "ARC")]
pub(super) struct BallotOptions {
    /// Writes the two best answers to every test as Kaggle wants them, usually `submission.json`.
    #[arg(long, value_name = "FILE", conflicts_with = "curve")]
    submission: Option<PathBuf>,
    /// Draws the first tests with demonstrations of their task, the answer and the truth into a PNG file.
    #[cfg(feature = "draw")]
    #[arg(long, value_name = "FILE", conflicts_with = "curve")]
    png: Option<PathBuf>,
}

impl BallotOptions {
    /// Refuses what can't be met before anything is computed.
    pub(super) fn check(&self, force: bool) -> Result<()> {
        #[cfg(feature = "draw")]
        if let Some(path) = &self.png {
            check_picture(path, "png", force)?;
        }
        let Some(path) = &self.submission else {
            return Ok(());
        };
        #[cfg(feature = "draw")]
        if self.png.as_ref() == Some(path) {
            bail!(
                "--submission and --png: expected two files, found {}",
                path.display()
            );
        }
        not_stdout(path)?;
        check_file(path, force)
    }

    /// Whether something is wished that only ARC sets have.
    pub(super) fn is_wanted(&self) -> bool {
        #[cfg(feature = "draw")]
        let is_drawn = self.png.is_some();
        #[cfg(not(feature = "draw"))]
        let is_drawn = false;
        is_drawn || self.submission.is_some()
    }
}

/// The votes as they come in.
pub(super) struct Ballot<'a> {
    set: &'a PuzzleSet,
    votes: Votes,
    tasks: Vec<ArcTask>,
    cast: u64,
}

/// What the votes came to.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    /// Tasks asked about.
    tasks: usize,
    /// Predictions that voted.
    votes: u64,
    /// Of the tasks whose tests all have a known solution.
    pass_at: Vec<PassAtK>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::console::lossy_if_any"
    )]
    submission: Option<&'a Path>,
}

impl<'a> Ballot<'a> {
    pub(super) fn new(asked: &Asked<'a>) -> Result<Self> {
        let tasks = asked.set.arc_tasks(asked.total)?;
        Ok(Self {
            set: asked.set,
            votes: Votes::new(&tasks),
            tasks,
            cast: 0,
        })
    }

    /// Counts an answer.
    pub(super) fn cast(&mut self, answer: &Answer) -> Result<()> {
        let example = self.set.example(answer.index);
        let Some(names) = self.set.identifiers() else {
            return Ok(());
        };
        let (inputs, q_halt) = (&example.inputs, answer.q_halt);
        let cast = self
            .votes
            .cast(names, example.puzzle_id, inputs, &answer.tokens, q_halt)?;
        self.cast += u64::from(cast);
        Ok(())
    }

    /// Counts the votes.
    pub(super) fn count<'o>(&self, options: &'o BallotOptions) -> Outcome<'o> {
        Outcome {
            tasks: self.tasks.len(),
            votes: self.cast,
            pass_at: self.votes.pass_at(&ALLOWED),
            submission: options.submission.as_deref(),
        }
    }

    /// Writes what is wished.
    pub(super) fn write(&self, options: &BallotOptions, data: &Path, force: bool) -> Result<()> {
        if let Some(path) = &options.submission {
            let text = self.votes.submission_json()?;
            write_file(path, force, |out| Ok(out.write_all(text.as_bytes())?))?;
        }
        #[cfg(feature = "draw")]
        if let Some(path) = &options.png {
            // Demonstrations are the training split's, where the folder has it.
            let shown = PuzzleSet::load(data, "train").and_then(|set| set.arc_tasks(usize::MAX));
            let png = sheet(&self.tasks, &shown.unwrap_or_default(), &self.votes)?;
            write_file(path, force, |out| Ok(out.write_all(&png)?))?;
        }
        #[cfg(not(feature = "draw"))]
        let _ = data;
        Ok(())
    }
}

/// Tests on a sheet, and demonstrations before each.
#[cfg(feature = "draw")]
const SHOWN: (usize, usize) = (12, 2);

/// The first tests as a PNG file's bytes: demonstrations, question, answer, truth.
#[cfg(feature = "draw")]
fn sheet(tasks: &[ArcTask], demonstrated: &[ArcTask], votes: &Votes) -> Result<Vec<u8>> {
    use hrm::draw::{Sheet, Tile};

    let tests = tasks
        .iter()
        .flat_map(|task| task.test.iter().enumerate().map(move |test| (task, test)));
    let mut rows = Vec::new();
    for (task, (number, test)) in tests.take(SHOWN.0) {
        let mut row = Vec::new();
        let demonstrations = demonstrated.iter().filter(|other| other.id == task.id);
        let pairs = demonstrations.flat_map(|task| &task.test).take(SHOWN.1);
        for (number, pair) in pairs.enumerate() {
            let caption = format!("shown {}", number + 1);
            row.push(Tile::arc(&pair.input).with_caption(caption));
            row.extend(pair.output.iter().map(Tile::arc));
        }
        row.push(Tile::arc(&test.input).with_caption(format!("{} asked {}", task.id, number + 1)));
        let best = votes.ranked(&task.id, number).into_iter().next();
        let right = best
            .as_ref()
            .map(|best| Some(&best.grid) == test.output.as_ref());
        if let Some(best) = best {
            let said = match (right, &test.output) {
                (_, None) => "",
                (Some(true), _) => ", right",
                _ => ", wrong",
            };
            let caption = format!("answer, {} votes{said}", best.votes);
            row.push(Tile::arc(&best.grid).with_caption(caption));
        }
        if let Some(truth) = &test.output {
            row.push(Tile::arc(truth).with_caption("truth"));
        }
        rows.push(row);
    }
    let sheet = Sheet {
        title: "ARC: demonstrations, question, answer, truth".to_owned(),
        note: String::new(),
        rows,
    };
    Ok(sheet.render()?.png()?)
}

impl std::fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let judged = self.pass_at.first().map_or(0, |pass| pass.tasks);
        write!(
            f,
            "{} predictions vote on {} tasks, {judged} of them with solutions",
            self.votes, self.tasks
        )?;
        if judged > 0 {
            let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
            write!(f, "\npass@         ")?;
            for pass in &self.pass_at {
                write!(f, " {:>7}", pass.k)?;
            }
            write!(f, "\nall its tests ")?;
            for pass in &self.pass_at {
                write!(f, " {:>6.2}%", percent(pass.whole_tasks))?;
            }
            write!(f, "  of the tasks (HRM's rule)\nshare of tests")?;
            for pass in &self.pass_at {
                write!(f, " {:>6.2}%", percent(pass.test_shares))?;
            }
            write!(f, "  on average (TRM's rule)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hrm::data::arc::{ArcSettings, ArcSource, TestUse, build_sets, parse_task};

    /// Two tasks of one colour each, whose tests ask for the grid turned upside down; the second has two tests.
    fn set() -> PuzzleSet {
        let task = |id: &str, json: &str| parse_task(json.as_bytes(), id, Path::new("t")).unwrap();
        let tasks = [
            task(
                "a",
                r#"{"train": [{"input": [[1], [2]], "output": [[2], [1]]}],
                    "test": [{"input": [[3], [4]], "output": [[4], [3]]}]}"#,
            ),
            task(
                "b",
                r#"{"train": [{"input": [[1], [2]], "output": [[2], [1]]}],
                    "test": [{"input": [[5], [6]], "output": [[6], [5]]}, {"input": [[7], [8]], "output": [[8], [7]]}]}"#,
            ),
        ];
        let source = ArcSource {
            tasks: &tasks,
            tests: TestUse::Evaluate,
        };
        let settings = ArcSettings {
            augmentations: 3,
            ..ArcSettings::default()
        };
        build_sets(&[source], settings).unwrap().test
    }

    fn answer(index: usize, tokens: Vec<u8>, q_halt: f32) -> Answer {
        Answer {
            index,
            tokens,
            segments: 1,
            q_halt,
            q_continue: 0.0,
            confidence: 0.5,
            verified: None,
            trace: Vec::new(),
            trace_q_halt: Vec::new(),
            attempts: 1,
            votes: 1,
            total_segments: 1,
        }
    }

    #[test]
    fn votes_are_counted_as_by_hand() {
        let set = set();
        // Task a: four puzzles of one test each; task b: four puzzles of two.
        assert_eq!(set.num_examples(), 4 + 8);
        let asked = Asked {
            set: &set,
            total: set.num_examples(),
        };
        let mut ballot = Ballot::new(&asked).unwrap();
        for index in 0..set.num_examples() {
            let example = set.example(index);
            let (question, label) = (example.inputs.to_vec(), example.labels.to_vec());
            let right: Vec<u8> = label
                .iter()
                .map(|&t| if t == 255 { 0 } else { t })
                .collect();
            let tokens = match index {
                // a: one right of four; the other three repeat the question and agree: right at the second place.
                0 => right,
                1..=3 => question,
                // b, first test (every other example): always right.
                index if index % 2 == 0 => right,
                // b, second test: no grid at all, no vote.
                _ => vec![0; 900],
            };
            ballot.cast(&answer(index, tokens, 0.0)).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let options = BallotOptions {
            submission: Some(folder.path().join("submission.json")),
            #[cfg(feature = "draw")]
            png: None,
        };
        let outcome = ballot.count(&options);
        ballot.write(&options, folder.path(), false).unwrap();
        assert_eq!((outcome.tasks, outcome.votes), (2, 8));
        let found: Vec<_> = (outcome.pass_at.iter())
            .map(|pass| (pass.k, pass.tasks, pass.whole_tasks, pass.test_shares))
            .collect();
        // With one answer: a no, b half. With two: a yes, b half.
        assert_eq!(found[0], (1, 2, Some(0.0), Some(0.25)));
        for (k, found) in [2, 5, 10, 100, 1000].into_iter().zip(&found[1..]) {
            assert_eq!(*found, (k, 2, Some(0.5), Some(0.75)));
        }
        let text = outcome.to_string();
        assert!(
            text.contains("8 predictions vote on 2 tasks, 2 of them"),
            "{text}"
        );
        assert!(
            text.contains("0.00%  50.00%") && text.contains("25.00%  75.00%"),
            "{text}"
        );
        let written = std::fs::read_to_string(folder.path().join("submission.json")).unwrap();
        assert_eq!(
            written,
            r#"{"a":[{"attempt_1":[[3],[4]],"attempt_2":[[4],[3]]}],"b":[{"attempt_1":[[6],[5]],"attempt_2":[[6],[5]]},{"attempt_1":[[0]],"attempt_2":[[0]]}]}"#
        );
    }
}
