//! A bridge against another side that the test plays packet by packet: what it does when connections end in the middle of
//! something.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use culex::bridge::{Connector, Prepared};
use culex_core::engine::keys::{PublicationId, SessionId};
use culex_core::engine::publication::Publication;
use culex_core::engine::store::{Record, Stored};
use culex_core::engine::time::WallTime;
use culex_core::{Broker, QoS, Store, StoreError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use crate::kit::{Ear, Here, PATIENCE, Script, bridges_of};

const BRIDGE: &str =
    "[[bridge]]\nname = \"b\"\naddress = \"x\"\nnotifications_local_only = true\nreconnect_max = \"1s\"\n";
const OUT: &str = "[[bridge.out]]\nfilter = \"t/#\"\nqos = 2\n";
const IN: &str = "[[bridge.in]]\nfilter = \"in/#\"\nqos = 2\n";

const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBACK: u8 = 0x40;

/// A new session, and one that was there.
const CONNACK_NEW: &[u8] = b"\x20\x02\0\0";
const CONNACK_OLD: &[u8] = b"\x20\x02\x01\0";

async fn follow(here: &Here, ways: &str) -> Script {
    follow_all(here, &format!("{BRIDGE}{ways}")).await
}

async fn follow_all(here: &Here, toml: &str) -> Script {
    let script = Script::default();
    let way = |bridge| (bridge, Arc::new(script.clone()) as Arc<dyn Connector>);
    here.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    script
}

/// The other side of one connection.
struct Peer(DuplexStream);

impl Peer {
    /// The next connection of the bridge, whose CONNECT was read.
    async fn next(script: &Script) -> Self {
        let mut peer = Self(script.next().await);
        assert_eq!(peer.read().await[0], CONNECT);
        peer
    }

    /// A connection that is accepted.
    async fn accept(script: &Script, conn_ack: &[u8]) -> Self {
        let mut peer = Self::next(script).await;
        peer.write(conn_ack).await;
        peer
    }

    async fn write(&mut self, packets: &[u8]) {
        self.0.write_all(packets).await.unwrap();
    }

    /// The next packet but PINGREQ; none of these is longer than 127 bytes.
    async fn read(&mut self) -> Vec<u8> {
        let reading = async {
            let mut packet = vec![0; 2];
            self.0.read_exact(&mut packet).await.unwrap();
            assert!(packet[1] < 0x80, "{packet:02x?}");
            packet.resize(2 + usize::from(packet[1]), 0);
            self.0.read_exact(&mut packet[2..]).await.unwrap();
            packet
        };
        timeout(PATIENCE, reading).await.expect("a packet in time")
    }

    /// A PUBLISH of QoS 1 or 2 with a topic of 3 bytes: first byte, Packet Identifier and payload.
    async fn publish(&mut self) -> (u8, u16, String) {
        let packet = self.read().await;
        assert_eq!(packet[0] >> 4, 3, "{packet:02x?}");
        let packet_id = u16::from_be_bytes([packet[7], packet[8]]);
        (packet[0], packet_id, String::from_utf8(packet[9..].to_vec()).unwrap())
    }

    async fn answer(&mut self, packet_type: u8, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.write(&[packet_type, 2, high, low]).await;
    }

    /// Answers SUBSCRIBE, with QoS 2.
    async fn subscribed(&mut self) {
        let packet = self.read().await;
        assert_eq!(packet[0], SUBSCRIBE, "{packet:02x?}");
        self.write(&[0x90, 3, packet[2], packet[3], 2]).await;
    }
}

/// Paused while CONNECT had no answer: what was on its way is sent again all the same.
#[tokio::test]
async fn an_order_during_connect_loses_nothing() {
    let here = Here::start().await;
    let script = follow(&here, OUT).await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    near.publish("t/1", "first", QoS::AtLeastOnce).await.unwrap();
    let first = peer.publish().await;
    drop(peer);
    let _silent = Peer::next(&script).await;
    here.bridges.pause("b").await.unwrap();
    near.publish("t/1", "second", QoS::AtLeastOnce).await.unwrap();
    here.bridges.resume("b").await.unwrap();
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    assert_eq!(peer.publish().await, (first.0 | 8, first.1, first.2), "once more");
    peer.answer(PUBACK, first.1).await;
    let (_, packet_id, payload) = peer.publish().await;
    assert_eq!(payload, "second");
    peer.answer(PUBACK, packet_id).await;
    here.until("empty", |view| view["queue"]["messages"] == 0).await;
}

/// Whoever gave orders is gone: the connection ends in order, and its task with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_to_give_orders_is_the_end() {
    let here = Here::start().await;
    let script = follow(&here, OUT).await;
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    here.until_up().await;
    let Here { broker, bridges, .. } = here;
    drop(bridges);
    assert_eq!(peer.read().await, [0xe0, 0], "DISCONNECT");
    let is_there = async || {
        let session = broker.admin().session("$culex/bridge/b").await.unwrap();
        session.is_some_and(|session| session.connection.is_some())
    };
    let ended = async {
        while is_there().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the local session is left");
}

/// A connection ends while its messages are being published here: they come again, and only the other side notices.
#[tokio::test]
async fn what_is_under_way_when_a_connection_ends_comes_once_at_qos_2() {
    const COUNT: u16 = 60;
    let here = Here::start().await;
    let script = follow(&here, IN).await;
    let mut near = Ear::at(&here.broker, "near", "in/a").await;
    let publish = |first: u8, n: u16| {
        let [high, low] = n.to_be_bytes();
        [first, 10, 0, 4, b'i', b'n', b'/', b'a', high, low, b'x', low]
    };
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    peer.subscribed().await;
    let all: Vec<_> = (1..=COUNT).flat_map(|n| publish(0x34, n)).collect();
    peer.write(&all).await;
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    for n in 1..=COUNT {
        peer.write(&publish(0x3c, n)).await;
        let [high, low] = n.to_be_bytes();
        assert_eq!(peer.read().await, [PUBREC, 2, high, low]);
        peer.answer(PUBREL, n).await;
        assert_eq!(peer.read().await, [0x70, 2, high, low], "PUBCOMP");
    }
    let mut heard = near.hear_all(COUNT.into()).await;
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), usize::from(COUNT), "{heard:?}");
    near.hears_nothing("mine").await;
}

