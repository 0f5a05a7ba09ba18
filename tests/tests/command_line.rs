//! What the command line shows: help with examples, the schema, the plan, progress as JSON.

use protem_tests::*;
use serde_json::Value;

#[test]
fn every_command_shows_an_example() {
    let pages = tempfile::tempdir().unwrap();
    run(protem(&["man", "--out"]).arg(pages.path())).expect(0);
    let pages = files(pages.path());
    assert!(!pages.is_empty());
    for page in pages {
        // protem-eval-knn.1
        let command = page.file_stem().unwrap().to_str().unwrap();
        let command: Vec<&str> = command.split('-').skip(1).collect();
        let ended = run(protem(&command).arg("--help")).expect(0);
        let example = ended.stdout.split("Example").nth(1);
        let example = example.unwrap_or_else(|| panic!("no example: {}", ended.stdout));
        assert!(example.contains("protem "), "{example}");
    }
    let ended = run(&mut protem(&["--help"])).expect(0);
    for example in [
        "protem train ",
        "protem eval knn ",
        "protem embed ",
        "protem config schema",
    ] {
        assert!(ended.stdout.contains(example), "{example}");
    }
    run(&mut protem(&["trian"])).expect(2);
}

#[test]
fn shells_and_man_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&mut protem(&["completions", shell])).expect(0);
        for word in ["finetune", "checkpoint", "resume"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    run(&mut protem(&["completions", "cmd"])).expect(2);
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("share/man1");
    let man = |out: &std::path::Path| run(protem(&["man", "--out"]).arg(out));
    man(&out).expect(0);
    let page = std::fs::read_to_string(out.join("protem-train.1")).unwrap();
    assert!(page.contains("overwrite"), "{page}");
    man(&out.join("protem-train.1"))
        .expect(2)
        .says(&["cannot write"]);
}

#[test]
fn bench_times_every_kind_of_step() {
    let small = [
        "--width=8",
        "--batch=8",
        "--image-size=16",
        "--iters=2",
        "--json",
    ];
    let kinds: [&[&str]; 4] = [
        &["bench", "step"],
        &["bench", "step", "--what=pcl", "--threads=2"],
        &["bench", "features", "--threads=1"],
        &["bench", "step", "--encoder=resnet50", "--stem=imagenet"],
    ];
    for kind in kinds {
        for precision in ["f32", "bf16"] {
            let precision_flag = format!("--precision={precision}");
            let ended = run(protem(kind).args(small).arg(precision_flag)).expect(0);
            let found: Value = serde_json::from_str(&ended.stdout).unwrap();
            let seconds = found["median_seconds"].as_f64().unwrap();
            let rate = found["images_per_second"].as_f64().unwrap();
            assert!((rate * seconds - 8.0).abs() < 1e-6, "{found}");
            assert!(found["peak_bytes"].as_u64().unwrap() > 0, "{found}");
            assert_eq!(found["precision"], precision);
        }
    }
    let ended = run(protem(&["bench", "step"]).arg("--iters=0")).expect(2);
    assert!(ended.stderr.contains("between 1"), "{}", ended.stderr);
    for what in ["step", "features"] {
        let huge = ["bench", what, "--batch=1048576", "--image-size=4096"];
        run(&mut protem(&huge)).expect(2).says(&["lower --batch"]);
    }
    let ended = run(protem(&["bench", "step"]).arg("--precision=f16")).expect(2);
    assert!(ended.stderr.contains("`bf16`"), "{}", ended.stderr);
}

