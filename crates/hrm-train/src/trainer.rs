//! The trainer: an iterator of steps over a state that can be saved whole.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use hrm_act::{ActStep, Batch, Carry, MetricSums, Metrics};
use hrm_core::ops::on_pool;
use hrm_core::{Hrm, HrmConfig};
use hrm_data::{Exploration, PuzzleSet, Sampler, SamplerConfig};
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::gradients::{Gradients, PuzzleGradients};
use crate::optimizer::{DenseOptimizer, clip_global_norm, sign_sgd_rows};
use crate::parallel::{Replicas, on_device};
use crate::run::Progress;

/// All that a run is at a step, but for the sampler's position.
#[derive(Clone, Debug)]
pub struct TrainState {
    /// Optimizer steps made.
    pub step: u64,
    /// The model, trainable.
    pub model: Hrm,
    /// Moments of the dense weights.
    pub optimizer: DenseOptimizer,
    /// Averaged weights, where the configuration asks for them.
    pub ema: Option<Ema>,
    /// The slots; none before the first step. Those of the first device where there are several.
    pub carry: Option<Carry>,
    /// Sums since the last report, on the device.
    pub(crate) window: Option<MetricSums>,
    /// Faults and evaluations of the run.
    pub progress: Progress,
}

/// What a step tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Optimizer steps made, counted from 1.
    pub step: u64,
    /// Epochs of the training set drawn.
    pub epoch: f64,
    /// Learning rate of the dense weights in this step.
    pub lr: f64,
    /// Metrics of all steps since the last report, every `log_every` steps: only then the device is waited for.
    pub metrics: Option<Metrics>,
}

/// Called before a step with the state as it is and the batch that is to come, which it may change.
type BeforeStep = Box<dyn FnMut(&TrainState, &mut Batch) + Send>;
/// Called after a step with the new state and what the step tells.
type AfterStep = Box<dyn FnMut(&TrainState, &StepReport) + Send>;

/// What the user of a trainer wants called.
#[derive(Default)]
struct Hooks {
    before: Vec<BeforeStep>,
    after: Vec<AfterStep>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, after) = (self.before.len(), self.after.len());
        write!(f, "Hooks({before} before, {after} after a step)")
    }
}

/// A step that panicked leaves a trainer without state, which can't be used any more.
const BETWEEN_STEPS: &str = "the trainer has its state between steps";

/// Trains a model. Each call of [`Iterator::next`] makes one optimizer step, until the configured number is reached.
///
/// ```no_run
/// # fn run(mut trainer: hrm_train::Trainer) -> Result<(), hrm_train::TrainError> {
/// trainer.before_step(|state, batch| println!("step {} on {} slots", state.step + 1, batch.batch_size()));
/// trainer.after_step(|_, report| println!("rate {}", report.lr));
/// for report in &mut trainer {
///     if let Some(metrics) = report?.metrics {
///         println!("loss {:.3}", metrics.loss());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    /// Taken out during a step only.
    state: Option<TrainState>,
    sampler: Sampler,
    device: Device,
    /// The other devices of a data-parallel run.
    replicas: Option<Replicas>,
    hooks: Hooks,
}

impl Trainer {
    /// A new run: fresh weights, empty slots.
    ///
    /// # Errors
    /// If the configuration is wanting, or the data don't fit it.
    pub fn new(
        config: TrainConfig,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let model = Hrm::new(&config.model, config.seed, &device.clone().autodiff())?;
        Self::begin(config, model, set, device)
    }

    /// A new run from the weights of a model, such as an imported one; it may be plain and on another device.
    ///
    /// # Errors
    /// If the configuration is wanting, is not that of the model, or the data don't fit it.
    pub fn with_model(
        config: TrainConfig,
        model: Hrm,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        config.validate_for(&model)?;
        let model = on_device(&config, &model, device)?;
        Self::begin(config, model, set, device)
    }

    fn begin(
        config: TrainConfig,
        model: Hrm,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let ema = config
            .ema
            .map(|decay| Ema::new(decay, config.freeze, &model));
        let state = TrainState {
            step: 0,
            model,
            optimizer: DenseOptimizer::default(),
            ema,
            carry: None,
            window: None,
            progress: Progress::default(),
        };
        Self::from_state(config, state, set, device)
    }

    pub(crate) fn from_state(
        config: TrainConfig,
        mut state: TrainState,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        check_data(&config.model, &set)?;
        state.model = config.freeze.apply(state.model);
        let max_segments = config.act.max_segments;
        let exploration =
            (max_segments > 1 && config.act.exploration > 0.0).then_some(Exploration {
                probability: config.act.exploration,
                max_segments,
            });
        let sampler = Sampler::new(
            set,
            SamplerConfig {
                batch_size: config.batch_size,
                seed: config.seed,
                augment: config.augment,
                exploration,
            },
        )?;
        Ok(Self {
            config,
            state: Some(state),
            sampler,
            device: device.clone().without_autodiff(),
            replicas: None,
            hooks: Hooks::default(),
        })
    }

