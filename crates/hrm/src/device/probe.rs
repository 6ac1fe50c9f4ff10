//! What a device can compute in: tried by a tiny computation in each number type, compared with the host's result.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use hrm_core::ops::matmul;
use hrm_core::{ComputeType, Hrm};
use serde::{Deserialize, Serialize};

use super::{Backend, DeviceError, is_flex};

/// A number type tried on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The type.
    pub compute: ComputeType,
    /// Whether the result was right.
    pub works: bool,
    /// Largest error of the result, relative to its largest value; none where nothing was computed.
    pub error: Option<f64>,
    /// Why it doesn't work; empty where it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether matrix products of f32 lose what TF32 loses: their operands are rounded to 11 bits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
}

/// The types that are tried.
const TYPES: [ComputeType; 3] = [ComputeType::F32, ComputeType::Bf16, ComputeType::F16];

/// The name of a number type, as configurations have it.
pub fn compute_name(compute: ComputeType) -> &'static str {
    match compute {
        ComputeType::F32 => "f32",
        ComputeType::Bf16 => "bf16",
        ComputeType::F16 => "f16",
    }
}

/// Half a unit in the last place of a number near 1.
fn epsilon(compute: ComputeType) -> f64 {
    match compute {
        ComputeType::F32 => f64::from(f32::EPSILON) / 2.0,
        ComputeType::Bf16 => 1.0 / 256.0,
        ComputeType::F16 => 1.0 / 2048.0,
    }
}

/// Tries f32, bf16 and f16, in this order.
pub fn trials(device: &Device) -> Vec<Trial> {
    let mut tried = TYPES.map(|compute| try_compute(device, compute));
    for trial in &mut tried {
        trial.tf32 = trial.compute == ComputeType::F32 && trial.works && products_in_tf32(device);
    }
    tried.into()
}

/// Whether a device computes the matrix products of f32 in TF32, as Burn's kernels for the tensor cores of NVIDIA's GPUs do, and
/// [`hrm_core::ops::matmul`] with `HRM_TF32=1`. Which kernel a product gets is measured, so that another shape may have got
/// another: products of three shapes are tried.
pub fn products_in_tf32(device: &Device) -> bool {
    // No other backend has the type, and each shape has its kernels compiled and measured first.
    let has_type = |device| {
        let devices = super::found(Backend::Cuda);
        devices.iter().any(|(_, found)| found == device)
    };
    if is_flex(device) || !has_type(device) {
        return false;
    }
    let plain = device.clone().without_autodiff();
    [[256, 256, 256], [776, 512, 1536], [2048, 1536, 512]]
        .into_iter()
        .any(|shape| matches!(tried(|| rounds_operands(&plain, shape)), Ok(true)))
}

/// Whether a product `[m, k] x [k, n]` loses the last bit of an operand that TF32 hasn't.
fn rounds_operands(device: &Device, [m, k, n]: [usize; 3]) -> bool {
    let full = |shape: [usize; 2], value: f32| {
        let values = vec![value; shape[0] * shape[1]];
        Tensor::<2>::from_data(TensorData::new(values, shape), (device, DType::F32))
    };
    let last = f32::powi(2.0, -12);
    let product = matmul(full([m, k], 1.0 + last), full([k, n], 1.0));
    // Exact in f32: all sums are multiples of 2^-12 below 2^12.
    let expected = k as f32 * (1.0 + last);
    product.try_into_vec_as::<f32>().is_ok_and(|found| {
        found
            .iter()
            .any(|value| (value - expected).abs() > k as f32 * last / 2.0)
    })
}

/// Tries one type: a matrix product, a square and a root, forwards and back.
fn try_compute(device: &Device, compute: ComputeType) -> Trial {
    let failed = |error, reason: String| Trial {
        compute,
        works: false,
        error,
        reason,
        tf32: false,
    };
    let plain = device.clone().without_autodiff();
    // A kernel in a type that the device lacks would not compile, and may leave the device unusable.
    match tried(|| plain.supports_dtype(DType::from(compute.float_type()))) {
        Ok(true) => {}
        Ok(false) => return failed(None, "the device has no such arithmetic".to_owned()),
        Err(said) => return failed(None, format!("the device can't be opened: {said}")),
    }
    match tried(|| compute_error(&plain, compute)) {
        Err(said) => failed(None, format!("the computation failed: {said}")),
        Ok(Err(reason)) => failed(None, reason),
        // 24 products of numbers of the type, summed: a few roundings each way.
        Ok(Ok(error)) if error <= 8.0 * epsilon(compute) => Trial {
            compute,
            works: true,
            error: Some(error),
            reason: String::new(),
            tf32: false,
        },
        Ok(Ok(error)) => failed(
            Some(error),
            format!("a small computation is off by {error:.1e} of its largest value"),
        ),
    }
}

