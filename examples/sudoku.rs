//! Teach a small model Sudoku on the CPU, then watch it think about puzzles it has never seen.
//!
//! `cargo run --release --example sudoku` makes 6x6 puzzles with 20 of 36 cells given, trains for less than three minutes,
//! and solves unseen ones. The weights are trained in this very run; every answer is what the model gives after a fixed number
//! of segments, with no second try and no check by rules.
//!
//! The model is the preset `trm-small-mlp`. TRM's gradient through the whole last cycle learns more from a step than HRM's
//! one-step gradient, and its MLP over the positions more than attention on so short a sequence; both count when there are
//! minutes and not hours. `--preset hrm-small` shows HRM, `--preset trm-small` TRM with attention.

#[path = "common/training.rs"]
mod training;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use clap::Parser;
use hrm::act::Batch;
use hrm::core::Hrm;
use hrm::data::sudoku::{Board, Canonical, Generator, Puzzle, SudokuSize};
use hrm::data::{Augmentation, PuzzleSet};
use hrm::train::{EvalConfig, Trainer, evaluate};

use training::Training;

/// Train a small model on generated Sudokus and solve unseen ones.
#[derive(Parser)]
struct Options {
    /// Side of the boards.
    #[arg(long, value_enum, default_value = "6")]
    size: Size,
    /// Unseen puzzles to solve; default: 400, and 100 of 4x4, of which there are few different ones.
    #[arg(long)]
    puzzles: Option<usize>,
    /// Write what was trained to this file, a checkpoint for `hrm solve` and the like.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print a JSON object on the last line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    training: Training,
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
    let device = options.training.device()?;
    let seed = options.training.seed;
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
    let (known, test) = make_puzzles(&generator, originals, unseen, seed)?;
    let set = Arc::new(PuzzleSet::from_sudokus(&known, size, Augmentation::Sudoku)?);
    let unseen = PuzzleSet::from_sudokus(&test, size, Augmentation::None)?;
    eprintln!(
        "{0}x{0} Sudokus with {clues} of {1} cells given: {2} to learn from, {3} unseen",
        size.side(),
        size.num_cells(),
        known.len(),
        test.len()
    );

    let config = options.training.config(&set, |_| {})?;
    let segments = config.act.max_segments;
    let parameters = config.model.num_parameters();
    let mut trainer = Trainer::new(config, set, &device)?;
    let train_seconds = options.training.train(&mut trainer)?;

    if let Some(path) = &options.out {
        trainer.save(path)?;
    }
    let model = trainer.eval_model();
    let eval = EvalConfig {
        batch_size: 100,
        segments,
        limit: None,
    };
    let result = evaluate(&model, &unseen, &eval, |_| {})?;
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
                "preset": options.training.preset,
                "seed": seed,
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
