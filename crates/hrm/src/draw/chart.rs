//! Curves over an axis, alone or several panels in one picture.

use std::path::Path;

use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{Anchor, Area, Canvas, FINE, Letters, paint, refused};
use super::colour::{GRID, INK, QUIET, curve, pale};
use super::error::DrawError;
use super::picture::Picture;

/// Size of a chart in pixels.
const SIZE: (i32, i32) = (960, 600);
/// Size of a panel among several.
const PANEL: (i32, i32) = (720, 440);
/// Points up to which each is marked.
const MARKED: usize = 40;

const TITLE: Letters = Letters::bold(21.0);
const PANEL_TITLE: Letters = Letters::bold(17.0);
const LABEL: Letters = Letters::plain(15.0);

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// A line; few points are marked on it.
    #[default]
    Line,
    /// A line in dashes.
    Dashed,
    /// A thin pale line without a name in the legend: the raw values behind a smoothed curve.
    Faint,
    /// The points alone.
    Points,
}

/// A curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend; the same name has the same colour in every panel.
    pub name: String,
    /// x and y, in the order in which they are joined. A value that isn't finite, or not above 0 on a logarithmic axis, leaves
    /// a gap.
    pub points: Vec<(f64, f64)>,
    /// Thin vertical bars, such as confidence intervals: x, lower and upper end.
    pub bars: Vec<(f64, f64, f64)>,
    /// How it is drawn.
    pub look: Look,
}

impl Series {
    /// A curve drawn as a line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            ..Self::default()
        }
    }

    /// The same curve with bars: x, lower and upper end.
    #[must_use]
    pub fn with_bars(mut self, bars: Vec<(f64, f64, f64)>) -> Self {
        self.bars = bars;
        self
    }

    /// The same curve, drawn otherwise.
    #[must_use]
    pub fn with_look(mut self, look: Look) -> Self {
        self.look = look;
        self
    }
}

/// Curves over one axis. Without a point to draw it shows that there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Headline; none where empty.
    pub title: String,
    /// What the horizontal axis counts.
    pub x_label: String,
    /// What the vertical axis measures.
    pub y_label: String,
    /// Whether the horizontal axis is logarithmic.
    pub log_x: bool,
    /// Whether the vertical axis is logarithmic.
    pub log_y: bool,
    /// The least that the vertical axis covers, such as 0 to 1 for an accuracy.
    pub y_covers: Option<(f64, f64)>,
    /// The curves. A legend names them where there are several, or where the one has a name.
    pub series: Vec<Series>,
}

impl Chart {
    /// Draws the chart, 960 x 600 pixels.
    ///
    /// # Errors
    /// [`DrawError::Plot`].
    pub fn render(&self) -> Result<Picture, DrawError> {
        paint("a chart", SIZE.0 as usize, SIZE.1 as usize, |canvas| {
            let place = Place {
                at: (0, 0),
                size: SIZE,
            };
            self.draw(canvas, place, TITLE, &names([self]), true)
        })
    }

