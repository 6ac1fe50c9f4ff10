//! The guard against divergence: what is a fault, what is done about it, and what a run remembers of it.

use std::collections::VecDeque;

use hrm_data::SamplerState;
use serde::{Deserialize, Serialize};

/// Reports that the running median needs.
const FEWEST: usize = 5;
/// The spread of the losses counts as at least this share of their median: the noise of losses goes with their size, and a
/// rise that tells of a fault where chance is a loss of 0.7 tells of none where it is one of 7. With the `spike` of 10, a
/// loss up to twice the median is never a fault.
const LEAST_SPREAD: f64 = 0.1;
/// And as at least so much: a run that has converged is not thrown back by a single puzzle that it does not solve.
const LEAST_SPREAD_AT_ZERO: f64 = 0.01;

/// What a run does against a change for the worse on the way back from a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Both learning rates are `rate_factor` of what they were, for the rest of the run.
    #[default]
    #[serde(alias = "lower-rate")]
    LowerRate,
    /// The steps since the checkpoint are made again, but for the batches since the last good report: the sampler moves past
    /// those, of which one must be to blame. Where the run does not come past the fault so, past all since the checkpoint: a
    /// puzzle stays in its slot for some steps.
    #[serde(alias = "skip-batch")]
    SkipBatch,
}

/// When a run goes back to a checkpoint, and how it goes on from there.
///
/// A fault is a loss that is not finite, a loss far above its running median, or a weight, average or moment that is not
/// finite. Losses are looked at where they are read anyway, every `log_every` steps. Before each checkpoint and evaluation the
/// state is looked at and the loss since the last report, so that no checkpoint holds a state that a fault would be found in.
///
/// A fault makes the run go back to the last planned checkpoint (of a multiple of `checkpoint_every` steps); a second one
/// before the next is written, one further where there is one: the fault may have begun before it could be seen.
/// Checkpoints after the one gone back to are removed.
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
    /// counts as at least a tenth of the median and at least 0.01; none for no such check.
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
    pub rate: f64,
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
    /// Evaluations since then; 0 where the run has gone back to before it.
    pub since_best: u32,
    /// Whether the evaluation that is due after the steps made was broken off: the run goes on with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_due: bool,
    /// Steps of the checkpoint that the last fault made the run go back to.
    pub(crate) back_to: Option<u64>,
    /// Batches drawn before the last one that the last good report is of: that loss says nothing of what its own update did.
    pub(crate) good_batches: u64,
    /// Batches that the run does not draw.
    pub(crate) skips: Vec<Skip>,
}

