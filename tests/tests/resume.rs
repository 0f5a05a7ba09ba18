//! Runs that stop, by a signal, a kill or a crash, and go on to the same bits.

use protem_tests::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child that is not left behind when a test fails.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits until `seen` or the end; true if it was seen.
    fn wait_until(&mut self, mut seen: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        loop {
            if seen() {
                return true;
            }
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "nothing happens"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// At once: another process to send the signal would take longer than a checkpoint.
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn end(mut self) -> Ended {
        let read = |from: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            from.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let stdout = read(self.0.stdout.as_mut().map(|s| s as _));
        let stderr = read(self.0.stderr.as_mut().map(|s| s as _));
        let code = self.0.wait().unwrap().code();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that a user would give next.
fn next(out: &Path, set: &[&str]) -> Command {
    if out.join("config.toml").exists() {
        resume(out)
    } else {
        tiny(out, &[], set)
    }
}

#[test]
fn twenty_kills_change_nothing() {
    const KILLS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, killed) = (folder.path().join("unbroken"), folder.path().join("killed"));
    let set = ["optim.epochs=5", "checkpoint.keep_last=2"];
    let begun = Instant::now();
    run(&mut tiny(&unbroken, &[], &set)).expect(0);
    let whole = begun.elapsed();
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let (mut kills, mut while_saving) = (0, 0);
    // More if need be: of a few, it may be that none hits a checkpoint being written.
    while kills < KILLS || while_saving == 0 && kills < 10 * KILLS {
        let mut child = Running::start(&mut next(&killed, &set));
        let folder = killed.join("checkpoints");
        let alive = if kills % 2 == 0 {
            // Some steps on, the moment a file is seen that is not yet in place.
            let after = checkpoints(&killed).len() + rng.random_range(0..3);
            let partial = |f: &Path| f.extension().is_some_and(|e| e == "partial");
            let mut saves = 0;
            let mut last = None;
            child.wait_until(|| {
                let found = files(&folder).into_iter().find(|f| partial(f));
                if found.is_some() && found != last {
                    saves += 1;
                    last = found;
                }
                saves > after.min(2)
            })
        } else {
            let share = rng.random_range(0.02..0.4);
            let until = Instant::now() + whole.mul_f64(share);
            child.wait_until(|| Instant::now() >= until)
        };
        if !alive {
            // It came to its end first: the next one begins anew.
            assert_eq!(child.end().code, Some(0));
            assert_same_state(&unbroken, &killed);
            fs::remove_dir_all(&killed).unwrap();
            continue;
        }
        child.kill();
        child.end();
        kills += 1;
        let torn = files(&folder)
            .iter()
            .any(|f| f.extension().is_some_and(|e| e == "partial"));
        while_saving += usize::from(torn);
    }
    run(&mut next(&killed, &set)).expect(0);
    assert_same_state(&unbroken, &killed);
    assert_eq!(timeless_metrics(&unbroken), timeless_metrics(&killed));
    assert_scalars_are_metrics(&killed);
    assert_eq!(timeless_scalars(&unbroken), timeless_scalars(&killed));
    assert!(while_saving > 0, "no kill hit a checkpoint being written");
    let left = files(&killed.join("checkpoints"));
    assert_eq!(left.len(), 2, "{left:?}");
    println!("{while_saving} of {kills} kills left a half-written file");
}

#[test]
fn signals_save_in_the_middle_of_an_epoch_and_say_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let unbroken = folder.path().join("unbroken");
    let set = ["checkpoint.every_steps=1000", "optim.accumulate=2"];
    run(&mut tiny(&unbroken, &[], &set)).expect(0);
    // One who begins this with `nohup` would not want the last to end it.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    let hang_up = (ignored & 1 == 0).then_some("-HUP");
    if hang_up.is_none() {
        println!("skipped: -HUP is ignored here");
    }
    for signal in ["-INT", "-TERM"].into_iter().chain(hang_up) {
        let out = folder.path().join(format!("stopped by {signal}"));
        let mut child = Running::start(&mut tiny(&out, &[], &set));
        let metrics = out.join("metrics.jsonl");
        // In the second epoch, after the E-step.
        let seen = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"e_step\""));
        assert!(child.wait_until(seen), "it ended");
        // As `timeout` does: a program and its group, one after the other.
        child.signal(signal);
        child.signal(signal);
        let ended = child.end().expect(130);
        let command = format!(" train --resume --out '{}'", out.display());
        let ended = ended.says(&[
            "stopping behind the step",
            "stopped; everything",
            ".safetensors",
            &command,
        ]);
        assert!(ended.stdout.contains("epoch   1/3"), "{}", ended.stdout);
        run(&mut resume(&out)).expect(0);
        assert_same_state(&unbroken, &out);
        assert_eq!(timeless_metrics(&unbroken), timeless_metrics(&out));
        assert_scalars_are_metrics(&out);
    }
}

