//! One split of a data set: original puzzles, how they are grouped, how they are augmented.

#[cfg(feature = "fs")]
use crate::Task;
#[cfg(feature = "fs")]
use crate::arc::ArcAugmentation;
use crate::augmentation::{Augmentation, Drawn};
use crate::draws::DrawRng;
use crate::sudoku::{Puzzle, SudokuSize};
use crate::tokens::Tokens;
use crate::{DataError, IGNORED, Identifiers, PuzzleBatch, SetInfo};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Examples, grouped into puzzles (what has one puzzle id) and these into groups (an original and its
/// augmentations). Cloning shares the tokens.
///
/// The tokens lie in memory or in mapped files; puzzles may be derived from stored ones without being stored
/// themselves.
#[derive(Clone, Debug)]
pub struct PuzzleSet {
    pub(crate) info: SetInfo,
    pub(crate) augmentation: Augmentation,
    pub(crate) inputs: Tokens,
    pub(crate) labels: Tokens,
    /// Stored row of example 0, where no puzzle is derived.
    pub(crate) first_row: usize,
    pub(crate) puzzle_ids: Vec<u32>,
    pub(crate) puzzle_offsets: Vec<u32>,
    pub(crate) group_offsets: Vec<u32>,
    pub(crate) derived: Option<Vec<Derived>>,
    pub(crate) identifiers: Option<Arc<Identifiers>>,
    pub(crate) fingerprint: Fingerprint,
    #[cfg(feature = "fs")]
    pub(crate) provenance: Option<Arc<crate::folder::Provenance>>,
    #[cfg(feature = "fs")]
    pub(crate) layout: crate::folder::Layout,
}

/// [`PuzzleSet::fingerprint`] once it was asked for. A clone has none: it may be about to be changed.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(OnceLock<String>);

impl Clone for Fingerprint {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A puzzle that is an original under a transformation: its examples are the rows from `first_row` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Derived {
    pub first_row: u32,
    /// What [`Augmentation::derive`] makes of the original; 0 for the original itself.
    pub code: u32,
}

/// A puzzle to derive from a stored one.
#[cfg(feature = "fs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DerivedPuzzle {
    /// Index of the stored puzzle.
    pub original: u32,
    /// As in [`Derived`].
    pub code: u32,
    /// Its own puzzle id.
    pub puzzle_id: u32,
}

/// The arrays of a set made in memory, before they are checked.
#[derive(Clone, Debug, Default)]
pub struct SetArrays {
    /// Tokens of the questions, `[examples * S]`.
    pub inputs: Vec<u8>,
    /// Tokens of the answers or [`IGNORED`], `[examples * S]`.
    pub labels: Vec<u8>,
    /// Id of each puzzle, `[puzzles]`.
    pub puzzle_ids: Vec<u32>,
    /// Where each puzzle's examples begin, and the number of examples: `[puzzles + 1]`.
    pub puzzle_offsets: Vec<u32>,
    /// Where each group's puzzles begin, and the number of puzzles: `[groups + 1]`.
    pub group_offsets: Vec<u32>,
}

/// One question with its answer, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// Tokens of the question, `[S]`.
    pub inputs: Cow<'a, [u8]>,
    /// Tokens of the answer or [`IGNORED`], `[S]`.
    pub labels: Cow<'a, [u8]>,
    /// Row of the puzzle table.
    pub puzzle_id: u32,
}

impl Example<'_> {
    /// Whether there is an answer to compare with.
    pub fn is_labelled(&self) -> bool {
        self.labels.iter().any(|&label| label != IGNORED)
    }
}

