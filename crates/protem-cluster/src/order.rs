//! An order of centroids in which neighbours are alike.
//!
//! Groups of 16 like centroids leave more out: the few groups that can hold a point's nearest
//! centroid then hold most of its near ones.

use crate::isa::Isa;
use crate::kernel::{self, LANES};
use crate::matrix::Matrix;

/// Steps of the power iteration that finds the direction of a cut.
const STEPS: usize = 2;

/// The rows, so that each 16 from the first on are alike: cut in half across the direction of
/// their greatest spread, roughly, until 16 are left.
pub(crate) fn alike(rows: Matrix<'_>, isa: Isa) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows.rows() as u32).collect();
    cut(rows, isa, &mut order);
    order
}

fn cut(rows: Matrix<'_>, isa: Isa, order: &mut [u32]) {
    if order.len() <= LANES {
        return;
    }
    let row = |i: &u32| rows.row(*i as usize);
    let mut mean = vec![0.0f64; rows.cols()];
    kernel::add_rows(isa, rows, order, order.len(), &mut mean);
    let mean: Vec<f32> = mean
        .iter()
        .map(|m| (m / order.len() as f64) as f32)
        .collect();
    let from_mean = |i: &u32| kernel::distance(isa, row(i), &mean);
    let farthest = order
        .iter()
        .max_by(|a, b| from_mean(a).total_cmp(&from_mean(b)));
    let mut direction: Vec<f32> = farthest.map_or_else(Vec::new, |i| difference(row(i), &mean));
    for _ in 0..STEPS {
        let along = kernel::dot(isa, &mean, &direction);
        let mut next = vec![0.0f32; rows.cols()];
        for i in order.iter() {
            let weight = kernel::dot(isa, row(i), &direction) - along;
            for ((n, x), m) in next.iter_mut().zip(row(i)).zip(&mean) {
                *n += weight * (x - m);
            }
        }
        let length = kernel::squares(isa, &next).sqrt();
        if !(length > 0.0 && length.is_finite()) {
            break;
        }
        direction = next.iter().map(|n| n / length).collect();
    }
    let mut along: Vec<(f32, u32)> = order
        .iter()
        .map(|i| (kernel::dot(isa, row(i), &direction), *i))
        .collect();
    along.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (place, (_, i)) in order.iter_mut().zip(along) {
        *place = i;
    }
    let half = (order.len() / 2).next_multiple_of(LANES);
    let (low, high) = order.split_at_mut(half);
    rayon::join(|| cut(rows, isa, low), || cut(rows, isa, high));
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_neighbours() {
        // 64 points around four places, in turn.
        let values: Vec<f32> = (0..64)
            .flat_map(|i| [(i % 4 / 2 * 10) as f32, (i % 2 * 7) as f32 + i as f32 / 1e3])
            .collect();
        let rows = Matrix::new(&values, 64, 2).expect("the right length");
        let order = alike(rows, Isa::Portable);
        for group in order.chunks(16) {
            assert!(group.iter().all(|i| i % 4 == group[0] % 4), "{group:?}");
        }
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..64).collect::<Vec<u32>>());
    }
}
