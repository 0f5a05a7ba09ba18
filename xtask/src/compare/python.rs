//! A peer's environment: a Python with it, set up in the target folder on first use.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Outcome;

/// A Python package to compare with.
pub struct Peer {
    pub name: &'static str,
    /// What is imported.
    pub module: &'static str,
    /// The version that the documentation's figures were measured with.
    pub pinned: &'static str,
}

impl Peer {
    /// A Python with the pinned version in `venv`, where `install` puts it unless it is there.
    pub fn set_up(
        &self,
        venv: &Path,
        room: &str,
        install: impl Fn(&Path) -> Outcome<()>,
    ) -> Outcome<PathBuf> {
        let python = venv.join("bin/python");
        if self.is_in(&python) {
            return Ok(python);
        }
        let (folder, or) = (venv.display(), self.or());
        let (name, pinned) = (self.name, self.pinned);
        eprintln!("setting up {name} {pinned} in {folder} ({room})");
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(venv)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return Err(format!(
                "`python3 -m venv {folder}` failed: install Python 3 with its venv module (python3-venv on Debian), {or}"
            ));
        }
        install(&python)?;
        match self.version(&python) {
            Ok(_) => Ok(python),
            Err(e) => Err(format!("{e}\nremove {folder} to start afresh, {or}")),
        }
    }

    /// The version of the package that this Python imports.
    pub fn version(&self, python: &Path) -> Outcome<String> {
        let module = self.module;
        printed(
            python,
            &format!("import {module}; print({module}.__version__)"),
        )
        .map_err(|e| format!("{} cannot import {module}: {e}", python.display()))
    }

    pub fn pip(&self, python: &Path, arguments: &[&str]) -> Outcome<()> {
        let status = Command::new(python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(arguments)
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(());
        }
        Err(format!(
            "`pip install {}` failed (its words are above): see to network, disk and pip's settings, {}",
            arguments.join(" "),
            self.or()
        ))
    }

    /// Whether a Python has the pinned version.
    pub fn is_in(&self, python: &Path) -> bool {
        self.is_pinned(self.version(python))
    }

    /// A wheel's build tag (`+cpu`, `+cu132`) does not matter.
    fn is_pinned(&self, version: Outcome<String>) -> bool {
        version.is_ok_and(|version| version.split('+').next() == Some(self.pinned))
    }

    fn or(&self) -> String {
        format!(
            "or name a Python that has {} with --python PATH",
            self.module
        )
    }
}

/// What a line of Python prints, or the last line of its complaint.
pub fn printed(python: &Path, script: &str) -> Outcome<String> {
    answer(Command::new(python).args(["-c", script]))
}

/// What a Python command prints, or the last line of its complaint.
pub fn answer(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|e| e.to_string())?;
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
        let peer = Peer {
            name: "A peer",
            module: "peer",
            pinned: "1.2.3",
        };
        assert!(peer.is_pinned(Ok("1.2.3+cpu".into())));
        assert!(peer.is_pinned(Ok("1.2.3".into())));
        assert!(!peer.is_pinned(Ok("1.2.31".into())));
        assert!(!peer.is_pinned(Err("no peer".into())));
    }
}
