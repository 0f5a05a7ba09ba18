//! A set of images that needs no download: textured shapes in ten classes.
//!
//! A class is a texture on a shape. Colours, place, size, rotation and background are random, so
//! pixels say little of the class (nearest neighbours on raw pixels do poorly), while a network
//! that has learned to look past them finds it.

use crate::error::ReadError;
use crate::source::Source;
use image::{Rgb, RgbImage};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{PI, TAU};

/// Texture and shape of each class.
const CLASSES: [(&str, Texture, Outline); 10] = [
    ("striped disc", Texture::Stripes, Outline::Disc),
    ("checkered square", Texture::Checks, Outline::Square),
    ("dotted disc", Texture::Dots, Outline::Disc),
    ("ringed square", Texture::Rings, Outline::Square),
    ("spoked disc", Texture::Spokes, Outline::Disc),
    ("plain star", Texture::Plain, Outline::Star),
    ("zigzag square", Texture::Zigzag, Outline::Square),
    ("gridded disc", Texture::Grid, Outline::Disc),
    ("halved square", Texture::Halves, Outline::Square),
    ("plain ring", Texture::Plain, Outline::Ring),
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

/// Textured shapes, each drawn anew when it is read.
#[derive(Debug, Clone)]
pub struct Generated {
    spec: GeneratedSpec,
    classes: Vec<String>,
}

impl Generated {
    /// The set of a spec.
    pub fn new(spec: GeneratedSpec) -> Self {
        let classes = CLASSES
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect();
        Self { spec, classes }
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
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.spec.seed);
        rng.set_stream(2 * index as u64 + u64::from(self.spec.split == Split::Test));
        let (_, texture, outline) = CLASSES[index % CLASSES.len()];
        Ok(Picture::draw(&mut rng, texture, outline).render(self.spec.size))
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
    Zigzag,
    Grid,
    Halves,
}

impl Texture {
    /// Which of two colours a point of the shape has; coordinates are in shape radii.
    fn first_colour(self, u: f32, v: f32, frequency: f32) -> bool {
        let wave = |x: f32| (x * frequency * PI).sin() > 0.0;
        match self {
            Self::Plain => true,
            Self::Stripes => wave(u),
            Self::Checks => wave(u) != wave(v),
            Self::Dots => {
                let cell = |x: f32| (x * frequency / 2.0).rem_euclid(1.0) - 0.5;
                cell(u).hypot(cell(v)) < 0.32
            }
            Self::Rings => wave(u.hypot(v)),
            Self::Spokes => (v.atan2(u) * 4.0).sin() > 0.0,
            Self::Zigzag => {
                let tooth = ((v * frequency / 2.0).rem_euclid(1.0) - 0.5).abs() * 2.0;
                wave(u + tooth * 0.6)
            }
            Self::Grid => {
                let line = |x: f32| (x * frequency / 2.0).rem_euclid(1.0) < 0.28;
                line(u) || line(v)
            }
            Self::Halves => u > 0.0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Outline {
    Disc,
    Square,
    Star,
    Ring,
}

impl Outline {
    fn contains(self, u: f32, v: f32) -> bool {
        let radius = u.hypot(v);
        match self {
            Self::Disc => radius < 1.0,
            Self::Square => u.abs().max(v.abs()) < 0.88,
            Self::Star => radius < 0.72 + 0.38 * (v.atan2(u) * 5.0).cos(),
            Self::Ring => (0.5..1.0).contains(&radius),
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
        let mut colour = || -> [f32; 3] { std::array::from_fn(|_| rng.random_range(0.0..255.0)) };
        let apart = |a: &[f32; 3], b: &[f32; 3]| (luma(a) - luma(b)).abs() > 70.0;
        let first = colour();
        let second = std::iter::repeat_with(&mut colour)
            .find(|c| apart(c, &first))
            .expect("endless");
        let ground = std::iter::repeat_with(&mut colour)
            .find(|c| (luma(c) - luma(&first)).abs() > 40.0)
            .expect("endless");
        let other = colour();
        let far: [f32; 3] = std::array::from_fn(|i| 0.7 * ground[i] + 0.3 * other[i]);
        Self {
            texture,
            outline,
            centre: [rng.random_range(-0.2..0.2), rng.random_range(-0.2..0.2)],
            radius: rng.random_range(0.65..0.95),
            angle: rng.random_range(0.0..TAU),
            frequency: rng.random_range(3.2..4.2),
            colours: [first, second],
            background: [ground, far],
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

fn luma(c: &[f32; 3]) -> f32 {
    0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]
}
