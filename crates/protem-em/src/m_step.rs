//! The M-step: one batch through both encoders, the losses, and back.

use crate::e_step::Clustering;
use crate::error::EmError;
use crate::features::normalise_rows;
use candle_core::{Device, Tensor, Var};
use protem_comm::Ranks;
use protem_encoder::MomentumPair;
use protem_loss::{BatchClustering, NegativeStream, Queue, info_nce, proto_nce, sample_negatives};
use protem_ops::Activation;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Settings of the losses.
#[derive(Debug, Clone, PartialEq)]
pub struct LossConfig {
    /// Temperature τ of InfoNCE.
    pub temperature: f64,
    /// Negative prototypes drawn per clustering and batch.
    pub negatives: usize,
}

/// Losses of one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// InfoNCE.
    pub instance: f32,
    /// Mean of the ProtoNCE terms over the clusterings; none in the warm-up.
    pub prototype: Option<f32>,
}

impl Losses {
    /// What is minimised.
    pub fn total(&self) -> f32 {
        self.instance + self.prototype.unwrap_or(0.0)
    }
}

/// One batch of two views, as the encoders take them. Ranks have equal parts of it, one behind the other.
pub struct Batch<'a> {
    /// Image of each row of the whole batch, an index into the training set.
    pub indices: &'a [u32],
    /// First views of this rank's part, for the query encoder.
    pub queries: Activation,
    /// Second views of this rank's part, for the key encoder.
    pub keys: Activation,
    /// The row that each second view of the whole batch belongs to, where they are shuffled; a
    /// permutation.
    pub key_rows: Option<&'a [u32]>,
    /// Those who have the batch between them.
    pub ranks: &'a mut Ranks,
}

/// A permutation of the rows of a batch, which follows from the seed and the batch's number in the
/// run alone: Shuffle-BN (He et al. 2020), for parts of a batch instead of devices. A key's images
/// then share their batch norm's statistics with others than its query's do, so that these cannot
/// tell which key is whose.
pub(crate) fn shuffled_rows(rows: usize, (seed, batch): (u64, u64)) -> Vec<u32> {
    /// Keeps these draws apart from other users of the same seed.
    const PURPOSE: u64 = u64::from_le_bytes(*b"proteshu");
    let mut generator = ChaCha8Rng::seed_from_u64(seed ^ PURPOSE);
    generator.set_stream(batch);
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut generator);
    order
}

/// Those of `images`, of so many bytes each, in this order.
pub(crate) fn taken(images: &[u8], bytes: usize, order: &[u32]) -> Vec<u8> {
    let mut taken = Vec::with_capacity(bytes * order.len());
    for i in order {
        taken.extend_from_slice(&images[*i as usize * bytes..][..bytes]);
    }
    taken
}

/// Losses of this rank's part of a batch and, over `gradient`, their `∂L/∂parameters` of the query encoder: the mean
/// over ranks is the batch's. All ranks' keys enter the queue after the logits are computed. `stream` names the draw of
/// negatives: seed and batch. The key encoder's step before it ([`MomentumPair::follow`]) and the optimizer's behind it
/// are the caller's.
///
/// # Errors
/// Whatever candle or the losses refuse; a rank that is gone.
///
/// # Panics
/// If a clustering has no label for an image of the batch.
pub fn m_step(
    pair: &mut MomentumPair,
    queue: &mut Queue,
    clusterings: &[Clustering],
    config: &LossConfig,
    stream: (u64, u64),
    batch: Batch<'_>,
    gradient: &mut [f32],
) -> Result<Losses, EmError> {
    let (all, dim) = (batch.indices.len(), pair.query.config().dim);
    let part = batch.ranks.share(all);
    let (first, rows) = (part.start, part.len());
    let own_keys = pair.key.forward_key(batch.keys);
    let mut keys = batch.ranks.gather_values(&own_keys)?;
    if let Some(to) = batch.key_rows {
        keys = in_order(&keys, to, dim);
    }
    normalise_rows(&mut keys, dim);
    let all_keys = Tensor::from_vec(keys, (all, dim), &Device::Cpu)?;
    let keys = all_keys.narrow(0, first, rows)?;
    let (embedding, tape) = pair.query.forward_train(batch.queries);
    let embedding = Var::from_vec(embedding, (rows, dim), &Device::Cpu)?;
    let norm = embedding.sqr()?.sum_keepdim(1)?.sqrt()?;
    let queries = embedding.broadcast_div(&norm)?;

    let instance = info_nce(&queries, &keys, queue.tensor(), config.temperature)?;
    let prototype = prototype_loss(
        &queries,
        clusterings,
        config.negatives,
        stream,
        (batch.indices, first),
    )?;
    let total = match &prototype {
        Some(prototype) => (&instance + prototype)?,
        None => instance.clone(),
    };
    let losses = Losses {
        instance: instance.to_scalar()?,
        prototype: prototype.map(|loss| loss.to_scalar()).transpose()?,
    };
    let grads = total.backward()?;
    let of_embedding = grads.get(&embedding).ok_or(EmError::NoGradient)?;
    pair.query.backward(
        tape,
        &of_embedding.flatten_all()?.to_vec1::<f32>()?,
        gradient,
    );
    queue.push(&all_keys)?;
    Ok(losses)
}

