//! The published data sets: where they are, under which licence, and how they come to the disk.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;

use super::archive::unpack;
use super::is_path;
use super::transfer::{self, Fetched, Progress, Wanted};
use crate::error::DataError;

/// The environment variable that names another hub.
const HUB_VARIABLE: &str = "HF_ENDPOINT";
const HUB: &str = "https://huggingface.co";
/// The environment variable that names another place of GitHub's archives.
const GITHUB_VARIABLE: &str = "HRM_GITHUB_ENDPOINT";
const GITHUB: &str = "https://github.com";
/// Largest CSV file accepted; Sudoku-Extreme's has 720 MB.
const MAX_CSV: u64 = 8 << 30;
/// Largest archive accepted; the published ones have less than 10 MB.
const MAX_ARCHIVE: u64 = 256 << 20;
/// Name of the file that says where a downloaded set is from.
const RECORD: &str = "download.json";

/// A data set of the papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Published {
    /// 3.8 million Sudokus to train on and 420,000 to test, most of them very hard.
    SudokuExtreme,
    /// 1,000 mazes of 30x30 to train on and as many to test.
    MazeHard,
    /// ARC-AGI-1: 400 tasks to train on and as many to evaluate.
    ArcAgi1,
    /// ARC-AGI-2: 1,000 tasks to train on, many of them of ARC-AGI-1, and 120 to evaluate.
    ArcAgi2,
    /// Tasks in the style of ARC by concepts.
    ConceptArc,
}

