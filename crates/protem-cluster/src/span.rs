//! Stretches of points on their way from scores to labels, each on one thread: here to the groups in
//! question, by centroids that are known to be near or found in `guess.rs`; in `decide.rs` to what is true,
//! and of bytes in `lanes.rs`.

mod decide;
mod guess;
mod lanes;

use crate::centroids::Centroids;
use crate::integers::Width;
use crate::kernel::{self, Highest, LANES, Lanes, STRIP};
use crate::matrix::Matrix;
use crate::part::Part;
use crate::points::Points;
use crate::scratch::{Scratch, Tally};
pub(crate) use decide::{Lead, distance64};
use rayon::prelude::*;
use std::ops::Range;

/// A multiple of the strips of every level, 32 and 48.
pub(crate) const STRIPS: usize = 96;
/// Points of a task, at most.
const SPAN: usize = STRIPS * 170;
/// Points of a task for each group: several then share a group's values, while the points stay in
/// the level-2 cache as long as there are not too many groups.
const SHARING: usize = 32;
/// Lines of best scores kept at once: 1 MiB.
const BEST: usize = 1 << 14;
/// Strips whose best scores are kept at once, at least: the centroids are read once for them all.
const TOGETHER_STRIPS: usize = 32;

/// Candidates kept at once, beside those of the last strips, of which each point may have all groups:
/// far more than there are, but where centroids cannot be told apart.
const MOST: usize = 1 << 17;

/// One in so many lines of points is looked at for what integers would leave in question.
const SAMPLED: usize = 16;

/// What is known of the nearest centroid of a point before a pass.
pub(crate) enum Known<'a> {
    Nothing,
    /// What it scores at least, once the pass has found a centroid that is near; distances to those go here, and
    /// labels to the scratch.
    ToGuess(&'a mut [f32]),
    /// The same, in the scratch.
    Scores,
}

/// Where labels and distances go.
pub(crate) struct Nearest<'a> {
    pub labels: &'a mut [u32],
    pub distances: &'a mut [f32],
    /// Whether labels name centroids that are near already, by which more is left out; distances to them
    /// need not be right.
    pub known: bool,
}

impl<'a> Nearest<'a> {
    pub fn new(labels: &'a mut [u32], distances: &'a mut [f32]) -> Self {
        Self {
            labels,
            distances,
            known: false,
        }
    }
}

/// Labels and distances of points that are checked and packed.
pub(crate) fn nearest(
    points: &Points<'_>,
    rows: Matrix<'_>,
    centroids: &Centroids,
    near: Nearest<'_>,
) {
    debug_assert!(points.packed);
    let span = length(points, centroids, near.labels.len());
    let places = near.labels.par_chunks_mut(span);
    places
        .zip(near.distances.par_chunks_mut(span))
        .enumerate()
        .for_each(|(at, (labels, distances))| {
            centroids.scratches.with(|scratch| {
                let mut task = Span {
                    points,
                    rows,
                    centroids,
                    begin: at * span,
                    labels,
                    scratch,
                };
                task.nearest(near.known, true, distances, &mut |_| {});
            });
        });
}

/// Points of a task, of `n` in all: enough tasks to keep every thread busy to the end.
pub(crate) fn length(points: &Points<'_>, centroids: &Centroids, n: usize) -> usize {
    let share = n.div_ceil(4 * rayon::current_num_threads());
    let sharing = SHARING * centroids.groups.len();
    let least = TOGETHER_STRIPS * points.strip();
    let span = share.min(sharing.max(least)).min(SPAN);
    span.max(1).next_multiple_of(STRIPS)
}

/// A stretch of points.
pub(crate) struct Span<'a, 'b> {
    pub points: &'a Points<'a>,
    pub rows: Matrix<'a>,
    pub centroids: &'a Centroids,
    /// Its first point.
    pub begin: usize,
    pub labels: &'b mut [u32],
    pub scratch: &'b mut Scratch,
}

