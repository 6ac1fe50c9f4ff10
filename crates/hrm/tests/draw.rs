//! Pictures, pixel by pixel where it matters.
#![cfg(feature = "draw")]

use std::time::Duration;

use hrm::data::sudoku::{Board, SudokuSize};
use hrm::data::{Task, arc, maze};
use hrm::draw::{
    Animation, Chart, DrawError, Look, Panels, Picture, Series, Sheet, Thinking, Tile,
};
use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;

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
fn bars_reach_from_end_to_end() {
    let rows = |bars: &[(f64, f64, f64)]| {
        let points = vec![(0.0, 0.5), (1.0, 0.5), (2.0, 0.5)];
        let chart = Chart {
            y_covers: Some((0.0, 1.0)),
            series: vec![Series::new("", points).with_bars(bars.to_vec())],
            ..Chart::default()
        };
        let picture = chart.render().unwrap();
        let blue = |&y: &u32| {
            let bluish =
                |x| (picture.pixel(x, y)).is_some_and(|[r, _, b]| b > r.saturating_add(60));
            (0..picture.width()).any(bluish)
        };
        (0..picture.height()).filter(blue).count()
    };
    // A point's disc is 8 pixels high; the axis takes more than 500 of the 600.
    let (none, bar) = (rows(&[]), rows(&[(1.0, 0.25, 0.75)]));
    assert!(none < 20 && (240..320).contains(&bar), "{none} {bar}");
    // An end that is beyond the points and what the axis covers is on the axis.
    let far = rows(&[(1.0, 0.5, 3.0)]);
    assert!((380..520).contains(&far), "{far}");
    assert_eq!(
        rows(&[(f64::NAN, 0.0, 1.0), (1.0, 0.0, f64::INFINITY)]),
        none
    );
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
        series: (0..30)
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

const FOUND: [u8; 3] = [9, 105, 218];
const INK: [u8; 3] = [31, 35, 40];
const WRONG: [u8; 3] = [255, 215, 213];
const WRONG_INK: [u8; 3] = [207, 34, 46];
const CHANGED: [u8; 3] = [255, 235, 150];
const WALL: [u8; 3] = [50, 58, 70];

/// Pixels near a colour in a box.
fn count_in(picture: &Picture, colour: [u8; 3], (x, y): (u32, u32), side: u32) -> usize {
    let columns = x..x + side;
    let pixels = columns.flat_map(|x| (y..y + side).map(move |y| (x, y)));
    // The thin strokes of digits seldom fill a pixel.
    let near = |pixel: [u8; 3]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 30);
    pixels
        .filter(|&(x, y)| picture.pixel(x, y).is_some_and(near))
        .count()
}

fn sudoku() -> (Task, Vec<u8>, Vec<u8>) {
    let tokens = |text: &str| Board::parse(text).unwrap().tokens();
    (
        Task::Sudoku(SudokuSize::Four),
        tokens("1... ..3. .... ...2"),
        tokens("1324 4231 2143 3412"),
    )
}

/// Corner of a cell of the first tile: margin, caption if any, frame.
fn cell(row: u32, column: u32, side: u32) -> (u32, u32) {
    (20 + 2 + column * side, 20 + 2 + row * side)
}

#[test]
fn a_sudoku_has_given_found_wrong_and_changed_cells() {
    let (task, question, mut answer) = sudoku();
    let truth = answer.clone();
    answer[5] = 5;
    let before = question.clone();
    let tile = Tile::answer(task, &question, &answer).with_truth(&truth);
    let picture = Sheet::flow("", vec![tile.clone()], 0).render().unwrap();
    look(&picture, "sudoku-4.png");
    // Cells of 40 pixels, a frame of 2, a margin of 20.
    assert_eq!((picture.width(), picture.height()), (204, 204));
    let at = |row, column| cell(row, column, 40);
    assert!(count_in(&picture, INK, at(0, 0), 34) > 20, "given");
    assert_eq!(count_in(&picture, FOUND, at(0, 0), 34), 0);
    assert!(count_in(&picture, FOUND, at(0, 2), 34) > 20, "found");
    assert!(count_in(&picture, WRONG, at(1, 1), 34) > 700, "wrong");
    assert!(count_in(&picture, WRONG_INK, at(1, 1), 34) > 20);
    assert!(count_in(&picture, WRONG, at(2, 0), 80) < 10, "right");
    let changed = Sheet::flow("", vec![tile.with_before(&before)], 0)
        .render()
        .unwrap();
    assert!(count_in(&changed, CHANGED, at(0, 2), 34) > 700, "new");
    assert_eq!(
        count_in(&changed, CHANGED, at(0, 0), 34),
        0,
        "given is not new"
    );
    // A contradicted given is wrong without the truth too.
    let mut answer = question.clone();
    answer[0] = 4;
    let tile = Tile::answer(task, &question, &answer);
    let picture = Sheet::flow("", vec![tile], 0).render().unwrap();
    assert!(count_in(&picture, WRONG, at(0, 0), 34) > 700);
}

