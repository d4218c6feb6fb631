//! Session State: what belongs to a ClientId, with or without a Network Connection.

mod feed;
mod filter_map;
mod on_disk;
mod queued;

use std::collections::BTreeMap;
use std::sync::Arc;

use culex_codec::{QoS, TopicFilter, TopicName};

use super::access::Picked;
use super::connection::{Admission, Will};
use super::keys::{BatchNumber, ConnectionKey, RetainedVersion, SessionId};
use super::options::{QueueLimits, SessionOptions};
use super::qos::{Receiver, SendAction, Sender};
use super::question::Identity;
use super::terms::Terms;
use super::time::{Tick, WallTime};
use crate::limits::{Limits, WhenFull};

pub(crate) use self::feed::Feed;
pub(crate) use self::filter_map::FilterMap;
pub(crate) use self::on_disk::{Asked, OnDisk, Stub};
pub(crate) use self::queued::Queued;

/// The state of one ClientId.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Box<str>,
    /// Whom it belongs to, with `is_trusted`, from its start to its end.
    pub(crate) user_name: Option<Box<str>>,
    pub(crate) is_trusted: bool,
    /// Whoever publishes something that its queue would get waits.
    pub(crate) is_full: bool,
    /// What holds for it since its client came in last; `None` if that is what holds for everybody.
    pub(crate) terms: Option<Arc<Terms>>,
    /// What it wants; `None` of nearly all sessions.
    options: Option<Box<SessionOptions>>,
    /// The name under which its Retained Messages are kept, once it has published one.
    author: Option<Arc<Identity>>,
    /// What it may do, as of some rules.
    pub(crate) rights: Option<Box<Picked>>,
    /// Its name in the store, if it outlives its connection.
    pub(crate) id: Option<SessionId>,
    /// The last batch that says something of it as it is without its queue: that it exists, or of its will.
    pub(crate) recorded_in: BatchNumber,
    /// The last batch that says something of its subscriptions.
    pub(crate) subscribed_in: BatchNumber,
    /// Seconds that it outlives its connection; `u32::MAX` is for ever.
    pub(crate) expiry_s: u32,
    pub(crate) connection: Option<ConnectionKey>,
    /// When its expiry is armed for.
    pub(crate) timer: Option<Tick>,
    pub(crate) will: Option<Box<Will>>,
    /// What is in flight, and the beginning of what waits.
    pub(crate) sender: Sender<Queued>,
    /// What of the queue only the store has: the rest of what waits, behind all in `sender`. `None` of nearly all sessions.
    pub(crate) on_disk: Option<Box<OnDisk>>,
    pub(crate) receiver: Receiver,
    /// With the floor: Retained Messages up to this version come from their store, later ones live.
    subscriptions: FilterMap<RetainedVersion>,
    floor_max: RetainedVersion,
    /// The routing table's generation after the last UNSUBSCRIBE: older routes may name what it has left since.
    pub(crate) left_at: u64,
    /// Retained Messages that new subscriptions still have to get, by Topic Filter: one that comes again begins again.
    pub(crate) feeds: BTreeMap<Box<str>, Feed>,
    /// When a full queue was last reported, and what was dropped since.
    pub(crate) drops_reported: Option<Tick>,
    pub(crate) drops_unreported: u64,
}

impl Session {
    pub(crate) fn new(client_id: Box<str>, in_flight_max: u16, incoming_max: u16) -> Self {
        Self {
            client_id,
            user_name: None,
            is_trusted: false,
            is_full: false,
            terms: None,
            options: None,
            author: None,
            rights: None,
            id: None,
            recorded_in: BatchNumber(0),
            subscribed_in: BatchNumber(0),
            expiry_s: 0,
            connection: None,
            timer: None,
            will: None,
            sender: Sender::new(in_flight_max),
            on_disk: None,
            receiver: Receiver::new(incoming_max),
            subscriptions: FilterMap::new(),
            floor_max: RetainedVersion(0),
            left_at: 0,
            feeds: BTreeMap::new(),
            drops_reported: None,
            drops_unreported: 0,
        }
    }

    /// Whether who connects is who it began with. Anybody else must neither get its messages nor speak for it.
    pub(crate) fn belongs_to(&self, admission: &Admission) -> bool {
        self.is_trusted == admission.is_trusted && self.user_name == admission.user_name
    }

