//! A model out of a checkpoint of the reference programs, or out of an export of ours.

use std::collections::BTreeMap;
use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};

use super::error::StoreError;
use super::hints::ConfigHints;
use super::names::{Architecture, short_name};
use super::tensor_file::{TensorFile, TensorInfo};
use super::{CONFIG_KEY, MAX_SEGMENTS_KEY, OFFICIAL_CONFIG_KEY};
use crate::config::{
    ComputeType, GradientSpan, HaltHead, HrmConfig, Levels, MixerKind, PositionKind,
    PuzzleEmbeddingConfig,
};
use crate::model::Hrm;
use crate::puzzle_ids::PuzzleIds;
use crate::weights::WeightRole;

/// Rows of a puzzle table that are read at once.
const ROWS_AT_ONCE: usize = 4096;
/// Largest expansion of a SwiGLU.
const MAX_EXPANSION: f64 = 1024.0;
/// Name of the puzzle table.
const TABLE: &str = "puzzle_emb.weights";

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// What the shapes don't tell. Where the file's metadata tell it too, both must say the same: other heads or cycles than
    /// those of the training make another model of the weights. `max_segments`, `gradient` and `compute` may differ, and
    /// count before the file's: the first only bounds how long the model thinks, the others are a choice of who trains.
    pub hints: ConfigHints,
    /// What counts where neither `hints` nor the file tell: of a recipe, say.
    pub defaults: ConfigHints,
    /// What becomes of the puzzle table.
    pub puzzle_ids: PuzzleIds,
    /// Only tensors whose names begin so are looked at, and the beginning is cut off: `weights/` for the start of a
    /// recorded trace.
    pub within: String,
}

/// Something that a user should know about an import.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ImportWarning {
    /// A weight is NaN or infinite.
    NonFinite {
        /// Name of the tensor in the file.
        tensor: String,
        /// Index of the first such element, in row-major order.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The number of cells was taken from the name of the data set.
    AssumedSeqLen {
        /// Cells, S.
        seq_len: usize,
        /// Path of the data.
        data_path: String,
    },
}

impl fmt::Display for ImportWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonFinite {
                tensor,
                index,
                value,
            } => {
                write!(
                    f,
                    "tensor `{tensor}` holds {value}, first at element {index}: the model will not work"
                )
            }
            Self::AssumedSeqLen { seq_len, data_path } => {
                write!(
                    f,
                    "seq_len {seq_len} was assumed, since the data are `{data_path}`"
                )
            }
        }
    }
}

/// What an import gives.
#[derive(Debug)]
pub struct Imported {
    /// The model; its configuration is complete.
    pub model: Hrm,
    /// Most segments of a puzzle, M.
    pub max_segments: usize,
    /// What to tell the user.
    pub warnings: Vec<ImportWarning>,
}

/// Makes a model of the weights in `file`, which are HRM's or TRM's by their shapes.
///
/// Names may have the prefixes `_orig_mod.`, `model.` and `inner.` in any combination. The shapes tell the width, the
/// vocabulary, the blocks, the SwiGLUs and the puzzle table; heads, cycles, segments and the number of cells come from the
/// options, or from the metadata of a safetensors file. Every float type is converted to f32. One tensor at a time is held
/// beside the model.
///
/// # Errors
/// If tensors are missing, unknown or misshapen, with all their names; if something is told by nobody, or is told
/// differently by the options and the file; if the table can't be changed as asked; if the file can't be read.
pub fn import(
    file: &TensorFile,
    options: &ImportOptions,
    device: &Device,
) -> Result<Imported, StoreError> {
    let plan = Plan::new(file, options)?;
    plan.load(file, device)
}

/// The configuration and segments that [`import`] would give, without reading a weight.
///
/// # Errors
/// As [`import`], but for those of reading the weights.
pub fn inspect(
    file: &TensorFile,
    options: &ImportOptions,
) -> Result<(HrmConfig, usize), StoreError> {
    let plan = Plan::new(file, options)?;
    Ok((plan.config, plan.max_segments))
}

/// An import of which all but the values is known.
struct Plan {
    config: HrmConfig,
    max_segments: usize,
    warnings: Vec<ImportWarning>,
    /// Full names by short names.
    names: BTreeMap<String, String>,
    puzzle_ids: PuzzleIds,
}

