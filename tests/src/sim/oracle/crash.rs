//! What a crash may cost: nothing that was acknowledged, unless the disk had not got it yet; nothing comes back that was
//! deleted. What the store has is compared with what clients were told, and from then on they are judged as ever.

use culex_core::engine::error::CloseReason;
use culex_core::engine::store::{Stored, StoredSession};
use culex_core::engine::time::Now;

use crate::sim::client::{Client, Session, State};
use crate::sim::names::{FILTERS, TOPICS};
use crate::sim::report::Reach;

use super::expiry::Away;
use super::reader::Reader;
use super::{Oracle, WILL_PUBLISHERS, message_number};

/// What a session's subscription must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Absent,
    Present,
    WithQos(u8),
    Unknown,
}

impl Oracle {
    /// The disk has everything that clients were told of.
    pub(in crate::sim) fn on_sync(&mut self) {
        self.synced = self.tick();
    }

    /// A broker has ended; `stored` is what the next one begins with. If something was lost that had been committed, all
    /// that clients were told since the disk had it last is in doubt.
    pub(in crate::sim) fn on_crash(
        &mut self,
        clients: &[Client],
        stored: &Stored,
        dropped: u64,
        has_lost: bool,
        tick: u64,
    ) {
        let now = self.tick();
        let through = if has_lost { self.synced } else { now };
        self.crashes += 1;
        self.dropped_before += dropped;
        for message in self.messages.iter_mut().filter(|message| message.is_handled) {
            message.is_handled = message.closed.is_none_or(|closed| closed <= through);
        }
        for client in clients {
            let kept = stored.sessions.iter().find(|session| *session.client_id == *client.id);
            if !self.may_be_gone(client.index, tick) {
                self.check_kept(client, kept, through);
            }
        }
        self.outlive_links(dropped > 0);
        self.crash_links(stored, through, has_lost);
        self.check_kept_retained(stored);
        for reader in &mut self.readers {
            if has_lost {
                reader.away = Some(Away::UNKNOWN);
            }
            reader.begin_order(dropped > 0);
        }
    }

    /// Another broker begins.
    pub(in crate::sim) fn on_start(&mut self, clients: &[Client], stored: &Stored, shards: u16, now: Now) {
        self.count_on(clients, stored, now);
        self.restored = (stored.sessions.len() as u64, stored.retained.len() as u64);
        let shards = self.misses.len().max(usize::from(shards));
        self.misses.resize(shards, Vec::new());
    }

    pub(in crate::sim) fn move_reader(&mut self, client: usize, shard: u16) {
        self.readers[client].shard = shard;
    }

    /// Everything has come to rest: what clients have got and confirmed is kept no longer.
    pub(in crate::sim) fn check_emptied(&mut self, clients: &[Client], stored: &Stored) {
        for client in clients.iter().filter(|client| client.state == State::Online) {
            let kept = stored.sessions.iter().find(|session| *session.client_id == *client.id);
            if let Some(session) = kept.filter(|kept| !kept.queue.is_empty() || !kept.received.is_empty()) {
                self.fail(format!("{} has everything, but kept is {session:?}", client.id));
            }
        }
    }

    fn check_kept(&mut self, client: &Client, kept: Option<&StoredSession>, through: u64) {
        let reader = &self.readers[client.index];
        let is_known = client.session == Session::Present
            && !client.must_clean
            && reader.since.is_some_and(|since| since <= through);
        let is_clean = client.state == State::Online && client.is_clean && reader.connack <= through;
        let problem = match kept {
            Some(session) if is_clean => Some(format!("is there, but was ended: {session:?}")),
            Some(session) if is_known => check_session(client, reader, session, through),
            None if is_known => Some("is lost".to_owned()),
            Some(_) | None => None,
        };
        self.reach(match (is_known, kept) {
            (true, Some(_)) => Reach::KeptSession,
            (true, None) | (false, _) => Reach::KeptUnknown,
        });
        if let Some(problem) = problem {
            self.fail(format!("the session of {} {problem}", client.id));
        }
    }

    fn check_kept_retained(&mut self, stored: &Stored) {
        if self.may_refuse_retained {
            return;
        }
        for (topic, name) in TOPICS.iter().enumerate() {
            let here =
                stored.retained.iter().filter(|(_, publication)| publication.topic().as_str() == *name);
            let numbers = here.filter_map(|(_, publication)| number_of(&publication.payload)).collect();
            self.check_retained(topic, numbers);
        }
    }

    fn outlive_links(&mut self, has_dropped: bool) {
        for link in self.links.iter_mut().filter(|link| !link.is_outlived) {
            (link.is_outlived, link.has_dropped) = (true, has_dropped);
        }
    }

