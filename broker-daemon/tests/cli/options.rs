//! What the command line accepts, refuses and says.

use std::net::TcpListener;

use crate::harness::{culex, run, text};

/// Exit code and standard error.
#[track_caller]
fn check(arguments: &[&str], code: i32, expected: &str) {
    let output = run(culex(arguments));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stderr}");
    assert!(stderr.contains(expected), "{arguments:?}\n{stderr}");
}

#[test]
fn wrong_command_lines_are_explained() {
    for (arguments, expected) in [
        (&["-d"][..], "does not go to the background by itself"),
        (&["-p", "70000"], "70000 is not in 0..=65535"),
        (&["subb"], "'sub'"),
        (&["check"], "culex check [-c] FILE"),
        (&["pub", "-m", "x"], "--topic"),
        (&["pub", "-t", "a"], "-m MESSAGE | -f FILE"),
        (&["pub", "-t", "a", "-m", "x", "-n"], "cannot be used with"),
        (&["pub", "-t", "a/#", "-m", "x"], "only a subscription can have + and #"),
        (&["pub", "-t", "", "-m", "x"], "empty topic"),
        (&["pub", "-t", "a", "-m", "x", "-q", "3"], "a QoS is 0, 1 or 2"),
        (&["pub", "-t", "a", "-m", "x", "-V", "4"], "a version is 31, 311 or 5"),
        (&["pub", "-t", "a", "-m", "x", "-P", "x"], "--username"),
        (&["pub", "-t", "a", "-m", "x", "--will-payload", "x"], "--will-topic"),
        (&["sub", "-t", "a/#/b"], "is not the whole last level"),
        (&["sub", "-t", "a", "-c"], "--id"),
        (&["sub", "-t", "a", "-F", "%k"], "%k is not a conversion"),
        (&["sub", "-t", "a", "-C", "0"], "0 is not in"),
        (&["sub"], "--topic"),
        (&["ctl", "--socket", "a", "-p", "1", "status"], "cannot be used with"),
        (&["ctl", "--socket", "a", "status", "-p", "1"], "--socket and --port cannot be used together"),
        (&["ctl", "-p", "1", "status", "--data-dir", "a"], "--data-dir and --port cannot be used together"),
        (&["ctl", "--data-dir", "a", "dead-letters", "list", "--socket", "a"], "--socket and --data-dir"),
        (&["webhook", "dlq", "-p", "1", "list", "--socket", "a"], "--socket and --port"),
        (&["bridge", "status", "--socket", "a", "-p", "1"], "cannot be used with"),
    ] {
        check(arguments, 2, expected);
    }
}

#[test]
fn a_broker_that_is_not_there_is_explained() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let refused = format!(
        "cannot connect to localhost:{port}: connection refused. Is the broker running? Start one with `culex -p {port}`"
    );
    check(&["pub", "-p", &port, "-t", "a", "-m", "x"], 1, &refused);
    check(&["sub", "-p", &port, "-t", "a"], 1, &refused);
    check(&["sub", "-p", &port, "-t", "a", "--quiet"], 1, "");
    check(
        &["pub", "-t", "a", "-f", "/no/such/file"],
        1,
        "cannot open /no/such/file: no such file or directory",
    );
}

#[test]
fn help_and_documents_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["--help"][..], "culex sub -t 'hello/#' -v"),
        (&["--version"], "culex 0"),
        (&["pub", "--help"], "culex pub -t home/lamp -m on"),
        (&["sub", "--help"], "Exit code 27"),
        (&["completions", "bash"], "_culex()"),
        (&["completions", "powershell"], "Register-ArgumentCompleter"),
        (&["man", "-"], ".TH"),
        (&["man", folder.path().to_str().unwrap()], ""),
        (&["config", "reference"], "# Configuration"),
    ] {
        let output = run(culex(arguments));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains(expected), "{arguments:?}\n{}", text(&output.stdout));
    }
    let mut pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert!(pages.contains(&"culex-bench.1".to_owned()));
    assert!(pages.contains(&"culex.1".to_owned()) && pages.contains(&"culex-sub.1".to_owned()));
    check(&["man", "/no/such/folder"], 1, "cannot write /no/such/folder/culex.1");
}
