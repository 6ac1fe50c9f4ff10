//! Runs whose process is killed, or whose disk is full: they go on from a whole checkpoint and end in the very bytes of the
//! unbroken run.
//!
//! `HRM_KILLS` says how many kills (6 without it), `HRM_KILL_SEED` at which moments; `.ci/kill 100` makes a hundred.
#![cfg(unix)]

mod program;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use program::{Ran, TINY, Workshop, command};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Steps that a life of the process makes at most before it is killed.
const STEPS_OF_A_LIFE: usize = 6;
/// Kills beyond those asked for, where none of these has hit a file's writing.
const MORE_KILLS: usize = 4;

fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text}, expected a number")),
        Err(_) => default,
    }
}

/// The arguments of a new run.
fn arguments(preset: &str, out: &str, steps: usize) -> Vec<String> {
    let line = format!(
        "train --preset {preset} --data data --out {out} --steps {steps} --seed 1 --checkpoint-every 2 --eval-every 5 \
         --json {TINY} --set log_every=1 --set act.max_segments=3"
    );
    line.split_whitespace().map(str::to_owned).collect()
}

/// Every file of a run but its lock, by its name in the folder.
fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [run.to_owned(), run.join("checkpoints")] {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() && path.file_name() != Some(OsStr::new(".lock")) {
                let name = path.strip_prefix(run).expect("below it").to_owned();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[track_caller]
fn assert_equal(broken: &Path, whole: &Path) {
    let (broken, whole) = (files(broken), files(whole));
    let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&broken), names(&whole));
    for (name, bytes) in &broken {
        assert!(bytes == &whole[name], "{} differs", name.display());
    }
}

/// Whether a file is being written, or was when the process was killed.
fn is_torn(run: &Path) -> bool {
    [run.to_owned(), run.join("checkpoints")]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .any(|entry| entry.path().extension() == Some(OsStr::new("tmp")))
}

/// When a process is to be killed.
enum Moment {
    /// So long after its start: while it reads data and checkpoint.
    Early(Duration),
    /// So long after so many steps.
    Between(usize, Duration),
    /// While it writes a file, after so many steps.
    Writing(usize),
}

/// Kills a process at a moment. False where it ended before.
fn kill(mut child: Child, moment: &Moment, run: &Path) -> bool {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut steps = |count: usize| {
        let mut seen = 0;
        while seen < count {
            match lines.next() {
                Some(Ok(line)) if line.contains("\"type\":\"step\"") => seen += 1,
                Some(Ok(_)) => {}
                _ => break,
            }
        }
    };
    match moment {
        Moment::Early(delay) => thread::sleep(*delay),
        Moment::Between(count, delay) => {
            steps(*count);
            thread::sleep(*delay);
        }
        Moment::Writing(count) => {
            steps(*count);
            let begun = Instant::now();
            while !is_torn(run) && begun.elapsed() < Duration::from_secs(2) {
                std::hint::spin_loop();
            }
        }
    }
    let alive = child.try_wait().expect("a child").is_none();
    child.kill().expect("SIGKILL");
    child.wait().expect("a child");
    alive
}

