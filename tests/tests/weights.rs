//! Weights from elsewhere, and for elsewhere: measured, embedded with, exported, trained from.

use protem_tests::*;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint of PCL's own program, of a ResNet-18 of width 1.
fn pcl() -> PathBuf {
    workspace().join("crates/protem-encoder/tests/fixtures/pcl.pth.tar")
}

/// Settings of the encoder in it.
const ITS: [&str; 4] = [
    "encoder.width=1",
    "encoder.stem=imagenet",
    "encoder.dim=4",
    "data.image_size=32",
];

const IMAGES: &str = "generated:images=40,size=40,seed=1";

/// The features, or embeddings, that an encoder has of some images.
fn embedded(checkpoint: &Path, args: &[&str]) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let npy = root.path().join("x.npy");
    let mut command = protem(&["embed", "--data", IMAGES, "--checkpoint"]);
    command.arg(checkpoint).arg("--out").arg(&npy).args(args);
    run(&mut command).expect(0);
    fs::read(npy).unwrap()
}

fn export(checkpoint: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["export", "--checkpoint"]);
    command.arg(checkpoint).arg("--out").arg(out).args(args);
    run(&mut command)
}

#[test]
fn an_export_is_the_same_encoder() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    run(&mut tiny(&run_folder, &[], &["optim.epochs=1"])).expect(0);
    let newest = checkpoints(&run_folder).pop().unwrap();
    for (from, args) in [(&run_folder, &[][..]), (&pcl(), &["--image-size", "32"])] {
        let features = embedded(from, args);
        let embedding = embedded(from, &[args, &["--what", "embedding"]].concat());
        let (bare, whole) = (
            root.path().join("b.safetensors"),
            root.path().join("new/w.safetensors"),
        );
        export(from, &bare, &[]).expect(0);
        export(from, &whole, &["--head"]).expect(0);
        assert_eq!(embedded(&bare, args), features);
        assert_eq!(embedded(&whole, args), features);
        assert_eq!(
            embedded(&whole, &[args, &["--what", "embedding"]].concat()),
            embedding
        );
        let none = [
            "embed",
            "--what",
            "embedding",
            "--data",
            IMAGES,
            "--out",
            "never.npy",
        ];
        run(protem(&none).arg("--checkpoint").arg(&bare))
            .expect(2)
            .says(&["no projection head", "--what features"]);
        export(&bare, &whole, &["--head"])
            .expect(2)
            .says(&["no projection head", "leave --head out"]);
        // A network whose head is an identity has no other tensors.
        let bytes = fs::read(&bare).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let of_norm = [
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "num_batches_tracked",
        ];
        for part in of_norm {
            assert!(file.names().contains(&&*format!("layer4.1.bn2.{part}")));
        }
        assert!(file.names().iter().all(|name| !name.starts_with("fc.")));
    }
    let kept = fs::read(&newest).unwrap();
    let taken = root.path().join("mine.safetensors");
    fs::write(&taken, "mine").unwrap();
    let other = root.path().join("other.npy");
    for (out, says) in [
        (&newest, "is a checkpoint of a run"),
        (&taken, "holds no weights"),
        (
            &other,
            "as a .safetensors file of its weights, or as an .onnx file",
        ),
        (&root.path().to_path_buf(), "is a folder"),
    ] {
        export(&pcl(), out, &[]).expect(2).says(&[says]);
    }
    assert_eq!(fs::read(&newest).unwrap(), kept);
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
}

/// Whether a file has this text anywhere.
fn has(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).unwrap();
    let mut places = bytes.windows(text.len());
    places.any(|place| place == text.as_bytes())
}

