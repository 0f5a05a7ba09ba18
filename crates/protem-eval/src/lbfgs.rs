//! Minima of smooth convex functions.

use std::collections::VecDeque;

/// Where a [`Descent`] ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Minimum {
    pub at: Vec<f64>,
    pub iterations: usize,
    /// Whether every derivative is small enough.
    pub converged: bool,
}

/// Steps that the curvature is taken from.
const MEMORY: usize = 30;
/// Halvings of a step, after which rounding is all that is left.
const HALVINGS: usize = 30;

/// Share of what the slope promises that a step must gain.
const SHARE: f64 = 1e-4;
/// What a value may be off by, relative to itself: it may be a sum in f32.
const ROUNDING: f64 = 1e-6;

/// Minimises `function`, which answers value and gradient at once, as a [`Descent`] does; nothing if
/// `go_on`, asked after each evaluation, says no.
pub(crate) fn minimise(
    start: Vec<f64>,
    limits: (usize, f64),
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Minimum> {
    let mut descent = Descent::new(start, limits);
    while let Some(at) = descent.asks() {
        let (value, gradient) = function(at);
        descent.tell(value, gradient);
        if !go_on() {
            return None;
        }
    }
    Some(descent.minimum())
}

/// A way down to the minimum of a function, which is evaluated by whoever holds it, where it asks: so
/// that several functions can be evaluated at once. L-BFGS (Nocedal and Wright 2006, algorithm 7.5) with
/// steps that are halved until the value falls enough. Ends after so many iterations, where no derivative
/// exceeds the tolerance (times the value where that is below 1: there is little left to gain then, and
/// yet it counts), or where no step goes down any more.
pub(crate) struct Descent {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    steps: Steps,
    done: usize,
    iterations: usize,
    tolerance: f64,
    /// None before the first evaluation, and at the end.
    trial: Option<Trial>,
    begun: bool,
}

/// A step that is tried.
struct Trial {
    direction: Vec<f64>,
    /// Along the direction, of the value.
    slope: f64,
    length: f64,
    there: Vec<f64>,
    halvings: usize,
}

impl Trial {
    /// Whether a step falls enough: Armijo's condition; or, where rounding hides by how much a value falls,
    /// what it says of the slopes (Hager and Zhang 2005, eq. 4.1). Written so that a NaN fails.
    fn falls(&self, from: f64, to: f64, gradient: &[f64]) -> bool {
        let falls = to <= from + SHARE * self.length * self.slope;
        let level = to <= from + ROUNDING * from.abs();
        falls || level && dot(gradient, &self.direction) <= (2.0 * SHARE - 1.0) * self.slope
    }
}

impl Descent {
    /// From a point, with iterations at most and the tolerance.
    pub fn new(start: Vec<f64>, (iterations, tolerance): (usize, f64)) -> Self {
        Self {
            at: start,
            value: f64::NAN,
            gradient: Vec::new(),
            steps: Steps::default(),
            done: 0,
            iterations,
            tolerance,
            trial: None,
            begun: false,
        }
    }

    /// Where to evaluate the function next; nowhere at the end.
    pub fn asks(&self) -> Option<&[f64]> {
        match (&self.trial, self.begun) {
            (Some(trial), _) => Some(&trial.there),
            (None, false) => Some(&self.at),
            (None, true) => None,
        }
    }

    /// Value and gradient where it [asks](Self::asks).
    pub fn tell(&mut self, value: f64, gradient: Vec<f64>) {
        match self.trial.take() {
            None => {
                self.begun = true;
                (self.value, self.gradient) = (value, gradient);
            }
            Some(mut trial) if !trial.falls(self.value, value, &gradient) => {
                trial.halvings += 1;
                if trial.halvings < HALVINGS {
                    trial.length /= 2.0;
                    trial.there = moved(&self.at, trial.length, &trial.direction);
                    self.trial = Some(trial);
                }
                return;
            }
            Some(Trial { there, .. }) => {
                self.steps.add(&self.at, &there, &self.gradient, &gradient);
                (self.at, self.value, self.gradient) = (there, value, gradient);
                self.done += 1;
            }
        }
        if self.done < self.iterations && !self.is_small() {
            self.trial = Some(self.next());
        }
    }

    /// Where it is.
    pub fn minimum(self) -> Minimum {
        Minimum {
            converged: self.begun && self.is_small(),
            at: self.at,
            iterations: self.done,
        }
    }

    fn next(&self) -> Trial {
        let direction = self.steps.direction(&self.gradient);
        let length = match self.steps.0.is_empty() {
            true => 1.0 / dot(&self.gradient, &self.gradient).sqrt(),
            false => 1.0,
        };
        Trial {
            slope: dot(&direction, &self.gradient),
            there: moved(&self.at, length, &direction),
            direction,
            length,
            halvings: 0,
        }
    }

    fn is_small(&self) -> bool {
        let most = self.tolerance * self.value.abs().min(1.0);
        self.gradient.iter().all(|g| g.abs() <= most)
    }
}

fn moved(from: &[f64], length: f64, direction: &[f64]) -> Vec<f64> {
    let both = from.iter().zip(direction);
    both.map(|(x, d)| x + length * d).collect()
}

/// The last steps: how far each went, how the gradient changed, and one over the product of both.
#[derive(Default)]
struct Steps(VecDeque<(Vec<f64>, Vec<f64>, f64)>);

impl Steps {
    fn add(&mut self, from: &[f64], to: &[f64], before: &[f64], after: &[f64]) {
        let difference = |a: &[f64], b: &[f64]| b.iter().zip(a).map(|(b, a)| b - a).collect();
        let (step, change): (Vec<f64>, Vec<f64>) =
            (difference(from, to), difference(before, after));
        let curvature = dot(&step, &change);
        // Without curvature, which rounding can take away, a step tells nothing.
        if curvature > f64::EPSILON * dot(&change, &change) {
            if self.0.len() == MEMORY {
                self.0.pop_front();
            }
            self.0.push_back((step, change, 1.0 / curvature));
        }
    }

    /// Minus the gradient times an estimate of the inverse of the second derivatives.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.0.len());
        for (step, change, inverse) in self.0.iter().rev() {
            let share = inverse * dot(step, &direction);
            add(&mut direction, -share, change);
            shares.push(share);
        }
        if let Some((_, change, inverse)) = self.0.back() {
            let scale = 1.0 / (inverse * dot(change, change));
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for ((step, change, inverse), share) in self.0.iter().zip(shares.into_iter().rev()) {
            let other = inverse * dot(change, &direction);
            add(&mut direction, share - other, step);
        }
        direction
    }
}

/// Sums that are kept side by side, for vectors.
const LANES: usize = 8;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    lanes.into_iter().chain(rest).sum()
}

