//! Points by a few coordinates and the length of the rest.
//!
//! Features spread along some directions far more than along others. On the few axes they spread along
//! most, with the length of what those leave as one coordinate more, points and centroids have *sketches*,
//! whose product is at least that of the vectors themselves: `a·b = Σ aᵢbᵢ + a⊥·b⊥ ≤ Σ aᵢbᵢ + |a⊥||b⊥|`
//! (Cauchy and Schwarz). So a pass over sketches finds scores that no centroid exceeds. How much lower
//! it scores they do not tell; but where a centroid is known that is near a point, only the groups that
//! may hold a nearer one are left, and a pass over half of the columns or a thirtieth of them will do.
//!
//! Half the square of a centroid's length is one coordinate more, beside the same for all points, the bias:
//! so a score is a product alone, and each point may be rounded to integers of its own scale.

use crate::integers::{Integers, Width, mixed};
use crate::isa::Isa;
use crate::kernel::{self, LANES, Lanes};
use crate::matrix::Matrix;
use crate::window::round_up;
use rayon::prelude::*;

/// Steps of the iteration that turns axes to where points spread most.
const STEPS: usize = 3;
/// Columns of which all products are computed at less cost than those of points with axes.
const FEW_COLUMNS: usize = 512;
/// What is left of an axis, of its length, from which on it is one of its own.
const INDEPENDENT: f32 = 1e-5;
/// Columns whose products are summed by themselves, so that sums have few roundings.
const BLOCK: usize = 64;
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Lines of values that are in registers at once.
const HELD: usize = 4;
/// Values of the shortest sketch; longer ones have twice as many as the one before.
pub(crate) const SHORTEST: usize = HELD * LANES;
/// The longest sketch that is tried.
pub(crate) const LONGEST: usize = 256;

/// Axes at right angles, along which points spread most: the first ones most of all.
pub(crate) struct Axes(Vec<Vec<f32>>);

impl Axes {
    /// Up to `count` axes for points moved by this origin.
    ///
    /// Orthogonal iteration: axes become sums of the points by their products with them (of few columns, by
    /// way of the products of columns), and are brought to right angles again, the first ones first.
    pub fn of(points: Matrix<'_>, origin: &[f32], count: usize, isa: Isa) -> Self {
        let columns = points.cols();
        let moved = (0..points.rows()).into_par_iter().map(|i| {
            let row = points.row(i).iter().zip(origin);
            row.map(|(x, o)| x - o).collect::<Vec<f32>>()
        });
        let moved: Vec<Vec<f32>> = moved.collect();
        let products = (columns <= FEW_COLUMNS).then(|| products(&moved, columns, isa));
        let random = |axis: usize| {
            let of = |i: usize| match mixed((axis * columns + i) as u64) >> 63 {
                0 => 1.0,
                _ => -1.0,
            };
            (0..columns).map(of).collect()
        };
        let mut axes: Vec<Vec<f32>> = (0..count).map(random).collect();
        let next = |axis: &Vec<f32>| match &products {
            Some(rows) => rows.iter().map(|row| kernel::dot(isa, row, axis)).collect(),
            None => along(&moved, axis, isa),
        };
        for _ in 0..STEPS {
            axes = at_right_angles(axes.par_iter().map(next).collect(), isa);
        }
        Self(at_right_angles(axes, isa))
    }
}

/// The products of columns with one another over all points, the largest of them 1.
fn products(points: &[Vec<f32>], columns: usize, isa: Isa) -> Vec<Vec<f32>> {
    let of_column = |column: usize| {
        let mut sum = vec![0.0; columns];
        for point in points {
            kernel::add_scaled(isa, point, point[column], &mut sum);
        }
        sum
    };
    let mut products: Vec<Vec<f32>> = (0..columns).into_par_iter().map(of_column).collect();
    let all = products.iter().flatten();
    let largest = all.fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    products.iter_mut().flatten().for_each(|x| *x /= largest);
    products
}

