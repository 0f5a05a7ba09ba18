//! Weighted k-nearest-neighbour classification.

use crate::{EvalError, Features};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of [`knn`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KnnConfig {
    /// Neighbours that vote; no more than there are.
    pub k: usize,
    /// A neighbour of cosine `s` has the weight `exp(s/temperature)`.
    pub temperature: f64,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self {
            k: 20,
            temperature: 0.07,
        }
    }
}

/// The outcome of [`knn`].
#[derive(Debug, Clone, PartialEq)]
pub struct KnnResult {
    /// Share of the test images whose class was found.
    pub top1: f64,
    /// Class found for each test image.
    pub predictions: Vec<u32>,
    /// Neighbours that voted.
    pub k: usize,
}

/// Classifies test images by their nearest training images under cosine similarity (Wu et al.
/// 2018). Of equally near images the first counts, of equal votes the lowest class.
///
/// # Errors
/// Labels or dimensions that do not fit the features.
pub fn knn(
    train: &Features,
    train_labels: &[u32],
    test: &Features,
    test_labels: &[u32],
    config: &KnnConfig,
) -> Result<KnnResult, EvalError> {
    let count = |what, left, right| {
        if left == right {
            Ok(())
        } else {
            Err(EvalError::Count { what, left, right })
        }
    };
    count("training labels", train_labels.len(), train.rows())?;
    count("test labels", test_labels.len(), test.rows())?;
    count("test dimensions", test.dim(), train.dim())?;
    /// Test images whose similarities are one matrix product.
    const BLOCK: usize = 64;
    let (train, test) = (train.clone().normalised(), test.clone().normalised());
    let k = config.k.clamp(1, train.rows());
    let predictions: Vec<u32> = test
        .values()
        .par_chunks(BLOCK * test.dim())
        .flat_map_iter(|block| {
            let similarities = products(block, &train);
            let predict = |row: &[f32]| vote(row, train_labels, k, config.temperature);
            similarities
                .chunks_exact(train.rows())
                .map(predict)
                .collect::<Vec<_>>()
        })
        .collect();
    let right = predictions
        .iter()
        .zip(test_labels)
        .filter(|(p, t)| p == t)
        .count();
    Ok(KnnResult {
        top1: right as f64 / test_labels.len() as f64,
        predictions,
        k,
    })
}

fn products(block: &[f32], train: &Features) -> Vec<f32> {
    let (rows, dim, columns) = (block.len() / train.dim(), train.dim(), train.rows());
    let mut out = vec![0.0f32; rows * columns];
    let a = faer::MatRef::from_row_major_slice(block, rows, dim);
    let b = faer::MatRef::from_row_major_slice(train.values(), columns, dim);
    let c = faer::MatMut::from_row_major_slice_mut(&mut out, rows, columns);
    faer::linalg::matmul::matmul(
        c,
        faer::Accum::Replace,
        a,
        b.transpose(),
        1.0,
        faer::Par::Seq,
    );
    out
}

fn vote(similarities: &[f32], labels: &[u32], k: usize, temperature: f64) -> u32 {
    let mut order: Vec<u32> = (0..similarities.len() as u32).collect();
    let nearest_first = |a: &u32, b: &u32| {
        let (x, y) = (similarities[*a as usize], similarities[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, nearest_first);
        order.truncate(k);
    }
    order.sort_unstable_by(nearest_first);
    let mut votes = BTreeMap::new();
    for i in order {
        // Relative to the largest possible cosine: the same order of classes, and no overflow.
        *votes.entry(labels[i as usize]).or_insert(0.0) +=
            ((f64::from(similarities[i as usize]) - 1.0) / temperature).exp();
    }
    let more = |best: (u32, f64), other: (u32, f64)| if other.1 > best.1 { other } else { best };
    votes.into_iter().reduce(more).expect("a neighbour").0
}
