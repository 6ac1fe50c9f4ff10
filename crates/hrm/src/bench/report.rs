//! What was timed, as the JSON that the PyTorch twin writes too (`docs/results/README.md`), as Markdown, and against another.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use burn::tensor::Device;
use hrm_core::ComputeType;
use serde::{Deserialize, Serialize};

use super::What;
use crate::device::{compute_name, device_name, is_flex};

/// The timings of one run on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What timed, with its version.
    #[serde(default)]
    pub program: Option<String>,
    /// When, UTC.
    #[serde(default)]
    pub date: Option<String>,
    /// Where.
    pub machine: Machine,
    /// On which device.
    pub device: String,
    /// Versions of what computes.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// The best rate of `matmuls`, in 10^9 operations a second.
    pub matmul_gflops: Option<f64>,
    /// The sweep of matrix products.
    #[serde(default)]
    pub matmuls: Vec<Matmul>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Rows that were left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Rows and matrix products at which the device failed, and its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Its cores, as far as this process may use them.
    pub cores: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Main memory.
    pub memory_gib: f64,
    /// Operating system.
    pub os: String,
    /// Name of the GPU that computes; none of the CPU.
    pub gpu: Option<String>,
}

/// A matrix product `[m, k] x [k, n]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matmul {
    /// Rows.
    pub m: usize,
    /// Summed over.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Number type.
    pub compute: ComputeType,
    /// Median time, milliseconds.
    pub ms: f64,
    /// Rate, 10^9 operations a second.
    pub gflops: f64,
}

/// One timing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `MODEL/WHAT/COMPUTE/BATCH`.
    pub name: String,
    /// A preset's name, or `hrm-width-128`.
    pub model: String,
    /// What was timed.
    pub what: What,
    /// Number type.
    pub compute: ComputeType,
    /// Slots.
    pub batch: usize,
    /// Median time of a call, milliseconds.
    pub ms: f64,
    /// The shortest.
    #[serde(default)]
    pub ms_min: Option<f64>,
    /// The longest.
    #[serde(default)]
    pub ms_max: Option<f64>,
    /// Calls that counted.
    #[serde(default)]
    pub repeats: Option<usize>,
    /// Slots a second.
    pub samples_per_s: f64,
    /// Rate of the counted operations, 10^9 a second.
    #[serde(default)]
    pub gflops: Option<f64>,
    /// That rate over the largest of a matrix product in the same run.
    #[serde(default)]
    pub share: Option<f64>,
    /// What the device or the process held at most, MiB.
    #[serde(default)]
    pub memory_mib: Option<f64>,
}

/// A row of one report against the same row of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The row.
    pub name: String,
    /// Milliseconds here.
    pub ms: f64,
    /// Milliseconds there.
    pub other_ms: f64,
    /// How many times as fast as there.
    pub speed: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<34} {:>10.2} ms {:>10.1} samples/s",
            self.name, self.ms, self.samples_per_s
        )?;
        if let Some(rate) = self.gflops {
            write!(f, " {rate:>9.1} GFLOP/s")?;
        }
        if let Some(share) = self.share {
            write!(f, " {:>4.0}%", 100.0 * share)?;
        }
        if let Some(memory) = self.memory_mib {
            write!(f, " {memory:>7.0} MiB")?;
        }
        Ok(())
    }
}

impl Report {
    /// The rows that both have, in the order of this one.
    pub fn against(&self, other: &Self) -> Vec<Compared> {
        let compare = |row: &Row| {
            let theirs = other.rows.iter().find(|theirs| theirs.name == row.name)?;
            Some(Compared {
                name: row.name.clone(),
                ms: row.ms,
                other_ms: theirs.ms,
                speed: theirs.ms / row.ms,
            })
        };
        self.rows.iter().filter_map(compare).collect()
    }

