//! Retained Messages against a filter over all of them.

use culex_codec::{TopicFilter, TopicName};
use proptest::prelude::*;

use super::{Budget, Cursor, Retained, RetainedFull, RetainedLimits, RetainedMessage};
use crate::engine::keys::RetainedVersion;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message(String, usize);

impl RetainedMessage for Message {
    fn topic(&self) -> &str {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.1
    }
}

const NO_LIMITS: RetainedLimits = RetainedLimits { messages: usize::MAX, bytes: usize::MAX };
const ALL: Budget = Budget { messages: usize::MAX, bytes: usize::MAX, examined: usize::MAX };

fn store<'a>(topics: impl IntoIterator<Item = &'a str>) -> Retained<Message> {
    let mut retained = Retained::new(NO_LIMITS);
    for topic in topics {
        retained.set(Message(topic.into(), 1)).unwrap();
    }
    retained
}

fn collect(
    retained: &Retained<Message>,
    filter: &str,
    from: Cursor,
    budget: Budget,
) -> (Vec<String>, Cursor) {
    let mut out = Vec::new();
    let filter = TopicFilter::new(filter).unwrap();
    let cursor = retained.collect(filter, from, retained.version(), budget, &mut out);
    (out.into_iter().map(|(_, message)| message.0).collect(), cursor)
}

#[test]
fn every_change_takes_a_version() {
    let mut retained = store([]);
    assert_eq!(retained.version(), RetainedVersion(0));
    assert_eq!(retained.set(Message("a".into(), 3)).unwrap().version, RetainedVersion(1));
    let second = retained.set(Message("a".into(), 5)).unwrap();
    assert_eq!((second.version, second.replaced), (RetainedVersion(2), Some(Message("a".into(), 3))));
    assert_eq!(retained.get("a"), Some((RetainedVersion(2), &Message("a".into(), 5))));
    assert_eq!(retained.clear("b"), (RetainedVersion(3), None));
    assert_eq!(retained.clear_if("a", RetainedVersion(1)), None);
    assert_eq!(retained.version(), RetainedVersion(3));
    assert_eq!(
        retained.clear_if("a", RetainedVersion(2)),
        Some((RetainedVersion(4), Message("a".into(), 5)))
    );
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let mut retained = Retained::new(RetainedLimits { messages: 2, bytes: 10 });
    retained.set(Message("a".into(), 4)).unwrap();
    retained.set(Message("b".into(), 4)).unwrap();
    assert_eq!(retained.set(Message("c".into(), 1)), Err(RetainedFull::Messages { max: 2 }));
    assert_eq!(retained.set(Message("a".into(), 7)), Err(RetainedFull::Bytes { max: 10, wanted: 11 }));
    assert!(retained.set(Message("a".into(), usize::MAX)).is_err());
    assert_eq!(retained.get("a"), Some((RetainedVersion(1), &Message("a".into(), 4))));
    assert_eq!(retained.version(), RetainedVersion(2));
    retained.set(Message("a".into(), 6)).unwrap();
    assert_eq!(retained.bytes(), 10);
    retained.clear("b");
    retained.set(Message("c".into(), 4)).unwrap();
    assert_eq!((retained.len(), retained.bytes()), (2, 10));
}

#[test]
fn messages_set_after_the_subscription_are_left_out() {
    let mut retained = store(["a", "b", "c"]);
    let up_to = retained.version();
    retained.set(Message("b".into(), 2)).unwrap();
    retained.set(Message("d".into(), 2)).unwrap();
    let mut out = Vec::new();
    let end = retained.collect(TopicFilter::new("#").unwrap(), Cursor::Start, up_to, ALL, &mut out);
    assert_eq!(end, Cursor::End);
    assert_eq!(out.iter().map(|(_, m)| m.topic()).collect::<Vec<_>>(), ["a", "c"]);
    out.clear();
    retained.collect(TopicFilter::new("b").unwrap(), Cursor::Start, up_to, ALL, &mut out);
    assert!(out.is_empty());
}

#[test]
fn each_bound_of_the_budget_ends_a_slice() {
    let retained = store(["a/1", "a/2", "a/3", "b"]);
    let after = |topic: &str| Cursor::After(topic.into());
    let got = |budget| collect(&retained, "a/#", Cursor::Start, budget);
    assert_eq!(got(Budget { messages: 2, ..ALL }), (vec!["a/1".into(), "a/2".into()], after("a/2")));
    assert_eq!(got(Budget { bytes: 1, ..ALL }), (vec!["a/1".into()], after("a/1")));
    assert_eq!(got(Budget { examined: 3, ..ALL }).1, after("a/3"));
    assert_eq!(got(Budget { examined: 0, ..ALL }), (vec![], Cursor::Start));
    assert_eq!(collect(&retained, "a/#", after("a/2"), ALL), (vec!["a/3".into()], Cursor::End));
    assert_eq!(collect(&retained, "a/#", Cursor::End, ALL), (vec![], Cursor::End));
}

