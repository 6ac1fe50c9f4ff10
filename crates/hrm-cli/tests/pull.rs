//! `hrm pull`, from a local server that speaks the hub's protocol.

mod program;

use std::fs;
use std::path::Path;

use program::server::{nobody, repository, serve};
use program::{Ran, Workshop, ran};

const CONFIG: &str = "arch:\n  H_cycles: 1\n  L_cycles: 3\n  num_heads: 2\n  halt_max_steps: 9\ndata_path: data/sudoku4\n";

fn pull(dir: &Path, address: &str, more: &[&str]) -> Ran {
    let mut command = program::command(dir);
    command
        .args(["pull", "owner/name"])
        .args(more)
        .env("HF_ENDPOINT", address)
        .env("HF_HOME", dir.join("cache"));
    ran(command)
}

/// A workshop and its run's weights, exported.
fn weights() -> (Workshop, Vec<u8>) {
    let workshop = Workshop::with_run();
    workshop.run("export run --out model.safetensors").ok();
    let bytes = fs::read(workshop.path("model.safetensors")).unwrap();
    (workshop, bytes)
}

#[test]
fn a_checkpoint_of_the_hub_becomes_a_run() {
    let (workshop, weights) = weights();
    let address = serve(repository(
        "owner/name",
        &[
            ("README.md", b"# A model\n".to_vec()),
            ("all_config.yaml", CONFIG.into()),
            ("checkpoint", weights),
        ],
    ));
    let dir = workshop.dir();
    let said = pull(dir, &address, &["--out", "pulled", "--json"])
        .ok()
        .objects();
    assert_eq!(said[0]["type"], "imported");
    // The repository's configuration counts, then the file's own.
    assert_eq!(said[0]["max_segments"], 9);
    assert_eq!(said[0]["model"]["seq_len"], 16);
    let evaluate = |run: &str| {
        let line = format!("eval --checkpoint {run} --data data --json --segments 4 --halt fixed");
        workshop.run(&line).ok().objects()[0]["cell_accuracy"].clone()
    };
    assert_eq!(evaluate("pulled"), evaluate("run"));
    pull(dir, &address, &["--out", "pulled"]).refused(&["pulled is there already"]);
    // What was downloaded is not asked for again: the list of files is.
    fs::remove_dir_all(dir.join("pulled")).unwrap();
    pull(dir, &address, &["--out", "pulled"]).ok();
}

#[test]
fn what_goes_wrong_is_named_and_leaves_no_run() {
    let (workshop, weights) = weights();
    let dir = workshop.dir();
    let failed = |address: &str, more: &[&str], words: &[&str]| {
        let args = [&["--out", "pulled"], more].concat();
        pull(dir, address, &args).refused(words);
        assert!(!dir.join("pulled").exists(), "{words:?}");
    };
    let pages = repository("owner/name", &[("checkpoint", weights.clone())]);
    let mut wrong = pages.clone();
    wrong[1].bytes[100] ^= 1;
    failed(&serve(wrong), &[], &["checkpoint", "thrown away"]);
    let mut unannounced = pages.clone();
    unannounced[1].tag = "no checksum".into();
    failed(
        &serve(unannounced),
        &[],
        &["checkpoint", "expected checksums"],
    );
    let mut cut = pages.clone();
    cut[1].cut = 1000;
    failed(&serve(cut), &[], &["checkpoint"]);

    let address = serve(pages);
    failed(
        &address,
        &["--file", "other"],
        &["owner/name/resolve/", "/other: the hub knows no such"],
    );
    failed(
        &address,
        &["--revision", "v7"],
        &["owner/name", "knows no such"],
    );
    failed(
        &address,
        &["--revision", "../x"],
        &["the name of a revision"],
    );
    let gone = nobody();
    failed(&gone, &[], &[&gone]);
    let elsewhere = serve(repository("owner/name", &[("README.md", b"x".to_vec())]));
    failed(
        &elsewhere,
        &[],
        &["expected a file of weights, found README.md"],
    );
    let text = serve(repository(
        "owner/name",
        &[("checkpoint", b"no weights".to_vec())],
    ));
    failed(&text, &[], &["checkpoint"]);

    // A cache that can't be written: a file is in its place. The download of above is still there.
    fs::remove_dir_all(dir.join("cache")).unwrap();
    fs::write(dir.join("cache"), "a file").unwrap();
    failed(&address, &[], &["checkpoint"]);
    fs::remove_file(dir.join("cache")).unwrap();
    // A place for the run that can't be written.
    fs::write(dir.join("file"), "a file").unwrap();
    pull(dir, &address, &["--out", "file/pulled"]).refused(&["file/"]);
    assert_eq!(fs::read(dir.join("file")).unwrap(), b"a file");
    pull(dir, &address, &["--out", "pulled"]).ok();
}
