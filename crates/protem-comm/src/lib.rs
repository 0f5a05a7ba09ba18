//! Collectives among the processes of a run: *ranks*, numbered from 0, each connected with each by TCP.
//!
//! [`Launch`] is what an environment tells of a process's place (torchrun's, Slurm's, MPI launchers' or one set by hand), [`Ranks::join`] finds
//! the others. Every collective is called by all ranks in the same order; sums are taken in the order of the ranks, so all of
//! them hold the same bits.
//!
//! What this crate does not know: what is exchanged. Nothing is encrypted, and who can reach the ports can take part: it is for networks whose
//! machines trust each other.
//!
//! ```
//! use protem_comm::Ranks;
//!
//! // Two ranks within one process, as tests have them.
//! let ranks = Ranks::within_process(2)?;
//! let sums = ranks.into_iter().map(|mut ranks| {
//!     std::thread::spawn(move || {
//!         let mut values = [1.0, ranks.rank() as f32];
//!         ranks.sum(&mut values).map(|()| values)
//!     })
//! });
//! for sum in sums.collect::<Vec<_>>() {
//!     assert_eq!(sum.join().expect("no panic")?, [2.0, 1.0]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod data;
mod error;
mod join;
mod launch;
mod link;
mod ranks;

pub use error::CommError;
pub use launch::{Launch, LaunchError};
pub use ranks::Ranks;
