//! One update of AdamAtan2: Adam without an epsilon, scale-invariant through `atan2` (Everett et al., 2024,
//! "Scaling exponents across parameterizations and optimizers"), with decoupled weight decay.

use burn::tensor::Tensor;

/// The numbers of one AdamAtan2 update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamAtan2Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Decay of the first moment, per step.
    pub beta1: f64,
    /// Decay of the second moment, per step.
    pub beta2: f64,
    /// Bias correction of the first moment, `1 - beta1^t` with `t` counted from 1.
    pub bias1: f64,
    /// Bias correction of the second moment, `1 - beta2^t`.
    pub bias2: f64,
}

/// One AdamAtan2 update of a parameter `p` with moments `m` and `v` by its gradient `g`; gives the new
/// `(p, m, v)`:
/// `p *= 1 - lr*wd; m = lerp(m, g, 1-b1); v = lerp(v, g², 1-b2); p -= lr/bias1 * atan2(m, sqrt(v)/sqrt(bias2))`,
/// with `atan2(0, 0) = 0`. Plain tensors. Buffers that no one else holds are updated in place by the fused kernels.
///
/// # Panics
/// If the shapes differ.
#[must_use]
pub fn adam_atan2_update<const D: usize>(
    p: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    g: Tensor<D>,
    hyper: AdamAtan2Hyper,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    for (name, other) in [("m", &m), ("v", &v), ("g", &g)] {
        assert_eq!(
            p.dims(),
            other.dims(),
            "adam_atan2_update: the shapes of p and {name} differ"
        );
    }
    #[cfg(feature = "flex")]
    if [&p, &m, &v, &g]
        .into_iter()
        .all(super::fused::available_plain)
    {
        return super::fused::adam_atan2_update(p, m, v, g, hyper);
    }
    #[cfg(feature = "cube")]
    if [&p, &m, &v, &g]
        .into_iter()
        .all(|x| x.dtype() == burn::tensor::DType::F32 && super::kernels::available(x))
    {
        return super::kernels::adam_atan2_update(p, m, v, g, hyper);
    }
    composed(p, m, v, g, hyper)
}

/// [`adam_atan2_update`] out of plain Burn operations.
#[must_use]
pub fn composed<const D: usize>(
    p: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    g: Tensor<D>,
    hyper: AdamAtan2Hyper,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let AdamAtan2Hyper {
        lr,
        weight_decay,
        beta1,
        beta2,
        bias1,
        bias2,
    } = hyper;
    let m = m.mul_scalar(beta1).add(g.clone().mul_scalar(1.0 - beta1));
    let v = v.mul_scalar(beta2).add(g.square().mul_scalar(1.0 - beta2));
    let root = v.clone().sqrt().div_scalar(bias2.sqrt());
    // Not every shading language defines atan2(0, 0).
    let update = m
        .clone()
        .atan2(root)
        .mask_fill(m.clone().equal_elem(0.0), 0.0);
    let p = p
        .mul_scalar(1.0 - lr * weight_decay)
        .sub(update.mul_scalar(lr / bias1));
    (p, m, v)
}
