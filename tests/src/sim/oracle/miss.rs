//! Nothing that is owed is missed. Judged when everything has come to rest, so that what is not there does not come.

use crate::sim::client::{Client, State};
use crate::sim::names::FILTERS;
use crate::sim::report::Reach;

use super::Oracle;
use super::reader::Reader;

impl Oracle {
    /// Everything has come to rest: what was sent on a live connection is handled, and what was not will never be,
    /// unless a client means to send it again.
    pub(in crate::sim) fn close_messages(&mut self, clients: &[Client]) {
        let now = self.tick();
        self.rested = now;
        let mut is_kept = vec![false; self.messages.len()];
        for message in clients.iter().flat_map(Client::unacknowledged) {
            is_kept[message] = true;
        }
        let live: Vec<_> =
            clients.iter().filter(|client| client.state == State::Online).map(|client| client.link).collect();
        for (message, is_kept) in self.messages.iter_mut().zip(is_kept) {
            let is_open_will = message.publisher >= super::WILL_PUBLISHERS;
            if message.closed.is_none() && !is_kept && !is_open_will {
                message.closed = Some(now);
                message.is_handled |= live.contains(&Some(message.link));
            }
        }
    }

    /// Every client that is online has what it is owed.
    pub(in crate::sim) fn check_misses(&mut self, clients: &[Client], dropped: &[u64]) {
        for client in clients.iter().filter(|client| client.state == State::Online) {
            for message in 0..self.messages.len() {
                self.judge(client.index, message);
            }
        }
        if self.crashes > 0 {
            // Sessions have changed their shards.
            let missed: Vec<String> = self.misses.concat();
            let dropped = self.dropped_before + dropped.iter().sum::<u64>();
            if missed.len() as u64 > dropped {
                self.fail(format!("missed, {dropped} counted as dropped: {}", missed.join(", ")));
            }
            return;
        }
        for (shard, dropped) in dropped.iter().enumerate() {
            let missed = &self.misses[shard];
            if missed.len() as u64 > *dropped {
                let (count, missed) = (missed.len(), missed.join(", "));
                self.fail(format!("shard {shard}: {count} missed, {dropped} counted as dropped: {missed}"));
            }
        }
    }

    fn judge(&mut self, client: usize, message: usize) {
        let found = &self.messages[message];
        let reader = &self.readers[client];
        let is_for_nobody = found.is_clear || found.is_withheld;
        let (true, false, Some(closed)) = (found.is_handled, is_for_nobody, found.closed) else { return };
        if reader.judged.contains(&message) {
            return;
        }
        let Some(granted) = granted_throughout(reader, found.topic, found.sent, closed) else { return };
        let qos = granted.min(found.qos);
        if qos == 0 && found.sent < reader.connack {
            return;
        }
        let shard = usize::from(reader.shard);
        let is_here = reader.receipts.contains_key(&message);
        self.readers[client].judged.insert(message);
        if is_here {
            self.reach(if qos == 0 { Reach::Missed0 } else { Reach::Missed1 });
        } else if self.readers[client].excused.contains(&message) {
            self.reach(Reach::MissedLeaving);
        } else {
            self.counts.add(Reach::MissedDropped);
            self.misses[shard].push(format!("c{client} was owed m{message} at QoS {qos}"));
        }
    }
}

/// The least QoS at which a session was subscribed to a topic without a break from one stamp to the other.
fn granted_throughout(reader: &Reader, topic: usize, from: u64, to: u64) -> Option<u8> {
    let mut best = None;
    for filter in 0..FILTERS.len() {
        let mut granted = None;
        for interval in reader.matching(topic).filter(|interval| interval.filter == filter) {
            let is_there = interval.suback.is_some_and(|stamp| stamp < from);
            let is_kept = interval.unsubscribe_sent.is_none_or(|stamp| stamp > to);
            if is_there {
                granted = is_kept.then_some(interval.qos);
            } else if interval.sent <= to {
                granted = granted.map(|qos: u8| qos.min(interval.qos));
            }
        }
        best = best.max(granted);
    }
    best
}
