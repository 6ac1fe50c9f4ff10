//! An endless, seeded stream of training batches that augments as it draws.
//!
//! Epochs follow one another without a gap: each is a random order of the groups; of each group one puzzle is
//! drawn, then as many of its examples as fit into the batch. Every draw is addressed by the seed and a
//! counter, so a position is a few counters.

use crate::draws::{DrawRng, Draws, Stream};
use crate::{DataError, PuzzleBatch, PuzzleSet};
use rand::RngExt;
use rand::seq::{SliceRandom, index};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Exploration of halting (HRM, "Adaptive computational time").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exploration {
    /// Share of rows that must run a random number of segments, 0 to 1.
    pub probability: f64,
    /// Most segments, M; a draw lies in `2..=M`.
    pub max_segments: u32,
}

/// What a [`Sampler`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// Rows of a batch, B.
    pub batch_size: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// Whether examples are augmented as the set says.
    pub augment: bool,
    /// Exploration draws, if any.
    pub exploration: Option<Exploration>,
}

/// Position of a [`Sampler`]: counters only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerState {
    /// Epochs completed.
    pub epoch: u64,
    /// Groups drawn in this epoch.
    pub position: u64,
    /// Batches drawn.
    pub batches: u64,
    /// Examples drawn.
    pub examples: u64,
}

/// Draws batches of a set without end.
#[derive(Clone, Debug)]
pub struct Sampler {
    set: Arc<PuzzleSet>,
    config: SamplerConfig,
    draws: Draws,
    state: SamplerState,
    /// Order of the groups in the current epoch.
    order: Vec<u32>,
}

impl Sampler {
    /// A sampler at its start.
    ///
    /// # Errors
    /// [`DataError::EmptySet`]; [`DataError::Mismatch`] on a batch size of 0, an exploration that is no
    /// probability or has fewer than 2 segments, a group without puzzles or a puzzle without examples.
    pub fn new(set: Arc<PuzzleSet>, config: SamplerConfig) -> Result<Self, DataError> {
        if config.batch_size == 0 {
            return Err(DataError::mismatch("batch_size", "at least 1", 0));
        }
        if let Some(exploration) = config.exploration {
            if !(0.0..=1.0).contains(&exploration.probability) {
                let found = exploration.probability;
                return Err(DataError::mismatch(
                    "exploration probability",
                    "0 to 1",
                    found,
                ));
            }
            if exploration.max_segments < 2 {
                let found = exploration.max_segments;
                return Err(DataError::mismatch("max_segments", "at least 2", found));
            }
        }
        if set.num_examples() == 0 {
            return Err(DataError::EmptySet);
        }
        if let Some(group) = (0..set.num_groups()).find(|&g| set.group(g).is_empty()) {
            return Err(DataError::mismatch(
                format!("group {group}"),
                "at least 1 puzzle",
                0,
            ));
        }
        if let Some(puzzle) = (0..set.num_puzzles()).find(|&p| set.puzzle(p).is_empty()) {
            return Err(DataError::mismatch(
                format!("puzzle {puzzle}"),
                "at least 1 example",
                0,
            ));
        }
        let mut sampler = Self {
            draws: Draws::new(config.seed),
            order: (0..set.num_groups() as u32).collect(),
            state: SamplerState::default(),
            set,
            config,
        };
        sampler.shuffle();
        Ok(sampler)
    }

    /// The set that is drawn from.
    pub fn set(&self) -> &Arc<PuzzleSet> {
        &self.set
    }

