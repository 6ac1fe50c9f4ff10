//! Data folders: the format of the reference builders, and `hrm.json` of ours beside it.
//!
//! ```text
//! <dir>/identifiers.json                 names by puzzle id
//! <dir>/hrm.json                         task, augmentation, provenance; the reference programs do not read it
//! <dir>/<split>/dataset.json             sizes and special ids
//! <dir>/<split>/<set>__inputs.npy        [examples, S]; labels the same
//! <dir>/<split>/<set>__puzzle_identifiers.npy  [puzzles]
//! <dir>/<split>/<set>__puzzle_indices.npy      [puzzles + 1], offsets into examples
//! <dir>/<split>/<set>__group_indices.npy       [groups + 1], offsets into puzzles
//! ```
//! A set with derived puzzles (ARC's augmentations) is stored as its originals; two more arrays, which only we
//! read, say what is derived: `<set>__derived.npy` `[puzzles, 3]` with original, code and puzzle id, and
//! `<set>__derived_group_indices.npy`.

use crate::draws::{Draws, Stream};
use crate::identifiers::Identifiers;
use crate::npy::{self, ElementType, Npy};
use crate::set::{DerivedPuzzle, check_offsets, check_tokens};
use crate::tokens::Tokens;
use crate::{Augmentation, DataError, IGNORED, PuzzleSet, SetInfo, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sizes and special ids; what makes a folder a split.
pub(crate) const DATASET: &str = "dataset.json";
/// What we know of a data folder besides.
const ABOUT: &str = "hrm.json";
/// Names by puzzle id.
const IDENTIFIERS: &str = "identifiers.json";

/// No `dataset.json` or `hrm.json` is larger.
const MAX_ABOUT: u64 = 1 << 20;
/// No `identifiers.json` is larger.
const MAX_IDENTIFIERS: u64 = 1 << 30;

/// How a set was stored, so that it is written back the same way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Element types of the files of inputs and labels, the widest of all sets; `None` lets the writer choose.
    pub inputs: Option<ElementType>,
    pub labels: Option<ElementType>,
    /// Names of the sets and how many groups each has; empty means one set named `all`.
    pub parts: Vec<(String, usize)>,
}

/// Where a set comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The files it was made from.
    pub sources: Vec<SourceFile>,
    /// The command that made it.
    pub command: String,
    /// Seed of that command, if it draws.
    pub seed: Option<u64>,
}

/// A file that a set was made from, or a folder of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name.
    pub name: String,
    /// SHA-256 in hex; empty of a pipe. That of a folder is of the lines that `sha256sum` says of its tasks, in the order of their paths.
    pub sha256: String,
}

/// `dataset.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Dataset {
    pad_id: u64,
    ignore_label_id: Option<i64>,
    blank_identifier_id: u64,
    vocab_size: u64,
    seq_len: u64,
    num_puzzle_identifiers: u64,
    total_groups: u64,
    mean_puzzle_examples: f64,
    /// Written by TRM's builders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_puzzles: Option<u64>,
    sets: Vec<String>,
}

/// `hrm.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hrm {
    format: u32,
    task: Task,
    splits: BTreeMap<String, Split>,
}

/// Counts of the arrays that were written.
struct Totals {
    groups: usize,
    puzzles: usize,
    examples: usize,
    sets: Vec<String>,
}

/// What `hrm.json` says about a split.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    #[serde(default)]
    augmentation: Augmentation,
    /// Whether there are arrays of derived puzzles.
    #[serde(default)]
    derived: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provenance: Option<Provenance>,
}

/// The arrays of one or more sets, one after the other.
#[derive(Default)]
struct Arrays {
    puzzle_ids: Vec<u32>,
    puzzle_offsets: Vec<u32>,
    group_offsets: Vec<u32>,
    derived: Vec<DerivedPuzzle>,
    derived_groups: Vec<u32>,
    layout: Layout,
}

