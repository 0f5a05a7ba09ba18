//! On which threads the work runs.

use crate::error::ClusterError;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool of a chosen size, or the caller's.
pub(crate) struct Threads(Option<ThreadPool>);

impl Threads {
    pub(crate) fn new(threads: Option<usize>) -> Result<Self, ClusterError> {
        if threads == Some(0) {
            // rayon would read 0 as "all".
            return Err(ClusterError::Setting {
                name: "threads",
                value: "0".into(),
                rule: "at least 1",
            });
        }
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
