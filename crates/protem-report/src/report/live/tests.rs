//! Pages of runs at one moment.

use super::*;
use crate::history::History;
use crate::run_folder::RunPhase;
use protem_em::{Event, Phase};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

fn event(line: Value) -> Event {
    serde_json::from_value(line).unwrap()
}

/// Of 4 epochs with 10 steps of 8 images each; the first without an E-step.
fn begun(step: u64) -> Event {
    event(json!({
        "event": "run", "step": step, "resumed_from": (step > 0).then_some("step.safetensors"),
        "source": "a<b>", "seed": 1, "mode": "pcl-v2", "images": 83, "test_images": 20, "classes": 2,
        "parameters": 10, "epochs": 4, "warmup_epochs": 1, "steps_per_epoch": 10, "batch": 8, "queue": 16,
        "clusters": [5, 7], "negatives": 4, "chance": 3.9
    }))
}

fn step(epoch: usize, step: u64, images_per_second: f64) -> Event {
    event(json!({
        "event": "step", "epoch": epoch, "step": step, "loss": 3.0, "loss_instance": 2.5,
        "loss_prototype": 0.5, "lr": 0.03, "images_per_second": images_per_second
    }))
}

fn epoch(epoch: usize, e_step_seconds: f64) -> Event {
    event(json!({
        "event": "epoch", "epoch": epoch, "step": 10 * epoch, "loss": 3.0, "loss_instance": 2.0,
        "loss_prototype": null, "chance": 3.9, "lr": 0.05, "knn_top1": 0.625, "effective_rank": 3.0,
        "ami_previous": null, "images_per_second": 40.0, "seconds": 20.0 + e_step_seconds,
        "e_step_seconds": e_step_seconds, "waited_seconds": 0.0
    }))
}

fn e_step(epoch: usize, k: usize) -> Event {
    event(json!({
        "event": "e_step", "epoch": epoch, "step": 10, "k": k, "objective": 1.0, "ami_previous": 0.5, "empty": 0,
        "concentration_min": 0.1, "concentration_max": 0.2, "seconds": 1.0
    }))
}

fn done() -> Event {
    event(json!({
        "event": "done", "step": 40, "epochs": 4, "loss": 3.0, "knn_top1": 0.625,
        "checkpoint": "step.safetensors", "seconds": 90.0
    }))
}

const NOW: Duration = Duration::from_secs(1_000_000_000);

fn live(history: &History, state: RunState) -> LiveRun<'_> {
    LiveRun {
        name: "<mine>",
        state,
        history,
        unread: 0,
        protocol: None,
        config: Ok("seed = 1 # </pre><script>"),
        unreadable: 1,
        files: &["metrics.jsonl", "config.toml"],
        phase: None,
        written: Some(UNIX_EPOCH + NOW - Duration::from_secs(7)),
        now: UNIX_EPOCH + NOW,
    }
}

fn told(events: impl IntoIterator<Item = Event>, state: RunState) -> String {
    let [part, ..] = live(&History::of(events), state).parts();
    part.html
}

