//! How a command fails: what to print, and with which exit code.

use protem_cluster::ClusterError;
use protem_em::EmError;
use std::fmt;

/// A failure with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1 while running, 2 for bad usage or settings, 130 stopped by a signal.
    pub code: u8,
    message: String,
}

impl Failure {
    /// Something the user asked for that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
        }
    }

    /// Something that went wrong on the way.
    pub fn running(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
        }
    }

    /// Stopped by a signal; the message tells what is kept.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self {
            code: 130,
            message: message.into(),
        }
    }

    /// The same with another line below.
    pub fn with(self, line: impl fmt::Display) -> Self {
        let message = format!("{}\n{line}", self.message);
        Self { message, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Points that cannot be clustered as they were to be.
pub fn of_points(what: impl fmt::Display, error: &ClusterError) -> Failure {
    let text = format!("{what}: {}", explain(error));
    match error {
        ClusterError::Setting { .. } => Failure::usage(explain(error)),
        ClusterError::Initial(_)
        | ClusterError::Centroids(_)
        | ClusterError::NotFinite { .. }
        | ClusterError::TooLarge { .. }
        | ClusterError::TooMany { .. } => Failure::usage(text),
        _ => Failure::running(text),
    }
}

/// An error of the training crate; where no checkpoint is whole, with what is wrong with each.
pub fn explain_em(error: &EmError) -> String {
    let mut text = explain(error);
    if let EmError::NoCheckpoint { refused, .. } = error {
        for (_, reason) in refused {
            text = format!("{text}\n  {reason}");
        }
    }
    text
}

/// An error with all of its causes.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
