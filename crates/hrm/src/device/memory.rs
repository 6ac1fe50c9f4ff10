//! The memory that a device has, and what a training or a model needs of it.

use burn::tensor::Device;
use hrm_core::{ComputeType, GradientSpan, HrmConfig, MixerKind};
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
    return super::probe::quietly(|| nvidia_memory(device)).flatten();
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Weights and what belongs to them.
    pub fixed: u64,
    /// Of a slot.
    pub per_slot: u64,
}

impl Footprint {
    /// Of a training. `fused`: the backend is the CPU's, whose fused operations keep less for the gradient.
    pub fn training(config: &TrainConfig, fused: bool) -> Self {
        let model = &config.model;
        let tracked = match (model.gradient, model.layers()) {
            (GradientSpan::LastUpdate, (h, l)) => h + l,
            (GradientSpan::LastCycle, (0, shared)) => (model.l_cycles + 1) * shared,
            (GradientSpan::LastCycle, (h, l)) => model.l_cycles * l + h,
        };
        // Weights, gradients and two moments, an average; and while they are replaced, the largest twice.
        let copies = 4 + 1 + u64::from(config.ema.is_some());
        let forward = Self::inference(model, fused);
        let heads = 3 * 4 * (model.seq_len * model.vocab_size) as u64;
        Self {
            fixed: forward.fixed + (copies - 1) * weight_bytes(model),
            per_slot: forward.per_slot + tracked as u64 * kept(model, fused) + heads,
        }
    }

    /// Of a model that answers.
    pub fn inference(model: &HrmConfig, fused: bool) -> Self {
        let cast = match model.compute {
            ComputeType::F32 => 0,
            ComputeType::Bf16 | ComputeType::F16 => model.num_parameters() as u64 * 2,
        };
        let puzzle = model.puzzle_embedding.map_or(0, |puzzle| puzzle.dim);
        let states = 4 * (model.total_len() * model.hidden_size) as u64 * bytes(model);
        Self {
            fixed: weight_bytes(model) + cast + 4 * (model.num_puzzle_ids * puzzle) as u64,
            // The states and what a block works on.
            per_slot: states + kept(model, fused) + 4 * (model.seq_len * model.vocab_size) as u64,
        }
    }

    /// Of so many slots.
    pub fn bytes(&self, batch: usize) -> u64 {
        self.fixed
            .saturating_add(self.per_slot.saturating_mul(batch as u64))
    }

    /// The most slots that fit into so many bytes.
    pub fn largest_batch(&self, bytes: u64) -> usize {
        let slots = bytes.saturating_sub(self.fixed) / self.per_slot.max(1);
        usize::try_from(slots).unwrap_or(usize::MAX)
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

/// Bytes that one block keeps of one slot until its gradient is made.
fn kept(model: &HrmConfig, fused: bool) -> u64 {
    let (l, d) = (model.total_len() as u64, model.hidden_size as u64);
    let size = bytes(model);
    let swiglu = |positions: u64, width: usize| {
        let inner = model.swiglu_width(width) as u64;
        // Gate and up, the activation and its parts, the product; in and out.
        let inner_values = if fused { 3 } else { 5 };
        positions * (inner_values * inner + 2 * width as u64) * size
    };
    // Norms are computed in f32 and kept so where they are not fused.
    let norm = |norms: u64| match fused {
        true => norms * l * d * size,
        false => norms * l * d * (size + 3 * 4),
    };
    let mixer = match model.mixer {
        // Projections, turned queries and keys, values in order, the heads' answers; then scores and probabilities.
        MixerKind::Attention if fused => 5 * l * d * size,
        MixerKind::Attention => {
            let pairs = model.num_heads as u64 * l * l;
            l * d * (7 * size + 6 * 4) + pairs * (2 * 4 + if size == 4 { 0 } else { 2 * size })
        }
        MixerKind::Mlp => swiglu(d, model.total_len()),
    };
    mixer + swiglu(l, model.hidden_size) + norm(2)
}

/// Refuses a training whose number type the device lacks, or that needs more memory than it has.
///
/// # Errors
/// [`DeviceError::Compute`] or [`DeviceError::TooLittleMemory`], each with the remedy.
pub fn check_training(device: &Device, config: &TrainConfig) -> Result<(), DeviceError> {
    super::check_compute(device, config.model.compute)?;
    let footprint = Footprint::training(config, is_flex(device));
    check_memory(device, footprint, config.batch_size)
}

/// Refuses work that the device has not the memory for. Where the memory of the device isn't known, nothing is refused.
///
/// # Errors
/// [`DeviceError::TooLittleMemory`] says how much is needed and what fits.
pub fn check_memory(
    device: &Device,
    footprint: Footprint,
    batch: usize,
) -> Result<(), DeviceError> {
    match memory(device) {
        Some(memory) => check_total(memory.total, footprint, batch),
        None => Ok(()),
    }
}

fn check_total(total: u64, footprint: Footprint, batch: usize) -> Result<(), DeviceError> {
    let needed = footprint.bytes(batch);
    if needed <= total {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(DeviceError::TooLittleMemory {
        batch,
        needed_mib: mib(needed),
        total_mib: total >> 20,
        remedy: match footprint.largest_batch(total) {
            0 => format!(
                "not one slot fits: the model alone needs {} MiB",
                mib(footprint.fixed)
            ),
            slots => format!("a batch of {slots} fits"),
        },
    })
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
        check_total(400 << 20, footprint, 100).unwrap();
        let error = check_total(200 << 20, footprint, 100)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "batch 100 needs about 400 MiB of memory, the device has 200 MiB; a batch of 33 fits"
        );
        let error = check_total(100 << 20, footprint, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("not one slot fits: the model alone needs 100 MiB"),
            "{error}"
        );
    }

    #[test]
    fn the_weights_are_counted_by_hand() {
        // 27,275,266 parameters and a puzzle row of 512 values, in f32 and once more in bf16.
        let mut model = HrmConfig::hrm(SUDOKU);
        assert_eq!(
            Footprint::inference(&model, true).fixed,
            4 * (27_275_266 + 512)
        );
        model.compute = ComputeType::Bf16;
        assert_eq!(
            Footprint::inference(&model, true).fixed,
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
}
