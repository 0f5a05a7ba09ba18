//! Many relative paths in one piece of memory: a million of them are one allocation.

use std::path::{Path, PathBuf};

/// A list of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Paths {
    pub(crate) fn push(&mut self, path: &Path) {
        self.bytes
            .extend_from_slice(path.as_os_str().as_encoded_bytes());
        self.ends.push(self.bytes.len() as u64);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        let start = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// # Panics
    /// If `index` is not below the length.
    pub(crate) fn get(&self, index: usize) -> PathBuf {
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i]);
        path_of(&self.bytes[start as usize..self.ends[index] as usize])
    }

    pub(crate) fn parts(&self) -> (&[u8], &[u64]) {
        (&self.bytes, &self.ends)
    }

    /// None unless the ends divide the bytes.
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<u64>) -> Option<Self> {
        let last = ends.last().copied().unwrap_or(0);
        let whole = ends.is_sorted() && last == bytes.len() as u64;
        whole.then_some(Self { bytes, ends })
    }
}

/// A path as text: bytes that are no UTF-8 as `\xE9`, so that no two images have one name.
pub(crate) fn text_of(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

#[cfg(unix)]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Names that are no Unicode are told apart only on Unix.
#[cfg(not(unix))]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
