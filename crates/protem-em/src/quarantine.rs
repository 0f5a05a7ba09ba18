//! Images that cannot be read while a run goes on: passed over, counted, told of once.

use crate::error::EmError;
use crate::events::{Event, Set};
use protem_data::{DataError, Unreadable};
use std::collections::HashSet;

/// The images a run has passed over.
#[derive(Debug)]
pub(crate) struct Quarantine {
    known: HashSet<(Set, String)>,
    training: Vec<Unreadable>,
    images: usize,
    limit: usize,
}

impl Quarantine {
    /// For `images` training images, of which the share `most` may be unreadable.
    pub fn new(images: usize, most: f64) -> Self {
        Self {
            known: HashSet::new(),
            training: Vec::new(),
            images,
            limit: (images as f64 * most) as usize,
        }
    }

    /// Tells of the images that are new.
    ///
    /// # Errors
    /// More training images than may be unreadable.
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
            if set == Set::Training {
                self.training.push(bad);
            }
        }
        if self.training.len() > self.limit {
            return Err(EmError::Data(DataError::TooManyUnreadable {
                unreadable: self.training.clone(),
                images: self.images,
                limit: self.limit,
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_told_of_once_and_too_many_end_it() {
        let bad = |name: &str| Unreadable {
            index: 0,
            name: name.into(),
            reason: "gone".into(),
        };
        let mut told = 0;
        let mut listener = |_: &Event| told += 1;
        let mut quarantine = Quarantine::new(20, 0.1);
        let mut add = |set, names: &[&str]| {
            quarantine.add(set, names.iter().map(|n| bad(n)).collect(), &mut listener)
        };
        assert!(add(Set::Training, &["a", "b", "a"]).is_ok());
        assert!(add(Set::Test, &["a", "c", "d"]).is_ok());
        let error = add(Set::Training, &["b", "c"]).unwrap_err();
        assert_eq!(told, 6);
        assert!(error.to_string().contains("3 of 20"), "{error}");
    }
}
