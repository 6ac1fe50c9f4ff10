//! The memory that a device has, and what a training or a model needs of it.

use burn::tensor::Device;
use hrm_core::{ComputeType, GradientSpan, Hrm, HrmConfig, MixerKind};
use hrm_train::TrainConfig;
use serde::{Deserialize, Serialize};

use super::{DeviceError, is_flex};

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the device has; of the CPU what the system lets this process have.
    pub total: u64,
    /// What is free now.
    pub free: u64,
}

/// The memory of a device, where it is known: of the CPU by the system, of NVIDIA's GPUs by their driver.
pub fn memory(device: &Device) -> Option<Memory> {
    if is_flex(device) {
        return host_memory();
    }
    #[cfg(all(
        target_os = "linux",
        any(feature = "cuda", feature = "vulkan", feature = "wgpu")
    ))]
    return super::probe::tried(|| nvidia_memory(device)).ok().flatten();
    #[cfg(not(all(
        target_os = "linux",
        any(feature = "cuda", feature = "vulkan", feature = "wgpu")
    )))]
    None
}

fn host_memory() -> Option<Memory> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    // A container may have less than the machine.
    let (total, free) = match system.cgroup_limits() {
        Some(limits) => (
            limits.total_memory,
            limits.free_memory.min(system.available_memory()),
        ),
        None => (system.total_memory(), system.available_memory()),
    };
    (total > 0).then_some(Memory { total, free })
}

/// By the card's address on the bus, which all backends report alike.
#[cfg(all(
    target_os = "linux",
    any(feature = "cuda", feature = "vulkan", feature = "wgpu")
))]
fn nvidia_memory(device: &Device) -> Option<Memory> {
    let address = device.identity()?.physical?.pci_address?;
    let driver = nvml_wrapper::Nvml::init().ok()?;
    let card = driver.device_by_pci_bus_id(address.to_string()).ok()?;
    let info = card.memory_info().ok()?;
    Some(Memory {
        total: info.total,
        free: info.free,
    })
}

/// Estimated memory of a computation: so much whatever the batch, and so much for each slot. In bytes; to be taken as what is
/// needed within a third or so, for backends hold on to buffers in their own ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights and what belongs to them.
    pub fixed: u64,
    /// Of a slot.
    pub per_slot: u64,
}

impl Footprint {
    /// Of a training, per slot of those that are computed at a time: `batch_size / accumulate`. `fused`: the backend is the
    /// CPU's, which has no blocks of scores in f32.
    pub fn training(config: &TrainConfig, fused: bool) -> Self {
        let model = &config.model;
        let tracked = match (model.gradient, model.layers()) {
            (GradientSpan::LastUpdate, (h, l)) => h + l,
            (GradientSpan::LastCycle, (0, shared)) => (model.l_cycles + 1) * shared,
            (GradientSpan::LastCycle, (h, l)) => model.l_cycles * l + h,
        };
        // Weights, gradients and two moments, an average; and while they are replaced, the largest twice. Of several parts,
        // the gradients of one beside the sum of those before.
        let copies = 4 + 1 + u64::from(config.ema.is_some()) + u64::from(config.accumulate > 1);
        let at_a_time = config.batch_size / config.accumulate.max(1);
        let forward = Self::of_slots(model, fused, at_a_time);
        let heads = 3 * 4 * (model.seq_len * model.vocab_size) as u64;
        Self {
            fixed: forward.fixed + (copies - 1) * weight_bytes(model),
            per_slot: (tracked as u64)
                .saturating_mul(kept(model))
                .saturating_add(forward.per_slot + heads),
        }
    }

    /// Of a model that answers, per slot of so many that it computes at a time. `fused` as for [`Footprint::training`].
    pub fn inference(model: &HrmConfig, fused: bool, slots: usize) -> Self {
        Self::of_slots(model, fused, slots)
    }

    /// Of a model that answers and of which the states of so many segments are kept, in f32.
    fn recording(model: &HrmConfig, fused: bool, slots: usize, segments: u32) -> Self {
        let updates = (model.h_cycles as u64).saturating_mul(model.l_cycles as u64 + 1);
        // And the embedding, the first states.
        let states = updates.saturating_mul(segments.into()).saturating_add(3);
        let state = 4 * (model.total_len() * model.hidden_size) as u64;
        let answers = Self::of_slots(model, fused, slots);
        Self {
            per_slot: answers
                .per_slot
                .saturating_add(states.saturating_mul(state)),
            ..answers
        }
    }