/// So many messages wait to be published here that no more are read: the connection lives, and nobody is blamed for answers
/// that are not read.
#[tokio::test]
async fn a_connection_lives_while_nothing_more_fits_in_here() {
    const COUNT: u8 = 120;
    // And a little more.
    const KEEP_ALIVE: Duration = Duration::from_secs(61);
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let store = Gated(Arc::clone(&gate));
    let broker = Broker::builder().without_listener().custom_store(move || Ok(store.clone()));
    let here = Here::of(broker.start().await.unwrap());
    let keeper = here.broker.client("keeper").persistent(Duration::MAX).connect().await.unwrap();
    keeper.0.subscribe("in/#", QoS::AtLeastOnce).await.unwrap();
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    let script = follow(&here, &format!("{OUT}{IN}")).await;
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    peer.subscribed().await;
    near.publish("t/1", "x", QoS::AtLeastOnce).await.unwrap();
    let (_, packet_id, _) = peer.publish().await;
    *gate.0.lock().unwrap() = false;
    for n in 1..=COUNT {
        peer.write(&[0x32, 8, 0, 4, b'i', b'n', b'/', b'a', 0, n]).await;
    }
    work().await;
    // While a blocking task runs, the clock does not go on by itself.
    let (_hold, held) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(KEEP_ALIVE).await;
        tokio::select! {
            biased;
            packet = peer.read() => assert_eq!(packet, [0xc0, 0], "PINGREQ"),
            () = work() => panic!("no PINGREQ"),
        }
    }
    tokio::time::resume();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for n in 1..=COUNT {
        assert_eq!(peer.read().await, [PUBACK, 2, 0, n]);
    }
    peer.answer(PUBACK, packet_id).await;
    let view = here.until("empty", |view| view["queue"]["messages"] == 0).await;
    assert_eq!((&view["state"], &view["throttled"]), (&"up".into(), &0.into()), "{view}");
}

