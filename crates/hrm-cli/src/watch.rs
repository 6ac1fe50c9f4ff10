//! What is shown while a training runs: the bar, TensorBoard's event files, the dashboard.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args as Arguments;
use hrm::prelude::*;
use indicatif::ProgressBar;

use crate::console::Console;

#[derive(Clone, Debug, Default, Arguments)]
#[command(next_help_heading = "Watching")]
pub(crate) struct Watch {
    /// Writes event files for TensorBoard into a folder, RUN/tensorboard where none is named.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    tensorboard: Option<Option<PathBuf>>,
    /// Shows curves over the whole terminal instead of the bar; `q` there, then `s`, ends the training as Ctrl-C does elsewhere.
    #[arg(long)]
    dashboard: bool,
}

/// All that looks on.
pub(crate) struct Watchers {
    bar: ProgressBar,
    console: Console,
    /// Problems that are told when the dashboard has given the terminal back.
    later: Vec<String>,
    #[cfg(feature = "tensorboard")]
    events: Option<crate::tensorboard::EventFile>,
    #[cfg(feature = "dashboard")]
    dashboard: Option<crate::dashboard::Dashboard>,
}

impl Watch {
    /// Refuses what was not built in, or can't be shown.
    pub(crate) fn check(&self, console: &Console) -> Result<()> {
        if self.tensorboard.is_some() && cfg!(not(feature = "tensorboard")) {
            bail!("--tensorboard: not built in (--features tensorboard)");
        }
        // Before a run is begun, or written over.
        if let Some(Some(folder)) = &self.tensorboard
            && let Some(there) = folder.ancestors().find(|path| path.exists())
            && !there.is_dir()
        {
            bail!(
                "--tensorboard {}: expected a folder, {} is none",
                folder.display(),
                there.display()
            );
        }
        if self.dashboard {
            if cfg!(not(feature = "dashboard")) {
                bail!("--dashboard: not built in (--features dashboard)");
            }
            use std::io::IsTerminal;
            if console.is_json() || !std::io::stdout().is_terminal() {
                bail!("--dashboard: expected a terminal as stdout, and no --json");
            }
        }
        Ok(())
    }

    /// Begins to show a run.
    pub(crate) fn open(&self, run: &Run, console: &Console) -> Result<Watchers> {
        let (first, steps) = (run.trainer().state().step, run.trainer().config().steps);
        let bar = match self.dashboard {
            true => ProgressBar::hidden(),
            false => console.bar_from(first, steps, "steps"),
        };
        #[cfg(feature = "tensorboard")]
        let events = match &self.tensorboard {
            None => None,
            Some(folder) => {
                use anyhow::Context;
                let folder = match folder {
                    None => run.dir().join("tensorboard"),
                    Some(folder) => folder.clone(),
                };
                let events = crate::tensorboard::EventFile::create(&folder, first + 1)
                    .with_context(|| format!("cannot write events to {}", folder.display()))?;
                console.note(format_args!(
                    "events for TensorBoard: {}",
                    events.path().display()
                ));
                Some(events)
            }
        };
        Ok(Watchers {
            bar,
            console: *console,
            later: Vec::new(),
            #[cfg(feature = "tensorboard")]
            events,
            #[cfg(feature = "dashboard")]
            dashboard: self
                .dashboard
                .then(|| crate::dashboard::Dashboard::open(first, steps)),
        })
    }
}

impl Watchers {
    /// A step was made; or, after a fault, is the one that the run has gone back to.
    pub(crate) fn step(&mut self, step: u64) {
        self.bar.set_position(step);
        #[cfg(feature = "dashboard")]
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.step(step);
        }
    }

    /// The steps behind this one are made anew.
    pub(crate) fn back_to(&mut self, step: u64) -> std::io::Result<()> {
        self.step(step);
        #[cfg(feature = "tensorboard")]
        if let Some(events) = &mut self.events {
            events.restart(step + 1)?;
        }
        Ok(())
    }

    /// Values of a step by their tags, and how they are said beside the bar.
    #[cfg_attr(
        not(any(feature = "tensorboard", feature = "dashboard")),
        allow(unused_variables)
    )]
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> std::io::Result<()> {
        #[cfg(feature = "dashboard")]
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.scalars(values);
        }
        #[cfg(feature = "tensorboard")]
        if let Some(events) = &mut self.events {
            events.scalars(step, values)?;
        }
        Ok(())
    }

    /// What stands beside the bar.
    pub(crate) fn say(&self, summary: String) {
        self.bar.set_message(summary);
    }

    /// A line on stderr, but not over the dashboard.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.has_terminal() {
            self.bar.suspend(|| self.console.note(text));
        }
    }

    /// A problem that doesn't end the training; said at the end where the dashboard is over it.
    pub(crate) fn problem(&mut self, text: impl Display) {
        match self.has_terminal() {
            true => self.later.push(text.to_string()),
            false => self.bar.suspend(|| self.console.problem(text)),
        }
    }

    /// Whether the dashboard has the terminal that stderr is written to.
    fn has_terminal(&self) -> bool {
        #[cfg(feature = "dashboard")]
        if self.dashboard.is_some() {
            use std::io::IsTerminal;
            return std::io::stderr().is_terminal();
        }
        false
    }

    /// Whether whoever looks on wants the training to stop.
    pub(crate) fn wants_to_stop(&self) -> bool {
        #[cfg(feature = "dashboard")]
        if let Some(dashboard) = &self.dashboard {
            return dashboard.wants_to_stop();
        }
        false
    }

    /// Gives the terminal back.
    pub(crate) fn close(self) {
        self.bar.finish_and_clear();
        #[cfg(feature = "dashboard")]
        drop(self.dashboard);
        for problem in self.later {
            self.console.problem(problem);
        }
    }
}