    /// Draws the chart and writes it as a PNG file; one that is there is replaced.
    ///
    /// # Errors
    /// As [`Chart::render`] and [`Picture::save_png`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), DrawError> {
        self.render()?.save_png(path)
    }

    fn draw(
        &self,
        canvas: &Canvas<'_, '_>,
        place: Place,
        title: Letters,
        names: &[String],
        with_legend: bool,
    ) -> Result<(), DrawError> {
        let Place {
            at: (left, top),
            size: (width, height),
        } = place;
        let inner = width - 48;
        let mut y = top + 16;
        if !self.title.is_empty() {
            let text = title.fit(&self.title, inner);
            let at = (f64::from(left + 24), f64::from(y) + title.size * 0.6);
            canvas.text(&text, at, title, Anchor::Left, INK)?;
            y += (title.size * 1.2) as i32 + 8;
        }
        if with_legend {
            let drawn = self.series.iter().filter(|s| s.look != Look::Faint);
            let shown: Vec<&str> = drawn.map(|s| s.name.as_str()).collect();
            y += legend(canvas, &shown, names, (left + 24, y), inner)?;
        }
        let bottom = (top + height - 8).max(y + 1);
        let fine = |at: i32| at * FINE;
        let (x0, y0) = (fine(left), fine(y));
        let (x1, y1) = (fine(left + width), fine(bottom));
        let area = canvas.area.clone().shrink((x0, y0), (x1 - x0, y1 - y0));
        self.plot(&area, names)
    }

    /// Axes and curves.
    fn plot(&self, area: &Area<'_>, names: &[String]) -> Result<(), DrawError> {
        let points = || {
            let ends = |&(x, low, high): &(f64, f64, f64)| [(x, low), (x, high)];
            (self.series.iter()).flat_map(move |series| {
                let bars = series.bars.iter().flat_map(ends);
                series.points.iter().copied().chain(bars)
            })
        };
        // A point counts where both its values can be drawn.
        let both = |&(x, y): &(f64, f64)| {
            let fits = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
            fits(x, self.log_x) && fits(y, self.log_y)
        };
        let covered = self
            .y_covers
            .map_or([f64::NAN; 2], |(low, high)| [low, high]);
        let xs = Axis::new(
            points().filter(both).map(|point| point.0),
            self.log_x,
            false,
        );
        let ys = points().filter(both).map(|point| point.1).chain(covered);
        let ys = Axis::new(ys, self.log_y, true);

        let widest = (ys.ticks.iter())
            .map(|&tick| LABEL.width(&ys.label(tick)))
            .max()
            .unwrap_or(0);
        let described = i32::from(!self.y_label.is_empty()) * 26;
        let below = 30 + i32::from(!self.x_label.is_empty()) * 24;
        let margin = (xs.range.1 - xs.range.0) * if self.log_x { 0.0 } else { 0.015 };
        let mut chart = ChartBuilder::on(area)
            .margin_top(12 * FINE)
            .margin_right(28 * FINE)
            .margin_left(16 * FINE)
            .x_label_area_size(below * FINE)
            .y_label_area_size((widest + 14 + described) * FINE)
            .build_cartesian_2d(xs.clone().with_margin(margin), ys.clone())
            .map_err(refused)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(FINE as u32))
            .light_line_style(TRANSPARENT)
            .axis_style(pale(QUIET, 0.6).stroke_width(FINE as u32))
            .label_style(LABEL.style(QUIET))
            .axis_desc_style(LABEL.style(INK))
            .x_desc(LABEL.fit(&self.x_label, SIZE.0 / 2))
            .y_desc(LABEL.fit(&self.y_label, SIZE.1 / 2))
            .x_label_formatter(&|at| xs.label(*at))
            .y_label_formatter(&|at| ys.label(*at))
            .set_all_tick_mark_size(4 * FINE)
            .draw()
            .map_err(refused)?;

        let plane = chart.plotting_area();
        let mut drawn = 0;
        // Pale curves first: the others lie over them.
        let (faint, clear): (Vec<_>, Vec<_>) =
            self.series.iter().partition(|s| s.look == Look::Faint);
        for series in faint.into_iter().chain(clear) {
            let number = names.iter().position(|name| *name == series.name);
            let colour = curve(number.unwrap_or(0));
            let placed: Vec<Option<(i32, i32)>> = (series.points.iter())
                .map(|&(x, y)| Some((xs.place(x)?, ys.place(y)?)))
                .map(|at| at.map(|at| plane.map_coordinate(&at)))
                .collect();
            drawn += placed.iter().flatten().count();
            for &(x, low, high) in &series.bars {
                let end = |y| Some(plane.map_coordinate(&(xs.place(x)?, ys.place(y)?)));
                if let (Some(low), Some(high)) = (end(low), end(high)) {
                    draw_bar(area, low, high, pale(colour, 0.6))?;
                }
            }
            draw_curve(area, &placed, colour, series.look)?;
        }
        if drawn == 0 {
            let (across, down) = plane.get_pixel_range();
            let middle = ((across.start + across.end) / 2, (down.start + down.end) / 2);
            let canvas = Canvas { area };
            // Pixels of the plotting area count from the whole picture's corner.
            let corner = area.get_base_pixel();
            let at = (
                f64::from(middle.0 - corner.0) / f64::from(FINE),
                f64::from(middle.1 - corner.1) / f64::from(FINE),
            );
            canvas.text("no values yet", at, LABEL, Anchor::Middle, QUIET)?;
        }
        Ok(())
    }
}

