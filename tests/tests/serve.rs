//! `protem serve` as a browser and a program see it, while runs go on.

use protem_tests::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A folder of runs with one that is finished, as `mine`.
fn trained() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("mine");
    run(&mut tiny(&out, &[], &[])).expect(0);
    (root, out)
}

/// A time long ago, so that nothing looks as though it were being written.
fn aged(folder: &Path) {
    for name in ["config.toml", "metrics.jsonl"] {
        let file = OpenOptions::new().append(true).open(folder.join(name));
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        file.unwrap().set_modified(hour_ago).unwrap();
    }
}

#[track_caller]
fn has(page: &str, all: &[&str]) {
    for part in all {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
}

/// The versions of a page's parts, as its script would send them.
fn versions(page: &str) -> String {
    let parts = page.split("<div id=\"").skip(1).filter_map(|rest| {
        let (id, rest) = rest.split_once("\" data-version=\"")?;
        Some(format!("{id}={}", rest.split('"').next()?))
    });
    parts.collect::<Vec<_>>().join("&")
}

#[test]
fn runs_are_listed_and_shown_with_their_files() {
    let (root, out) = trained();
    let odd = "a<b> ü%2e&'\"#?";
    copy_run(&out, &root.path().join(odd));
    aged(&root.path().join(odd));
    fs::create_dir(root.path().join("notes")).unwrap();
    fs::create_dir(root.path().join(".hidden")).unwrap();
    fs::create_dir_all(root.path().join("bad/metrics.jsonl")).unwrap();
    fs::write(root.path().join("list.txt"), "no folder").unwrap();
    let (server, line) = Server::with(root.path(), &[]);
    has(&line, &["http://127.0.0.1:", "/ shows ", "Ctrl-C"]);

    let list = server.text("/");
    has(
        &list,
        &[
            "<a href=\"runs/mine/\"><bdi>mine</bdi></a>",
            "finished</b></td><td class=\"word\">20",
            "<td>3 of 3</td>",
            "<td class=\"word\">pcl-v2</td><td class=\"word\"><bdi>generated</bdi></td>",
            "runs/a%3Cb%3E%20%C3%BC%252e%26%27%22%23%3F/\"><bdi>a&lt;b&gt; ü%2e&amp;'&quot;#?</bdi>",
            "<bdi>notes</bdi></a></td><td class=\"word\" colspan=\"8\">It holds no run.</td>",
            "metrics.jsonl: it is no file",
        ],
    );
    assert!(
        !list.contains(".hidden") && !list.contains("list.txt"),
        "{list}"
    );
    let at = |name| list.find(name).unwrap();
    assert!(at("runs/mine/") < at("runs/a%3C") && at("runs/a%3C") < at("runs/notes/"));

    assert!(!out.join("phase.json").exists(), "nothing goes on");
    let page = server.text("/runs/mine/");
    has(
        &page,
        &[
            "<title>Run mine</title>",
            "Finished: 3 epochs, 18 steps.",
            "<figcaption>Losses</figcaption>",
            "kNN after epoch 3",
            "generated_images = 96",
            "href=\"../../live.css\"",
        ],
    );
    has(
        &server.text("/runs/a%3Cb%3E%20%c3%bc%252e%26'%22%23%3F/"),
        &[
            "<title>Run a&lt;b&gt; ü%2e&amp;'&quot;#?</title>",
            "Finished",
        ],
    );
    has(&server.text("/runs/notes/"), &["It holds no run."]);
    has(&server.text("/runs/bad/"), &["it is no file"]);
    assert_eq!(server.get("/runs/mine").headers["location"], "/runs/mine/");

    for name in ["metrics.jsonl", "config.toml"] {
        let sent = server.get(&format!("/runs/mine/{name}"));
        assert_eq!(sent.headers["content-type"], "text/plain; charset=utf-8");
        assert!(sent.body == fs::read(out.join(name)).unwrap(), "{name}");
    }
    assert_eq!(server.get("/runs/mine/report.html").status, 404);
    run(protem(&["report", "--no-images"]).arg(&out)).expect(0);
    let sent = server.get("/runs/mine/report.html");
    assert!(sent.body == fs::read(out.join("report.html")).unwrap());
    has(
        &sent.headers["content-security-policy"],
        &["default-src 'none'; img-src data:"],
    );
    has(&server.text("/runs/mine/"), &["<a href=\"report.html\">"]);

    let api = server.json("/api/runs");
    let names: Vec<_> = api
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["name"])
        .collect();
    assert_eq!(names, ["mine", odd, "bad", "notes"]);
    assert_eq!(api[0]["knn_top1"], metrics_of(&out, "epoch")[2]["knn_top1"]);
    assert_eq!(api[3]["error"], "It holds no run.");
    let one = server.json("/api/runs/mine");
    assert_eq!(one["epochs"].as_array().unwrap().len(), 3);
    assert_eq!(one["state"], "finished");
    assert_eq!(server.json("/api/runs/notes")["error"], "It holds no run.");

    // A run's own folder is a list of one, also where it was begun meanwhile.
    let empty = root.path().join("new");
    fs::create_dir(&empty).unwrap();
    let server = Server::start(&empty);
    assert_eq!(server.json("/api/runs"), serde_json::json!([]));
    fs::copy(out.join("metrics.jsonl"), empty.join("metrics.jsonl")).unwrap();
    has(
        &server.text("/runs/new/"),
        &["Finished", "There is no config.toml."],
    );
    let server = Server::start(&out);
    assert_eq!(server.json("/api/runs").as_array().unwrap().len(), 1);
    has(&server.text("/runs/mine/"), &["<title>Run mine</title>"]);
}

