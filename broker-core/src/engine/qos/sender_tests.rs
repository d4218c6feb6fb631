//! The sender's table of transitions, and the sender against a list of messages.

use std::fmt::Write as _;

use culex_codec::{PacketId, QoS};
use proptest::prelude::*;

use super::{AckError, Awaits, Outgoing, PubrecOutcome, Restore, RestoreError, SendAction, Sender};

const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// A message by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Out {
    number: u32,
    qos: QoS,
}

impl Outgoing for Out {
    fn qos(&self) -> QoS {
        self.qos
    }

    fn bytes(&self) -> usize {
        10
    }
}

fn out(number: u32, qos: QoS) -> Out {
    Out { number, qos }
}

/// What was sent, as text: `7!2*` is PUBLISH of message 7, QoS 2, DUP; `rel` is PUBREL.
fn send_all(sender: &mut Sender<Out>) -> Vec<(u16, String)> {
    let mut all = Vec::new();
    while let Some(sending) = sender.next_to_send() {
        let text = match sending.action {
            SendAction::Publish { message, qos, is_dup } => {
                format!(
                    "{}!{}{}",
                    message.number,
                    if qos == QOS2 { 2 } else { 1 },
                    if is_dup { "*" } else { "" }
                )
            }
            SendAction::PubRel => "rel".to_owned(),
        };
        all.push((sending.packet_id.get(), text));
    }
    all
}

fn texts(sender: &mut Sender<Out>) -> String {
    send_all(sender).into_iter().map(|(id, text)| format!("{id}:{text}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_of_transitions() {
    let expected = "\
free         puback       unknown      -> free
free         pubrec       unknown      -> free
free         pubrec error unknown      -> free
free         pubcomp      unknown      -> free
AwaitPuback  puback       acked        -> free
AwaitPuback  pubrec       wrong phase  -> AwaitPuback
AwaitPuback  pubrec error wrong phase  -> AwaitPuback
AwaitPuback  pubcomp      wrong phase  -> AwaitPuback
AwaitPubrec  puback       wrong phase  -> AwaitPubrec
AwaitPubrec  pubrec       send PUBREL  -> AwaitPubcomp
AwaitPubrec  pubrec error refused      -> free
AwaitPubrec  pubcomp      wrong phase  -> AwaitPubrec
AwaitPubcomp puback       wrong phase  -> AwaitPubcomp
AwaitPubcomp pubrec       PUBREL again -> AwaitPubcomp
AwaitPubcomp pubrec error wrong phase  -> AwaitPubcomp
AwaitPubcomp pubcomp      completed    -> free
";
    let mut table = String::new();
    for state in ["free", "AwaitPuback", "AwaitPubrec", "AwaitPubcomp"] {
        for event in ["puback", "pubrec", "pubrec error", "pubcomp"] {
            let mut sender = Sender::new(10);
            match state {
                "AwaitPuback" => sender.push(out(1, QOS1)),
                "AwaitPubrec" | "AwaitPubcomp" => sender.push(out(1, QOS2)),
                _ => {}
            }
            send_all(&mut sender);
            if state == "AwaitPubcomp" {
                sender.on_pubrec(id(1), false).unwrap();
            }
            let result = match event {
                "puback" => sender.on_puback(id(1)).map(|_| "acked"),
                "pubcomp" => sender.on_pubcomp(id(1)).map(|_| "completed"),
                _ => sender.on_pubrec(id(1), event == "pubrec error").map(|outcome| match outcome {
                    PubrecOutcome::Release(_) => "send PUBREL",
                    PubrecOutcome::ReleaseAgain { .. } => "PUBREL again",
                    PubrecOutcome::Refused(_) => "refused",
                }),
            };
            let result = match result {
                Ok(text) => text,
                Err(AckError::UnknownPacketId(_)) => "unknown",
                Err(AckError::WrongPhase { .. }) => "wrong phase",
            };
            let after = match sender.find_awaits(id(1)) {
                None => "free",
                Some(Awaits::Puback) => "AwaitPuback",
                Some(Awaits::Pubrec) => "AwaitPubrec",
                Some(Awaits::Pubcomp) => "AwaitPubcomp",
            };
            writeln!(table, "{state:<12} {event:<12} {result:<12} -> {after}").unwrap();
        }
    }
    assert_eq!(table, expected);
}

#[test]
fn after_a_reconnect_the_order_is_the_original_one_within_the_new_receive_maximum() {
    let mut sender = Sender::new(4);
    for n in 1..=6 {
        sender.push(out(n, if n % 2 == 0 { QOS2 } else { QOS1 }));
    }
    assert_eq!(texts(&mut sender), "1:1!1 2:2!2 3:3!1 4:4!2");
    sender.on_pubrec(id(4), false).unwrap();
    sender.on_puback(id(1)).unwrap();
    assert_eq!(texts(&mut sender), "5:5!1");
    sender.resume(2);
    assert_eq!(texts(&mut sender), "2:2!2* 3:3!1*");
    // An acknowledgement from the connection before, of what was not sent again yet.
    sender.on_puback(id(5)).unwrap();
    assert_eq!(texts(&mut sender), "");
    sender.on_puback(id(3)).unwrap();
    assert_eq!(texts(&mut sender), "4:rel");
    sender.on_pubcomp(id(4)).unwrap();
    assert_eq!(texts(&mut sender), "6:6!2");
}

#[test]
fn restored_messages_keep_their_identifiers_and_come_first() {
    let mut sender = Sender::new(10);
    sender.push(out(100, QOS1));
    // The first ordinal of identifier 1 is 65,535.
    let ordinal = |round: u64, id: u64| round * 65_535 + id - 1;
    sender.restore(ordinal(7, 9), Restore::Publish(out(1, QOS2))).unwrap();
    sender.restore(ordinal(8, 3), Restore::PubRel).unwrap();
    sender.restore(ordinal(8, 65_535), Restore::Publish(out(2, QOS1))).unwrap();
    assert_eq!(sender.restore(ordinal(9, 3), Restore::PubRel), Err(RestoreError::InUse(id(3))));
    let late = ordinal(8, 65_535);
    assert_eq!(sender.restore(late, Restore::PubRel), Err(RestoreError::OutOfOrder(late)));
    sender.push(out(101, QOS1));
    sender.resume(10);
    assert_eq!(texts(&mut sender), "9:1!2* 3:rel 65535:2!1* 1:100!1 2:101!1");
    sender.push(out(102, QOS1));
    assert_eq!(texts(&mut sender), "4:102!1");
    assert_eq!(sender.on_pubcomp(id(3)).map(|_| ()), Ok(()));
    assert_eq!(sender.on_puback(id(65_535)).unwrap().message.number, 2);
}

#[test]
fn identifiers_in_use_are_passed_over() {
    let mut sender = Sender::new(10);
    sender.push(out(0, QOS2));
    assert_eq!(texts(&mut sender), "1:0!2");
    assert_eq!(sender.reserve_packet_id(), Some(id(2)));
    for n in 1..=200_000_u32 {
        sender.push(out(n, QOS1));
        let sent = send_all(&mut sender);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].0 > 2, "{n}");
        assert_eq!(sender.on_puback(id(sent[0].0)).unwrap().message.number, n);
    }
    assert!(sender.release_packet_id(id(2)));
    assert!(!sender.release_packet_id(id(2)));
    assert!(sender.on_pubrec(id(1), false).is_ok());
}

