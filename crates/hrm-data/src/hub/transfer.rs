//! One file over HTTP, into a folder: continued where it broke off, kept under another name until it is whole and its
//! checksum is right.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use ureq::Agent;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};

use super::{checksum, is_hex};
use crate::error::DataError;

/// How often a download that broke off is continued before its error is reported.
const RETRIES: u32 = 3;
/// A server that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest chain of redirections.
const REDIRECTIONS: usize = 8;

/// How far a download has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Bytes that are on the disk.
    pub done: u64,
    /// Bytes in all, where the server says so.
    pub total: Option<u64>,
}

/// A file that lies whole on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Its name.
    pub file: String,
    /// Where it came from.
    pub url: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Where it lies.
    #[serde(skip)]
    pub path: PathBuf,
}

/// What a file has to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub url: &'a str,
    /// Largest size accepted.
    pub limit: u64,
    /// Whether the server must announce a checksum, as the hub does.
    pub announced: bool,
    /// SHA-256 in hex that the file must have.
    pub sha256: Option<&'a str>,
}

/// What is known of a file that is still coming, beside its part on the disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    url: String,
    /// Without it nobody can say whether a second answer is of the same content.
    tag: Option<String>,
}

impl Begun {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// What is known of a whole file, beside it on the disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    url: String,
    sha256: String,
}

impl Done {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn write(&self, path: &Path) -> Result<(), DataError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        fs::write(path, bytes).map_err(DataError::write(path))
    }
}

/// The last of a chain of answers, and what all of them said about the file.
struct Answer {
    response: Response<ureq::Body>,
    /// What the server calls this content; the checksum, if it is the hub.
    tag: Option<String>,
    /// Size of the whole file.
    size: Option<u64>,
}

/// Why an attempt failed.
enum Failure {
    /// Trying again won't help.
    Final(DataError),
    /// The connection broke, or the server is busy.
    Broken(String),
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::Final(error)
    }
}

