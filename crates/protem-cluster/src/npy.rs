//! Points in a `.npy` file, memory-mapped so that their number is not bound by memory, or read.
//!
//! The format: NEP 1 of numpy. Magic, version, length of the header, and the header: a Python
//! dictionary of `descr`, `fortran_order` and `shape`, padded with spaces to a newline.

use crate::error::ClusterError;
use crate::kernel;
use crate::matrix::Matrix;
use memmap2::Mmap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A two-dimensional array of little-endian `f32` in a `.npy` file.
#[derive(Debug)]
pub struct Npy {
    bytes: Bytes,
    header: Header,
}

/// A file's.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// From this place on.
    Read(Vec<u8>, usize),
}

/// Bytes of a cache line. Values begin at a multiple of it in a file by numpy, and so do rows of 16
/// values each then: of others, vectors lie in two lines.
const LINE: usize = 64;

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes, begin) => &bytes[*begin..],
        }
    }

    /// A file's in memory, from the beginning of a line on.
    fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(len.saturating_add(LINE))?;
        let begin = bytes.as_ptr().addr().next_multiple_of(LINE) - bytes.as_ptr().addr();
        bytes.resize(begin, 0);
        file.read_to_end(&mut bytes)?;
        Ok(Self::Read(bytes, begin))
    }
}

/// Why a file is not such an array.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the file holds is not what is needed.
    #[error("not points in .npy: {what}")]
    Format {
        /// What is wrong, with the value found.
        what: String,
    },
    /// The array has no columns.
    #[error(transparent)]
    Shape(#[from] ClusterError),
}

/// What a header says, and where the values begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    rows: usize,
    cols: usize,
    begin: usize,
}

impl Npy {
    /// Maps a file. Its values are read when they are used; while this lives, nobody must change
    /// or shorten the file: the process would read something else, or be killed by the system.
    ///
    /// # Errors
    /// [`NpyError::Io`]; [`NpyError::Format`] for a file that is not a complete two-dimensional
    /// C-ordered `<f4` array; [`NpyError::Shape`] for one without columns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NpyError> {
        let path = path.as_ref();
        let failed = |source| NpyError::Io {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        Self::of(Bytes::Mapped(kernel::map(&file).map_err(failed)?))
    }

    /// Reads a file into memory, where rows are at hand sooner than in a mapped one: its pages are
    /// small, and each is fetched when it is first used.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, NpyError> {
        let path = path.as_ref();
        let bytes = Bytes::read(path).map_err(|source| NpyError::Io {
            path: path.into(),
            source,
        })?;
        Self::of(bytes)
    }

    fn of(bytes: Bytes) -> Result<Self, NpyError> {
        let header = Header::parse(bytes.get())?;
        let npy = Self { bytes, header };
        npy.view()?;
        Ok(npy)
    }

    /// The points.
    ///
    /// # Errors
    /// As [`Self::open`]; none after it.
    pub fn view(&self) -> Result<Matrix<'_>, NpyError> {
        values(self.bytes.get(), &self.header)
    }
}

/// The points in the bytes of a file.
fn values<'a>(bytes: &'a [u8], header: &Header) -> Result<Matrix<'a>, NpyError> {
    if cfg!(target_endian = "big") {
        return Err(wrong(
            "values are little-endian, this machine is not".into(),
        ));
    }
    let len = header.rows.checked_mul(header.cols);
    let len = len.and_then(|values| values.checked_mul(4));
    let found = bytes.len() - header.begin;
    if len != Some(found) {
        let (rows, cols) = (header.rows, header.cols);
        return Err(wrong(format!(
            "{rows}×{cols} values of 4 bytes do not fill the {found} bytes after the header: is the file whole?"
        )));
    }
    let values = bytemuck::try_cast_slice(&bytes[header.begin..]).map_err(|_| {
        wrong(format!(
            "values begin at byte {}, not aligned",
            header.begin
        ))
    })?;
    Ok(Matrix::new(values, header.rows, header.cols)?)
}

fn wrong(what: String) -> NpyError {
    NpyError::Format { what }
}

/// Longest header taken: numpy's own limit for untrusted files.
const LONGEST: usize = 10_000;

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, NpyError> {
        let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
            return Err(wrong("the magic number is missing".into()));
        };
        let (len, at) = match rest {
            [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 10),
            [2 | 3, _, a, b, c, d, ..] => {
                let len = u32::from_le_bytes([*a, *b, *c, *d]);
                (usize::try_from(len).unwrap_or(usize::MAX), 12)
            }
            [major, ..] if !(1..=3).contains(major) => {
                return Err(wrong(format!("version {major} of the format")));
            }
            _ => return Err(wrong("the file ends in its header".into())),
        };
        if len > LONGEST {
            return Err(wrong(format!("a header of {len} bytes")));
        }
        let Some(text) = bytes.get(at..at + len) else {
            return Err(wrong("the file ends in its header".into()));
        };
        let text = std::str::from_utf8(text).map_err(|e| wrong(e.to_string()))?;
        let (rows, cols) = dictionary(text)?;
        Ok(Self {
            rows,
            cols,
            begin: at + len,
        })
    }
}

