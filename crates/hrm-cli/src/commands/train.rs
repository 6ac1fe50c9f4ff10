//! `hrm train`.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args as Arguments, ValueEnum};
use hrm::core::PuzzleIds;
use hrm::device::{self, DeviceError};
use hrm::prelude::*;
use hrm::train::{
    Best, Changes, Fault, Freeze, Outcome as RunOutcome, Remedy, RunEvent, TrainError,
    best_weights, check_held_out, latest_checkpoint,
};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::Setting;
use crate::checkpoint::has_other_ids;
use crate::console::Console;
use crate::files::{check_free, check_over_run};
use crate::watch::Watch;

#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm train --preset trm-small --data sudoku6 --out run --steps 2000 --seed 1
  hrm train --preset hrm-sudoku-1k --data 1k --out run --device cuda:0 --set accumulate=8
  hrm train --resume run --steps 4000
  hrm train --resume run --set optimizer.lr=1e-5 --allow-change optimizer.lr
  hrm train --init run --freeze levels --puzzle-table grow --data others --out tuned --steps 500

A recipe of the papers counts epochs: its steps follow from the batch and the data as they are after --set.

A run is a folder: config.json, metrics.jsonl, checkpoints/. Ctrl-C ends it after the step at hand with a checkpoint, an evaluation too; \
a second Ctrl-C ends at once.

`hrm presets` lists the recipes, `hrm presets NAME --data DIR` all keys that --set takes.")]
pub(crate) struct Args {
    /// Recipe to start from.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present_any = ["resume", "init"],
        conflicts_with = "resume"
    )]
    preset: Option<String>,
    /// Run or checkpoint whose weights the training starts from (the averaged ones where there are any); without --preset by
    /// its recipe too.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// What becomes of the puzzle table of --init for the ids of the data.
    #[arg(long, value_enum, default_value = "keep", requires = "init")]
    puzzle_table: TableChange,
    /// Weights that stay as they are.
    #[arg(long, value_enum, conflicts_with = "resume")]
    freeze: Option<Frozen>,
    /// Data folder; its split `train` is trained on. Of a resumed run: where the folder is now.
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder of the run.
    #[arg(
        long,
        value_name = "RUN",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    out: Option<PathBuf>,
    /// Goes on with a run from its last checkpoint.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Optimizer steps of the whole run.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Epochs of the whole run, in place of steps.
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Seed of weights, sampling, augmentation and exploration.
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// What computes: flex, cuda:0, metal, vulkan, wgpu, rocm; cuda:0,cuda:1 share the slots of a batch. HRM_DEVICE where it is not
    /// given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Sets a field of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// Lets a field of a resumed run differ from what it was; `optimizer` allows all below it.
    #[arg(
        long = "allow-change",
        value_name = "KEY",
        requires = "resume",
        conflicts_with_all = ["preset", "init"]
    )]
    allowed: Vec<String>,
    /// Steps between two checkpoints.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    checkpoint_every: Option<u64>,
    /// Steps between two evaluations, on the split `test` or a share of the training data (`--set eval_hold_out=0.1`).
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    eval_every: Option<u64>,
    /// Writes over a run that is there, or a start that was cut off; files that no run has written stay.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    #[command(flatten)]
    watch: Watch,
}

impl Args {
    /// Whether a field is set by its name.
    fn sets(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key)
    }

    /// Whether it says how long to train.
    fn has_length(&self) -> bool {
        self.steps.is_some() || self.epochs.is_some() || self.sets("steps")
    }

    /// Sets the fields that are set by name.
    fn change(&self, config: &mut TrainConfig) -> Result<()> {
        let options = [
            ("--steps", self.steps.is_some(), "steps"),
            ("--epochs", self.epochs.is_some(), "steps"),
            ("--seed", self.seed.is_some(), "seed"),
            ("--freeze", self.freeze.is_some(), "freeze"),
            (
                "--checkpoint-every",
                self.checkpoint_every.is_some(),
                "checkpoint_every",
            ),
            ("--eval-every", self.eval_every.is_some(), "eval_every"),
        ];
        for (option, is_given, key) in options {
            if is_given && self.sets(key) {
                bail!("{option} and --set {key}: expected one of them");
            }
        }
        for Setting { key, value } in &self.settings {
            config.set(key, value)?;
        }
        Ok(())
    }
}

