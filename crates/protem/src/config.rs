//! Settings from their layers: defaults < file < environment < `--set`. Each layer is checked by
//! itself, so that an error names it.

use crate::failure::Failure;
use protem_em::{Plan, Settings};
use std::path::Path;
use toml::{Table, Value};

/// The config files of `configs/`, which are known by name everywhere.
const SHIPPED: [(&str, &str); 4] = [
    ("cifar10", include_str!("../../../configs/cifar10.toml")),
    (
        "imagenet-pcl-v2",
        include_str!("../../../configs/imagenet-pcl-v2.toml"),
    ),
    ("photos", include_str!("../../../configs/photos.toml")),
    (QUICKSTART, include_str!("../../../configs/quickstart.toml")),
];
/// The generated set's settings: what `protem train` alone runs with.
const QUICKSTART: &str = "quickstart";
/// Environment variables that set a key: `PROTEM_OPTIM__LR` for `optim.lr`.
const PREFIX: &str = "PROTEM_";
/// Variables with the prefix that are no settings: they choose kernels, or are for tests.
const NOT_SETTINGS: [&str; 4] = [
    "PROTEM_ISA",
    "PROTEM_CUDA_PASS",
    "PROTEM_TEST_BINARY",
    "PROTEM_TEST_IMAGES",
];

/// Settings from a file (or the defaults), the environment and `key=value` pairs.
pub fn load(file: Option<&Path>, set: &[String]) -> Result<Settings, Failure> {
    resolve(layered(base(file)?, set)?)
}

/// The same for training: without a config file and without a folder from any layer, the
/// generated set's settings are the base. With a config file alone, whoever wants the generated set
/// says so: the images may have been forgotten.
pub fn for_training(
    file: Option<&Path>,
    folder: Option<&Path>,
    set: &[String],
) -> Result<Settings, Failure> {
    let table = layered(base(file)?, set)?;
    let data = |key| table.get("data").and_then(|data| data.get(key)).is_some();
    if folder.is_some() || data("folder") {
        return resolve(table);
    }
    match file {
        None => resolve(layered(base(Some(Path::new(QUICKSTART)))?, set)?),
        Some(_) if data("generated_images") => resolve(table),
        Some(file) => Err(Failure::usage(format!(
            "no images are named, and {} names none: name a folder, as in protem train FOLDER --config {0}, or ask for generated images with --set data.generated_images=5000",
            file.display()
        ))),
    }
}

/// The table of a config file, or of a config that is known by this name; an empty one without.
fn base(file: Option<&Path>) -> Result<Table, Failure> {
    let Some(path) = file else {
        return Ok(Table::new());
    };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &name),
        Err(error) => match SHIPPED.iter().find(|(known, _)| *known == name) {
            // A file of this name goes before, if it can be read or not.
            Some((_, text)) if !path.is_file() => parse(text, &name),
            _ => Err(Failure::usage(format!(
                "cannot read the config {name}: {error}; by name there are {}",
                SHIPPED.map(|(known, _)| known).join(", ")
            ))),
        },
    }
}

/// Settings from the text of a config file.
pub fn from_text(text: &str, name: &str) -> Result<Settings, Failure> {
    resolve(parse(text, name)?)
}

/// Settings as the text of a config file.
pub fn to_text(settings: &Settings) -> String {
    toml::to_string_pretty(settings).expect("settings are TOML")
}

/// Settings in the environment: variable, key, value.
pub fn in_environment() -> Result<Vec<(String, String, String)>, Failure> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_SETTINGS.contains(&&name[..]) {
            continue;
        }
        let key = key.to_lowercase().replace("__", ".");
        let value = value.into_string().map_err(|value| {
            let value = value.display();
            Failure::usage(format!("environment variable {name}: {value} is no UTF-8"))
        })?;
        found.push((name, key, value));
    }
    // Whatever order the system has them in; a section before what is in it.
    found.sort();
    Ok(found)
}

