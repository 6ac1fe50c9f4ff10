//! Thinking as long as a puzzle needs against 16 segments for every puzzle, on a trained model; and what the scheduler costs.
//!
//! `cargo bench -p hrm --bench adaptive` teaches the model of the example `sudoku` for 1,500 steps (two minutes) and asks it unseen
//! puzzles. With `HRM_ADAPTIVE_RUN` (a run folder or checkpoint) and `HRM_ADAPTIVE_DATA` (a data folder, its test split) it takes
//! a trained one. `HRM_DEVICE` chooses the device.
//!
//! Both sides are the same `Reasoner` on the same device with the same bound of 16 segments; they differ in the rule that halts.
//! Each is timed at several batch sizes, in turns, and counts with its best. Labels are compared afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Int, Tensor};
use hrm::core::{Hrm, HrmConfig, LatentState, Levels};
use hrm::data::sudoku::Generator;
use hrm::prelude::*;
use hrm::train::wilson;

/// Bound of both sides.
const SEGMENTS: u32 = 16;
const BATCHES: [usize; 5] = [16, 32, 64, 128, 256];
/// Times that all is measured; the least time counts.
const ROUNDS: usize = 2;
/// Most puzzles asked.
const PUZZLES: usize = 800;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let device = hrm::device::from_env()?;
    let (model, test) = trained(&device)?;
    println!(
        "device {device:?}, {} threads; {} parameters, {} puzzles, at most {SEGMENTS} segments; least time of {ROUNDS}",
        std::thread::available_parallelism()?,
        model.config().num_parameters(),
        test.num_examples().min(PUZZLES),
    );
    let rules = [HaltRule::Fixed, HaltRule::QHalt, HaltRule::Verified];
    let mut best: Vec<Option<Timed>> = vec![None; rules.len()];
    for batch in BATCHES {
        let mut here: Vec<Option<Timed>> = vec![None; rules.len()];
        for _ in 0..ROUNDS {
            for (&rule, here) in rules.iter().zip(&mut here) {
                let timed = ask(&model, &test, batch, rule)?;
                if here.is_none_or(|other| timed.seconds < other.seconds) {
                    *here = Some(timed);
                }
            }
        }
        for ((rule, here), best) in rules.iter().zip(here).zip(&mut best) {
            let Some(timed) = here else { continue };
            println!("batch {batch:>3}  {:<10} {timed}", format!("{rule:?}"));
            if best.is_none_or(|best| timed.rate() > best.rate()) {
                *best = Some(timed);
            }
        }
    }
    println!("each at its best batch:");
    let fixed = best[0].ok_or("no measurement")?;
    for (rule, best) in rules.iter().zip(&best) {
        let Some(best) = best else { continue };
        println!(
            "batch {:>3}  {:<10} {best}: {:.2} times the puzzles/s of Fixed, exact {:+} puzzles",
            best.batch,
            format!("{rule:?}"),
            best.rate() / fixed.rate(),
            best.exact as i64 - fixed.exact as i64,
        );
    }
    scheduler(model.config(), &device)
}

/// A run over all puzzles.
#[derive(Clone, Copy, Debug)]
struct Timed {
    batch: usize,
    puzzles: usize,
    exact: u64,
    segments: u64,
    seconds: f64,
}

impl Timed {
    fn rate(&self) -> f64 {
        self.puzzles as f64 / self.seconds
    }
}

impl std::fmt::Display for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let puzzles = self.puzzles as f64;
        let (low, high) = wilson(self.exact as f64, puzzles);
        write!(
            f,
            "{:>8.1} puzzles/s {:>6.2}% exact ({:.2} to {:.2}) {:>5.2} segments",
            self.rate(),
            100.0 * self.exact as f64 / puzzles,
            100.0 * low,
            100.0 * high,
            self.segments as f64 / puzzles
        )
    }
}

/// Asks all puzzles by a rule.
fn ask(model: &Hrm, test: &PuzzleSet, batch: usize, halt: HaltRule) -> Result<Timed, Failure> {
    let config = ReasonerConfig {
        slots: batch,
        max_segments: SEGMENTS,
        halt,
        trace: false,
    };
    let Task::Sudoku(size) = test.info().task else {
        return Err("expected Sudokus".into());
    };
    let verifier = Arc::new(SudokuVerifier { size });
    let reasoner = Reasoner::new(model, config)?.with_verifier(verifier);
    let count = test.num_examples().min(PUZZLES);
    let puzzles = (0..count).map(|index| {
        let example = test.example(index);
        Puzzle {
            inputs: example.inputs.into_owned(),
            puzzle_id: example.puzzle_id,
        }
    });
    let start = Instant::now();
    let answers: Vec<Answer> = reasoner.solve(puzzles).collect::<Result<_, _>>()?;
    let seconds = start.elapsed().as_secs_f64();
    let right = |answer: &&Answer| *test.example(answer.index).labels == *answer.tokens;
    Ok(Timed {
        batch,
        puzzles: answers.len(),
        exact: answers.iter().filter(right).count() as u64,
        segments: answers.iter().map(|a| u64::from(a.segments)).sum(),
        seconds,
    })
}