#[track_caller]
fn has(page: &str, all: &[&str]) {
    for part in all {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
}

#[test]
fn how_an_epoch_goes_is_told_with_the_time_left() {
    let going = RunState::UnderWay;
    let first = told([begun(0), step(1, 1, 4.0), step(1, 2, 4.0)], going);
    has(
        &first,
        &[
            "under way</b>, last written 7 s ago",
            "<div>epoch 1 of 4</div>",
            "<b>2 of 10 steps</b>",
            "width: 5.0%",
            "<b>2 of 40 steps</b>",
            // 38 steps of 8 images.
            "76.0 s left without E-steps; 4 images/s in this epoch; InfoNCE 2.500, ProtoNCE 0.500 and learning rate 0.0300 at step 2.",
            "1 image that cannot be read is passed over",
        ],
    );
    let between = told([begun(0), epoch(1, 0.0), e_step(2, 5)], going);
    has(
        &between,
        &[
            "<div>epoch 2 of 4</div>",
            "E-step: 1 of 2 clusterings are made.",
            "60.0 s left without E-steps.",
        ],
    );
    let second = [
        begun(0),
        epoch(1, 0.0),
        e_step(2, 5),
        e_step(2, 7),
        step(2, 11, 4.0),
    ];
    has(
        &told(second.clone(), going),
        &["<b>1 of 10 steps</b>", "<b>11 of 40 steps</b>"],
    );
    let whole = second.into_iter().chain([epoch(2, 4.0)]);
    has(
        &told(whole, going),
        &["epoch 3 of 4", "E-step: 0 of 2", "48.0 s left; InfoNCE"],
    );
    let measured = told([begun(0), step(1, 10, 4.0)], going);
    has(
        &measured,
        &["All steps of this epoch are done: it is measured and saved."],
    );
}

#[test]
fn what_goes_on_between_steps_is_told_while_it_does() {
    let history = History::of([begun(0), step(1, 10, 4.0)]);
    let phase = |epoch, step, phase| RunPhase {
        epoch,
        step,
        phase,
        done: 30,
        of: 120,
    };
    let told = |phase: &RunPhase, state| {
        let live = LiveRun {
            phase: Some(phase),
            ..live(&history, state)
        };
        let [part, ..] = live.parts();
        let entry = Entry {
            name: "mine".into(),
            address: "mine".into(),
            told: Ok(Told::of(&live)),
        };
        let runs = Runs::new("runs".into(), vec![entry], live.now);
        let json = live.json()["phase"].clone();
        assert_eq!(runs.json()[0]["phase"], json);
        (part.html, runs.page(), json)
    };
    let (html, list, json) = told(&phase(1, 10, Phase::Measuring), RunState::UnderWay);
    has(
        &html,
        &["<div>measuring</div>", "width: 25.0%", "30 of 120 images"],
    );
    assert!(!html.contains("All steps of this epoch are done"));
    has(&list, &["under way</b>, measuring 25.0 %</td>"]);
    assert_eq!(json, json!({ "name": "measuring", "done": 30, "of": 120 }));
    for (what, state) in [
        // Of one that was killed, or is not heard of since; or of a moment that is over.
        (phase(1, 10, Phase::Measuring), RunState::Stopped),
        (phase(1, 9, Phase::Measuring), RunState::UnderWay),
        (phase(2, 10, Phase::Embedding), RunState::UnderWay),
    ] {
        let (html, list, json) = told(&what, state);
        assert!(!html.contains("30 of 120") && json.is_null(), "{what:?}");
        assert!(!list.contains("measuring") && !list.contains("25.0 %"));
    }
    // What cannot be, but a damaged file may say.
    let odd = RunPhase {
        of: 0,
        ..phase(1, 10, Phase::Embedding)
    };
    let (html, list, _) = told(&odd, RunState::UnderWay);
    has(&html, &["width: 100.0%", "30 of 0 images"]);
    has(&list, &["E-step: embedding 100.0 %"]);
}

#[test]
fn one_that_goes_on_begins_to_count_anew() {
    let all = [
        begun(0),
        step(1, 9, 1.0),
        epoch(1, 0.0),
        begun(10),
        step(2, 11, 8.0),
    ];
    let page = told(all, RunState::UnderWay);
    has(
        &page,
        &[
            "resumed once, at step 10",
            "8 images/s",
            "29.0 s left without E-steps",
        ],
    );
}

#[test]
fn what_has_ended_has_no_time_left() {
    let stopped = told([begun(0), step(1, 2, 4.0)], RunState::Stopped);
    has(
        &stopped,
        &[
            "stopped</b>, last written 2001-09-09 01:46 UTC",
            "--resume",
            "<b>2 of 10 steps</b>",
        ],
    );
    let finished = told([begun(0), epoch(4, 4.0), done()], RunState::Finished);
    has(&finished, &["Finished: 4 epochs, 40 steps."]);
    for page in [stopped, finished] {
        assert!(!page.contains(" left") && !page.contains(" ago"), "{page}");
    }
}

#[test]
fn states_follow_from_lock_end_and_time() {
    let (open, over) = (History::of([begun(0)]), History::of([begun(0), done()]));
    let now = UNIX_EPOCH + NOW;
    let of = |history, in_use, age: u64| {
        RunState::of(history, in_use, Some(now - Duration::from_secs(age)), now)
    };
    assert_eq!(of(&open, Some(true), 4000), RunState::UnderWay);
    assert_eq!(of(&open, Some(false), 4000), RunState::Stopped);
    assert_eq!(of(&open, None, 4000), RunState::Stopped);
    assert_eq!(of(&open, Some(false), 5), RunState::UnderWay);
    assert_eq!(of(&over, Some(true), 5), RunState::Finished);
    assert_eq!(RunState::of(&open, None, None, now), RunState::Stopped);
}

#[test]
fn only_what_has_changed_has_another_version() {
    let mut history = History::of([begun(0), epoch(1, 0.0), step(2, 11, 4.0)]);
    let versions = |history: &History| {
        let parts = live(history, RunState::UnderWay).parts();
        parts.map(|part| part.version())
    };
    let before = versions(&history);
    assert_eq!(before, versions(&history));
    history.note(step(2, 12, 4.0));
    let after = versions(&history);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    history.note(epoch(2, 4.0));
    assert_ne!(after[2], versions(&history)[2]);
}

#[test]
fn a_page_has_its_parts_and_nothing_from_elsewhere() {
    let history = History::of([begun(0), epoch(1, 0.0)]);
    let run = live(&history, RunState::UnderWay);
    let page = run.page();
    for part in run.parts() {
        let tag = format!(
            "<div id=\"{}\" data-version=\"{}\">",
            part.id,
            part.version()
        );
        has(&page, &[&(tag + &part.html)]);
    }
    has(
        &page,
        &[
            "<title>Run &lt;mine&gt;</title>",
            "a&lt;b&gt;",
            "&lt;/pre&gt;&lt;script&gt;",
            "<figcaption>Losses</figcaption>",
            "href=\"metrics.jsonl\"",
            "<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>",
        ],
    );
    // The script itself, by its address.
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("src=").count(), 1);
    assert!(
        !page.contains("http:") && !page.contains("https:"),
        "{page}"
    );
}

