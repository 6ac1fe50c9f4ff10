//! Mazes with the statistics of the published ones.
//!
//! Every cell is a wall with its maze's own probability, start and goal lie anywhere, and only pairs with a long
//! shortest path are kept. Such pairs are rare (about 2 in 100,000 at 30x30 and 110 cells), so instead of
//! drawing pairs all long ones of a grid are counted, and the grid is kept with a probability in proportion to
//! their share: one pair of every grid that has some would favour short paths. Grids whose paths cannot be long
//! enough are told by a few searches. In large grids the pairs are counted from some starts drawn at random, which
//! changes nothing of how likely a maze is: a grid is kept as often on average, and each pair of it is as likely.

use std::ops::RangeInclusive;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::grid::{GOAL, Maze, MazePuzzle, OPEN, START, WALL, check_sides};
use super::search::Search;
use crate::DataError;

/// Grids with a long pair that set the scale of acceptance.
const PILOT_HITS: usize = 64;
/// Cells the pilot may draw before it gives up.
const PILOT_CELLS: usize = 60_000_000;
/// Seed of the pilot: the scale belongs to the recipe, not to a run.
const PILOT_SEED: u64 = 0x006d_617a_6573;

/// Cells that the searches for long pairs in one grid may visit, which lets grids of 32x32 be searched from every cell.
const SEARCHED_CELLS: usize = 1 << 20;
/// Starts from which even the largest grid is searched.
const FEWEST_STARTS: usize = 64;

/// What mazes to make.
#[derive(Clone, Debug, PartialEq)]
pub struct MazeRecipe {
    /// Rows, 1 to 255.
    pub height: usize,
    /// Columns, 1 to 255.
    pub width: usize,
    /// Fewest cells on the shortest path, start and goal counted; at least 2.
    pub min_path_cells: usize,
    /// The range from which a maze's probability of a wall is drawn.
    pub wall_probability: RangeInclusive<f64>,
}

impl MazeRecipe {
    /// The published recipe: 30x30, at least 110 cells on the path, walls with a probability of 0.3 to 0.5.
    pub fn hard() -> Self {
        Self::new(30, 30, 110)
    }

    /// Small mazes that a small model learns in minutes: 10x10, at least 18 cells on the path.
    pub fn small() -> Self {
        Self::new(10, 10, 18)
    }

    /// A size and a shortest path, walls with a probability of 0.3 to 0.5.
    pub fn new(height: usize, width: usize, min_path_cells: usize) -> Self {
        Self {
            height,
            width,
            min_path_cells,
            wall_probability: 0.3..=0.5,
        }
    }

    fn validate(&self) -> Result<(), DataError> {
        check_sides(self.height, self.width)?;
        let (low, high) = (*self.wall_probability.start(), *self.wall_probability.end());
        if !(0.0 <= low && low <= high && high < 1.0) {
            return Err(DataError::mismatch(
                "wall_probability",
                "two probabilities that rise, at least 0 and below 1",
                format!("{low} to {high}"),
            ));
        }
        let cells = self.height * self.width;
        if !(2..=cells).contains(&self.min_path_cells) {
            return Err(DataError::mismatch(
                "min_path_cells",
                format!("2 to {cells}"),
                self.min_path_cells,
            ));
        }
        Ok(())
    }
}

/// An endless stream of mazes by a recipe and a seed. It is an iterator; no grid occurs twice but by chance.
///
/// ```
/// use hrm_data::maze::{MazeGenerator, MazeRecipe};
/// let mazes = MazeGenerator::new(MazeRecipe::small(), 7)?;
/// for puzzle in mazes.take(3) {
///     assert!(puzzle.path_cells() >= 18);
/// }
/// # Ok::<(), hrm_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MazeGenerator {
    draw: GridDraw,
    rng: ChaCha8Rng,
    /// Share of long pairs from which on a grid is always kept.
    full_share: f64,
}

impl MazeGenerator {
    /// Prepares the recipe; this draws some thousand grids (about 0.2 s at 30x30).
    ///
    /// # Errors
    /// Where the recipe contradicts itself, and [`DataError::NotFound`] where no grid with so long a path turns up.
    pub fn new(recipe: MazeRecipe, seed: u64) -> Result<Self, DataError> {
        recipe.validate()?;
        let mut draw = GridDraw::new(recipe);
        let full_share = draw.pilot()?;
        Ok(Self {
            draw,
            rng: ChaCha8Rng::seed_from_u64(seed),
            full_share,
        })
    }

    /// The next maze with its label.
    pub fn generate(&mut self) -> MazePuzzle {
        loop {
            let share = self.draw.next_share(&mut self.rng);
            if share == 0.0 || self.rng.random::<f64>() * self.full_share >= share {
                continue;
            }
            let (start, goal) = self.draw.pair(self.rng.random_range(..self.draw.pairs));
            let maze = self.draw.maze(start, goal);
            if let Ok(puzzle) = maze.and_then(MazePuzzle::solve) {
                return puzzle;
            }
        }
    }
}

impl Iterator for MazeGenerator {
    type Item = MazePuzzle;

