//! Accuracy against segments, from one pass: what every puzzle's answer is worth after 1, 2, 4, ... segments.

use std::time::{Duration, Instant};

use hrm_act::Batch;
use hrm_core::Hrm;
use hrm_core::ops::on_pool;
use hrm_data::PuzzleSet;

use crate::error::TrainError;
use crate::evaluate::{AnswerWorth, Evaluation, compared, limited, read_compared};
use crate::trainer::check_data;

/// Where to look during the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurveConfig {
    /// Puzzles computed at a time.
    pub batch_size: usize,
    /// Numbers of segments after which answers are compared, rising, at least 1; every puzzle thinks as many as the last.
    pub segments: Vec<u32>,
    /// At most so many examples, of as many original puzzles as can be: see [`PuzzleSet::limited`].
    pub limit: Option<usize>,
}

impl CurveConfig {
    /// Looks after 1, 2, 4, ... segments, and after `most`.
    pub fn doubling(most: u32, batch_size: usize) -> Self {
        Self {
            batch_size,
            segments: doubling(most),
            limit: None,
        }
    }
}

/// 1, 2, 4, ... up to `most`, and `most` itself where it isn't one of them.
pub fn doubling(most: u32) -> Vec<u32> {
    let mut steps: Vec<u32> = (0..u32::BITS)
        .map(|power| 1 << power)
        .take_while(|&step| step <= most)
        .collect();
    if most > 0 && steps.last() != Some(&most) {
        steps.push(most);
    }
    steps
}

/// What was recorded on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentCurve {
    /// The numbers of segments, n.
    pub segments: Vec<u32>,
    /// Time in which all puzzles came so far, `[n]`, with what was read on the way.
    pub elapsed: Vec<Duration>,
    /// The puzzles with a label.
    pub puzzles: Vec<PuzzleCurve>,
}

/// What the answers to one puzzle are worth.
#[derive(Clone, Debug, PartialEq)]
pub struct PuzzleCurve {
    /// Its place in the set, or in what a limit leaves of it.
    pub index: usize,
    /// What the answer is worth, `[n]`.
    pub answers: Vec<AnswerWorth>,
}

impl SegmentCurve {
    /// The evaluation after the n-th of the numbers of segments, of the puzzles wanted; none where there is no such number.
    pub fn evaluation(
        &self,
        n: usize,
        wanted: impl Fn(&PuzzleCurve) -> bool,
    ) -> Option<Evaluation> {
        let segments = *self.segments.get(n)?;
        let puzzles = self.puzzles.iter().filter(|puzzle| wanted(puzzle));
        let answers = puzzles.filter_map(|puzzle| puzzle.answers.get(n));
        Some(Evaluation::of(answers.map(|&answer| (answer, segments))))
    }
}

