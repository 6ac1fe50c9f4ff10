//! A level of the recurrence: post-norm blocks of a mixer over the positions and a SwiGLU over the width.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use rand::Rng;

use crate::config::{HrmConfig, MixerKind};
use crate::init::lecun_param;
use crate::ops::{self, RopeTable};

/// A gated MLP: `down(silu(gate(x)) * up(x))`, with gate and up in one matrix.
#[derive(Module, Debug)]
pub struct SwiGlu {
    /// `[2I, width]`, the gate's rows first.
    pub gate_up_proj: Param<Tensor<2>>,
    /// `[width, I]`.
    pub down_proj: Param<Tensor<2>>,
}

impl SwiGlu {
    fn init(config: &HrmConfig, width: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let inner = config.swiglu_width(width);
        Self {
            gate_up_proj: lecun_param(2 * inner, width, rng, device),
            down_proj: lecun_param(width, inner, rng, device),
        }
    }

    /// # Shapes
    /// `x` `[B, n, width]` → `[B, n, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate_up = ops::linear(x, self.gate_up_proj.val());
        ops::linear(ops::swiglu(gate_up), self.down_proj.val())
    }
}

/// Full multi-head self-attention without bias.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[3D, D]`: query heads, key heads, value heads.
    pub qkv_proj: Param<Tensor<2>>,
    /// `[D, D]`.
    pub o_proj: Param<Tensor<2>>,
    num_heads: usize,
}

impl SelfAttention {
    fn init(config: &HrmConfig, rng: &mut impl Rng, device: &Device) -> Self {
        let d = config.hidden_size;
        Self {
            qkv_proj: lecun_param(3 * d, d, rng, device),
            o_proj: lecun_param(d, d, rng, device),
            num_heads: config.num_heads,
        }
    }

    /// # Shapes
    /// `x` `[B, L, D]` → `[B, L, D]`
    pub fn forward(&self, x: Tensor<3>, rope: Option<&RopeTable>) -> Tensor<3> {
        let qkv = ops::linear(x, self.qkv_proj.val());
        ops::linear(ops::attention(qkv, self.num_heads, rope), self.o_proj.val())
    }
}

/// One post-norm block. Exactly one of the two mixers is there.
#[derive(Module, Debug)]
pub struct Block {
    /// Mixer of HRM and of TRM with attention.
    pub self_attn: Option<SelfAttention>,
    /// TRM's SwiGLU over the positions.
    pub mlp_t: Option<SwiGlu>,
    /// The SwiGLU over the width.
    pub mlp: SwiGlu,
}

impl Block {
    fn init(config: &HrmConfig, rng: &mut impl Rng, device: &Device) -> Self {
        let (self_attn, mlp_t) = match config.mixer {
            MixerKind::Attention => (Some(SelfAttention::init(config, rng, device)), None),
            MixerKind::Mlp => (
                None,
                Some(SwiGlu::init(config, config.total_len(), rng, device)),
            ),
        };
        Self {
            self_attn,
            mlp_t,
            mlp: SwiGlu::init(config, config.hidden_size, rng, device),
        }
    }

    fn forward(&self, mut x: Tensor<3>, rope: Option<&RopeTable>) -> Tensor<3> {
        if let Some(attention) = &self.self_attn {
            let mixed = attention.forward(x.clone(), rope);
            x = ops::add_rms_norm(x, mixed);
        }
        if let Some(mlp_t) = &self.mlp_t {
            x = ops::mix_positions(x, mlp_t.gate_up_proj.val(), mlp_t.down_proj.val());
        }
        let changed = self.mlp.forward(x.clone());
        ops::add_rms_norm(x, changed)
    }
}

/// The network of a level (section "Hierarchical Reasoning Model" of the paper: f_H or f_L).
#[derive(Module, Debug)]
pub struct Level {
    /// The blocks, in order.
    pub layers: Vec<Block>,
}

impl Level {
    pub(crate) fn init(
        config: &HrmConfig,
        layers: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        Self {
            layers: (0..layers)
                .map(|_| Block::init(config, rng, device))
                .collect(),
        }
    }

    /// The same plain level with its matrices in the order in which products read them.
    pub(crate) fn laid_out(self) -> Self {
        let mut level = self.map(&mut LayOutMatrices);
        for block in &mut level.layers {
            block.mlp_t = block.mlp_t.take().map(|mlp_t| SwiGlu {
                gate_up_proj: mlp_t.gate_up_proj.map(ops::laid_out_for_mixing),
                down_proj: mlp_t.down_proj.map(ops::laid_out_for_mixing),
            });
        }
        level
    }

    /// One update: the blocks over `z + injection`.
    ///
    /// # Shapes
    /// `z` and `injection` `[B, L, D]` → `[B, L, D]`
    pub fn forward(
        &self,
        z: Tensor<3>,
        injection: Tensor<3>,
        rope: Option<&RopeTable>,
    ) -> Tensor<3> {
        self.layers
            .iter()
            .fold(z + injection, |x, block| block.forward(x, rope))
    }
}

/// Lays the matrices out for the products of a level, which are used again and again.
struct LayOutMatrices;

impl ModuleMapper for LayOutMatrices {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 2 {
            param.map(ops::laid_out_for_linear)
        } else {
            param
        }
    }
}
