//! Pixels of a picture with rows and columns exchanged.
//!
//! Resize and blur work along both axes. Along columns a whole line is one vector operation after
//! another; along rows it would be one pixel at a time. So they know columns only, and the picture
//! is turned between.

/// Three bytes of a pixel.
pub(super) type Pixel = [u8; 3];

/// Columns of the rectangle of `width × height` pixels at `first`, one after another; rows of the
/// picture are `stride` pixels long.
pub(super) fn transposed(
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
