//! What goes out: from the local inbox through checks and pace to the other broker, until it has said that it has it.
//!
//! ```text
//!   Delivery ─► next ─pace─► sent ── PUBACK, PUBCOMP ──────────────► acknowledged here
//!                ▲            │ └── no answer in time ─► sent again (3.1.1), or another connection (5.0)
//!                │            │ └── refused ─► dead letter, then acknowledged here
//!                └── again ◄──┘ connection lost
//! ```
//!
//! Retained Messages that come too soon for AWS IoT wait beside ([`Spacing`]).
//!
//! A broker of 3.1.1 that does not like a message closes the connection and does not say which it was. So after a close
//! everything that was on its way is suspect, and goes one by one over the next connection; the one whose turn it is when
//! that is closed too becomes a dead letter.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{PacketId, PropertiesBuf};
use culex_core::Delivery;
use culex_core::client::{ClientError, Connection, Publication, Reason, Session};
use tokio::time::Instant;

use super::mapping::Mappings;
use super::rules::{Pace, Rules};
use super::spacing::{Spaced, Spacing};
use crate::integration::DeadLetter;

/// Closes after which a message that was alone on its way is the reason for them.
const CLOSES_MAX: u8 = 2;
/// Sent so often over one connection without an answer, and the connection is given up.
const SENDINGS_MAX: u8 = 4;
/// Refusals that may pass (0x80, 0x83, 0x97) of one message.
const REFUSALS_MAX: u8 = 10;
/// Fixed header, lengths and Packet Identifier of a PUBLISH.
const HEAD_BYTES: usize = 9;

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Parcel {
    delivery: Delivery,
    publication: Publication,
    /// Connections that were closed while it was on its way.
    closes: u8,
    /// How often the other side refused it for the time being.
    refusals: u8,
}

impl Spaced for Parcel {
    fn topic(&self) -> &str {
        &self.publication.topic
    }

    fn is_retained(&self) -> bool {
        self.publication.is_retained
    }
}

/// One that was sent.
#[derive(Debug)]
struct Sent {
    packet_id: PacketId,
    parcel: Parcel,
    /// First, over this connection.
    first: Instant,
    /// Last.
    last: Instant,
    /// How often, over this connection.
    sendings: u8,
}

/// A message that the other side does not take, and why.
#[derive(Debug)]
pub(super) struct Refused {
    /// To be acknowledged when the letter is kept.
    pub(super) delivery: Delivery,
    pub(super) letter: DeadLetter,
}

/// What a message that left the inbox has come to.
#[derive(Debug)]
pub(super) enum Fate {
    /// It waits for its turn.
    Waits,
    /// It has no topic there.
    Unplaced,
    /// It may not be sent.
    Refused(Box<Refused>),
}

/// What an acknowledgement meant.
#[derive(Debug)]
pub(super) enum Answer {
    /// The other side has it: bytes of its payload, and how long that took.
    Taken(usize, Duration),
    /// It does not take it.
    Refused(Box<Refused>),
    /// Not now; it is sent again.
    Throttled,
    /// It is not ours, or known already.
    Unknown,
}

/// What sending has come to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When it is worth trying again, if nothing else happens before.
    pub(super) wake: Option<Instant>,
    /// Messages that the connection does not take.
    pub(super) refused: Vec<Refused>,
    /// Payloads of messages that went out without a promise.
    pub(super) unpromised: Vec<usize>,
    /// What was sent: topic and payload.
    pub(super) sent: Vec<(String, Bytes)>,
    /// Messages that were sent once more because there was no answer.
    pub(super) resent: usize,
    /// There is no answer, and only another connection may help.
    pub(super) is_stuck: bool,
}

/// Messages between the inbox and the other side.
#[derive(Debug)]
pub(super) struct Outgoing {
    rules: Rules,
    pace: Pace,
    next: Option<Parcel>,
    /// Retained Messages that came too soon.
    spacing: Spacing<Parcel>,
    /// To be sent again before anything new, in order.
    again: VecDeque<Parcel>,
    /// In the order of their first sending.
    sent: VecDeque<Sent>,
    /// The window that the connection knows.
    window: u16,
    /// When it became slower for want of answers.
    slowed: Option<Instant>,
}

impl Outgoing {
    pub(super) fn new(rules: Rules) -> Self {
        let (pace, window, spacing) = (rules.pace(), rules.in_flight, Spacing::new(rules.retained_gap));
        Self {
            rules,
            pace,
            next: None,
            spacing,
            again: VecDeque::new(),
            sent: VecDeque::new(),
            window,
            slowed: None,
        }
    }

    /// Whether another message may be taken from the inbox.
    pub(super) fn wants_more(&self) -> bool {
        self.next.is_none()
            && self.again.is_empty()
            && self.spacing.has_room()
            && self.sent.len() < usize::from(self.window())
    }

