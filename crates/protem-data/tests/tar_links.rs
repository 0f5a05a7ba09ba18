//! Links in tar shards: to images, to labels, to other members, and to nothing.

mod made;

use ::tar::EntryType::{Directory, Link, Symlink};
use made::{header, names, photo, tar, tar_of};
use protem_data::{DataError, Encoded, ReadError, Source, scan};

/// An archive of photos and, behind them, links as GNU tar or pax writes them.
fn linked(photos: &[&str], links: &[(::tar::EntryType, &str, &str)], pax: bool) -> Vec<u8> {
    let photos: Vec<_> = photos
        .iter()
        .zip(0..)
        .map(|(p, i)| (*p, photo(i)))
        .collect();
    let members: Vec<_> = photos.iter().map(|(p, b)| (*p, &b[..])).collect();
    // Without the two blocks that end an archive.
    let mut bytes = tar(&members);
    bytes.truncate(bytes.len() - 1024);
    let mut archive = ::tar::Builder::new(bytes);
    for (kind, path, to) in links {
        let mut header = header("link", 0);
        header.set_entry_type(*kind);
        if pax {
            let names = [("path", path.as_bytes()), ("linkpath", to.as_bytes())];
            archive.append_pax_extensions(names).unwrap();
            header.set_cksum();
            archive.append(&header, &[][..]).unwrap();
        } else {
            archive.append_link(&mut header, path, to).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_link_is_the_image_it_leads_to() {
    let long = format!("a/{}.png", "name".repeat(40));
    for pax in [false, true] {
        let photos = ["a/0.png", &long, "a/0.png"];
        let links = [
            (Link, "b/0.png", "./a/0.png"),
            (Symlink, "b/2.png", ".././a/./0.png"),
            (Link, "b/1.png", &long),
            (Link, &long.replace("a/", "b/"), "b/1.png"),
        ];
        let set = tar_of(linked(&photos, &links, pax)).unwrap();
        assert_eq!(set.classes(), ["a", "b"]);
        // Of two members of one path the later is there, for links too, as where they are unpacked.
        let whose = [1, 2, 2, 2, 1, 1];
        assert_eq!(set.len(), whose.len());
        for (at, i) in whose.into_iter().enumerate() {
            let expected = protem_data::decode(&photo(i)).unwrap();
            assert_eq!(set.read(at).unwrap(), expected, "{at}, pax {pax}");
        }
    }
}

/// An archive of files and, behind them, links as GNU tar writes them.
fn behind(files: &[(&str, &[u8])], links: &[(::tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut bytes = tar(files);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(linked(&[], links, false));
    bytes
}

#[test]
fn a_link_leads_to_whatever_file_is_before_it() {
    let image = photo(0);
    let files: [(&str, &[u8]); 5] = [
        ("store/0", &image),
        (".store/1", &photo(1)),
        ("0.cls", b"dog"),
        ("1.json", b"{\"label\": \"cat\"}"),
        ("2.cls", b"cat"),
    ];
    let links = [
        (Link, "0.png", "store/0"),
        (Link, "1.png", ".store/1"),
        (Symlink, "2.png", ".store/1"),
        (Link, "copy", "store/0"),
        (Symlink, "3.png", "copy"),
        (Link, "3.cls", "0.cls"),
        (Link, "4.png", "3.png"),
        (Link, "4.json", "1.json"),
        (Symlink, "5.png", "0.png"),
        (Symlink, "5.cls", "./3.cls"),
    ];
    let set = tar_of(behind(&files, &links)).unwrap();
    assert_eq!(set.classes(), ["cat", "dog"]);
    let expected = [(0, 1), (1, 0), (1, 0), (0, 1), (0, 0), (0, 1)];
    assert_eq!(set.len(), expected.len());
    for (i, (image, class)) in expected.into_iter().enumerate() {
        assert_eq!(set.encoded(i).unwrap(), Encoded::File(photo(image)), "{i}");
        assert_eq!(set.label(i), Some(class), "{i}");
    }
}

/// What is sound is not told to be damaged, and the place is told.
#[test]
fn a_hard_link_to_nothing_before_it_is_refused() {
    for (link, to) in [("b.png", "c.png"), ("b.png", "b.png"), ("a.cls", "b.cls")] {
        let error = tar_of(linked(&["a.png"], &[(Link, link, to)], false)).unwrap_err();
        let told = format!("{link} is a hard link to {to}, which is no file before it");
        assert!(error.to_string().contains(&told), "{error}");
        let place = 512 + photo(0).len().next_multiple_of(512) as u64;
        assert!(matches!(error, DataError::Unsupported { offset, .. } if offset == place));
    }
    // What else is linked is nobody's concern.
    let links = [(Link, "b.txt", "c.txt"), (Symlink, "d", "/etc")];
    assert_eq!(tar_of(linked(&["a.png"], &links, false)).unwrap().len(), 1);
}

#[test]
fn a_symbolic_link_to_no_image_before_it_is_an_unreadable_image() {
    for to in ["gone.png", "/a.png", "../../a.png", "b.png", "later.png"] {
        let mut bytes = linked(&["a.png"], &[(Symlink, "dir/b.png", to)], false);
        bytes.truncate(bytes.len() - 1024);
        bytes.extend(tar(&[("dir/later.png", &photo(2))]));
        let set = tar_of(bytes).unwrap();
        let all = ["x.tar/a.png", "x.tar/dir/b.png", "x.tar/dir/later.png"];
        assert_eq!(names(&set), all, "{to}");
        assert!(matches!(set.read(1), Err(ReadError::Link)));
        let found = scan(&set, &|_| ());
        assert_eq!(found.readable, [0, 2], "{to}");
        assert!(found.unreadable[0].reason.contains("symbolic link"));
    }
    // One without an image's name, and one to a folder.
    let links = [
        (Directory, "dir.png/", "."),
        (Symlink, "b.png", "./dir.png"),
        (Symlink, "c.txt", "gone"),
        (Symlink, "a.cls", "gone"),
    ];
    let error = tar_of(linked(&["a.png"], &links, false)).unwrap_err();
    assert!(error.to_string().contains("a.cls should say"), "{error}");
    let set = tar_of(linked(&["a.png"], &links[..3], false)).unwrap();
    assert_eq!(names(&set), ["x.tar/a.png"]);
}

#[test]
fn what_links_lead_to_has_the_bound_of_names() {
    let to = |i: usize| format!("{i}{}", "a".repeat(65_000));
    let mut archive = ::tar::Builder::new(tar(&[("a.png", &photo(0))]));
    archive
        .get_mut()
        .truncate(512 + photo(0).len().next_multiple_of(512));
    for i in 0..1100 {
        let mut link = header("link", 0);
        link.set_entry_type(Symlink);
        archive.append_link(&mut link, "b.txt", to(i)).unwrap();
    }
    let refused = tar_of(archive.into_inner().unwrap()).unwrap_err();
    assert!(matches!(refused, DataError::TooLarge { .. }), "{refused}");
}
