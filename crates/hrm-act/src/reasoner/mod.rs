//! Thinking as long as a puzzle needs.
//!
//! A [`Reasoner`] holds a batch of slots. After each segment the slots that halt hand out their answer and take the next
//! puzzle; at the end of the queue the batch shrinks. On top of that it may try each puzzle several times ([`Attempts`]):
//! roll-outs from noisy initial states, views by a [`Symmetry`], further checkpoints, with the answer chosen by q_halt, by
//! vote or by a [`Verifier`]. It never sees a label.
//!
//! Per segment the host reads the q values of the slots where the rule asks for them, and the rows that are finished;
//! every row's answer only where the rule or a trace needs it.
//!
//! ```
//! use burn::tensor::Device;
//! use hrm_act::reasoner::{Puzzle, Reasoner, ReasonerConfig};
//! use hrm_core::{Hrm, HrmConfig, Sizes};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sizes = Sizes { seq_len: 16, vocab_size: 6, num_puzzle_ids: 1 };
//! # let config = HrmConfig { hidden_size: 32, num_heads: 2, ..HrmConfig::trm(sizes) };
//! let model = Hrm::new(&config, 1, &Device::flex())?;
//! let reasoner = Reasoner::new(&model, ReasonerConfig::default())?;
//! let puzzles = (0..100).map(|n| Puzzle { inputs: vec![n % 6; 16], puzzle_id: 0 });
//! for answer in reasoner.solve(puzzles) {
//!     let answer = answer?;
//!     assert!(answer.segments <= 16);
//! }
//! # Ok(())
//! # }
//! ```

mod choice;
mod config;
mod error;
mod lane;
mod puzzle;
mod serve;
mod symmetry;
mod thinking;
mod verdict;
mod verifier;

use std::sync::Arc;

use hrm_core::Hrm;
use hrm_data::Task;

pub use config::{Attempts, Choice, HaltRule, ReasonerConfig};
pub use error::ReasonError;
pub(crate) use error::device_error;
pub use puzzle::{Answer, Puzzle};
pub use serve::{Manner, Reply, Request};
pub use symmetry::{Draw, MazeSymmetry, SudokuSymmetry, Symmetry};
pub use verdict::{Summary, Verdict};
pub use verifier::{MazeVerifier, SudokuVerifier, Verifier};

use lane::Entry;
use symmetry::puzzle_seed;
use thinking::Thinking;

/// Most tokens of a model: those of puzzles and answers are bytes.
const MAX_VOCAB: usize = 256;

/// Answers puzzles with a frozen model, or with several. Created by [`Reasoner::new`].
///
/// It is not changed by answering, so one may serve several threads.
#[derive(Clone)]
pub struct Reasoner {
    /// Frozen, at least one.
    models: Vec<Hrm>,
    config: ReasonerConfig,
    attempts: Attempts,
    verifier: Option<Arc<dyn Verifier>>,
    symmetry: Option<Arc<dyn Symmetry>>,
}

impl Reasoner {
    /// A reasoner with a plain snapshot of the model: one attempt at each puzzle, no verifier.
    ///
    /// # Errors
    /// If a field of the configuration is out of its range, or the model has more tokens than a byte tells apart.
    pub fn new(model: &Hrm, config: ReasonerConfig) -> Result<Self, ReasonError> {
        config.validate()?;
        let vocab_size = model.config().vocab_size;
        if vocab_size > MAX_VOCAB {
            return Err(ReasonError::Field {
                field: "vocab_size",
                expected: "at most 256, for tokens of puzzles and answers are bytes",
                found: vocab_size.to_string(),
            });
        }
        Ok(Self {
            models: vec![model.frozen()],
            config,
            attempts: Attempts::default(),
            verifier: None,
            symmetry: None,
        })
    }

    /// Verifies every answer.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Where [`Attempts::views`] come from.
    #[must_use]
    pub fn with_symmetry(mut self, symmetry: Arc<dyn Symmetry>) -> Self {
        self.symmetry = Some(symmetry);
        self
    }

