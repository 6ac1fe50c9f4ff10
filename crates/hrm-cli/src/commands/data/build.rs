//! `hrm data build`: a data folder, in the format of the official builders, from puzzles.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::{Args as Arguments, Subcommand, ValueEnum};
use hrm::data::arc::{ArcSettings, ArcSource, ArcTask, Leak, NameStyle, TestUse};
use hrm::data::maze::{MazeAugmentation, MazePuzzle};
use hrm::data::{DataError, Provenance, sudoku::Canonical};
use hrm::prelude::*;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::Outcome;
use crate::arguments::Shape;
use crate::console::Console;
use crate::files::{TEST_PUZZLES, check_folder, source, write_folder};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// From a CSV file of Sudokus.
    Sudoku(SudokuArgs),
    /// From a CSV file of mazes.
    Maze(MazeArgs),
    /// From ARC tasks: a folder with a file per task, or Kaggle's challenges.
    Arc(ArcArgs),
}

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: 100 puzzles are held out for the test
  hrm data build sudoku --input puzzles.csv --test-count 100 --seed 1 --out sudoku6")]
pub(crate) struct SudokuArgs {
    /// Side of the boards; told from the first puzzle where it is not given.
    #[arg(long, value_name = "SIDE")]
    size: Option<usize>,
    /// How training examples are changed when they are drawn.
    #[arg(long, value_enum, default_value_t = SudokuAugment::Symmetry)]
    augment: SudokuAugment,
    #[command(flatten)]
    build: Build,
}

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm data build maze --input mazes.csv --test-count 100 --seed 1 --out maze30")]
pub(crate) struct MazeArgs {
    /// Side of the mazes, or rows x columns; without it they must be square.
    #[arg(long, value_name = "SIDE|HxW")]
    size: Option<Shape>,
    /// How training examples are changed when they are drawn.
    #[arg(long, value_enum, default_value_t = MazeAugment::Relabel)]
    augment: MazeAugment,
    #[command(flatten)]
    build: Build,
}

