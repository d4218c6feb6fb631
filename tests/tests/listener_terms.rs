//! Two listeners of one broker over sockets: a mount point, and limits that hold for one of them alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Listener, MountPoint};
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};

/// A broker with an ordinary listener and another one.
struct Two {
    broker: Broker,
    ordinary: SocketAddr,
    special: SocketAddr,
}

impl Two {
    fn start(special: impl FnOnce(Listener) -> Listener) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let builder = Broker::builder().listen(address).listen(special(address.into()));
        let broker = builder.start_on_own_runtime().unwrap();
        let [ordinary, special] = [0, 1].map(|number| *broker.local_addrs().get(number).unwrap());
        Self { broker, ordinary, special }
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = self.broker.runtime().block_on(self.broker.shutdown(Duration::from_secs(20)));
    }
}

fn connected(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = Client::open(address);
    client.send(connect.encode());
    client.expect(&Received::ConnAck { session_present: false, code: 0 });
    client
}

fn subscribed(address: SocketAddr, id: &str, filter: &str) -> Client {
    let mut client = connected(address, &Connect::new(id));
    client.send(wire::subscribe(1, &[(filter, 0)]));
    client.expect(&Received::SubAck(1, vec![0]));
    client
}

fn next_topic(client: &mut Client) -> String {
    match client.next_event() {
        Next::Packet(Received::Publish(publish)) => publish.topic,
        other @ (Next::Packet(_) | Next::Closed | Next::Silence) => panic!("no PUBLISH but {other:?}"),
    }
}

#[test]
fn a_mount_point_is_added_to_what_comes_and_taken_from_what_goes() {
    let two = Two::start(|listener| listener.mount_point(MountPoint::new("house/").unwrap()));
    let mut outside = subscribed(two.ordinary, "outside", "#");
    let mut inside = subscribed(two.special, "inside", "#");
    let will = Connect::new("dying").will(Will::new("will", "bye", 0));
    connected(two.special, &will).drop_connection();
    assert_eq!((next_topic(&mut outside), next_topic(&mut inside)), ("house/will".into(), "will".into()));
    inside.send(Publish::new("a/b", "x").encode());
    assert_eq!((next_topic(&mut outside), next_topic(&mut inside)), ("house/a/b".into(), "a/b".into()));
    outside.send(Publish::new("elsewhere", "x").encode());
    outside.send(Publish::new("house/c", "x").encode());
    assert_eq!(next_topic(&mut outside), "elsewhere");
    assert_eq!((next_topic(&mut outside), next_topic(&mut inside)), ("house/c".into(), "c".into()));
}

#[test]
fn limits_of_a_listener_hold_from_its_first_byte_on() {
    let limits = Limits {
        pre_auth_bytes: 200,
        packet_bytes: 100,
        max_keep_alive: Limit::at_most(60).unwrap(),
        ..Limits::default()
    };
    let two = Two::start(|listener| listener.limits(limits));
    for (address, is_small) in [(two.ordinary, false), (two.special, true)] {
        for connect in [Connect::new(&"x".repeat(300)), Connect { keep_alive: 61, ..Connect::new("id") }] {
            let mut client = Client::open(address);
            client.send(connect.encode());
            let is_in = matches!(client.next_event(), Next::Packet(Received::ConnAck { code: 0, .. }));
            assert_eq!(is_in, !is_small);
        }
        let mut client = connected(address, &Connect { keep_alive: 60, ..Connect::new("id") });
        client.send(Publish::new("t", "x".repeat(100)).encode());
        if is_small { client.expect_closed() } else { client.quiet() }
    }
}