#[test]
fn all_identifiers_in_flight() {
    let mut sender = Sender::new(u16::MAX);
    sender.skip_ordinals(70_000);
    for n in 0..65_536 {
        sender.push(out(n, QOS1));
    }
    assert_eq!(send_all(&mut sender).len(), 65_535);
    assert_eq!((sender.waiting_len(), sender.reserve_packet_id()), (1, None));
    sender.on_puback(id(30_000)).unwrap();
    assert_eq!(send_all(&mut sender), [(30_000, "65535!1".to_owned())]);
    sender.resume(u16::MAX);
    let ids: Vec<_> = send_all(&mut sender).into_iter().map(|(id, _)| id).collect();
    for n in ids {
        sender.on_puback(id(n)).unwrap();
    }
    assert_eq!((sender.queued_len(), sender.queued_bytes()), (0, 0));
    assert!(sender.capacity() <= 4, "{}", sender.capacity());
}

#[test]
fn a_long_queue_gives_its_memory_back() {
    let mut sender = Sender::new(1);
    for n in 0..10_000 {
        sender.push(out(n, QOS1));
    }
    send_all(&mut sender);
    for _ in 0..9_990 {
        sender.drop_oldest_waiting().unwrap();
    }
    assert!(sender.capacity() < 200, "{}", sender.capacity());
    assert_eq!((sender.queued_len(), sender.queued_bytes()), (10, 100));
    assert_eq!(sender.pop_waiting_back().unwrap().number, 9999);
    assert_eq!(sender.first_waiting().unwrap().number, 9991);
    let rest: Vec<_> = sender.drain().map(|message| message.number).collect();
    assert_eq!(rest, [0, 9991, 9992, 9993, 9994, 9995, 9996, 9997, 9998]);
    assert_eq!((sender.queued_len(), sender.queued_bytes(), sender.in_flight_len()), (0, 0, 0));
    assert!(sender.drop_oldest_waiting().is_none() && sender.pop_waiting_back().is_none());
}

