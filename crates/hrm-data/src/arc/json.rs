//! ARC tasks from JSON, checked as they are parsed: nothing is allocated that the checks would refuse.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use serde_json::json;

use super::grid::{ArcTask, COLOURS, Grid, MAX_SIDE, Pair};
use crate::{DataError, Identifiers};

/// Longest name of a task, in bytes.
const MAX_NAME: usize = 200;

/// Reads a file of one task, `{"train": [{"input": .., "output": ..}, ..], "test": [..]}`; other fields are skipped.
/// Tests may lack their output. `path` stands for the file in errors, `id` becomes the task's name.
///
/// # Errors
/// [`DataError::Json`] with file, task, pair, line and column.
pub fn parse_task(json: &[u8], id: &str, path: impl AsRef<Path>) -> Result<ArcTask, DataError> {
    let path = path.as_ref();
    let json = without_mark(json);
    let parse = || -> Result<ArcTask, serde_json::Error> {
        check_name::<serde_json::Error>(id)?;
        let mut reader = serde_json::Deserializer::from_slice(json);
        let task =
            Body::deserialize(&mut reader).map_err(|e| within(format_args!("task {id}"), e))?;
        reader.end()?;
        Ok(task.named(id.to_owned()))
    };
    parse().map_err(|reason| json_error(path, reason))
}

/// Reads a Kaggle file of challenges, `{"<task>": {"train": .., "test": [{"input": ..}]}}`. The tasks come sorted by name.
///
/// # Errors
/// [`DataError::Json`] with file, task, pair, line and column; also where a task occurs twice.
pub fn parse_challenges(json: &[u8], path: impl AsRef<Path>) -> Result<Vec<ArcTask>, DataError> {
    let path = path.as_ref();
    let Named::<Body>(tasks) = parse_file(json, path)?;
    Ok(tasks.into_iter().map(|(id, body)| body.named(id)).collect())
}

/// Reads a file of one task or a Kaggle file of challenges, whichever it is; `id` is the name of the one.
///
/// # Errors
/// [`DataError::Json`] with file, task, pair, line and column.
pub fn parse_tasks(
    json: &[u8],
    id: &str,
    path: impl AsRef<Path>,
) -> Result<Vec<ArcTask>, DataError> {
    let path = path.as_ref();
    match parse_task(json, id, path) {
        Ok(task) => Ok(vec![task]),
        Err(error) if is_task(json) => Err(error),
        Err(_) => parse_challenges(json, path),
    }
}

/// Whether a file means to be a task, though it may be none: it has pairs of its own, where challenges have tasks. The fields are looked
/// at as far as they can be read.
fn is_task(json: &[u8]) -> bool {
    struct Fields<'a>(&'a mut bool);
    impl<'de> Visitor<'de> for Fields<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(field) = map.next_key::<String>()? {
                *self.0 |= field == "train" || field == "test";
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }
    let mut has_pairs = false;
    let mut reader = serde_json::Deserializer::from_slice(without_mark(json));
    // What can't be read is told by the parser of tasks.
    let _ = reader.deserialize_map(Fields(&mut has_pairs));
    has_pairs
}

/// Reads a Kaggle file of solutions, `{"<task>": [<output of test 1>, ..]}`.
///
/// # Errors
/// [`DataError::Json`] with file, task, test, line and column.
pub fn parse_solutions(
    json: &[u8],
    path: impl AsRef<Path>,
) -> Result<BTreeMap<String, Vec<Grid>>, DataError> {
    let path = path.as_ref();
    let Named::<Solutions>(tasks) = parse_file(json, path)?;
    Ok(tasks.into_iter().map(|(id, grids)| (id, grids.0)).collect())
}