/// A client that downloads.
pub(super) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        // The bytes as they are on the server: sizes and ranges are of these.
        .accept_encoding("identity")
        .user_agent(concat!("hrm/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Downloads a file into `folder`, or finds it there. What an earlier attempt has left is continued.
pub(super) fn fetch(
    agent: &Agent,
    wanted: Wanted,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, DataError> {
    let path = folder.join(wanted.name);
    let about = folder.join(format!("{}.done", wanted.name));
    if path.is_file()
        && let Some(done) = Done::read(&about).filter(|done| done.url == wanted.url)
    {
        let found = checksum(sha2::Sha256::new(), &path).map_err(DataError::read(&path))?;
        // What was changed since is downloaded anew.
        if found == done.sha256 {
            require(wanted, &path, wanted.sha256, &found)?;
            return fetched(wanted, path, found);
        }
    }
    let mut transfer = Transfer {
        agent,
        wanted,
        part: folder.join(format!("{}.part", wanted.name)),
        begun: folder.join(format!("{}.begun", wanted.name)),
        received: false,
        progress,
    };
    let mut tries = 0;
    let tag = loop {
        match transfer.attempt() {
            Ok(tag) => break tag,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Broken(reason)) => {
                tries += 1;
                // Where nothing has come at all, the address is wrong or the network down.
                if tries > RETRIES || !transfer.received {
                    let kept = transfer.kept();
                    let reason = match kept {
                        0 => reason,
                        kept => format!(
                            "{reason}; {kept} bytes are kept, the next try goes on from there"
                        ),
                    };
                    return Err(failed(wanted.url, reason));
                }
                std::thread::sleep(Duration::from_millis(300) * tries);
            }
        }
    };
    let (part, begun) = (transfer.part, transfer.begun);
    let found = verify(wanted, &part, tag.as_deref())?;
    // Before the file gets its name: where the program ends between the two, an older file of this name is told by its
    // checksum, and the part is still there.
    let done = Done {
        url: wanted.url.into(),
        sha256: found.clone(),
    };
    done.write(&about)?;
    fs::rename(&part, &path).map_err(DataError::write(&path))?;
    // Of no use without the part, and of no harm.
    let _ = fs::remove_file(&begun);
    fetched(wanted, path, found)
}

struct Transfer<'a> {
    agent: &'a Agent,
    wanted: Wanted<'a>,
    /// What has come so far.
    part: PathBuf,
    /// What is known of it.
    begun: PathBuf,
    /// Whether this run has got anything from the server.
    received: bool,
    progress: &'a mut dyn FnMut(Progress),
}

impl Transfer<'_> {
    /// Bytes that a later attempt can go on from.
    fn kept(&self) -> u64 {
        let goes_on = |begun: Begun| begun.url == self.wanted.url && begun.tag.is_some();
        match Begun::read(&self.begun).is_some_and(goes_on) {
            true => self.part.metadata().map_or(0, |about| about.len()),
            false => 0,
        }
    }

    /// Asks for what is missing and writes what comes. Gives the content's tag when it is whole.
    fn attempt(&mut self) -> Result<Option<String>, Failure> {
        let mut start = self.kept();
        let tag = Begun::read(&self.begun).and_then(|begun| begun.tag);
        let mut answer = self.ask(start)?;
        let same = |answer: &Answer| tag.is_some() && tag == answer.tag;
        let first = |answer: &Answer| Some(content_range(answer.response.headers())?.0);
        if start > 0 {
            let status = answer.response.status();
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                if same(&answer) && answer.size == Some(start) {
                    return Ok(answer.tag);
                }
                answer = self.ask(0)?;
                start = 0;
            } else if status == StatusCode::PARTIAL_CONTENT {
                if !same(&answer) || first(&answer) != Some(start) {
                    // Another file by now.
                    answer = self.ask(0)?;
                    start = 0;
                }
            } else {
                // A server that doesn't know ranges sends all of it.
                start = 0;
            }
        }
        self.receive(answer, start)
    }

    fn receive(&mut self, answer: Answer, start: u64) -> Result<Option<String>, Failure> {
        let Wanted {
            url, limit, name, ..
        } = self.wanted;
        let status = answer.response.status();
        if status != StatusCode::OK && !(status == StatusCode::PARTIAL_CONTENT && start > 0) {
            return Err(refused(url, status));
        }
        self.received = true;
        let too_large = |found| DataError::TooLarge {
            path: self.part.clone(),
            limit,
            found,
        };
        if let Some(size) = answer.size.filter(|&size| size > limit) {
            return Err(too_large(size).into());
        }
        if self.wanted.announced && answer.tag.as_deref().is_none_or(|tag| !is_checksum(tag)) {
            let reason = "expected the checksum of the file, the server announces none";
            return Err(failed(url, reason.into()).into());
        }
        let unwritten = |source| Failure::Final(DataError::write(&self.part)(source));
        let mut file = OpenOptions::new()
            .create(true)
            .append(start > 0)
            .write(true)
            .truncate(start == 0)
            .open(&self.part)
            .map_err(unwritten)?;
        if start == 0 {
            let begun = Begun {
                url: url.into(),
                tag: answer.tag.clone(),
            };
            let bytes = serde_json::to_vec(&begun).unwrap_or_default();
            fs::write(&self.begun, bytes).map_err(DataError::write(&self.begun))?;
        }
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut done = start;
        loop {
            (self.progress)(Progress {
                file: name,
                done,
                total: answer.size,
            });
            let count = body
                .read(&mut buffer)
                .map_err(|why| Failure::Broken(format!("the download broke off: {why}")))?;
            if count == 0 {
                break;
            }
            done += count as u64;
            if done > limit {
                return Err(too_large(done).into());
            }
            file.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(unwritten)?;
        }
        file.sync_all().map_err(unwritten)?;
        match answer.size {
            Some(size) if done < size => Err(Failure::Broken(format!(
                "the download broke off after {done} of {size} bytes"
            ))),
            // More than announced is found by the checksum, or here.
            Some(size) if done > size => {
                let _ = fs::remove_file(&self.part);
                Err(Failure::Final(DataError::Download {
                    what: url.into(),
                    expected: format!("{size} bytes"),
                    found: done.to_string(),
                }))
            }
            _ => Ok(answer.tag),
        }
    }

    /// Asks for the file from byte `start` on, wherever the server sends us.
    fn ask(&self, start: u64) -> Result<Answer, Failure> {
        let url = self.wanted.url;
        let mut at = url.to_owned();
        let (mut linked_tag, mut linked_size) = (None, None);
        for _ in 0..=REDIRECTIONS {
            let mut request = self.agent.get(&at);
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                    Failure::Final(failed(&at, "expected an address, found none".into()))
                }
                error => Failure::Broken(error.to_string()),
            })?;
            let headers = response.headers();
            // Of a large file the hub itself says what it is; the host that holds it may call it otherwise.
            linked_tag = linked_tag.or_else(|| tag(headers, "x-linked-etag"));
            linked_size = linked_size.or_else(|| number(headers, "x-linked-size"));
            let status = response.status();
            if !status.is_redirection() {
                let whole = match (status, content_range(headers)) {
                    (_, Some((_, total))) => total,
                    (StatusCode::OK, None) => number(headers, "content-length"),
                    _ => None,
                };
                return Ok(Answer {
                    tag: linked_tag.or_else(|| tag(headers, "etag")),
                    size: linked_size.or(whole),
                    response,
                });
            }
            at = text(headers, "location")
                .and_then(|to| join(&at, to))
                .ok_or_else(|| failed(&at, "redirected to no address".into()))?;
        }
        Err(failed(url, format!("redirected more than {REDIRECTIONS} times")).into())
    }
}

