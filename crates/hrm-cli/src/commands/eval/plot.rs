//! The curves of `hrm eval --curve` as a picture.

use std::path::Path;

use anyhow::Result;
use hrm::draw::{Chart, Panels, Series};

use super::curve::{Part, Point};
use crate::files::write_file;

/// Accuracy against segments used, and by rating where there are bins.
pub(super) fn draw(path: &Path, force: bool, points: &[Point], rating: &str) -> Result<()> {
    let of = |part: Part| points.iter().filter(move |point| point.curve == part);
    let accuracy = |name: &str, part: Part| {
        let place = |point: &Point| (point.found.mean_segments, point.found.exact_accuracy);
        let judged = of(part).filter(|point| point.found.puzzles > 0);
        Series::new(name, judged.map(place).collect())
    };
    let chart = |title: &str, x_label: &str, series: Vec<Series>| Chart {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: "exact accuracy".to_owned(),
        log_x: true,
        y_covers: Some((0.0, 1.0)),
        series: series
            .into_iter()
            .filter(|series| !series.points.is_empty())
            .collect(),
        ..Chart::default()
    };
    let mut charts = vec![chart(
        "Accuracy against compute",
        "segments used on a puzzle, all attempts",
        vec![
            accuracy("as long for every puzzle", Part::Segments),
            accuracy("stopped by the rule", Part::Halting),
            accuracy("roll-outs", Part::Rollouts),
        ],
    )];
    let bins = points.first().map_or(0, |point| point.bins.len());
    if bins > 1 {
        let part = points.first().map_or(Part::Segments, |point| point.curve);
        let x_label = match part {
            Part::Segments => "segments",
            Part::Halting => "most segments",
            Part::Rollouts => "roll-outs",
        };
        let series = (0..bins)
            .filter_map(|bin| {
                let name = of(part).next()?.bins.get(bin)?.bin.to_string();
                let place = |point: &Point| {
                    let exact_accuracy = point.bins.get(bin)?.exact_accuracy?;
                    Some((f64::from(point.at), exact_accuracy))
                };
                Some(Series::new(name, of(part).filter_map(place).collect()))
            })
            .collect();
        charts.push(chart(&format!("By {rating}"), x_label, series));
    }
    let picture = match charts.len() {
        1 => charts.remove(0).render()?,
        columns => Panels {
            title: String::new(),
            columns,
            charts,
        }
        .render()?,
    };
    let png = picture.png()?;
    write_file(path, force, |out| Ok(out.write_all(&png)?))
}
