//! The tables beside the cases, held against the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use culex_tests::manifest::{Binds, Manifest, Status, parse_statements};
use culex_tests::report::Differences;

use crate::suite;

const MANIFEST: &str = include_str!("manifest.toml");
const STATEMENTS: &str = include_str!("statements.txt");
const DIFFERENCES: &str = include_str!("differences.toml");

fn case_names() -> BTreeSet<String> {
    suite::all().map(culex_tests::conformance::Case::full_name).collect()
}

/// The text of each module of cases.
fn sources() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let modules: BTreeSet<_> = suite::all().map(|case| case.module).collect();
    modules
        .into_iter()
        .map(|module| {
            let text = fs::read_to_string(folder.join(format!("{module}.rs"))).expect("a module per file");
            (module.to_owned(), text)
        })
        .collect()
}

/// Every `[MQTT-x.y.z-n]` in a text; ranges and sections without `-n` are left out.
fn ids_in(text: &str) -> BTreeSet<String> {
    text.split("[MQTT-")
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .filter(|(id, _)| id.contains('-'))
        .map(|(id, _)| format!("MQTT-{id}"))
        .collect()
}

#[test]
fn manifest_matches_tests() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let statements = parse_statements(STATEMENTS).unwrap();
    let bound: BTreeSet<_> =
        statements.iter().filter(|s| s.binds != Binds::Client).map(|s| s.id.clone()).collect();
    let cases = case_names();
    let mut wrong = Vec::new();
    let (mut seen, mut used) = (BTreeSet::new(), BTreeSet::new());
    for row in &manifest.statement {
        if !bound.contains(&row.id) {
            wrong.push(format!("{} is no statement that binds a Server", row.id));
        }
        if !seen.insert(row.id.clone()) {
            wrong.push(format!("{} has two rows", row.id));
        }
        match row.status {
            Status::Tested if row.tests.is_empty() => wrong.push(format!("{} names no test", row.id)),
            Status::Later if row.step.is_none() => wrong.push(format!("{} names no step", row.id)),
            Status::Tested | Status::Later => {}
        }
        used.extend(row.tests.iter().cloned());
    }
    wrong.extend(bound.difference(&seen).map(|id| format!("{id} has no row")));
    used.extend(manifest.beyond.iter().flat_map(|row| row.tests.iter().cloned()));
    wrong.extend(used.difference(&cases).map(|test| format!("there is no test {test}")));
    wrong.extend(cases.difference(&used).map(|test| format!("no row names {test}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nine_of_ten_statements_are_tested() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let tested = manifest.statement.iter().filter(|row| row.status == Status::Tested).count();
    let all = manifest.statement.len();
    assert!(tested * 10 >= all * 9, "{tested} of {all}");
}

#[test]
fn statements_are_those_of_the_standard() {
    let statements = parse_statements(STATEMENTS).unwrap();
    let ids: BTreeSet<_> = statements.iter().map(|statement| &statement.id).collect();
    assert_eq!((statements.len(), ids.len()), (141, 141));
    let servers = statements.iter().filter(|statement| statement.binds != Binds::Client).count();
    assert_eq!(servers, 132);
}

/// A row of the manifest is worth something only if the case says where it asserts the statement.
#[test]
fn cases_cite_the_statements_that_the_manifest_gives_them() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let cited: BTreeMap<_, _> = sources().into_iter().map(|(module, text)| (module, ids_in(&text))).collect();
    let known: BTreeSet<_> = parse_statements(STATEMENTS).unwrap().into_iter().map(|s| s.id).collect();
    let mut wrong = Vec::new();
    for (module, ids) in &cited {
        wrong.extend(ids.difference(&known).map(|id| format!("{module} cites {id}, which does not exist")));
    }
    for (test, ids) in manifest.statements_by_test() {
        let module = test.split("::").next().unwrap();
        let in_module = &cited[module];
        let missing = ids.iter().filter(|id| !in_module.contains(*id));
        wrong.extend(missing.map(|id| format!("{module}.rs does not cite {id}, which {test} tests")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn case_names_are_unique() {
    assert_eq!(case_names().len(), suite::all().count());
}

#[test]
fn differences_name_cases_and_statements() {
    let differences: Differences = toml::from_str(DIFFERENCES).unwrap();
    let known: BTreeSet<_> = parse_statements(STATEMENTS).unwrap().into_iter().map(|s| s.id).collect();
    let cases = case_names();
    for row in &differences.difference {
        assert!(cases.contains(&row.test), "there is no test {}", row.test);
        for id in &row.statements {
            assert!(known.contains(id), "{}: there is no statement {id}", row.test);
        }
    }
}
