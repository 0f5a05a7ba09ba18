//! Launches, one function per kernel: nearly all the `unsafe` of this module.
//!
//! A launch is sound if the arguments are those of the kernel's declaration, in its order and of its
//! types, and no index that it computes lies outside a buffer. The first is checked by the eye,
//! kernel beside function; each function asserts the second from its buffers' lengths.

use crate::error::ClusterError;
use cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaStream, CudaView, CudaViewMut, LaunchConfig,
    PushKernelArg,
};
use std::sync::Arc;

/// Lanes of a warp, and centroids of a group.
pub(super) const WARP: usize = 32;
/// Columns of a tile.
pub(super) const TILE: usize = 16;
/// Points of a block of the pass: 4 warps of 4 strips of 16.
pub(super) const OF_BLOCK: usize = 256;
/// Groups kept for a point: `SLOTS` of candidates.cu.
pub(super) const SLOTS: usize = 8;
/// Values of a digit, and threads of a sorting block.
pub(super) const DIGITS: usize = 256;
/// Labels of a sorting block: `DIGITS · ROUNDS` of sort.cu.
pub(super) const OF_SORT: usize = DIGITS * 16;
/// Bits of a digit.
pub(super) const DIGIT_BITS: u32 = 8;
const THREADS: usize = 128;
/// Blocks that keep the largest devices busy.
const BUSY: usize = 1024;

/// The kernels of a loaded module.
pub(crate) struct Kernels {
    pack_points: CudaFunction,
    pack_centroids: CudaFunction,
    best_of_groups: CudaFunction,
    take_candidates: CudaFunction,
    decide: CudaFunction,
    count_digits: CudaFunction,
    sum_counts: CudaFunction,
    move_by_digit: CudaFunction,
    find_begins: CudaFunction,
    mean_of_members: CudaFunction,
}

/// Sizes that every kernel is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub n: usize,
    pub k: usize,
    pub columns: usize,
}

impl Shape {
    /// Tiles of a row.
    pub fn steps(&self) -> usize {
        self.columns.div_ceil(TILE)
    }

    /// Groups of centroids.
    pub fn groups(&self) -> usize {
        self.k.div_ceil(WARP)
    }

    /// Points in whole blocks of the pass.
    pub fn padded(&self) -> usize {
        self.n.next_multiple_of(OF_BLOCK)
    }
}

/// Centroids as `pack_centroids` leaves them.
pub(super) struct Packed {
    pub tiles: CudaSlice<u16>,
    pub lines: CudaSlice<f32>,
    pub biases: CudaSlice<f32>,
    pub firsts: CudaSlice<f32>,
    pub extent: CudaSlice<u64>,
}

/// Points of a chunk, with what `pack_points` says of them.
pub(super) struct Chunk<'a> {
    pub count: usize,
    pub points: CudaView<'a, f32>,
    pub errors: CudaView<'a, f32>,
    pub norms: CudaView<'a, f32>,
}

/// Coefficients of a window, as its kernel takes them.
pub(super) type Coefficients = [f32; 4];

fn config(grid: (usize, usize), threads: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid.0 as u32, grid.1 as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Launches a kernel with these arguments, of which numbers are u32 or f32.
macro_rules! launch {
    ($stream:expr, $function:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        let mut builder = $stream.launch_builder(&$function);
        $(builder.arg($argument);)+
        // SAFETY: see the head of this file; the caller asserts the sizes.
        unsafe { builder.launch($config) }?;
        Ok(())
    }};
}

type Done = Result<(), ClusterError>;

impl Kernels {
    pub fn load(module: &Arc<CudaModule>) -> Result<Self, ClusterError> {
        let load = |name| module.load_function(name);
        Ok(Self {
            pack_points: load("pack_points")?,
            pack_centroids: load("pack_centroids")?,
            best_of_groups: load("best_of_groups")?,
            take_candidates: load("take_candidates")?,
            decide: load("decide")?,
            count_digits: load("count_digits")?,
            sum_counts: load("sum_counts")?,
            move_by_digit: load("move_by_digit")?,
            find_begins: load("find_begins")?,
            mean_of_members: load("mean_of_members")?,
        })
    }

