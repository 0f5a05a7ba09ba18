//! The pass for compute capability 9.0: how shared memory and blocks are divided, and its launch.

use super::{Done, OF_BLOCK, OF_TILE, Packed, Shape, TILE, WARP, config};
use crate::error::ClusterError;
use cudarc::driver::sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use cudarc::driver::{CudaFunction, CudaModule, CudaSlice, CudaStream, PushKernelArg};
use std::sync::Arc;

/// Eight warps that multiply, one that copies.
const THREADS: usize = 288;
/// Bytes that a block may have at most.
const SHARED: usize = 227 << 10;
/// As pass_wgmma.cu divides them: barriers; steps of a stage, centroids and points of it, biases.
const OF_BARRIERS: usize = 256;
const CHUNK: usize = 4;
const STAGE_CENTROIDS: usize = CHUNK * OF_TILE * TILE * 2;
const STAGE_POINTS: usize = CHUNK * OF_BLOCK * TILE * 2;
const STAGE_BIASES: usize = OF_TILE * 4;
const MOST_STAGES: usize = 8;
/// Stages that hide how long a copy takes.
const ENOUGH_STAGES: usize = 4;

/// The pass by products of warp groups.
pub(super) struct Wgmma {
    best_of_groups_wgmma: CudaFunction,
    /// Blocks that run at once.
    processors: usize,
}

/// How shared memory is divided for points of some width.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ring {
    /// Points stay there.
    kept: bool,
    stages: usize,
    bytes: usize,
}

impl Ring {
    fn of(steps: usize) -> Self {
        let (centroids, all) = (STAGE_CENTROIDS + STAGE_BIASES, OF_BLOCK * steps * TILE * 2);
        let left = SHARED - OF_BARRIERS;
        let beside = left.saturating_sub(all) / centroids;
        let kept = beside >= ENOUGH_STAGES;
        let (all, stage) = match kept {
            true => (all, centroids),
            false => (0, centroids + STAGE_POINTS),
        };
        let stages = ((left - all) / stage).min(MOST_STAGES);
        Self {
            kept,
            stages,
            bytes: OF_BARRIERS + all + stages * stage,
        }
    }
}

/// Tiles of centroids for each block, where `blocks` blocks of points take `tiles` tiles: as few as
/// lead to the least time if `processors` blocks run at once. A block's points take as long as a tile
/// or two.
fn share(tiles: usize, blocks: usize, processors: usize) -> usize {
    let time = |share: usize| {
        let waves = (blocks * tiles.div_ceil(share)).div_ceil(processors);
        waves * (share + 2)
    };
    (1..=tiles).min_by_key(|share| time(*share)).unwrap_or(1)
}

impl Wgmma {
    pub fn load(module: &Arc<CudaModule>, stream: &CudaStream) -> Result<Self, ClusterError> {
        let function = module.load_function("best_of_groups_wgmma")?;
        let most = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, SHARED as i32)?;
        let count = CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = stream.context().attribute(count)?;
        Ok(Self {
            best_of_groups_wgmma: function,
            processors: processors.max(1) as usize,
        })
    }

    /// As [`super::Kernels::best_of_groups`], which has checked the arguments; points and
    /// centroids are packed in blocks.
    #[allow(clippy::too_many_arguments)]
    pub fn best_of_groups(
        &self,
        stream: &CudaStream,
        shape: Shape,
        tiles: &CudaSlice<u16>,
        packed: &Packed,
        (begin, count): (usize, usize),
        stride: usize,
        best: &mut CudaSlice<f32>,
    ) -> Done {
        let (blocks, groups) = (count.div_ceil(OF_BLOCK), shape.groups());
        let of_groups = groups.div_ceil(OF_TILE / WARP);
        // A row of blocks has 65,535 places.
        let share = share(of_groups, blocks, self.processors).max(of_groups.div_ceil(65_535));
        let ring = Ring::of(shape.steps());
        let mut config = config((blocks, of_groups.div_ceil(share)), THREADS);
        config.shared_mem_bytes = ring.bytes as u32;
        let first = (begin / OF_BLOCK) as u64;
        let (groups, share, steps) = (groups as u32, share as u32, shape.steps() as u32);
        let (stages, kept) = (ring.stages as u32, u32::from(ring.kept));
        let stride = stride as u32;
        launch!(
            stream,
            self.best_of_groups_wgmma,
            config,
            tiles,
            &packed.tiles,
            &packed.biases,
            &first,
            &groups,
            &share,
            &steps,
            &stages,
            &kept,
            &stride,
            best,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_where_that_leaves_enough_stages() {
        for steps in 1..200 {
            let ring = Ring::of(steps);
            assert!(ring.bytes <= SHARED, "{steps}: {ring:?}");
            assert!(ring.stages >= ENOUGH_STAGES && ring.stages <= MOST_STAGES);
            assert_eq!(ring.kept, steps <= 20, "{steps}: {ring:?}");
        }
    }

    #[test]
    fn shares_keep_processors_busy() {
        // One wave of all; a last wave nearly as full as the others.
        assert_eq!(share(782, 132, 132), 782);
        let share = share(782, 83, 132);
        let waves = (83 * 782usize.div_ceil(share)) as f64 / 132.0;
        assert!(waves.ceil() / waves < 1.05, "{share}: {waves} waves");
        assert_eq!(super::share(1, 1, 132), 1);
    }
}
