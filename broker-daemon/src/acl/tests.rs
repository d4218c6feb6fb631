//! Decisions that mosquitto takes, and those that must not be taken.

use culex_core::codec::TopicName;

use super::{Access, Acl, Action, Decision, parse};

fn acl(text: &str) -> Acl {
    parse(text.as_bytes()).expect("a correct file")
}

fn topic_name(text: &str) -> TopicName<'_> {
    TopicName::new(text).expect("a topic name")
}

fn may(acl: &Acl, user: Option<&str>, client: &str, action: Action, topic: &str) -> bool {
    acl.rights(user, client).decide(action, topic_name(topic)).is_allowed()
}

const FILE: &str = "\
# everybody without a name
topic read news/#
topic $SYS/broker/uptime

user ann
topic write sensors/ann
topic readwrite   shared/with spaces  
topic deny secret/deep
topic secret/#
topic read secret/deep

pattern write device/%c/up
pattern read device/%c/#
pattern readwrite home/%u/#
pattern deny home/%u/locked
";

#[test]
fn sections_and_patterns_decide_in_mosquittos_order() {
    let acl = acl(FILE);
    let cases = [
        (None, "x", Action::Receive, "news/today", true),
        (None, "x", Action::Publish, "news/today", false),
        (None, "x", Action::Receive, "$SYS/broker/uptime", true),
        (None, "x", Action::Receive, "$SYS/broker/version", false),
        (Some("ann"), "x", Action::Receive, "news/today", false),
        (Some("ann"), "x", Action::Publish, "sensors/ann", true),
        (Some("ann"), "x", Action::Receive, "sensors/ann", false),
        (Some("ann"), "x", Action::Receive, "shared/with spaces", true),
        (Some("ann"), "x", Action::Receive, "secret/deep", false),
        (Some("ann"), "x", Action::Receive, "secret/other", true),
        (Some("ann"), "x", Action::Publish, "device/x/up", true),
        (Some("ann"), "x", Action::Publish, "device/y/up", false),
        (Some("bob"), "x", Action::Receive, "device/x/down", true),
        (Some("bob"), "x", Action::Publish, "home/bob/lamp", true),
        (Some("bob"), "x", Action::Publish, "home/bob/locked", false),
        (Some("bob"), "x", Action::Publish, "home/ann/lamp", false),
        (None, "x", Action::Publish, "home/bob/lamp", false),
        (Some(""), "x", Action::Publish, "home//lamp", true),
        (None, "x", Action::Publish, "home//lamp", false),
    ];
    for (user, client, action, topic, expected) in cases {
        assert_eq!(may(&acl, user, client, action, topic), expected, "{user:?} {client} {action:?} {topic}");
    }
}

/// CVE-2017-7650, CVE-2026-85724: a name with a wildcard must not widen a pattern.
#[test]
fn a_name_with_a_wildcard_never_matches_a_pattern() {
    let acl = acl("pattern readwrite home/%u/#\npattern readwrite device/%c/#\n");
    for name in ["+", "#", "a/+", "a/b", "/", "ann/#"] {
        for topic in ["home/ann/x", "device/d1/x", "home/a/b/x", "device/a/b/x"] {
            for action in [Action::Publish, Action::Receive] {
                assert!(!may(&acl, Some(name), "d1", action, topic), "user {name:?} {topic}");
                assert!(!may(&acl, Some("ann"), name, action, topic), "client {name:?} {topic}");
            }
        }
        assert_eq!(
            acl.rights(Some(name), "d1").decide(Action::Publish, topic_name("home/ann/x")),
            Decision::UnsafeName
        );
    }
    assert!(may(&acl, Some("ann"), "d1", Action::Publish, "home/ann/x"));
}

#[test]
fn a_slash_counts_only_in_a_name_that_a_pattern_uses() {
    let acl = acl("pattern readwrite home/%u/#\n");
    assert!(may(&acl, Some("ann"), "site/7", Action::Publish, "home/ann/x"));
    assert!(!may(&acl, Some("site/7"), "c", Action::Publish, "home/site/7/x"));
}

