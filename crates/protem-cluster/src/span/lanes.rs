//! Labels and distances from passes over bytes: those leave more groups in question than others do, but
//! bytes also tell which of a group's centroids are, at little cost. Each of these is measured by itself.

use super::decide::later_twin;
use super::{Span, distance64};
use crate::centroids::NOBODY;
use crate::kernel::{self, LANES, Lanes, Pairs, TOGETHER};
use crate::part::{Part, least};
use crate::points::near_tie;
use crate::scratch::Tally;
use std::ops::Range;

/// Candidates of a group that are looked into together, about, if a span has as many.
const ENOUGH: usize = 16;
/// Centroids in question of a candidate beyond which it is cheaper to score the whole group.
const MANY: usize = 3;
/// Pairs whose points are asked for before they are measured.
const AHEAD: usize = 2 * TOGETHER;

impl Span<'_, '_> {
    /// Labels and distances of the span, of bytes; if labels are not `known` to name centroids that are near,
    /// such are found first.
    pub(super) fn nearest_by_lanes(&mut self, known: bool, distances: &mut [f32]) {
        let groups = self.centroids.groups.len();
        let n = self.labels.len();
        let (mut first, mut candidates) = (0, 0);
        self.scratch.candidates.clear();
        for batch in self.batches(groups, None) {
            self.score(0..groups, None, batch.clone());
            if !known {
                self.guess(batch.clone());
            }
            self.know(batch.clone(), distances);
            self.find_near(batch.clone());
            let finds = self.scratch.candidates.len();
            if finds >= ENOUGH * groups || batch.end == n {
                candidates += finds + self.decide(first..batch.end, distances);
                self.scratch.candidates.clear();
                first = batch.end;
            }
        }
        self.scratch.tally += Tally {
            points: n,
            candidates,
            ..Tally::default()
        };
    }

    /// Adds the centroids of a group that are in question for sorted candidates.
    pub(super) fn look_into(&self, group: usize, pairs: &mut Pairs) {
        let of_block = self.points.steps() * LANES;
        let groups = &self.centroids.groups;
        let points = &self.scratch.sorted[self.candidates(group)];
        if points.is_empty() {
            return;
        }
        let asking = kernel::Asking {
            tiles: &self.points.tiles[self.begin / LANES * of_block..],
            points,
            labels: self.labels,
            least: &self.scratch.least,
        };
        let order = &self.centroids.order[group * LANES..];
        let group = kernel::Group {
            fours: &groups.fours[group * of_block..][..of_block],
            first: &groups.first_of_fours[group],
            unit: groups.unit,
            centroids: order.first_chunk().expect("16 of each group"),
        };
        kernel::in_question(self.points.isa, &asking, &group, pairs);
    }

