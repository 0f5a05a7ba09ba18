//! What a `.cls` or `.json` beside an image says of its class.

use crate::labels::word;
use serde_json::Value;
use std::borrow::Cow;

/// Keys of a `.json` object that may hold the class: the first that is there and not null does.
const KEYS: [&str; 3] = ["label", "cls", "class"];
/// Numbers that Python writes and JSON does not have.
const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Kinds of members that say a class; the first goes before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Cls,
    Json,
}

impl Kind {
    /// By what follows the key.
    pub(super) fn of(extension: &[u8]) -> Option<Self> {
        let kinds = [Self::Cls, Self::Json];
        kinds
            .into_iter()
            .find(|kind| extension.eq_ignore_ascii_case(kind.extension().as_bytes()))
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Json => "json",
        }
    }
}

/// Why a member says no class.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// What it says cannot be a class.
    Label(String),
    /// It is not known what it says.
    Unread(String),
}

/// What a member says, if it says anything: `.cls` is a number or a name, `.json` an object with one.
/// `true` and `false` are 1 and 0, as in a column of booleans.
pub(super) fn label(kind: Kind, bytes: &[u8]) -> Result<Option<String>, Wrong> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if kind == Kind::Cls {
        let text = word(bytes.trim_ascii()).map_err(Wrong::Label)?;
        return Ok((!text.is_empty()).then(|| text.to_owned()));
    }
    let object = parsed(bytes).map_err(|e| Wrong::Unread(format!("it is no JSON: {e}")))?;
    let mut values = KEYS.iter().filter_map(|key| object.get(key));
    Ok(match values.find(|value| !value.is_null()) {
        Some(Value::String(name)) => Some(word(name.as_bytes()).map_err(Wrong::Label)?.to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(yes)) => Some(u8::from(*yes).to_string()),
        _ => None,
    })
}

fn parsed(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| match without_nan(bytes) {
        Cow::Owned(bytes) => serde_json::from_slice(&bytes),
        Cow::Borrowed(_) => Err(error),
    })
}

/// A text with null for what Python's `json` writes of floats that are no numbers.
fn without_nan(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (mut out, mut kept, mut at, mut in_string) = (Vec::new(), 0, 0, false);
    while at < bytes.len() {
        let found = NO_NUMBERS.iter().find(|word| bytes[at..].starts_with(word));
        match (bytes[at], found) {
            (b'\\', _) if in_string => at += 2,
            (b'"', _) => (in_string, at) = (!in_string, at + 1),
            (_, Some(word)) if !in_string => {
                out.extend_from_slice(&bytes[kept..at]);
                out.extend_from_slice(b"null");
                at += word.len();
                kept = at;
            }
            _ => at += 1,
        }
    }
    if kept == 0 {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(&bytes[kept..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<String> {
        label(Kind::Json, text.as_bytes()).unwrap()
    }

    #[test]
    fn an_object_says_its_label() {
        for (text, said) in [
            (r#"{"label": 3}"#, Some("3")),
            (r#"{"class": "dog", "x": 1}"#, Some("dog")),
            (r#"{"class": "dog", "label": null}"#, Some("dog")),
            (r#"{"label": null, "cls": NaN, "class": 2}"#, Some("2")),
            (r#"{"label": true}"#, Some("1")),
            (r#"{"label": false}"#, Some("0")),
            (r#"{"label": null}"#, None),
            (r#"{"label": [1], "cls": 2}"#, None),
            (r"[NaN, -Infinity]", None),
            ("\u{feff}{\"label\": 4}", Some("4")),
        ] {
            assert_eq!(json(text).as_deref(), said, "{text}");
        }
        assert_eq!(label(Kind::Cls, b"\xef\xbb\xbf7\r\n"), Ok(Some("7".into())));
    }

    #[test]
    fn pythons_floats_are_no_obstacle() {
        for value in ["NaN", "Infinity", "-Infinity", "[-Infinity,NaN,Infinity]"] {
            let text = format!(r#"{{"score":{value}, "label": "NaN \" Infinity"}}"#);
            assert_eq!(json(&text).unwrap(), "NaN \" Infinity", "{value}");
        }
        assert_eq!(json(r#"{"a\\": NaN, "label": "\\"}"#).unwrap(), "\\");
        for text in [
            "",
            "{",
            "{\"label\": NaNs}",
            "{\"label\": \"NaN",
            "NaN\"\\",
            "\\",
        ] {
            let found = label(Kind::Json, text.as_bytes());
            assert!(matches!(found, Err(Wrong::Unread(_))), "{text}: {found:?}");
        }
    }
}
