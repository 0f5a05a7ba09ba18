//! Settings from their layers: defaults < file < environment < `--set`. Each layer is checked by
//! itself, so that an error names it.

use crate::failure::Failure;
use protem_em::Settings;
use std::path::Path;
use toml::{Table, Value};

/// The generated set's settings: what `protem train` alone runs with.
const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");
/// Environment variables that set a key: `PROTEM_OPTIM__LR` for `optim.lr`.
const PREFIX: &str = "PROTEM_";
/// Variables with the prefix that are no settings: they choose kernels.
const NOT_SETTINGS: [&str; 2] = ["PROTEM_ISA", "PROTEM_CUDA_PASS"];

/// Settings from a file (or the defaults), the environment and `key=value` pairs.
pub fn load(file: Option<&Path>, set: &[String]) -> Result<Settings, Failure> {
    let base = match file {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::usage(format!("cannot read the config {name}: {e}")))?;
            parse(&text, &name)?
        }
        None => Table::new(),
    };
    layered(base, set)
}

/// The same for training: without a config file and without a folder from any layer, the
/// generated set's settings are the base.
pub fn for_training(
    file: Option<&Path>,
    folder: Option<&Path>,
    set: &[String],
) -> Result<Settings, Failure> {
    let settings = load(file, set)?;
    if file.is_some() || folder.is_some() || settings.data.folder.is_some() {
        return Ok(settings);
    }
    layered(parse(QUICKSTART, "configs/quickstart.toml")?, set)
}

/// Settings from the text of a config file.
pub fn from_text(text: &str, name: &str) -> Result<Settings, Failure> {
    resolve(parse(text, name)?)
}

/// Settings as the text of a config file.
pub fn to_text(settings: &Settings) -> String {
    toml::to_string_pretty(settings).expect("settings are TOML")
}

fn layered(mut table: Table, set: &[String]) -> Result<Settings, Failure> {
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        if let Some(key) = name.strip_prefix(PREFIX)
            && !NOT_SETTINGS.contains(&name)
        {
            let key = key.to_lowercase().replace("__", ".");
            put(
                &mut table,
                &key,
                value,
                &format!("environment variable {name}"),
            )?;
        }
    }
    for pair in set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--set {pair}: write KEY=VALUE, such as optim.lr=0.06"
            ))
        })?;
        put(&mut table, key.trim(), value, &format!("--set {pair}"))?;
    }
    resolve(table)
}

/// A file's table, every key and value of it found right.
fn parse(text: &str, name: &str) -> Result<Table, Failure> {
    let table: Table = text
        .parse()
        .map_err(|e| Failure::usage(format!("{name} is not TOML: {e}")))?;
    check_keys(&table, name)?;
    toml::from_str::<Settings>(text)
        .map_err(|e| Failure::usage(format!("{name}: {}", in_words(&e))))?;
    Ok(table)
}

/// An error of a value, without the names of types.
fn in_words(error: &toml::de::Error) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("expected a sequence", "expected a list, such as [100, 250]"),
        ("expected usize", "expected a whole number, not below 0"),
        ("expected u32", "expected a whole number, not below 0"),
        ("expected u64", "expected a whole number, not below 0"),
        ("expected f64", "expected a number"),
    ];
    let text = error.to_string();
    let in_words = |text: String, (from, to): (&str, &str)| text.replace(from, to);
    WORDS.into_iter().fold(text, in_words)
}

/// Sets one key of the table, found right by itself first, so that an error can name `origin`.
fn put(table: &mut Table, key: &str, value: &str, origin: &str) -> Result<(), Failure> {
    let plain = Value::String(value.to_owned());
    // A value that is no TOML by itself is a plain word: mode=moco-v2.
    let parsed = format!("x = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("x"))
        .unwrap_or_else(|| plain.clone());
    check_keys(&nested(key, parsed.clone()), origin)?;
    let fits = |value: &Value| resolve(nested(key, value.clone()));
    let value = match fits(&parsed) {
        Ok(_) => parsed,
        Err(_) if fits(&plain).is_ok() => plain, // a folder called 2024
        Err(error) => return Err(Failure::usage(format!("{origin}: {error}"))),
    };
    let mut at = table;
    let (sections, last) = match key.rsplit_once('.') {
        Some((sections, last)) => (sections.split('.').collect(), last),
        None => (Vec::new(), key),
    };
    for part in sections {
        at = at
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| Failure::usage(format!("{origin}: {part} is not a section")))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// The table that holds one dotted key.
fn nested(key: &str, value: Value) -> Table {
    let (name, value) = match key.split_once('.') {
        Some((section, rest)) => (section, Value::Table(nested(rest, value))),
        None => (key, value),
    };
    Table::from_iter([(name.to_owned(), value)])
}

fn resolve(table: Table) -> Result<Settings, Failure> {
    Value::Table(table)
        .try_into()
        .map_err(|e| Failure::usage(format!("a setting has a wrong value: {}", in_words(&e))))
}

/// Refuses a key that does not exist, with the nearest that does.
fn check_keys(table: &Table, origin: &str) -> Result<(), Failure> {
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
                "{origin}: there is no setting {key}{hint} (`protem config schema` lists them)"
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
            let settings =
                load(Some(&path), &[]).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            protem_em::Plan::check(&settings, 1_300_000)
                .unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            seen += 1;
        }
        assert!(seen >= 2);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = load(None, &["optim.lrr=1".into()]).unwrap_err();
        assert!(
            error.to_string().contains("did you mean optim.lr?"),
            "{error}"
        );
        assert_eq!(
            load(None, &["mode=moco-v2".into()]).unwrap().mode,
            protem_em::Mode::MocoV2
        );
    }
}
