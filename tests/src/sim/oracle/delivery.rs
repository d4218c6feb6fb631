//! A message that a client gets: wanted, at the right QoS, often enough and not too often, in order.

use crate::sim::client::Client;
use crate::sim::report::Reach;
use crate::wire::Publish;

use super::reader::Interval;
use super::{ANONYMOUS, Oracle, WILL_PUBLISHERS};

impl Oracle {
    /// A client takes a message. A QoS 2 message comes here once for each Packet Identifier that it uses up.
    pub(in crate::sim) fn on_delivery(&mut self, client: &Client, publish: &Publish, message: usize) {
        self.tick();
        let (index, Some(link)) = (client.index, client.link) else { return };
        if message == ANONYMOUS {
            return;
        }
        self.check_wanted(index, publish, message);
        self.check_count(index, publish, message, link);
        self.check_order(index, publish, message);
        // It came before the crash that its client had not noticed.
        if self.links[link].is_outlived {
            self.readers[index].begin_order(self.links[link].has_dropped);
        }
        if self.messages[message].asked.is_some() {
            self.reach(Reach::HookChanges);
        }
        if self.messages[message].publisher >= WILL_PUBLISHERS {
            self.check_will(message);
        }
    }

    /// [MQTT-3.10.4-2]: a subscription of this session was there at some moment of the message's life.
    fn check_wanted(&mut self, client: usize, publish: &Publish, message: usize) {
        let found = &self.messages[message];
        let reader = &self.readers[client];
        let mut qos_max = None;
        let (mut has_ended, mut has_all_ended) = (false, true);
        for interval in reader.matching(found.topic) {
            has_ended |= interval.unsuback.is_some();
            has_all_ended &= interval.unsuback.is_some();
            if interval.unsuback.is_none_or(|stamp| stamp > found.sent) {
                qos_max = qos_max.max(Some(interval.qos));
            }
        }
        if has_ended {
            self.reach(Reach::AfterUnsuback);
        }
        // QoS 0 is not queued. What waited in a queue may still come [MQTT-3.10.4-3].
        if has_all_ended && publish.qos == 0 {
            self.fail(format!("c{client} gets m{message} at QoS 0 after UNSUBACK"));
        } else if has_all_ended {
            self.reach(Reach::QueuedAfterUnsuback);
        }
        match qos_max {
            None => self.fail(format!("c{client} gets m{message}, but has no subscription for it")),
            Some(max) if publish.qos > max => {
                self.fail(format!("c{client} gets m{message} at QoS {} above {max}", publish.qos));
            }
            Some(_) => {}
        }
    }

