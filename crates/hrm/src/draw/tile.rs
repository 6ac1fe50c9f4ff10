//! One grid: a question, or an answer with what is found, wrong and new in it.

use hrm_data::sudoku::{SudokuSize, symbol};
use hrm_data::{IGNORED, Task, arc, maze};
use plotters::style::RGBColor;

use super::canvas::{Anchor, Canvas, Letters};
use super::colour::{
    ARC, BLANK, CHANGED, CHANGED_INK, FOUND, GOAL, INK, LINE, PAPER, PATH, QUIET, START, WALL,
    WEIGHT, WRONG, WRONG_INK, pale, token,
};
use super::error::DrawError;

/// Side that a grid is drawn in, in pixels, as near as whole pixels for a cell allow.
const SIDE: usize = 288;
/// The same for weights, of which there are many beside each other.
const SMALL: usize = SIDE / 2;
/// Sides of a cell in pixels.
const CELL: std::ops::RangeInclusive<usize> = 4..=40;

/// A grid to draw: a question, or an answer over its question.
///
/// Sudoku: given digits are dark, found ones blue. Mazes: the start is green, the goal red, the path blue. ARC: the ten usual
/// colours; padding and end marks aren't drawn. Wrong cells are red or crossed, changed ones yellow or framed. Tokens of other
/// tasks are coloured fields in rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    caption: String,
    task: Task,
    question: Vec<u8>,
    shown: Vec<u8>,
    truth: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
    /// How dark each cell is.
    shades: Option<Vec<u8>>,
    framed: Option<usize>,
}

impl Tile {
    /// A question, `[S]` tokens of the task.
    pub fn question(task: Task, tokens: &[u8]) -> Self {
        Self::answer(task, tokens, tokens)
    }

    /// An answer to its question, `[S]` tokens each.
    pub fn answer(task: Task, question: &[u8], answer: &[u8]) -> Self {
        Self {
            caption: String::new(),
            task,
            question: question.to_vec(),
            shown: answer.to_vec(),
            truth: None,
            before: None,
            shades: None,
            framed: None,
        }
    }

    /// A map of weights, such as attention: `[S]` of them over the `[S]` tokens of a question. The heaviest cell is the darkest, a
    /// cell without weight white; what is below 0 or no number has none. An ARC canvas is drawn whole.
    pub fn weights(task: Task, question: &[u8], weights: &[f32]) -> Self {
        let most = weights.iter().copied().fold(0.0, f32::max);
        // A float that is out of range becomes the nearest number, one that is none 0.
        let shade = |weight: &f32| (255.0 * weight / most).round() as u8;
        Self {
            shades: Some(weights.iter().map(shade).collect()),
            ..Self::question(task, question)
        }
    }

    /// An ARC grid.
    pub fn arc(grid: &arc::Grid) -> Self {
        let mut tokens = vec![arc::PAD; arc::CELLS];
        arc::draw(grid, (0, 0), arc::PAD, &mut tokens);
        Self::question(Task::Arc, &tokens)
    }

    /// With a line of text over it.
    #[must_use]
    pub fn with_caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// With the right answer, `[S]` tokens: what differs from it is marked as wrong. Ignored labels are right whatever is there.
    #[must_use]
    pub fn with_truth(mut self, truth: &[u8]) -> Self {
        self.truth = Some(truth.to_vec());
        self
    }

    /// With what was there before, `[S]` tokens: what differs from it is marked as changed.
    #[must_use]
    pub fn with_before(mut self, before: &[u8]) -> Self {
        self.before = Some(before.to_vec());
        self
    }

    /// With a frame around the cell of a token.
    #[must_use]
    pub fn with_frame(mut self, place: usize) -> Self {
        self.framed = Some(place);
        self
    }

    /// The line of text over it.
    pub(super) fn caption(&self) -> &str {
        &self.caption
    }

    /// What is drawn: rows, columns and the place of each cell among the tokens.
    fn grid(&self) -> Shape {
        let len = self.shown.len();
        match self.task {
            Task::Sudoku(size) if len == size.num_cells() => Shape::whole(size.side(), size.side()),
            Task::Maze { height, width } if len == height * width => Shape::whole(height, width),
            Task::Arc if len == arc::CELLS && self.shades.is_some() => {
                Shape::whole(arc::MAX_SIDE, arc::MAX_SIDE)
            }
            Task::Arc if len == arc::CELLS => arc_shape(&self.shown),
            _ => {
                let columns = (1..=len).find(|side| side * side >= len).unwrap_or(1);
                Shape::whole(len.div_ceil(columns), columns)
            }
        }
    }

