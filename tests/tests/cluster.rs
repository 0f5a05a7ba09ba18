//! `protem cluster`: arrays in, arrays out, and what it refuses.

use protem_tests::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Points round three corners of a square of side ten, in turn; with 90 rows the first is of
/// corner 0, the second of corner 1 and so on.
fn corners(rows: usize) -> Vec<f32> {
    let noise = |i: usize| (i * 37 % 11) as f32 / 20.0 - 0.25;
    (0..rows)
        .flat_map(|i| {
            let (x, y) = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)][i % 3];
            [x + noise(i), y + noise(i + 5)]
        })
        .collect()
}

fn write(path: &Path, values: &[f32], columns: usize) {
    let shape = format!("({}, {columns})", values.len() / columns);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn values(path: &Path) -> Vec<[u8; 4]> {
    let bytes = fs::read(path).unwrap();
    bytes[128..]
        .chunks_exact(4)
        .map(|v| v.try_into().unwrap())
        .collect()
}

fn cluster(input: &Path, out: &Path, args: &[&str]) -> Ended {
    let mut command = protem(&["cluster"]);
    command.arg("--input").arg(input).arg("--out").arg(out);
    run(command.args(args))
}

#[test]
fn finds_the_clusters_there_are_and_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    let points = corners(90);
    write(&input, &points, 2);
    let ended = cluster(&input, &out, &["--k=3", "--restarts=5", "--json"]).expect(0);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["k"], &told["empty"]), (&3.into(), &0.into()));
    let protocol = &told["protocol"];
    assert_eq!(
        (&protocol["dim"], &protocol["restarts"]),
        (&2.into(), &5.into())
    );
    let labels: Vec<u32> = values(&out.join("labels.npy"))
        .into_iter()
        .map(u32::from_le_bytes)
        .collect();
    assert_eq!(labels.len(), 90);
    assert!(
        labels.iter().enumerate().all(|(i, l)| *l == labels[i % 3]),
        "{labels:?}"
    );
    let floats = |name| -> Vec<f32> {
        values(&out.join(name))
            .into_iter()
            .map(f32::from_le_bytes)
            .collect()
    };
    let (centroids, distances) = (floats("centroids.npy"), floats("distances.npy"));
    assert_eq!((centroids.len(), distances.len()), (6, 90));
    for (i, distance) in distances.iter().enumerate() {
        let at = 2 * labels[i] as usize;
        let square = |d: usize| (points[2 * i + d] - centroids[at + d]).powi(2);
        assert!((distance - square(0) - square(1)).abs() < 1e-5);
    }
    for prune in ["on", "off"] {
        let other = folder.path().join(prune);
        let prune = format!("--prune={prune}");
        cluster(&input, &other, &["--k=3", "--restarts=5", &prune]).expect(0);
        for name in ["centroids.npy", "labels.npy", "distances.npy"] {
            assert_eq!(values(&out.join(name)), values(&other.join(name)), "{name}");
        }
    }
    let sum: f64 = distances.iter().map(|d| f64::from(*d)).sum();
    assert!((told["objective"].as_f64().unwrap() - sum).abs() < 1e-6 * sum);
}

#[test]
fn several_k_have_folders_of_their_own_and_centroids_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    write(&input, &corners(90), 2);
    let ended = cluster(&input, &out, &["--k=3,6", "--json"]).expect(0);
    let ks: Vec<u64> = ended
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["k"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(ks, [3, 6]);
    let init = out.join("k6/centroids.npy");
    let again = folder.path().join("again");
    let init_flag = format!("--init={}", init.display());
    let ended = cluster(&input, &again, &["--k=6", &init_flag]).expect(0);
    assert!(ended.stdout.contains("K = 6"), "{}", ended.stdout);
    // Centroids that stand already stay where they are.
    assert_eq!(values(&init), values(&again.join("centroids.npy")));
    let ended = cluster(&input, &again, &["--k=3,6,3"]).expect(2);
    ended.says(&["names 3 twice"]);
    // The corners are not on the unit circle.
    let ended = cluster(&input, &again, &["--k=3", "--spherical"]).expect(0);
    ended.says(&["a point of length"]);
    let ended = cluster(&input, &again, &["--k=3,6", &init_flag]).expect(2);
    assert!(ended.stderr.contains("1 to 3 of them"), "{}", ended.stderr);
}

#[test]
fn what_was_read_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("x.npy"), &corners(30), 2);
    cluster(&at("x.npy"), &at("out"), &["--k=5,3"]).expect(0);
    let before = fs::read(at("out/k5/centroids.npy")).unwrap();
    let ended = cluster(&at("out/k5/centroids.npy"), &at("out/k5"), &["--k=2"]);
    ended
        .expect(2)
        .says(&["centroids.npy would be replaced", "--out"]);
    let init = format!("--init={}", at("out/k3/../k5/centroids.npy").display());
    let ended = cluster(&at("x.npy"), &at("out"), &["--k=5,6", &init]);
    ended.expect(2).says(&["would be replaced"]);
    assert_eq!(fs::read(at("out/k5/centroids.npy")).unwrap(), before);
    cluster(&at("out/k5/centroids.npy"), &at("coarse"), &["--k=2"]).expect(0);
}

#[test]
fn refusals_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("x.npy"), folder.path().join("out"));
    let refused = |args: &[&str], needle: &str| {
        let ended = cluster(&input, &out, args).expect(2);
        assert!(ended.stderr.contains(needle), "{}", ended.stderr);
        assert!(!out.exists());
    };
    refused(&["--k=3"], "x.npy");
    fs::write(&input, "no array").unwrap();
    refused(&["--k=3"], "protem embed");
    write(&input, &corners(9), 2);
    refused(&["--k=10"], "1 to 9 clusters");
    refused(&["--k=0"], "1 to 9 clusters");
    // Before the first of them is written.
    refused(&["--k=3,0"], "--k 0");
    let init = folder.path().join("init.npy");
    write(&init, &[f32::NAN, 0.0], 2);
    let ended = cluster(
        &input,
        &out,
        &["--k=3", &format!("--init={}", init.display())],
    )
    .expect(1);
    assert!(
        ended.stderr.contains("initial centroids: row 0"),
        "{}",
        ended.stderr
    );
    refused(&["--k=3", "--iters=0"], "at least 1");
    let mut points = corners(9);
    points[4] = f32::NAN;
    write(&input, &points, 2);
    let ended = cluster(&input, &out, &["--k=3"]).expect(1);
    assert!(ended.stderr.contains("row 2"), "{}", ended.stderr);
}
