//! Records into rows.

mod queue;
mod retained;

use culex_codec::QoS;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::engine::Will;
use crate::engine::keys::RetainedVersion;
use crate::engine::route::Cursor;
use crate::engine::store::Record;
use crate::engine::time::WallTime;

use super::bundle::Bundle;
use super::index::{Index, Numbered, Queue};
use super::options;
use super::row::{Cells, RowError, flag, level, number, optional_text, put, signed, text};
use super::schema::{
    ALIVE, ALONE, CURSOR, FEED, IN_FLIGHT, INCOMING, MESSAGE, RECEIVED, SESSION, SUBSCRIPTION, WILL,
};

pub(super) type Result<T = ()> = std::result::Result<T, RowError>;

/// Writes the records of one transaction. After an error the index is not what the file says any more.
pub(super) struct Writer<'a> {
    to: &'a Connection,
    index: &'a mut Index,
    /// What sessions are done with, by its place. Written at the end, because most of it is a cursor that moves.
    done: Numbered<Vec<u64>>,
    /// The last messages, which are written when another does not fit to them.
    bundle: Bundle,
    /// Bundles that nobody needs any more, deleted at the end in ranges.
    dead: Vec<u64>,
    /// Sets of receivers that no bundle names any more.
    dead_sets: Vec<u32>,
    /// The statement that most rows are written with.
    add_message: CachedStatement<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(to: &'a Connection, index: &'a mut Index) -> Result<Self> {
        let add_message = to.prepare_cached(MESSAGE.add)?;
        Ok(Self {
            to,
            index,
            done: Numbered::default(),
            bundle: Bundle::default(),
            dead: Vec::new(),
            dead_sets: Vec::new(),
            add_message,
        })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result {
        match record {
            Record::SessionBound { .. } => self.bind(record),
            Record::SessionEnded { session } => self.end(session.0),
            Record::Published { publication, incoming, recipients, retained } => {
                if let Some((session, packet_id)) = incoming
                    && self.exists(session.0)
                {
                    let key = [number(session.0), number(packet_id.get().into())];
                    put(self.to, &INCOMING, &key)?;
                }
                self.publish(publication, recipients, *retained)
            }
            Record::Queued { session, entry, publication, qos } => {
                self.join((session.0, entry.0), publication, (*qos, true))
            }
            Record::WillGone { session }
            | Record::SessionLeft { session, .. }
            | Record::Subscribed { session, .. }
            | Record::Fed { session, .. }
            | Record::Unsubscribed { session, .. }
            | Record::InFlight { session, .. }
            | Record::Received { session, .. }
            | Record::Completed { session, .. }
            | Record::Done { session, .. }
            | Record::Released { session, .. } => {
                // A session that has ended has nothing.
                if self.exists(session.0) { self.apply_to_session(record) } else { Ok(()) }
            }
        }
    }

    pub(super) fn note_alive(&self, now: WallTime) -> Result {
        Ok(put(self.to, &ALIVE, &[number(0), number(now.0)])?)
    }

    /// Records about one session that is there.
    fn apply_to_session(&mut self, record: &Record) -> Result {
        match record {
            Record::WillGone { session } => self.delete("DELETE FROM will WHERE session=?1", session.0),
            Record::SessionLeft { session, at } => {
                Ok(put(self.to, &ALONE, &[number(session.0), number(at.0)])?)
            }
            Record::Subscribed { session, filter, qos, up_to } => {
                self.subscribe(session.0, filter, *qos, *up_to)
            }
            Record::Fed { session, filter, cursor } => self.feed(session.0, filter, cursor),
            Record::Unsubscribed { session, filter } => {
                self.delete_of_filter(
                    "DELETE FROM subscription WHERE session=?1 AND filter=?2",
                    session.0,
                    filter,
                )?;
                self.delete_of_filter("DELETE FROM feed WHERE session=?1 AND filter=?2", session.0, filter)
            }
            Record::InFlight { session, entry, ordinal } => {
                let Index { sessions, bodies, .. } = &mut *self.index;
                let queue = sessions.get_mut(&session.0).filter(|queue| queue.has(entry.0, bodies));
                let Some(queue) = queue else { return Ok(()) };
                queue.sent.insert(entry.0);
                let cells = [number(session.0), number(entry.0), number(*ordinal)];
                Ok(put(self.to, &IN_FLIGHT, &cells)?)
            }
            Record::Received { session, entry, ordinal } => {
                self.take(session.0, entry.0)?;
                Ok(put(self.to, &RECEIVED, &[number(session.0), number(*ordinal)])?)
            }
            Record::Completed { session, ordinal } => {
                self.delete_one("DELETE FROM received WHERE session=?1 AND ordinal=?2", session.0, *ordinal)
            }
            Record::Done { session, entry } => self.take(session.0, entry.0),
            Record::Released { session, packet_id } => self.delete_one(
                "DELETE FROM incoming WHERE session=?1 AND packet_id=?2",
                session.0,
                packet_id.get().into(),
            ),
            Record::SessionBound { .. }
            | Record::SessionEnded { .. }
            | Record::Published { .. }
            | Record::Queued { .. } => Ok(()),
        }
    }

    /// A new session is done with all that has arrived: it may have the number of one that has ended.
    fn bind(&mut self, record: &Record) -> Result {
        let Record::SessionBound { session, client_id, user_name, is_trusted, expiry_s, options, will } =
            record
        else {
            return Ok(());
        };
        let id = session.0;
        if self.exists(id) {
            self.delete("DELETE FROM alone WHERE session=?1", id)?;
        } else {
            let cursor = self.index.last_seq;
            put(self.to, &CURSOR, &[number(id), number(cursor)])?;
            self.index.sessions.insert(id, Queue { cursor, ..Queue::default() });
        }
        if *expiry_s == u32::MAX {
            self.index.mortal.remove(&id);
        } else {
            self.index.mortal.insert(id);
        }
        let user_name = optional_text(user_name.as_deref());
        let packed = options::packed(*is_trusted, options);
        let kind = packed.as_deref().map_or_else(|| flag(*is_trusted), ValueRef::Blob);
        put(
            self.to,
            &SESSION,
            &[number(id), text(client_id), user_name, kind, number(u64::from(*expiry_s))],
        )?;
        match will {
            Some(will) => self.put_will(id, will),
            None => self.delete("DELETE FROM will WHERE session=?1", id),
        }
    }

    fn put_will(&self, session: u64, will: &Will) -> Result {
        let payload = ValueRef::Blob(&will.payload);
        let topic = will.topic();
        let cells = [number(session), text(topic.as_str()), payload, level(will.qos), flag(will.is_retain)];
        Ok(put(self.to, &WILL, &cells)?)
    }

    fn end(&mut self, session: u64) -> Result {
        // What comes for the same receivers is not for it.
        self.close_bundle()?;
        let Some(queue) = self.index.sessions.remove(&session) else { return Ok(()) };
        self.index.mortal.remove(&session);
        self.done.remove(&session);
        for id in queue.arrived.iter().chain(queue.joined.values().copied()) {
            self.unname(id);
        }
        for sql in [
            "DELETE FROM session WHERE id=?1",
            "DELETE FROM will WHERE session=?1",
            "DELETE FROM alone WHERE session=?1",
            "DELETE FROM cursor WHERE session=?1",
            "DELETE FROM done WHERE session=?1",
            "DELETE FROM subscription WHERE session=?1",
            "DELETE FROM feed WHERE session=?1",
            "DELETE FROM joined WHERE session=?1",
            "DELETE FROM in_flight WHERE session=?1",
            "DELETE FROM received WHERE session=?1",
            "DELETE FROM incoming WHERE session=?1",
        ] {
            self.delete(sql, session)?;
        }
        Ok(())
    }

    fn subscribe(&self, session: u64, filter: &str, qos: QoS, up_to: RetainedVersion) -> Result {
        put(self.to, &SUBSCRIPTION, &[number(session), text(filter), level(qos)])?;
        Ok(put(self.to, &FEED, &[number(session), text(filter), number(up_to.0), optional_text(None)])?)
    }

    fn feed(&self, session: u64, filter: &str, cursor: &Cursor) -> Result {
        let after = match cursor {
            Cursor::Start => None,
            Cursor::After(topic) => Some(&**topic),
            Cursor::End => {
                return self.delete_of_filter(
                    "DELETE FROM feed WHERE session=?1 AND filter=?2",
                    session,
                    filter,
                );
            }
        };
        let mut find = self.to.prepare_cached("SELECT * FROM feed WHERE session=?1 AND filter=?2")?;
        let found = find.query_row(params![signed(session), filter], |row| {
            Ok(Cells::read(&FEED, row).and_then(|cells| cells.number(2)))
        });
        let Some(up_to) = found.optional()?.transpose()? else { return Ok(()) };
        let cells = [number(session), text(filter), number(up_to), optional_text(after)];
        Ok(put(self.to, &FEED, &cells)?)
    }

    fn exists(&self, session: u64) -> bool {
        self.index.sessions.contains_key(&session)
    }

    fn delete(&self, sql: &str, key: u64) -> Result {
        self.to.prepare_cached(sql)?.execute(params![signed(key)])?;
        Ok(())
    }

    fn delete_one(&self, sql: &str, session: u64, key: u64) -> Result {
        self.to.prepare_cached(sql)?.execute(params![signed(session), signed(key)])?;
        Ok(())
    }

    fn delete_of_filter(&self, sql: &str, session: u64, filter: &str) -> Result {
        self.to.prepare_cached(sql)?.execute(params![signed(session), filter])?;
        Ok(())
    }
}
