//! Parquet shards as `datasets` and pyarrow write them, in every compression and encoding, and
//! damaged ones.

mod made;

use made::{fixture, picture};
use protem_data::{DataError, Labelling, Parquet, ReadError, Source, Storage, open};
use std::fs;
use std::path::Path;

fn labels(source: &dyn Source) -> Vec<Option<u32>> {
    (0..source.len()).map(|i| source.label(i)).collect()
}

#[test]
fn hugging_faces_sets_are_read_with_their_names() {
    let at = |options: &str| format!("{}{options}", fixture("parquet").display());
    let train = open(at("?split=train")).unwrap();
    assert_eq!(train.classes(), ["zebra", "ant", "cat"]);
    assert_eq!(labels(&*train), [0, 1, 2, 0, 1, 2, 0].map(Some));
    for i in 0..7 {
        assert_eq!(train.read(i).unwrap(), picture(i as u32, 6, 5));
    }
    assert_eq!(train.name(3), "train-00000-of-00002.parquet:3");
    assert_eq!(train.name(6), "train-00001-of-00002.parquet:2");
    let test = open(at("?split=test")).unwrap();
    assert_eq!(
        (labels(&*test), test.read(0).unwrap()),
        (vec![Some(2)], picture(2, 6, 5))
    );
    let shards = open(at("/train-*.parquet")).unwrap();
    assert_eq!(shards.len(), 7);
    assert!(
        matches!(open(at("")), Err(DataError::WhichSplit { splits, .. }) if splits == ["test", "train"])
    );
    assert!(matches!(
        open(at("?split=val")),
        Err(DataError::NoSplit { .. })
    ));
}

#[test]
fn words_are_classes_and_names_must_agree() {
    let words = open(fixture("words.parquet")).unwrap();
    assert_eq!(words.classes(), ["ant", "bee", "wasp"]);
    assert_eq!(labels(&*words), [2, 0, 0, 1, 0, 2].map(Some));
    assert!(matches!(
        open(fixture("words-missing.parquet")),
        Err(DataError::NoClass { image, .. }) if image == "row 2"
    ));
    // The same names in another order: the number of a class would mean two.
    let root = tempfile::tempdir().unwrap();
    let first = fixture("parquet/train-00000-of-00002.parquet");
    fs::copy(first, root.path().join("0.parquet")).unwrap();
    fs::copy(
        fixture("other-order.parquet"),
        root.path().join("1.parquet"),
    )
    .unwrap();
    assert!(matches!(
        open(root.path()),
        Err(DataError::Classes { path, .. }) if path.ends_with("1.parquet")
    ));
}

#[test]
fn every_way_of_writing_is_read() {
    let mut ways = 0;
    for file in fs::read_dir(fixture("parquet-ways")).unwrap() {
        let file = file.unwrap().path();
        let set = open(&file).unwrap();
        assert_eq!((set.len(), set.labelling()), (7, Labelling::None));
        // Last first: pages before it are passed over.
        for i in (0..7).rev() {
            match (i, set.read(i)) {
                (5, read) => assert!(matches!(read, Err(ReadError::NoBytes))),
                (i, read) => {
                    assert_eq!(read.unwrap(), picture(i as u32, 6, 5), "{}", file.display())
                }
            }
        }
        let named = open(format!("{}?label=kind&image=img", file.display())).unwrap();
        assert_eq!(
            (labels(&*named), named.classes().len()),
            ([0, 1, 2, 0, 1, 2, 0].map(Some).to_vec(), 3)
        );
        ways += 1;
    }
    assert_eq!(ways, 20);
    let file = fixture("parquet-ways/none-plain-1.parquet");
    let error = open(format!("{}?image=other", file.display()))
        .err()
        .unwrap();
    assert!(error.to_string().contains("img.bytes"), "{error}");
    assert!(open(format!("{}?label=other", file.display())).is_err());
}

#[test]
fn images_are_read_beside_columns_of_every_type() {
    let set = open(fixture("every-type.parquet")).unwrap();
    assert_eq!(labels(&*set), [0, 1, 2, 0, 1, 2, 0].map(Some));
    for i in [6, 0, 3] {
        assert_eq!(set.read(i).unwrap(), picture(i as u32, 6, 5));
    }
}

