//! What a tar shard holds, and where.

use super::tar_pax::records;
use crate::error::DataError;
use crate::files::is_image;
use crate::labels::word;
use crate::paths::path_of;
use crate::storage::Storage;
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use tar::EntryType;

/// Longest name of a member.
const LONGEST_NAME: u64 = 1 << 16;
/// Bytes of the names and labels of a shard: these, and so many more for each member. A small file
/// in gzip could have gigabytes of them.
const NAMES: u64 = 64 << 20;
const OF_A_NAME: u64 = 256;
/// Largest extended header.
const LARGEST_HEADER: u64 = 1 << 20;
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

/// Where a member's bytes are.
enum Content {
    At {
        offset: u64,
        len: u64,
    },
    /// Those of the member of this path before it; the link's header is at `header`.
    As {
        header: u64,
        path: Vec<u8>,
    },
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

/// Tells path and content of every regular file and hard link, but for hidden ones.
fn members(
    shard: &Storage,
    mut file: impl FnMut(&[u8], Content) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut archive = tar::Archive::new(shard.reader(0));
    let (mut at, mut long) = (0, Long::default());
    // Archives may be joined end to end; those behind the first would be passed over.
    archive.set_ignore_zeros(true);
    let entries = archive.entries_with_seek();
    let entries = entries.map_err(|e| shard.damaged(0, e.to_string()))?;
    // Raw: extended headers come as members, so that their size is looked at before they are read.
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|e| shard.damaged(at, e.to_string()))?;
        let (offset, len) = (entry.raw_file_position(), entry.size());
        let end = offset.checked_add(len).filter(|end| *end <= shard.len());
        let Some(end) = end else {
            return Err(shard.damaged(
                at,
                format!(
                    "{} has {len} bytes by its header, more than the file",
                    entry.path_bytes().escape_ascii()
                ),
            ));
        };
        let (header, kind) = (at, entry.header().entry_type());
        let short_name = entry.path_bytes().into_owned();
        at = end.next_multiple_of(512);
        let mut content = |limit: u64| {
            if len > limit {
                return Err(shard.damaged(header, format!("an extended header of {len} bytes")));
            }
            let mut bytes = Vec::new();
            let read = entry.read_to_end(&mut bytes);
            read.map_err(|e| shard.damaged(header, e.to_string()))?;
            Ok(bytes)
        };
        match kind {
            EntryType::GNULongName | EntryType::GNULongLink => {
                let mut name = content(LONGEST_NAME)?;
                name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                if kind == EntryType::GNULongName {
                    long.name = Some(name);
                } else {
                    long.link = Some(name);
                }
            }
            EntryType::XHeader => {
                let told = long.extend(&content(LARGEST_HEADER)?);
                told.map_err(|reason| shard.damaged(header, reason))?;
            }
            EntryType::XGlobalHeader => {}
            EntryType::GNUSparse => {
                return Err(shard.damaged(header, "a sparse member, which is not read"));
            }
            _ => {
                let Long { name, link } = std::mem::take(&mut long);
                let content = match kind {
                    EntryType::Regular | EntryType::Continuous => Content::At { offset, len },
                    // By pax with what it holds once more.
                    EntryType::Link if len > 0 => Content::At { offset, len },
                    EntryType::Link => {
                        let short = || entry.link_name_bytes().unwrap_or_default().into_owned();
                        let path = link.unwrap_or_else(short);
                        Content::As { header, path }
                    }
                    _ => continue,
                };
                if let Some(path) = seen(&name.unwrap_or(short_name)) {
                    file(&path, content)?;
                }
            }
        }
    }
    Ok(())
}

/// What members of their own tell of the one behind them.
#[derive(Default)]
struct Long {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Long {
    /// Takes what an extended header of pax tells.
    fn extend(&mut self, header: &[u8]) -> Result<(), String> {
        for (key, value) in records(header)? {
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    return Err("a size in an extended header: a member above 8 GiB".into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path without its empty and `.` parts; none if a part is hidden.
fn seen(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|b| *b == b'/');
    let parts: Vec<&[u8]> = parts.filter(|p| !p.is_empty() && *p != b".").collect();
    let hidden = parts.iter().any(|p| p.starts_with(b"."));
    (!hidden && !parts.is_empty()).then(|| parts.join(&b'/'))
}
