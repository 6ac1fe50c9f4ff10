//! The model: embeddings, the recurrence of two levels, heads. HRM and TRM are the same type.
//!
//! What is unusual: norms without a scale, after the residual; the puzzle table is no trained parameter but is updated row by
//! row by an optimizer of its own; and all updates of the states but the last ones run on plain tensors, outside the graph.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::block::Level;
use crate::config::{ComputeType, GradientSpan, HrmConfig, Levels, PositionKind};
use crate::error::ConfigError;
use crate::init::{buffer, lecun_param, normal_param, truncated_normal};
use crate::ops::{self, RopeTable};

/// The two latent states, `[B, L, D]` each, in the compute type and outside any graph.
#[derive(Clone, Debug)]
pub struct LatentState {
    /// The slow state; the answer is read off it.
    pub z_h: Tensor<3>,
    /// The fast state.
    pub z_l: Tensor<3>,
}

impl LatentState {
    /// Replaces the rows in which `mask` is true by those of `other`.
    ///
    /// # Shapes
    /// `mask` `[B]`; `other` may have one row, which then serves all.
    #[must_use]
    pub fn replace_rows(self, mask: &Tensor<1, burn::tensor::Bool>, other: Self) -> Self {
        let [b, l, d] = self.z_h.dims();
        let mask = mask.clone().reshape([b, 1, 1]).expand([b, l, d]);
        Self {
            z_h: self
                .z_h
                .mask_where(mask.clone(), other.z_h.expand([b, l, d])),
            z_l: self.z_l.mask_where(mask, other.z_l.expand([b, l, d])),
        }
    }

    /// The same values outside any graph.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Self {
            z_h: self.z_h.without_autodiff(),
            z_l: self.z_l.without_autodiff(),
        }
    }
}

/// What the heads read off a state.
#[derive(Clone, Debug)]
pub struct SegmentOutput {
    /// `[B, S, V]`, f32.
    pub logits: Tensor<3>,
    /// `[B]`, f32 logits.
    pub q_halt: Tensor<1>,
    /// `[B]`, f32 logits.
    pub q_continue: Tensor<1>,
}

/// The Hierarchical Reasoning Model, or TRM. Created by [`Hrm::new`].
#[derive(Module, Debug)]
pub struct Hrm {
    /// `[V, D]`.
    pub embed_tokens: Param<Tensor<2>>,
    /// `[L, D]`, with learned positions.
    pub embed_pos: Option<Param<Tensor<2>>>,
    /// `[ids, E]`; no dense parameter: an optimizer of its own updates the rows in use.
    pub puzzle_emb: Option<Param<Tensor<2>>>,
    /// The slow level; none where the levels are shared.
    pub h_level: Option<Level>,
    /// The fast or the shared level.
    pub l_level: Level,
    /// `[V, D]`.
    pub lm_head: Param<Tensor<2>>,
    /// `[2, D]`: q_halt, q_continue.
    pub q_head_weight: Param<Tensor<2>>,
    /// `[2]`.
    pub q_head_bias: Param<Tensor<1>>,
    /// `[D]`, start of z_H; saved, never trained.
    pub h_init: Param<Tensor<1>>,
    /// `[D]`, start of z_L; saved, never trained.
    pub l_init: Param<Tensor<1>>,
    rope: Option<RopeTable>,
    #[module(skip)]
    config: HrmConfig,
}

