//! The kernels as operations of Burn's `flex` backend, and their gradients as steps of its autodiff.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Bytes, DType, Shape};

use super::attention::{Rope, Sizes};
use super::raw::{Matrix, transposed};
use super::token_loss::Cells;
use super::{attention, linear, norm, swiglu, token_loss};
use crate::ops::LossKind;

/// The operations of [`crate::ops`] that have a kernel of their own.
#[backend_extension(Flex, Autodiff)]
pub(super) trait FusedOps: Backend {
    fn fused_rms_norm(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_add_rms_norm(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_transpose(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
    fn fused_rotary_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
    fn fused_token_cross_entropy(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        kind: LossKind,
    ) -> FloatTensor<Self>;
}

/// The tensor with its elements in order, copied if they are not.
pub(super) fn dense(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The elements of a [`dense`] f32 tensor.
pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .unwrap_or_else(|| unreachable!("the tensor was made dense: {tensor:?}"))
}

/// Runs `f` on the elements of a [`dense`] f32 tensor, of which others keep the old values.
pub(super) fn with_mut(tensor: &mut FlexTensor, f: impl FnOnce(&mut [f32])) {
    let start = tensor.layout().start_offset();
    let len = tensor.layout().num_elements();
    f(&mut tensor.storage_mut::<f32>()[start..start + len]);
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

fn dims(tensor: &FlexTensor) -> [usize; 3] {
    let shape = tensor.shape();
    [shape[0], shape[1], shape[2]]
}

fn norm_forward(x: &FlexTensor, y: Option<&FlexTensor>) -> (FlexTensor, FlexTensor) {
    let [a, b, width] = dims(x);
    let (out, inverse) = norm::forward(slice(x), y.map(slice), width);
    (tensor(out, [a, b, width]), tensor(inverse, [a * b]))
}

fn swiglu_forward(gate_up: &FlexTensor) -> FlexTensor {
    let [batch, len, width] = dims(gate_up);
    tensor(
        swiglu::forward(slice(gate_up), width / 2),
        [batch, len, width / 2],
    )
}

/// The matrix in the order in which the product reads it, columns one after the other.
pub(super) fn by_columns(weight: FlexTensor) -> FlexTensor {
    let weight = dense(weight);
    let shape = weight.shape();
    let (rows, cols) = (shape[0], shape[1]);
    FlexTensor::new(
        Bytes::from_elems(transposed(slice(&weight), rows, cols)),
        Layout::contiguous([cols, rows].into()).transpose(0, 1),
        DType::F32,
    )
}

/// Whether [`by_columns`] made the matrix.
fn is_by_columns(weight: &FlexTensor) -> bool {
    let (layout, rows) = (weight.layout(), weight.shape()[0]);
    layout.strides() == [1, rows as isize] && layout.start_offset() == 0
}

fn linear_forward(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let [batch, len, from] = dims(x);
    let to = weight.shape()[0];
    let copy;
    let matrix = if weight.layout().is_contiguous() {
        Matrix::new(slice(weight), to, from, from)
    } else if is_by_columns(weight) {
        Matrix::new(weight.storage(), from, to, to).t()
    } else {
        copy = weight.to_contiguous();
        Matrix::new(slice(&copy), to, from, from)
    };
    tensor(
        linear::forward(slice(x), matrix, [batch * len, from, to]),
        [batch, len, to],
    )
}

fn transpose_forward(x: &FlexTensor) -> FlexTensor {
    let [batch, rows, cols] = dims(x);
    tensor(transposed(slice(x), rows, cols), [batch, cols, rows])
}

type Tables = Option<(FlexTensor, FlexTensor)>;

fn rope(tables: &Tables) -> Option<Rope<'_>> {
    tables.as_ref().map(|(cos, sin)| Rope {
        cos: slice(cos),
        sin: slice(sin),
    })
}

fn attention_sizes(qkv: &FlexTensor, heads: usize) -> Sizes {
    let [batch, len, width] = dims(qkv);
    Sizes {
        batch,
        len,
        heads,
        head_dim: width / (3 * heads),
    }
}

fn attention_forward(qkv: &FlexTensor, tables: &Tables, heads: usize) -> (FlexTensor, FlexTensor) {
    let [batch, len, width] = dims(qkv);
    let sizes = attention_sizes(qkv, heads);
    let (out, log_sums) = attention::forward(slice(qkv), rope(tables), sizes);
    (
        tensor(out, [batch, len, width / 3]),
        tensor(log_sums, [batch, heads, len]),
    )
}

/// Labels as i64, whatever the backend stores.
fn labels(labels: FlexTensor) -> Vec<i64> {
    let labels = dense(labels);
    match labels.dtype() {
        DType::I64 => labels.as_slice::<i64>().map(<[i64]>::to_vec),
        DType::I32 => labels
            .as_slice::<i32>()
            .map(|values| values.iter().map(|&x| i64::from(x)).collect()),
        _ => None,
    }
    .unwrap_or_else(|| labels.into_data().iter::<i64>().collect())
}

fn loss_forward(kind: LossKind, logits: &FlexTensor, labels: &[i64]) -> FlexTensor {
    let [batch, len, vocab] = dims(logits);
    let loss = token_loss::forward(kind, slice(logits), labels, Cells { len, vocab });
    tensor(loss, [batch])
}

impl FusedOps for Flex {
    fn fused_rms_norm(x: FloatTensor<Self>) -> FloatTensor<Self> {
        norm_forward(&dense(x), None).0
    }

    fn fused_add_rms_norm(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        norm_forward(&dense(x), Some(&dense(y))).0
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu_forward(&dense(gate_up))
    }

    fn fused_transpose(x: FloatTensor<Self>) -> FloatTensor<Self> {
        transpose_forward(&dense(x))
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear_forward(&dense(x), &weight)
    }

    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        attention_forward(&dense(qkv), &None, heads).0
    }

    fn fused_rotary_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        attention_forward(&dense(qkv), &Some((dense(cos), dense(sin))), heads).0
    }

    fn fused_token_cross_entropy(
        logits: FloatTensor<Self>,
        cells: IntTensor<Self>,
        kind: LossKind,
    ) -> FloatTensor<Self> {
        loss_forward(kind, &dense(logits), &labels(cells))
    }
}

/// State: the output and `1 / rms` of each row. The same gradient goes to every term of the sum.
#[derive(Debug)]
struct NormBackward;

impl<const N: usize> Backward<Flex, N> for NormBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let (out, inverse) = ops.state;
        let [a, b, width] = dims(&out);
        let grad = norm::backward(slice(&out), slice(&inverse), slice(&grad), width);
        let grad = tensor(grad, [a, b, width]);
        for parent in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(parent.id, grad.clone());
        }
    }
}

