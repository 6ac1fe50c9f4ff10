//! Holds a device against the CPU, part by part: the same inputs, the same weights, the same draws, computed by `flex` in f32 and
//! by the device in the number type asked for.
//!
//! The traces of the reference programs ([`crate::train::conformance`]) say whether the CPU computes what the papers' programs
//! do; this says whether a device computes what the CPU does. Of single operations the CPU's side is computed by Burn's plain operations
//! or by loops in f64, so that the CPU can be held too; whole models have the CPU's own results.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hrm::conformance::{Suite, SuiteSize};
//!
//! let device = hrm::device::parse("wgpu")?;
//! for row in Suite::new(SuiteSize::Small).run(&device, |_| ())? {
//!     println!("{:<50} {:.1e} of {:.0e}", row.quantity, row.largest_error, row.tolerance);
//! }
//! # Ok(())
//! # }
//! ```

mod host;
mod parts;
mod training;

use burn::tensor::{DType, Device};
use hrm_core::ComputeType;
use hrm_train::conformance::Comparison;
use serde::{Deserialize, Serialize};

use crate::device::is_flex;

/// Why a device could not be held against the CPU. An error beyond its tolerance is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformanceError {
    /// There is nothing to compare with.
    #[error("the parts are compared with the CPU's: build with `--features flex`")]
    NoReference,
    /// A type for which there is no tolerance.
    #[error("the parts are compared in f32 or bf16, not in {found}")]
    Compute {
        /// The type asked for.
        found: &'static str,
    },
    /// A name that is no part.
    #[error("no part has `{wanted}` in its name; the parts are {known}")]
    UnknownPart {
        /// What was asked for.
        wanted: String,
        /// The names there are.
        known: String,
    },
    /// The device failed.
    #[error("{part}: the device failed: {reason}")]
    Device {
        /// What was computed.
        part: &'static str,
        /// The backend's words.
        reason: String,
    },
    /// A model or a training could not be made.
    #[error(transparent)]
    Train(#[from] hrm_train::TrainError),
    /// A puzzle could not be answered.
    #[error(transparent)]
    Reason(#[from] hrm_act::ReasonError),
}

/// How large the tensors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuiteSize {
    /// Width 64 and 4x4 Sudoku: minutes on a software GPU.
    #[default]
    Small,
    /// The published Sudoku models with 1 x 2 cycles, for a GPU; the CPU takes minutes for its side.
    Published,
    /// The published Sudoku models in their whole batch, and the maze model, against parts of the batch on the same device; of the parts
    /// of the suite that one alone.
    Batch,
}

/// What is compared, and in what.
#[derive(Clone, Debug)]
pub struct Suite {
    size: SuiteSize,
    compute: ComputeType,
    only: Option<String>,
}

/// How far a suite has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A part begins.
    Begins(&'a str),
    /// A part has ended with these rows.
    Ended(&'a [Comparison]),
}

/// A part: what it computes is compared quantity by quantity.
struct Part {
    name: &'static str,
    /// Whether it holds matrix products, which a device may compute in TF32.
    products: bool,
    /// What its expected values are computed by.
    by: By,
    run: fn(&Setting) -> Result<Vec<Quantity>, ConformanceError>,
}

/// What computes the expected values of a part: on the CPU, but for [`By::Itself`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Plain operations of Burn.
    Plain,
    /// Loops in f64, without Burn.
    Host,
    /// The operations that compute on any device, fused ones where there are.
    Same,
    /// The device itself, with a part of the batch at a time.
    Itself,
}

impl By {
    /// What is said of it where the device is the one that computes them.
    fn note(self) -> &'static str {
        match self {
            Self::Plain => "against Burn's plain operations",
            Self::Host => "against loops in f64",
            Self::Same => "against itself",
            Self::Itself => "against parts on the same device",
        }
    }
}

/// In what a part is to be computed.
struct Setting {
    /// Name of the part, for errors.
    part: &'static str,
    device: Device,
    compute: ComputeType,
    size: SuiteSize,
    /// Whether these are the expected values, computed as [`By`] says.
    expected: bool,
}

/// A result of a part.
struct Quantity {
    /// What it is; results of one name are reported as one, by their largest error.
    name: &'static str,
    values: Vec<f32>,
    measure: Measure,
}

/// What the error of a quantity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// The largest difference over the largest value expected.
    Largest,
    /// The norm of the difference over the norm of what was expected.
    Norm,
    /// The share of the values that are not equal.
    Unequal,
    /// The share of the values that are off by more than a hundredth of the largest value expected.
    Apart,
}

