//! The real program with real clients: mosquitto's, OpenSSL's, paho and its own.

use std::process::{Command, Stdio};

use culex_tests::parse::Received;
use culex_tests::tools::{has, python};
use culex_tests::wire::Connect;
use rcgen::SerialNumber;

use crate::authority::Authority;
use crate::peer::{BOTH, Peer, client_config, eventually};
use crate::program::{Program, save, text, write};

#[test]
fn clients_of_mosquitto_and_our_own_talk_through_tls() {
    if !has("mosquitto_pub") {
        return;
    }
    let program = Program::plain();
    let large = "x".repeat(100_000);
    for (publisher, subscriber) in
        [("mosquitto_pub", "culex sub"), ("culex pub", "mosquitto_sub"), ("mosquitto_pub", "mosquitto_sub")]
    {
        for version in ["tlsv1.2", "tlsv1.3"] {
            for payload in ["short", &large] {
                let said = ["--tls-version", version, "-t", "a/b", "-q", "1", "-r", "-m", payload];
                let published = program.client(publisher, None, &said);
                assert!(published.status.success(), "{publisher} {version}: {}", text(&published));
                let asked = ["--tls-version", version, "-t", "a/#", "-q", "1", "-C", "1", "-W", "20"];
                let heard = program.client(subscriber, None, &asked);
                assert!(text(&heard).trim() == payload, "{subscriber} {version}: {}", text(&heard));
            }
        }
    }
}

#[test]
fn only_certificates_that_are_good_come_in() {
    if !has("mosquitto_pub") {
        return;
    }
    let program = Program::asking();
    let foreign = Authority::new("somebody else");
    let publish = ["-t", "a", "-m", "hi", "-q", "1", "-u", "?SDK=Python&Version=1.0"];
    let good = program.authority.client("ann");
    for publisher in ["mosquitto_pub", "culex pub"] {
        let published = program.client(publisher, Some(&good), &publish);
        assert!(published.status.success(), "{publisher}: {}", text(&published));
    }
    let revoked = program.authority.client_with("ann", |params| {
        params.serial_number = Some(SerialNumber::from(4711));
    });
    for (identity, reason) in [
        (None, "shows no certificate"),
        (Some(foreign.client("ann")), "not signed by a CA of client_ca"),
        (Some(program.authority.expired_client("ann")), "certificate has expired"),
        (Some(revoked), "is revoked"),
        (Some(program.authority.server(&["localhost"])), "not one for clients"),
    ] {
        let published = program.client("mosquitto_pub", identity.as_ref(), &publish);
        assert!(!published.status.success(), "{reason}");
        // The line may come later than the alert.
        assert!(eventually(|| program.broker.log().contains(reason)), "{reason}:\n{}", program.broker.log());
    }
}