    /// Spreads the slots over more devices of this machine from the next step on: data-parallel training. Every device gets
    /// a copy of the weights and of the moments and an equal share of the slots; one sum over all devices a step, by Burn's
    /// collective, makes their updates equal. Checkpoints and draws are those of a run on one device, and any number of
    /// devices can go on with them. Should a device fail in the midst of a step, while the others wait in the sum for it, the process
    /// says so on stderr and aborts: there is no way out of that wait. Only CUDA has the collective in Burn 0.22 (through NCCL). On several devices already,
    /// those named here take the place of the others.
    ///
    /// # Errors
    /// If the batch can't be shared equally (by the devices times `accumulate`), a device is named twice, or a small sum
    /// over the devices, which is tried first, fails. The run then stays where it was.
    pub fn data_parallel(&mut self, others: &[Device]) -> Result<(), TrainError> {
        if others.is_empty() && self.replicas.is_none() {
            return Ok(());
        }
        self.spread(|config, state, first| {
            if others.is_empty() {
                return Ok(None);
            }
            Replicas::new(config, state, first, others).map(Some)
        })
    }

    /// How many devices share the slots.
    pub(crate) fn num_devices(&self) -> usize {
        self.replicas.as_ref().map_or(1, Replicas::num_devices)
    }

    /// Takes the slots back to the first device, then has them shared anew.
    pub(crate) fn spread(
        &mut self,
        share: impl FnOnce(
            &TrainConfig,
            &mut TrainState,
            &Device,
        ) -> Result<Option<Replicas>, TrainError>,
    ) -> Result<(), TrainError> {
        let mut state = self.state().clone();
        state.carry = self.carry();
        let replicas = share(&self.config, &mut state, &self.device)?;
        if let Some(replicas) = &replicas {
            replicas.try_out(&self.device)?;
        }
        self.state = Some(state);
        self.replicas = replicas;
        Ok(())
    }

    /// The slots of all devices, in the order of the batch.
    pub(crate) fn carry(&self) -> Option<Carry> {
        let carry = self.state().carry.as_ref()?;
        Some(match &self.replicas {
            Some(replicas) => replicas.gather(carry, &self.device),
            None => carry.clone(),
        })
    }

    pub(crate) fn replicas(&self) -> Option<&Replicas> {
        self.replicas.as_ref()
    }

    /// The configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Changes the number of steps of the whole run; the cosine of the schedule follows it.
    ///
    /// # Errors
    /// If it is 0; the number then stays what it was.
    pub fn set_steps(&mut self, steps: u64) -> Result<(), TrainError> {
        let config = TrainConfig {
            steps,
            ..self.config.clone()
        };
        config.validate()?;
        self.config = config;
        Ok(())
    }

    /// The state after the last step.
    pub fn state(&self) -> &TrainState {
        self.state.as_ref().expect(BETWEEN_STEPS)
    }

