//! Full queues that make publishers wait (`WhenFull::Block`): who waits, who does not, and what lets them go on.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::Event;
use culex_core::engine::question::{Asks, Question, Verdict};
use culex_core::engine::shard::StoreRoom;
use culex_core::engine::store::Tables;
use culex_core::engine::{QueueLimits, SessionOptions};
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    who_publishes_to_a_full_queue_waits_and_nothing_is_dropped,
    bytes_are_a_limit_too,
    all_queues_together_are_a_limit_too,
    what_is_on_its_way_gets_in,
    who_would_put_nothing_into_it_goes_on,
    a_client_that_waits_is_not_silent,
    one_that_waits_can_be_taken_over_and_its_will_is_published,
    clients_that_wait_and_go_leave_nothing_behind,
    who_has_such_a_queue_waits_for_none,
    two_that_publish_to_each_other_do_not_stand_still,
    a_will_does_not_wait,
    a_message_that_was_given_another_topic_does_not_wait,
    the_end_of_the_session_lets_everybody_go_on,
    unsubscribing_lets_everybody_go_on,
    another_limit_lets_everybody_go_on,
    it_is_full_after_a_restart_too,
    a_full_store_is_waited_for_first,
    a_client_makes_nobody_wait,
    nothing_is_lost_whatever_happens,
);

const MESSAGES: u64 = 8;

fn most(number: u64) -> Limit {
    Limit::at_most(number).unwrap()
}

fn wanting(messages: Limit, bytes: Limit, when_full: WhenFull) -> SessionOptions {
    SessionOptions { queue: Some(QueueLimits { messages, bytes, when_full }), ..SessionOptions::default() }
}

fn blocking() -> SessionOptions {
    wanting(most(MESSAGES), Limit::Unlimited, WhenFull::Block)
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

/// The host's client, with its session.
fn host(world: &mut World, id: &str, options: SessionOptions) -> Peer {
    let peer = world.connect_wanting(&Connect::new(id).persistent(), options).expect("accepted");
    let packets = world.take_packets(peer);
    assert!(packets.first().is_some_and(|first| first.starts_with("CONNACK")), "{packets:?}");
    peer
}

/// A session of the host that wants `t/#`, and is away.
fn queue(world: &mut World, options: SessionOptions) {
    let peer = host(world, "host", options);
    world.send(peer, &wire::subscribe(1, &[("t/#", 2)]));
    world.lose(peer);
}

fn world(shards: u16) -> World {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    queue(&mut world, blocking());
    world
}

fn numbered(topic: &str, number: u64) -> Vec<u8> {
    let id = u16::try_from(number).unwrap();
    Publish::new(topic, number.to_string()).qos(1, id).encode()
}

/// Publishes these, one after another.
fn publish(world: &mut World, peer: Peer, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        world.send(peer, &numbered("t/1", number));
    }
}

/// A publisher that has filled the queue, and waits with this many messages more.
fn waiting(world: &mut World, id: &str, more: u64) -> Peer {
    let publisher = connected(world, &Connect::new(id));
    publish(world, publisher, 1..=MESSAGES + more);
    assert_eq!(world.take_packets(publisher).len() as u64, MESSAGES);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    publisher
}

/// Comes back, and acknowledges all that comes.
fn drain(world: &mut World, id: &str, options: SessionOptions) -> Vec<String> {
    let peer = world.connect_wanting(&Connect::new(id).persistent(), options).expect("accepted");
    let mut found = Vec::new();
    loop {
        let packets = world.take_packets(peer);
        if packets.is_empty() {
            return found;
        }
        for packet in packets.iter().filter_map(|packet| packet.strip_prefix("PUBLISH ")) {
            let (message, rest) = packet.split_once(" q1 id=").expect("QoS 1");
            found.push(message.to_owned());
            world.send(peer, &wire::puback(rest.split(' ').next().unwrap().parse().unwrap()));
        }
    }
}

fn expected(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("t/1 {number}")).collect()
}

fn dropped(world: &World) -> u64 {
    world.sum(|stats| stats.dropped_queue_full + stats.dropped_queue_total)
}

