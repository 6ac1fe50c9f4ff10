//! Evaluation as the reference does it: every puzzle thinks a fixed number of segments from the initial states.

use std::borrow::Cow;

use burn::tensor::{Int, Tensor};
use hrm_act::{Batch, Correctness};
use hrm_core::Hrm;
use hrm_core::ops::on_pool;
use hrm_data::PuzzleSet;
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::trainer::check_data;

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalConfig {
    /// Puzzles computed at a time.
    pub batch_size: usize,
    /// Segments that each puzzle thinks; `act.max_segments` of the training, as a rule.
    pub segments: u32,
    /// At most so many examples, of as many original puzzles as can be: see [`PuzzleSet::limited`].
    pub limit: Option<usize>,
}

impl EvalConfig {
    /// As a training evaluates: as many segments as it thinks, at most as many examples as it says, and as many at a time as the
    /// device computes in a step.
    pub fn of(config: &TrainConfig) -> Self {
        Self {
            batch_size: (config.batch_size / config.accumulate.max(1)).max(1),
            segments: config.act.max_segments,
            limit: Some(config.eval_puzzles),
        }
    }
}

impl Default for EvalConfig {
    /// 64 puzzles at a time, 16 segments as in the published recipes, all examples.
    fn default() -> Self {
        Self {
            batch_size: 64,
            segments: 16,
            limit: None,
        }
    }
}

/// What an answer is worth by its labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerWorth {
    /// Whether every cell is right.
    pub exact: bool,
    /// Share of right cells, 0..=1.
    pub cell_accuracy: f64,
    /// Whether q_halt tells rightly if the answer is exact.
    pub q_right: bool,
}

/// What an evaluation found. Where no puzzle could be judged, the shares are 0 here and `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Evaluation {
    /// Puzzles with an answer.
    pub puzzles: u64,
    /// Those solved in every cell.
    pub exact: u64,
    /// Share of puzzles solved in every cell.
    pub exact_accuracy: f64,
    /// 95% confidence interval of the exact accuracy (Wilson).
    pub exact_interval: (f64, f64),
    /// Mean share of right cells of a puzzle.
    pub cell_accuracy: f64,
    /// Share of puzzles of which q_halt tells rightly whether they are solved.
    pub q_halt_accuracy: f64,
    /// Mean segments used.
    pub mean_segments: f64,
}

impl Default for Evaluation {
    /// Of no puzzle.
    fn default() -> Self {
        Self::of([])
    }
}

impl Evaluation {
    /// The figures of some answers together, each with the segments used for it.
    pub fn of(answers: impl IntoIterator<Item = (AnswerWorth, u32)>) -> Self {
        let (mut puzzles, mut exact, mut q_right) = (0u64, 0u64, 0u64);
        let (mut cells, mut segments) = (0.0, 0.0);
        for (answer, used) in answers {
            puzzles += 1;
            exact += u64::from(answer.exact);
            q_right += u64::from(answer.q_right);
            cells += answer.cell_accuracy;
            segments += f64::from(used);
        }
        let share = |sum: f64| match puzzles {
            0 => 0.0,
            _ => sum / puzzles as f64,
        };
        Self {
            puzzles,
            exact,
            exact_accuracy: share(exact as f64),
            exact_interval: wilson(exact as f64, puzzles as f64),
            cell_accuracy: share(cells),
            q_halt_accuracy: share(q_right as f64),
            mean_segments: share(segments),
        }
    }
}

/// An [`Evaluation`] as it is written: shares of no puzzle are not known.
#[derive(Serialize, Deserialize)]
struct Written {
    puzzles: u64,
    exact: u64,
    exact_accuracy: Option<f64>,
    exact_interval: Option<(f64, f64)>,
    cell_accuracy: Option<f64>,
    q_halt_accuracy: Option<f64>,
    mean_segments: Option<f64>,
}

impl From<Evaluation> for Written {
    fn from(found: Evaluation) -> Self {
        let judged = found.puzzles > 0;
        let known = |share: f64| judged.then_some(share);
        Self {
            puzzles: found.puzzles,
            exact: found.exact,
            exact_accuracy: known(found.exact_accuracy),
            exact_interval: judged.then_some(found.exact_interval),
            cell_accuracy: known(found.cell_accuracy),
            q_halt_accuracy: known(found.q_halt_accuracy),
            mean_segments: known(found.mean_segments),
        }
    }
}

