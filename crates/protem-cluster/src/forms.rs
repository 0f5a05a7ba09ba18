//! Which form points are packed in: by what assignments cost in each, in cycles of a point at 128 columns,
//! and by what the ones before left in question. Only a matter of speed.

use crate::centroids::Centroids;
use crate::integers::Integers;
use crate::isa::Isa;
use crate::kernel::{self, LANES};
use crate::matrix::Matrix;
use crate::points::{Form, Points, sampled_every};
use crate::scratch::Tally;
use crate::settings::KMeans;
use crate::sketch::{Axes, LONGEST, SHORTEST, Sketch};
use crate::span::{Nearest, nearest};

/// Groups in question with floats, about; measured, as what follows.
const USUAL: f64 = 1.1;
/// Groups more in question with integers: in a first assignment, and in others.
const MORE_AT_FIRST: f64 = 2.0;
const MORE: f64 = 0.3;
/// Groups in question with sketches in a first assignment.
const SKETCHED_AT_FIRST: f64 = 30.0;
/// What packing a point anew costs, and beside that a value of its sketch.
const REPACK: f64 = 500.0;
const SKETCH_VALUE: f64 = 20.0;

/// Points that sketches are tried with, and from which on they are.
const TRIED: usize = 256;
const MANY: usize = 16 * TRIED;
/// Columns from which on axes are found by half of the points that the origin is.
const MANY_COLUMNS: usize = 512;
/// What finding an axis costs, of all points together.
const AXIS: f64 = 1.2e5;
/// Assignments that are counted on: more may not follow.
const FORESEEN: f64 = 10.0;
/// What half of those passes must cost for sketches to be tried, in times of what they cost before one.
const HOPE: f64 = 3.0;
/// The share of an assignment's cost that sketches must save.
const WORTH: f64 = 0.1;
/// The share of all groups in question from which on no more sketches are tried.
const HOPELESS: f64 = 0.5;
/// What half the squares of centroids' lengths differ by, at least, as a share of the largest: drawn ones
/// may differ by less than those that follow.
const LEAST_APART: f64 = 0.01;

/// What was found out about forms in one clustering.
pub(crate) struct Forms {
    k: usize,
    iterations: usize,
    /// Whether integers were tried and given up, and sketches.
    no_integers: bool,
    no_sketches: bool,
    /// Groups in question of a point in the last full comparison, about.
    candidates: f64,
    /// Of the points, once they are found.
    axes: Option<Axes>,
}

impl Forms {
    pub fn new(kmeans: &KMeans) -> Self {
        Self {
            k: kmeans.k,
            iterations: kmeans.iterations,
            no_integers: false,
            no_sketches: false,
            candidates: USUAL + MORE_AT_FIRST,
            axes: None,
        }
    }

    fn groups(&self) -> f64 {
        self.k.div_ceil(LANES) as f64
    }

    /// What integers save a point in a pass.
    fn saved_by_integers(&self, isa: Isa) -> f64 {
        self.groups() * (isa.group_cycles(false) - isa.group_cycles(true))
    }

    /// The form without sketches that a restart is to begin with, from centroids that will not move much
    /// if it is `warm`; none if points have it, or have sketches.
    pub fn at_first(&self, points: &Points<'_>, warm: bool) -> Option<Form> {
        let later = self.iterations.saturating_sub(1) as f64;
        let saved = self.saved_by_integers(points.isa) * (later + 1.0);
        let more = (MORE_AT_FIRST + MORE * later) * points.isa.candidate_cycles(true);
        let pays = saved > more;
        let narrow = points.turn().is_some();
        let wanted = points.integers.is_some() && !self.no_integers && (pays || warm && narrow);
        let needed = !points.packed || wanted != narrow && points.sketch().is_none();
        needed.then_some(match wanted {
            true => Form::Integers,
            false => Form::Floats,
        })
    }

