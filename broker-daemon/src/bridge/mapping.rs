//! What a topic is called on the other side.

use culex_codec::{QoS, TopicFilter, TopicName};

use crate::config::{Bridge, Mapping};

/// The mappings of a bridge, ready for every message.
#[derive(Debug)]
pub(super) struct Mappings {
    pub(super) outgoing: Vec<Way>,
    pub(super) incoming: Vec<Way>,
}

/// One way of topics: where they match, what is taken away and what is put before them.
#[derive(Debug)]
pub(super) struct Way {
    /// The filter where the messages come from.
    pub(super) filter: String,
    strip: String,
    add: String,
    /// The highest QoS of its messages.
    pub(super) qos: QoS,
    /// Whether RETAIN goes with a message.
    pub(super) retain: bool,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its topic on the other side.
    pub(super) topic: String,
    /// The highest QoS.
    pub(super) qos: QoS,
    /// Whether RETAIN goes with it.
    pub(super) retain: bool,
}

impl Mappings {
    pub(super) fn of(bridge: &Bridge) -> Self {
        let outgoing = |mapping: &Mapping| Way {
            filter: mapping.local_filter(),
            strip: mapping.local_prefix.clone().unwrap_or_default(),
            add: mapping.remote_beginning(),
            qos: mapping.qos,
            retain: mapping.retain.unwrap_or(!bridge.is_aws_iot()),
        };
        let incoming = |mapping: &Mapping| Way {
            filter: mapping.remote_filter(),
            strip: mapping.remote_prefix.clone().unwrap_or_default(),
            add: mapping.local_prefix.clone().unwrap_or_default(),
            qos: mapping.qos,
            retain: mapping.retain.unwrap_or(true),
        };
        Self {
            outgoing: bridge.outgoing.iter().map(outgoing).collect(),
            incoming: bridge.incoming.iter().map(incoming).collect(),
        }
    }

    /// Where a local topic goes: the first mapping that it matches decides.
    pub(super) fn place_out(&self, topic: &str) -> Option<Placed> {
        self.outgoing.iter().find_map(|way| way.place(topic))
    }

    /// Where a topic of the other side goes.
    pub(super) fn place_in(&self, topic: &str) -> Option<Placed> {
        self.incoming.iter().find_map(|way| way.place(topic))
    }

    /// Whether a topic of the other side comes in.
    pub(super) fn comes_in(&self, topic: &str) -> bool {
        self.incoming.iter().any(|way| way.matches(topic))
    }
}

impl Way {
    fn matches(&self, topic: &str) -> bool {
        let (Ok(filter), Ok(name)) = (TopicFilter::new(&self.filter), TopicName::new(topic)) else {
            return false;
        };
        filter.matches(name)
    }

    fn place(&self, topic: &str) -> Option<Placed> {
        if !self.matches(topic) {
            return None;
        }
        // `a/#` matches `a` too, which has no name below `a/`.
        let rest = topic.strip_prefix(&*self.strip)?;
        Some(Placed { topic: [&*self.add, rest].concat(), qos: self.qos, retain: self.retain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RemoteAddress;

    fn mapping(filter: &str, local: &str, remote: &str) -> Mapping {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (local_prefix, remote_prefix) = (text(local), text(remote));
        Mapping { filter: filter.to_owned(), local_prefix, remote_prefix, ..Mapping::default() }
    }

    fn bridge() -> Bridge {
        let outgoing = vec![
            mapping("b/+/c", "", "site/"),
            mapping("#", "a/", "x/"),
            mapping("é/#", "", ""),
            Mapping { basic_ingest: Some("r".to_owned()), ..mapping("raw/#", "", "p/") },
        ];
        let incoming = vec![mapping("cmd/#", "in/", "site/"), mapping("exact", "", "")];
        Bridge { outgoing, incoming, ..Bridge::default() }
    }

    #[test]
    fn topics_change_their_beginning() {
        let mappings = Mappings::of(&bridge());
        for (topic, expected) in [
            ("b/1/c", Some("site/b/1/c")),
            ("b/1/2/c", None),
            ("a/b", Some("x/b")),
            ("a/", Some("x/")),
            ("a", None),
            ("é", Some("é")),
            ("é/x", Some("é/x")),
            ("raw/1", Some("$aws/rules/r/p/raw/1")),
            ("$SYS/x", None),
        ] {
            assert_eq!(mappings.place_out(topic).map(|placed| placed.topic).as_deref(), expected, "{topic}");
        }
        for (topic, expected) in [
            ("site/cmd/1", Some("in/cmd/1")),
            ("cmd/1", None),
            ("exact", Some("exact")),
            ("site/cmd", Some("in/cmd")),
        ] {
            assert_eq!(mappings.place_in(topic).map(|placed| placed.topic).as_deref(), expected, "{topic}");
        }
    }

    #[test]
    fn a_way_there_and_back_changes_nothing() {
        let outgoing = vec![mapping("t/#", "local/", "remote/")];
        let bridge = Bridge { incoming: outgoing.clone(), outgoing, ..Bridge::default() };
        let mappings = Mappings::of(&bridge);
        for topic in ["local/t", "local/t/", "local/t/a/b", "local/t//"] {
            let there = mappings.place_out(topic).unwrap().topic;
            assert_eq!(mappings.place_in(&there).unwrap().topic, topic);
        }
    }

    #[test]
    fn retain_stays_here_where_aws_is_there() {
        let mut bridge = bridge();
        assert!(Mappings::of(&bridge).outgoing[0].retain);
        bridge.addresses =
            vec![RemoteAddress { host: "a.iot.eu-west-1.amazonaws.com".to_owned(), port: None }];
        assert!(!Mappings::of(&bridge).outgoing[0].retain && Mappings::of(&bridge).incoming[0].retain);
        bridge.outgoing[0].retain = Some(true);
        assert!(Mappings::of(&bridge).outgoing[0].retain);
    }
}
