//! What a device computes, held against the CPU: `HRM_DEVICE=cuda:0 cargo test -p hrm --features cuda --test device`, and once
//! more with `BURN_FUSION_MAX_EXPLORATIONS=0`, which turns fusion off. Without `HRM_DEVICE` the CPU's own fused operations are
//! held against plain ones.

use std::sync::Arc;

use hrm::conformance::{Progress, Suite, SuiteSize};
use hrm::device;
use hrm::prelude::*;

#[test]
fn every_part_is_within_its_tolerance() {
    hold(ComputeType::F32);
}

/// Where the device computes in bf16: as near to f32 as PyTorch's is.
#[test]
fn every_part_is_within_its_tolerance_in_bf16() {
    let device = device::from_env().unwrap();
    match device::check_compute(&device, ComputeType::Bf16) {
        Ok(()) => hold(ComputeType::Bf16),
        Err(error) => println!("skipped: {error}"),
    }
}

fn hold(compute: ComputeType) {
    let device = device::from_env().unwrap();
    let rows = Suite::new(SuiteSize::Small)
        .in_type(compute)
        .run(&device, |progress| {
            if let Progress::Begins(part) = progress {
                eprintln!("{part}");
            }
        })
        .unwrap();
    let mut over = Vec::new();
    for row in &rows {
        println!(
            "{:<45} {:>8.1e} of {:>7.1e} {}",
            row.quantity, row.largest_error, row.tolerance, row.note
        );
        if !row.passed() {
            over.push(&row.quantity);
        }
    }
    assert!(rows.len() > 20, "{} rows", rows.len());
    assert!(over.is_empty(), "beyond their tolerance: {over:?}");
}

#[test]
fn a_training_learns() {
    let device = device::from_env().unwrap();
    let puzzles = sudoku::Generator::new(SudokuSize::Four).with_clues(12..=12);
    let puzzles = puzzles.puzzles(40, 1).unwrap();
    let set = Arc::new(PuzzleSet::from_sudoku(&puzzles, SudokuSize::Four, false).unwrap());
    let mut config = Preset::by_name("trm-small").unwrap().config(&set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.puzzle_embedding = None;
    config.batch_size = 16;
    config.schedule.warmup_steps = 5;
    config.optimizer.lr = 3e-3;
    (config.steps, config.log_every) = (60, 10);
    let mut losses = Vec::new();
    for report in Trainer::new(config, set, &device).unwrap() {
        losses.extend(report.unwrap().metrics.map(|metrics| metrics.loss()));
    }
    println!("losses {losses:.3?}");
    assert!(losses[5] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn the_device_says_what_it_is() {
    let name = device::chosen_name(None);
    let device = device::from_env().unwrap();
    let inspected = device::inspect(&name, &device);
    println!("{inspected:#?}");
    assert!(inspected.compute[0].works, "f32 works everywhere");
    let backend = name.split(':').next().unwrap();
    let found: Vec<String> = device::Backend::ALL
        .into_iter()
        .filter(|known| known.name() == backend)
        .flat_map(device::found)
        .map(|(name, _)| name)
        .collect();
    println!("found {found:?}");
    assert!(!found.is_empty());
    for name in found {
        assert!(device::parse(&name).is_ok(), "{name}");
    }
}