/// Largest error of `sqrt(1 + (a b)²)` on the device against the host, relative to the largest value.
fn compute_error(device: &Device, compute: ComputeType) -> Result<f64, String> {
    const M: usize = 16;
    const K: usize = 24;
    const N: usize = 8;
    // Sixteenths from -1 to 1: numbers of all three types, whose products and sums are those of f32.
    let a: Vec<f32> = (0..M * K)
        .map(|i| ((i * 7 % 33) as f32 - 16.0) / 16.0)
        .collect();
    let b: Vec<f32> = (0..K * N)
        .map(|i| ((i * 5 % 31) as f32 - 15.0) / 16.0)
        .collect();
    let tensor = |values: &[f32], shape: [usize; 2]| {
        Tensor::<2>::from_data(
            TensorData::new(values.to_vec(), shape),
            (device, DType::F32),
        )
        .cast(DType::from(compute.float_type()))
    };
    let found = matmul(tensor(&a, [M, K]), tensor(&b, [K, N]))
        .square()
        .add_scalar(1.0)
        .sqrt()
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .map_err(|error| format!("the computation failed: {error}"))?;
    let (mut error, mut largest) = (0.0f64, 0.0f64);
    for (place, &value) in found.iter().enumerate() {
        let (row, column) = (place / N, place % N);
        let product: f64 = (0..K)
            .map(|k| f64::from(a[row * K + k]) * f64::from(b[k * N + column]))
            .sum();
        let expected = (1.0 + product * product).sqrt();
        let difference = (f64::from(value) - expected).abs();
        // NaN is the largest error.
        error = if difference.is_nan() {
            f64::INFINITY
        } else {
            error.max(difference)
        };
        largest = largest.max(expected);
    }
    match found.len() == M * N {
        true => Ok(error / largest),
        false => Err(format!(
            "{} values came back, expected {}",
            found.len(),
            M * N
        )),
    }
}

/// The number type to compute in where none is asked for: bf16 where it works, else f32. `flex` computes bf16 through f32,
/// slowly: f32 there.
pub fn best_compute(device: &Device) -> ComputeType {
    if is_flex(device) {
        return ComputeType::F32;
    }
    best_of(&[try_compute(device, ComputeType::Bf16)], false)
}

/// The number type to compute in where a model was made in `asked`: that one if the device has it, else the best. On `flex`
/// always f32.
pub fn compute_for(device: &Device, asked: ComputeType) -> ComputeType {
    match asked {
        ComputeType::F32 => asked,
        _ if !is_flex(device) && try_compute(device, asked).works => asked,
        _ => best_compute(device),
    }
}

/// A model for its device: one that was trained in bf16 elsewhere computes in the best type there is here, see [`compute_for`].
#[must_use]
pub fn fit(model: Hrm) -> Hrm {
    let compute = compute_for(&model.device(), model.config().compute);
    model.with_compute(compute)
}

pub(super) fn best_of(tried: &[Trial], flex: bool) -> ComputeType {
    let works = |trial: &Trial| trial.works && trial.compute == ComputeType::Bf16;
    match !flex && tried.iter().any(works) {
        true => ComputeType::Bf16,
        false => ComputeType::F32,
    }
}

/// Refuses a number type that the device doesn't compute in.
///
/// # Errors
/// [`DeviceError::Compute`] names what works.
pub fn check_compute(device: &Device, compute: ComputeType) -> Result<(), DeviceError> {
    let tried = try_compute(device, compute);
    if tried.works {
        return Ok(());
    }
    let works: Vec<&str> = trials(device)
        .iter()
        .filter(|trial| trial.works)
        .map(|trial| compute_name(trial.compute))
        .collect();
    Err(DeviceError::Compute {
        asked: compute_name(compute),
        reason: tried.reason,
        works: match works.is_empty() {
            true => "no type that was tried".to_owned(),
            false => works.join(", "),
        },
        remedy: compute_name(best_compute(device)),
    })
}

/// What a device calls itself, such as `NVIDIA H200`; none of the CPU, or where the backend doesn't tell.
pub fn device_name(device: &Device) -> Option<String> {
    #[cfg(any(
        feature = "cuda",
        feature = "rocm",
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal"
    ))]
    return tried(|| device.identity().map(|identity| identity.name))
        .ok()
        .flatten();
    #[cfg(not(any(
        feature = "cuda",
        feature = "rocm",
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal"
    )))]
    {
        let _ = device;
        None
    }
}

