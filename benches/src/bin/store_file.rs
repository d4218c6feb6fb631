//! What a store of some size costs: to write, on disk, to start with, to read out.
//!
//! `cargo run --release -p culex-benches --bin store_file -- [SESSIONS RETAINED QUEUED]` prints a table; without numbers
//! the two sizes of `docs/durability.md`. Messages have 100 bytes, each queued one is for one session. A fourth number is how many
//! receive each. Rates and times are those of the thread's own time on a core, so that others on the machine count little.
//! `raw` is what SQLite alone takes: rows of that size into one table, as many in a transaction, with the same settings.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use culex_codec::{QoS, TopicName};
use culex_core::engine::keys::{PublicationId, RetainedVersion, SessionId};
use culex_core::engine::publication::Publication;
use culex_core::engine::store::{Recipient, Record, RetainedChange};
use culex_core::engine::time::WallTime;
use culex_core::{Durability, SqliteStore, Store};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Records in a transaction.
const BATCH: usize = 3000;
const NOW: WallTime = WallTime(1_700_000_000_000);

fn main() -> Outcome<()> {
    if culex_benches::is_help(include_str!("store_file.rs")) {
        return Ok(());
    }
    let numbers = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?;
    println!(
        "| sessions | retained | queued | receivers of each | queued/s | raw/s | bytes of a queued message | load s | MiB | ended/s | MiB then |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    match numbers[..] {
        [] => {
            measure([10_000, 0, 100_000, 1])?;
            measure([1000, 0, 10_000, 1000])?;
            measure([100_000, 1_000_000, 1_000_000, 1])
        }
        [sessions, retained, queued] => measure([sessions, retained, queued, 1]),
        [sessions, retained, queued, receivers] => measure([sessions, retained, queued, receivers]),
        _ => Err("three numbers or four".into()),
    }
}

fn measure([sessions, retained, queued, receivers]: [u64; 4]) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let mut store = SqliteStore::open(directory.path(), Durability::Kill)?;
    store.load()?;
    commit(&mut store, (0..sessions).map(bound))?;
    commit(
        &mut store,
        (0..retained).map(|number| published(number + 1, &format!("retained/{number}"), true, Vec::new())),
    )?;
    drop(store);
    let before = file_bytes(directory.path())?;
    let mut store = SqliteStore::open(directory.path(), Durability::Kill)?;
    store.load()?;
    let ids = retained + 1..=retained + queued;
    let to = |id: u64| {
        (0..receivers).map(move |place| SessionId(if receivers > 1 { place } else { id } % sessions))
    };
    let seconds_to_queue =
        commit(&mut store, ids.clone().map(|id| published(id, "t", false, to(id).collect())))?;
    drop(store);
    let full = file_bytes(directory.path())?;
    let began = seconds_on_core()?;
    let mut store = SqliteStore::open(directory.path(), Durability::Kill)?;
    let stored = store.load()?;
    let seconds_to_load = seconds_on_core()? - began;
    let found: usize = stored.sessions.iter().map(|session| session.queue.len()).sum();
    assert_eq!((stored.sessions.len() as u64, found as u64), (sessions, queued * receivers));
    drop(stored);
    let done =
        ids.flat_map(|id| to(id).map(move |session| Record::Done { session, entry: PublicationId(id) }));
    let seconds_to_end = commit(&mut store, done)?;
    drop(store);
    println!(
        "| {sessions} | {retained} | {queued} | {receivers} | {:.0} | {:.0} | {} | {seconds_to_load:.2} | {} | {:.0} | {} |",
        queued as f64 / seconds_to_queue,
        raw(queued)?,
        (full - before) / queued.max(1),
        full >> 20,
        (queued * receivers) as f64 / seconds_to_end,
        file_bytes(directory.path())? >> 20,
    );
    Ok(())
}

/// Seconds that it took.
fn commit(store: &mut SqliteStore, records: impl Iterator<Item = Record>) -> Outcome<f64> {
    let (mut batch, mut seconds) = (Vec::with_capacity(BATCH), 0.0);
    let mut records = records.peekable();
    while records.peek().is_some() {
        batch.clear();
        batch.extend(records.by_ref().take(BATCH));
        let began = seconds_on_core()?;
        store.commit(&batch, NOW)?;
        seconds += seconds_on_core()? - began;
    }
    Ok(seconds)
}

/// Rows a second that SQLite takes.
fn raw(rows: u64) -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let connection = rusqlite::Connection::open(directory.path().join("raw.db"))?;
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; \
         PRAGMA wal_autocheckpoint = 4000; PRAGMA synchronous = NORMAL; \
         CREATE TABLE message(seq INTEGER PRIMARY KEY, topic TEXT, payload BLOB);",
    )?;
    let (began, mut left) = (seconds_on_core()?, rows);
    while left > 0 {
        connection.execute_batch("BEGIN")?;
        let mut insert = connection.prepare_cached("INSERT INTO message(topic, payload) VALUES ('t', ?1)")?;
        for _ in 0..left.min(BATCH as u64) {
            insert.execute([&[b'x'; 100][..]])?;
            left -= 1;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(rows as f64 / (seconds_on_core()? - began))
}

/// How long this thread has run; Linux only.
fn seconds_on_core() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no number")?.parse::<f64>()? / 1e9)
}

fn bound(number: u64) -> Record {
    Record::SessionBound {
        session: SessionId(number),
        client_id: format!("client {number}").into(),
        user_name: None,
        is_trusted: false,
        expiry_s: u32::MAX,
        options: Default::default(),
        will: None,
    }
}

fn published(id: u64, topic: &str, is_retained: bool, to: Vec<SessionId>) -> Record {
    let topic = TopicName::assume_valid(topic);
    let publication = Publication::new(PublicationId(id), topic, &[b'x'; 100], QoS::AtLeastOnce, is_retained);
    let recipient = |session| Recipient { session, qos: QoS::AtLeastOnce, is_retain: false };
    Record::Published {
        publication: Arc::new(publication),
        incoming: None,
        recipients: to.into_iter().map(recipient).collect(),
        retained: if is_retained { RetainedChange::Set(RetainedVersion(id)) } else { RetainedChange::None },
    }
}

fn file_bytes(directory: &Path) -> Outcome<u64> {
    let sizes = std::fs::read_dir(directory)?.map(|file| Ok(file?.metadata()?.len()));
    Ok(sizes.sum::<std::io::Result<u64>>()?)
}
