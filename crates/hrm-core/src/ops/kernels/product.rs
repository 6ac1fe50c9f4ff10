//! Products of f32 that stay whole: the fastest of Burn's kernels that leave the tensor cores alone, which take f32 in TF32.

use std::sync::LazyLock;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchTensorKind, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::matmul::init_matmul_output;
use burn_cubecl::{CubeBackend, CubeDevice, CubeTuneId};
use cubecl::tune::{LocalTuner, Tunable, TunableSet, TuneGroup, local_tuner};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::multi_level::Strategy;
use cubek::matmul::multi_level::routines::TileSizeSelection;
use cubek::matmul::multi_level::routines::batch::double_unit::DoubleUnitSelectionArgs;
use cubek::matmul::multi_level::routines::batch::simple_unit::SimpleUnitSelectionArgs;
use cubek::matmul::routine::BlueprintStrategy::Inferred;
use cubek::matmul::tune_key::MatmulAutotuneKey;
use cubek::std::InputBinding;

use super::launch::*;

/// Whether Burn's own product of `x`, plain or not, would take it in TF32.
pub(in crate::ops) fn would_cut<const D: usize>(x: &Tensor<D>) -> bool {
    static ALLOWED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("HRM_TF32").is_some_and(|value| value == "1"));
    let on_cuda = || match crate::ops::backend(x) {
        DispatchTensorKind::Cube(tensor) => matches!(tensor.device(), CubeDevice::Cuda(_)),
        #[allow(unreachable_patterns)] // Other backends are there or not by feature.
        _ => false,
    };
    x.dtype() == DType::F32 && !*ALLOWED && crate::ops::fused_enabled() && on_cuda()
}

/// `a · b` of tensors of a CubeCL backend, plain or not, whatever its GPU.
pub(in crate::ops) fn whole_matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::whole_matmul(a.into_dispatch(), b.into_dispatch()))
}

