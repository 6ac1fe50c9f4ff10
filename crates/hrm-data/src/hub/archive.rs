//! Files out of a `.tar.gz` archive as GitHub makes them: those that are wanted, under plain names, and not more than a data
//! set may hold.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use tar::Archive;

use super::{is_hex, is_path};
use crate::error::DataError;

/// An archive may hold so many bytes. Those of the published sets hold less than 20 MB.
const MAX_BYTES: u64 = 512 << 20;
/// An archive may have so many entries. Those of the published sets have less than 2,000.
const MAX_ENTRIES: usize = 1 << 16;
/// Largest file unpacked; a task has less than 100 KB.
const MAX_FILE: u64 = 8 << 20;

/// What was unpacked.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// How many files of the folder.
    pub files: usize,
    /// The commit that GitHub notes in its archives.
    pub commit: Option<String>,
}

/// Unpacks the JSON files of `folder`, and what the archive's top has of licence and readme. The folder that every path
/// begins with, `NAME-REVISION`, is left out.
pub(super) fn unpack(archive: &Path, folder: &str, to: &Path) -> Result<Unpacked, DataError> {
    let garbled = DataError::read(archive);
    let problem = |field: &str, expected: &str, found: String| DataError::Field {
        path: archive.into(),
        field: field.into(),
        expected: expected.into(),
        found,
    };
    let file = File::open(archive).map_err(garbled)?;
    let mut tar = Archive::new(Bounded {
        inner: GzDecoder::new(BufReader::new(file)),
        left: MAX_BYTES,
    });
    let mut unpacked = Unpacked::default();
    let mut names = BTreeSet::new();
    for (index, entry) in tar.entries().map_err(garbled)?.enumerate() {
        let mut entry = entry.map_err(garbled)?;
        if index >= MAX_ENTRIES {
            let expected = format!("at most {MAX_ENTRIES}");
            return Err(problem("entries", &expected, "more".into()));
        }
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            unpacked.commit = unpacked.commit.or(commit(&mut entry).map_err(garbled)?);
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let outside = |part: &str| part == ".." || part.contains(['\\', '\0']);
        if name.starts_with('/') || name.split('/').any(outside) {
            return Err(problem(
                "entries",
                "paths inside of it",
                format!("{name:?}"),
            ));
        }
        let Some((_, inner)) = name.split_once('/') else {
            continue;
        };
        let of_folder = inner
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/') && rest.ends_with(".json"));
        let about = !inner.contains('/')
            && ["LICENSE", "LICENCE", "README"]
                .iter()
                .any(|start| inner.starts_with(start));
        if kind.is_dir() || !(of_folder || about) {
            continue;
        }
        if !kind.is_file() {
            return Err(problem(inner, "a file", format!("{kind:?}")));
        }
        if !is_path(inner) || !names.insert(inner.to_owned()) {
            let found = format!("{inner:?}");
            return Err(problem("entries", "plain names, each once", found));
        }
        if entry.size() > MAX_FILE {
            return Err(DataError::TooLarge {
                path: archive.join(inner),
                limit: MAX_FILE,
                found: entry.size(),
            });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(garbled)?;
        let path = to.join(inner);
        let parent = path.parent().unwrap_or(to);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(DataError::write(&path))?;
        unpacked.files += usize::from(of_folder);
    }
    // To the end, where the checksum of all of it is.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(garbled)?;
    if unpacked.files == 0 {
        let expected = format!("JSON files in {folder}/");
        return Err(problem("entries", &expected, "none".into()));
    }
    Ok(unpacked)
}

/// The commit in a record of the form `52 comment=<commit>`.
fn commit(entry: &mut impl Read) -> io::Result<Option<String>> {
    let mut text = String::new();
    // A comment that is no text is no commit.
    let _ = entry.take(1024).read_to_string(&mut text);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(" comment="))
        .map(|(_, comment)| comment.trim().to_owned())
        .find(|comment| comment.len() == 40 && is_hex(comment)))
}

