//! What a task says of tokens, for people and for programs.

use crate::sudoku::{Board, Solver, symbol, verify};
use crate::{Task, maze};
use maze::Verdict;

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

    /// Why the rules refuse an answer: the puzzle has none, or the rule that the answer breaks. None where the answer is right,
    /// the task has no rules or the tokens are not those of a puzzle. A way through a maze must be a shortest one. After `max_guesses` guesses it is left open whether a Sudoku has a solution.
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
                    Some(shortest) => match maze.verify(answer) {
                        Verdict::Exact | Verdict::Optimal => None,
                        Verdict::Valid => {
                            // A path marks every cell between its ends.
                            let marked = answer.iter().filter(|&&token| token == maze::PATH);
                            let more = (marked.count() + 2).saturating_sub(shortest);
                            Some(format!("a path, but {more} cells longer than the shortest"))
                        }
                        Verdict::Invalid(flaw) => Some(flaw.to_string()),
                    },
                }
            }
            Self::Arc | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_maze_is_refused_with_what_is_wrong() {
        let task = Task::Maze {
            height: 2,
            width: 3,
        };
        let tokens = |text: &str| -> Vec<u8> {
            text.chars()
                .map(|character| maze::token(character).unwrap())
                .collect()
        };
        let said =
            |question: &str, answer: &str| task.objection(&tokens(question), &tokens(answer), 1);
        // The label, another shortest path, a detour, none.
        assert_eq!(said("S G   ", "SoG   "), None);
        assert_eq!(said("S    G", "So  oG"), None);
        assert_eq!(said("S    G", "S  ooG"), None);
        assert_eq!(
            said("S G   ", "S Gooo").as_deref(),
            Some("a path, but 2 cells longer than the shortest")
        );
        assert_eq!(
            said("S G   ", "S G   ").as_deref(),
            Some("the marked cells do not lead from S to G")
        );
        assert_eq!(
            said("S#G # ", "S#G # ").as_deref(),
            Some("no way leads from S to G")
        );
    }
}