/// What becomes of a puzzle table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableChange {
    /// All rows stay
    Keep,
    /// The rows of the data's ids stay
    Cut,
    /// The mean row is added until there is one for each id
    Grow,
    /// A row of zeros for each id
    Reset,
}

/// What `--freeze` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Frozen {
    /// No weights: of --init, whose recipe may freeze some
    Nothing,
    /// All weights but the puzzle table
    AllButPuzzles,
    /// The slow level
    HLevel,
    /// The fast level
    LLevel,
    /// Both levels, or the shared one
    Levels,
}

/// Metrics of the steps since the last such line.
#[derive(Serialize)]
#[serde(tag = "type", rename = "step")]
struct Step {
    step: u64,
    epoch: f64,
    lr: f64,
    loss: f64,
    token_loss: f64,
    // None where no slot has halted since.
    cell_accuracy: Option<f64>,
    exact_accuracy: Option<f64>,
    q_halt_accuracy: Option<f64>,
    mean_segments: Option<f64>,
}

impl Step {
    fn new(report: &StepReport, metrics: &Metrics) -> Self {
        Self {
            step: report.step,
            epoch: report.epoch,
            lr: report.lr,
            loss: metrics.loss(),
            token_loss: metrics.token_loss(),
            cell_accuracy: metrics.cell_accuracy(),
            exact_accuracy: metrics.exact_accuracy(),
            q_halt_accuracy: metrics.q_halt_accuracy(),
            mean_segments: metrics.mean_segments(),
        }
    }

    /// The values that there are, by their tags.
    fn values(&self) -> Vec<(&'static str, f64)> {
        let values = [
            ("train/loss", Some(self.loss)),
            ("train/token_loss", Some(self.token_loss)),
            ("train/cell_accuracy", self.cell_accuracy),
            ("train/exact_accuracy", self.exact_accuracy),
            ("train/q_halt_accuracy", self.q_halt_accuracy),
            ("train/mean_segments", self.mean_segments),
            ("train/lr", Some(self.lr)),
            ("train/epoch", Some(self.epoch)),
        ];
        let there = |(tag, value): (_, Option<f64>)| Some((tag, value?));
        values.into_iter().filter_map(there).collect()
    }
}

/// An evaluation on the held-out puzzles.
#[derive(Serialize)]
#[serde(tag = "type", rename = "evaluation")]
struct Evaluated<'a> {
    step: u64,
    best: bool,
    #[serde(flatten)]
    found: &'a Evaluation,
}

impl Evaluated<'_> {
    fn values(&self) -> [(&'static str, f64); 3] {
        [
            ("test/cell_accuracy", self.found.cell_accuracy),
            ("test/exact_accuracy", self.found.exact_accuracy),
            ("test/q_halt_accuracy", self.found.q_halt_accuracy),
        ]
    }

    fn describe(&self) -> String {
        let Evaluation {
            puzzles,
            exact,
            exact_accuracy,
            exact_interval: (low, high),
            cell_accuracy,
            ..
        } = self.found;
        format!(
            "step {}: {exact} of {puzzles} held-out puzzles solved: {:.1}% (95% interval {:.1} to {:.1}), {:.1}% of cells{}",
            self.step,
            100.0 * exact_accuracy,
            100.0 * low,
            100.0 * high,
            100.0 * cell_accuracy,
            if self.best { ", the best" } else { "" },
        )
    }
}

/// A fault from which the run went back to a checkpoint.
#[derive(Serialize)]
#[serde(tag = "type", rename = "fault")]
struct FaultLine<'a> {
    step: u64,
    #[serde(flatten)]
    fault: &'a Fault,
}

