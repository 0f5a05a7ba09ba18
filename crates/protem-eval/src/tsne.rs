//! A map of features in two dimensions, by t-SNE.

mod affinities;
mod descent;
mod principal;
mod quadtree;
#[cfg(test)]
mod tests;

use crate::{EvalError, Features};
use affinities::Affinities;
use descent::{Descent, Step};
use principal::principal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Steps with exaggerated affinities, which bring what belongs together, and steps after them.
const EARLY: usize = 250;
const LATE: usize = 500;
/// How many times as strong affinities are in the early steps.
const EXAGGERATION: f64 = 12.0;
/// Rates for each image. The early one is that of Belkina et al. (2019); where affinities are as strong as
/// they are, larger ones do no harm, and the map is done sooner.
const EARLY_RATE: f64 = 1.0 / 48.0;
const LATE_RATE: f64 = 1.0 / 12.0;
/// Accuracy of the tree, as in the reference implementations.
const THETA: f64 = 0.5;
/// Deviation of the first places along the first principal component.
const SPREAD: f64 = 1e-4;
/// By which first places are moved at random, so that equal rows can part.
const NOISE: f64 = 1e-6;

/// Settings of [`tsne`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TsneConfig {
    /// How many neighbours of an image count, about. A third of the other images is the most there can be,
    /// and is taken where there are fewer.
    pub perplexity: f64,
    /// Of the noise in the first places.
    pub seed: u64,
}

impl Default for TsneConfig {
    fn default() -> Self {
        Self {
            perplexity: 30.0,
            seed: 0,
        }
    }
}

impl TsneConfig {
    /// Whether there can be such a map.
    ///
    /// # Errors
    /// A perplexity that is not finite, or below 1.
    pub fn check(&self) -> Result<(), EvalError> {
        match self.perplexity {
            value if value.is_finite() && value >= 1.0 => Ok(()),
            value => Err(EvalError::Perplexity { value }),
        }
    }

    /// The perplexity that so many images have.
    pub fn perplexity_of(&self, images: usize) -> f64 {
        let most = images.saturating_sub(1) as f64 / 3.0;
        self.perplexity.min(most.max(1.0))
    }
}

/// How far [`tsne`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsneProgress {
    /// Images that were compared with all others.
    Compared(usize),
    /// Steps that were taken, and steps in all.
    Moved(usize, usize),
}

/// A map.
#[derive(Debug, Clone, PartialEq)]
pub struct Tsne {
    /// Where each image lies, around zero.
    pub places: Vec<[f32; 2]>,
    /// Kullback-Leibler divergence of the map from the features' affinities, in nats.
    pub divergence: f64,
}

/// Lays images out in the plane so that those whose features are much alike lie near each other: t-SNE
/// (van der Maaten and Hinton 2008) with the tree of van der Maaten (2014). Features count by their
/// direction: distances are those of rows scaled to length 1, and a row of zeros is equally far from all
/// others. Only the nearest `3 × perplexity` of each image are attracted by it, found by comparison with
/// all. First places are the first two principal components (Kobak and Berens 2019), and the rate follows
/// from the number of images (Belkina et al. 2019). The same bits on any number of threads.
///
/// Time grows with the square of the number of images (comparison) and with n log n (750 steps).
/// `progress` answers whether to go on; nothing if it does not.
///
/// # Errors
/// What [`TsneConfig::check`] refuses.
pub fn tsne(
    features: Features,
    config: &TsneConfig,
    progress: &mut dyn FnMut(TsneProgress) -> bool,
) -> Result<Option<Tsne>, EvalError> {
    config.check()?;
    let rows = features.normalised();
    let count = rows.rows();
    if count == 1 {
        return Ok(Some(Tsne {
            places: vec![[0.0; 2]],
            divergence: 0.0,
        }));
    }
    let mut compared = |done| progress(TsneProgress::Compared(done));
    let perplexity = config.perplexity_of(count);
    let Some(affinities) = Affinities::of(&rows, perplexity, &mut compared) else {
        return Ok(None);
    };
    let mut descent = Descent::new(&affinities, first_places(&rows, config.seed));
    for done in 0..EARLY + LATE {
        if !progress(TsneProgress::Moved(done, EARLY + LATE)) {
            return Ok(None);
        }
        descent.step(&step(done, count));
    }
    let (places, divergence) = descent.end(THETA);
    let places = places.iter().map(|place| place.map(|at| at as f32));
    Ok(Some(Tsne {
        places: places.collect(),
        divergence,
    }))
}

fn step(done: usize, images: usize) -> Step {
    let early = done < EARLY;
    let exaggeration = if early { EXAGGERATION } else { 1.0 };
    Step {
        exaggeration,
        momentum: if early { 0.5 } else { 0.8 },
        rate: images as f64 * if early { EARLY_RATE } else { LATE_RATE },
        theta: THETA,
    }
}

/// Principal components, made small.
fn first_places(rows: &Features, seed: u64) -> Vec<[f64; 2]> {
    let mut places = principal(rows, seed);
    let squares: f64 = places.iter().map(|place| place[0] * place[0]).sum();
    let deviation = (squares / places.len() as f64).sqrt();
    // Of rows of length 1: less is rounding.
    let scale = if deviation > 1e-7 {
        SPREAD / deviation
    } else {
        0.0
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    for at in places.iter_mut().flatten() {
        *at = *at * scale + NOISE * rng.random_range(-1.0..1.0);
    }
    places
}
