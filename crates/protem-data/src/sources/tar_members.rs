//! The members of a tar archive: their paths and where their bytes are.

use super::tar_pax::records;
use crate::error::DataError;
use crate::storage::Storage;
use std::io;
use tar::{EntryType, Header};

/// Headers and contents begin at multiples of it.
pub(super) const BLOCK: u64 = 512;
/// Zeros that are read at once.
const ZEROS: u64 = 1 << 16;
/// Longest name of a member.
const LONGEST_NAME: u64 = 1 << 16;
/// Largest extended header.
const LARGEST_HEADER: u64 = 1 << 20;

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// A file, folder or link.
pub(super) struct Member {
    /// Where its header is.
    pub(super) header: u64,
    /// Without empty and `.` parts.
    pub(super) path: Vec<u8>,
    pub(super) content: Content,
}

pub(super) enum Content {
    File(Place),
    Folder,
    /// What the member is a link to, as it is written.
    Link {
        symbolic: bool,
        to: Vec<u8>,
    },
}

/// Tells of every file, folder and link; where the last of them ends, and with it what the archive
/// holds. The end may lie behind that of the file, by what is missing of a block.
///
/// Archives may be joined end to end: behind the end of one another may begin. What else is there is
/// of none, as tapes and copies leave it.
pub(super) fn members(
    shard: &Storage,
    mut tell: impl FnMut(Member) -> Result<(), DataError>,
) -> Result<u64, DataError> {
    let unread = |source| DataError::Read {
        path: shard.path().to_path_buf(),
        source,
    };
    let shard = &shard.held().map_err(unread)?;
    let (mut at, mut long, mut zeros) = (0, Long::default(), 0);
    let mut end = 0;
    while at < shard.len() {
        let mut block = [0; BLOCK as usize];
        let present = BLOCK.min(shard.len() - at) as usize;
        let read = shard.read_into(at, &mut block[..present]);
        read.map_err(unread)?;
        if block.iter().all(|b| *b == 0) {
            (zeros, at) = (zeros + 1, at + BLOCK);
            if zeros > 1 {
                at = behind_zeros(shard, at).map_err(unread)?;
            }
            continue;
        }
        if present < block.len() || !is_header(&block) {
            // Two blocks of zeros end an archive; one is a hole in it.
            return match zeros {
                2.. => Ok(end),
                _ if present < block.len() => Err(shard.damaged(at, "a member's header is cut")),
                _ => Err(shard.damaged(at, "no header of a member, or one with a wrong sum")),
            };
        }
        zeros = 0;
        let header = Header::from_byte_slice(&block);
        if !tells(header.entry_type()) {
            long.check(header)
                .map_err(|reason| shard.unsupported(at, reason))?;
        }
        let place = place(shard, at, header)?;
        if tells(header.entry_type()) {
            long.take(shard, at, header.entry_type(), place)?;
        } else if let Some(member) = std::mem::take(&mut long).member(at, header, place) {
            tell(member)?;
        }
        at = (place.offset + place.len).next_multiple_of(BLOCK);
        end = at;
    }
    Ok(end)
}

/// The first block from `at` on that is not of zeros, or the end.
fn behind_zeros(shard: &Storage, mut at: u64) -> io::Result<u64> {
    let mut bytes = [0; ZEROS as usize];
    while at < shard.len() {
        let bytes = &mut bytes[..ZEROS.min(shard.len() - at) as usize];
        shard.read_into(at, bytes)?;
        if let Some(zeros) = bytes.iter().position(|b| *b != 0) {
            return Ok(at + zeros as u64 / BLOCK * BLOCK);
        }
        at += bytes.len() as u64;
    }
    Ok(at)
}

/// Whether a member tells of the one behind it.
fn tells(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
    )
}

/// Whether a block is a member's header: one whose sum is right.
pub(super) fn is_header(block: &[u8; BLOCK as usize]) -> bool {
    let bytes = block[..148].iter().chain(&block[156..]);
    let sum: u32 = bytes.map(|b| u32::from(*b)).sum();
    let expected = Header::from_byte_slice(block).cksum();
    expected.is_ok_and(|expected| expected == sum + 8 * u32::from(b' '))
}

/// The place of what follows the header at `at`.
fn place(shard: &Storage, at: u64, header: &Header) -> Result<Place, DataError> {
    let len = match header.entry_size() {
        Ok(len) => len,
        // A volume's label is a name alone, and GNU tar leaves its size empty.
        Err(_) if header.entry_type().as_byte() == b'V' => 0,
        Err(error) => return Err(shard.damaged(at, error.to_string())),
    };
    let offset = at + BLOCK;
    let fits = offset
        .checked_add(len)
        .is_some_and(|end| end <= shard.len());
    fits.then_some(Place { offset, len }).ok_or_else(|| {
        let path = header.path_bytes();
        let name = path.escape_ascii();
        let reason = format!("{name} has {len} bytes by its header, more than the file");
        shard.damaged(at, reason)
    })
}

