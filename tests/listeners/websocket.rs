//! MQTT over WebSocket in bytes: what opens a connection, what frames carry, and everything that breaks a rule.

use std::time::Instant;

use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Listener, WebSocket};
use culex_tests::client::Client;
use culex_tests::parse::Received;
use culex_tests::websocket::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, Peer, TEXT, fragment, frame, frames, mqtt_request, request,
};
use culex_tests::wire::{self, Connect, Publish, Will};

use crate::{address, broker, eventually, hasty, local, metric};

fn websocket() -> Listener {
    local().websocket(WebSocket::default())
}

/// The second listener is plain TCP.
fn start() -> Broker {
    broker([websocket(), local()], Limits::default())
}

fn connect(broker: &Broker, id: &str) -> Peer {
    Peer::connected(address(broker), &Connect::new(id).encode())
}

fn published(peer: &mut Peer) -> Vec<u8> {
    match peer.packet() {
        Received::Publish(publish) => publish.payload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_pass_one_byte_a_frame_and_ten_in_one_frame() {
    let broker = start();
    let mut peer = Peer::upgraded(address(&broker));
    let hello = [Connect::new("w").encode(), wire::subscribe(1, &[("t", 0)])].concat();
    peer.send(frames(hello.chunks(1)));
    assert!(matches!(peer.packet(), Received::ConnAck { code: 0, .. }));
    assert_eq!(peer.packet(), Received::SubAck(1, vec![0]));
    let ten: Vec<u8> = (0..10).flat_map(|n: u8| Publish::new("t", [n]).encode()).collect();
    peer.send(frame(BINARY, &ten));
    for n in 0..10 {
        assert_eq!(published(&mut peer), [n]);
    }
}

#[test]
fn large_messages_pass_in_both_directions() {
    let broker = start();
    let mut peer = connect(&broker, "w");
    peer.send(frame(BINARY, &wire::subscribe(1, &[("t", 1)])));
    assert_eq!(peer.packet(), Received::SubAck(1, vec![1]));
    for (n, len) in [125, 126, 65_535, 65_536, 3 << 20].into_iter().enumerate() {
        let id = u16::try_from(n).unwrap() + 1;
        let payload: Vec<u8> = (0..len).map(|n: usize| (n / 251 + n) as u8).collect();
        peer.send(frame(BINARY, &Publish::new("t", &payload).qos(1, id).encode()));
        let (mut is_acknowledged, mut came) = (false, None);
        while !is_acknowledged || came.is_none() {
            match peer.packet() {
                Received::PubAck(acknowledged) => is_acknowledged = acknowledged == id,
                Received::Publish(publish) => came = Some(publish),
                other => panic!("{other:?}"),
            }
        }
        let came = came.unwrap();
        assert!(came.payload == payload, "{len} bytes");
        peer.send(frame(BINARY, &wire::puback(came.id.unwrap())));
    }
}

#[test]
fn clients_of_tcp_and_of_websocket_talk_with_each_other() {
    let broker = start();
    let mut plain = Client::open(broker.local_addrs()[1]);
    plain.connect(&Connect::new("p"));
    assert_eq!(plain.subscribe(&[("t", 0)]), [0]);
    let mut peer = connect(&broker, "w");
    peer.send(frame(BINARY, &Publish::new("t", "over the web").encode()));
    assert!(matches!(plain.receive(), Received::Publish(publish) if publish.payload == b"over the web"));
}

#[test]
fn pings_are_answered_also_between_the_frames_of_a_packet() {
    let broker = start();
    let mut peer = connect(&broker, "w");
    let ping = wire::frame(0xC0, &[]);
    peer.send(
        [
            fragment(BINARY, false, &ping[..1]),
            frame(PING, b"are you there"),
            fragment(CONTINUATION, true, &ping[1..]),
        ]
        .concat(),
    );
    assert_eq!(peer.frame(), Some((PONG, b"are you there".to_vec())));
    assert_eq!(peer.packet(), Received::PingResp);
}

#[test]
fn a_pong_that_nobody_asked_for_is_ignored() {
    let broker = start();
    let mut peer = connect(&broker, "w");
    peer.send([frame(PONG, b"x"), frame(BINARY, &wire::frame(0xC0, &[]))].concat());
    assert_eq!(peer.packet(), Received::PingResp);
}

/// A client that leaves by a Close frame alone has not sent DISCONNECT.
#[test]
fn a_close_frame_is_answered_and_the_will_is_published() {
    let broker = start();
    let mut watcher = connect(&broker, "watcher");
    watcher.send(frame(BINARY, &wire::subscribe(1, &[("will", 0)])));
    assert_eq!(watcher.packet(), Received::SubAck(1, vec![0]));
    let hello = Connect::new("w").will(Will::new("will", "gone", 0)).encode();
    let mut peer = Peer::connected(address(&broker), &hello);
    peer.send(frame(CLOSE, &1001_u16.to_be_bytes()));
    peer.expect_close(1001);
    assert_eq!(published(&mut watcher), b"gone");
}

#[test]
fn disconnect_is_answered_by_a_close_frame() {
    let broker = start();
    let mut peer = connect(&broker, "w");
    peer.send(frame(BINARY, &wire::frame(0xE0, &[])));
    peer.expect_close(1000);
}

/// [MQTT-6.0.0-1], RFC 6455. Before CONNECT a task reads, after it a lane; both hold the rules.
#[test]
fn what_breaks_a_rule_of_websocket_closes_that_connection() {
    let broker = start();
    let unmasked = wire_unmasked();
    let mut bystander = connect(&broker, "bystander");
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("a text frame", frame(TEXT, b"hello"), 1003),
        ("an empty text frame", frame(TEXT, b""), 1003),
        ("an unmasked frame", unmasked, 1002),
        ("a compressed frame", fragment(BINARY | 0x40, true, b"x"), 1002),
        ("a frame of kind 3", frame(3, b"x"), 1002),
        ("a control frame of 126 bytes", frame(PING, &[0; 126]), 1002),
        ("a control frame in fragments", fragment(PING, false, b"x"), 1002),
        ("a fragment of nothing", frame(CONTINUATION, b"x"), 1002),
        ("a Close frame of one byte", frame(CLOSE, b"x"), 1002),
    ];
    for (name, bytes, code) in &cases {
        eprintln!("{name}");
        let mut early = Peer::upgraded(address(&broker));
        early.send(bytes);
        early.expect_close(*code);
        let mut late = connect(&broker, "w");
        late.send(bytes);
        late.expect_close(*code);
    }
    eventually(|| metric(&broker, "connections_protocol_error") == cases.len() as u64);
    bystander.send(frame(BINARY, &wire::frame(0xC0, &[])));
    assert_eq!(bystander.packet(), Received::PingResp);
}

fn wire_unmasked() -> Vec<u8> {
    vec![0x82, 0x02, 0xC0, 0x00]
}

/// THREATS: RabbitMQ Web-MQTT took pages of any origin.
#[test]
fn cve_2026_67405_pages_of_other_hosts_are_refused() {
    let named = local().websocket(WebSocket::default().path("/mqtt").origins(["https://a.example"]));
    let broker = broker([websocket(), named], Limits::default());
    let [same, named] = [0, 1].map(|n| broker.local_addrs()[n]);
    for (address, origin, status) in [
        (same, None, "101"),
        (same, Some("http://localhost:8000"), "101"),
        (same, Some("http://evil.example"), "403"),
        (same, Some("null"), "403"),
        (named, Some("https://a.example"), "101"),
        (named, Some("http://localhost"), "403"),
        (named, None, "101"),
    ] {
        let origin = origin.map(|origin| format!("Origin: {origin}"));
        let lines: Vec<_> = ["Sec-WebSocket-Protocol: mqtt"].into_iter().chain(origin.as_deref()).collect();
        let answer = Peer::open(address).ask(&request("/mqtt", &lines));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin:?}: {answer}");
    }
    assert_eq!(metric(&broker, "websocket_upgrades"), 4);
    eventually(|| metric(&broker, "websocket_upgrades_failed") == 3);
}

