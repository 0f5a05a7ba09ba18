//! Candidates of the pass, and the labels among them.

use super::{
    Chunk, Coefficients, Done, Kernels, Packed, SLOTS, Shape, THREADS, WARP, assert_chunk,
    assert_packed, config,
};
use cudarc::driver::{CudaSlice, CudaStream, CudaViewMut, PushKernelArg};

/// Threads of a block of `take_candidates`: `SHARED_BY` warps.
const OF_CANDIDATES: usize = 8 * WARP;

impl Kernels {
    /// Groups of each point of the chunk that can hold its nearest centroid, and how many.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::cuda) fn take_candidates(
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
        let config = config((chunk.count.div_ceil(WARP), 1), OF_CANDIDATES);
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
    pub(in crate::cuda) fn decide(
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
}
