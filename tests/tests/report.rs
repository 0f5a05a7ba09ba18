//! `protem report` from outside: a run as a page.

use protem_tests::*;
use std::fs;
use std::io::Write;
use std::path::Path;

fn report(run_folder: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["report"]);
    run(command.arg(run_folder).args(args))
}

fn page(run_folder: &Path, args: &[&str]) -> String {
    report(run_folder, args).expect(0);
    fs::read_to_string(run_folder.join("report.html")).unwrap()
}

#[track_caller]
fn has(page: &str, all: &[&str]) {
    for part in all {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
}

#[test]
fn a_run_on_files_becomes_a_page() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("<im> & \"ages\"");
    class_folders(&images, 2, 24);
    let odd = images.join("class-0/a<b>&\"c.png");
    picture(&odd, 0, 99);
    let out = root.path().join("run");
    let set = [
        "optim.epochs=2",
        "method.clusters=[3, 6]",
        "method.queue=32",
        "method.negatives=3",
    ];
    let mut command = tiny(&out, &[], &set);
    run(command.arg("--data").arg(&images)).expect(0);

    let first = page(&out, &["--images", "30", "--threads", "1"]);
    has(
        &first,
        &[
            "Finished: 2 epochs",
            "&lt;im&gt; &amp; &quot;ages&quot;",
            "alt=\"class-0/a&lt;b&gt;&amp;&quot;c.png\"",
            "data:image/jpeg;base64,/9j/",
            "of the images are of the commonest class of their cluster",
            " % <bdi>class-",
            "Some of the 3 clusters",
            "by the key encoder of step",
            "raw pixels",
            "</html>",
        ],
    );
    for outside in ["<script", "src=\"http", "href=", "a<b>"] {
        assert!(!first.contains(outside), "{outside}");
    }
    let fetched = first.matches("url(").count();
    assert_eq!(
        (
            fetched,
            first.matches("url(data:image/jpeg;base64,/9j/").count()
        ),
        (1, 1)
    );
    // Each image is in one cluster, and all of them are shown.
    let kept = metrics_of(&out, "run")[0]["images"].as_u64().unwrap() as usize;
    assert_eq!(first.matches("<img ").count(), kept);
    // And on the map, which knows their classes and clusters.
    let points = first.matches("<input type=\"radio\"").count();
    assert_eq!(points, kept);
    has(
        &first,
        &[
            &format!("All {kept} images by their features"),
            "Colours are classes.",
            "<b><i></i>class-0/a&lt;b&gt;&amp;&quot;c.png<br>class-0, cluster ",
            "class-1</bdi> <b>",
        ],
    );
    // The same on any number of threads, and an earlier report is replaced.
    assert_eq!(first, page(&out, &["--images", "30", "--threads", "2"]));

    let of_six = page(&out, &["--k", "6", "--clusters", "3", "--images", "2"]);
    has(
        &of_six,
        &[
            "Some of the 6 clusters",
            "The largest",
            "The tightest",
            "The loosest",
        ],
    );
    assert_eq!(of_six.matches("<img ").count(), 6);
    report(&out, &["--k", "7"]).expect(2).says(&["[3, 6]"]);

    let without = page(&out, &["--no-images"]);
    has(
        &without,
        &[
            "Without images, as was asked for.",
            "Without a map, as was asked for.",
            " % <bdi>class-",
        ],
    );
    assert!(!without.contains("<img ") && !without.contains("<input"));
    let few = page(&out, &["--map-images", "10"]);
    has(&few, &[&format!("10 of the {kept} images, evenly spread")]);
    assert_eq!(few.matches("<input type=\"radio\"").count(), 10);
    let ended = report(&out, &["--map-images", "0"]).expect(0);
    assert!(
        ended.stdout.contains("no map, 3 clusters"),
        "{}",
        ended.stdout
    );
    report(&out, &["--map-images", "10001"])
        .expect(2)
        .says(&["10000"]);

    // One that has gone bad since is left out.
    fs::write(&odd, "no image any more").unwrap();
    let ended = report(&out, &["--images", "30"])
        .expect(0)
        .says(&["skipped class-0/a<b>"]);
    assert!(
        ended.stdout.contains("3 clusters shown by"),
        "{}",
        ended.stdout
    );
    let bad = fs::read_to_string(out.join("report.html")).unwrap();
    has(&bad, &["1 image cannot be read and is left out."]);
    assert_eq!(bad.matches("<img ").count(), kept - 1);
    assert_eq!(bad.matches("<input type=\"radio\"").count(), kept - 1);

    // Other images are none of the run's, and neither are none.
    fs::remove_file(&odd).unwrap();
    fs::remove_file(images.join("class-1/1.png")).unwrap();
    let other = page(&out, &[]);
    has(
        &other,
        &[
            "Without images, which are not to be found",
            "Without a map, as the images are not to be found",
            "Some of the 3 clusters",
        ],
    );
    fs::remove_dir_all(&images).unwrap();
    report(&out, &[]).expect(0).says(&["images are left out"]);
}

