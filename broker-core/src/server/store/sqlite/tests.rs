use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{PacketId, QoS, TopicName};
use proptest::prelude::*;

use super::row::{number, put, text};
use super::schema::SUBSCRIPTION;
use super::*;
use crate::engine::Will;
use crate::engine::keys::{BatchNumber, PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::store::{Recipient, RetainedChange, StoreBatch, Tables};

const NOW: WallTime = WallTime(1_700_000_000_000);
const TOPICS: [&str; 3] = ["a", "a/b", "ä/ö"];

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Durability::Kill).unwrap()
}

/// Records as shards could write them: numbers are given out once, and an entry ends after it began.
#[derive(Debug, Default)]
struct Author {
    last: u64,
    version: u64,
    entries: Vec<(SessionId, PublicationId)>,
    published: Vec<Arc<Publication>>,
}

impl Author {
    fn publication(&mut self, bits: u8) -> Arc<Publication> {
        self.last += 1;
        let topic = TopicName::new(TOPICS[usize::from(bits) % 3]).unwrap();
        let qos = QoS::from_bits(bits % 3).unwrap();
        let publication = Publication::new(PublicationId(self.last), topic, &[bits, 0, 255], qos, bits > 99);
        self.published.push(Arc::new(publication));
        Arc::clone(self.published.last().unwrap())
    }

    fn record(&mut self, kind: u8, session: u8, bits: u8) -> Record {
        let session = SessionId(u64::from(session % 4));
        let filter = || TOPICS[usize::from(bits) % 3].into();
        let qos = if bits.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let packet_id = PacketId::new(1 + u16::from(bits % 5)).unwrap();
        match kind % 16 {
            0 | 1 => {
                let topic = TopicName::new(TOPICS[0]).unwrap();
                let will = Will::new(topic, Bytes::from_static(b"\0will"), qos, bits > 128);
                Record::SessionBound {
                    session,
                    client_id: format!("client {}", session.0).into(),
                    user_name: (bits.is_multiple_of(3)).then(|| "user".into()),
                    is_trusted: bits > 240,
                    expiry_s: if bits.is_multiple_of(5) { u32::from(bits) } else { u32::MAX },
                    will: (bits.is_multiple_of(4)).then(|| Box::new(will)),
                }
            }
            2 => Record::WillGone { session },
            3 => Record::SessionLeft { session, at: WallTime(NOW.0 + u64::from(bits)) },
            4 if bits.is_multiple_of(3) => Record::SessionEnded { session },
            4 | 5 => {
                Record::Subscribed { session, filter: filter(), qos, up_to: RetainedVersion(self.version) }
            }
            6 => {
                let cursor = if bits > 128 { Cursor::End } else { Cursor::After("a".into()) };
                Record::Fed { session, filter: filter(), cursor }
            }
            7 => Record::Unsubscribed { session, filter: filter() },
            8..=10 => {
                let publication = self.publication(bits);
                let recipients: Vec<_> = (0..3)
                    .filter(|place| bits >> place & 1 == 1)
                    .map(|session| Recipient { session: SessionId(session), qos, is_retain: bits > 200 })
                    .collect();
                self.entries.extend(recipients.iter().map(|to| (to.session, publication.id)));
                self.version += 1;
                // Of two neighbours the older one comes later.
                let version = RetainedVersion((self.version + 2) ^ 1);
                let retained = match bits % 3 {
                    0 => RetainedChange::None,
                    1 => RetainedChange::Set(version),
                    _ => RetainedChange::Clear(version),
                };
                let incoming = (bits % 4 == 1).then_some((session, packet_id));
                Record::Published { publication, incoming, recipients, retained }
            }
            11 => {
                let old = self.published.get(usize::from(bits) % self.published.len().max(1)).cloned();
                let publication = old.unwrap_or_else(|| self.publication(bits));
                self.last += 1;
                let entry = PublicationId(self.last);
                self.entries.push((session, entry));
                Record::Queued { session, entry, publication, qos }
            }
            12 => Record::Released { session, packet_id },
            13 => Record::Completed { session, ordinal: 65_535 + u64::from(bits % 5) },
            _ => {
                let place = usize::from(bits) % self.entries.len().max(1);
                let Some((session, entry)) = self.entries.get(place).copied() else {
                    return Record::WillGone { session };
                };
                let ordinal = 65_535 + u64::from(bits % 5);
                match kind % 3 {
                    0 => Record::InFlight { session, entry, ordinal },
                    1 => Record::Received { session, entry, ordinal },
                    _ => Record::Done { session, entry },
                }
            }
        }
    }
}

