//! Which files a pattern of shards names: `{000..012}`, `{a,b}`, `*`, `?`, `[…]`.

use crate::error::DataError;
use crate::location::Location;
use crate::sources::names;
use crate::storage::Storage;
use glob::{MatchOptions, Pattern, glob_with};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Files that a set may have.
const MOST: usize = 100_000;

/// Whether a name has characters of a pattern.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|text| text.contains(['{', '*', '?', '[']))
}

/// The files a pattern names: those of braces in their order, each of which must be there; those
/// that fit `*`, `?` and `[…]` in alphabetical order.
///
/// # Errors
/// A file of braces that is not there, a pattern that no file fits or that cannot be read, one of
/// more than 100 000 files.
pub(crate) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = pattern.to_str().unwrap_or_default();
    let wrong = |rule: String| DataError::Option {
        what: text.to_owned(),
        option: "pattern".into(),
        value: text.to_owned(),
        rule,
    };
    let mut files = Vec::new();
    for name in braces(text).map_err(wrong)? {
        if !name.contains(['*', '?', '[']) {
            let path = PathBuf::from(&name);
            if !path.exists() {
                return Err(DataError::Missing(path));
            }
            files.push(path);
            continue;
        }
        // As in folders: what is hidden is somebody else's.
        let shown = MatchOptions {
            require_literal_leading_dot: true,
            ..MatchOptions::new()
        };
        let found = glob_with(&literal(&name), shown).map_err(|e| wrong(e.to_string()))?;
        let before = files.len();
        for path in found {
            files.push(path.map_err(|e| DataError::List {
                path: e.path().to_path_buf(),
                source: e.into(),
            })?);
            if files.len() > MOST {
                return Err(wrong(format!("it names more than {MOST} files")));
            }
        }
        if files.len() == before {
            return Err(DataError::Missing(name.into()));
        }
    }
    Ok(files)
}

/// The pattern with its first folders as they are called, where they are there: `set[1]` may be a name.
fn literal(pattern: &str) -> String {
    let (mut path, mut there) = (String::new(), true);
    let mut parts = pattern.split_inclusive('/').peekable();
    let mut out = String::new();
    while let Some(part) = parts.next() {
        path.push_str(part);
        there &= parts.peek().is_some() && Path::new(&path).is_dir();
        match there {
            true => out.push_str(&Pattern::escape(part)),
            false => out.push_str(part),
        }
    }
    out
}

/// Shards of a folder, at most three levels below it, of the split that is named; in the order of
/// their paths.
pub(crate) fn in_folder(location: &Location, endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut level = vec![location.path.clone()];
    for _ in 0..4 {
        let mut below = Vec::new();
        for folder in &level {
            for name in names(folder)?.iter().filter(|name| !name.starts_with('.')) {
                let path = folder.join(name);
                if endings.iter().any(|ending| name.ends_with(ending)) {
                    files.push(path);
                } else if path.is_dir() {
                    below.push(path);
                }
            }
        }
        if files.len() + below.len() > MOST {
            return Err(DataError::TooLarge {
                path: location.path.clone(),
                what: "shards and folders",
                size: (files.len() + below.len()) as u64,
                limit: MOST as u64,
            });
        }
        level = below;
    }
    files.sort();
    let split = |file: &PathBuf| split_of(file.strip_prefix(&location.path).unwrap_or(file));
    let mut splits: Vec<String> = files.iter().filter_map(split).collect();
    let one_set = |files: Vec<PathBuf>| match two_sets(&files) {
        Some([one, other]) => Err(DataError::Unrecognised {
            path: location.path.clone(),
            looked_for: "the shards of one set",
            found: format!(
                "those of {} and of {}: name one of these folders",
                one.display(),
                other.display()
            ),
        }),
        None => Ok(files),
    };
    splits.sort();
    splits.dedup();
    if files.is_empty() {
        return Err(DataError::Missing(
            location.path.join(format!("*{}", endings[0])),
        ));
    }
    if location.option("split").is_none() {
        let without = files.iter().find(|file| split(file).is_none());
        match without {
            Some(_) if splits.is_empty() => return one_set(files),
            Some(without) => return Err(mixed(location, without, &splits)),
            None => {}
        }
    }
    let wanted = location.split(&splits)?;
    files.retain(|file| split(file).as_ref() == Some(&wanted));
    one_set(files)
}

/// Some shards tell a split, and one does not.
fn mixed(location: &Location, without: &Path, splits: &[String]) -> DataError {
    DataError::Unrecognised {
        path: location.path.clone(),
        looked_for: "shards that all tell a split by a word of their path, or none of them",
        found: format!(
            "some of {}, and {} of none: name a split, as in '{location}?split={}', or all by a pattern of their names",
            splits.join(", "),
            without.display(),
            splits[0]
        ),
    }
}

/// Shards by their paths below the folder that all lie in.
pub(crate) fn names_below(shards: &[Storage]) -> Vec<PathBuf> {
    let parent = |s: &Storage| s.path().parent().unwrap_or(Path::new("")).to_path_buf();
    let mut shared = shards.first().map(parent).unwrap_or_default();
    while !shards.iter().all(|s| s.path().starts_with(&shared)) && shared.pop() {}
    let name = |s: &Storage| s.path().strip_prefix(&shared).unwrap_or(s.path()).into();
    shards.iter().map(name).collect()
}