impl Plan {
    fn new(file: &TensorFile, options: &ImportOptions) -> Result<Self, StoreError> {
        let label = file.label();
        let tensors = by_short_name(file, &options.within)?;
        let architecture = check_tensors(&tensors, label)?;
        let mut warnings = Vec::new();
        let told = metadata_hints(file)?;
        let least = architecture.least_positions();
        let contradictions = contradictions(&options.hints, &told, least);
        let hints = options.hints.clone().or(told).or(options.defaults.clone());
        let (mut config, max_segments) =
            configure(&architecture, &hints, contradictions, label, &mut warnings)?;
        let rows = architecture.puzzle_table.map(|(rows, _)| rows);
        let count = options.puzzle_ids.count(rows);
        config.num_puzzle_ids = count.map_err(|reason| StoreError::PuzzleIds {
            file: label.into(),
            reason,
        })?;
        config.validate().map_err(|reason| StoreError::Config {
            file: label.into(),
            reason,
        })?;
        let names = tensors
            .into_iter()
            .map(|(short, (full, _))| (short.to_owned(), full.to_owned()))
            .collect();
        Ok(Self {
            config,
            max_segments,
            warnings,
            names,
            puzzle_ids: options.puzzle_ids,
        })
    }

    fn load(mut self, file: &TensorFile, device: &Device) -> Result<Imported, StoreError> {
        // The table may be as large as all else together many times: it is put in place only when it has been read.
        let started = HrmConfig {
            num_puzzle_ids: 1,
            ..self.config.clone()
        };
        let model = Hrm::new(&started, 0, device).map_err(|reason| StoreError::Config {
            file: file.label().into(),
            reason,
        })?;
        let plain = device.clone().without_autodiff();
        let mut failed = None;
        let mut model = model.map_weights(|name, role, old| {
            if role == WeightRole::PuzzleTable || failed.is_some() {
                return old;
            }
            match self.read(file, name) {
                Ok(values) if values.len() == old.dims()[0] => {
                    let len = values.len();
                    Tensor::from_data(TensorData::new(values, [len]), &plain)
                }
                Ok(_) => {
                    failed = Some(StoreError::NoSuchTensor {
                        file: file.label().into(),
                        name: name.into(),
                    });
                    old
                }
                Err(err) => {
                    failed = Some(err);
                    old
                }
            }
        });
        if let Some(err) = failed {
            return Err(err);
        }
        if let Some(puzzle) = self.config.puzzle_embedding {
            let values = self.read_table(file, puzzle.dim)?;
            let data = TensorData::new(values, [self.config.num_puzzle_ids, puzzle.dim]);
            model = model.with_puzzle_table(Tensor::from_data(data, &plain));
        }
        Ok(Imported {
            model,
            max_segments: self.max_segments,
            warnings: self.warnings,
        })
    }

    fn full_name(&self, file: &TensorFile, short: &str) -> Result<String, StoreError> {
        self.names
            .get(short)
            .cloned()
            .ok_or_else(|| StoreError::NoSuchTensor {
                file: file.label().into(),
                name: short.into(),
            })
    }

    fn read(&mut self, file: &TensorFile, short: &str) -> Result<Vec<f32>, StoreError> {
        let name = self.full_name(file, short)?;
        let values = file.read_f32(&name)?;
        self.warn_of_non_finite(&name, &values);
        Ok(values)
    }

    fn warn_of_non_finite(&mut self, name: &str, values: &[f32]) {
        if let Some((index, &value)) = values
            .iter()
            .enumerate()
            .find(|(_, value)| !value.is_finite())
        {
            self.warnings.push(ImportWarning::NonFinite {
                tensor: name.into(),
                index,
                value,
            });
        }
    }

