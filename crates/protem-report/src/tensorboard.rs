//! The figures of a run as TensorBoard reads them: event files in the run's folder, one for each time
//! that it began or went on.
//!
//! TensorBoard reads the files of a folder in the order of their names. Where another file begins at a
//! step, its reader in Python drops what it has of that step and those behind it; the one it takes by
//! default does so for each tag when that is told of again. So a run that goes on begins its file at the
//! step it goes on from, and tells again what it keeps of that step.

mod figures;
mod proto;

use crate::run_folder::{ReportError, io};
use figures::Figures;
use protem_em::Event;
use proto::{SessionLog, Summary, Value, What};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What a name begins with, before the seconds since 1970 when the file was begun.
const BEGINS: &str = "events.out.tfevents.";
/// What it ends with: files of other programs may lie beside it.
const ENDS: &str = ".protem";
/// What it is called before it is whole. TensorBoard passes over this name.
const ASIDE: &str = "events.partial";

/// The event file of a run under way.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// The step it begins at.
    from: u64,
    figures: Figures,
}

impl EventFile {
    /// The file of a run that goes on behind `step`, or of a new one (0), with what `kept` tells of
    /// that step. Where the run has no event file yet, it tells all.
    ///
    /// The times in it are those of the telling: metrics have none.
    ///
    /// # Errors
    /// What `kept` fails with, or the file system refuses. No file is left then.
    pub fn begin(
        root: &Path,
        step: u64,
        kept: impl FnOnce(&mut dyn FnMut(Event)) -> Result<(), ReportError>,
    ) -> Result<Self, ReportError> {
        let before = event_files(root)?;
        let aside = root.join(ASIDE);
        if aside.exists() {
            fs::remove_file(&aside).map_err(io("remove", &aside))?; // a crash has left it
        }
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&aside);
        let file = file.map_err(io("create", &aside))?;
        let mut events = Self {
            path: aside,
            file,
            from: if before.is_empty() { 0 } else { step },
            figures: Figures::default(),
        };
        let path = root.join(name_after(before.last()));
        let begun = events.tell_beginning(kept).and_then(|()| {
            let renamed = fs::rename(&events.path, &path);
            renamed.map_err(io("rename into place", &path))
        });
        if let Err(error) = begun {
            let _ = fs::remove_file(&events.path); // the first error is the one to report
            return Err(error);
        }
        events.path = path;
        Ok(events)
    }

    fn tell_beginning(
        &mut self,
        kept: impl FnOnce(&mut dyn FnMut(Event)) -> Result<(), ReportError>,
    ) -> Result<(), ReportError> {
        self.append(0, What::FileVersion(proto::FILE_VERSION.into()))?;
        // In the first file too: of several such events, TensorBoard takes the first for the beginning
        // of the run, and drops steps from the second on.
        let status = proto::START;
        self.append(self.from, What::SessionLog(SessionLog { status }))?;
        let mut told = Ok(());
        kept(&mut |event| {
            if told.is_ok() {
                told = self.record(&event);
            }
        })?;
        told
    }

    /// Appends the figures of an event, if it has any.
    ///
    /// # Errors
    /// What the file system refuses; the file ends as it did then.
    pub fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        match self.figures.of(event) {
            Some((step, figures)) if step >= self.from => {
                let value = figures.into_iter().map(|(tag, figure)| Value {
                    tag,
                    simple_value: Some(figure as f32),
                });
                let value = value.collect();
                self.append(step, What::Summary(Summary { value }))
            }
            _ => Ok(()),
        }
    }

    fn append(&mut self, step: u64, what: What) -> Result<(), ReportError> {
        let record = proto::record(&proto::Event {
            wall_time: since_1970().as_secs_f64(),
            step: step as i64,
            what: Some(what),
        });
        let before = self.file.metadata();
        let before = before.map_err(io("look at", &self.path))?.len();
        self.file.write_all(&record).map_err(|error| {
            let _ = self.file.set_len(before); // TensorBoard would wait for the rest of a record
            io("append to", &self.path)(error)
        })
    }

    /// The same, but that nothing can be written to it.
    #[cfg(test)]
    pub fn refusing(&self) -> Self {
        Self {
            path: self.path.clone(),
            file: File::open(&self.path).unwrap(),
            from: self.from,
            figures: Figures::default(),
        }
    }

    /// Brings what was recorded to the disk.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn sync(&self) -> Result<(), ReportError> {
        self.file.sync_data().map_err(io("sync", &self.path))
    }
}

