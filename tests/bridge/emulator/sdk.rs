//! AWS's own SDK, 3.1.1 and 5.0, and mosquitto's client against the emulator: it behaves as they expect of the service.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use culex::aws_emulator::{DisconnectReason, Emulator, Limits, Role, Scenario};
use culex_codec::QoS;
use culex_tests::broker::binary;
use culex_tests::tools::{has, python, workspace};
use serde_json::{Value, json};

use super::peer::{Peer, V3, broke};

/// The emulator, and the folder with its certificates.
async fn emulator() -> (Emulator, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    // Runs of a client follow each other faster than it may connect, and what it publishes its SUBACK.
    let limits = Limits { connect_interval: Duration::ZERO, ..Limits::default() };
    let scenario = Scenario { subscribe_lag: Duration::ZERO, ..Scenario::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let builder = Emulator::builder().directory(folder.path()).limits(limits).scenario(scenario);
    let builder = builder.listen(Role::Port8883, any).listen(Role::Port443, any);
    (builder.start().await.unwrap(), folder)
}

/// Over port 443 it is a WebSocket.
fn settings(
    emulator: &Emulator,
    folder: &tempfile::TempDir,
    (version, role): (u8, Role),
    steps: &Value,
) -> Value {
    json!({
        "version": version,
        "websocket": role == Role::Port443,
        "port": emulator.address(role).unwrap().port(),
        "ca": folder.path().join("root-ca.crt"),
        "cert": folder.path().join("client.crt"),
        "key": folder.path().join("client.key"),
        "client_id": "sdk",
        "dies": steps.is_null(),
        "steps": steps,
    })
}

/// Runs the SDK with these steps and gives what it said.
async fn run(
    emulator: &Emulator,
    folder: &tempfile::TempDir,
    how: (u8, Role),
    steps: Value,
) -> Option<String> {
    let python = python("aws")?;
    let settings = settings(emulator, folder, how, &steps);
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .arg(workspace().join("tests/bridge/programs/aws_sdk.py"))
            .arg(settings.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

async fn works(version: u8, role: Role) {
    let (emulator, folder) = emulator().await;
    let steps = json!([
        ["subscribe", "sdk/#"],
        ["publish", "sdk/1", "hello"],
        ["receive"],
        ["publish", "kept/1", "state", true],
        ["subscribe", "kept/1"],
        ["receive"],
        // Its PUBACK for what it received goes out before this, and might not before its end.
        ["publish", "last/1", "bye"],
    ]);
    let Some(said) = run(&emulator, &folder, (version, role), steps).await else { return };
    let expected = [
        "CONNECTED False",
        "SUBSCRIBE 1",
        "PUBLISH acknowledged",
        "RECEIVED sdk/1 hello live",
        "PUBLISH acknowledged",
        "SUBSCRIBE 1",
        "RECEIVED kept/1 state retained",
        "PUBLISH acknowledged",
        "DISCONNECTED",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let topics: Vec<_> = emulator.deliveries().iter().map(|delivery| delivery.topic.clone()).collect();
    assert_eq!(topics, ["sdk/1", "kept/1", "last/1"]);
    // While it is away, a session waits.
    let session = emulator.session("sdk").unwrap();
    assert!(!session.is_connected && session.subscriptions == ["kept/1", "sdk/#"], "{session:?}");
    for n in 0..3 {
        emulator.publish("sdk/away", n.to_string(), QoS::AtLeastOnce, false);
    }
    let steps = json!([["receive"], ["receive"], ["receive"], ["publish", "sdk/2", "self"], ["receive"]]);
    let said = run(&emulator, &folder, (version, role), steps).await.unwrap();
    let expected = [
        "CONNECTED True",
        "RECEIVED sdk/away 0 live",
        "RECEIVED sdk/away 1 live",
        "RECEIVED sdk/away 2 live",
        "PUBLISH acknowledged",
        "RECEIVED sdk/2 self live",
        "DISCONNECTED",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let reasons: Vec<_> = emulator.observations().disconnects.iter().map(|end| end.reason).collect();
    assert_eq!(reasons, [DisconnectReason::ClientInitiated; 2]);
    broke(&emulator, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_publishes_subscribes_and_comes_back_in_3_1_1() {
    works(3, Role::Port8883).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_publishes_subscribes_and_comes_back_in_5_0() {
    works(5, Role::Port8883).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aic_net_05_aws_sdk_comes_over_a_signed_websocket() {
    works(3, Role::Port443).await;
    works(5, Role::Port443).await;
}

async fn receives_retained(version: u8) {
    let (emulator, folder) = emulator().await;
    emulator.publish("kept/1", "state", QoS::AtLeastOnce, true);
    let steps = json!([["subscribe", "kept/1"], ["receive"]]);
    let Some(said) = run(&emulator, &folder, (version, Role::Port8883), steps).await else { return };
    assert_eq!(said, "CONNECTED False\nSUBSCRIBE 1\nRECEIVED kept/1 state retained\nDISCONNECTED\n");
    broke(&emulator, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_gets_retained_messages() {
    receives_retained(3).await;
    receives_retained(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_leaves_a_will() {
    let Some(python) = python("aws") else { return };
    for version in [3, 5] {
        let (emulator, folder) = emulator().await;
        let mut reader = Peer::connected(&emulator, V3, "reader").await;
        reader.subscribe(&[("wills/#", 1)]).await;
        let mut child = Command::new(&python)
            .arg(workspace().join("tests/bridge/programs/aws_sdk.py"))
            .arg(settings(&emulator, &folder, (version, Role::Port8883), &Value::Null).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let killer = thread::spawn(move || {
            let line = lines.lines().next().unwrap().unwrap();
            stdin.write_all(b"\n").unwrap();
            child.wait().unwrap();
            line
        });
        assert_eq!(reader.take().await.topic, "wills/sdk", "{version}");
        assert_eq!(killer.join().unwrap(), "CONNECTED False");
    }
}

/// Publishes with a program that has mosquitto's options, in both versions.
async fn publishes(program: impl Fn() -> Command) {
    let (emulator, folder) = emulator().await;
    for version in ["311", "5"] {
        let mut command = program();
        command.args(["-h", "localhost", "-p"]);
        command.arg(emulator.address(Role::Port8883).unwrap().port().to_string());
        for (option, file) in [("--cafile", "root-ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")]
        {
            command.arg(option).arg(folder.path().join(file));
        }
        command.args(["-V", version, "-i", version, "-q", "1", "-t", "hello/world", "-m", version]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let payloads: Vec<_> = emulator.deliveries().iter().map(|delivery| delivery.payload.clone()).collect();
    assert_eq!(payloads, [&b"311"[..], b"5"]);
    broke(&emulator, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_publishes_with_both_versions() {
    if has("mosquitto_pub") {
        publishes(|| Command::new("mosquitto_pub")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn culex_pub_publishes_with_both_versions() {
    publishes(|| {
        let mut command = Command::new(binary());
        command.arg("pub");
        command
    })
    .await;
}
