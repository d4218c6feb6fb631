//! Brokers on the other side that do what no broker should. Nothing of it reaches the broker here or other bridges, and
//! as soon as the other side is a broker again, everything arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use culex::bridge::{Connector, Prepared};
use culex_core::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use crate::kit::{Ear, Here, PATIENCE, Script, bridges_of, broker};

const CONNACK: &[u8] = b"\x20\x02\0\0";
/// A level of the topics of questions about circles.
const QUESTION: &[u8] = b"culex-loop-check";

/// What the other side writes after it has read CONNECT, and whether it closes then.
const BEHAVIOURS: &[(&str, &[&[u8]], bool)] = &[
    ("closes", &[], true),
    ("never-answers", &[], false),
    ("refuses", &[b"\x20\x02\0\x05"], true),
    ("not-mqtt", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], true),
    ("malformed-connack", &[b"\x20\x02\xff\xff"], false),
    ("endless-connack", &[b"\x20\xff\xff\xff\x7f", &[0; 4096], &[0; 4096]], false),
    ("malformed-length", &[CONNACK, b"\x30\xff\xff\xff\xff\xff"], false),
    ("malformed-suback", &[CONNACK, b"\x90\x01\0"], false),
    ("suback-of-nothing", &[CONNACK, b"\x90\x03\x7f\x7f\0"], false),
    ("suback-too-short", &[CONNACK, b"\x90\x03\0\x01\0\x90\x03\0\x01\0"], false),
    ("malformed-publish", &[CONNACK, b"\x36\x04\0\x01a\0"], false),
    ("endless-publish", &[CONNACK, b"\x30\xff\xff\xff\x7f\0\x01a", &[0x61; 65536]], false),
    ("wildcard-publish", &[CONNACK, b"\x30\x05\0\x03a/#"], false),
    ("system-publish", &[CONNACK, b"\x32\x0c\0\x06$SYS/x\0\x05ab"], false),
    ("packet-id-0", &[CONNACK, b"\x32\x06\0\x01a\0\0x"], false),
    ("second-connack", &[CONNACK, CONNACK], false),
    ("subscribe", &[CONNACK, b"\x82\x06\0\x01\0\x01a\0"], false),
    ("puback-of-nothing", &[CONNACK, b"\x40\x02\x7f\xff"], false),
    ("pubrec-of-nothing", &[CONNACK, b"\x50\x02\x7f\xff\x50\x02\0\x01"], false),
    ("pubrel-of-nothing", &[CONNACK, b"\x62\x02\x7f\xff"], true),
    ("half-a-packet", &[CONNACK, b"\x32\x10\0\x01a"], true),
    ("pings", &[CONNACK, b"\xc0\0\xc0\0"], false),
];

/// Reads a CONNECT, and does what it should not.
async fn misbehave(mut stream: DuplexStream, packets: &[&[u8]], closes: bool) -> Option<DuplexStream> {
    let mut connect = [0; 1024];
    let _ = stream.read(&mut connect).await.unwrap();
    for packet in packets {
        // A bridge that has gone is what is wanted.
        if stream.write_all(packet).await.is_err() {
            return None;
        }
    }
    (!closes).then_some(stream)
}

#[tokio::test]
async fn a_hostile_remote_harms_nothing() {
    let (here, there) = (Here::start().await, broker().await);
    let mut bridges = Vec::new();
    let mut peers = Vec::new();
    for (name, packets, closes) in BEHAVIOURS {
        let toml = format!(
            "[[bridge]]\nname = \"{name}\"\naddress = \"x\"\nclient_id = \"{name}\"\nreconnect_max = \"1s\"\n\
             notifications_local_only = true\n[[bridge.out]]\nfilter = \"{name}\"\n[[bridge.in]]\nfilter = \"in/#\"\n\
             local_prefix = \"from/{name}/\"\n"
        );
        let script = Script::default();
        let connector = Arc::new(script.clone()) as Arc<dyn Connector>;
        bridges.extend(bridges_of(&toml).into_iter().map(|bridge| (bridge, Arc::clone(&connector))));
        let there = there.clone();
        peers.push(tokio::spawn(async move {
            let mut held = Vec::new();
            for _ in 0..2 {
                let stream = script.next().await;
                held.extend(misbehave(stream, packets, *closes).await);
                // Who is silent must go, or the bridge would wait for its time.
                if packets.len() < 2 {
                    held.clear();
                }
                if *name == "never-answers" || name.starts_with("endless") {
                    held.clear();
                }
                if matches!(
                    *name,
                    "puback-of-nothing" | "pubrec-of-nothing" | "pubrel-of-nothing" | "system-publish"
                ) {
                    held.clear();
                }
            }
            loop {
                let stream = script.next().await;
                there.serve(stream, "a bridge").unwrap();
            }
        }));
    }
    let mut far = Ear::at(&there, "far", "#").await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    here.bridges.follow(Prepared::new(bridges)).await;
    for (name, ..) in BEHAVIOURS {
        near.publish(name, "held", QoS::AtLeastOnce).await.unwrap();
    }
    let mut missing: Vec<_> = BEHAVIOURS.iter().map(|(name, ..)| *name).collect();
    let arriving = async {
        while !missing.is_empty() {
            let message = far.hear().await;
            missing.retain(|name| *name != message.topic);
        }
    };
    if timeout(2 * PATIENCE, arriving).await.is_err() {
        let list = here.bridges.list().await;
        let stuck: Vec<_> =
            list.iter().filter(|view| missing.iter().any(|name| view["name"] == *name)).collect();
        panic!("{missing:?}: {stuck:#?}");
    }
    peers.iter().for_each(tokio::task::JoinHandle::abort);
    timeout(Duration::from_secs(60), here.bridges.stop()).await.expect("bridges stop");
}

