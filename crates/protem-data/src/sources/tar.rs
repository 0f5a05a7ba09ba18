//! Tar shards, read at any place through an index of their members.
//!
//! A gzip stream has no places: it is decompressed once when it is opened, into an unnamed
//! temporary file in the user's cache folder (`$XDG_CACHE_HOME/protem`; the system's temporary
//! folder if that cannot be written to) that is gone with the source. It may expand to 64 times its
//! size, or 1 GiB if that is more. Each thread fills a file of its own.

use super::tar_index::{Found, index};
use super::tar_members::{Place, is_header};
use crate::class_names::ClassNames;
use crate::error::{DataError, ReadError};
use crate::files::{EXTENSIONS, check_count};
use crate::folder::by_top_folder;
use crate::labels::{Gathered, Labels, names_of};
use crate::listing::cache_folder;
use crate::paths::{Paths, path_of, text_of};
use crate::shards::names_below;
use crate::source::{Encoded, Source};
use crate::storage::{GZIP_EXPANSION, Storage};
use flate2::read::MultiGzDecoder;
use image::RgbImage;
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How the labels are left out, where they cannot be read.
const WITHOUT: &str = "; ?label= reads the images without labels";
/// What any gzip shard may expand to.
const SMALL: u64 = 1 << 30;

/// The images of tar shards, plain or gzip, in the shards' order.
///
/// Classes are what `.cls` or `.json` members of the same key say (WebDataset: `0001.jpg`,
/// `0001.cls`). When all are numbers, these are the classes, called by the lines of a
/// `classnames.txt` in the shards' folder or the one above if there is one; otherwise they are
/// names, in alphabetical order; where every number is negative, as in tests without answers, there are
/// none. Without such members, classes are the top-level folders, as in a
/// [`crate::Folder`], below the folders that all members share.
///
/// A link is the file before it that it leads to; a symbolic link that has the name of an image and
/// leads to none is an image that cannot be read, unless it leads to a folder. Archives joined end to end
/// are one, and hidden members are passed over.
#[derive(Debug)]
pub struct Tar {
    shards: Vec<Storage>,
    members: Vec<Member>,
    /// Symbolic links that lead to no image, ascending.
    astray: Vec<u32>,
    names: Paths,
    labels: Labels,
    what: String,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    shard: u32,
    place: Place,
}

impl Tar {
    /// Indexes files; without their classes, if those are not wanted.
    pub(crate) fn open_with(files: &[PathBuf], labelled: bool) -> Result<Self, DataError> {
        let opened = files.iter().enumerate();
        let shards = opened.map(|(i, file)| Storage::open_as(file, i));
        Self::of_with(shards.collect::<Result<_, _>>()?, labelled)
    }

    /// Indexes shards that are files or lie in memory.
    ///
    /// # Errors
    /// A file that cannot be read, one whose structure is damaged (named, with the place), shards
    /// without an image, classes of some images only.
    pub fn of(shards: Vec<Storage>) -> Result<Self, DataError> {
        Self::of_with(shards, true)
    }

    fn of_with(shards: Vec<Storage>, labelled: bool) -> Result<Self, DataError> {
        let shards = expanded(shards)?;
        let found = shards.par_iter().map(|shard| index(shard, labelled));
        let found: Vec<Vec<Found>> = found.collect::<Result<_, _>>()?;
        let all: usize = found.iter().map(Vec::len).sum();
        let first = shards.first().map_or(Path::new(""), Storage::path);
        check_count(first, all as u64)?;
        if all == 0 {
            return Err(DataError::NoImages {
                folder: first.to_path_buf(),
                extensions: EXTENSIONS.to_vec(),
            });
        }
        let names = names_below(&shards);
        let labels = match labelled {
            true => labels(&shards, &found)?,
            false => Labels::default(),
        };
        let (mut members, mut paths) = (Vec::with_capacity(all), Paths::default());
        let mut astray = Vec::new();
        for (shard, images) in found.into_iter().enumerate() {
            for image in images {
                let place = image.place.unwrap_or_else(|| {
                    astray.push(members.len() as u32);
                    Place { offset: 0, len: 0 }
                });
                members.push(Member {
                    shard: shard as u32,
                    place,
                });
                paths.push(&names[shard].join(path_of(&image.path)));
            }
        }
        let what = match &shards[..] {
            [one] => format!("images of {}", one.path().display()),
            more => format!(
                "images of {} shards from {} on",
                more.len(),
                first.display()
            ),
        };
        Ok(Self {
            shards,
            members,
            astray,
            names: paths,
            labels,
            what,
        })
    }

