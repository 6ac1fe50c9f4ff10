//! Where the bytes of a checkpoint come from.

use std::fs::File;
use std::io;
use std::path::Path;

use rawzip::{FileReader, ReaderAt};

/// Most bytes read at once.
const CHUNK: usize = 1 << 20;

/// An open file or bytes in memory, read at any place.
///
/// A file is read and not mapped: a mapped file that another program shortens ends the process, and its pages would count
/// as memory of the program beside the tensors made of them.
#[derive(Debug)]
pub(super) enum Source {
    File { reader: FileReader, len: u64 },
    Bytes(Vec<u8>),
}

impl Source {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "expected a regular file",
            ));
        }
        Ok(Self::File {
            len: metadata.len(),
            reader: file.into(),
        })
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The first `count` bytes, or all where there are fewer.
    pub fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        self.bytes(0, self.len().min(count as u64))
    }

    /// `len` bytes from `start`, which must lie within the source, or nothing is allocated.
    pub fn bytes(&self, start: u64, len: u64) -> io::Result<Vec<u8>> {
        let len = self.checked(start, len)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    /// Hands `len` bytes from `start` to `take` in pieces whose lengths, but the last's, are multiples of 8.
    pub fn stream(&self, start: u64, len: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let len = self.checked(start, len)?;
        let mut buffer = vec![0; len.min(CHUNK)];
        let mut done = 0;
        while done < len {
            let count = (len - done).min(CHUNK);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            self.read_exact_at(piece, start + done as u64)?;
            take(piece);
            done += count;
        }
        Ok(())
    }

    fn checked(&self, start: u64, len: u64) -> io::Result<usize> {
        start
            .checked_add(len)
            .filter(|&end| end <= self.len())
            .and_then(|_| usize::try_from(len).ok())
            .ok_or_else(|| {
                let reason = format!("expected {len} bytes at byte {start} of {}", self.len());
                io::Error::new(io::ErrorKind::UnexpectedEof, reason)
            })
    }
}

impl ReaderAt for Source {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File { reader, len } if offset < *len => reader.read_at(buf, offset),
            Self::File { .. } => Ok(0),
            Self::Bytes(bytes) => bytes.read_at(buf, offset),
        }
    }
}
