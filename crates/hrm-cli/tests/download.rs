//! `hrm data download`, from a local server; what it brings is built, looked at and trained on.

mod program;

use std::fs;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use program::server::{Page, nobody, serve};
use program::{Ran, ran, words};

fn download(dir: &Path, address: &str, set: &str, more: &[&str]) -> Ran {
    let mut command = program::command(dir);
    command
        .args(["data", "download", set])
        .args(more)
        .env("HF_ENDPOINT", address)
        .env("HRM_GITHUB_ENDPOINT", address);
    ran(command)
}

fn generated(dir: &Path, line: &str) -> String {
    let line = format!("data {line} --out made.csv --force");
    words(dir, &line).ok();
    fs::read_to_string(dir.join("made.csv")).unwrap()
}

fn pages(repository: &str, train: &str, test: &str) -> Vec<Page> {
    let page =
        |file, text: &str| Page::new(&format!("/datasets/{repository}/resolve/main/{file}"), text);
    vec![page("train.csv", train), page("test.csv", test)]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Three tasks, packed as GitHub packs a repository.
fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let tasks = [("training/a", 1), ("training/b", 2), ("evaluation/c", 3)];
    for (name, colour) in tasks {
        let pair = format!(r#"{{"input": [[{colour}, 0], [0, 5]], "output": [[0, {colour}]]}}"#);
        // A shape of its own: no other task has this test, whatever its colours.
        let row = format!("[[{}]]", vec!["7"; colour + 2].join(", "));
        let test = format!(r#"{{"input": {row}, "output": {row}}}"#);
        let text = format!(r#"{{"train": [{pair}], "test": [{test}]}}"#);
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = format!("ARC-AGI-master/data/{name}.json");
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn sudokus_and_mazes_are_downloaded_and_built() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let sudokus = |count, seed| {
        let line = format!("sudoku generate --size 4 --clues 6 --count {count} --seed {seed}");
        generated(dir, &line)
    };
    let mazes = |count, seed| {
        let line = format!("maze generate --size 6 --min-path 6 --count {count} --seed {seed}");
        generated(dir, &line)
    };
    let mut all = pages("sapientinc/sudoku-extreme", &sudokus(30, 1), &sudokus(5, 2));
    all.extend(pages(
        "sapientinc/maze-30x30-hard-1k",
        &mazes(8, 1),
        &mazes(3, 2),
    ));
    let address = serve(all);

    let ran = download(dir, &address, "sudoku-extreme", &[]).ok();
    assert!(ran.stdout.contains("licence none stated"), "{}", ran.stdout);
    assert!(ran.stdout.contains("train.csv"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("sapientinc/sudoku-extreme"),
        "{}",
        ran.stderr
    );
    words(
        dir,
        "data build sudoku --input sudoku-extreme/train.csv --train-count 20 --test sudoku-extreme/test.csv --out sudoku4",
    )
    .ok();
    let found = words(dir, "data inspect sudoku4 --json").ok().objects();
    assert_eq!(found[0]["splits"][1]["examples"], 20);
    let said = words(
        dir,
        "data build sudoku --input sudoku-extreme/train.csv --train-count 31 --out more",
    );
    said.refused(&["--train-count", "1 to 30", "found 31"]);

    let ran = download(dir, &address, "maze-hard", &["--out", "mazes", "--json"]).ok();
    let said = &ran.objects()[0];
    assert_eq!(said["type"], "downloaded");
    assert_eq!(said["files"][1]["file"], "test.csv");
    words(
        dir,
        "data build maze --input mazes/train.csv --test mazes/test.csv --out maze6",
    )
    .ok();
    assert_eq!(
        names(dir),
        ["made.csv", "maze6", "mazes", "sudoku-extreme", "sudoku4"]
    );
}

#[test]
fn what_has_come_is_kept_and_what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let train = generated(
        dir,
        "sudoku generate --size 4 --clues 8 --count 200 --seed 3",
    );
    let mut broken = pages("sapientinc/sudoku-extreme", &train, &train);
    broken[1].cut = 1500;
    let whole = serve(pages("sapientinc/sudoku-extreme", &train, &train));
    let set = "sudoku-extreme";
    // The train file comes whole, of the test file a part; another try goes on.
    broken[1].cut = 500;
    download(dir, &serve(broken), set, &["--out", "x"])
        .refused(&["test.csv", "2000 bytes are kept"]);
    assert_eq!(names(dir), [".x.sudoku-extreme.download", "made.csv"]);
    download(dir, &whole, set, &["--out", "x"]).ok();
    assert_eq!(names(dir), ["made.csv", "x"]);
    assert_eq!(fs::read_to_string(dir.join("x/test.csv")).unwrap(), train);

    // Nothing is written over, and a failure changes nothing.
    download(dir, &whole, set, &["--out", "x"]).refused(&["x is there already", "--force"]);
    fs::write(dir.join("x/mine"), "mine").unwrap();
    download(dir, &nobody(), set, &["--out", "x", "--force"]).refused(&["train.csv"]);
    let unknown = serve(Vec::new());
    download(dir, &unknown, set, &["--out", "x", "--force"]).refused(&["knows no such"]);
    assert_eq!(names(dir), ["made.csv", "x"]);
    assert_eq!(fs::read_to_string(dir.join("x/mine")).unwrap(), "mine");
    let mut wrong = pages("sapientinc/sudoku-extreme", &train, &train);
    wrong[0].bytes[60] ^= 1;
    download(dir, &serve(wrong), set, &["--out", "y"]).refused(&["train.csv", "thrown away"]);
    assert!(!dir.join("y").exists());
    download(dir, &whole, set, &["--out", "x", "--force"]).ok();
    assert_eq!(fs::read_to_string(dir.join("x/mine")).unwrap(), "mine");
    download(dir, &whole, set, &["--out", "made.csv/x"]).refused(&["made.csv"]);
    download(dir, &whole, "sudoku-extrem", &[]).refused(&["arc-agi-1"]);
    let sha256 = "0".repeat(64);
    download(dir, &whole, set, &["--out", "z", "--sha256", &sha256])
        .refused(&["announces its own"]);
}

#[test]
fn arc_tasks_are_downloaded_built_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let address = serve(vec![Page::new(
        "/fchollet/ARC-AGI/archive/HEAD.tar.gz",
        archive(),
    )]);
    let ran = download(dir, &address, "arc-agi-1", &["--json"]).ok();
    let said = &ran.objects()[0];
    assert_eq!(
        (&said["tasks"], &said["licence"]),
        (&3.into(), &"Apache-2.0".into())
    );
    assert_eq!(said["files"][0]["sha256"].as_str().map(str::len), Some(64));
    words(
        dir,
        "data build arc --input arc-agi-1/data/training --test arc-agi-1/data/evaluation --num-aug 4 --out arc",
    )
    .ok();
    let found = words(dir, "data inspect arc --show 0 --json")
        .ok()
        .objects();
    assert_eq!(found[0]["task"], "arc");
    words(
        dir,
        &format!(
            "train --preset trm-small --data arc --out run --steps 2 {}",
            program::TINY
        ),
    )
    .ok();
    words(dir, "eval --checkpoint run --data arc --segments 1").ok();
    let page = Page::new("/fchollet/ARC-AGI/archive/HEAD.tar.gz", "<html>");
    download(dir, &serve(vec![page]), "arc-agi-1", &["--out", "y"]).refused(&["archive.tar.gz"]);
    assert!(!dir.join("y").exists());
}
