//! Runs of several processes: they train together, stop together, and go on to the same bits.

use protem_comm::{Launch, Ranks};
use protem_tests::*;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Processes of one run, the first of which is rank 0. None is left behind when a test fails.
struct Together(Vec<Child>);

impl Together {
    /// As many as there are commands.
    fn start(commands: Vec<Command>) -> Self {
        let world = commands.len();
        Self::start_of(world, free_port(), commands)
    }

    /// The first of `world` ranks, at a port.
    fn start_of(world: usize, port: u16, commands: Vec<Command>) -> Self {
        let start = |(rank, mut command): (usize, Command)| {
            let command = command
                .env("RANK", rank.to_string())
                .env("WORLD_SIZE", world.to_string());
            let command = command
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string());
            let command = command.stdin(Stdio::null());
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        Self(commands.into_iter().enumerate().map(start).collect())
    }

    /// Waits until so many steps are told of.
    fn wait_for_steps(&mut self, out: &Path, steps: usize) {
        let begun = Instant::now();
        let made = || fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        while made().matches("\"event\":\"step\"").count() < steps {
            assert!(self.0[0].try_wait().unwrap().is_none(), "it ended");
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "nothing happens"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, rank: usize, signal: &str) {
        let id = self.0[rank].id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn end(mut self) -> Vec<Ended> {
        let children = std::mem::take(&mut self.0).into_iter();
        let ended = children.map(|child| {
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(!stderr.contains("panicked"), "{stderr}");
            Ended {
                code: output.status.code(),
                stdout: String::from_utf8(output.stdout).unwrap(),
                stderr,
            }
        });
        ended.collect()
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn codes(ended: &[Ended]) -> Vec<Option<i32>> {
    ended.iter().map(|ended| ended.code).collect()
}

#[test]
fn two_processes_train_what_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    class_folders(&images, 2, 40);
    fs::write(images.join("class-1/damaged.png"), b"no picture").unwrap();
    let images = images.to_str().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let set = ["optim.batch=8"];
    run(&mut tiny(&one, &[images], &set)).expect(0);
    let both = || {
        vec![
            tiny(&two, &[images, "--overwrite"], &set),
            tiny(&two, &[images], &[]),
        ]
    };
    let ended = Together::start(both()).end();
    assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    assert!(
        ended[0].stdout.contains("batch 8 on 2 ranks"),
        "{}",
        ended[0].stdout
    );
    assert_eq!((&*ended[1].stdout, &*ended[1].stderr), ("", ""));
    let ranks = |out: &Path| metrics_of(out, "run")[0]["ranks"].as_u64();
    assert_eq!((ranks(&one), ranks(&two)), (Some(1), Some(2)));
    let quarantine = |out: &Path| fs::read_to_string(out.join("quarantine.tsv")).unwrap();
    assert_eq!(quarantine(&one), quarantine(&two));
    let steps = |out: &Path| metrics_of(out, "step");
    assert_eq!(steps(&one).len(), steps(&two).len());
    for (one, two) in steps(&one).iter().zip(steps(&two)).take(2) {
        let (one, two) = (one["loss"].as_f64().unwrap(), two["loss"].as_f64().unwrap());
        assert!((one - two).abs() < 1e-5 * one, "{one} and {two}");
    }
    let before = folder.path().join("before");
    fs::rename(&two, &before).unwrap();
    let ended = Together::start(both()).end();
    assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    assert_same_state(&before, &two);
}

#[test]
fn asked_of_one_all_stop_and_go_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, stopped) = (
        folder.path().join("unbroken"),
        folder.path().join("stopped"),
    );
    let begin = |out: &Path| vec![tiny(out, &[], &[]), tiny(out, &[], &[])];
    let ended = Together::start(begin(&unbroken)).end();
    assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    for (rank, begun) in [(1, false), (0, true)] {
        let commands = match begun {
            false => begin(&stopped),
            true => vec![resume(&stopped), resume(&stopped)],
        };
        let mut together = Together::start(commands);
        together.wait_for_steps(&stopped, if begun { 11 } else { 2 });
        together.signal(rank, "-INT");
        let ended = together.end();
        assert_eq!(codes(&ended), [Some(130), Some(130)], "{}", ended[0].stderr);
        assert!(
            ended[0].stderr.contains("Go on with"),
            "{}",
            ended[0].stderr
        );
    }
    let ended = Together::start(vec![resume(&stopped), resume(&stopped)]).end();
    assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    assert_same_state(&unbroken, &stopped);
    assert_eq!(timeless_metrics(&unbroken), timeless_metrics(&stopped));
}

#[test]
fn a_rank_that_is_killed_is_named_and_one_can_go_on_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut together = Together::start(vec![tiny(&out, &[], &[]), tiny(&out, &[], &[])]);
    together.wait_for_steps(&out, 3);
    together.signal(1, "-KILL");
    let ended = together.end();
    assert_eq!(codes(&ended), [Some(1), None]);
    for told in ["rank 1 is gone", "--resume", "The last checkpoint is"] {
        assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
    }
    let ended = run(&mut resume(&out)).expect(0);
    let told = "the run had 2 ranks, and has 1 from here on";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    // Its parts of a batch are two.
    let ended = Together::start(vec![resume(&out), resume(&out), resume(&out)]).end();
    assert_eq!(codes(&ended), [Some(2), Some(1), Some(1)]);
    let told = "it can go on with 1, 2";
    assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
}

