//! Training for HRM and TRM: AdamAtan2 and sparse SignSGD, warm-up and cosine, averaged weights, checkpoints from which a run
//! goes on exactly, evaluation.
//!
//! [`Trainer`] is an iterator of steps; [`Run`] is a trainer with a folder. [`TrainConfig`] says all that a run is made of, and
//! [`Preset`] gives the published ones by name.

#![warn(missing_docs)]

mod checkpoint;
mod config;
pub mod conformance;
mod curve;
mod ema;
mod error;
mod evaluate;
mod freeze;
mod gradients;
mod muon;
mod official;
mod optimizer;
mod parallel;
mod preset;
mod run;
mod schedule;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointInfo, Snapshot, WeightKind};
pub use config::TrainConfig;
pub use curve::{CurveConfig, PuzzleCurve, SegmentCurve, doubling, segment_curve};
pub use ema::Ema;
pub use error::TrainError;
pub use evaluate::{AnswerWorth, EvalConfig, Evaluation, evaluate, evaluate_while, wilson};
pub use freeze::Freeze;
pub use gradients::{Gradients, PuzzleGradients};
pub use optimizer::{
    DenseOptimizer, Moments, OptimizerConfig, PuzzleOptimizerConfig, Rule, clip_global_norm,
    sign_sgd_rows,
};
pub use preset::{PRESETS, Preset};
pub use run::{
    Best, CHECKPOINTS, Change, Changes, Difference, Fault, GuardConfig, MetricsLine, Outcome,
    Progress, Remedy, Run, RunEvent, RunFile, best_weights, check_held_out, differences,
    is_checkpoint_file, is_run_file, latest_checkpoint, latest_step, metrics_path, read_metrics,
};
pub use schedule::Schedule;
pub use trainer::{StepReport, TrainState, Trainer, check_data};
