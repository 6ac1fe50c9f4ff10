//! Devices by name: `flex`, `cuda`, `cuda:1`, `metal`, `rocm`, `vulkan`, `vulkan:integrated:0`, `wgpu`.
//!
//! A name is a [`Backend`], and where there are several devices, which of them. A backend is there if the feature of its name
//! was built in.
//!
//! ```
//! # fn main() -> Result<(), hrm::device::DeviceError> {
//! let device = hrm::device::parse("flex")?;
//! let chosen = hrm::device::from_env()?; // HRM_DEVICE, or flex
//! # let _ = (device, chosen);
//! assert!(hrm::device::parse("flox").is_err());
//! # Ok(())
//! # }
//! ```

mod memory;
mod probe;

pub use memory::{
    Footprint, Memory, check_inference, check_memory, check_recording, check_training, memory,
};
pub use probe::{
    Trial, attempt, best_compute, check_compute, compute_for, compute_name, device_name, fit,
    products_in_tf32, trials,
};

use burn::tensor::Device;
use hrm_core::ComputeType;
use serde::{Deserialize, Serialize};

/// The environment variable that chooses a device where no name is given.
pub const VARIABLE: &str = "HRM_DEVICE";

/// What computes. Each is a feature of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Backend {
    /// Pure Rust on the CPU.
    Flex,
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// AMD GPUs.
    Rocm,
    /// GPUs of any maker through Vulkan.
    Vulkan,
    /// GPUs of any maker through the API that the machine offers.
    Wgpu,
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A name that means no device.
    #[error("`{name}` is no device; expected {expected}")]
    Unknown {
        /// The name given.
        name: String,
        /// What would be one.
        expected: String,
    },
    /// A backend that this program was built without.
    #[error(
        "the device `{name}` was not built in; build with `--features {feature}` (built in: {built_in})"
    )]
    NotBuiltIn {
        /// The name given.
        name: String,
        /// The feature to build with.
        feature: &'static str,
        /// The backends there are.
        built_in: String,
    },
    /// A device that this machine doesn't have.
    #[error("the device `{name}` was not found on this machine; found {found}")]
    NotFound {
        /// The name given.
        name: String,
        /// What was found of that backend.
        found: String,
    },
    /// A device that is to compute together with others and can't.
    #[error(
        "the device `{name}` can't train together with others ({reason}); expected one device, or several of CUDA: cuda:0,cuda:1"
    )]
    NotTogether {
        /// The name given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A number type that the device doesn't compute in, or computes wrongly.
    #[error("the device can't compute in {asked} ({reason}); it computes in {works}: use {remedy}")]
    Compute {
        /// The type asked for.
        asked: &'static str,
        /// What was found when it was tried.
        reason: String,
        /// The types that work.
        works: String,
        /// The type to use in its place.
        remedy: &'static str,
    },
    /// Work that needs more memory than the device has.
    #[error(
        "batch {batch} needs about {needed_mib} MiB of memory, the device has {total_mib} MiB; {remedy}"
    )]
    TooLittleMemory {
        /// Slots asked for.
        batch: usize,
        /// What they need.
        needed_mib: u64,
        /// What the device has.
        total_mib: u64,
        /// What would fit.
        remedy: String,
    },
}

/// What a device is and can do; see [`inspect`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// The name that [`parse`] knows it by.
    pub name: String,
    /// What the device calls itself, where it does.
    pub product: Option<String>,
    /// Its memory, where that is known.
    pub memory: Option<Memory>,
    /// What came of a tiny computation in each number type.
    pub compute: Vec<Trial>,
    /// The number type to compute in: the best that passed.
    pub default_compute: ComputeType,
}

/// Tries a device out: a tiny computation in each number type, compared with the host's.
pub fn inspect(name: &str, device: &Device) -> Inspected {
    let compute = trials(device);
    Inspected {
        name: name.to_owned(),
        product: device_name(device),
        memory: memory(device),
        default_compute: probe::best_of(&compute, is_flex(device)),
        compute,
    }
}

/// Every device of a backend with its name.
pub fn found(backend: Backend) -> Vec<(String, Device)> {
    backend.found_named()
}

/// Why no device of a backend is found, where none is: what its driver said, if it said anything.
pub fn why_none(backend: Backend) -> String {
    match backend.looked() {
        Err(said) if !said.is_empty() => said,
        _ => "is the driver installed?".to_owned(),
    }
}