#[test]
fn what_cannot_be_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let ended = run(tiny(&out, &[], &[]).env("RANK", "0")).expect(2);
    assert!(ended.stderr.contains("WORLD_SIZE"), "{}", ended.stderr);
    let set = ["encoder.split_bn=1"];
    let ended = Together::start(vec![tiny(&out, &[], &set), tiny(&out, &[], &set)]).end();
    assert_eq!(codes(&ended), [Some(2), Some(1)]);
    let told = "2 or 4 or 8 of optim.batch = 16 would work";
    assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
    assert!(
        ended[1].stderr.contains("rank 0 is gone"),
        "{}",
        ended[1].stderr
    );
    assert!(!out.exists(), "nothing is begun");
    let dry = || tiny(&out, &["--dry-run"], &[]);
    let ended = Together::start(vec![dry(), dry()]).end();
    assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    assert_eq!(ended[1].stdout, "");
    assert!(!out.exists(), "nothing is begun");
}

/// Another version may say something else from the second word on.
#[test]
fn versions_are_held_together_first() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let first = Together::start_of(2, port, vec![tiny(&folder.path().join("run"), &[], &[])]);
    let other = Launch {
        rank: 1,
        world: 2,
        address: "127.0.0.1".into(),
        port,
        told_by: ["RANK", "WORLD_SIZE"],
    };
    let joined = Ranks::join(&other, Duration::from_secs(60), &mut |_| ());
    let differ = joined.unwrap().agree("their version", "0.0.0").unwrap_err();
    let ended = first.end();
    assert_eq!(codes(&ended), [Some(2)]);
    let told = "ranks differ in their version of protem: rank 1 has 0.0.0, and rank 0 has";
    assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
    assert!(differ.to_string().contains("rank 1 has 0.0.0"), "{differ}");
}

/// What one would have room for need not be there for each of two.
#[test]
fn ranks_of_one_machine_share_its_memory() {
    let Ok(machine) = fs::read_to_string("/proc/meminfo") else {
        return skipped("ranks that share memory: the system does not tell how much there is");
    };
    let machine = machine.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let machine = machine.unwrap().trim().trim_end_matches(" kB");
    let machine = machine.parse::<usize>().unwrap() * 1024;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let memory = group.trim().parse().unwrap_or(machine).min(machine);
    // The queue, and embeddings twice while they are clustered: three quarters of the memory.
    let dim = 1 << 16;
    let images = memory / 4 / (4 * dim) / 16 * 16;
    let set = [
        format!("data.generated_images={images}"),
        format!("method.queue={images}"),
        format!("encoder.dim={dim}"),
    ];
    let set = set.each_ref().map(String::as_str);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let big = || tiny(&out, &[], &set);
    let ended = Together::start(vec![big(), big()]).end();
    assert_eq!(codes(&ended), [Some(2), Some(2)], "{}", ended[0].stderr);
    let told = "of memory at least on each of 2 ranks here";
    assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
}

/// What each computes by itself (its part of a gradient, of keys, of embeddings) may differ from processor to processor:
/// all take what comes of it together, and their weights are compared behind each epoch.
#[test]
fn ranks_may_be_on_processors_of_other_kinds() {
    let folder = tempfile::tempdir().unwrap();
    for optimizer in ["sgd", "lars"] {
        let out = folder.path().join(optimizer);
        let set = format!("optim.optimizer={optimizer}");
        let mut commands = vec![tiny(&out, &[], &[&set]), tiny(&out, &[], &[&set])];
        commands[1].env("PROTEM_ISA", "portable");
        let ended = Together::start(commands).end();
        assert_eq!(codes(&ended), [Some(0), Some(0)], "{}", ended[0].stderr);
    }
}
