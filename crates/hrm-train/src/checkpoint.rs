//! Checkpoints: the whole state of a run in one safetensors file with a checksum, written so that a crash leaves either the
//! old or the new one.
//!
//! Tensors: `model/<name>`, `ema/<name>`, `optimizer/{m,v}/<name>`, `carry/*`, `window`, with the official names of the
//! weights. The metadata hold `state` (JSON: format, step, configuration, sampler, data) and `sha256`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData, bf16, f16};
use hrm_act::{Batch, Carry, MetricSums};
use hrm_core::ops::IGNORED_LABEL;
use hrm_core::{Hrm, LatentState, Weight};
use hrm_data::{PuzzleSet, SamplerState, Task};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::TrainConfig;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::optimizer::{DenseOptimizer, Moments};
use crate::parallel::Replicas;
use crate::run::{
    Difference, Progress, RunFile, UNFINISHED, check_unpacked, differences, list_checkpoints,
};
use crate::trainer::{TrainState, Trainer};

/// Format that this version writes, and the last that it reads.
const FORMAT: u32 = 3;
/// Key of the configuration in the metadata of an export (`hrm_core::store`), which no checkpoint has.
const EXPORT_KEY: &str = "hrm_config";

/// What a checkpoint says besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointInfo {
    /// Format of the file.
    pub format: u32,
    /// Optimizer steps made.
    pub step: u64,
    /// The run's configuration.
    pub config: TrainConfig,
    /// Position of the sampler.
    pub sampler: SamplerState,
    /// Fingerprint of the training set; empty where no run has seen one yet, as after an import.
    pub data: String,
    /// What the tokens of the training set mean.
    #[serde(default = "unknown_task")]
    pub task: Task,
    /// Faults, evaluations, and what the run needs to judge the next.
    #[serde(default)]
    pub progress: Progress,
    /// Whether slots were left out and moments and averages rounded, as [`Run::pack`](crate::Run::pack) does: what goes on
    /// from it is not the unbroken run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
}

fn unknown_task() -> Task {
    Task::Other
}

/// A checkpoint read into memory and checked.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    info: CheckpointInfo,
    tensors: BTreeMap<String, TensorData>,
}

impl CheckpointInfo {
    fn has_data(&self) -> bool {
        !self.data.is_empty()
    }
}

/// Which of a checkpoint's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightKind {
    /// The averaged ones where there are any, else the raw ones.
    #[default]
    Ema,
    /// Those that the optimizer works on.
    Raw,
}

/// All that a checkpoint holds, copied to the host: it can be written while the trainer goes on.
#[derive(Debug)]
pub struct Snapshot {
    info: CheckpointInfo,
    pub(crate) tensors: BTreeMap<String, TensorData>,
}

impl Snapshot {
    /// What it says besides its tensors.
    pub fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// Writes it as a checkpoint: to a temporary name beside `path`, flushed to the disk, then renamed.
    ///
    /// # Errors
    /// If the disk fails; a file that was at `path` is then still there.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        let path = path.as_ref();
        write(path, &self.info, &self.tensors)
    }

    /// The bytes of that file, to be kept elsewhere than in files: what [`Checkpoint::from_bytes`] reads.
    ///
    /// # Errors
    /// If the information can't be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        to_bytes(Path::new("memory"), &self.info, &self.tensors)
    }

    /// Writes the weights alone, raw and averaged: a checkpoint that evaluates and solves, from which no run goes on.
    pub(crate) fn write_weights(&self, path: &Path) -> Result<(), TrainError> {
        let weights: BTreeMap<String, &TensorData> = self
            .tensors
            .iter()
            .filter(|(name, _)| name.starts_with("model/") || name.starts_with("ema/"))
            .map(|(name, data)| (name.clone(), data))
            .collect();
        write(path, &self.info, &weights)
    }

    /// The same state with what the run has learnt of it since.
    pub(crate) fn with_progress(mut self, progress: Progress) -> Self {
        self.info.progress = progress;
        self
    }

    /// The first tensor that has a value which is no finite number.
    pub fn not_finite(&self) -> Option<&str> {
        let finite = |data: &TensorData| match data.dtype() {
            DType::F32 => all(data, 4, 0x7f80_0000),
            DType::BF16 => all(data, 2, 0x7f80),
            DType::F16 => all(data, 2, 0x7c00),
            _ => true,
        };
        let mut tensors = self.tensors.iter();
        tensors
            .find(|(_, data)| !finite(data))
            .map(|(name, _)| name.as_str())
    }
}

