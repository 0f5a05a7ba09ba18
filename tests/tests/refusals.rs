//! What cannot work is refused before it costs anything, with what would.

use protem_tests::*;
use std::fs;
use std::path::Path;

fn refused(args: &[&str], set: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, args, set)).expect(2).says(words);
    assert!(!out.exists(), "{words:?}: a run's folder was made");
}

#[test]
fn settings_that_cannot_work() {
    refused(
        &[],
        &["method.clusters=[97]"],
        &["K = 97", "96 training images", "2 to 96"],
    );
    refused(&[], &["method.clusters=[1]"], &["K = 1", "at least 2"]);
    refused(
        &[],
        &["method.queue=50"],
        &["method.queue = 50", "48 or 64"],
    );
    refused(&[], &["optim.batch=200"], &["optim.batch = 200", "64 say"]);
    refused(
        &[],
        &["method.temperature=0"],
        &["method.temperature = 0", "0.2"],
    );
    refused(
        &[],
        &["method.momentum=0.99999999999"],
        &["method.momentum = 0.99999999999", "below 1"],
    );
    refused(
        &[],
        &["encoder.width=0"],
        &["encoder.width = 0", "from 1 to 1024"],
    );
    refused(
        &[],
        &["optim.lrr=1"],
        &["--set optim.lrr=1", "did you mean optim.lr?"],
    );
    refused(
        &[],
        &["optim.lr=fast"],
        &["--set optim.lr=fast", "invalid type"],
    );
    refused(&[], &["optim.lr"], &["KEY=VALUE"]);
    refused(&[], &["method.clusters=100"], &["a list, such as [100"]);
    refused(&[], &["mode=simclr"], &["--set mode=simclr", "pcl-v2"]);
    refused(&["--test", "somewhere"], &[], &["training folder"]);
    refused(
        &["nowhere/at/all"],
        &[],
        &["there is no folder", "nowhere/at/all"],
    );
}

#[test]
fn folders_that_hold_too_little() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let path = images.to_str().unwrap();
    fs::write(images.join("notes.txt"), "no image").unwrap();
    refused(&[path], &[], &["looked for", "jpg", "notes.txt"]);
    picture(&images.join("one.png"), 0, 0);
    refused(&[path], &[], &["to learn from: 1,", "at least 4"]);
}

#[test]
fn config_files_and_variables_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("mine.toml");
    let out = folder.path().join("run");
    for (text, words) in [
        (
            "[optim]\nlearning_rate = 1",
            vec!["mine.toml", "optim.learning_rate", "did you mean"],
        ),
        (
            "[optim]\nbatch = \"many\"",
            vec!["mine.toml", "invalid type"],
        ),
        ("[optim\nbatch = 1", vec!["mine.toml", "not TOML"]),
        (
            "[optimizer]\nbatch = 16",
            vec!["mine.toml", "did you mean optim.batch?"],
        ),
    ] {
        fs::write(&config, text).unwrap();
        let mut command = protem(&["train", "--config"]);
        command.arg(&config).arg("--out").arg(&out);
        run(&mut command).expect(2).says(&words);
    }
    let mut command = protem(&["train", "--config", "absent.toml"]);
    run(&mut command).expect(2).says(&["absent.toml"]);
    let mut command = tiny(&out, &[], &[]);
    let ended = run(command.env("PROTEM_OPTIM__LRR", "1"));
    ended
        .expect(2)
        .says(&["PROTEM_OPTIM__LRR", "did you mean optim.lr?"]);
    assert!(!out.exists());
}

#[test]
fn folders_that_cannot_take_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    for out in [
        file.as_path(),
        &file.join("below"),
        Path::new("/proc/protem-run"),
    ] {
        for args in [&[][..], &["--dry-run"]] {
            let ended = run(&mut tiny(out, args, &[])).expect(2);
            ended.says(&["nothing can be written to", "--out"]);
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = folder.path().join(std::ffi::OsStr::from_bytes(b"run-\xff"));
        run(&mut tiny(&name, &[], &[])).expect(2).says(&["UTF-8"]);
    }
    let ended = run(&mut resume(&folder.path().join("absent"))).expect(2);
    ended.says(&["holds no run", "--out"]);
}

