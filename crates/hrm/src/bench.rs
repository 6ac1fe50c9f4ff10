//! Times what a model spends its time in, on any device: training steps, inference segments, adaptive inference, the drawing of
//! batches. `hrm bench` and `cargo bench` are this.
//!
//! A row is named `MODEL/WHAT/COMPUTE/BATCH`, as `docs/results/README.md` defines it; reports are compared by these names. Each
//! row stands beside the largest rate of a matrix product that the same device reaches in the same run.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hrm::bench::Bench;
//!
//! let mut bench = Bench::on(Some("flex"))?;
//! bench.only = vec!["hrm-sudoku-1k/".to_owned(), "trm-small".to_owned()];
//! let report = bench.run(|row| println!("{row}"))?;
//! println!("{}", report.markdown());
//! # Ok(())
//! # }
//! ```

mod model;
mod report;

use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use hrm_core::ops::matmul;
use hrm_core::{ComputeType, MixerKind};
use hrm_train::TrainConfig;

pub use model::{MODELS, What};
pub use report::{Compared, Machine, Matmul, Report, Row};

use crate::device::{self, DeviceError, Footprint, compute_name, is_flex};
use model::{Case, Work};

/// What a matrix product is timed over at least.
const QUEUED_SECONDS: f64 = 0.02;

/// Why a benchmark could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No row has such a name.
    #[error("no row has `{pattern}` in its name; the rows are {rows}")]
    NoRow {
        /// What was asked for.
        pattern: String,
        /// The rows there are.
        rows: String,
    },
    /// The device is not there, or not up to it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model or its data could not be made.
    #[error(transparent)]
    Train(#[from] hrm_train::TrainError),
    /// The device failed at a row.
    #[error("{row}: the device failed: {reason}")]
    Failed {
        /// The row.
        row: String,
        /// The backend's words.
        reason: String,
    },
}

/// What to time, and how often.
#[derive(Clone, Debug)]
pub struct Bench {
    name: String,
    device: Device,
    /// Only rows with one of these in their names; all rows where there is none.
    pub only: Vec<String>,
    /// Whether to measure the rates of matrix products, without which no row has a share.
    pub matmuls: bool,
    /// Number type; the device's best where none is given.
    pub compute: Option<ComputeType>,
    /// Slots; of each model its own number where none is given.
    pub batch: Option<usize>,
    /// Calls that count, at least 1.
    pub repeats: usize,
    /// Calls before the clock starts, in which kernels are compiled and chosen.
    pub warm_up: usize,
}

impl Bench {
    /// On the device of a name, or the default one: 7 repeats after 2 calls.
    ///
    /// # Errors
    /// As [`device::parse`].
    pub fn on(name: Option<&str>) -> Result<Self, BenchError> {
        Ok(Self {
            device: device::choose(name)?,
            name: device::chosen_name(name),
            only: Vec::new(),
            matmuls: true,
            compute: None,
            batch: None,
            repeats: 7,
            warm_up: 2,
        })
    }

    /// The names of the rows that would be timed.
    pub fn rows(&self) -> Vec<String> {
        self.cases().iter().map(Case::name).collect()
    }

    fn compute(&self) -> ComputeType {
        self.compute
            .unwrap_or_else(|| device::best_compute(&self.device))
    }

