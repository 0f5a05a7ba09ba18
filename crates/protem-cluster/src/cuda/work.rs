//! The steps of an iteration, for points that are all on the device or a block of them.

use super::driver::{Card, room};
use super::kernels::{Chunk, DIGIT_BITS, Shape, TILE};
use super::memory::{Buffers, Set, chunk};
use crate::error::ClusterError;
use crate::window::{Extent, Window, round_up};
use cudarc::driver::{CudaSlice, CudaView};

/// Centroids in work, and room for what becomes of points.
pub(super) struct Work {
    pub card: Card,
    /// Of clusters, and of as many points as there is room for.
    pub shape: Shape,
    /// Points taken through the pass at a time.
    chunk: usize,
    pub on: Buffers,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.card.bind();
    }
}

/// How far scores may lie from the true ones.
pub(super) struct Windows {
    pub pass: Window,
    /// Of scores in f32.
    pub exact: Window,
}

impl Work {
    /// Room for this shape, with so many bytes for a chunk of points, if there is.
    pub fn room(card: &Card, shape: Shape, best: usize) -> Result<Option<Self>, ClusterError> {
        let chunk = chunk(shape, best);
        let on = room(Buffers::new(&card.stream, shape, chunk))?;
        Ok(on.map(|on| Self {
            card: card.clone(),
            shape,
            chunk,
            on,
        }))
    }

    /// Packs centroids.
    pub fn pack(&mut self, set: &Set, centroids: &[f32]) -> Result<Windows, ClusterError> {
        let (stream, on) = (&self.card.stream, &mut self.on);
        self.card.write(centroids, &mut on.centroids)?;
        stream.memset_zeros(&mut on.packed.extent)?;
        let kernels = &self.card.kernels;
        let (shape, packed) = (self.shape, &mut on.packed);
        kernels.pack_centroids(stream, shape, &on.centroids, &set.origin, packed)?;
        let mut bits = [0u64; 2];
        self.card.read(&on.packed.extent, &mut bits)?;
        let [norm, rounding] = bits.map(f64::from_bits);
        let extent = Extent {
            norm,
            rounding,
            origin: set.origin_norm,
        };
        let wide = shape.steps() * TILE;
        Ok(Windows {
            pass: Window::of_tensor_cores(wide, &extent),
            exact: Window::of_f32(shape.columns, &extent),
        })
    }

    /// Labels and distances of the points of a set, which stay on the device.
    pub fn assign(
        &mut self,
        set: &Set,
        points: &CudaView<'_, f32>,
        windows: &Windows,
    ) -> Result<(), ClusterError> {
        let n = points.len() / self.shape.columns;
        for begin in (0..n).step_by(self.chunk) {
            let range = (begin, n.min(begin + self.chunk));
            self.assign_chunk(set, points, range, windows)?;
        }
        Ok(())
    }

    fn assign_chunk(
        &mut self,
        set: &Set,
        points: &CudaView<'_, f32>,
        (begin, end): (usize, usize),
        windows: &Windows,
    ) -> Result<(), ClusterError> {
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let (shape, stride, on) = (self.shape, self.chunk, &mut self.on);
        let count = end - begin;
        let (range, best) = ((begin, count), &mut on.best);
        kernels.best_of_groups(stream, shape, &set.tiles, &on.packed, range, stride, best)?;
        let chunk = Chunk {
            count,
            points: points.slice(begin * shape.columns..end * shape.columns),
            errors: set.errors.slice(begin..end),
            norms: set.norms.slice(begin..end),
        };
        kernels.take_candidates(
            stream,
            shape,
            &on.best,
            stride,
            &chunk,
            windows.pass.coefficients(),
            &mut on.slots,
            &mut on.found,
        )?;
        kernels.decide(
            stream,
            shape,
            &chunk,
            &on.centroids,
            &on.packed,
            round_up(set.origin_norm),
            windows.exact.coefficients(),
            (&on.slots, &on.found),
            (
                &mut on.labels.slice_mut(begin..end),
                &mut on.distances.slice_mut(begin..end),
            ),
        )
    }

    /// Copies the first labels and distances to the host.
    pub fn copy(&self, labels: &mut [u32], distances: &mut [f32]) -> Result<(), ClusterError> {
        let n = labels.len();
        self.card.read(&self.on.labels.slice(..n), labels)?;
        self.card.read(&self.on.distances.slice(..n), distances)
    }

    /// Sorts the first `n` labels and finds where clusters begin; returns which of `members` is in
    /// order.
    pub fn sort(&mut self, n: usize) -> Result<usize, ClusterError> {
        let (stream, kernels, on) = (&self.card.stream, &self.card.kernels, &mut self.on);
        let bits = usize::BITS - (self.shape.k - 1).leading_zeros();
        let rounds = bits.div_ceil(DIGIT_BITS).max(1) as usize;
        for round in 0..rounds {
            let (shift, into) = (round as u32 * DIGIT_BITS, round % 2);
            let (sorted, before) = turn(&mut on.sorted, into);
            let (members, from) = turn(&mut on.members, into);
            let labels = if round == 0 { &on.labels } else { before };
            kernels.count_digits(stream, n, labels, shift, &mut on.counts)?;
            let (first, counts) = (round == 0, &on.counts);
            let (source, target) = ((labels, from), (sorted, members));
            kernels.move_by_digit(stream, n, source, first, shift, counts, target)?;
        }
        let last = (rounds - 1) % 2;
        let shape = Shape { n, ..self.shape };
        kernels.find_begins(stream, shape, &on.sorted[last], &mut on.begins)?;
        Ok(last)
    }
}

/// What is written and what is read.
fn turn<T>(pair: &mut [CudaSlice<T>; 2], into: usize) -> (&mut CudaSlice<T>, &CudaSlice<T>) {
    let [even, odd] = pair;
    if into == 0 { (even, odd) } else { (odd, even) }
}
