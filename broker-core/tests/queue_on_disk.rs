//! A queue many times longer than its memory, over sockets and SQLite: it is taken, survives a restart, and is given back
//! in order.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broker or a peer that does not answer is a failed test"
)]

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Durability, Threads};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const PAYLOAD_BYTES: usize = 50_000;
/// 200 MB.
const MESSAGES: u32 = 4000;
const MEMORY_BYTES: u64 = 8 << 20;
const IN_FLIGHT: u32 = 50;

fn start(directory: &Path) -> Broker {
    let limits = Limits {
        queue_bytes: Limit::Unlimited,
        queue_memory_bytes: Limit::at_most(MEMORY_BYTES).unwrap(),
        ..Limits::default()
    };
    Broker::builder()
        .listen(([127, 0, 0, 1], 0))
        .threads(Threads::Exactly(NonZeroUsize::new(2).unwrap()))
        .limits(limits)
        .store(directory)
        // Nothing here is about power cuts.
        .durability(Durability::Kill)
        .start_on_own_runtime()
        .unwrap()
}

fn stop(broker: &Broker) {
    broker.runtime().block_on(broker.shutdown(PATIENCE)).unwrap();
}

struct Client {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Client {
    fn connect(broker: &Broker, client_id: &str, is_clean: bool) -> Self {
        let output = TcpStream::connect(broker.local_addrs()[0]).unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        let input = BufReader::with_capacity(1 << 20, output.try_clone().unwrap());
        let mut client = Self { input, output };
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([u8::from(is_clean) << 1, 0, 0, 0, u8::try_from(client_id.len()).unwrap()]);
        body.extend(client_id.as_bytes());
        client.send(0x10, &body);
        assert_eq!(client.packet().0, 0x20);
        client
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut len = body.len();
        while len >= 128 {
            packet.push(0x80 | (len % 128) as u8);
            len /= 128;
        }
        packet.push(len as u8);
        packet.extend(body);
        self.output.write_all(&packet).unwrap();
    }

    /// First byte and body.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0];
        self.input.read_exact(&mut byte).unwrap();
        let (first, mut len, mut shift) = (byte[0], 0, 0);
        loop {
            self.input.read_exact(&mut byte).unwrap();
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.input.read_exact(&mut body).unwrap();
        (first, body)
    }

    /// QoS 1 with numbers in the payloads, so many at a time.
    fn publish(&mut self, numbers: std::ops::Range<u32>) {
        let mut payload = vec![b'x'; PAYLOAD_BYTES];
        for number in numbers.clone() {
            if number >= numbers.start + IN_FLIGHT {
                assert_eq!(self.packet().0, 0x40);
            }
            payload[..4].copy_from_slice(&number.to_be_bytes());
            let id = u16::try_from(number + 1).unwrap().to_be_bytes();
            self.send(0x32, &[b"\0\x01t", &id[..], &payload].concat());
        }
        for _ in 0..IN_FLIGHT {
            assert_eq!(self.packet().0, 0x40);
        }
    }

    /// The number of the next message, which is acknowledged.
    fn take(&mut self) -> u32 {
        let (first, body) = self.packet();
        assert_eq!((first & 0xf7, body.len()), (0x32, PAYLOAD_BYTES + 5));
        self.send(0x40, &body[3..5]);
        u32::from_be_bytes(body[5..9].try_into().unwrap())
    }
}

fn number(broker: &Broker, name: &str) -> u64 {
    broker.metrics().get(name).unwrap()
}

/// What was acknowledged is on its way to the lane of its receiver.
fn await_queue(broker: &Broker, messages: u32) {
    let start = Instant::now();
    while number(broker, "queue_messages") < u64::from(messages) {
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

#[test]
fn a_queue_many_times_longer_than_its_memory_comes_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(directory.path());
    let mut reader = Client::connect(&broker, "reader", false);
    reader.send(0x82, b"\0\x01\0\x01t\x01");
    assert_eq!(reader.packet(), (0x90, vec![0, 1, 1]));
    drop(reader);
    let mut publisher = Client::connect(&broker, "publisher", true);
    publisher.publish(0..MESSAGES / 2);
    await_queue(&broker, MESSAGES / 2);
    assert!(number(&broker, "queue_memory_bytes") <= MEMORY_BYTES / 2);
    drop(publisher);
    stop(&broker);
    let broker = start(directory.path());
    let mut publisher = Client::connect(&broker, "publisher", true);
    publisher.publish(MESSAGES / 2..MESSAGES);
    await_queue(&broker, MESSAGES);
    assert!(number(&broker, "queue_memory_bytes") <= MEMORY_BYTES / 2);
    let mut reader = Client::connect(&broker, "reader", false);
    for expected in 0..MESSAGES {
        assert_eq!(reader.take(), expected);
        assert!(number(&broker, "queue_memory_bytes") <= MEMORY_BYTES + (1 << 20));
    }
    assert!(number(&broker, "queue_reads") > 100);
    // Its answer is behind the last acknowledgement.
    reader.send(0xc0, &[]);
    assert_eq!(reader.packet().0, 0xd0);
    stop(&broker);
    let broker = start(directory.path());
    assert_eq!((number(&broker, "queue_messages"), number(&broker, "queue_disk_messages")), (0, 0));
    stop(&broker);
}