/// Whether the exponent of no value is all ones: so are those of infinities and of what is no number, in every IEEE type.
fn all(data: &TensorData, width: usize, exponent: u32) -> bool {
    let value = |bytes: &[u8]| {
        let mut word = [0; 4];
        word.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        u32::from_le_bytes(word)
    };
    // In pieces, so that most of it is a loop without a way out.
    let mut pieces = data.bytes().chunks(1 << 14);
    pieces.all(|piece| {
        let bad = |bytes| u32::from(value(bytes) & exponent == exponent);
        piece
            .chunks_exact(width)
            .map(bad)
            .fold(0, |any, bad| any | bad)
            == 0
    })
}

impl Trainer {
    /// Writes a checkpoint: to a temporary name beside `path`, flushed to the disk, then renamed.
    ///
    /// # Errors
    /// If the device or the disk fails; a file that was at `path` is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        let path = path.as_ref();
        self.snapshot()?.write(path)
    }

    /// Copies the whole state to the host; this waits for the work queued on the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn snapshot(&self) -> Result<Snapshot, TrainError> {
        let state = self.state();
        let mut tensors = BTreeMap::new();
        let mut put = |name: String, data: TensorData| tensors.insert(name, data);
        for Weight {
            name, shape, value, ..
        } in state.model.weights()
        {
            put(format!("model/{name}"), reshaped(read(value)?, &shape));
        }
        if let Some(ema) = &state.ema {
            for (name, value) in &ema.shadow {
                put(format!("ema/{name}"), read(value.clone())?);
            }
        }
        for (name, Moments { m, v }) in &state.optimizer.moments {
            put(format!("optimizer/m/{name}"), read(m.clone())?);
            if let Some(v) = v {
                put(format!("optimizer/v/{name}"), read(v.clone())?);
            }
        }
        if let Some(carry) = self.carry() {
            let Batch {
                inputs,
                labels,
                puzzle_ids,
                min_segments,
            } = carry.batch;
            put("carry/z_h".into(), read(carry.latent.z_h)?);
            put("carry/z_l".into(), read(carry.latent.z_l)?);
            put("carry/segment".into(), read_int(carry.segment)?);
            put("carry/halted".into(), read_int(carry.halted.int())?);
            put("carry/inputs".into(), read_int(inputs)?);
            put("carry/labels".into(), read_int(labels)?);
            put("carry/puzzle_ids".into(), read_int(puzzle_ids)?);
            put("carry/min_segments".into(), read_int(min_segments)?);
        }
        if let Some(window) = &state.window {
            put("window".into(), read(window.tensor())?);
        }
        let info = CheckpointInfo {
            format: FORMAT,
            step: state.step,
            config: self.config().clone(),
            sampler: self.sampler().state(),
            data: self.sampler().set().fingerprint(),
            task: self.sampler().set().info().task,
            progress: state.progress.clone(),
            // As after an `unpack`, until the next step.
            compact: state.step > 0 && state.carry.is_none(),
        };
        Ok(Snapshot { info, tensors })
    }

    /// Goes back to the state of a checkpoint on the same data.
    pub(crate) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let set = Arc::clone(self.sampler().set());
        let mut there = Self::resume(checkpoint, set, self.device())?;
        if let Some(replicas) = self.replicas() {
            let (others, collective) = (replicas.devices(), replicas.collective());
            there.spread(|config, state, _| {
                Replicas::with_collective(config, state, others, Arc::clone(collective)).map(Some)
            })?;
        }
        self.take_over(there);
        Ok(())
    }

    /// The run of a checkpoint, exactly where it stood. One of imported weights takes any data of the model's sizes.
    ///
    /// # Errors
    /// If the data are not those of the run, or a tensor is missing or misshapen.
    pub fn resume(
        checkpoint: Checkpoint,
        set: Arc<PuzzleSet>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let found = set.fingerprint();
        if checkpoint.info.has_data() && found != checkpoint.info.data {
            return Err(TrainError::DataChanged {
                what: "training data",
                expected: checkpoint.info.data,
                found,
            });
        }
        let plain = device.clone().without_autodiff();
        let mut tensors = Tensors {
            path: &checkpoint.path,
            tensors: checkpoint.tensors,
        };
        let CheckpointInfo {
            step,
            config,
            sampler,
            progress,
            compact,
            ..
        } = checkpoint.info;
        config.validate()?;
        let fresh = tensors.fresh_model(&config, &device.clone().autodiff())?;
        let weights = fresh.weights();
        let model = tensors.load_model(fresh, "model")?;
        let dense = |weight: &&Weight| config.freeze.trains(&weight.name, weight.role);
        // At the start the averages are the weights.
        let mut ema = config
            .ema
            .map(|decay| Ema::new(decay, config.freeze, &model));
        if let (Some(decay), true) = (config.ema, step > 0) {
            let mut shadow = BTreeMap::new();
            for weight in weights.iter().filter(dense) {
                let name = &weight.name;
                let value = tensors.float(&format!("ema/{name}"), count(weight), &plain)?;
                shadow.insert(name.clone(), value);
            }
            ema = Some(Ema { decay, shadow });
        }
        let mut optimizer = DenseOptimizer {
            step,
            ..DenseOptimizer::default()
        };
        let mut carry = None;
        if step > 0 {
            for weight in weights.iter().filter(dense) {
                let name = &weight.name;
                let mut moment = |kind: &str| {
                    tensors.float(&format!("optimizer/{kind}/{name}"), count(weight), &plain)
                };
                let moments = Moments {
                    m: moment("m")?,
                    v: match config.optimizer.rule.has_second_moment(name) {
                        true => Some(moment("v")?),
                        false => None,
                    },
                };
                optimizer.moments.insert(name.clone(), moments);
            }
            if !compact {
                carry = Some(tensors.carry(&config, &plain)?);
            }
        }
        let window = match tensors.tensors.contains_key("window") {
            true => Some(MetricSums::from_tensor(tensors.float(
                "window",
                [9],
                &plain,
            )?)),
            false => None,
        };
        let state = TrainState {
            step,
            model,
            optimizer,
            ema,
            carry,
            window,
            progress,
        };
        let mut trainer = Self::from_state(config, state, set, device)?;
        trainer.sampler_mut().restore(&sampler)?;
        Ok(trainer)
    }
}

