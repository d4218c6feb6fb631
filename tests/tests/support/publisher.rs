//! A client that publishes numbers, and again what was not acknowledged.

use culex_tests::wire::{self, Connect, Publish};

use super::link::{Got, Link};
use super::network::Network;

#[derive(Debug)]
pub(crate) struct Publisher {
    id: &'static str,
    is_persistent: bool,
    topic: &'static str,
    /// Its messages are retained and have this QoS: a repeat of QoS 1 behind a newer one of QoS 2, which is no repeat any
    /// more, would bring the older one back, and rightly so.
    retains_with: Option<u8>,
    link: Link,
    /// CONNACK of a persistent session came once.
    is_stored: bool,
    /// QoS of each number, in the order of sending.
    sent: Vec<u8>,
    /// Whether the number cleared the Retained Message.
    cleared: Vec<bool>,
    /// The highest number that the broker has taken responsibility for.
    acknowledged: Option<usize>,
    unfinished: Vec<Unfinished>,
    last_id: u16,
}

#[derive(Debug)]
struct Unfinished {
    id: u16,
    number: usize,
    is_released: bool,
}

/// Few, so that they are used again soon.
const IDS: u16 = 6;

impl Publisher {
    pub(crate) fn new(id: &'static str, is_persistent: bool, topic: &'static str) -> Self {
        Self {
            id,
            is_persistent,
            topic,
            retains_with: None,
            link: Link::default(),
            is_stored: false,
            sent: Vec::new(),
            cleared: Vec::new(),
            acknowledged: None,
            unfinished: Vec::new(),
            last_id: 0,
        }
    }

    pub(crate) fn retaining(mut self, qos: u8) -> Self {
        self.retains_with = Some(qos);
        self
    }

    pub(crate) fn topic(&self) -> &str {
        self.topic
    }

    /// The numbers with such a QoS.
    pub(crate) fn sent_with(&self, is_such: impl Fn(u8) -> bool) -> Vec<usize> {
        (0..self.sent.len()).filter(|number| is_such(self.sent[*number])).collect()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.unfinished.is_empty()
    }

    pub(crate) fn connect(&mut self, net: &mut dyn Network) {
        let connect = Connect::new(self.id);
        self.link.connect(net, &if self.is_persistent { connect.persistent() } else { connect });
    }

    pub(crate) fn connect_if_away(&mut self, net: &mut dyn Network) {
        if self.link.is_away() {
            self.connect(net);
        }
    }

    pub(crate) fn lose(&mut self, net: &mut dyn Network) {
        self.link.lose(net);
    }

    pub(crate) fn forget_connection(&mut self) {
        self.link.forget();
    }

    /// The next number. A client without a stored session has no QoS 2 that outlives its connection.
    pub(crate) fn publish(&mut self, net: &mut dyn Network, qos: u8, is_clear: bool) {
        if !self.link.is_open || self.unfinished.len() + 1 >= usize::from(IDS) {
            return;
        }
        let id = (1..=IDS).map(|step| (self.last_id + step) % IDS + 1);
        let mut free = id.filter(|id| self.unfinished.iter().all(|message| message.id != *id));
        let id = free.next().unwrap();
        drop(free);
        self.last_id = id;
        let number = self.sent.len();
        self.sent.push(if self.is_persistent { self.retains_with.unwrap_or(qos) } else { 1 });
        self.cleared.push(is_clear && self.retains_with.is_some());
        self.unfinished.push(Unfinished { id, number, is_released: false });
        let packet = self.packet(id, number).encode();
        self.link.send(net, &packet);
    }

    fn packet(&self, id: u16, number: usize) -> Publish {
        let payload = if self.cleared[number] { String::new() } else { format!("{} {number}", self.id) };
        let publish = Publish::new(self.topic, payload).qos(self.sent[number], id);
        if self.retains_with.is_some() { publish.retained() } else { publish }
    }

    pub(crate) fn read(&mut self, net: &mut dyn Network) {
        for got in self.link.read(net) {
            match got {
                Got::ConnAck { is_session_present } => {
                    assert!(!self.is_stored || is_session_present, "the session of {} was lost", self.id);
                    self.is_stored = self.is_persistent;
                    self.link.is_open = true;
                    self.send_again(net);
                }
                Got::PubAck(id) => {
                    self.acknowledge(id);
                    self.unfinished.retain(|message| message.id != id);
                }
                Got::PubRec(id) => {
                    self.acknowledge(id);
                    for message in self.unfinished.iter_mut().filter(|message| message.id == id) {
                        message.is_released = true;
                    }
                    self.link.send(net, &wire::pubrel(id));
                }
                Got::PubComp(id) => self.unfinished.retain(|message| message.id != id),
                other => panic!("{other:?}"),
            }
        }
    }

    fn acknowledge(&mut self, id: u16) {
        let number = self.unfinished.iter().find(|message| message.id == id).map(|message| message.number);
        self.acknowledged = self.acknowledged.max(number);
    }

    fn send_again(&self, net: &mut dyn Network) {
        for message in &self.unfinished {
            let packet = if message.is_released {
                wire::pubrel(message.id)
            } else {
                self.packet(message.id, message.number).again().encode()
            };
            self.link.send(net, &packet);
        }
    }

    /// What the store has as Retained Message is the last acknowledged number or a later one.
    pub(crate) fn check_retained(&self, payload: Option<&[u8]>) {
        if self.retains_with.is_none() {
            return;
        }
        let allowed = self.acknowledged.map_or(0, |number| number)..self.sent.len();
        let is_value = |number: usize| match payload {
            None => self.cleared[number],
            Some(payload) => !self.cleared[number] && payload == format!("{} {number}", self.id).as_bytes(),
        };
        let is_right = (self.acknowledged.is_none() && payload.is_none()) || allowed.clone().any(is_value);
        assert!(is_right, "retained {payload:?}, allowed numbers {allowed:?}");
    }
}
