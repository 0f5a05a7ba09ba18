//! Points that lie on a device already, and clusterings of them.

use super::driver::Card;
use super::values::Values;
use crate::error::ClusterError;
use crate::fit::{Fit, IterationStats};
use crate::settings::KMeans;
use crate::source::Place;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Row-major `f32` points in the memory of a CUDA device, which belong to the caller: nothing is
/// copied, and nothing of them is changed.
///
/// A matrix of another crate, such as a tensor of candle, is taken by its address:
///
/// ```ignore
/// let (storage, layout) = embeddings.storage_and_layout(); // n × d, contiguous, f32
/// let candle_core::Storage::Cuda(storage) = &*storage else {
///     panic!("not on a GPU");
/// };
/// let slice = storage.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
/// let stream = storage.device.cuda_stream();
/// stream.synchronize()?; // what writes them is done
/// let (address, _reading) = slice.device_ptr(&stream);
/// // SAFETY: `storage` holds n × d values until the fit returns, and nothing writes them.
/// let points = unsafe { DevicePoints::new(address, n, d, 0)? };
/// let fit = KMeans::builder(1000).build()?.fit_on_device(points)?;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DevicePoints {
    address: u64,
    rows: usize,
    cols: usize,
    ordinal: usize,
}

impl DevicePoints {
    /// `rows × cols` values from `address` (a `CUdeviceptr`) on, row-major and side by side, on
    /// device `ordinal` (0 is the first).
    ///
    /// # Errors
    /// [`ClusterError::Length`] if `cols` is zero or so many values cannot be.
    ///
    /// # Safety
    /// From the first to the last fit that these points, or a copy of this, are given to:
    /// - `address` is a multiple of 4 in memory of device `ordinal` that kernels of its primary
    ///   context can read (that of the runtime API, cudarc and candle), and so many `f32` lie there;
    /// - nothing frees or writes that memory. What wrote it is done, not merely launched: the fit
    ///   reads on the legacy default stream, which does not wait for streams that were made as
    ///   non-blocking, such as those of cudarc's `new_stream`. Where in doubt, synchronise the
    ///   stream that wrote. When a fit returns, with an error too, it has done reading.
    pub unsafe fn new(
        address: u64,
        rows: usize,
        cols: usize,
        ordinal: usize,
    ) -> Result<Self, ClusterError> {
        let most = isize::MAX as usize / size_of::<f32>();
        let needed = rows.checked_mul(cols).filter(|values| *values <= most);
        if cols == 0 || needed.is_none() {
            return Err(ClusterError::Length {
                rows,
                cols,
                stride: cols,
                needed: rows.saturating_mul(cols),
                found: most,
            });
        }
        Ok(Self {
            address,
            rows,
            cols,
            ordinal,
        })
    }

    fn place(self) -> Result<Place<'static>, ClusterError> {
        let card = Card::open(self.ordinal)?;
        // An earlier fault is an error here; cudarc panics of it when it wraps the address.
        card.stream.synchronize()?;
        // SAFETY: who made this promised it until the fit has returned, which drops it.
        let values = unsafe { Values::lent(card, self.address, self.rows, self.cols) };
        Ok(Place::Card(Arc::new(values)))
    }
}

impl KMeans {
    /// Clusters points that lie on a CUDA device, with it, whatever [`device`] says: the result has
    /// the bits of [`Self::fit`] on the same values.
    ///
    /// Points are not copied to the host, but for first centroids, those that fill empty clusters,
    /// and all of them where there are as many clusters. What exceeds `max_points_per_centroid` is
    /// left out by a sample in memory of its own on the device, or on the host if there is no room.
    /// [`Init::PlusPlus`] measures there and draws on the processor: a launch and `4·n` bytes to the
    /// host for each centroid, and points that lie equally far from two, as far as `f32` can tell.
    ///
    /// # Errors
    /// As [`Self::fit`], and [`ClusterError::DeviceMissing`], [`ClusterError::DeviceCompile`],
    /// [`ClusterError::DeviceMemory`], [`ClusterError::DeviceFull`], [`ClusterError::DeviceFailed`].
    ///
    /// [`device`]: crate::KMeansBuilder::device
    /// [`Init::PlusPlus`]: crate::Init::PlusPlus
    pub fn fit_on_device(&self, points: DevicePoints) -> Result<Fit, ClusterError> {
        self.fit_place(points.place()?, &mut |_| ControlFlow::Continue(()))
    }

    /// [`Self::fit_many_with`] for points on a CUDA device, which are packed once.
    ///
    /// # Errors
    /// As [`Self::fit_on_device`].
    pub fn fit_many_on_device_with(
        &self,
        points: DevicePoints,
        ks: &[usize],
        mut listener: impl FnMut(usize, &IterationStats) -> ControlFlow<()>,
    ) -> Result<Vec<Fit>, ClusterError> {
        self.fit_each(points.place()?, ks, &mut listener)
    }
}
