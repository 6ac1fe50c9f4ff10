//! The optimizers: AdamAtan2 (or AdamW, or Muon) for the dense weights, sparse SignSGD for the rows of the puzzle table.

use std::collections::BTreeMap;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use hrm_core::Hrm;
use hrm_core::ops::{AdamAtan2Hyper, adam_atan2_update};
use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::muon::{MuonHyper, is_hidden_matrix, muon_update, stacked};

/// The rule of the dense optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Adam with `atan2(m, sqrt(v))` in place of a quotient with an epsilon; the published rule.
    AdamAtan2,
    /// AdamW, for comparison.
    AdamW {
        /// Added to the root of the second moment.
        epsilon: f64,
    },
    /// Muon for the matrices of the levels, AdamW for embeddings, heads and the bias, for comparison.
    Muon {
        /// Decay of Muon's average of the gradient.
        momentum: f64,
        /// Added to the root of AdamW's second moment.
        epsilon: f64,
    },
}

impl Rule {
    /// Whether the weight of an official name has a second moment; Muon's have none.
    pub fn has_second_moment(self, name: &str) -> bool {
        !(matches!(self, Self::Muon { .. }) && is_hidden_matrix(name))
    }
}

/// Configuration of the dense optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule.
    pub rule: Rule,
    /// Highest learning rate.
    pub lr: f64,
    /// Weight decay, multiplied by the learning rate; it acts on every dense weight.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
}

/// Configuration of the puzzle table's optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuzzleOptimizerConfig {
    /// Highest learning rate.
    pub lr: f64,
    /// Weight decay, multiplied by the learning rate; it acts on the rows in the slots only.
    pub weight_decay: f64,
}

/// First and second moment of a weight, flat.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Average of the gradient.
    pub m: Tensor<1>,
    /// Average of its square, where the rule has one ([`Rule::has_second_moment`]).
    pub v: Option<Tensor<1>>,
}

/// State of the dense optimizer.
#[derive(Clone, Debug, Default)]
pub struct DenseOptimizer {
    /// Steps made, t.
    pub step: u64,
    /// Moments by the official names of the weights.
    pub moments: BTreeMap<String, Moments>,
}

impl DenseOptimizer {
    /// One update of every dense weight that is not frozen, by its gradient at the rate `lr`. A weight without gradient takes a
    /// zero one: it decays, as in the reference.
    pub fn step(
        &mut self,
        config: &OptimizerConfig,
        freeze: Freeze,
        lr: f64,
        model: Hrm,
        mut gradients: BTreeMap<String, Tensor<1>>,
    ) -> Hrm {
        self.step += 1;
        let t = self.step as f64;
        let hyper = AdamAtan2Hyper {
            lr,
            weight_decay: config.weight_decay,
            beta1: config.beta1,
            beta2: config.beta2,
            bias1: 1.0 - config.beta1.powf(t),
            bias2: 1.0 - config.beta2.powf(t),
        };
        let shapes = match config.rule {
            Rule::Muon { .. } => matrices(&model),
            _ => BTreeMap::new(),
        };
        model.map_weights(|name, role, p| {
            if !freeze.trains(name, role) {
                return p;
            }
            let g = gradients.remove(name).unwrap_or_else(|| p.zeros_like());
            let (m, v) = match self.moments.remove(name) {
                Some(Moments { m, v }) => (m, v),
                None => (p.zeros_like(), None),
            };
            if let (Rule::Muon { momentum, .. }, Some(&shape)) = (config.rule, shapes.get(name)) {
                let hyper = MuonHyper {
                    lr,
                    weight_decay: config.weight_decay,
                    momentum,
                };
                let (p, m) = muon_update(p, m, g, shape, stacked(name), hyper);
                self.moments.insert(name.to_owned(), Moments { m, v: None });
                return p;
            }
            let v = v.unwrap_or_else(|| p.zeros_like());
            let (p, m, v) = match config.rule {
                Rule::AdamAtan2 => adam_atan2_update(p, m, v, g, hyper),
                Rule::AdamW { epsilon } | Rule::Muon { epsilon, .. } => {
                    adam_w_update(p, m, v, g, hyper, epsilon)
                }
            };
            let moments = Moments { m, v: Some(v) };
            self.moments.insert(name.to_owned(), moments);
            p
        })
    }
}

/// Shapes of the matrices that are Muon's. No weight is held on to, so that all can be updated in place.
fn matrices(model: &Hrm) -> BTreeMap<String, [usize; 2]> {
    let weights = model.weights().into_iter();
    weights
        .filter(|weight| is_hidden_matrix(&weight.name))
        .filter_map(|weight| Some((weight.name, weight.shape.try_into().ok()?)))
        .collect()
}

fn adam_w_update(
    p: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    g: Tensor<1>,
    hyper: AdamAtan2Hyper,
    epsilon: f64,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let m = m.mul_scalar(hyper.beta1) + g.clone().mul_scalar(1.0 - hyper.beta1);
    let v = v.mul_scalar(hyper.beta2) + g.square().mul_scalar(1.0 - hyper.beta2);
    let root = v.clone().div_scalar(hyper.bias2).sqrt().add_scalar(epsilon);
    let p = p.mul_scalar(1.0 - hyper.lr * hyper.weight_decay)
        - (m.clone() / root).mul_scalar(hyper.lr / hyper.bias1);
    (p, m, v)
}

/// One SignSGD update of the rows of the puzzle table that are in the slots: gradients of equal ids are summed, then
/// `row * (1 - lr*wd) - lr * sign(sum)`. No other row changes. Nothing is read back from the device.
///
/// # Shapes
/// `table` `[ids, E]`, `ids` `[B]`, `gradient` `[B, E]` → the table
pub fn sign_sgd_rows(
    table: Tensor<2>,
    ids: Tensor<1, Int>,
    gradient: Tensor<2>,
    lr: f64,
    weight_decay: f64,
) -> Tensor<2> {
    let [b] = ids.dims();
    // The first slot that holds the same puzzle stands for all of them.
    let columns = ids.clone().reshape([1, b]).expand([b, b]);
    let rows = ids.clone().reshape([b, 1]).expand([b, b]);
    let slots = Tensor::<1, Int>::arange(0..b as i64, (&ids.device(), ids.dtype()));
    let first: Tensor<1, Int> = slots
        .clone()
        .reshape([1, b])
        .expand([b, b])
        .mask_fill(rows.not_equal(columns), b as i64)
        .min_dim(1)
        .reshape([b]);
    let sums = gradient
        .zeros_like()
        .select_assign(0, first.clone(), gradient, IndexingUpdateOp::Add)
        .select(0, first);
    let updated = table
        .clone()
        .select(0, ids.clone())
        .mul_scalar(1.0 - lr * weight_decay)
        - sums.sign().mul_scalar(lr);
    // Slots with equal ids write equal values.
    table.select_assign(0, ids, updated, IndexingUpdateOp::Assign)
}

/// Divides the gradients by what makes their common norm at most `max_norm`, on the device.
pub fn clip_global_norm(
    gradients: BTreeMap<String, Tensor<1>>,
    max_norm: f64,
) -> BTreeMap<String, Tensor<1>> {
    let Some(square) = gradients
        .values()
        .map(|gradient| gradient.clone().square().sum())
        .reduce(|a, b| a + b)
    else {
        return gradients;
    };
    let norm = square.sqrt();
    let factor = norm.clamp_min(max_norm).recip().mul_scalar(max_norm);
    gradients
        .into_iter()
        .map(|(name, gradient)| (name, gradient * factor.clone()))
        .collect()
}
