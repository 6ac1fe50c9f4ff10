//! Adaptive computation time for HRM and TRM: the carry, halting by Q-learning, losses