#[test]
fn an_idle_sender_is_small() {
    assert!(size_of::<Sender<Out>>() <= 104);
    assert_eq!(Sender::<Out>::new(9).capacity(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Push(QoS),
    Send,
    /// Acknowledges a message in flight, or any identifier, rightly or not.
    Puback(Pick),
    Pubrec(Pick, bool),
    Pubcomp(Pick),
    Resume(u16),
    Maximum(u16),
    DropOldest,
    PopBack,
    Reserve,
    Release,
}

#[derive(Debug, Clone)]
enum Pick {
    InFlight(prop::sample::Index),
    Any(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || {
        prop_oneof![
            6 => any::<prop::sample::Index>().prop_map(Pick::InFlight),
            1 => prop_oneof![1_u16..8, 65_520_u16..=65_535].prop_map(Pick::Any),
        ]
    };
    prop_oneof![
        4 => prop::sample::select(vec![QOS1, QOS2]).prop_map(Step::Push),
        6 => Just(Step::Send),
        3 => pick().prop_map(Step::Puback),
        3 => (pick(), prop::bool::weighted(0.2)).prop_map(|(pick, is_error)| Step::Pubrec(pick, is_error)),
        2 => pick().prop_map(Step::Pubcomp),
        1 => (0_u16..6).prop_map(Step::Resume),
        1 => (0_u16..6).prop_map(Step::Maximum),
        1 => Just(Step::DropOldest),
        1 => Just(Step::PopBack),
        1 => Just(Step::Reserve),
        1 => Just(Step::Release),
    ]
}

/// Message, identifier, what it awaits, whether this connection saw it.
#[derive(Debug, Clone, PartialEq)]
struct Flying(u32, u16, Awaits, bool);

#[derive(Debug, Default)]
struct Model {
    flying: Vec<Flying>,
    waiting: Vec<(u32, QoS)>,
    reserved: Vec<u16>,
    last_id: u16,
    maximum: u16,
}

impl Model {
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
            let is_used =
                self.flying.iter().any(|f| f.1 == self.last_id) || self.reserved.contains(&self.last_id);
            if !is_used {
                return self.last_id;
            }
        }
    }

    fn send(&mut self) -> Option<(u16, String)> {
        if self.flying.iter().filter(|f| f.3).count() >= usize::from(self.maximum) {
            return None;
        }
        if let Some(Flying(message, id, awaits, seen)) = self.flying.iter_mut().find(|f| !f.3) {
            *seen = true;
            let text = match awaits {
                Awaits::Puback => format!("{message}!1*"),
                Awaits::Pubrec => format!("{message}!2*"),
                Awaits::Pubcomp => "rel".to_owned(),
            };
            return Some((*id, text));
        }
        if self.waiting.is_empty() {
            return None;
        }
        let (message, qos) = self.waiting.remove(0);
        let id = self.next_id();
        let awaits = if qos == QOS2 { Awaits::Pubrec } else { Awaits::Puback };
        self.flying.push(Flying(message, id, awaits, true));
        Some((id, format!("{message}!{}", if qos == QOS2 { 2 } else { 1 })))
    }

    fn pick(&self, pick: &Pick) -> u16 {
        match pick {
            Pick::InFlight(index) if !self.flying.is_empty() => self.flying[index.index(self.flying.len())].1,
            Pick::InFlight(_) => 1,
            Pick::Any(id) => *id,
        }
    }

    fn place(&self, n: u16) -> Result<usize, AckError> {
        self.flying.iter().position(|f| f.1 == n).ok_or(AckError::UnknownPacketId(id(n)))
    }

    /// The message that an acknowledgement ends or releases.
    fn ack(&mut self, n: u16, packet: Awaits, is_error: bool) -> Result<Option<u32>, AckError> {
        let place = self.place(n)?;
        let awaits = self.flying[place].2;
        match (packet, awaits, is_error) {
            (Awaits::Pubrec, Awaits::Pubrec, false) => {
                self.flying[place].2 = Awaits::Pubcomp;
                Ok(Some(self.flying[place].0))
            }
            (Awaits::Pubrec, Awaits::Pubcomp, false) => Ok(None),
            (Awaits::Pubcomp, Awaits::Pubcomp, _) => {
                self.flying.remove(place);
                Ok(None)
            }
            (packet, awaits, _) if packet == awaits => Ok(Some(self.flying.remove(place).0)),
            _ => Err(AckError::WrongPhase { packet_id: id(n), awaits }),
        }
    }

    fn bytes(&self) -> usize {
        10 * (self.waiting.len() + self.flying.iter().filter(|f| f.2 != Awaits::Pubcomp).count())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sender_is_a_list(steps in prop::collection::vec(step(), 0..250), skip in 0_u16..12) {
        let mut sender = Sender::new(3);
        // Near the end of the identifiers, so that they begin again at 1 while some are in flight.
        let skipped = 65_535 - skip;
        sender.skip_ordinals(u64::from(skipped));
        let mut model = Model { last_id: skipped, maximum: 3, ..Model::default() };
        let mut next_message = 0;
        for step in steps {
            match step {
                Step::Push(qos) => {
                    next_message += 1;
                    sender.push(out(next_message, qos));
                    model.waiting.push((next_message, qos));
                }
                Step::Send => {
                    let expected: Vec<_> = std::iter::from_fn(|| model.send()).collect();
                    prop_assert_eq!(send_all(&mut sender), expected);
                }
                Step::Puback(pick) => {
                    let n = model.pick(&pick);
                    let expected = model.ack(n, Awaits::Puback, false);
                    prop_assert_eq!(sender.on_puback(id(n)).map(|acked| Some(acked.message.number)), expected);
                }
                Step::Pubrec(pick, is_error) => {
                    let n = model.pick(&pick);
                    let expected = model.ack(n, Awaits::Pubrec, is_error);
                    let found = sender.on_pubrec(id(n), is_error).map(|outcome| match outcome {
                        PubrecOutcome::Release(acked) => (!is_error).then_some(acked.message.number),
                        PubrecOutcome::Refused(acked) => is_error.then_some(acked.message.number),
                        PubrecOutcome::ReleaseAgain { .. } => None,
                    });
                    prop_assert_eq!(found, expected);
                }
                Step::Pubcomp(pick) => {
                    let n = model.pick(&pick);
                    let expected = model.ack(n, Awaits::Pubcomp, false).map(|_| ());
                    prop_assert_eq!(sender.on_pubcomp(id(n)).map(|_| ()), expected);
                }
                Step::Resume(maximum) => {
                    sender.resume(maximum);
                    model.maximum = maximum;
                    model.flying.iter_mut().for_each(|f| f.3 = false);
                    model.reserved.clear();
                }
                Step::Maximum(maximum) => {
                    sender.set_receive_maximum(maximum);
                    model.maximum = maximum;
                }
                Step::DropOldest => {
                    let expected = (!model.waiting.is_empty()).then(|| model.waiting.remove(0).0);
                    prop_assert_eq!(sender.drop_oldest_waiting().map(|message| message.number), expected);
                }
                Step::PopBack => {
                    let expected = model.waiting.pop().map(|(message, _)| message);
                    prop_assert_eq!(sender.pop_waiting_back().map(|message| message.number), expected);
                }
                Step::Reserve => {
                    let n = model.next_id();
                    model.reserved.push(n);
                    prop_assert_eq!(sender.reserve_packet_id(), Some(id(n)));
                }
                Step::Release => {
                    if let Some(n) = model.reserved.pop() {
                        prop_assert!(sender.release_packet_id(id(n)));
                    }
                }
            }
            prop_assert_eq!(sender.in_flight_len(), model.flying.len());
            prop_assert_eq!(sender.waiting_len(), model.waiting.len());
            prop_assert_eq!(sender.reserved_len(), model.reserved.len());
            prop_assert_eq!(sender.queued_bytes(), model.bytes());
            let ids: Vec<_> = sender.in_flight().map(|sending| sending.packet_id.get()).collect();
            prop_assert_eq!(ids, model.flying.iter().map(|f| f.1).collect::<Vec<_>>());
        }
        let left: Vec<_> = sender.drain().map(|message| message.number).collect();
        let in_flight = model.flying.iter().filter(|f| f.2 != Awaits::Pubcomp).map(|f| f.0);
        prop_assert_eq!(left, in_flight.chain(model.waiting.iter().map(|w| w.0)).collect::<Vec<_>>());
    }
}
