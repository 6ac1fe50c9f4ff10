//! What is said and where: results on stdout, as text or JSON; talk and progress on stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

/// A path in an object: JSON is UTF-8, which a path need not be.
pub(crate) fn lossy<S: serde::Serializer>(
    path: impl AsRef<std::path::Path>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.as_ref().display())
}

/// Several of them.
pub(crate) fn lossy_each<S: serde::Serializer>(
    paths: impl AsRef<[std::path::PathBuf]>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.as_ref().iter().map(|path| path.display().to_string()))
}

/// One, or none.
pub(crate) fn lossy_if_any<P: AsRef<std::path::Path>, S: serde::Serializer>(
    path: &Option<P>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let text = path
        .as_ref()
        .map(|path| path.as_ref().display().to_string());
    text.serialize(to)
}

/// Where a command reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    json: bool,
    quiet: bool,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether results are wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One result: `object` as a line of JSON where JSON is wanted, else `text`. Colours in the text are dropped where
    /// stdout is no terminal or `NO_COLOR` is set.
    pub(crate) fn result(&self, object: &impl Serialize, text: impl Display) -> io::Result<()> {
        if self.json {
            self.object(object)
        } else {
            self.text(text)
        }
    }

    /// A line of JSON, where JSON is wanted.
    pub(crate) fn object(&self, object: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(object)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// A line of JSON, where JSON is wanted, of a command that does more than print: it goes on when nobody reads.
    pub(crate) fn event(&self, object: &impl Serialize) -> io::Result<()> {
        unless_closed(self.object(object))
    }

    /// The [`result`](Self::result) of such a command.
    pub(crate) fn outcome(&self, object: &impl Serialize, text: impl Display) -> io::Result<()> {
        unless_closed(self.result(object, text))
    }

    /// Text, where text is wanted.
    pub(crate) fn text(&self, text: impl Display) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = anstream::AutoStream::auto(io::stdout().lock());
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Talk: a line on stderr, unless it is to be quiet.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// A problem that doesn't end the command.
    pub(crate) fn problem(&self, text: impl Display) {
        let _ = writeln!(anstream::stderr(), "error: {text}");
    }

    /// The error that ends the command, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.problem(format_args!("{error:#}"));
    }

    /// Whether progress is drawn: on a terminal, unless it is to be quiet or results are for a program.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// A bar of `len` steps; `unit` says of what. A message behind it is cut where the line ends.
    pub(crate) fn bar(&self, len: u64, unit: &str) -> ProgressBar {
        self.bar_from(0, len, unit)
    }

    /// As [`bar`](Self::bar), where `first` steps were made before.
    pub(crate) fn bar_from(&self, first: u64, len: u64, unit: &str) -> ProgressBar {
        let template = format!(
            "{{bar:16}} {{human_pos}}/{{human_len}} {unit} {{rate}} {{eta}} left {{wide_msg}}"
        );
        // Not drawn yet: the steps made before say nothing of the rate.
        let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden());
        bar.set_position(first);
        bar.reset_eta();
        let bar = self.styled(bar, &template);
        bar.set_draw_target(self.target());
        bar
    }

    /// A bar of bytes, whose number may become known later.
    #[cfg(feature = "hub")]
    pub(crate) fn bytes(&self) -> ProgressBar {
        let template = "{wide_bar} {msg} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        self.styled(ProgressBar::with_draw_target(None, self.target()), template)
    }

    /// A sign of life for work of unknown length.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.styled(
            ProgressBar::with_draw_target(None, self.target()),
            "{spinner} {msg} {elapsed}",
        );
        bar.set_message(what.to_owned());
        if self.shows_progress() {
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
        }
        bar
    }

    fn target(&self) -> ProgressDrawTarget {
        match self.shows_progress() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        }
    }

    fn styled(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.with_key("rate", rate)),
            Err(_) => bar,
        }
    }
}

/// That nobody reads is no error.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Steps a second, or seconds a step.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar that can't be drawn is no error.
    let _ = out.write_str(&rate_text(state.per_sec()));
}

fn rate_text(per_second: f64) -> String {
    match per_second > 0.0 && per_second < 1.0 {
        true => format!("{:.1} s each", per_second.recip()),
        false => format!("{per_second:.1}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_is_told_in_seconds() {
        assert_eq!(rate_text(12.34), "12.3/s");
        assert_eq!(rate_text(0.04), "25.0 s each");
        assert_eq!(rate_text(0.0), "0.0/s");
    }
}
