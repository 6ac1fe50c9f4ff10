//! The scheduler's own time: what 64 slots cost beyond their segments.
//!
//! `cargo bench -p hrm-act --bench reasoner`
//!
//! A segment of the model, width 96 and 4 + 4 blocks, takes so much longer than the scheduler that its noise would hide it. The
//! scheduler's time is therefore measured as the difference between the reasoner and the plain loop on a model with states
//! of the same shape, `[64, 82, 96]`, and as short a segment as can be; the first lines printed give it as a share of a
//! segment of the model. A verifier says yes at random to one answer in four, so every segment reads all answers, and a
//! quarter of the slots is handed out and refilled: more than halting by the q head asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Int, Tensor};
use divan::Bencher;
use hrm_act::reasoner::{HaltRule, Puzzle, Reasoner, ReasonerConfig};
use hrm_core::{Hrm, HrmConfig, LatentState, Levels, PuzzleEmbeddingConfig, Sizes};

const SLOTS: usize = 64;
const CELLS: usize = 81;

fn main() {
    report();
    divan::main();
}

/// The model whose segment is the measure.
fn model() -> HrmConfig {
    let sizes = Sizes {
        seq_len: CELLS,
        vocab_size: 11,
        num_puzzle_ids: 1,
    };
    HrmConfig {
        hidden_size: 96,
        num_heads: 4,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 96,
            positions: None,
        }),
        ..HrmConfig::hrm(sizes)
    }
}

/// States of the same shape, one block, one cycle.
fn shortest() -> HrmConfig {
    HrmConfig {
        levels: Levels::Shared { layers: 1 },
        h_cycles: 1,
        l_cycles: 1,
        ..model()
    }
}

fn init(config: &HrmConfig) -> Hrm {
    let model = Hrm::new(config, 1, &Device::flex());
    model.expect("a valid configuration").frozen()
}

/// The plain loop, a segment a call.
fn plain(config: &HrmConfig) -> impl FnMut() + use<> {
    let model = init(config);
    let device = model.device();
    let inputs = Tensor::<2, Int>::ones([SLOTS, CELLS], &device);
    let ids = Tensor::<1, Int>::zeros([SLOTS], &device);
    let x = model.embed(inputs, model.puzzle_rows(ids));
    let start = model.initial_state();
    let mut state = LatentState {
        z_h: start.z_h.expand(x.dims()),
        z_l: start.z_l.expand(x.dims()),
    };
    move || {
        state = model.advance(state.clone(), x.clone());
        device.sync().expect("a working device");
    }
}

/// A reasoner that halts at random, with the count of answers it has verified: [`SLOTS`] a segment.
fn reasoner(config: &HrmConfig) -> (Reasoner, Arc<AtomicU64>) {
    let config_of_slots = ReasonerConfig {
        slots: SLOTS,
        max_segments: 1000,
        halt: HaltRule::Verified,
        trace: false,
    };
    let verified = Arc::new(AtomicU64::new(0));
    let count = verified.clone();
    let verifier = move |_: &Puzzle, _: &[u8]| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0
    };
    let reasoner = Reasoner::new(&init(config), config_of_slots).expect("valid numbers");
    (reasoner.with_verifier(Arc::new(verifier)), verified)
}

fn puzzles() -> impl Iterator<Item = Puzzle> {
    (0..).map(|number: usize| Puzzle {
        inputs: (0..CELLS)
            .map(|cell| ((number + cell * cell) % 11) as u8)
            .collect(),
        puzzle_id: 0,
    })
}

/// Answers of about 16 segments of all slots.
const ANSWERS: usize = SLOTS * 4;

/// Time of a call.
fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn report() {
    let mut segment = plain(&model());
    segment();
    let segment = (0..8).map(|_| time(&mut segment)).min().unwrap_or_default();
    let mut shortest_loop = plain(&shortest());
    let (reasoner, verified) = reasoner(&shortest());
    // Endless answers: the batch never shrinks. Both sides take turns, so that what else the machine does hits both, and the
    // least times are compared. Of the calls for the next answer those that think make one segment (or more, where nobody
    // halts); the least time is that of one segment with its refill.
    let mut answers = reasoner.solve(puzzles());
    let (mut shortest_segment, mut thinking) = (Duration::MAX, Duration::MAX);
    for _ in 0..100 {
        shortest_segment = shortest_segment.min(time(&mut shortest_loop));
        loop {
            let before = verified.load(Ordering::Relaxed);
            let next = time(|| assert!(answers.next().is_some_and(|answer| answer.is_ok())));
            if verified.load(Ordering::Relaxed) > before {
                thinking = thinking.min(next);
                break;
            }
        }
    }
    let scheduler = thinking.saturating_sub(shortest_segment);
    let share = 100.0 * scheduler.as_secs_f64() / segment.as_secs_f64();
    println!("a segment of the model             {segment:>12.3?}");
    println!("the shortest segment, plain loop   {shortest_segment:>12.3?}");
    println!("the shortest segment, reasoner     {thinking:>12.3?}");
    println!("the scheduler, of a segment        {scheduler:>12.3?} {share:.2}%");
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn segment_of_the_model(bencher: Bencher) {
    bencher.bench_local(plain(&model()));
}

#[divan::bench(sample_count = 20, sample_size = 5)]
fn shortest_segment(bencher: Bencher) {
    bencher.bench_local(plain(&shortest()));
}

/// About 16 segments.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn shortest_with_reasoner(bencher: Bencher) {
    let (reasoner, _) = reasoner(&shortest());
    let mut answers = reasoner.solve(puzzles());
    bencher.bench_local(|| answers.by_ref().take(ANSWERS).flatten().count());
}
