//! ARC tasks: to the model a task is its row of the puzzle table, and each augmentation of it another. Their answers, turned back, vote.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use hrm::data::Identifiers;
use hrm::data::arc::{ArcAugmentation, ArcTask, CELLS, Grid, PAD, Votes, crop, draw};
use hrm::prelude::*;
use serde::Serialize;

use super::{Args, Problems, conclusion, show_trace, still_read};
use crate::Outcome;
use crate::checkpoint::Loaded;
use crate::console::Console;
use crate::grid::Drawing;
#[cfg(feature = "draw")]
use crate::pictures::{Names, Pictures};
use crate::splits::load_split;
use crate::think::Think;

/// A puzzle that a test is asked as: a row of the puzzle table, and what was done to the task there.
type View = (u32, ArcAugmentation);

/// A test of a task.
struct Asked<'a> {
    task: &'a ArcTask,
    /// Which of its tests.
    test: usize,
    views: &'a [View],
}

/// What has come of a test so far.
struct Thought {
    votes: Votes,
    /// Views that are not answered yet.
    missing: usize,
    /// By the place of their view, and turned back.
    answers: BTreeMap<usize, Answer>,
    /// Why a view could not be asked.
    error: Option<String>,
}

/// A test with the model's answer.
#[derive(Serialize)]
#[serde(tag = "type", rename = "answer")]
struct Line<'a> {
    task: &'a str,
    /// Which test of the task, from 1.
    test: usize,
    question: &'a Grid,
    /// None where it is withheld, or where the model draws no grid.
    answer: Option<Grid>,
    /// What has the next most votes: Kaggle allows two answers.
    second: Option<Grid>,
    verdict: Verdict,
    segments: u32,
    confidence: f32,
    attempts: usize,
    votes: u32,
    total_segments: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<Option<Grid>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace_q_halt: Vec<f32>,
    #[cfg(feature = "draw")]
    #[serde(flatten)]
    pictures: Names,
}

/// Answers the tests of tasks.
pub(super) fn run(
    args: &Args,
    loaded: &Loaded,
    tasks: &[ArcTask],
    source: String,
    console: &Console,
) -> Result<Outcome> {
    if tasks.iter().all(|task| task.test.is_empty()) {
        bail!("{source}: expected at least one test of an ARC task, found none");
    }
    let views = views(args, loaded, tasks, console)?;
    let mut problems = Problems::new(source, console);
    let mut asked = Vec::new();
    for task in tasks {
        match views.get(task.id.as_str()) {
            Some(views) => asked.extend((0..task.test.len()).map(|test| Asked { task, test, views })),
            None => problems.tell(
                None,
                &format!(
                    "task {}: expected a task that the model was trained on, found none of this name in the data",
                    task.id
                ),
            )?,
        }
    }
    problems.tell_rest();
    #[cfg(feature = "draw")]
    let pictures = Pictures::new(
        [args.png.as_deref(), args.gif.as_deref()],
        args.frame,
        args.force,
        loaded.task,
        &(0..asked.len()).collect::<Vec<_>>(),
        asked.len(),
    )?;
    #[cfg(feature = "draw")]
    let drawn = pictures.wanted();
    #[cfg(not(feature = "draw"))]
    let drawn = false;
    // The views are asked for here, each as a puzzle of its own.
    let think = Think {
        views: 1,
        ..args.think.clone()
    };
    let reasoner = think.reasoner(loaded, HaltRule::QHalt, args.trace || drawn)?;
    let order: Vec<(usize, usize)> = (asked.iter().enumerate())
        .flat_map(|(at, asked)| (0..asked.views.len()).map(move |view| (at, view)))
        .collect();
    let puzzles = order.iter().map(|&(at, view)| asked[at].puzzle(view));
    let bar = console.bar(order.len() as u64, "puzzles");
    let mut thoughts: BTreeMap<usize, Thought> = BTreeMap::new();
    let (mut next, mut is_refused, mut is_read) = (0, false, true);
    for answer in reasoner.solve(puzzles) {
        let index = match &answer {
            Ok(answer) => Some(answer.index),
            Err(error) => error.index(),
        };
        let Some(&(at, view)) = index.and_then(|index| order.get(index)) else {
            answer?;
            continue;
        };
        bar.inc(1);
        let thought = thoughts.entry(at).or_insert_with(|| asked[at].thought());
        thought.missing -= 1;
        match answer {
            Ok(answer) => asked[at].take(thought, view, answer)?,
            Err(error) => thought.error = Some(error.to_string()),
        }
        while thoughts
            .get(&next)
            .is_some_and(|thought| thought.missing == 0)
        {
            let Some(thought) = thoughts.remove(&next) else {
                break;
            };
            let asked = &asked[next];
            next += 1;
            if let Some(error) = &thought.error {
                let name = &asked.task.id;
                let error = format!("task {name}, test {}: {error}", asked.test + 1);
                let told = problems.tell(None, &error);
                is_read = still_read(told, drawn)? && is_read;
                continue;
            }
            #[cfg(feature = "draw")]
            if let Some(answer) = thought.answers.values().next() {
                pictures.draw(next - 1, &asked.question(), answer)?;
            }
            let answered = asked.answered(args, &thought);
            is_refused |= answered.answer.is_none();
            if is_read {
                #[cfg(feature = "draw")]
                let answered = Line {
                    pictures: pictures.names(next - 1),
                    ..answered
                };
                let shown = bar.suspend(|| asked.show(&answered, &thought, args, console));
                is_read = still_read(shown, drawn)?;
            }
        }
    }
    bar.finish_and_clear();
    problems.tell_rest();
    Ok(problems.outcome(is_refused))
}

