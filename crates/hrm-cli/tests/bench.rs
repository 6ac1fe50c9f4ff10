//! Timings. No test says how long anything takes.

mod program;

use std::fs;

use program::Workshop;
use serde_json::Value;

const QUICK: &str = "--batch 2 --repeats 1 --warm-up 0 --no-matmuls";

#[test]
fn rows_are_chosen_timed_and_compared() {
    let workshop = Workshop::with_data();
    let listed = workshop
        .run("bench --device flex --only trm-small/segment --only small-mlp/data --list")
        .ok();
    assert_eq!(
        listed.stdout,
        "trm-small/segment/f32/48\ntrm-small-mlp/data/f32/48\n"
    );
    let bench =
        format!("bench --device flex --only trm-small/segment --only small-mlp/data {QUICK}");
    let said = workshop
        .run(&format!("{bench} --to first.json --json"))
        .ok()
        .objects();
    let names: Vec<&Value> = said.iter().map(|line| &line["name"]).collect();
    assert_eq!(names[0], "trm-small/segment/f32/2");
    assert!(said[0]["gflops"].is_number() && said[0]["share"].is_null());
    let first: Value =
        serde_json::from_slice(&fs::read(workshop.path("first.json")).unwrap()).unwrap();
    assert_eq!(first["matmuls"], Value::Array(Vec::new()));
    assert_eq!(first["rows"].as_array().map(Vec::len), Some(said.len()));

    let ran = workshop
        .run(&format!("{bench} --compare first.json --json"))
        .ok();
    let ratios = ran.objects();
    let ratios = ratios.iter().filter(|line| line["type"] == "bench_ratio");
    assert_eq!(ratios.count(), said.len());
    let ran = workshop
        .run(&format!("bench --only trm-small/data {QUICK} --markdown"))
        .ok();
    assert!(
        ran.stdout.contains("| `trm-small/data/f32/2` |") && !ran.stdout.contains("matrix product"),
        "{}",
        ran.stdout
    );
}

#[test]
fn reports_are_compared_without_timing_anything() {
    let workshop = Workshop::with_data();
    let row = |name: &str, ms: f64| {
        serde_json::json!({
            "name": name, "model": "m", "what": "train", "compute": "bf16", "batch": 8,
            "ms": ms, "samples_per_s": 8e3 / ms
        })
    };
    let report = |gpu: &str, rows: [Value; 2]| {
        let report = serde_json::json!({
            "machine": { "cpu": "a CPU", "cores": 2, "threads": 2, "memory_gib": 4.0, "os": "Linux", "gpu": gpu },
            "device": "cuda", "matmul_gflops": null, "rows": rows
        });
        report.to_string()
    };
    let ours = report(
        "a GPU",
        [row("m/train/bf16/8", 2.0), row("m/new/bf16/8", 1.0)],
    );
    let twin = report(
        "another",
        [row("m/train/bf16/8", 3.0), row("m/old/bf16/8", 1.0)],
    );
    fs::write(workshop.path("ours.json"), ours).unwrap();
    fs::write(workshop.path("twin.json"), twin).unwrap();
    let compare = "bench --read ours.json --against twin.json";
    let ran = workshop.untouched(|| workshop.run(compare)).ok();
    assert!(ran.stdout.contains("1.50 times as fast"), "{ran:?}");
    for said in [
        "here: a GPU; a CPU, 2 cores",
        "twin.json: another; a CPU",
        "warning: not the same machine: GPU a GPU here, another there",
        "m/new/bf16/8: not in twin.json",
        "m/old/bf16/8: only in twin.json",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let lines = workshop.run(&format!("{compare} --json")).ok().objects();
    let types: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(types, ["bench_row", "bench_row", "bench_ratio"]);
    let ran = workshop.run("bench --read ours.json --only m/train");
    ran.refused(&["--read", "--only"]);
    workshop
        .run("bench --read nowhere.json")
        .refused(&["nowhere.json"]);
}

#[test]
fn a_batch_that_fits_no_memory_is_left_out_before_products_of_its_shapes() {
    let workshop = Workshop::with_data();
    let ran = workshop.run("bench --device flex --only hrm-sudoku-1k/segment --batch 1048576");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr
            .contains("left out: hrm-sudoku-1k/segment/f32/1048576"),
        "{ran:?}"
    );
}

#[test]
fn what_cannot_be_timed_is_refused_before_anything_is() {
    let workshop = Workshop::with_data();
    fs::write(workshop.path("there.json"), "{}").unwrap();
    for (more, said) in [
        (
            "--only trm-small/data --only sudouk",
            ["`sudouk`", "trm-small/data"],
        ),
        (
            "--only trm-small/data --to there.json",
            ["there.json", "--force"],
        ),
        (
            "--only trm-small/data --compare there.json",
            ["there.json", "no report"],
        ),
        ("--device abacus", ["abacus", "flex"]),
    ] {
        let line = format!("bench {QUICK} {more}");
        workshop.untouched(|| workshop.run(&line)).refused(&said);
    }
}
