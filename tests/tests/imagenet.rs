//! ImageNet's archives behind the commands: whatever is done with them comes out as with the folders
//! that they are unpacked to.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VAL: &str = "ILSVRC2012_img_val.tar";
const DEVKIT: &str = "ILSVRC2012_devkit_t12.tar.gz";

/// Four classes and six images of validation, which the devkit tells the classes of.
fn unpacked(root: &Path) {
    for (class, images) in [(1, 9), (2, 8), (3, 10), (4, 9)] {
        let folder = root.join(format!("train/n0000000{class}"));
        fs::create_dir_all(&folder).unwrap();
        for i in 0..images {
            let image = folder.join(format!("n0000000{class}_{}.JPEG", 7 * i));
            picture(&image, class, i);
        }
    }
    let folder = root.join("val");
    fs::create_dir_all(&folder).unwrap();
    for i in 1..=6 {
        picture(
            &folder.join(format!("ILSVRC2012_val_{i:08}.JPEG")),
            i % 4,
            i,
        );
    }
}

/// An archive of files, called by their names.
fn archive(mut files: Vec<std::path::PathBuf>) -> Vec<u8> {
    // Folders are read in any order, and so are archives written.
    files.reverse();
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        archive
            .append_path_with_name(&file, file.file_name().unwrap())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn packed(unpacked: &Path, root: &Path) {
    fs::create_dir_all(root.join("classes")).unwrap();
    for class in files(&unpacked.join("train")) {
        let name = class.file_name().unwrap().to_str().unwrap();
        let inner = root.join(format!("classes/{name}.tar"));
        fs::write(inner, archive(files(&class))).unwrap();
    }
    fs::write(root.join(TRAIN), archive(files(&root.join("classes")))).unwrap();
    fs::remove_dir_all(root.join("classes")).unwrap();
    fs::write(root.join(VAL), archive(files(&unpacked.join("val")))).unwrap();
}

fn devkit(root: &Path) {
    let fixture = "crates/protem-data/tests/fixtures/devkit";
    fs::copy(workspace().join(fixture).join(DEVKIT), root.join(DEVKIT)).unwrap();
}

fn inspected(name: &str) -> Value {
    let ended = run(&mut protem(&["data", "inspect", name, "--json"])).expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn archives_train_embed_and_measure_as_their_folders_do() {
    let root = tempfile::tempdir().unwrap();
    let [plain, tars] = ["plain", "tars"].map(|name| root.path().join(name));
    unpacked(&plain);
    packed(&plain, &tars);
    let mut embedded = Vec::new();
    let mut measured = Vec::new();
    for set in [&plain, &tars] {
        devkit(set);
        let split = |split: &str| format!("{}?split={split}", set.display());
        let (train, val) = (split("train"), split("val"));
        let out = set.with_extension("run");
        let small = [
            "method.clusters=[6]",
            "method.negatives=5",
            "optim.epochs=2",
        ];
        run(&mut tiny(&out, &[&train, "--test", &val], &small)).expect(0);
        let features = out.join("features.npy");
        let mut command = protem(&["embed", "--data", &val, "--out"]);
        run(command.arg(&features).arg("--checkpoint").arg(&out)).expect(0);
        embedded.push(fs::read(features).unwrap());
        let mut knn = protem(&["eval", "knn", "--k=3", "--train", &train, "--test", &val]);
        measured.push(run(knn.arg("--checkpoint").arg(&out)).expect(0).stdout);
        let classes = inspected(&val);
        let classes = classes["classes"].as_array().unwrap();
        let counts = classes
            .iter()
            .map(|class| class["images"].as_u64().unwrap());
        assert_eq!(counts.collect::<Vec<_>>(), [3, 1, 1, 1]);
    }
    let [one, other] = [&plain, &tars].map(|set| set.with_extension("run"));
    let states = [&one, &other].map(|out| {
        let mut state = last_state(out);
        // It names the settings, and so the folders.
        state.remove("protem").unwrap();
        state
    });
    assert!(states[0] == states[1] && states[0].len() > 3);
    let lines = [&one, &other].map(|out| {
        let mut lines = timeless_metrics(out);
        lines.retain(|line| line["event"] != "run");
        lines
    });
    assert!(lines[0] == lines[1] && !lines[0].is_empty());
    assert!(embedded[0] == embedded[1] && measured[0] == measured[1]);
    for split in ["train", "val"] {
        let [one, other] = [&plain, &tars].map(|set| {
            let mut told = inspected(&format!("{}?split={split}", set.display()));
            let source = told.as_object_mut().unwrap().remove("source");
            (told, source)
        });
        assert_eq!(one.0, other.0);
        assert_eq!(one.0["unreadable"], serde_json::json!([]));
    }
    // As shards they are what they were.
    let shards = root.path().join("shards");
    let mut pack = protem(&["data", "pack", &format!("{}?split=train", tars.display())]);
    run(pack.arg("--out").arg(&shards)).expect(0);
    assert_eq!(inspected(shards.to_str().unwrap())["images"], 36);
}

#[test]
fn an_archive_that_is_not_whole_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let [plain, tars] = ["plain", "tars"].map(|name| root.path().join(name));
    unpacked(&plain);
    packed(&plain, &tars);
    let whole = fs::read(tars.join(TRAIN)).unwrap();
    fs::write(tars.join(TRAIN), &whole[..whole.len() / 2]).unwrap();
    let train = format!("{}?split=train", tars.display());
    let out = root.path().join("run");
    let ended = run(&mut tiny(&out, &[&train], &[])).expect(1);
    ended.says(&[TRAIN, "is damaged at byte", "fetch or write the file again"]);
    assert!(!out.exists());
    // Without a devkit or a list, validation has no classes; a split that is not there is told.
    let val = format!("{}?split=val", tars.display());
    assert_eq!(inspected(&val)["classes"], serde_json::json!([]));
    let ended = run(&mut protem(&["data", "inspect", tars.to_str().unwrap()])).expect(2);
    ended.says(&["several splits (train, val)"]);
}
