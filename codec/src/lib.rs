//! The wire format of MQTT 3.1, 3.1.1 and 5.0: bytes to packets and back. No I/O, no clock, no `unsafe`.
//!
//! - **One packet model** for all versions, that of 5.0. A packet of 3.x has no properties, and [`ReasonCode`]s only where
//!   3.x has return codes; what a version cannot say is left out when a packet is encoded for it.
//! - **Decoding borrows.** A [`Packet`] points into the buffer it was decoded from: nothing is allocated, copied or counted.
//!   Strings, topics and properties have been checked when you see them.
//! - **Every rule that one packet can break is an error** of its own, [`DecodeError`], with the statement of the standard and
//!   the Reason Code to answer with. Rules about several packets are left to the user: this crate has no state.
//! - **Lengths announced are never trusted**: they are compared with your limit, and nothing is allocated for them.
//!
//! # Example
//!
//! ```
//! use culex_codec::{Ack, Decoded, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, TopicName, decode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let publish = Publish {
//!     dup: false,
//!     qos: QoS::AtLeastOnce,
//!     retain: false,
//!     topic: Some(TopicName::new("room/temperature")?),
//!     packet_id: PacketId::new(7),
//!     properties: Properties::EMPTY,
//!     payload: b"21.5",
//! };
//! let mut wire = Vec::new();
//! publish.encode(ProtocolVersion::V311, &mut wire)?;
//!
//! // The first bytes of a packet tell how many are missing, at least.
//! assert_eq!(decode(&wire[..10], ProtocolVersion::V311, 1024)?, Decoded::Incomplete { need: 16 });
//!
//! let Decoded::Packet { packet, len } = decode(&wire, ProtocolVersion::V311, 1024)? else {
//!     return Err("not a whole packet".into());
//! };
//! assert_eq!((packet, len), (Packet::Publish(publish), wire.len()));
//!
//! if let Some(packet_id) = publish.packet_id {
//!     let mut answer = Vec::new();
//!     Packet::PubAck(Ack::success(packet_id)).encode(ProtocolVersion::V311, &mut answer)?;
//!     assert_eq!(answer, [0x40, 2, 0, 7]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Versions
//!
//! The version of a connection is that of its CONNECT, which [`decode`] reads whatever version it is told. For 3.1 it forgives
//! what that text calls "not used": the flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE, DUP with QoS 0, bit 0 of the Connect
//! Flags, and user name and password flags at the end of the packet. Before 5.0 a Remaining Length may have more bytes than
//! need be, up to four. Protocol Levels 0x83 and 0x84 are 3.1 and 3.1.1 of a
//! bridge.
//!
//! # Features
//!
//! - `tokio-util` (off): [`tokio_util::codec`](https://docs.rs/tokio-util) adapters, module `tokio`.

#![forbid(unsafe_code)]

mod error;
mod frame;
mod packet;
mod property;
mod reader;
mod reason;
mod text;
mod topic;
mod types;
mod varint;
mod writer;

#[cfg(feature = "tokio-util")]
pub mod tokio;

pub use crate::{
    error::{DecodeError, EncodeError, TopicError},
    frame::{FixedHeader, Frame, PacketType, read_frame},
    packet::{
        Ack, Auth, ConnAck, Connect, Decoded, Disconnect, Packet, Publish, PublishHead, PublishPatch,
        RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscribeFiltersBuf, SubscribeFiltersIter,
        Subscription, SubscriptionOptions, UnsubAck, Unsubscribe, UnsubscribeFilters, UnsubscribeFiltersBuf,
        UnsubscribeFiltersIter, Will, decode,
    },
    property::{
        PROPERTIES_MAX, Properties, PropertiesBuf, PropertiesIter, Property, PropertyContext, PropertyId,
    },
    reason::{ReasonCode, UnknownReasonCode},
    topic::{ShareName, TopicFilter, TopicName},
    types::{ClientId, PacketId, ProtocolVersion, QoS, SubscriptionId},
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
