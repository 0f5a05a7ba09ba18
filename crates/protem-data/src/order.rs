//! Which image comes when.

use crate::source::Source;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// The order of an epoch's images: a permutation of `0..n` that follows from the seed and the
/// epoch alone.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    order.shuffle(&mut rng);
    order
}

/// Splits a source's images in two: those to keep, and `fraction` of every class (at least one
/// where a class has two) to hold out. Both ascending; images without a class are kept.
pub fn split_held_out(source: &dyn Source, fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let (mut keep, classes) = by_class(source, seed);
    let mut held_out = Vec::new();
    for mut images in classes {
        let count = share_of(&images, fraction).min(images.len() - 1);
        keep.extend(images.split_off(count));
        held_out.extend(images);
    }
    keep.sort_unstable();
    held_out.sort_unstable();
    (keep, held_out)
}

/// The images of `fraction` of every class, at least one of each. Ascending; none without a class.
pub fn draw_share(source: &dyn Source, fraction: f64, seed: u64) -> Vec<u32> {
    let (_, classes) = by_class(source, seed);
    let drawn = classes.into_iter().flat_map(|mut images| {
        images.truncate(share_of(&images, fraction));
        images
    });
    let mut drawn: Vec<u32> = drawn.collect();
    drawn.sort_unstable();
    drawn
}

/// The images without a class, and those of each in an order drawn for it.
fn by_class(source: &dyn Source, seed: u64) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut without = Vec::new();
    for i in 0..source.len() {
        match source.label(i) {
            Some(label) => classes.entry(label).or_default().push(i as u32),
            None => without.push(i as u32),
        }
    }
    let shuffled = classes.into_iter().map(|(class, mut images)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(class));
        images.shuffle(&mut rng);
        images
    });
    (without, shuffled.collect())
}

/// How many of some images a share of them is: one at least.
fn share_of(images: &[u32], fraction: f64) -> usize {
    ((images.len() as f64 * fraction).round() as usize).max(1)
}
