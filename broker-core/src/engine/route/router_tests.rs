//! The routing table against a list of all Subscriptions.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use culex_codec::{QoS, TopicFilter, TopicName};
use proptest::prelude::*;

use super::{RouteOptions, Router, Routes, Subscribed, Subscriber, Target};
use crate::engine::keys::{SessionId, SessionKey, ShardId};

fn subscriber(shard: u16, slot: u32) -> Subscriber {
    Subscriber {
        shard: ShardId(shard),
        session: SessionKey { slot, generation: 0 },
        durable: None,
        options: RouteOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false },
        subscription_id: None,
    }
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn slots(router: &Router, topic: &str) -> Vec<u32> {
    let mut routes = Routes::new();
    router.routes(TopicName::new(topic).unwrap(), &mut routes);
    routes.iter().map(|target| target.session.slot).collect()
}

#[test]
fn wildcards_of_the_specification() {
    let filters = [
        "#",
        "+",
        "+/+",
        "/+",
        "sport/#",
        "sport/+",
        "sport",
        "sport/+/player",
        "$SYS/#",
        "$SYS/+",
        "+/a",
        "/",
        "a//b",
    ];
    let mut router = Router::new((1, 2));
    for (slot, text) in (0..).zip(filters) {
        assert_eq!(router.subscribe(filter(text), subscriber(0, slot)), Subscribed::New);
    }
    let check = |topic: &str, expected: &[&str]| {
        let found: Vec<_> = slots(&router, topic).iter().map(|slot| filters[*slot as usize]).collect();
        assert_eq!(found, expected, "{topic}");
    };
    check("sport", &["#", "+", "sport/#", "sport"]);
    check("sport/", &["#", "+/+", "sport/#", "sport/+"]);
    check("sport/tennis/player", &["#", "sport/#", "sport/+/player"]);
    check("/finance", &["#", "+/+", "/+"]);
    check("/", &["#", "+/+", "/+", "/"]);
    check("$SYS", &["$SYS/#"]);
    check("$SYS/a", &["$SYS/#", "$SYS/+"]);
    check("a//b", &["#", "a//b"]);
    check("a/b", &["#", "+/+"]);
}

#[test]
fn overlapping_subscriptions_make_one_target() {
    let mut router = Router::new((1, 2));
    let id = NonZeroU32::new;
    let options = |qos, no_local, retain_as_published| RouteOptions { qos, no_local, retain_as_published };
    let mut add = |text, qos, no_local, rap, subscription_id| {
        let s = Subscriber { options: options(qos, no_local, rap), subscription_id, ..subscriber(1, 7) };
        router.subscribe(filter(text), s);
    };
    add("a/#", QoS::AtMostOnce, true, false, id(9));
    add("a/+", QoS::ExactlyOnce, true, false, id(3));
    add("+/b", QoS::AtLeastOnce, false, true, id(5));
    add("a/c", QoS::AtLeastOnce, false, true, None);
    router.subscribe(filter("a/b"), subscriber(0, 9));
    let mut routes = Routes::new();
    router.routes(TopicName::new("a/b").unwrap(), &mut routes);
    assert_eq!(routes.len(), 2);
    let merged = &routes.as_slice()[1];
    assert_eq!((merged.qos, merged.no_local, merged.retain_as_published), (QoS::ExactlyOnce, false, true));
    assert_eq!(merged.subscription_ids.as_slice(), [3, 5, 9]);
    let by_shard: Vec<_> = routes.by_shard().map(|(shard, targets)| (shard.0, targets.len())).collect();
    assert_eq!(by_shard, [(0, 1), (1, 1)]);
    router.routes(TopicName::new("a/c").unwrap(), &mut routes);
    assert_eq!(routes.as_slice()[0].subscription_ids.as_slice(), [3, 9]);
    assert_eq!(routes.to_shared().as_slice(), routes.as_slice());
}

#[test]
fn the_generation_changes_with_the_table() {
    let mut router = Router::new((1, 2));
    let session = subscriber(0, 1).session;
    assert!(!router.unsubscribe(filter("a"), ShardId(0), session));
    assert_eq!(router.generation(), 0);
    assert_eq!(router.subscribe(filter("a"), subscriber(0, 1)), Subscribed::New);
    assert_eq!(router.subscribe(filter("a"), subscriber(0, 1)), Subscribed::Replaced);
    assert_eq!((router.generation(), router.len()), (2, 1));
    assert!(!router.unsubscribe(filter("a"), ShardId(1), session));
    assert!(!router.unsubscribe(filter("a/b"), ShardId(0), session));
    assert!(router.unsubscribe(filter("a"), ShardId(0), session));
    assert_eq!((router.generation(), router.len(), router.nodes()), (3, 0, 1));
}

/// Twelve levels of `a` or `+`: every one of 4,096 filters matches, and each node of the trie is visited once.
#[test]
fn a_lattice_of_wildcards_is_matched_once_per_node() {
    let mut router = Router::new((1, 2));
    for bits in 0..4096_u32 {
        let levels: Vec<_> = (0..12).map(|level| if bits >> level & 1 == 0 { "a" } else { "+" }).collect();
        router.subscribe(filter(&levels.join("/")), subscriber(0, bits));
    }
    assert_eq!(router.nodes(), 8191);
    let topic = ["a"; 12].join("/");
    assert_eq!(slots(&router, &topic), (0..4096).collect::<Vec<_>>());
    assert_eq!(slots(&router, &topic.replacen('a', "b", 1)).len(), 2048);
    assert!(slots(&router, &format!("{topic}/a")).is_empty());
}