/// Puts solutions to their tests. Tasks without solutions stay as they are; `path` is the file of the solutions.
///
/// # Errors
/// [`DataError::ArcSolutions`] if a solution's task is not there, has another number of tests, or already has
/// another output.
pub fn join_solutions(
    tasks: &mut [ArcTask],
    solutions: BTreeMap<String, Vec<Grid>>,
    path: impl AsRef<Path>,
) -> Result<(), DataError> {
    let path = path.as_ref();
    let error = |task: &str, expected: String, found: String| DataError::ArcSolutions {
        path: path.into(),
        task: task.to_owned(),
        expected,
        found,
    };
    let places: BTreeMap<String, usize> = tasks
        .iter()
        .enumerate()
        .map(|(at, task)| (task.id.clone(), at))
        .collect();
    for (id, grids) in solutions {
        let Some(&at) = places.get(&id) else {
            let expected = "a task of the challenges".to_owned();
            return Err(error(&id, expected, "none of this name".to_owned()));
        };
        let tests = &mut tasks[at].test;
        if tests.len() != grids.len() {
            let expected = format!("{} solutions, one per test", tests.len());
            return Err(error(&id, expected, grids.len().to_string()));
        }
        for (index, (test, grid)) in tests.iter_mut().zip(grids).enumerate() {
            match &test.output {
                Some(output) if *output != grid => {
                    let expected = format!("for test {} {output}, as in the challenge", index + 1);
                    return Err(error(&id, expected, grid.to_string()));
                }
                _ => test.output = Some(grid),
            }
        }
    }
    Ok(())
}

/// Tasks in Kaggle's layout of challenges, outputs of tests included where they are known.
pub fn challenges_json(tasks: &[ArcTask]) -> String {
    let tasks = tasks.iter().map(|task| (task.id.clone(), body(task)));
    serde_json::Value::Object(tasks.collect()).to_string()
}

/// TRM's `test_puzzles.json`: [`challenges_json`], but that every test has an output. Where none is known it is a single black cell,
/// as TRM's builder has it.
pub fn test_puzzles_json(mut tasks: Vec<ArcTask>) -> String {
    for test in tasks.iter_mut().flat_map(|task| &mut task.test) {
        test.output
            .get_or_insert_with(|| Grid::of_colours(1, 1, vec![0]));
    }
    challenges_json(&tasks)
}

/// A task as a file of its own, as ARC-AGI's folders have them; the file's name is to be the task's.
pub fn task_json(task: &ArcTask) -> String {
    body(task).to_string()
}

fn body(task: &ArcTask) -> serde_json::Value {
    let pairs = |pairs: &[Pair]| -> serde_json::Value {
        pairs
            .iter()
            .map(|pair| match &pair.output {
                Some(output) => json!({"input": pair.input, "output": output}),
                None => json!({"input": pair.input}),
            })
            .collect()
    };
    json!({"test": pairs(&task.test), "train": pairs(&task.train)})
}

/// Some programs mark UTF-8 so.
fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

fn parse_file<'a, T: Deserialize<'a>>(json: &'a [u8], path: &Path) -> Result<T, DataError> {
    serde_json::from_slice(without_mark(json)).map_err(|reason| json_error(path, reason))
}

fn json_error(path: &Path, reason: serde_json::Error) -> DataError {
    DataError::Json {
        path: path.into(),
        reason,
    }
}

/// An error with the place in the task before it. The parser takes line and column from the end of a message, so they stay there, said once.
fn within<E: de::Error>(place: impl fmt::Display, error: impl fmt::Display) -> E {
    E::custom(format_args!("{place}: {error}"))
}

fn check_name<E: de::Error>(id: &str) -> Result<(), E> {
    if id.is_empty()
        || id.len() > MAX_NAME
        || id == Identifiers::BLANK
        || id.chars().any(char::is_control)
    {
        let found: String = id.chars().take(40).collect();
        return Err(E::custom(format_args!(
            "expected a task's name of 1 to {MAX_NAME} bytes without control characters, other than {}, \
             found {found:?}",
            Identifiers::BLANK
        )));
    }
    Ok(())
}

/// A map of names to values; a name that occurs twice is an error.
struct Named<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tasks<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tasks<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tasks")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tasks = BTreeMap::new();
                while let Some(id) = map.next_key::<String>()? {
                    check_name(&id)?;
                    let task = map
                        .next_value()
                        .map_err(|error| within(format_args!("task {id}"), error))?;
                    if tasks.contains_key(&id) {
                        return Err(de::Error::custom(format_args!("task {id} occurs twice")));
                    }
                    tasks.insert(id, task);
                }
                Ok(Named(tasks))
            }
        }
        deserializer.deserialize_map(Tasks(std::marker::PhantomData))
    }
}

/// A task without its name.
struct Body {
    train: Vec<Pair>,
    test: Vec<Pair>,
}

