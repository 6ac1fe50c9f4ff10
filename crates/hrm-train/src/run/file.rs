//! `config.json`: what a run was asked to be, and what was changed since.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::folder::config_path;
use crate::checkpoint::write_whole;
use crate::config::TrainConfig;
use crate::error::TrainError;

/// `config.json`: what a run was asked to be, and what was changed since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunFile {
    /// Preset that the configuration was made from, if any.
    pub preset: Option<String>,
    /// Folder of the training data.
    pub data: PathBuf,
    /// Run or file that the weights come from; none of a run that began with random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<PathBuf>,
    /// The resolved configuration.
    pub config: TrainConfig,
    /// What was changed with leave while it ran, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// Fields of a run's configuration that were changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Step after which they hold: the checkpoints before don't know of them.
    pub step: u64,
    /// The fields, before and after.
    pub fields: Vec<Difference>,
}

/// What is to be different when a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Length of the whole run in steps; needs no further leave.
    pub steps: Option<u64>,
    /// Dotted names of fields and their values, as [`TrainConfig::set`] takes them.
    pub settings: Vec<(String, String)>,
    /// Dotted names of the fields that may differ from the checkpoint's; `optimizer` allows all below it.
    pub allowed: Vec<String>,
    /// Where the folder of the training data is now.
    pub data: Option<PathBuf>,
}

/// A field that two configurations have different values of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Dotted name.
    pub key: String,
    /// Value in the one.
    pub from: Value,
    /// Value in the other.
    pub to: Value,
}

impl RunFile {
    /// Of a run that begins on the data of a folder, without a preset.
    pub fn new(data: impl Into<PathBuf>, config: TrainConfig) -> Self {
        Self {
            preset: None,
            data: data.into(),
            initial: None,
            config,
            changes: Vec::new(),
        }
    }

    /// Reads the `config.json` of a run.
    ///
    /// # Errors
    /// If the folder is no run, or the file can't be understood (with line and column).
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, TrainError> {
        let dir = dir.as_ref();
        let path = config_path(dir);
        if !path.is_file() {
            return Err(TrainError::NoRun {
                path: dir.to_owned(),
                reason: "it has no config.json".to_owned(),
            });
        }
        let text = fs::read(&path).map_err(TrainError::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| TrainError::BadFile {
            path,
            reason: error.to_string(),
        })
    }

    /// Of a run that begins with this configuration: what another has changed is no part of it.
    pub(crate) fn begun(&self) -> Self {
        Self {
            changes: Vec::new(),
            ..self.clone()
        }
    }

    /// The configuration that the run began with.
    ///
    /// # Errors
    /// If a change names a field that there is not.
    pub fn first_config(&self) -> Result<TrainConfig, TrainError> {
        let mut config = self.config.clone();
        for field in self.changes.iter().rev().flat_map(|change| &change.fields) {
            config.set(&field.key, &field.from.to_string())?;
        }
        Ok(config)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), TrainError> {
        write_whole(&config_path(dir), self.text(dir)?.as_bytes())
    }

    /// What [`RunFile::write`] writes. A path that is no UTF-8 can't be.
    pub(crate) fn text(&self, dir: &Path) -> Result<String, TrainError> {
        match serde_json::to_string_pretty(self) {
            Ok(text) => Ok(text + "\n"),
            Err(error) => Err(TrainError::BadFile {
                path: config_path(dir),
                reason: error.to_string(),
            }),
        }
    }

    /// The configuration with which a run goes on from a checkpoint of `step` steps that was made with `config`, and
    /// whether this file has changed by it and is to be written.
    ///
    /// # Errors
    /// A change that is not allowed or can't be made, a configuration that makes no run.
    pub(crate) fn go_on(
        &mut self,
        step: u64,
        config: &TrainConfig,
        changes: &Changes,
    ) -> Result<bool, TrainError> {
        let mut known = config.clone();
        for change in self.changes.iter().filter(|change| change.step >= step) {
            for field in &change.fields {
                known.set(&field.key, &field.to.to_string())?;
            }
        }
        for (key, value) in &changes.settings {
            self.config.set(key, value)?;
        }
        if let Some(steps) = changes.steps {
            self.config.steps = steps;
        }
        self.config.validate()?;
        if self.config.steps < step {
            return Err(TrainError::TooFewSteps {
                made: step,
                found: self.config.steps,
            });
        }
        for key in &changes.allowed {
            self.config.check_key(key)?;
        }
        let found = differences(&known, &self.config);
        let free = |key: &str| {
            let named = |name: &String| {
                key.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            (key == "steps" && changes.steps.is_some()) || changes.allowed.iter().any(named)
        };
        let refused: Vec<&Difference> = found.iter().filter(|field| !free(&field.key)).collect();
        if !refused.is_empty() {
            return Err(TrainError::ConfigChanged {
                differences: list(refused),
            });
        }
        if let Some(field) = found.iter().find(|field| is_fixed(field)) {
            return Err(TrainError::FixedField {
                field: field.key.clone(),
                from: field.from.to_string(),
                to: field.to.to_string(),
            });
        }
        let moved = (changes.data.as_ref()).filter(|data| **data != self.data);
        let is_moved = moved.is_some();
        if let Some(data) = moved {
            self.data.clone_from(data);
        }
        if found.is_empty() {
            return Ok(is_moved);
        }
        self.changes.push(Change {
            step,
            fields: found,
        });
        Ok(true)
    }
}

/// Whether the state in a checkpoint has its shape or its meaning from a field.
fn is_fixed(field: &Difference) -> bool {
    let free = [
        "model.h_cycles",
        "model.l_cycles",
        "model.gradient",
        "model.compute",
    ];
    let key = field.key.as_str();
    match key {
        "batch_size" | "seed" | "freeze" | "eval_hold_out" => true,
        "ema" => field.from.is_null() || field.to.is_null(),
        _ => {
            key.starts_with("optimizer.rule")
                || (key.starts_with("model.") && !free.iter().any(|name| key.starts_with(name)))
        }
    }
}

/// The fields of two configurations that have different values.
pub fn differences(from: &TrainConfig, to: &TrainConfig) -> Vec<Difference> {
    let tree = |config: &TrainConfig| serde_json::to_value(config).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &tree(from), &tree(to), &mut found);
    found
}

fn compare(key: &str, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    match (from, to) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let names: BTreeSet<&String> = a.keys().collect();
            for name in names {
                let key = match key {
                    "" => name.clone(),
                    key => format!("{key}.{name}"),
                };
                let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
                compare(
                    &key,
                    &value(a).unwrap_or_default(),
                    &value(b).unwrap_or_default(),
                    found,
                );
            }
        }
        _ if from == to => {}
        _ => found.push(Difference {
            key: key.to_owned(),
            from: from.clone(),
            to: to.clone(),
        }),
    }
}

pub(super) fn list<'a>(differences: impl IntoIterator<Item = &'a Difference>) -> String {
    let lines: Vec<String> = differences
        .into_iter()
        .map(|Difference { key, from, to }| format!("`{key}` is {from}, wanted {to}"))
        .collect();
    lines.join("; ")
}
