//! Points and centroids as the other kernels read them.

use super::{Done, Kernels, Packed, Shape, THREADS, TILE, WARP, assert_packed, config};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, PushKernelArg};

impl Kernels {
    /// Tiles, errors and norms of the points, of which there may be room for more.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::cuda) fn pack_points(
        &self,
        stream: &CudaStream,
        shape: Shape,
        points: &CudaView<'_, f32>,
        origin: &CudaSlice<f32>,
        tiles: &mut CudaSlice<u16>,
        errors: &mut CudaSlice<f32>,
        norms: &mut CudaSlice<f32>,
    ) -> Done {
        let Shape { n, columns, .. } = shape;
        assert_eq!(points.len(), n * columns, "points");
        assert_eq!(origin.len(), columns, "origin");
        assert!(
            tiles.len() >= shape.padded() * shape.steps() * TILE,
            "tiles"
        );
        assert!(errors.len() >= n && norms.len() >= n, "a value per point");
        let config = config((n.div_ceil(THREADS / WARP), 1), THREADS);
        let (n, columns, steps) = (n as u32, columns as u32, shape.steps() as u32);
        let in_blocks = self.in_blocks();
        launch!(
            stream,
            self.pack_points,
            config,
            points,
            origin,
            &n,
            &columns,
            &steps,
            &in_blocks,
            tiles,
            errors,
            norms,
        )
    }

    /// Centroids as the other kernels read them; raises `packed.extent`.
    pub(in crate::cuda) fn pack_centroids(
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
        let (steps, in_blocks) = (shape.steps() as u32, self.in_blocks());
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
            &in_blocks,
            &mut packed.tiles,
            &mut packed.lines,
            &mut packed.biases,
            &mut packed.firsts,
            &mut packed.extent,
        )
    }
}