    /// What the sampler draws.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// The next batch; it may span two epochs.
    pub fn next_batch(&mut self) -> PuzzleBatch {
        let mut batch = self.set.blank_batch(self.config.batch_size);
        let mut row = 0;
        while row < self.config.batch_size {
            let mut rng = self.draws.at(Stream::Puzzle, self.groups_drawn());
            let puzzle = self.next_puzzle(&mut rng);
            let examples = self.set.puzzle(puzzle).len();
            let fitting = examples.min(self.config.batch_size - row);
            if examples == 1 {
                self.draw(puzzle, 0, &mut batch, row);
            } else {
                let chosen = index::sample(&mut rng, examples, fitting);
                for (at, k) in chosen.into_iter().enumerate() {
                    self.draw(puzzle, k, &mut batch, row + at);
                }
            }
            row += fitting;
        }
        self.explore(&mut batch);
        self.state.batches += 1;
        batch
    }

    /// Where the sampler stands.
    pub fn state(&self) -> SamplerState {
        self.state
    }

    /// Goes to a saved position of a sampler of the same set and settings: the batches that follow are those
    /// that followed there. Costs one shuffle of the groups.
    ///
    /// # Errors
    /// [`DataError::SamplerState`] if the position lies outside the set; the sampler stays where it is.
    pub fn restore(&mut self, state: &SamplerState) -> Result<(), DataError> {
        let bounds = [
            ("epoch", state.epoch, 1 << 40),
            ("position", state.position, self.set.num_groups() as u64),
            ("batches", state.batches, 1 << 60),
            ("examples", state.examples, 1 << 60),
        ];
        for (field, found, limit) in bounds {
            if found > limit {
                return Err(DataError::SamplerState {
                    field,
                    expected: format!("at most {limit}"),
                    found: found.to_string(),
                });
            }
        }
        self.state = *state;
        self.shuffle();
        Ok(())
    }

    /// Epochs drawn, with the part of the current one.
    pub fn epoch(&self) -> f64 {
        self.state.epoch as f64 + self.state.position as f64 / self.order.len() as f64
    }

    fn groups_drawn(&self) -> u64 {
        // Wraps only in states that no run reaches; the draws stay well defined there.
        let epochs = self.state.epoch.wrapping_mul(self.order.len() as u64);
        epochs.wrapping_add(self.state.position)
    }

    /// A random puzzle of the next group.
    fn next_puzzle(&mut self, rng: &mut DrawRng) -> usize {
        let groups = self.order.len() as u64;
        if self.state.position >= groups {
            self.state.epoch += 1;
            self.state.position = 0;
            self.shuffle();
        }
        let puzzles = self
            .set
            .group(self.order[self.state.position as usize] as usize);
        self.state.position += 1;
        match puzzles.len() {
            1 => puzzles.start,
            _ => rng.random_range(puzzles),
        }
    }

    fn draw(&mut self, puzzle: usize, k: usize, batch: &mut PuzzleBatch, row: usize) {
        if self.config.augment {
            let mut rng = self.draws.at(Stream::Augmentation, self.state.examples);
            self.set.draw_example(puzzle, k, batch, row, &mut rng);
        } else {
            self.set.read_example(puzzle, k, batch, row);
        }
        self.state.examples += 1;
    }

    fn explore(&self, batch: &mut PuzzleBatch) {
        let Some(exploration) = self.config.exploration else {
            return;
        };
        let mut rng = self.draws.at(Stream::Exploration, self.state.batches);
        for draw in &mut batch.min_segments {
            if rng.random_bool(exploration.probability) {
                *draw = rng.random_range(2..=exploration.max_segments);
            }
        }
    }

