//! What is known of a point from earlier iterations: its nearest groups, and bounds.

use crate::centroids::Centroids;
use crate::kernel::{LANES, Lanes, TOP};
use crate::part::Part;
use crate::points::{Points, above};
use crate::span::{Known, Lead, Span};
use crate::window::Window;

/// Groups of a list.
const LISTED: usize = TOP - 1;

/// What is known of a point.
#[derive(Clone, Copy)]
pub(super) struct Near {
    /// The distance of every slow centroid that is in no group of the list is at least this.
    rest: f32,
    /// The same for the slow ones beside its own in the group of that.
    own: f32,
    /// The same for the slow ones in each group of the list.
    lower: [f32; LISTED],
    groups: [u16; LISTED],
}

impl Near {
    pub const NOTHING: Self = Self {
        rest: 0.0,
        own: 0.0,
        lower: [0.0; LISTED],
        groups: [0; LISTED],
    };

    pub fn rest(&self) -> f32 {
        self.rest
    }
}

/// How far centroids moved, or more.
pub(super) struct Moved {
    /// Each one; 0 for one that did not move.
    pub of_centroid: Vec<f32>,
    /// The slow ones of each group, at most.
    pub of_group: Vec<f32>,
    /// All slow ones, at most.
    pub slow: f32,
}

/// What turns scores into bounds.
pub(super) struct Lists<'a> {
    points: &'a Points<'a>,
    window: Window,
    /// Groups of slow centroids; those of the fast ones follow.
    regular: usize,
    begin: usize,
}

impl<'a> Lists<'a> {
    pub fn new(
        points: &'a Points<'a>,
        centroids: &Centroids,
        regular: usize,
        begin: usize,
    ) -> Self {
        Self {
            points,
            window: centroids.pass.expect("packed centroids"),
            regular,
            begin,
        }
    }

    /// New lists for the points of a part, from their best scores in all groups.
    pub fn make(&self, part: &Part<'_>, nears: &mut [Near]) {
        let top = part.top(self.regular);
        for lane in 0..part.count {
            let i = self.begin + part.point(lane);
            let rounding = self.points.rounding(i);
            let window = self.window.of(&rounding);
            let lower = |score: f32| self.lower(i, part.score(&rounding, score), window);
            nears[part.point(lane)] = Near {
                rest: lower(top.score(LISTED, lane)),
                own: 0.0,
                lower: std::array::from_fn(|j| lower(top.score(j, lane))),
                groups: std::array::from_fn(|j| top.group(j, lane) as u16),
            };
        }
    }

    /// The distance of point `i` from every centroid of at most this score, or less.
    fn lower(&self, i: usize, score: f32, window: f32) -> f32 {
        if window == f32::MAX {
            return 0.0;
        }
        // |x − c|² = |x'|² − 2S, and S is at most the score and half a window.
        let least = self.points.square(i) - 2.0 * score - window;
        least.max(0.0).sqrt() * (1.0 - 1e-5)
    }

    /// New bounds in the own groups of the points that were scored.
    pub fn make_own(&self, leads: &[Lead], nears: &mut [Near]) {
        for (at, (lead, near)) in leads.iter().zip(nears).enumerate() {
            if let Some((next, window)) = lead.others() {
                near.own = self.lower(self.begin + at, next, window);
            }
        }
    }

    /// The scores that a group must reach to hold a centroid as near as a point's own; none does
    /// for points that are compared with everything anyway.
    fn reach(&self, part: &Part<'_>, nears: &[Near], distances: &[f32]) -> Lanes {
        let columns = self.points.rows.cols();
        let mut threshold = Lanes::all(f32::INFINITY);
        for lane in 0..part.count {
            let at = part.point(lane);
            if nears[at].rest <= above(distances[at], columns) {
                continue;
            }
            let rounding = self.points.rounding(self.begin + at);
            let score = self.points.score(self.begin + at, distances[at]);
            threshold.0[lane] = part.least(&rounding, score, self.window.of(&rounding));
        }
        threshold
    }
}

/// Labels and distances of a span for which they, and the lists, are those of the iteration before.
///
/// A point whose own centroid is nearer than every bound keeps its label. One for which the bound of
/// the rest no longer tells enough is compared with everything, and gets a new list. For all others
/// the groups in question are scored again, and its own with them.
pub(super) fn pruned_span(
    mut task: Span<'_, '_>,
    lists: &Lists<'_>,
    moved: &Moved,
    nears: &mut [Near],
    distances: &mut [f32],
) {
    let columns = task.rows.cols();
    // The distance to a centroid that stayed is what it was.
    let points = 0..task.labels.len();
    task.measure(points.clone(), distances, |_, label| {
        moved.of_centroid[label as usize] > 0.0
    });
    let mut before = std::mem::take(&mut task.scratch.before);
    let mut chosen = std::mem::take(&mut task.scratch.chosen);
    let mut candidates = std::mem::take(&mut task.scratch.candidates);
    let mut asked = std::mem::take(&mut task.scratch.asked);
    before.clear();
    before.extend_from_slice(task.labels);
    chosen.clear();
    candidates.clear();
    asked.clear();
    asked.resize(before.len(), false);
    let own_group = |i: usize| task.centroids.places[before[i] as usize] as usize / LANES;
    for (i, near) in nears.iter_mut().enumerate() {
        let own = own_group(i);
        let distance = above(distances[i], columns);
        near.rest = fall(near.rest, moved.slow);
        if near.rest <= distance {
            chosen.push(i as u32);
            continue;
        }
        if own < lists.regular {
            near.own = fall(near.own, moved.of_group[own]);
            asked[i] = near.own <= distance;
        }
        for (group, lower) in near.groups.iter().zip(&mut near.lower) {
            let at = usize::from(*group);
            *lower = fall(*lower, moved.of_group[at]);
            if *lower <= distance && at != own {
                candidates.push((at as u32, i as u32));
                asked[i] = true;
            }
        }
    }
    let (regular, all) = (lists.regular, task.centroids.groups.len());
    if regular < all {
        task.pass(regular..all, None, &mut |part, _| {
            let threshold = lists.reach(part, nears, distances);
            part.reaching(&threshold, |group, lane| {
                candidates.push(((regular + group) as u32, part.point(lane) as u32));
                asked[part.point(lane)] = true;
            });
        });
    }
    // The group of a fast centroid has been found by the pass.
    let asking = (0..asked.len()).filter(|i| asked[*i] && own_group(*i) < regular);
    candidates.extend(asking.map(|i| (own_group(i) as u32, i as u32)));
    task.scratch.candidates = candidates;
    task.lead();
    task.know_distances(chosen.iter().map(|i| *i as usize), distances);
    task.compare(Some(&chosen), false, Known::Scores, &mut |part| {
        lists.make(part, nears)
    });
    task.settle(true);
    lists.make_own(&task.scratch.leads, nears);
    task.measure(points, distances, |i, label| label != before[i]);
    let scratch = task.scratch;
    (scratch.before, scratch.chosen, scratch.asked) = (before, chosen, asked);
}

/// A bound after a movement.
#[inline]
fn fall(bound: f32, movement: f32) -> f32 {
    let left = bound - movement;
    left - left.abs() * 1e-6
}