    /// Takes up as candidates the groups that reach a threshold.
    pub(super) fn find(&mut self, batch: Range<usize>, threshold: impl Fn(&Part<'_>) -> Lanes) {
        let mut finds = std::mem::take(&mut self.scratch.candidates);
        let mut least = std::mem::take(&mut self.scratch.least);
        least.resize(self.labels.len(), f32::INFINITY);
        self.visit(self.centroids.groups.len(), None, batch, &mut |part, _| {
            let threshold = threshold(part);
            least[part.first..][..part.count].copy_from_slice(&threshold.0[..part.count]);
            part.reaching(&threshold, |group, lane| {
                finds.push((group as u32, (part.first + lane) as u32));
            });
        });
        (self.scratch.candidates, self.scratch.least) = (finds, least);
    }

    /// Takes up as candidates the groups that can hold centroids as near as those that labels name.
    fn find_near(&mut self, batch: Range<usize>) {
        let known = std::mem::take(&mut self.scratch.known);
        let window = self.centroids.pass.expect("packed centroids");
        let (points, begin) = (self.points, self.begin);
        self.find(batch, |part| {
            part.threshold(points, begin, &window, Some(&known))
        });
        self.scratch.known = known;
    }

    /// Measures the centroids in question in the candidates, and labels these points with the nearest; returns
    /// how many candidates were scored besides.
    fn decide(&mut self, points: Range<usize>, distances: &mut [f32]) -> usize {
        let mut before = std::mem::take(&mut self.scratch.before);
        before.clear();
        before.extend_from_slice(&self.labels[points.clone()]);
        self.scratch.exact.resize(self.labels.len(), None);
        self.scratch.exact[points.clone()].fill(None);
        self.sort();
        let mut pairs = std::mem::take(&mut self.scratch.pairs);
        let mut scored = 0;
        for group in 0..self.centroids.groups.len() {
            pairs.clear();
            self.look_into(group, &mut pairs);
            let candidates = self.candidates(group).len();
            if pairs.len() > MANY * candidates {
                scored += candidates;
                pairs.clear();
                self.score_group(group, &mut pairs);
            }
            self.decide_pairs(&pairs, distances);
        }
        self.scratch.pairs = pairs;
        let first = points.start;
        self.measure(points, distances, |i, label| before[i - first] != label);
        self.scratch.before = before;
        scored
    }

    /// Of each candidate, the centroids of the group that f32 cannot tell from the best one.
    fn score_group(&self, group: usize, pairs: &mut Pairs) {
        let exact = self.centroids.exact.expect("packed centroids");
        let window = |i: usize| exact.of_length(0.0, self.points.norm(self.begin + i));
        let order = &self.centroids.order[group * LANES..];
        let candidates = self.candidates(group);
        for at in (candidates.start..candidates.end).step_by(TOGETHER) {
            let found = self.leaders(group, at..candidates.end, false, window);
            let some = &self.scratch.sorted[at..candidates.end];
            for (point, leaders) in some.iter().zip(found) {
                // Scores that overflowed tell nothing.
                let mut left = match leaders.best.is_finite() {
                    true => leaders.close,
                    false => u16::MAX,
                };
                while left != 0 {
                    let centroid = order[left.trailing_zeros() as usize];
                    left &= left - 1;
                    if centroid != NOBODY && centroid != self.labels[*point as usize] {
                        pairs.push(*point, centroid);
                    }
                }
            }
        }
    }

    /// Labels points with centroids that are nearer than those before; distances to them are rough.
    fn decide_pairs(&mut self, pairs: &Pairs, distances: &mut [f32]) {
        let (points, centroids) = (pairs.points(), pairs.centroids());
        for (at, some) in points.chunks(TOGETHER).enumerate() {
            let begin = at * TOGETHER;
            let ahead = points.get(begin + AHEAD..).unwrap_or_default();
            for point in ahead.iter().take(TOGETHER) {
                kernel::prefetch(self.row(*point as usize));
            }
            // The last one fills the places that are left.
            let at = |i: usize| begin + i.min(some.len() - 1);
            let found = kernel::rough_distances(
                self.points.isa,
                std::array::from_fn(|i| self.row(points[at(i)] as usize)),
                std::array::from_fn(|i| self.centroid(centroids[at(i)])),
            );
            for ((point, centroid), distance) in some.iter().zip(&centroids[begin..]).zip(found) {
                self.decide_pair(*point as usize, *centroid, distance, distances);
            }
        }
    }

    fn decide_pair(&mut self, i: usize, centroid: u32, distance: f32, distances: &mut [f32]) {
        let mut exact = None;
        let nearer = if near_tie(distance, distances[i], self.rows.cols()) {
            if later_twin(self.rows, centroid, self.labels[i]) {
                return;
            }
            let of = |c: u32| distance64(self.row(i), self.centroid(c));
            let before = self.scratch.exact[i].unwrap_or_else(|| of(self.labels[i]));
            let now = of(centroid);
            self.scratch.exact[i] = Some(before);
            exact = Some(now);
            now < before || now == before && centroid < self.labels[i]
        } else {
            distance < distances[i]
        };
        if nearer {
            (self.labels[i], distances[i]) = (centroid, distance);
            self.scratch.exact[i] = exact;
            let window = self.centroids.pass.expect("packed centroids");
            let rounding = self.points.rounding(self.begin + i);
            let score = self.points.score(self.begin + i, distance);
            let offset = self.centroids.offset;
            let least = least(&rounding, score, window.of(&rounding), offset);
            self.scratch.least[i] = self.scratch.least[i].max(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assign_on;
    use crate::centroids::Centroids;
    use crate::integers::{Integers, Width};
    use crate::isa::Isa;
    use crate::matrix::Matrix;
    use crate::points::{Form, Points};
    use crate::scratch::Scratch;
    use crate::sketch::{Axes, SHORTEST, Sketch};
    use crate::span::tests::{nearest_from, nearest_of, numbers};

    /// Points in both forms of bytes, on every level that has them.
    fn in_bytes(rows: Matrix<'_>) -> Vec<Points<'_>> {
        let levels = Isa::available().iter().copied();
        let levels = levels.filter(|isa| isa.integers() == Some(Width::Bits8));
        let both = |isa| {
            let mut whole = Points::new(rows, isa);
            whole.integers = Some(Integers::new(
                Width::Bits8,
                rows.cols(),
                2.0 * whole.typical,
            ));
            whole.repack(Form::Integers);
            let mut sketched = Points::new(rows, isa);
            let axes = Axes::of(rows, &sketched.origin, 30, isa);
            let bias = sketched.typical as f32;
            sketched.repack(Form::Sketch(Sketch::new(
                &axes,
                SHORTEST,
                Width::Bits8,
                bias,
            )));
            [whole, sketched].map(|mut points| {
                points.square_all();
                points
            })
        };
        let all: Vec<_> = levels.flat_map(both).collect();
        if all.is_empty() {
            println!("no level with a pass over bytes here: not tested");
        }
        all
    }

    #[test]
    fn lanes_score_what_the_pass_has_the_best_of() {
        let (n, k, d) = (75, 37, 150);
        let (values, centroids) = (numbers(n * d, 3), numbers(k * d, 5));
        let rows = Matrix::new(&centroids, k, d).expect("the right length");
        for points in in_bytes(Matrix::new(&values, n, d).expect("the right length")) {
            let isa = points.isa;
            let mut centroids = Centroids::default();
            centroids.pack(rows, &points);
            let groups = centroids.groups.len();
            let mut bests = vec![vec![0.0; n]; groups];
            let mut span = Span {
                points: &points,
                rows,
                centroids: &centroids,
                begin: 0,
                labels: &mut vec![NOBODY; n],
                scratch: &mut Scratch::default(),
            };
            span.score(0..groups, None, 0..n);
            span.visit(groups, None, 0..n, &mut |part, _| {
                for (group, bests) in bests.iter_mut().enumerate() {
                    let best = &part.best[group * part.parts + part.part].0;
                    bests[part.first..][..part.count].copy_from_slice(&best[..part.count]);
                }
            });
            let mut found = |group: usize, least: Vec<f32>| {
                span.scratch.sorted = (0..n as u32).collect();
                span.scratch.ends = vec![0; groups];
                span.scratch.ends[group] = n as u32;
                span.scratch.least = least;
                let mut pairs = Pairs::default();
                span.look_into(group, &mut pairs);
                for centroid in pairs.centroids() {
                    let place = span.centroids.places[*centroid as usize] as usize;
                    assert_eq!(place / LANES, group, "{isa:?}");
                }
                pairs.points().to_vec()
            };
            for (group, bests) in bests.iter().enumerate().filter(|(g, _)| g * LANES < k) {
                let mut points = found(group, bests.clone());
                points.dedup();
                assert_eq!(points, (0..n as u32).collect::<Vec<_>>(), "{isa:?}");
                let more = bests.iter().map(|best| best.next_up()).collect();
                assert!(found(group, more).is_empty(), "{isa:?}");
                let all = found(group, vec![f32::NEG_INFINITY; n]).len();
                assert_eq!(
                    all,
                    n * LANES.min(k - group * LANES),
                    "{isa:?}, nobody else"
                );
            }
        }
    }

    /// What f32 cannot tell apart is decided as by plain arithmetic, whatever is known: where centroids lie
    /// apart, and where all are in question, so that groups are scored whole.
    #[test]
    fn near_ties_are_decided_exactly() {
        let (n, k, d) = (96, 64, 80);
        let values = numbers(n * d, 7);
        let matrix = Matrix::new(&values, n, d).expect("the right length");
        // Twins in two groups, and in one.
        for (spread, apart) in [(1.0, k / 2), (1.0, 1), (1e-3, 1)] {
            let mut centroids = numbers(k * d, 9);
            let near = centroids[..d].to_vec();
            for (i, c) in centroids.iter_mut().enumerate() {
                *c = spread * *c + (1.0 - spread) * near[i % d];
            }
            // Each second one is its twin, as it is or moved by the last bits of a few values.
            for c in (0..k).filter(|c| c & apart != 0) {
                centroids.copy_within((c ^ apart) * d..(c ^ apart) * d + d, c * d);
                for value in centroids[c * d..].iter_mut().take(c / 2 % 4) {
                    *value = match c / 2 % 3 {
                        0 => value.next_up(),
                        _ => value.next_down(),
                    };
                }
            }
            let rows = Matrix::new(&centroids, k, d).expect("the right length");
            let right = assign_on(Isa::Portable, matrix, rows, Some(1)).expect("right lengths");
            let second = right.labels.iter();
            let second = second.filter(|label| **label & apart as u32 != 0);
            assert!((10..n - 10).contains(&second.count()), "both kinds occur");
            let expected = (right.labels.clone(), right.distances.clone());
            let others = right.labels.iter().map(|label| label ^ apart as u32);
            let others: Vec<u32> = others.collect();
            for points in in_bytes(matrix) {
                let case = format!("{:?}, {spread}, {apart}", points.isa);
                assert_eq!(nearest_of(&points, rows), expected, "{case}");
                for known in [right.labels.clone(), others.clone(), vec![5; n]] {
                    assert_eq!(nearest_from(&points, rows, known), expected, "{case}");
                }
            }
        }
    }
}
