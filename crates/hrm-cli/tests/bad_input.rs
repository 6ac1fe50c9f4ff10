//! What a user can get wrong: exit code 2, a message that says where and what was expected, and nothing changed.

mod program;

use std::fs;
use std::io::{BufWriter, Write};

use program::{Workshop, words};

const HEADER: &str = "source,question,answer,rating\n";
const GOOD: &str = "x,12..3..2..4.4.2.,1234341221434321,0\n";

/// Builds data from a CSV file of the good puzzle and then `line`.
fn build(text: &str, said: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.csv"), text).unwrap();
    words(folder.path(), "data build sudoku --input p.csv --out data").refused(said);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["p.csv"], "something was left behind");
}

#[test]
fn a_csv_with_a_wrong_header() {
    build(
        &format!("puzzle,solution\n{GOOD}"),
        &[
            "p.csv:1:",
            "the columns `question,answer`",
            "puzzle,solution",
        ],
    );
}

#[test]
fn a_csv_with_a_short_line() {
    build(
        &format!("{HEADER}{GOOD}x,12..3..2..4.4.2.\n"),
        &["p.csv:3:", "expected 4 fields, found 2"],
    );
    build(
        &format!("{HEADER}{GOOD}x,12..3..2..4.4.2,1234341221434321,0\n"),
        &["p.csv:3:", "16 cells", "found 15"],
    );
}

#[test]
fn a_csv_with_a_letter_in_a_puzzle() {
    build(
        &format!("{HEADER}{GOOD}x,12..3..x..4.4.2.,1234341221434321,0\n"),
        &["p.csv:3:", "row 2, column 4", "1 to 4", "'x'"],
    );
}

#[test]
fn a_csv_that_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("p.csv");
    fs::write(&name, [HEADER.as_bytes(), b"x,\xff\xfe,1,0\n"].concat()).unwrap();
    words(folder.path(), "data inspect p.csv").refused(&["p.csv:2:", "UTF-8", "field 2"]);
    words(folder.path(), "data build sudoku --input . --out data").refused(&["cannot read .:"]);
}

#[test]
fn a_csv_with_an_answer_that_breaks_the_puzzle() {
    build(
        &format!("{HEADER}{GOOD}x,12..3..2..4.4.2.,1234341221434312,0\n"),
        &["p.csv:3:", "answer is wrong"],
    );
}

#[test]
fn a_csv_without_puzzles() {
    build(HEADER, &["p.csv", "at least one puzzle"]);
}

#[test]
fn a_data_folder_without_dataset_json() {
    let workshop = Workshop::with_data();
    fs::remove_file(workshop.path("data/train/dataset.json")).unwrap();
    workshop
        .untouched(|| workshop.train("run", ""))
        .refused(&["dataset.json"]);
    workshop
        .untouched(|| workshop.run("train --preset trm-small --data nowhere --out run"))
        .refused(&["nowhere", "dataset.json"]);
}

#[test]
fn a_truncated_or_damaged_checkpoint() {
    let workshop = Workshop::with_run();
    let path = workshop.path("run/checkpoints/step-000000004.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    for damaged in [
        &whole[..whole.len() - 100],
        &whole[..20],
        &whole[..0],
        &flipped,
    ] {
        fs::write(&path, damaged).unwrap();
        for line in [
            "eval --checkpoint run --data data",
            "solve --checkpoint run 1.....3........2",
            "train --resume run --steps 6",
        ] {
            workshop
                .untouched(|| workshop.run(line))
                .refused(&["step-000000004.safetensors", "no whole checkpoint"]);
        }
    }
    fs::write(&path, b"not a checkpoint at all").unwrap();
    workshop
        .run("eval --checkpoint run --data data")
        .refused(&["no whole checkpoint"]);
    // The one before is whole.
    workshop
        .run("eval --checkpoint run/checkpoints/step-000000002.safetensors --data data")
        .ok();
}

#[test]
fn what_is_no_run() {
    let workshop = Workshop::with_data();
    for line in [
        "eval --checkpoint data --data data",
        "solve --checkpoint data 1.....3........2",
        "train --resume data",
    ] {
        workshop
            .untouched(|| workshop.run(line))
            .refused(&["data is no training run", "config.json"]);
    }
    workshop
        .run("eval --checkpoint nowhere --data data")
        .refused(&["nowhere"]);
}

#[test]
fn puzzles_that_the_model_cannot_be_asked() {
    let workshop = Workshop::with_run();
    let solve = |puzzle: &str| {
        workshop.untouched(|| workshop.run(&format!("solve --checkpoint run {puzzle}")))
    };
    solve("1.....3").refused(&["puzzle:1:", "expected 16 cells, found 7"]);
    solve("1.....3........25").refused(&["expected 16 cells, found 17"]);
    // Digits of a larger board, which mean nothing here, are not what is wrong with it.
    let six = "5".repeat(36);
    solve(&six).refused(&["puzzle:1: expected 16 cells, found 36"]);
    fs::write(workshop.path("six.txt"), format!("{six}\n")).unwrap();
    solve("--file six.txt").refused(&["six.txt:1: expected 16 cells, found 36"]);
    solve("puzzles.csv").refused(&["the name of a file", "--file puzzles.csv"]);
    solve("nowhere.csv").refused(&["puzzle:1: expected 16 cells, found 11"]);
    #[cfg(feature = "draw")]
    solve("--frame 100 1.....3........2").refused(&["--gif"]);
    solve("1.....3........9").refused(&["row 4, column 4", "1 to 4", "'9'"]);
    solve("11....3........2").refused(&["two 1s in row 1", "column 2"]);
    fs::write(workshop.path("empty.txt"), "\n\n").unwrap();
    solve("--file empty.txt").refused(&["empty.txt", "at least one puzzle"]);
    solve("--file nowhere.txt").refused(&["nowhere.txt"]);
    solve("--puzzle-id 5 1.....3........2").refused(&["--puzzle-id", "below 1", "found 5"]);
    solve("--halt never 1.....3........2").refused(&["--halt", "q-halt", "never"]);
    solve("--segments 0 1.....3........2").refused(&["--segments"]);
}

