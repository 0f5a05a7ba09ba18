//! What is kept on a device, how many bytes that takes, and how many points fit.

use super::kernels::{DIGITS, OF_BLOCK, OF_SORT, Packed, SLOTS, Shape, TILE, WARP};
use cudarc::driver::{CudaSlice, CudaStream, DriverError};
use std::sync::Arc;

/// Bytes of the best scores of a chunk of points.
pub(super) const BEST: usize = 256 << 20;

/// What is on the device.
pub(super) struct Buffers {
    pub points: CudaSlice<f32>,
    pub weights: Option<CudaSlice<f32>>,
    pub origin: CudaSlice<f32>,
    pub tiles: CudaSlice<u16>,
    pub errors: CudaSlice<f32>,
    pub norms: CudaSlice<f32>,
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

impl Buffers {
    pub fn new(
        stream: &Arc<CudaStream>,
        shape: Shape,
        chunk: usize,
        weighted: bool,
    ) -> Result<Self, DriverError> {
        let Shape { n, k, columns } = shape;
        let (groups, wide) = (shape.groups(), shape.steps() * TILE);
        let floats = |length| stream.alloc_zeros::<f32>(length);
        let numbers = |length| stream.alloc_zeros::<u32>(length);
        Ok(Self {
            points: floats(n * columns)?,
            weights: weighted.then(|| floats(n)).transpose()?,
            origin: floats(columns)?,
            tiles: stream.alloc_zeros(shape.padded() * wide)?,
            errors: floats(n)?,
            norms: floats(n)?,
            centroids: floats(k * columns)?,
            packed: Packed {
                tiles: stream.alloc_zeros(groups * WARP * wide)?,
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

/// Bytes of [`Buffers`].
pub(super) fn bytes(shape: Shape, chunk: usize, weighted: bool) -> usize {
    let Shape { n, k, columns } = shape;
    let (padded, wide) = (shape.groups() * WARP, shape.steps() * TILE);
    let of_points = n * (columns * 4 + 32 + usize::from(weighted) * 4) + shape.padded() * wide * 2;
    let of_centroids = k * (columns * 4 + 13) + 4 + padded * (wide * 2 + columns * 4 + 8) + 16;
    let of_chunk = chunk * (shape.groups() * 4 + SLOTS * 4 + 4);
    let of_sort = n.div_ceil(OF_SORT) * DIGITS * 4;
    of_points + of_centroids + of_chunk + of_sort + columns * 4
}

/// Points of a chunk whose best scores take no more than `best` bytes, in whole blocks.
pub(super) fn chunk(shape: Shape, best: usize) -> usize {
    let most = best / (4 * shape.groups()) / OF_BLOCK * OF_BLOCK;
    most.clamp(OF_BLOCK, shape.padded())
}

/// The most points, up to those there are, that fit into so many bytes.
pub(super) fn fitting(shape: Shape, best: usize, weighted: bool, free: usize) -> usize {
    let fits = |n| {
        let shape = Shape { n, ..shape };
        n == 0 || bytes(shape, chunk(shape, best), weighted) <= free
    };
    let (mut most, mut too_many) = (0, shape.n + 1);
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
