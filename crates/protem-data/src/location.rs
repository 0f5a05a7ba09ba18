//! How a source is named: `[KIND:]PATH[?OPTION=VALUE[&OPTION=VALUE]…]`.

use crate::error::DataError;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A kind of source, by the word that forces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Class folders, nested or flat.
    Folder,
    /// A text file of paths.
    List,
    /// Tar shards.
    Tar,
    /// Parquet shards.
    Parquet,
    /// CIFAR-10's binary files.
    Cifar10,
    /// CIFAR-100's binary files.
    Cifar100,
    /// MNIST's format.
    Idx,
    /// STL-10's binary files.
    Stl10,
    /// A VOC devkit.
    Voc,
    /// Folders of splits, as ImageNet's.
    Imagenet,
    /// Places365 with its list files.
    Places,
    /// Drawn here.
    Generated,
}

impl Kind {
    /// All, with their words.
    pub const ALL: [(&'static str, Self); 12] = [
        ("folder", Self::Folder),
        ("list", Self::List),
        ("tar", Self::Tar),
        ("parquet", Self::Parquet),
        ("cifar10", Self::Cifar10),
        ("cifar100", Self::Cifar100),
        ("idx", Self::Idx),
        ("stl10", Self::Stl10),
        ("voc", Self::Voc),
        ("imagenet", Self::Imagenet),
        ("places", Self::Places),
        ("generated", Self::Generated),
    ];

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(word, _)| word)
    }
}

/// A parsed name of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Forced kind; otherwise it is recognised by what is there.
    pub kind: Option<Kind>,
    /// File, folder, or a pattern of shards; empty for a generated set.
    pub path: PathBuf,
    /// Options in their order.
    pub options: Vec<(String, String)>,
}

impl Location {
    /// Takes a name apart. What exists under the whole name is that path, whatever its
    /// characters mean otherwise. A generated set has its options behind the colon, with commas
    /// between them.
    pub fn parse(name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        let plain = || Self {
            kind: None,
            path: name.into(),
            options: Vec::new(),
        };
        let Some(text) = name.to_str().filter(|_| !Path::new(name).exists()) else {
            return plain();
        };
        let kind = text.split_once(':').and_then(|(word, rest)| {
            let known = Kind::ALL.iter().find(|(known, _)| *known == word)?;
            Some((known.1, rest))
        });
        let rest = kind.map_or(text, |(_, rest)| rest);
        let kind = kind.map(|(kind, _)| kind);
        if kind == Some(Kind::Generated)
            && let Some(options) = options(rest, ',')
        {
            return Self {
                kind,
                path: PathBuf::new(),
                options,
            };
        }
        // A question mark may also stand for a character of a pattern.
        let query = rest
            .rsplit_once('?')
            .filter(|(path, _)| !Path::new(rest).exists() && !path.is_empty())
            .and_then(|(path, query)| Some((path, options(query, '&')?)));
        let (path, options) = query.unwrap_or((rest, Vec::new()));
        Self {
            kind,
            path: path.into(),
            options,
        }
    }

    /// The same with an absolute path, so that it means the same from another folder.
    ///
    /// # Errors
    /// An empty path, or a current folder that cannot be told.
    pub fn absolute(mut self) -> io::Result<Self> {
        if self.kind != Some(Kind::Generated) {
            self.path = std::path::absolute(&self.path)?;
        }
        Ok(self)
    }

    /// The name that [`Self::parse`] takes apart into this.
    pub fn name(&self) -> OsString {
        let mut name = OsString::new();
        if let Some(kind) = self.kind {
            name.push(kind.word());
            name.push(":");
        }
        name.push(&self.path);
        let comma = self.kind == Some(Kind::Generated);
        let (first, next) = if comma { ("", ",") } else { ("?", "&") };
        for (i, (option, value)) in self.options.iter().enumerate() {
            name.push(if i == 0 { first } else { next });
            name.push(format!("{option}={value}"));
        }
        name
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(option, _)| option == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Refuses options that are none of `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), DataError> {
        let other = self
            .options
            .iter()
            .find(|(o, _)| !known.contains(&o.as_str()));
        match other {
            None => Ok(()),
            Some((option, value)) => Err(DataError::Option {
                what: self.to_string(),
                option: option.clone(),
                value: value.clone(),
                rule: match known {
                    [] => "this kind of source has no options".into(),
                    known => format!(
                        "the options of this kind of source are {}",
                        known.join(", ")
                    ),
                },
            }),
        }
    }

    /// Which of `splits` is named; the only one when none is.
    pub(crate) fn split(&self, splits: &[String]) -> Result<String, DataError> {
        match (self.option("split"), splits) {
            (Some(split), _) if splits.iter().any(|s| s == split) => Ok(split.to_owned()),
            (Some(split), _) => Err(DataError::NoSplit {
                what: self.path.display().to_string(),
                split: split.to_owned(),
                splits: splits.to_vec(),
            }),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(DataError::WhichSplit {
                what: self.to_string(),
                splits: splits.to_vec(),
            }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_string_lossy())
    }
}

/// `a=1&b=2`; none if it is anything else.
fn options(text: &str, between: char) -> Option<Vec<(String, String)>> {
    if text.is_empty() {
        return (between == ',').then(Vec::new);
    }
    let one = |part: &str| {
        let (option, value) = part.split_once('=')?;
        let word = !option.is_empty() && option.chars().all(|c| c.is_ascii_alphanumeric());
        (word && !value.contains('/')).then(|| (option.to_owned(), value.to_owned()))
    };
    text.split(between).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for (name, kind, path, options) in [
            ("a/b", None, "a/b", &[][..]),
            ("tar:a/*.tar", Some(Kind::Tar), "a/*.tar", &[]),
            ("a?split=test", None, "a", &[("split", "test")]),
            (
                "voc:a?split=val&year=2007",
                Some(Kind::Voc),
                "a",
                &[("split", "val"), ("year", "2007")],
            ),
            ("shard-??.tar", None, "shard-??.tar", &[]),
            (
                "generated:images=10,size=8",
                Some(Kind::Generated),
                "",
                &[("images", "10"), ("size", "8")],
            ),
            ("generated:", Some(Kind::Generated), "", &[]),
            ("other:a", None, "other:a", &[]),
        ] {
            let location = Location::parse(name);
            let expected: Vec<(String, String)> = options
                .iter()
                .map(|(o, v)| ((*o).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(location.kind, kind, "{name}");
            assert_eq!(location.path, Path::new(path), "{name}");
            assert_eq!(location.options, expected, "{name}");
            assert_eq!(location.to_string(), name);
        }
    }

    #[test]
    fn what_exists_is_a_path() {
        let root = tempfile::tempdir().unwrap();
        let odd = root.path().join("tar:a?split=b");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(Location::parse(&odd).path, odd);
    }

    #[test]
    fn a_split_is_named_or_the_only_one() {
        let splits = ["train".to_owned(), "test".to_owned()];
        let split = |name: &str, splits: &[String]| Location::parse(name).split(splits);
        assert_eq!(split("x?split=test", &splits).unwrap(), "test");
        assert_eq!(split("x", &splits[..1]).unwrap(), "train");
        assert!(matches!(
            split("x", &splits),
            Err(DataError::WhichSplit { .. })
        ));
        assert!(matches!(
            split("x?split=val", &splits),
            Err(DataError::NoSplit { .. })
        ));
    }
}
