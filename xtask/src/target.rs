//! This repository, as cargo tells of it.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it lies.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the workspace's folder")
}

/// The target folder, by whatever variable or setting.
pub fn target_folder(root: &Path) -> Result<PathBuf, String> {
    let metadata: Value = metadata(root, "--no-deps")?;
    let folder = metadata["target_directory"].as_str();
    folder
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target folder; run it by hand".into())
}

/// What `cargo metadata` prints with an option.
pub fn metadata<T: DeserializeOwned>(root: &Path, option: &str) -> Result<T, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", option])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo metadata does not run: {e}"))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("cargo metadata: {said}")
    })
}
