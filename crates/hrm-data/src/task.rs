//! What a task says of tokens, for people and for programs.

use crate::sudoku::{Board, Solver, symbol, verify};
use crate::{DataError, Task, maze};
use maze::Verdict;

impl Task {
    /// The `[S]` tokens of a puzzle as people write it, and as [`Task::line`] does.
    ///
    /// A Sudoku has `.` or `0` for blank, and space, line ends and `|`, `+`, `-` count for nothing; a maze is made of `# SG`,
    /// in one line or with line ends, before which spaces may be missing; of other tasks the numbers of `seq_len` tokens are
    /// given.
    ///
    /// # Errors
    /// What is wrong with it: its cells, a symbol, a rule that the givens break.
    pub fn parse(self, text: &str, seq_len: usize) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Sudoku(size) => {
                let frame = |c: &char| !matches!(c, '|' | '+' | '-');
                let symbols: String = text.chars().filter(frame).collect();
                let board = Board::parse_sized(size, &symbols)?;
                board.check()?;
                Ok(board.tokens())
            }
            Self::Maze { height, width } => {
                maze::check_sides(height, width)?;
                let rows: String = match text.contains('\n') {
                    // Editors cut spaces off the ends of lines.
                    true => text.lines().map(|row| format!("{row:<width$}")).collect(),
                    false => text.to_owned(),
                };
                let maze = maze::Maze::parse(&rows, height, width)?;
                Ok(maze.cells().to_vec())
            }
            Self::Arc | Self::Other => numbers(text, seq_len),
        }
    }

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
                let is_symbol = |&token: &u8| (1..size.vocab_size()).contains(&usize::from(token));
                if let Some(cell) = answer.iter().position(|token| !is_symbol(token)) {
                    let (row, column) = (cell / size.side() + 1, cell % size.side() + 1);
                    return Some(format!(
                        "no digit in row {row} column {column}, but the token {}",
                        answer[cell]
                    ));
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

fn numbers(text: &str, expected: usize) -> Result<Vec<u8>, DataError> {
    let bad = |found: String| DataError::TokenNumbers { expected, found };
    let separator = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let parts = text.split(separator).filter(|part| !part.is_empty());
    let tokens: Result<Vec<u8>, DataError> = parts
        .map(|part| {
            part.parse().map_err(|_| {
                let part: String = part.chars().take(40).collect();
                bad(format!("`{part}`"))
            })
        })
        .collect();
    match tokens? {
        tokens if tokens.len() == expected => Ok(tokens),
        tokens => Err(bad(tokens.len().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sudoku::SudokuSize;

    const FOUR: Task = Task::Sudoku(SudokuSize::Four);

    #[test]
    fn a_sudoku_is_read_with_and_without_its_frame() {
        let framed = "1 . | . .\n. . | 3 .\n----+----\n. . | . .\n. . | . 2\n";
        let tokens = FOUR.parse(framed, 16).unwrap();
        assert_eq!(FOUR.line(&tokens), "1.....3........2");
        assert_eq!(FOUR.parse("1.....3........2", 16).unwrap(), tokens);
    }

    #[test]
    fn a_maze_is_read_in_a_line_and_in_rows_without_their_last_spaces() {
        let task = Task::Maze {
            height: 2,
            width: 3,
        };
        let tokens = task.parse("S  # G", 6).unwrap();
        assert_eq!(task.line(&tokens), "S  # G");
        assert_eq!(task.parse("S\n# G\n", 6).unwrap(), tokens);
        assert!(
            task.parse("S X# G", 6)
                .unwrap_err()
                .to_string()
                .contains("'X'")
        );
    }

    #[test]
    fn what_is_wrong_with_a_puzzle_is_said() {
        let said = |task: Task, text: &str, cells| task.parse(text, cells).unwrap_err().to_string();
        assert!(said(FOUR, "12", 16).contains("16"));
        assert!(said(FOUR, "11..............", 16).contains("two 1s in row 1"));
        assert!(said(FOUR, "5...............", 16).contains('5'));
        assert_eq!(Task::Other.parse("1, 2 [3]", 3).unwrap(), [1, 2, 3]);
        for (text, found) in [("1 2", "2"), ("1 2 x", "`x`"), ("1 2 256", "`256`")] {
            let expected = format!("expected 3 token numbers, found {found}");
            assert_eq!(said(Task::Other, text, 3), expected);
        }
    }

    #[test]
    fn an_unsolvable_sudoku_is_told_from_a_wrong_answer() {
        let board = |text: &str| FOUR.parse(text, 16).unwrap();
        let why = |question: &[u8], answer: &[u8]| FOUR.objection(question, answer, 1000).unwrap();
        // The last cell of the first row sees all four digits.
        let unsolvable = board("123. ...4 .... ....");
        let none = why(&unsolvable, &unsolvable);
        assert_eq!(none, "the puzzle has no solution");
        let wrong = why(&board("1... ..3. .... ...2"), &board("1234 3421 .... ...2"));
        assert!(wrong != none && !wrong.is_empty());
        // The model may answer with the token of padding.
        let mut padded = board("1234 3421 .... ...2");
        padded[5] = 0;
        let why = why(&board("1... ..3. .... ...2"), &padded);
        assert_eq!(why, "no digit in row 2 column 2, but the token 0");
    }

    #[test]
    fn tasks_are_told_by_their_sizes() {
        assert_eq!(Task::guess(6, 16), FOUR);
        assert_eq!(Task::guess(8, 36), Task::Sudoku(SudokuSize::Six));
        assert_eq!(Task::guess(11, 81), Task::Sudoku(SudokuSize::Nine));
        let maze = |side| Task::Maze {
            height: side,
            width: side,
        };
        assert_eq!(Task::guess(6, 100), maze(10));
        assert_eq!(Task::guess(6, 900), maze(30));
        assert_eq!(Task::guess(12, 900), Task::Arc);
        assert_eq!(Task::guess(6, 20), Task::Other);
    }

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
