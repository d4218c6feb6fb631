//! Every key with the values at its borders, one beyond them, and nonsense: taken as it was written, or refused with its
//! place and what would be right. Nothing in between.

use proptest::prelude::*;

use super::keys::{
    ACL, AUTH, BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, HTTP, LIMITS, LISTENER, LOG, MAPPING, STORE,
    TLS, TOP, WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS,
};
use super::rules::ACL_RULE;
use super::setting::{Key, Setting};
use super::source::Source;
use super::value::show_duration;
use super::*;

/// What is to become of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused,
    /// It is not this test that says so.
    Either,
}

/// Values of each kind, and what is to become of them.
fn values<T>(setting: &Setting<T>) -> Vec<(String, Fate)> {
    use Fate::{Refused, Taken};
    let text = |text: &str| format!("{text:?}");
    let mut values: Vec<(String, Fate)> = match setting {
        Setting::Limit { .. } => vec![
            ("0".to_owned(), Refused),
            ("1".to_owned(), Taken),
            (u64::MAX.to_string(), Taken),
            ("18446744073709551616".to_owned(), Refused),
            (text("unlimited"), Taken),
            (text("Unlimited"), Refused),
        ],
        Setting::Number { range, .. } => {
            let (least, most) = (*range.start(), *range.end());
            vec![
                ("0".to_owned(), if least == 0 { Taken } else { Refused }),
                (least.to_string(), Taken),
                (most.to_string(), Taken),
                ((i128::from(least) - 1).to_string(), Refused),
                ((u128::from(most) + 1).to_string(), Refused),
                (text("unlimited"), Refused),
            ]
        }
        Setting::Duration { range, .. } => {
            let (least, most) = (*range.start(), *range.end());
            let one = Duration::from_millis(1);
            vec![
                (text("0s"), if least.is_zero() { Taken } else { Refused }),
                (text(&show_duration(least)), Taken),
                (text(&show_duration(most)), Taken),
                (
                    text(&show_duration(least.saturating_sub(one))),
                    if least.is_zero() { Taken } else { Refused },
                ),
                (text(&show_duration(most + one)), Refused),
                ("10".to_owned(), Refused),
                (text("18446744073709551615h"), Refused),
            ]
        }
        Setting::Threads { .. } => vec![
            ("0".to_owned(), Refused),
            ("1".to_owned(), Taken),
            ("1024".to_owned(), Taken),
            ("1025".to_owned(), Refused),
            (text("auto"), Taken),
        ],
        Setting::Choice { words, .. } | Setting::Choices { words, .. } => {
            let mut values: Vec<_> = words.iter().map(|word| (text(word), Taken)).collect();
            values.push((text("nonsense"), Refused));
            values
        }
        Setting::Switch { .. } => {
            vec![
                ("true".to_owned(), Taken),
                ("false".to_owned(), Taken),
                (text("yes"), Refused),
                ("1".to_owned(), Refused),
            ]
        }
        Setting::Address { .. } => vec![
            (text("127.0.0.1:0"), Taken),
            (text("[::1]:65535"), Taken),
            (text("127.0.0.1:65536"), Refused),
            (text("127.0.0.1"), Refused),
            ("1883".to_owned(), Refused),
        ],
        Setting::Socket { .. } => vec![
            (text("127.0.0.1:0"), Taken),
            (text("[::1]:65535"), Taken),
            (text("unix:/run/culex/http.sock"), Refused),
            (text("127.0.0.1:65536"), Refused),
            (text("127.0.0.1"), Refused),
            ("9883".to_owned(), Refused),
        ],
        Setting::Ip { .. } => vec![
            (text("192.0.2.7"), Taken),
            (text("::1"), Taken),
            (text("0.0.0.0"), Refused),
            (text("224.0.0.1"), Refused),
            (text("192.0.2.7:0"), Refused),
            (text("localhost"), Refused),
            ("7".to_owned(), Refused),
        ],
        Setting::Mode { .. } => vec![
            (text("0"), Taken),
            (text("777"), Taken),
            (text("1000"), Refused),
            (text("8"), Refused),
            ("660".to_owned(), Refused),
        ],
        Setting::Networks { .. } => vec![
            (text("10.0.0.0/8"), Taken),
            ("[\"192.0.2.1/32\", \"2001:db8::/32\"]".to_owned(), Taken),
            (text("10.0.0.0/33"), Refused),
            ("10".to_owned(), Refused),
        ],
        Setting::MountPoint { .. } => vec![
            (text("a/"), Taken),
            (text("/"), Taken),
            (text("a"), Refused),
            (text("+/"), Refused),
            (text("#"), Refused),
            (text("$SYS/"), Refused),
            (text(&format!("{}/", "x".repeat(1023))), Taken),
            (text(&format!("{}/", "x".repeat(1024))), Refused),
            ("1".to_owned(), Refused),
        ],
        Setting::Remotes { .. } => vec![
            (text("example.org"), Taken),
            ("[\"example.org:1\", \"[::1]:65535\"]".to_owned(), Taken),
            (text("example.org:0"), Refused),
            (text("example.org:65536"), Refused),
            (text("a/b"), Refused),
        ],
        Setting::Path { .. } | Setting::Text { .. } | Setting::Word { .. } | Setting::Secret { .. } => {
            vec![(text("a"), Taken), ("1".to_owned(), Refused)]
        }
        Setting::Paths { .. } | Setting::Texts { .. } => {
            vec![(text("a"), Taken), ("[\"a\", \"b\"]".to_owned(), Taken), ("[1]".to_owned(), Refused)]
        }
    };
    let never =
        ["-1", "1.5", "nan", "1979-05-27", "[]", "[[]]", "{}", "\"\"", "\"5 parsecs\"", "\"\\u0000\""];
    values.extend(never.iter().map(|value| {
        let is_word = matches!(
            setting,
            Setting::Path { .. }
                | Setting::Text { .. }
                | Setting::Word { .. }
                | Setting::Secret { .. }
                | Setting::Paths { .. }
                | Setting::Texts { .. }
        );
        let is_text = value.len() > 2 && value.starts_with('"');
        ((*value).to_owned(), if is_word && is_text { Fate::Either } else { Refused })
    }));
    values
}

