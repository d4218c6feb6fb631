//! mosquitto's configurations, what becomes of them, and what is said about them.

mod bridge;

use std::path::Path;
use std::time::Duration;

use culex_core::limits::Limit;
use proptest::prelude::*;

use super::options::{GROUPS, Meaning, all};
use super::*;
use crate::config::{Config, ConfigError, Environment, Format, LogLevel, Protocol, StoreMode, TlsVersion};

fn load(text: &str) -> Result<(Config, Vec<Note>), ConfigError> {
    load_on(text, true)
}

fn load_on(text: &str, has_ipv6: bool) -> Result<(Config, Vec<Note>), ConfigError> {
    let machine = || Machine::with_ipv6(has_ipv6);
    Config::from_source(&Source::of("m.conf", text), &Environment::default(), machine)
}

#[track_caller]
fn config(text: &str) -> Config {
    match load(text) {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

/// What is said about `text`: one line a problem, help after ` | `.
fn complaints(text: &str) -> Vec<String> {
    let Err(error) = load(text) else { return Vec::new() };
    assert_eq!(error.format(), Format::Mosquitto, "{error}");
    error.problems().iter().map(|p| p.to_string().replace("\n  help: ", " | ")).collect()
}

fn notes(text: &str) -> Vec<String> {
    load(text).unwrap().1.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(complaints(text), expected, "\n{text}");
}

fn addresses(text: &str) -> Vec<String> {
    config(text).listeners.iter().map(|listener| listener.address.to_string()).collect()
}

#[test]
fn without_a_listener_only_this_computer_can_connect() {
    for text in ["# nothing\n", "log_type all\n", "port_ 1\n# \n"] {
        let Ok((config, _)) = load(text) else { continue };
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:1883");
        assert!(config.listeners[0].admits_anonymous(config.auth.password_file.is_some()), "{text}");
        assert_eq!(config.store.durability, StoreMode::None);
    }
    assert!(config("password_file p\n").listeners[0].admits_anonymous(true));
    assert!(!config("password_file p\nallow_anonymous false\n").listeners[0].admits_anonymous(true));
}

#[test]
fn a_listener_without_an_address_is_for_every_network() {
    let text = "listener 1883\nallow_anonymous true\n";
    assert_eq!(addresses(text), ["0.0.0.0:1883", "[::]:1883"]);
    let (config, notes) = load_on(text, false).unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        notes[0].to_string(),
        "m.conf:1:1: this computer has no IPv6, so this listener is for IPv4 alone"
    );
    assert_eq!(addresses("listener 7\nsocket_domain ipv4\nallow_anonymous true"), ["0.0.0.0:7"]);
    assert_eq!(addresses("listener 7\nsocket_domain ipv6\nallow_anonymous true"), ["[::]:7"]);
    assert_eq!(addresses("listener 7 192.0.2.1\nallow_anonymous true"), ["192.0.2.1:7"]);
    assert_eq!(addresses("listener 7 ::1 # here\nallow_anonymous true"), ["[::1]:7"]);
    assert_eq!(addresses("listener 7 localhost\nallow_anonymous true"), ["127.0.0.1:7", "[::1]:7"]);
    check(
        "listener 7 ::1\nsocket_domain ipv4\nallow_anonymous true",
        &["m.conf:1:1: `::1` has no address of this socket_domain"],
    );
}

#[test]
fn port_and_bind_address_are_one_listener() {
    let text = "port 7\nport 8\nallow_anonymous true\nlistener 9 127.0.0.1\nbind_address 127.0.0.1\n";
    assert_eq!(addresses(text), ["127.0.0.1:8", "127.0.0.1:9"]);
    assert_eq!(notes(text), ["m.conf:2:1: `port` is said again; the last one counts"]);
    assert_eq!(addresses("bind_address 127.0.0.1\nallow_anonymous true"), ["127.0.0.1:1883"]);
}

#[test]
fn a_listener_that_refuses_everybody_does_not_start() {
    let expected = "m.conf:1:1: nobody can connect to this listener: there is no `password_file`, and without `allow_anonymous \
                    true` clients without a user name are refused | add `password_file FILE` (`culex passwd -c FILE USER` \
                    makes the file), or `allow_anonymous true` if everybody may";
    check("listener 1883\n", &[expected]);
    check("listener 1883 127.0.0.1\nallow_anonymous false\n", &[expected]);
    check("port 1883\n", &[expected]);
    for text in ["listener 1883\npassword_file p\n", "listener 1883\nallow_anonymous true\n"] {
        let config = config(text);
        let is_open = text.contains("true");
        assert!(config.listeners.iter().all(|listener| listener.admits_anonymous(true) == is_open), "{text}");
    }
}

#[test]
fn limits_log_and_store_are_taken() {
    let text = "max_inflight_messages 0\nmax_queued_messages 100\nmax_queued_bytes 0\nmax_packet_size 65536\n\
                log_type warning\nlog_type information\npersistence true\npersistence_location /srv/a b/\n";
    let config = config(text);
    assert_eq!(config.limits.in_flight, u16::MAX);
    assert_eq!(config.limits.queue_messages, Limit::at_most(100 + 65_535).unwrap());
    assert_eq!(config.limits.queue_bytes, Limit::Unlimited);
    assert_eq!(config.limits.packet_bytes, 65_536);
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.store.directory.as_deref(), Some(Path::new("/srv/a b/")));
    assert_eq!(config.store.durability, StoreMode::Power);
    let config = self::config("persistent_client_expiration 2w # by then nobody comes back\n");
    assert_eq!(config.limits.session_expiry.get(), 14 * 24 * 3600);
    assert_eq!(self::config("sys_interval 0\n").sys_interval, Duration::ZERO);
    let config = self::config("user mosquitto\npid_file /run/a b.pid\n");
    assert_eq!(config.user.as_deref(), Some("mosquitto"));
    assert_eq!(config.pid_file.as_deref(), Some(Path::new("/run/a b.pid")));
    // In either order, and after `none` anew.
    let config = self::config("log_type all\nlog_type none\nlog_type warning\nmax_queued_messages -1\n");
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.limits.queue_messages, Limit::Unlimited);
}

