//! The packets, in one model for all versions: 3.x packets have no properties and fewer Reason Codes.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod head;
mod publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

pub use self::{
    ack::Ack,
    auth::Auth,
    connack::ConnAck,
    connect::{Connect, Will},
    disconnect::Disconnect,
    head::{PublishHead, PublishPatch},
    publish::Publish,
    suback::SubAck,
    subscribe::{
        RetainHandling, Subscribe, SubscribeFilters, SubscribeFiltersBuf, SubscribeFiltersIter, Subscription,
        SubscriptionOptions,
    },
    unsuback::UnsubAck,
    unsubscribe::{Unsubscribe, UnsubscribeFilters, UnsubscribeFiltersBuf, UnsubscribeFiltersIter},
};

use bytes::BufMut;

use crate::{
    error::{DecodeError, EncodeError},
    frame::{self, FixedHeader, Frame, PacketType},
    reader::Reader,
    reason::ReasonCode,
    types::ProtocolVersion,
    varint,
    writer::{self, Body, Writer},
};
use ack::AckBody;

/// A control packet, borrowed from the buffer it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client asks for a connection.
    Connect(Connect<'a>),
    /// Server answers CONNECT.
    ConnAck(ConnAck<'a>),
    /// Application Message.
    Publish(Publish<'a>),
    /// QoS 1: message taken.
    PubAck(Ack<'a>),
    /// QoS 2, part 1: message taken.
    PubRec(Ack<'a>),
    /// QoS 2, part 2: identifier can be released.
    PubRel(Ack<'a>),
    /// QoS 2, part 3: identifier is released.
    PubComp(Ack<'a>),
    /// Client subscribes.
    Subscribe(Subscribe<'a>),
    /// Server answers SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// Client unsubscribes.
    Unsubscribe(Unsubscribe<'a>),
    /// Server answers UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// Client is alive.
    PingReq,
    /// Server answers PINGREQ.
    PingResp,
    /// Last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// Enhanced authentication; 5.0 only.
    Auth(Auth<'a>),
}

/// What [`decode`] found at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole packet.
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// Its size: where the next one begins.
        len: usize,
    },
    /// The beginning of a packet.
    Incomplete {
        /// At least so many more bytes are needed; never 0.
        need: usize,
    },
}

/// Decodes the packet at the front of `buf` by the rules of `version`, the one that the connection speaks.
///
/// A CONNECT goes by its own Protocol Name and Protocol Level, whatever `version` is. Before there was one,
/// [`ProtocolVersion::V5`] is as good as any. Nothing is allocated or copied; `packet_bytes_max` limits the whole packet and
/// is checked as soon as its size is known.
///
/// # Errors
/// The rule that the packet breaks; an error in the fixed header is found before the rest has come.
#[inline]
pub fn decode(
    buf: &[u8],
    version: ProtocolVersion,
    packet_bytes_max: u32,
) -> Result<Decoded<'_>, DecodeError> {
    match frame::read(buf, version, false, packet_bytes_max)? {
        Frame::Complete { header, body, len } => {
            let packet = Packet::decode_body(header, body, version)?;
            if let Packet::Connect(Connect { version: ProtocolVersion::V5, .. }) = packet {
                // What `frame::read` leaves to the version of the CONNECT.
                varint::check_minimal(header.remaining_length, len - 1 - body.len())?;
            }
            Ok(Decoded::Packet { packet, len })
        }
        Frame::Incomplete { need } => Ok(Decoded::Incomplete { need }),
    }
}

impl<'a> Packet<'a> {
    /// Decodes what follows a fixed header that [`frame::read`] accepted for this version.
    #[inline]
    fn decode_body(
        header: FixedHeader,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let reader = Reader::new(body);
        let packet_type = header.packet_type;
        Ok(match packet_type {
            PacketType::Publish => Self::Publish(Publish::decode(header.flags, reader, version)?),
            PacketType::PubAck => Self::PubAck(Ack::decode(packet_type, reader, version)?),
            PacketType::PubRec => Self::PubRec(Ack::decode(packet_type, reader, version)?),
            PacketType::PubRel => Self::PubRel(Ack::decode(packet_type, reader, version)?),
            PacketType::PubComp => Self::PubComp(Ack::decode(packet_type, reader, version)?),
            PacketType::Connect => Self::Connect(Connect::decode(reader)?),
            PacketType::ConnAck => Self::ConnAck(ConnAck::decode(reader, version)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(reader, version)?),
            PacketType::SubAck => Self::SubAck(SubAck::decode(reader, version)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(reader, version)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::decode(reader, version)?),
            PacketType::PingReq => reader.finish(packet_type).map(|()| Self::PingReq)?,
            PacketType::PingResp => reader.finish(packet_type).map(|()| Self::PingResp)?,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(reader, version)?),
            PacketType::Auth => Self::Auth(Auth::decode(reader)?),
        })
    }

    /// The type of the packet.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Bytes that [`Self::encode`] writes, fixed header included.
    ///
    /// # Errors
    /// As [`Self::encode`], [`EncodeError::BufferTooSmall`] excepted.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        writer::encoded_len(self, version)
    }

    /// Writes the packet as `version` has it and gives the number of bytes. What the version has no field for (properties and
    /// most Reason Codes in 3.x) is left out. A CONNECT goes by its own version.
    ///
    /// # Errors
    /// A packet that the version cannot express, or a buffer of fixed size without room; then nothing is written.
    pub fn encode<B: BufMut>(&self, version: ProtocolVersion, out: &mut B) -> Result<usize, EncodeError> {
        writer::encode(self, version, out)
    }
}

/// `$body` is evaluated with `$packet` bound to what implements [`Body`] for the packet.
macro_rules! dispatch {
    ($self:expr, $packet:ident => $body:expr) => {
        match $self {
            Packet::Connect($packet) => $body,
            Packet::ConnAck($packet) => $body,
            Packet::Publish($packet) => $body,
            Packet::PubAck(ack) => {
                let $packet = &AckBody { packet_type: PacketType::PubAck, ack };
                $body
            }
            Packet::PubRec(ack) => {
                let $packet = &AckBody { packet_type: PacketType::PubRec, ack };
                $body
            }
            Packet::PubRel(ack) => {
                let $packet = &AckBody { packet_type: PacketType::PubRel, ack };
                $body
            }
            Packet::PubComp(ack) => {
                let $packet = &AckBody { packet_type: PacketType::PubComp, ack };
                $body
            }
            Packet::Subscribe($packet) => $body,
            Packet::SubAck($packet) => $body,
            Packet::Unsubscribe($packet) => $body,
            Packet::UnsubAck($packet) => $body,
            Packet::PingReq => {
                let $packet = &Ping(PacketType::PingReq);
                $body
            }
            Packet::PingResp => {
                let $packet = &Ping(PacketType::PingResp);
                $body
            }
            Packet::Disconnect($packet) => $body,
            Packet::Auth($packet) => $body,
        }
    };
}

impl Body for Packet<'_> {
    fn first_byte(&self) -> u8 {
        dispatch!(self, packet => packet.first_byte())
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        dispatch!(self, packet => packet.body_len(version))
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        dispatch!(self, packet => packet.write_body(version, writer));
    }
}

/// PINGREQ or PINGRESP, which have no body.
struct Ping(PacketType);

impl Body for Ping {
    fn first_byte(&self) -> u8 {
        first_byte(self.0)
    }

    fn body_len(&self, _version: ProtocolVersion) -> Result<usize, EncodeError> {
        Ok(0)
    }

    fn write_body<B: BufMut>(&self, _version: ProtocolVersion, _writer: &mut Writer<'_, B>) {}
}

/// Gives a packet that implements [`Body`] the methods of [`Packet`].
macro_rules! encodable {
    ($($name:ident),*) => {
        $(
            impl $name<'_> {
                /// As [`Packet::encoded_len`].
                ///
                /// # Errors
                /// As [`Packet::encode`], [`EncodeError::BufferTooSmall`] excepted.
                pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                    writer::encoded_len(self, version)
                }

                /// As [`Packet::encode`].
                ///
                /// # Errors
                /// As [`Packet::encode`].
                pub fn encode<B: BufMut>(&self, version: ProtocolVersion, out: &mut B) -> Result<usize, EncodeError> {
                    writer::encode(self, version, out)
                }
            }

            impl<'a> From<$name<'a>> for Packet<'a> {
                fn from(packet: $name<'a>) -> Self {
                    Self::$name(packet)
                }
            }
        )*
    };
}

encodable!(Connect, ConnAck, Publish, Subscribe, SubAck, Unsubscribe, UnsubAck, Disconnect, Auth);

/// The first byte of a packet whose flags are fixed.
const fn first_byte(packet_type: PacketType) -> u8 {
    (packet_type as u8) << 4 | packet_type.fixed_flags()
}

/// The Reason Code `code`, if this packet can have it in 5.0.
#[inline]
fn reason_code(packet_type: PacketType, code: u8) -> Result<ReasonCode, DecodeError> {
    match ReasonCode::try_from(code) {
        Ok(reason_code) if reason_code.is_defined_for(packet_type) => Ok(reason_code),
        Ok(_) | Err(_) => Err(DecodeError::ReasonCode { packet_type, code }),
    }
}

/// That this packet can have the Reason Code in 5.0.
#[inline]
fn check_reason_code(packet_type: PacketType, code: u8) -> Result<(), EncodeError> {
    match reason_code(packet_type, code) {
        Ok(_) => Ok(()),
        Err(_) => Err(EncodeError::ReasonCode { packet_type, code }),
    }
}

#[cfg(test)]
mod tests;
