//! Training on real files, and what comes after it: kNN, features.

use protem_tests::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Settings that make a run on the tests' own pictures short.
const SMALL: [&str; 10] = [
    "--set=data.image_size=16",
    "--set=encoder.width=4",
    "--set=encoder.dim=16",
    "--set=optim.batch=8",
    "--set=optim.epochs=2",
    "--set=method.warmup_epochs=1",
    "--set=encoder.split_bn=1",
    "--set=method.queue=16",
    "--set=method.clusters=[4, 8]",
    "--set=e_step.restarts=1",
];

fn train(folder: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["train"]);
    command.arg(folder).arg("--out").arg(out);
    run(command.args(SMALL).args(args))
}

#[test]
fn real_images_from_training_to_features() {
    let Some(images) = real("cifar10-tiny/train") else {
        return;
    };
    let test = images.with_file_name("test");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let config = workspace().join("configs/cifar10.toml");
    let mut command = protem(&["train"]);
    command.arg(&images).arg("--config").arg(config);
    command.arg("--out").arg(&out);
    let short = [
        "encoder.width=4",
        "optim.epochs=2",
        "optim.batch=100",
        "method.queue=500",
        "method.warmup_epochs=1",
        "method.clusters=[20, 50]",
        "encoder.split_bn=1",
        "e_step.restarts=1",
        "eval.knn_every=1",
    ];
    short.iter().for_each(|pair| {
        command.args(["--set", pair]);
    });
    let ended = run(&mut command).expect(0);
    assert!(ended.stdout.contains("kNN"), "{}", ended.stdout);
    let epochs = metrics_of(&out, "epoch");
    assert_eq!(epochs.len(), 2);
    assert!(
        epochs[1]["knn_top1"].as_f64().unwrap() > 0.1,
        "{}",
        epochs[1]
    );

    let checkpoint = checkpoints(&out).pop().unwrap();
    let mut command = protem(&["eval", "knn", "--json", "--k", "20", "--checkpoint"]);
    command.arg(&checkpoint).arg("--train").arg(&images);
    let ended = run(command.arg("--test").arg(&test)).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(found["top1"].as_f64().unwrap() > 0.1, "{found}");
    assert_eq!(found["protocol"]["k"], 20);
    assert_eq!(found["protocol"]["test"]["images"], count(&test));

    let mut command = protem(&["eval", "linear", "--json", "--threads=1", "--checkpoint"]);
    command.arg(&checkpoint).arg("--train").arg(&images);
    let ended = run(command.arg("--test").arg(&test)).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(found["top1"].as_f64().unwrap() > 0.1, "{found}");
    let (protocol, tried) = (&found["protocol"], &found["protocol"]["chosen_by"]["tried"]);
    assert_eq!(tried.as_array().unwrap().len(), 13, "{found}");
    assert_eq!(protocol["converged"], true, "{found}");
    assert_eq!(protocol["train"]["images"], count(&images), "{found}");

    let mut command = protem(&["eval", "svm", "--json", "--checkpoint"]);
    command.arg(&checkpoint).arg("--train").arg(&images);
    let ended = run(command.arg("--test").arg(&test)).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    for measure in ["map", "top1"] {
        assert!(found[measure].as_f64().unwrap() > 0.1, "{found}");
    }

    let mut command = protem(&["eval", "ami", "--json", "--k", "10", "--checkpoint"]);
    let ended = run(command.arg(&checkpoint).arg("--data").arg(&test)).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    for measure in ["ami", "nmi", "ari"] {
        let value = found[measure].as_f64().unwrap();
        assert!(value > 0.0 && value < 1.0, "{found}");
    }
    assert_eq!(found["protocol"]["data"]["images"], count(&test));

    let features = folder.path().join("x.npy");
    let mut command = protem(&["embed", "--checkpoint"]);
    command.arg(&checkpoint).arg("--data").arg(&test);
    run(command.arg("--out").arg(&features)).expect(0);
    let bytes = fs::read(&features).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(
        header.contains(&format!("({}, 32)", count(&test))),
        "{header}"
    );
    assert_eq!(bytes.len(), 128 + count(&test) * 32 * 4);
    let names = fs::read_to_string(features.with_extension("txt")).unwrap();
    assert_eq!(names.lines().count(), count(&test));

    // Embeddings are those that an E-step clusters: of length 1.
    let ended = run(command.arg("--what=embedding")).expect(0);
    assert!(ended.stdout.contains("embeddings in"), "{}", ended.stdout);
    let bytes = fs::read(&features).unwrap();
    let values = bytes[128..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let values: Vec<f32> = values.collect();
    for row in values.chunks_exact(values.len() / count(&test)) {
        let length = row.iter().map(|x| x * x).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

/// Without other images an encoder is measured on its run's own, as the run measured it.
#[test]
fn a_run_is_measured_on_its_own_images() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    class_folders(&images, 2, 20);
    train(&images, &out, &["--set", "eval.knn_every=1"]).expect(0);
    let knn = |args: &[&str]| {
        let mut command = protem(&["eval", "knn", "--json", "--checkpoint"]);
        run(command.arg(&out).args(args))
    };
    let found: Value = serde_json::from_str(&knn(&[]).expect(0).stdout).unwrap();
    let last = metrics_of(&out, "epoch").pop().unwrap();
    assert_eq!(found["top1"], last["knn_top1"], "{found} {last}");
    let [train_set, test_set] = ["train", "test"].map(|set| &found["protocol"][set]);
    assert_eq!(test_set["part"], "kept out of training");
    let both = [train_set, test_set].map(|set| set["images"].as_u64().unwrap());
    assert_eq!(both.iter().sum::<u64>(), 40, "{found}");
    knn(&["--test", "x"]).expect(2).says(&["--train"]);
    // One that can no longer be read is still of the run.
    let torn = files(&files(&images)[0]).pop().unwrap();
    let whole = fs::read(&torn).unwrap();
    fs::write(&torn, "torn").unwrap();
    let less: Value = serde_json::from_str(&knn(&[]).expect(0).stdout).unwrap();
    let unreadable = ["train", "test"].map(|set| less["protocol"][set]["unreadable"].as_u64());
    assert_eq!(unreadable.into_iter().flatten().sum::<u64>(), 1, "{less}");
    fs::write(&torn, whole).unwrap();
    // Of checkpoints alone it is not known what was left out; the images tell.
    let copy = folder.path().join("copy/checkpoints");
    fs::create_dir_all(&copy).unwrap();
    let newest = checkpoints(&out).pop().unwrap();
    let copied = copy.join(newest.file_name().unwrap());
    fs::copy(&newest, &copied).unwrap();
    let mut command = protem(&["eval", "knn", "--json", "--checkpoint"]);
    run(command.arg(&copied)).expect(0);
    // Other images by the same name are other images.
    fs::remove_file(&files(&files(&images)[0])[0]).unwrap();
    knn(&[])
        .expect(2)
        .says(&["name labelled images with --train"]);
    fs::remove_dir_all(&images).unwrap();
    fs::create_dir(&images).unwrap();
    (0..12).for_each(|i| picture(&images.join(format!("{i}.png")), 0, i));
    train(&images, &out, &["--overwrite"]).expect(0);
    knn(&[]).expect(2).says(&["no images with classes"]);
}

fn count(folder: &Path) -> usize {
    files(folder).iter().map(|class| files(class).len()).sum()
}

#[test]
fn metrics_are_lines_of_the_documented_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    class_folders(&images, 2, 20);
    fs::write(
        images.join("class-0/broken.jpg"),
        b"\xff\xd8\xff no picture",
    )
    .unwrap();
    let ended = train(&images, &out, &["--set", "method.negatives=100"]).expect(0);
    let kinds: BTreeSet<String> = metrics(&out)
        .iter()
        .map(|line| line["event"].as_str().unwrap().to_owned())
        .collect();
    let documented = ["run", "step", "e_step", "epoch", "eval", "done"];
    assert_eq!(kinds, documented.map(str::to_owned).into());
    for epoch in metrics_of(&out, "epoch") {
        for key in [
            "epoch",
            "loss",
            "loss_instance",
            "knn_top1",
            "effective_rank",
            "images_per_second",
            "seconds",
            "waited_seconds",
            "chance",
        ] {
            assert!(epoch[key].is_number(), "{key} in {epoch}");
        }
        let prototypes = epoch["epoch"] == 2;
        assert_eq!(epoch["loss_prototype"].is_number(), prototypes, "{epoch}");
        assert_eq!(epoch["chance"].as_f64().unwrap(), 17f64.ln());
    }
    // A tenth of each class of 20 is held out.
    assert_eq!(metrics_of(&out, "run")[0]["images"], 36);
    for said in [
        "chance 2.83",
        "rank ",
        "kNN ",
        "note: method.negatives = 100",
        "skipped class-0/broken.jpg",
    ] {
        assert!(ended.stdout.contains(said), "{said} in {}", ended.stdout);
    }
    let quarantine = fs::read_to_string(out.join("quarantine.tsv")).unwrap();
    assert!(
        quarantine.starts_with("class-0/broken.jpg\t"),
        "{quarantine}"
    );
    assert_eq!(quarantine.lines().count(), 1);
}

#[test]
fn churn_is_told_from_the_second_e_step_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let ended = run(&mut tiny(&out, &[], &[])).expect(0);
    let churn: Vec<bool> = metrics_of(&out, "epoch")
        .iter()
        .map(|epoch| epoch["ami_previous"].is_number())
        .collect();
    assert_eq!(churn, [false, false, true]);
    assert!(ended.stdout.contains("AMI to last"), "{}", ended.stdout);
    assert_eq!(metrics_of(&out, "e_step").len(), 4);
}