    fn cases(&self) -> Vec<Case> {
        let compute = self.compute();
        let cases = MODELS.iter().flat_map(|model| {
            What::ALL.map(|what| Case {
                model,
                what,
                compute,
                batch: self.batch.unwrap_or(match is_flex(&self.device) {
                    true => model.cpu_batch,
                    false => model.gpu_batch,
                }),
            })
        });
        let wanted = |case: &Case| {
            let name = case.name();
            self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern))
        };
        cases.filter(wanted).collect()
    }

    /// Times the rows one after the other, each told to `done` as soon as it is timed; otherwise as [`Bench::run_with`].
    ///
    /// # Errors
    /// As [`Bench::run_with`].
    pub fn run(&self, mut done: impl FnMut(&Row)) -> Result<Report, BenchError> {
        let mut told = 0;
        self.run_with(|report| {
            report.rows[told..].iter().for_each(&mut done);
            told = report.rows.len();
        })
    }

    /// Times the rows one after the other; after the matrix products and after each row `so_far` is shown what there is, so that
    /// it can be kept whatever becomes of the rest. A row that the device has not the memory for is left out, one at which
    /// the device fails, by an error or a panic of the backend, is among those that failed, and the report says why.
    ///
    /// # Errors
    /// If no row has the name asked for, or the device can't compute in the type.
    pub fn run_with(&self, mut so_far: impl FnMut(&Report)) -> Result<Report, BenchError> {
        let cases = self.cases();
        let hits = |pattern: &&String| cases.iter().any(|case| case.name().contains(*pattern));
        if let Some(pattern) = self.only.iter().find(|pattern| !hits(pattern)) {
            let all = Self {
                only: Vec::new(),
                ..self.clone()
            };
            return Err(BenchError::NoRow {
                pattern: pattern.clone(),
                rows: all.rows().join(", "),
            });
        }
        let compute = self.compute();
        device::check_compute(&self.device, compute)?;
        let mut report = Report {
            program: Some(format!("hrm {}", env!("CARGO_PKG_VERSION"))),
            date: Some(humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()),
            machine: Machine::this(&self.device),
            device: self.name.clone(),
            versions: report::versions(),
            matmul_gflops: None,
            matmuls: Vec::new(),
            rows: Vec::new(),
            skipped: Vec::new(),
            failed: Vec::new(),
        };
        // The products are of the shapes of these rows.
        let mut fitting = Vec::with_capacity(cases.len());
        for case in cases {
            match self.check_memory(&case) {
                Ok(()) => fitting.push(case),
                Err(error @ BenchError::Device(DeviceError::TooLittleMemory { .. })) => {
                    report.skipped.push(format!("{}: {error}", case.name()));
                }
                Err(error) => return Err(error),
            }
        }
        if !report.skipped.is_empty() {
            so_far(&report);
        }
        if self.matmuls && !fitting.is_empty() {
            self.sweep(&fitting, compute, &mut report)?;
            so_far(&report);
        }
        for case in &fitting {
            match self.row(case, report.matmul_gflops) {
                Ok(row) => report.rows.push(row),
                Err(error @ BenchError::Failed { .. }) => report.failed.push(error.to_string()),
                Err(error) => return Err(error),
            }
            so_far(&report);
        }
        Ok(report)
    }

    /// Refuses a row that the device has not the memory for.
    fn check_memory(&self, case: &Case) -> Result<(), BenchError> {
        let config = case.config()?;
        let is_flex = is_flex(&self.device);
        let footprint = |slots| match case.what {
            What::Train => {
                let config = TrainConfig {
                    batch_size: slots,
                    ..config.clone()
                };
                Footprint::training(&config, is_flex)
            }
            What::Segment | What::Adaptive => Footprint::inference(&config.model, is_flex, slots),
            What::Data => Footprint {
                fixed: 0,
                per_slot: 0,
            },
        };
        Ok(device::check_memory(&self.device, footprint, case.batch)?)
    }

    fn row(&self, case: &Case, best: Option<f64>) -> Result<Row, BenchError> {
        let failed = |reason: String| BenchError::Failed {
            row: case.name(),
            reason,
        };
        let config = case.config()?;
        let timed = device::attempt(|| {
            report::forget_peak(&self.device);
            let mut work = Work::prepare(case, config, &self.device).map_err(|e| e.to_string())?;
            let times = self.times(|| work.call())?;
            let memory = report::peak_mib(&self.device);
            work.check()?;
            Ok((times, memory, work.flops()))
        });
        let (times, memory, flops) = timed.and_then(|timed| timed).map_err(failed)?;
        let seconds = median(&times);
        let ms = |seconds: f64| seconds * 1e3;
        let gflops = flops.map(|flops| flops / seconds * 1e-9);
        Ok(Row {
            name: case.name(),
            model: case.model.name.to_owned(),
            what: case.what,
            compute: case.compute,
            batch: case.batch,
            ms: ms(seconds),
            ms_min: times.first().copied().map(ms),
            ms_max: times.last().copied().map(ms),
            repeats: Some(times.len()),
            samples_per_s: case.batch as f64 / seconds,
            gflops,
            share: gflops.zip(best).map(|(rate, best)| rate / best),
            memory_mib: memory.filter(|_| case.what != What::Data),
        })
    }

    /// The rates of matrix products `[m, k] x [k, n]`: two square sizes and the models' own.
    fn sweep(
        &self,
        cases: &[Case],
        compute: ComputeType,
        report: &mut Report,
    ) -> Result<(), BenchError> {
        let mut shapes = vec![[2048, 2048, 2048], [4096, 4096, 4096]];
        for case in cases.iter().filter(|case| case.what != What::Data) {
            let model = case.config()?.model;
            let (d, length) = (model.hidden_size, model.total_len());
            let swiglu = |rows: usize, width: usize| {
                let inner = model.swiglu_width(width);
                [[rows, width, 2 * inner], [rows, inner, width]]
            };
            shapes.extend(swiglu(case.batch * length, d));
            match model.mixer {
                // Queries, keys and values are one product.
                MixerKind::Attention => shapes.push([case.batch * length, d, 3 * d]),
                MixerKind::Mlp => shapes.extend(swiglu(case.batch * d, length)),
            }
        }
        shapes.sort_unstable();
        shapes.dedup();
        for [m, k, n] in shapes {
            let timed = device::attempt(|| {
                let random = |shape: [usize; 2]| {
                    Tensor::<2>::random(shape, Distribution::Default, &self.device)
                        .cast(dtype(compute))
                };
                let (a, b) = (random([m, k]), random([k, n]));
                let mut product = None;
                let times = self.queued_times(|| product = Some(matmul(a.clone(), b.clone())))?;
                model::check_finite(product.into_iter().map(|product| product.narrow(0, 0, 1)))?;
                Ok(times)
            });
            match timed.and_then(|timed| timed) {
                Ok(times) => {
                    let seconds = median(&times);
                    report.matmuls.push(Matmul {
                        m,
                        k,
                        n,
                        compute,
                        ms: seconds * 1e3,
                        gflops: 2e-9 * m as f64 * k as f64 * n as f64 / seconds,
                    });
                }
                Err(reason) => report.failed.push(
                    BenchError::Failed {
                        row: format!("matmul {m} x {k} x {n}"),
                        reason,
                    }
                    .to_string(),
                ),
            }
        }
        let rates = report.matmuls.iter().map(|matmul| matmul.gflops);
        report.matmul_gflops = rates.max_by(f64::total_cmp);
        Ok(())
    }

    /// Seconds of the calls that count, sorted, the device's work included.
    fn times(&self, call: impl FnMut() -> Result<(), String>) -> Result<Vec<f64>, String> {
        self.times_of(self.repeats.max(1), call)
    }

    /// As [`Bench::times`], of a call that may be too short beside the wait for it: as many follow each other between two waits as
    /// take [`QUEUED_SECONDS`].
    fn queued_times(&self, mut call: impl FnMut()) -> Result<Vec<f64>, String> {
        let one = self.times_of(1, || {
            call();
            Ok(())
        })?;
        let calls = (QUEUED_SECONDS / one[0]).ceil().clamp(1.0, 1e4);
        let times = self.times(|| {
            (0..calls as usize).for_each(|_| call());
            Ok(())
        })?;
        Ok(times.into_iter().map(|seconds| seconds / calls).collect())
    }

    fn times_of(
        &self,
        repeats: usize,
        mut call: impl FnMut() -> Result<(), String>,
    ) -> Result<Vec<f64>, String> {
        let wait = || self.device.sync().map_err(|error| error.to_string());
        let mut times = Vec::new();
        for repeat in 0..self.warm_up + repeats {
            wait()?;
            let start = Instant::now();
            call()?;
            wait()?;
            if repeat >= self.warm_up {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }
}

impl Case {
    fn name(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.model.name,
            self.what.name(),
            compute_name(self.compute),
            self.batch
        )
    }
}

