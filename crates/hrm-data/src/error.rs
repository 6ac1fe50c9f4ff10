//! What can go wrong with puzzles and their files: one variant per thing a user can fix.

#[cfg(feature = "fs")]
use std::path::Path;
use std::path::PathBuf;

#[cfg(feature = "fs")]
use crate::numbered::Numbered;

/// An error of this crate. Messages say where, what was expected and what was found; what the operating system says is their
/// [source](std::error::Error::source), and no part of the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A JSON file is malformed, or one of its fields is missing or of the wrong type.
    #[error("{path}: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        reason: serde_json::Error,
    },
    /// A field of a file contradicts the rest of the data set.
    #[error("{path}: {field}: expected {expected}, found {found}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, or the part of the file.
        field: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file is larger than a file of its kind can sensibly be.
    #[error("{path}: expected at most {limit} bytes, found {found}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Largest accepted size in bytes.
        limit: u64,
        /// Size of the file in bytes.
        found: u64,
    },
    /// A problem at a line of a text file.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong there.
        problem: Box<DataError>,
    },
    /// The first line of a CSV file does not name the columns that are needed.
    #[error("expected a header with the columns `{expected}`, found `{found}`")]
    CsvHeader {
        /// The columns that are needed.
        expected: String,
        /// The header that is there.
        found: String,
    },
    /// A CSV record is malformed.
    #[error("malformed CSV record: {found}")]
    CsvRecord {
        /// What was expected and found.
        found: String,
    },
    /// A field of a CSV record has the wrong content.
    #[error("column {column}: expected {expected}, found {found}")]
    CsvColumn {
        /// The column's name.
        column: &'static str,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A number of a set made in memory does not fit the others.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// What is wrong: an array, a field of the set, a setting.
        what: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A set holds no examples where some are needed.
    #[error("the puzzle set is empty; expected at least one example")]
    EmptySet,
    /// Side of a Sudoku that is not supported.
    #[error("expected a Sudoku of side 4, 6, 9 or 16, found {found}")]
    SudokuSize {
        /// The side asked for.
        found: usize,
    },
    /// A Sudoku has the wrong number of cells.
    #[error("expected {expected} cells, found {found}")]
    SudokuCells {
        /// How many cells there should be, in words.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// A character that means no cell content.
    #[error("row {row}, column {column}: expected {expected}, found {found:?}")]
    SudokuSymbol {
        /// Row, counted from 1.
        row: usize,
        /// Column, counted from 1.
        column: usize,
        /// What may stand there.
        expected: String,
        /// The character.
        found: char,
    },
    /// Two equal digits in a row, column or box.
    #[error(
        "two {digit}s in {unit}: row {} column {} and row {} column {}; \
         expected each digit at most once",
        first.0, first.1, second.0, second.1
    )]
    SudokuConflict {
        /// The digit as it is written.
        digit: char,
        /// The unit, for example `row 3`.
        unit: String,
        /// Row and column of the first cell, counted from 1.
        first: (usize, usize),
        /// Row and column of the second cell, counted from 1.
        second: (usize, usize),
    },
    /// An answer does not answer its question.
    #[error("the answer is wrong: {breach}")]
    SudokuAnswer {
        /// The first rule it breaks.
        breach: String,
    },
    /// A puzzle of token numbers has something else in it, or too few or too many of them.
    #[error("expected {expected} token numbers, found {found}")]
    TokenNumbers {
        /// How many there should be.
        expected: usize,
        /// How many there are, or what is no number.
        found: String,
    },
    /// A side of a maze is empty or too long.
    #[error("expected a maze of 1 to 255 rows and columns, found {height}x{width}")]
    MazeSide {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A maze has the wrong number of cells.
    #[error("expected {expected} cells, found {found}")]
    MazeCells {
        /// Height times width.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The number of a maze's cells is no square, and no size was given.
    #[error("{found} cells are no square; give the height and the width")]
    MazeNotSquare {
        /// How many cells there are.
        found: usize,
    },
    /// A character or token that a maze does not have, or not there.
    #[error("row {row}, column {column}: expected one of {expected}, found {found:?}")]
    MazeSymbol {
        /// Row, counted from 1.
        row: usize,
        /// Column, counted from 1.
        column: usize,
        /// What may stand there.
        expected: &'static str,
        /// The character.
        found: char,
    },
    /// A maze without exactly one start and one goal.
    #[error("expected one S and one G, found {starts} and {goals}")]
    MazeEnds {
        /// Number of starts.
        starts: usize,
        /// Number of goals.
        goals: usize,
    },
    /// A maze whose goal cannot be reached.
    #[error("no way leads from S to G")]
    MazeNoPath,
    /// An answer that does not belong to its maze or is no path.
    #[error("the answer is wrong: {flaw}")]
    MazeAnswer {
        /// What is wrong with it.
        flaw: String,
    },
    /// A grid of an ARC task is malformed.
    #[error("grid: expected {expected}, found {found}")]
    ArcGrid {
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The colours of an ARC augmentation, or of a puzzle's name, are no permutation.
    #[error("expected a permutation of the colours 0 to 9 that keeps 0, found {found}")]
    ArcColours {
        /// The new colours of 0 to 9.
        found: String,
    },
    /// Two ARC tasks have the same name.
    #[error("task {task} occurs twice{}", listed(files))]
    ArcTaskTwice {
        /// The name.
        task: String,
        /// The files that it is in, where they were read from a folder.
        files: Vec<PathBuf>,
    },
    /// A file in a folder of tasks holds Kaggle's challenges, and no task.
    #[error(
        "{path}: expected one task, as files in a folder have, found Kaggle's challenges; name the file, not its folder"
    )]
    ArcChallenges {
        /// The file.
        path: PathBuf,
    },
    /// Solutions that do not belong to their challenges.
    #[error("{path}: task {task}: expected {expected}, found {found}")]
    ArcSolutions {
        /// The file of the solutions.
        path: PathBuf,
        /// The task.
        task: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A prediction for a puzzle that is not being voted on.
    #[error("vote on task {task}: expected {expected}, found {found}")]
    ArcVote {
        /// The task.
        task: String,
        /// What would be right.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A generator found no puzzle that meets the wish.
    #[error("found no {what} after {tries} tries; expected one within {wish}")]
    NotFound {
        /// What was to be made.
        what: &'static str,
        /// How often it was tried.
        tries: u64,
        /// What was wished for.
        wish: String,
    },
    /// The hub could not be asked, or refused or garbled its answer.
    #[error("{what}: {reason}")]
    Hub {
        /// The repository or the address.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A downloaded file is not the one that the hub announced.
    #[error("{what}: expected {expected}, downloaded {found}; it was thrown away, try again")]
    Download {
        /// Address of the file.
        what: String,
        /// Size or checksum announced.
        expected: String,
        /// Size or checksum of the download.
        found: String,
    },
    /// A saved sampler position does not fit the set or the settings.
    #[error("sampler state: {field}: expected {expected}, found {found}")]
    SamplerState {
        /// The field.
        field: &'static str,
        /// What would fit.
        expected: String,
        /// What was saved.
        found: String,
    },
}

/// Behind a colon, the files that there are.
fn listed(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(": {}", names.join(" and ")),
    }
}

impl DataError {
    /// The error, placed at a line of a file.
    #[must_use]
    pub fn at_line(self, path: impl Into<PathBuf>, line: u64) -> Self {
        Self::Line {
            path: path.into(),
            line,
            problem: Box::new(self),
        }
    }

    /// What the reader of a CSV file has found, at its line.
    #[cfg(feature = "fs")]
    pub(crate) fn csv<R>(path: &Path, error: csv::Error, lines: &Numbered<R>) -> Self {
        let line = lines.line_of(error.position());
        let found = match error.into_kind() {
            csv::ErrorKind::Io(source) => {
                return Self::Read {
                    path: path.into(),
                    source,
                };
            }
            csv::ErrorKind::Utf8 { err, .. } => {
                format!(
                    "expected UTF-8, field {} is something else",
                    err.field() + 1
                )
            }
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!("expected {expected_len} fields, found {len}"),
            other => format!("{other:?}"),
        };
        Self::CsvRecord { found }.at_line(path, line)
    }

    /// What makes a [`DataError::Read`] of what the system says.
    #[cfg(feature = "fs")]
    pub(crate) fn read(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy {
        move |source| Self::Read {
            path: path.into(),
            source,
        }
    }

    /// What makes a [`DataError::Write`] of what the system says.
    #[cfg(feature = "fs")]
    pub(crate) fn write(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy {
        move |source| Self::Write {
            path: path.into(),
            source,
        }
    }

    /// A [`DataError::Mismatch`].
    pub(crate) fn mismatch(
        what: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Mismatch {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
