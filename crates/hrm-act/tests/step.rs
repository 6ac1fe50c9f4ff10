//! The training step: who is refilled, who halts, and what leaves it.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use hrm_act::{ActConfig, Batch, Carry, HaltPolicy, LossKind};
use hrm_core::{HaltHead, Hrm, HrmConfig, LatentState, PuzzleEmbeddingConfig, Sizes};
use hrm_data::PuzzleBatch;
use proptest::prelude::*;

const SIZES: Sizes = Sizes {
    seq_len: 4,
    vocab_size: 6,
    num_puzzle_ids: 8,
};

fn model(device: &Device) -> Hrm {
    let config = HrmConfig {
        hidden_size: 8,
        num_heads: 2,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 8,
            positions: None,
        }),
        ..HrmConfig::hrm(SIZES)
    };
    Hrm::new(&config, 1, device).unwrap()
}

fn batch(rows: usize, base: u8, device: &Device) -> Batch {
    let cells = rows * SIZES.seq_len;
    let tokens: Vec<u8> = (0..cells).map(|i| (i as u8 + base) % 6).collect();
    let host = PuzzleBatch {
        seq_len: SIZES.seq_len,
        labels: tokens.clone(),
        inputs: tokens,
        puzzle_ids: (0..rows)
            .map(|row| (row as u32 + u32::from(base)) % 8)
            .collect(),
        min_segments: vec![u32::from(base); rows],
    };
    Batch::from_host(&host, device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i32> {
    tensor.into_data().iter::<i32>().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn refill_touches_halted_slots_only(halted in prop::collection::vec(any::<bool>(), 1..7)) {
        let device = Device::flex();
        let model = model(&device);
        let b = halted.len();
        let (old, new) = (batch(b, 1, &device), batch(b, 2, &device));
        let shape = [b, 5, 8];
        let carry = Carry {
            latent: LatentState {
                z_h: Tensor::full(shape, 7.0, &device),
                z_l: Tensor::full(shape, -7.0, &device),
            },
            segment: Tensor::full([b], 3, &device),
            halted: Tensor::<1, Bool>::from_data(TensorData::new(halted.clone(), [b]), &device),
            batch: old.clone(),
        };
        let carry = carry.refill(&model, new.clone());
        let fresh = model.initial_state();
        let (fresh_h, fresh_l) = (floats(fresh.z_h), floats(fresh.z_l));
        let (z_h, z_l) = (floats(carry.latent.z_h), floats(carry.latent.z_l));
        let segments = ints(carry.segment);
        let inputs = ints(carry.batch.inputs);
        let labels = ints(carry.batch.labels);
        let ids = ints(carry.batch.puzzle_ids);
        let (old_in, new_in) = (ints(old.inputs), ints(new.inputs));
        let (old_ids, new_ids) = (ints(old.puzzle_ids), ints(new.puzzle_ids));
        for (slot, &halted) in halted.iter().enumerate() {
            let state = slot * 40..(slot + 1) * 40;
            let cells = slot * 4..(slot + 1) * 4;
            prop_assert_eq!(segments[slot], if halted { 0 } else { 3 });
            if halted {
                prop_assert_eq!(&z_h[state.clone()], &fresh_h[..]);
                prop_assert_eq!(&z_l[state], &fresh_l[..]);
                prop_assert_eq!(&inputs[cells.clone()], &new_in[cells.clone()]);
                prop_assert_eq!(&labels[cells.clone()], &new_in[cells]);
                prop_assert_eq!(ids[slot], new_ids[slot]);
            } else {
                prop_assert!(z_h[state.clone()].iter().all(|&z| z == 7.0));
                prop_assert!(z_l[state].iter().all(|&z| z == -7.0));
                prop_assert_eq!(&inputs[cells.clone()], &old_in[cells.clone()]);
                prop_assert_eq!(&labels[cells.clone()], &old_in[cells]);
                prop_assert_eq!(ids[slot], old_ids[slot]);
            }
        }
    }
}

#[test]
fn halting_by_hand() {
    let device = Device::flex();
    let act = ActConfig {
        max_segments: 4,
        exploration: 0.0,
        loss: LossKind::Stablemax,
    };
    let segment = Tensor::<1, Int>::from_data([1, 1, 4, 2, 3, 1], &device);
    let q_halt = Tensor::<1>::from_data([1.0, -1.0, -1.0, 1.0, 1.0, 0.5], &device);
    let q_continue = Tensor::<1>::from_data([0.0, 0.0, 0.0, 0.0, 0.0, 0.5], &device);
    let min = Tensor::<1, Int>::from_data([0, 0, 0, 3, 3, 0], &device);
    let halted = |policy, head| -> Vec<bool> {
        act.halted(policy, head, &segment, (&q_halt, &q_continue), &min)
            .into_data()
            .iter::<bool>()
            .collect()
    };
    // Wants to; doesn't; must; wants to but explores; explored enough; a tie goes on.
    let learned = halted(HaltPolicy::Learned, HaltHead::QLearning);
    assert_eq!(learned, [true, false, true, false, true, false]);
    let halt_only = halted(HaltPolicy::Learned, HaltHead::HaltOnly);
    assert_eq!(halt_only, [true, false, true, false, true, true]);
    let fixed = halted(HaltPolicy::Fixed, HaltHead::QLearning);
    assert_eq!(fixed, [false, false, true, false, false, false]);
}

#[test]
fn what_leaves_a_step_is_outside_the_graph() {
    let device = Device::flex().autodiff();
    let model = model(&device);
    let act = ActConfig::published();
    let incoming = batch(3, 1, &device);
    let carry = Carry::empty(&model, &incoming);
    let step = act.step(&model, carry, incoming, 3);
    assert!(step.loss.is_autodiff());
    assert!(!step.carry.latent.z_h.is_autodiff() && !step.carry.latent.z_l.is_autodiff());
    assert!(!step.q_halt.is_autodiff());
    assert!(!step.target_q_continue.unwrap().is_autodiff());
    assert!(!step.metrics.tensor().is_autodiff());
}