#[test]
fn doctor_names_the_kernels_and_can_be_told_others() {
    let ended = run(&mut protem(&["doctor", "--json"])).expect(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let available = found["isa_available"].as_array().unwrap();
    assert_eq!(available.last(), Some(&found["isa"]), "{found}");
    for level in available {
        let level = level.as_str().unwrap();
        let ended = run(protem(&["doctor"]).env("PROTEM_ISA", level)).expect(0);
        let line = format!("{level}, as PROTEM_ISA says");
        assert!(ended.stdout.contains(&line), "{}", ended.stdout);
    }
    let ended = run(protem(&["doctor"]).env("PROTEM_ISA", "mmx")).expect(2);
    assert!(ended.stderr.contains("portable"), "{}", ended.stderr);
}

#[test]
fn the_schema_documents_every_key() {
    let ended = run(&mut protem(&["config", "schema"])).expect(0);
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mut seen = 0;
    let mut check = |name: &str, property: &Value| {
        assert!(property["description"].is_string(), "{name}: {property}");
        seen += 1;
    };
    for (name, property) in schema["properties"].as_object().unwrap() {
        check(name, property);
        let section = property["$ref"].as_str().map(|r| r.trim_start_matches('#'));
        let section = section.and_then(|r| schema.pointer(r));
        for (key, property) in section
            .and_then(|s| s["properties"].as_object())
            .into_iter()
            .flatten()
        {
            check(&format!("{name}.{key}"), property);
        }
    }
    assert!(seen > 45, "{seen}");
    for value in ["pcl-v1", "moco-v2", "f32", "bf16", "lars", "cosine"] {
        assert!(ended.stdout.contains(&format!("\"{value}\"")), "{value}");
    }
    // A config file can be written from what is shown.
    let ended = run(&mut protem(&["config", "show", "--set", "optim.lr=0.5"])).expect(0);
    assert!(ended.stdout.contains("lr = 0.5"), "{}", ended.stdout);
}

#[test]
fn a_dry_run_prints_the_plan_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = protem(&["train", "--dry-run", "--out"]);
    command.arg(&out);
    for pair in [
        "data.generated_images=300",
        "encoder.width=4",
        "optim.batch=32",
    ] {
        command.args(["--set", pair]);
    }
    // Not given: they follow from the number of images.
    let config = folder.path().join("empty.toml");
    std::fs::write(&config, "").unwrap();
    command.arg("--config").arg(&config);
    let ended = run(&mut command).expect(0);
    let without = run(command.args(["--set", "mode=moco-v2"])).expect(0);
    assert!(
        ended.stdout.contains("negative prototypes"),
        "{}",
        ended.stdout
    );
    assert!(
        !without.stdout.contains("# queue 288, K"),
        "{}",
        without.stdout
    );
    for said in [
        "queue = 288",
        "method.queue = 288: the largest multiple of the batch (32)",
        "method.clusters = [6, 15, 30]: a 50th, a 20th and a 10th of the 300",
        "method.negatives = 30: the queue's length (288), at most the largest K (30)",
        "# memory ",
        "# disk ",
        "# time ",
        "Estimates",
        "9 steps an epoch, 1800 in all",
    ] {
        assert!(
            ended.stdout.contains(said),
            "no `{said}` in {}",
            ended.stdout
        );
    }
    let ended = run(command.args(["--log-format", "json"])).expect(0);
    let plan: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(plan["settings"]["method"]["queue"], 288);
    assert_eq!(plan["steps"], 1800);
    for key in ["memory_bytes", "disk_bytes"] {
        assert!(plan[key].as_u64().unwrap() > 100_000, "{plan}");
    }
    assert!(
        plan["estimate"]["seconds"].as_f64().unwrap() > 1.0,
        "{plan}"
    );
    assert!(!out.exists());
    // It ends as the run would.
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("config.toml"), "").unwrap();
    run(&mut command).expect(2).says(&["is of no run"]);
    std::fs::write(out.join(".lock"), "").unwrap();
    run(&mut command)
        .expect(2)
        .says(&["--resume", "--overwrite"]);
    std::fs::remove_dir_all(&out).unwrap();
    // The settings it prints are a config file that checks to itself.
    let ended = run(&mut protem(&[
        "train",
        "--dry-run",
        "--set",
        "encoder.width=4",
    ]))
    .expect(0);
    std::fs::write(&config, &ended.stdout).unwrap();
    let mut command = protem(&["train", "--dry-run", "--config"]);
    let again = run(command.arg(&config)).expect(0);
    let settings = |text: &str| text.split("\n# ").next().unwrap().to_owned();
    assert_eq!(settings(&ended.stdout), settings(&again.stdout));
}

#[test]
fn the_disk_a_dry_run_names_is_what_checkpoints_take() {
    let folder = tempfile::tempdir().unwrap();
    for (arch, beyond) in [("resnet18", 64), ("resnet101", 128)] {
        let out = folder.path().join(arch);
        let of_arch = format!("encoder.arch={arch}");
        let set = [&of_arch, "optim.lr=0.001", "optim.epochs=2"];
        let ended = run(&mut tiny(&out, &["--dry-run", "--log-format=json"], &set)).expect(0);
        let plan: Value = serde_json::from_str(&ended.stdout).unwrap();
        run(&mut tiny(&out, &[], &set)).expect(0);
        let found = checkpoints(&out).pop().unwrap().metadata().unwrap().len();
        let said = plan["estimate"]["checkpoint_bytes"].as_u64().unwrap();
        assert!(
            found <= said && said < found + beyond * 1024,
            "{arch}: {found} {said}"
        );
    }
}

#[test]
fn the_learning_rate_is_scaled_when_asked_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let set = ["optim.scale_lr=true", "optim.lr=0.16"];
    let ended = run(&mut tiny(folder.path(), &["--dry-run"], &set)).expect(0);
    assert!(
        ended.stdout.contains("0.16 · 16/256 = 0.01"),
        "{}",
        ended.stdout
    );
}

#[test]
fn progress_as_json_is_json_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let set = ["optim.epochs=2", "method.negatives=25"];
    let ended = run(&mut tiny(&out, &["--log-format", "json"], &set)).expect(0);
    let lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let notes = lines.iter().filter(|l| l["event"] == "note").count();
    assert!(notes > 0);
    let beside = ["note", "phase"].map(Value::from);
    let told: Vec<&Value> = lines
        .iter()
        .filter(|l| !beside.contains(&l["event"]))
        .collect();
    assert_eq!(told, metrics(&out).iter().collect::<Vec<_>>());
    assert_eq!(ended.stderr, "");
}

#[test]
fn diagnostics_follow_rust_log() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = tiny(&out, &["--log-format", "json"], &[]);
    let ended = run(command.env("RUST_LOG", "protem_em=debug")).expect(0);
    let ended = ended.says(&["saved", "clustered", "embedded", "e_step"]);
    assert!(
        ended.stdout.lines().all(|line| line.starts_with('{')),
        "{}",
        ended.stdout
    );
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused() {
    let ended = run(protem(&["config", "schema"]).env("PROTEM_ISA", "avx3")).expect(2);
    ended.says(&["PROTEM_ISA = avx3", "portable"]);
}
