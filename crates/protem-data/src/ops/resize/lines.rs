//! Resizing line by line, on any processor.
//!
//! Both passes are weighted sums of lines. Along columns a whole line is one vector operation after
//! another; along rows it would be one pixel at a time. So the sums know columns only, and the
//! picture is turned between.

use super::{BITS, Job, Taps};
use crate::ops::in_vectors;
use crate::ops::planes::Planes;

/// Three bytes of a pixel.
type Pixel = [u8; 3];

/// Does the whole job.
pub(super) fn run(job: &Job, out: &mut Planes) {
    let (w, h) = (job.crop.width as usize, job.crop.height as usize);
    let first = job.crop.top as usize * job.stride + job.crop.left as usize;
    let (pixels, _) = job.pixels.as_chunks::<3>();
    let columns = transposed(pixels, first, job.stride, w, h);
    let columns = scale_lines(&columns, h, &job.columns);
    let rows = transposed(&columns, 0, h, h, out.width);
    let scaled = scale_lines(&rows, out.width, &job.rows);
    let [r, g, b] = &mut out.channels;
    for (((r, g), b), pixel) in r.iter_mut().zip(g).zip(b).zip(scaled) {
        [*r, *g, *b] = pixel;
    }
}

/// Columns of the rectangle of `width × height` pixels at `first`, one after another; rows of the
/// picture are `stride` pixels long.
fn transposed(
    pixels: &[Pixel],
    first: usize,
    stride: usize,
    width: usize,
    height: usize,
) -> Vec<Pixel> {
    /// Columns taken together, so that lines of the cache are used up.
    const TOGETHER: usize = 64;
    let mut out = vec![[0; 3]; width * height];
    for (block, columns) in out.chunks_mut((TOGETHER * height).max(1)).enumerate() {
        let rows = pixels[first + block * TOGETHER..].chunks(stride);
        for (y, row) in rows.take(height).enumerate() {
            for (column, pixel) in columns.chunks_exact_mut(height).zip(row) {
                column[y] = *pixel;
            }
        }
    }
    out
}

/// New lines as weighted sums of `lines`, each of `len` pixels.
fn scale_lines(lines: &[Pixel], len: usize, taps: &Taps) -> Vec<Pixel> {
    let mut out = vec![[0; 3]; len * taps.first.len()];
    in_vectors(ScaleLines {
        lines: lines.as_flattened(),
        len: len * 3,
        taps,
        out: out.as_flattened_mut(),
    });
    out
}

struct ScaleLines<'a> {
    lines: &'a [u8],
    len: usize,
    taps: &'a Taps,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for ScaleLines<'_> {
    type Output = ();

    #[inline(always)] // to be compiled for the processor's vectors
    fn call(self) {
        let mut sums = vec![0; self.len];
        let new_lines = self.out.chunks_exact_mut(self.len);
        for (line, (first, weights)) in new_lines.zip(self.taps.each()) {
            sums.fill(1 << (BITS - 1));
            let sources = self.lines[first * self.len..].chunks_exact(self.len);
            for (weight, source) in weights.iter().zip(sources) {
                if *weight == 0 {
                    continue;
                }
                for (sum, byte) in sums.iter_mut().zip(source) {
                    *sum += weight * i32::from(*byte);
                }
            }
            for (byte, sum) in line.iter_mut().zip(&sums) {
                *byte = (sum >> BITS) as u8; // weights add to one: never above 255
            }
        }
    }
}
