//! Lists a tree of folders, several at a time.

use rayon::prelude::*;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders that are listed at most: a few links can make a tree that doubles at every level.
const MOST_FOLDERS: usize = 4_000_000;

/// A folder as it was listed.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Below the root; empty for the root.
    pub(crate) path: PathBuf,
    /// In the order of their names.
    entries: Vec<(OsString, Entry)>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    File,
    /// A link that leads nowhere.
    Broken,
    /// By its place among the folders.
    Folder(usize),
}

/// What could not be listed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// A folder that is still to be listed.
struct Open {
    path: PathBuf,
    /// The real places of the folder and those above it: a link back to one, or to a folder that one lies
    /// in, would go round.
    real: Arc<Chain>,
}

struct Chain {
    real: PathBuf,
    above: Option<Arc<Chain>>,
}

impl Chain {
    /// Whether one lists such a folder again from `path` on.
    fn is_below(&self, path: &Path) -> bool {
        let mut at = Some(self);
        while let Some(chain) = at {
            let way = chain.real.strip_prefix(path);
            if way.is_ok_and(|way| !way.iter().any(is_hidden)) {
                return true;
            }
            at = chain.above.as_deref();
        }
        false
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// A listed tree: every folder below `root`, links followed, hidden entries passed over.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) folders: Vec<Listed>,
}

impl Tree {
    /// Lists level by level: no recursion, so depth costs no stack.
    ///
    /// `wanted` tells which files are kept, by their names. A wanted link that leads nowhere is
    /// kept; another one is an error.
    pub(crate) fn list(
        root: &Path,
        wanted: &(dyn Fn(&Path) -> bool + Sync),
    ) -> Result<Self, Refused> {
        let real = root.canonicalize().map_err(|source| Refused {
            path: root.to_path_buf(),
            source,
        })?;
        let mut folders: Vec<Listed> = Vec::new();
        let mut level = vec![Open {
            path: PathBuf::new(),
            real: Arc::new(Chain { real, above: None }),
        }];
        while !level.is_empty() {
            let listed: Vec<(Listed, Vec<Open>)> = level
                .par_iter()
                .map(|open| one(root, open, wanted))
                .collect::<Result<_, _>>()?;
            level = Vec::new();
            let mut next = folders.len() + listed.len();
            for (mut folder, below) in listed {
                for (_, entry) in &mut folder.entries {
                    if let Entry::Folder(place) = entry {
                        *place = next;
                        next += 1;
                    }
                }
                folders.push(folder);
                level.extend(below);
            }
            if folders.len() + level.len() > MOST_FOLDERS {
                return Err(Refused {
                    path: root.to_path_buf(),
                    source: io::Error::other(format!("there are more than {MOST_FOLDERS} folders")),
                });
            }
        }
        Ok(Self { folders })
    }

    /// Every wanted file, below the root, in the order of the paths' parts.
    pub(crate) fn files(&self, mut file: impl FnMut(&Path)) {
        let mut open = vec![(0, 0)];
        let mut path = PathBuf::new();
        while let Some((folder, at)) = open.last_mut() {
            let listed = &self.folders[*folder];
            let Some((name, entry)) = listed.entries.get(*at) else {
                open.pop();
                continue;
            };
            *at += 1;
            match entry {
                Entry::Folder(below) => open.push((*below, 0)),
                Entry::File | Entry::Broken => {
                    path.clear();
                    path.push(&listed.path);
                    path.push(name);
                    file(&path);
                }
            }
        }
    }
}

fn one(
    root: &Path,
    open: &Open,
    wanted: &(dyn Fn(&Path) -> bool + Sync),
) -> Result<(Listed, Vec<Open>), Refused> {
    let place = root.join(&open.path);
    let refused = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Refused { path, source }
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&place).map_err(refused(&place))? {
        let entry = entry.map_err(refused(&place))?;
        let name = entry.file_name();
        if is_hidden(&name) {
            continue;
        }
        let kind = entry.file_type().map_err(refused(&place))?;
        let kind = if kind.is_symlink() {
            match entry.path().metadata() {
                Ok(metadata) => metadata.file_type(),
                Err(_) if wanted(Path::new(&name)) => {
                    entries.push((name, Entry::Broken));
                    continue;
                }
                Err(error) => return Err(refused(&entry.path())(error)),
            }
        } else {
            kind
        };
        if kind.is_dir() {
            entries.push((name, Entry::Folder(0)));
        } else if kind.is_file() && wanted(Path::new(&name)) {
            entries.push((name, Entry::File));
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut below = Vec::new();
    for (name, entry) in &entries {
        if matches!(entry, Entry::Folder(_)) {
            let path = open.path.join(name);
            let at = root.join(&path);
            let expected = open.real.real.join(name);
            let is_link = at.symlink_metadata().is_ok_and(|m| m.is_symlink());
            let real = if is_link {
                at.canonicalize().map_err(refused(&at))?
            } else {
                expected
            };
            if is_link && open.real.is_below(&real) {
                return Err(refused(&at)(io::Error::other(
                    "the link leads back to a folder it lies in",
                )));
            }
            let above = Some(open.real.clone());
            below.push(Open {
                path,
                real: Arc::new(Chain { real, above }),
            });
        }
    }
    let path = open.path.clone();
    Ok((Listed { path, entries }, below))
}
