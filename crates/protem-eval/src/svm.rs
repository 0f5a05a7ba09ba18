//! Linear support vector machines on frozen features, one for each class.

mod problem;

use crate::{Classified, EvalError, average_precision};
use problem::{Hyperplanes, Problem};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often an image that has the class counts in what [`svm`] minimises; one that has not counts once.
pub const POSITIVE_WEIGHT: f64 = 2.0;

/// What lengths of features are raised by before they are divided by them.
const RAISE: f64 = 1e-5;

/// Classes that are learnt together, so that a pass over the images serves all of them.
const TOGETHER: usize = 32;

/// The highest cost there may be: the length of the weights does not count beside it long since.
const MOST: f64 = 1e6;

/// Settings of [`svm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SvmConfig {
    /// The cost C.
    pub cost: f64,
    /// Iterations of a fit at most.
    pub iterations: usize,
}

impl Default for SvmConfig {
    fn default() -> Self {
        Self {
            cost: 0.5,
            iterations: 2000,
        }
    }
}

impl SvmConfig {
    /// Whether there can be such a classifier.
    ///
    /// # Errors
    /// A cost that is not above 0 and at most 10⁶.
    pub fn check(&self) -> Result<(), EvalError> {
        match self.cost > 0.0 && self.cost <= MOST {
            true => Ok(()),
            false => Err(EvalError::Cost { value: self.cost }),
        }
    }
}

/// What [`svm`] measured after learning from a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SvmResult {
    /// [`average_precision`] of each class; none where no image of the sample has it, or no test image.
    pub ap: Vec<Option<f64>>,
    /// Mean of those there are.
    pub map: f64,
    /// Share of the test images whose class has the highest score, of equal scores the lowest class;
    /// where every image of both sets has exactly one.
    pub top1: Option<f64>,
    /// Fits that did not converge.
    pub unconverged: usize,
}

/// Ranks test images for each class by a linear SVM that has learnt from a sample of the training
/// images, and measures [`average_precision`]; so for each of `samples`, which are numbers of training
/// images, and an image that is there twice counts twice. It is the evaluation on PASCAL VOC of Goyal et
/// al. 2019 as PCL runs it: features are divided by their length plus 10⁻⁵, and for each class
///
/// `½(‖w‖² + b²) + C Σᵢ cᵢ max(0, 1 − yᵢ(w·xᵢ + b))²`
///
/// is minimised over all images of the sample, `y` being 1 and `c` 2 for those that have the class, −1
/// and 1 for all others: scikit-learn's `LinearSVC(C, class_weight={1: 2, -1: 1})`. The minimum is
/// unique; L-BFGS goes nearer to it than `LinearSVC` does by its default. Ours is what is done where
/// scikit-learn ends: images that all have a class are learnt from like others, and a class that none
/// has is left out.
///
/// `progress` is told fits done and fits in all, before the first fit and after each, from any thread and
/// not always in order, and answers whether to go on; nothing if it does not.
///
/// # Errors
/// Dimensions or classes of the sets that differ; a sample of images that are not there, or without a
/// class that a test image has; what [`SvmConfig::check`] refuses.
pub fn svm(
    train: Classified,
    test: Classified,
    samples: &[Vec<usize>],
    config: &SvmConfig,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Result<Option<Vec<SvmResult>>, EvalError> {
    EvalError::counted("test dimensions", test.features.dim(), train.features.dim())?;
    EvalError::counted("test classes", test.classes(), train.classes())?;
    config.check()?;
    let images = train.images();
    if let Some(image) = samples.iter().flatten().find(|image| **image >= images) {
        let image = *image;
        return Err(EvalError::Image { image, images });
    }
    let measure = Measure {
        train: scaled(train),
        test: scaled(test),
        config: *config,
    };
    let classes: Vec<Vec<usize>> = samples
        .iter()
        .map(|sample| measure.classes(sample))
        .collect();
    let tested = measure.test.members();
    let measured = |classes: &Vec<usize>| classes.iter().any(|class| !tested[*class].is_empty());
    if !classes.iter().all(measured) {
        return Err(EvalError::NothingMeasured);
    }
    let fits = classes.iter().map(Vec::len).sum();
    if !progress(0, fits) {
        return Ok(None);
    }
    let done = AtomicUsize::new(0);
    let go_on = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, fits);
    let fit = |(sample, classes): (&Vec<usize>, &Vec<usize>)| {
        let fitted = measure.fit(sample, classes, &go_on)?;
        Some(measure.result(&fitted))
    };
    let results: Option<Vec<Result<SvmResult, EvalError>>> =
        samples.par_iter().zip(&classes).map(fit).collect();
    results.map(|all| all.into_iter().collect()).transpose()
}

