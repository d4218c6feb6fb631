//! What waits for the other side, in all sessions of an integration.

use std::time::{SystemTime, UNIX_EPOCH};

use culex_core::{Admin, AdminError, WallTime};
use serde_json::{Map, Value};

/// The queues of several sessions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Messages that wait or are in flight.
    pub messages: u64,
    /// Their topics and payloads.
    pub bytes: u64,
    /// One of them is full, and whoever publishes to it waits.
    pub is_full: bool,
    /// When the oldest message was accepted, as far as that is known.
    pub oldest: Option<WallTime>,
}

impl Queue {
    /// That of the sessions with these ClientIds; one that is not there has nothing.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn of(
        admin: &Admin,
        client_ids: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, AdminError> {
        let mut queue = Self::default();
        for client_id in client_ids {
            let Some(session) = admin.session(client_id.as_ref()).await? else { continue };
            queue.messages += session.queue_messages;
            queue.bytes += session.queue_bytes;
            queue.is_full |= session.queue_is_full;
            queue.oldest = queue.oldest.into_iter().chain(session.oldest_at).min();
        }
        Ok(queue)
    }

    /// For operators and the API.
    pub fn to_json(&self) -> Map<String, Value> {
        let fields = [
            ("messages", self.messages.into()),
            ("bytes", self.bytes.into()),
            ("oldest_seconds", self.oldest.map(age).into()),
            ("publishers_wait", self.is_full.into()),
        ];
        fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into_iter().collect()
    }
}

/// Seconds since then.
fn age(since: WallTime) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(since.0) / 1000
}
