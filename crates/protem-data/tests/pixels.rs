//! Sets of raw pixels: CIFAR, STL-10 and IDX files as numpy writes them, real pictures written
//! here, and files that do not hold what they say.

mod made;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::RgbImage;
use made::{fixture, names, picture, real};
use protem_data::{DataError, Encoded, Folder, Labelling, Source, open};
use std::fs;
use std::io::Write;
use std::path::Path;

fn labels(source: &dyn Source) -> Vec<Option<u32>> {
    (0..source.len()).map(|i| source.label(i)).collect()
}

fn at(path: &str, options: &str) -> String {
    format!("{}{options}", fixture(path).display())
}

#[test]
fn cifar_is_read_as_numpy_writes_it() {
    let train = open(at("cifar10", "?split=train")).unwrap();
    assert_eq!(labels(&*train), [0, 2, 4, 6, 8].map(Some));
    assert_eq!(train.classes().len(), 10);
    assert_eq!(train.classes().get(9).as_deref(), Some("class 9"));
    assert_eq!(train.name(4), "data_batch_5.bin:0");
    for i in 0..5 {
        assert_eq!(
            train.encoded(i).unwrap(),
            Encoded::Pixels(picture(i as u32, 32, 32))
        );
    }
    let test = open(at("cifar10", "?split=test")).unwrap();
    assert_eq!(
        (labels(&*test), test.read(0).unwrap()),
        (vec![Some(9)], picture(5, 32, 32))
    );
    let fine = open(at("cifar100", "?split=train")).unwrap();
    assert_eq!(
        (labels(&*fine), fine.classes().get(99).as_deref()),
        (vec![Some(99), Some(1)], Some("fine 99"))
    );
    assert_eq!(
        (names(&*fine)[1].as_str(), fine.read(1).unwrap()),
        ("train.bin:1", picture(1, 32, 32))
    );
    let coarse = open(at("cifar100", "?split=test&label=coarse")).unwrap();
    assert_eq!(
        (labels(&*coarse), coarse.classes().len()),
        (vec![Some(3)], 20)
    );
}

#[test]
fn stl10_has_columns() {
    let train = open(at("stl10", "?split=train")).unwrap();
    assert_eq!(
        (labels(&*train), train.classes().get(9).as_deref()),
        (vec![Some(9)], Some("truck"))
    );
    assert_eq!(train.read(0).unwrap(), picture(0, 96, 96));
    let unlabeled = open(at("stl10", "?split=unlabeled")).unwrap();
    assert_eq!(
        (labels(&*unlabeled), unlabeled.labelling()),
        (vec![None], Labelling::None)
    );
    assert_eq!(unlabeled.read(0).unwrap(), picture(1, 96, 96));
}

#[test]
fn idx_is_gray() {
    let train = open(at("mnist", "?split=train")).unwrap();
    assert_eq!(
        (labels(&*train), train.classes().len()),
        ([7, 0, 3].map(Some).to_vec(), 8)
    );
    for i in 0..3 {
        let gray = picture(i, 6, 5);
        let expected = RgbImage::from_fn(6, 5, |x, y| image::Rgb([gray.get_pixel(x, y)[0]; 3]));
        assert_eq!(train.read(i as usize).unwrap(), expected);
    }
    // As torchvision downloads it.
    let root = tempfile::tempdir().unwrap();
    let raw = root.path().join("MNIST/raw");
    fs::create_dir_all(&raw).unwrap();
    for file in fs::read_dir(fixture("mnist")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), raw.join(file.file_name())).unwrap();
    }
    for folder in ["", "MNIST", "MNIST/raw"] {
        let name = format!("{}?split=test", root.path().join(folder).display());
        assert_eq!(open(name).unwrap().len(), 1, "{folder}");
    }
    let file = open(fixture("mnist/t10k-images-idx3-ubyte.gz")).unwrap();
    assert_eq!(
        (labels(&*file), file.read(0).unwrap()),
        (vec![Some(0)], train.read(1).unwrap())
    );
}

