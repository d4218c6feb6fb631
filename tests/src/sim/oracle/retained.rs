//! Retained Messages: the store holds the last write of each topic, and a new subscription gets it.

use crate::sim::client::{Client, State};
use crate::sim::names::{TOPICS, matches};
use crate::sim::report::Reach;

use super::reader::Interval;
use super::{Message, Oracle};

impl Oracle {
    /// A message that was sent as retained was not replaced before its receiver subscribed.
    pub(super) fn check_fed(&mut self, client: usize, message: usize) {
        let found = &self.messages[message];
        if !found.is_retain {
            return self.fail(format!("c{client} gets m{message} with RETAIN, but it never was retained"));
        }
        if self.may_refuse_retained {
            return;
        }
        let Some(subscribed) = self.readers[client].matching(found.topic).map(|interval| interval.sent).min()
        else {
            return;
        };
        let replaced = self.messages.iter().position(|other| {
            other.closed.is_some_and(|stamp| stamp < subscribed) && is_replaced(found, other)
        });
        if let Some(other) = replaced {
            self.fail(format!("c{client} gets m{message} as retained, which m{other} replaced before"));
        }
    }

    /// The messages that may be the retained one of a topic now that everything has come to rest.
    fn candidates(&self, topic: usize) -> Vec<usize> {
        let writes = |message: &&Message| message.topic == topic && message.is_retain;
        let is_candidate = |message: &Message| {
            (message.is_handled || message.sends > 0)
                && !self.messages.iter().filter(writes).any(|other| is_replaced(message, other))
        };
        let all = self.messages.iter().enumerate();
        all.filter(|(_, message)| writes(message) && is_candidate(message)).map(|(index, _)| index).collect()
    }

    /// What a client that subscribed to everything got as retained is the last write of each topic.
    pub(in crate::sim) fn check_store(&mut self, probe: &Client) {
        if self.may_refuse_retained {
            return;
        }
        for topic in 0..TOPICS.len() {
            let got: Vec<usize> = self.readers[probe.index]
                .receipts
                .iter()
                .filter(|(message, receipt)| self.messages[**message].topic == topic && receipt.fed_seen > 0)
                .map(|(message, _)| *message)
                .collect();
            self.check_retained(topic, got);
        }
    }

    /// What is retained is the last write of a topic.
    pub(super) fn check_retained(&mut self, topic: usize, got: Vec<usize>) {
        let candidates = self.candidates(topic);
        let may_be_empty = candidates.iter().all(|message| !self.messages[*message].is_handled)
            || candidates.iter().any(|message| self.messages[*message].is_clear);
        let is_right = match got.as_slice() {
            [] => may_be_empty,
            [one] => candidates.contains(one),
            _ => false,
        };
        if !is_right {
            self.fail(format!(
                "{got:?} is retained for {}, the last write is among {candidates:?}",
                TOPICS[topic]
            ));
        }
        self.reach(if got.is_empty() { Reach::RetainedProbeEmpty } else { Reach::RetainedProbe });
    }

    /// Whoever subscribed got what is retained now, from the store or live; but QoS 0 only if the connection is still there.
    pub(in crate::sim) fn check_feeds(&mut self, clients: &[Client]) {
        if self.may_refuse_retained {
            return;
        }
        let candidates: Vec<Vec<usize>> = (0..TOPICS.len()).map(|topic| self.candidates(topic)).collect();
        for client in clients.iter().filter(|client| client.state == State::Online) {
            let index = client.index;
            for place in 0..self.readers[index].intervals.len() {
                let interval = self.readers[index].intervals[place].clone();
                let is_due = interval.suback.is_some()
                    && !interval.is_refused
                    && interval.unsubscribe_sent.is_none()
                    && !interval.is_fed;
                if !is_due {
                    continue;
                }
                self.readers[index].intervals[place].is_fed = true;
                // A second SUBSCRIBE begins again where the first was not done; then the messages come once.
                let mut later = self.readers[index].intervals.iter().skip(place + 1);
                if later.any(|other| other.filter == interval.filter && !other.is_refused) {
                    continue;
                }
                let qos_min = u8::from(interval.link != client.link);
                for topic in (0..TOPICS.len()).filter(|topic| matches(interval.filter, *topic)) {
                    self.check_feed(index, &interval, qos_min, &candidates[topic]);
                }
            }
        }
    }

    fn check_feed(&mut self, client: usize, interval: &Interval, qos_min: u8, candidates: &[usize]) {
        let &[message] = candidates else { return };
        let found = &self.messages[message];
        if found.is_clear || !found.is_handled || found.qos.min(interval.qos) < qos_min {
            return;
        }
        // What was there before SUBSCRIBE comes from the store; what came meanwhile from there or live.
        let is_stable = found.closed.is_some_and(|stamp| stamp < interval.sent);
        let reader = &self.readers[client];
        let has_it = reader
            .receipts
            .get(&message)
            .is_some_and(|receipt| receipt.fed_seen > 0 || (!is_stable && receipt.live_seen > 0));
        let shard = usize::from(reader.shard);
        if has_it {
            self.reach(if is_stable { Reach::RetainedOwed } else { Reach::RetainedMeanwhile });
        } else if is_stable || self.readers[client].judged.insert(message) {
            self.misses[shard].push(format!("c{client} was owed m{message} on subscribing"));
        }
    }
}

/// Whether `other` certainly is a later write to the same topic.
fn is_replaced(message: &Message, other: &Message) -> bool {
    if other.topic != message.topic || !other.is_retain || !other.is_handled {
        return false;
    }
    let is_after = message.closed.is_some_and(|closed| other.sent > closed);
    // What one publisher sends is handled in its order, unless it comes again.
    let is_next = other.publisher == message.publisher && other.sent > message.sent && message.is_in_order();
    is_after || is_next
}