impl Body {
    fn named(self, id: String) -> ArcTask {
        ArcTask {
            id,
            train: self.train,
            test: self.test,
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Body;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task with `train` and `test`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let (mut train, mut test) = (None, None);
                while let Some(field) = map.next_key::<String>()? {
                    let (name, place) = match field.as_str() {
                        "train" => ("train", &mut train),
                        "test" => ("test", &mut test),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if place.is_some() {
                        return Err(de::Error::duplicate_field(name));
                    }
                    *place = Some(map.next_value_seed(Pairs { name })?);
                }
                Ok(Body {
                    train: train.ok_or_else(|| de::Error::missing_field("train"))?,
                    test: test.ok_or_else(|| de::Error::missing_field("test"))?,
                })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The pairs of one field; demonstrations need their output.
struct Pairs {
    name: &'static str,
}

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Vec<Pair>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Pair>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<Pair>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of pairs in `{}`", self.name)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Pair>, A::Error> {
        let mut pairs = Vec::new();
        loop {
            let place = format_args!("{} {}", self.name, pairs.len() + 1).to_string();
            match seq.next_element::<RawPair>() {
                Ok(Some(RawPair { output: None, .. })) if self.name == "train" => {
                    return Err(within(place, "missing field `output`"));
                }
                Ok(Some(RawPair { input, output })) => pairs.push(Pair { input, output }),
                Ok(None) => return Ok(pairs),
                Err(error) => return Err(within(place, error)),
            }
        }
    }
}

/// A pair as it is written; `output` may be missing or null.
#[derive(serde::Deserialize)]
struct RawPair {
    input: Grid,
    #[serde(default)]
    output: Option<Grid>,
}

/// The solutions of a task's tests.
struct Solutions(Vec<Grid>);

impl<'de> Deserialize<'de> for Solutions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Grids;
        impl<'de> Visitor<'de> for Grids {
            type Value = Solutions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of grids")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Solutions, A::Error> {
                let mut grids = Vec::new();
                while let Some(grid) = seq
                    .next_element()
                    .map_err(|error| within(format_args!("test {}", grids.len() + 1), error))?
                {
                    grids.push(grid);
                }
                Ok(Solutions(grids))
            }
        }
        deserializer.deserialize_seq(Grids)
    }
}

impl<'de> Deserialize<'de> for Grid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Rows)
    }
}

impl serde::Serialize for Grid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}

struct Rows;

impl<'de> Visitor<'de> for Rows {
    type Value = Grid;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a grid of 1 to {MAX_SIDE} rows")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Grid, A::Error> {
        let mut cells = Vec::new();
        let (mut height, mut width) = (0, 0);
        loop {
            if height == MAX_SIDE {
                return match seq.next_element::<IgnoredAny>()? {
                    None => Grid::new(height, width, cells).map_err(de::Error::custom),
                    Some(_) => Err(de::Error::custom(format_args!(
                        "expected at most {MAX_SIDE} rows"
                    ))),
                };
            }
            let before = cells.len();
            if seq
                .next_element_seed(Row(&mut cells, height + 1))?
                .is_none()
            {
                return Grid::new(height, width, cells).map_err(de::Error::custom);
            }
            let found = cells.len() - before;
            if height == 0 {
                width = found;
            } else if width != found {
                let row = height + 1;
                return Err(de::Error::custom(format_args!(
                    "row {row}: expected {width} cells, as in row 1, found {found}"
                )));
            }
            height += 1;
        }
    }
}

/// Appends a row, the second value is its number.
struct Row<'a>(&'a mut Vec<u8>, usize);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of 1 to {MAX_SIDE} colours")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(cells, row) = self;
        let before = cells.len();
        while let Some(Colour(colour)) = seq
            .next_element()
            .map_err(|error| within(format_args!("row {row}"), error))?
        {
            if cells.len() - before == MAX_SIDE {
                return Err(de::Error::custom(format_args!(
                    "row {row}: expected at most {MAX_SIDE} cells"
                )));
            }
            cells.push(colour);
        }
        Ok(())
    }
}

