//! Configurations, right and wrong, and what is said about them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use culex_core::Lanes;
use culex_core::limits::{Limit, Limits, WhenFull};
use proptest::prelude::*;

use super::keys::{ACL, AUTH, LIMITS, LISTENER, LOG, STORE, TLS, TOP};
use super::rules::ACL_RULE;
use super::source::Source;
use super::*;
use crate::acl::{Access, Whose};

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &[])
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let source = Source::of("culex.toml", text);
    let machine = || mosquitto::Machine::with_ipv6(true);
    let loaded = Config::from_source(&source, &Environment::of(variables.iter().copied()), machine);
    loaded.map(|(config, _)| config)
}

/// What is said about `text`, without the file's name: one line a problem, help after ` | `.
fn complaints(text: &str) -> Vec<String> {
    complaints_with(text, &[])
}

fn complaints_with(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let Err(error) = load_with(text, variables) else { return Vec::new() };
    let shown = error.problems().iter().map(|p| p.to_string().replace("\n  help: ", " | "));
    shown.map(|line| line.trim_start_matches("culex.toml:").to_owned()).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(complaints(text), expected, "\n{text}");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(load("").unwrap(), Config::default());
    let without_file = Config { http: Some(HttpSettings::default()), ..Config::default() };
    assert_eq!(Config::load(None, &Environment::default()).unwrap(), without_file);
    assert_eq!(Config::default().listeners[0].address.to_string(), "127.0.0.1:1883");
}

#[test]
fn everything_that_can_be_said() {
    let text = r#"
threads = 3
lanes = "spread"
[[listener]]
address = "[::1]:1884"
[[listener]]
address = "0.0.0.0:0"
allow_anonymous = true
[log]
level = "debug"
format = "json"
[limits]
packet_bytes = "1 MiB"
connections = 1_000
in_flight = 0x10
queue_bytes = "unlimited"
topic_bytes = 65535
when_full = "drop-oldest"
connect_timeout = "1500ms"
"#;
    let config = load(text).unwrap();
    assert_eq!(config.threads, Threads::Exactly(NonZeroUsize::new(3).unwrap()));
    assert_eq!(config.lanes, Lanes::Spread);
    let addresses: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["[::1]:1884", "0.0.0.0:0"]);
    assert_eq!(config.log, LogSettings { level: LogLevel::Debug, format: LogFormat::Json });
    let expected = Limits {
        packet_bytes: 1 << 20,
        connections: Limit::at_most(1000).unwrap(),
        in_flight: 16,
        queue_bytes: Limit::Unlimited,
        when_full: WhenFull::DropOldest,
        connect_timeout: Duration::from_millis(1500),
        ..Limits::default()
    };
    assert_eq!(config.limits, expected);
}

#[test]
fn a_listener_may_be_secured() {
    let text = r#"
[[listener]]
address = "192.0.2.1:8883"
[listener.tls]
certificate = ["a.crt", "b.crt"]
key = ["a.key", "b.key"]
client_ca = "ca"
use_identity_as_username = true
max_fragment_size = 512
alpn = "mqtt"

[[listener]]
address = "127.0.0.1:1883"
"#;
    let variables = [("CULEX__LISTENER__0__TLS__MIN_VERSION", "1.3"), ("CULEX__LISTENER__0__TLS__CRL", "r")];
    let config = load_with(text, &variables).unwrap();
    let expected = TlsSettings {
        certificates: vec!["a.crt".into(), "b.crt".into()],
        keys: vec!["a.key".into(), "b.key".into()],
        min_version: TlsVersion::V1_3,
        alpn: vec!["mqtt".to_owned()],
        max_fragment_size: 512,
        client_ca: Some("ca".into()),
        crl: vec!["r".into()],
        use_identity_as_username: Some(true),
        ..TlsSettings::default()
    };
    assert_eq!(config.listeners[0].tls.as_ref(), Some(&expected));
    assert_eq!(config.listeners[1].tls, None);
}