#[test]
fn an_e_step_that_is_stopped_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, out) = (folder.path().join("unbroken"), folder.path().join("run"));
    let set = [
        "data.generated_images=800",
        "method.warmup_epochs=0",
        "method.clusters=[200, 100]",
        "e_step.restarts=20",
        "optim.epochs=1",
        "checkpoint.every_steps=1000",
    ];
    run(&mut tiny(&unbroken, &[], &set)).expect(0);
    let mut child = Running::start(&mut tiny(&out, &[], &set));
    let metrics = out.join("metrics.jsonl");
    let seen = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"untrained\""));
    assert!(child.wait_until(seen), "it ended");
    child.signal("-TERM");
    let ended = child.end().expect(130);
    ended.says(&["step-0000000000.safetensors"]);
    run(&mut resume(&out)).expect(0);
    assert_same_state(&unbroken, &out);
    assert_scalars_are_metrics(&out);
}

#[test]
fn threads_do_not_change_the_bits() {
    for other in ["precision=f32", "precision=bf16", "optim.optimizer=lars"] {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        run(&mut tiny(&one, &[], &["threads=1", other])).expect(0);
        run(&mut tiny(&two, &[], &["threads=2", other])).expect(0);
        assert_same_state(&one, &two);
        assert_eq!(timeless_metrics(&one), timeless_metrics(&two));
    }
}

/// The library that computes the losses has none of its own beside it, however large they are.
#[cfg(target_os = "linux")]
#[test]
fn one_thread_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let set = [
        "threads=1",
        "data.generated_images=4096",
        "optim.batch=32",
        "method.queue=4096",
        "eval.knn_every=0",
    ];
    let mut child = Running::start(&mut tiny(&out, &[], &set));
    let metrics = out.join("metrics.jsonl");
    let begun = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"step\":2,"));
    assert!(child.wait_until(begun), "it ended");
    let tasks = files(Path::new(&format!("/proc/{}/task", child.0.id())));
    let names = tasks
        .iter()
        .map(|task| fs::read_to_string(task.join("comm")));
    let names: Vec<String> = names.filter_map(Result::ok).collect();
    child.kill();
    assert!(!names.is_empty());
    assert!(
        !names.iter().any(|name| name.starts_with("candle")),
        "{names:?}"
    );
}

/// A checkpoint in the middle, and the run from there, in bf16: the kills above are in f32.
#[test]
fn a_bf16_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let set = ["precision=bf16", "checkpoint.every_steps=1"];
    run(&mut tiny(&whole, &[], &set)).expect(0);
    let mut running = Running::start(&mut tiny(&parts, &[], &set));
    let saved = || fs::read_dir(parts.join("checkpoints")).is_ok_and(|files| files.count() > 2);
    assert!(running.wait_until(saved), "it ended");
    running.kill();
    drop(running);
    run(&mut next(&parts, &set)).expect(0);
    assert_same_state(&whole, &parts);
    assert_eq!(timeless_metrics(&whole), timeless_metrics(&parts));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let unbroken = folder.path().join("unbroken");
    run(&mut tiny(&unbroken, &[], &[])).expect(0);
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 3] = [
        ("torn", |bytes| bytes.truncate(bytes.len() / 2)),
        ("altered", |bytes| {
            let at = bytes.len() - 100;
            bytes[at] ^= 1;
        }),
        ("emptied", Vec::clear),
    ];
    for (name, damage) in damage {
        let out = folder.path().join(name);
        run(&mut tiny(&out, &[], &[])).expect(0);
        let last = checkpoints(&out).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        damage(&mut bytes);
        fs::write(&last, bytes).unwrap();
        let stale = out.join("checkpoints/step-0000000099.safetensors.partial");
        fs::write(&stale, "half").unwrap();
        let file = last.file_name().unwrap().to_str().unwrap();
        let ended = run(&mut resume(&out)).expect(0);
        ended.says(&[file, "taking the one before"]);
        assert!(!stale.exists());
        assert_same_state(&unbroken, &out);
        // Evaluation and export refuse the file itself.
        let mut bytes = fs::read(&last).unwrap();
        damage(&mut bytes);
        fs::write(&last, bytes).unwrap();
        let mut command = protem(&["embed", "--data", ".", "--out", "x.npy", "--checkpoint"]);
        run(command.arg(&last).current_dir(folder.path()))
            .expect(1)
            .says(&["not a whole checkpoint"]);
    }
    for file in checkpoints(&unbroken) {
        fs::write(file, "nothing").unwrap();
    }
    let ended = run(&mut resume(&unbroken)).expect(1);
    ended.says(&["no whole checkpoint", "--overwrite"]);
}

