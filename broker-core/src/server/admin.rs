//! The view of an operator: who is there, what waits for whom, what is retained; and the means to end it.
//!
//! A question goes to its shard as one message and is answered within a turn. Lists come in pages, so that a list of a
//! million sessions is many small questions and not a long one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{QoS, TopicError, TopicFilter, TopicName};
use tokio::sync::oneshot;

use crate::engine::access::AccessControl;
use crate::engine::commons::Commons;
use crate::engine::keys::RetainedVersion;
use crate::engine::route::{self, Budget};
use crate::engine::shard::{SessionInfo, Shard, Turn, shard_of};
use crate::limits::Limits;

use super::broker::Broker;
use super::commons::SharedCommons;
use super::lane::LaneMessage;
use super::mailbox::Mailbox;
use super::store::{Queue, Saved};

/// Entries of one page, whatever was asked for.
const PAGE_MAX: usize = 1000;
/// What one look at the Retained Messages may cost, with their lock held.
const RETAINED_STEP: Budget = Budget { messages: 256, bytes: usize::MAX, examined: 4096 };

/// Lists what a broker holds, and ends connections and sessions. Made by [`Broker::admin`]; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    lanes: Arc<[Arc<Mailbox<LaneMessage>>]>,
    commons: Arc<SharedCommons>,
    hash_keys: (u64, u64),
    store: Option<Arc<Queue>>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries; there may be none although more follow.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// A place in a list. Its text form is opaque and may be handed to a client and back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(Place);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Start,
    Slot {
        shard: u16,
        slot: u32,
    },
    After(Box<str>),
}

/// A Retained Message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedInfo {
    /// The Topic Name.
    pub topic: Box<str>,
    /// The Application Message, shared and not copied.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: QoS,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The broker has stopped.
    #[error("the broker has stopped; start another one")]
    Stopped,
    /// A cursor that belongs to another list, or to none.
    #[error("this cursor is not from this list; begin again without one")]
    Cursor,
    /// Not a Topic Name below `$SYS/`.
    #[error("only topics below $SYS/ are the host's own")]
    Topic,
    /// Not a Topic Filter.
    #[error("not a topic filter: {0}")]
    Filter(#[from] TopicError),
}

impl Admin {
    /// Clients that are connected. At most `limit` (1 … 1,000), from `after` on; the default cursor is the beginning.
    /// Whoever is there all the time is listed exactly once.
    ///
    /// # Errors
    /// [`AdminError::Stopped`], [`AdminError::Cursor`].
    pub async fn clients(&self, after: Cursor, limit: usize) -> Result<Page<SessionInfo>, AdminError> {
        self.list(after, limit, true).await
    }

    /// All sessions, with and without a connection; otherwise as [`Admin::clients`].
    ///
    /// # Errors
    /// [`AdminError::Stopped`], [`AdminError::Cursor`].
    pub async fn sessions(&self, after: Cursor, limit: usize) -> Result<Page<SessionInfo>, AdminError> {
        self.list(after, limit, false).await
    }

