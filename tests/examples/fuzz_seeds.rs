//! Writes the first inputs of the fuzz targets to `fuzz/corpus`; the same files every time.
//!
//! ```text
//! cargo run -p culex-tests --example fuzz_seeds
//! ```

use std::{fs, path::Path};

use anyhow::{Context, Result};
use culex_codec::{
    Ack, Auth, ClientId, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Properties,
    PropertiesBuf, Property, PropertyContext, ProtocolVersion, Publish, QoS, ReasonCode, SubAck, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, UnsubAck, Unsubscribe,
    UnsubscribeFiltersBuf, Will,
};

/// The first byte of an input, as the targets read it, with its name.
const VERSIONS: [(u8, &str, ProtocolVersion); 3] =
    [(0, "v311", ProtocolVersion::V311), (1, "v5", ProtocolVersion::V5), (2, "v31", ProtocolVersion::V31)];

fn main() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut seeds = Vec::new();
    for (first, name, version) in VERSIONS {
        seeds.extend(streams(first, name, version)?);
    }
    seeds.extend(malformed());
    write(&corpus.join("decode"), &seeds)?;
    write(&corpus.join("bridge"), &conversations())?;
    write(&corpus.join("roundtrip"), &recipes())
}

type Seed = (String, Vec<u8>);

fn write(folder: &Path, seeds: &[Seed]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in seeds {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// A stream with one packet of each kind, and one with all of them.
fn streams(first: u8, version_name: &str, version: ProtocolVersion) -> Result<Vec<Seed>> {
    let properties = |context, all: &[Property<'_>]| -> Result<PropertiesBuf> {
        let mut buf = PropertiesBuf::new();
        for property in all {
            buf.push(*property)?;
        }
        buf.as_properties(context)?;
        Ok(buf)
    };
    let user = Property::UserProperty("key", "wert ü");
    let packet_id = PacketId::new(0x1234).context("not 0")?;
    let topic = TopicName::new("room/1/temperature")?;
    let connect_properties =
        properties(PropertyContext::Connect, &[Property::SessionExpiryInterval(60), user])?;
    let will_properties = properties(PropertyContext::Will, &[Property::WillDelayInterval(5), user])?;
    let connack_properties = properties(
        PropertyContext::ConnAck,
        &[Property::TopicAliasMaximum(9), Property::RetainAvailable(true)],
    )?;
    let publish_properties = properties(
        PropertyContext::Publish,
        &[Property::MessageExpiryInterval(9), Property::ResponseTopic(topic), user],
    )?;
    let reason_properties = properties(PropertyContext::PubAck, &[Property::ReasonString("why"), user])?;
    let auth_properties = properties(PropertyContext::Auth, &[Property::AuthenticationMethod("m")])?;
    let reason = reason_properties.as_properties(PropertyContext::PubAck)?;

    let will = Will {
        topic,
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: will_properties.as_properties(PropertyContext::Will)?,
    };
    let connect = Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: ClientId::new("client")?,
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    };
    let full = Connect {
        is_bridge: true,
        clean_start: false,
        will: Some(will),
        user_name: Some("user"),
        password: Some(b"pass\0word"),
        properties: connect_properties.as_properties(PropertyContext::Connect)?,
        ..connect
    };
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(topic),
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"21.5",
    };
    let publish_2 = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        packet_id: Some(packet_id),
        properties: publish_properties.as_properties(PropertyContext::Publish)?,
        ..publish
    };
    let mut filters = SubscribeFiltersBuf::new();
    let mut removed = UnsubscribeFiltersBuf::new();
    for filter in ["room/+/temperature", "$share/group/jobs/#", "#", "$SYS/#"] {
        filters.push(TopicFilter::new(filter)?, SubscriptionOptions::new(QoS::ExactlyOnce));
        removed.push(TopicFilter::new(filter)?);
    }
    let ack = Ack { packet_id, reason_code: ReasonCode::Success, properties: reason };
    let empty = Properties::EMPTY;
    let connack = ConnAck { session_present: false, reason_code: ReasonCode::Success, properties: empty };
    let long_connack =
        ConnAck { properties: connack_properties.as_properties(PropertyContext::ConnAck)?, ..connack };
    let auth = Auth {
        reason_code: ReasonCode::ContinueAuthentication,
        properties: auth_properties.as_properties(PropertyContext::Auth)?,
    };
    let unsuback = UnsubAck { packet_id, properties: empty, reason_codes: &[0, 0x11] };
    let packets = [
        ("connect", Packet::Connect(connect)),
        ("connect-full", Packet::Connect(full)),
        ("connack", Packet::ConnAck(long_connack)),
        ("connack-refused", Packet::ConnAck(ConnAck { reason_code: ReasonCode::NotAuthorized, ..connack })),
        ("publish-qos0", Packet::Publish(publish)),
        ("publish-qos2", Packet::Publish(publish_2)),
        ("puback", Packet::PubAck(ack)),
        ("pubrec", Packet::PubRec(Ack::new(packet_id, ReasonCode::QuotaExceeded))),
        ("pubrel", Packet::PubRel(Ack::success(packet_id))),
        ("pubcomp", Packet::PubComp(Ack::new(packet_id, ReasonCode::PacketIdentifierNotFound))),
        (
            "subscribe",
            Packet::Subscribe(Subscribe { packet_id, properties: empty, filters: filters.as_filters() }),
        ),
        ("suback", Packet::SubAck(SubAck { packet_id, properties: reason, reason_codes: &[0, 1, 2, 0x80] })),
        (
            "unsubscribe",
            Packet::Unsubscribe(Unsubscribe { packet_id, properties: empty, filters: removed.as_filters() }),
        ),
        ("unsuback", Packet::UnsubAck(unsuback)),
        ("pingreq", Packet::PingReq),
        ("pingresp", Packet::PingResp),
        (
            "disconnect",
            Packet::Disconnect(Disconnect { reason_code: ReasonCode::SessionTakenOver, properties: reason }),
        ),
        ("auth", Packet::Auth(auth)),
    ];
    let mut seeds = Vec::new();
    let mut all = vec![first];
    for (name, packet) in packets {
        if packet.packet_type() == PacketType::Auth && !version.is_v5() {
            continue;
        }
        let mut seed = vec![first];
        packet.encode(version, &mut seed)?;
        packet.encode(version, &mut all)?;
        seeds.push((format!("{version_name}-{name}"), seed));
    }
    seeds.push((format!("{version_name}-stream"), all));
    Ok(seeds)
}

