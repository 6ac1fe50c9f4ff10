//! Puzzle sets of ARC tasks: originals and the codes of their augmentations.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::augment::{ArcAugmentation, NameStyle};
use super::canvas::{CELLS, PAD, draw};
use super::grid::{ArcTask, Pair};
use super::identity::Distinct;
use crate::set::Derived;
use crate::tokens::Tokens;
use crate::{Augmentation, DataError, IGNORED, Identifiers, PuzzleSet, SetInfo};

/// Tries per wished augmentation; a task of few colours has fewer different ones than wished.
const TRIES_PER_AUGMENTATION: usize = 5;

/// Which split the tests of a data set belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TestUse {
    /// To the training split, as more demonstrations; tests without solution are left out.
    Train,
    /// To the test split; the cells of a test without solution are ignored.
    Evaluate,
}

/// The tasks of one data set.
#[derive(Clone, Copy, Debug)]
pub struct ArcSource<'a> {
    /// The tasks; their demonstrations train.
    pub tasks: &'a [ArcTask],
    /// What their tests are for.
    pub tests: TestUse,
}

/// How tasks become puzzles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArcSettings {
    /// Augmented puzzles per task, at most; published: 1,000.
    pub augmentations: usize,
    /// Which augmentations are drawn.
    pub seed: u64,
    /// How puzzles are named.
    pub style: NameStyle,
}

impl Default for ArcSettings {
    fn default() -> Self {
        Self {
            augmentations: 1000,
            seed: 42,
            style: NameStyle::Hrm,
        }
    }
}

/// Both splits of an ARC data set.
#[derive(Clone, Debug)]
pub struct ArcSets {
    /// Demonstrations of all tasks, and the tests that train. The sampler moves them on their canvas.
    pub train: PuzzleSet,
    /// Tests to be evaluated, under every augmentation of their task.
    pub test: PuzzleSet,
    /// What the puzzle ids of both stand for.
    pub names: Arc<Identifiers>,
    /// The tasks of the test split, sorted by name, for [`Votes`](super::Votes).
    pub test_tasks: Vec<ArcTask>,
}

