//! Pooling against loops over windows.

use crate::{ROUNDOFF, numbers, poison, shape};
use protem_ops::Precision::{Bf16, F32};
use protem_ops::{Activation, Pool, Precision, Shape, pooling};

const SIZES: [(usize, usize); 7] = [(1, 1), (1, 5), (2, 3), (3, 2), (7, 4), (5, 6), (8, 9)];

/// Maxima and the places they come from (PyTorch's order): the first of equal values, and the
/// last NaN, as `torch.nn.MaxPool2d(3, 2, 1)` does.
fn maxima(x: &[f32], input: Shape) -> Vec<(f32, usize)> {
    let (height, width) = (input.height.div_ceil(2), input.width.div_ceil(2));
    let mut out = Vec::new();
    for map in 0..input.batch * input.channels {
        for row in 0..height {
            for column in 0..width {
                let mut best: Option<(f32, usize)> = None;
                for y in (2 * row).saturating_sub(1)..(2 * row + 2).min(input.height) {
                    for x_at in (2 * column).saturating_sub(1)..(2 * column + 2).min(input.width) {
                        let at = (map * input.height + y) * input.width + x_at;
                        if best.is_none_or(|(b, _)| x[at] > b || x[at].is_nan()) {
                            best = Some((x[at], at));
                        }
                    }
                }
                out.push(best.expect("every window holds a pixel"));
            }
        }
    }
    out
}

fn equals_the_loop(x: &[f32], input: Shape) {
    for precision in [F32, Bf16] {
        equals_the_loop_in(precision, x, input);
    }
}

fn equals_the_loop_in(precision: Precision, x: &[f32], input: Shape) {
    let pool = Pool::default();
    let map = Activation::from_nchw(&pool, precision, x, input);
    let x = map.to_nchw(); // as rounded
    let want = maxima(&x, input);
    poison(&pool, want.len());
    let (y, winners) = pooling::max_forward(&pool, &map);
    let values: Vec<f32> = want.iter().map(|w| w.0).collect();
    assert_eq!(crate::bits(&y.to_nchw()), crate::bits(&values));

    // Whole numbers, so that sums are exact in any order.
    let dy: Vec<f32> = (0..want.len()).map(|i| (i % 13) as f32 - 6.0).collect();
    let mut dx = vec![0.0; x.len()];
    for ((_, at), dy) in want.iter().zip(&dy) {
        dx[*at] += dy;
    }
    poison(&pool, x.len());
    let dy = Activation::from_nchw(&pool, precision, &dy, y.shape());
    let got = pooling::max_backward(&pool, &dy, &winners, input);
    assert_eq!(got.to_nchw(), dx);
}

#[test]
fn max_pool_equals_the_loop() {
    for (height, width) in SIZES {
        let input = shape(height, width, 3, 5);
        equals_the_loop(&numbers(input.len(), 1), input);
    }
}

#[test]
fn of_equal_values_the_first_gets_the_gradient() {
    for (height, width) in SIZES {
        let input = shape(height, width, 3, 5);
        let coarse: Vec<f32> = numbers(input.len(), 2).iter().map(|x| x.round()).collect();
        equals_the_loop(&coarse, input);
    }
}

#[test]
fn a_window_of_negative_infinity_still_has_a_winner() {
    let input = shape(3, 4, 2, 3);
    equals_the_loop(&vec![f32::NEG_INFINITY; input.len()], input);
}

#[test]
fn a_nan_wins() {
    let input = shape(5, 6, 2, 3);
    let mut x = numbers(input.len(), 3);
    for at in [0, 1, 40, 77, 179] {
        x[at] = f32::NAN;
    }
    equals_the_loop(&x, input);
}

#[test]
fn average_is_the_mean_of_all_pixels() {
    for (height, width) in SIZES {
        let input = shape(height, width, 3, 5);
        let (pool, pixels) = (Pool::default(), height * width);
        let x = numbers(input.len(), 1);
        poison(&pool, 15);
        let y = pooling::average_forward(&pool, &Activation::from_nchw(&pool, F32, &x, input));
        for (y, map) in y.to_nchw().iter().zip(x.chunks_exact(pixels)) {
            let mean = map.iter().map(|x| f64::from(*x)).sum::<f64>() / pixels as f64;
            // A sum of values below one, and a division.
            let bound = (pixels + 1) as f64 * ROUNDOFF;
            assert!((f64::from(*y) - mean).abs() <= bound, "{y}, not {mean}");
        }
        let dy = numbers(15, 2);
        let spread = Activation::from_matrix(&pool, &dy, 3, 5);
        poison(&pool, input.len());
        let dx = pooling::average_backward(&pool, &spread, input, F32).to_nchw();
        for (dy, map) in dy.iter().zip(dx.chunks_exact(pixels)) {
            for dx in map {
                let want = f64::from(*dy) / pixels as f64;
                let error = (f64::from(*dx) - want).abs();
                assert!(error <= 2.0 * ROUNDOFF * want.abs(), "{dx}, not {want}");
            }
        }
    }
}
