//! Puzzles as people and files write them: one per line, grids over several lines, CSV. What is wrong with one puzzle is said
//! with its line, and the others go on.

use std::io::{self, BufRead};

use hrm::data::Quotes;
use hrm::prelude::*;

/// Longest line that is read; a longer one is a problem of that line alone.
const MAX_LINE: usize = 1 << 20;

/// Empty lines in a row that are kept: no maze has more open rows.
const MOST_EMPTY: usize = hrm::data::maze::MAX_SIDE;

/// A puzzle and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Line, counted from 1.
    pub(crate) line: u64,
    /// The tokens, or what is wrong.
    pub(crate) tokens: Result<Vec<u8>, String>,
}

/// A line without its end, counted from 1; `None` stands for one that is too long.
struct Line {
    number: u64,
    text: Option<String>,
}

/// Reads all puzzles. The first line tells a CSV file by its column `question`; else each line is a puzzle, or as many
/// lines as the grid has rows.
pub(crate) fn read(source: impl BufRead, task: Task, seq_len: usize) -> io::Result<Vec<Asked>> {
    let mut lines = lines(source)?;
    // Some programs mark UTF-8 so.
    if let Some(text) = lines.first_mut().and_then(|line| line.text.as_mut())
        && text.starts_with('\u{feff}')
    {
        text.remove(0);
    }
    let header = lines
        .first()
        .and_then(|line| line.text.as_deref())
        .map(fields);
    let column = header.and_then(|header| header.iter().position(|field| field == "question"));
    let is_header = |text: &str| text.contains([',', ';']) && text.contains(char::is_alphabetic);
    let first = lines.first().and_then(|line| line.text.as_deref());
    if let Some(header) = first.filter(|text| column.is_none() && is_header(text)) {
        let header: String = header.chars().take(80).collect();
        return Ok(vec![Asked {
            line: 1,
            tokens: Err(format!(
                "expected a puzzle, or the header of a CSV file with a column `question`, found `{header}`"
            )),
        }]);
    }
    Ok(match column {
        Some(column) => from_csv(&lines, column, task, seq_len),
        None => from_lines(lines, task, seq_len),
    })
}

/// One puzzle.
pub(crate) fn parse(text: &str, task: Task, seq_len: usize) -> Result<Vec<u8>, String> {
    task.parse(text, seq_len).map_err(|error| error.to_string())
}

/// The records below a header; a quoted field may hold line ends.
fn from_csv(lines: &[Line], column: usize, task: Task, seq_len: usize) -> Vec<Asked> {
    let (mut text, mut begins) = (String::new(), Vec::new());
    for line in lines {
        begins.push(text.len());
        // A line that is too long is a record, and no empty one, which would be passed over.
        text += line.text.as_deref().unwrap_or(" ");
        text.push('\n');
    }
    let mut record = csv::StringRecord::new();
    let mut puzzles = Vec::new();
    // Behind a quoted field without end each line is read for itself.
    let (mut from, mut one_by_one) = (0, false);
    while from < text.len() {
        let next = match one_by_one {
            true => begins.get(begins.partition_point(|&first| first <= from)),
            false => None,
        };
        let until = next.copied().unwrap_or(text.len());
        let mut reader = csv_reader(&text[from..until]);
        let first = std::mem::replace(&mut from, until);
        while let Ok(true) = reader.read_record(&mut record) {
            let begin = first + record.position().map_or(0, csv::Position::byte) as usize;
            // `csv` counts the empty lines before a record to it.
            let rest = text.get(begin..until).unwrap_or_default();
            let begin = begin + rest.len() - rest.trim_start_matches(['\r', '\n']).len();
            let Some(at) = begins
                .partition_point(|&first| first <= begin)
                .checked_sub(1)
            else {
                continue;
            };
            let end = first + reader.position().byte() as usize;
            let next_line = begins.get(at + 1).copied().unwrap_or(text.len());
            let has_end = end < until || !ends_in_quotes(&text[begin..until]);
            // The lines that quotes have swallowed are puzzles of their own; the header, by which the columns are known, is a line.
            let has_swallowed = end > next_line && (at == 0 || record.get(column).is_none());
            if let Some(line) = lines.get(at).filter(|_| at > 0) {
                let tokens = match (&line.text, record.get(column)) {
                    (None, _) => Err(too_long()),
                    _ if !has_end => {
                        Err("expected a quoted field to end, found the end of the file".to_owned())
                    }
                    (_, Some(question)) => parse(question, task, seq_len),
                    (_, None) => Err(format!(
                        "expected a field `question` in column {}, found none",
                        column + 1
                    )),
                };
                puzzles.push(Asked {
                    line: line.number,
                    tokens,
                });
            }
            one_by_one |= !has_end;
            if !has_end || has_swallowed {
                from = next_line;
                break;
            }
        }
    }
    puzzles
}

