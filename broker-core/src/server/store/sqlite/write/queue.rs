//! Messages into queues and out of them.
//!
//! A message is written once, at its place in the order of arrival (`seq`), with the list of those who receive it. A
//! session is done with everything up to its cursor. Publications of different shards arrive out of the order of their
//! numbers, so the cursor counts arrivals: what comes late is beyond every cursor.

use culex_codec::QoS;
use rusqlite::params;
use rusqlite::types::ValueRef;

use crate::engine::publication::Publication;
use crate::engine::store::{Recipient, RetainedChange};

use super::super::bundle::{self, Bundle};
use super::super::index::{Body, Index};
use super::super::message::receivers_of;
use super::super::receivers::{INLINE_BYTES, Members, encode};
use super::super::row::{flag, level, number, put, put_with, signed};
use super::super::schema::{CURSOR, DONE, JOINED, MESSAGE, RECEIVERS};
use super::{Result, Writer};

/// Rows of one session that say that it is done with a message beyond its cursor. With more of them the entry at which
/// the cursor stands gets a row of its own, and the cursor goes on.
const AHEAD_MAX: usize = if cfg!(test) { 3 } else { 1024 };

impl Writer<'_> {
    pub(super) fn publish(
        &mut self,
        publication: &Publication,
        recipients: &[Recipient],
        change: RetainedChange,
    ) -> Result {
        let id = publication.id.0;
        if self.index.bodies.contains_key(&id) {
            // A new subscription was given it as Retained Message before its own record came. Its place may be behind
            // cursors already, so nobody can be told of it there.
            for to in recipients {
                self.join((to.session.0, id), publication, (to.qos, to.is_retain))?;
            }
        } else {
            let there;
            // Mostly they are those of the message before.
            let members = if self.bundle.takes(publication, recipients) {
                recipients
            } else {
                there = self.who_is_there(recipients);
                &there
            };
            if !members.is_empty() {
                let lasts = matches!(change, RetainedChange::Set(_));
                self.put_body(publication, members, lasts)?;
                for to in members {
                    if let Some(queue) = self.index.sessions.get_mut(&to.session.0) {
                        queue.arrived.push_back(id);
                    }
                }
            }
        }
        self.retain(publication, change)
    }

    /// In the order of their sessions, so that the same receivers are the same set.
    fn who_is_there(&self, recipients: &[Recipient]) -> Members {
        let sessions = &self.index.sessions;
        let is_there = |to: &&Recipient| sessions.contains_key(&to.session.0);
        let mut members: Members = recipients.iter().filter(is_there).copied().collect();
        members.sort_unstable_by_key(|to| to.session);
        members.dedup_by_key(|to| to.session);
        members
    }

    /// An entry with a row of its own.
    pub(super) fn join(
        &mut self,
        (session, entry): (u64, u64),
        publication: &Publication,
        (qos, is_retain): (QoS, bool),
    ) -> Result {
        let Index { sessions, bodies, .. } = &mut *self.index;
        let Some(queue) = sessions.get_mut(&session).filter(|queue| !queue.has(entry, bodies)) else {
            return Ok(());
        };
        queue.joined.insert(entry, publication.id.0);
        self.name(publication)?;
        let cells = [number(session), number(entry), number(publication.id.0), level(qos), flag(is_retain)];
        Ok(put(self.to, &JOINED, &cells)?)
    }

    /// An entry leaves its queue.
    pub(super) fn take(&mut self, session: u64, entry: u64) -> Result {
        let Index { sessions, bodies, .. } = &mut *self.index;
        let Some(queue) = sessions.get_mut(&session) else { return Ok(()) };
        let was_sent = queue.sent.remove(&entry);
        if let Some(id) = queue.joined.remove(&entry) {
            self.unname(id);
            self.delete_one("DELETE FROM joined WHERE session=?1 AND entry=?2", session, entry)?;
        } else if let Some(body) = bodies.get(&entry)
            && queue.leave(entry, bodies)
        {
            self.done.entry(session).or_default().push(body.seq);
            self.unname(entry);
        }
        if was_sent {
            self.delete_one("DELETE FROM in_flight WHERE session=?1 AND entry=?2", session, entry)?;
        }
        Ok(())
    }

    /// One more needs the body, which is written if it is not there.
    pub(super) fn name(&mut self, publication: &Publication) -> Result {
        match self.index.bodies.get_mut(&publication.id.0) {
            Some(body) => {
                body.uses += 1;
                Ok(())
            }
            None => self.put_body(publication, &[], true),
        }
    }

    /// One less needs the body.
    pub(super) fn unname(&mut self, id: u64) {
        let Some(body) = self.index.bodies.get_mut(&id) else { return };
        body.uses -= 1;
        if body.uses > 0 {
            return;
        }
        let Body { seq, set, .. } = *body;
        self.index.bodies.remove(&id);
        let bundle = bundle::of(seq);
        if self.bundle.is(bundle) {
            self.bundle.live -= 1;
        } else if self.index.note_gone(bundle) {
            self.dead.push(bundle);
            self.unname_set(set);
        }
    }

    /// Adds a message for these receivers to a bundle; without any, for one who names it. One that `lasts` for longer than
    /// its neighbours stands alone.
    fn put_body(&mut self, publication: &Publication, members: &[Recipient], lasts: bool) -> Result {
        if lasts || !self.bundle.takes(publication, members) {
            self.close_bundle()?;
            let number = bundle::of(self.index.last_seq) + 1;
            let list = encode(members.iter().copied());
            let set = if list.len() > INLINE_BYTES { self.name_set(&list)? } else { 0 };
            self.bundle.open(number, members, set);
        }
        let seq = self.bundle.push(publication);
        self.index.last_seq = seq;
        let uses = u32::try_from(members.len()).unwrap_or(u32::MAX).max(1);
        self.index.bodies.insert(publication.id.0, Body { seq, set: self.bundle.set, uses });
        if lasts { self.close_bundle() } else { Ok(()) }
    }

    /// Writes the bundle, unless nothing of it is needed any more.
    pub(super) fn close_bundle(&mut self) -> Result {
        let Bundle { number: bundle, set, live, .. } = self.bundle;
        if live > 0 {
            let list = encode(self.bundle.members.iter().copied());
            let receivers = match set {
                0 if list.is_empty() => ValueRef::Null,
                0 => ValueRef::Blob(&list),
                set => number(u64::from(set)),
            };
            let cells = [number(bundle), receivers, ValueRef::Blob(&self.bundle.messages)];
            put_with(&mut self.add_message, &MESSAGE, &cells)?;
            if live > 1 {
                self.index.bundles.insert(bundle, live);
            }
        } else if self.bundle.is_open() {
            self.dead.push(bundle);
            self.unname_set(set);
        }
        self.bundle.close();
        Ok(())
    }

    fn name_set(&mut self, list: &[u8]) -> Result<u32> {
        let named = self.index.sets.name(list, &mut self.dead_sets);
        if named.is_new {
            put(self.to, &RECEIVERS, &[number(u64::from(named.set)), ValueRef::Blob(list)])?;
        }
        Ok(named.set)
    }

    fn unname_set(&mut self, set: u32) {
        if set != 0 && self.index.sets.unname(set) {
            self.dead_sets.push(set);
        }
    }

    /// Writes what was put off.
    pub(in super::super) fn finish(mut self) -> Result {
        self.close_bundle()?;
        self.dead.sort_unstable();
        for (session, seqs) in std::mem::take(&mut self.done) {
            self.move_cursor(session, seqs)?;
        }
        self.forget_cleared()?;
        for set in std::mem::take(&mut self.dead_sets) {
            self.delete("DELETE FROM receivers WHERE id=?1", set.into())?;
        }
        for range in self.dead.chunk_by(|bundle, next| bundle + 1 == *next) {
            if let (Some(first), Some(last)) = (range.first(), range.last()) {
                self.delete_one("DELETE FROM message WHERE bundle BETWEEN ?1 AND ?2", *first, *last)?;
            }
        }
        Ok(())
    }

    /// The session is done with what arrived at these places.
    fn move_cursor(&mut self, session: u64, done: Vec<u64>) -> Result {
        let mut cursor = self.done_up_to(session);
        for seq in done {
            // A row that goes needs no word about who has what is in it.
            if seq > cursor && self.dead.binary_search(&bundle::of(seq)).is_err() {
                put(self.to, &DONE, &[number(session), number(seq)])?;
                if let Some(queue) = self.index.sessions.get_mut(&session) {
                    queue.ahead += 1;
                }
            }
        }
        self.put_cursor(session, cursor)?;
        while let Some(queue) = self.index.sessions.get_mut(&session).filter(|queue| queue.ahead > AHEAD_MAX)
            && let Some(id) = queue.arrived.pop_front()
        {
            queue.joined.insert(id, id);
            self.put_row_of_its_own(session, id)?;
            cursor = self.done_up_to(session);
            self.put_cursor(session, cursor)?;
        }
        Ok(())
    }

    /// The place before the first that the session still needs.
    fn done_up_to(&self, session: u64) -> u64 {
        let first = self.index.sessions.get(&session).and_then(|queue| queue.arrived.front());
        let body = first.and_then(|id| self.index.bodies.get(&id));
        body.map_or(self.index.last_seq, |body| body.seq - 1)
    }

    fn put_cursor(&mut self, session: u64, cursor: u64) -> Result {
        let queue = self.index.sessions.get_mut(&session);
        let Some(queue) = queue.filter(|queue| queue.cursor < cursor) else { return Ok(()) };
        queue.cursor = cursor;
        put(self.to, &CURSOR, &[number(session), number(cursor)])?;
        if queue.ahead > 0 {
            let mut delete = self.to.prepare_cached("DELETE FROM done WHERE session=?1 AND seq<=?2")?;
            let passed = delete.execute(params![signed(session), signed(cursor)])?;
            queue.ahead = queue.ahead.saturating_sub(passed);
        }
        Ok(())
    }

    /// For an entry that is in its message's list of receivers, and must not depend on it any more.
    fn put_row_of_its_own(&self, session: u64, id: u64) -> Result {
        let Some(seq) = self.index.bodies.get(&id).map(|body| body.seq) else { return Ok(()) };
        let members = receivers_of(self.to, seq)?;
        // It is there: the index has the entry from this list.
        let Some(member) = members.iter().find(|member| member.session.0 == session) else { return Ok(()) };
        let (qos, is_retain) = (level(member.qos), flag(member.is_retain));
        Ok(put(self.to, &JOINED, &[number(session), number(id), number(id), qos, is_retain])?)
    }
}
