//! Every reader is fed mutations of valid files: an error or a set that can be used, never a panic, never more
//! memory than the file justifies.
//!
//! A few thousand inputs in a normal test run; `.ci/fuzz` feeds a million (`HRM_FUZZ_INPUTS`). An input is named by
//! its number, from which it can be made again with `HRM_FUZZ_FIRST`.

use hrm_data::arc::{ArcSettings, ArcSource, TestUse, build_sets, parse_challenges, parse_task};
use hrm_data::maze::{MazeAugmentation, MazeGenerator, MazeRecipe};
use hrm_data::sudoku::{Board, Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet, Sampler, SamplerConfig, maze, sudoku};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, which notes the largest single allocation.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Readers use buffers of this size whatever the file.
const BUFFERS: usize = 1 << 18;
/// Bytes of memory in one piece that a byte of a file may justify.
const PER_BYTE: usize = 64;

/// Changes a valid file: at least every second time behind `header` bytes.
fn mutate(bytes: &mut Vec<u8>, header: usize, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=3) {
        if bytes.is_empty() {
            return;
        }
        let first = if rng.random() {
            header.min(bytes.len() - 1)
        } else {
            0
        };
        let at = rng.random_range(first..bytes.len());
        let end = rng.random_range(at..bytes.len().min(at + 40)) + 1;
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let numbers = [
                    "-1",
                    "0",
                    "255",
                    "4294967296",
                    "99999999999999999999",
                    "1e999",
                    "0.5",
                ];
                let number = numbers.choose(rng).expect("not empty");
                bytes.splice(at..at, number.bytes());
            }
            6 => {
                let marks: &[u8] = b"{}[]()\",:.'\n\r\0 #SGo-";
                bytes[at] = *marks.choose(rng).expect("not empty");
            }
            _ => {
                let nested = b"[".repeat(rng.random_range(1..2000));
                bytes.splice(at..at, nested);
            }
        }
    }
}

/// Uses a set in every way, which must not panic.
fn exercise(set: PuzzleSet) {
    set.fingerprint();
    for (batch, rows) in set.batches(7) {
        assert!(rows <= batch.batch_size());
    }
    let config = SamplerConfig {
        batch_size: 5,
        seed: 1,
        augment: true,
        exploration: None,
    };
    if let Ok(mut sampler) = Sampler::new(Arc::new(set), config) {
        for _ in 0..2 {
            sampler.next_batch();
        }
    }
}

/// Something that reads, with a valid input.
enum Target {
    /// A file of a data folder, with the split to load and the length of its header.
    Folder(PathBuf, PathBuf, Vec<u8>, usize),
    /// Text or bytes, and what reads them and says whether it could.
    Bytes(&'static str, Vec<u8>, fn(&[u8]) -> bool),
}

fn read_sudokus(bytes: &[u8]) -> bool {
    let Ok(puzzles) = sudoku::read_csv_from(bytes, Path::new("s.csv"), None) else {
        return false;
    };
    assert!(puzzles.iter().all(|puzzle| puzzle.check().is_ok()));
    true
}

fn read_mazes(bytes: &[u8]) -> bool {
    let Ok(puzzles) = maze::read_csv_from(bytes, Path::new("m.csv"), None) else {
        return false;
    };
    let verdicts = |p: &maze::MazePuzzle| p.maze().verify(p.answer()).is_valid();
    assert!(puzzles.iter().all(verdicts));
    true
}

fn read_board(bytes: &[u8]) -> bool {
    let Ok(board) = Board::parse(&String::from_utf8_lossy(bytes)) else {
        return false;
    };
    assert_eq!(Board::parse(&board.to_string()).ok(), Some(board));
    true
}

fn read_challenges(bytes: &[u8]) -> bool {
    parse_challenges(bytes, Path::new("c.json")).is_ok()
}

fn read_task(bytes: &[u8]) -> bool {
    let Ok(task) = parse_task(bytes, "task", Path::new("t.json")) else {
        return false;
    };
    let sources = [ArcSource {
        tasks: &[task],
        tests: TestUse::Train,
    }];
    let settings = ArcSettings {
        augmentations: 3,
        ..ArcSettings::default()
    };
    let Ok(sets) = build_sets(&sources, settings) else {
        return false;
    };
    exercise(sets.train);
    true
}

const TASK: &str = r#"{"train": [{"input": [[1, 2, 3], [0, 0, 9]], "output": [[3], [2]]},
    {"input": [[4, 5, 6]], "output": [[6], [5]]}], "test": [{"input": [[7, 8]], "output": [[8]]}]}"#;

