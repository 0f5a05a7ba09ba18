//! ProtoNCE: a query against the prototypes of its clusters, each prototype with its own temperature (Li et al. 2021, eq. 11).

use candle_core::{D, Device, Tensor};

use crate::contrast::{matrix, same_size, with_gradient};
use crate::softmax::{Temperature, row_softmax};
use crate::{LossError, Result};

/// How far a prototype's norm may lie from 1. Normalising in f32 leaves about 1e-7·√d; this only has to catch centroids that were never
/// normalised.
const NORM_TOLERANCE: f32 = 1e-3;

/// The prototypes of one clustering, checked.
#[derive(Debug, Clone)]
pub struct Prototypes {
    vectors: Tensor,
    concentration: Tensor,
}

impl Prototypes {
    /// `vectors`: `K × d` f32, L2-normalised centroids; `concentration`: `K` f32, the temperature φ of each prototype (after scaling to the
    /// mean τ). Neither receives a gradient. A row of zeros passes: a centroid at the origin has no direction, and its similarity of 0 to
    /// everything is no reason to end a run.
    ///
    /// # Errors
    /// Shapes or types that do not fit, a norm that is not 0 and further than 1e-3 from 1, a concentration that is not positive and finite (a NaN too).
    pub fn new(vectors: Tensor, concentration: Tensor) -> Result<Self> {
        let (count, _) = matrix("prototypes", &vectors)?;
        let concentration = concentration.detach();
        matrix("concentration", &concentration.unsqueeze(D::Minus1)?)?;
        same_size("concentrations", count, concentration.dim(0)?)?;
        for (index, value) in concentration.to_vec1::<f32>()?.into_iter().enumerate() {
            if !(value.is_finite() && value > 0.0 && (1.0 / value).is_finite()) {
                return Err(LossError::Concentration { index, value });
            }
        }
        let vectors = vectors.detach().contiguous()?;
        let norms = vectors.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1::<f32>()?;
        for (index, norm) in norms.into_iter().enumerate() {
            // Written so that a NaN fails.
            let near = norm == 0.0 || (norm - 1.0).abs() <= NORM_TOLERANCE;
            if !near {
                return Err(LossError::NotNormalised { index, norm });
            }
        }
        Ok(Self {
            vectors,
            concentration,
        })
    }

    /// `K × d`, L2-normalised.
    pub fn vectors(&self) -> &Tensor {
        &self.vectors
    }

    /// `K`: φ of each prototype.
    pub fn concentration(&self) -> &Tensor {
        &self.concentration
    }

    /// K.
    pub fn count(&self) -> usize {
        self.vectors.dims()[0]
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.vectors.dims()[1]
    }

    fn check_ids(&self, what: &'static str, ids: &[u32]) -> Result<()> {
        let count = self.count();
        match ids.iter().find(|&&id| id as usize >= count) {
            Some(&id) => Err(LossError::UnknownPrototype { what, id, count }),
            None => Ok(()),
        }
    }

    /// Vectors (`n × d`) and concentrations (`1 × n`) of `ids`, duplicates kept.
    fn gather(&self, ids: &[u32], device: &Device) -> Result<(Tensor, Tensor)> {
        let index = Tensor::new(ids, device)?;
        let vectors = self.vectors.index_select(&index, 0)?;
        let concentration = self.concentration.index_select(&index, 0)?.unsqueeze(0)?;
        Ok((vectors, concentration))
    }
}

/// One clustering as a step sees it.
#[derive(Debug, Clone, Copy)]
pub struct BatchClustering<'a> {
    /// The prototypes.
    pub prototypes: &'a Prototypes,
    /// `B` ids: the cluster of each image of the batch.
    pub positives: &'a [u32],
    /// Which of them is the first query's; 0 where the queries are the whole batch.
    pub first: usize,
    /// Ids of the negatives, shared by the batch (see [`sample_negatives`](crate::sample_negatives)); may be empty.
    pub negatives: &'a [u32],
}

/// The ProtoNCE term of one clustering, in nats, of a whole batch.
///
/// Logits are `q·[C_pos; C_neg]ᵀ` with column j divided by the concentration φ of its prototype, `B + n` columns; the target of row i is
/// column i; mean over the batch. The other rows' positives act as negatives, *including copies of the row's own prototype*, as in the
/// authors' code: with a batch of one cluster and no negatives the value is `ln(B)`.
///
/// `queries` is `B × d`, expected L2-normalised (not checked), and the only argument that receives a gradient. The result is a scalar.
///
/// # Errors
/// Shapes that do not agree, a type other than f32, an id that is not below K.
pub fn proto_nce_term(
    queries: &Tensor,
    prototypes: &Prototypes,
    positives: &[u32],
    negatives: &[u32],
) -> Result<Tensor> {
    let (batch, _) = matrix("queries", queries)?;
    same_size("positives", batch, positives.len())?;
    let clustering = BatchClustering {
        prototypes,
        positives,
        first: 0,
        negatives,
    };
    term(queries, &clustering)
}

/// The same of queries that are consecutive rows of a batch.
fn term(queries: &Tensor, clustering: &BatchClustering<'_>) -> Result<Tensor> {
    let BatchClustering {
        prototypes,
        positives,
        first,
        negatives,
    } = *clustering;
    let (rows, dim) = matrix("queries", queries)?;
    same_size("columns of the prototypes", dim, prototypes.dim())?;
    if positives.len().saturating_sub(first) < rows {
        same_size("positives", first + rows, positives.len())?;
    }
    prototypes.check_ids("positives", positives)?;
    prototypes.check_ids("negatives", negatives)?;

    let ids = [positives, negatives].concat();
    let (vectors, concentration) = prototypes.gather(&ids, queries.device())?;
    let products = queries.detach().contiguous()?.matmul(&vectors.t()?)?;
    let targets = first as u32..(first + rows) as u32;
    let targets = Tensor::arange(targets.start, targets.end, queries.device())?.unsqueeze(1)?;
    let target = products
        .gather(&targets, 1)?
        .div(&concentration.narrow(1, first, rows)?.t()?)?;
    let softmax = row_softmax(
        products,
        None,
        &Temperature::OfColumns(concentration.clone()),
    )?;
    let value = (&softmax.log_sum_exp - target)?.mean_all()?;
    if !queries.track_op() {
        return Ok(value);
    }

    // P·W − W[target] with W = C/φ: the one-hot matrix would be B × (B + n) to pick B rows.
    let weights = vectors.broadcast_div(&concentration.t()?)?;
    let push = softmax.columns.matmul(&weights)?;
    let gradient = ((push - weights.narrow(0, first, rows)?)? / rows as f64)?;
    with_gradient(queries, value, &gradient)
}

/// The prototype part of ProtoNCE, in nats: the mean of [`proto_nce_term`] over the M clusterings. The whole loss is this plus
/// [`info_nce`](crate::info_nce). The queries may be some consecutive rows of the batch ([`BatchClustering::first`]): the mean is over them then, and
/// the mean over parts of equal length is what the whole batch has.
///
/// # Errors
/// No clustering, or an error of [`proto_nce_term`].
pub fn proto_nce(queries: &Tensor, clusterings: &[BatchClustering<'_>]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for c in clusterings {
        let term = term(queries, c)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    let sum = sum.ok_or(LossError::NoClustering)?;
    Ok((sum / clusterings.len() as f64)?)
}
