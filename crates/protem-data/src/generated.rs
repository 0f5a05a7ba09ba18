//! A set of images that needs no download: textured shapes in ten classes.
//!
//! A class is an outline with a texture. Colours (and which of them is the lighter), place, size,
//! rotation and background are random, so neighbours in raw pixels seldom share a class, while a
//! network that has learned to look past them finds it. Colours are muted and differ most in
//! brightness, within the reach of colour jitter.

use crate::class_names::ClassNames;
use crate::error::ReadError;
use crate::source::Source;
use image::{Rgb, RgbImage};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;
use std::sync::OnceLock;

/// Texture and outline of each class.
const CLASSES: [(&str, Texture, Outline); 10] = [
    ("plain bar", Texture::Plain, Outline::Bar),
    ("striped disc", Texture::Stripes, Outline::Disc),
    ("checkered square", Texture::Checks, Outline::Square),
    ("dotted triangle", Texture::Dots, Outline::Triangle),
    ("ringed cross", Texture::Rings, Outline::Cross),
    ("spoked star", Texture::Spokes, Outline::Star),
    ("zigzag ring", Texture::Zigzags, Outline::Ring),
    ("gridded heart", Texture::Grid, Outline::Heart),
    ("brick half-moon", Texture::Bricks, Outline::HalfMoon),
    ("mosaic crescent", Texture::Mosaic, Outline::Crescent),
];

/// Which of two disjoint streams of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure on.
    Test,
}

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratedSpec {
    /// Seed of the whole set.
    pub seed: u64,
    /// Number of images; classes take turns.
    pub images: usize,
    /// Side in pixels.
    pub size: u32,
    /// Which stream.
    pub split: Split,
}

/// Bytes of pixels above which a set is not kept, but drawn at every reading.
const KEPT_BYTES: u64 = 1 << 30;

/// Textured shapes, each drawn when it is first read and then kept, unless the set is above a GiB.
#[derive(Debug)]
pub struct Generated {
    spec: GeneratedSpec,
    classes: ClassNames,
    drawn: Vec<OnceLock<RgbImage>>,
}

impl Generated {
    /// The set of a spec.
    pub fn new(spec: GeneratedSpec) -> Self {
        let classes = CLASSES.map(|(name, ..)| name.to_owned()).to_vec();
        let pixels = u64::from(spec.size) * u64::from(spec.size);
        let bytes = (spec.images as u64).saturating_mul(3 * pixels);
        let kept = if bytes <= KEPT_BYTES { spec.images } else { 0 };
        Self {
            spec,
            classes: classes.into(),
            drawn: std::iter::repeat_with(OnceLock::new).take(kept).collect(),
        }
    }
}

impl Source for Generated {
    fn len(&self) -> usize {
        self.spec.images
    }
    fn name(&self, index: usize) -> String {
        format!("generated image {index}")
    }
    fn label(&self, index: usize) -> Option<u32> {
        Some((index % CLASSES.len()) as u32)
    }
    fn classes(&self) -> &ClassNames {
        &self.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        let draw = || {
            let mut rng = ChaCha8Rng::seed_from_u64(self.spec.seed);
            rng.set_stream(2 * index as u64 + u64::from(self.spec.split == Split::Test));
            let (_, texture, outline) = CLASSES[index % CLASSES.len()];
            Picture::draw(&mut rng, texture, outline).render(self.spec.size)
        };
        Ok(match self.drawn.get(index) {
            Some(kept) => kept.get_or_init(draw).clone(),
            None => draw(),
        })
    }
    fn describe(&self) -> String {
        format!("generated images (seed {})", self.spec.seed)
    }
}

#[derive(Debug, Clone, Copy)]
enum Texture {
    Plain,
    Stripes,
    Checks,
    Dots,
    Rings,
    Spokes,
    Zigzags,
    Grid,
    Bricks,
    Mosaic,
}

