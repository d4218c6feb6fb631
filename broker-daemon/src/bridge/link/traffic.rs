//! What goes over a connection, one thing after another.

use std::sync::Arc;
use std::time::Duration;

use culex_codec::{PacketId, QoS};
use culex_core::client::{Connection, Event, Message};
use culex_core::{Client, Delivery};
use tokio::time::{Instant, sleep};

use super::{Ended, Link};
use crate::bridge::incoming::{Arrival, Done, Unsettled};
use crate::bridge::loops::{Passage, Side};
use crate::bridge::outgoing::{Answer, Fate, Progress, Refused};
use crate::integration::{Direction, Outcome};

/// The next attempt to keep a dead letter.
const LETTER_AGAIN: Duration = Duration::from_secs(10);

impl Link {
    pub(super) fn on_delivery(&mut self, delivery: Delivery, connection: &mut Connection) {
        let shared = Arc::clone(&self.shared);
        let bytes = delivery.payload.len();
        if let Some(circles) = &shared.circles {
            match circles.goes_out(&delivery) {
                Passage::Goes | Passage::Strange | Passage::Closes(_) => {}
                Passage::Asks => {
                    if let Some(placed) = shared.mappings.place_out(&delivery.topic, &delivery.payload) {
                        let send = |question| match connection.publish(question) {
                            Ok(sent) => {
                                self.unanswered.extend(sent);
                                true
                            }
                            Err(_) => false,
                        };
                        circles.ask(Side::Out, &placed.topic, send);
                    }
                }
                Passage::Again => {
                    shared.meter().count(Direction::Out, Outcome::Dropped, bytes);
                    return delivery.ack();
                }
                Passage::Ends => return delivery.ack(),
            }
        }
        match self.outgoing.take(delivery, &shared.mappings, &shared.mark) {
            Fate::Waits => {}
            Fate::Unplaced => shared.meter().count(Direction::Out, Outcome::Dropped, bytes),
            Fate::Refused(refused) => self.refuse(*refused),
        }
    }

    pub(super) fn on_event(
        &mut self,
        event: Event,
        connection: &mut Connection,
        client: &Client,
    ) -> Result<(), Ended> {
        match event {
            Event::Message(message) => self.on_message(message, connection, client),
            Event::Published { packet_id, reason } => {
                let shared = Arc::clone(&self.shared);
                let meter = shared.meter();
                self.unanswered.retain(|ours| *ours != packet_id);
                match self.outgoing.answered(packet_id, &reason) {
                    Answer::Taken(bytes, latency) => {
                        meter.count(Direction::Out, Outcome::Delivered, bytes);
                        meter.answered_in(latency);
                        self.short_lived = 0;
                    }
                    Answer::Refused(refused) => self.refuse(*refused),
                    Answer::Throttled => {
                        meter.throttled();
                        meter.count(Direction::Out, Outcome::Retried, 0);
                    }
                    Answer::Unknown => {}
                }
                meter.set_in_flight(self.outgoing.in_flight() as u64);
                Ok(())
            }
            Event::Subscribed { packet_id, codes, text } => {
                self.subscriber.answered(packet_id, &codes, text.as_deref(), &self.shared);
                Ok(())
            }
            Event::Unsubscribed { .. } | Event::Written => Ok(()),
        }
    }

    pub(super) fn on_message(
        &mut self,
        message: Message,
        connection: &mut Connection,
        client: &Client,
    ) -> Result<(), Ended> {
        let (packet_id, bytes) = (message.packet_id, message.payload.len());
        match self.incoming.take(message, &self.shared, client) {
            Arrival::Taken => Ok(()),
            Arrival::Echo => acknowledge(connection, packet_id),
            Arrival::Unplaced | Arrival::Again => {
                self.shared.meter().count(Direction::In, Outcome::Dropped, bytes);
                acknowledge(connection, packet_id)
            }
        }
    }

    /// A message that came in is done with.
    pub(super) fn settled(&mut self, done: &Done, connection: &mut Connection) -> Result<(), Ended> {
        match &done.outcome {
            Ok(outcome) => {
                self.shared.meter().count(Direction::In, *outcome, done.bytes);
                acknowledge(connection, done.packet_id)
            }
            Err(Unsettled::Gone(gone)) => Err(Ended::Gone(*gone)),
            Err(error @ Unsettled::Letter(_)) => Err(Ended::GivenUp(error.to_string())),
        }
    }

    /// The same when its connection is gone: it comes again, at QoS 2 for nothing but its acknowledgement.
    pub(super) fn settled_late(&mut self, done: &Done) {
        if let Ok(outcome) = done.outcome {
            self.shared.meter().count(Direction::In, outcome, done.bytes);
            if let Some(packet_id) = done.packet_id.filter(|_| done.qos == QoS::ExactlyOnce) {
                self.session.took(packet_id);
            }
        }
    }

    pub(super) fn progressed(&mut self, progress: Progress) -> Result<Option<Instant>, Ended> {
        let meter = self.shared.meter();
        for bytes in progress.unpromised {
            meter.count(Direction::Out, Outcome::Delivered, bytes);
        }
        for _ in 0..progress.resent {
            meter.throttled();
            meter.count(Direction::Out, Outcome::Retried, 0);
        }
        meter.set_in_flight(self.outgoing.in_flight() as u64);
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| !progress.sent.is_empty()) {
            let (mut echoes, now) = (echoes.lock(), Instant::now());
            for (topic, payload) in &progress.sent {
                if self.shared.mappings.comes_in(topic) {
                    echoes.sent(topic, payload, now);
                }
            }
        }
        for refused in progress.refused {
            self.refuse(refused);
        }
        if progress.is_stuck {
            self.shared.meter().throttled();
            return Err(Ended::GivenUp("the other broker does not answer PUBLISH".to_owned()));
        }
        Ok(progress.wake)
    }

    /// A message that the other side will never take: a dead letter, and acknowledged when that is kept.
    pub(super) fn refuse(&mut self, refused: Refused) {
        let shared = Arc::clone(&self.shared);
        let Refused { delivery, letter } = refused;
        tracing::warn!(bridge = %shared.bridge.name, topic = %letter.topic, "a message becomes a dead letter: {}", letter.reason);
        self.letters.push(async move {
            while let Err(error) = shared.letters.put(&letter).await {
                tracing::error!(bridge = %shared.bridge.name, "a dead letter cannot be kept, so its message waits: {error}");
                sleep(LETTER_AGAIN).await;
            }
            shared.meter().count(Direction::Out, Outcome::DeadLettered, 0);
            delivery
        });
    }
}

fn acknowledge(connection: &mut Connection, packet_id: Option<PacketId>) -> Result<(), Ended> {
    packet_id.map_or(Ok(()), |packet_id| connection.acknowledge(packet_id)).map_err(Ended::Lost)
}
