//! ImageNet's devkit: the classes of its validation images.

use super::mat::{Value, table};
use super::splits::Told;
use super::tar_members::{Content, Place, members};
use crate::error::DataError;
use crate::labels::word;
use crate::storage::Storage;
use std::collections::HashMap;
use std::path::Path;

/// What it is published as.
pub(super) const NAME: &str = "ILSVRC2012_devkit_t12.tar.gz";
/// The table of synsets, in it.
const META: &str = "ILSVRC2012_devkit_t12/data/meta.mat";
/// The class of each validation image by its number there, a line each.
const TRUTH: &str = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";
/// Bytes of the archive when it is decompressed, and of each of the two files.
const LARGEST: u64 = 64 << 20;
const LARGEST_FILE: u64 = 16 << 20;

/// The WordNet id of each validation image, by its name without extension: that of line 1 is
/// `ILSVRC2012_val_00000001`. Classes are the synsets without children (as in torchvision's
/// `parse_devkit_archive`).
///
/// # Errors
/// An archive that cannot be read, lacks one of the files or holds a damaged one; a number that no class
/// has.
pub(super) fn told(archive: &Path) -> Result<Told, DataError> {
    let devkit = Storage::open(archive)?.inflated(LARGEST)?;
    let [meta, truth] = files(&devkit)?;
    let wnids = classes(&meta).map_err(|reason| DataError::Classes {
        path: archive.join(META),
        reason,
    })?;
    let mut told = Told::new();
    for (number, line) in truth.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let id = std::str::from_utf8(line).ok().and_then(|l| l.parse().ok());
        let wnid = id.and_then(|id: u32| wnids.get(&id));
        let wnid = wnid.ok_or_else(|| DataError::Line {
            path: archive.join(TRUTH),
            line: number + 1,
            reason: format!(
                "{} is the number of no class in meta.mat beside it",
                line[..line.len().min(40)].escape_ascii()
            ),
        })?;
        let image = format!("ILSVRC2012_val_{:08}", number + 1);
        told.insert(image.into_bytes(), wnid.clone());
    }
    Ok(told)
}

/// The bytes of the two files.
fn files(devkit: &Storage) -> Result<[Vec<u8>; 2], DataError> {
    let mut places: [Option<Place>; 2] = [None; 2];
    members(devkit, |member| {
        if let Content::File(place) = member.content
            && let Some(which) = [META, TRUTH]
                .iter()
                .position(|m| m.as_bytes() == member.path)
        {
            places[which] = Some(place);
        }
        Ok(())
    })?;
    let read = |name: &str, place: Option<Place>| {
        let place = place.ok_or_else(|| DataError::Missing(devkit.path().join(name)))?;
        let file = devkit.within(place.offset, place.len);
        file.read_all("bytes in a file of the devkit", LARGEST_FILE)
    };
    Ok([read(META, places[0])?, read(TRUTH, places[1])?])
}

/// WordNet ids by the numbers of the classes.
fn classes(meta: &[u8]) -> Result<HashMap<u32, String>, String> {
    let fields = ["ILSVRC2012_ID", "WNID", "num_children"];
    let mut wnids = HashMap::new();
    for (row, synset) in table(meta, "synsets", fields)?.into_iter().enumerate() {
        let [
            Value::Number(id),
            Value::Text(wnid),
            Value::Number(children),
        ] = synset
        else {
            let row = row + 1;
            return Err(format!(
                "synset {row} has no number, no WordNet id or no number of children"
            ));
        };
        if children != 0.0 {
            continue;
        }
        let number = (1.0..=f64::from(u32::MAX)).contains(&id) && id.fract() == 0.0;
        if !number || word(wnid.as_bytes())?.is_empty() {
            let wnid = wnid.escape_debug();
            return Err(format!("a class is called {wnid} and has the number {id}"));
        }
        if let Some(other) = wnids.insert(id as u32, wnid) {
            return Err(format!("two classes have the number {id}, one is {other}"));
        }
    }
    Ok(wnids)
}