impl Hrm {
    /// A model with fresh weights, the same for the same seed whatever the device. On an autodiff device
    /// (`device.autodiff()`) it can be trained.
    ///
    /// # Errors
    /// If [`HrmConfig::validate`] finds the configuration wanting.
    pub fn new(config: &HrmConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embedding_std = 1.0 / (d as f64).sqrt();
        let (h_layers, l_layers) = config.layers();
        let model = Self {
            embed_tokens: normal_param([v, d], embedding_std, rng, device),
            embed_pos: (config.position == PositionKind::Learned)
                .then(|| normal_param([config.total_len(), d], embedding_std, rng, device)),
            puzzle_emb: config
                .puzzle_embedding
                .map(|puzzle| buffer(Tensor::zeros([config.num_puzzle_ids, puzzle.dim], device))),
            h_level: match config.levels {
                Levels::Separate { .. } => Some(Level::init(config, h_layers, rng, device)),
                Levels::Shared { .. } => None,
            },
            l_level: Level::init(config, l_layers, rng, device),
            lm_head: lecun_param(v, d, rng, device),
            q_head_weight: Param::from_tensor(Tensor::zeros([2, d], device)),
            q_head_bias: Param::from_tensor(Tensor::full([2], -5.0, device)),
            h_init: initial_state(d, rng, device),
            l_init: initial_state(d, rng, device),
            rope: (config.position == PositionKind::Rope).then(|| {
                let plain = device.clone().without_autodiff();
                RopeTable::new(config.total_len(), config.head_dim(), 10_000.0, &plain)
            }),
            config: config.clone(),
        };
        Ok(model)
    }

    /// The configuration that the model was made of.
    pub fn config(&self) -> &HrmConfig {
        &self.config
    }

    /// The same weights with other numbers of cycles, which their shapes don't fix.
    ///
    /// # Errors
    /// If the changed configuration is not valid.
    pub fn with_cycles(mut self, h_cycles: usize, l_cycles: usize) -> Result<Self, ConfigError> {
        self.config.h_cycles = h_cycles;
        self.config.l_cycles = l_cycles;
        self.config.validate()?;
        Ok(self)
    }

    /// The same weights computed in another number type.
    #[must_use]
    pub fn with_compute(mut self, compute: ComputeType) -> Self {
        self.config.compute = compute;
        self
    }

    /// The same weights trained through another part of a segment.
    #[must_use]
    pub fn with_gradient(mut self, gradient: GradientSpan) -> Self {
        self.config.gradient = gradient;
        self
    }

    /// The same model with another puzzle table, `[ids, E]`, and so with another number of puzzle ids.
    ///
    /// # Panics
    /// If the model has no puzzle table, or one with rows of another length.
    #[must_use]
    pub fn with_puzzle_table(mut self, table: Tensor<2>) -> Self {
        let [ids, dim] = table.dims();
        let autodiff = match &self.puzzle_emb {
            Some(old) => {
                assert_eq!(dim, old.dims()[1], "length of the rows of the puzzle table");
                old.val().is_autodiff()
            }
            None => panic!("the model has no puzzle table"),
        };
        let table = table.without_autodiff();
        self.puzzle_emb = Some(buffer(if autodiff { table.autodiff() } else { table }));
        self.config.num_puzzle_ids = ids;
        self
    }

    /// The rotary tables, where the model has rotary positions.
    pub fn rope(&self) -> Option<&RopeTable> {
        self.rope.as_ref()
    }

    /// The device of the weights, without autodiff.
    pub fn device(&self) -> Device {
        self.embed_tokens.val().device().without_autodiff()
    }

    /// A plain snapshot for computing without gradient, its matrices already in the compute type and in the
    /// order in which products read them.
    #[must_use]
    pub fn frozen(&self) -> Self {
        let mut plain = self.valid();
        if self.config.compute != ComputeType::F32 {
            // Of the table only the rows in use are ever cast: it may be larger than all else.
            let table = plain.puzzle_emb.take();
            plain = plain.map(&mut CastMatrices(self.config.compute.float_type()));
            plain.puzzle_emb = table;
        }
        plain.h_level = plain.h_level.map(Level::laid_out);
        plain.l_level = plain.l_level.laid_out();
        plain
    }

    /// The states before the first segment, with one row that broadcasts over a batch.
    pub fn initial_state(&self) -> LatentState {
        let (l, d) = (self.config.total_len(), self.config.hidden_size);
        let rows = |init: &Param<Tensor<1>>| {
            let row = init.val().without_autodiff().reshape([1, 1, d]);
            self.to_compute(row).expand([1, l, d])
        };
        LatentState {
            z_h: rows(&self.h_init),
            z_l: rows(&self.l_init),
        }
    }

