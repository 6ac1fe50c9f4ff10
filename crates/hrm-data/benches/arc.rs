//! ARC: augmented examples, ids of a data set, votes, on one core.
//! `cargo bench -p hrm-data --bench arc`

use std::sync::Arc;

use divan::counter::ItemsCount;
use hrm_data::arc::{
    ArcSets, ArcSettings, ArcSource, ArcTask, Grid, Pair, TestUse, Votes, build_sets,
};
use hrm_data::{Sampler, SamplerConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    divan::main();
}

/// Tasks of three demonstrations and a test on grids of 3 to 19 rows and columns.
fn tasks(count: usize) -> Vec<ArcTask> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..count)
        .map(|index| {
            let mut grid = || {
                let (height, width) = (rng.random_range(3..20), rng.random_range(3..20));
                let cells = (0..height * width).map(|_| rng.random_range(0..10));
                Grid::new(height, width, cells.collect()).unwrap()
            };
            let mut pair = || Pair {
                input: grid(),
                output: Some(grid()),
            };
            ArcTask {
                id: format!("{index:08x}"),
                train: (0..3).map(|_| pair()).collect(),
                test: vec![pair()],
            }
        })
        .collect()
}

fn sets(tasks: &[ArcTask], tests: TestUse, augmentations: usize) -> ArcSets {
    let settings = ArcSettings {
        augmentations,
        ..ArcSettings::default()
    };
    build_sets(&[ArcSource { tasks, tests }], settings).unwrap()
}

/// Examples drawn into batches: derived, recoloured, turned, moved. At least 20,000 a second are wanted.
#[divan::bench]
fn draw(bencher: divan::Bencher) {
    let config = SamplerConfig {
        batch_size: 768,
        seed: 1,
        augment: true,
        exploration: None,
    };
    let set = sets(&tasks(100), TestUse::Train, 1000).train;
    let mut sampler = Sampler::new(Arc::new(set), config).unwrap();
    bencher
        .counter(ItemsCount::new(768usize))
        .bench_local(|| sampler.next_batch());
}

/// Ids and augmentations of 1,000 tasks, 1,000 each, and their originals on the canvas.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn build(bencher: divan::Bencher) {
    let tasks = tasks(1000);
    bencher
        .counter(ItemsCount::new(1_001_000usize))
        .bench_local(|| sets(&tasks, TestUse::Train, 1000));
}

/// Predictions turned back and counted.
#[divan::bench]
fn vote(bencher: divan::Bencher) {
    let sets = sets(&tasks(10), TestUse::Evaluate, 100);
    let batches: Vec<_> = sets.test.batches(1).map(|(batch, _)| batch).collect();
    bencher
        .counter(ItemsCount::new(batches.len()))
        .bench_local(|| {
            let mut votes = Votes::new(&sets.test_tasks);
            for batch in &batches {
                let id = batch.puzzle_ids[0];
                votes
                    .cast(&sets.names, id, &batch.inputs, &batch.labels, 0.0)
                    .unwrap();
            }
            votes.pass_at(&[1, 2])
        });
}
