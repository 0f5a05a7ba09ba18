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
    let mut by_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut keep = Vec::new();
    for i in 0..source.len() {
        match source.label(i) {
            Some(label) => by_class.entry(label).or_default().push(i as u32),
            None => keep.push(i as u32),
        }
    }
    let mut held_out = Vec::new();
    for (class, mut images) in by_class {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(class));
        images.shuffle(&mut rng);
        let most = images.len().saturating_sub(1);
        let count = ((images.len() as f64 * fraction).round() as usize)
            .max(1)
            .min(most);
        keep.extend(images.split_off(count));
        held_out.extend(images);
    }
    keep.sort_unstable();
    held_out.sort_unstable();
    (keep, held_out)
}
