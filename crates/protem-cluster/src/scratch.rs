//! Memory of threads, kept from task to task.

use crate::kernel::{Halves, Highest, Lanes, Pairs};
use crate::span::Lead;
use std::sync::{Mutex, PoisonError};

/// A thread's memory.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Best scores, `[strip][group][part]`.
    pub best: Vec<Lanes>,
    /// The best of these over the groups, `[strip][part]`.
    pub highest: Vec<Highest>,
    /// A transposed strip.
    pub strip: Vec<Lanes>,
    /// Tiles of chosen points.
    pub tiles: Vec<Halves>,
    /// Groups that can hold the nearest centroid of a point of the span, and the point.
    pub candidates: Vec<(u32, u32)>,
    /// The points of `candidates`, sorted by group; those of group g end at `ends[g]`.
    pub sorted: Vec<u32>,
    pub ends: Vec<u32>,
    /// As candidates, the groups with the highest scores.
    pub guesses: Vec<(u32, u32)>,
    /// What the nearest centroid of each point of the span scores at least, where that is known.
    pub known: Vec<f32>,
    /// Points and centroids in question.
    pub pairs: Pairs,
    /// Of each point of the span, the distance to the centroid that its label names in f64, once it was asked
    /// for.
    pub exact: Vec<Option<f64>>,
    /// What groups have to reach for each point of the span, in the pass.
    pub least: Vec<f32>,
    /// For each point of the span.
    pub leads: Vec<Lead>,
    /// Points of the span that need a comparison with all groups.
    pub chosen: Vec<u32>,
    /// Labels before this iteration.
    pub before: Vec<u32>,
    /// Points of the span that ask for their own group.
    pub asked: Vec<bool>,
    pub tally: Tally,
}

/// What comparisons of all points with all groups found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    pub points: usize,
    /// Groups that could hold the nearest centroid, over all points.
    pub candidates: usize,
    /// Points of which those were counted that there would be with integers.
    pub sampled: usize,
    pub narrow_candidates: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.candidates += other.candidates;
        self.sampled += other.sampled;
        self.narrow_candidates += other.narrow_candidates;
    }
}

/// Memory of threads between their tasks.
#[derive(Default)]
pub(crate) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    /// Does a task with memory of one before, if there is some.
    pub fn with(&self, task: impl FnOnce(&mut Scratch)) {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept().pop();
        let mut scratch = last.unwrap_or_default();
        task(&mut scratch);
        kept().push(scratch);
    }

    /// What was found since this was last asked.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = kept.iter_mut().map(|s| std::mem::take(&mut s.tally));
        each.for_each(|one| tally += one);
        tally
    }
}