#[test]
fn names_are_put_in_once() {
    let acl = acl("pattern readwrite home/%u/%c\n");
    assert!(may(&acl, Some("%c"), "x", Action::Publish, "home/%c/x"));
    assert!(!may(&acl, Some("%c"), "x", Action::Publish, "home/x/x"));
}

#[test]
fn a_subscription_is_refused_where_it_can_never_deliver() {
    let acl =
        acl("user ann\ntopic deny a/secret/#\ntopic read a/#\ntopic write b/#\npattern read dev/%c/+\n");
    let rights = acl.rights(Some("ann"), "c1");
    for (filter, expected) in [
        ("a/#", true),
        ("#", true),
        ("+/x", true),
        ("a", true),
        ("a/secret/x", false),
        ("a/secret/#", false),
        ("a/secret", false),
        ("a/+/x", true),
        ("b/x", false),
        ("b/#", false),
        ("dev/c1/x", true),
        ("dev/+/x", true),
        ("dev/c2/x", false),
        ("dev/c1/x/y", false),
        ("$SYS/#", false),
    ] {
        assert_eq!(rights.decide_subscribe(filter).is_allowed(), expected, "{filter}");
    }
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let text =
        b"topc a\nuser\n topic a\ntopic\ntopic reed a\ntopic read a/#/b\ntopic read dev/%c\npattern\n\xff\n";
    let mistakes = parse(text).expect_err("mistakes");
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// CVE-2018-12550: an empty file is not "allow all".
#[test]
fn an_empty_file_is_a_mistake() {
    for text in ["", "\n\n", "# only this\n"] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(!may(&acl("pattern deny #"), None, "x", Action::Receive, "a"));
    assert!(!may(&acl("user ann"), Some("ann"), "x", Action::Receive, "a"));
}

#[test]
fn a_decision_names_its_rule() {
    let acl = acl(FILE);
    let rights = acl.rights(Some("ann"), "x");
    let Decision::By(rule) = rights.decide(Action::Receive, topic_name("secret/deep")) else {
        panic!("no rule")
    };
    assert_eq!((rule.line, rule.access, &*rule.topic), (8, Access::Deny, "secret/deep"));
}

mod properties {
    use culex_core::codec::{TopicFilter, TopicName};
    use proptest::prelude::*;

    use super::super::filter::{covers, overlaps};
    use super::super::{Acl, Action, parse};
    use crate::config::{Config, Environment};

    const LEVELS: [&str; 6] = ["a", "b", "", "+", "$S", "c"];

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(prop::sample::select(&LEVELS[..]), 1..4), any::<bool>()).prop_map(
            |(levels, hash)| {
                let mut text = levels.join("/");
                if hash {
                    text.push_str("/#");
                }
                if text.is_empty() { "#".to_owned() } else { text }
            },
        )
    }

    /// Every topic of up to 4 of these levels.
    fn topics() -> Vec<String> {
        let levels = ["a", "b", "", "$S", "c"];
        let mut topics: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        let mut last = topics.clone();
        for _ in 1..4 {
            last = last.iter().flat_map(|t| levels.iter().map(move |level| format!("{t}/{level}"))).collect();
            topics.extend(last.iter().cloned());
        }
        topics.retain(|topic| !topic.is_empty());
        topics
    }

    /// Whose, access, topic; the names are those that are asked about below.
    type Written = (usize, usize, String);

    const ACCESS: [&str; 4] = ["read", "write", "readwrite", "deny"];
    const USERS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("a/b")];

    fn rule() -> impl Strategy<Value = Written> {
        let levels = prop::sample::select(&["a", "b", "+", "$S", "%u", "%c", "x%u"][..]);
        let topic = (prop::collection::vec(levels, 1..4), any::<bool>())
            .prop_map(|(levels, hash)| levels.join("/") + if hash { "/#" } else { "" });
        (0_usize..4, 0_usize..4, topic).prop_map(|(whose, access, topic)| {
            // %u and %c are for patterns alone.
            let topic = if whose == 3 { topic } else { topic.replace('%', "") };
            (whose, access, topic)
        })
    }

    /// In mosquitto's format: sections in the order of their first rule.
    fn as_file(rules: &[Written]) -> String {
        let mut text = String::new();
        for (section, user) in USERS.iter().enumerate().take(3) {
            if let Some(user) = user {
                text += &format!("user {user}\n");
            }
            for (_, access, topic) in rules.iter().filter(|(whose, ..)| *whose == section) {
                text += &format!("topic {} {topic}\n", ACCESS[*access]);
            }
        }
        for (_, access, topic) in rules.iter().filter(|(whose, ..)| *whose == 3) {
            text += &format!("pattern {} {topic}\n", ACCESS[*access]);
        }
        text
    }

    fn as_toml(rules: &[Written]) -> String {
        let whose = ["anonymous = true\ntopic", "user = \"a\"\ntopic", "user = \"b\"\ntopic", "pattern"];
        let one = |(n, access, topic): &Written| {
            format!("[[acl.rule]]\naccess = \"{}\"\n{} = \"{topic}\"\n", ACCESS[*access], whose[*n])
        };
        rules.iter().map(one).collect()
    }

    proptest! {
        // Each case asks 7,000 times.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A list means the same in mosquitto's file and in the configuration.
        #[test]
        fn rules_in_toml_decide_as_those_in_a_file(rules in prop::collection::vec(rule(), 1..12)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("culex.toml");
            std::fs::write(&path, as_toml(&rules)).unwrap();
            let config = Config::load(Some(&path), &Environment::default()).unwrap();
            let ours = Acl::configured(&config.acl).unwrap().unwrap();
            let theirs = parse(as_file(&rules).as_bytes()).unwrap();
            for user in USERS {
                for client in ["a", "c", "+"] {
                    let (ours, theirs) = (ours.rights(user, client), theirs.rights(user, client));
                    for topic in topics().into_iter().filter(|topic| topic.matches('/').count() < 3) {
                        let name = TopicName::new(&topic).unwrap();
                        for action in [Action::Publish, Action::Receive] {
                            let (ours, theirs) = (ours.decide(action, name), theirs.decide(action, name));
                            prop_assert_eq!(ours.is_allowed(), theirs.is_allowed(), "{:?} {} {}", user, client, topic);
                            prop_assert_eq!(ours.reason(), theirs.reason());
                        }
                        let subscribed = (ours.decide_subscribe(&topic), theirs.decide_subscribe(&topic));
                        prop_assert_eq!(subscribed.0.is_allowed(), subscribed.1.is_allowed());
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn overlap_and_cover_are_what_the_topics_say(one in filter(), other in filter()) {
            let matches = |filter: &str, topic: &str| {
                TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap())
            };
            // Its parent would be the empty topic, which does not exist.
            prop_assume!(one != "/#" && other != "/#");
            let topics = topics();
            let both = topics.iter().any(|topic| matches(&one, topic) && matches(&other, topic));
            prop_assert_eq!(overlaps(&one, &other), both);
            // Sound, and with this few levels complete except for what `+` and all five names have in common.
            if covers(&one, &other) {
                prop_assert!(topics.iter().all(|topic| !matches(&other, topic) || matches(&one, topic)));
            }
            prop_assert!(covers(&one, &one));
            prop_assert!(covers("#", &one) || one.starts_with('$'));
        }

        #[test]
        fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_panics(text in "(user|topic|pattern|#|)( (read|deny|x)|)( [a-b+#/%uc]{0,8}|)\n{0,2}") {
            let _ = parse(text.as_bytes());
        }
    }
}
