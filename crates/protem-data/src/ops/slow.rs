//! The operations pixel by pixel, as Pillow's source has them: what the fast ones are tested
//! against.

use image::{Rgb, RgbImage};

use super::luma;

/// `base + factor·(pixel − base)`, cut to 8 bits as Pillow's `Image.blend` does.
fn blend(pixel: u8, base: f32, factor: f32) -> u8 {
    (base + factor * (f32::from(pixel) - base)).clamp(0.0, 255.0) as u8
}

fn each(image: &mut RgbImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
    for Rgb(pixel) in image.pixels_mut() {
        *pixel = change(*pixel);
    }
}

pub fn grayscale(image: &mut RgbImage) {
    each(image, |pixel| [luma(pixel); 3]);
}

pub fn brightness(image: &mut RgbImage, factor: f32) {
    each(image, |pixel| pixel.map(|c| blend(c, 0.0, factor)));
}

pub fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.pixels().map(|Rgb(p)| u64::from(luma(*p))).sum();
    let pixels = f64::from(image.width()) * f64::from(image.height());
    let mean = (sum as f64 / pixels + 0.5).floor() as f32;
    each(image, |pixel| pixel.map(|c| blend(c, mean, factor)));
}

pub fn saturation(image: &mut RgbImage, factor: f32) {
    each(image, |pixel| {
        let gray = f32::from(luma(pixel));
        pixel.map(|c| blend(c, gray, factor))
    });
}

pub fn solarize(image: &mut RgbImage, threshold: u8) {
    each(image, |pixel| {
        pixel.map(|c| if c < threshold { c } else { 255 - c })
    });
}

pub fn hue(image: &mut RgbImage, turns: f32) {
    let shift = (f64::from(turns) * 255.0) as i32 as u8;
    each(image, |pixel| {
        let [h, s, v] = to_hsv(pixel);
        from_hsv([h.wrapping_add(shift), s, v])
    });
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

/// Pillow's conversion back.
fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixth = f64::from(h) * 6.0 / 255.0;
    let f = f64::from((sixth - sixth.floor()) as f32);
    let fs = f64::from((f64::from(s) / 255.0) as f32);
    let byte = |x: f64| (f64::from(v) * x).round() as u8;
    let (p, q, t) = (
        byte(1.0 - fs),
        byte(1.0 - f64::from((fs * f) as f32)),
        byte(1.0 - fs * (1.0 - f)),
    );
    match sixth as u8 {
        0 | 6 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Three box blurs along rows, then along columns, each pixel a sum of its own.
pub fn gaussian_blur(image: &mut RgbImage, sigma: f32) {
    let radius = super::blur::box_radius(sigma);
    for step in [(1, 0), (0, 1)] {
        for _ in 0..super::blur::PASSES {
            *image = box_blurred(image, radius, step);
        }
    }
}

fn box_blurred(image: &RgbImage, radius: f32, (dx, dy): (i64, i64)) -> RgbImage {
    let whole = radius as i64;
    let full = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let edge = ((1u32 << 24) - (whole as u32 * 2 + 1) * full) / 2;
    let (w, h) = image.dimensions();
    let at = |x: u32, y: u32, by: i64, c: usize| {
        let x = (i64::from(x) + by * dx).clamp(0, i64::from(w) - 1);
        let y = (i64::from(y) + by * dy).clamp(0, i64::from(h) - 1);
        u32::from(image.get_pixel(x as u32, y as u32)[c])
    };
    RgbImage::from_fn(w, h, |x, y| {
        Rgb(std::array::from_fn(|c| {
            let inner: u32 = (-whole..=whole).map(|by| at(x, y, by, c)).sum();
            let outer = at(x, y, -whole - 1, c) + at(x, y, whole + 1, c);
            ((inner * full + outer * edge + (1 << 23)) >> 24) as u8
        }))
    })
}
