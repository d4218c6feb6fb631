//! What is said about bridges that cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::config::source::Source;
use crate::config::{Bridge, Config, ConfigError, Environment, Follows, mosquitto};

fn load(text: &str) -> Result<Config, ConfigError> {
    let machine = || mosquitto::Machine::with_ipv6(true);
    let source = Source::of("culex.toml", text);
    Config::from_source(&source, &Environment::default(), machine).map(|(config, _)| config)
}

fn bridge(text: &str) -> Bridge {
    load(text).unwrap().bridges.remove(0)
}

const AWS: &str =
    "[[bridge]]\nname = \"aws\"\naddress = \"a-ats.iot.eu-central-1.amazonaws.com\"\nclient_id = \"shed\"\n";
const IDENTITY: &str = "[bridge.tls]\ncertificate = \"c\"\nkey = \"k\"\n";
const PLAIN: &str = "[[bridge]]\nname = \"other\"\naddress = [\"a:1\", \"b\"]\n";
const OUT: &str = "[[bridge.out]]\nfilter = \"#\"\n";

/// Each problem as `line: message`.
#[track_caller]
fn check(text: &str, expected: &[(usize, &str)]) {
    let problems = match load(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    };
    assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
    for (problem, (line, part)) in problems.iter().zip(expected) {
        assert!(problem.starts_with(&format!("culex.toml:{line}:")), "line {line}: {problem}\n{text}");
        assert!(problem.contains(part), "{part}: {problem}\n{text}");
    }
}

#[test]
fn everything_that_can_be_said_of_a_bridge() {
    let text = r#"
[[bridge]]
name = "cloud"
address = ["mqtt.example.org", "[::1]:8884"]
user = "ana"
password = "caf$${é"
protocol = "5.0"
client_id = "shed"
keep_alive = "30s"
clean_start = true
reconnect_min = "2s"
reconnect_max = "60s"
connections = 4
notifications_local_only = true
[bridge.tls]
ca_file = "ca.crt"
alpn = "mqtt"
server_name = "broker"
insecure = true
[bridge.queue]
max_bytes = "10MiB"
max_age = "24h"
when_full = "drop-newest"
qos0 = true
[bridge.pace]
messages_per_second = 10
[[bridge.out]]
filter = "sensors/#"
local_prefix = "shed/"
remote_prefix = "site1/"
qos = 2
retain = false
[[bridge.out]]
filter = "raw/+"
[[bridge.in]]
filter = "commands/#"
"#;
    let config = load(text).unwrap();
    let bridge = &config.bridges[0];
    assert_eq!(bridge.addresses[0].port_or_default(bridge.has_tls()), 8883);
    assert_eq!((bridge.outgoing.len(), bridge.incoming.len()), (2, 1));
    assert_eq!(bridge.outgoing[0].local_filter(), "shed/sensors/#");
    assert_eq!(bridge.outgoing[0].remote_filter(), "site1/sensors/#");
    assert_eq!(bridge.client_id_of(3, "host"), "shed-3");
    assert_eq!(bridge.state_topic(), "$SYS/broker/connection/cloud/state");
    assert_eq!(load(&config.to_toml()).unwrap(), config, "{}", config.to_toml());
}

#[test]
fn a_password_is_not_shown() {
    let text = format!("{PLAIN}user = \"u\"\npassword = \"swordfish\"\n{OUT}");
    let (old, new) = (load(&text).unwrap(), load(&text.replace("swordfish", "salmon")).unwrap());
    let follows = Follows { listeners: true, users: true };
    let changes = format!("{:?}", old.changes(&new, follows));
    assert!(changes.contains("bridge other: password"), "{changes}");
    let shown = [changes, format!("{old:?}"), old.redacted().to_toml()].concat();
    assert!(!shown.contains("swordfish") && !shown.contains("salmon"), "{shown}");
    let number = load(&format!("{PLAIN}user = \"u\"\npassword = 48151623\n{OUT}")).unwrap_err().to_string();
    assert!(number.contains("password: expected text") && !number.contains("48151623"), "{number}");
}

#[test]
fn the_preset_is_chosen_by_the_address() {
    let aws = bridge(&format!("{AWS}{IDENTITY}{OUT}"));
    assert!(aws.is_aws_iot() && aws.has_tls() && !aws.notifies_remote());
    assert!(!bridge(&format!("{PLAIN}{OUT}")).is_aws_iot());
    assert!(bridge(&format!("{PLAIN}preset = \"aws-iot\"\nclient_id = \"a\"\n{IDENTITY}{OUT}")).is_aws_iot());
    assert!(!bridge(&format!("{AWS}preset = \"none\"\n{OUT}")).is_aws_iot());
}

#[test]
fn a_bridge_must_be_whole() {
    check("[[bridge]]\n", &[(1, "no `name`"), (1, "no `address`"), (1, "no topics")]);
    check(&format!("{PLAIN}{OUT}{PLAIN}{OUT}"), &[(7, "has the name \"other\" already")]);
    check(
        "[[bridge]]\nname = \"a/b\"\naddress = \"a\"\n[[bridge.out]]\nfilter = \"#\"\n",
        &[(2, "cannot be the name")],
    );
    for (line, part) in [
        ("password = \"x\"", "needs a `user`"),
        ("reconnect_min = \"10s\"\nreconnect_max = \"5s\"", "longer than the longest"),
        ("notification_topic = \"a/#\"", "no topic"),
        ("connections = 2", "cannot share one state"),
        ("tls = 1", "is written [bridge.tls]"),
        ("in = 1", "is written [[bridge.in]]"),
        ("adress = \"a\"", "unknown key"),
    ] {
        check(&format!("{PLAIN}{line}\n{OUT}"), &[(4, part)]);
    }
    for (line, part) in [
        ("certificate = \"c\"", "no `key`"),
        ("key = \"c\"", "no `certificate`"),
        ("alpn = [\"mqtt\", \"none\"]", "exclude each other"),
    ] {
        check(&format!("{PLAIN}[bridge.tls]\n{line}\n{OUT}"), &[(5, part)]);
    }
}