impl PuzzleSet {
    /// A set of single examples, one group each, without puzzle ids. `inputs` and `labels` are
    /// `[examples * S]`; labels may be [`IGNORED`].
    ///
    /// # Errors
    /// [`DataError::Mismatch`] on lengths or tokens that do not fit `info`.
    pub fn from_examples(
        info: SetInfo,
        inputs: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, DataError> {
        info.validate()?;
        let examples = inputs.len() / info.seq_len;
        let count = u32::try_from(examples)
            .map_err(|_| DataError::mismatch("examples", "below 2^32", examples))?;
        let arrays = SetArrays {
            inputs,
            labels,
            puzzle_ids: vec![info.blank_puzzle_id; examples],
            puzzle_offsets: (0..=count).collect(),
            group_offsets: (0..=count).collect(),
        };
        Self::from_arrays(info, arrays)
    }

    /// A set of puzzles and groups, without augmentation. Labels equal to `info.ignore_label_id` become
    /// [`IGNORED`].
    ///
    /// # Errors
    /// [`DataError::Mismatch`] on lengths, offsets, ids or tokens that do not fit each other or `info`.
    pub fn from_arrays(info: SetInfo, arrays: SetArrays) -> Result<Self, DataError> {
        info.validate()?;
        if !arrays.inputs.len().is_multiple_of(info.seq_len) {
            let expected = format!("a multiple of seq_len {}", info.seq_len);
            return Err(DataError::mismatch("inputs", expected, arrays.inputs.len()));
        }
        if arrays.inputs.len() != arrays.labels.len() {
            let expected = format!("{} tokens, as many as inputs", arrays.inputs.len());
            return Err(DataError::mismatch("labels", expected, arrays.labels.len()));
        }
        check_tokens(&info, "inputs", &arrays.inputs, false)?;
        let ignored = info.ignore_label_id.and_then(|id| u8::try_from(id).ok());
        let mut labels = arrays.labels;
        unmask(&mut labels, ignored);
        check_tokens(&info, "labels", &labels, true)?;
        let set = Self {
            augmentation: Augmentation::None,
            inputs: Tokens::owned(arrays.inputs, info.seq_len),
            labels: Tokens::owned(labels, info.seq_len),
            first_row: 0,
            puzzle_ids: arrays.puzzle_ids,
            puzzle_offsets: arrays.puzzle_offsets,
            group_offsets: arrays.group_offsets,
            derived: None,
            identifiers: None,
            fingerprint: Fingerprint::default(),
            #[cfg(feature = "fs")]
            provenance: None,
            #[cfg(feature = "fs")]
            layout: crate::folder::Layout::default(),
            info,
        };
        set.check_offsets(set.inputs.num_rows(set.info.seq_len))?;
        Ok(set)
    }

    /// Sudokus of one size, one group each; with [`Augmentation::Sudoku`] the sampler draws them under random symmetries.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if a puzzle is of another size, or the augmentation of another task.
    pub fn from_sudokus(
        puzzles: &[Puzzle],
        size: SudokuSize,
        augmentation: Augmentation,
    ) -> Result<Self, DataError> {
        let cells = puzzles.len() * size.num_cells();
        let (mut inputs, mut labels) = (Vec::with_capacity(cells), Vec::with_capacity(cells));
        for (index, puzzle) in puzzles.iter().enumerate() {
            for (board, tokens) in [
                (&puzzle.question, &mut inputs),
                (&puzzle.answer, &mut labels),
            ] {
                if board.size() != size {
                    let what = format!("puzzle {index}");
                    return Err(DataError::mismatch(what, size, board.size()));
                }
                tokens.extend(board.cells().iter().map(|c| c + 1));
            }
        }
        Self::from_examples(SetInfo::sudoku(size), inputs, labels)?.with_augmentation(augmentation)
    }

    /// The same set, augmented differently when drawn.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if the augmentation is of another task.
    pub fn with_augmentation(mut self, augmentation: Augmentation) -> Result<Self, DataError> {
        if !augmentation.fits(self.info.task) {
            let expected = format!("one that fits {:?}", self.info.task);
            let found = format!("{augmentation:?}");
            return Err(DataError::mismatch("augmentation", expected, found));
        }
        self.augmentation = augmentation;
        self.fingerprint = Fingerprint::default();
        Ok(self)
    }

    /// The same set with names of its puzzle ids, `[num_puzzle_ids]`.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if their number is not `info().num_puzzle_ids`.
    pub fn with_identifiers(
        mut self,
        names: impl Into<Arc<Identifiers>>,
    ) -> Result<Self, DataError> {
        let names = names.into();
        if names.len() != self.info.num_puzzle_ids {
            let expected = self.info.num_puzzle_ids;
            return Err(DataError::mismatch("identifiers", expected, names.len()));
        }
        self.identifiers = Some(names);
        Ok(self)
    }

    /// The set whose puzzles are derived from this one's: `puzzles` in the groups that `group_offsets` tell, as
    /// many as this set has. A group derives from its own puzzles; these come in their order, with code 0.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if that is not so, on a puzzle id out of range, or on a code that means nothing in the task.
    #[cfg(feature = "fs")]
    pub(crate) fn with_derived(
        self,
        puzzles: &[DerivedPuzzle],
        group_offsets: Vec<u32>,
    ) -> Result<Self, DataError> {
        check_offsets(
            "derived_group_indices",
            &group_offsets,
            self.num_groups(),
            puzzles.len(),
        )?;
        let mut set = Self {
            puzzle_ids: Vec::with_capacity(puzzles.len()),
            puzzle_offsets: Vec::with_capacity(puzzles.len() + 1),
            group_offsets,
            derived: None,
            ..self.clone()
        };
        set.puzzle_offsets.push(0);
        let mut derived = Vec::with_capacity(puzzles.len());
        let (mut examples, mut originals) = (0u32, 0);
        for group in 0..set.num_groups() {
            let stored = self.group(group);
            for at in set.group(group) {
                let puzzle = puzzles[at];
                let original = puzzle.original as usize;
                let wrong = |what: &str, expected: String, found: u32| {
                    DataError::mismatch(format!("{what} of derived puzzle {at}"), expected, found)
                };
                if !stored.contains(&original) {
                    let expected = format!("one of {stored:?}");
                    return Err(wrong("original", expected, puzzle.original));
                }
                if puzzle.puzzle_id as usize >= set.info.num_puzzle_ids {
                    let expected = format!("below {}", set.info.num_puzzle_ids);
                    return Err(wrong("puzzle id", expected, puzzle.puzzle_id));
                }
                if !Augmentation::derives(set.info.task, puzzle.code) {
                    let expected = match set.info.task {
                        Task::Arc => format!("below {}", ArcAugmentation::COUNT),
                        task => format!("0, for {task:?} derives no puzzles"),
                    };
                    return Err(wrong("code", expected, puzzle.code));
                }
                if puzzle.code == 0 {
                    if original != originals {
                        return Err(wrong("original", originals.to_string(), puzzle.original));
                    }
                    originals += 1;
                }
                let rows = self.puzzle(original);
                derived.push(Derived {
                    first_row: (self.first_row + rows.start) as u32,
                    code: puzzle.code,
                });
                examples = examples
                    .checked_add(rows.len() as u32)
                    .ok_or_else(|| DataError::mismatch("examples", "below 2^32", "more"))?;
                set.puzzle_offsets.push(examples);
                set.puzzle_ids.push(puzzle.puzzle_id);
            }
        }
        if originals != self.num_puzzles() {
            let expected = self.num_puzzles();
            return Err(DataError::mismatch(
                "derived puzzles of code 0",
                expected,
                originals,
            ));
        }
        set.derived = Some(derived);
        Ok(set)
    }

    /// The set without derived puzzles: what is stored.
    #[must_use]
    pub fn originals(&self) -> Self {
        let Some(derived) = &self.derived else {
            return self.clone();
        };
        let mut set = Self {
            puzzle_ids: Vec::new(),
            puzzle_offsets: vec![0],
            group_offsets: vec![0],
            derived: None,
            ..self.clone()
        };
        let mut examples = 0;
        for group in 0..self.num_groups() {
            for puzzle in self
                .group(group)
                .filter(|&puzzle| derived[puzzle].code == 0)
            {
                if set.puzzle_ids.is_empty() {
                    set.first_row = derived[puzzle].first_row as usize;
                }
                examples += self.puzzle(puzzle).len() as u32;
                set.puzzle_ids.push(self.puzzle_ids[puzzle]);
                set.puzzle_offsets.push(examples);
            }
            set.group_offsets.push(set.puzzle_ids.len() as u32);
        }
        set
    }

    /// Task, sizes and special ids.
    pub fn info(&self) -> &SetInfo {
        &self.info
    }

    /// How the sampler changes what it draws.
    pub fn augmentation(&self) -> Augmentation {
        self.augmentation
    }

    /// Names of the puzzle ids, where the set has them: index = id.
    pub fn identifiers(&self) -> Option<&Identifiers> {
        self.identifiers.as_deref()
    }

    /// Number of groups: originals with their augmentations.
    pub fn num_groups(&self) -> usize {
        self.group_offsets.len() - 1
    }

    /// Number of puzzles.
    pub fn num_puzzles(&self) -> usize {
        self.puzzle_ids.len()
    }

    /// Number of examples.
    pub fn num_examples(&self) -> usize {
        self.puzzle_offsets.last().map_or(0, |&last| last as usize)
    }

    /// Examples per puzzle; 0 for an empty set.
    pub fn mean_puzzle_examples(&self) -> f64 {
        match self.num_puzzles() {
            0 => 0.0,
            puzzles => self.num_examples() as f64 / puzzles as f64,
        }
    }

    /// Puzzles of a group.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn group(&self, group: usize) -> Range<usize> {
        self.group_offsets[group] as usize..self.group_offsets[group + 1] as usize
    }