/// Everything that can be wrong with a line of a file, each told by its line; the good ones are answered.
#[test]
fn bad_puzzles_among_good_ones() {
    const LONG: u64 = 100 << 20;
    let workshop = Workshop::with_run();
    let mut file = BufWriter::new(fs::File::create(workshop.path("mixed.txt")).unwrap());
    let good = "1.....3........2";
    writeln!(file, "{good}\n123\n1.....3........x\n11....3........2").unwrap();
    // Row 1 lacks its 4, which stands below in the same box.
    writeln!(file, "123....4........").unwrap();
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(b'1'), LONG),
        &mut file,
    )
    .unwrap();
    writeln!(file, "\n\u{fffd}\u{1f600}\n{good}").unwrap();
    file.into_inner().unwrap();
    let ran = workshop.run("solve --checkpoint run --file mixed.txt --json");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for said in [
        "mixed.txt:2: expected 16 cells, found 3",
        "mixed.txt:3: row 4, column 4",
        "mixed.txt:4: two 1s in row 1",
        "mixed.txt:6: expected at most 1048576 bytes in a line",
        "mixed.txt:7: ",
    ] {
        assert!(
            ran.stderr.contains(said),
            "{said:?} is not in {}",
            ran.stderr
        );
    }
    let objects = ran.objects();
    let of = |kind: &str| -> Vec<u64> {
        let of = objects.iter().filter(|object| object["type"] == kind);
        of.map(|object| object["line"].as_u64().unwrap()).collect()
    };
    assert_eq!(of("error"), [2, 3, 4, 6, 7]);
    assert_eq!(of("answer"), [1, 5, 8]);
    let unsolvable = objects.iter().find(|object| object["line"] == 5).unwrap();
    assert_eq!(unsolvable["verdict"], "unverified");
    assert_eq!(unsolvable["note"], "the puzzle has no solution");
    // The same puzzle has the same answer, whatever stands between.
    let answers: Vec<_> = objects
        .iter()
        .filter(|o| o["line"] == 1 || o["line"] == 8)
        .collect();
    assert_eq!(answers[0]["answer"], answers[1]["answer"]);
}

#[test]
fn a_maze_without_a_way_is_answered_and_said_to_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    words(
        dir,
        "data maze generate --size 4 --min-path 5 --count 12 --seed 1 --out mazes.csv",
    )
    .ok();
    words(
        dir,
        "data build maze --input mazes.csv --test-count 2 --out data",
    )
    .ok();
    let tiny = program::TINY;
    words(
        dir,
        &format!("train --preset trm-small --data data --out run --steps 1 {tiny}"),
    )
    .ok();
    fs::write(
        dir.join("walled.txt"),
        "S#  ##      #  G\nS               \n",
    )
    .unwrap();
    let ran = words(dir, "solve --checkpoint run --file walled.txt --json");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("walled.txt:2: "), "{}", ran.stderr);
    let answer = &ran.objects()[1];
    assert_eq!(
        (&answer["line"], &answer["verdict"]),
        (&1.into(), &"unverified".into())
    );
    assert_eq!(answer["note"], "no way leads from S to G");
}

#[test]
fn settings_that_make_no_run() {
    let workshop = Workshop::with_data();
    let train = |more: &str| workshop.untouched(|| workshop.train("run", more));
    train("--set optimiser.lr=1").refused(&["`optimiser.lr`", "did you mean", "`optimizer.lr`"]);
    train("--set optimizer.lr=fast").refused(&["`optimizer.lr`", "`fast`"]);
    train("--set optimizer.lr=-1").refused(&["`optimizer.lr`", "positive", "-1"]);
    train("--set batch_size=0").refused(&["`batch_size`", "at least 1"]);
    train("--set steps").refused(&["--set", "key=value"]);
    train("--set model.num_heads=7").refused(&["in `model`, `num_heads` = 7 must divide"]);
    train("--set model.seq_len=81").refused(&["seq_len", "16", "81"]);
    let ran = workshop.untouched(|| workshop.run("train --preset trm-smal --data data --out run"));
    ran.refused(&["`trm-smal`", "trm-small"]);
    for preset in ["hrm-maze-1k", "trm-arc-1"] {
        let line = format!("train --preset {preset} --data data --out run");
        workshop
            .untouched(|| workshop.run(&line))
            .refused(&[preset, "a Sudoku (vocab_size 6, seq_len 16)"]);
        let line = format!("presets {preset} --data data");
        workshop.run(&line).refused(&[preset, "a Sudoku"]);
    }
}