    /// With the rules of a task as verifier, and its symmetries; nothing changes for a task that has none.
    #[must_use]
    pub fn with_task(self, task: Task) -> Self {
        match task {
            Task::Sudoku(size) => self
                .with_verifier(Arc::new(SudokuVerifier { size }))
                .with_symmetry(Arc::new(SudokuSymmetry { size })),
            Task::Maze { height, width } => self
                .with_verifier(Arc::new(MazeVerifier { height, width }))
                .with_symmetry(Arc::new(MazeSymmetry { height, width })),
            Task::Arc | Task::Other => self,
        }
    }

    /// Tries each puzzle several times.
    ///
    /// # Errors
    /// If a field is out of its range.
    pub fn with_attempts(mut self, attempts: Attempts) -> Result<Self, ReasonError> {
        attempts.validate()?;
        self.attempts = attempts;
        Ok(self)
    }

    /// A further checkpoint, with slots of its own, that makes all attempts as well.
    ///
    /// # Errors
    /// If it was made for other puzzles: its vocabulary is that of the first, too.
    pub fn with_model(mut self, model: &Hrm) -> Result<Self, ReasonError> {
        let (first, other) = (self.models[0].config(), model.config());
        for (field, expected, found) in [
            ("seq_len", first.seq_len, other.seq_len),
            ("vocab_size", first.vocab_size, other.vocab_size),
        ] {
            if expected != found {
                return Err(ReasonError::Model {
                    model: self.models.len() + 1,
                    field,
                    expected,
                    found,
                });
            }
        }
        self.models.push(model.frozen());
        Ok(self)
    }

    /// How the reasoner thinks.
    pub fn config(&self) -> &ReasonerConfig {
        &self.config
    }

    /// The attempts at each puzzle.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Answers puzzles in the order in which they are finished; [`Answer::index`] says which came when. Puzzles are taken
    /// from the iterator as slots get free, so it may be endless.
    ///
    /// A puzzle of another size, with a token outside the vocabulary or an id outside the table is an error of its own,
    /// and the others go on. An error without [`ReasonError::index`] ends the answers.
    pub fn solve<I: IntoIterator<Item = Puzzle>>(&self, puzzles: I) -> Answers<'_, I::IntoIter> {
        Answers {
            puzzles: puzzles.into_iter(),
            thinking: Thinking::new(self),
            refused: self.check_options().err(),
            ended: false,
            exhausted: false,
        }
    }

    /// Answers one puzzle.
    ///
    /// # Errors
    /// If the puzzle doesn't fit the model, the options lack a verifier or a symmetry, or the device fails.
    pub fn solve_one(&self, puzzle: Puzzle) -> Result<Answer, ReasonError> {
        let mut answers = self.solve([puzzle]);
        answers
            .next()
            .unwrap_or_else(|| unreachable!("one puzzle has one answer"))
    }

    /// Whether the options have what they ask for.
    fn check_options(&self) -> Result<(), ReasonError> {
        if self.verifier.is_none() {
            if self.config.halt == HaltRule::Verified {
                return Err(ReasonError::NoVerifier { field: "halt" });
            }
            if self.attempts.choice == Choice::Verified {
                return Err(ReasonError::NoVerifier { field: "choice" });
            }
        }
        if self.symmetry.is_none() && self.attempts.views > 1 {
            return Err(ReasonError::NoSymmetry {
                views: self.attempts.views,
            });
        }
        Ok(())
    }

    /// The view, by a symmetry or the puzzle itself, that an attempt looks at.
    fn draw(&self, number: u32, index: usize) -> Option<(&dyn Symmetry, Draw)> {
        let view = number / self.attempts.rollouts;
        let symmetry = self.symmetry.as_deref().filter(|_| view > 0)?;
        let seed = puzzle_seed(self.attempts.seed, index);
        Some((symmetry, Draw { seed, number: view }))
    }

    /// An attempt, ready for a slot.
    fn entry(
        &self,
        ticket: u64,
        number: u32,
        index: usize,
        puzzle: &Puzzle,
    ) -> Result<Entry, ReasonError> {
        let Puzzle { inputs, puzzle_id } = match self.draw(number, index) {
            Some((symmetry, draw)) => {
                let view = symmetry.forward(puzzle, draw);
                check(&self.models, index, &view)?;
                view
            }
            None => puzzle.clone(),
        };
        let noisy = !number.is_multiple_of(self.attempts.rollouts) && self.attempts.noise > 0.0;
        let noise = noisy.then(|| {
            let seed = puzzle_seed(self.attempts.seed, index);
            (!seed, number, self.attempts.noise)
        });
        Ok(Entry {
            ticket,
            number,
            inputs,
            puzzle_id,
            noise,
        })
    }

    /// An answer to an attempt's view as an answer to the puzzle.
    fn map_back(&self, number: u32, index: usize, puzzle: &Puzzle, tokens: &[u8]) -> Vec<u8> {
        match self.draw(number, index) {
            Some((symmetry, draw)) => symmetry.inverse(puzzle, draw, tokens),
            None => tokens.to_vec(),
        }
    }
}

