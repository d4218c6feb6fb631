//! MQTT over a WebSocket of port 443, frame by frame.

use culex::aws_emulator::{DisconnectReason, Emulator, Limits, PeerIdentity, Role};
use culex_codec::{Connect, Packet};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::peer::{Got, Peer, V3, V5, broke, connect};
use super::tls::Dial;

const HEADERS: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n";
const SIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260102T030405Z&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=00&X-Amz-Credential=A%2F20260102%2Flocal-1%2Fiotdevicegateway%2Faws4_request";
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Asks for a WebSocket, and gives the head of the answer.
async fn open(emulator: &Emulator, query: &str, headers: &str) -> (TlsStream<TcpStream>, String) {
    let dial = Dial { role: Role::Port443, identity: None, ..Dial::new(emulator) };
    let mut stream = dial.dial(emulator).await.unwrap();
    let head = format!("GET /mqtt?{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(answer).unwrap())
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame of the service: its first byte, and its payload.
async fn next(stream: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let length = match stream.read_u8().await.unwrap() {
        126 => stream.read_u16().await.unwrap().into(),
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (first, payload)
}

fn bytes(connect: Connect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(connect.version, &mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn aic_net_05_packets_are_in_binary_frames_of_any_size() {
    let emulator = Emulator::builder().start().await.unwrap();
    let (mut stream, head) = open(&emulator, SIGNED, HEADERS).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The example of RFC 6455, 1.3.
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: mqtt"), "{head}");
    // In three pieces, with a ping in between.
    let connect = bytes(connect(V3, "a"));
    let pieces =
        [frame(0x02, &connect[..1]), frame(0x89, b"p"), frame(0, &connect[1..9]), frame(0x80, &connect[9..])];
    stream.write_all(&pieces.concat()).await.unwrap();
    assert_eq!(next(&mut stream).await, (0x8a, b"p".to_vec()));
    assert_eq!(next(&mut stream).await, (0x82, vec![0x20, 2, 0, 0]));
    // Two packets in a frame, and one that is large.
    let payload = vec![b'x'; 100_000];
    let mut packets = Vec::new();
    Packet::PingReq.encode(V3, &mut packets).unwrap();
    Packet::Publish(super::peer::publish("t", 7, &payload)).encode(V3, &mut packets).unwrap();
    stream.write_all(&frame(0x82, &packets)).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 6 {
        got.extend(next(&mut stream).await.1);
    }
    assert_eq!(got, [0xd0, 0, 0x40, 2, 0, 7]);
    assert_eq!(emulator.deliveries()[0].payload.len(), 100_000);
    // DISCONNECT, and the close of the service.
    stream.write_all(&frame(0x82, &[0xe0, 0])).await.unwrap();
    assert_eq!(next(&mut stream).await, (0x88, 1000_u16.to_be_bytes().to_vec()));
    let seen = emulator.until(|emulator| emulator.observations().disconnects.iter().next().cloned()).await;
    assert_eq!(seen.reason, DisconnectReason::ClientInitiated);
    broke(&emulator, &[]);
}

#[tokio::test]
async fn what_is_no_frame_of_a_client_closes_the_websocket() {
    let unmasked = vec![0x82, 1, 0];
    let cases = [
        (frame(0x81, b"text"), 1003),
        (unmasked, 1002),
        (frame(0xc2, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        ([frame(0x02, b"\x10"), frame(0x82, b"x")].concat(), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x8b, b""), 1002),
        (frame(0x88, b""), 1000),
    ];
    for (bytes, code) in cases {
        let emulator = Emulator::builder().start().await.unwrap();
        let (mut stream, _) = open(&emulator, SIGNED, HEADERS).await;
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(next(&mut stream).await, (0x88, u16::to_be_bytes(code).to_vec()), "{bytes:?}");
    }
}

#[tokio::test]
async fn aic_net_04_a_websocket_that_nobody_signed_wants_user_name_and_password() {
    let emulator = Emulator::builder().start().await.unwrap();
    let wanted = Connect { user_name: Some("u"), password: Some(b"p"), ..connect(V5, "a") };
    for (wanted, code) in [(wanted, 0), (connect(V5, "b"), 0x86)] {
        let (mut stream, head) = open(&emulator, "", HEADERS).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(&frame(0x82, &bytes(wanted))).await.unwrap();
        assert_eq!(next(&mut stream).await.1.get(3), Some(&code));
    }
    broke(&emulator, &["AIC-NET-04"]);
}

#[tokio::test]
async fn aic_net_05_what_is_no_websocket_of_mqtt_is_refused() {
    let without_date = SIGNED.replace("X-Amz-Date", "X-Date");
    for (query, headers, status) in [
        (SIGNED, HEADERS.replace("mqtt", "graphql"), 400),
        (SIGNED, HEADERS.replace("13", "8"), 400),
        (SIGNED, HEADERS.replace("upgrade: websocket", "upgrade: h2c"), 400),
        (SIGNED, HEADERS.replace("sec-websocket-key", "x-key"), 400),
        (&without_date, HEADERS.to_owned(), 403),
        (&SIGNED.replace("iotdevicegateway", "s3"), HEADERS.to_owned(), 403),
    ] {
        let emulator = Emulator::builder().start().await.unwrap();
        let (_, head) = open(&emulator, query, &headers).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers} {query}: {head}");
        broke(&emulator, &["AIC-NET-05"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_con_16_a_signed_websocket_lives_for_a_day() {
    let limits = Limits { websocket_time: Duration::from_secs(100), ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    let mut peer = Peer::open_as(&emulator, V5, PeerIdentity::SigV4);
    peer.send(Connect { keep_alive: 1200, ..connect(V5, "a") }).await;
    assert_eq!(peer.next().await, Got::ConnAck { present: false, code: 0 });
    let started = tokio::time::Instant::now();
    assert_eq!(peer.next().await, Got::Disconnect(0x98));
    assert_eq!(started.elapsed().as_secs(), 99);
    let reason = emulator.observations().disconnects.iter().next().unwrap().reason;
    assert_eq!(reason.name(), "WEBSOCKET_TTL_EXPIRATION");
}
