//! Optimizer steps against their formulas in f64.

use crate::{ROUNDOFF, numbers};
use protem_ops::optim::{Lars, Place, Sgd, momentum_update};

/// Beyond the chunk that a thread takes, and not a multiple of it.
const LEN: usize = (1 << 16) + 3;

#[test]
fn sgd_follows_its_formula_for_three_steps() {
    let sgd = Sgd {
        learning_rate: 0.05,
        momentum: 0.9,
        weight_decay: 1e-2,
    };
    let wide = |x: &f32| f64::from(*x);
    let mut parameters = numbers(LEN, 1);
    let mut velocity = vec![0.0; LEN];
    let (mut p, mut v): (Vec<f64>, Vec<f64>) = parameters.iter().map(|p| (wide(p), 0.0)).unzip();
    for step in 0..3 {
        let gradient = numbers(LEN, 2 + step);
        sgd.step(&mut parameters, &gradient, &mut velocity);
        for ((p, v), g) in p.iter_mut().zip(&mut v).zip(&gradient) {
            let decay = f64::from(sgd.weight_decay);
            *v = f64::from(sgd.momentum) * *v + wide(g) + decay * *p;
            *p -= f64::from(sgd.learning_rate) * *v;
        }
    }
    for i in 0..LEN {
        // Numbers below 4 and 2, four roundings each in three steps.
        assert!((wide(&velocity[i]) - v[i]).abs() <= 12.0 * 4.0 * ROUNDOFF);
        assert!((wide(&parameters[i]) - p[i]).abs() <= 12.0 * 2.0 * ROUNDOFF);
    }
}

/// `p = torch.tensor([1., -2.]); p.grad` = `[.5, .25]`, then `[-1., 3.]`, with
/// `torch.optim.SGD([p], lr=.1, momentum=.9, weight_decay=.01)`: `p` after each step.
#[test]
fn sgd_begins_as_torchs() {
    let sgd = Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
    };
    let (mut p, mut v) = ([1.0, -2.0], [0.0, 0.0]);
    for (gradient, want) in [
        ([0.5, 0.25], [0.949, -2.023]),
        ([-1.0, 3.0], [1.002_151, -2.341_677]),
    ] {
        sgd.step(&mut p, &gradient, &mut v);
        for (got, want) in p.iter().zip(want) {
            assert!(
                (got - want).abs() <= 4.0 * f32::EPSILON,
                "{got}, not {want}"
            );
        }
    }
}

#[test]
fn the_key_encoder_follows_by_its_momentum() {
    let (begun, query) = (numbers(LEN, 1), numbers(LEN, 2));
    for momentum in [0.0f32, 0.99, 1.0] {
        let mut key = begun.clone();
        momentum_update(&mut key, &query, momentum);
        for ((key, begun), query) in key.iter().zip(&begun).zip(&query) {
            let m = f64::from(momentum);
            let want = m * f64::from(*begun) + (1.0 - m) * f64::from(*query);
            assert!((f64::from(*key) - want).abs() <= 4.0 * ROUNDOFF);
        }
    }
}

#[test]
fn lars_scales_each_tensor_and_leaves_vectors_alone() {
    let lars = Lars {
        learning_rate: 0.5,
        momentum: 0.9,
        weight_decay: 1e-2,
        trust: 1e-3,
    };
    let place = |len, vector| Place { len, vector };
    // The third tensor is all zeros: it has no length to scale to.
    let places = [place(LEN, false), place(33, true), place(7, false)];
    let len = LEN + 40;
    let mut parameters = numbers(len, 1);
    parameters[LEN + 33..].fill(0.0);
    let mut velocity = vec![0.0; len];
    let mut p: Vec<f64> = parameters.iter().map(|p| f64::from(*p)).collect();
    let mut v = vec![0.0f64; len];
    for step in 0..3 {
        let gradient = numbers(len, 2 + step);
        lars.step(&mut parameters, &gradient, &mut velocity, &places);
        let mut begin = 0;
        for place in &places {
            let range = begin..begin + place.len;
            begin = range.end;
            let decay = if place.vector {
                0.0
            } else {
                f64::from(lars.weight_decay)
            };
            let u: Vec<f64> = range
                .clone()
                .map(|i| f64::from(gradient[i]) + decay * p[i])
                .collect();
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let (of_p, of_u) = (
                norm(&mut range.clone().map(|i| p[i])),
                norm(&mut u.iter().copied()),
            );
            let scale = if place.vector || of_p == 0.0 {
                1.0
            } else {
                f64::from(lars.trust) * of_p / of_u
            };
            for (i, u) in range.zip(u) {
                v[i] = f64::from(lars.momentum) * v[i] + scale * u;
                p[i] -= f64::from(lars.learning_rate) * v[i];
            }
        }
    }
    for i in 0..len {
        let error = (f64::from(parameters[i]) - p[i]).abs();
        assert!(error <= 24.0 * 4.0 * ROUNDOFF, "{i}: {error}");
    }
}