    /// The rows of this one that the other hasn't, and those of the other that this one hasn't, by their names.
    pub fn unmatched<'a>(&'a self, other: &'a Self) -> (Vec<&'a str>, Vec<&'a str>) {
        let only = |of: &'a Self, not: &Self| {
            let names = of.rows.iter().map(|row| row.name.as_str());
            names
                .filter(|name| not.rows.iter().all(|row| row.name != *name))
                .collect()
        };
        (only(self, other), only(other, self))
    }

    /// A heading and two tables.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "Device `{}`; {}; {}{}.\n",
            self.device,
            self.machine,
            versions.join(", "),
            self.date
                .as_ref()
                .map_or_else(String::new, |date| format!("; {date}")),
        );
        text += "| row | ms | least to most | samples/s | GFLOP/s | share | MiB |\n|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let or_none = |value: Option<String>| value.unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}` | {:.2} | {} | {:.1} | {} | {} | {} |",
                row.name,
                row.ms,
                or_none(
                    row.ms_min
                        .zip(row.ms_max)
                        .map(|(least, most)| format!("{least:.2} to {most:.2}"))
                ),
                row.samples_per_s,
                or_none(row.gflops.map(|rate| format!("{rate:.1}"))),
                or_none(row.share.map(|share| format!("{share:.2}"))),
                or_none(row.memory_mib.map(|memory| format!("{memory:.0}"))),
            );
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "\nLeft out: {skipped}.");
        }
        for failed in &self.failed {
            let _ = writeln!(text, "\nFailed: {failed}.");
        }
        if !self.matmuls.is_empty() {
            text += "\n| matrix product | type | ms | GFLOP/s |\n|---|---|---|---|\n";
        }
        for Matmul {
            m,
            k,
            n,
            compute,
            ms,
            gflops,
        } in &self.matmuls
        {
            let compute = compute_name(*compute);
            let _ = writeln!(
                text,
                "| {m} x {k} x {n} | {compute} | {ms:.2} | {gflops:.1} |"
            );
        }
        text
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gpu) = &self.gpu {
            write!(f, "{gpu}; ")?;
        }
        let Self {
            cpu,
            cores,
            threads,
            memory_gib,
            os,
            ..
        } = self;
        write!(
            f,
            "{cpu}, {cores} cores, {threads} threads, {memory_gib:.1} GiB, {os}"
        )
    }
}

impl Machine {
    /// What makes timings here and there hard to compare: another GPU; without one, another processor or number of threads.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut differ = |what: &str, ours: &str, theirs: &str| {
            if ours != theirs {
                differences.push(format!("{what} {ours} here, {theirs} there"));
            }
        };
        let gpu = |machine: &Self| machine.gpu.clone().unwrap_or_else(|| "none".to_owned());
        differ("GPU", &gpu(self), &gpu(other));
        differ("processor", &self.cpu, &other.cpu);
        let threads = |machine: &Self| machine.threads.to_string();
        // Of a GPU they only feed it, and each program counts its own.
        if self.gpu.is_none() || other.gpu.is_none() {
            differ("threads", &threads(self), &threads(other));
        }
        differences
    }

    /// This machine.
    pub(super) fn this(device: &Device) -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_cpu_all();
        system.refresh_memory();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let brand = system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned());
        Self {
            cpu: brand.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores,
            threads: rayon::current_num_threads(),
            memory_gib: (system.total_memory() as f64 / f64::from(1 << 30) * 10.0).round() / 10.0,
            os: sysinfo::System::long_os_version()
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            gpu: match is_flex(device) {
                true => None,
                false => device_name(device),
            },
        }
    }
}

pub(super) fn versions() -> BTreeMap<String, String> {
    [("hrm", env!("CARGO_PKG_VERSION")), ("burn", "0.22.1")]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
}

/// Lets the peak of the memory start anew: of this process's, where the system can (Linux), of a GPU's, whose allocator gives back
/// what nothing uses.
pub(super) fn forget_peak(device: &Device) {
    // Without it the peak is that of all rows so far: no error.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    if !is_flex(device) {
        device.memory_cleanup();
        let _ = device.sync();
    }
}

