//! From the outcomes of several attempts to one answer. Labels never take part.

use std::collections::BTreeMap;

use super::config::Choice;
use super::puzzle::{Answer, Puzzle, sigmoid};
use super::verifier::Verifier;

/// A finished attempt, mapped back to the puzzle itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// `[S]`.
    pub tokens: Vec<u8>,
    pub segments: u32,
    pub q_halt: f32,
    pub q_continue: f32,
    pub verified: Option<bool>,
    pub trace: Vec<Vec<u8>>,
    pub trace_q_halt: Vec<f32>,
}

/// The answer to a puzzle from its outcomes in the order of the attempts; none without one. `total_segments` is what all attempts cost.
pub(super) fn choose(
    choice: Choice,
    index: usize,
    puzzle: &Puzzle,
    mut outcomes: Vec<Outcome>,
    total_segments: u32,
    verifier: Option<&dyn Verifier>,
) -> Option<Answer> {
    let surest = surest(&outcomes, |_| true)?;
    let best = match choice {
        Choice::QHalt | Choice::CellVote => surest,
        Choice::Vote => winner(&outcomes)?,
        Choice::Verified => match outcomes.iter().position(|o| o.verified == Some(true)) {
            Some(accepted) => accepted,
            None => winner(&outcomes)?,
        },
    };
    let attempts = outcomes.len() as u32;
    let composed = (choice == Choice::CellVote && attempts > 1).then(|| {
        let mean = |of: fn(&Outcome) -> f32| outcomes.iter().map(of).sum::<f32>() / attempts as f32;
        (
            cell_votes(&outcomes),
            mean(|o| o.q_halt),
            mean(|o| o.q_continue),
        )
    });
    let tokens = composed
        .as_ref()
        .map_or(&outcomes[best].tokens, |(tokens, ..)| tokens);
    let votes = outcomes.iter().filter(|o| o.tokens == *tokens).count() as u32;
    let mut best = outcomes.swap_remove(best);
    if let Some((tokens, q_halt, q_continue)) = composed {
        best.verified = verifier.map(|verifier| verifier.verify(puzzle, &tokens));
        if tokens != best.tokens {
            // What the surest attempt thought does not lead to this grid.
            best.trace.clear();
            best.trace_q_halt.clear();
        }
        best = Outcome {
            tokens,
            q_halt,
            q_continue,
            ..best
        };
    }
    Some(Answer {
        index,
        tokens: best.tokens,
        segments: best.segments,
        q_halt: best.q_halt,
        q_continue: best.q_continue,
        confidence: sigmoid(best.q_halt),
        verified: best.verified,
        trace: best.trace,
        trace_q_halt: best.trace_q_halt,
        attempts,
        votes,
        total_segments,
    })
}

/// A number to compare by: what is none is least, whatever its sign.
fn rank(q: f32) -> f32 {
    if q.is_nan() { f32::NEG_INFINITY } else { q }
}

/// The first outcome with the highest q_halt among those wanted. Not-a-number is least.
fn surest(outcomes: &[Outcome], wanted: impl Fn(&Outcome) -> bool) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (place, outcome) in outcomes.iter().enumerate().filter(|(_, o)| wanted(o)) {
        if best.is_none_or(|best| rank(outcome.q_halt) > rank(outcomes[best].q_halt)) {
            best = Some(place);
        }
    }
    best
}

/// The surest outcome of the grid with the most votes; among equals the grid with the higher mean confidence, then the
/// one that came first.
fn winner(outcomes: &[Outcome]) -> Option<usize> {
    // Votes, sum of confidences and first place of each grid.
    let mut grids: BTreeMap<&[u8], (u32, f32, usize)> = BTreeMap::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        let grid = grids.entry(&outcome.tokens).or_insert((0, 0.0, place));
        grid.0 += 1;
        grid.1 += sigmoid(outcome.q_halt);
    }
    let (tokens, _) = grids.iter().max_by(|(_, a), (_, b)| {
        let mean = |grid: &(u32, f32, usize)| rank(grid.1 / grid.0 as f32);
        (a.0.cmp(&b.0))
            .then(mean(a).total_cmp(&mean(b)))
            .then(b.2.cmp(&a.2))
    })?;
    surest(outcomes, |outcome| outcome.tokens == *tokens)
}