    /// The rows of the new table, in one allocation.
    fn read_table(&mut self, file: &TensorFile, dim: usize) -> Result<Vec<f32>, StoreError> {
        let ids = self.config.num_puzzle_ids;
        if let PuzzleIds::Reset(_) = self.puzzle_ids {
            return Ok(vec![0.0; ids * dim]);
        }
        let name = self.full_name(file, TABLE)?;
        if let PuzzleIds::Keep = self.puzzle_ids {
            let values = file.read_f32(&name)?;
            self.warn_of_non_finite(&name, &values);
            return Ok(values);
        }
        let rows = file
            .info(&name)
            .and_then(|info| info.shape.first().copied())
            .unwrap_or(0);
        let mut values = Vec::with_capacity(ids * dim);
        for start in (0..rows.min(ids)).step_by(ROWS_AT_ONCE) {
            values.extend(
                file.read_rows_f32(&name, start..(start + ROWS_AT_ONCE).min(rows).min(ids))?,
            );
        }
        self.warn_of_non_finite(&name, &values);
        if ids > rows {
            let mean = mean_row(&values, dim);
            (rows..ids).for_each(|_| values.extend(&mean));
        }
        Ok(values)
    }
}

fn mean_row(values: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    let mut rows = 0usize;
    for row in values.chunks_exact(dim.max(1)) {
        rows += 1;
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter()
        .map(|sum| (sum / rows.max(1) as f64) as f32)
        .collect()
}

/// Tensors by short name, with their full names.
type Tensors<'a> = BTreeMap<&'a str, (&'a str, &'a TensorInfo)>;

fn by_short_name<'a>(file: &'a TensorFile, within: &str) -> Result<Tensors<'a>, StoreError> {
    let mut tensors = Tensors::new();
    for full in file.names() {
        let (Some(name), Some(info)) = (full.strip_prefix(within), file.info(full)) else {
            continue;
        };
        if let Some((other, _)) = tensors.insert(short_name(name), (full, info)) {
            let reason = format!("stands for the same weight as `{other}`");
            return Err(StoreError::Tensor {
                file: file.label().into(),
                name: full.into(),
                reason,
            });
        }
    }
    Ok(tensors)
}

/// Compares the tensors with those of a model of their sizes.
fn check_tensors(tensors: &Tensors<'_>, label: &str) -> Result<Architecture, StoreError> {
    let shapes = tensors
        .iter()
        .map(|(&short, (_, info))| (short, info.shape.as_slice()))
        .collect();
    let architecture = Architecture::read(&shapes);
    // A file without any sizes to go by is compared with the smallest HRM.
    let smallest = Architecture {
        hidden_size: 0,
        vocab_size: 0,
        h_layers: 1,
        l_layers: 1,
        inner: 0,
        mlp_t: None,
        learned: None,
        puzzle_table: None,
    };
    let expected = architecture.unwrap_or(smallest).tensors();
    let missing: Vec<String> = expected
        .keys()
        .filter(|name| !tensors.contains_key(name.as_str()))
        .cloned()
        .collect();
    let mut unknown = Vec::new();
    let mut misshapen = Vec::new();
    for (&short, (full, info)) in tensors {
        match expected.get(short) {
            None => unknown.push(format!("{full} {:?}", info.shape)),
            Some(_) if !info.dtype.is_float() => {
                misshapen.push(format!("{full}: expected floats, found {}", info.dtype))
            }
            Some(_) if info.num_elements() == 0 => {
                misshapen.push(format!("{full}: expected values, found {:?}", info.shape));
            }
            Some(shape) if architecture.is_some() && *shape != info.shape => {
                misshapen.push(format!(
                    "{full}: expected {shape:?}, found {:?}",
                    info.shape
                ));
            }
            Some(_) => {}
        }
    }
    match architecture {
        Some(architecture) if missing.is_empty() && unknown.is_empty() && misshapen.is_empty() => {
            Ok(architecture)
        }
        _ => Err(StoreError::WrongTensors {
            file: label.into(),
            missing,
            unknown,
            misshapen,
        }),
    }
}

/// What the metadata of a safetensors file says: our own configuration, or one in the words of the reference programs.
fn metadata_hints(file: &TensorFile) -> Result<ConfigHints, StoreError> {
    let metadata = file.metadata();
    let label = || format!("{}: metadata", file.label());
    if let Some(text) = metadata.get(CONFIG_KEY) {
        let config: HrmConfig =
            serde_json::from_str(text).map_err(|err| StoreError::ConfigFile {
                file: label(),
                reason: format!("{CONFIG_KEY}: {err}"),
            })?;
        let max_segments = metadata
            .get(MAX_SEGMENTS_KEY)
            .and_then(|text| text.parse().ok());
        return Ok(ConfigHints::from_config(&config, max_segments));
    }
    metadata
        .get(OFFICIAL_CONFIG_KEY)
        .map_or(Ok(ConfigHints::default()), |text| {
            ConfigHints::from_official_json(text, &label())
        })
}

