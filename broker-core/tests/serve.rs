//! Streams of an embedder as connections, byte by byte.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a failed test is what they are for")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, QoS, ServeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(within(test));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for {PATIENCE:?}"),
    }
}

async fn start(limits: Limits) -> Broker {
    Broker::builder().without_listener().limits(limits).start().await.unwrap()
}

async fn expect(stream: &mut DuplexStream, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert_eq!(found, expected);
}

async fn expect_end(stream: &mut DuplexStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

fn connect(client_id: &str) -> Vec<u8> {
    let length = u8::try_from(client_id.len()).unwrap();
    let mut packet = vec![0x10, 12 + length];
    packet.extend(b"\0\x04MQTT\x04\x02\0\0\0");
    packet.extend([length]);
    packet.extend(client_id.as_bytes());
    packet
}

async fn connected(broker: &Broker, client_id: &str, buffer: usize) -> DuplexStream {
    let (ours, mut theirs) = duplex(buffer);
    broker.serve(ours, "memory").unwrap();
    theirs.write_all(&connect(client_id)).await.unwrap();
    expect(&mut theirs, &[0x20, 2, 0, 0]).await;
    theirs
}

async fn await_metric(broker: &Broker, name: &str, expected: impl Fn(u64) -> bool) {
    within(async {
        while !expected(broker.metrics().get(name).unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn any_stream_speaks_mqtt() {
    run(async {
        let broker = start(Limits::default()).await;
        // The smallest buffer there is: every packet comes in pieces, in both directions.
        for buffer in [1, 7, 64 << 10] {
            let (ours, mut theirs) = duplex(buffer);
            broker.serve(ours, "memory").unwrap();
            let packets = [
                connect("m"),
                b"\x82\x06\0\x05\0\x01t\x01".to_vec(),
                b"\x32\x06\0\x01t\0\x06x\xc0\0".to_vec(),
            ];
            let (mut reader, mut writer) = tokio::io::split(&mut theirs);
            let write = async { writer.write_all(&packets.concat()).await.unwrap() };
            let read = async {
                let mut found = [0; 4 + 5 + 8 + 4 + 2];
                reader.read_exact(&mut found).await.unwrap();
                found
            };
            let ((), found) = tokio::join!(write, read);
            let (head, answers) = found.split_at(9);
            assert_eq!(head, b"\x20\x02\0\0\x90\x03\0\x05\x01");
            assert_eq!(answers, b"\x32\x06\0\x01t\0\x01x\x40\x02\0\x06\xd0\0");
            theirs.write_all(&[0x40, 2, 0, 1, 0xe0, 0]).await.unwrap();
            expect_end(&mut theirs).await;
        }
        await_metric(&broker, "sockets", |count| count == 0).await;
    });
}

#[test]
fn much_goes_through_in_order() {
    run(async {
        let broker = start(Limits::default()).await;
        let mut theirs = connected(&broker, "much", 1000).await;
        theirs.write_all(b"\x82\x06\0\x01\0\x01t\x00").await.unwrap();
        expect(&mut theirs, &[0x90, 3, 0, 1, 0]).await;
        let packets: Vec<_> = (0..40_u8)
            .map(|number| {
                let mut packet = vec![0x30, 0xa3, 0x9c, 1, 0, 1, b't'];
                packet.resize(7 + 20_000, number);
                packet
            })
            .collect();
        let bytes = packets.concat();
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let mut found = vec![0; bytes.len()];
        let (written, read) = tokio::join!(writer.write_all(&bytes), reader.read_exact(&mut found));
        written.unwrap();
        read.unwrap();
        assert!(found == bytes);
    });
}

#[test]
fn the_front_door_is_the_same() {
    run(async {
        let broker = start(Limits::default()).await;
        let (ours, mut theirs) = duplex(100);
        broker.serve(ours, "http").unwrap();
        theirs.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        expect_end(&mut theirs).await;
        await_metric(&broker, "connect_malformed", |count| count == 1).await;

        // An empty ClientId without Clean Session.
        let (ours, mut theirs) = duplex(100);
        broker.serve(ours, "nobody").unwrap();
        theirs.write_all(b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0").await.unwrap();
        expect(&mut theirs, &[0x20, 2, 0, 2]).await;
        expect_end(&mut theirs).await;

        let broker = start(Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() }).await;
        let (ours, mut silent) = duplex(100);
        broker.serve(ours, "silent").unwrap();
        expect_end(&mut silent).await;
        await_metric(&broker, "connect_timeouts", |count| count == 1).await;
    });
}

#[test]
fn limits_of_connections_hold_and_those_per_address_where_there_is_one() {
    run(async {
        let at_most = |count| Limit::at_most(count).unwrap();
        let limits =
            Limits { connections: at_most(3), connections_per_address: at_most(1), ..Limits::default() };
        let broker = start(limits).await;
        let address: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let (ours, _one) = duplex(100);
        broker.serve(ours, address).unwrap();
        let (ours, mut refused) = duplex(100);
        let error = broker.serve(ours, address).unwrap_err();
        assert_eq!(error, ServeError::TooMany("connections_per_address"));
        expect_end(&mut refused).await;
        let _two = connected(&broker, "two", 100).await;
        let three = connected(&broker, "three", 100).await;
        assert_eq!(broker.serve(duplex(100).0, "four").unwrap_err(), ServeError::TooMany("connections"));
        drop(three);
        await_metric(&broker, "sockets", |count| count == 2).await;
        connected(&broker, "four", 100).await;
    });
}

#[test]
fn a_half_closed_stream_is_answered_and_closed() {
    run(async {
        let broker = start(Limits::default()).await;
        let mut theirs = connected(&broker, "half", 1000).await;
        theirs.write_all(&[0xc0, 0, 0xc0, 0]).await.unwrap();
        theirs.shutdown().await.unwrap();
        expect(&mut theirs, &[0xd0, 0, 0xd0, 0]).await;
        expect_end(&mut theirs).await;
        await_metric(&broker, "connections", |count| count == 0).await;
    });
}

#[test]
fn a_stream_that_stalls_costs_little_and_harms_nobody() {
    run(async {
        let limits = Limits {
            outbox_bytes: Limit::at_most(10_000).unwrap(),
            outbox_burst_bytes: Limit::at_most(1).unwrap(),
            ..Limits::default()
        };
        let broker = start(limits).await;
        let mut stalled = connected(&broker, "stalled", 100).await;
        stalled.write_all(b"\x82\x06\0\x01\0\x01t\x00").await.unwrap();
        expect(&mut stalled, &[0x90, 3, 0, 1, 0]).await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        for _ in 0..100 {
            app.publish("t", vec![0; 10_000], QoS::AtLeastOnce).await.unwrap();
        }
        await_metric(&broker, "dropped_slow_reader", |count| count > 70).await;
        // What was written and not dropped waits in pipe and task, 128 KiB.
        assert!(broker.metrics().get("bytes_sent").unwrap() < 200_000);
        // It does not hold up the end.
        within(broker.shutdown(PATIENCE)).await.unwrap();
        drop(stalled);
    });
}

#[test]
fn shutdown_closes_streams_before_and_after_connect() {
    run(async {
        let broker = start(Limits::default()).await;
        let (ours, mut early) = duplex(100);
        broker.serve(ours, "early").unwrap();
        let mut late = connected(&broker, "late", 100).await;
        within(broker.shutdown(PATIENCE)).await.unwrap();
        expect_end(&mut early).await;
        expect_end(&mut late).await;
        assert_eq!(broker.serve(duplex(100).0, "too late").unwrap_err(), ServeError::Stopped);
    });
}