#[test]
fn a_maze_has_walls_a_way_and_its_mistakes() {
    let maze = maze::Maze::parse_rows("S #\n  #\n  G").unwrap();
    let task = Task::Maze {
        height: 3,
        width: 3,
    };
    let truth = maze.label().unwrap();
    let draw = |answer: &[u8]| {
        let tile = Tile::answer(task, maze.cells(), answer).with_truth(&truth);
        Sheet::flow("", vec![tile], 0).render().unwrap()
    };
    let right = draw(&truth);
    look(&right, "maze-3.png");
    assert!(count_in(&right, WALL, cell(0, 2, 40), 40) > 1500);
    assert!(
        count_in(&right, [84, 174, 255], cell(1, 0, 40), 40) > 1500,
        "the way"
    );
    assert!(
        count_in(&right, [26, 127, 55], cell(0, 0, 40), 39) > 1000,
        "the start"
    );
    assert!(
        count_in(&right, WRONG_INK, cell(2, 2, 40), 39) > 1000,
        "the goal"
    );
    assert_eq!(count(&right, WRONG), 0);
    let mut answer = truth.clone();
    answer[3] = maze::OPEN;
    answer[1] = maze::PATH;
    let wrong = draw(&answer);
    look(&wrong, "maze-3-wrong.png");
    assert!(count_in(&wrong, WRONG, cell(1, 0, 40), 39) > 900, "missing");
    assert!(
        count_in(&wrong, WRONG_INK, cell(0, 1, 40), 39) > 1200,
        "too much"
    );
}

#[test]
fn an_arc_grid_has_the_ten_colours_and_neither_padding_nor_marks() {
    let grid = arc::Grid::from_rows(&[[0u8, 1, 2, 3, 4], [5, 6, 7, 8, 9]]).unwrap();
    let colours: [[u8; 3]; 10] = [
        [0, 0, 0],
        [0, 0x74, 0xD9],
        [0xFF, 0x41, 0x36],
        [0x2E, 0xCC, 0x40],
        [0xFF, 0xDC, 0],
        [0xAA; 3],
        [0xF0, 0x12, 0xBE],
        [0xFF, 0x85, 0x1B],
        [0x7F, 0xDB, 0xFF],
        [0x87, 0x0C, 0x25],
    ];
    let picture = Sheet::flow("", vec![Tile::arc(&grid)], 0).render().unwrap();
    look(&picture, "arc.png");
    assert_eq!(
        (picture.width(), picture.height()),
        (5 * 40 + 44, 2 * 40 + 44)
    );
    for (place, colour) in (0u32..).zip(colours) {
        let (x, y) = cell(place / 5, place % 5, 40);
        assert_eq!(picture.pixel(x + 20, y + 20), Some(colour), "{place}");
    }
    // The same grid moved over the canvas, as training does it, looks the same.
    let mut moved = vec![arc::PAD; arc::CELLS];
    arc::draw(&grid, (7, 11), arc::PAD, &mut moved);
    let moved = Sheet::flow("", vec![Tile::question(Task::Arc, &moved)], 0);
    assert_eq!(moved.render().unwrap(), picture);
    // Another colour is crossed, another shape framed in red.
    let mut truth = vec![arc::PAD; arc::CELLS];
    arc::draw(&grid, (0, 0), arc::PAD, &mut truth);
    let mut answer = truth.clone();
    answer[2] = arc::COLOUR + 3;
    let draw = |answer: &[u8]| {
        let tile = Tile::answer(Task::Arc, &truth, answer).with_truth(&truth);
        Sheet::flow("", vec![tile], 0).render().unwrap()
    };
    let crossed = draw(&answer);
    look(&crossed, "arc-wrong.png");
    assert!(count_in(&crossed, WRONG_INK, cell(0, 2, 40), 40) > 40);
    assert_eq!(count_in(&crossed, WRONG_INK, cell(1, 2, 40), 40), 0);
    answer[60] = arc::COLOUR;
    answer[61..65].fill(arc::COLOUR);
    let longer = draw(&answer);
    assert_eq!(longer.height(), 3 * 40 + 44);
    assert_eq!(longer.pixel(20, 30), Some(WRONG_INK));
}