/// Under which rows of the puzzle table each of the tasks is asked: its own, and those of its augmentations after it.
fn views<'a>(
    args: &Args,
    loaded: &Loaded,
    tasks: &'a [ArcTask],
    console: &Console,
) -> Result<BTreeMap<&'a str, Vec<View>>> {
    let wanted = args.think.views.max(1) as usize;
    let names = tasks.iter().map(|task| task.id.as_str());
    if let Some(id) = args.puzzle_id {
        if wanted > 1 {
            bail!(
                "--views: expected --data in place of --puzzle-id, which is one row of the puzzle table"
            );
        }
        return Ok(names
            .map(|name| (name, vec![(id, ArcAugmentation::IDENTITY)]))
            .collect());
    }
    let Some(data) = &args.data else {
        bail!(
            "expected --data DIR, the set that the model was trained on, or --puzzle-id ID: a model knows an ARC task by its row of the puzzle table"
        );
    };
    let set = load_split(data, "train")?;
    for loaded in loaded.all() {
        loaded.warn_of_ids((&set, "train"), data, console);
    }
    let rows = loaded
        .all()
        .map(|loaded| loaded.model.config().num_puzzle_ids);
    let rows = rows.min().unwrap_or_default();
    let names_of_ids = set.identifiers().filter(|names| names.len() <= rows);
    let names_of_ids = names_of_ids.with_context(|| {
        format!(
            "{}: expected the names of at most {rows} puzzle ids, as many as the puzzle table has rows; found {}",
            data.display(),
            set.identifiers().map_or(0, Identifiers::len)
        )
    })?;
    let mut views: BTreeMap<&str, Vec<View>> = BTreeMap::new();
    let asked: BTreeMap<&str, &str> = names.map(|name| (name, name)).collect();
    for id in 1..names_of_ids.len() as u32 {
        let Some((task, augmentation)) = names_of_ids.arc_puzzle(id) else {
            continue;
        };
        if let Some(name) = asked.get(task) {
            views.entry(name).or_default().push((id, augmentation));
        }
    }
    for views in views.values_mut() {
        views.sort_by_key(|(_, augmentation)| *augmentation != ArcAugmentation::IDENTITY);
        views.truncate(wanted);
    }
    Ok(views)
}

/// A grid at (0, 0) of the canvas.
fn canvas(grid: &Grid) -> Vec<u8> {
    let mut tokens = vec![PAD; CELLS];
    draw(grid, (0, 0), PAD, &mut tokens);
    tokens
}

