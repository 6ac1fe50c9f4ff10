//! Says whether an answer is the published label, a shortest path, a path, or none.

use std::fmt;

use super::grid::{Maze, OPEN, PATH};
use super::search::Search;

/// Steps after which the search for an order of the marked cells gives up. Paths need one step per cell; only
/// markings that fill whole areas need more.
const MAX_ORDER_STEPS: usize = 100_000;

/// What an answer to a maze is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The published label, cell by cell.
    Exact,
    /// Another shortest path.
    Optimal,
    /// A path from start to goal that is longer than needed.
    Valid,
    /// No path.
    Invalid(Flaw),
}

impl Verdict {
    /// The label or another shortest path.
    pub fn is_optimal(&self) -> bool {
        matches!(self, Self::Exact | Self::Optimal)
    }

    /// A path, whatever its length.
    pub fn is_valid(&self) -> bool {
        !matches!(self, Self::Invalid(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Optimal => f.write_str("optimal"),
            Self::Valid => f.write_str("valid"),
            Self::Invalid(flaw) => write!(f, "invalid: {flaw}"),
        }
    }
}

/// Why an answer is no path. Rows and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// The answer has another number of cells.
    Cells {
        /// Cells of the question.
        expected: usize,
        /// Cells of the answer.
        found: usize,
    },
    /// A wall, an end or a wrong token where the question has something else.
    Changed {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// What the question has there.
        question: char,
        /// What the answer has there.
        answer: char,
    },
    /// The marked cells do not lead from start to goal.
    Broken,
    /// A marked cell that the way from the start does not reach.
    Stray {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
    },
    /// Start and goal are connected, but the marked cells branch and are no single path.
    Branches,
}

impl std::error::Error for Flaw {}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cells { expected, found } => {
                write!(f, "expected {expected} cells, found {found}")
            }
            Self::Changed {
                row,
                column,
                question,
                answer,
            } => write!(
                f,
                "row {row}, column {column}: the question has {question:?}, the answer {answer:?}"
            ),
            Self::Broken => f.write_str("the marked cells do not lead from S to G"),
            Self::Stray { row, column } => {
                write!(f, "row {row}, column {column}: marked, but not on the path")
            }
            Self::Branches => f.write_str("the marked cells are not one single path"),
        }
    }
}

impl Maze {
    /// Judges an answer, `height * width` tokens.
    ///
    /// A path visits every marked cell once; two stretches of it may lie side by side.
    pub fn verify(&self, answer: &[u8]) -> Verdict {
        let mut label = vec![0; self.cells().len()];
        let mut search = Search::new();
        let shortest = search.label_into(self.cells(), self.height(), self.width(), &mut label);
        if answer == label && shortest.is_some() {
            return Verdict::Exact;
        }
        match self.marked_cells(answer) {
            Err(flaw) => Verdict::Invalid(flaw),
            Ok(marked) if Some(marked + 2) == shortest => Verdict::Optimal,
            Ok(_) => Verdict::Valid,
        }
    }

    /// The number of marked cells of an answer that is a path.
    fn marked_cells(&self, answer: &[u8]) -> Result<usize, Flaw> {
        let question = self.cells();
        if answer.len() != question.len() {
            return Err(Flaw::Cells {
                expected: question.len(),
                found: answer.len(),
            });
        }
        let place = |cell: usize| (cell / self.width() + 1, cell % self.width() + 1);
        for (cell, (&asked, &given)) in question.iter().zip(answer).enumerate() {
            if asked != given && !(asked == OPEN && given == PATH) {
                let (row, column) = place(cell);
                return Err(Flaw::Changed {
                    row,
                    column,
                    question: super::grid::character(asked),
                    answer: super::grid::character(given),
                });
            }
        }
        let on_way =
            |cell: usize| answer[cell] == PATH || cell == self.start() || cell == self.goal();
        let mut search = Search::new();
        search.load(self.height(), self.width(), |cell| !on_way(cell));
        search.run(self.start(), None);
        if search.length_to(self.goal()) == 0 {
            return Err(Flaw::Broken);
        }
        let marked = answer.iter().filter(|&&token| token == PATH).count();
        if search.reached() != marked + 2 {
            let stray = (0..answer.len())
                .find(|&cell| answer[cell] == PATH && search.length_to(cell) == 0)
                .unwrap_or_default();
            let (row, column) = place(stray);
            return Err(Flaw::Stray { row, column });
        }
        // A shortest way through the marked cells that uses all of them is already the path.
        if search.length_to(self.goal()) == marked + 2 || self.has_order(answer, marked) {
            Ok(marked)
        } else {
            Err(Flaw::Branches)
        }
    }

