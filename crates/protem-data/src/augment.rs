//! Random views: the recipes of PCL v1 and v2.

use crate::draw::random_crop;
use crate::ops::{self, Crop, Scratch};
use crate::parts::{InvalidView, ViewConfig};
use image::RgbImage;
use rand::SeedableRng;
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
#[derive(Debug, Clone, PartialEq)]
pub struct Augment {
    config: ViewConfig,
}

impl Augment {
    /// Of one of PCL's recipes (the `transforms` of PCL's `main_pcl.py`, on Pillow images).
    ///
    /// # Panics
    /// If `size` is zero or above 16384, or `min_scale` lies outside 0 to 1.
    pub fn new(config: AugmentConfig) -> Self {
        let AugmentConfig {
            recipe,
            size,
            min_scale,
            blur,
        } = config;
        let config = ViewConfig::of(recipe, size, min_scale, blur);
        Self::of_parts(config).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Of any parts.
    ///
    /// # Errors
    /// The first parameter that cannot be, and what would do.
    pub fn of_parts(config: ViewConfig) -> Result<Self, InvalidView> {
        config.check()?;
        Ok(Self { config })
    }

    /// What the views are made of.
    pub fn config(&self) -> &ViewConfig {
        &self.config
    }

    /// One random view of `size × size` pixels.
    pub fn view(&self, image: &RgbImage, stream: Stream) -> RgbImage {
        let mut view = RgbImage::new(self.config.size, self.config.size);
        self.view_into(image, stream, &mut view);
        view
    }

    /// The same, written as `size × size × 3` bytes.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn view_into(&self, image: &RgbImage, stream: Stream, out: &mut [u8]) {
        let ViewConfig { size, crop, parts } = &self.config;
        let size = *size;
        assert_eq!(out.len(), (size * size * 3) as usize, "bytes of a view");
        let rng = &mut stream.rng();
        let crop = random_crop(rng, image.width(), image.height(), crop);
        Scratch::with(|Scratch { view, bytes }| {
            ops::resize(image, crop, (size, size), Crop::square(size), view, bytes);
            for part in parts {
                part.apply(rng, view, bytes);
            }
            view.write(out);
        });
    }
}
