//! A new file from everything that can be read.
//!
//! The old files stay in their place until the new one is whole and has reached the disk:
//!
//! 1. rows go one by one into `culex.db.repaired`; what names something that is lost goes too;
//! 2. the old files get a second name, `….damaged-<time>`;
//! 3. the new file takes the name of the old one; 4. the old log goes.
//!
//! Cut short before 3, everything is as it was. Cut short before 4, the old log does not belong to the new file, whose
//! tally is far ahead; the next repair finds nothing else.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::engine::store::Stored;

use super::super::StoreError;
use super::examine::{Examined, Verdict};
use super::files;
use super::header::{Header, PAGE_BYTES};
use super::load::{Loaded, load};
use super::offline::Files;
use super::row::{Cells, Damage, number, put};
use super::salvage::salvage;
use super::schema::{CURSOR, MESSAGE, TABLES, Table};
use super::stamp::stamp;
use super::tally::Tally;
use super::{engine, fill, view};

/// What a repair has done.
#[derive(Debug, Clone, Default)]
pub struct Repair {
    /// What was damaged, and what is lost because of it. Empty: nothing was to be done.
    pub damages: Vec<Damage>,
    /// Where the damaged files are now.
    pub aside: Vec<PathBuf>,
    /// What is in the store now, without the messages in the queues.
    pub stored: Stored,
}

/// Puts the new tally beyond every number that the old log could have.
const TALLY_STEP: u64 = 1 << 32;

/// Rebuilds the file. `known` is what was found before.
pub(super) fn rebuild(files: &Files, examined: &Examined, known: Vec<Damage>) -> Result<Repair, StoreError> {
    let paths = &files.paths;
    let new = paths.main.with_extension("db.repaired");
    files::make_file(&new)?;
    fill(&new)?;
    let verdict = files.verdict(examined);
    let source = Source::of(files, &verdict, &new)?;
    let failed = |error| engine(&new, &error);
    let to = Connection::open(&new).map_err(failed)?;
    let mut damages = known;
    let tally = Tally(examined.last().0 + TALLY_STEP);
    let rescued = match &source {
        Some(source) => rescue(&source.connection, &to, tally, &mut damages),
        None => rescue_nothing(&to, tally),
    };
    let stored = rescued.map_err(failed)?.ok_or_else(|| super::damaged(paths, "it could not be repaired"))?;
    drop(source);
    to.close().map_err(|(_, error)| failed(error))?;
    let mut seen = std::collections::HashSet::new();
    damages.retain(|damage| seen.insert(damage.place.clone()));
    let aside = exchange(files, &new, tally)?;
    Ok(Repair { damages, aside, stored })
}

/// The old files, as far as SQLite can open them.
struct Source {
    connection: Connection,
    /// A copy with a first page of ours.
    copies: Vec<PathBuf>,
}

