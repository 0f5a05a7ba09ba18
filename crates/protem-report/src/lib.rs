//! What a run leaves behind: its folder, with the resolved config, the metrics and the list of
//! unreadable images; and features as `.npy`.
//!
//! The crate reads the trainer's events and knows nothing of its insides.

mod npy;
mod quarantine;
mod run_folder;

pub use npy::{npy, npy_labels, npy_vector};
pub use quarantine::{Listed, escape};
pub use run_folder::{ReportError, RunFolder};
