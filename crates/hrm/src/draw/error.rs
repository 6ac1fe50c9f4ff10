//! What can go wrong with a picture.

use std::path::PathBuf;

/// Why a picture could not be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// The file could not be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More was to be drawn than a picture holds.
    #[error(
        "a picture of {what} would be {width} x {height} pixels; expected at most {limit} a side"
    )]
    TooLarge {
        /// What was to be drawn.
        what: String,
        /// Pixels from left to right.
        width: usize,
        /// Pixels from top to bottom.
        height: usize,
        /// The most that is drawn.
        limit: usize,
    },
    /// Nothing was given to draw.
    #[error("expected at least one {what} to draw, found none")]
    Empty {
        /// What was missing.
        what: &'static str,
    },
    /// The picture could not be put into its format.
    #[error("cannot encode the picture as {format}: {reason}")]
    Encode {
        /// PNG or GIF.
        format: &'static str,
        /// Why.
        reason: image::ImageError,
    },
    /// The plotting library refused.
    #[error("cannot draw: {reason}")]
    Plot {
        /// What it said.
        reason: String,
    },
}
