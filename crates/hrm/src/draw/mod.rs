//! Pictures (feature `draw`): curves, sheets of puzzles, animations of the thinking. All are made by the program itself, with a
//! font of its own (DejaVu Sans), and need nothing of the system.
//!
//! ```no_run
//! use hrm::draw::{Chart, Series};
//!
//! let chart = Chart {
//!     title: "Accuracy against compute".into(),
//!     x_label: "segments".into(),
//!     y_label: "exact accuracy".into(),
//!     log_x: true,
//!     series: vec![Series::new("trm-small-mlp", vec![(1.0, 0.31), (2.0, 0.64), (4.0, 0.83)])],
//!     ..Chart::default()
//! };
//! chart.save_png("curve.png")?;
//! # Ok::<(), hrm::draw::DrawError>(())
//! ```

mod animation;
mod axis;
mod canvas;
mod chart;
mod colour;
mod error;
mod picture;
mod sheet;
mod thinking;
mod tile;

pub use animation::Animation;
pub use chart::{Chart, Look, Panels, Series};
pub use error::DrawError;
pub use picture::Picture;
pub use sheet::Sheet;
pub use thinking::Thinking;
pub use tile::Tile;
