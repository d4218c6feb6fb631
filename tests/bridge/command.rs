//! `culex bridge` on the command line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use culex_tests::broker::binary;
use culex_tests::tools::has;

#[test]
fn bridge_lists_its_sub_commands() {
    let output = Command::new(binary()).args(["bridge", "--help"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("emulate-aws"), "{text}");
}

fn emulate(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["bridge", "emulate-aws"]).args(arguments);
    command
}

#[test]
fn emulate_aws_says_what_is_wrong_with_its_arguments() {
    let output = emulate(&["--scenario", "outages"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no scenario \"outages\"") && text.contains("reorder_acks"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = emulate(&["--port", "0", "--directory"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&file.display().to_string()), "{text}");
}

/// What it prints can be copied: the command publishes, and the configuration is one.
#[test]
fn emulate_aws_prints_what_works_and_what_was_broken() {
    if !has("mosquitto_pub") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = emulate(&["--port", "0", "--port-443", "0", "--directory"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let guide: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("Who may")).collect();
    let toml: Vec<_> = guide
        .iter()
        .skip_while(|line| !line.starts_with("[[bridge]]"))
        .take_while(|line| !line.is_empty())
        .map(String::as_str)
        .collect();
    let file = folder.path().join("culex.toml");
    std::fs::write(&file, toml.join("\n")).unwrap();
    let output = Command::new(binary()).arg("check").arg("-c").arg(&file).output().unwrap();
    assert!(output.status.success(), "{toml:?}: {}", String::from_utf8_lossy(&output.stderr));

    let publish = guide.iter().find(|line| line.starts_with("mosquitto_pub")).unwrap();
    let sh = |command: &str| Command::new("sh").args(["-c", command]).output().unwrap();
    let output = sh(publish);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut until =
        |words: &str| lines.find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}"));
    until("\"first\": connected");
    until("\"first\": CLIENT_INITIATED_DISCONNECT");
    sh(&publish.replace("-q 1", "-q 2").replace("-i first", "-i second"));
    until("\"second\": AIC-PUB-02 PUBLISH \"hello/world\" QoS 2");
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert_eq!(until("AIC-PUB-02  "), "  AIC-PUB-02  1");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// What is typed while it runs is done at once, and said.
#[test]
fn emulate_aws_takes_orders_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = emulate(&["--messages", "--port", "0", "--directory"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port: u16 = lines
        .find_map(|line| line.strip_prefix("address = \"127.0.0.1:")?.strip_suffix('"')?.parse().ok())
        .unwrap();
    let mut until =
        |words: &str| lines.find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}"));
    let publish = |id: &str| {
        let file = |name: &str| folder.path().join(name);
        let mut command = Command::new(binary());
        command.args(["pub", "-h", "localhost", "-q", "1", "-t", "a", "-m", "x", "-i", id]);
        command.args(["-p", &port.to_string()]);
        command.arg("--cafile").arg(file("root-ca.crt")).arg("--cert").arg(file("client.crt"));
        command.arg("--key").arg(file("client.key")).output().unwrap().status.success()
    };
    writeln!(input, "outage connack_delay=1").unwrap();
    assert_eq!(until("on: "), "on: connack_delay=1 outage");
    assert!(!publish("first"));
    writeln!(input, "outages\noutage=off\nhelp").unwrap();
    assert_eq!(until("on: "), "on: connack_delay=1");
    until("publish TOPIC TEXT");
    assert!(publish("second"));
    until("\"second\": connected");
    assert!(until("PUBLISH").ends_with("  \"second\": PUBLISH a (QoS 1): x"));
    // The end of the input ends nothing.
    drop(input);
    assert!(publish("third"));
    until("\"third\": connected");
    let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("\"outages\" is neither a scenario"), "{text}");
}