impl PuzzleSet {
    /// Reads a split of a data folder. Arrays of bytes are mapped into memory: they must not change while the
    /// set is in use.
    ///
    /// A folder without our `hrm.json` is read too: the task is inferred from the sizes, and a training split
    /// of Sudokus or mazes whose groups are single examples, that is originals, is augmented when drawn.
    ///
    /// # Errors
    /// With file and field: what cannot be read, is malformed or contradicts the rest.
    pub fn load(dir: impl AsRef<Path>, split: &str) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        let folder = dir.join(split);
        let about = folder.join(DATASET);
        let dataset: Dataset = read_json(&about, MAX_ABOUT)?;
        let hrm_path = dir.join(ABOUT);
        let hrm: Option<Hrm> = match hrm_path.exists() {
            true => Some(read_json(&hrm_path, MAX_ABOUT)?),
            false => None,
        };
        if let Some(hrm) = &hrm
            && hrm.format != 1
        {
            return Err(problem(&hrm_path, "format", 1, hrm.format));
        }
        let info = dataset.info(&about, hrm.as_ref().map(|hrm| hrm.task))?;
        let ours = hrm.and_then(|mut hrm| hrm.splits.remove(split));
        let derived = ours.as_ref().is_some_and(|split| split.derived);

        if dataset.sets.is_empty() {
            return Err(problem(&about, "sets", "at least one", "none"));
        }
        let (mut inputs, mut labels) = (Tokens::new(), Tokens::new());
        let mut arrays = Arrays::default();
        for (at, name) in dataset.sets.iter().enumerate() {
            let portable = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(portable) {
                let expected = "a name without path";
                return Err(problem(
                    &about,
                    &format!("sets[{at}]"),
                    expected,
                    format!("{name:?}"),
                ));
            }
            if dataset.sets[..at].contains(name) {
                let field = format!("sets[{at}]");
                return Err(problem(&about, &field, "a new name", format!("{name:?}")));
            }
            let base = folder.join(name);
            arrays.append(&base, name, &info, &mut inputs, &mut labels, derived)?;
        }
        dataset.check_counts(&about, &arrays)?;