impl Asked<'_> {
    fn input(&self) -> &Grid {
        &self.task.test[self.test].input
    }

    fn question(&self) -> Vec<u8> {
        canvas(self.input())
    }

    fn puzzle(&self, view: usize) -> Puzzle {
        let (puzzle_id, augmentation) = self.views[view];
        Puzzle {
            inputs: canvas(&augmentation.apply(self.input())),
            puzzle_id,
        }
    }

    fn thought(&self) -> Thought {
        let task = ArcTask {
            id: self.task.id.clone(),
            train: Vec::new(),
            test: vec![self.task.test[self.test].clone()],
        };
        Thought {
            votes: Votes::new(&[task]),
            missing: self.views.len(),
            answers: BTreeMap::new(),
            error: None,
        }
    }

    /// Counts an answer, and keeps it, turned back.
    fn take(&self, thought: &mut Thought, view: usize, mut answer: Answer) -> Result<()> {
        let (_, augmentation) = &self.views[view];
        let inputs = self.puzzle(view).inputs;
        let q_halt = answer.q_halt;
        (thought.votes).cast_augmented(
            &self.task.id,
            augmentation,
            &inputs,
            &answer.tokens,
            q_halt,
        )?;
        // One is shown, of the others what they have answered.
        if view > 0 {
            answer.trace.clear();
        }
        if *augmentation != ArcAugmentation::IDENTITY {
            let inverse = augmentation.inverse();
            for tokens in answer.trace.iter_mut().chain([&mut answer.tokens]) {
                *tokens = match crop(tokens) {
                    Some(grid) => canvas(&inverse.apply(&grid)),
                    None => vec![PAD; CELLS],
                };
            }
        }
        thought.answers.insert(view, answer);
        Ok(())
    }

    /// What the votes come to.
    fn answered(&self, args: &Args, thought: &Thought) -> Line<'_> {
        let mut ranked = thought.votes.ranked(&self.task.id, 0).into_iter();
        let best = ranked.next();
        let gave = |grid: &Grid| {
            let mut answers = thought.answers.values();
            answers.find(|answer| crop(&answer.tokens).as_ref() == Some(grid))
        };
        let shown = thought.answers.values().next();
        let answer = best.as_ref().and_then(|best| gave(&best.grid)).or(shown);
        let (confidence, verdict) = match &best {
            Some(best) => {
                let confidence = best.confidence as f32;
                let verdict = Verdict::of(None, confidence, args.think.min_confidence);
                (confidence, verdict)
            }
            None => {
                let confidence = answer.map_or(0.0, |answer| answer.confidence);
                (confidence, Verdict::Abstained)
            }
        };
        let shown = shown.filter(|_| args.trace);
        Line {
            task: &self.task.id,
            test: self.test + 1,
            question: self.input(),
            verdict,
            segments: answer.map_or(0, |answer| answer.segments),
            confidence,
            attempts: thought.answers.len(),
            votes: best.as_ref().map_or(0, |best| best.votes),
            total_segments: (thought.answers.values())
                .map(|answer| answer.total_segments)
                .sum(),
            answer: best.map(|best| best.grid).filter(|_| verdict.is_given()),
            second: ranked
                .next()
                .map(|next| next.grid)
                .filter(|_| verdict.is_given()),
            trace: shown.map_or(Vec::new(), |shown| {
                shown.trace.iter().map(|tokens| crop(tokens)).collect()
            }),
            trace_q_halt: shown.map_or(Vec::new(), |shown| shown.trace_q_halt.clone()),
            #[cfg(feature = "draw")]
            pictures: Names::default(),
        }
    }

    fn show(&self, line: &Line, thought: &Thought, args: &Args, console: &Console) -> Result<()> {
        if console.is_json() {
            return Ok(console.object(line)?);
        }
        let drawing = Drawing::new(Task::Arc, CELLS);
        let question = self.question();
        let mut text = format!("task {}, test {}: ", line.task, line.test);
        let shown = thought.answers.values().next().filter(|_| args.trace);
        if let Some(answer) = shown {
            show_trace(&question, &answer.trace, &drawing, console)?;
        }
        match &line.answer {
            None if line.votes == 0 => text += "no grid in the answer, ",
            // The end of the trace.
            Some(_) if shown.is_some() && line.attempts == 1 => {}
            Some(grid) => console.text(drawing.answer(&question, &canvas(grid), None))?,
            None => {}
        }
        text += &conclusion(line.verdict, line.segments, line.confidence);
        if line.attempts > 1 {
            text += &format!(
                ", {} of {} puzzles of the task agree, {} segments in all",
                line.votes, line.attempts, line.total_segments
            );
        }
        console.text(format_args!("{text}\n"))?;
        Ok(())
    }
}