/// In each cell the token with the most votes; among equals the one with the higher sum of confidences, then the lower.
fn cell_votes(outcomes: &[Outcome]) -> Vec<u8> {
    let cells = outcomes.iter().map(|o| o.tokens.len()).min().unwrap_or(0);
    let weights: Vec<f32> = outcomes.iter().map(|o| sigmoid(o.q_halt)).collect();
    let mut votes = [(0u32, 0f32); 256];
    (0..cells)
        .map(|cell| {
            let tokens = || outcomes.iter().map(|o| o.tokens[cell]);
            for token in tokens() {
                votes[usize::from(token)] = (0, 0.0);
            }
            for (token, weight) in tokens().zip(&weights) {
                let vote = &mut votes[usize::from(token)];
                *vote = (vote.0 + 1, vote.1 + weight);
            }
            let ahead = |a: u8, b: u8| {
                let (x, y) = (votes[usize::from(a)], votes[usize::from(b)]);
                let by_votes = x.0.cmp(&y.0);
                by_votes
                    .then(rank(x.1).total_cmp(&rank(y.1)))
                    .then(b.cmp(&a))
            };
            tokens().max_by(|&a, &b| ahead(a, b)).unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(tokens: &[u8], q_halt: f32) -> Outcome {
        Outcome {
            tokens: tokens.to_vec(),
            segments: 3,
            q_halt,
            q_continue: -q_halt * q_halt,
            verified: None,
            trace: vec![vec![9, 9], tokens.to_vec()],
            trace_q_halt: vec![-1.0, q_halt],
        }
    }

    fn chosen(choice: Choice, outcomes: &[Outcome]) -> Answer {
        let puzzle = Puzzle {
            inputs: vec![1, 1],
            puzzle_id: 0,
        };
        let verifier = |_: &Puzzle, answer: &[u8]| answer == [5, 5];
        choose(choice, 7, &puzzle, outcomes.to_vec(), 12, Some(&verifier)).unwrap()
    }

    #[test]
    fn the_surest_attempt_wins() {
        let answer = chosen(
            Choice::QHalt,
            &[
                outcome(&[1, 1], 0.5),
                outcome(&[2, 2], 2.0),
                outcome(&[1, 1], f32::NAN),
            ],
        );
        assert_eq!(
            (answer.tokens, answer.votes, answer.attempts),
            (vec![2, 2], 1, 3)
        );
        assert_eq!((answer.index, answer.total_segments), (7, 12));
    }

    #[test]
    fn votes_beat_confidence_and_confidence_breaks_ties() {
        let answer = chosen(
            Choice::Vote,
            &[
                outcome(&[1, 1], 0.5),
                outcome(&[2, 2], 9.0),
                outcome(&[1, 1], 0.7),
            ],
        );
        assert_eq!(
            (answer.tokens, answer.votes, answer.q_halt),
            (vec![1, 1], 2, 0.7)
        );
        let answer = chosen(
            Choice::Vote,
            &[outcome(&[1, 1], 0.5), outcome(&[2, 2], 0.6)],
        );
        assert_eq!(answer.tokens, [2, 2]);
        let answer = chosen(
            Choice::Vote,
            &[outcome(&[2, 2], 0.5), outcome(&[1, 1], 0.5)],
        );
        assert_eq!(answer.tokens, [2, 2], "the first of equals");
    }

    #[test]
    fn a_confidence_that_is_no_number_breaks_no_tie() {
        for nan in [f32::NAN, -f32::NAN] {
            for choice in [Choice::Vote, Choice::CellVote] {
                let outcomes = [outcome(&[1, 1], nan), outcome(&[2, 2], -3.0)];
                assert_eq!(chosen(choice, &outcomes).tokens, [2, 2], "{nan} {choice:?}");
            }
        }
    }

    #[test]
    fn cells_are_voted_apart_and_verified_together() {
        let outcomes = [
            outcome(&[5, 1], 0.0),
            outcome(&[5, 5], 1.0),
            outcome(&[2, 5], 2.0),
        ];
        let answer = chosen(Choice::CellVote, &outcomes);
        assert_eq!((answer.tokens, answer.votes), (vec![5, 5], 1));
        assert!(answer.trace.is_empty() && answer.trace_q_halt.is_empty());
        assert_eq!((answer.q_halt, answer.verified), (1.0, Some(true)));
        assert_eq!(answer.q_continue, -5.0 / 3.0);
        // One vote each: the higher confidence, and the grid is that of an attempt.
        let answer = chosen(Choice::CellVote, &outcomes[1..]);
        assert_eq!(answer.tokens, [2, 5]);
        assert_eq!(answer.trace, [[9, 9], [2, 5]]);
        assert_eq!(answer.trace_q_halt, [-1.0, 2.0]);
    }

    #[test]
    fn the_verifier_beats_the_vote() {
        let mut accepted = outcome(&[3, 3], -4.0);
        accepted.verified = Some(true);
        let outcomes = [outcome(&[1, 1], 0.5), outcome(&[1, 1], 0.5), accepted];
        assert_eq!(chosen(Choice::Verified, &outcomes).tokens, [3, 3]);
        assert_eq!(chosen(Choice::Verified, &outcomes[..2]).tokens, [1, 1]);
    }
}