struct Colour(u8);

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Colour;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a colour 0 to 9")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Colour, E> {
                match u8::try_from(value) {
                    Ok(colour) if colour < COLOURS => Ok(Colour(colour)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
                }
            }
        }
        deserializer.deserialize_u8(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<ArcTask, String> {
        parse_task(json.as_bytes(), "t1", Path::new("t1.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_task_is_read_and_other_fields_are_skipped() {
        let task = task(
            r#"{"name": {"x": [1e300]}, "test": [{"input": [[1]], "output": [[2]]}, {"input": [[3]]}],
                "train": [{"input": [[0, 1]], "output": [[9], [8]], "note": null}]}"#,
        )
        .unwrap();
        assert_eq!(task.train[0].input.to_string(), "01");
        assert_eq!(task.train[0].output.as_ref().unwrap().to_string(), "9 8");
        assert_eq!(task.test[1].output, None);
        assert_eq!(task.pairs().count(), 3);
    }

    #[test]
    fn what_is_wrong_is_said_with_task_pair_and_row() {
        let cases = [
            (
                r#"{"train": [{"input": [[1, 2], [3]], "output": [[1]]}], "test": []}"#,
                "t1.json: task t1: train 1: row 2: expected 2 cells, as in row 1, found 1",
            ),
            (
                r#"{"train": [], "test": [{"input": [[1]]}, {"input": [[12]]}]}"#,
                "t1.json: task t1: test 2: row 1: invalid value: integer `12`, expected a colour 0 to 9",
            ),
            (
                r#"{"train": [{"input": [[1]]}], "test": []}"#,
                "t1.json: task t1: train 1: missing field `output`",
            ),
            (
                r#"{"train": [{"output": [[1]]}], "test": []}"#,
                "t1.json: task t1: train 1: missing field `input`",
            ),
            (
                r#"{"train": [{"input": [], "output": [[1]]}], "test": []}"#,
                "t1.json: task t1: train 1: grid: expected 1 to 30 rows and columns, found 0x0",
            ),
            (
                r#"{"train": [], "test": [{"input": [[1e999]]}]}"#,
                "t1.json: task t1: test 1: row 1: number out of range",
            ),
            (
                r#"{"train": [], "test": [{"input": [[-1]]}]}"#,
                "t1.json: task t1: test 1: row 1: invalid type: integer `-1`, expected a colour 0 to 9",
            ),
            (r#"{"train": []}"#, "t1.json: task t1: missing field `test`"),
            (
                r#"{"train": [], "train": []}"#,
                "t1.json: task t1: duplicate field `train`",
            ),
            (
                "[]",
                "t1.json: task t1: invalid type: sequence, expected a task with `train` and `test`",
            ),
            ("{", "t1.json: task t1: EOF while parsing an object"),
        ];
        for (json, expected) in cases {
            let error = task(json).unwrap_err();
            assert!(error.starts_with(expected), "{json}\n{error}\n{expected}");
        }
        assert!(task(r#"{"train": [], "test": []} x"#).is_err());
    }

    #[test]
    fn line_and_column_are_said_once() {
        let broken = "{\"train\": [],\n \"test\": [{\"input\": [[1 2]]}]}";
        let expected = "test 1: row 1: expected `,` or `]` at line 2 column 25";
        assert_eq!(
            task(broken).unwrap_err(),
            format!("t1.json: task t1: {expected}")
        );
        let path = Path::new("c.json");
        let found = parse_challenges(format!("{{\"a\":\n{broken}}}").as_bytes(), path);
        let expected = expected.replace("line 2", "line 3");
        assert_eq!(
            found.unwrap_err().to_string(),
            format!("c.json: task a: {expected}")
        );
        // Found by us and not by the parser.
        let wide = "{\"train\": [{\"input\": [[1]], \"output\": [[1]]},\n{\"input\": [[1]]}]}";
        let error = task(wide).unwrap_err();
        let start = "t1.json: task t1: train 2: missing field `output` at line 2 column ";
        assert!(error.starts_with(start), "{error}");
        let missing = task("{\"train\":\n[]}").unwrap_err();
        let start = "t1.json: task t1: missing field `test` at line 2 column ";
        assert!(missing.starts_with(start), "{missing}");
    }

    #[test]
    fn a_task_and_challenges_are_told_apart() {
        const TASK: &str = r#"{"train": [{"input": [[1]], "output": [[2]]}], "test": []}"#;
        for mark in ["", "\u{feff}"] {
            let tasks = |json: &str| {
                let json = format!("{mark}{json}");
                parse_tasks(json.as_bytes(), "t1", "t1.json").map_err(|error| error.to_string())
            };
            assert_eq!(tasks(TASK).unwrap(), [task(TASK).unwrap()]);
            let two = tasks(&format!(r#"{{"b": {TASK}, "a": {TASK}}}"#)).unwrap();
            let ids: Vec<&str> = two.iter().map(|task| &*task.id).collect();
            assert_eq!(ids, ["a", "b"]);
            assert_eq!(two[0].train, two[1].train);
            // The words of either parser.
            for (json, expected) in [
                (
                    r#"{"train": [{"input": [[1]], "output": [[12]]}], "test": []}"#,
                    "t1.json: task t1: train 1: row 1: invalid value: integer `12`",
                ),
                (r#"{"train": []}"#, "t1.json: task t1: missing field `test`"),
                (r#"{"test": []}"#, "t1.json: task t1: missing field `train`"),
                (
                    r#"{"a": {"train": []}}"#,
                    "t1.json: task a: missing field `test`",
                ),
                (
                    "[]",
                    "t1.json: invalid type: sequence, expected an object of tasks",
                ),
            ] {
                let error = tasks(json).unwrap_err();
                assert!(error.starts_with(expected), "{json}\n{error}\n{expected}");
            }
        }
    }

    #[test]
    fn a_broken_task_is_none_of_challenges() {
        let message = |json: &str| {
            let found = parse_tasks(json.as_bytes(), "t1", Path::new("t1.json"));
            found.unwrap_err().to_string()
        };
        for broken in [
            r#"{"train": [{"input": [[1 2]]}]"#,
            r#"{"test": [{"input": [[1"#,
            r#"{"name": {"x": 1}, "test": [}"#,
        ] {
            assert!(
                message(broken).starts_with("t1.json: task t1: "),
                "{broken}"
            );
        }
        let cut = message(r#"{"a": {"train": [{"input": [[1"#);
        assert!(
            cut.starts_with("t1.json: task a: train 1: row 1: EOF"),
            "{cut}"
        );
    }

    #[test]
    fn oversized_grids_are_refused_before_they_are_read() {
        let row = format!("[{}]", vec!["1"; 31].join(","));
        let json = format!(r#"{{"train": [], "test": [{{"input": [{row}]}}]}}"#);
        let error = task(&json).unwrap_err();
        assert!(
            error.contains("test 1: row 1: expected at most 30 cells"),
            "{error}"
        );
        let rows = vec!["[1]"; 31].join(",");
        let json = format!(r#"{{"train": [], "test": [{{"input": [{rows}]}}]}}"#);
        let error = task(&json).unwrap_err();
        assert!(
            error.contains("test 1: expected at most 30 rows"),
            "{error}"
        );
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        for bomb in ["[", r#"{"train":"#, r#"{"x":"#] {
            assert!(task(&bomb.repeat(100_000)).is_err());
        }
    }

    #[test]
    fn challenges_come_sorted_and_take_their_solutions() {
        let path = Path::new("c.json");
        let json =
            br#"{"b": {"train": [], "test": [{"input": [[1]]}]}, "a": {"train": [], "test": []}}"#;
        let mut tasks = parse_challenges(json, path).unwrap();
        assert_eq!(tasks[0].id, "a");
        let solutions = parse_solutions(br#"{"b": [[[7]]]}"#, path).unwrap();
        join_solutions(&mut tasks, solutions, path).unwrap();
        assert_eq!(tasks[1].test[0].output.as_ref().unwrap().cells(), [7]);

        let written = challenges_json(&tasks);
        assert_eq!(parse_challenges(written.as_bytes(), path).unwrap(), tasks);

        let mut join = |json: &[u8]| {
            let solutions = parse_solutions(json, path).unwrap();
            join_solutions(&mut tasks, solutions, path)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            join(br#"{"b": []}"#),
            "c.json: task b: expected 1 solutions, one per test, found 0"
        );
        assert_eq!(
            join(br#"{"b": [[[8]]]}"#),
            "c.json: task b: expected for test 1 7, as in the challenge, found 8"
        );
        assert_eq!(
            join(br#"{"x": []}"#),
            "c.json: task x: expected a task of the challenges, found none of this name"
        );
    }

    #[test]
    fn a_task_that_occurs_twice_or_is_called_blank_is_an_error() {
        let error = |json: &str| {
            parse_challenges(json.as_bytes(), Path::new("c.json"))
                .unwrap_err()
                .to_string()
        };
        let body = r#"{"train": [], "test": []}"#;
        let twice = error(&format!(r#"{{"a": {body}, "a": {body}}}"#));
        assert!(twice.starts_with("c.json: task a occurs twice"), "{twice}");
        let blank = error(&format!(r#"{{"<blank>": {body}}}"#));
        assert!(blank.contains(r#"found "<blank>""#), "{blank}");
    }
}
