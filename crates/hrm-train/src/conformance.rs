//! Holds this implementation against a trace of the reference programs: the same weights, puzzles and draws, every
//! quantity compared. `docs/parity.md` gives the layout of a trace and how to record one.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use hrm_act::{ActConfig, ActStep, Batch, IGNORED_LABEL, LossKind};
use hrm_core::{
    ComputeType, GradientSpan, HaltHead, Hrm, HrmConfig, Levels, MixerKind, PositionKind,
    PuzzleEmbeddingConfig, WeightRole,
};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::ema::Ema;
use crate::freeze::Freeze;
use crate::gradients::Gradients;
use crate::optimizer::{DenseOptimizer, OptimizerConfig, PuzzleOptimizerConfig, Rule};
use crate::run::{GuardConfig, Progress};
use crate::schedule::Schedule;
use crate::trainer::TrainState;

/// What is wrong with a trace file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It is no safetensors file.
    #[error("no safetensors file: {0}")]
    Format(safetensors::SafeTensorError),
    /// Its metadata miss an entry or hold one that can't be understood.
    #[error("metadata `{field}`: {reason}")]
    Metadata {
        /// Entry of the metadata.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is missing, or of another shape or type than the configuration says.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Tensor {
        /// Its name.
        name: String,
        /// Shape or type expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The configuration describes no model.
    #[error("metadata `config`: {0}")]
    Model(hrm_core::ConfigError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

impl From<safetensors::SafeTensorError> for TraceError {
    fn from(error: safetensors::SafeTensorError) -> Self {
        Self::Format(error)
    }
}

impl From<hrm_core::ConfigError> for TraceError {
    fn from(error: hrm_core::ConfigError) -> Self {
        Self::Model(error)
    }
}

/// One quantity compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub quantity: String,
    /// Its largest error; absolute unless the quantity says otherwise.
    pub largest_error: f64,
    /// What it may be at most.
    pub tolerance: f64,
    /// More to know, such as how many elements lie outside a tighter bound.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Comparison {
    /// Whether the error is within the tolerance; NaN is not.
    pub fn passed(&self) -> bool {
        self.largest_error <= self.tolerance
    }
}

/// How far a computation may lie from the trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerances {
    /// States, logits and q values from the initial states and in the first training step, absolute.
    pub inference: f64,
    /// Gradients of the first step, relative to the norm of each.
    pub gradient: f64,
    /// Losses, relative.
    pub loss: f64,
    /// q values of later steps, absolute.
    pub later_q: f64,
    /// Final weights, absolute, but for `outliers`.
    pub weight: f64,
    /// Share of a weight's elements that may lie as far as twice the rate times the steps: where a gradient is rounding noise,
    /// its sign is.
    pub outliers: f64,
}

impl Tolerances {
    /// Of f32 on this CPU. They are those of our fused operations with AVX-512; where the vectors are narrower, or `HRM_FUSED=0` leaves the
    /// operations to Burn, sums are formed in another order, and inference, gradients and losses may lie twice as far off, gradients of
    /// the MLP mixer four times (`docs/parity.md` has how far they do).
    pub fn f32(mixer: MixerKind) -> Self {
        let slack = match has_avx512() && hrm_core::ops::fused_enabled() {
            true => 1.0,
            false => 2.0,
        };
        Self::with_slack(mixer, slack)
    }

    fn with_slack(mixer: MixerKind, slack: f64) -> Self {
        Self {
            inference: match mixer {
                MixerKind::Attention => slack * 2e-4,
                MixerKind::Mlp => slack * 2e-3,
            },
            gradient: match mixer {
                MixerKind::Attention => slack * 1e-5,
                MixerKind::Mlp => slack * slack * 1e-5,
            },
            loss: slack * 1e-3,
            later_q: 5e-2,
            weight: 2e-5,
            outliers: 0.01,
        }
    }

    /// Of f32 on a GPU, which sums in another order and has its own exponential function and cosine.
    pub fn f32_gpu(mixer: MixerKind) -> Self {
        let cpu = Self::with_slack(mixer, 1.0);
        Self {
            inference: cpu.inference.max(1e-3),
            gradient: 1e-3,
            ..cpu
        }
    }
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A recorded run of a reference program.
#[derive(Debug)]
pub struct Trace<'a> {
    file: SafeTensors<'a>,
    config: TraceConfig,
    optimizer: TraceOptimizer,
}