fn layered(mut table: Table, set: &[String]) -> Result<Table, Failure> {
    for (name, key, value) in in_environment()? {
        let origin = format!("environment variable {name}");
        put(&mut table, &key, &value, &origin)?;
    }
    for pair in set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--set {pair}: write KEY=VALUE, such as optim.lr=0.06"
            ))
        })?;
        put(&mut table, key.trim(), value, &format!("--set {pair}"))?;
    }
    Ok(table)
}

/// What settings come to with so many training images, on so many ranks.
pub fn plan(settings: &Settings, images: usize, ranks: usize) -> Result<Plan, Failure> {
    let among = |plan: Plan| plan.among(ranks).map_err(|violation| vec![violation]);
    Plan::check(settings, images)
        .and_then(among)
        .map_err(|violations| {
            let lines: Vec<String> = violations.iter().map(|v| format!("  {v}")).collect();
            Failure::usage(format!("these settings cannot work:\n{}", lines.join("\n")))
        })
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
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
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
    let toml = format!("x = {value}").parse::<Table>().ok();
    // With a line break in it, it could be more than a value.
    let toml = toml.filter(|table| table.len() == 1);
    let toml = toml.and_then(|mut table| table.remove("x"));
    let parsed = toml.clone().unwrap_or_else(|| plain.clone());
    check_keys(&nested(key, parsed.clone()), origin)?;
    let fits = |value: &Value| resolve(nested(key, value.clone()));
    let value = match fits(&parsed) {
        Ok(_) => parsed,
        Err(_) if fits(&plain).is_ok() => plain, // a folder called 2024
        Err(_) if toml.is_none() && value.trim().parse::<f64>().is_ok() => {
            return Err(Failure::usage(format!(
                "{origin}: {}",
                no_number(value.trim())
            )));
        }
        Err(error) => return Err(Failure::usage(format!("{origin}: {error}"))),
    };
    insert(table, key, value, origin)
}

/// Why what looks like a number is none in TOML.
fn no_number(text: &str) -> String {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    let infinite = text.parse::<f64>().is_ok_and(f64::is_infinite);
    if digits || (infinite && text.contains(|c: char| c.is_ascii_digit())) {
        return format!(
            "{text} is beyond the numbers that a setting can have, up to {} whole, and to {:e}",
            i64::MAX,
            f64::MAX
        );
    }
    format!("{text} is no number as TOML writes them, such as 7, 0.5, 1e-3 or nan")
}

/// Puts a value at a dotted key; of a section, each of its values, and the others stay.
fn insert(table: &mut Table, key: &str, value: Value, origin: &str) -> Result<(), Failure> {
    if let Value::Table(section) = value {
        return section
            .into_iter()
            .try_for_each(|(name, value)| insert(table, &format!("{key}.{name}"), value, origin));
    }
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
            let section = format!("{key}.");
            if let Some(inner) = known.iter().find(|known| known.starts_with(&section)) {
                return Err(Failure::usage(format!(
                    "{origin}: {key} is a section; name a setting in it, such as {inner} (`protem config schema` lists them)"
                )));
            }
            let near = nearest(&known, &key);
            let hint = match near.is_empty() {
                true => String::new(),
                false => format!(": did you mean {}?", near.join(" or ")),
            };
            return Err(Failure::usage(format!(
                "{origin}: there is no setting {key}{hint} (`protem config schema` lists them)"
            )));
        }
    }
    Ok(())
}

/// The settings whose last word is a key's, or else the one most like it, if any is.
fn nearest<'a>(known: &'a [String], key: &str) -> Vec<&'a str> {
    const ALIKE: f64 = 0.8;
    fn last(key: &str) -> &str {
        key.rsplit('.').next().unwrap_or(key)
    }
    let same = known.iter().filter(|known| last(known) == last(key));
    let same: Vec<&str> = same.map(String::as_str).collect();
    if !same.is_empty() {
        return same;
    }
    let alike = |known: &str| {
        let whole = strsim::jaro_winkler(known, key);
        whole.max(strsim::jaro_winkler(last(known), last(key)))
    };
    let known = known.iter().map(|known| (alike(known), known.as_str()));
    let best = known.max_by(|a, b| a.0.total_cmp(&b.0));
    let best = best.filter(|(alike, _)| *alike > ALIKE);
    best.into_iter().map(|(_, known)| known).collect()
}

