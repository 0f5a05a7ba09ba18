//! Folders as people have them: classes, nested, hidden, linked, damaged.

use image::RgbImage;
use protem_data::{DataError, Folder, ReadError, Source, scan};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with these images.
fn folder(images: &[&str]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for image in images {
        add(&root.path().join(image));
    }
    root
}

fn add(path: &Path) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let image = RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]));
    image
        .save_with_format(path, image::ImageFormat::Png)
        .expect("saved");
}

fn names(folder: &Folder) -> Vec<String> {
    (0..folder.len()).map(|i| folder.name(i)).collect()
}

fn labels(folder: &Folder) -> Vec<Option<u32>> {
    (0..folder.len()).map(|i| folder.label(i)).collect()
}

#[test]
fn an_image_has_the_class_of_its_top_level_folder() {
    let root = folder(&["dog/b.png", "cat/young/a.png", "cat/z.png", "dog/a.PNG"]);
    let folder = Folder::open(root.path()).expect("opens");
    assert_eq!(folder.classes(), ["cat", "dog"]);
    assert_eq!(
        names(&folder),
        ["cat/young/a.png", "cat/z.png", "dog/a.PNG", "dog/b.png"]
    );
    assert_eq!(labels(&folder), [Some(0), Some(0), Some(1), Some(1)]);
    assert_eq!(folder.read(2).expect("reads").dimensions(), (3, 2));
}

#[test]
fn flat_mixed_and_single_folders_have_no_classes() {
    for images in [
        &["a.png", "b.jpeg"][..],
        &["a.png", "dog/b.png", "cat/c.png"],
        &["train/a.png", "train/b.png"],
    ] {
        let root = folder(images);
        let folder = Folder::open(root.path()).expect("opens");
        assert_eq!(folder.len(), images.len());
        assert!(folder.classes().is_empty(), "{images:?}");
        assert!(labels(&folder).iter().all(Option::is_none));
    }
}

#[test]
fn hidden_and_other_files_are_passed_over() {
    let root = folder(&["a.png", ".b.png", ".git/c.png", "d.png/e.png"]);
    fs::write(root.path().join("notes.txt"), "no image").expect("written");
    let folder = Folder::open(root.path()).expect("opens");
    assert_eq!(names(&folder), ["a.png", "d.png/e.png"]);
}

#[test]
fn a_hidden_root_is_no_hidden_folder() {
    let root = folder(&[".data/a.png"]);
    let folder = Folder::open(&root.path().join(".data")).expect("opens");
    assert_eq!(names(&folder), ["a.png"]);
}

#[test]
fn what_is_no_folder_of_images_is_refused_by_name() {
    let root = folder(&["a.png"]);
    for path in ["missing", "a.png"] {
        let path = root.path().join(path);
        assert!(matches!(Folder::open(&path), Err(DataError::NoFolder(p)) if p == path));
    }
    let empty = tempfile::tempdir().expect("a folder");
    fs::write(empty.path().join("notes.txt"), "no image").expect("written");
    let refused = Folder::open(empty.path()).expect_err("empty");
    assert!(matches!(&refused, DataError::NoImages { folder, .. } if folder == empty.path()));
    assert!(refused.to_string().contains("jpeg"), "{refused}");
}

/// A run goes on only with the same images in the same order.
#[test]
fn the_order_is_that_of_paths_part_by_part() {
    let mut images = [
        "a/b.png",
        "a.b/c.png",
        "a-b/z/c.png",
        "a.png",
        "ab.png",
        "a/b/c.png",
        "a/b.c/d.png",
        "a/b-c.png",
        "B/x.png",
        "ä/x.png",
        "a/ b.png",
        "Z.png",
    ];
    let root = folder(&images);
    let folder = Folder::open(root.path()).expect("opens");
    images.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
    assert_eq!(names(&folder), images);
}

#[test]
fn a_scan_finds_what_is_no_image() {
    let root = folder(&["b.png"]);
    fs::write(root.path().join("a.jpg"), "").expect("written");
    fs::write(root.path().join("c.jpg"), "some text").expect("written");
    let folder = Folder::open(root.path()).expect("opens");
    let scan = scan(&folder, &|_| ());
    assert_eq!(scan.readable, [1]);
    let bad: Vec<&str> = scan.unreadable.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(bad, ["a.jpg", "c.jpg"]);
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn are_followed_to_folders_and_files() {
        let store = folder(&["cats/a.png", "dogs/b.png", "c.png"]);
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        symlink(store.path().join("cats"), at("cat")).expect("linked");
        symlink(store.path().join("dogs"), at("dog")).expect("linked");
        fs::create_dir(at("eel")).expect("made");
        symlink(store.path().join("c.png"), at("eel/c.png")).expect("linked");
        let folder = Folder::open(root.path()).expect("opens");
        assert_eq!(names(&folder), ["cat/a.png", "dog/b.png", "eel/c.png"]);
        assert_eq!(folder.classes(), ["cat", "dog", "eel"]);
        assert!(folder.read(2).is_ok());
    }

    #[test]
    fn to_an_image_that_is_gone_are_unreadable_images() {
        let root = folder(&["a.png"]);
        symlink("gone.png", root.path().join("b.png")).expect("linked");
        symlink("gone", root.path().join(".hidden")).expect("linked");
        let folder = Folder::open(root.path()).expect("opens");
        assert_eq!(names(&folder), ["a.png", "b.png"]);
        assert_eq!(scan(&folder, &|_| ()).unreadable[0].name, "b.png");
    }

    #[test]
    fn that_lead_nowhere_or_round_are_refused_by_name() {
        for target in ["gone", "class", ".", ".."] {
            let above = folder(&["set/a/a.png"]);
            let root = above.path().join("set");
            let link = root.join("class");
            symlink(target, &link).expect("linked");
            let refused = Folder::open(&root).expect_err("cannot be listed");
            assert!(
                matches!(&refused, DataError::List { path, .. } if *path == link),
                "{refused}"
            );
        }
    }
}

/// From above one does not come to it again.
#[cfg(unix)]
#[test]
fn a_hidden_folder_may_have_a_link_to_what_it_lies_in() {
    let above = folder(&["a.png", ".set/b.png"]);
    let root = above.path().join(".set");
    std::os::unix::fs::symlink("..", root.join("all")).expect("linked");
    let folder = Folder::open(&root).expect("opens");
    assert_eq!(names(&folder), ["all/a.png", "b.png"]);
}

#[test]
fn photographs_of_telephones_are_told_of() {
    let root = tempfile::tempdir().unwrap();
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    fs::write(root.path().join("IMG_0001.HEIC"), heic).unwrap();
    let folder = Folder::open(root.path()).unwrap();
    assert_eq!(folder.len(), 1);
    let refused = folder.read(0).unwrap_err();
    assert!(matches!(refused, ReadError::Heif), "{refused}");
}
