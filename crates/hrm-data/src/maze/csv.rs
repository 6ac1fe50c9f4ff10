//! The published text format: `source,question,answer,rating`, one maze per line, rating = cells on the path.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::grid::{MazePuzzle, square_side, text};
use crate::DataError;
use crate::numbered::{HEADER, Records};

/// Reads mazes from a CSV file. `shape` is their height and width; without it they must be square.
///
/// Fields are not trimmed: a space is an open cell. Columns other than `question` and `answer` are not needed.
/// All mazes must have the size of the first.
///
/// # Errors
/// With file and line: an unreadable file, a missing column, a malformed maze, an answer that is no path through
/// its question.
pub fn read_csv(
    path: impl AsRef<Path>,
    shape: Option<(usize, usize)>,
) -> Result<Vec<MazePuzzle>, DataError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(DataError::read(path))?;
    read_csv_from(BufReader::new(file), path, shape)
}

/// [`read_csv`] from any reader; `name` stands for the file in errors.
///
/// # Errors
/// As [`read_csv`].
pub fn read_csv_from(
    reader: impl Read,
    name: impl AsRef<Path>,
    shape: Option<(usize, usize)>,
) -> Result<Vec<MazePuzzle>, DataError> {
    let name = name.as_ref();
    let mut records = Records::new(reader, name)?;
    let columns = records.columns()?;
    let mut shape = shape;
    let mut puzzles = Vec::new();
    let mut record = csv::StringRecord::new();
    while let Some(line) = records.read(&mut record)? {
        let parse = || {
            let [_, question, answer, _] = columns.of(&record);
            let (height, width) = match shape {
                Some(shape) => shape,
                None => {
                    let side = square_side(question)?;
                    (side, side)
                }
            };
            MazePuzzle::parse(question, answer, height, width)
        };
        let puzzle = parse().map_err(|error| error.at_line(name, line))?;
        shape = Some((puzzle.maze().height(), puzzle.maze().width()));
        puzzles.push(puzzle);
    }
    Ok(puzzles)
}

/// Writes mazes as a CSV file; `source` goes into the first column of each.
///
/// # Errors
/// If the file cannot be written.
pub fn write_csv(
    path: impl AsRef<Path>,
    source: &str,
    puzzles: &[MazePuzzle],
) -> Result<(), DataError> {
    let path = path.as_ref();
    let file = File::create(path).map_err(DataError::write(path))?;
    write_csv_to(BufWriter::new(file), path, source, puzzles)
}

/// [`write_csv`] to any writer; `name` stands for the file in errors.
///
/// # Errors
/// As [`write_csv`].
pub fn write_csv_to(
    writer: impl Write,
    name: impl AsRef<Path>,
    source: &str,
    puzzles: &[MazePuzzle],
) -> Result<(), DataError> {
    let name = name.as_ref();
    let failed = DataError::write(name);
    let mut writer = csv::Writer::from_writer(writer);
    writer
        .write_record(HEADER)
        .map_err(|error| failed(error.into()))?;
    for puzzle in puzzles {
        writer
            .write_record([
                source,
                &puzzle.maze().to_text(),
                &text(puzzle.answer()),
                &puzzle.path_cells().to_string(),
            ])
            .map_err(|error| failed(error.into()))?;
    }
    writer.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maze::{MazeGenerator, MazeRecipe};

    fn read(text: &str) -> Result<Vec<MazePuzzle>, String> {
        read_csv_from(text.as_bytes(), Path::new("m.csv"), None).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let puzzles: Vec<_> = MazeGenerator::new(MazeRecipe::small(), 5)
            .unwrap()
            .take(10)
            .collect();
        let mut bytes = Vec::new();
        write_csv_to(&mut bytes, Path::new("m.csv"), "made", &puzzles).unwrap();
        assert!(bytes.starts_with(b"source,question,answer,rating\nmade,"));
        let read = read_csv_from(&bytes[..], Path::new("m.csv"), Some((10, 10))).unwrap();
        assert_eq!(read, puzzles);
    }

    #[test]
    fn spaces_at_the_ends_of_a_field_are_cells() {
        let puzzles = read("source,question,answer,rating\nx, S#  G#  , S# oG#  ,3\n").unwrap();
        assert_eq!(puzzles[0].maze().to_text(), " S#  G#  ");
        assert_eq!(text(puzzles[0].answer()), " S# oG#  ");
        assert_eq!(puzzles[0].path_cells(), 3);
    }

    #[test]
    fn errors_say_the_line() {
        let head = "source,question,answer,rating\nx,SG  ,SG  ,2\n";
        assert_eq!(read(head).unwrap().len(), 1);
        assert_eq!(
            read(&format!("{head}x,SG#,SG#,2\n")).unwrap_err(),
            "m.csv:3: expected 4 cells, found 3"
        );
        assert_eq!(
            read(&format!("{head}x,S# G,S# G,2\n")).unwrap_err(),
            "m.csv:3: the answer is wrong: the marked cells do not lead from S to G"
        );
        assert_eq!(
            read("question,result\n").unwrap_err(),
            "m.csv:1: expected a header with the columns `question,answer`, found `question,result`"
        );
        let ragged = read(&format!("{head}x,y\n")).unwrap_err();
        let expected = "m.csv:3: malformed CSV record: expected 4 fields, found 2";
        assert_eq!(ragged, expected);
    }
}
