//! The folder of a run.

mod lock;
mod phase;

use crate::quarantine::{Listed, QuarantineList};
use crate::report::is_report;
use crate::tensorboard::{EventFile, event_files};
use protem_em::{
    EmError, Event, Position, clean_checkpoints, list_checkpoints, remove_partial, write_atomically,
};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use phase::PhaseFile;
pub use phase::RunPhase;

const CONFIG: &str = "config.toml";
pub(crate) const METRICS: &str = "metrics.jsonl";
const QUARANTINE: &str = "quarantine.tsv";
const CHECKPOINTS: &str = "checkpoints";
const REPORT: &str = "report.html";

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It already holds a run.
    #[error("{} already holds a run", .0.display())]
    Occupied(PathBuf),
    /// It holds something of a name that a run writes to, and no run.
    #[error("{} is there already, and is of no run", .0.display())]
    Foreign(PathBuf),
    /// It holds no run to go on with.
    #[error("{} holds no run", .0.display())]
    NoRun(PathBuf),
    /// Its checkpoints are there, the settings they belong to are not.
    #[error("{} holds checkpoints, but no config.toml", .0.display())]
    NoConfig(PathBuf),
    /// Another process is at work in it.
    #[error("another process is at work in {}", .0.display())]
    InUse(PathBuf),
    /// Nothing can be written there.
    #[error("nothing can be written to {}: {source}", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
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
    /// Rows that a table cannot hold.
    #[error("no Parquet file can be made of them: {0}")]
    Table(#[from] parquet::errors::ParquetError),
}

