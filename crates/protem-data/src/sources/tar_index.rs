//! What a tar shard holds, and where.

use super::tar_label::{Kind, Wrong, label};
use super::tar_members::{Content, members, seen};
use crate::error::DataError;
use crate::files::is_image;
use crate::paths::path_of;
use crate::storage::Storage;
use std::collections::{HashMap, VecDeque};

/// Bytes of the names and labels of a shard: these, and so many more for each member. A small file
/// in gzip could have gigabytes of them.
const NAMES: u64 = 64 << 20;
const OF_A_NAME: u64 = 256;
/// Largest `.cls` or `.json` beside an image.
const LARGEST_LABEL: u64 = 1 << 20;

/// An image in a shard.
#[derive(Debug)]
pub(crate) struct Found {
    /// Path within the shard, without `./`.
    pub(crate) path: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// What a `.cls` or `.json` of the same key says of its class.
    pub(crate) said: Option<String>,
}

/// Images of a shard, in its order.
pub(crate) fn index(shard: &Storage) -> Result<Vec<Found>, DataError> {
    let mut index = Index::of(shard);
    members(shard, |path, content| index.take(path, content))?;
    index.finish()
}

struct Index<'a> {
    shard: &'a Storage,
    found: Vec<Found>,
    links: VecDeque<(usize, u64, Vec<u8>)>,
    said: HashMap<Vec<u8>, Said>,
    /// Of names and labels.
    bytes: u64,
    limit: u64,
}

/// What is said of a key.
struct Said {
    by: Kind,
    at: u64,
    /// Or why it is not known.
    label: Result<String, String>,
}

impl<'a> Index<'a> {
    fn of(shard: &'a Storage) -> Self {
        Self {
            shard,
            found: Vec::new(),
            links: VecDeque::new(),
            said: HashMap::new(),
            bytes: 0,
            limit: NAMES,
        }
    }

    fn count(&mut self, name: usize, of: u64) -> Result<(), DataError> {
        self.bytes += name as u64;
        self.limit += of;
        if self.bytes <= self.limit {
            return Ok(());
        }
        Err(DataError::TooLarge {
            path: self.shard.path().to_path_buf(),
            what: "bytes of names and labels",
            size: self.bytes,
            limit: self.limit,
        })
    }

    fn take(&mut self, path: &[u8], content: Content) -> Result<(), DataError> {
        self.count(path.len(), OF_A_NAME)?;
        if is_image(&path_of(path)) {
            let (offset, len) = match content {
                Content::At { offset, len } => (offset, len),
                Content::As { header, path } => {
                    self.links.push_back((self.found.len(), header, path));
                    (0, 0)
                }
            };
            self.found.push(Found {
                path: path.to_vec(),
                offset,
                len,
                said: None,
            });
            return Ok(());
        }
        let (key, extension) = key(path);
        let Some(kind) = extension.and_then(Kind::of) else {
            return Ok(());
        };
        match content {
            Content::At { offset, len } => self.take_label(key, kind, offset, len),
            Content::As { header, path: to } => Err(astray(self.shard, header, path, &to)),
        }
    }

    fn take_label(&mut self, key: &[u8], by: Kind, at: u64, len: u64) -> Result<(), DataError> {
        let label = match self.label(by, at, len)? {
            Ok(None) => return Ok(()),
            Ok(Some(label)) => Ok(label),
            Err(why) => Err(why),
        };
        self.count(label.as_ref().unwrap_or_else(|why| why).len(), 0)?;
        let before = self.said.get(key);
        if let (Some(before), Ok(label)) = (before, &label)
            && let Ok(other) = &before.label
            && before.by == by
            && other != label
        {
            let (key, kind) = (path_of(key), by.extension());
            return Err(DataError::Classes {
                path: self.shard.path().to_path_buf(),
                reason: format!(
                    "{}.{kind} is there twice, with {other} and {label}",
                    key.display()
                ),
            });
        }
        let known = before.is_some_and(|before| before.label.is_ok());
        if !known || (label.is_ok() && by == Kind::Cls) {
            self.said.insert(key.to_vec(), Said { by, at, label });
        }
        Ok(())
    }

    /// What a member says of a class, or why it is not known.
    fn label(
        &self,
        kind: Kind,
        offset: u64,
        len: u64,
    ) -> Result<Result<Option<String>, String>, DataError> {
        if len > LARGEST_LABEL {
            return Ok(Err(format!(
                "it has {len} bytes, the limit is {LARGEST_LABEL}"
            )));
        }
        let read = self.shard.read(offset, len);
        let bytes = read.map_err(|source| DataError::Read {
            path: self.shard.path().to_path_buf(),
            source,
        })?;
        match label(kind, &bytes) {
            Ok(label) => Ok(Ok(label)),
            Err(Wrong::Unread(why)) => Ok(Err(why)),
            Err(Wrong::Label(why)) => Err(self.shard.unsupported(offset, why)),
        }
    }

    fn finish(mut self) -> Result<Vec<Found>, DataError> {
        follow(self.shard, &mut self.found, self.links)?;
        if self.said.is_empty() {
            return Ok(self.found);
        }
        for image in &mut self.found {
            let (key, _) = key(&image.path);
            match self.said.get(key) {
                Some(Said {
                    label: Ok(label), ..
                }) => image.said = Some(label.clone()),
                Some(Said {
                    label: Err(why),
                    by,
                    at,
                }) => {
                    let (member, image) = (key.escape_ascii(), image.path.escape_ascii());
                    let reason = format!(
                        "{member}.{} should say the class of {image}, but {why}; write it again or leave it out",
                        by.extension()
                    );
                    return Err(self.shard.unsupported(*at, reason));
                }
                None => {}
            }
        }
        Ok(self.found)
    }
}

/// Gives images that are hard links the place of the image they are linked to; of several of one path
/// that is the last before the link.
fn follow(
    shard: &Storage,
    found: &mut [Found],
    mut links: VecDeque<(usize, u64, Vec<u8>)>,
) -> Result<(), DataError> {
    if links.is_empty() {
        return Ok(());
    }
    let mut places = HashMap::new();
    for (i, image) in found.iter_mut().enumerate() {
        if let Some((_, header, path)) = links.pop_front_if(|(link, ..)| *link == i) {
            let place = seen(&path).and_then(|path| places.get(&path));
            (image.offset, image.len) =
                *place.ok_or_else(|| astray(shard, header, &image.path, &path))?;
        }
        places.insert(image.path.clone(), (image.offset, image.len));
    }
    Ok(())
}

/// What is answered to a hard link that is no image or leads to none.
fn astray(shard: &Storage, header: u64, link: &[u8], to: &[u8]) -> DataError {
    let reason = format!(
        "{} is a hard link to {}, but only an image can be one, to an image before it in this file",
        link.escape_ascii(),
        to.escape_ascii()
    );
    shard.damaged(header, reason)
}

/// WebDataset's key: the path up to the first dot of its last part; and what follows the dot.
fn key(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let name = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    match path[name..].iter().position(|b| *b == b'.') {
        Some(dot) => (&path[..name + dot], Some(&path[name + dot + 1..])),
        None => (path, None),
    }
}