/// Whether a record, which ends with the text, has a quoted field that does not end.
fn ends_in_quotes(record: &str) -> bool {
    let mut quotes = Quotes::default();
    record.bytes().for_each(|byte| quotes.feed(byte));
    quotes.are_open()
}

fn csv_reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
}

fn from_lines(lines: Vec<Line>, task: Task, seq_len: usize) -> Vec<Asked> {
    let rows = match task {
        Task::Sudoku(size) => Some((size.side(), size.side())),
        Task::Maze { height, width } => Some((height, width)),
        Task::Arc | Task::Other => None,
    };
    let mut puzzles = Vec::new();
    // Rows of a grid that is not complete yet, and the line of the first.
    let mut grid: Vec<String> = Vec::new();
    let mut first = 0;
    let finish = |grid: &mut Vec<String>, line: u64, puzzles: &mut Vec<Asked>| {
        if !grid.is_empty() {
            let text = grid.join("\n");
            grid.clear();
            puzzles.push(Asked {
                line,
                tokens: parse(&text, task, seq_len),
            });
        }
    };
    let mut taken = 0;
    for (at, Line { number, text }) in lines.iter().enumerate() {
        let number = *number;
        if at < taken {
            continue;
        }
        let Some(text) = text else {
            finish(&mut grid, first, &mut puzzles);
            puzzles.push(Asked {
                line: number,
                tokens: Err(too_long()),
            });
            continue;
        };
        let is_sudoku = matches!(task, Task::Sudoku(_));
        let blank = match is_sudoku {
            true => text.trim().is_empty(),
            false => text.is_empty(),
        };
        if blank {
            finish(&mut grid, first, &mut puzzles);
            continue;
        }
        let count = match is_sudoku {
            true => text
                .chars()
                .filter(|c| !c.is_whitespace() && !matches!(c, '|' | '+' | '-'))
                .count(),
            false => text.chars().count(),
        };
        if is_sudoku && count == 0 {
            // A line between boxes.
            continue;
        }
        let is_row = rows.is_some_and(|(height, width)| {
            height > 1
                && count != seq_len
                && (if is_sudoku {
                    count == width
                } else {
                    count <= width
                })
        });
        if !is_row {
            finish(&mut grid, first, &mut puzzles);
            let tokens = match task {
                // Open cells at the end, cut off.
                Task::Maze { width, .. } if count < seq_len && seq_len - count < width => parse(
                    &(text.clone() + &" ".repeat(seq_len - count)),
                    task,
                    seq_len,
                ),
                _ => parse(text, task, seq_len),
            };
            puzzles.push(Asked {
                line: number,
                tokens,
            });
            continue;
        }
        if grid.is_empty() {
            if let Some(tokens) = with_open_rows(&lines[at..], task, seq_len) {
                let line = number;
                puzzles.push(Asked {
                    line,
                    tokens: Ok(tokens),
                });
                taken = at + rows.map_or(1, |(height, _)| height);
                continue;
            }
            first = number;
        }
        grid.push(text.clone());
        if rows.is_some_and(|(height, _)| grid.len() == height) {
            finish(&mut grid, first, &mut puzzles);
        }
    }
    finish(&mut grid, first, &mut puzzles);
    puzzles
}

