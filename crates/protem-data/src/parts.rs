//! What views are made of: the parts and their parameters, as a config file can have them.

use crate::augment::Recipe;
use crate::draw::jitter;
use crate::ops::{MOST_SIGMA, Planes};
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A random crop of a picture, scaled to a square, and what is done to it, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// Side of a view in pixels.
    pub size: u32,
    /// The crop (torchvision's `RandomResizedCrop`).
    #[serde(default)]
    pub crop: CropConfig,
    /// What follows.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// Which rectangles are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CropConfig {
    /// Least and largest share of the picture's area.
    pub scale: [f64; 2],
    /// Least and largest width over height.
    pub ratio: [f64; 2],
}

/// torchvision's defaults.
impl Default for CropConfig {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        }
    }
}

/// Something done to a view with probability `p`, 1 when not given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "part", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Part {
    /// Brightness, contrast, saturation and hue in an order that is drawn too (torchvision's
    /// `ColorJitter`).
    ColourJitter {
        /// Probability.
        #[serde(default = "always")]
        p: f64,
        /// The factor lies between 1 − this and 1 + this, and is not negative.
        #[serde(default)]
        brightness: f32,
        /// As brightness.
        #[serde(default)]
        contrast: f32,
        /// As brightness.
        #[serde(default)]
        saturation: f32,
        /// Turns of the circle either way, at most 0.5.
        #[serde(default)]
        hue: f32,
    },
    /// All channels set to the luma.
    Grayscale {
        /// Probability.
        #[serde(default = "always")]
        p: f64,
    },
    /// Pillow's Gaussian blur.
    GaussianBlur {
        /// Probability.
        #[serde(default = "always")]
        p: f64,
        /// Least and largest σ in pixels, up to 100.
        sigma: [f32; 2],
    },
    /// Left and right mirrored.
    Flip {
        /// Probability.
        #[serde(default = "always")]
        p: f64,
    },
    /// Bytes from the threshold on are inverted.
    Solarize {
        /// Probability.
        #[serde(default = "always")]
        p: f64,
        /// First byte that is inverted.
        threshold: u8,
    },
}

fn always() -> f64 {
    1.0
}

/// Why a [`ViewConfig`] cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidView {
    /// No pixels.
    #[error("size = {0}: a view has 1 to 16384 pixels a side")]
    Size(u32),
    /// A range that is empty or goes too far.
    #[error("{what} = [{least}, {most}]: must be a range within {allowed}")]
    Range {
        /// The key.
        what: &'static str,
        /// Its lower end.
        least: f64,
        /// Its upper end.
        most: f64,
        /// What would do.
        allowed: &'static str,
    },
    /// A number that goes too far.
    #[error("{what} = {value}: must lie within {allowed}")]
    Number {
        /// The key.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        allowed: &'static str,
    },
}

impl ViewConfig {
    /// The parts of PCL's recipes: v2 without its blur, when not wanted. Crops take from
    /// `min_scale` of the area on.
    pub fn of(recipe: Recipe, size: u32, min_scale: f64, blur: bool) -> Self {
        let jitter = |p, hue| Part::ColourJitter {
            p,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue,
        };
        let blur = Part::GaussianBlur {
            p: if blur { 0.5 } else { 0.0 },
            sigma: [0.1, 2.0],
        };
        let (gray, flip) = (Part::Grayscale { p: 0.2 }, Part::Flip { p: 0.5 });
        let crop = CropConfig {
            scale: [min_scale, 1.0],
            ..CropConfig::default()
        };
        let mut parts = match recipe {
            Recipe::V1 => vec![gray, jitter(1.0, 0.4), flip],
            Recipe::V2 => vec![jitter(0.8, 0.1), gray, blur, flip],
        };
        // What never happens must not draw.
        parts.retain(|part| part.probability() > 0.0);
        Self { size, crop, parts }
    }

    /// What a linear classifier on frozen features is trained on: a crop of 0.08 to 1 of the area,
    /// and a flip.
    pub fn linear(size: u32) -> Self {
        Self {
            size,
            crop: CropConfig::default(),
            parts: vec![Part::Flip { p: 0.5 }],
        }
    }

    /// The first of what cannot be carried out.
    pub(crate) fn check(&self) -> Result<(), InvalidView> {
        if !(1..=16384).contains(&self.size) {
            return Err(InvalidView::Size(self.size));
        }
        range("crop.scale", self.crop.scale, 0.0, 1.0, "0 to 1")?;
        range("crop.ratio", self.crop.ratio, 0.01, 100.0, "0.01 to 100")?;
        self.parts.iter().try_for_each(|part| part.check())
    }
}

fn range(
    what: &'static str,
    [least, most]: [f64; 2],
    from: f64,
    to: f64,
    allowed: &'static str,
) -> Result<(), InvalidView> {
    // Not-a-number is in no range.
    if least >= from && least <= most && most <= to {
        return Ok(());
    }
    Err(InvalidView::Range {
        what,
        least,
        most,
        allowed,
    })
}

fn number(
    what: &'static str,
    value: f64,
    to: f64,
    allowed: &'static str,
) -> Result<(), InvalidView> {
    if (0.0..=to).contains(&value) {
        return Ok(());
    }
    Err(InvalidView::Number {
        what,
        value,
        allowed,
    })
}

impl Part {
    fn probability(&self) -> f64 {
        match *self {
            Self::ColourJitter { p, .. }
            | Self::Grayscale { p }
            | Self::GaussianBlur { p, .. }
            | Self::Flip { p }
            | Self::Solarize { p, .. } => p,
        }
    }

    fn check(&self) -> Result<(), InvalidView> {
        number("p", self.probability(), 1.0, "0 to 1")?;
        match *self {
            Self::ColourJitter {
                brightness,
                contrast,
                saturation,
                hue,
                ..
            } => {
                for (what, strength) in [
                    ("brightness", brightness),
                    ("contrast", contrast),
                    ("saturation", saturation),
                ] {
                    number(what, strength.into(), 100.0, "0 to 100")?;
                }
                number("hue", hue.into(), 0.5, "0 to 0.5")
            }
            Self::GaussianBlur { sigma, .. } => {
                let most = f64::from(MOST_SIGMA);
                range("sigma", sigma.map(f64::from), 0.0, most, "0 to 100")
            }
            Self::Grayscale { .. } | Self::Flip { .. } | Self::Solarize { .. } => Ok(()),
        }
    }

    /// Draws whether it happens, and its parameters, and does it. `scratch` is room for the blur.
    pub(crate) fn apply(&self, rng: &mut impl Rng, view: &mut Planes, scratch: &mut Vec<u8>) {
        if !rng.random_bool(self.probability()) {
            return;
        }
        match *self {
            Self::ColourJitter {
                brightness,
                contrast,
                saturation,
                hue,
                ..
            } => {
                let drawn = jitter(rng, [brightness, contrast, saturation], hue);
                for step in drawn.order {
                    match step {
                        0 => view.brightness(drawn.brightness),
                        1 => view.contrast(drawn.contrast),
                        2 => view.saturation(drawn.saturation),
                        // Turning by nothing is not nothing: its numbers are rounded.
                        _ if hue == 0.0 => {}
                        _ => view.hue(drawn.hue),
                    }
                }
            }
            Self::Grayscale { .. } => view.grayscale(),
            Self::GaussianBlur { sigma, .. } => {
                view.gaussian_blur(rng.random_range(sigma[0]..=sigma[1]), scratch);
            }
            Self::Flip { .. } => view.flip(),
            Self::Solarize { threshold, .. } => view.solarize(threshold),
        }
    }
}
