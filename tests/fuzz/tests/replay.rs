//! The inputs that the fuzzer started from and kept are read again.

use protem_fuzz::TARGETS;
use std::path::Path;

// One test, for the memory of a read is that of the process.
#[test]
fn kept_inputs_are_read_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in TARGETS {
        for folder in ["seeds", "corpus"] {
            let kept = folder == "corpus";
            let folder = root.join(folder).join(target.name);
            if kept && !folder.exists() {
                continue; // its fuzzer has kept nothing yet
            }
            let entries =
                std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut inputs = 0;
            for entry in entries {
                let path = entry.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                // The test's output names the input that fails: it is the last one.
                println!("{}", path.display());
                target.check(&bytes);
                inputs += 1;
            }
            assert!(inputs > 0, "{} is empty", folder.display());
        }
    }
}
