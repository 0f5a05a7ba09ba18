//! What a tar shard holds, and where.

use super::tar_label::{Kind, Wrong, label};
use super::tar_members::{Content, Member, Place, led_to, members};
use crate::error::DataError;
use crate::files::is_image;
use crate::paths::path_of;
use crate::storage::Storage;
use std::collections::{HashMap, HashSet};

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
    /// Where it is; none of a symbolic link to no file before it.
    pub(crate) place: Option<Place>,
    /// What a `.cls` or `.json` of the same key says of its class.
    pub(crate) said: Option<String>,
}

/// Images of a shard, in its order; with what is said of them, if that is wanted. Of several with one path
/// the last is there, as if the archive had been unpacked.
pub(crate) fn index(shard: &Storage, labelled: bool) -> Result<Vec<Found>, DataError> {
    let mut index = Index::of(shard, labelled, Links::Met(HashSet::new()));
    members(shard, |member| index.take(member))?;
    if let Links::Met(targets) = &mut index.links
        && !targets.is_empty()
    {
        // Only now is it known which members' places to keep: all of them would be too many.
        let places = targets.drain().flatten().map(|target| (target, None));
        let links = Links::Followed(places.collect());
        index = Index::of(shard, labelled, links);
        members(shard, |member| index.take(member))?;
    }
    index.finish()
}

struct Index<'a> {
    shard: &'a Storage,
    labelled: bool,
    links: Links,
    found: Vec<Found>,
    said: HashMap<Vec<u8>, Said>,
    /// Of names and labels.
    bytes: u64,
    limit: u64,
}

/// Links of an archive are followed when it is gone through a second time, if it has any.
enum Links {
    /// What those met lead to; none is outside the archive.
    Met(HashSet<Option<Vec<u8>>>),
    /// What they lead to, and what the last member of that path was.
    Followed(HashMap<Vec<u8>, Option<Target>>),
}

#[derive(Clone, Copy)]
enum Target {
    File(Place),
    Folder,
}

/// What is said of a key.
struct Said {
    by: Kind,
    at: u64,
    /// Or why it is not known.
    label: Result<String, String>,
}

impl<'a> Index<'a> {
    fn of(shard: &'a Storage, labelled: bool, links: Links) -> Self {
        Self {
            shard,
            labelled,
            links,
            found: Vec::new(),
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

    fn take(&mut self, member: Member) -> Result<(), DataError> {
        let target = match &member.content {
            Content::File(place) => Some(Target::File(*place)),
            Content::Folder => Some(Target::Folder),
            Content::Link { symbolic, to } => {
                let to = led_to(&member.path, *symbolic, to);
                match &self.links {
                    Links::Met(_) => return self.meet(to),
                    Links::Followed(targets) => to.and_then(|to| *targets.get(&to)?),
                }
            }
        };
        if let Links::Followed(targets) = &mut self.links
            && let Some(last) = targets.get_mut(&member.path)
        {
            *last = target;
        }
        if member.is_hidden() || matches!(member.content, Content::Folder) {
            return Ok(());
        }
        self.count(member.path.len(), OF_A_NAME)?;
        if is_image(&path_of(&member.path)) {
            return self.take_image(member, target);
        }
        let (key, extension) = key(&member.path);
        match extension.and_then(Kind::of).filter(|_| self.labelled) {
            Some(by) => self.take_label(key, by, &member, target),
            None => Ok(()),
        }
    }

    /// Keeps what a link leads to.
    fn meet(&mut self, to: Option<Vec<u8>>) -> Result<(), DataError> {
        let Links::Met(targets) = &mut self.links else {
            return Ok(());
        };
        let len = to.as_ref().map_or(0, Vec::len);
        let new = targets.insert(to);
        self.count(if new { len } else { 0 }, OF_A_NAME)
    }

    fn take_image(&mut self, member: Member, target: Option<Target>) -> Result<(), DataError> {
        let place = match (target, &member.content) {
            (Some(Target::File(place)), _) => Some(place),
            (_, Content::Link { symbolic, to }) if !symbolic => {
                return Err(self.astray(&member, to));
            }
            (None, _) => None,
            _ => return Ok(()),
        };
        self.found.push(Found {
            path: member.path,
            place,
            said: None,
        });
        Ok(())
    }

    /// What is answered to a hard link that leads to nothing.
    fn astray(&self, link: &Member, to: &[u8]) -> DataError {
        let reason = format!(
            "{} is a hard link to {}, which is no file before it in this archive: write it with --hard-dereference, or with what it links to",
            link.path.escape_ascii(),
            to.escape_ascii()
        );
        self.shard.unsupported(link.header, reason)
    }

    fn take_label(
        &mut self,
        key: &[u8],
        by: Kind,
        member: &Member,
        target: Option<Target>,
    ) -> Result<(), DataError> {
        let place = match (target, &member.content) {
            (Some(Target::File(place)), _) => place,
            (_, Content::Link { symbolic, to }) if !symbolic => {
                return Err(self.astray(member, to));
            }
            (None, _) => {
                let why = "it is a symbolic link to no file before it".to_owned();
                return self.say(key, by, member.header, Err(why));
            }
            _ => return Ok(()),
        };
        match self.label(by, place)? {
            Ok(None) => Ok(()),
            Ok(Some(label)) => self.say(key, by, place.offset, Ok(label)),
            Err(why) => self.say(key, by, place.offset, Err(why)),
        }
    }

    /// Keeps what a member says of a key.
    fn say(
        &mut self,
        key: &[u8],
        by: Kind,
        at: u64,
        label: Result<String, String>,
    ) -> Result<(), DataError> {
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
        Place { offset, len }: Place,
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
        self.found = last_of_each(self.found);
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

/// Without those that one of the same path comes behind: an archive that is added to keeps both.
fn last_of_each(found: Vec<Found>) -> Vec<Found> {
    let mut paths = HashSet::new();
    let from_the_end = found.iter().rev();
    let last: Vec<bool> = from_the_end
        .map(|image| paths.insert(image.path.as_slice()))
        .collect();
    let stays = last.into_iter().rev();
    let found = found.into_iter().zip(stays).filter(|(_, stays)| *stays);
    found.map(|(image, _)| image).collect()
}

/// WebDataset's key: the path up to the first dot of its last part; and what follows the dot.
fn key(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let name = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    match path[name..].iter().position(|b| *b == b'.') {
        Some(dot) => (&path[..name + dot], Some(&path[name + dot + 1..])),
        None => (path, None),
    }
}
