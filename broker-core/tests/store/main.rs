//! A broker with a store over sockets: what it has after it was stopped, and what it does when nothing can be kept.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broker or a peer that does not answer is a failed test"
)]

mod full;
mod report;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culex_core::engine::keys::{PublicationId, SessionId};
use culex_core::engine::publication::Publication;
use culex_core::engine::store::{Record, Stored};
use culex_core::engine::time::WallTime;
use culex_core::{Broker, BrokerBuilder, Durability, SqliteStore, StartError, Store, StoreError, Threads};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn builder(threads: usize) -> BrokerBuilder {
    let threads = Threads::Exactly(NonZeroUsize::new(threads).unwrap());
    Broker::builder().listen(([127, 0, 0, 1], 0)).threads(threads)
}

fn start(builder: BrokerBuilder) -> Broker {
    builder.start_on_own_runtime().unwrap()
}

fn stop(broker: &Broker) {
    broker.runtime().block_on(broker.shutdown(PATIENCE)).unwrap();
}

struct Client(TcpStream);

impl Client {
    /// A 3.1.1 connection; says whether there was a session.
    fn connect(broker: &Broker, client_id: &str, is_clean: bool) -> (Self, bool) {
        let stream = TcpStream::connect(broker.local_addrs()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(stream);
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([u8::from(is_clean) << 1, 0, 0]);
        body.extend(string(client_id));
        client.send(0x10, &body);
        let (first, connack) = client.packet();
        assert_eq!((first, connack[1]), (0x20, 0));
        (client, connack[0] == 1)
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let len = u8::try_from(body.len()).unwrap();
        assert!(len < 128);
        self.0.write_all(&[&[first, len], body].concat()).unwrap();
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat());
        assert_eq!(self.packet(), (0x90, vec![0, 1, qos]));
    }

    fn publish(&mut self, topic: &str, payload: &str, (qos, id): (u8, u8), is_retain: bool) {
        let body = [&string(topic)[..], &[0, id], payload.as_bytes()].concat();
        self.send(0x30 | qos << 1 | u8::from(is_retain), &body);
    }

    /// First byte and body.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn sessions_queues_and_retained_messages_outlive_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    for durability in [Durability::Power, Durability::Kill] {
        let path = directory.path().join(format!("{durability:?}"));
        let broker = start(builder(2).store(&path).durability(durability));
        let (mut reader, is_present) = Client::connect(&broker, "reader", false);
        assert!(!is_present);
        reader.subscribe("t", 2);
        drop(reader);
        let (mut publisher, _) = Client::connect(&broker, "publisher", false);
        publisher.publish("t", "one", (1, 1), false);
        assert_eq!(publisher.packet(), (0x40, vec![0, 1]));
        publisher.publish("t", "two", (2, 2), true);
        assert_eq!(publisher.packet(), (0x50, vec![0, 2]));
        stop(&broker);
        // Another number of lanes finds them too.
        let broker = start(builder(3).store(&path).durability(durability));
        let (mut reader, is_present) = Client::connect(&broker, "reader", false);
        assert!(is_present);
        assert_eq!(reader.packet(), (0x32, b"\0\x01t\0\x01one".to_vec()));
        assert_eq!(reader.packet(), (0x34, b"\0\x01t\0\x02two".to_vec()));
        let (mut publisher, _) = Client::connect(&broker, "publisher", false);
        publisher.send(0x62, &[0, 2]);
        assert_eq!(publisher.packet(), (0x70, vec![0, 2]));
        let (mut newcomer, _) = Client::connect(&broker, "newcomer", true);
        newcomer.subscribe("t", 0);
        assert_eq!(newcomer.packet(), (0x31, b"\0\x01ttwo".to_vec()));
        assert!(broker.metrics().get("store_commits").unwrap() > 0);
        stop(&broker);
    }
}

#[test]
fn what_needs_no_store_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(builder(2).store(directory.path()));
    let (mut reader, _) = Client::connect(&broker, "reader", true);
    reader.subscribe("t", 2);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    publisher.publish("t", "x", (1, 1), false);
    assert_eq!(publisher.packet().0, 0x40);
    publisher.publish("t", "x", (2, 2), false);
    assert_eq!(publisher.packet().0, 0x50);
    assert_eq!((reader.packet().0, reader.packet().0), (0x32, 0x34));
    assert_eq!(broker.metrics().get("store_records"), Some(0));
    stop(&broker);
}

#[test]
fn a_second_broker_in_the_directory_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(builder(1).store(directory.path()));
    let second = builder(1).store(directory.path()).start_on_own_runtime().unwrap_err();
    assert!(matches!(&second, StartError::Store(StoreError::InUse { .. })), "{second}");
    stop(&broker);
    // Stopped means that the directory is free.
    stop(&start(builder(1).store(directory.path())));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = builder(1).store(file.join("store")).start_on_own_runtime().unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

/// SQLite until the n-th commit.
struct Failing {
    store: SqliteStore,
    commits_left: Arc<AtomicU64>,
}

impl Failing {
    fn open(path: &Path, commits_left: &Arc<AtomicU64>) -> Result<Self, StoreError> {
        let store = SqliteStore::open(path, Durability::Kill)?;
        Ok(Self { store, commits_left: Arc::clone(commits_left) })
    }
}

impl Store for Failing {
    fn load(&mut self) -> Result<Stored, StoreError> {
        self.store.load()
    }

    fn read(
        &mut self,
        session: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError> {
        self.store.read(session, entries)
    }

    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError> {
        if self.commits_left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(StoreError::Engine("the disk is gone".to_owned()));
        }
        self.store.commit(records, now)
    }
}

#[test]
fn after_an_error_nothing_is_acknowledged_and_the_broker_fails() {
    for failing_at in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let commits_left = Arc::new(AtomicU64::new(100));
        let left = Arc::clone(&commits_left);
        let broker = start(builder(2).custom_store(move || Failing::open(&path, &left)));
        let (mut reader, _) = Client::connect(&broker, "reader", false);
        reader.subscribe("t", 1);
        // Away, so that nothing can be elided.
        drop(reader);
        let (mut publisher, _) = Client::connect(&broker, "publisher", true);
        commits_left.store(failing_at, Ordering::SeqCst);
        let mut acknowledged = 0;
        for id in 1..=4 {
            publisher.publish("t", "x", (1, id), false);
            if u64::from(id) > failing_at {
                break;
            }
            assert_eq!(publisher.packet(), (0x40, vec![0, id]));
            acknowledged += 1;
        }
        let failure = broker
            .runtime()
            .block_on(async { tokio::time::timeout(PATIENCE, broker.failed()).await.unwrap() });
        assert!(failure.is_store() && failure.to_string().contains("the disk is gone"), "{failure}");
        publisher.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let more = publisher.0.read(&mut [0; 16]);
        assert!(!more.is_ok_and(|bytes| bytes > 0), "acknowledged after the error");
        stop(&broker);
        // What was acknowledged is there.
        let broker = start(builder(1).store(directory.path()));
        let (mut reader, _) = Client::connect(&broker, "reader", false);
        for _ in 0..acknowledged {
            assert_eq!(reader.packet().0, 0x32);
        }
        stop(&broker);
    }
}