#[test]
fn sizes_of_a_model_that_there_can_not_be() {
    let workshop = Workshop::with_run();
    for (setting, said) in [
        ("model.hidden_size=0", "hidden_size"),
        ("model.hidden_size=18446744073709551615", "hidden_size"),
        ("model.hidden_size=1048576", "`parameters`"),
        ("model.num_heads=0", "num_heads"),
        ("model.seq_len=18446744073709551615", "seq_len"),
        ("model.vocab_size=0", "vocab_size"),
        (
            "model.num_puzzle_ids=18446744073709551615",
            "num_puzzle_ids",
        ),
        ("model.expansion=1e300", "expansion"),
        ("model.l_cycles=0", "l_cycles"),
        (
            "model.puzzle_embedding.positions=18446744073709551615",
            "positions",
        ),
        ("accumulate=0", "accumulate"),
    ] {
        workshop
            .untouched(|| workshop.train("new", &format!("--set {setting}")))
            .refused(&[said]);
        workshop
            .untouched(|| workshop.run(&format!("train --resume run --steps 6 --set {setting}")))
            .refused(&[said]);
    }
    workshop
        .untouched(|| {
            workshop.run("train --init run --set model.hidden_size=64 --data data --out new")
        })
        .refused(&["`model`", "`model.hidden_size` = 64 for 16"]);
}

#[test]
fn lengths_that_no_run_has() {
    let workshop = Workshop::with_run();
    let line = format!(
        "train --preset trm-small --data data --out new {}",
        program::TINY
    );
    let train = |more: &str| workshop.untouched(|| workshop.run(&format!("{line} {more}")));
    train("--epochs 0").refused(&["--epochs", "`epochs`", "positive", "0"]);
    train("--epochs nan").refused(&["--epochs", "NaN"]);
    train("--epochs many").refused(&["--epochs", "many"]);
    train("--epochs 2 --steps 5").refused(&["--epochs", "--steps"]);
    train("--epochs 2 --set steps=5").refused(&["--epochs and --set steps"]);
    train("--steps 2 --set steps=5").refused(&["--steps and --set steps"]);
    train("--seed 2 --set seed=5").refused(&["--seed and --set seed"]);
    // A quarter of an epoch are two steps, and four are made.
    workshop
        .untouched(|| workshop.run("train --resume run --epochs 0.25"))
        .refused(&["--epochs", "4 steps already"]);
}

#[test]
fn a_device_that_is_not_there() {
    let workshop = Workshop::with_run();
    let devices = ["cuda", "metal", "rocm", "vulkan", "wgpu"];
    let built_in = workshop.run("devices --json").ok().objects();
    for name in devices {
        let entry = built_in.iter().find(|entry| entry["name"] == name).unwrap();
        if entry["built_in"] == true {
            continue;
        }
        let feature = format!("--features {name}");
        for line in [
            "eval --checkpoint run --data data",
            "solve --checkpoint run 1.....3........2",
            "train --resume run --steps 9",
        ] {
            let ran = workshop.untouched(|| workshop.run(&format!("{line} --device {name}")));
            ran.refused(&[&format!("`{name}`"), "not built in", &feature]);
        }
    }
    workshop
        .untouched(|| workshop.train("new", "--device gpu"))
        .refused(&["`gpu`", "flex"]);
    for line in [
        "train --resume run --steps 9 --device flex,flex",
        "train --resume run --steps 9 --device flex,",
    ] {
        workshop
            .untouched(|| workshop.run(line))
            .refused(&["`flex`", "together", "cuda:0,cuda:1"]);
    }
    // Nobody has typed it.
    let mut eval = program::command(workshop.dir());
    eval.args("eval --checkpoint run --data data".split(' '))
        .env("HRM_DEVICE", "gpu");
    program::ran(eval).refused(&["`HRM_DEVICE=gpu` is no device"]);
}

#[test]
fn what_would_be_dropped_or_last_for_ever_is_refused() {
    let workshop = Workshop::with_run();
    fs::write(
        workshop.path("quiz.csv"),
        "quiz;answer\n1.....3........2;\n",
    )
    .unwrap();
    let train = "train --preset trm-small --data data --out new";
    for (line, said) in [
        (
            format!("{train} --allow-change seed"),
            &["--allow-change"][..],
        ),
        (
            format!("{train} --set eval_patience=2"),
            &["eval_patience", "--eval-every"],
        ),
        (
            format!("{train} --set eval_hold_out=0.5"),
            &["eval_hold_out", "--eval-every"],
        ),
        (
            "train --init run --preset hrm-small --data data --out new".to_owned(),
            &["--init with --preset hrm-small", "expected HRM, found TRM"],
        ),
        (
            "report run ./run".to_owned(),
            &["./run: expected each run once"],
        ),
        (
            "analyze run --data data --segments 100000 --out new".to_owned(),
            &["--segments: expected at most 1365", "found 100000"],
        ),
        (
            "bench --list --markdown".to_owned(),
            &["--list", "--markdown"],
        ),
        (
            "bench --only trm-small/data --to no/x.json".to_owned(),
            &["there is no folder no"],
        ),
        (
            "data maze generate --size 10 --out m.csv".to_owned(),
            &["--min-path: ", "2 to 100, found 110"],
        ),
        (
            "data maze generate --size 9 --min-path 9 --walls 0.5 0.3 --out m.csv".to_owned(),
            &["--walls: ", "0.5 to 0.3"],
        ),
        (
            "solve --checkpoint run --file quiz.csv".to_owned(),
            &["a column `question`, found `quiz;answer`"],
        ),
    ] {
        workshop.untouched(|| workshop.run(&line)).refused(said);
    }
}

