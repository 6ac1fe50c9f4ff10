//! Fused CPU kernels for Burn's `flex` backend, with hand-written gradients.
//!
//! `flex` runs each operation as a pass over memory; here a norm, a gate, an attention, a loss or an optimizer update
//! is one. [`extension`] hangs the kernels into Burn and its autodiff, the other files are functions of slices:
//! [`raw`] holds the unsafe code, [`math`] functions that vectorise. Rows and heads are shared between rayon's
//! threads; no result depends on how many there are.

mod adam_atan2;
mod attention;
mod extension;
mod linear;
mod math;
mod norm;
mod raw;
mod swiglu;
mod threads;
mod token_loss;

use burn::backend::flex::FlexTensor;
use burn::backend::{Dispatch, DispatchTensorKind, Flex};
use burn::tensor::{DType, Int, Tensor};

use super::{AdamAtan2Hyper, LossKind, RopeTable};
use extension::FusedOps;

/// Whether the kernels run on `tensor`, plain or autodiff.
pub(super) fn available<const D: usize>(tensor: &Tensor<D>) -> bool {
    super::fused_enabled()
        && tensor.dtype() == DType::F32
        && matches!(super::backend(tensor), DispatchTensorKind::Flex(_))
}

/// [`available`], and the tensor is plain.
pub(super) fn available_plain<const D: usize>(tensor: &Tensor<D>) -> bool {
    available(tensor) && !tensor.is_autodiff()
}

pub(super) fn rms_norm(x: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_rms_norm(x.into_dispatch()))
}

pub(super) fn add_rms_norm(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_add_rms_norm(
        x.into_dispatch(),
        y.into_dispatch(),
    ))
}

pub(super) fn swiglu(gate_up: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_swiglu(gate_up.into_dispatch()))
}

pub(super) fn transpose(x: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_transpose(x.into_dispatch()))
}

/// A plain matrix with its columns one after the other in memory.
pub(super) fn by_columns<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    match weight.try_into_primitive::<Flex>() {
        Ok(weight) => Tensor::from_primitive::<Flex>(extension::by_columns(weight)),
        Err(error) => unreachable!("a plain flex tensor was checked for: {error:?}"),
    }
}

pub(super) fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

pub(super) fn attention(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    let qkv = qkv.into_dispatch();
    Tensor::from_dispatch(match rope {
        None => Dispatch::fused_attention(qkv, num_heads),
        Some(RopeTable { cos, sin, .. }) => {
            let table = |table: &Tensor<2>| table.clone().without_autodiff().into_dispatch();
            Dispatch::fused_rotary_attention(qkv, table(cos), table(sin), num_heads)
        }
    })
}

pub(super) fn token_cross_entropy(
    kind: LossKind,
    logits: Tensor<3>,
    labels: Tensor<2, Int>,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_token_cross_entropy(
        logits.into_dispatch(),
        labels.without_autodiff().into_dispatch(),
        kind,
    ))
}

/// All four plain and on `flex`, of one shape.
pub(super) fn adam_atan2_update<const D: usize>(
    p: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    g: Tensor<D>,
    hyper: AdamAtan2Hyper,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let flex = |tensor: Tensor<D>| match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => extension::dense(tensor),
        Err(error) => unreachable!("a plain flex tensor was checked for: {error:?}"),
    };
    let [mut p, mut m, mut v, g] = [p, m, v, g].map(flex);
    extension::with_mut(&mut p, |p| {
        extension::with_mut(&mut m, |m| {
            extension::with_mut(&mut v, |v| {
                adam_atan2::update(p, m, v, extension::slice(&g), hyper)
            });
        });
    });
    let wrap = |tensor: FlexTensor| Tensor::from_primitive::<Flex>(tensor);
    (wrap(p), wrap(m), wrap(v))
}