/// `life` as [`STEPS_OF_A_LIFE`].
fn killed_runs_end_as_unbroken_ones(
    preset: &str,
    seed: usize,
    kills: usize,
    life: usize,
    settings: &str,
) -> Workshop {
    let workshop = Workshop::with_data();
    let steps = (life + 2) * (kills + MORE_KILLS) + 10;
    let start = |out: &str| {
        let settings = settings.split_whitespace().map(str::to_owned);
        arguments(preset, out, steps)
            .into_iter()
            .chain(settings)
            .collect::<Vec<_>>()
    };
    program::hrm(workshop.dir(), start("whole")).ok();

    let run = workshop.path("broken");
    let go_on = || match run.join("config.json").exists() {
        true => ["train", "--resume", "broken", "--json"]
            .map(str::to_owned)
            .to_vec(),
        // Killed before there was a run: what it left may be written over.
        false => [start("broken"), vec!["--force".to_owned()]].concat(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
    let (mut killed, mut torn) = (0, 0);
    while killed < kills || (torn == 0 && killed < kills + MORE_KILLS) {
        let count = rng.random_range(0..life);
        let moment = match rng.random_range(0..4) {
            0 => Moment::Early(Duration::from_millis(rng.random_range(0..150))),
            1 => Moment::Between(count, Duration::from_micros(rng.random_range(0..40_000))),
            _ => Moment::Writing(count),
        };
        let child = command(workshop.dir())
            .args(go_on())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let alive = kill(child, &moment, &run);
        assert!(alive, "the run ended after {killed} of {kills} kills");
        killed += 1;
        torn += usize::from(is_torn(&run));
    }
    let last = program::hrm(workshop.dir(), go_on()).ok();
    let left = last
        .objects()
        .iter()
        .filter(|line| line["type"] == "step")
        .count();
    println!(
        "{preset}: {killed} kills (seed {seed}), {torn} of them while a file was written; the last life made {left} of {steps} steps"
    );
    assert!(torn > 0, "no kill has hit a file's writing");
    assert_equal(&run, &workshop.path("whole"));
    workshop
}

#[test]
fn a_killed_hrm_ends_as_an_unbroken_one() {
    let (kills, seed) = (number("HRM_KILLS", 6), number("HRM_KILL_SEED", 1));
    killed_runs_end_as_unbroken_ones("hrm-small", seed, kills / 2, STEPS_OF_A_LIFE, "");
}

#[test]
fn a_killed_trm_ends_as_an_unbroken_one() {
    let (kills, seed) = (number("HRM_KILLS", 6), number("HRM_KILL_SEED", 1));
    let kills = kills.div_ceil(2);
    killed_runs_end_as_unbroken_ones("trm-small-mlp", seed, kills, STEPS_OF_A_LIFE, "");
}

#[test]
fn a_killed_run_with_faults_ends_as_an_unbroken_one() {
    let (kills, seed) = (number("HRM_KILLS", 6), number("HRM_KILL_SEED", 1));
    let settings = [
        // So low a limit that every few steps a loss lies above it: lives that come past some.
        (
            16,
            "--set guard.remedy=skip_batch --set guard.spike=0.4 --set guard.window=2 --set guard.retries=1000",
        ),
        // So high a rate that the second step is none: lives that end around it.
        (
            STEPS_OF_A_LIFE,
            "--set optimizer.lr=1e25 --set optimizer.weight_decay=0 --set guard.rate_factor=1e-14",
        ),
    ];
    // Many short runs: one of a thousand steps with such a limit does nothing but go back.
    let rounds = (kills / 6).max(1);
    for ((life, settings), round) in settings
        .into_iter()
        .flat_map(|of| (0..rounds).map(move |round| (of, round)))
    {
        let workshop =
            killed_runs_end_as_unbroken_ones("trm-small-mlp", seed + round, 4, life, settings);
        let metrics = fs::read_to_string(workshop.path("whole/metrics.jsonl")).expect("metrics");
        let faults = metrics.matches("\"fault\"").count();
        println!("{faults} faults with {settings}");
        assert!(faults > 0, "{metrics}");
    }
}

/// Runs the program so that no file of it grows beyond `blocks` of 512 bytes.
fn limited(dir: &Path, blocks: u64, args: &[String]) -> Ran {
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_hrm")])
        .args(args)
        .current_dir(dir)
        .env_remove("HRM_DEVICE")
        .output()
        .expect("a shell");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let workshop = Workshop::with_data();
    let args = arguments("trm-small-mlp", "whole", 10);
    program::hrm(workshop.dir(), args).ok();
    // The first checkpoint, without moments, fits; the next doesn't.
    let args = arguments("trm-small-mlp", "full", 10);
    let size = fs::metadata(workshop.path("whole/checkpoints/step-000000010.safetensors"))
        .expect("a checkpoint")
        .len();
    let ran = limited(workshop.dir(), size * 9 / 10 / 512, &args);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("cannot write") && ran.stderr.contains("step-"),
        "{}",
        ran.stderr
    );
    let run = workshop.path("full");
    assert!(!is_torn(&run), "a torn file was left behind");
    let names: Vec<PathBuf> = files(&run).into_keys().collect();
    assert!(
        names.contains(&PathBuf::from("checkpoints/step-000000000.safetensors")),
        "{names:?}"
    );
    workshop.run("eval --checkpoint full --data data").ok();
    // With room again it goes on, and ends as if nothing had been.
    workshop.run("train --resume full").ok();
    assert_equal(&run, &workshop.path("whole"));
}

#[test]
fn a_run_in_use_is_refused() {
    let workshop = Workshop::with_data();
    let mut child = command(workshop.dir())
        .args(arguments("trm-small-mlp", "run", 1_000_000))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("UTF-8");
    let drain = thread::spawn(move || lines.for_each(drop));
    let resumed = workshop.run("train --resume run");
    let forced = workshop.train("run", "--force");
    // Before it looks at the file.
    let imported = workshop.run("import nowhere.safetensors --out run --force");
    child.kill().expect("SIGKILL");
    child.wait().expect("a child");
    drain.join().expect("no panic");
    resumed.refused(&["run is in use by another process"]);
    forced.refused(&["run is in use by another process"]);
    imported.refused(&["run is in use by another process"]);
    // The lock goes with the process.
    workshop
        .run("train --resume run --steps 1000001 --quiet --device nowhere")
        .refused(&["nowhere"]);
    let config = fs::read(workshop.path("run/config.json")).expect("a run");
    assert!(!config.is_empty());
}
