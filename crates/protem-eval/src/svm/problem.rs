//! What is minimised to learn classes, all of them in each pass over the images.

use super::POSITIVE_WEIGHT;
use crate::lbfgs::{Descent, Minimum};
use crate::products::{columns_by_columns, rows_by_rows};
use crate::{Classified, Features};
use rayon::prelude::*;
use std::ops::Range;

/// No derivative of what is minimised is larger at the end of a fit that converged. It grows from its
/// minimum at least as half the square of the way there, so that the weights are within `√(dim + 1)`
/// times this of the best ones, in length, and scores within 1.5 times that.
const TOLERANCE: f64 = 1e-6;

/// Images whose scores are one matrix product.
const BLOCK: usize = 128;

/// Classes, and the images they are learnt from.
pub(super) struct Problem<'a> {
    x: &'a Features,
    images: &'a [usize],
    classes: usize,
    /// Image by class: whether it has the class.
    positive: Vec<bool>,
    cost: f64,
}

/// What images add to each class's value, and to its derivatives.
struct Sums {
    values: Vec<f64>,
    /// Class by value.
    weights: Vec<f64>,
    biases: Vec<f64>,
}

impl Sums {
    fn add(mut self, other: &Self) -> Self {
        let all = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        all(&mut self.values, &other.values);
        all(&mut self.weights, &other.weights);
        all(&mut self.biases, &other.biases);
        self
    }
}

impl<'a> Problem<'a> {
    /// Of some of a set's classes and images.
    pub fn new(set: &'a Classified, images: &'a [usize], classes: &[usize], cost: f64) -> Self {
        let of_image = |image: &usize| {
            let image = *image;
            classes.iter().map(move |class| set.has(image, *class))
        };
        Self {
            x: &set.features,
            images,
            classes: classes.len(),
            positive: images.iter().flat_map(of_image).collect(),
            cost,
        }
    }

    /// Weights and then the bias of each class. `go_on` is asked once for each class, when it is found.
    pub fn fit(&self, iterations: usize, go_on: &dyn Fn() -> bool) -> Option<Vec<Minimum>> {
        let start = vec![0.0; self.x.dim() + 1];
        let descent = |_| Descent::new(start.clone(), (iterations, TOLERANCE));
        let mut descents: Vec<Descent> = (0..self.classes).map(descent).collect();
        loop {
            let asks = |class: &usize| descents[*class].asks().is_some();
            let under_way: Vec<usize> = (0..self.classes).filter(asks).collect();
            if under_way.is_empty() {
                break;
            }
            let at: Vec<&[f64]> = under_way
                .iter()
                .filter_map(|c| descents[*c].asks())
                .collect();
            let told = self.values(&under_way, &at);
            for (class, (value, gradient)) in under_way.into_iter().zip(told) {
                descents[class].tell(value, gradient);
                if descents[class].asks().is_none() && !go_on() {
                    return None;
                }
            }
        }
        Some(descents.into_iter().map(Descent::minimum).collect())
    }

    /// Of some classes, each at a place of its own: the value, and the derivatives.
    fn values(&self, classes: &[usize], at: &[&[f64]]) -> Vec<(f64, Vec<f64>)> {
        let sums = self.sums(classes, &Hyperplanes::new(at), 0..self.images.len());
        let of_class = |(i, at): (usize, &&[f64])| {
            let dim = self.x.dim();
            let squares: f64 = at.iter().map(|w| w * w).sum();
            let slopes = sums.weights[i * dim..][..dim]
                .iter()
                .chain(&sums.biases[i..=i]);
            let gradient = at.iter().zip(slopes).map(|(w, slope)| w + slope);
            (squares / 2.0 + sums.values[i], gradient.collect())
        };
        at.iter().enumerate().map(of_class).collect()
    }

    /// Halves are added, so that the bits do not depend on who computes which.
    fn sums(&self, classes: &[usize], planes: &Hyperplanes, images: Range<usize>) -> Sums {
        let blocks = images.len().div_ceil(BLOCK);
        if blocks <= 1 {
            return self.block(classes, planes, images);
        }
        let middle = images.start + blocks / 2 * BLOCK;
        let (first, second) = rayon::join(
            || self.sums(classes, planes, images.start..middle),
            || self.sums(classes, planes, middle..images.end),
        );
        first.add(&second)
    }

    fn block(&self, classes: &[usize], planes: &Hyperplanes, images: Range<usize>) -> Sums {
        let (dim, count) = (self.x.dim(), classes.len());
        let row = |image: &usize| &self.x.values()[image * dim..][..dim];
        let x = in_f64(self.images[images.clone()].iter().map(row), dim);
        let mut sums = Sums {
            values: vec![0.0; count],
            weights: vec![0.0; count * dim],
            biases: vec![0.0; count],
        };
        let mut slopes = planes.scores(&x);
        for (image, slopes) in images.zip(slopes.chunks_exact_mut(count)) {
            for (i, slope) in slopes.iter_mut().enumerate() {
                let (sign, cost) = match self.positive[image * self.classes + classes[i]] {
                    true => (1.0, self.cost * POSITIVE_WEIGHT),
                    false => (-1.0, self.cost),
                };
                let short = (1.0 - sign * *slope).max(0.0);
                *slope = -2.0 * cost * short * sign;
                sums.values[i] += cost * short * short;
                sums.biases[i] += *slope;
            }
        }
        columns_by_columns(&slopes, count, &x, dim, &mut sums.weights);
        sums
    }
}

