//! The runs of a folder, by their names.

use super::watched::Watched;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use protem_report::{Entry, LiveRun, RunFolder, Told};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is written otherwise in an address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Runs that are looked at again and again. What is asked for is found among the names that the file system
/// lists, and never made into a path.
#[derive(Debug)]
pub struct Runs {
    /// A folder of runs' folders, or the folder of one.
    folder: PathBuf,
    watched: Mutex<HashMap<OsString, Known>>,
}

/// Where a run is, links resolved, and what is known of it.
#[derive(Debug, Clone)]
struct Known {
    root: PathBuf,
    watched: Arc<Mutex<Watched>>,
}

impl Known {
    fn new(root: PathBuf) -> Self {
        let watched = Arc::new(Mutex::new(Watched::new(&root)));
        Self { root, watched }
    }
}

/// A run by its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// What it is called.
    pub name: String,
    known: Known,
}

impl Named {
    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.known.root
    }

    /// Tells what the run has come to by now, or why it cannot be told.
    pub fn look<T>(&self, tell: impl FnOnce(Result<LiveRun, &str>) -> T) -> T {
        // Where telling of it has failed once, what was read stays as it was.
        let watched = self.known.watched.lock();
        let mut watched = watched.unwrap_or_else(PoisonError::into_inner);
        watched.look(&self.name, tell)
    }
}

impl Runs {
    /// Of a folder of runs, or of a run's folder.
    ///
    /// # Errors
    /// Something that is no folder, or cannot be read.
    pub fn of(folder: &Path) -> Result<Self, String> {
        let shown = folder.display();
        if !folder.exists() {
            return Err(format!("there is no folder {shown}"));
        }
        let whole = folder.canonicalize();
        let whole = whole.map_err(|e| format!("{shown} cannot be found: {e}"))?;
        if !whole.is_dir() {
            return Err(format!("{shown} is no folder"));
        }
        std::fs::read_dir(&whole).map_err(|e| format!("{shown} cannot be read: {e}"))?;
        Ok(Self {
            folder: whole,
            watched: Mutex::default(),
        })
    }

    /// What the folder is called.
    pub fn folder(&self) -> String {
        name_of(&self.folder).to_string_lossy().into_owned()
    }

    /// All of them, in no order.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        let names = self.names()?;
        let names = names.into_iter();
        let entries = names.map(|(name, root)| {
            let address = percent_encode(name.as_encoded_bytes(), ESCAPED).to_string();
            let named = self.watch(name, root);
            let told = named.look(|run| match run {
                Ok(run) => Ok(Told::of(&run)),
                Err(why) => Err(why.to_owned()),
            });
            Entry {
                name: named.name,
                address,
                told,
            }
        });
        Ok(entries.collect())
    }

    /// The one of a name as an address has it; none if no such one is there.
    pub fn find(&self, address: &str) -> Option<Named> {
        let wanted: Vec<u8> = percent_decode_str(address).collect();
        let mut names = self.names().ok()?.into_iter();
        let (name, root) = names.find(|(name, _)| name.as_encoded_bytes() == wanted)?;
        Some(self.watch(name, root))
    }

    /// Names, and where their folders are, links resolved. What is not there any more is forgotten.
    fn names(&self) -> io::Result<Vec<(OsString, PathBuf)>> {
        let folder = &self.folder;
        // It may be one by now.
        let is_run = RunFolder::holds_run(folder) || folder.join("metrics.jsonl").is_file();
        let names = match is_run {
            true => vec![(name_of(folder).to_owned(), folder.clone())],
            false => {
                let entries = std::fs::read_dir(folder)?;
                entries.filter_map(|entry| listed(&entry.ok()?)).collect()
            }
        };
        let mut watched = self.lock();
        watched.retain(|known, _| names.iter().any(|(name, _)| name == known));
        Ok(names)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OsString, Known>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, name: OsString, root: PathBuf) -> Named {
        let told = name.to_string_lossy().into_owned();
        let mut watched = self.lock();
        let known = watched.entry(name);
        let known = known.or_insert_with(|| Known::new(root.clone()));
        if known.root != root {
            *known = Known::new(root); // the link leads to another folder than it did
        }
        Named {
            name: told,
            known: known.clone(),
        }
    }
}

/// A folder, or a link to what is one or is not there, unless it is hidden.
fn listed(entry: &DirEntry) -> Option<(OsString, PathBuf)> {
    let (name, path) = (entry.file_name(), entry.path());
    if name.as_encoded_bytes().starts_with(b".") {
        return None;
    }
    match path.metadata() {
        Ok(found) if !found.is_dir() => None,
        _ => Some((name, path.canonicalize().unwrap_or(path))),
    }
}

fn name_of(folder: &Path) -> &OsStr {
    folder.file_name().unwrap_or(folder.as_os_str())
}
