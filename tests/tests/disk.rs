//! Disks that are full, or will be: nothing that was saved is lost.

use protem_tests::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The command under `sh`, with files limited to `blocks` of 512 bytes. A write beyond fails as
/// one to a full disk does.
fn limited(command: &Command, blocks: usize) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    shell.args(["-c", &script, "sh"]).arg(command.get_program());
    shell.args(command.get_args());
    shell
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, out) = (folder.path().join("unbroken"), folder.path().join("run"));
    run(&mut tiny(&unbroken, &[], &[])).expect(0);
    run(&mut tiny(&out, &[], &[])).expect(0);
    let all = checkpoints(&out);
    all[1..]
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    let before = fs::read(&all[0]).unwrap();
    let blocks = before.len() / 512 / 2;
    let ended = run(&mut limited(&resume(&out), blocks)).expect(1);
    ended.says(&["cannot write", "--resume"]);
    assert_eq!(checkpoints(&out), all[..1]);
    assert_eq!(fs::read(&all[0]).unwrap(), before);
    run(&mut resume(&out)).expect(0);
    assert_same_state(&unbroken, &out);
    assert_eq!(timeless_metrics(&unbroken), timeless_metrics(&out));
}

#[test]
fn metrics_that_cannot_be_written_stop_the_run_after_saving() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = tiny(&out, &[], &["optim.epochs=2"]);
    run(&mut command).expect(0);
    if !Path::new("/dev/full").exists() {
        println!("skipped: no /dev/full");
        return;
    }
    fs::remove_dir_all(&out).unwrap();
    // The metrics' name leads to a device that is always full.
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink("/dev/full", out.join("metrics.jsonl")).unwrap();
    fs::copy(config_of(folder.path()), out.join("config.toml")).unwrap();
    let ended = run(&mut resume(&out)).expect(1);
    ended.says(&["metrics.jsonl", "--resume"]);
}

/// A resolved config of a tiny run.
fn config_of(folder: &Path) -> std::path::PathBuf {
    let out = folder.join("for-config");
    run(&mut tiny(&out, &[], &["optim.epochs=2"])).expect(0);
    out.join("config.toml")
}

#[test]
fn a_disk_too_small_for_the_checkpoints_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    // A file system of the command's own, where the system permits one.
    let own = |command: &Command| {
        let mut shell = Command::new("unshare");
        let script = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
        shell.args(["-rm", "sh", "-c", script]).arg(&small);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    };
    if !own(&Command::new("true"))
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("skipped: no file system of one's own here");
        return;
    }
    let out = small.join("run");
    let command = tiny(&out, &[], &[]);
    let ended = run(&mut own(&command)).expect(1);
    ended.says(&["66 kB free", "make room", "keep_last"]);
}
