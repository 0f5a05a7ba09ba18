//! `eval probe` and `eval finetune` from outside: a classifier on or with an encoder.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

const TRAIN: &str = "generated:images=80,size=24,seed=3";
const TEST: &str = "generated:images=50,size=24,seed=3,split=test";

fn trained(root: &Path) -> std::path::PathBuf {
    let out = root.join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=1"])).expect(0);
    out
}

fn eval(what: &str, checkpoint: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["eval", what, "--epochs", "2", "--checkpoint"]);
    run(command.arg(checkpoint).args(args))
}

#[test]
fn a_classifier_is_written_as_an_onnx_model() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    let [model, weights, again] =
        ["c.onnx", "c.safetensors", "again.onnx"].map(|name| root.path().join(name));
    for out in [&model, &weights] {
        let file = out.to_str().unwrap();
        let sets = [
            "--train", TRAIN, "--test", TEST, "--batch", "20", "--out", file,
        ];
        let ended = eval("probe", &run_folder, &sets).expect(0);
        assert!(ended.stdout.contains("encoder and classifier in"));
    }
    // The file of weights tells that its head is a classifier.
    let mut command = protem(&["export", "--head", "--checkpoint"]);
    run(command.arg(&weights).arg("--out").arg(&again)).expect(0);
    for model in [&model, &again] {
        let bytes = fs::read(model).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(has("logits") && has("fc.weight") && has("classes") && !has("ReduceL2"));
    }
}

fn figures(ended: Ended) -> Value {
    serde_json::from_str(&ended.expect(0).stdout).unwrap()
}

#[test]
fn a_classifier_has_its_protocol_and_the_same_bits_on_any_threads() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    for (what, share) in [("probe", 1.0), ("finetune", 0.5)] {
        let out = root.path().join(format!("{what}.safetensors"));
        let file = out.to_str().unwrap();
        let sets = [
            "--train", TRAIN, "--test", TEST, "--json", "--batch", "20", "--out", file,
        ];
        let few: &[&str] = if share < 1.0 {
            &["--share", "0.5"]
        } else {
            &[]
        };
        let with = |threads| {
            let args = [&sets[..], few, &["--threads", threads]].concat();
            let found = figures(eval(what, &run_folder, &args));
            (found, fs::read(&out).unwrap())
        };
        let ((one, weights), (two, same)) = (with("1"), with("2"));
        assert_eq!(one, two);
        assert!(weights == same);
        let protocol = &one["protocol"];
        assert_eq!(protocol["train"]["share"], share);
        assert_eq!(protocol["train"]["set"]["images"], 80);
        assert!(protocol["train"]["images"].as_f64().unwrap() <= 80.0 * share + 10.0);
        assert_eq!(protocol["test"]["images"], 50);
        assert_eq!(protocol["settings"]["batch"], 20);
        assert_eq!(protocol["settings"]["image_size"], 16);
        let (top1, top5) = (one["top1"].as_f64().unwrap(), one["top5"].as_f64().unwrap());
        assert!(top1 <= top5 && top5 > 0.0, "{one}");
        // What was written is that encoder, with the classifier for a head.
        let npy = root.path().join("x.npy");
        let mut command = protem(&[
            "embed",
            "--what",
            "embedding",
            "--data",
            TEST,
            "--checkpoint",
        ]);
        let ended = run(command.arg(&out).arg("--out").arg(&npy)).expect(0);
        assert!(
            ended.stdout.contains("50 × 10 embeddings"),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn a_share_has_an_image_of_every_class() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    let images = root.path().join("images");
    class_folders(&images, 3, 1);
    (1..9).for_each(|i| picture(&images.join(format!("class-2/{i}.png")), 2, i));
    let test = root.path().join("test");
    class_folders(&test, 3, 2);
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    let (train, test) = (name(&images), name(&test));
    let sets = [
        "--train", &train, "--test", &test, "--share", "0.3", "--json",
    ];
    let found = figures(eval("finetune", &run_folder, &sets));
    // One of each of the first two, and three of nine.
    assert_eq!(found["protocol"]["train"]["images"], 5);
}

/// On the images of the run itself, in words.
#[test]
fn the_images_of_the_run_are_taken_where_none_are_named() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    let ended = eval("finetune", &run_folder, &["--classifier-lr", "0.1"]).expect(0);
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("fine-tuned top-1"), "{said}");
    assert!(
        said.contains("2 epochs, batch 96, learning rates 0.005 and 0.1"),
        "{said}"
    );
    assert!(said.contains("96 training and 19 test images"), "{said}");
    assert!(
        said.contains("a batch has all 96 images that are named, fewer than --batch 256"),
        "{said}"
    );
}

#[test]
fn images_that_fill_no_batch_are_said() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    let with = |batch| eval("probe", &run_folder, &["--batch", batch]).expect(0);
    with("50").says(&["leaves out 46 of 96 images", "--batch"]);
    for whole in ["48", "9"] {
        let said = with(whole).stderr;
        assert!(!said.contains("leaves out"), "{said}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused_before_the_work() {
    let root = tempfile::tempdir().unwrap();
    let run_folder = trained(root.path());
    let sets = ["--train", TRAIN, "--test", TEST];
    let with = |what: &str, args: &[&str]| eval(what, &run_folder, &[&sets[..], args].concat());
    for share in ["0", "-1", "1.5", "nan"] {
        let share = format!("--share={share}");
        with("finetune", &[&share])
            .expect(2)
            .says(&["above 0 and at most 1"]);
    }
    with("finetune", &["--batch", "1"])
        .expect(2)
        .says(&["--batch 1"]);
    with("probe", &["--batch", "0"])
        .expect(2)
        .says(&["--batch 0"]);
    with("probe", &["--lr", "nan"])
        .expect(2)
        .says(&["--lr NaN"]);
    with("finetune", &["--classifier-lr", "2000"])
        .expect(2)
        .says(&["--classifier-lr 2000"]);
    // Test images of which none can be read.
    let at = |name: &str| root.path().join(name);
    class_folders(&at("images"), 2, 4);
    class_folders(&at("torn"), 2, 1);
    for class in files(&at("torn")) {
        fs::write(&files(&class)[0], "torn").unwrap();
    }
    let file = at("none.safetensors");
    let named = ["images", "torn", "none.safetensors"].map(|name| at(name).display().to_string());
    let [images, torn, out] = &named;
    let ended = eval(
        "probe",
        &run_folder,
        &["--train", images, "--test", torn, "--out", out],
    );
    ended
        .expect(1)
        .says(&["no image of", "can be read: class-0/"]);
    assert!(!file.exists());
    with("probe", &["--out", "x.npy"])
        .expect(2)
        .says(&[".safetensors"]);
    let checkpoint = checkpoints(&run_folder).pop().unwrap();
    let kept = fs::read(&checkpoint).unwrap();
    with("probe", &["--out", checkpoint.to_str().unwrap()])
        .expect(2)
        .says(&["is a checkpoint of a run"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), kept);
    with(
        "finetune",
        &["--lr", "900", "--classifier-lr", "900", "--batch", "8"],
    )
    .expect(1)
    .says(&["the loss became", "lower the learning rate"]);
}
