//! Arbitrary bytes as a stream of packets.

use culex_codec::{
    DecodeError, Decoded, Packet, Properties, PropertiesBuf, ProtocolVersion, Publish, PublishHead,
    PublishPatch, QoS, decode as decode_packet, read_frame,
};

use super::source::Source;

/// The limit for a packet: in reach of a fuzzer's input.
const PACKET_BYTES_MAX: u32 = 4096;

/// Decodes a stream of packets, the version of which the first byte of `data` selects. What decodes must encode, to no more
/// bytes, and decode to the same; half of it must not be a packet; errors must say why.
pub fn decode(data: &[u8]) {
    let mut source = Source::new(data);
    let mut version = source.version();
    let mut stream = source.take_rest();
    loop {
        let frame = read_frame(stream, PACKET_BYTES_MAX);
        match decode_packet(stream, version, PACKET_BYTES_MAX) {
            Ok(Decoded::Packet { packet, len }) => {
                assert!(frame.is_ok(), "{frame:?}");
                let (bytes, rest) = stream.split_at(len);
                prefixes(bytes, version);
                if let Packet::Connect(connect) = packet {
                    version = connect.version;
                }
                encodes(packet, bytes, version);
                stream = rest;
            }
            Ok(Decoded::Incomplete { need }) => {
                assert!(need > 0);
                assert!(stream.len() < PACKET_BYTES_MAX as usize, "waits beyond the limit");
                return;
            }
            Err(error) => return explains(error),
        }
    }
}

/// A part of a packet is not a packet, and never a reason to refuse what is fine as a whole.
fn prefixes(bytes: &[u8], version: ProtocolVersion) {
    for cut in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
        let prefix = bytes.get(..cut.min(bytes.len() - 1)).unwrap_or_default();
        match decode_packet(prefix, version, PACKET_BYTES_MAX) {
            Ok(Decoded::Incomplete { need }) => assert!((1..=bytes.len() - prefix.len()).contains(&need)),
            other => panic!("{} of {} bytes: {other:?}", prefix.len(), bytes.len()),
        }
    }
}

fn encodes(packet: Packet<'_>, bytes: &[u8], version: ProtocolVersion) {
    let mut again = Vec::new();
    let len = packet.encode(version, &mut again).unwrap();
    assert_eq!(packet.encoded_len(version), Ok(len));
    assert_eq!(again.len(), len);
    assert!(len <= bytes.len(), "{packet:?} grew");
    assert_eq!(decode_packet(&again, version, PACKET_BYTES_MAX), Ok(Decoded::Packet { packet, len }));
    for properties in properties(&packet) {
        rebuilds(properties);
    }
    match packet {
        Packet::Publish(publish) => has_same_head(publish, &again, version),
        Packet::Subscribe(subscribe) => assert_eq!(subscribe.filters.iter().count(), subscribe.filters.len()),
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.filters.iter().count(), unsubscribe.filters.len());
        }
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => {}
    }
}

/// The properties of a packet and of its Will.
fn properties<'a>(packet: &Packet<'a>) -> [Properties<'a>; 2] {
    let properties = match packet {
        Packet::Connect(connect) => {
            return [connect.properties, connect.will.map_or(Properties::EMPTY, |will| will.properties)];
        }
        Packet::ConnAck(connack) => connack.properties,
        Packet::Publish(publish) => publish.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties
        }
        Packet::Subscribe(subscribe) => subscribe.properties,
        Packet::SubAck(suback) => suback.properties,
        Packet::Unsubscribe(unsubscribe) => unsubscribe.properties,
        Packet::UnsubAck(unsuback) => unsuback.properties,
        Packet::PingReq | Packet::PingResp => Properties::EMPTY,
        Packet::Disconnect(disconnect) => disconnect.properties,
        Packet::Auth(auth) => auth.properties,
    };
    [properties, Properties::EMPTY]
}

/// Iteration sees every property: put together again, they are the same bytes.
fn rebuilds(properties: Properties<'_>) {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        buf.push(property).unwrap();
    }
    let mut whole = PropertiesBuf::new();
    whole.extend(properties);
    assert_eq!(buf, whole);
}

/// The head for many subscribers is the front of the packet.
fn has_same_head(publish: Publish<'_>, bytes: &[u8], version: ProtocolVersion) {
    let Publish { dup, qos, retain, topic, packet_id, properties, payload } = publish;
    let Some(topic) = topic else {
        return;
    };
    let head =
        PublishHead::encode(version, topic, qos != QoS::AtMostOnce, properties, payload.len()).unwrap();
    let mut out = Vec::new();
    head.append_to(&mut out, PublishPatch { qos, dup, retain, packet_id });
    assert_eq!(out.len(), head.len());
    out.extend_from_slice(payload);
    assert_eq!(out, bytes);
}

fn explains(error: DecodeError) {
    assert!(error.reason_code().is_error());
    assert!(!error.to_string().is_empty());
    let _ = error.statement();
}
