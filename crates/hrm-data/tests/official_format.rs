//! Data folders: the real ones read and written back, and broken ones refused.

use hrm_data::maze::{Maze, MazeAugmentation, MazePuzzle};
use hrm_data::sudoku::{Board, Canonical, Generator, SudokuSize};
use hrm_data::{
    Augmentation, IGNORED, Identifiers, Provenance, PuzzleSet, SetArrays, SetInfo, SourceFile,
    Task, arc,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A folder of published data, or a word on why the test is skipped.
fn shared(path: &str) -> Option<PathBuf> {
    match std::env::var_os("HRM_SHARED_DIR") {
        Some(dir) => Some(Path::new(&dir).join(path)),
        None => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "CI sets HRM_SHARED_DIR"
            );
            eprintln!("skipped: HRM_SHARED_DIR is not set");
            None
        }
    }
}

/// What stands before the names of a folder's files.
fn above(dir: &Path) -> String {
    dir.join("").display().to_string()
}

/// Compares all arrays of a split.
fn assert_same_arrays(one: &Path, other: &Path) {
    let mut compared = 0;
    for entry in std::fs::read_dir(one).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "npy") {
            let written = std::fs::read(other.join(path.file_name().unwrap())).unwrap();
            assert!(
                std::fs::read(&path).unwrap() == written,
                "{} differs",
                path.display()
            );
            compared += 1;
        }
    }
    assert!(compared >= 5, "a set has five arrays");
}

#[test]
fn the_published_mazes_are_written_as_they_were_read() {
    let Some(dir) = shared("data/maze/maze-30x30-hard-1k") else {
        return;
    };
    let set = PuzzleSet::load(&dir, "train").unwrap();
    assert_eq!(set.info(), &SetInfo::maze(30, 30));
    assert_eq!(
        (set.num_groups(), set.num_puzzles(), set.num_examples()),
        (1000, 1000, 1000)
    );
    assert!(matches!(set.augmentation(), Augmentation::Maze(_)));
    assert_eq!(
        set.example(0)
            .inputs
            .iter()
            .filter(|&&token| token == 3)
            .count(),
        1
    );
    let out = tempfile::tempdir().unwrap();
    set.save(out.path(), "train").unwrap();
    assert_same_arrays(&dir.join("train"), &out.path().join("train"));
    assert_eq!(
        PuzzleSet::load(out.path(), "train").unwrap().fingerprint(),
        set.fingerprint()
    );
}

#[test]
fn an_arc_set_of_wide_integers_is_written_as_it_was_read() {
    let Some(dir) = shared("fixtures/interop/arc-simple") else {
        return;
    };
    for (split, examples) in [("train", 8), ("test", 2)] {
        let set = PuzzleSet::load(&dir, split).unwrap();
        assert_eq!(set.info().task, Task::Arc);
        assert_eq!((set.num_groups(), set.num_examples()), (1, examples));
        assert_eq!(
            set.identifiers().unwrap().get(1).as_deref(),
            Some("simple_pattern")
        );
        let out = tempfile::tempdir().unwrap();
        set.save(out.path(), split).unwrap();
        assert_same_arrays(&dir.join(split), &out.path().join(split));
        let again = PuzzleSet::load(out.path(), split).unwrap();
        assert_eq!(again.fingerprint(), set.fingerprint());
        assert_eq!(again.identifiers(), set.identifiers());
    }
}

#[test]
fn the_published_sudokus_become_the_published_arrays() {
    let Some(dir) = shared("") else { return };
    let csv = dir.join("data/sudoku/sudoku_extreme_train_1k.csv");
    let puzzles = hrm_data::sudoku::read_csv(&csv, None).unwrap();
    let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Nine, Augmentation::Sudoku).unwrap();
    let out = tempfile::tempdir().unwrap();
    set.save(out.path(), "train").unwrap();
    let interop = dir.join("fixtures/interop/sudoku-extreme-1k-npy");
    for (theirs, ours) in [
        ("train.inputs.npy", "inputs"),
        ("train.labels.npy", "labels"),
    ] {
        let theirs = std::fs::read(interop.join(theirs)).unwrap();
        let ours = std::fs::read(out.path().join(format!("train/all__{ours}.npy"))).unwrap();
        // The arrays were made from the same list, in any order.
        let sorted = |bytes: &[u8]| {
            let mut rows: Vec<Vec<u8>> = bytes[128..].chunks(81).map(<[u8]>::to_vec).collect();
            rows.sort();
            rows
        };
        assert_eq!(theirs[..128], ours[..128]);
        assert!(sorted(&theirs) == sorted(&ours));
    }
}

