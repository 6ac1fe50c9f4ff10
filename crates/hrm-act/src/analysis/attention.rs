//! Where a cell looks.

use burn::tensor::{FloatDType, Tensor, activation::softmax};
use hrm_core::Hrm;
use hrm_core::block::Level;
use hrm_core::ops;

use super::recording::Recording;
use crate::reasoner::{ReasonError, device_error};

/// Which role a network plays; one network plays both where they are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The slow one, which updates z_H.
    Slow,
    /// The fast one, which updates z_L.
    Fast,
}

/// The attention of a cell in the last recorded update of a network: for each puzzle and each head the share of every
/// position, `[B][heads][L]`, summing to 1. The P puzzle positions come first, before the cells.
///
/// # Errors
/// If the model has no attention, no such block or no such cell, the recording has no update, or the device fails.
pub fn attention_map(
    model: &Hrm,
    recording: &Recording,
    network: Network,
    block: usize,
    cell: usize,
) -> Result<Vec<Vec<Vec<f32>>>, ReasonError> {
    let wrong = |field, expected, found: usize| ReasonError::Field {
        field,
        expected,
        found: found.to_string(),
    };
    let model = model.frozen();
    let config = model.config();
    if cell >= config.seq_len {
        return Err(wrong("cell", "a cell of the puzzle, counted from 0", cell));
    }
    let level = match network {
        Network::Slow => model.h_level.as_ref().unwrap_or(&model.l_level),
        Network::Fast => &model.l_level,
    };
    let (Some(here), Some(before)) = (level.layers.get(block), level.layers.get(..block)) else {
        return Err(wrong(
            "block",
            "a block of the network, counted from 0",
            block,
        ));
    };
    let Some(attention) = &here.self_attn else {
        return Err(wrong("block", "a block with attention", block));
    };
    let ([.., h_before, _], [.., l_before, l_last]) = (&recording.z_h[..], &recording.z_l[..])
    else {
        return Err(wrong("recording", "at least one segment", 0));
    };
    // The last update of z_L saw the z_H before its own last update, which then saw the last z_L.
    let (z, injection) = match network {
        Network::Slow => (h_before.clone(), l_last.clone()),
        Network::Fast => (l_before.clone(), h_before.clone() + recording.x.clone()),
    };
    let (heads, head_dim) = (config.num_heads, config.head_dim());
    let rope = model.rope();
    let before = Level {
        layers: before.to_vec(),
    };
    let dtype = attention.qkv_proj.val().dtype();
    let x = before.forward(z.cast(dtype), injection.cast(dtype), rope);
    let qkv = ops::linear(x, attention.qkv_proj.val()).cast(FloatDType::F32);
    let [b, l, _] = qkv.dims();
    let part = |index: usize| {
        let part = qkv
            .clone()
            .narrow(2, index * heads * head_dim, heads * head_dim);
        let part: Tensor<4> = part.reshape([b, l, heads, head_dim]);
        match rope {
            Some(rope) => rope.apply(part),
            None => part,
        }
        .swap_dims(1, 2)
    };
    let query = part(0).narrow(2, config.puzzle_len() + cell, 1);
    let scores = ops::matmul(query, part(1).swap_dims(2, 3)).div_scalar((head_dim as f64).sqrt());
    let shares = softmax(scores, 3).try_into_vec_as::<f32>();
    let shares = shares.map_err(device_error)?;
    Ok(shares
        .chunks(heads * l)
        .map(|puzzle| puzzle.chunks(l).map(<[f32]>::to_vec).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::record;
    use crate::reasoner::Puzzle;
    use burn::tensor::Device;
    use hrm_core::{HrmConfig, Levels, MixerKind, PuzzleEmbeddingConfig, Sizes};

    fn config() -> HrmConfig {
        let sizes = Sizes {
            seq_len: 4,
            vocab_size: 5,
            num_puzzle_ids: 1,
        };
        HrmConfig {
            hidden_size: 16,
            num_heads: 2,
            levels: Levels::Separate {
                h_layers: 2,
                l_layers: 1,
            },
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 16,
                positions: Some(2),
            }),
            ..HrmConfig::hrm(sizes)
        }
    }

    fn puzzles() -> [Puzzle; 2] {
        [1, 3].map(|token| Puzzle {
            inputs: vec![token, 2, 0, token],
            puzzle_id: 0,
        })
    }

    /// The map, applied to the values, is what the model's own attention gives of `z`.
    fn weighs_as_the_model_does(
        model: &Hrm,
        recording: &Recording,
        (network, block): (Network, usize),
        z: Tensor<3>,
    ) {
        let level = match network {
            Network::Slow => model.h_level.as_ref().unwrap(),
            Network::Fast => &model.l_level,
        };
        let attention = level.layers[block].self_attn.as_ref().unwrap();
        let qkv = ops::linear(z, attention.qkv_proj.val());
        let rope = ops::RopeTable::new(6, 8, 10_000.0, &model.device());
        let expected = ops::attention(qkv.clone(), 2, Some(&rope)).into_data();
        let expected: Vec<f32> = expected.iter::<f32>().collect();
        let values: Vec<f32> = qkv.narrow(2, 32, 16).into_data().iter::<f32>().collect();
        for cell in 0..4 {
            let map = attention_map(model, recording, network, block, cell).unwrap();
            assert_eq!((map.len(), map[0].len(), map[0][0].len()), (2, 2, 6));
            for (puzzle, heads) in map.iter().enumerate() {
                for (head, shares) in heads.iter().enumerate() {
                    assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    for element in head * 8..head * 8 + 8 {
                        let at = |position: usize| (puzzle * 6 + position) * 16 + element;
                        let weighed = shares.iter().enumerate().map(|(p, s)| s * values[at(p)]);
                        let found: f32 = weighed.sum();
                        assert!((found - expected[at(2 + cell)]).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn maps_weigh_the_values_as_the_model_does() {
        let model = Hrm::new(&config(), 1, &Device::flex()).unwrap();
        let recording = record(&model, &puzzles(), 2).unwrap();
        let before = |states: &[Tensor<3>]| states[states.len() - 2].clone();
        let (h_before, l_before) = (before(&recording.z_h), before(&recording.z_l));
        let l_last = recording.z_l.last().unwrap().clone();
        let weighs = |place, z| weighs_as_the_model_does(&model, &recording, place, z);
        weighs((Network::Slow, 0), h_before.clone() + l_last.clone());
        // Frozen, as in a map: not even the rounding differs.
        let slow = model.frozen().h_level.unwrap();
        let first = Level {
            layers: slow.layers[..1].to_vec(),
        };
        let after_first = first.forward(h_before.clone(), l_last, model.rope());
        weighs((Network::Slow, 1), after_first);
        let into_fast = l_before + (h_before + recording.x.clone());
        weighs((Network::Fast, 0), into_fast);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let model = Hrm::new(&config(), 1, &Device::flex()).unwrap();
        let recording = record(&model, &puzzles(), 1).unwrap();
        let error = |recording: &Recording, network, block, cell| {
            let map = attention_map(&model, recording, network, block, cell);
            map.unwrap_err().to_string()
        };
        assert!(error(&recording, Network::Fast, 1, 0).contains("`block`"));
        assert!(error(&recording, Network::Fast, 0, 4).contains("`cell`"));
        let none = record(&model, &puzzles(), 0).unwrap();
        assert!(error(&none, Network::Fast, 0, 0).contains("`recording`"));
        let mlp = HrmConfig {
            mixer: MixerKind::Mlp,
            ..config()
        };
        let mlp = Hrm::new(&mlp, 1, &Device::flex()).unwrap();
        let recording = record(&mlp, &puzzles(), 1).unwrap();
        let map = attention_map(&mlp, &recording, Network::Fast, 0, 0);
        assert!(map.unwrap_err().to_string().contains("with attention"));
    }
}
