//! Arrays of integers in numpy's file format: reading with every claim of the header checked against the file
//! before memory is taken, and writing what numpy itself would write, byte for byte. (The crate npyz does
//! neither: it takes the memory a header asks for, overflows on shapes, and writes other spaces.)

use crate::DataError;
use memmap2::Mmap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Numpy refuses longer headers.
const MAX_HEADER: usize = 10_000;

/// Element type of an array in a file, the wider the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ElementType {
    U8,
    I32,
    I64,
}

impl ElementType {
    fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    fn descr(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::I32 => "<i4",
            Self::I64 => "<i8",
        }
    }

    fn from_descr(descr: &str) -> Option<Self> {
        match descr {
            "|u1" | "u1" | "<u1" | ">u1" => Some(Self::U8),
            "<i4" => Some(Self::I32),
            "<i8" => Some(Self::I64),
            _ => None,
        }
    }
}

/// An array in a file, its header read and found true.
#[derive(Debug)]
pub(crate) struct Npy {
    path: PathBuf,
    file: File,
    element: ElementType,
    shape: Vec<u64>,
    data: Range<u64>,
}

impl Npy {
    /// Opens an array of `rank` axes and checks its header against the length of the file.
    pub(crate) fn open(path: &Path, rank: usize) -> Result<Self, DataError> {
        let read_error = DataError::read(path);
        let mut file = File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        let mut start = [0; 12];
        let field = |field: &str, expected: &str, found: String| DataError::Field {
            path: path.into(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let mut fill = |bytes: &mut [u8]| match file.read_exact(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                let expected = "a numpy header";
                Err(field(
                    "header",
                    expected,
                    format!("the end of the file after {length} bytes"),
                ))
            }
            other => other.map_err(read_error),
        };
        fill(&mut start[..10])?;
        if &start[..6] != b"\x93NUMPY" {
            let found = format!("{:?}", String::from_utf8_lossy(&start[..6]));
            return Err(field("magic", "\\x93NUMPY", found));
        }
        let (before, text_length) = match start[6] {
            1 => (10, u32::from(u16::from_le_bytes([start[8], start[9]]))),
            2 | 3 => {
                fill(&mut start[10..])?;
                (
                    12,
                    u32::from_le_bytes([start[8], start[9], start[10], start[11]]),
                )
            }
            other => return Err(field("version", "1, 2 or 3", other.to_string())),
        };
        if text_length as usize > MAX_HEADER {
            let expected = "a header of at most 10000 bytes";
            return Err(field("header", expected, text_length.to_string()));
        }
        let mut text = vec![0; text_length as usize];
        fill(&mut text)?;
        let header = Header::parse(&text)
            .map_err(|(name, expected, found)| field(name, &expected, found))?;
        let Some(element) = ElementType::from_descr(&header.descr) else {
            let found = format!("'{}'", header.descr);
            return Err(field("descr", "'|u1', '<i4' or '<i8'", found));
        };
        if header.fortran_order && header.shape.len() > 1 {
            return Err(field("fortran_order", "False", "True".to_owned()));
        }
        let found = format!("{:?}", header.shape);
        if header.shape.len() != rank {
            return Err(field("shape", &format!("{rank} axes"), found));
        }
        let claimed = header
            .shape
            .iter()
            .try_fold(element.bytes(), |bytes, &axis| bytes.checked_mul(axis));
        let present = length.saturating_sub(before + u64::from(text_length));
        if claimed != Some(present) {
            let expected = format!("as much data as the file holds, {present} bytes");
            return Err(field(
                "shape",
                &expected,
                format!("{found} of {}", element.descr()),
            ));
        }
        Ok(Self {
            path: path.into(),
            file,
            element,
            shape: header.shape,
            data: length - present..length,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn element(&self) -> ElementType {
        self.element
    }

    pub(crate) fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements; fits into memory at one byte each, for the file holds them.
    pub(crate) fn len(&self) -> usize {
        ((self.data.end - self.data.start) / self.element.bytes()) as usize
    }

    /// Maps the file, which has elements of one byte; with where in the map the data lies.
    pub(crate) fn map(&self) -> Result<(Mmap, Range<usize>), DataError> {
        // SAFETY: the map is only read, as bytes, for which every value is valid. Should another process
        // change the file meanwhile, tokens change, which bounds every use of them; should it cut the file,
        // the process is ended by the system, as with every mapped file.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&self.file) }.map_err(DataError::read(&self.path))?;
        let range = self.data.start as usize..self.data.end as usize;
        if range.end > map.len() {
            return Err(self.problem("data", format!("{} bytes", range.end), map.len()));
        }
        Ok((map, range))
    }

    /// Reads the elements in order; what `convert` refuses is an error at that index, with what it
    /// expected.
    pub(crate) fn read<T>(
        self,
        mut convert: impl FnMut(i64) -> Result<T, String>,
    ) -> Result<Vec<T>, DataError> {
        let count = self.len();
        let mut values = Vec::with_capacity(count);
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        let mut bytes = [0; 8];
        let width = self.element.bytes() as usize;
        for _ in 0..count {
            reader
                .read_exact(&mut bytes[..width])
                .map_err(DataError::read(&self.path))?;
            let [a, b, c, d, ..] = bytes;
            let value = match self.element {
                ElementType::U8 => i64::from(a),
                ElementType::I32 => i64::from(i32::from_le_bytes([a, b, c, d])),
                ElementType::I64 => i64::from_le_bytes(bytes),
            };
            let converted = convert(value)
                .map_err(|expected| self.problem(&self.place(values.len()), expected, value))?;
            values.push(converted);
        }
        Ok(values)
    }

    /// Index of an element as `[row, column]`.
    pub(crate) fn place(&self, at: usize) -> String {
        match self.shape.as_slice() {
            [_, columns] if *columns > 0 => {
                format!("[{}, {}]", at as u64 / columns, at as u64 % columns)
            }
            _ => format!("[{at}]"),
        }
    }

    /// An error in a part of this file.
    pub(crate) fn problem(
        &self,
        field: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> DataError {
        DataError::Field {
            path: self.path.clone(),
            field: field.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// The header's dictionary.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

/// Field, what was expected and what was found.
type Unreadable = (&'static str, String, String);

impl Header {
    /// Reads the Python literal `{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }`.
    fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |expected: &str, rest: &str| {
            let found: String = rest.chars().take(30).collect();
            ("header", expected.to_owned(), format!("{found:?}"))
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| unreadable("text", &String::from_utf8_lossy(text)))?;
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text
            .trim()
            .strip_prefix('{')
            .ok_or_else(|| unreadable("a dictionary", text))?
            .trim_start();
        while !rest.starts_with('}') {
            let (key, after) = string(rest).ok_or_else(|| unreadable("a key", rest))?;
            let value = after
                .trim_start()
                .strip_prefix(':')
                .ok_or_else(|| unreadable("a colon", after))?
                .trim_start();
            rest = match key {
                "descr" if descr.is_none() => {
                    let (name, after) = string(value)
                        .ok_or_else(|| unreadable("the name of an element type", value))?;
                    descr = Some(name.to_owned());
                    after
                }
                "fortran_order" if fortran_order.is_none() => {
                    let (flag, after) = match value.strip_prefix("False") {
                        Some(after) => (false, after),
                        None => match value.strip_prefix("True") {
                            Some(after) => (true, after),
                            None => return Err(unreadable("True or False", value)),
                        },
                    };
                    fortran_order = Some(flag);
                    after
                }
                "shape" if shape.is_none() => {
                    let (inside, after) = value
                        .strip_prefix('(')
                        .and_then(|value| value.split_once(')'))
                        .ok_or_else(|| unreadable("a shape in parentheses", value))?;
                    let inside = inside.trim();
                    let inside = inside.strip_suffix(',').unwrap_or(inside);
                    let axes = inside
                        .split(',')
                        .map(str::trim)
                        .filter(|_| !inside.is_empty());
                    let axes: Result<Vec<u64>, _> = axes.map(str::parse).collect();
                    shape = Some(axes.map_err(|_| unreadable("sizes of axes", inside))?);
                    after
                }
                _ => {
                    return Err(unreadable(
                        "descr, fortran_order and shape, once each",
                        rest,
                    ));
                }
            }
            .trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.starts_with('}') => {}
                None => return Err(unreadable("a comma or the end", rest)),
            }
        }
        if !rest[1..].trim().is_empty() {
            return Err(unreadable("the end of the header", &rest[1..]));
        }
        let missing = |name: &str| unreadable(name, text);
        Ok(Self {
            descr: descr.ok_or_else(|| missing("the key descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("the key fortran_order"))?,
            shape: shape.ok_or_else(|| missing("the key shape"))?,
        })
    }
}

/// A quoted string without escapes, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// Writes an array; `values` are as many as `shape` says. One that the element type does not hold is an error, and no file
/// is written.
pub(crate) fn write(
    path: &Path,
    element: ElementType,
    shape: &[usize],
    values: impl Iterator<Item = i64>,
) -> Result<(), DataError> {
    write_file(path, |file| {
        file.write_all(&header_bytes(element, shape))?;
        for value in values {
            let too_wide = |_| {
                let reason = format!("expected values of {}, found {value}", element.descr());
                std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
            };
            match element {
                ElementType::U8 => file.write_all(&[u8::try_from(value).map_err(too_wide)?])?,
                ElementType::I32 => {
                    let value = i32::try_from(value).map_err(too_wide)?;
                    file.write_all(&value.to_le_bytes())?;
                }
                ElementType::I64 => file.write_all(&value.to_le_bytes())?,
            }
        }
        Ok(())
    })
}

/// Writes a file under a temporary name and gives it its own when it is complete.
pub(crate) fn write_file(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), DataError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let write = || {
        let mut file = BufWriter::new(File::create(&temporary)?);
        content(&mut file)?;
        file.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        DataError::write(path)(source)
    })
}

/// The header as numpy writes it: room for the first axis to grow to 21 digits, then spaces up to a multiple of
/// 64.
fn header_bytes(element: ElementType, shape: &[usize]) -> Vec<u8> {
    let axes = match shape {
        [only] => format!("{only},"),
        _ => shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({axes}), }}",
        element.descr()
    );
    let digits = shape.first().map_or(21, |axis| axis.to_string().len());
    text.push_str(&" ".repeat(21 - digits));
    let padding = 64 - (10 + text.len() + 1) % 64;
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8], rank: usize) -> Result<Npy, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        Npy::open(&path, rank).map_err(|error| {
            let above = dir.path().join("").display().to_string();
            error.to_string().replace(&above, "")
        })
    }

    /// A version 1 file with this header text and so many bytes of data.
    fn file(text: &str, data: usize) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn a_value_that_the_element_type_does_not_hold_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        for (element, value) in [
            (ElementType::U8, -100),
            (ElementType::U8, 256),
            (ElementType::I32, 1 << 31),
        ] {
            let error = write(&path, element, &[1], [value].into_iter()).unwrap_err();
            let reason = std::error::Error::source(&error).unwrap().to_string();
            assert!(reason.ends_with(&format!("found {value}")), "{reason}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        for element in [ElementType::U8, ElementType::I32, ElementType::I64] {
            let lowest = if element == ElementType::U8 { 0 } else { -3 };
            write(&path, element, &[2, 3], lowest..lowest + 6).unwrap();
            let npy = Npy::open(&path, 2).unwrap();
            assert_eq!((npy.element(), npy.shape()), (element, &[2, 3][..]));
            assert_eq!(
                npy.read(Ok).unwrap(),
                (lowest..lowest + 6).collect::<Vec<_>>()
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn headers_of_any_order_and_spacing_are_read() {
        let texts = [
            "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }   \n",
            "{\"shape\":(2),\"fortran_order\":False,\"descr\":\"<i4\"}",
            "{ 'fortran_order' : True , 'descr' : '<i4' , 'shape' : ( 2 , ) }",
        ];
        for text in texts {
            assert_eq!(open(&file(text, 8), 1).unwrap().shape(), [2]);
        }
    }

    #[test]
    fn lies_are_told_with_their_field() {
        let head = |descr: &str, fortran: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
        };
        let cases = [
            (
                file(&head("<i4", "False", "(2, 3)"), 23),
                "a.npy: shape: expected as much data as the file holds, 23 bytes, found [2, 3] of <i4",
            ),
            (
                file(&head("<i8", "False", "(4294967296, 4294967296)"), 8),
                "a.npy: shape: expected as much data as the file holds, 8 bytes, \
                 found [4294967296, 4294967296] of <i8",
            ),
            (
                file(&head("<f4", "False", "(2, 3)"), 24),
                "a.npy: descr: expected '|u1', '<i4' or '<i8', found '<f4'",
            ),
            (
                file(&head(">i4", "False", "(2, 3)"), 24),
                "a.npy: descr: expected '|u1', '<i4' or '<i8', found '>i4'",
            ),
            (
                file(&head("<i4", "True", "(2, 3)"), 24),
                "a.npy: fortran_order: expected False, found True",
            ),
            (
                file(&head("<i4", "False", "(6,)"), 24),
                "a.npy: shape: expected 2 axes, found [6]",
            ),
            (
                file(&head("<i4", "False", "(-1, 6)"), 24),
                "a.npy: header: expected sizes of axes, found \"-1, 6\"",
            ),
            (
                file("{'descr': '<i4'}", 24),
                "a.npy: header: expected the key fortran_order, found \"{'descr': '<i4'}\"",
            ),
            (
                file(&"(".repeat(9000), 0),
                "a.npy: header: expected a dictionary, found \"((((((((((((((((((((((((((((((\"",
            ),
            (
                b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
                "a.npy: header: expected a header of at most 10000 bytes, found 4294967295",
            ),
            (
                b"\x93NUMPY\x01\x00\x76\x00{".to_vec(),
                "a.npy: header: expected a numpy header, found the end of the file after 11 bytes",
            ),
            (
                b"\x89PNG\r\n\x1a\n0000".to_vec(),
                "a.npy: magic: expected \\x93NUMPY, found \"\u{fffd}PNG\\r\\n\"",
            ),
        ];
        for (bytes, message) in cases {
            assert_eq!(open(&bytes, 2).unwrap_err(), message);
        }
    }

    #[test]
    fn a_refused_element_is_named_by_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        write(&path, ElementType::I32, &[2, 2], [1, 2, -7, 3].into_iter()).unwrap();
        let small = |v: i64| u8::try_from(v).map_err(|_| "0 to 255".to_owned());
        let error = Npy::open(&path, 2)
            .unwrap()
            .read(small)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("a.npy: [1, 0]: expected 0 to 255, found -7"),
            "{error}"
        );
    }
}
