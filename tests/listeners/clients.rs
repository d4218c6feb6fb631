//! Real clients: paho and mqtt.js over WebSocket, mosquitto's clients and paho over a Unix socket.

use std::process::{Command, Output, Stdio};

use culex_core::Listener;
use culex_core::limits::Limits;
use culex_tests::broker::Broker;
use culex_tests::tools::{PAHO_ECHO, is_installed, python, workspace};

use crate::broker;

const MQTT_JS: &str = "const mqtt = require('mqtt');
const client = mqtt.connect(process.argv[1]);
client.on('connect', () => client.subscribe('echo', { qos: 2 }, () => client.publish('echo', 'x'.repeat(200000), { qos: 2 })));
client.on('message', (topic, payload) => { console.log(payload.length); client.end(); });
client.on('error', (error) => { console.log(error.message); process.exit(1); });
";

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn check(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

fn broker_over_websocket() -> Broker {
    Broker::start_with_config(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"websockets\"\nwebsocket_path = \"/mqtt\"\n",
    )
}

#[test]
fn paho_speaks_over_websocket() {
    let broker = broker_over_websocket();
    for python in ["paho1", "paho2"].into_iter().filter_map(python) {
        let port = broker.addr.port().to_string();
        check(
            &run(Command::new(python).args([
                "-W",
                "ignore",
                "-c",
                PAHO_ECHO,
                "websockets",
                "127.0.0.1",
                &port,
            ])),
            "200000",
        );
    }
}

#[test]
fn mqtt_js_speaks_over_websocket() {
    let interop = workspace().join("tests/interop");
    if !is_installed("mqtt.js", interop.join("node_modules/mqtt").exists()) {
        return;
    }
    let broker = broker_over_websocket();
    let url = format!("ws://{}/mqtt", broker.addr);
    check(&run(Command::new("node").current_dir(interop).args(["-e", MQTT_JS, &url])), "200000");
}

#[test]
fn clients_speak_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock").display().to_string();
    let broker = broker([Listener::unix(&path)], Limits::default());
    if let Some(python) = python("paho2") {
        check(
            &run(Command::new(python).args(["-W", "ignore", "-c", PAHO_ECHO, "unix", &path, "1883"])),
            "200000",
        );
    }
    let version = Command::new("mosquitto_pub").arg("--help").output();
    let has_unix = version.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--unix"));
    if !is_installed("mosquitto_pub with --unix", has_unix) {
        return;
    }
    let retained = ["-t", "a", "-m", "kept", "-q", "2", "-r"];
    let output = run(Command::new("mosquitto_pub").args(["--unix", &path]).args(retained));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(Command::new("mosquitto_sub").args(["--unix", &path, "-t", "a", "-C", "1", "-W", "5"]));
    check(&output, "kept");
    drop(broker);
}
