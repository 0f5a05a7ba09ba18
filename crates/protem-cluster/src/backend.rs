//! What computes the two halves of an iteration; `lloyd.rs` decides what they are asked for.
//!
//! A backend holds one set of points, prepared, over all iterations and restarts. Whatever it is
//! made of, labels are exact and sums run in the order of points: centroids have the same bits.

use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::fit::Warning;
use crate::isa::Isa;
use crate::kernel::LANES;
use crate::matrix::Matrix;
use crate::points::Points;
use crate::prune::Pruner;
use crate::settings::KMeans;
use crate::span::{Nearest, nearest};
use crate::threads::Threads;
use crate::update::{Members, means};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Computes iterations.
pub(crate) trait Backend {
    /// A restart begins; if `warm`, from centroids that will not move much.
    fn begin(&mut self, warm: bool);

    /// The nearest of `centroids` (`k × d`) for every point, and the distance to it. `labels` and
    /// `distances` are those of the assignment before, except in a restart's first. At most
    /// `to_follow` more assignments follow in this restart.
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

    /// What is unusual about it.
    fn warning(&self) -> Option<Warning> {
        None
    }
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

/// What one more group in question costs a point, in cycles at 128 columns; measured.
const CANDIDATE_CYCLES: f64 = 150.0;
/// Groups in question without rounding to integers, about.
const USUAL: f64 = 1.1;
/// What packing a point anew costs, in the same.
const REPACK_CYCLES: f64 = 500.0;
/// Groups more in question with integers where the centroids are points, about.
const AT_FIRST: f64 = 3.0;

/// Points that backends share in turn, each of which may pack them anew.
pub(crate) type SharedPoints<'a> = Arc<Mutex<Points<'a>>>;

pub(crate) fn lock<'l, 'a>(points: &'l SharedPoints<'a>) -> MutexGuard<'l, Points<'a>> {
    points.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processor.
pub(crate) struct Cpu<'a> {
    points: SharedPoints<'a>,
    /// Whether integers were tried and given up.
    given_up: bool,
    /// Whether there are labels of this restart.
    known: bool,
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
        points: SharedPoints<'a>,
        weights: Option<&'a [f32]>,
        threads: &'a Threads,
    ) -> Self {
        Self {
            points,
            given_up: false,
            known: false,
            weights,
            threads,
            k: kmeans.k,
            groups: Centroids::default(),
            pruner: kmeans.prune.then(Pruner::default),
            members: Members::default(),
        }
    }

    /// Whether points are better packed anew for the assignments to follow, and if so whether in
    /// integers, by what the last one found.
    fn better_width(&mut self, points: &Points<'_>, to_follow: usize) -> Option<bool> {
        let tally = self.groups.scratches.tally();
        let saved = saved_by_integers(points.isa) * self.groups.groups.len() as f64;
        let of = |count: usize, points: usize| count as f64 / points as f64;
        let candidates = of(tally.candidates, tally.points);
        if points.narrow {
            let costly = (candidates - USUAL) * CANDIDATE_CYCLES > saved;
            self.given_up |= costly && tally.points > 0;
            return self.given_up.then_some(false);
        }
        let more = of(tally.narrow_candidates, tally.sampled) - candidates;
        let saved = (saved - more * CANDIDATE_CYCLES) * to_follow as f64;
        (tally.sampled > 0 && !self.given_up && saved > REPACK_CYCLES).then_some(true)
    }
}

/// Cycles that integers save a point with each group.
fn saved_by_integers(isa: Isa) -> f64 {
    isa.group_cycles(false) - isa.group_cycles(true)
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
        let points = &mut *lock(&self.points);
        let saved = saved_by_integers(points.isa) * self.k.div_ceil(LANES) as f64;
        let narrow = points.integers.is_some()
            && !self.given_up
            && (warm && points.narrow || saved > AT_FIRST * CANDIDATE_CYCLES);
        if !points.packed || points.narrow != narrow {
            self.threads.run(|| points.repack(narrow));
        }
        self.known = false;
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
        let shared = self.points.clone();
        let points = &mut *lock(&shared);
        let rows = Matrix::new(centroids, self.k, points.rows.cols())?;
        let groups = &mut self.groups;
        let near = Nearest {
            labels,
            distances,
            known: self.known,
        };
        self.threads.run(|| points.square_all());
        self.threads.run(|| match &mut self.pruner {
            Some(pruner) => pruner.assign(points, rows, to_follow, groups, near),
            None => {
                groups.pack(rows, points);
                nearest(points, rows, groups, near);
            }
        });
        self.known = true;
        if let Some(narrow) = self.better_width(points, to_follow) {
            self.threads.run(|| points.repack(narrow));
        }
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
        let (points, members, weights) = (&*lock(&self.points), &self.members, self.weights);
        let means = || means(points.rows, points.isa, weights, members, &moved, centroids);
        Ok(Update {
            sizes: self.threads.run(means),
            moved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::tests::{nearest_of, numbers};

    /// Points are packed in integers where that leaves little in question, and not where it does not.
    #[test]
    fn width_follows_what_is_in_question() {
        let levels = || Isa::available().iter().copied();
        if levels().all(|isa| isa.integers().is_none()) {
            println!("no level with a pass over integers here: not tested");
        }
        let (n, k, d) = (4000, 2000, 128);
        let (near, apart, noise) = (numbers(d, 1), numbers(k * d, 3), numbers(n * d, 5));
        let of = |i: usize| apart[i % apart.len()] + 0.1 * noise[i];
        let values: Vec<f32> = (0..n * d).map(of).collect();
        let matrix = Matrix::new(&values, n, d).expect("the right length");
        // All centroids within a ten thousandth of one place: integers can leave nothing out.
        let close: Vec<f32> = (0..k * d).map(|i| near[i % d] + 1e-4 * apart[i]).collect();
        for isa in levels().filter(|isa| isa.integers().is_some()) {
            let points = Arc::new(Mutex::new(Points::pack(matrix, isa)));
            let threads = Threads::new(Some(2)).expect("two threads");
            let kmeans = KMeans::builder(k).prune(false).build().expect("settings");
            let mut cpu = Cpu::new(&kmeans, points.clone(), None, &threads);
            let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
            let mut widths = vec![];
            for centroids in [&apart, &apart, &close, &close, &apart, &apart] {
                cpu.assign(centroids, 10, &mut labels, &mut distances)
                    .expect("the right lengths");
                let rows = Matrix::new(centroids, k, d).expect("the right length");
                let wide = nearest_of(&Points::pack(matrix, isa), rows);
                assert_eq!((&labels, &distances), (&wide.0, &wide.1), "{isa:?}");
                widths.push(lock(&points).narrow);
            }
            assert_eq!(widths, [true, true, false, false, false, false], "{isa:?}");
            cpu.begin(true);
            assert!(!lock(&points).narrow, "{isa:?}: after it was given up");
            let mut cpu = Cpu::new(&kmeans, points.clone(), None, &threads);
            cpu.assign(&apart, 0, &mut labels, &mut distances)
                .expect("the right lengths");
            assert!(!lock(&points).narrow, "{isa:?}: with none to come");
            cpu.assign(&apart, 10, &mut labels, &mut distances)
                .expect("the right lengths");
            assert!(lock(&points).narrow, "{isa:?}");
            cpu.begin(true);
            assert!(
                lock(&points).narrow,
                "{isa:?}: from centroids that are means"
            );
            cpu.begin(false);
            let narrow = lock(&points).narrow;
            assert_eq!(narrow, isa != Isa::Amx, "of so few groups, from points");
        }
    }
}
