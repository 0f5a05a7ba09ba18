//! What can come between ranks.

use std::io;

/// Why ranks do not find each other, or why one of them cannot go on with the others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommError {
    /// Rank 0 cannot be waited for there.
    #[error("cannot listen at {address} as rank 0")]
    Listen {
        /// Name and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Rank 0 was not found.
    #[error("no rank 0 at {address} within {seconds} s")]
    NoLeader {
        /// Name and port.
        address: String,
        /// How long it was looked for.
        seconds: u64,
        /// What came of the last try.
        source: io::Error,
    },
    /// Ranks that did not come.
    #[error("{} of {world} ranks did not come within {seconds} s: {}", missing.len(), list(missing))]
    Missing {
        /// Which.
        missing: Vec<usize>,
        /// How many there should be.
        world: usize,
        /// How long they were waited for.
        seconds: u64,
    },
    /// A process that was launched as part of something else.
    #[error("a process at {from} says it is rank {rank} of {world}: {reason}")]
    Stranger {
        /// Where it calls from.
        from: String,
        /// Its rank.
        rank: u32,
        /// How many ranks it knows of.
        world: u32,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// A connection that ended.
    #[error("rank {rank} is gone")]
    Lost {
        /// Which.
        rank: usize,
        /// How that was noticed.
        source: io::Error,
    },
    /// A rank that does something else.
    #[error("rank {rank} is out of step: it sent {found}, and {expected} was due")]
    OutOfStep {
        /// Which.
        rank: usize,
        /// What came.
        found: String,
        /// What should have come.
        expected: String,
    },
    /// Ranks that do not have the same.
    #[error("ranks differ in {what}: rank {rank} has {found}, and rank 0 has {of_first}")]
    Differ {
        /// In what.
        what: &'static str,
        /// The first rank that differs.
        rank: usize,
        /// What it has.
        found: String,
        /// What rank 0 has.
        of_first: String,
    },
}

impl CommError {
    /// Of a connection with a rank.
    pub(crate) fn lost(rank: usize, source: io::Error) -> Self {
        let source = match source.kind() {
            // Their own words are of buffers and resources.
            kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, "its connection ended"),
            kind @ io::ErrorKind::WouldBlock => io::Error::new(kind, "it does not answer"),
            _ => source,
        };
        Self::Lost { rank, source }
    }
}

fn list(ranks: &[usize]) -> String {
    let names: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    names.join(", ")
}
