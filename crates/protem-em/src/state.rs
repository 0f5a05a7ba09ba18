//! Everything that training carries from step to step.

use crate::e_step::Clustering;
use protem_encoder::MomentumPair;
use protem_loss::Queue;
use serde::{Deserialize, Serialize};

/// How far a run has come. Counts are of what is done.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs.
    pub epoch: usize,
    /// Batches of the epoch that is under way.
    pub batch: usize,
    /// Optimizer steps of the run.
    pub step: u64,
    /// Sums of the losses over the batches of this epoch, for its mean.
    pub sums: LossSums,
    /// Seconds of the run in the process or processes before this one.
    pub seconds: f64,
}

/// Sums of losses over batches.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossSums {
    /// Of InfoNCE.
    pub instance: f64,
    /// Of the ProtoNCE terms' mean.
    pub prototype: f64,
}

/// Encoders, optimizer, queue, prototypes and position: what a checkpoint holds.
pub struct State {
    /// Query and key encoder.
    pub pair: MomentumPair,
    /// Momentum of the optimizer, in the order of the query encoder's parameters.
    pub velocity: Vec<f32>,
    /// Keys of earlier batches.
    pub queue: Queue,
    /// Clusterings of the last E-step; empty in the warm-up and without prototypes.
    pub clusterings: Vec<Clustering>,
    /// How far the run has come.
    pub position: Position,
}