impl FaultLine<'_> {
    fn describe(&self) -> String {
        let Fault {
            found,
            reason,
            remedy,
            rate,
        } = self.fault;
        let remedy = match remedy {
            Some(Remedy::LowerRate) => format!("learning rates are {rate} of the plan"),
            Some(Remedy::SkipBatch) => "the batches since the last good report are skipped, or all since then where that has not helped".to_owned(),
            None => return format!("step {found}: {reason}; gave up"),
        };
        format!(
            "step {found}: {reason}; back to step {}, {remedy}",
            self.step
        )
    }
}

/// How the training ended.
#[derive(Serialize)]
#[serde(tag = "type", rename = "trained")]
struct Trained<'a> {
    #[serde(serialize_with = "crate::console::lossy")]
    run: &'a Path,
    finished: bool,
    stopped_early: bool,
    step: u64,
    steps: u64,
    /// The best evaluation, of a run that evaluates.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<Best>,
    parameters: usize,
    seconds: f64,
    #[serde(serialize_with = "crate::console::lossy_if_any")]
    checkpoint: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    let devices = device::choose_several(args.device.as_deref())?;
    args.watch.check(console)?;
    let run = match (&args.resume, &args.data, &args.out) {
        (Some(dir), ..) => resume(dir, args, &devices)?,
        (None, Some(data), Some(out)) => start(data, out, args, &devices, console)?,
        // clap requires them.
        _ => bail!("expected --preset, --data and --out, or --resume"),
    };
    train(run, &args.watch, console)
}

/// Whether a length is but the least there is, as in a run that was imported by a recipe that counts epochs of data unknown then.
fn is_unplanned(config: &TrainConfig) -> bool {
    config.steps == 1
}

/// Refuses a configuration that makes no run, and devices that can't do their share of the training.
/// `set` is how another compute type is asked for.
fn check_config(devices: &[Device], config: &TrainConfig, set: &str) -> Result<()> {
    config.validate()?;
    for device in devices {
        device::check_training(device, config, devices.len()).map_err(|error| match error {
            error @ DeviceError::Compute { .. } => anyhow!(error).context(set.to_owned()),
            error => error.into(),
        })?;
    }
    Ok(())
}