#[test]
fn tls_is_of_the_listener_before_it() {
    let text = "allow_anonymous true\nlistener 1883 127.0.0.1\nlistener 8883 127.0.0.1\ncafile ca\ncertfile s.crt\nkeyfile s.key\n\
                require_certificate true\nuse_identity_as_username true\nuse_subject_as_username true\ncrlfile r\ntls_version \
                tlsv1.3\n";
    let config = config(text);
    assert_eq!(config.listeners[0].tls, None);
    let tls = config.listeners[1].tls.as_ref().unwrap();
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("ca")));
    assert_eq!(tls.crl, [Path::new("r")]);
    assert_eq!(tls.min_version, TlsVersion::V1_3);
    assert_eq!((tls.use_identity_as_username, tls.use_subject_as_username), (Some(true), None));
    let text = "port 8883\nallow_anonymous true\ncafile ca\ncertfile s.crt\nkeyfile s.key\n";
    let tls = self::config(text).listeners[0].tls.clone().unwrap();
    assert_eq!((tls.client_ca, tls.require_certificate), (None, None));
    assert!(notes(text)[0].contains("no client is asked for a certificate"), "{:?}", notes(text));
}

#[test]
fn what_does_not_fit_together_is_named_in_mosquittos_words() {
    let listener = "listener 7 127.0.0.1\nallow_anonymous true\n";
    for (text, expected) in [
        (
            "certfile a\n",
            "m.conf:3:1: TLS needs both `certfile` and `keyfile` | name the PEM files of the server's certificate and its key",
        ),
        (
            "certfile a\nkeyfile b\nrequire_certificate true\n",
            "m.conf:3:1: `require_certificate true` needs the CA of the clients | name it: `cafile FILE`",
        ),
        (
            "certfile a\nkeyfile b\nrequire_certificate true\ncafile c\ncapath d\n",
            "m.conf:3:1: `cafile` and `capath` together are not supported | put all CAs of clients into one file, or into one folder",
        ),
        (
            "certfile a\nkeyfile b\nuse_identity_as_username true\n",
            "m.conf:3:1: a user name from certificates needs a certificate of every client | add `require_certificate true`",
        ),
        (
            "persistence_location a\npersistence_location b\n",
            "m.conf:4:1: `persistence_location` is said twice | mosquitto takes it once; remove one of the lines",
        ),
        ("listener 7 127.0.0.1\n", "m.conf:3:1: an earlier listener has 127.0.0.1:7 already"),
        (
            "tls_version tlsv1.1\n",
            "m.conf:3:1: tls_version: expected `tlsv1.2` or `tlsv1.3`, found `tlsv1.1` | older versions are broken, and not spoken",
        ),
        ("max_packet_size 0\n", "m.conf:3:1: max_packet_size: 0 is out of range (20 … 268435455)"),
        (
            "max_queued_messages 10abc\n",
            "m.conf:3:1: max_queued_messages: expected a whole number, found `10abc`",
        ),
        ("persistence True\n", "m.conf:3:1: persistence: expected `true` or `false`, found `True`"),
        (
            "persistence\n",
            "m.conf:3:1: `persistence` has no value | between an option and its value is a space",
        ),
        ("log_typ all\n", "m.conf:3:1: unknown option `log_typ` | did you mean `log_type`?"),
        (
            " # x\n",
            "m.conf:3:2: unknown option `#` | a comment begins at the start of its line, as in mosquitto",
        ),
        (
            "\tlog_type all\n",
            "m.conf:3:1: unknown option `\\tlog_type` | between an option and its value is a space, and none but spaces before it",
        ),
        (
            "remote_password\tswordfish\n",
            "m.conf:3:1: unknown option `remote_password` | between an option and its value is a space, and none but spaces before it",
        ),
        (
            "listener x\n",
            "m.conf:3:1: listener: `x` is not a port | a port is a number from 1 to 65535: `listener 1883`",
        ),
        (
            "persistent_client_expiration 0d\n",
            "m.conf:3:1: persistent_client_expiration: `0d` is no time | write a number and h, d, w, m (30 days) or y: `14d`",
        ),
        ("listener 0\n", "m.conf:3:1: listener: 0 is not a port | write `listener 1883`"),
    ] {
        check(&format!("{listener}{text}"), &[expected]);
    }
}

