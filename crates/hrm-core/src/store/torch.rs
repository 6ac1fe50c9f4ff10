//! The zip archive that `torch.save` writes.
//!
//! Its entries are stored uncompressed below one folder: `data.pkl` says which tensors there are, `data/KEY` are the bytes
//! of their storages, `byteorder` is `little`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipLocator};

use super::element::DType;
use super::error::StoreError;
use super::pickle::{Fault, Object, Pickle, RawTensor};
use super::source::Source;
use super::tensor_file::{Checksum, Layout, TensorInfo};

/// Most entries of the archive.
const MAX_ENTRIES: usize = 1 << 16;
/// Largest `data.pkl`. That of the published models has some ten kilobytes.
const MAX_PICKLE: u64 = 16 << 20;
/// Longest name of a tensor.
const MAX_NAME: usize = 512;
/// Deepest nesting of dictionaries and lists around a tensor.
const MAX_DEPTH: usize = 16;

/// An entry of the archive.
#[derive(Clone, Debug)]
struct Entry {
    start: u64,
    len: u64,
    crc: u32,
}

/// Everything but the tensors' bytes.
pub(super) fn open(
    source: &Source,
    file: &str,
) -> Result<BTreeMap<String, (TensorInfo, Layout)>, StoreError> {
    let entries = entries(source, file)?;
    let pickles: Vec<&String> = entries
        .keys()
        .filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .collect();
    let [pickle] = pickles.as_slice() else {
        let first: Vec<&str> = entries.keys().take(4).map(String::as_str).collect();
        let found = match pickles.len() {
            0 => format!(
                "a zip archive without data.pkl, which isn't torch's ({} entries: {})",
                entries.len(),
                first.join(", ")
            ),
            count => format!("a zip archive with {count} entries named data.pkl"),
        };
        return Err(StoreError::NotACheckpoint {
            file: file.into(),
            found,
        });
    };
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default();
    let archive = Archive {
        source,
        file,
        root,
        entries: &entries,
    };

    if let Some(order) = archive.small_entry("byteorder", 16)?
        && order.trim_ascii() != b"little"
    {
        return Err(archive.container(format!(
            "expected byte order `little`, found `{}`",
            String::from_utf8_lossy(&order)
        )));
    }
    let Some(bytes) = archive.small_entry("data.pkl", MAX_PICKLE)? else {
        return Err(archive.container("data.pkl is missing".into()));
    };
    let pickle = Pickle::read(&bytes).map_err(|fault| match fault {
        Fault::Broken { at, reason } => StoreError::Pickle {
            file: file.into(),
            offset: at,
            reason,
        },
        Fault::Foreign { at, global } => StoreError::ForeignGlobal {
            file: file.into(),
            offset: at,
            global,
        },
    })?;
    archive.tensors(&pickle, bytes.len())
}

fn entries(source: &Source, file: &str) -> Result<BTreeMap<String, Entry>, StoreError> {
    let container = |reason: String| StoreError::Container {
        file: file.into(),
        reason,
    };
    let damaged = |err: rawzip::Error| container(format!("damaged or cut off zip archive: {err}"));
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive: ZipArchive<&Source> = ZipLocator::new()
        .locate_in_reader(source, &mut buffer, source.len())
        .map_err(|(_, err)| damaged(err))?;
    let mut found = BTreeMap::new();
    let mut listing = archive.entries(&mut buffer);
    while let Some(entry) = listing.next_entry().map_err(damaged)? {
        if found.len() >= MAX_ENTRIES {
            return Err(container(format!(
                "expected at most {MAX_ENTRIES} zip entries"
            )));
        }
        let path = entry.file_path();
        let Ok(name) = std::str::from_utf8(path.as_bytes()).map(str::to_owned) else {
            return Err(container("expected names of zip entries in UTF-8".into()));
        };
        if name.len() > MAX_NAME {
            return Err(container(format!(
                "expected names of zip entries of at most {MAX_NAME} bytes"
            )));
        }
        if entry.is_dir() {
            continue;
        }
        if entry.compression_method() != CompressionMethod::STORE
            || entry.compressed_size_hint() != entry.uncompressed_size_hint()
        {
            return Err(container(format!(
                "entry {name} is compressed; torch stores its entries uncompressed"
            )));
        }
        let (start, end) = archive
            .get_entry(entry.wayfinder())
            .map_err(damaged)?
            .compressed_data_range();
        if start > end || end > source.len() {
            return Err(container(format!(
                "entry {name} reaches to byte {end} of a file of {}: the file is cut off",
                source.len()
            )));
        }
        let entry = Entry {
            start,
            len: end - start,
            crc: entry.crc32(),
        };
        if found.insert(name.clone(), entry).is_some() {
            return Err(container(format!("entry {name} appears twice")));
        }
    }
    Ok(found)
}

struct Archive<'a> {
    source: &'a Source,
    file: &'a str,
    root: &'a str,
    entries: &'a BTreeMap<String, Entry>,
}