/// The model and unseen puzzles: given, or trained here.
fn trained(device: &Device) -> Result<(Hrm, PuzzleSet), Failure> {
    let given = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
    if let (Some(run), Some(data)) = (given("HRM_ADAPTIVE_RUN"), given("HRM_ADAPTIVE_DATA")) {
        let model = Checkpoint::open(&run)?.model(WeightKind::Ema, device)?;
        return Ok((model, PuzzleSet::load(&data, "test")?));
    }
    // The generator gives no two puzzles that are equal under relabelling and symmetry.
    let size = SudokuSize::Six;
    let mut puzzles = Generator::new(size)
        .with_clues(20..=20)
        .puzzles(4000 + PUZZLES, 1)?;
    let test = PuzzleSet::from_sudokus(&puzzles.split_off(4000), size, Augmentation::None)?;
    let set = Arc::new(PuzzleSet::from_sudokus(
        &puzzles,
        size,
        Augmentation::Sudoku,
    )?);
    let mut config = Preset::by_name("trm-small-mlp")?.config(&set);
    config.steps = 1500;
    println!("training trm-small-mlp for {} steps", config.steps);
    let mut trainer = Trainer::new(config, set, device)?;
    for report in &mut trainer {
        report?;
    }
    Ok((trainer.eval_model(), test))
}

const SLOTS: usize = 64;

/// The scheduler's own time: the difference between the reasoner and the plain loop on a model with states of the same shape and
/// as short a segment as can be, as a share of a segment of `config`. A verifier says yes at random to one answer in four, so
/// every segment reads all answers and refills a quarter of the slots: more than halting by the q head asks for.
fn scheduler(config: &HrmConfig, device: &Device) -> Result<(), Failure> {
    let shortest = HrmConfig {
        levels: Levels::Shared { layers: 1 },
        h_cycles: 1,
        l_cycles: 1,
        ..config.clone()
    };
    let mut segment = plain(config, device)?;
    segment()?;
    let times = (0..20).map(|_| time(&mut segment).map(|(taken, ())| taken));
    let segment = times.collect::<Result<Vec<_>, _>>()?;
    let segment = segment.into_iter().min().unwrap_or_default();
    let mut shortest_loop = plain(&shortest, device)?;
    let asked = Arc::new(AtomicU64::new(0));
    let verifier = {
        let asked = asked.clone();
        move |_: &Puzzle, _: &[u8]| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0
        }
    };
    let reasoner_config = ReasonerConfig {
        slots: SLOTS,
        max_segments: 1000,
        halt: HaltRule::Verified,
        trace: false,
    };
    let reasoner = Reasoner::new(&Hrm::new(&shortest, 1, device)?, reasoner_config)?
        .with_verifier(Arc::new(verifier));
    let (cells, tokens) = (config.seq_len, config.vocab_size);
    let puzzles = (0..).map(|number: usize| Puzzle {
        inputs: (0..cells)
            .map(|cell| ((number + cell * cell) % tokens) as u8)
            .collect(),
        puzzle_id: 0,
    });
    let mut answers = reasoner.solve(puzzles);
    let (mut short, mut thinking) = (Duration::MAX, Duration::MAX);
    for _ in 0..300 {
        short = short.min(time(&mut shortest_loop)?.0);
        loop {
            let before = asked.load(Ordering::Relaxed);
            let (next, _answer) = time(|| match answers.next() {
                Some(answer) => Ok(answer?),
                None => Err("the endless queue has ended".into()),
            })?;
            if asked.load(Ordering::Relaxed) > before {
                thinking = thinking.min(next);
                break;
            }
        }
    }
    let own = thinking.saturating_sub(short);
    println!(
        "\nthe scheduler at batch {SLOTS}, states [{SLOTS}, {}, {}]",
        config.total_len(),
        config.hidden_size
    );
    println!("a segment of the model             {segment:>12.3?}");
    println!("the shortest segment, plain loop   {short:>12.3?}");
    println!("the shortest segment, reasoner     {thinking:>12.3?}");
    let share = 100.0 * own.as_secs_f64() / segment.as_secs_f64();
    println!("the scheduler, of a segment        {own:>12.3?} {share:.2}%");
    Ok(())
}

/// The plain loop, a segment a call.
fn plain(
    config: &HrmConfig,
    device: &Device,
) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let model = Hrm::new(config, 1, device)?.frozen();
    let device = model.device();
    let inputs = Tensor::<2, Int>::ones([SLOTS, config.seq_len], &device);
    let ids = Tensor::<1, Int>::zeros([SLOTS], &device);
    let x = model.embed(inputs, model.puzzle_rows(ids));
    let start = model.initial_state();
    let mut state = LatentState {
        z_h: start.z_h.expand(x.dims()),
        z_l: start.z_l.expand(x.dims()),
    };
    Ok(move || {
        state = hrm::core::ops::on_pool(&device, || model.advance(state.clone(), x.clone()));
        Ok(device.sync()?)
    })
}

/// How long a call takes, and what it gives.
fn time<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<(Duration, T), Failure> {
    let start = Instant::now();
    let value = call()?;
    Ok((start.elapsed(), value))
}
