//! Looks at data folders and CSV files.

use super::{Distribution, Examined, Report, Shared, examine};
use crate::folder::DATASET;
use crate::maze::{self, Maze};
use crate::numbered::Records;
use crate::sudoku::{Board, SudokuSize};
use crate::{DataError, IGNORED, PuzzleSet, SetInfo, Task};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

/// Looks at the first `limit` examples of every split of a data folder.
///
/// # Errors
/// As [`PuzzleSet::load`]; [`DataError::Field`] if no folder inside holds a `dataset.json`.
pub fn inspect_folder(dir: impl AsRef<Path>, limit: usize) -> Result<Report, DataError> {
    let dir = dir.as_ref();
    let read_error = DataError::read(dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if is_split(entry.path())? {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let sets = names.into_iter().map(|name| {
        let set = PuzzleSet::load(dir, &name)?;
        Ok((name, set))
    });
    let sets = sets.collect::<Result<Vec<_>, DataError>>()?;
    inspect_sets(&sets, limit).ok_or_else(|| DataError::Field {
        path: dir.into(),
        field: "splits".to_owned(),
        expected: "a folder with dataset.json, such as train".to_owned(),
        found: "none".to_owned(),
    })
}

/// Whether a folder is a split of a data folder.
///
/// # Errors
/// If that can't be told, as of a folder that may not be read.
pub fn is_split(dir: impl AsRef<Path>) -> Result<bool, DataError> {
    let about = dir.as_ref().join(DATASET);
    match std::fs::metadata(&about) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(source) => Err(DataError::Read {
            path: about,
            source,
        }),
    }
}

/// Looks at the first `limit` examples of every set, splits of one task by their names; `None` of no sets.
pub fn inspect_sets(sets: &[(String, PuzzleSet)], limit: usize) -> Option<Report> {
    let task = sets.first()?.1.info().task;
    let splits: Vec<Examined> = sets
        .iter()
        .map(|(name, set)| examine(name, set, limit))
        .collect();
    let mut shared = Vec::new();
    for (at, one) in splits.iter().enumerate() {
        for other in &splits[at + 1..] {
            let keys: HashSet<_> = other.keys.iter().collect();
            let examples = one.keys.iter().filter(|key| keys.contains(key)).count();
            if examples > 0 {
                shared.push(Shared {
                    splits: (one.report.name.clone(), other.report.name.clone()),
                    examples,
                });
            }
        }
    }
    Some(Report {
        task,
        splits: splits.into_iter().map(|split| split.report).collect(),
        shared,
    })
}

/// Looks at the first `limit` puzzles of a CSV file: see [`CsvExamples`].
///
/// # Errors
/// As [`CsvExamples::read`].
pub fn inspect_csv(
    path: impl AsRef<Path>,
    shape: Option<(usize, usize)>,
    limit: usize,
) -> Result<Report, DataError> {
    Ok(CsvExamples::read(path, shape)?.inspect(limit))
}

/// The puzzles of a CSV file of Sudokus or mazes as they are. Unlike the readers of these it accepts wrong answers.
#[derive(Clone, Debug)]
pub struct CsvExamples {
    /// The questions with the answers.
    pub set: PuzzleSet,
    /// What the file says about the hardness of each.
    pub ratings: Vec<Option<u64>>,
    name: String,
}

impl CsvExamples {
    /// Looks at the first `limit` puzzles.
    pub fn inspect(&self, limit: usize) -> Report {
        let Examined { mut report, .. } = examine(&self.name, &self.set, limit);
        report.rating = Distribution::of(self.ratings.iter().take(limit).flatten().copied());
        Report {
            task: self.set.info().task,
            splits: vec![report],
            shared: Vec::new(),
        }
    }

    /// Reads a file, whose kind is told from the first question. `shape` is the height and width of the grids; without it mazes must be
    /// square.
    ///
    /// # Errors
    /// With file and line: a missing column, a question that is neither, a field of the wrong length or with characters
    /// that mean nothing, a rating that is no number; a file without puzzles.
    pub fn read(path: impl AsRef<Path>, shape: Option<(usize, usize)>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(DataError::read(path))?;
        let mut records = Records::new(std::io::BufReader::new(file), path)?;
        let columns = records.columns()?;
        let mut info: Option<SetInfo> = None;
        let (mut inputs, mut labels, mut ratings) = (Vec::new(), Vec::new(), Vec::new());
        let mut record = csv::StringRecord::new();
        while let Some(line) = records.read(&mut record)? {
            let [_, asked, answered, rated] = columns.of(&record);
            let info = match &mut info {
                Some(info) => info,
                empty => {
                    empty.insert(kind(asked, shape).map_err(|error| error.at_line(path, line))?)
                }
            };
            inputs.extend(question(info, asked).map_err(|error| error.at_line(path, line))?);
            labels.extend(answer(info, answered).map_err(|error| error.at_line(path, line))?);
            let rating = match rated {
                "" => None,
                text => Some(text.parse::<u64>().map_err(|_| {
                    let error = DataError::CsvColumn {
                        column: "rating",
                        expected: format!("a whole number of {} at most, or nothing", u64::MAX),
                        found: format!("`{}`", text.chars().take(40).collect::<String>()),
                    };
                    error.at_line(path, line)
                })?),
            };
            ratings.push(rating);
        }
        let info = info.ok_or_else(|| DataError::EmptySet.at_line(path, 1))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            set: PuzzleSet::from_examples(info, inputs, labels)?,
            ratings,
            name: name.into_owned(),
        })
    }
}

