//! The eight symmetries of the square, numbered as the official builders number them.
//!
//! Both maze and ARC augmentation use them; an ARC puzzle's name holds the number, so it must not change.

use serde::{Deserialize, Serialize};

/// A symmetry of a rectangular grid. Four of them exchange height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Dihedral {
    /// Nothing moves (number 0).
    Identity = 0,
    /// A quarter turn counter-clockwise (number 1).
    Rotate90 = 1,
    /// A half turn (number 2).
    Rotate180 = 2,
    /// Three quarter turns counter-clockwise (number 3).
    Rotate270 = 3,
    /// Left and right exchanged (number 4).
    FlipLeftRight = 4,
    /// Up and down exchanged (number 5).
    FlipUpDown = 5,
    /// Rows and columns exchanged (number 6).
    Transpose = 6,
    /// Mirrored at the other diagonal (number 7).
    AntiTranspose = 7,
}

impl Dihedral {
    /// All eight, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Rotate90,
        Self::Rotate180,
        Self::Rotate270,
        Self::FlipLeftRight,
        Self::FlipUpDown,
        Self::Transpose,
        Self::AntiTranspose,
    ];

    /// Those that keep the shape of a grid that is not square.
    pub const KEEPING_SHAPE: [Self; 4] = [
        Self::Identity,
        Self::Rotate180,
        Self::FlipLeftRight,
        Self::FlipUpDown,
    ];

    /// The official number, `0..8`.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The symmetry with an official number; `None` from 8 on.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The symmetry that undoes this one.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Rotate90 => Self::Rotate270,
            Self::Rotate270 => Self::Rotate90,
            other => other,
        }
    }

    /// Whether height and width change places.
    pub fn swaps_axes(self) -> bool {
        matches!(
            self,
            Self::Rotate90 | Self::Rotate270 | Self::Transpose | Self::AntiTranspose
        )
    }

    /// Height and width after the symmetry.
    pub fn shape(self, height: usize, width: usize) -> (usize, usize) {
        if self.swaps_axes() {
            (width, height)
        } else {
            (height, width)
        }
    }

    /// Moves the cells of `source`, `height * width` row by row, into `target`.
    ///
    /// # Panics
    /// If either slice does not have `height * width` cells.
    pub fn apply_into<T: Copy>(self, source: &[T], height: usize, width: usize, target: &mut [T]) {
        assert_eq!(source.len(), height * width, "source cells");
        assert_eq!(target.len(), height * width, "target cells");
        if source.is_empty() {
            return;
        }
        let (last_row, last_column) = ((height - 1) * width, width - 1);
        let (row, column) = (width as isize, 1isize);
        // target[i][j] = source[origin + i * by_row + j * by_column]
        let (origin, by_row, by_column) = match self {
            Self::Identity => (0, row, column),
            Self::Rotate90 => (last_column, -column, row),
            Self::Rotate180 => (last_row + last_column, -row, -column),
            Self::Rotate270 => (last_row, column, -row),
            Self::FlipLeftRight => (last_column, row, -column),
            Self::FlipUpDown => (last_row, -row, column),
            Self::Transpose => (0, column, row),
            Self::AntiTranspose => (last_row + last_column, -column, -row),
        };
        let (_, target_width) = self.shape(height, width);
        for (i, cells) in target.chunks_exact_mut(target_width).enumerate() {
            let start = origin as isize + i as isize * by_row;
            for (j, cell) in cells.iter_mut().enumerate() {
                *cell = source[(start + j as isize * by_column) as usize];
            }
        }
    }

    /// [`Dihedral::apply_into`] with a new vector.
    ///
    /// # Panics
    /// If `source` does not have `height * width` cells.
    pub fn apply<T: Copy>(self, source: &[T], height: usize, width: usize) -> Vec<T> {
        let mut target = source.to_vec();
        self.apply_into(source, height, width, &mut target);
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_mean_what_numpy_does() {
        // 0 1 2
        // 3 4 5
        let grid = [0, 1, 2, 3, 4, 5];
        let expected: [&[u8]; 8] = [
            &[0, 1, 2, 3, 4, 5],
            &[2, 5, 1, 4, 0, 3], // np.rot90
            &[5, 4, 3, 2, 1, 0],
            &[3, 0, 4, 1, 5, 2],
            &[2, 1, 0, 5, 4, 3], // np.fliplr
            &[3, 4, 5, 0, 1, 2], // np.flipud
            &[0, 3, 1, 4, 2, 5],
            &[5, 2, 4, 1, 3, 0], // np.fliplr(np.rot90)
        ];
        for (symmetry, expected) in Dihedral::ALL.into_iter().zip(expected) {
            assert_eq!(symmetry.apply(&grid, 2, 3), expected, "{symmetry:?}");
        }
    }

    #[test]
    fn the_inverse_brings_every_cell_back() {
        let grid: Vec<u8> = (0..12).collect();
        for symmetry in Dihedral::ALL {
            let (height, width) = symmetry.shape(3, 4);
            let moved = symmetry.apply(&grid, 3, 4);
            assert_eq!(
                symmetry.inverse().apply(&moved, height, width),
                grid,
                "{symmetry:?}"
            );
            assert_eq!(Dihedral::from_id(symmetry.id()), Some(symmetry));
        }
        assert_eq!(Dihedral::from_id(8), None);
    }
}
