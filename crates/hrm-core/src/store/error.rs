//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use super::element::DType;

/// A checkpoint that can't be read, imported or written. Every message begins with the file it speaks of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refuses to read the file.
    #[error("{file}: cannot be read")]
    Read {
        /// The file.
        file: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// The operating system refuses to write the file.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// The file is neither a torch checkpoint nor a safetensors file.
    #[error("{file}: expected a torch checkpoint (zip) or a safetensors file, found {found}")]
    NotACheckpoint {
        /// The file.
        file: String,
        /// What it looks like.
        found: String,
    },
    /// The zip archive of a torch checkpoint or the header of a safetensors file is damaged.
    #[error("{file}: {reason}")]
    Container {
        /// The file.
        file: String,
        /// What was expected and found.
        reason: String,
    },
    /// The pickle of a torch checkpoint is damaged, or uses what tensors don't need.
    #[error("{file}: data.pkl, byte {offset}: {reason}")]
    Pickle {
        /// The file.
        file: String,
        /// Offset in `data.pkl`.
        offset: usize,
        /// What was expected and found.
        reason: String,
    },
    /// The pickle names a Python object that is no part of a tensor. Nothing in a pickle is ever executed.
    #[error(
        "{file}: data.pkl, byte {offset}: refers to `{global}`, which is no part of a state dict of tensors; \
         nothing in a pickle is executed, so save the plain `state_dict()`"
    )]
    ForeignGlobal {
        /// The file.
        file: String,
        /// Offset in `data.pkl`.
        offset: usize,
        /// `module.name` of the object.
        global: String,
    },
    /// A tensor whose type, shape or place in the file can't be right.
    #[error("{file}: tensor `{name}`: {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// Name of the tensor.
        name: String,
        /// What was expected and found.
        reason: String,
    },
    /// A tensor asked for that the file doesn't hold.
    #[error("{file}: holds no tensor `{name}`")]
    NoSuchTensor {
        /// The file.
        file: String,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor of a type that the caller can't use.
    #[error("{file}: tensor `{name}`: expected {expected}, found {found}")]
    ElementType {
        /// The file.
        file: String,
        /// Name of the tensor.
        name: String,
        /// What the caller can use.
        expected: &'static str,
        /// Type in the file.
        found: DType,
    },
    /// The bytes of a tensor don't have the checksum that the file declares.
    #[error(
        "{file}: {part}: checksum {found:08x}, the file declares {expected:08x}: the file is damaged"
    )]
    Checksum {
        /// The file.
        file: String,
        /// Entry of the archive.
        part: String,
        /// CRC-32 declared.
        expected: u32,
        /// CRC-32 of the bytes.
        found: u32,
    },
}