/// A section: what stands before its key, and what the configuration has of it.
struct Section<T: 'static> {
    before: &'static str,
    keys: &'static [Key<T>],
    of: fn(&Config) -> T,
}

const BRIDGED: &str = "[[bridge]]\nname = \"a\"\naddress = \"b\"\nuser = \"c\"\nreconnect_max = \"24h\"\nnotifications_local_only = true\n";
const HOOK: &str = "[[webhook]]\nname = \"a\"\nurl = \"https://b/\"\ntopics = \"c\"\ntimeout = \"300s\"\n";
const OUT: &str = "[[bridge.out]]\nfilter = \"d\"\n";
const LOCAL: &str = "[[listener]]\naddress = \"127.0.0.1:1\"\n";
const SECURED: &str = "[[listener]]\naddress = \"127.0.0.1:1\"\n[listener.tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_ca = \"c\"\n";

impl<T: Clone> Section<T> {
    /// The file with this value, and the line of the value.
    fn file(&self, key: &Key<T>, value: &str) -> (String, usize) {
        // A key stands once.
        let own = format!("{} = ", key.name);
        let before: Vec<_> = self.before.lines().filter(|line| !line.starts_with(&own)).collect();
        let before = if before.is_empty() { String::new() } else { before.join("\n") + "\n" };
        (format!("{before}{own}{value}\n"), before.lines().count() + 1)
    }

    fn check(&self, key: &Key<T>, value: &str, fate: Fate) {
        let (text, line) = self.file(key, value);
        let loaded = load(&text);
        let refusals: Vec<_> = match &loaded {
            Ok(_) => Vec::new(),
            Err(error) => {
                error.problems().iter().filter(|problem| is_about(problem, key.name, line)).collect()
            }
        };
        match fate {
            Fate::Taken => assert!(refusals.is_empty(), "{text}\n{refusals:?}"),
            Fate::Refused => {
                assert!(!refusals.is_empty(), "{text}\n{loaded:?}");
                for refusal in refusals {
                    let says = |part: &str| {
                        refusal.message.contains(part) || refusal.help.iter().any(|help| help.contains(part))
                    };
                    let right = ["expected ", "out of range (", "for example ", "write "];
                    assert!(right.iter().any(|part| says(part)), "it does not say what is right: {refusal}");
                }
            }
            Fate::Either => {}
        }
        // What was taken is what was written, to the last digit.
        if let Ok(config) = &loaded {
            let unsaid = || key.setting.value_text((self.of)(config));
            let taken = key.setting.written((self.of)(config)).unwrap_or_else(unsaid);
            assert_eq!(plain(&taken), plain(value), "{text}");
            assert_eq!(&load(&config.to_toml()).unwrap(), config, "{text}\n{}", config.to_toml());
        }
    }

