//! Teach a small model ARC tasks from a few demonstrations each, and let it vote on their tests.
//!
//! `cargo run --release --example arc` makes small tasks by six rules, trains for two and a half minutes, and shows the answers
//! to the tests beside the truth. `--data DIR` takes tasks from a folder, ARC-AGI's or ConceptARC's, as far as their grids are
//! small; `--out-tasks DIR` writes the made-up ones as ARC's JSON files.
//!
//! As in the papers, every task counts many times, in other colours, turned and flipped, each with a puzzle id of its own; the
//! answers to all of them are turned back and vote. Unlike there the canvas is as small as the grids allow, and grids aren't moved
//! on it: 900 cells are nothing for a CPU's minutes.

#[path = "common/answers.rs"]
mod answers;
#[path = "common/training.rs"]
mod training;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstyle::{Ansi256Color, Style};
use anyhow::Context;
use clap::Parser;
use hrm::data::arc::{
    ArcSettings, ArcSource, ArcTask, CELLS, Grid, MAX_SIDE, PAD, Pair, TestUse, Votes, build_sets,
    read_tasks, task_json,
};
use hrm::data::{IGNORED, SetArrays};
use hrm::prelude::*;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use answers::{Drawing, answers, print_beside};
use training::Training;

/// Train a small model on ARC tasks and vote on their tests.
#[derive(Parser)]
struct Options {
    /// Tasks to use in place of made-up ones: a folder of JSON files, ConceptARC's corpus, or Kaggle's challenges.
    #[arg(long, value_name = "DIR|FILE")]
    data: Option<PathBuf>,
    /// Kaggle's solutions of --data.
    #[arg(long, value_name = "FILE", requires = "data")]
    solutions: Option<PathBuf>,
    /// Largest side of a grid; tasks with larger ones are left out.
    #[arg(long, default_value_t = 10)]
    max_side: usize,
    /// Tasks to make by each of the six rules.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=99))]
    tasks: u8,
    /// Augmented puzzles per task, at most.
    #[arg(long, default_value_t = 50)]
    num_aug: usize,
    /// Tests to show.
    #[arg(long, default_value_t = 6)]
    show: usize,
    /// Write the tasks to this folder, a JSON file each, and train nothing.
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    out_tasks: Option<PathBuf>,
    #[command(flatten)]
    training: Training,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let device = options.training.device()?;
    let tasks = match &options.data {
        Some(path) => small_tasks(path, &options)?,
        None => make_tasks(options.tasks, options.training.seed)?,
    };
    if let Some(folder) = &options.out_tasks {
        return write_tasks(&tasks, folder);
    }

    let source = ArcSource {
        tasks: &tasks,
        tests: TestUse::Evaluate,
    };
    let settings = ArcSettings {
        augmentations: options.num_aug,
        ..ArcSettings::default()
    };
    let sets = build_sets(&[source], settings)?;
    let grids = tasks.iter().flat_map(ArcTask::pairs).flat_map(grids);
    let largest = grids.map(|grid| grid.height().max(grid.width())).max();
    // Room for the marks at the ends of a grid.
    let side = largest.map_or(MAX_SIDE, |largest| (largest + 1).min(MAX_SIDE));
    let (train, test) = (shrink(&sets.train, side)?, shrink(&sets.test, side)?);
    println!(
        "{} tasks with {} demonstrations and {} tests on {side}x{side} cells; {} puzzles in other colours, turned and flipped",
        tasks.len(),
        tasks.iter().map(|task| task.train.len()).sum::<usize>(),
        tasks.iter().map(|task| task.test.len()).sum::<usize>(),
        train.num_puzzles() - tasks.len(),
    );
    for task in tasks.iter().take(options.show) {
        println!("{}", task.id);
        let drawn = task.train.iter().take(3).flat_map(pair_drawings);
        print_beside(&drawn.collect::<Vec<_>>());
    }

    let config = options.training.config(&train, |config| {
        config.puzzle_optimizer.lr = 1e-2; // as published for ARC: the ids tell the tasks apart
    })?;
    let segments = config.act.max_segments;
    let parameters = config.model.num_parameters();
    let mut trainer = Trainer::new(config, Arc::new(train), &device)?;
    let seconds = options.training.train(&mut trainer)?;

