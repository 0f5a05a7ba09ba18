//! Every kind of source behind every command, and `protem data`.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn inspected(name: &str) -> Value {
    let ended = run(&mut protem(&["data", "inspect", name, "--json"])).expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn packed(data: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["data", "pack"]);
    command.arg(data).arg("--out").arg(out);
    run(command.args(args))
}

#[test]
fn inspect_tells_what_a_set_holds() {
    let root = tempfile::tempdir().unwrap();
    class_folders(root.path(), 3, 4);
    let at = |name: &str| root.path().join(name);
    fs::copy(at("class-0/1.png"), at("class-2/copy.png")).unwrap();
    fs::write(at("class-1/bad.jpg"), "no picture").unwrap();
    let told = inspected(root.path().to_str().unwrap());
    assert_eq!(
        (
            &told["images"],
            &told["formats"]["PNG"],
            &told["formats"]["JPEG"]
        ),
        (&14.into(), &7.into(), &6.into())
    );
    let counts: Vec<u64> = (0..3)
        .map(|c| told["classes"][c]["images"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [4, 4, 5]);
    assert_eq!(
        told["duplicates"],
        serde_json::json!([["class-0/1.png", "class-2/copy.png"]])
    );
    assert_eq!(told["unreadable"][0]["name"], "class-1/bad.jpg");
    assert_eq!(
        (&told["width"]["most"], &told["height"]["least"]),
        (&20.into(), &18.into())
    );
    let ended = run(&mut protem(&[
        "data",
        "inspect",
        root.path().to_str().unwrap(),
    ]))
    .expect(0);
    for line in [
        "14 (1 unreadable)",
        "6 JPEG, 7 PNG",
        "class-2 5",
        "class-1/bad.jpg: cannot be decoded",
    ] {
        assert!(
            ended.stdout.contains(line),
            "no `{line}` in {}",
            ended.stdout
        );
    }
}

/// What it wrote until then, the next one removes.
#[test]
#[cfg(unix)]
fn a_killed_pack_is_tidied_up_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("shards");
    let pack = |images: &str| {
        let mut command = protem(&["data", "pack", images, "--out"]);
        command.arg(&out);
        command
    };
    let mut killed = pack("generated:images=1000000,size=64").spawn().unwrap();
    let aside = || {
        let files = files(root.path()).into_iter();
        files
            .filter(|file| file.join("shard-000000.tar").exists())
            .count()
    };
    while aside() == 0 {
        assert!(killed.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(aside(), 1);
    run(&mut pack("generated:images=3,size=8")).expect(0);
    assert_eq!(files(root.path()), [out]);
}

/// Mean and deviation of pixels that are known: 0, 51 and 255 in equal parts.
#[test]
fn inspect_measures_channels_over_all_pixels() {
    let root = tempfile::tempdir().unwrap();
    let gray =
        |value: u8, width| image::RgbImage::from_pixel(width, 2, image::Rgb([value, 0, 255]));
    for (name, value) in [("a.png", 0), ("b.png", 51), ("c.png", 255)] {
        gray(value, 4).save(root.path().join(name)).unwrap();
    }
    let told = inspected(root.path().to_str().unwrap());
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-12;
    let mean = (0.0 + 0.2 + 1.0) / 3.0f64;
    let deviation = ((0.0f64 + 0.04 + 1.0) / 3.0 - mean * mean).sqrt();
    assert!(
        near(&told["mean"][0], mean) && near(&told["std"][0], deviation),
        "{told}"
    );
    assert!(
        near(&told["mean"][2], 1.0) && near(&told["std"][2], 0.0),
        "{told}"
    );
}

#[test]
fn packed_images_keep_bytes_classes_and_order() {
    let root = tempfile::tempdir().unwrap();
    let (images, shards, again) = (
        root.path().join("images"),
        root.path().join("new/shards"),
        root.path().join("again"),
    );
    class_folders(&images, 3, 5);
    fs::write(images.join("class-1/bad.jpg"), "no picture").unwrap();
    let ended = packed(&images, &shards, &["--images-per-shard=6"]).expect(0);
    assert!(
        ended.stdout.contains("16 images in 3 shards"),
        "{}",
        ended.stdout
    );
    let names: Vec<String> = files(&shards)
        .iter()
        .map(|f| f.file_name().unwrap().to_str().unwrap().into())
        .collect();
    assert_eq!(
        names,
        [
            "classnames.txt",
            "names.txt",
            "shard-000000.tar",
            "shard-000001.tar",
            "shard-000002.tar"
        ]
    );
    let (before, after) = (
        inspected(images.to_str().unwrap()),
        inspected(shards.to_str().unwrap()),
    );
    for key in [
        "images", "classes", "formats", "bytes", "mean", "std", "width",
    ] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(
        after["unreadable"][0]["name"],
        "shard-000001.tar/00000010.jpg"
    );
    // By size: one image of each shard, at least.
    packed(&images, &again, &["--shard-size=2k"]).expect(0);
    assert_eq!(files(&again).len(), 18);
    fs::remove_dir_all(&again).unwrap();
    packed(&images, &again, &["--images-per-shard=6"]).expect(0);
    for (one, other) in files(&shards).iter().zip(files(&again)) {
        assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap());
    }
    // What is there is not written over; nothing half-written is left beside it.
    packed(&images, &again, &[])
        .expect(2)
        .says(&["is there already", "--out"]);
    packed(&images, &root.path().join("x"), &["--shard-size=0"])
        .expect(2)
        .says(&["above 0"]);
    packed(&images, Path::new("/proc/shards"), &[])
        .expect(2)
        .says(&["nothing can be written to", "--out"]);
    assert_eq!(files(root.path()).len(), 3);
}

#[test]
fn shards_train_measure_and_embed_as_their_folder_does() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    class_folders(Path::new(&at("images")), 3, 12);
    packed(
        Path::new(&at("images")),
        Path::new(&at("shards")),
        &["--images-per-shard=20"],
    )
    .expect(0);
    let small = [
        "method.clusters=[6]",
        "method.negatives=5",
        "optim.epochs=2",
        "data.held_out=0.2",
    ];
    let (plain, run_of_shards) = (root.path().join("plain"), root.path().join("run"));
    run(&mut tiny(&plain, &[&at("images")], &small)).expect(0);
    let shards = format!("tar:{}/shard-{{000000..000001}}.tar", at("shards"));
    run(&mut tiny(
        &run_of_shards,
        &[&shards, "--test", &at("images")],
        &small,
    ))
    .expect(0);
    let config = fs::read_to_string(run_of_shards.join("config.toml")).unwrap();
    assert!(
        config.contains(&format!("folder = \"{shards}\"")),
        "{config}"
    );
    run(&mut resume(&run_of_shards)).expect(0);
    let mut embedded = Vec::new();
    for (i, data) in [at("images"), at("shards"), shards].iter().enumerate() {
        let out = at(&format!("{i}.npy"));
        let mut command = protem(&["embed", "--data", data, "--out", &out, "--checkpoint"]);
        run(command.arg(&plain)).expect(0);
        embedded.push(fs::read(out).unwrap());
    }
    assert!(embedded[0] == embedded[1] && embedded[0] == embedded[2]);
    let knn = |train: &str, test: &str| {
        let mut command = protem(&[
            "eval",
            "knn",
            "--k=3",
            "--train",
            train,
            "--test",
            test,
            "--checkpoint",
        ]);
        run(command.arg(&plain)).expect(0).stdout
    };
    class_folders(Path::new(&at("test")), 3, 4);
    assert_eq!(
        knn(&at("images"), &at("test")),
        knn(&at("shards"), &at("test"))
    );
    let mut ami = protem(&[
        "eval",
        "ami",
        "--k=3",
        "--data",
        &at("shards"),
        "--checkpoint",
    ]);
    run(ami.arg(&plain)).expect(0);
}