/// What members of their own tell of the one behind them.
#[derive(Default)]
struct Long {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    sparse: bool,
    sized: bool,
}

impl Long {
    /// Takes what a member tells.
    fn take(
        &mut self,
        shard: &Storage,
        header: u64,
        kind: EntryType,
        Place { offset, len }: Place,
    ) -> Result<(), DataError> {
        let content = |limit: u64| {
            if len > limit {
                return Err(shard.damaged(header, format!("an extended header of {len} bytes")));
            }
            let read = shard.read(offset, len);
            read.map_err(|source| DataError::Read {
                path: shard.path().to_path_buf(),
                source,
            })
        };
        let name = || {
            let mut name = content(LONGEST_NAME)?;
            name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
            Ok(Some(name))
        };
        match kind {
            EntryType::GNULongName => self.name = name()?,
            EntryType::GNULongLink => self.link = name()?,
            EntryType::XHeader => {
                let told = self.extend(&content(LARGEST_HEADER)?);
                told.map_err(|reason| shard.damaged(header, reason))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes what an extended header of pax tells.
    fn extend(&mut self, header: &[u8]) -> Result<(), String> {
        for (key, value) in records(header)? {
            match key {
                b"path" | b"GNU.sparse.name" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.sized = true,
                _ => {}
            }
            self.sparse |= key.starts_with(b"GNU.sparse.");
        }
        Ok(())
    }

    /// Refuses the member they tell of if its bytes are not what its header says.
    fn check(&self, header: &Header) -> Result<(), String> {
        let why = if self.sparse || header.entry_type() == EntryType::GNUSparse {
            "is a sparse member: write the archive without --sparse"
        } else if self.sized {
            "has its size in an extended header, as members above 8 GiB have: leave it out"
        } else {
            return Ok(());
        };
        Err(format!("{} {why}", self.path(header).escape_ascii()))
    }

    fn path(&self, header: &Header) -> Vec<u8> {
        let short = || header.path_bytes().into_owned();
        self.name.clone().unwrap_or_else(short)
    }

    /// The member they tell of, if it is a file, folder or link.
    fn member(self, at: u64, header: &Header, place: Place) -> Option<Member> {
        let content = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Content::File(place),
            // By pax with what it holds once more.
            EntryType::Link if place.len > 0 => Content::File(place),
            EntryType::Directory => Content::Folder,
            kind @ (EntryType::Link | EntryType::Symlink) => {
                let short = || header.link_name_bytes().unwrap_or_default().into_owned();
                Content::Link {
                    symbolic: kind == EntryType::Symlink,
                    to: self.link.clone().unwrap_or_else(short),
                }
            }
            _ => return None,
        };
        Some(Member {
            header: at,
            path: joined(parts(&self.path(header))),
            content,
        })
    }
}

impl Member {
    /// Whether a part of its path is hidden, or it has none.
    pub(super) fn is_hidden(&self) -> bool {
        parts(&self.path).any(|part| part.starts_with(b".")) || self.path.is_empty()
    }
}

/// The path that a link leads to; none outside the archive. A hard link tells all of it, a symbolic one
/// what follows the folder it lies in.
pub(super) fn led_to(link: &[u8], symbolic: bool, to: &[u8]) -> Option<Vec<u8>> {
    if !symbolic {
        return Some(joined(parts(to)));
    }
    if to.starts_with(b"/") {
        return None;
    }
    let mut path: Vec<&[u8]> = parts(link).collect();
    path.pop();
    for part in parts(to) {
        if part == b".." {
            path.pop()?;
        } else {
            path.push(part);
        }
    }
    Some(joined(path.into_iter()))
}

/// Parts of a path but for empty ones and `.`.
pub(super) fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = path.split(|b| *b == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".")
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_paths_of_the_archive() {
        for (link, to, path) in [
            ("a/b/c.png", "d.png", Some("a/b/d.png")),
            ("a/b/c.png", ".././/../d.png", Some("d.png")),
            ("a/b/c.png", "../../../d.png", None),
            ("a/b/c.png", "/a/b/d.png", None),
            ("c.png", "x/../y/d.png", Some("y/d.png")),
            ("c.png", "..", None),
            ("a/c.png", "..", Some("")),
        ] {
            let found = led_to(link.as_bytes(), true, to.as_bytes());
            assert_eq!(found.as_deref(), path.map(str::as_bytes), "{link} to {to}");
        }
        let hard = led_to(b"a/c.png", false, b"./x//d.png");
        assert_eq!(hard.as_deref(), Some(&b"x/d.png"[..]));
    }
}
