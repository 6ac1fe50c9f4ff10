//! Lines of a CSV file, by which its errors are placed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;

use crate::DataError;

/// Longest line that is read.
const MAX_LINE: u64 = 1 << 20;

/// The columns of the published puzzles.
pub(crate) const HEADER: [&str; 4] = ["source", "question", "answer", "rating"];

/// Where they are in a file; who writes his own puzzles may have no use for the first and the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    source: Option<usize>,
    question: usize,
    answer: usize,
    rating: Option<usize>,
}

impl Columns {
    /// Source, question, answer and rating of a record; nothing where there is no such column.
    pub(crate) fn of<'a>(&self, record: &'a csv::StringRecord) -> [&'a str; 4] {
        let columns = [
            self.source,
            Some(self.question),
            Some(self.answer),
            self.rating,
        ];
        columns.map(|column| {
            column
                .and_then(|column| record.get(column))
                .unwrap_or_default()
        })
    }
}

/// Whether CSV text is within a quoted field, as the `csv` crate reads it: that crate takes the end of a file for the end of the field, with
/// all records that the field has swallowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotes(Place);

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Where a field begins.
    #[default]
    Begin,
    /// In a field without quotes, or behind them.
    Bare,
    Quoted,
    /// Behind a quote that ends the field or stands for itself.
    Quote,
}

impl Quotes {
    /// Goes on by a byte.
    pub fn feed(&mut self, byte: u8) {
        self.0 = match (self.0, byte) {
            (Place::Begin | Place::Quote, b'"') => Place::Quoted,
            (Place::Quoted, b'"') => Place::Quote,
            (Place::Quoted, _) => Place::Quoted,
            (_, b',' | b'\r' | b'\n') => Place::Begin,
            _ => Place::Bare,
        };
    }

    /// Whether a field's quotes have not ended.
    pub fn are_open(self) -> bool {
        matches!(self.0, Place::Quoted)
    }
}

/// A reader that knows the lines of what was read: `csv` tells where a record begins before the line ends that it skips.
pub(crate) struct Numbered<R> {
    inner: R,
    /// Bytes that were read.
    read: u64,
    /// The line that is read, from 1, and where it begins.
    line: u64,
    begin: u64,
    /// Whether a byte of it was read that is no line end.
    begun: bool,
    /// First bytes and numbers of the lines that hold something, but for those before a byte that was asked for.
    lines: RefCell<VecDeque<(u64, u64)>>,
    quotes: Quotes,
    /// Whether the end was found, which is when the last record is read.
    ended: bool,
}

/// The records of a CSV file, with their lines.
pub(crate) struct Records<'a, R> {
    reader: csv::Reader<Numbered<R>>,
    /// Stands for the file in errors.
    name: &'a Path,
    header: csv::StringRecord,
}

impl<'a, R: Read> Records<'a, R> {
    /// Reads the header.
    pub(crate) fn new(reader: R, name: &'a Path) -> Result<Self, DataError> {
        let mut reader = csv::Reader::from_reader(Numbered::new(reader));
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(DataError::csv(name, error, reader.get_ref())),
        };
        reader.get_ref().check_end(header.position(), name)?;
        Ok(Self {
            reader,
            name,
            header,
        })
    }

    /// Where the columns of puzzles are, in whatever order and beside whatever others.
    ///
    /// # Errors
    /// If there is none of the questions or none of the answers.
    pub(crate) fn columns(&self) -> Result<Columns, DataError> {
        let column = |wanted: &str| self.header.iter().position(|field| field == wanted);
        let needed = |wanted: &str| {
            column(wanted).ok_or_else(|| {
                let found: Vec<&str> = self.header.iter().collect();
                DataError::CsvHeader {
                    expected: "question,answer".to_owned(),
                    found: shortened(&found.join(",")),
                }
                .at_line(self.name, 1)
            })
        };
        Ok(Columns {
            source: column("source"),
            question: needed("question")?,
            answer: needed("answer")?,
            rating: column("rating"),
        })
    }

    /// Reads the next record; gives its line, none at the end.
    pub(crate) fn read(
        &mut self,
        record: &mut csv::StringRecord,
    ) -> Result<Option<u64>, DataError> {
        let found = self.reader.read_record(record);
        let lines = self.reader.get_ref();
        lines.check_end(record.position(), self.name)?;
        match found {
            Ok(true) => Ok(Some(lines.line_of(record.position()))),
            Ok(false) => Ok(None),
            Err(error) => Err(DataError::csv(self.name, error, lines)),
        }
    }
}

/// A header that fits into a message.
fn shortened(header: &str) -> String {
    match header.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &header[..end]),
        None => header.to_owned(),
    }
}