#[derive(Debug, Arguments)]
struct Build {
    /// CSV file with the puzzles.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// CSV file with the puzzles of the test split.
    #[arg(long, value_name = "FILE", conflicts_with = "test_count")]
    test: Option<PathBuf>,
    /// Holds out so many puzzles, drawn at random, as the test split.
    #[arg(long, value_name = "N")]
    test_count: Option<usize>,
    /// Keeps so many puzzles to train on, drawn at random from what is not held out.
    #[arg(long, value_name = "N")]
    train_count: Option<usize>,
    /// Seed of these draws, and of --materialize.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Writes so many augmented copies of each training puzzle out, for programs that do not augment as they draw.
    #[arg(long, value_name = "COPIES")]
    materialize: Option<usize>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Writes over a folder of the same kind that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example: demonstrations of both sets train, the tests of the evaluation set are for the test split
  hrm data build arc --input arc/data/training --input concept/corpus --test arc/data/evaluation --out arc-1
  hrm data build arc --input challenges.json --solutions solutions.json --out arc")]
pub(crate) struct ArcArgs {
    /// Folder with a JSON file per task, in it or in folders of it, or Kaggle's challenges; may be given several times.
    /// Without --test its tests are the test split; with it they train.
    #[arg(long, value_name = "FOLDER|FILE", required = true)]
    input: Vec<PathBuf>,
    /// Kaggle's solutions of --input; of several, those of the first file of challenges, of the second and so on.
    #[arg(long, value_name = "FILE")]
    solutions: Vec<PathBuf>,
    /// Tasks whose demonstrations train and whose tests are the test split.
    #[arg(long, value_name = "FOLDER|FILE")]
    test: Option<PathBuf>,
    /// Kaggle's solutions of --test.
    #[arg(long, value_name = "FILE", requires = "test")]
    test_solutions: Option<PathBuf>,
    /// Augmented puzzles per task, at most.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    num_aug: usize,
    /// Seed of the augmentations.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Writes the augmented puzzles out, for programs that do not augment as they draw.
    #[arg(long)]
    materialize: bool,
    /// Whose program the folder is for.
    #[arg(long, value_enum, default_value_t = Style::Hrm)]
    style: Style,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Writes over a folder of the same kind that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Style {
    /// Names as `00576224_t3_0912345678`.
    Hrm,
    /// Names as `00576224|||t3|||0912345678`, and the tests' tasks in `test_puzzles.json`.
    Trm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SudokuAugment {
    /// Digits, bands, rows, stacks, columns and transposition at random.
    Symmetry,
    /// As they are.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MazeAugment {
    /// Turned and flipped, the path found anew by the published tie-break.
    Relabel,
    /// Turned and flipped with their path, as the official program does.
    FlipLabel,
    /// As they are.
    None,
}

/// What was built.
#[derive(Serialize)]
#[serde(tag = "type", rename = "built")]
struct Built<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    out: &'a Path,
    train: usize,
    test: usize,
    /// Test puzzles left out because a training puzzle equals them.
    dropped: usize,
    /// ARC tasks in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<usize>,
    /// ARC tasks of the test split that are in the training split under another name, or share a grid with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leaks: Vec<Leak>,
}

/// Training and test puzzles, and how many of the latter were dropped.
struct Split<T> {
    train: Vec<T>,
    test: Vec<T>,
    dropped: usize,
}

pub(crate) fn run(command: &Command, console: &Console) -> Result<Outcome> {
    match command {
        Command::Sudoku(args) => build_sudoku(args, console),
        Command::Maze(args) => build_maze(args, console),
        Command::Arc(args) => build_arc(args, console),
    }
}

/// The file that every data folder has.
const MARK: &str = "identifiers.json";

fn build_sudoku(args: &SudokuArgs, console: &Console) -> Result<Outcome> {
    let build = &args.build;
    check_folder(&build.out, build.force, MARK)?;
    let size = args.size.map(SudokuSize::try_from).transpose()?;
    let puzzles = sudoku::read_csv(&build.input, size)?;
    let Some(size) = puzzles.first().map(sudoku::Puzzle::size) else {
        bail!(
            "{}: expected at least one puzzle, found none",
            build.input.display()
        );
    };
    let other = build
        .test
        .as_deref()
        .map(|path| sudoku::read_csv(path, Some(size)))
        .transpose()?;
    let canonical = |puzzle: &sudoku::Puzzle| {
        // The reader has checked every answer.
        Canonical::of(&puzzle.question, &puzzle.answer).ok()
    };
    let split = build.split(puzzles, other, canonical, console)?;
    note_several_solutions(&split, console);
    let augmentation = match args.augment {
        SudokuAugment::Symmetry => Augmentation::Sudoku,
        SudokuAugment::None => Augmentation::None,
    };
    build.check_copies(augmentation)?;
    let train = PuzzleSet::from_sudokus(&split.train, size, augmentation)?;
    let test = PuzzleSet::from_sudokus(&split.test, size, Augmentation::None)?;
    build.write(train, test, split.dropped, console)
}

/// Guesses after which a puzzle's solutions are no longer looked for; hard 9x9 puzzles need some hundreds.
const MAX_GUESSES: u64 = 10_000;

/// Says of how many puzzles the answer is but one of several.
fn note_several_solutions(split: &Split<sudoku::Puzzle>, console: &Console) {
    let puzzles = split.train.par_iter().chain(&split.test);
    let bar = console.bar(puzzles.len() as u64, "puzzles solved");
    let solver = sudoku::Solver::new(2).with_max_guesses(MAX_GUESSES);
    let has_several = |puzzle: &&sudoku::Puzzle| {
        bar.inc(1);
        solver.solve(&puzzle.question).solutions > 1
    };
    let several = puzzles.filter(has_several).count();
    bar.finish_and_clear();
    if several > 0 {
        console.note(format_args!(
            "{several} puzzles have several solutions: no model can know which is meant"
        ));
    }
}

fn build_maze(args: &MazeArgs, console: &Console) -> Result<Outcome> {
    let build = &args.build;
    check_folder(&build.out, build.force, MARK)?;
    let shape = args.size.map(|size| (size.height, size.width));
    let puzzles =
        maze::read_csv(&build.input, shape).map_err(|error| shape_hint(error, shape.is_some()))?;
    let Some(first) = puzzles.first().map(MazePuzzle::maze) else {
        bail!(
            "{}: expected at least one maze, found none",
            build.input.display()
        );
    };
    let shape = (first.height(), first.width());
    let other = build
        .test
        .as_deref()
        .map(|path| maze::read_csv(path, Some(shape)))
        .transpose()?;
    let canonical = |puzzle: &MazePuzzle| Some(puzzle.maze().canonical());
    let split = build.split(puzzles, other, canonical, console)?;
    let augmentation = match args.augment {
        MazeAugment::Relabel => Augmentation::Maze(MazeAugmentation::Relabel),
        MazeAugment::FlipLabel => Augmentation::Maze(MazeAugmentation::FlipLabel),
        MazeAugment::None => Augmentation::None,
    };
    build.check_copies(augmentation)?;
    let train = PuzzleSet::from_mazes(&split.train, augmentation)?;
    let test = match split.test.is_empty() {
        true => PuzzleSet::from_examples(SetInfo::maze(shape.0, shape.1), Vec::new(), Vec::new())?,
        false => PuzzleSet::from_mazes(&split.test, Augmentation::None)?,
    };
    build.write(train, test, split.dropped, console)
}

/// An error of a file of mazes, with the option that may mend it: whether mazes are square is not told by their cells.
pub(super) fn shape_hint(error: DataError, is_given: bool) -> anyhow::Error {
    let problem = match &error {
        DataError::Line { problem, .. } => &**problem,
        other => other,
    };
    match problem {
        DataError::MazeNotSquare { .. } => anyhow!("{error} with --size HxW"),
        DataError::MazeAnswer { .. } if !is_given => anyhow!("{error}; {UNLIKE_SQUARES}"),
        _ => error.into(),
    }
}

/// What may be the reason where answers are no paths.
pub(super) const UNLIKE_SQUARES: &str =
    "the mazes were read as squares: give the height and the width of others with --size HxW";

impl Build {
    /// Refuses copies of which none would be.
    fn check_copies(&self, augmentation: Augmentation) -> Result<()> {
        if augmentation == Augmentation::None && self.materialize.is_some_and(|copies| copies > 0) {
            bail!(
                "--materialize writes augmented copies, and --augment none makes none; expected one of the two"
            );
        }
        Ok(())
    }

