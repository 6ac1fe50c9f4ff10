//! Verify or abstain: what an answer may be used as, and what many answers were worth.

use serde::{Deserialize, Serialize};

/// What an answer may be used as. Given by [`Answer::verdict`](super::Answer::verdict).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The verifier says yes.
    Verified,
    /// Given on the model's word.
    Unverified,
    /// Withheld: not verified, and the model isn't sure enough.
    Abstained,
}

impl Verdict {
    /// That of an answer by what its verifier says, where there is one, and the model's confidence, 0..=1: see
    /// [`Answer::verdict`](super::Answer::verdict).
    pub fn of(verified: Option<bool>, confidence: f32, min_confidence: f32) -> Self {
        let confidence = match verified {
            Some(true) => return Self::Verified,
            Some(false) => 0.0,
            None => confidence,
        };
        // A model that has diverged is sure of nothing: its confidence is no number.
        if min_confidence <= 0.0 || confidence >= min_confidence {
            Self::Unverified
        } else {
            Self::Abstained
        }
    }

    /// Whether the answer is given at all.
    pub fn is_given(self) -> bool {
        self != Self::Abstained
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Abstained => "abstained",
        })
    }
}

/// Counts of answers by verdict, and of those that the labels call right. The labels are the caller's: the reasoner never
/// sees one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Answers that the verifier accepts.
    pub verified: u64,
    /// Those of them that the labels call right.
    pub verified_right: u64,
    /// Answers on the model's word.
    pub unverified: u64,
    /// Those of them that the labels call right.
    pub unverified_right: u64,
    /// Answers withheld.
    pub abstained: u64,
    /// Those of them that would have been right.
    pub abstained_right: u64,
}

impl Summary {
    /// Counts one answer; `right` is what its label says.
    pub fn add(&mut self, verdict: Verdict, right: bool) {
        let (count, right_count) = match verdict {
            Verdict::Verified => (&mut self.verified, &mut self.verified_right),
            Verdict::Unverified => (&mut self.unverified, &mut self.unverified_right),
            Verdict::Abstained => (&mut self.abstained, &mut self.abstained_right),
        };
        *count += 1;
        *right_count += u64::from(right);
    }

    /// Puzzles counted.
    pub fn puzzles(&self) -> u64 {
        self.given() + self.abstained
    }

    /// Answers given.
    pub fn given(&self) -> u64 {
        self.verified + self.unverified
    }

    /// Share of all puzzles whose answer is right, given or withheld, 0..=1: what abstaining doesn't change. 0 without puzzles.
    pub fn accuracy(&self) -> f64 {
        let right = self.verified_right + self.unverified_right + self.abstained_right;
        share(right, self.puzzles())
    }

    /// Share of all puzzles that were given an answer, 0..=1. 0 without puzzles.
    pub fn coverage(&self) -> f64 {
        share(self.given(), self.puzzles())
    }

    /// Share of the answers given that are right, 0..=1; none where every answer was withheld.
    pub fn precision(&self) -> Option<f64> {
        let right = self.verified_right + self.unverified_right;
        (self.given() > 0).then(|| share(right, self.given()))
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_coverage_and_precision_by_hand() {
        let mut summary = Summary::default();
        assert_eq!((summary.accuracy(), summary.precision()), (0.0, None));
        summary.add(Verdict::Verified, true);
        summary.add(Verdict::Verified, true);
        summary.add(Verdict::Unverified, true);
        summary.add(Verdict::Unverified, false);
        summary.add(Verdict::Abstained, true);
        summary.add(Verdict::Abstained, false);
        summary.add(Verdict::Abstained, false);
        summary.add(Verdict::Abstained, false);
        assert_eq!(summary.puzzles(), 8);
        assert_eq!(summary.accuracy(), 0.5);
        assert_eq!(summary.coverage(), 0.5);
        assert_eq!(summary.precision(), Some(0.75));
    }
}
