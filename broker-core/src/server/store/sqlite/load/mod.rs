//! Rows back into state. Every row is checked: what is not as it was written is noted and left out, and what the rest
//! lacks because of it is noted too.

mod messages;
mod sessions;

use rusqlite::Connection;

use crate::engine::store::{Stored, StoredSession};

use super::bundle;
use super::index::{Body, Index, Numbered, Queue};
use super::row::{Cells, Damage, each, signed};
use super::schema::Table;

/// What a file has.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) stored: Stored,
    pub(super) index: Index,
    /// What could not be used, and what is missing because of it. Nothing of it is in the rest.
    pub(super) damages: Vec<Damage>,
    pub(super) unused: Unused,
}

/// Rows that nobody needs.
#[derive(Default)]
pub(super) struct Unused {
    bundles: Vec<u64>,
    sets: Vec<u32>,
}

/// Reads everything, and changes nothing.
///
/// # Errors
/// What SQLite says, unless it says that the file is damaged.
pub(super) fn load(from: &Connection) -> rusqlite::Result<Loaded> {
    let mut loader = Loader { from, loaded: Loaded::default(), place: Numbered::default() };
    loader.sessions()?;
    loader.subscriptions()?;
    loader.cursors()?;
    let named = loader.named()?;
    loader.messages(named)?;
    Ok(loader.loaded)
}

impl Unused {
    /// A message is not needed where it stands.
    fn gone(&mut self, body: Body, index: &mut Index) {
        let bundle = bundle::of(body.seq);
        if index.note_gone(bundle) {
            self.bundles.push(bundle);
            index.sets.unname(body.set);
        }
    }

    /// Deletes these rows.
    pub(super) fn sweep(&self, from: &mut Connection) -> rusqlite::Result<()> {
        let transaction = from.transaction()?;
        for bundle in &self.bundles {
            transaction.prepare_cached("DELETE FROM message WHERE bundle=?1")?.execute([signed(*bundle)])?;
        }
        for set in &self.sets {
            transaction.prepare_cached("DELETE FROM receivers WHERE id=?1")?.execute([set])?;
        }
        transaction.commit()
    }
}

struct Loader<'a> {
    from: &'a Connection,
    loaded: Loaded,
    /// Sessions by their numbers.
    place: Numbered<usize>,
}

impl Loader<'_> {
    /// Rows that belong to the session that their first column names.
    fn of_sessions(
        &mut self,
        table: &'static Table,
        mut take: impl FnMut(&mut StoredSession, &mut Queue, &Cells<'_>) -> Result<(), Damage>,
    ) -> rusqlite::Result<()> {
        let Loaded { stored, index, damages, .. } = &mut self.loaded;
        each(self.from, table, damages, |row| {
            let id = row.number(0)?;
            let session = self.place.get(&id).and_then(|place| stored.sessions.get_mut(*place));
            match (session, index.sessions.get_mut(&id)) {
                (Some(session), Some(queue)) => take(session, queue, row),
                _ => Err(row.damage("its session is not there")),
            }
        })
    }

    fn lacks(&mut self, table: &'static Table, row: String, what: &str) {
        let place = format!("table {}, row {row}: {what} is not there", table.name);
        self.loaded.damages.push(Damage { place, lost: table.holds });
    }
}
