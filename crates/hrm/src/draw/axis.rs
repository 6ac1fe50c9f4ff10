//! The range of an axis, its ticks and their labels.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Values whose size a plot can still tell apart.
const LARGEST: f64 = 1e100;

/// An axis: what is drawn is the value itself, or its logarithm to the base of 2.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub log: bool,
    /// Both ends, as drawn.
    pub range: (f64, f64),
    /// Where a tick stands, as drawn.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis for the values that can stand on it; `snap` lets it end at ticks.
    pub fn new(values: impl Iterator<Item = f64>, log: bool, snap: bool) -> Self {
        let (low, high) = values
            .filter_map(|value| place(value, log))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| {
                (low.min(at), high.max(at))
            });
        let (low, high) = match (low <= high, log) {
            (false, _) => (0.0, 1.0),
            (true, true) if high - low < 0.5 => (low - 0.5, high + 0.5),
            (true, false) if high - low <= low.abs().max(high.abs()) * 1e-9 => {
                let around = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
                (low - around, high + around)
            }
            (true, _) => (low, high),
        };
        if log {
            let margin = (high - low) * 0.03;
            let range = (low - margin, high + margin);
            return Self {
                log,
                range,
                ticks: log_ticks(range),
            };
        }
        let step = nice_step((high - low) / 5.0);
        let range = match snap {
            true => (
                (low / step + 1e-9).floor() * step,
                (high / step - 1e-9).ceil() * step,
            ),
            false => (low, high),
        };
        Self {
            log,
            range,
            ticks: linear_ticks(range, step),
        }
    }

    /// The same axis, longer at both ends.
    pub fn with_margin(mut self, margin: f64) -> Self {
        self.range = (self.range.0 - margin, self.range.1 + margin);
        self
    }

    /// Where a value stands; `None` where it can't.
    pub fn place(&self, value: f64) -> Option<f64> {
        place(value, self.log)
    }

    /// Label of a tick.
    pub fn label(&self, tick: f64) -> String {
        if self.log {
            return number(tick.exp2(), None);
        }
        let step = match self.ticks.as_slice() {
            [first, second, ..] => second - first,
            _ => self.range.1 - self.range.0,
        };
        let largest = self.range.0.abs().max(self.range.1.abs());
        number(
            if tick.abs() < step * 1e-6 { 0.0 } else { tick },
            Some((step, largest)),
        )
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (low, high) = self.range;
        let part = (value - low) / (high - low);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

fn place(value: f64, log: bool) -> Option<f64> {
    let fits = value.is_finite() && value.abs() <= LARGEST;
    match (fits, log) {
        (true, true) if value >= 1.0 / LARGEST => Some(value.log2()),
        (true, false) => Some(value),
        _ => None,
    }
}

/// The next 1, 2, 2.5 or 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999)
        .unwrap_or(10.0);
    factor * power
}

fn linear_ticks((low, high): (f64, f64), step: f64) -> Vec<f64> {
    let first = (low / step - 1e-6).ceil();
    let count = ((high / step + 1e-6).floor() - first).clamp(0.0, 50.0) as usize;
    (0..=count).map(|at| (first + at as f64) * step).collect()
}

/// Powers of two where few fit, else 1, 2, 5, 10, else powers of ten.
fn log_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let inside = |tick: &f64| (low - 1e-9..=high + 1e-9).contains(tick);
    let twos = (high.floor() - low.ceil()) as i64 + 1;
    if low > -1.5 && (2..=12).contains(&twos) {
        return (low.ceil() as i64..=high.floor() as i64)
            .map(|power| power as f64)
            .collect();
    }
    let ten = std::f64::consts::LOG2_10;
    let decades = ((low / ten).floor() as i64, (high / ten).ceil() as i64);
    let many = decades.1 - decades.0;
    let factors: &[f64] = if many <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let stride = usize::try_from((many + 7) / 8).unwrap_or(1).max(1);
    let ticks: Vec<f64> = (decades.0..=decades.1)
        .step_by(stride)
        .flat_map(|power| {
            factors
                .iter()
                .map(move |factor| power as f64 * ten + factor.log2())
        })
        .filter(inside)
        .collect();
    if ticks.len() >= 3 {
        return ticks;
    }
    let (low, high) = (low.exp2(), high.exp2());
    linear_ticks((low, high), nice_step((high - low) / 4.0))
        .into_iter()
        .filter(|&tick| tick > 0.0)
        .map(f64::log2)
        .collect()
}

/// A number with as many digits as tell the ticks apart.
fn number(value: f64, ticks: Option<(f64, f64)>) -> String {
    let largest = ticks.map_or(value.abs(), |(_, largest)| largest);
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e9).contains(&largest) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let (scale, suffix) = match largest {
        _ if ticks.is_none() && largest < 1e5 => (1.0, ""),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let value = value / scale;
    let decimals = match ticks {
        // The digits of a step such as 0.25 or 2.5.
        Some((step, _)) => (0..9)
            .find(|&decimals| {
                let shifted = step / scale * 10f64.powi(decimals);
                shifted > 0.5 && (shifted - shifted.round()).abs() < 1e-6 * shifted
            })
            .unwrap_or(9) as usize,
        None => 4,
    };
    let mut text = format!("{value:.decimals$}");
    if ticks.is_none() && text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    text + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn linear_axes_end_at_round_numbers() {
        let axis = Axis::new([0.03, 0.97].into_iter(), false, true);
        assert_eq!(axis.range, (0.0, 1.0));
        assert_eq!(labels(&axis), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let axis = Axis::new([0.0, 60_000.0].into_iter(), false, true);
        assert_eq!(labels(&axis), ["0", "20k", "40k", "60k"]);
    }

    #[test]
    fn segments_stand_at_powers_of_two() {
        let axis = Axis::new([1.0, 64.0].into_iter(), true, false);
        assert_eq!(labels(&axis), ["1", "2", "4", "8", "16", "32", "64"]);
        assert_eq!(axis.place(8.0), Some(3.0));
        assert_eq!(axis.place(0.0), None);
    }

    #[test]
    fn ticks_that_are_close_together_have_labels_of_their_own() {
        let axis = Axis::new([0.812_345_0, 0.812_345_4].into_iter(), false, true);
        let mut found = labels(&axis);
        let ticks = found.len();
        found.dedup();
        assert!(ticks > 2 && found.len() == ticks, "{found:?}");
        assert!(found[0].starts_with("0.812345"), "{found:?}");
    }

    #[test]
    fn any_values_make_an_axis() {
        let extremes = [
            f64::NAN,
            f64::INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            -1e99,
            1e99,
            0.0,
            -0.0,
            5.0,
            5.0 + 1e-13,
            1e-30,
        ];
        for a in extremes {
            for b in extremes {
                for log in [false, true] {
                    let axis = Axis::new([a, b].into_iter(), log, true);
                    assert!(axis.range.0 < axis.range.1, "{a} {b}: {axis:?}");
                    assert!(axis.ticks.len() < 60, "{a} {b}: {axis:?}");
                    assert!(
                        labels(&axis).iter().all(|label| label.len() < 14),
                        "{a} {b}: {axis:?}"
                    );
                }
            }
        }
    }
}
