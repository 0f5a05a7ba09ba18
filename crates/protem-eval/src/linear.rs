//! A linear classifier on frozen features.

use crate::cross_entropy::cross_entropy;
use crate::lbfgs::{Minimum, minimise};
use crate::{EvalError, Features};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Penalties that [`linear`] chooses from, the strongest first.
pub const DECAYS: [f64; 13] = [
    1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6,
];

/// One of so many training images of a class is held out to choose among [`DECAYS`].
pub const HELD_OUT: usize = 5;

/// No derivative of what is minimised is larger at the end of a fit that converged, nor than this
/// share of what is minimised.
const TOLERANCE: f64 = 3e-5;

/// The strongest penalty there may be: under it nothing but the biases is left long since.
const MOST: f64 = 1e6;

/// Images whose scores are one matrix product.
const BLOCK: usize = 1024;

/// Settings of [`linear`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinearConfig {
    /// The penalty λ; chosen among [`DECAYS`] when not given.
    pub decay: Option<f64>,
    /// Iterations of a fit at most.
    pub iterations: usize,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            decay: None,
            iterations: 2000,
        }
    }
}

impl LinearConfig {
    /// Whether there can be such a classifier.
    ///
    /// # Errors
    /// A penalty that is not above 0 and at most 10⁶.
    pub fn check(&self) -> Result<(), EvalError> {
        match self.decay {
            Some(value) if !(value > 0.0 && value <= MOST) => Err(EvalError::Decay { value }),
            _ => Ok(()),
        }
    }
}

/// The outcome of [`linear`].
#[derive(Debug, Clone, PartialEq)]
pub struct LinearResult {
    /// Share of the test images whose class was found.
    pub top1: f64,
    /// Class found for each test image.
    pub predictions: Vec<u32>,
    /// The penalty of the classifier.
    pub decay: f64,
    /// What it was chosen from: each penalty with the share of held-out images whose class was found.
    pub tried: Vec<(f64, f64)>,
    /// Iterations of the last fit.
    pub iterations: usize,
    /// Whether it converged in them.
    pub converged: bool,
}