    /// The rows of the puzzle table, outside any graph; none where the model has no table.
    ///
    /// # Shapes
    /// `ids` `[B]` in `0..num_puzzle_ids` → `[B, E]`
    pub fn puzzle_rows(&self, ids: Tensor<1, Int>) -> Option<Tensor<2>> {
        let table = self.puzzle_emb.as_ref()?;
        Some(table.val().without_autodiff().select(0, ids))
    }

    /// The input embedding x, the same for all updates of a segment.
    ///
    /// # Shapes
    /// `inputs` `[B, S]` ids in `0..V`, `puzzle_rows` `[B, E]` → `[B, L, D]` in the compute type
    ///
    /// # Panics
    /// If `puzzle_rows` is missing where the model has a puzzle table, or there where it has none.
    pub fn embed(&self, inputs: Tensor<2, Int>, puzzle_rows: Option<Tensor<2>>) -> Tensor<3> {
        let [b, s] = inputs.dims();
        let d = self.config.hidden_size;
        let p = self.config.puzzle_len();
        assert_eq!(s, self.config.seq_len, "cells of a puzzle");
        let tokens = ops::embedding(
            self.embed_tokens.val(),
            inputs,
            self.config.compute.float_type(),
        );
        let mut x = match puzzle_rows {
            Some(rows) => {
                assert!(self.puzzle_emb.is_some(), "the model has no puzzle table");
                let [_, e] = rows.dims();
                let rows = self.to_compute(rows);
                let rows = if e < p * d {
                    let pad = Tensor::zeros([b, p * d - e], (&rows.device(), rows.dtype()));
                    Tensor::cat(vec![rows, pad], 1)
                } else {
                    rows
                };
                Tensor::cat(vec![rows.reshape([b, p, d]), tokens], 1)
            }
            None => {
                assert!(self.puzzle_emb.is_none(), "the model needs puzzle rows");
                tokens
            }
        };
        if let Some(positions) = &self.embed_pos {
            let positions = self.to_compute(positions.val()).unsqueeze::<3>();
            x = (x + positions).mul_scalar(std::f64::consts::FRAC_1_SQRT_2);
        }
        x.mul_scalar((d as f64).sqrt())
    }

    /// One segment: `h_cycles` times (`l_cycles` updates of z_L, one of z_H), then the heads (section "Approximate gradient").
    ///
    /// On a trainable model the last updates ([`GradientSpan`]) and the heads are part of the graph, and the others
    /// run on plain tensors; on a plain model all do. The state returned is outside the graph in either case.
    ///
    /// # Shapes
    /// `x` `[B, L, D]` from [`Hrm::embed`]
    ///
    /// # Panics
    /// If the batch of the state isn't that of `x`.
    pub fn segment(&self, state: LatentState, x: Tensor<3>) -> (LatentState, SegmentOutput) {
        self.segment_from(&self.frozen(), state, x)
    }

    /// [`Hrm::segment`] with the [`Hrm::frozen`] snapshot of this model at hand, which saves the casts of making it again.
    ///
    /// # Panics
    /// If the batch of the state isn't that of `x`.
    pub fn segment_from(
        &self,
        frozen: &Self,
        state: LatentState,
        x: Tensor<3>,
    ) -> (LatentState, SegmentOutput) {
        let quiet = x.clone().without_autodiff();
        let state = frozen.warm_updates(state.without_autodiff(), &quiet);
        let last = self.last_updates(state, &x);
        let output = self.read_out(last.z_h.clone());
        (last.without_autodiff(), output)
    }

    /// The states after one more segment, without reading the answer. Meant for a [`Hrm::frozen`] model.
    ///
    /// # Panics
    /// If the batch of the state isn't that of `x`.
    pub fn advance(&self, state: LatentState, x: Tensor<3>) -> LatentState {
        let state = self.warm_updates(state, &x);
        self.last_updates(state, &x)
    }