fn start(
    data: &Path,
    out: &Path,
    args: &Args,
    devices: &[Device],
    console: &Console,
) -> Result<Run> {
    let [device, others @ ..] = devices else {
        bail!("no device was named");
    };
    let preset = args.preset.as_deref().map(Preset::by_name).transpose()?;
    check_free(out, args.force)?;
    if out.is_file() {
        bail!("{} is a file; expected the name of a folder", out.display());
    }
    if args.force {
        check_over_run(out)?;
    }
    let set = PuzzleSet::load(data, "train")?;
    let weights = match &args.init {
        Some(path) => Some(weights(path, args.puzzle_table, &set, device, console)?),
        None => None,
    };
    let mut config = match (preset, &weights) {
        (Some(preset), _) => {
            preset.check(&set)?;
            preset.config(&set)
        }
        (None, Some((_, config))) => config.clone(),
        // clap requires it.
        (None, None) => bail!("expected --preset or --init"),
    };
    if let Some((model, _)) = &weights {
        if let Some(preset) = preset {
            preset
                .check_model(model.config())
                .with_context(|| format!("--init with --preset {}", preset.name))?;
        }
        let of_model = model.config().clone();
        config.model = match preset {
            // How it is computed is the recipe's.
            Some(_) => HrmConfig {
                compute: config.model.compute,
                gradient: config.model.gradient,
                ..of_model
            },
            None => of_model,
        };
    }
    if let Some(freeze) = args.freeze {
        config.freeze = match freeze {
            Frozen::Nothing => Freeze::Nothing,
            Frozen::AllButPuzzles => Freeze::AllButPuzzles,
            Frozen::HLevel => Freeze::HLevel,
            Frozen::LLevel => Freeze::LLevel,
            Frozen::Levels => Freeze::Levels,
        };
    }
    if let Some(steps) = args.steps {
        config.steps = steps;
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    if let Some(every) = args.checkpoint_every {
        config.checkpoint_every = every;
    }
    if args.eval_every.is_some() {
        config.eval_every = args.eval_every;
    }
    args.change(&mut config)?;
    let chosen = args.sets("model.compute") || args.sets("model");
    if config.model.compute != ComputeType::F32 && !chosen {
        // The recipe's type is that of a GPU that has it.
        config.model.compute = device::best_compute(device);
        if config.model.compute == ComputeType::F32 {
            console.note("computing in f32, the device's best type (--set model.compute=bf16 asks for bf16 all the same)");
        }
    }
    check_config(devices, &config, "--set model.compute=TYPE")?;
    for (key, is_set) in [
        ("eval_hold_out", config.eval_hold_out.is_some()),
        ("eval_patience", config.eval_patience.is_some()),
    ] {
        if is_set && config.eval_every.is_none() {
            bail!("{key}: expected --eval-every too, for without it nothing is evaluated");
        }
    }
    let without = match (preset, config.eval_patience) {
        (Some(_), _) => "",
        (None, None) => {
            "; without evaluations, which --init has from the other run: --set eval_every=null"
        }
        (None, Some(_)) => {
            "; without evaluations, which --init has from the other run: --set eval_every=null --set eval_patience=null"
        }
    };
    let (set, held_out) = part(&config, set, data, || {
        format!("--set eval_hold_out=0.1 holds a share of the training data out{without}")
    })?;
    let has_steps = args.steps.is_some() || args.sets("steps");
    if preset.is_none() && is_unplanned(&config) && !args.has_length() {
        bail!(
            "--init: the checkpoint says nothing of a length; expected --steps, --epochs or --preset"
        );
    }
    let of_preset = preset.and_then(|preset| preset.epochs());
    if let Some(epochs) = args.epochs.or(of_preset.filter(|_| !has_steps)) {
        config.set_epochs(epochs, &set).context("--epochs")?;
    }
    let whole = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
    };
    let mut file = RunFile::new(whole(data)?, config);
    file.preset = preset.map(|preset| preset.name.to_owned());
    // A path need not be UTF-8.
    let initial = args.init.as_deref().map(whole).transpose()?;
    file.initial = initial.map(|path| path.to_string_lossy().into_owned().into());
    let config = file.config.clone();
    let mut trainer = match weights {
        Some((model, _)) => {
            let HrmConfig {
                h_cycles, l_cycles, ..
            } = config.model;
            let model = model
                .with_compute(config.model.compute)
                .with_gradient(config.model.gradient)
                .with_cycles(h_cycles, l_cycles)
                .context("--set model")?;
            Trainer::with_model(config, model, Arc::new(set), device)?
        }
        None => Trainer::new(config, Arc::new(set), device)?,
    };
    trainer.data_parallel(others)?;
    let mut run = match args.force {
        true => Run::start_over(out, &file, trainer)?,
        false => Run::start(out, &file, trainer)?,
    };
    if let Some(held_out) = held_out {
        run.hold_out(Arc::new(held_out))?;
    }
    Ok(run)
}

/// The puzzles to train on and those to evaluate on, where the configuration asks for any. `remedy` says what to do where the data
/// have none for it.
fn part(
    config: &TrainConfig,
    set: PuzzleSet,
    data: &Path,
    remedy: impl Fn() -> String,
) -> Result<(PuzzleSet, Option<PuzzleSet>)> {
    match (config.eval_hold_out, config.eval_every) {
        // The same puzzles for every seed of the run, so that runs can be compared.
        (Some(share), _) => {
            let (set, held_out) = set.hold_out(share, 0)?;
            let ids = |set: &PuzzleSet| -> HashSet<u32> {
                (0..set.num_examples())
                    .map(|index| set.example(index).puzzle_id)
                    .collect()
            };
            let has_table = config.model.puzzle_embedding.is_some();
            if has_table && set.info().num_puzzle_ids > 1 && ids(&set).is_disjoint(&ids(&held_out))
            {
                bail!(
                    "eval_hold_out: no puzzle id of the puzzles held out is trained, and the model knows nothing of the others; expected a split \
                     `test`, and --eval-every alone"
                );
            }
            check_held_out(config, &held_out)?;
            Ok((set, Some(held_out)))
        }
        (None, None) => Ok((set, None)),
        (None, Some(_)) => {
            let test = PuzzleSet::load(data, "test").with_context(|| {
                let data = data.display();
                format!("eval_every: {data} has no split `test`; {}", remedy())
            })?;
            check_held_out(config, &test)?;
            Ok((set, Some(test)))
        }
    }
}

