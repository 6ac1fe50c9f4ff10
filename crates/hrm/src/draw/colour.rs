//! The colours of all pictures.

use plotters::style::RGBColor;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(31, 35, 40);
/// Text beside the matter.
pub(super) const QUIET: RGBColor = RGBColor(101, 109, 118);
/// Lines of a grid behind curves.
pub(super) const GRID: RGBColor = RGBColor(230, 233, 237);

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

/// Colour of the n-th curve; they repeat.
pub(super) fn curve(number: usize) -> RGBColor {
    CURVES[number % CURVES.len()]
}

/// A colour mixed with the paper: `part` of 1 is the colour itself, 0 the paper.
pub(super) fn pale(colour: RGBColor, part: f64) -> RGBColor {
    let mix = |of: u8| (255.0 - (255.0 - f64::from(of)) * part).round() as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}
