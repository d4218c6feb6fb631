//! What must hold. The oracles know what clients sent and got, and when; of the broker they see only which
//! connections it took and closed, and its counters.
//!
//! Time is a stamp that grows with everything a client sends or gets. A message has a *window*: from the stamp at
//! which it was first sent to the one at which it was known to be handled. What concurrent clients may see in either
//! order is never judged; what one saw before the other acted always is.

mod crash;
mod delivery;
mod expiry;
mod limits;
mod links;
mod miss;
mod reader;
mod retained;

use culex_core::engine::error::CloseReason;
use culex_core::limits::Limits;

use crate::wire::Publish;

use super::hooks::REPLACED;
use super::names::{TOPICS, topic_number};
use super::report::{Counts, Reach};

pub(super) use self::reader::Request;

use self::reader::Reader;

/// A message without payload carries no number.
pub(super) const ANONYMOUS: usize = usize::MAX;

/// Publishers from here on are wills: their messages have an order of their own.
const WILL_PUBLISHERS: usize = 1000;

/// An Application Message.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) publisher: usize,
    pub(super) topic: usize,
    pub(super) qos: u8,
    pub(super) is_retain: bool,
    pub(super) is_clear: bool,
    pub(super) payload_bytes: usize,
    /// How often its PUBLISH left.
    pub(super) sends: u32,
    /// How often it may have been published again, because a crash forgot it.
    pub(super) repeats: u32,
    /// Crashes before it was first sent.
    pub(super) crashes: u32,
    pub(super) sent: u64,
    /// Nothing of it is handled after this.
    pub(super) closed: Option<u64>,
    pub(super) is_handled: bool,
    /// It came with an attempt that got in after a newer one had gone.
    pub(super) is_late: bool,
    /// The connection that it came with, or whose will it is.
    pub(super) link: usize,
    /// A hook makes of this PUBLISH the message that is described here.
    pub(super) asked: Option<Asked>,
    /// A hook lets nobody have it.
    pub(super) is_withheld: bool,
}

/// What of a PUBLISH is not as it is delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) topic: usize,
    pub(super) qos: u8,
    pub(super) is_retain: bool,
    pub(super) is_payload_replaced: bool,
}

impl Message {
    /// The QoS of its PUBLISH, which may be more than it is delivered with.
    pub(super) const fn sent_qos(&self) -> u8 {
        match self.asked {
            Some(asked) => asked.qos,
            None => self.qos,
        }
    }

    /// Its place among the messages of its publisher is that of its number: it was published once at most, however
    /// often it was sent. A will comes when its connection ends, which an old attempt may do late.
    const fn is_in_order(&self) -> bool {
        (self.sent_qos() != 1 || self.sends == 1) && self.publisher < WILL_PUBLISHERS && !self.is_late
    }
}

/// A connection as the oracles see it.
#[derive(Debug, Default, Clone)]
struct LinkState {
    client: usize,
    is_attached: bool,
    is_clean: bool,
    connack: Option<u64>,
    /// It will be closed before the turn is over.
    is_ending: bool,
    closed: Option<CloseReason>,
    will: Option<usize>,
    /// The broker ended before the connection, and nobody has kept its will.
    is_will_lost: bool,
    /// Its session may have ended before it came.
    may_have_expired: bool,
    /// Its broker has crashed: what still comes was sent before that.
    is_outlived: bool,
    /// And that broker had dropped messages from full queues.
    has_dropped: bool,
}

/// All of them, and what they have found.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) messages: Vec<Message>,
    pub(super) in_flight_max: u16,
    /// Retained Messages may be refused, so what is stored is not known.
    pub(super) may_refuse_retained: bool,
    /// There is a limit for unfinished packets that correct clients may reach.
    pub(super) may_close_partial: bool,
    pub(super) counts: Counts,
    /// What is wrong; the first of it ends the run.
    pub(super) violations: Vec<String>,
    readers: Vec<Reader>,
    links: Vec<LinkState>,
    wills_due: u64,
    /// Messages that did not come, by shard of the receiver.
    misses: Vec<Vec<String>>,
    stamp: u64,
    defaults: Limits,
    gauge_checks: u64,
    /// How often the broker was started again.
    pub(super) crashes: u32,
    /// The disk had everything that was acknowledged before this.
    synced: u64,
    /// Everything that happened before this was committed.
    rested: u64,
    /// Will Messages that a broker has left to the next one.
    left_wills: Vec<usize>,
    /// Messages that earlier brokers have dropped.
    dropped_before: u64,
    /// Sessions and Retained Messages that the broker began with, whatever the limits say.
    restored: (u64, u64),
    /// When this broker began, unless it is the first.
    started: u64,
    /// From the monotonic clock to the wall clock of this broker.
    wall_offset: u64,
}

