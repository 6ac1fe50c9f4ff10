use std::sync::Arc;

use hrm::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = hrm::device::from_env()?;
    let puzzles = sudoku::Generator::new(SudokuSize::Four).puzzles(30, 1)?;
    let set = Arc::new(PuzzleSet::from_sudokus(
        &puzzles,
        SudokuSize::Four,
        Augmentation::Sudoku,
    )?);
    let mut config = Preset::by_name("trm-small")?.config(&set);
    config.steps = 10;
    config.batch_size = 8;
    let mut trainer = Trainer::new(config, set, &device)?;
    for report in &mut trainer {
        if let Some(metrics) = report?.metrics {
            println!("loss {:.3}", metrics.loss());
        }
    }

    let board = sudoku::Board::parse("1... ..3. .... ...2")?;
    let reasoner = Reasoner::new(&trainer.eval_model(), ReasonerConfig::default())?;
    let answer = reasoner.solve_one(Puzzle {
        inputs: board.tokens(),
        puzzle_id: 0,
    })?;
    println!("{:?} after {} segments", answer.tokens, answer.segments);
    Ok(())
}
