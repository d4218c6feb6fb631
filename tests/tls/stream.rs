//! Bytes through a secured connection: nothing lost, nothing late, nothing without bounds.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use culex_core::limits::{Limit, Limits};
use culex_core::tls::Tls;
use culex_core::tls::rustls::version::{TLS12, TLS13};
use culex_core::{Broker, Listener, Threads, WebSocket};
use culex_tests::parse::{Received, parse};
use culex_tests::websocket::{self, Incoming};
use culex_tests::wire::{self, Connect, Publish};

use crate::authority::Authority;
use crate::peer::{BOTH, Peer, client_config, eventually, server_config};

/// A broker with one TLS listener, and who signed its certificate.
pub(crate) struct Secured {
    pub(crate) broker: Broker,
    pub(crate) authority: Authority,
    pub(crate) tls: Tls,
}

impl Secured {
    fn start(max_fragment_size: Option<usize>) -> Self {
        let authority = Authority::new("test authority");
        let mut config = server_config(&authority.server(&["localhost"]));
        config.max_fragment_size = max_fragment_size;
        Self::start_with(authority, Tls::new(config.into()), Limits::default())
    }

    pub(crate) fn start_with(authority: Authority, tls: Tls, limits: Limits) -> Self {
        let broker = Broker::builder()
            .listen(Listener::from(([127, 0, 0, 1], 0)).tls(tls.clone()))
            .threads(Threads::Exactly(NonZeroUsize::new(2).unwrap()))
            .limits(limits)
            .start_on_own_runtime()
            .unwrap();
        Self { broker, authority, tls }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.local_addrs()[0]
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.broker.metrics().get(name).unwrap()
    }

    fn connect(&self, id: &str) -> Peer {
        let mut peer = Peer::open(self.address(), client_config(&self.authority, &BOTH, None));
        peer.send(Connect::new(id).encode()).unwrap();
        assert!(matches!(peer.next(), Ok(Received::ConnAck { code: 0, .. })));
        peer
    }

    fn subscriber(&self, id: &str, filter: &str, qos: u8) -> Peer {
        let mut peer = self.connect(id);
        peer.send(wire::subscribe(1, &[(filter, qos)])).unwrap();
        assert_eq!(peer.next().unwrap(), Received::SubAck(1, vec![qos]));
        peer
    }
}

fn payload(peer: &mut Peer) -> Vec<u8> {
    match peer.next().unwrap() {
        Received::Publish(publish) => publish.payload,
        other => panic!("{other:?}"),
    }
}

/// The end of the stream came with bytes that are no whole record: no further edge tells of it.
#[test]
fn half_a_record_and_the_end_behind_it_is_the_end() {
    let secured = Secured::start(None);
    for n in 0..20 {
        let mut peer = secured.connect(&format!("c{n}"));
        peer.stream.sock.write_all(&[0x17, 3, 3, 0, 50, 1, 2, 3]).unwrap();
        peer.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(eventually(|| secured.metric("sockets") == 0), "connection {n} stays");
    }
}

