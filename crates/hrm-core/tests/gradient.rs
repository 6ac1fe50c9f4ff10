//! The one-step gradient and the gradient through the last cycle against finite differences.

use burn::tensor::{Device, Int, Tensor, TensorData};
use hrm_core::{
    GradientSpan, Hrm, HrmConfig, LatentState, Levels, MixerKind, PositionKind,
    PuzzleEmbeddingConfig, Sizes,
};

fn config(gradient: GradientSpan, mixer: MixerKind) -> HrmConfig {
    let sizes = Sizes {
        seq_len: 3,
        vocab_size: 5,
        num_puzzle_ids: 2,
    };
    HrmConfig {
        hidden_size: 8,
        num_heads: 2,
        levels: Levels::Separate {
            h_layers: 1,
            l_layers: 1,
        },
        gradient,
        mixer,
        position: PositionKind::Rope,
        h_cycles: 2,
        l_cycles: 2,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 8,
            positions: None,
        }),
        ..HrmConfig::hrm(sizes)
    }
}

/// A scalar of all that the heads say, with weights that tell the outputs apart.
fn score(model: &Hrm, state: LatentState, x: Tensor<3>) -> Tensor<1> {
    let (_, output) = model.segment(state, x);
    let [b, s, v] = output.logits.dims();
    let weights: Vec<f32> = (0..b * s * v).map(|i| (i as f32 * 0.7).sin()).collect();
    let weights = Tensor::from_data(TensorData::new(weights, [b, s, v]), &model.device());
    (output.logits * weights).sum() + output.q_halt.sum() + output.q_continue.sum().mul_scalar(0.5)
}

fn inputs(model: &Hrm, device: &Device) -> Tensor<3> {
    let tokens = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 0, 2]], device);
    let ids = Tensor::<1, Int>::from_data([1, 0], device);
    model.embed(tokens, model.puzzle_rows(ids))
}

/// The state that the differentiated updates start from: what one-step gradient holds constant.
fn before_the_last(model: &Hrm, x: &Tensor<3>) -> LatentState {
    let mut warm = model.clone().frozen();
    let mut state = model.initial_state();
    let config = model.config().clone();
    // The updates without gradient, spelled out with models of fewer cycles.
    match config.gradient {
        GradientSpan::LastCycle => {
            warm = warm
                .with_cycles(config.h_cycles - 1, config.l_cycles)
                .unwrap();
            state = warm.advance(state, x.clone());
        }
        GradientSpan::LastUpdate => {
            warm = warm
                .with_cycles(config.h_cycles - 1, config.l_cycles)
                .unwrap();
            state = warm.advance(state, x.clone());
            for _ in 1..config.l_cycles {
                let injection = state.z_h.clone() + x.clone();
                state.z_l = warm.l_level.forward(state.z_l, injection, warm.rope());
            }
        }
    }
    state
}

fn agrees_with_finite_differences(gradient: GradientSpan, mixer: MixerKind) {
    let device = Device::flex();
    let config = config(gradient, mixer);
    let model = Hrm::new(&config, 5, &device.clone().autodiff()).unwrap();
    let plain_x = inputs(&model, &device).without_autodiff();
    let start = before_the_last(&model, &plain_x);

    let loss = score(&model, model.initial_state(), inputs(&model, &device));
    let mut gradients = loss.backward();
    let gradients = model.take_gradients(&mut gradients);
    assert_eq!(gradients.len(), model.weights().len() - 3);

    // The last updates alone, as a model whose every update is the last: what finite differences move.
    let tail = match gradient {
        GradientSpan::LastUpdate => (1, 1),
        GradientSpan::LastCycle => (1, config.l_cycles),
    };
    let mut checked = 0;
    for (name, gradient) in gradients {
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let largest = gradient.iter().fold(0.0f64, |a, g| a.max(g.abs()));
        for index in [0, gradient.len() / 3, gradient.len() - 1] {
            let moved = |by: f32| -> f64 {
                let model = model.clone().frozen().map_weights(|other, _role, value| {
                    if other != name {
                        return value;
                    }
                    let mut values: Vec<f32> = value.into_data().iter::<f32>().collect();
                    values[index] += by;
                    let count = values.len();
                    Tensor::from_data(TensorData::new(values, [count]), &device)
                });
                let x = inputs(&model, &device);
                let model = model.with_cycles(tail.0, tail.1).unwrap();
                score(&model, start.clone(), x).into_scalar::<f64>()
            };
            let h = 1e-2;
            let slope = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h)))
                / (12.0 * f64::from(h));
            let error = (slope - gradient[index]).abs();
            // f32 rounding of a score of order ten over a step of 0.01.
            assert!(
                error < 3e-3 * largest.max(1.0),
                "{name}[{index}]: gradient {}, slope {slope}",
                gradient[index]
            );
            checked += 1;
        }
    }
    assert!(checked > 20);
}

#[test]
fn one_step_gradient() {
    agrees_with_finite_differences(GradientSpan::LastUpdate, MixerKind::Attention);
}

#[test]
fn gradient_through_the_last_cycle() {
    agrees_with_finite_differences(GradientSpan::LastCycle, MixerKind::Attention);
}

#[test]
fn gradient_of_the_mlp_mixer() {
    agrees_with_finite_differences(GradientSpan::LastCycle, MixerKind::Mlp);
}
