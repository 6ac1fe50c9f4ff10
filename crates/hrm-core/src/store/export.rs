//! The weights of a model as a safetensors file that the reference programs can load.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Tensor;
use safetensors::tensor::{Dtype, View};
use safetensors::{SafeTensorError, serialize, serialize_to_file};

use super::error::StoreError;
use super::names::EXPORT_PREFIX;
use super::{CONFIG_KEY, MAX_SEGMENTS_KEY, OFFICIAL_CONFIG_KEY};
use crate::config::{HaltHead, HrmConfig, Levels, MixerKind, PositionKind};
use crate::model::Hrm;
use crate::weights::Weight;

/// The weights with the official names and the prefix `model.inner.`, in f32, and the configuration in the metadata: ours
/// under `hrm_config` and `max_segments`, the reference programs' under `config`.
///
/// # Errors
/// If the tensors can't be serialized.
pub fn export_bytes(model: &Hrm, max_segments: usize) -> Result<Vec<u8>, StoreError> {
    serialize(tensors(model), Some(metadata(model.config(), max_segments)))
        .map_err(|err| failed(Path::new("export"), err))
}

/// As [`export_bytes`], into a file that takes its name only when it is complete.
///
/// # Errors
/// If the file can't be written.
pub fn export(model: &Hrm, max_segments: usize, path: &Path) -> Result<(), StoreError> {
    serialize_to_file(
        tensors(model),
        Some(metadata(model.config(), max_segments)),
        path,
    )
    .map_err(|err| failed(path, err))
}

fn failed(path: &Path, err: SafeTensorError) -> StoreError {
    let source = match err {
        SafeTensorError::IoError(source) => source,
        other => std::io::Error::other(other),
    };
    StoreError::Write {
        path: path.into(),
        source,
    }
}

/// A weight whose bytes are fetched when they are written.
struct Lazy {
    shape: Vec<usize>,
    value: Tensor<1>,
}

impl View for Lazy {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let data = self.value.to_data();
        if cfg!(target_endian = "little") {
            return Cow::Owned(data.as_bytes().to_vec());
        }
        Cow::Owned(data.iter::<f32>().flat_map(f32::to_le_bytes).collect())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

fn tensors(model: &Hrm) -> impl Iterator<Item = (String, Lazy)> {
    model.weights().into_iter().map(
        |Weight {
             name, shape, value, ..
         }| {
            (
                format!("{EXPORT_PREFIX}{name}"),
                Lazy {
                    shape,
                    value: value.cast(burn::tensor::FloatDType::F32),
                },
            )
        },
    )
}

fn metadata(config: &HrmConfig, max_segments: usize) -> HashMap<String, String> {
    // A configuration of numbers and names always has a JSON form.
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (CONFIG_KEY.to_owned(), json(serde_json::to_string(config))),
        (MAX_SEGMENTS_KEY.to_owned(), max_segments.to_string()),
        (
            OFFICIAL_CONFIG_KEY.to_owned(),
            json(serde_json::to_string(&official(config, max_segments))),
        ),
    ])
}

/// The configuration in the words of the reference programs.
fn official(config: &HrmConfig, max_segments: usize) -> serde_json::Value {
    let (h_layers, l_layers) = config.layers();
    let mut value = serde_json::json!({
        "seq_len": config.seq_len,
        "vocab_size": config.vocab_size,
        "num_puzzle_identifiers": config.num_puzzle_ids,
        "puzzle_emb_ndim": config.puzzle_embedding.map_or(0, |puzzle| puzzle.dim),
        "H_cycles": config.h_cycles,
        "L_cycles": config.l_cycles,
        "H_layers": h_layers,
        "L_layers": l_layers,
        "hidden_size": config.hidden_size,
        "expansion": config.expansion,
        "num_heads": config.num_heads,
        "pos_encodings": match config.position {
            PositionKind::Rope => "rope",
            PositionKind::Learned => "learned",
            PositionKind::None => "none",
        },
        "halt_max_steps": max_segments,
    });
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    if config
        .puzzle_embedding
        .is_some_and(|puzzle| puzzle.positions.is_some())
    {
        fields.insert("puzzle_emb_len".into(), config.puzzle_len().into());
    }
    if let Levels::Shared { .. } = config.levels {
        fields.insert("mlp_t".into(), (config.mixer == MixerKind::Mlp).into());
        let halt_only = config.halt_head == HaltHead::HaltOnly;
        fields.insert("no_ACT_continue".into(), halt_only.into());
    }
    value
}