/// WebSocket stands over TLS as it stands over a socket.
#[test]
fn websocket_passes_through_tls() {
    let authority = Authority::new("test authority");
    let tls = Tls::new(server_config(&authority.server(&["localhost"])).into());
    let listener = Listener::from(([127, 0, 0, 1], 0)).tls(tls).websocket(WebSocket::default());
    let broker = Broker::builder().listen(listener).start_on_own_runtime().unwrap();
    let mut peer = Peer::open(broker.local_addrs()[0], client_config(&authority, &BOTH, None));
    let mut incoming = Incoming::default();
    peer.send(websocket::mqtt_request()).unwrap();
    let fill = |peer: &mut Peer, incoming: &mut Incoming| {
        let mut chunk = vec![0; 64 << 10];
        let count = peer.stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed");
        incoming.feed(&chunk[..count]);
    };
    while incoming.answer().is_none_or(|answer| !answer.starts_with("HTTP/1.1 101 ")) {
        fill(&mut peer, &mut incoming);
    }
    let sent = pattern(1 << 20);
    let hello = [Connect::new("w").encode(), wire::subscribe(1, &[("t", 0)])].concat();
    peer.send(websocket::frames(hello.chunks(1))).unwrap();
    peer.send(websocket::frame(websocket::BINARY, &Publish::new("t", &sent).encode())).unwrap();
    let (mut bytes, mut came) = (Vec::new(), None);
    while came.is_none() {
        fill(&mut peer, &mut incoming);
        while let Some((kind, payload)) = incoming.frame().unwrap() {
            assert_eq!(kind, websocket::BINARY);
            bytes.extend(payload);
        }
        while let Some((packet, used)) = parse(&bytes).unwrap() {
            bytes.drain(..used);
            if let Received::Publish(publish) = packet {
                came = Some(publish.payload);
            }
        }
    }
    assert!(came.unwrap() == sent);
    // And its last word.
    peer.send(websocket::frame(websocket::TEXT, b"text")).unwrap();
    while incoming.frame().unwrap().is_none_or(|frame| frame != (websocket::CLOSE, vec![0x03, 0xEB])) {
        fill(&mut peer, &mut incoming);
    }
}

/// Bytes that tell where a piece is missing.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251 + n) as u8).collect()
}

#[test]
fn messages_of_every_size_pass_in_records_of_every_size() {
    for version in [&TLS12, &TLS13] {
        for fragment in [None, Some(512), Some(32)] {
            let secured = Secured::start(fragment);
            let mut config = client_config(&secured.authority, &[version], None);
            config.max_fragment_size = fragment;
            let mut peer = Peer::open(secured.address(), config);
            peer.send(Connect::new("echo").encode()).unwrap();
            peer.send(wire::subscribe(1, &[("echo", 0)])).unwrap();
            assert!(matches!(peer.next(), Ok(Received::ConnAck { code: 0, .. })));
            assert!(matches!(peer.next(), Ok(Received::SubAck(..))));
            for len in [0, 1, 100, 16_383, 16_384, 16_385, 70_000, 300_000] {
                let sent = pattern(len);
                peer.send(Publish::new("echo", &sent).encode()).unwrap();
                assert!(payload(&mut peer) == sent, "{len} bytes, {version:?}, {fragment:?}");
            }
        }
    }
}

/// A device with room for 512 bytes, such as BearSSL on an ESP8266 with `setBufferSizes(512, 512)`.
#[test]
fn no_record_has_more_content_than_its_listener_allows() {
    let secured = Secured::start(Some(512));
    let mut config = client_config(&secured.authority, &[&TLS12], None);
    config.max_fragment_size = Some(512);
    let mut peer = Peer::open(secured.address(), config);
    let mut records = Vec::new();
    hear(&mut peer, &mut records, |peer| !peer.stream.conn.is_handshaking());
    let mut bytes = Connect::new("esp8266").encode();
    bytes.extend(wire::subscribe(1, &[("esp", 0)]));
    bytes.extend(Publish::new("esp", pattern(5000)).encode());
    peer.stream.conn.writer().write_all(&bytes).unwrap();
    let mut came = 0;
    hear(&mut peer, &mut records, |peer| {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = peer.stream.conn.reader().read(&mut chunk) {
            came += count;
        }
        came >= 5000
    });
    assert!(records.len() >= 10, "{records:?}");
    // 8 bytes of nonce and 16 of tag.
    assert!(records.iter().all(|len| *len <= 512 + 24), "{records:?}");
}

