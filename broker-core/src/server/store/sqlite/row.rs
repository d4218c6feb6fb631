//! One row: written with a checksum of all that is in it, and read only if the checksum is right.

use std::fmt;

use culex_codec::QoS;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, Statement, ffi};
use smallvec::SmallVec;

use super::schema::Table;

/// What cannot be used, because it is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where: a table, a row by its key, what is wrong with it.
    pub place: String,
    /// What is lost by it.
    pub lost: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; lost: {}", self.place, self.lost)
    }
}

/// Why a row cannot be had.
#[derive(Debug)]
pub(super) enum RowError {
    /// The engine says no.
    Sqlite(rusqlite::Error),
    /// It is there, and is not what was written.
    Damaged(Damage),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Damage> for RowError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Damaged(damage) => write!(f, "damaged: {damage}"),
        }
    }
}

/// Writes a row in place of the one with its key. `cells` are its columns without the checksum.
pub(super) fn put(to: &Connection, table: &'static Table, cells: &[ValueRef<'_>]) -> rusqlite::Result<()> {
    put_with(&mut *to.prepare_cached(table.put)?, table, cells)
}

/// Writes a row with a statement of [`Table::put`] or [`Table::add`].
pub(super) fn put_with(
    statement: &mut Statement<'_>,
    table: &'static Table,
    cells: &[ValueRef<'_>],
) -> rusqlite::Result<()> {
    let mut seal = Seal::new(table);
    for (column, cell) in cells.iter().enumerate() {
        seal.add(*cell);
        statement.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(*cell))?;
    }
    statement.raw_bind_parameter(cells.len() + 1, seal.finish())?;
    statement.raw_execute().map(drop)
}

/// Reads all rows of a table in the order of their keys. A row that is damaged, or that `take` cannot use, is noted and
/// left out; so is the rest of a table in which SQLite does not find its way.
pub(super) fn each(
    from: &Connection,
    table: &'static Table,
    damages: &mut Vec<Damage>,
    mut take: impl FnMut(&Cells<'_>) -> Result<(), Damage>,
) -> rusqlite::Result<()> {
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = from.prepare(table.all)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Err(damage) = Cells::read(table, row).and_then(|cells| take(&cells)) {
                damages.push(damage);
            }
        }
        Ok(())
    };
    match read() {
        Err(error) if is_damage(&error) => {
            let place = format!("table {}, the rest of it: {error}", table.name);
            damages.push(Damage { place, lost: table.holds });
            Ok(())
        }
        other => other,
    }
}

/// Whether SQLite has found that the file makes no sense.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    // A length that makes no sense is too big, and a file that was cut within a page ends too early.
    let makes_no_sense = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase, ErrorCode::TooBig];
    code.is_some_and(|code| makes_no_sense.contains(&code))
        || error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ)
}

/// The columns of a row whose checksum was right, without the checksum.
pub(super) struct Cells<'r> {
    table: &'static Table,
    row: &'r Row<'r>,
}

impl<'r> Cells<'r> {
    /// The only way to the content of a row: whole, or damaged.
    pub(super) fn read(table: &'static Table, row: &'r Row<'r>) -> Result<Self, Damage> {
        let cells = Self { table, row };
        let last = row.as_ref().column_count() - 1;
        let mut seal = Seal::new(table);
        for column in 0..last {
            seal.add(cells.cell(column));
        }
        if cells.cell(last) == ValueRef::Integer(seal.finish()) {
            Ok(cells)
        } else {
            Err(cells.damage("its checksum is wrong"))
        }
    }

    /// Something in it makes no sense, although it is what was written.
    pub(super) fn damage(&self, what: &str) -> Damage {
        let keys: Vec<_> = (0..self.table.keys).map(|column| shown(self.cell(column))).collect();
        let place = format!("table {}, row {}: {what}", self.table.name, keys.join(" "));
        Damage { place, lost: self.table.holds }
    }

    pub(super) fn number(&self, column: usize) -> Result<u64, Damage> {
        self.optional_number(column)?.ok_or_else(|| self.senseless(column))
    }

    pub(super) fn optional_number(&self, column: usize) -> Result<Option<u64>, Damage> {
        match self.cell(column) {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => u64::try_from(value).map(Some).map_err(|_| self.senseless(column)),
            ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => Err(self.senseless(column)),
        }
    }

    pub(super) fn flag(&self, column: usize) -> Result<bool, Damage> {
        self.number(column).map(|value| value != 0)
    }