    /// What it wants.
    pub(crate) fn options(&self) -> SessionOptions {
        self.options.as_deref().copied().unwrap_or_default()
    }

    pub(crate) fn set_options(&mut self, options: SessionOptions) {
        self.options = (options != SessionOptions::default()).then(|| Box::new(options));
    }

    /// The limits of its queue, where `all` are those of the broker.
    pub(crate) fn queue_limits(&self, all: &Limits) -> QueueLimits {
        let own = self.options.as_ref().and_then(|options| options.queue);
        own.unwrap_or_else(|| QueueLimits {
            when_full: all.when_full,
            ..Terms::limits(&self.terms, all).into()
        })
    }

    /// Whether its queue makes publishers wait when it is full. Only the host can want that.
    pub(crate) fn makes_wait(&self) -> bool {
        let own = self.options.as_ref().and_then(|options| options.queue);
        own.is_some_and(|queue| queue.when_full == WhenFull::Block)
    }

    /// Whether the message that waits longest has waited for longer than the session wants. Nobody knows of one that
    /// only the store has, and a Retained Message of a new subscription is as old as it may be.
    pub(crate) fn has_aged(&self, now: WallTime) -> bool {
        let Some(max_ms) = self.options.as_ref().and_then(|options| options.max_age_ms) else { return false };
        self.sender
            .first_waiting()
            .and_then(Queued::accepted_at)
            .is_some_and(|at| now.0.saturating_sub(at.0) > max_ms)
    }

    /// When the first message of the queue came, if that is known.
    pub(crate) fn oldest_at(&self) -> Option<WallTime> {
        self.options.as_ref()?.max_age_ms?;
        let in_flight = self.sender.in_flight().find_map(|sending| match sending.action {
            SendAction::Publish { message, .. } => Some(message),
            SendAction::PubRel => None,
        });
        in_flight.or_else(|| self.sender.first_waiting())?.accepted_at()
    }

    /// Whether a topic has a name for its client.
    pub(crate) fn knows(&self, topic: TopicName<'_>) -> bool {
        Terms::mount_point(&self.terms).is_none_or(|mount| mount.strip(topic).is_some())
    }