/// What is given differently from what the file's metadata tell, but for what is a matter of choice. `least` is how many
/// puzzle positions 0 stands for.
fn contradictions(given: &ConfigHints, told: &ConfigHints, least: usize) -> Vec<String> {
    fn differ<T: PartialEq + fmt::Debug>(
        what: &str,
        given: Option<T>,
        told: Option<T>,
    ) -> Option<String> {
        let (given, told) = (given?, told?);
        (given != told)
            .then(|| format!("{what} is {told:?} by the file's metadata, given {given:?}"))
    }
    let positions = |hints: &ConfigHints| match hints.puzzle_positions {
        Some(0) => Some(least),
        positions => positions,
    };
    let found = [
        differ("seq_len", given.seq_len, told.seq_len),
        differ("num_heads", given.num_heads, told.num_heads),
        differ("h_cycles", given.h_cycles, told.h_cycles),
        differ("l_cycles", given.l_cycles, told.l_cycles),
        differ("puzzle_positions", positions(given), positions(told)),
        differ("position", given.position, told.position),
        differ("halt_head", given.halt_head, told.halt_head),
        differ("expansion", given.expansion, told.expansion),
    ];
    found.into_iter().flatten().collect()
}

/// Joins what the shapes and the hints say.
fn configure(
    found: &Architecture,
    hints: &ConfigHints,
    mut contradictions: Vec<String>,
    label: &str,
    warnings: &mut Vec<ImportWarning>,
) -> Result<(HrmConfig, usize), StoreError> {
    let d = found.hidden_size;
    let mixer = if found.mlp_t.is_some() {
        MixerKind::Mlp
    } else {
        MixerKind::Attention
    };
    let mut compare = |what: &str, given: Option<usize>, told: usize| {
        if let Some(given) = given
            && given != told
        {
            contradictions.push(format!("{what} is {told}, given {given}"));
        }
    };
    compare("vocab_size", hints.vocab_size, found.vocab_size);
    compare("hidden_size", hints.hidden_size, d);
    compare("h_layers", hints.h_layers, found.h_layers);
    compare("l_layers", hints.l_layers, found.l_layers);
    let dim = found.puzzle_table.map(|(_, dim)| dim);
    compare(
        "length of a puzzle table's row",
        hints.puzzle_dim,
        dim.unwrap_or(0),
    );
    if hints.mixer.is_some_and(|given| given != mixer) {
        contradictions.push(format!("mixer is {mixer:?}, given {:?}", hints.mixer));
    }
    if hints
        .position
        .is_some_and(|given| (given == PositionKind::Learned) != found.learned.is_some())
    {
        let has = if found.learned.is_some() {
            "has"
        } else {
            "has no"
        };
        contradictions.push(format!(
            "the checkpoint {has} learned positions, given {:?}",
            hints.position
        ));
    }

    let shared = found.h_layers == 0;
    let least = found.least_positions();
    let given = hints
        .puzzle_positions
        .map(|positions| if positions == 0 { least } else { positions });
    let beyond_cells = |cells: usize| found.total_len().and_then(|len| len.checked_sub(cells));
    let positions = match dim {
        None => Some(0),
        Some(_) => given.or(if shared {
            hints.seq_len.and_then(beyond_cells)
        } else {
            Some(least)
        }),
    };
    let mut seq_len = hints.seq_len.or(positions.and_then(beyond_cells));
    if seq_len.is_none()
        && let Some(cells) = hints.seq_len_of_data(found.vocab_size)
    {
        seq_len = Some(cells);
        warnings.push(ImportWarning::AssumedSeqLen {
            seq_len: cells,
            data_path: hints.data_path.clone().unwrap_or_default(),
        });
    }
    if let (Some(len), Some(cells), Some(positions)) = (found.total_len(), seq_len, positions)
        && cells.checked_add(positions) != Some(len)
    {
        contradictions.push(format!(
            "sequence length is {len}, given {cells} cells and {positions} puzzle positions"
        ));
    }

    let mut missing = Vec::new();
    let mut need = |what: &'static str, value: Option<usize>| {
        if value.is_none() {
            missing.push(what);
        }
        value.unwrap_or(1)
    };
    let num_heads = match mixer {
        MixerKind::Attention => need("num_heads", hints.num_heads),
        MixerKind::Mlp => hints.num_heads.unwrap_or(1),
    };
    let h_cycles = need("h_cycles", hints.h_cycles);
    let l_cycles = need("l_cycles", hints.l_cycles);
    let max_segments = need("max_segments", hints.max_segments);
    let seq_len = need("seq_len", seq_len);
    let positions = need("puzzle_positions", positions);
    if !contradictions.is_empty() {
        return Err(StoreError::Contradiction {
            file: label.into(),
            contradictions,
        });
    }
    if !missing.is_empty() {
        return Err(StoreError::Undetermined {
            file: label.into(),
            fields: missing,
        });
    }
    if max_segments == 0 {
        let reason = crate::ConfigError::Zero {
            field: "max_segments",
        };
        return Err(StoreError::Config {
            file: label.into(),
            reason,
        });
    }

    let mut config = HrmConfig {
        seq_len,
        vocab_size: found.vocab_size,
        num_puzzle_ids: 1,
        hidden_size: d,
        num_heads,
        expansion: 0.0,
        levels: if shared {
            Levels::Shared {
                layers: found.l_layers,
            }
        } else {
            Levels::Separate {
                h_layers: found.h_layers,
                l_layers: found.l_layers,
            }
        },
        gradient: hints.gradient.unwrap_or(if shared {
            GradientSpan::LastCycle
        } else {
            GradientSpan::LastUpdate
        }),
        mixer,
        position: match (found.learned, hints.position, mixer) {
            (Some(_), ..) => PositionKind::Learned,
            (None, Some(position), _) => position,
            (None, None, MixerKind::Attention) => PositionKind::Rope,
            (None, None, MixerKind::Mlp) => PositionKind::None,
        },
        h_cycles,
        l_cycles,
        puzzle_embedding: dim.map(|dim| PuzzleEmbeddingConfig {
            dim,
            positions: match hints.puzzle_positions {
                Some(0) => None,
                Some(given) => Some(given),
                None => (shared || positions != least).then_some(positions),
            },
        }),
        halt_head: hints.halt_head.unwrap_or(if shared {
            HaltHead::HaltOnly
        } else {
            HaltHead::QLearning
        }),
        compute: hints.compute.unwrap_or(ComputeType::F32),
    };
    config.expansion = expansion(&config, found, hints.expansion).map_err(|contradiction| {
        StoreError::Contradiction {
            file: label.into(),
            contradictions: vec![contradiction],
        }
    })?;
    Ok((config, max_segments))
}

