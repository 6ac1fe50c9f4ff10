//! Teach a small model a task of your own, here: sort every row of a grid. Any task will do that turns one grid of tokens into
//! another; all it takes is a few thousand examples. `cargo run --release --example custom_task [STEPS]`
use std::sync::Arc;

use hrm::prelude::*;

const SIDE: usize = 6;

/// Random grids of the digits 1 to 8, and the same grids with sorted rows. The token of a digit is the digit; 0 is the padding.
fn grids(count: usize, mut seed: u64) -> anyhow::Result<PuzzleSet> {
    let mut digit = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        1 + (seed >> 33) as u8 % 8
    };
    let inputs: Vec<u8> = (0..count * SIDE * SIDE).map(|_| digit()).collect();
    let mut labels = inputs.clone();
    labels.chunks_mut(SIDE).for_each(<[u8]>::sort_unstable);
    Ok(PuzzleSet::from_examples(
        SetInfo::other(SIDE * SIDE, 9),
        inputs,
        labels,
    )?)
}

fn main() -> anyhow::Result<()> {
    let device = hrm::device::from_env()?;
    let (known, unseen) = (Arc::new(grids(4000, 1)?), grids(200, 2)?);
    let mut config = Preset::by_name("trm-small-mlp")?.config(&known);
    let steps = std::env::args().nth(1);
    config.steps = steps.map_or(Ok(600), |steps| steps.parse())?;
    let mut trainer = Trainer::new(config, known, &device)?;
    trainer.after_step(|_, report| {
        if let (Some(metrics), true) = (report.metrics, report.step.is_multiple_of(50)) {
            eprintln!("step {:>4}  loss {:.3}", report.step, metrics.loss());
        }
    });
    for report in &mut trainer {
        report?;
    }
    let model = trainer.eval_model();
    let options = EvalConfig {
        segments: 6,
        ..EvalConfig::default()
    };
    let result = evaluate(&model, &unseen, &options, |_| {})?;
    let (inputs, puzzle_id) = (unseen.example(0).inputs.to_vec(), 0);
    let question = Puzzle { inputs, puzzle_id };
    let reasoner = Reasoner::new(&model, ReasonerConfig::default())?;
    let answer = reasoner.solve_one(question.clone())?;
    for (before, after) in question.inputs.chunks(SIDE).zip(answer.tokens.chunks(SIDE)) {
        println!("{before:?} -> {after:?}");
    }
    let [cells, grids] = [result.cell_accuracy, result.exact_accuracy].map(|share| 100.0 * share);
    println!("200 unseen grids: {cells:.1}% of the cells right, {grids:.1}% of the grids");
    Ok(())
}
