//! A correct MQTT 3.1.1 client on virtual time: it keeps its half of the Session State over connections, answers in
//! order, and sends again what was not acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::broker::Broker;
use super::oracle::{Oracle, Request};
use super::report::Reach;

/// What it knows of its session in the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    Unknown,
    Absent,
    Present,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Offline,
    /// CONNECT is sent.
    Connecting,
    /// CONNACK is here.
    Online,
}

/// Where a message of its own stands: the acknowledgement that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Puback,
    Pubrec,
    Pubcomp,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) index: usize,
    pub(super) id: String,
    pub(super) shard: u16,
    pub(super) link: Option<usize>,
    pub(super) state: State,
    pub(super) session: Session,
    /// Nothing but a clean start makes sure what the session holds.
    pub(super) must_clean: bool,
    pub(super) is_clean: bool,
    pub(super) is_reading: bool,
    /// The number of its user: a new one has no session yet.
    pub(super) user: usize,
    /// The broker may hold a session of the one before.
    pub(super) is_new_user: bool,
    pub(super) keep_alive: u16,
    pub(super) last_sent: u64,
    pub(super) outgoing: VecDeque<(u16, usize, Phase)>,
    pub(super) incoming: BTreeMap<u16, usize>,
    pub(super) requests: BTreeMap<u16, Request>,
    pub(super) acks: VecDeque<(Vec<u8>, Option<u16>)>,
    pub(super) window: BTreeSet<u16>,
    next_id: u16,
    pub(super) input: Vec<u8>,
}

/// Packet Identifiers wrap early, so that each is used many times.
const PACKET_IDS: u16 = 40;

/// What a client works with.
pub(super) struct Context<'a> {
    pub(super) broker: &'a Broker,
    pub(super) oracle: &'a mut Oracle,
}

impl Context<'_> {
    pub(super) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.broker.note(line);
    }
}

impl Client {
    pub(super) fn new(index: usize, broker: &Broker) -> Self {
        let id = format!("c{index}");
        Self {
            index,
            shard: broker.shard_of(&id),
            id,
            link: None,
            state: State::Offline,
            session: Session::Absent,
            must_clean: false,
            is_clean: true,
            is_reading: true,
            user: 0,
            is_new_user: false,
            keep_alive: 0,
            last_sent: 0,
            outgoing: VecDeque::new(),
            incoming: BTreeMap::new(),
            requests: BTreeMap::new(),
            acks: VecDeque::new(),
            window: BTreeSet::new(),
            next_id: 0,
            input: Vec::new(),
        }
    }

    /// Whom its session belongs to.
    pub(super) fn user_name(&self) -> Option<String> {
        (self.user > 0).then(|| format!("u{}", self.user))
    }

    /// Messages of its own that are not acknowledged.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = usize> {
        self.outgoing.iter().map(|(_, message, _)| *message)
    }

    pub(super) fn awaiting_release(&self) -> usize {
        self.outgoing.iter().filter(|(_, _, phase)| *phase != Phase::Puback).count()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.outgoing.len()
    }

    /// What is still open when everything has come to rest.
    pub(super) fn unsettled(&self) -> Option<String> {
        let is_settled = self.outgoing.is_empty()
            && self.incoming.is_empty()
            && self.requests.is_empty()
            && self.acks.is_empty()
            && self.input.is_empty();
        (!is_settled).then(|| {
            format!(
                "unanswered {:?}, no PUBREL for {:?}, requests {:?}, acks {}, bytes {}",
                self.outgoing,
                self.incoming,
                self.requests,
                self.acks.len(),
                self.input.len()
            )
        })
    }

    /// The session starts anew: nothing of the old one counts any more.
    pub(super) fn forget(&mut self, context: &mut Context<'_>) {
        self.outgoing.clear();
        self.incoming.clear();
        self.requests.clear();
        context.oracle.start_session(self.index);
    }

    pub(super) fn start_link(&mut self, link: usize) {
        self.link = Some(link);
        self.state = State::Connecting;
        self.input.clear();
        self.acks.clear();
        self.window.clear();
        self.requests.clear();
        self.is_reading = true;
    }

    pub(super) fn go_offline(&mut self) -> Option<usize> {
        self.state = State::Offline;
        self.acks.clear();
        self.input.clear();
        self.link.take()
    }

    pub(super) fn packet_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % PACKET_IDS + 1;
            let id = self.next_id;
            if !self.requests.contains_key(&id) && self.outgoing.iter().all(|(used, _, _)| *used != id) {
                return id;
            }
        }
    }

    pub(super) fn send(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if let Some(link) = self.link {
            let mut host = context.broker.host.borrow_mut();
            self.last_sent = host.now.tick.0;
            host.send_up(link, bytes);
        }
    }

    /// Publishes a message that the oracle knows.
    pub(super) fn publish(&mut self, context: &Context<'_>, message: usize) {
        let qos = context.oracle.messages[message].sent_qos();
        let id = if qos > 0 { self.packet_id() } else { 0 };
        context.note(format_args!("{} PUBLISH q{qos} id {id} m{message}", self.id));
        match qos {
            0 => {}
            1 => self.outgoing.push_back((id, message, Phase::Puback)),
            _ => self.outgoing.push_back((id, message, Phase::Pubrec)),
        }
        let packet = context.oracle.packet(message, id);
        self.send(context, &packet.encode());
    }

    /// Reads what has come, answers it, and notices the end of the connection.
    pub(super) fn work(&mut self, context: &mut Context<'_>, holds_acks: bool) {
        let Some(link) = self.link else { return };
        if self.is_reading {
            let has_ended = {
                let mut host = context.broker.host.borrow_mut();
                let host = &mut *host;
                let down = &mut host.links[link].down;
                host.progress += down.received.len() as u64;
                self.input.append(&mut down.received);
                down.is_finished()
            };
            self.read(context);
            if has_ended && self.link == Some(link) {
                context.note(format_args!("{} sees the end of L{link}", self.id));
                self.go_offline();
                context.broker.host.borrow_mut().hang_up(link);
                return;
            }
        }
        if holds_acks && !self.acks.is_empty() {
            context.broker.reach(Reach::HeldAcks);
            return;
        }
        while let Some((packet, freed)) = self.acks.pop_front() {
            if let Some(id) = freed {
                self.window.remove(&id);
            }
            self.send(context, &packet);
        }
    }
}
