//! A CUDA device as a backend: the same labels and centroids as the processor, to the bit.
//!
//! Points are copied and packed once. An assignment packs the centroids, then takes chunks of points
//! through pass, candidates and decision (see `kernels/*.cu`); an update sorts the labels, which
//! stay on the device, and sums in index order. Nothing adds floats in an order that the device
//! chooses.

mod compile;
mod driver;
mod kernels;
mod memory;
#[cfg(test)]
mod tests;

use crate::backend::{Backend, Change, Update, changed};
use crate::error::ClusterError;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::window::{Extent, Window, round_up};
use cudarc::driver::CudaSlice;
use cudarc::driver::sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY;
use driver::Card;
use kernels::{Chunk, DIGIT_BITS, Shape, TILE};
use memory::{BEST, Buffers, bytes, chunk, fitting};

/// Values of points that are copied at a time where rows do not lie side by side.
const STAGED: usize = 1 << 22;
/// Points times clusters from which a device is worth its copies and launches. A guess, not yet
/// measured on one.
const WORTH: usize = 1 << 26;

/// A device that holds points.
pub(crate) struct Cuda {
    card: Card,
    shape: Shape,
    /// Points taken through the pass at a time.
    chunk: usize,
    /// Length of the origin, or more.
    origin_norm: f64,
    on: Buffers,
}

impl Cuda {
    /// Puts points and weights onto device `ordinal`.
    pub fn new(
        ordinal: usize,
        points: &Points<'_>,
        weights: Option<&[f32]>,
        k: usize,
    ) -> Result<Self, ClusterError> {
        Self::with_best(ordinal, points, weights, k, BEST)
    }

    fn with_best(
        ordinal: usize,
        points: &Points<'_>,
        weights: Option<&[f32]>,
        k: usize,
        best: usize,
    ) -> Result<Self, ClusterError> {
        let card = Card::open(ordinal)?;
        let (n, columns) = (points.rows.rows(), points.rows.cols());
        let shape = Shape { n, k, columns };
        let chunk = chunk(shape, best);
        let (weighted, free) = (weights.is_some(), card.free()?);
        let needed = bytes(shape, chunk, weighted);
        let memory = || ClusterError::DeviceMemory {
            points: n,
            needed,
            free,
            fitting: fitting(shape, best, weighted, free),
        };
        if needed > free {
            return Err(memory());
        }
        let on = Buffers::new(&card.stream, shape, chunk, weighted).map_err(|e| match e.0 {
            CUDA_ERROR_OUT_OF_MEMORY => memory(),
            _ => e.into(),
        })?;
        let mut cuda = Self {
            card,
            shape,
            chunk,
            origin_norm: points.origin_norm,
            on,
        };
        cuda.fill(points, weights)?;
        Ok(cuda)
    }

    fn fill(&mut self, points: &Points<'_>, weights: Option<&[f32]>) -> Result<(), ClusterError> {
        let (stream, on) = (&self.card.stream, &mut self.on);
        if let Some(values) = points.rows.side_by_side() {
            stream.memcpy_htod(values, &mut on.points)?;
        } else {
            let columns = self.shape.columns;
            let rows = (STAGED / columns).max(1);
            for begin in (0..self.shape.n).step_by(rows) {
                let end = self.shape.n.min(begin + rows);
                let some: Vec<f32> = (begin..end)
                    .flat_map(|i| points.rows.row(i))
                    .copied()
                    .collect();
                let mut to = on.points.slice_mut(begin * columns..end * columns);
                stream.memcpy_htod(&some, &mut to)?;
            }
        }
        if let (Some(values), Some(to)) = (weights, &mut on.weights) {
            stream.memcpy_htod(values, to)?;
        }
        stream.memcpy_htod(&points.origin, &mut on.origin)?;
        self.card.kernels.pack_points(
            stream,
            self.shape,
            &on.points,
            &on.origin,
            &mut on.tiles,
            &mut on.errors,
            &mut on.norms,
        )
    }

    /// Packs centroids; returns the windows of the pass and of scores in f32.
    fn pack(&mut self, centroids: &[f32]) -> Result<(Window, Window), ClusterError> {
        let (stream, on) = (&self.card.stream, &mut self.on);
        stream.memcpy_htod(centroids, &mut on.centroids)?;
        stream.memset_zeros(&mut on.packed.extent)?;
        let kernels = &self.card.kernels;
        let (shape, packed) = (self.shape, &mut on.packed);
        kernels.pack_centroids(stream, shape, &on.centroids, &on.origin, packed)?;
        let mut bits = [0u64; 2];
        stream.memcpy_dtoh(&on.packed.extent, &mut bits[..])?;
        let [norm, rounding] = bits.map(f64::from_bits);
        let extent = Extent {
            norm,
            rounding,
            origin: self.origin_norm,
        };
        let wide = shape.steps() * TILE;
        Ok((
            Window::of_tensor_cores(wide, &extent),
            Window::of_f32(shape.columns, &extent),
        ))
    }

    /// Labels and distances of a chunk of points, which stay on the device.
    fn assign_chunk(
        &mut self,
        begin: usize,
        pass: &Window,
        exact: &Window,
    ) -> Result<(), ClusterError> {
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let (shape, stride, on) = (self.shape, self.chunk, &mut self.on);
        let end = shape.n.min(begin + stride);
        let count = end - begin;
        let (range, best) = ((begin, count), &mut on.best);
        kernels.best_of_groups(stream, shape, &on.tiles, &on.packed, range, stride, best)?;
        let chunk = Chunk {
            count,
            points: on.points.slice(begin * shape.columns..end * shape.columns),
            errors: on.errors.slice(begin..end),
            norms: on.norms.slice(begin..end),
        };
        kernels.take_candidates(
            stream,
            shape,
            &on.best,
            stride,
            &chunk,
            pass.coefficients(),
            &mut on.slots,
            &mut on.found,
        )?;
        kernels.decide(
            stream,
            shape,
            &chunk,
            &on.centroids,
            &on.packed,
            round_up(self.origin_norm),
            exact.coefficients(),
            (&on.slots, &on.found),
            (
                &mut on.labels.slice_mut(begin..end),
                &mut on.distances.slice_mut(begin..end),
            ),
        )
    }

