//! Teach a small model to mark the shortest path through a maze, and judge what it answers to mazes it has never seen.
//!
//! `cargo run --release --example maze` makes mazes of 10x10 cells with at least 18 on the path, trains for two and a half
//! minutes, and shows answers beside the truth. `--data FILE.csv` takes mazes from a file, `datasets/maze-10x10.csv` or the
//! published ones. Every answer is what the model gives after a fixed number of segments, with no second try.

#[path = "common/answers.rs"]
mod answers;
#[path = "common/training.rs"]
mod training;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use clap::Parser;
use hrm::data::maze::{
    Maze, MazeAugmentation, MazeGenerator, MazePuzzle, MazeRecipe, PATH, Verdict, WALL, character,
    read_csv,
};
use hrm::prelude::*;

use answers::{Drawing, answers, print_beside};
use training::Training;

/// Mazes to make and learn from.
const KNOWN: usize = 4000;

/// Train a small model on mazes and solve unseen ones.
#[derive(Parser)]
struct Options {
    /// CSV file of mazes to use in place of generated ones.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Unseen mazes to solve; default: 200, and a tenth of a file.
    #[arg(long)]
    puzzles: Option<usize>,
    /// Unseen mazes to show.
    #[arg(long, default_value_t = 3)]
    show: usize,
    #[command(flatten)]
    training: Training,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let device = options.training.device()?;
    let (known, unseen) = mazes(&options)?;
    let test = PuzzleSet::from_mazes(&unseen, Augmentation::None)?;
    // Turned and flipped as they are drawn, so each is seen in eight forms.
    let set = PuzzleSet::from_mazes(&known, Augmentation::Maze(MazeAugmentation::Relabel))?;
    let set = Arc::new(set);
    let (maze, mean) = (known[0].maze(), mean_path(&known));
    println!(
        "{}x{} mazes with {mean:.1} cells on the path: {} to learn from, {} unseen",
        maze.height(),
        maze.width(),
        known.len(),
        unseen.len()
    );
    print_beside(&[
        draw("a maze", maze, maze.cells()),
        draw("its shortest path", maze, known[0].answer()),
    ]);

    let config = options.training.config(&set, |_| {})?;
    let segments = config.act.max_segments;
    let parameters = config.model.num_parameters();
    let mut trainer = Trainer::new(config, set, &device)?;
    let seconds = options.training.train(&mut trainer)?;

    let [mut exact, mut optimal, mut valid, mut cells] = [0; 4];
    let answers = answers(&trainer.eval_model(), &test, segments)?;
    for (index, (puzzle, answer)) in unseen.iter().zip(&answers).enumerate() {
        let verdict = puzzle.maze().verify(&answer.tokens);
        match verdict {
            Verdict::Exact => exact += 1,
            Verdict::Optimal => optimal += 1,
            Verdict::Valid => valid += 1,
            Verdict::Invalid(_) => {}
        }
        let pairs = answer.tokens.iter().zip(puzzle.answer());
        cells += pairs.filter(|(given, right)| given == right).count();
        if index < options.show {
            print_beside(&[
                draw("an unseen maze", puzzle.maze(), puzzle.maze().cells()),
                draw("the answer", puzzle.maze(), &answer.tokens),
                draw("the truth", puzzle.maze(), puzzle.answer()),
            ]);
            println!("{verdict}\n");
        }
    }
    let share = |count: usize, all: usize| 100.0 * count as f64 / all as f64;
    let all = unseen.len();
    println!(
        "{exact} of {all} unseen mazes exact: {:.1}%, {:.1}% of the cells right, {segments} segments each",
        share(exact, all),
        share(cells, all * test.info().seq_len)
    );
    println!(
        "a shortest path {:.1}%, a path {:.1}%",
        share(exact + optimal, all),
        share(exact + optimal + valid, all)
    );
    println!(
        "trained here for {seconds:.0} s: {} steps, {parameters} parameters",
        trainer.state().step
    );
    Ok(())
}

/// Mazes to learn from, and unseen ones: none of these is one of those, turned or flipped.
fn mazes(options: &Options) -> anyhow::Result<(Vec<MazePuzzle>, Vec<MazePuzzle>)> {
    let (mut known, count) = match &options.data {
        Some(path) => {
            let mazes = read_csv(path, None)?;
            let tenth = (mazes.len() / 10).max(1);
            (mazes, options.puzzles.unwrap_or(tenth))
        }
        None => {
            let count = options.puzzles.unwrap_or(200);
            let generator = MazeGenerator::new(MazeRecipe::small(), options.training.seed)?;
            (generator.take(KNOWN + count).collect(), count)
        }
    };
    anyhow::ensure!(
        (1..known.len()).contains(&count),
        "--puzzles: expected 1 to {}, found {count}",
        known.len().saturating_sub(1)
    );
    let unseen = known.split_off(known.len() - count);
    let forms: HashSet<Maze> = unseen.iter().map(|p| p.maze().canonical()).collect();
    known.retain(|puzzle| !forms.contains(&puzzle.maze().canonical()));
    anyhow::ensure!(!known.is_empty(), "all mazes to learn from are unseen ones");
    Ok((known, unseen))
}

fn mean_path(mazes: &[MazePuzzle]) -> f64 {
    let cells: usize = mazes.iter().map(MazePuzzle::path_cells).sum();
    cells as f64 / mazes.len() as f64
}

/// Walls faint, ends bold, the path green; red where the answer has changed the question.
fn draw(title: &str, maze: &Maze, tokens: &[u8]) -> Drawing {
    let width = maze.width();
    let style = |asked: u8, token: u8| match token {
        PATH if asked == hrm::data::maze::OPEN => AnsiColor::Green.on_default().bold(),
        _ if asked != token => AnsiColor::Red.on_default().bold(),
        WALL => Style::new().dimmed(),
        _ => Style::new().bold(),
    };
    let cell = |(&asked, &token): (&u8, &u8)| {
        let style = style(asked, token);
        format!("{style}{}{style:#}", character(token))
    };
    let rows = maze.cells().chunks(width).zip(tokens.chunks(width));
    Drawing {
        title: title.to_owned(),
        width,
        lines: rows
            .map(|(asked, given)| asked.iter().zip(given).map(cell).collect())
            .collect(),
    }
}
