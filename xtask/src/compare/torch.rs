//! The peer's environment: a Python with torch, set up in the target folder on first use.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, cuda_stubs};

/// The version that the documentation's figures were measured with.
const VERSION: &str = "2.15.0";
/// What torch imports, less what only a GPU needs (a few gigabytes).
const NEEDS: [&str; 8] = [
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "numpy",
    "setuptools",
    "sympy",
    "typing-extensions",
];
const OR: &str = "or name a Python that has torch with --python PATH";

/// A Python with torch in `venv`, made there unless it is there already.
pub fn set_up(venv: &Path) -> Outcome<PathBuf> {
    let python = venv.join("bin/python");
    if is_pinned(version(&python)) {
        return Ok(python);
    }
    let (folder, room) = (venv.display(), "about 1.5 GB");
    eprintln!("setting up PyTorch {VERSION} in {folder} ({room})");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(venv)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!(
            "`python3 -m venv {folder}` failed: install Python 3 with its venv module (python3-venv on Debian), {OR}"
        ));
    }
    pip(&python, &NEEDS)?;
    // Without what it asks for: on Linux that is the CUDA libraries, and only the CPU is measured.
    pip(&python, &["--no-deps", &format!("torch=={VERSION}")])?;
    if version(&python).is_err() {
        cuda_stubs::put_into(&libraries(&python)?)?;
    }
    match version(&python) {
        Ok(_) => Ok(python),
        Err(e) => Err(format!("{e}\nremove {folder} to start afresh, {OR}")),
    }
}

/// The version of the torch that this Python imports.
pub fn version(python: &Path) -> Outcome<String> {
    printed(python, "import torch; print(torch.__version__)")
        .map_err(|e| format!("{} cannot import torch: {e}", python.display()))
}

/// A wheel's build tag (`+cpu`, `+cu132`) does not matter.
fn is_pinned(version: Outcome<String>) -> bool {
    version.is_ok_and(|version| version.split('+').next() == Some(VERSION))
}

/// The folder of torch's shared libraries, which is found without loading them.
fn libraries(python: &Path) -> Outcome<PathBuf> {
    let script = "from importlib.util import find_spec\n\
                  print(find_spec('torch').submodule_search_locations[0])";
    Ok(Path::new(&printed(python, script)?).join("lib"))
}

fn pip(python: &Path, arguments: &[&str]) -> Outcome<()> {
    let status = Command::new(python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(arguments)
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!(
        "`pip install {}` failed (its words are above): see to network, disk and pip's settings, {OR}",
        arguments.join(" ")
    ))
}

fn printed(python: &Path, script: &str) -> Outcome<String> {
    let output = Command::new(python)
        .args(["-c", script])
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        // The last line of a Python traceback says what is wrong.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.trim().lines().last().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_tag_does_not_matter_and_a_version_does() {
        assert!(is_pinned(Ok(format!("{VERSION}+cpu"))));
        assert!(is_pinned(Ok(VERSION.into())));
        assert!(!is_pinned(Ok(format!("{VERSION}1"))));
        assert!(!is_pinned(Err("no torch".into())));
    }
}
