//! The broker over sockets: deadlines, limits, shutdown, and connections that do not read.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broker or a peer that does not answer is a failed test"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, BrokerBuilder, StartError, Threads};
use tokio::runtime::Runtime;

/// Makes three tests of each of these functions: with 1, 2 and 4 lanes. The name of the test says with how many.
macro_rules! on_lanes {
    ($($case:ident),* $(,)?) => {
        mod on_1_lane { $(#[test] fn $case() { super::$case(1); })* }
        mod on_2_lanes { $(#[test] fn $case() { super::$case(2); })* }
        mod on_4_lanes { $(#[test] fn $case() { super::$case(4); })* }
    };
}

on_lanes!(
    a_silent_connection_and_a_connect_byte_by_byte_end_at_the_deadline,
    bytes_before_connect_is_complete_are_bounded_for_one_and_for_all,
    bytes_behind_a_connect_of_the_allowed_size_do_not_count_against_it,
    room_for_connections_is_given_back_when_they_close,
    shutdown_closes_every_connection_also_those_before_connect_and_frees_the_port,
    a_broker_that_is_dropped_ends_without_shutdown,
    a_subscriber_that_reads_nothing_or_too_slowly_does_not_grow_the_broker,
    a_client_that_asks_without_reading_does_not_grow_the_broker,
    a_packet_of_the_allowed_size_passes_and_one_above_it_closes_its_connection,
    messages_pass_between_lanes_in_order_at_every_qos,
    a_flood_from_another_lane_is_slowed_down_and_not_dropped,
);

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tests that look at the whole process run alone.
static PROCESS: RwLock<()> = RwLock::new(());

fn with_others() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Server {
    runtime: Runtime,
    broker: Broker,
    addr: SocketAddr,
}

impl Server {
    fn start(threads: usize, limits: Limits) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let broker = runtime.block_on(start(threads, limits)).unwrap();
        let addr = broker.local_addrs()[0];
        Self { runtime, broker, addr }
    }

    fn connect(&self, client_id: &str) -> Client {
        let mut client = self.raw();
        client.send(&connect(client_id, true));
        assert_eq!(client.packet(), (0x20, vec![0, 0]));
        client
    }

    fn raw(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).unwrap())
    }

    fn metric(&self, name: &str) -> u64 {
        self.broker.metrics().get(name).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Waits until a number is as expected.
    fn await_metric(&self, name: &str, expected: impl Fn(u64) -> bool) {
        let begin = Instant::now();
        while !expected(self.metric(name)) {
            assert!(begin.elapsed() < PATIENCE, "{name} stays {}", self.metric(name));
            std::thread::yield_now();
        }
    }

    fn stop(&self) {
        self.runtime.block_on(self.broker.shutdown(PATIENCE)).unwrap();
    }
}

async fn start(threads: usize, limits: Limits) -> Result<Broker, StartError> {
    builder(threads, limits).start().await
}

fn builder(threads: usize, limits: Limits) -> BrokerBuilder {
    let threads = Threads::Exactly(NonZeroUsize::new(threads).unwrap());
    Broker::builder().listen(([127, 0, 0, 1], 0)).limits(limits).threads(threads)
}

struct Client {
    stream: TcpStream,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// First byte and body of the next packet.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut first = [0; 1];
        self.stream.read_exact(&mut first).unwrap();
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0; 1];
            self.stream.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (first[0], body)
    }

    /// Waits for the end; what came before it.
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return bytes;
                }
                Err(error) => panic!("the connection was not closed: {error}"),
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(1, filter, qos));
        assert_eq!(self.packet(), (0x90, vec![0, 1, qos]));
    }

    /// A round trip: everything sent before was handled.
    fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert_eq!(self.packet(), (0xD0, vec![]));
    }

    /// Writes without waiting until the peer takes no more or `bytes` are gone.
    fn send_what_fits(&self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match (&self.stream).write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        sent
    }
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { byte | 128 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn connect(client_id: &str, is_clean: bool) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, u8::from(is_clean) << 1, 0, 0];
    body.extend(string(client_id));
    frame(0x10, &body)
}

fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(string(filter));
    body.push(qos);
    frame(0x82, &body)
}

fn publish(topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    frame(0x30 | (qos << 1), &body)
}

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).unwrap()
}

