//! One training step's forward part: refill, segment, halting, target, losses (section "Adaptive computational time").

use burn::tensor::{Bool, Int, Tensor, activation};
use hrm_core::ops::{LossKind, token_cross_entropy};
use hrm_core::{HaltHead, Hrm};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::carry::Carry;
use crate::loss::{Correctness, binary_cross_entropy};
use crate::metrics::{MetricSums, Terms};

/// Adaptive computation time in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActConfig {
    /// Most segments on a puzzle, M.
    pub max_segments: u32,
    /// Probability that a slot must make a random number of segments, 0..=1.
    pub exploration: f64,
    /// Cross-entropy on the cells.
    pub loss: LossKind,
}

impl ActConfig {
    /// The published setting: M 16, exploration 0.1, stablemax.
    pub fn published() -> Self {
        Self {
            max_segments: 16,
            exploration: 0.1,
            loss: LossKind::Stablemax,
        }
    }
}

/// When a slot stops thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltPolicy {
    /// After M segments: the reference's evaluation.
    Fixed,
    /// When the q head says so, but not before the exploration draw of the slot: training.
    Learned,
}

/// What a training step computes.
#[derive(Clone, Debug)]
pub struct ActStep {
    /// The slots after the segment.
    pub carry: Carry,
    /// `[1]`, the loss summed over the slots and divided by the batch size; the root of the graph.
    pub loss: Tensor<1>,
    /// `[B, E]`, the leaf that stands for the slots' rows of the puzzle table.
    pub puzzle_rows: Option<Tensor<2>>,
    /// Sums of this step.
    pub metrics: MetricSums,
    /// `[B]` q_halt logits, outside the graph.
    pub q_halt: Tensor<1>,
    /// `[B]` q_continue logits, outside the graph.
    pub q_continue: Tensor<1>,
    /// `[B]` target of q_continue, where there is one.
    pub target_q_continue: Option<Tensor<1>>,
}

impl ActConfig {
    /// One segment of every slot with its losses. `global_batch` is what the loss is divided by: the slots of
    /// this call, or of all calls whose gradients are summed. Nothing is read back from the device.
    ///
    /// # Panics
    /// If the batch size of `incoming` isn't that of the carry.
    pub fn step(&self, model: &Hrm, carry: Carry, incoming: Batch, global_batch: usize) -> ActStep {
        let frozen = model.frozen();
        let carry = carry.refill(&frozen, incoming);
        let batch = carry.batch;
        let puzzle_rows = model
            .puzzle_rows(batch.puzzle_ids.clone())
            .map(|rows| rows.autodiff().require_grad());
        let x = model.embed(batch.inputs.clone(), puzzle_rows.clone());
        let (latent, output) = model.segment_from(&frozen, carry.latent, x.clone());

        let segment = carry.segment.add_scalar(1);
        let last = segment.clone().greater_equal_scalar(self.max_segments);
        let q_halt = output.q_halt.clone().without_autodiff();
        let q_continue = output.q_continue.clone().without_autodiff();
        let head = model.config().halt_head;
        let halted = self.halted(
            HaltPolicy::Learned,
            head,
            &segment,
            (&q_halt, &q_continue),
            &batch.min_segments,
        );

        let target_q_continue = (head == HaltHead::QLearning && self.max_segments > 1).then(|| {
            let next = frozen.advance(latent.clone(), x.without_autodiff());
            let (next_halt, next_continue) = frozen.q_values(next.z_h);
            let best = next_halt.clone().max_pair(next_continue);
            activation::sigmoid(best.mask_where(last, next_halt))
        });

        let correct = Correctness::of(output.logits.clone(), batch.labels.clone());
        let exact = correct.exact.clone().float();
        let token_loss = token_cross_entropy(self.loss, output.logits, batch.labels.clone());
        let q_halt_loss = binary_cross_entropy(output.q_halt, exact.clone());
        let q_continue_loss = target_q_continue
            .clone()
            .map(|target| binary_cross_entropy(output.q_continue, target));
        let mut q_loss = q_halt_loss.clone();
        if let Some(q_continue_loss) = &q_continue_loss {
            q_loss = q_loss + q_continue_loss.clone();
        }
        let loss = (token_loss.clone() + q_loss.mul_scalar(0.5))
            .sum()
            .div_scalar(global_batch as f64);

        let metrics = MetricSums::new(Terms {
            counted: halted.clone().bool_and(correct.has_valid),
            cell_accuracy: correct.cell_accuracy,
            exact,
            q_halt_right: q_halt
                .clone()
                .greater_equal_scalar(0.0)
                .equal(correct.exact)
                .float(),
            segments: segment.clone().float(),
            token_loss: token_loss.without_autodiff(),
            q_halt_loss: q_halt_loss.without_autodiff(),
            q_continue_loss: q_continue_loss.map(Tensor::without_autodiff),
        });
        ActStep {
            carry: Carry {
                latent,
                segment,
                halted,
                batch,
            },
            loss,
            puzzle_rows,
            metrics,
            q_halt,
            q_continue,
            target_q_continue,
        }
    }

    /// Which slots stop after the segment just made.
    ///
    /// # Shapes
    /// All `[B]`; `q` is (q_halt, q_continue), `min_segments` the exploration draws
    pub fn halted(
        &self,
        policy: HaltPolicy,
        head: HaltHead,
        segment: &Tensor<1, Int>,
        q: (&Tensor<1>, &Tensor<1>),
        min_segments: &Tensor<1, Int>,
    ) -> Tensor<1, Bool> {
        let last = segment.clone().greater_equal_scalar(self.max_segments);
        if policy == HaltPolicy::Fixed || self.max_segments <= 1 {
            return last;
        }
        let (q_halt, q_continue) = q;
        let wants = match head {
            HaltHead::QLearning => q_halt.clone().greater(q_continue.clone()),
            HaltHead::HaltOnly => q_halt.clone().greater_scalar(0.0),
        };
        let explored = segment.clone().greater_equal(min_segments.clone());
        last.bool_or(wants).bool_and(explored)
    }
}
