//! Draws puzzles and answers as text, in colour: what was given is bold, what was found green, what has just changed yellow
//! and marked with `*`, what contradicts a given red.

use std::fmt::Write;

use anstyle::{AnsiColor, Color, Style};
use hrm::data::sudoku::symbol;
use hrm::data::{arc as arc_data, maze as maze_data};
use hrm::prelude::*;

const GIVEN: Style = Style::new().bold();
const FOUND: Style = coloured(AnsiColor::Green);
const CHANGED: Style = coloured(AnsiColor::Yellow).bold();
const WRONG: Style = coloured(AnsiColor::Red).bold();
const FAINT: Style = Style::new().dimmed();

/// Backgrounds of ARC's colours 0 to 9, near the usual ones.
const ARC_COLOURS: [u8; 10] = [16, 27, 160, 34, 220, 244, 201, 208, 117, 88];

const fn coloured(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// How the tokens of a task are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing {
    task: Task,
    seq_len: usize,
}

impl Drawing {
    pub(crate) fn new(task: Task, seq_len: usize) -> Self {
        Self { task, seq_len }
    }

    /// A question, `[S]` tokens.
    pub(crate) fn question(&self, inputs: &[u8]) -> String {
        self.draw(inputs, inputs, None)
    }

    /// An answer, `[S]` tokens, to its question; with `previous` what differs from that is marked.
    pub(crate) fn answer(&self, inputs: &[u8], answer: &[u8], previous: Option<&[u8]>) -> String {
        self.draw(inputs, answer, previous)
    }

    /// The tokens in one line, as programs read them: digits and dots, characters of a maze, or numbers.
    pub(crate) fn line(&self, tokens: &[u8]) -> String {
        self.task.line(tokens)
    }

    fn draw(&self, inputs: &[u8], answer: &[u8], previous: Option<&[u8]>) -> String {
        if inputs.len() != self.seq_len || answer.len() != self.seq_len {
            return self.line(answer);
        }
        match self.task {
            Task::Sudoku(size) => sudoku_text(size, inputs, answer, previous),
            Task::Maze { width, .. } => maze_text(width, inputs, answer, previous),
            Task::Arc => arc_text(answer, previous),
            Task::Other => numbers_text(answer, previous),
        }
    }
}

/// Style of a cell, and whether it has just changed.
fn style_of(given: Option<u8>, token: u8, before: Option<u8>) -> (Style, bool) {
    let changed = before.is_some_and(|before| before != token);
    let style = match given {
        Some(given) if given != token => WRONG,
        _ if changed => CHANGED,
        Some(_) => GIVEN,
        None => FOUND,
    };
    (style, changed)
}

/// What stands behind a cell that has just changed, so that it is seen without colours too.
fn mark(changed: bool) -> char {
    if changed { '*' } else { ' ' }
}

fn paint(text: &mut String, style: Style, what: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{style}{what}{style:#}");
}

fn sudoku_text(size: SudokuSize, inputs: &[u8], answer: &[u8], previous: Option<&[u8]>) -> String {
    const BLANK: u8 = 1;
    let side = size.side();
    let (box_rows, box_columns) = (size.box_rows(), size.box_columns());
    let mut text = String::new();
    for row in 0..side {
        if row > 0 {
            text.push('\n');
            if row % box_rows == 0 {
                let cell = if previous.is_some() { 3 } else { 2 };
                let line: Vec<String> = (0..side / box_columns)
                    .map(|at| "-".repeat(box_columns * cell + usize::from(at > 0)))
                    .collect();
                let line = line.join("+");
                paint(&mut text, FAINT, line.trim_end());
                text.push('\n');
            }
        }
        for column in 0..side {
            if column > 0 {
                text.push(' ');
                if column % box_columns == 0 {
                    paint(&mut text, FAINT, "| ");
                }
            }
            let cell = row * side + column;
            let (Some(&token), Some(&asked)) = (answer.get(cell), inputs.get(cell)) else {
                continue;
            };
            let before = previous.and_then(|previous| previous.get(cell).copied());
            let given = (asked != BLANK).then_some(asked);
            let (style, changed) = style_of(given, token, before);
            let style = if token == BLANK && !changed {
                FAINT
            } else {
                style
            };
            paint(&mut text, style, symbol(token.wrapping_sub(1)));
            if previous.is_some() {
                paint(&mut text, style, mark(changed));
            }
        }
    }
    text
}

fn maze_text(width: usize, inputs: &[u8], answer: &[u8], previous: Option<&[u8]>) -> String {
    let mut text = String::new();
    for (cell, (&asked, &token)) in inputs.iter().zip(answer).enumerate() {
        if cell > 0 && cell % width == 0 {
            text.push('\n');
        }
        let before = previous.and_then(|previous| previous.get(cell).copied());
        let given = (asked != maze_data::OPEN).then_some(asked);
        let (style, changed) = style_of(given, token, before);
        let style = match token {
            maze_data::WALL if given == Some(token) && !changed => FAINT,
            _ => style,
        };
        paint(&mut text, style, maze_data::character(token));
        if previous.is_some() {
            paint(&mut text, style, mark(changed));
        }
    }
    text
}

fn arc_text(tokens: &[u8], previous: Option<&[u8]>) -> String {
    let Some(grid) = arc_data::crop(tokens) else {
        return "(no grid)".to_owned();
    };
    let mut text = String::new();
    for (index, row) in grid.rows().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        for (column, &colour) in row.iter().enumerate() {
            let background = ARC_COLOURS
                .get(usize::from(colour))
                .copied()
                .unwrap_or_default();
            let style = Style::new().bg_color(Some(Color::Ansi256(background.into())));
            let cell = index * arc_data::MAX_SIDE + column;
            let before = previous.and_then(|previous| previous.get(cell));
            let changed = before.is_some_and(|&before| before != colour + arc_data::COLOUR);
            paint(&mut text, style, format_args!("{colour}{}", mark(changed)));
        }
    }
    text
}