#[test]
fn what_does_not_fit_together_in_tls_is_named() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:1\"\n";
    for (tls, expected) in [
        ("tls = 1\n", "3:1: `tls` is written [listener.tls]"),
        (
            "[listener.tls]\n",
            "3:11: this [listener.tls] has no `certificate` | name the PEM files of a certificate and its key: \
             `certificate = \"server.crt\"`, `key = \"server.key\"`",
        ),
        (
            "tls = { certificate = \"a\" }",
            "3:1: certificate names 1 files, and key 0 | each certificate has its key, in the same order",
        ),
        (
            "tls = { certificate = \"a\", key = \"b\", crl = \"c\" }",
            "3:1: crl needs the CA of the clients | name it: `client_ca = \"clients-ca.crt\"`",
        ),
        (
            "tls = { certificate = \"a\", key = \"b\", client_ca = \"c\", use_subject_as_username = true, \
             require_certificate = false }",
            "3:1: a user name from certificates needs a certificate of every client | leave `require_certificate = false` \
             out",
        ),
        (
            "tls = { certificate = \"a\", key = \"b\", min_version = \"1.1\" }",
            "3:53: min_version: expected \"1.2\" or \"1.3\", found \"1.1\" | did you mean \"1.2\"?",
        ),
        (
            "tls = { certificate = \"a\", key = \"b\", max_fragment_size = 511 }",
            "3:59: max_fragment_size: 511 is out of range (512 … 16 KiB)",
        ),
    ] {
        check(&format!("{listener}{tls}"), &[expected]);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_accepted() {
    let text = "\u{feff}threads = 2\r\n\r\n[limits]\r\nin_flight = 7\r\n";
    assert_eq!(load(text).unwrap().limits.in_flight, 7);
    // Positions count as in a file without them.
    check(
        "\u{feff}thread = 2\r\n[limits]\r\nin_fligth = 7\r\n",
        &[
            "1:1: unknown key `thread` at the top of the file | did you mean `threads`?",
            "3:1: unknown key `in_fligth` in [limits] | did you mean `in_flight`?",
        ],
    );
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_the_file() {
    let text = r#"
threads = "many"
colour = 1
[limits]
connections = 0
in_flight = 65536
queue_bytes = "5 parsecs"
adress = 1
connect_timeout = 10
when_full = "drop-oldst"
topic_levels = [1]
packet_bytes = "unlimited"

[[listener]]
adress = "127.0.0.1:1883"
"#;
    check(
        text,
        &[
            "2:11: threads: expected number or \"auto\", found \"many\"",
            "3:1: unknown key `colour` at the top of the file",
            "5:15: connections: a limit cannot be 0 | write a positive number, or \"unlimited\" if there shall be no limit",
            "6:13: in_flight: 65536 is out of range (1 … 65,535)",
            "7:15: queue_bytes: expected a size or \"unlimited\", found \"5 parsecs\" | a number of bytes, or text such as \"64KiB\" or \"16MiB\"",
            "8:1: unknown key `adress` in [limits] | did you mean `address` under [[listener]]?",
            "9:19: connect_timeout: expected duration, found 10 | text with a unit: \"500ms\", \"10s\", \"2m\"",
            "10:13: when_full: expected \"drop-newest\" or \"drop-oldest\", found \"drop-oldst\" | did you mean \"drop-oldest\"?",
            "11:16: topic_levels: expected a positive number or \"unlimited\", found a list",
            "12:16: packet_bytes: expected size, found \"unlimited\" | this limit is always a number (1 … 268,435,455)",
            "15:1: unknown key `adress` in [[listener]] | did you mean `address`?",
        ],
    );
}

#[test]
fn no_client_makes_publishers_wait() {
    let expected = "2:13: when_full: expected \"drop-newest\" or \"drop-oldest\", found \"block\" | only the queue of a bridge \
                    or a webhook can make publishers wait: [bridge.queue], [webhook.queue]";
    check("[limits]\nwhen_full = \"block\"\n", &[expected]);
}

#[test]
fn keys_in_the_wrong_place_are_sent_home() {
    check(
        "in_flight = 3",
        &["1:1: unknown key `in_flight` at the top of the file | it belongs under [limits]"],
    );
    check(
        "[[listener]]\naddress = \"127.0.0.1:1\"\nthreads = 2",
        &[
            "3:1: unknown key `threads` in [[listener]] | it belongs at the top of the file, before the first [section]",
        ],
    );
    check("limit = 1", &["1:1: unknown key `limit` at the top of the file | did you mean `limits`?"]);
    check("limits = 1", &["1:1: `limits` is written [limits]"]);
    check("[listener]\naddress = \"127.0.0.1:1\"", &["1:2: `listener` is written [[listener]]"]);
    check("[[log]]\nlevel = \"info\"", &["1:3: `log` is written [log]"]);
}

#[test]
fn a_syntax_error_is_reported_alone() {
    check("threads = 0\nlevel = = 3\ncolour = 1", &["2:9: extra `=`, expected nothing"]);
    assert_eq!(complaints("[limits]\nin_flight = 1\nin_flight = 2").len(), 1);
}

#[test]
fn columns_count_characters() {
    check(
        "threads = \"ü\" # \n[log]\n\"löl\" = 1",
        &["1:11: threads: expected number or \"auto\", found \"ü\"", "3:1: unknown key `löl` in [log]"],
    );
}

#[test]
fn an_access_control_list_may_be_in_the_file_itself() {
    let text = r#"
[acl]
subscribe = "mosquitto"
[[acl.rule]]
user = "ann"
topic = "a/#"
access = "read"
[[acl.rule]]
anonymous = true
topic = "b"
[[acl.rule]]
pattern = "c/%u/%c"
access = "deny"
"#;
    let config = load(text).unwrap();
    let rules: Vec<_> = config.acl.rules.iter().map(|r| (&r.whose, r.access, &*r.topic, r.line)).collect();
    assert_eq!(
        rules,
        [
            (&Whose::User("ann".into()), Access::Read, "a/#", 4),
            (&Whose::Anonymous, Access::ReadWrite, "b", 8),
            (&Whose::Everybody, Access::Deny, "c/%u/%c", 11),
        ]
    );
    assert_eq!(load(&config.to_toml()).unwrap(), config);
    let unclear = "1:1: it is not clear whom this rule concerns, and with which topic | a rule has `user` and `topic`, or \
                   `anonymous = true` and `topic`, or `pattern` alone, which is for everybody";
    for (text, expected) in [
        ("[[acl.rule]]\n", unclear),
        ("[[acl.rule]]\nuser = \"ann\"", unclear),
        ("[[acl.rule]]\ntopic = \"a\"", unclear),
        ("[[acl.rule]]\nanonymous = true\npattern = \"a\"", unclear),
        ("[[acl.rule]]\nuser = \"ann\"\ntopic = \"a\"\npattern = \"a\"", unclear),
        (
            "[[acl.rule]]\nuser = \"ann\"\ntopic = \"a/%u\"",
            "1:1: `a/%u`: %u and %c mean something in a `pattern` only; make the rule one, or name the topic",
        ),
        ("[[acl.rule]]\nuser = \"\"\ntopic = \"a\"", "2:8: user: expected text, found \"\""),
        (
            "[acl]\nrule = []",
            "2:1: an empty list of rules, so nobody could do anything | to say just that, write a rule with `pattern = \"#\"` \
             and `access = \"deny\"`",
        ),
        ("[acl]\nrule = 3", "2:1: `rule` is written [[acl.rule]]"),
        (
            "[acl]\nfile = \"a\"\n[[acl.rule]]\npattern = \"#\"",
            "3:7: there are both [[acl.rule]] and `file`, and one list decides | remove one of the two",
        ),
    ] {
        check(text, &[expected]);
    }
    assert!(complaints("[[acl.rule]]\npattern = \"a/#/b\"")[0].contains("`a/#/b` is not a topic filter"));
}

#[test]
fn an_open_listener_must_be_wanted() {
    let open = "[[listener]]\naddress = \"0.0.0.0:1883\"\n";
    check(
        open,
        &["2:11: other computers can reach 0.0.0.0:1883, and nobody is asked for a password | \
         add users (`password_file` under [auth]; `culex passwd -c FILE USER` makes the file), or \
         `allow_anonymous = true` to this [[listener]] if everybody may, or listen on 127.0.0.1"],
    );
    check(&format!("{open}allow_anonymous = true"), &[]);
    check(
        "[[listener]]\naddress = \"[::]:1883\"\nallow_anonymous = false",
        &["3:19: allow_anonymous = false needs users, and there are none | \
         add `password_file = \"FILE\"` under [auth]; `culex passwd -c FILE USER` makes the file"],
    );
    let users = "[auth]\npassword_file = \"users\"\n";
    for choice in ["", "allow_anonymous = false", "allow_anonymous = true"] {
        let config = load(&format!("{open}{choice}\n{users}")).unwrap();
        assert_eq!(config.auth.password_file.as_deref(), Some(Path::new("users")));
        assert_eq!(config.listeners[0].admits_anonymous(true), choice.ends_with("true"), "{choice}");
    }
    check(
        "[auth]\npasword_file = \"users\"",
        &["2:1: unknown key `pasword_file` in [auth] | did you mean `password_file`?"],
    );
    // One listener's consent is not another's.
    let two = format!("{open}allow_anonymous = true\n[[listener]]\naddress = \"192.0.2.1:1883\"\n");
    assert_eq!(complaints(&two).len(), 1);
}

#[test]
fn a_listener_needs_an_address() {
    check(
        "[[listener]]\nallow_anonymous = true",
        &["1:1: this [[listener]] has no `address` | add a line such as `address = \"127.0.0.1:1883\"`"],
    );
}

#[test]
fn one_address_is_listened_on_once() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:1883\"\n";
    check(&listener.repeat(2), &["4:11: an earlier listener has 127.0.0.1:1883 already"]);
    check(&"[[listener]]\naddress = \"127.0.0.1:0\"\n".repeat(2), &[]);
}

#[test]
fn listeners_of_the_environment_are_in_the_order_of_their_numbers() {
    let ports = 1..=12_u16;
    let variables: Vec<_> = ports
        .clone()
        .map(|port| (format!("CULEX__LISTENER__{}__ADDRESS", port - 1), format!("127.0.0.1:{port}")))
        .collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = load_with("", &variables).unwrap();
    let found: Vec<_> =
        config.listeners.iter().map(|listener| listener.address.ip().unwrap().port()).collect();
    assert_eq!(found, ports.collect::<Vec<_>>());
}

#[test]
fn environment_variables_override() {
    let variables = [
        ("CULEX__LIMITS__IN_FLIGHT", "20"),
        ("CULEX__LIMITS__QUEUE_BYTES", "1MiB"),
        ("CULEX__THREADS", "2"),
        ("CULEX__LOG__LEVEL", "warn"),
        ("CULEX__LISTENER__0__ADDRESS", "0.0.0.0:7"),
        ("CULEX__LISTENER__0__ALLOW_ANONYMOUS", "true"),
        ("CULEX_OTHER", "x"),
    ];
    for text in ["", "[limits]\nin_flight = 3\n[[listener]]\naddress = \"127.0.0.1:1883\""] {
        let config = load_with(text, &variables).unwrap();
        assert_eq!((config.limits.in_flight, config.limits.queue_bytes.get()), (20, 1 << 20));
        assert_eq!(config.log.level, LogLevel::Warn);
        assert_eq!(config.threads, Threads::Exactly(NonZeroUsize::new(2).unwrap()));
        let expected = Listener {
            address: "0.0.0.0:7".parse::<SocketAddr>().unwrap().into(),
            allow_anonymous: Some(true),
            ..Listener::default()
        };
        assert_eq!(config.listeners, [expected]);
    }
}

#[test]
fn what_does_not_fit_together_in_a_listener_is_named() {
    for (more, expected) in [
        ("websocket_path = \"/mqtt\"", "are for WebSocket, which this [[listener]] does not speak"),
        ("protocol = \"websockets\"\nwebsocket_path = \"mqtt\"", "does not begin with /"),
        ("protocol = \"websockets\"\nwebsocket_origins = \"https://a.example/\"", "is no origin"),
        ("protocol = \"websockets\"\nwebsocket_origins = \"a.example\"", "is no origin"),
    ] {
        let error = load(&format!("[[listener]]\naddress = \"127.0.0.1:1883\"\n{more}\n")).unwrap_err();
        assert!(error.problems()[0].message.contains(expected), "{error:?}");
    }
    for more in ["bind_device = \"lo\"", "proxy_protocol = \"10.0.0.0/8\""] {
        let error = load(&format!("[[listener]]\naddress = \"unix:/run/m.sock\"\n{more}\n")).unwrap_err();
        assert!(error.problems()[0].message.ends_with("means nothing for a Unix socket"), "{error:?}");
    }
    // Nobody else can reach a Unix socket.
    load("[[listener]]\naddress = \"unix:/run/m.sock\"\n").unwrap();
    let open = "[[listener]]\naddress = \"0.0.0.0:9001\"\nprotocol = \"websockets\"\n";
    assert!(load(open).is_err(), "a web page can reach it too");
}

#[test]
fn wrong_environment_variables_are_named() {
    for (name, value, expected) in [
        ("CULEX__LIMITS__IN_FLIGHT", "0", "0\" is out of range (1 … 65,535)"),
        ("CULEX__LIMITS__IN_FLIHT", "1", "did you mean `in_flight`?"),
        ("CULEX__LIMIT__IN_FLIGHT", "1", "did you mean CULEX__LIMITS__…?"),
        ("CULEX__LIMITS", "1", "this is not the name of a setting"),
        ("CULEX__LISTENER__ADDRESS", "127.0.0.1:1", "CULEX__LISTENER__0__ADDRESS"),
        ("CULEX__LISTENER__1__ADDRESS", "127.0.0.1:1", "the next one has the number 0"),
        ("CULEX__LISTENER__0__ADDRESS", "0.0.0.0:1", "other computers can reach 0.0.0.0:1"),
        ("CULEX__", "1", "unknown key ``"),
    ] {
        let found = complaints_with("", &[(name, value)]).join("\n");
        assert!(found.starts_with(&format!("environment variable {name}: ")), "{found}");
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn references_in_text_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("port.txt"), "127.0.0.1:99\r\n").unwrap();
    let file = folder.path().join("culex.toml");
    std::fs::write(&file, "[[listener]]\naddress = \"${file:port.txt}\"\n[limits]\nin_flight = \"${env:N}\"")
        .unwrap();
    let config = Config::load(Some(&file), &Environment::of([("N", "9")])).unwrap();
    assert_eq!(config.listeners[0].address.ip().unwrap().port(), 99);
    assert_eq!(config.limits.in_flight, 9);
    check("[log]\nlevel = \"${env:NONE}\"", &["2:9: level: environment variable NONE is not set"]);
    check(
        "[log]\nlevel = \"${env:NONE\"",
        &["2:9: level: `${` without `}` | for the characters themselves write `$${`"],
    );
    let missing = complaints("[log]\nlevel = \"${file:no/such/file}\"");
    assert!(
        missing[0].contains("no/such/file: cannot read this file: no such file or directory"),
        "{missing:?}"
    );
    let environment = Environment::of([("A", "x")]);
    assert_eq!(environment.expand("$${env:A} ${env:A}$$ $", Path::new("")).unwrap(), "${env:A} x$$ $");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("culex.toml");
    let problem = || Config::load(Some(&file), &Environment::default()).unwrap_err().to_string();
    assert!(
        problem().contains("culex.toml: cannot read this file: no such file or directory"),
        "{}",
        problem()
    );
    std::fs::write(&file, b"\xff\xfet\0").unwrap();
    assert!(problem().contains("UTF-16"), "{}", problem());
    std::fs::write(&file, b"a = 1\nb = '\xff'").unwrap();
    assert!(problem().contains("line 2 is not UTF-8"), "{}", problem());
    std::fs::write(&file, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(problem().contains("larger than 1 MiB"), "{}", problem());
}

#[test]
fn names_of_keys_are_unique() {
    let mut names: Vec<_> = TOP.iter().map(|key| key.name).collect();
    names.extend(LISTENER.iter().map(|key| key.name));
    names.extend(AUTH.iter().map(|key| key.name));
    names.extend(TLS.iter().map(|key| key.name));
    names.extend(LOG.iter().map(|key| key.name));
    names.extend(ACL.iter().map(|key| key.name));
    // A `user` there is a client's, and one at the top of the file is the system's.
    names.extend(ACL_RULE.iter().map(|key| key.name).filter(|name| *name != "user"));
    names.extend(STORE.iter().map(|key| key.name));
    names.extend(LIMITS.iter().map(|key| key.name));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Every field of `Limits` has its key: the fields are counted in what `Debug` prints.
#[test]
fn every_limit_has_a_key() {
    let shown = format!("{:#?}", Limits::default());
    let fields: Vec<_> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' '))?.split_once(": "))
        .map(|(name, _)| name)
        // Who cannot set a hook needs no time for it.
        .filter(|name| *name != "hook_timeout")
        .collect();
    let keys: Vec<_> = LIMITS.iter().map(|key| key.name).collect();
    assert_eq!(keys, fields);
}