/// A path need not be UTF-8, which JSON is.
#[cfg(target_os = "linux")]
#[test]
fn paths_of_any_bytes_are_told_or_refused_before_anything_is_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let workshop = Workshop::with_run();
    let odd = OsStr::from_bytes(b"odd\xff");
    let run = |line: &str, name: &OsStr| {
        let mut args: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
        args.push(name);
        program::command(workshop.dir())
            .args(args)
            .output()
            .unwrap()
    };
    let told = run("data build sudoku --input puzzles.csv --json --out", odd);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    let object: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(object["out"], "odd\u{fffd}");
    let refused = run("train --preset trm-small --steps 1 --out other --data", odd);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("config.json") && said.contains("UTF-8"),
        "{said}"
    );
    assert!(!workshop.path("other/checkpoints").exists());
    // Nor does it cost the run that it was to take the place of.
    let refused = run(
        "train --preset trm-small --steps 1 --out run --force --data",
        odd,
    );
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    fs::rename(workshop.path("run"), workshop.dir().join(odd).join("run")).unwrap();
    let tuned = run(
        "train --data data --steps 1 --out tuned --init",
        OsStr::from_bytes(b"odd\xff/run"),
    );
    assert_eq!(tuned.status.code(), Some(0), "{tuned:?}");
}

#[cfg(unix)]
#[test]
fn a_folder_is_not_written_onto_a_link_to_nothing() {
    let workshop = Workshop::with_run();
    std::os::unix::fs::symlink("nowhere", workshop.path("link")).unwrap();
    for line in [
        "data build sudoku --input puzzles.csv --out link",
        "pack run --out link",
        "analyze run --data data --out link",
    ] {
        (workshop.run(line)).refused(&["link is a link to what is not there"]);
    }
    assert!(!workshop.path("nowhere").exists());
}

