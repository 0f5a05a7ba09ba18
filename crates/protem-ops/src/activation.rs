//! A batch of feature maps, in the layout that only this crate knows.

use crate::buffer::{Buffer, Pool};

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
    pub fn len(&self) -> usize {
        self.height * self.width * self.batch * self.channels
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

/// A batch of feature maps in pooled memory.
///
/// The batch lies inside the pixel (height, width, batch, channel): every tap of a convolution
/// is then one plain matrix product over the batch, a border pixel simply has fewer taps, and a
/// stride costs nothing. A map of 1×1 pixels is a row-major `batch × channels` matrix.
#[derive(Debug)]
pub struct Activation {
    shape: Shape,
    pub(crate) data: Buffer,
}

impl Activation {
    /// A map with arbitrary contents, to be overwritten whole.
    pub(crate) fn uninit(pool: &Pool, shape: Shape) -> Self {
        Self {
            shape,
            data: pool.take(shape.len()),
        }
    }

    /// From 8-bit images, `batch × height × width × 3`, scaled to `(x/255 − mean)/std` by channel.
    ///
    /// # Panics
    /// If `images` does not hold `batch·height·width·3` bytes.
    pub fn from_images(
        pool: &Pool,
        images: &[u8],
        (batch, height, width): (usize, usize, usize),
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Self {
        assert_eq!(
            images.len(),
            batch * height * width * 3,
            "bytes of the batch"
        );
        let shape = Shape {
            height,
            width,
            batch,
            channels: 3,
        };
        let mut out = Self::uninit(pool, shape);
        let scale = std.map(|s| 1.0 / (255.0 * s));
        let shift: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
        let pixels = height * width;
        for (n, image) in images.chunks_exact(pixels * 3).enumerate() {
            for (p, rgb) in image.chunks_exact(3).enumerate() {
                let at = (p * batch + n) * 3;
                for c in 0..3 {
                    out.data[at + c] = rgb[c] as f32 * scale[c] + shift[c];
                }
            }
        }
        out
    }

    /// From `batch × channels × height × width` values, PyTorch's order.
    ///
    /// # Panics
    /// If `values` does not hold as many as `shape`.
    pub fn from_nchw(pool: &Pool, values: &[f32], shape: Shape) -> Self {
        assert_eq!(values.len(), shape.len(), "values of the batch");
        let mut out = Self::uninit(pool, shape);
        for_each_nchw(shape, |nchw, at| out.data[at] = values[nchw]);
        out
    }

    /// As `batch × channels × height × width` values, PyTorch's order.
    pub fn to_nchw(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.len()];
        for_each_nchw(self.shape, |nchw, at| out[nchw] = self.data[at]);
        out
    }

    /// From a row-major `batch × channels` matrix, as a map of one pixel.
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
        let mut out = Self::uninit(pool, shape);
        out.data.copy_from_slice(values);
        out
    }

    /// The row-major `batch × channels` matrix of a map of one pixel; `None` for larger maps.
    pub fn as_matrix(&self) -> Option<&[f32]> {
        (self.shape.height * self.shape.width == 1).then_some(&self.data[..])
    }

    /// Height, width, batch, channels.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Adds `other` to this map, value by value.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.shape, other.shape, "shapes of a sum");
        for (x, y) in self.data.iter_mut().zip(&other.data[..]) {
            *x += y;
        }
    }
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
