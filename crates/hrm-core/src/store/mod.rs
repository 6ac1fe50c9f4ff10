//! Weights in and out: checkpoints of the reference programs (torch and safetensors) as data.

mod element;
mod error;
mod pickle;
mod source;
mod tensor_file;
mod torch;

pub use element::DType;
pub use error::StoreError;
pub use tensor_file::{TensorFile, TensorInfo};
