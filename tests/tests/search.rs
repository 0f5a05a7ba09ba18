//! `search` and `duplicates`: what is found, that it is said by name, and what is refused.

use image::imageops::FilterType;
use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A folder with a run, images in class folders, and their features.
struct Set {
    root: tempfile::TempDir,
}

impl Set {
    /// Twelve pictures, of which `class-2/copy.jpg` is a copy of `class-0/0.jpg`.
    fn generated() -> Self {
        let set = Self::trained(&[]);
        let images = set.path("images");
        class_folders(&images, 3, 4);
        fs::copy(
            images.join("class-0/0.jpg"),
            images.join("class-2/copy.jpg"),
        )
        .unwrap();
        set.embed("x.npy", &[]).expect(0);
        set
    }

    fn trained(set: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let set = [&["optim.epochs=1"], set].concat();
        run(&mut tiny(&root.path().join("run"), &[], &set)).expect(0);
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn embed(&self, out: &str, args: &[&str]) -> Ended {
        let mut command = protem(&["embed", "--checkpoint"]);
        command.arg(self.path("run"));
        command.arg("--data").arg(self.path("images"));
        run(command.arg("--out").arg(self.path(out)).args(args))
    }

    fn search(&self, features: &str, queries: &[&str], args: &[&str]) -> Ended {
        let mut command = protem(&["search", "--checkpoint"]);
        command.arg(self.path("run"));
        command.arg("--features").arg(self.path(features));
        command.args(queries.iter().map(|query| self.path(query)));
        run(command.args(args))
    }

    fn duplicates(&self, features: &str, args: &[&str]) -> Ended {
        let mut command = protem(&["duplicates", "--features"]);
        run(command.arg(self.path(features)).args(args))
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_to_string(self.path("x.txt")).unwrap();
        names.lines().map(str::to_owned).collect()
    }

    /// Cosine similarities of all images, computed here.
    fn cosines(&self) -> Vec<Vec<f64>> {
        let bytes = fs::read(self.path("x.npy")).unwrap();
        let values = bytes[128..].as_chunks().0.iter().copied();
        let values: Vec<f64> = values.map(|v| f64::from(f32::from_le_bytes(v))).collect();
        let rows: Vec<&[f64]> = values.chunks(values.len() / self.names().len()).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = |a: &&[f64], b: &&[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let of = |a| rows.iter().map(|b| cosine(a, b)).collect();
        rows.iter().map(of).collect()
    }
}

fn lines(ended: &Ended) -> Vec<Value> {
    let json = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    ended.stdout.lines().map(json).collect()
}

fn names_of(line: &Value) -> Vec<&str> {
    let images = line["images"].as_array().unwrap().iter();
    images
        .map(|image| image["name"].as_str().unwrap())
        .collect()
}

#[test]
fn the_nearest_are_named_for_each_query() {
    let set = Set::generated();
    let (names, cosines) = (set.names(), set.cosines());
    let ended = set
        .search("x.npy", &["images"], &["--top=5", "--json"])
        .expect(0);
    let found = lines(&ended);
    assert_eq!(found.len(), 13);
    for (query, line) in found.iter().enumerate() {
        let name = set.path("images").join(&names[query]);
        assert_eq!(line["query"], name.to_str().unwrap());
        let mut expected = cosines[query].clone();
        expected.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(line["images"].as_array().unwrap().len(), 5);
        for (image, expected) in line["images"].as_array().unwrap().iter().zip(expected) {
            let row = image["row"].as_u64().unwrap() as usize;
            assert_eq!(image["name"], *names[row]);
            let similarity = image["similarity"].as_f64().unwrap();
            assert!((similarity - cosines[query][row]).abs() < 1e-5, "{line}");
            assert!((similarity - expected).abs() < 1e-5, "{line}");
        }
    }
    assert_eq!(
        names_of(&found[0])[..2],
        ["class-0/0.jpg", "class-2/copy.jpg"]
    );
    // Files and folders, in the order they are named.
    let queries = ["images/class-1/2.jpg", "images/class-0"];
    let ended = set.search("x.npy", &queries, &["--top=1"]).expect(0);
    let said: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(said.len(), 2 * 5, "{}", ended.stdout);
    assert_eq!(said[0], set.path("images/class-1/2.jpg").to_str().unwrap());
    assert_eq!(said[1], "  1.0000  class-1/2.jpg");
    assert_eq!(said[3], "  1.0000  class-0/0.jpg");
    let one = set
        .search("x.npy", &queries, &["--top=1", "--threads=1"])
        .expect(0);
    assert_eq!(one.stdout, ended.stdout);
    // Embeddings are searched by embeddings.
    set.embed("e.npy", &["--what=embedding"]).expect(0);
    let found = set.search(
        "e.npy",
        &["images/class-1/2.jpg"],
        &["--what=embedding", "--top=1"],
    );
    assert!(found.expect(0).stdout.contains("1.0000  class-1/2.jpg"));
}

#[test]
fn duplicates_are_grouped_the_most_alike_first() {
    let set = Set::generated();
    let (names, cosines) = (set.names(), set.cosines());
    // Between two similarities, so that some are duplicates and some are not.
    let mut nearest: Vec<f64> = (0..13)
        .map(|i| {
            let others = (0..13).filter(|j| *j != i);
            others.map(|j| cosines[i][j]).fold(f64::MIN, f64::max)
        })
        .collect();
    nearest.sort_by(|a, b| b.total_cmp(a));
    let gap = (4..11).max_by(|a, b| {
        let gap = |i: usize| nearest[i - 1] - nearest[i];
        gap(*a).total_cmp(&gap(*b))
    });
    let gap = gap.unwrap();
    let threshold = (nearest[gap - 1] + nearest[gap]) / 2.0;
    let option = format!("--threshold={threshold}");
    let ended = set.duplicates("x.npy", &[&option, "--json"]).expect(0);
    let found = lines(&ended);
    let members: usize = found.iter().map(|group| names_of(group).len()).sum();
    assert_eq!(members, gap, "{}", ended.stdout);
    assert_eq!(names_of(&found[0])[..1], ["class-0/0.jpg"]);
    assert!(names_of(&found[0]).contains(&"class-2/copy.jpg"));
    let mut last = f64::MAX;
    for group in &found {
        let images = group["images"].as_array().unwrap();
        let mut most = f64::MIN;
        for image in images {
            let row = image["row"].as_u64().unwrap() as usize;
            assert_eq!(image["name"], *names[row]);
            let others = (0..13).filter(|other| *other != row);
            let expected = others
                .map(|other| cosines[row][other])
                .fold(f64::MIN, f64::max);
            let similarity = image["similarity"].as_f64().unwrap();
            assert!((similarity - expected).abs() < 1e-5, "{group}");
            most = most.max(similarity);
        }
        assert!(most <= last, "{}", ended.stdout);
        let row = |image: &Value| image["row"].as_u64().unwrap() as usize;
        let rows: Vec<usize> = images.iter().map(row).collect();
        let pairs = rows
            .iter()
            .flat_map(|a| rows.iter().map(|b| cosines[*a][*b]));
        let least = group["least"].as_f64().unwrap();
        assert!(
            (least - pairs.fold(f64::MAX, f64::min)).abs() < 1e-5,
            "{group}"
        );
        last = most;
    }
    let one = set
        .duplicates("x.npy", &[&option, "--json", "--threads=1"])
        .expect(0);
    assert_eq!(one.stdout, ended.stdout);
    let few = set
        .duplicates("x.npy", &[&option, "--top=1"])
        .expect(0)
        .stdout;
    assert!(few.starts_with("1.0000  class-0/0.jpg\n"), "{few}");
    let least = found[0]["least"].as_f64().unwrap();
    assert!(
        few.contains(&format!("\nany two: {least:.4} or more\n\n")),
        "{few}"
    );
    let chains = found
        .iter()
        .any(|group| group["least"].as_f64().unwrap() < threshold);
    assert_eq!(few.contains("some are less alike"), chains, "{few}");
    let said = format!("{} group", found.len());
    assert!(
        few.contains(&said) && few.contains("among 13 images"),
        "{few}"
    );
    assert_eq!(few.contains("not shown"), found.len() > 1, "{few}");
}

#[test]
fn names_are_optional_and_must_fit() {
    let set = Set::generated();
    picture(&set.path("images/class-1/tab\there.png"), 1, 3);
    set.embed("x.npy", &[]).expect(0);
    let query = ["images/class-1/tab\there.png"];
    let ended = set
        .search("x.npy", &query, &["--top=1", "--json"])
        .expect(0);
    assert_eq!(names_of(&lines(&ended)[0]), ["class-1/3.png"]);
    let ended = set.search("x.npy", &query, &["--top=2"]).expect(0);
    assert!(
        ended.stdout.contains("  1.0000  class-1/tab\\there.png\n"),
        "{}",
        ended.stdout
    );
    let names = fs::read_to_string(set.path("x.txt")).unwrap();
    let short = names.split_once('\n').unwrap().1;
    fs::write(set.path("x.txt"), short).unwrap();
    for ended in [
        set.search("x.npy", &query, &[]),
        set.duplicates("x.npy", &[]),
    ] {
        ended
            .expect(2)
            .says(&["x.txt has 13 names", "14 rows", "protem embed"]);
    }
    fs::remove_file(set.path("x.txt")).unwrap();
    let ended = set
        .duplicates("x.npy", &["--threshold=0.99999", "--json"])
        .expect(0);
    let groups = lines(&ended);
    let rows = names
        .lines()
        .position(|name| name == "class-2/copy.jpg")
        .unwrap();
    let first = groups
        .iter()
        .find(|group| names_of(group).contains(&"0"))
        .unwrap();
    assert!(
        names_of(first).contains(&rows.to_string().as_str()),
        "{first}"
    );
    ended.says(&["no names in", "called by their rows"]);
}

/// A name may hold what would colour a terminal or clear it.
#[test]
#[cfg(unix)]
fn control_characters_in_names_are_not_printed() {
    let set = Set::generated();
    let (name, shown) = (
        "é\u{1b}[31m\u{9b}\u{7f}.png",
        "é\\u001b[31m\\u009b\\u007f.png",
    );
    let image = format!("images/class-1/{name}");
    picture(&set.path(&image), 1, 3);
    fs::copy(set.path(&image), set.path("images/class-2/copy.png")).unwrap();
    let broken = format!("images/class-1/broken{name}");
    fs::write(set.path(&broken), "nothing").unwrap();
    let harmless = |ended: &Ended| {
        let said = ended.stdout.clone() + &ended.stderr;
        assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{7f}']), "{said:?}");
        assert!(said.contains(shown), "{said}");
    };
    let ended = set.embed("x.npy", &[]).expect(0);
    harmless(&ended);
    ended.says(&["skipped class-1/broken"]);
    assert!(set.names().contains(&format!("class-1/{name}")));
    harmless(&set.search("x.npy", &[&image], &["--top=2"]).expect(0));
    harmless(&set.duplicates("x.npy", &["--threshold=0.9999"]).expect(0));
    let inspect = |args: &[&str]| {
        let mut command = protem(&["data", "inspect"]);
        run(command.arg(set.path("images")).args(args)).expect(0)
    };
    harmless(&inspect(&[]));
    // JSON means the same.
    let ended = set
        .search("x.npy", &[&image], &["--top=3", "--json"])
        .expect(0);
    harmless(&ended);
    let found = lines(&ended);
    assert_eq!(found[0]["query"], set.path(&image).to_str().unwrap());
    assert!(names_of(&found[0]).contains(&&*format!("class-1/{name}")));
    let told = &lines(&inspect(&["--json"]))[0];
    assert_eq!(
        told["unreadable"][0]["name"],
        format!("class-1/broken{name}")
    );
}

/// Names of images in an archive begin with that of the archive.
#[test]
fn images_of_an_archive_are_called_by_it_once() {
    let set = Set::generated();
    let mut archive = tar::Builder::new(fs::File::create(set.path("some.tar")).unwrap());
    archive
        .append_dir_all("in", set.path("images/class-1"))
        .unwrap();
    archive.finish().unwrap();
    let ended = set.search("x.npy", &["some.tar"], &["--top=1", "--json"]);
    let queries: Vec<Value> = lines(&ended.expect(0))
        .iter()
        .map(|line| line["query"].clone())
        .collect();
    assert_eq!(queries.len(), 4);
    for name in ["0.jpg", "1.png", "2.jpg", "3.png"] {
        let expected = set.path("some.tar/in").join(name);
        assert!(queries.contains(&expected.to_str().into()), "{queries:?}");
    }
    fs::write(set.path("list.txt"), "images/class-1/2.jpg\n").unwrap();
    let ended = set.search("x.npy", &["list.txt"], &["--top=1"]).expect(0);
    let first = set.path("list.txt/images/class-1/2.jpg");
    assert_eq!(ended.stdout.lines().next(), first.to_str());
}

/// More queries than go together, of which the first ones cannot be read.
#[test]
fn many_queries_are_answered_in_their_order() {
    let set = Set::generated();
    fs::write(set.path("broken.jpg"), "nothing").unwrap();
    let many = format!("{}images/class-0/1.png\n{0}", "broken.jpg\n".repeat(1030));
    fs::write(set.path("list.txt"), many + "images/class-2/copy.jpg\n").unwrap();
    let ended = set.search("x.npy", &["list.txt"], &["--top=1"]).expect(0);
    let path = |name: &str| set.path("list.txt").join(name).display().to_string();
    let expected = [
        &path("images/class-0/1.png"),
        "  1.0000  class-0/1.png",
        &path("images/class-2/copy.jpg"),
        "  1.0000  class-0/0.jpg",
    ];
    assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_be_searched_is_refused_before_the_work() {
    let set = Set::generated();
    let query = ["images/class-0/0.jpg"];
    let refused = |features: &str, args: &[&str], says: &[&str]| {
        set.search(features, &query, args).expect(2).says(says);
    };
    set.embed("e.npy", &["--what=embedding"]).expect(0);
    refused(
        "e.npy",
        &[],
        &["rows of 16 values", "have 32", "--what embedding"],
    );
    refused("x.npy", &["--what=embedding"], &["--what features"]);
    refused("x.npy", &["--top=0"], &["--top"]);
    refused("none.npy", &[], &["none.npy"]);
    refused("x.txt", &[], &["protem embed"]);
    set.search("x.npy", &["nothing.jpg"], &[])
        .expect(2)
        .says(&["nothing.jpg"]);
    for threshold in ["0", "1", "-0.5", "1.5", "nan"] {
        let option = format!("--threshold={threshold}");
        set.duplicates("x.npy", &[&option])
            .expect(2)
            .says(&["above 0 and below 1"]);
    }
    set.duplicates("x.npy", &["--top=0"])
        .expect(2)
        .says(&["--top"]);
    // Another encoder's, with as many rows.
    let other = array(13, 5, |_| 1.0);
    fs::write(set.path("other.npy"), other).unwrap();
    refused(
        "other.npy",
        &[],
        &["rows of 5 values", "protem embed --checkpoint"],
    );
    let holed = array(13, 32, |i| if i == 5 * 32 { f32::NAN } else { 1.0 });
    fs::write(set.path("holed.npy"), holed).unwrap();
    refused("holed.npy", &[], &["row 5", "not finite"]);
    set.duplicates("holed.npy", &[])
        .expect(2)
        .says(&["row 5", "not finite"]);
}

/// What is broken among the second thousand queries is not even read.
#[test]
fn a_search_whose_reader_has_gone_ends() {
    let set = Set::generated();
    let mut queries = vec![set.path("images/class-0/0.jpg"); 1024];
    fs::write(set.path("broken.jpg"), b"\xff\xd8").unwrap();
    queries.push(set.path("broken.jpg"));
    let mut command = protem(&["search", "--checkpoint"]);
    command.arg(set.path("run")).args(&queries);
    command.arg("--features").arg(set.path("x.npy"));
    run(&mut command).expect(0).says(&["broken.jpg"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        ended.status.success() && !said.contains("broken.jpg"),
        "{said}"
    );
}

/// A `.npy` file of so many rows.
fn array(rows: usize, columns: usize, value: impl Fn(usize) -> f32) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").as_bytes());
    bytes.extend((0..rows * columns).flat_map(|i| value(i).to_le_bytes()));
    bytes
}

#[test]
fn queries_that_cannot_be_read_are_passed_over_and_said() {
    let set = Set::generated();
    fs::write(set.path("broken.jpg"), "nothing").unwrap();
    let queries = ["broken.jpg", "images/class-1/0.jpg"];
    let ended = set.search("x.npy", &queries, &["--json"]).expect(0);
    assert_eq!(lines(&ended).len(), 1);
    ended.says(&["skipped", "broken.jpg"]);
    set.search("x.npy", &queries[..1], &[])
        .expect(1)
        .says(&["no image", "can be read"]);
}

/// Photographs, and of each a copy of half the size and one of lower quality.
#[test]
fn copies_of_photographs_are_found() {
    let Some(archive) = real("imagenet-fullsize-50/photos.tar") else {
        return;
    };
    let set = Set::trained(&["data.image_size=64", "encoder.width=8"]);
    let originals = set.path("images/original");
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    archive.unpack(&originals).unwrap();
    let photos = photos(&originals);
    for photo in &photos {
        let image = image::open(photo).unwrap().into_rgb8();
        let (width, height) = image.dimensions();
        let half = image::imageops::resize(&image, width / 2, height / 2, FilterType::Triangle);
        let name = photo.file_stem().unwrap().to_str().unwrap();
        for (kind, image, quality) in [("half", &half, 90), ("quality", &image, 50)] {
            let folder = set.path("images").join(kind);
            fs::create_dir_all(&folder).unwrap();
            let file = fs::File::create(folder.join(format!("{name}.jpg"))).unwrap();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(file, quality);
            image.write_with_encoder(encoder).unwrap();
        }
    }
    set.embed("x.npy", &[]).expect(0);
    let (names, cosines) = (set.names(), set.cosines());
    let stem = |name: &str| {
        let stem = Path::new(name).file_stem().unwrap();
        stem.to_str().unwrap().to_owned()
    };
    // Copies are more alike than any two photographs, by this encoder of a moment.
    let (mut copies, mut others) = (f64::MAX, f64::MIN);
    for (a, b) in (0..names.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
        match stem(&names[a]) == stem(&names[b]) {
            true => copies = copies.min(cosines[a][b]),
            false => others = others.max(cosines[a][b]),
        }
    }
    assert!(copies > others, "{copies} {others}");
    let threshold = format!("--threshold={}", (copies + others) / 2.0);
    let found = lines(&set.duplicates("x.npy", &[&threshold, "--json"]).expect(0));
    assert_eq!(found.len(), photos.len());
    for group in &found {
        let names = names_of(group);
        assert_eq!(names.len(), 3, "{group}");
        assert!(
            names.iter().all(|name| stem(name) == stem(names[0])),
            "{group}"
        );
    }
    let ended = set
        .search("x.npy", &["images/quality"], &["--top=3", "--json"])
        .expect(0);
    for line in lines(&ended) {
        let query = stem(line["query"].as_str().unwrap());
        assert!(
            names_of(&line).iter().all(|name| stem(name) == query),
            "{line}"
        );
    }
}

/// All files below a folder.
fn photos(folder: &Path) -> Vec<PathBuf> {
    let found = files(folder).into_iter();
    found
        .flat_map(|path| match path.is_dir() {
            true => photos(&path),
            false => vec![path],
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("jpeg") || e == "jpg")
        })
        .collect()
}