/// Whoever reads may stop; what was asked for is written all the same.
#[cfg(unix)]
#[test]
fn files_are_written_even_if_nobody_reads() {
    let workshop = Workshop::with_run();
    for (line, file) in [
        #[cfg(feature = "draw")]
        ("data inspect data --show 9 --png sheet.png", "sheet.png"),
        #[cfg(feature = "draw")]
        (
            "solve --checkpoint run --file puzzles.csv --halt fixed --png solved.png",
            "solved-12.png",
        ),
        #[cfg(feature = "draw")]
        (
            "eval --checkpoint run --data data --curve=segments --curve-segments 2 --plot curve.png",
            "curve.png",
        ),
        (
            "bench --only trm-small/data --only hrm-small/data --no-matmuls --repeats 1 --to rows.json",
            "rows.json",
        ),
    ] {
        let mut child = program::command(workshop.dir())
            .args(line.split(' '))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        // What a model of four steps answers is wrong.
        let code = i32::from(line.starts_with("solve"));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{line}");
        let written = fs::read_to_string(workshop.path(file));
        let size = fs::metadata(workshop.path(file)).unwrap().len();
        assert!(size > 500, "{file}: {size}");
        // Both rows.
        if let Ok(text) = written {
            assert_eq!(text.matches("/data/").count(), 2, "{text}");
        }
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let workshop = Workshop::with_run();
    for line in [
        "data sudoku generate --size 4 --count 3 --out puzzles.csv",
        "data maze generate --size 4 --min-path 4 --count 3 --out puzzles.csv",
        "data build sudoku --input puzzles.csv --out data",
    ] {
        workshop
            .untouched(|| workshop.run(line))
            .refused(&["there already", "--force"]);
    }
    workshop
        .untouched(|| workshop.train("run", ""))
        .refused(&["run is there already", "--force"]);
    workshop
        .untouched(|| workshop.train("data", ""))
        .refused(&["data is there already"]);
    let before = fs::read(workshop.path("run/metrics.jsonl")).unwrap();
    workshop.train("run", "--force --set seed=2").ok();
    assert!(fs::read(workshop.path("run/metrics.jsonl")).unwrap() != before);
    workshop
        .run("data build sudoku --input puzzles.csv --out data --force")
        .ok();
    assert!(!workshop.path("data/test").exists());
}

#[test]
fn a_folder_that_holds_no_run_is_not_taken_for_one() {
    let workshop = Workshop::with_data();
    let refused = |words: &[&str]| {
        let ran = workshop.untouched(|| workshop.train("theirs", "--force"));
        ran.refused(&["--force", "theirs"]);
        let ran = workshop.untouched(|| workshop.train("theirs", "--force"));
        ran.refused(words);
    };
    workshop
        .untouched(|| workshop.train("data", "--force"))
        .refused(&["--force", "data is no training run"]);
    let theirs = workshop.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("metrics.jsonl"), "{}").unwrap();
    refused(&[]);
    fs::create_dir(theirs.join("checkpoints")).unwrap();
    fs::write(theirs.join("checkpoints/model.bin"), "weights").unwrap();
    refused(&[]);
    fs::write(theirs.join("config.json"), r#"{"hidden_size": 512}"#).unwrap();
    fs::write(theirs.join("best.safetensors"), "weights").unwrap();
    refused(&["config.json", "hidden_size"]);
}

#[test]
fn no_error_says_its_cause_twice() {
    // Each holds another error: of a model's configuration, of the parser of JSON, of a checkpoint, of the system. The test
    // of it is that of all refusals.
    let workshop = Workshop::with_run();
    let path = |name: &str| workshop.path(name);
    workshop.run("export run --out w.safetensors").ok();
    fs::write(path("tasks.json"), r#"{"a": 1}"#).unwrap();
    fs::write(path("cut.json"), r#"{"a": "#).unwrap();
    let header = [&6_u64.to_le_bytes()[..], br#"{"a": "#].concat();
    fs::write(path("trace.safetensors"), header).unwrap();
    let refused = |line: &str, said: &[&str]| {
        workshop.untouched(|| workshop.run(line)).refused(said);
    };
    refused(
        "import w.safetensors --heads 7 --out new",
        &[
            "w.safetensors: ",
            "num_heads is 2 by the file's metadata, given 7",
        ],
    );
    refused(
        "import w.safetensors --max-segments 0 --out new",
        &["`max_segments`"],
    );
    refused("import nowhere --out new", &["nowhere: cannot be read: "]);
    refused(
        "import run --out new",
        &["run is a run already", "hrm export run"],
    );
    refused("import data --out new", &["data is a folder"]);
    refused(
        "data build arc --input tasks.json --out new",
        &["tasks.json: ", "task a", "line 1"],
    );
    refused(
        "data build arc --input cut.json --out new",
        &["cut.json: ", "line 1"],
    );
    refused(
        "conformance --trace trace.safetensors",
        &["trace.safetensors: ", "header"],
    );
    refused(
        "solve --checkpoint nowhere 1.....3........2",
        &["cannot read nowhere: "],
    );
    refused(
        "eval --checkpoint run --data data --split dev",
        &["data has no split dev; it has test, train"],
    );
    refused("report tasks.json", &["tasks.json"]);
    refused("conformance --only zzz", &["`zzz`", "rope"]);
    refused("bench --only zzz", &["`zzz`", "trm-small/"]);
    for name in ["data/test/dataset.json", "run/config.json"] {
        fs::write(path(name), r#"{"a": "#).unwrap();
    }
    refused(
        "eval --checkpoint w.safetensors --data data",
        &["w.safetensors"],
    );
    refused("data inspect data", &["data/test/dataset.json: ", "line 1"]);
    refused("train --resume run", &["run/config.json: ", "line 1"]);
}

#[test]
fn weights_of_others_and_checkpoints_are_told_apart() {
    let workshop = Workshop::with_run();
    workshop.run("export run --out model.safetensors").ok();
    fs::write(workshop.path("step_9"), b"PK\x03\x04 and so on").unwrap();
    for line in [
        "eval --data data --checkpoint",
        "solve 1.....3........2 --checkpoint",
        "train --data data --out tuned --init",
    ] {
        let refused = |file: &str, said: &[&str]| {
            let line = format!("{line} {file}");
            workshop.untouched(|| workshop.run(&line)).refused(said);
        };
        let export = "it is an export, of which `hrm import` makes a run";
        refused("model.safetensors", &["model.safetensors", export]);
        refused("step_9", &["step_9", "torch", "`hrm import` makes a run"]);
    }
    // The other way round.
    let checkpoint = "run/checkpoints/step-000000004.safetensors";
    let ran = workshop.untouched(|| workshop.run(&format!("import {checkpoint} --out new")));
    let ran = ran.refused(&[
        checkpoint,
        "needs no import",
        "--checkpoint",
        "`hrm export`",
    ]);
    assert!(!ran.stderr.contains("missing"), "{}", ran.stderr);
}

#[test]
fn an_imported_run_says_that_it_has_no_data() {
    let workshop = Workshop::with_run();
    workshop.run("export run --out w.safetensors").ok();
    for (out, more) in [("one", ""), ("two", "--preset trm-small")] {
        workshop
            .run(&format!("import w.safetensors --out {out} {more}"))
            .ok();
        workshop.run(&format!("train --resume {out}")).refused(&[
            out,
            "names no data",
            "--data what it is to be trained on",
        ]);
    }
    let ran = workshop.run("train --resume one --data nowhere");
    let ran = ran.refused(&["nowhere"]);
    assert!(!ran.stderr.contains("is now"), "{}", ran.stderr);
    fs::rename(workshop.path("data"), workshop.path("moved")).unwrap();
    let ran = workshop.run("train --resume run --steps 6");
    ran.refused(&["the data of the run are missing", "data is now"]);
    // Where they are is told once.
    workshop
        .run("train --resume run --steps 6 --data moved")
        .ok();
    workshop.run("train --resume run --steps 8").ok();
    // A recipe of epochs plans no steps before it knows the data.
    workshop
        .run("import w.safetensors --preset trm-sudoku --out epochs")
        .ok();
    workshop
        .run("train --init epochs --data moved --out new")
        .refused(&["--init", "--epochs"]);
    let config = workshop.path("epochs/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"trm-sudoku\"", "null")).unwrap();
    workshop
        .untouched(|| workshop.run("train --resume epochs --data moved"))
        .refused(&["epochs was imported", "--steps or --epochs"]);
}

#[test]
fn a_packed_run_is_not_written_over() {
    let workshop = Workshop::with_run();
    workshop.run("pack run --out packed").ok();
    workshop.run("export run --out w.safetensors").ok();
    for line in [
        "train --preset trm-small --data data --out packed --force",
        "train --resume packed",
        "eval --checkpoint packed --data data",
        "import w.safetensors --out packed --force",
        "import packed --out other",
    ] {
        workshop
            .untouched(|| workshop.run(line))
            .refused(&["packed is a packed run; unpack it"]);
    }
    workshop
        .run("unpack run --out moved")
        .refused(&["run is no whole packed run", "checkpoint-001"]);
    // Nor is a model of another program taken for a run.
    fs::create_dir(workshop.path("theirs")).unwrap();
    fs::write(
        workshop.path("theirs/config.json"),
        r#"{"model_type": "x"}"#,
    )
    .unwrap();
    workshop
        .untouched(|| workshop.run("import w.safetensors --out theirs --force"))
        .refused(&["--force", "config.json", "model_type"]);
}

#[test]
fn a_start_that_was_cut_off_starts_anew() {
    let workshop = Workshop::with_data();
    let run = workshop.path("run");
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    fs::write(run.join(".lock"), "").unwrap();
    fs::write(
        run.join("checkpoints/step-000000000.safetensors.tmp"),
        "half",
    )
    .unwrap();
    workshop
        .untouched(|| workshop.run("train --resume run"))
        .refused(&["config.json"]);
    workshop
        .untouched(|| workshop.train("run", ""))
        .refused(&["run is there already", "--force"]);
    workshop.train("run", "--force").ok();
    assert!(
        !run.join("checkpoints/step-000000000.safetensors.tmp")
            .exists()
    );
    // What no run has written outlives it.
    for name in ["notes.txt", "checkpoints/notes.txt"] {
        fs::write(run.join(name), "mine").unwrap();
    }
    workshop.train("run", "--force --set steps=2").ok();
    for name in ["notes.txt", "checkpoints/notes.txt"] {
        assert_eq!(fs::read(run.join(name)).unwrap(), b"mine");
    }
    assert!(!run.join("checkpoints/step-000000004.safetensors").exists());
    // Nor is a new folder, or an empty one, in the way.
    fs::create_dir(workshop.path("empty")).unwrap();
    workshop.train("empty", "--force --set steps=1").ok();
    workshop.train("new", "--force --set steps=1").ok();
}

#[test]
fn a_run_whose_data_have_changed_or_that_is_in_use() {
    let workshop = Workshop::with_run();
    workshop
        .run("data sudoku generate --size 4 --count 40 --clues 7 --seed 2 --out other.csv")
        .ok();
    workshop
        .run("data build sudoku --input other.csv --out other")
        .ok();
    workshop
        .untouched(|| workshop.run("train --resume run --steps 6 --data other"))
        .refused(&["data have changed"]);
    workshop
        .untouched(|| workshop.run("train --resume run --steps 3"))
        .refused(&["--steps", "4 steps already"]);
    let lock = fs::File::open(workshop.path("run/.lock")).unwrap();
    lock.lock().unwrap();
    workshop
        .untouched(|| workshop.run("train --resume run --steps 6"))
        .refused(&["run is in use"]);
    workshop
        .untouched(|| workshop.train("run", "--force"))
        .refused(&["run is in use"]);
}

#[test]
fn a_resumed_run_that_is_to_be_another() {
    let workshop = Workshop::with_run();
    let resume = |more: &str| {
        workshop.untouched(|| workshop.run(&format!("train --resume run --steps 6 {more}")))
    };
    resume("--set optimizer.lr=1e-5").refused(&[
        "`optimizer.lr` is 0.001, wanted 0.00001",
        "--allow-change KEY",
    ]);
    resume("--set optimizer.lr=1e-5 --allow-change optimizer.beta1").refused(&["`optimizer.lr`"]);
    resume("--allow-change optimiser.lr").refused(&["did you mean", "`optimizer.lr`"]);
    resume("--set seed=9 --allow-change seed").refused(&["`seed` can't be changed", "1 to 9"]);
    resume("--set model.hidden_size=32 --allow-change model")
        .refused(&["`model.hidden_size` can't be changed"]);
    resume("--set optimizer.lr=-1 --allow-change optimizer")
        .refused(&["`optimizer.lr`", "positive"]);
    let path = workshop.path("run/config.json");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("\"log_every\": 2", "\"log_every\": 1")).unwrap();
    resume("").refused(&["`log_every` is 2, wanted 1"]);
    workshop
        .run("train --resume run --steps 6 --allow-change log_every --set optimizer.lr=1e-5 --allow-change optimizer")
        .ok();
    workshop.run("train --resume run --steps 8").ok();
    let config = fs::read_to_string(&path).unwrap();
    assert!(
        config.contains("\"steps\": 8") && config.contains("\"log_every\": 1"),
        "{config}"
    );
}

#[test]
fn an_evaluation_without_puzzles() {
    let workshop = Workshop::with_data();
    workshop.train("evaluated", "--eval-every 2").ok();
    fs::remove_dir_all(workshop.path("data/test")).unwrap();
    let train = |more: &str| workshop.untouched(|| workshop.train("run", more));
    train("--eval-every 2").refused(&["eval_every", "no split `test`", "eval_hold_out"]);
    train("--eval-every 2 --set eval_hold_out=1.5")
        .refused(&["`eval_hold_out`", "between 0 and 1"]);
    train("--eval-every 0").refused(&["`eval_every`", "at least 1"]);
    train("--set guard.remedy=pray").refused(&["`guard.remedy`", "lower_rate"]);
    train("--set guard.rate_factor=1").refused(&["`guard.rate_factor`", "less than 1"]);
    workshop
        .train("run", "--eval-every 2 --set eval_hold_out=0.25")
        .ok();
    // A run that goes on can hold nothing out any more.
    let ran = workshop.untouched(|| workshop.run("train --resume evaluated --steps 6"));
    let ran = ran.refused(&["eval_every", "no split `test`", "--data says where"]);
    assert!(!ran.stderr.contains("eval_hold_out"), "{}", ran.stderr);
}

#[test]
fn what_can_be_refused_costs_no_run() {
    let workshop = Workshop::with_run();
    let over = |more: &str| {
        let more = format!("--force {more}");
        workshop.untouched(|| workshop.train("run", &more))
    };
    // Events may lie in the run that begins.
    #[cfg(feature = "tensorboard")]
    workshop.train("inside", "--tensorboard inside/events").ok();
    #[cfg(feature = "tensorboard")]
    over("--tensorboard puzzles.csv").refused(&["--tensorboard puzzles.csv: expected a folder"]);
    // Puzzles that nobody has solved: the ignored label in place of all tokens.
    let without_answers = |split: &str, puzzles: usize| {
        let path = workshop.path(&format!("data/{split}/all__labels.npy"));
        let mut bytes = fs::read(&path).unwrap();
        let header = bytes.len() - puzzles * 16;
        bytes[header..].fill(0);
        fs::write(&path, bytes).unwrap();
    };
    without_answers("test", 8);
    over("--eval-every 2").refused(&["none of the 8 held-out puzzles has an answer"]);
    without_answers("train", 32);
    over("--eval-every 2 --set eval_hold_out=0.5")
        .refused(&["none of the 16 held-out puzzles has an answer"]);
}

#[test]
fn data_that_do_not_fit_the_model() {
    let workshop = Workshop::with_run();
    workshop
        .run("data sudoku generate --size 6 --count 5 --clues 20 --out six.csv")
        .ok();
    workshop
        .run("data build sudoku --input six.csv --test-count 2 --out six")
        .ok();
    workshop
        .untouched(|| workshop.run("eval --checkpoint run --data six"))
        .refused(&["seq_len", "36", "16"]);
    workshop
        .untouched(|| workshop.run("eval --checkpoint run --data data --split dev"))
        .refused(&["data has no split dev; it has test, train", "--split"]);
    workshop
        .untouched(|| workshop.run("analyze run --data data --split dev --out a"))
        .refused(&["data has no split dev; it has test, train"]);
    let curve = "eval --checkpoint run --data data --curve=segments --curve-segments 1";
    workshop
        .untouched(|| workshop.run(&format!("{curve} --ratings six.csv")))
        .refused(&["six.csv: ", "rates 5 of its 5 questions", "none of them"]);
    // What is broken is named, and not the split, which is there.
    fs::write(workshop.path("data/hrm.json"), "{").unwrap();
    let ran = workshop.untouched(|| workshop.run("eval --checkpoint run --data data"));
    assert!(ran.stderr.starts_with("error: data/hrm.json: "), "{ran:?}");
    ran.refused(&["line 1"]);
    workshop
        .untouched(|| workshop.run("data build sudoku --input six.csv --test-count 5 --out none"))
        .refused(&["--test-count", "fewer than the 5"]);
}

#[test]
fn wishes_that_cannot_be_met() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    words(dir, "data sudoku generate --size 5 --out p.csv").refused(&["4, 6, 9 or 16", "found 5"]);
    words(dir, "data sudoku generate --size 4 --clues 20 --out p.csv")
        .refused(&["clues", "0 to 16"]);
    words(
        dir,
        "data sudoku generate --size 4 --clues 9..5 --out p.csv",
    )
    .refused(&["--clues", "9..5"]);
    words(dir, "data maze generate --size 5 --min-path 99 --out m.csv").refused(&[
        "min_path_cells",
        "25",
        "99",
    ]);
    for kind in ["sudoku generate", "maze generate --min-path 4"] {
        let line = format!("data {kind} --size 4 --count 0 --out p.csv");
        words(dir, &line).refused(&["--count", "0 is not in 1.."]);
    }
    words(dir, "data inspect nowhere.csv").refused(&["nowhere.csv"]);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}

#[test]
fn folders_that_are_near_data_but_hold_none() {
    let workshop = Workshop::with_run();
    workshop
        .untouched(|| workshop.run("data inspect run"))
        .refused(&["run is a run folder", "hrm report run"]);
    workshop
        .untouched(|| workshop.run("data inspect data/train"))
        .refused(&[
            "data/train is a split of a data set",
            "the folder above it, data",
        ]);
    workshop
        .untouched(|| workshop.run("data inspect data --size 4"))
        .refused(&["--size", "a CSV file", "data"]);
}

#[test]
fn mazes_that_are_not_square() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    // 28 cells are no square, and 36 are read as one.
    for (size, out) in [("4x7", "m28.csv"), ("4x9", "m36.csv")] {
        let line =
            format!("data maze generate --size {size} --min-path 7 --count 6 --seed 1 --out {out}");
        words(dir, &line).ok();
    }
    let asked = "28 cells are no square; give the height and the width with --size HxW";
    words(dir, "data inspect m28.csv").refused(&["m28.csv:2: ", asked]);
    words(dir, "data build maze --input m28.csv --out data").refused(&["m28.csv:2: ", asked]);
    words(dir, "data build maze --input m36.csv --out data").refused(&[
        "the answer is wrong",
        "read as squares",
        "--size HxW",
    ]);
    let ran = words(dir, "data inspect m36.csv");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("read as squares"), "{ran:?}");
    for (size, file) in [("4x7", "m28.csv"), ("4x9", "m36.csv")] {
        let line = format!("data inspect {file} --size {size}");
        let ran = words(dir, &line).ok();
        assert!(ran.stdout.contains("published label 6") && ran.stdout.contains("example 0"));
        let width = size
            .split_once('x')
            .map_or(0, |(_, width)| width.parse().unwrap());
        let widest = ran.stdout.split_once("example 0").unwrap().1.lines();
        assert_eq!(
            widest.map(|row| row.chars().count()).max(),
            Some(width),
            "{ran:?}"
        );
    }
    words(dir, "data inspect m36.csv --size 5x5")
        .refused(&["m36.csv:2: expected 25 cells, found 36"]);
}

