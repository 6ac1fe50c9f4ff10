//! What holds for every maze, and readers that see damaged files.

use std::path::Path;

use hrm_data::dihedral::Dihedral;
use hrm_data::maze::{
    self, Maze, MazeAugmentation, MazeAugmenter, MazePuzzle, OPEN, PATH, Verdict, read_csv_from,
    write_csv_to,
};
use proptest::prelude::*;

/// A maze of up to 12 rows and columns whose goal may be out of reach.
fn mazes() -> impl Strategy<Value = Maze> {
    (1usize..=12, 2usize..=12).prop_flat_map(|(height, width)| {
        let cells = height * width;
        let walls = proptest::collection::vec(proptest::bool::weighted(0.35), cells);
        (walls, 0..cells, 1..cells).prop_map(move |(walls, start, step)| {
            let mut tokens: Vec<u8> = walls.iter().map(|&w| if w { 1 } else { 2 }).collect();
            tokens[start] = maze::START;
            tokens[(start + step) % cells] = maze::GOAL;
            Maze::from_tokens(tokens, height, width).unwrap()
        })
    })
}

/// The length of a shortest path by relaxing all cells until nothing changes.
fn shortest(maze: &Maze) -> Option<usize> {
    let (height, width) = (maze.height(), maze.width());
    let mut length = vec![usize::MAX; height * width];
    length[maze.start()] = 1;
    for _ in 0..height * width {
        for cell in 0..height * width {
            if maze.cells()[cell] == maze::WALL {
                continue;
            }
            let (row, column) = (cell / width, cell % width);
            let mut around = Vec::new();
            if row > 0 {
                around.push(cell - width);
            }
            if row + 1 < height {
                around.push(cell + width);
            }
            if column > 0 {
                around.push(cell - 1);
            }
            if column + 1 < width {
                around.push(cell + 1);
            }
            for next in around {
                length[cell] = length[cell].min(length[next].saturating_add(1));
            }
        }
    }
    Some(length[maze.goal()]).filter(|&length| length != usize::MAX)
}

proptest! {
    #[test]
    fn the_label_is_a_shortest_path(maze in mazes()) {
        prop_assert_eq!(maze.path_cells(), shortest(&maze));
        if let Some(label) = maze.label() {
            prop_assert_eq!(maze.verify(&label), Verdict::Exact);
            let marked = label.iter().filter(|&&token| token == PATH).count();
            prop_assert_eq!(Some(marked + 2), shortest(&maze));
        }
    }

    #[test]
    fn a_turned_label_is_optimal_and_an_altered_one_is_no_path(
        maze in mazes(), symmetry in 0u8..8, at: proptest::sample::Index,
    ) {
        let symmetry = Dihedral::from_id(symmetry).unwrap();
        let Ok(puzzle) = MazePuzzle::solve(maze) else { return Ok(()) };
        let (maze, label) = (puzzle.maze(), puzzle.answer());
        let turned = symmetry.apply(label, maze.height(), maze.width());
        prop_assert!(maze.transform(symmetry).verify(&turned).is_optimal());
        // A cell more or less on a shortest path leaves a gap or a spur.
        let mut altered = label.to_vec();
        let cell = at.index(altered.len());
        altered[cell] = match altered[cell] {
            OPEN => PATH,
            PATH => OPEN,
            _ => return Ok(()),
        };
        prop_assert!(!maze.verify(&altered).is_valid(), "{}", maze);
    }

    #[test]
    fn augmented_twice_with_the_inverse_is_the_original(maze in mazes(), symmetry in 0u8..8) {
        let symmetry = Dihedral::from_id(symmetry).unwrap();
        let Ok(puzzle) = MazePuzzle::solve(maze) else { return Ok(()) };
        let (height, width) = (puzzle.maze().height(), puzzle.maze().width());
        let example = (puzzle.maze().cells(), puzzle.answer());
        let cells = height * width;
        for augmentation in [MazeAugmentation::Relabel, MazeAugmentation::FlipLabel] {
            let (mut inputs, mut labels) = (vec![0; cells], vec![0; cells]);
            MazeAugmenter::new(height, width, augmentation)
                .apply(symmetry, example, &mut inputs, &mut labels);
            let (height, width) = symmetry.shape(height, width);
            let (mut back_inputs, mut back_labels) = (vec![0; cells], vec![0; cells]);
            MazeAugmenter::new(height, width, augmentation).apply(
                symmetry.inverse(),
                (&inputs, &labels),
                &mut back_inputs,
                &mut back_labels,
            );
            prop_assert_eq!((&*back_inputs, &*back_labels), example);
        }
    }

    #[test]
    fn text_comes_back_as_it_was(maze in mazes()) {
        let (height, width) = (maze.height(), maze.width());
        prop_assert_eq!(&Maze::parse(&maze.to_text(), height, width).unwrap(), &maze);
        prop_assert_eq!(&Maze::parse_rows(&maze.to_string()).unwrap(), &maze);
    }

    #[test]
    fn a_damaged_file_is_an_error_or_still_mazes(
        maze in mazes(), damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let Ok(puzzle) = MazePuzzle::solve(maze) else { return Ok(()) };
        let mut bytes = Vec::new();
        write_csv_to(&mut bytes, Path::new("m.csv"), "x", std::slice::from_ref(&puzzle)).unwrap();
        let shape = (puzzle.maze().height(), puzzle.maze().width());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = read_csv_from(&bytes[..], Path::new("m.csv"), Some(shape)) {
            for puzzle in read {
                prop_assert!(puzzle.maze().verify(puzzle.answer()).is_valid());
            }
        }
    }

    #[test]
    fn any_answer_gets_a_verdict(maze in mazes(), answer in proptest::collection::vec(0u8..7, 0..150)) {
        let _ = maze.verify(&answer).to_string();
        let open: Vec<u8> = maze
            .cells()
            .iter()
            .zip(answer.iter().cycle().chain(std::iter::repeat(&0)))
            .map(|(&cell, &draw)| if cell == OPEN && draw % 2 == 0 { PATH } else { cell })
            .collect();
        let _ = maze.verify(&open).to_string();
    }
}