/// Valid folders of every task and the files in them, and texts for the readers of these.
fn targets(dir: &Path) -> Vec<Target> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(6, 1).unwrap();
    let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
    set.save(dir.join("sudoku"), "train").unwrap();
    let mazes: Vec<_> = MazeGenerator::new(MazeRecipe::new(5, 5, 4), 1)
        .unwrap()
        .take(4)
        .collect();
    let set = PuzzleSet::from_mazes(&mazes, Augmentation::Maze(MazeAugmentation::Relabel)).unwrap();
    set.save(dir.join("maze"), "train").unwrap();
    let task = parse_task(TASK.as_bytes(), "a", Path::new("t.json")).unwrap();
    let sources = [ArcSource {
        tasks: &[task],
        tests: TestUse::Train,
    }];
    let settings = ArcSettings {
        augmentations: 3,
        ..ArcSettings::default()
    };
    build_sets(&sources, settings)
        .unwrap()
        .train
        .save(dir.join("arc"), "train")
        .unwrap();

    let mut targets = Vec::new();
    for task in ["sudoku", "maze", "arc"] {
        for folder in [dir.join(task), dir.join(task).join("train")] {
            let entries = std::fs::read_dir(folder).unwrap();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            // File systems list them in any order, and an input's number shall name it.
            paths.sort();
            for path in paths.into_iter().filter(|path| path.is_file()) {
                let bytes = std::fs::read(&path).unwrap();
                let array = path.extension().is_some_and(|extension| extension == "npy");
                let header = if array { 128 } else { 1 };
                targets.push(Target::Folder(dir.join(task), path, bytes, header));
            }
        }
    }
    let mut csv = Vec::new();
    sudoku::write_csv_to(&mut csv, Path::new("s.csv"), &puzzles).unwrap();
    targets.push(Target::Bytes("Sudoku CSV", csv, read_sudokus));
    let mut csv = Vec::new();
    maze::write_csv_to(&mut csv, Path::new("m.csv"), "made", &mazes).unwrap();
    targets.push(Target::Bytes("maze CSV", csv, read_mazes));
    let board = puzzles[0].question.to_string().into_bytes();
    targets.push(Target::Bytes("board", board, read_board));
    targets.push(Target::Bytes("ARC task", TASK.into(), read_task));
    let challenges = format!("{{\"a\": {TASK}, \"b\": {TASK}}}").into_bytes();
    targets.push(Target::Bytes("ARC challenges", challenges, read_challenges));
    targets
}

#[test]
fn no_reader_panics_or_takes_more_memory_than_the_file_justifies() {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect("a number"),
        Err(_) => default,
    };
    let (first, inputs) = (number("HRM_FUZZ_FIRST", 0), number("HRM_FUZZ_INPUTS", 4000));
    // Files are rewritten all the time; in memory that takes no disk.
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let targets = targets(dir.path());
    for target in &targets {
        match target {
            Target::Folder(folder, ..) => exercise(PuzzleSet::load(folder, "train").unwrap()),
            Target::Bytes(name, valid, read) => assert!(read(valid), "{name}"),
        }
    }
    let (mut folders, mut accepted) = (0, 0);
    for input in first..first + inputs {
        let mut rng = ChaCha8Rng::seed_from_u64(input);
        let target = &targets[rng.random_range(0..targets.len())];
        let (name, valid, header) = match target {
            Target::Folder(_, path, bytes, header) => (path.display().to_string(), bytes, *header),
            // The header line of a CSV file has 30 bytes.
            Target::Bytes(name, bytes, _) => (
                (*name).to_owned(),
                bytes,
                if name.ends_with("CSV") { 30 } else { 1 },
            ),
        };
        let mut bytes = valid.clone();
        mutate(&mut bytes, header, &mut rng);
        LARGEST.store(0, Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| match target {
            Target::Folder(folder, path, ..) => {
                std::fs::write(path, &bytes).unwrap();
                let set = PuzzleSet::load(folder, "train");
                let largest = LARGEST.load(Relaxed);
                let usable = set.is_ok();
                // Arrays of bytes are read from the file as long as the set is in use.
                set.into_iter().for_each(exercise);
                std::fs::write(path, valid).unwrap();
                (largest, usable)
            }
            Target::Bytes(_, _, read) => {
                read(&bytes);
                (LARGEST.load(Relaxed), false)
            }
        }));
        let Ok((largest, usable)) = outcome else {
            panic!("input {input}: the reader of {name} panicked");
        };
        folders += u64::from(matches!(target, Target::Folder(..)));
        accepted += u64::from(usable);
        let justified = BUFFERS + PER_BYTE * bytes.len();
        assert!(
            largest <= justified,
            "input {input}: {name} made {largest} bytes of memory"
        );
    }
    println!("{inputs} inputs, {accepted} of {folders} folders still valid");
    // What changes an array's length is refused, so few are: one in forty. Of a few inputs it may be none.
    assert!(inputs < 4000 || accepted * 100 > folders);
}
