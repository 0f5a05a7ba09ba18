//! The fast operations against the slow ones, at odd sizes.

use super::resize::tests::slow_resize;
use super::*;
use image::Rgb;

/// Bytes of a linear congruential generator, with runs of equal, black and white pixels.
pub(super) fn picture(w: u32, h: u32) -> RgbImage {
    let mut state = w * 31 + h;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    RgbImage::from_fn(w, h, |x, y| match (x + y * 3) % 23 {
        0 => Rgb([0; 3]),
        1 => Rgb([255; 3]),
        2 => Rgb([next(); 3]),
        3 => Rgb([255, 0, next()]),
        _ => Rgb([next(), next(), next()]),
    })
}

/// All 2²⁴ colours.
pub(super) fn colours() -> RgbImage {
    RgbImage::from_fn(4096, 4096, |x, y| {
        let [_, r, g, b] = (y << 12 | x).to_be_bytes();
        Rgb([r, g, b])
    })
}

const SIZES: [(u32, u32); 9] = [
    (1, 1),
    (1, 7),
    (7, 1),
    (3, 5),
    (17, 9),
    (32, 32),
    (33, 31),
    (65, 3),
    (129, 70),
];

/// The same picture from both, at every size.
fn same(name: &str, fast: impl Fn(&mut RgbImage), slow: impl Fn(&mut RgbImage)) {
    for (w, h) in SIZES {
        let (mut ours, mut expected) = (picture(w, h), picture(w, h));
        fast(&mut ours);
        slow(&mut expected);
        assert!(ours == expected, "{name}, {w}×{h}");
    }
}

#[test]
fn colours_are_those_of_the_slow_operations() {
    same("grayscale", grayscale, slow::grayscale);
    for factor in [
        0.0, 0.3, 0.6, 0.999, 1.0, 1.0001, 1.37, 2.5, -0.7, 3e4, 1e12, -1e12,
    ] {
        let name = format!("factor {factor}");
        same(
            &name,
            |i| brightness(i, factor),
            |i| slow::brightness(i, factor),
        );
        same(
            &name,
            |i| contrast(i, factor),
            |i| slow::contrast(i, factor),
        );
        same(
            &name,
            |i| saturation(i, factor),
            |i| slow::saturation(i, factor),
        );
    }
    for threshold in [0, 1, 128, 255] {
        let name = format!("threshold {threshold}");
        same(
            &name,
            |i| solarize(i, threshold),
            |i| slow::solarize(i, threshold),
        );
    }
}

/// There and back through HSV: of every colour the same hue and saturation, and of every hue, in
/// 256 turns of a set that has all saturations and values, the same colour.
#[test]
fn hue_is_that_of_the_slow_operation_for_every_colour_and_every_turn() {
    let all = colours();
    for turns in [0.0, 0.0999, -0.4] {
        let (mut ours, mut expected) = (all.clone(), all.clone());
        hue(&mut ours, turns);
        slow::hue(&mut expected, turns);
        assert!(ours == expected, "{turns} turns");
    }
    // Red with every saturation and value.
    let reds = RgbImage::from_fn(256, 256, |v, s| {
        let least = (v * (255 - s) + 127) / 255;
        Rgb([v as u8, least as u8, least as u8])
    });
    for step in -128..=127 {
        let turns = (step as f32 + if step < 0 { -0.5 } else { 0.5 }) / 255.0;
        let (mut ours, mut expected) = (reds.clone(), reds.clone());
        hue(&mut ours, turns);
        slow::hue(&mut expected, turns);
        assert!(ours == expected, "{turns} turns");
    }
}

#[test]
fn a_blur_is_that_of_the_slow_operation_for_every_size_of_the_box() {
    for sigma in [0.0, 0.1, 0.7, 1.3, 1.42, 1.99, 2.44, 2.5, 3.9, 9.0, 100.0] {
        let name = format!("σ {sigma}");
        same(
            &name,
            |i| gaussian_blur(i, sigma),
            |i| slow::gaussian_blur(i, sigma),
        );
    }
}

#[test]
fn a_flip_mirrors_and_planes_are_written_as_they_were_read() {
    same("flip", flip, image::imageops::flip_horizontal_in_place);
    same("nothing", |i| in_planes(i, |_| ()), |_| ());
}

#[test]
fn every_way_to_resize_gives_the_sums_of_the_definition() {
    for (at, (w, h)) in SIZES.into_iter().enumerate() {
        let image = picture(w, h);
        for (i, (out_w, out_h)) in SIZES.into_iter().enumerate() {
            let (left, top) = ((i as u32 * 5) % w, (at as u32 * 3) % h);
            let crop = Crop {
                left,
                top,
                width: w - left,
                height: (h - top).div_ceil(1 + i as u32 % 2),
            };
            let whole = slow_resize(&image, crop, out_w, out_h);
            // Only a part of it, too.
            let (left, top) = (out_w / 3, out_h / 2);
            let keep = Crop {
                left,
                top,
                width: (out_w - left).div_ceil(2),
                height: out_h - top,
            };
            let all = Crop::whole(&whole);
            for keep in [all, keep] {
                let part =
                    image::imageops::crop_imm(&whole, keep.left, keep.top, keep.width, keep.height);
                let expected = Planes::of(&part.to_image());
                for ours in resize::tests::ways(&image, crop, (out_w, out_h), keep) {
                    assert!(
                        ours == expected,
                        "{w}×{h} {crop:?} to {out_w}×{out_h} {keep:?}"
                    );
                }
            }
        }
    }
}