        let single = |offsets: &[u32]| offsets.windows(2).all(|pair| pair[1] - pair[0] == 1);
        let originals = single(&arrays.puzzle_offsets) && single(&arrays.group_offsets);
        let augmentation = match &ours {
            Some(split) => split.augmentation,
            None if originals && split == "train" => Augmentation::of_originals(info.task),
            None => Augmentation::None,
        };
        let names_path = dir.join(IDENTIFIERS);
        let names: Option<Identifiers> = match names_path.exists() {
            true => Some(read_json(&names_path, MAX_IDENTIFIERS)?),
            false => None,
        };
        let mut set = Self {
            augmentation: Augmentation::None,
            inputs,
            labels,
            first_row: 0,
            puzzle_ids: arrays.puzzle_ids,
            puzzle_offsets: arrays.puzzle_offsets,
            group_offsets: arrays.group_offsets,
            derived: None,
            identifiers: None,
            fingerprint: Default::default(),
            provenance: ours.and_then(|split| split.provenance).map(Arc::new),
            layout: arrays.layout,
            info,
        };
        if derived {
            let (puzzles, groups) = (arrays.derived, arrays.derived_groups);
            if let Some(names) = &names {
                check_derived_names(&puzzles, &set.puzzle_ids, names)
                    .map_err(|e| in_file(&names_path, e))?;
            }
            set = set
                .with_derived(&puzzles, groups)
                .map_err(|e| in_file(&folder, e))?;
        }
        set = set
            .with_augmentation(augmentation)
            .map_err(|e| in_file(&hrm_path, e))?;
        if let Some(names) = names {
            if let Some(name) = names.duplicate() {
                let found = format!("{name:?} twice");
                return Err(problem(&names_path, "names", "each name once", found));
            }
            set = set
                .with_identifiers(Arc::new(names))
                .map_err(|e| in_file(&names_path, e))?;
        }
        Ok(set)
    }

    /// Writes the set as a split of a data folder, which is made if need be; another split in it stays. Arrays
    /// keep the element types they were read with, the widest where the sets of the split differ.
    ///
    /// A split that is there is replaced once all is written; until then it stays as it is, whatever fails.
    ///
    /// # Errors
    /// [`DataError::Write`]; [`DataError::Mismatch`] if the set has ignored labels but no id for them;
    /// [`DataError::Field`] if the folder holds a split of another task or with other names of the puzzle ids.
    pub fn save(&self, dir: impl AsRef<Path>, split: &str) -> Result<(), DataError> {
        let dir = dir.as_ref();
        let saving = self.begin_save(dir, split)?;
        let originals = self.originals();
        originals.save_arrays(&saving.new)?;
        if let Some(derived) = &self.derived {
            self.save_derived(&saving.new, derived)?;
        }
        let totals = Totals {
            groups: originals.num_groups(),
            puzzles: originals.num_puzzles(),
            examples: originals.num_examples(),
            sets: originals
                .parts()
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
        };
        self.finish_save(saving, self.augmentation, self.derived.is_some(), totals)
    }

    /// Writes the set as [`PuzzleSet::save`] does, but with the augmented puzzles written out, for programs that
    /// do not augment as they draw: each original is followed by `copies` augmented ones in its group. Those of a maze are turned and flipped
    /// differently, up to 7 of a square one and 3 of another; more repeat these. Derived
    /// puzzles (ARC's augmentations) are written once each, whatever `copies`. Returns how many examples were written.
    ///
    /// # Errors
    /// As [`PuzzleSet::save`]; [`DataError::Mismatch`] if that makes 2^32 examples or more.
    pub fn save_materialized(
        &self,
        dir: impl AsRef<Path>,
        split: &str,
        copies: usize,
        seed: u64,
    ) -> Result<usize, DataError> {
        let dir = dir.as_ref();
        let copies = match self.augmentation {
            Augmentation::Sudoku | Augmentation::Maze(_) => copies,
            _ => 0,
        };
        let times = copies.saturating_add(1);
        let too_many = || DataError::mismatch("augmented examples", "below 2^32", "more");
        let examples = self
            .num_examples()
            .checked_mul(times)
            .ok_or_else(too_many)?;
        u32::try_from(examples).map_err(|_| too_many())?;
        let (mut ids, mut puzzle_offsets, mut group_offsets) = (Vec::new(), vec![0], vec![0]);
        // Puzzle, and its number among the copies.
        let mut puzzles = Vec::new();
        let puzzles_in_all = self.num_puzzles().saturating_mul(times);
        ids.try_reserve_exact(puzzles_in_all)
            .and_then(|()| puzzle_offsets.try_reserve_exact(puzzles_in_all))
            .and_then(|()| puzzles.try_reserve_exact(puzzles_in_all))
            .map_err(|_| {
                let expected = "as many as memory holds the numbers of";
                DataError::mismatch("augmented examples", expected, examples)
            })?;
        let saving = self.begin_save(dir, split)?;
        let mut end = 0;
        for group in 0..self.num_groups() {
            for copy in 0..times {
                for puzzle in self.group(group) {
                    puzzles.push((puzzle as u32, copy as u32));
                    ids.push(self.puzzle_ids[puzzle]);
                    end += self.puzzle(puzzle).len() as u32;
                    puzzle_offsets.push(end);
                }
            }
            group_offsets.push(puzzles.len() as u32);
        }
        let (inputs_type, labels_type) = self.element_types()?;
        let ignored = self.info.ignore_label_id.unwrap_or_default();
        let draws = Draws::new(seed);
        let path = |array: &str| saving.new.join(format!("all__{array}.npy"));
        let shape = [examples, self.info.seq_len];
        let moved = matches!(self.augmentation, Augmentation::ArcTranslated);
        // Both arrays are drawn alike: a draw depends on the example's number and, of a maze, the copy's.
        let rows = |labels: bool| {
            let (puzzles, offsets, draws) = (&puzzles, &puzzle_offsets, &draws);
            puzzles
                .iter()
                .zip(offsets)
                .flat_map(move |(&(puzzle, copy), &first)| {
                    let puzzle = puzzle as usize;
                    (0..self.puzzle(puzzle).len()).flat_map(move |k| {
                        let mut row = self.blank_batch(1);
                        if copy > 0 || moved {
                            let number = match self.augmentation {
                                // That of the original, as the copies take turns.
                                Augmentation::Maze(_) => (self.puzzle(puzzle).start + k) as u64,
                                _ => u64::from(first) + k as u64,
                            };
                            let mut rng = draws.at(Stream::Augmentation, number);
                            let copy = (copy as usize).checked_sub(1);
                            self.vary_example((puzzle, k), copy, &mut row, 0, &mut rng);
                        } else {
                            self.read_example(puzzle, k, &mut row, 0);
                        }
                        let tokens = if labels { row.labels } else { row.inputs };
                        tokens.into_iter().map(move |token| match token {
                            IGNORED => ignored,
                            token => i64::from(token),
                        })
                    })
                })
        };
        npy::write(&path("inputs"), inputs_type, &shape, rows(false))?;
        npy::write(&path("labels"), labels_type, &shape, rows(true))?;
        write_numbers(&path("puzzle_identifiers"), &ids)?;
        write_numbers(&path("puzzle_indices"), &puzzle_offsets)?;
        write_numbers(&path("group_indices"), &group_offsets)?;
        let totals = Totals {
            groups: self.num_groups(),
            puzzles: puzzles.len(),
            examples,
            sets: vec!["all".to_owned()],
        };
        self.finish_save(saving, Augmentation::None, false, totals)?;
        Ok(examples)
    }

    /// Begins to write a split, and refuses a folder of another task or of other names.
    fn begin_save<'a>(&self, dir: &'a Path, split: &'a str) -> Result<Saving<'a>, DataError> {
        self.read_about(dir)?;
        let names = self.names_to_write(dir, split)?;
        Saving::begin(dir, split, names)
    }

    /// The names that `identifiers.json` shall have; `None` where it stays as it is. Another split needs its own.
    fn names_to_write(
        &self,
        dir: &Path,
        split: &str,
    ) -> Result<Option<Arc<Identifiers>>, DataError> {
        let path = dir.join(IDENTIFIERS);
        let count = self.info.num_puzzle_ids;
        if !path.exists() {
            let blank = || (count == 1).then(|| Arc::new(Identifiers::blank()));
            return Ok(self.identifiers.clone().or_else(blank));
        }
        let found: Identifiers = read_json(&path, MAX_IDENTIFIERS)?;
        let (expected, found) = match &self.identifiers {
            Some(names) if **names == found => return Ok(None),
            Some(names) if !has_other_split(dir, split)? => return Ok(Some(names.clone())),
            None if found.len() == count => return Ok(None),
            Some(_) => (
                format!("the {count} names of the set to be saved"),
                format!("{} others, which another split needs", found.len()),
            ),
            None => (
                format!("{count} names, as many as the set has puzzle ids"),
                found.len().to_string(),
            ),
        };
        Err(problem(&path, "names", expected, found))
    }

    /// What `hrm.json` says so far.
    fn read_about(&self, dir: &Path) -> Result<Hrm, DataError> {
        let path = dir.join(ABOUT);
        if !path.exists() {
            return Ok(Hrm {
                format: 1,
                task: self.info.task,
                splits: BTreeMap::new(),
            });
        }
        let hrm: Hrm = read_json(&path, MAX_ABOUT)?;
        if hrm.task != self.info.task {
            let (expected, found) = (format!("{:?}", self.info.task), format!("{:?}", hrm.task));
            return Err(problem(&path, "task", expected, found));
        }
        Ok(hrm)
    }

    /// Writes what is said about the arrays, and puts all in its place.
    fn finish_save(
        &self,
        saving: Saving<'_>,
        augmentation: Augmentation,
        derived: bool,
        totals: Totals,
    ) -> Result<(), DataError> {
        if let Some(names) = &saving.names {
            write_json(&saving.new.join(IDENTIFIERS), names.as_ref())?;
        }
        let mut hrm = self.read_about(saving.dir)?;
        let entry = Split {
            augmentation,
            derived,
            provenance: self.provenance.as_deref().cloned(),
        };
        hrm.splits.insert(saving.split.to_owned(), entry);
        write_json(&saving.new.join(ABOUT), &hrm)?;
        let info = &self.info;
        let dataset = Dataset {
            pad_id: info.pad_id.into(),
            ignore_label_id: info.ignore_label_id,
            blank_identifier_id: info.blank_puzzle_id.into(),
            vocab_size: info.vocab_size as u64,
            seq_len: info.seq_len as u64,
            num_puzzle_identifiers: info.num_puzzle_ids as u64,
            total_groups: totals.groups as u64,
            mean_puzzle_examples: totals.examples as f64 / totals.puzzles.max(1) as f64,
            total_puzzles: Some(totals.puzzles as u64),
            sets: totals.sets,
        };
        write_json(&saving.new.join(DATASET), &dataset)?;
        saving.finish()
    }

    /// The same set with a note of where it comes from, which is saved with it.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.provenance = Some(Arc::new(provenance));
        self
    }

    /// Where the set comes from, if that is known.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_deref()
    }

    fn parts(&self) -> Vec<(String, usize)> {
        match self.layout.parts.as_slice() {
            [] => vec![("all".to_owned(), self.num_groups())],
            parts => parts.to_vec(),
        }
    }

    fn save_arrays(&self, folder: &Path) -> Result<(), DataError> {
        let (inputs_type, labels_type) = self.element_types()?;
        let mut first_group = 0;
        for (name, groups) in self.parts() {
            let set = &self.subset(first_group..first_group + groups);
            first_group += groups;
            let path = |array: &str| folder.join(format!("{name}__{array}.npy"));
            let shape = [set.num_examples(), set.info.seq_len];
            let ignored = set.info.ignore_label_id.unwrap_or_default();
            let rows = |labels: bool| {
                (0..set.num_examples()).flat_map(move |index| {
                    let row = set.first_row + index;
                    let (tokens, stored) = match labels {
                        true => set.labels.row(row, set.info.seq_len),
                        false => set.inputs.row(row, set.info.seq_len),
                    };
                    tokens.iter().map(move |&token| match token {
                        token if labels && (Some(token) == stored || token == IGNORED) => ignored,
                        token => i64::from(token),
                    })
                })
            };
            npy::write(&path("inputs"), inputs_type, &shape, rows(false))?;
            npy::write(&path("labels"), labels_type, &shape, rows(true))?;
            write_numbers(&path("puzzle_identifiers"), &set.puzzle_ids)?;
            write_numbers(&path("puzzle_indices"), &set.puzzle_offsets)?;
            write_numbers(&path("group_indices"), &set.group_offsets)?;
        }
        Ok(())
    }

    /// Element types of the files: as read, else bytes where the ignore id is one.
    fn element_types(&self) -> Result<(ElementType, ElementType), DataError> {
        let ignored = self.info.ignore_label_id;
        // Derived puzzles are no rows of their own.
        let stored = self.originals();
        let mut rows = (0..stored.num_examples()).map(|index| {
            let row = stored.first_row + index;
            stored.labels.row(row, stored.info.seq_len).0
        });
        if ignored.is_none() && rows.any(|labels| labels.contains(&IGNORED)) {
            return Err(DataError::mismatch(
                "ignore_label_id",
                "an id, for some labels are ignored",
                "none",
            ));
        }
        let fitting = match ignored {
            Some(id) if u8::try_from(id).is_err() => match i32::try_from(id) {
                Ok(_) => ElementType::I32,
                Err(_) => ElementType::I64,
            },
            _ => ElementType::U8,
        };
        let inputs = self.layout.inputs.unwrap_or(ElementType::U8);
        Ok((inputs, self.layout.labels.unwrap_or(fitting)))
    }

    fn save_derived(
        &self,
        folder: &Path,
        derived: &[crate::set::Derived],
    ) -> Result<(), DataError> {
        let mut first_group = 0;
        for (name, groups) in self.parts() {
            let groups = first_group..(first_group + groups).min(self.num_groups());
            first_group = groups.end;
            let bounds = &self.group_offsets[groups.start..=groups.end];
            let puzzles = bounds[0] as usize..bounds[bounds.len() - 1] as usize;
            // Originals are counted within the set, as they come.
            let mut number_of = std::collections::HashMap::new();
            let stored = puzzles.clone().filter(|&puzzle| derived[puzzle].code == 0);
            for (number, puzzle) in (0..).zip(stored) {
                number_of.insert(derived[puzzle].first_row, number);
            }
            let rows = puzzles.clone().flat_map(|puzzle| {
                let number = number_of
                    .get(&derived[puzzle].first_row)
                    .copied()
                    .unwrap_or_default();
                [
                    number,
                    derived[puzzle].code.into(),
                    self.puzzle_ids[puzzle].into(),
                ]
            });
            let path = |array: &str| folder.join(format!("{name}__{array}.npy"));
            npy::write(
                &path("derived"),
                ElementType::I64,
                &[puzzles.len(), 3],
                rows,
            )?;
            let offsets: Vec<u32> = bounds.iter().map(|offset| offset - bounds[0]).collect();
            write_numbers(&path("derived_group_indices"), &offsets)?;
        }
        Ok(())
    }
}