/// A folder with the splits train and test of 20 and 5 small Sudokus.
fn small_folder() -> (tempfile::TempDir, PuzzleSet) {
    let dir = tempfile::tempdir().unwrap();
    let puzzles = Generator::new(SudokuSize::Four).puzzles(25, 3).unwrap();
    let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
    let provenance = Provenance {
        sources: vec![SourceFile {
            name: "puzzles.csv".to_owned(),
            sha256: "00".repeat(32),
        }],
        command: "hrm data build".to_owned(),
        seed: Some(3),
    };
    set.subset(0..20)
        .with_provenance(provenance)
        .save(dir.path(), "train")
        .unwrap();
    let test = set
        .subset(20..25)
        .with_augmentation(Augmentation::None)
        .unwrap();
    test.save(dir.path(), "test").unwrap();
    (dir, set)
}

#[test]
fn our_folder_keeps_task_augmentation_and_provenance_of_both_splits() {
    let (dir, set) = small_folder();
    let train = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(train.info().task, Task::Sudoku(SudokuSize::Four));
    assert_eq!(train.augmentation(), Augmentation::Sudoku);
    assert_eq!(train.provenance().unwrap().seed, Some(3));
    assert_eq!(train.fingerprint(), set.take(20).fingerprint());
    let test = PuzzleSet::load(dir.path(), "test").unwrap();
    assert_eq!(test.augmentation(), Augmentation::None);
    assert_eq!(test.num_examples(), 5);
    assert_eq!(test.example(4), set.example(24));
    assert_eq!(train.identifiers().unwrap(), &Identifiers::blank());
}

#[test]
fn a_split_is_replaced_as_a_whole_or_not_at_all() {
    let (dir, all) = small_folder();
    let (set, others) = (all.subset(0..20), all.subset(5..25));
    let train = dir.path().join("train");
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(&train).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_ne!(others.fingerprint(), set.fingerprint());
    let there = || PuzzleSet::load(dir.path(), "train").map(|set| set.fingerprint());

    // Nothing of it can be written.
    let new = train.join(".new");
    std::fs::write(&new, "").unwrap();
    let error = others.save(dir.path(), "train").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", new.display()));
    assert_eq!(there().unwrap(), set.fingerprint());
    std::fs::remove_file(&new).unwrap();

    // What a save left that was killed is cleared away.
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("all__labels.npy"), "half").unwrap();
    std::fs::write(new.join("other"), "").unwrap();
    assert_eq!(there().unwrap(), set.fingerprint());
    others.save(dir.path(), "train").unwrap();
    assert_eq!(there().unwrap(), others.fingerprint());
    assert_eq!(names(), before);

    // One that ends between two arrays leaves no split: those of two saves may be of one shape.
    let labels = train.join("all__labels.npy");
    std::fs::remove_file(&labels).unwrap();
    std::fs::create_dir(&labels).unwrap();
    let error = set.save(dir.path(), "train").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot write {}", labels.display())
    );
    let error = there().unwrap_err();
    let about = train.join("dataset.json");
    assert_eq!(
        error.to_string(),
        format!("cannot read {}", about.display())
    );
    assert!(!new.exists());
}