/// The sum of points by their products with an axis.
fn along(points: &[Vec<f32>], axis: &[f32], isa: Isa) -> Vec<f32> {
    let mut sum = vec![0.0; axis.len()];
    for point in points {
        kernel::add_scaled(isa, point, kernel::dot(isa, point, axis), &mut sum);
    }
    sum
}

/// Axes at right angles to those before them, of length 1; without those that the others hold. Once leaves
/// them at right angles roughly, and once more what rounding lets them.
fn at_right_angles(axes: Vec<Vec<f32>>, isa: Isa) -> Vec<Vec<f32>> {
    let mut done: Vec<Vec<f32>> = Vec::new();
    for mut axis in axes {
        let before = length(&axis, isa);
        for other in &done {
            kernel::add_scaled(isa, other, -kernel::dot(isa, other, &axis), &mut axis);
        }
        let after = length(&axis, isa);
        if after.is_normal() && after > INDEPENDENT * before {
            axis.iter_mut().for_each(|x| *x /= after);
            done.push(axis);
        }
    }
    done
}

fn length(axis: &[f32], isa: Isa) -> f32 {
    kernel::squares64(isa, axis).sqrt() as f32
}

/// What makes sketches.
pub(crate) struct Sketch {
    /// For each 64 axes in turn and each column, its values on them; zeros where there is no axis.
    columns: Vec<[Lanes; HELD]>,
    /// Values of a sketch.
    len: usize,
    /// How far `Σ aᵢbᵢ` lies from the product of what of a and b lies in the axes' span, at most, as a
    /// share of `|a||b|`: the axes are not quite of length 1 and at right angles.
    skew: f64,
    /// How far computed coordinates lie from true ones, at most, as a share of the length.
    rounding: f64,
    /// The last value of each point.
    bias: f32,
    /// As many zeros as a sketch has values.
    nothing: Vec<f32>,
    /// How sketches are rounded.
    pub turn: Integers,
}

impl Sketch {
    /// Values that are not on axes: the length of the rest and the bias.
    pub const BESIDE: usize = 2;

    /// Of so many values, a multiple of [`SHORTEST`]; `bias` decides how well half the squares of centroids
    /// are rounded, beside all else: the square root of what those differ by at most, divided by the length
    /// of the longest centroid and multiplied with that of points, is best.
    pub fn new(axes: &Axes, values: usize, width: Width, bias: f32) -> Self {
        let axes = &axes.0[..axes.0.len().min(values - Self::BESIDE)];
        let d = axes.first().map_or(0, Vec::len);
        let mut columns = vec![[Lanes::ZERO; HELD]; d * values / SHORTEST];
        for (at, axis) in axes.iter().enumerate() {
            let (lane, line) = (at % LANES, at / LANES % HELD);
            for (column, x) in columns[at / SHORTEST * d..].iter_mut().zip(axis) {
                column[line].0[lane] = *x;
            }
        }
        let skew = skew(axes);
        // Products are rounded and then added, in a block and over blocks.
        let roundings = (d.min(BLOCK) + d.div_ceil(BLOCK) + 2) as f64 * U;
        let rounding = roundings / (1.0 - roundings) * (axes.len() as f64).sqrt() * (1.0 + skew);
        Self {
            columns,
            len: values,
            skew,
            rounding,
            nothing: vec![0.0; values],
            bias,
            turn: Integers::new(width, values, 1.0),
        }
    }

    /// Values of a sketch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Makes the last value of a sketch one whose product with that of a point is this.
    pub fn put_bias(&self, values: &mut [f32], product: f64) {
        if let Some(last) = values.last_mut() {
            *last = (product / f64::from(self.bias)) as f32;
        }
    }

    /// What is to be subtracted from sketches.
    pub fn nothing(&self) -> &[f32] {
        &self.nothing
    }

    /// The share of `|a||b|` that `a·b` may exceed the product of their sketches by.
    pub fn excess(&self) -> f64 {
        // With â the computed coordinates, |â − a| ≤ rounding·|a|, of both; what the difference with the
        // origin rounded; and something to spare.
        self.skew + 2.0 * self.rounding + self.rounding.powi(2) + 3.0 * U + 2e-6
    }
}

