//! Messages, and who needs them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::keys::{PublicationId, RetainedVersion};
use crate::engine::publication::Publication;
use crate::engine::question::Identity;
use crate::engine::store::{Recipient, StoredMessage};

use super::super::index::{Body, Index, Numbered};
use super::super::message::{Receivers, messages, read_set, receivers};
use super::super::receivers::Members;
use super::super::row::each;
use super::super::schema::{DONE, IN_FLIGHT, JOINED, MESSAGE, RECEIVERS, RETAINED};
use super::{Loaded, Loader};

/// What is needed to know who needs a message.
#[derive(Default)]
pub(super) struct Named {
    sets: HashMap<u32, Members>,
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
    /// Everything that names messages.
    pub(super) fn named(&mut self) -> rusqlite::Result<Named> {
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

    pub(super) fn messages(&mut self, mut named: Named) -> rusqlite::Result<()> {
        let Loaded { stored, index, damages, unused } = &mut self.loaded;
        // One client may have published very many.
        let mut authors: HashSet<Arc<Identity>> = HashSet::new();
        each(self.from, &MESSAGE, damages, |row| {
            let found = receivers(row)?;
            let (set, members) = match &found {
                Receivers::These(members) => (0, members),
                Receivers::Set(set) => {
                    (*set, named.sets.get(set).ok_or_else(|| row.damage("its receivers are not there"))?)
                }
            };
            let mut live = 0;
            for (seq, message) in messages(row)? {
                let id = message.id;
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
                        stored.queue.push(stored_message(id, (id, message.bytes()), to, sent));
                    }
                }
                if let Some(place) = named.publications.get_mut(&id.0) {
                    let mut publication = message.publication();
                    publication.author = publication.author.map(|author| {
                        let known = authors.get(&author).map(Arc::clone);
                        known.unwrap_or_else(|| {
                            authors.insert(Arc::clone(&author));
                            author
                        })
                    });
                    *place = Some(Arc::new(publication));
                } else if uses == 0 {
                    continue;
                }
                live += 1;
                if let Some(before) = index.bodies.insert(id.0, Body { seq, set, uses }) {
                    // Nobody needed it any more where it stood, but its neighbours; then it was named again, and written again.
                    unused.gone(before, index);
                }
            }
            let bundle = row.number(0)?;
            match live {
                0 => unused.bundles.push(bundle),
                1 => {}
                _ => drop(index.bundles.insert(bundle, live)),
            }
            if set != 0 && live > 0 {
                index.sets.found(set);
            }
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
                stored.queue.push(stored_message(
                    PublicationId(entry),
                    (publication.id, publication.bytes()),
                    &to,
                    sent,
                ));
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
}

fn one_more(index: &mut Index, id: u64) {
    if let Some(body) = index.bodies.get_mut(&id) {
        body.uses += 1;
    }
}

fn stored_message(
    entry: PublicationId,
    (publication, bytes): (PublicationId, usize),
    to: &Recipient,
    sent: Option<u64>,
) -> StoredMessage {
    let Recipient { qos, is_retain, .. } = *to;
    StoredMessage { entry, publication, bytes, body: None, qos, is_retain, sent }
}
