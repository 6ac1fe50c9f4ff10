//! ARC: from tasks to a submission.

mod program;

use std::fs;
use std::path::Path;

use program::words;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TASKS: [(&str, &str); 2] = [
    (
        "a",
        r#"{"train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 5]], "output": [[5, 3]]}],
            "test": [{"input": [[3, 4]], "output": [[4, 3]]}]}"#,
    ),
    (
        "b",
        r#"{"train": [{"input": [[1], [2]], "output": [[1, 2]]}],
            "test": [{"input": [[5], [6]], "output": [[5, 6]]}, {"input": [[7], [8]]}]}"#,
    ),
];

/// Writes a file, in a folder that need not be there yet.
fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn augmentations_vote_and_a_submission_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir(dir.join("tasks")).unwrap();
    for (name, json) in TASKS {
        fs::write(dir.join(format!("tasks/{name}.json")), json).unwrap();
    }
    words(dir, "data build arc --input tasks --num-aug 2 --out data").ok();
    // Where they are from: `cd tasks && sha256sum *.json | sha256sum`.
    let sum = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let lines = TASKS.map(|(name, json)| format!("{}  {name}.json\n", sum(json.as_bytes())));
    let about = fs::read(dir.join("data/hrm.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    let expected = json!([{ "name": "tasks", "sha256": sum(lines.concat().as_bytes()) }]);
    assert_eq!(
        about["splits"]["train"]["provenance"]["sources"], expected,
        "{about}"
    );
    let tiny = program::TINY;
    words(
        dir,
        &format!("train --preset trm-small --data data --out run --steps 1 {tiny}"),
    )
    .ok();
    let eval = "eval --checkpoint run --data data --segments 1 --submission submission.json";
    let found = words(dir, &format!("{eval} --json")).ok().objects();
    // Three puzzles of each task, one and two tests; one of the tasks has all its solutions.
    assert_eq!(found[0]["tasks"], 2);
    // A prediction without a grid, which one step of training may leave, casts none.
    let votes = found[0]["votes"].as_u64().unwrap();
    assert!((1..=9).contains(&votes), "{votes}");
    assert_eq!(found[0]["puzzles"], 6);
    let pass = found[0]["pass_at"].as_array().unwrap();
    let ks: Vec<u64> = pass.iter().map(|p| p["k"].as_u64().unwrap()).collect();
    assert_eq!(ks, [1, 2, 5, 10, 100, 1000]);
    assert!(pass.iter().all(|p| p["tasks"] == 1));
    let text = fs::read_to_string(dir.join("submission.json")).unwrap();
    let submission: Value = serde_json::from_str(&text).unwrap();
    let tests = |task: &str| submission[task].as_array().unwrap().len();
    assert_eq!((tests("a"), tests("b")), (1, 2));
    for attempts in ["attempt_1", "attempt_2"] {
        assert!(submission["b"][1][attempts][0][0].is_u64(), "{text}");
    }

    words(dir, eval).refused(&["submission.json is there already", "--force"]);
    #[cfg(feature = "draw")]
    {
        words(dir, &format!("{eval} --force --png sheet.png")).ok();
        let png = fs::read(dir.join("sheet.png")).unwrap();
        assert!(
            png.starts_with(b"\x89PNG") && png.len() > 2_000,
            "{}",
            png.len()
        );
    }
    let ran = words(dir, &format!("{eval} --force --limit 1")).ok();
    assert!(
        ran.stdout.contains("predictions vote on 1 tasks"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("(HRM's rule)") && ran.stdout.contains("(TRM's rule)"));

    // Examples that were moved on the canvas are evaluated, but can't vote.
    words(
        dir,
        "data build arc --input tasks --num-aug 2 --materialize --seed 1 --out moved",
    )
    .ok();
    let eval = "eval --checkpoint run --data moved --split train --segments 1";
    let ran = words(dir, &format!("{eval} --json")).ok();
    assert!(ran.stderr.contains("without votes: "), "{}", ran.stderr);
    let found = &ran.objects()[0];
    assert!(found["puzzles"].as_u64() > Some(0) && found["votes"].is_null());
    words(dir, &format!("{eval} --submission moved.json")).refused(&["(0, 0)"]);
}

#[test]
fn a_task_is_solved_by_the_rows_of_its_puzzles() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir(dir.join("tasks")).unwrap();
    // Answers of one colour, which is learnt in a few steps.
    let tasks = TASKS.map(|(name, json)| {
        let mut task: Value = serde_json::from_str(json).unwrap();
        for part in ["train", "test"] {
            for pair in task[part].as_array_mut().unwrap() {
                pair["output"] = json!(vec![[0; 6]; 6]);
            }
        }
        (name, task.to_string())
    });
    for (name, json) in &tasks {
        fs::write(dir.join(format!("tasks/{name}.json")), json).unwrap();
    }
    words(dir, "data build arc --input tasks --num-aug 2 --out data").ok();
    let tiny = program::TINY;
    // So long that the model draws grids.
    let train = "train --preset trm-small --data data --out run --steps 60 --set optimizer.lr=1e-2";
    words(
        dir,
        &format!("{train} --set schedule.warmup_steps=1 {tiny}"),
    )
    .ok();
    words(
        dir,
        "eval --checkpoint run --data data --segments 1 --submission submission.json",
    )
    .ok();
    let text = fs::read_to_string(dir.join("submission.json")).unwrap();
    let submission: Value = serde_json::from_str(&text).unwrap();

    let solve = "solve --checkpoint run --segments 1 --json";
    // As many puzzles as there are of a task, and no more.
    let ran = words(
        dir,
        &format!("{solve} --data data --views 99 --file tasks/b.json"),
    );
    let found = ran.objects();
    assert_eq!(found.len(), 2, "{}", ran.stderr);
    let mut answered = 0;
    for (at, line) in found.iter().enumerate() {
        assert_eq!(
            (&line["task"], &line["test"]),
            (&json!("b"), &json!(at + 1))
        );
        assert_eq!(
            (&line["attempts"], &line["total_segments"]),
            (&json!(3), &json!(3))
        );
        if !line["answer"].is_null() {
            assert_eq!(line["answer"], submission["b"][at]["attempt_1"], "{line}");
            answered += 1;
        }
    }
    assert_eq!(found[0]["question"], json!([[5], [6]]));
    assert!(answered > 0, "no grid was drawn: {found:?}");
    let all_answered = answered == found.len();
    assert_eq!(ran.code, Some(if all_answered { 0 } else { 1 }));

    // The task's own row, found by its name or named; from a folder, from standard input.
    let by_name = words(dir, &format!("{solve} --data data --file tasks/a.json")).objects();
    assert_eq!((by_name.len(), &by_name[0]["attempts"]), (1, &json!(1)));
    let by_id = words(dir, &format!("{solve} --puzzle-id 1 --file tasks/a.json")).objects();
    assert_eq!(by_name, by_id);
    let folder = words(dir, &format!("{solve} --data data --trace --file tasks"));
    assert_eq!(folder.objects().len(), 3);
    assert_eq!(folder.objects()[0]["trace"][0], by_name[0]["answer"]);
    let told = words(
        dir,
        "solve --checkpoint run --segments 1 --data data --trace --file tasks/a.json",
    );
    assert!(told.stdout.contains("segment 1: "), "{}", told.stdout);
    assert!(told.stdout.contains("task a, test 1: "), "{}", told.stdout);

    let solve = "solve --checkpoint run --data data --file";
    fs::write(dir.join("tasks/new.json"), &tasks[0].1).unwrap();
    let ran = words(dir, &format!("{solve} tasks --json"));
    assert_eq!((ran.code, ran.objects().len()), (Some(2), 4));
    assert!(
        ran.stderr
            .contains("task new: expected a task that the model"),
        "{}",
        ran.stderr
    );
    words(dir, "solve --checkpoint run --file tasks/a.json")
        .refused(&["--data DIR", "--puzzle-id ID"]);
    words(
        dir,
        "solve --checkpoint run --views 2 --puzzle-id 1 --file tasks/a.json",
    )
    .refused(&["--views", "--puzzle-id"]);
    words(dir, "solve --checkpoint run --data data 0").refused(&["--data data", "JSON"]);
    words(dir, "eval --checkpoint run --data data --views 2")
        .refused(&["--views", "augmentations"]);
    fs::write(dir.join("none.json"), "{}").unwrap();
    words(dir, &format!("{solve} none.json")).refused(&["none.json", "at least one test"]);
    fs::write(
        dir.join("bad.json"),
        r#"{"train": [], "test": [{"input": [[11]]}]}"#,
    )
    .unwrap();
    words(dir, &format!("{solve} bad.json")).refused(&["bad.json", "11"]);
}

/// Kaggle's tests have no solutions.
#[test]
fn what_can_not_be_judged_is_not_reported_as_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let task =
        r#"{"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3, 4]]}]}"#;
    fs::write(dir.join("tasks.json"), format!(r#"{{"a": {task}}}"#)).unwrap();
    words(
        dir,
        "data build arc --input tasks.json --num-aug 1 --out data",
    )
    .ok();
    let tiny = program::TINY;
    words(
        dir,
        &format!("train --preset trm-small --data data --out run --steps 1 {tiny}"),
    )
    .ok();
    let eval = "eval --checkpoint run --data data --min-confidence 0.1";
    let ran = words(dir, &format!("{eval} --segments 1")).ok();
    assert!(
        ran.stdout.contains("none of 2 puzzles has an answer") && !ran.stdout.contains('%'),
        "{}",
        ran.stdout
    );
    let found = &words(dir, &format!("{eval} --json")).ok().objects()[0];
    assert_eq!((&found["puzzles"], &found["exact"]), (&0.into(), &0.into()));
    for field in [
        "exact_accuracy",
        "exact_interval",
        "cell_accuracy",
        "q_halt_accuracy",
        "mean_segments",
        "coverage",
        "precision",
        "verified_coverage",
        "verified_precision",
    ] {
        assert_eq!(found.get(field), Some(&Value::Null), "{field}");
    }
    let pass = &found["pass_at"][0];
    assert_eq!(pass["tasks"], 0);
    for field in ["whole_tasks", "test_shares"] {
        assert_eq!(pass.get(field), Some(&Value::Null), "{field}");
    }
    let curve = format!("{eval} --curve=segments,halting --curve-segments 2");
    let ran = words(dir, &curve).ok();
    assert!(
        ran.stdout.contains("nothing could be judged") && !ran.stdout.contains("0.00%"),
        "{}",
        ran.stdout
    );
    let points = words(dir, &format!("{curve} --json")).ok().objects();
    assert_eq!(points.len(), 4);
    for point in &points {
        assert_eq!(point.get("exact_accuracy"), Some(&Value::Null), "{point}");
    }
}

#[test]
fn only_arc_has_submissions() {
    let workshop = program::Workshop::with_run();
    workshop
        .untouched(|| workshop.run("eval --checkpoint run --data data --submission s.json"))
        .refused(&["--submission", "ARC", "data holds none"]);
}

#[test]
fn tasks_are_inspected_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir(dir.join("tasks")).unwrap();
    for (name, json) in TASKS {
        fs::write(dir.join(format!("tasks/{name}.json")), json).unwrap();
    }
    let counts = |line: &str| {
        let found = words(dir, line).ok().objects();
        let splits = found[0]["splits"].as_array().unwrap().clone();
        let counts = splits.iter().map(|split| {
            let name = split["name"].as_str().unwrap().to_owned();
            (name, split["examples"].clone(), split["labelled"].clone())
        });
        counts.collect::<Vec<(String, Value, Value)>>()
    };
    // Three demonstrations; three tests, two of them solved.
    let expected = |solved: u64| {
        let tests = ("tests".to_owned(), 3.into(), solved.into());
        vec![("demonstrations".to_owned(), 3.into(), 3.into()), tests]
    };
    assert_eq!(counts("data inspect tasks --json"), expected(2));
    let challenges = format!(r#"{{"a": {}, "b": {}}}"#, TASKS[0].1, TASKS[1].1);
    fs::write(dir.join("challenges.json"), challenges).unwrap();
    let solutions = r#"{"a": [[[4, 3]]], "b": [[[5, 6]], [[7, 8]]]}"#;
    fs::write(dir.join("solutions.json"), solutions).unwrap();
    let inspect = "data inspect challenges.json --solutions solutions.json --json";
    assert_eq!(counts(inspect), expected(3));
    #[cfg(feature = "draw")]
    {
        words(dir, "data inspect tasks --png sheet.png").ok();
        let bytes = fs::read(dir.join("sheet.png")).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
    }
    // The same task under another name in the test split.
    fs::create_dir(dir.join("others")).unwrap();
    fs::write(dir.join("others/c.json"), TASKS[0].1).unwrap();
    let build = "data build arc --input tasks --test others --num-aug 0 --out both --json";
    let ran = words(dir, build).ok();
    assert!(
        ran.stderr
            .contains("a of tasks and c of others: the same puzzle"),
        "{ran:?}"
    );
    let leaks = &ran.objects()[0]["leaks"];
    assert_eq!(leaks[0]["kind"], "same_puzzle");
    assert_eq!(leaks.as_array().map(Vec::len), Some(1));

    fs::write(dir.join("p.csv"), "source,question,answer,rating\n").unwrap();
    words(dir, "data inspect p.csv --solutions solutions.json").refused(&["--solutions", "p.csv"]);
    fs::create_dir(dir.join("empty")).unwrap();
    words(dir, "data inspect empty").refused(&["empty", "dataset.json"]);
}

/// ARC-1 is ARC's two sets and ConceptARC's folders of folders.
#[test]
fn several_inputs_make_one_set_for_either_program() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let write = |path: &str, text: &str| write(&dir.join(path), text);
    let task = |colour: usize| {
        format!(
            r#"{{"train": [{{"input": [[{colour}, 0]], "output": [[0, {colour}]]}}], "test": [{{"input": [[{colour}]]}}]}}"#
        )
    };
    write("training/a.json", TASKS[0].1);
    write("concept/corpus/Above/Above1.json", &task(1));
    write("concept/corpus/Below/Below1.json", &task(2));
    write("kaggle.json", &format!(r#"{{"k": {}}}"#, task(3)));
    write("solved.json", r#"{"k": [[[9]]]}"#);
    write("evaluation/b.json", TASKS[1].1);
    let build = |more: &str| {
        let inputs = "--input training --input concept --input kaggle.json --solutions solved.json";
        words(
            dir,
            &format!("data build arc {inputs} --test evaluation --num-aug 1 {more}"),
        )
    };
    let ran = build("--out both --json").ok();
    let built = &ran.objects()[0];
    assert_eq!(built["tasks"], 5);
    // Of the training tasks five demonstrations with one augmentation each, and the tests with a solution; of the other one demonstration.
    assert_eq!((&built["train"], &built["test"]), (&16.into(), &4.into()));
    assert!(
        ran.stderr.contains("2 tests of concept have no solution"),
        "{ran:?}"
    );
    let inspected = words(dir, "data inspect both --json").ok().objects();
    assert!(inspected[0].to_string().contains("arc"), "{inspected:?}");
    let names = |set: &str| fs::read_to_string(dir.join(set).join("identifiers.json")).unwrap();
    assert!(names("both").contains(r#""a_t"#), "{}", names("both"));
    assert!(!dir.join("both/test_puzzles.json").exists());

    // For TRM's program: its names, and the tests' tasks with an output to each.
    build("--out trm --style trm --materialize").ok();
    assert!(names("trm").contains(r#""a|||t"#), "{}", names("trm"));
    let text = fs::read_to_string(dir.join("trm/test_puzzles.json")).unwrap();
    let puzzles: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(puzzles.as_object().map(|tasks| tasks.len()), Some(1));
    let tests = &puzzles["b"]["test"];
    assert_eq!(tests[0]["output"], serde_json::json!([[5, 6]]));
    assert_eq!(tests[1]["output"], serde_json::json!([[0]]));
    // It goes with the set.
    build("--out trm --force").ok();
    assert!(!dir.join("trm/test_puzzles.json").exists());

    build("--solutions more.json --out no").refused(&["--solutions more.json", "found more"]);
    write("concept/a.json", &task(4));
    build("--out no").refused(&["found 1 of training also in concept (a);"]);
}

#[test]
fn tasks_that_both_sets_have_under_one_name_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let write = |path: &str, text: &str| write(&dir.join(path), text);
    for path in ["l1/a.json", "l1/b.json", "l1/c.json", "l2/a.json"] {
        write(path, TASKS[0].1);
    }
    write("l2/b.json", TASKS[1].1);
    let build = "data build arc --input l1 --test l2 --num-aug 0 --out both";
    words(dir, build).refused(&["each task's name once", "found 2 of l1 also in l2 (a, b);"]);
    for task in 0..12 {
        for set in ["l1", "l2"] {
            write(&format!("{set}/t{task:02}.json"), TASKS[0].1);
        }
    }
    words(dir, build).refused(&["found 14 of l1 also in l2 (a, b, t00, ", "t07 and 4 more);"]);
    assert!(!dir.join("both").exists());
}

#[test]
fn kaggles_files_are_told_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let challenges = format!(r#"{{"a": {}, "b": {}}}"#, TASKS[0].1, TASKS[1].1);
    fs::create_dir(dir.join("kaggle")).unwrap();
    fs::write(
        dir.join("kaggle/c.json"),
        challenges.replace(", \"output\": [[4, 3]]", ""),
    )
    .unwrap();
    let solutions = r#"{"a": [[[4, 3]]], "b": [[[5, 6]], [[7, 8]]]}"#;
    fs::write(dir.join("solutions.json"), solutions).unwrap();
    // In a folder of tasks.
    for line in [
        "data build arc --input kaggle --out no",
        "data inspect kaggle",
    ] {
        words(dir, line).refused(&["kaggle/c.json: ", "Kaggle's challenges", "--solutions"]);
    }
    words(
        dir,
        "data build arc --input kaggle/c.json --test kaggle --out no",
    )
    .refused(&["Kaggle's challenges", "--test-solutions"]);
    // Without their solutions.
    let build = "data build arc --input kaggle/c.json --num-aug 0 --out";
    let ran = words(dir, &format!("{build} without")).ok();
    let note = "2 tests of kaggle/c.json have no solution and can't be judged; --solutions gives";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let ran = words(dir, &format!("{build} with --solutions solutions.json")).ok();
    assert!(!ran.stderr.contains("no solution"), "{}", ran.stderr);
    let said = |data: &str| words(dir, &format!("data inspect {data}")).ok().stdout;
    let without = said("without");
    assert!(without.contains("  1 of 3 have answers\n"), "{without}");
    assert!(!said("with").contains("have answers"));
    fs::write(dir.join("empty.json"), "{}").unwrap();
    words(dir, "data inspect empty.json").refused(&["empty.json: expected ARC tasks, found none"]);
}

/// A checkpoint and a set that others made: the set has two puzzles of one id.
#[test]
fn a_set_made_by_others_is_evaluated_with_the_model_made_for_it() {
    let Some(shared) = program::shared("fixtures/interop") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (model, set) = (
        shared.join("hrm_tiny_h64_torch.pth"),
        shared.join("arc-simple"),
    );
    let (model, set) = (model.display(), set.display());
    words(dir, &format!("import {model} --preset hrm-arc-1 --out run")).ok();
    let eval = |more: &str| {
        words(
            dir,
            &format!("eval --checkpoint run --data {set} --segments 1 --json {more}"),
        )
        .ok()
    };
    let ran = eval("--submission s.json");
    assert!(
        ran.stderr
            .contains("puzzle ids mean something to the model only in the folder"),
        "{ran:?}"
    );
    let found = &ran.objects()[0];
    assert_eq!((&found["puzzles"], &found["tasks"]), (&2.into(), &1.into()));
    let text = fs::read_to_string(dir.join("s.json")).unwrap();
    let submission: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        submission["simple_pattern"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(eval("--split train").objects()[0]["puzzles"], 8);
}
