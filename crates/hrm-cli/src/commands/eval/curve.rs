//! `hrm eval --curve`: accuracy against compute.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::prelude::*;
use hrm::train::{CurveConfig, doubling, segment_curve};
use serde::Serialize;

use super::rating::{self, Bin};
use super::{Args, Asked, Verdicts, has_verdicts, judge, summed};
use crate::Outcome;
use crate::checkpoint::Loaded;
use crate::console::Console;
use crate::think::{Choose, Think};

/// What is asked about accuracy against compute.
#[derive(Debug, Arguments)]
#[command(next_help_heading = "Accuracy against compute")]
pub(super) struct CurveOptions {
    /// Accuracy against compute: `segments`, where every puzzle thinks as long; `halting`, where each stops by the rule of
    /// --halt, q-halt if none is given; `rollouts`, where each is tried several times. All three if none is named.
    #[arg(
        long,
        value_name = "PARTS",
        value_enum,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_values = ["segments", "halting", "rollouts"]
    )]
    curve: Option<Vec<Part>>,
    /// Most segments of the curve; 64 without it.
    #[arg(long, value_name = "N", requires = "curve", value_parser = clap::value_parser!(u32).range(1..))]
    curve_segments: Option<u32>,
    /// Most roll-outs of the curve; 8 without it.
    #[arg(long, value_name = "K", requires = "curve", value_parser = clap::value_parser!(u32).range(1..))]
    curve_rollouts: Option<u32>,
    /// CSV file with the puzzles' ratings (columns `question` and `rating`). Without it Sudokus are rated by the guesses of our
    /// solver and mazes by the cells on their path.
    #[arg(long, value_name = "FILE", requires = "curve")]
    ratings: Option<PathBuf>,
    /// Ratings at which the bins begin, rising; without it about equally full ones are made.
    #[arg(
        long,
        value_name = "R,R,...",
        value_delimiter = ',',
        requires = "curve"
    )]
    bins: Vec<u64>,
    /// Draws the curves into a PNG file.
    #[cfg(feature = "draw")]
    #[arg(long, value_name = "FILE", requires = "curve")]
    plot: Option<PathBuf>,
}

/// A part of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Every puzzle thinks as long.
    Segments,
    /// Every puzzle stops by the rule.
    Halting,
    /// Every puzzle is tried several times.
    Rollouts,
}

impl std::fmt::Display for Part {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Segments => "segments",
            Self::Halting => "halting",
            Self::Rollouts => "rollouts",
        })
    }
}

/// A point of a curve.
#[derive(Serialize)]
#[serde(tag = "type", rename = "curve_point")]
pub(super) struct Point {
    pub(super) curve: Part,
    /// Segments, most segments, or roll-outs.
    pub(super) at: u32,
    #[serde(flatten)]
    pub(super) found: Evaluation,
    seconds: f64,
    puzzles_per_second: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
    pub(super) bins: Vec<Binned>,
}

/// What was found of the puzzles of a bin.
#[derive(Serialize)]
pub(super) struct Binned {
    #[serde(flatten)]
    pub(super) bin: Bin,
    pub(super) puzzles: u64,
    exact: u64,
    /// None, as what follows, where the bin is empty.
    pub(super) exact_accuracy: Option<f64>,
    exact_interval: Option<(f64, f64)>,
    mean_segments: Option<f64>,
}

impl Binned {
    fn new(bin: Bin, found: &Evaluation) -> Self {
        let judged = found.puzzles > 0;
        Self {
            bin,
            puzzles: found.puzzles,
            exact: found.exact,
            exact_accuracy: judged.then_some(found.exact_accuracy),
            exact_interval: judged.then_some(found.exact_interval),
            mean_segments: judged.then_some(found.mean_segments),
        }
    }
}

impl CurveOptions {
    pub(super) fn is_wanted(&self) -> bool {
        self.curve.is_some()
    }

    /// Whether a picture is wanted.
    fn is_drawn(&self) -> bool {
        #[cfg(feature = "draw")]
        return self.plot.is_some();
        #[cfg(not(feature = "draw"))]
        false
    }

