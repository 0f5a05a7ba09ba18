//! A batch of feature maps, in the layout that only this crate knows.

use crate::buffer::{Buffer, Pool};
use crate::element::{Element, Precision};
use half::bf16;
use rayon::prelude::*;

/// Height, width, batch and channels of a batch of feature maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Images in the batch.
    pub batch: usize,
    /// Values per pixel and image.
    pub channels: usize,
}

impl Shape {
    /// Number of values.
    ///
    /// # Panics
    /// If that is beyond memory.
    pub fn len(&self) -> usize {
        let sides = [self.width, self.batch, self.channels];
        let len = sides
            .iter()
            .try_fold(self.height, |len, n| len.checked_mul(*n));
        len.expect("a shape within memory")
    }

    /// True when there is not one value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of one pixel over the batch: the contiguous unit of the layout.
    pub(crate) fn pixel(&self) -> usize {
        self.batch * self.channels
    }

    pub(crate) fn with(self, height: usize, width: usize, channels: usize) -> Self {
        Self {
            height,
            width,
            channels,
            ..self
        }
    }
}

/// A batch of feature maps of one kind of number, in pooled memory.
///
/// The batch lies inside the pixel (height, width, batch, channel): every tap of a convolution
/// is then one plain matrix product over the batch, a border pixel simply has fewer taps, and a
/// stride costs nothing. A map of 1×1 pixels is a row-major `batch × channels` matrix.
#[derive(Debug)]
pub struct Map<T> {
    pub(crate) shape: Shape,
    pub(crate) data: Buffer<T>,
}

impl<T: Element> Map<T> {
    /// A map with arbitrary contents, to be overwritten whole.
    pub(crate) fn uninit(pool: &Pool, shape: Shape) -> Self {
        Self {
            shape,
            data: pool.take(shape.len()),
        }
    }

    /// The same values as another kind of number.
    pub(crate) fn converted<U: Element>(&self, pool: &Pool) -> Map<U> {
        let mut out = Map::uninit(pool, self.shape);
        each_row(&mut out, |pixels, out| {
            convert(&self.data[pixels.start..pixels.end], out);
        });
        out
    }
}

crate::kernel::vectorised! {
    fn convert<T: Element, U: Element>(from: &[T], to: &mut [U]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = U::narrow(from.widen());
        }
    }
}

/// Calls `f` on each row of pixels and its place, in any order and on all threads.
pub(crate) fn each_row<T: Element>(
    map: &mut Map<T>,
    f: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) {
    let row = (map.shape.width * map.shape.pixel()).max(1);
    let chunks = map.data.par_chunks_mut(row).enumerate();
    chunks.for_each(|(i, chunk)| f(i * row..i * row + chunk.len(), chunk));
}

/// A batch of feature maps. Which of the two it is says how results made from it are computed
/// and stored.
#[derive(Debug)]
pub enum Activation {
    /// 32-bit floating point.
    F32(Map<f32>),
    /// bfloat16.
    Bf16(Map<bf16>),
}

/// Evaluates an expression with the map inside an [`Activation`], whatever its numbers.
macro_rules! with_map {
    ($activation:expr, $map:ident => $body:expr) => {
        match $activation {
            $crate::Activation::F32($map) => $body,
            $crate::Activation::Bf16($map) => $body,
        }
    };
}
pub(crate) use with_map;

/// The map inside, which one layer's operands must agree on.
pub(crate) fn same<T: Element>(activation: &Activation) -> &Map<T> {
    T::map_of(activation).expect("operands of one layer have one precision")
}

/// The same of an owned map.
pub(crate) fn into_map<T: Element>(activation: Activation) -> Map<T> {
    T::into_map(activation).expect("operands of one layer have one precision")
}