    /// The session of a ClientId.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn session(&self, client_id: &str) -> Result<Option<SessionInfo>, AdminError> {
        let id: Box<str> = client_id.into();
        self.ask_owner(client_id, move |shard, _| shard.session_info(&id)).await
    }

    /// The Topic Filters of a session in byte order; `None` if there is no such session. At most `limit` (1 … 1,000).
    ///
    /// # Errors
    /// [`AdminError::Stopped`], [`AdminError::Cursor`].
    pub async fn subscriptions(
        &self,
        client_id: &str,
        after: Cursor,
        limit: usize,
    ) -> Result<Option<Page<Box<str>>>, AdminError> {
        let after = match after.0 {
            Place::Start => None,
            Place::After(filter) => Some(filter),
            Place::Slot { .. } => return Err(AdminError::Cursor),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let id: Box<str> = client_id.into();
        let found =
            self.ask_owner(client_id, move |shard, _| shard.filters_of(&id, after.as_deref(), limit)).await?;
        Ok(found.map(|items| {
            let last = items.last().filter(|_| items.len() == limit);
            Page { next: last.map(|last| Cursor(Place::After(last.clone()))), items }
        }))
    }

    /// Ends the connection of a ClientId; `false` if it has none. Its Will Message is published and a session that
    /// outlives its connection stays.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn disconnect(&self, client_id: &str) -> Result<bool, AdminError> {
        let id: Box<str> = client_id.into();
        self.ask_owner(client_id, move |shard, turn| shard.disconnect_client(turn, &id)).await
    }

    /// Ends a session with its subscriptions and all that waits for it, and its connection first; `false` if there is
    /// none.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn end_session(&self, client_id: &str) -> Result<bool, AdminError> {
        let id: Box<str> = client_id.into();
        self.ask_owner(client_id, move |shard, turn| shard.end_client(turn, &id)).await
    }

    /// Retained Messages whose topic matches, in the byte order of their topics. At most `limit` (1 … 1,000). To remove
    /// one, publish an empty Retained Message to its topic [MQTT-3.3.1-10].
    ///
    /// # Errors
    /// [`AdminError::Filter`], [`AdminError::Cursor`], [`AdminError::Stopped`].
    pub fn retained(
        &self,
        filter: &str,
        after: Cursor,
        limit: usize,
    ) -> Result<Page<RetainedInfo>, AdminError> {
        let filter = TopicFilter::new(filter)?;
        let mut cursor = match after.0 {
            Place::Start => route::Cursor::Start,
            Place::After(topic) => route::Cursor::After(topic),
            Place::Slot { .. } => return Err(AdminError::Cursor),
        };
        if self.lanes.iter().all(|lane| lane.is_closed()) {
            return Err(AdminError::Stopped);
        }
        let limit = limit.clamp(1, PAGE_MAX);
        let mut found = Vec::new();
        while found.len() < limit && cursor != route::Cursor::End {
            let messages = RETAINED_STEP.messages.min(limit - found.len());
            let step = Budget { messages, ..RETAINED_STEP };
            cursor = self.commons.retained(filter, cursor, RetainedVersion(u64::MAX), step, &mut found);
        }
        let next = match cursor {
            route::Cursor::Start => Some(Cursor::default()),
            route::Cursor::After(topic) => Some(Cursor(Place::After(topic))),
            route::Cursor::End => None,
        };
        let items = found.iter().map(|(_, publication)| RetainedInfo {
            topic: publication.topic().as_str().into(),
            payload: publication.payload.clone(),
            qos: publication.qos,
        });
        Ok(Page { items: items.collect(), next })
    }

    async fn list(
        &self,
        after: Cursor,
        limit: usize,
        is_connected: bool,
    ) -> Result<Page<SessionInfo>, AdminError> {
        let (mut shard, mut slot) = match after.0 {
            Place::Start => (0, 0),
            Place::Slot { shard, slot } if usize::from(shard) < self.lanes.len() => (shard, slot),
            Place::Slot { .. } | Place::After(_) => return Err(AdminError::Cursor),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let mut items = Vec::new();
        while items.len() < limit {
            let Some(lane) = self.lanes.get(usize::from(shard)) else {
                return Ok(Page { items, next: None });
            };
            let max = limit - items.len();
            let step = move |shard: &mut Shard, _: &mut Turn<'_>| {
                let mut found = Vec::new();
                let next = shard.sessions_from(slot, max, is_connected, &mut found);
                (found, next)
            };
            let (found, next) = ask(lane, step).await?;
            items.extend(found);
            match next {
                Some(next) => slot = next,
                None => (shard, slot) = (shard + 1, 0),
            }
        }
        let next = (usize::from(shard) < self.lanes.len()).then_some(Cursor(Place::Slot { shard, slot }));
        Ok(Page { items, next })
    }

    /// Replaces the rules of who may publish and receive what; `None` allows everything. When this returns, every message
    /// that is delivered is looked at with them, whenever it was queued or retained.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn set_access_control(&self, rules: Option<Arc<dyn AccessControl>>) -> Result<(), AdminError> {
        self.change_all(move |shard| shard.set_access_control(rules.clone())).await
    }

    /// Gives every shard these limits, which are those of one shard.
    pub(super) async fn set_limits(&self, limits: &Limits) -> Result<(), AdminError> {
        let limits = limits.clone();
        self.change_all(move |shard| shard.set_limits(limits.clone())).await
    }

    /// Changes every shard: one that has failed keeps no other from it.
    async fn change_all(
        &self,
        change: impl Fn(&mut Shard) + Clone + Send + 'static,
    ) -> Result<(), AdminError> {
        let mut all = Ok(());
        for lane in &*self.lanes {
            let change = change.clone();
            all = all.and(ask(lane, move |shard, _| change(shard)).await);
        }
        all
    }

    /// Resolves when every lane has had a turn and the store's thread has come round, in a time that a broker at work
    /// needs for it; so it is a sign of life of the whole, and costs one message for each. A full disk is no reason not to
    /// answer.
    ///
    /// # Errors
    /// [`AdminError::Stopped`], also after a failure of the store.
    pub async fn probe(&self) -> Result<(), AdminError> {
        self.report(false).await.map(drop)
    }

    /// Makes sure that everything that was acknowledged before this call is on the disk, whatever the
    /// [durability](crate::Durability), and shortens the store's log. Writing waits for it meanwhile.
    ///
    /// # Errors
    /// [`AdminError::Stopped`], also after a failure of the store.
    pub async fn save(&self) -> Result<Saved, AdminError> {
        self.report(true).await
    }

    async fn report(&self, is_save: bool) -> Result<Saved, AdminError> {
        for lane in &*self.lanes {
            ask(lane, |_, _| ()).await?;
        }
        match &self.store {
            None => Ok(Saved::Memory),
            Some(store) => store.report(is_save).await.ok_or(AdminError::Stopped),
        }
    }

    /// Publishes a value of the host's own below `$SYS/`, where nobody else publishes: QoS 0, retained, not stored, and
    /// counted towards no limit; without a payload it is removed. Whoever subscribes and may receive it gets it. It is
    /// done soon after this returns.
    ///
    /// # Errors
    /// [`AdminError::Topic`] for a topic that is not below `$SYS/`, [`AdminError::Stopped`].
    pub fn publish_system(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), AdminError> {
        TopicName::new(topic).map_err(|_| AdminError::Topic)?;
        if !topic.starts_with("$SYS/") {
            return Err(AdminError::Topic);
        }
        let lane = self.lanes.first().filter(|lane| !lane.is_closed()).ok_or(AdminError::Stopped)?;
        let (topic, payload) = (topic.to_owned(), payload.into());
        let visit = move |shard: &mut Shard, turn: &mut Turn<'_>| {
            shard.publish_system(turn, TopicName::assume_valid(&topic), &payload);
        };
        lane.send([LaneMessage::Visit(Box::new(visit))], 0);
        Ok(())
    }

    async fn ask_owner<T: Send + 'static>(
        &self,
        client_id: &str,
        question: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let count = u16::try_from(self.lanes.len()).unwrap_or(u16::MAX);
        let owner = shard_of(client_id, self.hash_keys, count);
        let lane = self.lanes.get(usize::from(owner.0)).ok_or(AdminError::Stopped)?;
        ask(lane, question).await
    }
}

