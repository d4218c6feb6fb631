//! What the log says before SQLite reads it.

use std::fs;
use std::path::{Path, PathBuf};

use culex_codec::{QoS, TopicName};

use super::examine::{Examined, Verdict, examine};
use super::files::{Past, Paths};
use super::tally::Tally;
use super::*;
use crate::engine::keys::{PublicationId, RetainedVersion};
use crate::engine::publication::Publication;
use crate::engine::store::{Recipients, RetainedChange};

const NOW: WallTime = WallTime(1_700_000_000_000);
const FRAME: u64 = 24 + 4096;

/// A store as a killed broker leaves it, after this many transactions.
struct Left {
    directory: tempfile::TempDir,
}

impl Left {
    fn after(transactions: u64) -> Self {
        let running = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(running.path(), Durability::Kill).unwrap();
        store.load().unwrap();
        for number in 1..=transactions {
            commit(&mut store, number);
        }
        Self { directory: copy(running.path()) }
    }

    fn paths(&self) -> Paths {
        Paths::of(self.directory.path())
    }

    fn examined(&self) -> Examined {
        examine(&self.paths()).unwrap()
    }

    fn change_log(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.paths().log;
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn start(&self) -> Result<usize, StoreError> {
        let mut store = SqliteStore::open(self.directory.path(), Durability::Kill)?;
        Ok(store.load()?.retained.len())
    }

    fn asides(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.to_string_lossy().contains(".damaged-")).collect()
    }
}

