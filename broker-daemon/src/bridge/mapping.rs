//! What a topic is called on the other side.

use bytes::Bytes;
use culex_codec::{QoS, TopicFilter, TopicName};

use super::loops::{filter_for_questions, grown_by, message_of, question_after};
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
    /// For the questions that the filter keeps away ([`super::loops`]).
    questions: Option<String>,
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
    /// Its payload: the same, but of a question whose message has another name there.
    pub(super) payload: Bytes,
    /// The highest QoS.
    pub(super) qos: QoS,
    /// Whether RETAIN goes with it.
    pub(super) retain: bool,
    /// Why it is not to go there.
    pub(super) objection: Option<String>,
}

impl Mappings {
    pub(super) fn of(bridge: &Bridge) -> Self {
        // Nothing goes round by AWS IoT, and each subscription there costs a right.
        let questions = |filter: String| filter_for_questions(&filter).filter(|_| !bridge.is_aws_iot());
        let outgoing = |mapping: &Mapping| Way {
            filter: mapping.local_filter(),
            questions: questions(mapping.local_filter()),
            strip: mapping.local_prefix.clone().unwrap_or_default(),
            add: mapping.remote_beginning(),
            qos: mapping.qos,
            retain: mapping.retain.unwrap_or(!bridge.is_aws_iot()),
        };
        let incoming = |mapping: &Mapping| Way {
            filter: mapping.remote_filter(),
            questions: questions(mapping.remote_filter()),
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

    /// Where a local message goes: the first mapping that its topic matches decides.
    pub(super) fn place_out(&self, topic: &str, payload: &Bytes) -> Option<Placed> {
        place(&self.outgoing, topic, payload)
    }

    /// Where a message of the other side goes.
    pub(super) fn place_in(&self, topic: &str, payload: &Bytes) -> Option<Placed> {
        place(&self.incoming, topic, payload)
    }

    /// Whether a topic of the other side comes in.
    pub(super) fn comes_in(&self, topic: &str) -> bool {
        self.incoming.iter().any(|way| way.filters().any(|filter| is_match(filter, topic)))
    }
}

fn place(ways: &[Way], topic: &str, payload: &Bytes) -> Option<Placed> {
    let place = |topic: &str| ways.iter().find_map(|way| way.place(topic, payload));
    place(topic).or_else(|| {
        // A question goes where the message goes that it has followed.
        let placed = place(&message_of(topic, payload)?)?;
        let (topic, payload) = question_after(&placed.topic, payload)?;
        Some(Placed { topic, payload, ..placed })
    })
}

/// Whether a filter matches a topic. What is none matches nothing.
fn is_match(filter: &str, topic: &str) -> bool {
    let (Ok(filter), Ok(name)) = (TopicFilter::new(filter), TopicName::new(topic)) else { return false };
    filter.matches(name)
}

impl Way {
    /// What brings its messages, and questions.
    pub(super) fn filters(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.filter).chain(self.questions.as_deref())
    }

    fn place(&self, topic: &str, payload: &Bytes) -> Option<Placed> {
        if !is_match(&self.filter, topic) {
            return None;
        }
        // `a/#` matches `a` too, which has no name below `a/`.
        let rest = topic.strip_prefix(&*self.strip)?;
        let (topic, payload) = ([&*self.add, rest].concat(), payload.clone());
        let objection = grown_by(&topic, &self.add).map(|round| {
            format!(
                "messages go round, and each round puts \"{}\" before the topic: give each direction its own prefix, or take one of \
                 the ways away",
                round.escape_debug()
            )
        });
        Some(Placed { topic, payload, qos: self.qos, retain: self.retain, objection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::loops::{Questions, Side};
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

    fn out(mappings: &Mappings, topic: &str) -> Option<String> {
        mappings.place_out(topic, &Bytes::new()).map(|placed| placed.topic)
    }

    fn into(mappings: &Mappings, topic: &str) -> Option<String> {
        mappings.place_in(topic, &Bytes::new()).map(|placed| placed.topic)
    }

    #[test]
    fn a_question_about_the_last_level_takes_the_way_of_its_message() {
        let outgoing =
            vec![mapping("b", "a/", "x/"), mapping("c", "a/", "y/"), mapping("", "one", "far/other")];
        let mappings = Mappings::of(&Bridge { outgoing, ..Bridge::default() });
        let filters: Vec<_> = mappings.outgoing.iter().flat_map(Way::filters).collect();
        let question = "culex-loop-check";
        let expected = ["a/b", "a/culex-loop-check", "a/c", "a/culex-loop-check", "one", question];
        assert_eq!(filters, expected);
        for (topic, there) in [("a/b", "x/b"), ("a/c", "y/c"), ("one", "far/other")] {
            let (_, topics, payload) = Questions::new(7).ask("bridge", Side::Out, topic);
            let placed = mappings.place_out(&topics[0], &payload.into()).unwrap();
            assert!(placed.topic.ends_with(question), "{}", placed.topic);
            assert_eq!(message_of(&placed.topic, &placed.payload).as_deref(), Some(there));
            assert_eq!(out(&mappings, &topics[0]), None, "no question");
        }
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
            assert_eq!(out(&mappings, topic).as_deref(), expected, "{topic}");
        }
        for (topic, expected) in [
            ("site/cmd/1", Some("in/cmd/1")),
            ("cmd/1", None),
            ("exact", Some("exact")),
            ("site/cmd", Some("in/cmd")),
        ] {
            assert_eq!(into(&mappings, topic).as_deref(), expected, "{topic}");
        }
    }

    #[test]
    fn a_way_there_and_back_changes_nothing() {
        let outgoing = vec![mapping("t/#", "local/", "remote/")];
        let bridge = Bridge { incoming: outgoing.clone(), outgoing, ..Bridge::default() };
        let mappings = Mappings::of(&bridge);
        for topic in ["local/t", "local/t/", "local/t/a/b", "local/t//"] {
            let there = out(&mappings, topic).unwrap();
            assert_eq!(into(&mappings, &there).unwrap(), topic);
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