fn assert_same(found: Stored, model: Stored) {
    let sort = |mut stored: Stored| {
        for session in &mut stored.sessions {
            session.subscriptions.sort_by(|a, b| a.filter.cmp(&b.filter));
            session.queue.sort_by_key(|message| message.entry);
            session.received.sort_unstable();
            session.incoming.sort_unstable();
        }
        stored.sessions.sort_by_key(|session| session.id);
        stored
    };
    let (found, model) = (sort(found), sort(model));
    assert_eq!(found.sessions, model.sessions);
    assert_eq!(found.retained, model.retained);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_gives_back_what_the_tables_hold(
        batches in prop::collection::vec(prop::collection::vec(any::<(u8, u8, u8)>(), 1..12), 1..25),
        restarts in prop::collection::vec(0..25_usize, 0..3),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (mut author, mut tables) = (Author::default(), Tables::default());
        let mut store = open(directory.path());
        store.load().unwrap();
        for (number, batch) in batches.into_iter().enumerate() {
            let records: Vec<_> = batch.into_iter().map(|(kind, session, bits)| author.record(kind, session, bits)).collect();
            store.commit(&records, NOW).unwrap();
            tables.keep(&StoreBatch { number: BatchNumber(1), records }, NOW);
            if restarts.contains(&number) {
                drop(store);
                store = open(directory.path());
                let found = store.load().unwrap();
                prop_assert!(found.retained_version >= tables.stored().retained.iter().map(|(version, _)| *version).max().unwrap_or_default());
                // As a broker does, whose versions go on from there; what was cleared need not be known any more.
                author.version = (author.version.max(found.retained_version.0) | 1) + 1;
                assert_same(found, tables.stored());
            }
        }
        drop(store);
        let mut store = open(directory.path());
        assert_same(store.load().unwrap(), tables.stored());
        let bodies: i64 = store.connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(bodies, i64::try_from(store.index.bodies.len()).unwrap());
    }
}

#[test]
fn files_are_for_the_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/state");
    let mut store = open(&directory);
    store.commit(&[Record::WillGone { session: SessionId(1) }], NOW).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let second = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
    let holder = format!("process {}", std::process::id());
    assert!(matches!(&second, StoreError::InUse { holder: found, .. } if *found == holder), "{second}");
    drop(first);
    open(directory.path());
}

#[test]
fn what_is_not_ours_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("culex.db");
    let foreign = directory.path().join("foreign");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE mine(x)").unwrap();
    for content in [b"hello".to_vec(), Vec::new(), fs::read(&foreign).unwrap()] {
        fs::write(&path, &content).unwrap();
        let refused = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("culex.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    connection.close().unwrap();
    let before = fs::read(&path).unwrap();
    let refused = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 3, known: 2, .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_start_that_was_cut_short_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("culex.new"), b"half of it").unwrap();
    assert!(open(directory.path()).load().unwrap().sessions.is_empty());
}

#[test]
fn what_was_killed_before_a_checkpoint_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    let mut author = Author::default();
    store.commit(&[author.record(0, 1, 1), author.record(8, 1, 4)], NOW).unwrap();
    // As the files are now, without an orderly end.
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert_eq!(open(copy.path()).load().unwrap().sessions.len(), 1);
}

#[test]
fn a_value_that_makes_no_sense_is_damage_and_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    store.commit(&[Author::default().record(0, 1, 1)], NOW).unwrap();
    put(&store.connection, &SUBSCRIPTION, &[number(1), text("a/#/b"), number(1)]).unwrap();
    drop(store);
    let damaged = open(directory.path()).load().unwrap_err();
    assert!(damaged.to_string().contains("a/#/b"), "{damaged}");
}

#[test]
fn cleared_topics_do_not_pile_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    let count = 70_000_u64;
    let records: Vec<_> = (1..=count)
        .map(|number| {
            let topic = format!("t/{number}");
            let topic = TopicName::new(&topic).unwrap();
            let publication = Publication::new(PublicationId(number), topic, b"", QoS::AtMostOnce, true);
            Record::Published {
                publication: Arc::new(publication),
                incoming: None,
                recipients: Vec::new(),
                retained: RetainedChange::Clear(RetainedVersion(number)),
            }
        })
        .collect();
    store.commit(&records, NOW).unwrap();
    let rows: i64 =
        store.connection.query_row("SELECT count(*) FROM retained", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 65_536);
}