    /// Divides the puzzles, and drops test puzzles that equal a training puzzle by their canonical form.
    fn split<T: Send + Sync, K: Eq + Hash + Send + Sync>(
        &self,
        mut puzzles: Vec<T>,
        other: Option<Vec<T>>,
        canonical: impl Fn(&T) -> Option<K> + Sync,
        console: &Console,
    ) -> Result<Split<T>> {
        let test = match (other, self.test_count) {
            (Some(test), _) if test.is_empty() => bail!(
                "{}: expected at least one puzzle to test with, found none",
                self.test.as_deref().unwrap_or(&self.input).display()
            ),
            (Some(test), _) => test,
            (None, Some(count)) if count >= puzzles.len() => bail!(
                "--test-count: expected fewer than the {} puzzles of {}, found {count}",
                puzzles.len(),
                self.input.display()
            ),
            (None, Some(count)) => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                let mut drawn = index::sample(&mut rng, puzzles.len(), count).into_vec();
                drawn.sort_unstable();
                let mut test = Vec::with_capacity(count);
                let mut train = Vec::with_capacity(puzzles.len() - count);
                for (index, puzzle) in puzzles.into_iter().enumerate() {
                    match drawn.binary_search(&index) {
                        Ok(_) => test.push(puzzle),
                        Err(_) => train.push(puzzle),
                    }
                }
                puzzles = train;
                test
            }
            (None, None) => Vec::new(),
        };
        if let Some(count) = self.train_count {
            if count == 0 || count > puzzles.len() {
                bail!(
                    "--train-count: expected 1 to {}, the puzzles there are, found {count}",
                    puzzles.len()
                );
            }
            // A stream of its own: what is held out stays the same.
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(1);
            let drawn: HashSet<usize> = index::sample(&mut rng, puzzles.len(), count)
                .into_iter()
                .collect();
            let mut index = 0;
            puzzles.retain(|_| {
                index += 1;
                drawn.contains(&(index - 1))
            });
        }
        let mut test = test;
        let before = test.len();
        if before > 0 {
            let bar = console.bar((puzzles.len() + before) as u64, "puzzles compared");
            let canonical = |puzzle: &T| {
                bar.inc(1);
                canonical(puzzle)
            };
            let known: HashSet<K> = puzzles.par_iter().filter_map(canonical).collect();
            let is_new = |puzzle: &T| canonical(puzzle).is_none_or(|key| !known.contains(&key));
            test = test.into_par_iter().filter(is_new).collect();
            bar.finish_and_clear();
        }
        if before > 0 && test.is_empty() {
            bail!(
                "every test puzzle equals a training puzzle under symmetry; nothing is left to test with"
            );
        }
        Ok(Split {
            dropped: before - test.len(),
            train: puzzles,
            test,
        })
    }

