//! What is printed. A reader that has gone (`| head`) is no reason to fail, or to stop training.

use std::fmt::Display;
use std::io::Write;

/// A line for standard output.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line for standard error.
pub fn warn(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "protem: {line}");
}
