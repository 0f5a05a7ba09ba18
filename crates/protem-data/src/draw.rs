//! The random parameters of a view.

use crate::ops::Crop;
use rand::{Rng, RngExt};

/// torchvision's `RandomResizedCrop.get_params`: an area and an aspect ratio between 3/4 and 4/3,
/// ten tries, then the largest central crop of an allowed ratio.
pub(crate) fn random_crop(rng: &mut impl Rng, width: u32, height: u32, min_scale: f64) -> Crop {
    let area = f64::from(width) * f64::from(height);
    let ratios = (3.0f64 / 4.0, 4.0f64 / 3.0);
    for _ in 0..10 {
        let target = area * rng.random_range(min_scale..=1.0);
        let ratio = rng.random_range(ratios.0.ln()..=ratios.1.ln()).exp();
        let w = (target * ratio).sqrt().round_ties_even() as u32; // as Python's round
        let h = (target / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let (left, top) = (
                rng.random_range(0..=width - w),
                rng.random_range(0..=height - h),
            );
            return Crop {
                left,
                top,
                width: w,
                height: h,
            };
        }
    }
    let own = f64::from(width) / f64::from(height);
    let (w, h) = if own < ratios.0 {
        (
            width,
            ((f64::from(width) / ratios.0).round_ties_even() as u32).clamp(1, height),
        )
    } else if own > ratios.1 {
        (
            ((f64::from(height) * ratios.1).round_ties_even() as u32).clamp(1, width),
            height,
        )
    } else {
        (width, height)
    };
    Crop {
        left: (width - w) / 2,
        top: (height - h) / 2,
        width: w,
        height: h,
    }
}

/// Parameters of a colour jitter: factors, and the order they are applied in.
pub(crate) struct Jitter {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    pub hue: f32,
    pub order: [u8; 4],
}

/// torchvision's `ColorJitter(strength, strength, strength, hue)`.
pub(crate) fn jitter(rng: &mut impl Rng, strength: f32, hue: f32) -> Jitter {
    let mut order = [0, 1, 2, 3];
    rand::seq::SliceRandom::shuffle(&mut order[..], rng);
    let mut factor = || rng.random_range(1.0 - strength..=1.0 + strength);
    let (brightness, contrast, saturation) = (factor(), factor(), factor());
    Jitter {
        brightness,
        contrast,
        saturation,
        hue: rng.random_range(-hue..=hue),
        order,
    }
}
