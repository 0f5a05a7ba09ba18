//! `eval svm`: images of several classes each, of one, few of them, and what cannot be measured.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A devkit of two splits of 24 images: every third has stripes of another direction than the others.
/// They have class `along`, the others `across`, every fourth `fourth` too; one of the training split
/// has `alone`, and none of the test split.
fn devkit(root: &Path) {
    let year = root.join("VOC2007");
    for folder in ["JPEGImages", "ImageSets/Main"] {
        fs::create_dir_all(year.join(folder)).unwrap();
    }
    for (split, first) in [("trainval", 0), ("test", 100)] {
        let images = || first..first + 24;
        for i in images() {
            let class = u32::from(i % 3 == 0);
            picture(&year.join(format!("JPEGImages/{i:06}.jpg")), class, i);
        }
        list(root, split, "along", &|i| i % 3 == 0);
        list(root, split, "across", &|i| i % 3 != 0);
        list(root, split, "fourth", &|i| i % 4 == 0);
        list(root, split, "alone", &|i| i == 7);
        let ids: String = images().map(|i| format!("{i:06}\n")).collect();
        fs::write(year.join(format!("ImageSets/Main/{split}.txt")), ids).unwrap();
    }
}

/// Which images of a split have a class; the others are difficult and not, in turn.
fn list(root: &Path, split: &str, class: &str, has: &dyn Fn(u32) -> bool) {
    let first = if split == "test" { 100 } else { 0 };
    let line = |i| {
        let flag = match (has(i), i % 2) {
            (true, _) => "1",
            (false, 0) => "-1",
            (false, _) => "0",
        };
        format!("{i:06} {flag}\n")
    };
    let lines: String = (first..first + 24).map(line).collect();
    let file = format!("VOC2007/ImageSets/Main/{class}_{split}.txt");
    fs::write(root.join(file), lines).unwrap();
}

