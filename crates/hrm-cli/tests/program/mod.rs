//! Runs the program as a user does.
#![allow(dead_code)] // Each test file uses a part of it.

pub mod server;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The objects of `--json`.
    pub fn objects(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
            .collect()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Exit code 2, nothing on stdout, and all of `words` in the message, no part of which is said twice.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in {}",
                self.stderr
            );
        }
        if let Some(part) = said_twice(&self.stderr) {
            panic!("{part:?} is said twice in {}", self.stderr);
        }
        self
    }
}

/// A folder of the shared data, or `None` (outside of CI) where `HRM_SHARED_DIR` is unset.
pub fn shared(path: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("HRM_SHARED_DIR");
    if dir.is_none() {
        let ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!ci, "CI needs HRM_SHARED_DIR");
        println!("skipped: HRM_SHARED_DIR is not set");
    }
    dir.map(|dir| PathBuf::from(dir).join(path))
}

/// A part of an error's message that it repeats. Parts are parted by colons, as an error and its causes are; short ones, such
/// as the numbers of lines, may come again.
pub fn said_twice(stderr: &str) -> Option<&str> {
    stderr.split("error: ").find_map(|message| {
        let parts: Vec<_> = message.split(": ").map(str::trim).collect();
        let repeated = |(place, part): (usize, &&str)| {
            part.len() > 8 && parts[..place].iter().any(|earlier| earlier.contains(*part))
        };
        let found = parts.iter().enumerate().find(|part| repeated(*part));
        found.map(|(_, part)| *part)
    })
}

/// The program, ready to run in a folder, deaf to the environment of the tests.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hrm"));
    command
        .current_dir(dir)
        .env_remove("HRM_DEVICE")
        .stdin(Stdio::null());
    command
}

pub fn hrm<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>) -> Ran {
    let mut command = command(dir);
    command.args(args);
    ran(command)
}

/// Runs a command to its end.
pub fn ran(mut command: Command) -> Ran {
    let output = command.output().expect("the program starts");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|said| String::from_utf8(said).expect("UTF-8"));
    Ran {
        code: output.status.code(),
        stdout,
        // Paths as the tests have them.
        stderr: match cfg!(windows) {
            true => stderr.replace('\\', "/"),
            false => stderr,
        },
    }
}

/// A command line in one string; no argument has a space in it.
pub fn words(dir: &Path, line: &str) -> Ran {
    hrm(dir, line.split_whitespace())
}

/// A folder with `puzzles.csv`, the data folder `data` and a short run `run` on it.
pub struct Workshop {
    folder: TempDir,
}

impl Workshop {
    /// Only the puzzles and the data.
    pub fn with_data() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        words(
            dir,
            "data sudoku generate --size 4 --count 40 --clues 6 --seed 1 --out puzzles.csv",
        )
        .ok();
        words(
            dir,
            "data build sudoku --input puzzles.csv --test-count 8 --seed 1 --out data",
        )
        .ok();
        Self { folder }
    }

    pub fn with_run() -> Self {
        let workshop = Self::with_data();
        workshop.train("run", "").ok();
        workshop
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A short training of a tiny model.
    pub fn train(&self, out: &str, more: &str) -> Ran {
        words(
            self.dir(),
            &format!(
                "train --preset trm-small --data data --out {out} --set steps=4 --set seed=1 --set checkpoint_every=2 {TINY} {more}"
            ),
        )
    }

    pub fn run(&self, line: &str) -> Ran {
        words(self.dir(), line)
    }

    /// Every file below the folder with its bytes, but for the lock of runs.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name() != Some(OsStr::new(".lock")) {
                    let bytes = fs::read(&path).expect("a file");
                    files.insert(path, bytes);
                }
            }
        }
        files
    }

    /// Runs something that must change no file.
    #[track_caller]
    pub fn untouched(&self, run: impl FnOnce() -> Ran) -> Ran {
        let before = self.files();
        let ran = run();
        let after = self.files();
        assert!(
            before == after,
            "files changed: {:?} -> {:?}",
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        ran
    }
}

/// Settings that make a model of a few thousand weights.
pub const TINY: &str = "--set model.hidden_size=16 --set model.num_heads=2 --set model.puzzle_embedding.dim=16 \
                        --set batch_size=4 --set log_every=2";
