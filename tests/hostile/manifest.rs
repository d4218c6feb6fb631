//! `threats.toml`, held against the tests of the whole repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const THREATS: &str = include_str!("threats.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threats {
    threat: Vec<Threat>,
}

/// One known vulnerability, or one attack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threat {
    id: String,
    /// What goes wrong elsewhere.
    what: String,
    /// What must hold here, as a figure.
    figure: Option<String>,
    /// `path/of/file.rs::name` of each test that would fail.
    #[serde(default)]
    tests: Vec<String>,
    /// What is not tested, or not yet true, and what will bring it.
    later: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The functions of a file; tests that a macro makes are functions too.
fn functions(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
    names.map(str::to_owned).collect()
}

fn threats() -> Vec<Threat> {
    toml::from_str::<Threats>(THREATS).unwrap().threat
}

#[test]
fn every_threat_names_tests_that_exist() {
    let mut wrong = Vec::new();
    let (mut seen, mut files) = (BTreeSet::new(), BTreeMap::new());
    for threat in threats() {
        let id = &threat.id;
        if !seen.insert(id.clone()) {
            wrong.push(format!("{id} has two rows"));
        }
        if threat.what.is_empty() || threat.figure.as_ref().is_some_and(String::is_empty) {
            wrong.push(format!("{id} says nothing"));
        }
        if threat.tests.is_empty() && threat.later.is_none() {
            wrong.push(format!("{id} names neither a test nor what will bring it"));
        }
        for test in &threat.tests {
            let Some((path, name)) = test.split_once("::") else {
                wrong.push(format!("{id}: {test} is not path::name"));
                continue;
            };
            let known = files.entry(path.to_owned()).or_insert_with(|| functions(&root().join(path)));
            if !known.contains(name) {
                wrong.push(format!("{id}: there is no {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The other way: what is here, and whatever has the number of a vulnerability in its name, belongs to a row.
#[test]
fn every_test_of_a_threat_has_a_row() {
    let named: BTreeSet<_> = threats().into_iter().flat_map(|threat| threat.tests).collect();
    let mut wrong = Vec::new();
    let mut folders =
        ["codec", "broker-core", "broker-daemon", "tests"].map(|name| root().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            let is_hostile = shown.starts_with("tests/hostile/") && !shown.ends_with("manifest.rs");
            let text = fs::read_to_string(&path).unwrap();
            let tests = text.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1));
            let tests: BTreeSet<_> = tests.filter_map(|rest| rest.split('(').next()).collect();
            for name in tests.into_iter().filter(|name| is_hostile || name.starts_with("cve_")) {
                if !named.contains(&format!("{shown}::{name}")) {
                    wrong.push(format!("no row names {shown}::{name}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
