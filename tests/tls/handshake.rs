//! Who comes in, as whom, and until when.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use culex_core::limits::{Limit, Limits};
use culex_core::tls::Tls;
use culex_core::tls::rustls::ServerConfig;
use culex_core::tls::rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use culex_core::tls::rustls::server::WebPkiClientVerifier;
use culex_tests::client::PATIENCE;
use culex_tests::parse::Received;
use culex_tests::wire::Connect;

use crate::authority::{Authority, Identity};
use crate::peer::{BOTH, Peer, certificates, client_config, eventually, key, roots, server_config};
use crate::stream::Secured;

/// Asks each client for a certificate of this authority.
fn asking(authority: &Authority, server: &Identity) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)), Arc::clone(&provider));
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&BOTH)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(certificates(&server.certificate), key(&server.key))
        .unwrap()
}

fn code(peer: &mut Peer) -> Option<u8> {
    match peer.next() {
        Ok(Received::ConnAck { code, .. }) => Some(code),
        _ => None,
    }
}

#[test]
fn whoever_stalls_in_the_handshake_is_closed_in_time() {
    let authority = Authority::new("test authority");
    let config = server_config(&authority.server(&["localhost"]));
    let limits = Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() };
    let secured = Secured::start_with(authority, Tls::new(config.into()), limits);
    let mut silent = TcpStream::connect(secured.address()).unwrap();
    let mut half = TcpStream::connect(secured.address()).unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).unwrap();
    // One that is through with the handshake and says no more has no more time.
    let mut mute = Peer::open(secured.address(), client_config(&secured.authority, &BOTH, None));
    mute.stream.conn.complete_io(&mut mute.stream.sock).unwrap();
    for stream in [&mut silent, &mut half] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0; 100]).unwrap_or_default(), 0);
    }
    assert!(mute.next().is_err());
    assert_eq!(secured.metric("connect_timeouts"), 3);
    assert!(eventually(|| secured.metric("sockets") == 0));
}

#[test]
fn handshakes_have_their_bytes_counted_before_anything_is_kept() {
    let authority = Authority::new("test authority");
    let config = server_config(&authority.server(&["localhost"]));
    let limits = Limits { pre_auth_total_bytes: Limit::at_most(40 << 10).unwrap(), ..Limits::default() };
    let secured = Secured::start_with(authority, Tls::new(config.into()), limits);
    let idle: Vec<_> = (0..2).map(|_| TcpStream::connect(secured.address()).unwrap()).collect();
    let mut third = TcpStream::connect(secured.address()).unwrap();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(third.read(&mut [0; 100]).unwrap_or_default(), 0);
    assert_eq!(secured.metric("connect_over_budget"), 1);
    drop(idle);
}

#[test]
fn what_is_not_tls_is_closed_and_counted() {
    let authority = Authority::new("test authority");
    let config = server_config(&authority.server(&["localhost"]));
    let secured = Secured::start_with(authority, Tls::new(config.into()), Limits::default());
    for bytes in [&Connect::new("plain").encode()[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 600]] {
        let mut stream = TcpStream::connect(secured.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "an alert, if anything: {answer:?}");
    }
    assert_eq!(secured.metric("tls_handshakes_failed"), 3);
}

