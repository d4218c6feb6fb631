//! It gives back what the model of the tables holds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::author::{Author, SESSIONS};
use super::*;
use crate::engine::keys::BatchNumber;
use crate::engine::store::{StoreBatch, Tables};

/// Every message in a queue can be read.
fn assert_reads(store: &mut SqliteStore, model: &Tables) {
    for session in model.stored().sessions {
        let mut entries: Vec<_> = session.queue.iter().map(|message| message.entry).collect();
        let mut bodies: Vec<_> = session.queue.into_iter().map(|message| message.body).collect();
        entries.push(PublicationId(u64::MAX >> 1));
        bodies.push(None);
        assert_eq!(store.read(session.id, &entries).unwrap(), bodies);
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
    let (found, model) = (sort(found), sort(model.without_bodies()));
    assert_eq!(found.sessions, model.sessions);
    assert_eq!(found.retained, model.retained);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_gives_back_what_the_tables_hold(
        batches in prop::collection::vec(prop::collection::vec(any::<(u8, u8, u8)>(), 1..16), 1..25),
        restarts in prop::collection::vec(0..25_usize, 0..3),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (mut author, mut tables) = (Author::default(), Tables::default());
        let mut store = open(directory.path());
        store.load().unwrap();
        let bound: Vec<_> = (0..SESSIONS).map(|session| author.record(0, session, 5 * session)).collect();
        store.commit(&bound, NOW).unwrap();
        tables.keep(&StoreBatch { number: BatchNumber(0), records: bound }, NOW);
        for (number, batch) in batches.into_iter().enumerate() {
            let records: Vec<_> = batch.into_iter().map(|(kind, session, bits)| author.record(kind, session, bits)).collect();
            store.commit(&records, NOW).unwrap();
            tables.keep(&StoreBatch { number: BatchNumber(1), records }, NOW);
            assert_tidy(&store);
            assert_reads(&mut store, &tables);
            if restarts.contains(&number) {
                drop(store);
                store = open(directory.path());
                let found = store.load().unwrap();
                prop_assert!(found.retained_version >= tables.stored().retained.iter().map(|(version, _)| *version).max().unwrap_or_default());
                // As a broker does, whose versions go on from there; what was cleared need not be known any more.
                author.version = (author.version.max(found.retained_version.0) | 1) + 1;
                assert_same(found, tables.stored());
                assert_reads(&mut store, &tables);
            }
        }
        drop(store);
        let mut store = open(directory.path());
        assert_same(store.load().unwrap(), tables.stored());
        assert_reads(&mut store, &tables);
    }
}

pub(super) fn rows(store: &SqliteStore, table: &str) -> usize {
    let sql = format!("SELECT count(*) FROM {table}");
    store.connection.query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize
}

/// What is known in memory is what the file says, and the file has nothing that nobody needs.
fn assert_tidy(store: &SqliteStore) {
    let Loaded { index, damages, .. } = load(&store.connection).unwrap();
    assert_eq!(damages, []);
    assert_eq!(index.bodies, store.index.bodies);
    assert_eq!(
        index.sessions.iter().collect::<BTreeMap<_, _>>(),
        store.index.sessions.iter().collect::<BTreeMap<_, _>>()
    );
    assert_eq!(index.mortal, store.index.mortal);
    assert!(index.last_seq <= store.index.last_seq);
    assert_eq!(index.bundles, store.index.bundles);
    let bundles: BTreeSet<_> = store.index.bodies.values().map(|body| bundle::of(body.seq)).collect();
    assert_eq!(rows(store, "message"), bundles.len());
    assert_eq!(rows(store, "receivers"), store.index.sets.len());
}

/// Messages of one transaction to these sessions.
fn published(ids: std::ops::Range<u64>, sessions: &[u64]) -> Vec<Record> {
    let to =
        |session: &u64| Recipient { session: SessionId(*session), qos: QoS::AtLeastOnce, is_retain: false };
    let topic = TopicName::new("a").unwrap();
    ids.map(|id| Record::Published {
        publication: Arc::new(Publication::new(PublicationId(id), topic, &[0; 100], QoS::AtLeastOnce, false)),
        incoming: None,
        recipients: sessions.iter().map(to).collect(),
        retained: RetainedChange::None,
    })
    .collect()
}

#[test]
fn messages_to_the_same_receivers_share_rows_until_nobody_needs_any_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let (mut author, mut tables) = (Author::default(), Tables::default());
    let mut store = open(directory.path());
    store.load().unwrap();
    let mut keep = |store: &mut SqliteStore, records: Vec<Record>| {
        store.commit(&records, NOW).unwrap();
        tables.keep(&StoreBatch { number: BatchNumber(1), records }, NOW);
        assert_tidy(store);
        assert_reads(store, &tables);
        rows(store, "message")
    };
    keep(&mut store, (0..3).map(|session| author.record(0, session, 1)).collect());
    assert_eq!(keep(&mut store, published(0..40, &[1, 2])), 5);
    // To others: in rows of their own, and what comes later has no part in rows that are written.
    assert_eq!(keep(&mut store, published(40..41, &[1])), 6);
    assert_eq!(keep(&mut store, published(41..51, &[1])), 8);
    let done = |session, entries: &mut dyn Iterator<Item = u64>| {
        let session = SessionId(session);
        entries.map(|entry| Record::Done { session, entry: PublicationId(entry) }).collect::<Vec<_>>()
    };
    assert_eq!(keep(&mut store, done(1, &mut (0..40))), 8);
    assert_eq!(keep(&mut store, done(2, &mut (0..40).filter(|entry| entry % 9 != 3))), 8);
    assert_eq!(keep(&mut store, done(2, &mut [39, 3].into_iter())), 6);
    // Over before they are written, some of them or all.
    let mut records = published(51..61, &[2]);
    records.extend(done(2, &mut (51..59)));
    assert_eq!(keep(&mut store, records), 8);
    let mut records = published(61..69, &[0, 1, 2]);
    records.extend((0..3).flat_map(|session| done(session, &mut (61..69))));
    assert_eq!(keep(&mut store, records), 8);
    // The same receivers, one of whom has ended meanwhile.
    let mut records = published(69..71, &[0, 2]);
    records.push(Record::SessionEnded { session: SessionId(0) });
    records.extend(published(71..73, &[0, 2]));
    assert_eq!(keep(&mut store, records), 10);
    drop(store);
    let mut store = open(directory.path());
    assert_same(store.load().unwrap(), tables.stored());
}

