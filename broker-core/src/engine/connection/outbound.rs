//! Packets into outboxes.
//!
//! Cost of a PUBLISH with a small payload: one copy of its head, one copy of its payload, two patched fields. The
//! head is encoded once per publication, protocol family and presence of a Packet Identifier, however many
//! connections get it. A payload from [`SHARED_PAYLOAD_MIN`] bytes on is not copied but shared.

use bytes::Bytes;
use culex_codec::{Packet, PacketId, Properties, ProtocolVersion, PublishHead, PublishPatch, QoS, TopicName};

use crate::engine::keys::{ConnectionKey, PublicationId};
use crate::engine::origin;
use crate::engine::publication::Publication;
use crate::engine::terms::Terms;

use super::Connections;

/// Payloads from this size on are shared by reference count instead of copied. A shared segment costs an entry in
/// the vectored write and an atomic increment; a copy of 4 KiB costs about 100 ns.
pub(crate) const SHARED_PAYLOAD_MIN: usize = 4 << 10;

/// An Application Message on its way out, borrowed from the read buffer or from a publication.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Zero if nobody keeps it.
    pub(crate) id: PublicationId,
    pub(crate) topic: TopicName<'a>,
    pub(crate) payload: &'a [u8],
    /// The payload again, in a form that can be shared.
    pub(crate) shared: Option<&'a Bytes>,
    /// What it was kept as, and its number in the queue that it comes from.
    pub(crate) kept: Option<(PublicationId, &'a Publication)>,
}

impl<'a> From<&'a Publication> for Message<'a> {
    fn from(publication: &'a Publication) -> Self {
        Self {
            id: publication.id,
            topic: publication.topic(),
            payload: &publication.payload,
            shared: Some(&publication.payload),
            kept: Some((publication.id, publication)),
        }
    }
}

/// What differs from receiver to receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) qos: QoS,
    pub(crate) is_dup: bool,
    pub(crate) is_retain: bool,
    pub(crate) packet_id: Option<PacketId>,
}

/// The encoded heads of the publication that is being delivered.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    of: Option<PublicationId>,
    heads: [Option<PublishHead>; 4],
}

impl Heads {
    /// Forgets what is encoded; to be called before a message without an id is delivered.
    pub(crate) fn clear(&mut self) {
        self.of = None;
        self.heads = [const { None }; 4];
    }

    fn get(&mut self, version: ProtocolVersion, message: &Message<'_>, has_id: bool) -> Option<&PublishHead> {
        let id = Some(message.id).filter(|id| *id != PublicationId(0));
        if id != self.of {
            self.clear();
            self.of = id;
        }
        let family = if version == ProtocolVersion::V5 { 2 } else { 0 };
        let place = self.heads.get_mut(family + usize::from(has_id))?;
        if place.is_none() {
            *place =
                PublishHead::encode(version, message.topic, has_id, Properties::EMPTY, message.payload.len())
                    .ok();
        }
        place.as_ref()
    }
}

impl Connections {
    /// Appends a PUBLISH. `false` if the connection is gone or the message cannot be encoded for it.
    pub(crate) fn send_publish(&mut self, key: ConnectionKey, message: &Message<'_>, flags: Flags) -> bool {
        let Some(connection) = self.slots.get_mut(key.slot, key.generation) else { return false };
        let has_id = flags.packet_id.is_some();
        let origin = connection.tells_origin.then(|| origin::encode(message.kept));
        let len = message.payload.len() + origin.as_ref().map_or(0, Vec::len);
        let own_head;
        let head = match (Terms::mount_point(&connection.terms), &origin) {
            (None, None) => self.heads.get(connection.version, message, has_id),
            (mount, _) => {
                let topic = mount.map_or(Some(message.topic), |mount| mount.strip(message.topic));
                own_head = topic.and_then(|topic| {
                    PublishHead::encode(connection.version, topic, has_id, Properties::EMPTY, len).ok()
                });
                own_head.as_ref()
            }
        };
        let Some(head) = head else { return false };
        let patch = PublishPatch {
            qos: flags.qos,
            dup: flags.is_dup,
            retain: flags.is_retain,
            packet_id: flags.packet_id,
        };
        self.packets_sent += 1;
        let shared = message.shared.filter(|payload| payload.len() >= SHARED_PAYLOAD_MIN);
        connection.outbox.append_with(&mut self.pool, |tail| {
            head.append_to(tail, patch);
            if shared.is_none() {
                tail.extend_from_slice(message.payload);
            }
        });
        if let Some(payload) = shared {
            connection.outbox.share(payload.clone());
        }
        if let Some(origin) = origin {
            connection.outbox.append_with(&mut self.pool, |tail| tail.extend_from_slice(&origin));
        }
        if !connection.is_touched {
            connection.is_touched = true;
            self.touched.push_back(key);
        }
        true
    }

    /// Appends any other packet. `false` if the connection is gone.
    pub(crate) fn send(&mut self, key: ConnectionKey, packet: &Packet<'_>) -> bool {
        let Some(connection) = self.slots.get_mut(key.slot, key.generation) else { return false };
        let version = connection.version;
        self.packets_sent += 1;
        connection.outbox.append_with(&mut self.pool, |tail| {
            // Only a packet of ours over 268,435,455 bytes could fail here, and no answer comes near.
            let _ = packet.encode(version, tail);
        });
        self.touch(key);
        true
    }

    /// Marks a connection whose outbox may go on.
    pub(crate) fn touch(&mut self, key: ConnectionKey) {
        let Some(connection) = self.slots.get_mut(key.slot, key.generation) else { return };
        if !connection.is_touched {
            connection.is_touched = true;
            self.touched.push_back(key);
        }
    }
}