impl Checkpoint {
    /// Reads the last checkpoint of a run folder, or a checkpoint file.
    ///
    /// # Errors
    /// As [`Checkpoint::read`]; also if the folder is no run or has no checkpoint yet.
    pub fn open(run_or_file: impl AsRef<Path>) -> Result<Self, TrainError> {
        let run_or_file = run_or_file.as_ref();
        if !run_or_file.is_dir() {
            return Self::read(run_or_file);
        }
        RunFile::read(run_or_file)?;
        Self::latest(run_or_file)
    }

    /// Reads the last checkpoint of a run folder. None but the last is taken without being asked for: where it is damaged, the
    /// error says which one before it is whole.
    pub(crate) fn latest(dir: &Path) -> Result<Self, TrainError> {
        let mut paths = list_checkpoints(dir)?.into_iter().rev();
        let Some((_, path)) = paths.next() else {
            check_unpacked(dir)?;
            return Err(TrainError::NoRun {
                path: dir.to_owned(),
                reason: "it has no checkpoint yet".to_owned(),
            });
        };
        let damaged = match Self::read(&path) {
            Err(TrainError::BadCheckpoint { reason, .. }) => reason,
            read => return read,
        };
        let whole = paths.find(|(_, older)| Self::read(older).is_ok());
        let remedy = match whole {
            None => "there is no whole checkpoint before it".to_owned(),
            Some((step, older)) => format!(
                "{} is whole; to go on from it, after step {step}, move the damaged file (and any between the two) out of \
                 the folder",
                older.display()
            ),
        };
        Err(TrainError::BadCheckpoint {
            path,
            reason: format!("{damaged}; {remedy}"),
        })
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a checkpoint and checks it whole: its checksum, its format, its configuration.
    ///
    /// # Errors
    /// If it can't be read, is truncated or damaged, is no checkpoint, or is of a later format.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
        Self::from_bytes(&bytes, path)
    }