#[test]
fn the_certificate_says_who_a_client_is() {
    let authority = Authority::new("test authority");
    let config = asking(&authority, &authority.server(&["localhost"]));
    let name =
        |der: &[u8]| if der.windows(3).any(|part| part == b"ann") { Some("ann".to_owned()) } else { None };
    let tls = Tls::new(config.into()).identify(move |certificate| name(certificate));
    let secured = Secured::start_with(authority, tls, Limits::default());
    let (ann, bob) = (secured.authority.client("ann"), secured.authority.client("bob"));
    let ann = Arc::new(client_config(&secured.authority, &BOTH, Some(&ann)));
    for connect in [Connect::new("c"), Connect::new("c").credentials("eve", b"secret"), {
        let mut connect = Connect::new("c");
        connect.user_name = Some(b"?SDK=Python".to_vec());
        connect
    }] {
        // The second and third time with a ticket, in which the certificate is.
        let mut peer = Peer::open_shared(secured.address(), &ann);
        peer.send(connect.encode()).unwrap();
        assert_eq!(code(&mut peer), Some(0));
        let session = secured.broker.runtime().block_on(secured.broker.admin().session("c"));
        let user = session.unwrap().unwrap().user_name;
        assert_eq!(user.as_deref(), Some("ann"));
    }
    assert_eq!(secured.metric("tls_handshakes_resumed"), 2);
    let mut peer = Peer::open(secured.address(), client_config(&secured.authority, &BOTH, Some(&bob)));
    peer.send(Connect::new("c").credentials("ann", b"").encode()).unwrap();
    assert_eq!(code(&mut peer), Some(4), "a certificate without a name");
}

#[test]
fn who_is_connected_stays_when_the_configuration_is_replaced() {
    let authority = Authority::new("test authority");
    let mut config = asking(&authority, &authority.server(&["localhost"]));
    config.ticketer = Ticketer::new().unwrap();
    let secured = Secured::start_with(authority, Tls::new(config.into()), Limits::default());
    let client = secured.authority.client("ann");
    let old = Arc::new(client_config(&secured.authority, &BOTH, Some(&client)));
    let mut peer = Peer::open_shared(secured.address(), &old);
    peer.send(Connect::new("old").encode()).unwrap();
    assert_eq!(code(&mut peer), Some(0));

    let other = Authority::new("another authority");
    let mut config = asking(&other, &secured.authority.server(&["localhost"]));
    config.ticketer = Ticketer::new().unwrap();
    secured.tls.replace(&Tls::new(config.into()));
    // Neither its certificate nor its ticket lets it in again.
    let mut again = Peer::open_shared(secured.address(), &old);
    let _ = again.send(Connect::new("again").encode());
    assert_eq!(code(&mut again), None);
    assert_eq!(secured.metric("tls_handshakes_resumed"), 0);
    peer.send([0xc0, 0]).unwrap();
    assert_eq!(peer.next().unwrap(), Received::PingResp);
    let client = other.client("ann");
    let mut new = Peer::open(secured.address(), client_config(&secured.authority, &BOTH, Some(&client)));
    new.send(Connect::new("new").encode()).unwrap();
    assert_eq!(code(&mut new), Some(0));
}

#[test]
fn a_configuration_that_is_replaced_again_and_again_drops_nobody() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 50;
    let authority = Authority::new("test authority");
    let server = authority.server(&["localhost"]);
    let secured = Secured::start_with(authority, Tls::new(server_config(&server).into()), Limits::default());
    let config = Arc::new(client_config(&secured.authority, &BOTH, None));
    let connect = |id: String| {
        let mut peer = Peer::open_shared(secured.address(), &config);
        peer.send(Connect::new(&id).encode()).unwrap();
        assert_eq!(code(&mut peer), Some(0), "{id}");
        peer
    };
    let mut stay: Vec<_> = (0..CLIENTS).map(|n| connect(format!("stays{n}"))).collect();
    std::thread::scope(|scope| {
        for peer in &mut stay {
            scope.spawn(|| {
                for _ in 0..20 * ROUNDS {
                    peer.send([0xc0, 0]).unwrap();
                    assert_eq!(peer.next().unwrap(), Received::PingResp);
                }
            });
        }
        for n in 0..ROUNDS {
            let mut config = server_config(&secured.authority.server(&["localhost"]));
            config.ticketer = Ticketer::new().unwrap();
            secured.tls.replace(&Tls::new(config.into()));
            connect(format!("new{n}"));
        }
    });
    assert_eq!(secured.metric("tls_handshakes"), (CLIENTS + ROUNDS) as u64);
    assert_eq!(secured.metric("tls_handshakes_failed"), 0);
}