    fn shuffle(&mut self) {
        for (group, slot) in self.order.iter_mut().enumerate() {
            *slot = group as u32;
        }
        let mut rng = self.draws.at(Stream::Order, self.state.epoch);
        self.order.shuffle(&mut rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SetArrays, SetInfo};

    /// Groups 0 to 2 with 1, 2 and 3 puzzles of 1, 2 and 3 examples; the tokens say which example it is.
    fn set() -> Arc<PuzzleSet> {
        let (mut offsets, mut ids) = (vec![0], Vec::new());
        for group in 0..3u32 {
            for _ in 0..=group {
                ids.push(ids.len() as u32);
                offsets.push(offsets[offsets.len() - 1] + group + 1);
            }
        }
        let examples = 14;
        let info = SetInfo {
            task: crate::Task::Other,
            seq_len: 2,
            vocab_size: 20,
            num_puzzle_ids: 6,
            pad_id: 0,
            ignore_label_id: None,
            blank_puzzle_id: 0,
        };
        let tokens: Vec<u8> = (0..examples).flat_map(|e| [e, e + 1]).collect();
        let arrays = SetArrays {
            inputs: tokens.clone(),
            labels: tokens,
            puzzle_ids: ids,
            puzzle_offsets: offsets,
            group_offsets: vec![0, 1, 3, 6],
        };
        Arc::new(PuzzleSet::from_arrays(info, arrays).unwrap())
    }

    fn config(batch_size: usize) -> SamplerConfig {
        SamplerConfig {
            batch_size,
            seed: 7,
            augment: true,
            exploration: Some(Exploration {
                probability: 0.5,
                max_segments: 8,
            }),
        }
    }

    #[test]
    fn an_epoch_draws_one_whole_puzzle_of_each_group() {
        // 1 + 2 + 3 examples per epoch, so a batch of 6 is exactly an epoch.
        let mut sampler = Sampler::new(set(), config(6)).unwrap();
        for epoch in 1..20 {
            let batch = sampler.next_batch();
            let mut groups = batch.puzzle_ids.clone();
            for id in &mut groups {
                *id = [0, 1, 1, 2, 2, 2][*id as usize];
            }
            groups.sort_unstable();
            assert_eq!(groups, [0, 1, 1, 2, 2, 2]);
            let mut examples: Vec<u8> = batch.inputs.iter().step_by(2).copied().collect();
            examples.sort_unstable();
            examples.dedup();
            assert_eq!(examples.len(), 6, "examples are drawn without replacement");
            assert_eq!(sampler.epoch(), f64::from(epoch));
        }
    }

    #[test]
    fn each_epoch_has_an_order_of_its_own() {
        let mut sampler = Sampler::new(set(), config(6)).unwrap();
        let mut orders: Vec<Vec<u32>> = (0..20)
            .map(|_| {
                let ids = sampler.next_batch().puzzle_ids;
                let mut groups: Vec<u32> = ids
                    .iter()
                    .map(|&id| [0, 1, 1, 2, 2, 2][id as usize])
                    .collect();
                groups.dedup();
                groups
            })
            .collect();
        orders.sort();
        orders.dedup();
        assert!(orders.len() > 3, "{orders:?} of the six");
    }

    #[test]
    fn all_puzzles_of_a_group_are_drawn() {
        let mut sampler = Sampler::new(set(), config(6)).unwrap();
        let mut drawn = [0; 6];
        for _ in 0..300 {
            for id in sampler.next_batch().puzzle_ids {
                drawn[id as usize] += 1;
            }
        }
        assert_eq!(drawn[0], 300);
        for times in &drawn[1..] {
            assert!((200..400).contains(times), "{drawn:?}, 300 each");
        }
    }

    #[test]
    fn a_restored_sampler_continues_with_the_same_batches() {
        let mut sampler = Sampler::new(set(), config(4)).unwrap();
        let states_and_batches: Vec<_> = (0..40)
            .map(|_| (sampler.state(), sampler.next_batch()))
            .collect();
        for (state, batch) in states_and_batches.iter().rev() {
            let mut other = Sampler::new(set(), config(4)).unwrap();
            other.restore(state).unwrap();
            assert_eq!(&other.next_batch(), batch);
        }
    }

    #[test]
    fn exploration_draws_at_its_rate_within_its_range() {
        let mut sampler = Sampler::new(set(), config(64)).unwrap();
        let draws: Vec<u32> = (0..100)
            .flat_map(|_| sampler.next_batch().min_segments)
            .collect();
        let explored = draws.iter().filter(|&&d| d != 0).count();
        assert!(
            (2900..3500).contains(&explored),
            "{explored} of 6400 at 1/2"
        );
        assert!(draws.iter().all(|&d| d == 0 || (2..=8).contains(&d)));
        for segments in 2..=8 {
            assert!(draws.contains(&segments));
        }
        let mut always = config(64);
        always.exploration = always.exploration.map(|exploration| Exploration {
            probability: 0.9,
            ..exploration
        });
        let mut sampler = Sampler::new(set(), always).unwrap();
        let draws = (0..100).flat_map(|_| sampler.next_batch().min_segments);
        let explored = draws.filter(|&draw| draw != 0).count();
        assert!(
            (5600..5900).contains(&explored),
            "{explored} of 6400 at 9/10"
        );
    }

    #[test]
    fn exploration_does_not_change_what_is_drawn() {
        let mut with = Sampler::new(set(), config(5)).unwrap();
        let mut without = Sampler::new(
            set(),
            SamplerConfig {
                exploration: None,
                ..config(5)
            },
        )
        .unwrap();
        for _ in 0..10 {
            assert_eq!(with.next_batch().inputs, without.next_batch().inputs);
        }
    }

    #[test]
    fn a_state_outside_the_set_is_refused() {
        let mut sampler = Sampler::new(set(), config(4)).unwrap();
        let state = SamplerState {
            position: 4,
            ..SamplerState::default()
        };
        let refusal = sampler.restore(&state).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "sampler state: position: expected at most 3, found 4"
        );
        assert_eq!(sampler.state(), SamplerState::default());
    }