fn svm(checkpoint: &Path, sets: [&str; 2], args: &[&str]) -> Ended {
    let mut command = protem(&["eval", "svm", "--train", sets[0], "--test", sets[1]]);
    run(command.args(args).arg("--checkpoint").arg(checkpoint))
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

/// A run of a moment on the generated images.
fn encoder(folder: &Path) -> std::path::PathBuf {
    let out = folder.join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    out
}

#[test]
fn images_of_several_classes_are_ranked_by_each() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("devkit");
    devkit(&root);
    let out = encoder(folder.path());
    let sets = ["trainval", "test"].map(|split| format!("{}?split={split}", root.display()));
    let sets = sets.each_ref().map(String::as_str);

    let ended = svm(&out, sets, &["--json"]).expect(0);
    ended.says(&["not measured", r#"["alone"]"#]);
    let found = json_of(&svm(&out, sets, &["--json", "--threads=1"]));
    let ap = |class: &str| {
        let all = found["ap"].as_array().unwrap();
        let of = all.iter().find(|ap| ap["class"] == class).unwrap();
        of["ap"].as_f64()
    };
    assert_eq!((ap("alone"), found["top1"].as_f64()), (None, None));
    // What anybody sees, and what nobody can.
    assert!(
        ap("along").unwrap() > 0.9 && ap("across").unwrap() > 0.9,
        "{found}"
    );
    assert!(ap("fourth").unwrap() < 0.7, "{found}");
    let mean = (ap("along").unwrap() + ap("across").unwrap() + ap("fourth").unwrap()) / 3.0;
    assert!((found["map"].as_f64().unwrap() - mean).abs() < 1e-12);
    let protocol = &found["protocol"];
    assert_eq!(
        (&protocol["classes"], &protocol["classes_measured"]),
        (&4.into(), &3.into())
    );
    assert_eq!(
        (&protocol["cost"], &protocol["converged"]),
        (&0.5.into(), &true.into())
    );
    let said = svm(&out, sets, &["--cost=2"]).expect(0).stdout;
    assert!(
        said.contains("3 classes, C 2; 24 training and 24 test"),
        "{said}"
    );

    // Whoever has difficult objects alone is one of those without.
    for split in ["trainval", "test"] {
        let file = root.join(format!("VOC2007/ImageSets/Main/along_{split}.txt"));
        let lines = fs::read_to_string(&file).unwrap();
        assert!(lines.contains(" 0\n"));
        fs::write(&file, lines.replace(" 0\n", " -1\n")).unwrap();
    }
    assert_eq!(json_of(&svm(&out, sets, &["--json"]))["ap"], found["ap"]);
}

#[test]
fn few_images_are_drawn_by_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("devkit");
    devkit(&root);
    let out = encoder(folder.path());
    let sets = ["trainval", "test"].map(|split| format!("{}?split={split}", root.display()));
    let sets = sets.each_ref().map(String::as_str);
    let drawn = |args: &[&str]| json_of(&svm(&out, sets, &[args, &["--json"]].concat()).expect(0));

    let found = drawn(&["--shots=1,4,30", "--draws=3", "--threads=1"]);
    let rows = found["low_shot"].as_array().unwrap();
    let shots: Vec<&Value> = rows.iter().map(|row| &row["shots"]).collect();
    assert_eq!(shots, [1, 4, 30]);
    for row in rows {
        let draws = row["map"]["draws"].as_array().unwrap();
        let draws: Vec<f64> = draws.iter().map(|map| map.as_f64().unwrap()).collect();
        let mean = draws.iter().sum::<f64>() / 3.0;
        let square = draws.iter().map(|map| (map - mean).powi(2)).sum::<f64>() / 3.0;
        for (measured, expected) in [("mean", mean), ("deviation", square.sqrt())] {
            let measured = row["map"][measured].as_f64().unwrap();
            assert!((measured - expected).abs() < 1e-12, "{row}");
        }
    }
    assert_eq!(found["protocol"]["learnt_from"]["draws"], 3);
    // The same on other threads, and without the others beside it; another with another seed.
    let alone = drawn(&["--shots=4", "--draws=3", "--threads=3"]);
    assert_eq!(alone["low_shot"][0], rows[1]);
    let other = drawn(&["--shots=4", "--draws=3", "--seed=1"]);
    assert_ne!(other["low_shot"][0], rows[1]);
    // All that there are, in any order, are the same classifier but for rounding.
    let last = rows[2]["map"]["deviation"].as_f64().unwrap();
    assert!(last < 1e-6, "{found}");
    let ended = svm(&out, sets, &["--shots=1,30", "--draws=1"]).expect(0);
    let ended = ended.says(&["4 classes with fewer than 30 images", "alone with 1"]);
    let said = ended.stdout;
    assert!(said.contains("mean ± deviation of 1 draw ("), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(
        said.contains("\n   30  mAP ") && !said.contains("top-1"),
        "{said}"
    );
}

#[test]
fn machines_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = encoder(folder.path());
    let (train, test) = (folder.path().join("train"), folder.path().join("test"));
    class_folders(&train, 2, 6);
    class_folders(&test, 2, 3);
    let sets = [&train, &test].map(|set| set.to_str().unwrap());
    let said = svm(&out, sets, &[]).expect(0).stdout;
    assert!(said.contains("mAP") && said.contains("top-1"), "{said}");
    let said = svm(&out, sets, &["--shots=2"]).expect(0).stdout;
    assert!(
        said.contains("of 5 draws") && said.contains("top-1"),
        "{said}"
    );
    // Without names, on the run's own images.
    let mut own = protem(&["eval", "svm", "--json", "--checkpoint"]);
    let found = json_of(&run(own.arg(&out)).expect(0));
    assert_eq!(found["protocol"]["train"]["part"], "trained on");
    assert!(found["top1"].is_number(), "{found}");

    for cost in ["0", "-1", "nan", "inf", "1e7"] {
        let ended = svm(&out, sets, &["--cost", cost]).expect(2);
        ended.says(&["--cost: ", "above 0 and at most"]);
    }
    for shots in ["0", "1,0"] {
        let ended = svm(&out, sets, &["--shots", shots]).expect(2);
        ended.says(&["--shots", "at least 1"]);
    }
    for draws in ["0", "1001"] {
        let ended = svm(&out, sets, &["--shots=1", "--draws", draws]).expect(2);
        ended.says(&["between 1 and 1000"]);
    }
    svm(&out, sets, &["--draws=3"]).expect(2).says(&["--shots"]);
    svm(&out, [sets[0]; 2], &[])
        .expect(2)
        .says(&["would find itself"]);
    let flat = folder.path().join("flat");
    fs::create_dir(&flat).unwrap();
    picture(&flat.join("a.png"), 0, 0);
    let flat = flat.to_str().unwrap();
    svm(&out, [sets[0], flat], &[])
        .expect(2)
        .says(&["no classes"]);
    // Classes that only the training images have, and only the test images.
    let root = folder.path().join("devkit");
    devkit(&root);
    for class in ["along", "across", "fourth", "alone"] {
        list(&root, "test", class, &|_| false);
    }
    let apart = ["trainval", "test"].map(|split| format!("{}?split={split}", root.display()));
    let ended = svm(&out, apart.each_ref().map(String::as_str), &[]).expect(2);
    ended.says(&["no class has both training and test images"]);
}

/// Chance is the mean share of the classes, 7.3 %.
#[test]
fn the_real_devkit_is_ranked() {
    let Some(archive) = real("voc2007-lite-dev/VOCdevkit.tar") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(fs::File::open(archive).unwrap())
        .unpack(folder.path())
        .unwrap();
    let out = encoder(folder.path());
    let root = folder.path().join("VOCdevkit");
    let sets = ["trainval", "test"].map(|split| format!("{}?split={split}", root.display()));
    let sets = sets.each_ref().map(String::as_str);
    let found = json_of(&svm(&out, sets, &["--json"]).expect(0));
    assert!(found["map"].as_f64().unwrap() > 0.09, "{found}");
    assert_eq!(found["protocol"]["classes_measured"], 20);
    assert_eq!(found["protocol"]["converged"], true);
    let found = json_of(&svm(&out, sets, &["--json", "--shots=16", "--draws=2"]).expect(0));
    assert!(
        found["low_shot"][0]["map"]["mean"].as_f64().unwrap() > 0.08,
        "{found}"
    );
}
