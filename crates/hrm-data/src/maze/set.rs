//! Puzzle sets of mazes.

use super::grid::MazePuzzle;
use crate::{Augmentation, DataError, PuzzleSet, SetInfo};

impl PuzzleSet {
    /// Mazes of one size, one group each; with [`Augmentation::Maze`] the sampler draws them turned and flipped.
    ///
    /// # Errors
    /// [`DataError::EmptySet`]; [`DataError::Mismatch`] if a maze has another size than the first, or the augmentation is of
    /// another task.
    pub fn from_mazes(
        puzzles: &[MazePuzzle],
        augmentation: Augmentation,
    ) -> Result<Self, DataError> {
        let shape = |puzzle: &MazePuzzle| (puzzle.maze().height(), puzzle.maze().width());
        let (height, width) = puzzles.first().map(shape).ok_or(DataError::EmptySet)?;
        let cells = puzzles.len() * height * width;
        let (mut inputs, mut labels) = (Vec::with_capacity(cells), Vec::with_capacity(cells));
        for (index, puzzle) in puzzles.iter().enumerate() {
            if shape(puzzle) != (height, width) {
                let found = shape(puzzle);
                return Err(DataError::mismatch(
                    format!("maze {index}"),
                    format!("{height}x{width} cells as the first"),
                    format!("{}x{}", found.0, found.1),
                ));
            }
            inputs.extend_from_slice(puzzle.maze().cells());
            labels.extend_from_slice(puzzle.answer());
        }
        Self::from_examples(SetInfo::maze(height, width), inputs, labels)?
            .with_augmentation(augmentation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maze::{Maze, MazeAugmentation, MazeGenerator, MazeRecipe, Verdict};
    use crate::{Sampler, SamplerConfig};
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn the_sampler_draws_all_symmetries_with_their_own_label() {
        let puzzle = MazeGenerator::new(MazeRecipe::small(), 1)
            .unwrap()
            .generate();
        let set = PuzzleSet::from_mazes(
            std::slice::from_ref(&puzzle),
            Augmentation::Maze(MazeAugmentation::Relabel),
        )
        .unwrap();
        let config = SamplerConfig {
            batch_size: 64,
            seed: 1,
            augment: true,
            exploration: None,
        };
        let batch = Sampler::new(Arc::new(set), config).unwrap().next_batch();
        let mut drawn = HashSet::new();
        for row in 0..64 {
            let maze = Maze::from_tokens(batch.input(row).to_vec(), 10, 10).unwrap();
            assert_eq!(maze.verify(batch.label(row)), Verdict::Exact);
            assert_eq!(maze.canonical(), puzzle.maze().canonical());
            drawn.insert(maze);
        }
        assert_eq!(drawn.len(), 8);
    }

    #[test]
    fn mazes_of_different_sizes_make_no_set() {
        let solve = |rows| MazePuzzle::solve(Maze::parse_rows(rows).unwrap()).unwrap();
        let error =
            PuzzleSet::from_mazes(&[solve("S G"), solve("SG")], Augmentation::None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "maze 1: expected 1x3 cells as the first, found 1x2"
        );
        assert!(matches!(
            PuzzleSet::from_mazes(&[], Augmentation::None),
            Err(DataError::EmptySet)
        ));
    }
}
