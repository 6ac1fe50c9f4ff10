//! ARC grids, pairs and tasks, checked when they are made.

use std::fmt;

use crate::DataError;
use crate::dihedral::Dihedral;

/// Largest height and width of a grid, and side of the canvas.
pub const MAX_SIDE: usize = 30;
/// Number of colours.
pub const COLOURS: u8 = 10;

/// A grid of 1 to 30 rows and columns in colours 0 to 9.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grid {
    height: u8,
    width: u8,
    cells: Vec<u8>,
}

impl Grid {
    /// Takes `height * width` colours, row by row.
    ///
    /// # Errors
    /// [`DataError::ArcGrid`] on sides, a number of cells or a colour out of range.
    pub fn new(height: usize, width: usize, cells: Vec<u8>) -> Result<Self, DataError> {
        if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
            return Err(DataError::ArcGrid {
                expected: format!("1 to {MAX_SIDE} rows and columns"),
                found: format!("{height}x{width}"),
            });
        }
        if cells.len() != height * width {
            return Err(DataError::ArcGrid {
                expected: format!("{} cells", height * width),
                found: cells.len().to_string(),
            });
        }
        if let Some(colour) = cells.iter().find(|&&colour| colour >= COLOURS) {
            return Err(DataError::ArcGrid {
                expected: "colours 0 to 9".to_owned(),
                found: colour.to_string(),
            });
        }
        Ok(Self::of_colours(height, width, cells))
    }

    /// A grid of colours that were checked.
    pub(super) fn of_colours(height: usize, width: usize, cells: Vec<u8>) -> Self {
        debug_assert!(height * width == cells.len() && cells.iter().all(|&c| c < COLOURS));
        Self {
            height: height as u8,
            width: width as u8,
            cells,
        }
    }

    /// Takes rows of equal length.
    ///
    /// # Errors
    /// [`DataError::ArcGrid`] as [`Grid::new`], and on rows of different lengths.
    pub fn from_rows<R: AsRef<[u8]>>(rows: &[R]) -> Result<Self, DataError> {
        let width = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some(at) = rows.iter().position(|row| row.as_ref().len() != width) {
            return Err(DataError::ArcGrid {
                expected: format!("{width} cells in row {}, as in row 1", at + 1),
                found: rows[at].as_ref().len().to_string(),
            });
        }
        let cells = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
        Self::new(rows.len(), width, cells)
    }

    /// Rows.
    pub fn height(&self) -> usize {
        usize::from(self.height)
    }

    /// Columns.
    pub fn width(&self) -> usize {
        usize::from(self.width)
    }

    /// The colours, row by row.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.cells.chunks_exact(self.width())
    }

    /// The grid under a symmetry.
    #[must_use]
    pub fn transform(&self, symmetry: Dihedral) -> Self {
        let cells = symmetry.apply(&self.cells, self.height(), self.width());
        let (height, width) = symmetry.shape(self.height(), self.width());
        Self::of_colours(height, width, cells)
    }

    /// The grid with every colour `c` replaced by `colours[c]`, which are below 10.
    pub(super) fn recolour(mut self, colours: &[u8; 10]) -> Self {
        for cell in &mut self.cells {
            *cell = colours[usize::from(*cell)];
        }
        self
    }
}

impl fmt::Debug for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grid({}x{}: {self})", self.height, self.width)
    }
}

impl fmt::Display for Grid {
    /// Digits, one word per row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            row.iter().try_for_each(|colour| write!(f, "{colour}"))?;
        }
        Ok(())
    }
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What is given.
    pub input: Grid,
    /// What is wanted; `None` for a test whose solution is not at hand.
    pub output: Option<Grid>,
}

/// A task: demonstrations and tests of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArcTask {
    /// Name, unique within its data set.
    pub id: String,
    /// Demonstrations; all have outputs.
    pub train: Vec<Pair>,
    /// Tests.
    pub test: Vec<Pair>,
}

impl ArcTask {
    /// Demonstrations, then tests.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.train.iter().chain(&self.test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_out_of_bounds_are_refused_in_words() {
        let error = |rows: &[Vec<u8>]| Grid::from_rows(rows).unwrap_err().to_string();
        assert_eq!(
            error(&[]),
            "grid: expected 1 to 30 rows and columns, found 0x0"
        );
        assert_eq!(
            error(&[vec![1, 2], vec![3]]),
            "grid: expected 2 cells in row 2, as in row 1, found 1"
        );
        assert_eq!(
            error(&[vec![10]]),
            "grid: expected colours 0 to 9, found 10"
        );
        assert_eq!(
            error(&vec![vec![0]; 31]),
            "grid: expected 1 to 30 rows and columns, found 31x1"
        );
    }

    #[test]
    fn a_turned_grid_changes_its_shape() {
        let grid = Grid::from_rows(&[[1, 2, 3], [4, 5, 6]]).unwrap();
        let turned = grid.transform(Dihedral::Rotate90);
        assert_eq!(turned.to_string(), "36 25 14");
        assert_eq!((turned.height(), turned.width()), (3, 2));
    }
}