    fn write(
        &self,
        train: PuzzleSet,
        test: PuzzleSet,
        dropped: usize,
        console: &Console,
    ) -> Result<Outcome> {
        let provenance = |path: &Path| -> Result<Provenance> {
            Ok(Provenance {
                sources: vec![source(path)?],
                command: command_line(),
                seed: Some(self.seed),
            })
        };
        let train = train.with_provenance(provenance(&self.input)?);
        let test = test.with_provenance(provenance(self.test.as_deref().unwrap_or(&self.input))?);
        let spinner = console.spinner("writing");
        let mut examples = train.num_examples();
        write_folder(&self.out, self.force, MARK, |dir| {
            match self.materialize {
                Some(copies) => {
                    examples = train.save_materialized(dir, "train", copies, self.seed)?;
                }
                None => train.save(dir, "train")?,
            }
            if test.num_examples() > 0 {
                test.save(dir, "test")?;
            }
            Ok(())
        })?;
        spinner.finish_and_clear();
        let built = Built {
            out: &self.out,
            train: examples,
            test: test.num_examples(),
            dropped,
            tasks: None,
            leaks: Vec::new(),
        };
        report(&built, console)
    }
}

fn report(built: &Built<'_>, console: &Console) -> Result<Outcome> {
    if built.dropped > 0 {
        console.note(format_args!(
            "dropped {} test puzzles that equal a training puzzle under symmetry",
            built.dropped
        ));
    }
    let of_tasks = match built.tasks {
        Some(tasks) => format!(", of {tasks} tasks"),
        None => String::new(),
    };
    console.result(
        built,
        format_args!(
            "{}: {} examples to train, {} to test{of_tasks}",
            built.out.display(),
            built.train,
            built.test
        ),
    )?;
    Ok(Outcome::Done)
}

/// Tasks of one path.
struct Read<'a> {
    path: &'a Path,
    tasks: Vec<ArcTask>,
    /// The option for their solutions.
    solutions: &'static str,
}

fn build_arc(args: &ArcArgs, console: &Console) -> Result<Outcome> {
    check_folder(&args.out, args.force, MARK)?;
    let spinner = console.spinner("reading tasks");
    let inputs = read_inputs(args)?;
    let other = args
        .test
        .as_deref()
        .map(|path| read_arc(path, args.test_solutions.as_deref(), "--test-solutions"))
        .transpose()?;
    let tests = match &other {
        None => TestUse::Evaluate,
        Some(_) => TestUse::Train,
    };
    refuse_shared_names(&inputs.iter().chain(&other).collect::<Vec<_>>())?;
    let mut sources: Vec<ArcSource<'_>> = inputs
        .iter()
        .map(|Read { tasks, .. }| ArcSource { tasks, tests })
        .collect();
    sources.extend(other.iter().map(|Read { tasks, .. }| ArcSource {
        tasks,
        tests: TestUse::Evaluate,
    }));
    let settings = ArcSettings {
        augmentations: args.num_aug,
        seed: args.seed,
        style: match args.style {
            Style::Hrm => NameStyle::Hrm,
            Style::Trm => NameStyle::Trm,
        },
    };
    let sets = arc::build_sets(&sources, settings)?;
    if sets.train.num_examples() == 0 {
        let names: Vec<String> = (args.input.iter())
            .map(|path| path.display().to_string())
            .collect();
        bail!(
            "{}: expected at least one demonstration to train on, found none",
            names.join(", ")
        );
    }
    let mut leaks = Vec::new();
    if let Some(test) = &other {
        let named = |read: &Read<'_>| read.path.display().to_string();
        for input in &inputs {
            leaks.extend(arc::find_leaks(&[
                (&named(input), &input.tasks),
                (&named(test), &test.tasks),
            ]));
        }
    }
    let paths = (args.input.iter())
        .chain(&args.solutions)
        .chain(&args.test)
        .chain(&args.test_solutions);
    let provenance = Provenance {
        sources: paths.map(|path| source(path)).collect::<Result<_>>()?,
        command: command_line(),
        seed: Some(args.seed),
    };
    let train = sets.train.with_provenance(provenance.clone());
    let test = sets.test.with_provenance(provenance);
    write_folder(&args.out, args.force, MARK, |dir| {
        for (set, split) in [(&train, "train"), (&test, "test")] {
            match (set.num_examples(), args.materialize) {
                (0, _) => {}
                (_, true) => drop(set.save_materialized(dir, split, 0, args.seed)?),
                (_, false) => set.save(dir, split)?,
            }
        }
        if args.style == Style::Trm {
            let tests = arc::test_puzzles_json(sets.test_tasks);
            fs::write(dir.join(TEST_PUZZLES), tests)?;
        }
        Ok(())
    })?;
    spinner.finish_and_clear();
    for (read, ArcSource { tests, .. }) in inputs.iter().chain(&other).zip(&sources) {
        let untold = (read.tasks.iter().flat_map(|task| &task.test))
            .filter(|pair| pair.output.is_none())
            .count();
        let lack = match tests {
            TestUse::Train => "train nothing",
            TestUse::Evaluate => "can't be judged",
        };
        if untold > 0 {
            console.note(format_args!(
                "{untold} tests of {} have no solution and {lack}; {} gives Kaggle's",
                read.path.display(),
                read.solutions
            ));
        }
    }
    for leak in &leaks {
        console.note(format_args!("in both splits: {leak}"));
    }
    let tasks = inputs.iter().chain(&other).map(|read| read.tasks.len());
    let built = Built {
        out: &args.out,
        train: train.num_examples(),
        test: test.num_examples(),
        dropped: 0,
        tasks: Some(tasks.sum()),
        leaks,
    };
    report(&built, console)
}