/// GPUs of one kind that are looked for.
const MOST_OF_A_KIND: usize = 16;

/// Which device of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Default,
    /// The n-th; of the graphics backends the n-th discrete GPU.
    Nth(usize),
    Integrated(usize),
    Virtual(usize),
    Cpu,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Flex,
        Self::Cuda,
        Self::Metal,
        Self::Rocm,
        Self::Vulkan,
        Self::Wgpu,
    ];

    /// Its name, which is also that of the feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Rocm => "rocm",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether the feature of its name was built in.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// The backend used where none is named: flex, or the first that was built in.
    pub fn default_built_in() -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.is_built_in())
    }

    /// Whether a device is chosen among GPUs by kind.
    fn is_graphics(self) -> bool {
        matches!(self, Self::Metal | Self::Vulkan | Self::Wgpu)
    }

    fn expected() -> String {
        "flex, cuda[:N], rocm[:N], or metal, vulkan, wgpu with nothing, :N, :integrated:N, :virtual:N or :cpu behind"
            .to_owned()
    }

    /// Makes a device; none if the backend is not built in.
    #[allow(unused_variables)] // Without a GPU backend nothing asks which.
    fn open(self, which: Which) -> Option<Device> {
        #[cfg(any(feature = "cuda", feature = "rocm"))]
        let index = match which {
            Which::Nth(index) => index,
            _ => 0,
        };
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Some(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(Device::cuda(index)),
            #[cfg(feature = "metal")]
            Self::Metal => Some(Device::metal(which.kind())),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(Device::rocm(index)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan(which.kind())),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(Device::wgpu(which.kind())),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// The devices of this backend on this machine. A driver that is missing is no device.
    fn found(self) -> Vec<Device> {
        self.looked().unwrap_or_default()
    }

    /// The devices, or what the driver said where it could not be asked.
    fn looked(self) -> Result<Vec<Device>, String> {
        #[cfg(any(
            feature = "flex",
            feature = "cuda",
            feature = "rocm",
            feature = "wgpu",
            feature = "vulkan",
            feature = "metal"
        ))]
        {
            use burn::tensor::DeviceType;
            let kind = match self {
                #[cfg(feature = "flex")]
                Self::Flex => DeviceType::Flex,
                #[cfg(feature = "cuda")]
                Self::Cuda => DeviceType::Cuda,
                #[cfg(feature = "metal")]
                Self::Metal => DeviceType::Metal,
                #[cfg(feature = "rocm")]
                Self::Rocm => DeviceType::Rocm,
                #[cfg(feature = "vulkan")]
                Self::Vulkan => DeviceType::Vulkan,
                #[cfg(feature = "wgpu")]
                Self::Wgpu => DeviceType::Wgpu,
                #[allow(unreachable_patterns)]
                _ => return Ok(Vec::new()),
            };
            // The CUDA and HIP loaders panic where the driver's library is missing.
            probe::tried(|| Device::enumerate(kind).into_iter().collect())
        }
        #[cfg(not(any(
            feature = "flex",
            feature = "cuda",
            feature = "rocm",
            feature = "wgpu",
            feature = "vulkan",
            feature = "metal"
        )))]
        Ok(Vec::new())
    }

    /// The devices found, with the names that [`parse`] knows them by, in the order of their numbers.
    fn found_named(self) -> Vec<(String, Device)> {
        let name = |(index, device): (usize, Device)| match self {
            Self::Flex => ("flex".to_owned(), device),
            Self::Cuda | Self::Rocm => (format!("{}:{index}", self.name()), device),
            _ => (self.graphics_name(&device), device),
        };
        self.found().into_iter().enumerate().map(name).collect()
    }

    /// Which kind of GPU it is, the backend doesn't tell: all names are tried.
    fn graphics_name(self, device: &Device) -> String {
        let kinds = [
            ("", Which::Nth as fn(usize) -> Which),
            ("integrated:", Which::Integrated),
            ("virtual:", Which::Virtual),
        ];
        for (prefix, kind) in kinds {
            for index in 0..MOST_OF_A_KIND {
                if self.open(kind(index)).as_ref() == Some(device) {
                    return format!("{}:{prefix}{index}", self.name());
                }
            }
        }
        match self.open(Which::Cpu).as_ref() == Some(device) {
            true => format!("{}:cpu", self.name()),
            // Of a kind that the driver doesn't say: the backend's default reaches it.
            false => self.name().to_owned(),
        }
    }

    fn found_names(self) -> Vec<String> {
        let named = self.found_named();
        named.into_iter().map(|(name, _)| name).collect()
    }
}

