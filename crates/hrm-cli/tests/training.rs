//! Small trainings that learn: 4x4 Sudokus with at most 6 givens, unseen ones solved.

mod program;

use program::words;
use serde_json::Value;

fn a_short_training_solves_nine_of_ten_unseen_sudokus(preset: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |line: &str| words(folder.path(), line).ok();
    run("data sudoku generate --size 4 --count 450 --clues 4..6 --seed 1 --out puzzles.csv");
    run("data build sudoku --input puzzles.csv --test-count 100 --seed 1 --out data");
    let trained = run(&format!(
        "train --preset {preset} --data data --out run --steps 300 --seed 1 --eval-every 100 --json \
         --set model.hidden_size=64 --set model.puzzle_embedding.dim=64 --set model.mixer=mlp --set model.position=none \
         --set batch_size=64 --set optimizer.lr=2e-3 --set act.max_segments=4"
    ))
    .objects();
    let last = trained.last().expect("a line");
    let at_best = |line: &&Value| line["type"] == "evaluation" && line["best"] == true;
    let evaluated = trained.iter().rfind(at_best).expect("an evaluation");
    let best = &last["best"];
    assert_eq!(best["puzzles"], 100, "{last}");
    // The best weights are those that were evaluated.
    let found = run("eval --checkpoint run/best.safetensors --data data --json").objects();
    assert_eq!(found[0]["exact"], best["exact"]);
    // What the training computes on the device is what `eval` counts from the answers.
    for share in ["cell_accuracy", "q_halt_accuracy"] {
        let of = |line: &Value| line[share].as_f64().expect("a share");
        let (here, there) = (of(&found[0]), of(evaluated));
        assert!((here - there).abs() < 1e-6, "{share}: {here}, {there}");
    }
    println!("{preset}, {} s of training: {}", last["seconds"], found[0]);
    assert!(found[0]["exact"].as_u64() >= Some(90), "{}", found[0]);
}

#[test]
fn a_small_hrm_learns() {
    a_short_training_solves_nine_of_ten_unseen_sudokus("hrm-small");
}

#[test]
fn a_small_trm_learns() {
    a_short_training_solves_nine_of_ten_unseen_sudokus("trm-small-mlp");
}
