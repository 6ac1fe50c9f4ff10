//! When two ARC puzzles are the same.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use sha2::{Digest, Sha256};

use super::augment::ArcAugmentation;
use super::grid::{ArcTask, Grid, Pair};
use crate::dihedral::Dihedral;

/// SHA-256 in hex of a puzzle: of the sorted hashes of its pairs, so neither their order nor which of them are
/// tests matters. A missing output counts as different from every grid.
pub fn puzzle_hash(task: &ArcTask) -> String {
    hash_pairs(task.pairs().map(pair_hash))
}

/// Demonstrations and test inputs alone: what two files of the same task share, with or without solutions.
fn question_hash(task: &ArcTask) -> String {
    let tests = task.test.iter().map(|pair| {
        let input = grid_hash(&pair.input);
        format!("{input}|?")
    });
    hash_pairs(task.train.iter().map(pair_hash).chain(tests))
}

fn hash_pairs(pairs: impl Iterator<Item = String>) -> String {
    let mut pairs: Vec<String> = pairs.collect();
    pairs.sort_unstable();
    hex::encode(Sha256::digest(pairs.join("|")))
}

fn pair_hash(pair: &Pair) -> String {
    let output = pair.output.as_ref().map(grid_hash).unwrap_or_default();
    format!("{}|{output}", grid_hash(&pair.input))
}

fn grid_hash(grid: &Grid) -> String {
    let mut hash = Sha256::new();
    hash.update([grid.height() as u8, grid.width() as u8]);
    hash.update(grid.cells());
    hex::encode(hash.finalize())
}

/// Tells whether an augmentation gives a puzzle that was there before.
pub(super) struct Distinct<'a> {
    task: &'a ArcTask,
    used: [bool; 10],
    /// Whether only equal colours and an equal symmetry give an equal puzzle; then no grid needs to be hashed.
    rigid: bool,
    codes: HashSet<u32>,
    hashes: HashSet<String>,
}

impl<'a> Distinct<'a> {
    /// Knows the task itself.
    pub fn new(task: &'a ArcTask) -> Self {
        let mut used = [false; 10];
        let grids = task
            .pairs()
            .flat_map(|pair| std::iter::once(&pair.input).chain(&pair.output));
        for colour in grids.flat_map(Grid::cells) {
            used[usize::from(*colour)] = true;
        }
        let mut known = Self {
            task,
            used,
            rigid: is_rigid(task),
            codes: HashSet::new(),
            hashes: HashSet::new(),
        };
        known.insert(&ArcAugmentation::IDENTITY);
        known
    }

    /// Whether the puzzle under this augmentation was not there before.
    pub fn insert(&mut self, augmentation: &ArcAugmentation) -> bool {
        if !self.codes.insert(self.restricted(augmentation)) {
            return false;
        }
        self.rigid || {
            let hash = puzzle_hash(&augmentation.apply_task(self.task));
            self.hashes.insert(hash)
        }
    }

    /// A number for what the augmentation does with the colours that occur.
    fn restricted(&self, augmentation: &ArcAugmentation) -> u32 {
        let symmetry = u32::from(augmentation.symmetry().id());
        let colours = augmentation.colours();
        // At most 8 * 9^9, below 2^32.
        (1..10)
            .filter(|&colour| self.used[colour])
            .fold(symmetry, |code, colour| {
                code * 9 + u32::from(colours[colour]) - 1
            })
    }
}

/// Whether no augmentation but the identity maps the task's pairs onto themselves, as far as it is easily seen.
///
/// Pairs are compared with their colours numbered in the order in which they occur, which no colour permutation
/// changes. If these differ within the task, no permutation exchanges pairs, so only the identity keeps them;
/// and if turning or flipping changes the collection of them, no symmetry keeps it either.
fn is_rigid(task: &ArcTask) -> bool {
    let patterns = |symmetry: Dihedral| -> Vec<Vec<u8>> {
        let mut patterns: Vec<_> = task.pairs().map(|pair| pattern(pair, symmetry)).collect();
        patterns.sort_unstable();
        patterns
    };
    let own = patterns(Dihedral::Identity);
    own.windows(2).all(|pair| pair[0] != pair[1])
        && Dihedral::ALL[1..]
            .iter()
            .all(|&symmetry| patterns(symmetry) != own)
}