/// One transaction.
fn commit(store: &mut SqliteStore, number: u64) {
    let topic = format!("t/{number}");
    let publication = Publication::new(
        PublicationId(number),
        TopicName::new(&topic).unwrap(),
        &[7; 3000],
        QoS::AtLeastOnce,
        true,
    );
    let record = Record::Published {
        publication: publication.into(),
        incoming: None,
        recipients: Recipients::new(),
        retained: RetainedChange::Set(RetainedVersion(number)),
    };
    store.commit(&[record], NOW).unwrap();
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

/// Where the transactions of a log end, by its commit marks alone.
fn ends(log: &[u8]) -> Vec<usize> {
    let frames = log[32..].chunks_exact(FRAME as usize).enumerate();
    let commits = frames.filter(|(_, frame)| frame[4..8] != [0; 4]);
    commits.map(|(number, _)| 32 + (number + 1) * FRAME as usize).collect()
}

#[test]
fn the_seal_is_where_it_can_be_found() {
    let left = Left::after(5);
    let examined = left.examined();
    assert_eq!(examined.main, Some(Tally(0)));
    let log = examined.log.as_ref().unwrap();
    assert_eq!((log.transactions, log.tallies, &log.rest), (5, Some((Tally(1), Tally(5))), &None));
    assert_eq!(examined.verdict(Past::Cut(Tally(0))), Verdict::Whole);
    assert_eq!(left.start().unwrap(), 5);
    // An orderly end puts it into the file, and removes the log.
    let examined = left.examined();
    assert_eq!((examined.main, examined.log), (Some(Tally(5)), None));
    assert_eq!(left.start().unwrap(), 5);
}

#[test]
fn a_log_that_was_cut_short_is_no_damage() {
    let whole = Left::after(4);
    let log = fs::read(whole.paths().log).unwrap();
    let ends = ends(&log);
    for cut in [ends[2] + 1, ends[2] + 24, ends[3] - 1, ends[3] - 5000, ends[2]] {
        let left = Left { directory: copy(whole.directory.path()) };
        left.change_log(|log| log.truncate(cut));
        assert_eq!(left.examined().verdict(Past::Cut(Tally(0))), Verdict::Whole);
        assert_eq!(left.start().unwrap(), 3, "{cut}");
        assert_eq!(left.asides(), Vec::<PathBuf>::new());
    }
    // So is what another program has put behind it, and zeros that a file system has.
    for garbage in [vec![0; 20_000], vec![b'x'; 20_000]] {
        let left = Left { directory: copy(whole.directory.path()) };
        left.change_log(|log| log.extend(&garbage));
        assert_eq!(left.start().unwrap(), 4);
        assert_eq!(left.asides(), Vec::<PathBuf>::new());
    }
}

#[test]
fn damage_in_the_middle_is_said_and_kept_aside() {
    let whole = Left::after(6);
    let log = fs::read(whole.paths().log).unwrap();
    let ends = ends(&log);
    // The page, each part of the head of a frame of the fourth transaction, and the head of the log.
    for (at, remaining) in [(100, 3), (0, 3), (6, 3), (9, 3), (13, 3), (17, 3), (23, 3)]
        .map(|(at, remaining)| (ends[2] + at, remaining))
        .into_iter()
        .chain([0, 3, 4, 10, 18, 30].map(|at| (at, 0)))
    {
        let left = Left { directory: copy(whole.directory.path()) };
        left.change_log(|log| log[at] ^= 0x41);
        let damaged = fs::read(left.paths().log).unwrap();
        let Verdict::Cut(what) = left.examined().verdict(Past::Cut(Tally(0))) else {
            panic!("{at}: {:?}", left.examined())
        };
        let place = if remaining > 0 { ends[2] } else { 0 };
        assert!(what.contains(&format!("at byte {place}:")), "{at}: {what}");
        assert!(what.contains(&format!("the last {} transactions are lost", 6 - remaining)), "{at}: {what}");
        // Starts that end before it is read leave it as it is, with one copy.
        for _ in 0..2 {
            SqliteStore::open(left.directory.path(), Durability::Kill).unwrap();
            assert_eq!(left.asides().len(), 1);
        }
        assert_eq!(left.start().unwrap(), remaining, "{at}");
        let [aside] = &left.asides()[..] else { panic!("{:?}", left.asides()) };
        assert_eq!(fs::read(aside).unwrap(), damaged);
        // It is said once.
        assert_eq!(left.start().unwrap(), remaining);
        assert_eq!(left.asides().len(), 1);
    }
}

#[test]
fn what_a_transaction_has_left_that_never_ended_is_no_damage() {
    let running = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(running.path(), Durability::Kill).unwrap();
    store.load().unwrap();
    commit(&mut store, 1);
    // So much that its pages do not fit into memory and are in the log before its end.
    store.connection.pragma_update(None, "cache_size", 10).unwrap();
    store.connection.execute_batch("BEGIN; CREATE TABLE big(x)").unwrap();
    for _ in 0..200 {
        store.connection.execute("INSERT INTO big VALUES (zeroblob(3000))", []).unwrap();
    }
    let cut_off = Left { directory: copy(running.path()) };
    store.connection.execute_batch("ROLLBACK").unwrap();
    commit(&mut store, 2);
    let rolled_back = Left { directory: copy(running.path()) };
    for (left, transactions) in [(cut_off, 1), (rolled_back, 2)] {
        let rest = left.examined().log.unwrap().rest.unwrap();
        assert!(rest.frames > 50 && rest.transactions == 0, "{rest:?}");
        assert_eq!(left.examined().verdict(Past::Cut(Tally(0))), Verdict::Whole);
        assert_eq!(left.start().unwrap(), transactions);
    }
}

#[test]
fn a_file_and_a_log_of_different_times_are_not_put_together() {
    let running = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(running.path(), Durability::Kill).unwrap();
    store.load().unwrap();
    let mut number = 0;
    let mut go_on = |store: &mut SqliteStore| {
        for _ in 0..3 {
            number += 1;
            commit(store, number);
        }
        copy(running.path())
    };
    let early = go_on(&mut store);
    store.empty_log().unwrap();
    let middle = go_on(&mut store);
    store.empty_log().unwrap();
    let late = go_on(&mut store);
    for (main, log, expected) in [
        (&early, &early, Ok(3)),
        (&middle, &middle, Ok(6)),
        (&late, &late, Ok(9)),
        // The file has what the log is about, and more.
        (&middle, &early, Ok(3)),
        (&late, &middle, Ok(6)),
        (&late, &early, Err("3 transactions in the file are not in it")),
        (&early, &middle, Err("3 transactions between them are missing")),
        (&early, &late, Err("6 transactions between them are missing")),
    ] {
        let left = Left { directory: copy(main.path()) };
        fs::copy(Paths::of(log.path()).log, left.paths().log).unwrap();
        match (left.start(), expected) {
            (Ok(count), Ok(expected)) => assert_eq!(count, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn a_log_or_a_file_that_was_taken_away_is_missed() {
    let left = Left::after(3);
    let (paths, elsewhere) = (left.paths(), tempfile::tempdir().unwrap());
    for (file, expected) in [(&paths.log, "culex.db-wal is missing"), (&paths.main, "it is missing")] {
        let away = elsewhere.path().join("file");
        fs::rename(file, &away).unwrap();
        let refused = left.start().unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        fs::rename(&away, file).unwrap();
    }
    // Nothing was done to the other one meanwhile.
    assert_eq!(left.start().unwrap(), 3);
}