/// The kind of set that a question begins.
fn kind(question: &str, shape: Option<(usize, usize)>) -> Result<SetInfo, DataError> {
    if question.contains(['S', '#']) {
        let maze = match shape {
            Some((height, width)) => Maze::parse(question, height, width)?,
            None => Maze::parse_square(question)?,
        };
        return Ok(SetInfo::maze(maze.height(), maze.width()));
    }
    let size = SudokuSize::of_text(question)?;
    match shape {
        Some(shape) if shape != (size.side(), size.side()) => Err(DataError::mismatch(
            "size",
            format!("{}x{}", shape.0, shape.1),
            format!("a Sudoku of {size}"),
        )),
        _ => Ok(SetInfo::sudoku(size)),
    }
}

/// Tokens of a question.
fn question(info: &SetInfo, text: &str) -> Result<Vec<u8>, DataError> {
    match info.task {
        Task::Maze { height, width } => Ok(Maze::parse(text, height, width)?.cells().to_vec()),
        _ => tokens(info, text),
    }
}

/// Tokens of an answer, whether it is right or not; of one that is not given, ones that don't count.
fn answer(info: &SetInfo, text: &str) -> Result<Vec<u8>, DataError> {
    if text.is_empty() {
        return Ok(vec![IGNORED; info.seq_len]);
    }
    tokens(info, text)
}

