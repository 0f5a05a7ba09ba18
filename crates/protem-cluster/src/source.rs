//! Points of a clustering: where they lie, and what was made of them once for all that follows.

use crate::assign::nearest_in_blocks;
use crate::backend::{Backend, Cpu, SharedPoints, lock};
use crate::centroids::Centroids;
#[cfg(feature = "cuda")]
use crate::cuda::{self, Loaded, Values};
use crate::error::ClusterError;
use crate::fit::Warning;
use crate::forms::once;
use crate::isa::Isa;
use crate::kernel;
use crate::matrix::Matrix;
use crate::plus_plus::Drawn;
use crate::points::Points;
use crate::settings::{Device, KMeans};
use crate::span::{Nearest, nearest};
use crate::threads::Threads;
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

/// Points compared by one task.
const BLOCK: usize = 1024;

/// Where points lie.
#[derive(Clone)]
pub(crate) enum Place<'a> {
    Host(Matrix<'a>),
    #[cfg(feature = "cuda")]
    Card(Arc<Values>),
}

/// Points of a clustering, which are checked.
pub(crate) struct Source<'a> {
    place: Place<'a>,
    /// A weight for each point; without, each weighs 1.
    pub weights: Option<&'a [f32]>,
    pub isa: Isa,
    threads: &'a Threads,
    packed: Option<SharedPoints<'a>>,
    /// On a device, packed.
    #[cfg(feature = "cuda")]
    loaded: Option<Arc<Loaded>>,
}

/// Some of the points, by themselves.
pub(crate) enum Sample {
    Host(Vec<f32>),
    #[cfg(feature = "cuda")]
    Card(Arc<Values>),
}

impl Place<'_> {
    pub fn rows(&self) -> usize {
        match self {
            Self::Host(rows) => rows.rows(),
            #[cfg(feature = "cuda")]
            Self::Card(values) => values.rows(),
        }
    }

    pub fn cols(&self) -> usize {
        match self {
            Self::Host(rows) => rows.cols(),
            #[cfg(feature = "cuda")]
            Self::Card(values) => values.columns(),
        }
    }

    /// Whether distances between these points can be computed and labelled.
    pub fn check(&self, isa: Isa, threads: &Threads) -> Result<(), ClusterError> {
        match self {
            Self::Host(rows) => threads.run(|| rows.check(isa)),
            #[cfg(feature = "cuda")]
            Self::Card(values) => values.check(),
        }
    }
}

impl Sample {
    pub fn place(&self, cols: usize) -> Result<Place<'_>, ClusterError> {
        match self {
            Self::Host(values) => Matrix::new(values, values.len() / cols, cols).map(Place::Host),
            #[cfg(feature = "cuda")]
            Self::Card(values) => Ok(Place::Card(values.clone())),
        }
    }
}

impl<'a> Source<'a> {
    pub fn new(
        place: Place<'a>,
        weights: Option<&'a [f32]>,
        isa: Isa,
        threads: &'a Threads,
    ) -> Self {
        Self {
            place,
            weights,
            isa,
            threads,
            packed: None,
            #[cfg(feature = "cuda")]
            loaded: None,
        }
    }

    /// Number of points.
    pub fn rows(&self) -> usize {
        self.place.rows()
    }

    /// Values of a point.
    pub fn cols(&self) -> usize {
        self.place.cols()
    }

    /// The device that is to compute, where `n` of the points iterate, and what is unusual about that.
    pub fn device(&self, kmeans: &KMeans, n: usize) -> (Device, Option<Warning>) {
        #[cfg(feature = "cuda")]
        match &self.place {
            Place::Card(values) => return (Device::Cuda(values.ordinal()), None),
            Place::Host(rows) if kmeans.device == Device::Auto => {
                let weighted = self.weights.is_some();
                let loaded = self.loaded.as_deref();
                return match cuda::worth(*rows, n, kmeans.k, weighted, loaded) {
                    Ok(true) => (Device::Cuda(0), None),
                    Ok(false) => (Device::Cpu, None),
                    Err(warning) => (Device::Cpu, Some(warning)),
                };
            }
            Place::Host(_) => {}
        }
        let _ = n;
        match kmeans.device {
            Device::Auto => (Device::Cpu, None),
            device => (device, None),
        }
    }

    /// Whether a point has these values. Of points on a device it is not known.
    pub fn holds(&self, row: &[f32]) -> Option<bool> {
        match &self.place {
            Place::Host(rows) => self.threads.run(|| {
                let points = (0..rows.rows()).into_par_iter().with_min_len(BLOCK);
                Some(points.any(|i| rows.row(i) == row))
            }),
            #[cfg(feature = "cuda")]
            Place::Card(_) => None,
        }
    }

