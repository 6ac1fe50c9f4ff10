//! Pictures that the program draws.
#![cfg(feature = "draw")]

mod program;

use std::fs;

use program::Workshop;

/// Width and height of a PNG file.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn a_sheet_of_a_data_set() {
    let workshop = Workshop::with_data();
    workshop
        .run("data inspect puzzles.csv --show 0 --png sheet.png --png-count 6")
        .ok();
    // Three 4x4 boards of 164 pixels in a row, with margins, gaps and captions.
    let bytes = fs::read(workshop.path("sheet.png")).unwrap();
    assert_eq!(png_size(&bytes).1, 2 * (164 + 24) + 20 + 40);
    workshop
        .untouched(|| workshop.run("data inspect puzzles.csv --png sheet.png"))
        .refused(&["sheet.png", "--force"]);
    workshop
        .run("data inspect data --show 0 --png sheet.png --png-count 1 --force")
        .ok();
    let one = fs::read(workshop.path("sheet.png")).unwrap();
    assert_eq!(png_size(&one).1, 164 + 24 + 40);
    workshop
        .run("data inspect puzzles.csv --show 0 --png none.png --png-count 0")
        .code
        .filter(|code| *code == 2)
        .expect("nothing to draw is refused");
}

#[test]
fn the_thinking_as_a_sheet_and_an_animation() {
    let workshop = Workshop::with_run();
    let solve = "solve --checkpoint run --segments 3 --halt fixed --json";
    let ran = workshop.run(&format!("{solve} --png t.png --gif t.gif 1.....3........2"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.objects()[0].get("trace").is_none(), "not asked for");
    let gif = fs::read(workshop.path("t.gif")).unwrap();
    assert_eq!(&gif[..6], b"GIF89a");
    // The question and three segments: a control block before every frame.
    let frames = gif
        .windows(4)
        .filter(|at| at[..3] == [0x21, 0xF9, 4])
        .count();
    assert_eq!(frames, 4);
    png_size(&fs::read(workshop.path("t.png")).unwrap());
    workshop
        .untouched(|| {
            workshop.run(&format!(
                "{solve} --png new.png --gif t.gif 1.....3........2"
            ))
        })
        .refused(&["t.gif", "--force"]);

    let ran = workshop.run(&format!(
        "{solve} --trace --png many.png --file puzzles.csv"
    ));
    let answers = ran.objects();
    assert_eq!(answers.len(), 40);
    assert_eq!(answers[0]["trace_q_halt"].as_array().map(Vec::len), Some(3));
    for name in ["many-1.png", "many-40.png"] {
        png_size(&fs::read(workshop.path(name)).unwrap());
    }
    assert!(!workshop.path("many.png").exists());
}

const STEP: &str = r#"{"step":STEP,"epoch":1.0,"lr":0.0001,"metrics":{"count":8.0,"cell_accuracy_sum":4.0,"exact_sum":2.0,"q_halt_right_sum":6.0,"segments_sum":24.0,"token_loss_sum":9.5,"q_halt_loss_sum":1.0,"q_continue_loss_sum":0.0,"slots":8.0}}"#;

const EVALUATION: &str = r#"{"step":STEP,"evaluation":{"puzzles":100,"exact":40,"exact_accuracy":0.4,"exact_interval":[0.31,0.5],"cell_accuracy":0.8,"q_halt_accuracy":0.7,"mean_segments":3.0},"best":true}"#;

#[test]
fn curves_of_one_run_and_of_several() {
    let workshop = Workshop::with_data();
    for (run, reports) in [("a", 200), ("b", 3)] {
        let dir = workshop.path(run);
        fs::create_dir(&dir).unwrap();
        let mut lines: Vec<String> = (1..=reports)
            .map(|step| STEP.replace("STEP", &(step * 10).to_string()))
            .collect();
        // A kind of line of another version, and one that a crash cut off.
        lines.push(r#"{"step":5,"something":{"new":1}}"#.to_owned());
        lines.push(STEP[..70].to_owned());
        fs::write(dir.join("metrics.jsonl"), lines.join("\n")).unwrap();
    }
    let ran = workshop.run("plot a b --out curves.png --json").ok();
    assert_eq!(ran.objects()[0]["reports"], serde_json::json!([200, 3]));
    let bytes = fs::read(workshop.path("curves.png")).unwrap();
    let (width, height) = png_size(&bytes);
    assert_eq!(width, 1440);
    assert!((1320..1420).contains(&height), "{height}");
    workshop
        .untouched(|| workshop.run("plot a --out curves.png"))
        .refused(&["curves.png", "--force"]);
    workshop.run("plot a --out curves.png --force").ok();
}

#[test]
fn what_a_run_finds_on_held_out_puzzles_is_drawn_too() {
    let workshop = Workshop::with_data();
    let metrics = workshop.path("a/metrics.jsonl");
    fs::create_dir(workshop.path("a")).unwrap();
    let mut lines = STEP.replace("STEP", "50");
    let draw = |out: &str| {
        let ran = workshop.run(&format!("plot a --out {out} --json")).ok();
        let bytes = fs::read(workshop.path(out)).unwrap();
        (ran.objects()[0]["evaluations"].clone(), bytes)
    };
    fs::write(&metrics, &lines).unwrap();
    let (found, without) = draw("without.png");
    assert_eq!(found, serde_json::json!([0]));
    for step in ["20", "40"] {
        lines = lines + "\n" + &EVALUATION.replace("STEP", step);
    }
    fs::write(&metrics, &lines).unwrap();
    let (found, with) = draw("with.png");
    assert_eq!(found, serde_json::json!([2]));
    assert_eq!(png_size(&without), png_size(&with));
    // The interval is drawn: another one gives another picture.
    fs::write(&metrics, lines.replace("[0.31,0.5]", "[0.2,0.6]")).unwrap();
    let (_, wider) = draw("wider.png");
    assert!(without != with && with != wider);
}

#[test]
fn runs_without_curves_are_refused() {
    let workshop = Workshop::with_data();
    workshop
        .run("plot nowhere --out c.png")
        .refused(&["nowhere"]);
    workshop
        .run("plot data --out c.png")
        .refused(&["data", "metrics.jsonl"]);
    fs::create_dir(workshop.path("empty")).unwrap();
    fs::write(workshop.path("empty/metrics.jsonl"), "").unwrap();
    workshop
        .run("plot empty --out c.png")
        .refused(&["empty", "at least one report"]);
    workshop.run("plot --out c.png").refused(&["RUN"]);
    workshop
        .run("plot data --out c.svg")
        .refused(&["c.svg", "ends in .png"]);
    assert!(!workshop.path("c.png").exists());
}