    /// Side of a cell in pixels.
    fn cell(&self, shape: &Shape) -> usize {
        let side = shape.rows.max(shape.columns).max(1);
        let whole = if self.shades.is_some() { SMALL } else { SIDE };
        (whole / side).clamp(*CELL.start(), *CELL.end())
    }

    /// Width and height in pixels, without the caption.
    pub(super) fn size(&self) -> (usize, usize) {
        let shape = self.grid();
        let cell = self.cell(&shape);
        // The outermost lines are half as wide again.
        (
            shape.columns.max(1) * cell + 4,
            shape.rows.max(1) * cell + 4,
        )
    }

    /// Draws the grid with its upper left corner at a point.
    pub(super) fn draw(
        &self,
        canvas: &Canvas<'_, '_>,
        corner: (f64, f64),
    ) -> Result<(), DrawError> {
        let shape = self.grid();
        let cell = self.cell(&shape) as f64;
        let at = |row: usize, column: usize| {
            (
                corner.0 + 2.0 + column as f64 * cell,
                corner.1 + 2.0 + row as f64 * cell,
            )
        };
        if shape.rows == 0 {
            let letters = Letters::plain(13.0);
            let middle = (corner.0 + 2.0 + cell * 0.5, corner.1 + 2.0 + cell * 0.5);
            canvas.fill(corner, (cell + 4.0, cell + 4.0), BLANK)?;
            return canvas.text("none", middle, letters, Anchor::Middle, QUIET);
        }
        let field = (shape.columns as f64 * cell, shape.rows as f64 * cell);
        canvas.fill(corner, (field.0 + 4.0, field.1 + 4.0), self.frame())?;
        canvas.fill((corner.0 + 2.0, corner.1 + 2.0), field, PAPER)?;
        for row in 0..shape.rows {
            for column in 0..shape.columns {
                let place = shape.place(row, column);
                let Some(&shown) = self.shown.get(place) else {
                    continue;
                };
                let spot = Spot {
                    at: at(row, column),
                    side: cell,
                    shown,
                    asked: self.question.get(place).copied(),
                    wrong: self.is_wrong(place, shown),
                    changed: self.has_changed(place, shown),
                };
                if let Some(shades) = &self.shades {
                    let shade = shades.get(place).copied().unwrap_or(0);
                    spot.weight(canvas, self.task, shade)?;
                    continue;
                }
                match self.task {
                    Task::Sudoku(_) => spot.sudoku(canvas)?,
                    Task::Maze { .. } => spot.maze(canvas)?,
                    Task::Arc => spot.arc(canvas)?,
                    Task::Other => spot.other(canvas)?,
                }
            }
        }
        if let Task::Sudoku(size) = self.task
            && shape.rows == size.side()
        {
            boxes(canvas, size, (corner.0 + 2.0, corner.1 + 2.0), cell)?;
        }
        let cells = (0..shape.rows).flat_map(|row| (0..shape.columns).map(move |at| (row, at)));
        let mut framed =
            cells.filter(|&(row, column)| Some(shape.place(row, column)) == self.framed);
        if let Some((row, column)) = framed.next() {
            let (left, top) = at(row, column);
            let (long, thick) = (cell + 2.0, 2.0);
            for (x, y, width, height) in [
                (left - 2.0, top - 2.0, long, thick),
                (left - 2.0, top + cell - 1.0, long + 1.0, thick),
                (left - 2.0, top - 2.0, thick, long),
                (left + cell - 1.0, top - 2.0, thick, long),
            ] {
                canvas.fill((x, y), (width, height), CHANGED_INK)?;
            }
        }
        Ok(())
    }

    /// Colour around the grid: red where an ARC answer has not the shape of the truth.
    fn frame(&self) -> RGBColor {
        match (&self.truth, self.task) {
            (Some(truth), Task::Arc) if truth.len() == arc::CELLS => {
                let (shown, right) = (arc_shape(&self.shown), arc_shape(truth));
                match (shown.rows, shown.columns) == (right.rows, right.columns) {
                    true => LINE,
                    false => WRONG_INK,
                }
            }
            (_, Task::Sudoku(_)) => INK,
            _ => LINE,
        }
    }

    fn is_wrong(&self, place: usize, shown: u8) -> bool {
        if let Some(truth) = &self.truth {
            return truth
                .get(place)
                .is_some_and(|&right| right != shown && right != IGNORED);
        }
        // Without the truth a given that is contradicted is wrong still.
        let asked = self.question.get(place).copied().unwrap_or(shown);
        match self.task {
            Task::Sudoku(_) => asked > SUDOKU_BLANK && shown != asked,
            Task::Maze { .. } => asked != maze::OPEN && shown != asked,
            Task::Arc | Task::Other => false,
        }
    }

