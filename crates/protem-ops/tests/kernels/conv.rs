//! Convolution against a loop over every product of an input, a weight and an output.

use crate::{ROUNDOFF, numbers, poison, rounded, shape};
use proptest::prelude::*;
use protem_ops::conv::{Conv, Folded};
use protem_ops::{Activation, Isa, Pool, Precision, Shape};

/// Calls `f` with the places of input, weight and output (PyTorch's order) of each product.
fn for_each_product(conv: &Conv, input: Shape, mut f: impl FnMut(usize, usize, usize)) {
    let output = conv.output(input);
    let inside = |at: usize, tap: usize, len: usize| {
        let at = (at * conv.stride + tap).checked_sub(conv.padding)?;
        (at < len).then_some(at)
    };
    for n in 0..input.batch {
        for o in 0..conv.outputs {
            for (row, column) in pixels(output.height, output.width) {
                let y = ((n * conv.outputs + o) * output.height + row) * output.width + column;
                for i in 0..conv.inputs {
                    for (u, v) in pixels(conv.kernel, conv.kernel) {
                        let (Some(at_row), Some(at_column)) =
                            (inside(row, u, input.height), inside(column, v, input.width))
                        else {
                            continue;
                        };
                        let channel = (n * conv.inputs + i) * input.height;
                        let x = (channel + at_row) * input.width + at_column;
                        let w = ((o * conv.inputs + i) * conv.kernel + u) * conv.kernel + v;
                        f(x, w, y);
                    }
                }
            }
        }
    }
}

fn pixels(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |row| (0..width).map(move |column| (row, column)))
}

/// A sum in f64, with what bounds the error of the same sum in f32.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    magnitude: f64,
    terms: f64,
}

impl Sum {
    fn add(&mut self, a: f32, b: f32) {
        let product = f64::from(a) * f64::from(b);
        self.value += product;
        self.magnitude += product.abs();
        self.terms += 1.0;
    }
}

/// |error| ≤ n·u·Σ|aᵢbᵢ| whatever the order of a sum of n products (Higham 2002, §3.1); one more
/// roundoff for the product where there is no fused multiply-add. What is stored as bf16 is rounded
/// once more; AMX takes numbers below 2⁻¹²⁶ for zero.
fn check(
    what: &str,
    conv: &Conv,
    stored: Precision,
    got: &[f32],
    want: &[Sum],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let mut bound = (want.terms + 1.0) * ROUNDOFF * want.magnitude;
        if stored == Precision::Bf16 {
            bound += (want.value.abs() + bound) / 256.0;
        }
        let error = (f64::from(*got) - want.value).abs();
        // Written so that a NaN fails.
        let near = error <= bound;
        prop_assert!(near, "{what}[{at}] of {conv:?}: {got}, not {}", want.value);
    }
    // Rounding goes either way: all errors together are far from their bounds.
    let norm =
        |of: &dyn Fn(usize) -> f64| (0..got.len()).map(|i| of(i).powi(2)).sum::<f64>().sqrt();
    let error = norm(&|i| f64::from(got[i]) - want[i].value);
    let whole = norm(&|i| want[i].value);
    let share = if stored == Precision::Bf16 {
        1.0 / 256.0
    } else {
        3e-6
    };
    prop_assert!(
        error <= share * whole,
        "{what} of {conv:?}: {error} of {whole}"
    );
    Ok(())
}

/// Where tiles are transformed, what rounds a value are its neighbours too, with sums of up to 2.7 times as
/// many terms in each direction (Barabasz et al., ACM TOMS 46, 2020): errors are bounded by the largest.
fn spread(sums: &mut [Sum]) {
    let largest = |of: fn(&Sum) -> f64| sums.iter().map(of).fold(0.0, f64::max);
    let (magnitude, terms) = (8.0 * largest(|sum| sum.magnitude), largest(|sum| sum.terms));
    for sum in sums {
        (sum.magnitude, sum.terms) = (magnitude, terms + 8.0);
    }
}

fn equals_the_loop(conv: Conv, input: Shape, precision: Precision) -> Result<(), TestCaseError> {
    let output = conv.output(input);
    let [x, w, dy] = [(input.len(), 1), (conv.weights(), 2), (output.len(), 3)]
        .map(|(len, seed)| rounded(precision, &numbers(len, seed)));
    let mut y_sum = vec![Sum::default(); output.len()];
    let mut dx_sum = vec![Sum::default(); x.len()];
    let mut dw_sum = vec![Sum::default(); w.len()];
    for_each_product(&conv, input, |i, j, k| {
        y_sum[k].add(x[i], w[j]);
        dx_sum[i].add(dy[k], w[j]);
        dw_sum[j].add(dy[k], x[i]);
    });

    let in_f32 = precision == Precision::F32 || !Isa::current().multiplies_bf16();
    if in_f32 && (conv.kernel, conv.stride) == (3, 1) {
        [&mut y_sum, &mut dx_sum, &mut dw_sum]
            .into_iter()
            .for_each(|sums| spread(sums));
    }

    let pool = Pool::default();
    let panels = |columns: usize| columns.div_ceil(32) * 32 * conv.kernel * conv.kernel;
    for len in [
        input.len(),
        output.len(),
        w.len(),
        panels(conv.outputs) * conv.inputs,
        panels(conv.inputs) * conv.outputs,
    ] {
        poison(&pool, len);
    }
    let x = Activation::from_nchw(&pool, precision, &x, input);
    let dy = Activation::from_nchw(&pool, precision, &dy, output);
    poison(&pool, input.len());
    poison(&pool, output.len());
    let y = conv.forward(&pool, &w, &x);
    check("y", &conv, precision, &y.to_nchw(), &y_sum)?;
    let dx = conv.input_gradient(&pool, &w, &dy, input, None);
    check("dx", &conv, precision, &dx.to_nchw(), &dx_sum)?;
    let mut dw = vec![f32::NAN; w.len()];
    conv.weight_gradient(&pool, &x, &dy, &mut dw);
    check("dw", &conv, Precision::F32, &dw, &dw_sum)
}

