//! Answers to a set, and grids beside each other on a terminal.

use hrm::prelude::*;

/// The answers to all puzzles of a set, in its order, each after so many segments.
pub fn answers(model: &Hrm, set: &PuzzleSet, segments: u32) -> anyhow::Result<Vec<Answer>> {
    let config = ReasonerConfig {
        max_segments: segments,
        halt: HaltRule::Fixed,
        ..ReasonerConfig::default()
    };
    let reasoner = Reasoner::new(model, config)?;
    let puzzles = (0..set.num_examples()).map(|index| {
        let example = set.example(index);
        Puzzle {
            inputs: example.inputs.into_owned(),
            puzzle_id: example.puzzle_id,
        }
    });
    let mut answers = reasoner.solve(puzzles).collect::<Result<Vec<_>, _>>()?;
    answers.sort_by_key(|answer| answer.index);
    Ok(answers)
}

/// A grid as lines of text, each `width` columns wide; colours take none.
pub struct Drawing {
    pub title: String,
    pub width: usize,
    pub lines: Vec<String>,
}

/// Prints grids beside each other, in colour where stdout is a terminal.
pub fn print_beside(drawings: &[Drawing]) {
    let height = drawings.iter().map(|drawing| drawing.lines.len()).max();
    for row in 0..=height.unwrap_or(0) {
        let mut line = String::new();
        for drawing in drawings {
            let column = drawing.width.max(drawing.title.chars().count()) + 3;
            let (text, width) = match row.checked_sub(1).map(|row| drawing.lines.get(row)) {
                None => (drawing.title.as_str(), drawing.title.chars().count()),
                Some(Some(text)) => (text.as_str(), drawing.width),
                Some(None) => ("", 0),
            };
            line.push_str(text);
            line.extend(std::iter::repeat_n(' ', column - width));
        }
        anstream::println!("{}", line.trim_end());
    }
    println!();
}
