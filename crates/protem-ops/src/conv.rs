//! Convolution without bias: forward, gradient of the input, gradient of the weights.
//!
//! Each output pixel is a sum over its taps of `batch × in` by `in × out` products.
//! Neighbouring pixels with the same taps are one product with more rows. Taps outside the image
//! do not exist, so padding costs nothing, and in a 4×4 map saves a third of the work.
//!
//! This file is the geometry; `direct` computes in f32, and so does `winograd`, with fewer products where
//! the kernel is 3×3 and channels are many; `tiled` computes in bf16 where the level multiplies that
//! ([`Isa::multiplies_bf16`]). Elsewhere bf16 maps are computed in f32, from rounded operands.

mod direct;
mod shares;
#[cfg(target_arch = "x86_64")]
mod tiled;
mod weights;
mod winograd;

use crate::activation::{Activation, Map, Shape, into_map, same, with_map};
use crate::buffer::Pool;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::Finish;
use half::bf16;
use weights::{Role, Scaled};
use winograd::Tiling;

/// The geometry of a convolution with square kernel and equal strides and paddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Side of the kernel in pixels.
    pub kernel: usize,
    /// Step between output pixels, in input pixels.
    pub stride: usize,
    /// Border of zeros around the input, in pixels.
    pub padding: usize,
}

/// What an evaluation pass does with a convolution's result, in the same breath: batch norm with
/// fixed statistics is a scale and a shift by channel.
#[derive(Debug, Clone, Copy)]
pub struct Folded<'a> {
    /// Factor of each output channel's weights.
    pub scale: &'a [f32],
    /// Added to each output channel.
    pub shift: &'a [f32],
    /// A map added to the result.
    pub added: Option<&'a Activation>,
    /// `max(0, ·)` at the end.
    pub relu: bool,
}

impl Conv {
    /// Number of weights: `outputs × inputs × kernel × kernel`.
    pub fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Shape of the result for an input of this shape.
    ///
    /// # Panics
    /// If the channels are not this convolution's, one of its numbers but the padding is zero, or the
    /// padded input is smaller than the kernel.
    pub fn output(&self, input: Shape) -> Shape {
        assert_eq!(input.channels, self.inputs, "channels of the input");
        let numbers = [self.inputs, self.outputs, self.kernel, self.stride];
        assert!(!numbers.contains(&0), "a convolution of something");
        let side = |len: usize| {
            let padded = len + 2 * self.padding;
            assert!(padded >= self.kernel, "input smaller than the kernel");
            (padded - self.kernel) / self.stride + 1
        };
        input.with(side(input.height), side(input.width), self.outputs)
    }

    /// `y = w * x`. Weights in torchvision's order: out, in, row, column.
    ///
    /// # Panics
    /// If the number of weights or the channels do not fit.
    pub fn forward(&self, pool: &Pool, weights: &[f32], x: &Activation) -> Activation {
        let weights = self.scaled(weights, None);
        self.outputs_of(pool, weights, x, (None, None, false))
    }

    /// `y = relu(scale·(w * x) + shift + added)`: a convolution and what follows it in evaluation.
    ///
    /// # Panics
    /// As [`Self::forward`], or if a part of `folded` has another size or precision.
    pub fn forward_folded(
        &self,
        pool: &Pool,
        weights: &[f32],
        folded: &Folded,
        x: &Activation,
    ) -> Activation {
        assert_eq!(folded.scale.len(), self.outputs, "channels of the scale");
        assert_eq!(folded.shift.len(), self.outputs, "channels of the shift");
        let weights = self.scaled(weights, Some(folded.scale));
        self.outputs_of(
            pool,
            weights,
            x,
            (Some(folded.shift), folded.added, folded.relu),
        )
    }

    fn outputs_of(
        &self,
        pool: &Pool,
        weights: Scaled,
        x: &Activation,
        (bias, added, relu): (Option<&[f32]>, Option<&Activation>, bool),
    ) -> Activation {
        fn typed<T: Computed>(
            pool: &Pool,
            weights: Scaled,
            x: &Map<T>,
            (bias, added, relu): (Option<&[f32]>, Option<&Activation>, bool),
        ) -> Activation {
            let shape = weights.conv.output(x.shape);
            let finish = Finish {
                bias,
                added: added.map(|map| {
                    assert_eq!(map.shape(), shape, "shape of the added map");
                    &same::<T>(map).data[..]
                }),
                onto: false,
                relu,
            };
            let to = Map::uninit(pool, shape);
            T::wrap(T::convolve(pool, weights, Role::Forward, x, to, &finish))
        }
        let finish = (bias, added, relu);
        with_map!(x, x => typed(pool, weights, x, finish))
    }

