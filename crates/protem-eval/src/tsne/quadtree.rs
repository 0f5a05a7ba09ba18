//! How points of the plane push each other apart, many at once: a tree of squares (Barnes and Hut 1986,
//! van der Maaten 2014).

use rayon::prelude::*;

/// Points that walk through the tree together: those of a leaf at most.
const LANES: usize = 8;
/// Halvings of the square around all points: those that are still in one lie at one place.
const LEVELS: u32 = 30;

/// A square that holds points, with all squares within it behind it.
struct Square {
    /// Mean of its points.
    centre: [f64; 2],
    points: f64,
    /// The square of its side.
    side_squared: f64,
    /// The first square behind it that is not within it.
    behind: u32,
    /// Its points where no square is within it, as places in the tree's order.
    from: u32,
    to: u32,
}

/// What the other points do to a point: `Σ q²(y − yⱼ)` and `Σ q`, with `q = 1/(1 + ‖y − yⱼ‖²)`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Push {
    pub force: [f64; 2],
    pub weight: f64,
}

/// The tree over some points.
pub struct Quadtree {
    squares: Vec<Square>,
    /// Which point is at a place.
    order: Vec<u32>,
    /// Where it is.
    x: Vec<f64>,
    y: Vec<f64>,
    /// Two bits for each level at each place.
    keys: Vec<u64>,
    /// Side of the square around all.
    side: f64,
    /// Points of one leaf, up to [`LANES`], as places.
    groups: Vec<(u32, u32)>,
}

impl Quadtree {
    /// Of some points, which are finite.
    pub fn of(points: &[[f64; 2]]) -> Self {
        let bound = |axis: usize, start: f64, choose: fn(f64, f64) -> f64| {
            points.iter().map(|p| p[axis]).fold(start, choose)
        };
        let low = [0, 1].map(|axis| bound(axis, f64::INFINITY, f64::min));
        let high = [0, 1].map(|axis| bound(axis, f64::NEG_INFINITY, f64::max));
        let side = (high[0] - low[0]).max(high[1] - low[1]);
        let cells = f64::from(1u32 << LEVELS);
        let key = |point: &[f64; 2]| {
            let [x, y] = [0, 1].map(|axis| match side > 0.0 {
                true => ((point[axis] - low[axis]) / side * cells).min(cells - 1.0) as u64,
                false => 0,
            });
            spread(x) << 1 | spread(y)
        };
        let numbered = (0u32..).zip(points);
        let mut sorted: Vec<(u64, u32)> = numbered.map(|(i, point)| (key(point), i)).collect();
        sorted.par_sort_unstable();
        let (keys, order): (Vec<u64>, Vec<u32>) = sorted.into_iter().unzip();
        let at = |axis: usize| order.iter().map(|i| points[*i as usize][axis]).collect();
        let mut tree = Self {
            squares: Vec::with_capacity(points.len()),
            x: at(0),
            y: at(1),
            order,
            keys,
            side,
            groups: Vec::with_capacity(points.len() / 2),
        };
        tree.grow(0, points.len(), 0);
        tree
    }

    /// Adds the square of these places, which share `level` pairs of bits, and those within it; answers
    /// the sum of its points.
    fn grow(&mut self, from: usize, to: usize, mut level: u32) -> [f64; 2] {
        // The smallest square that holds them all.
        let apart = self.keys[from] ^ self.keys[to - 1];
        let shared = (apart.leading_zeros() - (64 - 2 * LEVELS)) / 2;
        let leaf = to - from <= LANES || shared == LEVELS;
        level = level.max(shared);
        let own = self.squares.len();
        let side = self.side / f64::from(1u32 << level);
        self.squares.push(Square {
            centre: [0.0; 2],
            points: (to - from) as f64,
            side_squared: side * side,
            behind: 0,
            from: from as u32,
            to: if leaf { to } else { from } as u32,
        });
        let sum = match leaf {
            true => {
                let starts = (from..to).step_by(LANES);
                let groups = starts.map(|at| (at as u32, to.min(at + LANES) as u32));
                self.groups.extend(groups);
                [&self.x, &self.y].map(|at| at[from..to].iter().sum())
            }
            false => self.grow_within(from, to, level),
        };
        let behind = self.squares.len() as u32;
        let square = &mut self.squares[own];
        square.behind = behind;
        square.centre = sum.map(|sum| sum / square.points);
        sum
    }

