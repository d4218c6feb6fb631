//! A store that has no space for a while, or that does not keep up: who waits and who goes on, and that nothing is lost.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use culex_core::Event;
use culex_core::engine::keys::BatchNumber;
use culex_core::engine::store::{StoreBatch, Tables};
use culex_core::limits::Limits;

use super::*;

/// What a test sees of its store.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_full: bool,
    /// Whether deletions find the space that they need.
    has_reserve: bool,
    tables: Tables,
    /// Transactions that were kept, in order.
    kept: Vec<Vec<Record>>,
    refused: u64,
}

impl Disk {
    pub(super) fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    fn refused(&self) -> u64 {
        self.0.lock().unwrap().refused
    }

    fn queued(&self, client_id: &str) -> usize {
        let stored = self.0.lock().unwrap().tables.stored();
        let session = stored.sessions.iter().find(|session| &*session.client_id == client_id);
        session.map_or(0, |session| session.queue.len())
    }
}

impl Store for Disk {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(self.0.lock().unwrap().tables.stored())
    }

    fn read(
        &mut self,
        session: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError> {
        let state = self.0.lock().unwrap();
        Ok(entries.iter().map(|entry| state.tables.read(session, *entry)).collect())
    }

    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap();
        let only_ends =
            records.iter().all(|record| matches!(record, Record::Done { .. } | Record::SessionEnded { .. }));
        if state.is_full && !(only_ends && state.has_reserve) {
            state.refused += 1;
            return Err(StoreError::Full { path: "disk".into(), why: "as it was told".to_owned() });
        }
        let batch = StoreBatch { number: BatchNumber(0), records: records.to_vec() };
        state.tables.keep(&batch, now);
        state.kept.push(records.to_vec());
        Ok(())
    }
}

fn start_on(disk: &Disk, limits: Limits) -> Broker {
    let disk = disk.clone();
    start(builder(2).limits(limits).custom_store(move || Ok(disk.clone())))
}

fn limits() -> Limits {
    Limits { stall_max: Duration::from_secs(3600), ..Limits::default() }
}

/// Looks until it is so.
pub(super) fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

pub(super) fn metric(broker: &Broker, name: &str) -> u64 {
    broker.metrics().get(name).unwrap()
}

/// A session that keeps QoS 1 of `t`, and is away.
pub(super) fn absent_reader(broker: &Broker) {
    let (mut reader, _) = Client::connect(broker, "reader", false);
    reader.subscribe("t", 1);
}

/// Nothing has come that was not asked for.
fn is_quiet(client: &mut Client) -> bool {
    client.send(0xC0, &[]);
    client.packet() == (0xD0, Vec::new())
}

fn events(broker: &Broker) -> Receiver<String> {
    let (tell, told): (Sender<String>, _) = channel();
    let mut events = broker.events();
    broker.runtime().spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::StoreFull { .. } | Event::StoreRecovered { .. } | Event::Refused { .. } = &*event {
                let _ = tell.send(format!("{event:?}"));
            }
        }
    });
    told
}