#[test]
fn sheets_take_any_tokens() {
    let tasks = [
        Task::Sudoku(SudokuSize::Nine),
        Task::Maze {
            height: 9,
            width: 9,
        },
        Task::Arc,
        Task::Other,
    ];
    for task in tasks {
        for len in [0, 1, 81, 900] {
            for fill in [0, 1, 2, 13, 200, 255] {
                let tokens = vec![fill; len];
                let tile = Tile::answer(task, &tokens[..len / 2], &tokens)
                    .with_truth(&tokens[..len / 3])
                    .with_before(&[1])
                    .with_caption("any\u{7}\n tokens");
                let sheet = Sheet::flow("", vec![tile], 0);
                assert!(sheet.render().is_ok(), "{task:?} {len} {fill}");
            }
        }
    }
    assert!(matches!(
        Sheet::default().render(),
        Err(DrawError::Empty { .. })
    ));
    let (task, question, _) = sudoku();
    let error = Sheet::flow("", vec![Tile::question(task, &question); 2000], 1).render();
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("2000 grids") && error.contains("16000"),
        "{error}"
    );
}

#[test]
fn sheets_are_laid_out_in_rows() {
    let (task, question, answer) = sudoku();
    let tile = Tile::answer(task, &question, &answer).with_caption("a caption");
    let sheet = Sheet::flow("Twelve Sudokus", vec![tile; 12], 4).with_note("a note");
    assert_eq!(sheet.rows.len(), 3);
    let picture = sheet.render().unwrap();
    look(&picture, "sheet.png");
    assert_eq!(picture.width(), 40 + 4 * 164 + 3 * 20);
    assert_eq!(picture.height(), 40 + 38 + 3 * (164 + 24) + 2 * 20 + 28);
    assert_eq!(Sheet::flow("", vec![], 0).rows.len(), 0);
}

fn thinking() -> Thinking {
    let (task, question, answer) = sudoku();
    let mut first = answer.clone();
    first[5] = 5;
    first[6] = 3;
    let mut second = answer.clone();
    second[6] = 3;
    Thinking {
        title: "Sudoku".into(),
        task,
        question,
        trace: vec![first, second, answer.clone(), answer.clone()],
        q_halt: vec![-3.0, -0.5, 2.25, 4.0],
        truth: Some(answer),
    }
}

#[test]
fn the_thinking_becomes_a_sheet() {
    let sheet = thinking().sheet();
    assert_eq!(sheet.rows.iter().map(Vec::len).sum::<usize>(), 5);
    look(&sheet.render().unwrap(), "thinking.png");
}

#[test]
fn the_thinking_becomes_an_animation() {
    let animation = thinking().animation(Duration::from_millis(700)).unwrap();
    let gif = animation.gif().unwrap();
    if let Ok(folder) = std::env::var("HRM_LOOK_DIR") {
        std::fs::write(std::path::Path::new(&folder).join("thinking.gif"), &gif).unwrap();
        look(&animation.frames[1].0, "frame-1.png");
    }
    let decoder = GifDecoder::new(std::io::Cursor::new(&gif)).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), 5, "the question and four segments");
    let delays: Vec<u128> = (frames.iter())
        .map(|frame| Duration::from(frame.delay()).as_millis())
        .collect();
    assert_eq!(delays, [2100, 700, 700, 700, 2100]);
    // Yellow where a cell is new, in the first segment and no more in the last.
    let yellow = |frame: &image::Frame| {
        let near = |pixel: &&image::Rgba<u8>| {
            (0..3).all(|part| pixel.0[part].abs_diff(CHANGED[part]) < 12)
        };
        frame.buffer().pixels().filter(near).count()
    };
    assert!(yellow(&frames[1]) > 5000, "{}", yellow(&frames[1]));
    assert!(yellow(&frames[2]) > 500 && yellow(&frames[2]) < 2000);
    assert_eq!(yellow(&frames[4]), 0);
    let sizes = || frames.iter().map(|frame| frame.buffer().dimensions());
    assert!(sizes().all(|size| size == frames[0].buffer().dimensions()));
    assert!(matches!(
        Animation::default().gif(),
        Err(DrawError::Empty { .. })
    ));
}