#[test]
fn flat_and_nested_folders_train() {
    let folder = tempfile::tempdir().unwrap();
    let flat = folder.path().join("flat");
    fs::create_dir(&flat).unwrap();
    (0..20).for_each(|i| picture(&flat.join(format!("{i:02}.png")), i % 3, i));
    let out = folder.path().join("of-flat");
    train(&flat, &out, &[]).expect(0);
    let epochs = metrics_of(&out, "epoch");
    assert!(epochs[1]["knn_top1"].is_null() && epochs[1]["effective_rank"].is_number());
    assert_eq!(metrics_of(&out, "run")[0]["images"], 20);

    let nested = folder.path().join("nested");
    class_folders(&nested.join("holiday/2024"), 2, 6);
    class_folders(&nested.join("work"), 2, 6);
    let out = folder.path().join("of-nested");
    train(&nested, &out, &[]).expect(0);
    assert_eq!(metrics_of(&out, "run")[0]["classes"], 2);
}

#[test]
fn a_test_folder_is_measured_on() {
    let folder = tempfile::tempdir().unwrap();
    let (images, test) = (folder.path().join("images"), folder.path().join("test"));
    class_folders(&images, 2, 10);
    class_folders(&test, 2, 3);
    let out = folder.path().join("run");
    train(&images, &out, &["--test", test.to_str().unwrap()]).expect(0);
    assert_eq!(metrics_of(&out, "run")[0]["images"], 20);
    let protocol = metrics_of(&out, "eval")[0]["protocol"].to_string();
    assert!(protocol.contains("6 test images"), "{protocol}");
    let other = folder.path().join("other");
    class_folders(&other, 3, 3);
    let out = folder.path().join("refused");
    let ended = train(&images, &out, &["--test", other.to_str().unwrap()]);
    ended.expect(2).says(&["same classes"]);
    // The same folder by another name.
    let again = format!("folder:{}/../images", test.display());
    let ended = train(&images, &out, &["--test", &again]);
    ended.expect(2).says(&["would find itself"]);
}