impl Dataset {
    /// The sizes, checked; `path` is where they were read.
    fn info(&self, path: &Path, task: Option<Task>) -> Result<SetInfo, DataError> {
        let count = |field: &str, value: u64| match u32::try_from(value) {
            Ok(value) => Ok(value as usize),
            Err(_) => Err(problem(path, field, "below 2^32", value)),
        };
        let vocab_size = count("vocab_size", self.vocab_size)?;
        let seq_len = count("seq_len", self.seq_len)?;
        let pad_id = u8::try_from(self.pad_id)
            .map_err(|_| problem(path, "pad_id", "below 255", self.pad_id))?;
        let info = SetInfo {
            task: task.unwrap_or_else(|| Task::infer(vocab_size, seq_len)),
            seq_len,
            vocab_size,
            num_puzzle_ids: count("num_puzzle_identifiers", self.num_puzzle_identifiers)?,
            pad_id,
            ignore_label_id: self.ignore_label_id,
            blank_puzzle_id: count("blank_identifier_id", self.blank_identifier_id)? as u32,
        };
        info.validate().map_err(|error| in_file(path, error))?;
        Ok(info)
    }

    /// Whether the totals are those of the arrays.
    fn check_counts(&self, path: &Path, arrays: &Arrays) -> Result<(), DataError> {
        let groups = arrays.group_offsets.len().saturating_sub(1);
        if self.total_groups != groups as u64 {
            let expected = format!("{groups}, as many as the arrays hold");
            return Err(problem(path, "total_groups", expected, self.total_groups));
        }
        let puzzles = arrays.puzzle_ids.len();
        // TRM's builders of Sudokus and mazes write the number of groups, whatever they have augmented.
        let counted = |total: &u64| [puzzles, groups].map(|n| n as u64).contains(total);
        if let Some(found) = self.total_puzzles.filter(|total| !counted(total)) {
            let expected = format!("{puzzles}, as many as the arrays hold");
            return Err(problem(path, "total_puzzles", expected, found));
        }
        let examples = arrays.puzzle_offsets.last().copied().unwrap_or_default();
        let mean = f64::from(examples) / puzzles.max(1) as f64;
        let found = self.mean_puzzle_examples;
        // Builders may have rounded it.
        let close = (found - mean).abs() <= 1e-3 * mean.max(1.0);
        if puzzles > 0 && !close {
            let expected = format!("{mean}, as the arrays have it");
            return Err(problem(path, "mean_puzzle_examples", expected, found));
        }
        Ok(())
    }
}

