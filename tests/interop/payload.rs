//! Large payloads and text beyond ASCII pass unchanged.

use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until};

#[test]
fn one_megabyte_passes_between_all_clients() {
    let payload = printable(1024 * 1024);
    all_to_all("large/payload", &payload);
}

#[test]
fn topics_and_payloads_beyond_ascii_pass_unchanged() {
    all_to_all("casa/cômodo 1/温度/🌡", "21,5 °C — ñ “ß” 摂氏");
}

#[test]
fn a_wildcard_stands_for_a_level_of_any_alphabet() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        let what = Subscribe { filter: "casa/+/温度/#", qos: 1, until: Until::Messages(2) };
        let mut subscriber = kind.subscribe(broker.addr, &Connect::new(&format!("wild{kind:?}")), &what);
        subscriber.subscribed();
        for topic in ["casa/cômodo 1/umidade", "casa/cômodo 1/温度", "casa/salão/温度/🌡/最高"] {
            let how = Publish::new(topic, 1);
            kind.publish(broker.addr, &Connect::new(&format!("wild{kind:?}2")), &how, &["é".into()]);
        }
        let topics: Vec<_> = subscriber.finish().messages.into_iter().map(|message| message.topic).collect();
        assert_eq!(topics, ["casa/cômodo 1/温度", "casa/salão/温度/🌡/最高"], "{kind:?}");
    }
}

fn all_to_all(topic: &str, payload: &str) {
    let broker = UnderTest::start();
    let kinds = Kind::installed(&Kind::ALL);
    let what = Subscribe { filter: topic, qos: 2, until: Until::Messages(3 * kinds.len()) };
    let start =
        |&kind: &Kind| (kind, kind.subscribe(broker.addr, &Connect::new(&format!("large{kind:?}")), &what));
    let mut subscribers: Vec<_> = kinds.iter().map(start).collect();
    for (_, subscriber) in &mut subscribers {
        subscriber.subscribed();
    }
    for publisher in kinds {
        for qos in 0..3 {
            let connect = Connect::new(&format!("large{publisher:?}{qos}"));
            let payload = format!("{publisher:?} {qos} {payload}");
            let expected = Message::new(topic, &payload, qos);
            publisher.publish(broker.addr, &connect, &Publish::new(topic, qos), &[payload]);
            // One at a time: a broker may drop megabytes of QoS 0 for a client that a busy machine keeps from reading.
            for (kind, subscriber) in &mut subscribers {
                let got = subscriber.message();
                assert!(got == expected, "to {kind:?}: {got:?} instead of {expected:?}");
            }
        }
    }
    for (kind, subscriber) in subscribers {
        assert_eq!(subscriber.finish().messages, [], "to {kind:?}");
    }
}

/// Printable characters that do not repeat soon, so that a shifted or swapped part shows.
fn printable(bytes: usize) -> String {
    let mut state: u32 = 0x2545_F491;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + ((state >> 16) % 90) as u8)
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
