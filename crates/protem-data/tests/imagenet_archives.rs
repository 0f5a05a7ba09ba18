//! ImageNet's archives as they are downloaded: read as the folders that they are unpacked to, refused
//! where they are not whole.

mod made;

use made::{names, photo, tar};
use protem_data::{DataError, Labelling, Source, open};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VAL: &str = "ILSVRC2012_img_val.tar";
const DEVKIT: &str = "ILSVRC2012_devkit_t12.tar.gz";

/// Classes of the devkit of `fixtures/devkit.py`, and of its images of validation.
const CLASSES: [&str; 4] = ["n00000001", "n00000002", "n00000003", "n00000004"];
const OF_VAL: [u32; 6] = [0, 3, 1, 2, 0, 0];

/// A class's images, out of order.
fn of_class(class: u32) -> Vec<(String, Vec<u8>)> {
    let wnid = CLASSES[class as usize];
    let image = |i: u32| (format!("{wnid}_{i}.JPEG"), photo(10 * class + i));
    vec![image(7), image(10), image(2)]
}

fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<_> = members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    tar(&members)
}

/// The archives of classes that train's consists of.
fn classes() -> Vec<(String, Vec<u8>)> {
    let class = |c: u32| {
        (
            format!("{}.tar", CLASSES[c as usize]),
            archive(&of_class(c)),
        )
    };
    [2, 0, 3, 1].map(class).into()
}

fn of_val() -> Vec<(String, Vec<u8>)> {
    let image = |i: u32| (format!("ILSVRC2012_val_{i:08}.JPEG"), photo(100 + i));
    [2, 1, 3, 6, 4, 5].map(image).into()
}

fn devkit() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/devkit");
    fs::read(folder.join(DEVKIT)).unwrap()
}

fn root(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    root
}

fn packed() -> TempDir {
    root(&[
        (TRAIN, archive(&classes())),
        (VAL, archive(&of_val())),
        (DEVKIT, devkit()),
    ])
}

/// The same, unpacked.
fn unpacked() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let unpack = |archive: &[u8], folder: &str| {
        let folder = root.path().join(folder);
        ::tar::Archive::new(archive).unpack(folder).unwrap();
    };
    for (name, class) in classes() {
        unpack(
            &class,
            &format!("train/{}", name.strip_suffix(".tar").unwrap()),
        );
    }
    unpack(&archive(&of_val()), "val");
    fs::write(root.path().join(DEVKIT), devkit()).unwrap();
    root
}

fn split(root: &TempDir, split: &str) -> Result<Arc<dyn Source>, DataError> {
    open(format!("{}?split={split}", root.path().display()))
}

fn labels(source: &dyn Source) -> Vec<Option<u32>> {
    (0..source.len()).map(|i| source.label(i)).collect()
}

fn refused(root: &TempDir, of: &str) -> DataError {
    let Err(error) = split(root, of) else {
        panic!("{of} is opened");
    };
    let text = error.to_string();
    assert!(
        text.contains(if of == "val" { VAL } else { TRAIN }),
        "{text}"
    );
    error
}

#[test]
fn archives_are_read_as_what_they_unpack_to() {
    let (packed, unpacked) = (packed(), unpacked());
    for of in ["train", "val"] {
        let (one, other) = (split(&packed, of).unwrap(), split(&unpacked, of).unwrap());
        assert_eq!(names(&*one), names(&*other), "{of}");
        assert_eq!(labels(&*one), labels(&*other), "{of}");
        assert_eq!(one.classes(), other.classes());
        assert_eq!(one.classes(), CLASSES);
        for i in 0..one.len() {
            assert_eq!(one.encoded(i).unwrap(), other.encoded(i).unwrap());
            assert!(one.read(i).unwrap() == other.read(i).unwrap());
        }
        assert!(
            one.describe()
                .ends_with(if of == "val" { VAL } else { TRAIN })
        );
        assert!(other.describe().ends_with(of));
    }
    let (train, val) = (split(&packed, "train"), split(&packed, "val").unwrap());
    assert_eq!(train.unwrap().name(2), "n00000001/n00000001_7.JPEG");
    assert_eq!(labels(&*val), OF_VAL.map(Some));
    let Err(DataError::WhichSplit { splits, .. }) = open(packed.path()) else {
        panic!("no split is named");
    };
    assert_eq!(splits, ["train", "val"]);
}

