//! Iterations on points that the device cannot hold: blocks of them come and go.
//!
//! Each assignment takes every block through all its steps, and adds its members to the sums of
//! their clusters while it is there, so that a point is copied once an iteration. Blocks follow
//! each other in the order of points, so the sums are those of the processor.

use super::driver::{Card, room};
use super::kernels::{OF_BLOCK, Shape};
use super::memory::{BEST, Set, chunk, most, of_buffers, of_set, of_sums};
use super::values::Values;
use super::work::Work;
use crate::backend::{Backend, Change, Update, changed};
use crate::error::ClusterError;
use crate::fit::Warning;
use crate::matrix::Matrix;
use crate::source::Place;
use cudarc::driver::{CudaSlice, CudaView};
use std::sync::Arc;

/// Values of a block, at most: 1 GiB. Larger ones would leave less to others and gain nothing.
const LARGEST: usize = 1 << 28;

/// How a block of points comes to the device.
enum Coming<'a> {
    Copied(Matrix<'a>, Values),
    /// The points lie there; what is made of them does not fit.
    There(Arc<Values>),
}

/// Points that take turns on a device.
pub(super) struct Blocks<'a> {
    points: Coming<'a>,
    weights: Option<&'a [f32]>,
    set: Set,
    work: Work,
    /// Of the members of each cluster, over the blocks so far.
    sums: CudaSlice<f64>,
    n: usize,
}

impl Coming<'_> {
    fn bring(&mut self, begin: usize, end: usize) -> Result<CudaView<'_, f32>, ClusterError> {
        match self {
            Self::Copied(rows, values) => {
                values.copy(rows.between(begin, end))?;
                Ok(values.between(0, end - begin))
            }
            Self::There(values) => Ok(values.between(begin, end)),
        }
    }
}

impl<'a> Blocks<'a> {
    /// Blocks as large as fit.
    pub fn new(
        card: &Card,
        place: &Place<'a>,
        weights: Option<&'a [f32]>,
        k: usize,
    ) -> Result<Self, ClusterError> {
        let free = card.free()?;
        let needed = |n, k| {
            let shape = Shape {
                n,
                ..place.shape(k)
            };
            place.bytes(n)
                + of_set(shape, weights.is_some())
                + of_buffers(shape, chunk(shape, BEST))
                + of_sums(shape)
        };
        let least = OF_BLOCK.min(place.rows());
        let limit = (LARGEST / place.cols()).clamp(least, place.rows());
        let mut block = most(limit, |n| needed(n, k) <= free);
        while block >= least {
            block = (block / OF_BLOCK * OF_BLOCK).max(least);
            if let Some(blocks) = Self::of(card, place, weights, k, block)? {
                return Ok(blocks);
            }
            // Free memory need not be in one piece.
            block /= 2;
        }
        // Others take and give back memory too: what is said shall be true now.
        let free = card.free()?;
        Err(ClusterError::DeviceMemory {
            clusters: k,
            points: least,
            needed: needed(least, k),
            free,
            fitting: most(k, |k| needed(least, k) <= free),
        })
    }

    /// Blocks of so many points, if there is room.
    pub(super) fn of(
        card: &Card,
        place: &Place<'a>,
        weights: Option<&'a [f32]>,
        k: usize,
        block: usize,
    ) -> Result<Option<Self>, ClusterError> {
        let shape = Shape {
            n: block,
            ..place.shape(k)
        };
        let points = match place {
            Place::Card(values) => Some(Coming::There(values.clone())),
            Place::Host(rows) => {
                let values = Values::room(card, block, shape.columns)?;
                values.map(|values| Coming::Copied(*rows, values))
            }
        };
        let Some(origin) = room(place.origin())? else {
            return Ok(None);
        };
        let set = Set::room(card, block, &origin, weights.is_some())?;
        let work = Work::room(card, shape, BEST)?;
        let sums = room(card.stream.alloc_zeros(k * shape.columns))?;
        let (Some(points), Some(set), Some(work), Some(sums)) = (points, set, work, sums) else {
            return Ok(None);
        };
        Ok(Some(Self {
            points,
            weights,
            set,
            work,
            sums,
            n: place.rows(),
        }))
    }

    /// Adds the members of a block, whose labels were just found, to the sums.
    fn add(&mut self, begin: usize, end: usize) -> Result<(), ClusterError> {
        let n = end - begin;
        let last = self.work.sort(n)?;
        let (card, on) = (&self.work.card, &mut self.work.on);
        let points = match &self.points {
            Coming::Copied(_, values) => values.between(0, n),
            Coming::There(values) => values.between(begin, end),
        };
        card.kernels.add_members(
            &card.stream,
            Shape {
                n,
                ..self.work.shape
            },
            &points,
            self.set.weights(n).as_ref(),
            (&on.members[last], &on.begins),
            (&mut self.sums, &mut on.sizes),
        )
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        self.work.card.bind();
    }
}

impl Backend for Blocks<'_> {
    fn begin(&mut self, _warm: bool) {}

    fn assign(
        &mut self,
        centroids: &[f32],
        to_follow: usize,
        labels: &mut [u32],
        distances: &mut [f32],
    ) -> Result<(), ClusterError> {
        let windows = self.work.pack(&self.set, centroids)?;
        let stream = self.work.card.stream.clone();
        stream.memset_zeros(&mut self.sums)?;
        stream.memset_zeros(&mut self.work.on.sizes)?;
        let block = self.work.shape.n;
        let places = labels.chunks_mut(block).zip(distances.chunks_mut(block));
        for (at, (labels, distances)) in places.enumerate() {
            let (begin, end) = (at * block, at * block + labels.len());
            let points = self.points.bring(begin, end)?;
            let weights = self.weights.map(|weights| &weights[begin..end]);
            self.set.pack(&self.work.card, &points, weights)?;
            self.work.assign(&self.set, &points, &windows)?;
            self.work.copy(labels, distances)?;
            // No update follows the last assignment.
            if to_follow > 0 {
                self.add(begin, end)?;
            }
        }
        Ok(())
    }

    /// From the sums of the last assignment.
    fn update(
        &mut self,
        change: &Change<'_>,
        centroids: &mut [f32],
    ) -> Result<Update, ClusterError> {
        let (shape, card, on) = (self.work.shape, &self.work.card, &mut self.work.on);
        let sizes = card.read_all(&on.sizes)?;
        let any_empty = sizes.contains(&0.0);
        let moved = changed(change, shape.k, self.weights.is_none() && !any_empty);
        let wanted: Vec<u8> = moved.iter().map(|moved| u8::from(*moved)).collect();
        card.write(&wanted, &mut on.wanted)?;
        card.kernels.divide_sums(
            &card.stream,
            shape,
            (&self.sums, &on.sizes),
            &on.wanted,
            &mut on.centroids,
        )?;
        card.read(&on.centroids, centroids)?;
        Ok(Update { sizes, moved })
    }

    fn warning(&self) -> Option<Warning> {
        Some(Warning::InBlocks {
            points: self.n,
            block: self.work.shape.n,
        })
    }
}
