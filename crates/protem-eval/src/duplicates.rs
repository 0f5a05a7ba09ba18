//! Near duplicates: groups of images whose features are much alike.

use crate::neighbours::{BLOCK, Similar, TILE, TOGETHER, largest, rounded, similarities};
use crate::{EvalError, Features};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

/// Images that are much alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Two at least, ascending, each with its similarity to the one that is most similar to it.
    pub images: Vec<Similar>,
    /// The least similarity of any two of them, rounded as [`Similar::similarity`]: below the threshold where
    /// some are alike only by others between them.
    pub least: f32,
}

impl Group {
    /// Whether two of them are less alike than the threshold by which they were found.
    pub fn is_chain(&self, threshold: f32) -> bool {
        self.least < rounded(threshold)
    }
}

/// Groups of images of which each has a cosine similarity of at least `threshold` to another of its
/// group, and to none of the other groups: the connected components of all such pairs. The group with the
/// most similar pair comes first, of equals the one with the first image. A row of zeros is like none.
///
/// All pairs are compared, a block with a tile at a time, and those of a group again, to find its least;
/// what is kept grows with the images, not with the pairs. The features are normalised where they lie.
/// `progress` is told the number of images done and answers whether to go on; nothing if it does not.
///
/// # Errors
/// A threshold that does not lie above 0 and below 1.
pub fn duplicates(
    features: Features,
    threshold: f32,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<Group>>, EvalError> {
    if !(threshold > 0.0 && threshold < 1.0) {
        return Err(EvalError::Threshold { value: threshold });
    }
    let features = features.normalised();
    let found = Mutex::new(Components::of(features.rows()));
    let firsts: Vec<usize> = (0..features.rows()).step_by(BLOCK).collect();
    // A block for each thread, and a look at whether to go on.
    for blocks in firsts.chunks(rayon::current_num_threads()) {
        blocks
            .par_iter()
            .for_each(|first| pairs_from(*first, &features, threshold, &found));
        let last = blocks.last().map_or(0, |first| first + BLOCK);
        if !progress(last.min(features.rows())) {
            return Ok(None);
        }
    }
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let with_least = |images: Vec<Similar>| Group {
        least: least(&images, &features),
        images,
    };
    let groups = found.groups().into_par_iter().map(with_least);
    Ok(Some(groups.collect()))
}

/// The least similarity of any two of a group.
fn least(group: &[Similar], features: &Features) -> f32 {
    let known = group.iter().map(|image| image.similarity);
    let known = known.fold(1.0, f32::min);
    if group.len() == 2 {
        return known;
    }
    let rows = |images: &[Similar]| {
        let rows: Vec<usize> = images.iter().map(|image| image.image as usize).collect();
        features.some(&rows)
    };
    let mut least = known;
    // A tile of the group at a time lies together: all of it may be as large as the features.
    let width = group.len().div_ceil(group.len().div_ceil(TILE));
    for (tile, others) in group.chunks(width).enumerate() {
        let behind = &group[tile * width..];
        let others = rows(others);
        let of_block = |block: &[Similar]| {
            let mut least = f32::INFINITY;
            similarities(
                rows(block).values(),
                others.values(),
                features.dim(),
                |_, _, some| {
                    least = some.iter().fold(least, |a, b| a.min(*b));
                },
            );
            least
        };
        let of_tile = behind.par_chunks(BLOCK).map(of_block);
        least = least.min(of_tile.reduce(|| f32::INFINITY, f32::min));
    }
    rounded(least)
}

/// Joins the images of a block with those behind them that are like them.
fn pairs_from(first: usize, features: &Features, threshold: f32, found: &Mutex<Components>) {
    let dim = features.dim();
    let from_first = &features.values()[first * dim..];
    let block = &from_first[..from_first.len().min(BLOCK * dim)];
    let mut pairs: Vec<(u32, u32, f32)> = Vec::new();
    similarities(block, from_first, dim, |row, at, some| {
        for (chunk, some) in some.chunks(TOGETHER).enumerate() {
            if largest(some) < threshold {
                continue;
            }
            for (i, similarity) in some.iter().enumerate() {
                let other = at + chunk * TOGETHER + i;
                if *similarity >= threshold && other > row {
                    pairs.push(((first + row) as u32, (first + other) as u32, *similarity));
                }
            }
        }
        // At each part, so that there are never many.
        if !pairs.is_empty() {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            pairs.drain(..).for_each(|(a, b, s)| found.join(a, b, s));
        }
    });
}

/// Which images are of one group so far.
struct Components {
    /// Another image of the same group, with a lower number; the first of a group is its own.
    towards: Vec<u32>,
    /// The largest similarity of each image to another; -∞ without one.
    most: Vec<f32>,
}

impl Components {
    fn of(images: usize) -> Self {
        Self {
            towards: (0..images as u32).collect(),
            most: vec![f32::NEG_INFINITY; images],
        }
    }

    /// The first of an image's group; ways to it become half as long.
    fn first(&mut self, mut image: u32) -> u32 {
        while self.towards[image as usize] != image {
            let next = self.towards[image as usize];
            self.towards[image as usize] = self.towards[next as usize];
            image = next;
        }
        image
    }

    fn join(&mut self, a: u32, b: u32, similarity: f32) {
        for image in [a, b] {
            let most = &mut self.most[image as usize];
            *most = most.max(similarity);
        }
        let (a, b) = (self.first(a), self.first(b));
        self.towards[a.max(b) as usize] = a.min(b);
    }

    fn groups(mut self) -> Vec<Vec<Similar>> {
        let mut members = Vec::new();
        for image in 0..self.towards.len() as u32 {
            if self.most[image as usize] > f32::NEG_INFINITY {
                members.push((self.first(image), image));
            }
        }
        members.sort_unstable();
        let similar = |(_, image): &(u32, u32)| Similar {
            image: *image,
            similarity: self.most[*image as usize],
        };
        let mut groups: Vec<Vec<Similar>> = members
            .chunk_by(|a, b| a.0 == b.0)
            .map(|group| group.iter().map(similar).map(Similar::rounded).collect())
            .collect();
        // A stable sort: of equals the one with the first image stays before.
        groups.sort_by(|a, b| most(b).partial_cmp(&most(a)).unwrap_or(Ordering::Equal));
        groups
    }
}

/// The largest similarity of a group.
fn most(group: &[Similar]) -> f32 {
    let similarities = group.iter().map(|image| image.similarity);
    similarities.fold(f32::NEG_INFINITY, f32::max)
}