    let mut votes = Votes::new(&sets.test_tasks);
    let [mut exact, mut cells, mut all_cells, mut judged] = [0; 4];
    let answers = answers(&trainer.eval_model(), &test, segments)?;
    for answer in &answers {
        let example = test.example(answer.index);
        let (inputs, tokens) = (widen(&example.inputs, side), widen(&answer.tokens, side));
        votes.cast(
            &sets.names,
            example.puzzle_id,
            &inputs,
            &tokens,
            answer.q_halt,
        )?;
        let pairs = example.labels.iter().zip(&answer.tokens);
        let asked = pairs.filter(|(label, _)| **label != IGNORED);
        let (right, all) = asked.fold((0, 0), |(right, all), (label, token)| {
            (right + usize::from(label == token), all + 1)
        });
        exact += usize::from(all > 0 && right == all);
        judged += usize::from(all > 0);
        cells += right;
        all_cells += all;
    }
    let tests = tasks
        .iter()
        .flat_map(|task| task.test.iter().enumerate().map(move |test| (task, test)));
    for (task, (number, test)) in tests.take(options.show) {
        let best = votes.ranked(&task.id, number).into_iter().next();
        let right = best.as_ref().map(|best| &best.grid) == test.output.as_ref();
        let mut drawn = vec![drawing("the test", &test.input)];
        if let Some(best) = &best {
            drawn.push(drawing(&format!("{} votes", best.votes), &best.grid));
        }
        drawn.extend(
            test.output
                .iter()
                .map(|output| drawing("the truth", output)),
        );
        let said = match (&test.output, right) {
            (None, _) => "solution unknown",
            (_, true) => "solved",
            (_, false) => "not solved",
        };
        println!("{} {}: {said}", task.id, number + 1);
        print_beside(&drawn);
    }
    let share = |count: usize, all: usize| 100.0 * count as f64 / all.max(1) as f64;
    println!(
        "{exact} of {judged} single answers exact: {:.1}%, {:.1}% of the cells right, {segments} segments each",
        share(exact, judged),
        share(cells, all_cells)
    );
    for pass in votes.pass_at(&[1, 2]) {
        // No share is known where no task has a solution.
        let Some(whole_tasks) = pass.whole_tasks else {
            continue;
        };
        println!(
            "{} of {} tasks solved with {} by vote: {:.1}%",
            (whole_tasks * pass.tasks as f64).round(),
            pass.tasks,
            match pass.k {
                1 => "the first answer",
                _ => "the first two answers",
            },
            100.0 * whole_tasks
        );
    }
    println!(
        "trained here for {seconds:.0} s: {} steps, {parameters} parameters",
        trainer.state().step
    );
    Ok(())
}

/// Tasks of a folder or file, as far as their grids are small.
fn small_tasks(path: &Path, options: &Options) -> anyhow::Result<Vec<ArcTask>> {
    let mut tasks = read_tasks(path, options.solutions.as_deref())?;
    let found = tasks.len();
    let fits = |grid: &Grid| grid.height().max(grid.width()) <= options.max_side;
    tasks.retain(|task| task.pairs().flat_map(grids).all(fits));
    println!(
        "{}: {found} tasks, {} of them small",
        path.display(),
        tasks.len()
    );
    anyhow::ensure!(
        !tasks.is_empty(),
        "{}: expected tasks with sides of at most {}, found none of {found}",
        path.display(),
        options.max_side
    );
    Ok(tasks)
}

fn grids(pair: &Pair) -> impl Iterator<Item = &Grid> {
    std::iter::once(&pair.input).chain(&pair.output)
}

/// What a rule makes of a grid with the colours of its task.
type Rule = fn(&mut Vec<Vec<u8>>, Colours);

#[derive(Clone, Copy)]
struct Colours {
    /// Two colours of the questions, beside black.
    asked: [u8; 2],
    /// A colour of answers alone.
    new: u8,
}

/// Names, share of cells that are not black, and what becomes of a grid.
const RULES: [(&str, f64, Rule); 6] = [
    // Coloured cells shine to the right.
    ("beam", 0.1, |rows, _| {
        for row in rows {
            for at in 1..row.len() {
                if row[at] == 0 {
                    row[at] = row[at - 1];
                }
            }
        }
    }),
    // Coloured cells fall down.
    ("fall", 0.4, |rows, _| {
        for column in 0..rows[0].len() {
            let cells: Vec<u8> = rows
                .iter()
                .map(|row| row[column])
                .filter(|&c| c != 0)
                .collect();
            let black = rows.len() - cells.len();
            for (at, row) in rows.iter_mut().enumerate() {
                row[column] = at.checked_sub(black).map_or(0, |at| cells[at]);
            }
        }
    }),
    // A frame is drawn around.
    ("frame", 0.4, |rows, colours| {
        let last = rows.len() - 1;
        for (at, row) in rows.iter_mut().enumerate() {
            let edge = row.len() - 1;
            match at == 0 || at == last {
                true => row.fill(colours.new),
                false => (row[0], row[edge]) = (colours.new, colours.new),
            }
        }
    }),
    // The upper half is kept.
    ("half", 0.5, |rows, _| rows.truncate(rows.len() / 2)),
    ("mirror", 0.5, |rows, _| {
        rows.iter_mut().for_each(|row| row.reverse())
    }),
    // One colour becomes another.
    ("recolour", 0.5, |rows, colours| {
        let cells = rows.iter_mut().flatten();
        cells
            .filter(|cell| **cell == colours.asked[0])
            .for_each(|cell| *cell = colours.new);
    }),
];

