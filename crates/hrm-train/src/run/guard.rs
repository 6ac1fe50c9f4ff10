//! The guard against divergence: what is a fault, what is done about it, and what a run remembers of it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Reports that the running median needs.
const FEWEST: usize = 5;
/// The spread of the losses counts as at least so much: a run that has converged is not thrown back by a bad batch.
const LEAST_SPREAD: f64 = 0.1;

/// What a run does against a change for the worse on the way back from a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Both learning rates are `rate_factor` of what they were, for the rest of the run.
    #[default]
    #[serde(alias = "lower-rate")]
    LowerRate,
    /// The sampler moves past the batches since the checkpoint.
    #[serde(alias = "skip-batch")]
    SkipBatch,
}

/// When a run goes back to its last checkpoint, and how it goes on from there.
///
/// A fault is a loss that is not finite, a loss far above its running median, or a weight, average or moment that is not
/// finite. Losses are looked at where they are read anyway, every `log_every` steps; the state before each checkpoint, so that
/// a checkpoint is always good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// What is done.
    pub remedy: Remedy,
    /// Share of the learning rates that [`Remedy::LowerRate`] leaves.
    pub rate_factor: f64,
    /// How often a run goes back before it gives up.
    pub retries: u32,
    /// A loss is a fault that lies above the median of the last ones by more than so many times their median deviation, which
    /// counts as at least 0.1; none for no such check.
    pub spike: Option<f64>,
    /// Reports that the median is of.
    pub window: usize,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            remedy: Remedy::LowerRate,
            rate_factor: 0.5,
            retries: 3,
            spike: Some(10.0),
            window: 20,
        }
    }
}

/// A fault, and what was done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Step after which it was found.
    pub found: u64,
    /// What was wrong.
    pub reason: String,
    /// What was done; none where the run gave up.
    pub remedy: Option<Remedy>,
    /// Factor of the learning rates from then on.
    pub rate: f32,
}

/// What a run remembers besides its state: it is part of every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Progress {
    /// Losses of the last reports. In f32, whose text gives back the very value.
    pub recent_losses: VecDeque<f32>,
    /// Faults so far.
    pub faults: Vec<Fault>,
    /// Fingerprint of the held-out puzzles, once they were evaluated on.
    pub held_out: Option<String>,
    /// The best evaluation so far; its weights are in `best.safetensors`.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub since_best: u32,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps that the weights have made.
    pub step: u64,
    /// Puzzles solved in every cell.
    pub exact: u64,
    /// Puzzles evaluated on.
    pub puzzles: u64,
    /// Mean share of right cells.
    pub cell_accuracy: f32,
}

impl Best {
    /// Whether it is better than another: more puzzles solved, or as many and more cells right.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        (self.exact, self.cell_accuracy) > (other.exact, other.cell_accuracy)
    }
}

impl Progress {
    /// Factor of the learning rates.
    pub(crate) fn rate(&self, guard: &GuardConfig) -> f64 {
        let lowered = |fault: &&Fault| fault.remedy == Some(Remedy::LowerRate);
        let times = self.faults.iter().filter(lowered).count();
        guard
            .rate_factor
            .powi(i32::try_from(times).unwrap_or(i32::MAX))
    }

    /// Takes note of a report's loss; says what is wrong with it, if anything is.
    pub(crate) fn watch(&mut self, guard: &GuardConfig, loss: f64) -> Option<String> {
        if !loss.is_finite() {
            return Some(format!("the loss is {loss}"));
        }
        if let Some(spike) = guard.spike
            && self.recent_losses.len() >= FEWEST.min(guard.window)
        {
            let losses = self.recent_losses.iter().map(|&loss| f64::from(loss));
            let median = median(losses.clone());
            let spread = self::median(losses.map(|loss| (loss - median).abs()));
            let limit = median + spike * spread.max(LEAST_SPREAD);
            if loss > limit {
                return Some(format!(
                    "the loss is {loss:.4}, far above its running median of {median:.4} (limit {limit:.4})"
                ));
            }
        }
        self.recent_losses.push_back(loss as f32);
        while self.recent_losses.len() > guard.window {
            self.recent_losses.pop_front();
        }
        None
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_far_above_the_median_is_a_fault_and_is_not_taken_into_it() {
        let guard = GuardConfig {
            window: 6,
            ..GuardConfig::default()
        };
        let mut progress = Progress::default();
        // Too few to tell.
        assert_eq!(progress.watch(&guard, 9.0), None);
        for loss in [0.5, 0.4, 0.6, 0.5, 0.5] {
            assert_eq!(progress.watch(&guard, loss), None);
        }
        // Median 0.5, deviations up to 0.1 but for the first: the limit is 0.5 + 10 * 0.1.
        assert_eq!(progress.watch(&guard, 1.49), None);
        let reason = progress.watch(&guard, 1.6).unwrap();
        assert!(
            reason.contains("median of 0.5000 (limit 1.5000)"),
            "{reason}"
        );
        assert_eq!(progress.recent_losses.len(), 6);
        assert_eq!(progress.recent_losses.back(), Some(&1.49));
        assert_eq!(progress.watch(&guard, f64::NAN).unwrap(), "the loss is NaN");
        let calm = GuardConfig {
            spike: None,
            ..guard
        };
        assert_eq!(progress.watch(&calm, 1e9), None);
    }

    #[test]
    fn a_noisy_run_has_a_wide_limit() {
        let guard = GuardConfig::default();
        let mut progress = Progress::default();
        for i in 0..20 {
            progress.watch(&guard, f64::from(i % 5));
        }
        // Median 2, median deviation 1.
        assert_eq!(progress.watch(&guard, 11.9), None);
        assert!(progress.watch(&guard, 12.1).is_some());
    }

    #[test]
    fn rates_are_lowered_by_that_remedy_only() {
        let guard = GuardConfig::default();
        let fault = |remedy| Fault {
            found: 1,
            reason: String::new(),
            remedy: Some(remedy),
            rate: 1.0,
        };
        let progress = Progress {
            faults: vec![
                fault(Remedy::LowerRate),
                fault(Remedy::SkipBatch),
                fault(Remedy::LowerRate),
            ],
            ..Progress::default()
        };
        assert_eq!(progress.rate(&guard), 0.25);
        assert_eq!(Progress::default().rate(&guard), 1.0);
    }

    #[test]
    fn the_text_of_a_progress_gives_it_back() {
        let progress = Progress {
            recent_losses: [0.1, 1.0 / 3.0, 1.234_567_9e-7, 16_777_215.0].into(),
            best: Some(Best {
                step: 7,
                exact: 3,
                puzzles: 9,
                cell_accuracy: 0.333_333_34,
            }),
            ..Progress::default()
        };
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }
}
