//! Prototypical contrastive learning as expectation maximisation.
//!
//! [`Plan::check`] turns [`Settings`] and a number of images into a run that can work;
//! [`Trainer`] runs it: from the warm-up on, each epoch begins with an E-step ([`e_step()`]:
//! the key encoder's embeddings are clustered into prototypes) and goes on with M-steps
//! ([`m_step()`]: InfoNCE and ProtoNCE). What happens comes out as [`Event`]s; [`State`] is
//! all that a run carries, and a [`Checkpoint`] is that on disk.
//!
//! The crate knows nothing of the command line or of reports.

mod checkpoint;
mod durable;
mod e_step;
mod error;
mod events;
mod features;
mod m_step;
mod schedule;
mod settings;
mod state;
mod trainer;

pub use checkpoint::{Checkpoint, list as list_checkpoints, save as save_checkpoint};
pub use durable::write_atomically;
pub use e_step::{Clustering, ClusteringReport, EStepConfig, e_step};
pub use error::EmError;
pub use events::{Evaluated, Event};
pub use features::{Output, extract, normalise_rows};
pub use m_step::{Batch, LossConfig, Losses, m_step};
pub use schedule::LearningRate;
pub use settings::{
    AugmentSettings, CheckpointSettings, DataSettings, EStepSettings, EncoderSettings,
    EvalSettings, MethodSettings, Mode, Note, OptimPlan, OptimSettings, Plan, Precision, Schedule,
    Settings, Violation,
};
pub use state::{LossSums, Position, State};
pub use trainer::{Outcome, Trainer};
