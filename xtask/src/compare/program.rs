//! Running a program and reading the line of JSON that it prints.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::Outcome;

/// Runs it and takes what `read` finds in its JSON.
pub fn ask<T>(command: Command, read: impl Fn(&Value) -> Outcome<T>) -> Outcome<T> {
    said(command, |stdout| read(&last_json(stdout)?))
}

/// Runs it and takes what `read` finds in the objects it prints, one on a line.
pub fn ask_lines<T>(command: Command, read: impl Fn(&[Value]) -> Outcome<T>) -> Outcome<T> {
    let objects = |stdout: &str| -> Vec<Value> {
        let values = stdout.lines().map(serde_json::from_str);
        values.filter_map(Result::ok).collect()
    };
    said(command, |stdout| read(&objects(stdout)))
}

fn said<T>(mut command: Command, read: impl Fn(&str) -> Outcome<T>) -> Outcome<T> {
    let line = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{line} does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "{line} failed ({}); its words are above, and --only SUBSTRING chooses other rows",
            output.status
        ));
    }
    read(&String::from_utf8_lossy(&output.stdout)).map_err(|e| format!("{line}: {e}"))
}

/// The last line that is a JSON object, so that whatever a library prints before it does no harm.
pub fn last_json(stdout: &str) -> Outcome<Value> {
    let mut lines = stdout.lines().rev();
    lines
        .find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object))
        .ok_or_else(|| {
            "it printed no line of JSON; is this a protem that has the command? Without --protem it is built".into()
        })
}

/// A number that cannot be zero.
pub fn positive(json: &Value, key: &str) -> Outcome<f64> {
    match json[key].as_f64() {
        Some(number) if number > 0.0 => Ok(number),
        _ => Err(format!("its JSON has no positive {key}: {json}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_json_line_counts() {
        let json = last_json("warning\n{\"a\": 1}\n{\"a\": 2}\n[3]\n\n").unwrap();
        assert_eq!(positive(&json, "a"), Ok(2.0));
        assert!(last_json("warning\n").is_err());
    }

    #[test]
    fn what_is_no_positive_number_is_refused() {
        let json = last_json("{\"zero\": 0, \"none\": null}").unwrap();
        for key in ["zero", "none", "missing"] {
            assert!(positive(&json, key).is_err(), "{key}");
        }
    }
}