/// The maze that begins the lines, where rows of nothing but open cells have lost their spaces: they are empty lines, which between
/// puzzles mean nothing. So the first row and the last must be others.
fn with_open_rows(lines: &[Line], task: Task, seq_len: usize) -> Option<Vec<u8>> {
    let Task::Maze { height, width } = task else {
        return None;
    };
    let rows = |from: usize| -> Option<Vec<&str>> {
        let lines = lines.get(from..from + height)?.iter();
        let rows: Vec<&str> = lines.map_while(|line| line.text.as_deref()).collect();
        let is_whole = rows.len() == height && rows.iter().all(|row| row.chars().count() <= width);
        (is_whole && !rows[0].is_empty() && !rows[height - 1].is_empty()).then_some(rows)
    };
    let whole = |rows: &[&str]| parse(&rows.join("\n"), task, seq_len).ok();
    let block = rows(0)?;
    let last_open = block.iter().rposition(|row| row.is_empty())?;
    let tokens = whole(&block)?;
    // Or one that was cut off, and the beginning of the next?
    let ends = lines
        .get(height)
        .is_none_or(|line| line.text.as_deref() == Some(""))
        || rows(height).is_some_and(|rows| whole(&rows).is_some());
    let next = rows(last_open + 1).filter(|rows| !rows.contains(&""));
    let is_cut_off = !ends && next.is_some_and(|rows| whole(&rows).is_some());
    (!is_cut_off).then_some(tokens)
}

