//! What a run does between its steps, as pages and programs are told.

use crate::report::summary::bar;
use crate::report::words::percent;
use crate::run_folder::RunPhase;
use maud::Markup;
use protem_em::Phase;
use serde_json::{Value, json};

impl RunPhase {
    /// What goes on, and what is counted.
    fn words(&self) -> (&'static str, &'static str) {
        match self.phase {
            Phase::Embedding => ("E-step: embedding", "images"),
            Phase::Clustering => ("E-step: clustering", "clusterings"),
            Phase::Measuring => ("measuring", "images"),
            Phase::Comparing => ("measuring kNN", "test images"),
        }
    }

    /// Between 0 and 1, whatever the file says.
    fn share(&self) -> f64 {
        (self.done as f64 / self.of.max(1) as f64).min(1.0)
    }

    /// Among the bars of a run's page.
    pub(super) fn bar(&self) -> Markup {
        let (what, of_what) = self.words();
        let told = format!("{} of {} {of_what}", self.done, self.of);
        bar(what, "other", self.share(), &told)
    }

    /// For a line of the list.
    pub(super) fn in_short(&self) -> String {
        format!("{} {}", self.words().0, percent(self.share()))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({ "name": self.phase, "done": self.done, "of": self.of })
    }
}
