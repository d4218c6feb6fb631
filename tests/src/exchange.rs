//! Whole exchanges of a [`Client`]: a request and its answer, a PUBLISH and its handshake.

#![expect(
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "an expectation that is not met, by whatever else, is a failed test; the place that called says which"
)]

use crate::client::Client;
use crate::parse::Received;
use crate::wire::{self, Connect, Publish};

impl Client {
    /// Sends CONNECT and returns Session Present.
    ///
    /// # Panics
    ///
    /// When the answer is not an accepting CONNACK.
    #[track_caller]
    pub fn connect(&mut self, connect: &Connect) -> bool {
        self.send(connect.encode());
        match self.receive() {
            Received::ConnAck { session_present, code: 0 } => session_present,
            other => panic!("CONNECT was not accepted: {other:?}"),
        }
    }

    /// A Packet Identifier that this connection has not used yet.
    pub fn fresh_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    /// Subscribes and returns the return codes.
    ///
    /// # Panics
    ///
    /// When the answer is not the SUBACK of this SUBSCRIBE.
    #[track_caller]
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(wire::subscribe(id, filters));
        match self.next_answer() {
            Received::SubAck(answered, codes) if answered == id => codes,
            other => panic!("not the SUBACK of {id}: {other:?}"),
        }
    }

    /// Unsubscribes and waits for the UNSUBACK.
    ///
    /// # Panics
    ///
    /// When the answer is not the UNSUBACK of this UNSUBSCRIBE.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) {
        let id = self.fresh_id();
        self.send(wire::unsubscribe(id, filters));
        self.answer(&Received::UnsubAck(id));
    }

    /// Publishes at `qos` and completes the handshake; at QoS 0 a ping shows that the broker has read it.
    ///
    /// # Panics
    ///
    /// When the handshake goes wrong.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_packet(Publish { qos, ..Publish::new(topic, payload) });
    }

    /// The same with RETAIN 1.
    ///
    /// # Panics
    ///
    /// When the handshake goes wrong.
    #[track_caller]
    pub fn retain(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_packet(Publish { qos, ..Publish::new(topic, payload).retained() });
    }

    #[track_caller]
    fn publish_packet(&mut self, mut publish: Publish) {
        let id = self.fresh_id();
        publish.id = (publish.qos > 0).then_some(id);
        self.send(publish.encode());
        match publish.qos {
            0 => {
                self.send(wire::PINGREQ);
                self.answer(&Received::PingResp);
            }
            1 => self.answer(&Received::PubAck(id)),
            _ => {
                self.answer(&Received::PubRec(id));
                self.send(wire::pubrel(id));
                self.answer(&Received::PubComp(id));
            }
        }
    }

    /// The next PUBLISH, without acknowledging it.
    ///
    /// # Panics
    ///
    /// When another packet comes.
    #[track_caller]
    pub fn peek(&mut self) -> Publish {
        match self.receive() {
            Received::Publish(publish) => publish,
            other => panic!("a PUBLISH was expected, not {other:?}"),
        }
    }

    /// The next PUBLISH, acknowledged to the end of its handshake.
    ///
    /// # Panics
    ///
    /// When another packet comes.
    #[track_caller]
    pub fn take(&mut self) -> Publish {
        let publish = self.peek();
        match (publish.qos, publish.id) {
            (1, Some(id)) => self.send(wire::puback(id)),
            (2, Some(id)) => {
                self.send(wire::pubrec(id));
                self.answer(&Received::PubRel(id));
                self.send(wire::pubcomp(id));
            }
            _ => {}
        }
        publish
    }

    /// The payload of the next PUBLISH, acknowledged.
    ///
    /// # Panics
    ///
    /// When another packet comes.
    #[track_caller]
    pub fn take_text(&mut self) -> String {
        self.take().text()
    }

    /// DISCONNECT, then waits until the broker has closed the connection.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(wire::DISCONNECT);
        self.expect_closed();
    }
}
