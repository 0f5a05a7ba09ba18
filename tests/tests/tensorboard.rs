//! A run's event files, read as TensorBoard does.

use protem_tests::*;
use std::fs;
use std::path::Path;

/// A checkpoint at each of the 18 steps, and all are kept.
const ALL: [&str; 2] = ["checkpoint.every_steps=1", "checkpoint.keep_last=100"];

/// Takes a run back to a step, as if it had been killed there.
fn back_to(out: &Path, step: usize) {
    let name = format!("step-{step:010}.safetensors");
    let last = out.join("checkpoints").join(name);
    assert!(last.exists());
    let later = checkpoints(out).into_iter().filter(|file| *file > last);
    later.for_each(|file| fs::remove_file(file).unwrap());
}

#[test]
fn a_run_that_goes_on_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, out) = (folder.path().join("unbroken"), folder.path().join("run"));
    run(&mut tiny(&unbroken, &[], &ALL)).expect(0);
    run(&mut tiny(&out, &[], &ALL)).expect(0);
    assert_scalars_are_metrics(&out);
    // Between epochs (of 6 steps), at the first step of one, within one.
    let steps = [18, 13, 12, 9, 7, 6, 1];
    for step in steps {
        back_to(&out, step);
        run(&mut resume(&out)).expect(0);
        assert_scalars_are_metrics(&out);
        assert_eq!(timeless_scalars(&out), timeless_scalars(&unbroken));
    }
    assert_eq!(event_files(&out).len(), 1 + steps.len());
    // Without any checkpoint it begins again.
    fs::remove_dir_all(out.join("checkpoints")).unwrap();
    run(&mut resume(&out)).expect(0);
    assert_scalars_are_metrics(&out);
    assert_eq!(timeless_scalars(&out), timeless_scalars(&unbroken));
}

#[test]
fn a_run_of_before_is_told_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &ALL)).expect(0);
    let told = scalars(&out);
    for file in event_files(&out) {
        fs::remove_file(file).unwrap();
    }
    run(&mut resume(&out)).expect(0);
    assert_eq!(scalars(&out), told);
}

#[test]
fn a_record_torn_by_a_crash_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &ALL)).expect(0);
    let told = timeless_scalars(&out);
    let file = event_files(&out).pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    back_to(&out, 12);
    run(&mut resume(&out)).expect(0);
    assert_scalars_are_metrics(&out);
    assert_eq!(timeless_scalars(&out), told);
}

#[test]
fn a_run_that_is_replaced_takes_its_event_files_along() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&mut tiny(&out, &[], &[])).expect(0);
    let others = out.join("events.out.tfevents.1760000000.host.1.0");
    fs::write(&others, "").unwrap();
    assert_eq!(event_files(&out).len(), 2);
    let set = ["method.warmup_epochs=3", "optim.epochs=1"];
    run(&mut tiny(&out, &["--overwrite"], &set)).expect(0);
    let left = event_files(&out);
    assert!(left.len() == 2 && left.contains(&others), "{left:?}");
    assert_scalars_are_metrics(&out);
}
