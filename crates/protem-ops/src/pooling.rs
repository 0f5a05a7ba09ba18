//! Max-pooling of the ImageNet stem, and the global average before the head.

use crate::activation::{Activation, Map, Shape, with_map};
use crate::buffer::{Buffer, Pool};
use crate::element::{Element, Precision};
use crate::kernel::vectorised;
use half::bf16;
use rayon::prelude::*;

const KERNEL: usize = 3;
const STRIDE: usize = 2;

/// Which of its nine inputs each output of a max-pool came from.
#[derive(Debug)]
pub struct Winners {
    /// Of the output.
    shape: Shape,
    taps: Buffer<u8>,
}

/// Maximum over 3×3 pixels at stride 2 with a border of one. Of equal values the first in
/// reading order wins, and a NaN wins over any number, as in PyTorch.
pub fn max_forward(pool: &Pool, x: &Activation) -> (Activation, Winners) {
    with_map!(x, x => typed_max_forward(pool, x))
}

fn pooled(from: Shape) -> Shape {
    let (height, width) = (from.height.div_ceil(STRIDE), from.width.div_ceil(STRIDE));
    from.with(height, width, from.channels)
}

fn typed_max_forward<T: Element>(pool: &Pool, x: &Map<T>) -> (Activation, Winners) {
    let from = x.shape;
    let to = pooled(from);
    let mut y = Map::<T>::uninit(pool, to);
    let mut winners: Buffer<u8> = pool.take(to.len());
    y.data
        .par_chunks_mut(to.pixel().max(1))
        .zip(winners.par_chunks_mut(to.pixel().max(1)))
        .enumerate()
        .for_each(|(pixel, (y, winners))| {
            let mut begun = false;
            for tap in 0..(KERNEL * KERNEL) as u8 {
                let Some(at) = input_of(from, pixel / to.width, pixel % to.width, tap) else {
                    continue;
                };
                let x = &x.data[at * from.pixel()..][..from.pixel()];
                if begun {
                    challenge(y, winners, x, tap);
                } else {
                    // Without a first winner inside the image, a window of −∞ would have none.
                    y.copy_from_slice(x);
                    winners.fill(tap);
                    begun = true;
                }
            }
        });
    let winners = Winners {
        shape: to,
        taps: winners,
    };
    (T::wrap(y), winners)
}

vectorised! {
    fn challenge<T: Element>(y: &mut [T], winners: &mut [u8], x: &[T], tap: u8) {
        for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
            let value = x.widen();
            let wins = value > y.widen() || value.is_nan();
            *y = if wins { *x } else { *y };
            *winner = if wins { tap } else { *winner };
        }
    }
}

/// `∂L/∂x` of [`max_forward`] for an input of shape `input`.
///
/// # Panics
/// If the winners or `dy` are of another shape than `input` has pooled.
pub fn max_backward(pool: &Pool, dy: &Activation, winners: &Winners, input: Shape) -> Activation {
    let to = pooled(input);
    assert_eq!(
        (winners.shape, dy.shape()),
        (to, to),
        "shapes of the max-pool"
    );
    with_map!(dy, dy => typed_max_backward(pool, dy, winners, input))
}

fn typed_max_backward<T: Element>(
    pool: &Pool,
    dy: &Map<T>,
    winners: &Winners,
    input: Shape,
) -> Activation {
    let to = dy.shape;
    let mut dx = Map::<T>::uninit(pool, input);
    dx.data
        .par_chunks_mut(input.pixel().max(1))
        .enumerate()
        .for_each_init(
            || vec![0.0; input.pixel()],
            |sums, (pixel, dx)| {
                sums.fill(0.0);
                let (row, column) = (pixel / input.width, pixel % input.width);
                // The windows that hold this pixel, gathered so that no two threads write one value.
                for y in row / STRIDE..(row + 1) / STRIDE + 1 {
                    for x in column / STRIDE..(column + 1) / STRIDE + 1 {
                        if y >= to.height || x >= to.width {
                            continue;
                        }
                        let tap = (row + 1 - y * STRIDE) * KERNEL + (column + 1 - x * STRIDE);
                        let at = (y * to.width + x) * to.pixel();
                        let dy = &dy.data[at..][..to.pixel()];
                        collect(sums, dy, &winners.taps[at..][..to.pixel()], tap as u8);
                    }
                }
                round(dx, sums);
            },
        );
    T::wrap(dx)
}

vectorised! {
    fn collect<T: Element>(sums: &mut [f32], dy: &[T], winners: &[u8], tap: u8) {
        for ((sum, dy), winner) in sums.iter_mut().zip(dy).zip(winners) {
            *sum += if *winner == tap { dy.widen() } else { 0.0 };
        }
    }
}

vectorised! {
    fn round<T: Element>(to: &mut [T], from: &[f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = T::narrow(*from);
        }
    }
}

fn input_of(input: Shape, row: usize, column: usize, tap: u8) -> Option<usize> {
    let tap = tap as usize;
    let y = (row * STRIDE + tap / KERNEL).checked_sub(1)?;
    let x = (column * STRIDE + tap % KERNEL).checked_sub(1)?;
    (y < input.height && x < input.width).then(|| y * input.width + x)
}

/// Mean over all pixels: an f32 map of one pixel, whatever the input's precision.
pub fn average_forward(pool: &Pool, x: &Activation) -> Activation {
    let from = x.shape();
    let mut y = Map::uninit(pool, from.with(1, 1, from.channels));
    y.data.fill(0.0);
    with_map!(x, x => {
        for pixel in x.data.chunks_exact(from.pixel().max(1)) {
            accumulate(&mut y.data, pixel);
        }
    });
    let scale = 1.0 / (from.height * from.width) as f32;
    y.data.iter_mut().for_each(|y| *y *= scale);
    Activation::F32(y)
}

vectorised! {
    fn accumulate<T: Element>(sums: &mut [f32], values: &[T]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value.widen();
        }
    }
}

/// `∂L/∂x` of [`average_forward`] for an input of shape `input` in `precision`.
///
/// # Panics
/// If `dy` is not an f32 map of one pixel with the input's batch and channels.
pub fn average_backward(
    pool: &Pool,
    dy: &Activation,
    input: Shape,
    precision: Precision,
) -> Activation {
    assert_eq!(
        dy.shape(),
        input.with(1, 1, input.channels),
        "shape of the mean"
    );
    let dy = dy.as_matrix().expect("means are f32");
    match precision {
        Precision::F32 => Activation::F32(spread(pool, dy, input)),
        Precision::Bf16 => Activation::Bf16(spread::<bf16>(pool, dy, input)),
    }
}

fn spread<T: Element>(pool: &Pool, dy: &[f32], input: Shape) -> Map<T> {
    let scale = 1.0 / (input.height * input.width) as f32;
    let mut dx = Map::<T>::uninit(pool, input);
    dx.data
        .par_chunks_mut(input.pixel().max(1))
        .for_each(|pixel| {
            for (dx, dy) in pixel.iter_mut().zip(dy) {
                *dx = T::narrow(dy * scale);
            }
        });
    dx
}