/// Thinks about every puzzle once, as long as the last of the numbers says, and looks at the answers on the way. The same
/// answers as [`evaluate`](crate::evaluate) with each number; `progress` hears the puzzles done.
///
/// # Errors
/// If the set doesn't fit the model, the numbers don't rise from 1 on, or the device fails.
pub fn segment_curve(
    model: &Hrm,
    set: &PuzzleSet,
    config: &CurveConfig,
    mut progress: impl FnMut(usize),
) -> Result<SegmentCurve, TrainError> {
    check_data(model.config(), set)?;
    let device = &model.device();
    let rising = config.segments.windows(2).all(|pair| pair[0] < pair[1]);
    if config.batch_size == 0 || !rising || config.segments.first().is_none_or(|&n| n == 0) {
        return Err(TrainError::Field {
            field: "curve",
            expected: "a batch size of at least 1 and rising numbers of segments of at least 1",
            found: format!("{} and {:?}", config.batch_size, config.segments),
        });
    }
    let model = model.frozen();
    let set = &limited(set, config.limit);
    let points = config.segments.len();
    let mut curve = SegmentCurve {
        segments: config.segments.clone(),
        elapsed: vec![Duration::ZERO; points],
        puzzles: Vec::new(),
    };
    let mut done = 0;
    // Padding beyond the last puzzle would be computed for nothing.
    let batch_size = config.batch_size.min(set.num_examples().max(1));
    for (rows, real) in set.batches(batch_size) {
        let start = Instant::now();
        let batch = Batch::from_host(&rows, device);
        let (x, mut state) = on_pool(device, || {
            let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
            (x, model.initial_state())
        });
        let mut puzzles: Vec<PuzzleCurve> = (0..real)
            .map(|row| PuzzleCurve {
                index: done + row,
                answers: Vec::with_capacity(points),
            })
            .collect();
        let mut made = 0;
        for (&wanted, elapsed) in config.segments.iter().zip(&mut curve.elapsed) {
            let table;
            (state, table) = on_pool(device, || {
                for _ in made..wanted {
                    state = model.advance(state.clone(), x.clone());
                }
                let table = compared(&model, state.z_h.clone(), batch.labels.clone());
                (state.clone(), table)
            });
            made = wanted;
            let answers = read_compared(table, batch_size)?;
            *elapsed += start.elapsed();
            for (puzzle, answer) in puzzles.iter_mut().zip(answers) {
                puzzle.answers.extend(answer);
            }
        }
        // Those without a label have no answer that is worth anything.
        puzzles.retain(|puzzle| !puzzle.answers.is_empty());
        curve.puzzles.append(&mut puzzles);
        done += real;
        progress(done);
    }
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalConfig, Preset, evaluate};
    use burn::tensor::Device;
    use hrm_data::sudoku::{Generator, SudokuSize};
    use hrm_data::{Augmentation, SetArrays};

    #[test]
    fn doubling_ends_where_it_is_told() {
        assert_eq!(doubling(64), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(doubling(6), [1, 2, 4, 6]);
        assert_eq!(doubling(1), [1]);
        assert!(doubling(0).is_empty());
    }

    #[test]
    fn one_pass_finds_what_an_evaluation_of_each_length_finds() {
        let device = Device::flex();
        let size = SudokuSize::Four;
        let puzzles = Generator::new(size).puzzles(11, 3).unwrap();
        let single = PuzzleSet::from_sudokus(&puzzles, size, Augmentation::None).unwrap();
        // Two groups of unequal size: a limit takes from both.
        let examples = || (0..11).map(|index| single.example(index));
        let arrays = SetArrays {
            inputs: examples().flat_map(|e| e.inputs.into_owned()).collect(),
            labels: examples().flat_map(|e| e.labels.into_owned()).collect(),
            puzzle_ids: vec![0; 11],
            puzzle_offsets: (0..=11).collect(),
            group_offsets: vec![0, 8, 11],
        };
        let set = PuzzleSet::from_arrays(single.info().clone(), arrays).unwrap();
        let mut config = Preset::by_name("trm-small").unwrap().config(&set);
        config.model.hidden_size = 16;
        config.model.num_heads = 2;
        let model = Hrm::new(&config.model, 3, &device).unwrap();
        let mut heard = Vec::new();
        let config = CurveConfig {
            limit: Some(6),
            ..CurveConfig::doubling(5, 4)
        };
        let curve = segment_curve(&model, &set, &config, |n| heard.push(n)).unwrap();
        assert_eq!(curve.segments, [1, 2, 4, 5]);
        assert_eq!(heard, [4, 6]);
        assert!(curve.elapsed.is_sorted());
        let indices: Vec<usize> = curve.puzzles.iter().map(|puzzle| puzzle.index).collect();
        assert_eq!(indices, (0..6).collect::<Vec<_>>());
        for (n, &segments) in curve.segments.iter().enumerate() {
            let config = EvalConfig {
                batch_size: 4,
                segments,
                limit: Some(6),
            };
            let alone = evaluate(&model, &set, &config, |_| {}).unwrap();
            let found = curve.evaluation(n, |_| true).unwrap();
            assert_eq!((found.puzzles, found.exact), (alone.puzzles, alone.exact));
            assert!((found.cell_accuracy - alone.cell_accuracy).abs() < 1e-6);
            assert_eq!(found.q_halt_accuracy, alone.q_halt_accuracy);
            assert_eq!(found.mean_segments, f64::from(segments));
        }
        assert!(curve.evaluation(4, |_| true).is_none());
        assert_eq!(curve.evaluation(0, |p| p.index < 3).unwrap().puzzles, 3);
        let wrong = CurveConfig {
            segments: vec![2, 1],
            ..config
        };
        let error = segment_curve(&model, &set, &wrong, |_| {}).unwrap_err();
        assert!(error.to_string().contains("rising"), "{error}");
    }
}