    /// Messages that were sent and not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// Whether a message may be why a connection was closed. Nothing else goes then that the other side could close it for.
    pub(super) fn has_suspect(&self) -> bool {
        // Suspects come first, so it is enough to look there.
        let first = self.sent.front().map(|sent| &sent.parcel).or(self.again.front());
        first.is_some_and(|parcel| parcel.closes > 0)
    }

    /// How many messages may be on their way: one, while one of them is suspect.
    pub(super) fn window(&self) -> u16 {
        if self.has_suspect() { 1 } else { self.rules.in_flight }
    }

    /// A message from the inbox, which goes with these properties.
    pub(super) fn take(&mut self, delivery: Delivery, mappings: &Mappings, mark: &PropertiesBuf) -> Fate {
        let Some(placed) = mappings.place_out(&delivery.topic, &delivery.payload) else {
            delivery.ack();
            return Fate::Unplaced;
        };
        let objection = self.rules.objection(&placed.topic, placed.payload.len());
        if let Some(why) = objection.or(placed.objection) {
            return Fate::Refused(Box::new(Refused::new(delivery, why, 0)));
        }
        let qos = delivery.qos.min(placed.qos).min(self.rules.qos_max);
        let publication = Publication::new(placed.topic, placed.payload, qos).with_properties(mark.clone());
        let publication =
            if delivery.is_retained && placed.retain { publication.retained() } else { publication };
        self.next = Some(Parcel { delivery, publication, closes: 0, refusals: 0 });
        Fate::Waits
    }

    /// A connection has begun, with this window. What the other side still knows of was sent again by it; what it does not
    /// comes first.
    pub(super) fn begin(&mut self, is_session_present: bool, window: u16) {
        let now = Instant::now();
        self.window = window;
        if is_session_present {
            self.pace.owe(self.sent.len().min(window.into()), now);
            for sent in &mut self.sent {
                (sent.first, sent.last, sent.sendings) = (now, now, 1);
            }
        } else {
            let lost = std::mem::take(&mut self.sent);
            for sent in lost.into_iter().rev() {
                self.again.push_front(sent.parcel);
            }
        }
    }

    /// Nobody has read answers for so long.
    pub(super) fn held(&mut self, time: Duration) {
        for sent in &mut self.sent {
            sent.last += time;
        }
    }

    /// A connection has ended. `is_blamed`: the other side closed it, so it may have been a message. Gives the one that it
    /// must have been.
    pub(super) fn end(&mut self, is_blamed: bool, session: &mut Session) -> Option<Refused> {
        if !is_blamed {
            return None;
        }
        if self.sent.front()?.parcel.closes == 0 {
            self.sent.iter_mut().for_each(|sent| sent.parcel.closes = 1);
            return None;
        }
        // It was alone on its way.
        let first = self.sent.front_mut()?;
        first.parcel.closes += 1;
        if first.parcel.closes < CLOSES_MAX {
            return None;
        }
        let Sent { packet_id, parcel, .. } = self.sent.pop_front()?;
        session.give_up(packet_id);
        let topic = &parcel.publication.topic;
        let why = format!(
            "the other broker closed the connection {} times with this message alone on its way (topic \"{topic}\" there): \
             a policy may not allow it",
            parcel.closes
        );
        Some(Refused::new(parcel.delivery, why, parcel.closes.into()))
    }

