//! Kernels of our own for GPUs, written once for all of them in CubeCL: each reads its operands once and writes its results.
//!
//! Burn fuses chains of element-wise operations by itself, but where several chains meet, as they do in a gradient, its search gives
//! up and launches every operation alone. These kernels are opaque to it: one launch, whatever stands around them.
//!
//! All take plain tensors of any float type and compute in f32.

// Launches without bound checks; each says why it stays within its buffers.
#![allow(unsafe_code)]

mod adam_atan2;
mod attention;
mod norm;
mod product;
mod swiglu;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchTensorKind, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{AdamAtan2Hyper, RopeTable, WIDE_LOAD};

pub(super) use product::{whole_matmul, would_cut};

/// The kernels as operations of Burn's CubeCL backend; their arguments are those of the functions below.
#[backend_extension(Cube, Fusion)]
trait Kernels: Backend {
    #[fusion(dtype = gate_up, shape = with_half(gate_up, dim))]
    fn swiglu(gate_up: FloatTensor<Self>, dim: usize) -> FloatTensor<Self>;

    #[fusion(dtype = gate_up, shape = gate_up)]
    fn swiglu_backward(
        gate_up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        dim: usize,
    ) -> FloatTensor<Self>;

    #[fusion(meta = |x, _y, dim| (x.clone(), TensorSpec::new(with_one(&x.shape, dim), DType::F32)))]
    fn add_rms_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dim: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |grad, _out, heads| along_of(grad, *heads))]
    fn split_grad(
        grad: FloatTensor<Self>,
        out: FloatTensor<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = out, shape = out)]
    fn rms_norm_backward(
        out: FloatTensor<Self>,
        rms: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        dim: usize,
    ) -> FloatTensor<Self>;

    #[fusion(meta = |qkv, _cos, _sin, heads, _turn| heads_of(qkv, *heads))]
    fn split_heads(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        turn: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |q, _k, _v, _cos, _sin, heads, _turn| TensorSpec::new(together(&q.shape, heads), q.dtype))]
    fn split_heads_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        turn: bool,
    ) -> FloatTensor<Self>;

    #[fusion(meta = |scores, _scale, _keys| (scores.clone(), TensorSpec::new(with_one(&scores.shape, &2), DType::F32)))]
    fn softmax(
        scores: FloatTensor<Self>,
        scale: f32,
        keys: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |scores, _of_weights, _log_sums, _along, _scale, _keys| (scores.clone(), scores.clone()))]
    fn softmax_backward(
        scores: FloatTensor<Self>,
        of_weights: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        along: FloatTensor<Self>,
        scale: f32,
        keys: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |p, m, v, _g, _hyper| (p.clone(), m.clone(), v.clone()))]
    fn adam_atan2(
        p: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        hyper: AdamAtan2Hyper,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn with_half(shape: &Shape, dim: &usize) -> Shape {
    let mut shape = shape.clone();
    shape[*dim] /= 2;
    shape
}

fn with_one(shape: &Shape, dim: &usize) -> Shape {
    let mut shape = shape.clone();
    shape[*dim] = 1;
    shape
}

/// Rows of keys and values, so many that the rows of the scores hold whole loads.
fn padded(len: usize) -> usize {
    len.next_multiple_of(WIDE_LOAD)
}

/// `[B, L, 3D]` → `[B * heads, rows, head_dim]`
fn by_heads(qkv: &Shape, heads: usize, rows: usize) -> Shape {
    let [batch, _, width] = qkv.dims();
    Shape::new([batch * heads, rows, width / (3 * heads)])
}

/// Queries, keys and values of a projection.
fn heads_of(qkv: &TensorSpec, heads: usize) -> (TensorSpec, TensorSpec, TensorSpec) {
    let [_, len, _] = qkv.shape.dims();
    let part = |rows| TensorSpec::new(by_heads(&qkv.shape, heads, rows), qkv.dtype);
    (part(len), part(padded(len)), part(padded(len)))
}

/// `[B, L, D]` → `[B * heads, L, head_dim]`
fn apart(x: &Shape, heads: usize) -> Shape {
    let [batch, len, width] = x.dims();
    Shape::new([batch * heads, len, width / heads])
}

/// A gradient by heads, and a value for each of its rows.
fn along_of(grad: &TensorSpec, heads: usize) -> (TensorSpec, TensorSpec) {
    let shape = apart(&grad.shape, heads);
    let along = TensorSpec::new(with_one(&shape, &2), DType::F32);
    (TensorSpec::new(shape, grad.dtype), along)
}

/// `[B * heads, L, head_dim]` → `[B, L, 3D]`
fn together(q: &Shape, heads: &usize) -> Shape {
    let [rows, len, head_dim] = q.dims();
    Shape::new([rows / heads, len, 3 * heads * head_dim])
}

impl Kernels for CubeBackend {
    fn swiglu(gate_up: CubeTensor, dim: usize) -> CubeTensor {
        swiglu::forward(gate_up, dim)
    }

    fn swiglu_backward(gate_up: CubeTensor, grad: CubeTensor, dim: usize) -> CubeTensor {
        swiglu::backward(gate_up, grad, dim)
    }

    fn add_rms_norm(x: CubeTensor, y: CubeTensor, dim: usize) -> (CubeTensor, CubeTensor) {
        norm::forward(x, y, dim)
    }

    fn rms_norm_backward(
        out: CubeTensor,
        rms: CubeTensor,
        grad: CubeTensor,
        dim: usize,
    ) -> CubeTensor {
        norm::backward(out, rms, grad, dim)
    }

    fn split_heads(
        qkv: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        heads: usize,
        turn: bool,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        attention::split_heads(qkv, cos, sin, heads, turn)
    }

    fn split_heads_backward(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        heads: usize,
        turn: bool,
    ) -> CubeTensor {
        attention::split_heads_backward([q, k, v], cos, sin, heads, turn)
    }

    fn split_grad(grad: CubeTensor, out: CubeTensor, heads: usize) -> (CubeTensor, CubeTensor) {
        attention::split_grad(grad, out, heads)
    }

    fn softmax(scores: CubeTensor, scale: f32, keys: usize) -> (CubeTensor, CubeTensor) {
        attention::softmax(scores, scale, keys)
    }

    fn softmax_backward(
        scores: CubeTensor,
        of_weights: CubeTensor,
        log_sums: CubeTensor,
        along: CubeTensor,
        scale: f32,
        keys: usize,
    ) -> (CubeTensor, CubeTensor) {
        attention::softmax_backward(scores, of_weights, log_sums, along, scale, keys)
    }

    fn adam_atan2(
        p: CubeTensor,
        m: CubeTensor,
        v: CubeTensor,
        g: CubeTensor,
        hyper: AdamAtan2Hyper,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        adam_atan2::update(p, m, v, g, hyper)
    }
}

/// Whether the kernels run on `x`: a plain tensor of a CubeCL backend, and `HRM_FUSED=0` is not set.
pub(super) fn available<const D: usize>(x: &Tensor<D>) -> bool {
    on_gpu(x) && !x.is_autodiff()
}

/// Whether `x`, plain or not, is a tensor of a CubeCL backend, and `HRM_FUSED=0` is not set.
pub(super) fn on_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    super::fused_enabled() && matches!(super::backend(x), DispatchTensorKind::Cube(_))
}

