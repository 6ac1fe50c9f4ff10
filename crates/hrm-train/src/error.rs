//! What can go wrong with a run.

use std::path::PathBuf;

use crate::run::{Fault, Remedy};

/// An error of training, of a run folder or of a checkpoint. What the operating system says is its
/// [source](std::error::Error::source), and no part of the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model's configuration is wanting.
    #[error("configuration: in `model`, {0}")]
    Model(hrm_core::ConfigError),
    /// The data are wanting.
    #[error(transparent)]
    Data(#[from] hrm_data::DataError),
    /// A field of the configuration has a value that makes no run.
    #[error("configuration: `{field}` must be {expected}, found {found}")]
    Field {
        /// Dotted name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A key that no configuration has.
    #[error("configuration: there is no key `{key}`{hint}")]
    UnknownKey {
        /// The dotted key asked for.
        key: String,
        /// The nearest keys there are, as a half-sentence; may be empty.
        hint: String,
    },
    /// A value that doesn't fit its key.
    #[error("configuration: `{key}` = `{value}`: {reason}")]
    BadValue {
        /// The dotted key.
        key: String,
        /// The value given.
        value: String,
        /// What the configuration says of it.
        reason: String,
    },
    /// A preset that doesn't exist.
    #[error("there is no preset `{name}`; the presets are {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Data of another task than the preset's.
    #[error("the preset {preset} is for {expected}, the data hold {found}")]
    WrongTask {
        /// The preset.
        preset: &'static str,
        /// Its task.
        expected: &'static str,
        /// What the data are.
        found: String,
    },
    /// A model that was not trained by the preset's recipe.
    #[error("expected {expected}, found {found}")]
    WrongModel {
        /// What the recipe is for.
        expected: String,
        /// What the model is.
        found: String,
    },
    /// A configuration file of the reference programs that can't be read.
    #[error("{file}: {reason}")]
    Official {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The data don't fit the model.
    #[error("the data have {field} = {found}, the model was made for {expected}")]
    DataMismatch {
        /// What differs.
        field: &'static str,
        /// The model's.
        expected: String,
        /// The data's.
        found: String,
    },
    /// The data are not those that the run was started with.
    #[error(
        "the {what} have changed since the run was started (fingerprint {found}, expected {expected})"
    )]
    DataChanged {
        /// Which.
        what: &'static str,
        /// Fingerprint in the checkpoint.
        expected: String,
        /// Fingerprint of the data at hand.
        found: String,
    },
    /// A run is to go on with other settings than it was trained with.
    #[error(
        "the configuration differs from that of the run: {differences}; name the fields that may change"
    )]
    ConfigChanged {
        /// Each field with both values.
        differences: String,
    },
    /// A field that the state of a run depends on.
    #[error("`{field}` can't be changed in a run ({from} to {to}); start another")]
    FixedField {
        /// Dotted name.
        field: String,
        /// Its value in the run.
        from: String,
        /// The value wanted.
        to: String,
    },
    /// A run is to be shorter than it is.
    #[error("the run has made {made} steps already; expected at least as many, found {found}")]
    TooFewSteps {
        /// Steps made.
        made: u64,
        /// Steps wanted.
        found: u64,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: read, write, create, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A run folder that is there already.
    #[error("{path} holds a run already; resume it, or name another folder")]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is no run.
    #[error("{path} is no training run: {reason}")]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A packed run, where a run is wanted.
    #[error("{path} is a packed run; unpack it first")]
    Packed {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is no packed run, or not a whole one.
    #[error("{path} is no whole packed run: {reason}")]
    NotPacked {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A run folder that another process trains in.
    #[error("{path} is in use by another process")]
    RunInUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is no whole checkpoint.
    #[error("{path} is no whole checkpoint: {reason}")]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of a later version of this crate.
    #[error("{path} has checkpoint format {found}; this version reads up to {supported}")]
    NewerCheckpoint {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The last format known.
        supported: u32,
    },
    /// A file of a run that can't be understood.
    #[error("{path}: {reason}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column where known.
        reason: String,
    },
    /// The device failed.
    #[error("the device failed: {reason}")]
    Device {
        /// The backend's words.
        reason: String,
    },
    /// Devices that can't train together.
    #[error("the devices can't train together: {reason}")]
    Devices {
        /// Why not.
        reason: String,
    },
    /// A run that is to evaluate has nothing to evaluate on.
    #[error(
        "`eval_every` is set, but there are no held-out puzzles: expected a split `test`, or a share of the training data in `eval_hold_out`"
    )]
    NoHeldOut,
    /// No held-out puzzle has an answer to compare with.
    #[error(
        "none of the {puzzles} held-out puzzles has an answer to compare with: expected at least one, or no `eval_every`"
    )]
    NoAnswers {
        /// How many there are.
        puzzles: usize,
    },
    /// Training goes wrong in spite of all that the guard has done.
    #[error("step {step}: {reason}; gave up{}", history(faults))]
    GaveUp {
        /// Step after which the last fault was found.
        step: u64,
        /// What was wrong then.
        reason: String,
        /// The faults before, and what was done about each.
        faults: Vec<Fault>,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} at step {step}; a lower `optimizer.lr` or `gradient_clip` may help"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss found.
        loss: f64,
    },
}

/// "after ...", for each fault.
fn history(faults: &[Fault]) -> String {
    let remedy = |fault: &Fault| match fault.remedy {
        Some(Remedy::LowerRate) => format!("rates lowered to {} of the plan", fault.rate),
        Some(Remedy::SkipBatch) => "batches skipped".to_owned(),
        None => "nothing done".to_owned(),
    };
    let parts: Vec<String> = faults
        .iter()
        .map(|fault| format!("step {}: {}, {}", fault.found, fault.reason, remedy(fault)))
        .collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(
            " after {} (`guard.retries`): {}",
            parts.len(),
            parts.join("; ")
        ),
    }
}

impl From<hrm_core::ConfigError> for TrainError {
    fn from(error: hrm_core::ConfigError) -> Self {
        Self::Model(error)
    }
}

impl TrainError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn device(error: impl std::fmt::Display) -> Self {
        Self::Device {
            reason: error.to_string(),
        }
    }
}
