//! Sheets of puzzles.

use std::path::Path;

use super::canvas::{Anchor, Letters, paint};
use super::colour::{INK, QUIET};
use super::error::DrawError;
use super::picture::Picture;
use super::tile::Tile;

const TITLE: Letters = Letters::bold(19.0);
const CAPTION: Letters = Letters::plain(14.0);
const NOTE: Letters = Letters::plain(14.0);
/// Pixels around everything.
const MARGIN: usize = 20;
/// Pixels between tiles.
const GAP: usize = 20;
const CAPTION_HEIGHT: usize = 24;
const TITLE_HEIGHT: usize = 38;
const NOTE_HEIGHT: usize = 28;

/// Grids in rows, under a headline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Headline; none where empty.
    pub title: String,
    /// A line under the grids; none where empty.
    pub note: String,
    /// The grids, row by row; a row may be shorter than others.
    pub rows: Vec<Vec<Tile>>,
}

impl Sheet {
    /// Tiles one after the other, `columns` in a row; 0 makes the sheet a little wider than high.
    pub fn flow(title: impl Into<String>, tiles: Vec<Tile>, columns: usize) -> Self {
        let columns = match columns {
            0 => (1..=tiles.len())
                .find(|columns| columns * columns * 3 >= tiles.len() * 4)
                .unwrap_or(1),
            columns => columns,
        };
        let mut rows: Vec<Vec<Tile>> = Vec::new();
        for tile in tiles {
            match rows.last_mut() {
                Some(row) if row.len() < columns => row.push(tile),
                _ => rows.push(vec![tile]),
            }
        }
        Self {
            title: title.into(),
            note: String::new(),
            rows,
        }
    }

    /// With a line under the grids.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Draws the sheet.
    ///
    /// # Errors
    /// [`DrawError::Empty`] without a tile, [`DrawError::TooLarge`] beyond 16,000 pixels a side, [`DrawError::Plot`].
    pub fn render(&self) -> Result<Picture, DrawError> {
        self.render_at_least(0)
    }

    /// Draws the sheet, its grids and texts on at least so many pixels from left to right.
    pub(super) fn render_at_least(&self, least: usize) -> Result<Picture, DrawError> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        if columns == 0 {
            return Err(DrawError::Empty { what: "puzzle" });
        }
        // A column is as wide as its widest tile and caption, a row as high as its highest tile.
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let tiles = self.rows.iter().filter_map(|row| row.get(column));
                tiles.map(width).max().unwrap_or(0)
            })
            .collect();
        let heights: Vec<usize> = (self.rows.iter())
            .map(|row| row.iter().map(|tile| tile.size().1).max().unwrap_or(0))
            .collect();
        let captions: Vec<usize> = (self.rows.iter())
            .map(
                |row| match row.iter().any(|tile| !tile.caption().is_empty()) {
                    true => CAPTION_HEIGHT,
                    false => 0,
                },
            )
            .collect();
        let head = if self.title.is_empty() {
            0
        } else {
            TITLE_HEIGHT
        };
        let foot = if self.note.is_empty() { 0 } else { NOTE_HEIGHT };
        let inner = widths.iter().sum::<usize>() + GAP * (columns - 1);
        let inner = inner
            .max(least)
            .max(needed(&self.title, TITLE))
            .max(needed(&self.note, NOTE));
        let below = heights.iter().sum::<usize>() + captions.iter().sum::<usize>();
        let height = head + below + GAP * (self.rows.len() - 1) + foot + 2 * MARGIN;
        let count: usize = self.rows.iter().map(Vec::len).sum();
        let what = format!("{count} grids");
        paint(&what, inner + 2 * MARGIN, height, |canvas| {
            let left = MARGIN as f64;
            if head > 0 {
                let text = TITLE.fit(&self.title, inner as i32);
                let at = (left, MARGIN as f64 + 11.0);
                canvas.text(&text, at, TITLE, Anchor::Left, INK)?;
            }
            let mut y = MARGIN + head;
            for ((row, height), caption) in self.rows.iter().zip(&heights).zip(&captions) {
                let mut x = MARGIN;
                for (tile, width) in row.iter().zip(&widths) {
                    if *caption > 0 {
                        let text = CAPTION.fit(tile.caption(), *width as i32);
                        let at = (x as f64 + 1.0, y as f64 + 10.0);
                        canvas.text(&text, at, CAPTION, Anchor::Left, QUIET)?;
                    }
                    tile.draw(canvas, (x as f64, (y + caption) as f64))?;
                    x += width + GAP;
                }
                y += caption + height + GAP;
            }
            if foot > 0 {
                let text = NOTE.fit(&self.note, inner as i32);
                let at = (left, (y - GAP + NOTE_HEIGHT / 2 + 6) as f64);
                canvas.text(&text, at, NOTE, Anchor::Left, QUIET)?;
            }
            Ok(())
        })
    }

    /// Draws the sheet and writes it as a PNG file; one that is there is replaced.
    ///
    /// # Errors
    /// As [`Sheet::render`] and [`Picture::save_png`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), DrawError> {
        self.render()?.save_png(path)
    }
}

/// Pixels that a tile and its caption take.
fn width(tile: &Tile) -> usize {
    tile.size().0.max(needed(tile.caption(), CAPTION).min(320))
}

/// Pixels that a line of text asks for; one of many letters asks in vain.
fn needed(text: &str, letters: Letters) -> usize {
    let short: String = text.chars().take(120).collect();
    usize::try_from(letters.width(&short)).unwrap_or(0)
}
