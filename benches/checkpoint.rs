//! What a checkpoint of the published Sudoku model (27M parameters) takes away from its training: the time of a run that writes
//! one, less that of a run that writes none.
//!
//! `cargo bench -p hrm --bench checkpoint`; `HRM_DEVICE` chooses the device.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hrm::core::ComputeType;
use hrm::data::sudoku::{Generator, SudokuSize};
use hrm::data::{Augmentation, PuzzleSet};
use hrm::prelude::Device;
use hrm::train::{Preset, Run, RunFile, Trainer};

/// Steps of a run, of which the first are outside the clock: with a checkpoint, it is written beside the others.
const STEPS: u64 = 6;
const WARM_UP: u64 = 2;
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = hrm::device::from_env()?;
    let puzzles = Generator::new(SudokuSize::Nine).puzzles(64, 1)?;
    let set = Arc::new(PuzzleSet::from_sudokus(
        &puzzles,
        SudokuSize::Nine,
        Augmentation::Sudoku,
    )?);
    let mut config = Preset::by_name("hrm-sudoku-1k")?.config(&set);
    config.model.compute = ComputeType::F32;
    config.batch_size = 8;
    config.log_every = u64::MAX;
    config.steps = 1 << 40;
    let dir = tempfile::tempdir()?;

    let mut trainer = Trainer::new(config.clone(), set.clone(), &device)?;
    for _ in 0..WARM_UP {
        trainer.step()?;
    }
    device.sync()?;
    let path = dir.path().join("once.safetensors");
    let (copy, snapshot) = timed(|| trainer.snapshot());
    let snapshot = snapshot?;
    let (scan, _) = timed(|| snapshot.not_finite().is_none());
    let (write, written) = timed(|| snapshot.write(&path));
    written?;
    let size = std::fs::metadata(&path)?.len();
    println!(
        "device {device:?}, {} threads; {:.0} MB",
        std::thread::available_parallelism()?,
        size as f64 * 1e-6
    );
    println!(
        "copy to the host {copy:.3} s, look for what is not finite {scan:.3} s: between two steps"
    );
    println!("checksum and write {write:.3} s: beside the steps");
    drop((trainer, snapshot));

    let mut plain = Vec::new();
    let mut saving = Vec::new();
    for repeat in 0..REPEATS {
        for (every, times) in [(1 << 40, &mut plain), (WARM_UP + 1, &mut saving)] {
            config.checkpoint_every = every;
            let file = RunFile::new("generated", config.clone());
            let dir = dir.path().join(format!("run{repeat}-{every}"));
            times.push(seconds(&dir, &file, &set, &device)?);
            std::fs::remove_dir_all(&dir)?;
        }
    }
    let (plain, saving) = (median(plain), median(saving));
    let steps = STEPS - WARM_UP;
    println!(
        "{steps} steps without a checkpoint {plain:.3} s, with one {saving:.3} s (medians of {REPEATS})"
    );
    println!(
        "a checkpoint takes {:.3} s of the training's time",
        saving - plain
    );
    Ok(())
}

/// Seconds of the steps behind the warm-up; the checkpoint of the step after it is written beside those that follow.
fn seconds(
    dir: &Path,
    file: &RunFile,
    set: &Arc<PuzzleSet>,
    device: &Device,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut run = Run::create(dir, file, set.clone(), device)?;
    let (mut start, mut end) = (None, None);
    run.train(|report| {
        let now = || device.sync().map(|()| Instant::now());
        if report.step == WARM_UP {
            start = Some(now());
        }
        if report.step == STEPS {
            end = Some(now());
        }
        report.step < STEPS
    })?;
    let (start, end) = start.zip(end).ok_or("the run ended early")?;
    Ok((end? - start?).as_secs_f64())
}

fn timed<T>(call: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let value = call();
    (start.elapsed().as_secs_f64(), value)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