/// Rows of `dim` values, each at the place it belongs to.
fn in_order(rows: &[f32], to: &[u32], dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (row, to) in rows.chunks_exact(dim).zip(to) {
        let to = *to as usize * dim;
        out[to..to + dim].copy_from_slice(row);
    }
    out
}

/// Mean over the clusterings of their ProtoNCE terms (PCL eq. 11); none without clusterings. The queries are rows of
/// the batch from the `first` on.
fn prototype_loss(
    queries: &Tensor,
    clusterings: &[Clustering],
    negatives: usize,
    (seed, step): (u64, u64),
    (indices, first): (&[u32], usize),
) -> Result<Option<Tensor>, EmError> {
    if clusterings.is_empty() {
        return Ok(None);
    }
    let mut ids = Vec::new();
    for (m, clustering) in clusterings.iter().enumerate() {
        let positives: Vec<u32> = indices
            .iter()
            .map(|i| clustering.labels[*i as usize])
            .collect();
        let stream = NegativeStream {
            seed,
            step,
            clustering: m as u64,
        };
        let drawn = sample_negatives(clustering.k(), &positives, negatives, stream);
        ids.push((&clustering.prototypes, positives, drawn));
    }
    let seen: Vec<_> = ids
        .iter()
        .map(|(prototypes, positives, negatives)| BatchClustering {
            prototypes,
            positives,
            first,
            negatives,
        })
        .collect();
    Ok(Some(proto_nce(queries, &seen)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protem_encoder::{Arch, EncoderConfig, Head, Stem};
    use protem_ops::Precision;

    const ROWS: usize = 8;

    /// The loss of a batch whose keys come in this order, with statistics over parts.
    fn loss(split_bn: usize, order: Option<&[u32]>) -> f32 {
        let config = EncoderConfig {
            arch: Arch::Resnet18,
            stem: Stem::Cifar,
            width: 4,
            head: Head::V2,
            dim: 8,
            split_bn,
        };
        let mut pair = MomentumPair::new(config, Precision::F32, 3, 0.99);
        let images = |from: usize| {
            let bytes = (0..ROWS * 64 * 3).map(|i| ((i + from) * 7919 % 251) as u8);
            bytes.collect::<Vec<u8>>()
        };
        let activation = |bytes: &[u8], pair: &MomentumPair| {
            pair.query.images(bytes, (ROWS, 8, 8), [0.5; 3], [0.25; 3])
        };
        let keys = order.map_or(images(5), |order| taken(&images(5), 64 * 3, order));
        let batch = Batch {
            indices: &[0, 1, 2, 3, 4, 5, 6, 7],
            queries: activation(&images(0), &pair),
            keys: activation(&keys, &pair),
            key_rows: order,
            ranks: &mut Ranks::alone(),
        };
        let mut queue = Queue::new(16, 8, ROWS, 0).unwrap();
        let mut gradient = vec![0.0; pair.query.parameters().len()];
        let config = LossConfig {
            temperature: 0.2,
            negatives: 0,
        };
        let losses = m_step(
            &mut pair,
            &mut queue,
            &[],
            &config,
            (0, 0),
            batch,
            &mut gradient,
        );
        losses.unwrap().total()
    }

    #[test]
    fn shuffled_keys_come_back_to_their_rows_and_meet_others_on_the_way() {
        let order = shuffled_rows(ROWS, (7, 3));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..ROWS as u32));
        assert_eq!(order, shuffled_rows(ROWS, (7, 3)));
        assert_ne!(order, shuffled_rows(ROWS, (7, 4)));
        assert_ne!(order, shuffled_rows(ROWS, (8, 3)));
        // With the statistics of the whole batch it is the same loss, with those of parts another.
        let change = |parts| (loss(parts, Some(&order)) - loss(parts, None)).abs();
        assert!(change(1) < 1e-4, "{}", change(1));
        assert!(change(2) > 1e-3, "{}", change(2));
    }
}