impl Span<'_, '_> {
    /// Labels and distances of the span, see [`nearest`]. Where [`Self::compare`] may not `decide`, leads are
    /// asked for [`Lead::others`].
    pub fn nearest(
        &mut self,
        known: bool,
        decide: bool,
        distances: &mut [f32],
        visit: &mut impl FnMut(&Part<'_>),
    ) {
        if decide && self.points.in_bytes() {
            return self.nearest_by_lanes(known, distances);
        }
        self.scratch.before.clear();
        let near = if known {
            self.scratch.before.extend_from_slice(self.labels);
            self.know(0..self.labels.len(), distances);
            Known::Scores
        } else if self.points.turn().is_some() {
            Known::ToGuess(distances)
        } else {
            Known::Nothing
        };
        self.scratch.candidates.clear();
        self.lead();
        self.compare(None, decide, near, visit);
        self.settle(!decide);
        let before = &self.scratch.before;
        let all = 0..self.labels.len();
        self.measure(all, distances, |i, label| before.get(i) != Some(&label));
    }

    /// Distances of these points to the centroids that labels name, and what those score at least.
    fn know(&mut self, points: Range<usize>, distances: &mut [f32]) {
        self.measure(points.clone(), distances, |_, _| true);
        self.know_distances(points, distances);
    }

    /// Takes the distances of these points to the centroids that labels name for what is known of the nearest.
    pub fn know_distances(&mut self, points: impl Iterator<Item = usize>, distances: &[f32]) {
        let scores = &mut self.scratch.known;
        scores.resize(distances.len(), f32::NEG_INFINITY);
        for i in points {
            scores[i] = self.points.score(self.begin + i, distances[i]);
        }
    }

    /// Passes over `groups` for the points of the span, or those of it that are chosen; with AMX,
    /// pairs of groups. `visit` gets the labels of the span too.
    pub fn pass(
        &mut self,
        groups: Range<usize>,
        chosen: Option<&[u32]>,
        visit: &mut impl FnMut(&Part<'_>, &mut [u32]),
    ) {
        for batch in self.batches(groups.len(), chosen) {
            self.score(groups.clone(), chosen, batch.clone());
            self.visit(groups.len(), chosen, batch, visit);
        }
    }

    /// Points, by their places, whose best scores in so many groups are kept at once.
    fn batches(
        &self,
        groups: usize,
        chosen: Option<&[u32]>,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let strip = self.points.strip();
        let of_strip = groups * strip / LANES;
        let together = (BEST / of_strip.max(1)).max(TOGETHER_STRIPS) * strip;
        let count = chosen.map_or(self.labels.len(), <[u32]>::len);
        let firsts = (0..count).step_by(together);
        firsts.map(move |first| first..count.min(first + together))
    }

    /// Best scores of a batch.
    fn score(&mut self, groups: Range<usize>, chosen: Option<&[u32]>, batch: Range<usize>) {
        let strip = self.points.strip();
        let (strips, parts) = (batch.len().div_ceil(strip), strip / LANES);
        let needed = strips * parts * groups.len();
        if self.scratch.best.len() < needed {
            self.scratch.best.resize(needed, Lanes::ZERO);
        }
        self.scratch
            .highest
            .resize(strips * parts, Highest::alone(Lanes::ZERO));
        match self.points.tiled() {
            true => self.tiles(groups, chosen, batch.start, batch.end),
            false => self.f32_strips(groups, chosen, batch.start, batch.end),
        }
    }

    /// Calls `visit` with the scores of each line of a batch.
    fn visit(
        &mut self,
        groups: usize,
        chosen: Option<&[u32]>,
        batch: Range<usize>,
        visit: &mut impl FnMut(&Part<'_>, &mut [u32]),
    ) {
        let parts = self.points.strip() / LANES;
        for (at, first) in batch.clone().step_by(LANES).enumerate() {
            let part = Part {
                isa: self.points.isa,
                offset: self.centroids.offset,
                best: &self.scratch.best[at / parts * groups * parts..][..groups * parts],
                highest: &self.scratch.highest[at],
                parts,
                part: at % parts,
                count: LANES.min(batch.end - first),
                first,
                chosen,
            };
            visit(&part, self.labels);
        }
    }

    fn tiles(&mut self, groups: Range<usize>, chosen: Option<&[u32]>, first: usize, end: usize) {
        let steps = self.points.steps();
        let of_strip = 2 * steps * LANES;
        let count = (end - first).div_ceil(self.points.strip());
        let tiles = match chosen {
            None => {
                let begin = (self.begin + first) / kernel::TILED_STRIP * of_strip;
                &self.points.tiles[begin..begin + count * of_strip]
            }
            Some(chosen) => {
                let gathered = &mut self.scratch.tiles;
                gathered.resize(count * of_strip, kernel::Halves::ZERO);
                let points = chosen[first..end].iter().map(|i| self.begin + *i as usize);
                self.points.gather(points, gathered);
                gathered
            }
        };
        let all = &self.centroids.groups;
        let unit = all.unit;
        let values = match self.points.turn().map(|turn| turn.width) {
            None => kernel::Values::Bf16,
            Some(Width::Bits8) => kernel::Values::Int8 { unit },
            Some(Width::Bits16) => kernel::Values::Int16 { unit },
        };
        let of_group = steps * LANES;
        let (tiles_of_centroids, first) = match self.points.passes_over_fours() {
            true => (&all.fours, &all.first_of_fours),
            false => (&all.tiles, &all.first_of_tiles),
        };
        let best = &mut self.scratch.best[..count * groups.len() * 2];
        let tiled = kernel::Tiled {
            values,
            points: tiles,
            centroids: &tiles_of_centroids[groups.start * of_group..groups.end * of_group],
            first: &first[groups],
            steps,
        };
        kernel::best_of_tiles(self.points.isa, &tiled, best, &mut self.scratch.highest);
    }

    fn f32_strips(
        &mut self,
        groups: Range<usize>,
        chosen: Option<&[u32]>,
        first: usize,
        end: usize,
    ) {
        let of_strip = groups.len() * (STRIP / LANES);
        let scratch = &mut *self.scratch;
        let columns = self.rows.cols();
        let all = &self.centroids.groups;
        let lines = &all.lines[groups.start * columns..groups.end * columns];
        let starts = &all.first[groups];
        scratch.strip.resize(columns * (STRIP / LANES), Lanes::ZERO);
        let best = scratch.best.chunks_exact_mut(of_strip);
        let best = best.zip(scratch.highest.chunks_exact_mut(STRIP / LANES));
        for (begin, (best, highest)) in (first..end).step_by(STRIP).zip(best) {
            let of_strip = begin..end.min(begin + STRIP);
            let place = |i: usize| self.begin + chosen.map_or(i, |c| c[i] as usize);
            self.points
                .transpose(of_strip.map(place), &mut scratch.strip);
            kernel::best_of_groups(self.points.isa, &scratch.strip, lines, starts, best);
            for (part, highest) in highest.iter_mut().enumerate() {
                *highest =
                    Highest::alone(kernel::highest(self.points.isa, best, STRIP / LANES, part));
            }
        }
    }

    /// Passes over all groups and takes up as candidates those that can hold the nearest centroids.
    /// If it may `decide`, points get their labels where there is one such centroid, and no candidates.
    /// Very many candidates are settled on the way, so there must be leads.
    pub fn compare(
        &mut self,
        chosen: Option<&[u32]>,
        decide: bool,
        mut known: Known<'_>,
        visit: &mut impl FnMut(&Part<'_>),
    ) {
        let window = self.centroids.pass.expect("packed centroids");
        let narrow = self.centroids.narrow.filter(|_| chosen.is_none());
        let (points, begin) = (self.points, self.begin);
        let before = self.scratch.candidates.len();
        let mut settled = 0;
        let mut tally = Tally::default();
        let order = &self.centroids.order;
        let groups = self.centroids.groups.len();
        for batch in self.batches(groups, chosen) {
            self.score(0..groups, chosen, batch.clone());
            if let Known::ToGuess(distances) = &mut known {
                self.guess(batch.clone());
                let guessed = &self.labels[batch.clone()];
                self.scratch.before.extend_from_slice(guessed);
                self.know(batch.clone(), distances);
            }
            let mut candidates = std::mem::take(&mut self.scratch.candidates);
            let scores = std::mem::take(&mut self.scratch.known);
            let known = (!matches!(known, Known::Nothing)).then_some(&scores[..]);
            self.visit(groups, chosen, batch, &mut |part, labels| {
                visit(part);
                let threshold = part.threshold(points, begin, &window, known);
                let decided = if decide { part.decided(&threshold) } else { 0 };
                part.reaching(&threshold, |group, lane| {
                    let point = part.point(lane);
                    if decided >> lane & 1 == 1 {
                        let of_group = Highest::lane(part.highest.best.0[lane]);
                        labels[point] = order[group * LANES + of_group];
                    } else {
                        candidates.push((group as u32, point as u32));
                    }
                });
                if let Some(window) = &narrow
                    && ((begin + part.first) / LANES).is_multiple_of(SAMPLED)
                {
                    let threshold = part.threshold(points, begin, window, known);
                    part.reaching(&threshold, |_, _| tally.narrow_candidates += 1);
                    tally.sampled += part.count;
                }
            });
            (self.scratch.candidates, self.scratch.known) = (candidates, scores);
            if self.scratch.candidates.len() > MOST {
                settled += self.scratch.candidates.len();
                self.settle(!decide);
            }
        }
        if chosen.is_none() {
            tally.points = self.labels.len();
            tally.candidates = settled + self.scratch.candidates.len() - before;
        }
        self.scratch.tally += tally;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::isa::Isa;

    /// Numbers from −1 to 1, of an odd seed.
    pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Where every group holds a centroid as near as the nearest, memory does not grow with points
    /// times groups.
    #[test]
    fn many_candidates_are_settled_on_the_way() {
        let (n, k) = (8000, 4000);
        let values = |count: usize| -> Vec<f32> {
            let of = |i| f32::from_bits(1.0f32.to_bits() + i as u32 % 3);
            (0..count).map(of).collect()
        };
        let (points, rows) = (values(n), values(k));
        let matrix = Matrix::new(&points, n, 1).expect("the right length");
        let rows = Matrix::new(&rows, k, 1).expect("the right length");
        for isa in Isa::available() {
            let points = Points::pack(matrix, *isa);
            let mut centroids = Centroids::default();
            centroids.pack(rows, &points);
            let groups = centroids.groups.len();
            for decide in [true, false] {
                let (mut labels, mut distances) = (vec![7; n], vec![7.0; n]);
                let mut scratch = Scratch::default();
                let mut span = Span {
                    points: &points,
                    rows,
                    centroids: &centroids,
                    begin: 0,
                    labels: &mut labels,
                    scratch: &mut scratch,
                };
                span.nearest(false, decide, &mut distances, &mut |_| {});
                assert!(labels.iter().enumerate().all(|(i, l)| *l as usize == i % 3));
                assert!(distances.iter().all(|distance| *distance == 0.0));
                assert_eq!(
                    scratch.tally.candidates,
                    n * groups,
                    "{isa:?}: all in question"
                );
                let most = MOST + TOGETHER_STRIPS * points.strip() * groups;
                let kept = scratch.candidates.capacity();
                assert!(kept <= 2 * most && 2 * most < n * groups, "{isa:?}: {kept}");
            }
        }
    }

    /// Labels and distances of packed points.
    pub(crate) fn nearest_of(points: &Points<'_>, rows: Matrix<'_>) -> (Vec<u32>, Vec<f32>) {
        found(points, rows, vec![0; points.rows.rows()], false)
    }

    /// The same by labels that are known.
    pub(crate) fn nearest_from(
        points: &Points<'_>,
        rows: Matrix<'_>,
        known: Vec<u32>,
    ) -> (Vec<u32>, Vec<f32>) {
        found(points, rows, known, true)
    }

    fn found(
        points: &Points<'_>,
        rows: Matrix<'_>,
        mut labels: Vec<u32>,
        known: bool,
    ) -> (Vec<u32>, Vec<f32>) {
        let mut distances = vec![0.0; labels.len()];
        let mut centroids = Centroids::default();
        centroids.pack(rows, points);
        let near = Nearest {
            labels: &mut labels,
            distances: &mut distances,
            known,
        };
        nearest(points, rows, &centroids, near);
        (labels, distances)
    }
}
