//! The folder of a run.

use protem_em::{EmError, Event, write_atomically};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It already holds a run.
    #[error("{} already holds a run", .0.display())]
    Occupied(PathBuf),
    /// It holds no run to go on with.
    #[error("{} holds no run", .0.display())]
    NoRun(PathBuf),
    /// A file that could not be written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that could not be written whole.
    #[error(transparent)]
    Write(#[from] EmError),
}

/// `config.toml`, `metrics.jsonl`, `quarantine.tsv` and `checkpoints/` of one run.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    metrics: File,
}

impl RunFolder {
    /// A folder for a new run; `overwrite` removes the run that is there.
    ///
    /// # Errors
    /// A run that is there, or what the file system refuses.
    pub fn create(root: &Path, config: &str, overwrite: bool) -> Result<Self, ReportError> {
        let holds_run = root.join("config.toml").exists() || root.join("checkpoints").exists();
        if holds_run && !overwrite {
            return Err(ReportError::Occupied(root.to_path_buf()));
        }
        if holds_run {
            // Only what a run writes: the folder may hold other things.
            for name in ["config.toml", "metrics.jsonl", "quarantine.tsv"] {
                let path = root.join(name);
                if path.exists() {
                    fs::remove_file(&path).map_err(io("remove", &path))?;
                }
            }
            let checkpoints = root.join("checkpoints");
            if checkpoints.exists() {
                fs::remove_dir_all(&checkpoints).map_err(io("remove", &checkpoints))?;
            }
        }
        let checkpoints = root.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(io("create", &checkpoints))?;
        write_atomically(&root.join("config.toml"), config.as_bytes())?;
        Self::open(root)
    }

    /// The folder of a run that goes on from `step`; metrics after that step are dropped, since
    /// they will come again.
    ///
    /// # Errors
    /// No run, or what the file system refuses.
    pub fn resume(root: &Path, step: u64) -> Result<Self, ReportError> {
        if !root.join("config.toml").exists() {
            return Err(ReportError::NoRun(root.to_path_buf()));
        }
        let path = root.join("metrics.jsonl");
        if path.exists() {
            let file = File::open(&path).map_err(io("read", &path))?;
            let mut kept = String::new();
            for line in BufReader::new(file).lines() {
                let line = line.map_err(io("read", &path))?;
                // A line torn by a crash is none.
                if serde_json::from_str::<Event>(&line).is_ok_and(|event| event.precedes(step)) {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            write_atomically(&path, kept.as_bytes())?;
        }
        Self::open(root)
    }

    fn open(root: &Path) -> Result<Self, ReportError> {
        let path = root.join("metrics.jsonl");
        let metrics = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(io("open", &path))?;
        Ok(Self {
            root: root.to_path_buf(),
            metrics,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The config that the run was begun with.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn config(root: &Path) -> Result<String, ReportError> {
        let path = root.join("config.toml");
        if !path.exists() {
            return Err(ReportError::NoRun(root.to_path_buf()));
        }
        fs::read_to_string(&path).map_err(io("read", &path))
    }

    /// Where checkpoints go.
    pub fn checkpoints(root: &Path) -> PathBuf {
        root.join("checkpoints")
    }

    /// Appends an event to `metrics.jsonl` as one whole line, and an unreadable image to
    /// `quarantine.tsv` as well.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        let mut line = serde_json::to_string(event).expect("plain data");
        line.push('\n');
        let path = self.root.join("metrics.jsonl");
        self.metrics
            .write_all(line.as_bytes())
            .map_err(io("append to", &path))?;
        if let Event::Quarantine { name, reason } = event {
            let path = self.root.join("quarantine.tsv");
            let flat = |text: &str| text.replace(['\t', '\n'], " ");
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| writeln!(file, "{}\t{}", flat(name), flat(reason)))
                .map_err(io("append to", &path))?;
        }
        Ok(())
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::Io {
        action,
        path,
        source,
    }
}
