//! Pictures, pixel by pixel where it matters.
#![cfg(feature = "draw")]

use hrm::draw::{Chart, DrawError, Look, Panels, Picture, Series};

const PAPER: [u8; 3] = [255; 3];
const BLUE: [u8; 3] = [0, 114, 178];
const ORANGE: [u8; 3] = [213, 94, 0];

fn count(picture: &Picture, colour: [u8; 3]) -> usize {
    let columns = 0..picture.width();
    let pixels = columns.flat_map(|x| (0..picture.height()).map(move |y| (x, y)));
    pixels
        .filter(|&(x, y)| picture.pixel(x, y) == Some(colour))
        .count()
}

fn look(picture: &Picture, name: &str) {
    // Set it to look at the pictures that the tests make.
    if let Ok(folder) = std::env::var("HRM_LOOK_DIR") {
        picture
            .save_png(std::path::Path::new(&folder).join(name))
            .unwrap();
    }
}

fn curve() -> Chart {
    Chart {
        title: "Accuracy against segments".into(),
        x_label: "segments".into(),
        y_label: "exact accuracy".into(),
        log_x: true,
        y_covers: Some((0.0, 1.0)),
        series: vec![
            Series::new(
                "trm-small-mlp",
                vec![
                    (1.0, 0.31),
                    (2.0, 0.64),
                    (4.0, 0.83),
                    (8.0, 0.86),
                    (16.0, 0.87),
                ],
            ),
            Series::new(
                "hrm-small",
                vec![
                    (1.0, 0.2),
                    (2.0, 0.35),
                    (4.0, 0.5),
                    (8.0, 0.61),
                    (16.0, 0.66),
                ],
            ),
        ],
        ..Chart::default()
    }
}

#[test]
fn a_chart_has_its_size_its_paper_and_its_curves() {
    let picture = curve().render().unwrap();
    look(&picture, "chart.png");
    assert_eq!((picture.width(), picture.height()), (960, 600));
    assert_eq!(picture.pixel(1, 1), Some(PAPER));
    assert_eq!(picture.pixel(960, 0), None);
    let (blue, orange) = (count(&picture, BLUE), count(&picture, ORANGE));
    assert!(blue > 1000 && orange > 1000, "{blue} {orange}");
    // The higher curve ends higher.
    let top = |colour| {
        let at = (0..600).find(|&y| (860..940).any(|x| picture.pixel(x, y) == Some(colour)));
        at.unwrap()
    };
    assert!(
        top(BLUE) + 50 < top(ORANGE),
        "{} {}",
        top(BLUE),
        top(ORANGE)
    );
}

#[test]
fn charts_take_any_values() {
    let series = |points: &[(f64, f64)]| Series::new("run", points.to_vec());
    let bad = [
        series(&[]),
        series(&[(f64::NAN, 1.0), (1.0, f64::INFINITY)]),
        series(&[(0.0, 0.0), (-1.0, 1.0)]),
        series(&[(1.0, 5.0), (1.0, 5.0)]),
        series(&[(f64::MAX, f64::MIN), (f64::MIN_POSITIVE, 1e300)]),
    ];
    for series in bad {
        for log in [false, true] {
            let chart = Chart {
                log_x: log,
                log_y: log,
                series: vec![series.clone()],
                ..Chart::default()
            };
            let picture = chart.render().unwrap();
            assert_eq!(picture.pixel(1, 1), Some(PAPER), "{series:?}");
        }
    }
    let none = Chart::default().render().unwrap();
    look(&none, "no-values.png");
    assert!(count(&none, PAPER) < 960 * 600, "the axes are there");
}

#[test]
fn a_value_that_is_not_finite_leaves_a_gap() {
    let chart = |hole: f64| Chart {
        series: vec![Series::new(
            "",
            (0..100)
                .map(|x| (f64::from(x), if (40..60).contains(&x) { hole } else { 1.0 }))
                .collect(),
        )],
        ..Chart::default()
    };
    let (whole, gap) = (
        chart(1.0).render().unwrap(),
        chart(f64::NAN).render().unwrap(),
    );
    look(&gap, "gap.png");
    let part = count(&gap, BLUE) as f64 / count(&whole, BLUE) as f64;
    assert!((0.75..0.85).contains(&part), "{part}");
}

#[test]
fn panels_share_a_legend_and_the_colours() {
    let wave = |phase: f64| -> Vec<(f64, f64)> {
        (0..400)
            .map(|x| {
                let x = f64::from(x);
                (
                    x * 100.0,
                    2.0 * (-x / 150.0).exp() + 0.15 * (x * 1.7 + phase).sin(),
                )
            })
            .collect()
    };
    let loss = Chart {
        title: "loss".into(),
        x_label: "step".into(),
        log_y: true,
        series: vec![
            Series::new("runs/a", wave(0.0)).with_look(Look::Faint),
            Series::new("runs/a", wave(0.0).into_iter().step_by(20).collect()),
            Series::new("runs/b", wave(2.0).into_iter().step_by(8).collect())
                .with_look(Look::Dashed),
        ],
        ..Chart::default()
    };
    let only_b = Chart {
        title: "q accuracy".into(),
        x_label: "step".into(),
        series: vec![
            Series::new("runs/b", vec![(0.0, 0.5), (20_000.0, 0.9)]).with_look(Look::Points),
        ],
        ..Chart::default()
    };
    let picture = Panels {
        title: "Two runs".into(),
        columns: 2,
        charts: vec![loss.clone(), only_b, loss],
    };
    let picture = picture.render().unwrap();
    look(&picture, "panels.png");
    assert_eq!(picture.width(), 1440);
    assert!((880..1000).contains(&picture.height()));
    let right = (720..1440)
        .flat_map(|x| (60..500).map(move |y| (x, y)))
        .filter_map(|(x, y)| picture.pixel(x, y));
    let colours: Vec<[u8; 3]> = right.collect();
    assert!(colours.contains(&ORANGE) && !colours.contains(&BLUE));
    assert!(matches!(
        Panels::default().render(),
        Err(DrawError::Empty { .. })
    ));
}

#[test]
fn long_names_are_cut_and_many_are_left_out() {
    let chart = Chart {
        title: format!("{}end", "long title ".repeat(300)),
        series: (0..200)
            .map(|n| {
                let name = format!(
                    "/home/somebody/experiments/2026/{}/run\n{n}",
                    "deep/".repeat(40)
                );
                Series::new(name, vec![(0.0, f64::from(n)), (1.0, 1.0)])
            })
            .collect(),
        ..Chart::default()
    };
    let picture = chart.render().unwrap();
    look(&picture, "long.png");
    assert_eq!(picture.pixel(950, 30), Some(PAPER));
}

#[test]
fn pictures_are_written_whole_or_an_error_names_the_file() {
    let folder = std::env::temp_dir().join(format!("hrm-draw-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("curve.png");
    curve().save_png(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let entries = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(entries, 1, "no temporary file is left");
    let error = curve().save_png(folder.join("no/such.png")).unwrap_err();
    assert!(error.to_string().contains("such.png"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