/// State: the input.
#[derive(Debug)]
struct SwiGluBackward;

impl Backward<Flex, 1> for SwiGluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let gate_up = ops.state;
        let shape = dims(&gate_up);
        if let [Some(parent)] = ops.parents {
            let grad = swiglu::backward(slice(&gate_up), slice(&grad), shape[2] / 2);
            grads.register::<Flex>(parent.id, tensor(grad, shape));
        }
    }
}

/// State: none; the gradient goes back by the same exchange.
#[derive(Debug)]
struct TransposeBackward;

impl Backward<Flex, 1> for TransposeBackward {
    type State = ();

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, transpose_forward(&grad));
        }
    }
}

/// State: input and weight, each only if the gradient of the other is wanted; the shapes of both.
#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 2> for LinearBackward {
    type State = (
        Option<FlexTensor>,
        Option<FlexTensor>,
        [usize; 3],
        [usize; 2],
    );

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let (x, weight, [batch, len, from], [to, _]) = ops.state;
        let sizes = [batch * len, from, to];
        let [x_parent, weight_parent] = ops.parents;
        if let (Some(parent), Some(weight)) = (x_parent, weight) {
            let grad = linear::backward_input(slice(&grad), slice(&weight), sizes);
            grads.register::<Flex>(parent.id, tensor(grad, [batch, len, from]));
        }
        if let (Some(parent), Some(x)) = (weight_parent, x) {
            let grad = linear::backward_weight(slice(&grad), slice(&x), sizes);
            grads.register::<Flex>(parent.id, tensor(grad, [to, from]));
        }
    }
}

