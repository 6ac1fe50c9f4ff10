//! The commands, a file each.

pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod eval;
pub(crate) mod presets;
pub(crate) mod solve;
pub(crate) mod train;