    /// As [`Checkpoint::read`], of a file's bytes at hand, from wherever they come; `name` is what errors name.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], but for the reading.
    pub fn from_bytes(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = name.as_ref();
        let bad = |reason: String| TrainError::BadCheckpoint {
            path: path.to_owned(),
            reason,
        };
        if bytes.starts_with(b"PK\x03\x04") {
            return Err(bad(
                "it is a zip archive, as torch checkpoints are; `hrm import` makes a run of one"
                    .into(),
            ));
        }
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| bad(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            let missing = || {
                let is_export = metadata.contains_key(EXPORT_KEY);
                let remedy = match is_export {
                    true => "; it is an export, of which `hrm import` makes a run",
                    false => "",
                };
                bad(format!("its metadata have no `{name}`{remedy}"))
            };
            metadata.get(name).ok_or_else(missing)
        };
        let state = field("state")?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| bad(format!("`state`: {error}"));
        let Version { format } = serde_json::from_str(state).map_err(damaged)?;
        if format > FORMAT {
            return Err(TrainError::NewerCheckpoint {
                path: path.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let file = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::BF16 => DType::BF16,
                Dtype::F16 => DType::F16,
                Dtype::I32 => DType::I32,
                other => return Err(bad(format!("tensor `{name}` has type {other:?}"))),
            };
            let data = TensorData::from_bytes(
                Bytes::from_bytes_vec(view.data().to_vec()),
                view.shape().to_vec(),
                dtype,
            );
            tensors.insert(name.to_owned(), data);
        }
        let found = checksum(state, &tensors)?;
        if &found != field("sha256")? {
            return Err(bad("its checksum is wrong: the file is damaged".into()));
        }
        let info = serde_json::from_str(state).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            info,
            tensors,
        })
    }

    /// Without slots and the sums since the last report; moments and averages in bf16.
    pub(crate) fn compact(mut self) -> Self {
        self.info.compact = true;
        self.tensors
            .retain(|name, _| name != "window" && !name.starts_with("carry/"));
        self.with_state_as(DType::BF16)
    }

    /// Moments and averages in another type of float.
    pub(crate) fn with_state_as(mut self, dtype: DType) -> Self {
        let convert = |(name, data): (String, TensorData)| {
            let is_state = name.starts_with("optimizer/") || name.starts_with("ema/");
            let data = match is_state && data.dtype() != dtype {
                true => data.convert_dtype(dtype),
                false => data,
            };
            (name, data)
        };
        self.tensors = self.tensors.into_iter().map(convert).collect();
        self
    }

    /// As if the run had not been evaluated: its best weights are elsewhere.
    pub(crate) fn without_best(mut self) -> Self {
        self.info.progress.best = None;
        self.info.progress.since_best = 0;
        self
    }

    /// The bytes of its file: what [`Checkpoint::from_bytes`] reads.
    ///
    /// # Errors
    /// If the information can't be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        to_bytes(&self.path, &self.info, &self.tensors)
    }

    /// Writes it, as [`Snapshot::write`] does.
    pub(crate) fn write(&self, path: &Path) -> Result<(), TrainError> {
        write(path, &self.info, &self.tensors)
    }

    /// Writes the weights of a model, such as an imported one, as the checkpoint of a run that has made no step and seen no
    /// data. It evaluates and solves, and a run can go on from it with data of its sizes. A piece of a weight at a time is held
    /// beside the model.
    ///
    /// # Errors
    /// If the configuration is wanting or not the model's, or the device or the disk fails; a file that was at `path` is
    /// then still there.
    pub fn write_model(
        path: impl AsRef<Path>,
        model: &Hrm,
        config: &TrainConfig,
        task: Task,
    ) -> Result<(), TrainError> {
        let path = path.as_ref();
        config.validate_for(model)?;
        let info = CheckpointInfo {
            format: FORMAT,
            step: 0,
            config: config.clone(),
            sampler: SamplerState::default(),
            data: String::new(),
            task,
            progress: Progress::default(),
            compact: false,
        };
        let weights = model
            .weights()
            .into_iter()
            .map(|weight| (format!("model/{}", weight.name), weight))
            .collect();
        write(path, &info, &weights)
    }

    /// What it says besides its tensors.
    pub fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// The same state under another configuration, of which the shapes of the tensors are the same.
    pub(crate) fn with_config(mut self, config: TrainConfig) -> Self {
        let moves_loss = |field: &Difference| {
            ["model.", "act.", "augment"]
                .iter()
                .any(|start| field.key.starts_with(start))
        };
        if differences(&self.info.config, &config)
            .iter()
            .any(moves_loss)
        {
            // The losses so far are none to compare with.
            self.info.progress.recent_losses.clear();
        }
        self.info.config = config;
        self
    }

    /// The model in it, plain, for evaluation and solving.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn model(self, kind: WeightKind, device: &Device) -> Result<Hrm, TrainError> {
        let plain = device.clone().without_autodiff();
        let config = &self.info.config;
        config.validate()?;
        let freeze = config.freeze;
        let averaged = config.ema.is_some() && kind == WeightKind::Ema && self.info.step > 0;
        let mut tensors = Tensors {
            path: &self.path,
            tensors: self.tensors,
        };
        let fresh = tensors.fresh_model(config, &plain)?;
        let model = tensors.load_model(fresh, "model")?;
        if !averaged {
            return Ok(model);
        }
        let mut failure = None;
        let model = model.map_weights(|name, role, value| {
            if !freeze.trains(name, role) {
                return value;
            }
            let [n] = value.dims();
            let device = value.device();
            match tensors.float(&format!("ema/{name}"), [n], &device) {
                Ok(average) => average,
                Err(error) => {
                    failure.get_or_insert(error);
                    value
                }
            }
        });
        failure.map_or(Ok(model), Err)
    }
}

