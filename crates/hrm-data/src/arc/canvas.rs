//! Grids on the 30x30 canvas that a model sees: colours, end-of-grid marks, and padding around them.

use rand::{Rng, RngExt};

use super::augment::ArcAugmentation;
use super::grid::{Grid, MAX_SIDE};

/// Token of padding.
pub const PAD: u8 = 0;
/// Token of an end-of-grid mark.
pub const END: u8 = 1;
/// Token of colour 0; colour c is `COLOUR + c`.
pub const COLOUR: u8 = 2;
/// Number of tokens.
pub const VOCAB_SIZE: usize = 12;
/// Cells of the canvas.
pub const CELLS: usize = MAX_SIDE * MAX_SIDE;

/// Draws a grid on the canvas with its upper left cell at `row`, `column`; the rest becomes `fill`.
///
/// The marks are the row under the grid over its width and the column right of it over its height; the corner
/// between them stays `fill`, and there is no mark where the grid touches the edge.
///
/// # Panics
/// If the grid does not fit there or `tokens` are not 900.
pub fn draw(grid: &Grid, (row, column): (usize, usize), fill: u8, tokens: &mut [u8]) {
    let mut cells = [0; CELLS];
    let cells = &mut cells[..grid.cells().len()];
    for (cell, colour) in cells.iter_mut().zip(grid.cells()) {
        *cell = colour + COLOUR;
    }
    let shape = (grid.height(), grid.width());
    draw_tokens(cells, shape, (row, column), fill, tokens);
}

/// Reads a prediction back: the largest rectangle at (0, 0) whose cells are all colours; `None` where the first
/// cell is no colour. Of equally large ones it is the one with fewer rows.
///
/// # Panics
/// If `tokens` are not 900.
pub fn crop(tokens: &[u8]) -> Option<Grid> {
    assert_eq!(tokens.len(), CELLS, "tokens of a canvas");
    let (mut best, mut widest) = ((0, 0), MAX_SIDE);
    for (row, cells) in tokens.chunks_exact(MAX_SIDE).enumerate() {
        widest = leading_colours(cells.iter()).min(widest);
        if (row + 1) * widest > best.0 * best.1 {
            best = (row + 1, widest);
        }
    }
    let (height, width) = best;
    if height * width == 0 {
        return None;
    }
    let rows = tokens.chunks_exact(MAX_SIDE).take(height);
    let cells = rows
        .flat_map(|row| &row[..width])
        .map(|token| token - COLOUR)
        .collect();
    Some(Grid::of_colours(height, width, cells))
}

/// Puts the grid at (0, 0) of a canvas under an augmentation. A canvas without a grid there stays.
pub(crate) fn augment(augmentation: &ArcAugmentation, fill: u8, tokens: &mut [u8]) {
    let (height, width) = extent(tokens);
    if height * width == 0 {
        return;
    }
    let (mut cells, mut moved) = ([0; CELLS], [0; CELLS]);
    let cells = &mut cells[..height * width];
    let colours = augmentation.colours();
    for (target, row) in cells
        .chunks_exact_mut(width)
        .zip(tokens.chunks_exact(MAX_SIDE))
    {
        for (cell, token) in target.iter_mut().zip(row) {
            *cell = COLOUR + colours[usize::from(token.wrapping_sub(COLOUR)) % colours.len()];
        }
    }
    let moved = &mut moved[..height * width];
    let symmetry = augmentation.symmetry();
    symmetry.apply_into(cells, height, width, moved);
    draw_tokens(moved, symmetry.shape(height, width), (0, 0), fill, tokens);
}

/// Moves question and answer from (0, 0) by the same random offset, such that both stay on the canvas.
pub(crate) fn translate<R: Rng + ?Sized>(
    (inputs, input_fill): (&mut [u8], u8),
    (labels, label_fill): (&mut [u8], u8),
    rng: &mut R,
) {
    let (question, answer) = (extent(inputs), extent(labels));
    let row = rng.random_range(0..=MAX_SIDE - question.0.max(answer.0));
    let column = rng.random_range(0..=MAX_SIDE - question.1.max(answer.1));
    for (tokens, (height, width), fill) in
        [(inputs, question, input_fill), (labels, answer, label_fill)]
    {
        if height * width == 0 {
            continue;
        }
        let mut cells = [0; CELLS];
        let cells = &mut cells[..height * width];
        for (target, source) in cells
            .chunks_exact_mut(width)
            .zip(tokens.chunks_exact(MAX_SIDE))
        {
            target.copy_from_slice(&source[..width]);
        }
        draw_tokens(cells, (height, width), (row, column), fill, tokens);
    }
}

/// Height and width of the grid at (0, 0) of a well-formed canvas.
fn extent(tokens: &[u8]) -> (usize, usize) {
    let row = tokens.iter().take(MAX_SIDE);
    let column = tokens.iter().step_by(MAX_SIDE).take(MAX_SIDE);
    (leading_colours(column), leading_colours(row))
}

