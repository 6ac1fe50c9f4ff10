//! A maze: its cells as tokens, from text and back.

use std::fmt;

use super::search::Search;
use crate::DataError;
use crate::dihedral::Dihedral;

/// Token of padding.
pub const PAD: u8 = 0;
/// Token of a wall, `#`.
pub const WALL: u8 = 1;
/// Token of an open cell, a space.
pub const OPEN: u8 = 2;
/// Token of the start, `S`.
pub const START: u8 = 3;
/// Token of the goal, `G`.
pub const GOAL: u8 = 4;
/// Token of an open cell on the path, `o`; in answers only.
pub const PATH: u8 = 5;
/// Number of tokens.
pub const VOCAB_SIZE: usize = 6;
/// Largest height and width.
pub const MAX_SIDE: usize = 255;

/// The token of a character of the published files, `# SGo`.
pub fn token(character: char) -> Option<u8> {
    match character {
        '#' => Some(WALL),
        ' ' => Some(OPEN),
        'S' => Some(START),
        'G' => Some(GOAL),
        'o' => Some(PATH),
        _ => None,
    }
}

/// The character of a token; `.` for padding, `?` for what is no token.
pub fn character(token: u8) -> char {
    match token {
        PAD => '.',
        WALL => '#',
        OPEN => ' ',
        START => 'S',
        GOAL => 'G',
        PATH => 'o',
        _ => '?',
    }
}

/// A question: walls and open cells with exactly one start and one goal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Maze {
    height: usize,
    width: usize,
    cells: Vec<u8>,
    start: usize,
    goal: usize,
}

impl Maze {
    /// Reads `height * width` characters of `# SG`, row by row, without line ends and untrimmed.
    ///
    /// # Errors
    /// Sides out of range, another number of characters or other ones, or not one start and one goal.
    pub fn parse(text: &str, height: usize, width: usize) -> Result<Self, DataError> {
        let cells = parse_cells(text, height, width, "'#', ' ', 'S', 'G'")?;
        Self::from_tokens(cells, height, width)
    }

    /// [`Maze::parse`] for a square maze of any size.
    ///
    /// # Errors
    /// As [`Maze::parse`], or if the number of characters is no square.
    pub fn parse_square(text: &str) -> Result<Self, DataError> {
        let side = square_side(text)?;
        Self::parse(text, side, side)
    }

    /// Reads a drawing of one line per row; short lines are filled with open cells.
    ///
    /// # Errors
    /// As [`Maze::parse`].
    pub fn parse_rows(text: &str) -> Result<Self, DataError> {
        let rows: Vec<&str> = text.lines().collect();
        let width = rows
            .iter()
            .map(|row| row.chars().count())
            .max()
            .unwrap_or(0);
        check_sides(rows.len(), width)?;
        let flat: String = rows.iter().map(|row| format!("{row:<width$}")).collect();
        Self::parse(&flat, rows.len(), width)
    }