/// The tensors of a checkpoint being taken out by name and shape.
struct Tensors<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, TensorData>,
}

impl Tensors<'_> {
    fn bad(&self, reason: String) -> TrainError {
        TrainError::BadCheckpoint {
            path: self.path.to_owned(),
            reason,
        }
    }

    /// The model that the configuration describes, once the file is known to hold as much.
    fn fresh_model(&self, config: &TrainConfig, device: &Device) -> Result<Hrm, TrainError> {
        let model = &config.model;
        let table = model.puzzle_embedding.map_or(0, |puzzle| puzzle.dim);
        let expected =
            model.num_parameters() + model.num_puzzle_ids * table + 2 * model.hidden_size;
        let weights = self
            .tensors
            .iter()
            .filter(|(name, _)| name.starts_with("model/"));
        let found: usize = weights
            .map(|(_, data)| data.shape().iter().product::<usize>())
            .sum();
        if found != expected {
            return Err(self.bad(format!(
                "it holds {found} weights, expected the {expected} of its configuration"
            )));
        }
        Ok(Hrm::new(model, config.seed, device)?)
    }

    fn take<const D: usize>(
        &mut self,
        name: &str,
        count: [usize; D],
        integer: bool,
    ) -> Result<TensorData, TrainError> {
        let bad = |reason| TrainError::BadCheckpoint {
            path: self.path.to_owned(),
            reason,
        };
        let data = self
            .tensors
            .remove(name)
            .ok_or_else(|| bad(format!("tensor `{name}` is missing")))?;
        let fits = data.shape().iter().product::<usize>() == count.iter().product::<usize>()
            && (D == 1 || data.shape().as_slice() == count);
        if !fits {
            return Err(bad(format!(
                "tensor `{name}` has shape {:?}, expected {count:?}",
                data.shape()
            )));
        }
        if (data.dtype() == DType::I32) != integer {
            return Err(bad(format!("tensor `{name}` has type {:?}", data.dtype())));
        }
        Ok(reshaped(data, &count))
    }

    /// In the type wanted, whatever the file has.
    fn float_as<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor<D>, TrainError> {
        let mut data = self.take(name, shape, false)?;
        if data.dtype() != dtype {
            data = data.convert_dtype(dtype);
        }
        Ok(Tensor::from_data(data, (device, dtype)))
    }

    /// In f32, as weights, averages and moments are: a compact checkpoint has them rounded.
    fn float<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>, TrainError> {
        self.float_as(name, shape, DType::F32, device)
    }

    /// Every value must be one of `allowed`, or `IGNORED_LABEL` of the labels: a device is not asked for a row that isn't there.
    fn int<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        allowed: Range<usize>,
        device: &Device,
    ) -> Result<Tensor<D, Int>, TrainError> {
        let data = self.take(name, shape, true)?;
        let fits = |value: i64| {
            let ignored = name == "carry/labels" && value == IGNORED_LABEL;
            ignored || usize::try_from(value).is_ok_and(|value| allowed.contains(&value))
        };
        if let Some(value) = data.iter::<i64>().find(|&value| !fits(value)) {
            return Err(self.bad(format!(
                "tensor `{name}` has a value of {value}, expected {} to {}",
                allowed.start,
                allowed.end.saturating_sub(1)
            )));
        }
        Ok(Tensor::from_data(data, device))
    }

    fn load_model(&mut self, model: Hrm, prefix: &str) -> Result<Hrm, TrainError> {
        let mut failure = None;
        let model = model.map_weights(|name, _role, value| {
            let [n] = value.dims();
            match self.float(&format!("{prefix}/{name}"), [n], &value.device()) {
                Ok(loaded) => loaded,
                Err(error) => {
                    failure.get_or_insert(error);
                    value
                }
            }
        });
        failure.map_or(Ok(model), Err)
    }

    fn carry(&mut self, config: &TrainConfig, device: &Device) -> Result<Carry, TrainError> {
        let (b, s) = (config.batch_size, config.model.seq_len);
        let states = [b, config.model.total_len(), config.model.hidden_size];
        // The run may have computed in another type before.
        let dtype = config.model.compute.float_type().into();
        let tokens = 0..config.model.vocab_size;
        // Without a puzzle table a run takes any.
        let ids = match config.model.puzzle_embedding {
            Some(_) => 0..config.model.num_puzzle_ids,
            None => 0..i32::MAX as usize,
        };
        // Of a run that thought longer before it was resumed, too.
        let segments = 0..i32::MAX as usize;
        Ok(Carry {
            latent: LatentState {
                z_h: self.float_as("carry/z_h", states, dtype, device)?,
                z_l: self.float_as("carry/z_l", states, dtype, device)?,
            },
            segment: self.int("carry/segment", [b], segments.clone(), device)?,
            halted: self.int("carry/halted", [b], 0..2, device)?.bool(),
            batch: Batch {
                inputs: self.int("carry/inputs", [b, s], tokens.clone(), device)?,
                labels: self.int("carry/labels", [b, s], tokens, device)?,
                puzzle_ids: self.int("carry/puzzle_ids", [b], ids, device)?,
                min_segments: self.int("carry/min_segments", [b], segments, device)?,
            },
        })
    }
}

