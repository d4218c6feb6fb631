//! A client that receives numbers, acknowledges them when it is told to, and remembers QoS 2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use culex_tests::wire::{self, Connect};

use super::link::{Got, Link};
use super::network::Network;
use super::publisher::Publisher;

#[derive(Debug)]
pub(crate) struct Subscriber {
    id: &'static str,
    qos: u8,
    link: Link,
    is_stored: bool,
    is_subscribed: bool,
    /// Numbers by topic, in the order in which they came.
    received: BTreeMap<String, Vec<(usize, u8)>>,
    incoming: BTreeSet<u16>,
    answers: VecDeque<Vec<u8>>,
}

impl Subscriber {
    pub(crate) fn new(id: &'static str, qos: u8) -> Self {
        Self {
            id,
            qos,
            link: Link::default(),
            is_stored: false,
            is_subscribed: false,
            received: BTreeMap::new(),
            incoming: BTreeSet::new(),
            answers: VecDeque::new(),
        }
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    pub(crate) fn connect(&mut self, net: &mut dyn Network) {
        self.answers.clear();
        self.link.connect(net, &Connect::new(self.id).persistent());
    }

    pub(crate) fn connect_if_away(&mut self, net: &mut dyn Network) {
        if self.link.is_away() {
            self.connect(net);
        }
    }

    pub(crate) fn subscribe(&mut self, net: &mut dyn Network) {
        self.link.send(net, &wire::subscribe(1, &[("t/#", self.qos)]));
    }

    pub(crate) fn lose(&mut self, net: &mut dyn Network) {
        self.answers.clear();
        self.link.lose(net);
    }

    pub(crate) fn forget_connection(&mut self) {
        self.answers.clear();
        self.link.forget();
    }

    /// Gives the next answers.
    pub(crate) fn acknowledge(&mut self, net: &mut dyn Network, count: usize) {
        for _ in 0..count {
            let Some(answer) = self.answers.pop_front() else { return };
            self.link.send(net, &answer);
        }
    }

    pub(crate) fn read(&mut self, net: &mut dyn Network) {
        for got in self.link.read(net) {
            match got {
                Got::ConnAck { is_session_present } => {
                    assert!(!self.is_stored || is_session_present, "the session of {} was lost", self.id);
                    self.is_stored = true;
                    self.link.is_open = true;
                }
                Got::SubAck => self.is_subscribed = true,
                Got::Publish { id, qos, topic, payload } => self.take(id.unwrap(), qos, topic, &payload),
                Got::PubRel(id) => {
                    self.incoming.remove(&id);
                    self.answers.push_back(wire::pubcomp(id));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, id: u16, qos: u8, topic: String, payload: &[u8]) {
        let is_new = qos == 1 || self.incoming.insert(id);
        self.answers.push_back(if qos == 1 { wire::puback(id) } else { wire::pubrec(id) });
        if is_new {
            let text = std::str::from_utf8(payload).unwrap();
            let number = text.split(' ').next_back().unwrap().parse().unwrap();
            self.received.entry(topic).or_default().push((number, qos));
        }
    }

    /// So many different numbers of a topic have come.
    pub(crate) fn has(&self, topic: &str, count: usize) -> bool {
        let numbers = self.received.get(topic).into_iter().flatten().map(|(number, _)| number);
        numbers.collect::<BTreeSet<_>>().len() >= count
    }

    /// Everything that was sent has come, QoS 2 once, and each QoS in order [MQTT-4.6.0-6].
    pub(crate) fn check(&self, publisher: &Publisher) {
        let none = Vec::new();
        let received = self.received.get(publisher.topic()).unwrap_or(&none);
        for qos in [1, 2] {
            let of_qos = received.iter().filter(|(_, other)| *other == qos).map(|(number, _)| *number);
            let mut seen = BTreeSet::new();
            let first: Vec<_> = of_qos.clone().filter(|number| seen.insert(*number)).collect();
            let sent: Vec<_> = publisher.sent_with(|sent| sent.min(self.qos) == qos);
            assert_eq!(first, sent, "QoS {qos} from {} to {}", publisher.topic(), self.id);
            assert!(qos == 1 || of_qos.count() == sent.len(), "QoS 2 twice to {}: {received:?}", self.id);
        }
    }
}
