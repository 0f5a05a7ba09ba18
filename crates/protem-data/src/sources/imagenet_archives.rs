//! ImageNet's archives as they are published, read without being unpacked: that of training images is a
//! tar of one of each class, in which an image is a place too.

use super::archive_index::{Indexed, cached, keep};
use super::tar::Tar;
use super::tar_members::{BLOCK, Content, Place, members, parts};
use crate::error::DataError;
use crate::files::{EXTENSIONS, check_count, is_image};
use crate::labels::Labels;
use crate::paths::{Paths, path_of, text_of};
use crate::storage::Storage;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a split's archive is published as.
const ARCHIVES: [(&str, &str); 2] = [
    ("train", "ILSVRC2012_img_train.tar"),
    ("val", "ILSVRC2012_img_val.tar"),
];
/// Bytes behind the last member: tar fills up its last record. What was to become more is zeros too where
/// a download has room made for it.
const PADDING: u64 = 1 << 20;

/// The archive of a split in a folder, if it is there.
pub(super) fn archive(folder: &Path, split: &str) -> Option<PathBuf> {
    let found = ARCHIVES.iter().find(|(of, _)| *of == split);
    found
        .map(|(_, name)| folder.join(name))
        .filter(|archive| archive.is_file())
}

/// Whether a folder holds one of the archives.
pub(super) fn any(folder: &Path) -> bool {
    ARCHIVES
        .iter()
        .any(|(split, _)| archive(folder, split).is_some())
}

/// The images of one archive, called and in the order as if it had been unpacked: those of training by the
/// name of their class and theirs.
pub(super) struct Archive {
    file: Storage,
    images: Indexed,
}

impl Archive {
    /// Reads the headers of an archive, and of those in it that of `train` has. A long index is kept in
    /// `listings` and taken from there as long as the archive does not change.
    ///
    /// # Errors
    /// One that cannot be read or is not whole, holds links or a name twice, or no image.
    pub(super) fn open(
        path: &Path,
        train: bool,
        listings: Option<&Path>,
    ) -> Result<Self, DataError> {
        let file = Storage::open(path)?;
        if let Some(images) = cached(listings, path) {
            return Ok(Self { file, images });
        }
        let begun = SystemTime::now();
        let images = if train { trained(&file)? } else { flat(&file)? };
        check_count(path, images.places.len() as u64)?;
        if images.places.is_empty() {
            return Err(DataError::NoImages {
                folder: path.to_path_buf(),
                extensions: EXTENSIONS.to_vec(),
            });
        }
        keep(listings, path, &images, begun);
        Ok(Self { file, images })
    }

    pub(super) fn paths(&self) -> &Paths {
        &self.images.paths
    }

    pub(super) fn labelled(self, labels: Labels) -> Tar {
        Tar::of_places(self.file, self.images.paths, self.images.places, labels)
    }
}

/// The classes of the archive of training images, in their order.
pub(super) fn classes(path: &Path) -> Result<Vec<String>, DataError> {
    let classes = archives(&Storage::open(path)?)?.into_iter();
    Ok(classes
        .map(|class| text_of(&path_of(class.name())))
        .collect())
}

/// A file in an archive.
struct Member {
    path: Vec<u8>,
    place: Place,
}

impl Member {
    /// Of the archive of a class, what the class is called.
    fn name(&self) -> &[u8] {
        let name = self.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        name.strip_suffix(b".tar").unwrap_or(name)
    }
}

/// The images of an archive that holds them itself.
fn flat(archive: &Storage) -> Result<Indexed, DataError> {
    let mut images = Indexed::default();
    for image in files(archive, is_image)? {
        images.push(&path_of(&image.path), image.place);
    }
    Ok(images)
}

/// The images of all classes, each class read by itself.
fn trained(archive: &Storage) -> Result<Indexed, DataError> {
    let classes = archives(archive)?;
    let found = classes.par_iter().map(|class| of_class(archive, class));
    let found: Vec<Indexed> = found.collect::<Result<_, _>>()?;
    Ok(Indexed::joined(&found))
}

