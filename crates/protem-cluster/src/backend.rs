//! What computes the two halves of an iteration; `lloyd.rs` decides what they are asked for.
//!
//! A backend holds one set of points, prepared, over all iterations and restarts. Whatever it is
//! made of, labels are exact and sums run in the order of points: centroids have the same bits.

use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::prune::Pruner;
use crate::settings::KMeans;
use crate::span::nearest;
use crate::threads::Threads;
use crate::update::{Members, means};

/// Computes iterations.
pub(crate) trait Backend {
    /// A restart begins; if `warm`, from centroids that will not move much.
    fn begin(&mut self, warm: bool);

    /// The nearest of `centroids` (`k × d`) for every point, and the distance to it. `labels` are
    /// those of the assignment before, except in a restart's first. At most `to_follow` more
    /// assignments follow in this restart.
    fn assign(
        &mut self,
        centroids: &[f32],
        to_follow: usize,
        labels: &mut [u32],
        distances: &mut [f32],
    ) -> Result<(), ClusterError>;

    /// Means of the clusters into `centroids`; of the labels that the last assignment gave, to these
    /// centroids.
    fn update(
        &mut self,
        change: &Change<'_>,
        centroids: &mut [f32],
    ) -> Result<Update, ClusterError>;
}

/// What centroids are to follow.
pub(crate) struct Change<'a> {
    pub labels: &'a [u32],
    /// Labels that the centroids are the means of, if they are.
    pub before: Option<&'a [u32]>,
    /// Centroids that do not move, the first ones.
    pub frozen: usize,
}

/// What an update did.
pub(crate) struct Update {
    /// The weight of each cluster.
    pub sizes: Vec<f64>,
    /// Which centroids are new.
    pub moved: Vec<bool>,
}

/// The processor.
pub(crate) struct Cpu<'a> {
    points: &'a Points<'a>,
    weights: Option<&'a [f32]>,
    threads: &'a Threads,
    k: usize,
    groups: Centroids,
    pruner: Option<Pruner>,
    members: Members,
}

impl<'a> Cpu<'a> {
    pub fn new(
        kmeans: &KMeans,
        points: &'a Points<'a>,
        weights: Option<&'a [f32]>,
        threads: &'a Threads,
    ) -> Self {
        Self {
            points,
            weights,
            threads,
            k: kmeans.k,
            groups: Centroids::default(),
            pruner: kmeans.prune.then(Pruner::default),
            members: Members::default(),
        }
    }
}

/// Which of `k` clusters need a new centroid: of settled ones, those with other members than before,
/// if what has the same members may be kept.
pub(crate) fn changed(change: &Change<'_>, k: usize, keep: bool) -> Vec<bool> {
    let before = change.before.filter(|_| keep);
    let mut wanted = vec![before.is_none(); k];
    for (now, before) in change.labels.iter().zip(before.unwrap_or_default()) {
        if now != before {
            wanted[*now as usize] = true;
            wanted[*before as usize] = true;
        }
    }
    wanted[..change.frozen].fill(false);
    wanted
}

impl Backend for Cpu<'_> {
    fn begin(&mut self, warm: bool) {
        if let Some(pruner) = &mut self.pruner {
            pruner.begin(warm);
        }
    }

    fn assign(
        &mut self,
        centroids: &[f32],
        to_follow: usize,
        labels: &mut [u32],
        distances: &mut [f32],
    ) -> Result<(), ClusterError> {
        let rows = Matrix::new(centroids, self.k, self.points.rows.cols())?;
        self.threads.run(|| match &mut self.pruner {
            Some(pruner) => {
                let groups = &mut self.groups;
                pruner.assign(self.points, rows, to_follow, groups, labels, distances);
            }
            None => {
                self.groups.pack(rows, self.points);
                nearest(self.points, rows, &self.groups, labels, distances);
            }
        });
        Ok(())
    }

    fn update(
        &mut self,
        change: &Change<'_>,
        centroids: &mut [f32],
    ) -> Result<Update, ClusterError> {
        self.members.sort(change.labels, self.k);
        // A cluster of no weight, or one that fills an empty one, moves with the same members.
        let keep = self.weights.is_none() && !self.members.any_empty();
        let moved = changed(change, self.k, keep);
        let (points, members, weights) = (self.points, &self.members, self.weights);
        let means = || means(points.rows, points.isa, weights, members, &moved, centroids);
        Ok(Update {
            sizes: self.threads.run(means),
            moved,
        })
    }
}
