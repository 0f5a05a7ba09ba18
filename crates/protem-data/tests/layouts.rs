//! Published layouts of folders: VOC's devkit, ImageNet's splits, Places' lists.

mod made;

use made::{names, photo, real};
use protem_data::{DataError, Labelling, Source, open};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        match *text {
            "" => fs::write(file, photo(0)).unwrap(),
            text => fs::write(file, text).unwrap(),
        }
    }
    root
}

fn at(root: &tempfile::TempDir, rest: &str) -> String {
    format!("{}{rest}", root.path().display())
}

fn labels(source: &dyn Source) -> Vec<Option<u32>> {
    (0..source.len()).map(|i| source.label(i)).collect()
}

#[test]
fn voc_images_have_several_classes_and_difficult_ones_none() {
    let main = "VOC2007/ImageSets/Main";
    let files = [
        ("VOC2007/JPEGImages/000005.jpg", ""),
        ("VOC2007/JPEGImages/000007.jpg", ""),
        (&format!("{main}/trainval.txt"), "000005\n000007\n"),
        (&format!("{main}/test.txt"), "000005\n"),
        (
            &format!("{main}/dog_trainval.txt"),
            "000005  1\n000007  0\n",
        ),
        (
            &format!("{main}/cat_trainval.txt"),
            "000005  1\n000007 -1\n",
        ),
    ];
    let root = root(&files);
    let set = open(at(&root, "?split=trainval")).unwrap();
    assert_eq!(set.classes(), ["cat", "dog"]);
    assert_eq!(set.labelling(), Labelling::Several);
    assert_eq!([set.labels(0), set.labels(1)], [vec![0, 1], vec![]]);
    assert_eq!(
        (labels(&*set), names(&*set)[1].as_str()),
        (vec![None, None], "JPEGImages/000007.jpg")
    );
    assert!(set.read(1).is_ok());
    let test = open(at(&root, "/VOC2007?split=test")).unwrap();
    assert_eq!((test.len(), test.labelling()), (1, Labelling::None));
    assert!(
        matches!(open(root.path()), Err(DataError::WhichSplit { splits, .. }) if splits == ["test", "trainval"])
    );
    assert!(open(at(&root, "/VOC2007?split=test&year=2007")).is_ok());
    for place in ["", "/VOC2007"] {
        let other = open(at(&root, &format!("{place}?split=test&year=2012")));
        assert!(
            matches!(&other, Err(DataError::Option { rule, .. }) if rule.ends_with("one of 2007")),
            "{place}"
        );
    }
    fs::write(
        root.path().join(main).join("cow_trainval.txt"),
        "000009 1\n",
    )
    .unwrap();
    assert!(matches!(
        open(at(&root, "?split=trainval")),
        Err(DataError::Line { line: 1, .. })
    ));
}

/// By their places in the alphabet, "10" would be class 2.
#[test]
fn class_folders_called_by_numbers_are_what_numbers_tell() {
    let root = root(&[
        ("train/1/a.png", ""),
        ("train/2/a.png", ""),
        ("train/10/a.png", ""),
        ("val/x.png", ""),
        ("val/y.png", ""),
        ("val.txt", "x.png 2\ny.png 10\n"),
    ]);
    let val = open(at(&root, "?split=val")).unwrap();
    assert_eq!(val.classes(), ["1", "10", "2"]);
    assert_eq!(labels(&*val), [Some(2), Some(1)]);
    fs::write(root.path().join("val.txt"), "x.png 2\ny.png 3\n").unwrap();
    let error = open(at(&root, "?split=val")).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("3 is no class folder")));
    // One that is forgotten does not make a list without classes of it; all of them do.
    fs::write(root.path().join("val.txt"), "x.png 2\ny.png\n").unwrap();
    assert!(matches!(
        open(at(&root, "?split=val")),
        Err(DataError::Line { line: 2, .. })
    ));
    fs::write(root.path().join("val.txt"), "x.png\ny.png\n").unwrap();
    let val = open(at(&root, "?split=val")).unwrap();
    assert_eq!(labels(&*val), [None, None]);
}

#[test]
fn class_folders_beside_one_of_shards_are_not_passed_over() {
    let images = [("bus/a.png", ""), ("car/a.png", "")];
    let shard = root(&images);
    fs::create_dir(shard.path().join("train")).unwrap();
    fs::write(
        shard.path().join("train/s.tar"),
        made::tar(&[("a.png", &photo(0))]),
    )
    .unwrap();
    assert!(matches!(
        open(shard.path()),
        Err(DataError::TwoKinds { .. })
    ));
    fs::remove_dir_all(shard.path().join("car")).unwrap();
    assert_eq!(
        open(shard.path()).unwrap().len(),
        1,
        "one folder is no classes"
    );
}