impl From<Written> for Evaluation {
    fn from(found: Written) -> Self {
        Self {
            puzzles: found.puzzles,
            exact: found.exact,
            exact_accuracy: found.exact_accuracy.unwrap_or_default(),
            exact_interval: found.exact_interval.unwrap_or_else(|| wilson(0.0, 0.0)),
            cell_accuracy: found.cell_accuracy.unwrap_or_default(),
            q_halt_accuracy: found.q_halt_accuracy.unwrap_or_default(),
            mean_segments: found.mean_segments.unwrap_or_default(),
        }
    }
}

/// Evaluates a plain model on a set; `progress` hears the puzzles done.
///
/// # Errors
/// If the set doesn't fit the model, or the device fails.
pub fn evaluate(
    model: &Hrm,
    set: &PuzzleSet,
    config: &EvalConfig,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, TrainError> {
    let found = evaluate_while(model, set, config, |done, _| {
        progress(done);
        true
    })?;
    Ok(found.expect("it was not broken off"))
}

/// As [`evaluate`]; `go_on` hears the puzzles done and of how many, and says whether to go on. None where it did not and puzzles
/// were left.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_while(
    model: &Hrm,
    set: &PuzzleSet,
    config: &EvalConfig,
    mut go_on: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Evaluation>, TrainError> {
    check_data(model.config(), set)?;
    let device = &model.device();
    if config.batch_size == 0 || config.segments == 0 {
        return Err(TrainError::Field {
            field: "evaluation",
            expected: "a batch size and a number of segments of at least 1",
            found: format!("{} and {}", config.batch_size, config.segments),
        });
    }
    let model = model.frozen();
    let set = &limited(set, config.limit);
    let mut answers = Vec::new();
    let mut done = 0;
    // A few puzzles need no large batch, most of it padding.
    let b = config.batch_size.min(set.num_examples().max(1));
    for (rows, real) in set.batches(b) {
        let batch = Batch::from_host(&rows, device);
        let table = on_pool(device, || {
            let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
            let mut state = model.initial_state();
            for _ in 0..config.segments {
                state = model.advance(state, x.clone());
            }
            compared(&model, state.z_h, batch.labels)
        });
        let judged = read_compared(table, b)?.into_iter().take(real).flatten();
        answers.extend(judged.map(|answer| (answer, config.segments)));
        done += real;
        if !go_on(done, set.num_examples()) && done < set.num_examples() {
            return Ok(None);
        }
    }
    Ok(Some(Evaluation::of(answers)))
}

/// At most so many examples of the set.
pub(crate) fn limited(set: &PuzzleSet, limit: Option<usize>) -> Cow<'_, PuzzleSet> {
    match limit {
        None => Cow::Borrowed(set),
        Some(limit) => Cow::Owned(set.limited(limit)),
    }
}

/// The answers read out of states compared with their labels, on the device: 4 columns of B values, for [`read_compared`].
pub(crate) fn compared(model: &Hrm, z_h: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let output = model.read_out(z_h);
    let correct = Correctness::of(output.logits, labels);
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
    Tensor::cat(columns, 0)
}

/// What the B answers are worth; nothing of those without a label. This waits for the device.
pub(crate) fn read_compared(
    table: Tensor<1>,
    b: usize,
) -> Result<Vec<Option<AnswerWorth>>, TrainError> {
    let values = table.try_into_vec_as::<f32>().map_err(TrainError::device)?;
    let answer = |row: usize| {
        let at = |column: usize| values.get(column * b + row).copied().unwrap_or_default();
        (at(0) > 0.5).then(|| AnswerWorth {
            exact: at(1) > 0.5,
            cell_accuracy: f64::from(at(2)),
            q_right: at(3) > 0.5,
        })
    };
    Ok((0..b).map(answer).collect())
}