#[test]
fn ignored_labels_are_written_as_the_sets_ignore_id() {
    let examples = |ignore_label_id| {
        let info = SetInfo {
            ignore_label_id,
            ..SetInfo::sudoku(SudokuSize::Four)
        };
        let labels = [IGNORED, 2, 3, 4].repeat(4);
        PuzzleSet::from_examples(info, vec![1; 16], labels)
    };
    for id in [0, 200, -100, i64::MIN] {
        let dir = tempfile::tempdir().unwrap();
        let set = examples(Some(id)).unwrap();
        set.save(dir.path(), "train").unwrap();
        let read = PuzzleSet::load(dir.path(), "train").unwrap();
        assert_eq!(read.example(0).labels, [IGNORED, 2, 3, 4].repeat(4));
        assert_eq!(read.info().ignore_label_id, Some(id));
    }
    // The id itself means the same in memory, whether it is a token or not.
    for id in [0, 200] {
        let info = SetInfo {
            ignore_label_id: Some(id.into()),
            ..SetInfo::sudoku(SudokuSize::Four)
        };
        let set = PuzzleSet::from_examples(info, vec![1; 16], [id, 2, 3, 4].repeat(4)).unwrap();
        assert_eq!(set.example(0).labels, [IGNORED, 2, 3, 4].repeat(4));
    }
    let dir = tempfile::tempdir().unwrap();
    let error = examples(None)
        .unwrap()
        .save(dir.path(), "train")
        .unwrap_err();
    let expected = "ignore_label_id: expected an id, for some labels are ignored, found none";
    assert_eq!(error.to_string(), expected);
}

/// TRM's builders of Sudokus and mazes count groups there, whatever they have augmented.
#[test]
fn groups_counted_as_puzzles_are_taken() {
    let (_, set) = small_folder();
    let dir = tempfile::tempdir().unwrap();
    set.save_materialized(dir.path(), "train", 5, 1).unwrap();
    let about = dir.path().join("train/dataset.json");
    let text = std::fs::read_to_string(&about).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["total_groups"], &json["total_puzzles"]),
        (&25.into(), &150.into())
    );
    let mut load = |total: u64| {
        json["total_puzzles"] = total.into();
        std::fs::write(&about, json.to_string()).unwrap();
        PuzzleSet::load(dir.path(), "train")
    };
    assert_eq!(load(25).unwrap().num_puzzles(), 150);
    let error = load(26).unwrap_err().to_string();
    assert!(
        error.contains("expected 150, as many as the arrays hold, found 26"),
        "{error}"
    );
}

#[test]
fn several_sets_are_joined_and_parted_again() {
    let (dir, set) = small_folder();
    // Give the training split a second set: that of the test split.
    let (train, test) = (dir.path().join("train"), dir.path().join("test"));
    for entry in std::fs::read_dir(&test).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(array) = name.strip_prefix("all__") {
            std::fs::copy(&path, train.join(format!("more__{array}"))).unwrap();
        }
    }
    let about = train.join("dataset.json");
    let text = std::fs::read_to_string(&about).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["sets"] = serde_json::json!(["all", "more"]);
    json["total_groups"] = 25.into();
    json["total_puzzles"] = 25.into();
    json["mean_puzzle_examples"] = 1.into();
    std::fs::write(&about, json.to_string()).unwrap();
    let both = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(both.fingerprint(), set.fingerprint());
    let out = tempfile::tempdir().unwrap();
    both.save(out.path(), "train").unwrap();
    assert_same_arrays(&train, &out.path().join("train"));
}

#[test]
fn sets_of_other_element_types_are_written_with_the_widest() {
    let info = SetInfo {
        ignore_label_id: Some(-100),
        ..SetInfo::sudoku(SudokuSize::Four)
    };
    let set = |label: u8| {
        let labels = [label, 2, 3, 4].repeat(4);
        PuzzleSet::from_examples(info.clone(), vec![1; 16], labels).unwrap()
    };
    // The first set of bytes, in which nothing is ignored; the second as it must be.
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    set(IGNORED).save(dir.path(), "train").unwrap();
    set(5).save(other.path(), "train").unwrap();
    let train = dir.path().join("train");
    for entry in std::fs::read_dir(other.path().join("train")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(array) = name.strip_prefix("all__") {
            std::fs::copy(&path, train.join(format!("bytes__{array}"))).unwrap();
        }
    }
    let labels = train.join("bytes__labels.npy");
    let wide = std::fs::read(&labels).unwrap();
    let mut bytes = wide[..128].to_vec();
    let at = bytes.windows(3).position(|text| text == b"<i4").unwrap();
    bytes[at..at + 3].copy_from_slice(b"|u1");
    bytes.extend(wide[128..].chunks(4).map(|number| number[0]));
    std::fs::write(&labels, bytes).unwrap();
    let about = train.join("dataset.json");
    let text = std::fs::read_to_string(&about).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["sets"] = serde_json::json!(["bytes", "all"]);
    json["total_groups"] = 2.into();
    json["total_puzzles"] = 2.into();
    std::fs::write(&about, json.to_string()).unwrap();

    let both = PuzzleSet::load(dir.path(), "train").unwrap();
    let out = tempfile::tempdir().unwrap();
    both.save(out.path(), "train").unwrap();
    let again = PuzzleSet::load(out.path(), "train").unwrap();
    assert_eq!(again.example(0).labels, [5, 2, 3, 4].repeat(4));
    assert_eq!(again.example(1).labels, [IGNORED, 2, 3, 4].repeat(4));
    assert_eq!(again.fingerprint(), both.fingerprint());
}