#[test]
fn what_is_unpacked_goes_before_its_archive() {
    let (packed, unpacked) = (packed(), unpacked());
    fs::rename(unpacked.path().join("train"), packed.path().join("train")).unwrap();
    fs::remove_dir_all(packed.path().join("train/n00000004")).unwrap();
    let train = split(&packed, "train").unwrap();
    assert_eq!(train.len(), 9);
    assert_eq!(train.classes(), ["n00000001", "n00000002", "n00000003"]);
    assert!(train.describe().ends_with("train"), "{}", train.describe());
    // A class of validation that training does not have.
    let error = split(&packed, "val").err().unwrap();
    assert!(
        matches!(&error, DataError::Classes { reason, .. } if reason.contains("n00000004 is no class folder of")),
        "{error}"
    );
}

#[test]
fn validation_alone_has_the_classes_that_are_told_of() {
    let val = archive(&of_val());
    let list = (1..7).map(|i| format!("ILSVRC2012_val_{i:08}.JPEG {}\n", i % 3));
    let list: String = list.collect();
    let without = root(&[(VAL, val.clone())]);
    assert_eq!(open(without.path()).unwrap().labelling(), Labelling::None);
    let listed = root(&[(VAL, val.clone()), ("val.txt", list.clone().into())]);
    let set = open(listed.path()).unwrap();
    assert_eq!(set.classes(), ["0", "1", "2"]);
    assert_eq!(labels(&*set), [1, 2, 0, 1, 2, 0].map(Some));
    // Numbers count the classes of training.
    let beside = root(&[
        (VAL, val.clone()),
        (TRAIN, archive(&classes())),
        ("val.txt", list.into()),
    ]);
    let set = split(&beside, "val").unwrap();
    assert_eq!((set.label(0), set.label(2)), (Some(1), Some(0)));
    assert_eq!(set.classes(), CLASSES);
    let alone = root(&[(VAL, val), (DEVKIT, devkit())]);
    let set = open(alone.path()).unwrap();
    assert_eq!(set.classes(), CLASSES);
    assert_eq!(labels(&*set), OF_VAL.map(Some));
    let more = [
        of_val(),
        vec![("ILSVRC2012_val_00000007.JPEG".into(), photo(0))],
    ]
    .concat();
    let more = root(&[(VAL, archive(&more)), (DEVKIT, devkit())]);
    let error = open(more.path()).err().unwrap();
    assert!(
        matches!(&error, DataError::NoClass { path, .. } if path.ends_with(DEVKIT)),
        "{error}"
    );
}

#[test]
fn a_download_that_ended_early_is_told() {
    let images = [
        (TRAIN, archive(&classes()), "train"),
        (VAL, archive(&of_val()), "val"),
    ];
    for (name, whole, of) in images {
        let content = whole.len() - 1024;
        // In a header, in an image, behind one, before the end; and at the end of the first member.
        let first = 512 + archive(&of_class(2)).len();
        let cuts = [100, 700, 1024, content - 512, content - 100, content, first];
        for cut in cuts {
            let set = root(&[(name, whole[..cut].to_vec())]);
            let error = refused(&set, of);
            assert!(matches!(error, DataError::Damaged { .. }), "{cut}: {error}");
            // Room that was made for the rest.
            let mut room = whole[..cut].to_vec();
            room.resize(cut.next_multiple_of(512) + (2 << 20), 0);
            let error = refused(&root(&[(name, room)]), of);
            assert!(matches!(error, DataError::Damaged { .. }), "{cut}: {error}");
        }
        let half = root(&[(name, whole[..content + 512].to_vec())]);
        assert!(split(&half, of).is_ok());
    }
}

