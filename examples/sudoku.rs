//! Teach a small model Sudoku on the CPU, then watch it think about puzzles it has never seen.
//!
//! `cargo run --release --example sudoku` makes 6x6 puzzles with 20 of 36 cells given, trains for less than three minutes,
//! and solves unseen ones. The weights are trained in this very run; every answer is what the model gives after a fixed number
//! of segments, with no second try and no check by rules.
//!
//! The model is the preset `trm-small-mlp`. TRM's gradient through the whole last cycle learns more from a step than HRM's
//! one-step gradient, and its MLP over the positions more than attention on so short a sequence; both count when there are
//! minutes and not hours. `--preset hrm-small` shows HRM, `--preset trm-small` TRM with attention.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use burn::tensor::Device;
use clap::Parser;
use hrm::act::Batch;
use hrm::core::Hrm;
use hrm::data::PuzzleSet;
use hrm::data::sudoku::{Board, Canonical, Generator, Puzzle, SudokuSize};
use hrm::train::{EvalConfig, Preset, Trainer, evaluate};
use indicatif::{ProgressBar, ProgressStyle};

/// Train a small model on generated Sudokus and solve unseen ones.
#[derive(Parser)]
struct Options {
    /// Seed of the puzzles, the weights and the training.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Side of the boards.
    #[arg(long, value_enum, default_value = "6")]
    size: Size,
    /// Device to compute on; default: the environment's HRM_DEVICE, else flex, the CPU.
    #[arg(long)]
    device: Option<String>,
    /// Minutes to train.
    #[arg(long, default_value_t = 2.5)]
    minutes: f64,
    /// Steps to train, in place of minutes.
    #[arg(long, conflicts_with = "minutes")]
    steps: Option<u64>,
    /// Recipe: trm-small-mlp, trm-small or hrm-small.
    #[arg(long, default_value = "trm-small-mlp")]
    preset: String,
    /// A field of the recipe, as key=value; may be given several times.
    #[arg(long)]
    set: Vec<String>,
    /// Unseen puzzles to solve; default: 400, and 100 of 4x4, of which there are few different ones.
    #[arg(long)]
    puzzles: Option<usize>,
    /// Write what was trained to this file, a checkpoint for `hrm solve` and the like.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print a JSON object on the last line.
    #[arg(long)]
    json: bool,
}

/// Sides that the example offers, with the cells given.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Size {
    /// 6 of 16 cells given
    #[value(name = "4")]
    Four,
    /// 20 of 36 cells given
    #[value(name = "6")]
    Six,
    /// 45 of 81 cells given
    #[value(name = "9")]
    Nine,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let device = match &options.device {
        Some(name) => hrm::device::parse(name)?,
        None => hrm::device::from_env()?,
    };
    if let Some(path) = &options.out {
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
    }
    // Puzzles are augmented as they are drawn, so each is seen in many forms.
    let (size, clues, originals, unseen) = match options.size {
        Size::Four => (SudokuSize::Four, 6, 250, 100),
        Size::Six => (SudokuSize::Six, 20, 4000, 400),
        Size::Nine => (SudokuSize::Nine, 45, 4000, 400),
    };
    let generator = Generator::new(size).with_clues(clues..=clues);
    let unseen = options.puzzles.unwrap_or(unseen);
    let (known, test) = make_puzzles(&generator, originals, unseen, options.seed)?;
    let set = Arc::new(PuzzleSet::from_sudoku(&known, size, true)?);
    let unseen = PuzzleSet::from_sudoku(&test, size, false)?;
    eprintln!(
        "{0}x{0} Sudokus with {clues} of {1} cells given: {2} to learn from, {3} unseen",
        size.side(),
        size.num_cells(),
        known.len(),
        test.len()
    );

    let mut config = Preset::by_name(&options.preset)?.config(&set);
    config.seed = options.seed;
    for change in &options.set {
        let (key, value) = change.split_once('=').context("--set wants key=value")?;
        config.set(key, value)?;
    }
    let segments = config.act.max_segments;
    let parameters = config.model.num_parameters();
    let mut trainer = Trainer::new(config, set, &device)?;
    let train_seconds = train(&mut trainer, &options)?;

    if let Some(path) = &options.out {
        trainer.save(path)?;
    }
    let model = trainer.eval_model();
    let eval = EvalConfig {
        batch_size: 100,
        segments,
        limit: None,
    };
    let result = evaluate(&model, &unseen, &eval, &device, |_| {})?;
    show_thinking(&model, &unseen, &test, segments, &device)?;
    println!(
        "{} of {} unseen puzzles solved: {:.1}% exact, {:.1}% of the cells right, {segments} segments each",
        result.exact,
        result.puzzles,
        100.0 * result.exact_accuracy,
        100.0 * result.cell_accuracy,
    );
    println!(
        "trained here for {train_seconds:.0} s: {} steps, {parameters} parameters",
        trainer.state().step
    );
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "exact_accuracy": result.exact_accuracy,
                "exact_interval": result.exact_interval,
                "cell_accuracy": result.cell_accuracy,
                "puzzles": result.puzzles,
                "clues": clues,
                "segments": segments,
                "train_seconds": train_seconds,
                "steps": trainer.state().step,
                "parameters": parameters,
                "preset": options.preset,
                "seed": options.seed,
            })
        );
    }
    Ok(())
}

