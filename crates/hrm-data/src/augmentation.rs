//! How a set's examples change when they are drawn.

use crate::draws::DrawRng;
use crate::maze::{MazeAugmentation, MazeAugmenter};
use crate::sudoku::Symmetry;
use crate::{SetInfo, Task};
use serde::{Deserialize, Serialize};

/// How the sampler changes an example that it draws; the set itself holds the originals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Augmentation {
    /// Not at all.
    #[default]
    None,
    /// By a random [`Symmetry`] of the board.
    Sudoku,
    /// By a random symmetry of the grid, labelled anew or with the label moved along.
    Maze(MazeAugmentation),
}

/// Which example is being drawn.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every task asks which example it is")]
pub(crate) struct Drawn {
    /// Puzzle within the set.
    pub puzzle: usize,
    /// Example within the puzzle.
    pub example: usize,
    /// Code of the derived puzzle, 0 for an original.
    pub code: u32,
}

impl Augmentation {
    /// Whether the augmentation fits the task.
    pub(crate) fn fits(self, task: Task) -> bool {
        match self {
            Self::None => true,
            Self::Sudoku => matches!(task, Task::Sudoku(_)),
            Self::Maze(_) => matches!(task, Task::Maze { .. }),
        }
    }

    /// Turns an original's tokens, `[S]` each, into those of the derived puzzle `code`, which is not 0.
    /// Always the same for the same code.
    pub(crate) fn derive(
        self,
        _info: &SetInfo,
        _code: u32,
        _inputs: &mut [u8],
        _labels: &mut [u8],
    ) {
        match self {
            Self::None | Self::Sudoku | Self::Maze(_) => {}
        }
    }

    /// Changes the tokens of a drawn example, `[S]` each, at random.
    pub(crate) fn vary(
        self,
        info: &SetInfo,
        _drawn: Drawn,
        inputs: &mut [u8],
        labels: &mut [u8],
        rng: &mut DrawRng,
    ) {
        match (self, info.task) {
            (Self::Sudoku, Task::Sudoku(size)) => {
                let symmetry = Symmetry::sample(size, rng);
                let cells = size.num_cells();
                let mut original = [0; 256];
                for tokens in [inputs, labels] {
                    original[..cells].copy_from_slice(tokens);
                    symmetry.apply_tokens(&original[..cells], tokens);
                }
            }
            (Self::Maze(augmentation), Task::Maze { height, width }) => {
                let mut augmenter = MazeAugmenter::new(height, width, augmentation);
                let symmetry = augmenter.draw(rng);
                let (question, answer) = (inputs.to_vec(), labels.to_vec());
                augmenter.apply(symmetry, (&question, &answer), inputs, labels);
            }
            _ => {}
        }
    }
}
