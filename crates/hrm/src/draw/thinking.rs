//! The thinking about a puzzle: the answer after every segment, as a sheet or an animation.

use std::time::Duration;

use hrm_data::Task;

use super::animation::Animation;
use super::error::DrawError;
use super::sheet::Sheet;
use super::tile::Tile;

/// The answers of a model to one puzzle, segment by segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking {
    /// Headline; none where empty.
    pub title: String,
    /// What the tokens mean.
    pub task: Task,
    /// `[S]` tokens of the question.
    pub question: Vec<u8>,
    /// `[S]` tokens of the answer after each segment.
    pub trace: Vec<Vec<u8>>,
    /// q_halt after each segment, a logit, as many as segments; empty where it isn't known.
    pub q_halt: Vec<f32>,
    /// `[S]` tokens of the right answer, where it is known: wrong cells are marked.
    pub truth: Option<Vec<u8>>,
}

impl Thinking {
    /// The question and the answer after every segment, side by side, with changed cells marked.
    pub fn sheet(&self) -> Sheet {
        let mut tiles = vec![self.tile(0).with_caption("question")];
        for segment in 1..=self.trace.len() {
            let q = (self.q(segment)).map_or(String::new(), |q| format!(", q {q:+.2}"));
            let caption = format!("segment {segment}: {}{q}", self.changes(segment));
            tiles.push(self.tile(segment).with_caption(caption));
        }
        Sheet::flow(self.title.clone(), tiles, 0)
    }

    /// A frame for the question and one for every segment; the last stays longest.
    ///
    /// # Errors
    /// As [`Sheet::render`].
    pub fn animation(&self, frame: Duration) -> Result<Animation, DrawError> {
        let last = self.trace.len();
        let mut animation = Animation::default();
        for segment in 0..=last {
            let note = match segment {
                0 => "the question".to_owned(),
                _ => {
                    let q = self.q(segment).map_or(String::new(), |q| {
                        format!("   q halt {q:+.2} ({:.0}%)", 100.0 / (1.0 + (-q).exp()))
                    });
                    format!("{}{q}", self.changes(segment))
                }
            };
            let caption = format!("segment {segment} of {last}");
            let tile = self.tile(segment).with_caption(caption);
            let sheet = Sheet {
                title: self.title.clone(),
                note,
                rows: vec![vec![tile]],
            };
            let shown = match segment == last || segment == 0 {
                true => frame.saturating_mul(3),
                false => frame,
            };
            animation
                .frames
                .push((sheet.render_at_least(MIN_WIDTH)?, shown));
        }
        Ok(animation)
    }

    /// The grid after a segment; 0 is the question.
    fn tile(&self, segment: usize) -> Tile {
        let after = |segment: usize| match segment.checked_sub(1) {
            None => Some(&self.question),
            Some(at) => self.trace.get(at),
        };
        let shown = after(segment).unwrap_or(&self.question);
        let mut tile = Tile::answer(self.task, &self.question, shown);
        if segment == 0 {
            return tile;
        }
        if let Some(before) = after(segment - 1) {
            tile = tile.with_before(before);
        }
        match &self.truth {
            Some(truth) => tile.with_truth(truth),
            None => tile,
        }
    }

    fn q(&self, segment: usize) -> Option<f32> {
        self.q_halt.get(segment.checked_sub(1)?).copied()
    }

    /// How many cells a segment has changed.
    fn changes(&self, segment: usize) -> String {
        let Some(shown) = segment.checked_sub(1).and_then(|at| self.trace.get(at)) else {
            return String::new();
        };
        let before = match segment {
            1 => &self.question,
            _ => self.trace.get(segment - 2).unwrap_or(&self.question),
        };
        match shown.iter().zip(before).filter(|(a, b)| a != b).count() {
            0 => "nothing changed".to_owned(),
            1 => "1 cell changed".to_owned(),
            many => format!("{many} cells changed"),
        }
    }
}

/// Width of a frame that holds every note.
const MIN_WIDTH: usize = 330;