fn pattern(pair: &Pair, symmetry: Dihedral) -> Vec<u8> {
    let mut numbers = [None; 10];
    numbers[0] = Some(0);
    let mut next = 1;
    let mut pattern = Vec::new();
    for grid in std::iter::once(&pair.input).chain(&pair.output) {
        let grid = grid.transform(symmetry);
        pattern.extend([grid.height() as u8, grid.width() as u8]);
        pattern.extend(grid.cells().iter().map(|&colour| {
            *numbers[usize::from(colour)].get_or_insert_with(|| {
                next += 1;
                next - 1
            })
        }));
    }
    pattern
}

/// A task that lies in two data sets, perhaps under two names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Leak {
    /// The set and the name there.
    pub first: (String, String),
    /// The other set and the name there.
    pub second: (String, String),
    /// What the two share.
    pub kind: LeakKind,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            second,
            kind,
        } = self;
        let what = match kind {
            LeakKind::SamePuzzle => "the same puzzle",
            LeakKind::Augmented => "the same puzzle turned, flipped or recoloured",
            LeakKind::SharedPair => "a pair or a test input in common",
            LeakKind::SameName => "the same name",
        };
        write!(
            f,
            "{} of {} and {} of {}: {what}",
            first.1, first.0, second.1, second.0
        )
    }
}

/// What two tasks of different sets share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// All demonstrations and test inputs.
    SamePuzzle,
    /// All demonstrations and test inputs, but turned, flipped or in other colours.
    Augmented,
    /// A pair, or the input of one where an output is missing, but not all of them. An input of one colour, such as an empty
    /// grid, says nothing without an output.
    SharedPair,
    /// The name alone.
    SameName,
}

/// The tasks that occur in more than one of several named sets, sorted: as the same puzzle, as one that is the
/// same turned or recoloured, as one that shares a demonstration or a test input, or by name alone.
///
/// Solutions of tests are not compared, since one of the sets may come without them.
pub fn find_leaks(sets: &[(&str, &[ArcTask])]) -> Vec<Leak> {
    type Places = BTreeMap<String, Vec<(usize, usize)>>;
    let mut by_kind: [(LeakKind, Places); 4] = [
        (LeakKind::SamePuzzle, Places::new()),
        (LeakKind::Augmented, Places::new()),
        (LeakKind::SharedPair, Places::new()),
        (LeakKind::SameName, Places::new()),
    ];
    for (set, (_, tasks)) in sets.iter().enumerate() {
        for (at, task) in tasks.iter().enumerate() {
            let [puzzles, augmented, pairs, names] = &mut by_kind;
            let add = |places: &mut Places, key| places.entry(key).or_default().push((set, at));
            add(&mut puzzles.1, question_hash(task));
            add(&mut augmented.1, canonical_hash(task));
            add(&mut names.1, task.id.clone());
            for pair in task.pairs() {
                add(&mut pairs.1, grid_hash(&pair.input));
            }
        }
    }
    let mut found: BTreeMap<_, LeakKind> = BTreeMap::new();
    for (kind, places) in by_kind {
        for places in places.into_values() {
            for (index, &first) in places.iter().enumerate() {
                for &second in &places[index + 1..] {
                    if first.0 != second.0 && same_pair_counts(kind, sets, first, second) {
                        found.entry((first, second)).or_insert(kind);
                    }
                }
            }
        }
    }
    let name = |(set, at): (usize, usize)| (sets[set].0.to_owned(), sets[set].1[at].id.clone());
    let mut leaks: Vec<Leak> = found
        .into_iter()
        .map(|((first, second), kind)| Leak {
            first: name(first),
            second: name(second),
            kind,
        })
        .collect();
    leaks.sort();
    leaks
}

