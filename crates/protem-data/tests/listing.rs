//! Listings of large folders: kept, believed only as long as they are right, done without.

#![cfg(unix)]

use protem_data::{Folder, Source};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder of 20 004 empty files in 4 folders, last written to a minute ago.
fn large() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for class in 0..4 {
        let folder = root.path().join(format!("class-{class}/deep"));
        fs::create_dir_all(&folder).unwrap();
        for i in 0..5001 {
            File::create(folder.join(format!("{i}.jpg"))).unwrap();
        }
    }
    settle(root.path());
    // That it was done just now cannot be set back.
    std::thread::sleep(Duration::from_millis(3100));
    root
}

/// Sets all folders' times to a minute ago, as if nothing had been written since.
fn settle(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            settle(&entry.path());
        }
    }
    let before = SystemTime::now() - Duration::from_secs(60);
    File::open(folder).unwrap().set_modified(before).unwrap();
}

fn kept(listings: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(listings) else {
        return Vec::new();
    };
    entries.map(|e| e.unwrap().path()).collect()
}

fn names(folder: &Folder) -> Vec<String> {
    (0..folder.len()).map(|i| folder.name(i)).collect()
}

#[test]
fn a_kept_listing_is_the_listing_until_a_folder_changes() {
    let (root, cache) = (large(), tempfile::tempdir().unwrap());
    let listings = cache.path().join("new/listings");
    let open = || Folder::open_with(root.path(), Some(&listings)).unwrap();
    let plain = Folder::open_with(root.path(), None).unwrap();
    let first = open();
    let [file] = &kept(&listings)[..] else {
        panic!("one listing is kept")
    };
    // What is kept is what is told: another name in the file, with its sum, comes out.
    assert_eq!(
        (names(&open()), open().classes()),
        (names(&plain), first.classes())
    );
    assert_eq!(plain.label(20_003), Some(3));
    let told = forged(&fs::read(file).unwrap());
    fs::write(file, told).unwrap();
    assert_eq!(open().name(0), "class-0/deep/X.jpg");
    // A file more, in the depth, and a file less.
    let new = root.path().join("class-2/deep/new.png");
    File::create(&new).unwrap();
    assert_eq!(open().len(), 20_005);
    assert_eq!(names(&open())[0], "class-0/deep/0.jpg");
    fs::remove_file(new).unwrap();
    assert_eq!(names(&open()), names(&plain));
}

/// The listing with its first name changed from `0.jpg` to `X.jpg`.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut body = bytes[..bytes.len() - 4].to_vec();
    let name = b"class-0/deep/0.jpg";
    let at = body.windows(name.len()).position(|w| w == name).unwrap();
    body[at + name.len() - 5] = b'X';
    let sum = crc32fast::hash(&body);
    body.extend(sum.to_le_bytes());
    body
}

#[test]
fn what_was_just_written_to_is_not_trusted() {
    let (root, cache) = (large(), tempfile::tempdir().unwrap());
    File::create(root.path().join("class-1/deep/new.jpg")).unwrap();
    Folder::open_with(root.path(), Some(cache.path())).unwrap();
    assert_eq!(kept(cache.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_or_impossible_cache_is_no_error() {
    let (root, cache) = (large(), tempfile::tempdir().unwrap());
    let open = |listings: &Path| {
        Folder::open_with(root.path(), Some(listings))
            .unwrap()
            .len()
    };
    assert_eq!(open(cache.path()), 20_004);
    let file = kept(cache.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for cut in [0, 7, 100, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert_eq!(open(cache.path()), 20_004);
        assert_eq!(
            fs::read(&file).unwrap().len(),
            whole.len(),
            "it is kept anew"
        );
    }
    // A file where the folder should be.
    assert_eq!(open(&file), 20_004);
    assert_eq!(open(Path::new("/proc/nothing/here")), 20_004);
}