/// With features of length one, nearly.
fn scaled(mut set: Classified) -> Classified {
    let dim = set.features.dim;
    for row in set.features.values.chunks_exact_mut(dim) {
        let squares = row.iter().map(|x| f64::from(*x).powi(2));
        let length = squares.sum::<f64>().sqrt() + RAISE;
        row.iter_mut()
            .for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    set
}

/// What is measured, and how.
struct Measure {
    train: Classified,
    test: Classified,
    config: SvmConfig,
}

/// A class that was learnt.
struct Fitted {
    class: usize,
    /// Of the test images.
    scores: Vec<f64>,
    converged: bool,
}

impl Measure {
    /// Classes that images of a sample have.
    fn classes(&self, sample: &[usize]) -> Vec<usize> {
        let mut there = vec![false; self.train.classes()];
        let labels = sample.iter().flat_map(|image| &self.train.labels[*image]);
        labels.for_each(|class| there[*class as usize] = true);
        (0..there.len()).filter(|class| there[*class]).collect()
    }

    /// Learns classes, a few together.
    fn fit(
        &self,
        sample: &[usize],
        classes: &[usize],
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<Fitted>> {
        let mut fitted = Vec::with_capacity(classes.len());
        for classes in classes.chunks(TOGETHER) {
            let problem = Problem::new(&self.train, sample, classes, self.config.cost);
            let found = problem.fit(self.config.iterations, go_on)?;
            let weights: Vec<&[f64]> = found.iter().map(|minimum| &minimum.at[..]).collect();
            let scores = Hyperplanes::new(&weights).scores_of_all(&self.test.features);
            let of = |(at, class): (usize, &usize)| Fitted {
                class: *class,
                scores: scores
                    .iter()
                    .skip(at)
                    .step_by(classes.len())
                    .copied()
                    .collect(),
                converged: found[at].converged,
            };
            fitted.extend(classes.iter().enumerate().map(of));
        }
        Some(fitted)
    }

    fn result(&self, fitted: &[Fitted]) -> Result<SvmResult, EvalError> {
        let mut ap = vec![None; self.test.classes()];
        for Fitted { class, scores, .. } in fitted {
            let has = |image| self.test.has(image, *class);
            let positive: Vec<bool> = (0..scores.len()).map(has).collect();
            ap[*class] = average_precision(scores, &positive)?;
        }
        let there: Vec<f64> = ap.iter().copied().flatten().collect();
        Ok(SvmResult {
            map: there.iter().sum::<f64>() / there.len() as f64,
            ap,
            top1: self.top1(fitted),
            unconverged: fitted.iter().filter(|fitted| !fitted.converged).count(),
        })
    }

    fn top1(&self, fitted: &[Fitted]) -> Option<f64> {
        let mut labels = self.train.labels.iter().chain(&self.test.labels);
        if !labels.all(|classes| classes.len() == 1) {
            return None;
        }
        let right = |image: &usize| {
            // From the last class on, as the last of equal ones is taken.
            let highest = fitted
                .iter()
                .rev()
                .max_by(|a, b| a.scores[*image].total_cmp(&b.scores[*image]));
            highest.is_some_and(|highest| self.test.has(*image, highest.class))
        };
        let images = self.test.images();
        Some((0..images).filter(right).count() as f64 / images as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    /// Images of five values that tell a little of three classes, of which an image has any number; one
    /// image has the last.
    pub(super) fn waves(first: u32, images: u32) -> Classified {
        let mut labels = Vec::new();
        let values = (0..images).flat_map(|i| {
            let mut row =
                [0, 1, 2, 3, 4].map(|j| f64::from(first + 5 * i + j).powi(2).sin() as f32);
            let has = [i * i % 7 == 1, i % 3 == 0, i == 4];
            let classes: Vec<u32> = (0..3).filter(|c| has[*c as usize]).collect();
            classes.iter().for_each(|c| row[*c as usize] += 0.4);
            labels.push(classes);
            row
        });
        let features = Features::new(values.collect(), 5).unwrap();
        Classified::new(features, labels, 3).unwrap()
    }

    /// scikit-learn 1.9.1:
    ///
    /// ```python
    /// import numpy as np
    /// from sklearn.svm import LinearSVC
    ///
    /// def waves(first, n):
    ///     v = np.sin((first + np.arange(n * 5)).astype(np.float64) ** 2).astype(np.float32).reshape(n, 5)
    ///     i = np.arange(n)
    ///     y = np.stack([i * i % 7 == 1, i % 3 == 0, i == 4], 1)
    ///     v[:, :3] += np.float32(0.4) * y
    ///     v = v.astype(np.float64)
    ///     return (v / (np.linalg.norm(v, axis=1) + 1e-5)[:, None]).astype(np.float32), y
    ///
    /// def ap(scores, positive):
    ///     order = np.argsort(-scores, kind="stable"); tp = np.cumsum(positive[order])
    ///     precision, recall = tp / np.arange(1, len(tp) + 1), tp / tp[-1]
    ///     envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ///     return (np.diff(recall, prepend=0) * envelope).sum()
    ///
    /// (x, y), (test, t) = waves(1, 61), waves(5000, 37)
    /// for c in 0.5, 100:
    ///     for k in range(3):
    ///         svc = LinearSVC(C=c, class_weight={True: 2, False: 1}, tol=1e-12, max_iter=10**7, random_state=0)
    ///         svc.fit(x.astype(np.float64), y[:, k])
    ///         s = svc.decision_function(test.astype(np.float64))
    ///         print(c, [float(w) for w in np.append(svc.coef_, svc.intercept_)], float(ap(s, t[:, k])))
    /// ```
    const SCIKIT: [(f64, [f64; 6], f64); 6] = [
        (
            0.5,
            [
                -0.21328367331126094,
                -0.45162491368342067,
                0.5987025777546955,
                0.6110520489366489,
                -0.09657558137425414,
                -0.11986877138825752,
            ],
            0.3533689839572193,
        ),
        (
            0.5,
            [
                0.01833912159599931,
                0.30922357231974595,
                -0.6110162359466457,
                0.21686697055729828,
                0.029744398157554013,
                -0.007365427807581403,
            ],
            0.5,
        ),
        (
            0.5,
            [
                0.15055006192910617,
                -0.010802655791887716,
                0.3539800599687943,
                -0.27513086697552125,
                0.029362826490603684,
                -1.082928948381966,
            ],
            0.03225806451612903,
        ),
        (
            100.0,
            [
                -0.2378182175767275,
                -0.49696092834228167,
                0.6410904062935131,
                0.6616820348134205,
                -0.1010637551991589,
                -0.11945485486380403,
            ],
            0.34204031262854795,
        ),
        (
            100.0,
            [
                0.03454748394983139,
                0.33648162649420904,
                -0.6540885724127009,
                0.2225697725265078,
                0.03187467409698086,
                -0.011719541417608528,
            ],
            0.5,
        ),
        (
            100.0,
            [
                1.6187485240606687,
                -1.9361573185572796,
                7.499719723967846,
                -6.67424690344214,
                -0.5382670551736051,
                -8.366791288604485,
            ],
            0.029411764705882353,
        ),
    ];

    #[test]
    fn it_is_the_one_of_scikit_learn() {
        let (train, test) = (scaled(waves(1, 61)), scaled(waves(5000, 37)));
        let all: Vec<usize> = (0..61).collect();
        for (at, (cost, weights, ap)) in SCIKIT.into_iter().enumerate() {
            let class = at % 3;
            let problem = Problem::new(&train, &all, &[class], cost);
            let found = problem.fit(2000, &|| true).unwrap().remove(0);
            assert!(found.converged, "{cost}, {class}: {found:?}");
            for (got, want) in found.at.iter().zip(weights) {
                // Both are within the tolerance; the features' last bits may differ.
                assert!((got - want).abs() < 1e-6, "{cost}, {class}: {found:?}");
            }
            let scores = Hyperplanes::new(&[&found.at]).scores_of_all(&test.features);
            let positive: Vec<bool> = (0..37).map(|i| test.has(i, class)).collect();
            let got = average_precision(&scores, &positive).unwrap().unwrap();
            assert!((got - ap).abs() < 1e-12, "{cost}, {class}: {got}");
        }
    }

    /// Lengths, and how far a length of 10⁻⁵ is from being one.
    #[test]
    fn features_have_length_one_unless_they_are_small() {
        let features = Features::new(vec![3.0, -4.0, 0.0, 0.0, 6e-6, 8e-6, 0.0, f32::MAX], 2);
        let set = Classified::new(features.unwrap(), vec![vec![]; 4], 1).unwrap();
        let expected = [0.599_998_8, -0.799_998_4, 0.0, 0.0, 0.3, 0.4, 0.0, 1.0];
        for (got, want) in scaled(set).features.values.into_iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{got}, not {want}");
        }
    }
}
