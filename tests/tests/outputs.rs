//! What is written takes the place of nothing else, and is refused before the work.

use protem_tests::*;
use std::fs;
use std::path::Path;

/// A checkpoint's file and a folder of images, in a folder of their own.
fn trained() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let run_folder = root.path().join("run");
    run(&mut tiny(&run_folder, &[], &["optim.epochs=1"])).expect(0);
    let images = root.path().join("images");
    class_folders(&images, 2, 3);
    let checkpoint = checkpoints(&run_folder).pop().unwrap();
    (root, checkpoint, images)
}

#[test]
fn features_replace_features_alone() {
    let (root, checkpoint, images) = trained();
    let embed = |data: &Path, out: &Path| {
        let mut command = protem(&["embed", "--checkpoint"]);
        command.arg(&checkpoint).arg("--data").arg(data);
        run(command.arg("--out").arg(out))
    };
    let kept = fs::read(&checkpoint).unwrap();
    embed(&images, &checkpoint)
        .expect(2)
        .says(&["no .npy file", "--out"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), kept);
    // A list whose features were written beside it: its name is that of the images' names.
    let list = root.path().join("mine.txt");
    fs::write(&list, "images/class-0/0.png\n").unwrap();
    let npy = root.path().join("mine.npy");
    embed(&images, &root.path().join("other.npy")).expect(0);
    fs::rename(root.path().join("other.npy"), &npy).unwrap();
    embed(&list, &npy).expect(2).says(&["would be replaced"]);
    assert_eq!(fs::read(&list).unwrap(), b"images/class-0/0.png\n");
    for (out, says) in [
        ("new/", "no name of a file"),
        ("..", "no name of a file"),
        ("images", "is a folder"),
    ] {
        let out = format!("{}/{out}", root.path().display());
        embed(&images, Path::new(&out)).expect(2).says(&[says]);
    }
    assert!(!root.path().join("new").exists());
}

#[test]
fn classes_go_beside_features_where_images_have_them() {
    let (root, checkpoint, images) = trained();
    let out = root.path().join("x.npy");
    let embed = |data: &Path| {
        let mut command = protem(&["embed", "--checkpoint"]);
        command.arg(&checkpoint).arg("--data").arg(data);
        run(command.arg("--out").arg(&out))
    };
    // An image that cannot be read has no row, and no class in the file.
    fs::write(images.join("class-0/0.jpg"), "none").unwrap();
    let labels = root.path().join("x.labels.npy");
    embed(&images).expect(0).says(&["skipped"]);
    let bytes = fs::read(&labels).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(
        header.contains("'<u4'") && header.contains("(5,)"),
        "{header}"
    );
    let values: Vec<u32> = bytes[128..]
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(u32::from_le_bytes)
        .collect();
    assert_eq!(values, [0, 0, 1, 1, 1]);
    // Those of earlier features must not stay beside new ones.
    let flat = images.join("class-1");
    embed(&flat).expect(2).says(&["x.labels.npy", "remove it"]);
    fs::remove_file(&labels).unwrap();
    embed(&flat).expect(0);
    assert!(!labels.exists(), "a folder without classes");
    fs::remove_file(&out).unwrap();
    fs::remove_file(root.path().join("x.txt")).unwrap();
    fs::write(&labels, "mine").unwrap();
    embed(&images)
        .expect(2)
        .says(&["x.labels.npy", "take its place"]);
    assert_eq!(fs::read(&labels).unwrap(), b"mine");
}

#[test]
#[cfg(unix)]
fn names_are_one_line_each_and_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let (root, checkpoint, images) = trained();
    picture(&images.join("class-0/a\nb.png"), 0, 9);
    let odd = root.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    fs::rename(&images, &odd).unwrap();
    let npy = root.path().join("x.npy");
    let mut command = protem(&["embed", "--checkpoint"]);
    command.arg(&checkpoint).arg("--data").arg(&odd);
    run(command.arg("--out").arg(&npy)).expect(0);
    let names = fs::read_to_string(npy.with_extension("txt")).unwrap();
    assert_eq!(names.lines().count(), 7, "{names}");
    assert!(names.contains("class-0/a\\nb.png"), "{names}");
    let mut command = protem(&["eval", "ami", "--json", "--k", "2", "--checkpoint"]);
    let ended = run(command.arg(&checkpoint).arg("--data").arg(&odd)).expect(0);
    let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found["protocol"]["encoder"]["trained_on"]["images"], 96);
    let out = root.path().join(std::ffi::OsStr::from_bytes(b"c\xff"));
    let mut command = protem(&["cluster", "--json", "--k", "2", "--input"]);
    let ended = run(command.arg(&npy).arg("--out").arg(&out)).expect(0);
    serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap();
}

#[test]
fn a_sheet_is_none_of_its_images() {
    let (root, _, images) = trained();
    let show = |out: &Path| {
        let mut command = protem(&["data", "show"]);
        run(command.arg(&images).arg("--out").arg(out))
    };
    let target = images.join("class-0/sheet.png");
    show(&target).expect(2).says(&["among the images"]);
    assert!(!target.exists());
    show(&root.path().join("sheet.png")).expect(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_file_sizes_is_said() {
    let (root, checkpoint, images) = trained();
    let npy = root.path().join("x.npy");
    let mut command = protem(&["embed", "--checkpoint"]);
    command.arg(&checkpoint).arg("--data").arg(&images);
    command.arg("--out").arg(&npy);
    let mut limited = within("sh", &["-c", "ulimit -f 0; exec \"$0\" \"$@\""], &command);
    run(&mut limited)
        .expect(2)
        .says(&["nothing can be written"]);
    assert!(!npy.exists());
}
