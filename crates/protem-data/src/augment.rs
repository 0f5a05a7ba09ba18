//! Random views: the recipes of PCL v1 and v2.

use crate::draw::{jitter, random_crop};
use crate::ops::{self, Crop, Planes, Scratch};
use image::RgbImage;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which augmentations, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// Crop, grayscale with probability 0.2, colour jitter (.4, .4, .4, .4), flip.
    V1,
    /// Crop, colour jitter (.4, .4, .4, .1) with probability 0.8, grayscale 0.2, blur of σ 0.1–2
    /// with probability 0.5, flip.
    V2,
}

/// Settings of [`Augment`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AugmentConfig {
    /// Which augmentations.
    pub recipe: Recipe,
    /// Side of a view in pixels.
    pub size: u32,
    /// Least share of the picture's area that a crop takes, from 0 to 1.
    pub min_scale: f64,
    /// Whether recipe v2 blurs; small pictures are better left sharp. Recipe v1 never blurs.
    pub blur: bool,
}

/// What the randomness of one view follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Image of the training set.
    pub index: u64,
    /// Which of the views of one image.
    pub view: u64,
}

impl Stream {
    fn rng(self) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        for (bytes, word) in key
            .chunks_exact_mut(8)
            .zip([self.seed, self.epoch, self.index, self.view])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

/// Makes random views.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    config: AugmentConfig,
}

impl Augment {
    /// With these settings.
    pub fn new(config: AugmentConfig) -> Self {
        Self { config }
    }

    /// Settings of the views.
    pub fn config(&self) -> &AugmentConfig {
        &self.config
    }

    /// One random view of `size × size` pixels (the `transforms` of PCL's `main_pcl.py`, on Pillow
    /// images).
    ///
    /// # Panics
    /// If `size` is zero or `min_scale` lies outside 0 to 1.
    pub fn view(&self, image: &RgbImage, stream: Stream) -> RgbImage {
        let mut view = RgbImage::new(self.config.size, self.config.size);
        self.view_into(image, stream, &mut view);
        view
    }

    /// The same, written as `size × size × 3` bytes.
    ///
    /// # Panics
    /// As [`Self::view`], and if `out` has another length.
    pub fn view_into(&self, image: &RgbImage, stream: Stream, out: &mut [u8]) {
        let size = self.config.size;
        assert_eq!(out.len(), (size * size * 3) as usize, "bytes of a view");
        Scratch::with(|scratch| self.view_in(image, &mut stream.rng(), scratch, out));
    }

    fn view_in(&self, image: &RgbImage, rng: &mut impl Rng, scratch: &mut Scratch, out: &mut [u8]) {
        let size = self.config.size;
        let Scratch { view, bytes } = scratch;
        let crop = random_crop(rng, image.width(), image.height(), self.config.min_scale);
        ops::resize(image, crop, (size, size), Crop::square(size), view, bytes);
        match self.config.recipe {
            Recipe::V1 => {
                maybe(rng, 0.2, |_| view.grayscale());
                colour_jitter(rng, view, 0.4);
            }
            Recipe::V2 => {
                maybe(rng, 0.8, |rng| colour_jitter(rng, view, 0.1));
                maybe(rng, 0.2, |_| view.grayscale());
            }
        }
        if self.config.blur && self.config.recipe == Recipe::V2 {
            maybe(rng, 0.5, |rng| {
                view.gaussian_blur(rng.random_range(0.1..=2.0), bytes)
            });
        }
        maybe(rng, 0.5, |_| view.flip());
        view.write(out);
    }
}

fn maybe<R: Rng>(rng: &mut R, probability: f64, action: impl FnOnce(&mut R)) {
    if rng.random_bool(probability) {
        action(rng);
    }
}

fn colour_jitter(rng: &mut impl Rng, view: &mut Planes, hue: f32) {
    let drawn = jitter(rng, 0.4, hue);
    for step in drawn.order {
        match step {
            0 => view.brightness(drawn.brightness),
            1 => view.contrast(drawn.contrast),
            2 => view.saturation(drawn.saturation),
            _ => view.hue(drawn.hue),
        }
    }
}
