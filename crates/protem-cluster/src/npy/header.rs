//! The header of a `.npy` file (NEP 1 of numpy): magic, version, length, and a Python dictionary of
//! `descr`, `fortran_order` and `shape`, padded with spaces to a newline.

use super::numbers::Kind;
use super::{Wrong, wrong};
use crate::matrix::Matrix;

/// What a header says, and where the values begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    /// Whether a column's values follow each other, not a row's.
    pub columns_first: bool,
    pub rows: usize,
    pub cols: usize,
    pub begin: usize,
}

/// Longest header taken: numpy's own limit for untrusted files.
const LONGEST: usize = 10_000;

impl Header {
    pub fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
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
        dictionary(text, at + len)
    }

    /// Whether values can be used where they lie: as `f32`, row by row.
    pub fn is_plain(&self) -> bool {
        self.kind.is_single() && !self.columns_first
    }

    /// Bytes of all values.
    ///
    /// # Errors
    /// Unless they are what a file holds behind its header, and there are columns.
    pub fn values<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], Wrong> {
        let (rows, cols, size) = (self.rows, self.cols, self.kind.size());
        let len = rows.checked_mul(cols);
        let len = len.and_then(|values| values.checked_mul(size));
        let values = &file[self.begin..];
        if len != Some(values.len()) {
            return Err(wrong(format!(
                "{rows}×{cols} values of {size} bytes do not fill the {} bytes after the header: is the file whole?",
                values.len()
            )));
        }
        if cols == 0 {
            Matrix::new(&[], rows, cols).map_err(|e| wrong(e.to_string()))?;
        }
        Ok(values)
    }
}

/// What a header's dictionary says of the values, which begin at that byte.
fn dictionary(text: &str, begin: usize) -> Result<Header, Wrong> {
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
    let Some(kind) = descr.and_then(Kind::named) else {
        let numbers = "f2, f4, f8, an integer or b1";
        return Err(needs("descr", descr.map(str::to_owned), numbers));
    };
    let columns_first = match order {
        Some("False") => false,
        Some("True") => true,
        other => {
            let found = other.map(str::to_owned);
            return Err(needs("fortran_order", found, "False or True"));
        }
    };
    let (rows, cols) = match shape.as_deref() {
        Some([rows, cols]) => (*rows, *cols),
        other => {
            let found = other.map(|lengths| format!("{lengths:?}"));
            return Err(needs("shape", found, "(rows, columns)"));
        }
    };
    Ok(Header {
        kind,
        columns_first,
        rows,
        cols,
        begin,
    })
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

    fn token(&mut self, token: &str) -> Result<(), Wrong> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.0.chars().take(20).collect();
        Err(wrong(format!(
            "{token:?} expected in the header, found {found:?}"
        )))
    }

    /// A quoted string without escapes.
    fn string(&mut self) -> Result<&'a str, Wrong> {
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
    fn word(&mut self) -> Result<&'a str, Wrong> {
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
    fn tuple(&mut self) -> Result<Vec<usize>, Wrong> {
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
        let header = Header::parse(bytes).map_err(|e| e.0)?;
        header.values(bytes).map_err(|e| e.0)?;
        Ok((header.rows, header.cols))
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
            ("<f4", "<f8", "of 8 bytes"),
            ("<f4", "<c8", "<c8"),
            ("False", "None", "None"),
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
