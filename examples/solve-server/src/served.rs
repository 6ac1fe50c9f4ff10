//! The model that is served, and what its puzzles look like.

use std::path::Path;

use anyhow::Result;
use hrm::prelude::*;

use crate::settings::Settings;

/// Examples offered to who has no puzzle at hand.
const EXAMPLES: usize = 24;

/// A model with the task it was trained for.
#[derive(Debug)]
pub struct Served {
    pub(crate) model: Hrm,
    /// What its puzzles are; where it doesn't say it, as an imported model, what its sizes tell.
    pub(crate) task: Task,
    /// Segments of its training, and of an answer where a request names no other number.
    pub(crate) segments: u32,
    /// Where it comes from.
    pub(crate) name: String,
    pub(crate) step: u64,
    pub(crate) examples: Vec<String>,
}

impl Served {
    /// A model, and the segments that it was trained to think at most.
    ///
    /// # Errors
    /// If no example of its puzzles can be made.
    pub fn new(model: Hrm, task: Task, segments: u32) -> Result<Self> {
        let config = model.config();
        let task = match task {
            Task::Other => Task::guess(config.vocab_size, config.seq_len),
            task => task,
        };
        Ok(Self {
            examples: examples(task)?,
            task,
            model,
            segments,
            name: "memory".to_owned(),
            step: 0,
        })
    }

    /// The model of a run folder's last checkpoint, or of a checkpoint file.
    ///
    /// # Errors
    /// If there is no whole checkpoint, or it isn't one of this program's models.
    pub fn open(run_or_file: &Path, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(run_or_file)?;
        let (info, path) = (checkpoint.info().clone(), checkpoint.path().to_owned());
        let model = hrm::device::fit(checkpoint.model(WeightKind::Ema, device)?);
        Ok(Self {
            name: path.display().to_string(),
            step: info.step,
            ..Self::new(model, info.task, info.config.act.max_segments)?
        })
    }

    /// What it answers, for a line in a terminal.
    pub fn describe(&self) -> String {
        let parameters = self.model.config().num_parameters();
        format!(
            "{} of {} cells, {parameters} parameters, step {}, {}",
            self.task.name(),
            self.model.config().seq_len,
            self.step,
            self.name
        )
    }

    /// The reasoner that answers, with the rules of the task as verifier where it has some.
    pub(crate) fn reasoner(&self, settings: &Settings) -> Result<Reasoner> {
        let config = ReasonerConfig {
            slots: settings.slots,
            max_segments: self.default_segments(settings),
            halt: HaltRule::QHalt,
            trace: false,
        };
        Ok(Reasoner::new(&self.model, config)?.with_task(self.task))
    }

    /// Segments where a request names no number.
    pub(crate) fn default_segments(&self, settings: &Settings) -> u32 {
        self.segments.clamp(1, settings.max_segments)
    }
}

/// Sudokus with as many givens as those of the example program.
fn examples(task: Task) -> Result<Vec<String>> {
    let Task::Sudoku(size) = task else {
        return Ok(Vec::new());
    };
    let clues = match size {
        SudokuSize::Four => 6,
        SudokuSize::Six => 20,
        SudokuSize::Nine => 45,
        // These take too long to make.
        SudokuSize::Sixteen => return Ok(Vec::new()),
    };
    let made = sudoku::Generator::new(size)
        .with_clues(clues..=clues)
        .puzzles(EXAMPLES, 2026)?;
    Ok(made
        .iter()
        .map(|puzzle| task.line(&puzzle.question.tokens()))
        .collect())
}
