//! What is sent. A PUBLISH is formatted once and patched per message: Packet Identifier, sequence, time.
//!
//! The payload begins with a stamp of 16 bytes: publisher (u32), sequence (u32), time sent in nanoseconds since the
//! start of the run (u64), all big-endian. The rest is filler.

use std::sync::Arc;
use std::time::Duration;

use culex_codec::QoS;

use crate::bench::plan::{Credentials, Version};
use crate::bench::spread::Spread;

/// Size of the stamp, and so of the smallest payload.
pub(super) const STAMP_BYTES: usize = 16;

/// The beginning of each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) publisher: u32,
    /// Counts from 0.
    pub(super) sequence: u32,
    /// Since the start of the run.
    pub(super) sent_ns: u64,
}

impl Stamp {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (publisher, rest) = payload.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        Some(Self {
            publisher: u32::from_be_bytes(*publisher),
            sequence: u32::from_be_bytes(*sequence),
            sent_ns: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// The PUBLISH of one publisher.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the Packet Identifier is; none at QoS 0.
    packet_id_at: Option<usize>,
    /// Where the sequence is; the time follows.
    sequence_at: usize,
    /// Where the topic is, if each message has another.
    spread: Option<(usize, Arc<Spread>)>,
}

impl Template {
    /// `payload_bytes` below the size of the stamp count as that size.
    pub(super) fn new(version: Version, topic: &str, qos: QoS, payload_bytes: usize, publisher: u32) -> Self {
        let payload_bytes = payload_bytes.max(STAMP_BYTES);
        let mut body = Vec::with_capacity(payload_bytes + topic.len() + 4);
        push_text(&mut body, topic.as_bytes());
        let packet_id_at = (qos != QoS::AtMostOnce).then_some(body.len());
        if packet_id_at.is_some() {
            body.extend([0; 2]);
        }
        body.extend(no_properties(version));
        let stamp_at = body.len();
        body.extend(publisher.to_be_bytes());
        body.resize(stamp_at + payload_bytes, b'x');
        let bytes = packet(0x30 | qos.bits() << 1, &body);
        let header = bytes.len() - body.len();
        Self {
            bytes,
            packet_id_at: packet_id_at.map(|at| at + header),
            sequence_at: stamp_at + header + 4,
            spread: None,
        }
    }

    /// Messages to many topics in turn, of publisher 0.
    pub(super) fn to_many(version: Version, spread: Arc<Spread>, qos: QoS, payload_bytes: usize) -> Self {
        let topic = spread.topic(0);
        let mut template = Self::new(version, &topic, qos, payload_bytes, 0);
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { 2 };
        // The publisher's number stands before the sequence.
        let topic_end = template.sequence_at - 4 - no_properties(version).len() - packet_id;
        template.spread = Some((topic_end - topic.len(), spread));
        template
    }

    /// The same with RETAIN.
    pub(super) fn retained(mut self) -> Self {
        if let Some(first) = self.bytes.first_mut() {
            *first |= 1;
        }
        self
    }

    /// Size of the whole packet in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the message with this number.
    pub(super) fn append(&self, out: &mut Vec<u8>, sequence: u32, sent_ns: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            patch(out, start + at, packet_id(sequence));
        }
        if let Some((at, spread)) = &self.spread {
            spread.patch(out.get_mut(start + at..).unwrap_or_default(), spread.number(sequence));
        }
        let [a, b, c, d] = sequence.to_be_bytes();
        let [e, f, g, h, i, j, k, l] = sent_ns.to_be_bytes();
        patch(out, start + self.sequence_at, [a, b, c, d, e, f, g, h, i, j, k, l]);
    }
}

fn patch<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// 1 to 65,535, round and round; the window is smaller, so none is used twice at a time.
pub(super) fn packet_id(sequence: u32) -> [u8; 2] {
    let id = u16::try_from(sequence % 65_535).map_or(1, |id| id + 1);
    id.to_be_bytes()
}

/// CONNECT with the longest Keep Alive, 18 hours: nobody has to be pinged, and some brokers refuse to do without. A session that is kept
/// has no end, whatever the version.
pub(super) fn connect(
    version: Version,
    client_id: &str,
    clean_session: bool,
    credentials: Option<&Credentials>,
) -> Vec<u8> {
    let mut body = Vec::new();
    match version {
        Version::V31 => push_text(&mut body, b"MQIsdp"),
        Version::V311 | Version::V5 => push_text(&mut body, b"MQTT"),
    }
    let flags = u8::from(clean_session) << 1 | if credentials.is_some() { 0xc0 } else { 0 };
    let level = match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    body.extend([level, flags, 0xff, 0xff]);
    if version == Version::V5 && !clean_session {
        // Session Expiry Interval.
        body.extend([5, 0x11, 0xff, 0xff, 0xff, 0xff]);
    } else {
        body.extend(no_properties(version));
    }
    push_text(&mut body, client_id.as_bytes());
    if let Some(Credentials { user_name, password, .. }) = credentials {
        push_text(&mut body, user_name.as_bytes());
        push_text(&mut body, password.as_bytes());
    }
    packet(0x10, &body)
}

/// SUBSCRIBE with one filter.
pub(super) fn subscribe(version: Version, packet_id: [u8; 2], filter: &str, qos: QoS) -> Vec<u8> {
    let mut body = packet_id.to_vec();
    body.extend(no_properties(version));
    push_text(&mut body, filter.as_bytes());
    body.push(qos.bits());
    packet(0x82, &body)
}

/// PUBLISH that removes the Retained Message of a topic.
pub(super) fn clear(version: Version, topic: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + 3);
    push_text(&mut body, topic.as_bytes());
    body.extend(no_properties(version));
    packet(0x31, &body)
}

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// An acknowledgement: PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70.
pub(super) fn ack(first: u8, packet_id: [u8; 2]) -> [u8; 4] {
    let [high, low] = packet_id;
    [first, 2, high, low]
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// What stands where properties may be.
fn no_properties(version: Version) -> &'static [u8] {
    match version {
        Version::V31 | Version::V311 => &[],
        Version::V5 => &[0],
    }
}