    /// Who it is about, for the host.
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(&self.client_id, self.user_name.as_deref())
    }

    /// Who published what its client published; `None` if that is the host itself, for nobody else.
    pub(crate) fn author(&mut self) -> Option<Arc<Identity>> {
        if self.is_trusted && self.user_name.is_none() {
            return None;
        }
        if self.author.is_none() {
            self.author = Some(Arc::new(self.identity()));
        }
        self.author.clone()
    }

    pub(crate) fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) fn is_subscribed(&self, filter: &str) -> bool {
        self.subscriptions.contains(filter)
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = TopicFilter<'_>> {
        self.subscriptions.iter().map(|(filter, _)| TopicFilter::assume_valid(filter))
    }

    /// What it is subscribed to, for its end.
    pub(crate) fn take_subscriptions(&mut self) -> FilterMap<RetainedVersion> {
        std::mem::replace(&mut self.subscriptions, FilterMap::new())
    }

    /// Adds or replaces a subscription. Its Retained Messages up to `floor` come from their store. A subscription that
    /// is replaced keeps its own floor, because its live messages must not be interrupted [MQTT-3.8.4-3].
    pub(crate) fn subscribe(&mut self, filter: TopicFilter<'_>, qos: QoS, floor: RetainedVersion) {
        self.floor_max = self.floor_max.max(floor);
        self.subscriptions.insert_new(filter.as_str(), floor);
        self.feeds.insert(filter.as_str().into(), Feed::new(qos, floor)); // [MQTT-3.3.1-6]
    }

    /// A subscription from before a restart. Nothing that was retained then is still on its way, so its floor is 0.
    pub(crate) fn restore_subscription(&mut self, filter: &str, feed: Option<Feed>) {
        self.subscriptions.insert_new(filter, RetainedVersion(0));
        if let Some(feed) = feed {
            self.feeds.insert(filter.into(), feed);
        }
    }

    /// Removes a subscription; `false` if there is none with exactly this filter [MQTT-3.10.4-1].
    pub(crate) fn unsubscribe(&mut self, filter: TopicFilter<'_>) -> bool {
        self.feeds.remove(filter.as_str());
        self.subscriptions.remove(filter.as_str())
    }

    /// Whether the routes of a live message do not say for sure that it is taken, because it was on its way while a
    /// subscription was made or ended. Two comparisons on the way of every message.
    pub(crate) fn must_match_again(&self, generation: u64, retained: Option<RetainedVersion>) -> bool {
        generation < self.left_at || retained.is_some_and(|version| version <= self.floor_max)
    }

    /// Whether a live message is for a subscription that is there now [MQTT-3.10.4-2]. One that was retained comes
    /// through the store of Retained Messages instead if its version is not above the floor of any; a subscription that
    /// is older than it gets all live, as the store has only the newest of each topic. Cost: O(subscriptions).
    pub(crate) fn takes_live(&self, topic: TopicName<'_>, retained: Option<RetainedVersion>) -> bool {
        let matches = |filter: &str| TopicFilter::assume_valid(filter).matches(topic);
        self.subscriptions
            .iter()
            .any(|(filter, floor)| retained.is_none_or(|version| version > *floor) && matches(filter))
    }

    /// Messages in the queue, those in flight included, and those that only await PUBCOMP.
    pub(crate) fn queued_len(&self) -> usize {
        self.sender.queued_len() + self.tail_len()
    }

    /// Bytes of these, wherever they are.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.sender.queued_bytes() + self.on_disk.as_ref().map_or(0, |on_disk| on_disk.tail_bytes())
    }

    /// Messages that were never sent.
    pub(crate) fn waiting_len(&self) -> usize {
        self.sender.waiting_len() + self.tail_len()
    }

    /// Messages that wait and that only the store has.
    pub(crate) fn tail_len(&self) -> usize {
        self.on_disk.as_ref().map_or(0, |on_disk| on_disk.tail_len())
    }

    /// Drops the message that waits longest; none in flight is dropped. Says whether only the store had it.
    pub(crate) fn drop_oldest_waiting(&mut self) -> Option<(Stub, bool)> {
        if let Some(message) = self.sender.drop_oldest_waiting() {
            return Some((Stub::new(&message), false));
        }
        let on_disk = self.on_disk.as_mut()?;
        let stub = on_disk.pop_front()?;
        Some((stub, true))
    }

    /// Whether it has something to send that waits for room.
    pub(crate) fn has_more_to_send(&self) -> bool {
        !self.feeds.is_empty() || self.sender.has_next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(subscriptions: &[(&str, u64)]) -> Session {
        let mut session = Session::new("a".into(), 10, 10);
        for (filter, floor) in subscriptions {
            let filter = TopicFilter::assume_valid(filter);
            session.subscribe(filter, QoS::AtLeastOnce, RetainedVersion(*floor));
        }
        session
    }

    fn is_fed(session: &Session, version: u64) -> bool {
        let retained = Some(RetainedVersion(version));
        session.must_match_again(0, retained) && !session.takes_live(TopicName::assume_valid("a/b"), retained)
    }

    #[test]
    fn a_new_subscription_takes_from_the_store_up_to_its_floor() {
        let session = session(&[("a/b", 10), ("c", 20)]);
        assert!(is_fed(&session, 10));
        assert!(!is_fed(&session, 11));
    }

    #[test]
    fn an_older_subscription_gets_all_live() {
        let session = session(&[("a/b", 5), ("a/#", 10)]);
        assert!(is_fed(&session, 5));
        assert!(!is_fed(&session, 8), "version 8 may have been replaced by 9 in the store");
    }

    #[test]
    fn a_subscription_that_is_replaced_goes_on_live() {
        let session = session(&[("a/b", 5), ("a/b", 10)]);
        assert!(!is_fed(&session, 8));
        assert_eq!(session.feeds.len(), 1);
    }
    #[test]
    fn a_subscription_that_ended_takes_nothing_that_was_routed_before() {
        let mut session = session(&[("a/b", 0), ("a/c", 0)]);
        assert!(session.unsubscribe(TopicFilter::assume_valid("a/b")));
        session.left_at = 7;
        assert!(session.must_match_again(6, None) && !session.must_match_again(7, None));
        assert!(!session.takes_live(TopicName::assume_valid("a/b"), None));
        assert!(session.takes_live(TopicName::assume_valid("a/c"), None));
    }
}