#[test]
fn files_of_other_things_stay() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let model = out.join("checkpoints/model_best.pth");
    fs::create_dir(out.join("checkpoints")).unwrap();
    fs::write(&model, "mine").unwrap();
    let ended = run(&mut tiny(out, &[], &[])).expect(2);
    ended.says(&["model_best.pth", "is of no run", "--out"]);
    // Asked to replace a run, it replaces what a run writes.
    run(&mut tiny(out, &["--overwrite"], &["optim.epochs=1"])).expect(0);
    assert_eq!(fs::read(&model).unwrap(), b"mine");
    // What is there without a run is none of it.
    let other = tempfile::tempdir().unwrap();
    let config = other.path().join("config.toml");
    fs::write(&config, "[optim]\nepochs = 1 # mine\n").unwrap();
    let named = config.to_str().unwrap();
    for args in [
        &["--config", named, "--overwrite"][..],
        &["--overwrite"],
        &[],
    ] {
        let ended = run(&mut tiny(other.path(), args, &[])).expect(2);
        ended.says(&["config.toml", "is of no run", "--out"]);
    }
    assert!(fs::read_to_string(&config).unwrap().contains("# mine"));
    assert_eq!(files(other.path()), [config]);
}

#[test]
fn where_no_knn_is_measured_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("classes"), 2, 20);
    class_folders(&at("singles"), 20, 1);
    fs::create_dir(at("flat")).unwrap();
    (0..20).for_each(|i| picture(&at("flat").join(format!("{i}.png")), 0, i));
    let set = [
        "method.clusters=[4]",
        "method.queue=32",
        "method.negatives=2",
    ];
    let dry = |images: &str, args: &[&str]| {
        let mut command = tiny(&at("run"), args, &set);
        run(command.arg("--dry-run").arg(at(images)))
    };
    dry("flat", &[])
        .expect(0)
        .says(&["no classes, and so no kNN"]);
    dry("singles", &[])
        .expect(0)
        .says(&["no class has two images", "--test"]);
    let unused = ["--set", "eval.knn_every=0"];
    dry("classes", &unused)
        .expect(0)
        .says(&["data.held_out = 0 trains on them"]);
    let said = dry("classes", &[]).expect(0).stderr;
    assert!(!said.contains("kNN"), "{said}");
    let test = |images: &str, test: &str| {
        let test = at(test);
        dry(images, &["--test", test.to_str().unwrap()]).expect(2)
    };
    test("flat", "classes").says(&["the training images have none"]);
    test("classes", "flat").says(&["the test images have none"]);
    test("classes", "singles").says(&["number 2 is missing in training"]);
}

/// Before any are started.
#[test]
fn threads_have_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    for set in ["threads=0", "threads=1099511627776"] {
        let ended = run(&mut tiny(folder.path(), &["--dry-run"], &[set])).expect(2);
        ended.says(&["must lie between 1 and 4096"]);
    }
}

#[test]
fn images_that_were_forgotten_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = protem(&["train", "--config", "cifar10", "--out"]);
    let ended = run(command.arg(&out)).expect(2);
    ended.says(&[
        "no images are named",
        "protem train FOLDER --config cifar10",
    ]);
    assert!(!out.exists());
}

#[test]
fn a_run_that_goes_on_has_the_settings_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let ended = run(resume(&out).args(["--set", "optim.epochs=2"])).expect(2);
    ended.says(&["--set optim.epochs=2", "config.toml"]);
    let ended = run(resume(&out).env("PROTEM_OPTIM__EPOCHS", "2")).expect(0);
    ended.says(&["PROTEM_OPTIM__EPOCHS is not used", "config.toml"]);
    // A measure that the run was begun without, and images that have moved.
    let images = folder.path().join("images");
    let ended = run(resume(&out).arg("--test").arg(&images)).expect(2);
    ended.says(&["begun without a test set", "leave --test out"]);
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    let elsewhere = config.replace("[data]", &format!("[data]\nfolder = {images:?}"));
    assert_ne!(config, elsewhere);
    fs::write(out.join("config.toml"), elsewhere).unwrap();
    let ended = run(&mut resume(&out)).expect(2);
    ended.says(&[
        "there is no folder or file",
        "if the images have moved",
        "train FOLDER --resume",
    ]);
    let both = config.replace(
        "[data]",
        &format!("[data]\nfolder = {images:?}\ntest_folder = {images:?}"),
    );
    fs::write(out.join("config.toml"), both).unwrap();
    class_folders(&folder.path().join("moved"), 2, 4);
    let ended = run(&mut resume(&out)).expect(2);
    ended.says(&["train FOLDER --test FOLDER --resume"]);
    let ended = run(resume(&out).arg(folder.path().join("moved"))).expect(2);
    ended.says(&["train --test FOLDER --resume"]);
    fs::write(out.join("config.toml"), config).unwrap();
    // What is complete is said to be.
    for args in [&[][..], &["--dry-run"]] {
        let ended = run(resume(&out).args(args)).expect(0);
        ended.says(&["1 of 1 epochs are done", "raise optim.epochs"]);
    }
    // What going on would refuse, a dry run does.
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    let wider = config.replace("width = 4", "width = 5");
    assert_ne!(config, wider);
    fs::write(out.join("config.toml"), wider).unwrap();
    for args in [&[][..], &["--dry-run"]] {
        let ended = run(resume(&out).args(args)).expect(2);
        ended.says(&["encoder.width", "put it back"]);
    }
}

