//! The weights of a model as a safetensors file that the reference programs can load.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::tensor::FloatDType;

use super::error::StoreError;
use super::names::EXPORT_PREFIX;
use super::{CONFIG_KEY, MAX_SEGMENTS_KEY, OFFICIAL_CONFIG_KEY};
use crate::config::{HaltHead, HrmConfig, Levels, MixerKind, PositionKind};
use crate::model::Hrm;
use crate::weights::Weight;

/// The weights with the official names and the prefix `model.inner.`, in f32, and the configuration in the metadata: ours
/// under `hrm_config` and `max_segments`, the reference programs' under `config`. The same model gives the same bytes.
///
/// # Errors
/// If the tensors can't be serialized.
pub fn export_bytes(model: &Hrm, max_segments: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    export_to(model, max_segments, &BTreeMap::new(), &mut bytes)
        .map_err(|err| failed(Path::new("export"), err))?;
    Ok(bytes)
}

/// As [`export_bytes`], into a file that takes its name only when it is complete.
///
/// # Errors
/// If the file can't be written.
pub fn export(model: &Hrm, max_segments: usize, path: impl AsRef<Path>) -> Result<(), StoreError> {
    let path = path.as_ref();
    // Hidden and of this process alone: no user's file has the name.
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(path.as_os_str()));
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = || {
        let mut file = BufWriter::new(File::create(&temporary)?);
        export_to(model, max_segments, &BTreeMap::new(), &mut file)?;
        let file = file.into_inner().map_err(|err| err.into_error())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    written().map_err(|err| {
        let _ = std::fs::remove_file(&temporary);
        failed(path, err)
    })
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Write {
        path: path.into(),
        source,
    }
}

/// As [`export_bytes`], tensor by tensor to `out`, and with more metadata, such as what the model was trained on. The keys of the
/// configuration are ours: under them `more` is not written.
///
/// # Errors
/// If `out` can't be written to.
pub fn export_to(
    model: &Hrm,
    max_segments: usize,
    more: &BTreeMap<String, String>,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    // The length of the header, the header, the values one tensor after the other. (The crate `safetensors` puts the metadata
    // in an order that differs from run to run.)
    let mut weights = model.weights();
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    let mut metadata = more.clone();
    metadata.extend(own_metadata(model.config(), max_segments)?);
    let mut header = BTreeMap::from([("__metadata__".to_owned(), serde_json::to_value(metadata)?)]);
    let mut end = 0;
    for weight in &weights {
        let start = end;
        end += weight.shape.iter().product::<usize>() * size_of::<f32>();
        let about = serde_json::json!({
            "dtype": "F32",
            "shape": weight.shape,
            "data_offsets": [start, end],
        });
        header.insert(format!("{EXPORT_PREFIX}{}", weight.name), about);
    }
    let mut header = serde_json::to_vec(&header)?;
    // Values begin at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for piece in weights.iter().flat_map(Weight::pieces) {
        let value = piece.cast(FloatDType::F32);
        let values = value.try_into_vec_as::<f32>().map_err(io::Error::other)?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn own_metadata(config: &HrmConfig, max_segments: usize) -> io::Result<[(String, String); 4]> {
    let official = official(config, max_segments);
    Ok([
        ("format", "pt".to_owned()),
        (CONFIG_KEY, serde_json::to_string(config)?),
        (MAX_SEGMENTS_KEY, max_segments.to_string()),
        (OFFICIAL_CONFIG_KEY, serde_json::to_string(&official)?),
    ]
    .map(|(key, value)| (key.to_owned(), value)))
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
        // Of a training, and asked for by the classes: the published exploration, the smallest batch.
        "halt_exploration_prob": 0.1,
        "batch_size": 1,
        // As the tensors are; without the key the initial states would be rounded to bf16.
        "forward_dtype": "float32",
    });
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    let positions = config.puzzle_embedding.and_then(|puzzle| puzzle.positions);
    let shared = matches!(config.levels, Levels::Shared { .. });
    if shared || positions.is_some() {
        // 0 means as few as hold a row of the table; without the key, TRM's program takes 16.
        fields.insert("puzzle_emb_len".into(), positions.unwrap_or(0).into());
    }
    if shared {
        fields.insert("mlp_t".into(), (config.mixer == MixerKind::Mlp).into());
        let halt_only = config.halt_head == HaltHead::HaltOnly;
        fields.insert("no_ACT_continue".into(), halt_only.into());
    }
    value
}