/// The other side has lost its session, and the connection ended before it had answered SUBSCRIBE: it is asked again. What it
/// refuses stays known as long as it is not asked again.
#[tokio::test]
async fn subscriptions_are_asked_for_until_there_was_an_answer() {
    let here = Here::start().await;
    let script = follow(&here, IN).await;
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    peer.subscribed().await;
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    assert_eq!(peer.read().await[0], SUBSCRIBE);
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    let packet = peer.read().await;
    assert_eq!(packet[0], SUBSCRIBE);
    peer.write(&[0x90, 3, packet[2], packet[3], 0x80]).await;
    let is_refused = |view: &Value| view["refused_subscriptions"] == json!(["in/#: 0x80"]);
    here.until("refused", is_refused).await;
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    here.until("up", |view| view["state"] == "up" && view["reconnects"] == 3).await;
    assert!(is_refused(&here.view().await));
    drop(peer);
    peer = Peer::accept(&script, CONNACK_NEW).await;
    peer.subscribed().await;
    here.until("not refused", |view| view["refused_subscriptions"] == json!([])).await;
}

/// A message that may be why a connection was closed is alone: what else the other side could close it for waits.
#[tokio::test]
async fn nothing_else_goes_while_a_message_is_suspect() {
    let here = Here::start().await;
    let script = follow(&here, &format!("{OUT}{IN}")).await;
    let (near, _) = here.broker.client("near").await.unwrap();
    for n in 0..2 {
        near.publish("t/x", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let packet = peer.read().await;
        if packet[0] != SUBSCRIBE {
            assert_eq!(packet[0], 0x32, "{packet:x?}");
            ids.push(u16::from_be_bytes([packet[7], packet[8]]));
        }
    }
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    for id in ids {
        assert_eq!(peer.read().await[..1], [0x3a], "once more, one after the other");
        peer.answer(PUBACK, id).await;
    }
    peer.subscribed().await;
    let view = here.until("empty", |view| view["queue"]["messages"] == 0).await;
    assert_eq!(view["out"]["delivered"], 2, "{view}");
}

/// A broker that closes the connection for our state: no message looks as if it were the reason, because that goes anew
/// with each connection, behind what is suspect.
#[tokio::test]
async fn our_state_is_no_messages_fault() {
    let here = Here::start().await;
    let toml =
        format!("{BRIDGE}{OUT}").replace("notifications_local_only = true", "notification_topic = \"s\"");
    let script = follow_all(&here, &toml).await;
    let (near, _) = here.broker.client("near").await.unwrap();
    for n in 0..3 {
        near.publish("t/x", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let is_state = |packet: &[u8]| packet[4] == b's';
    let mut peer = Peer::accept(&script, CONNACK_NEW).await;
    let mut seen = [0, 0];
    while seen != [3, 1] {
        seen[usize::from(is_state(&peer.read().await))] += 1;
    }
    drop(peer);
    let mut peer = Peer::accept(&script, CONNACK_OLD).await;
    for _ in 0..3 {
        let packet = peer.read().await;
        assert!(!is_state(&packet), "{packet:x?}");
        peer.answer(PUBACK, u16::from_be_bytes([packet[7], packet[8]])).await;
    }
    assert!(is_state(&peer.read().await));
    let view = here.until("empty", |view| view["queue"]["messages"] == 0).await;
    assert_eq!((&view["out"]["delivered"], &view["out"]["dead_lettered"]), (&3.into(), &0.into()), "{view}");
}

/// A store that forgets, and keeps nothing more while its gate is closed.
#[derive(Clone)]
struct Gated(Arc<(Mutex<bool>, Condvar)>);

impl Store for Gated {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored::default())
    }

    fn commit(&mut self, _: &[Record], _: WallTime) -> Result<(), StoreError> {
        let (is_open, changed) = &*self.0;
        drop(changed.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        Ok(())
    }

    fn read(
        &mut self,
        _: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError> {
        Ok(vec![None; entries.len()])
    }
}

/// Everybody on this thread does what there is to do at this moment.
async fn work() {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
}
