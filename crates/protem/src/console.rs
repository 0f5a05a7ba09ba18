//! What is printed. A reader that has gone (`| head`) is no reason to fail, and nothing of it one to
//! stop training; a result that could not be written is a failure in the end.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Write};
use std::sync::OnceLock;

/// The first error of writing to standard output.
static LOST: OnceLock<Error> = OnceLock::new();

/// A line for standard output.
pub fn say(line: impl Display) {
    let mut out = std::io::stdout();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error); // there may be one already
    }
}

/// Why something that was said is lost, if it is.
pub fn lost() -> Option<&'static Error> {
    LOST.get()
}

/// What a setting's value is called in a config.
pub fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).expect("plain data");
    value.as_str().unwrap_or_default().to_owned()
}

/// Which of several ranks speaks, if not the first.
static RANK: OnceLock<usize> = OnceLock::new();

/// Lets [`warn`] tell which rank it is that speaks.
pub fn speak_as(rank: usize) {
    let _ = RANK.set(rank); // it is one all its life
}

/// Whether this is a rank that leaves it to the first to show progress.
pub fn is_quiet() -> bool {
    RANK.get().is_some()
}

/// A line for standard error.
pub fn warn(line: impl Display) {
    let line = match RANK.get() {
        Some(rank) => format!("protem (rank {rank}): {line}\n"),
        None => format!("protem: {line}\n"),
    };
    // In one piece: other ranks may write there too.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