#[test]
fn what_opens_no_connection_is_told_why_and_closed() {
    let broker = broker([local().websocket(WebSocket::default().path("/mqtt"))], Limits::default());
    let mqtt = "Sec-WebSocket-Protocol: mqtt";
    for (asked, status) in [
        (request("/mqtt", &[]), "400"),
        (request("/mqtt", &["Sec-WebSocket-Protocol: wamp"]), "400"),
        (request("/", &[mqtt]), "404"),
        (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "426"),
        (b"POST /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "405"),
        (b"\x16\x03\x01\x02\x00".to_vec(), "400"),
        (Connect::new("plain").encode(), "400"),
        ([mqtt_request(), frame(BINARY, b"too early")].concat(), "400"),
        (request("/mqtt", &[mqtt, &format!("X: {}", "x".repeat(9000))]), "431"),
    ] {
        let mut peer = Peer::open(address(&broker));
        let answer = peer.ask(&asked);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        peer.expect_end();
    }
}

/// THREATS: nats-server expanded compressed frames before it asked who sends them. Nothing is agreed on here.
#[test]
fn go_2026_4533_no_compression_is_agreed_on() {
    let broker = start();
    let lines = ["Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Extensions: permessage-deflate"];
    let answer = Peer::open(address(&broker)).ask(&request("/mqtt", &lines));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("sec-websocket-extensions"), "{answer}");
}

