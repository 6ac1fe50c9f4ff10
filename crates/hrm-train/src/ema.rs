//! The moving average of the dense weights that TRM evaluates with.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use hrm_core::Hrm;

use crate::freeze::Freeze;

/// Averages of the dense weights that are trained, by official name; the puzzle table and frozen weights are used as they are.
#[derive(Clone, Debug)]
pub struct Ema {
    /// Share of the old average kept at each step, mu.
    pub decay: f64,
    /// The averages, flat.
    pub shadow: BTreeMap<String, Tensor<1>>,
}

impl Ema {
    /// Starts at the weights of `model`.
    pub fn new(decay: f64, freeze: Freeze, model: &Hrm) -> Self {
        let shadow = model
            .weights()
            .into_iter()
            .filter(|weight| freeze.trains(&weight.name, weight.role))
            // A copy of its own: a shared buffer would keep the optimizer from working in place.
            .map(|weight| (weight.name, weight.value.mul_scalar(1.0)))
            .collect();
        Self { decay, shadow }
    }

    /// `shadow = decay * shadow + (1 - decay) * weight`, after an optimizer step.
    pub fn update(&mut self, model: &Hrm) {
        for weight in model.weights() {
            if let Some(shadow) = self.shadow.remove(&weight.name) {
                let shadow =
                    shadow.mul_scalar(self.decay) + weight.value.mul_scalar(1.0 - self.decay);
                self.shadow.insert(weight.name, shadow);
            }
        }
    }

    /// A plain copy of `model` with the averages in place of its dense weights.
    pub fn apply(&self, model: &Hrm) -> Hrm {
        model
            .valid()
            .map_weights(|name, _role, value| self.shadow.get(name).cloned().unwrap_or(value))
    }
}