fn count(weight: &Weight) -> [usize; 1] {
    [weight.shape.iter().product()]
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<TensorData, TrainError> {
    fetched(tensor.try_into_data().map_err(TrainError::device)?)
}

/// Integers are written as i32 whatever the device computes with.
fn read_int<const D: usize>(tensor: Tensor<D, Int>) -> Result<TensorData, TrainError> {
    let data = tensor.try_into_data_as::<i32>();
    fetched(data.map_err(TrainError::device)?)
}

/// The values, on the host: those of a GPU are fetched when they are first looked at, and until then the next step would write over them.
fn fetched(data: TensorData) -> Result<TensorData, TrainError> {
    match data.dtype() {
        DType::F32 => data.as_slice::<f32>().map(drop),
        DType::BF16 => data.as_slice::<bf16>().map(drop),
        DType::F16 => data.as_slice::<f16>().map(drop),
        _ => data.as_slice::<i32>().map(drop),
    }
    .map_err(TrainError::device)?;
    Ok(data)
}

/// The same values under another shape of as many.
fn reshaped(data: TensorData, shape: &[usize]) -> TensorData {
    let (bytes, _, dtype) = data.into_parts();
    TensorData::from_bytes(bytes, shape.to_vec(), dtype)
}

/// A tensor to write. Its bytes are asked for twice: for the checksum and for the file.
trait Part {
    fn dtype(&self) -> DType;
    fn shape(&self) -> &[usize];
    /// The bytes, in pieces.
    fn give(&self, to: To<'_>) -> Result<(), TrainError>;
}

/// What takes them.
type To<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), TrainError>;

impl<P: Part> Part for &P {
    fn dtype(&self) -> DType {
        P::dtype(self)
    }

    fn shape(&self) -> &[usize] {
        P::shape(self)
    }

    fn give(&self, to: To<'_>) -> Result<(), TrainError> {
        P::give(self, to)
    }
}

impl Part for TensorData {
    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn shape(&self) -> &[usize] {
        self.shape().as_slice()
    }

    fn give(&self, to: To<'_>) -> Result<(), TrainError> {
        to(self.bytes())
    }
}

/// A weight on its device, fetched when its bytes are asked for.
impl Part for Weight {
    fn dtype(&self) -> DType {
        self.value.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn give(&self, to: To<'_>) -> Result<(), TrainError> {
        self.pieces().try_for_each(|piece| to(read(piece)?.bytes()))
    }
}

/// Over all that the file says: the state, and each tensor's name, type, shape and bytes.
fn checksum(state: &str, tensors: &BTreeMap<String, impl Part>) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    hash.update(state.as_bytes());
    for (name, data) in tensors {
        hash.update(format!("\n{name} {:?} {:?}\n", data.dtype(), data.shape()));
        data.give(&mut |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
    }
    Ok(hex::encode(hash.finalize()))
}

/// What a file would hold; `path` is what errors name.
fn to_bytes(
    path: &Path,
    info: &CheckpointInfo,
    tensors: &BTreeMap<String, impl Part>,
) -> Result<Vec<u8>, TrainError> {
    let mut bytes = Vec::new();
    write_to(&mut bytes, path, info, tensors)?;
    Ok(bytes)
}

/// The header of a safetensors file, in a fixed order, so that equal states make equal files.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    infos: BTreeMap<&'a str, TensorInfo>,
}

fn write(
    path: &Path,
    info: &CheckpointInfo,
    tensors: &BTreeMap<String, impl Part>,
) -> Result<(), TrainError> {
    write_parts(path, |file| write_to(file, path, info, tensors))
}

/// The file of a checkpoint, written to `out`; `path` is what errors name.
fn write_to(
    out: &mut impl Write,
    path: &Path,
    info: &CheckpointInfo,
    tensors: &BTreeMap<String, impl Part>,
) -> Result<(), TrainError> {
    let bad = |reason: String| TrainError::BadFile {
        path: path.to_owned(),
        reason,
    };
    let state = serde_json::to_string(info).map_err(|error| bad(error.to_string()))?;
    let metadata = BTreeMap::from([
        ("sha256".to_owned(), checksum(&state, tensors)?),
        ("state".to_owned(), state),
    ]);
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let dtype = match data.dtype() {
            DType::F32 => Dtype::F32,
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::I32 => Dtype::I32,
            other => return Err(bad(format!("tensor `{name}` has type {other:?}"))),
        };
        parts.push((dtype, name, data));
    }
    // Wide types first, so that each tensor lies at a multiple of its width.
    parts.sort_by_key(|&(dtype, ..)| std::cmp::Reverse(dtype));
    let mut offset = 0;
    let mut infos = BTreeMap::new();
    for &(dtype, name, data) in &parts {
        let shape = data.shape().to_vec();
        let start = offset;
        offset += shape.iter().product::<usize>() * data.dtype().size();
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets: (start, offset),
        };
        infos.insert(name.as_str(), info);
    }
    let header = Header { metadata, infos };
    let mut header = serde_json::to_vec(&header).map_err(|error| bad(error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let io = || TrainError::io("write", path);
    let begun = out
        .write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| out.write_all(&header));
    begun.map_err(io())?;
    for (.., data) in &parts {
        data.give(&mut |bytes| out.write_all(bytes).map_err(io()))?;
    }
    Ok(())
}