    /// `∂L/∂x` from `∂L/∂y`, for an input of shape `input`; added to `onto`, if it is given, a gradient
    /// of the same input by another way, in whose memory the result comes back.
    ///
    /// # Panics
    /// If the shapes or precisions do not belong together.
    pub fn input_gradient(
        &self,
        pool: &Pool,
        weights: &[f32],
        dy: &Activation,
        input: Shape,
        onto: Option<Activation>,
    ) -> Activation {
        fn typed<T: Computed>(
            pool: &Pool,
            weights: Scaled,
            dy: &Map<T>,
            input: Shape,
            onto: Option<Activation>,
        ) -> Activation {
            let finish = Finish {
                onto: onto.is_some(),
                ..Finish::nothing()
            };
            let to = onto.map_or_else(|| Map::uninit(pool, input), into_map);
            assert_eq!(to.shape, input, "shape of the other gradient");
            T::wrap(T::convolve(
                pool,
                weights,
                Role::InputGradient,
                dy,
                to,
                &finish,
            ))
        }
        assert_eq!(dy.shape(), self.output(input), "shape of the gradient");
        let weights = self.scaled(weights, None);
        with_map!(dy, dy => typed(pool, weights, dy, input, onto))
    }

    /// `∂L/∂w` (out, in, row, column) from the input and `∂L/∂y`, written over `gradient`.
    ///
    /// Every weight's sum runs over pixels and images in one fixed order, whatever the number of
    /// threads: they divide the weights, not the pixels.
    ///
    /// # Panics
    /// If the shapes or precisions do not belong together.
    pub fn weight_gradient(
        &self,
        pool: &Pool,
        x: &Activation,
        dy: &Activation,
        gradient: &mut [f32],
    ) {
        assert_eq!(dy.shape(), self.output(x.shape()), "shape of the gradient");
        assert_eq!(gradient.len(), self.weights(), "number of weights");
        with_map!(x, x => Computed::weight_gradient(pool, self, x, same(dy), gradient))
    }

    fn scaled<'a>(&self, values: &'a [f32], scale: Option<&'a [f32]>) -> Scaled<'a> {
        assert_eq!(values.len(), self.weights(), "number of weights");
        Scaled {
            conv: *self,
            values,
            scale,
        }
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The input pixel that a tap of an output pixel reads, if it is inside the image.
    fn input_of(&self, input: Shape, row: usize, column: usize, tap: usize) -> Option<usize> {
        let y = (row * self.stride + tap / self.kernel).checked_sub(self.padding)?;
        let x = (column * self.stride + tap % self.kernel).checked_sub(self.padding)?;
        (y < input.height && x < input.width).then(|| y * input.width + x)
    }

    /// Adds the taps of a pixel, given by row and column, of the result that `role` asks for.
    fn taps_of(self, role: Role, from: Shape) -> impl Fn(usize, usize, &mut Vec<Tap>) + Sync {
        move |row, column, taps| match role {
            Role::Forward => self.taps_of_output(from, row, column, taps),
            Role::InputGradient => self.taps_of_input(from, row, column, taps),
        }
    }

    fn taps_of_output(&self, input: Shape, row: usize, column: usize, out: &mut Vec<Tap>) {
        out.extend((0..self.taps()).filter_map(|tap| {
            let pixel = self.input_of(input, row, column, tap)?;
            Some(Tap { tap, pixel })
        }));
    }

    fn taps_of_input(&self, output: Shape, row: usize, column: usize, out: &mut Vec<Tap>) {
        let back = |at: usize, tap: usize, len: usize| {
            let steps = (at + self.padding).checked_sub(tap)?;
            (steps.is_multiple_of(self.stride) && steps / self.stride < len)
                .then(|| steps / self.stride)
        };
        out.extend((0..self.taps()).filter_map(|tap| {
            let y = back(row, tap / self.kernel, output.height)?;
            let x = back(column, tap % self.kernel, output.width)?;
            let pixel = y * output.width + x;
            Some(Tap { tap, pixel })
        }));
    }
}

/// Numbers that convolutions can be computed in.
trait Computed: Element {
    /// Every pixel of `to` = the finished sum over its taps of a pixel of `from` times the tap's
    /// weights.
    fn convolve(
        pool: &Pool,
        weights: Scaled,
        role: Role,
        from: &Map<Self>,
        to: Map<Self>,
        finish: &Finish<Self>,
    ) -> Map<Self>;

