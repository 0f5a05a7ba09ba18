//! One run while it goes on.

use super::{Entry, Part, Told, ago, connection, page, unreadable};
use crate::history::{History, Progress};
use crate::report::charts::charts;
use crate::report::summary::{Summary, bar};
use crate::report::words::{date, duration, significant};
use crate::run_folder::RunPhase;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// A run that wrote something within this is under way, whoever holds its lock: other machines may hold
/// one that is not seen here.
const RECENT: Duration = Duration::from_secs(20);

/// Whether a run goes on, as far as can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process is at work in its folder.
    UnderWay,
    /// All its epochs are done.
    Finished,
    /// Neither.
    Stopped,
}

impl RunState {
    /// Of a run whose folder is in use or not, where that is known, and when it was written to last.
    pub fn of(
        history: &History,
        in_use: Option<bool>,
        written: Option<SystemTime>,
        now: SystemTime,
    ) -> Self {
        let recent = written.is_some_and(|at| match now.duration_since(at) {
            Ok(age) => age < RECENT,
            Err(ahead) => ahead.duration() < RECENT,
        });
        match in_use {
            _ if history.done.is_some() => Self::Finished,
            Some(true) => Self::UnderWay,
            _ if recent => Self::UnderWay,
            _ => Self::Stopped,
        }
    }

    /// As a word with a mark before it.
    pub(super) fn badge(self) -> Markup {
        let (class, word) = match self {
            Self::UnderWay => ("state going", "under way"),
            Self::Finished => ("state", "finished"),
            Self::Stopped => ("state stopped", "stopped"),
        };
        html! { b class=(class) { (word) } }
    }
}

/// A run at one moment.
#[derive(Debug, Clone, Copy)]
pub struct LiveRun<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Whether it goes on.
    pub state: RunState,
    /// What its metrics tell.
    pub history: &'a History,
    /// Lines of the metrics that could not be read.
    pub unread: usize,
    /// How kNN is measured by the settings the run has now; none where they are not known.
    pub protocol: Option<&'a str>,
    /// The resolved settings, or why they cannot be read.
    pub config: Result<&'a str, &'a str>,
    /// Images that could not be read.
    pub unreadable: usize,
    /// Files of its folder that can be asked for, by their names.
    pub files: &'a [&'static str],
    /// What its folder says that it does between steps.
    pub phase: Option<&'a RunPhase>,
    /// When it was written to last; none where the system does not tell.
    pub written: Option<SystemTime>,
    /// The moment.
    pub now: SystemTime,
}

