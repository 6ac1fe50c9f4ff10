//! The published text format: `source,question,answer,rating`, one puzzle per line, `.` for blank.

use super::{Board, Puzzle, SudokuSize};
use crate::DataError;
use crate::numbered::{HEADER, Records};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Reads Sudokus from a CSV file. Without `size`, the first puzzle's number of cells tells it; all have the same. The columns may be in any
/// order, `source` and `rating` may be missing, and others are left out.
///
/// # Errors
/// With file and line: an unreadable file, a missing column, a malformed board, an answer that does not answer its
/// question, a rating that is no number.
pub fn read_csv(
    path: impl AsRef<Path>,
    size: Option<SudokuSize>,
) -> Result<Vec<Puzzle>, DataError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(DataError::read(path))?;
    read_csv_from(BufReader::new(file), path, size)
}

/// [`read_csv`] from any reader; `name` stands for the file in errors.
///
/// # Errors
/// As [`read_csv`].
pub fn read_csv_from(
    reader: impl Read,
    name: impl AsRef<Path>,
    size: Option<SudokuSize>,
) -> Result<Vec<Puzzle>, DataError> {
    let name = name.as_ref();
    let mut records = Records::new(reader, name)?;
    let columns = records.columns()?;
    let mut size = size;
    let mut puzzles = Vec::new();
    let mut record = csv::StringRecord::new();
    while let Some(line) = records.read(&mut record)? {
        let puzzle = parse(columns.of(&record), size).map_err(|error| error.at_line(name, line))?;
        size = Some(puzzle.size());
        puzzles.push(puzzle);
    }
    Ok(puzzles)
}

fn parse(
    [source, question, answer, rating]: [&str; 4],
    size: Option<SudokuSize>,
) -> Result<Puzzle, DataError> {
    let size = match size {
        Some(size) => size,
        None => SudokuSize::of_text(question)?,
    };
    let rating = match rating {
        "" => None,
        text => Some(text.parse().map_err(|_| DataError::CsvColumn {
            column: "rating",
            expected: format!("a whole number of {} at most, or nothing", u32::MAX),
            found: format!("`{}`", text.chars().take(40).collect::<String>()),
        })?),
    };
    let puzzle = Puzzle {
        source: source.to_owned(),
        question: Board::parse_sized(size, question)?,
        answer: Board::parse_sized(size, answer)?,
        rating,
    };
    puzzle.question.check()?;
    puzzle.check()?;
    Ok(puzzle)
}

/// Writes Sudokus as a CSV file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_csv(path: impl AsRef<Path>, puzzles: &[Puzzle]) -> Result<(), DataError> {
    let path = path.as_ref();
    let file = File::create(path).map_err(DataError::write(path))?;
    write_csv_to(BufWriter::new(file), path, puzzles)
}

/// [`write_csv`] to any writer; `name` stands for the file in errors.
///
/// # Errors
/// If the writer fails.
pub fn write_csv_to(
    writer: impl Write,
    name: impl AsRef<Path>,
    puzzles: &[Puzzle],
) -> Result<(), DataError> {
    let name = name.as_ref();
    let failed = DataError::write(name);
    let mut writer = csv::Writer::from_writer(writer);
    writer
        .write_record(HEADER)
        .map_err(|error| failed(error.into()))?;
    for puzzle in puzzles {
        let fields = [
            puzzle.source.clone(),
            puzzle.question.to_string(),
            puzzle.answer.to_string(),
            puzzle
                .rating
                .map(|rating| rating.to_string())
                .unwrap_or_default(),
        ];
        writer
            .write_record(fields)
            .map_err(|error| failed(error.into()))?;
    }
    writer.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "source,question,answer,rating\nx,12..3..2..4.4.2.,1234341221434321,0\n";

    fn read(text: &str) -> Result<Vec<Puzzle>, String> {
        read_csv_from(text.as_bytes(), Path::new("s.csv"), None).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = format!("{HEAD}\"a,b\",................,1234341221434321,\n")
            .replace("12..3..2..4.4.2.", "12..3...........");
        let puzzles = read(&text).unwrap();
        assert_eq!(puzzles[0].rating, Some(0));
        assert_eq!(puzzles[1].rating, None);
        let mut bytes = Vec::new();
        write_csv_to(&mut bytes, Path::new("s.csv"), &puzzles).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn errors_say_file_and_line() {
        let cases = [
            (
                "1..................,1234341221434321,0",
                "s.csv:2: expected 16, 36, 81 or 256 cells, found 19",
            ),
            (
                "1.............x.,1234341221434321,0",
                "s.csv:2: row 4, column 3: expected ., 0 or 1 to 4, found 'x'",
            ),
            (
                "1..1............,1234341221434321,0",
                "s.csv:2: two 1s in row 1: row 1 column 1 and row 1 column 4; expected each digit at most once",
            ),
            (
                "2...............,1234341221434321,0",
                "s.csv:2: the answer is wrong: row 1 column 1 is given as 2, answered as 1",
            ),
            (
                "1...............,123434122143432.,0",
                "s.csv:2: the answer is wrong: row 4 column 4 is blank",
            ),
            (
                "1...............,1234341221434322,0",
                "s.csv:2: the answer is wrong: two 2s in row 4: row 4 column 3 and row 4 column 4",
            ),
            (
                "1...............,1234341221434321,easy",
                "s.csv:2: column rating: expected a whole number of 4294967295 at most, or nothing, found `easy`",
            ),
        ];
        for (line, message) in cases {
            let text = format!("source,question,answer,rating\nx,{line}\n");
            assert_eq!(read(&text).unwrap_err(), message);
        }
        assert_eq!(
            read("source,question,rating\n").unwrap_err(),
            "s.csv:1: expected a header with the columns `question,answer`, found `source,question,rating`"
        );
        assert!(
            read(&format!("{}short\n", &HEAD[..30]))
                .unwrap_err()
                .starts_with("s.csv:2: malformed")
        );
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let own = "answer,note,question\n1234341221434321,mine,12.. 3..2 ..4. 4.2.\n";
        let found = read(own).unwrap();
        let mut published = read(HEAD).unwrap();
        published[0].source.clear();
        published[0].rating = None;
        assert_eq!(found, published);
    }
}
