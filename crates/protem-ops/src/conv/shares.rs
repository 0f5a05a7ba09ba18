//! How a convolution's result is divided among threads.

use super::Run;
use crate::activation::Shape;
use rayon::prelude::*;
use std::ops::Range;

/// Images of a pixel that are not divided further: fewer rows are a bad deal for the weights that
/// are read for them. Blocks of bf16 have as many.
const IMAGES: usize = 32;

/// A map in shares of neighbouring pixels or, where it has few, of some images of one pixel.
pub(super) struct Shares {
    shape: Shape,
    pixels: usize,
    images: usize,
}

/// What one thread computes at a time.
pub(super) struct Share {
    /// The first of its values in the map.
    pub at: usize,
    /// The first of its images.
    pub image: usize,
    pub images: usize,
    /// The first of its pixels, in reading order.
    pub first: usize,
    pub pixels: usize,
}

impl Shares {
    /// Of at most `most` pixels, and at least `each` for every thread where the map has as many
    /// pixels, or pixels and images.
    pub fn of(shape: Shape, most: usize, each: usize) -> Self {
        let all = (shape.height * shape.width).max(1);
        let wanted = each * rayon::current_num_threads();
        let parts = wanted.div_ceil(all);
        Self {
            shape,
            pixels: all.div_ceil(wanted).clamp(1, most.max(1)),
            images: shape.batch.div_ceil(parts).next_multiple_of(IMAGES),
        }
    }

    /// Calls `f` with each share and its values, in any order and on all threads.
    pub fn each<T: Send>(&self, values: &mut [T], f: impl Fn(&Share, &mut [T]) + Sync) {
        let Shape {
            batch, channels, ..
        } = self.shape;
        let pixel = (batch * channels).max(1);
        let divided = self.pixels == 1 && self.images < batch;
        let pixels = values.par_chunks_mut(self.pixels * pixel).enumerate();
        pixels.for_each(|(i, values)| {
            let first = i * self.pixels;
            if !divided {
                let share = Share {
                    at: first * pixel,
                    image: 0,
                    images: batch,
                    first,
                    pixels: values.len() / pixel,
                };
                return f(&share, values);
            }
            let parts = values.par_chunks_mut(self.images * channels).enumerate();
            parts.for_each(|(part, values)| {
                let image = part * self.images;
                let share = Share {
                    at: first * pixel + image * channels,
                    image,
                    images: values.len() / channels,
                    first,
                    pixels: 1,
                };
                f(&share, values);
            });
        });
    }
}

impl Share {
    /// Its pixels, in reading order.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.pixels
    }

    /// Rows of channels of its values: where those of a run of its pixels begin, and how many they are.
    pub fn rows_of(&self, run: &Run) -> (usize, usize) {
        let at = (run.first - self.first) * self.images;
        (at, run.pixels * self.images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Lengths of the shares of a map, on so many threads; checks that they make up the map.
    fn lengths(threads: usize, shape: Shape, most: usize, each: usize) -> Vec<usize> {
        let mut map = vec![0u8; shape.len()];
        let found = Mutex::new(Vec::new());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            Shares::of(shape, most, each).each(&mut map, |share, values| {
                values.iter_mut().for_each(|times| *times += 1);
                assert_eq!(values.len(), share.pixels * share.images * shape.channels);
                let row = share.first * shape.batch + share.image;
                assert_eq!(share.at, row * shape.channels);
                let mut found = found.lock().expect("no panic");
                found.push((share.at, values.len()));
            });
        });
        assert!(map.iter().all(|times| *times == 1), "{shape:?}");
        let mut found = found.into_inner().expect("no panic");
        found.sort_unstable();
        found.into_iter().map(|(_, len)| len).collect()
    }

    fn shape((height, width, batch): (usize, usize, usize)) -> Shape {
        Shape {
            height,
            width,
            batch,
            channels: 3,
        }
    }

    #[test]
    fn shares_make_up_the_map() {
        let shapes = [(1, 1, 1), (1, 1, 97), (3, 2, 65), (5, 7, 33), (4, 4, 0)];
        for of in shapes {
            for threads in [1, 2, 16] {
                lengths(threads, shape(of), 3, 4);
            }
        }
    }

    #[test]
    fn threads_have_shares_where_a_map_has_few_pixels() {
        let lengths = |threads, of, most, each| lengths(threads, shape(of), most, each);
        assert_eq!(lengths(1, (4, 4, 8), 100, 2), [3 * 8 * 8; 2]);
        assert_eq!(lengths(1, (4, 4, 8), 4, 2), [3 * 8 * 4; 4]);
        assert_eq!(lengths(8, (4, 4, 8), 4, 2), [3 * 8; 16]);
        assert_eq!(lengths(2, (1, 1, 128), 1, 2), [3 * 32; 4]);
        assert_eq!(lengths(16, (1, 1, 80), 1, 2), [3 * 32, 3 * 32, 3 * 16]);
        assert_eq!(lengths(2, (2, 2, 64), 2, 4), [3 * 32; 8]);
    }
}
