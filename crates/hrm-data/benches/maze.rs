//! Mazes: generating, labelling, augmenting and judging on one core.
//! `cargo bench -p hrm-data --bench maze`

use std::sync::Arc;

use divan::counter::ItemsCount;
use hrm_data::dihedral::Dihedral;
use hrm_data::maze::{
    MazeAugmentation, MazeAugmenter, MazeGenerator, MazePuzzle, MazeRecipe, Search,
};
use hrm_data::{Augmentation, PuzzleSet, Sampler, SamplerConfig};

fn main() {
    divan::main();
}

const RECIPES: &[(&str, usize, usize)] = &[("small", 10, 18), ("hard", 30, 110)];

fn generator(&(_, side, min_path_cells): &(&str, usize, usize)) -> MazeGenerator {
    MazeGenerator::new(MazeRecipe::new(side, side, min_path_cells), 1).unwrap()
}

fn puzzles() -> Vec<MazePuzzle> {
    generator(&RECIPES[1]).take(32).collect()
}

/// Ten mazes by a recipe; a thousand of the published hardness must take less than two minutes.
#[divan::bench(args = RECIPES, sample_count = 10, sample_size = 1)]
fn generate(bencher: divan::Bencher, recipe: &(&str, usize, usize)) {
    let mut mazes = generator(recipe);
    bencher
        .counter(ItemsCount::new(10usize))
        .bench_local(|| (0..10).map(|_| mazes.generate()).collect::<Vec<_>>());
}

/// Published labels of 30x30 mazes.
#[divan::bench]
fn label(bencher: divan::Bencher) {
    let puzzles = puzzles();
    let mut search = Search::new();
    let mut answer = vec![0; 900];
    bencher
        .counter(ItemsCount::new(puzzles.len()))
        .bench_local(|| {
            for puzzle in &puzzles {
                search.label_into(puzzle.maze().cells(), 30, 30, &mut answer);
            }
        });
}

/// 30x30 mazes turned or flipped; with `Relabel` at least 10,000 a second are wanted.
#[divan::bench(args = [MazeAugmentation::Relabel, MazeAugmentation::FlipLabel])]
fn augment(bencher: divan::Bencher, augmentation: MazeAugmentation) {
    let puzzles = puzzles();
    let mut augmenter = MazeAugmenter::new(30, 30, augmentation);
    let (mut inputs, mut labels) = (vec![0; 900], vec![0; 900]);
    bencher
        .counter(ItemsCount::new(puzzles.len() * 7))
        .bench_local(|| {
            for puzzle in &puzzles {
                for symmetry in &Dihedral::ALL[1..] {
                    let example = (puzzle.maze().cells(), puzzle.answer());
                    augmenter.apply(*symmetry, example, &mut inputs, &mut labels);
                }
            }
        });
}

/// 30x30 mazes drawn into batches.
#[divan::bench]
fn draw(bencher: divan::Bencher) {
    let config = SamplerConfig {
        batch_size: 256,
        seed: 1,
        augment: true,
        exploration: None,
    };
    let set =
        PuzzleSet::from_mazes(&puzzles(), Augmentation::Maze(MazeAugmentation::Relabel)).unwrap();
    let mut sampler = Sampler::new(Arc::new(set), config).unwrap();
    bencher
        .counter(ItemsCount::new(256usize))
        .bench_local(|| sampler.next_batch());
}

/// Verdicts on 30x30 mazes.
#[divan::bench]
fn verify(bencher: divan::Bencher) {
    let puzzles = puzzles();
    bencher
        .counter(ItemsCount::new(puzzles.len()))
        .bench_local(|| {
            puzzles
                .iter()
                .filter(|puzzle| puzzle.maze().verify(puzzle.answer()).is_optimal())
                .count()
        });
}