/// Makes both splits. Ids follow the names of the tasks, whatever the order in which they come, and within a
/// task those of its augmentations. These depend on the seed and the task's name alone, and more of them include
/// the fewer.
///
/// # Errors
/// [`DataError::ArcTaskTwice`]; [`DataError::Mismatch`] where more augmentations are wished than there are, where a task is
/// named like an augmented puzzle of another, or where there are 2^32 examples or more.
pub fn build_sets(sources: &[ArcSource<'_>], settings: ArcSettings) -> Result<ArcSets, DataError> {
    let others = ArcAugmentation::COUNT as usize - 1;
    if settings.augmentations > others {
        let expected = format!("at most {others}, as many as there are");
        let found = settings.augmentations;
        return Err(DataError::mismatch("augmentations", expected, found));
    }
    let mut tasks: Vec<(&ArcTask, TestUse)> = sources
        .iter()
        .flat_map(|source| source.tasks.iter().map(|task| (task, source.tests)))
        .collect();
    tasks.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    if let Some(pair) = tasks.windows(2).find(|pair| pair[0].0.id == pair[1].0.id) {
        return Err(DataError::ArcTaskTwice {
            task: pair[0].0.id.clone(),
            files: Vec::new(),
        });
    }
    if let Some((task, _)) = tasks.iter().find(|(t, _)| Identifiers::is_augmented(&t.id)) {
        let expected = "one that does not end in an augmentation, as <name>_t3_0912345678 does";
        return Err(DataError::mismatch("name of a task", expected, &task.id));
    }
    let mut names = Identifiers::blank();
    let (mut train, mut test) = (Split::default(), Split::default());
    for (task, tests) in &tasks {
        let codes = distinct_augmentations(task, settings);
        let first_id = names.len() as u32;
        for &code in [0].iter().chain(&codes) {
            let pushed = names.push_arc(&task.id, code, settings.style);
            pushed.ok_or_else(|| DataError::mismatch("ARC puzzles", "fewer than 2^32", "more"))?;
        }
        match tests {
            TestUse::Train => {
                let solved = task.pairs().filter(|pair| pair.output.is_some());
                train.push(solved, first_id, &codes)?;
            }
            TestUse::Evaluate => {
                train.push(task.train.iter(), first_id, &codes)?;
                test.push(task.test.iter(), first_id, &codes)?;
            }
        }
    }
    let names = Arc::new(names);
    Ok(ArcSets {
        train: train.finish(Augmentation::ArcTranslated, &names)?,
        test: test.finish(Augmentation::Arc, &names)?,
        test_tasks: tasks
            .iter()
            .filter(|(_, tests)| *tests == TestUse::Evaluate)
            .map(|(task, _)| (*task).clone())
            .collect(),
        names,
    })
}

/// The codes of a task's augmentations, without those that give an equal puzzle.
fn distinct_augmentations(task: &ArcTask, settings: ArcSettings) -> Vec<u32> {
    let wished = settings.augmentations;
    if wished == 0 {
        return Vec::new();
    }
    let mut seed = Sha256::new();
    seed.update(settings.seed.to_le_bytes());
    seed.update(&task.id);
    let mut rng = ChaCha8Rng::from_seed(seed.finalize().into());
    let mut known = Distinct::new(task);
    let mut codes = Vec::new();
    for _ in 0..wished.saturating_mul(TRIES_PER_AUGMENTATION) {
        let augmentation = ArcAugmentation::sample(&mut rng);
        if known.insert(&augmentation) {
            codes.push(augmentation.code());
            if codes.len() == wished {
                break;
            }
        }
    }
    // In the order of their names.
    codes.sort_by_cached_key(|&code| {
        let augmentation = ArcAugmentation::from_code(code);
        augmentation.map(|augmentation| (augmentation.symmetry(), *augmentation.colours()))
    });
    codes
}

/// A split as it grows.
#[derive(Default)]
struct Split {
    inputs: Vec<u8>,
    labels: Vec<u8>,
    puzzle_ids: Vec<u32>,
    puzzle_offsets: Vec<u32>,
    group_offsets: Vec<u32>,
    derived: Vec<Derived>,
    examples: u32,
}

impl Split {
    /// Adds a group: a task's examples and the puzzles derived from them. Without examples it adds nothing.
    fn push<'a>(
        &mut self,
        pairs: impl Iterator<Item = &'a Pair>,
        first_id: u32,
        codes: &[u32],
    ) -> Result<(), DataError> {
        let first_row = (self.inputs.len() / CELLS) as u32;
        for pair in pairs {
            let start = self.inputs.len();
            self.inputs.resize(start + CELLS, PAD);
            self.labels.resize(start + CELLS, IGNORED);
            draw(&pair.input, (0, 0), PAD, &mut self.inputs[start..]);
            if let Some(output) = &pair.output {
                draw(output, (0, 0), IGNORED, &mut self.labels[start..]);
            }
        }
        let examples = (self.inputs.len() / CELLS) as u32 - first_row;
        if examples == 0 {
            return Ok(());
        }
        let own = std::iter::once(&0);
        for (id, &code) in (first_id..).zip(own.chain(codes)) {
            self.puzzle_ids.push(id);
            self.puzzle_offsets.push(self.examples);
            self.derived.push(Derived { first_row, code });
            self.examples = self
                .examples
                .checked_add(examples)
                .ok_or_else(|| DataError::mismatch("ARC examples", "fewer than 2^32", "more"))?;
        }
        self.group_offsets.push(self.puzzle_ids.len() as u32);
        Ok(())
    }

    fn finish(
        mut self,
        augmentation: Augmentation,
        names: &Arc<Identifiers>,
    ) -> Result<PuzzleSet, DataError> {
        self.puzzle_offsets.push(self.examples);
        self.group_offsets.insert(0, 0);
        let info = SetInfo::arc(names.len());
        info.validate()?;
        Ok(PuzzleSet {
            augmentation,
            inputs: Tokens::owned(self.inputs, CELLS),
            labels: Tokens::owned(self.labels, CELLS),
            first_row: 0,
            puzzle_ids: self.puzzle_ids,
            puzzle_offsets: self.puzzle_offsets,
            group_offsets: self.group_offsets,
            derived: Some(self.derived),
            identifiers: Some(Arc::clone(names)),
            fingerprint: Default::default(),
            #[cfg(feature = "fs")]
            provenance: None,
            #[cfg(feature = "fs")]
            layout: crate::folder::Layout::default(),
            info,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::{Grid, canvas, parse_task};
    use crate::{Sampler, SamplerConfig};
    use std::collections::HashSet;
    use std::path::Path;

    fn task(id: &str, json: &str) -> ArcTask {
        parse_task(json.as_bytes(), id, Path::new("test.json")).unwrap()
    }

    fn tasks() -> [ArcTask; 2] {
        let pairs = r#"{"train": [{"input": [[1, 2, 3]], "output": [[3], [2]]},
                                  {"input": [[4, 5, 6]], "output": [[6], [5]]},
                                  {"input": [[1, 0, 0]], "output": [[0], [7]]}],
                        "test": [{"input": [[7, 8, 9]]}, {"input": [[8, 8, 1]], "output": [[1], [8]]}]}"#;
        [task("b", pairs), task("a", pairs)]
    }

    fn build(augmentations: usize) -> ArcSets {
        let [b, a] = tasks();
        let sources = [
            ArcSource {
                tasks: &[b],
                tests: TestUse::Evaluate,
            },
            ArcSource {
                tasks: &[a],
                tests: TestUse::Train,
            },
        ];
        let settings = ArcSettings {
            augmentations,
            ..ArcSettings::default()
        };
        build_sets(&sources, settings).unwrap()
    }

    #[test]
    fn demonstrations_train_and_tests_go_where_their_source_says() {
        let sets = build(20);
        // a: three demonstrations and the solved test; b: three demonstrations.
        assert_eq!(sets.train.num_groups(), 2);
        assert_eq!(sets.train.num_puzzles(), 42);
        assert_eq!(sets.train.num_examples(), 21 * 4 + 21 * 3);
        assert_eq!(sets.test.num_groups(), 1);
        assert_eq!(sets.test.num_examples(), 21 * 2);
        assert_eq!(sets.test_tasks[0].id, "b");
        assert_eq!(sets.train.info().num_puzzle_ids, 43);
        let names = sets.test.identifiers().unwrap();
        assert_eq!(names.get(0).unwrap(), "<blank>");
        assert_eq!(names.get(1).unwrap(), "a");
        assert_eq!(names.get(22).unwrap(), "b");
        assert_eq!(sets.test.puzzle_id(0), 22);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 43);
    }

    #[test]
    fn a_test_without_solution_is_ignored_cell_by_cell() {
        let sets = build(20);
        for puzzle in 0..21 {
            let unsolved = sets.test.example(puzzle * 2);
            assert!(unsolved.labels.iter().all(|&label| label == IGNORED));
            let solved = sets.test.example(puzzle * 2 + 1);
            assert_eq!(solved.labels.iter().filter(|&&l| l != IGNORED).count(), 5);
        }
    }

    #[test]
    fn every_derived_example_is_its_original_under_the_named_augmentation() {
        let sets = build(50);
        let [_, original] = tasks();
        let pairs: Vec<&Pair> = original.pairs().filter(|p| p.output.is_some()).collect();
        for puzzle in 0..51 {
            let (task, augmentation) = sets.names.arc_puzzle(sets.train.puzzle_id(puzzle)).unwrap();
            assert_eq!(task, "a");
            for (example, pair) in sets.train.puzzle(puzzle).zip(&pairs) {
                let example = sets.train.example(example);
                let (mut inputs, mut labels) = (vec![0; CELLS], vec![0; CELLS]);
                draw(&augmentation.apply(&pair.input), (0, 0), PAD, &mut inputs);
                let output = pair.output.as_ref().unwrap();
                draw(&augmentation.apply(output), (0, 0), IGNORED, &mut labels);
                assert_eq!((&*example.inputs, &*example.labels), (&*inputs, &*labels));
            }
        }
    }

    #[test]
    fn more_augmentations_include_the_fewer() {
        let (few, many) = (build(5), build(50));
        let many: HashSet<_> = many.names.iter().collect();
        assert_eq!(few.names.len(), 13);
        assert!(few.names.iter().all(|name| many.contains(&name)));
    }

    #[test]
    fn augmentations_are_those_of_the_seed_and_the_task() {
        let [_, a] = tasks();
        let codes = |id: &str, seed| {
            let task = ArcTask {
                id: id.to_owned(),
                ..a.clone()
            };
            distinct_augmentations(
                &task,
                ArcSettings {
                    augmentations: 5,
                    seed,
                    ..ArcSettings::default()
                },
            )
        };
        assert_eq!(codes("a", 1), codes("a", 1));
        assert_ne!(codes("a", 1), codes("a", 2));
        assert_ne!(codes("a", 1), codes("b", 1));
    }

    #[test]
    fn ids_are_sorted_by_name() {
        let names: Vec<_> = build(50)
            .names
            .iter()
            .skip(1)
            .map(|n| n.into_owned())
            .collect();
        assert!(names.is_sorted());
        assert_eq!(names[0], "a");
    }

    #[test]
    fn a_task_of_one_colour_has_few_augmentations() {
        let grid = r#"{"train": [{"input": [[0]], "output": [[1]]}], "test": []}"#;
        let tasks = [task("x", grid)];
        let sources = [ArcSource {
            tasks: &tasks,
            tests: TestUse::Train,
        }];
        let sets = build_sets(&sources, ArcSettings::default()).unwrap();
        // Colour 1 becomes any of nine; symmetries change nothing.
        assert_eq!(sets.train.num_puzzles(), 9);
    }

    #[test]
    fn a_name_in_two_sources_is_an_error() {
        let [b, _] = tasks();
        let source = ArcSource {
            tasks: &[b],
            tests: TestUse::Train,
        };
        let error = build_sets(&[source, source], ArcSettings::default()).unwrap_err();
        assert_eq!(error.to_string(), "task b occurs twice");
    }

    #[test]
    fn more_augmentations_than_there_are_and_names_of_augmented_puzzles_are_refused() {
        let pairs = r#"{"train": [{"input": [[1]], "output": [[2]]}], "test": []}"#;
        let said = |id: &str, augmentations| {
            let source = ArcSource {
                tasks: &[task(id, pairs)],
                tests: TestUse::Train,
            };
            let settings = ArcSettings {
                augmentations,
                ..ArcSettings::default()
            };
            build_sets(&[source], settings).unwrap_err().to_string()
        };
        assert_eq!(
            said("x", usize::MAX),
            format!(
                "augmentations: expected at most 2903039, as many as there are, found {}",
                usize::MAX
            )
        );
        for name in ["x_t3_0912345678", "x|||t3|||0912345678"] {
            let error = said(name, 1);
            assert!(error.starts_with("name of a task: expected one that does not end in"));
            assert!(error.ends_with(name));
        }
    }

    #[test]
    fn drawn_examples_are_moved_but_for_one_of_each_puzzle() {
        let sets = build(3);
        let set = Arc::new(sets.train);
        let mut sampler = Sampler::new(
            Arc::clone(&set),
            SamplerConfig {
                batch_size: 7,
                seed: 1,
                augment: true,
                exploration: None,
            },
        )
        .unwrap();
        let mut still: Vec<HashSet<Grid>> = vec![HashSet::new(); 9];
        let mut moved = 0;
        for _ in 0..2000 {
            let batch = sampler.next_batch();
            for row in 0..7 {
                match canvas::crop(batch.input(row)) {
                    Some(grid) => {
                        still[batch.puzzle_ids[row] as usize].insert(grid);
                    }
                    None => moved += 1,
                }
            }
        }
        assert!(moved > 7000);
        // Another example lies at (0, 0) by chance with probability 1/784: of 14,000 draws of 8 puzzles a few.
        let often: usize = still[1..].iter().map(HashSet::len).sum();
        assert!((8..=8 + 20).contains(&often), "{often}");
        assert!(still[1..].iter().all(|grids| !grids.is_empty()));
    }

    #[test]
    fn sets_without_tasks_are_empty() {
        let sets = build_sets(&[], ArcSettings::default()).unwrap();
        assert_eq!(sets.train.num_examples() + sets.test.num_groups(), 0);
    }
}
