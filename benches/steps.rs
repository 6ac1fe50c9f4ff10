//! A training step and an inference segment of the published Sudoku model and of the example's, beside the largest matrix
//! product rate that the same device reaches in the same run.
//!
//! `cargo bench --bench steps`; `HRM_DEVICE` chooses the device. `cargo bench --bench steps -- hrm-sudoku hrm-width-128/train` measures
//! the rows whose names begin so, and `--no-matmuls` leaves the products out. The rows are named as in
//! `docs/results/README.md`.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use hrm::act::Batch;
use hrm::core::ops::on_pool;
use hrm::core::{ComputeType, Hrm, HrmConfig, Levels, PuzzleEmbeddingConfig};
use hrm::data::PuzzleSet;
use hrm::data::sudoku::{Generator, SudokuSize};
use hrm::train::{Preset, TrainConfig, Trainer};

const REPEATS: usize = 7;

/// The Sudoku model of `hrm-sudoku-1k`, narrow and with 2 + 2 blocks.
const WIDTH_128: &str = "hrm-width-128";

fn width_128(model: HrmConfig) -> HrmConfig {
    HrmConfig {
        hidden_size: 128,
        num_heads: 4,
        levels: Levels::Separate {
            h_layers: 2,
            l_layers: 2,
        },
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 128,
            positions: None,
        }),
        ..model
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = hrm::device::from_env()?;
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    println!(
        "device {device:?}, {} threads; median of {REPEATS} after a warm-up",
        std::thread::available_parallelism()?
    );

    let mut best: f64 = 0.0;
    let products = [
        (2048usize, 2048, 2048),
        (4096, 4096, 4096),
        (8 * 82, 512, 3072),
        (8 * 82, 512, 1536),
        (8 * 82, 1536, 512),
        (32 * 82, 128, 1024),
        (48 * 37, 96, 512),
    ];
    let skip = std::env::args().any(|argument| argument == "--no-matmuls");
    for (m, k, n) in products.into_iter().filter(|_| !skip) {
        let a = Tensor::<2>::random([m, k], Distribution::Default, &device);
        let b = Tensor::<2>::random([k, n], Distribution::Default, &device);
        let seconds = median(&device, || {
            let _product = a.clone().matmul(b.clone());
        });
        let rate = 2.0 * (m * k * n) as f64 / seconds * 1e-9;
        println!(
            "matmul {m:>4} x {k:>4} x {n:>4}: {:>9.2} ms {rate:>8.1} GFLOP/s",
            seconds * 1e3
        );
        best = best.max(rate);
    }

    println!(
        "\n{:<34} {:>10} {:>11} {:>9} {:>8}",
        "", "ms", "puzzles/s", "GFLOP/s", "share"
    );
    for (name, size, batch) in [
        ("hrm-sudoku-1k", SudokuSize::Nine, 8),
        (WIDTH_128, SudokuSize::Nine, 32),
        ("trm-sudoku-mlp", SudokuSize::Nine, 8),
        ("trm-small", SudokuSize::Six, 48),
        ("trm-small-mlp", SudokuSize::Six, 48),
        ("hrm-small", SudokuSize::Six, 48),
    ] {
        let rows = ["train", "segment"].map(|what| format!("{name}/{what}/f32/{batch}"));
        let wants =
            |row: &str| wanted.is_empty() || wanted.iter().any(|start| row.starts_with(start));
        if !rows.iter().any(|row| wants(row)) {
            continue;
        }
        let puzzles = Generator::new(size)
            .with_clues(size.num_cells() / 2..=size.num_cells() / 2)
            .puzzles(64, 1)?;
        let set = Arc::new(PuzzleSet::from_sudoku(&puzzles, size, true)?);
        let mut config = match name {
            WIDTH_128 => Preset::by_name("hrm-sudoku-1k")?.config(&set),
            name => Preset::by_name(name)?.config(&set),
        };
        if name == WIDTH_128 {
            config.model = width_128(config.model);
        }
        config.model.compute = ComputeType::F32;
        config.batch_size = batch;
        config.log_every = u64::MAX;
        let flops = config.model.flops(config.act.max_segments);
        for (row, work) in rows.iter().zip([flops.training_step, flops.segment]) {
            if !wants(row) {
                continue;
            }
            let seconds = match work == flops.training_step {
                true => training_step(&config, set.clone(), &device)?,
                false => segment(&config, &set, &device)?,
            };
            let rate = (work * batch as u64) as f64 / seconds * 1e-9;
            println!(
                "{row:<34} {:>10.1} {:>11.1} {rate:>9.1} {:>7.0}%",
                seconds * 1e3,
                batch as f64 / seconds,
                100.0 * rate / best
            );
        }
    }
    Ok(())
}

fn training_step(
    config: &TrainConfig,
    set: Arc<PuzzleSet>,
    device: &Device,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut trainer = Trainer::new(config.clone(), set, device)?;
    Ok(median(device, || {
        trainer
            .step()
            .expect("no metrics are read, so nothing can fail");
    }))
}

fn segment(
    config: &TrainConfig,
    set: &PuzzleSet,
    device: &Device,
) -> Result<f64, Box<dyn std::error::Error>> {
    let model = Hrm::new(&config.model, 1, device)?.frozen();
    let (rows, _) = set
        .batches(config.batch_size)
        .next()
        .ok_or("an empty set")?;
    let batch = Batch::from_host(&rows, device);
    let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
    let (mut state, _) = model.segment(model.initial_state(), x.clone());
    Ok(median(device, || {
        // As the reasoner does it.
        let (next, _output) = on_pool(device, || model.segment(state.clone(), x.clone()));
        state = next;
    }))
}

/// Median seconds of a call, the device's work included, after two calls outside the clock.
fn median(device: &Device, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..REPEATS + 2)
        .map(|_| {
            let start = Instant::now();
            call();
            device.sync().expect("the device computes");
            start.elapsed().as_secs_f64()
        })
        .skip(2)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
