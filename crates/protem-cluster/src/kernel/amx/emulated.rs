//! What the tiles do, in plain Rust: for tests of all that is around them, on any processor with
//! AVX-512. (Sums of bf16 are in another order; denormals are no zeros.)

use super::{Block, Maxima, ROWS, Results, maxima};
use crate::kernel::{Halves, Lanes};

/// Whether the vector instructions are there that are not emulated.
pub(crate) fn usable() -> bool {
    crate::kernel::bytes_usable()
}

/// What four tiles hold.
pub(super) struct Tiles(Results);

impl Tiles {
    pub fn new() -> Self {
        assert!(usable(), "AVX512-VNNI is not usable here");
        Self(Results([Lanes::ZERO; 4 * ROWS]))
    }
}

/// Lines that a block asks for.
pub(super) fn prefetched(_steps: usize) -> usize {
    1
}

/// A block's products into the tiles, whose results of the block before go to `stored`; and the
/// maxima over `before`.
///
/// # Safety
/// AVX-512 F. The block's pointers are good for `2·steps` tiles of centroids and of points.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply<const INT8: bool>(
    tiles: &mut Tiles,
    block: &Block,
    steps: usize,
    stored: &mut Results,
    before: &Results,
    first: &[Lanes; 2],
) -> Maxima {
    *stored = tiles.0;
    tiles.0 = Results([Lanes::ZERO; 4 * ROWS]);
    let _ = block.next;
    for step in 0..steps {
        for (at, tile) in tiles.0.0.chunks_exact_mut(ROWS).enumerate() {
            let left = (at / 2 * steps + step) * ROWS;
            let right = (at % 2 * steps + step) * ROWS;
            for (row, sums) in tile.iter_mut().enumerate() {
                // SAFETY: a row of a tile that the caller vouches for.
                let centroid = unsafe { &*block.centroids.add(left + row) };
                for (k, of_points) in (0..ROWS).map(|k| (k, right + k)) {
                    // SAFETY: as above.
                    let points = unsafe { &*block.points.add(of_points) };
                    add::<INT8>(sums, [centroid.0[2 * k], centroid.0[2 * k + 1]], points);
                }
            }
        }
    }
    maxima::<INT8>(before, first)
}

/// The products of two values of bf16, or four bytes, with those of 16 points.
fn add<const INT8: bool>(sums: &mut Lanes, values: [u16; 2], points: &Halves) {
    let bytes = |[low, high]: [u16; 2]| {
        let ([a, b], [c, d]) = (low.to_le_bytes(), high.to_le_bytes());
        [a, b, c, d].map(|byte| i32::from(byte as i8))
    };
    let wide = |half: u16| f32::from_bits(u32::from(half) << 16);
    for (sum, point) in sums.0.iter_mut().zip(points.0.as_chunks::<2>().0) {
        if INT8 {
            let products = bytes(values).into_iter().zip(bytes(*point));
            let added: i32 = products.map(|(a, b)| a * b).sum();
            *sum = f32::from_bits((sum.to_bits() as i32).wrapping_add(added) as u32);
        } else {
            let [a, b] = [0, 1].map(|i| wide(values[i]) * wide(point[i]));
            *sum += a + b;
        }
    }
}

/// The results of the last block.
pub(super) fn finish(tiles: &mut Tiles, stored: &mut Results) {
    *stored = tiles.0;
}
