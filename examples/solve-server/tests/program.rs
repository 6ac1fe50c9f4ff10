//! The program: a checkpoint from disk, and signals.

use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_solve-server"))
}

#[test]
fn what_cannot_be_served_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .arg("--checkpoint")
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error: "), "{said}");
    let output = program()
        .args(["--checkpoint", "x", "--queue", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("expected 1 to 1048576"), "{said}");
}

#[test]
#[cfg(unix)]
fn it_serves_a_checkpoint_until_it_is_told_to_stop() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use std::sync::Arc;

    use hrm::prelude::*;
    use serde_json::{Value, json};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let puzzles = sudoku::Generator::new(SudokuSize::Four)
        .puzzles(8, 1)
        .unwrap();
    let set = Arc::new(
        PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
    );
    let config = Preset::by_name("trm-small").unwrap().config(&set);
    let device = hrm::device::from_env().unwrap();
    Trainer::new(config, set, &device)
        .unwrap()
        .save(&path)
        .unwrap();

    let mut child = program()
        .arg("--checkpoint")
        .arg(&path)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    let solve = format!("{}/solve", address.trim());
    let mut response = ureq::post(&solve)
        .send_json(json!({ "puzzle": "1.....3........2" }))
        .unwrap();
    let solved: Value = response.body_mut().read_json().unwrap();
    assert_eq!(solved["answer"].as_str().unwrap().len(), 16);

    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("every accepted puzzle was answered"),
        "{said}"
    );
}
