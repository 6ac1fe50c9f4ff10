//! Puzzles as text: what a client sends and what it gets back.

use hrm::prelude::*;

/// Guesses after which it is left open whether a Sudoku has a solution: a few milliseconds.
const MAX_GUESSES: u64 = 1000;

/// How the puzzles of a model are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notation {
    task: Task,
    sizes: Sizes,
}

impl Notation {
    /// The notation of a task; where the task is not known, as of an imported model, that which the sizes tell.
    pub(crate) fn new(task: Task, sizes: Sizes) -> Self {
        let task = match (task, SudokuSize::from_num_cells(sizes.seq_len)) {
            (Task::Other, Ok(size)) if size.vocab_size() == sizes.vocab_size => Task::Sudoku(size),
            (Task::Other, _) => Task::infer(sizes.vocab_size, sizes.seq_len),
            (task, _) => task,
        };
        Self { task, sizes }
    }

    pub(crate) fn task(&self) -> Task {
        self.task
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The task in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self.task {
            Task::Sudoku(_) => "sudoku",
            Task::Maze { .. } => "maze",
            Task::Arc => "arc",
            Task::Other => "other",
        }
    }

    /// The tokens of a puzzle, or what is wrong with it.
    ///
    /// A Sudoku has `.` or `0` for blank, and space, line ends and `|`, `+`, `-` count for nothing; a maze is made of `# SG`,
    /// in one line or with line ends; of other tasks the token numbers are given.
    pub(crate) fn parse(&self, text: &str) -> Result<Vec<u8>, String> {
        let said = |error: hrm::data::DataError| error.to_string();
        match self.task {
            Task::Sudoku(size) => {
                let frame = |c: &char| !matches!(c, '|' | '+' | '-');
                let symbols: String = text.chars().filter(frame).collect();
                let board = sudoku::Board::parse_sized(size, &symbols).map_err(said)?;
                board.check().map_err(said)?;
                Ok(board.tokens())
            }
            Task::Maze { height, width } => {
                let rows: String = match text.contains('\n') {
                    true => text.lines().map(|row| format!("{row:<width$}")).collect(),
                    false => text.to_owned(),
                };
                let maze = maze::Maze::parse(&rows, height, width).map_err(said)?;
                Ok(maze.cells().to_vec())
            }
            Task::Arc | Task::Other => self.parse_numbers(text),
        }
    }

    fn parse_numbers(&self, text: &str) -> Result<Vec<u8>, String> {
        let expected = self.sizes.seq_len;
        let separator = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
        let parts = text.split(separator).filter(|part| !part.is_empty());
        let tokens: Result<Vec<u8>, String> = parts
            .map(|part| {
                part.parse().map_err(|_| {
                    let part: String = part.chars().take(40).collect();
                    format!("expected {expected} token numbers, found `{part}`")
                })
            })
            .collect();
        match tokens? {
            tokens if tokens.len() == expected => Ok(tokens),
            tokens => Err(format!(
                "expected {expected} token numbers, found {}",
                tokens.len()
            )),
        }
    }

    /// Tokens in one line, as [`Notation::parse`] reads them.
    pub(crate) fn line(&self, tokens: &[u8]) -> String {
        self.task.line(tokens)
    }

    /// Why the rules refuse an answer: the puzzle has none, or the rule that the answer breaks.
    pub(crate) fn why(&self, inputs: &[u8], answer: &[u8]) -> Option<String> {
        self.task.objection(inputs, answer, MAX_GUESSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notation(task: Task, seq_len: usize, vocab_size: usize) -> Notation {
        let sizes = Sizes {
            seq_len,
            vocab_size,
            num_puzzle_ids: 1,
        };
        Notation::new(task, sizes)
    }

    #[test]
    fn a_sudoku_is_read_with_and_without_its_frame() {
        let four = notation(Task::Other, 16, 6);
        assert_eq!(four.name(), "sudoku");
        let framed = "1 . | . .\n. . | 3 .\n----+----\n. . | . .\n. . | . 2\n";
        let tokens = four.parse(framed).unwrap();
        assert_eq!(four.line(&tokens), "1.....3........2");
        assert_eq!(four.parse("1.....3........2").unwrap(), tokens);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let four = notation(Task::Sudoku(SudokuSize::Four), 16, 6);
        let said = |text: &str| four.parse(text).unwrap_err();
        assert!(said("12").contains("16"), "{}", said("12"));
        assert!(said("11..............").contains("two 1s in row 1"));
        assert!(said("5...............").contains('5'));
        let other = notation(Task::Other, 3, 9);
        assert_eq!(other.parse("1, 2 [3]"), Ok(vec![1, 2, 3]));
        assert!(other.parse("1 2 x").unwrap_err().contains("`x`"));
        assert!(other.parse("1 2").unwrap_err().contains("found 2"));
    }

    #[test]
    fn an_unsolvable_sudoku_is_told_from_a_wrong_answer() {
        let four = notation(Task::Sudoku(SudokuSize::Four), 16, 6);
        // The last cell of the first row sees all four digits.
        let unsolvable = four.parse("123. ...4 .... ....").unwrap();
        let why = four.why(&unsolvable, &unsolvable).unwrap();
        assert_eq!(why, "the puzzle has no solution");
        let fine = four.parse("1... ..3. .... ...2").unwrap();
        let answer = four.parse("1234 3421 .... ...2").unwrap();
        let why = four.why(&fine, &answer).unwrap();
        assert!(why != "the puzzle has no solution" && !why.is_empty());
    }
}