fn who_publishes_to_a_full_queue_waits_and_nothing_is_dropped(shards: u16) {
    let mut world = world(shards);
    let publisher = waiting(&mut world, "publisher", 20);
    assert_eq!(world.sum(|stats| stats.queue_messages), MESSAGES);
    assert_eq!(world.sum(|stats| stats.queues_full), 1);
    let host = world.shards.iter().find_map(|shard| shard.session_info("host")).unwrap();
    assert!(host.queue_is_full && host.queue_messages == MESSAGES);
    // Others of the same topic wait as well, those of another one do not, and a PING behind a PUBLISH waits with it.
    let other = connected(&mut world, &Connect::new("other"));
    world.send(other, &[numbered("free", 1), wire::PINGREQ.to_vec(), numbered("t/2", 2)].concat());
    world.send(other, wire::PINGREQ);
    assert_eq!(world.take_packets(other), ["PUBACK 1", "PINGRESP"]);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 2);
    let mut found = drain(&mut world, "host", blocking());
    // PUBACK has the store to wait for.
    let mut answers = world.take_packets(other);
    answers.sort();
    assert_eq!(answers, ["PINGRESP", "PUBACK 2"]);
    assert_eq!(world.take_packets(publisher).len(), 20);
    let place = found.iter().position(|message| message == "t/2 2").unwrap();
    found.remove(place);
    assert_eq!(found, expected(1..=MESSAGES + 20));
    assert_eq!(dropped(&world), 0);
    assert_eq!(world.sum(|stats| stats.publishers_waiting + stats.queues_full), 0);
    let told = world.events.iter().filter(|event| matches!(event, Event::QueueFull { .. }));
    assert_eq!(told.count(), 1, "however often it was full in this minute");
}

fn bytes_are_a_limit_too(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let options = wanting(Limit::Unlimited, most(2000), WhenFull::Block);
    queue(&mut world, options);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for id in 1..=5 {
        world.send(publisher, &Publish::new("t/1", "x".repeat(997)).qos(1, id).encode());
    }
    assert_eq!(world.take_packets(publisher), ["PUBACK 1", "PUBACK 2"]);
    assert_eq!(drain(&mut world, "host", options).len(), 5);
    assert_eq!(dropped(&world), 0);
}

fn all_queues_together_are_a_limit_too(shards: u16) {
    let limits = Limits { queue_total_bytes: most(10_000), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let options = wanting(Limit::Unlimited, Limit::Unlimited, WhenFull::Block);
    queue(&mut world, options);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for id in 1..=50 {
        world.send(publisher, &Publish::new("t/1", "x".repeat(997)).qos(1, id).encode());
    }
    let taken = world.take_packets(publisher).len();
    assert!((9..=11).contains(&taken), "{taken}");
    assert_eq!(drain(&mut world, "host", options).len(), 50);
    assert_eq!(world.take_packets(publisher).len(), 50 - taken);
    assert_eq!(dropped(&world), 0);
}

/// What a shard has taken before it knows is not lost.
fn what_is_on_its_way_gets_in(shards: u16) {
    let mut world = world(shards);
    let publishers = ["a", "b", "c"].map(|id| connected(&mut world, &Connect::new(id)));
    world.hold_mail();
    for publisher in publishers {
        for number in 1..=20 {
            world.send(publisher, &numbered("t/1", number));
        }
        assert_eq!(world.take_packets(publisher).len(), 20);
    }
    world.release_mail();
    for publisher in publishers {
        world.send(publisher, &numbered("t/1", 21));
        assert_eq!(world.take_packets(publisher), [""; 0]);
    }
    assert_eq!(drain(&mut world, "host", blocking()).len(), 63);
    assert_eq!(dropped(&world), 0);
}

fn who_would_put_nothing_into_it_goes_on(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "publisher", 1);
    let other = connected(&mut world, &Connect::new("other").persistent());
    for (packet, answer) in [
        (Publish::new("t/1", "QoS 0").encode(), None),
        (Publish::new("$SYS/t", "x").qos(1, 1).encode(), Some("PUBACK 1")),
        (numbered("free", 2), Some("PUBACK 2")),
        (wire::subscribe(3, &[("t/#", 1)]), Some("SUBACK 3 [1]")),
        (wire::PINGREQ.to_vec(), Some("PINGRESP")),
    ] {
        world.send(other, &packet);
        assert_eq!(world.take_packets(other), Vec::from_iter(answer));
    }
    // A repetition was taken before it was full.
    world.send(other, &Publish::new("free", "x").qos(2, 4).encode());
    world.send(other, &wire::unsubscribe(5, &["t/#"]));
    assert_eq!(world.take_packets(other), ["PUBREC 4", "UNSUBACK 5"]);
    // Where QoS 0 is queued, it waits.
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let options = SessionOptions { queue_qos0: true, ..blocking() };
    queue(&mut world, options);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for number in 1..=MESSAGES + 3 {
        world.send(publisher, &Publish::new("t/1", number.to_string()).encode());
    }
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    assert_eq!(drain(&mut world, "host", options), expected(1..=MESSAGES + 3));
}

