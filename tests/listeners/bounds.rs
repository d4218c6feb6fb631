//! What a listener bounds: how many connections, which versions, which interface.

use culex_core::codec::ProtocolVersion;
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, StartError};
use culex_tests::client::Client;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect};

use crate::{address, broker, eventually, local, metric};

#[test]
fn one_connection_more_is_closed_and_its_room_comes_back() {
    let bounded = local().max_connections(Limit::at_most(2).unwrap());
    let broker = broker([bounded, local()], Limits::default());
    let mut first = Client::open(address(&broker));
    first.connect(&Connect::new("first"));
    let second = Client::open(address(&broker));
    eventually(|| metric(&broker, "sockets") == 2);
    Client::open(address(&broker)).expect_closed();
    assert_eq!(metric(&broker, "sockets_refused"), 1);
    // The other listener has its own.
    Client::open(broker.local_addrs()[1]).connect(&Connect::new("elsewhere"));
    drop(second);
    eventually(|| metric(&broker, "sockets") == 1);
    Client::open(address(&broker)).connect(&Connect::new("third"));
}

#[test]
fn a_version_that_the_listener_does_not_take_is_refused_with_1() {
    let new = local().protocol_versions([ProtocolVersion::V311]);
    let old = local().protocol_versions([ProtocolVersion::V31]);
    let broker = broker([new, old], Limits::default());
    for (listener, connect, code) in [
        (0, Connect::new("a"), 0),
        (0, Connect::new("b").v31(), 1),
        (1, Connect::new("c"), 1),
        (1, Connect::new("d").v31(), 0),
    ] {
        let mut client = Client::open(broker.local_addrs()[listener]);
        client.send(connect.encode());
        assert_eq!(client.receive(), Received::ConnAck { session_present: false, code });
        if code == 0 {
            client.send(wire::frame(0xC0, &[]));
            assert_eq!(client.receive(), Received::PingResp);
        } else {
            client.expect_closed();
        }
    }
    assert_eq!(metric(&broker, "connect_refused"), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn only_the_named_interface_is_listened_on() {
    let broker = broker([local().bind_device("lo")], Limits::default());
    Client::open(address(&broker)).connect(&Connect::new("a"));
    let missing = Broker::builder().listen(local().bind_device("culex-none0")).start_on_own_runtime();
    assert!(matches!(missing, Err(StartError::Bind { .. })), "{missing:?}");
}