/// The reference's own configuration keys.
#[derive(Clone, Debug, Deserialize)]
struct TraceConfig {
    model: String,
    loss_type: String,
    batch_size: usize,
    seq_len: usize,
    vocab_size: usize,
    num_puzzle_identifiers: usize,
    #[serde(default)]
    puzzle_emb_ndim: usize,
    #[serde(default)]
    puzzle_emb_len: usize,
    #[serde(rename = "H_cycles")]
    h_cycles: usize,
    #[serde(rename = "L_cycles")]
    l_cycles: usize,
    #[serde(rename = "H_layers", default)]
    h_layers: usize,
    #[serde(rename = "L_layers")]
    l_layers: usize,
    hidden_size: usize,
    expansion: f64,
    num_heads: usize,
    pos_encodings: String,
    halt_max_steps: u32,
    halt_exploration_prob: f64,
    #[serde(default)]
    mlp_t: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct TraceOptimizer {
    lr: f64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    puzzle_emb_lr: f64,
    puzzle_emb_weight_decay: f64,
    ema: f64,
    train_steps: u64,
}

impl<'a> Trace<'a> {
    /// Reads a trace.
    ///
    /// # Errors
    /// If the bytes are no trace.
    pub fn read(bytes: &'a [u8]) -> Result<Self, TraceError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self {
            file: SafeTensors::deserialize(bytes)?,
            config: parse(&metadata, "config")?,
            optimizer: parse(&metadata, "optimizer")?,
        })
    }

    /// The configuration of the recorded run in this crate's terms.
    ///
    /// # Errors
    /// A name that isn't known, or sizes that make no model.
    pub fn train_config(&self) -> Result<TrainConfig, TraceError> {
        let TraceConfig {
            seq_len,
            vocab_size,
            h_cycles,
            l_cycles,
            hidden_size,
            expansion,
            num_heads,
            ..
        } = self.config;
        let shared = match self.config.model.as_str() {
            "hrm" => false,
            "trm" => true,
            other => return Err(unknown("model", "`hrm` or `trm`", other)),
        };
        let model = HrmConfig {
            seq_len,
            vocab_size,
            num_puzzle_ids: self.config.num_puzzle_identifiers,
            hidden_size,
            num_heads,
            expansion,
            levels: if shared {
                Levels::Shared {
                    layers: self.config.l_layers,
                }
            } else {
                Levels::Separate {
                    h_layers: self.config.h_layers,
                    l_layers: self.config.l_layers,
                }
            },
            gradient: if shared {
                GradientSpan::LastCycle
            } else {
                GradientSpan::LastUpdate
            },
            mixer: if self.config.mlp_t {
                MixerKind::Mlp
            } else {
                MixerKind::Attention
            },
            position: match self.config.pos_encodings.as_str() {
                "rope" => PositionKind::Rope,
                "learned" => PositionKind::Learned,
                "none" => PositionKind::None,
                other => {
                    let expected = "`rope`, `learned` or `none`";
                    return Err(unknown("pos_encodings", expected, other));
                }
            },
            h_cycles,
            l_cycles,
            puzzle_embedding: (self.config.puzzle_emb_ndim > 0).then_some(PuzzleEmbeddingConfig {
                dim: self.config.puzzle_emb_ndim,
                positions: (self.config.puzzle_emb_len > 0).then_some(self.config.puzzle_emb_len),
            }),
            halt_head: if shared {
                HaltHead::HaltOnly
            } else {
                HaltHead::QLearning
            },
            compute: ComputeType::F32,
        };
        model.validate()?;
        let loss = match self.config.loss_type.as_str() {
            "stablemax_cross_entropy" => LossKind::Stablemax,
            "softmax_cross_entropy" => LossKind::Softmax,
            other => {
                let expected = "`stablemax_cross_entropy` or `softmax_cross_entropy`";
                return Err(unknown("loss_type", expected, other));
            }
        };
        let rates = self.optimizer;
        Ok(TrainConfig {
            model,
            act: ActConfig {
                max_segments: self.config.halt_max_steps,
                exploration: self.config.halt_exploration_prob,
                loss,
            },
            optimizer: OptimizerConfig {
                rule: Rule::AdamAtan2,
                lr: rates.lr,
                weight_decay: rates.weight_decay,
                beta1: rates.beta1,
                beta2: rates.beta2,
            },
            puzzle_optimizer: PuzzleOptimizerConfig {
                lr: rates.puzzle_emb_lr,
                weight_decay: rates.puzzle_emb_weight_decay,
            },
            schedule: Schedule {
                warmup_steps: 0,
                min_ratio: 1.0,
            },
            ema: Some(rates.ema),
            gradient_clip: None,
            batch_size: self.config.batch_size,
            accumulate: 1,
            freeze: Freeze::Nothing,
            steps: rates.train_steps.max(1),
            seed: 0,
            augment: false,
            log_every: 1,
            checkpoint_every: 1,
            keep_checkpoints: 1,
            eval_every: None,
            eval_puzzles: 1,
            eval_hold_out: None,
            eval_patience: None,
            guard: GuardConfig::default(),
        })
    }

    /// Computes what was recorded on `device` and compares. A trace of no training steps records inference alone.
    ///
    /// # Errors
    /// If the trace misses a tensor, or the device fails. An error beyond its tolerance is no error here.
    pub fn compare(
        &self,
        tolerances: &Tolerances,
        device: &Device,
    ) -> Result<Vec<Comparison>, TraceError> {
        let config = self.train_config()?;
        let model = self.model(&config.model, device)?;
        let mut errors = Errors::default();
        self.compare_inference(&model, tolerances, device, &mut errors)?;
        if self.optimizer.train_steps > 0 {
            self.compare_training(&config, model, tolerances, device, &mut errors)?;
        }
        Ok(errors.rows)
    }

    /// The recorded start weights as a trainable model.
    fn model(&self, config: &HrmConfig, device: &Device) -> Result<Hrm, TraceError> {
        self.check_sizes(config)?;
        let fresh = Hrm::new(config, 0, &device.clone().autodiff())?;
        let mut failure = None;
        let model = fresh.map_weights(|name, _role, value| {
            match self.floats(&format!("weights/inner.{name}"), value.dims()[0]) {
                Ok(loaded) => {
                    let count = loaded.len();
                    Tensor::from_data(TensorData::new(loaded, [count]), &value.device())
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    value
                }
            }
        });
        failure.map_or(Ok(model), Err)
    }

    /// Looks for what fixes the sizes of the configuration before memory is asked for.
    fn check_sizes(&self, config: &HrmConfig) -> Result<(), TraceError> {
        let positive = [
            ("batch_size", self.config.batch_size),
            ("halt_max_steps", self.config.halt_max_steps as usize),
        ];
        if let Some((key, _)) = positive.into_iter().find(|&(_, value)| value == 0) {
            return Err(unknown(key, "at least 1", "0"));
        }
        let d = config.hidden_size;
        let floats: &[Dtype] = &[Dtype::F32];
        let weight =
            |name: &str, count| self.tensor(&format!("weights/inner.{name}"), count, floats);
        self.tensor(
            "infer/segment0/z_H",
            self.config
                .batch_size
                .saturating_mul(config.total_len())
                .saturating_mul(d),
            floats,
        )?;
        weight("lm_head.weight", config.vocab_size * d)?;
        if let Some(puzzle) = &config.puzzle_embedding {
            weight("puzzle_emb.weights", config.num_puzzle_ids * puzzle.dim)?;
        }
        let (h, l) = config.layers();
        for (level, layers) in [("H", h), ("L", l)] {
            for layer in 0..layers {
                let block = format!("{level}_level.layers.{layer}");
                let mixer = |name: &str, count| weight(&format!("{block}.{name}.weight"), count);
                mixer("mlp.down_proj", d * config.swiglu_width(d))?;
                match config.mixer {
                    MixerKind::Attention => mixer("self_attn.o_proj", d * d)?,
                    MixerKind::Mlp => {
                        let len = config.total_len();
                        mixer("mlp_t.down_proj", len * config.swiglu_width(len))?
                    }
                };
            }
        }
        Ok(())
    }

    fn compare_inference(
        &self,
        model: &Hrm,
        tolerances: &Tolerances,
        device: &Device,
        errors: &mut Errors,
    ) -> Result<(), TraceError> {
        let model = model.frozen();
        let batch = self.batch("infer/batch", device, false)?;
        let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
        let mut state = model.initial_state();
        for segment in 0..3 {
            let output;
            (state, output) = model.segment(state, x.clone());
            let mut check = |quantity: &str, found: Vec<f32>| -> Result<(), TraceError> {
                let name = format!("infer/segment{segment}/{quantity}");
                let expected = self.floats(&name, found.len())?;
                let error = largest_difference(&found, &expected);
                errors.put(
                    &format!("inference {quantity}"),
                    error,
                    tolerances.inference,
                );
                Ok(())
            };
            check("z_H", floats(state.z_h.clone())?)?;
            check("z_L", floats(state.z_l.clone())?)?;
            check("logits", floats(output.logits)?)?;
            check("q_halt", floats(output.q_halt)?)?;
            check("q_continue", floats(output.q_continue)?)?;
        }
        Ok(())
    }

    fn compare_training(
        &self,
        config: &TrainConfig,
        model: Hrm,
        tolerances: &Tolerances,
        device: &Device,
        errors: &mut Errors,
    ) -> Result<(), TraceError> {
        let mut state = TrainState {
            step: 0,
            ema: config
                .ema
                .map(|decay| Ema::new(decay, config.freeze, &model)),
            model,
            optimizer: DenseOptimizer::default(),
            carry: None,
            window: None,
            progress: Progress::default(),
        };
        for t in 1..=config.steps {
            let batch = self.batch(&format!("train/step{t}/batch"), device, true)?;
            if t == 1 {
                let step = state.clone().segment(config, batch.clone());
                self.compare_gradients(&state.model, step, tolerances, errors)?;
            }
            let step = state.segment(config, batch);
            self.compare_step(t, &step, tolerances, errors)?;
            let carry = step.carry.clone();
            let gradients = Gradients::of(&state.model, step);
            (state, _) = state.update(config, carry, gradients);
        }
        let reach = |role| {
            let rate = match role {
                WeightRole::PuzzleTable => config.puzzle_optimizer.lr,
                _ => config.optimizer.lr,
            };
            2.0 * rate * config.steps as f64
        };
        for weight in state.model.weights() {
            let name = format!("final/inner.{}", weight.name);
            let bound = reach(weight.role);
            self.compare_weights(
                "final weights",
                &name,
                weight.value,
                bound,
                tolerances,
                errors,
            )?;
        }
        for (name, value) in state.ema.into_iter().flat_map(|ema| ema.shadow) {
            let name = format!("ema/inner.{name}");
            let bound = reach(WeightRole::Dense);
            self.compare_weights("averaged weights", &name, value, bound, tolerances, errors)?;
        }
        Ok(())
    }

    fn compare_gradients(
        &self,
        model: &Hrm,
        step: ActStep,
        tolerances: &Tolerances,
        errors: &mut Errors,
    ) -> Result<(), TraceError> {
        let Gradients { dense, puzzles } = Gradients::of(model, step);
        let dense = dense
            .into_iter()
            .map(|(name, gradient)| (format!("inner.{name}"), gradient));
        let rows = puzzles.map(|puzzles| {
            let rows = puzzles.rows.flatten::<1>(0, 1);
            ("puzzle_emb_rows".to_owned(), rows)
        });
        for (name, gradient) in dense.chain(rows) {
            let found = floats(gradient)?;
            let expected = self.floats(&format!("train/step1/grad/{name}"), found.len())?;
            let norm = |values: &mut dyn Iterator<Item = f64>| {
                values.map(|value| value * value).sum::<f64>().sqrt()
            };
            let difference = norm(
                &mut found
                    .iter()
                    .zip(&expected)
                    .map(|(&a, &b)| f64::from(a) - f64::from(b)),
            );
            let size = norm(&mut expected.iter().map(|&value| f64::from(value)));
            let error = if size > 0.0 {
                difference / size
            } else {
                difference
            };
            errors.put("step-1 gradients, relative", error, tolerances.gradient);
        }
        Ok(())
    }

    fn compare_step(
        &self,
        t: u64,
        step: &ActStep,
        tolerances: &Tolerances,
        errors: &mut Errors,
    ) -> Result<(), TraceError> {
        let b = self.config.batch_size;
        let (q_tolerance, q_name) = if t == 1 {
            (tolerances.inference, "step-1 q values")
        } else {
            (tolerances.later_q, "later q values")
        };
        let mut near = |name: &str, found: &Tensor<1>| -> Result<(), TraceError> {
            let expected = self.floats(&format!("train/step{t}/{name}"), b)?;
            let error = largest_difference(&floats(found.clone())?, &expected);
            errors.put(q_name, error, q_tolerance);
            Ok(())
        };
        near("q_halt_logits", &step.q_halt)?;
        near("q_continue_logits", &step.q_continue)?;
        if let Some(target) = &step.target_q_continue {
            near("target_q_continue", target)?;
        }
        let carry = &step.carry;
        for (name, found) in [
            ("halted", carry.halted.clone().int()),
            ("steps", carry.segment.clone()),
            ("current/puzzle_identifiers", carry.batch.puzzle_ids.clone()),
        ] {
            let expected = self.integers(&format!("train/step{t}/{name}"), b)?;
            let wrong = integers(found)?
                .iter()
                .zip(&expected)
                .filter(|(a, b)| a != b)
                .count();
            errors.put("halted, steps and slots, unequal", wrong as f64, 0.0);
        }
        let metrics = step
            .metrics
            .clone()
            .read()
            .map_err(|error| TraceError::Device(error.to_string()))?;
        let at = |name: &str| -> Result<f64, TraceError> {
            let values = self.floats(
                &format!("train/{name}"),
                self.optimizer.train_steps as usize,
            )?;
            Ok(values
                .get(t as usize - 1)
                .copied()
                .map_or(f64::NAN, f64::from))
        };
        for (name, found) in [
            ("count", metrics.count),
            ("accuracy", metrics.cell_accuracy_sum),
            ("exact_accuracy", metrics.exact_sum),
            ("q_halt_accuracy", metrics.q_halt_right_sum),
            ("steps", metrics.segments_sum),
        ] {
            // Sums of at most B quotients of small integers: equal but for the last bit.
            let error = (found - at(name)?).abs();
            errors.put("counts and accuracies", error, 1e-5 * b as f64);
        }
        let half = 0.5 * (metrics.q_halt_loss_sum + metrics.q_continue_loss_sum);
        for (name, found) in [
            ("lm_loss", metrics.token_loss_sum),
            ("q_halt_loss", metrics.q_halt_loss_sum),
            ("q_continue_loss", metrics.q_continue_loss_sum),
            ("loss", metrics.token_loss_sum + half),
        ] {
            if name == "q_continue_loss" && step.target_q_continue.is_none() {
                continue;
            }
            let expected = at(name)?;
            let error = (found - expected).abs() / expected.abs().max(1e-12);
            errors.put("losses, relative", error, tolerances.loss);
        }
        Ok(())
    }

    /// The largest error among the nearest `1 - outliers` of the elements, and how far the others lie.
    fn compare_weights(
        &self,
        group: &str,
        name: &str,
        value: Tensor<1>,
        reach: f64,
        tolerances: &Tolerances,
        errors: &mut Errors,
    ) -> Result<(), TraceError> {
        let found = floats(value)?;
        let expected = self.floats(name, found.len())?;
        let mut differences: Vec<f64> = found
            .iter()
            .zip(&expected)
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs())
            .collect();
        // NaN sorts last and so fails.
        differences.sort_by(f64::total_cmp);
        let allowed = (differences.len() as f64 * tolerances.outliers) as usize;
        let near = differences.len() - allowed;
        let outside = differences
            .iter()
            .filter(|&&d| d.is_nan() || d > tolerances.weight)
            .count();
        let nearest = near.checked_sub(1).and_then(|i| differences.get(i));
        let furthest = differences.last();
        errors.put(group, nearest.copied().unwrap_or(0.0), tolerances.weight);
        let outliers = format!("{group}, outliers / (2 rate steps)");
        errors.put(&outliers, furthest.copied().unwrap_or(0.0) / reach, 1.0);
        errors.count(&outliers, outside, differences.len());
        Ok(())
    }

    fn batch(&self, group: &str, device: &Device, draws: bool) -> Result<Batch, TraceError> {
        let (b, s) = (self.config.batch_size, self.config.seq_len);
        let device = &device.clone().without_autodiff();
        let tokens = self.config.vocab_size;
        let cells = |name: &str, special: Option<i32>| -> Result<Tensor<2, Int>, TraceError> {
            let values = self.indices(&format!("{group}/{name}"), b * s, tokens, special)?;
            Ok(Tensor::from_data(TensorData::new(values, [b, s]), device))
        };
        let row = |name: &str, end: usize| -> Result<Tensor<1, Int>, TraceError> {
            let values = self.indices(name, b, end, None)?;
            Ok(Tensor::from_data(TensorData::new(values, [b]), device))
        };
        let ids = match self.config.puzzle_emb_ndim {
            0 => usize::MAX,
            _ => self.config.num_puzzle_identifiers,
        };
        Ok(Batch {
            inputs: cells("inputs", None)?,
            labels: cells("labels", Some(IGNORED_LABEL as i32))?,
            puzzle_ids: row(&format!("{group}/puzzle_identifiers"), ids)?,
            min_segments: match group.strip_suffix("/batch") {
                // With M = 1 there is nothing to explore.
                Some(step) if draws && self.config.halt_max_steps > 1 => {
                    row(&format!("{step}/min_steps"), usize::MAX)?
                }
                _ => Tensor::zeros([b], device),
            },
        })
    }

    fn tensor(
        &self,
        name: &str,
        count: usize,
        types: &[Dtype],
    ) -> Result<(Dtype, &[u8]), TraceError> {
        let bad = |expected: String, found: String| TraceError::Tensor {
            name: name.to_owned(),
            expected,
            found,
        };
        let view = self
            .file
            .tensor(name)
            .map_err(|_| bad(format!("{count} values"), "nothing".to_owned()))?;
        if view.shape().iter().product::<usize>() != count {
            let found = format!("shape {:?}", view.shape());
            return Err(bad(format!("{count} values"), found));
        }
        if !types.contains(&view.dtype()) {
            return Err(bad(
                format!("type {types:?}"),
                format!("{:?}", view.dtype()),
            ));
        }
        Ok((view.dtype(), view.data()))
    }

    fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>, TraceError> {
        let (_, bytes) = self.tensor(name, count, &[Dtype::F32])?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| f32::from_le_bytes(chunk))
            .collect())
    }

    /// Integers from 0 to below `end`, or `special`.
    fn indices(
        &self,
        name: &str,
        count: usize,
        end: usize,
        special: Option<i32>,
    ) -> Result<Vec<i32>, TraceError> {
        let values = self.integers(name, count)?;
        let fits = |value: i32| {
            Some(value) == special || usize::try_from(value).is_ok_and(|value| value < end)
        };
        match values.iter().find(|&&value| !fits(value)) {
            None => Ok(values),
            Some(value) => Err(TraceError::Tensor {
                name: name.to_owned(),
                expected: match special {
                    Some(special) => format!("0 to {}, or {special}", end - 1),
                    None => format!("0 to {}", end - 1),
                },
                found: value.to_string(),
            }),
        }
    }

    fn integers(&self, name: &str, count: usize) -> Result<Vec<i32>, TraceError> {
        let (dtype, bytes) = self.tensor(name, count, &[Dtype::I32, Dtype::U8])?;
        Ok(match dtype {
            Dtype::U8 => bytes.iter().map(|&byte| i32::from(byte)).collect(),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&chunk| i32::from_le_bytes(chunk))
                .collect(),
        })
    }
}