    /// Sorts the labels of the last assignment; returns which of `members` is in order.
    fn sort(&mut self) -> Result<usize, ClusterError> {
        let (stream, kernels, on) = (&self.card.stream, &self.card.kernels, &mut self.on);
        let bits = usize::BITS - (self.shape.k - 1).leading_zeros();
        let rounds = bits.div_ceil(DIGIT_BITS).max(1) as usize;
        for round in 0..rounds {
            let (shift, into) = (round as u32 * DIGIT_BITS, round % 2);
            let (sorted, before) = turn(&mut on.sorted, into);
            let (members, from) = turn(&mut on.members, into);
            let labels = if round == 0 { &on.labels } else { before };
            kernels.count_digits(stream, labels, shift, &mut on.counts)?;
            let (first, counts) = (round == 0, &on.counts);
            let (source, target) = ((labels, from), (sorted, members));
            kernels.move_by_digit(stream, source, first, shift, counts, target)?;
        }
        let last = (rounds - 1) % 2;
        kernels.find_begins(stream, self.shape, &on.sorted[last], &mut on.begins)?;
        Ok(last)
    }
}

/// What is written and what is read.
fn turn<T>(pair: &mut [CudaSlice<T>; 2], into: usize) -> (&mut CudaSlice<T>, &CudaSlice<T>) {
    let [even, odd] = pair;
    if into == 0 { (even, odd) } else { (odd, even) }
}

impl Backend for Cuda {
    fn begin(&mut self, _warm: bool) {}

    fn assign(
        &mut self,
        centroids: &[f32],
        _to_follow: usize,
        labels: &mut [u32],
        distances: &mut [f32],
    ) -> Result<(), ClusterError> {
        let (pass, exact) = self.pack(centroids)?;
        for begin in (0..self.shape.n).step_by(self.chunk) {
            self.assign_chunk(begin, &pass, &exact)?;
        }
        self.card.stream.memcpy_dtoh(&self.on.labels, labels)?;
        self.card
            .stream
            .memcpy_dtoh(&self.on.distances, distances)?;
        Ok(())
    }

    /// Of the labels and centroids of the last assignment, which are on the device.
    fn update(
        &mut self,
        change: &Change<'_>,
        centroids: &mut [f32],
    ) -> Result<Update, ClusterError> {
        let last = self.sort()?;
        let k = self.shape.k;
        let (stream, on) = (&self.card.stream, &mut self.on);
        let mut begins = vec![0; k + 1];
        stream.memcpy_dtoh(&on.begins, &mut begins)?;
        let any_empty = begins.windows(2).any(|ends| ends[0] == ends[1]);
        let moved = changed(change, k, on.weights.is_none() && !any_empty);
        let wanted: Vec<u8> = moved.iter().map(|moved| u8::from(*moved)).collect();
        stream.memcpy_htod(&wanted, &mut on.wanted)?;
        self.card.kernels.mean_of_members(
            stream,
            self.shape,
            &on.points,
            on.weights.as_ref(),
            (&on.members[last], &on.begins),
            &on.wanted,
            (&mut on.centroids, &mut on.sizes),
        )?;
        let mut sizes = vec![0.0; k];
        stream.memcpy_dtoh(&on.sizes, &mut sizes)?;
        stream.memcpy_dtoh(&on.centroids, centroids)?;
        Ok(Update { sizes, moved })
    }
}

/// Whether the first device is there, holds these points, and is worth its while.
pub(crate) fn worth(points: Matrix<'_>, n: usize, k: usize, weighted: bool) -> bool {
    let shape = Shape {
        n,
        k,
        columns: points.cols(),
    };
    let needed = || bytes(shape, chunk(shape, BEST), weighted);
    let free = || Card::open(0).and_then(|card| card.free());
    n.saturating_mul(k) >= WORTH && free().is_ok_and(|free| needed() <= free)
}

/// Labels and distances of points that are checked, as many at a time as fit onto device `ordinal`.
pub(crate) fn nearest_in_blocks(
    ordinal: usize,
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    labels: &mut [u32],
    distances: &mut [f32],
) -> Result<(), ClusterError> {
    let (n, k, columns) = (points.rows(), centroids.rows(), points.cols());
    let free = Card::open(ordinal)?.free()?;
    let most = fitting(Shape { n, k, columns }, BEST, false, free).max(1);
    nearest_by(most, ordinal, points, centroids, isa, (labels, distances))
}

/// As [`nearest_in_blocks`], at most so many points at a time.
fn nearest_by(
    most: usize,
    ordinal: usize,
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    isa: Isa,
    (labels, distances): (&mut [u32], &mut [f32]),
) -> Result<(), ClusterError> {
    let k = centroids.rows();
    let values = centroids.side_by_side().unwrap_or_default();
    let places = labels.chunks_mut(most).zip(distances.chunks_mut(most));
    for (at, (labels, distances)) in places.enumerate() {
        let begin = at * most;
        let packed = Points::pack(points.between(begin, begin + labels.len()), isa);
        let mut cuda = Cuda::new(ordinal, &packed, None, k)?;
        cuda.assign(values, 0, labels, distances)?;
    }
    Ok(())
}
