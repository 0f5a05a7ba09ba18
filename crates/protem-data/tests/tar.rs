//! Tar shards: classes by folders and by `.cls`, gzip, patterns, damage, and the real sets.

mod made;

use made::{gzip, names, photo, real, tar, tar_of};
use protem_data::{DataError, Encoded, Folder, Labelling, Source, open, scan};
use std::fs;
use std::path::Path;

/// A small file in gzip could have gigabytes of names.
#[test]
fn names_of_a_shard_have_a_bound() {
    let name = |i: usize| format!("{i}{}.png", "a".repeat(65_000));
    let mut archive = ::tar::Builder::new(Vec::new());
    for i in 0..1100 {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(0);
        archive.append_data(&mut header, name(i), &[][..]).unwrap();
    }
    let Err(found) = tar_of(archive.into_inner().unwrap()) else {
        panic!("71 MB of names");
    };
    assert!(
        matches!(
            found,
            DataError::TooLarge {
                what: "bytes of names and labels",
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn classes_are_the_folders_below_those_that_all_share() {
    let image = photo(0);
    let set = tar_of(tar(&[
        ("./set/dog/b.png", &image),
        ("set/notes.txt", b"no image"),
        ("set/cat/.hidden.png", &image),
        ("set/cat/a.png", &image),
    ]))
    .unwrap();
    assert_eq!(set.classes(), ["cat", "dog"]);
    assert_eq!(names(&set), ["x.tar/set/dog/b.png", "x.tar/set/cat/a.png"]);
    assert_eq!([set.label(0), set.label(1)], [Some(1), Some(0)]);
    assert_eq!(set.encoded(0).unwrap(), Encoded::File(image));
    assert!(
        tar_of(tar(&[("a/b/1.png", &photo(0)), ("a/b/2.png", &photo(1))]))
            .unwrap()
            .classes()
            .is_empty()
    );
}

#[test]
fn webdataset_keys_tell_the_class() {
    let image = photo(0);
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("train")).unwrap();
    let at = |name: &str| root.path().join(name);
    let first = tar(&[
        ("a/0.cls", b"2\n"),
        ("a/0.json", b"{\"label\": 1}"),
        ("a/0.seg.png", &image),
        ("a/1.jpg", &image),
        ("a/1.JSON", b"{\"caption\": [], \"label\": 0}"),
    ]);
    fs::write(at("train/s-0.tar"), first).unwrap();
    fs::write(
        at("train/s-1.tar.gz"),
        gzip(&tar(&[("2.png", &image), ("2.cls", b"1")])),
    )
    .unwrap();
    for name in ["train", "train/s-{0..1}.tar*", "tar:train/*"] {
        let whole = match name.strip_prefix("tar:") {
            Some(rest) => format!("tar:{}", at(rest).display()),
            None => at(name).display().to_string(),
        };
        let set = open(&whole).unwrap();
        assert_eq!(
            names(&*set),
            ["s-0.tar/a/0.seg.png", "s-0.tar/a/1.jpg", "s-1.tar.gz/2.png"]
        );
        assert_eq!([0, 1, 2].map(|i| set.label(i)), [Some(2), Some(0), Some(1)]);
        assert_eq!(set.classes(), ["0", "1", "2"]);
        assert!(scan(&*set, &|_| ()).unreadable.is_empty());
    }
    fs::write(at("classnames.txt"), "ant\nbee\ncat\n").unwrap();
    assert_eq!(open(at("train")).unwrap().classes(), ["ant", "bee", "cat"]);
    fs::write(at("classnames.txt"), "ant\n").unwrap();
    assert!(matches!(open(at("train")), Err(DataError::Classes { .. })));
    let named = tar(&[
        ("0.png", &image),
        ("0.json", b"{\"class\": \"dog\"}"),
        ("1.png", &image),
        ("1.cls", b"cat"),
    ]);
    let named = tar_of(named).unwrap();
    assert_eq!(named.classes(), ["cat", "dog"]);
    assert_eq!(named.label(0), Some(1));
    let twice = |label: &[u8]| {
        let members = [("k.png", &image[..]), ("k.cls", b"3"), ("k.cls", label)];
        tar_of(tar(&members)).map(|set| set.label(0))
    };
    assert_eq!(twice(b"3").unwrap(), Some(3));
    assert!(
        matches!(twice(b"5"), Err(DataError::Classes { reason, .. }) if reason.contains("k.cls"))
    );
    let partly = tar(&[
        ("0.png", &image),
        ("1.png", &image),
        ("1.cls", b"1"),
        ("2.png", &image),
        ("2.json", b"{"),
    ]);
    assert!(tar_of(partly.clone()).is_err());
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("x.tar");
    std::fs::write(&file, partly).unwrap();
    let without = open(format!("{}?label=", file.display())).unwrap();
    assert_eq!((without.len(), without.labelling()), (3, Labelling::None));
    assert!(open(format!("{}?label=cls", file.display())).is_err());
    let partly = tar_of(tar(&[
        ("0.png", &image),
        ("1.png", &image),
        ("1.cls", b"1"),
    ]));
    let error = partly.err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("?label= reads the images without labels")
    );
    assert!(matches!(error, DataError::NoClass { image, .. } if image == "0.png"));
}

#[test]
fn a_json_is_read_as_python_writes_it() {
    let image = photo(0);
    let with = |label: &[u8], beside: &[(&str, &[u8])]| {
        let mut members = vec![("0.png", &image[..]), ("0.json", label)];
        members.extend([("1.png", &image[..]), ("1.cls", b"1")]);
        members.extend(beside);
        tar_of(tar(&members))
    };
    let taken: [&[u8]; 5] = [
        b"{\"score\": NaN, \"low\": -Infinity, \"label\": 2}",
        b"\xef\xbb\xbf{\"label\": 2}",
        b"{\"label\": null, \"class\": 2}",
        b"{\"label\": NaN, \"cls\": 2}",
        b"{\"nested\": {\"label\": 0}, \"class\": 2}",
    ];
    for label in taken {
        let set = with(label, &[]).unwrap();
        assert_eq!([set.label(0), set.label(1)], [Some(2), Some(1)]);
    }
    let set = with(b"{\"label\": false}", &[]).unwrap();
    assert_eq!([set.label(0), set.label(1)], [Some(0), Some(1)]);
    // What cannot be read is of concern where nothing else says the class.
    let large = [&b"{\"label\": 2, \"x\": \""[..], &[b'x'; 1 << 20], b"\"}"].concat();
    let cut = &b"{\"label\": 2"[..];
    for label in [cut, &b"\xff\xfe{\0\"\0"[..], &large[..]] {
        let error = with(label, &[]).unwrap_err();
        assert!(matches!(error, DataError::Unsupported { .. }), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("0.json should say the class of 0.png"),
            "{told}"
        );
        let set = with(label, &[("0.cls", b"2"), ("set.json", cut)]).unwrap();
        assert_eq!(set.label(0), Some(2));
    }
    let unlabelled = tar_of(tar(&[
        ("0.png", &image),
        ("0.json", cut),
        ("1.png", &image),
    ]));
    assert!(unlabelled.unwrap_err().to_string().contains("0.json"));
}

#[test]
fn a_test_without_answers_has_no_classes() {
    let image = photo(0);
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("test.tar");
    fs::write(root.path().join("classnames.txt"), "ant\nbee\n").unwrap();
    let with = |first: &[u8]| {
        let members = [("0.png", &image[..]), ("0.cls", first)];
        let others = [("1.png", &image[..]), ("1.json", b"{\"label\": -1}")];
        fs::write(&file, tar(&[members, others].concat())).unwrap();
        open(&file)
    };
    let set = with(b"-1").unwrap();
    assert!(set.classes().is_empty());
    assert_eq!([set.label(0), set.label(1)], [None, None]);
    assert!(matches!(with(b"1"), Err(DataError::Classes { .. })));
}

#[test]
fn shards_of_several_splits_are_not_mixed() {
    let root = tempfile::tempdir().unwrap();
    for (i, name) in [
        "a/train-0.tar",
        "a/train-1.tar",
        "a/val-0.tar",
        "b/train/0.tar",
        "b/test/0.tar",
    ]
    .iter()
    .enumerate()
    {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, tar(&[("x.png", &photo(i as u32))])).unwrap();
    }
    let at = |name: &str| format!("{}/{name}", root.path().display());
    for set in ["a", "b"] {
        assert!(
            matches!(open(at(set)), Err(DataError::WhichSplit { .. })),
            "{set}"
        );
    }
    assert_eq!(
        names(&*open(at("a?split=train")).unwrap()),
        ["train-0.tar/x.png", "train-1.tar/x.png"]
    );
    assert_eq!(
        open(at("a?split=val")).unwrap().encoded(0).unwrap(),
        Encoded::File(photo(2))
    );
    assert_eq!(
        open(at("b?split=test")).unwrap().encoded(0).unwrap(),
        Encoded::File(photo(4))
    );
    assert!(matches!(
        open(at("a/val-0.tar?split=val")),
        Err(DataError::Option { .. })
    ));
    // A word of a split in one name only: which images are meant cannot be known.
    fs::copy(at("b/test/0.tar"), at("a/other.tar")).unwrap();
    for name in ["a/train-1.tar", "a/val-0.tar"] {
        fs::remove_file(at(name)).unwrap();
    }
    let mixed = open(at("a")).err().unwrap().to_string();
    assert!(
        mixed.contains("other.tar") && mixed.contains("split=train"),
        "{mixed}"
    );
    assert_eq!(open(at("a?split=train")).unwrap().len(), 1);
    assert_eq!(open(at("a/*.tar")).unwrap().len(), 2);
}

#[test]
fn an_image_among_shards_hides_them_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("0.tar"), tar(&[("x.png", &photo(0))])).unwrap();
    fs::write(root.join("preview.png"), photo(1)).unwrap();
    let error = open(root).err().unwrap();
    assert!(
        matches!(&error, DataError::TwoKinds { one: image, other: shard, other_kind: "tar", .. }
            if image == "preview.png" && shard == "0.tar"),
        "{error}"
    );
    for kind in ["tar", "folder"] {
        assert_eq!(open(format!("{kind}:{}", root.display())).unwrap().len(), 1);
    }
    // Beside folders an archive may be what they came from.
    fs::create_dir(root.join("more")).unwrap();
    assert_eq!(open(root).unwrap().len(), 1);
}

