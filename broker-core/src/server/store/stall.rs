//! What waits while the store has no space, and the part of it that may be kept before its turn.
//!
//! Consumers go on, and what they have acknowledged could be deleted: that makes the space that is missing. So an end
//! of something that the store has may overtake what waits. It is only an end, it is never doubted again, and nobody
//! is told that anything is kept because of it; so if the broker is killed in between, the store is as if the rest had
//! not happened yet. A Retained Message that is cleared does not overtake: an older one that waits would come back.

use std::collections::{HashSet, VecDeque};

use crate::engine::keys::{PublicationId, SessionId};
use crate::engine::store::Record;

use super::pending::Taken;
use super::queue::Errand;

/// Ends of one transaction.
const ENDS: usize = 256;

/// Everything that was handed over and is not kept, in order.
pub(super) struct Stall {
    waiting: VecDeque<Taken>,
    /// Ends that may overtake, taken out of `waiting`.
    ends: Vec<Record>,
    /// What need not wait: reads of what the store has, and reports, which say that it is full.
    errands: Vec<Errand>,
    /// Entries of queues that the store does not have yet.
    entries: HashSet<(SessionId, PublicationId)>,
    /// Sessions of which something waits that their end must not overtake: a beginning, or a Will Message.
    sessions: HashSet<SessionId>,
    is_last: bool,
}

impl Stall {
    pub(super) fn new(stuck: Taken) -> Self {
        let mut stall = Self {
            waiting: VecDeque::new(),
            ends: Vec::new(),
            errands: Vec::new(),
            entries: HashSet::new(),
            sessions: HashSet::new(),
            is_last: false,
        };
        stall.add(stuck);
        stall
    }

    /// Whether nothing more will come.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// What comes behind everything else.
    pub(super) fn add(&mut self, mut taken: Taken) {
        self.is_last |= taken.is_last;
        let (mut ends, entries, sessions) = (Vec::new(), &mut self.entries, &mut self.sessions);
        taken.records.retain(|record| {
            let is_end = match record {
                Record::Published { publication, recipients, .. } => {
                    entries.extend(recipients.iter().map(|recipient| (recipient.session, publication.id)));
                    false
                }
                Record::Queued { session, entry, .. } => {
                    entries.insert((*session, *entry));
                    false
                }
                Record::SessionBound { session, .. } | Record::WillGone { session } => {
                    sessions.insert(*session);
                    false
                }
                Record::Done { session, entry } => !entries.contains(&(*session, *entry)),
                Record::SessionEnded { session } => !sessions.contains(session),
                Record::SessionLeft { .. }
                | Record::Subscribed { .. }
                | Record::Fed { .. }
                | Record::Unsubscribed { .. }
                | Record::InFlight { .. }
                | Record::Received { .. }
                | Record::Completed { .. }
                | Record::Released { .. } => false,
            };
            if is_end {
                ends.push(record.clone());
            }
            !is_end
        });
        self.ends.append(&mut ends);
        let is_ready = |errand: &mut Errand| match errand {
            Errand::Read(_, fetch) => {
                fetch.entries.iter().all(|entry| !entries.contains(&(fetch.id, *entry)))
            }
            Errand::Report { .. } => true,
        };
        self.errands.extend(taken.errands.extract_if(.., is_ready));
        self.waiting.push_back(taken);
    }

    /// What may be kept before everything else, a little at a time, as there is little space for it.
    pub(super) fn ends(&self) -> Option<&[Record]> {
        self.ends.chunks(ENDS).next()
    }

    /// The store has these ends.
    pub(super) fn note_ended(&mut self) {
        self.ends.drain(..self.ends.len().min(ENDS));
    }

    /// What can be done before everything else.
    pub(super) fn take_errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    /// What has to be kept next.
    pub(super) fn take_first(&mut self) -> Option<Taken> {
        self.waiting.pop_front()
    }

    /// It was not kept.
    pub(super) fn put_back(&mut self, first: Taken) {
        self.waiting.push_front(first);
    }
}
