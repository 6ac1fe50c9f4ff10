//! The official names and shapes of a model's weights.

use std::collections::BTreeMap;

/// Prefixes that wrappers of the reference programs put before a name, in any combination.
const PREFIXES: [&str; 3] = ["_orig_mod.", "model.", "inner."];

/// The prefix under which an export writes its tensors: that of the official loss head around an uncompiled model.
pub(super) const EXPORT_PREFIX: &str = "model.inner.";

/// A name without the prefixes of wrappers.
pub(super) fn short_name(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// What the shapes of a checkpoint's tensors say about the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    /// D.
    pub hidden_size: usize,
    /// V.
    pub vocab_size: usize,
    /// Blocks of the slow level; 0 where one level plays both roles.
    pub h_layers: usize,
    /// Blocks of the fast or shared level.
    pub l_layers: usize,
    /// Inner width I of the SwiGLU over the width.
    pub inner: usize,
    /// Sequence length L and inner width of the SwiGLU over the positions, in place of attention.
    pub mlp_t: Option<(usize, usize)>,
    /// L, with learned positions.
    pub learned: Option<usize>,
    /// Rows and row length E of the puzzle table.
    pub puzzle_table: Option<(usize, usize)>,
}

impl Architecture {
    /// Reads the sizes off `shapes`, by short name. Where tensors contradict each other, the first one counts, so that
    /// the others show up as misshapen. `None` where the shapes are not those of HRM or TRM at all.
    pub fn read(shapes: &BTreeMap<&str, &[usize]>) -> Option<Self> {
        let dim =
            |name: &str, axis: usize| shapes.get(name).and_then(|shape| shape.get(axis)).copied();
        let any = |suffix: &str, axis: usize| {
            let (_, shape) = shapes.iter().find(|(name, _)| name.ends_with(suffix))?;
            shape.get(axis).copied()
        };
        let hidden_size = dim("H_init", 0)
            .or(dim("L_init", 0))
            .or(dim("embed_tokens.embedding_weight", 1))
            .or(dim("lm_head.weight", 1))?;
        let vocab_size = dim("embed_tokens.embedding_weight", 0).or(dim("lm_head.weight", 0))?;
        Some(Self {
            hidden_size,
            vocab_size,
            h_layers: layers(shapes, "H_level.layers."),
            l_layers: layers(shapes, "L_level.layers."),
            inner: any(".mlp.down_proj.weight", 1)
                .or(any(".mlp.gate_up_proj.weight", 0).map(|rows| rows / 2))?,
            mlp_t: any(".mlp_t.down_proj.weight", 0).zip(any(".mlp_t.down_proj.weight", 1)),
            learned: dim("embed_pos.embedding_weight", 0),
            puzzle_table: dim("puzzle_emb.weights", 0).zip(dim("puzzle_emb.weights", 1)),
        })
        .filter(|found| found.l_layers > 0)
    }

    /// Sequence length L where a shape tells it.
    pub fn total_len(&self) -> Option<usize> {
        self.learned.or(self.mlp_t.map(|(len, _)| len))
    }

    /// As few puzzle positions as hold a row of the table.
    pub fn least_positions(&self) -> usize {
        let row = self.puzzle_table.map_or(0, |(_, dim)| dim);
        row.div_ceil(self.hidden_size.max(1))
    }

    /// Every tensor that a model of these sizes has.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let (d, v) = (self.hidden_size, self.vocab_size);
        let mut tensors: BTreeMap<String, Vec<usize>> = [
            ("embed_tokens.embedding_weight", vec![v, d]),
            ("lm_head.weight", vec![v, d]),
            ("q_head.weight", vec![2, d]),
            ("q_head.bias", vec![2]),
            ("H_init", vec![d]),
            ("L_init", vec![d]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        if let Some(len) = self.learned {
            tensors.insert("embed_pos.embedding_weight".into(), vec![len, d]);
        }
        if let Some((ids, dim)) = self.puzzle_table {
            tensors.insert("puzzle_emb.weights".into(), vec![ids, dim]);
        }
        for (level, layers) in [("H_level", self.h_layers), ("L_level", self.l_layers)] {
            for layer in 0..layers {
                let mut add = |part: &str, shape: [usize; 2]| {
                    tensors.insert(
                        format!("{level}.layers.{layer}.{part}.weight"),
                        shape.to_vec(),
                    );
                };
                match self.mlp_t {
                    Some((len, inner)) => {
                        add("mlp_t.gate_up_proj", [inner.saturating_mul(2), len]);
                        add("mlp_t.down_proj", [len, inner]);
                    }
                    None => {
                        add("self_attn.qkv_proj", [d.saturating_mul(3), d]);
                        add("self_attn.o_proj", [d, d]);
                    }
                }
                add("mlp.gate_up_proj", [self.inner.saturating_mul(2), d]);
                add("mlp.down_proj", [d, self.inner]);
            }
        }
        tensors
    }
}

/// Number of blocks below `prefix`: of different indices, so that no number in a name makes a long list.
fn layers(shapes: &BTreeMap<&str, &[usize]>, prefix: &str) -> usize {
    let mut indices: Vec<&str> = shapes
        .keys()
        .filter_map(|name| {
            name.strip_prefix(prefix)?
                .split_once('.')
                .map(|(index, _)| index)
        })
        .collect();
    indices.dedup();
    indices.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hrm, HrmConfig, PositionKind, PuzzleEmbeddingConfig, Sizes};
    use burn::tensor::Device;

    #[test]
    fn prefixes_are_stripped_in_any_combination() {
        for prefix in [
            "",
            "inner.",
            "model.inner.",
            "_orig_mod.model.inner.",
            "model._orig_mod.inner.",
        ] {
            assert_eq!(
                short_name(&format!("{prefix}H_level.layers.0.mlp.x")),
                "H_level.layers.0.mlp.x"
            );
        }
    }

    #[test]
    fn the_tensors_of_a_model_tell_its_architecture() {
        let sizes = Sizes {
            seq_len: 16,
            vocab_size: 7,
            num_puzzle_ids: 3,
        };
        let small = |config: HrmConfig| HrmConfig {
            hidden_size: 32,
            num_heads: 2,
            ..config
        };
        let learned = HrmConfig {
            position: PositionKind::Learned,
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 80,
                positions: None,
            }),
            ..HrmConfig::hrm(sizes)
        };
        let no_puzzle = HrmConfig {
            puzzle_embedding: None,
            ..HrmConfig::hrm(sizes)
        };
        for config in [
            HrmConfig::hrm(sizes),
            HrmConfig::trm(sizes),
            HrmConfig::trm_mlp(sizes),
            learned,
            no_puzzle,
        ] {
            let config = small(config);
            let weights = Hrm::new(&config, 0, &Device::flex()).unwrap().weights();
            let shapes = weights
                .iter()
                .map(|weight| (weight.name.as_str(), weight.shape.as_slice()))
                .collect();
            let found = Architecture::read(&shapes).unwrap();
            let expected: BTreeMap<String, Vec<usize>> = weights
                .iter()
                .map(|weight| (weight.name.clone(), weight.shape.clone()))
                .collect();
            assert_eq!(found.tensors(), expected);
            assert_eq!((found.h_layers, found.l_layers), config.layers());
            assert_eq!(found.inner, config.swiglu_width(32));
        }
    }
}