#[test]
fn an_encoder_is_exported_as_an_onnx_model() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    run(&mut tiny(&run_folder, &[], &["optim.epochs=1"])).expect(0);
    let (bare, whole) = (root.path().join("b.onnx"), root.path().join("new/w.onnx"));
    export(&run_folder, &bare, &[]).expect(0);
    export(&run_folder, &whole, &["--head"]).expect(0);
    for model in [&bare, &whole] {
        for text in [
            "features",
            "layer4.1.conv2.weight",
            "[0.485, 0.456, 0.406]",
            "image_size",
            "reduced_jpegs",
        ] {
            assert!(has(model, text), "{text}");
        }
        assert!(!has(model, "logits"));
    }
    assert!(!has(&bare, "embedding") && !has(&bare, "fc."));
    assert!(has(&whole, "embedding") && has(&whole, "fc.2.weight"));
    // A model of one's own is written over, with the same bytes where it is of the same encoder.
    let first = fs::read(&whole).unwrap();
    export(&run_folder, &whole, &[]).expect(0);
    assert_eq!(fs::read(&whole).unwrap(), fs::read(&bare).unwrap());
    export(&run_folder, &whole, &["--head"]).expect(0);
    assert!(fs::read(&whole).unwrap() == first);
    // It is none that protem reads.
    export(&whole, &root.path().join("w.safetensors"), &[])
        .expect(1)
        .says(&["neither a safetensors file"]);
    let out = root.path().join("other.onnx");
    // Field 2, of 7 bytes: the producer.
    let others = b"\x08\x07\x12\x07pytorch";
    let weights = root.path().join("b.safetensors");
    export(&pcl(), &weights, &[]).expect(0);
    for there in [&b"mine"[..], others, b"", &fs::read(&weights).unwrap()] {
        fs::write(&out, there).unwrap();
        export(&run_folder, &out, &[])
            .expect(2)
            .says(&["holds no ONNX model that protem wrote", "--out"]);
        assert_eq!(fs::read(&out).unwrap(), there);
    }
    // Nor do weights take the place of a model.
    let named = root.path().join("model.safetensors");
    fs::copy(&whole, &named).unwrap();
    export(&run_folder, &named, &[])
        .expect(2)
        .says(&["holds no weights"]);
    export(&weights, &root.path().join("h.onnx"), &["--head"])
        .expect(2)
        .says(&["no projection head", "leave --head out"]);
    assert!(!root.path().join("h.onnx").exists());
}

/// What weights tell of the run they are of.
#[test]
fn an_export_of_an_export_tells_of_the_run() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    run(&mut tiny(&run_folder, &[], &["optim.epochs=1", "seed=7"])).expect(0);
    let [one, two, model] =
        ["1.safetensors", "2.safetensors", "3.onnx"].map(|n| root.path().join(n));
    export(&run_folder, &one, &["--head"]).expect(0);
    export(&one, &two, &["--head"]).expect(0);
    export(&one, &model, &[]).expect(0);
    let [first, second] = [&one, &two].map(|file| fs::read(file).unwrap());
    assert_eq!(first, second);
    let (_, metadata) = SafeTensors::read_metadata(&first).unwrap();
    let told = metadata.metadata().clone().unwrap();
    assert_eq!(
        [&told["seed"], &told["epoch"], &told["step"]],
        ["7", "1", "6"]
    );
    assert_eq!(told["mode"], "pcl-v2");
    let model = fs::read(&model).unwrap();
    // An entry of metadata: a key, and behind it in field 2 its value.
    let entry = b"seed\x12\x017";
    assert!(model.windows(entry.len()).any(|bytes| bytes == entry));
    // Of a classifier that is not there.
    export(&run_folder, &two, &[]).expect(0);
    let bytes = fs::read(&two).unwrap();
    let headless = SafeTensors::deserialize(&bytes).unwrap();
    let classes = std::collections::HashMap::from([("classes".to_owned(), "[]".to_owned())]);
    let named = safetensors::serialize(headless.tensors(), Some(classes)).unwrap();
    fs::write(&one, named).unwrap();
    export(&one, &two, &["--head"])
        .expect(2)
        .says(&["no classifier", "leave --head out"]);
}

