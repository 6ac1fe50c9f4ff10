//! The analysis as pictures.

use std::path::Path;

use anyhow::Result;
use hrm::draw::{Chart, Panels, Picture, Series};

use super::{Analysis, Of};

/// Writes the pictures; returns their names.
pub(super) fn draw(dir: &Path, analysis: &Analysis<'_>) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut save = |name: &str, picture: Picture| -> Result<()> {
        picture.save_png(dir.join(name))?;
        files.push(name.to_owned());
        Ok(())
    };
    save("residuals.png", residuals(analysis)?)?;
    save("participation.png", participation(analysis)?)?;
    save("trajectories.png", trajectories(analysis)?)?;
    if let Some(picture) = attention(analysis)? {
        save("attention.png", picture)?;
    }
    Ok(files)
}

fn residuals(analysis: &Analysis<'_>) -> Result<Picture> {
    let series = |name: &str, values: &[f64], updates: usize| {
        let place = |(n, &value): (usize, &f64)| ((n + 1) as f64 / updates.max(1) as f64, value);
        Series::new(name, values.iter().enumerate().map(place).collect())
    };
    let Of { z_h, z_l } = &analysis.residuals;
    let chart = Chart {
        title: "How far an update moves the states".to_owned(),
        x_label: "segments".to_owned(),
        y_label: "forward residual".to_owned(),
        log_y: true,
        series: vec![
            series("z_H", z_h, analysis.updates.z_h),
            series("z_L", z_l, analysis.updates.z_l),
        ],
        ..Chart::default()
    };
    Ok(chart.render()?)
}

fn participation(analysis: &Analysis<'_>) -> Result<Picture> {
    let series = |name: &str, values: &[f64]| {
        let place = |(n, &value): (usize, &f64)| ((n + 1) as f64, value);
        Series::new(name, values.iter().enumerate().map(place).collect())
    };
    let Of { z_h, z_l } = &analysis.participation_ratio;
    let chart = Chart {
        title: format!("Dimensions used, {} puzzles", analysis.puzzles),
        x_label: "segments".to_owned(),
        y_label: "participation ratio".to_owned(),
        y_covers: Some((0.0, 1.0)),
        series: vec![series("z_H", z_h), series("z_L", z_l)],
        ..Chart::default()
    };
    Ok(chart.render()?)
}

fn trajectories(analysis: &Analysis<'_>) -> Result<Picture> {
    let chart = |title: &str, of: &dyn Fn(usize) -> Vec<(f64, f64)>| Chart {
        title: title.to_owned(),
        x_label: "first component".to_owned(),
        y_label: "second component".to_owned(),
        series: (0..analysis.trajectories.len())
            .map(|puzzle| Series::new(format!("puzzle {}", puzzle + 1), of(puzzle)))
            .collect(),
        ..Chart::default()
    };
    let plane = |points: &[Vec<f64>]| {
        let place = |point: &Vec<f64>| match point[..] {
            [x, y, ..] => (x, y),
            [x] => (x, 0.0),
            [] => (0.0, 0.0),
        };
        points.iter().map(place).collect()
    };
    let ways = &analysis.trajectories;
    let panels = Panels {
        title: "The way of the states in their own principal components".to_owned(),
        columns: 2,
        charts: vec![
            chart("z_H", &|puzzle| plane(&ways[puzzle].z_h.points)),
            chart("z_L", &|puzzle| plane(&ways[puzzle].z_l.points)),
        ],
    };
    Ok(panels.render()?)
}

/// Where the cell of the first puzzle looks.
fn attention(analysis: &Analysis<'_>) -> Result<Option<Picture>> {
    let Some(attention) = &analysis.attention else {
        return Ok(None);
    };
    let Some(heads) = attention.shares.first() else {
        return Ok(None);
    };
    // The puzzle embedding's positions stand before cell 1.
    let before = attention.puzzle_positions as f64;
    let series = (heads.iter().enumerate())
        .map(|(head, shares)| {
            let place = |(at, &share): (usize, &f32)| (at as f64 + 1.0 - before, f64::from(share));
            let points = shares.iter().enumerate().map(place).collect();
            Series::new(format!("head {}", head + 1), points)
        })
        .collect();
    let chart = Chart {
        title: format!(
            "Where cell {} of the first puzzle looks",
            attention.cell + 1
        ),
        x_label: "cell (below 1: the puzzle's own positions)".to_owned(),
        y_label: "share of the attention".to_owned(),
        series,
        ..Chart::default()
    };
    Ok(Some(chart.render()?))
}
