//! The analysis as pictures.

use std::path::Path;

use anyhow::Result;
use hrm::data::Task;
use hrm::draw::{Chart, Panels, Picture, Series, Sheet, Tile};

use super::{Analysis, Attention, AttentionMap, Of};
use crate::files::PICTURES;

/// The first puzzle.
pub(super) struct Board<'a> {
    pub(super) task: Task,
    pub(super) tokens: &'a [u8],
}

/// Writes the pictures; returns their names.
pub(super) fn draw(dir: &Path, analysis: &Analysis<'_>, board: &Board<'_>) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut save = |name: &str, picture: Picture| -> Result<()> {
        picture.save_png(dir.join(name))?;
        files.push(name.to_owned());
        Ok(())
    };
    let [
        of_residuals,
        of_participation,
        of_trajectories,
        of_attention,
    ] = PICTURES;
    save(of_residuals, residuals(analysis)?)?;
    save(of_participation, participation(analysis)?)?;
    save(of_trajectories, trajectories(analysis)?)?;
    if let Some(seen) = &analysis.attention
        && let Some(picture) = attention(seen, board)?
    {
        save(of_attention, picture)?;
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

/// Where the cell of the first puzzle looks: a row of maps for each block, a map for each head.
fn attention(attention: &Attention, board: &Board<'_>) -> Result<Option<Picture>> {
    let cells = |shares: &[f32]| -> Vec<f32> {
        // The puzzle embedding's positions stand before the cells.
        let cells = shares.iter().skip(attention.puzzle_positions);
        cells.copied().collect()
    };
    let row = |map: &AttentionMap| -> Vec<Tile> {
        let heads = map.shares.first().into_iter().flatten().enumerate();
        let tile = |(head, shares): (usize, &Vec<f32>)| {
            let shares = cells(shares);
            let most = shares.iter().copied().fold(0.0, f32::max);
            let caption = format!(
                "{} {}, head {}: {:.0}%",
                map.network.state(),
                map.block,
                head + 1,
                100.0 * most
            );
            Tile::weights(board.task, board.tokens, &shares)
                .with_frame(attention.cell)
                .with_caption(caption)
        };
        heads.map(tile).collect()
    };
    let rows: Vec<Vec<Tile>> = attention.maps.iter().map(row).collect();
    if rows.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let sheet = Sheet {
        title: "Where the framed cell of the first puzzle looks".to_owned(),
        rows,
        ..Sheet::default()
    };
    let note = "State and block, head, share of the darkest cell; white is none.";
    Ok(Some(sheet.with_note(note).render()?))
}

#[cfg(test)]
mod tests {
    use super::super::Which;
    use super::*;
    use hrm::data::sudoku::SudokuSize;

    /// Side of a cell, and where the first map begins: the sheet's margin, title, caption and the frame of the map.
    const CELL: u32 = 36;
    const CORNER: (u32, u32) = (20 + 2, 20 + 38 + 24 + 2);

    #[test]
    fn the_darkest_cell_has_the_largest_share() {
        let mut shares = vec![0.02; 2 + 16];
        // What the puzzle's own two positions have darkens nothing.
        (shares[0], shares[2 + 7], shares[2 + 12]) = (0.5, 0.1, 0.12);
        let seen = Attention {
            cell: 5,
            puzzle_positions: 2,
            maps: vec![AttentionMap {
                network: Which::Slow,
                block: 1,
                shares: vec![vec![shares]],
            }],
        };
        let board = Board {
            task: Task::Sudoku(SudokuSize::Four),
            tokens: &[1; 16],
        };
        let picture = attention(&seen, &board).unwrap().unwrap();
        let brightness = |cell: u32| {
            let middle = |corner, at| corner + at * CELL + CELL / 2;
            let (x, y) = (middle(CORNER.0, cell % 4), middle(CORNER.1, cell / 4));
            let pixel = picture.pixel(x, y).unwrap();
            pixel.iter().map(|&part| u32::from(part)).sum::<u32>()
        };
        let mut by_darkness: Vec<u32> = (0..16).collect();
        by_darkness.sort_by_key(|&cell| brightness(cell));
        assert_eq!(by_darkness[..2], [12, 7]);
        assert!(brightness(7) < brightness(0) && brightness(0) == brightness(15));
        // The edge of the cell that looks is framed.
        let (left, top) = (CORNER.0 + CELL - 2, CORNER.1 + CELL + CELL / 2);
        assert_eq!(picture.pixel(left, top), Some([191, 120, 0]));
    }
}
