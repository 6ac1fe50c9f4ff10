//! The paper's claim on memory: HRM's training step needs no more of it for more cycles (one-step gradient), while TRM's, with
//! the gradient through its last cycle, does. Also: whether memory stays flat over 1,000 steps, or, with `-- --long`, over
//! 10,000 and nothing else.
//!
//! `cargo bench --bench memory`, on Linux and the CPU: each case runs in a process of its own, whose peak resident memory is
//! read from `/proc`.

use std::process::Command;
use std::sync::Arc;

use hrm::core::HrmConfig;
use hrm::data::sudoku::{Generator, SudokuSize};
use hrm::data::{Augmentation, PuzzleSet};
use hrm::train::{Preset, TrainConfig, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(case) = arguments.iter().position(|argument| argument == "--case") {
        return run_case(&arguments[case + 1..]);
    }
    if !std::path::Path::new("/proc/self/status").exists() {
        println!("skipped: this machine has no /proc to read the memory from");
        return Ok(());
    }
    if arguments.iter().any(|argument| argument == "--long") {
        return ten_thousand_steps();
    }
    let peak = |preset: &str, cycles: u32| -> Result<f64, Box<dyn std::error::Error>> {
        let output = Command::new(std::env::current_exe()?)
            .args(["--case", preset, &cycles.to_string()])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .trim()
            .parse()
            .map_err(|_| format!("the case printed `{text}`"))?)
    };
    println!("peak resident memory of training steps, width 256, batch 16, 9x9 Sudoku");
    for preset in ["hrm-sudoku-1k", "trm-sudoku"] {
        let (few, many) = (peak(preset, 2)?, peak(preset, 16)?);
        println!(
            "{preset:<14} 2 fast updates a cycle {few:>7.0} MiB, 16 {many:>7.0} MiB: {:.3} times",
            many / few
        );
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["--case", "steps"])
        .output()?;
    print!("{}", String::from_utf8(output.stdout)?);
    Ok(())
}

/// Resident memory along a training of a small model with metrics, averages and accumulation.
fn ten_thousand_steps() -> Result<(), Box<dyn std::error::Error>> {
    let (mut config, set) = recipe("trm-small", SudokuSize::Four)?;
    config.batch_size = 8;
    config.accumulate = 2;
    config.steps = 10_000;
    println!("resident memory of trm-small, 4x4 Sudoku, batch 8 in 2 parts");
    let trainer = Trainer::new(config, set, &hrm::device::parse("flex")?)?;
    for report in trainer {
        let step = report?.step;
        if step == 100 || step % 1000 == 0 {
            println!("{step:>6} steps {:>7.1} MiB", memory("VmRSS")?);
        }
    }
    Ok(())
}

fn run_case(case: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    match case {
        [steps] if steps == "steps" => {
            let (mut config, set) = recipe("trm-small", SudokuSize::Six)?;
            config.steps = 2000;
            let mut trainer = Trainer::new(config, set, &hrm::device::parse("flex")?)?;
            let mut at = |step: u64| -> Result<f64, Box<dyn std::error::Error>> {
                while trainer.state().step < step {
                    trainer.step()?;
                }
                memory("VmRSS")
            };
            let (early, late) = (at(100)?, at(1100)?);
            println!(
                "resident memory of trm-small: {early:.1} MiB after 100 steps, {late:.1} MiB after 1,100"
            );
        }
        [preset, cycles] => {
            let (mut config, set) = recipe(preset, SudokuSize::Nine)?;
            config.model = HrmConfig {
                hidden_size: 256,
                l_cycles: cycles.parse()?,
                compute: hrm::core::ComputeType::F32,
                ..config.model
            };
            config.batch_size = 16;
            let mut trainer = Trainer::new(config, set, &hrm::device::parse("flex")?)?;
            for _ in 0..2 {
                trainer.step()?;
            }
            println!("{}", memory("VmHWM")?);
        }
        _ => return Err("unknown case".into()),
    }
    Ok(())
}

fn recipe(
    preset: &str,
    size: SudokuSize,
) -> Result<(TrainConfig, Arc<PuzzleSet>), Box<dyn std::error::Error>> {
    let half = size.num_cells() / 2;
    let puzzles = Generator::new(size)
        .with_clues(half..=half)
        .puzzles(64, 1)?;
    let set = Arc::new(PuzzleSet::from_sudokus(
        &puzzles,
        size,
        Augmentation::Sudoku,
    )?);
    Ok((Preset::by_name(preset)?.config(&set), set))
}

/// A line of the process's status, in MiB.
fn memory(field: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .ok_or("no such line in the status")?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .ok_or("the line has no number")?
        .parse()?;
    Ok(kib / 1024.0)
}