#[test]
fn a_finished_run_resumes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &[])).expect(0);
    let before = timeless_metrics(&out);
    run(&mut resume(&out)).expect(0);
    assert_eq!(timeless_metrics(&out), before);
}

#[test]
fn a_run_remembers_its_folders_and_refuses_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("images"), 2, 20);
    class_folders(&at("test"), 2, 3);
    let begin = |out: &Path, set: &[&str]| {
        let mut command = tiny(
            out,
            &["images", "--test", "test"],
            &["method.queue=32", "method.clusters=[8, 20]"],
        );
        set.iter().for_each(|pair| {
            command.args(["--set", pair]);
        });
        run(command.current_dir(folder.path())).expect(0)
    };
    begin(&at("unbroken"), &[]);
    begin(&at("run"), &[]);
    let set_back = |out: &Path| {
        let all = checkpoints(out);
        fs::remove_file(all.last().unwrap()).unwrap();
    };
    set_back(&at("run"));
    // From another working folder, without a word of the images.
    run(&mut resume(&at("run"))).expect(0);
    assert_same_state(&at("unbroken"), &at("run"));
    assert_eq!(
        timeless_metrics(&at("unbroken")),
        timeless_metrics(&at("run"))
    );

    // The same images elsewhere are the same images.
    fs::rename(at("images"), at("moved")).unwrap();
    set_back(&at("run"));
    let ended = run(&mut resume(&at("run"))).expect(2);
    ended.says(&["there is no folder", "images"]);
    let mut command = protem(&["train", "moved", "--resume", "--out", "run"]);
    let ended = run(command.current_dir(folder.path())).expect(0);
    ended.says(&["config.toml names the images' new place"]);
    assert_same_state_but_folder(&at("unbroken"), &at("run"));
    // And are remembered there.
    set_back(&at("run"));
    let ended = run(&mut resume(&at("run"))).expect(0);
    assert!(!ended.stderr.contains("new place"), "{}", ended.stderr);
    assert_same_state_but_folder(&at("unbroken"), &at("run"));

    // One more, or one renamed, are others.
    picture(&at("moved/class-0/new.png"), 0, 1);
    let resume_moved = || {
        let mut command = protem(&["train", "moved", "--resume", "--out", "run"]);
        run(command.current_dir(folder.path()))
    };
    let before = fs::read(at("run/metrics.jsonl")).unwrap();
    resume_moved()
        .expect(2)
        .says(&["the 41 images", "folder the run was begun on"]);
    fs::remove_file(at("moved/class-0/0.jpg")).unwrap();
    resume_moved().expect(2).says(&["CRC-32"]);
    assert_eq!(fs::read(at("run/metrics.jsonl")).unwrap(), before);
}

/// As [`assert_same_state`], where the settings name the folder they were resumed on.
fn assert_same_state_but_folder(a: &Path, b: &Path) {
    let (mut a, mut b) = (last_state(a), last_state(b));
    a.remove("protem");
    b.remove("protem");
    assert!(a == b);
}

#[test]
fn images_lost_on_the_way_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("images"), 2, 24);
    fs::write(at("images/class-1/at-start.png"), "no picture").unwrap();
    let set = [
        "method.queue=32",
        "method.clusters=[8, 20]",
        "optim.epochs=4",
        "data.max_unreadable=0.2",
    ];
    let out = at("run");
    let mut command = tiny(&out, &[], &set);
    let mut child = Running::start(command.arg(at("images")));
    let metrics = out.join("metrics.jsonl");
    let begun = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"step\":1,"));
    assert!(child.wait_until(begun), "it ended");
    for lost in ["class-0/3.png", "class-0/4.jpg", "class-1/5.png"] {
        fs::write(at("images").join(lost), "gone").unwrap();
    }
    let ended = child.end().expect(0);
    assert!(
        ended.stdout.contains("skipped class-0/"),
        "{}",
        ended.stdout
    );
    let quarantine = fs::read_to_string(out.join("quarantine.tsv")).unwrap();
    assert!(
        quarantine.contains("at-start.png") && quarantine.contains("later"),
        "{quarantine}"
    );
    // The run's images are still those it began with: it can be resumed.
    fs::remove_file(checkpoints(&out).pop().unwrap()).unwrap();
    run(&mut resume(&out)).expect(0);
    assert_eq!(metrics_of(&out, "epoch").len(), 4);
    // Too many end it, with the list.
    fs::remove_file(checkpoints(&out).pop().unwrap()).unwrap();
    for lost in 0..20 {
        let kind = if lost % 2 == 0 { "jpg" } else { "png" };
        fs::write(at("images").join(format!("class-0/{lost}.{kind}")), "gone").unwrap();
    }
    let ended = run(&mut resume(&out)).expect(1);
    ended.says(&["cannot be read", "class-0/", "max_unreadable"]);
    assert!(!checkpoints(&out).is_empty());
}

