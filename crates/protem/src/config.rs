//! Settings from their layers: defaults < file < environment < `--set`.

use crate::failure::Failure;
use protem_em::Settings;
use std::path::Path;
use toml::{Table, Value};

/// The generated set's settings: what `protem train` alone runs with.
const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");
/// Environment variables that set a key: `PROTEM_OPTIM__LR` for `optim.lr`.
const PREFIX: &str = "PROTEM_";
/// Variables with the prefix that are no settings.
const NOT_SETTINGS: [&str; 1] = ["PROTEM_ISA"];

/// Settings from a file (or, without one, the quickstart's if `generated`), the environment and
/// `key=value` pairs.
pub fn load(file: Option<&Path>, generated: bool, set: &[String]) -> Result<Settings, Failure> {
    let mut table = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                Failure::usage(format!("cannot read the config {}: {e}", path.display()))
            })?;
            parse(&text, &path.display().to_string())?
        }
        None if generated => parse(QUICKSTART, "configs/quickstart.toml")?,
        None => Table::new(),
    };
    for (name, value) in std::env::vars() {
        if let Some(key) = name
            .strip_prefix(PREFIX)
            .filter(|_| !NOT_SETTINGS.contains(&name.as_str()))
        {
            put(&mut table, &key.to_lowercase().replace("__", "."), &value)?;
        }
    }
    for pair in set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--set {pair}: write KEY=VALUE, such as optim.lr=0.06"
            ))
        })?;
        put(&mut table, key, value)?;
    }
    resolve(table)
}

/// Settings from the text of a config file.
pub fn from_text(text: &str, name: &str) -> Result<Settings, Failure> {
    resolve(parse(text, name)?)
}

fn parse(text: &str, name: &str) -> Result<Table, Failure> {
    text.parse()
        .map_err(|e| Failure::usage(format!("{name} is not TOML: {e}")))
}

fn put(table: &mut Table, key: &str, value: &str) -> Result<(), Failure> {
    // A value that is no TOML by itself is a plain word: mode=moco-v2.
    let value = format!("x = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("x"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut at = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return Ok(());
        }
        at = at
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| Failure::usage(format!("{key}: {part} is not a section")))?;
    }
    Ok(())
}

fn resolve(table: Table) -> Result<Settings, Failure> {
    check_keys(&table)?;
    Settings::deserialize_table(table)
        .map_err(|e| Failure::usage(format!("a setting has a wrong value: {e}")))
}

trait FromTable: Sized {
    fn deserialize_table(table: Table) -> Result<Self, toml::de::Error>;
}

impl FromTable for Settings {
    fn deserialize_table(table: Table) -> Result<Self, toml::de::Error> {
        Value::Table(table).try_into()
    }
}

/// Refuses a key that does not exist, with the nearest that does.
fn check_keys(table: &Table) -> Result<(), Failure> {
    let known = known_keys();
    for key in keys_of(table, "") {
        if !known.contains(&key) {
            let near = known.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, &key).total_cmp(&strsim::jaro_winkler(b, &key))
            });
            let hint = near
                .map(|near| format!(": did you mean {near}?"))
                .unwrap_or_default();
            return Err(Failure::usage(format!(
                "there is no setting {key}{hint} (`protem config schema` lists them)"
            )));
        }
    }
    Ok(())
}

fn keys_of(table: &Table, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => keys.extend(keys_of(inner, &format!("{prefix}{name}."))),
            _ => keys.push(format!("{prefix}{name}")),
        }
    }
    keys
}

/// Every key of the schema, dotted.
fn known_keys() -> Vec<String> {
    let schema = serde_json::to_value(schemars::schema_for!(Settings)).expect("a schema is JSON");
    let mut keys = Vec::new();
    let properties =
        |of: &serde_json::Value| of["properties"].as_object().cloned().unwrap_or_default();
    for (name, property) in properties(&schema) {
        let reference = property["$ref"]
            .as_str()
            .map(|r| r.trim_start_matches('#').to_owned());
        let inner = reference
            .and_then(|r| schema.pointer(&r).cloned())
            .unwrap_or_default();
        let inner = properties(&inner);
        if inner.is_empty() {
            keys.push(name);
        } else {
            keys.extend(inner.keys().map(|key| format!("{name}.{key}")));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_parses_and_makes_a_plan() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let settings = load(Some(&path), false, &[])
                .unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            protem_em::Plan::check(&settings, 1_300_000)
                .unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            seen += 1;
        }
        assert!(seen >= 2);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = load(None, false, &["optim.lrr=1".into()]).unwrap_err();
        assert!(
            error.to_string().contains("did you mean optim.lr?"),
            "{error}"
        );
        assert_eq!(
            load(None, false, &["mode=moco-v2".into()]).unwrap().mode,
            protem_em::Mode::MocoV2
        );
    }
}
