//! The M-step: one batch through both encoders, the losses, and back.

use crate::e_step::Clustering;
use crate::error::EmError;
use crate::features::normalise_rows;
use candle_core::{Device, Tensor, Var};
use protem_encoder::MomentumPair;
use protem_loss::{NegativeStream, Queue, info_nce, proto_nce_term, sample_negatives};
use protem_ops::Activation;

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

/// One batch of two views, as the encoders take them.
pub struct Batch<'a> {
    /// Image of each row, an index into the training set.
    pub indices: &'a [u32],
    /// First views, for the query encoder.
    pub queries: Activation,
    /// Second views, for the key encoder.
    pub keys: Activation,
}

/// Losses of a batch and, over `gradient`, `∂L/∂parameters` of the query encoder. Keys enter the
/// queue after the logits are computed. `stream` names the draw of negatives: seed and step.
///
/// # Errors
/// Whatever candle or the losses refuse.
pub fn m_step(
    pair: &mut MomentumPair,
    queue: &mut Queue,
    clusterings: &[Clustering],
    config: &LossConfig,
    stream: (u64, u64),
    batch: Batch<'_>,
    gradient: &mut [f32],
) -> Result<Losses, EmError> {
    let (rows, dim) = (batch.indices.len(), pair.query.config().dim);
    let mut keys = pair.key.forward_key(batch.keys);
    normalise_rows(&mut keys, dim);
    let keys = Tensor::from_vec(keys, (rows, dim), &Device::Cpu)?;
    let (embedding, tape) = pair.query.forward_train(batch.queries);
    let embedding = Var::from_vec(embedding, (rows, dim), &Device::Cpu)?;
    let norm = embedding.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    let queries = embedding.broadcast_div(&norm)?;

    let instance = info_nce(&queries, &keys, queue.tensor(), config.temperature)?;
    let prototype = prototype_loss(
        &queries,
        clusterings,
        config.negatives,
        stream,
        batch.indices,
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
    queue.push(&keys)?;
    Ok(losses)
}

/// Mean over the clusterings of their ProtoNCE terms (PCL eq. 11); none without clusterings.
fn prototype_loss(
    queries: &Tensor,
    clusterings: &[Clustering],
    negatives: usize,
    (seed, step): (u64, u64),
    indices: &[u32],
) -> Result<Option<Tensor>, EmError> {
    let mut sum: Option<Tensor> = None;
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
        let term = proto_nce_term(queries, &clustering.prototypes, &positives, &drawn)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(sum.map(|sum| sum / clusterings.len() as f64).transpose()?)
}