    /// Of two computations that go on at a time, of as many slots each.
    fn beside(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(other.fixed),
            per_slot: self.per_slot.saturating_add(other.per_slot),
        }
    }

    /// Of a model that computes so many slots at a time.
    fn of_slots(model: &HrmConfig, fused: bool, slots: usize) -> Self {
        let cast = match model.compute {
            ComputeType::F32 => 0,
            ComputeType::Bf16 | ComputeType::F16 => model.num_parameters() as u64 * 2,
        };
        let puzzle = model.puzzle_embedding.map_or(0, |puzzle| puzzle.dim);
        // The states and what a block works on.
        let works = kept(model) + block_of_scores(model, fused, slots);
        Self {
            fixed: weight_bytes(model) + cast + 4 * (model.num_puzzle_ids * puzzle) as u64,
            per_slot: 2 * state_bytes(model)
                + works
                + 4 * (model.seq_len * model.vocab_size) as u64,
        }
    }

    /// Of so many slots.
    pub fn bytes(&self, batch: usize) -> u64 {
        self.fixed
            .saturating_add(self.per_slot.saturating_mul(batch as u64))
    }
}

fn bytes(model: &HrmConfig) -> u64 {
    match model.compute {
        ComputeType::F32 => 4,
        ComputeType::Bf16 | ComputeType::F16 => 2,
    }
}

fn weight_bytes(model: &HrmConfig) -> u64 {
    4 * model.num_parameters() as u64
}

/// Bytes of the two states of a slot.
fn state_bytes(model: &HrmConfig) -> u64 {
    2 * (model.total_len() * model.hidden_size) as u64 * bytes(model)
}

/// Bytes that one block keeps of one slot until its gradient is made, where it is made by the operations of `hrm-core`: what
/// they compute anew counts for nothing.
fn kept(model: &HrmConfig) -> u64 {
    let (l, d) = (model.total_len() as u64, model.hidden_size as u64);
    let size = bytes(model);
    // Gate and up, and their product; what goes in is the output of a norm.
    let swiglu = |positions: u64, width: usize| {
        let inner = model.swiglu_width(width) as u64;
        positions * 3 * inner * size
    };
    // The output, and a value for each row.
    let norm = |rows: u64, width: u64| rows * (width * size + 4);
    let mixer = match model.mixer {
        // Projections and the heads' answers, and a value for each row of scores.
        MixerKind::Attention => l * (4 * d * size + 4 * model.num_heads as u64) + norm(l, d),
        // Over the positions: what goes in is turned, and so is what comes out.
        MixerKind::Mlp => swiglu(d, model.total_len()) + 2 * l * d * size + norm(d, l),
    };
    mixer + swiglu(l, model.hidden_size) + norm(l, d)
}

/// Bytes of a slot while attention goes through its scores in blocks, of so many slots together: a block holds at most twice
/// as many scores as the projection has values, and 2^28.
fn block_of_scores(model: &HrmConfig, fused: bool, slots: usize) -> u64 {
    let is_fused = fused && model.compute == ComputeType::F32;
    if is_fused || model.mixer == MixerKind::Mlp {
        return 0;
    }
    let (l, d) = (model.total_len() as u64, model.hidden_size as u64);
    let slots = slots.max(1) as u64;
    let scores = (model.num_heads as u64 * l).saturating_mul(l * slots);
    let block = scores.min((6 * l * d).saturating_mul(slots)).min(1 << 28);
    // Scores, weights and their gradient in f32, and what products take and give.
    block * (3 * 4 + 2 * bytes(model)) / slots
}

/// A training on one of several devices that share its batch.
#[derive(Clone, Copy)]
struct Share<'a> {
    config: &'a TrainConfig,
    devices: usize,
    fused: bool,
}

