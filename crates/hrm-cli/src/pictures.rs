//! The thinking about puzzles as files: a sheet, an animation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use hrm::draw::Thinking;
use hrm::prelude::*;
use serde::Serialize;

use crate::files::{check_picture, write_file};

/// Pictures that are wanted of the answers.
#[derive(Debug)]
pub(crate) struct Pictures {
    png: Option<PathBuf>,
    gif: Option<PathBuf>,
    frame: Duration,
    force: bool,
    task: Task,
    count: usize,
}

/// The files of a puzzle.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Names {
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::console::lossy_if_any"
    )]
    png: Option<PathBuf>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::console::lossy_if_any"
    )]
    gif: Option<PathBuf>,
}

impl Pictures {
    /// Files for those `drawn` of `count` puzzles, PNG and GIF; refused before anything is computed where one of them is there.
    pub(crate) fn new(
        [png, gif]: [Option<&Path>; 2],
        frame: u64,
        force: bool,
        task: Task,
        drawn: &[usize],
        count: usize,
    ) -> Result<Self> {
        let wanted = [(png, "png"), (gif, "gif")].into_iter();
        for (path, kind) in wanted.filter_map(|(path, kind)| Some((path?, kind))) {
            if path.file_name().is_none() || path.is_dir() {
                bail!("{}: expected the name of a file", path.display());
            }
            for &index in drawn {
                check_picture(&numbered(path, index, count), kind, force)?;
            }
        }
        Ok(Self {
            png: png.map(Path::to_owned),
            gif: gif.map(Path::to_owned),
            frame: Duration::from_millis(frame),
            force,
            task,
            count,
        })
    }

    /// Whether there is anything to draw.
    pub(crate) fn wanted(&self) -> bool {
        self.png.is_some() || self.gif.is_some()
    }

    /// The files of the puzzle at `index`.
    pub(crate) fn names(&self, index: usize) -> Names {
        let name = |path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| numbered(path, index, self.count))
        };
        Names {
            png: name(&self.png),
            gif: name(&self.gif),
        }
    }

    /// Draws the thinking about the puzzle at `index`.
    pub(crate) fn draw(&self, index: usize, question: &[u8], answer: &Answer) -> Result<()> {
        if !self.wanted() {
            return Ok(());
        }
        // A vote per cell may have no thinking of its own.
        let (trace, q_halt) = match answer.trace.is_empty() {
            true => (vec![answer.tokens.clone()], vec![answer.q_halt]),
            false => (answer.trace.clone(), answer.trace_q_halt.clone()),
        };
        let thinking = Thinking {
            title: String::new(),
            task: self.task,
            question: question.to_vec(),
            trace,
            q_halt,
            truth: None,
        };
        if let Some(path) = &self.png {
            let bytes = thinking.sheet().render()?.png()?;
            self.write(path, index, &bytes)?;
        }
        if let Some(path) = &self.gif {
            let bytes = thinking.animation(self.frame)?.gif()?;
            self.write(path, index, &bytes)?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, index: usize, bytes: &[u8]) -> Result<()> {
        let path = numbered(path, index, self.count);
        write_file(&path, self.force, |out| Ok(out.write_all(bytes)?))
    }
}

/// The file of a puzzle: `thinking.png`, or `thinking-3.png` of several.
fn numbered(path: &Path, index: usize, count: usize) -> PathBuf {
    if count <= 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_puzzles_have_numbered_files() {
        let path = Path::new("out/thinking.gif");
        assert_eq!(numbered(path, 0, 1), path);
        assert_eq!(numbered(path, 2, 3), Path::new("out/thinking-3.gif"));
        assert_eq!(numbered(Path::new("bare"), 0, 2), Path::new("bare-1"));
    }
}
