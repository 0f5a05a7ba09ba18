//! Classes from what a set says of each image: a number or a name.

use crate::class_names::ClassNames;
use std::collections::HashMap;

/// Classes that a set may have: what counts them makes a table as long as the largest number.
pub(crate) const MOST_CLASSES: u32 = 1_000_000;

/// Bytes of a label: each image's is looked up by all of them.
const LONGEST_LABEL: usize = 4096;

/// A class for each image, or for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels {
    pub(crate) of: Vec<u32>,
    pub(crate) classes: ClassNames,
}

impl Labels {
    pub(crate) fn get(&self, index: usize) -> Option<u32> {
        self.of.get(index).copied()
    }

    /// Gives the classes names; too few are an error of the caller's set.
    pub(crate) fn named(mut self, names: Vec<String>) -> Result<Self, String> {
        let most = self.of.iter().max().map_or(0, |m| *m as usize + 1);
        if names.len() < most {
            return Err(format!(
                "there are {} class names, and a label is {}",
                names.len(),
                most - 1
            ));
        }
        self.classes = names.into();
        Ok(self)
    }

    /// From numbers; the names are the numbers.
    pub(crate) fn numbers(of: Vec<u32>) -> Result<Self, String> {
        let most = of.iter().max().copied();
        if most.is_some_and(|most| most >= MOST_CLASSES) {
            return Err(format!(
                "a label is {}, and numbers of classes go from 0 to {}: what names a class otherwise needs a letter in it, as in n{0}",
                most.unwrap_or_default(),
                MOST_CLASSES - 1
            ));
        }
        let classes = ClassNames::numbers(most.map_or(0, |m| m as usize + 1));
        Ok(Self { of, classes })
    }
}

/// Gathers what is said of each image. When all of it is numbers, they are the classes; otherwise
/// the classes are the names in alphabetical order. Where every number is negative, as in tests without
/// answers, there are none.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    seen: HashMap<String, u32>,
    of: Vec<u32>,
}

impl Gathered {
    /// # Errors
    /// What is no word in UTF-8, or longer than a name is.
    pub(crate) fn push(&mut self, said: &[u8]) -> Result<(), String> {
        let said = word(said)?;
        let next = self.seen.len() as u32;
        let id = match self.seen.get(said) {
            Some(id) => *id,
            None => *self.seen.entry(said.to_owned()).or_insert(next),
        };
        self.of.push(id);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// # Errors
    /// Too many classes.
    pub(crate) fn finish(self) -> Result<Labels, String> {
        let count = self.seen.len();
        let mut names = vec![String::new(); count];
        for (name, id) in self.seen {
            names[id as usize] = name;
        }
        let numbers: Option<Vec<f64>> = names.iter().map(|name| whole(name)).collect();
        if let Some(numbers) = numbers {
            if numbers.iter().all(|number| *number < 0.0) {
                return Ok(Labels::default());
            }
            let numbers: Vec<u32> = numbers.into_iter().map(class).collect::<Result<_, _>>()?;
            return Labels::numbers(self.of.iter().map(|id| numbers[*id as usize]).collect());
        }
        if count > MOST_CLASSES as usize {
            return Err(format!(
                "there are {count} classes, and {MOST_CLASSES} may be"
            ));
        }
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by(|a, b| names[*a as usize].cmp(&names[*b as usize]));
        let mut rank = vec![0; count];
        for (class, id) in order.iter().enumerate() {
            rank[*id as usize] = class as u32;
        }
        Ok(Labels {
            of: self.of.iter().map(|id| rank[*id as usize]).collect(),
            classes: order
                .iter()
                .map(|id| std::mem::take(&mut names[*id as usize]))
                .collect::<Vec<_>>()
                .into(),
        })
    }
}

/// What is said of an image, as text.
///
/// # Errors
/// As of [`Gathered::push`].
pub(crate) fn word(said: &[u8]) -> Result<&str, String> {
    if said.len() > LONGEST_LABEL {
        let bytes = said.len();
        return Err(format!(
            "a label has {bytes} bytes, the limit is {LONGEST_LABEL}"
        ));
    }
    std::str::from_utf8(said).map_err(|_| {
        let label = said.escape_ascii();
        format!("the label {label} is not in UTF-8, in which it should be saved")
    })
}

/// A word that is a whole number, written as one or with zeros behind the point.
fn whole(word: &str) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let number: f64 = word.chars().all(plain).then(|| word.parse().ok())??;
    (number.fract() == 0.0).then_some(number)
}

/// A class by its number.
fn class(number: f64) -> Result<u32, String> {
    let fits = (0.0..=f64::from(u32::MAX)).contains(&number);
    let wrong = || {
        let most = MOST_CLASSES - 1;
        format!(
            "a label is {number}, and numbers of classes go from 0 to {most}: what names a class otherwise needs a letter in it, as in n{number}"
        )
    };
    fits.then_some(number as u32).ok_or_else(wrong)
}

/// Names, one a line; empty lines at the end are none.
pub(crate) fn names_of(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(said: &[&str]) -> Labels {
        let mut all = Gathered::default();
        said.iter().for_each(|s| all.push(s.as_bytes()).unwrap());
        all.finish().unwrap()
    }

    #[test]
    fn numbers_are_classes_and_names_are_sorted() {
        let labels = gathered(&["2", "0", "2"]);
        assert_eq!(labels.of, [2, 0, 2]);
        assert_eq!(labels.classes, ClassNames::numbers(3));
        let labels = gathered(&["dog", "7", "cat", "dog"]);
        assert_eq!(labels.of, [2, 0, 1, 2]);
        assert_eq!(&labels.classes, ["7", "cat", "dog"]);
        assert_eq!(gathered(&["2.0", "11", "3.0"]).of, [2, 11, 3]);
        // Names of versions are names, and so is what has a letter in it.
        assert_eq!(gathered(&["1.5", "1.10", "2"]).of, [1, 0, 2]);
        assert_eq!(&gathered(&["2e5", "1e2"]).classes, ["1e2", "2e5"]);
        let unanswered = gathered(&["-1", "-1.0", "-1"]);
        assert!(unanswered.of.is_empty() && unanswered.classes.is_empty());
        for said in [["-1", "2"], ["5000000000", "2"]] {
            let mut all = Gathered::default();
            said.iter().for_each(|s| all.push(s.as_bytes()).unwrap());
            assert!(all.finish().is_err(), "{said:?}");
        }
        // In Latin-1; with replaced letters, several words would be one.
        let error = Gathered::default().push(b"p\xe2t\xe9").unwrap_err();
        assert!(error.contains("p\\xe2t\\xe9 is not in UTF-8"), "{error}");
        let long = Gathered::default().push(&[b'a'; 4097]).unwrap_err();
        assert!(long.contains("4097 bytes"), "{long}");
        assert!(Labels::numbers(vec![u32::MAX]).is_err());
        assert!(Labels::numbers(vec![3]).unwrap().named(vec![]).is_err());
    }
}
