//! Looks into a store that nobody has open, and changes nothing.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::row::{Damage, is_damage};
use super::schema::{SCHEMA, TABLES};
use super::tally::TALLY;

/// Opens a file with its log.
pub(super) fn with_log(main: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(main, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

/// Opens a file as if it had no log.
pub(super) fn alone(main: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in main.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Depth {
    /// Each page, and what it says of others.
    Quick,
    /// What the tables say of each other too.
    Full,
}

/// What SQLite itself finds wrong with the file.
///
/// # Errors
/// Of SQLite, damage aside.
pub(super) fn structure(of: &Connection, depth: Depth) -> rusqlite::Result<Vec<Damage>> {
    let pragma = match depth {
        Depth::Quick => format!("PRAGMA quick_check({FINDINGS_MAX})"),
        Depth::Full => format!("PRAGMA integrity_check({FINDINGS_MAX})"),
    };
    let mut damages = Vec::new();
    let mut read = || {
        if schema(of)? != schema(&ours()?)? {
            damages.push(damage("the list of tables"));
        }
        let mut statement = of.prepare(&pragma)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(0)?;
            let lines = text.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
            damages.extend(lines.map(|line| finding(of, line)));
        }
        Ok(())
    };
    match read() {
        Err(error) if is_damage(&error) => damages.push(damage(error.to_string())),
        other => other?,
    }
    Ok(damages)
}

/// What SQLite says of one file at most.
const FINDINGS_MAX: u32 = 100;

/// Whether the tables are ours, and where they should be. False if that cannot be read.
pub(super) fn has_our_tables(connection: &Connection) -> rusqlite::Result<bool> {
    match schema(connection) {
        Ok(found) => Ok(found == schema(&ours()?)?),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn ours() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(&format!("PRAGMA auto_vacuum = INCREMENTAL; {TALLY} {SCHEMA}"))?;
    Ok(connection)
}

/// Kind, name, place and definition of each table.
type Schema = Vec<(String, String, i64, Option<String>)>;

fn schema(of: &Connection) -> rusqlite::Result<Schema> {
    let mut statement =
        of.prepare("SELECT type, name, rootpage, sql FROM sqlite_schema ORDER BY rootpage")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    rows.collect()
}

/// SQLite names tables by the page that they begin on.
fn finding(of: &Connection, line: &str) -> Damage {
    let root = line
        .strip_prefix("Tree ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|word| word.parse::<i64>().ok());
    let name = root.and_then(|root| {
        let sql = "SELECT tbl_name FROM sqlite_schema WHERE rootpage=?1";
        of.query_row(sql, [root], |row| row.get::<_, String>(0)).ok()
    });
    match TABLES.iter().find(|table| Some(table.name) == name.as_deref()) {
        Some(table) => {
            Damage { place: format!("table {}, structure: {line}", table.name), lost: table.holds }
        }
        None => damage(line),
    }
}

fn damage(what: impl AsRef<str>) -> Damage {
    Damage { place: format!("structure: {}", what.as_ref()), lost: "perhaps nothing" }
}