impl std::fmt::Debug for Reasoner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reasoner")
            .field("models", &self.models.len())
            .field("config", &self.config)
            .field("attempts", &self.attempts)
            .field("verifier", &self.verifier.is_some())
            .field("symmetry", &self.symmetry.is_some())
            .finish()
    }
}

/// Whether every model knows the puzzle's size, tokens and id.
pub(crate) fn check(models: &[Hrm], index: usize, puzzle: &Puzzle) -> Result<(), ReasonError> {
    for config in models.iter().map(Hrm::config) {
        if puzzle.inputs.len() != config.seq_len {
            return Err(ReasonError::Length {
                index,
                expected: config.seq_len,
                found: puzzle.inputs.len(),
            });
        }
        let known = |token: u8| usize::from(token) < config.vocab_size;
        if let Some(cell) = puzzle.inputs.iter().position(|&token| !known(token)) {
            return Err(ReasonError::Token {
                index,
                cell,
                vocab_size: config.vocab_size,
                found: puzzle.inputs[cell],
            });
        }
        let rows = config.num_puzzle_ids;
        if config.puzzle_embedding.is_some() && puzzle.puzzle_id as usize >= rows {
            return Err(ReasonError::PuzzleId {
                index,
                rows,
                found: puzzle.puzzle_id,
            });
        }
    }
    Ok(())
}

/// The answers to puzzles, as they are finished. Created by [`Reasoner::solve`].
#[must_use = "nothing is thought about until the answers are asked for"]
pub struct Answers<'a, I> {
    puzzles: I,
    thinking: Thinking<'a, ()>,
    refused: Option<ReasonError>,
    ended: bool,
    exhausted: bool,
}

impl<I> std::fmt::Debug for Answers<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = Puzzle>> Iterator for Answers<'_, I> {
    type Item = Result<Answer, ReasonError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.refused.take() {
            self.ended = true;
            return Some(Err(error));
        }
        while !self.ended {
            if let Some(((), answer)) = self.thinking.pop() {
                return Some(answer);
            }
            while !self.exhausted && !self.thinking.has_done() && self.thinking.wants_more() {
                match self.puzzles.next() {
                    Some(puzzle) => self.thinking.admit((), puzzle, Manner::default()),
                    None => self.exhausted = true,
                }
            }
            if self.thinking.has_done() {
                continue;
            }
            if self.thinking.is_idle() {
                self.ended = true;
            } else if let Err(error) = self.thinking.step(|(), _, _| {}) {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }
}

impl<I: Iterator<Item = Puzzle>> std::iter::FusedIterator for Answers<'_, I> {}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use hrm_core::{HrmConfig, Sizes};

    use super::*;

    #[test]
    fn a_model_of_more_tokens_than_a_byte_tells_apart_is_refused() {
        let model = |vocab_size| {
            let sizes = Sizes {
                seq_len: 4,
                vocab_size,
                num_puzzle_ids: 1,
            };
            let config = HrmConfig {
                hidden_size: 8,
                num_heads: 1,
                puzzle_embedding: None,
                ..HrmConfig::trm(sizes)
            };
            Hrm::new(&config, 1, &Device::flex()).unwrap()
        };
        let new = |vocab_size| Reasoner::new(&model(vocab_size), ReasonerConfig::default());
        let largest = new(256).unwrap();
        let puzzle = Puzzle {
            inputs: vec![255; 4],
            puzzle_id: 0,
        };
        assert_eq!(largest.solve_one(puzzle).unwrap().tokens.len(), 4);
        let expected = "reasoner: `vocab_size` must be at most 256, \
                        for tokens of puzzles and answers are bytes, found 257";
        assert_eq!(new(257).unwrap_err().to_string(), expected);
        assert!(largest.with_model(&model(257)).is_err());
    }
}