/// `silu(gate) * up`, gate and up the halves of dimension `dim`.
///
/// # Shapes
/// `[.., 2I, ..]` → `[.., I, ..]`
pub(super) fn swiglu(gate_up: Tensor<3>, dim: usize) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::swiglu(gate_up.into_dispatch(), dim))
}

/// The gradient of [`swiglu`]'s operand from that of its result.
pub(super) fn swiglu_backward(gate_up: Tensor<3>, grad: Tensor<3>, dim: usize) -> Tensor<3> {
    let (gate_up, grad) = (gate_up.into_dispatch(), grad.into_dispatch());
    Tensor::from_dispatch(Dispatch::swiglu_backward(gate_up, grad, dim))
}

/// `rms_norm(x + y)` along `dim`, 1 or 2, and what it divided by, in f32.
///
/// # Shapes
/// `x`, `y` `[A, B, N]` → the same, and `[A, 1, N]` or `[A, B, 1]`
pub(super) fn add_rms_norm(x: Tensor<3>, y: Tensor<3>, dim: usize) -> (Tensor<3>, Tensor<3>) {
    let (out, rms) = Dispatch::add_rms_norm(x.into_dispatch(), y.into_dispatch(), dim);
    (Tensor::from_dispatch(out), Tensor::from_dispatch(rms))
}

/// The gradient of `x + y` from that of the result, with what [`add_rms_norm`] returned.
pub(super) fn rms_norm_backward(
    out: Tensor<3>,
    rms: Tensor<3>,
    grad: Tensor<3>,
    dim: usize,
) -> Tensor<3> {
    let [out, rms, grad] = [out, rms, grad].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::rms_norm_backward(out, rms, grad, dim))
}

/// Queries, keys and values by heads, the first two turned by their positions.
///
/// # Shapes
/// `qkv` `[B, L, 3D]` → `[B * heads, L, head_dim]` and twice `[B * heads, M, head_dim]`, M the next multiple of 8, rows beyond L zero
pub(super) fn split_heads(
    qkv: Tensor<3>,
    heads: usize,
    rope: Option<&RopeTable>,
) -> [Tensor<3>; 3] {
    let head_dim = qkv.dims()[2] / (3 * heads);
    let [cos, sin] = tables(&qkv, head_dim, rope).map(Tensor::into_dispatch);
    let (q, k, v) = Dispatch::split_heads(qkv.into_dispatch(), cos, sin, heads, rope.is_some());
    [q, k, v].map(Tensor::from_dispatch)
}

