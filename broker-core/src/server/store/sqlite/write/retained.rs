//! Retained Messages.

use rusqlite::{OptionalExtension, params};

use crate::engine::publication::Publication;
use crate::engine::store::RetainedChange;

use super::super::row::{Cells, Damage, number, optional_number, put, signed, text};
use super::super::schema::RETAINED;
use super::{Result, Writer};

/// Cleared Retained Messages that are remembered, in case that an older version of another shard comes late. What is in
/// the queue at a time is far less.
const CLEARED_MAX: usize = 65_536;

impl Writer<'_> {
    /// What a publication does to the Retained Message of its topic: the later of two versions wins, whichever comes
    /// first.
    pub(super) fn retain(&mut self, publication: &Publication, change: RetainedChange) -> Result {
        let (version, is_set) = match change {
            RetainedChange::None => return Ok(()),
            RetainedChange::Set(version) => (version.0, true),
            RetainedChange::Clear(version) => (version.0, false),
        };
        let topic = publication.topic();
        let topic = topic.as_str();
        let before = self.retained(topic)?;
        if before.is_some_and(|(newest, _)| newest >= version) {
            return Ok(());
        }
        let message = if is_set {
            self.name(publication)?;
            Some(publication.id.0)
        } else {
            self.index.cleared.push_back((version, topic.into()));
            None
        };
        put(self.to, &RETAINED, &[text(topic), number(version), optional_number(message)])?;
        if let Some((_, Some(old))) = before {
            self.unname(old);
        }
        Ok(())
    }

    /// Version and message of a topic.
    fn retained(&self, topic: &str) -> Result<Option<(u64, Option<u64>)>> {
        let mut find = self.to.prepare_cached("SELECT * FROM retained WHERE topic=?1")?;
        let found = find.query_row(params![topic], |row| {
            let cells = Cells::read(&RETAINED, row);
            Ok(cells.and_then(|cells| Ok::<_, Damage>((cells.number(1)?, cells.optional_number(2)?))))
        });
        Ok(found.optional()?.transpose()?)
    }

    /// Forgets the oldest of too many topics that were cleared, unless they were set again.
    pub(super) fn forget_cleared(&mut self) -> Result {
        while self.index.cleared.len() > CLEARED_MAX {
            let Some((version, topic)) = self.index.cleared.pop_front() else { return Ok(()) };
            let sql = "DELETE FROM retained WHERE topic=?1 AND version=?2 AND message IS NULL";
            self.to.prepare_cached(sql)?.execute(params![&*topic, signed(version)])?;
        }
        Ok(())
    }
}