    /// Examples of a puzzle.
    ///
    /// # Panics
    /// If there is no such puzzle.
    pub fn puzzle(&self, puzzle: usize) -> Range<usize> {
        self.puzzle_offsets[puzzle] as usize..self.puzzle_offsets[puzzle + 1] as usize
    }

    /// Puzzle id of a puzzle.
    ///
    /// # Panics
    /// If there is no such puzzle.
    pub fn puzzle_id(&self, puzzle: usize) -> u32 {
        self.puzzle_ids[puzzle]
    }

    /// An example, not augmented; a derived puzzle's example is derived.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn example(&self, index: usize) -> Example<'_> {
        assert!(
            index < self.num_examples(),
            "example {index} of {}",
            self.num_examples()
        );
        let puzzle = self.puzzle_of(index);
        let k = index - self.puzzle_offsets[puzzle] as usize;
        let (row, code) = self.stored(puzzle, k);
        let (inputs, _) = self.inputs.row(row, self.info.seq_len);
        let (labels, ignored) = self.labels.row(row, self.info.seq_len);
        let mut example = Example {
            inputs: Cow::Borrowed(inputs),
            labels: Cow::Borrowed(labels),
            puzzle_id: self.puzzle_ids[puzzle],
        };
        if ignored.is_some_and(|id| labels.contains(&id)) {
            unmask(example.labels.to_mut(), ignored);
        }
        if code != 0 {
            let (inputs, labels) = (example.inputs.to_mut(), example.labels.to_mut());
            self.augmentation.derive(&self.info, code, inputs, labels);
        }
        example
    }

    /// All examples in order, in batches of `batch_size`; the last is padded with blank rows. With each batch
    /// comes the number of its rows that are examples.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn batches(&self, batch_size: usize) -> impl Iterator<Item = (PuzzleBatch, usize)> + '_ {
        assert!(batch_size > 0, "a batch has at least one row");
        let examples = self.num_examples();
        (0..examples).step_by(batch_size).map(move |first| {
            let rows = batch_size.min(examples - first);
            let mut batch = self.blank_batch(batch_size);
            for row in 0..rows {
                let puzzle = self.puzzle_of(first + row);
                let k = first + row - self.puzzle_offsets[puzzle] as usize;
                self.read_example(puzzle, k, &mut batch, row);
            }
            (batch, rows)
        })
    }

    /// The set of at most so many examples, of as many groups as can be: the first example of each group, which is of its
    /// original, then the second of each, and so on. They keep their order; their tokens are copied, those of derived
    /// puzzles as they are derived.
    #[must_use]
    pub fn limited(&self, examples: usize) -> Self {
        if examples >= self.num_examples() {
            return self.clone();
        }
        let mut set = self.emptied();
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        let mut row = self.blank_batch(1);
        let mut kept = 0;
        for (group, mut left) in self.share_out(examples).into_iter().enumerate() {
            for puzzle in self.group(group) {
                let of_puzzle = left.min(self.puzzle(puzzle).len());
                if of_puzzle == 0 {
                    continue;
                }
                for k in 0..of_puzzle {
                    self.read_example(puzzle, k, &mut row, 0);
                    inputs.extend_from_slice(&row.inputs);
                    labels.extend_from_slice(&row.labels);
                }
                left -= of_puzzle;
                kept += of_puzzle as u32;
                set.puzzle_ids.push(self.puzzle_ids[puzzle]);
                set.puzzle_offsets.push(kept);
            }
            let puzzles = set.puzzle_ids.len() as u32;
            if set.group_offsets.last() != Some(&puzzles) {
                set.group_offsets.push(puzzles);
            }
        }
        set.inputs = Tokens::owned(inputs, self.info.seq_len);
        set.labels = Tokens::owned(labels, self.info.seq_len);
        set
    }

    /// How many of so many examples each group gives, where each gives one in turn as long as it has one. There are more
    /// examples in the set.
    fn share_out(&self, examples: usize) -> Vec<usize> {
        let size = |group: usize| -> usize {
            let examples = self.group(group).map(|puzzle| self.puzzle(puzzle).len());
            examples.sum()
        };
        let sizes: Vec<usize> = (0..self.num_groups()).map(size).collect();
        let mut taken = vec![0; sizes.len()];
        let mut open: Vec<usize> = (0..sizes.len()).collect();
        let mut left = examples;
        while left > 0 {
            open.retain(|&group| taken[group] < sizes[group]);
            for &group in open.iter().take(left) {
                taken[group] += 1;
            }
            left -= left.min(open.len());
        }
        taken
    }

    /// The same without puzzles, for tokens of its own.
    pub(crate) fn emptied(&self) -> Self {
        Self {
            inputs: Tokens::new(),
            labels: Tokens::new(),
            first_row: 0,
            puzzle_ids: Vec::new(),
            puzzle_offsets: vec![0],
            group_offsets: vec![0],
            derived: None,
            #[cfg(feature = "fs")]
            layout: crate::folder::Layout {
                parts: Vec::new(),
                ..self.layout
            },
            ..self.clone()
        }
    }

    /// The groups in `range`, clipped to what there is; shares the tokens.
    #[must_use]
    pub fn subset(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.num_groups());
        let start = range.start.min(end);
        let rebase = |offsets: &[u32]| offsets.iter().map(|o| o - offsets[0]).collect();
        let groups = &self.group_offsets[start..=end];
        let puzzles = groups[0] as usize..groups[groups.len() - 1] as usize;
        let examples = &self.puzzle_offsets[puzzles.start..=puzzles.end];
        Self {
            info: self.info.clone(),
            augmentation: self.augmentation,
            inputs: self.inputs.clone(),
            labels: self.labels.clone(),
            first_row: self.first_row + examples[0] as usize,
            puzzle_ids: self.puzzle_ids[puzzles.clone()].to_vec(),
            puzzle_offsets: rebase(examples),
            group_offsets: rebase(groups),
            derived: self.derived.as_ref().map(|all| all[puzzles].to_vec()),
            identifiers: self.identifiers.clone(),
            fingerprint: Fingerprint::default(),
            #[cfg(feature = "fs")]
            provenance: self.provenance.clone(),
            #[cfg(feature = "fs")]
            layout: crate::folder::Layout {
                parts: Vec::new(),
                ..self.layout
            },
        }
    }

    /// The first `groups` groups, or all if there are fewer.
    #[must_use]
    pub fn take(&self, groups: usize) -> Self {
        self.subset(0..groups)
    }

    /// SHA-256 in hex over tokens, offsets, ids, sizes and augmentation; a resumed run compares it. It does
    /// not depend on how the set is stored. The tokens are read the first time only.
    pub fn fingerprint(&self) -> String {
        let Fingerprint(known) = &self.fingerprint;
        known.get_or_init(|| self.hash()).clone()
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let about = serde_json::json!([self.info, self.augmentation]);
        hash.update(about.to_string());
        for numbers in [&self.puzzle_ids, &self.puzzle_offsets, &self.group_offsets] {
            hash.update((numbers.len() as u64).to_le_bytes());
            numbers.iter().for_each(|n| hash.update(n.to_le_bytes()));
        }
        let mut row_of_tokens = PuzzleBatch::blank(1, self.info.seq_len, 0, 0);
        for puzzle in 0..self.num_puzzles() {
            for k in 0..self.puzzle(puzzle).len() {
                match &self.derived {
                    // A derived puzzle is told by its original, hashed where it is the original itself.
                    Some(derived) if derived[puzzle].code != 0 => {
                        hash.update(derived[puzzle].code.to_le_bytes());
                    }
                    _ => {
                        self.read_example(puzzle, k, &mut row_of_tokens, 0);
                        hash.update(&row_of_tokens.inputs);
                        hash.update(&row_of_tokens.labels);
                    }
                }
            }
        }
        hex::encode(hash.finalize())
    }

    pub(crate) fn blank_batch(&self, batch_size: usize) -> PuzzleBatch {
        let info = &self.info;
        PuzzleBatch::blank(batch_size, info.seq_len, info.pad_id, info.blank_puzzle_id)
    }

    /// Writes example `k` of a puzzle into a row of a batch, not augmented.
    pub(crate) fn read_example(
        &self,
        puzzle: usize,
        k: usize,
        batch: &mut PuzzleBatch,
        row: usize,
    ) {
        let seq_len = self.info.seq_len;
        let (stored, code) = self.stored(puzzle, k);
        let inputs = &mut batch.inputs[row * seq_len..][..seq_len];
        let labels = &mut batch.labels[row * seq_len..][..seq_len];
        inputs.copy_from_slice(self.inputs.row(stored, seq_len).0);
        let (source, ignored) = self.labels.row(stored, seq_len);
        labels.copy_from_slice(source);
        unmask(labels, ignored);
        if code != 0 {
            self.augmentation.derive(&self.info, code, inputs, labels);
        }
        batch.puzzle_ids[row] = self.puzzle_ids[puzzle];
    }

    /// Writes example `k` of a puzzle into a row of a batch, augmented at random.
    pub(crate) fn draw_example(
        &self,
        puzzle: usize,
        k: usize,
        batch: &mut PuzzleBatch,
        row: usize,
        rng: &mut DrawRng,
    ) {
        self.vary_example((puzzle, k), None, batch, row, rng);
    }

    /// Writes example `k` of a puzzle into a row of a batch, augmented at random: for itself, or as a copy by number, from 0, of those that
    /// stand beside the original.
    pub(crate) fn vary_example(
        &self,
        (puzzle, k): (usize, usize),
        copy: Option<usize>,
        batch: &mut PuzzleBatch,
        row: usize,
        rng: &mut DrawRng,
    ) {
        self.read_example(puzzle, k, batch, row);
        let drawn = Drawn {
            puzzle_id: self.puzzle_ids[puzzle],
            example: k,
            examples: self.puzzle(puzzle).len(),
            copy,
        };
        let seq_len = self.info.seq_len;
        let inputs = &mut batch.inputs[row * seq_len..][..seq_len];
        let labels = &mut batch.labels[row * seq_len..][..seq_len];
        self.augmentation
            .vary(&self.info, drawn, inputs, labels, rng);
    }

    /// Stored row and code of example `k` of a puzzle.
    pub(crate) fn stored(&self, puzzle: usize, k: usize) -> (usize, u32) {
        match &self.derived {
            None => (self.first_row + self.puzzle_offsets[puzzle] as usize + k, 0),
            Some(derived) => {
                let Derived { first_row, code } = derived[puzzle];
                (first_row as usize + k, code)
            }
        }
    }

    fn puzzle_of(&self, example: usize) -> usize {
        self.puzzle_offsets
            .partition_point(|&o| o as usize <= example)
            - 1
    }

    /// Whether offsets and ids agree with each other, `info` and the number of stored rows.
    pub(crate) fn check_offsets(&self, num_rows: usize) -> Result<(), DataError> {
        check_offsets(
            "puzzle_indices",
            &self.puzzle_offsets,
            self.puzzle_ids.len(),
            num_rows,
        )?;
        let groups = self.group_offsets.len().saturating_sub(1);
        check_offsets(
            "group_indices",
            &self.group_offsets,
            groups,
            self.puzzle_ids.len(),
        )?;
        let ids = self.info.num_puzzle_ids;
        if let Some(at) = self.puzzle_ids.iter().position(|&id| id as usize >= ids) {
            let what = format!("puzzle_identifiers[{at}]");
            return Err(DataError::mismatch(
                what,
                format!("below {ids}"),
                self.puzzle_ids[at],
            ));
        }
        Ok(())
    }
}

