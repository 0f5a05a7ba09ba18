//! What `protem serve` refuses, and how it ends.

use protem_tests::*;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A folder of runs with one that is finished, as `mine`.
fn trained() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("mine");
    run(&mut tiny(&out, &[], &[])).expect(0);
    (root, out)
}

#[track_caller]
fn has(page: &str, all: &[&str]) {
    for part in all {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
}

#[test]
fn hostile_requests_reach_nothing() {
    let (root, out) = trained();
    let secret = root.path().join("secret.txt");
    fs::write(&secret, "a secret").unwrap();
    let runs = root.path().join("runs");
    fs::create_dir(&runs).unwrap();
    copy_run(&out, &runs.join("one"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, runs.join("one/report.html")).unwrap();
        std::os::unix::fs::symlink(&out, runs.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.path().join("gone"), runs.join("nowhere")).unwrap();
        // What leads elsewhere, and what never ends.
        for name in ["links", "pipes"] {
            fs::create_dir(runs.join(name)).unwrap();
        }
        for name in ["config.toml", "metrics.jsonl", "quarantine.tsv", ".lock"] {
            std::os::unix::fs::symlink(&secret, runs.join("links").join(name)).unwrap();
            let made = Command::new("mkfifo")
                .arg(runs.join("pipes").join(name))
                .status();
            assert!(made.unwrap().success());
        }
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
        has(
            &server.text("/runs/links/"),
            &["metrics.jsonl: it is a link"],
        );
        has(
            &server.text("/runs/pipes/"),
            &["metrics.jsonl: it is no file"],
        );
        for name in ["links", "pipes"] {
            fs::remove_file(runs.join(name).join("metrics.jsonl")).unwrap();
            let page = server.text(&format!("/runs/{name}/"));
            has(&page, &["config.toml cannot be read: it is "]);
            assert!(!page.contains("a secret"), "{page}");
            let file = format!("/runs/{name}/config.toml");
            assert_eq!(server.get(&file).status, 404);
        }
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
