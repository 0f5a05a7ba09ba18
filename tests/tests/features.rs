//! Features as Parquet: what `embed` writes, and what commands that take features read.

use protem_tests::*;
use std::fs;
use std::path::PathBuf;

/// A folder with a run, and pictures in class folders, one of which cannot be read.
struct Set {
    root: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let set = Self { root };
        run(&mut tiny(&set.path("run"), &[], &["optim.epochs=1"])).expect(0);
        class_folders(&set.path("images"), 3, 4);
        picture(&set.path("images/class-1/tab\there.png"), 1, 3);
        fs::write(set.path("images/class-0/0.jpg"), "none").unwrap();
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs a command, in which paths of the set are those behind `@`.
    fn protem(&self, line: &str) -> Ended {
        let arg = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        };
        let args: Vec<String> = line.split(' ').map(arg).collect();
        run(&mut protem(
            &args.iter().map(String::as_str).collect::<Vec<_>>(),
        ))
    }

    /// Features of a file as a `.npy` file: with a cluster for each they are the centroids.
    fn features(&self, file: &str, images: usize) -> Vec<u8> {
        let line = format!("cluster --input @{file} --k {images} --out @all");
        self.protem(&line).expect(0);
        fs::read(self.path("all/centroids.npy")).unwrap()
    }

    /// Names of all images of a file, in its order.
    fn names(&self, file: &str) -> Vec<String> {
        let line = format!("duplicates --features @{file} --threshold 0.0001 --json");
        let ended = self.protem(&line).expect(0);
        let group: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let images = group["images"].as_array().unwrap().iter();
        let mut names: Vec<(u64, String)> = images
            .map(|image| {
                (
                    image["row"].as_u64().unwrap(),
                    image["name"].as_str().unwrap().into(),
                )
            })
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    fn embed(&self, data: &str, out: &str) -> Ended {
        self.protem(&format!(
            "embed --checkpoint @run --data {data} --out @{out}"
        ))
    }
}

#[test]
fn a_parquet_file_holds_what_is_beside_npy() {
    let set = Set::new();
    set.embed("@images", "x.npy").expect(0);
    let ended = set.embed("@images", "x.parquet").expect(0);
    let ended = ended.says(&["skipped", "class-0/0.jpg"]);
    let said = &ended.stdout;
    assert!(said.contains("12 × 32 features in"), "{said}");
    assert!(
        said.contains("x.parquet, with names and classes, 1 unreadable image left out"),
        "{said}"
    );
    // Nothing else is written.
    let there = fs::read_dir(set.root.path()).unwrap();
    assert_eq!(
        there.count(),
        6,
        "run, images, x.npy, x.txt, x.labels.npy, x.parquet"
    );
    let npy = fs::read(set.path("x.npy")).unwrap();
    assert_eq!(set.features("x.parquet", 12), npy);
    let names = set.names("x.parquet");
    assert!(names.contains(&"class-1/tab\there.png".into()), "{names:?}");
    let lines = fs::read_to_string(set.path("x.txt")).unwrap();
    let escaped = names.iter().map(|name| name.replace('\t', "\\t") + "\n");
    assert_eq!(lines, escaped.collect::<String>());
    // Without classes.
    let ended = set.embed("@images/class-1", "flat.parquet").expect(0);
    assert!(
        ended.stdout.contains("flat.parquet, with names\n"),
        "{}",
        ended.stdout
    );
    assert_eq!(set.names("flat.parquet").len(), 5);
}