#[test]
fn a_split_must_be_named_and_be_there() {
    for set in ["cifar10", "cifar100", "stl10", "mnist"] {
        let error = open(fixture(set)).err().expect(set);
        assert!(
            matches!(&error, DataError::WhichSplit { .. }),
            "{set}: {error}"
        );
        assert!(error.to_string().contains("?split=train"), "{error}");
        assert!(matches!(
            open(at(set, "?split=none")),
            Err(DataError::NoSplit { .. })
        ));
        assert!(matches!(
            open(at(set, "?seed=1")),
            Err(DataError::Option { .. })
        ));
    }
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    let root = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(fixture(from), root.path().join(to)).unwrap();
    };
    let told = || open(root.path()).err().unwrap().to_string();
    // As EMNIST: several sets in a folder. A file beside its compressed copy is one.
    let images = "train-images-idx3-ubyte.gz";
    copy(&format!("mnist/{images}"), images);
    copy(
        &format!("mnist/{images}"),
        "letters-train-images-idx3-ubyte.gz",
    );
    assert!(told().contains("letters-train"), "{}", told());
    fs::remove_file(root.path().join("letters-train-images-idx3-ubyte.gz")).unwrap();
    let whole = fs::read(root.path().join(images)).unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&whole[..]), &mut plain).unwrap();
    fs::write(root.path().join("train-images-idx3-ubyte"), &plain).unwrap();
    assert_eq!(open(root.path()).unwrap().len(), 3);
    // As copies have it: a folder named as a file, and names with a point.
    let copies = tempfile::tempdir().unwrap();
    fs::create_dir(copies.path().join("train-images-idx3-ubyte")).unwrap();
    fs::write(copies.path().join("train-images.idx3-ubyte"), &plain).unwrap();
    let labels_file = fixture("mnist/train-labels-idx1-ubyte.gz");
    for name in ["train-labels.idx1-ubyte.gz", "train-labels-idx1-ubyte.gz"] {
        fs::copy(&labels_file, copies.path().join(name)).unwrap();
        let set = open(copies.path()).unwrap();
        assert_eq!(labels(&*set), [7, 0, 3].map(Some), "{name}");
        fs::remove_file(copies.path().join(name)).unwrap();
    }
    for batch in 2..6 {
        let name = format!("data_batch_{batch}.bin");
        copy(&format!("cifar10/{name}"), &name);
    }
    let cifar = format!("cifar10:{}", root.path().display());
    let missing = open(cifar).err().unwrap().to_string();
    assert!(missing.contains("data_batch_1.bin"), "{missing}");
}

/// Pictures of the real CIFAR-10, written as its binary files are.
#[test]
fn real_pictures_come_back() {
    let Some(folder) = real("cifar10-tiny/test") else {
        return;
    };
    let real = Folder::open(&folder).unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for i in 0..real.len() {
        bytes.push(real.label(i).unwrap() as u8);
        let image = real.read(i).unwrap();
        (0..3).for_each(|c| bytes.extend(image.pixels().map(|p| p[c])));
    }
    fs::write(root.path().join("test_batch.bin"), bytes).unwrap();
    // One split there: it need not be named.
    let set = open(root.path()).unwrap();
    assert_eq!((set.len(), set.classes()), (real.len(), real.classes()));
    for i in 0..set.len() {
        assert!(set.label(i) == real.label(i) && set.read(i).unwrap() == real.read(i).unwrap());
    }
}

#[test]
fn files_that_hold_something_else_are_damaged_at_a_place() {
    let root = tempfile::tempdir().unwrap();
    let damaged = |name: &str, bytes: &[u8], set: &str, place: u64| {
        let file = root.path().join(name);
        fs::write(&file, bytes).unwrap();
        match open(set.replace("ROOT", root.path().to_str().unwrap())).err() {
            Some(DataError::Damaged { path, offset, .. }) => {
                assert_eq!((path.as_path(), offset), (file.as_path(), place), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        fs::remove_file(file).unwrap();
    };
    damaged("test_batch.bin", &[0; 3072], "cifar10:ROOT", 0);
    damaged("test_batch.bin", &[1; 3073 + 50], "cifar10:ROOT", 3073);
    damaged("test_batch.bin", &[10; 3073], "cifar10:ROOT", 0);
    damaged("unlabeled_X.bin", &[], "stl10:ROOT", 0);
    let idx = |sizes: &[u32], bytes: usize| {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|s| file.extend(s.to_be_bytes()));
        file.resize(file.len() + bytes, 1);
        file
    };
    let file = "x-images-idx3-ubyte";
    damaged(file, &idx(&[2, 3, 4], 23), &format!("ROOT/{file}"), 16 + 12);
    damaged(file, &idx(&[3, 3, 4], 24), &format!("ROOT/{file}"), 4);
    damaged(
        file,
        &idx(&[u32::MAX, u32::MAX, u32::MAX], 24),
        &format!("ROOT/{file}"),
        8,
    );
    damaged(file, &idx(&[1, 0, 4], 0), &format!("ROOT/{file}"), 8);
    damaged(file, &[0, 0, 8, 3, 1], &format!("ROOT/{file}"), 4);
    damaged(file, &idx(&[1, 1, 1, 2], 2), &format!("ROOT/{file}"), 3);
}

#[test]
fn a_compressed_file_is_read_to_its_end_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let name = "train-images-idx3-ubyte.gz";
    let whole = fs::read(fixture("mnist").join(name)).unwrap();
    fs::write(root.path().join(name), &whole[..whole.len() - 20]).unwrap();
    let error = open(Path::new(root.path())).err().unwrap();
    assert!(matches!(error, DataError::Damaged { .. }), "{error}");
    // 100,000 black images are a thousand times what they are compressed to.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    for word in [0x803u32, 100_000, 28, 28] {
        bomb.write_all(&word.to_be_bytes()).unwrap();
    }
    bomb.write_all(&vec![0; 100_000 * 28 * 28]).unwrap();
    fs::write(root.path().join(name), bomb.finish().unwrap()).unwrap();
    let error = open(Path::new(root.path())).err().unwrap();
    assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
    // Without labels beside it, there are none.
    fs::write(root.path().join(name), &whole).unwrap();
    assert_eq!(open(root.path()).unwrap().labelling(), Labelling::None);
}
