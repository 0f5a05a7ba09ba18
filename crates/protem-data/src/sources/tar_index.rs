//! What a tar shard holds, and where.

use crate::error::DataError;
use crate::files::is_image;
use crate::paths::path_of;
use crate::storage::Storage;
use std::collections::HashMap;
use std::io::Read;
use tar::{EntryType, PaxExtensions};

/// Longest name of a member.
const LONGEST_NAME: u64 = 1 << 16;
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

/// Images of a shard, in its order.
pub(crate) fn index(shard: &Storage) -> Result<Vec<Found>, DataError> {
    let mut found = Vec::new();
    // Of a key: the kind of member that says it, and what.
    let mut said: HashMap<Vec<u8>, (Vec<u8>, String)> = HashMap::new();
    members(shard, |path, offset, len| {
        if is_image(&path_of(path)) {
            found.push(Found {
                path: path.to_vec(),
                offset,
                len,
                said: None,
            });
        } else if let (key, Some(kind)) = key(path)
            && let Some(label) = label(shard, kind, offset, len)?
        {
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
    if !said.is_empty() {
        for image in &mut found {
            image.said = said.get(key(&image.path).0).map(|(_, label)| label.clone());
        }
    }
    Ok(found)
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
    if !matches!(kind, b"cls" | b"json") {
        return Ok(None);
    }
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
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        return Ok((!text.is_empty()).then_some(text));
    }
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        return Ok(None);
    };
    let value = ["label", "cls", "class"].iter().find_map(|k| object.get(k));
    Ok(match value {
        Some(serde_json::Value::String(name)) => Some(name.clone()),
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

/// Tells path, offset and length of every regular file, but for hidden ones.
fn members(
    shard: &Storage,
    mut file: impl FnMut(&[u8], u64, u64) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut archive = tar::Archive::new(shard.reader(0));
    let mut at = 0;
    let mut long_name: Option<Vec<u8>> = None;
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
            EntryType::GNULongName => {
                let mut name = content(LONGEST_NAME)?;
                name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                long_name = Some(name);
            }
            EntryType::XHeader => {
                let extended = content(LARGEST_HEADER)?;
                for extension in PaxExtensions::new(&extended) {
                    let extension = extension.map_err(|e| shard.damaged(header, e.to_string()))?;
                    match extension.key_bytes() {
                        b"path" => long_name = Some(extension.value_bytes().to_vec()),
                        b"size" => {
                            let reason = "a size in an extended header: a member above 8 GiB";
                            return Err(shard.damaged(header, reason));
                        }
                        _ => {}
                    }
                }
            }
            // They stand before a member, and may come after the one with its name.
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            EntryType::GNUSparse => {
                return Err(shard.damaged(header, "a sparse member, which is not read"));
            }
            _ => {
                let name = long_name.take();
                if matches!(kind, EntryType::Regular | EntryType::Continuous) {
                    let path = name.unwrap_or(short_name);
                    if let Some(path) = seen(&path) {
                        file(&path, offset, len)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A path without its empty and `.` parts; none if a part is hidden.
fn seen(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|b| *b == b'/');
    let parts: Vec<&[u8]> = parts.filter(|p| !p.is_empty() && *p != b".").collect();
    let hidden = parts.iter().any(|p| p.starts_with(b"."));
    (!hidden && !parts.is_empty()).then(|| parts.join(&b'/'))
}
