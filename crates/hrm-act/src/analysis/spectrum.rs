//! How many dimensions the states use, and the way of a puzzle in its principal components.

use burn::tensor::{Tensor, Transaction};
use hrm_core::ops::matmul;
use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};

use crate::reasoner::{ReasonError, device_error};

/// The participation ratio of the states of all positions and puzzles: (sum of the eigenvalues of their covariance)² / sum
/// of the squares, from 1 (all on a line) to D (spread evenly); 0 where nothing varies. The paper measures about 90 for z_H
/// and 30 for z_L on a trained model.
///
/// # Shapes
/// Any number of states `[B, L, D]`, whose rows are taken together
///
/// # Errors
/// If the device fails.
pub fn participation_ratio(states: &[Tensor<3>]) -> Result<f64, ReasonError> {
    if states.is_empty() {
        return Ok(0.0);
    }
    let rows: Vec<Tensor<2>> = states
        .iter()
        .map(|state| {
            let [b, l, d] = state.dims();
            state.clone().reshape([b * l, d])
        })
        .collect();
    let rows = Tensor::cat(rows, 0);
    let [n, _] = rows.dims();
    let centered = rows.clone() - rows.mean_dim(0);
    let covariance =
        matmul(centered.clone().swap_dims(0, 1), centered.clone()).div_scalar(n as f64);
    // The trace is the sum of the eigenvalues, the sum of squared entries that of their squares.
    let trace = (centered.clone() * centered).sum().div_scalar(n as f64);
    let squares = (covariance.clone() * covariance).sum();
    let read = Transaction::default()
        .register(trace)
        .register(squares)
        .try_execute()
        .map_err(device_error)?;
    let values: Vec<f64> = read.iter().flat_map(|data| data.iter::<f64>()).collect();
    match values[..] {
        [trace, squares] if squares > 0.0 => Ok(trace * trace / squares),
        _ => Ok(0.0),
    }
}

/// The way of one puzzle's states in their first principal components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Coordinates of each state, first component first.
    pub points: Vec<Vec<f64>>,
    /// Share of the variance in each component, 0..=1.
    pub explained: Vec<f64>,
}

/// The principal components of one puzzle's way: each state is one point of L * D coordinates. The sign of a component is
/// such that its farthest point is positive.
///
/// # Shapes
/// n states `[B, L, D]` → n points of `components` coordinates, fewer where there are fewer states, none where a state is not finite
///
/// # Errors
/// If there is no such puzzle, or the device fails.
pub fn trajectory(
    states: &[Tensor<3>],
    puzzle: usize,
    components: usize,
) -> Result<Trajectory, ReasonError> {
    let b = states
        .iter()
        .map(|state| state.dims()[0])
        .min()
        .unwrap_or(0);
    if puzzle >= b {
        return Err(ReasonError::Field {
            field: "puzzle",
            expected: "the number of a recorded puzzle, counted from 0",
            found: puzzle.to_string(),
        });
    }
    let n = states.len();
    let points: Vec<Tensor<2>> = states
        .iter()
        .map(|state| {
            let [_, l, d] = state.dims();
            state.clone().narrow(0, puzzle, 1).reshape([1, l * d])
        })
        .collect();
    let points = Tensor::cat(points, 0);
    let centered = points.clone() - points.mean_dim(0);
    let gram = matmul(centered.clone(), centered.swap_dims(0, 1));
    let gram = gram.try_into_vec_as::<f32>().map_err(device_error)?;
    let gram = gram.into_iter().map(f64::from).collect();
    // Coordinates are eigenvectors of the Gram matrix times the root of their eigenvalue.
    let pairs = eigen(gram, n);
    let total: f64 = pairs.iter().map(|(value, _)| value.max(0.0)).sum();
    let mut trajectory = Trajectory {
        points: vec![Vec::new(); n],
        explained: Vec::new(),
    };
    for (value, vector) in pairs.into_iter().take(components) {
        let value = value.max(0.0);
        let farthest = vector.iter().copied().fold(
            0.0,
            |far: f64, x| {
                if x.abs() > far.abs() { x } else { far }
            },
        );
        let scale = value.sqrt().copysign(farthest);
        for (point, coordinate) in trajectory.points.iter_mut().zip(vector) {
            point.push(coordinate * scale);
        }
        trajectory
            .explained
            .push(if total > 0.0 { value / total } else { 0.0 });
    }
    Ok(trajectory)
}

/// Steps after which an eigenvalue problem is given up; an eigenvalue needs about two.
fn max_steps(n: usize) -> usize {
    100 * n.max(1)
}