/// Takes record after record until it is enough, and notes how long each was.
fn hear(peer: &mut Peer, records: &mut Vec<usize>, mut is_enough: impl FnMut(&mut Peer) -> bool) {
    while !is_enough(peer) {
        while peer.stream.conn.wants_write() {
            peer.stream.conn.write_tls(&mut peer.stream.sock).unwrap();
        }
        let mut record = vec![0; 5];
        peer.stream.sock.read_exact(&mut record).unwrap();
        let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + len, 0);
        peer.stream.sock.read_exact(&mut record[5..]).unwrap();
        let mut rest = &record[..];
        while !rest.is_empty() {
            peer.stream.conn.read_tls(&mut rest).unwrap();
            peer.stream.conn.process_new_packets().unwrap();
        }
        records.push(len);
    }
}

#[test]
fn what_comes_with_connect_in_one_flight_is_not_lost() {
    const COUNT: usize = 3000;
    let secured = Secured::start(None);
    let mut flight = Connect::new("eager").encode();
    flight.extend(wire::subscribe(1, &[("eager/#", 0)]));
    for n in 0..COUNT {
        flight.extend(Publish::new("eager/a", pattern(n % 200)).encode());
    }
    for chunk in [flight.len(), 16_384, 1000] {
        let mut peer = Peer::open(secured.address(), client_config(&secured.authority, &BOTH, None));
        for piece in flight.chunks(chunk) {
            peer.stream.write_all(piece).unwrap();
        }
        assert!(matches!(peer.next(), Ok(Received::ConnAck { code: 0, .. })));
        assert!(matches!(peer.next(), Ok(Received::SubAck(..))));
        for n in 0..COUNT {
            assert!(payload(&mut peer) == pattern(n % 200), "message {n} in pieces of {chunk}");
        }
    }
}