/// The 95% confidence interval of a share, after Wilson: `successes` of `trials`.
pub fn wilson(successes: f64, trials: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let z = 1.959_963_984_540_054;
    let p = successes / trials;
    let denominator = 1.0 + z * z / trials;
    let center = (p + z * z / (2.0 * trials)) / denominator;
    let half = z * (p * (1.0 - p) / trials + z * z / (4.0 * trials * trials)).sqrt() / denominator;
    let (low, high) = ((center - half).max(0.0), (center + half).min(1.0));
    // At the ends the two are equal but for rounding.
    (
        if successes <= 0.0 { 0.0 } else { low },
        if successes >= trials { 1.0 } else { high },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;
    use burn::tensor::Device;
    use hrm_data::{SetArrays, SetInfo, Task};

    #[test]
    fn a_limited_evaluation_looks_at_every_original_before_it_looks_at_a_copy() {
        let info = SetInfo {
            task: Task::Other,
            vocab_size: 4,
            ignore_label_id: None,
            ..SetInfo::maze(1, 2)
        };
        // Two originals with two copies each. What is to be found of the first is not what is of the second.
        let labels = [[1, 1], [1, 1], [1, 1], [2, 3], [2, 3], [2, 3]];
        let arrays = SetArrays {
            inputs: vec![1; 12],
            labels: labels.as_flattened().to_vec(),
            puzzle_ids: vec![0; 6],
            puzzle_offsets: (0..=6).collect(),
            group_offsets: vec![0, 3, 6],
        };
        let set = PuzzleSet::from_arrays(info, arrays).unwrap();
        let device = Device::flex();
        let mut model = Preset::by_name("trm-small").unwrap().config(&set).model;
        model.hidden_size = 16;
        model.num_heads = 2;
        let model = Hrm::new(&model, 1, &device).unwrap();
        let find = |set: &PuzzleSet, limit| {
            let config = EvalConfig {
                batch_size: 4,
                segments: 1,
                limit,
            };
            evaluate(&model, set, &config, |_| {}).unwrap()
        };
        let (first, second) = (
            find(&set.take(1), Some(1)),
            find(&set.subset(1..2), Some(1)),
        );
        assert_ne!(first.cell_accuracy, second.cell_accuracy);
        let both = find(&set, Some(2));
        assert_eq!(both.puzzles, 2);
        let mean = (first.cell_accuracy + second.cell_accuracy) / 2.0;
        assert!((both.cell_accuracy - mean).abs() < 1e-6, "{both:?}");
        assert_eq!(find(&set, None).puzzles, 6);

        // What has no answer to compare with is neither right nor counted.
        let info = SetInfo {
            ignore_label_id: Some(0),
            ..set.info().clone()
        };
        let inputs = vec![1; 6];
        let half = PuzzleSet::from_examples(info, inputs, vec![1, 1, 0, 0, 0, 0]).unwrap();
        let found = find(&half, None);
        assert_eq!(found.puzzles, 1);
        assert!(found.exact <= 1 && found.exact_accuracy <= 1.0, "{found:?}");
        assert_eq!(found.cell_accuracy, first.cell_accuracy);
    }

    #[test]
    fn shares_of_no_puzzle_are_null() {
        let nothing = Evaluation::default();
        let text = serde_json::to_string(&nothing).unwrap();
        assert_eq!(
            text,
            r#"{"puzzles":0,"exact":0,"exact_accuracy":null,"exact_interval":null,"cell_accuracy":null,"q_halt_accuracy":null,"mean_segments":null}"#
        );
        assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), nothing);
        let half = Evaluation {
            puzzles: 2,
            exact: 1,
            exact_accuracy: 0.5,
            exact_interval: wilson(1.0, 2.0),
            cell_accuracy: 0.75,
            q_halt_accuracy: 0.0,
            mean_segments: 6.0,
        };
        let text = serde_json::to_string(&half).unwrap();
        assert!(
            text.contains(r#""exact_accuracy":0.5"#) && text.contains(r#""q_halt_accuracy":0.0"#)
        );
        assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), half);
    }

    #[test]
    fn wilson_interval_by_hand() {
        // 90 of 100: the textbook interval is 0.8256 to 0.9448.
        let (low, high) = wilson(90.0, 100.0);
        assert!(
            (low - 0.8256).abs() < 1e-4 && (high - 0.9448).abs() < 1e-4,
            "{low} {high}"
        );
        assert_eq!(wilson(0.0, 0.0), (0.0, 1.0));
        assert!(wilson(0.0, 10.0).0 == 0.0 && wilson(10.0, 10.0).1 > 0.999);
    }
}