/// Ranges are looked at before images are decoded: none of these can be.
#[test]
fn settings_come_before_images() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    fs::create_dir(&images).unwrap();
    for i in 0..200 {
        fs::write(images.join(format!("{i}.jpg")), "none").unwrap();
    }
    for (set, words) in [
        ("optim.lr=-1", ["optim.lr = -1", "above 0"]),
        ("method.clusters=[201]", ["K = 201", "200 training images"]),
        (
            "optim.batch=100",
            ["200 of 200 images cannot be read", "max_unreadable"],
        ),
    ] {
        let mut command = protem(&["train", "--set", set, "--out"]);
        let ended = run(command.arg(&out).arg(&images));
        let code = if set == "optim.batch=100" { 1 } else { 2 };
        ended.expect(code).says(&words);
    }
}

#[test]
fn a_run_is_not_replaced_unasked_nor_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let before = last_state(&out);
    let ended = run(&mut tiny(&out, &[], &[])).expect(2);
    ended.says(&["already holds a run", "--resume", "--overwrite"]);
    // What replaces it must be able to begin.
    run(&mut tiny(&out, &["--overwrite", "nowhere"], &[])).expect(2);
    run(&mut tiny(&out, &["--overwrite"], &["method.queue=50"])).expect(2);
    assert!(last_state(&out) == before);
    run(&mut tiny(&out, &["--overwrite"], &["optim.epochs=2"])).expect(0);
    assert_eq!(metrics_of(&out, "epoch").len(), 2);
}