fn geometries() -> impl Strategy<Value = (Conv, Shape)> {
    let channels = || prop::sample::select(vec![1, 3, 5, 17, 33, 65]);
    let conv = (
        channels(),
        channels(),
        prop::sample::select(vec![1, 3, 7]),
        1..=2usize,
        0..=3usize,
    )
        .prop_map(|(inputs, outputs, kernel, stride, padding)| Conv {
            inputs,
            outputs,
            kernel,
            stride,
            padding,
        });
    let size = (1..=11usize, 1..=11usize, 0..=4usize);
    (conv, size)
        .prop_filter("a square image, or a kernel larger than it", |(c, s)| {
            s.0 != s.1 && s.0.min(s.1) + 2 * c.padding >= c.kernel
        })
        .prop_map(|(conv, (height, width, half))| {
            (conv, shape(height, width, 2 * half + 1, conv.inputs))
        })
        .prop_filter("too slow for the loop", |(conv, input)| {
            let y = conv.output(*input);
            y.len() * conv.inputs * conv.kernel * conv.kernel <= 1_000_000
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_loop_at_odd_sizes((conv, input) in geometries()) {
        equals_the_loop(conv, input, Precision::F32)?;
        equals_the_loop(conv, input, Precision::Bf16)?;
    }
}

#[test]
#[rustfmt::skip]
fn equals_the_loop_at_nasty_sizes() {
    for (inputs, outputs, kernel, stride, padding, (height, width, batch)) in [
        (3, 65, 7, 2, 3, (9, 12, 5)),   // the ImageNet stem
        (65, 33, 3, 1, 1, (4, 5, 9)),   // no dimension a multiple of a vector
        (33, 65, 1, 2, 0, (5, 4, 7)),   // a shortcut: pixels of the input that no output reads
        (17, 5, 3, 2, 1, (1, 2, 1)),    // an image smaller than the kernel
        (1, 1, 1, 1, 3, (1, 2, 3)),     // outputs that read padding alone
        (5, 17, 1, 2, 3, (2, 1, 1)),
        (1, 65, 7, 1, 3, (1, 9, 1)),    // most taps outside
        (5, 3, 3, 2, 0, (4, 6, 3)),     // a last row and column that no output reads
        (64, 64, 3, 1, 1, (4, 3, 16)),  // whole tiles
        (2, 32, 3, 2, 1, (6, 7, 128)),
        (64, 32, 3, 1, 1, (5, 6, 64)),  // whole tiles, two blocks of images
        (32, 64, 3, 2, 1, (7, 6, 33)),  // one image more than a block
        (96, 33, 1, 2, 0, (3, 4, 70)),
        (32, 32, 1, 2, 0, (4, 4, 64)),  // more pixels without a tap than the output has
        (32, 1, 1, 1, 3, (1, 1, 96)),
        (32, 31, 1, 1, 4, (2, 4, 31)),
        (33, 65, 3, 1, 1, (7, 9, 65)),  // tiles with a pixel too few, three blocks of images
        (65, 33, 3, 1, 0, (8, 11, 5)),  // several tiles together
        (40, 48, 3, 1, 2, (6, 5, 40)),
        (32, 32, 3, 1, 1, (6, 6, 64)),
        (3, 33, 7, 2, 3, (9, 10, 37)),  // the stem, a block of images and some
        (8, 40, 3, 1, 1, (4, 5, 35)),   // a quarter of a block
    ] {
        let conv = Conv { inputs, outputs, kernel, stride, padding };
        let input = shape(height, width, batch, inputs);
        for precision in [Precision::F32, Precision::Bf16] {
            // How pixels are divided depends on the threads; for forty, a pixel's images are too.
            for threads in [1, 3, 40] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                if let Err(e) = pool.install(|| equals_the_loop(conv, input, precision)) {
                    panic!("{e}");
                }
            }
        }
    }
}

#[test]
fn a_nan_spreads_to_what_reads_it_and_no_further() {
    // Plain sums in f32, and tiles.
    for (inputs, outputs) in [(3, 5), (65, 66)] {
        let conv = Conv {
            inputs,
            outputs,
            kernel: 3,
            stride: 1,
            padding: 1,
        };
        let input = shape(5, 6, 2, inputs);
        let mut x = numbers(input.len(), 1);
        let bad = 3 * 6 + 2; // image 0, channel 0, row 3, column 2
        x[bad] = f32::NAN;
        let pool = Pool::default();
        let w = numbers(conv.weights(), 2);
        for precision in [Precision::F32, Precision::Bf16] {
            let x = Activation::from_nchw(&pool, precision, &x, input);
            let y = conv.forward(&pool, &w, &x);
            let mut reads = vec![false; y.shape().len()];
            for_each_product(&conv, input, |i, _, k| reads[k] |= i == bad);
            let nan: Vec<bool> = y.to_nchw().iter().map(|y| y.is_nan()).collect();
            assert_eq!(nan, reads, "{precision:?}");
        }
    }
}

#[test]
fn a_nan_passes_the_folded_relu() {
    for (inputs, outputs, batch) in [(32, 64, 64), (5, 33, 7)] {
        let conv = Conv {
            inputs,
            outputs,
            kernel: 1,
            stride: 1,
            padding: 0,
        };
        let input = shape(1, 2, batch, inputs);
        let pool = Pool::default();
        let w = numbers(conv.weights(), 2);
        let mut values = numbers(input.len(), 1);
        values[2 * inputs + 1] = f32::NAN; // of image 1, channel 0, the second pixel
        let folded = Folded {
            scale: &vec![1.0; outputs],
            shift: &vec![0.0; outputs],
            added: None,
            relu: true,
        };
        for precision in [Precision::F32, Precision::Bf16] {
            let x = Activation::from_nchw(&pool, precision, &values, input);
            let y = conv.forward_folded(&pool, &w, &folded, &x).to_nchw();
            for (i, y) in y.iter().enumerate() {
                let reads = i / (2 * outputs) == 1 && i % 2 == 1;
                assert_eq!(y.is_nan(), reads, "{y} at {i}, {precision:?}");
                assert!(reads || *y >= 0.0);
            }
        }
    }
}

/// A finished sum against the plain one, finished here.
#[test]
fn what_is_folded_in_follows_the_sum() {
    for (inputs, outputs, batch) in [(32, 64, 64), (5, 33, 7), (64, 17, 33)] {
        let conv = Conv {
            inputs,
            outputs,
            kernel: 3,
            stride: 1,
            padding: 1,
        };
        let input = shape(3, 4, batch, inputs);
        let pool = Pool::default();
        let (scale, shift) = (numbers(outputs, 4), numbers(outputs, 5));
        let w = numbers(conv.weights(), 2);
        let scaled: Vec<f32> = w
            .iter()
            .enumerate()
            .map(|(i, w)| w * scale[i / (inputs * 9)])
            .collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let x = Activation::from_nchw(&pool, precision, &numbers(input.len(), 1), input);
            let sums = conv.forward(&pool, &scaled, &x).to_nchw();
            let added_values = rounded(precision, &numbers(sums.len(), 6));
            let size = conv.output(input);
            let added = Activation::from_nchw(&pool, precision, &added_values, size);
            for (added, relu) in [(None, false), (Some(&added), true)] {
                let folded = Folded {
                    scale: &scale,
                    shift: &shift,
                    added,
                    relu,
                };
                let y = conv.forward_folded(&pool, &w, &folded, &x).to_nchw();
                let plus_gradient = conv.input_gradient(
                    &pool,
                    &w,
                    &Activation::from_nchw(&pool, precision, &sums, size),
                    input,
                    Some(Activation::from_nchw(&pool, precision, &x.to_nchw(), input)),
                );
                let alone = conv.input_gradient(
                    &pool,
                    &w,
                    &Activation::from_nchw(&pool, precision, &sums, size),
                    input,
                    None,
                );
                for (i, (y, sum)) in y.iter().zip(&sums).enumerate() {
                    let channel = i / 12 % outputs;
                    let mut want = sum + shift[channel];
                    if added.is_some() {
                        want += added_values[i];
                    }
                    if relu {
                        want = want.max(0.0);
                    }
                    // The sum compared with was itself stored once.
                    let unit = if precision == Precision::F32 {
                        1e-6
                    } else {
                        1.0 / 128.0
                    };
                    assert!(
                        (y - want).abs() <= unit * (want.abs() + sum.abs() + 1.0),
                        "{y}, not {want}"
                    );
                }
                for ((both, alone), x) in plus_gradient
                    .to_nchw()
                    .iter()
                    .zip(alone.to_nchw())
                    .zip(x.to_nchw())
                {
                    let unit = if precision == Precision::F32 {
                        1e-5
                    } else {
                        1.0 / 128.0
                    };
                    // Up to 576 products, in another order.
                    assert!((both - (alone + x)).abs() <= unit * (alone.abs() + 10.0));
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "number of weights")]
fn weights_of_another_size_are_refused() {
    let conv = Conv {
        inputs: 3,
        outputs: 5,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let pool = Pool::default();
    let x = Activation::from_nchw(&pool, Precision::F32, &[0.0; 12], shape(2, 2, 1, 3));
    conv.forward(&pool, &[0.0; 134], &x);
}
