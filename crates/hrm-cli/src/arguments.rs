//! Values of options that several commands take.

use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;

/// Takes numbers of things of which there must be one.
pub(crate) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// A range of whole numbers, both ends counted: `30`, `5..50`, `5..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) RangeInclusive<u64>);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("expected a number such as 30 or a range such as 5..50, found `{text}`");
        let number = |part: &str| part.parse::<u64>().map_err(|_| bad());
        let (low, high) = match text.split_once("..") {
            None => (number(text)?, number(text)?),
            Some((low, "")) => (number(low)?, u64::MAX),
            Some(("", high)) => (0, number(high.trim_start_matches('='))?),
            Some((low, high)) => (number(low)?, number(high.trim_start_matches('='))?),
        };
        if low > high {
            return Err(format!("expected a range that rises, found `{text}`"));
        }
        Ok(Self(low..=high))
    }
}

impl Span {
    /// The range as sizes.
    pub(crate) fn sizes(&self) -> RangeInclusive<usize> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        size(*self.0.start())..=size(*self.0.end())
    }
}

/// Rows and columns: `30`, or `20x30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |part: &str| {
            part.parse::<usize>().map_err(|_| {
                format!(
                    "expected a side such as 30, or rows x columns such as 20x30, found `{text}`"
                )
            })
        };
        let (height, width) = match text.split_once('x') {
            None => (side(text)?, side(text)?),
            Some((height, width)) => (side(height)?, side(width)?),
        };
        Ok(Self { height, width })
    }
}

/// A cell of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Row and column, counted from 1: `r3c5`.
    At { row: usize, column: usize },
    /// The number of the cell, counted from 1.
    Number(usize),
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<usize>().ok().filter(|&number| number > 0);
        let cell = match text.strip_prefix(['r', 'R']) {
            Some(rest) => rest.split_once(['c', 'C']).and_then(|(row, column)| {
                Some(Self::At {
                    row: number(row)?,
                    column: number(column)?,
                })
            }),
            None => number(text).map(Self::Number),
        };
        cell.ok_or_else(|| {
            format!(
                "expected row and column such as r3c5, or the number of a cell from 1 on, found `{text}`"
            )
        })
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At { row, column } => write!(f, "r{row}c{column}"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Cell {
    /// Its place, counted from 0, in a grid with rows of this width; none outside of them.
    pub(crate) fn place(self, width: usize) -> Option<usize> {
        match self {
            Self::At { row, column } if column <= width => {
                (row - 1).checked_mul(width)?.checked_add(column - 1)
            }
            Self::At { .. } => None,
            Self::Number(number) => Some(number - 1),
        }
    }
}

/// A key of the configuration and the text of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(format!(
                "expected key=value such as optimizer.lr=7e-5, found `{text}`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_both_ends() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(span("30"), Ok(30..=30));
        assert_eq!(span("5..50"), Ok(5..=50));
        assert_eq!(span("5..=50"), Ok(5..=50));
        assert_eq!(span("5.."), Ok(5..=u64::MAX));
        assert_eq!(span("..9"), Ok(0..=9));
        assert!(span("9..5").unwrap_err().contains("rises"));
        assert!(span("five").unwrap_err().contains("`five`"));
    }

    #[test]
    fn shapes_are_square_or_not() {
        assert_eq!(
            "10".parse(),
            Ok(Shape {
                height: 10,
                width: 10
            })
        );
        assert_eq!(
            "20x30".parse(),
            Ok(Shape {
                height: 20,
                width: 30
            })
        );
        assert!("20x".parse::<Shape>().is_err());
    }

    #[test]
    fn cells_are_counted_from_one() {
        let place = |text: &str, width| text.parse::<Cell>().unwrap().place(width);
        assert_eq!(place("r3c5", 9), Some(22));
        assert_eq!(place("R1C1", 4), Some(0));
        assert_eq!(place("23", 9), Some(22));
        assert_eq!(place("r1c5", 4), None);
        assert_eq!(place("r18446744073709551615c4", 4), None);
        for bad in ["", "r3", "c5", "r0c1", "r1c0", "0", "-1", "rxc1"] {
            assert!(bad.parse::<Cell>().unwrap_err().contains("r3c5"), "{bad}");
        }
    }

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        let setting: Setting = "optimizer.lr = 7e-5".parse().unwrap();
        assert_eq!(
            (setting.key.as_str(), setting.value.as_str()),
            ("optimizer.lr", "7e-5")
        );
        assert!("steps".parse::<Setting>().is_err());
    }
}
