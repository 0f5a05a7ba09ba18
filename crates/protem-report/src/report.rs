//! A run as one HTML page: no script, and nothing that is fetched from elsewhere.

mod chart;
mod charts;
mod clusters;
mod facts;
mod live;
mod map;
mod scale;
mod summary;
mod words;

pub use clusters::{Card, ClassShare, Clusters, Distribution, Picture, Section, Shown};
pub use live::{
    Entry, LiveRun, Part, RunState, Runs, SCRIPT, STYLE, Told, broken, broken_parts, refusal,
};
pub use map::{Groups, Map, Plane, Point, Sheet};

use crate::history::History;
use charts::charts;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;
use summary::Summary;
use words::{date, visible};

pub use words::{counted, percent};

/// By which a page is known to be one of these.
const GENERATOR: &str = concat!("protem report ", env!("CARGO_PKG_VERSION"));
const MARK: &[u8] = b"<meta name=\"generator\" content=\"protem report ";
/// The page asks for nothing, and a browser is told to see to it.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// What a page tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the run is called.
    pub name: String,
    /// What its metrics tell.
    pub history: History,
    /// Lines of the metrics that could not be read.
    pub unread: usize,
    /// How kNN is measured by the settings the run has now; none where they are not known.
    pub protocol: Option<String>,
    /// Its images, laid out by the newest checkpoint's features.
    pub map: Map,
    /// What the newest checkpoint has found.
    pub clusters: Clusters,
    /// The resolved settings.
    pub config: String,
    /// The files that the report was made of, by their names in the run's folder.
    pub files: Vec<String>,
    /// When the last of them was written; none where the system does not tell.
    pub written: Option<SystemTime>,
}

impl Report {
    /// The page. The same report gives the same bytes.
    pub fn html(&self) -> String {
        let title = format!("Run {}", self.name);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="generator" content=(GENERATOR);
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(include_str!("report/style.css"))) (PreEscaped(self.map.style())) }
                }
                body {
                    (self.header(&title))
                    section { h2 { "Training" } (charts(&self.history)) }
                    (self.map.section())
                    (self.clusters.section())
                    section {
                        h2 { "Settings" }
                        details { summary { "config.toml, resolved" } pre { (self.config) } }
                    }
                    (self.footer())
                }
            }
        };
        visible(page.into_string())
    }

    fn header(&self, title: &str) -> Markup {
        let summary = Summary {
            history: &self.history,
            unread: self.unread,
            protocol: self.protocol.as_deref(),
        };
        html! {
            header {
                h1 { (title) }
                p { (self.history.state()) }
                (summary.figures())
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                p {
                    "Made by " (GENERATOR) " of " (self.files.join(", "))
                    @if let Some(written) = self.written { ", last written " (date(written)) }
                    "."
                }
            }
        }
    }
}

