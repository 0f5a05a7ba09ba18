//! What the ranks of a run exchange, so that all of them have the same state at each step.

use super::Trainer;
use crate::e_step::{Clustering, ClusteringReport};
use crate::error::EmError;
use crate::m_step::Losses;
use protem_comm::Ranks;
use protem_data::Unreadable;

/// A clustering and what is told of it.
pub(super) type Clustered = (Clustering, ClusteringReport);

impl Trainer {
    /// Has this run together with others of the same plan, as one of `ranks`: batches are divided among them, and so is
    /// what is embedded and clustered. Rank 0 alone tells events and saves.
    ///
    /// # Errors
    /// A plan for another number of ranks; ranks whose plan, images or state differ.
    pub fn among(mut self, mut ranks: Ranks) -> Result<Self, EmError> {
        if self.plan.ranks != ranks.world() {
            return Err(EmError::RanksOfPlan {
                planned: self.plan.ranks,
                ranks: ranks.world(),
            });
        }
        ranks.agree("their version of protem", env!("CARGO_PKG_VERSION"))?;
        ranks.agree("the training images", &self.origin.images.to_string())?;
        let settings = serde_json::to_vec(&self.origin.settings).expect("plain data");
        let settings = format!("those of CRC-32 {:08x}", crc32fast::hash(&settings));
        ranks.agree("settings", &settings)?;
        self.state.pair.query.set_ranks(ranks.world());
        self.state.pair.key.set_ranks(ranks.world());
        self.ranks = ranks;
        self.agree()?;
        Ok(self)
    }

    /// Makes sure that all ranks have the same weights: on processors that round otherwise they would come apart.
    pub(super) fn agree(&mut self) -> Result<(), EmError> {
        if self.ranks.world() == 1 {
            return Ok(());
        }
        let mut hasher = crc32fast::Hasher::new();
        let pair = &self.state.pair;
        for values in [
            pair.query.parameters(),
            pair.key.parameters(),
            &self.state.velocity,
        ] {
            hasher.update(bytemuck::cast_slice(values));
        }
        let sum = format!("those of CRC-32 {:08x}", hasher.finalize());
        Ok(self.ranks.agree("weights", &sum)?)
    }

    /// The images of a whole batch from this rank's, and all that were passed over for them.
    pub(super) fn whole_batch(
        &mut self,
        indices: Vec<u32>,
        skipped: Vec<Unreadable>,
    ) -> Result<(Vec<u32>, Vec<Unreadable>), EmError> {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        for (indices, skipped) in self.ranks.gather_data((indices, skipped))? {
            all.extend(indices);
            bad.extend(skipped);
        }
        Ok((all, bad))
    }

    /// Losses of the whole batch.
    pub(super) fn mean_losses(&mut self, own: Losses) -> Result<Losses, EmError> {
        let mut values = [own.instance, own.prototype.unwrap_or(0.0)];
        self.ranks.sum(&mut values)?;
        let ranks = self.ranks.world() as f32;
        let [instance, prototype] = values.map(|sum| sum / ranks);
        Ok(Losses {
            instance,
            prototype: own.prototype.map(|_| prototype),
        })
    }

    /// The mean over ranks of the gradient and of the batch norms' running statistics.
    pub(super) fn mean_gradient(&mut self) -> Result<(), EmError> {
        let ranks = self.ranks.world();
        if ranks == 1 {
            return Ok(());
        }
        let pair = &mut self.state.pair;
        let statistics = [pair.query.statistics_mut(), pair.key.statistics_mut()];
        for values in std::iter::once(&mut self.gradient[..]).chain(statistics) {
            self.ranks.sum(values)?;
            values.iter_mut().for_each(|sum| *sum /= ranks as f32);
        }
        Ok(())
    }

    /// All clusterings, of which the ranks have every so manyth; none if there are none of any rank's.
    pub(super) fn all_clusterings(
        &mut self,
        own: Option<Vec<Clustered>>,
    ) -> Result<Option<Vec<Clustered>>, EmError> {
        let (rank, world) = (self.ranks.rank(), self.ranks.world());
        if self.ranks.any(own.is_none())? {
            return Ok(None);
        }
        let mut own = own.expect("no rank was stopped").into_iter();
        if world == 1 {
            return Ok(Some(own.collect()));
        }
        let mut all = Vec::new();
        for i in 0..self.plan.clusters.len() {
            let (from, dim) = (i % world, self.plan.encoder.dim);
            let own = (from == rank).then(|| own.next().expect("each rank has its own"));
            all.push(clustered(&mut self.ranks, from, own, dim)?);
        }
        Ok(Some(all))
    }

    /// Holds all but rank 0 until that has saved: what starts processes may end all of them when one has ended.
    pub(super) fn await_first(&mut self) -> Result<(), EmError> {
        let told = self.ranks.broadcast(0, Vec::new());
        match self.ranks.is_first() {
            true => Ok(()), // everything is saved, whoever has gone meanwhile
            false => Ok(told.map(drop)?),
        }
    }

    /// Whether any rank was asked to stop.
    pub(super) fn any(&mut self, stop: bool) -> Result<bool, EmError> {
        Ok(self.ranks.any(stop)?)
    }
}

/// The clustering that rank `from` has.
fn clustered(
    ranks: &mut Ranks,
    from: usize,
    own: Option<Clustered>,
    dim: usize,
) -> Result<Clustered, EmError> {
    let (clustering, report) = own.unzip();
    let parts = clustering.map(|c| (c.labels, c.centroids, c.concentration));
    let (labels, centroids, concentration) = parts.unwrap_or_default();
    let report = ranks.broadcast_data(from, report)?;
    let labels = ranks.broadcast_values(from, labels)?;
    let centroids = ranks.broadcast_values(from, centroids)?;
    let concentration = ranks.broadcast_values(from, concentration)?;
    Ok((
        Clustering::new(labels, centroids, concentration, dim)?,
        report,
    ))
}
