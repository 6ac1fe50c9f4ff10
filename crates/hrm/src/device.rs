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

use burn::tensor::Device;
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
}

/// What is known of a backend, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The backend.
    pub backend: Backend,
    /// Whether this program was built with it.
    pub built_in: bool,
    /// Names of the devices found; empty where it is not built in.
    pub devices: Vec<String>,
}

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
                _ => return Vec::new(),
            };
            // The CUDA and HIP loaders panic where the driver's library is missing.
            std::panic::catch_unwind(|| Device::enumerate(kind).into_iter().collect())
                .unwrap_or_default()
        }
        #[cfg(not(any(
            feature = "flex",
            feature = "cuda",
            feature = "rocm",
            feature = "wgpu",
            feature = "vulkan",
            feature = "metal"
        )))]
        Vec::new()
    }

    /// Names of the devices found, in the order of their numbers.
    fn found_names(self) -> Vec<String> {
        let describe = |(index, device): (usize, Device)| match self {
            Self::Flex => "flex".to_owned(),
            Self::Cuda | Self::Rocm => format!("{}:{index}", self.name()),
            // Which kind of GPU it is, the backend says in its own words.
            _ => format!("{} {device:?}", self.name()),
        };
        self.found().into_iter().enumerate().map(describe).collect()
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
                true => format!("no {} device (is the driver installed?)", backend.name()),
                false => names.join(", "),
            },
        })
    }
}

/// The device that `HRM_DEVICE` names; without it flex, or where flex is not built in the first backend that is.
///
/// # Errors
/// As [`parse`].
pub fn from_env() -> Result<Device, DeviceError> {
    match std::env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => parse(&name),
        _ => parse(Backend::default_built_in().unwrap_or(Backend::Flex).name()),
    }
}

/// The device of a name where one is given, else as [`from_env`].
///
/// # Errors
/// As [`parse`].
pub fn choose(name: Option<&str>) -> Result<Device, DeviceError> {
    name.map_or_else(from_env, parse)
}

/// Whether a device is the CPU backend, which computes fastest in f32.
#[allow(unused_variables)] // Where flex is not built in, no device is it.
pub fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    false
}

/// All backends: whether each was built in, and what was found of it.
pub fn list() -> Vec<Listed> {
    Backend::ALL
        .into_iter()
        .map(|backend| Listed {
            backend,
            built_in: backend.is_built_in(),
            devices: backend.found_names(),
        })
        .collect()
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
    fn flex_is_always_found() {
        assert_eq!(parse("flex").ok(), Some(Device::flex()));
        assert!(is_flex(&Device::flex()));
        let listed = list();
        assert_eq!(listed.len(), Backend::ALL.len());
        assert_eq!(listed[0].devices, ["flex"]);
        assert!(
            listed
                .iter()
                .all(|entry| entry.built_in || entry.devices.is_empty())
        );
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
