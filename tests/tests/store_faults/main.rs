//! Faults of the disk under the real program: errors, no space, kills at awkward moments, and the order of system calls.
//!
//! What strace or a mount needs may be forbidden (in some containers it is): then a test says so and is skipped, unless
//! `CULEX_REQUIRE_CLIENTS` is set.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

mod disk_full;
mod errors;
mod kills;
mod order;
mod strace;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use culex_core::engine::publication::Publication;
use culex_core::engine::store::Stored;
use culex_core::{Durability, SqliteStore, Store};
use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The data directory cannot be used.
const STORAGE: i32 = 5;

fn configuration(directory: &Path, durability: &str, more: &str) -> String {
    format!("threads = 2\n[store]\ndirectory = {directory:?}\ndurability = \"{durability}\"\n{more}")
}

/// What a store has.
struct Found {
    stored: Stored,
    /// The payloads in the queue of each session, in order, by ClientId.
    queues: HashMap<String, Vec<String>>,
}

/// What the next start will find; the files themselves stay as they are.
fn found_in_a_copy(directory: &Path) -> Found {
    let copy = tempfile::tempdir().unwrap();
    copy_files(directory, copy.path());
    let mut store = SqliteStore::open(copy.path(), Durability::Kill).unwrap();
    let stored = store.load().unwrap();
    let mut queues = HashMap::new();
    for session in &stored.sessions {
        let entries: Vec<_> = session.queue.iter().map(|message| message.entry).collect();
        let bodies = entries.chunks(100).flat_map(|entries| store.read(session.id, entries).unwrap());
        let text =
            |body: Option<Arc<Publication>>| String::from_utf8(body.unwrap().payload.to_vec()).unwrap();
        queues.insert(session.client_id.to_string(), bodies.map(text).collect());
    }
    Found { stored, queues }
}

fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // A control socket is none.
        if !file.file_type().unwrap().is_file() {
            continue;
        }
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// A client that notes what the broker takes responsibility for, and stops when the connection ends.
#[derive(Debug, Default)]
struct Notary {
    /// The reader's subscription is confirmed.
    is_subscribed: bool,
    sent: Vec<String>,
    acknowledged: Vec<String>,
    /// Whether the Retained Message was set, and whether it was cleared, as far as it is confirmed.
    retained: [bool; 2],
}

impl Notary {
    /// A subscription, messages of QoS 1 and 2, a Retained Message and its end. `None` where the broker ended.
    fn run(&mut self, broker: &Broker, messages: usize) -> Option<()> {
        let mut reader = connect(broker, &Connect::new("reader").persistent())?;
        reader.send(wire::subscribe(1, &[("t", 2)]));
        answer(&mut reader, &Received::SubAck(1, vec![2]))?;
        self.is_subscribed = true;
        reader.send(wire::DISCONNECT);
        let mut publisher = connect(broker, &Connect::new("publisher").persistent())?;
        for id in 1..=u16::try_from(messages).unwrap() {
            let (qos, text) = (1 + u8::from(id % 2 == 0), format!("message {id}."));
            self.sent.push(text.clone());
            publisher.send(Publish::new("t", &text).qos(qos, id).encode());
            answer(&mut publisher, &if qos == 1 { Received::PubAck(id) } else { Received::PubRec(id) })?;
            self.acknowledged.push(text);
            if qos == 2 {
                publisher.send(wire::pubrel(id));
                answer(&mut publisher, &Received::PubComp(id))?;
            }
        }
        for (place, text) in ["value", ""].iter().enumerate() {
            publisher.send(Publish::new("r", text).retained().qos(1, 100).encode());
            answer(&mut publisher, &Received::PubAck(100))?;
            if let Some(is_confirmed) = self.retained.get_mut(place) {
                *is_confirmed = true;
            }
        }
        Some(())
    }

    /// Everything that was confirmed is there, nothing is there twice, and nothing that was not sent.
    fn check(&self, found: &Found) {
        let stored = &found.stored;
        let found = found.queues.get("reader").cloned();
        assert!(found.is_some() || !self.is_subscribed, "the session is gone");
        let found = found.unwrap_or_default();
        assert!(found.len() >= self.acknowledged.len(), "lost: {self:?}, but {found:?}");
        assert_eq!(found.as_slice(), self.sent.get(..found.len()).unwrap(), "{self:?}");
        let value = stored.retained.iter().find(|(_, message)| message.topic().as_str() == "r");
        match self.retained {
            [true, false] => {}
            [false, _] => {}
            [true, true] => assert!(value.is_none(), "the clear is lost"),
        }
        if self.retained == [true, true] {
            assert_eq!(self.acknowledged.len(), self.sent.len());
        }
    }
}

fn connect(broker: &Broker, connect: &Connect) -> Option<Client> {
    let mut client = Client::open(broker.addr);
    client.patience(PATIENCE);
    client.send(connect.encode());
    match client.next_within(PATIENCE) {
        Next::Packet(Received::ConnAck { code: 0, .. }) => Some(client),
        Next::Closed => None,
        other => panic!("{other:?}"),
    }
}

/// This packet, or the end of the connection.
fn answer(client: &mut Client, expected: &Received) -> Option<()> {
    match client.next_within(PATIENCE) {
        Next::Packet(packet) => {
            assert_eq!(&packet, expected);
            Some(())
        }
        Next::Closed => None,
        Next::Silence => panic!("neither an answer nor an end"),
    }
}

/// Looks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