/// The event files of a folder's run, in the order of their names, which is that of their beginnings.
///
/// # Errors
/// What the file system refuses.
pub(crate) fn event_files(root: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).map_err(io("list", root))? {
        let path = entry.map_err(io("list", root))?.path();
        if seconds_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// When a run's event file was begun; none of other files.
fn seconds_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let seconds = name.strip_prefix(BEGINS)?.strip_suffix(ENDS)?;
    let digits = seconds.bytes().all(|byte| byte.is_ascii_digit());
    seconds.parse().ok().filter(|_| digits)
}

/// The name of the next file: behind the last one's, also where a clock was set back.
fn name_after(last: Option<&PathBuf>) -> String {
    let after = last.and_then(|path| seconds_of(path)?.checked_add(1));
    let seconds = since_1970().as_secs().max(after.unwrap_or(0));
    format!("{BEGINS}{seconds:010}{ENDS}")
}

fn since_1970() -> Duration {
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch_and_e_step(step: u64) -> [Event; 2] {
        let epoch = Event::Epoch {
            epoch: 1,
            step,
            loss: 2.0,
            loss_instance: 2.0,
            loss_prototype: None,
            chance: 4.0,
            lr: 0.1,
            knn_top1: Some(0.5),
            effective_rank: None,
            ami_previous: None,
            images_per_second: 100.0,
            seconds: 1.0,
            e_step_seconds: 0.0,
            waited_seconds: 0.0,
        };
        let e_step = Event::EStep {
            epoch: 2,
            step,
            k: 20,
            objective: 1.0,
            ami_previous: None,
            empty: 0,
            concentration_min: 0.1,
            concentration_max: 0.2,
            seconds: 1.0,
        };
        [epoch, e_step]
    }

    /// Steps that a file tells of, and the step it begins at.
    fn told(path: &Path) -> (i64, Vec<i64>) {
        let events = proto::events(&fs::read(path).unwrap());
        let version = Some(What::FileVersion(proto::FILE_VERSION.into()));
        assert_eq!(events[0].what, version);
        let session = SessionLog {
            status: proto::START,
        };
        assert_eq!(events[1].what, Some(What::SessionLog(session)));
        let told = events[2..].iter().map(|event| event.step).collect();
        (events[1].step, told)
    }

    #[test]
    fn a_file_begins_at_its_step_with_what_is_kept_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let kept = |steps: &'static [u64]| {
            move |tell: &mut dyn FnMut(Event)| {
                let events = steps.iter().flat_map(|step| epoch_and_e_step(*step));
                events.for_each(tell);
                Ok(())
            }
        };
        // Of a clock that was set back, and of another program.
        for name in ["9999999990.protem", "9999999999.host", "1x.protem"] {
            fs::write(root.join(format!("{BEGINS}{name}")), "").unwrap();
        }
        fs::write(root.join(ASIDE), "torn").unwrap();
        for step in 12..14 {
            let mut events = EventFile::begin(root, step, kept(&[6, 12, 13])).unwrap();
            events.record(&epoch_and_e_step(18)[0]).unwrap();
        }
        let files = event_files(root).unwrap();
        let names = files.iter().map(|path| path.file_name().unwrap());
        let names: Vec<&str> = names.map(|name| name.to_str().unwrap()).collect();
        let expected = [0, 1, 2].map(|i| format!("events.out.tfevents.999999999{i}.protem"));
        assert_eq!(names, expected);
        assert_eq!(told(&files[1]), (12, vec![12, 12, 13, 13, 18]));
        assert_eq!(told(&files[2]), (13, vec![13, 13, 18]));
        assert!(!root.join(ASIDE).exists());

        // A folder without any, as earlier versions made them: the first tells all.
        files.iter().for_each(|path| fs::remove_file(path).unwrap());
        EventFile::begin(root, 12, kept(&[6, 12])).unwrap();
        let files = event_files(root).unwrap();
        assert_eq!(told(&files[0]), (0, vec![6, 6, 12, 12]));

        // What cannot be told leaves nothing.
        let failed = EventFile::begin(root, 12, |_| Err(ReportError::NoRun(root.into())));
        assert!(failed.is_err());
        assert_eq!(event_files(root).unwrap(), files);
        assert!(!root.join(ASIDE).exists());
    }
}
