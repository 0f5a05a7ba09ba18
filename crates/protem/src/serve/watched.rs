//! A run that is looked at again and again.

use super::files::FILES;
use crate::config;
use crate::failure::explain;
use protem_report::{Follower, LiveRun, RunFolder, RunState, open_plain};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Longer ones are no run's.
const LONGEST_CONFIG: u64 = 1 << 20;

/// A folder among runs, and what is known of it.
#[derive(Debug)]
pub struct Watched {
    /// Where it is, links resolved.
    root: PathBuf,
    follower: Follower,
}

impl Watched {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            follower: Follower::of(root),
        }
    }

    /// Tells what the run of this name has come to by now, or why it cannot be told. What of it has been read
    /// before is not read again.
    pub fn look<T>(&mut self, name: &str, tell: impl FnOnce(Result<LiveRun, &str>) -> T) -> T {
        let root = &self.root;
        if let Err(error) = std::fs::read_dir(root) {
            return tell(Err(&format!("It cannot be read: {error}.")));
        }
        if let Err(error) = self.follower.advance() {
            return tell(Err(&format!("It cannot be read: {}.", explain(&error))));
        }
        let history = self.follower.history();
        let config = config(root);
        if history.is_empty() && config.is_none() && !RunFolder::has_checkpoints(root) {
            return tell(Err("It holds no run."));
        }
        let config = config.unwrap_or_else(|| Err("There is no config.toml.".into()));
        let settings = config.as_ref().ok();
        let settings = settings.and_then(|text| config::from_text(text, "config.toml").ok());
        let protocol = settings.and_then(|settings| history.protocol_now(&settings.eval));
        let there = |name: &&str| matches!(open_plain(&root.join(name)), Ok(Some(_)));
        let served: Vec<&str> = FILES
            .map(|(name, _)| name)
            .into_iter()
            .filter(there)
            .collect();
        let listed = Some("quarantine.tsv").filter(there);
        let listed = listed.and_then(|_| RunFolder::unreadable(root).ok());
        let (written, now) = (RunFolder::written(root), SystemTime::now());
        tell(Ok(LiveRun {
            name,
            state: RunState::of(history, RunFolder::in_use(root), written, now),
            history,
            unread: self.follower.unread(),
            protocol: protocol.as_deref(),
            config: config.as_deref().map_err(|why| &why[..]),
            unreadable: listed.map_or(0, |listed| listed.len()),
            files: &served,
            phase: RunFolder::phase(root).as_ref(),
            written,
            now,
        }))
    }
}

/// The run's settings, or why they cannot be read; none if there are none.
fn config(root: &Path) -> Option<Result<String, String>> {
    let read = || {
        let Some(file) = open_plain(&root.join("config.toml"))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(LONGEST_CONFIG).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    };
    let told = |error: std::io::Error| format!("config.toml cannot be read: {error}.");
    read().map_err(told).transpose()
}