/// Eigenvalues, greatest first, and unit eigenvectors of a symmetric matrix `[n, n]`; nothing of one that is not finite.
fn eigen(a: Vec<f64>, n: usize) -> Vec<(f64, Vec<f64>)> {
    if !a.iter().all(|x| x.is_finite()) {
        return Vec::new();
    }
    let a = DMatrix::from_vec(n, n, a);
    let Some(found) = SymmetricEigen::try_new(a, f64::EPSILON, max_steps(n)) else {
        return Vec::new();
    };
    let vectors = found.eigenvectors.column_iter();
    let vectors = vectors.map(|vector| vector.iter().copied().collect());
    let mut pairs: Vec<_> = found.eigenvalues.iter().copied().zip(vectors).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_participation_ratio_counts_dimensions() {
        let device = Device::flex();
        // Two puzzles of two positions: the corners of a square in the first two of three dimensions.
        let corners = [
            [[1.0, 1.0, 7.0], [1.0, -1.0, 7.0]],
            [[-1.0, 1.0, 7.0], [-1.0, -1.0, 7.0]],
        ];
        let square = Tensor::<3>::from_data(corners, &device);
        let ratio = |states: &[Tensor<3>]| participation_ratio(states).unwrap();
        assert!((ratio(std::slice::from_ref(&square)) - 2.0).abs() < 1e-6);
        let line = Tensor::<3>::from_data([[[0.0, 1.0], [0.0, 3.0], [0.0, 8.0]]], &device);
        assert!((ratio(std::slice::from_ref(&line)) - 1.0).abs() < 1e-6);
        // Eigenvalues 4 and 1: 25 / 17.
        let stretched = square * Tensor::<3>::from_data([[[2.0, 1.0, 1.0]]], &device);
        assert!((ratio(&[stretched]) - 25.0 / 17.0).abs() < 1e-6);
        assert_eq!(ratio(&[line.clone().zeros_like()]), 0.0);
        assert_eq!(ratio(&[]), 0.0);
    }

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let (n, mut rng) = (12, ChaCha8Rng::seed_from_u64(4));
        let b: Vec<f64> = (0..n * n).map(|_| rng.random::<f64>() - 0.5).collect();
        let a: Vec<f64> = (0..n * n)
            .map(|ij| (0..n).map(|k| b[ij / n * n + k] * b[ij % n * n + k]).sum())
            .collect();
        let pairs = eigen(a.clone(), n);
        assert!(pairs.windows(2).all(|w| w[0].0 >= w[1].0));
        for ij in 0..n * n {
            let rebuilt: f64 = pairs.iter().map(|(l, v)| l * v[ij / n] * v[ij % n]).sum();
            assert!((rebuilt - a[ij]).abs() < 1e-12);
        }
        let by_hand = eigen(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((by_hand[0].0 - 3.0).abs() < 1e-12 && (by_hand[1].0 - 1.0).abs() < 1e-12);
        assert_eq!(eigen(vec![-3.0], 1), [(-3.0, vec![1.0])]);
        assert_eq!(eigen(vec![0.0; 9], 3).len(), 3);
        assert!(eigen(vec![f64::NAN; 4], 2).is_empty());
    }

    /// Six states of two puzzles.
    fn states() -> Vec<Tensor<3>> {
        let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(5));
        (0..6)
            .map(|_| {
                let values: Vec<f32> = (0..2 * 3 * 4).map(|_| rng.random()).collect();
                Tensor::from_data(TensorData::new(values, [2, 3, 4]), &device)
            })
            .collect()
    }

    #[test]
    fn a_trajectory_keeps_distances() {
        let states = states();
        // Six points span five dimensions: all of them keep every distance.
        let way = trajectory(&states, 1, 6).unwrap();
        assert!((way.explained.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for (i, a) in states.iter().enumerate() {
            for (j, b) in states.iter().enumerate() {
                let change = (a.clone() - b.clone()).narrow(0, 1, 1);
                let real = (change.clone() * change)
                    .sum()
                    .into_data()
                    .iter::<f64>()
                    .next();
                let found: f64 = way.points[i]
                    .iter()
                    .zip(&way.points[j])
                    .map(|(x, y)| (x - y) * (x - y))
                    .sum();
                assert!((found - real.unwrap()).abs() < 1e-5, "{i} {j}");
            }
        }
        assert!(trajectory(&states, 2, 2).is_err());
        assert!(trajectory(&[], 0, 2).is_err());
    }

    #[test]
    fn the_first_components_are_those_of_all() {
        let all = trajectory(&states(), 1, 6).unwrap();
        let two = trajectory(&states(), 1, 2).unwrap();
        assert_eq!(two.explained, all.explained[..2]);
        for (point, all) in two.points.iter().zip(&all.points) {
            assert_eq!(*point, all[..2]);
        }
    }

    #[test]
    fn the_farthest_point_of_a_component_is_positive() {
        // One coordinate: the distances from the mean.
        for (places, expected) in [
            ([0.0f32, 0.0, 3.0], [-1.0f64, -1.0, 2.0]),
            ([0.0, 3.0, 0.0], [-1.0, 2.0, -1.0]),
            ([0.0, 3.0, 3.0], [2.0, -1.0, -1.0]),
        ] {
            let states = places.map(|x| Tensor::<3>::from_data([[[x]]], &Device::flex()));
            let found = trajectory(&states, 0, 1).unwrap().points.concat();
            let close = |(x, y): (&f64, &f64)| (x - y).abs() < 1e-6;
            assert!(
                found.len() == 3 && found.iter().zip(&expected).all(close),
                "{places:?}: {found:?}"
            );
        }
        // Six points span five dimensions.
        for way in [0, 1].map(|puzzle| trajectory(&states(), puzzle, 5).unwrap()) {
            for component in 0..5 {
                let coordinates = way.points.iter().map(|point| point[component]);
                let farthest = coordinates.max_by(|a, b| a.abs().total_cmp(&b.abs()));
                assert!(farthest.unwrap() > 0.0, "{component}");
            }
        }
    }
}
