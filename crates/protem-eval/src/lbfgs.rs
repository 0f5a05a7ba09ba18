//! Minima of smooth convex functions.

use std::collections::VecDeque;

/// Where [`minimise`] ended.
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

/// Minimises `function`, which answers value and gradient at once, by L-BFGS (Nocedal and Wright
/// 2006, algorithm 7.5) with steps that are halved until the value falls enough. Ends after so many
/// `iterations`, where no derivative exceeds `tolerance` (times the value where that is below 1: there
/// is little left to gain then, and yet it counts), or where no step goes down any more;
/// nothing if `go_on`, asked before the first iteration and after each, says no.
pub(crate) fn minimise(
    start: Vec<f64>,
    (iterations, tolerance): (usize, f64),
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Minimum> {
    let mut at = start;
    let (mut value, mut gradient) = function(&at);
    let mut steps = Steps::default();
    let mut done = 0;
    if !go_on() {
        return None;
    }
    let small = |value: f64, gradient: &[f64]| {
        let most = tolerance * value.abs().min(1.0);
        gradient.iter().all(|g| g.abs() <= most)
    };
    while done < iterations && !small(value, &gradient) {
        let direction = steps.direction(&gradient);
        let slope = dot(&direction, &gradient);
        let mut length = match steps.0.is_empty() {
            true => 1.0 / dot(&gradient, &gradient).sqrt(),
            false => 1.0,
        };
        let found = (0..HALVINGS).find_map(|_| {
            let there: Vec<f64> = at
                .iter()
                .zip(&direction)
                .map(|(x, d)| x + length * d)
                .collect();
            let (lower, new) = function(&there);
            // Armijo's condition; or, where rounding hides by how much a value falls, what it says of
            // the slopes (Hager and Zhang 2005, eq. 4.1). Written so that a NaN fails.
            let falls = lower <= value + SHARE * length * slope;
            let level = lower <= value + ROUNDING * value.abs();
            let slopes = dot(&new, &direction) <= (2.0 * SHARE - 1.0) * slope;
            length /= 2.0;
            (falls || level && slopes).then_some((there, lower, new))
        });
        let Some((there, lower, new)) = found else {
            break;
        };
        steps.add(&at, &there, &gradient, &new);
        (at, value, gradient) = (there, lower, new);
        done += 1;
        if !go_on() {
            return None;
        }
    }
    Some(Minimum {
        converged: small(value, &gradient),
        at,
        iterations: done,
    })
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

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
