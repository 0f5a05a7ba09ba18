//! The points and the centroids to begin with, made by a script in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cases::Set;
use crate::compare::python::answer;
use crate::compare::{Outcome, Ready};

/// Where the arrays are and who makes them.
pub struct Data {
    folder: PathBuf,
    python: PathBuf,
    script: PathBuf,
    features: Option<PathBuf>,
}

impl Data {
    pub fn new(ready: &Ready, features: Option<PathBuf>) -> Outcome<Self> {
        let folder = ready.folder.join("data");
        std::fs::create_dir_all(&folder)
            .map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
        Ok(Self {
            folder,
            python: ready.python.clone(),
            script: ready.root.join("xtask/peers/kmeans_data.py"),
            features,
        })
    }

    /// The points of a set; none for features that were not given.
    pub fn points(&self, set: Set) -> Outcome<Option<PathBuf>> {
        if set == Set::Features {
            return Ok(self.features.clone());
        }
        let out = self.folder.join(format!("{}.npy", set.name()));
        if !self.is_fresh(&out) {
            self.ask(&["points", set.name(), &text(&out)])?;
        }
        Ok(Some(out))
    }

    /// Points at a cosine from those of a set: what they drifted from.
    pub fn drifted(&self, set: Set, points: &Path, cosine: &str) -> Outcome<PathBuf> {
        let out = self.folder.join(format!("{}-{cosine}.npy", set.name()));
        if !self.is_fresh(&out) {
            self.ask(&["drifted", &text(points), cosine, &text(&out)])?;
        }
        Ok(out)
    }

    /// `k` of the points, drawn afresh but the same ones each time.
    pub fn centroids(&self, points: &Path, k: u32) -> Outcome<PathBuf> {
        let stem = points.file_stem().unwrap_or_default().to_string_lossy();
        let out = self.folder.join(format!("{stem}-k{k}.npy"));
        self.ask(&["centroids", &text(points), &k.to_string(), &text(&out)])?;
        Ok(out)
    }

    /// How many features were given, if any, and of how many values.
    pub fn shape_of_features(&self) -> Outcome<Option<String>> {
        let features = self.features.as_deref();
        let shape = |file| self.ask(&["shape", &text(file)]);
        features.map(shape).transpose()
    }

    /// Whether a file is there and not older than the script.
    fn is_fresh(&self, file: &Path) -> bool {
        let time = |file: &Path| file.metadata().and_then(|data| data.modified()).ok();
        time(file).is_some_and(|made| time(&self.script).is_some_and(|script| script <= made))
    }

    fn ask(&self, arguments: &[&str]) -> Outcome<String> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(arguments);
        answer(&mut command).map_err(|e| format!("{e} (from {command:?})"))
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_script_or_missing_is_made_again() {
        let folder = std::env::temp_dir().join(format!("protem-data-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (script, array) = (folder.join("script"), folder.join("array"));
        std::fs::write(&script, "").unwrap();
        let data = Data {
            folder: folder.clone(),
            python: "python3".into(),
            script: script.clone(),
            features: None,
        };
        assert!(!data.is_fresh(&array));
        std::fs::write(&array, "").unwrap();
        assert!(data.is_fresh(&array));
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        let file = std::fs::File::options().write(true).open(&script).unwrap();
        file.set_modified(later).unwrap();
        assert!(!data.is_fresh(&array));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