#[test]
fn a_topic_of_65535_levels() {
    let mut router = Router::new((1, 2));
    let deep = "/".repeat(65_534);
    router.subscribe(filter(&deep), subscriber(0, 1));
    router.subscribe(filter(&format!("{}+", "+/".repeat(32_767))), subscriber(0, 2));
    router.subscribe(filter("#"), subscriber(0, 3));
    assert_eq!(slots(&router, &deep), [1, 3]);
    assert_eq!(slots(&router, &"/".repeat(32_767)), [2, 3]);
    assert!(router.unsubscribe(filter(&deep), ShardId(0), subscriber(0, 1).session));
    assert_eq!(router.nodes(), 1 + 32_768 + 1);
}

#[test]
fn a_filter_with_very_many_subscribers() {
    let mut router = Router::new((1, 2));
    for slot in 0..100_000 {
        router.subscribe(filter("all/+"), subscriber((slot % 3) as u16, slot));
    }
    let mut routes = Routes::new();
    router.routes(TopicName::new("all/x").unwrap(), &mut routes);
    assert_eq!(routes.len(), 100_000);
    assert!(routes.iter().is_sorted_by_key(|t| (t.shard, t.session)));
    assert_eq!(routes.by_shard().count(), 3);
    for slot in 0..100_000 {
        assert!(router.unsubscribe(filter("all/+"), ShardId((slot % 3) as u16), subscriber(0, slot).session));
    }
    assert_eq!((router.len(), router.nodes()), (0, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(String, Subscriber),
    Unsubscribe(String, u16, u32),
    Match(String),
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["", "a", "b", "$a", "ä"]).prop_map(str::to_owned),
        1 => Just("a level of more than twenty-two bytes".to_owned()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|l| l.join("/")).prop_filter("empty", |t| !t.is_empty())
}

fn any_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => level(), 1 => Just("+".to_owned())];
    (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            if multi || levels.is_empty() {
                levels.push("#".into());
            }
            levels.join("/")
        })
        .prop_filter("empty", |t| !t.is_empty())
}

fn any_subscriber() -> impl Strategy<Value = Subscriber> {
    let qos = prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    (0_u16..2, 0_u32..40, qos, any::<bool>(), any::<bool>(), 0_u32..4).prop_map(
        |(shard, slot, qos, no_local, retain_as_published, id)| Subscriber {
            options: RouteOptions { qos, no_local, retain_as_published },
            durable: (slot % 2 == 0).then_some(SessionId(u64::from(slot))),
            subscription_id: NonZeroU32::new(id),
            ..subscriber(shard, slot)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any_filter(), any_subscriber()).prop_map(|(f, s)| Step::Subscribe(f, s)),
        2 => (any_filter(), 0_u16..2, 0_u32..40).prop_map(|(f, shard, slot)| Step::Unsubscribe(f, shard, slot)),
        2 => topic().prop_map(Step::Match),
    ]
}

/// Shard, slot, durable, QoS, No Local, Retain As Published, Subscription Identifiers.
type Flat = (u16, u32, Option<SessionId>, QoS, bool, bool, Vec<u32>);
type Model = BTreeMap<(u16, u32, String), Subscriber>;

/// What the specification says, session by session.
fn naive(model: &Model, topic: &str) -> Vec<Flat> {
    let mut sessions: BTreeMap<(u16, u32), Vec<&Subscriber>> = BTreeMap::new();
    for ((shard, slot, text), s) in model {
        if filter(text).matches(TopicName::new(topic).unwrap()) {
            sessions.entry((*shard, *slot)).or_default().push(s);
        }
    }
    let merge = |((shard, slot), all): ((u16, u32), Vec<&Subscriber>)| {
        let mut ids: Vec<_> = all.iter().filter_map(|s| s.subscription_id.map(NonZeroU32::get)).collect();
        ids.sort_unstable();
        let qos = all.iter().map(|s| s.options.qos).max().unwrap();
        let no_local = all.iter().all(|s| s.options.no_local);
        let rap = all.iter().any(|s| s.options.retain_as_published);
        (shard, slot, all[0].durable, qos, no_local, rap, ids)
    };
    sessions.into_iter().map(merge).collect()
}

fn flat(t: &Target) -> Flat {
    (
        t.shard.0,
        t.session.slot,
        t.durable,
        t.qos,
        t.no_local,
        t.retain_as_published,
        t.subscription_ids.as_slice().to_vec(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_is_the_naive_matcher(steps in prop::collection::vec(step(), 0..150)) {
        let (mut router, mut model, mut routes) = (Router::new((3, 4)), Model::new(), Routes::new());
        for step in steps {
            let generation = router.generation();
            match step {
                Step::Subscribe(text, s) => {
                    let old = model.insert((s.shard.0, s.session.slot, text.clone()), s);
                    let expected = if old.is_some() { Subscribed::Replaced } else { Subscribed::New };
                    prop_assert_eq!(router.subscribe(filter(&text), s), expected);
                    prop_assert!(router.generation() > generation);
                }
                Step::Unsubscribe(text, shard, slot) => {
                    let found = model.remove(&(shard, slot, text.clone())).is_some();
                    let session = SessionKey { slot, generation: 0 };
                    prop_assert_eq!(router.unsubscribe(filter(&text), ShardId(shard), session), found);
                    prop_assert_eq!(router.generation() > generation, found);
                }
                Step::Match(topic) => {
                    router.routes(TopicName::new(&topic).unwrap(), &mut routes);
                    let found: Vec<_> = routes.iter().map(flat).collect();
                    prop_assert_eq!(found, naive(&model, &topic), "{}", topic);
                }
            }
            prop_assert_eq!(router.len(), model.len());
        }
        for ((shard, slot, text), _) in model {
            let session = SessionKey { slot, generation: 0 };
            prop_assert!(router.unsubscribe(filter(&text), ShardId(shard), session));
        }
        prop_assert_eq!((router.len(), router.nodes()), (0, 1));
    }
}