#[test]
fn options_of_a_listener_need_one() {
    check(
        "certfile a\nkeyfile b\nlistener 8883 127.0.0.1\nallow_anonymous true\n",
        &[
            "m.conf:1:1: `certfile` belongs to a listener, and there is none before it | put it below its `listener PORT`",
        ],
    );
    check(
        "per_listener_settings true\npassword_file p\nlistener 8883 127.0.0.1\nallow_anonymous true\n",
        &[
            "m.conf:2:1: with `per_listener_settings true` this option belongs to a listener, and there is none before it | put \
           it below its `listener PORT`",
        ],
    );
    check(
        "password_file p\nper_listener_settings true\nlistener 1 127.0.0.1\nallow_anonymous true\n",
        &[
            "m.conf:2:1: `per_listener_settings` comes before all options of users and rights | move it to the top of the file",
        ],
    );
}

#[test]
fn what_is_off_wants_no_tls() {
    let text = "require_certificate false\nlistener 7 127.0.0.1\nallow_anonymous true\nuse_identity_as_username false\n";
    assert_eq!(config(text).listeners[0].tls, None);
}

#[test]
fn settings_of_a_listener_stay_with_it() {
    let text = "per_listener_settings true\nlistener 1 127.0.0.1\nallow_anonymous true\nlistener 2 127.0.0.1\npassword_file p\n";
    let config = config(text);
    assert_eq!(
        config.listeners.iter().map(|l| l.allow_anonymous).collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
    assert_eq!(config.auth.password_file.as_deref(), Some(Path::new("p")));
    assert_eq!(
        notes(text),
        ["m.conf:5:1: p is for all listeners: also on port 1 who says a user name must know its password"]
    );
    check(
        &format!("{text}listener 3 127.0.0.1\npassword_file q\nacl_file a\n"),
        &[
            "m.conf:7:1: `password_file q` is not supported: an earlier listener has another one, and there is one for all | \
             put both into one file, or run a broker for each",
            "m.conf:8:1: not every listener has this `acl_file` (port 1 has none), and there is one for all | give every \
             listener the same `acl_file`",
        ],
    );
}

#[test]
fn files_are_included_in_mosquittos_order() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("conf.d");
    std::fs::create_dir(&inside).unwrap();
    // The example of mosquitto.conf(5).
    for (n, name) in ["b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf"].iter().enumerate() {
        std::fs::write(inside.join(name), format!("listener {} 127.0.0.1\n", 100 + n)).unwrap();
    }
    std::fs::write(inside.join("x.conf.bak"), "nonsense").unwrap();
    std::fs::write(inside.join(".conf"), "nonsense").unwrap();
    let main = folder.path().join("m.conf");
    let text = format!("listener 99 127.0.0.1\ninclude_dir {}\nallow_anonymous true\n", inside.display());
    std::fs::write(&main, &text).unwrap();
    let config = Config::load(Some(&main), &Environment::default()).unwrap();
    let ports: Vec<_> =
        config.listeners.iter().map(|listener| listener.address.ip().unwrap().port()).collect();
    assert_eq!(ports, [99, 105, 102, 101, 103, 104, 100]);
    // A mistake in one has its name, and one in the main file comes after it if it does.
    std::fs::write(inside.join("a.conf"), "\nmax_conections 3\ninclude_dir x\n").unwrap();
    std::fs::write(&main, text.clone() + "persistence yes\n").unwrap();
    let error = Config::load(Some(&main), &Environment::default()).unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| problem.place.to_string()).collect();
    let included = inside.join("a.conf");
    assert_eq!(
        places,
        [
            format!("{}:2:1", included.display()),
            format!("{}:3:1", included.display()),
            format!("{}:4:1", main.display())
        ]
    );
    std::fs::write(&main, "include_dir /no/such\n").unwrap();
    let error = Config::load(Some(&main), &Environment::default()).unwrap_err().to_string();
    assert!(
        error.contains("m.conf:1:1: cannot read the folder /no/such: no such file or directory"),
        "{error}"
    );
}