impl LiveRun<'_> {
    /// The page, to be found two folders below the address of all runs.
    pub fn page(&self) -> String {
        let [state, figures, charts, settings] = &self.parts();
        let more = html! {
            (figures.element())
            section { h2 { "Training" } (charts.element()) }
            section { h2 { "Settings" } (settings.element()) }
        };
        framed(self.name, state, &more)
    }

    /// What of the page may change.
    pub fn parts(&self) -> [Part; 4] {
        let summary = self.summary();
        [
            Part::new("state", self.state()),
            Part::new("figures", summary.figures()),
            Part::new("charts", charts(self.history)),
            Part::new("settings", self.settings()),
        ]
    }

    fn summary(&self) -> Summary<'_> {
        Summary {
            history: self.history,
            unread: self.unread,
            protocol: self.protocol,
        }
    }

    fn state(&self) -> Markup {
        let progress = self.history.progress();
        let written = self.written.map(|at| match self.state {
            RunState::UnderWay => ago(at, self.now),
            _ => date(at),
        });
        html! {
            p {
                (self.state.badge())
                @if let Some(written) = written { ", last written " (written) }
            }
            p { (self.history.state()) }
            @if let Some(progress) = &progress { (self.progress(progress)) }
            @if let Some(told) = unreadable(self.unreadable) { p.note { (told) } }
        }
    }

    fn progress(&self, progress: &Progress) -> Markup {
        let phase = self.phase_at(progress);
        let stage = match self.state {
            RunState::Stopped => Some("No process is at work in its folder, as far as can be seen from here: protem train --resume --out FOLDER goes on with it.".into()),
            _ if phase.is_some() => None,
            _ => progress.stage(),
        };
        let epoch = format!("epoch {} of {}", progress.epoch, progress.epochs);
        html! {
            div.bars-of {
                (steps(&epoch, progress.epoch_step, progress.steps_per_epoch))
                (steps("the run", progress.step, progress.steps))
                @if let Some(phase) = phase { (phase.bar()) }
            }
            @if let Some(stage) = stage { p { (stage) } }
            @if let Some(now) = self.now_told(progress) { p { (now) } }
        }
    }

    /// What goes on between steps.
    pub(super) fn phase_now(&self) -> Option<&RunPhase> {
        self.phase_at(&self.history.progress()?)
    }

    /// The same, unless it is of a run that was killed, or a step has followed.
    fn phase_at(&self, progress: &Progress) -> Option<&RunPhase> {
        let now = |phase: &&RunPhase| {
            self.state == RunState::UnderWay
                && (phase.epoch, phase.step) == (progress.epoch, progress.step)
        };
        self.phase.filter(now)
    }

    /// What the last steps came to.
    fn now_told(&self, progress: &Progress) -> Option<String> {
        let mut told = Vec::new();
        if let (RunState::UnderWay, Some(left)) = (self.state, progress.seconds_left) {
            told.push(format!("{} left{}", duration(left), progress.without));
        }
        let speed = progress.images_per_second;
        told.extend(speed.map(|speed| format!("{speed:.0} images/s in this epoch")));
        if let Some(step) = &self.history.last_step {
            let prototype = step.loss_prototype;
            let prototype = prototype.map_or(String::new(), |loss| format!(", ProtoNCE {loss:.3}"));
            told.push(format!(
                "InfoNCE {:.3}{prototype} and learning rate {} at step {}",
                step.loss_instance,
                significant(step.lr),
                self.history.step
            ));
        }
        (!told.is_empty()).then(|| told.join("; ") + ".")
    }

    fn settings(&self) -> Markup {
        html! {
            @if !self.files.is_empty() {
                p { "In its folder: "
                    @for (i, file) in self.files.iter().enumerate() {
                        @if i > 0 { ", " }
                        a href=(file) { (file) }
                    }
                    "."
                }
            }
            @match self.config {
                Ok(config) => details { summary { "config.toml, resolved" } pre { (config) } },
                Err(why) => p.note { (why) },
            }
        }
    }

    /// The same for programs: what the list of runs has, and all else that metrics tell of epochs. Seconds,
    /// shares between 0 and 1.
    pub fn json(&self) -> Value {
        let entry = Entry {
            name: self.name.to_owned(),
            address: String::new(),
            told: Ok(Told::of(self)),
        };
        let mut told = entry.json();
        let history = self.history;
        let epochs = history.epochs.iter().map(|(epoch, line)| {
            let mut line = json!(line);
            line["epoch"] = json!(epoch);
            line
        });
        let against = history.held_against();
        let against = against.map(|(what, top1)| (what.to_owned(), json!(top1)));
        let facts = self.summary().facts().into_iter();
        let facts = facts.map(|(what, told)| (what.to_owned(), json!(told)));
        let more = json!({
            "progress": history.progress(),
            "facts": facts.collect::<serde_json::Map<_, _>>(),
            "protocol": self.protocol,
            "held_against": against.collect::<serde_json::Map<_, _>>(),
            "seconds": history.seconds(),
            "resumed_at_steps": history.resumed,
            "unreadable_images": self.unreadable,
            "unread_lines": self.unread,
            "epochs": epochs.collect::<Vec<_>>(),
        });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        told
    }
}

/// A run's page: how it goes, and more.
pub(super) fn framed(name: &str, state: &Part, more: &Markup) -> String {
    let title = format!("Run {name}");
    let body = html! {
        nav { a href="../../" { "All runs" } }
        header {
            h1 { "Run " bdi { (name) } }
            (connection())
            (state.element())
        }
        (more)
    };
    page(&title, "../../", &body)
}

fn steps(what: &str, done: u64, of: u64) -> Markup {
    let share = done as f64 / of.max(1) as f64;
    bar(what, "own", share, &format!("{done} of {of} steps"))
}
