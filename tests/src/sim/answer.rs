//! What a client does with the packets that it gets.

use crate::parse::{self, Received};
use crate::wire::{self, Publish};

use super::client::{Client, Context, Phase, Session, State};
use super::oracle::Request;
use super::report::Reach;

impl Client {
    pub(super) fn read(&mut self, context: &mut Context<'_>) {
        let input = std::mem::take(&mut self.input);
        let mut rest: &[u8] = &input;
        while self.link.is_some() {
            match parse::parse(rest) {
                Ok(Some((packet, len))) => {
                    rest = rest.get(len..).unwrap_or_default();
                    self.on_packet(context, packet);
                }
                Ok(None) => break,
                Err(error) => return context.oracle.fail(format!("{}: {error}", self.id)),
            }
        }
        if self.link.is_some() {
            self.input = rest.to_vec();
        }
    }

    fn on_packet(&mut self, context: &mut Context<'_>, packet: Received) {
        if let Received::Publish(publish) = &packet {
            context.note(format_args!(
                "{} gets PUBLISH {} {:.8} q{} id {:?} {}{}",
                self.id,
                publish.topic,
                publish.text(),
                publish.qos,
                publish.id,
                if publish.dup { "dup " } else { "" },
                if publish.retain { "retain " } else { "" }
            ));
        } else {
            context.note(format_args!("{} gets {packet:?}", self.id));
        }
        if (self.state == State::Connecting) != matches!(packet, Received::ConnAck { .. }) {
            return context.oracle.fail(format!("{}: {packet:?} in state {:?}", self.id, self.state));
        }
        match packet {
            Received::ConnAck { session_present, code } => self.on_connack(context, session_present, code),
            Received::Publish(publish) => self.on_publish(context, &publish),
            Received::PubAck(id) => self.on_answer(context, id, Phase::Puback),
            Received::PubRec(id) => self.on_answer(context, id, Phase::Pubrec),
            Received::PubComp(id) => self.on_answer(context, id, Phase::Pubcomp),
            Received::PubRel(id) => {
                context.broker.reach(Reach::Pubrel);
                self.incoming.remove(&id);
                self.acks.push_back((wire::pubcomp(id), Some(id)));
            }
            Received::SubAck(id, codes) => match self.requests.remove(&id) {
                Some(Request::Subscribe(filters)) if filters.len() == codes.len() => {
                    self.check_granted(context, &codes);
                    context.oracle.on_suback(self.index, &filters, &codes, self.link);
                    if codes.contains(&0x80) {
                        context.broker.reach(Reach::SubscriptionRefused);
                    }
                }
                other => context.oracle.fail(format!("{}: SUBACK {id} for {other:?}", self.id)),
            },
            Received::UnsubAck(id) => match self.requests.remove(&id) {
                Some(Request::Unsubscribe(filters, sent)) => {
                    context.oracle.on_unsuback(self.index, &filters, sent);
                }
                other => context.oracle.fail(format!("{}: UNSUBACK {id} for {other:?}", self.id)),
            },
            Received::PingResp => {}
            Received::ConnAck5 { .. } => context.oracle.fail("CONNACK of MQTT 5.0".to_owned()),
        }
    }

    /// What a hook refused is refused. What it granted may be over a limit.
    fn check_granted(&self, context: &mut Context<'_>, codes: &[u8]) {
        let Some(link) = self.link else { return };
        let granted = context.broker.host.borrow_mut().links[link].granted.pop_front();
        let Some(granted) = granted else { return };
        let mut refused = granted.iter().zip(codes).filter(|(is_granted, _)| !**is_granted).peekable();
        if refused.peek().is_some() {
            context.broker.reach(Reach::HookRefusesFilter);
        }
        if refused.any(|(_, code)| *code != 0x80) {
            context.oracle.fail(format!("{}: {granted:?} is answered with {codes:?}", self.id));
        }
    }

