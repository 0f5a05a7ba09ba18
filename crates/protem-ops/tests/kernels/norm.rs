//! Batch norm against its definition in f64, gradients against central differences of that.

use crate::{ROUNDOFF, numbers, poison, rounded, shape};
use protem_ops::norm::{self, Affine, Then};
use protem_ops::{Activation, Pool, Precision, Shape};

/// A batch norm with its inputs in f32; all maps in PyTorch's order.
struct Case {
    shape: Shape,
    parts: usize,
    then: Then,
    precision: Precision,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    added: Option<Vec<f32>>,
}

/// Inputs in f64: what the central differences move.
#[derive(Clone)]
struct Inputs {
    x: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    added: Vec<f64>,
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

impl Case {
    fn new(shape: Shape, parts: usize, added: bool, then: Then, offset: f32) -> Self {
        let seeds = [1, 2, 3].map(|seed| numbers(shape.channels, seed));
        let [gamma, beta, shift] = seeds;
        let x = numbers(shape.len(), 4);
        let channel = |at: usize| at / (shape.height * shape.width) % shape.channels;
        Self {
            shape,
            parts,
            then,
            precision: Precision::F32,
            x: (0..x.len())
                .map(|at| x[at] + 2.0 * shift[channel(at)] + offset)
                .collect(),
            gamma: gamma.iter().map(|g| 1.0 + 0.5 * g).collect(),
            beta,
            added: added.then(|| numbers(shape.len(), 5)),
        }
    }

    /// The same in bf16, maps rounded to it.
    fn bf16(mut self) -> Self {
        self.precision = Precision::Bf16;
        self.x = rounded(self.precision, &self.x);
        self.added = self.added.map(|added| rounded(self.precision, &added));
        self
    }

    /// Largest relative error of storing a value.
    fn of_storage(&self) -> f64 {
        match self.precision {
            Precision::F32 => ROUNDOFF,
            Precision::Bf16 => 1.0 / 256.0,
        }
    }

    fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: &self.gamma,
            beta: &self.beta,
        }
    }

    fn inputs(&self) -> Inputs {
        let zeros = vec![0.0; self.x.len()];
        Inputs {
            x: wide(&self.x),
            gamma: wide(&self.gamma),
            beta: wide(&self.beta),
            added: self.added.as_ref().map_or(zeros, |a| wide(a)),
        }
    }

    /// Places in PyTorch's order of one channel in one part of the batch.
    fn group(&self, part: usize, channel: usize) -> impl Iterator<Item = usize> {
        let (pixels, channels) = (self.shape.height * self.shape.width, self.shape.channels);
        let images = self.shape.batch / self.parts;
        (part * images..(part + 1) * images).flat_map(move |n| {
            let first = (n * channels + channel) * pixels;
            first..first + pixels
        })
    }

    /// Mean and sum of squared deviations of a group.
    fn moments(&self, x: &[f64], part: usize, channel: usize) -> (f64, f64, f64) {
        let count = self.group(part, channel).count() as f64;
        let mean = self.group(part, channel).map(|at| x[at]).sum::<f64>() / count;
        let deviations = self.group(part, channel).map(|at| (x[at] - mean).powi(2));
        (count, mean, deviations.sum())
    }

    /// Roundoff times the greatest |x| over its group's deviation: a roundoff of x, of the mean or
    /// of `x·scale` is as large as this in a normalised value.
    fn roundoff(&self) -> f64 {
        let x = wide(&self.x);
        let mut worst = 1.0f64;
        for (part, c) in (0..self.parts).flat_map(|p| (0..self.shape.channels).map(move |c| (p, c)))
        {
            let (count, _, squares) = self.moments(&x, part, c);
            let std = (squares / count + 1e-5).sqrt();
            let greatest = self
                .group(part, c)
                .fold(0.0, |m: f64, at| m.max(x[at].abs()));
            worst = worst.max(greatest / std);
        }
        worst * ROUNDOFF
    }

    fn after(&self, sum: f64) -> f64 {
        match self.then {
            Then::Identity => sum,
            Then::Relu => sum.max(0.0),
        }
    }

    fn oracle(&self, inputs: &Inputs) -> Vec<f64> {
        let mut y = vec![0.0; inputs.x.len()];
        for part in 0..self.parts {
            for c in 0..self.shape.channels {
                let (count, mean, squares) = self.moments(&inputs.x, part, c);
                let std = (squares / count + 1e-5).sqrt();
                for at in self.group(part, c) {
                    let normalised = (inputs.x[at] - mean) / std;
                    let sum = inputs.gamma[c] * normalised + inputs.beta[c] + inputs.added[at];
                    y[at] = self.after(sum);
                }
            }
        }
        y
    }

    fn map(&self, pool: &Pool, values: &[f32]) -> Activation {
        Activation::from_nchw(pool, self.precision, values, self.shape)
    }

    fn added(&self, pool: &Pool) -> Option<Activation> {
        self.added.as_ref().map(|a| self.map(pool, a))
    }
}

