//! Real clients: paho and mqtt.js over WebSocket, mosquitto's clients and paho over a Unix socket.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use culex_core::Listener;
use culex_core::limits::Limits;
use culex_tests::broker::Broker;

use crate::broker;

/// Publishes at QoS 2 to itself. Its arguments: transport, host or path, port, subprotocol and path of WebSocket.
const PAHO: &str = "import sys, paho.mqtt.client as mqtt
transport, host, port = sys.argv[1:]
try: client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, transport=transport)
except AttributeError: client = mqtt.Client(transport=transport)
client.on_connect = lambda c, *a: c.subscribe('echo', 2)
client.on_subscribe = lambda c, *a: c.publish('echo', 'x' * 200000, 2)
def heard(c, _, message):
    print(len(message.payload), flush=True)
    c.disconnect()
client.on_message = heard
client.connect(host, int(port))
client.loop_forever()
";

const MQTT_JS: &str = "const mqtt = require('mqtt');
const client = mqtt.connect(process.argv[1]);
client.on('connect', () => client.subscribe('echo', { qos: 2 }, () => client.publish('echo', 'x'.repeat(200000), { qos: 2 })));
client.on('message', (topic, payload) => { console.log(payload.length); client.end(); });
client.on('error', (error) => { console.log(error.message); process.exit(1); });
";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The interpreter of this generation of paho, if it is installed.
fn paho(generation: &str) -> Option<PathBuf> {
    let python = folder().join("../.cache/interop").join(generation).join("bin/python");
    if python.exists() { Some(python) } else { skip(&python.display().to_string()) }
}

fn skip<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CULEX_REQUIRE_CLIENTS").is_none(), "there is no {what}");
    eprintln!("skipped: there is no {what}");
    None
}

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
    for python in ["paho1", "paho2"].into_iter().filter_map(paho) {
        let port = broker.addr.port().to_string();
        check(
            &run(Command::new(python).args(["-W", "ignore", "-c", PAHO, "websockets", "127.0.0.1", &port])),
            "200000",
        );
    }
}

#[test]
fn mqtt_js_speaks_over_websocket() {
    let interop = folder().join("interop");
    if !interop.join("node_modules/mqtt").exists() {
        let _: Option<()> = skip("mqtt.js");
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
    if let Some(python) = paho("paho2") {
        check(&run(Command::new(python).args(["-W", "ignore", "-c", PAHO, "unix", &path, "1883"])), "200000");
    }
    let version = Command::new("mosquitto_pub").arg("--help").output();
    if !version.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--unix")) {
        let _: Option<()> = skip("mosquitto_pub with --unix");
        return;
    }
    let retained = ["-t", "a", "-m", "kept", "-q", "2", "-r"];
    let output = run(Command::new("mosquitto_pub").args(["--unix", &path]).args(retained));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(Command::new("mosquitto_sub").args(["--unix", &path, "-t", "a", "-C", "1", "-W", "5"]));
    check(&output, "kept");
    drop(broker);
}
