//! Handshakes as many as can be, beside a client that is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use culex_core::limits::Limits;
use culex_core::tls::Tls;
use culex_tests::parse::Received;
use culex_tests::wire::Connect;

use crate::authority::Authority;
use crate::peer::{BOTH, Peer, client_config, server_config};
use crate::stream::Secured;

#[test]
fn handshake_flood_leaves_others_their_turn() {
    let authority = Authority::new("test authority");
    let config = server_config(&authority.server(&["localhost"]));
    let secured = Secured::start_with(authority, Tls::new(config.into()), Limits::default());
    let config = Arc::new(client_config(&secured.authority, &BOTH, None));
    let mut canary = Peer::open_shared(secured.address(), &config);
    canary.send(Connect::new("canary").encode()).unwrap();
    assert!(matches!(canary.next(), Ok(Received::ConnAck { code: 0, .. })));
    let (is_over, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // No ticket: each is a full handshake, which costs the broker more than a client that does not verify.
                    let mut peer =
                        Peer::open(secured.address(), client_config(&secured.authority, &BOTH, None));
                    while peer.stream.conn.is_handshaking() {
                        peer.stream.conn.complete_io(&mut peer.stream.sock).unwrap();
                    }
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while times.len() < 200 || handshakes.load(Ordering::Relaxed) < 50 {
            let begin = Instant::now();
            canary.send([0xc0, 0]).unwrap();
            assert_eq!(canary.next().unwrap(), Received::PingResp);
            times.push(begin.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    times.sort();
    let p99 = times[(times.len() - 1) * 99 / 100];
    println!("p99 of the canary: {p99:?} beside {handshakes:?} handshakes");
    assert!(p99 < Duration::from_secs(10), "{p99:?}, ten times the figure");
}
