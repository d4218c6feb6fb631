//! Sessions from before a restart.
//!
//! Number and hash keys of the shards may differ from those before: whoever restores asks [`shard_of`](super::shard_of)
//! again. The store has all of it, but for one thing: since when a session is alone whose connection ended with the broker.

use std::sync::Arc;

use culex_codec::TopicFilter;

use crate::engine::keys::SessionKey;
use crate::engine::options::SessionOptions;
use crate::engine::qos::Restore;
use crate::engine::route::{RouteOptions, Subscriber};
use crate::engine::session::{Feed, Queued, Session, Stub};
use crate::engine::store::{Record, StoredMessage, StoredSession};
use crate::engine::time::{Tick, WallTime};

use super::{Shard, Turn};

impl Shard {
    /// Takes a session over from the store, with its subscriptions, queue and Packet Identifiers, whatever the limits say
    /// now. `alive_at` is when the broker is known to have been alive last: see
    /// [`Stored::alive_at`](crate::engine::store::Stored::alive_at). To be called before there is any connection; its
    /// Will Message is published by [`Shard::publish_left_wills`].
    ///
    /// `false` if the shard has a session of this ClientId already; then nothing changes.
    pub fn restore(
        &mut self,
        turn: &mut Turn<'_>,
        stored: StoredSession,
        alive_at: Option<WallTime>,
    ) -> bool {
        if self.by_client_id.contains_key(&stored.client_id) {
            return false;
        }
        let StoredSession { id, client_id, user_name, is_trusted, expiry_s, options, will, left_at, .. } =
            stored;
        // Who left before there was this limit is not here to be told.
        let longest = if is_trusted { u32::MAX } else { self.limits.session_expiry_s() };
        let is_shortened = expiry_s > longest;
        let expiry_s = expiry_s.min(longest);
        if is_shortened {
            self.gate.record(Record::SessionBound {
                session: id,
                client_id: client_id.clone(),
                user_name: user_name.clone(),
                is_trusted,
                expiry_s,
                options,
                will: will.clone(),
            });
        }
        let mut session =
            Session::new(client_id.clone(), self.limits.in_flight, self.limits.incoming_in_flight);
        session.id = Some(id);
        session.user_name = user_name;
        session.is_trusted = is_trusted;
        session.expiry_s = expiry_s;
        session.set_options(options);
        session.will = will;
        for subscription in &stored.subscriptions {
            let feed = subscription.feed.as_ref();
            let feed = feed.map(|feed| Feed {
                qos: subscription.qos,
                up_to: feed.up_to,
                cursor: feed.cursor.clone(),
            });
            session.restore_subscription(&subscription.filter, feed);
        }
        for packet_id in stored.incoming {
            session.receiver.restore(packet_id);
        }
        refill(&mut session, stored.queue, &stored.received);
        self.stats.queue_messages += session.queued_len() as u64;
        self.stats.queue_bytes += session.queued_bytes() as u64;
        self.note_restored(&mut session);
        let Some((slot, generation)) = self.sessions.insert(session) else { return false };
        let key = SessionKey { slot, generation };
        self.by_client_id.insert(client_id, key);
        self.stats.sessions_persistent += 1;
        if options != SessionOptions::default() {
            turn.commons.set_options(self.id, key, options);
        }
        for subscription in &stored.subscriptions {
            let qos = subscription.qos;
            let subscriber = Subscriber {
                shard: self.id,
                session: key,
                durable: Some(id),
                options: RouteOptions { qos, no_local: false, retain_as_published: false },
                subscription_id: None,
            };
            turn.commons.subscribe(TopicFilter::assume_valid(&subscription.filter), subscriber);
        }
        self.stats.subscriptions += stored.subscriptions.len() as u64;
        self.page_out(key);
        self.queue_room.restore(turn.commons, &self.stats);
        self.note_length(turn.now.tick, key);
        if expiry_s != u32::MAX {
            let at = left_at.or(alive_at).unwrap_or(turn.now.wall);
            if left_at.is_none() || is_shortened {
                // The next broker must not count from the end of this one.
                self.gate.record(Record::SessionLeft { session: id, at });
            }
            let elapsed_ms = turn.now.wall.0.saturating_sub(at.0);
            let left_ms = (u64::from(expiry_s) * 1000).saturating_sub(elapsed_ms);
            self.arm_expiry(key, Tick(turn.now.tick.0.saturating_add(left_ms)));
        }
        true
    }

    /// Publishes the Will Messages of connections that ended with the broker [MQTT-3.1.2-8]; says how many. To be called
    /// when all shards have their sessions, so that every subscription gets them.
    pub fn publish_left_wills(&mut self, turn: &mut Turn<'_>) -> usize {
        let keys: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, _, session)| session.will.is_some() && session.connection.is_none())
            .map(|(slot, generation, _)| SessionKey { slot, generation })
            .collect();
        for key in &keys {
            let Some(session) = self.session_mut(*key) else { continue };
            if let (Some(will), Some(id)) = (session.will.take(), session.id) {
                self.gate.record(Record::WillGone { session: id });
                self.publish_will(turn, *key, &will);
            }
        }
        keys.len()
    }
}

/// Fills the queue: first the QoS 2 messages that may have been sent, in the order in which they were, under their old
/// Packet Identifiers; then the rest in the order of acceptance.
///
/// What a QoS 1 message was sent as is not stored: it is sent as if for the first time. The order of messages with one
/// QoS is that of before, which is all the order there is [MQTT-4.6.0-6].
fn refill(session: &mut Session, mut queue: Vec<StoredMessage>, received: &[u64]) {
    queue.sort_unstable_by_key(StoredMessage::place);
    let (sent, mut waiting): (Vec<_>, Vec<_>) = queue.into_iter().partition(|message| message.sent.is_some());
    let sent = sent.into_iter().filter_map(|message| Some((message.sent?, Some(message))));
    let mut in_flight: Vec<_> = sent.chain(received.iter().map(|ordinal| (*ordinal, None))).collect();
    in_flight.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    let on_disk = session.on_disk.get_or_insert_default();
    for (ordinal, message) in in_flight {
        let restore = message.as_ref().map_or(Restore::PubRel, |message| Restore::Publish(queued(message)));
        // It fits, as an ordinal is given out once; but a store may be damaged, and no message is lost for that.
        if session.sender.restore(ordinal, restore).is_err() {
            waiting.extend(message);
        } else if let Some(StoredMessage { body: None, bytes, .. }) = message {
            on_disk.bare += 1;
            on_disk.bare_bytes += bytes;
        }
    }
    for message in waiting {
        let message = queued(&message);
        if message.body().is_some() && on_disk.tail_len() == 0 {
            session.sender.push(message);
        } else {
            on_disk.push_back(Stub::new(&message));
        }
    }
}

fn queued(message: &StoredMessage) -> Queued {
    let StoredMessage { entry, bytes, body, qos, is_retain, .. } = message;
    match body {
        Some(body) => Queued::new(*entry, Arc::clone(body), *qos, *is_retain),
        None => Queued::bare(*entry, *bytes, *qos, *is_retain),
    }
}
