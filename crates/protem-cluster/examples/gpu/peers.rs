//! Other programs on the same device: started one by one, stopped when they take too long.

use serde_json::Value;
use std::io::Read;
use std::process::{Command, Stdio};
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
    /// and whether it succeeded; or why there is none.
    pub fn ask(&self, command: &mut Command, most: Duration) -> Result<(Value, bool), String> {
        let allowed = self.left().min(most);
        if allowed < Duration::from_secs(1) {
            return Err("no time was left for it".into());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", command.get_program().display()))?;
        let said = child.stdout.take().map(reader);
        let told = child.stderr.take().map(reader);
        let end = Instant::now() + allowed;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => {
                    let _ = child.kill();
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
        object.map(|json| (json, status.success())).ok_or_else(|| {
            // The last line of a traceback, or of what a program that was killed had to say.
            let last = told.trim().lines().last().unwrap_or("it says nothing");
            format!("{last} ({status})")
        })
    }
}

/// Reads aside, so that a program that says much does not wait for its reader.
fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