/// Runs a question on the shard of a lane, between two other messages of a turn.
async fn ask<T: Send + 'static>(
    lane: &Mailbox<LaneMessage>,
    question: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
) -> Result<T, AdminError> {
    let (reply, answer) = oneshot::channel();
    let visit = move |shard: &mut Shard, turn: &mut Turn<'_>| {
        // Whoever asked may have gone.
        let _ = reply.send(question(shard, turn));
    };
    lane.send([LaneMessage::Visit(Box::new(visit))], 0);
    // A lane that has ended drops the question, and with it the reply.
    answer.await.map_err(|_| AdminError::Stopped)
}

impl Broker {
    /// Lists clients, sessions and Retained Messages, and ends what should end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use culex_core::{Broker, Cursor};
    /// # let broker = Broker::builder().without_listener().start().await?;
    /// let admin = broker.admin();
    /// let mut page = admin.clients(Cursor::default(), 100).await?;
    /// loop {
    ///     for client in &page.items {
    ///         println!("{} has {} subscriptions", client.client_id, client.subscriptions);
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     page = admin.clients(next, 100).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin(&self) -> Admin {
        let (lanes, commons) = (self.inner.mailboxes.clone().into(), Arc::clone(&self.inner.metrics.commons));
        Admin { lanes, commons, hash_keys: self.inner.hash_keys, store: self.inner.metrics.store.clone() }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Start => Ok(()),
            Place::Slot { shard, slot } => write!(f, "{shard}.{slot}"),
            Place::After(name) => write!(f, "/{name}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = AdminError;

    fn from_str(text: &str) -> Result<Self, AdminError> {
        let place = if text.is_empty() {
            Place::Start
        } else if let Some(name) = text.strip_prefix('/') {
            Place::After(name.into())
        } else {
            let (shard, slot) = text.split_once('.').ok_or(AdminError::Cursor)?;
            let shard = shard.parse().map_err(|_| AdminError::Cursor)?;
            Place::Slot { shard, slot: slot.parse().map_err(|_| AdminError::Cursor)? }
        };
        Ok(Self(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_form() {
        for place in [
            Place::Start,
            Place::Slot { shard: 3, slot: u32::MAX },
            Place::After("".into()),
            Place::After("1.2".into()),
        ] {
            let cursor = Cursor(place);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["x", "1", "1.", ".1", "1.2.3", "70000.1", "1.-1"] {
            assert_eq!(text.parse::<Cursor>(), Err(AdminError::Cursor), "{text}");
        }
    }
}