#[test]
#[cfg(unix)]
fn names_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let (root, out) = trained();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\n");
    copy_run(&out, &root.path().join(odd));
    let server = Server::start(root.path());
    has(&server.text("/"), &["runs/odd%FF%0A/", "<bdi>odd\u{fffd}"]);
    has(&server.text("/runs/odd%ff%0a/"), &["Finished"]);
    assert_eq!(server.json("/api/runs/odd%ff%0a")["step"], 18);
    assert_eq!(server.get("/runs/odd%ef%bf%bd%0a/").status, 404);
}

#[test]
fn every_answer_is_fresh_whole_and_its_own() {
    let (root, _) = trained();
    let server = Server::start(root.path());
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/live.css", "text/css; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/changes", "application/json; charset=utf-8"),
        ("/runs/mine/", "text/html; charset=utf-8"),
        ("/runs/mine/changes", "application/json; charset=utf-8"),
        ("/runs/mine/metrics.jsonl", "text/plain; charset=utf-8"),
        ("/api/runs", "application/json; charset=utf-8"),
        ("/api/runs/mine", "application/json; charset=utf-8"),
        ("/nothing", "text/html; charset=utf-8"),
    ] {
        let (got, head) = (server.get(path), server.ask("HEAD", path));
        assert_eq!(got.headers["content-type"], kind, "{path}");
        assert_eq!(got.headers["cache-control"], "no-store", "{path}");
        assert_eq!(got.headers["x-content-type-options"], "nosniff", "{path}");
        has(
            &got.headers["content-security-policy"],
            &["default-src 'none'"],
        );
        assert_eq!(
            got.headers["content-length"],
            got.body.len().to_string(),
            "{path}"
        );
        assert_eq!((head.status, head.body.len()), (got.status, 0), "{path}");
        assert_eq!(
            head.headers["content-length"], got.headers["content-length"],
            "{path}"
        );
        assert_eq!(
            server.ask("POST", path).status,
            if path == "/nothing" { 404 } else { 405 }
        );
    }
    // What pages have of elsewhere is of here.
    for page in [server.text("/"), server.text("/runs/mine/")] {
        assert!(
            !page.contains("://") && page.matches("<script").count() == 1,
            "{page}"
        );
    }
    let none = server.get("/nothing");
    assert_eq!(none.status, 404);
    has(
        &none.text(),
        &["Not found", "the list of runs", "/api/runs", "href=\"/\""],
    );
}