impl Activation {
    /// From 8-bit images, `batch × height × width × 3`, scaled to `(x/255 − mean)/std` by channel.
    ///
    /// # Panics
    /// If `images` does not hold `batch·height·width·3` bytes.
    pub fn from_images(
        pool: &Pool,
        precision: Precision,
        images: &[u8],
        (batch, height, width): (usize, usize, usize),
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Self {
        let shape = Shape {
            height,
            width,
            batch,
            channels: 3,
        };
        assert_eq!(images.len(), shape.len(), "bytes of the batch");
        match precision {
            Precision::F32 => Self::F32(scaled(pool, images, shape, mean, std)),
            Precision::Bf16 => Self::Bf16(scaled(pool, images, shape, mean, std)),
        }
    }

    /// From `batch × channels × height × width` values, PyTorch's order.
    ///
    /// # Panics
    /// If `values` does not hold as many as `shape`.
    pub fn from_nchw(pool: &Pool, precision: Precision, values: &[f32], shape: Shape) -> Self {
        assert_eq!(values.len(), shape.len(), "values of the batch");
        fn filled<T: Element>(pool: &Pool, values: &[f32], shape: Shape) -> Map<T> {
            let mut out = Map::uninit(pool, shape);
            for_each_nchw(shape, |nchw, at| out.data[at] = T::narrow(values[nchw]));
            out
        }
        match precision {
            Precision::F32 => Self::F32(filled(pool, values, shape)),
            Precision::Bf16 => Self::Bf16(filled(pool, values, shape)),
        }
    }

    /// As `batch × channels × height × width` values, PyTorch's order.
    pub fn to_nchw(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape().len()];
        with_map!(self, map => {
            for_each_nchw(map.shape, |nchw, at| out[nchw] = map.data[at].widen());
        });
        out
    }

    /// From a row-major `batch × channels` matrix, as a map of one pixel, in f32.
    ///
    /// # Panics
    /// If `values` does not hold `batch·channels` of them.
    pub fn from_matrix(pool: &Pool, values: &[f32], batch: usize, channels: usize) -> Self {
        let shape = Shape {
            height: 1,
            width: 1,
            batch,
            channels,
        };
        assert_eq!(values.len(), shape.len(), "values of the matrix");
        let mut out = Map::uninit(pool, shape);
        out.data.copy_from_slice(values);
        Self::F32(out)
    }

    /// The row-major `batch × channels` matrix of an f32 map of one pixel; `None` for other maps.
    pub fn as_matrix(&self) -> Option<&[f32]> {
        match self {
            Self::F32(map) if map.shape.height * map.shape.width == 1 => Some(&map.data),
            _ => None,
        }
    }

    /// Height, width, batch, channels.
    pub fn shape(&self) -> Shape {
        with_map!(self, map => map.shape)
    }

    /// The numbers it is stored in.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::Bf16(_) => Precision::Bf16,
        }
    }
}

fn scaled<T: Element>(
    pool: &Pool,
    images: &[u8],
    shape: Shape,
    mean: [f32; 3],
    std: [f32; 3],
) -> Map<T> {
    let scale = std.map(|s| 1.0 / (255.0 * s));
    let shift: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
    let image = shape.height * shape.width * 3;
    let mut out = Map::uninit(pool, shape);
    if shape.batch == 1 {
        // A row's values lie side by side, in the image as in the map: with as many factors, the
        // loop is one of vectors.
        let repeated = |of: [f32; 3]| of.repeat(shape.width);
        let (scale, shift) = (repeated(scale), repeated(shift));
        each_row(&mut out, |values, row| {
            let terms = images[values].iter().zip(&scale).zip(&shift);
            for (value, ((byte, scale), shift)) in row.iter_mut().zip(terms) {
                *value = T::narrow(f32::from(*byte) * scale + shift);
            }
        });
        return out;
    }
    each_row(&mut out, |values, row| {
        let first = values.start / shape.pixel();
        for (p, pixel) in row.chunks_exact_mut(shape.pixel()).enumerate() {
            for (n, values) in pixel.chunks_exact_mut(3).enumerate() {
                let rgb = &images[n * image + (first + p) * 3..][..3];
                for c in 0..3 {
                    values[c] = T::narrow(rgb[c] as f32 * scale[c] + shift[c]);
                }
            }
        }
    });
    out
}

fn for_each_nchw(s: Shape, mut f: impl FnMut(usize, usize)) {
    let pixels = s.height * s.width;
    for p in 0..pixels {
        for n in 0..s.batch {
            for c in 0..s.channels {
                f(
                    (n * s.channels + c) * pixels + p,
                    (p * s.batch + n) * s.channels + c,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three times this batch is one value, as far as 64 bits can tell.
    #[test]
    #[should_panic(expected = "a shape within memory")]
    fn a_shape_beyond_memory_is_none() {
        let shape = (0xAAAA_AAAA_AAAA_AAAB, 1, 1);
        let pool = Pool::default();
        let _ = Activation::from_images(&pool, Precision::F32, &[7], shape, [0.0; 3], [1.0; 3]);
    }
}
