//! `hrm pack`, `hrm unpack` and `hrm data sudoku draw`: what a training on another machine needs.

mod program;

use program::Workshop;

#[test]
fn a_run_is_packed_moved_and_goes_on() {
    let workshop = Workshop::with_run();
    let packed = workshop.run("pack run --out packed --json").ok().objects();
    let parts = packed[0]["parts"].as_array().unwrap();
    assert!(packed[0]["bytes"].as_u64().unwrap() > 0 && parts.len() == 1);
    workshop.run("unpack packed --out moved").ok();
    // The same weights solve the same puzzles.
    let eval = |run: &str| {
        let line = format!("eval --checkpoint {run} --data data --weights raw --json");
        workshop.run(&line).ok().objects()[0].clone()
    };
    let (mut here, mut there) = (eval("run"), eval("moved"));
    for found in [&mut here, &mut there] {
        let fields = found.as_object_mut().unwrap();
        fields.retain(|key, _| key.contains("accuracy") || key == "exact" || key == "step");
        assert!(fields.len() > 2, "{fields:?}");
    }
    assert_eq!(here, there);
    let steps = here["step"].as_u64().unwrap() + 2;
    let went_on = workshop
        .run(&format!("train --resume moved --steps {steps}"))
        .ok();
    assert!(
        went_on.stderr.contains("compact checkpoint"),
        "{}",
        went_on.stderr
    );

    workshop
        .untouched(|| workshop.run("pack run --out moved"))
        .refused(&["moved is there already"]);
    workshop
        .untouched(|| workshop.run("pack data --out new"))
        .refused(&["data is no training run"]);
    workshop
        .untouched(|| workshop.run("unpack run --out new"))
        .refused(&["no parts"]);
    workshop
        .untouched(|| workshop.run("pack run --out new --part-mib 0"))
        .refused(&["--part-mib", "1..=65536"]);
}

#[test]
fn a_test_set_is_drawn_by_ratings() {
    let workshop = Workshop::with_data();
    workshop
        .run("data sudoku generate --size 4 --count 150 --clues 8 --seed 9 --out more.csv")
        .ok();
    let draw = "data sudoku draw --input more.csv --like puzzles.csv --seed 1";
    let drawn = workshop.run(&format!("{draw} --count 20 --out test.csv --json"));
    assert_eq!(drawn.ok().objects()[0]["count"], 20);
    let line = "data build sudoku --input puzzles.csv --test test.csv --out drawn --json";
    assert_eq!(workshop.run(line).ok().objects()[0]["test"], 20);
    workshop
        .untouched(|| workshop.run(&format!("{draw} --count 100000 --out new.csv")))
        .refused(&["candidates of rating 0", "more that are not the same"]);
    workshop
        .untouched(|| workshop.run(&format!("{draw} --count 3 --out test.csv")))
        .refused(&["test.csv is there already", "--force"]);
    workshop
        .untouched(|| {
            workshop.run("data sudoku draw --input gone.csv --like puzzles.csv --out new.csv")
        })
        .refused(&["gone.csv"]);
}
