//! What a tar shard holds, and where.

use super::tar_members::{Content, members, seen};
use crate::error::DataError;
use crate::files::is_image;
use crate::labels::word;
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
    let mut found = Vec::new();
    let mut links = VecDeque::new();
    // Of a key: the kind of member that says it, and what.
    let mut said: HashMap<Vec<u8>, (Vec<u8>, String)> = HashMap::new();
    let (mut bytes, mut limit) = (0, NAMES);
    let mut count = |name: usize, of: u64| {
        (bytes, limit) = (bytes + name as u64, limit + of);
        if bytes <= limit {
            return Ok(());
        }
        Err(DataError::TooLarge {
            path: shard.path().to_path_buf(),
            what: "bytes of names and labels",
            size: bytes,
            limit,
        })
    };
    members(shard, |path, content| {
        count(path.len(), OF_A_NAME)?;
        if is_image(&path_of(path)) {
            let (offset, len) = match content {
                Content::At { offset, len } => (offset, len),
                Content::As { header, path } => {
                    links.push_back((found.len(), header, path));
                    (0, 0)
                }
            };
            found.push(Found {
                path: path.to_vec(),
                offset,
                len,
                said: None,
            });
            return Ok(());
        }
        let (key, kind) = key(path);
        let is = |known: &&&[u8]| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(known));
        let Some(kind) = [&b"cls"[..], b"json"].iter().find(is).copied() else {
            return Ok(());
        };
        let (offset, len) = match content {
            Content::At { offset, len } => (offset, len),
            Content::As { header, path: to } => return Err(astray(shard, header, path, &to)),
        };
        if let Some(label) = label(shard, kind, offset, len)? {
            count(label.len(), 0)?;
            match said.get(key) {
                Some((before, other)) if before == kind && *other != label => {
                    let (key, kind) = (path_of(key), String::from_utf8_lossy(kind));
                    return Err(DataError::Classes {
                        path: shard.path().to_path_buf(),
                        reason: format!(
                            "{}.{kind} is there twice, with {other} and {label}",
                            key.display()
                        ),
                    });
                }
                // A .cls goes before what a .json says.
                Some(_) if kind != b"cls" => {}
                _ => {
                    said.insert(key.to_vec(), (kind.to_vec(), label));
                }
            }
        }
        Ok(())
    })?;
    follow(shard, &mut found, links)?;
    if !said.is_empty() {
        for image in &mut found {
            image.said = said.get(key(&image.path).0).map(|(_, label)| label.clone());
        }
    }
    Ok(found)
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

/// What a member beside an image says of its class: `.cls` is a number or a name, `.json` an object
/// with one under `label`, `cls` or `class`.
fn label(shard: &Storage, kind: &[u8], offset: u64, len: u64) -> Result<Option<String>, DataError> {
    if len > LARGEST_LABEL {
        return Err(shard.damaged(
            offset,
            format!(
                "a .{} of {len} bytes, the limit is {LARGEST_LABEL}",
                String::from_utf8_lossy(kind)
            ),
        ));
    }
    let bytes = shard.read(offset, len).map_err(|source| DataError::Read {
        path: shard.path().to_path_buf(),
        source,
    })?;
    if kind == b"cls" {
        let text = word(bytes.trim_ascii()).map_err(|e| shard.damaged(offset, e))?;
        return Ok((!text.is_empty()).then(|| text.to_owned()));
    }
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        return Ok(None);
    };
    let value = ["label", "cls", "class"].iter().find_map(|k| object.get(k));
    Ok(match value {
        Some(serde_json::Value::String(name)) => {
            let name = word(name.as_bytes()).map_err(|e| shard.damaged(offset, e))?;
            Some(name.to_owned())
        }
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}
