//! The product of matrices.

use burn::tensor::Tensor;

/// `a · b` for each matrix of a batch; one matrix goes with all of a batch.
///
/// f32 stays whole. Burn's own products take it in TF32 on NVIDIA's GPUs, which keeps 11 bits of 24: there it is the
/// fastest kernel without tensor cores instead, unless `HRM_TF32=1` or `HRM_FUSED=0` is set in the environment.
///
/// # Shapes
/// `a` `[.., M, K]`, `b` `[.., K, N]` → `[.., M, N]`
///
/// # Panics
/// If the two sizes of `K` differ, or the batches do and none is 1.
#[must_use]
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cube")]
    if super::kernels::would_cut(&a) {
        return super::kernels::whole_matmul(a, b);
    }
    a.matmul(b)
}