/// Batches that the sampler moves past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skip {
    /// Batches drawn before them.
    pub(crate) from: u64,
    /// Position behind them.
    pub(crate) to: SamplerState,
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
    /// Factor of the learning rates: that of the last fault.
    pub fn rate(&self) -> f64 {
        self.faults.last().map_or(1.0, |fault| fault.rate)
    }

    /// That from the next fault on. What was lowered stays so, whatever the factor was then.
    pub(crate) fn rate_after(&self, guard: &GuardConfig) -> f64 {
        match guard.remedy {
            Remedy::LowerRate => guard.rate_factor * self.rate(),
            Remedy::SkipBatch => self.rate(),
        }
    }

    /// Where the sampler is to go on that has drawn so many batches.
    pub(crate) fn skip_at(&self, batches: u64) -> Option<SamplerState> {
        let mut skips = self.skips.iter();
        let skip = skips.find(|skip| skip.from == batches && batches < skip.to.batches);
        skip.map(|skip| skip.to)
    }

    /// Has the batches skipped that were drawn since the last good report; where the run has not come past the step of the
    /// last such fault, all since the checkpoint. `found` is the step of the fault, `checkpoint` and `now` are the sampler's
    /// positions at the checkpoint and at the fault.
    pub(crate) fn skip(
        &mut self,
        found: u64,
        good_batches: u64,
        checkpoint: &SamplerState,
        now: SamplerState,
    ) {
        let again = self
            .faults
            .last()
            .is_some_and(|last| last.remedy == Some(Remedy::SkipBatch) && found <= last.found);
        let from = match again {
            true => checkpoint.batches,
            false => good_batches.max(checkpoint.batches),
        };
        // A wider one takes the place of those within it.
        self.skips
            .retain(|skip| skip.from < from || now.batches < skip.to.batches);
        self.skips.push(Skip { from, to: now });
    }

    /// Takes note of a report's loss; says what is wrong with it, if anything is. `share` as in [`Progress::check`]; `batches`
    /// is how many were drawn.
    pub(crate) fn watch(
        &mut self,
        guard: &GuardConfig,
        loss: f64,
        share: f64,
        batches: u64,
    ) -> Option<String> {
        let fault = self.check(guard, loss, share);
        if fault.is_none() {
            self.good_batches = batches.saturating_sub(1);
            self.recent_losses.push_back(loss as f32);
            while self.recent_losses.len() > guard.window {
                self.recent_losses.pop_front();
            }
        }
        fault
    }

    /// Says what is wrong with a loss, if anything is. `share` is that of a report's steps which it is the mean of: the mean of
    /// fewer scatters more, by the root of it.
    pub(crate) fn check(&self, guard: &GuardConfig, loss: f64, share: f64) -> Option<String> {
        if !loss.is_finite() {
            return Some(format!("the loss is {loss}"));
        }
        let spike = guard.spike?;
        if self.recent_losses.len() < FEWEST.min(guard.window) {
            return None;
        }
        let losses = self.recent_losses.iter().map(|&loss| f64::from(loss));
        let median = median(losses.clone());
        let spread = self::median(losses.map(|loss| (loss - median).abs()))
            .max(LEAST_SPREAD * median)
            .max(LEAST_SPREAD_AT_ZERO);
        let limit = median + spike * spread / share.clamp(f64::MIN_POSITIVE, 1.0).sqrt();
        (loss > limit).then(|| {
            format!(
                "the loss is {loss:.4}, far above its running median of {median:.4} (limit {limit:.4})"
            )
        })
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

    /// A report of whole length.
    fn watch(progress: &mut Progress, guard: &GuardConfig, loss: f64) -> Option<String> {
        progress.watch(guard, loss, 1.0, 0)
    }

    #[test]
    fn of_as_many_puzzles_solved_more_right_cells_are_better() {
        let best = |exact, cell_accuracy| Best {
            step: 1,
            exact,
            puzzles: 9,
            cell_accuracy,
        };
        assert!(best(3, 0.5).beats(&best(2, 0.9)) && !best(2, 0.9).beats(&best(3, 0.5)));
        assert!(best(3, 0.6).beats(&best(3, 0.5)) && !best(3, 0.5).beats(&best(3, 0.6)));
        assert!(!best(3, 0.5).beats(&best(3, 0.5)), "the first stays");
    }

    #[test]
    fn a_loss_far_above_the_median_is_a_fault_and_is_not_taken_into_it() {
        let guard = GuardConfig {
            window: 6,
            ..GuardConfig::default()
        };
        let mut progress = Progress::default();
        // Too few to tell.
        assert_eq!(watch(&mut progress, &guard, 9.0), None);
        for loss in [0.5, 0.4, 0.6, 0.5, 0.5] {
            assert_eq!(watch(&mut progress, &guard, loss), None);
        }
        // Median 0.5, deviations up to 0.1 but for the first: the limit is 0.5 + 10 * 0.1.
        assert_eq!(watch(&mut progress, &guard, 1.49), None);
        let reason = watch(&mut progress, &guard, 1.6).unwrap();
        assert!(
            reason.contains("median of 0.5000 (limit 1.5000)"),
            "{reason}"
        );
        assert_eq!(progress.recent_losses.len(), 6);
        assert_eq!(progress.recent_losses.back(), Some(&1.49));
        assert_eq!(
            watch(&mut progress, &guard, f64::NAN).unwrap(),
            "the loss is NaN"
        );
        let calm = GuardConfig {
            spike: None,
            ..guard
        };
        assert_eq!(watch(&mut progress, &calm, 1e9), None);
    }

    #[test]
    fn a_noisy_run_has_a_wide_limit() {
        let guard = GuardConfig::default();
        let mut progress = Progress::default();
        for i in 0..20 {
            watch(&mut progress, &guard, f64::from(i % 5));
        }
        // Median 2, median deviation 1.
        assert_eq!(watch(&mut progress, &guard, 11.9), None);
        assert!(watch(&mut progress, &guard, 12.1).is_some());
    }

    #[test]
    fn a_low_loss_that_is_more_than_twice_its_median_is_a_fault() {
        let guard = GuardConfig::default();
        for (usual, fine, spike) in [
            (0.5, 0.99, 1.01),
            (8.0, 15.9, 16.1),
            // At zero the limit is 10 * 0.01 away.
            (0.001, 0.1, 0.102),
        ] {
            let mut progress = Progress::default();
            for _ in 0..5 {
                assert_eq!(watch(&mut progress, &guard, usual), None);
            }
            assert_eq!(progress.check(&guard, fine, 1.0), None);
            let reason = progress.check(&guard, spike, 1.0).unwrap();
            assert!(reason.contains("far above"), "{reason}");
            // Checked only: it was not taken into the median.
            assert_eq!(progress.recent_losses.len(), 5);
        }
    }

    #[test]
    fn the_mean_of_fewer_steps_may_lie_farther_off() {
        let guard = GuardConfig::default();
        let mut progress = Progress::default();
        for _ in 0..5 {
            watch(&mut progress, &guard, 1.0);
        }
        // A quarter of the steps scatters twice as much: the limit is 1 + 2 * 10 * 0.1.
        assert_eq!(progress.check(&guard, 2.9, 0.25), None);
        assert!(progress.check(&guard, 3.1, 0.25).is_some());
        assert!(progress.check(&guard, f64::INFINITY, 0.01).is_some());
    }

    #[test]
    fn batches_since_the_last_good_report_are_skipped_then_all_since_the_checkpoint() {
        let at = |batches| SamplerState {
            batches,
            ..SamplerState::default()
        };
        let skip = |from, to| Skip { from, to: at(to) };
        let mut progress = Progress::default();
        let mut fault = |found, good, checkpoint, now| {
            progress.skip(found, good, &at(checkpoint), at(now));
            progress.faults.push(Fault {
                found,
                reason: String::new(),
                remedy: Some(Remedy::SkipBatch),
                rate: 1.0,
            });
            progress.clone()
        };
        let found = fault(38, 27, 10, 38);
        assert_eq!(found.skips, [skip(27, 38)]);
        assert_eq!(found.skip_at(27), Some(at(38)));
        assert_eq!(found.skip_at(28), None);
        // The run came past the step: another fault.
        let found = fault(47, 47, 10, 58);
        assert_eq!(found.skips, [skip(27, 38), skip(47, 58)]);
        // It didn't; the checkpoint lies between the two.
        let found = fault(47, 58, 40, 68);
        assert_eq!(found.skips, [skip(27, 38), skip(40, 68)]);
        // It didn't again, and the checkpoint is an earlier one.
        let found = fault(46, 68, 10, 78);
        assert_eq!(found.skips, [skip(10, 78)]);
        // A checkpoint after the last good report was looked at as well.
        let found = fault(67, 87, 90, 98);
        assert_eq!(found.skips, [skip(10, 78), skip(90, 98)]);
    }

    #[test]
    fn rates_are_lowered_by_that_remedy_only() {
        let mut progress = Progress::default();
        assert_eq!(progress.rate(), 1.0);
        let mut after = |remedy, rate_factor| {
            let guard = GuardConfig {
                remedy,
                rate_factor,
                ..GuardConfig::default()
            };
            progress.faults.push(Fault {
                found: 1,
                reason: String::new(),
                remedy: Some(remedy),
                rate: progress.rate_after(&guard),
            });
            progress.rate()
        };
        assert_eq!(after(Remedy::LowerRate, 0.5), 0.5);
        assert_eq!(after(Remedy::SkipBatch, 0.5), 0.5);
        // Another factor is that of the next fault: what was lowered is not raised by it.
        assert_eq!(after(Remedy::LowerRate, 0.7), 0.7 * 0.5);
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
