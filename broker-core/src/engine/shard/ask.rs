//! Packets that wait for the host's verdict.

use std::sync::Arc;

use culex_codec::TopicFilter;

use crate::engine::error::CloseReason;
use crate::engine::keys::ConnectionKey;
use crate::engine::question::{
    Handshake, HookFailure, Identity, Message, MessageBounds, Pending, PendingPacket, Question, Verdict,
};
use crate::engine::session::Session;
use crate::engine::timers::Timer;

use super::inbound::Content;
use super::{Effect, Shard, Turn};

impl Shard {
    /// The host's verdict on the packet that it was asked about. One for a connection that is gone, or that waits for
    /// none, is ignored. The connection is closed for [`Verdict::Failed`], and read again for all others.
    pub fn handle_answer(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, verdict: Verdict) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(pending) = connection.pending.take() else { return };
        // The time that the hook took is not the client's.
        connection.last_packet = turn.now.tick;
        self.forget_question(key, &pending);
        let result = match (pending.packet, verdict) {
            (PendingPacket::Publish(handshake), Verdict::Deliver(message)) => {
                let qos = message.qos().min(handshake.qos());
                let content = Content {
                    topic: message.topic_name(),
                    payload: message.payload(),
                    shared: Some(message.payload()),
                    qos,
                    is_retain: message.is_retain(),
                    has_passed: !message.has_moved(),
                };
                self.take(turn, key, handshake, Some(content))
            }
            (PendingPacket::Publish(handshake), Verdict::Refused) => {
                self.stats.messages_refused += 1;
                self.take(turn, key, handshake, None)
            }
            (PendingPacket::Publish(handshake), Verdict::Dropped) => {
                self.stats.messages_dropped_by_hook += 1;
                self.take(turn, key, handshake, None)
            }
            (PendingPacket::Subscribe { packet_id, filters, beyond }, Verdict::Granted(granted)) => {
                let granted = granted.into_iter().chain(std::iter::repeat(false));
                let requests = filters.iter().zip(granted).map(|(request, is_granted)| {
                    (TopicFilter::assume_valid(&request.filter), request.qos, is_granted)
                });
                self.grant(turn, key, packet_id, requests, beyond);
                Ok(())
            }
            (_, Verdict::Failed(failure)) => Err(CloseReason::Hook(failure)),
            (PendingPacket::Publish(_), Verdict::Granted(_))
            | (PendingPacket::Subscribe { .. }, Verdict::Deliver(_) | Verdict::Refused | Verdict::Dropped) => {
                Err(CloseReason::Hook(HookFailure::Gone))
            }
        };
        match result {
            Ok(()) if self.is_reading(key) => self.effects.push_back(Effect::Resume { connection: key }),
            // Its answers wait for the store, and it for them.
            Ok(()) => {}
            Err(reason) => self.close(turn, key, reason),
        }
    }

    /// Whether the host wants to be asked about a packet of this kind of this connection.
    pub(super) fn is_asked(&self, key: ConnectionKey, kind: fn(&Self) -> bool) -> bool {
        kind(self) && self.connections.get(key).is_some_and(|connection| !connection.is_trusted)
    }

    pub(super) fn ask_publish(
        &mut self,
        turn: &Turn<'_>,
        key: ConnectionKey,
        handshake: Handshake,
        content: Content<'_>,
    ) {
        let Some(identity) = self.identity(key) else { return };
        let Content { topic, payload, shared: _, qos, is_retain, has_passed: _ } = content;
        let bounds = MessageBounds::from(&self.limits);
        let message = Message::new(identity, topic, payload, (qos, is_retain), bounds);
        self.ask(turn, key, PendingPacket::Publish(handshake), Question::Publish(message));
    }

    pub(super) fn ask_subscribe(&mut self, turn: &Turn<'_>, key: ConnectionKey, packet: PendingPacket) {
        let PendingPacket::Subscribe { filters, .. } = &packet else { return };
        let filters = Arc::clone(filters);
        let Some(identity) = self.identity(key) else { return };
        self.ask(turn, key, packet, Question::Subscribe { identity, filters });
    }

    fn ask(&mut self, turn: &Turn<'_>, key: ConnectionKey, packet: PendingPacket, question: Question) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let deadline = turn.now.tick.after(self.limits.hook_timeout);
        connection.pending = Some(Box::new(Pending { packet, deadline }));
        self.timers.arm(deadline, Timer::Answer(key));
        self.stats.questions += 1;
        self.stats.questions_open += 1;
        self.effects.push_back(Effect::Ask { connection: key, question: Box::new(question) });
    }

    /// A question has its answer, or nobody is left who waits for it.
    pub(super) fn forget_question(&mut self, key: ConnectionKey, pending: &Pending) {
        self.timers.disarm(pending.deadline, Timer::Answer(key));
        self.stats.questions_open = self.stats.questions_open.saturating_sub(1);
    }

    fn identity(&self, key: ConnectionKey) -> Option<Identity> {
        self.connected_session(key).map(Session::identity)
    }
}
