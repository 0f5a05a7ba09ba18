//! The parts of the augmentations, each a function of an image and its parameters, with Pillow's
//! arithmetic: 8 bits between steps. Every one gives Pillow's bytes (`tests/pillow.rs`).

mod blur;
mod lines;
mod resize;

pub use blur::gaussian_blur;
pub use resize::{Crop, resized_crop};

use image::{Rgb, RgbImage};

/// ITU-R 601 luma in Pillow's fixed point (`convert("L")`).
pub fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// All channels set to the luma.
pub fn grayscale(image: &mut RgbImage) {
    for Rgb(pixel) in image.pixels_mut() {
        *pixel = [luma(*pixel); 3];
    }
}

/// `base + factor·(pixel − base)`, cut to 8 bits as Pillow's `Image.blend` does.
fn blend(pixel: u8, base: f32, factor: f32) -> u8 {
    (base + factor * (f32::from(pixel) - base)).clamp(0.0, 255.0) as u8
}

/// Blends every channel with the same base.
fn blend_all(image: &mut RgbImage, base: f32, factor: f32) {
    let blended: [u8; 256] = std::array::from_fn(|c| blend(c as u8, base, factor));
    for byte in image.iter_mut() {
        *byte = blended[usize::from(*byte)];
    }
}

/// Scales all channels (`ImageEnhance.Brightness`).
pub fn brightness(image: &mut RgbImage, factor: f32) {
    blend_all(image, 0.0, factor);
}

/// Moves all channels away from the picture's mean luma (`ImageEnhance.Contrast`).
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.pixels().map(|Rgb(p)| u64::from(luma(*p))).sum();
    let pixels = f64::from(image.width()) * f64::from(image.height());
    let mean = (sum as f64 / pixels + 0.5).floor() as f32;
    blend_all(image, mean, factor);
}

/// Moves all channels away from the pixel's luma (`ImageEnhance.Color`).
pub fn saturation(image: &mut RgbImage, factor: f32) {
    for Rgb(pixel) in image.pixels_mut() {
        let gray = f32::from(luma(*pixel));
        *pixel = pixel.map(|c| blend(c, gray, factor));
    }
}

/// Turns the hue by `turns` of a circle, in Pillow's 8-bit HSV (torchvision's `adjust_hue`).
pub fn hue(image: &mut RgbImage, turns: f32) {
    let shift = (f64::from(turns) * 255.0) as i32 as u8;
    for Rgb(pixel) in image.pixels_mut() {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = from_hsv([h.wrapping_add(shift), s, v]);
    }
}

/// Pillow's conversion. Its mix of single and double precision is kept: bytes depend on it.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let away = |c: u8| f32::from(most - c) / range;
    let double = |c: u8| f64::from(away(c));
    let sixth = if r == most {
        away(b) - away(g)
    } else if g == most {
        (2.0 + double(r) - double(b)) as f32
    } else {
        (4.0 + double(g) - double(r)) as f32
    };
    let turned = f64::from(sixth) / 6.0 + 1.0; // below 2
    let h = if turned < 1.0 { turned } else { turned - 1.0 };
    let byte = |x: f32| (f64::from(x) * 255.0) as i32 as u8;
    [byte(h as f32), byte(range / f32::from(most)), most]
}

/// Of each hue: which sixth of the circle, 0 to 6, and how far into it.
const SIXTHS: [(u8, f32); 256] = {
    let mut sixths = [(0, 0.0); 256];
    let mut h = 0;
    while h < 256 {
        let sixth = h as f64 * 6.0 / 255.0;
        sixths[h] = (sixth as u8, (sixth - (sixth as u8) as f64) as f32);
        h += 1;
    }
    sixths
};

/// Of each saturation: from 0 to 1.
const SATURATIONS: [f32; 256] = {
    let mut saturations = [0.0; 256];
    let mut s = 0;
    while s < 256 {
        saturations[s] = (s as f64 / 255.0) as f32;
        s += 1;
    }
    saturations
};

/// Pillow's conversion back.
fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let (i, f) = SIXTHS[usize::from(h)];
    let fs = SATURATIONS[usize::from(s)];
    // Rounds halves up, which is `round` for every (h, s, v).
    let byte = |x: f64| (f64::from(v) * x + 0.5) as i32 as u8;
    let (p, q, t) = (
        byte(1.0 - f64::from(fs)),
        byte(1.0 - f64::from(fs * f)),
        byte(1.0 - f64::from(fs) * (1.0 - f64::from(f))),
    );
    match i {
        0 | 6 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Mirrors left and right.
pub fn flip(image: &mut RgbImage) {
    image::imageops::flip_horizontal_in_place(image);
}
