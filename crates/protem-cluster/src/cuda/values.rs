//! Points on a device as they are: copied there, taken from others there, or lent by the caller.

use super::driver::{Card, room};
use crate::error::ClusterError;
use crate::isa::Isa;
use crate::kernel;
use crate::matrix::{LONGEST, Matrix, unusable};
use crate::points::sampled_every;
use crate::span::distance64;
use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};
use std::mem::ManuallyDrop;

/// Values of points that pass through memory of their own at a time: 4 MiB.
pub(super) const STAGED: usize = 1 << 20;

/// Rows of points on a device, side by side.
pub(crate) struct Values {
    card: Card,
    slice: ManuallyDrop<CudaSlice<f32>>,
    rows: usize,
    columns: usize,
    /// The memory is the caller's.
    lent: bool,
}

impl Values {
    /// Room for so many rows, if there is.
    pub fn room(card: &Card, rows: usize, columns: usize) -> Result<Option<Self>, ClusterError> {
        let Some(slice) = room(card.stream.alloc_zeros(rows * columns))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            card: card.clone(),
            slice: ManuallyDrop::new(slice),
            rows,
            columns,
            lent: false,
        }))
    }

    /// Rows in memory that somebody else frees.
    ///
    /// # Safety
    /// As [`DevicePoints::new`](super::DevicePoints::new), until this is dropped.
    pub unsafe fn lent(card: Card, pointer: u64, rows: usize, columns: usize) -> Self {
        // SAFETY: the caller says that there are so many values; the slice is never freed.
        let slice = unsafe { card.stream.upgrade_device_ptr(pointer, rows * columns) };
        Self {
            card,
            slice: ManuallyDrop::new(slice),
            rows,
            columns,
            lent: true,
        }
    }

    pub fn card(&self) -> &Card {
        &self.card
    }

    pub fn ordinal(&self) -> usize {
        self.card.stream.context().ordinal()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows `begin` to `end`.
    pub(super) fn between(&self, begin: usize, end: usize) -> CudaView<'_, f32> {
        self.slice.slice(begin * self.columns..end * self.columns)
    }

    /// Copies rows from the host's memory to the first places.
    pub(super) fn copy(&mut self, rows: Matrix<'_>) -> Result<(), ClusterError> {
        if let Some(values) = rows.side_by_side() {
            return self
                .card
                .write(values, &mut self.slice.slice_mut(..values.len()));
        }
        let (columns, step) = (self.columns, self.staged());
        for begin in (0..rows.rows()).step_by(step) {
            let end = rows.rows().min(begin + step);
            let some = (begin..end).flat_map(|i| rows.row(i));
            let some: Vec<f32> = some.copied().collect();
            let mut to = self.slice.slice_mut(begin * columns..end * columns);
            self.card.write(&some, &mut to)?;
        }
        Ok(())
    }

    /// Whether distances between these rows can be computed and labelled.
    pub fn check(&self) -> Result<(), ClusterError> {
        if self.rows > u32::MAX as usize {
            return Err(ClusterError::TooMany { rows: self.rows });
        }
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let mut first = self.card.put(&[u32::MAX])?;
        let all = self.slice.as_view();
        kernels.check_rows(stream, self.columns, &all, LONGEST, &mut first)?;
        match self.card.read_all(&first)?[0] {
            u32::MAX => Ok(()),
            row => Err(unusable(
                row as usize,
                &self.take(&[row as usize])?,
                LONGEST,
            )),
        }
    }

    /// The mean of rows evenly spread: that of `points::mean`.
    pub fn mean(&self) -> Result<Vec<f32>, ClusterError> {
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let mut mean = stream.alloc_zeros(self.columns)?;
        let every = sampled_every(self.rows);
        kernels.mean_of_rows(stream, &self.slice.as_view(), every, &mut mean)?;
        self.card.read_all(&mean)
    }

    /// The values of chosen rows, side by side, in the host's memory.
    pub fn take(&self, chosen: &[usize]) -> Result<Vec<f32>, ClusterError> {
        let stream = &self.card.stream;
        let mut all = vec![0.0; chosen.len() * self.columns];
        let places = all.chunks_mut(self.staged() * self.columns);
        for (chosen, to) in chosen.chunks(self.staged()).zip(places) {
            let mut taken = stream.alloc_zeros(to.len())?;
            self.gather(chosen, &mut taken.as_view_mut())?;
            self.card.read(&taken, to)?;
        }
        Ok(all)
    }

    /// Chosen rows by themselves, if there is room for them.
    pub fn sample(&self, chosen: &[usize]) -> Result<Option<Self>, ClusterError> {
        let Some(mut sample) = Self::room(&self.card, chosen.len(), self.columns)? else {
            return Ok(None);
        };
        let step = self.staged();
        for (at, some) in chosen.chunks(step).enumerate() {
            let begin = at * step * self.columns;
            let range = begin..begin + some.len() * self.columns;
            self.gather(some, &mut sample.slice.slice_mut(range))?;
        }
        Ok(Some(sample))
    }

    /// The distance of each row to the nearest of some centroids, as an assignment has it.
    pub fn nearest(
        &self,
        centroids: Matrix<'_>,
        distances: &mut [f32],
    ) -> Result<(), ClusterError> {
        let columns = self.columns as f32;
        // More than roundings of two distances come to, and than squares lose that are too small.
        let (share, least) = (
            8.0 * (columns + 64.0) * f32::EPSILON,
            columns * f32::MIN_POSITIVE,
        );
        // Rows with two centroids that f32 does not tell apart.
        let mut close = vec![false; self.rows];
        distances.fill(f32::MAX);
        for at in 0..centroids.rows() {
            self.each_distance(centroids.row(at), |i, found| {
                let (known, close) = (&mut distances[i], &mut close[i]);
                let apart = (found - *known).abs() > share * found.max(*known) + least;
                *close = match found < *known {
                    true => !apart,
                    false => *close || !apart && found != *known,
                };
                *known = known.min(found);
            })?;
        }
        let close: Vec<usize> = (0..self.rows).filter(|i| close[*i]).collect();
        for close in close.chunks(self.staged()) {
            let rows = self.take(close)?;
            for (i, x) in close.iter().zip(rows.chunks_exact(self.columns)) {
                let all = (0..centroids.rows()).map(|at| centroids.row(at));
                let nearest = all.min_by(|a, b| distance64(x, a).total_cmp(&distance64(x, b)));
                let nearest = nearest.expect("centroids that are close");
                distances[*i] = kernel::distance(Isa::Portable, x, nearest);
            }
        }
        Ok(())
    }

    /// Calls `found` with each row's distance to `row`.
    fn each_distance(
        &self,
        row: &[f32],
        mut found: impl FnMut(usize, f32),
    ) -> Result<(), ClusterError> {
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let row = self.card.put(row)?;
        let mut there = stream.alloc_zeros(STAGED.min(self.rows))?;
        let mut here = vec![0.0; there.len()];
        for begin in (0..self.rows).step_by(STAGED) {
            let end = self.rows.min(begin + STAGED);
            kernels.distances_to_row(stream, &self.between(begin, end), &row, &mut there)?;
            let here = &mut here[..end - begin];
            self.card.read(&there.slice(..here.len()), here)?;
            for (i, distance) in (begin..end).zip(here) {
                found(i, *distance);
            }
        }
        Ok(())
    }

    /// Chosen rows, no more than pass at a time.
    fn gather(&self, chosen: &[usize], to: &mut CudaViewMut<'_, f32>) -> Result<(), ClusterError> {
        assert!(chosen.iter().all(|i| *i < self.rows), "rows there are");
        let (stream, kernels) = (&self.card.stream, &self.card.kernels);
        let chosen: Vec<u32> = chosen.iter().map(|i| *i as u32).collect();
        let chosen = self.card.put(&chosen)?;
        kernels.take_rows(stream, self.columns, &self.slice.as_view(), &chosen, to)
    }

    /// Rows that pass at a time.
    fn staged(&self) -> usize {
        (STAGED / self.columns).max(1)
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        self.card.bind();
        // SAFETY: it is taken only here.
        let slice = unsafe { ManuallyDrop::take(&mut self.slice) };
        if self.lent {
            // What still reads it is done before the owner has it back; an error was met before.
            let _ = self.card.stream.synchronize();
            slice.leak();
        }
    }
}
