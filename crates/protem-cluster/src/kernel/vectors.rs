//! Sums over the columns of one point, in an order of their own on every level.
//!
//! Products and sums are rounded one by one, never fused, and sums run in 16 lanes and then over
//! them: the levels differ in the width of their instructions, not in a bit.

use super::LANES;
use crate::centroids::{MovedSums, moved_sums_of};
use crate::integers::{Integers, turn, turn_and_round, turn_and_round_alone};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::points::round_moved;
use crate::sketch::{Sketch, sketch_of};

/// Compiles a function once per level: the same operations in wider instructions.
macro_rules! on_every_level {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name(isa: Isa, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
                fn wide($($arg: $type),*) $(-> $result)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn narrow($($arg: $type),*) $(-> $result)? {
                    $body($($arg),*)
                }
                match isa {
                    Isa::Avx512 | Isa::Amx
                        if is_x86_feature_detected!("avx512f")
                            && is_x86_feature_detected!("avx512dq")
                            && is_x86_feature_detected!("avx512vl") =>
                    {
                        // SAFETY: the features are there.
                        return unsafe { wide($($arg),*) };
                    }
                    Isa::Avx2 if is_x86_feature_detected!("avx2") => {
                        // SAFETY: the feature is there.
                        return unsafe { narrow($($arg),*) };
                    }
                    _ => {}
                }
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}

on_every_level! {
    /// `Σ(x − c)²`.
    distance = distance_of(x: &[f32], c: &[f32]) -> f32
}

on_every_level! {
    /// [`distance`] from a point to each of the rows.
    distances = distances_of(x: &[f32], rows: Matrix<'_>, found: &mut [f32])
}

on_every_level! {
    /// `Σx²`.
    squares = squares_of(x: &[f32]) -> f32
}

on_every_level! {
    /// Adds the first `count` rows that `members` names to `sums`, one value per column, in their
    /// order; asks for those beyond, which come next.
    add_rows = add_rows_of(rows: Matrix<'_>, members: &[u32], count: usize, sums: &mut [f64])
}

on_every_level! {
    /// `Σx²` in f64.
    squares64 = squares64_of(x: &[f32]) -> f64
}

on_every_level! {
    /// See [`round_moved`].
    round_row = round_moved(x: &[f32], origin: &[f32], rounded: &mut [u16]) -> (f64, f64)
}

on_every_level! {
    /// See [`turn`].
    largest_turned = turn(x: &[f32], origin: &[f32], by: &Integers, turned: &mut [f32]) -> f32
}

on_every_level! {
    /// See [`turn_and_round`].
    turn_row = turn_and_round(x: &[f32], origin: &[f32], turn: &Integers, step: f32, turned: &mut [f32], rounded: &mut [u16]) -> (f64, f64)
}

on_every_level! {
    /// See [`turn_and_round_alone`].
    turn_row_alone = turn_and_round_alone(x: &[f32], origin: &[f32], turn: &Integers, turned: &mut [f32], rounded: &mut [u16]) -> (f64, f64, f32)
}

on_every_level! {
    /// See [`moved_sums_of`].
    moved_sums = moved_sums_of(c: &[f32], origin: &[f32]) -> MovedSums
}

on_every_level! {
    /// See [`sketch_of`].
    sketch_row = sketch_of(x: &[f32], origin: &[f32], sketch: &Sketch, values: &mut [f32])
}

on_every_level! {
    /// Adds `x` so many times to `sum`.
    add_scaled = add_scaled_of(x: &[f32], by: f32, sum: &mut [f32])
}

on_every_level! {
    /// `Σab`.
    dot = dot_of(a: &[f32], b: &[f32]) -> f32
}

#[inline(always)]
fn add_scaled_of(x: &[f32], by: f32, sum: &mut [f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += by * x;
    }
}

#[inline(always)]
fn dot_of(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (xs, ys) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in xs.zip(ys) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn squares64_of(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let xs = x.chunks_exact(LANES);
    let rest: f64 = xs.remainder().iter().map(|a| f64::from(*a).powi(2)).sum();
    for a in xs {
        for (s, a) in sums.iter_mut().zip(a) {
            *s += f64::from(*a) * f64::from(*a);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[inline(always)]
fn distance_of(x: &[f32], c: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (xs, cs) = (x.chunks_exact(LANES), c.chunks_exact(LANES));
    let rest: f32 = xs
        .remainder()
        .iter()
        .zip(cs.remainder())
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    for (a, b) in xs.zip(cs) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn distances_of(x: &[f32], rows: Matrix<'_>, found: &mut [f32]) {
    for (i, found) in found.iter_mut().enumerate() {
        *found = distance_of(x, rows.row(i));
    }
}

#[inline(always)]
fn squares_of(x: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let xs = x.chunks_exact(LANES);
    let rest: f32 = xs.remainder().iter().map(|a| a * a).sum();
    for a in xs {
        for (s, a) in sums.iter_mut().zip(a) {
            *s += a * a;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Columns whose sums are in registers at once.
const COLUMNS: usize = 4 * LANES;

/// Rows asked for ahead.
const AHEAD: usize = 8;

#[inline(always)]
fn add_rows_of(rows: Matrix<'_>, members: &[u32], count: usize, sums: &mut [f64]) {
    for (at, sums) in sums.chunks_mut(COLUMNS).enumerate() {
        let columns = at * COLUMNS..at * COLUMNS + sums.len();
        let of = |i: u32| &rows.row(i as usize)[columns.clone()];
        let prefetch = |ahead: usize| {
            if let (Some(i), 0) = (members.get(ahead), at) {
                super::prefetch(rows.row(*i as usize));
            }
        };
        let members = members[..count].iter().enumerate();
        if let Ok(sums) = <&mut [f64; COLUMNS]>::try_from(&mut *sums) {
            let mut held = *sums;
            for (turn, i) in members {
                prefetch(turn + AHEAD);
                for (s, x) in held.iter_mut().zip(of(*i)) {
                    *s += f64::from(*x);
                }
            }
            *sums = held;
        } else {
            for (turn, i) in members {
                prefetch(turn + AHEAD);
                for (s, x) in sums.iter_mut().zip(of(*i)) {
                    *s += f64::from(*x);
                }
            }
        }
    }
}