#[test]
fn long_names_are_those_of_gnu_and_pax() {
    let long = format!("{}/{}.png", "folder".repeat(20), "name".repeat(30));
    let gnu = tar(&[(&long, &photo(0)), ("b.png", &photo(1))]);
    assert_eq!(names(&tar_of(gnu).unwrap())[0], format!("x.tar/{long}"));
    let mut pax = tar::Builder::new(Vec::new());
    pax.append_pax_extensions([("path", "from pax.png".as_bytes())])
        .unwrap();
    let image = photo(0);
    pax.append(&made::header("short.png", image.len() as u64), &image[..])
        .unwrap();
    assert_eq!(
        names(&tar_of(pax.into_inner().unwrap()).unwrap()),
        ["x.tar/from pax.png"]
    );
}

#[test]
fn archives_end_to_end_are_read_to_the_end() {
    let archives: Vec<Vec<u8>> = (0..3)
        .map(|i| {
            tar(&[
                (&format!("{i}/{i}.png"), &photo(i)),
                (&format!("{i}.txt"), b"text"),
            ])
        })
        .collect();
    let joined = archives.concat();
    let zipped = archives.iter().flat_map(|archive| gzip(archive)).collect();
    for bytes in [joined, zipped] {
        let set = tar_of(bytes).unwrap();
        assert_eq!(set.classes(), ["0", "1", "2"]);
        assert_eq!(
            set.read(2).unwrap(),
            protem_data::decode(&photo(2)).unwrap()
        );
    }
    // A hole where a header was: what follows it is none.
    let mut holed = tar(&[
        ("a.png", &photo(0)),
        ("b.png", &photo(1)),
        ("c.png", &photo(2)),
    ]);
    let second = 512 + photo(0).len().next_multiple_of(512);
    holed[second..second + 512].fill(0);
    assert!(matches!(tar_of(holed), Err(DataError::Damaged { .. })));
}