impl Texture {
    /// Which of two colours a point of the shape has. Coordinates are in shape radii; a pattern
    /// has `frequency` periods in two of them.
    fn first_colour(self, u: f32, v: f32, frequency: f32) -> bool {
        let periods = |x: f32| x * frequency / 2.0;
        let half = |x: f32| periods(x).rem_euclid(1.0) < 0.5;
        let line = |x: f32| periods(x).rem_euclid(1.0) < 0.25;
        let centred = |x: f32| periods(x).rem_euclid(1.0) - 0.5;
        match self {
            Self::Plain => true,
            Self::Stripes => half(u),
            Self::Checks => half(u) != half(v),
            Self::Dots => centred(u).hypot(centred(v)) < 0.33,
            Self::Rings => half(u.hypot(v)),
            Self::Spokes => (v.atan2(u) * 2.0 * frequency.round()).sin() > 0.0,
            Self::Zigzags => half(u + centred(v).abs() * 2.0 / frequency),
            Self::Grid => line(u) || line(v),
            Self::Bricks => {
                let shift = if half(v / 2.0) { 0.0 } else { 1.0 / frequency };
                line(v) || line((u + shift) / 1.5)
            }
            Self::Mosaic => {
                // A fixed coin for each cell, from the bits of its place.
                let cell = |x: f32| (periods(x) * 2.0).floor() as i32 as u32;
                let mixed = cell(u).wrapping_mul(0x9e37_79b1) ^ cell(v).wrapping_mul(0x85eb_ca77);
                (mixed.wrapping_mul(0xc2b2_ae3d) >> 17) & 1 == 0
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Outline {
    Bar,
    Disc,
    Square,
    Triangle,
    Cross,
    Star,
    Ring,
    Heart,
    HalfMoon,
    Crescent,
}

impl Outline {
    /// Whether a point is inside; coordinates are in shape radii.
    fn contains(self, u: f32, v: f32) -> bool {
        let radius = u.hypot(v);
        let (x, y) = (u.abs(), v.abs());
        match self {
            Self::Bar => x < 1.05 && y < 0.4,
            Self::Disc => radius < 0.95,
            Self::Square => x.max(y) < 0.8,
            Self::Triangle => v < 0.6 && v > 1.9 * x - 1.1,
            Self::Cross => x.max(y) < 1.0 && x.min(y) < 0.38,
            Self::Star => radius < 0.72 + 0.36 * (v.atan2(u) * 5.0).cos(),
            Self::Ring => (0.5..1.05).contains(&radius),
            Self::Heart => {
                let (x, y) = (u * 1.15, v * 1.15 + 0.1);
                (x * x + y * y - 1.0).powi(3) < x * x * y.powi(3)
            }
            Self::HalfMoon => radius < 1.05 && v > -0.1,
            Self::Crescent => radius < 1.05 && (u - 0.5).hypot(v) > 0.72,
        }
    }
}

struct Picture {
    texture: Texture,
    outline: Outline,
    centre: [f32; 2],
    radius: f32,
    angle: f32,
    frequency: f32,
    colours: [[f32; 3]; 2],
    background: [[f32; 3]; 2],
    slope: f32,
}

impl Picture {
    fn draw(rng: &mut impl Rng, texture: Texture, outline: Outline) -> Self {
        let (luma, contrast) = (rng.random_range(70.0..185.0), rng.random_range(35.0..65.0));
        let lighter = if rng.random() { contrast } else { -contrast };
        // The background lies between the texture's two colours: a blurred shape vanishes in it.
        let behind = luma + rng.random_range(-10.0..10.0);
        let ground = colour(rng, behind);
        Self {
            texture,
            outline,
            centre: [rng.random_range(-0.25..0.25), rng.random_range(-0.25..0.25)],
            radius: rng.random_range(0.75..1.0),
            angle: rng.random_range(0.0..TAU),
            frequency: rng.random_range(4.8..5.8),
            colours: [colour(rng, luma + lighter), colour(rng, luma - lighter)],
            background: [ground, ground.map(|c| c + rng.random_range(-15.0..15.0))],
            slope: rng.random_range(0.0..TAU),
        }
    }

    fn render(&self, size: u32) -> RgbImage {
        /// Samples along each side of a pixel.
        const SAMPLES: u32 = 2;
        let scale = 2.0 / (size * SAMPLES) as f32;
        RgbImage::from_fn(size, size, |px, py| {
            let mut sum = [0.0f32; 3];
            for sample in 0..SAMPLES * SAMPLES {
                let x = (px * SAMPLES + sample % SAMPLES) as f32 * scale - 1.0;
                let y = (py * SAMPLES + sample / SAMPLES) as f32 * scale - 1.0;
                let colour = self.colour(x, y);
                sum.iter_mut().zip(colour).for_each(|(s, c)| *s += c);
            }
            Rgb(sum.map(|s| (s / (SAMPLES * SAMPLES) as f32).round() as u8))
        })
    }

    /// Colour at a point; the picture spans −1 to 1 each way.
    fn colour(&self, x: f32, y: f32) -> [f32; 3] {
        let (dx, dy) = (
            (x - self.centre[0]) / self.radius,
            (y - self.centre[1]) / self.radius,
        );
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
        if self.outline.contains(u, v) {
            return self.colours[usize::from(!self.texture.first_colour(u, v, self.frequency))];
        }
        let along = (x * self.slope.cos() + y * self.slope.sin()) * 0.35 + 0.5;
        std::array::from_fn(|i| {
            self.background[0][i] * (1.0 - along) + self.background[1][i] * along
        })
    }
}

/// A muted colour: a gray moved by up to an eighth of its brightness in each channel.
fn colour(rng: &mut impl Rng, gray: f32) -> [f32; 3] {
    std::array::from_fn(|_| gray * rng.random_range(0.88..1.12))
}
