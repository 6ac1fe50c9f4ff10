//! What goes into a [`Reasoner`](super::Reasoner) and what comes out.

use serde::{Deserialize, Serialize};

use super::verdict::Verdict;

/// A puzzle to think about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Puzzle {
    /// `[S]` token ids.
    pub inputs: Vec<u8>,
    /// Row of the puzzle table; 0 is the blank puzzle. Not looked at by a model without a table.
    pub puzzle_id: u32,
}

/// What the model makes of a puzzle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Place of the puzzle in the order in which the puzzles came, counted from 0.
    pub index: usize,
    /// `[S]` the likeliest token of every cell.
    pub tokens: Vec<u8>,
    /// Segments of the attempt that gave the answer.
    pub segments: u32,
    /// q_halt of that attempt after its last segment, a logit; the mean over all attempts of a vote per cell.
    pub q_halt: f32,
    /// q_continue likewise.
    pub q_continue: f32,
    /// The probability of being right that the q head claims: `sigmoid(q_halt)`, 0..=1.
    pub confidence: f32,
    /// What the verifier says; none where there is no verifier.
    pub verified: Option<bool>,
    /// The answer after every segment of that attempt, the last one included, where the configuration asks for a trace. A vote
    /// per cell whose grid is not that of the surest attempt has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<Vec<u8>>,
    /// q_halt after every segment of that attempt, logits, beside the trace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace_q_halt: Vec<f32>,
    /// Attempts that were finished: roll-outs, views and checkpoints.
    pub attempts: u32,
    /// Those of them that gave exactly this answer.
    pub votes: u32,
    /// Segments of all attempts together: what the answer cost.
    pub total_segments: u32,
}

impl Answer {
    /// What the answer may be used as; see [`Verdict`]. An answer that isn't verified is withheld where the model is less
    /// sure of it than `min_confidence` (0 withholds none, more than 1 withholds all), and one that the verifier refuses
    /// is worth no confidence.
    pub fn verdict(&self, min_confidence: f32) -> Verdict {
        Verdict::of(self.verified, self.confidence, min_confidence)
    }
}

/// `1 / (1 + e^-x)`, without overflow.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
