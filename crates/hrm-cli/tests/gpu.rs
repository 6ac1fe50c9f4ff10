//! Trains on the GPU that `HRM_DEVICE` names; CI has a software one behind `wgpu`. The parts of a training are held against the CPU by
//! `crates/hrm/tests/device.rs`, which computes there as well.

mod program;

use program::Workshop;

#[test]
fn a_small_training_learns_and_is_evaluated_anywhere() {
    let device = std::env::var("HRM_DEVICE").unwrap_or_default();
    if device.is_empty() || device.starts_with("flex") {
        println!("skipped: HRM_DEVICE names no GPU");
        return;
    }
    let workshop = Workshop::with_data();
    let trained = workshop
        .run(&format!(
            "train --preset hrm-small --data data --out run --device {device} --steps 60 --seed 1 --json \
             --set model.hidden_size=32 --set model.num_heads=2 --set model.puzzle_embedding.dim=32 --set model.compute=f32 \
             --set act.max_segments=2 --set batch_size=16 --set log_every=10 --set optimizer.lr=3e-3 --set schedule.warmup_steps=5"
        ))
        .ok()
        .objects();
    let losses: Vec<f64> = trained
        .iter()
        .filter(|line| line["type"] == "step")
        .filter_map(|line| line["loss"].as_f64())
        .collect();
    println!("losses {losses:.3?}");
    assert_eq!(losses.len(), 6, "{trained:?}");
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");

    // What was trained there answers here the same.
    let evaluated = |device: &str| {
        let line = format!("eval --checkpoint run --data data --json --device {device}");
        workshop.run(&line).ok().objects().remove(0)
    };
    let (there, here) = (evaluated(&device), evaluated("flex"));
    println!("{there}\n{here}");
    let cells = |line: &serde_json::Value| line["cell_accuracy"].as_f64().expect("a share");
    assert!((cells(&there) - cells(&here)).abs() <= 0.02);
}

#[cfg(feature = "wgpu")]
#[test]
fn a_device_that_is_not_there_is_refused() {
    let workshop = Workshop::with_data();
    workshop
        .train("run", "--device wgpu:15")
        .refused(&["wgpu:15", "not found on this machine"]);
    workshop
        .train("run", "--device wgpu:north")
        .refused(&["wgpu:north", "is no device"]);
}
