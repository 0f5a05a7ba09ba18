//! Licences and sources of all dependencies, as `deny.toml` allows them.

use crate::target::metadata;
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};
use std::path::Path;

/// What is read of `deny.toml`; cargo-deny reads the rest.
#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    /// None of a crate of the workspace.
    source: Option<String>,
}

/// What is wrong with dependencies, tests' and builds' too.
pub fn breaches(root: &Path) -> Vec<String> {
    let found = allowed(root).and_then(|allowed| Ok((allowed, packages(root)?)));
    match found {
        Ok((allowed, packages)) => packages.iter().filter_map(|p| p.breach(&allowed)).collect(),
        Err(error) => vec![error],
    }
}

fn allowed(root: &Path) -> Result<Vec<Licensee>, String> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(path).map_err(|e| format!("deny.toml: {e}"))?;
    let rules: Rules = toml::from_str(&text).map_err(|e| format!("deny.toml: {e}"))?;
    let licensee = |name: &String| {
        Licensee::parse(name).map_err(|e| format!("deny.toml: {name}: {}", e.reason))
    };
    rules.licenses.allow.iter().map(licensee).collect()
}

fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let metadata: Metadata = metadata(root, "--all-features")?;
    Ok(metadata.packages)
}

impl Package {
    fn breach(&self, allowed: &[Licensee]) -> Option<String> {
        let name = &self.name;
        if let Some(source) = &self.source
            && !source.starts_with("registry+")
        {
            return Some(format!("{name} is of {source}, not of a registry"));
        }
        let Some(license) = &self.license else {
            return Some(format!("{name} tells no licence"));
        };
        match Expression::parse_mode(license, ParseMode::LAX) {
            Err(error) => Some(format!("{name}: licence {license}: {}", error.reason)),
            Ok(expression) => {
                let may = expression.evaluate(|asked| allowed.iter().any(|a| a.satisfies(asked)));
                (!may).then(|| format!("{name}: {license} is not allowed by deny.toml"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(license: Option<&str>, source: Option<&str>) -> Option<String> {
        let package = Package {
            name: "x".into(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception"];
        package.breach(&allowed.map(|name| Licensee::parse(name).unwrap()))
    }

    #[test]
    fn one_of_several_licences_is_enough_and_all_of_joined_ones_are_needed() {
        for allowed in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only/MIT",
            "MIT AND Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(breach(Some(allowed), None), None, "{allowed}");
        }
        for refused in ["GPL-3.0-only", "MIT AND Zlib", "Apache-2.0", "no licence"] {
            let breach = breach(Some(refused), Some("registry+index"));
            assert!(breach.is_some_and(|b| b.contains(refused)), "{refused}");
        }
        assert!(breach(None, None).is_some());
        assert!(breach(Some("MIT"), Some("git+somewhere")).is_some());
    }
}