/// 100,000 topics, of which ten match in ten different places: what lies between is not looked at.
#[test]
fn levels_that_cannot_match_are_skipped() {
    let topics: Vec<_> = (0..10)
        .flat_map(|site| {
            (0..10_000).map(move |n| format!("site{site}/{}/{n}", if n == 5000 { "temp" } else { "x" }))
        })
        .collect();
    let retained = store(topics.iter().map(String::as_str));
    let budget = Budget { examined: 45, ..ALL };
    let (found, cursor) = collect(&retained, "+/temp/#", Cursor::Start, budget);
    assert_eq!((found.len(), cursor), (10, Cursor::End));
    let (found, cursor) = collect(&retained, "+/+/5000", Cursor::Start, budget);
    assert_eq!((found.len(), cursor), (10, Cursor::End));
    let (found, cursor) = collect(&retained, "site3/temp/+", Cursor::Start, Budget { examined: 2, ..ALL });
    assert_eq!((found.len(), cursor), (1, Cursor::End));
}

#[test]
fn a_topic_with_very_many_levels() {
    let deep = "/".repeat(65_534);
    let retained = store([deep.as_str(), "a"]);
    assert_eq!(collect(&retained, "/#", Cursor::Start, ALL).0, [deep.as_str()]);
    assert_eq!(collect(&retained, &format!("{}+", "/".repeat(65_534)), Cursor::Start, ALL).0, [deep]);
}

fn topic() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["", "a", "a!", "a0", "b", "$", "$S", "ä"]);
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["", "a", "a!", "b", "$S", "ä", "+", "+", "+"]);
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            if multi || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("empty", |t| !t.is_empty())
}

#[derive(Debug, Clone)]
enum Step {
    Set(String),
    Clear(String),
    Slice(Budget),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => topic().prop_map(Step::Set),
        1 => topic().prop_map(Step::Clear),
        4 => (1_usize..4, 1_usize..4, 1_usize..6)
            .prop_map(|(messages, bytes, examined)| Step::Slice(Budget { messages, bytes, examined })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn collect_is_a_filter_over_all(topics in prop::collection::btree_set(topic(), 0..60), filter in filter()) {
        let retained = store(topics.iter().map(String::as_str));
        let naive: Vec<_> = topics
            .iter()
            .filter(|t| TopicFilter::new(&filter).unwrap().matches(TopicName::new(t).unwrap()))
            .cloned()
            .collect();
        prop_assert_eq!(collect(&retained, &filter, Cursor::Start, ALL), (naive, Cursor::End));
    }

    /// Against a plain list of what should be seen: a topic is due when the cursor passes it, if its version is not
    /// above the floor at that moment.
    #[test]
    fn slices_see_each_topic_once_while_others_write(
        topics in prop::collection::btree_set(topic(), 0..40),
        filter in filter(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut retained = store(topics.iter().map(String::as_str));
        let up_to = retained.version();
        let filter = TopicFilter::new(&filter).unwrap();
        let mut cursor = Cursor::Start;
        let finish = std::iter::repeat_n(Step::Slice(ALL), 1);
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Set(topic) => drop(retained.set(Message(topic, 1)).unwrap()),
                Step::Clear(topic) => drop(retained.clear(&topic)),
                Step::Slice(budget) => {
                    let before = cursor.clone();
                    let mut out = Vec::new();
                    cursor = retained.collect(filter, cursor, up_to, budget, &mut out);
                    let passed = |topic: &str| {
                        let was = match &before {
                            Cursor::Start => false,
                            Cursor::After(at) => topic <= &**at,
                            Cursor::End => true,
                        };
                        let is = match &cursor {
                            Cursor::Start => false,
                            Cursor::After(at) => topic <= &**at,
                            Cursor::End => true,
                        };
                        is && !was
                    };
                    let due: Vec<_> = retained
                        .iter()
                        .filter(|(version, m)| {
                            passed(m.topic()) && *version <= up_to && filter.matches(TopicName::new(m.topic()).unwrap())
                        })
                        .map(|(version, m)| (version, m.clone()))
                        .collect();
                    prop_assert_eq!(&out, &due);
                    prop_assert!(out.len() <= budget.messages && out.len() <= budget.bytes);
                    prop_assert!(before == Cursor::End || cursor != before, "no progress");
                }
            }
        }
        prop_assert_eq!(cursor, Cursor::End);
    }
}