#[test]
fn puzzles_of_another_task_with_the_same_sizes() {
    let workshop = Workshop::with_run();
    workshop
        .run("data maze generate --size 4 --min-path 5 --count 12 --seed 1 --out mazes.csv")
        .ok();
    workshop
        .run("data build maze --input mazes.csv --test-count 4 --out mazes")
        .ok();
    workshop
        .untouched(|| workshop.run("eval --checkpoint run --data mazes"))
        .refused(&[
            "mazes: expected puzzles of the model's task",
            "sudoku",
            "maze",
        ]);
}

#[test]
fn a_file_that_is_none_of_puzzles_is_not_told_line_by_line() {
    let workshop = Workshop::with_run();
    fs::write(
        workshop.path("six.txt"),
        format!("{}\n", ".".repeat(36)).repeat(30),
    )
    .unwrap();
    let ran = workshop.run("solve --checkpoint run --file six.txt");
    assert_eq!(ran.code, Some(2));
    let told: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(told.len(), 21, "{}", ran.stderr);
    assert!(told[19].contains("six.txt:20: ") && told[20].contains("10 more puzzles"));
    // Programs are told each.
    let ran = workshop.run("solve --checkpoint run --file six.txt --json");
    assert_eq!(ran.objects().len(), 30);
    // A mark that some programs write before UTF-8 is no part of a puzzle.
    fs::write(workshop.path("mark.txt"), "\u{feff}1.....3........2\n").unwrap();
    let ran = workshop.run("solve --checkpoint run --file mark.txt --json");
    assert_eq!(ran.objects()[0]["question"], "1.....3........2");
    workshop
        .run("solve --checkpoint run --tracee 1.....3........2")
        .refused(&["--tracee", "no option"]);
}