    /// The form that is better for the assignments to follow, if it is another, by what the last one
    /// found; whether that had labels to begin with.
    pub fn after(
        &mut self,
        points: &Points<'_>,
        tally: &Tally,
        had_labels: bool,
        to_follow: usize,
    ) -> Option<Form> {
        if tally.points == 0 {
            return None;
        }
        let of = |count: usize, points: usize| count as f64 / points as f64;
        self.candidates = of(tally.candidates, tally.points);
        let questions = (self.candidates - USUAL) * points.candidate_cycles();
        match points.form {
            // Those without labels leave many in question.
            Form::Sketch(_) if !had_labels => None,
            Form::Sketch(_) => {
                let narrow = points.integers.is_some() && !self.no_integers;
                let whole = points.isa.group_cycles(narrow);
                self.no_sketches |= questions > self.groups() * (whole - points.group_cycles());
                self.no_sketches.then_some(match narrow {
                    true => Form::Integers,
                    false => Form::Floats,
                })
            }
            Form::Integers => {
                self.no_integers |= questions > self.saved_by_integers(points.isa);
                self.no_integers.then_some(Form::Floats)
            }
            Form::Floats => {
                let narrow = of(tally.narrow_candidates, tally.sampled);
                let more = narrow * points.isa.candidate_cycles(true)
                    - self.candidates * points.candidate_cycles();
                let saved = self.saved_by_integers(points.isa) - more;
                let pays = saved * to_follow as f64 > REPACK;
                (tally.sampled > 0 && !self.no_integers && pays).then_some(Form::Integers)
            }
        }
    }

    /// Whether sketches are tried before there are labels, where points are `narrow` or else floats.
    pub fn sketches_at_first(&self, points: &Points<'_>, narrow: bool) -> bool {
        let pass = self.groups() * points.isa.group_cycles(narrow);
        pass / 2.0 > 2.0 * SKETCHED_AT_FIRST * points.isa.candidate_cycles(true)
    }

    /// Sketches of the length that pays best for an assignment to `rows` and those to follow, if any does,
    /// by trials with some of the points. Without them points are `narrow`, or else floats. There are
    /// `labels` from the second assignment on; `centroids` are packed on the way.
    pub fn sketches(
        &mut self,
        points: &Points<'_>,
        rows: Matrix<'_>,
        labels: Option<&[u32]>,
        narrow: bool,
        to_follow: usize,
        centroids: &mut Centroids,
    ) -> Option<Form> {
        let width = points.isa.integers()?;
        let columns = rows.cols();
        let possible = points.sketch().is_none()
            && columns >= 2 * SHORTEST
            && Integers::suits(columns, points.typical);
        let at_first = labels.is_some() || self.sketches_at_first(points, narrow);
        let groups = self.groups();
        let pass = groups * points.isa.group_cycles(narrow);
        let follow = (to_follow as f64 + 1.0).min(FORESEEN);
        if self.no_sketches || !possible || !at_first || !self.may_pay(points, pass * follow) {
            return None;
        }
        let longest = longest(columns);
        let axes = self
            .axes
            .get_or_insert_with(|| axes(points, longest - Sketch::BESIDE));
        let every = points.rows.rows() / TRIED;
        let known: Option<Vec<u32>> =
            labels.map(|labels| labels.iter().copied().step_by(every).collect());
        let bias = bias(points, rows, points.typical);
        let now = pass + self.candidates * points.isa.candidate_cycles(narrow);
        // From the longest on, until shorter ones cost more.
        let (mut length, mut least, mut best) = (longest, f64::INFINITY, None);
        while length >= SHORTEST {
            let sketch = Sketch::new(axes, length, width, bias);
            let mut some = points.some(every);
            some.repack(Form::Sketch(sketch));
            let candidates = in_question(&mut some, rows, known.clone(), centroids);
            self.no_sketches |= length == longest && candidates > HOPELESS * groups;
            let of_centroids = self.k as f64 / points.rows.rows() as f64;
            let packing = sketching(columns, length);
            let cost = groups * some.group_cycles()
                + candidates * some.candidate_cycles()
                + of_centroids * packing;
            if self.no_sketches || cost > least {
                break;
            }
            let saved = now - cost;
            if saved > WORTH * now && saved * follow > REPACK + packing {
                best = Some(some.form);
            }
            (length, least) = (length / 2, cost);
        }
        best
    }

