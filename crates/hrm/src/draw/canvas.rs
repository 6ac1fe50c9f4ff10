//! What is drawn on: twice as many pixels each way as the picture has, so that everything has smooth edges.

use std::sync::OnceLock;

use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::colour::PAPER;
use super::error::DrawError;
use super::picture::Picture;

/// Pixels drawn for a pixel of the picture, each way.
pub(super) const FINE: i32 = 2;
/// Largest side of a picture.
const LIMIT: usize = 16_000;

const FONT: &str = "DejaVu Sans";

pub(super) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Where a text stands against its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Begins at the point, in the middle of its height.
    Left,
    /// Around the point.
    Middle,
}

/// A size of text in pixels of the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters {
    pub size: f64,
    pub bold: bool,
}

impl Letters {
    pub const fn plain(size: f64) -> Self {
        Self { size, bold: false }
    }

    pub const fn bold(size: f64) -> Self {
        Self { size, bold: true }
    }

    pub fn style(self, colour: RGBColor) -> TextStyle<'static> {
        let style = if self.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let font = FontDesc::new(FontFamily::Name(FONT), self.size * f64::from(FINE), style);
        TextStyle {
            font,
            color: colour.to_backend_color(),
            pos: Pos::new(HPos::Left, VPos::Center),
        }
    }

    /// Width of a line of text in pixels of the picture.
    pub fn width(self, text: &str) -> i32 {
        if register() && !text.is_empty() {
            let size = self.style(PAPER).font.box_size(text);
            size.map_or(0, |(width, _)| width as i32 / FINE + 1)
        } else {
            0
        }
    }

    /// The text without control characters, its beginning cut off where it is longer than `width`.
    pub fn fit(self, text: &str, width: i32) -> String {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        // What doesn't fit into a picture need not be measured.
        let mut letters: Vec<char> = text.chars().map(clean).collect();
        let mut cut = letters.len().saturating_sub(2000);
        letters.drain(..cut);
        loop {
            let shown: String = match cut {
                0 => letters.iter().collect(),
                _ => std::iter::once('…')
                    .chain(letters.iter().copied())
                    .collect(),
            };
            let found = self.width(&shown);
            if found <= width || letters.is_empty() {
                return shown;
            }
            // As many letters too many as the width says, at least one.
            let many = letters.len() as i64 * i64::from(found - width) / i64::from(found.max(1));
            let many = (many as usize).clamp(1, letters.len());
            letters.drain(..many);
            cut += many;
        }
    }
}

/// Makes the font known, once; whether it is.
fn register() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FONT, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    })
}

/// A picture of `width` x `height` pixels on which `draw` draws; `what` names it where it would be too large.
pub(super) fn paint(
    what: &str,
    width: usize,
    height: usize,
    draw: impl FnOnce(&Canvas<'_, '_>) -> Result<(), DrawError>,
) -> Result<Picture, DrawError> {
    if width > LIMIT || height > LIMIT {
        return Err(DrawError::TooLarge {
            what: what.to_owned(),
            width,
            height,
            limit: LIMIT,
        });
    }
    if !register() {
        return Err(DrawError::Plot {
            reason: "the font was not understood".to_owned(),
        });
    }
    let (width, height) = (width.max(1) as u32, height.max(1) as u32);
    let fine = FINE as u32;
    let mut pixels = vec![255; (width * fine) as usize * (height * fine) as usize * 3];
    {
        let backend = BitMapBackend::with_buffer(&mut pixels, (width * fine, height * fine));
        let area = backend.into_drawing_area();
        draw(&Canvas { area: &area })?;
        area.present().map_err(refused)?;
    }
    let fine = RgbImage::from_raw(width * fine, height * fine, pixels)
        .ok_or(DrawError::Empty { what: "pixel" })?;
    Ok(Picture::new(imageops::thumbnail(&fine, width, height)))
}

/// The plotting library's error as ours.
pub(super) fn refused<E>(error: DrawingAreaErrorKind<E>) -> DrawError
where
    E: std::error::Error + Send + Sync,
{
    DrawError::Plot {
        reason: error.to_string(),
    }
}

/// Draws in pixels of the picture, x to the right and y down.
pub(super) struct Canvas<'a, 'b> {
    pub area: &'a Area<'b>,
}

impl Canvas<'_, '_> {
    /// A filled rectangle.
    pub fn fill(
        &self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        colour: RGBColor,
    ) -> Result<(), DrawError> {
        // The backend counts both corners in.
        let near = |at: f64| (at * f64::from(FINE)).round() as i32;
        let corners = [
            (near(x), near(y)),
            (near(x + width) - 1, near(y + height) - 1),
        ];
        if corners[1].0 < corners[0].0 || corners[1].1 < corners[0].1 {
            return Ok(());
        }
        self.area
            .draw(&Rectangle::new(corners, colour.filled()))
            .map_err(refused)
    }

    /// A straight line.
    pub fn line(
        &self,
        from: (f64, f64),
        to: (f64, f64),
        width: f64,
        colour: RGBColor,
    ) -> Result<(), DrawError> {
        let style = colour.stroke_width((width * f64::from(FINE)).round().max(1.0) as u32);
        self.area
            .draw(&PathElement::new(vec![fine(from), fine(to)], style))
            .map_err(refused)
    }

    /// A filled circle.
    pub fn disc(&self, at: (f64, f64), radius: f64, colour: RGBColor) -> Result<(), DrawError> {
        let radius = (radius * f64::from(FINE)).round() as i32;
        self.area
            .draw(&Circle::new(fine(at), radius, colour.filled()))
            .map_err(refused)
    }

    /// One line of text.
    pub fn text(
        &self,
        text: &str,
        at: (f64, f64),
        letters: Letters,
        anchor: Anchor,
        colour: RGBColor,
    ) -> Result<(), DrawError> {
        let horizontal = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
        };
        // The font's box reaches further down than digits and capitals do.
        let at = (at.0, at.1 + letters.size * 0.08);
        let style = letters
            .style(colour)
            .pos(Pos::new(horizontal, VPos::Center));
        self.area
            .draw(&Text::new(text.to_owned(), fine(at), style))
            .map_err(refused)
    }
}

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    let near = |at: f64| (at * f64::from(FINE)).round() as i32;
    (near(x), near(y))
}