/// State: the projection, the rotary tables, the output, `ln Σ exp` of the scores, the number of heads.
#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = (FlexTensor, Tables, FlexTensor, FlexTensor, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let (qkv, tables, out, log_sums, heads) = ops.state;
        if let [Some(parent)] = ops.parents {
            let sizes = attention_sizes(&qkv, heads);
            let grad = attention::backward(
                slice(&qkv),
                rope(&tables),
                slice(&out),
                slice(&log_sums),
                slice(&grad),
                sizes,
            );
            grads.register::<Flex>(parent.id, tensor(grad, dims(&qkv)));
        }
    }
}

/// State: logits, labels, the kind of loss.
#[derive(Debug)]
struct LossBackward;

impl Backward<Flex, 1> for LossBackward {
    type State = (FlexTensor, Vec<i64>, LossKind);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let (logits, labels, kind) = ops.state;
        if let [Some(parent)] = ops.parents {
            let [_, len, vocab] = dims(&logits);
            let cells = Cells { len, vocab };
            let grad = token_loss::backward(kind, slice(&logits), &labels, slice(&grad), cells);
            grads.register::<Flex>(parent.id, tensor(grad, dims(&logits)));
        }
    }
}

/// [`AttentionBackward`] recorded for `qkv`.
fn record_attention<C: CheckpointStrategy>(
    qkv: FloatTensor<Autodiff<Flex, C>>,
    tables: Tables,
    heads: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (qkv, node) = qkv.into_parts();
    let qkv = dense(qkv);
    let (out, log_sums) = attention_forward(&qkv, &tables, heads);
    match AttentionBackward
        .prepare::<C>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((qkv, tables, out.clone(), log_sums, heads), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_rms_norm(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (out, inverse) = norm_forward(&dense(x), None);
        match NormBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((out.clone(), inverse), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_add_rms_norm(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (y, y_node) = y.into_parts();
        let (out, inverse) = norm_forward(&dense(x), Some(&dense(y)));
        match NormBackward
            .prepare::<C>([x_node, y_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((out.clone(), inverse), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate_up, node) = gate_up.into_parts();
        let gate_up = dense(gate_up);
        let out = swiglu_forward(&gate_up);
        match SwiGluBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(gate_up, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_transpose(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let out = transpose_forward(&dense(x));
        match TransposeBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let x = dense(x);
        // From the weight as it lies, so that recording changes no bit of the result.
        let out = linear_forward(&x, &weight);
        let weight = dense(weight);
        let shapes = (dims(&x), [weight.shape()[0], weight.shape()[1]]);
        match LinearBackward
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                (
                    weight_tracked.then_some(x),
                    x_tracked.then_some(weight),
                    shapes.0,
                    shapes.1,
                ),
                out,
            ),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        record_attention::<C>(qkv, None, heads)
    }

    fn fused_rotary_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let tables = (dense(cos.into_primitive()), dense(sin.into_primitive()));
        record_attention::<C>(qkv, Some(tables), heads)
    }

    fn fused_token_cross_entropy(
        logits: FloatTensor<Self>,
        cells: IntTensor<Self>,
        kind: LossKind,
    ) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let logits = dense(logits);
        let labels = labels(cells);
        let out = loss_forward(kind, &logits, &labels);
        match LossBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((logits, labels, kind), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