/// The gradient of [`split_heads`]' operand from those of its results.
pub(super) fn split_heads_backward(
    parts: [Tensor<3>; 3],
    heads: usize,
    rope: Option<&RopeTable>,
) -> Tensor<3> {
    let head_dim = parts[0].dims()[2];
    let [cos, sin] = tables(&parts[0], head_dim, rope).map(Tensor::into_dispatch);
    let [q, k, v] = parts.map(Tensor::into_dispatch);
    let turn = rope.is_some();
    Tensor::from_dispatch(Dispatch::split_heads_backward(
        q, k, v, cos, sin, heads, turn,
    ))
}

/// The gradient of an attention's output by heads, and of each query the sum of gradient times output, in f32.
///
/// # Shapes
/// `grad`, `out` `[B, L, D]` → `[B * heads, L, head_dim]` and `[B * heads, L, 1]`
pub(super) fn split_grad(grad: Tensor<3>, out: Tensor<3>, heads: usize) -> [Tensor<3>; 2] {
    let (by_heads, along) = Dispatch::split_grad(grad.into_dispatch(), out.into_dispatch(), heads);
    [by_heads, along].map(Tensor::from_dispatch)
}

/// Cosines and sines; without positions tensors that stand for them and are not read, but hold a vector.
fn tables(x: &Tensor<3>, head_dim: usize, rope: Option<&RopeTable>) -> [Tensor<2>; 2] {
    match rope {
        Some(rope) => [&rope.cos, &rope.sin].map(|table| table.clone().without_autodiff()),
        None => std::array::from_fn(|_| Tensor::zeros([1, head_dim], (&x.device(), DType::F32))),
    }
}

/// Softmax of `scale * scores` over the first `keys` elements of the last dimension, 0 in the others, and `ln Σ exp` of each row in f32.
///
/// # Shapes
/// `[R, Q, K]` → the same, and `[R, Q, 1]`
pub(super) fn softmax(scores: Tensor<3>, scale: f64, keys: usize) -> (Tensor<3>, Tensor<3>) {
    let (weights, log_sums) = Dispatch::softmax(scores.into_dispatch(), scale as f32, keys);
    (
        Tensor::from_dispatch(weights),
        Tensor::from_dispatch(log_sums),
    )
}

/// The softmax again, and the gradient of the scores from that of the weights.
///
/// # Shapes
/// `scores`, `of_weights` `[R, Q, K]`; `log_sums` from [`softmax`] and `along`, the sum over the keys of weight times gradient,
/// `[R, Q, 1]` in f32 → two like `scores`
pub(super) fn softmax_backward(
    scores: Tensor<3>,
    of_weights: Tensor<3>,
    log_sums: Tensor<3>,
    along: Tensor<3>,
    scale: f64,
    keys: usize,
) -> (Tensor<3>, Tensor<3>) {
    let [scores, of_weights, log_sums, along] =
        [scores, of_weights, log_sums, along].map(Tensor::into_dispatch);
    let (weights, of_scores) =
        Dispatch::softmax_backward(scores, of_weights, log_sums, along, scale as f32, keys);
    (
        Tensor::from_dispatch(weights),
        Tensor::from_dispatch(of_scores),
    )
}

/// One update of AdamAtan2, in place where no one else holds a buffer; f32.
pub(super) fn adam_atan2_update<const D: usize>(
    p: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    g: Tensor<D>,
    hyper: AdamAtan2Hyper,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let [p, m, v, g] = [p, m, v, g].map(Tensor::into_dispatch);
    let (p, m, v) = Dispatch::adam_atan2(p, m, v, g, hyper);
    (
        Tensor::from_dispatch(p),
        Tensor::from_dispatch(m),
        Tensor::from_dispatch(v),
    )
}

/// What the kernels' launches have in common.
mod launch {
    pub(super) use burn::backend::cubecl::dtype_to_elem_type as elem_type;
    use burn::tensor::{DType, Shape};
    pub(super) use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::client::Client;
    use burn_cubecl::cubecl::ir::AddressType;
    use burn_cubecl::cubecl::prelude::*;
    pub(super) use burn_cubecl::kernel::into_contiguous;
    use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
    pub(super) use burn_cubecl::tensor::CubeTensor;

