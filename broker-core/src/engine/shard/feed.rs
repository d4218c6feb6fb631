//! What a connection may go on with when there is room: its queue, then the Retained Messages of new subscriptions.

use std::sync::Arc;

use culex_codec::QoS;

use crate::engine::connection::{Message, State};
use crate::engine::keys::SessionKey;
use crate::engine::route::{Budget, Cursor};
use crate::engine::session::Queued;
use crate::engine::store::Record;

use super::{Shard, Turn};

/// A slice of Retained Messages: what one step of one feed may look at and send.
const SLICE: Budget = Budget { messages: 256, bytes: 128 << 10, examined: 4096 };

impl Shard {
    /// Goes on where the window, the outbox or the turn had no room.
    pub(super) fn send_more(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        self.send_queued(turn, key);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let Some(connection_key) = session.connection else { return };
        let Some(connection) = self.connections.get(connection_key) else { return };
        let has_room = connection.state == State::Open
            && connection.outbox.len() as u64 <= self.limits.outbox_bytes.get() / 2
            && session.sender.waiting_len() == 0;
        let Some(feed) = session.feeds.first_mut().filter(|_| has_room) else { return };
        let from = std::mem::replace(&mut feed.cursor, Cursor::End);
        let (qos, up_to) = (feed.qos, feed.up_to);
        // A slice fits into the queue: the feed waits for room, it never drops.
        let room = self.limits.queue_messages.get().saturating_sub(session.sender.queued_len() as u64).max(1);
        let messages = SLICE.messages.min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut slice = Vec::new();
        let budget = Budget { messages, ..SLICE };
        let next = turn.commons.retained(feed.filter(), from, up_to, budget, &mut slice);
        if next == Cursor::End {
            session.feeds.remove(0);
        } else {
            feed.cursor = next;
        }
        let has_more = !session.feeds.is_empty();
        let durable = session.id;
        for (_, publication) in slice {
            match publication.qos.min(qos) {
                // [MQTT-3.3.1-8]: RETAIN is set for a new subscription.
                QoS::AtMostOnce => self.send_at_most_once(key, &Message::from(&*publication), true),
                qos @ (QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                    if let Some(session) = durable {
                        let publication = Arc::clone(&publication);
                        self.gate.record(Record::Queued { session, publication, qos });
                    }
                    self.enqueue(turn, key, qos, Queued { publication, is_retain: true });
                }
            }
        }
        if has_more {
            self.resume_later(connection_key);
        }
    }
}
