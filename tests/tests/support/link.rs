//! A connection of a client, and the packets that came over it.

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};
use culex_tests::wire::Connect;

use super::network::Network;

/// A packet of the broker, owned.
#[derive(Debug)]
pub(crate) enum Got {
    ConnAck { is_session_present: bool },
    Publish { id: Option<u16>, qos: u8, topic: String, payload: Vec<u8> },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    SubAck,
    UnsubAck,
}

/// A connection, or none.
#[derive(Debug, Default)]
pub(crate) struct Link {
    peer: Option<usize>,
    /// The beginning of a packet.
    partial: Vec<u8>,
    /// CONNACK came.
    pub(crate) is_open: bool,
}

impl Link {
    pub(crate) fn connect(&mut self, net: &mut dyn Network, connect: &Connect) {
        *self = Self { peer: net.connect(connect), ..Self::default() };
    }

    pub(crate) fn is_away(&self) -> bool {
        self.peer.is_none()
    }

    pub(crate) fn send(&self, net: &mut dyn Network, packet: &[u8]) {
        if let Some(peer) = self.peer {
            net.send(peer, packet);
        }
    }

    pub(crate) fn lose(&mut self, net: &mut dyn Network) {
        if let Some(peer) = self.peer {
            net.lose(peer);
        }
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What came, in order; and the connection is gone if the broker closed it.
    pub(crate) fn read(&mut self, net: &mut dyn Network) -> Vec<Got> {
        let Some(peer) = self.peer else { return Vec::new() };
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend(net.take_output(peer));
        let mut rest: &[u8] = &bytes;
        let mut got = Vec::new();
        while let Ok(Decoded::Packet { packet, len }) = decode(rest, ProtocolVersion::V311, u32::MAX) {
            got.push(owned(&packet));
            rest = &rest[len..];
        }
        self.partial = rest.to_vec();
        if net.is_closed(peer) {
            self.forget();
        }
        got
    }
}

fn owned(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(connack) => Got::ConnAck { is_session_present: connack.session_present },
        Packet::Publish(publish) => Got::Publish {
            id: publish.packet_id.map(|id| id.get()),
            qos: publish.qos.bits(),
            topic: publish.topic.unwrap().as_str().to_owned(),
            payload: publish.payload.to_vec(),
        },
        Packet::PubAck(ack) => Got::PubAck(ack.packet_id.get()),
        Packet::PubRec(ack) => Got::PubRec(ack.packet_id.get()),
        Packet::PubRel(ack) => Got::PubRel(ack.packet_id.get()),
        Packet::PubComp(ack) => Got::PubComp(ack.packet_id.get()),
        Packet::SubAck(_) => Got::SubAck,
        Packet::UnsubAck(_) => Got::UnsubAck,
        other => panic!("a client gets no {:?}", other.packet_type()),
    }
}
