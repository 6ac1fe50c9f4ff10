//! The states of some puzzles, update by update.

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use hrm_core::{Hrm, LatentState};

use crate::reasoner::{Puzzle, ReasonError, check, device_error};

/// The states of B puzzles over some segments; all `[B, L, D]`, f32.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The input embedding.
    pub x: Tensor<3>,
    /// z_H at the start and after each of its updates, `h_cycles` a segment.
    pub z_h: Vec<Tensor<3>>,
    /// z_L at the start and after each of its updates, `h_cycles * l_cycles` a segment.
    pub z_l: Vec<Tensor<3>>,
}

/// Thinks about all puzzles for the same number of segments and keeps every state: `B * L * D` values an update.
///
/// # Errors
/// If a puzzle doesn't fit the model.
pub fn record(model: &Hrm, puzzles: &[Puzzle], segments: u32) -> Result<Recording, ReasonError> {
    let model = model.frozen();
    for (index, puzzle) in puzzles.iter().enumerate() {
        check(std::slice::from_ref(&model), index, puzzle)?;
    }
    let (b, config, device) = (puzzles.len(), model.config().clone(), model.device());
    if b == 0 {
        return Err(ReasonError::Field {
            field: "puzzles",
            expected: "at least 1",
            found: "0".to_owned(),
        });
    }
    let tokens = puzzles.iter().flat_map(|puzzle| &puzzle.inputs);
    let tokens: Vec<i32> = tokens.map(|&token| i32::from(token)).collect();
    let ids: Vec<i32> = puzzles
        .iter()
        .map(|puzzle| puzzle.puzzle_id as i32)
        .collect();
    let inputs: Tensor<2, Int> =
        Tensor::from_data(TensorData::new(tokens, [b, config.seq_len]), &device);
    let ids: Tensor<1, Int> = Tensor::from_data(TensorData::new(ids, [b]), &device);
    let x = model.embed(inputs, model.puzzle_rows(ids));
    // A model of one outer cycle and i updates of z_L makes the first i updates of a cycle; the one with all of them also
    // makes the cycle's update of z_H.
    let shortened = |l_cycles| {
        let shortened = model.clone().with_cycles(1, l_cycles);
        shortened.map_err(|error| ReasonError::Field {
            field: "model",
            expected: "a valid configuration",
            found: error.to_string(),
        })
    };
    let cycles: Vec<Hrm> = (1..=config.l_cycles)
        .map(shortened)
        .collect::<Result<_, _>>()?;
    let LatentState { z_h, z_l } = model.initial_state();
    let mut state = LatentState {
        z_h: z_h.expand(x.dims()),
        z_l: z_l.expand(x.dims()),
    };
    let kept = |z: &Tensor<3>| z.clone().cast(FloatDType::F32);
    let mut recording = Recording {
        x: kept(&x),
        z_h: vec![kept(&state.z_h)],
        z_l: vec![kept(&state.z_l)],
    };
    for _ in 0..segments as usize * config.h_cycles {
        let mut next = state.clone();
        for cycle in &cycles {
            next = cycle.advance(state.clone(), x.clone());
            recording.z_l.push(kept(&next.z_l));
        }
        recording.z_h.push(kept(&next.z_h));
        state = next;
    }
    Ok(recording)
}

/// How far each update moves the states: the Euclidean length of the change of a position's state, averaged over positions
/// and puzzles (the paper's forward residual).
///
/// # Shapes
/// n states `[B, L, D]` → n - 1 lengths
///
/// # Errors
/// If the device fails.
pub fn forward_residuals(states: &[Tensor<3>]) -> Result<Vec<f64>, ReasonError> {
    let lengths: Vec<Tensor<1>> = states
        .windows(2)
        .map(|pair| {
            let change = pair[1].clone() - pair[0].clone();
            (change.clone() * change).sum_dim(2).sqrt().mean()
        })
        .collect();
    if lengths.is_empty() {
        return Ok(Vec::new());
    }
    let lengths = Tensor::cat(lengths, 0).try_into_vec_as::<f32>();
    Ok(lengths
        .map_err(device_error)?
        .into_iter()
        .map(f64::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use hrm_core::{HrmConfig, Levels, PuzzleEmbeddingConfig, Sizes};

    #[test]
    fn residuals_by_hand() {
        let device = Device::flex();
        let state = |values: [[f32; 2]; 2]| Tensor::<2>::from_data(values, &device).unsqueeze();
        let states = [
            state([[0.0, 0.0], [1.0, 1.0]]),
            state([[3.0, 4.0], [1.0, 1.0]]),
            state([[3.0, 4.0], [1.0, 2.0]]),
        ];
        // (5 + 0) / 2 and (0 + 1) / 2
        assert_eq!(forward_residuals(&states).unwrap(), [2.5, 0.5]);
        assert!(forward_residuals(&states[..1]).unwrap().is_empty());
    }

    #[test]
    fn a_recording_ends_where_the_model_does() {
        let sizes = Sizes {
            seq_len: 4,
            vocab_size: 5,
            num_puzzle_ids: 2,
        };
        for config in [HrmConfig::hrm(sizes), HrmConfig::trm(sizes)] {
            let config = HrmConfig {
                hidden_size: 16,
                num_heads: 2,
                levels: match config.levels {
                    Levels::Shared { .. } => Levels::Shared { layers: 1 },
                    Levels::Separate { .. } => Levels::Separate {
                        h_layers: 1,
                        l_layers: 1,
                    },
                },
                puzzle_embedding: Some(PuzzleEmbeddingConfig {
                    dim: 16,
                    positions: None,
                }),
                ..config
            };
            let model = Hrm::new(&config, 1, &Device::flex()).unwrap().frozen();
            let puzzles = [1, 3].map(|token| Puzzle {
                inputs: vec![token, 2, 0, token],
                puzzle_id: 1,
            });
            let recording = record(&model, &puzzles, 2).unwrap();
            assert_eq!(recording.z_h.len(), 1 + 2 * config.h_cycles);
            assert_eq!(
                recording.z_l.len(),
                1 + 2 * config.h_cycles * config.l_cycles
            );
            let mut state = model.initial_state();
            state.z_h = state.z_h.expand(recording.x.dims());
            state.z_l = state.z_l.expand(recording.x.dims());
            for _ in 0..2 {
                state = model.advance(state, recording.x.clone());
            }
            let equal = |a: &Tensor<3>, b: &Tensor<3>| a.to_data() == b.to_data();
            assert!(equal(recording.z_h.last().unwrap(), &state.z_h));
            assert!(equal(recording.z_l.last().unwrap(), &state.z_l));
            let wrong = [Puzzle {
                inputs: vec![0; 3],
                puzzle_id: 0,
            }];
            assert!(matches!(
                record(&model, &wrong, 1),
                Err(ReasonError::Length { .. })
            ));
            assert!(record(&model, &[], 1).is_err());
        }
    }
}