    fn has_changed(&self, place: usize, shown: u8) -> bool {
        let before = self.before.as_ref().and_then(|before| before.get(place));
        before.is_some_and(|&before| before != shown)
    }
}

const SUDOKU_BLANK: u8 = 1;

/// Rows and columns of tokens that are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rows: usize,
    columns: usize,
    /// Tokens from one row to the next.
    stride: usize,
    /// Place of the first token.
    first: usize,
}

impl Shape {
    fn whole(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            stride: columns,
            first: 0,
        }
    }

    fn place(&self, row: usize, column: usize) -> usize {
        self.first + row * self.stride + column
    }
}

/// The grid on a canvas: the largest rectangle of colours in the corner, as answers are read; else, as training may move the
/// grid, all that is coloured.
fn arc_shape(tokens: &[u8]) -> Shape {
    let stride = arc::MAX_SIDE;
    let none = Shape {
        rows: 0,
        columns: 0,
        stride,
        first: 0,
    };
    if tokens.len() != arc::CELLS {
        return none;
    }
    if let Some(grid) = arc::crop(tokens) {
        return Shape {
            rows: grid.height(),
            columns: grid.width(),
            ..none
        };
    }
    let coloured = |(place, token): (usize, &u8)| is_colour(*token).then_some(place);
    let places: Vec<usize> = tokens.iter().enumerate().filter_map(coloured).collect();
    let rows = || places.iter().map(|place| place / stride);
    let columns = || places.iter().map(|place| place % stride);
    match (rows().min(), rows().max(), columns().min(), columns().max()) {
        (Some(top), Some(bottom), Some(left), Some(right)) => Shape {
            rows: bottom - top + 1,
            columns: right - left + 1,
            stride,
            first: top * stride + left,
        },
        _ => none,
    }
}

fn is_colour(token: u8) -> bool {
    (arc::COLOUR..arc::COLOUR + arc::COLOURS).contains(&token)
}

/// A cell to draw.
struct Spot {
    at: (f64, f64),
    side: f64,
    shown: u8,
    asked: Option<u8>,
    wrong: bool,
    changed: bool,
}

impl Spot {
    fn fill(&self, canvas: &Canvas<'_, '_>, colour: RGBColor) -> Result<(), DrawError> {
        canvas.fill(self.at, (self.side, self.side), colour)
    }

    fn middle(&self) -> (f64, f64) {
        (self.at.0 + self.side / 2.0, self.at.1 + self.side / 2.0)
    }

    /// Thin lines right and below, where cells are large enough.
    fn edges(&self, canvas: &Canvas<'_, '_>, colour: RGBColor) -> Result<(), DrawError> {
        if self.side < 6.0 {
            return Ok(());
        }
        let ((x, y), side) = (self.at, self.side);
        canvas.fill((x + side - 1.0, y), (1.0, side), colour)?;
        canvas.fill((x, y + side - 1.0), (side, 1.0), colour)
    }

    fn letter(
        &self,
        canvas: &Canvas<'_, '_>,
        text: &str,
        bold: bool,
        colour: RGBColor,
    ) -> Result<(), DrawError> {
        if self.side < 9.0 {
            return Ok(());
        }
        let size = self.side * if text.len() > 1 { 0.45 } else { 0.62 };
        canvas.text(
            text,
            self.middle(),
            Letters { size, bold },
            Anchor::Middle,
            colour,
        )
    }

    fn sudoku(&self, canvas: &Canvas<'_, '_>) -> Result<(), DrawError> {
        let given = self.asked.is_some_and(|asked| asked > SUDOKU_BLANK);
        let (ground, ink) = match (self.wrong, self.changed, given) {
            (true, true, _) => (CHANGED, WRONG_INK),
            (true, false, _) => (WRONG, WRONG_INK),
            (false, true, _) => (CHANGED, CHANGED_INK),
            (false, false, true) => (PAPER, INK),
            (false, false, false) => (PAPER, FOUND),
        };
        self.fill(canvas, ground)?;
        self.edges(canvas, LINE)?;
        match self.shown {
            0 => self.letter(canvas, "?", false, WRONG_INK),
            SUDOKU_BLANK => Ok(()),
            digit => {
                let text = symbol(digit - 1).to_string();
                self.letter(canvas, &text, given, ink)
            }
        }
    }

