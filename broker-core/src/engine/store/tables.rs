//! What records mean, as plain tables: the model of every store, and the store of simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use culex_codec::{PacketId, QoS};

use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::time::WallTime;

use super::{
    Record, RetainedChange, StoreBatch, Stored, StoredFeed, StoredMessage, StoredSession, StoredSubscription,
};

/// Durable state in memory. Deterministic; grows and shrinks with what it holds, but remembers the topic of every
/// Retained Message that was cleared.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    sessions: BTreeMap<SessionId, Session>,
    /// `None` after a clear: an older version that comes late must not bring it back.
    retained: BTreeMap<Box<str>, (RetainedVersion, Option<Arc<Publication>>)>,
    alive_at: Option<WallTime>,
}

#[derive(Debug, Clone)]
struct Session {
    bound: StoredSession,
    subscriptions: BTreeMap<Box<str>, (QoS, Option<StoredFeed>)>,
    queue: BTreeMap<PublicationId, StoredMessage>,
    received: BTreeSet<u64>,
    incoming: BTreeSet<PacketId>,
}

impl Tables {
    /// Keeps a batch, written at `now`.
    pub fn keep(&mut self, batch: &StoreBatch, now: WallTime) {
        self.alive_at = Some(now);
        for record in &batch.records {
            self.apply(record);
        }
    }

    /// Everything, sessions and Retained Messages in the order of their keys.
    pub fn stored(&self) -> Stored {
        Stored {
            sessions: self.sessions.values().map(Session::stored).collect(),
            retained: self
                .retained
                .values()
                .filter_map(|(version, publication)| Some((*version, Arc::clone(publication.as_ref()?))))
                .collect(),
            retained_version: self.retained.values().map(|(version, _)| *version).max().unwrap_or_default(),
            alive_at: self.alive_at,
        }
    }

    /// A message in a session's queue; `None` if it is not there.
    pub fn read(&self, session: SessionId, entry: PublicationId) -> Option<Arc<Publication>> {
        self.sessions.get(&session)?.queue.get(&entry)?.body.clone()
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::SessionBound { session, client_id, user_name, is_trusted, expiry_s, options, will } => {
                let bound = StoredSession {
                    id: *session,
                    client_id: client_id.clone(),
                    user_name: user_name.clone(),
                    is_trusted: *is_trusted,
                    expiry_s: *expiry_s,
                    options: *options,
                    will: will.clone(),
                    left_at: None,
                    subscriptions: Vec::new(),
                    queue: Vec::new(),
                    received: Vec::new(),
                    incoming: Vec::new(),
                };
                match self.sessions.get_mut(session) {
                    Some(found) => found.bound = bound,
                    None => drop(self.sessions.insert(*session, Session::new(bound))),
                }
            }
            Record::SessionEnded { session } => drop(self.sessions.remove(session)),
            Record::Published { publication, incoming, recipients, retained } => {
                if let Some((session, packet_id)) = incoming {
                    self.with(*session, |session| _ = session.incoming.insert(*packet_id));
                }
                for recipient in recipients {
                    let how = (recipient.qos, recipient.is_retain);
                    self.with(recipient.session, |session| session.push(publication.id, publication, how));
                }
                self.retain(publication, *retained);
            }
            Record::Queued { session, entry, publication, qos } => {
                self.with(*session, |session| session.push(*entry, publication, (*qos, true)));
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
            | Record::Released { session, .. } => self.with(*session, |session| session.apply(record)),
        }
    }

    /// Does nothing for a session that has ended.
    fn with(&mut self, session: SessionId, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&session) {
            change(session);
        }
    }

    fn retain(&mut self, publication: &Arc<Publication>, change: RetainedChange) {
        let (version, message) = match change {
            RetainedChange::None => return,
            RetainedChange::Set(version) => (version, Some(Arc::clone(publication))),
            RetainedChange::Clear(version) => (version, None),
        };
        let place = self.retained.entry(publication.topic().as_str().into()).or_default();
        if place.0 < version {
            *place = (version, message);
        }
    }
}

impl Session {
    const fn new(bound: StoredSession) -> Self {
        Self {
            bound,
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            received: BTreeSet::new(),
            incoming: BTreeSet::new(),
        }
    }

    fn push(&mut self, entry: PublicationId, body: &Arc<Publication>, (qos, is_retain): (QoS, bool)) {
        let (publication, bytes, body) = (body.id, body.bytes(), Some(Arc::clone(body)));
        let message = StoredMessage { entry, publication, bytes, body, qos, is_retain, sent: None };
        self.queue.insert(entry, message);
    }

    /// A record that is about one session alone.
    fn apply(&mut self, record: &Record) {
        match record {
            Record::WillGone { .. } => self.bound.will = None,
            Record::SessionLeft { at, .. } => self.bound.left_at = Some(*at),
            Record::Subscribed { filter, qos, up_to, .. } => {
                let feed = StoredFeed { up_to: *up_to, cursor: Cursor::Start };
                self.subscriptions.insert(filter.clone(), (*qos, Some(feed)));
            }
            Record::Fed { filter, cursor, .. } => {
                if let Some((_, feed)) = self.subscriptions.get_mut(filter) {
                    *feed = feed.take().filter(|_| *cursor != Cursor::End);
                    if let Some(feed) = feed {
                        feed.cursor = cursor.clone();
                    }
                }
            }
            Record::Unsubscribed { filter, .. } => drop(self.subscriptions.remove(filter)),
            Record::InFlight { entry, ordinal, .. } => {
                if let Some(message) = self.queue.get_mut(entry) {
                    message.sent = Some(*ordinal);
                }
            }
            Record::Received { entry, ordinal, .. } => {
                self.queue.remove(entry);
                self.received.insert(*ordinal);
            }
            Record::Completed { ordinal, .. } => _ = self.received.remove(ordinal),
            Record::Done { entry, .. } => drop(self.queue.remove(entry)),
            Record::Released { packet_id, .. } => _ = self.incoming.remove(packet_id),
            Record::SessionBound { .. }
            | Record::SessionEnded { .. }
            | Record::Published { .. }
            | Record::Queued { .. } => {}
        }
    }

    fn stored(&self) -> StoredSession {
        let subscriptions = self.subscriptions.iter().map(|(filter, (qos, feed))| StoredSubscription {
            filter: filter.clone(),
            qos: *qos,
            feed: feed.clone(),
        });
        StoredSession {
            subscriptions: subscriptions.collect(),
            queue: self.queue.values().cloned().collect(),
            received: self.received.iter().copied().collect(),
            incoming: self.incoming.iter().copied().collect(),
            ..self.bound.clone()
        }
    }
}