/// A remote that sends without end and never waits: it is read no faster than the broker here takes it.
#[tokio::test]
async fn a_remote_that_floods_is_read_as_fast_as_the_broker_takes_it() {
    let here = Here::start().await;
    let script = Script::default();
    let toml = "[[bridge]]\nname = \"b\"\naddress = \"x\"\nnotifications_local_only = true\n[[bridge.in]]\nfilter = \"#\"\n";
    let way = |bridge| (bridge, Arc::new(script.clone()) as Arc<dyn Connector>);
    let mut near = Ear::at(&here.broker, "near", "t").await;
    here.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    let stream = script.next().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drained = tokio::spawn(async move {
        let mut sink = [0; 4096];
        while reader.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    writer.write_all(CONNACK).await.unwrap();
    for n in 0..20_000_u16 {
        let [high, low] = (n + 1).to_be_bytes();
        // No PUBACK was waited for.
        writer.write_all(&[0x32, 6, 0, 1, b't', high, low, b'x']).await.unwrap();
        if n % 64 == 63 {
            near.hear_all(64).await;
        }
    }
    let view = here.until("all", |view| view["in"]["delivered"].as_u64() >= Some(20_000)).await;
    assert_eq!(view["state"], "up", "{view}");
    drained.abort();
}

/// What a mapping makes of a topic may be one that only the broker publishes to.
#[tokio::test]
async fn no_change_of_a_topic_leads_to_what_is_the_brokers_own() {
    let here = Here::start().await;
    let script = Script::default();
    let toml = "[[bridge]]\nname = \"b\"\naddress = \"x\"\nnotifications_local_only = true\n\
                [[bridge.in]]\nfilter = \"#\"\nremote_prefix = \"x/\"\n";
    let way = |bridge| (bridge, Arc::new(script.clone()) as Arc<dyn Connector>);
    let mut near = Ear::at(&here.broker, "near", "#").await;
    near.client.subscribe("$SYS/evil", QoS::AtLeastOnce).await.unwrap();
    here.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    let mut stream = script.next().await;
    stream.write_all(CONNACK).await.unwrap();
    stream.write_all(b"\x32\x10\0\x0bx/$SYS/evil\0\x01x").await.unwrap();
    stream.write_all(b"\x32\x08\0\x03x/t\0\x02x").await.unwrap();
    assert_eq!(near.hear().await.topic, "t", "the one before it must not come");
    let view = here.until("both", |view| view["in"]["delivered"] == 1 && view["in"]["dead_lettered"] == 1);
    assert_eq!(view.await["state"], "up");
}

/// A remote that closes the connection whenever a question about circles comes, as for a topic that it does not allow: it
/// gets none again with the messages that had no answer.
#[tokio::test]
async fn a_question_that_the_remote_closes_for_is_not_sent_again() {
    const MESSAGES: usize = 8;
    let (here, there) = (Here::start().await, broker().await);
    let script = Script::default();
    let toml = "[[bridge]]\nname = \"b\"\naddress = \"x\"\nreconnect_max = \"1s\"\nnotifications_local_only = true\n\
                [[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
    let way = |bridge| (bridge, Arc::new(script.clone()) as Arc<dyn Connector>);
    let mut far = Ear::at(&there, "far", "t/#").await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    here.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    let questions = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&questions);
    let peer = tokio::spawn(async move {
        loop {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            there.serve(theirs, "a bridge").unwrap();
            seen.fetch_add(pass_until_a_question(script.next().await, ours).await, Ordering::Release);
        }
    });
    for _ in 0..MESSAGES {
        near.publish("t/x", "the same", QoS::AtLeastOnce).await.unwrap();
    }
    here.until("closed for it", |_| questions.load(Ordering::Acquire) > 0).await;
    here.until_up().await;
    near.publish("t/x", "the last", QoS::AtLeastOnce).await.unwrap();
    let heard = async {
        let mut before = 0;
        while far.hear().await.payload != "the last" {
            before += 1;
        }
        before
    };
    assert!(timeout(PATIENCE, heard).await.expect("it arrives") >= MESSAGES);
    assert_eq!(questions.load(Ordering::Acquire), 1);
    peer.abort();
}

/// Passes everything on both ways until one of both closes, or what the bridge sends has a question in it: that is not
/// passed on. Says how many there were.
async fn pass_until_a_question(bridge: DuplexStream, broker: DuplexStream) -> usize {
    let (mut from_bridge, mut to_bridge) = tokio::io::split(bridge);
    let (mut from_broker, mut to_broker) = tokio::io::split(broker);
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_broker, &mut to_bridge).await });
    let mut chunk = vec![0; 64 << 10];
    let mut found = 0;
    while let Ok(read @ 1..) = from_bridge.read(&mut chunk).await {
        let sent = &chunk[..read];
        found = usize::from(sent.windows(QUESTION.len()).any(|window| window == QUESTION));
        if found > 0 || to_broker.write_all(sent).await.is_err() {
            break;
        }
    }
    back.abort();
    found
}