fn a_client_that_waits_is_not_silent(shards: u16) {
    let mut world = world(shards);
    let publisher = connected(&mut world, &Connect { keep_alive: 10, ..Connect::new("publisher") });
    publish(&mut world, publisher, 1..=MESSAGES + 2);
    for _ in 0..100 {
        world.advance(7_000);
    }
    assert!(!world.is_closed(publisher));
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 2));
    world.advance(14_000);
    assert!(!world.is_closed(publisher), "from now on it is its own time");
    world.advance(2_000);
    assert!(world.is_closed(publisher));
}

fn one_that_waits_can_be_taken_over_and_its_will_is_published(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "filler", 1);
    let reader = connected(&mut world, &Connect::new("reader"));
    world.send(reader, &wire::subscribe(1, &[("will", 0)]));
    world.take_output(reader);
    let device = || Connect::new("device").will(Will::new("will", "gone", 0));
    let first = connected(&mut world, &device());
    publish(&mut world, first, 1..=1);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 2);
    let second = connected(&mut world, &device());
    assert!(world.is_closed(first));
    assert_eq!(world.take_packets(reader), ["PUBLISH will gone"]);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    publish(&mut world, second, 1..=1);
    world.lose(second);
    assert_eq!(world.take_packets(reader), ["PUBLISH will gone"]);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 1));
}

fn clients_that_wait_and_go_leave_nothing_behind(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "filler", 1);
    for _ in 0..500 {
        let client = connected(&mut world, &Connect::new("comes and goes"));
        publish(&mut world, client, 1..=1);
        world.lose(client);
    }
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 1));
}

/// Behind what it publishes lie its acknowledgements, which make room: its own messages are dropped instead, and counted.
fn who_has_such_a_queue_waits_for_none(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "filler", 1);
    for when_full in [WhenFull::Block, WhenFull::DropOldest] {
        let dropped_before = dropped(&world);
        let bridge = host(&mut world, "bridge", wanting(most(5), Limit::Unlimited, when_full));
        publish(&mut world, bridge, 1..=3);
        assert_eq!(world.take_packets(bridge), ["PUBACK 1", "PUBACK 2", "PUBACK 3"]);
        assert_eq!(dropped(&world) - dropped_before, 3);
    }
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 1);
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 1));
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
}

/// Two bridges, each of which brings in what the other one takes out.
fn two_that_publish_to_each_other_do_not_stand_still(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let names = ["there", "back"];
    let [there, back] = names.map(|name| {
        let peer = host(&mut world, name, SessionOptions { no_local: true, ..blocking() });
        world.send(peer, &wire::subscribe(1, &[("t/#", 1)]));
        world.take_output(peer);
        peer
    });
    // Neither acknowledges anything, so both queues fill.
    for number in 1..=3 * MESSAGES {
        for peer in [there, back] {
            world.send(peer, &numbered("t/1", number));
        }
    }
    assert_eq!(world.sum(|stats| stats.queues_full), 2);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 0);
    for peer in [there, back] {
        let packets = world.take_packets(peer);
        let count = |word: &str| packets.iter().filter(|packet| packet.starts_with(word)).count() as u64;
        assert_eq!((count("PUBACK"), count("PUBLISH")), (3 * MESSAGES, MESSAGES), "{packets:?}");
        for id in 1..=MESSAGES {
            world.send(peer, &wire::puback(u16::try_from(id).unwrap()));
        }
    }
    assert_eq!(world.sum(|stats| stats.queues_full + stats.queue_messages), 0);
    assert_eq!(dropped(&world), 4 * MESSAGES);
}

fn a_will_does_not_wait(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "filler", 1);
    let device = connected(&mut world, &Connect::new("device").will(Will::new("t/will", "gone", 1)));
    world.lose(device);
    assert_eq!(dropped(&world), 1);
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 1));
    let device = connected(&mut world, &Connect::new("device").will(Will::new("t/will", "gone", 1)));
    world.lose(device);
    assert_eq!(drain(&mut world, "host", blocking()), ["t/will gone"]);
}