impl Archive<'_> {
    fn container(&self, reason: String) -> StoreError {
        StoreError::Container {
            file: self.file.into(),
            reason,
        }
    }

    /// The checked bytes of an entry of at most `limit` bytes.
    fn small_entry(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let name = format!("{}{name}", self.root);
        let Some(entry) = self.entries.get(&name) else {
            return Ok(None);
        };
        if entry.len > limit {
            return Err(self.container(format!(
                "expected {name} to have at most {limit} bytes, found {}",
                entry.len
            )));
        }
        let bytes = self
            .source
            .bytes(entry.start, entry.len)
            .map_err(|source| StoreError::Read {
                file: self.file.into(),
                source,
            })?;
        let checksum = Checksum::of(name, entry.crc);
        if let Some(checksum) = &checksum {
            checksum.check(crc32fast::hash(&bytes), self.file)?;
        }
        Ok(Some(bytes))
    }

    /// Collects the tensors below the root object; the name of a tensor is the path of keys that leads to it.
    fn tensors(
        &self,
        pickle: &Pickle,
        pickle_len: usize,
    ) -> Result<BTreeMap<String, (TensorInfo, Layout)>, StoreError> {
        let broken = |reason: String| StoreError::Pickle {
            file: self.file.into(),
            offset: pickle_len,
            reason,
        };
        let mut storages = HashMap::new();
        let mut found = BTreeMap::new();
        let mut pending = vec![(pickle.root, String::new(), 0)];
        let mut visited = 0usize;
        while let Some((id, name, depth)) = pending.pop() {
            let mut descend = |key: &str, value| {
                visited += 1;
                let path = if name.is_empty() {
                    key.to_owned()
                } else {
                    format!("{name}.{key}")
                };
                if depth >= MAX_DEPTH || path.len() > MAX_NAME || visited > MAX_ENTRIES {
                    return Err(broken(format!(
                        "expected at most {MAX_ENTRIES} entries, {MAX_DEPTH} dictionaries deep, with names of at most {MAX_NAME} bytes"
                    )));
                }
                pending.push((value, path, depth + 1));
                Ok(())
            };
            match pickle.get(id) {
                Object::Dict(pairs) => {
                    // Of equal keys the last counts, as in Python.
                    let mut values = BTreeMap::new();
                    for &(key, value) in pairs {
                        match pickle.get(key) {
                            Object::Text(key) if key.len() <= MAX_NAME => {
                                values.insert(Cow::from(key), value);
                            }
                            Object::Int(key) => {
                                values.insert(Cow::from(key.to_string()), value);
                            }
                            _ => {
                                return Err(broken(format!(
                                    "expected keys of at most {MAX_NAME} bytes in `{name}`"
                                )));
                            }
                        }
                    }
                    let repeated = pairs.len() - values.len();
                    for (key, value) in values {
                        descend(&key, value)?;
                    }
                    visited += repeated;
                }
                Object::Sequence(items) => {
                    for (index, &value) in items.iter().enumerate() {
                        descend(&index.to_string(), value)?;
                    }
                }
                Object::Tensor(tensor) => {
                    let placed = self
                        .place(pickle, tensor, &mut storages)
                        .map_err(|reason| StoreError::Tensor {
                            file: self.file.into(),
                            name: name.clone(),
                            reason,
                        })?;
                    found.insert(name, placed);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Checks a tensor against its storage, and the storage against the file.
    fn place<'p>(
        &self,
        pickle: &'p Pickle,
        tensor: &RawTensor,
        storages: &mut HashMap<&'p str, Entry>,
    ) -> Result<(TensorInfo, Layout), String> {
        let Object::Storage { dtype, key, numel } = pickle.get(tensor.storage) else {
            return Err("has no storage".into());
        };
        let Object::Text(key) = pickle.get(*key) else {
            return Err("has a storage without a name".into());
        };
        let entry = match storages.get(key.as_str()) {
            Some(entry) => entry.clone(),
            None if key.len() > MAX_NAME => return Err("has a storage with too long a name".into()),
            None => {
                let name = format!("{}data/{key}", self.root);
                let entry = self
                    .entries
                    .get(&name)
                    .ok_or_else(|| format!("its storage {name} isn't in the archive"))?;
                storages.insert(key, entry.clone());
                entry.clone()
            }
        };
        let bytes = u64::try_from(*numel)
            .ok()
            .and_then(|numel| numel.checked_mul(dtype.size() as u64));
        if bytes.is_none_or(|bytes| bytes > entry.len) {
            return Err(format!(
                "its storage should hold {numel} {dtype} but has {} bytes",
                entry.len
            ));
        }
        let layout = Layout {
            start: entry.start,
            len: entry.len,
            checksum: Checksum::of(format!("data/{key}"), entry.crc),
            offset: usize::try_from(tensor.offset)
                .map_err(|_| format!("has the offset {}", tensor.offset))?,
            strides: Vec::new(),
        };
        view(*dtype, *numel as u64, tensor, layout)
    }
}

/// Checks that a tensor's shape and strides stay within its storage of `numel` elements, and that it has no more elements
/// than that, so that its size in memory is justified by the file.
fn view(
    dtype: DType,
    numel: u64,
    tensor: &RawTensor,
    mut layout: Layout,
) -> Result<(TensorInfo, Layout), String> {
    let dims = |values: &[i64]| {
        values
            .iter()
            .map(|&value| usize::try_from(value).ok())
            .collect::<Option<Vec<usize>>>()
    };
    let bad = || {
        format!(
            "has shape {:?} and strides {:?}",
            tensor.shape, tensor.strides
        )
    };
    let (Some(shape), Some(strides)) = (dims(&tensor.shape), dims(&tensor.strides)) else {
        return Err(bad());
    };
    if shape.len() != strides.len() {
        return Err(bad());
    }
    let elements = shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    if elements.is_none_or(|elements| elements as u64 > numel) {
        return Err(format!(
            "has shape {:?}, more than the {numel} elements of its storage",
            tensor.shape
        ));
    }
    if elements != Some(0) {
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(layout.offset, |last, (&size, &stride)| {
                last.checked_add((size - 1).checked_mul(stride)?)
            });
        if last.is_none_or(|last| last as u64 >= numel) {
            return Err(format!(
                "{}, offset {}: reaches beyond the {numel} elements of its storage",
                bad(),
                tensor.offset
            ));
        }
    }
    layout.strides = strides;
    Ok((TensorInfo { dtype, shape }, layout))
}