/// The shape that a header's dictionary names, of C-ordered `<f4`.
fn dictionary(text: &str) -> Result<(usize, usize), NpyError> {
    let mut rest = Text(text);
    let (mut descr, mut order, mut shape) = (None, None, None);
    rest.token("{")?;
    while !rest.take("}") {
        let key = rest.string()?;
        rest.token(":")?;
        let again = match key {
            "descr" => descr.replace(rest.string()?).is_some(),
            "fortran_order" => order.replace(rest.word()?).is_some(),
            "shape" => shape.replace(rest.tuple()?).is_some(),
            other => return Err(wrong(format!("key {other:?} in the header"))),
        };
        if again {
            return Err(wrong(format!("key {key:?} twice in the header")));
        }
        if !rest.take(",") {
            rest.token("}")?;
            break;
        }
    }
    if !rest.0.trim().is_empty() {
        return Err(wrong(format!("{:?} after the header's dictionary", rest.0)));
    }
    let needs = |key, found: Option<String>, needed| {
        let found = found.unwrap_or_else(|| "missing".into());
        wrong(format!("{key} is {found}, it must be {needed}"))
    };
    if descr != Some("<f4") {
        return Err(needs("descr", descr.map(str::to_owned), "<f4"));
    }
    if order != Some("False") {
        return Err(needs("fortran_order", order.map(str::to_owned), "False"));
    }
    match shape.as_deref() {
        Some([rows, cols]) => Ok((*rows, *cols)),
        other => {
            let found = other.map(|lengths| format!("{lengths:?}"));
            Err(needs("shape", found, "(rows, columns)"))
        }
    }
}

/// What is left of a header.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Takes `token` after white space, if it is next.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start();
        let stripped = rest.strip_prefix(token);
        self.0 = stripped.unwrap_or(rest);
        stripped.is_some()
    }

    fn token(&mut self, token: &str) -> Result<(), NpyError> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.0.chars().take(20).collect();
        Err(wrong(format!(
            "{token:?} expected in the header, found {found:?}"
        )))
    }

    /// A quoted string without escapes.
    fn string(&mut self) -> Result<&'a str, NpyError> {
        let quote = if self.take("\"") { '"' } else { '\'' };
        if quote == '\'' {
            self.token("'")?;
        }
        let Some((value, rest)) = self.0.split_once(quote) else {
            return Err(wrong("a string in the header does not end".into()));
        };
        self.0 = rest;
        Ok(value)
    }

    /// Letters and digits.
    fn word(&mut self) -> Result<&'a str, NpyError> {
        let rest = self.0.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        if word.is_empty() {
            return Err(wrong("a value is missing in the header".into()));
        }
        self.0 = rest;
        Ok(word)
    }

    /// Numbers in parentheses.
    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        let mut values = Vec::new();
        self.token("(")?;
        while !self.take(")") {
            let word = self.word()?;
            let value = word
                .parse()
                .map_err(|_| wrong(format!("{word:?} in the shape")))?;
            values.push(value);
            if !self.take(",") {
                self.token(")")?;
                break;
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(version: u8, dictionary: &str, values: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        let before = if version == 1 { 10 } else { 12 };
        let len = (before + dictionary.len() + 1).next_multiple_of(64) - before;
        match version {
            1 => bytes.extend((len as u16).to_le_bytes()),
            _ => bytes.extend((len as u32).to_le_bytes()),
        }
        bytes.extend(dictionary.bytes());
        bytes.resize(before + len - 1, b' ');
        bytes.push(b'\n');
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    const PLAIN: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

    fn shape(bytes: &[u8]) -> Result<(usize, usize), String> {
        let header = Header::parse(bytes).map_err(|e| e.to_string())?;
        let matrix = values(bytes, &header).map_err(|e| e.to_string())?;
        Ok((matrix.rows(), matrix.cols()))
    }

    #[test]
    fn what_numpy_writes_is_read() {
        for version in [1, 2, 3] {
            assert_eq!(shape(&file(version, PLAIN, &[1.0; 6])), Ok((2, 3)));
        }
        let other = "{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}";
        assert_eq!(shape(&file(1, other, &[1.0; 6])), Ok((2, 3)));
        let none = PLAIN.replace("(2, 3)", "(0, 3)");
        assert_eq!(shape(&file(1, &none, &[])), Ok((0, 3)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let of = |from: &str, to: &str| shape(&file(1, &PLAIN.replace(from, to), &[0.0; 6]));
        for (from, to, said) in [
            ("<f4", "<f8", "<f8"),
            ("False", "True", "True"),
            ("(2, 3)", "(6,)", "[6]"),
            ("(2, 3)", "(2, 4)", "2×4"),
            ("(2, 3)", "(-2, 3)", "missing"),
            (
                "(2, 3)",
                "(99999999999999999999, 3)",
                "99999999999999999999",
            ),
            ("(2, 3)", "(9223372036854775807, 3)", "9223372036854775807"),
            ("(2, 3)", "(6, 0)", "6×0"),
            ("descr", "describe", "describe"),
            ("'shape'", "'descr'", "expected"),
            ("}", "} x", "x"),
        ] {
            let error = of(from, to).unwrap_err();
            assert!(error.contains(said), "{to}: {error}");
        }
        let whole = file(1, PLAIN, &[0.0; 6]);
        for len in 0..whole.len() {
            assert!(shape(&whole[..len]).is_err(), "{len}");
        }
        assert!(shape(&file(7, PLAIN, &[0.0; 6])).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn mutated_files_are_read_or_refused(
            version in 1u8..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            shorten in any::<bool>(),
        ) {
            let mut bytes = file(version, PLAIN, &[1.5; 6]);
            for (at, value) in changes {
                // Mostly in the header.
                let at = at.index(bytes.len().min(90));
                bytes[at] = value;
            }
            if shorten {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok((rows, cols)) = shape(&bytes) {
                prop_assert_eq!(rows * cols, 6);
            }
        }

        #[test]
        fn any_dictionary_is_read_or_refused(text in "[{}()',:<f40-9a-z \\n]{0,60}") {
            let _ = shape(&file(2, &text, &[0.0; 6]));
        }
    }
}
