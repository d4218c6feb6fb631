//! A number that every transaction counts up, where it can be read without SQLite.
//!
//! The file and its log belong together, and neither says so: SQLite puts any good log on top of any file. The tally does.
//! The only row of its table is a blob, which SQLite keeps at the end of the table's only page; so it is found in the
//! file and in each frame of the log.

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Damage, is_damage};

/// How many transactions there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tally(pub(super) u64);

/// Comes before all other tables, so that its page is the first that can be had.
pub(super) const TALLY: &str = "CREATE TABLE tally(id INTEGER PRIMARY KEY, value BLOB NOT NULL);";

const MARK: &[u8; 8] = b"CulexTal";
const BYTES: usize = 20;

impl Tally {
    /// As it was kept last.
    pub(super) fn read(from: &Connection, damages: &mut Vec<Damage>) -> rusqlite::Result<Self> {
        let found = from.query_row("SELECT value FROM tally WHERE id=0", [], |row| {
            Ok(row.get_ref(0)?.as_blob().ok().and_then(at_end_of))
        });
        let found = match found {
            Err(error) if is_damage(&error) => None,
            other => other.optional()?.flatten(),
        };
        if found.is_none() {
            let place = "table tally: it cannot be read".to_owned();
            damages.push(Damage { place, lost: "how many transactions there were" });
        }
        Ok(found.unwrap_or_default())
    }

    /// Writes it, as part of a transaction.
    pub(super) fn write(self, to: &Connection) -> rusqlite::Result<()> {
        to.prepare_cached("INSERT INTO tally VALUES (0, ?1) ON CONFLICT(id) DO UPDATE SET value=?1")?
            .execute(params![self.bytes()])?;
        Ok(())
    }

    fn bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let (mark, rest) = bytes.split_at_mut(8);
        let (number, sum) = rest.split_at_mut(8);
        mark.copy_from_slice(MARK);
        number.copy_from_slice(&self.0.to_be_bytes());
        sum.copy_from_slice(&crc32fast::hash(number).to_be_bytes());
        bytes
    }
}

/// The tally on a page, if it is one.
pub(super) fn at_end_of(page: &[u8]) -> Option<Tally> {
    let bytes: &[u8; BYTES] = page.last_chunk()?;
    let number = bytes.get(8..)?.first_chunk().copied()?;
    let tally = Tally(u64::from_be_bytes(number));
    (tally.bytes() == *bytes).then_some(tally)
}
