//! Breadth-first search over a maze, in the neighbour order of the published labels.

use super::grid::{GOAL, OPEN, PATH, START};

/// Buffers of a breadth-first search, kept between mazes so that labelling allocates nothing.
///
/// The grid lies in a frame of walls, so no cell needs a bounds check of its own.
#[derive(Clone, Debug, Default)]
pub struct Search {
    width: usize,
    stride: usize,
    blocked: Vec<bool>,
    /// Cells on the way from the start, both ends counted; 0 = not reached.
    length: Vec<u32>,
    parent: Vec<u32>,
    queue: Vec<u32>,
}

impl Search {
    /// Empty buffers; they grow to the first maze.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the walls of a grid.
    pub(super) fn load(&mut self, height: usize, width: usize, is_wall: impl Fn(usize) -> bool) {
        self.width = width;
        self.stride = width + 2;
        let cells = self.stride * (height + 2);
        self.blocked.clear();
        self.blocked.resize(cells, true);
        self.length.resize(cells, 0);
        self.parent.resize(cells, 0);
        for row in 0..height {
            let framed = (row + 1) * self.stride + 1;
            for column in 0..width {
                self.blocked[framed + column] = is_wall(row * width + column);
            }
        }
    }

    fn framed(&self, cell: usize) -> usize {
        (cell / self.width + 1) * self.stride + cell % self.width + 1
    }

    fn cell(&self, framed: usize) -> usize {
        (framed / self.stride - 1) * self.width + framed % self.stride - 1
    }

    /// Searches from `start` over the loaded grid, to `goal` or over all that can be reached.
    /// Neighbours are tried in the order down, left, right, up; the first finder becomes the parent.
    pub(super) fn run(&mut self, start: usize, goal: Option<usize>) {
        let goal = goal.map(|cell| self.framed(cell));
        let start = self.framed(start);
        self.length.fill(0);
        self.queue.clear();
        self.queue.push(start as u32);
        self.length[start] = 1;
        let mut head = 0;
        while let Some(&cell) = self.queue.get(head) {
            head += 1;
            let cell = cell as usize;
            let next = self.length[cell] + 1;
            for neighbour in [cell + self.stride, cell - 1, cell + 1, cell - self.stride] {
                if self.blocked[neighbour] || self.length[neighbour] != 0 {
                    continue;
                }
                self.length[neighbour] = next;
                self.parent[neighbour] = cell as u32;
                if Some(neighbour) == goal {
                    return;
                }
                self.queue.push(neighbour as u32);
            }
        }
    }

    /// Cells on the shortest path from the last start to `cell`, both counted; 0 = not reached.
    pub(super) fn length_to(&self, cell: usize) -> usize {
        self.length[self.framed(cell)] as usize
    }

    /// The cells reached by the last search with their lengths, farthest first.
    pub(super) fn reached_from_farthest(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.queue.iter().rev().map(|&framed| {
            let framed = framed as usize;
            (self.cell(framed), self.length[framed] as usize)
        })
    }

    /// How many cells the last search reached, the start among them.
    pub(super) fn reached(&self) -> usize {
        self.queue.len()
    }

    /// The cells strictly between the last start and `cell`, from `cell` back.
    pub(super) fn way_back(&self, cell: usize) -> impl Iterator<Item = usize> + '_ {
        let mut framed = self.framed(cell);
        std::iter::from_fn(move || {
            if self.length[framed] <= 2 {
                return None;
            }
            framed = self.parent[framed] as usize;
            Some(self.cell(framed))
        })
    }

    /// Writes the published label of a maze: the question with its breadth-first path marked.
    ///
    /// `answer` gets `question` with [`PATH`] on the cells strictly between start and goal. Returns the cells
    /// on the path, both ends counted, or `None` where the question has no start or goal or no way between
    /// them; `answer` is then the question.
    ///
    /// # Panics
    /// If `question` or `answer` does not have `height * width` tokens.
    pub fn label_into(
        &mut self,
        question: &[u8],
        height: usize,
        width: usize,
        answer: &mut [u8],
    ) -> Option<usize> {
        assert_eq!(question.len(), height * width, "cells of the question");
        answer.copy_from_slice(question);
        let start = question.iter().position(|&token| token == START)?;
        let goal = question.iter().position(|&token| token == GOAL)?;
        self.load(height, width, |cell| {
            !(OPEN..=PATH).contains(&question[cell])
        });
        self.run(start, Some(goal));
        let length = self.length_to(goal);
        if length == 0 {
            return None;
        }
        for cell in self.way_back(goal) {
            answer[cell] = PATH;
        }
        Some(length)
    }
}