    fn grow_within(&mut self, from: usize, to: usize, level: u32) -> [f64; 2] {
        let quarter = |key: &u64| key >> (2 * (LEVELS - level - 1)) & 3;
        let (mut sum, mut at) = ([0.0; 2], from);
        while at < to {
            let which = quarter(&self.keys[at]);
            let end = at + self.keys[at..to].partition_point(|key| quarter(key) == which);
            let of_part = self.grow(at, end, level + 1);
            sum = [sum[0] + of_part[0], sum[1] + of_part[1]];
            at = end;
        }
        sum
    }

    /// What all other points do to each point. A square is taken for as many points at its centre where
    /// its side is less than `theta` times its distance; with 0 none is, but for one of no extent.
    pub fn pushes(&self, theta: f64) -> Vec<Push> {
        let groups = self.groups.par_iter();
        let found: Vec<[Push; LANES]> = groups
            .map(|group| self.walk(*group, theta * theta))
            .collect();
        let mut pushes = vec![Push::default(); self.order.len()];
        for ((from, to), found) in self.groups.iter().zip(found) {
            for (place, push) in (*from..*to).zip(found) {
                pushes[self.order[place as usize] as usize] = push;
            }
        }
        pushes
    }

    fn walk(&self, (from, to): (u32, u32), theta_squared: f64) -> [Push; LANES] {
        let (from, to) = (from as usize, to as usize);
        let mut lanes = Lanes::of(&self.x[from..to], &self.y[from..to]);
        let mut at = 0;
        while let Some(square) = self.squares.get(at) {
            let far = square.side_squared < theta_squared * lanes.distance_squared(square.centre);
            let places = square.from as usize..square.to as usize;
            at = match far || places.len() > LANES {
                true => {
                    lanes.pushed_by(square.centre, square.points);
                    square.behind as usize
                }
                false => {
                    for place in places {
                        lanes.pushed_by([self.x[place], self.y[place]], 1.0);
                    }
                    at + 1
                }
            };
        }
        lanes.pushes()
    }
}

/// A number of [`LEVELS`] bits with a zero before each.
fn spread(number: u64) -> u64 {
    let halves = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    halves
        .into_iter()
        .fold(number, |bits, (by, mask)| (bits | bits << by) & mask)
}

/// Points that are near each other, and what was done to them so far.
struct Lanes {
    x: [f64; LANES],
    y: [f64; LANES],
    low: [f64; 2],
    high: [f64; 2],
    force_x: [f64; LANES],
    force_y: [f64; LANES],
    weight: [f64; LANES],
}

impl Lanes {
    /// Of one to [`LANES`] points; lanes that are left have the last one.
    fn of(x: &[f64], y: &[f64]) -> Self {
        let filled = |from: &[f64]| std::array::from_fn(|i| from[i.min(from.len() - 1)]);
        let low = |from: &[f64]| from.iter().copied().fold(f64::INFINITY, f64::min);
        let high = |from: &[f64]| from.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            x: filled(x),
            y: filled(y),
            low: [low(x), low(y)],
            high: [high(x), high(y)],
            force_x: [0.0; LANES],
            force_y: [0.0; LANES],
            weight: [0.0; LANES],
        }
    }

    /// From the rectangle around them.
    fn distance_squared(&self, to: [f64; 2]) -> f64 {
        let along = |axis: usize| {
            let (low, high) = (self.low[axis] - to[axis], to[axis] - self.high[axis]);
            low.max(high).max(0.0)
        };
        let (x, y) = (along(0), along(1));
        x * x + y * y
    }

    fn pushed_by(&mut self, [x, y]: [f64; 2], points: f64) {
        for i in 0..LANES {
            let (dx, dy) = (self.x[i] - x, self.y[i] - y);
            let q = 1.0 / (1.0 + (dx * dx + dy * dy));
            let weight = points * q;
            self.weight[i] += weight;
            self.force_x[i] += weight * q * dx;
            self.force_y[i] += weight * q * dy;
        }
    }

    /// Without what points do to themselves: no force, and a weight of 1.
    fn pushes(&self) -> [Push; LANES] {
        std::array::from_fn(|i| Push {
            force: [self.force_x[i], self.force_y[i]],
            weight: self.weight[i] - 1.0,
        })
    }
}
