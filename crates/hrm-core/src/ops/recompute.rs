//! Chains of plain Burn operations with a gradient of their own, on any backend.
//!
//! Burn's autodiff keeps what each operation of a chain wants for its gradient: of an attention several tensors of
//! `[B, heads, L, L]`. Here a chain is one operation. It keeps little, computes the rest again in the backward pass, and an
//! attention goes through its scores in blocks, so that the memory of a training step grows with the length and not
//! with its square.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, Dispatch, DispatchKindConversion, DispatchTensor, DispatchTensorKind,
    backend_extension,
};
use burn::tensor::{FloatDType, Int, Tensor};

use super::{RopeTable, attention, embedding, norm, swiglu};

/// A chain of operations from one tensor to one tensor.
#[derive(Clone, Debug)]
pub(super) enum Chain {
    /// Of the halves of a dimension.
    SwiGlu { dim: usize },
    Attention {
        heads: usize,
        rope: Option<Box<RopeTable>>,
    },
    /// Of a table `[1, V, D]`.
    Embedding {
        ids: Box<Tensor<2, Int>>,
        to: FloatDType,
    },
}

/// What the backward pass of a chain needs: of a gate the input, of an attention input and output and `ln Σ exp` of each query's
/// scores, of an embedding the table.
type Kept = Vec<Tensor<3>>;

fn these<const N: usize>(kept: Kept) -> [Tensor<3>; N] {
    kept.try_into()
        .unwrap_or_else(|kept: Kept| unreachable!("expected {N} tensors, found {}", kept.len()))
}

impl Chain {
    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Kept) {
        match self {
            Self::SwiGlu { dim } => (swiglu::in_f32(x.clone(), *dim), vec![x]),
            Self::Attention { heads, rope } => {
                let (out, log_sums) = attention::in_blocks(x.clone(), *heads, rope.as_deref());
                (out.clone(), vec![x, out, log_sums])
            }
            Self::Embedding { ids, to } => {
                let [_, rows, width] = x.dims();
                let table = x.clone().reshape([rows, width]);
                let out = embedding::composed(table, ids.as_ref().clone(), *to);
                (out, vec![x])
            }
        }
    }

    /// The gradient of the input from that of the output.
    fn backward(&self, kept: Kept, grad: Tensor<3>) -> Tensor<3> {
        match self {
            Self::SwiGlu { dim } => {
                let [gate_up] = these(kept);
                swiglu::backward(gate_up, grad, *dim)
            }
            Self::Attention { heads, rope } => {
                let [qkv, out, log_sums] = these(kept);
                attention::backward(qkv, out, log_sums, grad, *heads, rope.as_deref())
            }
            Self::Embedding { ids, .. } => {
                let [table] = these(kept);
                embedding::backward(ids.as_ref().clone(), table.dims()[1], grad)
            }
        }
    }
}

/// [`Chain`]s, and the norm of a sum, as operations of Burn's backends.
#[backend_extension(Cube: cfg(feature = "cube"), Flex: cfg(feature = "flex"), Autodiff)]
pub(super) trait Recomputed: Backend {
    fn recomputed(x: FloatTensor<Self>, chain: Chain) -> FloatTensor<Self>;

    fn recomputed_norm(x: FloatTensor<Self>, y: FloatTensor<Self>, dim: usize)
    -> FloatTensor<Self>;
}

fn primitive<B: Backend>(x: Tensor<3>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    x.try_into_primitive::<B>()
        .unwrap_or_else(|error| unreachable!("a result is where its operands are: {error:?}"))
}

macro_rules! on_backend {
    ($backend:ident, $feature:literal) => {
        #[cfg(feature = $feature)]
        impl Recomputed for burn::backend::$backend {
            fn recomputed(x: FloatTensor<Self>, chain: Chain) -> FloatTensor<Self> {
                primitive::<Self>(chain.forward(Tensor::from_primitive::<Self>(x)).0)
            }

            fn recomputed_norm(
                x: FloatTensor<Self>,
                y: FloatTensor<Self>,
                dim: usize,
            ) -> FloatTensor<Self> {
                let [x, y] = [x, y].map(Tensor::from_primitive::<Self>);
                primitive::<Self>(norm::add_with_rms(x, y, dim).0)
            }
        }
    };
}
on_backend!(Cube, "cube");
on_backend!(Flex, "flex");

impl<B: Backend, C: CheckpointStrategy> Recomputed for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn recomputed(x: FloatTensor<Self>, chain: Chain) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (out, kept) = chain.forward(Tensor::from_primitive::<B>(x));
        let out = primitive::<B>(out);
        match Recompute.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((chain, kept), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn recomputed_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dim: usize,
    ) -> FloatTensor<Self> {
        let [(x, of_x), (y, of_y)] = [x, y].map(|tensor| tensor.into_parts());
        let [x, y] = [x, y].map(Tensor::from_primitive::<B>);
        let (out, rms) = norm::add_with_rms(x, y, dim);
        let result = primitive::<B>(out.clone());
        match NormOfSum
            .prepare::<C>([of_x, of_y])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((dim, out, rms), result),
            OpsKind::UnTracked(prep) => prep.finish(result),
        }
    }
}

#[derive(Debug)]
struct NormOfSum;

impl<B: Backend> Backward<B, 2> for NormOfSum
where
    DispatchTensor: DispatchKindConversion<B>,
{
    /// The dimension, the output, and what it was divided by.
    type State = (usize, Tensor<3>, Tensor<3>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let (dim, out, rms) = ops.state;
        let grad = norm::backward(out, rms, grad, dim);
        for parent in ops.parents.into_iter().flatten() {
            grads.register::<B>(parent.id, primitive::<B>(grad.clone()));
        }
    }
}

#[derive(Debug)]
struct Recompute;

impl<B: Backend> Backward<B, 1> for Recompute
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = (Chain, Kept);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let (chain, kept) = ops.state;
        if let [Some(parent)] = ops.parents {
            let grad = primitive::<B>(chain.backward(kept, grad));
            grads.register::<B>(parent.id, grad);
        }
    }
}

/// Whether `x` is an autodiff tensor of a backend that the chains are there for.
pub(super) fn available(x: &Tensor<3>) -> bool {
    x.is_autodiff()
        && match super::backend(x) {
            #[cfg(feature = "cube")]
            DispatchTensorKind::Cube(_) => true,
            #[cfg(feature = "flex")]
            DispatchTensorKind::Flex(_) => true,
            #[allow(unreachable_patterns)] // Other backends are there or not by feature.
            _ => false,
        }
}

/// Runs `chain` on a tensor for which it is [`available`].
pub(super) fn run(x: Tensor<3>, chain: Chain) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::recomputed(x.into_dispatch(), chain))
}

/// The norm of `x + y` along `dim`, of tensors for which it is [`available`].
pub(super) fn add_rms_norm(x: Tensor<3>, y: Tensor<3>, dim: usize) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::recomputed_norm(
        x.into_dispatch(),
        y.into_dispatch(),
        dim,
    ))
}