fn assert_near(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        // Written so that a NaN fails.
        let near = error <= tolerance * scale;
        assert!(near, "{what}[{at}]: {got}, not {want}");
    }
}

/// Runs forward and backward; y, ∂x, ∂added (empty if there is none), ∂γ, ∂β and the running
/// statistics.
fn run(case: &Case, dy: &[f32]) -> ([Vec<f32>; 3], [Vec<f32>; 4]) {
    let (pool, channels) = (Pool::default(), case.shape.channels);
    let (x, dy, added) = (
        case.map(&pool, &case.x),
        case.map(&pool, dy),
        case.added(&pool),
    );
    poison(&pool, x.shape().len());
    let (mut mean, mut variance) = (vec![0.5; channels], vec![2.0; channels]);
    let (y, statistics) = norm::forward_train(
        &pool,
        &x,
        case.affine(),
        (&mut mean, &mut variance),
        case.parts,
        added.as_ref(),
        case.then,
    );
    let (mut dgamma, mut dbeta) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
    let gradients = norm::backward(
        &pool,
        x,
        added.is_some().then_some(&y),
        dy,
        case.affine(),
        &statistics,
        case.then,
        (&mut dgamma, &mut dbeta),
    );
    let maps = [
        y.to_nchw(),
        gradients.input.to_nchw(),
        gradients.added.map_or(Vec::new(), |map| map.to_nchw()),
    ];
    (maps, [dgamma, dbeta, mean, variance])
}

