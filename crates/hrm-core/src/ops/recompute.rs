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
    RmsNorm,
    SwiGlu,
    Attention {
        heads: usize,
        rope: Option<RopeTable>,
    },
    /// Of a table `[1, V, D]`.
    Embedding {
        ids: Tensor<2, Int>,
        to: FloatDType,
    },
}

/// What the backward pass of a chain needs.
#[derive(Clone, Debug)]
enum Kept {
    /// The output, and the root mean square of each row in f32.
    RmsNorm { out: Tensor<3>, rms: Tensor<3> },
    /// The input.
    SwiGlu { gate_up: Tensor<3> },
    /// Input and output, and `ln Σ exp` of each query's scores, `[B * heads, L, 1]` in f32.
    Attention {
        qkv: Tensor<3>,
        out: Tensor<3>,
        log_sums: Tensor<3>,
    },
    /// The number of rows of the table.
    Embedding { rows: usize },
}

impl Chain {
    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Kept) {
        match self {
            Self::RmsNorm => {
                let (out, rms) = norm::with_rms(x);
                (out.clone(), Kept::RmsNorm { out, rms })
            }
            Self::SwiGlu => (swiglu::in_f32(x.clone()), Kept::SwiGlu { gate_up: x }),
            Self::Attention { heads, rope } => {
                let (out, log_sums) = attention::in_blocks(x.clone(), *heads, rope.as_ref());
                let kept = Kept::Attention {
                    qkv: x,
                    out: out.clone(),
                    log_sums,
                };
                (out, kept)
            }
            Self::Embedding { ids, to } => {
                let [_, rows, width] = x.dims();
                let out = embedding::rows_of(x.reshape([rows, width]), ids.clone(), *to);
                (out, Kept::Embedding { rows })
            }
        }
    }

    /// The gradient of the input from that of the output.
    fn backward(&self, kept: Kept, grad: Tensor<3>) -> Tensor<3> {
        match kept {
            Kept::RmsNorm { out, rms } => {
                let dtype = out.dtype();
                let out = out.cast(FloatDType::F32);
                let grad = grad.cast(FloatDType::F32);
                let along = grad.clone().mul(out.clone()).mean_dim(2);
                grad.sub(out.mul(along)).div(rms).cast(dtype)
            }
            Kept::SwiGlu { gate_up } => swiglu::backward(gate_up, grad),
            Kept::Attention { qkv, out, log_sums } => {
                let Self::Attention { heads, rope } = self else {
                    unreachable!("kept by another chain than {self:?}")
                };
                attention::backward(qkv, out, log_sums, grad, *heads, rope.as_ref())
            }
            Kept::Embedding { rows } => {
                let Self::Embedding { ids, .. } = self else {
                    unreachable!("kept by another chain than {self:?}")
                };
                embedding::backward(ids.clone(), rows, grad)
            }
        }
    }
}

/// [`Chain`]s as operations of Burn's backends.
#[backend_extension(Cube: cfg(feature = "cube"), Flex: cfg(feature = "flex"), Autodiff)]
pub(super) trait Recomputed: Backend {
    fn recomputed(x: FloatTensor<Self>, chain: Chain) -> FloatTensor<Self>;
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
    match x.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(inner) => match *inner {
            #[cfg(feature = "cube")]
            DispatchTensorKind::Cube(_) => true,
            #[cfg(feature = "flex")]
            DispatchTensorKind::Flex(_) => true,
            #[allow(unreachable_patterns)] // Other backends are there or not by feature.
            _ => false,
        },
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

/// Runs `chain` on a tensor for which it is [`available`].
pub(super) fn run(x: Tensor<3>, chain: Chain) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::recomputed(x.into_dispatch(), chain))
}
