//! Runs while they go on, as HTML pages that a server brings up to date: the same figures and charts as in
//! a report, in parts of which only those that have changed are fetched again.

mod list;
mod phase;
mod run;

pub use list::{Entry, Runs, Told};
pub use run::{LiveRun, RunState};

use super::words::{counted, duration, visible};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

/// The script of the pages, which they ask for as `live.js`. They can be read without.
pub const SCRIPT: &str = include_str!("live/live.js");
/// Seconds after which a browser without scripts fetches a page again.
const RELOADED: u32 = 10;

/// The style of the pages, which they ask for as `live.css`: a report's, and what else they need.
pub const STYLE: &str = concat!(include_str!("style.css"), include_str!("live/live.css"));

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The id of the element that holds it.
    pub id: &'static str,
    /// What is in it.
    pub html: String,
}

impl Part {
    fn new(id: &'static str, markup: Markup) -> Self {
        let html = visible(markup.into_string());
        Self { id, html }
    }

    /// What another state of the part does not share with it, short of an accident in 2⁶⁴.
    pub fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.html.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    fn element(&self) -> Markup {
        html! { div id=(self.id) data-version=(self.version()) { (PreEscaped(&self.html)) } }
    }
}

/// A page that is asked for at `up` below the address of all runs, such as `../../`.
fn page(title: &str, up: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(format!("{up}live.css"));
                script defer src=(format!("{up}live.js")) {}
                noscript { meta http-equiv="refresh" content=(RELOADED); }
            }
            body { (body) }
        }
    };
    visible(page.into_string())
}

/// What the script says when nobody answers, and where.
fn connection() -> Markup {
    html! { p #connection role="status" hidden {} }
}

/// A page that says why there is nothing else; `up` leads to the address of all runs.
pub fn refusal(title: &str, why: &str, up: &str) -> String {
    page(
        title,
        up,
        &html! {
            h1 { (title) }
            p { (why) }
            p { a href=(if up.is_empty() { "./" } else { up }) { "All runs" } }
        },
    )
}

/// The page of a run that cannot be shown, to be found two folders below the address of all runs.
pub fn broken(name: &str, why: &str) -> String {
    let [state] = &broken_parts(why);
    run::framed(name, state, &html! {})
}

/// What of that page may change.
pub fn broken_parts(why: &str) -> [Part; 1] {
    [Part::new("state", html! { p { (why) } })]
}

/// How long ago something was written.
fn ago(written: SystemTime, now: SystemTime) -> String {
    // A clock of another machine may be ahead.
    let age = now.duration_since(written).unwrap_or(Duration::ZERO);
    match age.as_secs() {
        seconds @ 0..100 => format!("{seconds} s ago"),
        seconds => format!("{} ago", duration(seconds as f64)),
    }
}

/// A number of images that cannot be read, in a sentence.
fn unreadable(images: usize) -> Option<String> {
    let are = if images == 1 { "is" } else { "are" };
    let what = counted(images, "image");
    (images > 0).then(|| {
        format!("{what} that cannot be read {are} passed over: see quarantine.tsv in its folder.")
    })
}

#[cfg(test)]
mod tests;