#[test]
fn the_content_says_which_format_it_is() {
    let format = |name: &str, text: &str| {
        let machine = || Machine::with_ipv6(true);
        match Config::from_source(&Source::of(name, text), &Environment::default(), machine) {
            Ok(_) => "taken".to_owned(),
            Err(error) => format!("{:?}: {}", error.format(), error.problems()[0].message),
        }
    };
    for (name, text, expected) in [
        ("culex.conf", "threads = 2\n", "taken"),
        ("m.toml", "port 1\n", "Toml: key with no value, expected `=`"),
        ("m", "port\n", "Mosquitto: `port` has no value"),
        ("m", "threads = = 2\n", "Toml: extra `=`, expected nothing"),
        ("m", "[limits]\nport 1\nx = 2\n", "Toml: key with no value, expected `=`"),
        ("m", "lisstener 1\nlog_dest none\n", "Mosquitto: unknown option `lisstener`"),
        (
            "m",
            "# x\nlisstener 1\n",
            "Toml: this is neither TOML (key with no value, expected `=`) nor a file of mosquitto (unknown option `lisstener`)",
        ),
    ] {
        assert_eq!(format(name, text), expected, "{name} {text:?}");
    }
}

/// All options of mosquitto.conf(5) of 2.0.
#[test]
fn every_option_of_the_manual_is_in_the_table() {
    let names: Vec<_> = include_str!("manual.txt").split_whitespace().collect();
    assert!(names.len() > 105);
    for name in names {
        assert!(options::find(name).is_some(), "{name} is missing");
    }
    let mut names: Vec<_> = all().map(|option| option.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

const LISTENER: &str = "listener 7 127.0.0.1\nallow_anonymous true\n";

/// Each option with each kind of value: it is taken, noted or refused, and what is refused has a place and a reason.
#[test]
fn no_option_is_left_out_in_silence() {
    let values = [
        "",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "65535",
        "65536",
        "99999999999999999999",
        "x",
        "mqtt",
        "é \"\\",
        "# x",
    ];
    for option in all() {
        for value in values {
            let text = format!("{LISTENER}{} {value}\n", option.name);
            match load(&text) {
                Ok((config, notes)) => {
                    let is_noted = |note: &Note| note.place.to_string() == "m.conf:3:1";
                    let is_seen = config != self::config(LISTENER) || notes.iter().any(is_noted);
                    // What is the default anyway changes nothing.
                    let is_default = match &option.meaning {
                        Meaning::Only(words, _) => words.contains(&value),
                        Meaning::Switch(_) => ["true", "false", "0", "1"].contains(&value),
                        Meaning::Number(..) => ["-1", "0", "65535"].contains(&value),
                        Meaning::Words(_) => (option.name, value) == ("protocol", "mqtt"),
                        Meaning::Text(_) | Meaning::Ignored | Meaning::Refused(_) => false,
                    };
                    assert!(is_seen || is_default, "{text}");
                }
                Err(error) => {
                    for problem in error.problems() {
                        assert!(problem.place.to_string().starts_with("m.conf:"), "{text}\n{problem}");
                        assert!(problem.message.len() > 10, "{problem}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_page_has_every_option() {
    let page = page::page();
    for (title, options) in GROUPS {
        assert!(page.contains(&format!("\n## {title}\n")));
        for option in options {
            assert!(page.contains(&format!("\n| `{}` | ", option.name)), "{}", option.name);
        }
    }
}

#[test]
fn listeners_are_what_they_were() {
    let text = "allow_anonymous true\nlistener 9001 127.0.0.1\nprotocol websockets\nmax_connections 10\n\
                bind_interface lo\nlistener 0 /run/m.sock\nlistener 9002 127.0.0.1\n\
                websockets_origin https://a.example\nprotocol websockets\nmax_connections -1\n";
    let config = config(text);
    let [first, second, third] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((first.protocol, first.max_connections.get()), (Protocol::WebSockets, 10));
    assert_eq!(first.websocket_origins, ["*"]);
    assert_eq!(first.bind_device.as_deref(), Some("lo"));
    assert_eq!(second.address.to_string(), "unix:/run/m.sock");
    assert_eq!(third.websocket_origins, ["https://a.example"]);
    assert_eq!(third.max_connections, Limit::Unlimited);
}

fn line() -> impl Strategy<Value = String> {
    let number = || prop::sample::select(vec!["-1", "0", "1", "20", "1000", "65535"]);
    let switch = || prop::sample::select(vec!["true", "false", "1", "0"]);
    let path = || "[a-z${}\"\\\\ é/]{1,12}";
    prop_oneof![
        (
            prop::sample::select(vec![
                "max_queued_messages",
                "max_queued_bytes",
                "max_inflight_messages",
                "max_packet_size",
                "global_max_connections",
                "global_max_clients",
                "max_connections",
                "max_keepalive",
                "sys_interval",
            ]),
            number()
        )
            .prop_map(|(name, value)| format!("{name} {value}")),
        (
            prop::sample::select(vec![
                "persistence",
                "allow_anonymous",
                "require_certificate",
                "use_identity_as_username",
                "use_subject_as_username",
                "listener_allow_anonymous",
                "connection_messages",
            ]),
            switch()
        )
            .prop_map(|(name, value)| format!("{name} {value}")),
        (
            prop::sample::select(vec![
                "password_file",
                "acl_file",
                "persistence_location",
                "cafile",
                "certfile",
                "keyfile",
                "crlfile",
                "pid_file",
                "log_dest file",
            ]),
            path()
        )
            .prop_map(|(name, value)| format!("{name} {value}")),
        (1_u16.., prop::sample::select(vec!["", " 127.0.0.1", " ::1", " 0.0.0.0"]))
            .prop_map(|(port, host)| format!("listener {port}{host}")),
        prop::sample::select(vec![
            "connection cloud\naddress example.org\ntopic a/# both 1 x/ y/",
            "connection awsiot\naddress a.iot.eu-west-1.amazonaws.com:8883\ntopic a out 2\nclientid b\nbridge_cafile a\n\
             bridge_certfile b\nbridge_keyfile c",
            "topic b in 2 \"\" z/",
            "topic \"\" out 1 h t",
            "address ::1:1",
            "remote_username a\nremote_password \"${b",
            "restart_timeout 2 9",
            "try_private false",
            "notifications false",
            "queue_qos0_messages true",
            "bridge_alpn x",
            "bridge_outgoing_retain false",
            "log_type debug",
            "log_type error",
            "tls_version tlsv1.3",
            "socket_domain ipv4",
            "accept_protocol_versions 4",
            "persistent_client_expiration 2m",
            "accept_protocol_versions 3, 4,5",
            "allow_anonymous true",
        ])
        .prop_map(str::to_owned),
    ]
}

/// The first lines that are taken together.
fn taken(lines: &[String]) -> String {
    let mut text =
        String::from("log_type all\nallow_anonymous true\nlistener 1 127.0.0.1\ncertfile a\nkeyfile b\n");
    for line in lines {
        let longer = format!("{text}{line}\n");
        if load(&longer).is_ok() {
            text = longer;
        }
    }
    text
}

proptest! {
    /// The TOML that a file is translated to means the same.
    #[test]
    fn a_translation_is_the_same_configuration(lines in prop::collection::vec(line(), 0..20)) {
        let text = taken(&lines);
        let (config, _) = load(&text).unwrap();
        let toml = config.to_toml();
        let source = Source::of("culex.toml", &toml);
        let again = Config::from_source(&source, &Environment::default(), || Machine::with_ipv6(true));
        match again {
            Ok((again, notes)) => {
                prop_assert_eq!(again, config, "{}\n{}", text, toml);
                prop_assert!(notes.is_empty());
            }
            Err(error) => prop_assert!(false, "{}\n{}\n{}", error, text, toml),
        }
    }

    #[test]
    fn no_text_panics(text in "(?s).{0,200}", lines in prop::collection::vec(line(), 0..8)) {
        let _ = load(&text);
        let _ = load(&format!("{}\n{text}\n", lines.join("\n")));
    }
}
