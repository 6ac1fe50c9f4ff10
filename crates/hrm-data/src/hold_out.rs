//! Parting a set in two: groups to train on and groups to evaluate on.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use crate::set::{Derived, unmask};
use crate::tokens::Tokens;
use crate::{DataError, PuzzleSet};

impl PuzzleSet {
    /// Parts the set: first what is left, then a `share` of the groups, drawn by `seed`. At least one group is on each side;
    /// both keep the order of the groups. The tokens are copied.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] on a share that is not between 0 and 1, or a set of fewer than two groups.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        if !(share > 0.0 && share < 1.0) {
            return Err(DataError::mismatch(
                "held-out share",
                "between 0 and 1",
                share,
            ));
        }
        let groups = self.num_groups();
        if groups < 2 {
            let expected = "at least 2, to hold one out";
            return Err(DataError::mismatch("groups", expected, groups));
        }
        let count = ((share * groups as f64).round() as usize).clamp(1, groups - 1);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut is_held_out = vec![false; groups];
        for group in index::sample(&mut rng, groups, count) {
            is_held_out[group] = true;
        }
        let part = |held_out| {
            let wanted = (0..groups).filter(|&group| is_held_out[group] == held_out);
            self.select(wanted)
        };
        Ok((part(false), part(true)))
    }

    /// The set of some of the groups, with tokens of its own.
    fn select(&self, groups: impl Iterator<Item = usize>) -> Self {
        let seq_len = self.info.seq_len;
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        let mut set = Self {
            derived: self.derived.as_ref().map(|_| Vec::new()),
            ..self.emptied()
        };
        let (mut rows_kept, mut examples) = (0u32, 0);
        for group in groups {
            // The rows that the group's puzzles, derived or not, are made of lie together.
            let puzzles = self.group(group);
            let row = |puzzle| self.stored(puzzle, 0).0;
            let start = puzzles.clone().map(row).min().unwrap_or(0);
            let end = puzzles.clone().map(|at| row(at) + self.puzzle(at).len());
            let rows = start..end.max().unwrap_or(start);
            for stored in rows.clone() {
                inputs.extend_from_slice(self.inputs.row(stored, seq_len).0);
                let (row, ignored) = self.labels.row(stored, seq_len);
                let at = labels.len();
                labels.extend_from_slice(row);
                unmask(&mut labels[at..], ignored);
            }
            for puzzle in puzzles {
                examples += self.puzzle(puzzle).len() as u32;
                set.puzzle_ids.push(self.puzzle_ids[puzzle]);
                set.puzzle_offsets.push(examples);
                if let Some(derived) = &mut set.derived {
                    let (row, code) = self.stored(puzzle, 0);
                    let first_row = rows_kept + (row - start) as u32;
                    derived.push(Derived { first_row, code });
                }
            }
            set.group_offsets.push(set.puzzle_ids.len() as u32);
            rows_kept += rows.len() as u32;
        }
        set.inputs = Tokens::owned(inputs, seq_len);
        set.labels = Tokens::owned(labels, seq_len);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Augmentation;
    use crate::arc::{ArcSettings, ArcSource, ArcTask, TestUse, build_sets, parse_task};
    use crate::sudoku::{Generator, SudokuSize};

    /// Inputs, labels and id of every example.
    fn examples(set: &PuzzleSet) -> Vec<(Vec<u8>, Vec<u8>, u32)> {
        (0..set.num_examples())
            .map(|at| set.example(at))
            .map(|at| (at.inputs.into_owned(), at.labels.into_owned(), at.puzzle_id))
            .collect()
    }

    #[test]
    fn every_puzzle_is_on_one_side_and_the_seed_says_on_which() {
        let puzzles = Generator::new(SudokuSize::Six).puzzles(40, 1).unwrap();
        let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Six, Augmentation::Sudoku).unwrap();
        let (train, held_out) = set.hold_out(0.25, 7).unwrap();
        assert_eq!((train.num_groups(), held_out.num_groups()), (30, 10));
        let mut both = [examples(&train), examples(&held_out)].concat();
        let mut all = examples(&set);
        both.sort();
        all.sort();
        assert_eq!(both, all);
        assert_eq!(train.augmentation(), set.augmentation());
        assert_eq!(
            set.hold_out(0.25, 7).unwrap().1.fingerprint(),
            held_out.fingerprint()
        );
        assert_ne!(
            set.hold_out(0.25, 8).unwrap().1.fingerprint(),
            held_out.fingerprint()
        );
        assert_eq!(set.hold_out(0.27, 7).unwrap().1.num_groups(), 11, "10.8");
        // A part can be parted: its tokens lie as those of any set.
        let (rest, _) = train.hold_out(0.5, 1).unwrap();
        assert_eq!(rest.num_groups(), 15);
        assert!(examples(&rest).iter().all(|example| all.contains(example)));
    }

    /// A task of one to three pairs, unlike those of other numbers.
    fn arc_task(number: usize) -> ArcTask {
        let pair = |at: usize| {
            format!(r#"{{"input": [[{number}, {at}, 9]], "output": [[{at}], [{number}]]}}"#)
        };
        let pairs: Vec<String> = (0..=number % 3).map(pair).collect();
        let json = format!(r#"{{"train": [{}], "test": []}}"#, pairs.join(", "));
        parse_task(json.as_bytes(), &format!("task{number}"), "t.json").unwrap()
    }

    #[test]
    fn derived_puzzles_keep_their_rows_and_codes() {
        let tasks: Vec<ArcTask> = (1..=8).map(arc_task).collect();
        let source = ArcSource {
            tasks: &tasks,
            tests: TestUse::Train,
        };
        let settings = ArcSettings {
            augmentations: 3,
            ..ArcSettings::default()
        };
        let set = build_sets(&[source], settings).unwrap().train;
        assert_eq!((set.num_groups(), set.num_puzzles()), (8, 8 * 4));
        // The same with two originals in a group.
        let twos = PuzzleSet {
            group_offsets: set.group_offsets.iter().copied().step_by(2).collect(),
            ..set.clone()
        };
        for (set, half) in [(set, 4), (twos, 2)] {
            for seed in 0..8 {
                let (train, held_out) = set.hold_out(0.5, seed).unwrap();
                assert_eq!((train.num_groups(), held_out.num_groups()), (half, half));
                let mut both = [examples(&train), examples(&held_out)].concat();
                // Of one puzzle they stay in their order.
                both.sort_by_key(|&(_, _, id)| id);
                assert!(both == examples(&set), "seed {seed}");
                let rows = |set: &PuzzleSet| set.inputs.num_rows(set.info.seq_len);
                assert_eq!(rows(&train) + rows(&held_out), rows(&set));
                for part in [train, held_out] {
                    assert_eq!(part.identifiers(), set.identifiers());
                    assert_eq!(part.augmentation(), Augmentation::ArcTranslated);
                    assert_eq!(part.originals().num_examples(), rows(&part));
                }
            }
        }
    }

    #[test]
    fn each_side_has_a_group_or_there_is_an_error() {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(3, 1).unwrap();
        let set =
            PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
        for (share, count) in [(1e-9, 1), (0.999, 2)] {
            assert_eq!(set.hold_out(share, 1).unwrap().1.num_groups(), count);
        }
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(set.hold_out(share, 1).is_err());
        }
        assert!(set.take(1).hold_out(0.5, 1).is_err());
    }
}