    /// As [`Conv::weight_gradient`].
    fn weight_gradient(
        pool: &Pool,
        conv: &Conv,
        x: &Map<Self>,
        dy: &Map<Self>,
        gradient: &mut [f32],
    );
}

impl Computed for f32 {
    fn convolve(
        pool: &Pool,
        weights: Scaled,
        role: Role,
        from: &Map<f32>,
        to: Map<f32>,
        finish: &Finish<f32>,
    ) -> Map<f32> {
        convolve(pool, weights, role, from, to, finish, |w| w)
    }

    fn weight_gradient(
        pool: &Pool,
        conv: &Conv,
        x: &Map<f32>,
        dy: &Map<f32>,
        gradient: &mut [f32],
    ) {
        weight_gradient(pool, conv, x, dy, gradient);
    }
}

impl Computed for bf16 {
    fn convolve(
        pool: &Pool,
        weights: Scaled,
        role: Role,
        from: &Map<bf16>,
        to: Map<bf16>,
        finish: &Finish<bf16>,
    ) -> Map<bf16> {
        #[cfg(target_arch = "x86_64")]
        if Isa::current().multiplies_bf16() {
            let packed = weights.tiles(pool, role);
            let taps_of = weights.conv.taps_of(role, from.shape);
            return tiled::convolve(pool, &packed, from, to, taps_of, finish);
        }
        let sums = convolve(
            pool,
            weights,
            role,
            &from.converted(pool),
            Map::uninit(pool, to.shape),
            &Finish::nothing(),
            |w| bf16::narrow(w).widen(),
        );
        let mut out = to;
        direct::finish_all(&sums, &mut out, finish);
        out
    }

    fn weight_gradient(
        pool: &Pool,
        conv: &Conv,
        x: &Map<bf16>,
        dy: &Map<bf16>,
        gradient: &mut [f32],
    ) {
        #[cfg(target_arch = "x86_64")]
        if Isa::current().multiplies_bf16() {
            return tiled::weight_gradient(pool, conv, x, dy, gradient);
        }
        let (x, dy) = (x.converted(pool), dy.converted(pool));
        weight_gradient(pool, conv, &x, &dy, gradient);
    }
}

/// [`Computed::convolve`] in f32, from weights as they are rounded: in tiles where that takes less.
fn convolve(
    pool: &Pool,
    weights: Scaled,
    role: Role,
    from: &Map<f32>,
    to: Map<f32>,
    finish: &Finish<f32>,
    round: impl Fn(f32) -> f32 + Sync,
) -> Map<f32> {
    let conv = &weights.conv;
    if let Some(tiling) = Tiling::of(conv, role, from.shape, to.shape) {
        let packed = weights.points(pool, role, round);
        return winograd::convolve(pool, &tiling, &packed, from, to, finish);
    }
    let packed = weights.panels(pool, role, round);
    let taps_of = conv.taps_of(role, from.shape);
    direct::convolve(&packed, from, to, taps_of, finish)
}

/// [`Computed::weight_gradient`] in the same way.
fn weight_gradient(pool: &Pool, conv: &Conv, x: &Map<f32>, dy: &Map<f32>, gradient: &mut [f32]) {
    match Tiling::of(conv, Role::Forward, x.shape, dy.shape) {
        Some(tiling) => winograd::weight_gradient(pool, conv, &tiling, x, dy, gradient),
        None => direct::weight_gradient(pool, conv, x, dy, gradient),
    }
}

/// One product of a pixel's sum: which weights, and which pixel they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tap {
    tap: usize,
    pixel: usize,
}

/// Neighbouring pixels, in reading order, whose taps are the same, each a pixel further on.
struct Run {
    first: usize,
    pixels: usize,
    taps: Vec<Tap>,
}

/// The runs of some pixels of a map `width` wide.
fn runs_of(
    pixels: std::ops::Range<usize>,
    width: usize,
    taps_of: impl Fn(usize, usize, &mut Vec<Tap>),
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for pixel in pixels {
        let mut taps = Vec::new();
        taps_of(pixel / width, pixel % width, &mut taps);
        if let Some(last) = runs.last_mut() {
            let follows = |(a, b): (&Tap, &Tap)| a.tap == b.tap && a.pixel + last.pixels == b.pixel;
            if last.taps.len() == taps.len() && last.taps.iter().zip(&taps).all(follows) {
                last.pixels += 1;
                continue;
            }
        }
        runs.push(Run {
            first: pixel,
            pixels: 1,
            taps,
        });
    }
    runs
}