/// A task with augmentations, as a training set.
fn arc_set() -> PuzzleSet {
    let text = r#"{"train": [{"input": [[1, 2]], "output": [[3]]}, {"input": [[4]], "output": [[5, 6]]}], "test": []}"#;
    let task = arc::parse_task(text.as_bytes(), "a", Path::new("a.json")).unwrap();
    let source = arc::ArcSource {
        tasks: &[task],
        tests: arc::TestUse::Train,
    };
    let settings = arc::ArcSettings {
        augmentations: 4,
        ..arc::ArcSettings::default()
    };
    arc::build_sets(&[source], settings).unwrap().train
}

#[test]
fn derived_puzzles_are_those_that_their_names_tell() {
    let dir = tempfile::tempdir().unwrap();
    arc_set().save(dir.path(), "train").unwrap();
    let path = dir.path().join("train/all__derived.npy");
    let valid = std::fs::read(&path).unwrap();
    // The code of the second puzzle: a header, three numbers, and the number of the original.
    let with_code = |code: i64| {
        let mut bytes = valid.clone();
        bytes[128 + 32..128 + 40].copy_from_slice(&code.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = PuzzleSet::load(dir.path(), "train").err()?;
        Some(error.to_string().replace(&above(dir.path()), ""))
    };
    let code = i64::from_le_bytes(valid[128 + 32..128 + 40].try_into().unwrap());
    assert_eq!(with_code(code), None);
    let error = with_code(code ^ 1).unwrap();
    let expected = format!(
        "identifiers.json: name of derived puzzle 1: expected task \"a\" under the augmentation of code {}, found \"a_t",
        code ^ 1
    );
    assert!(error.starts_with(&expected), "{error}");
    std::fs::remove_file(dir.path().join("identifiers.json")).unwrap();
    assert_eq!(with_code(code ^ 1), None);
    assert_eq!(
        with_code(2_903_040).unwrap(),
        "train: code of derived puzzle 1: expected below 2903040, found 2903040"
    );
    // Another task derives nothing.
    let about = dir.path().join("hrm.json");
    let text = std::fs::read_to_string(&about).unwrap();
    let other = text
        .replace("\"task\": \"arc\"", "\"task\": \"other\"")
        .replace("arc_translated", "none");
    assert_ne!(other, text);
    std::fs::write(&about, other).unwrap();
    assert_eq!(
        with_code(code).unwrap(),
        format!(
            "train: code of derived puzzle 1: expected 0, for Other derives no puzzles, found {code}"
        )
    );
}

#[test]
fn what_is_wrong_with_derived_puzzles_is_said_with_file_and_field() {
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let dir = tempfile::tempdir().unwrap();
    arc_set().save(dir.path(), "train").unwrap();
    let cases: [(&str, Change<'_>, &str); 3] = [
        // As many numbers, in wider rows.
        (
            "derived",
            &|bytes| {
                let at = bytes.windows(6).position(|text| text == b"(5, 3)").unwrap();
                bytes[at..at + 6].copy_from_slice(b"(3, 5)");
            },
            "shape: expected 3 columns, found 5",
        ),
        (
            "derived",
            &|bytes| bytes[128 + 24] = 1,
            "[1, 0]: expected below 1, found 1",
        ),
        (
            "derived_group_indices",
            &|bytes| bytes[128 + 4] = 4,
            "offsets[1]: expected 5, found 4",
        ),
    ];
    for (array, change, message) in cases {
        let path = dir.path().join("train").join(format!("all__{array}.npy"));
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let error = PuzzleSet::load(dir.path(), "train").unwrap_err();
        let expected = format!("{}: {message}", path.display());
        assert_eq!(error.to_string(), expected);
        std::fs::write(&path, whole).unwrap();
    }
    PuzzleSet::load(dir.path(), "train").unwrap();
}

#[test]
fn a_derived_set_without_an_ignore_id_is_written_out() {
    let dir = tempfile::tempdir().unwrap();
    arc_set().save(dir.path(), "train").unwrap();
    let about = dir.path().join("train/dataset.json");
    let text = std::fs::read_to_string(&about).unwrap();
    let without = text.replace("\"ignore_label_id\": 0", "\"ignore_label_id\": null");
    assert_ne!(without, text);
    std::fs::write(&about, without).unwrap();
    let set = PuzzleSet::load(dir.path(), "train").unwrap();
    assert!(set.num_examples() > set.originals().num_examples());
    let out = tempfile::tempdir().unwrap();
    set.save_materialized(out.path(), "train", 0, 1).unwrap();
    let read = PuzzleSet::load(out.path(), "train").unwrap();
    assert_eq!(read.num_examples(), set.num_examples());
}

#[test]
fn a_split_keeps_the_names_of_another() {
    let info = |num_puzzle_ids| SetInfo {
        num_puzzle_ids,
        ..SetInfo::sudoku(SudokuSize::Four)
    };
    let set = |num_puzzle_ids| {
        PuzzleSet::from_examples(info(num_puzzle_ids), vec![1; 16], vec![2; 16]).unwrap()
    };
    let named = |names: &[&str]| {
        let names: Identifiers = names.iter().collect();
        set(names.len()).with_identifiers(names).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let said = |set: PuzzleSet, split: &str| {
        let error = set.save(dir.path(), split).unwrap_err().to_string();
        error.replace(&above(dir.path()), "")
    };
    named(&["<blank>", "a"]).save(dir.path(), "train").unwrap();
    assert_eq!(
        said(named(&["<blank>", "b", "c"]), "test"),
        "identifiers.json: names: expected the 3 names of the set to be saved, \
         found 2 others, which another split needs"
    );
    assert_eq!(
        said(set(1), "test"),
        "identifiers.json: names: expected 1 names, as many as the set has puzzle ids, found 2"
    );
    assert!(!dir.path().join("test").exists());
    named(&["<blank>", "a"]).save(dir.path(), "test").unwrap();
    set(2).save(dir.path(), "more").unwrap();
    for split in ["train", "test", "more"] {
        let read = PuzzleSet::load(dir.path(), split).unwrap();
        assert_eq!(read.identifiers().unwrap().get(1).as_deref(), Some("a"));
    }
    // One name that is no blank stays as well; and a split alone may be saved again with other names.
    let dir = tempfile::tempdir().unwrap();
    named(&["all"]).save(dir.path(), "train").unwrap();
    set(1).save(dir.path(), "test").unwrap();
    let read = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(read.identifiers().unwrap().get(0).as_deref(), Some("all"));
    // There are systems that write over no file in use.
    drop(read);
    std::fs::remove_dir_all(dir.path().join("test")).unwrap();
    named(&["<blank>", "b"]).save(dir.path(), "train").unwrap();
    let read = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(read.identifiers().unwrap().get(1).as_deref(), Some("b"));
}

#[test]
fn what_is_wrong_with_a_folder_is_said_with_file_and_field() {
    let (dir, _) = small_folder();
    let train = dir.path().join("train");
    let about = train.join("dataset.json");
    let error = |what: &str| {
        let error = PuzzleSet::load(dir.path(), "train").expect_err(what);
        error
            .to_string()
            .replace(&above(dir.path()), "")
            .replace('\\', "/")
    };

    let text = std::fs::read_to_string(&about).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases: &[(&str, serde_json::Value, &str)] = &[
        (
            "total_groups",
            21.into(),
            "train/dataset.json: total_groups: expected 20, as many as the arrays hold, found 21",
        ),
        (
            "total_puzzles",
            2.into(),
            "train/dataset.json: total_puzzles: expected 20, as many as the arrays hold, found 2",
        ),
        (
            "mean_puzzle_examples",
            2.5.into(),
            "train/dataset.json: mean_puzzle_examples: expected 1, as the arrays have it, found 2.5",
        ),
        (
            "seq_len",
            81.into(),
            "train/dataset.json: vocab_size and seq_len of Sudoku(Four): expected 6 and 16, found 6 and 81",
        ),
        (
            "vocab_size",
            (1u64 << 60).into(),
            "train/dataset.json: vocab_size: expected below 2^32, found 1152921504606846976",
        ),
        (
            "pad_id",
            9.into(),
            "train/dataset.json: pad_id: expected below vocab_size 6, found 9",
        ),
        (
            "sets",
            serde_json::json!([]),
            "train/dataset.json: sets: expected at least one, found none",
        ),
        (
            "sets",
            serde_json::json!(["../all"]),
            "train/dataset.json: sets[0]: expected a name without path, found \"../all\"",
        ),
        (
            "sets",
            serde_json::json!(["all", "all"]),
            "train/dataset.json: sets[1]: expected a new name, found \"all\"",
        ),
    ];
    for (field, value, message) in cases {
        let mut broken = json.clone();
        broken[field] = value.clone();
        std::fs::write(&about, broken.to_string()).unwrap();
        assert_eq!(&error(field), message);
    }
    let mut broken = json.clone();
    broken.as_object_mut().unwrap().remove("vocab_size");
    std::fs::write(&about, broken.to_string()).unwrap();
    assert!(
        error("a field is missing").starts_with("train/dataset.json: missing field `vocab_size`")
    );
    std::fs::write(&about, "[".repeat(100_000)).unwrap();
    assert!(error("nested").starts_with("train/dataset.json: "));
    std::fs::remove_file(&about).unwrap();
    assert_eq!(error("no dataset.json"), "cannot read train/dataset.json");
    std::fs::write(&about, &text).unwrap();

    // A token that is none, an array cut short, an offset that goes back.
    let damage = |array: &str, change: &dyn Fn(&mut Vec<u8>), message: &str| {
        let path = train.join(format!("all__{array}.npy"));
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(error(array), format!("train/all__{array}.npy: {message}"));
        std::fs::write(&path, whole).unwrap();
    };
    damage(
        "inputs",
        &|bytes| bytes[128 + 16 * 3 + 2] = 6,
        "[3, 2]: expected a token below 6, found 6",
    );
    damage(
        "labels",
        &|bytes| bytes[128 + 5] = 255,
        "[0, 5]: expected a token below 6 or the ignored 0, found 255",
    );
    damage(
        "labels",
        &|bytes| bytes.truncate(200),
        "shape: expected as much data as the file holds, 72 bytes, found [20, 16] of |u1",
    );
    damage(
        "puzzle_indices",
        &|bytes| bytes[128 + 4 * 5] = 3,
        "offsets[5]: expected at least 4, found 3",
    );
    damage(
        "puzzle_indices",
        &|bytes| bytes[128 + 4 * 20] = 21,
        "offsets[20]: expected 20, found 21",
    );
    damage(
        "group_indices",
        &|bytes| bytes[128 + 3] = 0x80,
        "[0]: expected a number from 0 to 2^32 - 1, found -2147483648",
    );
    damage(
        "puzzle_identifiers",
        &|bytes| bytes[128 + 4 * 2] = 1,
        "[2]: expected below num_puzzle_identifiers 1, found 1",
    );

    std::fs::write(dir.path().join("identifiers.json"), r#"["<blank>","a"]"#).unwrap();
    assert_eq!(
        error("names"),
        "identifiers.json: identifiers: expected 1, found 2"
    );
    std::fs::write(
        dir.path().join("hrm.json"),
        r#"{"format":1,"task":{"sudoku":9},"splits":{}}"#,
    )
    .unwrap();
    assert!(
        error("task").starts_with("train/dataset.json: vocab_size and seq_len of Sudoku(Nine)")
    );
    std::fs::write(
        dir.path().join("hrm.json"),
        r#"{"format":1,"task":"sudoku"}"#,
    )
    .unwrap();
    assert!(error("task").starts_with("hrm.json: "));
}

#[test]
fn groups_and_ids_survive_and_a_subset_is_saved_alone() {
    let info = SetInfo {
        task: Task::Other,
        num_puzzle_ids: 4,
        ..SetInfo::sudoku(SudokuSize::Four)
    };
    let arrays = SetArrays {
        inputs: (0..6).flat_map(|e| [e; 16]).collect(),
        labels: (0..6).flat_map(|e| [e.max(1); 16]).collect(),
        puzzle_ids: vec![1, 2, 3],
        puzzle_offsets: vec![0, 1, 3, 6],
        group_offsets: vec![0, 2, 3],
    };
    let names: Identifiers = ["<blank>", "a", "b", "c"].into_iter().collect();
    let set = PuzzleSet::from_arrays(info, arrays)
        .unwrap()
        .with_identifiers(names)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    set.subset(1..2).save(dir.path(), "train").unwrap();
    let read = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(
        (read.num_groups(), read.num_puzzles(), read.num_examples()),
        (1, 1, 3)
    );
    assert_eq!(read.example(2), set.example(5));
    assert_eq!(read.example(2).puzzle_id, 3);
    assert_eq!(read.mean_puzzle_examples(), 3.0);
    let mut batches = read.batches(2);
    assert_eq!(batches.next().unwrap().1, 2);
    let (last, rows) = batches.next().unwrap();
    assert_eq!((rows, last.puzzle_ids.as_slice()), (1, &[3, 0][..]));
    assert_eq!(
        (last.input(1), last.label(1)),
        (&[0; 16][..], &[IGNORED; 16][..])
    );
    assert_eq!(read.take(9).fingerprint(), read.fingerprint());
}

/// As the official builder writes all eight views of a maze.
#[test]
fn materialized_mazes_repeat_no_view_before_all_are_there() {
    for (rows, views) in [("S  \n#  \n# G", 8), ("S  \n# G", 4)] {
        let puzzle = MazePuzzle::solve(Maze::parse_rows(rows).unwrap()).unwrap();
        for how in [MazeAugmentation::FlipLabel, MazeAugmentation::Relabel] {
            let puzzles = [puzzle.clone(), puzzle.clone()];
            let set = PuzzleSet::from_mazes(&puzzles, Augmentation::Maze(how)).unwrap();
            let written = |copies: usize| {
                let dir = tempfile::tempdir().unwrap();
                set.save_materialized(dir.path(), "train", copies, 1)
                    .unwrap();
                PuzzleSet::load(dir.path(), "train").unwrap()
            };
            let read = written(views - 1);
            for group in 0..2 {
                let of_group = (0..views).map(|view| views * group + view);
                let inputs: HashSet<Vec<u8>> = of_group
                    .map(|index| read.example(index).inputs.to_vec())
                    .collect();
                assert_eq!(inputs.len(), views, "{how:?}");
            }
            assert_eq!(read.example(0), set.example(0));
            // Those that are more repeat the copies, and never the original.
            let more = written(2 * views - 2);
            for copy in 1..views {
                assert_eq!(more.example(copy), read.example(copy));
                assert_eq!(more.example(copy + views - 1), read.example(copy));
            }
        }
    }
}

#[test]
fn materialized_sets_hold_each_original_with_its_augmentations() {
    let (_, set) = small_folder();
    let dir = tempfile::tempdir().unwrap();
    set.save_materialized(dir.path(), "train", 9, 5).unwrap();
    let read = PuzzleSet::load(dir.path(), "train").unwrap();
    assert_eq!(
        (read.num_groups(), read.num_puzzles(), read.num_examples()),
        (25, 250, 250)
    );
    assert_eq!(read.augmentation(), Augmentation::None);
    let board = |tokens: &[u8]| Board::from_tokens(SudokuSize::Four, tokens).unwrap();
    for group in 0..25 {
        let original = set.example(group);
        assert_eq!(read.example(10 * group), original);
        let form = |example: &hrm_data::Example<'_>| {
            Canonical::of(&board(&example.inputs), &board(&example.labels)).unwrap()
        };
        let mut differing = 0;
        for copy in 1..10 {
            let example = read.example(10 * group + copy);
            assert_eq!(form(&example), form(&original));
            differing += usize::from(example != original);
        }
        assert!(differing >= 5);
    }
    // The same seed writes the same.
    let again = tempfile::tempdir().unwrap();
    set.save_materialized(again.path(), "train", 9, 5).unwrap();
    assert_same_arrays(&dir.path().join("train"), &again.path().join("train"));
    let too_many = set
        .save_materialized(again.path(), "train", usize::MAX, 5)
        .unwrap_err();
    let expected = "augmented examples: expected below 2^32, found more";
    assert_eq!(too_many.to_string(), expected);
}
