//! The model of the Hierarchical Reasoning Model (HRM) and TRM: layers, recurrence, weights, on Burn
