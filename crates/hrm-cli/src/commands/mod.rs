//! The commands, a file each.

pub(crate) mod analyze;
pub(crate) mod bench;
pub(crate) mod conformance;
pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod pack;
#[cfg(feature = "draw")]
pub(crate) mod plot;
pub(crate) mod presets;
pub(crate) mod pull;
pub(crate) mod report;
pub(crate) mod solve;
pub(crate) mod train;
