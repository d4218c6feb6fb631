//! The end of a connection.

use crate::engine::connection::{Message, WaitsFor, Will};
use crate::engine::error::CloseReason;
use crate::engine::keys::{ConnectionKey, PublicationId, SessionKey};
use crate::engine::store::Record;
use crate::engine::time::Tick;
use crate::engine::timers::Timer;
use crate::engine::topics::{is_of_host, is_reserved};

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
        if let Some(until) = connection.pace.as_ref().and_then(|pace| pace.pause) {
            self.timers.disarm(until, Timer::Pace(key));
        }
        if connection.parked == Some(WaitsFor::Queue) {
            self.stats.publishers_waiting = self.stats.publishers_waiting.saturating_sub(1);
        }
        if let Some(pending) = &connection.pending {
            self.forget_question(key, pending);
        }
        self.stats.partial_bytes =
            self.stats.partial_bytes.saturating_sub(u64::from(connection.partial_bytes));
        match reason {
            CloseReason::Malformed(_) => self.stats.connections_malformed += 1,
            CloseReason::Protocol(_) | CloseReason::Transport(_) => {
                self.stats.connections_protocol_error += 1
            }
            CloseReason::KeepAlive => self.stats.connections_keep_alive += 1,
            CloseReason::Hook(_) => self.stats.connections_hook_failed += 1,
            CloseReason::PartialPacket => self.stats.connections_partial += 1,
            CloseReason::StoreFull => self.stats.connections_stalled += 1,
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
        let (id, expiry_s) = (session.id, session.expiry_s);
        self.event(Event::Disconnected { client_id, peer: connection.peer, reason });
        if let Some(session) = id
            && will.is_some()
        {
            let batch = self.gate.record(Record::WillGone { session });
            if let Some(session) = self.session_mut(session_key) {
                session.recorded_in = batch;
            }
        }
        // [MQTT-3.14.4-3]: DISCONNECT discards the will. Every other end publishes it [MQTT-3.1.2-8].
        if let Some(will) = will
            && reason != CloseReason::Disconnected
        {
            self.publish_will(turn, session_key, &will);
        }
        match expiry_s {
            0 => self.end_session(turn, session_key), // [MQTT-3.1.2-6]
            u32::MAX => self.page_out(session_key),
            seconds => {
                if let Some(session) = id {
                    self.gate.record(Record::SessionLeft { session, at: turn.now.wall });
                }
                let at = Tick(turn.now.tick.0.saturating_add(u64::from(seconds) * 1000));
                self.arm_expiry(session_key, at);
                self.page_out(session_key);
            }
        }
    }

    pub(super) fn arm_expiry(&mut self, key: SessionKey, at: Tick) {
        if let Some(session) = self.session_mut(key) {
            session.timer = Some(at);
            self.timers.arm(at, Timer::SessionExpiry(key));
        }
    }

    /// Publishes the Will Message of a session that still exists.
    pub(super) fn publish_will(&mut self, turn: &mut Turn<'_>, key: SessionKey, will: &Will) {
        // Clients of the host have no will.
        if is_reserved(will.topic().as_str()) || is_of_host(will.topic().as_str()) {
            self.stats.messages_reserved_topic += 1;
            return;
        }
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let rights = self.gatekeeper.rights(session);
        if rights.is_some_and(|rights| !rights.may_publish(will.topic())) {
            // The right was taken away since CONNECT.
            self.stats.messages_refused += 1;
            return;
        }
        self.stats.wills_published += 1;
        let inbound = Inbound {
            message: Message {
                id: PublicationId(0),
                topic: will.topic(),
                payload: &will.payload,
                shared: Some(&will.payload),
                kept: None,
            },
            qos: will.qos,
            is_retain: will.is_retain,
            publisher: None,
            author: Some(key),
            incoming: None,
            waits: false,
        };
        self.route(turn, &inbound);
    }
}
