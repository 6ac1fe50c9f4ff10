//! Files of the Hugging Face hub: checkpoints and data sets, downloaded once, kept in the hub's usual cache folder, and
//! compared with the checksums that the hub announces.
//!
//! `HF_HOME` moves the cache, `HF_ENDPOINT` names another hub; a download that was cut off is continued.
//!
//! The data sets of the papers, on the hub and on GitHub, are [`Published`]; they go where the caller wants them, not into the
//! cache.

mod archive;
mod published;
mod transfer;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha2::Digest;

pub use published::{Download, DownloadConfig, Placed, Published};
pub use transfer::{Fetched, Progress};

use crate::error::DataError;

/// Name of the configuration that the reference programs store beside a checkpoint.
pub const CONFIG_FILE: &str = "all_config.yaml";
/// How often a broken download is continued.
const RETRIES: usize = 3;
/// Revision where none is named.
const MAIN: &str = "main";

/// Where the hub is and where its files go.
#[derive(Clone, Debug, Default)]
pub struct HubConfig {
    /// Address of the hub; `None` for `HF_ENDPOINT` or the public one. No stored token is sent to an address given here.
    pub endpoint: Option<String>,
    /// Folder of the cache; `None` for the hub's usual one.
    pub cache_dir: Option<PathBuf>,
    /// Whether to draw a progress bar on stderr.
    pub progress: bool,
}

/// A repository of the hub, as `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Of weights.
    Model(String),
    /// Of data.
    DataSet(String),
}

impl Repository {
    fn name(&self) -> &str {
        match self {
            Self::Model(name) | Self::DataSet(name) => name,
        }
    }
}

/// The files of a checkpoint on the local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// The weights.
    pub weights: PathBuf,
    /// The configuration, `all_config.yaml`, where the repository has one.
    pub config: Option<PathBuf>,
}

/// A connection to the hub. Created by [`Hub::new`].
#[derive(Debug)]
pub struct Hub {
    api: Api,
    cache: Cache,
}

impl Hub {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// If the connection can't be prepared.
    pub fn new(config: HubConfig) -> Result<Self, DataError> {
        let mut builder = ApiBuilder::from_env()
            .with_progress(config.progress)
            .with_retries(RETRIES)
            .with_user_agent("hrm", env!("CARGO_PKG_VERSION"));
        let mut cache = Cache::from_env();
        if let Some(endpoint) = config.endpoint {
            builder = builder
                .with_endpoint(endpoint.trim_end_matches('/').to_owned())
                .with_token(None);
        }
        if let Some(dir) = config.cache_dir {
            builder = builder.with_cache_dir(dir.clone());
            cache = Cache::new(dir);
        }
        let api = builder.build().map_err(|err| hub_error("hub", &err))?;
        Ok(Self { api, cache })
    }

    /// Names of a repository's files at a revision (`None` for `main`).
    ///
    /// # Errors
    /// If the repository's name is malformed, or the hub doesn't know it or can't be reached.
    pub fn list(
        &self,
        repository: &Repository,
        revision: Option<&str>,
    ) -> Result<Vec<String>, DataError> {
        self.contents(repository, revision).map(|(files, _)| files)
    }

    /// Names of a repository's files at a revision, and the commit that the revision stands for now.
    fn contents(
        &self,
        repository: &Repository,
        revision: Option<&str>,
    ) -> Result<(Vec<String>, String), DataError> {
        let (api, _) = self.open(repository, revision)?;
        let info = api.info().map_err(|err| {
            let file = api.url("");
            // The address as people know it, which says also which hub was asked.
            let page = file.split_once("/resolve/").map(|(page, _)| page);
            hub_error(page.unwrap_or(&file), &err)
        })?;
        let files = info.siblings.into_iter().map(|file| file.rfilename);
        Ok((files.collect(), info.sha))
    }