/// Names of tasks that an error lists of two paths; the others are counted.
const NAMED: usize = 10;

/// Refuses tasks that two paths have under one name, as ARC-AGI-2's training set has tasks of ARC-AGI-1's evaluation set.
fn refuse_shared_names(read: &[&Read<'_>]) -> Result<()> {
    let names: Vec<BTreeSet<&str>> = read
        .iter()
        .map(|read| read.tasks.iter().map(|task| task.id.as_str()).collect())
        .collect();
    let mut found = Vec::new();
    for (second, of_second) in names.iter().enumerate() {
        for (first, of_first) in names[..second].iter().enumerate() {
            let shared: Vec<&str> = of_first.intersection(of_second).copied().collect();
            if shared.is_empty() {
                continue;
            }
            let rest = match shared.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            found.push(format!(
                "{} of {} also in {} ({}{rest})",
                shared.len(),
                read[first].path.display(),
                read[second].path.display(),
                shared[..shared.len().min(NAMED)].join(", ")
            ));
        }
    }
    if !found.is_empty() {
        bail!(
            "expected each task's name once, found {}; leave those tasks out of one of the two",
            found.join(", ")
        );
    }
    Ok(())
}

/// What `--input` names, with the solutions of those that are files of challenges, in their order; those of a single folder, too.
fn read_inputs(args: &ArcArgs) -> Result<Vec<Read<'_>>> {
    let mut solutions = args.solutions.iter();
    let is_single = args.input.len() == 1;
    let mut read = Vec::with_capacity(args.input.len());
    for path in &args.input {
        let own = match is_single || path.is_file() {
            true => solutions.next(),
            false => None,
        };
        read.push(read_arc(path, own.map(PathBuf::as_path), "--solutions")?);
    }
    if let Some(path) = solutions.next() {
        bail!(
            "--solutions {}: expected one for each file of challenges of --input, found more",
            path.display()
        );
    }
    Ok(read)
}

/// Tasks of a folder (of files and of such folders, as ConceptARC has them) or of Kaggle's challenges.
fn read_arc<'a>(
    path: &'a Path,
    solutions: Option<&Path>,
    option: &'static str,
) -> Result<Read<'a>> {
    let tasks = arc::read_tasks(path, solutions).map_err(|error| challenges_hint(error, option))?;
    if tasks.is_empty() {
        bail!(
            "{}: expected ARC tasks in JSON files, found none",
            path.display()
        );
    }
    Ok(Read {
        path,
        tasks,
        solutions: option,
    })
}

/// An error of ARC tasks, with the option for solutions where the file that is to be named may have some.
pub(super) fn challenges_hint(error: DataError, option: &str) -> anyhow::Error {
    match error {
        DataError::ArcChallenges { .. } => anyhow!("{error} (with {option} for its solutions)"),
        _ => error.into(),
    }
}

/// The command as it was typed, for the record.
fn command_line() -> String {
    std::env::args_os()
        .map(|part| {
            let part = part.to_string_lossy().into_owned();
            match part.contains(char::is_whitespace) {
                true => format!("'{part}'"),
                false => part,
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
