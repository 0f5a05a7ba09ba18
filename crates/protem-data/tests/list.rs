//! List files, and what is recognised at all.

mod made;

use made::{names, photo};
use protem_data::{DataError, Labelling, Source, open};
use std::fs;
use std::sync::Arc;

struct Lists(tempfile::TempDir);

impl Lists {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("my photos")).unwrap();
        for (i, name) in ["a.png", "b 1.png", "my photos/c.png"].iter().enumerate() {
            fs::write(root.path().join(name), photo(i as u32)).unwrap();
        }
        Self(root)
    }

    fn open(&self, text: &str) -> Result<Arc<dyn Source>, DataError> {
        let file = self.0.path().join("list.txt");
        fs::write(&file, text).unwrap();
        open(file)
    }
}

#[test]
fn a_label_follows_a_tab_or_the_last_blank() {
    let lists = Lists::new();
    let plain = lists
        .open("# mine\n\nb 1.png\r\nmy photos/c.png\n")
        .unwrap();
    assert_eq!(names(&*plain), ["b 1.png", "my photos/c.png"]);
    assert_eq!(plain.labelling(), Labelling::None);
    assert_eq!(
        plain.read(1).unwrap(),
        protem_data::decode(&photo(2)).unwrap()
    );
    let numbers = lists.open("b 1.png 2\nmy photos/c.png\t0").unwrap();
    assert_eq!([0, 1].map(|i| numbers.label(i)), [Some(2), Some(0)]);
    assert_eq!(numbers.classes(), ["0", "1", "2"]);
    let named = lists.open("b 1.png\tnice dog\na.png cat\n").unwrap();
    assert_eq!([0, 1].map(|i| named.label(i)), [Some(1), Some(0)]);
    assert_eq!(named.classes(), ["cat", "nice dog"]);
    let absolute = format!("{}\n", lists.0.path().join("a.png").display());
    assert!(lists.open(&absolute).unwrap().read(0).is_ok());
    // A file that is gone is an unreadable image.
    assert!(lists.open("gone.png\n").unwrap().read(0).is_err());
}

#[test]
fn a_table_is_no_list_and_is_told_so() {
    let lists = Lists::new();
    for text in [
        "a.png,0\n",
        "image,label\n\"a.png\",0\n",
        "path\tlabel\na.png\t0\n",
        "a.png\tcat\t1\n",
    ] {
        let error = lists.open(text).err().unwrap().to_string();
        assert!(error.contains("a table of images"), "{error}");
    }
}

#[test]
fn a_line_that_is_none_is_named() {
    let lists = Lists::new();
    for (text, wrong) in [
        ("a.png\nnotes\n", 2),
        ("a.png 1\nb 1.png\n", 2),
        ("#\na.png\na.png 3\n", 3),
    ] {
        match lists.open(text).err() {
            Some(DataError::Line { line, .. }) => assert_eq!(line, wrong, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    // In Latin-1, where replaced letters would make one class of two.
    let file = lists.0.path().join("latin.txt");
    fs::write(&file, b"a.png\tp\xe2t\xe9\nb.png\tp\xe4t\xe8\n").unwrap();
    let error = open(&file).err().unwrap();
    assert!(matches!(error, DataError::Line { line: 1, .. }));
    assert!(error.to_string().contains("not in UTF-8"), "{error}");
    assert!(matches!(
        lists.open("a.png 4000000000"),
        Err(DataError::Classes { .. })
    ));
}

#[test]
fn what_is_nothing_says_what_was_looked_for_and_found() {
    let lists = Lists::new();
    let error = lists.open("some words\n").err().unwrap().to_string();
    for word in ["list.txt", "tar archive", "some words"] {
        assert!(error.contains(word), "{error}");
    }
    let error = open(lists.0.path().join("a.png"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("one image"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = || open(empty.path()).err().unwrap().to_string();
    assert!(nothing().contains("found nothing"), "{}", nothing());
    fs::write(empty.path().join("notes.txt"), "text").unwrap();
    for word in ["jpeg", "ppm", ".parquet", "CIFAR-10", "notes.txt"] {
        assert!(nothing().contains(word), "{}", nothing());
    }
    let gone = lists.0.path().join("gone");
    assert!(matches!(open(&gone), Err(DataError::Missing(path)) if path == gone));
}

#[test]
fn generated_sets_have_a_name() {
    let set = open("generated:images=20,size=8,seed=3,split=test").unwrap();
    assert_eq!((set.len(), set.read(3).unwrap().dimensions()), (20, (8, 8)));
    assert_eq!(open("generated:").unwrap().len(), 5000);
    for wrong in [
        "generated:images=0",
        "generated:size=9999999",
        "generated:sizes=3",
    ] {
        assert!(
            matches!(open(wrong), Err(DataError::Option { .. })),
            "{wrong}"
        );
    }
    // Too large to be kept, it is drawn at each reading.
    let large = open("generated:images=10000000,size=32").unwrap();
    assert_eq!(
        large.read(9_999_999).unwrap(),
        large.read(9_999_999).unwrap()
    );
}