impl Source {
    fn of(files: &Files, verdict: &Verdict, new: &Path) -> Result<Option<Self>, StoreError> {
        if files.header == Header::Missing {
            return Ok(None);
        }
        if files.header == Header::Sound {
            let connection = files.open(&files.paths.main, verdict)?;
            if view::has_our_tables(&connection).map_err(|error| engine(&files.paths.main, &error))? {
                return Ok(Some(Self { connection, copies: Vec::new() }));
            }
        }
        let main = files.paths.main.with_extension("db.mended");
        let log = files.paths.main.with_extension("db.mended-wal");
        let mut copies = vec![main.clone()];
        copy(&files.paths.main, &main)?;
        if files::open_regular(&files.paths.log)?.is_some() {
            copies.push(log.clone());
            copy(&files.paths.log, &log)?;
        }
        mend_first_page(&main, new).map_err(|source| StoreError::Io { path: main.clone(), source })?;
        let connection = files.open(&main, verdict)?;
        Ok(Some(Self { connection, copies }))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for path in &self.copies {
            // What is left of it is made anew next time.
            let _ = fs::remove_file(path);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    files::make_file(to)?;
    fs::copy(from, to).map(drop).map_err(|source| StoreError::Io { path: to.to_owned(), source })
}

/// The first page has the list of tables, which is the same in every file, and the number of pages.
fn mend_first_page(of: &Path, like: &Path) -> std::io::Result<()> {
    let mut page = vec![0; PAGE_BYTES as usize];
    File::open(like)?.read_exact(&mut page)?;
    let mut file = fs::OpenOptions::new().write(true).open(of)?;
    let pages = u32::try_from(file.metadata()?.len() / u64::from(PAGE_BYTES)).unwrap_or(u32::MAX);
    for (at, bytes) in [(18, &[2, 2][..]), (28, &pages.to_be_bytes())] {
        if let Some(place) = page.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&page)
}

fn rescue_nothing(to: &Connection, tally: Tally) -> rusqlite::Result<Option<Stored>> {
    tally.write(to)?;
    Ok(Some(Stored::default()))
}

/// Everything that can be read, and belongs to something that can be read. `None`: what came of it is damaged too.
fn rescue(
    from: &Connection,
    to: &Connection,
    tally: Tally,
    damages: &mut Vec<Damage>,
) -> rusqlite::Result<Option<Stored>> {
    to.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
    for table in TABLES {
        copy_rows(from, to, table, damages)?;
    }
    tally.write(to)?;
    let loaded = load(to)?;
    tidy(to, &loaded)?;
    damages.extend(loaded.damages);
    // Which messages there are, and what an entry of a queue was, is known when the queues are what they will be.
    let loaded = load(to)?;
    tidy_messages(to, &loaded)?;
    tidy_in_flight(to, &loaded)?;
    damages.extend(loaded.damages);
    let Loaded { stored, damages: remaining, .. } = load(to)?;
    to.execute_batch("COMMIT")?;
    Ok(remaining.is_empty().then_some(stored))
}

/// Rows as they are, each with its checksum.
fn copy_rows(
    from: &Connection,
    to: &Connection,
    table: &'static Table,
    damages: &mut Vec<Damage>,
) -> rusqlite::Result<()> {
    // What comes twice was copied by the damage; the first one stands where it belongs at least as likely.
    let mut insert = to.prepare(&table.put.replace("OR REPLACE", "OR IGNORE"))?;
    let gaps = salvage(from, table, &mut |row| {
        let cells = match Cells::read(table, row) {
            Ok(cells) => cells,
            Err(damage) => {
                damages.push(damage);
                return Ok(false);
            }
        };
        for column in 0..row.as_ref().column_count() {
            insert
                .raw_bind_parameter(column + 1, rusqlite::types::ToSqlOutput::Borrowed(cells.cell(column)))?;
        }
        insert.raw_execute().map(|_| true)
    })?;
    damages.extend(gaps.iter().map(|gap| {
        let many = gap.rows_max().map(|max| format!(" (at most {max})")).unwrap_or_default();
        Damage { place: format!("table {}, {gap}{many}: they cannot be read", table.name), lost: table.holds }
    }));
    Ok(())
}

/// Deletes what names something that is not there.
fn tidy(to: &Connection, loaded: &Loaded) -> rusqlite::Result<()> {
    for table in TABLES.iter().filter(|table| table.is_of_session()) {
        to.execute(&format!("DELETE FROM {} WHERE session NOT IN (SELECT id FROM session)", table.name), [])?;
    }
    to.execute_batch(
        "DELETE FROM feed WHERE (session, filter) NOT IN (SELECT session, filter FROM subscription)",
    )?;
    // Nobody knows what of its queue such a session has had. It gets nothing twice.
    let without = "SELECT id FROM session WHERE id NOT IN (SELECT session FROM cursor)";
    for session in numbers(to, without)? {
        put(to, &CURSOR, &[ValueRef::Integer(session), number(loaded.index.last_seq)])?;
    }
    // Messages for nobody go with the next start.
    let mut find = to.prepare("SELECT * FROM message WHERE bundle=?1")?;
    let lost = "SELECT bundle FROM message WHERE typeof(receivers) = 'integer' AND receivers NOT IN (SELECT id FROM receivers)";
    for bundle in numbers(to, lost)? {
        let mut rows = find.query([bundle])?;
        let Some(row) = rows.next()? else { continue };
        let mut cells: Vec<_> =
            (0..row.as_ref().column_count() - 1).map(|column| row.get(column)).collect::<Result<_, _>>()?;
        if let Some(receivers) = cells.get_mut(1) {
            *receivers = rusqlite::types::Value::Null;
        }
        let cells: Vec<_> = cells.iter().map(ValueRef::from).collect();
        put(to, &MESSAGE, &cells)?;
    }
    Ok(())
}

/// Deletes what names messages that are not there.
fn tidy_messages(to: &Connection, loaded: &Loaded) -> rusqlite::Result<()> {
    let is_lost = |message: i64| !loaded.index.bodies.contains_key(&message.unsigned_abs());
    let mut statement = to.prepare("SELECT message, session, entry FROM joined")?;
    let joined = statement.query_map([], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?])))?;
    for (message, key) in joined.collect::<Result<Vec<(i64, [i64; 2])>, _>>()? {
        if is_lost(message) {
            to.execute("DELETE FROM joined WHERE session=?1 AND entry=?2", key)?;
        }
    }
    let mut statement = to.prepare("SELECT message, topic FROM retained WHERE message IS NOT NULL")?;
    let retained = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (message, topic) in retained.collect::<Result<Vec<(i64, String)>, _>>()? {
        if is_lost(message) {
            to.execute("DELETE FROM retained WHERE topic=?1", [topic])?;
        }
    }
    Ok(())
}

/// Deletes what is in flight of entries that are not there.
fn tidy_in_flight(to: &Connection, loaded: &Loaded) -> rusqlite::Result<()> {
    let mut statement = to.prepare("SELECT session, entry FROM in_flight")?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let all: Vec<(i64, i64)> = all.collect::<Result<_, _>>()?;
    for (session, entry) in all {
        let queue = loaded.index.sessions.get(&session.unsigned_abs());
        if !queue.is_some_and(|queue| queue.sent.contains(&entry.unsigned_abs())) {
            to.execute("DELETE FROM in_flight WHERE session=?1 AND entry=?2", [session, entry])?;
        }
    }
    Ok(())
}

fn numbers(of: &Connection, sql: &str) -> rusqlite::Result<Vec<i64>> {
    of.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// The new file for the old ones, which stay under another name.
fn exchange(files: &Files, new: &Path, tally: Tally) -> Result<Vec<PathBuf>, StoreError> {
    let paths = &files.paths;
    let stamp = stamp(SystemTime::now());
    let mut aside = Vec::new();
    for path in [&paths.main, &paths.log] {
        if files::open_regular(path)?.is_some() {
            aside.push(files::link_aside(path, &stamp)?);
        }
    }
    files::rename(new, &paths.main)?;
    match fs::remove_file(&paths.log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::Io { path: paths.log.clone(), source: error });
        }
        Ok(()) | Err(_) => files::sync_directory(&paths.log)?,
    }
    files.lock.closed(tally)?;
    Ok(aside)
}