/// Where a set lies.
enum Origin {
    /// Files of the Hugging Face hub.
    Hub(&'static str, &'static [&'static str]),
    /// A folder of a repository on GitHub.
    GitHub(&'static str, &'static str),
}

/// Where to download from, where not from the usual place.
#[derive(Clone, Debug, Default)]
pub struct DownloadConfig {
    /// Address of the hub, or of GitHub's archives; `None` for `HF_ENDPOINT` or `HRM_GITHUB_ENDPOINT` where they are set, and
    /// the public ones otherwise.
    pub endpoint: Option<String>,
    /// Branch, tag or commit; `None` for the newest.
    pub revision: Option<String>,
    /// SHA-256 that an archive must have, in hex. The hub announces checksums, GitHub does not.
    pub sha256: Option<String>,
}

/// The files of a set, whole, in a folder of their own, which no other program gets at as long as this lives. Created by
/// [`Published::fetch`].
#[derive(Debug)]
pub struct Download {
    set: Published,
    files: Vec<Fetched>,
    _lock: File,
}

/// A set that was put in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Name of the set.
    pub set: &'static str,
    /// The repository that it is from.
    pub repository: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// What was downloaded.
    pub files: Vec<Fetched>,
    /// How many tasks were unpacked from an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<usize>,
    /// The commit of an archive, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SudokuExtreme,
        Self::MazeHard,
        Self::ArcAgi1,
        Self::ArcAgi2,
        Self::ConceptArc,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SudokuExtreme => "sudoku-extreme",
            Self::MazeHard => "maze-hard",
            Self::ArcAgi1 => "arc-agi-1",
            Self::ArcAgi2 => "arc-agi-2",
            Self::ConceptArc => "concept-arc",
        }
    }

    /// The set of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Its licence, as its authors state it.
    pub fn licence(self) -> &'static str {
        match self {
            Self::SudokuExtreme | Self::MazeHard => "none stated",
            Self::ArcAgi1 | Self::ArcAgi2 => "Apache-2.0",
            Self::ConceptArc => "MIT",
        }
    }

    /// The repository that it is from, as `owner/name`.
    pub fn repository(self) -> &'static str {
        match self.origin() {
            Origin::Hub(repository, _) | Origin::GitHub(repository, _) => repository,
        }
    }

    /// Whether it is an archive, whose checksum nobody announces.
    pub fn is_archive(self) -> bool {
        matches!(self.origin(), Origin::GitHub(..))
    }

    fn origin(self) -> Origin {
        const CSV: &[&str] = &["train.csv", "test.csv"];
        match self {
            Self::SudokuExtreme => Origin::Hub("sapientinc/sudoku-extreme", CSV),
            Self::MazeHard => Origin::Hub("sapientinc/maze-30x30-hard-1k", CSV),
            Self::ArcAgi1 => Origin::GitHub("fchollet/ARC-AGI", "data"),
            Self::ArcAgi2 => Origin::GitHub("arcprize/ARC-AGI-2", "data"),
            Self::ConceptArc => Origin::GitHub("victorvikram/ConceptARC", "corpus"),
        }
    }

    /// Downloads the set's files into `folder`, which is made if need be and is for them alone. Files that are there are
    /// not downloaded again, and one that broke off is continued; after a failure, call it again with the same folder.
    ///
    /// The files of the hub are compared with the SHA-256 (git's SHA-1 where they are small) that it announces; an archive of
    /// GitHub has a checksum of its own inside, and is compared with [`DownloadConfig::sha256`] where that is given.
    ///
    /// # Errors
    /// If the server can't be reached, refuses, or sends something else than it announced; if the disk can't be written.
    pub fn fetch(
        self,
        config: &DownloadConfig,
        folder: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Download, DataError> {
        let folder = folder.as_ref();
        let wrong = |what: &str, expected: &str, found: &str| {
            Err(DataError::mismatch(what, expected, format!("`{found}`")))
        };
        if let Some(revision) = config.revision.as_deref().filter(|name| !is_path(name)) {
            return wrong("revision", "a branch, tag or commit", revision);
        }
        let is_sha256 =
            |text: &&str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(sha256) = config.sha256.as_deref() {
            if !self.is_archive() {
                return wrong(
                    "sha256",
                    "one for an archive; the hub announces its own",
                    sha256,
                );
            }
            if !is_sha256(&sha256) {
                return wrong("sha256", "64 hexadecimal digits", sha256);
            }
        }
        let endpoint = self.endpoint(config)?;
        fs::create_dir_all(folder).map_err(DataError::write(folder))?;
        let lock = transfer::lock(folder)?;
        match self.transfer(config, &endpoint, folder, progress) {
            Ok(files) => Ok(Download {
                set: self,
                files,
                _lock: lock,
            }),
            Err(error) => {
                transfer::unmake(folder, lock);
                Err(error)
            }
        }
    }

    fn transfer(
        self,
        config: &DownloadConfig,
        endpoint: &str,
        folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Fetched>, DataError> {
        let agent = transfer::agent();
        let mut files = Vec::new();
        match self.origin() {
            Origin::Hub(repository, names) => {
                let revision = config.revision.as_deref().unwrap_or("main");
                for name in names {
                    let url = format!("{endpoint}/datasets/{repository}/resolve/{revision}/{name}");
                    let wanted = Wanted {
                        name,
                        url: &url,
                        limit: MAX_CSV,
                        announced: true,
                        sha256: None,
                    };
                    files.push(transfer::fetch(&agent, wanted, folder, progress)?);
                }
            }
            Origin::GitHub(repository, _) => {
                let revision = config.revision.as_deref().unwrap_or("HEAD");
                let url = format!("{endpoint}/{repository}/archive/{revision}.tar.gz");
                let wanted = Wanted {
                    name: "archive.tar.gz",
                    url: &url,
                    limit: MAX_ARCHIVE,
                    announced: false,
                    sha256: config.sha256.as_deref(),
                };
                files.push(transfer::fetch(&agent, wanted, folder, progress)?);
            }
        }
        Ok(files)
    }

    fn endpoint(self, config: &DownloadConfig) -> Result<String, DataError> {
        let (variable, usual) = match self.is_archive() {
            true => (GITHUB_VARIABLE, GITHUB),
            false => (HUB_VARIABLE, HUB),
        };
        let named = || {
            std::env::var(variable)
                .ok()
                .filter(|address| !address.is_empty())
        };
        let endpoint = config.endpoint.clone().or_else(named);
        let endpoint = endpoint.unwrap_or_else(|| usual.to_owned());
        match endpoint.starts_with("http://") || endpoint.starts_with("https://") {
            true => Ok(endpoint.trim_end_matches('/').to_owned()),
            false => Err(DataError::mismatch(
                "endpoint",
                "an address that begins with https:// or http://",
                format!("`{endpoint}`"),
            )),
        }
    }
}

impl Download {
    /// Puts the set into a folder as the builders take it: `train.csv` and `test.csv`, or an archive's folders of tasks, with
    /// `download.json` beside them, which says where all of it is from. The downloaded files stay where they are, but for an
    /// archive that is damaged.
    ///
    /// # Errors
    /// If the folder can't be written, or the archive is damaged, holds no tasks, or more or other than a data set may.
    pub fn place(&self, to: impl AsRef<Path>) -> Result<Placed, DataError> {
        let to = to.as_ref();
        let mut placed = Placed {
            set: self.set.name(),
            repository: self.set.repository(),
            licence: self.set.licence(),
            files: self.files.clone(),
            tasks: None,
            commit: None,
        };
        for file in &self.files {
            match self.set.origin() {
                Origin::Hub(..) => {
                    let path = to.join(&file.file);
                    // Under another name first: what is there may be a link to the very file, which a copy would empty.
                    let new = to.join(format!(".{}.new", file.file));
                    let _ = fs::remove_file(&new);
                    fs::hard_link(&file.path, &new)
                        .or_else(|_| fs::copy(&file.path, &new).map(drop))
                        .map_err(DataError::write(&new))?;
                    // A new name of the same file is not renamed, where the old name is there.
                    fs::rename(&new, &path).map_err(DataError::write(&path))?;
                    let _ = fs::remove_file(&new);
                }
                Origin::GitHub(_, folder) => {
                    let unpacked = unpack(&file.path, folder, to).inspect_err(|error| {
                        if !matches!(error, DataError::Write { .. }) {
                            // The next download shall not find it.
                            let _ = fs::remove_file(&file.path);
                        }
                    })?;
                    placed.tasks = Some(unpacked.files);
                    placed.commit = unpacked.commit;
                }
            }
        }
        let path = to.join(RECORD);
        let record = serde_json::to_vec_pretty(&placed).unwrap_or_default();
        fs::write(&path, record).map_err(DataError::write(&path))?;
        Ok(placed)
    }
}
