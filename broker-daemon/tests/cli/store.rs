//! A data directory without a broker.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::harness::{Broker, Tools, culex, run, run_ok, text};

fn store(command: &str, directory: &Path, options: &[&str]) -> Output {
    run(culex(&[&["store", command, directory.to_str().unwrap()], options].concat()))
}

/// What a sub-command says with this exit code, on both outputs.
fn said(output: &Output, code: i32) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn a_store_is_listed_checked_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    let arguments = ["--data-dir", directory.to_str().unwrap()];
    let broker = Broker::culex(&arguments);
    run_ok(Tools::Culex.publish(&broker, &["-t", "a/1", "-m", "first one", "-r", "-q", "1"]));
    run_ok(Tools::Culex.publish(&broker, &["-t", "a/2", "-m", "second one", "-r", "-q", "1"]));
    for command in ["check", "repair", "dump"] {
        assert!(said(&store(command, &directory, &[]), 5).contains("stop that broker first"));
    }
    assert_eq!(broker.running.terminate(), Some(0));

    assert!(said(&store("check", &directory, &[]), 0).contains("is whole: 0 sessions"));
    assert!(said(&store("repair", &directory, &[]), 0).contains("Nothing to repair"));
    let listed = said(&store("dump", &directory, &["--retained"]), 0);
    assert!(listed.contains(r#"retained bytes=9 payload="first one" qos=1 topic="a/1""#), "{listed}");
    let listed = said(&store("dump", &directory, &["--json"]), 0);
    let topics: Vec<_> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["topic"].to_string())
        .collect();
    assert_eq!(topics, [r#""a/1""#, r#""a/2""#]);

    let file = directory.join("culex.db");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).position(|window| window == b"first one").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let refused = said(&run(culex(&[&["-p", "0"], &arguments[..]].concat())), 5);
    assert!(refused.contains("checksum is wrong") && refused.contains("culex store repair"), "{refused}");
    let checked = said(&store("check", &directory, &[]), 5);
    assert!(checked.contains("table message, row") && checked.contains("1 retained messages"), "{checked}");
    assert!(said(&store("dump", &directory, &[]), 5).contains("second one"));
    assert_eq!(fs::read(&file).unwrap(), bytes);

    let repaired = said(&store("repair", &directory, &[]), 0);
    assert!(repaired.contains("culex.db.damaged-"), "{repaired}");
    assert!(said(&store("check", &directory, &[]), 0).contains("1 retained messages"));
    let broker = Broker::culex(&arguments);
    let found = run_ok(Tools::Culex.subscribe(&broker, &["-t", "a/#", "-C", "1"]));
    assert_eq!(found.trim_end(), "second one");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn where_no_store_is_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["check", "repair", "dump"] {
        assert!(said(&store(command, folder.path(), &[]), 5).contains("there is no store in "));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
