//! The whole way: puzzles, data, a model, its evaluation, answers.

mod program;

use std::collections::BTreeMap;
use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use program::{Workshop, command, words};
use serde_json::Value;

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects
        .iter()
        .map(|object| object["type"].as_str().expect("a tag"))
        .collect()
}

#[test]
fn from_nothing_to_an_answer() {
    let workshop = Workshop::with_run();
    let names: Vec<String> = fs::read_dir(workshop.path("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in ["config.json", "metrics.jsonl", "checkpoints"] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} in {names:?}"
        );
    }

    let found = workshop
        .run("eval --checkpoint run --data data --json")
        .ok()
        .objects();
    assert_eq!(kinds(&found), ["evaluation"]);
    assert_eq!(found[0]["puzzles"], 8);
    assert_eq!(found[0]["step"], 4);
    assert_eq!(found[0]["mean_segments"], 6.0);

    let ran = workshop
        .run("solve --checkpoint run --json --trace --segments 3 --halt fixed 1.....3........2");
    // Four steps teach nothing: the answer breaks the rules.
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers = ran.objects();
    assert_eq!(kinds(&answers), ["answer"]);
    assert_eq!(answers[0]["question"], "1.....3........2");
    assert_eq!(answers[0]["answer"].as_str().map(str::len), Some(16));
    assert_eq!(answers[0]["trace"].as_array().map(Vec::len), Some(3));
    assert_eq!(answers[0]["verdict"], "unverified");

    // The same by the reasoner, in as many segments: the same figures.
    let again = workshop
        .run("eval --checkpoint run --data data --json --min-confidence 0.000001")
        .ok()
        .objects();
    for field in ["exact", "cell_accuracy", "mean_segments"] {
        let (a, b) = (
            found[0][field].as_f64().unwrap(),
            again[0][field].as_f64().unwrap(),
        );
        assert!((a - b).abs() < 1e-6, "{field}: {a} {b}");
    }
    assert_eq!(again[0]["puzzles"], 8);
}

#[test]
fn a_run_begins_with_the_weights_of_another_and_trains_its_puzzle_table_alone() {
    let workshop = Workshop::with_run();
    workshop
        .run("train --init run --freeze all-but-puzzles --puzzle-table reset --data data --out tuned --steps 2 --seed 2")
        .ok();
    let weights = |run: &str, kind: &str| {
        let file = format!("{run}.safetensors");
        workshop
            .run(&format!("export {run} --weights {kind} --out {file}"))
            .ok();
        let bytes = fs::read(workshop.path(&file)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        tensors
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec()))
            .collect::<BTreeMap<String, Vec<u8>>>()
    };
    // It begins with the weights that evaluation uses.
    let (before, after) = (weights("run", "ema"), weights("tuned", "raw"));
    assert!(before.len() > 5);
    assert!(before.keys().eq(after.keys()));
    for (name, bytes) in &before {
        let table = name.contains("puzzle_emb");
        assert_eq!(*bytes != after[name], table, "{name}");
    }
    workshop
        .run("train --init run --freeze h-level --data data --out other --steps 2")
        .refused(&["freeze"]);
}