/// `config.toml`, `metrics.jsonl`, `quarantine.tsv`, TensorBoard's event files and `checkpoints/` of one
/// run, and `phase.json` while it does something between steps. One process at a time has it.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    metrics: File,
    events: EventFile,
    quarantine: QuarantineList,
    phase: PhaseFile,
    /// Released when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Whether there is a run: a `config.toml` alone may be of anything, beside a lock it is of one.
    pub fn holds_run(root: &Path) -> bool {
        let begun = [CONFIG, lock::NAME]
            .iter()
            .all(|name| root.join(name).exists());
        begun || Self::has_checkpoints(root)
    }

    /// Whether a new run may take the place of what is there: of a run, or of nothing that it would write.
    ///
    /// # Errors
    /// A file of something else where a run would write its own.
    pub fn replaceable(root: &Path) -> Result<(), ReportError> {
        let files = [CONFIG, METRICS, QUARANTINE, phase::NAME].map(|name| root.join(name));
        let events = event_files(root).unwrap_or_default();
        let mut files = files.into_iter().chain(events);
        let foreign = files.find(|path| path.exists());
        match foreign.filter(|_| !Self::holds_run(root)) {
            Some(path) => Err(ReportError::Foreign(path)),
            None => Ok(()),
        }
    }

    /// Whether there is a checkpoint to go on from, whole or not.
    pub fn has_checkpoints(root: &Path) -> bool {
        list_checkpoints(&Self::checkpoints(root)).is_ok_and(|files| !files.is_empty())
    }

    /// Whether a new run would take the place of nothing.
    ///
    /// # Errors
    /// A run that is there, or files of other things where a run would write its own.
    pub fn free(root: &Path) -> Result<(), ReportError> {
        if Self::holds_run(root) {
            return Err(ReportError::Occupied(root.to_path_buf()));
        }
        Self::replaceable(root)?;
        let inside = fs::read_dir(Self::checkpoints(root)).ok();
        match inside.into_iter().flatten().flatten().next() {
            Some(entry) => Err(ReportError::Foreign(entry.path())),
            None => Ok(()),
        }
    }

    /// Whether files could be written there, without leaving any: in the folder if it exists, in
    /// the nearest folder above it otherwise.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn probe(root: &Path) -> Result<(), ReportError> {
        let refused = |source| ReportError::Unwritable {
            path: root.to_path_buf(),
            source,
        };
        let root = std::path::absolute(root).map_err(refused)?;
        // What is there may be a link to what is not.
        let is_there = |path: &&Path| path.symlink_metadata().is_ok();
        let there = root.ancestors().find(is_there).unwrap_or(&root);
        let probe = there.join(format!(".protem-{}", std::process::id()));
        let written = File::create(&probe).and_then(|mut file| file.write_all(b"probe"));
        let removed = fs::remove_file(&probe);
        written.and(removed).map_err(refused)
    }

    /// A folder for a new run; `overwrite` removes the run that is there.
    ///
    /// # Errors
    /// As [`Self::free`], or with `overwrite` as [`Self::replaceable`]; or what the file system refuses.
    pub fn create(root: &Path, config: &str, overwrite: bool) -> Result<Self, ReportError> {
        fs::create_dir_all(root).map_err(io("create", root))?;
        // Before a lock makes a run of what is there, and once more when nobody else can begin one.
        if overwrite {
            Self::replaceable(root)?;
        } else {
            Self::free(root)?;
        }
        let lock = lock::hold(root)?;
        if overwrite {
            remove_run(root)?;
        } else {
            Self::free(root)?;
        }
        // The config first: without it the folder is none of a run, and can be begun again.
        write_atomically(&root.join(CONFIG), config.as_bytes())?;
        let checkpoints = Self::checkpoints(root);
        fs::create_dir_all(&checkpoints).map_err(io("create", &checkpoints))?;
        Self::open(root, lock, 0)
    }

    /// The folder of a run that begins again, because it was stopped before its first checkpoint. What
    /// could not be read then is forgotten: the images were looked at anew.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn begin_again(root: &Path) -> Result<Self, ReportError> {
        Self::go_on(root, &Position::default(), true)
    }

    /// The folder of a run that goes on from `position`; metrics after it are dropped, since they
    /// will come again, and so is what a crash left half written.
    ///
    /// # Errors
    /// No run, or what the file system refuses.
    pub fn resume(root: &Path, position: &Position) -> Result<Self, ReportError> {
        Self::go_on(root, position, false)
    }

    fn go_on(root: &Path, position: &Position, anew: bool) -> Result<Self, ReportError> {
        if !root.join(CONFIG).exists() {
            return Err(ReportError::NoRun(root.to_path_buf()));
        }
        let lock = lock::hold(root)?;
        let quarantine = root.join(QUARANTINE);
        if anew && quarantine.exists() {
            fs::remove_file(&quarantine).map_err(io("remove", &quarantine))?;
        }
        let checkpoints = Self::checkpoints(root);
        fs::create_dir_all(&checkpoints).map_err(io("create", &checkpoints))?;
        remove_torn(root)?;
        let path = root.join(METRICS);
        if path.exists() {
            let file = File::open(&path).map_err(io("read", &path))?;
            let mut kept = String::new();
            for line in BufReader::new(file).split(b'\n') {
                let line = line.map_err(io("read", &path))?;
                if stays(&line, position) {
                    kept.push_str(&String::from_utf8_lossy(&line));
                    kept.push('\n');
                }
            }
            write_atomically(&path, kept.as_bytes())?;
        }
        Self::open(root, lock, position.step)
    }

    fn open(root: &Path, lock: File, step: u64) -> Result<Self, ReportError> {
        let path = root.join(METRICS);
        let metrics = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(io("open", &path))?;
        let kept = |tell: &mut dyn FnMut(Event)| Self::read_metrics(root, tell).map(drop);
        Ok(Self {
            root: root.to_path_buf(),
            metrics,
            events: EventFile::begin(root, step, kept)?,
            quarantine: QuarantineList::open(root.join(QUARANTINE))?,
            phase: PhaseFile::begin(root, step),
            _lock: lock,
        })
    }

    /// The config that the run was begun with, or last resumed with.
    ///
    /// # Errors
    /// No run, or what the file system refuses.
    pub fn config(root: &Path) -> Result<String, ReportError> {
        let path = root.join(CONFIG);
        if !path.exists() && Self::has_checkpoints(root) {
            return Err(ReportError::NoConfig(root.to_path_buf()));
        }
        if !path.exists() {
            return Err(ReportError::NoRun(root.to_path_buf()));
        }
        fs::read_to_string(&path).map_err(io("read", &path))
    }

    /// Replaces the config of a run that goes on.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn set_config(&self, config: &str) -> Result<(), ReportError> {
        Ok(write_atomically(
            &self.root.join(CONFIG),
            config.as_bytes(),
        )?)
    }

    /// Where checkpoints go.
    pub fn checkpoints(root: &Path) -> PathBuf {
        root.join(CHECKPOINTS)
    }

    /// The images that were left out when the run began.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn left_out(root: &Path) -> Result<Listed, ReportError> {
        Ok(QuarantineList::open(root.join(QUARANTINE))?.left_out())
    }

    /// All images that could not be read.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn unreadable(root: &Path) -> Result<Listed, ReportError> {
        Ok(QuarantineList::open(root.join(QUARANTINE))?.all())
    }

    /// Whether a process is at work in a run's folder: it holds a lock there. None where the file system
    /// does not tell; of a lock that another machine holds it need not know.
    pub fn in_use(root: &Path) -> Option<bool> {
        lock::is_held(root)
    }

    /// What a run is doing between steps; one that was killed may have left it behind.
    pub fn phase(root: &Path) -> Option<RunPhase> {
        phase::read(root)
    }

    /// Where a run's report goes unless another place is named.
    pub fn report(root: &Path) -> PathBuf {
        root.join(REPORT)
    }

    /// When what a run writes at last was written; none where it has not, or the system does not tell.
    pub fn written(root: &Path) -> Option<std::time::SystemTime> {
        let files = [CONFIG, METRICS, phase::NAME].map(|name| root.join(name));
        let newest = list_checkpoints(&Self::checkpoints(root)).ok();
        let newest = newest.and_then(|mut files| files.pop());
        let times = files.iter().chain(&newest);
        let time = |path: &PathBuf| fs::metadata(path).ok()?.modified().ok();
        times.filter_map(time).max()
    }

    /// Tells each event of a run's `metrics.jsonl`, whether or not a process is at work there, and
    /// returns how many lines are none: torn by a crash, or of another version.
    ///
    /// # Errors
    /// What the file system refuses. A file that is not there has no lines.
    pub fn read_metrics(root: &Path, tell: &mut dyn FnMut(Event)) -> Result<usize, ReportError> {
        let path = root.join(METRICS);
        if !path.exists() {
            return Ok(0);
        }
        let file = File::open(&path).map_err(io("read", &path))?;
        let mut others = 0;
        // Line by line: of a long run there are millions.
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(io("read", &path))?;
            match serde_json::from_slice(&line) {
                Ok(event) => tell(event),
                Err(_) => others += usize::from(!line.trim_ascii().is_empty()),
            }
        }
        Ok(others)
    }

    /// Appends a metric to `metrics.jsonl` as one whole line and its figures to the event file, and an
    /// unreadable image to `quarantine.tsv`, once; those found before the run begins are on the disk
    /// when it does. Notes are not kept, and of phases only the one under way is told: see [`Self::phase`].
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        if let Event::Run { .. } | Event::Save { .. } = event {
            // A checkpoint that outlives a power failure must not outlive what came before it.
            let path = self.root.join(METRICS);
            self.metrics.sync_data().map_err(io("write", &path))?;
            self.events.sync()?;
            self.quarantine.sync()?;
        }
        if event.is_metric() {
            let mut line = serde_json::to_string(event).expect("plain data");
            line.push('\n');
            let path = self.root.join(METRICS);
            let before = self.metrics.metadata().map_err(io("look at", &path))?.len();
            let written = self.metrics.write_all(line.as_bytes());
            let written = written.map_err(io("append to", &path));
            if let Err(error) = written.and_then(|()| self.events.record(event)) {
                // Half a line is none, and would spoil the next; and what is told again is told to both.
                let _ = self.metrics.set_len(before);
                return Err(error);
            }
        }
        self.phase.record(event);
        self.quarantine.record(event)
    }
}

