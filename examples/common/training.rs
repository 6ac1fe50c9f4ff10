//! What the examples share: the options of a training, and a training that ends when its minutes are up.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use hrm::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

/// Options of a training.
#[derive(Args)]
pub struct Training {
    /// Seed of the puzzles, the weights and the training.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Device to compute on; default: the environment's HRM_DEVICE, else flex, the CPU.
    #[arg(long)]
    device: Option<String>,
    /// Minutes to train.
    #[arg(long, default_value_t = 2.5)]
    minutes: f64,
    /// Steps to train, in place of minutes.
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Recipe: trm-small-mlp, trm-small or hrm-small.
    #[arg(long, default_value = "trm-small-mlp")]
    pub preset: String,
    /// A field of the recipe, as key=value; may be given several times.
    #[arg(long)]
    set: Vec<String>,
}

impl Training {
    /// The device wished.
    pub fn device(&self) -> anyhow::Result<Device> {
        Ok(hrm::device::choose(self.device.as_deref())?)
    }

    /// The recipe for a training set, changed as `adapt` and then as the options want it.
    pub fn config(
        &self,
        set: &PuzzleSet,
        adapt: impl FnOnce(&mut TrainConfig),
    ) -> anyhow::Result<TrainConfig> {
        let mut config = Preset::by_name(&self.preset)?.config(set);
        config.seed = self.seed;
        adapt(&mut config);
        for change in &self.set {
            let (key, value) = change.split_once('=').context("--set wants key=value")?;
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Trains until the time is up, with the schedule stretched over the steps that fit into it, or for a number of steps.
    /// Gives the seconds it took.
    pub fn train(&self, trainer: &mut Trainer) -> anyhow::Result<f64> {
        let budget = Duration::try_from_secs_f64(self.minutes * 60.0).context("--minutes")?;
        if let Some(steps) = self.steps {
            trainer.set_steps(steps)?;
        }
        let start = Instant::now();
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}")?;
        let bar = ProgressBar::new(1000).with_style(style);
        loop {
            let elapsed = start.elapsed();
            let step = trainer.state().step;
            let (done, all) = match self.steps {
                Some(steps) => (step as f64, steps as f64),
                None => (elapsed.as_secs_f64(), budget.as_secs_f64()),
            };
            if done >= all {
                break;
            }
            bar.set_position((1000.0 * done / all) as u64);
            if self.steps.is_none() && step >= 20 {
                // So many steps fit into the time, by the pace so far.
                let pace = elapsed.as_secs_f64() / step as f64;
                trainer.set_steps(((budget.as_secs_f64() / pace) as u64).max(1))?;
            }
            let report = trainer.step()?;
            if let Some(metrics) = report.metrics {
                bar.set_message(format!(
                    "step {:>5}  loss {:.3}  exact {:>5.1}%  segments {:.1}",
                    report.step,
                    metrics.loss(),
                    100.0 * metrics.exact_accuracy().unwrap_or_default(),
                    metrics.mean_segments().unwrap_or_default()
                ));
            }
        }
        bar.finish_and_clear();
        Ok(start.elapsed().as_secs_f64())
    }
}