#[test]
fn of_several_columns_of_images_one_is_called_so() {
    let at = |file: &str, options: &str| open(format!("{}{options}", fixture(file).display()));
    // Before it in the file lies another.
    let set = at("labels.parquet", "").unwrap();
    assert_eq!(set.read(3).unwrap(), picture(3, 6, 5));
    assert!(
        set.describe().ends_with("column image"),
        "{}",
        set.describe()
    );
    let set = at("labels.parquet", "?image=mask").unwrap();
    assert_eq!(set.read(3).unwrap(), picture(0, 6, 5));
    // Of those, none is.
    let error = at("two-of-each.parquet", "").err().unwrap().to_string();
    assert!(error.contains("picture, mask: ?image=picture"), "{error}");
    // Bytes, beside a column called image that holds paths.
    let set = at("jpg.parquet", "").unwrap();
    assert_eq!(set.read(3).unwrap(), picture(3, 6, 5));
}

#[test]
fn the_first_column_of_classes_is_the_first_in_the_file() {
    let at = |options: &str| {
        open(format!(
            "{}{options}",
            fixture("two-of-each.parquet").display()
        ))
    };
    let set = at("?image=picture").unwrap();
    assert_eq!(set.classes(), ["even", "odd"]);
    assert_eq!(labels(&*set), [0, 1, 0, 1, 0, 1, 0].map(Some));
    let set = at("?image=mask&label=coarse").unwrap();
    assert_eq!(
        (set.classes().len(), set.read(3).unwrap()),
        (1, picture(0, 6, 5))
    );
    let set = open(fixture("booleans.parquet")).unwrap();
    assert_eq!(labels(&*set), [0, 0, 0, 1, 0, 0, 0].map(Some));
}

#[test]
fn labels_are_whole_numbers_or_words_and_may_be_left_out() {
    let at = |label: &str| open(format!("{}{label}", fixture("labels.parquet").display()));
    assert_eq!(
        labels(&*at("").unwrap()),
        [0, 1, 2, 0, 1, 2, 0].map(Some),
        "floats"
    );
    for label in ["?label=none", "?label="] {
        assert_eq!(at(label).unwrap().labelling(), Labelling::None, "{label}");
    }
    for (label, reason) in [
        ("missing", "row 2 has no class"),
        ("half", "a label is 0.5"),
        ("scaled", "of decimal numbers"),
        ("day", "of dates or times"),
        ("several", "of lists"),
        ("unsigned", "a label is 300000000"),
        ("absent", "no column called absent"),
    ] {
        let error = at(&format!("?label={label}")).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("?label= reads"), "{error}");
    }
    // Of files that lie together, the one that is wrong is named.
    let root = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| fs::copy(fixture(from), root.path().join(to)).unwrap();
    put("booleans.parquet", "0.parquet");
    put("words.parquet", "1.parquet");
    let error = open(root.path()).err().unwrap().to_string();
    assert!(error.contains("1.parquet: they are words"), "{error}");
    put("jpg.parquet", "1.parquet");
    let error = open(root.path()).err().unwrap().to_string();
    assert!(error.contains("1.parquet: row 0 has no class"), "{error}");
}

#[test]
fn labels_that_stand_for_gigabytes_are_refused() {
    let error = open(fixture("long-labels.parquet")).err().unwrap();
    let error = error.to_string();
    assert!(
        error.contains("1000001 bytes, the limit is 4096"),
        "{error}"
    );
}

#[test]
fn sets_that_lie_in_folders_of_one_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let put = |to: &str| {
        let to = root.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixture("booleans.parquet"), to).unwrap();
    };
    // Further down than the folder's own entries.
    put("default/train/0000.parquet");
    put("default/test/0000.parquet");
    let at = |options: &str| open(format!("{}{options}", root.path().display()));
    assert_eq!(at("?split=train").unwrap().len(), 7);
    assert!(matches!(at(""), Err(DataError::WhichSplit { .. })));
    // Two of the same pictures.
    put("large/train-00000-of-00001.parquet");
    put("small/train-00000-of-00001.parquet");
    let error = at("?split=train").err().unwrap().to_string();
    assert!(error.contains("large and of"), "{error}");
}