    /// Takes tokens, [`WALL`] to [`GOAL`], row by row.
    ///
    /// # Errors
    /// Sides out of range, another number of cells or other tokens, or not one start and one goal.
    pub fn from_tokens(cells: Vec<u8>, height: usize, width: usize) -> Result<Self, DataError> {
        check_sides(height, width)?;
        if cells.len() != height * width {
            return Err(DataError::MazeCells {
                expected: height * width,
                found: cells.len(),
            });
        }
        if let Some(cell) = cells
            .iter()
            .position(|token| !(WALL..=GOAL).contains(token))
        {
            return Err(DataError::MazeSymbol {
                row: cell / width + 1,
                column: cell % width + 1,
                expected: "'#', ' ', 'S', 'G'",
                found: character(cells[cell]),
            });
        }
        let find = |wanted: u8| {
            let mut found = (0..cells.len()).filter(|&cell| cells[cell] == wanted);
            (found.next(), found.count())
        };
        match (find(START), find(GOAL)) {
            ((Some(start), 0), (Some(goal), 0)) => Ok(Self {
                height,
                width,
                cells,
                start,
                goal,
            }),
            ((start, more_starts), (goal, more_goals)) => Err(DataError::MazeEnds {
                starts: usize::from(start.is_some()) + more_starts,
                goals: usize::from(goal.is_some()) + more_goals,
            }),
        }
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The tokens, row by row.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// Index of the start.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Index of the goal.
    pub fn goal(&self) -> usize {
        self.goal
    }

    /// Number of walls.
    pub fn walls(&self) -> usize {
        self.cells.iter().filter(|&&token| token == WALL).count()
    }

    /// Cells on a shortest path, start and goal counted; `None` where there is none.
    pub fn path_cells(&self) -> Option<usize> {
        let mut answer = vec![PAD; self.cells.len()];
        Search::new().label_into(&self.cells, self.height, self.width, &mut answer)
    }

    /// The published label: the question with one shortest path marked, chosen by breadth-first search with
    /// the neighbours tried in the order down, left, right, up. `None` where no way leads to the goal.
    pub fn label(&self) -> Option<Vec<u8>> {
        let mut answer = vec![PAD; self.cells.len()];
        Search::new().label_into(&self.cells, self.height, self.width, &mut answer)?;
        Some(answer)
    }

    /// The maze under a symmetry.
    #[must_use]
    pub fn transform(&self, symmetry: Dihedral) -> Self {
        let cells = symmetry.apply(&self.cells, self.height, self.width);
        let (height, width) = symmetry.shape(self.height, self.width);
        let position = |wanted| {
            cells
                .iter()
                .position(|&token| token == wanted)
                .unwrap_or_default()
        };
        let (start, goal) = (position(START), position(GOAL));
        Self {
            height,
            width,
            cells,
            start,
            goal,
        }
    }

    /// The least of the eight mazes that are this one under a symmetry: equal for two mazes exactly if one is
    /// the other turned or flipped.
    #[must_use]
    pub fn canonical(&self) -> Self {
        Dihedral::ALL
            .into_iter()
            .map(|symmetry| self.transform(symmetry))
            .min()
            .unwrap_or_else(|| self.clone())
    }

    /// The characters in one line, as in the published files.
    pub fn to_text(&self) -> String {
        text(&self.cells)
    }
}

impl fmt::Display for Maze {
    /// One line per row, with a line end after each but the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.cells.chunks_exact(self.width).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&text(row))?;
        }
        Ok(())
    }
}

/// A maze with its answer: a path marked by [`PATH`] between start and goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MazePuzzle {
    maze: Maze,
    answer: Vec<u8>,
}

impl MazePuzzle {
    /// A maze with its published label.
    ///
    /// # Errors
    /// [`DataError::MazeNoPath`] if no way leads from start to goal.
    pub fn solve(maze: Maze) -> Result<Self, DataError> {
        let answer = maze.label().ok_or(DataError::MazeNoPath)?;
        Ok(Self { maze, answer })
    }

    /// A maze with an answer from outside, which must be a path from start to goal, if not the shortest.
    ///
    /// # Errors
    /// If the answer is no such path, with what is wrong with it.
    pub fn new(maze: Maze, answer: Vec<u8>) -> Result<Self, DataError> {
        match maze.verify(&answer) {
            super::Verdict::Invalid(flaw) => Err(DataError::MazeAnswer {
                flaw: flaw.to_string(),
            }),
            _ => Ok(Self { maze, answer }),
        }
    }

    /// Reads question and answer of `height * width` characters each.
    ///
    /// # Errors
    /// As [`Maze::parse`], or if the answer is none of the maze.
    pub fn parse(
        question: &str,
        answer: &str,
        height: usize,
        width: usize,
    ) -> Result<Self, DataError> {
        let maze = Maze::parse(question, height, width)?;
        let answer = parse_cells(answer, height, width, "'#', ' ', 'S', 'G', 'o'")?;
        Self::new(maze, answer)
    }