    /// Tiles, errors and norms of the points.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn pack_points(
        &self,
        stream: &CudaStream,
        shape: Shape,
        points: &CudaSlice<f32>,
        origin: &CudaSlice<f32>,
        tiles: &mut CudaSlice<u16>,
        errors: &mut CudaSlice<f32>,
        norms: &mut CudaSlice<f32>,
    ) -> Done {
        let Shape { n, columns, .. } = shape;
        assert_eq!(points.len(), n * columns, "points");
        assert_eq!(origin.len(), columns, "origin");
        assert_eq!(tiles.len(), shape.padded() * shape.steps() * TILE, "tiles");
        assert!(errors.len() == n && norms.len() == n, "a value per point");
        let config = config((n.div_ceil(THREADS / WARP), 1), THREADS);
        let (n, columns, steps) = (n as u32, columns as u32, shape.steps() as u32);
        launch!(
            stream,
            self.pack_points,
            config,
            points,
            origin,
            &n,
            &columns,
            &steps,
            tiles,
            errors,
            norms,
        )
    }

    /// Centroids as the other kernels read them; raises `packed.extent`.
    pub(super) fn pack_centroids(
        &self,
        stream: &CudaStream,
        shape: Shape,
        centroids: &CudaSlice<f32>,
        origin: &CudaSlice<f32>,
        packed: &mut Packed,
    ) -> Done {
        let (k, columns, padded) = (shape.k, shape.columns, shape.groups() * WARP);
        assert_eq!(centroids.len(), k * columns, "centroids");
        assert_eq!(origin.len(), columns, "origin");
        assert_packed(packed, shape);
        let config = config((padded.div_ceil(THREADS / WARP), 1), THREADS);
        let (k, padded, columns) = (k as u32, padded as u32, columns as u32);
        let steps = shape.steps() as u32;
        launch!(
            stream,
            self.pack_centroids,
            config,
            centroids,
            origin,
            &k,
            &padded,
            &columns,
            &steps,
            &mut packed.tiles,
            &mut packed.lines,
            &mut packed.biases,
            &mut packed.firsts,
            &mut packed.extent,
        )
    }

    /// The best score of `count` points from `begin` on in each group: `best[group · stride + i]`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn best_of_groups(
        &self,
        stream: &CudaStream,
        shape: Shape,
        tiles: &CudaSlice<u16>,
        packed: &Packed,
        (begin, count): (usize, usize),
        stride: usize,
        best: &mut CudaSlice<f32>,
    ) -> Done {
        let (groups, padded) = (shape.groups(), count.next_multiple_of(OF_BLOCK));
        assert_eq!(tiles.len(), shape.padded() * shape.steps() * TILE, "tiles");
        assert!(begin.is_multiple_of(OF_BLOCK), "whole blocks");
        assert!(begin + padded <= shape.padded(), "points there are");
        assert!(padded <= stride && best.len() >= groups * stride, "places");
        assert_packed(packed, shape);
        let blocks = padded / OF_BLOCK;
        let share = groups.div_ceil(BUSY.div_ceil(blocks).min(groups));
        let config = config((blocks, groups.div_ceil(share)), THREADS);
        let (first, strips) = ((begin / TILE) as u64, (padded / TILE) as u32);
        let (groups, share) = (groups as u32, share as u32);
        let (steps, stride) = (shape.steps() as u32, stride as u32);
        launch!(
            stream,
            self.best_of_groups,
            config,
            tiles,
            &packed.tiles,
            &packed.biases,
            &first,
            &strips,
            &groups,
            &share,
            &steps,
            &stride,
            best,
        )
    }

    /// Groups of each point of the chunk that can hold its nearest centroid, and how many.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn take_candidates(
        &self,
        stream: &CudaStream,
        shape: Shape,
        best: &CudaSlice<f32>,
        stride: usize,
        chunk: &Chunk<'_>,
        [a, b, c, d]: Coefficients,
        slots: &mut CudaSlice<u32>,
        found: &mut CudaSlice<u32>,
    ) -> Done {
        let groups = shape.groups();
        assert!(chunk.count <= stride && best.len() >= groups * stride);
        assert_chunk(chunk, shape);
        assert!(slots.len() >= chunk.count * SLOTS && found.len() >= chunk.count);
        let config = config((chunk.count.div_ceil(THREADS), 1), THREADS);
        let (groups, stride, count) = (groups as u32, stride as u32, chunk.count as u32);
        launch!(
            stream,
            self.take_candidates,
            config,
            best,
            &groups,
            &stride,
            &count,
            &chunk.errors,
            &chunk.norms,
            &a,
            &b,
            &c,
            &d,
            slots,
            found,
        )
    }

    /// Labels and distances of the points of a chunk. `found` counts groups below `shape.groups()`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn decide(
        &self,
        stream: &CudaStream,
        shape: Shape,
        chunk: &Chunk<'_>,
        centroids: &CudaSlice<f32>,
        packed: &Packed,
        origin: f32,
        [a, b, c, d]: Coefficients,
        (slots, found): (&CudaSlice<u32>, &CudaSlice<u32>),
        (labels, distances): (&mut CudaViewMut<'_, u32>, &mut CudaViewMut<'_, f32>),
    ) -> Done {
        assert_chunk(chunk, shape);
        assert_packed(packed, shape);
        assert_eq!(centroids.len(), shape.k * shape.columns, "centroids");
        assert!(slots.len() >= chunk.count * SLOTS && found.len() >= chunk.count);
        assert!(labels.len() == chunk.count && distances.len() == chunk.count);
        let config = config((chunk.count.div_ceil(THREADS / WARP), 1), THREADS);
        let (count, k) = (chunk.count as u32, shape.k as u32);
        let (groups, columns) = (shape.groups() as u32, shape.columns as u32);
        launch!(
            stream,
            self.decide,
            config,
            &chunk.points,
            centroids,
            &packed.lines,
            &packed.firsts,
            &count,
            &k,
            &groups,
            &columns,
            &chunk.errors,
            &chunk.norms,
            &origin,
            &a,
            &b,
            &c,
            &d,
            slots,
            found,
            labels,
            distances,
        )
    }

    /// How often each block has each value of the digit at `shift`, then the sums of those before.
    pub(super) fn count_digits(
        &self,
        stream: &CudaStream,
        labels: &CudaSlice<u32>,
        shift: u32,
        counts: &mut CudaSlice<u32>,
    ) -> Done {
        let blocks = labels.len().div_ceil(OF_SORT);
        assert_eq!(counts.len(), DIGITS * blocks, "a count per digit and block");
        let (n, length) = (labels.len() as u32, counts.len() as u32);
        let counted: Done = launch!(
            stream,
            self.count_digits,
            config((blocks, 1), DIGITS),
            labels,
            &n,
            &shift,
            &mut *counts,
        );
        counted?;
        launch!(
            stream,
            self.sum_counts,
            config((1, 1), DIGITS),
            counts,
            &length
        )
    }

    /// Labels and their points in the order of one digit; the first time points are `numbered` in
    /// turn. `counts` are those of these labels.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn move_by_digit(
        &self,
        stream: &CudaStream,
        (labels, from): (&CudaSlice<u32>, &CudaSlice<u32>),
        numbered: bool,
        shift: u32,
        counts: &CudaSlice<u32>,
        (sorted, to): (&mut CudaSlice<u32>, &mut CudaSlice<u32>),
    ) -> Done {
        let n = labels.len();
        let blocks = n.div_ceil(OF_SORT);
        assert_eq!(counts.len(), DIGITS * blocks, "a count per digit and block");
        assert!([from.len(), sorted.len(), to.len()] == [n; 3], "places");
        let (n, numbered) = (n as u32, u32::from(numbered));
        launch!(
            stream,
            self.move_by_digit,
            config((blocks, 1), DIGITS),
            labels,
            from,
            &numbered,
            &n,
            &shift,
            counts,
            sorted,
            to,
        )
    }

    /// Where each cluster begins among labels that are sorted and below k.
    pub(super) fn find_begins(
        &self,
        stream: &CudaStream,
        shape: Shape,
        sorted: &CudaSlice<u32>,
        begins: &mut CudaSlice<u32>,
    ) -> Done {
        assert!(sorted.len() == shape.n && begins.len() == shape.k + 1);
        let config = config((shape.n.div_ceil(DIGITS), 1), DIGITS);
        let (n, k) = (shape.n as u32, shape.k as u32);
        launch!(stream, self.find_begins, config, sorted, &n, &k, begins)
    }

    /// Means of the wanted clusters, weights of all. `members` are points, by cluster.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn mean_of_members(
        &self,
        stream: &CudaStream,
        shape: Shape,
        points: &CudaSlice<f32>,
        weights: Option<&CudaSlice<f32>>,
        (members, begins): (&CudaSlice<u32>, &CudaSlice<u32>),
        wanted: &CudaSlice<u8>,
        (centroids, sizes): (&mut CudaSlice<f32>, &mut CudaSlice<f64>),
    ) -> Done {
        let Shape { n, k, columns } = shape;
        assert!(points.len() == n * columns && centroids.len() == k * columns);
        assert!(weights.is_none_or(|weights| weights.len() == n));
        assert!(members.len() == n && begins.len() == k + 1);
        assert!(wanted.len() == k && sizes.len() == k);
        let config = config((k, 1), THREADS);
        let (weighted, columns) = (u32::from(weights.is_some()), columns as u32);
        // Not read unless there are weights.
        let weights = weights.unwrap_or(points);
        launch!(
            stream,
            self.mean_of_members,
            config,
            points,
            weights,
            &weighted,
            &columns,
            members,
            begins,
            wanted,
            centroids,
            sizes,
        )
    }
}

fn assert_packed(packed: &Packed, shape: Shape) {
    let padded = shape.groups() * WARP;
    assert_eq!(packed.tiles.len(), padded * shape.steps() * TILE, "tiles");
    assert_eq!(packed.lines.len(), padded * shape.columns, "lines");
    assert!(packed.biases.len() == padded && packed.firsts.len() == padded);
    assert_eq!(packed.extent.len(), 2, "two bounds");
}

fn assert_chunk(chunk: &Chunk<'_>, shape: Shape) {
    assert_eq!(chunk.points.len(), chunk.count * shape.columns, "points");
    assert!(chunk.errors.len() == chunk.count && chunk.norms.len() == chunk.count);
}
