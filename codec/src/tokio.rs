//! `tokio_util::codec` adapters, feature `tokio-util`.
//!
//! A [`Decoder`] must give owned items, so it gives the frame and not the packet: [`RawPacket`] holds the bytes of one whole,
//! valid packet by reference count, and [`RawPacket::packet`] looks at them.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    error::{DecodeError, EncodeError},
    packet::{Decoded, Packet, decode},
    types::ProtocolVersion,
};

/// One whole packet in the bytes it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPacket {
    bytes: Bytes,
    version: ProtocolVersion,
}

impl RawPacket {
    /// The packet that `bytes` are; `Ok(None)` if they end before it does.
    ///
    /// # Errors
    /// As [`decode`]. Bytes after the end of the packet are cut off.
    pub fn new(mut bytes: Bytes, version: ProtocolVersion) -> Result<Option<Self>, DecodeError> {
        match decode(&bytes, version, u32::MAX)? {
            Decoded::Packet { len, packet } => {
                let version = own_version(&packet).unwrap_or(version);
                bytes.truncate(len);
                Ok(Some(Self { bytes, version }))
            }
            Decoded::Incomplete { .. } => Ok(None),
        }
    }

    /// The packet. It is decoded anew by every call: some 20 ns for a small PUBLISH.
    #[expect(
        clippy::expect_used,
        reason = "`bytes` is private and was set by `new`, which decoded exactly them"
    )]
    pub fn packet(&self) -> Packet<'_> {
        match decode(&self.bytes, self.version, u32::MAX) {
            Ok(Decoded::Packet { packet, .. }) => Some(packet),
            Ok(Decoded::Incomplete { .. }) | Err(_) => None,
        }
        .expect("decoded before")
    }

    /// The bytes of the packet, fixed header included.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The version that the packet was decoded by.
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }
}

/// Splits a byte stream into packets, and joins packets to a byte stream.
///
/// The first CONNECT that passes, in either direction, sets the version.
#[derive(Clone, Debug)]
pub struct MqttCodec {
    version: ProtocolVersion,
    is_version_known: bool,
    packet_bytes_max: u32,
}

impl MqttCodec {
    /// A codec for a new connection that takes packets of at most `packet_bytes_max` bytes, fixed header included.
    pub const fn new(packet_bytes_max: u32) -> Self {
        Self { version: ProtocolVersion::V5, is_version_known: false, packet_bytes_max }
    }

    /// A codec for a connection whose CONNECT has passed elsewhere.
    pub const fn with_version(version: ProtocolVersion, packet_bytes_max: u32) -> Self {
        Self { version, is_version_known: true, packet_bytes_max }
    }

    /// The version of the connection; 5.0 until a CONNECT has passed.
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    fn learn(&mut self, packet: &Packet<'_>) {
        if let (false, Some(version)) = (self.is_version_known, own_version(packet)) {
            self.version = version;
            self.is_version_known = true;
        }
    }
}

const fn own_version(packet: &Packet<'_>) -> Option<ProtocolVersion> {
    if let Packet::Connect(connect) = packet { Some(connect.version) } else { None }
}

/// What ends a stream of packets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The peer broke a rule.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet to be sent cannot be.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Decoder for MqttCodec {
    type Item = RawPacket;
    type Error = CodecError;

    /// Never reserves more than is there: an announced length alone costs nothing.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<RawPacket>, CodecError> {
        match decode(src, self.version, self.packet_bytes_max)? {
            Decoded::Packet { packet, len } => {
                self.learn(&packet);
                let version = own_version(&packet).unwrap_or(self.version);
                Ok(Some(RawPacket { bytes: src.split_to(len).freeze(), version }))
            }
            Decoded::Incomplete { .. } => Ok(None),
        }
    }
}

impl Encoder<Packet<'_>> for MqttCodec {
    type Error = CodecError;

    fn encode(&mut self, packet: Packet<'_>, dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.reserve(packet.encoded_len(self.version)?);
        packet.encode(self.version, dst)?;
        self.learn(&packet);
        Ok(())
    }
}

impl Encoder<RawPacket> for MqttCodec {
    type Error = CodecError;

    /// The bytes as they are if they are of the version of this connection, else the packet encoded anew.
    fn encode(&mut self, packet: RawPacket, dst: &mut BytesMut) -> Result<(), CodecError> {
        let decoded = packet.packet();
        self.learn(&decoded);
        if packet.version == self.version || own_version(&decoded).is_some() {
            dst.extend_from_slice(&packet.bytes);
        } else {
            dst.reserve(decoded.encoded_len(self.version)?);
            decoded.encode(self.version, dst)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ack, ClientId, Connect, PacketId, Properties, ReasonCode};

    fn connect(version: ProtocolVersion) -> Packet<'static> {
        Packet::Connect(Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: ClientId::new("client").unwrap(),
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        })
    }

    #[test]
    fn the_connect_sets_the_version_for_both_directions() {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            let puback = Packet::PubAck(Ack::new(PacketId::new(1).unwrap(), ReasonCode::QuotaExceeded));
            let mut client = MqttCodec::new(1000);
            let mut wire = BytesMut::new();
            client.encode(connect(version), &mut wire).unwrap();
            client.encode(puback, &mut wire).unwrap();
            client.encode(Packet::PingReq, &mut wire).unwrap();

            let mut server = MqttCodec::new(1000);
            let mut src = BytesMut::new();
            let mut packets = Vec::new();
            for byte in wire {
                src.extend_from_slice(&[byte]);
                packets.extend(server.decode(&mut src).unwrap());
            }
            assert_eq!((client.version(), server.version()), (version, version));
            assert_eq!(packets[0].packet(), connect(version));
            let reason_code = if version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
            assert_eq!(packets[1].packet(), Packet::PubAck(Ack::new(PacketId::new(1).unwrap(), reason_code)));
            assert_eq!(packets[2].packet(), Packet::PingReq);
            assert_eq!(packets.len(), 3);
        }
    }

    #[test]
    fn a_raw_packet_crosses_versions() {
        let bytes = Bytes::from_static(&[0x40, 4, 0, 7, 0, 0]);
        let packet = RawPacket::new(bytes.clone(), ProtocolVersion::V5).unwrap().unwrap();
        let mut wire = BytesMut::new();
        MqttCodec::with_version(ProtocolVersion::V5, 100).encode(packet.clone(), &mut wire).unwrap();
        assert_eq!(wire, bytes);
        wire.clear();
        MqttCodec::with_version(ProtocolVersion::V311, 100).encode(packet, &mut wire).unwrap();
        assert_eq!(wire, &[0x40, 2, 0, 7][..]);
    }

    #[test]
    fn only_whole_and_valid_bytes_become_a_raw_packet() {
        let version = ProtocolVersion::V311;
        let new = |bytes: &'static [u8]| RawPacket::new(Bytes::from_static(bytes), version);
        assert_eq!(new(&[0xc0]).unwrap(), None);
        assert!(new(&[0xc1, 0]).is_err());
        assert_eq!(new(&[0xc0, 0, 9]).unwrap().unwrap().bytes().len(), 2);
        let mut codec = MqttCodec::with_version(version, 3);
        let error = codec.decode(&mut BytesMut::from(&[0x30, 2][..])).unwrap_err();
        assert!(matches!(error, CodecError::Decode(DecodeError::PacketTooLarge { .. })), "{error}");
    }
}
