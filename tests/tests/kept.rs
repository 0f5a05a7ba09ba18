//! Which checkpoints a run makes and keeps.

use protem_tests::*;
use serde_json::Value;
use std::path::Path;

/// Steps of the checkpoints that are there.
fn steps(out: &Path) -> Vec<u64> {
    let step = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        name.trim_start_matches("step-").parse().unwrap()
    };
    checkpoints(out).iter().map(step).collect()
}

/// Six steps an epoch, as of [`TINY`], but saved behind epochs alone.
fn trained(out: &Path, set: &[&str]) -> Ended {
    let set = [
        &[
            "checkpoint.every_steps=1000",
            "checkpoint.keep_last=1",
            "optim.epochs=7",
        ],
        set,
    ]
    .concat();
    run(&mut tiny(out, &[], &set)).expect(0)
}

fn best(out: &Path) -> Value {
    let header: Value = serde_json::from_slice(&last_state(out)["protem"]).unwrap();
    header["position"]["best"].clone()
}

#[test]
fn the_best_and_every_third_are_kept_besides_the_last() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let plain = trained(&out, &[]);
    assert_eq!(steps(&out), [42]);
    assert!(!plain.stdout.contains("Best"), "{}", plain.stdout);
    let found = best(&out);
    let (step, epoch) = (
        found["step"].as_u64().unwrap(),
        found["epoch"].as_u64().unwrap(),
    );
    assert_eq!(step, 6 * epoch);
    // The first of the highest that were told.
    let told = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let epochs = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let epochs: Vec<f64> = epochs
        .filter(|event| event["event"] == "epoch")
        .map(|event| event["knn_top1"].as_f64().unwrap())
        .collect();
    let highest = epochs.iter().copied().fold(0.0, f64::max);
    assert_eq!(found["knn_top1"].as_f64(), Some(highest));
    assert_eq!(
        epochs.iter().position(|x| *x == highest),
        Some(epoch as usize - 1)
    );

    let out = root.path().join("kept");
    let set = [
        "checkpoint.keep_best=true",
        "checkpoint.keep_every=3",
        "checkpoint.every_epochs=7",
    ];
    let ended = trained(&out, &set);
    let mut expected = vec![18, 36, 42, step];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(steps(&out), expected);
    let line = ended.stdout.lines().find(|line| line.starts_with("Best"));
    let name = format!("step-{step:010}.safetensors");
    assert!(
        line.is_some_and(|line| line.contains(&name)),
        "{}",
        ended.stdout
    );
}

/// What was saved before the first step is of no epoch.
#[test]
fn the_beginning_is_not_kept() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    trained(
        &out,
        &["checkpoint.keep_every=1", "checkpoint.every_epochs=1"],
    );
    let kept = steps(&out);
    let folder = out.join("checkpoints");
    let beginning = folder.join("step-0000000000.safetensors");
    std::fs::copy(checkpoints(&out).pop().unwrap(), &beginning).unwrap();
    let config = out.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let epochs = text
        .lines()
        .find(|line| line.starts_with("epochs = "))
        .unwrap();
    std::fs::write(&config, text.replace(epochs, "epochs = 9")).unwrap();
    run(&mut resume(&out)).expect(0);
    assert!(!beginning.exists() && steps(&out).len() > kept.len());
}

/// A best that is not there, or that was measured otherwise, is none.
#[test]
fn the_best_is_one_that_is_kept_and_measured_alike() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    trained(&out, &["optim.epochs=4"]);
    let before = best(&out);
    let config = out.join("config.toml");
    let set = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&config, text.replace(from, to)).unwrap();
    };
    set("keep_best = false", "keep_best = true");
    set("epochs = 4", "epochs = 6");
    let ended = run(&mut resume(&out)).expect(0);
    let said = ended.stdout + &ended.stderr;
    let step = best(&out)["step"].as_u64().unwrap();
    assert!(steps(&out).contains(&step), "{said}");
    let was_kept = before["step"] == 24;
    assert_eq!(said.contains("counts from here on"), !was_kept, "{said}");
    set("knn_k = 20", "knn_k = 3");
    set("epochs = 6", "epochs = 7");
    let ended = run(&mut resume(&out)).expect(0);
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("counts from here on"), "{said}");
    assert_eq!(best(&out)["step"], 42);
    // Also where the measure changed while the best was not kept.
    set("keep_best = true", "keep_best = false");
    set("knn_k = 3", "knn_k = 5");
    set("epochs = 7", "epochs = 8");
    run(&mut resume(&out)).expect(0);
    assert_eq!(best(&out)["step"], 48);
    // Without a measure there is none.
    let set = [
        "eval.knn_every=0",
        "checkpoint.keep_best=true",
        "optim.epochs=1",
    ];
    let ended = trained(&root.path().join("none"), &set);
    assert!((ended.stdout + &ended.stderr).contains("keep_best keeps nothing"));
}

#[test]
fn a_run_may_save_by_the_clock() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    trained(
        &out,
        &[
            "checkpoint.every_minutes=1e-9",
            "checkpoint.keep_last=100",
            "optim.epochs=2",
        ],
    );
    assert_eq!(steps(&out), (1..=12).collect::<Vec<_>>());
    let out = root.path().join("seldom");
    trained(
        &out,
        &[
            "checkpoint.every_minutes=1e9",
            "checkpoint.keep_last=100",
            "optim.epochs=2",
        ],
    );
    assert_eq!(steps(&out), [6, 12]);
}
