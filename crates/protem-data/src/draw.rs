//! The random parameters of a view.

use crate::ops::Crop;
use crate::parts::CropConfig;
use rand::{Rng, RngExt};

/// torchvision's `RandomResizedCrop.get_params`: an area and an aspect ratio, ten tries, then the largest central crop of an allowed ratio.
pub(crate) fn random_crop(
    rng: &mut impl Rng,
    width: u32,
    height: u32,
    config: &CropConfig,
) -> Crop {
    let area = f64::from(width) * f64::from(height);
    let (scale, ratios) = (config.scale, (config.ratio[0], config.ratio[1]));
    for _ in 0..10 {
        let target = area * rng.random_range(scale[0]..=scale[1]);
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

/// torchvision's `ColorJitter(brightness, contrast, saturation, hue)`.
pub(crate) fn jitter(rng: &mut impl Rng, strengths: [f32; 3], hue: f32) -> Jitter {
    let mut order = [0, 1, 2, 3];
    rand::seq::SliceRandom::shuffle(&mut order[..], rng);
    let factor = |s: f32| rng.random_range((1.0 - s).max(0.0)..=1.0 + s);
    let [brightness, contrast, saturation] = strengths.map(factor);
    Jitter {
        brightness,
        contrast,
        saturation,
        hue: rng.random_range(-hue..=hue),
        order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;

    const A_FIFTH: CropConfig = CropConfig {
        scale: [0.2, 1.0],
        ratio: [3.0 / 4.0, 4.0 / 3.0],
    };

    // torch.manual_seed(0)
    // crops = [RandomResizedCrop.get_params(Image.new("RGB", (64, 48)), (.2, 1), (3/4, 4/3))
    //          for _ in range(40000)]
    // t = torch.tensor(crops).double(); print(t.mean(0), t.std(0))     # torchvision 0.29.2
    // top, left, height, width: [5.09, 12.17, 37.79, 39.66] [5.13, 9.08, 6.90, 9.33]
    #[test]
    fn crops_are_spread_as_torchvisions() {
        const DRAWS: usize = 40_000;
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let (mut sum, mut squares) = ([0.0; 4], [0.0; 4]);
        for _ in 0..DRAWS {
            let crop = random_crop(rng, 64, 48, &A_FIFTH);
            assert!(crop.left + crop.width <= 64 && crop.top + crop.height <= 48);
            let sides = [crop.top, crop.left, crop.height, crop.width].map(f64::from);
            for (i, side) in sides.into_iter().enumerate() {
                sum[i] += side;
                squares[i] += side * side;
            }
        }
        let mean = sum.map(|s| s / DRAWS as f64);
        let spread: [f64; 4] =
            std::array::from_fn(|i| (squares[i] / DRAWS as f64 - mean[i] * mean[i]).sqrt());
        // Standard errors of a difference are below 9.33·√(2/40000) = 0.07.
        for (ours, theirs) in [
            (mean, [5.09, 12.17, 37.79, 39.66]),
            (spread, [5.13, 9.08, 6.90, 9.33]),
        ] {
            let near = ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 0.28);
            assert!(near, "{ours:?}, torchvision {theirs:?}");
        }
    }

    // RandomResizedCrop.get_params(Image.new("RGB", size), (.2, 1), (3/4, 4/3))
    // (2000, 3): (0, 998, 3, 4), (3, 2000): (998, 0, 4, 3)            # torchvision 0.29.2
    #[test]
    fn where_no_crop_fits_the_middle_is_taken() {
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let wide = random_crop(rng, 2000, 3, &A_FIFTH);
        let high = random_crop(rng, 3, 2000, &A_FIFTH);
        let sides = |c: Crop| (c.top, c.left, c.height, c.width);
        assert_eq!(sides(wide), (0, 998, 3, 4));
        assert_eq!(sides(high), (998, 0, 4, 3));
        assert_eq!(sides(random_crop(rng, 1, 1, &A_FIFTH)), (0, 0, 1, 1));
    }

    #[test]
    fn jitter_fills_its_ranges_in_every_order() {
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let draws: Vec<Jitter> = (0..4000).map(|_| jitter(rng, [0.4; 3], 0.1)).collect();
        let orders: BTreeSet<[u8; 4]> = draws.iter().map(|d| d.order).collect();
        assert_eq!(orders.len(), 24);
        for (factor, middle, reach) in [
            (|d: &Jitter| d.brightness, 1.0, 0.4),
            (|d: &Jitter| d.contrast, 1.0, 0.4),
            (|d: &Jitter| d.saturation, 1.0, 0.4),
            (|d: &Jitter| d.hue, 0.0, 0.1),
        ] as [(fn(&Jitter) -> f32, f32, f32); 4]
        {
            let least = draws.iter().map(factor).fold(f32::MAX, f32::min);
            let most = draws.iter().map(factor).fold(f32::MIN, f32::max);
            assert!(least >= middle - reach && least < middle - 0.99 * reach);
            assert!(most <= middle + reach && most > middle + 0.99 * reach);
        }
    }
}
