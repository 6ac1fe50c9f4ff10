//! The augmentations of a task vote on the answers to its tests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::augment::{ArcAugmentation, NameStyle};
use super::canvas;
use super::grid::{ArcTask, Grid};
use crate::{DataError, Identifiers};

/// Collects predictions for tasks, turned back to the original.
#[derive(Clone, Debug)]
pub struct Votes {
    tasks: BTreeMap<String, Vec<Test>>,
}

#[derive(Clone, Debug)]
struct Test {
    input: Grid,
    output: Option<Grid>,
    candidates: BTreeMap<Grid, Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    votes: u32,
    confidence: f64,
}

/// An answer that was voted for.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The answer.
    pub grid: Grid,
    /// How many predictions gave it.
    pub votes: u32,
    /// Mean of their sigmoid(q_halt), 0 to 1.
    pub confidence: f64,
}

/// How many tasks are solved when K answers may be given to each test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PassAtK {
    /// Answers allowed.
    pub k: usize,
    /// Tasks whose tests all have a known solution; others are not counted.
    pub tasks: usize,
    /// Tasks with all tests solved (HRM's rule), as a share of `tasks`; none without tasks.
    pub whole_tasks: Option<f64>,
    /// Mean over the tasks of the share of their tests that are solved (TRM's rule); none without tasks.
    pub test_shares: Option<f64>,
}

/// The two attempts at a test, as Kaggle wants them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempts {
    /// The best answer.
    pub attempt_1: Grid,
    /// The second best.
    pub attempt_2: Grid,
}

impl Votes {
    /// No votes yet on the tests of these tasks.
    pub fn new(tasks: &[ArcTask]) -> Self {
        let test = |pair: &super::Pair| Test {
            input: pair.input.clone(),
            output: pair.output.clone(),
            candidates: BTreeMap::new(),
        };
        Self {
            tasks: tasks
                .iter()
                .map(|task| (task.id.clone(), task.test.iter().map(test).collect()))
                .collect(),
        }
    }

    /// Counts a prediction, `[900]` tokens, for the puzzle with this id and these inputs, `[900]` tokens with the
    /// grid at (0, 0). `q_halt` is a logit. A prediction without a grid casts no vote; says whether it has cast one.
    ///
    /// # Errors
    /// [`DataError::ArcVote`] if the id is none of `names` or the inputs are no test of its task.
    ///
    /// # Panics
    /// If tokens are not 900.
    pub fn cast(
        &mut self,
        names: &Identifiers,
        puzzle_id: u32,
        inputs: &[u8],
        prediction: &[u8],
        q_halt: f32,
    ) -> Result<bool, DataError> {
        let (task, augmentation) =
            names
                .arc_puzzle(puzzle_id)
                .ok_or_else(|| DataError::ArcVote {
                    task: "unknown".to_owned(),
                    expected: "the id of a puzzle",
                    found: puzzle_id.to_string(),
                })?;
        self.cast_augmented(task, &augmentation, inputs, prediction, q_halt)
    }

    /// [`Votes::cast`] by a puzzle's name, for sets of other programs.
    ///
    /// # Errors
    /// [`DataError::ArcColours`] if the name is malformed; [`DataError::ArcVote`] if the inputs are no test of
    /// its task.
    ///
    /// # Panics
    /// If tokens are not 900.
    pub fn cast_named(
        &mut self,
        name: &str,
        style: NameStyle,
        inputs: &[u8],
        prediction: &[u8],
        q_halt: f32,
    ) -> Result<bool, DataError> {
        let (task, augmentation) = ArcAugmentation::parse_name(name, style)?;
        self.cast_augmented(task, &augmentation, inputs, prediction, q_halt)
    }

    /// [`Votes::cast`] for the puzzle that an augmentation makes of a task.
    ///
    /// # Errors
    /// [`DataError::ArcVote`] if there is no such task or the inputs are no test of it.
    ///
    /// # Panics
    /// If tokens are not 900.
    pub fn cast_augmented(
        &mut self,
        task: &str,
        augmentation: &ArcAugmentation,
        inputs: &[u8],
        prediction: &[u8],
        q_halt: f32,
    ) -> Result<bool, DataError> {
        let error = |expected, found: String| DataError::ArcVote {
            task: task.to_owned(),
            expected,
            found,
        };
        let inverse = augmentation.inverse();
        let input = canvas::crop(inputs)
            .map(|grid| inverse.apply(&grid))
            .ok_or_else(|| error("a grid at (0, 0) of the inputs", "none".to_owned()))?;
        let tests = self
            .tasks
            .get_mut(task)
            .ok_or_else(|| error("a task of the votes", "none of this name".to_owned()))?;
        let answer = canvas::crop(prediction).map(|grid| inverse.apply(&grid));
        let mut known = false;
        for test in tests.iter_mut().filter(|test| test.input == input) {
            known = true;
            if let Some(answer) = &answer {
                let tally = test.candidates.entry(answer.clone()).or_default();
                tally.votes += 1;
                tally.confidence += 1.0 / (1.0 + (-f64::from(q_halt)).exp());
            }
        }
        if known {
            Ok(answer.is_some())
        } else {
            Err(error("the input of a test", input.to_string()))
        }
    }