/// Writes a file so that a crash at any moment leaves the old one or the new one: to a temporary name, flushed, renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_parts(path, |file| {
        file.write_all(bytes).map_err(TrainError::io("write", path))
    })
}

/// As [`write_whole`], of what `fill` writes.
fn write_parts(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(UNFINISHED);
    let temporary = path.with_file_name(name);
    let io = || TrainError::io("write", path);
    let written = File::create(&temporary).map_err(io()).and_then(|mut file| {
        fill(&mut file)?;
        file.sync_all().map_err(io())
    });
    let moved = written.and_then(|()| fs::rename(&temporary, path).map_err(io()));
    if let Err(error) = moved {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The rename itself is on the disk once the folder is.
    #[cfg(unix)]
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(match folder == Path::new("") {
            true => Path::new("."),
            false => folder,
        })
    {
        folder.sync_all().map_err(io())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;
    use hrm_data::Augmentation;
    use hrm_data::sudoku::{Generator, SudokuSize};

    fn trained() -> (Checkpoint, Arc<PuzzleSet>) {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(8, 1).unwrap();
        let set = Arc::new(
            PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
        );
        let mut config = Preset::by_name("trm-small").unwrap().config(&set);
        config.model.hidden_size = 16;
        config.model.num_heads = 2;
        config.batch_size = 4;
        let mut trainer = Trainer::new(config, set.clone(), &Device::flex()).unwrap();
        trainer.step().unwrap();
        let Snapshot { info, tensors } = trainer.snapshot().unwrap();
        let path = "forged".into();
        (
            Checkpoint {
                path,
                info,
                tensors,
            },
            set,
        )
    }

    fn resumed(checkpoint: Checkpoint, set: &Arc<PuzzleSet>) -> Result<Trainer, TrainError> {
        // As it is read from a file: whole, with its checksum.
        let bytes = checkpoint.to_bytes().unwrap();
        let checkpoint = Checkpoint::from_bytes(&bytes, Path::new("forged")).unwrap();
        Trainer::resume(checkpoint, set.clone(), &Device::flex())
    }

    #[test]
    fn a_configuration_of_more_weights_than_the_file_has_makes_no_model() {
        let (mut checkpoint, set) = trained();
        assert!(resumed(trained().0, &set).is_ok());
        checkpoint.info.config.model.hidden_size = 1 << 16;
        let error = resumed(checkpoint, &set).unwrap_err().to_string();
        assert!(error.contains("weights, expected the"), "{error}");
    }

    #[test]
    fn slots_with_what_the_model_has_no_row_for_are_refused() {
        for (name, value) in [
            ("carry/puzzle_ids", 1),
            ("carry/inputs", 6),
            ("carry/labels", -1),
            ("carry/halted", 2),
        ] {
            let (mut checkpoint, set) = trained();
            let data = checkpoint.tensors.get_mut(name).unwrap();
            let shape = data.shape().clone();
            let mut values: Vec<i32> = data.iter().collect();
            values[1] = value;
            *data = TensorData::new(values, shape);
            let error = resumed(checkpoint, &set).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(&format!("a value of {value}, expected 0")),
                "{error}"
            );
        }
    }

    /// Every checkpoint holds one: computed otherwise, none could be read.
    #[test]
    fn the_checksum_of_a_state_stays_what_it_is() {
        let floats = TensorData::new(vec![1.0f32, -2.0], [2, 1]);
        let small = TensorData::new(vec![0.5f32; 3], [3]).convert_dtype(DType::BF16);
        let whole = TensorData::new(vec![7i32], [1]);
        let tensors = BTreeMap::from([
            ("a".to_owned(), floats),
            ("b".to_owned(), small),
            ("c".to_owned(), whole),
        ]);
        assert_eq!(
            checksum("{}", &tensors).unwrap(),
            "cde1de73b6acc8d57022967b4ae5ebad1cd0d5c2a3cd15adf5f50c5657544c90"
        );
    }

    #[test]
    fn a_compact_checkpoint_is_a_model_of_f32() {
        let (checkpoint, _) = trained();
        let model = checkpoint.compact().model(WeightKind::Ema, &Device::flex());
        for weight in model.unwrap().weights() {
            assert_eq!(weight.value.dtype(), DType::F32, "{}", weight.name);
        }
    }
}
