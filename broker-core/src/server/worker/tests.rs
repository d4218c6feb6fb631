use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Runtime;

use super::super::broker::{Broker, BrokerBuilder, Threads};
use super::super::lane::tests::PANIC;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    runtime: Runtime,
    broker: Broker,
}

impl Server {
    fn start(builder: BrokerBuilder) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let builder = builder.listen(([127, 0, 0, 1], 0));
        let builder = builder.threads(Threads::Exactly(NonZeroUsize::new(4).unwrap()));
        let broker = runtime.block_on(builder.start()).unwrap();
        Self { runtime, broker }
    }

    fn enter(&self, client_id: &str) -> Client {
        let stream = TcpStream::connect(self.broker.local_addrs()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
        body.extend(string(client_id));
        client.send(0x10, &body);
        client
    }

    fn connect(&self, client_id: &str) -> Client {
        let mut client = self.enter(client_id);
        client.expect(0x20, &[0, 0]);
        client
    }

    fn stop(&self) {
        self.runtime.block_on(self.broker.shutdown(PATIENCE)).unwrap();
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    /// A packet with a body below 128 bytes.
    fn send(&mut self, first: u8, body: &[u8]) {
        let packet = [&[first, u8::try_from(body.len()).unwrap()], body].concat();
        self.stream.write_all(&packet).unwrap();
    }

    /// First byte and body of the next packet; `None` at the end.
    fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the broker does not answer"),
            Err(_) => return None,
        }
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).unwrap();
        Some((head[0], body))
    }

    fn expect(&mut self, first: u8, body: &[u8]) {
        assert_eq!(self.packet(), Some((first, body.to_vec())));
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat());
        self.expect(0x90, &[0, 1, qos]);
    }

    fn publish(&mut self, topic: &str, qos: u8, id: u16, payload: &[u8]) {
        let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
        self.send(0x30 | qos << 1, &[string(topic), id, payload.to_vec()].concat());
    }

    fn answers_a_ping(&mut self) -> bool {
        self.stream.write_all(&[0xC0, 0]).is_ok() && self.packet().is_some()
    }
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// `count` messages at each QoS from each of four publishers to each of eight subscribers, all of them checked.
fn exchange(server: &Server, count: u8) {
    let mut subscribers: Vec<_> = (0..8).map(|number| server.connect(&format!("s{number}"))).collect();
    for subscriber in &mut subscribers {
        (0..3).for_each(|qos| subscriber.subscribe(&format!("q{qos}"), qos));
    }
    let readers = subscribers.into_iter().map(|client| thread::spawn(move || receive(client, count)));
    let readers: Vec<_> = readers.collect();
    let publishers = (0..4).map(|number| {
        let client = server.connect(&format!("p{number}"));
        thread::spawn(move || send(client, number, count))
    });
    let publishers: Vec<_> = publishers.collect();
    publishers.into_iter().chain(readers).for_each(|thread| thread.join().unwrap());
}

fn send(mut client: Client, number: u8, count: u8) {
    for message in 0..count {
        for qos in 0..3 {
            let id = u16::from(message) * 3 + u16::from(qos) + 1;
            client.publish(&format!("q{qos}"), qos, id, &[number, message]);
        }
        // PUBACK and PUBREC, in their order, then PUBCOMP.
        let (Some((0x40, _)), Some((0x50, id))) = (client.packet(), client.packet()) else { panic!() };
        client.send(0x62, &id);
        client.expect(0x70, &id);
    }
}

fn receive(mut client: Client, count: u8) {
    let mut next = [[0; 4]; 3];
    let mut released = 0;
    while next != [[count; 4]; 3] || released < u16::from(count) * 4 {
        match client.packet() {
            Some((first, body)) if first >> 4 == 3 => {
                let qos = first >> 1 & 3;
                if qos > 0 {
                    client.send(if qos == 1 { 0x40 } else { 0x50 }, &body[4..6]);
                }
                let (publisher, message) = (body[body.len() - 2], body[body.len() - 1]);
                let expected = &mut next[usize::from(qos)][usize::from(publisher)];
                assert_eq!(message, *expected, "of publisher {publisher} at QoS {qos}");
                *expected += 1;
            }
            Some((0x62, id)) => {
                client.send(0x70, &id);
                released += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn lanes_that_move_under_traffic_lose_double_and_reorder_nothing() {
    for rounds in [1, 2, 7] {
        static MOVES: AtomicU64 = AtomicU64::new(0);
        let server = Server::start(Broker::builder().moving_every(rounds, &MOVES));
        exchange(&server, 200);
        let moves = MOVES.swap(0, Ordering::Relaxed);
        assert!(moves > 20, "only {moves} moves with one every {rounds} rounds");
        server.stop();
    }
}

#[test]
fn what_was_acknowledged_is_delivered_although_the_broker_stops() {
    static MOVES: AtomicU64 = AtomicU64::new(0);
    for round in 0..30 {
        let builder = Broker::builder();
        let server = Server::start(match round % 3 {
            0 => builder,
            1 => builder.lanes(Lanes::Spread),
            _ => builder.moving_every(2, &MOVES),
        });
        let readers = (0..6).map(|number| {
            let mut client = server.connect(&format!("s{number}"));
            client.subscribe("t", 0);
            thread::spawn(move || std::iter::from_fn(|| client.packet()).count())
        });
        let readers: Vec<_> = readers.collect();
        let mut publisher = server.connect("publisher");
        let mut writer = publisher.stream.try_clone().unwrap();
        let (started, has_started) = channel();
        let writer = thread::spawn(move || {
            let packet = [&[0x32, 6, 0, 1, b't', 0, 1][..], b"x"].concat().repeat(20);
            // Until the broker has closed the connection.
            while writer.write_all(&packet).is_ok() {
                let _ = started.send(());
            }
        });
        has_started.recv().unwrap();
        let acknowledged = thread::spawn(move || std::iter::from_fn(|| publisher.packet()).count());
        server.stop();
        writer.join().unwrap();
        let acknowledged = acknowledged.join().unwrap();
        for reader in readers {
            let delivered = reader.join().unwrap();
            assert!(delivered >= acknowledged, "round {round}: {delivered} of {acknowledged} delivered");
        }
    }
}

#[test]
fn a_lane_that_panics_twice_fails_the_broker_and_shutdown_still_returns() {
    for round in 0..8 {
        let lanes = if round % 2 == 0 { Lanes::Adaptive } else { Lanes::Spread };
        let server = Server::start(Broker::builder().lanes(lanes));
        let mut others: Vec<_> = (0..16).map(|number| server.connect(&format!("o{number}"))).collect();
        let topic = std::str::from_utf8(PANIC).unwrap();
        server.connect("bad").publish(topic, 0, 0, b"x");
        assert!(others.iter_mut().all(Client::answers_a_ping), "one panic is the end of one connection");
        // The same ClientId, hence the same shard.
        let mut bad = server.connect("bad");
        bad.publish(topic, 0, 0, b"x");
        assert_eq!(bad.packet(), None);
        let failure = server.runtime.block_on(server.broker.failed());
        assert!(failure.to_string().contains("panicked twice within a minute"), "{failure}");
        let alive = others.iter_mut().map(Client::answers_a_ping).filter(|answers| *answers).count();
        assert_eq!(server.enter("bad").packet(), None, "its shard is closed");
        assert!(alive > 0, "nobody is served by the other shards");
        server.stop();
        assert!(others.iter_mut().all(|other| other.packet().is_none()));
    }
}