/// The weights to start from, with a puzzle table for the ids of the data, and the configuration they were trained by.
fn weights(
    path: &Path,
    table: TableChange,
    set: &PuzzleSet,
    device: &Device,
    console: &Console,
) -> Result<(Hrm, TrainConfig)> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.info().config.clone();
    if table != TableChange::Reset && has_other_ids(checkpoint.info(), set) {
        console.note(format_args!(
            "warning: {} was trained on other data: the rows of its puzzle table may be those of other puzzles (--puzzle-table reset begins anew)",
            path.display()
        ));
    }
    let model = checkpoint.model(WeightKind::Ema, device)?;
    let ids = set.info().num_puzzle_ids;
    let change = match table {
        TableChange::Keep => PuzzleIds::Keep,
        TableChange::Cut => PuzzleIds::Cut(ids),
        TableChange::Grow => PuzzleIds::Grow(ids),
        TableChange::Reset => PuzzleIds::Reset(ids),
    };
    let model = match (table, &model.config().puzzle_embedding) {
        // There is none.
        (TableChange::Keep, None) => model,
        _ => model.with_puzzle_ids(change).context("--puzzle-table")?,
    };
    let known = model.config().num_puzzle_ids;
    if model.config().puzzle_embedding.is_some() && known < ids {
        bail!(
            "{}: its puzzle table has {known} rows, the data have {ids} ids; expected --puzzle-table grow or reset",
            path.display()
        );
    }
    Ok((model, config))
}

fn resume(dir: &Path, args: &Args, devices: &[Device]) -> Result<Run> {
    let [device, others @ ..] = devices else {
        bail!("no device was named");
    };
    let file = RunFile::read(dir)?;
    let mut config = file.config.clone();
    args.change(&mut config)?;
    let set = "--set model.compute=TYPE --allow-change model.compute";
    check_config(devices, &config, set)?;
    let load = |data| PuzzleSet::load(data, "train");
    let (data, set) = match &args.data {
        Some(data) => (data, load(data)?),
        // An imported run has seen none.
        None if file.data.as_os_str().is_empty() => bail!(
            "{} names no data; say with --data what it is to be trained on",
            dir.display()
        ),
        None => {
            let missing = || {
                format!(
                    "the data of the run are missing; say with --data where {} is now",
                    file.data.display()
                )
            };
            (&file.data, load(&file.data).with_context(missing)?)
        }
    };
    let (set, held_out) = part(&config, set, data, || {
        "--data says where the data of the run are now; without evaluations: --set eval_every=null --allow-change eval_every"
            .to_owned()
    })?;
    let mut epochs = args.epochs;
    if file.data.as_os_str().is_empty() && is_unplanned(&config) && !args.has_length() {
        epochs = file
            .preset
            .as_deref()
            .and_then(|name| Preset::by_name(name).ok()?.epochs());
        if epochs.is_none() {
            bail!(
                "{} was imported and says nothing of a length; expected --steps or --epochs",
                dir.display()
            );
        }
    }
    let steps = match epochs {
        None => args.steps,
        Some(epochs) => {
            config.set_epochs(epochs, &set).context("--epochs")?;
            Some(config.steps)
        }
    };
    let changes = Changes {
        steps,
        settings: args
            .settings
            .iter()
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect(),
        allowed: args.allowed.clone(),
        data: args.data.as_ref().map(std::path::absolute).transpose()?,
    };
    let mut run =
        Run::resume_with(dir, Arc::new(set), &changes, device).map_err(|error| match error {
            error @ TrainError::TooFewSteps { .. } => {
                let option = args.epochs.map_or("--steps", |_| "--epochs");
                anyhow!(error).context(option)
            }
            error @ TrainError::ConfigChanged { .. } => {
                anyhow!("{error} with --allow-change KEY")
            }
            error => error.into(),
        })?;
    run.data_parallel(others)?;
    if let Some(held_out) = held_out {
        run.hold_out(Arc::new(held_out))?;
    }
    Ok(run)
}