/// So many tasks by each rule: four demonstrations and a test, on grids of 4 to 6 rows and columns.
fn make_tasks(per_rule: u8, seed: u64) -> anyhow::Result<Vec<ArcTask>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tasks = Vec::new();
    for number in 1..=per_rule {
        for (name, share, rule) in RULES {
            let palette: Vec<u8> = (1..=9).collect();
            let drawn: Vec<u8> = palette.sample(&mut rng, 3).copied().collect();
            let colours = Colours {
                asked: [drawn[0], drawn[1]],
                new: drawn[2],
            };
            let mut pairs: Vec<Pair> = Vec::new();
            while pairs.len() < 5 {
                let (height, width) = (rng.random_range(4..=6), rng.random_range(4..=6));
                let mut cell = || match rng.random_bool(share) {
                    true => colours.asked[rng.random_range(0..2)],
                    false => 0,
                };
                let mut rows: Vec<Vec<u8>> = (0..height)
                    .map(|_| (0..width).map(|_| cell()).collect())
                    .collect();
                let input = Grid::from_rows(&rows)?;
                rule(&mut rows, colours);
                let output = Grid::from_rows(&rows)?;
                // A pair that shows nothing, or one that was there, is drawn again.
                if output != input && pairs.iter().all(|pair| pair.input != input) {
                    pairs.push(Pair {
                        input,
                        output: Some(output),
                    });
                }
            }
            tasks.push(ArcTask {
                id: format!("{number:02}-{name}"),
                test: pairs.split_off(4),
                train: pairs,
            });
        }
    }
    Ok(tasks)
}

fn write_tasks(tasks: &[ArcTask], folder: &Path) -> anyhow::Result<()> {
    let at = || folder.display().to_string();
    std::fs::create_dir(folder).with_context(at)?;
    for task in tasks {
        std::fs::write(folder.join(format!("{}.json", task.id)), task_json(task))
            .with_context(at)?;
    }
    println!("{}: {} tasks", folder.display(), tasks.len());
    Ok(())
}

/// The set on a smaller canvas, of `side` rows and columns.
fn shrink(set: &PuzzleSet, side: usize) -> anyhow::Result<PuzzleSet> {
    let info = SetInfo {
        task: Task::Other, // as `Task::Arc` has 900 cells
        seq_len: side * side,
        ..set.info().clone()
    };
    let cut = |tokens: &[u8], into: &mut Vec<u8>| {
        let rows = tokens.chunks(MAX_SIDE).take(side);
        into.extend(rows.flat_map(|row| &row[..side]));
    };
    let mut arrays = SetArrays::default();
    for index in 0..set.num_examples() {
        let example = set.example(index);
        cut(&example.inputs, &mut arrays.inputs);
        cut(&example.labels, &mut arrays.labels);
    }
    let ends = |range: std::ops::Range<usize>| range.end as u32;
    arrays.puzzle_ids = (0..set.num_puzzles())
        .map(|puzzle| set.puzzle_id(puzzle))
        .collect();
    arrays.puzzle_offsets = std::iter::once(0)
        .chain((0..set.num_puzzles()).map(|puzzle| ends(set.puzzle(puzzle))))
        .collect();
    arrays.group_offsets = std::iter::once(0)
        .chain((0..set.num_groups()).map(|group| ends(set.group(group))))
        .collect();
    Ok(PuzzleSet::from_arrays(info, arrays)?)
}

/// Tokens of a small canvas on the one of 30x30.
fn widen(tokens: &[u8], side: usize) -> Vec<u8> {
    let mut canvas = vec![PAD; CELLS];
    for (row, cells) in canvas.chunks_mut(MAX_SIDE).zip(tokens.chunks(side)) {
        row[..side].copy_from_slice(cells);
    }
    canvas
}

fn pair_drawings(pair: &Pair) -> impl Iterator<Item = Drawing> {
    let output = pair.output.iter().map(|grid| drawing("->", grid));
    std::iter::once(drawing("", &pair.input)).chain(output)
}

/// Colours as backgrounds near the usual ones, with their numbers.
fn drawing(title: &str, grid: &Grid) -> Drawing {
    const BACKGROUNDS: [u8; 10] = [16, 27, 160, 34, 220, 244, 201, 208, 117, 88];
    let cell = |&colour: &u8| {
        let style =
            Style::new().bg_color(Some(Ansi256Color(BACKGROUNDS[usize::from(colour)]).into()));
        format!("{style}{colour} {style:#}")
    };
    Drawing {
        title: title.to_owned(),
        width: 2 * grid.width(),
        lines: grid
            .rows()
            .map(|row| row.iter().map(cell).collect())
            .collect(),
    }
}
