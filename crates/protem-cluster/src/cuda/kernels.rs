//! Launches, one function per kernel, by topic: nearly all the `unsafe` of this module.
//!
//! A launch is sound if the arguments are those of the kernel's declaration, in its order and of its
//! types, and no index that it computes lies outside a buffer. The first is checked by the eye,
//! kernel beside function; each function asserts the second from its buffers' lengths.

/// Launches a kernel with these arguments, of which numbers are u32, u64 or f32.
macro_rules! launch {
    ($stream:expr, $function:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        let mut builder = $stream.launch_builder(&$function);
        $(builder.arg($argument);)+
        // SAFETY: see the head of kernels.rs; the caller asserts the sizes.
        let launch = || unsafe { builder.launch($config) };
        $crate::cuda::measure::timed($stream, stringify!($function), launch)?;
        Ok(())
    }};
}

mod labels;
mod means;
mod pack;
mod pass;
mod rows;
mod wgmma;

use crate::error::ClusterError;
use cudarc::driver::{CudaFunction, CudaModule, CudaSlice, CudaStream, CudaView, LaunchConfig};
use std::sync::Arc;
use wgmma::Wgmma;

/// Lanes of a warp, and centroids of a group.
pub(super) const WARP: usize = 32;
/// Columns of a tile.
pub(super) const TILE: usize = 16;
/// Points of a block of the pass: 4 warps of 4 strips of 16, or two times 128.
pub(super) const OF_BLOCK: usize = 256;
/// Centroids that pass_wgmma.cu takes at once.
const OF_TILE: usize = 128;
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
    /// Takes the place of `best_of_groups` where it is there.
    wgmma: Option<Wgmma>,
    take_candidates: CudaFunction,
    decide: CudaFunction,
    count_digits: CudaFunction,
    sum_counts: CudaFunction,
    move_by_digit: CudaFunction,
    find_begins: CudaFunction,
    mean_of_members: CudaFunction,
    add_members: CudaFunction,
    divide_sums: CudaFunction,
    check_rows: CudaFunction,
    mean_of_rows: CudaFunction,
    take_rows: CudaFunction,
    distances_to_row: CudaFunction,
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

    /// Centroids in whole tiles of either pass.
    pub fn of_tiles(&self) -> usize {
        self.k.next_multiple_of(OF_TILE)
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

type Done = Result<(), ClusterError>;

impl Kernels {
    /// Of a module with pass_wgmma.cu, if `wgmma`.
    pub fn load(
        module: &Arc<CudaModule>,
        stream: &CudaStream,
        wgmma: bool,
    ) -> Result<Self, ClusterError> {
        let load = |name| module.load_function(name);
        Ok(Self {
            pack_points: load("pack_points")?,
            pack_centroids: load("pack_centroids")?,
            best_of_groups: load("best_of_groups")?,
            wgmma: wgmma.then(|| Wgmma::load(module, stream)).transpose()?,
            take_candidates: load("take_candidates")?,
            decide: load("decide")?,
            count_digits: load("count_digits")?,
            sum_counts: load("sum_counts")?,
            move_by_digit: load("move_by_digit")?,
            find_begins: load("find_begins")?,
            mean_of_members: load("mean_of_members")?,
            add_members: load("add_members")?,
            divide_sums: load("divide_sums")?,
            check_rows: load("check_rows")?,
            mean_of_rows: load("mean_of_rows")?,
            take_rows: load("take_rows")?,
            distances_to_row: load("distances_to_row")?,
        })
    }

    /// The name of the pass.
    pub(super) fn pass(&self) -> &'static str {
        match self.wgmma {
            Some(_) => "best_of_groups_wgmma",
            None => "best_of_groups",
        }
    }

    /// Whether points and centroids are packed in blocks of 8 by 8: else in fragments.
    fn in_blocks(&self) -> u32 {
        u32::from(self.wgmma.is_some())
    }
}

fn assert_packed(packed: &Packed, shape: Shape) {
    let padded = shape.groups() * WARP;
    let of_tiles = shape.of_tiles() * shape.steps() * TILE;
    assert_eq!(packed.tiles.len(), of_tiles, "tiles");
    assert_eq!(packed.lines.len(), padded * shape.columns, "lines");
    assert!(packed.biases.len() == padded && packed.firsts.len() == padded);
    assert_eq!(packed.extent.len(), 2, "two bounds");
}

fn assert_chunk(chunk: &Chunk<'_>, shape: Shape) {
    assert_eq!(chunk.points.len(), chunk.count * shape.columns, "points");
    assert!(chunk.errors.len() == chunk.count && chunk.norms.len() == chunk.count);
}