/// How images are decoded goes with the weights, for what they are measured on.
#[test]
fn an_export_tells_how_images_were_decoded() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    let set = [
        "optim.epochs=1",
        "data.orientation=true",
        "data.reduced_jpegs=true",
    ];
    run(&mut tiny(&run_folder, &[], &set)).expect(0);
    let out = root.path().join("e.safetensors");
    export(&run_folder, &out, &["--head"]).expect(0);
    let decoding = |checkpoint: &Path| {
        let mut command = protem(&["eval", "ami", "--json", "--k", "2", "--data", IMAGES]);
        let ended = run(command.arg("--checkpoint").arg(checkpoint)).expect(0);
        let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        found["protocol"]["encoder"]["decoding"].clone()
    };
    let own = decoding(&run_folder);
    assert_eq!(own["orientation"], true);
    assert_eq!(own["reduced_jpegs"], true);
    assert_eq!(decoding(&out), own);
    assert_eq!(decoding(&pcl())["orientation"], false);
    // A photograph is reduced to what the size of its view asks for, whatever the run's was.
    let photos = root.path().join("photos");
    fs::create_dir(&photos).unwrap();
    let pixels = image::RgbImage::from_fn(400, 400, |x, y| {
        image::Rgb([x, y, x ^ y].map(|value| (value * 5) as u8))
    });
    pixels.save(photos.join("a.jpg")).unwrap();
    let embedded = |checkpoint: &Path, size: &str| {
        let npy = root.path().join("x.npy");
        let mut command = protem(&["embed", "--image-size", size, "--checkpoint"]);
        command.arg(checkpoint).arg("--data").arg(&photos);
        run(command.arg("--out").arg(&npy)).expect(0);
        fs::read(npy).unwrap()
    };
    for size in ["16", "100"] {
        assert_eq!(embedded(&run_folder, size), embedded(&out, size), "{size}");
    }
}

#[test]
fn given_weights_are_measured() {
    let eval = |args: &[&str]| run(protem(args).arg("--checkpoint").arg(pcl()));
    let (train, test) = (
        "generated:images=60,size=40",
        "generated:images=40,size=40,split=test",
    );
    let sets = ["--train", train, "--test", test, "--json"];
    let ended = eval(&[&["eval", "knn"], &sets[..]].concat()).expect(0);
    let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let encoder = &found["protocol"]["encoder"];
    assert_eq!(encoder["arch"], "resnet18");
    assert_eq!(encoder["image_size"], 224);
    assert_eq!(encoder["crc32"].as_str().unwrap().len(), 8);
    assert_eq!(encoder["prefix"], "state_dict.module.encoder_q.");
    assert!(encoder["trained_on"].is_null());
    eval(&["eval", "knn"])
        .expect(2)
        .says(&["of no run", "--train"]);
    let sizes = ["eval", "ami", "--k", "3", "--data", train];
    eval(&[&sizes[..], &["--image-size", "0"]].concat())
        .expect(2)
        .says(&["between 8 and 4096"]);
    for (what, said) in [
        ("features", "normalised features"),
        ("embedding", "normalised embeddings"),
    ] {
        let ended = eval(&[&sizes[..], &["--image-size", "32", "--what", what]].concat()).expect(0);
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
}

#[test]
fn training_begins_with_given_weights() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let weights = root.path().join("given.pth.tar");
    fs::copy(pcl(), &weights).unwrap();
    let with = ["--weights", weights.to_str().unwrap()];
    let whole = root.path().join("whole");
    // A learning rate that does not follow from the number of epochs.
    let set = [&ITS[..], &["optim.schedule=step"]].concat();
    let ended = run(&mut tiny(&whole, &with, &set)).expect(0);
    let said = ended.stdout;
    assert!(said.contains("kNN of the given weights"), "{said}");
    assert!(
        !said.contains("untrained") && !ended.stderr.contains("untrained"),
        "{said}"
    );
    // It goes on without the file, to the same bits.
    run(&mut tiny(
        &out,
        &with,
        &[&set[..], &["optim.epochs=2"]].concat(),
    ))
    .expect(0);
    fs::remove_file(&weights).unwrap();
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("given.pth.tar"), "{config}");
    fs::write(
        out.join("config.toml"),
        config.replace("epochs = 2", "epochs = 3"),
    )
    .unwrap();
    run(&mut resume(&out)).expect(0);
    assert_same_state(&whole, &out);
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (all, _) = bytes.as_chunks();
    all.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn the_first_step_is_one_from_the_given_weights() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    // So small a step that the weights stay.
    let set = [
        &ITS[..],
        &["optim.epochs=1", "optim.lr=1e-30", "optim.weight_decay=0"],
    ]
    .concat();
    let with = ["--weights", &pcl().display().to_string()];
    run(&mut tiny(&out, &with, &set)).expect(0);
    let exported = root.path().join("given.safetensors");
    export(&pcl(), &exported, &["--head"]).expect(0);
    let bytes = fs::read(&exported).unwrap();
    let given = SafeTensors::deserialize(&bytes).unwrap();
    let state = last_state(&out);
    for (name, view) in given.iter().filter(|(name, _)| name.ends_with("weight")) {
        let query = &state[&format!("query.{name}")];
        assert!(query == view.data(), "{name}");
        // Which was averaged with the query encoder's at each step.
        let key = floats(&state[&format!("key.{name}")]);
        for (key, given) in key.iter().zip(floats(view.data())) {
            assert!((key - given).abs() <= 1e-6 * given.abs(), "{name}");
        }
    }
    // Another run begins with what this one ended with; its head is of another size, and said to be new.
    let next = root.path().join("next");
    let set = [&ITS[..], &["optim.epochs=1", "encoder.dim=8"]].concat();
    let ended = run(&mut tiny(
        &next,
        &["--weights", out.to_str().unwrap()],
        &set,
    ))
    .expect(0);
    let said = ended.stdout + &ended.stderr;
    assert!(
        said.contains("no projection head of this kind to 8 values"),
        "{said}"
    );
}

