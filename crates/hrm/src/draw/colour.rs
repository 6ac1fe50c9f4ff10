//! The colours of all pictures.

use plotters::style::RGBColor;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(31, 35, 40);
/// Text beside the matter.
pub(super) const QUIET: RGBColor = RGBColor(101, 109, 118);
/// Lines of a grid behind curves.
pub(super) const GRID: RGBColor = RGBColor(230, 233, 237);

/// A digit that was found.
pub(super) const FOUND: RGBColor = RGBColor(9, 105, 218);
/// Ground of a wrong cell.
pub(super) const WRONG: RGBColor = RGBColor(255, 215, 213);
pub(super) const WRONG_INK: RGBColor = RGBColor(207, 34, 46);
/// Ground of a cell that has just changed.
pub(super) const CHANGED: RGBColor = RGBColor(255, 235, 150);
pub(super) const CHANGED_INK: RGBColor = RGBColor(191, 120, 0);
/// Ground of what has no meaning.
pub(super) const BLANK: RGBColor = RGBColor(234, 238, 242);
/// Lines between cells.
pub(super) const LINE: RGBColor = RGBColor(140, 149, 159);
pub(super) const WALL: RGBColor = RGBColor(50, 58, 70);
pub(super) const START: RGBColor = RGBColor(26, 127, 55);
pub(super) const GOAL: RGBColor = RGBColor(207, 34, 46);
pub(super) const PATH: RGBColor = RGBColor(84, 174, 255);

/// The heaviest cell of a map of weights.
pub(super) const WEIGHT: RGBColor = RGBColor(8, 48, 107);

/// The usual colours of ARC, 0 to 9.
pub(super) const ARC: [RGBColor; 10] = [
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x00, 0x74, 0xD9),
    RGBColor(0xFF, 0x41, 0x36),
    RGBColor(0x2E, 0xCC, 0x40),
    RGBColor(0xFF, 0xDC, 0x00),
    RGBColor(0xAA, 0xAA, 0xAA),
    RGBColor(0xF0, 0x12, 0xBE),
    RGBColor(0xFF, 0x85, 0x1B),
    RGBColor(0x7F, 0xDB, 0xFF),
    RGBColor(0x87, 0x0C, 0x25),
];

/// Ground of a token of an unknown task; 0 is the paper.
pub(super) fn token(token: u8) -> RGBColor {
    match token.checked_sub(1) {
        None => PAPER,
        Some(number) => pale(curve(usize::from(number)), 0.45),
    }
}

/// Curves, in this order: told apart by the colour-blind too (Okabe and Ito's, a little darker where they are pale).
const CURVES: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(178, 87, 147),
    RGBColor(214, 154, 0),
    RGBColor(60, 160, 210),
    RGBColor(90, 90, 90),
    RGBColor(139, 69, 19),
];

/// Colour of the n-th curve: after the first eight come the same at half their brightness; then they repeat.
pub(super) fn curve(number: usize) -> RGBColor {
    let RGBColor(red, green, blue) = CURVES[number % CURVES.len()];
    match number / CURVES.len() % 2 {
        0 => RGBColor(red, green, blue),
        _ => RGBColor(red / 2, green / 2, blue / 2),
    }
}

/// A colour mixed with the paper: `part` of 1 is the colour itself, 0 the paper.
pub(super) fn pale(colour: RGBColor, part: f64) -> RGBColor {
    let mix = |of: u8| (255.0 - (255.0 - f64::from(of)) * part).round() as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}