    /// Heads: answer and q values.
    ///
    /// # Shapes
    /// `z_h` `[B, L, D]` → logits `[B, S, V]`, q values `[B]`
    pub fn read_out(&self, z_h: Tensor<3>) -> SegmentOutput {
        let p = self.config.puzzle_len();
        let [_, l, _] = z_h.dims();
        let (q_halt, q_continue) = self.q_values(z_h.clone());
        let cells = if p == 0 { z_h } else { z_h.narrow(1, p, l - p) };
        let logits = ops::linear(cells, self.lm_head.val()).cast(FloatDType::F32);
        SegmentOutput {
            logits,
            q_halt,
            q_continue,
        }
    }

    /// q_halt and q_continue, `[B]` logits, from position 0 of z_H.
    pub fn q_values(&self, z_h: Tensor<3>) -> (Tensor<1>, Tensor<1>) {
        let [b, _, _] = z_h.dims();
        let q: Tensor<2> = ops::linear(z_h.narrow(1, 0, 1), self.q_head_weight.val())
            .cast(FloatDType::F32)
            .reshape([b, 2]);
        let q = q + self.q_head_bias.val().unsqueeze::<2>();
        let column = |i| q.clone().narrow(1, i, 1).reshape([b]);
        (column(0), column(1))
    }

    /// The updates that are never differentiated. Called on a frozen model with plain tensors.
    fn warm_updates(&self, mut state: LatentState, x: &Tensor<3>) -> LatentState {
        let config = &self.config;
        for cycle in 1..=config.h_cycles {
            let last = cycle == config.h_cycles;
            match config.gradient {
                GradientSpan::LastCycle if last => {}
                GradientSpan::LastUpdate if last => {
                    for _ in 1..config.l_cycles {
                        state = self.update_l(state, x);
                    }
                }
                _ => state = self.cycle(state, x),
            }
        }
        state
    }

    /// The updates that are differentiated on a trainable model.
    fn last_updates(&self, state: LatentState, x: &Tensor<3>) -> LatentState {
        match self.config.gradient {
            GradientSpan::LastCycle => self.cycle(state, x),
            GradientSpan::LastUpdate => {
                let state = self.update_l(state, x);
                self.update_h(state)
            }
        }
    }

    fn cycle(&self, mut state: LatentState, x: &Tensor<3>) -> LatentState {
        for _ in 0..self.config.l_cycles {
            state = self.update_l(state, x);
        }
        self.update_h(state)
    }

    fn update_l(&self, state: LatentState, x: &Tensor<3>) -> LatentState {
        let injection = state.z_h.clone() + x.clone();
        let z_l = self
            .l_level
            .forward(state.z_l, injection, self.rope.as_ref());
        LatentState {
            z_h: state.z_h,
            z_l,
        }
    }

    fn update_h(&self, state: LatentState) -> LatentState {
        let level = self.h_level.as_ref().unwrap_or(&self.l_level);
        let z_h = level.forward(state.z_h, state.z_l.clone(), self.rope.as_ref());
        LatentState {
            z_h,
            z_l: state.z_l,
        }
    }

    fn to_compute<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.config.compute {
            ComputeType::F32 => x,
            compute => x.cast(compute.float_type()),
        }
    }
}

/// A start state: standard normal cut at two standard deviations.
fn initial_state(d: usize, rng: &mut impl Rng, device: &Device) -> Param<Tensor<1>> {
    let values = truncated_normal(d, 1.0, rng);
    buffer(Tensor::from_data(TensorData::new(values, [d]), device))
}

/// Casts the matrices; vectors (bias, initial states) stay f32.
struct CastMatrices(FloatDType);

impl ModuleMapper for CastMatrices {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 2 {
            param.map(|tensor| tensor.cast(self.0))
        } else {
            param
        }
    }
}