/// Compares a whole file with the checksum that its tag is, and with the one demanded. Gives its SHA-256; a file that is
/// wrong is removed.
fn verify(wanted: Wanted, part: &Path, tag: Option<&str>) -> Result<String, DataError> {
    let unread = DataError::read(part);
    let found = checksum(sha2::Sha256::new(), part).map_err(unread)?;
    if let Some(tag) = tag.filter(|_| wanted.announced) {
        if tag.len() == 40 {
            let size = part.metadata().map_err(unread)?.len();
            let blob = sha1::Sha1::new_with_prefix(format!("blob {size}\0"));
            let git = checksum(blob, part).map_err(unread)?;
            require(wanted, part, Some(tag), &git)?;
        } else {
            require(wanted, part, Some(tag), &found)?;
        }
    }
    require(wanted, part, wanted.sha256, &found)?;
    Ok(found)
}

fn require(
    wanted: Wanted,
    path: &Path,
    expected: Option<&str>,
    found: &str,
) -> Result<(), DataError> {
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(found) => {
            let _ = fs::remove_file(path);
            Err(DataError::Download {
                what: wanted.url.into(),
                expected: expected.into(),
                found: found.into(),
            })
        }
        _ => Ok(()),
    }
}

fn fetched(wanted: Wanted, path: PathBuf, sha256: String) -> Result<Fetched, DataError> {
    Ok(Fetched {
        file: wanted.name.into(),
        url: wanted.url.into(),
        bytes: path.metadata().map_err(DataError::read(&path))?.len(),
        sha256,
        path,
    })
}

fn refused(url: &str, status: StatusCode) -> Failure {
    match status.as_u16() {
        404 | 410 => failed(
            url,
            "the server knows no such repository, revision or file".into(),
        )
        .into(),
        401 | 403 => failed(url, "the server wants a token with access".into()).into(),
        408 | 429 | 500.. => Failure::Broken(format!("the server answered {status}")),
        _ => failed(url, format!("the server answered {status}")).into(),
    }
}

/// The address that `to` means on a page of the address `from`. Nobody is led from an encrypted connection to an open one.
fn join(from: &str, to: &str) -> Option<String> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && (scheme.chars()).all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let absolute = to.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
    if let Some((scheme, _)) = absolute {
        let open = scheme.eq_ignore_ascii_case("http");
        let safe = scheme.eq_ignore_ascii_case("https") || (open && !from.starts_with("https:"));
        return safe.then(|| to.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    match to.strip_prefix("//") {
        Some(rest) => Some(format!("{}://{rest}", from.scheme_str()?)),
        None if to.starts_with('/') => Some(format!(
            "{}://{}{to}",
            from.scheme_str()?,
            from.authority()?
        )),
        None => None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// A tag without its quotes and its mark of weakness.
fn tag(headers: &HeaderMap, name: &str) -> Option<String> {
    let tag = text(headers, name)?
        .trim_start_matches("W/")
        .trim_matches('"');
    (!tag.is_empty() && tag.len() <= 256).then(|| tag.to_owned())
}

/// First byte and whole size of `bytes 5-9/10` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(headers, "content-range")?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let first = range
        .split_once('-')
        .map_or(Some(0), |(first, _)| first.parse().ok())?;
    Some((first, total.parse().ok()))
}

fn is_checksum(tag: &str) -> bool {
    matches!(tag.len(), 40 | 64) && is_hex(tag)
}

fn failed(what: &str, reason: String) -> DataError {
    DataError::Hub {
        what: what.into(),
        reason,
    }
}

/// File by which a folder is locked.
const LOCK: &str = ".lock";

/// Leaves nothing of a locked folder into which nothing has come.
pub(super) fn unmake(folder: &Path, lock: File) {
    // Windows removes no file that is open; elsewhere nobody gets at it before it is gone.
    let _lock = (!cfg!(windows)).then_some(lock);
    let is_bare = |entries: fs::ReadDir| entries.flatten().all(|entry| entry.file_name() == LOCK);
    if fs::read_dir(folder).is_ok_and(is_bare) {
        let _ = fs::remove_file(folder.join(LOCK));
        let _ = fs::remove_dir(folder);
    }
}

/// The sole user of a folder, as long as this lives.
pub(super) fn lock(folder: &Path) -> Result<File, DataError> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(DataError::write(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(failed(
            &folder.display().to_string(),
            "another program downloads into this folder".into(),
        )),
        // A file system without locks.
        Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_stay_encrypted_and_may_be_relative() {
        let from = "https://hub/a/b?c";
        assert_eq!(join(from, "/d?e").unwrap(), "https://hub/d?e");
        assert_eq!(join(from, "//cdn/d").unwrap(), "https://cdn/d");
        let within = "/d?from=http://elsewhere";
        assert_eq!(join(from, within).unwrap(), format!("https://hub{within}"));
        assert_eq!(join(from, "https://cdn/d").unwrap(), "https://cdn/d");
        for to in ["http://cdn/d", "file:///etc/passwd", "d", ""] {
            assert_eq!(join(from, to), None, "{to}");
        }
        assert_eq!(
            join("http://hub/a", "http://cdn/d").unwrap(),
            "http://cdn/d"
        );
    }

    #[test]
    fn ranges_are_read() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes */10"), Some((0, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for text in ["lines 5-9/10", "bytes x-9/10", "bytes 5"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
