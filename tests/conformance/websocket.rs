//! WebSocket as a transport, byte by byte.

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::websocket::{
    BINARY, CONTINUATION, PING, PONG, Peer, TEXT, fragment, frame, frames, mqtt_request, request,
};
use culex_tests::wire::{self, Publish};

culex_tests::cases! {
    "websocket":;
    config "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"websockets\"\n":
        server_agrees_to_the_subprotocol,
        client_without_the_subprotocol_is_refused,
        text_frame_closes,
        packets_are_not_aligned_on_frames,
}

/// [MQTT-6.0.0-4]
fn server_agrees_to_the_subprotocol(scope: &Scope) {
    let answer = Peer::open(scope.addr()).ask(&mqtt_request());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
    // Clients of 3.1 have a name of their own; who offers both gets that of the standard.
    for (offered, agreed) in [("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqtt")] {
        let offered = format!("Sec-WebSocket-Protocol: {offered}");
        let answer = Peer::open(scope.addr()).ask(&request("/mqtt", &[&offered]));
        assert!(answer.contains(&format!("\r\nSec-WebSocket-Protocol: {agreed}\r\n")), "{answer}");
    }
}

/// [MQTT-6.0.0-3] binds the Client; a Server that went on would speak another protocol than was asked for.
fn client_without_the_subprotocol_is_refused(scope: &Scope) {
    for lines in [&[][..], &["Sec-WebSocket-Protocol: wamp"]] {
        let mut peer = Peer::open(scope.addr());
        let answer = peer.ask(&request("/mqtt", lines));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        peer.expect_end();
    }
}

/// [MQTT-6.0.0-1]
fn text_frame_closes(scope: &Scope) {
    let mut peer = Peer::connected(scope.addr(), &scope.hello("id").encode());
    peer.send(frame(TEXT, &wire::frame(0xC0, &[])));
    peer.expect_close(1003);
}

/// [MQTT-6.0.0-2]
fn packets_are_not_aligned_on_frames(scope: &Scope) {
    let topic = scope.topic("t");
    let mut peer = Peer::upgraded(scope.addr());
    let hello = [scope.hello("id").encode(), wire::subscribe(1, &[(&topic, 0)])].concat();
    peer.send(frames(hello.chunks(1)));
    assert_eq!(peer.packet(), Received::ConnAck { session_present: false, code: 0 });
    assert_eq!(peer.packet(), Received::SubAck(1, vec![0]));
    // Several packets in a frame, the last one cut off by its end, a ping before the rest of it.
    let packets: Vec<u8> = (0..5).flat_map(|n: u8| Publish::new(&topic, [n]).encode()).collect();
    let (begin, end) = packets.split_at(packets.len() - 3);
    peer.send(fragment(BINARY, false, begin));
    peer.send(frame(PING, b""));
    peer.send(fragment(CONTINUATION, true, end));
    let (mut payloads, mut pongs) = (Vec::new(), 0);
    let mut bytes = Vec::new();
    while payloads.len() < 5 {
        match peer.frame() {
            Some((BINARY, payload)) => bytes.extend(payload),
            Some((PONG, _)) => pongs += 1,
            other => panic!("{other:?}"),
        }
        while let Some((packet, used)) = culex_tests::parse::parse(&bytes).expect("a packet") {
            bytes.drain(..used);
            match packet {
                Received::Publish(publish) => payloads.extend(publish.payload),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((payloads, pongs), (vec![0, 1, 2, 3, 4], 1));
}