#[test]
fn nothing_old_or_weak_is_spoken() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for (version, cipher) in [
        ("-tls1", "ALL"),
        ("-tls1_1", "ALL"),
        ("-tls1_2", "NULL"),
        ("-tls1_2", "aNULL"),
        ("-tls1_2", "kRSA"),
        ("-tls1_2", "DHE"),
        ("-tls1_2", "PSK"),
        ("-tls1_2", "ECDHE-RSA-AES128-SHA"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-SHA384"),
    ] {
        let cipher = &format!("{cipher}:@SECLEVEL=0");
        let said = program.openssl(&[version, "-psk", "c0ffee", "-cipher", cipher], "");
        assert!(said.contains("alert") && said.contains("Cipher is (NONE)"), "{version} {cipher}: {said}");
    }
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ] {
        let said = program.openssl(&["-tls1_2", "-cipher", cipher, "-max_send_frag", "512"], "");
        assert!(said.contains(&format!("Cipher is {cipher}")), "{cipher}: {said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{cipher}: {said}");
    }
    let said = program.openssl(&["-tls1_3"], "");
    assert!(said.contains("TLSv1.3, Cipher is TLS_"), "{said}");
    let said = program.openssl(&["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[test]
fn the_smallest_version_may_be_raised() {
    if !has("openssl") {
        return;
    }
    let program = Program::start(|_, _| "min_version = \"1.3\"".to_owned());
    assert!(program.openssl(&["-tls1_2"], "").contains("alert protocol version"));
    assert!(program.openssl(&["-tls1_3"], "").contains("TLSv1.3, Cipher is TLS_"));
}

#[test]
fn application_protocols_are_those_of_mqtt() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for (offered, expected) in [
        ("mqtt", "ALPN protocol: mqtt"),
        ("x-amzn-mqtt-ca", "ALPN protocol: x-amzn-mqtt-ca"),
        ("h2,mqtt", "ALPN protocol: mqtt"),
        ("h2", "alert no application protocol"),
    ] {
        let said = program.openssl(&["-alpn", offered], "");
        assert!(said.contains(expected), "{offered}: {said}");
    }
    assert!(program.openssl(&[], "").contains("No ALPN negotiated"));
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = program.path("session").display().to_string();
        // A ticket of 1.3 comes behind the handshake; the broker closes for the line, and that comes behind the ticket.
        let said = program.openssl(&[version, "-sess_out", &session, "-ign_eof"], "no MQTT\n");
        assert!(said.contains("New, TLSv1"), "{said}");
        let said = program.openssl(&[version, "-sess_in", &session], "");
        assert!(said.contains("Reused, TLSv1"), "{version}: {said}");
    }
}

#[test]
fn new_files_are_in_force_after_a_hangup_and_wrong_ones_are_not() {
    let program = Program::plain();
    let mut stays = Peer::open(program.broker.addr, client_config(&program.authority, &BOTH, None));
    stays.send(Connect::new("stays").encode()).unwrap();
    assert!(matches!(stays.next(), Ok(Received::ConnAck { code: 0, .. })));
    let hang_up = || {
        let pid = program.broker.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    let connects = |authority: &Authority| {
        let mut peer = Peer::open(program.broker.addr, client_config(authority, &BOTH, None));
        peer.send(Connect::new("new").encode()).is_ok() && peer.next().is_ok()
    };
    // The certificate of another authority, and the key of this one.
    let other = Authority::new("another authority");
    let identity = other.server(&["localhost"]);
    write(&program.folder, "ecdsa.crt", &identity.certificate);
    hang_up();
    assert!(eventually(|| program.broker.log().contains("nothing was changed")), "{}", program.broker.log());
    assert!(program.broker.log().contains("does not match the certificate"), "{}", program.broker.log());
    assert!(connects(&program.authority) && !connects(&other));
    save(&program.folder, "ecdsa", &identity);
    hang_up();
    assert!(eventually(|| program.broker.log().contains("was read again")), "{}", program.broker.log());
    assert!(connects(&other) && !connects(&program.authority));
    stays.send([0xc0, 0]).unwrap();
    assert_eq!(stays.next().unwrap(), Received::PingResp);
}

#[test]
fn a_program_of_paho_connects_with_a_certificate() {
    const PAHO: &str = "import sys, ssl, paho.mqtt.client as mqtt
host, port, ca, cert, key = sys.argv[1:]
try: client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1)
except AttributeError: client = mqtt.Client()
client.tls_set(ca_certs=ca, certfile=cert, keyfile=key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.on_connect = lambda c, *a: c.subscribe('echo', 2)
client.on_subscribe = lambda c, *a: c.publish('echo', 'back', 2)
def heard(c, _, message):
    print(message.payload.decode(), flush=True)
    c.disconnect()
client.on_message = heard
client.connect(host, int(port))
client.loop_forever()
";
    let program = Program::asking();
    save(&program.folder, "ann", &program.authority.client("ann"));
    for paho in ["paho1", "paho2"] {
        let Some(python) = python(paho) else { continue };
        let output = Command::new(python)
            .args(["-W", "ignore", "-c", PAHO, "localhost", &program.broker.addr.port().to_string()])
            .args([program.path("ca.crt"), program.path("ann.crt"), program.path("ann.key")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(text(&output).trim(), "back", "{paho}");
    }
}
