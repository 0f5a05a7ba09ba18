//! Rows of points that lie on the device already.

use super::{Done, Kernels, THREADS, WARP, config};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, PushKernelArg};

impl Kernels {
    /// Lowers `first` to the number of the first row whose squared length is above `limit` or no
    /// number.
    pub(in crate::cuda) fn check_rows(
        &self,
        stream: &CudaStream,
        columns: usize,
        points: &CudaView<'_, f32>,
        limit: f32,
        first: &mut CudaSlice<u32>,
    ) -> Done {
        let n = rows(points, columns);
        assert_eq!(first.len(), 1, "a number");
        let config = config((n.div_ceil(THREADS / WARP), 1), THREADS);
        let (n, columns) = (n as u32, columns as u32);
        launch!(
            stream,
            self.check_rows,
            config,
            points,
            &n,
            &columns,
            &limit,
            first
        )
    }

    /// The mean of every `every`-th row.
    pub(in crate::cuda) fn mean_of_rows(
        &self,
        stream: &CudaStream,
        points: &CudaView<'_, f32>,
        every: usize,
        mean: &mut CudaSlice<f32>,
    ) -> Done {
        let columns = mean.len();
        let taken = rows(points, columns).div_ceil(every);
        let config = config((columns.div_ceil(THREADS), 1), THREADS);
        let (columns, every, taken) = (columns as u32, every as u32, taken as u32);
        launch!(
            stream,
            self.mean_of_rows,
            config,
            points,
            &columns,
            &every,
            &taken,
            mean
        )
    }

    /// The rows that `chosen` names, each of which there is.
    pub(in crate::cuda) fn take_rows(
        &self,
        stream: &CudaStream,
        columns: usize,
        points: &CudaView<'_, f32>,
        chosen: &CudaSlice<u32>,
        taken: &mut CudaViewMut<'_, f32>,
    ) -> Done {
        let count = chosen.len();
        rows(points, columns);
        assert_eq!(taken.len(), count * columns, "places");
        let config = config((count.div_ceil(THREADS / WARP), 1), THREADS);
        let (count, columns) = (count as u32, columns as u32);
        launch!(
            stream,
            self.take_rows,
            config,
            points,
            chosen,
            &count,
            &columns,
            taken
        )
    }

    /// The distance of each point to `row`.
    pub(in crate::cuda) fn distances_to_row(
        &self,
        stream: &CudaStream,
        points: &CudaView<'_, f32>,
        row: &CudaSlice<f32>,
        distances: &mut CudaSlice<f32>,
    ) -> Done {
        let columns = row.len();
        let count = rows(points, columns);
        assert!(distances.len() >= count, "places");
        let config = config((count.div_ceil(THREADS / WARP), 1), THREADS);
        let (count, columns) = (count as u32, columns as u32);
        launch!(
            stream,
            self.distances_to_row,
            config,
            points,
            &count,
            &columns,
            row,
            distances
        )
    }
}

/// Whole rows, at least one.
fn rows(points: &CudaView<'_, f32>, columns: usize) -> usize {
    let rows = points.len() / columns;
    assert!(rows > 0 && rows * columns == points.len(), "whole rows");
    rows
}
