//! `protem serve` from outside: over a socket, as a browser asks, while runs go on.

use protem_tests::*;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A server.
struct Server {
    child: Killed,
    port: u16,
}

impl Server {
    fn start(runs: &Path) -> Self {
        Self::with(runs, &[]).0
    }

    /// One with options, and the line it begins with.
    fn with(runs: &Path, args: &[&str]) -> (Self, String) {
        let mut command = protem(&["serve", "--port", "0"]);
        command.args(args).arg(runs);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let port = line.strip_prefix("http://").and_then(|line| {
            let address = line.split('/').next()?;
            address.rsplit(':').next()?.parse().ok()
        });
        let port = port.unwrap_or_else(|| panic!("no address: {line}"));
        let child = Killed(child);
        (Self { child, port }, line)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// What comes back for these bytes.
    fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        // It may have been refused before all of it is there.
        let _ = stream.write_all(bytes.as_ref());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::of(&answer)
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
            self.port
        ))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    /// The text of what is there.
    #[track_caller]
    fn text(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    #[track_caller]
    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }
}

/// A process that is killed when a test is done with it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Answer {
    /// 0 of a connection that was closed without one.
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.unwrap_or(0),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.into()))
                .collect(),
            body: bytes[end.map_or(0, |end| end + 4)..].to_vec(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// A folder of runs with one that is finished, as `mine`.
fn trained() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("mine");
    run(&mut tiny(&out, &[], &[])).expect(0);
    (root, out)
}

/// Another run's folder with the same files, without its checkpoints and its lock.
fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["config.toml", "metrics.jsonl"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
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
    copied(&out, &root.path().join(odd));
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

    // A run's own folder is a list of one.
    let server = Server::start(&out);
    assert_eq!(server.json("/api/runs").as_array().unwrap().len(), 1);
    has(&server.text("/runs/mine/"), &["<title>Run mine</title>"]);
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
    copied(&out, &copy);
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
            "Epoch 1 of 3: 4 of 6 steps are done.",
            "No epoch is whole yet",
        ],
    );
    // The rest of the epoch, and its line torn.
    let (line, rest) = lines[first - 1].split_at(30);
    append(&(lines[first - 3..first - 1].concat() + line));
    let changes = server.json(&format!("/runs/copy/changes?{}", versions(&page)));
    let state = changes["state"]["html"].as_str().unwrap();
    has(
        state,
        &["Epoch 1 of 3: its 6 steps are done, it is measured."],
    );
    assert_eq!(changes.as_object().unwrap().len(), 1, "{changes}");
    assert_eq!(server.json("/api/runs/copy")["unread_lines"], 0);

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
    copied(&out, &copy);
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
fn hostile_requests_reach_nothing() {
    let (root, out) = trained();
    let secret = root.path().join("secret.txt");
    fs::write(&secret, "a secret").unwrap();
    let runs = root.path().join("runs");
    fs::create_dir(&runs).unwrap();
    copied(&out, &runs.join("one"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, runs.join("one/report.html")).unwrap();
        std::os::unix::fs::symlink(&out, runs.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.path().join("gone"), runs.join("nowhere")).unwrap();
    }
    let server = Server::start(&runs);
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/runs/../secret.txt",
        "/runs/../../secret.txt",
        "/runs/%2e%2e/secret.txt",
        "/runs/%2e%2e/",
        "/runs/../",
        "/runs/./",
        "/runs/..%2fmine/",
        "/runs/..%2fmine/config.toml",
        "/runs/one/../../secret.txt",
        "/runs/one/..%2f..%2fsecret.txt",
        "/runs/one/%2e%2e%2fsecret.txt",
        "/runs/one/checkpoints",
        "/runs/one/.lock",
        "/runs/one/report.html",
        "/runs/one%00/",
        "/runs/%00",
        "/runs/%ff%fe/",
        "/runs/%/",
        "/runs/%zz/config.toml",
        "/runs//config.toml",
        "//runs/one/",
        "/runs/one/config.toml/",
        "/api/runs/",
        "/api/runs/..",
        "/api/runs/two",
        "/runs/two/",
        "*",
    ] {
        let answer = server.get(path);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let known =
            matches!(answer.status, 400 | 404) || answer.status == 308 && path == "/runs/%00";
        assert!(known, "{path}: {} {text}", answer.status);
        assert!(
            !text.contains("secret") && !text.contains("seed ="),
            "{path}: {text}"
        );
    }
    #[cfg(unix)]
    {
        has(&server.text("/runs/linked/"), &["Finished"]);
        has(&server.text("/runs/nowhere/"), &["cannot be read"]);
        assert!(!server.text("/runs/one/").contains("href=\"report.html\""));
    }
    let long = "x".repeat(1 << 20);
    for request in [
        format!("GET /runs/{long}/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\nConnection: close\r\n\r\n"),
        format!("{long}\r\n\r\n"),
        "GET / HTTP/9.9\r\n\r\n".into(),
        "\0\0\0\0\r\n\r\n".into(),
    ] {
        let status = server.send(request).status;
        assert!(matches!(status, 0 | 400 | 414 | 431), "{status}");
    }
    for host in [
        "Host: evil.test\r\n",
        "Host: localhost.evil.test\r\n",
        "Host: 127.0.0.1.evil.test:80\r\n",
        "Host: localhost\r\nHost: evil.test\r\n",
        "",
    ] {
        let answer = server.send(format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n"));
        assert_eq!(answer.status, 403, "{host}");
        assert!(!answer.text().contains("one"), "{}", answer.text());
    }
    for host in ["127.0.0.1", "[::1]:8765", "LOCALHOST:9999"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(server.send(request).status, 200, "{host}");
    }
    has(&server.text("/"), &["runs/one/"]);
}

#[test]
fn it_ends_at_once_whoever_still_reads() {
    let (root, _) = trained();
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start(root.path());
        // One may send another request, and one is in the middle of its first.
        let mut kept = server.connect();
        let request = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", server.port);
        kept.write_all(request.as_bytes()).unwrap();
        kept.read_exact(&mut [0; 12]).unwrap();
        let mut half = server.connect();
        half.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
        let begun = Instant::now();
        server.signal(signal);
        let ended = server.child.0.wait().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(ended.code(), Some(130));
        let mut said = String::new();
        server
            .child
            .0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(said, "protem: stopped\n");
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let serve = |folder: &Path, args: &[&str]| run(protem(&["serve"]).args(args).arg(folder));
    serve(&root.path().join("none"), &[])
        .expect(2)
        .says(&["there is no folder", "--out"]);
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    serve(&file, &[]).expect(2).says(&["is no folder"]);
    let (server, _) = Server::with(root.path(), &[]);
    let port = server.port.to_string();
    serve(root.path(), &["--port", &port])
        .expect(2)
        .says(&["is taken", "--port, or 0"]);
    serve(root.path(), &["--port", "70000"])
        .expect(2)
        .says(&["70000"]);
    serve(root.path(), &["--host", "no such name"])
        .expect(2)
        .says(&["--host no such name"]);
    serve(root.path(), &["--host", "192.0.2.1"])
        .expect(2)
        .says(&["192.0.2.1"]);
    // Reached from elsewhere it is called by any name.
    let (mut open, line) = Server::with(root.path(), &["--host", "0.0.0.0"]);
    has(&line, &["http://0.0.0.0:"]);
    let answer = open.send("GET / HTTP/1.1\r\nHost: machine.test\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 200);
    open.signal("-TERM");
    let mut said = String::new();
    open.child
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    has(&said, &["anyone who reaches port"]);
}
