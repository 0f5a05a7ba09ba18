//! The list of runs.

use super::{LiveRun, Part, RunState, ago, connection, page};
use crate::report::words::{date, percent};
use crate::run_folder::RunPhase;
use maud::{Markup, html};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A folder among runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// The name in an address.
    pub address: String,
    /// The run in it, or why there is none.
    pub told: Result<Told, String>,
}

/// What the list tells of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    state: RunState,
    /// What goes on between steps.
    phase: Option<RunPhase>,
    mode: Option<String>,
    source: Option<String>,
    /// The one under way, or the last.
    epoch: Option<usize>,
    of_epochs: Option<usize>,
    step: u64,
    /// Mean over the last whole epoch; in the first one the last step's.
    loss_instance: Option<f64>,
    loss_prototype: Option<f64>,
    knn: Option<f64>,
    written: Option<SystemTime>,
}

impl Told {
    /// Of a run.
    pub fn of(live: &LiveRun) -> Self {
        let history = live.history;
        let run = history.run.as_ref();
        let whole = history.epochs.iter().next_back();
        let losses = whole.map(|(_, line)| (line.loss_instance, line.loss_prototype));
        let step = history.last_step.as_ref();
        let losses = losses.or(step.map(|step| (step.loss_instance, step.loss_prototype)));
        let under_way = history.progress().map(|progress| progress.epoch);
        let done = history.done.map(|done| done.epochs);
        Self {
            state: live.state,
            phase: live.phase_now().cloned(),
            mode: run.map(|run| run.mode.clone()),
            source: run.map(|run| match &run.source {
                Some(path) => path.display().to_string(),
                None => "generated".into(),
            }),
            epoch: under_way.or(done).or(whole.map(|(epoch, _)| *epoch)),
            of_epochs: run.map(|run| run.epochs),
            step: history.step,
            loss_instance: losses.map(|(instance, _)| instance),
            loss_prototype: losses.and_then(|(_, prototype)| prototype),
            knn: history.last_knn().map(|(_, top1)| top1),
            written: live.written,
        }
    }
}

impl Entry {
    /// The same for programs: accuracy between 0 and 1, time in seconds since 1970.
    pub fn json(&self) -> Value {
        let Ok(told) = &self.told else {
            return json!({ "name": self.name, "error": self.told.as_ref().err() });
        };
        let written = told
            .written
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        json!({
            "name": self.name,
            "state": told.state,
            "phase": told.phase.as_ref().map(RunPhase::json),
            "mode": told.mode,
            "source": told.source,
            "epoch": told.epoch,
            "of_epochs": told.of_epochs,
            "step": told.step,
            "loss_instance": told.loss_instance,
            "loss_prototype": told.loss_prototype,
            "knn_top1": told.knn,
            "written": written.map(|since| since.as_secs_f64()),
        })
    }

    fn row(&self, now: SystemTime) -> Markup {
        html! {
            tr {
                td.word { a href=(format!("runs/{}/", self.address)) { bdi { (self.name) } } }
                @match &self.told {
                    Ok(told) => (told.cells(now)),
                    Err(why) => td.word colspan="8" { (why) },
                }
            }
        }
    }

    fn written(&self) -> Option<SystemTime> {
        self.told.as_ref().ok()?.written
    }
}

impl Told {
    fn cells(&self, now: SystemTime) -> Markup {
        let none = || "–".to_owned();
        let loss = |loss: Option<f64>| loss.map_or_else(none, |loss| format!("{loss:.3}"));
        let epoch = match (self.epoch, self.of_epochs) {
            (Some(epoch), Some(of)) => format!("{epoch} of {of}"),
            (Some(epoch), None) => epoch.to_string(),
            _ => none(),
        };
        let written = self.written.map_or_else(none, |at| match self.state {
            RunState::UnderWay => ago(at, now),
            _ => date(at),
        });
        html! {
            td.word {
                (self.state.badge())
                @if let Some(phase) = &self.phase { ", " (phase.in_short()) }
            }
            td.word { (written) }
            td { (epoch) }
            td { (loss(self.loss_instance)) }
            td { (loss(self.loss_prototype)) }
            td { (self.knn.map_or_else(none, percent)) }
            td.word { (self.mode.as_deref().unwrap_or("–")) }
            td.word { bdi { (self.source.as_deref().unwrap_or("–")) } }
        }
    }
}

/// The runs of a folder at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    folder: String,
    entries: Vec<Entry>,
    now: SystemTime,
}

impl Runs {
    /// Of a folder that is called so; in whatever order its runs are given, the newest come first, and what
    /// is none last.
    pub fn new(folder: String, mut entries: Vec<Entry>, now: SystemTime) -> Self {
        entries.sort_by(|a, b| {
            let newest = b.written().cmp(&a.written());
            let runs = a.told.is_err().cmp(&b.told.is_err());
            runs.then(newest).then_with(|| a.name.cmp(&b.name))
        });
        Self {
            folder,
            entries,
            now,
        }
    }

    /// The page.
    pub fn page(&self) -> String {
        let title = format!("Runs in {}", self.folder);
        let [list] = &self.parts();
        let body = html! {
            h1 { (title) }
            (connection())
            (list.element())
        };
        page(&title, "", &body)
    }

    /// What of the page may change.
    pub fn parts(&self) -> [Part; 1] {
        [Part::new("list", self.list())]
    }

    fn list(&self) -> Markup {
        let heads = [
            ("run", true),
            ("", true),
            ("last written", true),
            ("epoch", false),
            ("InfoNCE", false),
            ("ProtoNCE", false),
            ("kNN", false),
            ("mode", true),
            ("images", true),
        ];
        if self.entries.is_empty() {
            return html! { p { "There are no runs yet: protem train --out, and a folder in this one, begins one." } };
        }
        html! {
            div.wide {
                table {
                    thead { tr { @for (head, word) in heads { th.word[word] { (head) } } } }
                    tbody { @for entry in &self.entries { (entry.row(self.now)) } }
                }
            }
        }
    }

    /// The same for programs, in the same order.
    pub fn json(&self) -> Value {
        self.entries.iter().map(Entry::json).collect()
    }
}
