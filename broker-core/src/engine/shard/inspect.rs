//! What an operator asks of a shard, and what he may end.
//!
//! Every call is bounded in what it looks at, so a list of a million sessions never holds up a turn.

use culex_codec::ProtocolVersion;

use crate::engine::error::CloseReason;
use crate::engine::keys::{ConnectionKey, SessionKey};
use crate::engine::session::Session;
use crate::engine::time::WallTime;

use super::{Shard, Turn};

/// Slots that one call of [`Shard::sessions_from`] looks at.
const SLOTS_EXAMINED: usize = 4096;

/// A session and, if there is one, its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The ClientId.
    pub client_id: Box<str>,
    /// The user name of its CONNECT.
    pub user_name: Option<Box<str>>,
    /// Seconds that it outlives its connection; 0 it does not, `u32::MAX` for ever.
    pub expiry_s: u32,
    /// Its subscriptions.
    pub subscriptions: u64,
    /// QoS 1 and 2 messages that wait or are in flight towards the client, and their bytes (topic and payload).
    pub queue_messages: u64,
    /// See `queue_messages`.
    pub queue_bytes: u64,
    /// Whether its queue is full, and whoever publishes to it waits ([`WhenFull::Block`](crate::limits::WhenFull::Block)).
    pub queue_is_full: bool,
    /// Of `queue_messages` those whose topic and payload only the store has.
    pub queue_on_disk: u64,
    /// Those in flight.
    pub in_flight: u64,
    /// When the message was accepted that is in flight for the longest time, or waits for it; `None` if nothing waits, if
    /// the session does not want to know (see [`SessionOptions::max_age_ms`](crate::engine::SessionOptions::max_age_ms)),
    /// or while only the store has the message.
    pub oldest_at: Option<WallTime>,
    /// The Network Connection; `None` while the client is away.
    pub connection: Option<ConnectionInfo>,
}

/// A Network Connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address, or what stands for it.
    pub peer: Box<str>,
    /// The protocol version.
    pub version: ProtocolVersion,
    /// Keep Alive in seconds; 0 is off.
    pub keep_alive_s: u16,
    /// When its CONNECT was accepted.
    pub connected_at: WallTime,
    /// Bytes that wait to be written to it.
    pub outbox_bytes: u64,
}

impl Shard {
    /// The session of a ClientId.
    pub fn session_info(&self, client_id: &str) -> Option<SessionInfo> {
        let key = self.by_client_id.get(client_id)?;
        self.session(*key).map(|session| self.info_of(session))
    }

    /// Appends at most `max` sessions, in the order of their slots and from `slot` on; `Some` is the slot to go on with.
    /// `max` may be reached by none, if many slots are empty. A session that is there all the time is found exactly
    /// once.
    pub fn sessions_from(
        &self,
        slot: u32,
        max: usize,
        is_connected: bool,
        out: &mut Vec<SessionInfo>,
    ) -> Option<u32> {
        let mut left = max;
        for (slot, session) in self.sessions.slots_from(slot).take(SLOTS_EXAMINED) {
            if left == 0 {
                return Some(slot);
            }
            if let Some(session) = session.filter(|session| !is_connected || session.connection.is_some()) {
                out.push(self.info_of(session));
                left -= 1;
            }
        }
        let next = slot.saturating_add(u32::try_from(SLOTS_EXAMINED).unwrap_or(u32::MAX));
        self.sessions.slots_from(next).next().map(|(slot, _)| slot)
    }

    /// At most `max` Topic Filters of a session in byte order, those behind `after`; `None` if there is no such session.
    /// Cost: O(subscriptions of the session).
    pub fn filters_of(&self, client_id: &str, after: Option<&str>, max: usize) -> Option<Vec<Box<str>>> {
        let key = self.by_client_id.get(client_id)?;
        let filters = self.session(*key)?.filters().map(|filter| filter.as_str());
        let wanted = filters.filter(|filter| after.is_none_or(|after| *filter > after));
        Some(wanted.take(max).map(Into::into).collect())
    }

    /// Ends the connection of a ClientId; `false` if it has none. Its Will Message is published and a session that
    /// outlives its connection stays.
    pub fn disconnect_client(&mut self, turn: &mut Turn<'_>, client_id: &str) -> bool {
        let Some((_, Some(connection))) = self.found(client_id) else { return false };
        self.disconnect(turn, connection, CloseReason::Administrative);
        true
    }

    /// Ends the session of a ClientId with its subscriptions and its queue, and its connection first; `false` if there
    /// is none.
    pub fn end_client(&mut self, turn: &mut Turn<'_>, client_id: &str) -> bool {
        let Some((session, connection)) = self.found(client_id) else { return false };
        if let Some(connection) = connection {
            self.disconnect(turn, connection, CloseReason::Administrative);
        }
        self.end_session(turn, session);
        true
    }

    fn found(&self, client_id: &str) -> Option<(SessionKey, Option<ConnectionKey>)> {
        let key = *self.by_client_id.get(client_id)?;
        self.session(key).map(|session| (key, session.connection))
    }

    fn info_of(&self, session: &Session) -> SessionInfo {
        let connection = session.connection.and_then(|key| self.connections.get(key));
        SessionInfo {
            client_id: session.client_id.clone(),
            user_name: session.user_name.clone(),
            expiry_s: session.expiry_s,
            subscriptions: session.subscription_count() as u64,
            queue_messages: session.queued_len() as u64,
            queue_bytes: session.queued_bytes() as u64,
            queue_is_full: session.is_full,
            queue_on_disk: session.on_disk.as_ref().map_or(0, |on_disk| on_disk.tail_len() + on_disk.bare)
                as u64,
            in_flight: session.sender.in_flight_len() as u64,
            oldest_at: session.oldest_at(),
            connection: connection.map(|connection| ConnectionInfo {
                peer: connection.peer.clone(),
                version: connection.version,
                keep_alive_s: connection.keep_alive_s(),
                connected_at: connection.connected_at,
                outbox_bytes: connection.outbox.len() as u64,
            }),
        }
    }
}