/// Most memory held since [`forget_peak`], MiB: of the CPU the process's resident memory (Linux), of a GPU what its allocator
/// holds, which it doesn't give back by itself.
pub(super) fn peak_mib(device: &Device) -> Option<f64> {
    if !is_flex(device) {
        let usage = device.memory_pool_usage()?;
        return Some(usage.bytes_reserved as f64 / f64::from(1 << 20));
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/results/README.md.
    const TWIN: &str = r#"{
        "program": "hrm 0.1.0", "date": "2026-11-23T21:00:00Z",
        "machine": { "cpu": "AMD EPYC 9555", "cores": 2, "threads": 2, "memory_gib": 24.0, "os": "Linux 6.1", "gpu": null },
        "device": "flex", "versions": { "hrm": "0.1.0", "burn": "0.22.1" }, "matmul_gflops": 414.0, "unknown": 1,
        "matmuls": [ { "m": 4096, "k": 4096, "n": 4096, "compute": "f32", "ms": 382.9, "gflops": 359.0 } ],
        "rows": [
            { "name": "hrm-sudoku-1k/train/f32/8", "model": "hrm-sudoku-1k", "what": "train", "compute": "f32", "batch": 8,
              "ms": 1083.0, "samples_per_s": 7.39, "gflops": 270.7, "share": 0.65 },
            { "name": "a/data/f32/8", "model": "a", "what": "data", "compute": "f32", "batch": 8, "ms": 1.0, "samples_per_s": 8000.0 }
        ]
    }"#;

    #[test]
    fn reports_are_compared_by_the_names_of_their_rows() {
        let ours: Report = serde_json::from_str(TWIN).unwrap();
        let mut twin = ours.clone();
        twin.rows.remove(1);
        twin.rows[0].ms = 541.5;
        let compared = ours.against(&twin);
        assert_eq!(compared.len(), 1);
        assert_eq!(
            (compared[0].name.as_str(), compared[0].speed),
            ("hrm-sudoku-1k/train/f32/8", 0.5)
        );
        assert_eq!(ours.unmatched(&twin), (vec!["a/data/f32/8"], Vec::new()));
        assert_eq!(twin.unmatched(&ours), (Vec::new(), vec!["a/data/f32/8"]));
        let again: Report = serde_json::from_str(&serde_json::to_string(&ours).unwrap()).unwrap();
        assert_eq!(again, ours);
    }

    #[test]
    fn machines_that_differ_are_told_apart() {
        let ours: Report = serde_json::from_str(TWIN).unwrap();
        let cpu = ours.machine;
        assert_eq!(cpu.differences(&cpu), Vec::<String>::new());
        let more = Machine {
            threads: 4,
            cores: 4,
            ..cpu.clone()
        };
        assert_eq!(cpu.differences(&more), ["threads 2 here, 4 there"]);
        let gpu = |threads| Machine {
            gpu: Some("NVIDIA H200".to_owned()),
            threads,
            ..cpu.clone()
        };
        assert_eq!(gpu(2).differences(&gpu(4)), Vec::<String>::new());
        assert_eq!(
            cpu.differences(&gpu(2)),
            ["GPU none here, NVIDIA H200 there"]
        );
        assert_eq!(
            gpu(2).to_string(),
            "NVIDIA H200; AMD EPYC 9555, 2 cores, 2 threads, 24.0 GiB, Linux 6.1"
        );
    }

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let report: Report = serde_json::from_str(TWIN).unwrap();
        let text = report.markdown();
        assert!(
            text.contains("| `hrm-sudoku-1k/train/f32/8` | 1083.00 |  | 7.4 | 270.7 | 0.65 |  |"),
            "{text}"
        );
        assert!(
            text.contains("| 4096 x 4096 x 4096 | f32 | 382.90 | 359.0 |"),
            "{text}"
        );
    }
}
