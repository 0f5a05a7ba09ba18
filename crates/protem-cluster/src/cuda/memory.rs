//! What is kept on a device, how many bytes that takes, and how much fits.

use super::driver::{Card, room};
use super::kernels::{DIGITS, OF_BLOCK, OF_SORT, Packed, SLOTS, Shape, TILE, WARP};
use crate::error::ClusterError;
use crate::points::length;
use cudarc::driver::{CudaSlice, CudaStream, CudaView, DriverError};
use std::sync::Arc;

/// Bytes of what a chunk of points has for itself: best scores and candidates.
pub(super) const BEST: usize = 256 << 20;

/// What the kernels want of points beside their values, for all numbers of clusters.
pub(super) struct Set {
    pub weights: Option<CudaSlice<f32>>,
    pub origin: CudaSlice<f32>,
    /// Length of the origin, or more.
    pub origin_norm: f64,
    pub tiles: CudaSlice<u16>,
    pub errors: CudaSlice<f32>,
    pub norms: CudaSlice<f32>,
}

/// What an iteration on `k` clusters needs beside the points.
pub(super) struct Buffers {
    pub centroids: CudaSlice<f32>,
    pub packed: Packed,
    pub best: CudaSlice<f32>,
    pub slots: CudaSlice<u32>,
    pub found: CudaSlice<u32>,
    pub labels: CudaSlice<u32>,
    pub distances: CudaSlice<f32>,
    /// Labels in order, and whose they are, by turns.
    pub sorted: [CudaSlice<u32>; 2],
    pub members: [CudaSlice<u32>; 2],
    pub counts: CudaSlice<u32>,
    pub begins: CudaSlice<u32>,
    pub wanted: CudaSlice<u8>,
    pub sizes: CudaSlice<f64>,
}

impl Set {
    /// For up to `n` points around an origin, if there is room.
    pub fn room(
        card: &Card,
        n: usize,
        origin: &[f32],
        weighted: bool,
    ) -> Result<Option<Self>, ClusterError> {
        let shape = Shape {
            n,
            k: 0,
            columns: origin.len(),
        };
        let stream = &card.stream;
        let floats = |length| stream.alloc_zeros::<f32>(length);
        let made = || -> Result<Self, DriverError> {
            let around = stream.clone_htod(origin)?;
            // The caller's origin may be gone when a copy that is still under way would read it.
            stream.synchronize()?;
            Ok(Self {
                weights: weighted.then(|| floats(n)).transpose()?,
                origin: around,
                origin_norm: length(origin),
                tiles: stream.alloc_zeros(shape.padded() * shape.steps() * TILE)?,
                errors: floats(n)?,
                norms: floats(n)?,
            })
        };
        room(made())
    }

    /// Prepares these points and their weights, in place of those before.
    pub fn pack(
        &mut self,
        card: &Card,
        points: &CudaView<'_, f32>,
        weights: Option<&[f32]>,
    ) -> Result<(), ClusterError> {
        if let (Some(values), Some(to)) = (weights, &mut self.weights) {
            card.write(values, to)?;
        }
        let columns = self.origin.len();
        let shape = Shape {
            n: points.len() / columns,
            k: 0,
            columns,
        };
        card.kernels.pack_points(
            &card.stream,
            shape,
            points,
            &self.origin,
            &mut self.tiles,
            &mut self.errors,
            &mut self.norms,
        )
    }

    /// The weights of the first `n` points.
    pub fn weights(&self, n: usize) -> Option<CudaView<'_, f32>> {
        self.weights.as_ref().map(|weights| weights.slice(..n))
    }
}

impl Buffers {
    pub fn new(stream: &Arc<CudaStream>, shape: Shape, chunk: usize) -> Result<Self, DriverError> {
        let Shape { n, k, columns } = shape;
        let (groups, wide) = (shape.groups(), shape.steps() * TILE);
        let floats = |length| stream.alloc_zeros::<f32>(length);
        let numbers = |length| stream.alloc_zeros::<u32>(length);
        Ok(Self {
            centroids: floats(k * columns)?,
            packed: Packed {
                tiles: stream.alloc_zeros(shape.of_tiles() * wide)?,
                lines: floats(groups * WARP * columns)?,
                biases: floats(groups * WARP)?,
                firsts: floats(groups * WARP)?,
                extent: stream.alloc_zeros(2)?,
            },
            best: floats(groups * chunk)?,
            slots: numbers(chunk * SLOTS)?,
            found: numbers(chunk)?,
            labels: numbers(n)?,
            distances: floats(n)?,
            sorted: [numbers(n)?, numbers(n)?],
            members: [numbers(n)?, numbers(n)?],
            counts: numbers(n.div_ceil(OF_SORT) * DIGITS)?,
            begins: numbers(k + 1)?,
            wanted: stream.alloc_zeros(k)?,
            sizes: stream.alloc_zeros(k)?,
        })
    }
}

