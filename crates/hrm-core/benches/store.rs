//! Time and memory of imports: the published HRM out of a torch checkpoint, and a table of 1,000,000 x 512.
//!
//! `cargo bench -p hrm-core --bench store`. Memory is what the allocator gave out at most, over the size of the weights.

#[path = "../tests/torch_file/mod.rs"]
mod torch_file;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use hrm_core::store::{ConfigHints, ImportOptions, TensorFile, import};
use hrm_core::{Hrm, HrmConfig, Sizes};
use peak_alloc::PeakAlloc;
use torch_file::{Tensor, checkpoint, f32_bytes};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn main() {
    if std::env::args().any(|arg| arg == "--list" || arg == "--test") {
        return;
    }
    let dir = std::env::temp_dir().join(format!("hrm-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let sudoku = Sizes {
        seq_len: 81,
        vocab_size: 11,
        num_puzzle_ids: 1000,
    };
    let path = dir.join("checkpoint");
    write_torch(&HrmConfig::hrm(sudoku), &path);
    measure("HRM, 27M parameters, torch", &path, &HrmConfig::hrm(sudoku));

    let many = Sizes {
        num_puzzle_ids: 1_000_000,
        ..sudoku
    };
    let path = dir.join("table.safetensors");
    write_zeros(&HrmConfig::hrm(many), &path);
    measure(
        "HRM, 1,000,000 x 512 table, safetensors",
        &path,
        &HrmConfig::hrm(many),
    );
    std::fs::remove_dir_all(&dir).expect("the temporary folder is ours");
}

fn measure(what: &str, path: &Path, config: &HrmConfig) {
    let options = ImportOptions {
        hints: ConfigHints::from_config(config, Some(16)),
        ..ImportOptions::default()
    };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let start = Instant::now();
    let file = TensorFile::open(path).expect("a file written just now");
    let imported = import(&file, &options, &Device::flex()).expect("its model");
    let seconds = start.elapsed().as_secs_f64();
    let peak = ALLOCATOR.peak_usage() - before;
    let weights: usize = imported
        .model
        .weights()
        .iter()
        .map(|w| 4 * w.shape.iter().product::<usize>())
        .sum();
    println!(
        "{what}: {seconds:.2} s, {:.0} MB of weights, at most {:.0} MB of memory ({:.2} times)",
        weights as f64 / 1e6,
        peak as f64 / 1e6,
        peak as f64 / weights as f64
    );
}

fn write_torch(config: &HrmConfig, path: &Path) {
    let weights = Hrm::new(config, 0, &Device::flex())
        .expect("the published model")
        .weights();
    let mut tensors = Vec::new();
    let mut storages = Vec::new();
    let keys: Vec<String> = (0..weights.len()).map(|key| key.to_string()).collect();
    for (weight, key) in weights.into_iter().zip(&keys) {
        let shape: Vec<i64> = weight.shape.iter().map(|&size| size as i64).collect();
        let name = format!("_orig_mod.model.inner.{}", weight.name);
        tensors.push(Tensor::whole(&name, "FloatStorage", key, &shape));
        let values: Vec<f32> = weight.value.to_data().iter().collect();
        storages.push((key.as_str(), f32_bytes(&values)));
    }
    std::fs::write(path, checkpoint(&tensors, &storages)).expect("room for 110 MB");
}

/// A sparse file of zeros with the tensors of a model.
fn write_zeros(config: &HrmConfig, path: &Path) {
    let one = HrmConfig {
        num_puzzle_ids: 1,
        ..config.clone()
    };
    let mut at = 0;
    let mut parts = Vec::new();
    for weight in Hrm::new(&one, 0, &Device::flex())
        .expect("the published model")
        .weights()
    {
        let mut shape = weight.shape;
        if weight.name == "puzzle_emb.weights" {
            shape[0] = config.num_puzzle_ids;
        }
        let end = at + 4 * shape.iter().product::<usize>();
        parts.push(format!(
            r#""{}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{at},{end}]}}"#,
            weight.name
        ));
        at = end;
    }
    let header = format!("{{{}}}", parts.join(","));
    let mut file = File::create(path).expect("a file in the temporary folder");
    file.write_all(&(header.len() as u64).to_le_bytes())
        .expect("room");
    file.write_all(header.as_bytes()).expect("room");
    file.set_len((8 + header.len() + at) as u64)
        .expect("a sparse file");
}