/// The archives of classes, ascending by the classes' names.
fn archives(archive: &Storage) -> Result<Vec<Member>, DataError> {
    let wanted = |path: &Path| is_image(path) || is_tar(path);
    let mut found = files(archive, wanted)?;
    if let Some(image) = found.iter().find(|member| is_image(&path_of(&member.path))) {
        let reason = format!(
            "{} is an image beside the archives of classes (n01440764.tar and so on): as tar shards the archive is read by 'tar:{}'",
            image.path.escape_ascii(),
            archive.path().display()
        );
        return Err(archive.unsupported(image.place.offset, reason));
    }
    found.sort_by(|a, b| a.name().cmp(b.name()));
    if let Some([_, class]) = found.array_windows().find(|[a, b]| a.name() == b.name()) {
        return Err(twice(archive, class));
    }
    Ok(found)
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar")
}

fn of_class(archive: &Storage, class: &Member) -> Result<Indexed, DataError> {
    let Place { offset, len } = class.place;
    let name = class.path.escape_ascii();
    let inner = archive.within(offset, len);
    let found = files(&inner, is_image).map_err(|error| match error {
        DataError::Damaged {
            offset: at, reason, ..
        } => archive.damaged(offset + at, format!("in {name}: {reason}")),
        DataError::Unsupported {
            offset: at, reason, ..
        } => archive.unsupported(offset + at, format!("in {name}: {reason}")),
        other => other,
    })?;
    if found.is_empty() {
        let reason = format!("{name} holds no image");
        return Err(archive.unsupported(offset, reason));
    }
    let folder = path_of(class.name());
    let mut images = Indexed::default();
    for image in found {
        let Place { offset: at, len } = image.place;
        let offset = offset + at;
        images.push(&folder.join(path_of(&image.path)), Place { offset, len });
    }
    Ok(images)
}

/// The files of an archive that are wanted by their names, in the order of their paths' parts.
fn files(archive: &Storage, wanted: impl Fn(&Path) -> bool) -> Result<Vec<Member>, DataError> {
    let mut found = Vec::new();
    let end = members(archive, |member| {
        if member.is_hidden() || !wanted(&path_of(&member.path)) {
            return Ok(());
        }
        match member.content {
            Content::File(place) => found.push(Member {
                path: member.path,
                place,
            }),
            Content::Folder => {}
            Content::Link { .. } => {
                let link = member.path.escape_ascii();
                let reason = format!(
                    "{link} is a link: write the archive with --dereference and --hard-dereference"
                );
                return Err(archive.unsupported(member.header, reason));
            }
        }
        Ok(())
    });
    ends(archive, end?)?;
    found.sort_by(|a, b| parts(&a.path).cmp(parts(&b.path)));
    match found.array_windows().find(|[a, b]| a.path == b.path) {
        Some([_, file]) => Err(twice(archive, file)),
        None => Ok(found),
    }
}

/// Refuses an archive that has no end behind its last member, or more than one has.
fn ends(archive: &Storage, end: u64) -> Result<(), DataError> {
    let behind = archive.len().saturating_sub(end);
    let reason = if behind < BLOCK {
        "it is cut: what ends an archive is missing, as where a download stopped".to_owned()
    } else if behind > PADDING {
        format!(
            "it ends there, and {behind} bytes follow that hold nothing, as where a download stopped"
        )
    } else {
        return Ok(());
    };
    Err(archive.damaged(end.min(archive.len()), reason))
}

fn twice(archive: &Storage, member: &Member) -> DataError {
    let name = member.path.escape_ascii();
    let reason = format!(
        "{name} is there a second time, and which is meant is not known: fetch the archive again, or write it with one"
    );
    archive.unsupported(member.place.offset, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::LEAST_FILES;
    use std::time::Duration;

    /// A kept index is taken: what is in it comes out.
    #[test]
    fn a_kept_index_is_not_made_again() {
        let root = tempfile::tempdir().unwrap();
        let archive = root.path().join("ILSVRC2012_img_val.tar");
        std::fs::write(&archive, "no archive").unwrap();
        let listings = Some(root.path());
        assert!(Archive::open(&archive, false, listings).is_err());
        let mut images = Indexed::default();
        for i in 0..LEAST_FILES as u64 {
            let place = Place {
                offset: i % 7,
                len: 3,
            };
            images.push(Path::new(&format!("{i}.JPEG")), place);
        }
        let later = SystemTime::now() + Duration::from_secs(10);
        keep(listings, &archive, &images, later);
        let opened = Archive::open(&archive, false, listings).unwrap();
        assert_eq!(*opened.paths(), images.paths);
        let tar = opened.labelled(Labels::default());
        let bytes = crate::Source::encoded(&tar, 3).unwrap();
        assert_eq!(bytes, crate::Encoded::File(b"arc".to_vec()));
    }
}
