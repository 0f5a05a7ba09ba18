//! What computes the two halves of an iteration; `lloyd.rs` decides what they are asked for.
//!
//! A backend holds one set of points, prepared, over all iterations and restarts. Whatever it is
//! made of, labels are exact and sums run in the order of points: centroids have the same bits.

use crate::centroids::Centroids;
use crate::error::ClusterError;
use crate::fit::Warning;
use crate::forms::Forms;
use crate::matrix::Matrix;
use crate::points::{Form, Points};
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

/// Points that backends share in turn, each of which may pack them anew.
pub(crate) type SharedPoints<'a> = Arc<Mutex<Points<'a>>>;

pub(crate) fn lock<'l, 'a>(points: &'l SharedPoints<'a>) -> MutexGuard<'l, Points<'a>> {
    points.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processor.
pub(crate) struct Cpu<'a> {
    points: SharedPoints<'a>,
    /// How points are packed, and are to be for the next assignment, if otherwise.
    forms: Forms,
    to_pack: Option<Form>,
    /// Assignments of this restart so far: from the first on there are labels.
    assigned: usize,
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
            forms: Forms::new(kmeans),
            to_pack: None,
            assigned: 0,
            weights,
            threads,
            k: kmeans.k,
            groups: Centroids::default(),
            pruner: kmeans.prune.then(Pruner::default),
            members: Members::default(),
        }
    }

    /// Packs points in sketches if that pays, or as they are to be.
    fn pack(
        &mut self,
        points: &mut Points<'_>,
        rows: Matrix<'_>,
        labels: &[u32],
        to_follow: usize,
    ) {
        let narrow = match &self.to_pack {
            Some(form) => matches!(form, Form::Integers),
            None => points.turn().is_some(),
        };
        let labels = (self.assigned > 0).then_some(labels);
        let due = self.assigned == 0 || self.assigned.is_power_of_two();
        // By lists few points are compared in full.
        let listed = self.pruner.as_ref().is_some_and(Pruner::has_lists);
        if due && !listed {
            let (forms, groups) = (&mut self.forms, &mut self.groups);
            let sketches = || forms.sketches(points, rows, labels, narrow, to_follow, groups);
            let sketches = self.threads.run(sketches);
            self.to_pack = sketches.or(self.to_pack.take());
        }
        if let Some(form) = self.to_pack.take() {
            self.threads.run(|| points.repack(form));
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
        let points = &mut *lock(&self.points);
        let form = self.forms.at_first(points, warm);
        let narrow = matches!(form, Some(Form::Integers));
        match form {
            Some(form) if !self.forms.sketches_at_first(points, narrow) => {
                self.threads.run(|| points.repack(form));
            }
            form => self.to_pack = form,
        }
        self.assigned = 0;
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
        self.threads.run(|| points.square_all());
        self.pack(points, rows, labels, to_follow);
        let groups = &mut self.groups;
        let near = Nearest {
            labels,
            distances,
            known: self.assigned > 0,
        };
        self.threads.run(|| match &mut self.pruner {
            Some(pruner) => pruner.assign(points, rows, to_follow, groups, near),
            None => {
                groups.pack(rows, points);
                nearest(points, rows, groups, near);
            }
        });
        let tally = self.groups.scratches.tally();
        let had_labels = self.assigned > 0;
        self.assigned += 1;
        if let Some(form) = self.forms.after(points, &tally, had_labels, to_follow) {
            self.threads.run(|| points.repack(form));
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
    use crate::isa::Isa;
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
                widths.push(lock(&points).turn().is_some());
            }
            assert_eq!(widths, [true, true, false, false, false, false], "{isa:?}");
            cpu.begin(true);
            assert!(
                lock(&points).turn().is_none(),
                "{isa:?}: after it was given up"
            );
            let mut cpu = Cpu::new(&kmeans, points.clone(), None, &threads);
            cpu.assign(&apart, 0, &mut labels, &mut distances)
                .expect("the right lengths");
            assert!(lock(&points).turn().is_none(), "{isa:?}: with none to come");
            cpu.assign(&apart, 10, &mut labels, &mut distances)
                .expect("the right lengths");
            assert!(lock(&points).turn().is_some(), "{isa:?}");
            cpu.begin(true);
            assert!(
                lock(&points).turn().is_some(),
                "{isa:?}: from centroids that are means"
            );
            let form = |k, iterations| {
                let kmeans = KMeans::builder(k).iterations(iterations).build();
                let forms = Forms::new(&kmeans.expect("settings"));
                forms.at_first(&Points::new(matrix, isa), false)
            };
            let narrow = |form: Option<Form>| matches!(form, Some(Form::Integers));
            let few = k / 4;
            assert_eq!(narrow(form(few, 1)), isa != Isa::Amx, "few groups, once");
            assert!(narrow(form(k, 20)), "{isa:?}: for many iterations");
        }
    }

    /// Points that spread along few directions are packed in sketches, others are not, and results are the
    /// same.
    #[test]
    fn sketches_are_taken_where_they_pay() {
        let (n, k, d) = (8000, 2400, 160);
        let places = numbers(k * d, 1);
        let noise = numbers(n * d, 3);
        for fall in [0.0f32, 1.0] {
            let share = |i: usize| (1.0 + (i % d) as f32).powf(-fall);
            let place = |i: usize| {
                if fall > 0.0 {
                    places[i % places.len()]
                } else {
                    0.0
                }
            };
            let of = |i: usize| share(i) * (place(i) + 0.5 * noise[i]);
            let values: Vec<f32> = (0..n * d).map(of).collect();
            let matrix = Matrix::new(&values, n, d).expect("the right length");
            for isa in Isa::available() {
                let kmeans = KMeans::builder(k).prune(false).build().expect("settings");
                let points = Arc::new(Mutex::new(Points::new(matrix, *isa)));
                let threads = Threads::new(Some(2)).expect("two threads");
                let mut cpu = Cpu::new(&kmeans, points.clone(), None, &threads);
                let (mut labels, mut distances) = (vec![0; n], vec![0.0; n]);
                let mut centroids = values[..k * d].to_vec();
                cpu.begin(false);
                for to_follow in (10..13).rev() {
                    cpu.assign(&centroids, to_follow, &mut labels, &mut distances)
                        .expect("the right lengths");
                    let rows = Matrix::new(&centroids, k, d).expect("the right length");
                    let plain = nearest_of(&Points::pack(matrix, *isa), rows);
                    assert_eq!((&labels, &distances), (&plain.0, &plain.1), "{isa:?}");
                    let change = Change {
                        labels: &labels,
                        before: None,
                        frozen: 0,
                    };
                    cpu.update(&change, &mut centroids).expect("means");
                }
                let sketched = lock(&points).sketch().is_some();
                let possible = fall > 0.0 && isa.integers().is_some() && *isa != Isa::Amx;
                // With AMX a pass takes too little for so few clusters.
                assert_eq!(sketched, possible, "{isa:?}, falling by {fall}");
                cpu.begin(false);
                cpu.assign(&values[..k * d], 9, &mut labels, &mut distances)
                    .expect("the right lengths");
                let rows = Matrix::new(&values[..k * d], k, d).expect("the right length");
                let plain = nearest_of(&Points::pack(matrix, *isa), rows);
                assert_eq!((&labels, &distances), (&plain.0, &plain.1), "{isa:?}, anew");
                assert_eq!(lock(&points).sketch().is_some(), sketched, "{isa:?}, anew");
            }
        }
    }
}