/// `∂(Σ y·dy)` towards each of the values that `pick` shows, by central differences.
fn differences(case: &Case, dy: &[f32], pick: impl Fn(&mut Inputs) -> &mut Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-6;
    let mut inputs = case.inputs();
    let loss = |inputs: &Inputs| -> f64 {
        let y = case.oracle(inputs);
        y.iter().zip(dy).map(|(y, d)| y * f64::from(*d)).sum()
    };
    (0..pick(&mut inputs).len())
        .map(|at| {
            let before = pick(&mut inputs)[at];
            pick(&mut inputs)[at] = before + STEP;
            let above = loss(&inputs);
            pick(&mut inputs)[at] = before - STEP;
            let below = loss(&inputs);
            pick(&mut inputs)[at] = before;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

fn equals_the_definition(case: &Case) {
    let dy = rounded(case.precision, &numbers(case.x.len(), 6));
    let ([y, dx, dadded], [dgamma, dbeta, mean, variance]) = run(case, &dy);
    // A handful of roundings for a value; for a gradient as many again, and a sum.
    let (of_value, of_gradient) = (8.0 * case.roundoff(), 32.0 * case.roundoff());
    let stored = case.of_storage();
    let want = case.oracle(&case.inputs());
    assert_near("y", &y, &want, of_value + stored);
    let towards = |pick: fn(&mut Inputs) -> &mut Vec<f64>| differences(case, &dy, pick);
    assert_near("dx", &dx, &towards(|i| &mut i.x), of_gradient + stored);
    if case.added.is_some() {
        let want = towards(|i| &mut i.added);
        assert_near("dadded", &dadded, &want, of_gradient + stored);
    }
    assert_near("dgamma", &dgamma, &towards(|i| &mut i.gamma), of_gradient);
    assert_near("dbeta", &dbeta, &towards(|i| &mut i.beta), of_gradient);
    running_follow(case, &mean, &variance);
}

/// Running statistics begin at 0.5 and 2 and move a tenth of the way, to the parts' mean.
fn running_follow(case: &Case, mean: &[f32], variance: &[f32]) {
    let x = wide(&case.x);
    let moved = |begun: f64, of: &dyn Fn((f64, f64, f64)) -> f64| -> Vec<f64> {
        let parts = case.parts;
        (0..case.shape.channels)
            .map(|c| (0..parts).map(|p| of(case.moments(&x, p, c))).sum::<f64>() / parts as f64)
            .map(|value| 0.9 * begun + 0.1 * value)
            .collect()
    };
    assert_near("running mean", mean, &moved(0.5, &|m| m.1), 2e-7);
    let unbiased = |m: (f64, f64, f64)| m.2 / (m.0 - 1.0);
    assert_near("running variance", variance, &moved(2.0, &unbiased), 1e-6);
}

#[test]
fn equals_the_definition_with_any_parts_addition_and_relu() {
    for (size, parts) in [
        (shape(3, 2, 4, 5), [1, 2, 4]),
        (shape(1, 1, 8, 17), [1, 2, 4]),
        (shape(2, 5, 6, 3), [1, 2, 3]),
    ] {
        for parts in parts {
            for added in [false, true] {
                for then in [Then::Identity, Then::Relu] {
                    equals_the_definition(&Case::new(size, parts, added, then, 0.0));
                    equals_the_definition(&Case::new(size, parts, added, then, 0.0).bf16());
                }
            }
        }
    }
}

#[test]
fn a_mean_of_a_thousand_deviations_costs_no_variance() {
    let case = Case::new(shape(7, 5, 8, 3), 2, false, Then::Identity, 600.0);
    let ([y, ..], [.., mean, variance]) = run(&case, &numbers(case.x.len(), 6));
    // `x·scale + shift` cancels numbers of 1000, in PyTorch's kernel too.
    let tolerance = 8.0 * case.roundoff();
    assert!(tolerance < 1e-3);
    assert_near("y", &y, &case.oracle(&case.inputs()), tolerance);
    running_follow(&case, &mean, &variance);
}

#[test]
fn evaluation_is_the_line_through_the_running_statistics() {
    let channels = 33;
    let case = Case::new(shape(3, 2, 5, channels), 1, false, Then::Identity, 0.0);
    let mean = numbers(channels, 7);
    let variance: Vec<f32> = numbers(channels, 8).iter().map(|u| 1.1 + u).collect();
    let (scale, shift) = norm::folded(case.affine(), &mean, &variance);
    for (at, x) in case.x.iter().enumerate() {
        let c = at / 6 % channels;
        let std = (f64::from(variance[c]) + 1e-5).sqrt();
        let normalised = (f64::from(*x) - f64::from(mean[c])) / std;
        let want = f64::from(case.gamma[c]) * normalised + f64::from(case.beta[c]);
        let got = f64::from(*x) * f64::from(scale[c]) + f64::from(shift[c]);
        assert!(
            (got - want).abs() <= 2e-6 * want.abs().max(1.0),
            "{got}, not {want}"
        );
    }
}

#[test]
fn a_constant_channel_stays_finite_and_its_zeros_pass_no_gradient() {
    let mut case = Case::new(shape(2, 3, 2, 2), 1, false, Then::Identity, 0.0);
    case.x.fill(3.0);
    let (maps, channels) = run(&case, &numbers(case.x.len(), 6));
    let want = case.oracle(&case.inputs());
    assert_near("y", &maps[0], &want, 8.0 * case.roundoff());
    for value in maps.iter().chain(&channels).flatten() {
        assert!(value.is_finite());
    }
    // Behind a ReLU what is exactly zero has no gradient, as in PyTorch.
    case.then = Then::Relu;
    case.beta.fill(0.0);
    let ([y, dx, _], [dgamma, dbeta, ..]) = run(&case, &numbers(case.x.len(), 6));
    for value in [y, dx, dgamma, dbeta].iter().flatten() {
        assert_eq!(*value, 0.0);
    }
}

#[test]
#[should_panic(expected = "statistics of 1 values")]
fn one_value_has_no_statistics() {
    let case = Case::new(shape(1, 1, 2, 2), 2, false, Then::Identity, 0.0);
    run(&case, &[0.0; 4]);
}

#[test]
#[should_panic(expected = "shapes of the norm")]
fn statistics_of_another_map_are_refused() {
    let (case, pool) = (
        Case::new(shape(1, 1, 4, 2), 2, false, Then::Identity, 0.0),
        Pool::default(),
    );
    let (mut mean, mut variance) = ([0.0; 2], [1.0; 2]);
    let running = (&mut mean[..], &mut variance[..]);
    let x = case.map(&pool, &case.x);
    let (_, statistics) =
        norm::forward_train(&pool, &x, case.affine(), running, 2, None, case.then);
    let larger = Activation::from_nchw(&pool, Precision::F32, &[1.0; 10], shape(1, 1, 5, 2));
    norm::again(&pool, &larger, case.affine(), &statistics, case.then);
}

#[test]
fn a_nan_passes_the_relu_forward_and_back() {
    let mut case = Case::new(shape(2, 3, 4, 3), 1, true, Then::Relu, 0.0);
    let bad = 4;
    case.added.as_mut().expect("a map is added")[bad] = f32::NAN;
    let mut dy = numbers(case.x.len(), 6);
    dy[bad] = f32::NAN;
    let ([y, dx, dadded], _) = run(&case, &dy);
    assert!(y[bad].is_nan() && dadded[bad].is_nan());
    assert_eq!(y.iter().filter(|y| y.is_nan()).count(), 1);
    // The channel's statistics carry it to every ∂x of the channel, and to no other channel.
    for (at, dx) in dx.iter().enumerate() {
        assert_eq!(dx.is_nan(), at / 6 % 3 == bad / 6 % 3, "dx[{at}]");
    }
}

#[test]
#[should_panic(expected = "parts divide the batch")]
fn parts_that_do_not_divide_the_batch_are_refused() {
    let case = Case::new(shape(1, 1, 5, 1), 2, false, Then::Identity, 0.0);
    run(&case, &[0.0; 5]);
}
