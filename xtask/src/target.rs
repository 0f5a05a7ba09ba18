//! Where cargo builds.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target folder, by whatever variable or setting.
pub fn target_folder(root: &Path) -> Result<PathBuf, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo metadata does not run: {e}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match metadata["target_directory"].as_str() {
        Some(folder) => Ok(folder.into()),
        None => Err(format!(
            "cargo metadata names no target folder; run it by hand: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