fn train(mut run: Run, watch: &Watch, console: &Console) -> Result<Outcome> {
    let stop = stop_on_interrupt()?;
    let start = Instant::now();
    let config = run.trainer().config().clone();
    let parameters = config.model.num_parameters();
    let first = run.trainer().state().step;
    let set = run.trainer().sampler().set();
    let epochs = config.epochs(set);
    let steps = match first < config.steps {
        true => format!("steps {} to {}", first + 1, config.steps),
        false => format!("all {} steps made already", config.steps),
    };
    console.note(format_args!(
        "{} parameters, {} puzzles, {} slots, {steps}, {epochs:.*} epochs in all",
        parameters,
        set.num_puzzles(),
        config.batch_size,
        usize::from(epochs < 100.0),
    ));
    if first > 0 && run.trainer().state().carry.is_none() {
        console.note(
            "from a compact checkpoint: the slots start anew, moments and averages were rounded",
        );
    }
    if config.freeze != Freeze::Nothing {
        let frozen = serde_json::to_string(&config.freeze)?;
        console.note(format_args!(
            "some weights are not trained: freeze = {} (--freeze nothing of a new run trains all)",
            frozen.trim_matches('"')
        ));
    }
    let rate = run.trainer().state().progress.rate();
    if rate < 1.0 {
        console.note(format_args!(
            "learning rates are {rate} of what the configuration says, lowered after faults"
        ));
    }
    let mut watchers = watch.open(&run, console)?;
    let (mut said, mut unwritten) = (Ok(()), false);
    // What the last report says, and its step while no line has told it.
    let (mut beside, mut untold) = (String::new(), None);
    let trained = run.train_with(|event| {
        let heard = match event {
            RunEvent::Step(report) => {
                watchers.step(report.step);
                let told = report.metrics.as_ref().map_or(Ok(()), |metrics| {
                    let step = Step::new(report, metrics);
                    beside = summary(&step);
                    watchers.say(beside.clone());
                    untold = Some(step.step);
                    watchers.scalars(step.step, &step.values())?;
                    console.event(&step)
                });
                let at_checkpoint = report.step.is_multiple_of(config.checkpoint_every)
                    || report.step == config.steps;
                if at_checkpoint
                    && !console.shows_progress()
                    && let Some(step) = untold.take()
                {
                    watchers.note(format_args!("step {step}: {beside}"));
                }
                told
            }
            RunEvent::Evaluating { done, puzzles, .. } => {
                watchers.say(format!("evaluated on {done} of {puzzles} held-out puzzles"));
                Ok(())
            }
            RunEvent::Evaluation { step, found, best } => {
                watchers.say(beside.clone());
                let line = Evaluated { step, best, found };
                watchers.note(line.describe());
                watchers
                    .scalars(step, &line.values())
                    .and_then(|()| console.event(&line))
            }
            RunEvent::Fault { step, fault } => {
                let line = FaultLine { step, fault };
                let moved = match fault.remedy {
                    Some(_) => {
                        watchers.problem(line.describe());
                        watchers.back_to(step)
                    }
                    // The error that ends the training says the rest.
                    None => Ok(()),
                };
                moved.and_then(|()| console.event(&line))
            }
            RunEvent::Unwritten { step, reason } => {
                unwritten = true;
                watchers.problem(format_args!("step {step}: {reason}; it is not written"));
                Ok(())
            }
            _ => Ok(()),
        };
        if said.is_ok() {
            said = heard;
        }
        said.is_ok() && !stop.load(Ordering::Relaxed) && !watchers.wants_to_stop()
    });
    watchers.close();
    let (outcome, failure) = match trained {
        Err(error @ (TrainError::Diverged { .. } | TrainError::GaveUp { .. })) => {
            (None, Some(error))
        }
        trained => (Some(trained?), None),
    };
    let finished = outcome.is_some_and(|outcome| outcome != RunOutcome::Interrupted);
    let stopped_early = outcome == Some(RunOutcome::StoppedEarly);
    let best = run.trainer().state().progress.best;
    let step = run.trainer().state().step;
    let checkpoint = latest_checkpoint(run.dir())?;
    let dir = run.dir().display();
    let again = resume_line(run.dir());
    let seconds = start.elapsed().as_secs_f64();
    let line = Trained {
        run: run.dir(),
        finished,
        stopped_early,
        best,
        step,
        steps: config.steps,
        parameters,
        seconds,
        checkpoint,
    };
    if let Some(error) = failure {
        console.error(&error.into());
        console.note(format_args!(
            "the last checkpoint is whole; go on otherwise, for instance with: {again} --set optimizer.lr={:.1e} --allow-change optimizer.lr",
            config.optimizer.lr / 10.0
        ));
        console.event(&line)?;
        return Ok(Outcome::Negative);
    }
    said?;
    let text = match finished {
        _ if stopped_early => {
            let patience = config.eval_patience.unwrap_or_default();
            let more = match step == first {
                true => "; to go on: --set eval_patience=null --allow-change eval_patience",
                false => "",
            };
            format!(
                "{dir}: no better for {patience} evaluations, stopped after step {step} of {}, {seconds:.1} s{more}",
                config.steps
            )
        }
        true if step == first => format!("{dir}: {step} steps; --steps asks for more"),
        true => format!(
            "{dir}: {step} steps, {:.1} s for the last {}",
            seconds,
            step - first
        ),
        false => format!(
            "{dir}: stopped after step {step} of {}, {seconds:.1} s",
            config.steps
        ),
    };
    let text = match best {
        None => text,
        Some(best) => {
            let path = best_weights(run.dir());
            let lost = match path.is_file() {
                true => "",
                false => ", which is no longer there",
            };
            format!(
                "{text}\nbest after step {}: {} of {} held-out puzzles solved, {}{lost}",
                best.step,
                best.exact,
                best.puzzles,
                path.display()
            )
        }
    };
    console.outcome(&line, text)?;
    if finished {
        Ok(Outcome::Done)
    } else {
        let kept = match unwritten {
            true => "the last checkpoint is whole",
            false => "a checkpoint is written",
        };
        console.note(format_args!("{kept}; go on with: {again}"));
        Ok(Outcome::Negative)
    }
}