#[test]
fn a_packet_in_many_records_and_records_in_many_segments_arrive() {
    let secured = Secured::start(None);
    let mut peer = secured.subscriber("bytewise", "slow", 1);
    let packet = Publish::new("slow", pattern(50)).qos(1, 7).encode();
    for byte in &packet {
        peer.send([*byte]).unwrap();
    }
    let (mut acknowledged, mut came) = (false, None);
    while !acknowledged || came.is_none() {
        match peer.next().unwrap() {
            Received::PubAck(7) => acknowledged = true,
            Received::Publish(publish) => came = Some(publish.payload),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came.unwrap(), pattern(50));
    // The records of one packet, cut anywhere on their way.
    peer.stream.conn.writer().write_all(&Publish::new("slow", pattern(40_000)).encode()).unwrap();
    let mut wire = Vec::new();
    while peer.stream.conn.wants_write() {
        peer.stream.conn.write_tls(&mut wire).unwrap();
    }
    for piece in wire.chunks(777) {
        peer.stream.sock.write_all(piece).unwrap();
    }
    assert!(payload(&mut peer) == pattern(40_000));
}

#[test]
fn who_reads_late_gets_everything_in_order() {
    const COUNT: u32 = 3000;
    let authority = Authority::new("test authority");
    let config = server_config(&authority.server(&["localhost"]));
    let limits = Limits {
        queue_messages: Limit::Unlimited,
        queue_bytes: Limit::Unlimited,
        in_flight: u16::MAX,
        ..Limits::default()
    };
    let secured = Secured::start_with(authority, Tls::new(config.into()), limits);
    let mut late = secured.subscriber("late", "much", 1);
    let mut publisher = secured.connect("busy");
    for n in 0..COUNT {
        let mut bytes = pattern(8000);
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        publisher.send(Publish::new("much", bytes).qos(1, 1).encode()).unwrap();
        assert_eq!(publisher.next().unwrap(), Received::PubAck(1));
    }
    for n in 0..COUNT {
        let bytes = payload(&mut late);
        assert_eq!((bytes.len(), &bytes[..4]), (8000, &n.to_be_bytes()[..]));
    }
}

#[test]
fn new_keys_are_taken_and_given_while_messages_pass() {
    let secured = Secured::start(None);
    let mut config = client_config(&secured.authority, &[&TLS13], None);
    config.max_fragment_size = Some(600);
    let mut peer = Peer::open(secured.address(), config);
    peer.send(Connect::new("keys").encode()).unwrap();
    peer.send(wire::subscribe(1, &[("keys", 0)])).unwrap();
    assert!(matches!(peer.next(), Ok(Received::ConnAck { .. })));
    assert!(matches!(peer.next(), Ok(Received::SubAck(..))));
    for n in 0..20 {
        peer.stream.conn.refresh_traffic_keys().unwrap();
        let sent = pattern(n * 300);
        peer.send(Publish::new("keys", &sent).encode()).unwrap();
        assert!(payload(&mut peer) == sent, "round {n}");
    }
}

#[test]
fn both_ends_are_said() {
    let secured = Secured::start(None);
    // The broker's: an end in order, not a cut.
    let mut peer = secured.connect("reserved");
    peer.send([0xf0, 0]).unwrap();
    assert_eq!(peer.stream.read(&mut [0; 10]).unwrap(), 0, "close_notify and FIN");
    // The client's: what it has sent before is handled.
    let mut subscriber = secured.subscriber("hearer", "last", 1);
    let mut peer = secured.connect("leaver");
    peer.send(Publish::new("last", "words").encode()).unwrap();
    peer.stream.conn.send_close_notify();
    peer.stream.flush().unwrap();
    assert_eq!(payload(&mut subscriber), b"words");
    assert_eq!(peer.stream.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let secured = Secured::start(None);
    let mut subscriber = secured.subscriber("hearer", "#", 1);
    let mut peer = secured.connect("victim");
    peer.stream.conn.writer().write_all(&Publish::new("a", "before").encode()).unwrap();
    peer.stream.conn.writer().write_all(&Publish::new("a", "after").encode()).unwrap();
    let mut wire = Vec::new();
    while peer.stream.conn.wants_write() {
        peer.stream.conn.write_tls(&mut wire).unwrap();
    }
    *wire.last_mut().unwrap() ^= 1;
    peer.stream.sock.write_all(&wire).unwrap();
    assert_eq!(payload(&mut subscriber), b"before");
    let error = peer.stream.read(&mut [0; 10]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac") || error.kind() == ErrorKind::InvalidData, "{error}");
    // Nothing else has happened.
    let mut other = secured.connect("other");
    other.send(Publish::new("a", "later").encode()).unwrap();
    assert_eq!(payload(&mut subscriber), b"later");
}

#[test]
fn records_without_content_hold_nobody_up() {
    let secured = Secured::start(None);
    let mut peer = secured.subscriber("echo", "echo", 0);
    let mut wire = Vec::new();
    for _ in 0..5000 {
        // A record of one byte of PINGREQ each: as little content as a client of rustls can send.
        peer.stream.conn.writer().write_all(&[0xc0]).unwrap();
        peer.stream.conn.write_tls(&mut wire).unwrap();
        peer.stream.conn.writer().write_all(&[0]).unwrap();
        peer.stream.conn.write_tls(&mut wire).unwrap();
    }
    let mut writer = peer.stream.sock.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&wire));
    let mut other = secured.connect("other");
    other.send(Publish::new("echo", "canary").encode()).unwrap();
    let mut pings = 0;
    let mut has_canary = false;
    while pings < 5000 || !has_canary {
        match peer.next().unwrap() {
            Received::PingResp => pings += 1,
            Received::Publish(_) => has_canary = true,
            other => panic!("{other:?}"),
        }
    }
    sending.join().unwrap().unwrap();
}

#[test]
fn a_broker_that_stops_ends_its_connections_in_order() {
    let secured = Secured::start(None);
    let mut peer = secured.connect("stays");
    let broker = secured.broker.clone();
    broker.runtime().block_on(broker.shutdown(Duration::from_secs(10))).unwrap();
    assert_eq!(peer.stream.read(&mut [0; 10]).unwrap(), 0, "close_notify and FIN");
}