impl Which {
    fn parse(backend: Backend, text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u16>().ok().map(usize::from);
        match (backend, text.split_once(':')) {
            (Backend::Flex, _) => None,
            (Backend::Cuda | Backend::Rocm, _) => number(text).map(Self::Nth),
            (_, Some(("integrated", n))) => number(n).map(Self::Integrated),
            (_, Some(("virtual", n))) => number(n).map(Self::Virtual),
            (_, None) if text == "integrated" => Some(Self::Integrated(0)),
            (_, None) if text == "virtual" => Some(Self::Virtual(0)),
            (_, None) if text == "cpu" => Some(Self::Cpu),
            (_, _) => number(text).map(Self::Nth),
        }
    }

    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
    fn kind(self) -> burn::tensor::DeviceKind {
        use burn::tensor::DeviceKind;
        match self {
            Self::Default => DeviceKind::DefaultDevice,
            Self::Nth(index) => DeviceKind::DiscreteGpu(index),
            Self::Integrated(index) => DeviceKind::IntegratedGpu(index),
            Self::Virtual(index) => DeviceKind::VirtualGpu(index),
            Self::Cpu => DeviceKind::Cpu,
        }
    }
}

/// The device of a name.
///
/// # Errors
/// [`DeviceError::Unknown`] on a name that means nothing, [`DeviceError::NotBuiltIn`] names the feature that is missing,
/// [`DeviceError::NotFound`] lists what this machine has of the backend.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown {
        name: name.to_owned(),
        expected: Backend::expected(),
    };
    let (backend, which) = match name.split_once(':') {
        Some((backend, which)) => (backend, Some(which)),
        None => (name, None),
    };
    let backend = Backend::ALL
        .into_iter()
        .find(|known| known.name() == backend)
        .ok_or_else(unknown)?;
    let which = match which {
        Some(text) => Which::parse(backend, text).ok_or_else(unknown)?,
        None => Which::Default,
    };
    let device = backend.open(which).ok_or_else(|| DeviceError::NotBuiltIn {
        name: name.to_owned(),
        feature: backend.name(),
        built_in: built_in(),
    })?;
    if backend == Backend::Flex {
        return Ok(device);
    }
    let found = backend.found();
    let there = match which {
        Which::Default => !found.is_empty(),
        _ if backend.is_graphics() => found.contains(&device),
        Which::Nth(index) => index < found.len(),
        _ => true,
    };
    if there {
        Ok(device)
    } else {
        let names = backend.found_names();
        Err(DeviceError::NotFound {
            name: name.to_owned(),
            found: match names.is_empty() {
                true => format!("no {} device ({})", backend.name(), why_none(backend)),
                false => names.join(", "),
            },
        })
    }
}

/// The device that `HRM_DEVICE` names, of several the first; without it flex, or where flex is not built in the first backend
/// that is.
///
/// # Errors
/// As [`parse`].
pub fn from_env() -> Result<Device, DeviceError> {
    match listed_in_env() {
        Some(names) => parse(first(&names)).map_err(of_variable),
        None => parse(default_name()),
    }
}

/// What `HRM_DEVICE` says, where it says anything.
fn listed_in_env() -> Option<String> {
    let names = std::env::var(VARIABLE).ok();
    names.filter(|names| !names.is_empty())
}

/// Of the backend that counts where nothing is chosen.
fn default_name() -> &'static str {
    Backend::default_built_in().unwrap_or(Backend::Flex).name()
}

/// An error of a name that was not typed, with where it is from.
fn of_variable(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::Unknown { name, expected } => DeviceError::Unknown {
            name: format!("{VARIABLE}={name}"),
            expected,
        },
        other => other,
    }
}

/// The first device of a list that [`choose_several`] takes.
fn first(names: &str) -> &str {
    names.split(',').next().unwrap_or_default().trim()
}

/// The device of a name where one is given, else as [`from_env`].
///
/// # Errors
/// As [`parse`].
pub fn choose(name: Option<&str>) -> Result<Device, DeviceError> {
    name.map_or_else(from_env, parse)
}