    /// A tensor to be written, beside `x`.
    pub(super) fn empty(x: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
        empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, dtype)
    }

    /// The most elements that a unit may load at once where each of these lengths is to hold whole vectors.
    pub(super) fn vector_size(x: &CubeTensor, lengths: &[usize]) -> VectorSize {
        x.client
            .io_optimized_vector_sizes(x.dtype.size())
            .filter(|size| lengths.iter().all(|len| len.is_multiple_of(*size)))
            .max()
            .unwrap_or(1)
    }

    pub(super) fn address_type(tensors: &[&CubeTensor]) -> AddressType {
        let types = tensors.iter().map(|tensor| tensor.required_address_type());
        types.max().unwrap_or_default()
    }

    /// Cubes for so many units that know nothing of each other.
    pub(super) fn units(client: &Client, count: usize) -> (CubeCount, CubeDim) {
        let dim = CubeDim::new(client, count);
        (
            cubecl::calculate_cube_count_elemwise(client, count, dim),
            dim,
        )
    }

    /// What a cube holds: so many rows, and so many units for each, a power of two.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) struct Group {
        pub(super) units: usize,
        pub(super) rows: usize,
    }

    /// The row of a unit, which may lie beyond the last.
    #[cube]
    pub(super) fn row_of(#[comptime] group: Group) -> usize {
        CUBE_POS * group.rows + UNIT_POS_Y as usize
    }

    /// Cubes for rows of so many vectors: short rows share a cube, since one has room for hundreds of units.
    pub(super) fn rows(
        client: &Client,
        rows: usize,
        vectors: usize,
    ) -> (CubeCount, CubeDim, Group) {
        let most = client
            .properties()
            .hardware
            .max_units_per_cube
            .clamp(1, 256) as usize;
        let units = 1 << vectors.clamp(1, most).ilog2();
        let group = Group {
            units,
            rows: most / units,
        };
        let dim = CubeDim::new_2d(units as u32, group.rows as u32);
        let count = cubecl::calculate_cube_count_elemwise(client, rows * units, dim);
        (count, dim, group)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use burn::tensor::{Device, Distribution, TensorData, Tolerance};

    use super::*;

    /// The GPU to try kernels on: that of the build, where HRM_DEVICE names one. A software one takes minutes to translate them.
    pub(in super::super) fn gpu() -> Option<Device> {
        let is_named = std::env::var("HRM_DEVICE").is_ok_and(|name| !name.starts_with("flex"));
        let device = Device::default();
        if is_named && on_gpu(&Tensor::<1>::zeros([1], &device)) {
            return Some(device);
        }
        let ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(
            !is_named || !ci,
            "HRM_DEVICE names a GPU, and none is built in"
        );
        println!("skipped: HRM_DEVICE names no GPU");
        None
    }

    /// CUDA pads the rows that a product writes; so does a part of a wider tensor.
    #[test]
    fn a_softmax_of_padded_rows_is_that_of_dense_ones() {
        let Some(device) = gpu() else {
            return;
        };
        let wide = Tensor::<3>::random([3, 5, 24], Distribution::Default, &device);
        for width in [7, 16, 24] {
            let part = || wide.clone().narrow(2, 0, width);
            // To make it flat is to copy it.
            let dense = || part().reshape([3 * 5 * width]).reshape([3, 5, width]);
            let (weights, log_sums) = softmax(part(), 2.0, width);
            let (expected, expected_sums) = softmax(dense(), 2.0, width);
            let sums: Vec<f32> = weights.clone().sum_dim(2).into_data().iter().collect();
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
            let grad = expected.clone().square();
            let along = (grad.clone() * expected.clone()).sum_dim(2);
            let back = |scores, log_sums: Tensor<3>| {
                softmax_backward(scores, grad.clone(), log_sums, along.clone(), 2.0, width)
            };
            let sums_again = log_sums.clone();
            let (again, of_scores) = back(part(), log_sums.clone());
            let (_, expected_of_scores) = back(dense(), expected_sums.clone());
            for (found, expected) in [
                (weights.clone(), expected),
                (log_sums, expected_sums),
                (of_scores, expected_of_scores),
            ] {
                found.into_data().assert_eq(&expected.into_data(), true);
            }
            // The first keys of a wider row count alone.
            let (of_first, sums_of_first) = softmax(wide.clone(), 2.0, width);
            let ones = TensorData::ones::<f32, _>([3, 5, 1]);
            for (found, expected) in [
                (
                    of_first.clone().narrow(2, 0, width),
                    weights.clone().into_data(),
                ),
                (sums_of_first, sums_again.into_data()),
                (of_first.sum_dim(2), ones),
            ] {
                found
                    .into_data()
                    .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
            }
            again
                .into_data()
                .assert_approx_eq::<f32>(&weights.into_data(), Tolerance::absolute(1e-6));
        }
    }
}