#[test]
fn a_full_disk_stops_those_who_need_it_and_nobody_else() {
    let disk = Disk::default();
    let broker = start_on(&disk, limits());
    let told = events(&broker);
    absent_reader(&broker);
    let (mut live, _) = Client::connect(&broker, "live", true);
    live.subscribe("#", 0);
    let (mut publisher, _) = Client::connect(&broker, "publisher", false);
    let (mut second, _) = Client::connect(&broker, "second", true);
    disk.set_full(true);
    publisher.publish("t", "1", (1, 1), false);
    assert_eq!(live.packet(), (0x30, b"\0\x01t1".to_vec()));
    until("the store runs full", || metric(&broker, "store_full") == 1);
    // The next one waits where it is; what is behind it too.
    publisher.publish("t", "2", (1, 2), false);
    second.publish("r", "3", (2, 3), true);
    until("both wait", || metric(&broker, "store_waits") >= 2);
    // Everybody else goes on.
    let (mut clean, _) = Client::connect(&broker, "clean", true);
    clean.publish("other", "4", (2, 4), false);
    assert_eq!(clean.packet(), (0x50, vec![0, 4]));
    assert_eq!(live.packet(), (0x30, b"\0\x05other4".to_vec()));
    assert!(is_quiet(&mut clean) && is_quiet(&mut live));
    // A CONNECT that has to be kept waits as well.
    let late = TcpStream::connect(broker.local_addrs()[0]).unwrap();
    let mut late = Client(late);
    late.0.set_read_timeout(Some(PATIENCE)).unwrap();
    late.send(0x10, b"\0\x04MQTT\x04\0\0\0\0\x04late");
    let refused = disk.refused();
    until("it is tried again", || disk.refused() > refused + 1);
    assert_eq!((metric(&broker, "sessions_persistent"), disk.queued("reader")), (2, 0));

    disk.set_full(false);
    assert_eq!(publisher.packet(), (0x40, vec![0, 1]));
    assert_eq!(publisher.packet(), (0x40, vec![0, 2]));
    assert_eq!(second.packet(), (0x50, vec![0, 3]));
    assert_eq!(late.packet(), (0x20, vec![0, 0]));
    until("the alarm ends", || metric(&broker, "store_full") == 0);
    assert_eq!(disk.queued("reader"), 2);
    assert!(told.recv_timeout(PATIENCE).unwrap().starts_with("StoreFull"));
    assert!(told.recv_timeout(PATIENCE).unwrap().starts_with("StoreRecovered"));
    assert_eq!(metric(&broker, "store_stalls"), 1);
    stop(&broker);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_a_consumer_has_done_is_deleted_before_what_waits_is_kept() {
    let disk = Disk::default();
    disk.0.lock().unwrap().has_reserve = true;
    let broker = start_on(&disk, limits());
    absent_reader(&broker);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    for id in 1..=3 {
        publisher.publish("t", "old", (1, id), false);
        assert_eq!(publisher.packet(), (0x40, vec![0, id]));
    }
    disk.set_full(true);
    publisher.publish("t", "new", (1, 4), false);
    until("the store runs full", || metric(&broker, "store_full") == 1);
    let (mut reader, _) = Client::connect(&broker, "reader", false);
    for id in 1..=4 {
        // With DUP if it was sent to the connection that the reader left.
        assert_eq!(reader.packet().0 & !8, 0x32);
        reader.send(0x40, &[0, id]);
    }
    until("what it had is deleted", || disk.queued("reader") == 0);
    assert!(is_quiet(&mut publisher), "nothing that waits is acknowledged because of it");
    disk.set_full(false);
    assert_eq!(publisher.packet(), (0x40, vec![0, 4]));
    until("the alarm ends", || metric(&broker, "store_full") == 0);
    stop(&broker);
    let state = disk.0.lock().unwrap();
    let of_message = |record: &Record| {
        if let Record::Published { publication, .. } = record {
            Some((true, publication.id))
        } else if let Record::Done { entry, .. } = record {
            Some((false, *entry))
        } else {
            None
        }
    };
    let order: VecDeque<_> = state.kept.iter().flatten().filter_map(of_message).collect();
    let newest = order.iter().map(|(_, id)| *id).max().unwrap();
    let begins = order.iter().position(|what| *what == (true, newest)).unwrap();
    assert_eq!(order.iter().take(begins).filter(|(is_begin, _)| !is_begin).count(), 3, "{order:?}");
}

#[test]
fn a_broker_that_is_stopped_on_a_full_disk_ends_and_has_lost_nothing_that_it_acknowledged() {
    let disk = Disk::default();
    let broker = start_on(&disk, limits());
    absent_reader(&broker);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    publisher.publish("t", "1", (1, 1), false);
    assert_eq!(publisher.packet(), (0x40, vec![0, 1]));
    disk.set_full(true);
    publisher.publish("t", "2", (1, 2), false);
    until("the store runs full", || metric(&broker, "store_full") == 1);
    stop(&broker);
    let mut rest = Vec::new();
    publisher.0.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "acknowledged without being kept: {rest:?}");
    assert_eq!(disk.queued("reader"), 1);
    disk.set_full(false);
    let broker = start_on(&disk, limits());
    let (mut reader, is_present) = Client::connect(&broker, "reader", false);
    assert!(is_present);
    assert_eq!(reader.packet(), (0x32, b"\0\x01t\0\x011".to_vec()));
    stop(&broker);
}