impl Arrays {
    /// Reads the arrays of a set behind those read before.
    fn append(
        &mut self,
        base: &Path,
        name: &str,
        info: &SetInfo,
        inputs: &mut Tokens,
        labels: &mut Tokens,
        derived: bool,
    ) -> Result<(), DataError> {
        let path = |array: &str| {
            let mut path = base.as_os_str().to_owned();
            path.push(format!("__{array}.npy"));
            PathBuf::from(path)
        };
        let seq_len = info.seq_len;
        let inputs_file = Npy::open(&path("inputs"), 2)?;
        let labels_file = Npy::open(&path("labels"), 2)?;
        for file in [&inputs_file, &labels_file] {
            if file.shape()[1] != seq_len as u64 {
                let expected = format!("seq_len {seq_len} columns");
                return Err(file.problem("shape", expected, file.shape()[1]));
            }
        }
        let examples = inputs_file.len() / seq_len;
        if labels_file.len() / seq_len != examples {
            let expected = format!("{examples} rows, as many as inputs");
            return Err(labels_file.problem("shape", expected, labels_file.shape()[0]));
        }
        let ids_path = path("puzzle_identifiers");
        let ids = read_numbers(&ids_path, 1)?;
        let puzzle_path = path("puzzle_indices");
        let puzzles = read_numbers(&puzzle_path, 1)?;
        check_offsets("offsets", &puzzles, ids.len(), examples)
            .map_err(|e| in_file(&puzzle_path, e))?;
        let group_path = path("group_indices");
        let groups = read_numbers(&group_path, 1)?;
        let num_groups = groups.len().saturating_sub(1);
        check_offsets("offsets", &groups, num_groups, ids.len())
            .map_err(|e| in_file(&group_path, e))?;
        if let Some(at) = ids
            .iter()
            .position(|&id| id as usize >= info.num_puzzle_ids)
        {
            let expected = format!("below num_puzzle_identifiers {}", info.num_puzzle_ids);
            return Err(problem(&ids_path, &format!("[{at}]"), expected, ids[at]));
        }
        if derived {
            let derived_path = path("derived");
            let file = Npy::open(&derived_path, 2)?;
            if file.shape()[1] != 3 {
                return Err(file.problem("shape", "3 columns", file.shape()[1]));
            }
            let numbers = file.read(number)?;
            let groups_path = path("derived_group_indices");
            let derived_groups = read_numbers(&groups_path, 1)?;
            check_offsets("offsets", &derived_groups, num_groups, numbers.len() / 3)
                .map_err(|e| in_file(&groups_path, e))?;
            let first = self.puzzle_ids.len() as u32;
            self.derived.reserve_exact(numbers.len() / 3);
            for (at, row) in numbers.chunks_exact(3).enumerate() {
                let [original, code, puzzle_id] = [row[0], row[1], row[2]];
                if original as usize >= ids.len() {
                    let expected = format!("below {}", ids.len());
                    return Err(problem(
                        &derived_path,
                        &format!("[{at}, 0]"),
                        expected,
                        original,
                    ));
                }
                self.derived.push(DerivedPuzzle {
                    original: first + original,
                    code,
                    puzzle_id,
                });
            }
            join_offsets(&mut self.derived_groups, &derived_groups, &groups_path)?;
        }
        self.layout.inputs = self.layout.inputs.max(Some(inputs_file.element()));
        self.layout.labels = self.layout.labels.max(Some(labels_file.element()));
        self.layout.parts.push((name.to_owned(), num_groups));
        read_tokens(inputs_file, info, false, inputs)?;
        read_tokens(labels_file, info, true, labels)?;
        self.puzzle_ids.extend_from_slice(&ids);
        join_offsets(&mut self.puzzle_offsets, &puzzles, &puzzle_path)?;
        join_offsets(&mut self.group_offsets, &groups, &group_path)
    }
}

