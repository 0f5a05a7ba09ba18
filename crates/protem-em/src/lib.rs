//! Prototypical contrastive learning as expectation maximisation.
//!
//! [`Plan::check`] turns [`Settings`] and a number of images into a run that can work;
//! [`Trainer`] runs it: from the warm-up on, each epoch begins with an E-step (the key encoder's
//! embeddings are clustered into prototypes, [`Clustering`]) and goes on with M-steps
//! ([`m_step()`]: InfoNCE and ProtoNCE). What happens comes out as [`Event`]s; [`State`] is
//! all that a run carries, and a [`Checkpoint`] is that on disk.
//!
//! The crate knows nothing of the command line or of reports.

mod accumulate;
mod checkpoint;
mod durable;
mod e_step;
mod error;
mod estimate;
mod events;
mod features;
mod image_set;
mod m_step;
mod measure;
mod quarantine;
mod resume;
mod schedule;
mod settings;
mod state;
mod step_cost;
mod trainer;

pub use protem_encoder::{Arch, EncoderConfig, Head, Stem};
pub use protem_ops::Precision;

pub use checkpoint::{
    Checkpoint, Origin, clean as clean_checkpoints, list as list_checkpoints,
    save as save_checkpoint, size as checkpoint_size,
};
pub use durable::{remove_partial, write_atomically, write_together};
pub use e_step::Clustering;
pub use error::EmError;
pub use estimate::{Estimate, Sizes, estimate};
pub use events::{Evaluated, Event, Phase, Set};
pub use features::{Extracted, Output, extract, normalise_rows};
pub use image_set::ImageSet;
pub use m_step::{Batch, LossConfig, Losses, m_step, shuffled_rows};
pub use schedule::LearningRate;
pub use settings::{
    AugmentSettings, CheckpointSettings, DataSettings, EStepSettings, EncoderSettings,
    EvalSettings, MethodSettings, Mode, Note, OptimPlan, OptimSettings, Optimizer, Plan, Schedule,
    Settings, Violation,
};
pub use state::{Clock, LossSums, Position, State};
pub use step_cost::{EncoderStep, PlanStep};
pub use trainer::{Outcome, Trainer};
