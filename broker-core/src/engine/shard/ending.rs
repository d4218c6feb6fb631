//! The end of a session. Its ClientId is free at once and nothing reaches it any more; very many filters leave the
//! routing table over several turns, because 20,000 of them at once would hold up everybody else for 10 ms.

use culex_codec::TopicFilter;

use crate::engine::keys::{RetainedVersion, SessionKey};
use crate::engine::options::SessionOptions;
use crate::engine::session::FilterMap;
use crate::engine::timers::Timer;

use super::subscribe::DELIVERIES_PER_FILTER;
use super::{Shard, Turn};

/// Filters that leave with their session if the turn has time for them: all those of nearly every session.
const FILTERS_AT_ONCE: usize = 16;

/// What is left of a session that has ended: filters whose routes lead to nobody.
#[derive(Debug)]
pub(super) struct Ending {
    key: SessionKey,
    filters: FilterMap<RetainedVersion>,
}

impl Shard {
    /// Ends a session that has no connection: its subscriptions, its queue and its Packet Identifiers are gone.
    pub(super) fn end_session(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let Some(mut session) = self.sessions.remove(key.slot, key.generation) else { return };
        if let Some(at) = session.timer {
            self.timers.disarm(at, Timer::SessionExpiry(key));
        }
        self.by_client_id.remove(&session.client_id);
        if let Some(on_disk) = &session.on_disk {
            self.paging.note_end(&mut self.stats, on_disk);
        }
        let queued = session.queued_len();
        self.note_dequeued(turn, queued, session.queued_bytes());
        self.stats.dropped_session_ended += queued as u64;
        if let Some(id) = session.id {
            self.stats.sessions_persistent = self.stats.sessions_persistent.saturating_sub(1);
            turn.commons.close_session(id);
            self.gate.record_end(id, &session.client_id);
        }
        if session.options() != SessionOptions::default() {
            turn.commons.set_options(self.id, key, SessionOptions::default());
        }
        let mut ending = Ending { key, filters: session.take_subscriptions() };
        for _ in 0..FILTERS_AT_ONCE {
            if turn.deliveries_left == 0 || !self.leave_one(turn, &mut ending) {
                break;
            }
        }
        if ending.filters.len() > 0 {
            self.endings.push_back(ending);
        }
    }

    /// Filters of ended sessions leave the routing table. They may take half of what a turn has left, so nobody
    /// subscribes faster than this.
    pub(super) fn leave_routes(&mut self, turn: &mut Turn<'_>) {
        let deliveries_kept = turn.deliveries_left / 2;
        while turn.deliveries_left > deliveries_kept {
            let Some(mut ending) = self.endings.pop_front() else { return };
            self.leave_one(turn, &mut ending);
            if ending.filters.len() > 0 {
                self.endings.push_front(ending);
            }
        }
    }

    /// `false` if there is none.
    fn leave_one(&mut self, turn: &mut Turn<'_>, ending: &mut Ending) -> bool {
        let Some(filter) = ending.filters.pop() else { return false };
        turn.commons.unsubscribe(TopicFilter::assume_valid(&filter), self.id, ending.key);
        turn.deliveries_left = turn.deliveries_left.saturating_sub(DELIVERIES_PER_FILTER);
        self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
        true
    }
}