    /// A file of a repository: out of the cache if it is there, downloaded otherwise. Its checksum is compared in either
    /// case with the one that the hub announced (SHA-256 of large files, git's SHA-1 of the others).
    ///
    /// A branch is what it was when the cache last heard of it; [`fetch_checkpoint`](Self::fetch_checkpoint) asks the hub.
    ///
    /// # Errors
    /// If a name is malformed, the hub doesn't know it or can't be reached, or the file isn't the one announced.
    pub fn fetch(
        &self,
        repository: &Repository,
        revision: Option<&str>,
        file: &str,
    ) -> Result<PathBuf, DataError> {
        let (api, repo) = self.open(repository, revision)?;
        if !is_path(file) {
            return Err(DataError::Hub {
                what: repository.name().into(),
                reason: format!("expected the name of a file, found `{file}`"),
            });
        }
        let url = api.url(file);
        let revision = repo.revision().to_owned();
        let cache = self.cache.repo(repo);
        let cached = if is_commit(&revision) {
            // Whatever program has put it there.
            Some(cache.pointer_path(&revision).join(file)).filter(|path| path.exists())
        } else {
            cache.get(file)
        };
        if let Some(path) = cached {
            return verify(&path, None, &url).map(|()| path);
        }
        let announced = self
            .api
            .metadata(&url)
            .map_err(|err| hub_error(&url, &err))?;
        // Both become parts of paths in the cache.
        let etag = announced.etag().trim_start_matches("W/");
        if !is_hex(etag) || !is_hex(announced.commit_hash()) {
            return Err(DataError::Hub {
                what: url,
                reason: "expected checksums of the file and its revision".into(),
            });
        }
        let path = api.download(file).map_err(|err| hub_error(&url, &err))?;
        verify(&path, Some(announced.size() as u64), &url)?;
        Ok(path)
    }

    /// The weights of a repository, and its configuration if it has one. `file` names the weights; where it is `None`, the
    /// repository must hold one file that looks like them: `checkpoint`, or a `.safetensors`, `.pt`, `.pth` or `step_*` file.
    ///
    /// The hub is asked which commit the revision stands for, and both files are of that commit; those that the cache has of
    /// it are not downloaded again.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), if the hub can't be reached, and if there is no such file or more than one.
    pub fn fetch_checkpoint(
        &self,
        repository: &Repository,
        revision: Option<&str>,
        file: Option<&str>,
    ) -> Result<CheckpointFiles, DataError> {
        let (files, commit) = self.contents(repository, revision)?;
        if !is_commit(&commit) {
            return Err(DataError::Hub {
                what: repository.name().into(),
                reason: "expected the commit that the revision stands for".into(),
            });
        }
        let weights = match file {
            Some(file) => file,
            None => choose_weights(&files).map_err(|reason| DataError::Hub {
                what: repository.name().into(),
                reason,
            })?,
        };
        let config = files.iter().any(|name| name == CONFIG_FILE);
        let fetched = CheckpointFiles {
            config: if config {
                Some(self.fetch(repository, Some(&commit), CONFIG_FILE)?)
            } else {
                None
            },
            weights: self.fetch(repository, Some(&commit), weights)?,
        };
        let (_, repo) = self.open(repository, revision)?;
        if repo.revision() != commit {
            // For those who ask the cache alone. Where it can't be written, they find what it knew before.
            let _ = self.cache.repo(repo).create_ref(&commit);
        }
        Ok(fetched)
    }

    fn open(
        &self,
        repository: &Repository,
        revision: Option<&str>,
    ) -> Result<(ApiRepo, Repo), DataError> {
        let name = repository.name();
        let revision = revision.unwrap_or(MAIN);
        let malformed = |reason: String| {
            Err(DataError::Hub {
                what: name.into(),
                reason,
            })
        };
        if name.split('/').count() != 2 || !is_path(name) {
            return malformed("expected a repository as `owner/name`".into());
        }
        if !is_path(revision) {
            return malformed(format!(
                "expected the name of a revision, found `{revision}`"
            ));
        }
        let kind = match repository {
            Repository::Model(_) => RepoType::Model,
            Repository::DataSet(_) => RepoType::Dataset,
        };
        let repo = Repo::with_revision(name.to_owned(), kind, revision.to_owned());
        Ok((self.api.repo(repo.clone()), repo))
    }
}

