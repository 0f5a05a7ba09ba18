//! What is printed. A reader that has gone (`| head`) is no reason to fail, and nothing of it one to
//! stop training; a result that could not be written is a failure in the end.
//!
//! Names of files may hold anything. Control characters would move a terminal's cursor, colour what
//! follows or do more, and are printed as JSON has them (`\u001b`), so that JSON says the same with them.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{Error, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first error of writing to standard output.
static LOST: OnceLock<Error> = OnceLock::new();

/// A text without control characters, but for tabs and line ends.
fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harms) {
        return text.into();
    }
    let shown = |c: char| match harms(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    text.chars().map(shown).collect::<String>().into()
}

/// Whether nobody reads standard output any more.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// A line for standard output.
pub fn say(line: impl Display) {
    let line = line.to_string();
    let line = harmless(&line);
    let mut out = std::io::stdout();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = written {
        match error.kind() {
            ErrorKind::BrokenPipe => UNHEARD.store(true, Ordering::Relaxed),
            _ => _ = LOST.set(error), // there may be one already
        }
    }
}

/// Whether what is yet to be said would be said to nobody.
pub fn is_unheard() -> bool {
    UNHEARD.load(Ordering::Relaxed)
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
    let line = line.to_string();
    let line = harmless(&line);
    let line = match RANK.get() {
        Some(rank) => format!("protem (rank {rank}): {line}\n"),
        None => format!("protem: {line}\n"),
    };
    // In one piece: other ranks may write there too.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_printed_as_json_has_them() {
        for plain in ["", "straße/猫\u{301} \u{200f}א.jpg", "a\tb\nc", "\\u001b"] {
            assert!(matches!(harmless(plain), Cow::Borrowed(text) if text == plain));
        }
        let name = "\u{1b}[2J\r\u{7f}\u{9b}é\0";
        assert_eq!(harmless(name), "\\u001b[2J\\u000d\\u007f\\u009bé\\u0000");
        let json = serde_json::to_string(name).unwrap();
        let read: String = serde_json::from_str(&harmless(&json)).unwrap();
        assert_eq!(read, name);
    }
}