#[test]
fn a_page_follows_a_run_that_is_written() {
    let (root, out) = trained();
    let copy = root.path().join("copy");
    copy_run(&out, &copy);
    let file = copy.join("metrics.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ends = |event: &str| {
        let event = format!("\"event\":\"{event}\"");
        lines.iter().position(|line| line.contains(&event)).unwrap() + 1
    };
    let first = ends("epoch");
    fs::write(&file, lines[..first - 3].concat()).unwrap();
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).open(&file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let server = Server::start(root.path());
    let page = server.text("/runs/copy/");
    has(
        &page,
        &[
            "under way</b>, last written ",
            "<div>epoch 1 of 3</div>",
            "<b>4 of 6 steps</b>",
            "No epoch is whole yet",
        ],
    );
    // What it does between steps; a step that follows is the end of it.
    let embedding = r#"{"epoch":1,"step":4,"phase":"embedding","done":51200,"of":60000}"#;
    fs::write(copy.join("phase.json"), embedding).unwrap();
    let changes = server.json(&format!("/runs/copy/changes?{}", versions(&page)));
    let state = changes["state"]["html"].as_str().unwrap();
    has(state, &["E-step: embedding", "51200 of 60000 images"]);
    assert_eq!(
        server.json("/api/runs/copy")["phase"],
        serde_json::json!({ "name": "embedding", "done": 51200, "of": 60000 })
    );
    // The rest of the epoch, and its line torn.
    let (line, rest) = lines[first - 1].split_at(30);
    append(&(lines[first - 3..first - 1].concat() + line));
    let changes = server.json(&format!("/runs/copy/changes?{}", versions(&page)));
    let state = changes["state"]["html"].as_str().unwrap();
    has(state, &["All steps of this epoch are done"]);
    assert_eq!(changes.as_object().unwrap().len(), 1, "{changes}");
    let told = server.json("/api/runs/copy");
    assert_eq!(told["unread_lines"], 0);
    assert!(
        told["phase"].is_null() && !state.contains("51200"),
        "{told}"
    );

    append(rest);
    let changes = server.json(&format!("/runs/copy/changes?{}", versions(&page)));
    has(
        changes["charts"]["html"].as_str().unwrap(),
        &["InfoNCE, epoch 1: "],
    );
    assert!(changes["settings"].is_null(), "{changes}");
    append(&lines[first..].concat());
    has(
        &server.text("/runs/copy/"),
        &["Finished: 3 epochs, 18 steps."],
    );

    // What has ended changes no more.
    let page = server.text("/runs/copy/");
    let same = server.json(&format!("/runs/copy/changes?{}", versions(&page)));
    assert_eq!(same, serde_json::json!({}));
    assert_eq!(
        server.json("/runs/copy/changes").as_object().unwrap().len(),
        4
    );
    // Begun anew: by what replaces the file, or by the file itself.
    fs::write(copy.join("new"), lines[..first].concat()).unwrap();
    fs::rename(copy.join("new"), &file).unwrap();
    has(
        &server.text("/runs/copy/"),
        &["Not finished: 1 of 3 epochs are whole, 6 of 18"],
    );
    fs::write(&file, lines[..2].concat()).unwrap();
    has(
        &server.text("/runs/copy/"),
        &["Not finished: 0 of 3 epochs are whole, 0 of 18"],
    );
    fs::write(&file, "").unwrap();
    has(
        &server.text("/runs/copy/"),
        &["no line of how the run began"],
    );
    fs::remove_dir_all(&copy).unwrap();
    for path in [
        "/runs/copy/",
        "/runs/copy/changes",
        "/runs/copy/config.toml",
        "/api/runs/copy",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert!(!server.text("/").contains("copy"));
    // One of the same name is another.
    copy_run(&out, &copy);
    has(&server.text("/runs/copy/"), &["Finished"]);
}

#[test]
fn training_is_seen_and_not_disturbed() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let server = Server::start(root.path());
    has(&server.text("/"), &["There are no runs yet"]);
    let mut states = Vec::new();
    for (i, args) in [&[][..], &["--overwrite"], &["--overwrite"]]
        .iter()
        .enumerate()
    {
        let seed = format!("seed={i}");
        let mut command = tiny(&out, args, &["checkpoint.every_steps=1000", &seed]);
        command.stdout(Stdio::null());
        let mut child = Killed(command.spawn().unwrap());
        let ended = loop {
            let runs = server.json("/api/runs");
            if let Some(state) = runs[0]["state"].as_str()
                && states.last().is_none_or(|last| last != state)
            {
                states.push(state.to_owned());
            }
            if let Some(ended) = child.0.try_wait().unwrap() {
                break ended;
            }
        };
        assert!(ended.success(), "{ended}");
        let told = server.json("/api/runs/run");
        assert_eq!(told["state"], "finished");
        assert_eq!(told["facts"]["seed"], i.to_string());
        states.push("finished".into());
    }
    states.dedup();
    assert_eq!(
        states.iter().filter(|state| *state == "under_way").count(),
        3,
        "{states:?}"
    );
    assert!(!states.iter().any(|state| state == "stopped"), "{states:?}");
    // Killed in the middle.
    let long = root.path().join("long");
    let mut command = tiny(&long, &[], &["optim.epochs=1000"]);
    let mut child = Killed(command.stdout(Stdio::null()).spawn().unwrap());
    let begun = Instant::now();
    let step = || {
        let runs = server.json("/api/runs");
        let mut runs = runs.as_array().unwrap().iter();
        runs.find(|run| run["name"] == "long")?["step"].as_u64()
    };
    while step().unwrap_or(0) < 7 {
        assert!(begun.elapsed() < LONG && child.0.try_wait().unwrap().is_none());
    }
    has(
        &server.text("/runs/long/"),
        &["under way", " of 6000 steps", " left"],
    );
    drop(child);
    aged(&long);
    for file in checkpoints(&long) {
        fs::remove_file(file).unwrap();
    }
    has(&server.text("/runs/long/"), &["stopped</b>", "--resume"]);
}

