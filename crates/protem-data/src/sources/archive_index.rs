//! Where the images of an archive are, kept in the user's cache folder: to read the headers of a million
//! takes a disk long. An index is right as long as the archive has not been written to.

use super::tar_members::Place;
use crate::listing::{LEAST_FILES, Reader, Writer, place, settled, stamp, whole, write};
use crate::paths::{Paths, path_of};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"protemA1";

/// Images by their paths and places.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Indexed {
    pub(super) paths: Paths,
    pub(super) places: Vec<Place>,
}

impl Indexed {
    pub(super) fn push(&mut self, path: &Path, place: Place) {
        self.paths.push(path);
        self.places.push(place);
    }

    /// All images of several, in their order.
    pub(super) fn joined(several: &[Self]) -> Self {
        let mut all = Self::default();
        all.places
            .reserve(several.iter().map(|one| one.places.len()).sum());
        for one in several {
            all.paths.extend(&one.paths);
            all.places.extend(&one.places);
        }
        all
    }
}

/// The index of an archive, if one is kept and the archive has not changed since.
pub(super) fn cached(listings: Option<&Path>, archive: &Path) -> Option<Indexed> {
    let (file, real) = place(listings?, archive)?;
    let bytes = fs::read(file).ok()?;
    let mut at = Reader(whole(&bytes)?.strip_prefix(MAGIC)?);
    if path_of(at.block()?) != real {
        return None;
    }
    let kept = [
        at.number()?,
        at.number()?,
        at.number()?,
        at.number()?,
        at.number()?,
    ];
    let metadata = fs::metadata(archive).ok()?;
    let [a, b, c, d] = stamp(&metadata);
    if kept != [a, b, c, d, metadata.len()] {
        return None;
    }
    let paths = at.paths()?;
    let (numbers, _) = at.block()?.as_chunks::<8>();
    let (pairs, _) = numbers.as_chunks::<2>();
    let places = pairs.iter().map(|[offset, len]| Place {
        offset: u64::from_le_bytes(*offset),
        len: u64::from_le_bytes(*len),
    });
    let places: Vec<Place> = places.collect();
    (places.len() == paths.len()).then_some(Indexed { paths, places })
}

/// Keeps the index of an archive, if it is long, can be kept and may be trusted.
pub(super) fn keep(listings: Option<&Path>, archive: &Path, images: &Indexed, begun: SystemTime) {
    if let Some(listings) = listings
        && images.paths.len() >= LEAST_FILES
        && let Some((file, real)) = place(listings, archive)
        && let Some(bytes) = written(archive, &real, images, begun)
    {
        let _ = write(listings, &file, &bytes); // indexing anew is no failure
    }
}

fn written(archive: &Path, real: &Path, images: &Indexed, begun: SystemTime) -> Option<Vec<u8>> {
    let metadata = fs::metadata(archive).ok()?;
    settled(&metadata, begun)?;
    let mut out = Writer(MAGIC.to_vec());
    out.block(real.as_os_str().as_encoded_bytes());
    stamp(&metadata).iter().for_each(|n| out.number(*n));
    out.number(metadata.len());
    out.paths(&images.paths)?;
    out.number(16 * images.places.len() as u64);
    for place in &images.places {
        out.number(place.offset);
        out.number(place.len);
    }
    Some(out.summed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;
    use std::time::Duration;

    fn indexed(images: u64) -> Indexed {
        let mut all = Indexed::default();
        for i in 0..images {
            let path = PathBuf::from(format!("n{:08}/{i}.JPEG", i % 7));
            let (offset, len) = (i << 20, i);
            all.push(&path, Place { offset, len });
        }
        all
    }

    #[test]
    fn a_kept_index_is_the_index_until_the_archive_changes() {
        let root = tempfile::tempdir().unwrap();
        let (archive, listings) = (root.path().join("a.tar"), root.path().join("new/listings"));
        fs::write(&archive, "an archive").unwrap();
        let (few, many) = (indexed(100), indexed(LEAST_FILES as u64));
        let keep = |images: &Indexed, begun| keep(Some(&listings), &archive, images, begun);
        let cached = || cached(Some(&listings), &archive);
        let later = SystemTime::now() + Duration::from_secs(10);
        keep(&few, later);
        // What was written to just now may be written to again within the clock's grain.
        keep(&many, SystemTime::now());
        assert!(cached().is_none());
        keep(&many, later);
        assert_eq!(cached().unwrap(), many);
        let file = fs::read_dir(&listings)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let whole = fs::read(&file).unwrap();
        for at in [0, 9, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, damaged).unwrap();
            assert!(cached().is_none(), "{at}");
        }
        fs::write(&file, whole).unwrap();
        assert_eq!(cached().unwrap(), many);
        let appended = fs::OpenOptions::new().append(true).open(&archive);
        appended.unwrap().write_all(b"more").unwrap();
        assert!(cached().is_none());
    }

    #[test]
    fn indices_are_joined_in_their_order() {
        let all = indexed(10);
        let parts = [0..3, 3..3, 3..10].map(|range| {
            let mut part = Indexed::default();
            range.for_each(|i| part.push(&all.paths.get(i), all.places[i]));
            part
        });
        assert_eq!(Indexed::joined(&parts), all);
    }
}