#[test]
fn puzzles_come_from_files_and_standard_input() {
    let workshop = Workshop::with_run();
    let csv = workshop.run("solve --checkpoint run --file puzzles.csv --json");
    assert_eq!(csv.objects().len(), 40);
    let lines: Vec<u64> = csv
        .objects()
        .iter()
        .map(|object| object["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, (2..=41).collect::<Vec<_>>());

    fs::write(
        workshop.path("mixed.txt"),
        "1.....3........2\nnonsense\n\n1 . | . .\n. . | 3 .\n----+----\n. . | . .\n. . | . 2\n",
    )
    .unwrap();
    let input = fs::File::open(workshop.path("mixed.txt")).unwrap();
    let output = command(workshop.dir())
        .args(["solve", "--checkpoint", "run", "--json", "-"])
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("stdin:2: "), "{stderr}");
    let objects: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kinds(&objects), ["error", "answer", "answer"]);
    assert_eq!(objects[2]["line"], 4);
    // In words too, an answer is told by its line where there are several.
    let ran = workshop.run("solve --checkpoint run --file mixed.txt");
    let told: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|l| l.contains(" after "))
        .collect();
    assert_eq!(told.len(), 2, "{ran:?}");
    assert!(told[0].starts_with("line 1: ") && told[1].starts_with("line 4: "));
    // One is not, and its rows need no quotes.
    let one = |puzzle: &str| workshop.run(&format!("solve --checkpoint run {puzzle} --segments 2"));
    let (line, rows) = (one("1.....3........2"), one("1... ..3. .... ...2"));
    assert_eq!(line.stdout, rows.stdout);
    assert!(rows.stdout.contains(" after ") && !rows.stdout.contains("line"));
    one("1... ..3. ....").refused(&["puzzle:1: ", "expected 16 cells, found 12"]);
}

#[test]
fn a_run_that_is_done_says_so() {
    let workshop = Workshop::with_run();
    let ran = workshop.run("train --resume run").ok();
    assert!(ran.stderr.contains("all 4 steps made already"), "{ran:?}");
    assert_eq!(ran.stdout, "run: 4 steps; --steps asks for more\n");
}

#[test]
fn the_same_seed_gives_the_same_run_and_a_resumed_one_equals_an_unbroken_one() {
    let workshop = Workshop::with_run();
    workshop.train("again", "").ok();
    workshop
        .train("half", "--set steps=2 --set schedule.min_ratio=1")
        .ok();
    workshop.train("whole", "--set schedule.min_ratio=1").ok();
    workshop.run("train --resume half --steps 4").ok();
    // The order of a file's metadata is not fixed, so checkpoints are compared by the checksum over all that they hold.
    let read = |run: &str| {
        let bytes = fs::read(
            workshop
                .path(run)
                .join("checkpoints/step-000000004.safetensors"),
        )
        .unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let checksum = header["__metadata__"]["sha256"]
            .as_str()
            .unwrap()
            .to_owned();
        let metrics = fs::read_to_string(workshop.path(run).join("metrics.jsonl")).unwrap();
        (checksum, metrics)
    };
    assert_eq!(read("run"), read("again"));
    assert_eq!(read("half"), read("whole"));
}

#[test]
fn training_reports_for_people_and_for_programs() {
    let workshop = Workshop::with_data();
    let ran = workshop.train("json", "--json").ok();
    assert_eq!(kinds(&ran.objects()), ["step", "step", "trained"]);
    assert_eq!(ran.objects()[2]["finished"], true);
    assert!(ran.stderr.contains("parameters"), "{}", ran.stderr);

    let ran = workshop.train("quiet", "--quiet").ok();
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.starts_with("quiet: 4 steps"), "{}", ran.stdout);
    // Neither is a terminal: no bar, no colour.
    let ran = workshop.train("plain", "").ok();
    assert!(!ran.stderr.contains('\x1b') && !ran.stdout.contains('\x1b'));
    assert!(!ran.stderr.contains('\r'), "{}", ran.stderr);
}

#[test]
fn steps_in_which_no_puzzle_was_finished_have_no_accuracy() {
    let workshop = Workshop::with_data();
    // A puzzle takes six segments, unless the model thinks that it is right.
    let ran = workshop
        .train("run", "--json --set log_every=1 --set steps=2")
        .ok();
    let first = &ran.objects()[0];
    assert!(first["loss"].as_f64().unwrap() > 0.0, "{first}");
    for field in [
        "cell_accuracy",
        "exact_accuracy",
        "q_halt_accuracy",
        "mean_segments",
    ] {
        assert_eq!(first[field], Value::Null, "{first}");
    }
    let found = workshop.run("report run --json").ok().objects();
    assert_eq!(found[0]["train_exact_accuracy"], Value::Null);
    assert!(found[0]["loss"]["mean"].as_f64().unwrap() > 0.0);
    // Once puzzles are finished, the last report with one tells.
    workshop.run("train --resume run --steps 7").ok();
    let found = workshop.run("report run --json").ok().objects();
    assert!(
        found[0]["train_exact_accuracy"]["mean"].is_f64(),
        "{found:?}"
    );
}

