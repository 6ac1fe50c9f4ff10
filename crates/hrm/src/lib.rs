//! The Hierarchical Reasoning Model (HRM) and TRM in pure Rust on Burn: train, evaluate and solve puzzles on any GPU or the CPU