#[test]
fn a_set_of_splits_says_how_to_name_one() {
    let root = tempfile::tempdir().unwrap();
    class_folders(&root.path().join("train"), 2, 2);
    class_folders(&root.path().join("val"), 2, 1);
    let name = root.path().to_str().unwrap();
    let out = root.path().join("run");
    let ended = run(&mut tiny(&out, &[name], &[])).expect(2);
    ended.says(&[
        "several splits (train, val)",
        &format!("'{name}?split=train'"),
    ]);
    assert_eq!(inspected(&format!("{name}?split=val"))["images"], 2);
    let wrong = format!("{name}?split=test");
    run(&mut protem(&["data", "inspect", &wrong]))
        .expect(2)
        .says(&["no split test", "train, val"]);
    let wrong = format!("folder:{name}?seed=3");
    run(&mut protem(&["data", "inspect", &wrong]))
        .expect(2)
        .says(&["seed=3", "no options"]);
    assert_eq!(
        inspected("generated:images=20,size=8")["classes"]
            .as_array()
            .unwrap()
            .len(),
        10
    );
}

#[test]
fn images_of_several_classes_are_trained_on_but_not_measured() {
    let root = tempfile::tempdir().unwrap();
    let year = root.path().join("VOC2007");
    for folder in ["JPEGImages", "ImageSets/Main"] {
        fs::create_dir_all(year.join(folder)).unwrap();
    }
    let ids: Vec<String> = (0..24).map(|i| format!("{i:06}")).collect();
    for (i, id) in ids.iter().enumerate() {
        picture(
            &year.join(format!("JPEGImages/{id}.jpg")),
            i as u32 % 3,
            i as u32,
        );
    }
    let lists = year.join("ImageSets/Main");
    fs::write(lists.join("train.txt"), ids.join("\n")).unwrap();
    for class in ["cat", "dog"] {
        let lines: Vec<String> = ids.iter().map(|id| format!("{id} 1")).collect();
        fs::write(lists.join(format!("{class}_train.txt")), lines.join("\n")).unwrap();
    }
    let (name, out) = (root.path().to_str().unwrap(), root.path().join("run"));
    let small = [
        "method.clusters=[4]",
        "method.negatives=3",
        "optim.epochs=2",
        "method.queue=16",
    ];
    run(&mut tiny(&out, &[name], &small)).expect(0);
    assert!(metrics_of(&out, "epoch")[0]["knn_top1"].is_null());
    let mut ami = protem(&["eval", "ami", "--k=3", "--data", name, "--checkpoint"]);
    run(ami.arg(&out)).expect(2).says(&["several classes each"]);
    let ended = run(&mut tiny(
        &root.path().join("other"),
        &[name, "--test", name],
        &small,
    ))
    .expect(2);
    ended.says(&["--test", "these have several"]);
    let told = inspected(name);
    assert_eq!(
        (&told["classes"][0]["images"], &told["classes"][1]["images"]),
        (&24.into(), &24.into())
    );
    let shards = root.path().join("shards");
    packed(Path::new(name), &shards, &[])
        .expect(0)
        .says(&["the classes are left out"]);
    assert_eq!(
        inspected(shards.to_str().unwrap())["classes"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn a_sheet_shows_images_beside_their_views() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("images");
    class_folders(&images, 3, 4);
    fs::write(images.join("class-0/0.jpg"), "no picture").unwrap();
    let mut command = protem(&[
        "data",
        "show",
        "--set",
        "data.image_size=24",
        "--images=3",
        "--views=4",
    ]);
    let sheet = root.path().join("new/sheet.png");
    let ended = run(command.arg(&images).arg("--out").arg(&sheet)).expect(0);
    ended.says(&["skipped class-0/0.jpg"]);
    let picture = image::open(&sheet).unwrap().into_rgb8();
    // Two rows of a picture and four views, with two pixels between.
    assert_eq!(picture.dimensions(), (5 * 26 + 2, 2 * 26 + 2));
    let column = |c: u32| image::imageops::crop_imm(&picture, 2 + c * 26, 2, 24, 24).to_image();
    assert!(column(1) != column(2) && column(1) != column(3));
    let refused = |out: &Path, args: &[&str], word: &str| {
        let mut command = protem(&["data", "show"]);
        run(command.arg(&images).args(args).arg("--out").arg(out))
            .expect(2)
            .says(&[word]);
    };
    refused(&sheet, &["--views=0"], "--views");
    refused(&root.path().join("sheet.jpg"), &[], ".png");
    for among in ["sheet.png", "class-0/new/sheet.png", "new/../sheet.png"] {
        refused(&images.join(among), &[], "among the images");
    }
    assert_eq!(files(&images).len(), 3);
}

#[test]
fn what_cannot_be_read_has_no_means() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.png"), "no picture").unwrap();
    let told = inspected(folder.path().to_str().unwrap());
    assert_eq!(told["images"], 1);
    for key in ["width", "height", "mean", "std"] {
        assert!(told[key].is_null(), "{key}: {}", told[key]);
    }
}