/// Sends a process a signal.
#[cfg(unix)]
fn send(signal: &str, to: &std::process::Child) {
    let sent = std::process::Command::new("kill")
        .args([signal, &to.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Starts a training, stops it after its first step; gives the steps that it was to make and what it said.
#[cfg(unix)]
fn planned(workshop: &Workshop, out: &str, more: &str) -> (u64, String) {
    let line = format!(
        "train --preset hrm-sudoku-1k --data data --out {out} --json {} --set log_every=1 {more}",
        program::TINY
    );
    let mut child = command(workshop.dir())
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    send("-INT", &child);
    lines.for_each(drop);
    let stderr = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let config = fs::read(workshop.path(out).join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    (config["config"]["steps"].as_u64().unwrap(), stderr)
}

/// The CPU computes the same bits with any number of threads.
#[test]
fn a_training_is_the_same_with_any_number_of_threads() {
    let workshop = Workshop::with_data();
    let run = |threads: &str| {
        let line = format!(
            "train --preset trm-small-mlp --data data --out run{threads} --steps 6 --set batch_size=8 --set accumulate=2 {}",
            "--set model.hidden_size=64 --set model.num_heads=2 --eval-every 3"
        );
        let ran = command(workshop.dir())
            .args(line.split(' '))
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let checkpoints = workshop.path(&format!("run{threads}/checkpoints"));
        let mut files: Vec<_> = fs::read_dir(checkpoints)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        fs::read(files.last().unwrap()).unwrap()
    };
    let [one, three] = ["1", "3"].map(run);
    assert!(one.len() > 10_000);
    assert!(one == three, "checkpoints differ");
}

/// `nohup` has the end of the terminal ignored: the training goes on.
#[cfg(unix)]
#[test]
fn a_training_under_nohup_outlives_its_terminal() {
    let workshop = Workshop::with_data();
    let hang_up = |ignored: bool, out: &str| {
        let program = command(workshop.dir());
        let trap = if ignored { "trap '' HUP; " } else { "" };
        let line = format!(
            "{trap}exec \"$0\" train --preset trm-small --data data --out {out} --json {} --steps 300 --set log_every=1",
            program::TINY
        );
        let mut child = std::process::Command::new("sh")
            .current_dir(workshop.dir())
            .args(["-c", &line])
            .arg(program.get_program())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        send("-HUP", &child);
        let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
        assert_eq!(last["type"], "trained");
        (child.wait().unwrap().code(), last["finished"] == true)
    };
    assert_eq!(hang_up(true, "kept"), (Some(0), true));
    assert_eq!(hang_up(false, "ended"), (Some(1), false));
}

/// A training does more than print: that nobody reads any more is not its end, nor an excuse.
#[cfg(unix)]
#[test]
fn a_training_that_nobody_listens_to_says_how_it_ended() {
    let workshop = Workshop::with_data();
    for json in ["", "--json"] {
        let mut child = command(workshop.dir())
            .args(format!("train --preset trm-small --data data --out run{json} {json} {} --steps 100000 --set log_every=1", program::TINY).split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // The training has begun.
        stderr.next().unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        send("-INT", &child);
        let said: Vec<String> = stderr.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{said:?}");
        assert!(
            said.last()
                .unwrap()
                .contains("go on with: hrm train --resume run"),
            "{said:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn the_epochs_of_a_recipe_are_those_of_the_batch_and_the_data_at_hand() {
    // 32 puzzles, 4 at a time, 20,000 times; in parts or not.
    let workshop = Workshop::with_data();
    for (out, more) in [("run", ""), ("parts", "--set accumulate=2")] {
        let (steps, said) = planned(&workshop, out, more);
        assert_eq!(steps, 160_000);
        let expected = "steps 1 to 160000, 20000 epochs in all";
        assert!(said.contains(expected), "{said}");
    }
    let held_out = "--eval-every 1000 --set eval_hold_out=0.5";
    assert_eq!(planned(&workshop, "half", held_out).0, 80_000);
    let (steps, said) = planned(&workshop, "own", "--epochs 2000");
    assert_eq!(steps, 16_000);
    assert!(said.contains("2000 epochs in all"), "{said}");
    // Steps that are named stay; so do those of a run that goes on.
    for given in ["--steps 5000", "--set steps=5000"] {
        let (steps, said) = planned(&workshop, &format!("given{}", given.len()), given);
        assert_eq!(steps, 5000);
        assert!(said.contains("625 epochs in all"), "{said}");
    }
    workshop.train("short", "").ok();
    let ran = workshop
        .run("train --resume short --epochs 0.75 --json")
        .ok();
    assert_eq!(ran.objects().last().unwrap()["step"], 6);
    assert!(
        ran.stderr.contains("steps 5 to 6, 0.8 epochs in all"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_training_evaluates_and_keeps_its_best_weights() {
    let workshop = Workshop::with_data();
    let ran = workshop.train("run", "--json --eval-every 3").ok();
    assert_eq!(
        kinds(&ran.objects()),
        ["step", "evaluation", "step", "evaluation", "trained"]
    );
    let objects = ran.objects();
    assert_eq!(
        (&objects[1]["step"], &objects[1]["puzzles"]),
        (&3.into(), &8.into())
    );
    let best = &objects[4]["best"];
    let found = workshop
        .run("eval --checkpoint run/best.safetensors --data data --json")
        .ok()
        .objects();
    assert_eq!(found[0]["exact"], best["exact"]);
    assert_eq!(found[0]["step"], best["step"]);
    let lines = fs::read_to_string(workshop.path("run/metrics.jsonl")).unwrap();
    assert_eq!(lines.matches("\"evaluation\":").count(), 2, "{lines}");

    // Four settings: patience of one evaluation, and a rate that teaches nothing.
    let ran = workshop
        .train(
            "early",
            "--eval-every 1 --set eval_patience=1 --set optimizer.lr=1e-12 --set steps=50 --json",
        )
        .ok();
    let last = ran.objects().pop().unwrap();
    assert_eq!(
        (&last["finished"], &last["stopped_early"]),
        (&true.into(), &true.into())
    );
    let stopped = last["step"].as_u64().unwrap();
    assert!(stopped < 50, "{last}");
    // Resumed it has no more patience, and says what gives it some.
    let more = "--set eval_patience=null --allow-change eval_patience";
    let ran = workshop.run("train --resume early").ok();
    assert!(
        ran.stdout.starts_with("early: no better for 1 evaluations")
            && ran.stdout.contains(&format!("; to go on: {more}")),
        "{ran:?}"
    );
    let steps = stopped + 2;
    let ran = workshop
        .run(&format!(
            "train --resume early --steps {steps} {more} --json"
        ))
        .ok();
    let last = ran.objects().pop().unwrap();
    assert_eq!(
        (&last["step"], &last["stopped_early"]),
        (&steps.into(), &false.into())
    );
}

#[test]
fn runs_are_put_beside_each_other() {
    let workshop = Workshop::with_data();
    for seed in 1..=3 {
        workshop
            .train(
                &format!("seed{seed}"),
                &format!("--eval-every 2 --set seed={seed}"),
            )
            .ok();
    }
    workshop.train("other", "--set optimizer.lr=1e-4").ok();
    let groups = workshop
        .run("report seed1 other seed2 seed3 --json")
        .ok()
        .objects();
    assert_eq!(kinds(&groups), ["report", "report"]);
    assert_eq!(groups[0]["runs"].as_array().map(Vec::len), Some(3));
    let of = |seed: usize| {
        groups[0]["runs"][seed]["last"]["cell_accuracy"]
            .as_f64()
            .unwrap()
    };
    let mean = (of(0) + of(1) + of(2)) / 3.0;
    let found = &groups[0]["last_cell_accuracy"];
    assert!((found["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert!(
        found["standard_deviation"].as_f64().unwrap() > 0.0,
        "{found}"
    );
    assert_eq!(groups[1]["last_exact_accuracy"], Value::Null);
    let differs = groups[1]["differs"].to_string();
    assert!(differs.contains("optimizer.lr=0.0001"), "{differs}");
    // Another recipe is compared with its own first run, and other data are told.
    workshop
        .run("data build sudoku --input puzzles.csv --test-count 4 --seed 2 --out more")
        .ok();
    let hrm = |data: &str, out: &str, more: &str| {
        let tiny = program::TINY;
        let line = format!("train --preset hrm-small --data {data} --out {out} --steps 2 {tiny}");
        workshop.run(&format!("{line} {more}")).ok();
    };
    hrm("data", "hrm", "");
    hrm("data", "slow", "--set optimizer.lr=1e-5");
    hrm("more", "more-data", "");
    let groups = workshop
        .run("report seed1 hrm slow more-data --json")
        .ok()
        .objects();
    let differs: Vec<String> = groups
        .iter()
        .map(|group| group["differs"].to_string())
        .collect();
    assert_eq!(differs[..2], ["[]", "[]"]);
    assert_eq!(differs[2], r#"["optimizer.lr=0.00001"]"#);
    assert!(
        differs[3].starts_with(r#"["data="#) && differs[3].ends_with(r#"more"]"#),
        "{differs:?}"
    );
    let text = workshop.run("report seed1 seed2").ok().stdout;
    assert!(
        text.contains("| trm-small | 2 |") && text.contains(" ± "),
        "{text}"
    );
    workshop
        .run("report data")
        .refused(&["data is no training run"]);
}

#[cfg(feature = "tensorboard")]
#[test]
fn tensorboard_finds_its_events() {
    let workshop = Workshop::with_data();
    workshop.train("run", "--tensorboard --eval-every 2").ok();
    workshop
        .run("train --resume run --steps 6 --tensorboard")
        .ok();
    let names: Vec<_> = fs::read_dir(workshop.path("run/tensorboard"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 2);
    let bytes: Vec<u8> = names
        .into_iter()
        .flat_map(|name| fs::read(name.unwrap().path()).unwrap())
        .collect();
    for tag in ["brain.Event:2", "train/loss", "test/exact_accuracy"] {
        assert!(
            bytes.windows(tag.len()).any(|at| at == tag.as_bytes()),
            "{tag}"
        );
    }
    // A new run in its place has its own alone; what others wrote stays.
    fs::write(workshop.path("run/tensorboard/mine.txt"), "mine").unwrap();
    workshop.train("run", "--tensorboard --force").ok();
    let names = fs::read_dir(workshop.path("run/tensorboard")).unwrap();
    assert_eq!(names.count(), 2);
    assert!(workshop.path("run/tensorboard/mine.txt").is_file());
}

#[test]
fn what_is_not_built_in_says_its_feature() {
    let workshop = Workshop::with_data();
    for (option, built_in) in [
        ("tensorboard", cfg!(feature = "tensorboard")),
        ("dashboard", cfg!(feature = "dashboard")),
    ] {
        if built_in {
            continue;
        }
        let option = format!("--{option}");
        let ran = workshop.untouched(|| workshop.train("run", &option));
        ran.refused(&[&option, "not built in"]);
    }
}

#[test]
fn a_training_that_diverges_goes_back_and_at_last_gives_up() {
    let workshop = Workshop::with_data();
    let wild = "--set optimizer.lr=1e30 --set schedule.warmup_steps=0 --set guard.retries=1";
    let ran = workshop.train("run", &format!("{wild} --json"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let objects = ran.objects();
    let faults: Vec<&Value> = (objects.iter())
        .filter(|object| object["type"] == "fault")
        .collect();
    assert_eq!(faults.len(), 2, "{}", ran.stdout);
    assert_eq!(faults[0]["remedy"], "lower_rate");
    assert!(faults[1]["remedy"].is_null(), "{}", ran.stdout);
    let last = objects.last().unwrap();
    assert_eq!(last["type"], "trained");
    assert_eq!(last["finished"], false);
    assert!(
        workshop
            .path(last["checkpoint"].as_str().unwrap())
            .is_file()
    );
    assert!(
        ran.stderr
            .contains("back to step 0, learning rates are 0.5 of the plan")
            && ran.stderr.contains("gave up after 1"),
        "{}",
        ran.stderr
    );
    let tamed = workshop
        .train(
            "tamed",
            &format!("{wild} --set guard.rate_factor=1e-33 --json"),
        )
        .ok();
    assert!(
        kinds(&tamed.objects()).contains(&"fault"),
        "{}",
        tamed.stdout
    );
}

#[test]
fn a_preset_of_the_papers_computes_in_f32_on_the_cpu_and_says_so() {
    let workshop = Workshop::with_data();
    let small = "--steps 1 --set batch_size=2 --set model.hidden_size=16 --set model.num_heads=2 --set model.puzzle_embedding.dim=16";
    let ran = workshop
        .run(&format!(
            "train --preset hrm-sudoku-1k --data data --out run {small}"
        ))
        .ok();
    assert!(ran.stderr.contains("computing in f32"), "{}", ran.stderr);
    let config = fs::read_to_string(workshop.path("run/config.json")).unwrap();
    assert!(config.contains("\"compute\": \"f32\""), "{config}");
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path())
        .args("data sudoku generate --size 4 --count 250 --clues 8 --out -".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_and_says_how_to_resume() {
    let workshop = Workshop::with_data();
    let line = format!(
        "train --preset trm-small --data data --out run --steps 1000000 --json {}",
        program::TINY
    );
    let mut child = command(workshop.dir())
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    // `timeout` does so: one signal to the program, one to its group.
    let id = child.id();
    let killed = std::process::Command::new("sh")
        .args(["-c", &format!("kill -INT {id} && kill -INT {id}")])
        .status()
        .unwrap();
    assert!(killed.success());
    let last: Value =
        serde_json::from_str(&lines.map(|line| line.unwrap()).last().unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("hrm train --resume run"), "{stderr}");
    assert_eq!(
        (&last["type"], &last["finished"]),
        (&"trained".into(), &false.into())
    );
    let step = last["step"].as_u64().unwrap();
    let ran = workshop
        .run(&format!("train --resume run --steps {} --json", step + 1))
        .ok();
    assert_eq!(ran.objects().last().unwrap()["step"], step + 1);
}

#[test]
fn mazes_go_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let made = words(
        dir,
        "data maze generate --size 6 --min-path 8 --count 30 --seed 1 --out mazes.csv --json",
    )
    .ok();
    assert_eq!(kinds(&made.objects()), ["generated"]);
    let built = words(
        dir,
        "data build maze --input mazes.csv --test-count 5 --out data --json",
    )
    .ok()
    .objects();
    assert_eq!(
        (&built[0]["train"], &built[0]["test"]),
        (&25.into(), &5.into())
    );
    words(
        dir,
        &format!(
            "train --preset hrm-small --data data --out run --steps 2 {}",
            program::TINY
        ),
    )
    .ok();
    words(dir, "eval --checkpoint run --data data").ok();
    let ran = words(dir, "solve --checkpoint run --file mazes.csv --json");
    assert_eq!(ran.objects().len(), 30, "{}", ran.stderr);
    let found = words(dir, "data inspect data --json").ok().objects();
    assert_eq!(found[0]["splits"][1]["maze"]["exact"], 25);
}

#[test]
fn test_puzzles_that_equal_training_puzzles_are_left_out() {
    let workshop = Workshop::with_data();
    let text = fs::read_to_string(workshop.path("puzzles.csv")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.truncate(4);
    // The first training puzzle again, its digits renamed.
    let fields: Vec<String> = lines[1].split(',').map(str::to_owned).collect();
    let renamed = |text: &str| -> String {
        let rename = |c| match c {
            '1'..='3' => char::from(c as u8 + 1),
            '4' => '1',
            c => c,
        };
        text.chars().map(rename).collect()
    };
    let copy = format!("x,{},{},0", renamed(&fields[1]), renamed(&fields[2]));
    fs::write(workshop.path("test.csv"), format!("{}\n{copy}\n", lines[0])).unwrap();
    let ran = workshop.run("data build sudoku --input puzzles.csv --test test.csv --out leak");
    ran.refused(&["every test puzzle equals a training puzzle"]);
    // With one that is new beside it, only the copy is dropped.
    let new = words(
        workshop.dir(),
        "data sudoku generate --size 4 --count 1 --clues 9 --seed 77 --out -",
    )
    .ok();
    let new = new.stdout.lines().nth(1).unwrap().to_owned();
    fs::write(
        workshop.path("test.csv"),
        format!("{}\n{copy}\n{new}\n", lines[0]),
    )
    .unwrap();
    let ran = workshop
        .run("data build sudoku --input puzzles.csv --test test.csv --out two --json")
        .ok();
    assert_eq!(
        (&ran.objects()[0]["test"], &ran.objects()[0]["dropped"]),
        (&1.into(), &1.into())
    );
    assert!(
        ran.stderr.contains("dropped 1 test puzzle"),
        "{}",
        ran.stderr
    );
}

#[test]
fn puzzles_of_several_solutions_are_told() {
    let workshop = Workshop::with_data();
    let answer = "1234341221434321";
    let puzzles = ["................", "123434122143432."].map(|question| {
        // One has any solution, the other this one.
        format!("x,{question},{answer},0\n")
    });
    let text = format!("source,question,answer,rating\n{}", puzzles.concat());
    fs::write(workshop.path("open.csv"), text).unwrap();
    let build = |input: &str, more: &str| {
        let line = format!("data build sudoku --input {input} --out of-{input} {more}");
        workshop.run(&line).ok().stderr
    };
    let note = "1 puzzles have several solutions: no model can know which is meant";
    let said = build("open.csv", "");
    assert!(said.contains(note), "{said}");
    assert_eq!(build("open.csv", "--force --quiet"), "");
    let said = build("puzzles.csv", "");
    assert!(!said.contains("several solutions"), "{said}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "",
        "data sudoku generate",
        "data maze generate",
        "data build sudoku",
        "data build maze",
        "data build arc",
        "data download",
        "data inspect",
        "train",
        "eval",
        "solve",
        "analyze",
        "presets",
        "devices",
        "import",
        "export",
        "pull",
        "conformance",
        "report",
    ] {
        let ran = words(folder.path(), &format!("{line} --help")).ok();
        let example = ran.stdout.contains("Example") || line.is_empty();
        assert!(
            example && ran.stdout.contains("  hrm "),
            "{line}: {}",
            ran.stdout
        );
    }
    let ran = words(folder.path(), "devices --json").ok();
    assert_eq!(ran.objects().len(), 6);
    assert!(words(folder.path(), "presets --json").ok().objects().len() >= 14);
}
