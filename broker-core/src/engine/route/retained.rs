//! Retained Messages, in the byte order of their Topic Names.
//!
//! Every change takes the next version from one counter. A new Subscription asks for the version *after* it was put
//! into the routing table, gets all messages up to that version from here, and all later ones live: nothing is missed,
//! doubled or reversed, however long the reading takes.
//!
//! Cost: O(log n) topic comparisons to set, clear, get, or seek. A message stands in the tree once, and its Topic Name
//! nowhere else: 16 bytes a message plus the spare room of the tree.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use culex_codec::TopicFilter;

use super::seek::{Pattern, Verdict};
use crate::engine::keys::RetainedVersion;
use crate::engine::topics::is_reserved;
use crate::limits::{Limit, Limits};

/// What the store must know of a message.
pub trait RetainedMessage {
    /// The Topic Name; always the same for one message.
    fn topic(&self) -> &str;

    /// Bytes that the message counts against [`RetainedLimits::bytes`] and [`Budget::bytes`], topic included; always the
    /// same for one message.
    fn bytes(&self) -> usize;
}

/// Bounds of [`Retained`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Messages at a time.
    pub messages: usize,
    /// Sum of [`RetainedMessage::bytes`].
    pub bytes: usize,
}

impl From<&Limits> for RetainedLimits {
    fn from(limits: &Limits) -> Self {
        let bound = |limit: Limit| usize::try_from(limit.get()).unwrap_or(usize::MAX);
        Self { messages: bound(limits.retained_messages), bytes: bound(limits.retained_bytes) }
    }
}

/// Why a message was not retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetainedFull {
    /// There are as many messages as there may be, and none with this topic.
    #[error("there are already {max} retained messages")]
    Messages {
        /// [`RetainedLimits::messages`].
        max: usize,
    },
    /// With this message there would be too many bytes.
    #[error("retained messages would need {wanted} bytes of {max}")]
    Bytes {
        /// [`RetainedLimits::bytes`].
        max: usize,
        /// Bytes with the new message in place of the old one.
        wanted: usize,
    },
}

/// What [`Retained::set`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOutcome<M> {
    /// The version of the message, newer than all before.
    pub version: RetainedVersion,
    /// The message that had the topic before.
    pub replaced: Option<M>,
}

/// How far [`Retained::collect`] has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Cursor {
    /// Nothing was read.
    #[default]
    Start,
    /// All up to this Topic Name was read, itself included.
    After(Box<str>),
    /// All was read.
    End,
}

/// Bounds of one call of [`Retained::collect`]; it ends with the message that reaches one of them. Zero in any of them
/// reads nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Messages that are handed out.
    pub messages: usize,
    /// Bytes of the messages that are handed out; the last one may exceed it.
    pub bytes: usize,
    /// Messages that are looked at, whether they match or not.
    pub examined: usize,
}

/// All Retained Messages of the broker; shared by all shards.
#[derive(Debug)]
pub struct Retained<M> {
    entries: BTreeSet<Entry<M>>,
    version: RetainedVersion,
    /// Of those that count.
    bytes: usize,
    /// Messages of the broker's own, below `$SYS`: few, and towards no limit.
    own: usize,
    limits: RetainedLimits,
}

impl<M: RetainedMessage + Clone> Retained<M> {
    /// An empty store at version 0.
    pub const fn new(limits: RetainedLimits) -> Self {
        Self { entries: BTreeSet::new(), version: RetainedVersion(0), bytes: 0, own: 0, limits }
    }

    /// Messages from before a restart, over the limits if need be; `last` is the newest version that was given out.
    pub fn restore(
        &mut self,
        messages: impl IntoIterator<Item = (RetainedVersion, M)>,
        last: RetainedVersion,
    ) {
        for (version, message) in messages {
            self.version = self.version.max(version);
            self.bytes += message.bytes();
            if let Some(old) = self.entries.replace(Entry { version, message }) {
                self.bytes -= old.message.bytes();
            }
        }
        self.version = self.version.max(last);
    }

    /// The version of the last change; 0 before the first.
    pub const fn version(&self) -> RetainedVersion {
        self.version
    }

    /// How many messages there are, without the broker's own.
    pub fn len(&self) -> usize {
        self.entries.len() - self.own
    }

    /// There is no message but the broker's own.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of [`RetainedMessage::bytes`], without the broker's own.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message of a topic.
    pub fn get(&self, topic: &str) -> Option<(RetainedVersion, &M)> {
        self.entries.get(topic).map(|entry| (entry.version, &entry.message))
    }

    /// All messages in the byte order of their topics.
    pub fn iter(&self) -> impl Iterator<Item = (RetainedVersion, &M)> {
        self.entries.iter().map(|entry| (entry.version, &entry.message))
    }

