//! What a run has come to, in figures and facts.

use super::facts::facts;
use super::words::{counted, duration, percent};
use crate::history::History;
use maud::{Markup, html};

/// A bar with a name before it, filled by a share between 0 and 1, and what is told in it.
pub fn bar(name: &str, class: &str, share: f64, told: &str) -> Markup {
    let width = format!("width: {:.1}%", 100.0 * share.clamp(0.0, 1.0));
    html! {
        div { (name) }
        span class=(class) { i style=(width) {} b { (told) } }
    }
}

/// What stands at the head of a run's page.
pub struct Summary<'a> {
    pub history: &'a History,
    /// Lines of the metrics that could not be read.
    pub unread: usize,
    /// How kNN is measured by the settings the run has now; none where they are not known.
    pub protocol: Option<&'a str>,
}

impl Summary<'_> {
    /// Accuracies, and what the run was made of.
    pub fn figures(&self) -> Markup {
        html! {
            @if self.unread > 0 {
                p.note { "Without " (counted(self.unread, "line")) " of metrics.jsonl that cannot be read: torn, or of another version of the program." }
            }
            (self.accuracy())
            dl {
                @for (what, told) in self.facts() { dt { (what) } dd { (told) } }
            }
        }
    }

    /// kNN beside what it is held against, as bars.
    fn accuracy(&self) -> Markup {
        let history = self.history;
        let others: Vec<(&str, f64)> = history.held_against().collect();
        let own = history.last_knn();
        if own.is_none() && others.is_empty() {
            let why = match history.run.as_ref().map(|run| run.test_images) {
                None => "Whether kNN was measured is not known.",
                Some(0) => {
                    "kNN was not measured: there were no images with classes kept out of training, or it was not asked for."
                }
                Some(_) => "kNN was not measured yet.",
            };
            return html! { p { (why) } };
        }
        let bar = |name: &str, top1: f64, class| bar(name, class, top1, &percent(top1));
        html! {
            div.bars-of {
                @if let Some((epoch, top1)) = own {
                    (bar(&format!("kNN after epoch {epoch}"), top1, "own"))
                }
                @for (name, value) in &others { (bar(name, *value, "other")) }
            }
            (self.protocols())
        }
    }

    /// How kNN was measured; its settings may have changed on the way.
    fn protocols(&self) -> Markup {
        let (now, then) = (self.protocol, self.history.protocol.as_deref());
        html! {
            @match (now, then) {
                (Some(now), Some(then)) if now != then => {
                    p.note { "Measured last by: " (now) "." }
                    p.note { "What it is held against, by: " (then) "." }
                }
                (_, Some(told)) | (Some(told), None) => p.note { (told) "." },
                (None, None) => {}
            }
        }
    }

    /// What is told of the run, by names.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.history.run.as_ref().map_or(Vec::new(), facts);
        let seconds = self.history.seconds();
        if seconds > 0.0 {
            let of = match self.history.done {
                Some(_) => "",
                None => ", of its whole epochs",
            };
            facts.push(("time", duration(seconds) + of));
        }
        facts
    }
}
