//! Images decoded with options of one's own, and kept.

use crate::class_names::ClassNames;
use crate::decode::{DecodeOptions, decode_with};
use crate::error::ReadError;
use crate::source::{Encoded, Labelling, Source};
use image::RgbImage;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Another source whose image files are decoded with these options; pixels that it has without files
/// are as they are. Images, once decoded, are kept as long as there is room: the first ones to be
/// read stay, and no pixel is another. One that cannot be read is tried again each time.
pub struct Decoded {
    of: Arc<dyn Source>,
    options: DecodeOptions,
    budget: u64,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    images: HashMap<usize, Arc<RgbImage>>,
    bytes: u64,
}

impl Decoded {
    /// The images of `of`, of which up to `budget` bytes of pixels are kept.
    pub fn new(of: Arc<dyn Source>, options: DecodeOptions, budget: u64) -> Self {
        Self {
            of,
            options,
            budget,
            kept: RwLock::default(),
        }
    }

    /// Bytes of pixels that are kept now.
    pub fn bytes(&self) -> u64 {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.bytes
    }

    fn kept(&self, index: usize) -> Option<Arc<RgbImage>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.images.get(&index).cloned()
    }

    fn keep(&self, index: usize, image: &RgbImage) {
        let bytes = image.as_raw().len() as u64;
        let fits = |kept: &Kept| kept.bytes + bytes <= self.budget;
        // Most of the time it is full; then nobody should wait for a copy.
        if !fits(&self.kept.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let copy = Arc::new(image.clone());
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if fits(&kept) && kept.images.insert(index, copy).is_none() {
            kept.bytes += bytes;
        }
    }
}

impl Source for Decoded {
    fn len(&self) -> usize {
        self.of.len()
    }
    fn name(&self, index: usize) -> String {
        self.of.name(index)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.of.label(index)
    }
    fn labels(&self, index: usize) -> Vec<u32> {
        self.of.labels(index)
    }
    fn labelling(&self) -> Labelling {
        self.of.labelling()
    }
    fn classes(&self) -> &ClassNames {
        self.of.classes()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        if let Some(image) = self.kept(index) {
            return Ok((*image).clone());
        }
        let image = match self.of.encoded(index)? {
            Encoded::File(bytes) => decode_with(&bytes, &self.options)?,
            Encoded::Pixels(image) => image,
        };
        self.keep(index, &image);
        Ok(image)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.of.encoded(index)
    }
    fn describe(&self) -> String {
        self.of.describe()
    }
}
