//! Readers of text (maze CSV, ARC JSON) on damaged files: they return a value or an error, in memory that the
//! file's size justifies. `HRM_FUZZ_INPUTS=1000000 cargo test --release -p hrm-data --test fuzz_text` for a long
//! run; without the variable it is a short one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hrm_data::arc::{
    ArcTask, Grid, Pair, challenges_json, parse_challenges, parse_solutions, parse_task,
};
use hrm_data::maze::{MazeGenerator, MazePuzzle, MazeRecipe, read_csv_from, write_csv_to};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The system's allocator, remembering the most that was held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is put into a file to break it.
const PIECES: &[&[u8]] = &[
    b"[",
    b"]",
    b"[[",
    b"]]",
    b"{",
    b"}",
    b"\"",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"10",
    b"1e999",
    b"99999999999999999999999999",
    b"0.5",
    b"\\u0000",
    b"\xff\xfe",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"#",
    b"S",
    b"G",
    b"o",
    b"\"input\":[[1]]",
    b"\"train\":[]",
    b"[[[[[[[[[[[[[[[[",
    b"\"\"\"",
];

fn damage(rng: &mut ChaCha8Rng, valid: &[u8], header: usize) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..rng.random_range(1..3) {
        // At least half of the damage lies behind the header.
        let first = if rng.random_bool(0.7) { header } else { 0 };
        let at = rng.random_range(first.min(bytes.len())..=bytes.len());
        let end = (at + rng.random_range(0..20)).min(bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            // Characters that occur in such a file, so that what is read is often still well-formed.
            6 | 7 if at < bytes.len() => bytes[at] = valid[rng.random_range(header..valid.len())],
            2 => {
                bytes.drain(at..end);
            }
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 if rng.random_bool(0.1) => bytes.truncate(at),
            5 if rng.random_bool(0.02) => {
                let deep = vec![b'['; 5000];
                bytes.splice(at..at, deep);
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes
}

fn arc_task(rng: &mut ChaCha8Rng) -> ArcTask {
    let mut grid = || {
        let (height, width) = (rng.random_range(1..6), rng.random_range(1..6));
        let cells = (0..height * width).map(|_| rng.random_range(0..10));
        Grid::new(height, width, cells.collect()).unwrap()
    };
    let mut pair = || Pair {
        input: grid(),
        output: Some(grid()),
    };
    ArcTask {
        id: "007bbfb7".to_owned(),
        train: vec![pair(), pair()],
        test: vec![pair()],
    }
}

#[test]
fn damaged_files_are_values_or_errors_in_bounded_memory() {
    let inputs = match std::env::var("HRM_FUZZ_INPUTS") {
        Ok(count) => count.parse().expect("HRM_FUZZ_INPUTS is a number"),
        Err(_) => 20_000,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(0xf022);
    let path = Path::new("damaged");
    let mazes: Vec<MazePuzzle> = MazeGenerator::new(MazeRecipe::small(), 1)
        .unwrap()
        .take(3)
        .collect();
    let mut csv = Vec::new();
    write_csv_to(&mut csv, path, "x", &mazes).unwrap();
    let csv_header = csv.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let (mut read, mut refused) = ([0usize; 4], [0usize; 4]);
    for input in 0..inputs {
        let kind = input % 4;
        let task = arc_task(&mut rng);
        let (valid, header) = match kind {
            0 => (csv.clone(), csv_header),
            1 | 2 => (
                challenges_json(std::slice::from_ref(&task)).into_bytes(),
                14,
            ),
            _ => {
                let grids: Vec<&Grid> = task.pairs().map(|pair| &pair.input).collect();
                (
                    serde_json::json!({"007bbfb7": grids})
                        .to_string()
                        .into_bytes(),
                    13,
                )
            }
        };
        // A single task is what stands behind the name.
        let valid = match kind {
            2 => valid[header - 2..valid.len() - 1].to_vec(),
            _ => valid,
        };
        let bytes = damage(&mut rng, &valid, header);
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let ok = match kind {
            0 => read_csv_from(&bytes[..], path, None).is_ok(),
            1 => parse_challenges(&bytes, path).is_ok(),
            2 => parse_task(&bytes, "t", path).is_ok(),
            _ => parse_solutions(&bytes, path).is_ok(),
        };
        let peak = PEAK.load(Ordering::Relaxed) - before;
        assert!(
            peak < 100_000 + 50 * bytes.len(),
            "{peak} bytes for a file of {}",
            bytes.len()
        );
        *if ok {
            &mut read[kind]
        } else {
            &mut refused[kind]
        } += 1;
    }
    eprintln!("read {read:?}, refused {refused:?}");
    // Both happen often, or the damage is no test.
    for kind in 0..4 {
        assert!(read[kind] * 100 > inputs / 4 && refused[kind] * 5 > inputs / 4);
    }
}
