//! What a run is made of: the model, halting, optimizers, schedule, batch. Saved with the run, every field can be set by name.

use hrm_act::ActConfig;
use hrm_core::{ComputeType, Hrm, HrmConfig};
use hrm_data::PuzzleSet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::TrainError;
use crate::freeze::Freeze;
use crate::optimizer::{OptimizerConfig, PuzzleOptimizerConfig, Rule};
use crate::run::{GuardConfig, differences};
use crate::schedule::Schedule;

/// The configuration of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The model.
    pub model: HrmConfig,
    /// Segments, exploration and the loss.
    pub act: ActConfig,
    /// The dense optimizer.
    pub optimizer: OptimizerConfig,
    /// The optimizer of the puzzle table.
    pub puzzle_optimizer: PuzzleOptimizerConfig,
    /// Warm-up and decay of both rates.
    pub schedule: Schedule,
    /// Share of the old average kept at each step; none for no averaging.
    pub ema: Option<f64>,
    /// Largest common norm of the dense gradients; none for no clipping, as in the reference.
    pub gradient_clip: Option<f64>,
    /// Slots, B.
    pub batch_size: usize,
    /// Parts that a step computes one after the other and sums, each of `batch_size / accumulate` slots: what the device
    /// holds at a time. The step is that of the whole batch, within rounding.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Weights that stay as they are.
    #[serde(default)]
    pub freeze: Freeze,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Seed of the weights, the sampling, the augmentation and the exploration.
    pub seed: u64,
    /// Whether examples are augmented as they are drawn.
    pub augment: bool,
    /// Steps between two reports.
    pub log_every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints kept, of a multiple of `checkpoint_every` steps; that of an interrupt or of the end comes on top.
    pub keep_checkpoints: usize,
    /// Steps between two evaluations on held-out puzzles; none for no evaluation.
    #[serde(default)]
    pub eval_every: Option<u64>,
    /// Examples of an evaluation at most, of as many original puzzles as can be.
    #[serde(default = "thousand")]
    pub eval_puzzles: usize,
    /// Share of the training groups that is held out for the evaluations; none for the split `test` of the data.
    #[serde(default)]
    pub eval_hold_out: Option<f64>,
    /// Evaluations without a new best after which the run stops; none for a run that makes all its steps.
    #[serde(default)]
    pub eval_patience: Option<u32>,
    /// What is done against divergence.
    #[serde(default)]
    pub guard: GuardConfig,
}

fn thousand() -> usize {
    1000
}

fn one() -> usize {
    1
}