    /// The sampler, whose position is part of a checkpoint.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// What it computes on, plain.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn progress_mut(&mut self) -> &mut Progress {
        &mut self.state.as_mut().expect(BETWEEN_STEPS).progress
    }

    /// Goes on from where another trainer of the same run stands.
    pub(crate) fn take_over(&mut self, other: Self) {
        self.state = other.state;
        self.sampler = other.sampler;
        self.replicas = other.replicas;
    }

    /// Makes all weights `factor` times what they are: by NaN, what a step with an infinite gradient makes of them.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, factor: f64) {
        if let Some(mut state) = self.state.take() {
            let spoilt = |_: &str, _, value: burn::tensor::Tensor<1>| value.mul_scalar(factor);
            state.model = state.model.map_weights(spoilt);
            self.state = Some(state);
        }
    }

    /// Metrics of the steps since the last report, which go on being summed; none right after one. This waits for the device.
    pub(crate) fn since_report(&self) -> Result<Option<Metrics>, TrainError> {
        let window = self.state().window.clone();
        window
            .map(|sums| sums.read().map_err(TrainError::device))
            .transpose()
    }

    /// Moves the sampler past batches that the run does not draw.
    fn pass_skipped(&mut self) -> Result<(), TrainError> {
        let drawn = |trainer: &Self| trainer.sampler.state().batches;
        while let Some(behind) = self.state().progress.skip_at(drawn(self)) {
            self.sampler.restore(&behind)?;
        }
        Ok(())
    }

    pub(crate) fn sampler_mut(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// Has `hook` called before every step from now on, with the state as it is and the batch drawn for the step, which it may
    /// change: to augment it on the device, to look at it; its sizes must stay. Several hooks are called in the order they came. A hook that
    /// reads a tensor makes the step wait for the device; hooks are no part of a checkpoint.
    pub fn before_step(&mut self, hook: impl FnMut(&TrainState, &mut Batch) + Send + 'static) {
        self.hooks.before.push(Box::new(hook));
    }

    /// Has `hook` called after every step from now on, with the new state and the report that the step is to give; not
    /// after a step that fails.
    pub fn after_step(&mut self, hook: impl FnMut(&TrainState, &StepReport) + Send + 'static) {
        self.hooks.after.push(Box::new(hook));
    }

    /// The model that evaluation uses: averaged where the run averages, plain.
    pub fn eval_model(&self) -> Hrm {
        let state = self.state();
        match &state.ema {
            Some(ema) => ema.apply(&state.model),
            None => state.model.valid(),
        }
    }

    /// One optimizer step on the next batch of the sampler.
    ///
    /// # Errors
    /// If the loss of the steps reported is no number, or the device fails.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        self.pass_skipped()?;
        let host = self.sampler.next_batch();
        let mut batch = Batch::from_host(&host, &self.device);
        let state = self.state.as_ref().expect(BETWEEN_STEPS);
        for hook in &mut self.hooks.before {
            hook(state, &mut batch);
        }
        self.check_batch(&batch)?;
        let others = self.replicas.iter().flat_map(Replicas::devices);
        let others: Vec<Batch> = match self.hooks.before.is_empty() {
            true => others
                .map(|device| Batch::from_host(&host, device))
                .collect(),
            false => others
                .map(|device| batch.clone().to_device(device))
                .collect(),
        };
        let report = self.step_on_all(batch, others)?;
        let state = self.state.as_ref().expect(BETWEEN_STEPS);
        for hook in &mut self.hooks.after {
            hook(state, &report);
        }
        Ok(report)
    }

    /// Refuses a batch of other sizes than the run's; the device would fail in the middle of a step.
    fn check_batch(&self, batch: &Batch) -> Result<(), TrainError> {
        let rows = self.config.batch_size;
        let cells = [rows, self.config.model.seq_len];
        for (field, found) in [
            ("inputs", batch.inputs.dims()),
            ("labels", batch.labels.dims()),
        ] {
            check(found == cells, field, cells, found)?;
        }
        for (field, found) in [
            ("puzzle_ids", batch.puzzle_ids.dims()),
            ("min_segments", batch.min_segments.dims()),
        ] {
            check(found == [rows], field, [rows], found)?;
        }
        Ok(())
    }

    fn read_window(&mut self) -> Result<Option<Metrics>, TrainError> {
        let window = self.state.as_mut().and_then(|state| state.window.take());
        let Some(window) = window else {
            return Ok(None);
        };
        let metrics = window.read().map_err(TrainError::device)?;
        let loss = metrics.loss();
        if loss.is_finite() {
            Ok(Some(metrics))
        } else {
            Err(TrainError::Diverged {
                step: self.state().step,
                loss,
            })
        }
    }

    /// One optimizer step on a batch of the caller's, of as many rows as the run has slots. It calls no hook, and waits for the
    /// device only where it reports metrics (`log_every`).
    ///
    /// # Errors
    /// [`TrainError::DataMismatch`] if the batch is of other sizes than the run; the run then stays where it was. If the loss of the steps
    /// reported is no number, or the device fails.
    pub fn step_on(&mut self, batch: Batch) -> Result<StepReport, TrainError> {
        self.check_batch(&batch)?;
        let others = self.replicas.iter().flat_map(Replicas::devices);
        let others = others.map(|device| batch.clone().to_device(device));
        let others = others.collect();
        self.step_on_all(batch, others)
    }

    /// `others` is the same batch on each of the other devices.
    fn step_on_all(&mut self, batch: Batch, others: Vec<Batch>) -> Result<StepReport, TrainError> {
        let state = self.state.take().expect(BETWEEN_STEPS);
        let config = &self.config;
        let (mut state, lr, metrics) = match &mut self.replicas {
            None => on_pool(&self.device, move || {
                state.train(config, batch, |gradients, metrics| (gradients, metrics))
            }),
            Some(replicas) => {
                let batches = [batch].into_iter().chain(others).collect();
                replicas.step(config, state, batches)
            }
        };
        state.window = Some(match state.window.take() {
            Some(window) => window.plus(metrics),
            None => metrics,
        });
        let step = state.step;
        self.state = Some(state);
        let mut metrics = None;
        if step.is_multiple_of(self.config.log_every) || step == self.config.steps {
            metrics = self.read_window()?;
        }
        Ok(StepReport {
            step,
            epoch: self.sampler.epoch(),
            lr,
            metrics,
        })
    }
}