/// Whether a line of metrics is of what was before a position. One torn by a crash is none.
fn stays(line: &[u8], position: &Position) -> bool {
    match serde_json::from_slice::<Event>(line) {
        Ok(event) => event.precedes(position),
        // Of another version of this program, which told more of an event or less.
        Err(_) => serde_json::from_slice::<serde_json::Value>(line)
            .ok()
            .and_then(|other| other["step"].as_u64())
            .is_some_and(|step| step <= position.step),
    }
}

/// Removes only what a run writes: both folders may hold other things.
fn remove_run(root: &Path) -> Result<(), ReportError> {
    let checkpoints = RunFolder::checkpoints(root);
    let mut files = Vec::new();
    if checkpoints.exists() {
        files = list_checkpoints(&checkpoints)?;
    }
    // What it tells would be of another run than the folder's.
    files.extend(Some(RunFolder::report(root)).filter(|path| is_report(path)));
    files.extend(event_files(root)?);
    // The config last: a folder with it alone is still one of a run.
    files.extend([METRICS, QUARANTINE, phase::NAME, CONFIG].map(|name| root.join(name)));
    for path in files {
        if path.exists() {
            fs::remove_file(&path).map_err(io("remove", &path))?;
        }
    }
    if checkpoints.exists() {
        remove_torn(root)?;
    }
    Ok(())
}

/// Removes what a crash left half written.
fn remove_torn(root: &Path) -> Result<(), ReportError> {
    for name in [CONFIG, METRICS] {
        remove_partial(&root.join(name))?;
    }
    Ok(clean_checkpoints(&RunFolder::checkpoints(root))?)
}