/// The product as an operation of Burn's CubeCL backend and of its autodiff.
#[backend_extension(Cube, Fusion, Autodiff)]
trait Products: Backend {
    #[fusion(meta = |a, b| TensorSpec::new(product_of(&a.shape, &b.shape), a.dtype))]
    fn whole_matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The shape of a product of matrices, or of as many as the longer batch holds.
fn product_of(a: &Shape, b: &Shape) -> Shape {
    let (mut shape, last) = (a.clone(), a.num_dims() - 1);
    for dim in 0..last - 1 {
        shape[dim] = a[dim].max(b[dim]);
    }
    shape[last] = b[last];
    shape
}

impl Products for CubeBackend {
    fn whole_matmul(a: CubeTensor, b: CubeTensor) -> CubeTensor {
        whole(a, b)
    }
}

impl<B: Backend + Products, C: CheckpointStrategy> Products for Autodiff<B, C> {
    fn whole_matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let [(a, of_a), (b, of_b)] = [a, b].map(|tensor| tensor.into_parts());
        let out = B::whole_matmul(a.clone(), b.clone());
        match Whole.prepare::<C>([of_a, of_b]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((a, b), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[derive(Debug)]
struct Whole;

impl<B: Backend + Products> Backward<B, 2> for Whole {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ((a, b), [of_a, of_b]) = (ops.state, ops.parents);
        let (like_a, like_b) = (a.shape(), b.shape());
        if let Some(parent) = of_a {
            let of_a = B::whole_matmul(grad.clone(), transposed::<B>(b));
            grads.register::<B>(parent.id, summed::<B>(of_a, &like_a));
        }
        if let Some(parent) = of_b {
            let of_b = B::whole_matmul(transposed::<B>(a), grad);
            grads.register::<B>(parent.id, summed::<B>(of_b, &like_b));
        }
    }
}

fn transposed<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    B::float_swap_dims(x, last - 1, last)
}

/// The gradient of a matrix that went with all of a batch.
fn summed<B: Backend>(grad: FloatTensor<B>, shape: &Shape) -> FloatTensor<B> {
    (0..shape.num_dims() - 2).fold(grad, |grad, dim| match grad.shape()[dim] == shape[dim] {
        true => grad,
        false => B::float_sum_dim(grad, dim),
    })
}

/// Operands and result.
type Product = (CubeTensor, CubeTensor, CubeTensor);

/// `lhs · rhs` for each matrix of a batch.
fn whole(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
    static TUNER: LocalTuner<MatmulAutotuneKey, CubeTuneId> = local_tuner!();
    let (client, id) = (
        lhs.client.clone(),
        CubeTuneId::new(&lhs.client, &lhs.device),
    );
    let out = init_matmul_output(&lhs, &rhs, lhs.dtype);
    let kernels = TUNER.init(&id, kernels);
    TUNER.execute(&id, &client, kernels, (lhs, rhs, out.clone()));
    out
}

/// Those that are measured against each other for each kind of shape, and one for shapes that they refuse.
fn kernels() -> TunableSet<MatmulAutotuneKey, Product, ()> {
    let mut measured = Vec::new();
    for tile_size in [
        TileSizeSelection::MaxTileSize,
        TileSizeSelection::MinTileSize,
    ] {
        measured.extend([
            Strategy::SimpleUnit(Inferred(SimpleUnitSelectionArgs { tile_size })),
            Strategy::DoubleUnit(Inferred(DoubleUnitSelectionArgs { tile_size })),
        ]);
    }
    // The result is written while kernels are measured: to a copy.
    let copied =
        |_: &_, (lhs, rhs, out): &Product| -> Product { (lhs.clone(), rhs.clone(), out.copy()) };
    let group = TuneGroup::new("whole", |_| 0);
    let tunable = |strategy: Strategy, priority| {
        Tunable::new(&strategy.to_string(), move |product| {
            launch(&strategy, product)
        })
        .group(&group, move |_| priority)
    };
    // Burn falls back on the first.
    let fallback = TunableSet::new(key, copied).with(tunable(Strategy::Naive, 0));
    measured
        .into_iter()
        .fold(fallback, |set, strategy| set.with(tunable(strategy, 1)))
}

fn key((lhs, rhs, out): &Product) -> MatmulAutotuneKey {
    let [of_lhs, of_rhs, of_out] = [lhs, rhs, out].map(|tensor| elem_type(tensor.dtype));
    MatmulAutotuneKey::generate(
        &lhs.client,
        lhs.meta.shape(),
        rhs.meta.shape(),
        lhs.meta.strides(),
        rhs.meta.strides(),
        lhs.meta.tiling,
        rhs.meta.tiling,
        of_lhs,
        of_rhs,
        of_out,
        None,
        None,
    )
}

fn launch(strategy: &Strategy, (lhs, rhs, out): Product) -> Result<(), String> {
    let [of_lhs, of_rhs, of_out] = [&lhs, &rhs, &out].map(|tensor| elem_type(tensor.dtype));
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: of_lhs,
        rhs: of_rhs,
        out: of_out,
    });
    let client = out.client.clone();
    cubek::matmul::launch::launch_ref(
        &strategy.clone().into(),
        &client,
        InputBinding::new(lhs.binding(), of_lhs),
        InputBinding::new(rhs.binding(), of_rhs),
        out.binding(),
        &mut types,
    )
    .map_err(|error| format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    /// Any GPU takes these kernels: at whole tiles and at odd sizes, of matrices that lie by rows, by columns, in a wider one,
    /// and of one that goes with a batch.
    #[test]
    fn a_whole_product_is_the_product() {
        let Some(device) = super::super::tests::gpu() else {
            return;
        };
        let random = |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Default, &device);
        let differentiable = |x: &Tensor<3>| x.clone().autodiff().require_grad();
        for ([batch_of_a, batch_of_b, m, k, n], by_columns) in
            [([2, 1, 64, 64, 64], false), ([1, 3, 33, 97, 2], true)]
        {
            let weights = random([batch_of_a.max(batch_of_b), m, n]);
            let a = match by_columns {
                true => random([batch_of_a, k, m]).swap_dims(1, 2),
                false => random([batch_of_a, m, k]),
            };
            // The first of more columns: rows don't follow each other.
            let b = random([batch_of_b, k, n + 3]).narrow(2, 0, n);
            let results = |multiply: fn(Tensor<3>, Tensor<3>) -> Tensor<3>| {
                let (a, b) = (differentiable(&a), differentiable(&b));
                let product = multiply(a.clone(), b.clone());
                let weighted = product.clone() * weights.clone().autodiff();
                let grads = weighted.sum().backward();
                let of = |x: &Tensor<3>| x.grad(&grads).map(Tensor::into_data);
                [Some(product.into_data()), of(&a), of(&b)]
            };
            let one_by_one = |a: Tensor<3>, b: Tensor<3>| {
                let products = a.unsqueeze_dim::<4>(3) * b.unsqueeze_dim(1);
                products.sum_dim(2).squeeze_dim(2)
            };
            let (found, expected) = (results(whole_matmul), results(one_by_one));
            for (found, expected) in found.into_iter().zip(expected) {
                let (Some(found), Some(expected)) = (found, expected) else {
                    panic!("both operands have a gradient");
                };
                found.assert_approx_eq::<f32>(&expected, Tolerance::relative(1e-5));
            }
        }
    }
}