    fn next(&mut self) -> Option<MazePuzzle> {
        Some(self.generate())
    }
}

/// A grid under examination.
#[derive(Clone, Debug)]
struct GridDraw {
    recipe: MazeRecipe,
    walls: Vec<bool>,
    /// Number of long shortest paths from the starts that were searched.
    pairs: usize,
    /// These starts, and how many goals each has. The goals are found anew, for all pairs may not fit into memory.
    starts: Vec<(u32, u32)>,
    seen: Vec<bool>,
    /// Cells from which a path may be long.
    candidates: Vec<u32>,
    search: Search,
}

impl GridDraw {
    fn new(recipe: MazeRecipe) -> Self {
        let cells = recipe.height * recipe.width;
        Self {
            recipe,
            walls: vec![false; cells],
            pairs: 0,
            starts: Vec::new(),
            seen: vec![false; cells],
            candidates: Vec::new(),
            search: Search::new(),
        }
    }

    /// The largest share of long pairs that the first grids of a fixed seed have.
    fn pilot(&mut self) -> Result<f64, DataError> {
        let mut rng = ChaCha8Rng::seed_from_u64(PILOT_SEED);
        let tries = PILOT_CELLS / self.walls.len();
        let (mut hits, mut largest) = (0, 0.0f64);
        for _ in 0..tries {
            let share = self.next_share(&mut rng);
            if share > 0.0 {
                largest = largest.max(share);
                hits += 1;
                if hits == PILOT_HITS {
                    break;
                }
            }
        }
        if hits == 0 {
            return Err(DataError::NotFound {
                what: "maze",
                tries: tries as u64,
                wish: format!(
                    "{}x{} cells, {} of them on the shortest path",
                    self.recipe.height, self.recipe.width, self.recipe.min_path_cells
                ),
            });
        }
        Ok(largest)
    }

    /// Draws a grid and counts its long pairs; returns their share of all pairs of open cells, of large grids an estimate that is right on
    /// average.
    fn next_share(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let (height, width) = (self.recipe.height, self.recipe.width);
        let probability = rng.random_range(self.recipe.wall_probability.clone());
        let mut open = 0usize;
        let threshold = (probability * f64::from(u32::MAX)) as u32;
        for wall in &mut self.walls {
            *wall = rng.random::<u32>() < threshold;
            open += usize::from(!*wall);
        }
        let walls = &self.walls;
        self.search.load(height, width, |cell| walls[cell]);
        self.candidates.clear();
        self.seen.copy_from_slice(&self.walls);
        // From the middle on: there the first search tells most grids whose paths are all too short.
        let middle = height / 2 * width + width / 2;
        for cell in (middle..self.walls.len()).chain(0..middle) {
            if !self.seen[cell] {
                self.add_candidates_around(cell);
            }
        }
        let most = (SEARCHED_CELLS / self.walls.len()).max(FEWEST_STARTS);
        let searched_share = self.draw_starts(most, rng);
        if self.pairs == 0 {
            return 0.0;
        }
        self.pairs as f64 / (open * open).max(1) as f64 / searched_share
    }

    /// Counts the long pairs that start in at most `most` of the candidates; returns the share of these, 0 where there are none.
    fn draw_starts(&mut self, most: usize, rng: &mut ChaCha8Rng) -> f64 {
        self.pairs = 0;
        self.starts.clear();
        let found = self.candidates.len();
        if found > most {
            let (drawn, _) = self.candidates.partial_shuffle(rng, most);
            self.candidates = drawn.to_vec();
        }
        for &start in &self.candidates {
            self.search.run(start as usize, None);
            let goals = self
                .search
                .reached_from_farthest()
                .take_while(|&(_, length)| length >= self.recipe.min_path_cells)
                .count();
            if goals > 0 {
                self.pairs += goals;
                self.starts.push((start, goals as u32));
            }
        }
        self.candidates.len() as f64 / found.max(1) as f64
    }

    /// Start and goal of one of the long pairs of the grid that was drawn last.
    fn pair(&mut self, number: usize) -> (usize, usize) {
        let mut left = number;
        for &(start, goals) in &self.starts {
            if left < goals as usize {
                let start = start as usize;
                self.search.run(start, None);
                let goal = self.search.reached_from_farthest().nth(left);
                return (start, goal.map_or(start, |(goal, _)| goal));
            }
            left -= goals as usize;
        }
        unreachable!("pair {number} of {}", self.pairs)
    }

    /// Collects the cells connected with `cell` from which a path may be long.
    fn add_candidates_around(&mut self, cell: usize) {
        let wanted = self.recipe.min_path_cells;
        let search = &mut self.search;
        search.run(cell, None);
        for (reached, _) in search.reached_from_farthest() {
            self.seen[reached] = true;
        }
        if search.reached() < wanted || 2 * search.length_to(farthest(search)) - 1 < wanted {
            return;
        }
        // Two sweeps find the ends of a long path. From its middle cell every cell is near, which bounds all lengths.
        for _ in 0..2 {
            search.run(farthest(search), None);
        }
        let end = farthest(search);
        let half = search.length_to(end) / 2;
        let middle = search
            .way_back(end)
            .nth(half.saturating_sub(1))
            .unwrap_or(end);
        search.run(middle, None);
        let reach = search.length_to(farthest(search));
        if 2 * reach - 1 < wanted {
            return;
        }
        let is_far = |&(_, length): &(usize, usize)| length + reach > wanted;
        let far = search.reached_from_farthest().take_while(is_far);
        self.candidates.extend(far.map(|(start, _)| start as u32));
    }