    /// Whether a walk from start to goal visits each of the `marked` cells once: depth first, cells with few
    /// ways on before others.
    fn has_order(&self, answer: &[u8], marked: usize) -> bool {
        let neighbours = |cell: usize| {
            let (width, column) = (self.width(), cell % self.width());
            [
                (cell >= width).then(|| cell - width),
                (column > 0).then(|| cell - 1),
                (column + 1 < width).then_some(cell + 1),
                (cell + width < answer.len()).then_some(cell + width),
            ]
            .into_iter()
            .flatten()
        };
        let mut free: Vec<bool> = answer.iter().map(|&token| token == PATH).collect();
        let free_around = |free: &[bool], cell| neighbours(cell).filter(|&next| free[next]).count();
        let at_goal = |cell: usize| neighbours(cell).any(|next| next == self.goal());
        // Each frame: a cell of the walk and the neighbours still to try, those with the fewest ways on first.
        let candidates = |free: &[bool], cell: usize| {
            let mut next: Vec<usize> = neighbours(cell).filter(|&next| free[next]).collect();
            next.sort_by_key(|&next| std::cmp::Reverse(free_around(free, next)));
            // A cell that can only be entered would end the walk before the goal.
            let dead_end = |&next: &usize| free_around(free, next) == 0 && !at_goal(next);
            if next.iter().any(dead_end) {
                next.clear();
            }
            next
        };
        let mut walk = vec![(self.start(), candidates(&free, self.start()))];
        for _ in 0..MAX_ORDER_STEPS {
            let steps = walk.len();
            let Some((cell, to_try)) = walk.last_mut() else {
                return false;
            };
            if steps == marked + 1 && at_goal(*cell) {
                return true;
            }
            if let Some(next) = to_try.pop() {
                free[next] = false;
                let onward = candidates(&free, next);
                walk.push((next, onward));
            } else {
                let cell = *cell;
                walk.pop();
                free[cell] = answer[cell] == PATH;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maze::grid::token;

    fn tokens(rows: &str) -> Vec<u8> {
        rows.lines()
            .flat_map(|row| row.chars())
            .map(|character| token(character).unwrap())
            .collect()
    }

    fn verdict(question: &str, answer: &str) -> String {
        Maze::parse_rows(question)
            .unwrap()
            .verify(&tokens(answer))
            .to_string()
    }

    #[test]
    fn the_three_verdicts() {
        let question = "S  \n   \n  G";
        assert_eq!(verdict(question, "S  \no  \nooG"), "exact");
        assert_eq!(verdict(question, "Soo\n  o\n  G"), "optimal");
        let question = "S   \n    \n   G";
        assert_eq!(
            verdict(question, "S oo\no oo\nooo "),
            "invalid: row 3, column 4: the question has 'G', the answer ' '"
        );
        assert_eq!(verdict(question, "Sooo\n   o\n   G"), "optimal");
        // Down, along the bottom, up, right, down: the stretches touch.
        assert_eq!(verdict(question, "S oo\no oo\noooG"), "valid");
    }

    #[test]
    fn a_detour_that_touches_itself_is_a_path() {
        assert_eq!(verdict("S G\n   ", "S G\nooo"), "valid");
        assert_eq!(
            verdict("S   G\n     ", "S o G\nooooo"),
            "invalid: the marked cells are not one single path"
        );
    }

    #[test]
    fn flaws_are_named_with_their_place() {
        let question = "S #\n  #\n  G";
        assert_eq!(
            verdict(question, "S o\no #\nooG"),
            "invalid: row 1, column 3: the question has '#', the answer 'o'"
        );
        assert_eq!(
            verdict(question, "S #\no #\no G"),
            "invalid: the marked cells do not lead from S to G"
        );
        assert_eq!(
            verdict("SG \n###\n   ", "SG \n###\no  "),
            "invalid: row 3, column 1: marked, but not on the path"
        );
        let maze = Maze::parse_rows("SG").unwrap();
        assert_eq!(
            maze.verify(&[]).to_string(),
            "invalid: expected 2 cells, found 0"
        );
        assert_eq!(maze.verify(maze.cells()), Verdict::Exact);
    }

    #[test]
    fn a_dead_end_is_no_path() {
        assert_eq!(
            verdict("S  G\n    \n    ", "SooG\n o  \n o  "),
            "invalid: the marked cells are not one single path"
        );
    }

    #[test]
    fn filled_areas_are_judged_in_bounded_time() {
        let rows = 30;
        let mut question = "S".to_string() + &" ".repeat(rows * rows - 2);
        question.push('G');
        let maze = Maze::parse_square(&question).unwrap();
        let answer: Vec<u8> = maze
            .cells()
            .iter()
            .map(|&token| if token == OPEN { PATH } else { token })
            .collect();
        // S and G have the same colour of a chessboard with as many cells of both: no such walk exists.
        assert_eq!(maze.verify(&answer), Verdict::Invalid(Flaw::Branches));
    }
}
