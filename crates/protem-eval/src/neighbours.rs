//! The most similar of many images, by exact comparison with all.

use crate::products::rows_by_rows;
use crate::{EvalError, Features};
use rayon::prelude::*;
use std::cmp::Ordering;

/// An image, and its cosine similarity to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similar {
    /// Its row.
    pub image: u32,
    /// Within `[-1, 1]`, to a multiple of 2⁻¹⁸ (4e-6): `f32` gives no more, and so that of equal features
    /// is 1.
    pub similarity: f32,
}

impl Similar {
    /// Without what rounding made of the similarity.
    pub(crate) fn rounded(self) -> Self {
        Self {
            similarity: rounded(self.similarity),
            ..self
        }
    }
}

/// A similarity without what rounding made of it.
pub(crate) fn rounded(similarity: f32) -> f32 {
    const STEPS: f32 = (1 << 18) as f32;
    (similarity.clamp(-1.0, 1.0) * STEPS).round() / STEPS
}

/// Images whose similarities to a tile are one matrix product.
pub(crate) const BLOCK: usize = 64;
/// Images of a tile at most: half a megabyte of similarities, which stays in a core's cache.
pub(crate) const TILE: usize = 2048;

/// The `k` images (one at least, and no more than there are) most similar to each query, the most
/// similar first; of equally similar ones the first. A row of zeros has similarity 0 to all. Both are to be
/// normalised ([`Features::normalised`]). `progress` is told the number of queries done and answers whether
/// to go on; nothing if it does not.
///
/// # Errors
/// Queries of other dimensions than the images.
pub fn nearest(
    images: &Features,
    queries: &Features,
    k: usize,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<Vec<Similar>>>, EvalError> {
    EvalError::counted("dimensions of queries", queries.dim(), images.dim())?;
    let rounded = |near: Vec<Similar>| {
        let mut near: Vec<Similar> = near.into_iter().map(Similar::rounded).collect();
        near.sort_by(nearer);
        near
    };
    Ok(of_each(images, queries, k, &rounded, progress))
}

/// What `with` makes of the `k` images nearest to each query. Both are normalised.
pub(crate) fn of_each<T: Send>(
    images: &Features,
    queries: &Features,
    k: usize,
    with: &(dyn Fn(Vec<Similar>) -> T + Sync),
    progress: &mut dyn FnMut(usize) -> bool,
) -> Option<Vec<T>> {
    let k = k.clamp(1, images.rows());
    let mut found = Vec::with_capacity(queries.rows());
    // A block for each thread, and a look at whether to go on.
    for blocks in queries
        .values()
        .chunks(BLOCK * queries.dim() * rayon::current_num_threads())
    {
        let of_blocks = blocks
            .par_chunks(BLOCK * queries.dim())
            .flat_map_iter(|block| {
                let mut all = vec![Nearest::of(k); block.len() / queries.dim()];
                similarities(block, images.values(), images.dim(), |row, first, some| {
                    all[row].look_at(some, first);
                });
                all.into_iter().map(|near| with(near.first()))
            });
        found.par_extend(of_blocks);
        if !progress(found.len()) {
            return None;
        }
    }
    Some(found)
}

/// Tells `look` the similarities of each row of `block` to all rows of `images`, in parts: which row, the
/// number of the first image of the part, and the similarities. For a row the parts ascend.
pub(crate) fn similarities(
    block: &[f32],
    images: &[f32],
    dim: usize,
    mut look: impl FnMut(usize, usize, &[f32]),
) {
    let (rows, all) = (block.len() / dim, images.len() / dim);
    // Tiles of about equal width: of few columns products are summed in another order, and equal images
    // would not be equally near.
    let width = all.div_ceil(all.div_ceil(TILE));
    let mut products = vec![0.0; rows * width];
    for (tile, images) in images.chunks(width * dim).enumerate() {
        let columns = images.len() / dim;
        let products = &mut products[..rows * columns];
        rows_by_rows(block, images, dim, products);
        for (row, some) in products.chunks_exact(columns).enumerate() {
            look(row, tile * width, some);
        }
    }
}

/// Similarities that are passed over together.
pub(crate) const TOGETHER: usize = 16;

/// The largest of some similarities.
pub(crate) fn largest(similarities: &[f32]) -> f32 {
    similarities
        .iter()
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b))
}

/// The `k` largest of the similarities seen, and some that may be.
#[derive(Debug, Clone)]
struct Nearest {
    k: usize,
    candidates: Vec<Similar>,
    /// What a similarity must exceed: `k` candidates are at least this, and came before.
    least: f32,
}

impl Nearest {
    fn of(k: usize) -> Self {
        Self {
            k,
            candidates: Vec::new(),
            least: f32::NEG_INFINITY,
        }
    }

    /// Similarities of the images from `first` on, which come after all that were looked at.
    fn look_at(&mut self, similarities: &[f32], first: usize) {
        for (at, some) in similarities.chunks(TOGETHER).enumerate() {
            if largest(some) <= self.least {
                continue;
            }
            for (i, &similarity) in some.iter().enumerate() {
                if similarity > self.least {
                    let image = (first + at * TOGETHER + i) as u32;
                    self.candidates.push(Similar { image, similarity });
                }
            }
            if self.candidates.len() >= 2 * self.k.max(TOGETHER) {
                self.cut();
            }
        }
    }

    /// Leaves the `k` nearest.
    fn cut(&mut self) {
        if self.candidates.len() > self.k {
            let (_, least, _) = self.candidates.select_nth_unstable_by(self.k - 1, nearer);
            self.least = least.similarity;
            self.candidates.truncate(self.k);
        }
    }

    /// The `k` nearest, the nearest first.
    fn first(mut self) -> Vec<Similar> {
        self.cut();
        self.candidates.sort_unstable_by(nearer);
        self.candidates
    }
}

/// The larger similarity first, of equal ones the image that comes first.
fn nearer(a: &Similar, b: &Similar) -> Ordering {
    let by_similarity = b.similarity.partial_cmp(&a.similarity);
    by_similarity
        .unwrap_or(Ordering::Equal)
        .then(a.image.cmp(&b.image))
}