/// The one file that looks like weights.
fn choose_weights(files: &[String]) -> Result<&str, String> {
    if let Some(name) = files.iter().find(|name| *name == "checkpoint") {
        return Ok(name);
    }
    let looks_right = |name: &&String| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.starts_with("step_")
            || [".safetensors", ".pt", ".pth"]
                .iter()
                .any(|end| last.ends_with(end))
    };
    let candidates: Vec<&str> = files
        .iter()
        .filter(looks_right)
        .map(String::as_str)
        .collect();
    match candidates.as_slice() {
        [one] => Ok(one),
        [] => Err(format!(
            "expected a file of weights, found {}",
            files.join(", ")
        )),
        many => Err(format!(
            "expected one file of weights, found {}: name one",
            many.join(", ")
        )),
    }
}

/// Parts of letters, digits, `-`, `_` and `.`, joined by `/`; none of them `..` or hidden.
fn is_path(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.len() <= 256
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain))
}

fn is_hex(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The whole name of a commit. Unlike a branch's, what it stands for never changes.
fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && is_hex(revision)
}

/// Compares a file of the cache with its announced size, and with the checksum that the cache names its content by. What
/// is wrong is removed, so that it is downloaded anew.
fn verify(path: &Path, size: Option<u64>, url: &str) -> Result<(), DataError> {
    let read = DataError::read(path);
    let content = path.canonicalize().map_err(read)?;
    let found_size = content.metadata().map_err(read)?.len();
    let announced = content
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let (expected, found) = match size {
        Some(size) if size != found_size => (format!("{size} bytes"), found_size.to_string()),
        _ => {
            let found = match announced.len() {
                64 if is_hex(announced) => checksum(sha2::Sha256::new(), &content),
                40 if is_hex(announced) => checksum(
                    sha1::Sha1::new_with_prefix(format!("blob {found_size}\0")),
                    &content,
                ),
                // A cache without links, on systems that have none, doesn't know the checksum.
                _ => return Ok(()),
            };
            (announced.to_owned(), found.map_err(read)?)
        }
    };
    if expected.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    for wrong in [&content, path] {
        // What can't be removed is found wrong again next time.
        let _ = fs::remove_file(wrong);
    }
    Err(DataError::Download {
        what: url.into(),
        expected,
        found,
    })
}

fn checksum(mut digest: impl Digest, path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(buffer.get(..count).unwrap_or_default());
    }
    Ok(hex::encode(digest.finalize()))
}

fn hub_error(what: &str, err: &ApiError) -> DataError {
    let text = err.to_string();
    // The words of its client; numbers alone may stand in the address.
    let is = |code: u16| text.contains(&format!("http status: {code}"));
    let reason = if is(404) {
        "the hub knows no such repository, revision or file".to_owned()
    } else if is(401) || is(403) {
        // So it answers for what doesn't exist, too, where nobody is logged in.
        "the hub knows no such repository, or wants a token with access: log in with the hub's own tool".to_owned()
    } else {
        text
    };
    DataError::Hub {
        what: what.into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(files: &[&str]) -> Result<String, String> {
        let files: Vec<String> = files.iter().map(|&name| name.to_owned()).collect();
        choose_weights(&files).map(str::to_owned)
    }

    #[test]
    fn weights_are_chosen_by_name() {
        assert_eq!(
            choose(&["README.md", "all_config.yaml", "checkpoint"]).unwrap(),
            "checkpoint"
        );
        assert_eq!(
            choose(&["step_26041", "all_config.yaml"]).unwrap(),
            "step_26041"
        );
        assert_eq!(
            choose(&["a.txt", "weights/model.safetensors"]).unwrap(),
            "weights/model.safetensors"
        );
        assert!(
            choose(&["a.pt", "b.pth"])
                .unwrap_err()
                .contains("found a.pt, b.pth: name one")
        );
        assert!(
            choose(&["README.md"])
                .unwrap_err()
                .contains("found README.md")
        );
    }

    #[test]
    fn names_that_leave_the_cache_are_malformed() {
        for name in ["a/b", "sapientinc/HRM-checkpoint-ARC-2", "a", "v1.0/x.npy"] {
            assert!(is_path(name), "{name}");
        }
        for name in [
            "",
            "/a",
            "a/../b",
            "..",
            "a//b",
            ".git/config",
            "a b",
            "a?b",
            "a\\b",
        ] {
            assert!(!is_path(name), "{name}");
        }
    }
}