/// Rows of `dim` values each.
fn in_f64<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, dim: usize) -> Vec<f64> {
    let mut values = vec![0.0; rows.len() * dim];
    for (to, row) in values.chunks_exact_mut(dim).zip(rows) {
        to.iter_mut()
            .zip(row)
            .for_each(|(to, x)| *to = f64::from(*x));
    }
    values
}

/// Weights and biases of some classes.
pub(super) struct Hyperplanes {
    dim: usize,
    /// Class by value.
    weights: Vec<f64>,
    biases: Vec<f64>,
}

impl Hyperplanes {
    /// From weights and then the bias of each.
    pub fn new(of_classes: &[&[f64]]) -> Self {
        let split = |of_class: &&[f64]| of_class.split_last().map_or(0.0, |(bias, _)| *bias);
        let dim = of_classes.first().map_or(0, |first| first.len() - 1);
        let weights = of_classes.iter().flat_map(|of_class| &of_class[..dim]);
        Self {
            dim,
            weights: weights.copied().collect(),
            biases: of_classes.iter().map(split).collect(),
        }
    }

    /// Image by class.
    pub fn scores_of_all(&self, x: &Features) -> Vec<f64> {
        let blocks = x.values().par_chunks(BLOCK * self.dim);
        let scores =
            blocks.flat_map_iter(|x| self.scores(&in_f64(x.chunks_exact(self.dim), self.dim)));
        scores.collect()
    }

    fn scores(&self, x: &[f64]) -> Vec<f64> {
        let classes = self.biases.len();
        let mut scores = vec![0.0; x.len() / self.dim * classes];
        rows_by_rows(x, &self.weights, self.dim, &mut scores);
        for row in scores.chunks_exact_mut(classes) {
            row.iter_mut().zip(&self.biases).for_each(|(s, b)| *s += b);
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::{scaled, tests::waves};

    #[test]
    fn derivatives_are_differences() {
        let train = scaled(waves(1, 23));
        let images: Vec<usize> = (0..23).chain([3, 3]).collect();
        let problem = Problem::new(&train, &images, &[1], 0.7);
        let at = [0.3, -0.8, 1.1, 0.2, -0.4, 0.6];
        let value = |at: &[f64]| problem.values(&[0], &[at]).remove(0);
        let (_, gradient) = value(&at);
        for i in 0..at.len() {
            let after = |step: f64| {
                let mut there = at;
                there[i] += step;
                value(&there).0
            };
            let difference = (after(1e-5) - after(-1e-5)) / 2e-5;
            assert!((gradient[i] - difference).abs() < 1e-5, "{i}: {gradient:?}");
        }
    }

    /// Each class as though it were alone, whatever is learnt beside it, over several blocks and any rest.
    #[test]
    fn classes_are_learnt_as_if_alone() {
        for images in [1, BLOCK, BLOCK + 1, 5 * BLOCK + 77] {
            let train = scaled(waves(1, images as u32));
            let all: Vec<usize> = (0..images).collect();
            let fit = |classes: &[usize]| {
                let problem = Problem::new(&train, &all, classes, 0.5);
                problem.fit(2000, &|| true).unwrap()
            };
            let together = fit(&[0, 1, 2]);
            for (class, found) in together.iter().enumerate() {
                let alone = &fit(&[class])[0];
                assert!(found.converged && alone.converged, "{images}, {class}");
                for (a, b) in found.at.iter().zip(&alone.at) {
                    assert!((a - b).abs() < 1e-5, "{images}, {class}: {a}, {b}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let train = scaled(waves(1, 1000));
        let all: Vec<usize> = (0..1000).collect();
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let problem = Problem::new(&train, &all, &[0, 1, 2], 0.5);
            pool.unwrap()
                .install(|| problem.fit(2000, &|| true).unwrap())
        };
        assert_eq!(fit(1), fit(3));
    }

    /// And an image that is there twice has the same score, wherever it stands.
    #[test]
    fn scores_are_sums_of_products() {
        for dim in [1, 7, 8, 9, 31] {
            let image: Vec<f32> = (0..dim).map(|i| (i as f32).cos()).collect();
            let at: Vec<Vec<f64>> = (0..5)
                .map(|c| (0..=dim).map(|i| ((c + 3 * i) as f64).sin()).collect())
                .collect();
            let planes = Hyperplanes::new(&at.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let images = Features::new(image.repeat(BLOCK + 13), dim).unwrap();
            let scores = planes.scores_of_all(&images);
            for (i, score) in scores.iter().enumerate() {
                let products = image.iter().zip(&at[i % 5]).map(|(x, w)| f64::from(*x) * w);
                let sum = products.sum::<f64>() + at[i % 5][dim];
                assert!((score - sum).abs() < 1e-13, "{dim}");
                assert_eq!(*score, scores[i % 5], "{dim}, {i}");
            }
        }
    }
}