/// The reference page is what the table says. `culex config reference > docs/configuration.md` writes it anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let Ok(written) = std::fs::read_to_string(&file) else {
        // A packaged crate has no docs folder beside it.
        println!("skipped: there is no {}", file.display());
        return;
    };
    assert!(
        written == reference::page(),
        "docs/configuration.md is out of date; write it anew with\n  \
         cargo run -p culex -- config reference > docs/configuration.md"
    );
}

/// The same for that about mosquitto's options. `culex config mosquitto > docs/mosquitto.md` writes it anew.
#[test]
fn the_page_about_mosquitto_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mosquitto.md");
    let Ok(written) = std::fs::read_to_string(&file) else {
        println!("skipped: there is no {}", file.display());
        return;
    };
    assert!(
        written == reference::mosquitto_page(),
        "docs/mosquitto.md is out of date; write it anew with\n  \
         cargo run -p culex -- config mosquitto > docs/mosquitto.md"
    );
}

#[test]
fn the_example_of_the_reference_page_is_correct() {
    let page = reference::page();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = load(example).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.limits.queue_bytes.get(), 4 << 20);
}

/// Values that a user may write after `key =`: numbers at every border, texts, and nonsense.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["0", "1", "-1", "65535", "65536", "268435455", "268435456", "4294967296"])
            .prop_map(str::to_owned),
        any::<i128>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|x| format!("{x:?}")),
        prop::sample::select(vec![
            "\"unlimited\"",
            "\"0\"",
            "\"64KiB\"",
            "\"0s\"",
            "\"10s\"",
            "true",
            "[]",
            "{}"
        ])
        .prop_map(str::to_owned),
        "[0-9]{0,25}[a-zA-Z]{0,4}".prop_map(|text| format!("{text:?}")),
        ".*",
    ]
}