fn dtype(compute: ComputeType) -> DType {
    DType::from(compute.float_type())
}

/// The middle one of sorted times, of an even number the mean of the two.
fn median(times: &[f64]) -> f64 {
    let middle = times.len() / 2;
    match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2.0,
        _ => times[middle],
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn a_small_row_is_timed_and_named() {
        let mut bench = Bench::on(Some("flex")).unwrap();
        bench.only = vec!["trm-small/".to_owned(), "trm-small-mlp/data".to_owned()];
        bench.batch = Some(2);
        (bench.repeats, bench.warm_up) = (1, 0);
        let names = [
            "trm-small/train/f32/2",
            "trm-small/segment/f32/2",
            "trm-small/adaptive/f32/2",
            "trm-small/data/f32/2",
            "trm-small-mlp/data/f32/2",
        ];
        assert_eq!(bench.rows(), names);
        let mut told = Vec::new();
        let report = bench.run(|row| told.push(row.name.clone())).unwrap();
        assert_eq!(told, names);
        for row in &report.rows {
            assert!(row.ms > 0.0 && row.samples_per_s > 0.0, "{row:?}");
            assert_eq!(row.gflops.is_some(), row.what != What::Data, "{row:?}");
        }
        // Two slots of 36 cells and one puzzle row, width 96: the square one, and queries, keys and values at once.
        for shape in [[4096, 4096, 4096], [74, 96, 288]] {
            let has = |matmul: &Matmul| [matmul.m, matmul.k, matmul.n] == shape;
            assert!(report.matmuls.iter().any(has), "{shape:?}");
        }
    }

    #[test]
    fn without_matrix_products_no_row_has_a_share() {
        let mut bench = Bench::on(Some("flex")).unwrap();
        bench.only = vec!["trm-small-mlp/segment".to_owned()];
        bench.batch = Some(2);
        (bench.repeats, bench.warm_up, bench.matmuls) = (1, 0, false);
        let report = bench.run(|_| ()).unwrap();
        assert_eq!((report.matmuls.len(), report.matmul_gflops), (0, None));
        assert!(report.rows[0].gflops.is_some() && report.rows[0].share.is_none());
    }

    #[test]
    fn what_there_is_is_shown_after_each_row() {
        let mut bench = Bench::on(Some("flex")).unwrap();
        bench.only = vec![
            "trm-small-mlp/segment".to_owned(),
            "trm-small/data".to_owned(),
        ];
        bench.batch = Some(2);
        (bench.repeats, bench.warm_up, bench.matmuls) = (1, 0, false);
        let mut counts = Vec::new();
        let whole = bench.run_with(|report| counts.push(report.rows.len()));
        assert_eq!((counts, whole.unwrap().failed), (vec![1, 2], Vec::new()));
    }

    #[test]
    fn a_row_that_does_not_exist_is_named() {
        let mut bench = Bench::on(Some("flex")).unwrap();
        bench.only = vec!["trm-small/".to_owned(), "sudouk".to_owned()];
        let error = bench.run(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("`sudouk`") && error.contains("hrm-sudoku-1k/train/f32/8"),
            "{error}"
        );
    }
}