    fn most_segments(&self) -> u32 {
        self.curve_segments.unwrap_or(64)
    }

    /// Refuses what can't be met before anything is computed.
    pub(super) fn check(&self, force: bool) -> Result<()> {
        if self.bins.windows(2).any(|pair| pair[0] >= pair[1]) {
            let found: Vec<String> = self.bins.iter().map(u64::to_string).collect();
            bail!("--bins: expected rising ratings, found {}", found.join(","));
        }
        #[cfg(feature = "draw")]
        if let Some(path) = &self.plot {
            crate::files::check_picture(path, "png", force)?;
        }
        #[cfg(not(feature = "draw"))]
        let _ = force;
        Ok(())
    }
}

/// The ratings of the puzzles asked, in bins.
struct Ratings {
    of: Vec<Option<u64>>,
    what: &'static str,
    bins: Vec<Bin>,
}

impl Ratings {
    fn new(options: &CurveOptions, loaded: &Loaded, asked: &Asked<'_>) -> Result<Option<Self>> {
        let rated = match &options.ratings {
            Some(path) => Some(rating::of_file(path, asked, loaded.task)?),
            None => rating::computed(asked, loaded.task),
        };
        Ok(rated.map(|(of, what)| Self {
            bins: rating::bins(&of, &options.bins),
            of,
            what,
        }))
    }

    fn holds(&self, bin: &Bin, index: usize) -> bool {
        bin.holds(self.of.get(index).copied().flatten())
    }
}