#[test]
fn a_run_on_odd_images_skips_the_damaged_ones() {
    let Some(tar) = real("odd-images/odd.tar") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("odd");
    fs::create_dir(&images).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("xf").arg(tar).arg("-C").arg(&images);
    assert!(unpack.status().unwrap().success());
    let out = folder.path().join("run");
    train(&images, &out, &["--set", "data.max_unreadable=0.5"]).expect(0);
    let quarantine = fs::read_to_string(out.join("quarantine.tsv")).unwrap();
    assert!(quarantine.contains("zero_byte.jpg"), "{quarantine}");
    // Without that much patience the run is refused, with the list.
    let refused = folder.path().join("refused");
    let ended = train(&images, &refused, &["--set", "data.max_unreadable=0.01"]);
    ended.expect(1).says(&["zero_byte.jpg", "max_unreadable"]);
    assert!(!refused.exists());
}

#[test]
fn evaluation_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["eval.knn_every=0"])).expect(0);
    assert!(metrics_of(&out, "eval").is_empty());
    assert!(
        metrics_of(&out, "epoch")
            .iter()
            .all(|e| e["knn_top1"].is_null())
    );
    run(&mut tiny(&out, &["--overwrite"], &["eval.knn_every=2"])).expect(0);
    let measured: Vec<bool> = metrics_of(&out, "epoch")
        .iter()
        .map(|e| e["knn_top1"].is_number())
        .collect();
    assert_eq!(measured, [false, true, true]);
}