#[test]
fn who_waits_too_long_is_told_why() {
    let disk = Disk::default();
    let broker = start_on(&disk, Limits { stall_max: Duration::from_secs(1), ..Limits::default() });
    let told = events(&broker);
    absent_reader(&broker);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    let (mut clean, _) = Client::connect(&broker, "clean", true);
    disk.set_full(true);
    publisher.publish("t", "1", (1, 1), false);
    until("the store runs full", || metric(&broker, "store_full") == 1);
    let mut late = Client(TcpStream::connect(broker.local_addrs()[0]).unwrap());
    late.0.set_read_timeout(Some(PATIENCE)).unwrap();
    late.send(0x10, b"\0\x04MQTT\x04\0\0\0\0\x04late");
    // 0x03: server unavailable.
    assert_eq!(late.packet(), (0x20, vec![0, 3]));
    assert_eq!(publisher.0.read(&mut [0; 4]).unwrap(), 0, "closed, not acknowledged");
    // Its turn is counted when it is over.
    until("it is counted", || metric(&broker, "connections_stalled") == 1);
    assert!(is_quiet(&mut clean));
    disk.set_full(false);
    until("the alarm ends", || metric(&broker, "store_full") == 0);
    stop(&broker);
    assert!(told.try_iter().any(|event| event.contains("StoreFull") && event.contains("late")));
}

/// A store that keeps nothing until it is told to.
pub(super) struct Slow {
    pub(super) disk: Disk,
    pub(super) go_on: Arc<Mutex<()>>,
}

impl Store for Slow {
    fn load(&mut self) -> Result<Stored, StoreError> {
        self.disk.load()
    }

    fn read(
        &mut self,
        session: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError> {
        self.disk.read(session, entries)
    }

    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError> {
        let _waits = self.go_on.lock().unwrap();
        self.disk.commit(records, now)
    }
}

#[test]
fn a_store_that_does_not_keep_up_stops_those_who_need_it_and_nobody_else() {
    let disk = Disk::default();
    let go_on = Arc::new(Mutex::new(()));
    let (opened, waits) = (disk.clone(), Arc::clone(&go_on));
    let open = move || Ok(Slow { disk: opened.clone(), go_on: Arc::clone(&waits) });
    let broker = start(builder(2).custom_store(open));
    let (mut reader, _) = Client::connect(&broker, "reader", false);
    reader.subscribe("t", 1);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    let (mut clean, _) = Client::connect(&broker, "clean", true);
    let held = go_on.lock().unwrap();
    // Each message is a mebibyte; 64 of them are what may wait.
    const MESSAGES: u8 = 80;
    let sender = std::thread::spawn(move || {
        let mut payload = vec![b'x'; 1 << 20];
        for id in 1..=MESSAGES {
            payload[..5].copy_from_slice(&[0, 1, b't', 0, id]);
            // 1 MiB as a Remaining Length of four bytes.
            publisher.0.write_all(&[0x32, 0x80, 0x80, 0x40]).unwrap();
            publisher.0.write_all(&payload).unwrap();
        }
        publisher
    });
    until("the store is crowded", || metric(&broker, "store_waits") == 1);
    assert!(metric(&broker, "store_queue_bytes") < 70 << 20, "{}", metric(&broker, "store_queue_bytes"));
    assert_eq!(metric(&broker, "store_full"), 0);
    clean.publish("other", "x", (2, 1), false);
    assert_eq!(clean.packet(), (0x50, vec![0, 1]));
    assert!(is_quiet(&mut clean));
    drop(held);
    let mut publisher = sender.join().unwrap();
    for id in 1..=MESSAGES {
        assert_eq!(publisher.packet(), (0x40, vec![0, id]));
    }
    assert!(is_quiet(&mut clean));
    stop(&broker);
    drop(reader);
}
