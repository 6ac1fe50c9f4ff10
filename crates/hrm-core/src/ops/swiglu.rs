//! The gate of the MLP: `silu(gate) * up`.

use burn::tensor::{Tensor, activation::silu};

/// `silu(gate) * up` of the fused projection.
///
/// # Shapes
/// `gate_up` `[B, L, 2I]`, the gate first → `[B, L, I]`
///
/// # Panics
/// If the last dimension is odd.
#[must_use]
pub fn swiglu(gate_up: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = gate_up.dims();
    assert!(
        width.is_multiple_of(2),
        "swiglu: the last dimension holds gate and up, expected an even size, got {width}"
    );
    #[cfg(feature = "flex")]
    if super::fused::available(&gate_up) {
        return super::fused::swiglu(gate_up);
    }
    composed(gate_up)
}

/// [`swiglu`] out of plain Burn operations.
#[must_use]
pub fn composed(gate_up: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = gate_up.dims();
    let gate = gate_up.clone().narrow(2, 0, width / 2);
    let up = gate_up.narrow(2, width / 2, width / 2);
    silu(gate).mul(up)
}