/// Bytes of points' values.
pub(super) fn of_values(n: usize, columns: usize) -> usize {
    n * columns * 4
}

/// Bytes of a [`Set`] for points of this shape.
pub(super) fn of_set(shape: Shape, weighted: bool) -> usize {
    let tiles = shape.padded() * shape.steps() * TILE * 2;
    tiles + shape.n * (8 + usize::from(weighted) * 4) + shape.columns * 4
}

/// Bytes of [`Buffers`].
pub(super) fn of_buffers(shape: Shape, chunk: usize) -> usize {
    let Shape { n, k, columns } = shape;
    let (padded, wide) = (shape.groups() * WARP, shape.steps() * TILE);
    let of_centroids = k * (columns * 4 + 13) + 4 + padded * (columns * 4 + 8) + 16;
    let of_tiles = shape.of_tiles() * wide * 2;
    let of_chunk = chunk * of_chunk(shape);
    of_centroids + of_tiles + of_chunk + n * 24 + n.div_ceil(OF_SORT) * DIGITS * 4
}

/// Bytes of sums over blocks.
pub(super) fn of_sums(shape: Shape) -> usize {
    shape.k * shape.columns * 8
}

/// Bytes of a point of a chunk: its best scores, its slots and how many it has.
fn of_chunk(shape: Shape) -> usize {
    shape.groups() * 4 + SLOTS * 4 + 4
}

/// Points of a chunk that take no more than `best` bytes, in whole blocks.
pub(super) fn chunk(shape: Shape, best: usize) -> usize {
    let most = best / of_chunk(shape) / OF_BLOCK * OF_BLOCK;
    most.clamp(OF_BLOCK, shape.padded())
}

/// The largest number up to `limit` that fits, where smaller ones fit too; or 0.
pub(super) fn most(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut most, mut too_many) = (0, limit + 1);
    while most + 1 < too_many {
        let between = most + (too_many - most) / 2;
        if fits(between) {
            most = between;
        } else {
            too_many = between;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_no_more_than_it_may_whatever_the_clusters() {
        for k in [1, 30, 1000, 1 << 20] {
            let shape = Shape {
                n: 50_000_000,
                k,
                columns: 8,
            };
            let chunk = chunk(shape, BEST);
            assert!(chunk * of_chunk(shape) <= BEST, "{k} clusters: {chunk}");
            // And another block would be too much.
            assert!((chunk + OF_BLOCK) * of_chunk(shape) > BEST, "{k} clusters");
            let others = of_buffers(shape, chunk) - of_buffers(shape, 0);
            assert_eq!(others, chunk * of_chunk(shape));
        }
    }
    #[test]
    fn the_readme_says_what_points_and_centroids_take() {
        let readme = include_str!("../../README.md");
        for formula in ["`4·d + 2·w + 8` bytes each", "`8·d + 2·w + 21`\na centroid"] {
            assert!(readme.contains(formula), "{formula}");
        }
        for columns in [1_usize, 8, 15, 16, 17, 100, 128] {
            let wide = columns.next_multiple_of(16);
            // Blocks, tiles and groups that are full, and last ones of one row.
            for (n, k) in [(1 << 20, 1280), ((1 << 20) - 255, 1280 - 127)] {
                let shape = Shape { n, k, columns };
                let points = of_values(n, columns) + of_set(shape, false);
                let filling = (shape.padded() - n) * 2 * wide;
                let origin = columns * 4;
                let told = n * (4 * columns + 2 * wide + 8);
                assert_eq!(points, told + filling + origin, "{shape:?}");
                let centroids = of_buffers(shape, 0) - of_buffers(Shape { k: 0, ..shape }, 0);
                let in_tiles = (shape.of_tiles() - k) * 2 * wide;
                let in_groups = (shape.groups() * WARP - k) * (4 * columns + 8);
                let told = k * (8 * columns + 2 * wide + 21);
                assert_eq!(centroids, told + in_tiles + in_groups, "{shape:?}");
                let of_points = of_buffers(Shape { k: 0, ..shape }, 0);
                assert!(of_points <= 25 * n, "{shape:?}");
            }
        }
    }
}