#[test]
fn commands_find_the_same_in_both() {
    let set = Set::new();
    for ending in ["npy", "parquet"] {
        set.embed("@images", &format!("x.{ending}")).expect(0);
    }
    for line in [
        "search --checkpoint @run --features @x.IN --top 3 @images/class-2",
        "search --checkpoint @run --features @x.IN --top 3 --json @images/class-1",
        "duplicates --features @x.IN --threshold 0.9 --json",
    ] {
        let [npy, parquet] = ["npy", "parquet"]
            .map(|ending| set.protem(&line.replace("IN", ending)).expect(0).stdout);
        assert_eq!(npy, parquet);
        assert!(npy.contains("class-"), "{npy}");
    }
    for ending in ["npy", "parquet"] {
        set.protem(&format!(
            "cluster --input @x.{ending} --k 3 --out @c-{ending}"
        ))
        .expect(0);
        set.protem(&format!(
            "cluster --input @x.{ending} --init @x.parquet --k 12 --out @i-{ending}"
        ))
        .expect(0);
        set.protem(&format!(
            "assign --input @x.{ending} --centroids @x.parquet --out @a-{ending}"
        ))
        .expect(0);
    }
    for (folder, file) in [
        ("c", "centroids.npy"),
        ("c", "labels.npy"),
        ("i", "labels.npy"),
        ("a", "labels.npy"),
    ] {
        let read = |ending| fs::read(set.path(&format!("{folder}-{ending}/{file}"))).unwrap();
        assert_eq!(read("npy"), read("parquet"), "{folder} {file}");
    }
}

#[test]
fn what_is_no_table_of_features_is_refused_and_stays() {
    let set = Set::new();
    let fixtures = workspace().join("crates/protem-data/tests/fixtures");
    let copy = |from: &str, to: &str| fs::copy(fixtures.join(from), set.path(to)).map(drop);
    // A set of images.
    copy("sources/words.parquet", "images.parquet").unwrap();
    let kept = fs::read(set.path("images.parquet")).unwrap();
    set.embed("@images", "images.parquet")
        .expect(2)
        .says(&["is no Parquet file of features", "--out"]);
    assert_eq!(fs::read(set.path("images.parquet")).unwrap(), kept);
    for line in [
        "cluster --k 2 --out @c --input @images.parquet",
        "duplicates --features @images.parquet",
    ] {
        set.protem(line)
            .expect(2)
            .says(&["looked for a column features", "rename"]);
    }
    // Features of other programs, with a row that has none; and with names that are none.
    copy("features/refused/null-row.parquet", "null.parquet").unwrap();
    set.protem("duplicates --features @null.parquet")
        .expect(2)
        .says(&["row 4 of", "null.parquet", "null or empty"]);
    copy("features/no-names.parquet", "unnamed.parquet").unwrap();
    let ended = set
        .protem("duplicates --features @unnamed.parquet --threshold 0.01")
        .expect(0);
    ended.says(&["no column name of text", "by their rows"]);
    copy("features/rounded.parquet", "rounded.parquet").unwrap();
    set.protem("assign --input @rounded.parquet --centroids @rounded.parquet --out @a")
        .expect(0)
        .says(&["values are rounded"]);
    // Of another encoder.
    copy("features/read/pandas.parquet", "other.parquet").unwrap();
    set.protem("search --checkpoint @run --features @other.parquet @images/class-1")
        .expect(2)
        .says(&["rows of 5 values", "protem embed --checkpoint"]);
    // Earlier features are replaced, and images that are read are not.
    set.embed("@images", "other.parquet").expect(0);
    assert_eq!(set.names("other.parquet").len(), 12);
    // A table among images would be taken for more of them.
    for out in ["images/x.parquet", "images/new/x.parquet"] {
        set.embed("@images", out)
            .expect(2)
            .says(&["taken for images", "name one elsewhere"]);
    }
    let mut here = protem(&["embed", "--data", ".", "--out", "new/x.parquet"]);
    here.arg("--checkpoint").arg(set.path("run"));
    run(here.current_dir(set.path("images")))
        .expect(2)
        .says(&["taken for images"]);
    assert!(!set.path("images/new").exists());
    set.embed("@images", "images/x.npy").expect(0);
    set.embed("@images", "x.csv")
        .expect(2)
        .says(&[".npy or a .parquet file"]);
}
