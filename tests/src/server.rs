//! `protem serve` and a client that speaks HTTP by hand, so that it can speak it badly too.

use crate::protem;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// `protem serve`, which is killed when a test is done with it.
#[derive(Debug)]
pub struct Server {
    /// The process, with its standard error to be read.
    pub child: Killed,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// One of these runs, at any port.
    pub fn start(runs: &Path) -> Self {
        Self::with(runs, &[]).0
    }

    /// One with options, and the line it begins with.
    pub fn with(runs: &Path, args: &[&str]) -> (Self, String) {
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

    /// A connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What comes back for these bytes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        // It may have been refused before all of it is there.
        let _ = stream.write_all(bytes.as_ref());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::of(&answer)
    }

    /// What comes back for a whole request.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
            self.port
        ))
    }

    /// The same for a GET.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    /// The text of what is there.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// The JSON of what is there.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// Sends it a signal, such as `-INT`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }
}

/// A process that is killed when a test is done with it.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    /// 0 of a connection that was closed without one.
    pub status: u16,
    /// By their names in small letters.
    pub headers: HashMap<String, String>,
    /// What follows them.
    pub body: Vec<u8>,
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

    /// The body, which is UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Another folder with a run's config and metrics, without its checkpoints and its lock.
pub fn copy_run(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["config.toml", "metrics.jsonl"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}
