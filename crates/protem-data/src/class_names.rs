//! What the classes of a set are called.

use std::borrow::Cow;
use std::fmt;

/// Names that a message shows; the others are counted.
const SHOWN: usize = 20;

/// The names of a set's classes, in the order of their numbers.
///
/// Classes that are called by their numbers, `0`, `1` and so on, have no table of names: a short
/// file with a large number in it takes no more memory than another.
#[derive(Clone, PartialEq, Eq)]
pub struct ClassNames(Names);

/// Names that are the numbers are never [`Names::Given`]: equal names are equal values.
#[derive(Clone, PartialEq, Eq)]
enum Names {
    /// The numbers below a count.
    Numbers(usize),
    Given(Vec<String>),
}

impl ClassNames {
    /// Classes called `0`, `1` and so on, `count` of them.
    pub const fn numbers(count: usize) -> Self {
        Self(Names::Numbers(count))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Names::Numbers(count) => *count,
            Names::Given(names) => names.len(),
        }
    }

    /// True without a class.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of class `index`, if there is such a class.
    pub fn get(&self, index: usize) -> Option<Cow<'_, str>> {
        match &self.0 {
            Names::Numbers(count) => (index < *count).then(|| index.to_string().into()),
            Names::Given(names) => names.get(index).map(Cow::from),
        }
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The first class that is not called the same in both, or is in one of them only.
    pub fn differ_at(&self, other: &Self) -> Option<usize> {
        if self == other {
            return None;
        }
        (0..self.len().max(other.len())).find(|index| self.get(*index) != other.get(*index))
    }

    /// Whether every class is called by its number; true without a class.
    pub(crate) fn are_numbers(&self) -> bool {
        matches!(self.0, Names::Numbers(_))
    }
}

impl From<Vec<String>> for ClassNames {
    fn from(names: Vec<String>) -> Self {
        let mut numbered = names.iter().enumerate();
        if numbered.all(|(index, name)| *name == index.to_string()) {
            return Self::numbers(names.len());
        }
        Self(Names::Given(names))
    }
}

/// No classes.
impl Default for ClassNames {
    fn default() -> Self {
        Self::numbers(0)
    }
}

/// Compares what [`crate::Source::classes`] returns with names written out.
impl<const N: usize> PartialEq<[&str; N]> for &ClassNames {
    fn eq(&self, names: &[&str; N]) -> bool {
        self.iter().eq(*names)
    }
}

/// A list of the names, of which the first are shown.
impl fmt::Debug for ClassNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        list.entries(self.iter().take(SHOWN));
        if self.len() > SHOWN {
            list.entry(&format_args!("… and {} more", self.len() - SHOWN));
        }
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(names: &[&str]) -> ClassNames {
        ClassNames::from(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_same_names_are_equal_however_they_came() {
        assert_eq!(given(&["0", "1"]), ClassNames::numbers(2));
        assert_eq!(given(&[]), ClassNames::default());
        assert_eq!(&ClassNames::numbers(2), ["0", "1"]);
        assert_eq!(&given(&["cat", "dog"]), ["cat", "dog"]);
        for other in [&["0"][..], &["0", "1", "2"], &["1", "0"], &["0", "01"]] {
            assert_ne!(given(other), ClassNames::numbers(2));
            assert_ne!(&given(other), ["0", "1"]);
            assert!(given(other).differ_at(&ClassNames::numbers(2)).is_some());
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let names = given(&["cat", "dog", "eel"]);
        assert_eq!(names.differ_at(&names), None);
        assert_eq!(names.differ_at(&given(&["cat", "elk", "eel"])), Some(1));
        assert_eq!(names.differ_at(&given(&["cat", "dog"])), Some(2));
        assert_eq!(given(&[]).differ_at(&names), Some(0));
    }

    #[test]
    fn a_class_has_a_name_and_others_have_none() {
        let numbers = ClassNames::numbers(usize::MAX);
        assert_eq!(numbers.len(), usize::MAX);
        assert_eq!(numbers.get(777_707).as_deref(), Some("777707"));
        assert_eq!(numbers.get(usize::MAX), None);
        let given = given(&["cat", "dog"]);
        assert_eq!(given.get(1).as_deref(), Some("dog"));
        assert_eq!(given.get(2), None);
        assert!(ClassNames::default().is_empty() && !given.is_empty());
        assert!(numbers.are_numbers() && !given.are_numbers());
    }

    #[test]
    fn a_message_shows_the_first_names() {
        assert_eq!(format!("{:?}", given(&["a", "b"])), r#"["a", "b"]"#);
        assert!(format!("{:?}", ClassNames::numbers(20)).ends_with(r#""18", "19"]"#));
        let many = format!("{:?}", ClassNames::numbers(1_000_000));
        assert!(many.ends_with(r#""19", … and 999980 more]"#), "{many}");
    }
}
