//! A thousand tasks under a thousand augmentations each: the memory and the time of building, saving and loading
//! them. The published arrays of such a set take 1.3 GB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hrm_data::PuzzleSet;
use hrm_data::arc::{ArcSettings, ArcSource, ArcTask, Grid, Pair, TestUse, build_sets};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The system's allocator, counting.
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

fn measured<T>(what: &str, run: impl FnOnce() -> T) -> (T, Duration, usize, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let value = run();
    let took = start.elapsed();
    let held = HELD.load(Ordering::Relaxed) - before;
    let peak = PEAK.load(Ordering::Relaxed) - before;
    eprintln!(
        "{what}: {took:.2?}, {:.1} MB held, {:.1} MB at most",
        held as f64 / 1e6,
        peak as f64 / 1e6
    );
    (value, took, held, peak)
}

fn tasks() -> Vec<ArcTask> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..1000)
        .map(|index| {
            let mut grid = || {
                let (height, width) = (rng.random_range(3..20), rng.random_range(3..20));
                let cells = (0..height * width).map(|_| rng.random_range(0..10));
                Grid::new(height, width, cells.collect()).unwrap()
            };
            let mut pair = || Pair {
                input: grid(),
                output: Some(grid()),
            };
            ArcTask {
                id: format!("{index:08x}"),
                train: (0..3).map(|_| pair()).collect(),
                test: vec![pair()],
            }
        })
        .collect()
}

#[test]
fn a_million_puzzles_are_small_and_quick() {
    let tasks = tasks();
    let source = ArcSource {
        tasks: &tasks,
        tests: TestUse::Train,
    };
    let build = || build_sets(&[source], ArcSettings::default()).unwrap();
    let (sets, built, held, _) = measured("built", build);
    assert_eq!(sets.train.num_puzzles(), 1_001_000);
    assert_eq!(sets.train.num_examples(), 4_004_000);
    assert!(held < 50_000_000, "{held} bytes");

    let folder = tempfile::tempdir().unwrap();
    measured("saved", || sets.train.save(folder.path(), "train").unwrap());
    let load = || PuzzleSet::load(folder.path(), "train").unwrap();
    let (loaded, took, held, peak) = measured("loaded", load);
    assert_eq!(loaded.num_puzzles(), 1_001_000);
    assert_eq!(loaded.identifiers(), sets.train.identifiers());
    assert!(held < 50_000_000, "{held} bytes");
    assert!(peak < 50_000_000, "{peak} bytes at most");
    if !cfg!(debug_assertions) {
        assert!(built < Duration::from_secs(4) && took < Duration::from_secs(4));
    }
}