    /// All connections end. Will Messages that the store has are going to be published; others are lost.
    fn crash_links(&mut self, stored: &Stored, through: u64, has_lost: bool) {
        self.wills_due = 0;
        self.left_wills.clear();
        let kept: Vec<usize> = stored
            .sessions
            .iter()
            .filter_map(|session| session.will.as_ref())
            .filter_map(|will| number_of(&will.payload))
            .collect();
        let now = self.tick();
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let is_open = link.is_attached && link.closed.is_none();
            if is_open {
                link.closed = Some(CloseReason::Lost);
            }
            let Some(will) = link.will else { continue };
            let is_promised = !link.is_clean && link.connack.is_some_and(|connack| connack <= through);
            let message = &mut self.messages[will];
            // A connection that is closed published its will, or discarded it, and the store may not know yet.
            let may_be_unknown = has_lost || message.closed.is_none_or(|closed| closed > self.rested);
            if kept.contains(&will) {
                let is_right = link.is_attached && !link.is_clean && (is_open || may_be_unknown);
                link.closed = Some(CloseReason::Lost);
                message.repeats += u32::from(message.closed.take().is_some());
                message.is_handled = false;
                self.left_wills.push(will);
                if !is_right {
                    self.fail(format!("the will of L{index} is back"));
                }
                self.reach(if is_open { Reach::WillKept } else { Reach::WillAgain });
            } else if is_open {
                link.is_will_lost = true;
                message.closed = Some(now);
                message.is_handled = false;
                if is_promised {
                    self.fail(format!("the will of L{index} is lost"));
                }
                self.reach(Reach::WillLost);
            } else if !is_promised && may_be_unknown {
                // It was published, and nobody was told that it, or even its connection, is kept.
                message.is_handled = false;
            }
        }
    }

    /// A shard of a new broker has published the Will Messages that were left.
    pub(in crate::sim) fn on_left_wills(&mut self, shard: u16, count: usize) {
        let now = self.tick();
        let (mine, others): (Vec<usize>, Vec<usize>) = std::mem::take(&mut self.left_wills)
            .into_iter()
            .partition(|will| self.readers[self.messages[*will].publisher - WILL_PUBLISHERS].shard == shard);
        if mine.len() != count {
            self.fail(format!("s{shard} publishes {count} wills that were left, not {}", mine.len()));
        }
        for will in mine {
            self.messages[will].is_handled = true;
            self.messages[will].closed = Some(now);
            self.wills_due += 1;
        }
        self.left_wills = others;
    }

    pub(in crate::sim) fn check_left_wills(&mut self) {
        if !self.left_wills.is_empty() {
            self.fail(format!("wills are not published: {:?}", self.left_wills));
        }
    }
}

fn check_session(client: &Client, reader: &Reader, session: &StoredSession, through: u64) -> Option<String> {
    if session.user_name.as_deref() != client.user_name().as_deref() {
        return Some(format!("belongs to {:?}", session.user_name));
    }
    let mut filters = FILTERS.iter().enumerate();
    filters.find_map(|(filter, name)| {
        let expected = expected(reader, filter, through);
        let kept = session.subscriptions.iter().find(|kept| &*kept.filter == *name);
        let is_right = match (expected, kept) {
            (Expected::Unknown, _) | (Expected::Present, Some(_)) | (Expected::Absent, None) => true,
            (Expected::WithQos(qos), Some(kept)) => kept.qos as u8 == qos,
            (Expected::Absent, Some(_)) | (Expected::Present | Expected::WithQos(_), None) => false,
        };
        (!is_right).then(|| format!("has {kept:?} for {name}, which must be {expected:?}"))
    })
}

/// What must be kept of a subscription by what was acknowledged up to a stamp.
fn expected(reader: &Reader, filter: usize, through: u64) -> Expected {
    let is_told = |stamp: Option<u64>| stamp.is_some_and(|stamp| stamp <= through);
    let mine = || reader.intervals.iter().filter(|it| it.filter == filter);
    let last = mine().rfind(|it| is_told(it.suback) && !it.is_refused);
    let since = last.map_or(0, |last| last.sent);
    let has_later = mine().any(|it| it.sent > since && !is_told(it.suback) && !is_told(it.unsuback));
    match last {
        Some(last) if last.unsubscribe_sent.is_none() && !has_later => Expected::WithQos(last.qos),
        Some(last) if last.unsubscribe_sent.is_none() => Expected::Present,
        Some(last) if !is_told(last.unsuback) => Expected::Unknown,
        Some(_) | None if has_later => Expected::Unknown,
        Some(_) | None => Expected::Absent,
    }
}

fn number_of(payload: &[u8]) -> Option<usize> {
    message_number(std::str::from_utf8(payload).ok()?)
}
