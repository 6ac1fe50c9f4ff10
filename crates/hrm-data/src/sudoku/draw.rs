//! Drawing puzzles that are as hard as others, and none of them.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Canonical, Puzzle};
use crate::DataError;

/// Draws `count` of `candidates` by `seed` with the histogram of ratings that `like` has, counted in bins 0, 1, 2 to 3, 4 to 7
/// and so on. No two of them are equal under relabelling and symmetry, and none is equal so to one of `like` or `without`.
///
/// # Errors
/// If `like` is empty, a puzzle has no rating or an answer that answers it not, or a bin has not enough candidates.
pub fn draw_like(
    candidates: &[Puzzle],
    like: &[Puzzle],
    without: &[Puzzle],
    count: usize,
    seed: u64,
) -> Result<Vec<Puzzle>, DataError> {
    let mut wanted = quotas(like, count)?;
    let canonical = |puzzle: &Puzzle| Canonical::of(&puzzle.question, &puzzle.answer);
    let mut taken = like
        .iter()
        .chain(without)
        .map(canonical)
        .collect::<Result<HashSet<_>, _>>()?;
    let mut order: Vec<&Puzzle> = candidates.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut drawn = Vec::with_capacity(count.min(candidates.len()));
    for puzzle in order {
        let Some(left @ 1..) = wanted.get_mut(bin(puzzle)?) else {
            continue;
        };
        if taken.insert(canonical(puzzle)?) {
            *left -= 1;
            drawn.push(puzzle.clone());
        }
    }
    match wanted.iter().position(|&left| left > 0) {
        None => Ok(drawn),
        Some(bin) => Err(DataError::mismatch(
            format!("candidates of rating {}", range(bin)),
            format!("{} more that are not the same as others", wanted[bin]),
            "none",
        )),
    }
}

/// 0 for no guess, then one more for each doubling.
fn bin(puzzle: &Puzzle) -> Result<usize, DataError> {
    let rating = puzzle.rating.ok_or_else(|| {
        let found = format!("none ({})", puzzle.question);
        DataError::mismatch("rating", "one in every puzzle", found)
    })?;
    Ok((u32::BITS - rating.leading_zeros()) as usize)
}

/// The ratings of a bin.
fn range(bin: usize) -> String {
    match bin {
        0 => "0".to_owned(),
        1 => "1".to_owned(),
        _ => format!("{} to {}", 1u64 << (bin - 1), (1u64 << bin) - 1),
    }
}

/// Shares of `count` in proportion to the bins of `like`; what rounding leaves goes to the largest remainders.
fn quotas(like: &[Puzzle], count: usize) -> Result<Vec<usize>, DataError> {
    let mut histogram = vec![0usize; u32::BITS as usize + 1];
    for puzzle in like {
        histogram[bin(puzzle)?] += 1;
    }
    let total = like.len();
    if total == 0 {
        return Err(DataError::mismatch("puzzles to draw like", "at least 1", 0));
    }
    // Wide, for both factors may be large; a share is at most `count`.
    let times = |n: usize| n as u128 * count as u128;
    let mut quotas: Vec<usize> = histogram
        .iter()
        .map(|&n| (times(n) / total as u128) as usize)
        .collect();
    let mut by_remainder: Vec<usize> = (0..quotas.len()).collect();
    by_remainder.sort_by_key(|&bin| std::cmp::Reverse(times(histogram[bin]) % total as u128));
    let rest = count - quotas.iter().sum::<usize>();
    for &bin in by_remainder.iter().take(rest) {
        quotas[bin] += 1;
    }
    Ok(quotas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sudoku::{Generator, SudokuSize, Symmetry};

    fn puzzles(count: usize, seed: u64, ratings: &[u32]) -> Vec<Puzzle> {
        let mut puzzles = Generator::new(SudokuSize::Six)
            .puzzles(count, seed)
            .unwrap();
        for (index, puzzle) in puzzles.iter_mut().enumerate() {
            puzzle.rating = Some(ratings[index % ratings.len()]);
        }
        puzzles
    }

    fn forms(puzzles: &[Puzzle]) -> HashSet<Canonical> {
        let form = |puzzle: &Puzzle| Canonical::of(&puzzle.question, &puzzle.answer).unwrap();
        puzzles.iter().map(form).collect()
    }

    #[test]
    fn what_is_drawn_is_as_hard_and_not_the_same() {
        let like = puzzles(10, 1, &[0, 0, 0, 1, 2, 3, 4, 9, 9, 200]);
        // Of every rating, and the others themselves under another look.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut candidates = puzzles(200, 2, &[0, 1, 2, 3, 5, 7, 8, 15, 128, 255]);
        candidates.extend(like.iter().map(|puzzle| {
            let symmetry = Symmetry::sample(SudokuSize::Six, &mut rng);
            Puzzle {
                question: symmetry.apply(&puzzle.question),
                answer: symmetry.apply(&puzzle.answer),
                ..puzzle.clone()
            }
        }));
        let without = candidates[..40].to_vec();
        let drawn = draw_like(&candidates, &like, &without, 25, 7).unwrap();
        assert_eq!(drawn.len(), 25);
        let in_bin = |wanted: usize| drawn.iter().filter(|p| bin(p).unwrap() == wanted).count();
        // 30, 10, 20, 10, 20 and 10 of 100; what is left of 7.5, 2.5, 2.5 and so on goes in order.
        assert_eq!([0, 1, 2, 3, 4, 8].map(in_bin), [8, 3, 5, 2, 5, 2]);
        assert_eq!(forms(&drawn).len(), 25);
        assert!(forms(&drawn).is_disjoint(&forms(&like)));
        assert!(forms(&drawn).is_disjoint(&forms(&without)));
        assert_eq!(
            draw_like(&candidates, &like, &without, 25, 7).unwrap(),
            drawn
        );
        assert_ne!(
            draw_like(&candidates, &like, &without, 25, 8).unwrap(),
            drawn
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        let like = puzzles(4, 1, &[0, 40]);
        let candidates = puzzles(20, 2, &[0]);
        let said = |candidates: &[Puzzle], like: &[Puzzle]| {
            draw_like(candidates, like, &[], 6, 1)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            said(&candidates, &like),
            "candidates of rating 32 to 63: expected 3 more that are not the same as others, found none"
        );
        let many = draw_like(&candidates, &like, &[], usize::MAX, 1).unwrap_err();
        assert!(
            many.to_string()
                .starts_with("candidates of rating 0: expected")
        );
        assert!(said(&candidates, &[]).contains("at least 1"));
        let mut unrated = candidates.clone();
        unrated[3].rating = None;
        assert!(said(&unrated, &like).contains("rating: expected one"));
        assert!(said(&candidates, &unrated).contains("rating: expected one"));
    }
}
