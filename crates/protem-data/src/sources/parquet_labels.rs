//! What the rows of Parquet files say of their classes.

use super::parquet_column::{Column, ColumnError, guarded};
use crate::error::DataError;
use crate::labels::{Gathered, Labels, word};
use crate::storage::Storage;
use std::collections::HashMap;
use std::path::Path;

/// Bytes of all words of a file.
const WORDS: usize = 256 << 20;

/// How the labels are left out, where they cannot be read.
pub(super) const WITHOUT: &str =
    "; ?label=COLUMN names another column, and ?label= reads the images without labels";

/// What the rows of a file say; nothing if no column does.
#[derive(Default)]
pub(super) struct Said {
    /// Of each row a number, or the place of a word; −1 where there is none.
    of: Vec<i64>,
    /// If the column is of words, these, each once.
    words: Option<Words>,
}

#[derive(Default)]
struct Words {
    places: HashMap<String, i64>,
    bytes: usize,
}

impl Words {
    fn place(&mut self, said: &[u8]) -> Result<i64, String> {
        let said = word(said)?;
        if let Some(place) = self.places.get(said) {
            return Ok(*place);
        }
        self.bytes += said.len();
        if self.bytes > WORDS {
            return Err(format!("its words have more than {WORDS} bytes"));
        }
        let place = self.places.len() as i64;
        self.places.insert(said.to_owned(), place);
        Ok(place)
    }
}

impl Said {
    /// Reads the column of labels, in row groups of so many rows.
    ///
    /// # Errors
    /// The row group, with what is wrong there.
    pub fn read(
        column: &Column,
        file: &Storage,
        groups: &[usize],
    ) -> Result<Self, (usize, ColumnError)> {
        let mut said = Self {
            of: Vec::new(),
            words: column.of_bytes().then(Words::default),
        };
        let Self { of, words } = &mut said;
        for (group, rows) in groups.iter().enumerate() {
            let read = guarded(|| match words {
                Some(words) => column.words(file, group, *rows, |value| {
                    let place = value.map(|value| words.place(value));
                    of.push(place.transpose().map_err(ColumnError::Label)?.unwrap_or(-1));
                    Ok(())
                }),
                None => column.integers(file, group, *rows, of),
            });
            read.map_err(|e| (group, e))?;
        }
        Ok(said)
    }

    /// Whether no row says anything.
    fn is_silent(&self) -> bool {
        self.of.iter().all(|label| *label < 0)
    }
}

/// The labels of files in their order, each with its rows and what they say, and the names of the classes
/// where the metadata tells them.
pub(super) fn labels(
    files: &[(&Path, usize, Said)],
    names: Option<Vec<String>>,
) -> Result<Labels, DataError> {
    if files.iter().all(|(.., said)| said.is_silent()) {
        return Ok(Labels::default());
    }
    let wrong = |path: &Path, reason: String| DataError::Classes {
        path: path.to_path_buf(),
        reason: reason + WITHOUT,
    };
    let of_words = |said: &Said| said.words.is_some();
    let with = files.iter().find(|(.., said)| !said.is_silent());
    let with = with.expect("one that is not silent");
    for (path, rows, said) in files {
        if let Some(row) = (0..*rows).find(|row| said.of.get(*row).is_none_or(|of| *of < 0)) {
            return Err(DataError::NoClass {
                path: path.to_path_buf(),
                image: format!("row {row}"),
                otherwise: WITHOUT,
            });
        }
        if of_words(said) != of_words(&with.2) && *rows > 0 {
            let [these, those] = match of_words(said) {
                true => ["words", "numbers"],
                false => ["numbers", "words"],
            };
            let first = with.0.display();
            let reason = format!("they are {these}, and those of {first} {those}");
            return Err(wrong(path, reason));
        }
    }
    let first = files[0].0;
    if of_words(&with.2) {
        return gathered(files).map_err(|reason| wrong(first, reason));
    }
    let mut numbers = Vec::new();
    for (path, _, said) in files {
        for label in &said.of {
            let number = u32::try_from(*label);
            numbers.push(number.map_err(|_| wrong(path, format!("a label is {label}")))?);
        }
    }
    let labels = Labels::numbers(numbers);
    let labels = labels.and_then(|labels| match names {
        Some(names) => labels.named(names),
        None => Ok(labels),
    });
    labels.map_err(|reason| wrong(first, reason))
}

fn gathered(files: &[(&Path, usize, Said)]) -> Result<Labels, String> {
    let mut gathered = Gathered::default();
    for (.., said) in files {
        let places = said.words.iter().flat_map(|words| &words.places);
        let mut words: Vec<(&str, i64)> = places.map(|(word, at)| (word.as_str(), *at)).collect();
        words.sort_by_key(|(_, place)| *place);
        for place in &said.of {
            gathered.push(words[*place as usize].0.as_bytes())?;
        }
    }
    gathered.finish()
}