/// Whether offsets start at 0, never fall and end at `last`.
pub(crate) fn check_offsets(
    name: &str,
    offsets: &[u32],
    items: usize,
    last: usize,
) -> Result<(), DataError> {
    if offsets.len() != items + 1 {
        let expected = format!("{} offsets", items + 1);
        return Err(DataError::mismatch(name, expected, offsets.len()));
    }
    if offsets[0] != 0 {
        return Err(DataError::mismatch(format!("{name}[0]"), 0, offsets[0]));
    }
    if let Some(at) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        let expected = format!("at least {}", offsets[at]);
        return Err(DataError::mismatch(
            format!("{name}[{}]", at + 1),
            expected,
            offsets[at + 1],
        ));
    }
    match offsets[items] as usize {
        found if found == last => Ok(()),
        found => Err(DataError::mismatch(format!("{name}[{items}]"), last, found)),
    }
}

/// Whether tokens are below V, or where labels, ignored.
pub(crate) fn check_tokens(
    info: &SetInfo,
    name: &str,
    tokens: &[u8],
    labels: bool,
) -> Result<(), DataError> {
    let bad = |&t: &u8| usize::from(t) >= info.vocab_size && !(labels && t == IGNORED);
    match tokens.iter().position(bad) {
        None => Ok(()),
        Some(at) => Err(DataError::mismatch(
            format!("{name}[{}, {}]", at / info.seq_len, at % info.seq_len),
            format!("a token below {}", info.vocab_size),
            tokens[at],
        )),
    }
}

