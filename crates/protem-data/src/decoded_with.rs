//! Images decoded with options of one's own.

use crate::decode::{DecodeOptions, decode_with};
use crate::error::ReadError;
use crate::source::{Encoded, Labelling, Source};
use image::RgbImage;
use std::sync::Arc;

/// Another source whose image files are decoded with these options; pixels that it has without
/// files are as they are.
pub struct DecodedWith {
    of: Arc<dyn Source>,
    options: DecodeOptions,
}

impl DecodedWith {
    /// The images of `of`.
    pub fn new(of: Arc<dyn Source>, options: DecodeOptions) -> Self {
        Self { of, options }
    }
}

impl Source for DecodedWith {
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
    fn classes(&self) -> &[String] {
        self.of.classes()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        match self.of.encoded(index)? {
            Encoded::File(bytes) => decode_with(&bytes, &self.options),
            Encoded::Pixels(image) => Ok(image),
        }
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.of.encoded(index)
    }
    fn describe(&self) -> String {
        self.of.describe()
    }
}
