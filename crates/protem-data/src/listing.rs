//! Listings of large folders, kept in the user's cache folder.
//!
//! A listing is right as long as no folder of the tree has been written to: adding, removing or
//! renaming an entry changes the modification and status times of its folder. Those of every
//! folder are kept and compared, a million files in a thousand folders being a thousand looks.
//! A folder written to just before it was listed is not trusted (a second write within the clock's
//! grain would not show), so such a listing is not kept.
//!
//! Whatever is wrong with the cache (no such folder, no room, a damaged file), the folder is
//! listed anew.

use crate::paths::{Paths, path_of};
use crate::walk::Tree;
use std::fs::{self, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files below which listing takes no time worth saving.
pub(crate) const LEAST_FILES: usize = 20_000;
/// How long before the listing a folder must have been written to last: the coarsest clock of a
/// file system in use (FAT) has a grain of 2 s.
const SETTLED: Duration = Duration::from_secs(3);
const MAGIC: &[u8; 8] = b"protemL3";

/// Where listings are kept: `protem/listings` in the user's cache folder.
pub(crate) fn folder() -> Option<PathBuf> {
    cache_folder().map(|folder| folder.join("listings"))
}

/// The user's cache folder of this program.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    let home = || set("HOME").filter(absolute).map(|h| h.join(".cache"));
    let cache = set("XDG_CACHE_HOME").filter(absolute).or_else(home);
    let cache = cache.or_else(|| set("LOCALAPPDATA").filter(absolute))?;
    Some(cache.join("protem"))
}

/// The file of a root's listing, by the real path of the root.
pub(crate) fn place(listings: &Path, root: &Path) -> Option<(PathBuf, PathBuf)> {
    let real = root.canonicalize().ok()?;
    let bytes = real.as_os_str().as_encoded_bytes();
    // Two sums of the path; the path itself is in the file, and is compared.
    let turned: Vec<u8> = bytes.iter().rev().copied().collect();
    let (a, b) = (crc32fast::hash(bytes), crc32fast::hash(&turned));
    Some((listings.join(format!("{a:08x}{b:08x}.listing")), real))
}

/// What changes when an entry of a folder does, or a file is written to.
pub(crate) fn stamp(of: &Metadata) -> [u64; 4] {
    let modified = of.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let modified = modified.duration_since(SystemTime::UNIX_EPOCH);
    let modified = modified.map_or(0, |d| d.as_nanos() as u64);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let changed = (of.ctime() as u64).wrapping_mul(1_000_000_000);
        let changed = changed.wrapping_add(of.ctime_nsec() as u64);
        [modified, changed, of.ino(), of.nlink()]
    }
    #[cfg(not(unix))]
    [modified, 0, 0, 0]
}

/// When the system last changed what it knows of a folder, where that is told.
fn changed(of: &Metadata) -> Option<SystemTime> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (seconds, rest) = (
            of.ctime().try_into().ok()?,
            of.ctime_nsec().try_into().ok()?,
        );
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))
    }
    #[cfg(not(unix))]
    {
        let _ = of;
        Some(SystemTime::UNIX_EPOCH)
    }
}

/// The listing of a root, if one is kept and no folder has changed since.
pub(crate) fn cached(listings: Option<&Path>, root: &Path) -> Option<Paths> {
    let (file, real) = place(listings?, root)?;
    let bytes = fs::read(file).ok()?;
    let mut at = Reader(whole(&bytes)?.strip_prefix(MAGIC)?);
    if path_of(at.block()?) != real {
        return None;
    }
    for _ in 0..at.number()? {
        let path = root.join(path_of(at.block()?));
        let kept = [at.number()?, at.number()?, at.number()?, at.number()?];
        if stamp(&fs::metadata(path).ok()?) != kept {
            return None;
        }
    }
    at.paths()
}

/// Reads what is kept; none where it ends too early.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub(crate) fn block(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (block, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(block)
    }

    pub(crate) fn paths(&mut self) -> Option<Paths> {
        let bytes = self.block()?.to_vec();
        let lengths = self.block()?.chunks_exact(2);
        let mut end = 0;
        let ends = lengths.map(|l| {
            end += u64::from(u16::from_le_bytes([l[0], l[1]]));
            end
        });
        let ends = ends.collect();
        Paths::from_parts(bytes, ends)
    }
}

/// Writes what [`Reader`] reads.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn block(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// None if one of the paths is too long.
    pub(crate) fn paths(&mut self, paths: &Paths) -> Option<()> {
        let (bytes, ends) = paths.parts();
        self.block(bytes);
        self.number(2 * ends.len() as u64);
        let mut start = 0;
        for end in ends {
            let length = u16::try_from(end - start).ok()?;
            self.0.extend_from_slice(&length.to_le_bytes());
            start = *end;
        }
        Some(())
    }

    /// Everything, with its sum behind it.
    pub(crate) fn summed(mut self) -> Vec<u8> {
        let sum = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// What lies before the sum, if it is right.
pub(crate) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(body) == u32::from_le_bytes(*sum)).then_some(body)
}

/// Keeps a long listing, if it can be and may be trusted.
pub(crate) fn keep(
    listings: Option<&Path>,
    root: &Path,
    tree: &Tree,
    paths: &Paths,
    begun: SystemTime,
) {
    if let Some(listings) = listings
        && paths.len() >= LEAST_FILES
        && let Some(bytes) = written(root, tree, paths, begun)
        && let Some((file, _)) = place(listings, root)
    {
        let _ = write(listings, &file, &bytes); // listing anew is no failure
    }
}

/// The file's bytes; none when a folder is too freshly written to.
fn written(root: &Path, tree: &Tree, paths: &Paths, begun: SystemTime) -> Option<Vec<u8>> {
    let mut out = Writer(MAGIC.to_vec());
    out.block(root.canonicalize().ok()?.as_os_str().as_encoded_bytes());
    out.number(tree.folders.len() as u64);
    for folder in &tree.folders {
        let metadata = fs::metadata(root.join(&folder.path)).ok()?;
        settled(&metadata, begun)?;
        out.block(folder.path.as_os_str().as_encoded_bytes());
        stamp(&metadata).iter().for_each(|n| out.number(*n));
    }
    out.paths(paths)?;
    Some(out.summed())
}

/// None of what was written to while it was listed, or hardly before: whoever unpacks sets the time of
/// it back, which is a change. Where there is no time, as on some mounts, a change would not be seen.
pub(crate) fn settled(of: &Metadata, begun: SystemTime) -> Option<()> {
    let last = of.modified().ok()?.max(changed(of)?);
    let dated = last > SystemTime::UNIX_EPOCH + SETTLED;
    let settled = last.checked_add(SETTLED)?;
    (dated && settled <= begun).then_some(())
}

/// Aside and renamed: another process sees the old listing or the new one.
pub(crate) fn write(listings: &Path, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(listings)?;
    let mut aside = tempfile::NamedTempFile::new_in(listings)?;
    aside.write_all(bytes)?;
    aside.persist(file)?;
    Ok(())
}