/// A reader that refuses to give more than so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {MAX_BYTES} bytes"))
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use tar::{Builder, EntryType, Header};

    /// An archive with these entries; paths are written as they are, however hostile.
    fn pack(entries: &[(&str, EntryType, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = Builder::new(GzEncoder::new(file.reopen().unwrap(), Compression::fast()));
        for (path, kind, bytes) in entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        file
    }

    fn unpacked(entries: &[(&str, EntryType, &[u8])]) -> (Result<Unpacked, String>, Vec<String>) {
        let (archive, to) = (pack(entries), tempfile::tempdir().unwrap());
        let result = unpack(archive.path(), "data", to.path()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        });
        let mut found = Vec::new();
        let mut folders = vec![to.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        found.push(path.strip_prefix(to.path()).unwrap().display().to_string())
                    }
                }
            }
        }
        found.sort();
        (result, found)
    }

    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn what_is_wanted_is_unpacked() {
        let comment = b"52 comment=0123456789abcdef0123456789abcdef01234567\n";
        let (result, found) = unpacked(&[
            ("pax_global_header", EntryType::XGlobalHeader, comment),
            ("ARC-0123/", EntryType::Directory, b""),
            ("ARC-0123/LICENSE", FILE, b"Apache"),
            ("ARC-0123/apps/x.json", FILE, b"{}"),
            ("ARC-0123/link", EntryType::Symlink, b""),
            ("ARC-0123/data/.DS_Store", FILE, b"x"),
            ("ARC-0123/data/training/", EntryType::Directory, b""),
            ("ARC-0123/data/training/a.json", FILE, b"{}"),
            ("ARC-0123/database/b.json", FILE, b"{}"),
        ]);
        let unpacked = result.unwrap();
        assert_eq!(unpacked.files, 1);
        assert_eq!(
            unpacked.commit.as_deref(),
            Some("0123456789abcdef0123456789abcdef01234567")
        );
        assert_eq!(found, ["LICENSE", "data/training/a.json"]);
    }

    #[test]
    fn hostile_paths_and_links_are_refused() {
        for (path, kind, expected) in [
            ("../data/a.json", FILE, "paths inside of it"),
            ("/tmp/data/a.json", FILE, "paths inside of it"),
            ("x/data/../../../a.json", FILE, "paths inside of it"),
            ("x/data/..\\a.json", FILE, "paths inside of it"),
            ("x/data/a b.json", FILE, "plain names"),
            ("x/data/.a.json", FILE, "plain names"),
            ("x/data/a.json", EntryType::Symlink, "expected a file"),
            ("x/data/a.json", EntryType::Link, "expected a file"),
            ("x/LICENSE", EntryType::Symlink, "expected a file"),
            ("x/other/a.json", FILE, "JSON files in data/"),
        ] {
            let (result, found) = unpacked(&[(path, kind, b"")]);
            let error = result.unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
            assert!(found.is_empty(), "{path}: {found:?}");
        }
        let twice = [
            ("x/data/a.json", FILE, &b"1"[..]),
            ("x/data/a.json", FILE, b"2"),
        ];
        assert!(unpacked(&twice).0.unwrap_err().contains("each once"));
    }

    #[test]
    fn bombs_are_refused() {
        let large = vec![b' '; MAX_FILE as usize + 1];
        let (result, found) = unpacked(&[("x/data/a.json", FILE, &large)]);
        assert!(
            result
                .unwrap_err()
                .contains("expected at most 8388608 bytes")
        );
        assert!(found.is_empty());

        // Half a gigabyte of zeros in half a megabyte, before anything wanted.
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut gzip = GzEncoder::new(file.reopen().unwrap(), Compression::best());
        let mut header = Header::new_ustar();
        header.set_path("x/zeros").unwrap();
        header.set_entry_type(FILE);
        header.set_size(MAX_BYTES);
        header.set_cksum();
        gzip.write_all(header.as_bytes()).unwrap();
        io::copy(&mut io::repeat(0).take(MAX_BYTES + 1024), &mut gzip).unwrap();
        gzip.finish().unwrap();
        let to = tempfile::tempdir().unwrap();
        let error = unpack(file.path(), "data", to.path()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.contains("unpacks to more than 536870912 bytes"),
            "{cause}"
        );
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = fs::read(pack(&[("x/data/a.json", FILE, &[b'1'; 4000])]).path()).unwrap();
        let to = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), bytes).unwrap();
            unpack(file.path(), "data", to.path()).map(drop)
        };
        read(&whole).unwrap();
        for length in [0, 5, whole.len() / 2, whole.len() - 1] {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        let mut wrong = whole.clone();
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        assert!(read(&wrong).is_err(), "a wrong checksum");
        assert!(read(b"<html>not found</html>").is_err());
    }
}