/// Whether the names of derived puzzles tell the task of their original, whose id is in `stored`, and the code. Ids without a
/// name are left out.
fn check_derived_names(
    puzzles: &[DerivedPuzzle],
    stored: &[u32],
    names: &Identifiers,
) -> Result<(), DataError> {
    for (at, puzzle) in puzzles.iter().enumerate() {
        let original = stored.get(puzzle.original as usize).copied();
        let (Some((task, _)), Some((base, augmentation))) = (
            original.and_then(|id| names.arc_puzzle(id)),
            names.arc_puzzle(puzzle.puzzle_id),
        ) else {
            continue;
        };
        if (base, augmentation.code()) != (task, puzzle.code) {
            let name = names.get(puzzle.puzzle_id).unwrap_or_default();
            let code = puzzle.code;
            return Err(DataError::mismatch(
                format!("name of derived puzzle {at}"),
                format!("task {task:?} under the augmentation of code {code}"),
                format!("{name:?}"),
            ));
        }
    }
    Ok(())
}

/// A split on its way into its folder. All is written into a folder within it first: what fails leaves the split that was there.
struct Saving<'a> {
    dir: &'a Path,
    split: &'a str,
    new: PathBuf,
    /// To be written beside it, if any.
    names: Option<Arc<Identifiers>>,
}

