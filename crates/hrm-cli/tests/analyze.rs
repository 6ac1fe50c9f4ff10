//! Looking at the states of a model.

mod program;

use std::fs;

use program::Workshop;
use serde_json::Value;

fn analysis(workshop: &Workshop, out: &str) -> Value {
    let text = fs::read_to_string(workshop.path(out).join("analysis.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap_or_else(|| panic!("{value}"));
    values.iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn states_are_looked_at_update_by_update() {
    let workshop = Workshop::with_run();
    let said = workshop
        .run("analyze run --data data --limit 5 --segments 3 --cell r2c3 --out seen --json")
        .ok()
        .objects();
    assert_eq!(
        (&said[0]["type"], &said[0]["puzzles"]),
        (&"analysis".into(), &5.into())
    );
    #[cfg(feature = "draw")]
    for name in ["residuals", "participation", "trajectories", "attention"] {
        let png = fs::read(workshop.path(&format!("seen/{name}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{name}");
    }
    let found = analysis(&workshop, "seen");
    let updates = |state: &str| found["updates"][state].as_u64().unwrap() as usize;
    for state in ["z_h", "z_l"] {
        let residuals = numbers(&found["residuals"][state]);
        assert_eq!(residuals.len(), 3 * updates(state));
        assert!(residuals.iter().all(|&x| x.is_finite() && x > 0.0));
        let ratios = numbers(&found["participation_ratio"][state]);
        assert_eq!(ratios.len(), 3);
        // The tiny model's states are 16 wide.
        assert!(
            ratios.iter().all(|&x| (1.0..=16.0).contains(&x)),
            "{ratios:?}"
        );
        let ways = found["trajectories"].as_array().unwrap();
        assert_eq!(ways.len(), 4);
        for way in ways {
            let points = way[state]["points"].as_array().unwrap();
            assert_eq!(points.len(), 1 + 3 * updates(state));
            assert!(points.iter().all(|point| numbers(point).len() == 3));
        }
    }
    let attention = &found["attention"];
    assert_eq!(attention["cell"], 6);
    let positions = attention["puzzle_positions"].as_u64().unwrap() as usize + 16;
    let maps = attention["maps"].as_array().unwrap();
    let names: Vec<String> = (maps.iter())
        .map(|map| format!("{} {}", map["network"].as_str().unwrap(), map["block"]))
        .collect();
    assert_eq!(names, ["slow 1", "slow 2", "fast 1", "fast 2"]);
    for map in maps {
        let shares = map["shares"].as_array().unwrap();
        assert_eq!(shares.len(), 5);
        for heads in shares.iter().map(|puzzle| puzzle.as_array().unwrap()) {
            assert_eq!(heads.len(), 2);
            for shares in heads {
                let shares = numbers(shares);
                assert_eq!(shares.len(), positions);
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-4);
            }
        }
    }

    workshop
        .run("analyze run --data data --limit 2 --cell r2c3 --network fast --block 1 --out fast")
        .ok();
    let maps = &analysis(&workshop, "fast")["attention"]["maps"];
    assert_eq!(maps.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&maps[0]["network"], &maps[0]["block"]),
        (&"fast".into(), &1.into())
    );

    let ran = workshop
        .run("analyze run --data 1.....3........2 --out one")
        .ok();
    assert!(ran.stdout.contains("participation ratio"), "{}", ran.stdout);
    let found = analysis(&workshop, "one");
    assert_eq!(
        (&found["puzzles"], &found["segments"]),
        (&1.into(), &6.into())
    );
    assert_eq!(found["attention"], Value::Null);
}

#[test]
fn a_model_without_attention_has_all_but_that() {
    let workshop = Workshop::with_data();
    workshop
        .train("mlp", "--set model.mixer=mlp --set model.position=none")
        .ok();
    let ran = workshop
        .run("analyze mlp --data data --limit 2 --out seen")
        .ok();
    assert!(ran.stderr.contains("no attention"), "{}", ran.stderr);
    assert_eq!(analysis(&workshop, "seen")["puzzles"], 2);
    workshop
        .untouched(|| workshop.run("analyze mlp --data data --cell r1c1 --out other"))
        .refused(&["--cell", "MLP"]);
}

#[test]
fn what_cannot_be_looked_at() {
    let workshop = Workshop::with_run();
    for (more, said) in [
        (
            "--data data --cell r5c1",
            "4 rows and 4 columns, found r5c1",
        ),
        ("--data data --cell r1c5", "found r1c5"),
        ("--data data --cell x", "r3c5"),
        (
            "--data data --cell r1c1 --block 9",
            "--block: expected 1 to",
        ),
        ("--data nowhere", "no data folder of that name"),
        ("--data data --split dev", "dev"),
        ("--data 1.....3........2 --puzzle-id 7", "below 1"),
        ("--data data --segments 0", "--segments"),
    ] {
        let line = format!("analyze run {more} --out seen");
        workshop.untouched(|| workshop.run(&line)).refused(&[said]);
    }
    workshop
        .untouched(|| workshop.run("analyze run --data data --out data"))
        .refused(&["there already", "--force"]);
}