fn leading_colours<'a>(tokens: impl Iterator<Item = &'a u8>) -> usize {
    tokens
        .take_while(|&&token| (COLOUR..VOCAB_SIZE as u8).contains(&token))
        .count()
}

fn draw_tokens(
    cells: &[u8],
    (height, width): (usize, usize),
    (row, column): (usize, usize),
    fill: u8,
    tokens: &mut [u8],
) {
    assert_eq!(tokens.len(), CELLS, "tokens of a canvas");
    assert!(row + height <= MAX_SIDE && column + width <= MAX_SIDE);
    tokens.fill(fill);
    let rows = tokens.chunks_exact_mut(MAX_SIDE).skip(row);
    for (target, source) in rows.zip(cells.chunks_exact(width)) {
        target[column..column + width].copy_from_slice(source);
        if let Some(mark) = target.get_mut(column + width) {
            *mark = END;
        }
    }
    if row + height < MAX_SIDE {
        let under = (row + height) * MAX_SIDE + column;
        tokens[under..under + width].fill(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IGNORED;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn canvas(grid: &Grid, at: (usize, usize)) -> Vec<u8> {
        let mut tokens = vec![9; CELLS];
        draw(grid, at, PAD, &mut tokens);
        tokens
    }

    #[test]
    fn marks_lie_under_and_right_of_the_grid_without_the_corner() {
        let tokens = canvas(&Grid::from_rows(&[[1, 2]]).unwrap(), (3, 4));
        let mut expected = vec![PAD; CELLS];
        expected[3 * 30 + 4] = 3;
        expected[3 * 30 + 5] = 4;
        expected[3 * 30 + 6] = END;
        expected[4 * 30 + 4] = END;
        expected[4 * 30 + 5] = END;
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_grid_at_the_edge_has_no_mark_there() {
        let full = Grid::new(30, 30, vec![0; 900]).unwrap();
        assert!(canvas(&full, (0, 0)).iter().all(|&token| token == COLOUR));
        let wide = Grid::new(1, 30, vec![0; 30]).unwrap();
        let tokens = canvas(&wide, (29, 0));
        assert_eq!(tokens.iter().filter(|&&token| token == END).count(), 0);
    }

    #[test]
    fn what_is_drawn_is_cropped_back() {
        let grid = Grid::from_rows(&[[1, 2, 3], [4, 5, 6]]).unwrap();
        assert_eq!(crop(&canvas(&grid, (0, 0))), Some(grid));
        assert_eq!(crop(&[PAD; CELLS]), None);
        assert_eq!(crop(&[IGNORED; CELLS]), None);
    }

    #[test]
    fn the_crop_is_the_largest_rectangle_of_colours() {
        let mut tokens = vec![PAD; CELLS];
        // Rows of 5, 2, 2 colours: 5 cells at one row, 6 at three.
        tokens[..5].fill(4);
        tokens[30..32].fill(4);
        tokens[60..62].fill(4);
        assert_eq!(crop(&tokens).unwrap().to_string(), "22 22 22");
        tokens[60] = END;
        assert_eq!(crop(&tokens).unwrap().to_string(), "22222");
    }

    #[test]
    fn translation_keeps_question_and_answer_together() {
        let (question, answer) = (
            Grid::new(3, 20, vec![1; 60]).unwrap(),
            Grid::new(25, 2, vec![2; 50]).unwrap(),
        );
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut offsets = std::collections::HashSet::new();
        for _ in 0..500 {
            let (mut inputs, mut labels) = (vec![0; CELLS], vec![0; CELLS]);
            draw(&question, (0, 0), PAD, &mut inputs);
            draw(&answer, (0, 0), IGNORED, &mut labels);
            translate((&mut inputs, PAD), (&mut labels, IGNORED), &mut rng);
            let at = inputs.iter().position(|&token| token != PAD).unwrap();
            assert_eq!(labels.iter().position(|&token| token != IGNORED), Some(at));
            let offset = (at / 30, at % 30);
            assert_eq!(inputs, canvas(&question, offset));
            offsets.insert(offset);
        }
        // 6 rows and 11 columns are possible.
        assert_eq!(offsets.len(), 66);
    }

    #[test]
    fn augmenting_a_canvas_is_augmenting_its_grid() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let grid = Grid::from_rows(&[[0, 1, 2], [9, 8, 7]]).unwrap();
        for _ in 0..100 {
            let augmentation = ArcAugmentation::sample(&mut rng);
            let mut tokens = canvas(&grid, (0, 0));
            augment(&augmentation, PAD, &mut tokens);
            assert_eq!(tokens, canvas(&augmentation.apply(&grid), (0, 0)));
        }
    }
}
