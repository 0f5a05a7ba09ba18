//! A picture as three planes of bytes: what colours and the blur are computed on, since there every
//! line is one vector operation after another.

use super::in_vectors;
use image::RgbImage;

/// One byte a pixel and channel, rows one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Planes {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue: `width × height` bytes each.
    pub channels: [Vec<u8>; 3],
}

impl Planes {
    /// The planes of a picture.
    pub fn of(image: &RgbImage) -> Self {
        let mut planes = Self::default();
        planes.shape(image.width() as usize, image.height() as usize);
        in_vectors(Split {
            pixels: image,
            planes: &mut planes,
        });
        planes
    }

    /// Makes room for `width × height` pixels, whose bytes are any.
    pub fn shape(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        for channel in &mut self.channels {
            channel.resize(width * height, 0);
        }
    }

    /// Writes pixels as `height × width × 3` bytes.
    pub fn write(&self, out: &mut [u8]) {
        in_vectors(Join {
            planes: self,
            pixels: out,
        });
    }

    /// Mirrors left and right.
    pub fn flip(&mut self) {
        in_vectors(Flip(self));
    }
}

struct Split<'a> {
    pixels: &'a [u8],
    planes: &'a mut Planes,
}

impl pulp::NullaryFnOnce for Split<'_> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors, as those below
    fn call(self) {
        let [r, g, b] = &mut self.planes.channels;
        let (pixels, _) = self.pixels.as_chunks::<3>();
        for (((r, g), b), pixel) in r.iter_mut().zip(g).zip(b).zip(pixels) {
            [*r, *g, *b] = *pixel;
        }
    }
}

struct Join<'a> {
    planes: &'a Planes,
    pixels: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [r, g, b] = &self.planes.channels;
        let (pixels, _) = self.pixels.as_chunks_mut::<3>();
        for (((pixel, r), g), b) in pixels.iter_mut().zip(r).zip(g).zip(b) {
            *pixel = [*r, *g, *b];
        }
    }
}

struct Flip<'a>(&'a mut Planes);

impl pulp::NullaryFnOnce for Flip<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for channel in &mut self.0.channels {
            for row in channel.chunks_exact_mut(self.0.width) {
                row.reverse();
            }
        }
    }
}
