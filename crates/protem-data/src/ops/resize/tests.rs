//! The definition that the ways to resize are tested against.

use super::*;

/// Every way this processor has.
pub(crate) fn ways(image: &RgbImage, crop: Crop, size: (u32, u32), keep: Crop) -> Vec<Planes> {
    let mut ways = vec![Planes::default(); 2];
    resize(image, crop, size, keep, &mut ways[0], &mut vec![77; 1000]);
    ways[1].shape(keep.width as usize, keep.height as usize);
    lines::run(&job(image, crop, size, keep), &mut ways[1]);
    ways
}

/// Each new byte a sum of its own, in 64 bits; along rows, then along columns.
pub(crate) fn slow_resize(image: &RgbImage, crop: Crop, width: u32, height: u32) -> RgbImage {
    let of = |x: u32, y: u32, c: usize| i64::from(image.get_pixel(crop.left + x, crop.top + y)[c]);
    let rows = RgbImage::from_fn(width, crop.height, |x, y| {
        let line = filtered(crop.width, width, x);
        image::Rgb([0, 1, 2].map(|c| byte(&line, |at| of(at, y, c))))
    });
    RgbImage::from_fn(width, height, |x, y| {
        let line = filtered(crop.height, height, y);
        image::Rgb([0, 1, 2].map(|c| byte(&line, |at| i64::from(rows.get_pixel(x, at)[c]))))
    })
}

/// Lines and weights of the new line `at` (`precompute_coeffs` of Pillow's `Resample.c`).
fn filtered(lines: u32, out: u32, at: u32) -> Vec<(u32, i64)> {
    let scale = f64::from(lines) / f64::from(out);
    let support = scale.max(1.0);
    let centre = (f64::from(at) + 0.5) * scale;
    let start = (centre - support + 0.5).max(0.0) as u32;
    let end = ((centre + support + 0.5) as u32).min(lines);
    let weight = |line: u32| {
        let distance = (f64::from(line) - centre + 0.5) * (1.0 / support);
        (1.0 - distance.abs()).max(0.0)
    };
    let sum: f64 = (start..end).map(weight).sum();
    let fixed = |line| (0.5 + weight(line) / sum * f64::from(1 << BITS)) as i64;
    (start..end).map(|line| (line, fixed(line))).collect()
}

fn byte(line: &[(u32, i64)], of: impl Fn(u32) -> i64) -> u8 {
    let sum: i64 = line.iter().map(|(at, weight)| weight * of(*at)).sum();
    u8::try_from((sum + (1 << (BITS - 1))) >> BITS).expect("weights add to one")
}

#[test]
fn of_millions_of_lines_each_weighs_nothing() {
    let taps = Taps::new(1 << 24, 1, 0..1);
    assert_eq!((taps.window, taps.each().count()), (1, 1));
}