/// How far the products of axes with one another lie from those of the coordinate axes, as a matrix, in the
/// spectral norm or more.
fn skew(axes: &[Vec<f32>]) -> f64 {
    let squares = axes.par_iter().enumerate().map(|(at, a)| {
        let beside: f64 = axes[..at].iter().map(|b| product(a, b).powi(2)).sum();
        2.0 * beside + (product(a, a) - 1.0).powi(2)
    });
    let squares: Vec<f64> = squares.collect();
    squares.iter().sum::<f64>().sqrt() * (1.0 + 1e-6) + 1e-9
}

/// `a·b` in f64.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}

/// The sketch of a point, `x − origin`: its coordinates, and last the length of the rest, or more, and the
/// bias.
///
/// With V the axes and G = VVᵀ, `|a⊥|² = |a|² − (Va)ᵀG⁻¹(Va) ≤ |a|² − |Va|²(1 − skew)`.
#[inline(always)]
pub(crate) fn sketch_of(x: &[f32], origin: &[f32], sketch: &Sketch, values: &mut [f32]) {
    values.fill(0.0);
    let (values, _) = values.as_chunks_mut::<LANES>();
    let mut squares = [0.0f64; LANES];
    for (x, o) in x.chunks(LANES).zip(origin.chunks(LANES)) {
        for ((sum, x), o) in squares.iter_mut().zip(x).zip(o) {
            let moved = f64::from(x - o);
            *sum += moved * moved;
        }
    }
    let whole = squares.iter().sum::<f64>().sqrt() * (1.0 + 1e-9);
    let (panels, _) = values.as_chunks_mut::<HELD>();
    for (values, columns) in panels.iter_mut().zip(sketch.columns.chunks_exact(x.len())) {
        let blocks = x.chunks(BLOCK).zip(origin.chunks(BLOCK));
        for ((x, o), columns) in blocks.zip(columns.chunks(BLOCK)) {
            let mut sums = [[0.0f32; LANES]; HELD];
            for ((x, o), axes) in x.iter().zip(o).zip(columns) {
                let moved = x - o;
                for (sums, axes) in sums.iter_mut().zip(axes) {
                    for (sum, axis) in sums.iter_mut().zip(&axes.0) {
                        *sum += moved * axis;
                    }
                }
            }
            for (values, sums) in values.iter_mut().zip(sums) {
                for (value, sum) in values.iter_mut().zip(sums) {
                    *value += sum;
                }
            }
        }
    }
    let mut squares = [0.0f64; LANES];
    for values in values.iter() {
        for (sum, value) in squares.iter_mut().zip(values) {
            *sum += f64::from(*value).powi(2);
        }
    }
    let within = squares.iter().sum::<f64>().sqrt() * (1.0 - 1e-9) - sketch.rounding * whole;
    let rest = whole.powi(2) - within.max(0.0).powi(2) * (1.0 - sketch.skew);
    if let Some(last) = values.last_mut() {
        last[LANES - 2] = round_up(rest.max(0.0).sqrt());
        last[LANES - 1] = sketch.bias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::mean;
    use crate::span::tests::numbers;

    /// Rows along few directions, and a little of all others.
    fn rows(n: usize, d: usize, along: usize) -> Vec<f32> {
        let (directions, shares) = (numbers(along * d, 3), numbers(n * along, 5));
        let mut values = numbers(n * d, 7);
        for (row, shares) in values.chunks_exact_mut(d).zip(shares.chunks_exact(along)) {
            for (i, x) in row.iter_mut().enumerate() {
                let of = |(at, share): (usize, &f32)| share * directions[at * d + i];
                *x = 0.02 * *x + shares.iter().enumerate().map(of).sum::<f32>();
            }
        }
        values
    }

    #[test]
    fn products_of_sketches_are_not_below_those_of_rows() {
        for (n, d, along, values) in [
            (40, 130, 3, 64),
            (300, 129, 20, 64),
            (300, 600, 40, 128),
            (700, 700, 40, 256),
            (9, 1, 1, 64),
        ] {
            let all = rows(n, d, along);
            let matrix = Matrix::new(&all, n, d).expect("the right length");
            let origin = mean(matrix);
            let axes = Axes::of(matrix, &origin, values - Sketch::BESIDE, Isa::Portable);
            let sketch = Sketch::new(&axes, values, Width::Bits8, 2.0);
            assert!(sketch.excess() < 1e-3, "{d}: {}", sketch.excess());
            let moved = |i: usize| -> Vec<f64> {
                let row = matrix.row(i).iter().zip(&origin);
                row.map(|(x, o)| f64::from(*x) - f64::from(*o)).collect()
            };
            let sketched = |i: usize| -> Vec<f64> {
                let mut found = vec![7.0; values];
                kernel::sketch_row(Isa::Portable, matrix.row(i), &origin, &sketch, &mut found);
                assert_eq!(found.pop(), Some(2.0), "the bias");
                found.into_iter().map(f64::from).collect()
            };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (mut least, mut most) = (f64::INFINITY, 0.0f64);
            for (i, j) in (0..n).map(|i| (i, (7 * i + 3) % n)) {
                let (a, b, sa, sb) = (moved(i), moved(j), sketched(i), sketched(j));
                let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
                assert!(dot(&sa, &sa) >= dot(&a, &a) * (1.0 - 1e-12), "not shorter");
                assert!(dot(&sa, &sa) <= dot(&a, &a) * (1.0 + sketch.excess()).powi(2));
                let above = (dot(&sa, &sb) - dot(&a, &b)) / lengths;
                (least, most) = (least.min(above), most.max(above));
            }
            assert!(least >= -sketch.excess(), "{d}: {least}");
            // Two rests: what lies along no axis is a fiftieth of a row.
            assert!(most < 0.1, "{d}: {most}");
        }
    }

    #[test]
    fn levels_make_the_same_sketches() {
        let (n, d) = (64, 200);
        let all = rows(n, d, 10);
        let matrix = Matrix::new(&all, n, d).expect("the right length");
        let origin = mean(matrix);
        let axes = Axes::of(matrix, &origin, 62, Isa::Portable);
        let sketch = Sketch::new(&axes, 64, Width::Bits8, 1.0);
        let of = |isa| {
            let mut found = vec![0.0; 64];
            kernel::sketch_row(isa, matrix.row(5), &origin, &sketch, &mut found);
            found
        };
        for isa in Isa::available() {
            assert_eq!(of(*isa), of(Isa::Portable), "{isa:?}");
            let same = Axes::of(matrix, &origin, 62, *isa);
            assert_eq!(same.0, axes.0, "{isa:?}");
        }
    }

    #[test]
    fn axes_are_at_right_angles_and_no_more_than_there_are_directions() {
        for (n, d, along) in [(50, 40, 40), (50, 40, 4), (600, 520, 30)] {
            let mut all = rows(n, d, along);
            if along == 4 {
                // Nothing but the four.
                let noise = numbers(n * d, 7);
                all.iter_mut()
                    .zip(noise)
                    .for_each(|(x, noise)| *x -= 0.02 * noise);
            }
            let matrix = Matrix::new(&all, n, d).expect("the right length");
            let axes = Axes::of(matrix, &mean(matrix), 62.min(d), Isa::Portable);
            assert!(skew(&axes.0) < 1e-5, "{d}: {}", skew(&axes.0));
            let expected = if along == 4 { 4..=4 } else { 35..=62.min(d) };
            assert!(expected.contains(&axes.0.len()), "{d}: {}", axes.0.len());
        }
        let nothing = vec![1.0; 30];
        let matrix = Matrix::new(&nothing, 10, 3).expect("the right length");
        let axes = Axes::of(matrix, &mean(matrix), 3, Isa::Portable);
        assert!(axes.0.is_empty(), "all rows are alike");
    }
}
