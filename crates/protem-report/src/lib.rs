//! What a run leaves behind: its folder, with the resolved config, the metrics (as JSON lines, and for
//! TensorBoard) and the list of unreadable images; the report of it as HTML, and pages of it while it
//! goes on; and features as `.npy` and Parquet.
//!
//! The crate reads the trainer's events and knows nothing of its insides. A report is a function of
//! data: [`History`] collects events, whoever makes the report brings a map, clusters and pictures, and
//! [`Report::html`] writes the page. Live pages ([`LiveRun`], [`Runs`]) are functions of the same history, which a
//! [`Follower`] reads as it grows; what serves them is elsewhere.

mod follower;
mod history;
mod npy;
mod pace;
mod parquet_features;
mod plain;
mod quarantine;
mod report;
mod run_folder;
mod tensorboard;

pub use follower::Follower;
pub use history::History;
pub use npy::{npy, npy_labels, npy_vector};
pub use pace::Pace;
pub use parquet_features::parquet_features;
pub use plain::open_plain;
pub use quarantine::{Listed, escape, unescape};
pub use report::{
    Card, ClassShare, Clusters, Distribution, Entry, Groups, LiveRun, Map, Part, Picture, Plane,
    Point, Report, RunState, Runs, SCRIPT, STYLE, Section, Sheet, Shown, Told, broken,
    broken_parts, counted, is_report, percent, refusal,
};
pub use run_folder::{ReportError, RunFolder, RunPhase};
