//! The examples at a tiny size, as a user would run them.

use std::path::PathBuf;
use std::process::Command;

/// The example that cargo built beside this test, else one that it builds now.
fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.exists() {
        return Command::new(path);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "run",
        "--quiet",
        "--package",
        "hrm",
        "--example",
        name,
        "--",
    ]);
    cargo
}

#[test]
fn it_learns_shows_its_thoughts_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("example.safetensors");
    let output = example("sudoku")
        .args([
            "--size",
            "4",
            "--steps",
            "120",
            "--puzzles",
            "20",
            "--seed",
            "1",
            "--json",
        ])
        .args(["--set", "log_every=20", "--set", "ema=0.9", "--out"])
        .arg(&checkpoint)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{talk}");
    assert!(
        talk.contains("6 of 16 cells given: 250 to learn from, 20 unseen"),
        "{talk}"
    );
    assert!(text.contains("after segment 6"), "{text}");
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number = |key: &str| {
        report[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {report}"))
    };
    assert_eq!(number("puzzles"), 20.0);
    assert_eq!(number("steps"), 120.0);
    assert!(number("parameters") > 100_000.0);
    assert!(number("train_seconds") > 0.0);
    // Chance has a quarter of the cells right.
    assert!(number("cell_accuracy") > 0.35, "{report}");
    let written = hrm::train::Checkpoint::open(&checkpoint).unwrap();
    assert_eq!(written.info().step, 120);
}

#[test]
fn a_wrong_option_is_an_error() {
    let output = example("sudoku")
        .args(["--set", "optimizer.lrr=1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("optimizer.lr"), "{talk}");
}

#[test]
fn an_own_task_is_learned() {
    let output = example("custom_task").arg("250").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    assert!(talk.contains("step   50  loss"), "{talk}");
    assert_eq!(
        text.lines().filter(|line| line.contains("] -> [")).count(),
        6
    );
    let last = text.lines().last().unwrap();
    let share = last.split([':', '%']).nth(1).unwrap();
    // Chance has an eighth of the cells right.
    assert!(share.trim().parse::<f64>().unwrap() > 20.0, "{last}");
}