    /// Images at places of one archive.
    pub(super) fn of_places(
        archive: Storage,
        names: Paths,
        places: Vec<Place>,
        labels: Labels,
    ) -> Self {
        let places = places.into_iter();
        Self {
            members: places.map(|place| Member { shard: 0, place }).collect(),
            astray: Vec::new(),
            names,
            labels,
            what: format!("images of {}", archive.path().display()),
            shards: vec![archive],
        }
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, ReadError> {
        if self.astray.binary_search(&(index as u32)).is_ok() {
            return Err(ReadError::Link);
        }
        let Member { shard, place } = self.members[index];
        self.shards[shard as usize].read_image(place.offset, place.len)
    }
}

/// Whether a file is a tar archive, or a gzip stream of one.
pub(crate) fn is_tar(file: &Storage) -> bool {
    let mut block = [0; 512];
    let read = if file.is_gzip() {
        MultiGzDecoder::new(BufReader::new(file.reader(0))).read_exact(&mut block)
    } else {
        file.read_into(0, &mut block)
    };
    read.is_ok() && is_header(&block)
}

fn labels(shards: &[Storage], found: &[Vec<Found>]) -> Result<Labels, DataError> {
    let images = || found.iter().flatten();
    let path = shards[0].path();
    if images().all(|image| image.said.is_none()) {
        return Ok(by_top_folder(&below_shared_folders(found)));
    }
    let mut gathered = Gathered::default();
    let wrong = |reason: String| DataError::Classes {
        path: path.to_path_buf(),
        reason: reason + WITHOUT,
    };
    for image in images() {
        match &image.said {
            Some(said) => gathered.push(said.as_bytes()).map_err(wrong)?,
            None => {
                return Err(DataError::NoClass {
                    path: path.to_path_buf(),
                    image: String::from_utf8_lossy(&image.path).into_owned(),
                    otherwise: WITHOUT,
                });
            }
        }
    }
    let labels = gathered.finish().map_err(wrong)?;
    let numbered = labels.classes.are_numbers() && !labels.classes.is_empty();
    let folders = [path.parent(), path.parent().and_then(Path::parent)];
    for folder in folders.into_iter().flatten().filter(|_| numbered) {
        let names = folder.join("classnames.txt");
        if names.is_file() {
            let names = Storage::open(&names)?.read_all("bytes", 1 << 26)?;
            return labels.named(names_of(&names)).map_err(wrong);
        }
    }
    Ok(labels)
}

/// The members' paths without the leading folders that all have.
fn below_shared_folders(found: &[Vec<Found>]) -> Paths {
    let mut images = found.iter().flatten();
    let folder = |path: &[u8]| path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let mut shared: &[u8] = match images.next() {
        Some(first) => &first.path[..folder(&first.path)],
        None => &[],
    };
    for image in images {
        while !image.path.starts_with(shared) {
            shared = &shared[..folder(&shared[..shared.len() - 1])];
        }
    }
    let mut paths = Paths::default();
    for image in found.iter().flatten() {
        paths.push(&path_of(&image.path[shared.len()..]));
    }
    paths
}

/// The shards, with gzip streams replaced by parts of temporary files, one for each thread.
fn expanded(shards: Vec<Storage>) -> Result<Vec<Storage>, DataError> {
    let idle: Mutex<Vec<Temporary>> = Mutex::default();
    let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let expand = |shard: Storage| {
        if !shard.is_gzip() {
            return Ok(shard);
        }
        let of_another = idle().pop();
        let mut file = match of_another {
            Some(file) => file,
            None => Temporary::new().map_err(|source| DataError::Read {
                path: shard.path().to_path_buf(),
                source,
            })?,
        };
        let part = file.expand(&shard)?;
        idle().push(file);
        Ok(part)
    };
    shards.into_par_iter().map(expand).collect()
}

/// A file without a name that gzip streams are decompressed into, one after another.
struct Temporary {
    file: Arc<File>,
    end: u64,
    /// Where it lies.
    folder: PathBuf,
}

impl Temporary {
    fn new() -> io::Result<Self> {
        let at = |file, folder| Self {
            file: Arc::new(file),
            end: 0,
            folder,
        };
        if let Some(folder) = cache_folder()
            && std::fs::create_dir_all(&folder).is_ok()
            && let Ok(file) = tempfile::tempfile_in(&folder)
        {
            return Ok(at(file, folder));
        }
        Ok(at(tempfile::tempfile()?, std::env::temp_dir()))
    }

    /// What a shard is when it is decompressed.
    fn expand(&mut self, shard: &Storage) -> Result<Storage, DataError> {
        let path = || shard.path().to_path_buf();
        let limit = shard.len().saturating_mul(GZIP_EXPANSION).max(SMALL);
        let mut out = Filled {
            file: &self.file,
            refused: false,
        };
        let copied = shard.gunzip(limit, &mut out);
        let copied = copied.map_err(|e| match out.refused {
            true => DataError::Decompress {
                path: path(),
                folder: self.folder.clone(),
                source: e,
            },
            false => shard.damaged(0, format!("no whole gzip stream: {e}")),
        })?;
        if copied > limit {
            return Err(DataError::TooLarge {
                path: path(),
                what: "bytes when decompressed, or more",
                size: copied,
                limit,
            });
        }
        let part = Storage::part(self.file.clone(), self.end, copied, path());
        self.end += copied;
        Ok(part)
    }
}

/// A file that is filled, and whether it took everything.
struct Filled<'a> {
    file: &'a File,
    refused: bool,
}

impl Write for Filled<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        // One that was interrupted is tried again.
        let refused = |e: &io::Error| e.kind() != io::ErrorKind::Interrupted;
        self.refused |= written.as_ref().is_err_and(refused);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Source for Tar {
    fn len(&self) -> usize {
        self.members.len()
    }
    fn name(&self, index: usize) -> String {
        text_of(&self.names.get(index))
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn classes(&self) -> &ClassNames {
        &self.labels.classes
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        crate::decode(&self.bytes(index)?)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.bytes(index).map(Encoded::File)
    }
    fn describe(&self) -> String {
        self.what.clone()
    }
}
