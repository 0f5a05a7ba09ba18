//! A CUDA device as a backend: the same labels and centroids as the processor, to the bit.
//!
//! Points are copied and packed once, for all numbers of clusters, unless they lie on the device
//! already ([`DevicePoints`]). An assignment packs the centroids, then takes chunks of points through
//! pass, candidates and decision (see `kernels/*.cu`); an update sorts the labels, which stay on
//! the device, and sums in index order. Nothing adds floats in an order that the device chooses.
//! Points that the device cannot hold come in blocks, see `blocks.rs`.

mod blocks;
mod compile;
mod driver;
mod kernels;
mod measure;
mod memory;
mod points;
#[cfg(test)]
mod tests;
mod values;
mod work;

pub use measure::{CudaDevice, KernelTime, cuda_device, time_kernels};
pub use points::DevicePoints;
pub(crate) use values::Values;

use crate::backend::{Backend, Change, Update, changed};
use crate::error::ClusterError;
use crate::fit::Warning;
use crate::matrix::Matrix;
use crate::points::mean;
use crate::source::Place;
use blocks::Blocks;
use driver::{Card, DRIVER, present, room};
use kernels::Shape;
use memory::{BEST, Set, chunk, of_buffers, of_set, of_values};
use std::sync::Arc;
use values::STAGED;
use work::Work;

/// Points times clusters from which a device is worth its copies and launches. A guess, not yet
/// measured on one.
const WORTH: usize = 1 << 26;

/// All points on a device, packed.
pub(crate) struct Loaded {
    pub values: Arc<Values>,
    set: Set,
    /// What this takes beside points that lie there anyway.
    bytes: usize,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.values.card().bind();
    }
}

/// Points on a device, and work on them.
struct Cuda {
    loaded: Arc<Loaded>,
    work: Work,
}

impl Place<'_> {
    fn shape(&self, k: usize) -> Shape {
        Shape {
            n: self.rows(),
            k,
            columns: self.cols(),
        }
    }

    /// The middle of the points, roughly.
    fn origin(&self) -> Result<Vec<f32>, ClusterError> {
        match self {
            Self::Host(rows) => Ok(mean(*rows)),
            Self::Card(values) => values.mean(),
        }
    }

    /// Bytes that `n` of the points need for themselves on the device, and for what passes through.
    fn bytes(&self, n: usize) -> usize {
        match self {
            Self::Host(rows) => of_values(n, rows.cols()),
            Self::Card(_) => 2 * of_values(STAGED, 1),
        }
    }
}

impl Loaded {
    fn bytes(place: &Place<'_>, weighted: bool) -> usize {
        let shape = place.shape(0);
        place.bytes(shape.n) + of_set(shape, weighted)
    }

    /// Puts points and weights onto a device, if there is room.
    fn new(
        card: &Card,
        place: &Place<'_>,
        weights: Option<&[f32]>,
    ) -> Result<Option<Self>, ClusterError> {
        let (n, columns) = (place.rows(), place.cols());
        let values = match place {
            Place::Card(values) => values.clone(),
            Place::Host(rows) => {
                let Some(mut values) = Values::room(card, n, columns)? else {
                    return Ok(None);
                };
                values.copy(*rows)?;
                Arc::new(values)
            }
        };
        let Some(origin) = room(place.origin())? else {
            return Ok(None);
        };
        let Some(mut set) = Set::room(card, n, &origin, weights.is_some())? else {
            return Ok(None);
        };
        set.pack(card, &values.between(0, n), weights)?;
        Ok(Some(Self {
            values,
            set,
            bytes: Self::bytes(place, weights.is_some()),
        }))
    }
}