#[test]
fn test_images_lost_on_the_way_end_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("images"), 2, 24);
    class_folders(&at("test"), 2, 10);
    let set = [
        "method.queue=32",
        "method.clusters=[8, 20]",
        "optim.epochs=4",
    ];
    let out = at("run");
    let mut command = tiny(&out, &[], &set);
    command.arg(at("images")).arg("--test").arg(at("test"));
    let mut child = Running::start(&mut command);
    let metrics = out.join("metrics.jsonl");
    let begun = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"step\":1,"));
    assert!(child.wait_until(begun), "it ended");
    fs::rename(at("test/class-0"), at("elsewhere")).unwrap();
    let ended = child.end().expect(1);
    ended.says(&["of 20 test images cannot be read", "class-0/", "--resume"]);
    // No figure is told of what was left.
    assert!(metrics_of(&out, "epoch").len() <= 1);
    fs::rename(at("elsewhere"), at("test/class-0")).unwrap();
    run(&mut resume(&out)).expect(0);
    assert_eq!(metrics_of(&out, "epoch").len(), 4);
}

#[test]
fn what_was_trained_before_images_failed_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    class_folders(&at("images"), 2, 24);
    // No checkpoint of its own accord before the last epoch, and no image may be lost.
    let set = [
        "method.queue=32",
        "method.clusters=[8, 20]",
        "optim.epochs=6",
        "data.max_unreadable=0",
        "checkpoint.every_epochs=1000",
        "checkpoint.every_steps=1000",
    ];
    let start = |out: &Path| tiny(out, &[at("images").to_str().unwrap()], &set);
    run(&mut start(&at("whole"))).expect(0);
    let out = at("run");
    let mut child = Running::start(&mut start(&out));
    let metrics = out.join("metrics.jsonl");
    let begun = || fs::read_to_string(&metrics).is_ok_and(|m| m.contains("\"step\":1,"));
    assert!(child.wait_until(begun), "it ended");
    fs::rename(at("images"), at("elsewhere")).unwrap();
    let ended = child.end().expect(1);
    let saved = checkpoints(&out);
    assert_eq!(saved.len(), 1);
    let last = format!("The last checkpoint is {}.", saved[0].display());
    ended.says(&["cannot be read", "max_unreadable", &last]);
    fs::rename(at("elsewhere"), at("images")).unwrap();
    run(&mut resume(&out)).expect(0);
    assert_same_state(&at("whole"), &out);
}

#[test]
fn a_run_that_begins_again_forgets_what_could_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    class_folders(&images, 2, 50);
    let bad = images.join("class-0/bad.png");
    fs::write(&bad, "no picture").unwrap();
    let set = ["data.held_out=0", "method.clusters=[10]", "optim.epochs=1"];
    let named = images.to_str().unwrap();
    run(&mut tiny(&out, &[named], &set)).expect(0);
    // As if it had been killed before the first checkpoint.
    fs::remove_dir_all(out.join("checkpoints")).unwrap();
    picture(&bad, 0, 99);
    run(&mut resume(&out)).expect(0).says(&["begins again"]);
    run(&mut resume(&out)).expect(0);
    assert!(!out.join("quarantine.tsv").exists());
}

#[test]
fn checkpoints_by_steps_are_made_at_the_end_of_epochs_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let set = [
        "checkpoint.every_steps=3",
        "checkpoint.every_epochs=1000",
        "checkpoint.keep_last=1000000000000000000",
    ];
    run(&mut tiny(&out, &[], &set)).expect(0);
    assert_eq!(checkpoints(&out).len(), 6); // of 18 steps, 6 an epoch
}

#[test]
fn a_longer_warm_up_puts_prototypes_aside() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &["optim.epochs=2"])).expect(0);
    let config = out.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("warmup_epochs = 1", "warmup_epochs = 100");
    fs::write(&config, text.replace("epochs = 2", "epochs = 3")).unwrap();
    let ended = run(&mut resume(&out)).expect(0);
    assert!(ended.stdout.contains("warmup_epochs"), "{}", ended.stdout);
    let epochs = metrics_of(&out, "epoch");
    let with: Vec<bool> = epochs
        .iter()
        .map(|epoch| !epoch["loss_prototype"].is_null())
        .collect();
    assert_eq!(with, [false, true, false]);
}