fn numbers_text(tokens: &[u8], previous: Option<&[u8]>) -> String {
    let number = |(cell, token): (usize, &u8)| {
        let before = previous.and_then(|previous| previous.get(cell));
        match before {
            Some(before) if before != token => format!("{token}*"),
            _ => token.to_string(),
        }
    };
    let numbers: Vec<String> = tokens.iter().enumerate().map(number).collect();
    numbers.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_sudoku_is_drawn_with_its_boxes() {
        let drawing = Drawing::new(Task::Sudoku(SudokuSize::Four), 16);
        let tokens = sudoku::Board::parse("12.. .... .... ...4")
            .unwrap()
            .tokens();
        assert_eq!(
            plain(&drawing.question(&tokens)),
            "1 2 | . .\n. . | . .\n----+-----\n. . | . .\n. . | . 4"
        );
        assert_eq!(drawing.line(&tokens), "12.............4");
    }

    #[test]
    fn what_has_changed_is_marked_without_colours_too() {
        let drawing = Drawing::new(Task::Sudoku(SudokuSize::Four), 16);
        let inputs = sudoku::Board::parse("12.. .... .... ...4")
            .unwrap()
            .tokens();
        let mut answer = inputs.clone();
        answer[2] = 4;
        let text = plain(&drawing.answer(&inputs, &answer, Some(&inputs)));
        assert_eq!(text.lines().next(), Some("1  2  | 3* . "));
    }

    #[test]
    fn a_maze_is_drawn_in_rows() {
        let drawing = Drawing::new(
            Task::Maze {
                height: 3,
                width: 3,
            },
            9,
        );
        let maze = maze::Maze::parse_rows("S #\n  #\n  G").unwrap();
        let label = maze.label().unwrap();
        assert_eq!(
            plain(&drawing.answer(maze.cells(), &label, None)),
            "S #\no #\nooG"
        );
        assert_eq!(
            plain(&drawing.answer(maze.cells(), &label, Some(maze.cells()))),
            "S   # \no*  # \no*o*G "
        );
    }

    #[test]
    fn what_has_changed_of_a_grid_of_arc_and_of_numbers_is_marked() {
        let canvas = |rows: &[&[u8]]| {
            let mut tokens = vec![arc_data::PAD; arc_data::CELLS];
            let grid = arc_data::Grid::from_rows(rows).unwrap();
            arc_data::draw(&grid, (0, 0), arc_data::PAD, &mut tokens);
            tokens
        };
        let drawing = Drawing::new(Task::Arc, arc_data::CELLS);
        let before = canvas(&[&[1, 2], &[3, 4]]);
        let after = canvas(&[&[1, 5, 6], &[3, 4, 0]]);
        assert_eq!(
            plain(&drawing.answer(&before, &after, Some(&before))),
            "1 5*6*\n3 4 0*"
        );
        assert_eq!(plain(&drawing.question(&before)), "1 2 \n3 4 ");

        let drawing = Drawing::new(Task::Other, 3);
        assert_eq!(
            drawing.answer(&[1, 2, 3], &[1, 9, 3], Some(&[1, 2, 3])),
            "1 9* 3"
        );
        assert_eq!(drawing.question(&[1, 2, 3]), "1 2 3");
    }
}