/// Puzzles with one solution; no test puzzle equals a training puzzle under relabelling and symmetry.
fn make_puzzles(
    generator: &Generator,
    originals: usize,
    unseen: usize,
    seed: u64,
) -> anyhow::Result<(Vec<Puzzle>, Vec<Puzzle>)> {
    anyhow::ensure!(unseen > 0, "--puzzles must be at least 1");
    let mut train = generator.puzzles(originals + unseen, seed)?;
    let test = train.split_off(originals);
    let canonical = |puzzle: &Puzzle| Canonical::of(&puzzle.question, &puzzle.answer);
    let seen: HashSet<Canonical> = train.iter().map(canonical).collect::<Result<_, _>>()?;
    for puzzle in &test {
        anyhow::ensure!(
            !seen.contains(&canonical(puzzle)?),
            "an unseen puzzle was seen"
        );
    }
    Ok((train, test))
}

/// Trains until the time is up, with the schedule stretched over the steps that fit into it, or for a number of steps.
fn train(trainer: &mut Trainer, options: &Options) -> anyhow::Result<f64> {
    let budget = Duration::from_secs_f64(options.minutes * 60.0);
    if let Some(steps) = options.steps {
        trainer.set_steps(steps);
    }
    let start = Instant::now();
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}")?;
    let bar = ProgressBar::new(1000).with_style(style);
    loop {
        let elapsed = start.elapsed();
        let step = trainer.state().step;
        let done = match options.steps {
            Some(steps) => step as f64 / steps as f64,
            None => elapsed.as_secs_f64() / budget.as_secs_f64(),
        };
        bar.set_position((1000.0 * done) as u64);
        if done >= 1.0 {
            break;
        }
        if options.steps.is_none() && step >= 20 {
            // So many steps fit into the time, by the pace so far.
            let pace = elapsed.as_secs_f64() / step as f64;
            trainer.set_steps((budget.as_secs_f64() / pace) as u64);
        }
        let report = trainer.step()?;
        if let Some(metrics) = report.metrics {
            bar.set_message(format!(
                "step {:>5}  loss {:.3}  exact {:>5.1}%  segments {:.1}",
                report.step,
                metrics.loss(),
                100.0 * metrics.exact_accuracy(),
                metrics.mean_segments()
            ));
        }
    }
    bar.finish_and_clear();
    Ok(start.elapsed().as_secs_f64())
}

/// Prints one board after every segment; cells that changed are in brackets.
fn show_thinking(
    model: &Hrm,
    unseen: &PuzzleSet,
    puzzles: &[Puzzle],
    segments: u32,
    device: &Device,
) -> anyhow::Result<()> {
    let Some((rows, _)) = unseen.batches(1).next() else {
        return Ok(());
    };
    let question = &puzzles[0].question;
    let size = question.size();
    println!("\nan unseen puzzle\n{}", draw(question, question));
    let batch = Batch::from_host(&rows, device);
    let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
    let mut state = model.initial_state();
    let mut shown = question.clone();
    for segment in 1..=segments {
        let output;
        (state, output) = model.segment(state, x.clone());
        let tokens: Vec<u8> = output
            .logits
            .argmax(2)
            .try_into_vec_as::<i32>()?
            .iter()
            .map(|&token| token as u8)
            .collect();
        // A model early in training may answer with a token that is no digit; such a cell stays blank.
        let cells: Vec<u8> = tokens.iter().map(|token| token.saturating_sub(1)).collect();
        let board = Board::from_cells(size, &cells)?;
        println!("after segment {segment}\n{}", draw(&board, &shown));
        shown = board;
    }
    let right = shown == puzzles[0].answer;
    println!("{}\n", if right { "solved" } else { "not solved" });
    Ok(())
}

fn draw(board: &Board, before: &Board) -> String {
    let n = board.size().side();
    let mut text = String::new();
    for row in 0..n {
        for column in 0..n {
            let digit = board.get(row, column);
            let symbol = hrm::data::sudoku::symbol(digit);
            text.push_str(&if digit == before.get(row, column) {
                format!(" {symbol} ")
            } else {
                format!("[{symbol}]")
            });
        }
        text.push('\n');
    }
    text
}
