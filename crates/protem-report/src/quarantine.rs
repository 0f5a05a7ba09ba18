//! `quarantine.tsv`: the images of a run that cannot be read, one a line: name, reason, set
//! (`training` or `test`), and when it was found (`start`: the image is none of the run's;
//! `later`: it is, and others take its place).

use crate::run_folder::{ReportError, io};
use protem_em::{Event, Set};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const START: &str = "start";
const LATER: &str = "later";

/// Names of images, by set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed(HashSet<(Set, String)>);

impl Listed {
    /// Whether an image is listed.
    pub fn contains(&self, set: Set, name: &str) -> bool {
        self.0.contains(&(set, escape(name)))
    }

    /// How many images are listed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without an image.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct QuarantineList {
    path: PathBuf,
    all: Listed,
    left_out: Listed,
}

impl QuarantineList {
    pub fn open(path: PathBuf) -> Result<Self, ReportError> {
        let bytes = if path.exists() {
            fs::read(&path).map_err(io("read", &path))?
        } else {
            Vec::new()
        };
        // A crash may have cut a name within a letter.
        let text = String::from_utf8_lossy(&bytes);
        let mut list = Self {
            path,
            all: Listed::default(),
            left_out: Listed::default(),
        };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, _, set, found] = fields[..] else {
                continue; // torn by a crash
            };
            let set = if set == name_of(Set::Test) {
                Set::Test
            } else {
                Set::Training
            };
            if found == START {
                list.left_out.0.insert((set, name.to_owned()));
            }
            list.all.0.insert((set, name.to_owned()));
        }
        Ok(list)
    }

    pub fn all(self) -> Listed {
        self.all
    }

    pub fn left_out(self) -> Listed {
        self.left_out
    }

    pub fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        let Event::Quarantine {
            set,
            name,
            reason,
            at_start,
        } = event
        else {
            return Ok(());
        };
        let (name, reason) = (escape(name), escape(reason));
        let entry = (*set, name.clone());
        if self.all.0.contains(&entry) {
            return Ok(());
        }
        let found = if *at_start { START } else { LATER };
        let line = format!("{name}\t{reason}\t{}\t{found}\n", name_of(*set));
        append(&self.path, &line).map_err(io("append to", &self.path))?;
        self.all.0.insert(entry);
        Ok(())
    }

    /// Brings what was recorded to the disk: a run that goes on wants to know what it left out.
    pub fn sync(&self) -> Result<(), ReportError> {
        if self.all.is_empty() {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).open(&self.path);
        file.and_then(|file| file.sync_all())
            .map_err(io("sync", &self.path))
    }
}

/// Appends a whole line or nothing; after half a line, which a crash left, in a line of its own.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).read(true).open(path)?;
    let before = file.metadata()?.len();
    let mut last = [b'\n'];
    if before > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let torn = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{torn}{line}").as_bytes())
        .inspect_err(|_| {
            let _ = file.set_len(before); // what was written of it would spoil the next
        })
}

fn name_of(set: Set) -> &'static str {
    match set {
        Set::Training => "training",
        Set::Test => "test",
    }
}

/// A name without tabs and line ends, different for different names: `\\` stands for a backslash, and
/// `\t`, `\n` and `\r` for what they mean elsewhere.
pub fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    text.replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

/// The name that [`escape`] made this of. A backslash that stands for nothing is itself.
pub fn unescape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        name.push_str(&rest[..at]);
        let (meant, length) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b't') => ('\t', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            _ => ('\\', 1),
        };
        name.push(meant);
        rest = &rest[at + length..];
    }
    name + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for name in ["a/b.jpg", "", "\\", "\\\\n", "a\tb\n\r\\t", "ä\\ö", "\\x\\"] {
            let line = escape(name);
            assert!(!line.contains(['\t', '\n', '\r']), "{line}");
            assert_eq!(unescape(&line), name);
        }
        assert_eq!(unescape("a\\b\\"), "a\\b\\");
    }

    #[test]
    fn an_image_is_listed_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quarantine.tsv");
        let bad = |set, name: &str, at_start| Event::Quarantine {
            set,
            name: name.into(),
            reason: "is\ttruncated".into(),
            at_start,
        };
        for _ in 0..2 {
            let mut list = QuarantineList::open(path.clone()).unwrap();
            list.record(&bad(Set::Training, "a\tb.jpg", true)).unwrap();
            list.record(&bad(Set::Test, "c.jpg", false)).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        // A name that a crash cut within a letter.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"Stra\xc3").unwrap();
        let mut list = QuarantineList::open(path.clone()).unwrap();
        list.record(&bad(Set::Training, "d.jpg", false)).unwrap();
        assert!(list.all.contains(Set::Training, "d.jpg"));
        let again = QuarantineList::open(path.clone()).unwrap();
        assert_eq!(again.all, list.all);
        let left_out = QuarantineList::open(path).unwrap().left_out();
        assert!(left_out.contains(Set::Training, "a\tb.jpg") && left_out.len() == 1);
    }
}
