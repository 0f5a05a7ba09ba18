//! How near rows are to each other, as probabilities: what a map is to show.

use crate::Features;
use crate::neighbours::{Similar, of_each};
use rayon::prelude::*;

/// Halvings of the interval in which a row's precision lies: more would change nothing.
const HALVINGS: usize = 100;
/// How near the logarithm of a row's perplexity comes to what is asked for.
const TOLERANCE: f64 = 1e-9;

/// A symmetric matrix of probabilities that are zero for most pairs: the joint `p` of t-SNE, whose sum
/// is 1.
pub struct Affinities {
    /// Where each row begins, and where the last one ends.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

impl Affinities {
    /// Of rows of length 1 (or 0), of which there are two at least, each to the nearest three times
    /// `perplexity` others. `progress` is told rows done; nothing if it says not to go on.
    pub fn of(
        rows: &Features,
        perplexity: f64,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Option<Self> {
        let (count, dim) = (rows.rows(), rows.dim());
        let k = ((3.0 * perplexity) as usize + 1).min(count - 1);
        let found = of_each(rows, rows, k + 1, &|near| near, progress)?;
        let row = |i: usize| &rows.values()[i * dim..][..dim];
        let of_row = |(i, near): (usize, Vec<Similar>)| {
            let mut others: Vec<u32> = near.iter().map(|other| other.image).collect();
            // Among many equal rows it may not be one of its own nearest.
            others.retain(|other| *other as usize != i);
            others.truncate(k);
            others.sort_unstable();
            let distances = others
                .iter()
                .map(|other| squared_distance(row(i), row(*other as usize)));
            let shares = shares(&distances.collect::<Vec<_>>(), perplexity);
            others.into_iter().zip(shares).collect()
        };
        let each: Vec<Vec<(u32, f64)>> = found.into_par_iter().enumerate().map(of_row).collect();
        Some(Self::joint(&each))
    }

    /// `(pⱼ|ᵢ + pᵢ|ⱼ) / 2n` of each row's shares, whose columns ascend.
    fn joint(each: &[Vec<(u32, f64)>]) -> Self {
        let mut turned: Vec<Vec<(u32, f64)>> = vec![Vec::new(); each.len()];
        for (i, row) in (0u32..).zip(each) {
            row.iter()
                .for_each(|(j, share)| turned[*j as usize].push((i, *share)));
        }
        let scale = 0.5 / each.len() as f64;
        let mut joint = Self {
            starts: vec![0],
            columns: Vec::new(),
            values: Vec::new(),
        };
        for (row, turned) in each.iter().zip(turned) {
            let mut all = [row.as_slice(), &turned].concat();
            all.sort_by_key(|(column, _)| *column);
            for same in all.chunk_by(|a, b| a.0 == b.0) {
                joint.columns.push(same[0].0);
                joint
                    .values
                    .push(scale * same.iter().map(|(_, share)| share).sum::<f64>());
            }
            joint.starts.push(joint.columns.len());
        }
        joint
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The others that row `i` has a probability with, ascending.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (u32, f64)> + '_ {
        let range = self.starts[i]..self.starts[i + 1];
        let columns = self.columns[range.clone()].iter().copied();
        columns.zip(self.values[range].iter().copied())
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum()
}

/// `e^(−β d) / Σ e^(−β d)` of squared distances, with the β at which their perplexity is the one asked
/// for, or as near to it as any.
pub(super) fn shares(squared: &[f64], perplexity: f64) -> Vec<f64> {
    let least = squared.iter().copied().fold(f64::INFINITY, f64::min);
    let beyond: Vec<f64> = squared.iter().map(|d| d - least).collect();
    let mean = beyond.iter().sum::<f64>() / beyond.len() as f64;
    let mut beta = if mean > 0.0 { 1.0 / mean } else { 1.0 };
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut shares = vec![0.0; beyond.len()];
    for _ in 0..HALVINGS {
        for (share, d) in shares.iter_mut().zip(&beyond) {
            *share = (-beta * d).exp();
        }
        let sum: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
        let spread: f64 = shares.iter().zip(&beyond).map(|(share, d)| share * d).sum();
        let above = sum.ln() + beta * spread - perplexity.ln();
        if above.abs() < TOLERANCE {
            break;
        }
        match above > 0.0 {
            true => low = beta,
            false => high = beta,
        }
        beta = if high.is_finite() {
            (low + high) / 2.0
        } else {
            2.0 * beta
        };
    }
    shares
}
