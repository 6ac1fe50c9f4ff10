//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use super::element::DType;
use crate::error::{ConfigError, PuzzleIdsError};

/// A checkpoint that can't be read, imported or written. Every message begins with the file it speaks of; what the
/// operating system says is its [source](std::error::Error::source), and no part of the message.
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
    /// A configuration file that can't be understood.
    #[error("{file}: {reason}")]
    ConfigFile {
        /// The file.
        file: String,
        /// Where and why.
        reason: String,
    },
    /// The tensors are not those of HRM or TRM.
    #[error(
        "{file}: these are not the weights of HRM or TRM{}{}{}",
        list("missing", missing),
        list("unknown", unknown),
        list("misshapen", misshapen)
    )]
    WrongTensors {
        /// The file.
        file: String,
        /// Tensors that the model has and the file doesn't.
        missing: Vec<String>,
        /// Tensors that the file has and the model doesn't.
        unknown: Vec<String>,
        /// Tensors whose shape doesn't fit the others, with what was expected and found.
        misshapen: Vec<String>,
    },
    /// What neither the shapes nor the options tell.
    #[error(
        "{file}: the shapes of the tensors don't tell {}: give a configuration file, a preset or these options",
        fields.join(", ")
    )]
    Undetermined {
        /// The file.
        file: String,
        /// Names of the fields.
        fields: Vec<&'static str>,
    },
    /// The options say something else than the shapes, or than the file's metadata.
    #[error(
        "{file}: the configuration given isn't that of the file{}",
        list("contradictions", contradictions)
    )]
    Contradiction {
        /// The file.
        file: String,
        /// Each with what was given and what the file says.
        contradictions: Vec<String>,
    },
    /// The puzzle table can't be changed as asked.
    #[error("{file}: {reason}")]
    PuzzleIds {
        /// The file.
        file: String,
        /// What was asked for and found.
        reason: PuzzleIdsError,
    },
    /// The configuration describes no model.
    #[error("{file}: {reason}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong.
        reason: ConfigError,
    },
}

/// A titled list, one item a line; nothing where it is empty.
fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("\n  {title}: {}", items.join("\n    "))
}