/// The fields of a CSV line.
fn fields(line: &str) -> Vec<String> {
    let mut record = csv::StringRecord::new();
    match csv_reader(line).read_record(&mut record) {
        Ok(true) => record.iter().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// All lines; what is too long, and what is empty after many empty ones, is passed over without being kept.
fn lines(mut source: impl BufRead) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut too_long = false;
    let (mut number, mut empty) = (1, 0);
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if bytes.len() + part.len() > MAX_LINE {
            too_long = true;
            bytes.clear();
        } else if !too_long {
            bytes.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() {
            let line = finished(number, &mut bytes, &mut too_long);
            empty = match line.text.as_deref() {
                Some("") => empty + 1,
                _ => 0,
            };
            if empty <= MOST_EMPTY {
                lines.push(line);
            }
            number += 1;
        }
    }
    if too_long || !bytes.is_empty() {
        lines.push(finished(number, &mut bytes, &mut too_long));
    }
    Ok(lines)
}

fn finished(number: u64, bytes: &mut Vec<u8>, too_long: &mut bool) -> Line {
    let text = String::from_utf8_lossy(bytes)
        .trim_end_matches('\r')
        .to_owned();
    bytes.clear();
    Line {
        number,
        text: (!std::mem::take(too_long)).then_some(text),
    }
}

fn too_long() -> String {
    format!("expected at most {MAX_LINE} bytes in a line, found more")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Task = Task::Sudoku(SudokuSize::Four);

    fn all(text: &str, task: Task, seq_len: usize) -> Vec<(u64, Result<String, String>)> {
        let said = |asked: Asked| {
            let line = asked
                .tokens
                .map(|tokens| crate::grid::Drawing::new(task, seq_len).line(&tokens));
            (asked.line, line)
        };
        read(text.as_bytes(), task, seq_len)
            .unwrap()
            .into_iter()
            .map(said)
            .collect()
    }

    #[test]
    fn sudokus_come_in_lines_grids_and_csv() {
        let puzzle = "1.....3........2";
        assert_eq!(puzzle.len(), 16);
        let wanted = |line| (line, Ok(puzzle.to_owned()));
        assert_eq!(
            all(&format!("{puzzle}\n\n1... ..3. .... ...2\r\n"), FOUR, 16),
            [wanted(1), wanted(3)]
        );
        let grid = "1 . | . .\n. . | 3 .\n----+----\n. . | . .\n. . | . 2\n";
        assert_eq!(all(grid, FOUR, 16), [wanted(1)]);
        let csv = format!("source,question,answer,rating\n\"a,b\",{puzzle},x,3\n");
        assert_eq!(all(&csv, FOUR, 16), [wanted(2)]);
        // Quoted fields with line ends and quotes, and an empty line between.
        let csv = format!(
            "source,question,answer\r\n\"a\nb \"\"c\"\", d\",{puzzle},x\r\n\r\ne,\"1...\n..3.\n....\n...2\",{puzzle}\r\n"
        );
        assert_eq!(all(&csv, FOUR, 16), [wanted(2), wanted(5)]);
        let long = "x".repeat(MAX_LINE);
        let found = all(&format!("question,a\n{long}x,y\nz\n{puzzle},y\n"), FOUR, 16);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(&found[0], (2, Err(why)) if why.contains("1048576 bytes")));
        assert_eq!(found[1].0, 3);
        assert_eq!(found[2], wanted(4));
    }

    #[test]
    fn a_quoted_field_without_end_swallows_no_puzzle() {
        let puzzle = "1.....3........2";
        let wanted = |line| (line, Ok(puzzle.to_owned()));
        let bad = |found: &(u64, Result<String, String>), line, why: &str| {
            found.0 == line && found.1.as_ref().is_err_and(|found| found.contains(why))
        };
        let open = |found, line| bad(found, line, "a quoted field to end");
        // Behind the question, before it, in the last line, twice.
        let behind = format!("question,answer\n{puzzle},x\n{puzzle},\"x\n{puzzle},x\n12,x\n");
        let found = all(&behind, FOUR, 16);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!((&found[0], &found[2]), (&wanted(2), &wanted(4)));
        assert!(open(&found[1], 3), "{found:?}");
        assert!(
            matches!(&found[3], (5, Err(why)) if why.contains("found 2")),
            "{found:?}"
        );
        let before = format!("source,question\n\"x,{puzzle}\n\nx,{puzzle}\nx,\"{puzzle}");
        let found = all(&before, FOUR, 16);
        assert_eq!(found.len(), 3, "{found:?}");
        // The last quote ends the first.
        assert!(
            bad(&found[0], 2, "found none") && open(&found[2], 5),
            "{found:?}"
        );
        assert_eq!(found[1], wanted(4));
        // In the header.
        for header in ["question,\"answer", "question,\"answer\nx,\"y"] {
            let found = all(&format!("{header}\n{puzzle},x\n"), FOUR, 16);
            let last = found.last().map(|found| &found.1);
            assert_eq!(last, Some(&Ok(puzzle.to_owned())), "{found:?}");
        }
    }

    #[test]
    fn a_bad_puzzle_is_told_by_its_line_and_the_others_go_on() {
        let long = "1".repeat(MAX_LINE + 1);
        let found = all(
            &format!("1...\n1..1............\n12345\n{long}\n1.....3........2\n"),
            FOUR,
            16,
        );
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(found[0], (1, Err("expected 16 cells, found 4".to_owned())));
        assert!(matches!(&found[1], (2, Err(why)) if why.contains("two 1s in row 1")));
        assert!(matches!(&found[2], (3, Err(_))));
        assert!(matches!(&found[3], (4, Err(why)) if why.contains("1048576 bytes")));
        assert!(matches!(&found[4], (5, Ok(_))));
    }

    #[test]
    fn mazes_keep_their_spaces() {
        let task = Task::Maze {
            height: 2,
            width: 3,
        };
        assert_eq!(all("S  # G\n", task, 6), [(1, Ok("S  # G".to_owned()))]);
        // The space at the end of the first row was cut off.
        assert_eq!(
            all("S\n# G\n\nS G\n\n", task, 6)[0],
            (1, Ok("S  # G".to_owned()))
        );
        // In one line, too; but not a whole row.
        assert_eq!(all("SG  #\n", task, 6), [(1, Ok("SG  # ".to_owned()))]);
        assert!(matches!(&all("S G\n", task, 6)[0], (1, Err(_))));
        assert!(
            all("S X# G\n", task, 6)[0]
                .1
                .as_ref()
                .unwrap_err()
                .contains("'X'")
        );
    }

    #[test]
    fn an_open_row_of_a_maze_may_be_an_empty_line() {
        let task = Task::Maze {
            height: 4,
            width: 3,
        };
        let whole = "S #      G #";
        let text = "S #\n\n\nG #\n";
        let wanted = |line| (line, Ok(whole.to_owned()));
        assert_eq!(all(text, task, 12), [wanted(1)]);
        assert_eq!(
            all(&format!("{text}\n{text}{whole}\n\n{text}"), task, 12),
            [wanted(1), wanted(6), wanted(10), wanted(12)]
        );
        // One that is not whole is not filled up with the next.
        let found = all(&format!("S #\n\nG #\n\n{text}"), task, 12);
        assert_eq!(found.last(), Some(&wanted(5)), "{found:?}");
        assert!(found[0].1.is_err());
        let cut_off = "S #\nG #\n\n###\nS  \n  G\n###\n";
        let found = all(cut_off, task, 12);
        assert!(matches!(found[..], [(1, Err(_)), (4, Ok(_))]), "{found:?}");
        // Empty lines may as well stand before or after a maze.
        assert!(all("S #\n#G \n###\n\n", task, 12)[0].1.is_err());
    }
}