    fn maze(&self, canvas: &Canvas<'_, '_>) -> Result<(), DrawError> {
        let path = self.shown == maze::PATH;
        let ground = match self.shown {
            maze::WALL => WALL,
            maze::START => START,
            maze::GOAL => GOAL,
            maze::PATH if self.wrong => WRONG_INK,
            maze::PATH if self.changed => CHANGED_INK,
            maze::PATH => PATH,
            _ if self.wrong => WRONG,
            _ if self.changed => CHANGED,
            maze::OPEN => PAPER,
            _ => BLANK,
        };
        self.fill(canvas, ground)?;
        if !path && self.shown != maze::WALL {
            self.edges(canvas, pale(LINE, 0.35))?;
        }
        if self.shown != maze::OPEN && !path && (self.wrong || self.changed) {
            let colour = if self.wrong { WRONG_INK } else { CHANGED_INK };
            canvas.disc(self.middle(), self.side * 0.22, colour)?;
        }
        match self.shown {
            maze::START => self.letter(canvas, "S", true, PAPER),
            maze::GOAL => self.letter(canvas, "G", true, PAPER),
            _ => Ok(()),
        }
    }

    fn arc(&self, canvas: &Canvas<'_, '_>) -> Result<(), DrawError> {
        let ground = self
            .shown
            .checked_sub(arc::COLOUR)
            .and_then(|colour| ARC.get(usize::from(colour)).copied());
        self.fill(canvas, ground.unwrap_or(BLANK))?;
        if ground.is_some() {
            self.edges(canvas, LINE)?;
        }
        // Dark on bright and bright on dark: a mark to be seen on every colour.
        let ((x, y), side) = (self.at, self.side);
        if self.changed {
            let ring = (side * 0.1).max(1.0);
            for (inset, colour) in [
                (0.0, CHANGED),
                (ring, INK),
                (ring + 1.0, ground.unwrap_or(BLANK)),
            ] {
                let inner = side - 1.0 - 2.0 * inset;
                canvas.fill((x + inset, y + inset), (inner, inner), colour)?;
            }
        }
        if self.wrong {
            let (low, high) = (side * 0.28, side * 0.72 - 1.0);
            for (width, colour) in [(side * 0.22, PAPER), (side * 0.1, WRONG_INK)] {
                canvas.line((x + low, y + low), (x + high, y + high), width, colour)?;
                canvas.line((x + low, y + high), (x + high, y + low), width, colour)?;
            }
        }
        Ok(())
    }

    /// A shade, and over it what of the question makes out where one is.
    fn weight(&self, canvas: &Canvas<'_, '_>, task: Task, shade: u8) -> Result<(), DrawError> {
        self.fill(canvas, pale(WEIGHT, f64::from(shade) / 255.0))?;
        self.edges(canvas, pale(LINE, 0.35))?;
        let ink = if shade > 127 { PAPER } else { INK };
        match (task, self.shown) {
            (Task::Sudoku(_), digit) if digit > SUDOKU_BLANK => {
                self.letter(canvas, &symbol(digit - 1).to_string(), false, ink)
            }
            (Task::Maze { .. }, maze::WALL) => self.letter(canvas, "#", false, ink),
            (Task::Maze { .. }, maze::START) => self.letter(canvas, "S", true, ink),
            (Task::Maze { .. }, maze::GOAL) => self.letter(canvas, "G", true, ink),
            _ => Ok(()),
        }
    }

    fn other(&self, canvas: &Canvas<'_, '_>) -> Result<(), DrawError> {
        self.fill(canvas, token(self.shown))?;
        let edge = match (self.wrong, self.changed) {
            (true, _) => WRONG_INK,
            (false, true) => CHANGED_INK,
            (false, false) => LINE,
        };
        self.edges(canvas, edge)?;
        self.letter(canvas, &self.shown.to_string(), false, INK)
    }
}

/// Thick lines between the boxes of a Sudoku.
fn boxes(
    canvas: &Canvas<'_, '_>,
    size: SudokuSize,
    (x, y): (f64, f64),
    cell: f64,
) -> Result<(), DrawError> {
    let side = size.side();
    let whole = side as f64 * cell;
    for row in (size.box_rows()..side).step_by(size.box_rows()) {
        canvas.fill((x, y + row as f64 * cell - 1.5), (whole, 2.0), INK)?;
    }
    for column in (size.box_columns()..side).step_by(size.box_columns()) {
        canvas.fill((x + column as f64 * cell - 1.5, y), (2.0, whole), INK)?;
    }
    Ok(())
}