impl<R> Numbered<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            read: 0,
            line: 1,
            begin: 0,
            begun: false,
            lines: RefCell::default(),
            quotes: Quotes::default(),
            ended: false,
        }
    }

    /// The line of a record, from where `csv` says that it begins, each time the same or later.
    pub(crate) fn line_of(&self, record: Option<&csv::Position>) -> u64 {
        let byte = record.map_or(0, csv::Position::byte);
        let mut lines = self.lines.borrow_mut();
        while lines.front().is_some_and(|&(first, _)| first < byte) {
            lines.pop_front();
        }
        lines.front().map_or(self.line, |&(_, line)| line)
    }

    /// Whether the last record that was read, if it is the file's last, is whole.
    fn check_end(&self, record: Option<&csv::Position>, name: &Path) -> Result<(), DataError> {
        if !(self.ended && self.quotes.are_open()) {
            return Ok(());
        }
        let found = "expected a quoted field to end, found the end of the file".to_owned();
        Err(DataError::CsvRecord { found }.at_line(name, self.line_of(record)))
    }
}

impl<R: Read> Read for Numbered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ended |= count == 0;
        for &byte in buffer.iter().take(count) {
            self.quotes.feed(byte);
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.begin = self.read + 1;
                    self.begun = false;
                }
                b'\r' => {}
                _ if self.begun => {}
                _ => {
                    self.begun = true;
                    self.lines.get_mut().push_back((self.read, self.line));
                }
            }
            self.read += 1;
        }
        if self.read - self.begin > MAX_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "line {}: expected at most {MAX_LINE} bytes, found more",
                    self.line
                ),
            ));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<u64> {
        let mut records = Records::new(text.as_bytes(), Path::new("s.csv")).unwrap();
        let mut record = csv::StringRecord::new();
        std::iter::from_fn(|| records.read(&mut record).unwrap()).collect()
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        assert_eq!(lines("a,b\n1,2\n3,4"), [2, 3]);
        assert_eq!(lines("a,b\r\n1,2\r\n3,4\r\n"), [2, 3]);
        assert_eq!(lines("a,b\n\n\n1,2\n\r\n3,4\n"), [4, 6]);
        assert_eq!(lines("a,b\n\"x\n\ny\",2\n3,4\n"), [2, 5]);
    }

    #[test]
    fn a_quoted_field_without_end_swallows_nothing() {
        let said = |text: &str| {
            let mut records = Records::new(text.as_bytes(), Path::new("s.csv"))
                .map_err(|error| error.to_string())?;
            let mut record = csv::StringRecord::new();
            while records
                .read(&mut record)
                .map_err(|error| error.to_string())?
                .is_some()
            {}
            Ok::<(), String>(())
        };
        let open =
            "malformed CSV record: expected a quoted field to end, found the end of the file";
        // More than the reader asks for at once.
        let long = "5,6\n".repeat(10_000);
        let swallowed = format!("a,b\n1,2\n3,\"4\n{long}");
        let late = format!("a,b\n{long}3,\"4\n");
        let whole = format!("a,b\n1,\"{long}\"\n");
        for (line, text) in [
            (3, "a,b\n1,2\n3,\"4\n5,6\n"),
            (3, "a,b\n1,2\n\"3,4\n5,6"),
            (3, "a,b\n1,\"2\"\n3,\"4\"\"\n"),
            (3, "a,b\r\n1,2\r\n3,\"4\r\n5,6\r\n"),
            (3, "a,b\n1,2\n3,\""),
            (4, "a,b\n1,\"2\n3\"\n4,\"5"),
            (3, swallowed.as_str()),
            (10_002, late.as_str()),
            (1, "a,\"b\n1,2\n"),
        ] {
            assert_eq!(said(text), Err(format!("s.csv:{line}: {open}")), "{text}");
        }
        for text in [
            "a,b\n1,\"2\n3\"\n",
            "a,b\n1,2\"\n",
            "a,b\n1,\"2\"\"\"\n",
            "a,b\n1,\"2\"x\"\n",
            "a,b\r\n1,\"\"\r\n\"2\",\"3\"",
            whole.as_str(),
        ] {
            assert_eq!(said(text), Ok(()), "{text}");
        }
        // What else ends the reading is told as itself.
        let wide = said(&format!("a,b\n1,\"{}", "2".repeat(1 << 21)));
        assert!(wide.unwrap_err().starts_with("cannot read s.csv"));
    }

    #[test]
    fn quotes_are_open_where_the_csv_crate_has_them_open() {
        const BYTES: [u8; 5] = *b"\"x,\r\n";
        for length in 0..=6 {
            for number in 0..5usize.pow(length) {
                let text: Vec<u8> = (0..length)
                    .map(|at| BYTES[number / 5usize.pow(at) % 5])
                    .collect();
                let mut quotes = Quotes::default();
                text.iter().for_each(|&byte| quotes.feed(byte));
                // Another record, or the rest of the field that is open.
                let behind = [&text[..], b"\nx"].concat();
                let reader = csv::ReaderBuilder::new()
                    .has_headers(false)
                    .flexible(true)
                    .from_reader(&behind[..]);
                let last = reader.into_byte_records().last().unwrap().unwrap();
                assert_eq!(
                    quotes.are_open(),
                    last.as_slice() != b"x",
                    "{:?}",
                    String::from_utf8_lossy(&text)
                );
            }
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = csv::Reader::from_reader(Numbered::new(io::repeat(b'0')));
        let error = reader.headers().unwrap_err().to_string();
        assert!(error.contains("line 1: expected at most"), "{error}");
    }
}
