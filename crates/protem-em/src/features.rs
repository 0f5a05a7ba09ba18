//! Centre-crop features of a whole source, in the source's order.

use crate::error::EmError;
use protem_comm::Ranks;
use protem_data::{
    Evaluation, IMAGENET_MEAN, IMAGENET_STD, Source, StillLoader, Subset, Unreadable,
};
use protem_encoder::Encoder;
use std::sync::Arc;

/// Images of a pass over images of so many pixels a side: enough for full tiles, and few enough that
/// large ones take no more memory than small ones.
pub(crate) fn pass(image_size: u32) -> usize {
    const PIXELS: usize = 128 * 64 * 64;
    let side = image_size as usize;
    (PIXELS / (side * side).max(1)).clamp(16, 128)
}

/// Which output of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Pooled features before the head: what evaluations use.
    Features,
    /// The head's embedding: what the E-step clusters.
    Embedding,
}

/// Values of every image of a source, and which images could not be read.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// `images × dim`, row-major, not normalised. The row of an unreadable image is that of a black
    /// one.
    pub values: Vec<f32>,
    /// Images that could not be read, in the source's order.
    pub unreadable: Vec<Unreadable>,
}

impl Extracted {
    /// The rows of images that could be read, and their indices.
    pub fn readable(self, dim: usize) -> (Vec<f32>, Vec<u32>) {
        let rows = (self.values.len() / dim) as u32;
        if self.unreadable.is_empty() {
            return (self.values, (0..rows).collect());
        }
        let bad = |i: &u32| self.unreadable.binary_search_by_key(i, |u| u.index).is_ok();
        let kept: Vec<u32> = (0..rows).filter(|i| !bad(i)).collect();
        let row = |i: &u32| &self.values[*i as usize * dim..(*i as usize + 1) * dim];
        (kept.iter().flat_map(row).copied().collect(), kept)
    }
}

/// Values of every image under the centre crop in evaluation mode; unreadable images are passed over.
/// `progress` is told the number of images done, and answers whether to go on; nothing comes back if
/// not.
///
/// # Errors
/// A loader that fails.
pub fn extract(
    encoder: &Encoder,
    source: Arc<dyn Source>,
    image_size: u32,
    workers: usize,
    output: Output,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Extracted>, EmError> {
    let size = image_size as usize;
    let images = source.len();
    let (mut values, mut done, mut unreadable) = (Vec::new(), 0, Vec::new());
    let evaluation = Evaluation::for_size(image_size);
    for batch in StillLoader::new(source, evaluation, pass(image_size), workers) {
        let shape = (batch.indices.len(), size, size);
        let pixels = encoder.images(&batch.images, shape, IMAGENET_MEAN, IMAGENET_STD);
        let rows = match output {
            Output::Features => encoder.features(pixels),
            Output::Embedding => encoder.embed(pixels),
        };
        if values.is_empty() {
            values.reserve_exact(rows.len() / batch.indices.len() * images);
        }
        values.extend(rows);
        done += batch.indices.len();
        unreadable.extend(batch.unreadable);
        if !progress(done) {
            return Ok(None);
        }
    }
    if done != images {
        return Err(EmError::LoaderStopped { done, of: images });
    }
    Ok(Some(Extracted { values, unreadable }))
}

/// The same by all ranks, each of which takes a part of the images and has all values in the end. Nothing comes back
/// where `progress` of any of them says so.
///
/// # Errors
/// A loader that fails; a rank that is gone.
pub(crate) fn extract_among(
    ranks: &mut Ranks,
    encoder: &Encoder,
    source: &Arc<dyn Source>,
    (image_size, workers): (u32, usize),
    output: Output,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Extracted>, EmError> {
    if ranks.world() == 1 {
        let source = source.clone();
        return extract(encoder, source, image_size, workers, output, progress);
    }
    let (images, part) = (source.len(), ranks.share(source.len()));
    let of_part = part.clone().map(|i| i as u32).collect();
    let own = Arc::new(Subset::new(source.clone(), of_part));
    // Others are about as far.
    let mut progress = |done: usize| progress(done * images / part.len());
    let own = extract(encoder, own, image_size, workers, output, &mut progress)?;
    if ranks.any(own.is_none())? {
        return Ok(None);
    }
    let mut own = own.expect("no rank was stopped");
    for bad in &mut own.unreadable {
        bad.index += part.start as u32;
    }
    let unreadable = ranks.gather_data(own.unreadable)?.into_iter().flatten();
    let unreadable = unreadable.collect();
    let values = ranks.gather_values(&own.values)?;
    Ok(Some(Extracted { values, unreadable }))
}

/// Scales each row to length one; a row of zeros stays.
pub fn normalise_rows(rows: &mut [f32], dim: usize) {
    for row in rows.chunks_exact_mut(dim) {
        let norm = row
            .iter()
            .map(|x| *x as f64 * *x as f64)
            .sum::<f64>()
            .sqrt();
        if norm > 0.0 {
            let scale = (1.0 / norm) as f32;
            row.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protem_encoder::{Arch, EncoderConfig, Head, Stem};
    use protem_ops::Precision;

    /// How many images go together is a matter of memory alone.
    #[test]
    fn features_do_not_depend_on_the_pass() {
        assert_eq!([32, 64, 96, 224].map(pass), [128, 128, 56, 16]);
        let config = EncoderConfig {
            arch: Arch::Resnet18,
            stem: Stem::Cifar,
            width: 8,
            head: Head::V2,
            dim: 8,
            split_bn: 1,
        };
        let (rows, side) = (37, 16);
        let of_image = side * side * 3;
        let bytes: Vec<u8> = (0..rows * of_image)
            .map(|i| (i * 7919 % 251) as u8)
            .collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let encoder = Encoder::new(config, 3).with_precision(precision);
            let embed = |bytes: &[u8]| {
                let shape = (bytes.len() / of_image, side, side);
                encoder.embed(encoder.images(bytes, shape, IMAGENET_MEAN, IMAGENET_STD))
            };
            let parts = bytes.chunks(16 * of_image).flat_map(embed);
            assert_eq!(embed(&bytes), parts.collect::<Vec<_>>(), "{precision:?}");
        }
    }

    #[test]
    fn rows_of_unreadable_images_are_left_out() {
        let bad = |index| Unreadable {
            index,
            name: String::new(),
            reason: String::new(),
        };
        let all = Extracted {
            values: (0..8).map(|x| x as f32).collect(),
            unreadable: vec![bad(0), bad(2)],
        };
        assert_eq!(all.readable(2), (vec![2.0, 3.0, 6.0, 7.0], vec![1, 3]));
    }
}