/// Puts [`IGNORED`] in place of the token that stands for it.
pub(crate) fn unmask(labels: &mut [u8], ignored: Option<u8>) {
    if let Some(id) = ignored {
        for label in labels.iter_mut().filter(|label| **label == id) {
            *label = IGNORED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of so many puzzles of so many examples; the tokens of an example are its place.
    fn set(groups: &[&[u32]]) -> PuzzleSet {
        let info = SetInfo {
            task: crate::Task::Other,
            vocab_size: 100,
            ignore_label_id: None,
            ..SetInfo::maze(1, 2)
        };
        let (mut puzzle_offsets, mut group_offsets) = (vec![0], vec![0]);
        for examples in groups.iter().copied().flatten() {
            puzzle_offsets.push(puzzle_offsets[puzzle_offsets.len() - 1] + examples);
        }
        for puzzles in groups {
            group_offsets.push(group_offsets[group_offsets.len() - 1] + puzzles.len() as u32);
        }
        let examples = puzzle_offsets[puzzle_offsets.len() - 1] as u8;
        let tokens: Vec<u8> = (0..examples).flat_map(|place| [place; 2]).collect();
        let arrays = SetArrays {
            inputs: tokens.clone(),
            labels: tokens,
            puzzle_ids: vec![0; puzzle_offsets.len() - 1],
            puzzle_offsets,
            group_offsets,
        };
        PuzzleSet::from_arrays(info, arrays).unwrap()
    }

    type Change<'a> = &'a dyn Fn(&mut SetArrays);

    #[test]
    fn arrays_that_do_not_fit_are_refused() {
        let info = set(&[&[1]]).info().clone();
        let said = |change: Change<'_>| {
            let mut arrays = SetArrays {
                inputs: vec![1; 6],
                labels: vec![1; 6],
                puzzle_ids: vec![0; 2],
                puzzle_offsets: vec![0, 1, 3],
                group_offsets: vec![0, 2],
            };
            change(&mut arrays);
            let made = PuzzleSet::from_arrays(info.clone(), arrays);
            made.unwrap_err().to_string()
        };
        let cases: [(Change<'_>, &str); 13] = [
            (
                &|arrays| arrays.inputs.push(1),
                "inputs: expected a multiple of seq_len 2, found 7",
            ),
            (
                &|arrays| arrays.labels.truncate(4),
                "labels: expected 6 tokens, as many as inputs, found 4",
            ),
            (
                &|arrays| arrays.inputs[3] = 100,
                "inputs[1, 1]: expected a token below 100, found 100",
            ),
            (
                &|arrays| arrays.inputs[0] = IGNORED,
                "inputs[0, 0]: expected a token below 100, found 255",
            ),
            (
                &|arrays| arrays.labels[4] = 100,
                "labels[2, 0]: expected a token below 100, found 100",
            ),
            (
                &|arrays| arrays.puzzle_ids.push(0),
                "puzzle_indices: expected 4 offsets, found 3",
            ),
            (
                &|arrays| arrays.puzzle_ids[1] = 1,
                "puzzle_identifiers[1]: expected below 1, found 1",
            ),
            (
                &|arrays| arrays.puzzle_offsets[0] = 1,
                "puzzle_indices[0]: expected 0, found 1",
            ),
            (
                &|arrays| arrays.puzzle_offsets[1] = 4,
                "puzzle_indices[2]: expected at least 4, found 3",
            ),
            (
                &|arrays| arrays.puzzle_offsets[2] = 2,
                "puzzle_indices[2]: expected 3, found 2",
            ),
            (
                &|arrays| arrays.group_offsets.clear(),
                "group_indices: expected 1 offsets, found 0",
            ),
            (
                &|arrays| arrays.group_offsets[0] = 2,
                "group_indices[0]: expected 0, found 2",
            ),
            (
                &|arrays| arrays.group_offsets[1] = 1,
                "group_indices[1]: expected 2, found 1",
            ),
        ];
        for (change, message) in cases {
            assert_eq!(said(change), message);
        }
    }

    #[cfg(feature = "fs")]
    #[test]
    fn derived_puzzles_that_do_not_fit_are_refused() {
        let arrays = SetArrays {
            inputs: vec![2; 3 * 900],
            labels: vec![2; 3 * 900],
            puzzle_ids: vec![1, 2, 3],
            puzzle_offsets: vec![0, 1, 2, 3],
            group_offsets: vec![0, 2, 3],
        };
        let stored = PuzzleSet::from_arrays(SetInfo::arc(5), arrays).unwrap();
        let derived = |puzzles: [[u32; 3]; 4], group_offsets: &[u32]| {
            let puzzles = puzzles.map(|[original, code, puzzle_id]| DerivedPuzzle {
                original,
                code,
                puzzle_id,
            });
            let set = stored.clone();
            set.with_derived(&puzzles, group_offsets.to_vec())
        };
        // Original, code and puzzle id; three in the first group.
        let right = [[0, 0, 1], [1, 0, 2], [0, 8, 4], [2, 0, 3]];
        let groups = [0, 3, 4];
        let made = derived(right, &groups).unwrap();
        assert_eq!(made.puzzle_ids, [1, 2, 4, 3]);
        let cases = [
            (
                0,
                [2, 0, 1],
                "original of derived puzzle 0: expected one of 0..2, found 2",
            ),
            (
                3,
                [1, 0, 3],
                "original of derived puzzle 3: expected one of 2..3, found 1",
            ),
            (
                0,
                [1, 0, 1],
                "original of derived puzzle 0: expected 0, found 1",
            ),
            (
                1,
                [0, 0, 2],
                "original of derived puzzle 1: expected 1, found 0",
            ),
            (
                2,
                [0, 8, 5],
                "puzzle id of derived puzzle 2: expected below 5, found 5",
            ),
            (
                2,
                [0, 2_903_040, 4],
                "code of derived puzzle 2: expected below 2903040, found 2903040",
            ),
            (
                3,
                [2, 8, 3],
                "derived puzzles of code 0: expected 3, found 2",
            ),
        ];
        for (at, puzzle, message) in cases {
            let mut puzzles = right;
            puzzles[at] = puzzle;
            let error = derived(puzzles, &groups).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let cases: [(&[u32], &str); 2] = [
            (&[0, 4], ": expected 3 offsets, found 2"),
            (&[0, 3, 3], "[2]: expected 4, found 3"),
        ];
        for (groups, message) in cases {
            let error = derived(right, groups).unwrap_err().to_string();
            assert_eq!(error, format!("derived_group_indices{message}"));
        }
    }

    #[test]
    fn the_fingerprint_is_of_all_that_is_trained_on() {
        let whole = set(&[&[2, 1], &[3]]);
        let other = |change: Change<'_>| {
            let mut arrays = SetArrays {
                inputs: (0..6).flat_map(|place| [place; 2]).collect(),
                labels: (0..6).flat_map(|place| [place; 2]).collect(),
                puzzle_ids: vec![0; 3],
                puzzle_offsets: vec![0, 2, 3, 6],
                group_offsets: vec![0, 2, 3],
            };
            change(&mut arrays);
            let info = SetInfo {
                num_puzzle_ids: 2,
                ..whole.info().clone()
            };
            PuzzleSet::from_arrays(info, arrays).unwrap().fingerprint()
        };
        let same = other(&|_| {});
        assert_eq!(same, other(&|_| {}));
        // Checkpoints hold it: another one for the same set would end every run.
        assert_eq!(
            same,
            "2855a906a9302e33239805c96c0eb9bb9f27d018bfb774b3505de3ace4441d7d"
        );
        assert_ne!(same, whole.fingerprint(), "the sizes");
        let changes: [(&str, Change<'_>); 5] = [
            ("an input", &|arrays| arrays.inputs[3] += 1),
            ("a label", &|arrays| arrays.labels[3] += 1),
            ("an id", &|arrays| arrays.puzzle_ids[1] = 1),
            ("a puzzle", &|arrays| arrays.puzzle_offsets[1] = 1),
            ("a group", &|arrays| arrays.group_offsets[1] = 1),
        ];
        for (what, change) in changes {
            assert_ne!(other(change), same, "{what}");
        }
        let sudokus = |augmentation| {
            let puzzles = crate::sudoku::Generator::new(SudokuSize::Four)
                .puzzles(2, 1)
                .unwrap();
            PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, augmentation).unwrap()
        };
        assert_ne!(
            sudokus(Augmentation::Sudoku).fingerprint(),
            sudokus(Augmentation::None).fingerprint()
        );
    }

    /// The places that the examples of a part had in the whole, and its offsets.
    fn parts(set: &PuzzleSet) -> (Vec<u8>, &[u32], &[u32]) {
        let place = |at| set.example(at).inputs[0];
        let places = (0..set.num_examples()).map(place).collect();
        (places, &set.puzzle_offsets, &set.group_offsets)
    }

    #[test]
    fn a_few_examples_are_of_as_many_groups_as_can_be() {
        // Places 0 to 5, 6, none, 7 to 9.
        let set = set(&[&[2, 2, 2], &[1], &[0], &[1, 2]]);
        let places = |examples| parts(&set.limited(examples)).0;
        assert_eq!(places(0), [] as [u8; 0]);
        assert_eq!(places(2), [0, 6]);
        assert_eq!(places(3), [0, 6, 7]);
        assert_eq!(places(5), [0, 1, 6, 7, 8]);
        assert_eq!(places(8), [0, 1, 2, 3, 6, 7, 8, 9]);
        assert_eq!(places(9), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        // The empty group is gone.
        let some = set.limited(5);
        let (puzzles, groups) = ([0, 2, 3, 4, 5], [0, 1, 2, 4]);
        assert_eq!(
            parts(&some),
            (vec![0, 1, 6, 7, 8], &puzzles[..], &groups[..])
        );
        for examples in [10, usize::MAX] {
            assert_eq!(parts(&set.limited(examples)), parts(&set));
        }
    }

    #[test]
    fn where_each_group_has_one_example_the_first_ones_are_taken() {
        let set = set(&[&[1], &[1], &[1]]);
        assert_eq!(set.limited(2).fingerprint(), set.take(2).fingerprint());
    }

    #[test]
    fn examples_of_derived_puzzles_stay_derived() {
        use crate::arc::{ArcSettings, ArcSource, TestUse, build_sets, parse_task};
        let json = br#"{"train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 4]], "output": [[4, 3]]}],
                        "test": [{"input": [[5, 6]], "output": [[6, 5]]}]}"#;
        let task = |id| parse_task(json, id, std::path::Path::new("t")).unwrap();
        let source = ArcSource {
            tasks: &[task("a"), task("b")],
            tests: TestUse::Evaluate,
        };
        let settings = ArcSettings {
            augmentations: 3,
            ..ArcSettings::default()
        };
        let set = build_sets(&[source], settings).unwrap().train;
        // Two tasks of four puzzles of two examples: both examples of the originals, one of the first derived puzzles.
        let some = set.limited(6);
        let of = |set: &PuzzleSet, places: &[usize]| -> Vec<(Vec<u8>, Vec<u8>, u32)> {
            let examples = places.iter().map(|&at| set.example(at));
            examples
                .map(|at| (at.inputs.into_owned(), at.labels.into_owned(), at.puzzle_id))
                .collect()
        };
        assert_eq!(
            of(&some, &[0, 1, 2, 3, 4, 5]),
            of(&set, &[0, 1, 2, 8, 9, 10])
        );
        assert_eq!(some.identifiers(), set.identifiers());
    }

    #[test]
    fn the_tokens_are_hashed_once_and_anew_for_a_set_that_is_changed() {
        let Fingerprint(known) = &set(&[&[1]]).fingerprint;
        assert_eq!(known.get(), None);
        let set = set(&[&[1], &[1]]);
        let found = set.fingerprint();
        let Fingerprint(known) = &set.fingerprint;
        assert_eq!(known.get(), Some(&found));
        assert_eq!(set.hash(), found);
        assert_eq!(set.clone().fingerprint(), found);
        assert_ne!(set.take(1).fingerprint(), found);

        let sudoku = SetInfo::sudoku(SudokuSize::Four);
        let plain = PuzzleSet::from_examples(sudoku, vec![1; 16], vec![2; 16]).unwrap();
        let before = plain.fingerprint();
        let augmented = plain.with_augmentation(Augmentation::Sudoku).unwrap();
        assert_ne!(augmented.fingerprint(), before);
    }
}