#[test]
fn what_can_not_be_drawn_or_told_is_not_passed_over() {
    let workshop = Workshop::with_data();
    let text = "source,question,answer,rating\r\n\
                a,1234341221434...,1234341221434321,3\r\n\
                a,12..............,2134341221434321,\r\n";
    fs::write(workshop.path("wrong.csv"), text).unwrap();
    let ran = workshop.run("data inspect wrong.csv --show 1");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("wrong.csv example 0"), "{}", ran.stdout);
    // Lines are those of an editor.
    fs::write(
        workshop.path("wrong.csv"),
        text.replace("2134341221434321", "21343412214343"),
    )
    .unwrap();
    workshop
        .run("data inspect wrong.csv")
        .refused(&["wrong.csv:3: "]);
    workshop
        .run("data build sudoku --input wrong.csv --out new")
        .refused(&["wrong.csv:3: "]);
    fs::write(workshop.path("none.csv"), "source,question,answer,rating\n").unwrap();
    workshop
        .run("data inspect none.csv")
        .refused(&["none.csv", "empty"]);
    workshop
        .run("data build sudoku --input puzzles.csv --test none.csv --out new")
        .refused(&["none.csv: expected at least one puzzle"]);
    workshop
        .run("data build sudoku --input puzzles.csv --out .")
        .refused(&[".: expected a name"]);
}

#[cfg(unix)]
#[test]
fn a_start_that_had_no_room_can_be_made_again() {
    let workshop = Workshop::with_data();
    let line = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} train --preset trm-small --data data --out new --steps 1 {}",
        env!("CARGO_BIN_EXE_hrm"),
        program::TINY
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]).current_dir(workshop.dir());
    program::ran(shell).refused(&["new/checkpoints"]);
    workshop.train("new", "").ok();
}

#[test]
fn what_is_asked_of_puzzles_without_ratings_or_rules() {
    let workshop = Workshop::with_data();
    let text = "source,question,answer,rating\na,1234341221434...,1234341221434321,\n";
    fs::write(workshop.path("unrated.csv"), text).unwrap();
    workshop
        .run("data sudoku draw --like puzzles.csv --input unrated.csv --count 1 --out new.csv")
        .refused(&["unrated.csv: expected a rating", "puzzle 1"]);
    workshop
        .run("data maze generate --size 8 --min-path 9 --walls 0.5 0.3 --out new.csv")
        .refused(&["two probabilities that rise"]);
}