#[test]
fn bytes_that_stand_for_gigabytes_are_refused() {
    let set = open(fixture("shared-bytes.parquet")).unwrap();
    let error = set.read(299).err().unwrap().to_string();
    assert!(error.contains("becomes more than"), "{error}");
}

#[test]
fn lists_that_would_keep_the_reader_busy_are_refused() {
    // Of 2³¹ − 1 booleans, of which the reader takes each to need no byte; number 100 and on.
    const LIST: [u8; 9] = [0x09, 0xc8, 0x01, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
    let of = |bytes| Parquet::of(vec![Storage::memory(bytes, Path::new("x.parquet"))]);
    let whole = fs::read(fixture("words.parquet")).unwrap();
    // In the place of the end of the footer, ten thousand of them: hours.
    let (footer, tail) = (whole.len() - 9, whole.len() - 8);
    let length = u32::from_le_bytes(whole[tail..tail + 4].try_into().unwrap());
    let lists = LIST.repeat(10_000);
    let length = length + lists.len() as u32;
    let slow = [
        &whole[..footer],
        &lists,
        &[0],
        &length.to_le_bytes(),
        b"PAR1",
    ]
    .concat();
    let error = of(slow).err().unwrap().to_string();
    assert!(error.contains("a list of booleans"), "{error}");
    // In the header of the first page, behind its kind and its two sizes.
    let mut slow = whole.clone();
    assert_eq!((slow[4], slow[6], slow[9]), (0x15, 0x15, 0x15));
    let end = 9 + slow[9..].iter().position(|byte| *byte == 0x4c).unwrap();
    slow[end..end + LIST.len()].copy_from_slice(&LIST);
    let error = of(slow).unwrap().read(0).err().unwrap().to_string();
    assert!(error.contains("a list of booleans"), "{error}");
}

#[test]
fn many_threads_read_the_same_pages() {
    let set = open(format!("{}?split=train", fixture("parquet").display())).unwrap();
    std::thread::scope(|threads| {
        for seed in 0..8 {
            let set = &set;
            threads.spawn(move || {
                for i in 0..200 {
                    let i = (i * 3 + seed) % 7;
                    assert_eq!(set.read(i).unwrap(), picture(i as u32, 6, 5));
                }
            });
        }
    });
}

#[test]
fn a_damaged_file_is_named_and_a_damaged_page_is_its_images() {
    let of = |bytes: &[u8]| {
        Parquet::of(vec![Storage::memory(
            bytes.to_vec(),
            Path::new("x.parquet"),
        )])
    };
    let whole = fs::read(fixture("parquet-ways/snappy-plain-1.parquet")).unwrap();
    assert_eq!(of(&whole).unwrap().len(), 7);
    for cut in [0, 3, 11, whole.len() - 1] {
        assert!(
            matches!(of(&whole[..cut]), Err(DataError::Damaged { path, .. }) if path == Path::new("x.parquet")),
            "{cut}"
        );
    }
    let error = open(fixture("brotli.parquet")).err().unwrap();
    assert!(
        matches!(&error, DataError::Unrecognised { found, .. } if found.contains("Brotli")),
        "{error}"
    );
    // A footer longer than the file, and one of gigabytes.
    let mut long = whole.clone();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&(whole.len() as u32).to_le_bytes());
    assert!(matches!(of(&long), Err(DataError::Damaged { offset, .. }) if offset == at as u64));
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(of(&long), Err(DataError::TooLarge { .. })));
    // The first pages overwritten: their images cannot be read, the others can.
    let mut torn = whole.clone();
    torn[40..200].fill(0xff);
    let set = of(&torn).unwrap();
    assert!(set.read(0).is_err());
    assert_eq!(set.read(6).unwrap(), picture(6, 6, 5));
}

#[test]
fn a_page_that_could_not_be_read_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let whole = fs::read(fixture("parquet-ways/snappy-plain-1.parquet")).unwrap();
    fs::write(&path, &whole).unwrap();
    let set = Parquet::of(vec![Storage::open(&path).unwrap()]).unwrap();
    // In place, as on a disk that fails and comes back: the file stays open.
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(40).unwrap();
    assert!(set.read(0).is_err());
    std::io::Write::write_all(&mut file, &whole).unwrap();
    assert_eq!(set.read(0).unwrap(), picture(0, 6, 5));
}