/// THREATS: NanoMQ read beyond a frame whose packet said that it was longer.
#[test]
fn cve_2026_25627_a_packet_longer_than_its_frame_waits_for_the_next() {
    let broker = start();
    let mut peer = connect(&broker, "w");
    let packet = Publish::new("t", "payload").qos(1, 7).encode();
    let (begin, end) = packet.split_at(4);
    peer.send(frame(BINARY, begin));
    peer.send(frame(PING, b""));
    assert_eq!(peer.frame(), Some((PONG, Vec::new())));
    peer.send(frame(BINARY, end));
    assert_eq!(peer.packet(), Received::PubAck(7));
}

/// THREATS §3: the time runs from accept to CONNECT, whatever the client does meanwhile.
#[test]
fn a_slow_upgrade_and_a_slow_connect_end_with_the_same_deadline() {
    let broker = broker([websocket()], hasty());
    let before = Instant::now();
    let mut silent = Peer::open(address(&broker));
    let mut half = Peer::open(address(&broker));
    half.send(b"GET /mqtt HTTP/1.1\r\nHost: ");
    let mut upgraded = Peer::upgraded(address(&broker));
    upgraded.send(frame(PING, b""));
    let mut beginning = Peer::upgraded(address(&broker));
    beginning.send(frame(BINARY, &Connect::new("w").encode()[..5]));
    for peer in [&mut silent, &mut half, &mut upgraded, &mut beginning] {
        peer.expect_end();
    }
    assert!(before.elapsed() >= hasty().connect_timeout);
    eventually(|| metric(&broker, "connect_timeouts") == 4 && metric(&broker, "pre_auth_bytes") == 0);
}

/// THREATS §3: no room ahead of the data.
#[test]
fn a_frame_of_two_exabytes_costs_what_has_come_of_it() {
    let broker = start();
    let mut peers: Vec<_> = (0..50).map(|n| connect(&broker, &format!("w{n}"))).collect();
    let mut head = vec![0x82, 0xFF];
    head.extend((1_u64 << 61).to_be_bytes());
    head.extend([0; 4]);
    for peer in &mut peers {
        // Within that frame MQTT goes on.
        peer.send([head.as_slice(), &wire::frame(0xC0, &[])].concat());
        assert_eq!(peer.packet(), Received::PingResp);
    }
}

#[test]
fn bytes_before_connect_are_counted_and_bounded() {
    let limits = Limits { pre_auth_total_bytes: Limit::at_most(2048).unwrap(), ..Limits::default() };
    let broker = broker([websocket()], limits);
    let mut peer = Peer::open(address(&broker));
    let request = request("/mqtt", &["Sec-WebSocket-Protocol: mqtt", &format!("X: {}", "x".repeat(4000))]);
    peer.send(request);
    peer.expect_end();
    eventually(|| metric(&broker, "connect_over_budget") == 1 && metric(&broker, "pre_auth_bytes") == 0);
}

/// Who does not read is owed one pong at most beyond what its socket takes, and then is not read either; others are
/// served, and so is it when it reads.
#[test]
fn a_flood_of_pings_that_reads_no_pong_costs_one_pong() {
    const PINGS: usize = 20_000;
    let broker = start();
    let mut flood = connect(&broker, "flood");
    let mut sending = flood.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let pings = [frame(PING, &[7; 125]).repeat(PINGS), frame(BINARY, &wire::frame(0xC0, &[]))].concat();
        std::io::Write::write_all(&mut sending, &pings)
    });
    let mut other = connect(&broker, "other");
    other.send(frame(BINARY, &wire::frame(0xC0, &[])));
    assert_eq!(other.packet(), Received::PingResp);
    let mut pongs = 0;
    let answer = loop {
        match flood.frame() {
            Some((PONG, payload)) => assert_eq!(payload, [7; 125]),
            other => break other,
        }
        pongs += 1;
    };
    assert_eq!(answer, Some((BINARY, wire::frame(0xD0, &[]))));
    assert!((1..=PINGS).contains(&pongs), "{pongs}");
    writer.join().unwrap().unwrap();
}
