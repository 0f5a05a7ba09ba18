//! Where a map begins: the first two principal components.

use crate::Features;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Directions that are followed, to find two.
const DIRECTIONS: usize = 10;
/// Passes over the rows. Each multiplies what the first two are ahead of the eleventh by the ratio of
/// their variances.
const PASSES: usize = 8;
/// Rows of a product.
const BLOCK: usize = 1024;

/// The coordinates of each row along the two directions in which rows spread most, by subspace
/// iteration (Halko et al. 2011), from their mean; zeros where they do not spread.
pub fn principal(rows: &Features, seed: u64) -> Vec<[f64; 2]> {
    let dim = rows.dim();
    let mean = mean(rows);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let wanted = DIRECTIONS.min(dim);
    let mut directions = Mat::from_fn(dim, wanted, |_, _| rng.random_range(-1.0..1.0));
    for _ in 0..PASSES {
        directions = directions.qr().compute_thin_Q();
        let mut next = Mat::zeros(dim, wanted);
        for block in blocks(rows, &mean) {
            let along = times(block.as_ref(), directions.as_ref());
            matmul(
                &mut next,
                Accum::Add,
                block.transpose(),
                &along,
                1.0,
                Par::Seq,
            );
        }
        directions = next;
    }
    let directions = directions.qr().compute_thin_Q();
    along_first(rows, &mean, &directions)
}

/// Coordinates along the first two principal axes of those along `directions`, of which there may be
/// one only.
fn along_first(rows: &Features, mean: &[f64], directions: &Mat<f64>) -> Vec<[f64; 2]> {
    let wanted = directions.ncols();
    let mut all = Vec::with_capacity(rows.rows() * wanted);
    let mut gram = Mat::<f64>::zeros(wanted, wanted);
    for block in blocks(rows, mean) {
        let along = times(block.as_ref(), directions.as_ref());
        matmul(
            &mut gram,
            Accum::Add,
            along.transpose(),
            &along,
            1.0,
            Par::Seq,
        );
        let lines = along.row_iter();
        all.extend(lines.flat_map(|line| line.iter().copied().collect::<Vec<_>>()));
    }
    // Without axes a map begins with noise alone.
    let Ok(axes) = gram.self_adjoint_eigen(Side::Lower) else {
        return vec![[0.0; 2]; rows.rows()];
    };
    // Ascending by variance.
    let axis = |which: usize| {
        let column = wanted.checked_sub(which + 1)?;
        Some(
            (0..wanted)
                .map(|i| axes.U()[(i, column)])
                .collect::<Vec<_>>(),
        )
    };
    let axes = [axis(0), axis(1)];
    let place = |along: &[f64]| {
        axes.each_ref().map(|axis| match axis {
            Some(axis) => along.iter().zip(axis).map(|(a, b)| a * b).sum(),
            None => 0.0,
        })
    };
    all.chunks_exact(wanted).map(place).collect()
}

fn mean(rows: &Features) -> Vec<f64> {
    let mut mean = vec![0.0; rows.dim()];
    for row in rows.values().chunks_exact(rows.dim()) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += f64::from(*x));
    }
    mean.iter_mut().for_each(|sum| *sum /= rows.rows() as f64);
    mean
}

/// The rows less their mean, some at a time.
fn blocks(rows: &Features, mean: &[f64]) -> impl Iterator<Item = Mat<f64>> {
    let dim = rows.dim();
    rows.values().chunks(BLOCK * dim).map(move |block| {
        let block = MatRef::from_row_major_slice(block, block.len() / dim, dim);
        Mat::from_fn(block.nrows(), dim, |i, j| {
            f64::from(block[(i, j)]) - mean[j]
        })
    })
}

fn times(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(a.nrows(), b.ncols());
    matmul(&mut product, Accum::Replace, a, b, 1.0, Par::Seq);
    product
}