    /// Sends what may be sent now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn send(&mut self, connection: &mut Connection) -> Result<Progress, ClientError> {
        let now = Instant::now();
        let mut progress = Progress::default();
        if self.window != self.window() {
            self.window = self.window();
            connection.set_in_flight(self.window)?;
        }
        let is_late = self.send_again(connection, now, &mut progress)?;
        // What is late comes first.
        while !is_late && self.sent.len() < usize::from(self.window()) && connection.has_room() {
            let Some(parcel) = self.next_parcel(now) else { break };
            if let Some(until) = self.spacing.wait(&parcel, now) {
                // One of a lost connection, which comes before those that wait in their place.
                self.put_back(parcel);
                progress.wake_at(until);
                break;
            }
            let bytes = parcel.publication.topic.len() + parcel.publication.payload.len() + HEAD_BYTES;
            if let Err(wait) = self.pace.take(bytes, now) {
                self.put_back(parcel);
                progress.wake_at(now + wait);
                break;
            }
            self.send_one(parcel, connection, now, &mut progress)?;
        }
        if let Some(due) = self.spacing.wake(now) {
            progress.wake_at(due);
        }
        let (window, timeout) = (usize::from(self.window()), self.rules.ack_timeout);
        // Those that are late already wait for the pace, or for the connection.
        let due = self.sent.iter().take(window).map(|sent| sent.last + timeout).filter(|due| *due > now);
        if let Some(due) = due.min() {
            progress.wake_at(due);
        }
        Ok(progress)
    }

    /// What may be sent first.
    fn next_parcel(&mut self, now: Instant) -> Option<Parcel> {
        if let Some(parcel) = self.again.pop_front().or_else(|| self.spacing.next_due(now)) {
            return Some(parcel);
        }
        self.spacing.admit(self.next.take()?, now)
    }

    fn send_one(
        &mut self,
        mut parcel: Parcel,
        connection: &mut Connection,
        now: Instant,
        progress: &mut Progress,
    ) -> Result<(), ClientError> {
        let granted = connection.granted();
        parcel.publication.qos = parcel.publication.qos.min(granted.qos_max);
        parcel.publication.is_retained &= granted.is_retain_available;
        match connection.publish(parcel.publication.clone()) {
            Ok(Some(packet_id)) => {
                self.spacing.sent(&parcel, now);
                let Publication { topic, payload, .. } = &parcel.publication;
                progress.sent.push((topic.clone(), payload.clone()));
                self.sent.push_back(Sent { packet_id, parcel, first: now, last: now, sendings: 1 });
            }
            Ok(None) => {
                self.spacing.sent(&parcel, now);
                // QoS 0 there, whatever it was here: nobody will say more.
                parcel.delivery.ack();
                progress.unpromised.push(parcel.publication.payload.len());
                progress.sent.push((parcel.publication.topic, parcel.publication.payload));
            }
            Err(ClientError::WindowFull) => self.put_back(parcel),
            Err(
                error @ (ClientError::NotGranted(_)
                | ClientError::Topic(_)
                | ClientError::Encode(_)
                | ClientError::ForeignProperty),
            ) => progress.refused.push(Refused::new(parcel.delivery, error.to_string(), 1)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What has no answer in time was throttled, or lost: slower, and once more. Whether some of it still waits for that.
    fn send_again(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        progress: &mut Progress,
    ) -> Result<bool, ClientError> {
        let timeout = self.rules.ack_timeout;
        let is_late = |sent: &&mut Sent| now.saturating_duration_since(sent.last) >= timeout;
        // Of several suspects only the first is on its way.
        let window = usize::from(self.window());
        for sent in self.sent.iter_mut().take(window).filter(is_late) {
            // What was sent before it became slower says nothing of the pace of now.
            if self.slowed.is_none_or(|slowed| slowed <= sent.last) {
                self.pace.slow_down(now);
                self.slowed = Some(now);
            }
            if sent.sendings >= SENDINGS_MAX {
                progress.is_stuck = true;
                return Ok(true);
            }
            let Publication { topic, payload, .. } = &sent.parcel.publication;
            if let Err(wait) = self.pace.take(topic.len() + payload.len() + HEAD_BYTES, now) {
                progress.wake_at(now + wait);
                return Ok(true);
            }
            let is_sent = match connection.resend(sent.packet_id) {
                // It goes when what is before it is written.
                Err(ClientError::WindowFull) => return Ok(true),
                is_sent => is_sent?,
            };
            if !is_sent {
                // 5.0 sends nothing twice over one connection.
                progress.is_stuck = true;
                return Ok(true);
            }
            sent.last = now;
            sent.sendings += 1;
            progress.resent += 1;
        }
        Ok(false)
    }

    fn put_back(&mut self, parcel: Parcel) {
        // Without anything before it there is no difference.
        self.again.push_front(parcel);
    }

    /// The other side has answered.
    pub(super) fn answered(&mut self, packet_id: PacketId, reason: &Reason) -> Answer {
        let Some(place) = self.sent.iter().position(|sent| sent.packet_id == packet_id) else {
            return Answer::Unknown;
        };
        let Some(Sent { mut parcel, first, .. }) = self.sent.remove(place) else { return Answer::Unknown };
        let now = Instant::now();
        if let Some(next) = self.sent.front_mut().filter(|next| next.parcel.closes > 0) {
            // Its turn begins.
            (next.first, next.last) = (now, now);
        }
        if !reason.is_error() {
            parcel.delivery.ack();
            let latency = now.saturating_duration_since(first);
            return Answer::Taken(parcel.publication.payload.len(), latency);
        }
        parcel.refusals = parcel.refusals.saturating_add(1);
        if may_pass(reason) && parcel.refusals < REFUSALS_MAX {
            self.pace.slow_down(now);
            if parcel.closes > 0 {
                // Suspects come first.
                self.again.push_front(parcel);
            } else {
                self.again.push_back(parcel);
            }
            return Answer::Throttled;
        }
        let topic = &parcel.publication.topic;
        let why = format!("the other broker refused it: {reason} (topic \"{topic}\" there)");
        Answer::Refused(Box::new(Refused::new(parcel.delivery, why, parcel.refusals.into())))
    }
}

/// Whether the same message may be taken later: unspecified, implementation specific, quota, identifier in use.
fn may_pass(reason: &Reason) -> bool {
    matches!(reason.code, 0x80 | 0x83 | 0x91 | 0x97)
}

impl Progress {
    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Refused {
    fn new(delivery: Delivery, reason: String, attempts: u32) -> Self {
        let mut letter = DeadLetter::new(delivery.topic.clone(), delivery.payload.clone());
        (letter.reason, letter.attempts) = (reason, attempts);
        (letter.qos, letter.retain) = (delivery.qos, delivery.is_retained);
        Self { delivery, letter }
    }
}
