//! The members of a tar archive: their paths and where their bytes are.

use super::tar_pax::records;
use crate::error::DataError;
use crate::storage::Storage;
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Longest name of a member.
const LONGEST_NAME: u64 = 1 << 16;
/// Largest extended header.
const LARGEST_HEADER: u64 = 1 << 20;

/// Where a member's bytes are.
pub(super) enum Content {
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

/// Tells path and content of every regular file and hard link, but for hidden ones.
///
/// Archives may be joined end to end: behind the end of one another may begin. What else is there is
/// of none, as tapes and copies leave it.
pub(super) fn members(
    shard: &Storage,
    mut file: impl FnMut(&[u8], Content) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let (mut at, mut long, mut zeros) = (0, Long::default(), 0);
    while at < shard.len() {
        let mut block = [0; BLOCK as usize];
        let present = BLOCK.min(shard.len() - at) as usize;
        let read = shard.read_into(at, &mut block[..present]);
        read.map_err(|source| DataError::Read {
            path: shard.path().to_path_buf(),
            source,
        })?;
        if block.iter().all(|b| *b == 0) {
            (zeros, at) = (zeros + 1, at + BLOCK);
            continue;
        }
        if present < block.len() || !is_header(&block) {
            // Two blocks of zeros end an archive; one is a hole in it.
            return match zeros {
                2.. => Ok(()),
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
        } else if let Some((path, content)) = std::mem::take(&mut long).member(at, header, place) {
            file(&path, content)?;
        }
        at = (place.0 + place.1).next_multiple_of(BLOCK);
    }
    Ok(())
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

/// Offset and length of what follows the header at `at`.
fn place(shard: &Storage, at: u64, header: &Header) -> Result<(u64, u64), DataError> {
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
    fits.then_some((offset, len)).ok_or_else(|| {
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
        (offset, len): (u64, u64),
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

    /// Path and content of the member they tell of, unless it is hidden or of another kind.
    fn member(
        self,
        at: u64,
        header: &Header,
        (offset, len): (u64, u64),
    ) -> Option<(Vec<u8>, Content)> {
        let path = seen(&self.path(header))?;
        let content = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Content::At { offset, len },
            // By pax with what it holds once more.
            EntryType::Link if len > 0 => Content::At { offset, len },
            EntryType::Link => {
                let short = || header.link_name_bytes().unwrap_or_default().into_owned();
                let path = self.link.unwrap_or_else(short);
                Content::As { header: at, path }
            }
            _ => return None,
        };
        Some((path, content))
    }
}

/// A path without its empty and `.` parts; none if a part is hidden.
pub(super) fn seen(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|b| *b == b'/');
    let parts: Vec<&[u8]> = parts.filter(|p| !p.is_empty() && *p != b".").collect();
    let hidden = parts.iter().any(|p| p.starts_with(b"."));
    (!hidden && !parts.is_empty()).then(|| parts.join(&b'/'))
}
