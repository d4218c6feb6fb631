use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use culex_codec::{QoS, TopicName};

use super::row::{number, put, text};
use super::schema::{FORMAT_MIN, SUBSCRIPTION};
use super::*;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::store::{Recipient, Recipients, RetainedChange};

use self::author::Author;

mod author;
mod damage;
mod meaning;

const NOW: WallTime = WallTime(1_700_000_000_000);

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Durability::Kill).unwrap()
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
fn another_format_is_refused_by_name() {
    for format in [FORMAT_MIN - 1, FORMAT + 1] {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()));
        let path = directory.path().join("culex.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", format).unwrap();
        connection.close().unwrap();
        let before = fs::read(&path).unwrap();
        let refused = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
        let is_named = matches!(
            refused,
            StoreError::Older { found: 2, known: 4, .. } | StoreError::Newer { found: 5, known: 4, .. }
        );
        assert!(is_named, "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_store_of_the_format_before_is_read_and_made_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("culex.db");
    let format = || {
        let connection = Connection::open(&path).unwrap();
        let found = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).unwrap();
        connection.close().unwrap();
        found
    };
    let mut store = open(directory.path());
    store.load().unwrap();
    // Without options, as it was then.
    store.commit(&[Author::default().record(0, 1, 1)], NOW).unwrap();
    drop(store);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", FORMAT_MIN).unwrap();
    connection.close().unwrap();
    assert!(inspect(directory.path()).unwrap().damages.is_empty());
    assert_eq!(format(), FORMAT_MIN, "who looks changes nothing");
    let mut store = open(directory.path());
    let before = store.load().unwrap();
    assert_eq!(before.sessions.len(), 1);
    let wanting = Author::default().record(0, 2, 7);
    store.commit(&[wanting], NOW).unwrap();
    drop(store);
    assert_eq!(format(), FORMAT);
    let after = open(directory.path()).load().unwrap();
    assert!(after.sessions.iter().any(|session| session.options.no_local), "{after:?}");
    assert!(after.sessions.contains(&before.sessions[0]));
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
fn after_a_sync_beside_the_commits_has_failed_nothing_is_kept_or_moved() {
    for last in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        store.load().unwrap();
        let mut author = Author::default();
        store.commit(&[author.record(0, 1, 1)], NOW).unwrap();
        // It cannot be synced.
        let flusher = Flusher::start(fs::File::open("/dev/null").unwrap()).unwrap();
        flusher.ask();
        if last == 0 {
            flusher.wait_for_failure();
        }
        store.flusher = Some(flusher);
        let called = match last {
            0 => Some(store.commit(&[author.record(0, 2, 1)], NOW)),
            1 => Some(store.sync()),
            // It is closed next.
            _ => None,
        };
        if let Some(done) = called {
            let error = done.unwrap_err();
            let is_named =
                matches!(&error, StoreError::Engine(why) if why.contains("culex.db: Invalid argument"));
            assert!(is_named, "{error}");
        }
        drop(store);
        assert!(fs::metadata(directory.path().join("culex.db-wal")).unwrap().len() > 0);
        assert_eq!(open(directory.path()).load().unwrap().sessions.len(), 1);
    }
}

#[test]
fn the_log_is_given_to_the_disk_as_it_grows() {
    for durability in [Durability::Kill, Durability::Power] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(directory.path(), durability).unwrap();
        store.load().unwrap();
        assert_eq!(store.flusher.is_some(), durability == Durability::Kill);
        let mut most = 0;
        for version in 1..=40 {
            let topic = format!("t/{version}");
            let topic = TopicName::new(&topic).unwrap();
            let id = PublicationId(version);
            let publication = Publication::new(id, topic, &[0; 500_000], QoS::AtMostOnce, true);
            let published = Record::Published {
                publication: Arc::new(publication),
                incoming: None,
                recipients: Recipients::new(),
                retained: RetainedChange::Set(RetainedVersion(version)),
            };
            store.commit(&[published], NOW).unwrap();
            let pages = store.log_pages("NOOP").unwrap();
            // It is moved at 4000.
            assert!(
                store.flusher.is_none() || pages >= CHECKPOINT_PAGES || pages - store.flushed < FLUSH_PAGES
            );
            most = most.max(store.flushed);
        }
        assert_eq!(most > 3000, durability == Durability::Kill, "{most}");
    }
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
                recipients: Recipients::new(),
                retained: RetainedChange::Clear(RetainedVersion(number)),
            }
        })
        .collect();
    store.commit(&records, NOW).unwrap();
    let rows: i64 =
        store.connection.query_row("SELECT count(*) FROM retained", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 65_536);
}

#[test]
fn a_file_shrinks_when_a_long_queue_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    let session = SessionId(0);
    store.commit(&[Author::default().record(0, 0, 1)], NOW).unwrap();
    let pages = |store: &SqliteStore| -> u32 {
        store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap()
    };
    let count = 5000;
    for id in 1..=count {
        let topic = TopicName::new("a").unwrap();
        let publication = Publication::new(PublicationId(id), topic, &[0; 8000], QoS::AtLeastOnce, false);
        let published = Record::Published {
            publication: Arc::new(publication),
            incoming: None,
            recipients: [Recipient { session, qos: QoS::AtLeastOnce, is_retain: false }].into(),
            retained: RetainedChange::None,
        };
        store.commit(&[published], NOW).unwrap();
    }
    let full = pages(&store);
    for id in 1..=count {
        store.commit(&[Record::Done { session, entry: PublicationId(id) }], NOW).unwrap();
    }
    assert!(full > 2 * FREE_PAGES_MIN && pages(&store) < FREE_PAGES_MIN + 100, "{full} {}", pages(&store));
}
