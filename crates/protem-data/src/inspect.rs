//! What a set of images holds, found by reading all of it once.

use crate::source::{Encoded, Source, Unreadable, unreadable};
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Images of the source.
    pub images: usize,
    /// Images of each class, of those that can be read; an image of several counts in each.
    pub classes: Vec<ClassCount>,
    /// Readable images without a class.
    pub unlabelled: usize,
    /// Bytes of the files, or of the pixels where there are none, of readable images.
    pub bytes: u64,
    /// Readable images of each format.
    pub formats: BTreeMap<String, usize>,
    /// Widths of the readable images; none without one, as of the next three.
    pub width: Option<Range>,
    /// Heights of the readable images.
    pub height: Option<Range>,
    /// Mean of each channel over all pixels, of values from 0 to 1.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation of each channel over all pixels.
    pub std: Option<[f64; 3]>,
    /// Images that are byte for byte the same, by their numbers, in groups of two at least.
    pub duplicates: Vec<Vec<u32>>,
    /// Images that cannot be read, and why.
    #[serde(serialize_with = "reasons")]
    pub unreadable: Vec<Unreadable>,
}

/// A class and its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Its images.
    pub images: usize,
}

/// Where the values of a side lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Least.
    pub least: u32,
    /// The one in the middle, the lower of two.
    pub median: u32,
    /// Most.
    pub most: u32,
}

fn reasons<S: serde::Serializer>(all: &[Unreadable], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        all.iter().map(|bad| {
            BTreeMap::from([("name", bad.name.as_str()), ("reason", bad.reason.as_str())])
        }),
    )
}

/// What is known of one image.
struct Seen {
    index: u32,
    bytes: u64,
    hash: u64,
    format: String,
    sides: (u32, u32),
    sums: Sums,
}

/// Sums of the channels and of their squares: whole numbers, so that their order is of no matter.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    pixels: u128,
    values: [u128; 3],
    squares: [u128; 3],
}

impl Sums {
    fn of(image: &RgbImage) -> Self {
        let (mut values, mut squares) = ([0u64; 3], [0u64; 3]);
        for pixel in image.pixels() {
            for c in 0..3 {
                let value = u64::from(pixel[c]);
                values[c] += value;
                squares[c] += value * value;
            }
        }
        Self {
            pixels: u128::from(image.width()) * u128::from(image.height()),
            values: values.map(u128::from),
            squares: squares.map(u128::from),
        }
    }

    fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        for c in 0..3 {
            self.values[c] += other.values[c];
            self.squares[c] += other.squares[c];
        }
    }

    /// Mean and standard deviation of the channels, if there are pixels.
    fn moments(&self) -> Option<([f64; 3], [f64; 3])> {
        let pixels = (self.pixels > 0).then_some(self.pixels as f64)?;
        let mean = self.values.map(|sum| sum as f64 / pixels / 255.0);
        let mut deviation = [0.0; 3];
        for c in 0..3 {
            let square = self.squares[c] as f64 / pixels / (255.0 * 255.0);
            deviation[c] = (square - mean[c] * mean[c]).max(0.0).sqrt();
        }
        Some((mean, deviation))
    }
}

/// Reads every image once, on the current rayon pool; those that may be duplicates a second time.
/// `progress` is told the number of images done, from any thread.
pub fn inspect(source: &dyn Source, progress: &(dyn Fn(usize) + Sync)) -> Inspection {
    let done = AtomicUsize::new(0);
    let seen: Vec<Result<Seen, Unreadable>> = (0..source.len() as u32)
        .into_par_iter()
        .map(|index| {
            let seen = look(source, index);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            seen
        })
        .collect();
    let mut readable = Vec::with_capacity(seen.len());
    let mut bad = Vec::new();
    for image in seen {
        match image {
            Ok(image) => readable.push(image),
            Err(image) => bad.push(image),
        }
    }
    let mut counts = vec![0; source.classes().len()];
    let (mut formats, mut sums) = (BTreeMap::new(), Sums::default());
    let (mut unlabelled, mut bytes) = (0, 0);
    for image in &readable {
        let labels = source.labels(image.index as usize);
        unlabelled += usize::from(labels.is_empty());
        labels.iter().for_each(|label| counts[*label as usize] += 1);
        *formats.entry(image.format.clone()).or_insert(0) += 1;
        sums.add(&image.sums);
        bytes += image.bytes;
    }
    let (mean, std) = sums.moments().unzip();
    let names = source.classes().iter().map(Cow::into_owned);
    Inspection {
        images: source.len(),
        classes: names
            .zip(counts)
            .map(|(name, images)| ClassCount { name, images })
            .collect(),
        unlabelled,
        bytes,
        formats,
        width: range(readable.iter().map(|image| image.sides.0)),
        height: range(readable.iter().map(|image| image.sides.1)),
        mean,
        std,
        duplicates: duplicates(source, &readable),
        unreadable: bad,
    }
}

fn look(source: &dyn Source, index: u32) -> Result<Seen, Unreadable> {
    let refused = |error| unreadable(source, index, &error);
    let encoded = source.encoded(index as usize).map_err(refused)?;
    let (bytes, format) = match &encoded {
        Encoded::File(bytes) => (bytes.len(), format_of(bytes)),
        Encoded::Pixels(image) => (image.len(), "pixels".to_owned()),
    };
    let hash = hash(&encoded);
    let image = encoded.decode().map_err(refused)?;
    Ok(Seen {
        index,
        bytes: bytes as u64,
        hash,
        format,
        sides: image.dimensions(),
        sums: Sums::of(&image),
    })
}

fn hash(encoded: &Encoded) -> u64 {
    let mut hasher = DefaultHasher::new();
    match encoded {
        Encoded::File(bytes) => bytes.hash(&mut hasher),
        Encoded::Pixels(image) => image.as_raw().hash(&mut hasher),
    }
    hasher.finish()
}

/// A format's name, told by the first bytes.
fn format_of(bytes: &[u8]) -> String {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => "JPEG".into(),
        Ok(ImageFormat::Pnm) => "PNM".into(),
        Ok(format) => format.extensions_str()[0].to_uppercase(),
        Err(_) => "unknown".into(),
    }
}

fn range(values: impl Iterator<Item = u32>) -> Option<Range> {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    Some(Range {
        least: *values.first()?,
        median: values[(values.len() - 1) / 2],
        most: *values.last()?,
    })
}

/// Groups of equal images: those of one hash and length are read again and compared.
fn duplicates(source: &dyn Source, seen: &[Seen]) -> Vec<Vec<u32>> {
    let mut alike: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
    for image in seen {
        let images = alike.entry((image.hash, image.bytes)).or_default();
        images.push(image.index);
    }
    let alike = alike.into_par_iter().map(|(_, images)| images);
    let mut groups: Vec<Vec<u32>> = alike
        .flat_map_iter(|images| equal(source, images))
        .collect();
    groups.sort();
    groups
}

/// Groups of those that are equal, of images that may be.
fn equal(source: &dyn Source, mut images: Vec<u32>) -> Vec<Vec<u32>> {
    let mut groups = Vec::new();
    while images.len() > 1 {
        let first = source.encoded(images[0] as usize).ok();
        let same = |i: &u32| first.is_some() && source.encoded(*i as usize).ok() == first;
        let (mut equal, other): (Vec<u32>, Vec<u32>) =
            images[1..].par_iter().partition(|i| same(i));
        equal.insert(0, images[0]);
        if equal.len() > 1 {
            groups.push(equal);
        }
        images = other;
    }
    groups
}