/// What to write for an option that `train` does not have, where a setting is called so.
pub fn as_setting(option: &str) -> Option<String> {
    let name = option.strip_prefix("--")?.replace('-', "_");
    let name = name.split('=').next()?;
    let known = known_keys();
    let same = known
        .iter()
        .filter(|known| known.rsplit('.').next() == Some(name));
    let same: Vec<String> = same.map(|known| format!("--set {known}=…")).collect();
    (!same.is_empty()).then(|| same.join(" or "))
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
        assert_eq!(seen, SHIPPED.len());
    }

    #[test]
    fn configs_are_known_by_name_and_want_images() {
        let named = load(Some(Path::new("cifar10")), &[]).unwrap();
        assert_eq!((named.encoder.width, named.optim.epochs), (32, 40));
        let error = load(Some(Path::new("cifar")), &[]).unwrap_err();
        assert!(error.to_string().contains("imagenet-pcl-v2"), "{error}");
        let train = |folder, set: &[String]| {
            for_training(Some(Path::new("cifar10")), folder, set).map(|s| s.data.folder)
        };
        let error = train(None, &[]).unwrap_err();
        assert!(error.to_string().contains("no images"), "{error}");
        assert!(train(Some(Path::new("x")), &[]).is_ok());
        assert!(train(None, &["data.generated_images=100".into()]).is_ok());
        assert!(for_training(Some(Path::new("quickstart")), None, &[]).is_ok());
        for set in [&[][..], &["data.generated_images=4000".into()]] {
            let quickstart = for_training(None, None, set).unwrap();
            assert_eq!(quickstart.encoder.width, 16);
        }
    }

    #[test]
    fn a_section_that_is_set_keeps_what_it_does_not_name() {
        let set = ["optim={lr=0.5, momentum=0.8}".into()];
        let optim = load(Some(Path::new("cifar10")), &set).unwrap().optim;
        assert_eq!((optim.lr, optim.momentum, optim.epochs), (0.5, 0.8, 40));
    }

    #[test]
    fn values_that_are_none_say_what_is() {
        for (set, says) in [
            ("optim=5", "optim is a section"),
            ("data.image_size=4294967297", "from 0 to 4294967295"),
            ("seed=18446744073709551615", "beyond the numbers"),
            ("optim.lr=1e400", "beyond the numbers"),
            ("optim.lr=.5", "such as 7, 0.5"),
            ("seed=007", "such as 7, 0.5"),
            ("seed=1\noptim.lr=5", "expected a whole number"),
        ] {
            let error = load(None, &[set.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(says), "{set}: {error}");
        }
        let folder = load(None, &["data.folder=1e400".into()])
            .unwrap()
            .data
            .folder;
        assert_eq!(folder, Some("1e400".into()));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = load(None, &["optim.lrr=1".into()]).unwrap_err();
        assert!(
            error.to_string().contains("did you mean optim.lr?"),
            "{error}"
        );
        let says = |set: &str| load(None, &[set.into()]).unwrap_err().to_string();
        assert!(says("epochs=3").contains("did you mean optim.epochs?"));
        let both = "did you mean method.momentum or optim.momentum?";
        assert!(says("momentum=3").contains(both), "{}", says("momentum=3"));
        assert!(!says("q=3").contains("did you mean"), "{}", says("q=3"));
        let option = as_setting("--weight-decay");
        assert_eq!(option.as_deref(), Some("--set optim.weight_decay=…"));
        assert_eq!(as_setting("--colour"), None);
        assert_eq!(
            load(None, &["mode=moco-v2".into()]).unwrap().mode,
            protem_em::Mode::MocoV2
        );
    }
}