#[test]
fn a_damaged_image_is_one_image_and_a_damaged_shard_is_named() {
    let set = tar_of(tar(&[("a.png", b"no image"), ("b.png", &photo(0))])).unwrap();
    let found = scan(&set, &|_| ());
    assert_eq!(
        (found.readable, found.unreadable[0].name.as_str()),
        (vec![1], "x.tar/a.png")
    );
    let whole = tar(&[
        ("a.png", &photo(0)),
        ("b.png", &photo(1)),
        ("c.png", &photo(2)),
    ]);
    let second = 512 + photo(0).len().next_multiple_of(512);
    // A header overwritten, one that declares a member of terabytes, a file cut short.
    let mut overwritten = whole.clone();
    overwritten[second..second + 100].fill(7);
    let endless = made::header("huge.png", 1 << 32).as_bytes().to_vec();
    let cut = whole[..second + 600].to_vec();
    for (name, bytes, place) in [
        ("overwritten", overwritten, second),
        ("endless", endless, 0),
        ("cut", cut, second),
    ] {
        match tar_of(bytes).unwrap_err() {
            DataError::Damaged { path, offset, .. } => {
                assert_eq!(
                    (path.as_path(), offset),
                    (Path::new("x.tar"), place as u64),
                    "{name}"
                );
            }
            other => panic!("{name}: {other}"),
        }
    }
    assert!(matches!(
        tar_of(tar(&[("a.txt", b"text")])),
        Err(DataError::NoImages { .. })
    ));
    let mut half = gzip(&whole);
    half.truncate(half.len() / 2);
    assert!(matches!(tar_of(half), Err(DataError::Damaged { .. })));
}

#[test]
fn the_real_sets_are_their_folders() {
    let Some(test) = real("cifar10/test.tar.gz") else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let unpacked = root.path().join("test");
    let bytes = flate2::read::GzDecoder::new(fs::File::open(&test).unwrap());
    ::tar::Archive::new(bytes).unpack(&unpacked).unwrap();
    let (set, folder) = (open(&test).unwrap(), Folder::open(&unpacked).unwrap());
    assert_eq!((set.len(), set.classes()), (folder.len(), folder.classes()));
    for i in 0..set.len() {
        assert_eq!(set.name(i), format!("test.tar.gz/{}", folder.name(i)));
        assert_eq!(set.label(i), folder.label(i));
        assert!(set.encoded(i).unwrap() == folder.encoded(i).unwrap());
    }
    let Some(val) = real("imagenette224-dev/val.tar") else {
        return;
    };
    let set = open(val).unwrap();
    assert_eq!(set.classes().len(), 10);
    assert_eq!(set.classes().get(0).as_deref(), Some("n01440764"));
    assert!((0..set.len()).step_by(37).all(|i| set.read(i).is_ok()));
}
