//! Limits and listeners that change while the broker runs.

#![expect(clippy::unwrap_used, reason = "a failed test is what they are for")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use culex_core::client::{ClientError, Connection, Event, Options, Publication, Session};
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Listener, MountPoint, QoS};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.unwrap() });
}

async fn connect(address: SocketAddr, id: &str) -> Result<Connection, ClientError> {
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.client_id = id.to_owned();
    Connection::open(&options, Session::default()).await
}

/// Whether a message of so many bytes is acknowledged.
async fn publishes(connection: &mut Connection, topic: &str, bytes: usize) -> bool {
    connection.publish(Publication::new(topic, vec![0; bytes], QoS::AtLeastOnce)).unwrap();
    loop {
        match connection.event().await {
            Ok(Event::Published { .. }) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn limits(packet_bytes: u32) -> Limits {
    Limits { packet_bytes, ..Limits::default() }
}

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).unwrap()
}

#[test]
fn other_limits_hold_for_who_is_there_and_who_comes() {
    run(async {
        let listen = ([127, 0, 0, 1], 0);
        let broker = Broker::builder().listen(listen).limits(limits(1000)).start().await.unwrap();
        let address = broker.local_addrs()[0];
        let mut old = connect(address, "old").await.unwrap();
        assert!(publishes(&mut old, "t", 500).await);
        assert!(!publishes(&mut connect(address, "other").await.unwrap(), "t", 2000).await);
        broker.set_limits(&limits(5000)).await.unwrap();
        assert!(publishes(&mut old, "t", 2000).await, "it was there before");
        assert!(publishes(&mut connect(address, "new").await.unwrap(), "t", 2000).await);

        // One connection is there and may stay; a smaller limit keeps others out.
        let few = Limits { connections: at_most(1), max_keep_alive: at_most(1), ..limits(5000) };
        broker.set_limits(&few).await.unwrap();
        assert!(connect(address, "second").await.is_err());
        assert!(publishes(&mut old, "t", 2000).await);
        broker.set_limits(&Limits { max_keep_alive: at_most(1), ..limits(5000) }).await.unwrap();
        assert!(connect(address, "never silent").await.is_err(), "its Keep Alive is too long now");
        assert!(publishes(&mut old, "t", 2000).await);
    });
}

#[test]
fn a_sessions_queue_has_the_new_limits_at_once() {
    run(async {
        let broker = Broker::builder().without_listener().start().await.unwrap();
        let (away, _) = broker.client("away").persistent(Duration::MAX).await.unwrap();
        away.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        away.disconnect().await;
        broker.set_limits(&Limits { queue_messages: at_most(3), ..Limits::default() }).await.unwrap();
        let (source, _inbox) = broker.client("source").await.unwrap();
        for _ in 0..5 {
            source.publish("t", "", QoS::AtLeastOnce).await.unwrap();
        }
        let info = broker.admin().session("away").await.unwrap().unwrap();
        assert_eq!((info.queue_messages, broker.metrics().get("dropped_queue_full")), (3, Some(2)));
    });
}

#[test]
fn a_listener_changes_for_who_comes_in_and_counts_who_is_there() {
    run(async {
        let listener = || Listener::from(([127, 0, 0, 1], 0));
        let broker = Broker::builder().listen(listener()).start().await.unwrap();
        let address = broker.local_addrs()[0];
        let mut old = connect(address, "old").await.unwrap();
        let house = MountPoint::new("house/").unwrap();
        assert!(broker.change_listener(0, listener().limits(limits(1000)).mount_point(house)));
        let (app, mut inbox) = broker.client("app").await.unwrap();
        app.subscribe("#", QoS::AtLeastOnce).await.unwrap();
        let mut new = connect(address, "new").await.unwrap();
        assert!(publishes(&mut new, "t", 500).await && publishes(&mut old, "t", 500).await);
        let topics =
            [inbox.next().await.unwrap().topic.to_string(), inbox.next().await.unwrap().topic.to_string()];
        assert_eq!(topics, ["house/t", "t"]);
        assert!(!publishes(&mut new, "t", 2000).await, "the listener's own limit");
        assert!(publishes(&mut old, "t", 2000).await);

        assert!(broker.change_listener(0, listener().max_connections(at_most(1))));
        assert!(connect(address, "one more").await.is_err(), "one is there already");
        assert!(broker.change_listener(0, listener()));
        assert!(publishes(&mut connect(address, "later").await.unwrap(), "t", 2000).await);
        assert!(!broker.change_listener(1, listener()), "there is none");
    });
}

#[test]
fn who_connects_before_accept_waits_and_misses_nobody_s_subscription() {
    run(async {
        let broker = Broker::builder().listen(([127, 0, 0, 1], 0)).accept_later().start().await.unwrap();
        let address = broker.local_addrs()[0];
        let early = tokio::spawn(async move {
            let mut early = connect(address, "early").await.unwrap();
            publishes(&mut early, "t", 1).await
        });
        // The system has its connection; the broker has not taken it.
        let (client, mut inbox) = broker.client("inside").await.unwrap();
        tokio::net::TcpStream::connect(address).await.unwrap();
        client.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        assert_eq!(broker.metrics().get("sockets_total"), Some(1), "the client inside alone");
        broker.accept();
        assert!(early.await.unwrap());
        assert_eq!(&*inbox.next().await.unwrap().topic, "t");
        broker.shutdown(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn a_broker_that_never_accepts_stops() {
    run(async {
        let broker = Broker::builder().listen(([127, 0, 0, 1], 0)).accept_later().start().await.unwrap();
        broker.shutdown(Duration::from_secs(10)).await.unwrap();
    });
}
