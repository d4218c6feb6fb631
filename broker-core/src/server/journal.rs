//! Events of a shard as lines of the log. Names and topics come from strangers, so they are values that the format quotes
//! and escapes, and not a part of the text.

use tracing::{debug, error, info, warn};

use crate::engine::shard::Event;

/// The target of its lines.
pub(crate) const TARGET: &str = module_path!();

pub(crate) fn log(event: &Event) {
    match event {
        Event::Connected { client_id, peer, is_resumed } => {
            debug!(client_id = &**client_id, %peer, resumed = is_resumed, "client connected");
        }
        Event::Refused { client_id, peer, refusal } => {
            warn!(client_id = &**client_id, %peer, "connection refused: {refusal}");
        }
        Event::Disconnected { client_id, peer, reason } if reason.is_violation() => {
            warn!(client_id = &**client_id, %peer, "connection closed: {reason}");
        }
        Event::Disconnected { client_id, peer, reason } => {
            debug!(client_id = &**client_id, %peer, "connection closed: {reason}");
        }
        Event::Subscribed { client_id, filter, granted: Some(qos) } => {
            debug!(client_id = &**client_id, filter = &**filter, qos = *qos as u8, "subscribed");
        }
        Event::Subscribed { client_id, filter, granted: None } => {
            let beginning: String = filter.chars().take(80).collect();
            info!(
                client_id = &**client_id,
                filter = beginning,
                "subscription refused (by a hook, or limits subscriptions_per_session, topic_levels, topic_bytes)"
            );
        }
        Event::Unsubscribed { client_id, filter } => {
            debug!(client_id = &**client_id, filter = &**filter, "unsubscribed")
        }
        Event::AuthenticationFailed { client_id, peer, user_name } => {
            warn!(client_id = &**client_id, %peer, user_name = user_name.as_deref(), "connection refused: authentication failed");
        }
        Event::Unreadable { client_id, dropped } => {
            error!(
                client_id = &**client_id,
                dropped, "queued messages dropped: the store did not give them back, they are damaged"
            );
        }
        Event::StoreFull { why } => {
            error!(
                "{why}. Nothing is kept or acknowledged that needs it, everything else goes on. Make space \
                 (metric store_full is 1 until then); no restart is needed"
            );
        }
        Event::StoreRecovered { after } => {
            warn!(
                seconds = after.as_secs(),
                "the store has space again, and has kept everything that waited"
            );
        }
        Event::Slowed { client_id, limit } => {
            info!(
                client_id = &**client_id,
                "client is slowed down: it sends faster than the limit {limit}; nothing is dropped"
            );
        }
        Event::QueueFull { client_id } => {
            warn!(
                client_id = &**client_id,
                "queue full: whoever publishes something that it would get waits until an eighth of it is free, and nothing is dropped \
                 (its when_full is block)"
            );
        }
        Event::Dropped { client_id, dropped } => {
            warn!(
                client_id = &**client_id,
                dropped,
                "messages dropped: queue full or client not reading \
                 (limits queue_messages, queue_bytes, queue_total_bytes, when_full, outbox_bytes, outbox_burst_bytes)"
            );
        }
    }
}
