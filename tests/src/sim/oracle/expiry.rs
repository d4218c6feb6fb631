//! Sessions that do not last for ever: none is gone too early, and none is there too late, however often the broker is
//! started again meanwhile. Between two brokers the wall clock counts, whatever it says.

use culex_core::engine::store::Stored;
use culex_core::engine::time::Now;

use crate::sim::broker::Broker;
use crate::sim::client::{Client, Session};
use crate::sim::report::Reach;

use super::Oracle;

/// A session without a connection. All bounds are milliseconds, of the wall clock or of the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// It was left not before the first and not after the second, by the wall clock.
    left: (u64, u64),
    /// It ends not before the first and not after the second.
    due: (u64, u64),
    /// This broker saw its connection end.
    is_seen: bool,
}

impl Away {
    /// The disk has lost when it was left, or that it was not.
    pub(super) const UNKNOWN: Self = Self { left: (0, u64::MAX), due: (0, u64::MAX), is_seen: false };
}

impl Oracle {
    /// The sessions of this client last so long.
    pub(in crate::sim) fn set_expiry(&mut self, client: usize, seconds: u32) {
        self.readers[client].expiry_ms = (seconds != u32::MAX).then(|| u64::from(seconds) * 1000);
    }

    /// A connection has ended at `now`.
    pub(super) fn leave(&mut self, link: usize, now: u64) {
        let client = self.links[link].client;
        let is_connected = self
            .links
            .iter()
            .any(|other| other.client == client && other.is_attached && other.closed.is_none());
        let expiry = self.readers[client].expiry_ms.filter(|_| !self.links[link].is_clean && !is_connected);
        let wall = now + self.wall_offset;
        self.readers[client].away = expiry.map(|expiry| {
            let due = now + expiry;
            Away { left: (wall, wall), due: (due, due), is_seen: true }
        });
        if expiry.is_some() {
            let reader = &mut self.readers[client];
            reader.left_since = Some(widest(reader.left_since, (wall, wall)));
        }
    }

    /// A connection is attached at `now`: its session may have expired before.
    pub(super) fn come_back(&mut self, link: usize, now: u64) {
        let client = self.links[link].client;
        let away = self.readers[client].away.take();
        self.links[link].may_have_expired = away.is_some_and(|away| now >= away.due.0);
    }

    pub(in crate::sim) fn may_have_expired(&self, link: Option<usize>) -> bool {
        link.is_some_and(|link| self.links[link].may_have_expired)
    }

    /// Whether a connection may have begun another session without its client knowing, which asks for a clean start.
    pub(in crate::sim) fn may_have_begun_anew(&self, client: usize) -> bool {
        let mine = self.links.iter().rev().filter(|link| link.client == client);
        mine.take_while(|link| link.connack.is_none()).any(|link| link.may_have_expired)
    }

    /// Whether the session of a client may be gone by now.
    pub(super) fn may_be_gone(&self, client: usize, now: u64) -> bool {
        let is_due = |away: Away| now >= away.due.0;
        self.readers[client].away.is_some_and(is_due) || self.may_have_begun_anew(client)
    }

    /// Another broker begins at `now`, and counts on.
    pub(super) fn count_on(&mut self, clients: &[Client], stored: &Stored, now: Now) {
        self.wall_offset = now.wall.0 - now.tick.0;
        let alive = stored.alive_at.map_or(now.wall.0, |at| at.0);
        for client in clients {
            let reader = &mut self.readers[client.index];
            let is_stored = stored.sessions.iter().any(|session| *session.client_id == *client.id);
            let Some(expiry) = reader.expiry_ms.filter(|_| is_stored) else {
                // If it may have ended, it has.
                reader.away = reader.away.map(|away| Away { due: (0, u64::MAX), ..away });
                continue;
            };
            let left = match reader.away {
                None => (alive, alive),
                // The store may not know of it; then it knows that the broker lived.
                Some(away) if away.is_seen || self.started > self.rested => {
                    (away.left.0.min(alive), away.left.1.max(alive))
                }
                Some(away) => away.left,
            };
            // A connection without CONNACK may be unknown too.
            let left = widest(reader.left_since, left);
            reader.left_since = Some(left);
            let due = |left: u64| now.tick.0 + expiry.saturating_sub(now.wall.0.saturating_sub(left));
            reader.away = Some(Away { left, due: (due(left.0), due(left.1)), is_seen: false });
        }
        self.started = self.tick();
    }

    /// Everything has come to rest.
    pub(in crate::sim) fn check_expiry(&mut self, clients: &[Client], broker: &Broker) {
        let now = broker.host.borrow().now.tick.0;
        for client in clients {
            let Some(away) = self.readers[client.index].away else { continue };
            let is_there =
                broker.shards[usize::from(client.shard)].borrow().session_info(&client.id).is_some();
            let is_known = client.session == Session::Present && !client.must_clean;
            if now < away.due.0 && is_known {
                self.reach(Reach::NotExpired);
                if !is_there {
                    self.fail(format!("the session of {} is gone at {now}: {away:?}", client.id));
                }
            } else if now > away.due.1 {
                self.reach(Reach::Expired);
                if is_there {
                    self.fail(format!("the session of {} is there at {now}: {away:?}", client.id));
                }
            }
        }
    }
}

fn widest(first: Option<(u64, u64)>, other: (u64, u64)) -> (u64, u64) {
    first.map_or(other, |first| (first.0.min(other.0), first.1.max(other.1)))
}