/// What a hook does with a topic nobody knows before; and how long it takes neither.
fn a_message_that_was_given_another_topic_does_not_wait(shards: u16) {
    let asks = Asks { publish: true, ..Asks::default() };
    let mut world = World::asking(shards, &Limits::default(), Store::Open, asks);
    queue(&mut world, blocking());
    let deliver = |world: &mut World, topic: &str| {
        let (peer, question) = world.questions.pop_front().expect("a question");
        let Question::Publish(mut message) = question else { unreachable!("nobody subscribes") };
        message.set_topic(topic).unwrap();
        world.answer(peer, Verdict::Deliver(Box::new(message)));
    };
    let late = connected(&mut world, &Connect::new("late"));
    publish(&mut world, late, 1..=1);
    let late_question = world.questions.pop_front().expect("a question");
    let filler = connected(&mut world, &Connect::new("filler"));
    for number in 1..=MESSAGES {
        publish(&mut world, filler, number..=number);
        deliver(&mut world, "t/1");
    }
    publish(&mut world, filler, 9..=9);
    assert!(world.questions.is_empty(), "who waits is not asked about");
    let mover = connected(&mut world, &Connect::new("mover"));
    world.send(mover, &numbered("free", 7));
    deliver(&mut world, "t/moved");
    assert_eq!((world.take_packets(mover), dropped(&world)), (vec!["PUBACK 7".to_owned()], 1));
    world.questions.push_front(late_question);
    deliver(&mut world, "t/1");
    assert_eq!(world.take_packets(late), ["PUBACK 1"]);
    assert_eq!(world.sum(|stats| stats.queue_messages), MESSAGES + 1);
    assert_eq!(dropped(&world), 1);
}

/// A publisher goes on, and what it publishes is for nobody.
fn goes_on(world: &mut World, publisher: Peer, more: usize) {
    assert_eq!(world.take_packets(publisher).len(), more);
    assert_eq!(world.sum(|stats| stats.publishers_waiting), 0);
}

fn the_end_of_the_session_lets_everybody_go_on(shards: u16) {
    let mut world = world(shards);
    let publisher = waiting(&mut world, "publisher", 5);
    world.connect_wanting(&Connect::new("host"), SessionOptions::default()).expect("accepted");
    goes_on(&mut world, publisher, 5);
    assert_eq!(world.sum(|stats| stats.queues_full), 0);
}

fn unsubscribing_lets_everybody_go_on(shards: u16) {
    let mut world = world(shards);
    let publisher = waiting(&mut world, "publisher", 5);
    let host = host(&mut world, "host", blocking());
    world.send(host, &wire::unsubscribe(2, &["t/#"]));
    goes_on(&mut world, publisher, 5);
    assert_eq!(world.sum(|stats| stats.queues_full), 1, "what waits in it waits on");
}

fn another_limit_lets_everybody_go_on(shards: u16) {
    let mut world = world(shards);
    let publisher = waiting(&mut world, "publisher", 5);
    let peer = host(&mut world, "host", wanting(most(10 * MESSAGES), Limit::Unlimited, WhenFull::Block));
    goes_on(&mut world, publisher, 5);
    world.lose(peer);
    let peer = host(&mut world, "host", blocking());
    publish(&mut world, publisher, 20..=22);
    assert_eq!(world.take_packets(publisher), [""; 0], "a lower one holds at once");
    world.lose(peer);
    host(&mut world, "host", wanting(most(MESSAGES), Limit::Unlimited, WhenFull::DropNewest));
    goes_on(&mut world, publisher, 3);
    assert_eq!(dropped(&world), 3);
}

fn it_is_full_after_a_restart_too(shards: u16) {
    let mut world = world(shards);
    waiting(&mut world, "publisher", 1);
    let mut tables = Tables::default();
    for (_, batch) in std::mem::take(&mut world.batches) {
        tables.keep(&batch, world.wall());
    }
    let mut world = world.restarted(shards + 1, &Limits::default(), tables.stored(), 1000);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    publish(&mut world, publisher, 9..=9);
    assert_eq!(world.take_packets(publisher), [""; 0]);
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=9));
    assert_eq!(world.take_packets(publisher), ["PUBACK 9"]);
}

fn a_full_store_is_waited_for_first(shards: u16) {
    let mut world = world(shards);
    let publisher = waiting(&mut world, "publisher", 1);
    for room in [StoreRoom::Full, StoreRoom::Free] {
        world.store_room(room);
        // However long that is: who waits for a queue does not wait for the store.
        world.advance(600_000);
        assert!(!world.is_closed(publisher) && world.take_packets(publisher).is_empty());
    }
    assert_eq!(drain(&mut world, "host", blocking()), expected(1..=MESSAGES + 1));
}

