//! An opened checkpoint: what it holds is known and checked, the tensors' bytes are read on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::element::DType;
use super::error::StoreError;
use super::source::Source;
use super::torch;

/// Largest header of a safetensors file. Those of the published models have some ten kilobytes.
const MAX_HEADER: u64 = 8 << 20;

/// Type and shape of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first; empty for a single number.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements. Never more than the file has bytes.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The checksum that an archive declares for one of its entries.
#[derive(Clone, Debug)]
pub(super) struct Checksum {
    entry: String,
    crc: u32,
}

impl Checksum {
    /// A checksum of 0 is that of an archive saved without checksums.
    pub fn of(entry: String, crc: u32) -> Option<Self> {
        (crc != 0).then_some(Self { entry, crc })
    }

    pub fn check(&self, found: u32, file: &str) -> Result<(), StoreError> {
        if found == self.crc {
            return Ok(());
        }
        Err(StoreError::Checksum {
            file: file.into(),
            part: self.entry.clone(),
            expected: self.crc,
            found,
        })
    }
}

/// Where the elements of a tensor are: in the `len` bytes from `start` of the source, element `(i, j, ..)` at
/// `offset + i * strides[0] + j * strides[1] + ..` elements. Made only after checking that all lie within.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub start: u64,
    pub len: u64,
    pub checksum: Option<Checksum>,
    pub offset: usize,
    pub strides: Vec<usize>,
}

impl Layout {
    fn is_contiguous(&self, shape: &[usize]) -> bool {
        let mut expected = 1;
        self.strides
            .iter()
            .zip(shape)
            .rev()
            .all(|(&stride, &size)| {
                let fits = size == 1 || stride == expected;
                expected *= size;
                fits
            })
    }
}

/// A torch checkpoint or safetensors file, opened.
///
/// The names, types and shapes are known and checked against the file; bytes are read when asked for. Nothing in the file
/// is executed, and no allocation is larger than the file justifies.
#[derive(Debug)]
pub struct TensorFile {
    label: String,
    source: Source,
    tensors: BTreeMap<String, (TensorInfo, Layout)>,
    metadata: BTreeMap<String, String>,
    /// Entries of an archive whose checksums were found right before a part of them was read.
    checked: Mutex<BTreeSet<String>>,
}