/// What a shell takes to go on with a run.
pub(super) fn resume_line(run: &Path) -> String {
    let dir = run.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\:._-+,=@%".contains(c);
    match dir.chars().all(is_plain) {
        true => format!("hrm train --resume {dir}"),
        false => format!("hrm train --resume '{}'", dir.replace('\'', "'\\''")),
    }
}

fn summary(step: &Step) -> String {
    let text = format!("loss {:.4}", step.loss);
    match (step.exact_accuracy, step.cell_accuracy, step.mean_segments) {
        (Some(exact), Some(cells), Some(segments)) => format!(
            "{text}, exact {:.1}%, cells {:.1}%, segments {segments:.1}",
            100.0 * exact,
            100.0 * cells
        ),
        _ => format!("{text}, no puzzle was finished"),
    }
}

/// Two signals so close are one: `timeout` sends its own to the program and then to all of its group.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// The first Ctrl-C asks the training to stop after the step, the second ends the program.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    let on_signal = move || match first {
        None => {
            first = Some(Instant::now());
            flag.store(true, Ordering::Relaxed);
            let _ = writeln!(
                io::stderr(),
                "\nstopping after this step; once more to stop at once"
            );
        }
        Some(first) if first.elapsed() < ONE_SIGNAL => {}
        Some(_) => std::process::exit(130),
    };
    let listen = || ctrlc::set_handler(on_signal).context("cannot listen for Ctrl-C");
    #[cfg(unix)]
    crate::hangup::kept(listen)?;
    #[cfg(not(unix))]
    listen()?;
    Ok(stop)
}
