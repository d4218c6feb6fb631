//! What a connection may go on with when there is room: its queue, then the Retained Messages of new subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use culex_codec::{QoS, TopicFilter};

use crate::engine::connection::{Message, State};
use crate::engine::keys::SessionKey;
use crate::engine::route::{Budget, Cursor};
use crate::engine::session::Queued;
use crate::engine::store::Record;
use crate::limits::Limit;

use super::{Shard, Turn};

/// A slice of Retained Messages: what one step of one feed may look at and send.
const SLICE: Budget = Budget { messages: 256, bytes: 128 << 10, examined: 4096 };
/// What a slice costs of the turn, however little was found: looking takes time too.
const DELIVERIES_PER_SLICE: u32 = 1024;

impl Shard {
    /// Goes on where the window, the outbox or the turn had no room.
    pub(super) fn send_more(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        self.send_queued(turn, key);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        if session.feeds.is_empty() {
            return;
        }
        let Some(connection_key) = session.connection else { return };
        let Some(connection) = self.connections.get(connection_key) else { return };
        let has_room = connection.state == State::Open
            && connection.outbox.len() as u64 <= self.limits.outbox_bytes.get() / 2
            && session.waiting_len() == 0;
        let (queued_len, queued_bytes) = (session.queued_len(), session.queued_bytes());
        let (limits, options) = (session.queue_limits(&self.limits), session.options());
        let Some(mut entry) = session.feeds.first_entry().filter(|_| has_room) else { return };
        if turn.deliveries_left == 0 {
            return self.resume_later(connection_key);
        }
        // A slice fits into queue and outbox, its last message and its headers aside: the feed waits for room and never
        // drops.
        let budget = Budget {
            messages: room(limits.messages, queued_len, SLICE.messages),
            bytes: room(limits.bytes, queued_bytes, SLICE.bytes).min(room(
                self.limits.outbox_bytes,
                connection.outbox.len(),
                SLICE.bytes,
            )),
            examined: SLICE.examined,
        };
        if budget.messages == 0 || budget.bytes == 0 {
            // The queue is full, so an acknowledgement will come that makes room.
            return;
        }
        turn.deliveries_left = turn.deliveries_left.saturating_sub(DELIVERIES_PER_SLICE);
        let feed = entry.get_mut();
        let from = std::mem::replace(&mut feed.cursor, Cursor::End);
        let (qos, up_to) = (feed.qos, feed.up_to);
        let mut slice = Vec::new();
        let filter = TopicFilter::assume_valid(entry.key());
        let next = turn.commons.retained(filter, from, up_to, budget, &mut slice);
        let durable = session.id;
        if let Some(session) = durable {
            let (filter, cursor) = (entry.key().clone(), next.clone());
            self.gate.record(Record::Fed { session, filter, cursor });
        }
        if next == Cursor::End {
            entry.remove();
        } else {
            entry.get_mut().cursor = next;
        }
        slice.retain(|(_, publication)| options.takes(publication.topic()));
        let found = slice.len();
        slice.retain(|(_, publication)| {
            self.gatekeeper.lets_receive(session, publication.topic())
                && self.gatekeeper.lets_stay(publication)
        });
        self.stats.deliveries_denied += (found - slice.len()) as u64;
        let has_more = !session.feeds.is_empty();
        if !has_more {
            // A map that was emptied keeps its first node, almost a kilobyte of every idle session.
            session.feeds = BTreeMap::new();
        }
        for (_, publication) in slice {
            match options.received_with(publication.qos, qos) {
                // [MQTT-3.3.1-8]: RETAIN is set for a new subscription.
                QoS::AtMostOnce => {
                    self.send_unacknowledged(connection_key, &Message::from(&*publication), true)
                }
                qos @ (QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                    let mut number = publication.id;
                    if let Some(session) = durable {
                        // It may be in the queue already, live or because of another subscription.
                        number = turn.commons.publication_id();
                        let publication = Arc::clone(&publication);
                        self.gate.record(Record::Queued { session, entry: number, publication, qos });
                    }
                    self.push(turn, key, Queued::new(number, publication, qos, true));
                }
            }
        }
        if has_more {
            self.resume_later(connection_key);
        }
    }
}

/// What is left of a limit, but not more than `most`.
fn room(limit: Limit, used: usize, most: usize) -> usize {
    usize::try_from(limit.get().saturating_sub(used as u64)).unwrap_or(usize::MAX).min(most)
}
