//! Thinking longer, more often and with care: the options of `eval` and `solve`.

mod program;

use program::Workshop;
use serde_json::Value;

fn number(object: &Value, field: &str) -> f64 {
    let value = object[field].as_f64();
    value.unwrap_or_else(|| panic!("`{field}` in {object}"))
}

#[test]
fn a_curve_has_a_point_for_every_doubling() {
    let workshop = Workshop::with_run();
    let eval = "eval --checkpoint run --data data";
    let curve = "--curve --curve-segments 5 --curve-rollouts 3";
    let points = workshop
        .run(&format!("{eval} {curve} --json"))
        .ok()
        .objects();
    let at = |curve: &str| -> Vec<u64> {
        let of = points.iter().filter(|point| point["curve"] == curve);
        of.map(|point| point["at"].as_u64().unwrap()).collect()
    };
    assert_eq!(at("segments"), [1, 2, 4, 5]);
    assert_eq!(at("halting"), [1, 2, 4, 5]);
    assert_eq!(at("rollouts"), [1, 2, 3]);
    for point in &points {
        assert_eq!(
            (&point["type"], &point["puzzles"]),
            (&"curve_point".into(), &8.into())
        );
        assert!(number(point, "puzzles_per_second") > 0.0);
        assert_eq!(point["exact_interval"].as_array().map(Vec::len), Some(2));
        let bins = point["bins"].as_array().unwrap();
        let counted: f64 = bins.iter().map(|bin| number(bin, "puzzles")).sum();
        assert_eq!(counted, 8.0, "{point}");
        let right: f64 = bins.iter().map(|bin| number(bin, "exact")).sum();
        assert_eq!(right, number(point, "exact"));
    }
    // The points of the one pass are those of single evaluations.
    for point in points.iter().filter(|point| point["curve"] == "segments") {
        let alone = format!("{eval} --halt fixed --segments {} --json", point["at"]);
        let alone = &workshop.run(&alone).ok().objects()[0];
        for field in ["exact", "cell_accuracy", "q_halt_accuracy", "mean_segments"] {
            let (a, b) = (number(point, field), number(alone, field));
            assert!((a - b).abs() < 1e-6, "{field}: {a} {b}");
        }
    }
    // And so are those with halting.
    for point in points.iter().filter(|point| point["curve"] == "halting") {
        let alone = format!("{eval} --halt q-halt --segments {} --json", point["at"]);
        let alone = &workshop.run(&alone).ok().objects()[0];
        assert_eq!(point["mean_segments"], alone["mean_segments"]);
        assert_eq!(point["exact"], alone["exact"]);
        assert!(number(point, "mean_segments") <= number(point, "at"));
    }

    let ran = workshop
        .run(&format!(
            "{eval} --curve=segments --curve-segments 5 --bins 0,1"
        ))
        .ok();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[1].contains("guesses of our solver:") && lines[1].contains("1.."),
        "{}",
        ran.stdout
    );
    assert!(lines[2].trim_start().starts_with("1 ") && lines[5].trim_start().starts_with("5 "));

    // Easy puzzles need no guess: the last bin is empty, and without an end.
    let line = format!("{eval} --curve=segments --curve-segments 1 --bins 0,1000 --json");
    let point = &workshop.run(&line).ok().objects()[0];
    assert_eq!(
        (&point["bins"][0]["from"], &point["bins"][0]["to"]),
        (&0.into(), &999.into())
    );
    let open = &point["bins"][1];
    assert_eq!((&open["from"], &open["puzzles"]), (&1000.into(), &0.into()));
    for field in ["to", "exact_accuracy", "exact_interval", "mean_segments"] {
        assert_eq!(open[field], Value::Null, "{field} of {open}");
    }
}

#[cfg(feature = "draw")]
#[test]
fn a_curve_is_drawn_too() {
    let workshop = Workshop::with_run();
    let line = "eval --checkpoint run --data data --curve=segments,halting --curve-segments 2 --plot curve.png";
    workshop.run(line).ok();
    let png = std::fs::read(workshop.path("curve.png")).unwrap();
    assert!(
        png.starts_with(b"\x89PNG") && png.len() > 5_000,
        "{}",
        png.len()
    );
    workshop
        .untouched(|| workshop.run(line))
        .refused(&["curve.png is there already", "--force"]);
    workshop
        .run("eval --checkpoint run --data data --plot other.png")
        .refused(&["--curve"]);
}