/// Several charts in one picture, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panels {
    /// Headline over all; none where empty.
    pub title: String,
    /// Charts in a row, at least 1.
    pub columns: usize,
    /// The charts.
    pub charts: Vec<Chart>,
}

impl Panels {
    /// Draws the charts, 720 x 440 pixels each. One legend stands over all.
    ///
    /// # Errors
    /// [`DrawError::Empty`] without a chart, [`DrawError::TooLarge`], [`DrawError::Plot`].
    pub fn render(&self) -> Result<Picture, DrawError> {
        if self.charts.is_empty() {
            return Err(DrawError::Empty { what: "chart" });
        }
        let columns = self.columns.clamp(1, self.charts.len());
        let rows = self.charts.len().div_ceil(columns);
        let width = columns.saturating_mul(PANEL.0 as usize);
        let names = names(&self.charts);
        let shown: Vec<&str> = names.iter().map(String::as_str).collect();
        let inner = i32::try_from(width).unwrap_or(i32::MAX) - 48;
        let headline = if self.title.is_empty() { 0 } else { 44 };
        let header = headline + legend_rows(&shown, inner).len() as i32 * LEGEND_ROW + 8;
        let height = (rows.saturating_mul(PANEL.1 as usize)).saturating_add(header as usize);
        let what = format!("{} charts", self.charts.len());
        paint(&what, width, height, |canvas| {
            if headline > 0 {
                let text = TITLE.fit(&self.title, inner);
                canvas.text(&text, (24.0, 30.0), TITLE, Anchor::Left, INK)?;
            }
            legend(canvas, &shown, &names, (24, headline + 8), inner)?;
            for (index, chart) in self.charts.iter().enumerate() {
                let (row, column) = ((index / columns) as i32, (index % columns) as i32);
                let place = Place {
                    at: (column * PANEL.0, header + row * PANEL.1),
                    size: PANEL,
                };
                chart.draw(canvas, place, PANEL_TITLE, &names, false)?;
            }
            Ok(())
        })
    }

    /// Draws the charts and writes a PNG file; one that is there is replaced.
    ///
    /// # Errors
    /// As [`Panels::render`] and [`Picture::save_png`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), DrawError> {
        self.render()?.save_png(path)
    }
}

/// Where a chart stands in its picture.
#[derive(Clone, Copy)]
struct Place {
    at: (i32, i32),
    size: (i32, i32),
}

/// Names of the curves in the order in which they come, each once.
fn names<'a>(charts: impl IntoIterator<Item = &'a Chart>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for series in charts.into_iter().flat_map(|chart| &chart.series) {
        if !names.contains(&series.name) {
            names.push(series.name.clone());
        }
    }
    names
}

/// Height of a row of the legend.
const LEGEND_ROW: i32 = 24;
/// Rows of the legend beyond which names are left out.
const LEGEND_ROWS: usize = 5;
const SWATCH: i32 = 34;

/// The legend's rows: names with their places in a row.
fn legend_rows(shown: &[&str], width: i32) -> Vec<Vec<(i32, String)>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut rows: Vec<Vec<(i32, String)>> = Vec::new();
    let mut x = 0;
    for &name in shown {
        if name.is_empty() || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let needed = SWATCH + LABEL.width(&LABEL.fit(name, width - SWATCH)) + 22;
        if rows.is_empty() || x + needed > width {
            if rows.len() == LEGEND_ROWS {
                break;
            }
            rows.push(Vec::new());
            x = 0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, name.to_owned()));
        }
        x += needed;
    }
    rows
}

