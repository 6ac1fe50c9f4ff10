//! The tasks that a set asks about, read back from its examples.

use std::collections::HashMap;

use super::canvas::{CELLS, crop};
use super::grid::{ArcTask, Pair};
use crate::{DataError, PuzzleSet};

impl PuzzleSet {
    /// The ARC tasks that the first `examples` examples ask about, for [`Votes`](super::Votes): each with its questions as
    /// tests, turned back to the original, in the order of the set; a test whose label is ignored has no output. They have no
    /// demonstrations: these are another split's.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if the set is none of ARC tasks or its puzzle ids have no names; [`DataError::ArcVote`] if a
    /// question has no grid at (0, 0).
    pub fn arc_tasks(&self, examples: usize) -> Result<Vec<ArcTask>, DataError> {
        let cells = self.info().seq_len;
        if cells != CELLS {
            return Err(DataError::mismatch("seq_len of an ARC set", CELLS, cells));
        }
        let names = self.identifiers().ok_or_else(|| {
            DataError::mismatch("identifiers.json", "names of the puzzle ids", "none")
        })?;
        // By task: the puzzle that told it, and its place.
        let mut known = HashMap::new();
        let mut tasks: Vec<ArcTask> = Vec::new();
        for puzzle in 0..self.num_puzzles() {
            let asked = self.puzzle(puzzle);
            if asked.start >= examples {
                break;
            }
            let id = self.puzzle_id(puzzle);
            let Some((task, augmentation)) = names.arc_puzzle(id) else {
                return Err(DataError::mismatch("puzzle id", "one with a name", id));
            };
            // Other programs may have several puzzles of one id, a test in each.
            let (told, at) = *known.entry(task).or_insert_with(|| {
                tasks.push(ArcTask {
                    id: task.to_owned(),
                    train: Vec::new(),
                    test: Vec::new(),
                });
                (id, tasks.len() - 1)
            });
            if told != id {
                continue;
            }
            let inverse = augmentation.inverse();
            let pair = |index: usize| {
                let example = self.example(index);
                let input = crop(&example.inputs).ok_or_else(|| DataError::ArcVote {
                    task: task.to_owned(),
                    expected: "a grid at (0, 0) of the inputs",
                    found: "none".to_owned(),
                })?;
                Ok(Pair {
                    input: inverse.apply(&input),
                    output: crop(&example.labels).map(|grid| inverse.apply(&grid)),
                })
            };
            let tests = asked.map(pair).collect::<Result<Vec<_>, DataError>>()?;
            tasks[at].test.extend(tests);
        }
        Ok(tasks)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::SetInfo;
    use crate::arc::{ArcSettings, ArcSource, TestUse, build_sets, parse_task};
    use crate::sudoku::SudokuSize;

    use super::*;

    #[test]
    fn tasks_are_read_back_from_any_puzzle_of_theirs() {
        let task = |id: &str, json: &str| parse_task(json.as_bytes(), id, Path::new("t")).unwrap();
        let tasks = [
            task(
                "a",
                r#"{"train": [{"input": [[1, 2]], "output": [[2, 1]]}],
                    "test": [{"input": [[3, 4, 0]], "output": [[4], [3]]}, {"input": [[5]]}]}"#,
            ),
            task(
                "b",
                r#"{"train": [{"input": [[7, 2]], "output": [[2, 7]]}],
                    "test": [{"input": [[0, 0], [8, 9]], "output": [[9]]}]}"#,
            ),
        ];
        let source = ArcSource {
            tasks: &tasks,
            tests: TestUse::Evaluate,
        };
        let settings = ArcSettings {
            augmentations: 6,
            ..ArcSettings::default()
        };
        let test = build_sets(&[source], settings).unwrap().test;
        let found = test.arc_tasks(usize::MAX).unwrap();
        assert_eq!(found.len(), 2);
        for (found, task) in found.iter().zip(&tasks) {
            assert_eq!((&found.id, &found.test), (&task.id, &task.test));
        }
        assert_eq!(test.arc_tasks(1).unwrap().len(), 1);
        // A set that begins with augmented puzzles tells the same tasks.
        let later = test.subset(1..2);
        assert_eq!(later.arc_tasks(9).unwrap()[0].test, tasks[1].test);

        // Puzzles of one id, as other programs may have them, are tests of one task.
        let mut one_id = test.subset(0..1);
        one_id.puzzle_ids[1] = one_id.puzzle_ids[0];
        let inputs = |task: &ArcTask| {
            task.test
                .iter()
                .map(|pair| pair.input.clone())
                .collect::<Vec<_>>()
        };
        let found = one_id.arc_tasks(usize::MAX).unwrap();
        assert_eq!(inputs(&found[0]).len(), 4);
        assert_eq!(inputs(&found[0])[..2], inputs(&tasks[0]));

        let info = SetInfo::sudoku(SudokuSize::Four);
        let sudoku = PuzzleSet::from_examples(info, vec![1; 16], vec![2; 16]).unwrap();
        let error = sudoku.arc_tasks(1).unwrap_err().to_string();
        assert!(error.contains("900") && error.contains("16"), "{error}");
    }
}