/// The devices that `names` lists, such as `cuda:0,cuda:1`; where none are given as [`from_env`], which may list several too.
/// More than one are to train together ([`hrm_train::Trainer::data_parallel`]).
///
/// # Errors
/// As [`parse`]; [`DeviceError::NotTogether`] where several are named and one is not of CUDA, or twice in the list.
pub fn choose_several(names: Option<&str>) -> Result<Vec<Device>, DeviceError> {
    let list = names.map(str::to_owned).or_else(listed_in_env);
    let list = list.unwrap_or_else(|| default_name().to_owned());
    let mut devices: Vec<Device> = Vec::new();
    for name in list.split(',').map(str::trim) {
        let device = parse(name).map_err(|error| match names {
            Some(_) => error,
            None => of_variable(error),
        })?;
        let refused = |reason| DeviceError::NotTogether {
            name: name.to_owned(),
            reason,
        };
        if devices.contains(&device) {
            return Err(refused("it is named twice"));
        }
        if list.contains(',') && !name.starts_with(Backend::Cuda.name()) {
            return Err(refused("its backend has no sums over devices"));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// The name by which [`choose`] chooses.
pub fn chosen_name(name: Option<&str>) -> String {
    let in_env = || listed_in_env().map(|names| first(&names).to_owned());
    let chosen = name.map(str::to_owned).or_else(in_env);
    chosen.unwrap_or_else(|| default_name().to_owned())
}

/// Whether a device is the CPU backend, which computes fastest in f32.
#[allow(unused_variables)] // Where flex is not built in, no device is it.
pub fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    false
}

fn built_in() -> String {
    let names: Vec<&str> = Backend::ALL
        .into_iter()
        .filter(|backend| backend.is_built_in())
        .map(Backend::name)
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> String {
        parse(name)
            .map(|_| String::new())
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for name in [
            "",
            "cpu",
            "flox",
            "flex:0",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:70000",
            "vulkan:integrated:x",
        ] {
            assert!(
                said(name).starts_with(&format!("`{name}` is no device; expected flex, cuda[:N]")),
                "{name}: {}",
                said(name)
            );
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_backend_that_is_not_built_in_names_its_feature() {
        assert!(
            said("cuda:1")
                .starts_with("the device `cuda:1` was not built in; build with `--features cuda`"),
            "{}",
            said("cuda:1")
        );
    }

    #[test]
    #[cfg(feature = "flex")]
    fn devices_that_compute_together_are_of_cuda() {
        assert_eq!(
            choose_several(Some("flex")).ok(),
            Some(vec![Device::flex()])
        );
        let said = |names| match choose_several(Some(names)) {
            Err(error) => error.to_string(),
            Ok(devices) => format!("{devices:?}"),
        };
        assert!(said("flex,flex").contains("no sums over devices"));
        assert!(said("flex,").contains("no sums over devices"));
        assert!(said("abacus,flex").contains("`abacus` is no device"));
        assert!(said("").contains("`` is no device"));
        #[cfg(not(feature = "cuda"))]
        assert!(said("cuda:0,cuda:1").contains("--features cuda"));
        // What computes on one takes the first.
        assert_eq!(first("cuda:0, cuda:1"), "cuda:0");
        assert_eq!(first("flex"), "flex");
    }

    #[test]
    #[cfg(feature = "flex")]
    fn flex_is_always_found() {
        assert_eq!(parse("flex").ok(), Some(Device::flex()));
        assert!(is_flex(&Device::flex()));
        assert_eq!(found(Backend::Flex), [("flex".to_owned(), Device::flex())]);
        for backend in Backend::ALL {
            assert!(backend.is_built_in() || found(backend).is_empty());
        }
    }

    #[test]
    fn graphics_devices_are_chosen_by_kind() {
        assert_eq!(Which::parse(Backend::Vulkan, "1"), Some(Which::Nth(1)));
        assert_eq!(
            Which::parse(Backend::Vulkan, "integrated"),
            Some(Which::Integrated(0))
        );
        assert_eq!(
            Which::parse(Backend::Metal, "virtual:2"),
            Some(Which::Virtual(2))
        );
        assert_eq!(Which::parse(Backend::Wgpu, "cpu"), Some(Which::Cpu));
        assert_eq!(Which::parse(Backend::Cuda, "cpu"), None);
    }
}