/// Classifies test images by multinomial logistic regression on the training images' features: the
/// least mean cross-entropy plus `λ/2` times the squares of the weights (not of the biases), by
/// L-BFGS. Features are standardised, by the means and deviations of those that are fitted. Without a
/// penalty given, each is fitted without every [`HELD_OUT`]th training image of a class, the one that
/// finds most classes of those is taken, of equal ones the strongest, and fitted on all (as Kornblith
/// et al. 2019 do, by other steps). Of equal scores the lowest class counts. `progress` is told fits
/// done and fits in all, and answers whether to go on; nothing if it does not.
///
/// # Errors
/// Labels or dimensions that do not fit the features; what [`LinearConfig::check`] refuses; without a
/// penalty, training images of which none can be held out.
pub fn linear(
    train: Features,
    train_labels: &[u32],
    test: Features,
    test_labels: &[u32],
    config: &LinearConfig,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<LinearResult>, EvalError> {
    EvalError::counted("training labels", train_labels.len(), train.rows())?;
    EvalError::counted("test labels", test_labels.len(), test.rows())?;
    EvalError::counted("test dimensions", test.dim(), train.dim())?;
    config.check()?;
    let mut tried = Vec::new();
    let fits = config.decay.map_or(DECAYS.len() + 1, |_| 1);
    let decay = match config.decay {
        Some(decay) => decay,
        None => {
            let mut go_on = |done| progress(done, fits);
            match try_all(&train, train_labels, config.iterations, &mut go_on)? {
                Some(all) => tried = all,
                None => return Ok(None),
            }
            let better = |best: (f64, f64), other: (f64, f64)| match other.1 > best.1 {
                true => other,
                false => best,
            };
            tried.iter().copied().reduce(better).expect("penalties").0
        }
    };
    let scale = Scale::of(&train);
    let (train, test) = (scale.apply(train), scale.apply(test));
    let problem = Problem::new(&train, train_labels, decay);
    let start = vec![0.0; problem.classes.len() * (train.dim() + 1)];
    let mut go_on = || progress(fits - 1, fits);
    let Some(found) = problem.fit(start, config.iterations, &mut go_on) else {
        return Ok(None);
    };
    let predictions = problem.predict(&found.at, &test);
    Ok(Some(LinearResult {
        top1: share(&predictions, test_labels),
        predictions,
        decay,
        tried,
        iterations: found.iterations,
        converged: found.converged,
    }))
}

/// Each penalty with the share of held-out images that a classifier of the others finds.
fn try_all(
    train: &Features,
    labels: &[u32],
    iterations: usize,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<(f64, f64)>>, EvalError> {
    let (kept, held) = split(labels);
    if held.is_empty() {
        return Err(EvalError::NothingHeldOut { of: HELD_OUT });
    }
    let of = |images: &[usize]| -> Vec<u32> { images.iter().map(|i| labels[*i]).collect() };
    let (kept_labels, held_labels) = (of(&kept), of(&held));
    let kept = train.some(&kept);
    let scale = Scale::of(&kept);
    let (kept, held) = (scale.apply(kept), scale.apply(train.some(&held)));
    let mut problem = Problem::new(&kept, &kept_labels, DECAYS[0]);
    let mut at = vec![0.0; problem.classes.len() * (kept.dim() + 1)];
    let mut tried = Vec::new();
    for decay in DECAYS {
        problem.decay = decay;
        // From the last one, whose penalty is the next stronger: not far.
        let done = tried.len();
        let Some(found) = problem.fit(at, iterations, &mut || progress(done)) else {
            return Ok(None);
        };
        at = found.at;
        tried.push((decay, share(&problem.predict(&at, &held), &held_labels)));
    }
    Ok(Some(tried))
}

/// Images to fit and images held out: every [`HELD_OUT`]th of its class.
fn split(labels: &[u32]) -> (Vec<usize>, Vec<usize>) {
    let mut seen = std::collections::HashMap::new();
    (0..labels.len()).partition(|i| {
        let of_class = seen.entry(labels[*i]).or_insert(0);
        *of_class += 1;
        *of_class % HELD_OUT != 0
    })
}

fn share(predictions: &[u32], labels: &[u32]) -> f64 {
    let right = predictions.iter().zip(labels).filter(|(p, l)| p == l);
    right.count() as f64 / labels.len() as f64
}

/// Mean of each value, and one over its deviation; 0 for a value that is always the same.
struct Scale {
    means: Vec<f64>,
    factors: Vec<f64>,
}

impl Scale {
    fn of(features: &Features) -> Self {
        let (n, dim) = (features.rows() as f64, features.dim());
        let rows = || features.values().chunks_exact(dim);
        let mut means = vec![0.0; dim];
        for row in rows() {
            means
                .iter_mut()
                .zip(row)
                .for_each(|(m, x)| *m += f64::from(*x));
        }
        means.iter_mut().for_each(|m| *m /= n);
        let mut squares = vec![0.0; dim];
        for row in rows() {
            for ((sum, x), mean) in squares.iter_mut().zip(row).zip(&means) {
                *sum += (f64::from(*x) - mean).powi(2);
            }
        }
        let factor = |square: f64| match square > 0.0 {
            true => (n / square).sqrt(),
            false => 0.0,
        };
        Self {
            means,
            factors: squares.into_iter().map(factor).collect(),
        }
    }

    fn apply(&self, mut features: Features) -> Features {
        let dim = features.dim;
        for row in features.values.chunks_exact_mut(dim) {
            for ((x, mean), factor) in row.iter_mut().zip(&self.means).zip(&self.factors) {
                // However far away a test image is, no product may overflow.
                *x = ((f64::from(*x) - mean) * factor).clamp(-1e30, 1e30) as f32;
            }
        }
        features
    }
}

/// What is minimised. Parameters are, class by class, weights and bias.
struct Problem<'a> {
    x: &'a Features,
    /// In ascending order.
    classes: Vec<u32>,
    /// Each image's place in `classes`.
    targets: Vec<usize>,
    decay: f64,
}

/// What some images add to cross-entropy and its derivatives.
struct Part {
    loss: f64,
    /// Class by value.
    weights: Vec<f32>,
    biases: Vec<f64>,
}

impl<'a> Problem<'a> {
    fn new(x: &'a Features, labels: &[u32], decay: f64) -> Self {
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let place = |label: &u32| classes.binary_search(label).expect("one of them");
        Self {
            x,
            targets: labels.iter().map(place).collect(),
            classes,
            decay,
        }
    }

    fn fit(
        &self,
        start: Vec<f64>,
        iterations: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Minimum> {
        minimise(start, (iterations, TOLERANCE), |at| self.value(at), go_on)
    }

    /// Mean cross-entropy plus penalty, and the derivatives.
    fn value(&self, at: &[f64]) -> (f64, Vec<f64>) {
        let (n, dim) = (self.x.rows() as f64, self.x.dim());
        let (weights, biases) = parts_of(at, dim);
        let mut loss = 0.0;
        let mut gradient = vec![0.0; at.len()];
        // Some blocks for each thread, and what they give added in their order.
        let some = BLOCK * rayon::current_num_threads();
        for (x, targets) in self
            .x
            .values()
            .chunks(some * dim)
            .zip(self.targets.chunks(some))
        {
            let parts: Vec<Part> = x
                .par_chunks(BLOCK * dim)
                .zip(targets.par_chunks(BLOCK))
                .map(|(x, targets)| part(x, targets, &weights, &biases))
                .collect();
            parts.iter().for_each(|part| loss += part.loss);
            let classes = gradient.par_chunks_exact_mut(dim + 1).enumerate();
            classes.for_each(|(class, gradient)| {
                for part in &parts {
                    let weights = &part.weights[class * dim..][..dim];
                    let places = gradient.iter_mut().zip(weights);
                    places.for_each(|(g, w)| *g += f64::from(*w));
                    gradient[dim] += part.biases[class];
                }
            });
        }
        let mut value = loss / n;
        for (gradient, at) in gradient
            .chunks_exact_mut(dim + 1)
            .zip(at.chunks_exact(dim + 1))
        {
            gradient.iter_mut().for_each(|g| *g /= n);
            for (g, w) in gradient.iter_mut().zip(&at[..dim]) {
                value += self.decay / 2.0 * w * w;
                *g += self.decay * w;
            }
        }
        (value, gradient)
    }

    /// The class of the highest score for each image.
    fn predict(&self, at: &[f64], images: &Features) -> Vec<u32> {
        let (weights, biases) = parts_of(at, images.dim());
        let blocks = images.values().par_chunks(BLOCK * images.dim());
        let found = blocks.flat_map_iter(|x| {
            let scores = scores(x, &weights, &biases);
            let highest = |row: &[f64]| {
                let higher = |best: usize, c: usize| if row[c] > row[best] { c } else { best };
                self.classes[(0..row.len()).reduce(higher).expect("a class")]
            };
            let found: Vec<u32> = scores.chunks_exact(biases.len()).map(highest).collect();
            found
        });
        found.collect()
    }
}

/// Weights, class by value, and biases.
fn parts_of(at: &[f64], dim: usize) -> (Vec<f32>, Vec<f64>) {
    let classes = at.chunks_exact(dim + 1);
    let biases = classes.clone().map(|class| class[dim]).collect();
    let weights = classes.flat_map(|class| class[..dim].iter().map(|w| *w as f32));
    (weights.collect(), biases)
}

/// Image by class.
fn scores(x: &[f32], weights: &[f32], biases: &[f64]) -> Vec<f64> {
    let classes = biases.len();
    let dim = weights.len() / classes;
    let mut products = vec![0.0; x.len() / dim * classes];
    crate::products::rows_by_rows(x, weights, dim, &mut products);
    let rows = products.chunks_exact(classes);
    rows.flat_map(|row| row.iter().zip(biases).map(|(p, b)| f64::from(*p) + b))
        .collect()
}

/// Cross-entropy of some images, and its derivatives.
fn part(x: &[f32], targets: &[usize], weights: &[f32], biases: &[f64]) -> Part {
    let classes = biases.len();
    let dim = weights.len() / classes;
    let mut scores = scores(x, weights, biases);
    let mut part = Part {
        loss: 0.0,
        weights: vec![0.0; weights.len()],
        biases: vec![0.0; classes],
    };
    for (row, target) in scores.chunks_exact_mut(classes).zip(targets) {
        part.loss += cross_entropy(row, *target);
        part.biases.iter_mut().zip(&*row).for_each(|(b, s)| *b += s);
    }
    let residuals: Vec<f32> = scores.iter().map(|s| *s as f32).collect();
    crate::products::columns_by_columns(&residuals, classes, x, dim, &mut part.weights);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 200 images of three classes.
    fn waves(first: usize) -> (Features, Vec<u32>) {
        let labels: Vec<u32> = (0..200).map(|i| i % 7 % 3).collect();
        let mut values: Vec<f64> = (0..1200).map(|i| ((first + i) as f64).sin()).collect();
        for (row, label) in values.chunks_exact_mut(6).zip(&labels) {
            row[*label as usize] += 0.6;
        }
        let values = values.into_iter().map(|x| x as f32).collect();
        (Features::new(values, 6).unwrap(), labels)
    }

    fn fitted(decay: f64) -> (Minimum, usize) {
        let ((x, labels), (test, test_labels)) = (waves(1), waves(5001));
        let scale = Scale::of(&x);
        let (x, test) = (scale.apply(x), scale.apply(test));
        let problem = Problem::new(&x, &labels, decay);
        let found = problem.fit(vec![0.0; 21], 1000, &mut || true).unwrap();
        let predictions = problem.predict(&found.at, &test);
        let right = predictions.iter().zip(&test_labels).filter(|(p, l)| p == l);
        let right = right.count();
        (found, right)
    }

    /// ```python
    /// import numpy as np
    /// from sklearn.linear_model import LogisticRegression
    /// from sklearn.preprocessing import StandardScaler
    /// n, d = 200, 6
    /// def waves(first):
    ///     y = np.arange(n) % 7 % 3
    ///     x = np.sin(np.arange(first, first + n * d, dtype="f8")).reshape(n, d)
    ///     x[np.arange(n), y] += 0.6
    ///     return x.astype("f4").astype("f8"), y
    /// (x, y), (test, test_y) = waves(1), waves(5001)
    /// scale = StandardScaler().fit(x)
    /// for decay in 1.0, 1e-2, 1e-4:
    ///     m = LogisticRegression(C=1 / (decay * n), tol=1e-12, max_iter=100000)
    ///     m.fit(scale.transform(x), y)
    ///     found = m.predict(scale.transform(test))
    ///     print(m.coef_[0], m.intercept_, (found == test_y).sum())
    /// ```
    #[test]
    fn a_fit_is_scikit_learns() {
        // scikit-learn 1.9.1: the first class's weights, all biases, test images classified rightly.
        let expected = [
            (
                1.0,
                [0.15322, -0.08265, -0.0577, 0.03145, -0.00234, -0.03402],
                [0.27433, -0.13459, -0.13974],
                98,
            ),
            (
                1e-2,
                [2.35595, -1.17964, -0.78801, 1.39387, 0.01454, -1.37954],
                [0.4273, -0.29833, -0.12897],
                200,
            ),
            (
                1e-4,
                [5.77008, -2.68016, -2.17955, 3.67452, 0.09535, -3.57503],
                [0.7962, -0.52252, -0.27368],
                200,
            ),
        ];
        for (decay, weights, biases, right) in expected {
            let (found, of_test) = fitted(decay);
            assert!(found.converged, "{decay}: {found:?}");
            assert_eq!(of_test, right, "{decay}");
            // The gradient left may stand for a distance of itself over the penalty.
            let near = |a: f64, b: f64| (a - b).abs() < 1e-5 + 2.0 * TOLERANCE / decay;
            let classes: Vec<&[f64]> = found.at.chunks_exact(7).collect();
            for (got, want) in classes[0].iter().zip(weights) {
                assert!(near(*got, want), "{decay}: {got}, not {want}");
            }
            for (class, want) in classes.iter().zip(biases) {
                assert!(near(class[6], want), "{decay}: {}, not {want}", class[6]);
            }
        }
    }

    /// Two classes far apart, of few images: what is minimised is small, and each penalty still has
    /// its own minimum.
    #[test]
    fn weak_penalties_are_fitted_where_nothing_is_lost() {
        let values = (0..40).map(|i| f32::from(i as u8 % 4 / 2) * 3.0 + (i as f32).sin());
        let x = Features::new(values.collect(), 2).unwrap();
        let labels: Vec<u32> = (0..20).map(|i| i % 2).collect();
        let x = Scale::of(&x).apply(x);
        let mut problem = Problem::new(&x, &labels, 0.0);
        let mut at = vec![0.0; 6];
        for decay in DECAYS {
            problem.decay = decay;
            let from_there = problem.fit(at, 1000, &mut || true).unwrap();
            let alone = problem.fit(vec![0.0; 6], 1000, &mut || true).unwrap();
            assert!(from_there.converged && alone.converged, "{decay}");
            assert!(from_there.iterations > 0, "{decay}");
            let (one, other) = (problem.value(&from_there.at).0, problem.value(&alone.at).0);
            assert!(
                (one / other - 1.0).abs() < 1e-4,
                "{decay}: {one} and {other}"
            );
            at = from_there.at;
        }
    }

    #[test]
    fn an_image_beyond_all_numbers_has_a_class() {
        let x = Features::new(vec![0.0, 1e-42, 0.0, 1e-42], 1).unwrap();
        let problem = Problem::new(&x, &[0, 1, 0, 1], 0.1);
        let scale = Scale::of(&x);
        let train = scale.apply(x.clone());
        let fitted = Problem {
            x: &train,
            ..problem
        };
        let found = fitted.fit(vec![0.0; 4], 1000, &mut || true).unwrap();
        let far = Features::new(vec![f32::MAX, -f32::MAX, 1.0], 1).unwrap();
        assert_eq!(fitted.predict(&found.at, &scale.apply(far)), [1, 0, 1]);
    }

    #[test]
    fn derivatives_are_differences() {
        let (x, labels) = waves(1);
        let problem = Problem::new(&x, &labels, 0.3);
        let at: Vec<f64> = (0..21).map(|i| f64::from(i * i % 11) / 8.0 - 0.5).collect();
        let (_, gradient) = problem.value(&at);
        for i in 0..at.len() {
            let value = |step: f64| {
                let mut there = at.clone();
                there[i] += step;
                problem.value(&there).0
            };
            let difference = (value(1e-3) - value(-1e-3)) / 2e-3;
            assert!((gradient[i] - difference).abs() < 1e-4, "{i}: {gradient:?}");
        }
    }

    #[test]
    fn every_fifth_image_of_a_class_is_held_out() {
        let labels = [7, 3, 7, 7, 7, 3, 7, 3, 3, 3, 7, 7];
        let (kept, held) = split(&labels);
        assert_eq!(held, [6, 9]);
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 7, 8, 10, 11]);
    }
}