    /// Whether sketches may pay where passes of a point are to cost so much.
    fn may_pay(&self, points: &Points<'_>, passes: f64) -> bool {
        let (n, columns) = (points.rows.rows(), points.rows.cols());
        let longest = longest(columns);
        let packing = REPACK + sketching(columns, SHORTEST);
        // Each length half of the one before.
        let trials = self.k as f64 * (REPACK + 2.0 * sketching(columns, longest));
        let finding = match self.axes {
            Some(_) => 0.0,
            None => AXIS * longest as f64,
        };
        let all = n as f64;
        n >= MANY && all * passes / 2.0 > HOPE * (all * packing + trials + finding)
    }
}

/// The longest sketch of points of so many columns: the largest power of two in half of them, at most.
fn longest(columns: usize) -> usize {
    let power = 1 << (columns.max(2) / 2).ilog2();
    LONGEST.min(power)
}

/// What a sketch of so many values costs; of many columns, axes are not in the cache.
fn sketching(columns: usize, values: usize) -> f64 {
    SKETCH_VALUE * values as f64 * (1.0 + columns as f64 / 8192.0)
}

/// The form for points that are to be compared with `k` centroids once.
pub(crate) fn once(points: &Points<'_>, k: usize) -> Form {
    let saved = points.isa.group_cycles(false) - points.isa.group_cycles(true);
    let packing = match points.tiled() {
        true => 0.0,
        false => REPACK,
    };
    let more = MORE_AT_FIRST * points.isa.candidate_cycles(true);
    let pays = saved * k.div_ceil(LANES) as f64 > more + packing;
    match pays && points.integers.is_some() {
        true => Form::Integers,
        false => Form::Floats,
    }
}

/// Axes of points, by some of them.
fn axes(points: &Points<'_>, count: usize) -> Axes {
    let share = if points.rows.cols() > MANY_COLUMNS {
        2
    } else {
        1
    };
    let every = share * sampled_every(points.rows.rows());
    Axes::of(points.rows.every(every), &points.origin, count, points.isa)
}

/// A good last value of the sketches of points, see [`Sketch::new`].
fn bias(points: &Points<'_>, rows: Matrix<'_>, typical: f64) -> f32 {
    let square = |c| f64::from(kernel::distance(points.isa, rows.row(c), &points.origin));
    let squares = (0..rows.rows()).map(square);
    let (least, most) = squares.fold((f64::INFINITY, 0.0f64), |(least, most), square| {
        (least.min(square), most.max(square))
    });
    let apart = ((most - least) / 4.0).max(LEAST_APART * most);
    let bias = (apart * typical / most.sqrt()).sqrt() as f32;
    // Where all centroids are at the origin, any will do.
    if bias.is_normal() {
        bias
    } else {
        typical as f32
    }
}

/// Groups in question of a point, by labels if they are known.
fn in_question(
    points: &mut Points<'_>,
    rows: Matrix<'_>,
    known: Option<Vec<u32>>,
    centroids: &mut Centroids,
) -> f64 {
    points.square_all();
    centroids.pack(rows, points);
    let n = points.rows.rows();
    let near = Nearest {
        known: known.is_some(),
        labels: &mut known.unwrap_or_else(|| vec![0; n]),
        distances: &mut vec![0.0; n],
    };
    nearest(points, rows, centroids, near);
    let tally = centroids.scratches.tally();
    tally.candidates as f64 / tally.points as f64
}