impl TensorFile {
    /// Opens a file; its content tells the format, whatever its name.
    ///
    /// # Errors
    /// If the file can't be read, is neither a torch checkpoint nor a safetensors file, or is damaged; if its pickle names
    /// a Python object that is no part of a tensor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let label = path.display().to_string();
        match Source::open(path) {
            Ok(source) => Self::new(source, label),
            Err(source) => Err(StoreError::Read {
                file: label,
                source,
            }),
        }
    }

    /// As [`open`](Self::open), of a file's content. `label` stands for its path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, label: &str) -> Result<Self, StoreError> {
        Self::new(Source::Bytes(bytes), label.to_owned())
    }

    fn new(source: Source, label: String) -> Result<Self, StoreError> {
        let read = |source| StoreError::Read {
            file: label.clone(),
            source,
        };
        let head = source.head(512).map_err(read)?;
        let (tensors, metadata) = if head.starts_with(b"PK\x03\x04") {
            (torch::open(&source, &label)?, BTreeMap::new())
        } else if let Some(len) = safetensors_header(&head, source.len()) {
            let header = source.bytes(8, len).map_err(read)?;
            safetensors(&header, source.len(), &label)?
        } else {
            return Err(StoreError::NotACheckpoint {
                found: describe(&head),
                file: label,
            });
        };
        Ok(Self {
            label,
            source,
            tensors,
            metadata,
            checked: Mutex::default(),
        })
    }

    /// The file's path, or what stands for it, as messages name it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Names of the tensors, sorted. Those in nested dictionaries are joined by dots.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Type and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    /// The metadata of a safetensors file; empty for a torch checkpoint.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The elements of a tensor in row-major order, any float type converted to f32.
    ///
    /// # Errors
    /// If there is no such tensor, if its elements are no floats, if the file can't be read, or if a checksum is wrong.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        let (info, layout) = self.tensor(name)?;
        self.read_floats(name, info, layout)
    }

    /// The rows `rows` of a tensor, as [`read_f32`](Self::read_f32): for tables of which only a part is wanted. A checksum is
    /// of the whole, so the first call reads all of it once, in pieces.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32), and if the tensor hasn't these rows.
    pub fn read_rows_f32(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, StoreError> {
        let (info, layout) = self.tensor(name)?;
        let (mut info, mut layout) = (info.clone(), layout.clone());
        let (Some(count), Some(stride)) = (info.shape.first_mut(), layout.strides.first()) else {
            return Err(self.fault(name, "is a single number and has no rows"));
        };
        if rows.start > rows.end || rows.end > *count {
            return Err(self.fault(name, format!("has {count} rows, asked for rows {rows:?}")));
        }
        *count = rows.len();
        layout.offset = layout
            .offset
            .saturating_add(rows.start.saturating_mul(*stride));
        self.read_floats(name, &info, &layout)
    }

    /// The elements of a tensor of integers or booleans in row-major order.
    ///
    /// # Errors
    /// If there is no such tensor, if its elements are floats, if the file can't be read, or if a checksum is wrong.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>, StoreError> {
        let (info, layout) = self.tensor(name)?;
        if info.dtype.is_float() {
            return Err(self.element_type(name, "integers", info.dtype));
        }
        let mut out = Vec::with_capacity(info.num_elements());
        self.stream(info, layout, |bytes| info.dtype.extend_i64(bytes, &mut out))?;
        Ok(out)
    }

    /// Index, in row-major order, of the first element that is NaN or infinite.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32).
    pub fn first_non_finite(&self, name: &str) -> Result<Option<usize>, StoreError> {
        let (info, layout) = self.tensor(name)?;
        if !info.dtype.is_float() {
            return Err(self.element_type(name, "floats", info.dtype));
        }
        let (mut seen, mut first) = (0, None);
        let mut values = Vec::new();
        self.stream(info, layout, |bytes| {
            values.clear();
            info.dtype.extend_f32(bytes, &mut values);
            first =
                first.or_else(|| Some(seen + values.iter().position(|value| !value.is_finite())?));
            seen += values.len();
        })?;
        Ok(first)
    }

    fn read_floats(
        &self,
        name: &str,
        info: &TensorInfo,
        layout: &Layout,
    ) -> Result<Vec<f32>, StoreError> {
        if !info.dtype.is_float() {
            return Err(self.element_type(name, "floats", info.dtype));
        }
        let mut out = Vec::with_capacity(info.num_elements());
        self.stream(info, layout, |bytes| info.dtype.extend_f32(bytes, &mut out))?;
        Ok(out)
    }

    /// Hands the bytes of a tensor's elements in row-major order to `take`, in pieces of whole elements.
    fn stream(
        &self,
        info: &TensorInfo,
        layout: &Layout,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), StoreError> {
        let count = info.num_elements();
        if count == 0 {
            return Ok(());
        }
        let size = info.dtype.size();
        let first = layout.start + (layout.offset * size) as u64;
        let read = |source| StoreError::Read {
            file: self.label.clone(),
            source,
        };
        let len = (count * size) as u64;
        let contiguous = layout.is_contiguous(&info.shape);
        let is_whole = contiguous && len == layout.len;
        if !is_whole {
            self.check_entry(layout)?;
        }
        if contiguous {
            let whole = layout.checksum.as_ref().filter(|_| is_whole);
            let mut crc = crc32fast::Hasher::new();
            self.source
                .stream(first, len, |bytes| {
                    if whole.is_some() {
                        crc.update(bytes);
                    }
                    take(bytes);
                })
                .map_err(read)?;
            return whole.map_or(Ok(()), |checksum| {
                checksum.check(crc.finalize(), &self.label)
            });
        }
        let span: usize = info
            .shape
            .iter()
            .zip(&layout.strides)
            .map(|(&size, &stride)| (size - 1) * stride)
            .sum();
        let window = self
            .source
            .bytes(first, ((span + 1) * size) as u64)
            .map_err(read)?;
        let mut index = vec![0usize; info.shape.len()];
        for _ in 0..count {
            let at: usize = index
                .iter()
                .zip(&layout.strides)
                .map(|(&i, &stride)| i * stride)
                .sum();
            take(window.get(at * size..(at + 1) * size).unwrap_or_default());
            for (i, &size) in index.iter_mut().zip(&info.shape).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Ok(())
    }

    /// Compares the checksum of the entry that holds a tensor, once however many parts of the entry are read.
    fn check_entry(&self, layout: &Layout) -> Result<(), StoreError> {
        let Some(checksum) = &layout.checksum else {
            return Ok(());
        };
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().contains(&checksum.entry) {
            return Ok(());
        }
        let mut crc = crc32fast::Hasher::new();
        self.source
            .stream(layout.start, layout.len, |bytes| crc.update(bytes))
            .map_err(|source| StoreError::Read {
                file: self.label.clone(),
                source,
            })?;
        checksum.check(crc.finalize(), &self.label)?;
        checked().insert(checksum.entry.clone());
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<&(TensorInfo, Layout), StoreError> {
        self.tensors
            .get(name)
            .ok_or_else(|| StoreError::NoSuchTensor {
                file: self.label.clone(),
                name: name.into(),
            })
    }

    fn fault(&self, name: &str, reason: impl Into<String>) -> StoreError {
        StoreError::Tensor {
            file: self.label.clone(),
            name: name.into(),
            reason: reason.into(),
        }
    }

    fn element_type(&self, name: &str, expected: &'static str, found: DType) -> StoreError {
        StoreError::ElementType {
            file: self.label.clone(),
            name: name.into(),
            expected,
            found,
        }
    }
}

/// Length of the JSON of what looks like a safetensors file: 8 bytes of length, then an object, all within the file.
fn safetensors_header(head: &[u8], file_len: u64) -> Option<u64> {
    let len = u64::from_le_bytes(*head.first_chunk()?);
    (head.get(8) == Some(&b'{') && len <= MAX_HEADER && len <= file_len.checked_sub(8)?)
        .then_some(len)
}

type Contents = (
    BTreeMap<String, (TensorInfo, Layout)>,
    BTreeMap<String, String>,
);

fn safetensors(header: &[u8], file_len: u64, label: &str) -> Result<Contents, StoreError> {
    let container = |reason: String| StoreError::Container {
        file: label.into(),
        reason,
    };
    let parsed: safetensors::tensor::Metadata = serde_json::from_slice(header)
        .map_err(|err| container(format!("damaged safetensors header: {err}")))?;
    let data_start = 8 + header.len() as u64;
    let expected = (parsed.data_len() as u64).checked_add(data_start);
    if expected != Some(file_len) {
        return Err(container(format!(
            "the safetensors header speaks of {} bytes of tensors, {} follow it",
            parsed.data_len(),
            file_len - data_start
        )));
    }
    let mut tensors = BTreeMap::new();
    for (name, found) in parsed.tensors() {
        let Some(dtype) = DType::from_safetensors(found.dtype) else {
            let reason = format!(
                "expected floats of 16 to 64 bits, signed integers, bytes or booleans, found {}",
                found.dtype
            );
            return Err(StoreError::Tensor {
                file: label.into(),
                name,
                reason,
            });
        };
        let mut strides = vec![1; found.shape.len()];
        let mut stride = 1usize;
        for (slot, &size) in strides.iter_mut().zip(&found.shape).rev() {
            *slot = stride;
            stride = stride.saturating_mul(size.max(1));
        }
        let (start, end) = found.data_offsets;
        let layout = Layout {
            start: data_start + start as u64,
            len: (end - start) as u64,
            checksum: None,
            offset: 0,
            strides,
        };
        tensors.insert(
            name,
            (
                TensorInfo {
                    dtype,
                    shape: found.shape.clone(),
                },
                layout,
            ),
        );
    }
    let metadata = parsed
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok((tensors, metadata))
}

/// What a file that is no checkpoint looks like, by its first bytes.
fn describe(head: &[u8]) -> String {
    let known: [(&[u8], &str); 9] = [
        (
            b"version https://git-lfs",
            "a Git LFS pointer: fetch the file itself with `git lfs pull`",
        ),
        (b"\x93NUMPY", "a numpy array"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"GGUF", "a GGUF file"),
        (b"\x1f\x8b", "gzip data: decompress it first"),
        (b"\x28\xb5\x2f\xfd", "zstd data: decompress it first"),
        (b"<!DOCTYPE", "an HTML page"),
        (b"<html", "an HTML page"),
        (b"PK\x05\x06", "an empty zip archive"),
    ];
    if head.is_empty() {
        return "an empty file".into();
    }
    if let Some((_, name)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*name).into();
    }
    if safetensors_header(head, u64::MAX).is_some() {
        return "a safetensors file that is cut off within its header".into();
    }
    if let [0x80, protocol, ..] = head
        && *protocol <= 5
    {
        return "a bare pickle, as torch wrote before 1.6: save it again with a newer torch".into();
    }
    // A cut in the middle of a character is no sign of anything else.
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(err) if err.error_len().is_none() => {
            std::str::from_utf8(head.get(..err.valid_up_to()).unwrap_or_default()).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
            let start: String = text.chars().take(40).collect();
            format!("text that begins with {start:?}")
        }
        _ => format!(
            "bytes that begin with {:02x?}",
            head.get(..8).unwrap_or(head)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> String {
        match TensorFile::from_bytes(bytes.to_vec(), "x") {
            Err(StoreError::NotACheckpoint { found, .. }) => found,
            other => panic!("expected no checkpoint, found {other:?}"),
        }
    }

    #[test]
    fn other_files_are_told_by_what_they_look_like() {
        assert_eq!(found(b""), "an empty file");
        assert_eq!(
            found(b"arch:\n  name: hrm"),
            "text that begins with \"arch:\\n  name: hrm\""
        );
        assert_eq!(found(b"\x93NUMPY\x01\x00"), "a numpy array");
        assert!(found(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").contains("before 1.6"));
        assert!(found(b"version https://git-lfs.github.com/spec/v1\n").contains("LFS"));
        assert!(found(b"\xff\xfe\x00\x01").contains("ff, fe"));
        assert!(found(b"\x80\x00\x00\x00\x00\x00\x00\x00{\"a\":").contains("cut off"));
    }

    #[test]
    fn contiguity_ignores_sizes_of_one() {
        let layout = |strides: &[usize]| Layout {
            start: 0,
            len: 0,
            checksum: None,
            offset: 0,
            strides: strides.to_vec(),
        };
        assert!(layout(&[6, 99, 1]).is_contiguous(&[4, 1, 6]));
        assert!(!layout(&[1, 4]).is_contiguous(&[4, 6]));
        assert!(layout(&[]).is_contiguous(&[]));
    }
}