fn tokens(info: &SetInfo, text: &str) -> Result<Vec<u8>, DataError> {
    if let Task::Sudoku(size) = info.task {
        return Ok(Board::parse_sized(size, text)?.tokens());
    }
    let found = text.chars().count();
    if found != info.seq_len {
        return Err(DataError::MazeCells {
            expected: info.seq_len,
            found,
        });
    }
    // What is no maze character is counted as wrong, not refused.
    let tokens = text.chars().map(|c| maze::token(c).unwrap_or(IGNORED));
    Ok(tokens.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Augmentation;
    use crate::inspect::Compared;
    use crate::sudoku::Generator;

    #[test]
    fn duplicates_within_and_across_splits_are_counted_in_disguise_too() {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
        let set =
            PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Training: 10 puzzles, each with two augmented copies. Test: two of them, and two others.
        set.subset(0..10)
            .save_materialized(dir.path(), "train", 2, 1)
            .unwrap();
        set.subset(8..12).save(dir.path(), "test").unwrap();
        let report = inspect_folder(dir.path(), usize::MAX).unwrap();
        let names: Vec<&str> = report
            .splits
            .iter()
            .map(|split| split.name.as_str())
            .collect();
        assert_eq!(names, ["test", "train"]);
        let (test, train) = (&report.splits[0], &report.splits[1]);
        assert_eq!((test.examples, test.duplicates), (4, 0));
        assert_eq!(
            (train.groups, train.examples, train.duplicates),
            (10, 30, 20)
        );
        assert_eq!(train.compared, Compared::CanonicalForm);
        assert_eq!(
            report.shared[0].splits,
            ("test".to_owned(), "train".to_owned())
        );
        assert_eq!(report.shared[0].examples, 2);
        let sudoku = train.sudoku.as_ref().unwrap();
        assert_eq!((sudoku.right, sudoku.one_solution), (30, 30));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn questions_of_a_csv_may_have_no_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.csv");
        let questions = "question,answer\n1234 3412 2143 4...,\n1234341221434321,\n";
        std::fs::write(&path, questions).unwrap();
        let report = inspect_csv(&path, None, usize::MAX).unwrap();
        let sudoku = report.splits[0].sudoku.as_ref().unwrap();
        assert_eq!((sudoku.right, sudoku.one_solution), (0, 2));
        assert_eq!(sudoku.wrong, []);
    }

    #[test]
    fn wrong_answers_of_a_csv_are_counted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.csv");
        let text = "source,question,answer,rating\n\
                    a,1234341221434...,1234341221434321,3\n\
                    a,................,1234341221434321,5\n\
                    a,12..............,2134341221434321,\n\
                    a,11..............,1134341221434321,4\n";
        std::fs::write(&path, text).unwrap();
        let report = inspect_csv(&path, None, usize::MAX).unwrap();
        let split = &report.splits[0];
        assert_eq!(split.rating.unwrap().median, 4);
        let sudoku = split.sudoku.as_ref().unwrap();
        assert_eq!(sudoku.right, 2);
        assert_eq!(
            sudoku.wrong,
            [
                (2, "row 1 column 1 is given as 1, answered as 2".to_owned()),
                (
                    3,
                    "two 1s in row 1: row 1 column 1 and row 1 column 2".to_owned()
                ),
            ]
        );
        assert_eq!(
            (
                sudoku.one_solution,
                sudoku.several_solutions,
                sudoku.no_solution
            ),
            (1, 2, 1)
        );
        // The first two alone.
        let rating = inspect_csv(&path, None, 2).unwrap().splits[0]
            .rating
            .unwrap();
        assert_eq!((rating.min, rating.max), (3, 5));
        let clues = sudoku.clues.unwrap();
        assert_eq!((clues.min, clues.median, clues.max), (0, 2, 13));
    }

    #[test]
    fn the_verdicts_on_mazes_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.csv");
        // The label goes down first; right first is as short; the third does not lead to the goal.
        let text = "source,question,answer,rating\n\
                    a,S   G#   ,So  G#   ,3\n\
                    a,S   G#   ,S  oG#   ,3\n\
                    a,S   G#   ,S   G#   ,3\n";
        std::fs::write(&path, text).unwrap();
        let report = inspect_csv(&path, None, usize::MAX).unwrap();
        let split = &report.splits[0];
        let maze = split.maze.as_ref().unwrap();
        assert_eq!(
            (maze.exact, maze.optimal, maze.valid, maze.invalid),
            (1, 1, 0, 1)
        );
        assert_eq!(maze.path_cells.unwrap().max, 3);
        assert_eq!(split.duplicates, 2);
    }

    #[test]
    fn what_has_no_answer_is_not_wrong() {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(4, 1).unwrap();
        let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::None).unwrap();
        let without = |set: &PuzzleSet| {
            let inputs = (0..set.num_examples()).flat_map(|i| set.example(i).inputs.to_vec());
            let inputs: Vec<u8> = inputs.collect();
            let labels = vec![IGNORED; inputs.len()];
            PuzzleSet::from_examples(set.info().clone(), inputs, labels).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        set.save(dir.path(), "train").unwrap();
        without(&set.subset(2..4)).save(dir.path(), "test").unwrap();
        let report = inspect_folder(dir.path(), usize::MAX).unwrap();
        let sudoku = report.splits[0].sudoku.as_ref().unwrap();
        assert_eq!((sudoku.right, sudoku.one_solution), (0, 2));
        assert!(sudoku.wrong.is_empty());
        // They are compared by the solution that they have.
        assert_eq!(report.shared[0].examples, 2);
        let mazes: Vec<_> = maze::MazeGenerator::new(maze::MazeRecipe::small(), 1)
            .unwrap()
            .take(2)
            .collect();
        let set = without(&PuzzleSet::from_mazes(&mazes, Augmentation::None).unwrap());
        let report = inspect_sets(&[("test".to_owned(), set)], usize::MAX).unwrap();
        let maze = report.splits[0].maze.as_ref().unwrap();
        assert_eq!((maze.exact, maze.invalid, maze.wrong.len()), (0, 0, 0));
    }

    #[test]
    fn mazes_that_are_not_square_are_read_by_their_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.csv");
        let text = "source,question,answer,rating\na,S # # G ,SoooooG ,7\n";
        std::fs::write(&path, text).unwrap();
        let found = inspect_csv(&path, None, 1).unwrap_err().to_string();
        assert!(found.ends_with("m.csv:2: 8 cells are no square; give the height and the width"));
        let text = "source,question,answer,rating\na,S # G   ,S # G   ,2\n";
        std::fs::write(&path, text).unwrap();
        let report = inspect_csv(&path, Some((2, 4)), 1).unwrap();
        let expected = Task::Maze {
            height: 2,
            width: 4,
        };
        assert_eq!(report.task, expected);
        // A Sudoku has but one shape.
        let text = "source,question,answer,rating\na,1234341221434...,1234341221434321,3\n";
        std::fs::write(&path, text).unwrap();
        assert!(inspect_csv(&path, Some((4, 4)), 1).is_ok());
        let found = inspect_csv(&path, Some((2, 8)), 1).unwrap_err().to_string();
        assert!(
            found.ends_with("m.csv:2: size: expected 2x8, found a Sudoku of 4x4"),
            "{found}"
        );
    }

    #[test]
    fn what_is_no_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let found = inspect_folder(dir.path(), 1).unwrap_err().to_string();
        assert!(
            found.ends_with(
                "splits: expected a folder with dataset.json, such as train, found none"
            )
        );
        let path = dir.path().join("s.csv");
        std::fs::write(&path, "source,question,answer,rating\n").unwrap();
        let found = inspect_csv(&path, None, 1).unwrap_err().to_string();
        assert!(
            found.contains("s.csv:1: the puzzle set is empty"),
            "{found}"
        );
        std::fs::write(&path, "source,question,answer,rating\na,123,123,1\n").unwrap();
        let found = inspect_csv(&path, None, 1).unwrap_err().to_string();
        assert!(found.ends_with("s.csv:2: expected 16, 36, 81 or 256 cells, found 3"));
        let text = "source,question,answer,rating\n\
                    a,1234341221434...,1234341221434321,easy\n";
        std::fs::write(&path, text).unwrap();
        let found = inspect_csv(&path, None, 1).unwrap_err().to_string();
        assert!(
            found.ends_with(
                "s.csv:2: column rating: expected a whole number of 18446744073709551615 at most, or nothing, found `easy`"
            ),
            "{found}"
        );
    }
}