    #[test]
    fn settings_that_cannot_be_drawn_are_refused() {
        assert!(Sampler::new(set(), config(0)).is_err());
        let exploration = Some(Exploration {
            probability: f64::NAN,
            max_segments: 8,
        });
        let broken = SamplerConfig {
            exploration,
            ..config(4)
        };
        assert!(Sampler::new(set(), broken).is_err());
        assert!(matches!(
            Sampler::new(Arc::new(set().take(0)), config(4)),
            Err(DataError::EmptySet)
        ));
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let exploring = |probability, max_segments| SamplerConfig {
            exploration: Some(Exploration {
                probability,
                max_segments,
            }),
            ..config(4)
        };
        // Three examples in such puzzles and groups.
        let parted = |puzzle_offsets: &[u32], group_offsets: &[u32]| {
            let arrays = SetArrays {
                inputs: vec![1; 6],
                labels: vec![1; 6],
                puzzle_ids: vec![0; puzzle_offsets.len() - 1],
                puzzle_offsets: puzzle_offsets.to_vec(),
                group_offsets: group_offsets.to_vec(),
            };
            Arc::new(PuzzleSet::from_arrays(set().info().clone(), arrays).unwrap())
        };
        let probability = "exploration probability: expected 0 to 1, found";
        let cases = [
            (
                set(),
                config(0),
                "batch_size: expected at least 1, found 0".to_owned(),
            ),
            (set(), exploring(-0.5, 8), format!("{probability} -0.5")),
            (set(), exploring(1.5, 8), format!("{probability} 1.5")),
            (
                set(),
                exploring(0.5, 1),
                "max_segments: expected at least 2, found 1".to_owned(),
            ),
            (
                parted(&[0, 1, 3], &[0, 1, 1, 2]),
                config(4),
                "group 1: expected at least 1 puzzle, found 0".to_owned(),
            ),
            (
                parted(&[0, 1, 1, 3], &[0, 3]),
                config(4),
                "puzzle 1: expected at least 1 example, found 0".to_owned(),
            ),
        ];
        for (set, config, message) in cases {
            let error = Sampler::new(set, config).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for probability in [0.0, 1.0] {
            Sampler::new(set(), exploring(probability, 2)).unwrap();
        }
    }
}
