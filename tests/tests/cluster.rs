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
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_array(
        path,
        "<f4",
        false,
        [values.len() / columns, columns],
        &bytes,
    );
}

fn write_array(path: &Path, descr: &str, fortran: bool, shape: [usize; 2], values: &[u8]) {
    let order = if fortran { "True" } else { "False" };
    let [rows, columns] = shape;
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").as_bytes());
    bytes.extend(values);
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
fn arrays_of_other_numbers_are_clustered_as_floats_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let points = corners(90);
    write(&at("x.npy"), &points, 2);
    cluster(&at("x.npy"), &at("expected"), &["--k=3"]).expect(0);
    // Columns first, as pandas has them, and values that no 32-bit float equals.
    let column = |c: usize| points.iter().skip(c).step_by(2).copied();
    let doubles = |more: f64| -> Vec<u8> {
        let values = column(0).chain(column(1)).map(|v| f64::from(v) + more);
        values.flat_map(f64::to_le_bytes).collect()
    };
    for (more, said) in [(0.0, false), (1e-12, true)] {
        write_array(&at("y.npy"), "<f8", true, [90, 2], &doubles(more));
        let ended = cluster(&at("y.npy"), &at("out"), &["--k=3"]).expect(0);
        assert_eq!(ended.stderr.contains("y.npy: values are rounded"), said);
        for name in ["centroids.npy", "labels.npy", "distances.npy"] {
            let (found, expected) = (at("out").join(name), at("expected").join(name));
            assert_eq!(values(&found), values(&expected), "{name}");
        }
    }
    write_array(&at("y.npy"), "<f8", true, [90, 2], &doubles(1e39));
    let ended = cluster(&at("y.npy"), &at("out"), &["--k=3"]).expect(2);
    ended.says(&["y.npy", "row 0", "beyond 32-bit floats"]);
    write_array(&at("y.npy"), "<c8", false, [45, 2], &doubles(0.0)[..720]);
    let ended = cluster(&at("y.npy"), &at("out"), &["--k=3"]).expect(2);
    ended.says(&["<c8", "array of numbers"]);
}

#[test]
fn beginnings_and_ends_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("x.npy"), &corners(90), 2);
    let told = |args: &[&str]| -> Value {
        let args = [&["--k=3", "--json"], args].concat();
        let ended = cluster(&at("x.npy"), &at("out"), &args).expect(0);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    // One point of each corner: two of one are drawn for one seed in some hundreds (of these for none).
    for seed in 0..5 {
        let seed = format!("--seed={seed}");
        let found = told(&["--init=k-means++", &seed]);
        assert_eq!(found["protocol"]["init"], "k-means++");
        assert!(found["objective"].as_f64().unwrap() < 10.0, "{found}");
    }
    let all = told(&["--tolerance=0"])["iterations"].as_u64().unwrap();
    let few = told(&["--tolerance=0.98"])["iterations"].as_u64().unwrap();
    assert!(few == 2 && all > 2, "{few} of {all}");
    let ended = cluster(&at("x.npy"), &at("out"), &["--k=3", "--tolerance=-1"]).expect(2);
    ended.says(&["tolerance"]);
    // Thirty places, each of them three times.
    let places: Vec<f32> = (0..180).map(|i| (i % 60) as f32).collect();
    write(&at("x.npy"), &places, 2);
    let args = ["--k=30", "--json", "--iters=3", "--empty=farthest"];
    let ended = cluster(&at("x.npy"), &at("out"), &args).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&found["empty"], &found["objective"]),
        (&0.into(), &0.0.into())
    );
    assert_eq!(found["protocol"]["empty"], "farthest");
}

#[test]
fn points_are_assigned_to_centroids_that_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("x.npy"), &corners(90), 2);
    cluster(&at("x.npy"), &at("clusters"), &["--k=3"]).expect(0);
    let centroids = at("clusters/centroids.npy");
    let assign = |input: &Path, out: &Path, args: &[&str]| {
        let mut command = protem(&["assign"]);
        command.arg("--input").arg(input).arg("--out").arg(out);
        run(command.arg("--centroids").arg(&centroids).args(args))
    };
    assign(&at("x.npy"), &at("same"), &["--threads=1"]).expect(0);
    for name in ["labels.npy", "distances.npy"] {
        let expected = values(&at("clusters").join(name));
        assert_eq!(values(&at("same").join(name)), expected, "{name}");
    }
    // Fewer points than centroids.
    write(&at("one.npy"), &corners(90)[..2], 2);
    let ended = assign(&at("one.npy"), &at("one"), &["--json"]).expect(0);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&told["points"], &told["k"], &told["empty"]),
        (&1.into(), &3.into(), &2.into())
    );
    assert_eq!(
        values(&at("one/labels.npy")),
        values(&at("same/labels.npy"))[..1]
    );
    // What it cannot do.
    write(&at("wide.npy"), &corners(90), 3);
    assign(&at("wide.npy"), &at("no"), &[])
        .expect(2)
        .says(&["rows of 2 values", "of 3"]);
    assign(&at("x.npy"), &at("no"), &["--threads=0"])
        .expect(2)
        .says(&["threads"]);
    write(&at("none.npy"), &[], 2);
    assign(&at("none.npy"), &at("no"), &[])
        .expect(2)
        .says(&["holds no points"]);
    write(&at("holed.npy"), &[0.0, 1.0, f32::NAN, 0.0], 2);
    assign(&at("holed.npy"), &at("no"), &[])
        .expect(2)
        .says(&["holed.npy", "row 1", "not finite"]);
    fs::copy(&centroids, at("same/labels.npy")).unwrap();
    let ended = assign(&at("same/labels.npy"), &at("same"), &[]).expect(2);
    ended.says(&["would be replaced"]);
    assert!(!at("no").exists());
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
    let given = format!("--init={}", init.display());
    refused(&["--k=3", &given], "initial centroids: row 0");
    refused(&["--k=3", "--iters=0"], "at least 1");
    let mut points = corners(9);
    points[4] = f32::NAN;
    write(&input, &points, 2);
    refused(&["--k=3"], "x.npy: row 2 holds a value that is not finite");
}
