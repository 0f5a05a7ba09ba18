//! Images with any number of classes each.

use crate::{EvalError, Features};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Features of images, and the classes of each: none, one or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    pub(crate) features: Features,
    pub(crate) labels: Vec<Vec<u32>>,
    classes: usize,
}

impl Classified {
    /// From features, an image's classes for each row, and the number of classes.
    ///
    /// # Errors
    /// Labels that do not fit the features, or a class that is not below `classes`.
    pub fn new(
        features: Features,
        labels: Vec<Vec<u32>>,
        classes: usize,
    ) -> Result<Self, EvalError> {
        EvalError::counted("lists of classes", labels.len(), features.rows())?;
        match labels.iter().flatten().find(|c| **c as usize >= classes) {
            Some(class) => Err(EvalError::Class {
                class: *class,
                classes,
            }),
            None => Ok(Self {
                features,
                labels,
                classes,
            }),
        }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.features.rows()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Numbers of the images that have each class, ascending.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.classes];
        for (image, labels) in self.labels.iter().enumerate() {
            for class in labels {
                let of_class: &mut Vec<usize> = &mut members[*class as usize];
                if of_class.last() != Some(&image) {
                    of_class.push(image);
                }
            }
        }
        members
    }

    /// Whether image `image` has a class.
    pub(crate) fn has(&self, image: usize, class: usize) -> bool {
        self.labels[image].iter().any(|c| *c as usize == class)
    }

    /// Few images to learn from: for each class, in their order, the first `shots` of a random order of
    /// its images, or all where there are fewer. What is drawn for several classes is there as often, and
    /// every image keeps all its classes (as the low-shot evaluation of PCL draws; FAIR's gives each class
    /// its own negatives too).
    ///
    /// The order follows from `seed`, `draw` and the class alone, so that fewer shots of a draw are among
    /// its more, whatever else is asked for: ours; PCL goes on drawing from one generator.
    pub fn shots(&self, shots: usize, draw: u32, seed: u64) -> Vec<usize> {
        let drawn = (0..).zip(self.members()).flat_map(|(class, mut images)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(u64::from(draw) << 32 | class);
            images.shuffle(&mut rng);
            images.truncate(shots);
            images
        });
        drawn.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image i of 30 has class 0 if it is even, class 1 if 3 divides it, class 3 if it is 5; nobody has
    /// class 2.
    fn numbers() -> Classified {
        let classes = |i: u32| {
            let has = [i.is_multiple_of(2), i.is_multiple_of(3), false, i == 5];
            (0..4).filter(|c| has[*c as usize]).collect()
        };
        let features = Features::new(vec![1.0; 30], 1).unwrap();
        Classified::new(features, (0..30).map(classes).collect(), 4).unwrap()
    }

    #[test]
    fn shots_are_of_each_class_and_fewer_are_among_more() {
        let set = numbers();
        let drawn = set.shots(4, 0, 7);
        assert_eq!(drawn.len(), 4 + 4 + 1, "{drawn:?}");
        assert!(drawn[..4].iter().all(|i| i % 2 == 0), "{drawn:?}");
        assert!(drawn[4..8].iter().all(|i| i % 3 == 0), "{drawn:?}");
        assert_eq!(drawn[8], 5);
        let two = set.shots(2, 0, 7);
        assert_eq!(two, [drawn[0], drawn[1], drawn[4], drawn[5], 5]);
        // Other draws and seeds are others; all there are come once for each class.
        assert_ne!(set.shots(4, 1, 7), drawn);
        assert_ne!(set.shots(4, 0, 8), drawn);
        let mut all = set.shots(usize::MAX, 3, 7);
        all.sort_unstable();
        assert_eq!(all.len(), 15 + 10 + 1);
        assert_eq!(all[..3], [0, 0, 2]);
        assert!(set.shots(0, 0, 7).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let features = || Features::new(vec![1.0; 2], 1).unwrap();
        let of = |labels| Classified::new(features(), labels, 3);
        assert!(matches!(of(vec![vec![0]]), Err(EvalError::Count { .. })));
        let outside = EvalError::Class {
            class: 3,
            classes: 3,
        };
        assert_eq!(of(vec![vec![], vec![1, 3]]), Err(outside));
        // The same class twice is that class.
        let twice = of(vec![vec![], vec![1, 1]]).unwrap();
        assert_eq!(twice.members(), [vec![], vec![1], vec![]]);
    }
}