impl<'a> Saving<'a> {
    fn begin(
        dir: &'a Path,
        split: &'a str,
        names: Option<Arc<Identifiers>>,
    ) -> Result<Self, DataError> {
        let new = dir.join(split).join(".new");
        // Of a save that was killed.
        if new.exists() {
            std::fs::remove_dir_all(&new).map_err(DataError::write(&new))?;
        }
        std::fs::create_dir_all(&new).map_err(DataError::write(&new))?;
        Ok(Self {
            dir,
            split,
            new,
            names,
        })
    }

    /// Puts everything in its place. In between the folder is no split, so that arrays of two saves are never read as one.
    fn finish(self) -> Result<(), DataError> {
        let folder = self.dir.join(self.split);
        let about = folder.join(DATASET);
        if about.exists() {
            std::fs::remove_file(&about).map_err(DataError::write(&about))?;
        }
        let unread = DataError::read(&self.new);
        let place = |name: &OsStr| {
            let to = match name == ABOUT || name == IDENTIFIERS {
                true => self.dir.join(name),
                false => folder.join(name),
            };
            std::fs::rename(self.new.join(name), &to).map_err(DataError::write(&to))
        };
        for entry in std::fs::read_dir(&self.new).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name();
            if name != DATASET {
                place(&name)?;
            }
        }
        place(OsStr::new(DATASET))
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.new);
    }
}

