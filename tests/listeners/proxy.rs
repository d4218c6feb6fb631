//! Behind a proxy: who says for whom it speaks, and who may not.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use culex_core::hooks::Login;
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Listener, Network, WebSocket};
use culex_tests::client::Client;
use culex_tests::parse::Received;
use culex_tests::websocket::Peer;
use culex_tests::wire::{self, Connect};

use crate::{address, broker, eventually, hasty, local, metric};

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 49152 1883\r\n";

fn v2(client: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = client;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C".to_vec();
    header.extend([a, b, c, d, 10, 0, 0, 1, 0xC0, 0x00, 0x07, 0x5B]);
    header
}

fn behind(network: &str) -> Listener {
    local().proxy_protocol([network.parse::<Network>().unwrap()])
}

fn hello(header: &[u8], id: &str) -> Vec<u8> {
    [header, &Connect::new(id).encode()].concat()
}

/// A connection that says this first.
fn open(broker: &Broker, bytes: &[u8]) -> Client {
    let mut client = Client::open(address(broker));
    client.send(bytes);
    client
}

fn accepted(client: &mut Client) -> bool {
    client.receive() == Received::ConnAck { session_present: false, code: 0 }
}

#[test]
fn the_client_of_the_header_is_who_hooks_see() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_hook = Arc::clone(&seen);
    let broker = Broker::builder()
        .listen(behind("127.0.0.0/8"))
        .authenticate(move |login: Login| {
            seen_by_hook.lock().unwrap().push((login.peer().to_owned(), login.listener()));
            async { true }
        })
        .start_on_own_runtime()
        .unwrap();
    for (header, expected) in
        [(V1.to_vec(), "192.0.2.1:49152"), (v2([198, 51, 100, 7]), "198.51.100.7:49152")]
    {
        let mut client = open(&broker, &hello(&header, "a"));
        assert!(accepted(&mut client));
        assert_eq!(seen.lock().unwrap().pop().unwrap(), (expected.to_owned(), Some(0)));
    }
    // Who says that it speaks for itself is the proxy.
    assert!(accepted(&mut open(&broker, &hello(b"PROXY UNKNOWN\r\n", "a"))));
    assert!(seen.lock().unwrap().pop().unwrap().0.starts_with("127.0.0.1:"));
}

#[test]
fn the_header_may_come_byte_by_byte_and_nothing_behind_it_is_lost() {
    let broker = broker([behind("127.0.0.1")], Limits::default());
    for header in [V1.to_vec(), v2([192, 0, 2, 1])] {
        let mut client = Client::open(address(&broker));
        for byte in hello(&header, "a") {
            client.send([byte]);
        }
        assert!(accepted(&mut client));
        client.send(wire::frame(0xC0, &[]));
        assert_eq!(client.receive(), Received::PingResp);
    }
}

/// THREATS §3: a PROXY header without configuration.
#[test]
fn a_header_that_nobody_asked_for_closes() {
    let broker = broker([local()], Limits::default());
    open(&broker, &hello(V1, "a")).expect_closed();
    open(&broker, &hello(&v2([192, 0, 2, 1]), "a")).expect_closed();
    assert_eq!(metric(&broker, "connect_malformed"), 2);
}

/// THREATS §3: a PROXY header from an untrusted peer.
#[test]
fn a_header_from_elsewhere_closes() {
    let broker = broker([behind("10.0.0.0/8")], Limits::default());
    open(&broker, &hello(V1, "a")).expect_closed();
    eventually(|| metric(&broker, "proxy_refused") == 1);
    assert_eq!(metric(&broker, "sockets_total"), 0);
}

/// THREATS §3: and in time.
#[test]
fn a_proxy_without_a_header_or_with_half_of_one_is_closed() {
    let broker = broker([behind("127.0.0.1")], hasty());
    open(&broker, &Connect::new("plain").encode()).expect_closed();
    open(&broker, b"PROXY TCP4 not an address\r\n").expect_closed();
    open(&broker, &[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()).expect_closed();
    eventually(|| metric(&broker, "proxy_refused") == 3);
    let before = Instant::now();
    let mut late = [open(&broker, &[]), open(&broker, V1.split_at(20).0), open(&broker, V1)];
    late.iter_mut().for_each(Client::expect_closed);
    assert!(before.elapsed() >= hasty().connect_timeout);
    eventually(|| metric(&broker, "connect_timeouts") == 3 && metric(&broker, "pre_auth_bytes") == 0);
}

/// The proxy has one address, its clients have theirs.
#[test]
fn the_limit_per_address_counts_clients_and_not_the_proxy() {
    let limits = Limits { connections_per_address: Limit::at_most(2).unwrap(), ..Limits::default() };
    let broker = broker([behind("127.0.0.1")], limits);
    let mut kept: Vec<_> = [[192, 0, 2, 1], [192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 2]]
        .iter()
        .enumerate()
        .map(|(n, client)| open(&broker, &hello(&v2(*client), &format!("c{n}"))))
        .collect();
    assert!(kept.iter_mut().all(accepted));
    open(&broker, &hello(&v2([192, 0, 2, 1]), "third")).expect_closed();
    assert_eq!(metric(&broker, "sockets_refused"), 1);
    // The room comes back.
    kept.truncate(1);
    eventually(|| metric(&broker, "sockets") == 1);
    assert!(accepted(&mut open(&broker, &hello(&v2([192, 0, 2, 1]), "third"))));
}

#[test]
fn websocket_works_behind_a_proxy() {
    let listener = behind("127.0.0.1").websocket(WebSocket::default());
    let broker = broker([listener], Limits::default());
    let mut peer = Peer::open(address(&broker));
    peer.send(V1);
    let answer = peer.ask(&culex_tests::websocket::mqtt_request());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}