/// Draws the legend; returns its height.
fn legend(
    canvas: &Canvas<'_, '_>,
    shown: &[&str],
    names: &[String],
    (left, top): (i32, i32),
    width: i32,
) -> Result<i32, DrawError> {
    let rows = legend_rows(shown, width);
    for (row, entries) in rows.iter().enumerate() {
        let y = f64::from(top + row as i32 * LEGEND_ROW + LEGEND_ROW / 2);
        for (x, name) in entries {
            let x = f64::from(left + x);
            let number = names.iter().position(|other| other == name).unwrap_or(0);
            canvas.line((x, y), (x + 24.0, y), 3.0, curve(number))?;
            let text = LABEL.fit(name, width - SWATCH);
            let at = (x + f64::from(SWATCH), y);
            canvas.text(&text, at, LABEL, Anchor::Left, INK)?;
        }
    }
    Ok(rows.len() as i32 * LEGEND_ROW)
}

/// A vertical bar between pixels of the canvas, with a short line across each end.
fn draw_bar(
    area: &Area<'_>,
    (x, low): (i32, i32),
    (_, high): (i32, i32),
    colour: RGBColor,
) -> Result<(), DrawError> {
    let corner = area.get_base_pixel();
    let (x, low, high) = (x - corner.0, low - corner.1, high - corner.1);
    let across = |y: i32| [(x - 3 * FINE, y), (x + 3 * FINE, y)];
    for [from, to] in [[(x, low), (x, high)], across(low), across(high)] {
        let style = colour.stroke_width(FINE as u32);
        area.draw(&PathElement::new(vec![from, to], style))
            .map_err(refused)?;
    }
    Ok(())
}

/// A curve through pixels of the canvas; `None` is a gap.
fn draw_curve(
    area: &Area<'_>,
    points: &[Option<(i32, i32)>],
    colour: RGBColor,
    look: Look,
) -> Result<(), DrawError> {
    let corner = area.get_base_pixel();
    let points: Vec<Option<(i32, i32)>> = (points.iter())
        .map(|point| point.map(|(x, y)| (x - corner.0, y - corner.1)))
        .collect();
    let (colour, width) = match look {
        Look::Faint => (pale(colour, 0.3), FINE),
        _ => (colour, 2 * FINE + 1),
    };
    let disc = |at: (i32, i32), radius: i32| {
        area.draw(&Circle::new(at, radius, colour.filled()))
            .map_err(refused)
    };
    let segment = |from: (i32, i32), to: (i32, i32)| {
        let style = colour.stroke_width(width as u32);
        area.draw(&PathElement::new(vec![from, to], style))
            .map_err(refused)
    };
    if look != Look::Points {
        // Length of the curve so far, for the dashes.
        let mut run = 0.0;
        for pair in points.windows(2) {
            let [Some(from), Some(to)] = *pair else {
                continue;
            };
            if from == to {
                continue;
            }
            if look == Look::Dashed {
                run = dashes(from, to, run, segment)?;
                continue;
            }
            segment(from, to)?;
            if look == Look::Line {
                // Rounds the corner.
                disc(to, width / 2)?;
            }
        }
    }
    let few = points.len() <= MARKED;
    for (index, point) in points.iter().enumerate() {
        let Some(at) = *point else {
            continue;
        };
        let around = [index.checked_sub(1), Some(index + 1)];
        let alone =
            (around.into_iter().flatten()).all(|at| !matches!(points.get(at), Some(Some(_))));
        match look {
            Look::Points => disc(at, 4 * FINE)?,
            Look::Line if few || alone => disc(at, 4 * FINE)?,
            _ if alone => disc(at, 3 * FINE)?,
            _ => {}
        }
    }
    Ok(())
}

/// Draws the dashes of a straight piece that begins `run` pixels into the curve; returns where it ends.
fn dashes(
    from: (i32, i32),
    to: (i32, i32),
    run: f64,
    segment: impl Fn((i32, i32), (i32, i32)) -> Result<(), DrawError>,
) -> Result<f64, DrawError> {
    const ON: f64 = 10.0 * FINE as f64;
    const OFF: f64 = 6.0 * FINE as f64;
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy);
    let at = |along: f64| {
        let part = along / length;
        (
            from.0 + (dx * part).round() as i32,
            from.1 + (dy * part).round() as i32,
        )
    };
    let mut begin = -(run % (ON + OFF));
    while begin < length {
        let (first, last) = (begin.max(0.0), (begin + ON).min(length));
        if first < last {
            segment(at(first), at(last))?;
        }
        begin += ON + OFF;
    }
    Ok(run + length)
}
