//! `hrm data build --materialize`: augmented copies on the disk are as good as those drawn, and can be trained on.

mod program;

use std::path::Path;

use program::{TINY, Workshop, words};
use serde_json::Value;

/// What `hrm data inspect` says of a split.
fn inspect(dir: &Path, data: &str, split: &str) -> Value {
    let found = words(dir, &format!("data inspect {data} --show 0 --json")).objects();
    let splits = found[0]["splits"].as_array().unwrap().clone();
    let of_name = |found: &Value| found["name"] == split;
    splits.into_iter().find(of_name).unwrap()
}

fn train_two_steps(dir: &Path, data: &str) {
    let line = format!("train --preset trm-small --data {data} --out run-{data} --steps 2 {TINY}");
    words(dir, &line).ok();
    let line = format!("eval --checkpoint run-{data} --data {data} --segments 1 --limit 4 --json");
    let found = words(dir, &line).ok().objects();
    assert_eq!(found[0]["step"], 2);
    assert!(found[0]["cell_accuracy"].as_f64().unwrap() >= 0.0);
}

#[test]
fn copies_of_sudokus_keep_one_solution() {
    let workshop = Workshop::with_data();
    let build = |seed: usize, out: &str| {
        let line = format!(
            "data build sudoku --input puzzles.csv --test-count 8 --seed {seed} --materialize 3 --out {out} --json"
        );
        workshop.run(&line).ok().objects()[0].clone()
    };
    let built = build(1, "many");
    assert_eq!((&built["train"], &built["test"]), (&128.into(), &8.into()));
    let train = inspect(workshop.dir(), "many", "train");
    assert_eq!(
        (&train["groups"], &train["puzzles"]),
        (&32.into(), &128.into())
    );
    assert_eq!(train["augmentation"], "none");
    assert_eq!(train["sudoku"]["right"], 128);
    assert_eq!(train["sudoku"]["one_solution"], 128);
    // Each copy equals its original under symmetry: 32 are different.
    assert_eq!(train["duplicates"], 96);
    train_two_steps(workshop.dir(), "many");
    // The seed decides about the copies.
    build(1, "again");
    build(2, "other");
    let inputs = |of: &str| std::fs::read(workshop.path(of).join("train/all__inputs.npy")).unwrap();
    assert_eq!(inputs("many"), inputs("again"));
    assert_ne!(inputs("many"), inputs("other"));
}

#[test]
fn copies_of_mazes_have_the_published_label() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    words(
        dir,
        "data maze generate --size 8 --min-path 10 --count 12 --seed 1 --out mazes.csv",
    )
    .ok();
    let build = |augment: &str, out: &str| {
        let line = format!(
            "data build maze --input mazes.csv --test-count 2 --augment {augment} --materialize 7 --out {out} --json"
        );
        words(dir, &line).ok().objects()[0]["train"].clone()
    };
    assert_eq!(build("relabel", "many"), 80);
    let train = inspect(dir, "many", "train");
    assert_eq!(
        (&train["groups"], &train["maze"]["exact"]),
        (&10.into(), &80.into())
    );
    train_two_steps(dir, "many");
    // Paths that are turned with their maze are shortest, but not the ones that the tie-break finds.
    assert_eq!(build("flip-label", "flipped"), 80);
    let found = &inspect(dir, "flipped", "train")["maze"];
    let (exact, optimal) = (found["exact"].as_u64(), found["optimal"].as_u64());
    assert_eq!(exact.zip(optimal).map(|(a, b)| a + b), Some(80));
    words(
        dir,
        "data build maze --input mazes.csv --augment none --materialize 7 --out plain",
    )
    .refused(&["--materialize", "--augment none"]);
}

#[test]
fn arc_tasks_of_kaggle_are_built_looked_at_and_trained_on() {
    let Some(data) = program::shared("data") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let file = |name: &str| data.join("arc").join(name).display().to_string();
    let build = |more: &str| {
        let line = format!(
            "data build arc --input {} --solutions {} --num-aug 2 --json {more}",
            file("arc-agi_concept_challenges.json"),
            file("arc-agi_concept_solutions.json")
        );
        words(dir, &line).ok().objects()[0].clone()
    };
    let drawn = build("--out drawn");
    let written = build("--materialize --out written");
    assert_eq!(drawn["train"], written["train"]);
    for split in ["train", "test"] {
        let (drawn, written) = (inspect(dir, "drawn", split), inspect(dir, "written", split));
        assert_eq!(written["augmentation"], "none");
        assert_eq!(
            (&drawn["groups"], &drawn["puzzles"]),
            (&160.into(), &480.into())
        );
        for count in ["groups", "puzzles", "examples", "num_puzzle_ids"] {
            assert_eq!(drawn[count], written[count], "{count}");
        }
    }
    for data in ["drawn", "written"] {
        train_two_steps(dir, data);
    }
}