    /// The answers to a test, best first: by votes, then by mean confidence, then by the grids' own order.
    /// Empty where nothing was voted for or there is no such test.
    pub fn ranked(&self, task: &str, test: usize) -> Vec<Candidate> {
        let test = self.tasks.get(task).and_then(|tests| tests.get(test));
        test.map(Test::ranked).unwrap_or_default()
    }

    /// Pass@K for each K, by both counting rules.
    pub fn pass_at(&self, ks: &[usize]) -> Vec<PassAtK> {
        // The rank of the right answer to each test of each task that can be judged.
        let ranks: Vec<Vec<Option<usize>>> = self
            .tasks
            .values()
            .filter(|tests| !tests.is_empty())
            .filter_map(|tests| tests.iter().map(Test::rank).collect())
            .collect();
        let tasks = ranks.len();
        ks.iter()
            .map(|&k| {
                let solved = |tests: &Vec<Option<usize>>| {
                    let solved = tests.iter().flatten().filter(|&&rank| rank < k).count();
                    solved as f64 / tests.len() as f64
                };
                let shares = ranks.iter().map(solved);
                let whole = shares.clone().filter(|&share| share == 1.0).count();
                let mean = |sum: f64| (tasks > 0).then(|| sum / tasks as f64);
                PassAtK {
                    k,
                    tasks,
                    whole_tasks: mean(whole as f64),
                    test_shares: mean(shares.sum()),
                }
            })
            .collect()
    }

    /// Two attempts at every test of every task. Where there is one answer it is given twice, where there is
    /// none a single black cell.
    pub fn submission(&self) -> BTreeMap<String, Vec<Attempts>> {
        let attempts = |test: &Test| {
            let mut ranked = test.ranked().into_iter().map(|candidate| candidate.grid);
            let first = ranked
                .next()
                .unwrap_or_else(|| Grid::of_colours(1, 1, vec![0]));
            Attempts {
                attempt_2: ranked.next().unwrap_or_else(|| first.clone()),
                attempt_1: first,
            }
        };
        self.tasks
            .iter()
            .map(|(id, tests)| (id.clone(), tests.iter().map(attempts).collect()))
            .collect()
    }

    /// [`Votes::submission`] as the text of Kaggle's `submission.json`.
    ///
    /// # Errors
    /// [`DataError::Json`] does not occur for grids; it is there because writing JSON may fail.
    pub fn submission_json(&self) -> Result<String, DataError> {
        serde_json::to_string(&self.submission()).map_err(|reason| DataError::Json {
            path: "submission.json".into(),
            reason,
        })
    }
}

impl Test {
    fn ranked(&self) -> Vec<Candidate> {
        let mut ranked: Vec<Candidate> = self
            .candidates
            .iter()
            .map(|(grid, tally)| Candidate {
                grid: grid.clone(),
                votes: tally.votes,
                confidence: tally.confidence / f64::from(tally.votes),
            })
            .collect();
        ranked.sort_by(|a, b| {
            let by_votes = b.votes.cmp(&a.votes);
            // No number is least, whatever its sign.
            let sure = |candidate: &Candidate| match candidate.confidence {
                confidence if confidence.is_nan() => f64::NEG_INFINITY,
                confidence => confidence,
            };
            by_votes.then_with(|| sure(b).total_cmp(&sure(a)))
        });
        ranked
    }