    pub(super) fn qos(&self, column: usize) -> Result<QoS, Damage> {
        let bits = u8::try_from(self.number(column)?).ok();
        bits.and_then(QoS::from_bits).ok_or_else(|| self.senseless(column))
    }

    pub(super) fn text(&self, column: usize) -> Result<&'r str, Damage> {
        self.optional_text(column)?.ok_or_else(|| self.senseless(column))
    }

    pub(super) fn optional_text(&self, column: usize) -> Result<Option<&'r str>, Damage> {
        match self.cell(column) {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => str::from_utf8(text).map(Some).map_err(|_| self.senseless(column)),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => Err(self.senseless(column)),
        }
    }

    pub(super) fn bytes(&self, column: usize) -> Result<&'r [u8], Damage> {
        self.cell(column).as_blob().map_err(|_| self.senseless(column))
    }

    /// A column as it is; nothing if there is no such column.
    pub(super) fn cell(&self, column: usize) -> ValueRef<'r> {
        self.row.get_ref(column).unwrap_or(ValueRef::Null)
    }

    pub(super) fn senseless(&self, column: usize) -> Damage {
        let name = self.row.as_ref().column_name(column).unwrap_or("?");
        self.damage(&format!("{name} {} makes no sense", shown(self.cell(column))))
    }
}

/// Enough of a value to find it.
fn shown(cell: ValueRef<'_>) -> String {
    match cell {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => value.to_string(),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>())
        }
        ValueRef::Blob(bytes) => format!("({} bytes)", bytes.len()),
    }
}

/// Characters of a text that a message about damage has.
const SHOWN_MAX: usize = 100;

/// Bytes that are copied so that they are in the checksum with others.
const SMALL_MAX: usize = 128;

/// CRC-32 over the texts and bytes of a row, then kind and value, or length, of every column, and the name of the table.
struct Seal {
    table: &'static Table,
    hasher: crc32fast::Hasher,
    /// What is not in the checksum yet: together, because one of a few bytes costs as much as one of many.
    small: SmallVec<[u8; 256]>,
    heads: SmallVec<[u8; 128]>,
}

impl Seal {
    fn new(table: &'static Table) -> Self {
        Self { table, hasher: crc32fast::Hasher::new(), small: SmallVec::new(), heads: SmallVec::new() }
    }

    fn add(&mut self, cell: ValueRef<'_>) {
        let (kind, number) = match cell {
            ValueRef::Null => (0, 0),
            ValueRef::Integer(value) => (1, value),
            ValueRef::Real(value) => (2, value.to_bits().cast_signed()),
            ValueRef::Text(text) => (3, self.content(text)),
            ValueRef::Blob(bytes) => (4, self.content(bytes)),
        };
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        self.heads.extend_from_slice(&[kind, a, b, c, d, e, f, g, h]);
    }

    fn content(&mut self, bytes: &[u8]) -> i64 {
        if bytes.len() <= SMALL_MAX {
            self.small.extend_from_slice(bytes);
        } else {
            self.hasher.update(&self.small);
            self.small.clear();
            self.hasher.update(bytes);
        }
        i64::try_from(bytes.len()).unwrap_or(i64::MAX)
    }

    /// With a sign, because SQLite stores that in four bytes.
    fn finish(mut self) -> i64 {
        self.heads.extend_from_slice(self.table.name.as_bytes());
        self.small.extend_from_slice(&self.heads);
        self.hasher.update(&self.small);
        i64::from(self.hasher.finalize().cast_signed())
    }
}

/// SQLite has signed numbers; ours stay far below the sign for longer than anything lasts.
pub(super) fn number(value: u64) -> ValueRef<'static> {
    ValueRef::Integer(signed(value))
}

pub(super) fn optional_number(value: Option<u64>) -> ValueRef<'static> {
    value.map_or(ValueRef::Null, number)
}

pub(super) fn flag(is_set: bool) -> ValueRef<'static> {
    ValueRef::Integer(i64::from(is_set))
}

pub(super) fn level(qos: QoS) -> ValueRef<'static> {
    ValueRef::Integer(i64::from(qos.bits()))
}

pub(super) fn text(value: &str) -> ValueRef<'_> {
    ValueRef::Text(value.as_bytes())
}

pub(super) fn optional_text(value: Option<&str>) -> ValueRef<'_> {
    value.map_or(ValueRef::Null, text)
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