#[test]
#[cfg(unix)]
fn an_e_step_is_seen_while_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let server = Server::start(root.path());
    let phase = out.join("phase.json");
    let set = ["data.generated_images=2000", "method.warmup_epochs=0"];
    let signal = |child: &Killed, signal: &str| {
        let id = child.0.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.unwrap().success());
    };
    // A run that stands still while it embeds, so that what is told of it does so too.
    let held = |args: &[&str]| {
        let mut command = tiny(&out, args, &set);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Killed(command.spawn().unwrap());
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < LONG && child.0.try_wait().unwrap().is_none());
            let text = fs::read_to_string(&phase).unwrap_or_default();
            if !text.contains("embedding") {
                continue;
            }
            signal(&child, "-STOP");
            let told = server.json("/api/runs/run");
            if told["phase"]["name"] == "embedding" {
                return (child, told);
            }
            signal(&child, "-CONT"); // a step has followed
        }
    };
    let (mut child, told) = held(&[]);
    assert_eq!(told["state"], "under_way");
    let (done, of) = (&told["phase"]["done"], &told["phase"]["of"]);
    assert!(done.as_u64() <= of.as_u64(), "{told}");
    assert_eq!(server.json("/api/runs")[0]["phase"], told["phase"]);
    has(
        &server.text("/runs/run/"),
        &[
            "<div>E-step: embedding</div>",
            &format!("<b>{done} of {of} images</b>"),
        ],
    );
    has(
        &server.text("/"),
        &["under way</b>, E-step: embedding ", " %</td>"],
    );
    assert_eq!(server.get("/runs/run/phase.json").status, 404);
    // Asked to stop, it leaves nothing of it behind.
    signal(&child, "-INT");
    signal(&child, "-CONT");
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    let left = || {
        let names = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().contains("phase.json"))
            .count()
    };
    assert_eq!(left(), 0);
    // One that is killed does. It is not believed, and goes with the next run.
    let (child, _) = held(&["--overwrite"]);
    drop(child);
    aged(&out);
    let file = OpenOptions::new().append(true).open(&phase).unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(hour_ago).unwrap();
    for file in checkpoints(&out) {
        fs::remove_file(file).unwrap();
    }
    let told = server.json("/api/runs/run");
    assert_eq!(told["state"], "stopped");
    assert!(told["phase"].is_null(), "{told}");
    run(&mut tiny(&out, &["--overwrite"], &["optim.epochs=1"])).expect(0);
    assert_eq!(left(), 0);
}