    fn check_borders(&self) -> usize {
        let cases =
            self.keys.iter().flat_map(|key| values(&key.setting).into_iter().map(move |case| (key, case)));
        cases.map(|(key, (value, fate))| self.check(key, &value, fate)).count()
    }
}

/// A value without what may be written in several ways: a number, and a list of one.
fn plain(value: &str) -> String {
    let text = value.trim_matches(['[', ']', '"']);
    value::number(text, value::Unit::Bytes)
        .map(|number| number.to_string())
        .or_else(|| value::duration(text).map(|duration| format!("{duration:?}")))
        .unwrap_or_else(|| text.to_owned())
}

fn load(text: &str) -> Result<Config, ConfigError> {
    let machine = || mosquitto::Machine::with_ipv6(true);
    let loaded = Config::from_source(&Source::of("culex.toml", text), &Environment::default(), machine);
    loaded.map(|(config, _)| config)
}

fn is_about(problem: &Problem, name: &str, line: usize) -> bool {
    let at = |place: &Place| matches!(place, Place::Position { line: at, .. } if *at == line);
    at(&problem.place) && problem.message.starts_with(&format!("{name}: "))
}

const fn top() -> Section<Config> {
    Section { before: "", keys: TOP, of: Config::clone }
}

fn listener() -> Section<Listener> {
    Section { before: LOCAL, keys: LISTENER, of: |config| config.listeners[0].clone() }
}

fn tls() -> Section<TlsSettings> {
    Section { before: SECURED, keys: TLS, of: |config| config.listeners[0].tls.clone().unwrap_or_default() }
}

fn http() -> Section<HttpSettings> {
    Section {
        before: "[auth]\npassword_file = \"a\"\n[http]\n",
        keys: HTTP,
        of: |config| config.http.clone().unwrap_or_default(),
    }
}

fn limits() -> Section<Limits> {
    Section { before: "[limits]\n", keys: LIMITS, of: |config| config.limits.clone() }
}

