//! Everything that training carries from step to step.

use crate::e_step::Clustering;
use protem_encoder::MomentumPair;
use protem_loss::Queue;
use serde::{Deserialize, Serialize};

/// How far a run has come, and what it will tell of the epoch under way and of the last one.
/// Counts are of what is done. The same for the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs.
    pub epoch: usize,
    /// Batches of the epoch that is under way.
    pub batch: usize,
    /// Optimizer steps of the run.
    pub step: u64,
    /// Whole epochs before the last E-step; none before the first.
    #[serde(default)]
    pub clustered: Option<usize>,
    /// Sums of the losses over the batches of this epoch, for its mean.
    pub sums: LossSums,
    /// Mean over the clusterings of the AMI of this epoch's E-step with the one before.
    pub ami_previous: Option<f64>,
    /// Mean loss of the last whole epoch.
    pub loss: Option<f64>,
    /// kNN accuracy of the last evaluation.
    pub knn_top1: Option<f64>,
    /// The highest there was.
    #[serde(default)]
    pub best: Option<Best>,
}

/// An evaluation that no other of the run has been better than.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// kNN accuracy.
    pub knn_top1: f64,
    /// Whole epochs before it.
    pub epoch: usize,
    /// Optimizer steps before it.
    pub step: u64,
}

/// Sums of losses over batches.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossSums {
    /// Of InfoNCE.
    pub instance: f64,
    /// Of the ProtoNCE terms' mean.
    pub prototype: f64,
}

/// Seconds spent, over all the processes of a run; work that a crash lost is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Clock {
    /// The whole run.
    pub run: f64,
    /// The epoch under way.
    pub epoch: f64,
    /// Its E-step.
    pub e_step: f64,
    /// Its M-steps, with the wait for images and without saving.
    pub m_step: f64,
    /// The wait for images in it.
    #[serde(default)]
    pub waited: f64,
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
    /// Seconds it took.
    pub clock: Clock,
}