proptest! {
    #[test]
    fn no_value_of_a_limit_is_taken_wrongly_or_panics(key in 0..LIMITS.len(), value in any_value()) {
        let text = format!("[limits]\n{} = {value}\n", LIMITS[key].name);
        match load(&text) {
            Err(error) => prop_assert!(!error.problems().is_empty()),
            Ok(config) => {
                let l = &config.limits;
                let bounds = [l.packet_bytes, l.pre_auth_bytes, l.in_flight.into(), l.topic_bytes.into()];
                prop_assert!(bounds.iter().all(|n| (1..=268_435_455).contains(n)));
                prop_assert!(l.connections.get() > 0 && l.incoming_in_flight > 0);
                let timeout = l.connect_timeout;
                prop_assert!(timeout >= Duration::from_secs(1) && timeout <= Duration::from_secs(30));
            }
        }
    }

    #[test]
    fn no_text_panics(text in "(?s).{0,200}", value in any_value()) {
        let _ = load(&text);
        let _ = load_with("", &[("CULEX__THREADS", &value), ("CULEX__LISTENER__0__ADDRESS", &text)]);
        let _ = load(&format!("[[listener]]\naddress = {value}\n[log]\nlevel = {value}"));
    }
}

#[test]
fn a_listener_may_have_limits_and_a_mount_point_of_its_own() {
    // Whatever stands first in the file.
    let text = r#"
[[listener]]
address = "127.0.0.1:1"
mount_point = "house/"
[listener.limits]
packet_bytes = "1KiB"
max_keep_alive = 60

[[listener]]
address = "127.0.0.1:2"

[limits]
packet_bytes = "1MiB"
in_flight = 7
"#;
    let variables =
        [("CULEX__LISTENER__0__LIMITS__QUEUE_MESSAGES", "5"), ("CULEX__LIMITS__TOPIC_LEVELS", "9")];
    let config = load_with(text, &variables).unwrap();
    let all = Limits {
        packet_bytes: 1 << 20,
        in_flight: 7,
        topic_levels: Limit::at_most(9).unwrap(),
        ..Limits::default()
    };
    let own = Limits {
        packet_bytes: 1 << 10,
        max_keep_alive: Limit::at_most(60).unwrap(),
        queue_messages: Limit::at_most(5).unwrap(),
        ..all.clone()
    };
    assert_eq!(config.limits, all);
    assert_eq!(config.listeners[0].limits, Some(own));
    assert_eq!(config.listeners[0].mount_point.as_ref().map(culex_core::MountPoint::as_str), Some("house/"));
    assert_eq!((&config.listeners[1].limits, &config.listeners[1].mount_point), (&None, &None));
    assert_eq!(load(&config.to_toml()).unwrap(), config);
    let mut new = config.clone();
    new.listeners[0].limits = None;
    new.listeners[1].mount_point = culex_core::MountPoint::new("yard/").ok();
    let changes: Vec<_> = config
        .changes(&new, Follows { listeners: true, users: false })
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "listener.limits.packet_bytes: \"1KiB\" -> \"1MiB\" (for new connections)",
        "listener.limits.queue_messages: 5 -> 10_000 (for new connections)",
        "listener.limits.max_keep_alive: 60 -> \"unlimited\" (for new connections)",
        "listener.mount_point: none -> \"yard/\" (for new connections)",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn mistakes_in_what_a_listener_has_of_its_own_are_named() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:1\"\n";
    for (text, expected) in [
        ("limits = 1\n", "3:1: `limits` is written [listener.limits]"),
        (
            "[listener.limits]\nsessions = 1\n",
            "4:1: unknown key `sessions` in [listener.limits] | it belongs under [limits]",
        ),
        (
            "[listener.limits]\nin_flight = 0\n",
            "4:13: in_flight: 0 is out of range (1 … 65,535) | 0 is no limit's value; leave the key out for the default",
        ),
        (
            "mount_point = \"house\"\n",
            "3:15: mount_point: \"house\": a mount point ends with `/`; otherwise `a` would hold what is in `ab` | write \
             whole levels, such as `mount_point = \"house/\"`",
        ),
        (
            "mount_point = \"+/\"\n",
            "3:15: mount_point: \"+/\": not the beginning of a topic: wildcard at byte 0 of a topic name | write whole levels, such \
             as `mount_point = \"house/\"`",
        ),
    ] {
        check(&format!("{listener}{text}"), &[expected]);
    }
}

#[test]
fn limits_that_a_listener_can_have_are_limits() {
    for name in own_limits::NAMES {
        assert!(LIMITS.iter().any(|key| key.name == *name), "{name}");
    }
}