    fn maze(&self, start: usize, goal: usize) -> Result<Maze, DataError> {
        let mut cells: Vec<u8> = self
            .walls
            .iter()
            .map(|&wall| if wall { WALL } else { OPEN })
            .collect();
        cells[start] = START;
        cells[goal] = GOAL;
        Maze::from_tokens(cells, self.recipe.height, self.recipe.width)
    }
}

/// The last cell that a search reached.
fn farthest(search: &Search) -> usize {
    search
        .reached_from_farthest()
        .next()
        .map_or(0, |(cell, _)| cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maze::Verdict;

    #[test]
    fn the_same_seed_makes_the_same_mazes() {
        let make = |seed| -> Vec<MazePuzzle> {
            let mazes = MazeGenerator::new(MazeRecipe::small(), seed).unwrap();
            mazes.take(5).collect()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn small_mazes_keep_the_wished_length() {
        let mazes = MazeGenerator::new(MazeRecipe::small(), 3).unwrap();
        for puzzle in mazes.take(100) {
            assert_eq!((puzzle.maze().height(), puzzle.maze().width()), (10, 10));
            assert!(puzzle.path_cells() >= 18);
            assert_eq!(puzzle.maze().verify(puzzle.answer()), Verdict::Exact);
        }
    }

    #[test]
    fn all_pairs_of_a_grid_are_counted_and_not_stored() {
        let mut draw = GridDraw::new(MazeRecipe {
            wall_probability: 0.2..=0.2,
            ..MazeRecipe::new(32, 32, 2)
        });
        draw.next_share(&mut ChaCha8Rng::seed_from_u64(1));
        // Some eight hundred open cells, most of them connected.
        assert!(draw.pairs > 400_000 && draw.starts.capacity() < 2048);
        let mut found = std::collections::HashSet::new();
        for number in (0..draw.pairs).step_by(97) {
            let (start, goal) = draw.pair(number);
            assert!(start != goal && !draw.walls[start] && !draw.walls[goal]);
            assert!(found.insert((start, goal)));
        }
    }

    #[test]
    fn the_share_from_some_starts_is_right_on_average() {
        let mut draw = GridDraw::new(MazeRecipe {
            wall_probability: 0.3..=0.3,
            ..MazeRecipe::new(30, 30, 60)
        });
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let all_starts = loop {
            if draw.next_share(&mut rng) > 0.01 {
                break draw.candidates.clone();
            }
        };
        let all = draw.pairs as f64;
        let rounds = 2000;
        let mut sum = 0.0;
        for _ in 0..rounds {
            draw.candidates.clone_from(&all_starts);
            let share = draw.draw_starts(16, &mut rng);
            assert_eq!(share, 16.0 / all_starts.len() as f64);
            sum += draw.pairs as f64 / share;
        }
        let mean = sum / f64::from(rounds);
        assert!((mean / all - 1.0).abs() < 0.03, "{mean} of {all}");
    }

    #[test]
    fn the_largest_mazes_are_made() {
        let mut mazes = MazeGenerator::new(MazeRecipe::new(255, 255, 110), 1).unwrap();
        for _ in 0..2 {
            let puzzle = mazes.generate();
            assert!(puzzle.path_cells() >= 110);
            assert_eq!(puzzle.maze().verify(puzzle.answer()), Verdict::Exact);
        }
    }

    #[test]
    fn oblong_mazes_are_made_too() {
        let recipe = MazeRecipe::new(5, 12, 15);
        let puzzle = MazeGenerator::new(recipe, 1).unwrap().generate();
        assert_eq!((puzzle.maze().height(), puzzle.maze().width()), (5, 12));
        assert!(puzzle.path_cells() >= 15);
    }

    #[test]
    fn impossible_wishes_are_errors() {
        let error = |recipe| MazeGenerator::new(recipe, 1).unwrap_err().to_string();
        assert_eq!(
            error(MazeRecipe::new(3, 3, 10)),
            "min_path_cells: expected 2 to 9, found 10"
        );
        assert_eq!(
            error(MazeRecipe::new(0, 3, 2)),
            "expected a maze of 1 to 255 rows and columns, found 0x3"
        );
        let walled = MazeRecipe {
            wall_probability: 0.6..=0.5,
            ..MazeRecipe::small()
        };
        assert_eq!(
            error(walled),
            "wall_probability: expected two probabilities that rise, at least 0 and below 1, found 0.6 to 0.5"
        );
        let long = error(MazeRecipe::new(3, 3, 9));
        assert!(long.starts_with("found no maze after"), "{long}");
    }
}