/// How a device computes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// In the type asked for.
    Type,
    /// In f32 but for its matrix products.
    Tf32,
    /// It is the CPU, which is what it is held against.
    Itself,
}

/// The parts in their order.
const PARTS: &[Part] = &[
    Part {
        name: "attention",
        products: true,
        by: By::Plain,
        run: parts::attention,
    },
    Part {
        name: "rope",
        products: false,
        by: By::Host,
        run: parts::rope,
    },
    Part {
        name: "norm",
        products: false,
        by: By::Plain,
        run: parts::norm,
    },
    Part {
        name: "swiglu",
        products: false,
        by: By::Plain,
        run: parts::swiglu,
    },
    Part {
        name: "mixer over positions",
        products: true,
        by: By::Plain,
        run: parts::mixer,
    },
    Part {
        name: "stablemax cross-entropy",
        products: false,
        by: By::Plain,
        run: parts::stablemax,
    },
    Part {
        name: "softmax cross-entropy",
        products: false,
        by: By::Plain,
        run: parts::softmax,
    },
    Part {
        name: "AdamAtan2",
        products: false,
        by: By::Plain,
        run: parts::adam_atan2,
    },
    Part {
        name: "sparse SignSGD",
        products: false,
        by: By::Host,
        run: parts::sparse_sign_sgd,
    },
    Part {
        name: "narrow q head of a batch",
        products: true,
        by: By::Host,
        run: parts::narrow_q_head,
    },
    Part {
        name: "select and cat of the input",
        products: false,
        by: By::Host,
        run: parts::select_and_cat,
    },
    Part {
        name: "chain of autotuned products",
        products: true,
        by: By::Host,
        run: parts::chain_of_products,
    },
    Part {
        name: "segment",
        products: true,
        by: By::Same,
        run: training::segment,
    },
    Part {
        name: "training step",
        products: true,
        by: By::Same,
        run: training::step,
    },
    Part {
        name: "batch in parts",
        products: true,
        by: By::Itself,
        run: training::batch_in_parts,
    },
    Part {
        name: "50 training steps",
        products: true,
        by: By::Same,
        run: training::fifty_steps,
    },
    Part {
        name: "adaptive inference",
        products: true,
        by: By::Same,
        run: training::adaptive,
    },
];

/// f32 on another device than the CPU: what its other orders of summation may make of it.
const F32_TOLERANCE: f64 = 1e-3;
/// Answers and halts that a rounding may turn over.
const F32_UNEQUAL: f64 = 0.01;
/// What TF32, whose numbers have 11 bits, is off where bf16, whose numbers have 8, is off by 1.
const TF32_OF_BF16: f64 = 1.0 / 8.0;

/// The largest error of bfloat16 against float32 in PyTorch 2.15 on a CPU, by quantity: at the small and at the published size.
/// Measured by `benches/pytorch/bf16_error.py`, the largest of 20 seeds at the small size (of adaptive inference's unequal answers, which
/// follow from close decisions, the mean: twice the largest would be nearly all), one seed at the published; a device may have twice as much.
/// What was not measured at the published size (50 steps), or of which one seed says too little (no slot of it halted otherwise), has the
/// small one's.
const PYTORCH_BF16: &[(&str, f64, Option<f64>)] = &[
    ("attention", 8.97e-03, Some(8.71e-03)),
    ("attention: gradient", 9.17e-03, Some(7.92e-03)),
    ("rope", 5.42e-03, Some(5.27e-03)),
    ("rope: gradient", 5.46e-03, Some(5.09e-03)),
    ("norm", 6.52e-03, Some(7.71e-03)),
    ("norm: gradient", 6.12e-03, Some(5.37e-03)),
    ("swiglu", 1.09e-02, Some(1.25e-02)),
    ("swiglu: gradient", 9.90e-03, Some(1.18e-02)),
    ("mixer over positions", 7.79e-03, Some(6.12e-03)),
    ("mixer over positions: gradient", 7.72e-03, Some(5.21e-03)),
    ("stablemax cross-entropy", 2.63e-04, Some(5.50e-05)),
    (
        "stablemax cross-entropy: gradient",
        3.43e-03,
        Some(2.44e-03),
    ),
    ("softmax cross-entropy", 9.51e-04, Some(2.00e-04)),
    ("softmax cross-entropy: gradient", 1.00e-02, Some(5.53e-03)),
    ("narrow q head of a batch", 5.88e-03, Some(4.14e-03)),
    (
        "narrow q head of a batch: gradient",
        9.22e-03,
        Some(4.93e-03),
    ),
    ("select and cat of the input", 6.07e-03, Some(6.30e-03)),
    (
        "select and cat of the input: gradient",
        1.57e-02,
        Some(2.79e-02),
    ),
    ("chain of autotuned products", 1.14e-02, Some(9.11e-03)),
    (
        "chain of autotuned products: gradient",
        1.36e-02,
        Some(1.10e-02),
    ),
    ("segment: z_h", 1.78e-01, Some(5.26e-02)),
    ("segment: z_l", 1.39e-01, Some(4.07e-02)),
    ("segment: logits", 7.52e-02, Some(4.74e-02)),
    ("segment: q_halt", 1.74e-01, Some(4.43e-02)),
    ("training step: loss", 8.05e-03, Some(2.95e-03)),
    ("training step: q_halt", 1.82e-01, Some(2.92e-02)),
    ("training step: halted", 1.67e-01, None),
    ("training step: gradients", 1.69e-01, Some(5.10e-02)),
    ("training step: weights moved", 1.54e-01, Some(1.05e-01)),
    ("training step: puzzle rows moved", 7.81e-02, Some(3.52e-02)),
    ("adaptive inference: segments", 1.35e-01, None),
    ("adaptive inference: cells", 1.75e-01, Some(4.24e-02)),
    ("50 training steps: loss", 7.98e-03, None),
    ("50 training steps: norms of the weights", 4.67e-03, None),
];

