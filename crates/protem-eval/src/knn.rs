//! Weighted k-nearest-neighbour classification.

use crate::products::rows_by_rows;
use crate::{EvalError, Features};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Settings of [`knn`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KnnConfig {
    /// Neighbours that vote: one at least, and no more than there are.
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

/// Test images whose similarities to a tile are one matrix product.
const BLOCK: usize = 64;
/// Training images of a tile: half a megabyte of similarities, which stays in a core's cache.
const TILE: usize = 2048;

/// Classifies test images by their nearest training images under cosine similarity (Wu et al.
/// 2018). Of equally near images the first counts, of equal votes the lowest class. The features are
/// normalised where they lie. `progress` is told the number of test images done and answers whether to
/// go on; nothing if it does not.
///
/// # Errors
/// Labels or dimensions that do not fit the features; a temperature that is not finite and above 0.
pub fn knn(
    train: Features,
    train_labels: &[u32],
    test: Features,
    test_labels: &[u32],
    config: &KnnConfig,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<KnnResult>, EvalError> {
    if !(config.temperature.is_finite() && config.temperature > 0.0) {
        return Err(EvalError::Temperature {
            value: config.temperature,
        });
    }
    EvalError::counted("training labels", train_labels.len(), train.rows())?;
    EvalError::counted("test labels", test_labels.len(), test.rows())?;
    EvalError::counted("test dimensions", test.dim(), train.dim())?;
    let (train, test) = (train.normalised(), test.normalised());
    let k = config.k.clamp(1, train.rows());
    let vote = |near: Nearest| vote(&near.first(), train_labels, config.temperature);
    let mut predictions = Vec::with_capacity(test.rows());
    // A block for each thread, and a look at whether to go on.
    for blocks in test
        .values()
        .chunks(BLOCK * test.dim() * rayon::current_num_threads())
    {
        let found = blocks
            .par_chunks(BLOCK * test.dim())
            .flat_map_iter(|block| nearest(block, &train, k).into_iter().map(vote));
        predictions.par_extend(found);
        if !progress(predictions.len()) {
            return Ok(None);
        }
    }
    let right = predictions
        .iter()
        .zip(test_labels)
        .filter(|(p, t)| p == t)
        .count();
    Ok(Some(KnnResult {
        top1: right as f64 / test_labels.len() as f64,
        predictions,
        k,
    }))
}

/// The nearest training images of each row of a block.
fn nearest(block: &[f32], train: &Features, k: usize) -> Vec<Nearest> {
    let rows = block.len() / train.dim();
    let mut all = vec![Nearest::of(k); rows];
    let mut similarities = vec![0.0; rows * TILE.min(train.rows())];
    for (tile, images) in train.values().chunks(TILE * train.dim()).enumerate() {
        let columns = images.len() / train.dim();
        let similarities = &mut similarities[..rows * columns];
        rows_by_rows(block, images, train.dim(), similarities);
        for (near, row) in all.iter_mut().zip(similarities.chunks_exact(columns)) {
            near.look_at(row, tile * TILE);
        }
    }
    all
}

/// The `k` largest of the similarities seen, and some that may be.
#[derive(Debug, Clone)]
struct Nearest {
    k: usize,
    /// Similarity and image.
    candidates: Vec<(f32, u32)>,
    /// What a similarity must exceed: `k` candidates are at least this, and came before.
    least: f32,
}

impl Nearest {
    fn of(k: usize) -> Self {
        Self {
            k,
            candidates: Vec::new(),
            least: f32::NEG_INFINITY,
        }
    }

    /// Similarities of the images from `first` on, which come after all that were looked at.
    fn look_at(&mut self, similarities: &[f32], first: usize) {
        /// Similarities that are passed over together.
        const TOGETHER: usize = 16;
        for (at, some) in similarities.chunks(TOGETHER).enumerate() {
            let most = some.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            if most <= self.least {
                continue;
            }
            for (i, similarity) in some.iter().enumerate() {
                if *similarity > self.least {
                    let image = (first + at * TOGETHER + i) as u32;
                    self.candidates.push((*similarity, image));
                }
            }
            if self.candidates.len() >= 2 * self.k.max(TOGETHER) {
                self.cut();
            }
        }
    }

    /// Leaves the `k` nearest.
    fn cut(&mut self) {
        if self.candidates.len() > self.k {
            let (_, (least, _), _) = self.candidates.select_nth_unstable_by(self.k - 1, nearer);
            self.least = *least;
            self.candidates.truncate(self.k);
        }
    }

    /// The `k` nearest, the nearest first.
    fn first(mut self) -> Vec<(f32, u32)> {
        self.cut();
        self.candidates.sort_unstable_by(nearer);
        self.candidates
    }
}

/// The larger similarity first, of equal ones the image that comes first.
fn nearer((x, a): &(f32, u32), (y, b): &(f32, u32)) -> Ordering {
    y.partial_cmp(x).unwrap_or(Ordering::Equal).then(a.cmp(b))
}

/// The class with the most votes.
fn vote(near: &[(f32, u32)], labels: &[u32], temperature: f64) -> u32 {
    let most = near.first().map_or(0.0, |(similarity, _)| *similarity);
    let mut votes = BTreeMap::new();
    for (similarity, image) in near {
        // Relative to the nearest: the same order of classes, and neither overflow nor only zeros.
        let below = f64::from(*similarity) - f64::from(most);
        *votes.entry(labels[*image as usize]).or_insert(0.0) += (below / temperature).exp();
    }
    let more = |best: (u32, f64), other: (u32, f64)| if other.1 > best.1 { other } else { best };
    votes.into_iter().reduce(more).expect("a neighbour").0
}
