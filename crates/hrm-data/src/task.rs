//! What a task says of tokens, for people and for programs.

use crate::sudoku::{Board, Solver, symbol, verify};
use crate::{Task, maze};

impl Task {
    /// Tokens in one line, as programs read them: digits and dots, characters of a maze, or numbers.
    pub fn line(self, tokens: &[u8]) -> String {
        match self {
            Self::Sudoku(_) => tokens
                .iter()
                .map(|token| symbol(token.wrapping_sub(1)))
                .collect(),
            Self::Maze { .. } => maze::text(tokens),
            Self::Arc | Self::Other => {
                let numbers: Vec<String> = tokens.iter().map(u8::to_string).collect();
                numbers.join(" ")
            }
        }
    }

    /// Why the rules refuse an answer: the puzzle has none, or the rule that the answer breaks. None where the task has no rules
    /// or the tokens are not those of a puzzle. After `max_guesses` guesses it is left open whether a Sudoku has a solution.
    pub fn objection(self, inputs: &[u8], answer: &[u8], max_guesses: u64) -> Option<String> {
        match self {
            Self::Sudoku(size) => {
                let board = Board::from_tokens(size, inputs).ok()?;
                let found = Solver::new(1).with_max_guesses(max_guesses).solve(&board);
                if found.complete && found.solutions == 0 {
                    return Some("the puzzle has no solution".to_owned());
                }
                let answer = Board::from_tokens(size, answer).ok()?;
                let breach = verify(&board, &answer).err()?;
                Some(breach.to_string())
            }
            Self::Maze { height, width } => {
                let maze = maze::Maze::from_tokens(inputs.to_vec(), height, width).ok()?;
                match maze.path_cells() {
                    None => Some("no way leads from S to G".to_owned()),
                    Some(_) => Some(maze.verify(answer).to_string()),
                }
            }
            Self::Arc | Self::Other => None,
        }
    }
}