    fn on_connack(&mut self, context: &mut Context<'_>, session_present: bool, code: u8) {
        if code != 0 {
            self.must_clean = true;
            context.broker.reach(Reach::RefusedSessions);
            // The session of this name may be gone, or never was.
            self.session = Session::Unknown;
            self.forget(context);
            if let Some(link) = self.go_offline() {
                context.broker.host.borrow_mut().hang_up(link);
            }
            return;
        }
        self.state = State::Online;
        self.must_clean = false;
        let expected = match self.session {
            _ if self.is_clean => Session::Absent,
            Session::Present if context.oracle.may_have_expired(self.link) => Session::Unknown,
            session @ (Session::Present | Session::Absent | Session::Unknown) => session,
        };
        let is_wrong = match expected {
            Session::Unknown => false,
            Session::Absent => session_present,
            Session::Present => !session_present,
        };
        if is_wrong {
            let text = format!("{}: session present {session_present}, but it is {expected:?}", self.id);
            context.oracle.fail(text);
        }
        if self.is_new_user {
            context.broker.reach(Reach::UserChangedPresent);
        }
        self.is_new_user = false;
        context.broker.reach(if session_present { Reach::SessionPresent } else { Reach::SessionAbsent });
        if !session_present && !self.is_clean {
            self.forget(context);
        }
        self.session = if self.is_clean { Session::Absent } else { Session::Present };
        context.oracle.on_connack(self.index, self.link);
        if session_present {
            self.send_again(context);
        }
    }

    /// Everything unacknowledged once more, in its order [MQTT-4.4.0-1, MQTT-4.6.0-1].
    fn send_again(&mut self, context: &mut Context<'_>) {
        for (id, message, phase) in self.outgoing.clone() {
            if phase == Phase::Pubcomp {
                context.note(format_args!("{} PUBREL id {id} again", self.id));
                context.broker.reach(Reach::ResendPubrel);
                self.send(context, &wire::pubrel(id));
            } else {
                context.note(format_args!("{} PUBLISH id {id} m{message} again", self.id));
                context.broker.reach(Reach::ResendPublish);
                context.oracle.on_send_again(message);
                if phase == Phase::Pubrec && context.broker.host.borrow().plan.asks.publish {
                    context.broker.reach(Reach::AskedAgain);
                }
                let packet = context.oracle.packet(message, id).again();
                self.send(context, &packet.encode());
            }
        }
    }

    fn on_publish(&mut self, context: &mut Context<'_>, publish: &Publish) {
        let Some(message) = context.oracle.identify(publish) else { return };
        let Some(id) = publish.id else { return context.oracle.on_delivery(self, publish, message) };
        self.window.insert(id);
        let limit = usize::from(context.oracle.in_flight_max);
        if self.window.len() > limit {
            context.oracle.fail(format!("{}: {} messages in flight of {limit}", self.id, self.window.len()));
        } else if self.window.len() == limit {
            context.broker.reach(Reach::WindowFull);
        }
        if publish.qos == 1 {
            context.oracle.on_delivery(self, publish, message);
            self.acks.push_back((wire::puback(id), Some(id)));
            return;
        }
        match self.incoming.get(&id) {
            None => {
                self.incoming.insert(id, message);
                context.oracle.on_delivery(self, publish, message);
            }
            Some(first) if *first == message && publish.dup => context.broker.reach(Reach::Redelivered2),
            Some(first) => {
                let text = format!("{}: id {id} is m{message}, but m{first} has no PUBREL yet", self.id);
                context.oracle.fail(text);
            }
        }
        self.acks.push_back((wire::pubrec(id), None));
    }

    fn on_answer(&mut self, context: &mut Context<'_>, id: u16, awaited: Phase) {
        let found = self.outgoing.iter().position(|(used, _, phase)| *used == id && *phase == awaited);
        let Some(place) = found else {
            // A PUBREC again, for a PUBLISH that was sent again, is answered again.
            if awaited == Phase::Pubrec && self.outgoing.iter().any(|(used, _, _)| *used == id) {
                return self.send(context, &wire::pubrel(id));
            }
            return context.oracle.fail(format!("{}: nothing {awaited:?} with id {id}", self.id));
        };
        let (_, message, _) = self.outgoing[place];
        match awaited {
            Phase::Pubrec => {
                context.oracle.on_handled(message);
                self.outgoing[place].2 = Phase::Pubcomp;
                self.send(context, &wire::pubrel(id));
            }
            Phase::Puback => {
                context.oracle.on_handled(message);
                self.outgoing.remove(place);
            }
            Phase::Pubcomp => {
                self.outgoing.remove(place);
            }
        }
    }
}
