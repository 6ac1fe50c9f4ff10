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
    // Who repeats the 6 cells of 16 that are given has 0.375.
    assert!(number("cell_accuracy") > 0.42, "{report}");
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
    let output = example("custom_task").arg("150").output().unwrap();
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
    assert!(share.trim().parse::<f64>().unwrap() > 27.0, "{last}");
}

/// What an example prints, which must end well.
fn printed(example: &mut Command) -> String {
    let output = example.output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    String::from_utf8(output.stdout).unwrap()
}

/// The share before some words, in percent.
fn percent(text: &str, words: &str) -> f64 {
    let (before, _) = text
        .split_once(&format!("% {words}"))
        .unwrap_or_else(|| panic!("{words}: {text}"));
    let number = before.rsplit(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{number}"))
}

#[test]
fn mazes_are_learned_and_judged() {
    let mazes = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/maze-10x10.csv");
    let text = printed(
        example("maze")
            .args(["--data", mazes, "--steps", "60", "--show", "1"])
            .args(["--set", "batch_size=8", "--set", "ema=0.9"]),
    );
    assert!(
        text.contains("10x10 mazes with 20.2 cells on the path: 270 to learn from, 30 unseen"),
        "{text}"
    );
    assert!(
        text.contains("an unseen maze   the answer   the truth"),
        "{text}"
    );
    assert!(text.contains("of 30 unseen mazes exact"), "{text}");
    // Who leaves every cell blank has 44.8% of them right.
    assert!(percent(&text, "of the cells right") > 46.0, "{text}");
    assert!(text.contains("\na shortest path "), "{text}");

    let output = example("maze")
        .args(["--data", mazes, "--puzzles", "300"])
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        talk.contains("--puzzles: expected 1 to 299, found 300"),
        "{talk}"
    );
}

#[test]
fn arc_tasks_are_written_read_and_voted_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("tasks");
    let text = printed(
        example("arc")
            .args(["--tasks", "1", "--out-tasks"])
            .arg(&folder),
    );
    assert!(text.ends_with("6 tasks\n"), "{text}");
    let tasks = hrm::data::arc::read_folder(&folder).unwrap();
    let names: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(
        names,
        [
            "01-beam",
            "01-fall",
            "01-frame",
            "01-half",
            "01-mirror",
            "01-recolour"
        ]
    );
    let text = printed(
        example("arc")
            .args(["--num-aug", "2", "--steps", "20", "--show", "1", "--data"])
            .arg(&folder),
    );
    assert!(
        text.contains("6 tasks with 24 demonstrations and 6 tests on 7x7 cells; 12 puzzles"),
        "{text}"
    );
    assert!(text.contains("the truth"), "{text}");
    assert!(text.contains("of 18 single answers exact"), "{text}");
    assert!(
        text.contains("of 6 tasks solved with the first answer by vote"),
        "{text}"
    );
}
