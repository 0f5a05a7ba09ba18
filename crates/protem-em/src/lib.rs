//! Prototypical contrastive learning as expectation maximisation.
//!
//! [`Plan::check`] turns [`Settings`] and a number of images into a run that can work;
//! [`Trainer`] runs it: from the warm-up on, each epoch begins with an E-step (the key encoder's
//! embeddings are clustered into prototypes, [`Clustering`]) and goes on with M-steps
//! ([`m_step()`]: InfoNCE and ProtoNCE). What happens comes out as [`Event`]s; [`State`] is
//! all that a run carries, and a [`Checkpoint`] is that on disk.
//!
//! The crate knows nothing of the command line or of reports.
//!
//! ```no_run
//! use protem_data::{Generated, GeneratedSpec, Split};
//! use protem_em::{Event, Plan, Settings, Trainer};
//! use std::sync::{Arc, atomic::AtomicBool};
//!
//! let mut settings = Settings::default();
//! settings.method.clusters = Some(vec![50, 100]);
//! settings.method.warmup_epochs = 5;
//! settings.optim.epochs = 20;
//! let spec = GeneratedSpec { seed: 0, images: 1000, size: settings.data.image_size, split: Split::Train };
//! let images = Arc::new(Generated::new(spec));
//! // What cannot work is told here, all of it at once, before anything is made.
//! let plan = Plan::check(&settings, 1000).map_err(|violations| {
//!     violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
//! })?;
//! let mut trainer = Trainer::new(plan, images, None, "runs/mine/checkpoints".into())?;
//! // Set from a signal handler, say, it ends the run behind a checkpoint.
//! let stop = AtomicBool::new(false);
//! let outcome = trainer.run(&mut |event: &Event| println!("{event:?}"), &stop)?;
//! println!("{outcome:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

pub use protem_comm::Ranks;
pub use protem_encoder::{Arch, EncoderConfig, Head, Stem};
pub use protem_ops::Precision;

pub use checkpoint::{
    Checkpoint, Origin, clean as clean_checkpoints, file_name as checkpoint_name,
    list as list_checkpoints, size as checkpoint_size,
};
pub use durable::{remove_partial, write_atomically, write_together};
pub use e_step::Clustering;
pub use error::EmError;
pub use estimate::{Estimate, Sizes, estimate};
pub use events::{Evaluated, Event, Phase, Set};
pub use features::{Extracted, Output, extract, normalise_rows};
pub use image_set::ImageSet;
pub use m_step::{Batch, LossConfig, Losses, m_step};
pub use quarantine::unreadable_limit;
pub use settings::{
    AugmentSettings, CheckpointSettings, DataSettings, EStepSettings, EncoderSettings,
    EvalSettings, MethodSettings, Mode, Note, OptimPlan, OptimSettings, Optimizer, Plan, Schedule,
    Settings, Violation,
};
pub use state::{Best, Clock, LossSums, Position, State};
pub use step_cost::{EncoderStep, PlanStep};
pub use trainer::{Outcome, Trainer};