/// Two tasks may ask about the same input with different rules: a shared input is a leak only where the outputs
/// agree as far as both are known. Where one is not, an input of one colour is no leak: many tasks have it by chance.
fn same_pair_counts(
    kind: LeakKind,
    sets: &[(&str, &[ArcTask])],
    first: (usize, usize),
    second: (usize, usize),
) -> bool {
    if kind != LeakKind::SharedPair {
        return true;
    }
    let (first, second) = (&sets[first.0].1[first.1], &sets[second.0].1[second.1]);
    first.pairs().any(|a| {
        second.pairs().any(|b| {
            a.input == b.input
                && match (&a.output, &b.output) {
                    (Some(a), Some(b)) => a == b,
                    _ => !is_plain(&a.input),
                }
        })
    })
}

/// Whether a grid has one colour alone.
fn is_plain(grid: &Grid) -> bool {
    grid.cells().windows(2).all(|pair| pair[0] == pair[1])
}

/// A hash that tasks share exactly if one is the other under a symmetry and a colour permutation (with colour 0
/// kept), up to the order of pairs; an approximation where pairs are alike but for their colours, see below.
///
/// Of each of the eight symmetries the pairs are sorted by their patterns, then the colours are numbered through
/// the whole task in that order. Pairs of equal pattern may be ordered either way, so two such tasks may be
/// missed; they are never confused.
fn canonical_hash(task: &ArcTask) -> String {
    let with_symmetry = |symmetry: Dihedral| {
        let mut pairs: Vec<(u8, Vec<u8>, Pair)> = task
            .train
            .iter()
            .map(|pair| (0, pair.clone()))
            .chain(task.test.iter().map(|pair| {
                let input = pair.input.clone();
                (
                    1,
                    Pair {
                        input,
                        output: None,
                    },
                )
            }))
            .map(|(kind, pair)| (kind, pattern(&pair, symmetry), pair))
            .collect();
        pairs.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut numbers = [None; 10];
        numbers[0] = Some(0);
        let mut next = 1;
        let mut hash = Sha256::new();
        for (kind, _, pair) in &pairs {
            hash.update([*kind]);
            for grid in std::iter::once(&pair.input).chain(&pair.output) {
                let grid = grid.transform(symmetry);
                hash.update([grid.height() as u8, grid.width() as u8]);
                let cells: Vec<u8> = grid
                    .cells()
                    .iter()
                    .map(|&colour| {
                        *numbers[usize::from(colour)].get_or_insert_with(|| {
                            next += 1;
                            next - 1
                        })
                    })
                    .collect();
                hash.update(cells);
            }
        }
        hex::encode(hash.finalize())
    };
    let hashes = Dihedral::ALL.into_iter().map(with_symmetry);
    hashes.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn grid(rng: &mut ChaCha8Rng, colours: u8) -> Grid {
        let (height, width) = (rng.random_range(1..4), rng.random_range(1..4));
        let cells = (0..height * width)
            .map(|_| rng.random_range(0..colours))
            .collect();
        Grid::new(height, width, cells).unwrap()
    }

    fn task(rng: &mut ChaCha8Rng, pairs: usize, colours: u8) -> ArcTask {
        let mut pair = || Pair {
            input: grid(rng, colours),
            output: Some(grid(rng, colours)),
        };
        ArcTask {
            id: "t".to_owned(),
            train: (0..pairs).map(|_| pair()).collect(),
            test: vec![pair()],
        }
    }

    #[test]
    fn the_short_cut_finds_the_duplicates_that_hashing_finds() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut rigid, mut refused) = (0, 0);
        for case in 0..300 {
            let mut task = task(&mut rng, case % 4, 2 + (case % 5) as u8);
            if case % 2 == 0 {
                let copy = ArcAugmentation::sample(&mut rng).apply_task(&task);
                task.train.extend(copy.pairs().cloned());
            }
            let mut known = Distinct::new(&task);
            rigid += usize::from(known.rigid);
            let mut hashes = HashSet::from([puzzle_hash(&task)]);
            for _ in 0..100 {
                let augmentation = ArcAugmentation::sample(&mut rng);
                let new = hashes.insert(puzzle_hash(&augmentation.apply_task(&task)));
                assert_eq!(
                    known.insert(&augmentation),
                    new,
                    "{task:?} {augmentation:?}"
                );
                refused += usize::from(!new);
            }
        }
        assert!(
            (50..250).contains(&rigid),
            "{rigid} of 300 take the short cut"
        );
        assert!(refused > 100);
    }

    #[test]
    fn the_hash_ignores_the_order_of_pairs_and_nothing_else() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let task = task(&mut rng, 3, 10);
        let mut reordered = task.clone();
        reordered.train.rotate_left(1);
        reordered.train.push(reordered.test[0].clone());
        reordered.test = vec![reordered.train.remove(0)];
        assert_eq!(puzzle_hash(&task), puzzle_hash(&reordered));
        reordered.test[0].output = None;
        assert_ne!(puzzle_hash(&task), puzzle_hash(&reordered));
    }

    /// Computed with Python's hashlib from one pair of 1x1 grids.
    #[test]
    fn the_hash_is_that_of_the_published_builder() {
        let one = |colour| Grid::new(1, 1, vec![colour]).unwrap();
        let task = ArcTask {
            id: "t".to_owned(),
            train: vec![Pair {
                input: one(1),
                output: Some(one(2)),
            }],
            test: Vec::new(),
        };
        assert_eq!(
            puzzle_hash(&task),
            "5dadf91e5ffaec4630a21b1b114f6802ca46364a06b5f85fa175ae83784a1691"
        );
    }

    #[test]
    fn a_test_input_without_its_solution_is_a_leak_unless_it_is_plain() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let shared = |input: &[u8], outputs: [Option<u8>; 2]| {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let [first, second] = outputs.map(|output| {
                let mut task = task(&mut rng, 2, 10);
                task.id = rng.random::<u64>().to_string();
                task.test[0] = Pair {
                    input: Grid::new(1, input.len(), input.to_vec()).unwrap(),
                    output: output.map(|colour| Grid::new(1, 1, vec![colour]).unwrap()),
                };
                task
            });
            let leaks = find_leaks(&[("a", &[first]), ("b", &[second])]);
            leaks.first().map(|leak| leak.kind)
        };
        let input: Vec<u8> = (0..20).map(|_| rng.random_range(0..10)).collect();
        let leak = Some(LeakKind::SharedPair);
        assert_eq!(shared(&input, [Some(1), Some(1)]), leak);
        assert_eq!(shared(&input, [Some(1), None]), leak);
        assert_eq!(shared(&input, [None, None]), leak);
        assert_eq!(shared(&input, [Some(1), Some(2)]), None);
        assert_eq!(shared(&[0; 20], [Some(1), Some(1)]), leak);
        assert_eq!(shared(&[0; 20], [None, Some(1)]), None);
        assert_eq!(shared(&[0; 20], [None, None]), None);
    }

    #[test]
    fn leaks_are_found_under_other_names_colours_and_turns() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut tasks: Vec<ArcTask> = (0..5).map(|_| task(&mut rng, 3, 10)).collect();
        for (at, task) in tasks.iter_mut().enumerate() {
            task.id = format!("t{at}");
        }
        let training = tasks.clone();
        let mut evaluation = tasks;
        evaluation[0].id = "renamed".to_owned();
        evaluation[0].test[0].output = None;
        evaluation[1] = ArcTask {
            id: "turned".to_owned(),
            ..ArcAugmentation::sample(&mut rng).apply_task(&evaluation[1])
        };
        let shared = evaluation[2].train[1].clone();
        evaluation[2] = ArcTask {
            id: "partly".to_owned(),
            train: vec![shared],
            ..task(&mut rng, 0, 10)
        };
        evaluation[3] = ArcTask {
            id: "t3".to_owned(),
            ..task(&mut rng, 3, 10)
        };
        evaluation[4] = ArcTask {
            id: "new".to_owned(),
            ..task(&mut rng, 3, 10)
        };
        let leaks: Vec<_> = find_leaks(&[("training", &training), ("evaluation", &evaluation)])
            .into_iter()
            .map(|leak| (leak.first.1, leak.second.1, leak.kind))
            .collect();
        let expected = [
            ("t0", "renamed", LeakKind::SamePuzzle),
            ("t1", "turned", LeakKind::Augmented),
            ("t2", "partly", LeakKind::SharedPair),
            ("t3", "t3", LeakKind::SameName),
        ]
        .map(|(a, b, kind)| (a.to_owned(), b.to_owned(), kind));
        assert_eq!(leaks, expected);
    }
}