/// An expansion that gives the SwiGLUs their widths. Several do; 4, the published one, is tried first.
fn expansion(config: &HrmConfig, found: &Architecture, given: Option<f64>) -> Result<f64, String> {
    let fits = |expansion: f64| {
        let config = HrmConfig {
            expansion,
            ..config.clone()
        };
        config.swiglu_width(found.hidden_size) == found.inner
            && found
                .mlp_t
                .is_none_or(|(len, inner)| config.swiglu_width(len) == inner)
    };
    let widths = match found.mlp_t {
        Some((len, inner)) => format!(
            "{} for {} and {inner} for {len}",
            found.inner, found.hidden_size
        ),
        None => format!("{} for {}", found.inner, found.hidden_size),
    };
    if let Some(given) = given {
        return if given > 0.0 && given <= MAX_EXPANSION && fits(given) {
            Ok(given)
        } else {
            Err(format!(
                "the SwiGLUs' widths are {widths}, given the expansion {given}"
            ))
        };
    }
    let exact = found.inner as f64 * 1.5 / found.hidden_size.max(1) as f64;
    std::iter::once(4.0)
        .chain((1..=MAX_EXPANSION as u32).map(f64::from))
        .chain([exact])
        .find(|&candidate| fits(candidate))
        .ok_or_else(|| format!("the SwiGLUs' widths are {widths}, which no expansion gives"))
}
