//! Linear layers and ReLU against loops in f64.

use crate::{ROUNDOFF, numbers};
use protem_ops::linear::{Linear, relu_backward, relu_forward};
use protem_ops::{Activation, Pool};

/// `Σ_k a(k)·b(k)` of `n` terms, and the bound of its error in f32 (Higham 2002, §3.1).
fn dot(n: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> (f64, f64) {
    let products = || (0..n).map(|k| f64::from(a(k)) * f64::from(b(k)));
    let magnitude: f64 = products().map(f64::abs).sum();
    (
        products().sum(),
        (n + 1) as f64 * ROUNDOFF * (magnitude + 1.0),
    )
}

fn assert_near(what: &str, got: f32, (want, bound): (f64, f64)) {
    // Written so that a NaN fails.
    let near = (f64::from(got) - want).abs() <= bound;
    assert!(near, "{what}: {got}, not {want}");
}

#[test]
fn equals_the_loop() {
    for (batch, inputs, outputs) in [(1, 1, 1), (5, 17, 33), (9, 65, 3), (16, 64, 128)] {
        let (pool, linear) = (Pool::default(), Linear { inputs, outputs });
        let x = numbers(batch * inputs, 1);
        let w = numbers(inputs * outputs, 2);
        let b = numbers(outputs, 3);
        let dy = numbers(batch * outputs, 4);
        let input = Activation::from_matrix(&pool, &x, batch, inputs);
        let y = linear.forward(&pool, &w, &b, &input);
        let y = y.as_matrix().expect("one pixel");
        let of_output = Activation::from_matrix(&pool, &dy, batch, outputs);
        let (mut dw, mut db) = (vec![f32::NAN; w.len()], vec![f32::NAN; outputs]);
        let dx = linear.backward(&pool, &w, &input, &of_output, (&mut dw, &mut db));
        let dx = dx.as_matrix().expect("one pixel");
        for n in 0..batch {
            for o in 0..outputs {
                let sum = dot(inputs, |i| x[n * inputs + i], |i| w[o * inputs + i]);
                assert_near("y", y[n * outputs + o], (sum.0 + f64::from(b[o]), sum.1));
            }
            for i in 0..inputs {
                let sum = dot(outputs, |o| dy[n * outputs + o], |o| w[o * inputs + i]);
                assert_near("dx", dx[n * inputs + i], sum);
            }
        }
        for o in 0..outputs {
            assert_near("db", db[o], dot(batch, |n| dy[n * outputs + o], |_| 1.0));
            for i in 0..inputs {
                let sum = dot(batch, |n| dy[n * outputs + o], |n| x[n * inputs + i]);
                assert_near("dw", dw[o * inputs + i], sum);
            }
        }
    }
}

#[test]
fn relu_keeps_a_nan_and_its_gradient() {
    let pool = Pool::default();
    let mut x = Activation::from_matrix(&pool, &[-1.0, 0.0, 2.0, f32::NAN], 1, 4);
    relu_forward(&mut x);
    let y = x.as_matrix().expect("one pixel");
    assert_eq!(y[..3], [0.0, 0.0, 2.0]);
    assert!(y[3].is_nan());
    let mut dy = Activation::from_matrix(&pool, &[1.0, 2.0, 3.0, 4.0], 1, 4);
    relu_backward(&x, &mut dy);
    assert_eq!(dy.as_matrix().expect("one pixel"), [0.0, 0.0, 3.0, 4.0]);
}