/// Comparisons gathered by quantity: of several, the one with the largest error stands.
#[derive(Default)]
struct Errors {
    rows: Vec<Comparison>,
    counts: BTreeMap<String, (usize, usize)>,
}

impl Errors {
    fn put(&mut self, quantity: &str, error: f64, tolerance: f64) {
        match self.rows.iter_mut().find(|row| row.quantity == quantity) {
            Some(row) => {
                if error.is_nan() || error > row.largest_error {
                    row.largest_error = error;
                }
            }
            None => self.rows.push(Comparison {
                quantity: quantity.to_owned(),
                largest_error: error,
                tolerance,
                note: String::new(),
            }),
        }
    }

    fn count(&mut self, quantity: &str, outside: usize, total: usize) {
        let count = self.counts.entry(quantity.to_owned()).or_default();
        count.0 += outside;
        count.1 += total;
        let note = format!("{} of {} elements", count.0, count.1);
        if let Some(row) = self.rows.iter_mut().find(|row| row.quantity == quantity) {
            row.note = note;
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(
    metadata: &std::collections::HashMap<String, String>,
    field: &'static str,
) -> Result<T, TraceError> {
    let text = metadata.get(field).ok_or(TraceError::Metadata {
        field,
        reason: "is missing".to_owned(),
    })?;
    serde_json::from_str(text).map_err(|error| TraceError::Metadata {
        field,
        reason: error.to_string(),
    })
}

fn unknown(key: &str, expected: &str, found: &str) -> TraceError {
    TraceError::Metadata {
        field: "config",
        reason: format!("`{key}` must be {expected}, found `{found}`"),
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TraceError> {
    tensor
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .map_err(|error| TraceError::Device(error.to_string()))
}

fn integers(tensor: Tensor<1, Int>) -> Result<Vec<i32>, TraceError> {
    tensor
        .try_into_vec_as::<i32>()
        .map_err(|error| TraceError::Device(error.to_string()))
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    found.iter().zip(expected).fold(0.0, |largest, (&a, &b)| {
        let difference = (f64::from(a) - f64::from(b)).abs();
        if difference.is_nan() || difference > largest {
            difference
        } else {
            largest
        }
    })
}
