//! Turning and flipping mazes, with the label made anew or moved along.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::search::Search;
use crate::dihedral::Dihedral;

/// What happens to the label when a maze is turned or flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MazeAugmentation {
    /// The turned question is labelled anew by breadth-first search, so the label stays a function of the
    /// question. Deviates from the reference programs.
    #[default]
    Relabel,
    /// The label is turned with the question, as the reference programs do: still a shortest path, but not
    /// the one that the tie-break gives.
    FlipLabel,
}

/// Augments examples of one size, without allocating.
#[derive(Clone, Debug)]
pub struct MazeAugmenter {
    height: usize,
    width: usize,
    augmentation: MazeAugmentation,
    search: Search,
}

impl MazeAugmenter {
    /// For examples of `height * width` cells.
    pub fn new(height: usize, width: usize, augmentation: MazeAugmentation) -> Self {
        Self {
            height,
            width,
            augmentation,
            search: Search::new(),
        }
    }

    /// One of the symmetries that keep the shape: eight of a square, four of an oblong grid.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Dihedral {
        let symmetries = self.symmetries();
        symmetries[rng.random_range(0..symmetries.len())]
    }

    /// The symmetry of a copy beside the original, `number` being 0 for the first: all but the identity take turns in an order that `rng`
    /// draws. All copies of a maze need the same draw.
    pub(crate) fn in_turn<R: Rng + ?Sized>(&self, number: usize, rng: &mut R) -> Dihedral {
        let mut others = self.symmetries()[1..].to_vec();
        others.shuffle(rng);
        others[number % others.len()]
    }

    /// Those that keep the shape, the identity first.
    fn symmetries(&self) -> &'static [Dihedral] {
        match self.height == self.width {
            true => &Dihedral::ALL,
            false => &Dihedral::KEEPING_SHAPE,
        }
    }

    /// Writes the example under `symmetry` into `inputs` and `labels`. The inverse is the same call with
    /// [`Dihedral::inverse`] (and height and width exchanged where the symmetry exchanges them).
    ///
    /// An input that is no maze (padding, no start, no way to the goal) keeps its label, moved.
    ///
    /// # Panics
    /// If a slice does not have `height * width` tokens.
    pub fn apply(
        &mut self,
        symmetry: Dihedral,
        example: (&[u8], &[u8]),
        inputs: &mut [u8],
        labels: &mut [u8],
    ) {
        let (height, width) = (self.height, self.width);
        symmetry.apply_into(example.0, height, width, inputs);
        let relabelled = self.augmentation == MazeAugmentation::Relabel && {
            let (height, width) = symmetry.shape(height, width);
            let path = self.search.label_into(inputs, height, width, labels);
            path.is_some()
        };
        if !relabelled {
            symmetry.apply_into(example.1, height, width, labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maze::{MazeGenerator, MazePuzzle, MazeRecipe, Verdict};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    fn puzzles() -> Vec<MazePuzzle> {
        let mazes = MazeGenerator::new(MazeRecipe::small(), 11).unwrap();
        mazes.take(20).collect()
    }

    fn augmented(
        puzzle: &MazePuzzle,
        augmentation: MazeAugmentation,
        symmetry: Dihedral,
    ) -> (Vec<u8>, Vec<u8>) {
        let mut augmenter = MazeAugmenter::new(10, 10, augmentation);
        let (mut inputs, mut labels) = (vec![0; 100], vec![0; 100]);
        let example = (puzzle.maze().cells(), puzzle.answer());
        augmenter.apply(symmetry, example, &mut inputs, &mut labels);
        assert_eq!(inputs, puzzle.maze().transform(symmetry).cells());
        (inputs, labels)
    }

    #[test]
    fn relabelled_mazes_have_the_published_label() {
        for puzzle in puzzles() {
            for symmetry in Dihedral::ALL {
                let (_, labels) = augmented(&puzzle, MazeAugmentation::Relabel, symmetry);
                let turned = puzzle.maze().transform(symmetry);
                assert_eq!(turned.verify(&labels), Verdict::Exact);
            }
        }
    }

    #[test]
    fn flipped_labels_stay_shortest_but_not_exact() {
        let mut inexact = 0;
        for puzzle in puzzles() {
            for symmetry in Dihedral::ALL {
                let (inputs, labels) = augmented(&puzzle, MazeAugmentation::FlipLabel, symmetry);
                let turned = puzzle.maze().transform(symmetry);
                let verdict = turned.verify(&labels);
                assert!(verdict.is_optimal());
                inexact += usize::from(verdict != Verdict::Exact);
                let back = symmetry.inverse();
                assert_eq!(back.apply(&inputs, 10, 10), puzzle.maze().cells());
                assert_eq!(back.apply(&labels, 10, 10), puzzle.answer());
            }
        }
        assert!(inexact > 0);
    }

    #[test]
    fn oblong_mazes_keep_their_shape() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let augmenter = MazeAugmenter::new(5, 12, MazeAugmentation::Relabel);
        assert!((0..100).all(|_| !augmenter.draw(&mut rng).swaps_axes()));
    }

    #[test]
    fn copies_take_all_other_symmetries_in_turn() {
        for (height, width, symmetries) in [(5, 5, 8), (5, 12, 4)] {
            let augmenter = MazeAugmenter::new(height, width, MazeAugmentation::FlipLabel);
            let of_seed = |seed: u64| -> Vec<Dihedral> {
                let turn = |number| {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    augmenter.in_turn(number, &mut rng)
                };
                (0..2 * (symmetries - 1)).map(turn).collect()
            };
            let found = of_seed(1);
            let (first, again) = found.split_at(symmetries - 1);
            assert_eq!(first, again);
            let different: HashSet<Dihedral> = first.iter().copied().collect();
            assert_eq!(different.len(), symmetries - 1);
            assert!(!different.contains(&Dihedral::Identity));
            assert!((2..10).any(|seed| of_seed(seed) != found), "a drawn order");
        }
    }

    #[test]
    fn an_input_without_a_path_keeps_its_label() {
        let mut augmenter = MazeAugmenter::new(1, 3, MazeAugmentation::Relabel);
        let (mut inputs, mut labels) = ([9; 3], [9; 3]);
        let example: (&[u8], &[u8]) = (&[3, 1, 4], &[1, 2, 3]);
        augmenter.apply(Dihedral::FlipLeftRight, example, &mut inputs, &mut labels);
        assert_eq!((inputs, labels), ([4, 1, 3], [3, 2, 1]));
    }
}
