//! The end of a connection, and the end of a session.

use crate::engine::connection::{Message, Will};
use crate::engine::error::CloseReason;
use crate::engine::keys::{ConnectionKey, PublicationId, SessionKey};
use crate::engine::store::Record;
use crate::engine::time::Tick;
use crate::engine::timers::Timer;
use crate::engine::topics::is_reserved;

use super::deliver::Inbound;
use super::{Effect, Event, Shard, Turn};

impl Shard {
    /// Ends a connection at the host's wish. Its Will Message is published, as it sent no DISCONNECT.
    pub fn disconnect(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, reason: CloseReason) {
        self.close(turn, key, reason);
    }

    pub(super) fn close(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, reason: CloseReason) {
        let Some(connection) = self.connections.remove(key) else { return };
        self.end_burst(connection.burst_bytes);
        if let Some(at) = connection.timer {
            self.timers.disarm(at, Timer::KeepAlive(key));
        }
        if let Some(pending) = &connection.pending {
            self.forget_question(key, pending);
        }
        self.stats.partial_bytes =
            self.stats.partial_bytes.saturating_sub(u64::from(connection.partial_bytes));
        match reason {
            CloseReason::Malformed(_) => self.stats.connections_malformed += 1,
            CloseReason::Protocol(_) => self.stats.connections_protocol_error += 1,
            CloseReason::KeepAlive => self.stats.connections_keep_alive += 1,
            CloseReason::Hook(_) => self.stats.connections_hook_failed += 1,
            CloseReason::PartialPacket => self.stats.connections_partial += 1,
            CloseReason::Internal => self.stats.panics += 1,
            CloseReason::Disconnected
            | CloseReason::Lost
            | CloseReason::TakenOver
            | CloseReason::Refused(_)
            | CloseReason::Administrative => {}
        }
        let session_key = connection.session;
        self.closing.push(Effect::Close { connection: key, outbox: connection.outbox, reason });
        let Some(session) = self.session_mut(session_key) else { return };
        session.connection = None;
        let will = session.will.take();
        let client_id = session.client_id.clone();
        let expiry_s = session.expiry_s;
        self.event(Event::Disconnected { client_id, peer: connection.peer, reason });
        // [MQTT-3.14.4-3]: DISCONNECT discards the will. Every other end publishes it [MQTT-3.1.2-8].
        if let Some(will) = will
            && reason != CloseReason::Disconnected
        {
            self.publish_will(turn, &will);
        }
        match expiry_s {
            0 => self.end_session(turn, session_key), // [MQTT-3.1.2-6]
            u32::MAX => {}
            seconds => self.arm_expiry(turn, session_key, seconds),
        }
    }

    fn arm_expiry(&mut self, turn: &Turn<'_>, key: SessionKey, seconds: u32) {
        let at = Tick(turn.now.tick.0.saturating_add(u64::from(seconds) * 1000));
        if let Some(session) = self.session_mut(key) {
            session.timer = Some(at);
            self.timers.arm(at, Timer::SessionExpiry(key));
        }
    }

    fn publish_will(&mut self, turn: &mut Turn<'_>, will: &Will) {
        if is_reserved(will.topic().as_str()) {
            self.stats.messages_reserved_topic += 1;
            return;
        }
        self.stats.wills_published += 1;
        let inbound = Inbound {
            message: Message {
                id: PublicationId(0),
                topic: will.topic(),
                payload: &will.payload,
                shared: Some(&will.payload),
            },
            qos: will.qos,
            is_retain: will.is_retain,
            publisher: None,
            incoming: None,
        };
        self.route(turn, &inbound);
    }

    /// Ends a session that has no connection: its subscriptions, its queue and its Packet Identifiers are gone.
    pub(super) fn end_session(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let Some(session) = self.sessions.remove(key.slot, key.generation) else { return };
        if let Some(at) = session.timer {
            self.timers.disarm(at, Timer::SessionExpiry(key));
        }
        self.by_client_id.remove(&session.client_id);
        for filter in session.filters() {
            turn.commons.unsubscribe(filter, self.id, key);
        }
        self.stats.subscriptions =
            self.stats.subscriptions.saturating_sub(session.subscription_count() as u64);
        let queued = session.sender.queued_len();
        self.note_dequeued(turn, queued, session.sender.queued_bytes());
        self.stats.dropped_session_ended += queued as u64;
        if let Some(id) = session.id {
            self.stats.sessions_persistent = self.stats.sessions_persistent.saturating_sub(1);
            turn.commons.close_session(id);
            self.gate.record(Record::SessionEnded { session: id });
        }
    }
}
