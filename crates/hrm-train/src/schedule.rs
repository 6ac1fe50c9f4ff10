//! The learning rate over the steps: linear warm-up, then half a cosine.

use serde::{Deserialize, Serialize};

/// Shape of the learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps of the linear warm-up, W.
    pub warmup_steps: u64,
    /// The rate at the end as a share of the highest; 1 keeps it flat.
    pub min_ratio: f64,
}

impl Schedule {
    /// Share of the highest rate at optimizer step `step`, counted from 1, of `total` steps.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let rest = total.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / rest as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.min_ratio + (1.0 - self.min_ratio) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_then_cosine_by_hand() {
        let schedule = Schedule {
            warmup_steps: 10,
            min_ratio: 0.1,
        };
        let close = |step, expected: f64| {
            let found = schedule.factor(step, 110);
            assert!((found - expected).abs() < 1e-12, "step {step}: {found}");
        };
        close(1, 0.1);
        close(9, 0.9);
        close(10, 1.0);
        close(60, 0.55); // the middle of the cosine: 0.1 + 0.9 / 2
        close(110, 0.1);
        close(500, 0.1); // and never up again
    }

    #[test]
    fn a_ratio_of_one_stays_flat_and_no_warm_up_starts_high() {
        let schedule = Schedule {
            warmup_steps: 0,
            min_ratio: 1.0,
        };
        assert!((1..50).all(|step| schedule.factor(step, 40) == 1.0));
    }
}
