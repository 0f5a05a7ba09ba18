//! Centre-crop features of a whole source, in the source's order.

use crate::error::EmError;
use protem_data::{Evaluation, IMAGENET_MEAN, IMAGENET_STD, Source, StillLoader};
use protem_encoder::Encoder;
use protem_ops::Activation;
use std::sync::Arc;

/// Which output of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Pooled features before the head: what evaluations use.
    Features,
    /// The head's embedding: what the E-step clusters.
    Embedding,
}

/// `images × dim`, row-major, not normalised, in evaluation mode under the centre crop.
///
/// # Errors
/// An image that cannot be read, with its name and why.
pub fn extract(
    encoder: &Encoder,
    source: Arc<dyn Source>,
    image_size: u32,
    workers: usize,
    output: Output,
) -> Result<Vec<f32>, EmError> {
    /// Images of a pass: enough rows for full tiles, small enough for the cache.
    const BATCH: usize = 128;
    let size = image_size as usize;
    let mut rows = Vec::new();
    for batch in StillLoader::new(source, Evaluation::for_size(image_size), BATCH, workers) {
        let batch = batch?;
        let shape = (batch.indices.len(), size, size);
        let images = Activation::from_images(
            encoder.pool(),
            &batch.images,
            shape,
            IMAGENET_MEAN,
            IMAGENET_STD,
        );
        rows.extend(match output {
            Output::Features => encoder.features(images),
            Output::Embedding => encoder.embed(images),
        });
    }
    Ok(rows)
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