impl Oracle {
    pub(super) fn new(shards_of_clients: &[u16], shards: usize, in_flight_max: u16) -> Self {
        Self {
            messages: Vec::new(),
            in_flight_max,
            may_refuse_retained: false,
            may_close_partial: false,
            counts: Counts::default(),
            violations: Vec::new(),
            readers: shards_of_clients.iter().map(|shard| Reader::new(*shard)).collect(),
            links: Vec::new(),
            wills_due: 0,
            misses: vec![Vec::new(); shards],
            stamp: 0,
            defaults: Limits::default(),
            gauge_checks: 0,
            crashes: 0,
            synced: 0,
            rested: 0,
            left_wills: Vec::new(),
            dropped_before: 0,
            restored: (0, 0),
            started: 0,
            wall_offset: 0,
        }
    }

    pub(super) fn fail(&mut self, text: String) {
        self.violations.push(text);
    }

    const fn reach(&mut self, what: Reach) {
        self.counts.add(what);
    }

    const fn tick(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// A message that is about to leave; gives its number.
    pub(super) fn on_send(&mut self, mut message: Message) -> usize {
        message.sent = self.tick();
        message.sends = 1;
        message.crashes = self.crashes;
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// A will that CONNECT is about to carry. It may be published from now on, and not later than it is closed.
    pub(super) fn on_will(&mut self, client: usize, message: Message) -> usize {
        self.on_send(Message { publisher: WILL_PUBLISHERS + client, ..message })
    }

    /// A PUBLISH that was not acknowledged leaves again.
    pub(super) fn on_send_again(&mut self, message: usize) {
        let found = &mut self.messages[message];
        found.sends += 1;
        // Before it answers, a broker may have delivered what the next one knows nothing of.
        if self.crashes > found.crashes && found.sent_qos() == 2 {
            found.repeats += 1;
            self.reach(Reach::RepeatAfterCrash);
        }
    }

    /// The broker has acknowledged a message.
    pub(super) fn on_handled(&mut self, message: usize) {
        let now = self.tick();
        let found = &mut self.messages[message];
        found.is_handled = true;
        found.closed.get_or_insert(now);
        if found.is_withheld {
            self.reach(Reach::HookWithheld);
        }
    }

    /// The PUBLISH of a message.
    pub(super) fn packet(&self, message: usize, id: u16) -> Publish {
        let found = &self.messages[message];
        let mut publish = Publish::new(TOPICS[found.topic], self.payload(message));
        publish.qos = found.qos;
        publish.retain = found.is_retain;
        if let Some(asked) = found.asked {
            publish = Publish::new(TOPICS[asked.topic], self.sent_payload(message, asked));
            publish.qos = asked.qos;
            publish.retain = asked.is_retain;
        }
        publish.id = (publish.qos > 0).then_some(id);
        publish
    }

    pub(super) fn payload(&self, message: usize) -> String {
        let found = &self.messages[message];
        if found.is_clear {
            return String::new();
        }
        format!("{:.<width$}", format!("{message};"), width = found.payload_bytes)
    }

    fn sent_payload(&self, message: usize, asked: Asked) -> String {
        if asked.is_payload_replaced { format!("{message}{REPLACED}") } else { self.payload(message) }
    }

    /// Which message a PUBLISH carries; [`ANONYMOUS`] if it has no payload.
    pub(super) fn identify(&mut self, publish: &Publish) -> Option<usize> {
        let text = publish.text();
        if text.is_empty() {
            let may_be_clear = topic_number(&publish.topic).is_some() && !publish.retain;
            if !may_be_clear {
                self.fail(format!("an empty message is sent as retained: {publish:?}"));
            }
            return may_be_clear.then_some(ANONYMOUS);
        }
        let found = message_number(&text).filter(|number| {
            self.messages.get(*number).is_some_and(|message| {
                !message.is_withheld
                    && TOPICS[message.topic] == publish.topic
                    && message.qos >= publish.qos
                    && self.payload(*number) == text
            })
        });
        if found.is_none() {
            self.fail(format!("nobody sent {} q{} {text:.20}", publish.topic, publish.qos));
        }
        found
    }
}

/// The number that a payload begins with.
fn message_number(payload: &str) -> Option<usize> {
    payload.split_once(';').and_then(|(number, _)| number.parse().ok())
}
