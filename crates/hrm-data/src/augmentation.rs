//! How a set's examples change when they are drawn.

use crate::arc::{self, ArcAugmentation};
use crate::draws::DrawRng;
use crate::maze::{MazeAugmentation, MazeAugmenter};
use crate::sudoku::Symmetry;
use crate::{IGNORED, SetInfo, Task};
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
    /// The puzzles are ARC originals under colour permutations and symmetries (the code of a derived puzzle says
    /// which); nothing is drawn beyond them.
    Arc,
    /// As [`Augmentation::Arc`], and the grids are moved on their canvas, but for one example of each puzzle.
    ArcTranslated,
}

/// Which example is being drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    /// Id of its puzzle.
    pub puzzle_id: u32,
    /// Example within the puzzle.
    pub example: usize,
    /// Examples of the puzzle.
    pub examples: usize,
    /// Number from 0 of the copy that is written beside the original; `None` where it is drawn for itself.
    pub copy: Option<usize>,
}

impl Drawn {
    /// Whether this is the one example of its puzzle that is not moved: always the same, another one in
    /// another puzzle.
    fn stays(self) -> bool {
        let scattered = u64::from(self.puzzle_id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        scattered as usize % self.examples == self.example
    }
}

impl Augmentation {
    /// How original puzzles of a task are augmented when nothing else is said.
    #[cfg(feature = "fs")]
    pub(crate) fn of_originals(task: Task) -> Self {
        match task {
            Task::Sudoku(_) => Self::Sudoku,
            Task::Maze { .. } => Self::Maze(MazeAugmentation::default()),
            Task::Arc | Task::Other => Self::None,
        }
    }

    /// Whether the augmentation fits the task.
    pub(crate) fn fits(self, task: Task) -> bool {
        match self {
            Self::None => true,
            Self::Sudoku => matches!(task, Task::Sudoku(_)),
            Self::Maze(_) => matches!(task, Task::Maze { .. }),
            Self::Arc | Self::ArcTranslated => task == Task::Arc,
        }
    }

    /// Whether [`derive`](Self::derive) knows a code, or it is 0, the original's own.
    #[cfg(feature = "fs")]
    pub(crate) fn derives(task: Task, code: u32) -> bool {
        code == 0 || (task == Task::Arc && code < ArcAugmentation::COUNT)
    }

    /// Turns an original's tokens, `[S]` each, into those of the derived puzzle `code`, which is not 0.
    /// Always the same for the same code.
    pub(crate) fn derive(self, info: &SetInfo, code: u32, inputs: &mut [u8], labels: &mut [u8]) {
        if info.task == Task::Arc
            && let Some(augmentation) = ArcAugmentation::from_code(code)
        {
            arc::canvas::augment(&augmentation, info.pad_id, inputs);
            arc::canvas::augment(&augmentation, IGNORED, labels);
        }
    }

    /// Changes the tokens of a drawn example, `[S]` each, at random.
    pub(crate) fn vary(
        self,
        info: &SetInfo,
        drawn: Drawn,
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
                let symmetry = match drawn.copy {
                    Some(number) => augmenter.in_turn(number, rng),
                    None => augmenter.draw(rng),
                };
                let (question, answer) = (inputs.to_vec(), labels.to_vec());
                augmenter.apply(symmetry, (&question, &answer), inputs, labels);
            }
            (Self::ArcTranslated, Task::Arc) if !drawn.stays() => {
                arc::canvas::translate((inputs, info.pad_id), (labels, IGNORED), rng);
            }
            _ => {}
        }
    }
}