impl Cuda {
    /// Work on points that are `kept` from before or loaded now, if both fit.
    fn room(
        card: &Card,
        place: &Place<'_>,
        weights: Option<&[f32]>,
        k: usize,
        best: usize,
        kept: &mut Option<Arc<Loaded>>,
    ) -> Result<Option<Self>, ClusterError> {
        let shape = place.shape(k);
        let had = kept.take();
        let missing = match had {
            Some(_) => 0,
            None => Loaded::bytes(place, weights.is_some()),
        };
        if missing + of_buffers(shape, chunk(shape, best)) > card.free()? {
            return Ok(None);
        }
        let loaded = match had {
            Some(loaded) => Some(loaded),
            None => Loaded::new(card, place, weights)?.map(Arc::new),
        };
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let work = Work::room(card, shape, best)?;
        Ok(work.map(|work| Self {
            loaded: kept.insert(loaded).clone(),
            work,
        }))
    }
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
        let (set, work) = (&self.loaded.set, &mut self.work);
        let windows = work.pack(set, centroids)?;
        let all = self.loaded.values.between(0, work.shape.n);
        work.assign(set, &all, &windows)?;
        work.copy(labels, distances)
    }

    /// Of the labels and centroids of the last assignment, which are on the device.
    fn update(
        &mut self,
        change: &Change<'_>,
        centroids: &mut [f32],
    ) -> Result<Update, ClusterError> {
        let Shape { n, k, .. } = self.work.shape;
        let last = self.work.sort(n)?;
        let weights = self.loaded.set.weights(n);
        let (card, on) = (&self.work.card, &mut self.work.on);
        let begins = card.read_all(&on.begins)?;
        let any_empty = begins.windows(2).any(|ends| ends[0] == ends[1]);
        let moved = changed(change, k, weights.is_none() && !any_empty);
        let wanted: Vec<u8> = moved.iter().map(|moved| u8::from(*moved)).collect();
        card.write(&wanted, &mut on.wanted)?;
        card.kernels.mean_of_members(
            &card.stream,
            self.work.shape,
            &self.loaded.values.between(0, n),
            weights.as_ref(),
            (&on.members[last], &on.begins),
            &on.wanted,
            (&mut on.centroids, &mut on.sizes),
        )?;
        let sizes = card.read_all(&on.sizes)?;
        card.read(&on.centroids, centroids)?;
        Ok(Update { sizes, moved })
    }
}

/// What computes on device `ordinal`: on all points at once if they fit, which are `kept` for other
/// numbers of clusters, or in blocks.
pub(crate) fn backend<'a>(
    ordinal: usize,
    place: &Place<'a>,
    weights: Option<&'a [f32]>,
    k: usize,
    kept: &mut Option<Arc<Loaded>>,
) -> Result<Box<dyn Backend + 'a>, ClusterError> {
    let card = match place {
        Place::Host(_) => Card::open(ordinal)?,
        Place::Card(values) => values.card().clone(),
    };
    if let Some(cuda) = Cuda::room(&card, place, weights, k, BEST, kept)? {
        return Ok(Box::new(cuda));
    }
    Ok(Box::new(Blocks::new(&card, place, weights, k)?))
}

/// Bytes of `n` points, copied and packed, that iterate on `k` clusters.
fn needed(n: usize, columns: usize, k: usize, weighted: bool) -> usize {
    let shape = Shape { n, k, columns };
    of_values(n, columns) + of_set(shape, weighted) + of_buffers(shape, chunk(shape, BEST))
}

/// Whether a device has room for as many points like these beside them.
pub(crate) fn holds(
    beside: &Values,
    n: usize,
    k: usize,
    weighted: bool,
) -> Result<bool, ClusterError> {
    let needed = needed(n, beside.columns(), k, weighted) + 2 * of_values(STAGED, 1);
    Ok(needed <= beside.card().free()?)
}

/// Whether `n` points like these are worth the first device, or why it cannot have them. That there
/// is no driver is no news.
pub(crate) fn worth(
    points: Matrix<'_>,
    n: usize,
    k: usize,
    weighted: bool,
    loaded: Option<&Loaded>,
) -> Result<bool, Warning> {
    if n.saturating_mul(k) < WORTH || !present(&DRIVER) {
        return Ok(false);
    }
    let unused = |reason| Warning::DeviceUnused { reason };
    let free = Card::first().and_then(|card| card.free());
    let free = free.map_err(|e| unused(e.to_string()))?;
    // What is loaded is either used or makes room.
    let free = free + loaded.map_or(0, |loaded| loaded.bytes);
    let needed = needed(n, points.cols(), k, weighted);
    if needed > free {
        return Err(unused(format!(
            "{needed} bytes of device memory are needed and {free} are free"
        )));
    }
    Ok(true)
}