/// Whether a word, in small letters, is what splits are called.
pub(crate) fn is_split(word: &str) -> bool {
    const SPLITS: [&str; 10] = [
        "train",
        "training",
        "validation",
        "valid",
        "val",
        "dev",
        "test",
        "eval",
        "unlabeled",
        "unsupervised",
    ];
    SPLITS.contains(&word)
}

/// The split a shard's path tells: a word of its name, as in `train-00000-of-00002.parquet`, or of
/// a folder, as in `default/test/0000.parquet`.
fn split_of(path: &Path) -> Option<String> {
    let parts = path.iter().rev().filter_map(|part| part.to_str());
    let words = parts.flat_map(|part| part.split(['-', '.', '_']));
    let mut words = words.map(str::to_ascii_lowercase);
    words.find(|word| is_split(word))
}

/// Whether a name tells which of how many shards it is, as `train-00000-of-00002.parquet` does.
fn is_counted(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    let numbers = stem.rsplit_once("-of-").map(|(before, of)| {
        let number = before.rsplit('-').next().unwrap_or(before);
        [number, of]
    });
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|numbers| numbers.into_iter().all(digits))
}

/// Two folders with counted shards, if there are two: each is a set of its own, as configurations of one
/// set are.
fn two_sets(files: &[PathBuf]) -> Option<[&Path; 2]> {
    let name = |file: &Path| file.file_name().and_then(OsStr::to_str).map(is_counted);
    let counted = files.iter().filter(|file| name(file) == Some(true));
    let mut folders = counted.filter_map(|file| file.parent());
    let first = folders.next()?;
    let other = folders.find(|folder| *folder != first)?;
    Some([first, other])
}

/// `a{1..3}b` is `a1b a2b a3b`; a range whose ends begin with a zero has numbers of that width.
/// Without a closed brace of a range or a list, the text itself.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some((before, inner, after)) = group(rest) {
        let choices = choices(inner)?;
        if done.len().saturating_mul(choices.len()) > MOST {
            return Err(format!("it names more than {MOST} files"));
        }
        done = done
            .iter()
            .flat_map(|d| choices.iter().map(move |c| format!("{d}{before}{c}")))
            .collect();
        rest = after;
    }
    done.iter_mut().for_each(|name| name.push_str(rest));
    Ok(done)
}

/// The first group of braces, with what stands before and behind it.
fn group(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (inner, after) = rest.split_once('}')?;
    let chooses = inner.contains(',') || inner.contains("..");
    (chooses && !inner.contains('{')).then_some((before, inner, after))
}

fn choices(inner: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = inner.split_once("..") else {
        return Ok(inner.split(',').map(str::to_owned).collect());
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        number.ok_or_else(|| format!("{{{inner}}} is no range of numbers, as {{000..012}} is"))
    };
    let (from, to) = (number(first)?, number(last)?);
    if to < from || to - from >= MOST as u64 {
        return Err(format!(
            "{{{inner}}} must go up, and to at most {MOST} files"
        ));
    }
    let padded = first.starts_with('0') || last.starts_with('0');
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    Ok((from..=to).map(|n| format!("{n:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_ranges_and_lists() {
        assert_eq!(
            braces("a{08..10}.tar").unwrap(),
            ["a08.tar", "a09.tar", "a10.tar"]
        );
        assert_eq!(braces("a{8..10}").unwrap(), ["a8", "a9", "a10"]);
        assert_eq!(braces("{a,b}{0..1}").unwrap(), ["a0", "a1", "b0", "b1"]);
        assert_eq!(braces("a{b}{").unwrap(), ["a{b}{"]);
        for wrong in [
            "{0..99999999999}",
            "{3..1}",
            "{a..c}",
            "{0..9999}{0..9999}",
            "{-1..2}",
        ] {
            assert!(braces(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_split_is_a_word_of_the_path() {
        for (path, split) in [
            ("data/train-00000-of-00002.parquet", Some("train")),
            ("default/test/0000.parquet", Some("test")),
            ("imagenet-val-000.tar", Some("val")),
            ("Data/Test-0.parquet", Some("test")),
            ("trains/0.tar", None),
        ] {
            assert_eq!(split_of(Path::new(path)).as_deref(), split, "{path}");
        }
    }

    #[test]
    fn files_of_braces_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        for name in ["s1.tar", "s0.tar", "s2.txt"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let found = expand(&root.path().join(pattern))?;
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            Ok::<_, DataError>(found.iter().map(name).collect::<Vec<_>>())
        };
        std::fs::write(root.path().join(".s0.tar"), "").unwrap();
        assert_eq!(names("*.tar").unwrap(), ["s0.tar", "s1.tar"]);
        for folder in ["set1", "set[1]"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        std::fs::write(root.path().join("set1/wrong.tar"), "").unwrap();
        std::fs::write(root.path().join("set[1]/right.tar"), "").unwrap();
        assert_eq!(names("set[1]/*.tar").unwrap(), ["right.tar"]);
        assert_eq!(names("set?/*.tar").unwrap(), ["wrong.tar"]);
        assert_eq!(names("s{0..1}.*").unwrap(), ["s0.tar", "s1.tar"]);
        assert!(
            matches!(names("s{0..2}.tar"), Err(DataError::Missing(p)) if p.ends_with("s2.tar"))
        );
        assert!(matches!(names("t*"), Err(DataError::Missing(_))));
    }
}
