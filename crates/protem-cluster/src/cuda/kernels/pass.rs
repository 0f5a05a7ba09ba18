//! The pass over all points and groups.

use super::{BUSY, Done, Kernels, OF_BLOCK, Packed, Shape, THREADS, TILE, assert_packed, config};
use cudarc::driver::{CudaSlice, CudaStream, PushKernelArg};

impl Kernels {
    /// The best score of `count` points from `begin` on in each group: `best[group · stride + i]`.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::cuda) fn best_of_groups(
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
        if let Some(wgmma) = &self.wgmma {
            let range = (begin, count);
            return wgmma.best_of_groups(stream, shape, tiles, packed, range, stride, best);
        }
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
}
