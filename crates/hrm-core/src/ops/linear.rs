//! The linear map of a `[out, in]` weight, without bias.

use burn::tensor::Tensor;

use super::matmul;

/// `x · weightᵀ`; the weight is cast to the type of `x`.
///
/// # Shapes
/// `x` `[B, L, In]`, `weight` `[Out, In]` → `[B, L, Out]`
///
/// # Panics
/// If the two sizes of `In` differ.
#[must_use]
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let ([_, _, from], [_, expected]) = (x.dims(), weight.dims());
    assert_eq!(
        from, expected,
        "linear: the weight takes vectors of {expected}, the input has {from}"
    );
    #[cfg(feature = "flex")]
    if super::fused::available(&x) && super::fused::available(&weight) {
        return super::fused::linear(x, weight);
    }
    #[cfg(feature = "cube")]
    if x.is_autodiff() && super::kernels::on_gpu(&x) {
        let [batch, len, _] = x.dims();
        match groups(batch * len) {
            1 => {}
            groups => return in_groups(x, weight, groups),
        }
    }
    composed(x, weight)
}

/// Rows that a group has at least.
#[cfg(feature = "cube")]
const GROUP: usize = 4096;

/// How many groups the rows of a product are taken in, of which each gives a part of the weight's gradient. In one product that has as few
/// elements as the weight, and each is a sum over all rows: most of a large GPU would have nothing to do.
#[cfg(feature = "cube")]
fn groups(rows: usize) -> usize {
    let fits = |groups: &usize| rows.is_multiple_of(*groups) && rows / groups >= GROUP;
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// [`linear`] out of so many products.
#[cfg(feature = "cube")]
fn in_groups(x: Tensor<3>, weight: Tensor<2>, groups: usize) -> Tensor<3> {
    let [batch, len, from] = x.dims();
    let [to, _] = weight.dims();
    let weight = weight.cast(x.dtype()).transpose().unsqueeze::<3>();
    let rows = x.reshape([groups, batch * len / groups, from]);
    matmul(rows, weight).reshape([batch, len, to])
}

/// [`linear`] out of plain Burn operations: one product of matrices over all `B * L` rows.
#[must_use]
pub fn composed(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, len, from] = x.dims();
    let [to, _] = weight.dims();
    let weight = weight.cast(x.dtype());
    let rows: Tensor<2> = x.reshape([batch * len, from]);
    matmul(rows, weight.transpose()).reshape([batch, len, to])
}

#[cfg(all(test, feature = "cube"))]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    #[test]
    fn the_rows_of_a_training_step_are_groups_and_few_rows_are_one() {
        let tokens = [
            768 * 82,
            768 * 97,
            768 * 901,
            48 * 97,
            2 * GROUP,
            2 * GROUP + 1,
            1,
        ];
        assert_eq!(tokens.map(groups), [8, 8, 8, 1, 2, 1, 1]);
    }

    #[test]
    fn groups_come_to_the_same() {
        let Some(device) = super::super::kernels::tests::gpu() else {
            return;
        };
        let x = Tensor::<3>::random([6, 4, 16], Distribution::Default, &device);
        let weight = Tensor::<2>::random([24, 16], Distribution::Default, &device);
        let results = |groups: Option<usize>| {
            let x = x.clone().autodiff().require_grad();
            let weight = weight.clone().autodiff().require_grad();
            let out = match groups {
                Some(groups) => in_groups(x.clone(), weight.clone(), groups),
                None => composed(x.clone(), weight.clone()),
            };
            let grads = out.clone().square().sum().backward();
            let of_weight = weight.grad(&grads).map(Tensor::into_data);
            [
                Some(out.into_data()),
                x.grad(&grads).map(Tensor::into_data),
                of_weight,
            ]
        };
        for groups in [1, 3, 8] {
            for (found, expected) in results(Some(groups)).into_iter().zip(results(None)) {
                let (Some(found), Some(expected)) = (found, expected) else {
                    panic!("both operands have a gradient");
                };
                found.assert_approx_eq::<f32>(&expected, Tolerance::relative(1e-5));
            }
        }
    }
}