/// Runs what may panic in a driver; the error is what the first panic said, be it on a thread of the backend. Nothing is
/// printed meanwhile.
pub(super) fn tried<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    listened(work, |_, _| ())
}

/// Runs what a backend computes. A backend that can't panics, on its own thread or on the caller's; what the first panic said is
/// the error. Panics are printed as ever.
///
/// It listens by the panic hook of the process, which is as before when it returns: a hook that is set meanwhile is lost. One caller
/// at a time: another thread's call, and what looks for devices, waits; a call within `work` hears the panics of its own thread only.
///
/// # Errors
/// If `work` panics.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    listened(work, |hook, info| hook(info))
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

fn listened<T>(
    work: impl FnOnce() -> T,
    and: impl Fn(&Hook, &PanicHookInfo<'_>) + Send + Sync + 'static,
) -> Result<T, String> {
    // The hook is the process's: one caller at a time swaps it.
    static ONE: Mutex<()> = Mutex::new(());
    thread_local! {
        static LISTENS: Cell<bool> = const { Cell::new(false) };
    }
    if LISTENS.replace(true) {
        // Called within the work of another call, which holds the hook.
        return catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            one_line(
                text.or(payload.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic"),
            )
        });
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = Arc::new(Mutex::new(String::new()));
    // Behind a lock only to be had back.
    let before = Arc::new(Mutex::new(Some(take_hook())));
    set_hook({
        let (said, before) = (said.clone(), before.clone());
        Box::new(move |info| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            // What follows the first is mostly that its thread is gone.
            if said.is_empty() {
                *said = info.payload_as_str().unwrap_or("a panic").to_owned();
            }
            drop(said);
            if let Some(hook) = &*before.lock().unwrap_or_else(PoisonError::into_inner) {
                and(hook, info);
            }
        })
    });
    let result = catch_unwind(AssertUnwindSafe(work));
    let hook = before.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(hook) = hook {
        set_hook(hook);
    }
    LISTENS.set(false);
    result.map_err(|_| one_line(&said.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Reasons stand in tables.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_every_type_and_best_in_f32() {
        let device = Device::flex();
        let tried = trials(&device);
        let types: Vec<ComputeType> = tried.iter().map(|trial| trial.compute).collect();
        assert_eq!(
            types,
            [ComputeType::F32, ComputeType::Bf16, ComputeType::F16]
        );
        assert!(tried.iter().all(|trial| trial.works), "{tried:?}");
        assert_eq!(best_compute(&device), ComputeType::F32);
        check_compute(&device, ComputeType::Bf16).unwrap();
        for asked in types {
            assert_eq!(compute_for(&device, asked), ComputeType::F32);
        }
    }

    #[test]
    fn the_best_type_is_one_that_works() {
        let trial = |compute, works| Trial {
            compute,
            works,
            error: None,
            reason: String::new(),
            tf32: false,
        };
        let bf16 = |works| {
            [
                trial(ComputeType::F32, true),
                trial(ComputeType::Bf16, works),
            ]
        };
        assert_eq!(best_of(&bf16(true), false), ComputeType::Bf16);
        assert_eq!(best_of(&bf16(false), false), ComputeType::F32);
        assert_eq!(best_of(&bf16(true), true), ComputeType::F32);
    }

    #[test]
    fn a_panic_is_no_answer_and_says_why() {
        assert_eq!(tried(|| 7), Ok(7));
        assert_eq!(
            tried(|| -> u8 { panic!("a driver") }),
            Err("a driver".to_owned())
        );
        let said = tried(|| -> u8 { panic!("no library\nof {}", "that name") });
        assert_eq!(said, Err("no library of that name".to_owned()));
        let said = tried(|| (tried(|| -> u8 { panic!("within {}", 1) }), tried(|| 2)));
        assert_eq!(said, Ok((Err("within 1".to_owned()), Ok(2))));
        // A backend's thread panics first, and then whoever waits for it.
        let said = tried(|| {
            let thread = std::thread::spawn(|| panic!("no compiler"));
            thread.join().expect("the thread's answer");
        });
        assert_eq!(said, Err("no compiler".to_owned()));
    }

    #[test]
    fn whole_operands_are_told_from_rounded_ones() {
        let device = Device::flex();
        assert!(!rounds_operands(&device, [8, 256, 8]));
        assert!(!products_in_tf32(&device));
    }
}