pub(crate) fn io(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ReportError + use<> {
    let path = path.to_path_buf();
    move |source| ReportError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten_unasked_and_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        RunFolder::probe(&root).unwrap();
        assert!(!root.exists());
        let run = RunFolder::create(&root, "seed = 1", false).unwrap();
        let again = RunFolder::create(&root, "seed = 2", true);
        assert!(matches!(again, Err(ReportError::InUse(_))));
        drop(run);
        let again = RunFolder::create(&root, "seed = 2", false);
        assert!(matches!(again, Err(ReportError::Occupied(_))));
        assert_eq!(RunFolder::config(&root).unwrap(), "seed = 1");
        fs::write(root.join("mine.txt"), "mine").unwrap();
        drop(RunFolder::create(&root, "seed = 2", true).unwrap());
        assert_eq!(RunFolder::config(&root).unwrap(), "seed = 2");
        assert!(root.join("mine.txt").exists());
        assert!(!RunFolder::has_checkpoints(&root));
        assert!(RunFolder::probe(&root.join("mine.txt")).is_err());
    }

    #[test]
    fn files_of_other_things_are_not_taken_for_a_run() {
        let events = "events.out.tfevents.1760000000.protem";
        let beside = [
            "config.toml",
            "metrics.jsonl",
            "quarantine.tsv",
            "phase.json",
            events,
        ];
        for name in [&beside[..], &["checkpoints/best.pth"]].concat() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "mine").unwrap();
            for overwrite in [false, true, false] {
                if overwrite && !beside.contains(&name) {
                    continue;
                }
                let refused = RunFolder::create(folder.path(), "", overwrite);
                assert!(matches!(refused, Err(ReportError::Foreign(path)) if path == file));
                assert_eq!(fs::read(&file).unwrap(), b"mine");
            }
        }
        // Asked to replace what a run wrote, that and nothing else goes.
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        drop(RunFolder::create(root, "", false).unwrap());
        let (old, others) = (event_files(root).unwrap(), "events.out.tfevents.1.host");
        fs::write(root.join(others), others).unwrap();
        let (mine, step) = ("best.pth", "step-0000000007.safetensors");
        for name in [mine, step] {
            fs::write(RunFolder::checkpoints(root).join(name), name).unwrap();
        }
        assert!(RunFolder::has_checkpoints(root));
        drop(RunFolder::create(root, "", true).unwrap());
        assert!(!RunFolder::has_checkpoints(root));
        assert!(RunFolder::checkpoints(root).join(mine).exists());
        assert!(root.join(others).exists());
        assert_eq!((old.len(), event_files(root).unwrap().len()), (1, 1));
    }

    fn step(step: u64) -> Event {
        Event::Step {
            epoch: 1,
            step,
            loss: 0.1,
            loss_instance: 0.1,
            loss_prototype: None,
            lr: 0.1,
            images_per_second: 1.0,
        }
    }

    #[test]
    fn what_one_file_refuses_is_in_neither() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), "", false).unwrap();
        let metrics = || {
            let mut all = Vec::new();
            RunFolder::read_metrics(folder.path(), &mut |event| all.push(event)).unwrap();
            all
        };
        run.record(&step(1)).unwrap();
        let refusing = run.events.refusing();
        let events = std::mem::replace(&mut run.events, refusing);
        assert!(matches!(run.record(&step(2)), Err(ReportError::Io { .. })));
        assert_eq!(metrics(), [step(1)]);
        run.events = events;
        run.record(&step(2)).unwrap();
        assert_eq!(metrics(), [step(1), step(2)]);
    }

    #[test]
    fn torn_and_later_metrics_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut run = RunFolder::create(root, "", false).unwrap();
        run.record(&step(1)).unwrap();
        run.record(&Event::Note { text: "x".into() }).unwrap();
        run.record(&step(2)).unwrap();
        for other in [1, 2] {
            let line = format!("{{\"event\":\"epoch\",\"step\":{other},\"new\":0}}\n");
            run.metrics.write_all(line.as_bytes()).unwrap();
        }
        run.metrics.write_all(b"{\"event\":\"st").unwrap();
        drop(run);
        fs::write(root.join("config.toml.partial"), "torn").unwrap();
        let position = Position {
            step: 1,
            ..Position::default()
        };
        drop(RunFolder::resume(root, &position).unwrap());
        let kept = fs::read_to_string(root.join(METRICS)).unwrap();
        let other = "\n{\"event\":\"epoch\",\"step\":1,\"new\":0}\n";
        assert_eq!(kept, serde_json::to_string(&step(1)).unwrap() + other);
        assert!(!root.join("config.toml.partial").exists());
    }
}
