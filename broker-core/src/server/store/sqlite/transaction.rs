//! A transaction whose statements are not parsed anew each time: for a few messages that was a good part of its cost.

use rusqlite::Connection;

/// Without [`Transaction::commit`] nothing of it is kept.
pub(super) struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    pub(super) fn begin(on: &'a Connection) -> rusqlite::Result<Self> {
        run(on, "BEGIN")?;
        Ok(Self(on))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        run(self.0, "COMMIT")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors have rolled it back already.
        if !self.0.is_autocommit() {
            // If this fails, so does the next one to begin.
            let _ = run(self.0, "ROLLBACK");
        }
    }
}

fn run(on: &Connection, sql: &str) -> rusqlite::Result<()> {
    on.prepare_cached(sql)?.execute([]).map(drop)
}
