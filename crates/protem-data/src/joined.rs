//! Sources one after another, and an image file alone.

use crate::class_names::ClassNames;
use crate::error::ReadError;
use crate::files::{Classes, Files, is_image};
use crate::labels::Labels;
use crate::paths::Paths;
use crate::source::{Encoded, Source};
use image::{ImageFormat, RgbImage};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file as a source of that image, called by its path; none where `path` is no file with an
/// image's extension or an image's first bytes. Whether it can be decoded is not looked at.
pub fn image_file(path: &Path) -> Option<Arc<dyn Source>> {
    if !path.is_file() || !(is_image(path) || begins_image(path)) {
        return None;
    }
    let mut paths = Paths::default();
    paths.push(path);
    Some(Arc::new(Files {
        root: PathBuf::new(),
        paths,
        classes: Classes::One(Labels::default()),
        what: format!("the image {}", path.display()),
    }))
}

/// Whether a file begins as images do; not if it cannot be read. BMP and PNM begin with two letters, as
/// a list of paths may, or a tar archive: they are told by their extensions alone.
fn begins_image(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
    let format = read.ok().and_then(|_| image::guess_format(&head).ok());
    format.is_some_and(|format| !matches!(format, ImageFormat::Bmp | ImageFormat::Pnm))
}

/// The images of several sources, without their classes.
pub struct Joined {
    /// With what precedes the names of each.
    parts: Vec<(String, Arc<dyn Source>)>,
    /// Images up to the end of each.
    ends: Vec<usize>,
    classes: ClassNames,
}

impl Joined {
    /// In this order; what a source is called here precedes the names of its images.
    pub fn new(parts: Vec<(String, Arc<dyn Source>)>) -> Self {
        let mut images = 0;
        let ends = parts.iter().map(|(_, part)| {
            images += part.len();
            images
        });
        Self {
            ends: ends.collect(),
            parts,
            classes: ClassNames::default(),
        }
    }

    /// The source that an image lies in, what precedes its name, and its index there.
    fn part(&self, index: usize) -> (&str, &dyn Source, usize) {
        let at = self.ends.partition_point(|end| *end <= index);
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let (name, part) = &self.parts[at];
        (name, &**part, index - begin)
    }
}

impl Source for Joined {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
    fn name(&self, index: usize) -> String {
        let (before, part, index) = self.part(index);
        format!("{before}{}", part.name(index))
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn classes(&self) -> &ClassNames {
        &self.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        let (_, part, index) = self.part(index);
        part.read(index)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        let (_, part, index) = self.part(index);
        part.encoded(index)
    }
    fn describe(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|(_, part)| part.describe()).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generated, GeneratedSpec, Split, png, scan};

    fn made(images: usize, seed: u64) -> Arc<dyn Source> {
        Arc::new(Generated::new(GeneratedSpec {
            seed,
            images,
            size: 12,
            split: Split::Train,
        }))
    }

    #[test]
    fn images_are_those_of_the_parts_in_their_order() {
        let (a, b) = (made(3, 0), made(2, 1));
        let none = Joined::new(Vec::new());
        let parts = vec![
            ("".to_owned(), Arc::new(none) as Arc<dyn Source>),
            ("a/".to_owned(), a.clone()),
            ("b:".to_owned(), b.clone()),
        ];
        let joined = Joined::new(parts);
        assert_eq!(joined.len(), 5);
        assert!(joined.label(0).is_none() && joined.classes().is_empty());
        for i in 0..5 {
            let (before, part, at) = if i < 3 {
                ("a/", &a, i)
            } else {
                ("b:", &b, i - 3)
            };
            assert_eq!(joined.name(i), format!("{before}{}", part.name(at)));
            assert_eq!(joined.read(i).unwrap(), part.read(at).unwrap());
            assert_eq!(joined.encoded(i).unwrap(), part.encoded(at).unwrap());
        }
    }

    #[test]
    fn an_image_is_told_by_its_name_or_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let image = made(1, 0).read(0).unwrap();
        std::fs::write(path("bytes"), png(&image)).unwrap();
        std::fs::write(path("named.JPG"), "nothing").unwrap();
        std::fs::write(path("list.txt"), "BMW/named.JPG\nP5/named.JPG\n").unwrap();
        let found = image_file(&path("bytes")).unwrap();
        assert_eq!((found.len(), found.read(0).unwrap()), (1, image));
        assert_eq!(found.name(0), path("bytes").display().to_string());
        let unreadable = scan(&*image_file(&path("named.JPG")).unwrap(), &|_| {}).unreadable;
        assert_eq!(unreadable.len(), 1);
        for other in ["list.txt", "missing.jpg", "."] {
            assert!(image_file(&path(other)).is_none(), "{other}");
        }
    }
}
