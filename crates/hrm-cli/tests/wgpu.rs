//! Trains on a GPU behind `wgpu`; CI installs a software one. The parts of a training are held against the CPU by
//! `crates/hrm/tests/device.rs`, which with `HRM_DEVICE=wgpu` computes there.

mod program;

use program::{Workshop, words};

/// Whether the machine has such a device; in CI it must.
fn is_there(workshop: &Workshop) -> bool {
    let backends = words(workshop.dir(), "devices --json").ok().objects();
    let wgpu = backends.iter().find(|backend| backend["name"] == "wgpu");
    let found = wgpu.expect("a line for each backend")["found"].clone();
    println!("found {found:#}");
    let there = found.as_array().is_some_and(|found| !found.is_empty());
    if !there {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "CI needs a device for wgpu, such as that of mesa-vulkan-drivers"
        );
        println!("skipped: wgpu finds no device on this machine");
    }
    there
}

#[test]
fn a_small_training_learns_and_is_evaluated_anywhere() {
    let workshop = Workshop::with_data();
    if !is_there(&workshop) {
        return;
    }
    let trained = workshop
        .run(
            "train --preset hrm-small --data data --out run --device wgpu --steps 60 --seed 1 --json \
             --set model.hidden_size=32 --set model.num_heads=2 --set model.puzzle_embedding.dim=32 --set model.compute=f32 \
             --set act.max_segments=2 --set batch_size=16 --set log_every=10 --set optimizer.lr=3e-3 --set schedule.warmup_steps=5",
        )
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
    let (there, here) = (evaluated("wgpu"), evaluated("flex"));
    println!("{there}\n{here}");
    let cells = |line: &serde_json::Value| line["cell_accuracy"].as_f64().expect("a share");
    assert!((cells(&there) - cells(&here)).abs() <= 0.02);
}

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
