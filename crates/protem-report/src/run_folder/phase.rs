//! What a run does between its steps, for those who look on.
//!
//! `metrics.jsonl` has a line when something is done; embedding a million images takes long. So the phase under
//! way stands in a small file of its own, which is there only while it goes on.

use crate::plain::open_plain;
use protem_em::{Event, Phase};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Its name in a run's folder, and what it is written to before it gets that name.
pub const NAME: &str = "phase.json";
const ASIDE: &str = ".phase.json";
/// Between two states of one phase.
const EVERY: Duration = Duration::from_secs(1);
/// A longer file is none of ours.
const LONGEST: u64 = 4096;

/// Something long between steps, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPhase {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps of the run that are done.
    pub step: u64,
    /// What goes on.
    pub phase: Phase,
    /// Images or clusterings done.
    pub done: usize,
    /// Images or clusterings in all.
    pub of: usize,
}

/// The file of a run that is at work. Whatever goes wrong with it is let go: those who look on miss something, the
/// run does not.
#[derive(Debug)]
pub struct PhaseFile {
    root: PathBuf,
    step: u64,
    /// What is in it, and since when.
    written: Option<(Phase, Instant)>,
}

impl PhaseFile {
    /// Of a run that has made so many steps. What a killed one has left is removed.
    pub fn begin(root: &Path, step: u64) -> Self {
        let mut file = Self {
            root: root.to_path_buf(),
            step,
            written: None,
        };
        file.remove();
        file
    }

    /// Writes a phase down, or removes it when something else follows.
    pub fn record(&mut self, event: &Event) {
        match event {
            Event::Phase {
                epoch,
                phase,
                done,
                of,
            } => {
                // Of clusterings there are few, and each may be the one that takes long.
                let fresh = |(before, since): (Phase, Instant)| {
                    before == *phase && *phase != Phase::Clustering && since.elapsed() < EVERY
                };
                if self.written.is_some_and(fresh) {
                    return;
                }
                self.write(&RunPhase {
                    epoch: *epoch,
                    step: self.step,
                    phase: *phase,
                    done: *done,
                    of: *of,
                });
                self.written = Some((*phase, Instant::now()));
            }
            Event::Run { step, .. } => self.step = *step,
            Event::Step { step, .. } => {
                self.step = *step;
                self.clear();
            }
            Event::Eval { .. } | Event::Epoch { .. } | Event::Done { .. } => self.clear(),
            _ => {}
        }
    }

    fn write(&self, phase: &RunPhase) {
        let aside = self.root.join(ASIDE);
        let text = serde_json::to_vec(phase).expect("plain data");
        let _ = fs::write(&aside, text).and_then(|()| fs::rename(&aside, self.root.join(NAME)));
    }

    fn clear(&mut self) {
        if self.written.take().is_some() {
            self.remove();
        }
    }

    fn remove(&mut self) {
        for name in [NAME, ASIDE] {
            let _ = fs::remove_file(self.root.join(name));
        }
    }
}

impl Drop for PhaseFile {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What stands in the file, if it is there and whole. A run that was killed has left it behind.
pub fn read(root: &Path) -> Option<RunPhase> {
    let file = open_plain(&root.join(NAME)).ok()??;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(done: usize) -> Event {
        Event::Phase {
            epoch: 2,
            phase: Phase::Embedding,
            done,
            of: 100,
        }
    }

    fn step(step: u64) -> Event {
        Event::Step {
            epoch: 2,
            step,
            loss: 0.1,
            loss_instance: 0.1,
            loss_prototype: None,
            lr: 0.1,
            images_per_second: 1.0,
        }
    }

    #[test]
    fn a_phase_stands_there_while_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join(NAME), "left by a killed one").unwrap();
        let mut file = PhaseFile::begin(root, 30);
        assert!(!root.join(NAME).exists());
        file.record(&embedding(10));
        let begun = read(root).unwrap();
        assert_eq!((begun.step, begun.done, begun.of), (30, 10, 100));
        // Not again at once; another phase is.
        file.record(&embedding(20));
        assert_eq!(read(root), Some(begun));
        for done in 0..3 {
            file.record(&Event::Phase {
                epoch: 2,
                phase: Phase::Clustering,
                done,
                of: 3,
            });
            let told = read(root).unwrap();
            assert_eq!((told.phase, told.done), (Phase::Clustering, done));
        }
        // A step is the end of it, and so is the run's.
        file.record(&step(31));
        assert_eq!(read(root), None);
        file.record(&embedding(30));
        assert_eq!(read(root).unwrap().step, 31);
        drop(file);
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_phase_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(read(root), None);
        let whole = r#"{"epoch":1,"step":0,"phase":"embedding","done":1,"of":2}"#;
        for text in [
            "",
            "{}",
            &whole[1..],
            &" ".repeat(5000),
            &whole.replace('1', "-1"),
        ] {
            fs::write(root.join(NAME), text).unwrap();
            assert_eq!(read(root), None, "{text}");
        }
        fs::write(root.join(NAME), whole).unwrap();
        assert_eq!(read(root).unwrap().done, 1);
        #[cfg(unix)]
        {
            fs::rename(root.join(NAME), root.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", root.join(NAME)).unwrap();
            assert_eq!(read(root), None, "a link");
        }
    }
}