/// One input for each way out that is far from any valid packet.
fn malformed() -> Vec<Seed> {
    [
        ("v311-length-of-five-bytes", &b"\0\x30\xff\xff\xff\xff\x01"[..]),
        ("v311-length-not-minimal", b"\0\xc0\x80\x00"),
        ("v311-too-large", b"\0\x30\xff\xff\xff\x7f"),
        ("v311-packet-id-0", b"\0\x32\x05\0\x01t\0\0"),
        ("v311-surrogate", b"\0\x30\x05\0\x03\xed\xa0\x80"),
        ("v311-bom", b"\0\x30\x05\0\x03\xef\xbb\xbf"),
        ("v311-nul", b"\0\x30\x03\0\x01\0"),
        ("v311-connect-level-6", b"\0\x10\x0c\0\x04MQTT\x06\0\0\0\0\0"),
        ("v5-property-twice", b"\x01\x30\x0a\0\x01t\x06\x23\0\x01\x23\0\x01"),
        ("v5-alias-alone", b"\x01\x30\x06\0\0\x03\x23\0\x01"),
        ("v5-many-user-properties", b"\x01\x30\x0e\0\x01t\x0a\x26\0\0\0\0\x26\0\0\0\0"),
        ("v31-connect-without-its-strings", b"\x02\x10\x0e\0\x06MQIsdp\x03\xc2\0\0\0\0"),
        ("v31-subscribe-with-dup", b"\x02\x8a\x06\0\x01\0\x01a\0"),
        ("empty", b""),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .to_vec()
}

/// What a broker might say to a bridge, each to one of 3.1.1, 5.0 and one with the rules of AWS; twice, over two connections.
fn conversations() -> Vec<Seed> {
    let said: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("suback-without-codes", b"\x90\x02\0\x01"),
        ("suback", b"\x90\x03\0\x01\x01"),
        ("suback-of-nothing", b"\x90\x03\x7f\x7f\0"),
        ("publish-qos-0", b"\x31\x09\0\x05out/0\0x"),
        ("publish-qos-1", b"\x32\x06\0\x01a\0\x01x"),
        ("publish-qos-2-and-pubrel", b"\x34\x06\0\x01a\0\x01x\x62\x02\0\x01\x62\x02\0\x02"),
        ("publish-to-sys", b"\x32\x0c\0\x06$SYS/x\0\x05ab"),
        ("publish-half", b"\x32\x10\0\x01a"),
        ("puback-each", b"\x40\x02\0\x01\x40\x02\0\x02\x40\x02\0\x03\x40\x02\0\x04\x40\x02\0\x05"),
        ("pubrec-and-pubcomp", b"\x50\x02\0\x02\x70\x02\0\x02\x50\x02\0\x02"),
        ("second-connack", b"\x20\x02\x01\0\xd0\0\xe0\0"),
    ];
    let mut seeds = Vec::new();
    // With a good CONNACK before it.
    for (first, bridge) in [(0x10_u8, "v311"), (0x19, "v5"), (0x1e, "aws")] {
        for (name, bytes) in said {
            let piece = [&[u8::try_from(bytes.len()).unwrap_or_default()], bytes].concat();
            let twice = [&[first], &*piece, &[0], &*piece, &[0]].concat();
            seeds.push((format!("{bridge}-{name}"), twice));
        }
    }
    let alone: [(&str, &[u8]); 6] = [
        ("not-mqtt", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("connack-malformed", b"\x20\x02\xff\xff"),
        ("connack-endless", b"\x20\xff\xff\xff\x7f"),
        ("connack-refused", b"\x20\x02\0\x05"),
        ("connack-with-session", b"\x20\x02\x01\0\x40\x02\0\x01"),
        ("connack-of-5-with-limits", b"\x20\x0b\0\0\x08\x21\0\x01\x24\0\x25\0\x29"),
    ];
    for (name, bytes) in alone {
        for (first, version) in [(0, "311"), (1, "5")] {
            let head = [first, u8::try_from(bytes.len()).unwrap_or_default()];
            seeds.push((format!("v{version}-{name}"), [&head, bytes].concat()));
        }
    }
    seeds
}

/// For each type and version one input that has bytes for every field, and one that has none.
fn recipes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (first, version_name, _) in VERSIONS {
        for packet_type in 1..=15_u8 {
            let head = [first, 0, 7, packet_type];
            seeds.push((format!("{version_name}-{packet_type:02}-short"), head.to_vec()));
            let mut seed = head.to_vec();
            for _ in 0..24 {
                // A short text, so that what follows is a length, a number or a coin in most fields.
                seed.extend([3, b'a', b'/', b'+', 1, random.byte() % 43, random.byte(), 0]);
            }
            seeds.push((format!("{version_name}-{packet_type:02}-long"), seed));
        }
    }
    seeds
}

/// xorshift64: the seeds shall be the same on every machine.
struct Random(u64);

impl Random {
    const fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}