#[test]
fn what_a_run_has_not_is_said() {
    let root = tempfile::tempdir().unwrap();
    let moco = root.path().join("moco");
    run(&mut tiny(&moco, &[], &["mode=moco-v2", "optim.epochs=1"])).expect(0);
    has(
        &page(&moco, &[]),
        &["one of MoCo: it makes no clusters", "moco-v2", "Map of "],
    );
    report(&moco, &["--k", "5"]).expect(2).says(&["MoCo"]);

    let warm = root.path().join("warm");
    let set = ["optim.epochs=2", "method.warmup_epochs=2"];
    run(&mut tiny(&warm, &[], &set)).expect(0);
    has(
        &page(&warm, &[]),
        &["the warm-up of 2 epochs is the whole run"],
    );

    // Torn lines, and checkpoints that are none: what is left is told.
    let metrics = warm.join("metrics.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&metrics).unwrap();
    file.write_all(b"\xff\xfe\n{\"event\":\"ep").unwrap();
    for path in checkpoints(&warm) {
        fs::write(path, "torn").unwrap();
    }
    let torn = page(&warm, &[]);
    has(
        &torn,
        &[
            "Without 2 lines of metrics.jsonl that cannot be read",
            "no checkpoint that can be read, and so no map",
            "no checkpoint that can be read, and so no clusters",
        ],
    );
    fs::remove_dir_all(warm.join("checkpoints")).unwrap();
    fs::remove_file(&metrics).unwrap();
    has(
        &page(&warm, &[]),
        &["no line of how the run began", "nothing to draw"],
    );
    report(&warm, &[]).expect(0).says(&["no metrics are left"]);
    // As a copy leaves it that passes over hidden files.
    fs::remove_file(warm.join(".lock")).unwrap();
    report(&warm, &[]).expect(0);
}

#[test]
fn nothing_else_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let mine = root.path().join("mine.html");
    fs::write(&mine, "<!DOCTYPE html><p>mine").unwrap();
    let to = |path: &Path| report(&out, &["--no-images", "--out", path.to_str().unwrap()]);
    to(&mine).expect(2).says(&["is no report", "--out"]);
    assert_eq!(fs::read(&mine).unwrap(), b"<!DOCTYPE html><p>mine");
    to(&out.join("config.toml")).expect(2).says(&[".html"]);
    to(root.path()).expect(2).says(&["is a folder"]);
    let new = root.path().join("new/report.html");
    to(&new).expect(0);
    to(&new).expect(0);
    report(root.path(), &[]).expect(2).says(&["holds no run"]);
    report(&out, &["--images", "0"])
        .expect(2)
        .says(&["--no-images"]);
    // A run that takes the place of another takes that of its report.
    to(&out.join("report.html")).expect(0);
    run(&mut tiny(&out, &["--overwrite"], &["optim.epochs=1"])).expect(0);
    assert!(!out.join("report.html").exists());
}

#[test]
fn without_classes_a_map_has_the_colours_of_clusters() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("images");
    fs::create_dir_all(&images).unwrap();
    (0..40).for_each(|i| picture(&images.join(format!("{i}.png")), i % 3, i));
    let out = root.path().join("run");
    let set = [
        "optim.epochs=2",
        "method.clusters=[3, 6]",
        "method.queue=32",
        "method.negatives=3",
    ];
    let mut command = tiny(&out, &[], &set);
    run(command.arg("--data").arg(&images)).expect(0);
    let page = page(&out, &[]);
    has(
        &page,
        &[
            "Colours are clusters.",
            "<br>cluster ",
            "cluster 0</bdi> <b>",
        ],
    );
}