/// Whether a file is such a page, by its beginning.
pub fn is_report(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1024).read_to_end(&mut beginning));
    read.is_ok() && beginning.windows(MARK.len()).any(|part| part == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protem_em::{Evaluated, Event, Precision};

    fn run(step: u64, resumed: bool) -> Event {
        Event::Run {
            step,
            resumed_from: resumed.then(|| "step.safetensors".into()),
            source: Some("a<b>&\"c".into()),
            seed: 1,
            mode: "pcl-v2".into(),
            images: 100,
            test_images: 20,
            classes: 2,
            encoder: None,
            precision: Precision::F32,
            image_size: 32,
            parameters: 10,
            epochs: 4,
            warmup_epochs: 1,
            steps_per_epoch: 10,
            batch: 10,
            ranks: 1,
            queue: 50,
            clusters: vec![5],
            negatives: 4,
            chance: 3.9,
        }
    }

    fn epoch(epoch: usize) -> Event {
        Event::Epoch {
            epoch,
            step: 10 * epoch as u64,
            loss: 3.0,
            loss_instance: 3.0,
            loss_prototype: (epoch > 1).then_some(2.0),
            chance: 3.9,
            lr: 0.05,
            knn_top1: epoch.is_multiple_of(2).then_some(0.625),
            effective_rank: None,
            ami_previous: None,
            images_per_second: 100.0,
            seconds: 60.0,
            e_step_seconds: 6.0,
            waited_seconds: 0.0,
        }
    }

    fn done() -> Event {
        Event::Done {
            step: 40,
            epochs: 4,
            loss: 3.0,
            knn_top1: Some(0.625),
            checkpoint: "step.safetensors".into(),
            seconds: 250.0,
        }
    }

    fn report(events: impl IntoIterator<Item = Event>) -> Report {
        Report {
            name: "<mine>".into(),
            history: History::of(events),
            unread: 0,
            protocol: None,
            map: Map::None("No map.".into()),
            clusters: Clusters::None("None yet.".into()),
            config: "seed = 1 # </pre><script>".into(),
            files: vec!["metrics.jsonl".into()],
            written: Some(SystemTime::UNIX_EPOCH),
        }
    }

    fn has(page: &str, all: &[&str]) {
        for part in all {
            assert!(page.contains(part), "no `{part}` in {page}");
        }
    }

    #[test]
    fn what_is_named_is_escaped_and_nothing_is_fetched() {
        let mut report = report([run(0, false), epoch(1)]);
        report.clusters = Clusters::Shown(Shown {
            epoch: 1,
            all: vec![Distribution {
                sizes: vec![3, 0],
                concentration: vec![0.1, 0.3],
                ami_previous: None,
            }],
            sections: vec![Section {
                title: "All".into(),
                cards: vec![Card {
                    number: 0,
                    size: 3,
                    concentration: 0.1,
                    class: Some(ClassShare {
                        name: "<i>".into(),
                        share: 0.5,
                    }),
                    pictures: vec![Picture {
                        name: "\"><script>&.jpg".into(),
                        jpeg: b"\xff\xd8\xff".to_vec(),
                    }],
                }],
            }],
            ..Shown::default()
        });
        let page = report.html();
        has(
            &page,
            &[
                "<title>Run &lt;mine&gt;</title>",
                "a&lt;b&gt;&amp;&quot;c",
                "&lt;/pre&gt;&lt;script&gt;",
                "alt=\"&quot;&gt;&lt;script&gt;&amp;.jpg\"",
                "50.0 % <bdi>&lt;i&gt;</bdi>",
                "src=\"data:image/jpeg;base64,/9j/\"",
            ],
        );
        for outside in ["<script", "src=\"http", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page, report.html());
    }

    #[test]
    fn how_far_a_run_has_come_is_told() {
        let none = report([]).html();
        has(
            &none,
            &[
                "no line of how the run began",
                "nothing to draw",
                "Whether kNN was measured is not known",
            ],
        );
        let begun = report([run(0, false)]).html();
        has(&begun, &["kNN was not measured yet"]);
        has(
            &begun,
            &["Not finished: 0 of 4 epochs are whole, 0 of 40 steps are done."],
        );
        let one = report([run(0, false), epoch(1)]).html();
        has(
            &one,
            &[
                "Not finished: 1 of 4",
                "Not measured.",
                "60.0 s, of its whole epochs",
            ],
        );
        let all = [
            run(0, false),
            epoch(1),
            run(10, true),
            epoch(2),
            run(20, true),
            epoch(3),
            epoch(4),
        ];
        let whole = report(all.into_iter().chain([done()])).html();
        has(
            &whole,
            &[
                "Finished: 4 epochs, 40 steps. It was resumed 2 times, the last time at step 20.",
                "kNN after epoch 4",
                "62.5 %",
                "4 min 10 s",
            ],
        );
        // Resumed for more epochs, it is not over any more.
        let more = [run(0, false), epoch(1), done(), run(40, true)];
        has(
            &report(more).html(),
            &["Not finished: 1 of 4", "resumed once, at step 40"],
        );
    }

    #[test]
    fn one_epoch_is_one() {
        let mut end = done();
        if let Event::Done { epochs, .. } = &mut end {
            *epochs = 1;
        }
        let page = report([run(0, false), epoch(1), end]).html();
        has(&page, &["Finished: 1 epoch, 10 steps."]);
    }

    #[test]
    fn control_characters_of_names_are_pictures() {
        let mut report = report([]);
        report.name = "a\x1b[31m\0\x7f\u{9b}b".into();
        let page = report.html();
        has(&page, &["<h1>Run a␛[31m␀␡\u{fffd}b</h1>"]);
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!page.contains(control), "{page}");
    }

    #[test]
    fn the_protocol_is_told_once_unless_it_changed() {
        let eval = Event::Eval {
            step: 0,
            features: Evaluated::RawPixels,
            protocol: "kNN, k = 20".into(),
            top1: 0.3,
            chance: 0.1,
        };
        let mut report = report([run(0, false), eval]);
        report.protocol = Some("kNN, k = 20".into());
        assert_eq!(report.html().matches("kNN, k = ").count(), 1);
        report.protocol = Some("kNN, k = 5".into());
        let page = report.html();
        has(
            &page,
            &[
                "Measured last by: kNN, k = 5.",
                "held against, by: kNN, k = 20.",
            ],
        );
    }

    #[test]
    fn a_page_is_known_again_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        assert!(!is_report(&path));
        for (bytes, known) in [
            (report([]).html(), true),
            (
                "<!DOCTYPE html><html><head><title>mine</title>".into(),
                false,
            ),
            (String::new(), false),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_report(&path), known);
        }
    }
}
