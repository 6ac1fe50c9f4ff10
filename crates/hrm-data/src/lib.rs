//! Puzzles for reasoning models: Sudoku, mazes and ARC; generators, augmentation, verifiers and a seeded sampler