/// It would only have to stop reading.
fn a_client_makes_nobody_wait(shards: u16) {
    let limits = Limits { queue_messages: most(MESSAGES), when_full: WhenFull::Block, ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let reader = connected(&mut world, &Connect::new("reader").persistent());
    world.send(reader, &wire::subscribe(1, &[("t/#", 1)]));
    world.lose(reader);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    publish(&mut world, publisher, 1..=MESSAGES + 5);
    assert_eq!(world.take_packets(publisher).len() as u64, MESSAGES + 5);
    assert_eq!(dropped(&world), 5);
}

/// Publishers, and a host that comes, acknowledges and goes, as chance has it; `CULEX_SEED` is one of them.
fn nothing_is_lost_whatever_happens(shards: u16) {
    const PUBLISHERS: usize = 4;
    let only = std::env::var("CULEX_SEED").ok().map(|seed| seed.parse().expect("a number"));
    for seed in only.map_or(0..200, |seed: u64| seed..seed + 1) {
        let mut state = seed;
        let mut chance = |below: usize| {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            usize::try_from((mixed >> 33) % below as u64).unwrap()
        };
        let mut world = world(shards);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| connected(&mut world, &Connect::new(&format!("p{number}"))))
            .collect();
        let (mut published, mut first) = ([0_u64; PUBLISHERS], vec![Vec::new(); PUBLISHERS]);
        let (mut peer, mut unacknowledged, mut is_held) = (None, Vec::new(), false);
        let mut hear = |world: &mut World, peer: Peer, unacknowledged: &mut Vec<u16>| {
            for packet in world.take_packets(peer) {
                let Some(message) = packet.strip_prefix("PUBLISH t/") else { continue };
                let words: Vec<_> = message.split(' ').collect();
                let (publisher, number): (usize, u64) =
                    (words.first().unwrap().parse().unwrap(), words.get(1).unwrap().parse().unwrap());
                let id = words.iter().find_map(|word| word.strip_prefix("id=")).unwrap();
                unacknowledged.push(id.parse().unwrap());
                let heard: &mut Vec<u64> = first.get_mut(publisher).unwrap();
                if !heard.contains(&number) {
                    heard.push(number);
                }
            }
        };
        for _ in 0..300 {
            match (chance(9), peer) {
                (0..=3, _) => {
                    let publisher = chance(PUBLISHERS);
                    let number = published.get_mut(publisher).unwrap();
                    *number += 1;
                    let packet = numbered(&format!("t/{publisher}"), *number);
                    world.send(*publishers.get(publisher).unwrap(), &packet);
                }
                (4, None) => {
                    let options =
                        if chance(4) == 0 { wanting(most(4), most(60), WhenFull::Block) } else { blocking() };
                    let connect = Connect::new("host").persistent();
                    peer = Some(world.connect_wanting(&connect, options).expect("accepted"));
                }
                (5 | 6, Some(host)) => {
                    hear(&mut world, host, &mut unacknowledged);
                    let count = chance(unacknowledged.len() + 1);
                    for id in unacknowledged.drain(..count) {
                        world.send(host, &wire::puback(id));
                    }
                }
                (7, Some(host)) => {
                    world.lose(host);
                    (peer, unacknowledged) = (None, Vec::new());
                }
                (8, _) => {
                    is_held = !is_held;
                    if is_held { world.hold_mail() } else { world.release_mail() }
                }
                (_, _) => {}
            }
        }
        world.release_mail();
        let host = world.connect_wanting(&Connect::new("host").persistent(), blocking()).expect("accepted");
        let mut unacknowledged = Vec::new();
        loop {
            hear(&mut world, host, &mut unacknowledged);
            if unacknowledged.is_empty() {
                break;
            }
            for id in unacknowledged.drain(..) {
                world.send(host, &wire::puback(id));
            }
        }
        for ((heard, published), peer) in first.iter().zip(published).zip(publishers) {
            assert_eq!(heard, &Vec::from_iter(1..=published), "seed {seed}");
            assert_eq!(world.take_packets(peer).len() as u64, published, "seed {seed}");
        }
        let left = world.sum(|stats| stats.publishers_waiting + stats.queues_full + stats.queue_messages);
        assert_eq!((left, dropped(&world)), (0, 0), "seed {seed}");
    }
}