impl TrainState {
    /// One segment of every slot, one update. `whole` makes of the gradients and metrics of these slots those of all.
    pub(crate) fn train(
        mut self,
        config: &TrainConfig,
        batch: Batch,
        whole: impl FnOnce(Gradients, MetricSums) -> (Gradients, MetricSums),
    ) -> (Self, f64, MetricSums) {
        let parts = config.accumulate;
        let (carry, gradients, metrics) = if parts == 1 {
            self.differentiate(config, batch)
        } else {
            let rows = batch.batch_size() / parts;
            let slots = self.slots(&batch);
            let mut carries = Vec::with_capacity(parts);
            let mut sums: Option<(Gradients, MetricSums)> = None;
            for part in 0..parts {
                let range = part * rows..(part + 1) * rows;
                self.carry = Some(slots.rows(range.clone()));
                let (carry, gradients, metrics) = self.differentiate(config, batch.rows(range));
                carries.push(carry);
                sums = Some(match sums {
                    Some((sum, window)) => (sum.merge(gradients), window.plus(metrics)),
                    None => (gradients, metrics),
                });
            }
            let (gradients, metrics) = sums.expect("a step has at least one part");
            (Carry::cat(carries), gradients, metrics)
        };
        let (gradients, metrics) = whole(gradients, metrics);
        let (state, lr) = self.update(config, carry, gradients);
        (state, lr, metrics)
    }

    /// The slots, taken out; new ones before the first step.
    fn slots(&mut self, batch: &Batch) -> Carry {
        match self.carry.take() {
            Some(carry) => carry,
            None => Carry::empty(&self.model, batch),
        }
    }

    /// The forward part of a step; the slots move into what it gives.
    pub(crate) fn segment(&mut self, config: &TrainConfig, batch: Batch) -> ActStep {
        let carry = self.slots(&batch);
        config
            .act
            .step(&self.model, carry, batch, config.batch_size)
    }

    /// Forward and backward.
    fn differentiate(
        &mut self,
        config: &TrainConfig,
        batch: Batch,
    ) -> (Carry, Gradients, MetricSums) {
        let step = self.segment(config, batch);
        let (carry, metrics) = (step.carry.clone(), step.metrics.clone());
        (carry, Gradients::of(&self.model, step), metrics)
    }

    /// The update by the gradients of the slots in `carry`; gives the learning rate used.
    ///
    /// The state is moved through, so that its buffers are no one else's and can be updated in place.
    pub(crate) fn update(
        mut self,
        config: &TrainConfig,
        carry: Carry,
        gradients: Gradients,
    ) -> (Self, f64) {
        let factor = config.schedule.factor(self.step + 1, config.steps) * self.progress.rate();
        let lr = config.optimizer.lr * factor;
        let Gradients { mut dense, puzzles } = gradients;
        if let Some(max_norm) = config.gradient_clip {
            dense = clip_global_norm(dense, max_norm);
        }
        let mut model =
            self.optimizer
                .step(&config.optimizer, config.freeze, lr, self.model, dense);
        if let (Some(PuzzleGradients { ids, rows }), Some(table)) =
            (puzzles, model.puzzle_emb.take())
        {
            let rate = config.puzzle_optimizer.lr * factor;
            let decay = config.puzzle_optimizer.weight_decay;
            model.puzzle_emb = Some(table.map(|table| {
                let autodiff = table.is_autodiff();
                let table = sign_sgd_rows(table.without_autodiff(), ids, rows, rate, decay);
                if autodiff { table.autodiff() } else { table }
            }));
        }
        self.model = model;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.model);
        }
        self.carry = Some(carry);
        self.step += 1;
        (self, lr)
    }
}

impl Iterator for Trainer {
    type Item = Result<StepReport, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.state().step < self.config.steps).then(|| self.step())
    }
}

fn check<T: std::fmt::Debug>(
    fine: bool,
    field: &'static str,
    expected: T,
    found: T,
) -> Result<(), TrainError> {
    match fine {
        true => Ok(()),
        false => Err(TrainError::DataMismatch {
            field,
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        }),
    }
}

/// Refuses data of other sizes than the model's.
///
/// # Errors
/// The first size that differs; the model may know more puzzle ids than the data use, and one without a puzzle table takes any.
pub fn check_data(model: &HrmConfig, set: &PuzzleSet) -> Result<(), TrainError> {
    let (sizes, info) = (model.sizes(), set.info());
    check(
        sizes.seq_len == info.seq_len,
        "seq_len",
        sizes.seq_len,
        info.seq_len,
    )?;
    check(
        sizes.vocab_size == info.vocab_size,
        "vocab_size",
        sizes.vocab_size,
        info.vocab_size,
    )?;
    check(
        model.puzzle_embedding.is_none() || sizes.num_puzzle_ids >= info.num_puzzle_ids,
        "num_puzzle_ids",
        sizes.num_puzzle_ids,
        info.num_puzzle_ids,
    )
}