impl Share<'_> {
    /// Bytes that a device needs for a batch of so many slots, of which it computes its share in so many parts.
    fn bytes(&self, batch: usize, accumulate: usize) -> u64 {
        let accumulate = accumulate.max(1);
        let parts = self.devices.saturating_mul(accumulate);
        let at_a_time = batch.div_ceil(parts);
        let config = TrainConfig {
            batch_size: at_a_time * accumulate,
            accumulate,
            ..self.config.clone()
        };
        let footprint = Footprint::training(&config, self.fused);
        let model = &config.model;
        // Of a batch in one part the slots are among what is computed. Else they are there as they were, as they become, and
        // joined; and the batch, as 32-bit numbers.
        let slot = 3 * state_bytes(model) + 2 * 4 * model.seq_len as u64;
        let slots = match parts {
            1 => 0,
            _ => slot.saturating_mul(batch as u64),
        };
        // The gradients are exchanged as one tensor.
        let exchanged = match self.devices {
            1 => 0,
            _ => 2 * weight_bytes(model),
        };
        footprint
            .bytes(at_a_time)
            .saturating_add(slots)
            .saturating_add(exchanged)
    }

    /// What makes the training fit.
    fn remedy(&self, total: u64) -> String {
        let TrainConfig {
            batch_size,
            accumulate,
            ..
        } = *self.config;
        let parts = self.devices * accumulate;
        // Slots of a part.
        let fits = |rows: usize| self.bytes(rows * parts, accumulate) <= total;
        let rows = most(batch_size.div_ceil(parts), fits);
        let more = (accumulate + 1..=batch_size / self.devices.max(1)).find(|&n| {
            batch_size.is_multiple_of(n * self.devices) && self.bytes(batch_size, n) <= total
        });
        match (rows, more) {
            (0, None) => format!(
                "not one slot fits: the model alone needs {} MiB",
                mib(Footprint::training(self.config, self.fused).fixed)
            ),
            (0, Some(n)) => format!("the same batch fits in {n} parts (`--set accumulate={n}`)"),
            (rows, None) => format!("a batch of {} fits", rows * parts),
            (rows, Some(n)) => format!(
                "a batch of {} fits, the same batch in {n} parts (`--set accumulate={n}`)",
                rows * parts
            ),
        }
    }

    fn check(&self, total: u64) -> Result<(), DeviceError> {
        let TrainConfig {
            batch_size,
            accumulate,
            ..
        } = *self.config;
        let needed = self.bytes(batch_size, accumulate);
        if needed <= total {
            return Ok(());
        }
        Err(DeviceError::TooLittleMemory {
            batch: batch_size,
            needed_mib: mib(needed),
            total_mib: total >> 20,
            remedy: self.remedy(total),
        })
    }
}

/// Refuses a training whose number type the device lacks, or that needs more memory than it has. It is one of `devices` that
/// share the batch; each computes its share in `accumulate` parts. The configuration is one that [`TrainConfig::validate`] accepts.
///
/// # Errors
/// [`DeviceError::Compute`] or [`DeviceError::TooLittleMemory`], each with the remedy.
pub fn check_training(
    device: &Device,
    config: &TrainConfig,
    devices: usize,
) -> Result<(), DeviceError> {
    super::check_compute(device, config.model.compute)?;
    let share = Share {
        config,
        devices: devices.max(1),
        fused: is_flex(device),
    };
    match memory(device) {
        Some(memory) => share.check(memory.total),
        None => Ok(()),
    }
}

/// Refuses to let models of one device think, each in so many slots at a time, where it has not the memory for that. Where the memory isn't
/// known, nothing is refused.
///
/// # Errors
/// [`DeviceError::TooLittleMemory`] says how much is needed and what fits.
pub fn check_inference(models: &[&Hrm], slots: usize) -> Result<(), DeviceError> {
    let Some(first) = models.first() else {
        return Ok(());
    };
    let device = first.device();
    let is_flex = is_flex(&device);
    let of = |slots| {
        let footprints = models
            .iter()
            .map(|model| Footprint::inference(model.config(), is_flex, slots));
        footprints.fold(Footprint::default(), Footprint::beside)
    };
    check_memory(&device, of, slots)
}

/// Refuses to record the states of puzzles over so many segments, as [`hrm_act::analysis::record`] does, where the device of the model has not
/// the memory for that.
///
/// # Errors
/// [`DeviceError::TooLittleMemory`] says how much is needed and how many puzzles, the batch, fit.
pub fn check_recording(model: &Hrm, puzzles: usize, segments: u32) -> Result<(), DeviceError> {
    let (device, config) = (model.device(), model.config());
    let is_flex = is_flex(&device);
    check_memory(
        &device,
        |slots| Footprint::recording(config, is_flex, slots, segments),
        puzzles,
    )
}

