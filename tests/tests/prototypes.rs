//! `protem prototypes`: the last E-step's clusterings as files.

use protem_tests::*;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn prototypes(checkpoint: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["prototypes", "--checkpoint"]);
    command.arg(checkpoint).arg("--out").arg(out);
    run(command.args(args))
}

/// The values of an array, and what its header says.
fn array(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    (
        String::from_utf8_lossy(&bytes[10..header]).into_owned(),
        bytes[header..].to_vec(),
    )
}

/// They are the checkpoint's, and images have the names of files in the order of labels.
#[test]
fn they_are_those_of_the_last_e_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("images"), 2, 12);
    let images = at("images");
    let trained = [
        "method.clusters=[3,5,3]",
        "data.held_out=0",
        "optim.epochs=2",
    ];
    run(&mut tiny(&at("run"), &[images.to_str().unwrap()], &trained)).expect(0);
    let newest = checkpoints(&at("run")).pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();

    let ended = prototypes(&at("run"), &at("new/out"), &[]).expect(0);
    assert!(
        ended
            .stdout
            .starts_with("K = 3: 24 images of epoch 2 in clusters of ")
    );
    for (i, (name, k)) in [("k3", 3), ("k5", 5), ("k3-2", 3)].into_iter().enumerate() {
        for (part, dtype, shape) in [
            ("centroids", "<f4", format!("({k}, ")),
            ("concentration", "<f4", format!("({k},)")),
            ("labels", "<u4", "(24,)".to_owned()),
        ] {
            let (header, values) = array(&at("new/out").join(name).join(format!("{part}.npy")));
            let tensor = stored.tensor(&format!("clustering.{i}.{part}")).unwrap();
            assert!(values == tensor.data(), "{name}, {part}");
            assert!(
                header.contains(dtype) && header.contains(&shape),
                "{header}"
            );
        }
    }
    let names = fs::read_to_string(at("new/out/images.txt")).unwrap();
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names.len(), 24);
    for name in &names {
        assert!(images.join(name).is_file(), "{name}");
    }
    assert!(names.is_sorted(), "{names:?}");

    // An earlier one is written over; a file of the checkpoints is the same run's.
    let ended = prototypes(&newest, &at("new/out"), &["--json"]).expect(0);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["images"], &told["epoch"]), (&24.into(), &2.into()));
    let ks: Vec<u64> = told["clusterings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["k"].as_u64().unwrap())
        .collect();
    assert_eq!(ks, [3, 5, 3]);

    // Not beside those of another K, nor names of other images.
    fs::rename(at("new/out/k5"), at("new/out/k6")).unwrap();
    let refused = |word: &str| {
        let before = fs::read(at("new/out/k3/labels.npy")).unwrap();
        fs::write(at("new/out/k3/labels.npy"), "old").unwrap();
        prototypes(&at("run"), &at("new/out"), &[])
            .expect(2)
            .says(&[word, "name another folder"]);
        assert_eq!(fs::read(at("new/out/k3/labels.npy")).unwrap(), b"old");
        fs::write(at("new/out/k3/labels.npy"), before).unwrap();
    };
    refused("k6 is there already");
    fs::remove_dir_all(at("new/out/k6")).unwrap();

    // Where images are gone, all else is written.
    fs::remove_file(images.join(names[3])).unwrap();
    refused("images.txt is there already");
    let ended = prototypes(&at("run"), &at("moved"), &["--json"])
        .expect(0)
        .says(&["images.txt is left out"]);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(told["names"].is_null(), "{told}");
    assert!(at("moved/k5/labels.npy").exists() && !at("moved/images.txt").exists());
}

#[test]
fn what_has_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |checkpoint: &Path, code, words: &[&str]| {
        prototypes(checkpoint, &at("out"), &[])
            .expect(code)
            .says(words);
        assert!(!at("out").join("k3").exists());
    };
    run(&mut tiny(
        &at("moco"),
        &[],
        &["optim.epochs=1", "mode=moco-v2"],
    ))
    .expect(0);
    refused(&at("moco"), 2, &["one of MoCo"]);
    run(&mut tiny(
        &at("early"),
        &[],
        &["optim.epochs=1", "method.warmup_epochs=1"],
    ))
    .expect(0);
    refused(
        &at("early"),
        2,
        &["the warm-up of 1 epoch is the whole run"],
    );
    refused(
        &at("nowhere"),
        2,
        &["there is no checkpoint", "Name a run's folder"],
    );

    run(&mut tiny(
        &at("run"),
        &[],
        &["optim.epochs=2", "method.clusters=[3]"],
    ))
    .expect(0);
    fs::create_dir(at("out")).unwrap();
    fs::write(at("out/images.txt"), "mine").unwrap();
    refused(
        &at("run"),
        2,
        &["images.txt is there already", "name another folder"],
    );
    assert_eq!(fs::read(at("out/images.txt")).unwrap(), b"mine");
}