/// A number of `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn a_silent_connection_and_a_connect_byte_by_byte_end_at_the_deadline(threads: usize) {
    let _with = with_others();
    let server =
        Server::start(threads, Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() });
    let mut silent = server.raw();
    let mut slow = server.raw();
    let begin = Instant::now();
    let long = connect(&"x".repeat(60_000), true);
    let mut is_over = false;
    for byte in &long {
        // Each byte on its own, until the broker has had enough.
        if slow.stream.write_all(&[*byte]).is_err() {
            is_over = true;
            break;
        }
        if server.metric("connect_timeouts") == 2 {
            is_over = true;
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(is_over, "60,000 bytes, one by one, were taken");
    assert_eq!(slow.read_to_end(), []);
    assert_eq!(silent.read_to_end(), []);
    assert!(begin.elapsed() >= Duration::from_millis(900), "closed too early");
    server.await_metric("sockets", |count| count == 0);
    assert_eq!(server.metric("connect_timeouts"), 2);
    assert_eq!(server.metric("pre_auth_bytes"), 0);
}

fn bytes_before_connect_is_complete_are_bounded_for_one_and_for_all(threads: usize) {
    let _with = with_others();
    let server = Server::start(
        threads,
        Limits { pre_auth_bytes: 1000, pre_auth_total_bytes: at_most(1500), ..Limits::default() },
    );
    let mut large = server.raw();
    large.send(&connect(&"x".repeat(1500), true));
    assert_eq!(large.read_to_end(), []);
    // Two together need more than all may have.
    let whole = connect(&"y".repeat(900), true);
    let mut one = server.raw();
    one.send(&whole[..900]);
    server.await_metric("pre_auth_bytes", |bytes| bytes == 900);
    let mut two = server.raw();
    two.send(&whole[..900]);
    assert_eq!(two.read_to_end(), []);
    assert_eq!(server.metric("connect_over_budget"), 1);
    one.send(&whole[900..]);
    assert_eq!(one.packet(), (0x20, vec![0, 0]));
    assert_eq!(server.metric("pre_auth_bytes"), 0);
}

fn bytes_behind_a_connect_of_the_allowed_size_do_not_count_against_it(threads: usize) {
    let _with = with_others();
    let whole = connect(&"x".repeat(900), true);
    let server = Server::start(
        threads,
        Limits { pre_auth_bytes: u32::try_from(whole.len()).unwrap(), ..Limits::default() },
    );
    let mut client = server.raw();
    client.send(&[whole, vec![0xC0, 0]].concat());
    assert_eq!(client.packet(), (0x20, vec![0, 0]));
    assert_eq!(client.packet(), (0xD0, vec![]));
}

fn room_for_connections_is_given_back_when_they_close(threads: usize) {
    let _with = with_others();
    for limits in [
        Limits { connections: at_most(2), ..Limits::default() },
        Limits { connections_per_address: at_most(2), ..Limits::default() },
    ] {
        let server = Server::start(threads, limits);
        let first = server.connect("one");
        let _before_connect = server.raw();
        server.await_metric("sockets", |count| count == 2);
        assert_eq!(server.raw().read_to_end(), []);
        assert_eq!(server.metric("sockets_refused"), 1);
        drop(first);
        server.await_metric("sockets", |count| count == 1);
        server.connect("three").ping();
    }
}

fn shutdown_closes_every_connection_also_those_before_connect_and_frees_the_port(threads: usize) {
    let _with = with_others();
    let server = Server::start(threads, Limits { connect_timeout: 10 * PATIENCE, ..Limits::default() });
    let mut connected = server.connect("a");
    let mut waiting = server.raw();
    waiting.send(&connect("b", true)[..5]);
    server.await_metric("pre_auth_bytes", |bytes| bytes == 5);
    server.stop();
    assert_eq!(connected.read_to_end(), []);
    assert_eq!(waiting.read_to_end(), [], "a connection before CONNECT outlives the broker");
    assert_eq!(server.metric("sockets"), 0);
    // std sets SO_REUSEADDR, so only a listener could be in the way.
    TcpListener::bind(server.addr).expect("the port is free");
    server.stop();
}

fn a_broker_that_is_dropped_ends_without_shutdown(threads: usize) {
    let _with = with_others();
    let server = Server::start(threads, Limits { connect_timeout: 10 * PATIENCE, ..Limits::default() });
    let mut connected = server.connect("a");
    let mut waiting = server.raw();
    server.await_metric("sockets", |count| count == 2);
    let Server { runtime, broker, .. } = server;
    drop(broker);
    assert_eq!(connected.read_to_end(), []);
    assert_eq!(waiting.read_to_end(), []);
    drop(runtime);
}

#[test]
fn two_brokers_in_one_process_know_nothing_of_each_other() {
    let _with = with_others();
    let (one, two) = (Server::start(1, Limits::default()), Server::start(2, Limits::default()));
    let mut a = one.connect("same");
    let mut b = two.connect("same");
    a.subscribe("t", 0);
    b.subscribe("t", 0);
    b.send(&publish("t", b"two", 0, 0));
    assert_eq!(b.packet(), (0x30, [string("t"), b"two".to_vec()].concat()));
    a.ping();
    one.stop();
    b.ping();
}

#[test]
fn too_many_threads_are_refused() {
    let _with = with_others();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(start(1025, Limits::default()));
    assert!(matches!(result, Err(StartError::TooManyThreads(1025))), "{result:?}");
}

fn a_subscriber_that_reads_nothing_or_too_slowly_does_not_grow_the_broker(threads: usize) {
    let _alone = alone();
    // More than the system's own buffers take at a time, so that something always waits for the slow one.
    let server = Server::start(
        threads,
        Limits { outbox_bytes: at_most(8 << 20), outbox_burst_bytes: at_most(8 << 20), ..Limits::default() },
    );
    let mut deaf = server.connect("deaf");
    deaf.subscribe("t", 0);
    let mut slow = server.connect("slow");
    slow.subscribe("t", 0);
    let mut good = server.connect("good");
    good.subscribe("other", 0);
    let mut publisher = server.connect("publisher");
    let message = publish("t", &[7; 3000], 0, 0);
    let burst = message.repeat(100);
    let before = status("VmRSS:");
    let mut chunk = vec![0; 150_000];
    for round in 0..700 {
        publisher.send(&burst);
        if round % 10 == 0 {
            publisher.ping();
        }
        // Half of what is sent: there is always something left for it.
        slow.stream.read_exact(&mut chunk).unwrap();
    }
    publisher.ping();
    let grown_mib = status("VmRSS:").saturating_sub(before) / 1024;
    server.await_metric("dropped_slow_reader", |count| count > 0);
    assert!(grown_mib < 64, "the broker grew by {grown_mib} MiB for 210 MB of messages");
    publisher.send(&publish("other", b"x", 0, 0));
    assert_eq!(good.packet().0, 0x30, "the others go on");
}

fn a_client_that_asks_without_reading_does_not_grow_the_broker(threads: usize) {
    let _alone = alone();
    let server = Server::start(threads, Limits::default());
    let before = status("VmRSS:");
    let mut clients = Vec::new();
    for (id, request, times) in
        [("pings", vec![0xC0, 0], 4_000_000), ("subscribes", subscribe(1, "a/b", 1), 1_000_000)]
    {
        let client = server.connect(id);
        let mut left = request.len() * times;
        let block = request.repeat(100_000);
        // Until the broker takes no more, or everything is sent. The broker is given time to read after each block.
        while left > 0 {
            let sent = client.send_what_fits(&block[..block.len().min(left)]);
            left -= sent;
            if sent < block.len() {
                break;
            }
            server.connect("probe").ping();
        }
        clients.push(client);
    }
    server.connect("probe").ping();
    let grown_mib = status("VmRSS:").saturating_sub(before) / 1024;
    assert!(grown_mib < 48, "the broker grew by {grown_mib} MiB");
    // Everything that was asked is answered to who reads after all.
    let mut pinger = server.connect("reader");
    pinger.send(&[0xC0, 0].repeat(50_000));
    for _ in 0..50_000 {
        assert_eq!(pinger.packet().0, 0xD0);
    }
}

fn a_packet_of_the_allowed_size_passes_and_one_above_it_closes_its_connection(threads: usize) {
    let _alone = alone();
    let server = Server::start(threads, Limits::default());
    let mut subscriber = server.connect("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = server.connect("publisher");
    // Fixed header 5, topic 3, Packet Identifier 2.
    let payload = vec![9; (16 << 20) - 10];
    let packet = publish("t", &payload, 1, 1);
    assert_eq!(packet.len(), 16 << 20);
    let writer = std::thread::spawn(move || {
        publisher.send(&packet);
        publisher
    });
    let (first, body) = subscriber.packet();
    let mut publisher = writer.join().unwrap();
    assert_eq!((first, body.len()), (0x32, payload.len() + 5));
    assert!(body.ends_with(&payload));
    assert_eq!(publisher.packet(), (0x40, vec![0, 1]));
    // The length alone is enough.
    publisher.send(&publish("t", &vec![9; (16 << 20) - 9], 1, 2)[..5]);
    assert_eq!(publisher.read_to_end(), []);
    subscriber.send(&[0x40, 2, 0, 1]);
    subscriber.ping();
    server.await_metric("connections_malformed", |count| count == 1);
}

fn messages_pass_between_lanes_in_order_at_every_qos(threads: usize) {
    let _with = with_others();
    let server = Server::start(threads, Limits::default());
    let mut subscribers: Vec<_> = (0..8)
        .map(|number| {
            let mut client = server.connect(&format!("subscriber-{number}"));
            for qos in 0..3 {
                client.send(&subscribe(1, &format!("q{qos}"), qos));
                assert_eq!(client.packet(), (0x90, vec![0, 1, qos]));
            }
            client
        })
        .collect();
    let mut publishers: Vec<_> =
        (0..4).map(|number| server.connect(&format!("publisher-{number}"))).collect();
    for (number, publisher) in publishers.iter_mut().enumerate() {
        let number = u8::try_from(number).unwrap();
        for count in 0..50_u16 {
            for qos in 0..3 {
                let id = count * 3 + u16::from(qos) + 1;
                publisher.send(&publish(
                    &format!("q{qos}"),
                    &[number, u8::try_from(count).unwrap()],
                    qos,
                    id,
                ));
            }
        }
    }
    for publisher in &mut publishers {
        let mut completed = 0;
        while completed < 100 {
            let (first, body) = publisher.packet();
            match first {
                0x40 | 0x70 => completed += 1,
                0x50 => publisher.send(&[0x62, 2, body[0], body[1]]),
                other => panic!("{other:#x}"),
            }
        }
    }
    for subscriber in &mut subscribers {
        let mut next = [[0_u8; 4]; 3];
        let mut released = 0;
        while next != [[50; 4]; 3] || released < 200 {
            let (first, body) = subscriber.packet();
            match first >> 4 {
                3 => {
                    let qos = usize::from(first >> 1 & 3);
                    if qos > 0 {
                        subscriber.send(&[if qos == 1 { 0x40 } else { 0x50 }, 2, body[4], body[5]]);
                    }
                    let (publisher, count) = (body[body.len() - 2], body[body.len() - 1]);
                    let expected = &mut next[qos][usize::from(publisher)];
                    assert_eq!(count, *expected, "of publisher {publisher} at QoS {qos}");
                    *expected += 1;
                }
                6 => {
                    subscriber.send(&[0x70, 2, body[0], body[1]]);
                    released += 1;
                }
                other => panic!("packet type {other}"),
            }
        }
    }
}

fn a_flood_from_another_lane_is_slowed_down_and_not_dropped(threads: usize) {
    let _with = with_others();
    let server = Server::start(threads, Limits::default());
    let mut subscribers: Vec<_> = (0..4)
        .map(|number| {
            let mut client = server.connect(&format!("s{number}"));
            client.subscribe("t", 1);
            client
        })
        .collect();
    let readers: Vec<_> = subscribers
        .drain(..)
        .map(|mut client| {
            std::thread::spawn(move || {
                for _ in 0..4000 {
                    let (first, body) = client.packet();
                    assert_eq!(first & 0xF6, 0x32);
                    client.send(&[0x40, 2, body[3], body[4]]);
                }
            })
        })
        .collect();
    let mut publisher = server.connect("publisher");
    for count in 0..4000 {
        publisher.send(&publish("t", &[1; 2000], 1, count % 50 + 1));
        if count % 50 == 49 {
            for _ in 0..50 {
                assert_eq!(publisher.packet().0, 0x40);
            }
        }
    }
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(server.metric("dropped_queue_full"), 0);
}

#[test]
fn ipv6_is_served() {
    let _with = with_others();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let started = runtime.block_on(Broker::builder().listen((Ipv6Addr::LOCALHOST, 0)).start());
    let broker = match started {
        Ok(broker) => broker,
        // A machine without IPv6.
        Err(StartError::Bind { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let mut client = Client::new(TcpStream::connect(broker.local_addrs()[0]).unwrap());
    client.send(&connect("six", true));
    assert_eq!(client.packet(), (0x20, vec![0, 0]));
}