#[test]
fn a_transaction_that_failed_has_changed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut author, mut tables) = (Author::default(), Tables::default());
    let mut store = open(directory.path());
    store.load().unwrap();
    let limit = |store: &SqliteStore, pages: u32| {
        store.connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(())).unwrap();
    };
    let mut failed = 0;
    for step in 0..60_u8 {
        let mut records: Vec<_> = (0..20).map(|bits| author.record(step ^ bits, bits, step ^ bits)).collect();
        if step == 0 {
            records = (0..SESSIONS).map(|session| author.record(0, session, 1)).collect();
        }
        if step % 4 == 3 {
            let id = PublicationId(1 << 40 | u64::from(step));
            let topic = format!("large/{step}");
            let topic = TopicName::new(&topic).unwrap();
            let publication = Publication::new(id, topic, &[0; 100_000], QoS::AtLeastOnce, true);
            records.push(Record::Published {
                publication: Arc::new(publication),
                incoming: None,
                recipients: Recipients::new(),
                retained: RetainedChange::Set(RetainedVersion(1000 + u64::from(step))),
            });
            limit(&store, 1);
            failed += u32::from(store.commit(&records, NOW).is_err());
            limit(&store, 1 << 30);
        }
        store.commit(&records, NOW).unwrap();
        tables.keep(&StoreBatch { number: BatchNumber(1), records }, NOW);
        assert_tidy(&store);
    }
    assert_eq!(failed, 15);
    assert_same(store.load().unwrap(), tables.stored());
}
