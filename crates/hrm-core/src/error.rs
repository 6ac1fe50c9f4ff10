//! What can be wrong with a configuration, or with a change of one.

/// A configuration that describes no model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number that must be at least one is zero.
    #[error("`{field}` must be at least 1, found 0")]
    Zero {
        /// Name of the field.
        field: &'static str,
    },
    /// The heads don't divide the width into even parts.
    #[error(
        "`num_heads` = {num_heads} must divide `hidden_size` = {hidden_size} into heads of an even width"
    )]
    Heads {
        /// `num_heads`.
        num_heads: usize,
        /// `hidden_size`.
        hidden_size: usize,
    },
    /// The expansion of the SwiGLU layers is no positive number.
    #[error("`expansion` must be a positive number of at most 1024, found {found}")]
    Expansion {
        /// The value found.
        found: f64,
    },
    /// The puzzle embedding doesn't fit the positions it is given.
    #[error(
        "`puzzle_embedding.dim` = {dim} needs {needed} positions of width {hidden_size}, but `puzzle_embedding.positions` = {positions}"
    )]
    PuzzlePositions {
        /// Values of one row.
        dim: usize,
        /// Width of the model.
        hidden_size: usize,
        /// Positions that hold `dim` values.
        needed: usize,
        /// Positions asked for.
        positions: usize,
    },
    /// A size that no memory holds.
    #[error("`{field}` = {found} is more than the {limit} that are supported")]
    TooLarge {
        /// Name of the field.
        field: &'static str,
        /// The value found.
        found: usize,
        /// Largest value.
        limit: usize,
    },
}

/// A puzzle table that can't be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PuzzleIdsError {
    /// There is none.
    #[error("the model has no puzzle table")]
    NoTable,
    /// It would have no row.
    #[error("the puzzle table must have at least one row")]
    NoRow,
    /// It has fewer rows than it is to be cut to.
    #[error("the puzzle table can't be cut to {count} rows, it has {rows}")]
    Cut {
        /// Rows asked for.
        count: usize,
        /// Rows there are.
        rows: usize,
    },
    /// It has more rows than it is to grow to.
    #[error("the puzzle table can't grow to {count} rows, it has {rows}")]
    Grow {
        /// Rows asked for.
        count: usize,
        /// Rows there are.
        rows: usize,
    },
}
