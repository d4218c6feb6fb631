//! Topic Names and Topic Filters. [MQTT-4.7]

use culex_tests::conformance::Scope;

culex_tests::cases! { "topics":
    filters_match_as_the_standard_says,
    leading_wildcards_do_not_match_dollar_topics,
    dollar_topics_are_ordinary_otherwise,
    topics_are_compared_without_normalisation,
    topic_of_65535_bytes_is_whole,
    hundred_levels_are_matched,
}

/// The examples of section 4.7 and their neighbours: filter, topics that match, topics that do not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    (
        "sport/tennis/#",
        &["sport/tennis", "sport/tennis/p1", "sport/tennis/p1/score"],
        &["sport", "sport/tennisx"],
    ),
    ("sport/#", &["sport", "sport/", "sport/a/b"], &["sports", "a/sport"]),
    ("sport/tennis/+", &["sport/tennis/p1", "sport/tennis/"], &["sport/tennis", "sport/tennis/p1/ranking"]),
    ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/"]),
    ("+/+", &["/finance", "a/b", "/"], &["finance", "a/b/c"]),
    ("/+", &["/finance", "/"], &["finance", "a/finance"]),
    ("+", &["finance", ""], &["/finance", "a/b"]),
    ("+/tennis/#", &["a/tennis", "/tennis/x", "a/tennis/x/y"], &["tennis", "a/b/tennis"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b", "a///b"]),
    ("a/+/b", &["a//b", "a/x/b"], &["a/b", "a/x/y/b"]),
    ("a/", &["a/"], &["a", "a//"]),
    ("/", &["/"], &["", "//", "a/"]),
    ("#", &["", "a", "/", "a/b/c", "$a"], &[]),
];

fn filters_match_as_the_standard_says(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    for (filter, matching, others) in TABLE {
        // Below the token, so that `+` and `#` do not see the topics of other cases.
        let mut subscriber = scope.subscriber("sub", &scope.topic(filter), 0);
        for topic in *others {
            publisher.publish(&scope.topic(topic), format!("{topic} should not match {filter}"), 0);
        }
        for topic in *matching {
            publisher.publish(&scope.topic(topic), "match", 0);
            let message = subscriber.take();
            // [MQTT-4.7.1-2] [MQTT-4.7.1-3]
            assert_eq!((message.text().as_str(), message.topic), ("match", scope.topic(topic)), "{filter}");
        }
        subscriber.unsubscribe(&[&scope.topic(filter)]);
    }
}

fn leading_wildcards_do_not_match_dollar_topics(scope: &Scope) {
    let dollar = format!("$x{}/t", scope.token());
    for (name, filter) in [("hash", "#".to_owned()), ("plus", "+/t".to_owned()), ("both", "+/#".to_owned())] {
        let mut subscriber = scope.connect(name);
        subscriber.only(scope.token());
        subscriber.subscribe(&[(&filter, 0)]);
        let mut publisher = scope.connect("pub");
        publisher.retain(&dollar, "live", 0);
        publisher.publish(&scope.topic("t"), "sentinel", 0);
        assert_eq!(subscriber.take_text(), "sentinel"); // [MQTT-4.7.2-1]
        subscriber.subscribe(&[(&filter, 0)]);
        publisher.publish(&scope.topic("t"), "sentinel", 0);
        assert_eq!(subscriber.take_text(), "sentinel", "a retained message"); // [MQTT-4.7.2-1]
        subscriber.quiet();
        publisher.retain(&dollar, "", 0);
    }
}

fn dollar_topics_are_ordinary_otherwise(scope: &Scope) {
    let topic = format!("$x{}/t", scope.token());
    let filters = [topic.clone(), format!("$x{}/#", scope.token()), format!("$x{}/+", scope.token())];
    let mut publisher = scope.connect("pub");
    for (number, filter) in filters.iter().enumerate() {
        let mut subscriber = scope.subscriber(&number.to_string(), filter, 1);
        publisher.publish(&topic, "to a $ topic", 1);
        assert_eq!(subscriber.take_text(), "to a $ topic"); // [MQTT-4.7.2-1]
    }
}

fn topics_are_compared_without_normalisation(scope: &Scope) {
    let topics = [
        "a", "A", "/a", "a/", "a ", " a", "\u{e9}", "e\u{301}", "\u{212b}", "\u{c5}", "\u{ff41}", "a//b",
        "a/b",
    ];
    let mut publisher = scope.connect("pub");
    for topic in topics {
        let mut subscriber = scope.subscriber("sub", &scope.topic(topic), 0);
        for other in topics.iter().filter(|other| **other != topic) {
            publisher.publish(&scope.topic(other), *other, 0);
        }
        publisher.publish(&scope.topic(topic), "equal", 0);
        assert_eq!(subscriber.take_text(), "equal", "{topic}"); // [MQTT-4.7.3-4]
    }
}

fn topic_of_65535_bytes_is_whole(scope: &Scope) {
    let start = scope.topic("");
    let topic = format!("{start}{}", "x".repeat(65_535 - start.len()));
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    scope.connect("pub").publish(&topic, "long", 1);
    let message = subscriber.take();
    assert!(message.topic == topic, "the topic differs: {} bytes", message.topic.len()); // [MQTT-4.7.3-3]
}

fn hundred_levels_are_matched(scope: &Scope) {
    let topic = scope.topic(&["l"; 99].join("/"));
    let mut exact = scope.subscriber("exact", &topic, 0);
    let mut plus = scope.subscriber("plus", &scope.topic(&["+"; 99].join("/")), 0);
    scope.connect("pub").publish(&topic, "deep", 0);
    assert_eq!((exact.take_text(), plus.take_text()), ("deep".to_owned(), "deep".to_owned())); // [MQTT-4.7.1-3]
}