#[test]
fn every_key_is_taken_within_its_borders_and_refused_beyond_them() {
    let mut cases = top().check_borders() + listener().check_borders() + tls().check_borders();
    cases += limits().check_borders() + http().check_borders();
    cases += Section { before: "[auth]\n", keys: AUTH, of: |config| config.auth.clone() }.check_borders();
    cases += Section { before: "[acl]\n", keys: ACL, of: |config| config.acl.clone() }.check_borders();
    cases += Section { before: "[log]\n", keys: LOG, of: |config| config.log }.check_borders();
    cases += Section { before: "[store]\n", keys: STORE, of: |config| config.store.clone() }.check_borders();
    cases += bridges() + webhooks();
    // A rule alone is none, so only what is refused for itself is looked at.
    let rule = Section { before: "[[acl.rule]]\n", keys: ACL_RULE, of: |_| rules::DraftRule::default() };
    for key in ACL_RULE {
        for (value, fate) in values(&key.setting).into_iter().filter(|(_, fate)| *fate == Fate::Refused) {
            rule.check(key, &value, fate);
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 700, "{cases}");
}

/// The keys of a bridge, each in a whole bridge: its other tables stand before it.
fn bridges() -> usize {
    fn of(config: &Config) -> Bridge {
        config.bridges[0].clone()
    }
    fn check<T: Clone>(title: &str, keys: &'static [Key<T>], of: fn(&Config) -> T) -> usize {
        let before = format!("{BRIDGED}{OUT}{title}\n");
        Section { before: before.leak(), keys, of }.check_borders()
    }
    let tls =
        check("[bridge.tls]\ncertificate = \"a\"\nkey = \"b\"", BRIDGE_TLS, |config| of(config).tls.unwrap());
    let queue = check("[bridge.queue]", BRIDGE_QUEUE, |config| of(config).queue);
    let pace = check("[bridge.pace]", BRIDGE_PACE, |config| of(config).pace);
    let out = check("[[bridge.out]]\nfilter = \"a\"", MAPPING, |config| of(config).outgoing[1].clone());
    let incoming = check("[[bridge.in]]\nfilter = \"a\"", MAPPING, |config| of(config).incoming[0].clone());
    let before = format!("{BRIDGED}out = [{{ filter = \"d\" }}]\n");
    let own = Section { before: before.leak(), keys: BRIDGE, of }.check_borders();
    tls + queue + pace + out + incoming + own
}

/// The same for a webhook.
fn webhooks() -> usize {
    fn of(config: &Config) -> Webhook {
        config.webhooks[0].clone()
    }
    fn check<T: Clone>(title: &str, keys: &'static [Key<T>], of: fn(&Config) -> T) -> usize {
        let before = format!("{HOOK}{title}\n");
        Section { before: before.leak(), keys, of }.check_borders()
    }
    let retry = check("[webhook.retry]\nmax = \"24h\"", WEBHOOK_RETRY, |config| of(config).retry);
    let tls = check("[webhook.tls]\ncertificate = \"a\"\nkey = \"b\"", WEBHOOK_TLS, |config| {
        of(config).tls.unwrap()
    });
    let queue = check("[webhook.queue]", BRIDGE_QUEUE, |config| of(config).queue);
    check("", WEBHOOK, of) + retry + tls + queue
}

/// What the page says of a key is what the key does: its default is taken, and is the default.
#[test]
fn the_default_on_the_page_is_the_default() {
    fn check<T: Clone>(section: &Section<T>, default: &T) {
        for key in section.keys {
            let text = key.setting.default_text(default.clone());
            let is_written = text.starts_with(['"', '[']) || text.starts_with(|c: char| c.is_ascii_digit());
            if is_written {
                let config = load(&section.file(key, &text).0).unwrap();
                assert_eq!(
                    plain(&key.setting.value_text((section.of)(&config))),
                    plain(&text),
                    "{}",
                    key.name
                );
            }
            let page = reference::page();
            assert!(page.contains(&format!("\n| `{}` | ", key.name)), "{} is not on the page", key.name);
        }
    }
    check(&top(), &Config::default());
    check(&listener(), &Listener::default());
    check(&tls(), &TlsSettings::default());
    check(&http(), &HttpSettings::default());
    check(&limits(), &Limits::default());
    let page = reference::page();
    let names = BRIDGE.iter().map(|key| key.name).chain(BRIDGE_TLS.iter().map(|key| key.name));
    let names = names.chain(WEBHOOK.iter().map(|key| key.name)).chain(WEBHOOK_TLS.iter().map(|key| key.name));
    for name in names.chain(MAPPING.iter().map(|key| key.name)) {
        assert!(page.contains(&format!("\n| `{name}` | ")), "{name} is not on the page");
    }
}

/// Values that a user may write after `key =`: numbers at every border, texts, and nonsense.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i128>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|x| format!("{x:?}")),
        "[0-9]{0,25}[a-zA-Z]{0,4}".prop_map(|text| format!("{text:?}")),
        "[+-]?(0x|0b|0o)?[0-9a-f_]{1,20}",
        ".*",
    ]
}

proptest! {
    #[test]
    fn no_value_of_any_key_is_taken_otherwise_or_panics(key in any::<prop::sample::Index>(), value in any_value()) {
        // A value on several lines is several keys.
        prop_assume!(!value.contains(['\n', '\r', '#']));
        let (limit, of_listener) = (key.get(LIMITS), key.get(LISTENER));
        for (text, line) in [limits().file(limit, &value), listener().file(of_listener, &value), tls().file(key.get(TLS), &value)] {
            match load(&text) {
                Ok(config) => prop_assert_eq!(load(&config.to_toml()).unwrap(), config, "{}", text),
                Err(error) => {
                    let is_there = |problem: &Problem| matches!(&problem.place, Place::Position { line: at, .. } if *at <= line);
                    prop_assert!(error.problems().iter().all(is_there), "{}\n{}", text, error);
                }
            }
        }
    }
}
