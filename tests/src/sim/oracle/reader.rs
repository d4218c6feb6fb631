//! What a client subscribed to in its session, and what it got.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::names::matches;
use crate::sim::report::Reach;

use super::expiry::Away;
use super::{Oracle, message_number};

/// A request that waits for its acknowledgement; filters by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim) enum Request {
    Subscribe(Vec<(usize, u8)>),
    /// With the stamp at which it left.
    Unsubscribe(Vec<usize>, u64),
}

/// One SUBSCRIBE to one filter, until UNSUBSCRIBE.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub(super) filter: usize,
    pub(super) qos: u8,
    pub(super) sent: u64,
    pub(super) suback: Option<u64>,
    pub(super) is_refused: bool,
    pub(super) unsubscribe_sent: Option<u64>,
    pub(super) unsuback: Option<u64>,
    /// The connection that it was sent on.
    pub(super) link: Option<usize>,
    /// Its Retained Messages were checked.
    pub(super) is_fed: bool,
}

/// How often a message came in one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Receipt {
    /// Deliveries for a subscription that was there, without copies of QoS 1.
    pub(super) live: u32,
    /// Deliveries as a Retained Message, without copies of QoS 1.
    pub(super) fed: u32,
    /// All of both.
    pub(super) live_seen: u32,
    pub(super) fed_seen: u32,
    /// Deliveries with QoS 2, of each.
    pub(super) live_exactly: u32,
    pub(super) fed_exactly: u32,
    pub(super) last_link: Option<usize>,
    pub(super) on_last_link: u32,
}

/// A client as a receiver.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) shard: u16,
    pub(super) intervals: Vec<Interval>,
    pub(super) receipts: BTreeMap<usize, Receipt>,
    /// The newest message so far, by publisher and QoS; by topic too for those that are retained.
    pub(super) order: BTreeMap<(usize, u8), usize>,
    pub(super) link_order: BTreeMap<(usize, u8), usize>,
    pub(super) retained_order: BTreeMap<(usize, usize, u8), usize>,
    /// Copies over all its sessions.
    pub(super) ever: BTreeMap<usize, u32>,
    pub(super) judged: BTreeSet<usize>,
    /// Messages that were on their way to its shard when it unsubscribed.
    pub(super) excused: BTreeSet<usize>,
    pub(super) connack: u64,
    /// The first CONNACK of the session.
    pub(super) since: Option<u64>,
    pub(super) link: Option<usize>,
    /// How long its sessions outlive a connection; `None` for ever.
    pub(super) expiry_ms: Option<u64>,
    /// Its session has no connection, and does not last for ever.
    pub(super) away: Option<Away>,
    /// When it may have been left since the last CONNACK, by the wall clock.
    pub(super) left_since: Option<(u64, u64)>,
}

impl Reader {
    pub(super) const fn new(shard: u16) -> Self {
        Self {
            shard,
            intervals: Vec::new(),
            receipts: BTreeMap::new(),
            order: BTreeMap::new(),
            link_order: BTreeMap::new(),
            retained_order: BTreeMap::new(),
            ever: BTreeMap::new(),
            judged: BTreeSet::new(),
            excused: BTreeSet::new(),
            connack: 0,
            since: None,
            link: None,
            expiry_ms: None,
            away: None,
            left_since: None,
        }
    }

    /// The order of messages begins again after a crash. What a full queue had dropped may be back then, behind what came
    /// instead.
    pub(super) fn begin_order(&mut self, has_dropped: bool) {
        self.retained_order.clear();
        if has_dropped {
            self.order.clear();
        }
    }

    /// SUBSCRIBEs that a message on `topic` may be due to.
    pub(super) fn matching(&self, topic: usize) -> impl Iterator<Item = &Interval> {
        self.intervals.iter().filter(move |interval| !interval.is_refused && matches(interval.filter, topic))
    }
}

impl Oracle {
    /// Filters that a client has subscribed to and not asked to leave.
    pub(in crate::sim) fn filters_of(&self, client: usize) -> Vec<usize> {
        let is_open = |interval: &&Interval| interval.unsubscribe_sent.is_none();
        self.readers[client].intervals.iter().filter(is_open).map(|interval| interval.filter).collect()
    }

    pub(in crate::sim) fn start_session(&mut self, client: usize) {
        self.tick();
        let reader = &mut self.readers[client];
        let ever = std::mem::take(&mut reader.ever);
        let Reader { expiry_ms, away, left_since, .. } = *reader;
        *reader = Reader { ever, expiry_ms, away, left_since, ..Reader::new(reader.shard) };
    }

    pub(in crate::sim) fn on_connack(&mut self, client: usize, link: Option<usize>) {
        let now = self.tick();
        let is_outlived = self.is_outlived(link);
        let reader = &mut self.readers[client];
        reader.connack = now;
        reader.since.get_or_insert(now);
        // From an earlier broker it says nothing of when this one left the session.
        if !is_outlived {
            reader.left_since = None;
        }
        if let Some(link) = link {
            self.links[link].connack = Some(now);
        }
        let reader = &mut self.readers[client];
        reader.link = link;
        reader.link_order.clear();
    }

    pub(in crate::sim) fn on_subscribe(
        &mut self,
        client: usize,
        filters: &[(usize, u8)],
        link: Option<usize>,
    ) {
        let sent = self.tick();
        for &(filter, qos) in filters {
            if self.readers[client].intervals.iter().any(|interval| interval.filter == filter) {
                self.reach(Reach::SubscribeAgain);
            }
            self.readers[client].intervals.push(Interval {
                filter,
                qos,
                sent,
                suback: None,
                is_refused: false,
                unsubscribe_sent: None,
                unsuback: None,
                link,
                is_fed: false,
            });
        }
    }

    pub(in crate::sim) fn on_suback(
        &mut self,
        client: usize,
        filters: &[(usize, u8)],
        codes: &[u8],
        link: Option<usize>,
    ) {
        let now = self.tick();
        for (&(filter, qos), &code) in filters.iter().zip(codes) {
            let open = self.readers[client]
                .intervals
                .iter_mut()
                .find(|it| it.filter == filter && it.suback.is_none() && it.link == link);
            let Some(interval) = open else { continue };
            interval.suback = Some(now);
            interval.is_refused = code == 0x80;
            if code != qos && code != 0x80 {
                self.fail(format!("c{client} asked for QoS {qos} and was granted {code}"));
            }
        }
    }

    /// What is on its way to the client's shard may be dropped: it is not being delivered yet [MQTT-3.10.4-2].
    pub(in crate::sim) fn on_unsubscribe(
        &mut self,
        client: usize,
        filters: &[usize],
        on_their_way: &[String],
    ) -> u64 {
        let now = self.tick();
        let numbers = on_their_way.iter().filter_map(|payload| message_number(payload));
        self.readers[client].excused.extend(numbers);
        for interval in &mut self.readers[client].intervals {
            if filters.contains(&interval.filter) {
                interval.unsubscribe_sent.get_or_insert(now);
            }
        }
        now
    }

    pub(in crate::sim) fn on_unsuback(&mut self, client: usize, filters: &[usize], sent: u64) {
        let now = self.tick();
        for interval in &mut self.readers[client].intervals {
            if filters.contains(&interval.filter) && interval.sent < sent {
                interval.unsuback.get_or_insert(now);
            }
        }
    }
}