#[test]
fn a_checkpoint_of_another_shape() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let before = last_state(&out);
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    for (key, from, to) in [
        ("encoder.width", "width = 4", "width = 8"),
        ("optim.batch", "batch = 16", "batch = 32"),
        ("method.queue", "queue = 64", "queue = 32"),
        ("seed", "seed = 0", "seed = 1"),
        ("mode", "mode = \"pcl-v2\"", "mode = \"moco-v2\""),
    ] {
        assert!(config.contains(from), "{config}");
        fs::write(out.join("config.toml"), config.replace(from, to)).unwrap();
        let ended = run(&mut resume(&out)).expect(2);
        ended.says(&["the checkpoint's", key, "config.toml"]);
    }
    fs::write(
        out.join("config.toml"),
        config.replace("width = 4", "widht = 4"),
    )
    .unwrap();
    let ended = run(&mut resume(&out)).expect(2);
    ended.says(&["config.toml", "did you mean encoder.width?"]);
    assert!(last_state(&out) == before);
    // What a state survives is said and done: two more epochs.
    fs::write(
        out.join("config.toml"),
        config.replace("epochs = 1\n", "epochs = 3\n"),
    )
    .unwrap();
    let ended = run(&mut resume(&out)).expect(0);
    assert!(
        ended.stdout.contains("optim.epochs was 1 and is 3"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let before = last_state(&out);
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    let lr = config
        .lines()
        .find(|line| line.starts_with("lr = "))
        .unwrap();
    let wild = config.replace(lr, "lr = 1e30");
    fs::write(
        out.join("config.toml"),
        wild.replace("epochs = 1\n", "epochs = 4\n"),
    )
    .unwrap();
    let ended = run(&mut resume(&out)).expect(1);
    ended.says(&["became", "in epoch", "step", "optim.lr"]);
    for file in checkpoints(&out) {
        assert!(weights_are_finite(&file), "{}", file.display());
    }
    // The good state is there, to go on with a lower rate.
    let calm = config.replace("epochs = 1\n", "epochs = 2\n");
    for file in checkpoints(&out)
        .iter()
        .skip_while(|f| !f.ends_with("step-0000000006.safetensors"))
        .skip(1)
    {
        fs::remove_file(file).unwrap();
    }
    assert!(last_state(&out) == before);
    fs::write(out.join("config.toml"), calm).unwrap();
    run(&mut resume(&out)).expect(0);
}

fn weights_are_finite(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors
        .iter()
        .filter(|(name, _)| !name.contains("labels"))
        .all(|(_, view)| {
            let floats = view.data().chunks_exact(4);
            floats
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .all(f32::is_finite)
        })
}

#[test]
fn evaluations_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    let flat = folder.path().join("flat");
    fs::create_dir(&flat).unwrap();
    picture(&flat.join("a.png"), 0, 0);
    let classes = folder.path().join("classes");
    class_folders(&classes, 2, 2);
    let test = folder.path().join("test");
    class_folders(&test, 2, 1);
    let knn = |checkpoint: &Path, train: &Path, k: &str| {
        let mut command = protem(&["eval", "knn", "--k", k, "--checkpoint"]);
        command.arg(checkpoint).arg("--train").arg(train);
        run(command.arg("--test").arg(&test))
    };
    knn(&out, &classes, "1").expect(0);
    knn(&out, &classes, "5")
        .expect(0)
        .says(&["all of which vote"]);
    knn(&out, &test, "1").expect(2).says(&["would find itself"]);
    knn(&out, &flat, "1").expect(2).says(&["no classes"]);
    let stray = folder.path().join("stray");
    class_folders(&stray, 2, 2);
    picture(&stray.join("stray.png"), 0, 0);
    knn(&out, &stray, "1")
        .expect(2)
        .says(&["no classes", "stray.png lies beside"]);
    fs::create_dir(flat.join("checkpoints")).unwrap();
    fs::write(flat.join("checkpoints/step-0000000001.safetensors"), "none").unwrap();
    knn(&flat, &classes, "1")
        .expect(1)
        .says(&["step-0000000001.safetensors is not a whole checkpoint"]);
    knn(&out, &classes, "0").expect(2).says(&["--k"]);
    knn(&out.join("absent"), &classes, "1")
        .expect(2)
        .says(&["there is no checkpoint"]);
    knn(&flat.join("a.png"), &classes, "1")
        .expect(1)
        .says(&["neither a safetensors file", "Name a file"]);
    let linear = |train: &Path, decay: &[&str]| {
        let mut command = protem(&["eval", "linear", "--checkpoint"]);
        command.arg(&out).arg("--train").arg(train).args(decay);
        run(command.arg("--test").arg(&test))
    };
    linear(&classes, &["--decay", "0.1"]).expect(0);
    linear(&classes, &[])
        .expect(2)
        .says(&["no class", "has 5 images", "--decay"]);
    for decay in ["0", "-1", "nan", "inf", "1e7"] {
        let ended = linear(&classes, &["--decay", decay]).expect(2);
        ended.says(&["above 0 and at most"]);
    }
    linear(&test, &[]).expect(2).says(&["would find itself"]);
    let three = folder.path().join("three");
    class_folders(&three, 3, 2);
    knn(&out, &three, "1").expect(2).says(&["classes differ"]);
    // An unreadable image is left out, and said.
    fs::write(classes.join("class-0/bad.png"), "no picture").unwrap();
    knn(&out, &classes, "1")
        .expect(0)
        .says(&["skipped class-0/bad.png"]);
    let npy = folder.path().join("new/x.npy");
    run(embed(&out, &classes).arg("--out").arg(&npy))
        .expect(0)
        .says(&["bad.png"]);
    let names = fs::read_to_string(npy.with_extension("txt")).unwrap();
    assert_eq!(names.lines().count(), 4, "{names}");
    let mut command = protem(&["embed", "--data", ".", "--out", "x.txt", "--checkpoint"]);
    run(command.arg(&out)).expect(2).says(&[".txt"]);
    let mut command = protem(&["embed", "--data", ".", "--out", "x.csv", "--checkpoint"]);
    run(command.arg(&out))
        .expect(2)
        .says(&["as a .npy or a .parquet file, not .csv"]);
    // Features may be written again, but no text of somebody's.
    let again = |npy: &Path| run(embed(&out, &classes).arg("--out").arg(npy));
    again(&npy).expect(0);
    let mine = folder.path().join("notes.txt");
    fs::write(&mine, "mine").unwrap();
    again(&mine.with_extension("npy"))
        .expect(2)
        .says(&["notes.txt is there already"]);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    again(&classes).expect(2).says(&["is a folder"]);
}

fn embed(checkpoint: &Path, data: &Path) -> std::process::Command {
    let mut command = protem(&["embed", "--checkpoint"]);
    command.arg(checkpoint).arg("--data").arg(data);
    command
}
