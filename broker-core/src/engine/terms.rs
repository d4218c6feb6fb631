//! What holds for those who come in through one listener, where that is other than for everybody.
//!
//! ```text
//!   client          a/b ──► house/a/b   the broker: routes, rules, hooks, Retained Messages, queues
//!   of a mount      a/b ◄── house/a/b   (what is not below house/ does not reach it)
//! ```
//!
//! A mount point is added at the border when a packet comes in, and taken away when one goes out; nothing in between
//! knows of it.

use std::sync::Arc;

use culex_codec::{Packet, Publish, TopicError, TopicName};

use super::error::ProtocolError;
use crate::limits::Limits;

/// What holds for the connections of a listener, and for the session of each until its client comes in elsewhere. After a
/// restart a session has the limits of the broker until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Of these count: `packet_bytes`, `topic_levels`, `topic_bytes`, `subscriptions_per_session`, `in_flight`,
    /// `incoming_in_flight`, `queue_messages`, `queue_bytes`, `max_keep_alive`, `messages_per_second`, `bytes_per_second`,
    /// and before CONNECT `pre_auth_bytes` and `connect_timeout`. All others are those of the broker, and so are these if
    /// there are none.
    pub limits: Option<Limits>,
    /// What stands before every topic of its clients.
    pub mount_point: Option<MountPoint>,
}

impl Terms {
    /// The limits that hold with these terms, where `all` are those of the broker.
    pub fn limits_or<'a>(&'a self, all: &'a Limits) -> &'a Limits {
        self.limits.as_ref().unwrap_or(all)
    }

    /// The same for somebody who may have none.
    pub(crate) fn limits<'a>(terms: &'a Option<Arc<Self>>, all: &'a Limits) -> &'a Limits {
        terms.as_deref().map_or(all, |terms| terms.limits_or(all))
    }

    pub(crate) fn mount_point(terms: &Option<Arc<Self>>) -> Option<&MountPoint> {
        terms.as_deref()?.mount_point.as_ref()
    }
}

/// A beginning of topics: whole levels, so that what is below it is separate from all else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint(Arc<str>);

/// Why text is no mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountPointError {
    /// It is not the beginning of a Topic Name: wildcards, U+0000, nothing at all.
    #[error("not the beginning of a topic: {0}")]
    Topic(#[from] TopicError),
    /// More than 1,024 bytes.
    #[error("a mount point of {0} bytes, and 1,024 are allowed")]
    TooLong(usize),
    /// The last level goes on in the client's topics.
    #[error("a mount point ends with `/`; otherwise `a` would hold what is in `ab`")]
    HalfALevel,
    /// It begins with `$`: those topics have meanings of their own.
    #[error("a mount point does not begin with `$`")]
    Reserved,
}

/// A mount point makes every filter of a packet longer.
const MOUNT_POINT_BYTES_MAX: usize = 1024;

impl MountPoint {
    /// A mount point such as `house/`.
    ///
    /// # Errors
    /// [`MountPointError`].
    pub fn new(text: &str) -> Result<Self, MountPointError> {
        TopicName::new(text)?;
        if text.len() > MOUNT_POINT_BYTES_MAX {
            return Err(MountPointError::TooLong(text.len()));
        }
        if text.starts_with('$') {
            return Err(MountPointError::Reserved);
        }
        if !text.ends_with('/') {
            return Err(MountPointError::HalfALevel);
        }
        Ok(Self(text.into()))
    }

    /// The text, with the `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A Topic Name or Topic Filter of a client in full.
    pub(crate) fn join(&self, topic: &str) -> Result<String, ProtocolError> {
        let bytes = self.0.len() + topic.len();
        if bytes > usize::from(u16::MAX) {
            return Err(ProtocolError::TopicTooLong { bytes, max: u16::MAX });
        }
        Ok([&*self.0, topic].concat())
    }

    /// A packet of a client with its topic in full. Those of SUBSCRIBE and UNSUBSCRIBE are joined one by one where they
    /// are looked at, because there may be very many.
    pub(crate) fn place<'s>(
        &self,
        packet: Packet<'s>,
        full: &'s mut String,
    ) -> Result<Packet<'s>, ProtocolError> {
        let Packet::Publish(publish @ Publish { topic: Some(topic), .. }) = packet else { return Ok(packet) };
        *full = self.join(topic.as_str())?;
        Ok(Packet::Publish(Publish { topic: Some(TopicName::assume_valid(full)), ..publish }))
    }

    /// A full topic as a client below this mount point knows it; `None` if it is not below it.
    pub(crate) fn strip<'t>(&self, topic: TopicName<'t>) -> Option<TopicName<'t>> {
        let rest = topic.as_str().strip_prefix(&*self.0)?;
        (!rest.is_empty()).then(|| TopicName::assume_valid(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_levels_without_wildcards_are_mount_points() {
        for text in ["a/", "/", "a/b/", "é/", "//", &format!("{}/", "x".repeat(1023))] {
            assert_eq!(MountPoint::new(text).map(|mount| mount.as_str().to_owned()), Ok(text.to_owned()));
        }
        for (text, expected) in [
            ("", MountPointError::Topic(TopicError::Empty)),
            ("a", MountPointError::HalfALevel),
            ("$SYS/", MountPointError::Reserved),
            ("$share/g/", MountPointError::Reserved),
            (&*format!("{}/", "x".repeat(1024)), MountPointError::TooLong(1025)),
        ] {
            assert_eq!(MountPoint::new(text), Err(expected), "{text}");
        }
        for text in ["a/+/", "#/", "a\0/", "+/"] {
            assert!(matches!(MountPoint::new(text), Err(MountPointError::Topic(_))), "{text}");
        }
    }

    #[test]
    fn what_is_not_below_it_has_no_name_there() {
        let mount = MountPoint::new("a/").unwrap();
        for (topic, expected) in
            [("a/b", Some("b")), ("a//", Some("/")), ("a/", None), ("a", None), ("ab/c", None)]
        {
            let stripped = mount.strip(TopicName::new(topic).unwrap());
            assert_eq!(stripped.map(|topic| topic.as_str()), expected, "{topic}");
        }
    }

    #[test]
    fn a_topic_that_grows_too_long_is_none() {
        let mount = MountPoint::new("a/").unwrap();
        assert_eq!(mount.join(&"x".repeat(65_533)).map(|topic| topic.len()), Ok(65_535));
        let error = ProtocolError::TopicTooLong { bytes: 65_536, max: 65_535 };
        assert_eq!(mount.join(&"x".repeat(65_534)), Err(error));
    }
}