impl Suite {
    /// All parts in f32.
    pub fn new(size: SuiteSize) -> Self {
        Self {
            size,
            compute: ComputeType::F32,
            only: None,
        }
    }

    /// In another number type: bf16, against the CPU's f32.
    #[must_use]
    pub fn in_type(mut self, compute: ComputeType) -> Self {
        self.compute = compute;
        self
    }

    /// Only the parts with `pattern` in their names.
    #[must_use]
    pub fn only(mut self, pattern: &str) -> Self {
        self.only = Some(pattern.to_owned());
        self
    }

    /// Runs the parts and gives the rows of all; `progress` is told of each part when it begins and when it has ended. A part that
    /// fails on a device, by an error or a panic of the backend, is a row that is over its tolerance, with the reason as its note.
    ///
    /// # Errors
    /// If `flex` isn't built in, the type is f16, or nothing has the name asked for.
    pub fn run(
        &self,
        device: &Device,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<Vec<Comparison>, ConformanceError> {
        if self.compute == ComputeType::F16 {
            return Err(ConformanceError::Compute {
                found: crate::device::compute_name(self.compute),
            });
        }
        let reference = reference().ok_or(ConformanceError::NoReference)?;
        let wanted = |part: &&Part| {
            let wanted = |pattern: &String| part.name.contains(pattern.as_str());
            let of_size = self.size != SuiteSize::Batch || part.by == By::Itself;
            of_size && self.only.as_ref().is_none_or(wanted)
        };
        let parts: Vec<&Part> = PARTS.iter().filter(wanted).collect();
        if parts.is_empty() {
            let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            return Err(ConformanceError::UnknownPart {
                wanted: self.only.clone().unwrap_or_default(),
                known: names.join(", "),
            });
        }
        let tf32 = self.compute == ComputeType::F32 && crate::device::products_in_tf32(device);
        let mut rows = Vec::new();
        for part in parts {
            progress(Progress::Begins(part.name));
            let compute = |device: &Device, compute, expected| {
                let setting = Setting {
                    part: part.name,
                    device: device.clone().without_autodiff(),
                    compute,
                    size: self.size,
                    expected,
                };
                guarded(part, &setting)
            };
            let (by, its_type) = match part.by {
                By::Itself => (device, self.compute),
                _ => (&reference, ComputeType::F32),
            };
            let computed = compute(by, its_type, true)
                .and_then(|expected| Ok((compute(device, self.compute, false)?, expected)));
            let first = rows.len();
            match computed {
                Ok((found, expected)) => {
                    let how = match (is_flex(device), tf32 && part.products) {
                        (true, _) => How::Itself,
                        (_, true) => How::Tf32,
                        (_, false) => How::Type,
                    };
                    self.compare(part, &found, &expected, how, &mut rows);
                }
                Err(error) => rows.push(Comparison {
                    quantity: part.name.to_owned(),
                    largest_error: f64::NAN,
                    tolerance: F32_TOLERANCE,
                    note: error.to_string(),
                }),
            }
            progress(Progress::Ended(&rows[first..]));
        }
        Ok(rows)
    }

    fn compare(
        &self,
        part: &Part,
        found: &[Quantity],
        expected: &[Quantity],
        how: How,
        rows: &mut Vec<Comparison>,
    ) {
        let first = rows.len();
        let is_same = (found.iter().map(|q| q.name)).eq(expected.iter().map(|q| q.name));
        if !is_same || found.is_empty() {
            rows.push(Comparison {
                quantity: part.name.to_owned(),
                largest_error: f64::NAN,
                tolerance: F32_TOLERANCE,
                note: format!(
                    "{} quantities were computed, {} are expected",
                    found.len(),
                    expected.len()
                ),
            });
            return;
        }
        for (found, expected) in found.iter().zip(expected) {
            let error = error(found, expected);
            let quantity = match found.name {
                "" => part.name.to_owned(),
                name => format!("{}: {name}", part.name),
            };
            match rows[first..]
                .iter_mut()
                .find(|row| row.quantity == quantity)
            {
                Some(row) if error.is_nan() || error > row.largest_error => {
                    row.largest_error = error
                }
                Some(_) => {}
                None => rows.push(Comparison {
                    tolerance: self.tolerance(&quantity, found.measure, how),
                    largest_error: error,
                    note: match (found.measure, how) {
                        _ if part.by == By::Itself => part.by.note().to_owned(),
                        (Measure::Unequal | Measure::Apart, How::Tf32) => {
                            "share of unequal values, products in TF32".to_owned()
                        }
                        (Measure::Unequal | Measure::Apart, _) => {
                            "share of unequal values".to_owned()
                        }
                        (_, How::Tf32) => "products in TF32".to_owned(),
                        (_, How::Itself) if self.compute == ComputeType::F32 => {
                            part.by.note().to_owned()
                        }
                        _ => String::new(),
                    },
                    quantity,
                }),
            }
        }
    }

    /// The tolerance of a quantity; of bf16 twice PyTorch's error, or that of f32 where PyTorch computes it in f32 too; of f32
    /// whose products are in TF32 an eighth of bf16's.
    fn tolerance(&self, quantity: &str, measure: Measure, how: How) -> f64 {
        let f32 = match measure {
            Measure::Unequal | Measure::Apart => F32_UNEQUAL,
            Measure::Largest | Measure::Norm => F32_TOLERANCE,
        };
        // A part of a batch is a step like another.
        let step = quantity.strip_prefix("batch in parts: ");
        let step = step.map(|name| format!("training step: {name}"));
        let name = step.as_deref().unwrap_or(quantity);
        let Some((_, small, published)) = PYTORCH_BF16.iter().find(|(known, ..)| *known == name)
        else {
            return f32;
        };
        let bf16 = 2.0
            * match self.size {
                SuiteSize::Small => *small,
                SuiteSize::Published | SuiteSize::Batch => published.unwrap_or(*small),
            };
        match (self.compute, how) {
            (ComputeType::Bf16, _) => f32.max(bf16),
            (_, How::Tf32) => f32.max(TF32_OF_BF16 * bf16),
            _ => f32,
        }
    }
}

/// The device that all others are held against.
fn reference() -> Option<Device> {
    #[cfg(feature = "flex")]
    return Some(Device::flex());
    #[cfg(not(feature = "flex"))]
    None
}

/// A backend that can't do something panics, on its own thread or on ours.
fn guarded(part: &Part, setting: &Setting) -> Result<Vec<Quantity>, ConformanceError> {
    crate::device::attempt(|| (part.run)(setting)).unwrap_or_else(|reason| {
        Err(ConformanceError::Device {
            part: setting.part,
            reason,
        })
    })
}

/// NaN where a value is missing or no number.
fn error(found: &Quantity, expected: &Quantity) -> f64 {
    if found.values.len() != expected.values.len() {
        return f64::NAN;
    }
    let pairs = || {
        let pairs = found.values.iter().zip(&expected.values);
        pairs.map(|(&a, &b)| (f64::from(a), f64::from(b)))
    };
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |largest: f64, value| {
            match value.is_nan() || largest.is_nan() {
                true => f64::NAN,
                false => largest.max(value),
            }
        })
    };
    let share = |is: &dyn Fn(f64, f64) -> bool| {
        let count = pairs().filter(|&(a, b)| is(a, b)).count();
        count as f64 / found.values.len().max(1) as f64
    };
    let over = |difference: f64, size: f64| match size > 0.0 {
        true => difference / size,
        false => difference,
    };
    match found.measure {
        Measure::Largest => over(
            largest(&mut pairs().map(|(a, b)| (a - b).abs())),
            largest(&mut pairs().map(|(_, b)| b.abs())),
        ),
        Measure::Norm => over(
            pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            pairs().map(|(_, b)| b.powi(2)).sum::<f64>().sqrt(),
        ),
        Measure::Unequal => share(&|a, b| a != b),
        Measure::Apart => {
            let near = 0.01 * largest(&mut pairs().map(|(_, b)| b.abs()));
            // A NaN is near nothing.
            1.0 - share(&|a, b| (a - b).abs() <= near)
        }
    }
}

