//! Rows back into state. Every row is checked: what is not as it was written is noted and left out, and what the rest
//! lacks because of it is noted too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{PacketId, TopicFilter, TopicName};
use rusqlite::Connection;

use crate::engine::Will;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::store::{Recipient, Stored, StoredFeed, StoredMessage, StoredSession, StoredSubscription};
use crate::engine::time::WallTime;

use super::index::{Body, Index, Numbered, Queue};
use super::message::{Message, Receivers, read_set};
use super::row::{Cells, Damage, each, signed};
use super::schema::{
    ALIVE, ALONE, CURSOR, DONE, FEED, IN_FLIGHT, INCOMING, JOINED, MESSAGE, RECEIVED, RECEIVERS, RETAINED,
    SESSION, SUBSCRIPTION, Table, WILL,
};

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
    messages: Vec<u64>,
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
    /// Deletes these rows.
    pub(super) fn sweep(&self, from: &mut Connection) -> rusqlite::Result<()> {
        let transaction = from.transaction()?;
        for seq in &self.messages {
            transaction.prepare_cached("DELETE FROM message WHERE seq=?1")?.execute([signed(*seq)])?;
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

/// What is needed to know who needs a message.
#[derive(Default)]
struct Named {
    sets: HashMap<u32, Vec<Recipient>>,
    /// Messages that sessions are done with beyond their cursors.
    done: HashSet<(u64, u64)>,
    /// Ordinals of entries.
    sent: HashMap<(u64, u64), u64>,
    /// Entries with rows of their own: session, entry, publication, how it is received.
    joined: Vec<(u64, u64, u64, Recipient)>,
    /// Version and publication of Retained Messages, in the order of their topics.
    retained: Vec<(u64, u64)>,
    /// The publications of both.
    publications: Numbered<Option<Arc<Publication>>>,
}

impl Loader<'_> {
    fn sessions(&mut self) -> rusqlite::Result<()> {
        let Loaded { stored, index, damages, .. } = &mut self.loaded;
        each(self.from, &SESSION, damages, |row| {
            let id = row.number(0)?;
            let session = StoredSession {
                id: SessionId(id),
                client_id: row.text(1)?.into(),
                user_name: row.optional_text(2)?.map(Into::into),
                is_trusted: row.flag(3)?,
                expiry_s: u32::try_from(row.number(4)?).map_err(|_| row.senseless(4))?,
                will: None,
                left_at: None,
                subscriptions: Vec::new(),
                queue: Vec::new(),
                received: Vec::new(),
                incoming: Vec::new(),
            };
            index.sessions.entry(id).or_default();
            if session.expiry_s != u32::MAX {
                index.mortal.insert(id);
            }
            self.place.insert(id, stored.sessions.len());
            stored.sessions.push(session);
            Ok(())
        })?;
        each(self.from, &ALIVE, damages, |row| {
            stored.alive_at = Some(WallTime(row.number(1)?));
            Ok(())
        })?;
        self.of_sessions(&WILL, |session, _, row| {
            let topic = TopicName::new(row.text(1)?).map_err(|_| row.senseless(1))?;
            let payload = Bytes::copy_from_slice(row.bytes(2)?);
            session.will = Some(Box::new(Will::new(topic, payload, row.qos(3)?, row.flag(4)?)));
            Ok(())
        })?;
        self.of_sessions(&ALONE, |session, _, row| {
            session.left_at = Some(WallTime(row.number(1)?));
            Ok(())
        })?;
        self.of_sessions(&RECEIVED, |session, _, row| {
            session.received.push(row.number(1)?);
            Ok(())
        })?;
        self.of_sessions(&INCOMING, |session, _, row| {
            let packet_id = u16::try_from(row.number(1)?).ok().and_then(PacketId::new);
            session.incoming.push(packet_id.ok_or_else(|| row.senseless(1))?);
            Ok(())
        })
    }

    fn subscriptions(&mut self) -> rusqlite::Result<()> {
        let mut feeds = HashMap::new();
        self.of_sessions(&FEED, |session, _, row| {
            let cursor = row.optional_text(3)?.map_or(Cursor::Start, |topic| Cursor::After(topic.into()));
            let feed = StoredFeed { up_to: RetainedVersion(row.number(2)?), cursor };
            feeds.insert((session.id, Box::<str>::from(row.text(1)?)), feed);
            Ok(())
        })?;
        self.of_sessions(&SUBSCRIPTION, |session, _, row| {
            let filter: Box<str> = row.text(1)?.into();
            TopicFilter::new(&filter).map_err(|_| row.senseless(1))?;
            let key = (session.id, filter);
            let feed = feeds.remove(&key);
            session.subscriptions.push(StoredSubscription { filter: key.1, qos: row.qos(2)?, feed });
            Ok(())
        })?;
        for (session, filter) in feeds.into_keys() {
            self.lacks(&FEED, format!("{} {filter:?}", session.0), "its subscription");
        }
        Ok(())
    }

    fn cursors(&mut self) -> rusqlite::Result<()> {
        let mut last_seq = 0;
        let mut without: HashSet<u64> = self.place.keys().copied().collect();
        self.of_sessions(&CURSOR, |session, queue, row| {
            queue.cursor = row.number(1)?;
            last_seq = last_seq.max(queue.cursor);
            without.remove(&session.id.0);
            Ok(())
        })?;
        self.loaded.index.last_seq = last_seq;
        for session in without {
            self.lacks(&SESSION, session.to_string(), "its cursor");
        }
        Ok(())
    }

    /// Everything that names messages.
    fn named(&mut self) -> rusqlite::Result<Named> {
        let mut named = Named::default();
        self.of_sessions(&DONE, |session, queue, row| {
            let seq = row.number(1)?;
            queue.ahead += 1;
            named.done.insert((session.id.0, seq));
            Ok(())
        })?;
        self.of_sessions(&IN_FLIGHT, |session, _, row| {
            named.sent.insert((session.id.0, row.number(1)?), row.number(2)?);
            Ok(())
        })?;
        self.of_sessions(&JOINED, |session, _, row| {
            let (entry, publication) = (row.number(1)?, row.number(2)?);
            let to = Recipient { session: session.id, qos: row.qos(3)?, is_retain: row.flag(4)? };
            named.publications.insert(publication, None);
            named.joined.push((session.id.0, entry, publication, to));
            Ok(())
        })?;
        let Loaded { stored, index, damages, .. } = &mut self.loaded;
        each(self.from, &RETAINED, damages, |row| {
            let version = row.number(1)?;
            // Also that of a clear.
            stored.retained_version = stored.retained_version.max(RetainedVersion(version));
            match row.optional_number(2)? {
                Some(publication) => {
                    named.publications.insert(publication, None);
                    named.retained.push((version, publication));
                }
                None => index.cleared.push_back((version, row.text(0)?.into())),
            }
            Ok(())
        })?;
        index.cleared.make_contiguous().sort_unstable();
        each(self.from, &RECEIVERS, damages, |row| {
            let (set, members) = read_set(row)?;
            named.sets.insert(set, members);
            Ok(())
        })?;
        index.last_seq = named.done.iter().map(|(_, seq)| *seq).fold(index.last_seq, u64::max);
        Ok(named)
    }

    fn messages(&mut self, mut named: Named) -> rusqlite::Result<()> {
        let Loaded { stored, index, damages, unused } = &mut self.loaded;
        each(self.from, &MESSAGE, damages, |row| {
            let Message { seq, publication, receivers } = Message::read(row)?;
            let id = publication.id;
            let publication = Arc::new(publication);
            let (set, members) = match &receivers {
                Receivers::These(members) => (0, members),
                Receivers::Set(set) => {
                    (*set, named.sets.get(set).ok_or_else(|| row.damage("its receivers are not there"))?)
                }
            };
            index.last_seq = index.last_seq.max(seq);
            let mut uses = 0;
            for to in members {
                let session = to.session.0;
                let place = self.place.get(&session).and_then(|place| stored.sessions.get_mut(*place));
                let queue = index.sessions.get_mut(&session).filter(|queue| queue.cursor < seq);
                if let (Some(stored), Some(queue)) = (place, queue)
                    && !named.done.contains(&(session, seq))
                {
                    uses += 1;
                    queue.arrived.push_back(id.0);
                    let sent = named.sent.remove(&(session, id.0));
                    if sent.is_some() {
                        queue.sent.insert(id.0);
                    }
                    stored.queue.push(stored_message(id, &publication, to, sent));
                }
            }
            if let Some(place) = named.publications.get_mut(&id.0) {
                *place = Some(publication);
            } else if uses == 0 {
                unused.messages.push(seq);
                return Ok(());
            }
            if set != 0 {
                index.sets.found(set);
            }
            index.bodies.insert(id.0, Body { seq, set, uses });
            Ok(())
        })?;
        unused.sets.extend(named.sets.keys().filter(|set| !index.sets.is_used(**set)));
        self.joined(&mut named);
        self.retained(&named);
        for (session, entry) in named.sent.into_keys() {
            self.lacks(&IN_FLIGHT, format!("{session} {entry}"), "its entry");
        }
        Ok(())
    }

    fn joined(&mut self, named: &mut Named) {
        for (session, entry, id, to) in std::mem::take(&mut named.joined) {
            let Loaded { stored, index, .. } = &mut self.loaded;
            let Some(Some(publication)) = named.publications.get(&id) else {
                self.lacks(&JOINED, format!("{session} {entry}"), "its message");
                continue;
            };
            let place = self.place.get(&session).and_then(|place| stored.sessions.get_mut(*place));
            if let (Some(stored), Some(queue)) = (place, index.sessions.get_mut(&session)) {
                let sent = named.sent.remove(&(session, entry));
                if sent.is_some() {
                    queue.sent.insert(entry);
                }
                queue.joined.insert(entry, id);
                stored.queue.push(stored_message(PublicationId(entry), publication, &to, sent));
                one_more(index, id);
            }
        }
    }

    fn retained(&mut self, named: &Named) {
        for (version, id) in &named.retained {
            if let Some(Some(publication)) = named.publications.get(id) {
                self.loaded.stored.retained.push((RetainedVersion(*version), Arc::clone(publication)));
                one_more(&mut self.loaded.index, *id);
            } else {
                self.lacks(&RETAINED, format!("with version {version}"), "its message");
            }
        }
    }

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

fn one_more(index: &mut Index, id: u64) {
    if let Some(body) = index.bodies.get_mut(&id) {
        body.uses += 1;
    }
}

fn stored_message(
    entry: PublicationId,
    publication: &Publication,
    to: &Recipient,
    sent: Option<u64>,
) -> StoredMessage {
    let (publication, bytes) = (publication.id, publication.bytes());
    let Recipient { qos, is_retain, .. } = *to;
    StoredMessage { entry, publication, bytes, body: None, qos, is_retain, sent }
}
