//! Images that cannot be read while a run goes on: passed over, counted, told of once.

use crate::error::EmError;
use crate::events::{Event, Set};
use protem_data::{DataError, Unreadable};
use std::collections::HashSet;

/// How many of some images may be unreadable, where the share `most` of them may: one alone ends no run,
/// be the set as small as one that is held out.
pub fn unreadable_limit(images: usize, most: f64) -> usize {
    ((images as f64 * most) as usize).max(usize::from(most > 0.0))
}

/// The images a run has passed over.
#[derive(Debug)]
pub(crate) struct Quarantine {
    known: HashSet<(Set, String)>,
    training: Part,
    test: Part,
}

/// Those of a set.
#[derive(Debug)]
struct Part {
    unreadable: Vec<Unreadable>,
    images: usize,
    limit: usize,
}

impl Quarantine {
    /// For so many training and test images, of each of which the share `most` may be unreadable.
    pub fn new(training: usize, test: usize, most: f64) -> Self {
        let part = |images: usize| Part {
            unreadable: Vec::new(),
            images,
            limit: unreadable_limit(images, most),
        };
        Self {
            known: HashSet::new(),
            training: part(training),
            test: part(test),
        }
    }

    /// Tells of the images that are new.
    ///
    /// # Errors
    /// More images of the set than may be unreadable.
    pub fn add(
        &mut self,
        set: Set,
        unreadable: Vec<Unreadable>,
        listener: &mut dyn FnMut(&Event),
    ) -> Result<(), EmError> {
        for bad in unreadable {
            if !self.known.insert((set, bad.name.clone())) {
                continue;
            }
            listener(&Event::Quarantine {
                set,
                name: bad.name.clone(),
                reason: bad.reason.clone(),
                at_start: false,
            });
            match set {
                Set::Training => self.training.unreadable.push(bad),
                Set::Test => self.test.unreadable.push(bad),
            }
        }
        let (part, set) = match set {
            Set::Training => (&self.training, "training"),
            Set::Test => (&self.test, "test"),
        };
        if part.unreadable.len() > part.limit {
            return Err(EmError::Data(DataError::TooManyUnreadable {
                set,
                unreadable: part.unreadable.clone(),
                images: part.images,
                limit: part.limit,
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_ends_no_run_that_may_lose_some() {
        let limits = [(5, 0.1), (5, 0.0), (100, 0.1), (109, 0.1), (3, 1.0)];
        let found = limits.map(|(images, most)| unreadable_limit(images, most));
        assert_eq!(found, [1, 0, 10, 10, 3]);
    }

    #[test]
    fn an_image_is_told_of_once_and_too_many_end_it() {
        let bad = |name: &str| Unreadable {
            index: 0,
            name: name.into(),
            reason: "gone".into(),
        };
        let mut told = 0;
        let mut listener = |_: &Event| told += 1;
        let mut quarantine = Quarantine::new(20, 30, 0.1);
        let mut add = |set, names: &[&str]| {
            quarantine.add(set, names.iter().map(|n| bad(n)).collect(), &mut listener)
        };
        assert!(add(Set::Training, &["a", "b", "a"]).is_ok());
        assert!(add(Set::Test, &["a", "c", "d"]).is_ok());
        let error = add(Set::Training, &["b", "c"]).unwrap_err();
        assert!(error.to_string().contains("3 of 20 training"), "{error}");
        let error = add(Set::Test, &["e"]).unwrap_err();
        assert!(error.to_string().contains("4 of 30 test"), "{error}");
        assert_eq!(told, 7);
    }
}