impl TrainConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that makes no run.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.model.validate()?;
        let check = |fine: bool, field, expected, found: String| {
            if fine {
                Ok(())
            } else {
                Err(TrainError::Field {
                    field,
                    expected,
                    found,
                })
            }
        };
        let positive = |field, value: f64| {
            check(
                value > 0.0 && value.is_finite(),
                field,
                "a positive number",
                value.to_string(),
            )
        };
        let not_negative = |field, value: f64| {
            check(
                value >= 0.0 && value.is_finite(),
                field,
                "zero or a positive number",
                value.to_string(),
            )
        };
        let share = |field, value: f64| {
            check(
                (0.0..1.0).contains(&value),
                field,
                "at least 0 and less than 1",
                value.to_string(),
            )
        };
        let at_least_one =
            |field, value: u64| check(value >= 1, field, "at least 1", value.to_string());
        positive("optimizer.lr", self.optimizer.lr)?;
        not_negative("optimizer.weight_decay", self.optimizer.weight_decay)?;
        share("optimizer.beta1", self.optimizer.beta1)?;
        share("optimizer.beta2", self.optimizer.beta2)?;
        match self.optimizer.rule {
            Rule::AdamAtan2 => {}
            Rule::AdamW { epsilon } => positive("optimizer.rule.adam_w.epsilon", epsilon)?,
            Rule::Muon { momentum, epsilon } => {
                share("optimizer.rule.muon.momentum", momentum)?;
                positive("optimizer.rule.muon.epsilon", epsilon)?;
            }
        }
        positive("puzzle_optimizer.lr", self.puzzle_optimizer.lr)?;
        not_negative(
            "puzzle_optimizer.weight_decay",
            self.puzzle_optimizer.weight_decay,
        )?;
        not_negative("schedule.min_ratio", self.schedule.min_ratio)?;
        if let Some(decay) = self.ema {
            share("ema", decay)?;
        }
        if let Some(norm) = self.gradient_clip {
            positive("gradient_clip", norm)?;
        }
        check(
            (0.0..=1.0).contains(&self.act.exploration),
            "act.exploration",
            "a probability from 0 to 1",
            self.act.exploration.to_string(),
        )?;
        at_least_one("act.max_segments", u64::from(self.act.max_segments))?;
        check(
            self.act.max_segments <= 1 << 20,
            "act.max_segments",
            "at most 1048576",
            self.act.max_segments.to_string(),
        )?;
        at_least_one("batch_size", self.batch_size as u64)?;
        check(
            self.batch_size <= 1 << 20,
            "batch_size",
            "at most 1048576",
            self.batch_size.to_string(),
        )?;
        check(
            self.model.compute != ComputeType::F16,
            "model.compute",
            "f32 or bf16 (f16, whose gradients vanish, is for inference)",
            "f16".to_owned(),
        )?;
        at_least_one("accumulate", self.accumulate as u64)?;
        check(
            self.batch_size.is_multiple_of(self.accumulate),
            "accumulate",
            "a divisor of `batch_size`",
            format!("{} for {} slots", self.accumulate, self.batch_size),
        )?;
        self.freeze.check(&self.model)?;
        at_least_one("steps", self.steps)?;
        at_least_one("log_every", self.log_every)?;
        at_least_one("checkpoint_every", self.checkpoint_every)?;
        at_least_one("keep_checkpoints", self.keep_checkpoints as u64)?;
        at_least_one("eval_every", self.eval_every.unwrap_or(1))?;
        at_least_one("eval_puzzles", self.eval_puzzles as u64)?;
        at_least_one("eval_patience", self.eval_patience.unwrap_or(1).into())?;
        let held_out = self.eval_hold_out.unwrap_or(0.5);
        check(
            held_out > 0.0 && held_out < 1.0,
            "eval_hold_out",
            "a share between 0 and 1",
            held_out.to_string(),
        )?;
        let guard = &self.guard;
        check(
            guard.rate_factor > 0.0 && guard.rate_factor < 1.0,
            "guard.rate_factor",
            "more than 0 and less than 1",
            guard.rate_factor.to_string(),
        )?;
        positive("guard.spike", guard.spike.unwrap_or(1.0))?;
        at_least_one("guard.window", guard.window as u64)
    }

    /// Checks every field, and that the model at hand is the one described.
    pub(crate) fn validate_for(&self, model: &Hrm) -> Result<(), TrainError> {
        self.validate()?;
        if model.config() == &self.model {
            return Ok(());
        }
        let at_hand = Self {
            model: model.config().clone(),
            ..self.clone()
        };
        let fields: Vec<String> = differences(&at_hand, self)
            .iter()
            .map(|field| format!("`{}` = {} for {}", field.key, field.to, field.from))
            .collect();
        Err(TrainError::Field {
            field: "model",
            expected: "the configuration of the model at hand",
            found: fields.join(", "),
        })
    }

    /// Makes the run so many epochs of a set long: epochs * groups * mean examples of a puzzle / `batch_size` steps, rounded
    /// down, at least one.
    ///
    /// # Errors
    /// A number of epochs that is not positive and finite.
    pub fn set_epochs(&mut self, epochs: f64, set: &PuzzleSet) -> Result<(), TrainError> {
        if !(epochs > 0.0 && epochs.is_finite()) {
            return Err(TrainError::Field {
                field: "epochs",
                expected: "a positive number",
                found: epochs.to_string(),
            });
        }
        self.steps = steps_of(epochs, set, self.batch_size);
        Ok(())
    }

    /// The epochs of a set that the steps of the run make; of an empty set none.
    pub fn epochs(&self, set: &PuzzleSet) -> f64 {
        match examples_of_epoch(set) {
            0.0 => 0.0,
            examples => self.steps as f64 * self.batch_size as f64 / examples,
        }
    }

    /// Sets the field of a dotted name, such as `optimizer.lr` or `model.h_cycles`, from its JSON text; a bare word is
    /// taken as a string.
    ///
    /// # Errors
    /// A key that doesn't exist (with the nearest that do), or a value that doesn't fit.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TrainError> {
        let bad = |reason: String| TrainError::BadValue {
            key: key.to_owned(),
            value: value.to_owned(),
            reason,
        };
        let mut tree = serde_json::to_value(&*self).map_err(|error| bad(error.to_string()))?;
        let parsed: Value =
            serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let Some(field) = find(&mut tree, key) else {
            return Err(unknown(key, &tree));
        };
        *field = parsed;
        *self = serde_json::from_value(tree).map_err(|error| bad(error.to_string()))?;
        Ok(())
    }

    /// Checks that there is a field of a dotted name.
    pub(crate) fn check_key(&self, key: &str) -> Result<(), TrainError> {
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        match find(&mut tree, key) {
            Some(_) => Ok(()),
            None => Err(unknown(key, &tree)),
        }
    }
}

/// The examples that an epoch draws, on average: those of a puzzle of each group.
fn examples_of_epoch(set: &PuzzleSet) -> f64 {
    set.num_groups() as f64 * set.mean_puzzle_examples()
}

/// The whole batches in so many epochs of a set, at least one.
pub(crate) fn steps_of(epochs: f64, set: &PuzzleSet, batch_size: usize) -> u64 {
    ((epochs * examples_of_epoch(set) / batch_size as f64) as u64).max(1)
}

/// The error of a key that `tree` doesn't have.
fn unknown(key: &str, tree: &Value) -> TrainError {
    let mut known = Vec::new();
    keys(tree, "", &mut known);
    TrainError::UnknownKey {
        key: key.to_owned(),
        hint: nearest(key, &known),
    }
}

/// The field of a dotted name.
fn find<'a>(tree: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.')
        .try_fold(tree, |tree, part| tree.get_mut(part))
}

fn keys(tree: &Value, prefix: &str, known: &mut Vec<String>) {
    let Value::Object(map) = tree else { return };
    for (name, value) in map {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        keys(value, &key, known);
        known.push(key);
    }
}

/// "; did you mean ...?" with the keys that look most like `wanted`.
pub(crate) fn nearest(wanted: &str, known: &[String]) -> String {
    let likeness = |key: &str| {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        strsim::jaro_winkler(key, wanted)
            .max(0.98 * strsim::jaro_winkler(&last(key), &last(wanted)))
    };
    let mut ranked: Vec<(f64, &String)> = known
        .iter()
        .map(|key| (likeness(key), key))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<String> = ranked
        .iter()
        .take(3)
        .map(|(_, key)| format!("`{key}`"))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", names.join(" or "))
    }
}
