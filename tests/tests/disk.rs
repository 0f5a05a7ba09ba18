//! Disks that are full, or will be: nothing that was saved is lost.

use protem_tests::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The command under `sh`, with files limited to `blocks` of 512 bytes. A write beyond fails as
/// one to a full disk does.
fn limited(command: &Command, blocks: usize) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    within("sh", &["-c", &script, "sh"], command)
}

/// A finished run, another that has only the first of its kept checkpoints, and that checkpoint.
fn cut_short(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let (unbroken, out) = (folder.join("unbroken"), folder.join("run"));
    run(&mut tiny(&unbroken, &[], &[])).expect(0);
    run(&mut tiny(&out, &[], &[])).expect(0);
    let mut all = checkpoints(&out).into_iter();
    let first = all.next().expect("it has saved");
    all.for_each(|file| fs::remove_file(file).unwrap());
    (unbroken, out, first)
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, out, first) = cut_short(folder.path());
    let before = fs::read(&first).unwrap();
    let blocks = before.len() / 512 / 2;
    let ended = run(&mut limited(&resume(&out), blocks)).expect(1);
    ended.says(&["cannot write", "--resume"]);
    assert_eq!(fs::read(&first).unwrap(), before);
    assert_eq!(checkpoints(&out), [first]);
    run(&mut resume(&out)).expect(0);
    assert_same_state(&unbroken, &out);
    assert_eq!(timeless_metrics(&unbroken), timeless_metrics(&out));
}

#[test]
fn metrics_that_cannot_be_written_stop_the_run_after_saving() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, out, first) = cut_short(folder.path());
    // Metrics that leave no room for a line within the limit, which a checkpoint stays under.
    let blocks = fs::read(&first).unwrap().len() / 512 + 40;
    let path = out.join("metrics.jsonl");
    let metrics = fs::read_to_string(&path).unwrap();
    let evaluation = metrics.lines().find(|l| l.contains("\"eval\"")).unwrap();
    let line = format!("{evaluation}\n");
    let copies = blocks * 512 / line.len();
    fs::write(&path, line.repeat(copies)).unwrap();
    let ended = run(&mut limited(&resume(&out), blocks)).expect(1);
    ended.says(&[
        "metrics.jsonl",
        "saved",
        "lines of metrics are lost",
        "--resume",
    ]);
    let told = fs::read_to_string(&path).unwrap();
    assert!(told.ends_with('\n'), "half a line is left");
    run(&mut resume(&out)).expect(0);
    assert_same_state(&unbroken, &out);
}

/// What is full is where it is decompressed; the shard is sound.
#[test]
fn a_gzip_shard_that_has_no_room_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (images, packed) = (folder.path().join("images"), folder.path().join("packed"));
    class_folders(&images, 2, 40);
    let mut pack = protem(&["data", "pack"]);
    run(pack.arg(&images).arg("--out").arg(&packed)).expect(0);
    let shard = packed.join("shard-000000.tar");
    let zipped = Command::new("gzip").arg(&shard).status().unwrap();
    assert!(zipped.success());
    let mut inspect = protem(&["data", "inspect"]);
    inspect.arg(packed.join("shard-000000.tar.gz"));
    let ended = run(limited(&inspect, 8).env("XDG_CACHE_HOME", folder.path())).expect(1);
    ended.says(&[
        "shard-000000.tar.gz cannot be decompressed into",
        "XDG_CACHE_HOME",
    ]);
    run(inspect.env("XDG_CACHE_HOME", folder.path())).expect(0);
}

#[test]
fn a_disk_too_small_for_the_checkpoints_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    // A file system of the command's own, where the system permits one.
    let own = |command: &Command| {
        let script = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
        let small = small.to_str().unwrap();
        within("unshare", &["-rm", "sh", "-c", script, small], command)
    };
    if !own(&Command::new("true"))
        .status()
        .is_ok_and(|s| s.success())
    {
        skipped("no file system of one's own here");
        return;
    }
    let out = small.join("run");
    let command = tiny(&out, &[], &[]);
    let ended = run(&mut own(&command)).expect(1);
    ended.says(&["66 kB free", "make room", "keep_last"]);
}