impl Setting {
    fn dtype(&self) -> DType {
        self.compute.float_type().into()
    }

    fn device_error(&self, error: impl std::fmt::Display) -> ConformanceError {
        ConformanceError::Device {
            part: self.part,
            reason: error.to_string(),
        }
    }

    /// The values of a tensor as a result.
    fn read<const D: usize>(
        &self,
        name: &'static str,
        measure: Measure,
        tensor: burn::tensor::Tensor<D>,
    ) -> Result<Quantity, ConformanceError> {
        let values = tensor
            .without_autodiff()
            .cast(DType::F32)
            .try_into_vec_as::<f32>()
            .map_err(|error| self.device_error(error))?;
        Ok(Quantity {
            name,
            values,
            measure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(values: &[f32], measure: Measure) -> Quantity {
        Quantity {
            name: "",
            values: values.to_vec(),
            measure,
        }
    }

    #[test]
    fn errors_by_hand() {
        let of = |found: &[f32], expected: &[f32], measure| {
            error(&quantity(found, measure), &quantity(expected, measure))
        };
        assert_eq!(of(&[1.0, -4.5], &[1.5, -4.0], Measure::Largest), 0.125);
        assert_eq!(of(&[3.0, 0.0], &[0.0, 4.0], Measure::Norm), 1.25);
        assert_eq!(
            of(
                &[1.0, 2.0, 3.0, 4.0],
                &[1.0, 2.0, 3.0, 5.0],
                Measure::Unequal
            ),
            0.25
        );
        assert_eq!(
            of(
                &[1.009, 0.011, f32::NAN, 0.0],
                &[1.0, 0.0, 0.5, 0.0],
                Measure::Apart
            ),
            0.5
        );
        assert_eq!(of(&[0.5], &[0.0], Measure::Largest), 0.5);
        assert!(of(&[1.0], &[1.0, 2.0], Measure::Norm).is_nan());
        assert!(of(&[f32::NAN, 1.0], &[1.0, 1.0], Measure::Largest).is_nan());
    }

    #[test]
    fn tolerances_by_hand() {
        let of = |compute, quantity, measure, how| {
            let suite = Suite::new(SuiteSize::Small).in_type(compute);
            suite.tolerance(quantity, measure, how)
        };
        let (f32, bf16) = (ComputeType::F32, ComputeType::Bf16);
        assert_eq!(of(f32, "segment: z_h", Measure::Largest, How::Type), 1e-3);
        assert_eq!(of(bf16, "segment: z_h", Measure::Largest, How::Type), 0.356);
        assert_eq!(of(f32, "segment: z_h", Measure::Largest, How::Tf32), 0.0445);
        let halted = "training step: halted";
        assert_eq!(of(f32, halted, Measure::Unequal, How::Type), 0.01);
        assert_eq!(of(f32, halted, Measure::Unequal, How::Tf32), 0.04175);
        assert_eq!(
            of(bf16, "AdamAtan2: weight", Measure::Largest, How::Type),
            1e-3
        );
    }

    #[test]
    fn a_part_that_fails_says_why() {
        let part = |run| Part {
            name: "none",
            products: false,
            by: By::Same,
            run,
        };
        let setting = Setting {
            part: "none",
            device: reference().unwrap(),
            compute: ComputeType::F32,
            size: SuiteSize::Small,
            expected: false,
        };
        let said = |run| match guarded(&part(run), &setting) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        let panics = said(|_| panic!("no kernel"));
        assert_eq!(panics, "none: the device failed: no kernel");
        let fails = said(|setting| Err(setting.device_error("it is gone")));
        assert_eq!(fails, "none: the device failed: it is gone");
    }

    #[test]
    fn a_part_that_does_not_exist_is_named() {
        let error = Suite::new(SuiteSize::Small)
            .only("atention")
            .run(&reference().unwrap(), |_| ())
            .unwrap_err();
        assert!(
            error.to_string().contains("attention, rope, norm"),
            "{error}"
        );
    }
}
