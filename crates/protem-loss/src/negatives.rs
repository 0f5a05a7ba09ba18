//! Which prototypes a batch is contrasted with.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Keeps these draws apart from other users of the same seed.
const PURPOSE: u64 = u64::from_le_bytes(*b"protoneg");

/// Names one draw; equal streams draw equal negatives, whatever was drawn before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NegativeStream {
    /// The run's seed.
    pub seed: u64,
    /// The batch, counted from the start of the run.
    pub step: u64,
    /// The clustering's place in the list of granularities.
    pub clustering: u64,
}

impl NegativeStream {
    /// The four words are the ChaCha key itself, so different streams never share a sequence.
    fn generator(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        let words = [self.seed, self.step, self.clustering, PURPOSE];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

/// `n` prototype ids drawn uniformly without replacement from `0..k` less the `positives`, in drawn order; all such ids when there are
/// fewer than `n` of them (so the caller can see it by the length, and say so once).
///
/// Positives may repeat; one that is not below `k` excludes nothing. Time and memory grow with `k`.
pub fn sample_negatives(k: usize, positives: &[u32], n: usize, stream: NegativeStream) -> Vec<u32> {
    let mut excluded = vec![false; k];
    for &id in positives {
        if let Some(entry) = excluded.get_mut(id as usize) {
            *entry = true;
        }
    }
    let mut ids: Vec<u32> = (0u32..)
        .zip(&excluded)
        .filter(|(_, excluded)| !**excluded)
        .map(|(id, _)| id)
        .collect();
    let n = n.min(ids.len());
    let mut generator = stream.generator();
    // The first n steps of Fisher and Yates' shuffle.
    for place in 0..n {
        let other = place + below(&mut generator, ids.len() - place);
        ids.swap(place, other);
    }
    ids.truncate(n);
    ids
}

/// A uniform number below `bound` (at least 1) by multiplication; the bias is below `bound / 2⁶⁴`.
fn below(generator: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}
