//! How long to think, how often to try, and whose answer to take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ReasonError;

/// When a puzzle has been thought about long enough. Whatever the rule, `max_segments` bounds it.
///
/// As text: `fixed`, `q-halt`, `likely`, `stable:K`, `verified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HaltRule {
    /// After `max_segments`: the reference's evaluation.
    Fixed,
    /// When the q head says so: q_halt > q_continue, or q_halt > 0 of a model that learned no q_continue.
    #[default]
    QHalt,
    /// When q_halt > 0, whatever the model learned of q_continue: it claims to be more likely right than wrong.
    Likely,
    /// When the answer hasn't changed for so many segments, at least 1.
    Stable {
        /// Segments without a change.
        segments: u32,
    },
    /// When the verifier says yes.
    Verified,
}

impl FromStr for HaltRule {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let stable = |count: &str| count.parse().ok().filter(|&segments: &u32| segments > 0);
        match (text, text.strip_prefix("stable:").and_then(stable)) {
            ("fixed", _) => Ok(Self::Fixed),
            ("q-halt", _) => Ok(Self::QHalt),
            ("likely", _) => Ok(Self::Likely),
            ("verified", _) => Ok(Self::Verified),
            (_, Some(segments)) => Ok(Self::Stable { segments }),
            _ => Err(ReasonError::HaltRule {
                found: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for HaltRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed"),
            Self::QHalt => f.write_str("q-halt"),
            Self::Likely => f.write_str("likely"),
            Self::Stable { segments } => write!(f, "stable:{segments}"),
            Self::Verified => f.write_str("verified"),
        }
    }
}

/// How a [`Reasoner`](super::Reasoner) thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReasonerConfig {
    /// Puzzles thought about at a time, at least 1.
    pub slots: usize,
    /// Most segments on a puzzle, at least 1; may exceed the training's.
    pub max_segments: u32,
    /// When to stop before that.
    pub halt: HaltRule,
    /// Whether to keep the answer after every segment.
    pub trace: bool,
}

impl Default for ReasonerConfig {
    /// 64 slots, at most 16 segments, halting by the q head, no trace.
    fn default() -> Self {
        Self {
            slots: 64,
            max_segments: 16,
            halt: HaltRule::QHalt,
            trace: false,
        }
    }
}

impl ReasonerConfig {
    pub(super) fn validate(&self) -> Result<(), ReasonError> {
        if self.slots == 0 {
            return Err(zero("slots"));
        }
        check_bounds(self.max_segments, self.halt)
    }
}

/// Which of several attempts at a puzzle gives the answer. Labels never take part. What is equal even so is told apart by the
/// order of checkpoints, views and roll-outs; by which attempt was done first, only where an accepted one ends the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The attempt with the highest q_halt.
    #[default]
    QHalt,
    /// The grid that most attempts agree on; among equals the one with the higher mean `sigmoid(q_halt)`.
    Vote,
    /// In each cell the token that most attempts agree on; among equals the one with the higher sum of `sigmoid(q_halt)`.
    CellVote,
    /// The first attempt that the verifier accepts, which ends the others; as [`Choice::Vote`] where it accepts none.
    Verified,
}

/// Several attempts at each puzzle: every roll-out of every view by every checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attempts {
    /// Roll-outs, at least 1. The first starts from the model's initial states, each other from noisy ones.
    pub rollouts: u32,
    /// Standard deviation of the noise on the initial states of all positions, whose own is 1; at least 0.
    pub noise: f32,
    /// Views of the puzzle, at least 1: the puzzle itself, and the rest by a [`Symmetry`](super::Symmetry).
    pub views: u32,
    /// Whose answer is taken.
    pub choice: Choice,
    /// Seed of noise and views. The same seed, order of puzzles, device and build repeat a run.
    pub seed: u64,
}

impl Default for Attempts {
    /// One attempt; noise 0.2 should there be more.
    fn default() -> Self {
        Self {
            rollouts: 1,
            noise: 0.2,
            views: 1,
            choice: Choice::QHalt,
            seed: 0,
        }
    }
}

/// Most attempts at a puzzle by one checkpoint.
const MAX_ATTEMPTS: u32 = 1 << 20;

impl Attempts {
    /// Attempts of one checkpoint.
    pub(super) fn per_model(&self) -> u32 {
        self.rollouts * self.views
    }

    pub(super) fn validate(&self) -> Result<(), ReasonError> {
        if self.rollouts == 0 {
            return Err(zero("rollouts"));
        }
        if self.views == 0 {
            return Err(zero("views"));
        }
        let attempts = u64::from(self.rollouts) * u64::from(self.views);
        if attempts > u64::from(MAX_ATTEMPTS) {
            return Err(ReasonError::Field {
                field: "rollouts * views",
                expected: "at most 1048576",
                found: attempts.to_string(),
            });
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(ReasonError::Field {
                field: "noise",
                expected: "a number of at least 0",
                found: self.noise.to_string(),
            });
        }
        Ok(())
    }
}

/// Whether these can end a puzzle.
pub(super) fn check_bounds(max_segments: u32, halt: HaltRule) -> Result<(), ReasonError> {
    if max_segments == 0 {
        return Err(zero("max_segments"));
    }
    if let HaltRule::Stable { segments: 0 } = halt {
        return Err(zero("halt.stable.segments"));
    }
    Ok(())
}

fn zero(field: &'static str) -> ReasonError {
    ReasonError::Field {
        field,
        expected: "at least 1",
        found: "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halting_rules_by_name() {
        for (name, rule) in [
            ("fixed", HaltRule::Fixed),
            ("q-halt", HaltRule::QHalt),
            ("likely", HaltRule::Likely),
            ("stable:2", HaltRule::Stable { segments: 2 }),
            ("verified", HaltRule::Verified),
        ] {
            assert_eq!(name.parse(), Ok(rule));
            assert_eq!(rule.to_string(), name);
        }
        for bad in ["", "stable", "stable:0", "stable:x", "fixed:1", "never"] {
            let said = bad.parse::<HaltRule>().unwrap_err().to_string();
            assert!(said.contains("stable:K"), "{said}");
        }
        let endless = "x".repeat(1000).parse::<HaltRule>().unwrap_err();
        assert!(endless.to_string().len() < 120, "{endless}");
    }
}