#[test]
fn weights_that_do_not_fit_are_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let with = |weights: &str, set: &[&str]| run(&mut tiny(&out, &["--weights", weights], set));
    let pcl = pcl().display().to_string();
    with(&pcl, &["encoder.stem=cifar"]).expect(2).says(&[
        "the weights are of a resnet18 with the imagenet stem and width 1",
        "add --set encoder.stem=imagenet --set encoder.width=1",
    ]);
    let text = root.path().join("text.pth");
    fs::write(&text, "no weights").unwrap();
    with(&text.display().to_string(), &[])
        .expect(2)
        .says(&["neither a safetensors file", "torch.save"]);
    with("missing.pth", &[]).expect(2).says(&["missing.pth"]);
    assert!(!out.exists());
    with(&pcl, &["encoder.weights_prefix=none"])
        .expect(2)
        .says(&["prefix none; there are", "encoder_q.conv1.weight"]);
    run(&mut tiny(&out, &[], &["encoder.weights="]))
        .expect(2)
        .says(&["empty name"]);
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    run(resume(&out).args(["--weights", &pcl])).expect(2);
    // What training begins with is not what it takes the place of.
    let kept = checkpoints(&out);
    let own = ["--overwrite", "--weights", out.to_str().unwrap()];
    run(&mut tiny(&out, &own, &[]))
        .expect(2)
        .says(&["would remove"]);
    assert_eq!(checkpoints(&out), kept);
}

#[test]
fn one_of_two_encoders_is_named_by_its_prefix() {
    let size = ["--image-size", "32"];
    let with = |prefix: &[&str]| embedded(&pcl(), &[&size, prefix].concat());
    let query = with(&[]);
    assert!(query == with(&["--prefix", "state_dict.module.encoder_q"]));
    let key = ["--prefix", "state_dict.module.encoder_k."];
    assert!(query != with(&key));
    let eval = |args: &[&str]| {
        let data = [
            "eval",
            "ami",
            "--data",
            IMAGES,
            "--k",
            "2",
            "--image-size",
            "32",
        ];
        run(protem(&[&data, args].concat())
            .arg("--checkpoint")
            .arg(pcl()))
    };
    eval(&[])
        .expect(0)
        .says(&["that of state_dict.module.encoder_q. is taken", "--prefix"]);
    eval(&["--prefix", "encoder"])
        .expect(2)
        .says(&["encoder_k.conv1.weight", "--prefix"]);
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    run(&mut tiny(&run_folder, &[], &["optim.epochs=1"])).expect(0);
    let mut command = protem(&[
        "embed",
        "--data",
        IMAGES,
        "--out",
        "never.npy",
        "--prefix",
        "x",
    ]);
    run(command.arg("--checkpoint").arg(&run_folder))
        .expect(2)
        .says(&["is a run's"]);
    let two = ["--weights", &pcl().display().to_string()];
    let ended = run(&mut tiny(
        &root.path().join("next"),
        &two,
        &[&ITS[..], &["optim.epochs=1"]].concat(),
    ));
    let said = ended.stdout + &ended.stderr;
    assert!(
        said.contains("of the encoders in the file that of"),
        "{said}"
    );
}
