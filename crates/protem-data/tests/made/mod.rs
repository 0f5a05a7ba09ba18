//! What the tests of sources share: small real pictures, archives of them, and the real sets.

#![allow(dead_code)] // each test uses some of it

use image::{Rgb, RgbImage};
use protem_data::{DataError, Source, Storage, Tar};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

/// A PNG that differs with `i`.
pub fn photo(i: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(9, 7, |x, y| {
        Rgb([(x * 20 + i * 7) as u8, (y * 30) as u8, (x * y + i) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn header(name: &str, len: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(len);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// An archive that lies in memory.
pub fn tar_of(bytes: Vec<u8>) -> Result<Tar, DataError> {
    Tar::of(vec![Storage::memory(bytes, Path::new("x.tar"))])
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// An archive of these members, as GNU tar writes it.
pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn names(source: &dyn Source) -> Vec<String> {
    (0..source.len()).map(|i| source.name(i)).collect()
}

/// Real images by their path below the folder that `PROTEM_TEST_IMAGES` names; without the variable,
/// says so and is none.
pub fn real(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PROTEM_TEST_IMAGES").filter(|root| !root.is_empty());
    let Some(root) = root else {
        // The harness would keep a println! to itself.
        let mut out = std::io::stderr();
        let _ = writeln!(out, "skipped: {path}: PROTEM_TEST_IMAGES names no folder");
        return None;
    };
    let found = Path::new(&root).join(path);
    assert!(
        found.is_absolute(),
        "PROTEM_TEST_IMAGES is an absolute path"
    );
    assert!(found.exists(), "{} is not there", found.display());
    Some(found)
}

/// The tiny sets that `fixtures/sources.py` writes.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/sources")
        .join(path)
}

/// Picture `i` of the tiny sets.
pub fn picture(i: u32, width: u32, height: u32) -> RgbImage {
    let value = |x: u32, y: u32, c: u32| ((37 * i + 5 * x + 11 * y + 83 * c + x * y) % 256) as u8;
    RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c))))
}