/// Whether the folder holds a split that is not this one.
fn has_other_split(dir: &Path, split: &str) -> Result<bool, DataError> {
    let read_error = DataError::read(dir);
    for entry in std::fs::read_dir(dir).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if entry.file_name() != split && entry.path().join(DATASET).is_file() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends offsets that start at 0 to others.
fn join_offsets(all: &mut Vec<u32>, offsets: &[u32], path: &Path) -> Result<(), DataError> {
    let base = all.pop().unwrap_or(0);
    for &offset in offsets {
        let sum = base.checked_add(offset);
        let sum = sum.ok_or_else(|| problem(path, "offsets", "less than 2^32 in all sets", offset));
        all.push(sum?);
    }
    Ok(())
}

/// Reads the tokens of an array behind those read before; bytes stay in the file.
fn read_tokens(
    file: Npy,
    info: &SetInfo,
    labels: bool,
    tokens: &mut Tokens,
) -> Result<(), DataError> {
    let ignored = info.ignore_label_id.filter(|_| labels);
    let vocab_size = info.vocab_size as i64;
    let expected = || match ignored {
        Some(id) => format!("a token below {vocab_size} or the ignored {id}"),
        None => format!("a token below {vocab_size}"),
    };
    if file.element() == ElementType::U8 {
        let (map, range) = file.map()?;
        let bytes = &map[range.clone()];
        let bad = |&b: &u8| i64::from(b) >= vocab_size && Some(i64::from(b)) != ignored;
        if let Some(at) = bytes.iter().position(bad) {
            return Err(file.problem(&file.place(at), expected(), bytes[at]));
        }
        let ignored = ignored.and_then(|id| u8::try_from(id).ok());
        tokens.push_mapped(map, range, ignored, info.seq_len);
        return Ok(());
    }
    let path = file.path().to_owned();
    let bytes = file.read(|value| match value {
        value if Some(value) == ignored => Ok(IGNORED),
        value if (0..vocab_size).contains(&value) => Ok(value as u8),
        _ => Err(expected()),
    })?;
    check_tokens(info, "tokens", &bytes, labels).map_err(|e| in_file(&path, e))?;
    tokens.push_owned(bytes, info.seq_len);
    Ok(())
}

fn number(value: i64) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| "a number from 0 to 2^32 - 1".to_owned())
}

fn read_numbers(path: &Path, rank: usize) -> Result<Vec<u32>, DataError> {
    Npy::open(path, rank)?.read(number)
}

fn write_numbers(path: &Path, numbers: &[u32]) -> Result<(), DataError> {
    let fits = numbers.iter().all(|&n| i32::try_from(n).is_ok());
    let element = if fits {
        ElementType::I32
    } else {
        ElementType::I64
    };
    npy::write(
        path,
        element,
        &[numbers.len()],
        numbers.iter().map(|&n| n.into()),
    )
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path, limit: u64) -> Result<T, DataError> {
    let read_error = DataError::read(path);
    let file = std::fs::File::open(path).map_err(read_error)?;
    let found = file.metadata().map_err(read_error)?.len();
    if found > limit {
        return Err(DataError::TooLarge {
            path: path.into(),
            limit,
            found,
        });
    }
    let reader = BufReader::with_capacity(1 << 16, file.take(limit));
    serde_json::from_reader(reader).map_err(|reason| DataError::Json {
        path: path.into(),
        reason,
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    npy::write_file(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

fn problem(path: &Path, field: &str, expected: impl ToString, found: impl ToString) -> DataError {
    DataError::Field {
        path: path.into(),
        field: field.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Says in which file a mismatch is.
fn in_file(path: &Path, error: DataError) -> DataError {
    match error {
        DataError::Mismatch {
            what,
            expected,
            found,
        } => problem(path, &what, expected, found),
        other => other,
    }
}