    fn check_count(&mut self, client: usize, publish: &Publish, message: usize, link: usize) {
        let found = self.messages[message].clone();
        // A QoS 1 message that was sent twice may be two messages for the broker.
        let sends = if found.sent_qos() == 1 { found.sends } else { 1 };
        // What a crash has forgotten is published again, and what its receiver has confirmed may come again; but with QoS 2
        // nothing leaves before it is kept.
        let published = sends + found.repeats;
        let brokers = 1 + self.crashes - found.crashes;
        let raced = u32::from(self.has_raced(client, message));
        let reader = &mut self.readers[client];
        let subscribes = u32::try_from(reader.matching(found.topic).count()).unwrap_or(u32::MAX);
        let receipt = reader.receipts.entry(message).or_default();
        if receipt.last_link != Some(link) {
            receipt.on_last_link = 0;
            receipt.last_link = Some(link);
        }
        // A QoS 1 message with DUP is a copy of an earlier delivery; of QoS 2 the client has taken those out.
        let counted = u32::from(!publish.dup || publish.qos == 2);
        let exactly = u32::from(publish.qos == 2);
        if publish.retain {
            receipt.fed_seen += 1;
            receipt.fed += counted;
            receipt.fed_exactly += exactly;
        } else {
            receipt.live_seen += 1;
            receipt.live += counted;
            receipt.live_exactly += exactly;
            receipt.on_last_link += 1;
            *reader.ever.entry(message).or_default() += counted;
        }
        let receipt = receipt.clone();
        let ever = reader.ever.get(&message).copied().unwrap_or(0);
        let again = publish.qos == 1 && publish.dup;
        let (fed, live) = (receipt.fed, receipt.live);
        let problem = if live > published * brokers || ever > published * brokers {
            Some("live too often")
        } else if receipt.live_exactly > sends {
            Some("live twice with QoS 2")
        } else if receipt.on_last_link > published {
            Some("too often on one connection")
        } else if fed > subscribes * brokers || receipt.fed_exactly > subscribes {
            Some("as retained more often than it subscribed")
        } else if fed + live > (published + raced + subscribes.saturating_sub(1)) * brokers
            || receipt.live_exactly + receipt.fed_exactly > sends + raced + subscribes.saturating_sub(1)
        {
            Some("both live and as retained")
        } else {
            None
        };
        if let Some(problem) = problem {
            self.fail(format!("c{client} gets m{message} {problem}: {receipt:?}, published {published}"));
        }
        self.reach(match publish.qos {
            _ if again => Reach::Redelivered1,
            0 => Reach::AtMostOnce,
            1 => Reach::AtLeastOnce,
            _ => Reach::ExactlyOnce,
        });
        if publish.retain && fed > 1 {
            self.reach(Reach::RetainedFedAgain);
        } else if publish.retain {
            self.reach(Reach::RetainedFed);
            self.check_fed(client, message);
        }
    }

    /// Whether a message was retained while this client subscribed, and the broker has crashed since. The records of the
    /// two may be kept in either order, and one of them may be lost: see docs/durability.md.
    fn has_raced(&self, client: usize, message: usize) -> bool {
        let found = &self.messages[message];
        let overlaps = |interval: &Interval| {
            found.closed.is_none_or(|closed| interval.sent < closed)
                && interval.suback.is_none_or(|suback| suback > found.sent)
        };
        found.is_retain
            && self.crashes > found.crashes
            && self.readers[client].matching(found.topic).any(overlaps)
    }

    /// [MQTT-4.6.0-5, -6]: what one publisher sent comes in its order. Message numbers grow in the order of sending.
    fn check_order(&mut self, client: usize, publish: &Publish, message: usize) {
        let found = self.messages[message].clone();
        // What was published again because a crash forgot it comes behind what others saw before.
        let is_repeated = found.repeats > 0 && publish.qos < 2;
        if !found.is_in_order() || is_repeated || self.has_raced(client, message) {
            return;
        }
        let reader = &mut self.readers[client];
        let key = (found.publisher, publish.qos);
        let receipt = reader.receipts.get(&message).cloned().unwrap_or_default();
        let mut problem = None;
        if !publish.retain {
            let last = reader.link_order.entry(key).or_insert(message);
            if *last > message {
                problem = Some(("on this connection", *last));
            }
            *last = message;
            if receipt.live_seen == 1 {
                let last = reader.order.entry(key).or_insert(message);
                if *last > message {
                    problem = Some(("in this session", *last));
                }
                *last = message.max(*last);
            }
        }
        let is_one = reader.matching(found.topic).count() == 1;
        let mut has_retained_order = false;
        if found.is_retain && !self.may_refuse_retained && is_one && receipt.live_seen + receipt.fed_seen == 1
        {
            let last =
                reader.retained_order.entry((found.publisher, found.topic, publish.qos)).or_insert(message);
            has_retained_order = *last != message;
            if *last > message {
                problem = Some(("among retained and live", *last));
            }
            *last = message.max(*last);
        }
        if has_retained_order {
            self.reach(Reach::RetainedOrder);
        }
        if !publish.retain {
            self.reach(Reach::OrderOnLink);
            self.reach(Reach::OrderInSession);
        }
        if let Some((place, last)) = problem {
            self.fail(format!("c{client} gets m{message} after m{last} {place}"));
        }
    }
}
