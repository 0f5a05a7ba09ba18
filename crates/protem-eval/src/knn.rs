//! Weighted k-nearest-neighbour classification.

use crate::neighbours::{Similar, of_each};
use crate::{EvalError, Features};
use serde::{Deserialize, Serialize};
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
    let vote = |near: Vec<Similar>| vote(&near, train_labels, config.temperature);
    let Some(predictions) = of_each(&train, &test, config.k, &vote, progress) else {
        return Ok(None);
    };
    let right = predictions
        .iter()
        .zip(test_labels)
        .filter(|(p, t)| p == t)
        .count();
    Ok(Some(KnnResult {
        top1: right as f64 / test_labels.len() as f64,
        predictions,
        k: config.k.clamp(1, train.rows()),
    }))
}

/// The class with the most votes.
fn vote(near: &[Similar], labels: &[u32], temperature: f64) -> u32 {
    let most = near.first().map_or(0.0, |first| first.similarity);
    let mut votes = BTreeMap::new();
    for Similar { image, similarity } in near {
        // Relative to the nearest: the same order of classes, and neither overflow nor only zeros.
        let below = f64::from(*similarity) - f64::from(most);
        *votes.entry(labels[*image as usize]).or_insert(0.0) += (below / temperature).exp();
    }
    let more = |best: (u32, f64), other: (u32, f64)| if other.1 > best.1 { other } else { best };
    votes.into_iter().reduce(more).expect("a neighbour").0
}
