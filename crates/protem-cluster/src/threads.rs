//! On which threads the work runs.

use crate::error::ClusterError;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool of a chosen size, or the caller's.
pub(crate) struct Threads(Option<ThreadPool>);

impl Threads {
    /// Whether there can be so many: rayon would read 0 as "all", and start as many as it is told, which
    /// may take longer than the work.
    pub(crate) fn check(threads: Option<usize>) -> Result<(), ClusterError> {
        match threads {
            Some(threads) if !(1..=4096).contains(&threads) => Err(ClusterError::Setting {
                name: "threads",
                value: threads.to_string(),
                rule: "from 1 to 4096",
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn new(threads: Option<usize>) -> Result<Self, ClusterError> {
        Self::check(threads)?;
        threads
            .map(|threads| {
                let built = ThreadPoolBuilder::new().num_threads(threads).build();
                built.map_err(|e| ClusterError::Threads {
                    threads,
                    reason: e.to_string(),
                })
            })
            .transpose()
            .map(Self)
    }

    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
