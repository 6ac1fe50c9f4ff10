//! Weights in and out: checkpoints of the reference programs (torch and safetensors) as data, as models, and back.
//!
//! [`TensorFile`] opens a file and reads its tensors; [`import`] makes a model of them; [`export`] writes one in a form that
//! the reference programs load. The reference's spelling of names appears here and in the weights' names only.

mod element;
mod error;
mod export;
mod hints;
mod import;
mod names;
mod pickle;
mod source;
mod tensor_file;
mod torch;

pub use element::DType;
pub use error::StoreError;
pub use export::{export, export_bytes, export_to};
pub use hints::ConfigHints;
pub use import::{ImportOptions, ImportWarning, Imported, import, inspect};
pub use tensor_file::{TensorFile, TensorInfo};

/// Key of our configuration in the metadata of an export, as JSON.
const CONFIG_KEY: &str = "hrm_config";
/// Key of the most segments in the metadata of an export.
const MAX_SEGMENTS_KEY: &str = "max_segments";
/// Key of the configuration in the words of the reference programs, as JSON.
const OFFICIAL_CONFIG_KEY: &str = "config";
