//! A VOC devkit: images of several classes each.

use crate::error::DataError;
use crate::files::{Classes, Files};
use crate::labels::Labels;
use crate::location::Location;
use crate::paths::Paths;
use crate::storage::Storage;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Largest list of a devkit.
const LARGEST: u64 = 1 << 28;

/// The images of a split of `ImageSets/Main` (`trainval`, `test`, …). Their classes are those that
/// the split's `CLASS_SPLIT.txt` lists give a 1: an image with difficult objects of a class alone
/// is a 0 there, and does not have it. Classes are the lists' names in alphabetical order.
///
/// The path is the folder of a year, or one that holds it (`VOCdevkit`), with the option `year` if
/// it holds several.
pub(crate) fn voc(location: &Location) -> Result<Files, DataError> {
    location.only(&["split", "year"])?;
    let root = year(location)?;
    let lists = root.join("ImageSets/Main");
    let names = super::open::names(&lists)?;
    let lists_of = |name: &String| name.strip_suffix(".txt").map(str::to_owned);
    let names: Vec<String> = names.iter().filter_map(lists_of).collect();
    let splits: Vec<String> = names.iter().filter(|n| !n.contains('_')).cloned().collect();
    if splits.is_empty() {
        return Err(DataError::Missing(lists.join("trainval.txt")));
    }
    let split = location.split(&splits)?;
    let ids = lines(&lists.join(format!("{split}.txt")))?;
    let mut paths = Paths::default();
    let mut numbers = HashMap::new();
    for (number, (line, _)) in ids.iter().enumerate() {
        if numbers.insert(line.clone(), paths.len()).is_some() {
            return Err(DataError::Line {
                path: lists.join(format!("{split}.txt")),
                line: number + 1,
                reason: format!("{line} is there twice"),
            });
        }
        paths.push(&Path::new("JPEGImages").join(format!("{line}.jpg")));
    }
    if ids.is_empty() {
        return Err(DataError::NoImages {
            folder: root,
            extensions: vec!["jpg"],
        });
    }
    let ending = format!("_{split}");
    let classes = names.iter().filter_map(|n| n.strip_suffix(&ending));
    let classes: Vec<String> = classes.map(str::to_owned).collect();
    let mut of = vec![Vec::new(); paths.len()];
    for (class, name) in classes.iter().enumerate() {
        let file = lists.join(format!("{name}{ending}.txt"));
        for (line, (id, flag)) in lines(&file)?.into_iter().enumerate() {
            let refused = |reason: String| DataError::Line {
                path: file.clone(),
                line: line + 1,
                reason,
            };
            let Some(number) = numbers.get(&id) else {
                return Err(refused(format!("{id} is not in {split}.txt")));
            };
            match flag.as_str() {
                "1" => of[*number].push(class as u32),
                "0" | "-1" => {}
                other => return Err(refused(format!("`{other}` is none of 1, 0 and -1"))),
            }
        }
    }
    let classes = if classes.is_empty() {
        Classes::One(Labels::default())
    } else {
        Classes::Several {
            of,
            classes: classes.into(),
        }
    };
    let what = format!("VOC ({split}) in {}", root.display());
    Files {
        root,
        paths,
        classes,
        what,
    }
    .checked()
}

/// Whether a folder is of a year, or holds one.
pub(crate) fn is_voc(folder: &Path) -> bool {
    is_year(folder) || !years(folder).is_empty()
}

fn is_year(folder: &Path) -> bool {
    folder.join("ImageSets/Main").is_dir() && folder.join("JPEGImages").is_dir()
}

/// The challenge's years that a folder holds.
fn years(folder: &Path) -> Vec<PathBuf> {
    let inside = super::cifar::inside(folder, "VOCdevkit");
    let years = (2005..=2012).map(|year| inside.join(format!("VOC{year}")));
    years.filter(|year| is_year(year)).collect()
}

fn year(location: &Location) -> Result<PathBuf, DataError> {
    let mut years = match is_year(&location.path) {
        true => vec![location.path.clone()],
        false => years(&location.path),
    };
    let name = |year: &PathBuf| {
        let year = std::path::absolute(year).unwrap_or_default();
        let name = year.file_name().unwrap_or_default().to_string_lossy();
        name.trim_start_matches("VOC").to_owned()
    };
    let there = years.iter().map(name).collect::<Vec<_>>().join(", ");
    if let Some(asked) = location.option("year") {
        years.retain(|year| name(year) == asked);
    }
    match &years[..] {
        [one] => Ok(one.clone()),
        [] if there.is_empty() => Err(DataError::Missing(location.path.join("VOC2007"))),
        _ => Err(DataError::Option {
            what: location.to_string(),
            option: "year".into(),
            value: location.option("year").unwrap_or_default().into(),
            rule: format!("it must be one of {there}"),
        }),
    }
}

/// First and second word of every line that has one.
fn lines(file: &Path) -> Result<Vec<(String, String)>, DataError> {
    let bytes = Storage::open(file)?.read_all("bytes", LARGEST)?;
    let text = String::from_utf8_lossy(&bytes);
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next().unwrap_or_default()))
    };
    Ok(text.lines().filter_map(words).collect())
}