#[test]
fn the_newest_runs_come_first_and_what_is_none_last() {
    let history = History::of([begun(0), epoch(1, 0.0), step(2, 11, 4.0)]);
    let run = |name: &str, age: u64| {
        let mut live = live(&history, RunState::Stopped);
        live.written = Some(UNIX_EPOCH + NOW - Duration::from_secs(age));
        Entry {
            name: name.into(),
            address: format!("%{name}"),
            told: Ok(Told::of(&live)),
        }
    };
    let none = Entry {
        name: "<i>\x1b".into(),
        address: "%3Ci%3E%1B".into(),
        told: Err("It holds <no> run.".into()),
    };
    let entries = vec![none, run("old", 900), run("new", 1)];
    let runs = Runs::new("r&d".into(), entries, UNIX_EPOCH + NOW);
    let page = runs.page();
    has(
        &page,
        &[
            "<h1>Runs in r&amp;d</h1>",
            "<td>2 of 4</td><td>2.000</td><td>–</td><td>62.5 %</td><td class=\"word\">pcl-v2</td>",
            "<a href=\"runs/%3Ci%3E%1B/\"><bdi>&lt;i&gt;␛</bdi></a></td><td class=\"word\" colspan=\"8\">It holds &lt;no&gt; run.</td>",
        ],
    );
    let at = |name| page.find(name).unwrap();
    assert!(at("runs/%new/") < at("runs/%old/") && at("runs/%old/") < at("runs/%3C"));
    let json = runs.json();
    assert_eq!(json[0]["name"], "new");
    assert_eq!(
        json[1],
        json!({
            "name": "old", "state": "stopped", "phase": null, "mode": "pcl-v2", "source": "a<b>", "epoch": 2, "of_epochs": 4,
            "step": 11, "loss_instance": 2.0, "loss_prototype": null, "knn_top1": 0.625,
            "written": 999_999_100.0
        })
    );
    assert_eq!(json[2]["error"], "It holds <no> run.");
}

#[test]
fn programs_are_told_all_of_a_run() {
    let history = History::of([begun(0), epoch(1, 0.0), step(2, 11, 4.0)]);
    let told = live(&history, RunState::UnderWay).json();
    assert_eq!(told["epochs"][0]["epoch"], 1);
    assert_eq!(told["epochs"][0]["effective_rank"], 3.0);
    assert_eq!(told["progress"]["epoch_step"], 1);
    assert_eq!(told["progress"]["images_per_second"], 4.0);
    assert_eq!(told["progress"]["seconds_left"], 58.0);
    assert_eq!(
        told["facts"]["images"],
        "83 of a<b>, 2 classes; kNN on 20 others"
    );
    assert_eq!(told["state"], "under_way");
    assert_eq!(told["unreadable_images"], 1);
}

#[test]
fn nothing_is_told_where_nothing_is_known() {
    let none = told([], RunState::Stopped);
    has(&none, &["no line of how the run began"]);
    has(
        &broken("a<b>", "It holds no run."),
        &["Run <bdi>a&lt;b&gt;</bdi>", "It holds no run."],
    );
    // A run of no steps, as a damaged line may have it.
    let mut line = serde_json::to_value(begun(0)).unwrap();
    for key in ["steps_per_epoch", "batch", "epochs", "images"] {
        line[key] = json!(0);
    }
    let page = told([event(line), step(1, 1, 0.0)], RunState::UnderWay);
    has(&page, &["0 of 0 steps"]);
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}