    /// Where the solution stands among the answers, the inner `None` if nowhere; `None` without a solution.
    fn rank(&self) -> Option<Option<usize>> {
        let output = self.output.as_ref()?;
        Some(
            self.ranked()
                .iter()
                .position(|candidate| candidate.grid == *output),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::{ArcSettings, ArcSource, CELLS, PAD, TestUse, build_sets, draw, parse_task};
    use std::path::Path;

    fn task() -> ArcTask {
        let json = r#"{"train": [{"input": [[1, 2]], "output": [[2, 1]]}],
                       "test": [{"input": [[3, 4]], "output": [[4, 3]]},
                                {"input": [[5, 6]], "output": [[6, 5]]}]}"#;
        parse_task(json.as_bytes(), "t", Path::new("t.json")).unwrap()
    }

    fn tokens(cells: &[u8]) -> Vec<u8> {
        let mut tokens = vec![PAD; CELLS];
        draw(
            &Grid::from_rows(&[cells]).unwrap(),
            (0, 0),
            PAD,
            &mut tokens,
        );
        tokens
    }

    fn cast(votes: &mut Votes, input: &[u8], answer: &[u8], q_halt: f32) {
        let (input, answer) = (tokens(input), tokens(answer));
        votes
            .cast_named("t", NameStyle::Hrm, &input, &answer, q_halt)
            .unwrap();
    }

    #[test]
    fn a_confidence_that_is_no_number_comes_last() {
        for nan in [f32::NAN, -f32::NAN] {
            let mut votes = Votes::new(&[task()]);
            cast(&mut votes, &[3, 4], &[1], nan);
            cast(&mut votes, &[3, 4], &[4, 3], -9.0);
            let ranked = votes.ranked("t", 0);
            assert_eq!(ranked[0].grid.cells(), [4, 3]);
            assert!(ranked[1].confidence.is_nan());
        }
    }

    #[test]
    fn votes_come_before_confidence() {
        let mut votes = Votes::new(&[task()]);
        cast(&mut votes, &[3, 4], &[1], 9.0);
        cast(&mut votes, &[3, 4], &[4, 3], -9.0);
        cast(&mut votes, &[3, 4], &[4, 3], 0.0);
        cast(&mut votes, &[3, 4], &[2], 9.5);
        let ranked = votes.ranked("t", 0);
        let cells: Vec<&[u8]> = ranked.iter().map(|c| c.grid.cells()).collect();
        assert_eq!(cells, [&[4, 3][..], &[2], &[1]]);
        assert_eq!(ranked[0].votes, 2);
        assert!((ranked[0].confidence - 0.25).abs() < 1e-3);
        assert!(votes.ranked("t", 1).is_empty() && votes.ranked("t", 2).is_empty());
    }

    #[test]
    fn the_two_rules_count_a_half_solved_task_differently() {
        let mut votes = Votes::new(&[task()]);
        cast(&mut votes, &[3, 4], &[4, 3], 0.0);
        cast(&mut votes, &[5, 6], &[1], 1.0);
        cast(&mut votes, &[5, 6], &[6, 5], 0.0);
        let [first, second] = votes.pass_at(&[1, 2])[..] else {
            panic!("two values of k");
        };
        assert_eq!(
            (first.whole_tasks, first.test_shares),
            (Some(0.0), Some(0.5))
        );
        assert_eq!(
            (second.whole_tasks, second.test_shares),
            (Some(1.0), Some(1.0))
        );
        assert_eq!((first.k, first.tasks), (1, 1));
    }

    #[test]
    fn right_answers_under_all_augmentations_agree() {
        let tasks = [task()];
        let source = ArcSource {
            tasks: &tasks,
            tests: TestUse::Evaluate,
        };
        let settings = ArcSettings {
            augmentations: 200,
            ..ArcSettings::default()
        };
        let sets = build_sets(&[source], settings).unwrap();
        let mut votes = Votes::new(&sets.test_tasks);
        for (batch, rows) in sets.test.batches(16) {
            for row in 0..rows {
                let (input, label) = (batch.input(row), batch.label(row));
                votes
                    .cast(&sets.names, batch.puzzle_ids[row], input, label, 1.0)
                    .unwrap();
            }
        }
        let pass = votes.pass_at(&[1])[0];
        assert_eq!((pass.whole_tasks, pass.test_shares), (Some(1.0), Some(1.0)));
        assert_eq!(votes.ranked("t", 0)[0].votes, 201);
        assert_eq!(votes.ranked("t", 0).len(), 1);
    }

    #[test]
    fn tasks_without_solutions_are_not_judged() {
        let mut unsolved = task();
        unsolved.test[1].output = None;
        let votes = Votes::new(&[unsolved]);
        let pass = votes.pass_at(&[1])[0];
        assert_eq!(
            (pass.tasks, pass.whole_tasks, pass.test_shares),
            (0, None, None)
        );
    }

    #[test]
    fn the_submission_has_two_attempts_at_every_test() {
        let mut votes = Votes::new(&[task()]);
        cast(&mut votes, &[3, 4], &[4, 3], 0.0);
        assert_eq!(
            votes.submission_json().unwrap(),
            r#"{"t":[{"attempt_1":[[4,3]],"attempt_2":[[4,3]]},{"attempt_1":[[0]],"attempt_2":[[0]]}]}"#
        );
    }

    #[test]
    fn votes_for_what_is_not_asked_are_errors_and_empty_ones_are_not() {
        let mut votes = Votes::new(&[task()]);
        let error = |name: &str, input: &[u8], votes: &mut Votes| {
            votes
                .cast_named(name, NameStyle::Hrm, input, &tokens(&[1]), 0.0)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("t", &tokens(&[9]), &mut votes),
            "vote on task t: expected the input of a test, found 9"
        );
        assert_eq!(
            error("x", &tokens(&[9]), &mut votes),
            "vote on task x: expected a task of the votes, found none of this name"
        );
        let empty = [PAD; CELLS];
        votes
            .cast_named("t", NameStyle::Hrm, &tokens(&[3, 4]), &empty, 0.0)
            .unwrap();
        assert!(votes.ranked("t", 0).is_empty());
    }
}