/// Text of up to 65,535 bytes with its length before it. The plan has checked what the user gave.
fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(text);
}

/// Nanoseconds, for the stamp: enough for 584 years.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use culex_codec::{Decoded, Packet, ProtocolVersion};

    use super::*;

    const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    fn protocol(version: Version) -> ProtocolVersion {
        match version {
            Version::V31 => ProtocolVersion::V31,
            Version::V311 => ProtocolVersion::V311,
            Version::V5 => ProtocolVersion::V5,
        }
    }

    /// What the broker's codec reads.
    #[track_caller]
    fn check(bytes: &[u8], version: Version, expected: impl FnOnce(Packet<'_>)) {
        let Decoded::Packet { packet, len } = culex_codec::decode(bytes, protocol(version), 1 << 20).unwrap()
        else {
            panic!("not whole: {bytes:?}");
        };
        assert_eq!(len, bytes.len());
        expected(packet);
    }

    #[test]
    fn messages_carry_publisher_sequence_and_time() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (payload_bytes, version) in [16, 100, 20_000].into_iter().zip(VERSIONS) {
                let template = Template::new(version, "bench/1/2", qos, payload_bytes, 7);
                let mut out = vec![0xff];
                template.append(&mut out, 65_535, 0x0102_0304_0506_0708);
                check(&out[1..], version, |packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    assert_eq!((publish.qos, publish.payload.len()), (qos, payload_bytes));
                    assert_eq!(publish.topic.unwrap().as_str(), "bench/1/2");
                    assert_eq!(publish.packet_id.map(|id| id.get()), (qos != QoS::AtMostOnce).then_some(1));
                    let stamp = Stamp { publisher: 7, sequence: 65_535, sent_ns: 0x0102_0304_0506_0708 };
                    assert_eq!(Stamp::read(publish.payload), Some(stamp));
                });
            }
        }
    }

    #[test]
    fn messages_to_many_topics_name_each() {
        let spread = Arc::new(Spread::new("tag", 20_000, 3));
        let kinds = [
            (QoS::AtMostOnce, Version::V311),
            (QoS::AtLeastOnce, Version::V31),
            (QoS::ExactlyOnce, Version::V5),
        ];
        for (qos, version) in kinds {
            let template = Template::to_many(version, Arc::clone(&spread), qos, 200).retained();
            for sequence in [0, 1, 12_345] {
                let mut out = Vec::new();
                template.append(&mut out, sequence, 5);
                check(&out, version, |packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    assert!(publish.retain && publish.payload.len() == 200);
                    let topic = publish.topic.unwrap().as_str();
                    assert_eq!(spread.parse(topic.as_bytes()), Some(spread.number(sequence)));
                    assert_eq!(Stamp::read(publish.payload).unwrap().sequence, sequence);
                });
            }
        }
    }

    #[test]
    fn the_other_packets_are_valid() {
        let credentials =
            Credentials { user_name: "me".into(), password: "secret".into(), is_numbered: false };
        for version in VERSIONS {
            check(&connect(version, "c1", false, Some(&credentials)), version, |packet| {
                let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
                assert_eq!((connect.version, connect.clean_start), (protocol(version), false));
                assert_eq!((connect.user_name, connect.password), (Some("me"), Some(&b"secret"[..])));
            });
            check(&subscribe(version, [0, 1], "a/b", QoS::ExactlyOnce), version, |packet| {
                assert!(matches!(packet, Packet::Subscribe(_)));
            });
            check(&clear(version, "a/b"), version, |packet| {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                assert!(publish.retain && publish.payload.is_empty());
            });
            check(&ack(0x62, [0, 9]), version, |packet| assert!(matches!(packet, Packet::PubRel(_))));
            check(&PINGREQ, version, |packet| assert!(matches!(packet, Packet::PingReq)));
            check(&DISCONNECT, version, |packet| assert!(matches!(packet, Packet::Disconnect(_))));
        }
    }
}
