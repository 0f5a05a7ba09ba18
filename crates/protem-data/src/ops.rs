//! The parts of the augmentations, each a function of an image and its parameters, with Pillow's
//! arithmetic: 8 bits between steps.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{Rgb, RgbImage};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least one.
    pub width: u32,
    /// Rows, at least one.
    pub height: u32,
}

/// Cuts out a rectangle and scales it to `width × height`, bilinear with the support widened
/// when shrinking (`Image.crop(…).resize(…, BILINEAR)`).
///
/// # Panics
/// If the rectangle reaches outside the image or a side is zero.
pub fn resized_crop(image: &RgbImage, crop: Crop, width: u32, height: u32) -> RgbImage {
    let Crop {
        left,
        top,
        width: w,
        height: h,
    } = crop;
    let cut = image::imageops::crop_imm(image, left, top, w, h).to_image();
    assert_eq!(cut.dimensions(), (w, h), "the crop lies inside the image");
    if (w, h) == (width, height) {
        return cut;
    }
    let source = ImageRef::new(w, h, cut.as_raw(), PixelType::U8x3).expect("three bytes a pixel");
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("equal pixel types");
    RgbImage::from_raw(width, height, target.into_vec()).expect("three bytes a pixel")
}

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

/// Scales all channels (`ImageEnhance.Brightness`).
pub fn brightness(image: &mut RgbImage, factor: f32) {
    for Rgb(pixel) in image.pixels_mut() {
        *pixel = pixel.map(|c| blend(c, 0.0, factor));
    }
}

/// Moves all channels away from the picture's mean luma (`ImageEnhance.Contrast`).
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.pixels().map(|Rgb(p)| u64::from(luma(*p))).sum();
    let mean = (sum as f64 / f64::from(image.width() * image.height()) + 0.5).floor() as f32;
    for Rgb(pixel) in image.pixels_mut() {
        *pixel = pixel.map(|c| blend(c, mean, factor));
    }
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
    let shift = (turns * 255.0) as i32 as u8;
    for Rgb(pixel) in image.pixels_mut() {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = from_hsv([h.wrapping_add(shift), s, v]);
    }
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let away = |c: u8| f32::from(most - c) / range;
    let sixth = if r == most {
        away(b) - away(g)
    } else if g == most {
        2.0 + away(r) - away(b)
    } else {
        4.0 + away(g) - away(r)
    };
    let h = (f64::from(sixth) / 6.0 + 1.0).fract();
    let byte = |x: f64| (x * 255.0).clamp(0.0, 255.0) as u8;
    [byte(h), byte(f64::from(range) / f64::from(most)), most]
}

fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixth = f32::from(h) * 6.0 / 255.0;
    let (i, f) = (sixth.floor(), sixth - sixth.floor());
    let fs = f32::from(s) / 255.0;
    let byte = |x: f32| (f32::from(v) * x).round().clamp(0.0, 255.0) as u8;
    let (p, q, t) = (
        byte(1.0 - fs),
        byte(1.0 - fs * f),
        byte(1.0 - fs * (1.0 - f)),
    );
    match i as u32 % 6 {
        0 => [v, t, p],
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

/// Gaussian blur as Pillow approximates it and PCL used it: three box blurs each way, of a radius
/// with fraction.
pub fn gaussian_blur(image: &mut RgbImage, sigma: f32) {
    const PASSES: f32 = 3.0;
    // The box of equal variance (Gwosdek et al. 2011, as in Pillow's BoxBlur.c).
    let squared = sigma * sigma / PASSES;
    let length = (12.0 * squared + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * squared)
        / (6.0 * (squared - (whole + 1.0) * (whole + 1.0)));
    let radius = whole + fraction;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let data: &mut [u8] = image;
    let mut line = Vec::new();
    for _ in 0..PASSES as usize {
        for row in 0..height {
            for channel in 0..3 {
                box_blur(data, row * width * 3 + channel, 3, width, radius, &mut line);
            }
        }
    }
    for _ in 0..PASSES as usize {
        for column in 0..width * 3 {
            box_blur(data, column, width * 3, height, radius, &mut line);
        }
    }
}

/// One box blur of a line of `len` bytes, `step` apart; the ends are repeated outwards.
fn box_blur(
    data: &mut [u8],
    first: usize,
    step: usize,
    len: usize,
    radius: f32,
    line: &mut Vec<u8>,
) {
    line.clear();
    line.extend((0..len).map(|i| data[first + i * step]));
    let whole = radius as usize;
    // Pillow's fixed point: weights in 1/2²⁴.
    let full = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let edge = ((1u32 << 24) - (whole as u32 * 2 + 1) * full) / 2;
    let at = |i: isize| u32::from(line[i.clamp(0, len as isize - 1) as usize]);
    let radius = whole as isize;
    let mut sum: u32 = (-radius..=radius).map(at).sum();
    for i in 0..len as isize {
        let outer = at(i - radius - 1) + at(i + radius + 1);
        data[first + i as usize * step] = ((sum * full + outer * edge + (1 << 23)) >> 24) as u8;
        sum = sum + at(i + radius + 1) - at(i - radius);
    }
}
