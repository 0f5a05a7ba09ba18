//! Max-pooling of the ImageNet stem, and the global average before the head.

use crate::activation::{Activation, Shape};
use crate::buffer::Pool;
use rayon::prelude::*;

const KERNEL: usize = 3;
const STRIDE: usize = 2;

/// Which of its nine inputs each output of a max-pool came from.
#[derive(Debug)]
pub struct Winners(Vec<u8>);

/// Maximum over 3×3 pixels at stride 2 with a border of one. Of equal values the first in
/// reading order wins, and a NaN wins over any number, as in PyTorch.
pub fn max_forward(pool: &Pool, x: &Activation) -> (Activation, Winners) {
    let from = x.shape();
    let to = from.with(
        from.height.div_ceil(STRIDE),
        from.width.div_ceil(STRIDE),
        from.channels,
    );
    let mut y = Activation::uninit(pool, to);
    let mut winners = vec![0u8; to.len()];
    y.data
        .par_chunks_mut(to.pixel())
        .zip(winners.par_chunks_mut(to.pixel()))
        .enumerate()
        .for_each(|(pixel, (y, winners))| {
            let mut begun = false;
            for tap in 0..(KERNEL * KERNEL) as u8 {
                let Some(at) = input_of(from, pixel / to.width, pixel % to.width, tap) else {
                    continue;
                };
                let x = &x.data[at * from.pixel()..][..from.pixel()];
                if !begun {
                    // Without a first winner inside the image, a window of −∞ would have none.
                    y.copy_from_slice(x);
                    winners.fill(tap);
                    begun = true;
                    continue;
                }
                for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
                    if *x > *y || x.is_nan() {
                        (*y, *winner) = (*x, tap);
                    }
                }
            }
        });
    (y, Winners(winners))
}

/// `∂L/∂x` of [`max_forward`] for an input of shape `input`.
///
/// # Panics
/// If the winners are another shape's.
pub fn max_backward(pool: &Pool, dy: &Activation, winners: &Winners, input: Shape) -> Activation {
    let to = dy.shape();
    assert_eq!(winners.0.len(), to.len(), "winners of the max-pool");
    let mut dx = Activation::uninit(pool, input);
    dx.data
        .par_chunks_mut(input.pixel())
        .enumerate()
        .for_each(|(pixel, dx)| {
            dx.fill(0.0);
            let (row, column) = (pixel / input.width, pixel % input.width);
            // The windows that hold this pixel, gathered so that no two threads write one value.
            for y in row / STRIDE..(row + 1) / STRIDE + 1 {
                for x in column / STRIDE..(column + 1) / STRIDE + 1 {
                    if y >= to.height || x >= to.width {
                        continue;
                    }
                    let tap = ((row + 1 - y * STRIDE) * KERNEL + (column + 1 - x * STRIDE)) as u8;
                    let at = (y * to.width + x) * to.pixel();
                    let (dy, winners) =
                        (&dy.data[at..][..to.pixel()], &winners.0[at..][..to.pixel()]);
                    for ((dx, dy), winner) in dx.iter_mut().zip(dy).zip(winners) {
                        *dx += if *winner == tap { *dy } else { 0.0 };
                    }
                }
            }
        });
    dx
}

fn input_of(input: Shape, row: usize, column: usize, tap: u8) -> Option<usize> {
    let tap = tap as usize;
    let y = (row * STRIDE + tap / KERNEL).checked_sub(1)?;
    let x = (column * STRIDE + tap % KERNEL).checked_sub(1)?;
    (y < input.height && x < input.width).then(|| y * input.width + x)
}

/// Mean over all pixels: a map of one pixel.
pub fn average_forward(pool: &Pool, x: &Activation) -> Activation {
    let from = x.shape();
    let mut y = Activation::uninit(pool, from.with(1, 1, from.channels));
    y.data.fill(0.0);
    for pixel in x.data.chunks_exact(from.pixel()) {
        for (y, x) in y.data.iter_mut().zip(pixel) {
            *y += x;
        }
    }
    let scale = 1.0 / (from.height * from.width) as f32;
    y.data.iter_mut().for_each(|y| *y *= scale);
    y
}

/// `∂L/∂x` of [`average_forward`] for an input of shape `input`.
///
/// # Panics
/// If `dy` is not a map of one pixel with the input's batch and channels.
pub fn average_backward(pool: &Pool, dy: &Activation, input: Shape) -> Activation {
    assert_eq!(
        dy.shape(),
        input.with(1, 1, input.channels),
        "shape of the mean"
    );
    let mut dx = Activation::uninit(pool, input);
    let scale = 1.0 / (input.height * input.width) as f32;
    for pixel in dx.data.chunks_exact_mut(input.pixel()) {
        for (dx, dy) in pixel.iter_mut().zip(&dy.data[..]) {
            *dx = dy * scale;
        }
    }
    dx
}