#[test]
fn archives_of_classes_that_are_none_are_named() {
    let with = |name: &str, bytes: Vec<u8>| {
        let mut members = classes();
        members.insert(1, (name.to_owned(), bytes));
        root(&[(TRAIN, archive(&members))])
    };
    let inner = archive(&of_class(0));
    let holed = [&inner[..1024], &vec![0; 1 << 21]].concat();
    let twice = archive(&[of_class(0), of_class(0)].concat());
    let mut link = ::tar::Header::new_gnu();
    link.set_entry_type(::tar::EntryType::Symlink);
    link.set_size(0);
    let mut linked = ::tar::Builder::new(Vec::new());
    linked.append_link(&mut link, "a.JPEG", "b.JPEG").unwrap();
    let linked = linked.into_inner().unwrap();
    let nothing = Vec::new();
    for (bytes, word) in [
        (b"no archive".repeat(100), "no header of a member"),
        (nothing, "what ends an archive is missing"),
        (
            inner[..inner.len() - 1024].to_vec(),
            "what ends an archive is missing",
        ),
        (inner[..1500].to_vec(), "cut"),
        (holed, "hold nothing"),
        (made::gzip(&inner), "header"),
        (
            archive(&[("readme.txt".into(), b"none".to_vec())]),
            "holds no image",
        ),
        (twice, "a second time"),
        (linked, "a.JPEG is a link"),
    ] {
        let set = with("n00000009.tar", bytes);
        let text = refused(&set, "train").to_string();
        assert!(
            text.contains("n00000009.tar") && text.contains(word),
            "{text}"
        );
        // Its offset is one of the whole archive.
        let offset = text.split("at byte ").nth(1).unwrap();
        let offset: u64 = offset.split([':', ' ']).next().unwrap().parse().unwrap();
        assert!(offset > 512 + archive(&of_class(2)).len() as u64, "{text}");
    }
    let text = refused(&with("other/n00000001.tar", inner.clone()), "train").to_string();
    assert!(
        text.contains("n00000001.tar is there a second time"),
        "{text}"
    );
    let text = refused(&with("x.JPEG", photo(0)), "train").to_string();
    assert!(text.contains("x.JPEG is an image beside"), "{text}");
    let none = root(&[(TRAIN, archive(&[("readme.txt".into(), b"none".to_vec())]))]);
    assert!(matches!(
        refused(&none, "train"),
        DataError::NoImages { .. }
    ));
    // Hidden ones, folders and texts are passed over, and names may be long and of any bytes.
    let long = format!("{}/é\n.png", "long".repeat(60));
    let odd = archive(&[(long.clone(), photo(3)), ("._a.JPEG".into(), b"x".to_vec())]);
    let set = with("n00000009.tar", odd);
    let train = split(&set, "train").unwrap();
    assert_eq!(
        (train.len(), train.name(12)),
        (13, format!("n00000009/{long}"))
    );
    assert_eq!(
        train.read(12).unwrap(),
        image::load_from_memory(&photo(3)).unwrap().into_rgb8()
    );
    let class = with("._n00000001.tar", b"resource".to_vec());
    assert_eq!(split(&class, "train").unwrap().len(), 12);
}

/// An image that is damaged is one image.
#[test]
fn damaged_images_are_no_damage_of_the_archive() {
    let mut members = of_val();
    members[1].1 = b"no picture".to_vec();
    let set = root(&[(VAL, archive(&members))]);
    let set = open(set.path()).unwrap();
    let scanned = protem_data::scan(&*set, &|_| ());
    assert_eq!(scanned.unreadable.len(), 1);
    assert_eq!(scanned.unreadable[0].name, "ILSVRC2012_val_00000001.JPEG");
}

#[test]
fn a_devkit_that_tells_no_classes_is_refused() {
    let of = |devkit: Vec<u8>| {
        let set = root(&[(VAL, archive(&of_val())), (DEVKIT, devkit)]);
        let error = open(set.path()).err().unwrap();
        assert!(error.to_string().contains(DEVKIT), "{error}");
        error
    };
    let whole = devkit();
    assert!(matches!(
        of(whole[..whole.len() / 2].to_vec()),
        DataError::Damaged { .. }
    ));
    assert!(matches!(of(Vec::new()), DataError::Missing(_)));
    let meta = include_bytes!("fixtures/devkit/plain.mat");
    let made = |meta: &[u8], truth: &[u8]| {
        let inside = "ILSVRC2012_devkit_t12/data";
        let meta = (format!("{inside}/meta.mat"), meta.to_vec());
        let file = format!("{inside}/ILSVRC2012_validation_ground_truth.txt");
        archive(&[meta, (file, truth.to_vec())])
    };
    let error = of(made(&meta[..2000], b"1\n"));
    assert!(
        matches!(&error, DataError::Classes { path, .. } if path.ends_with("meta.mat")),
        "{error}"
    );
    // A synset with children is no class.
    for wrong in ["1\n5\n", "1\n0\n", "1\nn00000001\n"] {
        let error = of(made(meta, wrong.as_bytes()));
        assert!(matches!(error, DataError::Line { line: 2, .. }), "{error}");
    }
}