/// Refuses work that the device has not the memory for; `footprint` tells what it is for so many slots at a time. Where the memory of
/// the device isn't known, nothing is refused.
///
/// # Errors
/// [`DeviceError::TooLittleMemory`] says how much is needed and what fits.
pub fn check_memory(
    device: &Device,
    footprint: impl Fn(usize) -> Footprint,
    batch: usize,
) -> Result<(), DeviceError> {
    match memory(device) {
        Some(memory) => check_total(memory.total, footprint, batch),
        None => Ok(()),
    }
}

fn check_total(
    total: u64,
    footprint: impl Fn(usize) -> Footprint,
    batch: usize,
) -> Result<(), DeviceError> {
    let needed = footprint(batch).bytes(batch);
    if needed <= total {
        return Ok(());
    }
    Err(DeviceError::TooLittleMemory {
        batch,
        needed_mib: mib(needed),
        total_mib: total >> 20,
        remedy: match most(batch, |slots| footprint(slots).bytes(slots) <= total) {
            0 => format!(
                "not one slot fits: the model alone needs {} MiB",
                mib(footprint(1).fixed)
            ),
            slots => format!("a batch of {slots} fits"),
        },
    })
}

/// The largest number, up to about `limit`, that fits, where what fits less fits as well: by its binary digits.
fn most(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    let mut found = 0;
    let mut step = limit
        .checked_next_power_of_two()
        .unwrap_or(1 << (usize::BITS - 1));
    while step > 0 {
        found += if fits(found + step) { step } else { 0 };
        step /= 2;
    }
    found
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hrm_core::Sizes;

    const SUDOKU: Sizes = Sizes {
        seq_len: 81,
        vocab_size: 11,
        num_puzzle_ids: 1,
    };

    #[test]
    fn a_smaller_batch_is_named() {
        let footprint = Footprint {
            fixed: 100 << 20,
            per_slot: 3 << 20,
        };
        check_total(400 << 20, |_| footprint, 100).unwrap();
        let error = check_total(200 << 20, |_| footprint, 100)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "batch 100 needs about 400 MiB of memory, the device has 200 MiB; a batch of 33 fits"
        );
        let error = check_total(100 << 20, |_| footprint, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("not one slot fits: the model alone needs 100 MiB"),
            "{error}"
        );
    }

    #[test]
    fn more_slots_than_fit_are_refused_for_inference_too() {
        let sizes = Sizes {
            seq_len: 16,
            ..SUDOKU
        };
        let model = Hrm::new(&HrmConfig::trm_mlp(sizes), 1, &Device::flex()).unwrap();
        check_inference(&[], 1 << 32).unwrap();
        check_inference(&[&model], 64).unwrap();
        let error = check_inference(&[&model], 1 << 32).unwrap_err();
        assert!(matches!(error, DeviceError::TooLittleMemory { batch, .. } if batch == 1 << 32));
        // 16 positions of the cells and 16 of the puzzle, 512 wide: 64 KiB a state. 3 and 3 * 7 of them a segment.
        let plain = Footprint::inference(model.config(), true, 8);
        let recorded = Footprint::recording(model.config(), true, 8, 100);
        assert_eq!(recorded.per_slot - plain.per_slot, 2103 << 16);
        check_recording(&model, 4, 1).unwrap();
        assert!(check_recording(&model, 1 << 20, 16).is_err());
    }

    #[test]
    fn the_weights_are_counted_by_hand() {
        // 27,275,266 parameters and a puzzle row of 512 values, in f32 and once more in bf16.
        let mut model = HrmConfig::hrm(SUDOKU);
        assert_eq!(
            Footprint::inference(&model, true, 1).fixed,
            4 * (27_275_266 + 512)
        );
        model.compute = ComputeType::Bf16;
        assert_eq!(
            Footprint::inference(&model, true, 1).fixed,
            4 * (27_275_266 + 512) + 2 * 27_275_266
        );
    }

    #[test]
    fn the_gradient_of_a_cycle_grows_with_it() {
        // docs/results/memory.md: width 256, batch 16: 14 more updates of 2 blocks took 660 MiB.
        let model = |l_cycles| HrmConfig {
            hidden_size: 256,
            l_cycles,
            ..HrmConfig::trm(SUDOKU)
        };
        let config = |l_cycles| TrainConfig {
            model: model(l_cycles),
            ..hrm_train::PRESETS[0].config_for_sizes(SUDOKU)
        };
        let of = |l_cycles| Footprint::training(&config(l_cycles), true).bytes(16);
        let grown = (of(16) - of(2)) as f64 / f64::from(1 << 20);
        assert!((500.0..800.0).contains(&grown), "{grown} MiB");
    }

    const MAZE: Sizes = Sizes {
        seq_len: 900,
        vocab_size: 6,
        num_puzzle_ids: 1,
    };

    fn sudoku_1k() -> TrainConfig {
        hrm_train::PRESETS[0].config_for_sizes(SUDOKU)
    }

    #[test]
    fn a_batch_that_is_computed_in_parts_needs_the_memory_of_a_part_and_of_all_slots() {
        let whole = sudoku_1k();
        let parts = TrainConfig {
            accumulate: 8,
            ..whole.clone()
        };
        fn share(config: &TrainConfig, devices: usize) -> Share<'_> {
            Share {
                config,
                devices,
                fused: false,
            }
        }
        // What 96 slots need, their gradients twice, and three times the states of 768 with their batch: 82 x 512 values of
        // 2 bytes for each of two states, and 81 inputs and labels.
        let of_96 = Footprint::training(&parts, false).bytes(96);
        let slots = 768 * (3 * 2 * 82 * 512 * 2 + 2 * 4 * 81);
        assert_eq!(share(&parts, 1).bytes(768, 8), of_96 + slots);
        let device = of_96 + slots;
        share(&parts, 1).check(device).unwrap();
        let error = share(&whole, 1).check(device).unwrap_err().to_string();
        assert!(error.starts_with("batch 768 needs about "), "{error}");
        assert!(error.contains("`--set accumulate=8`"), "{error}");
        // Eight devices have an eighth of the batch each, and exchange the gradients.
        let exchanged = 2 * weight_bytes(&whole.model);
        share(&whole, 8).check(device + exchanged).unwrap();
        // What is named fits.
        let named = error
            .split("a batch of ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let batch: usize = named.unwrap().parse().unwrap();
        let smaller = TrainConfig {
            batch_size: batch,
            ..whole.clone()
        };
        share(&smaller, 1).check(device).unwrap();
        let larger = TrainConfig {
            batch_size: batch + 1,
            ..whole.clone()
        };
        share(&larger, 1).check(device).unwrap_err();
        // No part is small enough.
        let error = share(&whole, 1).check(1 << 20).unwrap_err().to_string();
        assert!(error.contains("not one slot fits"), "{error}");
    }

    #[test]
    fn a_step_keeps_no_scores() {
        let config = hrm_train::Preset::by_name("hrm-maze-1k")
            .unwrap()
            .config_for_sizes(MAZE);
        // 8 blocks of 901 positions, width 512 and 1,536 in bf16: 13.8 MB each; and a few blocks of 2^28 scores.
        let kept = 8 * kept(&config.model) * 768;
        assert!((80e9..90e9).contains(&(kept as f64)), "{kept}");
        let whole = Footprint::training(&config, false).bytes(768);
        assert!(whole < kept + kept / 4, "{whole} {kept}");
    }

    #[test]
    fn many_slots_that_answer_share_a_block_of_scores() {
        let model = hrm_train::Preset::by_name("hrm-maze-1k")
            .unwrap()
            .config_for_sizes(MAZE)
            .model;
        let of = |slots| Footprint::inference(&model, false, slots).bytes(slots);
        // A block of 2^28 scores at 16 bytes, and 23 MB a slot: states, what a block of the model works on, and the cells' logits.
        assert!((16e9..24e9).contains(&(of(768) as f64)), "{}", of(768));
        let error = check_total(
            of(100),
            |slots| Footprint::inference(&model, false, slots),
            768,
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a batch of 100 fits"), "{error}");
    }

    #[test]
    fn nonsense_of_a_valid_configuration_is_too_large_and_no_panic() {
        let mut config = sudoku_1k();
        config.model.l_cycles = 1 << 20;
        config.model.gradient = GradientSpan::LastCycle;
        config.model.hidden_size = 1 << 12;
        config.batch_size = 1 << 20;
        config.validate().unwrap();
        let share = Share {
            config: &config,
            devices: 1,
            fused: false,
        };
        let error = share.check(1 << 40).unwrap_err().to_string();
        assert!(error.contains("MiB"), "{error}");
    }
}
