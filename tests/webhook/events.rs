//! What a service is told beside messages.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::Connect;
use serde_json::{Value, json};

use crate::program::{PATIENCE, Publisher, broker, culex, text};
use crate::receiver::Receiver;

/// A webhook for these events alone.
fn webhook(receiver: &Receiver, events: &[&str]) -> String {
    format!("[[webhook]]\nname = \"w\"\nurl = \"{}\"\nevents = {events:?}\n", receiver.url())
}

#[test]
fn clients_that_come_and_go_are_told() {
    let receiver = Receiver::good();
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(&receiver, &["client.connected", "client.disconnected", "session.subscribed"]);
    let broker = broker(folder.path(), &hook);
    drop(Publisher::connect(&broker));
    let requests = receiver.wait("both", |requests| requests.len() >= 2);
    let kinds: Vec<_> =
        requests.iter().map(|request| request.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["client.connected", "client.disconnected"]);
    assert_eq!(requests[0].json()["client_id"], "publisher");
    assert!(requests[1].json()["reason"].is_string());
    assert_ne!(requests[0].id(), requests[1].id());
}

/// A password file with one user.
fn users(folder: &Path) -> String {
    let file = folder.join("users");
    let path = file.display().to_string();
    let made = culex(&["passwd", "-c", "-b", &path, "ann", "right"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_wrong_password_is_told_without_it() {
    let receiver = Receiver::good();
    let folder = tempfile::tempdir().unwrap();
    let auth = format!("[auth]\npassword_file = {:?}\n", users(folder.path()));
    let hook = webhook(&receiver, &["client.auth_failed"]);
    let broker = broker(&folder.path().join("data"), &format!("{auth}{hook}"));
    for (password, code) in [(&b"right"[..], 0), (b"wr0ng", 4)] {
        let mut client = Client::open(broker.addr);
        client.patience(PATIENCE);
        client.send(Connect::new("esp").credentials("ann", password).encode());
        let Next::Packet(Received::ConnAck { code: got, .. }) = client.next_within(PATIENCE) else {
            panic!("no CONNACK for {password:?}")
        };
        assert_eq!(got, code);
    }
    let requests = receiver.wait("the failure", |requests| !requests.is_empty());
    let told = requests[0].json();
    let named = json!({ "type": told["type"], "client_id": told["client_id"], "username": told["username"] });
    assert_eq!(named, json!({ "type": "client.auth_failed", "client_id": "esp", "username": "ann" }));
    assert!(told["peer"].as_str().unwrap().starts_with("127.0.0.1"), "{told}");
    assert!(!text(&requests[0].body).contains("wr0ng"));
    assert_eq!(requests.len(), 1, "the right one is no news");
}

#[test]
fn a_bridge_that_goes_down_and_comes_back_is_told() {
    let receiver = Receiver::good();
    let folder = tempfile::tempdir().unwrap();
    // Nobody is there at first.
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bridge = format!(
        "[[bridge]]\nname = \"cloud\"\naddress = \"{addr}\"\nreconnect_min = \"1s\"\nreconnect_max = \"1s\"\n\
         [[bridge.out]]\nfilter = \"sensors/#\"\n"
    );
    let hook = webhook(&receiver, &["bridge.state"]);
    let _broker = broker(&folder.path().join("data"), &format!("{hook}{bridge}"));
    let is = |event: &Value, state: &str| event["bridge"] == "cloud" && event["state"] == state;
    let told = |state: &str| {
        let requests = receiver.wait(state, |requests| requests.iter().any(|one| is(&one.json(), state)));
        requests.iter().map(|one| one.json()).find(|event| is(event, state)).unwrap()
    };
    let down = told("down");
    assert_eq!(down["type"], "bridge.state");
    assert!(down["why"].as_str().is_some_and(|why| !why.is_empty()), "{down}");
    let remote = format!("[[listener]]\naddress = \"{addr}\"\n[store]\ndurability = \"none\"\n");
    let _remote = culex_tests::broker::Broker::start_with_config(&remote);
    told("up");
}
