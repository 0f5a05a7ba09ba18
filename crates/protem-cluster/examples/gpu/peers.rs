//! Other programs on the same device: started one by one, stopped when they take too long.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is left of the time for a report.
pub struct Clock {
    end: Instant,
}

impl Clock {
    pub fn of_minutes(minutes: f64) -> Self {
        let allowed = Duration::from_secs_f64((minutes * 60.0).clamp(1.0, 1e6));
        Self {
            end: Instant::now() + allowed,
        }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The last line of JSON that a program prints within what is left of its `most` and of all time,
    /// and how it ended; or why there is none.
    pub fn ask(
        &self,
        command: &mut Command,
        most: Duration,
    ) -> Result<(Value, ExitStatus), String> {
        let allowed = self.left().min(most);
        if allowed < Duration::from_secs(1) {
            return Err("no time was left for it".into());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", command.get_program().display()))?;
        let said = child.stdout.take().map(|from| reader(from, false));
        let told = child.stderr.take().map(|from| reader(from, true));
        let end = Instant::now() + allowed;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => {
                    // What it started and left would hold its output open, and the device.
                    kill(&child);
                    break status;
                }
                Ok(None) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => {
                    kill(&child);
                    let _ = child.wait();
                    return Err(format!("it was stopped after {} s", allowed.as_secs()));
                }
            }
        };
        let text = |thread: Option<std::thread::JoinHandle<String>>| {
            thread
                .and_then(|thread| thread.join().ok())
                .unwrap_or_default()
        };
        let (said, told) = (text(said), text(told));
        let json = said
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok());
        let object = json.filter(Value::is_object);
        object.map(|json| (json, status)).ok_or_else(|| {
            // The last line of a traceback, or of what a program that was killed had to say.
            let last = told.trim().lines().last().unwrap_or("it says nothing");
            format!("{last} ({status})")
        })
    }
}

/// Kills a program and all that it started, such as what compute-sanitizer watches.
fn kill(child: &Child) {
    let group = format!("kill -9 -{} 2>/dev/null", child.id());
    let _ = Command::new("sh").args(["-c", &group]).status();
}

/// Reads aside, so that a program that says much does not wait for its reader, and passes each line
/// on to standard error if it is to be `heard`.
fn reader(from: impl Read + Send + 'static, heard: bool) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if heard {
                eprintln!("  {line}");
            }
            text += &line;
            text.push('\n');
        }
        text
    })
}