#[test]
fn a_mapping_has_topics_on_both_sides() {
    for (direction, lines, line, part) in [
        ("out", "qos = 1", 4, "no `filter`"),
        ("out", "filter = \"a/#/b\"", 5, "is no topic filter"),
        ("out", "filter = \"a\"\nlocal_prefix = \"+/\"", 6, "has a wildcard"),
        ("out", "filter = \"$share/g/a\"", 5, "shares none"),
        ("in", "filter = \"a\"\nbasic_ingest = \"r\"", 6, "nobody can subscribe to a rule"),
        ("out", "filter = \"a\"\nbasic_ingest = \"r/x\"", 6, "letters, digits"),
        ("in", "filter = \"a\"\nlocal_prefix = \"$SYS/\"", 6, "only the broker itself"),
    ] {
        check(&format!("{PLAIN}[[bridge.{direction}]]\n{lines}\n"), &[(line, part)]);
    }
}

#[test]
fn what_aws_would_not_take_is_named() {
    for (own, tls, mapping, line, part) in [
        ("keep_alive = \"20s\"", "", "", 5, "30 s to 1200 s"),
        ("try_private = true", "", "", 5, "does not take connections of bridges"),
        ("notifications_local_only = false", "", "", 5, "topic of the notifications"),
        ("", "insecure = true", "", 9, "`insecure`"),
        ("", "", "qos = 2", 12, "no QoS 2"),
        ("", "", "remote_prefix = \"a/b/c/d/e/f/g/h/\"", 11, "has 8 slashes"),
        ("", "", "remote_prefix = \"$SYS/\"", 11, "reserved by AWS"),
    ] {
        let mapping = format!("[[bridge.out]]\nfilter = \"x\"\n{mapping}\n");
        check(&format!("{AWS}{own}\n{IDENTITY}{tls}\n{mapping}"), &[(line, part)]);
    }
    check(&format!("{AWS}{OUT}").replace("client_id = \"shed\"\n", ""), &[(1, "none"), (1, "certificate")]);
    check(&format!("{AWS}{IDENTITY}{OUT}").replace("\"shed\"", "\"$x\""), &[(4, "begin with `$`")]);
    check(&format!("{AWS}{IDENTITY}{OUT}").replace("shed", &"x".repeat(129)), &[(4, "128 bytes")]);
    check(&format!("{AWS}{IDENTITY}{OUT}").replace(".com\"", ".com:1883\""), &[(3, "TLS alone")]);
    let incoming: String = (0..51).map(|n| format!("[[bridge.in]]\nfilter = \"t{n}\"\n")).collect();
    check(&format!("{AWS}{IDENTITY}{incoming}"), &[(108, "51 [[bridge.in]]")]);
}

#[test]
fn a_rule_of_aws_may_be_published_to() {
    let text =
        format!("{AWS}{IDENTITY}[[bridge.out]]\nfilter = \"a/b/c/d/e/f/g/#\"\nbasic_ingest = \"r1\"\n");
    assert_eq!(bridge(&text).outgoing[0].remote_filter(), "$aws/rules/r1/a/b/c/d/e/f/g/#");
}

#[test]
fn a_key_that_others_can_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("k.key");
    fs::write(&key, "").unwrap();
    let text =
        format!("{AWS}[bridge.tls]\ncertificate = \"c\"\nkey = {:?}\n{OUT}", key.display().to_string());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check(&text, &[(7, "every user of this computer can read the private key")]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    check(&text, &[]);
}

#[test]
fn a_bridge_to_a_listener_of_its_own_is_named() {
    let text = |listener: &str, address: &str, tls: &str| {
        format!(
            "[[listener]]\naddress = \"{listener}\"\nallow_anonymous = true\n[[bridge]]\nname = \"b\"\naddress = \"{address}\"\n{OUT}{tls}"
        )
    };
    for (listener, address) in [
        ("127.0.0.1:1883", "localhost"),
        ("127.0.0.1:1884", "127.0.0.1:1884"),
        ("0.0.0.0:1883", "127.0.0.1"),
        ("[::]:1883", "LocalHost:1883"),
        ("192.168.7.1:1883", "192.168.7.1"),
    ] {
        check(&text(listener, address, ""), &[(6, "leads to this broker's own listener")]);
    }
    for (listener, address) in
        [("127.0.0.1:1883", "localhost:1884"), ("192.168.7.1:1883", "localhost"), ("0.0.0.0:1883", "there")]
    {
        check(&text(listener, address, ""), &[]);
    }
    // By default there is one.
    check(
        &format!("[[bridge]]\nname = \"b\"\naddress = \"localhost\"\n{OUT}"),
        &[(3, "own listener 127.0.0.1:1883")],
    );
    check(&format!("[[bridge]]\nname = \"b\"\naddress = \"localhost:8883\"\n{OUT}[bridge.tls]\n"), &[]);
}
