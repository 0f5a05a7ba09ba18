//! `protem map`: an array in, places in the plane out, and what it refuses.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Writes rows of four values around three directions, in turn.
fn rows(path: &Path, count: usize) {
    let noise = |i: usize| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 0.6;
    let value = |i: usize, d: usize| if i % 3 == d { 1.0 } else { 0.0 } + noise(4 * i + d);
    let values: Vec<f32> = (0..4 * count).map(|at| value(at / 4, at % 4)).collect();
    write(path, &values, 4);
}

fn write(path: &Path, values: &[f32], columns: usize) {
    let shape = format!("({}, {columns})", values.len() / columns);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn map(features: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["map"]);
    command
        .arg("--features")
        .arg(features)
        .arg("--out")
        .arg(out);
    run(command.args(args))
}

/// The places in a file, of which there are `count`.
fn places(path: &Path, count: usize) -> Vec<[f32; 2]> {
    let bytes = fs::read(path).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    let shape = format!("'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 2)");
    assert!(header.contains(&shape), "{header}");
    let values: Vec<f32> = bytes[128..]
        .as_chunks()
        .0
        .iter()
        .map(|v| f32::from_le_bytes(*v))
        .collect();
    assert_eq!(values.len(), 2 * count);
    values.as_chunks().0.to_vec()
}

#[test]
fn what_is_alike_lies_together_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    rows(&at("x.npy"), 240);
    let ended = map(&at("x.npy"), &at("new/map.npy"), &["--json", "--threads=1"]).expect(0);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&told["rows"], &told["protocol"]["dim"]),
        (&240.into(), &4.into())
    );
    assert!(told["divergence"].as_f64().unwrap() > 0.0, "{told}");
    let found = places(&at("new/map.npy"), 240);
    let squared = |i: usize, j: usize| {
        let ([ax, ay], [bx, by]) = (found[i], found[j]);
        (ax - bx).powi(2) + (ay - by).powi(2)
    };
    let same = (0..240).filter(|i| {
        let others = (0..240).filter(|j| j != i);
        let nearest = others.min_by(|a, b| squared(*i, *a).total_cmp(&squared(*i, *b)));
        nearest.unwrap() % 3 == i % 3
    });
    assert!(same.count() > 230);
    let bytes = |name: &str| fs::read(at(name)).unwrap();
    let ended = map(&at("x.npy"), &at("two.npy"), &["--threads=2"]).expect(0);
    assert!(ended.stdout.starts_with("240 × 2 in "), "{}", ended.stdout);
    assert_eq!(bytes("new/map.npy"), bytes("two.npy"));
    for other in ["--seed=1", "--perplexity=5"] {
        // An earlier map is replaced.
        map(&at("x.npy"), &at("two.npy"), &[other]).expect(0);
        assert_ne!(bytes("new/map.npy"), bytes("two.npy"), "{other}");
    }
}

#[test]
fn few_rows_have_less_perplexity() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for count in [1, 2, 31] {
        rows(&at("x.npy"), count);
        let ended = map(&at("x.npy"), &at("map.npy"), &[]).expect(0);
        let most = ((count - 1) as f64 / 3.0).max(1.0);
        ended.says(&["--perplexity 30", &format!("{most:.2}")]);
        assert!(
            places(&at("map.npy"), count)
                .iter()
                .flatten()
                .all(|x| x.is_finite())
        );
    }
    // All neighbours of each other, and at one place.
    write(&at("same.npy"), &[0.0; 80], 2);
    let ended = map(&at("same.npy"), &at("map.npy"), &["--perplexity=13"]).expect(0);
    assert!(
        ended.stdout.contains(" t-SNE, 0.0000 nats"),
        "{}",
        ended.stdout
    );
}

#[test]
fn what_cannot_be_is_refused_and_nothing_else_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    rows(&at("x.npy"), 20);
    let refused = |features: &str, out: &str, args: &[&str], words: &[&str]| {
        map(&at(features), &at(out), args).expect(2).says(words);
    };
    for value in ["0.5", "-1", "nan", "inf"] {
        let option = format!("--perplexity={value}");
        refused(
            "x.npy",
            "map.npy",
            &[&option],
            &["--perplexity", "at least 1"],
        );
    }
    refused("x.npy", "x.npy", &[], &["would be replaced"]);
    refused("x.npy", "map.txt", &[], &[".npy"]);
    refused("x.npy", "", &[], &["--out"]);
    refused("none.npy", "map.npy", &[], &["none.npy"]);
    refused("x.npy", "map.npy", &["--threads=0"], &["--threads"]);
    fs::copy(at("x.npy"), at("other.npy")).unwrap();
    refused("x.npy", "other.npy", &[], &["is no map"]);
    assert_eq!(
        fs::read(at("x.npy")).unwrap(),
        fs::read(at("other.npy")).unwrap()
    );
    write(&at("odd.npy"), &[1.0, 2.0, 3.0, f32::NAN], 2);
    refused(
        "odd.npy",
        "map.npy",
        &[],
        &["odd.npy", "row 1", "not finite"],
    );
    write(&at("empty.npy"), &[], 3);
    refused("empty.npy", "map.npy", &[], &["no points"]);
    assert!(!at("map.npy").exists());
}
