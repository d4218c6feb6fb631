//! What clients say of themselves, and where it must not get to.

use std::process::{Command, Stdio};

use culex_tests::broker::{self, Broker};
use culex_tests::client::Client;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};

use crate::canary::connected;

#[test]
fn cve_2026_58213_control_characters_make_no_log_lines() {
    const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[31m\u{85}\u{2028}";
    let broker = Broker::start_with_config("[log]\nlevel = \"trace\"\n");
    let mut client = Client::open(broker.addr);
    let connect =
        Connect::new(FORGED).persistent().credentials(FORGED, b"x").will(Will::new(FORGED, FORGED, 1));
    client.send(connect.encode());
    match client.receive() {
        // 3.1.1 lets a Server refuse control characters, and lets it take them.
        Received::ConnAck { code: 0, .. } => {}
        other => panic!("{other:?}"),
    }
    client.send(wire::subscribe(1, &[(FORGED, 1)]));
    client.expect(&Received::SubAck(1, vec![1]));
    client.send(Publish::new(FORGED, FORGED).qos(1, 2).retained().encode());
    // Its end is logged with all that is known of it.
    client.send([0x00, 0x00]);
    let mut others = connected(broker.addr, "somebody");
    others.send([0xc0, 0]);
    others.expect(&Received::PingResp);
    let log = broker.log();
    assert!(log.contains("forged"), "it is logged:\n{log}");
    for line in log.lines() {
        assert!(!line.trim_start().starts_with("2026-01-01") && !line.starts_with("forged"), "{log}");
        assert!(!line.contains(['\u{1b}', '\r', '\u{85}', '\u{2028}']), "{line:?}");
    }
}

#[test]
fn cve_2026_33216_passwords_are_shown_nowhere() {
    const WRONG: &str = "hunter2-wrong";
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let broker = Broker::start_with_config(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nallow_anonymous = true\n\
         [store]\ndirectory = {data:?}\n[log]\nlevel = \"trace\"\n"
    ));
    let mut client = Client::open(broker.addr);
    client.send(Connect::new("ann").persistent().credentials("ann", WRONG.as_bytes()).encode());
    client.expect(&Received::ConnAck { session_present: false, code: 0 });
    client.send(wire::subscribe(1, &[("a", 1)]));
    client.expect(&Received::SubAck(1, vec![1]));
    let mut shown = String::new();
    for question in
        [&["status"][..], &["clients"], &["client", "ann"], &["sessions"], &["metrics"], &["retained"]]
    {
        for json in [&[][..], &["--json"]] {
            let output = Command::new(broker::binary())
                .args(["ctl", "--data-dir"])
                .arg(&data)
                .args(json)
                .args(question)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{question:?}: {}", String::from_utf8_lossy(&output.stderr));
            shown.push_str(&String::from_utf8_lossy(&output.stdout));
        }
    }
    client.send([0x00, 0x00]);
    let shown = shown + &broker.log();
    assert!(shown.contains("ann"), "{shown}");
    assert!(!shown.contains(WRONG) && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn proxy_header_without_configuration_is_closed() {
    let broker = Broker::start(&[]);
    let connect = Connect::new("c").encode();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x7f\0\0\x01\x10\x00\x07\x5b";
    for header in [&b"PROXY TCP4 192.0.2.1 127.0.0.1 4096 1883\r\n"[..], v2] {
        let mut client = Client::open(broker.addr);
        client.send([header, &connect].concat());
        client.expect_closed();
    }
}
