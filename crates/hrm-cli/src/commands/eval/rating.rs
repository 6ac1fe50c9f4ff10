//! How hard puzzles are, and the bins that accuracy is told by.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hrm::data::sudoku::Solver;
use hrm::prelude::*;
use serde::Serialize;

use super::Asked;
use crate::puzzles;

/// Guesses after which a Sudoku is hard enough.
const MAX_GUESSES: u64 = 10_000;

/// Most bins that are made where none are asked for.
const BINS: usize = 5;

/// Puzzles of similar rating: `from..=to`, without end where `to` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bin {
    pub(super) from: u64,
    pub(super) to: Option<u64>,
}

impl Bin {
    pub(super) fn holds(&self, rating: Option<u64>) -> bool {
        rating.is_some_and(|rating| self.from <= rating && self.to.is_none_or(|to| rating <= to))
    }
}

impl std::fmt::Display for Bin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.from, self.to) {
            (from, None) => write!(f, "{from}.."),
            (from, Some(to)) if from == to => write!(f, "{from}"),
            (from, Some(to)) => write!(f, "{from}..{to}"),
        }
    }
}

/// The rating of each puzzle, `[total]`, and what it counts; none for tasks without one.
pub(super) fn computed(asked: &Asked<'_>, task: Task) -> Option<(Vec<Option<u64>>, &'static str)> {
    let rate = |rating: &dyn Fn(&[u8]) -> Option<u64>| {
        (0..asked.total)
            .map(|index| rating(&asked.set.example(index).inputs))
            .collect()
    };
    match task {
        Task::Sudoku(size) => {
            let solver = Solver::new(1).with_max_guesses(MAX_GUESSES);
            let guesses = |inputs: &[u8]| {
                let board = sudoku::Board::from_tokens(size, inputs).ok()?;
                Some(solver.solve(&board).guesses)
            };
            Some((rate(&guesses), "guesses of our solver"))
        }
        Task::Maze { height, width } => {
            let cells = |inputs: &[u8]| {
                let maze = maze::Maze::from_tokens(inputs.to_vec(), height, width).ok()?;
                maze.path_cells().map(|cells| cells as u64)
            };
            Some((rate(&cells), "cells on the path"))
        }
        Task::Arc | Task::Other => None,
    }
}

/// The ratings that a CSV file (`source,question,answer,rating`) gives the puzzles, `[total]`, told by their questions.
pub(super) fn of_file(
    path: &Path,
    asked: &Asked<'_>,
    task: Task,
) -> Result<(Vec<Option<u64>>, &'static str)> {
    let seq_len = asked.set.info().seq_len;
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = reader
        .headers()
        .with_context(|| format!("cannot read {}", path.display()))?
        .clone();
    let column = |name: &str| match header.iter().position(|field| field == name) {
        Some(column) => Ok(column),
        None => bail!(
            "{}:1: expected a column `{name}`, found none",
            path.display()
        ),
    };
    let (question, rating) = (column("question")?, column("rating")?);
    let mut known: HashMap<Vec<u8>, u64> = HashMap::new();
    let (mut questions, mut rated) = (0u64, 0u64);
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = |column: usize| record.get(column).unwrap_or_default();
        questions += 1;
        let Ok(rating) = field(rating).trim().parse() else {
            continue;
        };
        rated += 1;
        if let Ok(tokens) = puzzles::parse(field(question), task, seq_len) {
            known.insert(tokens, rating);
        }
    }
    let ratings: Vec<Option<u64>> = (0..asked.total)
        .map(|index| known.get(&*asked.set.example(index).inputs).copied())
        .collect();
    if ratings.iter().all(Option::is_none) {
        bail!(
            "{}: expected ratings of this data set's puzzles; the file rates {rated} of its {questions} questions, and none \
             of them is of this data set",
            path.display()
        );
    }
    Ok((ratings, "rating"))
}

/// Bins that begin at the edges wished, or about equally full ones.
pub(super) fn bins(ratings: &[Option<u64>], edges: &[u64]) -> Vec<Bin> {
    let mut sorted: Vec<u64> = ratings.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else {
        return Vec::new();
    };
    let mut starts: Vec<u64> = match edges {
        [] => (0..BINS)
            .filter_map(|bin| sorted.get(bin * sorted.len() / BINS).copied())
            .collect(),
        edges => edges.to_vec(),
    };
    if edges.is_empty() {
        starts.push(least);
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|&start| Some(start - 1));
    let last = match edges {
        [] => Some(most),
        _ => None,
    };
    let ends: Vec<Option<u64>> = ends.chain([last]).collect();
    starts
        .into_iter()
        .zip(ends)
        .map(|(from, to)| Bin { from, to })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(ratings: &[u64], edges: &[u64]) -> Vec<String> {
        let ratings: Vec<Option<u64>> = ratings.iter().copied().map(Some).chain([None]).collect();
        let bins = bins(&ratings, edges);
        for rating in &ratings {
            let holding = bins.iter().filter(|bin| bin.holds(*rating)).count();
            assert!(holding == usize::from(rating.is_some()) || !edges.is_empty());
        }
        bins.iter().map(Bin::to_string).collect()
    }

    #[test]
    fn bins_are_about_equally_full_or_as_wished() {
        let ratings: Vec<u64> = (0..10).collect();
        assert_eq!(
            made(&ratings, &[]),
            ["0..1", "2..3", "4..5", "6..7", "8..9"]
        );
        assert_eq!(made(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[]), ["0..7"]);
        assert_eq!(made(&[0, 0, 0, 5, 5, 6], &[]), ["0..4", "5..6"]);
        assert_eq!(made(&[3], &[]), ["3"]);
        assert_eq!(made(&[3, 50], &[0, 10]), ["0..9", "10.."]);
        assert!(made(&[], &[]).is_empty());
    }
}