fn add(to: &mut [f64], factor: f64, values: &[f64]) {
    to.iter_mut()
        .zip(values)
        .for_each(|(t, v)| *t += factor * v);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ wᵢ(xᵢ − i)² + (x₀ − x₁)⁴, badly scaled.
    fn bowl(x: &[f64]) -> (f64, Vec<f64>) {
        let weight = |i: usize| 10f64.powi(i as i32 - 3);
        let apart = x[0] - x[1];
        let mut value = apart.powi(4);
        let mut gradient = vec![0.0; x.len()];
        for (i, x) in x.iter().enumerate() {
            let off = x - i as f64;
            value += weight(i) * off * off;
            gradient[i] = 2.0 * weight(i) * off;
        }
        gradient[0] += 4.0 * apart.powi(3);
        gradient[1] -= 4.0 * apart.powi(3);
        (value, gradient)
    }

    #[test]
    fn it_goes_to_the_bottom() {
        let found = minimise(vec![0.0; 7], (500, 1e-9), bowl, &mut || true).unwrap();
        assert!(found.converged && found.iterations < 200, "{found:?}");
        for (i, x) in found.at.iter().enumerate().skip(2) {
            assert!((x - i as f64).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn it_ends_when_it_is_told_and_after_its_iterations() {
        assert_eq!(
            minimise(vec![0.0; 7], (500, 1e-9), bowl, &mut || false),
            None
        );
        let found = minimise(vec![0.0; 7], (3, 1e-9), bowl, &mut || true).unwrap();
        assert!(!found.converged && found.iterations == 3, "{found:?}");
        // Where nothing is finite no step goes down.
        let nowhere = |x: &[f64]| (f64::NAN, vec![1.0; x.len()]);
        let found = minimise(vec![0.5; 2], (10, 1e-9), nowhere, &mut || true).unwrap();
        assert_eq!((found.at, found.iterations), (vec![0.5; 2], 0));
    }
}
