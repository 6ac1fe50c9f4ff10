//! Training for HRM and TRM: AdamAtan2, sparse SignSGD, schedules, EMA, exact checkpoints, evaluation