    /// The question.
    pub fn maze(&self) -> &Maze {
        &self.maze
    }

    /// The answer's tokens, row by row.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Cells on the marked path, start and goal counted.
    pub fn path_cells(&self) -> usize {
        self.answer.iter().filter(|&&token| token == PATH).count() + 2
    }
}

/// The characters of tokens, in one line.
pub fn text(tokens: &[u8]) -> String {
    tokens.iter().map(|&token| character(token)).collect()
}

pub(crate) fn check_sides(height: usize, width: usize) -> Result<(), DataError> {
    let fits = |side| (1..=MAX_SIDE).contains(&side);
    if fits(height) && fits(width) {
        Ok(())
    } else {
        Err(DataError::MazeSide { height, width })
    }
}

pub(super) fn square_side(text: &str) -> Result<usize, DataError> {
    let found = text.chars().count();
    let side = found.isqrt();
    if side * side == found {
        Ok(side)
    } else {
        Err(DataError::MazeNotSquare { found })
    }
}

fn parse_cells(
    text: &str,
    height: usize,
    width: usize,
    expected: &'static str,
) -> Result<Vec<u8>, DataError> {
    check_sides(height, width)?;
    let found = text.chars().count();
    if found != height * width {
        return Err(DataError::MazeCells {
            expected: height * width,
            found,
        });
    }
    text.chars()
        .enumerate()
        .map(|(cell, found)| {
            token(found).ok_or(DataError::MazeSymbol {
                row: cell / width + 1,
                column: cell % width + 1,
                expected,
                found,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_prefers_down_then_left_then_right_then_up() {
        let maze = Maze::parse_rows("S  \n   \n  G").unwrap();
        // From S down is tried first, so the left column finds its cells first.
        assert_eq!(text(&maze.label().unwrap()), "S  o  ooG");
        assert_eq!(maze.path_cells(), Some(5));
        let back = Maze::parse_rows("G  \n   \n  S").unwrap();
        assert_eq!(text(&back.label().unwrap()), "G  o  ooS");
    }

    #[test]
    fn spaces_at_the_ends_are_cells() {
        let maze = Maze::parse_square(" S#G").unwrap();
        assert_eq!(maze.to_text(), " S#G");
        assert_eq!(maze.to_string(), " S\n#G");
        assert_eq!(maze.start(), 1);
        assert_eq!(maze.path_cells(), Some(2));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let fault = |text: &str| Maze::parse_square(text).unwrap_err().to_string();
        assert_eq!(
            fault("S #"),
            "3 cells are no square; give the height and the width"
        );
        assert_eq!(
            fault("S #x"),
            "row 2, column 2: expected one of '#', ' ', 'S', 'G', found 'x'"
        );
        assert_eq!(
            fault("SoG "),
            "row 1, column 2: expected one of '#', ' ', 'S', 'G', found 'o'"
        );
        assert_eq!(fault("SS  "), "expected one S and one G, found 2 and 0");
        assert_eq!(
            fault(""),
            "expected a maze of 1 to 255 rows and columns, found 0x0"
        );
        assert_eq!(
            Maze::parse("S", 1, 300).unwrap_err().to_string(),
            "expected a maze of 1 to 255 rows and columns, found 1x300"
        );
    }

    #[test]
    fn a_walled_off_goal_has_no_label() {
        let maze = Maze::parse_rows("S#G").unwrap();
        assert_eq!(maze.label(), None);
        assert!(matches!(
            MazePuzzle::solve(maze),
            Err(DataError::MazeNoPath)
        ));
    }

    #[test]
    fn turned_mazes_share_their_canonical_form() {
        let maze = Maze::parse_rows("S# \n  G").unwrap();
        for symmetry in Dihedral::ALL {
            assert_eq!(maze.transform(symmetry).canonical(), maze.canonical());
        }
        let other = Maze::parse_rows("G# \n  S").unwrap();
        assert_ne!(maze.canonical(), other.canonical());
    }
}