pub(super) fn run(
    args: &Args,
    loaded: &Loaded,
    asked: &Asked<'_>,
    console: &Console,
) -> Result<Outcome> {
    let mut parts: Vec<Part> = Vec::new();
    for &part in args.curve.curve.iter().flatten() {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    check_parts(&parts, args)?;
    match (parts.as_slice(), args.think.halt) {
        ([Part::Segments], _) if args.think.tries_often() => bail!(
            "--curve=segments lets each puzzle think once; --also, --rollouts and --views are for the curves \
             `halting` and `rollouts`"
        ),
        ([Part::Halting], Some(HaltRule::Fixed)) => {
            bail!("--curve=halting: expected a rule that halts, found --halt fixed")
        }
        _ => {}
    }
    let ratings = Ratings::new(&args.curve, loaded, asked)?;
    if ratings.is_none() && !args.curve.bins.is_empty() {
        bail!("--bins: expected puzzles with a rating; these have none without --ratings");
    }
    if parts.iter().any(|&part| part != Part::Segments) {
        // What it refuses, it refuses before the first part.
        args.think
            .reasoner_of(loaded, config(args, 1), args.think.rollouts)?;
    }
    let (mut points, mut told) = (Vec::new(), Ok(()));
    for part in parts {
        let found = match part {
            Part::Segments => segments(args, loaded, asked, ratings.as_ref(), console)?,
            Part::Halting => match args.think.halt {
                Some(HaltRule::Fixed) => {
                    console
                        .note("--halt fixed halts nothing: the curve against halting is left out");
                    continue;
                }
                _ => halting(args, loaded, asked, ratings.as_ref(), console)?,
            },
            Part::Rollouts => rollouts(args, loaded, asked, ratings.as_ref(), console)?,
        };
        if told.is_ok() {
            told = console
                .text(table(part, &found, ratings.as_ref(), args))
                .and_then(|()| found.iter().try_for_each(|point| console.object(point)));
        }
        // The picture is drawn even if nobody reads.
        if told.is_err() && !args.curve.is_drawn() {
            break;
        }
        points.extend(found);
    }
    #[cfg(feature = "draw")]
    if let Some(path) = &args.curve.plot {
        let what = ratings.as_ref().map_or("", |ratings| ratings.what);
        super::plot::draw(path, args.force, &points, what)?;
        console.note(format_args!("{}: the curves", path.display()));
    }
    told?;
    Ok(Outcome::Done)
}

/// Refuses options that no part of the curve goes by.
fn check_parts(parts: &[Part], args: &Args) -> Result<()> {
    let Think {
        segments,
        halt,
        rollouts,
        min_confidence,
        ..
    } = &args.think;
    let (by_rule, by_bound) = (
        &[Part::Halting, Part::Rollouts][..],
        &[Part::Segments, Part::Halting][..],
    );
    let options = [
        ("--segments", segments.is_some(), &[Part::Rollouts][..]),
        (
            "--curve-segments",
            args.curve.curve_segments.is_some(),
            by_bound,
        ),
        ("--halt", halt.is_some(), by_rule),
        ("--rollouts", *rollouts > 1, &[Part::Halting][..]),
        (
            "--curve-rollouts",
            args.curve.curve_rollouts.is_some(),
            &[Part::Rollouts][..],
        ),
        ("--min-confidence", *min_confidence > 0.0, by_rule),
        ("--choose", args.think.choose != Choose::QHalt, by_rule),
    ];
    for (option, is_given, of) in options {
        if is_given && !parts.iter().any(|part| of.contains(part)) {
            let names = |parts: &[Part], with: &str| {
                let names: Vec<String> = parts.iter().map(Part::to_string).collect();
                names.join(with)
            };
            bail!(
                "{option}: expected {} in --curve, found {}",
                names(of, " or "),
                names(parts, ",")
            );
        }
    }
    Ok(())
}

/// Every puzzle thinks as long: all points from one pass.
fn segments(
    args: &Args,
    loaded: &Loaded,
    asked: &Asked<'_>,
    ratings: Option<&Ratings>,
    console: &Console,
) -> Result<Vec<Point>> {
    let config = CurveConfig {
        limit: Some(asked.total),
        ..CurveConfig::doubling(args.curve.most_segments(), args.think.batch)
    };
    let bar = console.bar(asked.total as u64, "puzzles");
    let curve = segment_curve(&loaded.model, asked.set, &config, |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let mut points = Vec::new();
    for (n, (&at, elapsed)) in curve.segments.iter().zip(&curve.elapsed).enumerate() {
        let Some(found) = curve.evaluation(n, |_| true) else {
            continue;
        };
        let bins = ratings.map_or(Vec::new(), |ratings| {
            let binned = |bin: &Bin| {
                let found = curve.evaluation(n, |puzzle| ratings.holds(bin, puzzle.index))?;
                Some(Binned::new(*bin, &found))
            };
            ratings.bins.iter().filter_map(binned).collect()
        });
        let seconds = elapsed.as_secs_f64();
        points.push(Point {
            curve: Part::Segments,
            at,
            found,
            seconds,
            puzzles_per_second: asked.total as f64 / seconds.max(1e-9),
            verdicts: None,
            bins,
        });
    }
    Ok(points)
}

/// The rule that ends the thinking about a puzzle.
fn rule(args: &Args) -> HaltRule {
    args.think.halt.unwrap_or_default()
}

/// Every puzzle stops by the rule: a run for every bound.
fn halting(
    args: &Args,
    loaded: &Loaded,
    asked: &Asked<'_>,
    ratings: Option<&Ratings>,
    console: &Console,
) -> Result<Vec<Point>> {
    doubling(args.curve.most_segments())
        .into_iter()
        .map(|at| {
            let config = config(args, at);
            let reasoner = args
                .think
                .reasoner_of(loaded, config, args.think.rollouts)?;
            let of = (Part::Halting, at);
            measured(of, &reasoner, args, loaded, asked, ratings, console)
        })
        .collect()
}

/// Every puzzle is tried several times: a run for every number of roll-outs.
fn rollouts(
    args: &Args,
    loaded: &Loaded,
    asked: &Asked<'_>,
    ratings: Option<&Ratings>,
    console: &Console,
) -> Result<Vec<Point>> {
    doubling(args.curve.curve_rollouts.unwrap_or(8))
        .into_iter()
        .map(|at| {
            let config = config(args, args.think.max_segments(loaded));
            let reasoner = args.think.reasoner_of(loaded, config, at)?;
            let of = (Part::Rollouts, at);
            measured(of, &reasoner, args, loaded, asked, ratings, console)
        })
        .collect()
}

fn config(args: &Args, max_segments: u32) -> ReasonerConfig {
    ReasonerConfig {
        slots: args.think.batch,
        max_segments,
        halt: rule(args),
        trace: false,
    }
}

/// A point by a run of the reasoner.
fn measured(
    (curve, at): (Part, u32),
    reasoner: &Reasoner,
    args: &Args,
    loaded: &Loaded,
    asked: &Asked<'_>,
    ratings: Option<&Ratings>,
    console: &Console,
) -> Result<Point> {
    let bar = console.bar(asked.total as u64, "puzzles");
    let start = Instant::now();
    let judged = judge(reasoner, asked, args.think.min_confidence, |_| {
        bar.inc(1);
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let (found, summary) = summed(&judged);
    let bins = ratings.map_or(Vec::new(), |ratings| {
        let binned = |bin: &Bin| {
            let puzzles = judged.iter().filter(|j| ratings.holds(bin, j.index));
            Binned::new(*bin, &summed(puzzles).0)
        };
        ratings.bins.iter().map(binned).collect()
    });
    Ok(Point {
        curve,
        at,
        found,
        seconds,
        puzzles_per_second: asked.total as f64 / seconds.max(1e-9),
        verdicts: has_verdicts(args, loaded).then(|| Verdicts::of(&summary)),
        bins,
    })
}

/// The points of a curve, a line each.
fn table(part: Part, points: &[Point], ratings: Option<&Ratings>, args: &Args) -> String {
    let rule = args.think.halt_name();
    let (title, at) = match part {
        Part::Segments => ("every puzzle thinks as long".to_owned(), "segments"),
        Part::Halting => (format!("every puzzle stops by {rule}"), "at most"),
        Part::Rollouts => {
            let title = format!(
                "several attempts from noisy initial states, each stops by {rule}, chosen by {}",
                args.think.choice_name()
            );
            (title, "roll-outs")
        }
    };
    let verified = points.iter().any(|point| point.verdicts.is_some());
    let mut text =
        format!("{title}\n{at:>9}    exact    95% interval    cells     used  puzzles/s");
    if verified {
        text += "  verified";
    }
    let columns: Vec<String> = ratings
        .iter()
        .flat_map(|ratings| &ratings.bins)
        .map(Bin::to_string)
        .collect();
    if let Some(ratings) = ratings {
        text += &format!("   exact by {}:", ratings.what);
        for column in &columns {
            text += &format!(" {column:>8}");
        }
    }
    for point in points {
        let found = &point.found;
        text += &match found.puzzles {
            0 => format!(
                "\n{:>9} {:>8}  {:>15} {:>8} {:>8} {:>10.1}",
                point.at, "-", "-", "-", "-", point.puzzles_per_second
            ),
            _ => format!(
                "\n{:>9} {:>7.2}%  {:>5.2} to {:>6.2} {:>7.2}% {:>8.2} {:>10.1}",
                point.at,
                100.0 * found.exact_accuracy,
                100.0 * found.exact_interval.0,
                100.0 * found.exact_interval.1,
                100.0 * found.cell_accuracy,
                found.mean_segments,
                point.puzzles_per_second,
            ),
        };
        match point.verdicts.as_ref().map(|v| v.verified_coverage) {
            Some(Some(coverage)) => text += &format!(" {:>8.2}%", 100.0 * coverage),
            Some(None) => text += &format!(" {:>9}", "-"),
            None if verified => text += &" ".repeat(10),
            None => {}
        }
        if let Some(ratings) = ratings {
            text += &" ".repeat(13 + ratings.what.len());
            for bin in &point.bins {
                match bin.exact_accuracy {
                    None => text += "        -",
                    Some(share) => text += &format!(" {:>7.2}%", 100.0 * share),
                }
            }
        }
    }
    if points.iter().all(|point| point.found.puzzles == 0) {
        text += "\nno puzzle has an answer to compare with: nothing could be judged";
    }
    if let (Some(ratings), Some(point)) = (ratings, points.first()) {
        let counts: Vec<String> = (point.bins.iter().zip(&columns))
            .map(|(bin, column)| format!("{column}: {}", bin.puzzles))
            .collect();
        text += &format!("\npuzzles by {}: {}", ratings.what, counts.join(", "));
    }
    text + "\n"
}
