//! Who may publish and receive what: the one gate on the way of every message.
//!
//! ```text
//!   PUBLISH, Will Message ── may_publish? ──► routing ── may_receive? ──► receiver: live, retained, queued, again
//!   SUBSCRIBE ── may_subscribe? ──► subscription ── may its publisher still publish? ──► Retained Messages
//! ```
//!
//! A right is looked at when it is used, so one that was taken away ends at once, whatever was subscribed or queued
//! before. The rules of a client are picked once and kept with its session until the rules change.

use std::fmt;
use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};

use super::connection::Admission;
use super::publication::Publication;
pub use super::question::Identity;
use super::session::Session;
use super::terms::Terms;

/// The rules of a broker. Called while messages are routed: it must answer from memory.
pub trait AccessControl: fmt::Debug + Send + Sync {
    /// What one client may do. Called when a client is first looked at, and once more after the rules were replaced.
    fn rights(&self, client: &Identity) -> Arc<dyn Rights>;

    /// Whether a Retained Message reaches a new subscription only if who published it may still publish there; `true`
    /// unless it is implemented. What the host published, on behalf of nobody else, is always delivered.
    fn checks_retain_source(&self) -> bool {
        true
    }
}

/// What one client may do. Called for each message, and for each receiver of each message.
pub trait Rights: fmt::Debug + Send + Sync {
    /// Whether it may publish to a topic, also by its Will Message. One that it may not publish is acknowledged and
    /// dropped [MQTT-3.3.5-2]; a CONNECT with such a will is answered with 0x05.
    fn may_publish(&self, topic: TopicName<'_>) -> bool;

    /// Whether a message on this topic may reach it: live, retained, from its queue, or once more.
    fn may_receive(&self, topic: TopicName<'_>) -> bool;

    /// Whether a subscription is granted; 0x80 otherwise. To be refused only where it could never deliver anything,
    /// because [`Rights::may_receive`] looks at each message anyway.
    fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool;
}

/// The rules of a shard, if there are any.
#[derive(Debug, Default)]
pub(crate) struct Gatekeeper {
    control: Option<Arc<dyn AccessControl>>,
    /// Rights that were picked before are not those of these rules.
    generation: u64,
    /// Who was looked at last because of a Retained Message: neighbours often have the same publisher.
    last_author: Option<(Arc<Identity>, Arc<dyn Rights>)>,
}

/// The rights of a session as they were picked.
#[derive(Debug)]
pub(crate) struct Picked {
    generation: u64,
    rights: Arc<dyn Rights>,
}

impl Gatekeeper {
    /// Other rules from now on; without any, everything is allowed.
    pub(crate) fn replace(&mut self, control: Option<Arc<dyn AccessControl>>) {
        self.control = control;
        self.last_author = None;
        self.generation += 1;
    }

    /// The rights of a client that has no session yet.
    pub(crate) fn newcomer(&self, admission: &Admission) -> Option<Arc<dyn Rights>> {
        self.control.as_ref().map(|control| control.rights(&admission.identity()))
    }

    /// The rights of a session; `None` if it may do everything.
    pub(crate) fn rights<'s>(&self, session: &'s mut Session) -> Option<&'s dyn Rights> {
        let control = self.control.as_ref()?;
        if session.is_trusted {
            return None;
        }
        let generation = self.generation;
        if session.rights.as_ref().is_none_or(|picked| picked.generation != generation) {
            let rights = control.rights(&session.identity());
            session.rights = Some(Box::new(Picked { generation, rights }));
        }
        session.rights.as_ref().map(|picked| &*picked.rights)
    }

    /// Whether there are rules at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.control.is_some()
    }

    /// Whether there is anything that may not reach a session.
    pub(crate) fn looks_at(&self, session: &Session) -> bool {
        self.is_on() || Terms::mount_point(&session.terms).is_some()
    }

    /// Whether who published a Retained Message may still do so.
    pub(crate) fn lets_stay(&mut self, retained: &Publication) -> bool {
        let control = self.control.as_ref().filter(|control| control.checks_retain_source());
        let (Some(control), Some(author)) = (control, &retained.author) else { return true };
        if self.last_author.as_ref().is_none_or(|(last, _)| last != author) {
            self.last_author = Some((Arc::clone(author), control.rights(author)));
        }
        self.last_author.as_ref().is_none_or(|(_, rights)| rights.may_publish(retained.topic()))
    }

    /// Whether a message on this topic may reach a session.
    pub(crate) fn lets_receive(&self, session: &mut Session, topic: TopicName<'_>) -> bool {
        session.knows(topic) && self.rights(session).is_none_or(|rights| rights.may_receive(topic))
    }
}