#[test]
fn accumulated_batches_make_one_step_and_the_rest_a_smaller_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.accumulate=4"])).expect(0);
    let begun = &metrics_of(&out, "run")[0];
    assert_eq!(begun["steps_per_epoch"], 2); // 6 batches: 4 and 2
    let steps = metrics_of(&out, "step");
    assert_eq!(steps.len(), 6);
    // An epoch's loss is the mean over its batches, a step's over the step's.
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    let mean = (4.0 * loss(&steps[0]) + 2.0 * loss(&steps[1])) / 6.0;
    assert!((mean - loss(&metrics_of(&out, "epoch")[0])).abs() < 1e-9);
    assert_eq!(metrics_of(&out, "done")[0]["step"], 6);
}

#[test]
fn the_generated_set_has_to_be_learned() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = protem(&["train", "--set", "optim.epochs=1", "--out"]);
    run(command.arg(&out)).expect(0);
    for eval in metrics_of(&out, "eval") {
        let (what, top1) = (eval["features"].as_str(), eval["top1"].as_f64().unwrap());
        match what.unwrap() {
            "raw_pixels" => assert!(top1 < 0.4, "{eval}"),
            // What training reaches above it was learned.
            "untrained" => assert!(top1 < 0.6, "{eval}"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(metrics_of(&out, "eval").len(), 2);
}

#[test]
fn kept_images_and_parts_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    class_folders(&images, 2, 20);
    let out = |name: &str| folder.path().join(name);
    let parts =
        "augment.parts=[{part = \"flip\", p = 0.5}, {part = \"solarize\", threshold = 128}]";
    let plain = train(&images, &out("plain"), &["--set", parts]);
    plain.expect(0);
    let set = ["--set", parts, "--set", "data.cache_mib=1"];
    train(&images, &out("cached"), &set).expect(0);
    let metrics = timeless_metrics(&out("plain"));
    // Not the first line, which tells the settings.
    assert_eq!(metrics[1..], timeless_metrics(&out("cached"))[1..]);
    train(&images, &out("recipe"), &[]).expect(0);
    assert_ne!(metrics[1..], timeless_metrics(&out("recipe"))[1..]);
    let set = ["--set", "data.max_pixels=100"];
    let ended = train(&images, &out("limited"), &set).expect(1);
    ended.says(&["pixels, the limit is 100", "data.max_unreadable"]);
}
