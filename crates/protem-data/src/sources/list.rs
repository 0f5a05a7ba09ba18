//! A list file: a path a line, with a label or without.

use crate::error::DataError;
use crate::files::{Classes, Files, is_image};
use crate::labels::{Gathered, Labels};
use crate::paths::Paths;
use crate::storage::Storage;
use std::path::{Path, PathBuf};

/// Largest list.
const LARGEST: u64 = 1 << 31;

/// The images a text file names, one a line, relative to its folder or absolute. A label may
/// follow, after a tab or after the last blank: numbers are classes by themselves, names are
/// classes in alphabetical order, and negative numbers alone are none. Empty lines and lines that begin
/// with `#` are passed over.
///
/// # Errors
/// A list that cannot be read, a line without an image's extension, labels on some lines only.
pub(crate) fn open(path: &Path) -> Result<Files, DataError> {
    let root = path.parent().unwrap_or(Path::new(""));
    parse(&Storage::open(path)?, root, Absolute::Itself)
}

/// What a path that begins with a slash means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absolute {
    /// That path.
    Itself,
    /// The one below the list's root.
    BelowRoot,
}

/// The same of a list that is a file or lies in memory, with paths relative to `root`.
pub(crate) fn parse(list: &Storage, root: &Path, absolute: Absolute) -> Result<Files, DataError> {
    let bytes = list.read_all("bytes", LARGEST)?;
    let refused = |line: usize, reason: String| DataError::Line {
        path: list.path().to_path_buf(),
        line: line + 1,
        reason,
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let (mut paths, mut gathered) = (Paths::default(), Gathered::default());
    for (number, line) in text.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some((image, label)) = taken_apart(line) else {
            return Err(refused(
                number,
                format!(
                    "`{}` is no path of an image with a label or without",
                    String::from_utf8_lossy(&line[..line.len().min(200)])
                ),
            ));
        };
        if let Some(label) = label {
            let pushed = gathered.push(label);
            pushed.map_err(|reason| refused(number, reason))?;
        }
        match image.strip_prefix("/") {
            Ok(below) if absolute == Absolute::BelowRoot => paths.push(below),
            _ => paths.push(&image),
        }
        if gathered.len() != 0 && gathered.len() != paths.len() {
            let reason = "some lines have a label and some have none";
            return Err(refused(number, reason.into()));
        }
    }
    if paths.len() == 0 {
        return Err(refused(0, "the list is empty".into()));
    }
    let labels = match gathered.len() {
        0 => Labels::default(),
        _ => gathered.finish().map_err(|reason| DataError::Classes {
            path: list.path().to_path_buf(),
            reason,
        })?,
    };
    Files {
        root: root.to_path_buf(),
        paths,
        classes: Classes::One(labels),
        what: format!("images of the list {}", list.path().display()),
    }
    .checked()
}

/// Whether the first line of a text is one of a list.
pub(crate) fn begins_list(text: &[u8]) -> bool {
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    line.is_some_and(|line| !line.contains(&0) && taken_apart(line).is_some())
}

/// Whether one of the first lines of a text has an image in a column, though it is none of a list.
pub(crate) fn is_table(text: &[u8]) -> bool {
    let lines = text.split(|b| *b == b'\n').take(2);
    let mut columns = lines.flat_map(|line| line.split(|b| b",;\t".contains(b)));
    columns.any(|column| {
        let bare = column.trim_ascii();
        let bare = bare.strip_prefix(b"\"").unwrap_or(bare);
        is_image(&crate::paths::path_of(
            bare.strip_suffix(b"\"").unwrap_or(bare),
        ))
    })
}

/// Path and label of a line.
pub(crate) fn taken_apart(line: &[u8]) -> Option<(PathBuf, Option<&[u8]>)> {
    let image = |bytes: &[u8]| {
        let path = crate::paths::path_of(bytes);
        (is_image(&path) && !bytes.contains(&0)).then_some(path)
    };
    let split = |at: usize| (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
    if let Some(tab) = line.iter().position(|b| *b == b'\t') {
        let (path, label) = split(tab);
        // A table of more columns: which of them is meant?
        return Some((image(path)?, Some(label))).filter(|_| !label.contains(&b'\t'));
    }
    if let Some(path) = image(line) {
        return Some((path, None));
    }
    let (path, label) = split(line.iter().rposition(|b| *b == b' ')?);
    Some((image(path)?, Some(label)))
}