#[test]
fn ratings_come_from_a_file_where_one_is_given() {
    let workshop = Workshop::with_run();
    let text = std::fs::read_to_string(workshop.path("puzzles.csv")).unwrap();
    let rated: Vec<String> = (text.lines().enumerate())
        .map(|(line, text)| match (line, text.rsplit_once(',')) {
            (1.., Some((puzzle, _))) => format!("{puzzle},{}", line % 2 * 7),
            _ => text.to_owned(),
        })
        .collect();
    std::fs::write(workshop.path("rated.csv"), rated.join("\n")).unwrap();
    let eval = "eval --checkpoint run --data data --curve=segments --curve-segments 1";
    let points = workshop
        .run(&format!("{eval} --ratings rated.csv --bins 0,7 --json"))
        .ok()
        .objects();
    let bins = points[0]["bins"].as_array().unwrap();
    assert_eq!(bins.len(), 2);
    assert_eq!((&bins[0]["from"], &bins[1]["from"]), (&0.into(), &7.into()));
    assert_eq!(
        number(&bins[0], "puzzles") + number(&bins[1], "puzzles"),
        8.0
    );

    std::fs::write(
        workshop.path("other.csv"),
        "question,rating\n1.....3........2,3\n",
    )
    .unwrap();
    for (more, said) in [
        ("--ratings nowhere.csv", "nowhere.csv"),
        ("--ratings other.csv", "rates 1 of its 1 questions"),
        ("--bins 3,3", "--bins"),
    ] {
        workshop.run(&format!("{eval} {more}")).refused(&[said]);
    }
    // Options that no curve asked for goes by.
    for more in ["--segments 2", "--halt q-halt", "--curve-rollouts 2"] {
        let option = more.split(' ').next().unwrap();
        workshop
            .run(&format!("{eval} {more}"))
            .refused(&[option, "rollouts in --curve, found segments"]);
    }
    workshop
        .run("eval --checkpoint run --data data --bins 1,2")
        .refused(&["--curve"]);
}

#[test]
fn attempts_of_every_kind_go_together() {
    let workshop = Workshop::with_run();
    workshop.train("other", "--set seed=5").ok();
    let eval =
        "eval --checkpoint run --data data --json --also other --rollouts 2 --views 3 --noise 1";
    for choose in ["q-halt", "vote", "cell-vote"] {
        let line = format!("{eval} --segments 2 --halt fixed --choose {choose}");
        let found = &workshop.run(&line).ok().objects()[0];
        // Two checkpoints, two roll-outs, three views, two segments.
        assert_eq!(found["mean_segments"], 24.0);
        let answers = ["verified", "unverified", "abstained"].map(|kind| number(found, kind));
        assert_eq!(answers.iter().sum::<f64>(), 8.0);
    }
    let line = format!("{eval} --segments 12 --halt stable:2 --choose verified");
    let found = &workshop.run(&line).ok().objects()[0];
    assert!(number(found, "mean_segments") <= 144.0);
    let solved = workshop.run(
        "solve --checkpoint run --also other --rollouts 2 --views 3 --halt likely --segments 3 --choose vote --json \
         --file puzzles.csv",
    );
    for answer in solved.objects() {
        assert_eq!(answer["attempts"], 12);
    }
    workshop
        .run("eval --checkpoint run --data data --also data")
        .refused(&["data is no training run"]);
}

#[test]
fn a_checkpoint_that_thinks_along_is_of_the_same_task_and_is_looked_at_first() {
    let workshop = Workshop::with_run();
    // Mazes of as many cells and tokens.
    for line in [
        "data maze generate --size 4 --min-path 3 --count 12 --seed 1 --out mazes.csv",
        "data build maze --input mazes.csv --test-count 2 --out mazes",
        "train --preset trm-small --data mazes --out maze-run --steps 1 --set model.hidden_size=16 --set model.num_heads=2 \
         --set batch_size=4",
    ] {
        workshop.run(line).ok();
    }
    let said = ["--also maze-run", "\"sudoku\"", "\"maze\""];
    for line in [
        "eval --checkpoint run --data data --also maze-run",
        "solve --checkpoint run --also maze-run 1.....3........2",
        // Not after the first part, which takes long.
        "eval --checkpoint run --data data --curve --also maze-run",
    ] {
        workshop.run(line).refused(&said);
    }
    let curve = "eval --checkpoint run --data data --curve";
    for (more, said) in [("--also nowhere", "nowhere"), ("--noise=-1", "noise")] {
        workshop.run(&format!("{curve} {more}")).refused(&[said]);
    }
}

#[test]
fn what_is_neither_verified_nor_sure_is_withheld() {
    let workshop = Workshop::with_run();
    let line = "eval --checkpoint run --data data --min-confidence 2 --json";
    let found = &workshop.run(line).ok().objects()[0];
    // Four steps teach nothing.
    assert_eq!(found["abstained"], 8);
    assert_eq!(
        (&found["coverage"], &found["precision"]),
        (&0.0.into(), &Value::Null)
    );
    let solve = "solve --checkpoint run --min-confidence 2 1.....3........2";
    let ran = workshop.run(&format!("{solve} --json"));
    assert_eq!(ran.code, Some(1));
    let answer = &ran.objects()[0];
    assert_eq!(
        (&answer["verdict"], &answer["answer"]),
        (&"abstained".into(), &Value::Null)
    );
    let ran = workshop.run(solve);
    assert!(ran.stdout.starts_with("abstained after"), "{}", ran.stdout);
    let plain = &workshop
        .run("eval --checkpoint run --data data --json")
        .ok()
        .objects()[0];
    assert_eq!(plain["unverified"], 8);
    assert_eq!(
        (&plain["verified_coverage"], &plain["verified_precision"]),
        (&0.0.into(), &Value::Null)
    );
}
