//! The parts of the augmentations, each a function of an image and its parameters, with Pillow's
//! arithmetic: 8 bits between steps. Every one gives Pillow's bytes (`tests/pillow.rs`).
//!
//! A view goes through the same operations in planes, without a copy between them.

mod blur;
mod colour;
mod planes;
mod resize;
#[cfg(test)]
mod slow;
#[cfg(target_arch = "x86_64")]
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use blur::MOST as MOST_SIGMA;
pub(crate) use planes::Planes;
pub(crate) use resize::resize;
pub use resize::{Crop, resized_crop};

use image::RgbImage;
use std::cell::RefCell;

/// ITU-R 601 luma in Pillow's fixed point (`convert("L")`).
pub fn luma(pixel: [u8; 3]) -> u8 {
    colour::luma(pixel)
}

/// All channels set to the luma.
pub fn grayscale(image: &mut RgbImage) {
    in_planes(image, Planes::grayscale);
}

/// Scales all channels (`ImageEnhance.Brightness`).
pub fn brightness(image: &mut RgbImage, factor: f32) {
    in_planes(image, |planes| planes.brightness(factor));
}

/// Moves all channels away from the picture's mean luma (`ImageEnhance.Contrast`).
pub fn contrast(image: &mut RgbImage, factor: f32) {
    in_planes(image, |planes| planes.contrast(factor));
}

/// Moves all channels away from the pixel's luma (`ImageEnhance.Color`).
pub fn saturation(image: &mut RgbImage, factor: f32) {
    in_planes(image, |planes| planes.saturation(factor));
}

/// Turns the hue by `turns` of a circle, in Pillow's 8-bit HSV (torchvision's `adjust_hue`).
pub fn hue(image: &mut RgbImage, turns: f32) {
    in_planes(image, |planes| planes.hue(turns));
}

/// Inverts all channels that are not below the threshold (`ImageOps.solarize`).
pub fn solarize(image: &mut RgbImage, threshold: u8) {
    in_planes(image, |planes| planes.solarize(threshold));
}

/// Blurs with `sigma` pixels as Pillow does and PCL used it
/// (`filter(ImageFilter.GaussianBlur(sigma))`), byte for byte.
///
/// # Panics
/// If `sigma` lies outside 0 to 100.
pub fn gaussian_blur(image: &mut RgbImage, sigma: f32) {
    in_planes(image, |planes| planes.gaussian_blur(sigma, &mut Vec::new()));
}

/// Mirrors left and right.
pub fn flip(image: &mut RgbImage) {
    in_planes(image, Planes::flip);
}

fn in_planes(image: &mut RgbImage, operation: impl FnOnce(&mut Planes)) {
    let mut planes = Planes::of(image);
    operation(&mut planes);
    planes.write(image);
}

/// Does work whose loops are compiled for the processor's vectors, of 256 bits at most: those of 512
/// make these loops hardly faster, and on some processors all that comes after them slower, decoding
/// above all.
fn in_vectors<T>(work: impl pulp::NullaryFnOnce<Output = T>) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(work);
    }
    pulp::Arch::new().dispatch(work)
}

/// Room for a view, which a thread keeps from one to the next.
#[derive(Default)]
pub(crate) struct Scratch {
    pub view: Planes,
    pub bytes: Vec<u8>,
}

impl Scratch {
    /// Lends this thread's.
    pub fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(work)
    }
}
