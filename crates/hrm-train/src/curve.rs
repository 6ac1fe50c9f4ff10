//! Accuracy against segments, from one pass: what every puzzle's answer is worth after 1, 2, 4, ... segments.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use hrm_act::{Batch, Correctness};
use hrm_core::Hrm;
use hrm_core::ops::on_pool;
use hrm_data::PuzzleSet;

use crate::error::TrainError;
use crate::evaluate::{Evaluation, wilson};
use crate::trainer::check_data;

/// Where to look during the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurveConfig {
    /// Puzzles computed at a time.
    pub batch_size: usize,
    /// Numbers of segments after which answers are compared, rising, at least 1; every puzzle thinks as many as the last.
    pub segments: Vec<u32>,
    /// At most so many puzzles, from the start of the set.
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
    /// Its place in the set.
    pub index: usize,
    /// What the answer is worth, `[n]`.
    pub answers: Vec<AnswerWorth>,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerWorth {
    /// Whether every cell is right.
    pub exact: bool,
    /// Share of right cells, 0..=1.
    pub cell_accuracy: f32,
    /// Whether q_halt tells rightly if the answer is exact.
    pub q_right: bool,
}

impl SegmentCurve {
    /// The evaluation after the n-th of the numbers of segments, of the puzzles wanted; none where there is no such number.
    pub fn evaluation(
        &self,
        n: usize,
        wanted: impl Fn(&PuzzleCurve) -> bool,
    ) -> Option<Evaluation> {
        let segments = *self.segments.get(n)?;
        let answers = self.puzzles.iter().filter(|puzzle| wanted(puzzle));
        let answers: Vec<&AnswerWorth> =
            answers.filter_map(|puzzle| puzzle.answers.get(n)).collect();
        let puzzles = answers.len() as f64;
        let share = |sum: f64| if puzzles > 0.0 { sum / puzzles } else { 0.0 };
        let exact = answers.iter().filter(|answer| answer.exact).count() as f64;
        let q_right = answers.iter().filter(|answer| answer.q_right).count() as f64;
        let cells: f64 = answers.iter().map(|a| f64::from(a.cell_accuracy)).sum();
        Some(Evaluation {
            puzzles: answers.len() as u64,
            exact: exact as u64,
            exact_accuracy: share(exact),
            exact_interval: wilson(exact, puzzles),
            cell_accuracy: share(cells),
            q_halt_accuracy: share(q_right),
            mean_segments: f64::from(segments),
        })
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
    let limit = config.limit.unwrap_or(usize::MAX);
    let points = config.segments.len();
    let mut curve = SegmentCurve {
        segments: config.segments.clone(),
        elapsed: vec![Duration::ZERO; points],
        puzzles: Vec::new(),
    };
    let mut done = 0;
    // Padding beyond the last puzzle would be computed for nothing.
    let batch_size = config.batch_size.min(limit.min(set.num_examples()).max(1));
    for (rows, real) in set.batches(batch_size) {
        let real = real.min(limit - done);
        if real == 0 {
            break;
        }
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
        let mut labelled = vec![false; real];
        for (&wanted, elapsed) in config.segments.iter().zip(&mut curve.elapsed) {
            let table;
            (state, table) = on_pool(device, || {
                for _ in made..wanted {
                    state = model.advance(state.clone(), x.clone());
                }
                let output = model.read_out(state.z_h.clone());
                let correct = Correctness::of(output.logits, batch.labels.clone());
                let says_right = output
                    .q_halt
                    .greater_equal_scalar(0.0)
                    .equal(correct.exact.clone());
                let columns = vec![
                    correct.has_valid.float(),
                    correct.exact.float(),
                    correct.cell_accuracy,
                    says_right.float(),
                ];
                (state.clone(), Tensor::cat(columns, 0))
            });
            made = wanted;
            let values = table.try_into_vec_as::<f32>().map_err(TrainError::device)?;
            *elapsed += start.elapsed();
            let at = |column: usize, row: usize| {
                let value = values.get(column * batch_size + row);
                value.copied().unwrap_or_default()
            };
            for (row, puzzle) in puzzles.iter_mut().enumerate() {
                if let Some(labelled) = labelled.get_mut(row) {
                    *labelled = at(0, row) > 0.5;
                }
                puzzle.answers.push(AnswerWorth {
                    exact: at(1, row) > 0.5,
                    cell_accuracy: at(2, row),
                    q_right: at(3, row) > 0.5,
                });
            }
        }
        let judged = puzzles.into_iter().zip(labelled);
        curve
            .puzzles
            .extend(judged.filter_map(|(puzzle, labelled)| labelled.then_some(puzzle)));
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
    use hrm_data::Augmentation;
    use hrm_data::sudoku::{Generator, SudokuSize};

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
        let set = PuzzleSet::from_sudokus(&puzzles, size, Augmentation::None).unwrap();
        let mut config = Preset::by_name("trm-small").unwrap().config(&set);
        config.model.hidden_size = 16;
        config.model.num_heads = 2;
        let model = Hrm::new(&config.model, 3, &device).unwrap();
        let mut heard = Vec::new();
        let config = CurveConfig {
            limit: Some(10),
            ..CurveConfig::doubling(5, 4)
        };
        let curve = segment_curve(&model, &set, &config, |n| heard.push(n)).unwrap();
        assert_eq!(curve.segments, [1, 2, 4, 5]);
        assert_eq!(heard, [4, 8, 10]);
        assert!(curve.elapsed.is_sorted());
        let indices: Vec<usize> = curve.puzzles.iter().map(|puzzle| puzzle.index).collect();
        assert_eq!(indices, (0..10).collect::<Vec<_>>());
        for (n, &segments) in curve.segments.iter().enumerate() {
            let config = EvalConfig {
                batch_size: 4,
                segments,
                limit: Some(10),
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
