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
