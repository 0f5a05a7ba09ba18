//! The best scores of a line of points, as a pass leaves them.

use crate::isa::Isa;
use crate::kernel::{self, Highest, LANES, Lanes};
use crate::points::{Points, Rounding};
use crate::window::Window;

/// The best scores of up to 16 points in each group.
pub(crate) struct Part<'p> {
    pub isa: Isa,
    /// `best[group · parts + part]`.
    pub best: &'p [Lanes],
    pub highest: &'p Highest,
    pub parts: usize,
    pub part: usize,
    /// What scores are higher by than meant.
    pub offset: f32,
    /// How many lanes are points.
    pub count: usize,
    /// The first point within the span, or the places of the points within it.
    pub first: usize,
    pub chosen: Option<&'p [u32]>,
}

/// What a pass, whose scores are higher by an offset, has at least for a centroid that truly has this score of
/// a point or more; of a window that leaves nothing out, or a score that overflowed and is no number, −∞.
#[inline]
pub(crate) fn least(rounding: &Rounding, score: f32, window: f32, offset: f32) -> f32 {
    if window == f32::MAX {
        return f32::NEG_INFINITY;
    }
    let least = (score - window / 2.0 + offset) / rounding.scale;
    least.max(f32::NEG_INFINITY)
}

impl Part<'_> {
    /// The point in a lane, within the span.
    #[inline]
    pub fn point(&self, lane: usize) -> usize {
        self.chosen
            .map_or(self.first + lane, |c| c[self.first + lane] as usize)
    }

    /// The best scores of the first `groups` groups.
    pub fn top(&self, groups: usize) -> kernel::Top {
        let best = &self.best[..groups * self.parts];
        kernel::top(self.isa, best, self.parts, self.part)
    }

    /// These scores in the lanes of points; other lanes reach for nothing.
    pub fn only_points(&self, scores: &[f32; LANES]) -> Lanes {
        let mut threshold = Lanes::all(f32::INFINITY);
        threshold.0[..self.count].copy_from_slice(&scores[..self.count]);
        threshold
    }

    /// See [`least`].
    #[inline]
    pub fn least(&self, rounding: &Rounding, score: f32, window: f32) -> f32 {
        least(rounding, score, window, self.offset)
    }

    /// What a score of a point stands for that the pass has.
    #[inline]
    pub fn score(&self, rounding: &Rounding, passed: f32) -> f32 {
        passed * rounding.scale - self.offset
    }

    /// The scores that can be those of nearest centroids: within a window of each point's highest, unless
    /// scores may be too high, and within half of one of what is `known` of the nearest one's, that it is
    /// not lower. Lanes beyond the last point reach for nothing.
    pub fn threshold(
        &self,
        points: &Points<'_>,
        begin: usize,
        window: &Window,
        known: Option<&[f32]>,
    ) -> Lanes {
        let mut threshold = Lanes::all(f32::INFINITY);
        let tells_least = points.sketch().is_none();
        for lane in 0..self.count {
            let at = self.point(lane);
            let rounding = points.rounding(begin + at);
            let window = window.of(&rounding);
            let of_highest = match tells_least {
                true => self.highest.best.0[lane] - window,
                false => f32::NEG_INFINITY,
            };
            threshold.0[lane] = known.map_or(of_highest, |known| {
                self.least(&rounding, known[at], window).max(of_highest)
            });
        }
        threshold
    }

    /// Lanes whose threshold one centroid alone reaches, bit by bit.
    pub fn decided(&self, threshold: &Lanes) -> u16 {
        let pairs = self.highest.second.0.iter().zip(&threshold.0);
        let bits = pairs.map(|(second, threshold)| u16::from(second < threshold));
        bits.enumerate()
            .fold(0, |all, (lane, bit)| all | bit << lane)
    }

    /// Calls `found(group, lane)` wherever a best score reaches the lane's threshold.
    #[inline]
    pub fn reaching(&self, threshold: &Lanes, mut found: impl FnMut(usize, usize)) {
        let (best, parts, part) = (self.best, self.parts, self.part);
        kernel::reaching(
            self.isa,
            best,
            parts,
            part,
            threshold,
            &mut |group, mask| {
                let mut left = mask;
                while left != 0 {
                    found(group, left.trailing_zeros() as usize);
                    left &= left - 1;
                }
            },
        );
    }
}