    /// Retains a message in place of the one with its topic [MQTT-3.3.1-5].
    ///
    /// # Errors
    /// A limit would be exceeded. Nothing changes then and no version is taken, so the live deliveries of that message
    /// must go out as those of a message that is not retained: no floor may hold them back.
    pub fn set(&mut self, message: M) -> Result<SetOutcome<M>, RetainedFull> {
        if is_reserved(message.topic()) {
            return Ok(self.set_own(message));
        }
        let old = self.entries.get(message.topic()).map(|entry| entry.message.bytes());
        if old.is_none() && self.len() >= self.limits.messages {
            return Err(RetainedFull::Messages { max: self.limits.messages });
        }
        let wanted = (self.bytes - old.unwrap_or(0)).saturating_add(message.bytes());
        if wanted > self.limits.bytes {
            return Err(RetainedFull::Bytes { max: self.limits.bytes, wanted });
        }
        self.bytes = wanted;
        let version = self.next_version();
        let replaced = self.entries.replace(Entry { version, message }).map(|entry| entry.message);
        Ok(SetOutcome { version, replaced })
    }

    fn set_own(&mut self, message: M) -> SetOutcome<M> {
        let version = self.next_version();
        let replaced = self.entries.replace(Entry { version, message }).map(|entry| entry.message);
        self.own += usize::from(replaced.is_none());
        SetOutcome { version, replaced }
    }

    /// Removes the message of a topic, for a PUBLISH with RETAIN and an empty payload [MQTT-3.3.1-6]. Takes a version
    /// even if there was none.
    pub fn clear(&mut self, topic: &str) -> (RetainedVersion, Option<M>) {
        let old = self.entries.take(topic).map(|entry| entry.message);
        match &old {
            Some(old) if is_reserved(old.topic()) => self.own -= 1,
            Some(old) => self.bytes -= old.bytes(),
            None => {}
        }
        (self.next_version(), old)
    }

    /// Removes the message of a topic if it is still the one of that version, for example because it has expired.
    pub fn clear_if(&mut self, topic: &str, version: RetainedVersion) -> Option<(RetainedVersion, M)> {
        self.entries.get(topic).filter(|entry| entry.version == version)?;
        let (version, old) = self.clear(topic);
        old.map(|message| (version, message))
    }

    /// Appends messages that match the filter, in the byte order of their topics, and tells where to go on.
    ///
    /// Called with the returned cursor until that is [`Cursor::End`], it hands out each topic at most once; messages with
    /// a version above `up_to` are left out. Between the calls messages may be set and cleared. A topic that matches at
    /// no level is skipped with all its neighbours, so `examined` counts little more than what matches, save for
    /// filters with a `+` above levels that many topics lack.
    ///
    /// Cost: one lookup without a wildcard, else O(log n) per skip and O(1) per message.
    pub fn collect(
        &self,
        filter: TopicFilter<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, M)>,
    ) -> Cursor {
        if budget.messages == 0 || budget.bytes == 0 || budget.examined == 0 {
            return from;
        }
        let Some(pattern) = Pattern::new(filter.as_str()) else {
            if from == Cursor::Start
                && let Some(entry) = self.entries.get(filter.as_str()).filter(|entry| entry.version <= up_to)
            {
                out.push((entry.version, entry.message.clone()));
            }
            return Cursor::End;
        };
        self.scan(&pattern, from, up_to, budget, out)
    }

    fn scan(
        &self,
        pattern: &Pattern<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, M)>,
    ) -> Cursor {
        let Budget { mut messages, mut bytes, mut examined } = budget;
        let mut seek = String::new();
        let mut entries = match &from {
            Cursor::End => return Cursor::End,
            Cursor::After(topic) => {
                self.entries.range::<str, _>((Bound::Excluded(&**topic), Bound::Unbounded))
            }
            Cursor::Start => {
                pattern.begin(&mut seek);
                self.from(&seek)
            }
        };
        while let Some(entry) = entries.next() {
            let topic = entry.message.topic();
            match pattern.judge(topic, &mut seek) {
                Verdict::Match if entry.version <= up_to => {
                    messages -= 1;
                    bytes = bytes.saturating_sub(entry.message.bytes());
                    out.push((entry.version, entry.message.clone()));
                }
                Verdict::Match | Verdict::Next => {}
                // Often the next message is the one to go on with, and then no descent is needed.
                Verdict::Seek
                    if entries.clone().next().is_none_or(|next| next.message.topic() >= seek.as_str()) => {}
                Verdict::Seek => entries = self.from(&seek),
                Verdict::Past => return Cursor::End,
            }
            examined -= 1;
            if messages == 0 || bytes == 0 || examined == 0 {
                return Cursor::After(topic.into());
            }
        }
        Cursor::End
    }

    fn from(&self, topic: &str) -> std::collections::btree_set::Range<'_, Entry<M>> {
        self.entries.range::<str, _>((Bound::Included(topic), Bound::Unbounded))
    }

    fn next_version(&mut self) -> RetainedVersion {
        self.version.0 += 1;
        self.version
    }
}

/// A message, ordered by its topic alone, so that the topic is not stored twice.
#[derive(Debug)]
struct Entry<M> {
    version: RetainedVersion,
    message: M,
}

impl<M: RetainedMessage> Borrow<str> for Entry<M> {
    fn borrow(&self) -> &str {
        self.message.topic()
    }
}

impl<M: RetainedMessage> PartialEq for Entry<M> {
    fn eq(&self, other: &Self) -> bool {
        self.message.topic() == other.message.topic()
    }
}

impl<M: RetainedMessage> Eq for Entry<M> {}

impl<M: RetainedMessage> PartialOrd for Entry<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M: RetainedMessage> Ord for Entry<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.message.topic().cmp(other.message.topic())
    }
}