    /// The values of chosen points, side by side.
    pub fn take(&self, chosen: &[usize]) -> Result<Vec<f32>, ClusterError> {
        match &self.place {
            Place::Host(rows) => {
                // In the order they lie in: of a mapped file, a page after the other.
                let mut places: Vec<usize> = (0..chosen.len()).collect();
                if chosen.len() > BLOCK {
                    self.threads
                        .run(|| places.par_sort_unstable_by_key(|place| chosen[*place]));
                }
                let mut values = vec![0.0; chosen.len() * rows.cols()];
                for place in places {
                    let to = &mut values[place * rows.cols()..][..rows.cols()];
                    to.copy_from_slice(rows.row(chosen[place]));
                }
                Ok(values)
            }
            #[cfg(feature = "cuda")]
            Place::Card(values) => values.take(chosen),
        }
    }

    /// Compares all points with the centroids that are due, if any, of `k` that are to be drawn.
    pub fn compare(&self, drawn: &mut Drawn<'_>, k: usize) -> Result<(), ClusterError> {
        let Some(due) = drawn.due() else {
            return Ok(());
        };
        let centroids = Matrix::new(
            due.centroids,
            due.centroids.len() / self.cols(),
            self.cols(),
        )?;
        match &self.place {
            Place::Host(rows) => self.threads.run(|| match centroids.rows() {
                1 => distances_to(*rows, self.isa, due.centroids, due.distances),
                _ => self.nearest_here(*rows, centroids, k, due.labels, due.distances),
            }),
            #[cfg(feature = "cuda")]
            Place::Card(values) => values.nearest(centroids, due.distances)?,
        }
        self.threads.run(|| drawn.lower());
        Ok(())
    }

    /// Labels and distances of all points by the processor: as they are packed, for `k` centroids if they are
    /// not yet; block by block where nothing packs them all.
    fn nearest_here(
        &self,
        rows: Matrix<'_>,
        centroids: Matrix<'_>,
        k: usize,
        labels: &mut [u32],
        distances: &mut [f32],
    ) {
        let Some(points) = &self.packed else {
            return nearest_in_blocks(rows, centroids, self.isa, labels, distances);
        };
        let points = &mut *lock(points);
        if !points.packed {
            points.repack(once(points, k));
        }
        if points.turn().is_some() {
            points.square_all();
        }
        let mut groups = Centroids::default();
        groups.pack(centroids, points);
        nearest(points, centroids, &groups, Nearest::new(labels, distances));
    }

    /// Chosen points by themselves, to iterate on `k` clusters. They stay on a device if they lie
    /// there and there is room for them.
    pub fn sample(&mut self, chosen: &[usize], k: usize) -> Result<Sample, ClusterError> {
        #[cfg(feature = "cuda")]
        {
            let (n, weighted) = (chosen.len(), self.weights.is_some());
            if let Some(loaded) = &self.loaded
                && !cuda::holds(&loaded.values, n, k, weighted)?
            {
                self.loaded = None;
            }
            if let Place::Card(values) = &self.place
                && cuda::holds(values, n, k, weighted)?
                && let Some(sample) = values.sample(chosen)?
            {
                return Ok(Sample::Card(Arc::new(sample)));
            }
        }
        let _ = k;
        self.take(chosen).map(Sample::Host)
    }

    /// What computes on `device`. Prepares the points unless they are.
    pub fn backend(
        &mut self,
        kmeans: &KMeans,
        device: Device,
    ) -> Result<Box<dyn Backend + 'a>, ClusterError> {
        match (&self.place, device) {
            #[cfg(feature = "cuda")]
            (place, Device::Cuda(ordinal)) => {
                cuda::backend(ordinal, place, self.weights, kmeans.k, &mut self.loaded)
            }
            #[cfg(feature = "cuda")]
            (Place::Card(values), _) => {
                let (ordinal, place) = (values.ordinal(), &self.place);
                cuda::backend(ordinal, place, self.weights, kmeans.k, &mut self.loaded)
            }
            (Place::Host(rows), _) => {
                let (rows, isa, threads) = (*rows, self.isa, self.threads);
                let new = || Arc::new(Mutex::new(threads.run(|| Points::new(rows, isa))));
                let points = self.packed.get_or_insert_with(new).clone();
                Ok(Box::new(Cpu::new(kmeans, points, self.weights, threads)))
            }
        }
    }

    /// Labels and distances of all points. The processor does not pack them all for that.
    pub fn nearest(
        &mut self,
        kmeans: &KMeans,
        device: Device,
        centroids: Matrix<'_>,
        labels: &mut [u32],
        distances: &mut [f32],
    ) -> Result<(), ClusterError> {
        if let (Place::Host(rows), Device::Cpu) = (&self.place, device) {
            let nearest = || self.nearest_here(*rows, centroids, kmeans.k, labels, distances);
            self.threads.run(nearest);
            return Ok(());
        }
        let values = centroids.side_by_side().unwrap_or_default();
        let mut backend = self.backend(kmeans, device)?;
        backend.assign(values, 0, labels, distances)
    }
}

/// Distances of all points to one row.
fn distances_to(rows: Matrix<'_>, isa: Isa, row: &[f32], distances: &mut [f32]) {
    let blocks = distances.par_chunks_mut(BLOCK).enumerate();
    blocks.for_each(|(block, distances)| {
        for (i, distance) in distances.iter_mut().enumerate() {
            *distance = kernel::distance(isa, rows.row(block * BLOCK + i), row);
        }
    });
}