/// The labels of the real devkit are those of its annotations, read here by their tags alone.
#[test]
fn the_real_devkit_agrees_with_its_annotations() {
    let Some(archive) = real("voc2007-lite-dev/VOCdevkit.tar") else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    tar::Archive::new(fs::File::open(archive).unwrap())
        .unpack(root.path())
        .unwrap();
    let mut positives = BTreeMap::new();
    for split in ["trainval", "test"] {
        let set = open(at(&root, &format!("?split={split}"))).unwrap();
        assert_eq!((set.len(), set.classes().len()), (800, 20));
        for i in 0..set.len() {
            let name = set
                .name(i)
                .replace("JPEGImages", "Annotations")
                .replace(".jpg", ".xml");
            let text =
                fs::read_to_string(root.path().join("VOCdevkit/VOC2007").join(name)).unwrap();
            let tag = |object: &str, tag: &str| {
                let rest = object.split(&format!("<{tag}>")).nth(1).unwrap().to_owned();
                rest.split('<').next().unwrap().trim().to_owned()
            };
            let objects = text.split("<object>").skip(1);
            let easy = objects.filter(|object| tag(object, "difficult") == "0");
            let expected: BTreeSet<String> = easy.map(|object| tag(object, "name")).collect();
            let found = set
                .labels(i)
                .into_iter()
                .filter_map(|c| Some(set.classes().get(c as usize)?.into_owned()));
            assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{}", set.name(i));
            for class in expected {
                *positives.entry((split, class)).or_insert(0) += 1;
            }
        }
        assert!(set.read(0).is_ok());
    }
    // As the set's own table has them.
    for (class, counts) in [
        ("aeroplane", [32, 33]),
        ("person", [326, 323]),
        ("sheep", [17, 19]),
    ] {
        let found = ["trainval", "test"].map(|split| positives[&(split, class.to_owned())]);
        assert_eq!(found, counts, "{class}");
    }
}

#[test]
fn imagenets_flat_validation_images_get_their_classes_from_a_list() {
    let images = [
        ("train/n02/x.JPEG", ""),
        ("train/n01/y.JPEG", ""),
        ("train/n03/z.JPEG", ""),
        ("val/ILSVRC2012_val_1.JPEG", ""),
        ("val/ILSVRC2012_val_2.JPEG", ""),
    ];
    let root = root(&images);
    assert!(matches!(
        open(root.path()),
        Err(DataError::WhichSplit { .. })
    ));
    let train = open(at(&root, "?split=train")).unwrap();
    assert_eq!(labels(&*train), [0, 1, 2].map(Some));
    let val = || open(at(&root, "?split=val"));
    assert_eq!(val().unwrap().labelling(), Labelling::None);
    let numbers = "ILSVRC2012_val_1.JPEG 2\nILSVRC2012_val_2.JPEG 0\n";
    let annotations =
        "ILSVRC2012_val_1.JPEG\tn03\t0\t0\t9\t9\nILSVRC2012_val_2.JPEG\tn01\t0\t0\t9\t9\n";
    let solution = "ImageId,PredictionString\nILSVRC2012_val_2,n01 1 2 3 4 n01 1 2 3 4\nILSVRC2012_val_1,n03 1 2 3 4\n";
    for (list, text) in [
        ("val.txt", numbers),
        ("val/val_annotations.txt", annotations),
        ("LOC_val_solution.csv", solution),
    ] {
        let list = root.path().join(list);
        fs::write(&list, text).unwrap();
        let set = val().unwrap();
        assert_eq!(
            (labels(&*set), set.classes()),
            (vec![Some(2), Some(0)], train.classes())
        );
        fs::remove_file(list).unwrap();
    }
    fs::write(root.path().join("val.txt"), "ILSVRC2012_val_1.JPEG 2\n").unwrap();
    assert!(matches!(val(), Err(DataError::NoClass { .. })));
    // Of images in two folders the list says the same, or it does not say which.
    for (second, sound) in [("2", true), ("0", false)] {
        let list = format!("{numbers}other/ILSVRC2012_val_1.JPEG {second}\n");
        fs::write(root.path().join("val.txt"), list).unwrap();
        match val() {
            Ok(_) => assert!(sound),
            Err(DataError::Line { line, .. }) => assert_eq!((sound, line), (false, 3)),
            Err(other) => panic!("{other}"),
        }
    }
    // Class folders need no list.
    fs::remove_dir_all(root.path().join("val")).unwrap();
    for image in ["val/n01/a.JPEG", "val/n02/b.JPEG"] {
        let file = root.path().join(image);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, photo(1)).unwrap();
    }
    assert_eq!(val().unwrap().classes(), ["n01", "n02"]);
    // Training images alone.
    fs::remove_dir_all(root.path().join("val")).unwrap();
    assert_eq!(open(root.path()).unwrap().classes(), ["n01", "n02", "n03"]);
}

#[test]
fn places_has_lists() {
    let root = root(&[
        (
            "categories_places365.txt",
            "/a/airfield 0\n/b/bar/inside 1\n",
        ),
        (
            "places365_train_standard.txt",
            "/b/bar/inside/2.jpg 1\n/a/airfield/1.jpg 0\n",
        ),
        ("places365_val.txt", "Places365_val_00000001.jpg 1\n"),
        ("data_256/a/airfield/1.jpg", ""),
        ("data_256/b/bar/inside/2.jpg", ""),
        ("val_large/Places365_val_00000001.jpg", ""),
    ]);
    let train = open(at(&root, "?split=train")).unwrap();
    assert_eq!(names(&*train), ["b/bar/inside/2.jpg", "a/airfield/1.jpg"]);
    assert_eq!(labels(&*train), [Some(1), Some(0)]);
    assert_eq!(train.classes(), ["a/airfield", "b/bar/inside"]);
    let val = open(at(&root, "?split=val&folder=val_large")).unwrap();
    assert_eq!(
        (labels(&*val), val.classes()),
        (vec![Some(1)], train.classes())
    );
    assert!(train.read(0).is_ok() && val.read(0).is_ok());
    fs::write(
        root.path().join("categories_places365.txt"),
        "/a/airfield 0\n",
    )
    .unwrap();
    assert!(
        matches!(open(at(&root, "?split=val")), Err(DataError::Classes { path, .. }) if path.ends_with(Path::new("categories_places365.txt")))
    );
}
