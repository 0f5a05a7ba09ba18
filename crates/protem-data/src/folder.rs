//! A folder of image files.

use crate::class_names::ClassNames;
use crate::error::{DataError, ReadError};
use crate::files::{Classes, EXTENSIONS, Files, is_image};
use crate::labels::Labels;
use crate::listing::{cached, keep};
use crate::paths::{Paths, text_of};
use crate::source::{Encoded, Source};
use crate::walk::Tree;
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// All image files below a folder, at any depth, sorted by path.
///
/// Every image at least one folder deep and at least two such top-level folders: then these are
/// the classes, in alphabetical order, and an image has the class of its top-level folder however
/// deep it lies. Otherwise (a flat folder, say) there are none.
#[derive(Debug, Clone)]
pub struct Folder(Files);

impl Folder {
    /// Lists a folder without opening its files. Hidden files and folders are passed over, links
    /// are followed. A link to an image that is gone is listed: reading it fails, as that of any
    /// damaged image.
    ///
    /// A long listing is kept in the user's cache folder (`$XDG_CACHE_HOME/protem`), and is taken
    /// from there as long as no folder of the tree has changed.
    ///
    /// # Errors
    /// No such folder; one that cannot be listed, such as a link that leads nowhere or back to a
    /// folder it lies in; one without images.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        Self::open_with(root, crate::listing::folder().as_deref())
    }

    /// The same with the folder that long listings are kept in; none are with `None`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(root: &Path, listings: Option<&Path>) -> Result<Self, DataError> {
        if !root.is_dir() {
            return Err(DataError::NoFolder(root.to_path_buf()));
        }
        let paths = match cached(listings, root) {
            Some(paths) => paths,
            None => list(root, listings)?,
        };
        if paths.len() == 0 {
            return Err(DataError::NoImages {
                folder: root.to_path_buf(),
                extensions: EXTENSIONS.to_vec(),
            });
        }
        let files = Files {
            classes: Classes::One(by_top_folder(&paths)),
            paths,
            root: root.to_path_buf(),
            what: format!("images of {}", root.display()),
        };
        files.checked().map(Self)
    }

    pub(crate) fn into_files(self) -> Files {
        self.0
    }
}

fn list(root: &Path, listings: Option<&Path>) -> Result<Paths, DataError> {
    let begun = std::time::SystemTime::now();
    let tree = Tree::list(root, &is_image).map_err(|refused| DataError::List {
        path: refused.path,
        source: refused.source,
    })?;
    let mut paths = Paths::default();
    tree.files(|file| paths.push(file));
    keep(listings, root, &tree, &paths, begun);
    Ok(paths)
}

/// The class of each file is its top-level folder, where all have one and there are two.
pub(crate) fn by_top_folder(paths: &Paths) -> Labels {
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut of = Vec::with_capacity(paths.len());
    for i in 0..paths.len() {
        let path: PathBuf = paths.get(i);
        let mut parts = path.components();
        let (Some(Component::Normal(top)), Some(_)) = (parts.next(), parts.next()) else {
            return Labels::default();
        };
        let next = seen.len() as u32;
        let top = top.as_encoded_bytes();
        let id = match seen.get(top) {
            Some(id) => *id,
            None => *seen.entry(top.to_vec()).or_insert(next),
        };
        of.push(id);
    }
    if seen.len() < 2 {
        return Labels::default();
    }
    let mut rank = vec![0; seen.len()];
    for (class, id) in seen.values().enumerate() {
        rank[*id as usize] = class as u32;
    }
    of.iter_mut().for_each(|id| *id = rank[*id as usize]);
    let name = |bytes: &Vec<u8>| text_of(&crate::paths::path_of(bytes));
    Labels {
        of,
        classes: seen.keys().map(name).collect::<Vec<_>>().into(),
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.0.label(index)
    }
    fn classes(&self) -> &ClassNames {
        self.0.classes()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        self.0.read(index)
    }
    fn encoded(&self, index: usize) -> Result<Encoded, ReadError> {
        self.0.encoded(index)
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}
